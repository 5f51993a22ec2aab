"""A box: what the windows of a unit cover, copied once, with zeros where they leave their tensor.

Packed windows have an element once for each element of the kernel that meets it, nine times for 3x3, and are asked at
each edge whether they cross it. With few rows of A that is a tenth to a fifth of the product's time. A box has each
element once, and no edges: tiles read it at offsets from a table (``lines`` of tile.py). Naive meaning, where the rows
of B are (channel, y, x) and its columns (line, place), or (channel, x) and (place)::

    for c in channels of the K block:
        for y in the indices on the outer edge's axis that the unit's columns meet:
            for x in those on the inner edge's axis: box[c, y, x] = element at (c, y, x) if it is there else 0

    B[(c, y, x), (line, place)] = box[c, line * stride + y * dilation, place + x * dilation]

Lines are as long as whole vectors, and elements are aligned in them as they are in their tensor's, so that a copy is
one of vectors. How far lines and channels lie apart is computed with the partition (:func:`box_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from ..emit import Module, Writer
from ..kernels import K_BLOCK, LANES, Access, Int, Slot, Windowed
from ..lanes import Frame, begin_kernel, either, loop, when
from .edges import edge_slots
from .offsets import render_offsets
from .pack import copy
from .tile import ContractionTarget, Tile, at, rounded_up

BOX_COLUMNS = 1024  # of a unit, at most: a box of 29 channels stays in the L2 cache beside A and the sums
MOST = 512 << 10  # bytes; where a box would be larger, windows are packed

BOX_ARGUMENTS = (
    "ptr %src, ptr %ints, i64 %channel, i64 %channels, i64 %step, i64 %y, i64 %lines, i64 %x, i64 %line, i64 %plane, "
    "ptr %dst"
)
"""``src``: where the first window begins; ``channel``, ``channels``: the first, and how many; ``step``: elements from
an index on the outer edge's axis to the next; ``y``, ``lines``, ``x``: the first indices, and how many lines, of
``line`` elements each; ``plane``: elements from channel to channel of the box, which goes to ``dst``."""


@dataclass(frozen=True, slots=True)
class Box:
    """The layout of a box, in elements: of a line, from channel to channel, from one element of the kernel on the outer
    axis to the next; ``step`` is the tensor's own stride there. ``nbytes``: of all of it."""

    line: int
    plane: int
    tap: int
    step: int
    nbytes: int

    @property
    def ints(self) -> dict[str, int]:
        """The layout as ints of a partition (plan.py)."""
        return {"box_line": self.line, "box_plane": self.plane, "box_tap": self.tap, "box_step": self.step}


def has_box(access: Access | Windowed) -> bool:
    """Whether windows may be read from a box: those of one or two axes with edges, whose columns lie side by side, and
    at most one axis of channels before them."""
    if not isinstance(access, Windowed) or len(access.edges) not in (1, 2):
        return False
    edges, before = access.edges, len(access.rows) - len(access.edges)
    paired = all(edge.row[0] == before + i and edge.column[0] == i for i, edge in enumerate(edges))
    near = access.columns[-1][1] == 1 and edges[-1].column[1] == 1
    return paired and near and len(access.columns) == len(edges) and before in (0, 1)


def box_of(access: Windowed, value: Callable[[Int], int], tile: Tile, k: int, columns: int) -> Box | None:
    """The box of units of so many columns, or None where windows are better packed: vectors would lie on two lines, or
    a box is too large. ``value`` gives the kernel's ints."""
    edges, size = access.edges, tile.dtype.itemsize
    sizes = [value(n) for n, _ in access.columns]
    kernel = [value(n) for n, _ in access.rows[-len(edges) :]]
    taps = prod(kernel)
    if k == 0 or not 2 <= taps <= K_BLOCK or sizes[-1] < LANES or (len(edges) == 2 and sizes[-1] % LANES):
        return None
    inner = edges[-1]
    wide = min(columns, sizes[0]) if len(edges) == 1 else sizes[-1]
    line = rounded_up(value(inner.start) % LANES + wide + (kernel[-1] - 1) * value(inner.row[1]), LANES)
    lines, tap, step = 1, 0, 0
    if len(edges) == 2:
        (height, stride), moved, reach = access.columns[0], value(edges[0].column[1]), value(edges[0].row[1])
        met = columns // sizes[1] if columns % sizes[1] == 0 else (columns - 2) // sizes[1] + 2
        lines = (min(met, value(height)) - 1) * moved + (kernel[0] - 1) * reach + 1
        tap = reach * line
        if value(height) > 1:
            step = value(stride) // moved
        elif kernel[0] > 1:
            step = value(access.rows[-2][1]) // reach
    plane = (lines * line * size | 64) // size  # an odd number of cache lines: channels fall into different sets
    channels = min((min(k, K_BLOCK) + taps - 2) // taps + 1, k // taps)
    nbytes = channels * plane * size
    return Box(line, plane, tap, step, nbytes) if nbytes <= MOST else None


def box_slots(access: Windowed) -> list[Int]:
    """The ints that a box asks for."""
    return [*edge_slots(access), *access.rows[0]]


def render_box(module: Module, name: str, tile: Tile, access: Windowed, target: ContractionTarget) -> None:
    """Add ``void @name(BOX_ARGUMENTS)``, which copies."""
    _Copy(module, tile, access, target).emit(name)


def render_lines(
    module: Module, name: str, tile: Tile, access: Windowed, plane: Slot, tap: Slot, target: ContractionTarget
) -> None:
    """Add ``void @name(ptr ints, i64 k, i64 count, ptr table)``: where in a box, from that of channel 0 on, the
    elements of a K block lie."""
    inner = (access.rows[-1][0], access.edges[-1].row[1])
    outer = [(access.rows[-2][0], tap)] if len(access.edges) == 2 else []
    before = [(access.rows[0][0], plane)] if len(access.rows) > len(access.edges) else []
    render_offsets(module, name, (*before, *outer, inner), tile.dtype.itemsize, target)


class _Copy:
    def __init__(self, module: Module, tile: Tile, access: Windowed, target: ContractionTarget):
        self.w, self.tile, self.access, self.masked = Writer(module), tile, access, target.masked_memory
        self.frame = begin_kernel(self.w, 0, [n.index for n in box_slots(access) if isinstance(n, Slot)], target)
        self.size, self.nbytes = tile.dtype.itemsize, access.dtype.itemsize

    def emit(self, name: str) -> None:
        w, access, edges = self.w, self.access, self.access.edges
        before = w.arithmetic("sub", "0", self.frame.int_(edges[-1].start))
        origin = at(w, "%src", (before, self.nbytes))  # where x is 0, and y that of the first window
        between = self.frame.int_(access.rows[0][1]) if len(access.rows) > len(edges) else "0"
        self.width = self.frame.int_(edges[-1].size)
        # Of a line: zeros up to its first element, whole vectors, the last ones, zeros.
        self.first = w.op("call i64 @llvm.smax.i64(i64 %x, i64 0)")
        lead = w.op(f"sub nsw i64 {self.first}, %x")
        self.lead = w.op(f"call i64 @llvm.smin.i64(i64 {lead}, i64 %line)")
        end = w.op("add nsw i64 %x, %line")
        end = w.op(f"call i64 @llvm.smin.i64(i64 {end}, i64 {self.width})")
        self.count = w.op(f"call i64 @llvm.smax.i64(i64 {w.op(f'sub nsw i64 {end}, {self.first}')}, i64 0)")
        self.whole = w.op(f"and i64 {self.count}, {-LANES}")
        self.filled = w.op(f"and i64 {w.op(f'add nsw i64 {self.count}, {LANES - 1}')}, {-LANES}")

        def channel(c: str) -> None:
            here = at(w, origin, (w.op(f"mul nsw i64 {w.op(f'add nsw i64 {c}, %channel')}, {between}"), self.nbytes))
            to = at(w, "%dst", (w.op(f"mul nsw i64 {c}, %plane"), self.size))
            if len(edges) == 1:
                self._line(here, to)
                return

            def line(number: str) -> None:
                y = w.op(f"add nsw i64 %y, {number}")
                moved = w.op(f"sub nsw i64 {y}, {self.frame.int_(edges[0].start)}")
                src = at(w, here, (w.op(f"mul nsw i64 {moved}, %step"), self.nbytes))
                dst = at(w, to, (w.op(f"mul nsw i64 {number}, %line"), self.size))
                inside = w.op(f"icmp ult i64 {y}, {self.frame.int_(edges[0].size)}")
                either(w, inside, lambda: self._line(src, dst), lambda: self._zeros(dst, "0", "%line"))

            loop(w, "0", "%lines", 1, line)

        loop(w, "0", "%channels", 1, channel)
        w.do("ret void")
        w.define(f"internal void @{name}({BOX_ARGUMENTS}) #1")

    def _zeros(self, dst: str, start: str, end: str) -> None:
        """Vectors of zeros, from one to the other element of a line."""
        w, kind = self.w, f"<{LANES} x i{8 * self.size}>"
        loop(
            w,
            start,
            end,
            LANES,
            lambda x: w.do(f"store {kind} zeroinitializer, ptr {at(w, dst, (x, self.size))}, align {self.size}"),
        )

    def _line(self, origin: str, dst: str) -> None:
        w, source, tile = self.w, self.access.dtype, self.tile
        src, to = at(w, origin, (self.first, self.nbytes)), at(w, dst, (self.lead, self.size))

        def piece(x: str, lanes: int, left: str | None = None) -> None:
            copy(w, source, tile, at(w, src, (x, self.nbytes)), at(w, to, (x, self.size)), lanes, left)

        self._zeros(dst, "0", self.lead)
        loop(w, "0", self.whole, LANES, lambda x: piece(x, LANES))
        if self.masked:
            rest = w.op(f"sub nsw i64 {self.count}, {self.whole}")
            when(w, w.op(f"icmp ne i64 {rest}, 0"), lambda: piece(self.whole, LANES, rest))
            self._zeros(to, self.filled, w.op(f"sub nsw i64 %line, {self.lead}"))
        else:
            self._zeros(to, self.whole, w.op(f"sub nsw i64 %line, {self.lead}"))
            loop(w, self.whole, self.count, 1, lambda x: piece(x, 1))


class BoxedColumns:
    """Where the columns of a unit lie in the box; emitted into the unit's function. ``name``: the kernel's; ``fields``:
    registers of the partition; ``box``: where it is put."""

    def __init__(self, frame: Frame, name: str, tile: Tile, access: Windowed, fields: dict[str, str], box: str):
        self.frame, self.w, self.tile, self.access, self.fields = frame, frame.w, tile, access, fields
        self.name, self.box = name, box
        self.size, self.taps = tile.dtype.itemsize, "1"
        for n, _ in access.rows[-len(access.edges) :]:
            self.taps = self.w.arithmetic("mul", self.taps, frame.int_(n))
        self.taps = self.w.op(f"call i64 @llvm.smax.i64(i64 {self.taps}, i64 1)")  # 0 where nothing is added up

    def begin(self, first: str, columns: str) -> None:
        """What is the same for all K blocks of a unit, which has so many columns from ``first`` on."""
        w, edges, int_ = self.w, self.access.edges, self.frame.int_
        start = int_(edges[-1].start)
        if len(edges) == 1:
            self.first_line, self.y, self.lines, begin = "0", "0", "1", w.op(f"add nsw i64 {start}, {first}")
        else:
            width, (_, moved), (_, reach) = int_(self.access.columns[1][0]), edges[0].column, edges[0].row
            self.first_line, begin = w.op(f"sdiv i64 {first}, {width}"), start
            last = self._last(first, columns, width)
            kernel = w.op(f"sub nsw i64 {int_(self.access.rows[-2][0])}, 1")
            met = w.op(f"mul nsw i64 {w.op(f'sub nsw i64 {last}, {self.first_line}')}, {int_(moved)}")
            met = w.op(f"add nsw i64 {met}, {w.op(f'mul nsw i64 {kernel}, {int_(reach)}')}")
            self.lines = w.op(f"add nsw i64 {met}, 1")
            own = w.op(f"mul nsw i64 {self.first_line}, {int_(moved)}")
            self.y = w.op(f"add nsw i64 {int_(edges[0].start)}, {own}")
        self.x = w.op(f"and i64 {begin}, {-LANES}")
        self.lead = w.op(f"sub nsw i64 {start}, {self.x}")

    def fill(self, src: str, k0: str, kc: str, table: str) -> None:
        """Copy what a K block needs, where the first window begins at ``src``, and make its table."""
        w = self.w
        channel = w.op(f"sdiv i64 {k0}, {self.taps}")
        more = w.op(f"sub nsw i64 {self._last(k0, kc, self.taps)}, {channel}")
        channels = w.op(f"add nsw i64 {more}, 1")
        line, plane, step = (self.fields[field] for field in ("box_line", "box_plane", "box_step"))
        w.do(
            f"call void @{self.name}.box(ptr {src}, ptr %ints, i64 {channel}, i64 {channels}, i64 {step}, "
            f"i64 {self.y}, i64 {self.lines}, i64 {self.x}, i64 {line}, i64 {plane}, ptr {self.box})"
        )
        w.do(f"call void @{self.name}.box_lines(ptr %ints, i64 {k0}, i64 {kc}, ptr {table})")
        back = w.op(f"mul nsw i64 {w.op(f'mul nsw i64 {channel}, {plane}')}, {-self.size}")
        self.of_channel_0 = at(w, self.box, (back, 1))

    def columns(self, number: str) -> tuple[str, str]:
        """``(pointer, bytes from LANES columns to the next)`` in lines form, of a tile that begins with this column."""
        w = self.w
        start, following = self._column(number), self._column(w.op(f"add nsw i64 {number}, {LANES}"))
        return at(w, self.of_channel_0, (start, 1)), w.op(f"sub nsw i64 {following}, {start}")

    def _last(self, first: str, count: str, size: str) -> str:
        """The number of the group of ``size`` that the last of ``count`` is in."""
        last = self.w.op(f"sub nsw i64 {self.w.op(f'add nsw i64 {first}, {count}')}, 1")
        return self.w.op(f"sdiv i64 {last}, {size}")

    def _column(self, number: str) -> str:
        """Bytes from the box of channel 0 to a column's first element."""
        w, edges, int_ = self.w, self.access.edges, self.frame.int_
        if len(edges) == 1:
            place = w.op(f"add nsw i64 {number}, {self.lead}")
            return w.op(f"mul nsw i64 {place}, {self.size}")
        width = int_(self.access.columns[1][0])
        line = w.op(f"sub nsw i64 {w.op(f'sdiv i64 {number}, {width}')}, {self.first_line}")
        line = w.op(f"mul nsw i64 {line}, {int_(edges[0].column[1])}")
        place = w.op(f"add nsw i64 {w.op(f'srem i64 {number}, {width}')}, {self.lead}")
        before = w.op(f"mul nsw i64 {line}, {self.fields['box_line']}")
        place = w.op(f"add nsw i64 {place}, {before}")
        return w.op(f"mul nsw i64 {place}, {self.size}")

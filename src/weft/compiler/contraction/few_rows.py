"""Products of few rows with windows: a depthwise convolution has one for each channel.

A tile would compute twelve rows, of a packed panel whose elements each row reads once. Here the windows are read where
they lie: lanes run along the last axis of the columns, line by line of it, and chains stay in registers for all of k,
which is one K block. Naive meaning, with the tables and offsets of offsets.py and the edges of edges.py::

    for column in range(start, start + count):
        for i in range(rows):
            chain = 0
            for k in range(kc): chain = fma(a[i, k], element at b + offset of the column + depth[k].offset, chain)
            sums[i, column - start] = chain

Several vectors are computed at a time, of lines one below the other or of one line, so that a factor, an offset and
where an edge is crossed are found out for all of them, and the chains hide the latency of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..emit import Module, Writer, constant, convert, memory_type, register_type, splat
from ..kernels import Windowed
from ..lanes import Frame, begin_kernel, either, loop, store_lanes, when
from ..stages import grid_indices, slots_of
from .edges import Edges, Span, edge_slots, load_near
from .offsets import entry_bytes
from .plan import Form
from .tile import ContractionTarget, Tile, at, multiply_add

WIDEST = 4  # vectors that are computed at a time
LINE = 256  # vectors of the longest line that there are masks of

FEW_ROWS_ARGUMENTS = (
    "ptr %a, i64 %sa, ptr %b, ptr %ints, i64 %start, i64 %count, i64 %rows, ptr %depth, i64 %kc, ptr %masks, "
    "ptr %sums, i64 %pitch"
)
"""Rows of ``a`` begin ``sa`` bytes apart (of packed panels: elements side by side); those of ``sums`` ``pitch`` bytes,
with room for WIDEST vectors behind their elements. ``masks``: see :func:`render_masks`."""
MASK = 2  # bytes


def sums_pitch(w: Writer, tile: Tile, count: str) -> str:
    """Bytes from row to row of the sums of ``count`` columns."""
    return w.arithmetic("mul", w.op(f"add nsw i64 {count}, {WIDEST * tile.lanes}"), tile.dtype.itemsize)


def has_masks(form: Form, target: ContractionTarget) -> bool:
    """Whether lanes are chosen by masks."""
    return target.masked_memory and form.tile.lanes > 1


def render_few_rows(module: Module, name: str, form: Form, access: Windowed, target: ContractionTarget) -> None:
    """Add ``void @name(...)``, for a B whose columns are one or two elements apart along their last axis."""
    w = Writer(module)
    named = [*(x for axis in access.columns for x in axis), *edge_slots(access)]
    frame = begin_kernel(w, 0, slots_of((), named), target)
    lines = _Lines(frame, form, access)
    if has_masks(form, target):
        lines.masked()
    else:
        lines.whole()
    w.do("ret void")
    w.define(f"internal void @{name}({FEW_ROWS_ARGUMENTS}) #1")


_Add = Callable[[Sequence[str]], None]  # adds the products of vectors and the factor to the chains


def render_masks(module: Module, name: str, form: Form, access: Windowed, target: ContractionTarget) -> None:
    """Add ``void @name(ptr ints, ptr depth, i64 kc, ptr masks)``: of each vector of a line, and each k, the lanes that
    are within the line and the inner edge. They are those of all lines, and of all units."""
    w, lanes = Writer(module), form.tile.lanes
    size = access.columns[-1][0]
    frame = begin_kernel(w, 0, slots_of((), [size, *edge_slots(access)]), target)
    edges, width = Edges(frame, access, True), frame.int_(size)
    starts = [frame.int_(edge.start) for edge in access.edges]

    def vector(c: str) -> None:
        here, number = edges.moved(starts, c), w.op(f"udiv i64 {c}, {lanes}")
        left = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'sub nsw i64 {width}, {c}')}, i64 {lanes})")
        to = at(w, "%masks", (w.op(f"mul nsw i64 {number}, %kc"), MASK))

        def of(k: str) -> None:
            parts = edges.parts(at(w, "%depth", (k, entry_bytes(access))))
            bits = w.op(
                f"bitcast <{lanes} x i1> {edges.across(edges.together(here, parts), left).mask(w, lanes)} to i{lanes}"
            )
            bits = w.op(f"zext i{lanes} {bits} to i{8 * MASK}") if lanes < 8 * MASK else bits
            w.do(f"store i{8 * MASK} {bits}, ptr {at(w, to, (k, MASK))}, align {MASK}")

        loop(w, "0", "%kc", 1, of)

    longest = w.op(f"call i64 @llvm.smin.i64(i64 {width}, i64 {LINE * lanes})")  # of a longer line nobody asks
    loop(w, "0", longest, lanes, vector)
    w.do("ret void")
    w.define(f"internal void @{name}(ptr %ints, ptr %depth, i64 %kc, ptr %masks) #1")


@dataclass(frozen=True, slots=True)
class _Line:
    """A piece of a line: where its windows begin, the columns' parts of their indices, where its sums go, and how many
    columns it has, which is none or less behind the last line."""

    b: str
    indices: list[str]
    to: str
    count: str


class _Lines:
    """Emits the sums of the columns, line by line."""

    def __init__(self, frame: Frame, form: Form, access: Windowed):
        self.frame, self.w, self.tile, self.access = frame, frame.w, form.tile, access
        self.edges, self.nbytes, self.size = Edges(frame, access, True), entry_bytes(access), form.tile.dtype.itemsize
        step = access.columns[-1][1]
        assert isinstance(step, int), "what lies further apart has no lines"
        self.step, self.apart = step, step * access.dtype.itemsize
        w, tile = self.w, self.tile
        steps: list[int | str] = ["%sa", self.size]
        self.row_step, self.k_step = reversed(steps) if form.a == "panels" else steps
        self.chains = [w.op(f"alloca {register_type(tile.dtype, tile.lanes)}, align 64") for _ in range(WIDEST)]
        self.sizes = tuple(n for n, _ in access.columns)
        self.steps = [w.arithmetic("mul", frame.int_(stride), access.dtype.itemsize) for _, stride in access.columns]
        self.width = frame.int_(self.sizes[-1])
        self.end = w.op("add nsw i64 %start, %count")
        self.first = w.op(f"sdiv i64 %start, {self.width}")
        last = w.op(f"sdiv i64 {w.op(f'sub nsw i64 {self.end}, 1')}, {self.width}")
        self.last = w.op(f"add nsw i64 {last}, 1")

    def _line(self, number: str) -> _Line:
        w = self.w
        first = w.op(f"mul nsw i64 {number}, {self.width}")
        lo = w.op(f"call i64 @llvm.smax.i64(i64 {w.op(f'sub nsw i64 %start, {first}')}, i64 0)")
        hi = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'sub nsw i64 {self.end}, {first}')}, i64 {self.width})")
        axes, indices = [*grid_indices(self.frame, self.sizes[:-1], number), lo], []
        for edge in self.access.edges:
            moved = w.arithmetic("mul", axes[edge.column[0]], self.frame.int_(edge.column[1]))
            indices.append(w.arithmetic("add", moved, self.frame.int_(edge.start)))
        b = at(w, "%b", *zip(axes, self.steps, strict=True))
        to = at(w, "%sums", (w.op(f"sub nsw i64 {w.op(f'add nsw i64 {first}, {lo}')}, %start"), self.size))
        return _Line(b, indices, to, w.op(f"sub nsw i64 {hi}, {lo}"))

    def _behind(self, line: _Line, c: str) -> _Line:
        """The line from its column ``c`` on."""
        w = self.w
        return _Line(
            at(w, line.b, (c, self.apart)),
            self.edges.moved(line.indices, c),
            at(w, line.to, (c, self.size)),
            w.op(f"sub nsw i64 {line.count}, {c}"),
        )

    def _row(self, line: _Line, i: str) -> _Line:
        return _Line(line.b, line.indices, at(self.w, line.to, (i, "%pitch")), line.count)

    # --- with masks -----------------------------------------------------------------------------------------------

    def masked(self) -> None:
        """A vector of each of several lines at a time, one below the other, at the same place along the inner edge;
        of a line alone, or where a unit is less than a line, several vectors."""
        w = self.w
        alone = w.op(f"icmp slt i64 {w.op(f'sub nsw i64 {self.last}, {self.first}')}, 2")
        longer = w.op(f"icmp sgt i64 {self.width}, {LINE * self.tile.lanes}")
        either(
            w,
            w.op(f"or i1 {alone}, {longer}"),
            lambda: loop(w, self.first, self.last, 1, self._along),
            lambda: loop(w, self.first, self.last, WIDEST, self._below),
        )

    def _along(self, number: str) -> None:
        w, wide = self.w, WIDEST * self.tile.lanes
        line = self._line(number)

        def piece(i: str, c: str) -> None:
            here = self._behind(self._row(line, i), c)
            inside = self.edges.interior(here.indices, wide)
            if inside == "true":
                self._vectors(i, here, False)
            else:
                either(w, inside, lambda: self._vectors(i, here, False), lambda: self._vectors(i, here, True))

        loop(w, "0", "%rows", 1, lambda i: loop(w, "0", line.count, wide, partial(piece, i)))

    def _vectors(self, i: str, line: _Line, edged: bool) -> None:
        """As many vectors of a line as there may be; ``edged``: they may cross an edge."""
        w, lanes = self.w, self.tile.lanes
        most = w.op(f"call i64 @llvm.smin.i64(i64 {line.count}, i64 {WIDEST * lanes})")
        written = [Span("0", most).mask(w, lanes, v) for v in range(WIDEST)]

        def term(k: str, entry: str, moved: str, add: _Add) -> None:
            masks = written
            if edged:
                span = self.edges.within(self.edges.together(line.indices, self.edges.parts(entry)), most)
                masks = [span.mask(w, lanes, v) for v in range(WIDEST)]
            places = [at(w, line.b, (moved, 1), (str(v * lanes), self.apart)) for v in range(WIDEST)]
            add([self._load(place, lanes, mask) for place, mask in zip(places, masks, strict=True)])

        self._chains(i, [at(w, line.to, (str(v * lanes), self.size)) for v in range(WIDEST)], lanes, term, written)

    def _below(self, number: str) -> None:
        """Most lines are far from the edges but the inner one, where the masks of any of them are those of all."""
        w, lanes = self.w, self.tile.lanes
        lines = [self._line(w.op(f"add nsw i64 {number}, {v}") if v else number) for v in range(WIDEST)]
        here = [w.op(f"icmp sgt i64 {line.count}, 0") for line in lines]
        inside = here[-1]
        for line in lines:
            inside = w.op(f"and i1 {inside}, {self.edges.interior(line.indices, 1, False)}")

        def piece(i: str, c: str) -> None:
            below = [self._behind(self._row(line, i), c) for line in lines]
            number = w.op(f"udiv i64 {c}, {lanes}")
            masks = at(w, "%masks", (w.op(f"mul nsw i64 {number}, %kc"), MASK))
            left = Span("0", w.op(f"call i64 @llvm.smin.i64(i64 {below[0].count}, i64 {lanes})")).mask(w, lanes)
            written = [self._where(there, left) for there in here]

            def rows(edged: bool) -> None:
                def term(k: str, entry: str, moved: str, add: _Add) -> None:
                    bits = w.op(f"load i{8 * MASK}, ptr {at(w, masks, (k, MASK))}, align {MASK}")
                    bits = w.op(f"trunc i{8 * MASK} {bits} to i{lanes}") if lanes < 8 * MASK else bits
                    all_lanes, values = w.op(f"bitcast i{lanes} {bits} to <{lanes} x i1>"), []
                    parts = self.edges.parts(entry)
                    for line, exists in zip(below, here, strict=True):
                        chosen = all_lanes
                        if edged:
                            there = self.edges.there(self.edges.together(line.indices, parts))
                            chosen = self._where(w.op(f"and i1 {there}, {exists}"), all_lanes)
                        values.append(self._load(at(w, line.b, (moved, 1)), lanes, chosen))
                    add(values)

                self._chains(i, [line.to for line in below], lanes, term, written)

            either(w, inside, lambda: rows(False), lambda: rows(True))

        loop(w, "0", "%rows", 1, lambda i: loop(w, "0", lines[0].count, lanes, partial(piece, i)))

    def _where(self, there: str, mask: str) -> str:
        """The mask, or none of its lanes: as a number, which is quicker to choose than lanes are."""
        w, lanes = self.w, self.tile.lanes
        bits = w.op(f"bitcast <{lanes} x i1> {mask} to i{lanes}")
        return w.op(f"bitcast i{lanes} {w.op(f'select i1 {there}, i{lanes} {bits}, i{lanes} 0')} to <{lanes} x i1>")

    # --- without --------------------------------------------------------------------------------------------------

    def whole(self) -> None:
        """In pieces as wide as can be, then halves, so that nothing beyond a line is read."""
        w, lanes = self.w, self.tile.lanes
        if self.access.edges:  # a piece that crosses one is gathered here, as far apart as in the tensor
            kind = memory_type(self.access.dtype)
            self.near = w.op(f"alloca [{self.step * WIDEST * lanes} x {kind}], align 64")

        def one(number: str) -> None:
            line = self._line(number)
            loop(w, "0", "%rows", 1, lambda i: self._halves(i, self._row(line, i)))

        loop(w, self.first, self.last, 1, one)

    def _halves(self, i: str, line: _Line) -> None:
        w, lanes = self.w, self.tile.lanes
        widest = WIDEST * lanes
        loop(w, "0", w.op(f"and i64 {line.count}, {-widest}"), widest, lambda c: self._whole(i, line, WIDEST, lanes, c))
        half = widest // 2
        while half:
            there = w.op(f"icmp ne i64 {w.op(f'and i64 {line.count}, {half}')}, 0")
            vectors, start = max(half // lanes, 1), w.op(f"and i64 {line.count}, {-2 * half}")
            when(w, there, partial(self._whole, i, line, vectors, half // vectors, start))
            half //= 2

    def _whole(self, i: str, line: _Line, vectors: int, wide: int, c: str) -> None:
        w, here, count = self.w, self._behind(line, c), str(vectors * wide)

        def term(k: str, entry: str, moved: str, add: _Add) -> None:
            place, parts = at(w, here.b, (moved, 1)), self.edges.parts(entry)

            def of(pointer: str) -> None:
                add([self._load(at(w, pointer, (str(v * wide), self.apart)), wide, None) for v in range(vectors)])

            if not parts:
                of(place)
                return
            span = self.edges.within(self.edges.together(here.indices, parts), count)

            def gathered() -> None:
                loop(w, "0", count, 1, lambda lane: self._gather(place, lane, span))
                of(self.near)

            either(w, w.op(f"icmp eq i64 {span.count}, {count}"), lambda: of(place), gathered)

        self._chains(i, [at(w, here.to, (str(v * wide), self.size)) for v in range(vectors)], wide, term)

    def _gather(self, place: str, lane: str, span: Span) -> None:
        """One element, or 0, to where pieces that cross an edge are read from."""
        w, dtype = self.w, self.access.dtype
        kind, cell = memory_type(dtype), at(w, self.near, (lane, self.apart))
        w.do(f"store {kind} {constant(0, dtype, 1)}, ptr {cell}, align {dtype.itemsize}")
        inside = w.op(f"icmp ult i64 {w.op(f'sub i64 {lane}, {span.first}')}, {span.count}")

        def there() -> None:
            value = w.op(f"load {kind}, ptr {at(w, place, (lane, self.apart))}, align {dtype.itemsize}")
            w.do(f"store {kind} {value}, ptr {cell}, align {dtype.itemsize}")

        when(w, inside, there)

    # --- both -----------------------------------------------------------------------------------------------------

    def _load(self, place: str, lanes: int, mask: str | None) -> str:
        w, dtype = self.w, self.access.dtype
        return convert(w, load_near(w, dtype, place, lanes, self.step, mask), dtype, self.tile.dtype, lanes)

    def _chains(
        self,
        i: str,
        to: Sequence[str],
        wide: int,
        term: Callable[[str, str, str, _Add], None],
        written: Sequence[str] | None = None,
    ) -> None:
        """Chains of row ``i`` of ``a``, a vector of ``wide`` lanes for each place in ``to``, of which those that are
        ``written`` are; ``term(k, entry, moved, add)`` adds what is ``moved`` bytes from the columns."""
        w, tile, size = self.w, self.tile, self.size
        one, of = register_type(tile.dtype, 1), register_type(tile.dtype, wide)
        chains, a = self.chains[: len(to)], at(w, "%a", (i, self.row_step))
        for chain in chains:
            w.do(f"store {of} {constant(0, tile.dtype, wide)}, ptr {chain}")

        def step(k: str) -> None:
            factor = w.op(f"load {one}, ptr {at(w, a, (k, self.k_step))}, align {size}")
            factor = splat(w, one, factor, wide)

            def add(values: Sequence[str]) -> None:
                for chain, value in zip(chains, values, strict=True):
                    before = w.op(f"load {of}, ptr {chain}")
                    w.do(f"store {of} {multiply_add(w, tile, factor, value, before, wide)}, ptr {chain}")

            entry = at(w, "%depth", (k, self.nbytes))
            term(k, entry, w.op(f"load i64, ptr {entry}, align 8"), add)

        loop(w, "0", "%kc", 1, step)
        for number, (chain, place) in enumerate(zip(chains, to, strict=True)):
            total = w.op(f"load {of}, ptr {chain}")
            if written is None:
                w.do(f"store {of} {total}, ptr {place}, align {size}")
            else:
                store_lanes(w, tile.dtype, place, total, wide, written[number])

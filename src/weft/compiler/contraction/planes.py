"""Products of few rows with windows of a plane, one element apart: depthwise convolutions, read from a box.

Read where they lie (few_rows.py), windows are asked at each line whether they cross an edge, and lines of 7 or 14
elements leave most of a vector empty. Here the lines that a unit's windows cover are copied once, with the zeros around
them, ``line`` elements apart: as many as a line has and a window reaches further. Then an element of the kernel lies
as far behind the first for every column, whatever line that is in, and vectors run over all lines as if they were one;
what they compute between the lines, of the end of one and the beginning of the next, nobody reads. Naive meaning::

    for y in lines of the box: box[y] = zeros, the elements of the tensor's line, zeros
    for i in range(rows):
        for p in range(lines * line):
            chain = 0
            for k, (ky, kx) in enumerate(kernel): chain = fma(a[i, k], box[p + ky * down * line + kx * across], chain)
            flat[p] = chain
        for y in range(lines): sums[i, y * width :][:width] = flat[y * line :][:width]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..emit import Module, Writer, constant, register_type, splat
from ..kernels import CACHE_LINE, Int, Windowed
from ..lanes import begin_kernel, either, loop
from ..stages import slots_of
from .box import Box, has_box
from .edges import edge_slots
from .offsets import ENTRY
from .pack import copy
from .tile import ContractionTarget, Tile, at, multiply_add, rounded_up

WIDEST = 31  # columns of a line; longer ones fill their vectors well enough where they lie
COLUMNS = 2048  # of a unit, whole lines: box, sums and what lies between them stay near
AT_ONCE = 4  # vectors: their chains hide the latency of each other
MOST = 48 << 10  # bytes of a box; where it would be larger, windows are read where they lie
LOOSE = 3  # so they are where a dilation puts the lines of the box this many times as far apart as vectors of one reach

PLANES_ARGUMENTS = (
    "ptr %a, i64 %sa, ptr %b, ptr %ints, i64 %start, i64 %count, i64 %rows, ptr %depth, i64 %kc, i64 %line, i64 %step, "
    "ptr %box, ptr %sums, i64 %pitch"
)
"""As of few rows (few_rows.py); ``depth`` is the table of offsets in the box, whose lines are ``line`` elements apart,
and the tensor's ``step``. ``box`` has zeros where no unit puts a line's elements (render_zeros, once for all units of a
call); ``flat`` lies behind the sums."""


def has_planes(access: Windowed) -> bool:
    """Whether windows are those of planes, one element apart."""
    if not has_box(access) or len(access.edges) != 2 or len(access.rows) != 2:
        return False
    return all(edge.column[1] == 1 for edge in access.edges)


def plane_of(access: Windowed, value: Callable[[Int], int], tile: Tile, lines: int) -> Box | None:
    """The box of units of so many lines, or None where it is too large."""
    (outer, inner), size = access.edges, tile.dtype.itemsize
    (height, stride), (width, _) = [(value(n), value(s)) for n, s in access.columns]
    (tall, row_stride), (wide, apart) = [(value(n), value(s)) for n, s in access.rows]
    down, across = value(outer.row[1]), value(inner.row[1])
    if down < 1 or across < 1 or width > WIDEST or (wide > 1 and apart != across):  # lines lie side by side
        return None
    line = width + (wide - 1) * across
    if line > LOOSE * rounded_up(width, tile.lanes):
        return None
    rest = 2 * AT_ONCE * tile.lanes  # behind the last line, for vectors that begin in it
    nbytes = ((lines + (tall - 1) * down) * line + (wide - 1) * across + rest) * size
    nbytes = rounded_up(nbytes, CACHE_LINE)
    step = stride if height > 1 else row_stride // down if tall > 1 else 0
    return Box(line, nbytes // size, down * line, step, nbytes) if nbytes <= MOST else None


def render_planes(
    module: Module, name: str, tile: Tile, access: Windowed, rows_form: bool, target: ContractionTarget
) -> None:
    """Add ``void @name(PLANES_ARGUMENTS)``."""
    w, size, nbytes, lanes = Writer(module), tile.dtype.itemsize, access.dtype.itemsize, tile.lanes
    frame = begin_kernel(w, 0, slots_of((), edge_slots(access)), target)
    # In the entry block, where they become registers.
    chains = [w.op(f"alloca {register_type(tile.dtype, lanes)}, align 64") for _ in range(AT_ONCE)]
    outer, inner = access.edges
    width, first_x, first_y = (frame.int_(x) for x in (access.columns[1][0], inner.start, outer.start))
    lines, wide = w.op(f"sdiv i64 %count, {width}"), frame.int_(inner.size)
    kind = register_type(tile.dtype, lanes)

    # What is behind a line's last element in its vector are zeros, and stored before the next line is. Those around the
    # lines are there from the beginning (render_zeros), and stay, but for lines that another unit has had.
    begin = w.op(f"call i64 @llvm.smax.i64(i64 {first_x}, i64 0)")
    end = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {first_x}, %line')}, i64 {wide})")
    length, lead = w.op(f"sub nsw i64 {end}, {begin}"), w.op(f"sub nsw i64 {begin}, {first_x}")
    before = w.op(f"add nsw i64 {first_x}, {w.op(f'mul nsw i64 {first_y}, %step')}")
    plane = at(w, "%b", (w.op(f"sub nsw i64 {begin}, {before}"), nbytes))
    top = w.op(f"add nsw i64 {first_y}, {w.op(f'sdiv i64 %start, {width}')}")
    tall = w.op(f"mul nsw i64 {w.op(f'sub nsw i64 {frame.int_(access.rows[0][0])}, 1')}, {frame.int_(outer.row[1])}")

    def line(number: str) -> None:
        y = w.op(f"add nsw i64 {top}, {number}")
        src = at(w, plane, (w.op(f"mul nsw i64 {y}, %step"), nbytes))
        dst = at(w, "%box", (w.op(f"add nsw i64 {w.op(f'mul nsw i64 {number}, %line')}, {lead}"), size))

        def piece(x: str) -> None:
            left = w.op(f"sub nsw i64 {length}, {x}")
            copy(w, access.dtype, tile, at(w, src, (x, nbytes)), at(w, dst, (x, size)), lanes, left)

        def nothing(x: str) -> None:
            w.do(f"store {kind} {constant(0, tile.dtype, lanes)}, ptr {at(w, dst, (x, size))}, align {size}")

        inside = w.op(f"icmp ult i64 {y}, {frame.int_(outer.size)}")
        copied, empty = (partial(loop, w, "0", length, lanes, body) for body in (piece, nothing))
        either(w, inside, copied, empty)

    loop(w, "0", w.op(f"add nsw i64 {lines}, {tall}"), 1, line)
    _compute(w, tile, rows_form, lines, width, chains)
    w.do("ret void")
    w.define(f"internal void @{name}({PLANES_ARGUMENTS}) #1")


def render_zeros(module: Module, name: str) -> None:
    """Add ``void @name(ptr box, i64 nbytes)``, which fills a box, some lines of memory, with zeros."""
    w = Writer(module)
    w.label("entry")
    zeros = f"store <{CACHE_LINE} x i8> zeroinitializer, ptr"
    loop(w, "0", "%nbytes", CACHE_LINE, lambda byte: w.do(f"{zeros} {at(w, '%box', (byte, 1))}, align 1"))
    w.do("ret void")
    w.define(f"internal void @{name}(ptr %box, i64 %nbytes) #1")


def _compute(w: Writer, tile: Tile, rows_form: bool, lines: str, width: str, chains: list[str]) -> None:
    """The chains of all places of the box, and the sums of those that are columns."""
    size, lanes, kind = tile.dtype.itemsize, tile.lanes, register_type(tile.dtype, tile.lanes)
    one = register_type(tile.dtype, 1)
    row_step, k_step = ("%sa", size) if rows_form else (size, "%sa")
    flat = at(w, "%sums", ("%rows", "%pitch"))
    above = w.op(f"mul nsw i64 {w.op(f'sub nsw i64 {lines}, 1')}, %line")
    places = w.op(f"add nsw i64 {above}, {width}")

    def row(i: str) -> None:
        a, sums = at(w, "%a", (i, row_step)), at(w, "%sums", (i, "%pitch"))

        def vectors(p: str) -> None:
            here = at(w, "%box", (p, size))
            for chain in chains:
                w.do(f"store {kind} {constant(0, tile.dtype, lanes)}, ptr {chain}")

            def term(k: str) -> None:
                factor = w.op(f"load {one}, ptr {at(w, a, (k, k_step))}, align {size}")
                factor = splat(w, one, factor, lanes)
                moved = at(w, here, (w.op(f"load i64, ptr {at(w, '%depth', (k, ENTRY))}, align 8"), 1))
                for v, chain in enumerate(chains):
                    value = w.op(f"load {kind}, ptr {at(w, moved, (str(v * lanes), size))}, align {size}")
                    total = multiply_add(w, tile, factor, value, w.op(f"load {kind}, ptr {chain}"), lanes)
                    w.do(f"store {kind} {total}, ptr {chain}")

            loop(w, "0", "%kc", 1, term)
            for v, chain in enumerate(chains):
                to = at(w, flat, (p, size), (str(v * lanes), size))
                w.do(f"store {kind} {w.op(f'load {kind}, ptr {chain}')}, ptr {to}, align {size}")

        loop(w, "0", places, AT_ONCE * lanes, vectors)

        # What is behind a line in its last vector is where the next line goes.
        def line(y: str) -> None:
            src = at(w, flat, (w.op(f"mul nsw i64 {y}, %line"), size))
            dst = at(w, sums, (w.op(f"mul nsw i64 {y}, {width}"), size))
            loop(w, "0", width, lanes, lambda x: move(at(w, src, (x, size)), at(w, dst, (x, size))))

        loop(w, "0", lines, 1, line)

    def move(src: str, dst: str) -> None:
        w.do(f"store {kind} {w.op(f'load {kind}, ptr {src}, align {size}')}, ptr {dst}, align {size}")

    loop(w, "0", "%rows", 1, row)

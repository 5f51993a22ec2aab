"""Products of so few rows and columns that they fill no tile, one for each element of a batch: as for the gradient of a
depthwise weight. Lanes run along the batch.

Elements of each row of A, and of each column of B, are packed for a K block: those of one k, of all lanes, side by
side. Naive meaning of what is computed of them, where all values are vectors::

    for j in range(count):
        chain = 0
        for k in range(kc): chain = fma(a[k], b[j][k], chain)
        totals[j] = totals[j] + chain if add else chain
"""

from __future__ import annotations

from ..emit import Module, Writer, constant, register_type
from ..kernels import Windowed
from ..lanes import begin_kernel, loop, when
from ..stages import slots_of
from .edges import Edges, edge_slots
from .offsets import entry_bytes
from .pack import gathered, transpose_quarters
from .pack_windows import across, runs
from .tile import ContractionTarget, Tile, at, lanes_pitch, multiply_add

AT_ONCE = 4  # chains, which hide the latency of each other

PACK_LANES_ARGUMENTS = "ptr %src, i64 %stride, i64 %last, ptr %ints, ptr %outer, ptr %depth, i64 %kc, ptr %dst"
"""Lanes lie ``stride`` bytes apart; those behind ``last`` repeat it. ``outer`` is the entry of the row of A or column
of B that is packed, ``depth`` the table of the K block (offsets.py)."""

LANES_ARGUMENTS = "ptr %a, ptr %b, i64 %count, i64 %kc, ptr %totals, i1 %add"


def render_pack_lanes(
    module: Module, name: str, tile: Tile, access: Windowed, of_a: bool, target: ContractionTarget
) -> None:
    """Add ``void @name(...)``: a row of A or a column of B. All lanes cross an edge together: what is beyond it is 0,
    squares of the rest are transposed in registers where elements lie together."""
    w, source, size, lanes = Writer(module), access.dtype, tile.dtype.itemsize, tile.lanes
    step = (access.columns if of_a else access.rows)[-1][1]
    frame = begin_kernel(w, 0, slots_of((), [*edge_slots(access), step]), target)
    edges, kind = Edges(frame, access, of_a), register_type(tile.dtype, lanes)
    quarter = min(lanes, max(1, 16 // size)) if step == 1 else 1
    apart = w.arithmetic("mul", frame.int_(step), source.itemsize)
    cells = w.op(f"alloca [{lanes} x ptr], align 64")
    first = at(w, "%src", (w.op("load i64, ptr %outer, align 8"), 1))
    own = edges.parts("%outer")

    def remember(lane: str) -> None:
        real = w.op(f"call i64 @llvm.smin.i64(i64 {lane}, i64 %last)")
        w.do(f"store ptr {at(w, first, (real, '%stride'))}, ptr {at(w, cells, (lane, 8))}")

    def run(start: str, offset: str, length: str, entry: str) -> None:
        span = edges.within(edges.together(own, edges.parts(entry)), length)
        end = w.op(f"add nsw i64 {span.first}, {span.count}")

        def to(k: str) -> str:
            return at(w, "%dst", (w.op(f"add nsw i64 {start}, {k}"), lanes * size))

        def here(k: str) -> list[str]:
            starts = [w.op(f"load ptr, ptr {at(w, cells, (str(8 * lane), 1))}") for lane in range(lanes)]
            return [at(w, pointer, (offset, 1), (k, apart)) for pointer in starts]

        def nothing(k: str) -> None:
            w.do(f"store {kind} {constant(0, tile.dtype, lanes)}, ptr {to(k)}, align {size}")

        def square(k: str) -> None:
            rows, place = here(k), to(k)
            vectors = [gathered(w, tile, source, rows[i::quarter], 0, quarter) for i in range(quarter)]
            for out in transpose_quarters(w, tile, vectors, quarter):
                w.do(f"store {kind} {out}, ptr {place}, align {size}")
                place = w.op(f"getelementptr i8, ptr {place}, i64 {lanes * size}")

        squares = w.op(f"add nsw i64 {span.first}, {w.op(f'and i64 {span.count}, {-quarter}')}")
        loop(w, "0", span.first, 1, nothing)
        if quarter > 1:
            loop(w, span.first, squares, quarter, square)
        loop(w, squares if quarter > 1 else span.first, end, 1, lambda k: across(w, tile, source, here(k), to(k)))
        loop(w, end, length, 1, nothing)

    loop(w, "0", str(lanes), 1, remember)
    runs(w, "%depth", "%kc", run, entry_bytes(access))
    w.do("ret void")
    w.define(f"internal void @{name}({PACK_LANES_ARGUMENTS}) #1")


def render_lanes(module: Module, name: str, tile: Tile) -> None:
    """Add ``void @name(...)``, which computes a row of A with ``count`` columns of B."""
    w, lanes = Writer(module), tile.lanes
    kind, nbytes, size = register_type(tile.dtype, lanes), tile.lanes * tile.dtype.itemsize, tile.dtype.itemsize
    w.label("entry")
    chains = [w.op(f"alloca {kind}, align 64") for _ in range(AT_ONCE)]

    def load(pointer: str) -> str:
        return w.op(f"load {kind}, ptr {pointer}, align {size}")

    def columns(j: str, count: int) -> None:
        for chain in chains[:count]:
            w.do(f"store {kind} {constant(0, tile.dtype, lanes)}, ptr {chain}")

        def term(k: str) -> None:
            a = load(at(w, "%a", (k, nbytes)))
            for number, chain in enumerate(chains[:count]):
                b = load(at(w, "%b", (j, lanes_pitch(tile)), (k, nbytes), (str(number * lanes_pitch(tile)), 1)))
                w.do(f"store {kind} {multiply_add(w, tile, a, b, load(chain), lanes)}, ptr {chain}")

        loop(w, "0", "%kc", 1, term)
        for number, chain in enumerate(chains[:count]):
            place, last = at(w, "%totals", (j, nbytes), (str(number * nbytes), 1)), load(chain)

            def more(place: str = place, chain: str = chain, last: str = last) -> None:
                add = "fadd" if tile.dtype.is_floating else "add"
                w.do(f"store {kind} {w.op(f'{add} {kind} {load(place)}, {last}')}, ptr {chain}")

            when(w, "%add", more)
            w.do(f"store {kind} {load(chain)}, ptr {place}, align {size}")

    whole = w.op(f"and i64 %count, {-AT_ONCE}")
    loop(w, "0", whole, AT_ONCE, lambda j: columns(j, AT_ONCE))
    loop(w, whole, "%count", 1, lambda j: columns(j, 1))
    w.do("ret void")
    w.define(f"internal void @{name}({LANES_ARGUMENTS}) #1")

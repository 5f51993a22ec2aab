"""What is computed of a block of pairs: functions of the kernel's module, one for each reduction and one for all
weights.

Naive meaning::

    for y in range(first, stop):
        for m in range(m0, m1):
            values = [stage.value at (batch..., y, m), where ref p is pairs[p][y, m] or a finished reduction]
            pairs[i][y, m] = values[i]; a reduction's value is combined with cells[y % REDUCE_LANES, m]
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.dtypes import DType
from ..contraction.tile import ContractionTarget, Tile, at
from ..emit import Module, Writer, constant, emit_exprs, memory_type, register_type, splat, vector_of
from ..kernels import LANES, REDUCE_LANES, Attention, Reduce, Store
from ..lanes import Frame, LanePoint, begin_kernel, hoist_uniform, loop, spread, vector_loop
from ..reduction import identity
from ..stages import accumulate, reduces_of, roots_of, slots_of

FAR = 1 << 20  # lanes: a pair that is so far off the diagonal is on one side of it in the whole vector


def weights_of(kernel: Attention) -> list[Store]:
    """The stages that are sums of weights."""
    return [s for s in kernel.stages if isinstance(s, Store) and not s.scalar]


def steps_of(kernel: Attention) -> list[list[Reduce] | list[Store]]:
    """The passes over the pairs: what one function computes of each."""
    return [*([stage] for stage in reduces_of(kernel.stages)), weights_of(kernel)]


def render_step(
    module: Module, name: str, kernel: Attention, number: int, tile: Tile, target: ContractionTarget
) -> None:
    """Add ``i64 @name(...)``: a step for the pairs (first <= k < stop, m0 <= m < m1); the result is the status.

    ``pairs<p>`` points at the line of ``first`` of product p, ``cells`` at the reduction's, ``results`` at those of the
    finished ones.
    """
    w, stages = Writer(module), steps_of(kernel)[number]
    frame = begin_kernel(w, len(kernel.buffers), slots_of(stages, ()), target)
    batch = [f"%batch{axis}" for axis in range(len(kernel.batch))]
    size, line = tile.dtype.itemsize, tile.columns * tile.dtype.itemsize
    roots, products = roots_of(stages), len(kernel.products)
    refs = products + len(reduces_of(kernel.stages))
    outside = (float("-inf") if number == 0 and isinstance(stages[0], Reduce) else 0.0) if kernel.causal else None
    if number > 0 and kernel.causal:
        outside = None  # the first reduction's -inf is what the pair is from there on

    def row(y: str) -> None:
        below = w.op(f"sub nsw i64 {y}, %first")
        lines = [at(w, f"%pairs{p}", (below, line)) for p in range(products)]
        lane = w.op(f"mul i64 {w.op(f'and i64 {y}, {REDUCE_LANES - 1}')}, {tile.columns}")
        uniform = hoist_uniform(roots, LanePoint(frame, [*batch, y, "%m0"], 1, refs=[("", LANES)] * refs))

        def body(m: str, lanes: int, mask: str | None) -> None:
            column = w.op(f"sub nsw i64 {m}, %m0")
            cells = [at(w, cell, (column, size)) for cell in lines]
            found = [at(w, "%results", (str(r * line), 1), (column, size)) for r in range(refs - products)]
            known = [(_load(w, kernel.accumulate, cell, lanes), lanes) for cell in (*cells, *found)]
            point = LanePoint(frame, [*batch, y, m], lanes, mask, refs=known)
            values = emit_exprs(w, roots, point, spread(frame, uniform, roots, lanes))
            if outside is not None:
                there = _is_there(w, kernel.causal, y, m, lanes)
                values = [_select(w, kernel.accumulate, there, value, outside, lanes) for value in values]
            for cell, value in zip(cells, values, strict=False):
                w.do(f"store {register_type(kernel.accumulate, lanes)} {value}, ptr {cell}, align {size}")
            if isinstance(stages[0], Reduce):
                accumulate(w, stages[0], ["%cells"], w.op(f"add i64 {lane}, {column}"), [values], lanes, None)

        vector_loop(frame, "%m0", "%m1", body)

    loop(w, "%first", "%stop", 1, row)
    w.do(f"ret i64 {w.op(f'load i64, ptr {frame.status}')}")
    numbers = ", ".join(f"i64 {x}" for x in (*batch, "%first", "%stop", "%m0", "%m1"))
    pairs = ", ".join(f"ptr %pairs{p}" for p in range(products))
    w.define(f"internal i64 @{name}(ptr %bufs, ptr %ints, {numbers}, {pairs}, ptr %cells, ptr %results) #1")


def _load(w: Writer, dtype: DType, pointer: str, lanes: int) -> str:
    return w.op(f"load {register_type(dtype, lanes)}, ptr {pointer}, align {dtype.itemsize}")


def _select(w: Writer, dtype: DType, there: str, value: str, outside: float, lanes: int) -> str:
    kind = register_type(dtype, lanes)
    return w.op(f"select {vector_of('i1', lanes)} {there}, {kind} {value}, {kind} {constant(outside, dtype, lanes)}")


def _is_there(w: Writer, causal: int, k: str, m: str, lanes: int) -> str:
    """Of each lane, which is m + lane, whether k <= m (1) or m <= k (-1)."""
    apart = w.op(f"sub nsw i64 {k}, {m}")
    near = w.op(f"call i64 @llvm.smin.i64(i64 {apart}, i64 {FAR})")
    near = w.op(f"call i64 @llvm.smax.i64(i64 {near}, i64 -{FAR})")
    own = splat(w, "i32", w.op(f"trunc i64 {near} to i32"), lanes)
    numbers = "0" if lanes == 1 else f"<{', '.join(f'i32 {lane}' for lane in range(lanes))}>"
    return w.op(f"icmp {'sle' if causal > 0 else 'sge'} {vector_of('i32', lanes)} {own}, {numbers}")


# --- reductions -------------------------------------------------------------------------------------------------


def render_fold(module: Module, name: str, stage: Reduce, tile: Tile) -> None:
    """Add ``void @name(ptr %cells)``: halve the partial results until the first line of them is the result."""
    w = Writer(module)
    w.label("entry")
    half = REDUCE_LANES // 2
    while half:

        def combined(at_: str, half: int = half) -> None:
            other = at(w, "%cells", (w.op(f"add i64 {at_}, {half * tile.columns}"), tile.dtype.itemsize))
            accumulate(w, stage, ["%cells"], at_, [[_load(w, tile.dtype, other, LANES)]], LANES, None)

        loop(w, "0", str(half * tile.columns), LANES, combined)
        half //= 2
    w.do("ret void")
    w.define(f"internal void @{name}(ptr %cells) #1")


def begin_cells(frame: Frame, stage: Reduce, tile: Tile, cells: str) -> None:
    """Every partial result becomes that of nothing."""
    (value,) = identity(stage.op, tile.dtype)
    fill(frame.w, tile, cells, str(REDUCE_LANES * tile.columns), value)


def fill(w: Writer, tile: Tile, place: str, count: str, value: float) -> None:
    """Write ``count`` times the value, a multiple of LANES."""
    kind, size = vector_of(memory_type(tile.dtype), LANES), tile.dtype.itemsize

    def body(i: str) -> None:
        w.do(f"store {kind} {constant(value, tile.dtype, LANES)}, ptr {at(w, place, (i, size))}, align {size}")

    loop(w, "0", count, LANES, body)


def move_line(w: Writer, tile: Tile, source: str, to: str) -> None:
    """Copy a value for each column."""
    for c in range(0, tile.columns, LANES):
        here, there = (at(w, p, (str(c), tile.dtype.itemsize)) for p in (source, to))
        w.do(f"store {register_type(tile.dtype, LANES)} {_load(w, tile.dtype, here, LANES)}, ptr {there}, align 16")


def accumulate_line(w: Writer, stage: Reduce, tile: Tile, source: str, cells: str, lane: str) -> None:
    """Combine a value for each column with the partial results of a lane."""
    first = w.op(f"mul i64 {lane}, {tile.columns}")
    for c in range(0, tile.columns, LANES):
        value = _load(w, tile.dtype, at(w, source, (str(c), tile.dtype.itemsize)), LANES)
        accumulate(w, stage, [cells], w.op(f"add i64 {first}, {c}"), [[value]], LANES, None)


def pointers(w: Writer, base: str, places: Sequence[int]) -> list[str]:
    """The addresses of places in bytes."""
    return [at(w, base, (str(place), 1)) for place in places]

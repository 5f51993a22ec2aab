"""Renders :class:`Nest` for CPUs: rows, element by element, in vector lanes.

Naive meaning::

    for unit in range(begin, end):                     # a grid point and a block of the inner axis (all together)
        for stage in stages:
            for i in range(lo, hi):                    # Store: write;  Reduce: lane[i % 64] = combine(lane, value)
                ...
            tree over the 64 lanes: 64 -> 32 -> ... -> 1

Stages that do not need each other's results share one loop. The 64 lanes of a reduction live in a stack array, so
that the loop body exists once whatever its length; a store to a lane is read again four vectors later, which costs
some cycles a vector: little beside a dear expression. Cheap ones (CHEAP) are first walked 64 elements at a time with
the lanes in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..core import dtypes as dt
from .emit import Writer, constant, emit_exprs, memory_type, register_type, vector_of
from .expr import Expr, topological
from .kernels import REDUCE_LANES, Int, Nest, Reduce, Store, extents_of
from .lanes import Frame, LanePoint, RenderTarget, aligned_loop, hoist_uniform, loop, spread, vector_loop
from .reduction import identities, state_dtypes
from .stages import (
    accumulate,
    begin_units,
    combine_registers,
    element_values,
    end_units,
    grid_indices,
    load_cell,
    piece,
    roots_of,
    stage_groups,
    stores_of,
    streams,
)

CHEAP = 10  # nodes of the reduced expressions; more are not worth a second copy of the loop body


def render_nest(kernel: Nest, name: str, target: RenderTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    frame = begin_units(kernel, (*kernel.grid, *extents_of(kernel.inner), kernel.block, kernel.blocks), target)
    if kernel.streams:
        frame.streams = streams(frame, (*kernel.grid, kernel.inner), kernel.stages)
    cells = [_allocate(frame.w, s) if isinstance(s, Reduce) else [] for s in kernel.stages]
    return end_units(frame, name, lambda unit: _unit(kernel, frame, cells, unit))


def _unit(kernel: Nest, frame: Frame, cells: list[list[str]], unit: str) -> None:
    w = frame.w
    if kernel.block_axis:
        outer = grid_indices(frame, (*kernel.grid, kernel.blocks), unit)
        block = outer[-1]
    else:  # one block of every row before the next block: reads across rows find their lines in the cache again
        block, *outer = grid_indices(frame, (kernel.blocks, *kernel.grid), unit)
    inner = extents_of(kernel.inner)
    lo, hi = piece(frame, block, 0 if kernel.blocks == 1 else kernel.block, kernel.inner)
    if kernel.together > 1:
        _walk_together(frame, outer, kernel.together, lo, hi, stores_of(kernel.stages))
        return
    refs: list[tuple[str, int]] = []
    for group in stage_groups(kernel.stages):
        members = [(kernel.stages[s], cells[s]) for s in group]
        first = members[0][0]
        if isinstance(first, Store) and first.scalar:
            _scalar_stores(frame, [*outer, *["0"] * len(inner)], refs, stores_of(stage for stage, _ in members))
            continue
        for stage, cell in members:
            if isinstance(stage, Reduce):
                _clear(w, stage, cell)
        if len(inner) > 1:
            _walk_axes(frame, inner, outer, lo, hi, refs, members)
        else:
            _walk(frame, outer, lo, hi, refs, members)
        for stage, cell in members:
            if isinstance(stage, Reduce):
                refs.append((_tree(w, stage, cell), 1))


def _scalar_stores(frame: Frame, axes: list[str], refs: list[tuple[str, int]], stores: list[Store]) -> None:
    point = LanePoint(frame, axes, 1, None, refs)
    known: dict[int, str] = {}
    for store in stores:
        value, *indices = emit_exprs(frame.w, [store.value, *store.indices], point, known)
        point.store(store, value, indices)


def _walk(
    frame: Frame,
    outer: list[str],
    lo: str,
    hi: str,
    refs: list[tuple[str, int]],
    members: list[tuple[Reduce | Store, list[str]]],
) -> None:
    """One loop over the inner axis that carries out every member stage."""
    roots = roots_of(stage for stage, _ in members)
    uniform = hoist_uniform(roots, LanePoint(frame, [*outer, lo], 1, None, refs))
    if all(isinstance(s, Reduce) for s, _ in members) and len(topological(roots)) <= CHEAP:
        lo = _walk_lanes(frame, outer, lo, hi, refs, members, roots, uniform)

    elements = partial(_elements, frame, outer, lo, refs, members, roots, uniform)
    vector_loop(frame, lo, hi, elements)


def _walk_together(frame: Frame, outer: list[str], count: int, lo: str, hi: str, stores: list[Store]) -> None:
    """As :func:`_walk`, of the points of a short axis at a time."""
    w, roots = frame.w, roots_of(stores)
    places = [[*outer, str(number)] for number in range(count)]
    uniform = [hoist_uniform(roots, LanePoint(frame, [*place, lo], 1)) for place in places]

    def elements(i: str, lanes: int, mask: str | None) -> None:
        points = [LanePoint(frame, [*at, i], lanes, mask, uniform=u) for at, u in zip(places, uniform, strict=True)]
        found = [emit_exprs(w, roots, p, spread(frame, p.uniform, roots, lanes)) for p in points]
        for store, values in zip(stores, zip(*found, strict=True), strict=True):
            if lanes > 1 and store.access.strides[-2:] == (1, count):
                points[0].store_between(store, values)
            else:
                for point, value in zip(points, values, strict=True):
                    point.store(store, value, [])

    vector_loop(frame, lo, hi, elements)


def _walk_axes(
    frame: Frame,
    inner: Sequence[Int],
    outer: list[str],
    lo: str,
    hi: str,
    refs: list[tuple[str, int]],
    members: list[tuple[Reduce | Store, list[str]]],
) -> None:
    """As :func:`_walk`, where the inner axis is several: line by line of the last, in vectors of neighbouring lanes."""
    w, roots, width = frame.w, roots_of(stage for stage, _ in members), frame.int_(inner[-1])

    def line(number: str) -> None:
        first = w.op(f"mul nsw i64 {number}, {width}")
        origin = w.op(f"sub nsw i64 {lo}, {first}")  # element i of the line has the lane of i - origin
        start = w.op(f"call i64 @llvm.smax.i64(i64 {origin}, i64 0)")
        stop = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'sub nsw i64 {hi}, {first}')}, i64 {width})")
        axes = [*outer, *grid_indices(frame, tuple(inner[:-1]), number)]
        uniform = hoist_uniform(roots, LanePoint(frame, [*axes, start], 1, None, refs))
        elements = partial(_elements, frame, axes, origin, refs, members, roots, uniform)
        aligned_loop(frame, start, stop, origin, elements)

    last = w.op(f"sdiv i64 {w.op(f'sub nsw i64 {hi}, 1')}, {width}")
    loop(w, w.op(f"sdiv i64 {lo}, {width}"), w.op(f"add nsw i64 {last}, 1"), 1, line)


def _elements(
    frame: Frame,
    outer: list[str],
    origin: str,
    refs: list[tuple[str, int]],
    members: list[tuple[Reduce | Store, list[str]]],
    roots: list[Expr],
    uniform: dict[int, str],
    i: str,
    lanes: int,
    mask: str | None,
) -> None:
    """Carry out every member stage at the elements from ``i`` on; ``origin`` has the first of the 64 lanes."""
    w = frame.w
    point = LanePoint(frame, [*outer, i], lanes, mask, refs, uniform=uniform)
    known = spread(frame, uniform, roots, lanes)
    registers = dict(zip(map(id, roots), emit_exprs(w, roots, point, known), strict=True))
    for stage, cell in members:
        if isinstance(stage, Store):
            point.store(stage, registers[id(stage.value)], [registers[id(x)] for x in stage.indices])
        else:
            values = element_values(stage, registers)
            lane = w.op(f"and i64 {w.op(f'sub nsw i64 {i}, {origin}')}, {REDUCE_LANES - 1}")
            accumulate(w, stage, cell, lane, [values], lanes, mask)


def _walk_lanes(
    frame: Frame,
    outer: list[str],
    lo: str,
    hi: str,
    refs: list[tuple[str, int]],
    members: list[tuple[Reduce | Store, list[str]]],
    roots: list[Expr],
    uniform: dict[int, str],
) -> str:
    """Reduce as many whole groups of 64 elements as there are, with the lanes in registers; returns where the rest
    begins (a multiple of 64 after ``lo``, so that elements keep their lanes)."""
    w = frame.w
    whole = w.op(f"and i64 {w.op(f'sub nsw i64 {hi}, {lo}')}, {-REDUCE_LANES}")
    stop = w.op(f"add nsw i64 {lo}, {whole}")
    stages = [(s, cell[: len(cell) // 2], cell[len(cell) // 2 :]) for s, cell in members if isinstance(s, Reduce)]
    for stage, lanes_at, registers_at in stages:
        for source, target, dtype in zip(lanes_at, registers_at, state_dtypes(stage), strict=True):
            kind = vector_of(memory_type(dtype), REDUCE_LANES)
            w.do(f"store {kind} {w.op(f'load {kind}, ptr {source}, align 64')}, ptr {target}, align 64")

    def body(i: str) -> None:
        point = LanePoint(frame, [*outer, i], REDUCE_LANES, None, refs)
        registers = iter(emit_exprs(w, roots, point, spread(frame, uniform, roots, REDUCE_LANES)))
        for stage, _, registers_at in stages:
            values = [next(registers) for _ in state_dtypes(stage)]
            accumulate(w, stage, registers_at, "0", [values], REDUCE_LANES, None)

    loop(w, lo, stop, REDUCE_LANES, body)
    for stage, lanes_at, registers_at in stages:
        for target, source, dtype in zip(lanes_at, registers_at, state_dtypes(stage), strict=True):
            kind = vector_of(memory_type(dtype), REDUCE_LANES)
            w.do(f"store {kind} {w.op(f'load {kind}, ptr {source}, align 64')}, ptr {target}, align 64")
    return stop


# --- the 64 lanes -----------------------------------------------------------------------------------------------


def _allocate(w: Writer, stage: Reduce) -> list[str]:
    """For each part of the state its lanes in memory, then for each a vector that becomes registers."""
    return [
        w.op(f"alloca {kind}, align 64", "lanes")
        for form in ("[{} x {}]", "<{} x {}>")
        for kind in (form.format(REDUCE_LANES, memory_type(d)) for d in state_dtypes(stage))
    ]


def _clear(w: Writer, stage: Reduce, cells: list[str]) -> None:
    for cell, start, dtype in zip(cells, identities(stage), state_dtypes(stage), strict=False):
        kind = f"<{REDUCE_LANES} x {memory_type(dtype)}>"
        value = constant(start.value, dt.uint8 if dtype is dt.bool_ else dtype, REDUCE_LANES)
        w.do(f"store {kind} {value}, ptr {cell}, align 64")


def _tree(w: Writer, stage: Reduce, cells: list[str]) -> str:
    """Halve the lanes until one is left: lane l is combined with lane l + half."""
    half = REDUCE_LANES // 2
    values = []
    for cell, dtype in zip(cells, state_dtypes(stage), strict=False):
        upper = w.op(f"getelementptr {memory_type(dtype)}, ptr {cell}, i64 {half}", "p")
        values.append((load_cell(w, cell, dtype, half), load_cell(w, upper, dtype, half)))
    current = combine_registers(w, stage, [a for a, _ in values], [b for _, b in values], half)
    while half > 1:
        low: list[str] = []
        high: list[str] = []
        for register, dtype in zip(current, state_dtypes(stage), strict=True):
            kind = register_type(dtype, half)
            for part, start in ((low, 0), (high, half // 2)):
                if half == 2:
                    part.append(w.op(f"extractelement {kind} {register}, i64 {start}"))
                else:
                    chosen = ", ".join(f"i32 {start + lane}" for lane in range(half // 2))
                    part.append(w.op(f"shufflevector {kind} {register}, {kind} poison, <{half // 2} x i32> <{chosen}>"))
        half //= 2
        current = combine_registers(w, stage, low, high, half)
    return current[-1]

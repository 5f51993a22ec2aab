"""Renders :class:`Nest` for GPUs: neighbouring threads take neighbouring elements of the inner axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..emit import emit_exprs
from ..kernels import REDUCE_LANES, Int, Nest, Reduce, Store, extents_of
from ..lanes import LanePoint, RenderTarget, hoist_uniform, when
from ..stages import (
    element_values,
    grid_indices,
    piece,
    reduces_of,
    roots_of,
    slots_of,
    stage_groups,
    stores_of,
    write_stores,
)
from .frame import THREADS, GpuLaunch, Threads, barrier, begin_gpu, elementwise_block, end_gpu
from .partials import Partials, halve, halves, state_nbytes


def launch_nest(kernel: Nest, ints: Sequence[int], units: int) -> GpuLaunch:
    """64 threads where there is something to reduce, else as many as a unit has elements."""
    if reduces_of(kernel.stages):
        return GpuLaunch(units, (REDUCE_LANES, 1), state_nbytes(kernel) * REDUCE_LANES)
    return GpuLaunch(units, elementwise_block(kernel, ints))


def render_nest(kernel: Nest, name: str, target: RenderTarget) -> str:
    """LLVM IR (nvptx64) of one module that defines the entry ``name``."""
    slots = slots_of(kernel.stages, (*kernel.grid, *extents_of(kernel.inner), kernel.block, kernel.blocks))
    t = begin_gpu(len(kernel.buffers), slots, target)
    partials = {s: Partials(t, stage) for s, stage in enumerate(kernel.stages) if isinstance(stage, Reduce)}
    t.units(lambda unit: _unit(kernel, t, partials, unit))
    return end_gpu(t, name, REDUCE_LANES if partials else THREADS)


def _unit(kernel: Nest, t: Threads, partials: dict[int, Partials], unit: str) -> None:
    indices = grid_indices(t.frame, (*kernel.grid, kernel.blocks), unit)
    outer = indices if kernel.block_axis else indices[:-1]
    inner = extents_of(kernel.inner)
    lo, hi = piece(t.frame, indices[-1], 0 if kernel.blocks == 1 else kernel.block, kernel.inner)
    refs: list[tuple[str, int]] = []
    groups = stage_groups(kernel.stages)
    for number, group in enumerate(groups):
        stages = [kernel.stages[s] for s in group]
        first = stages[0]
        if isinstance(first, Store) and first.scalar:
            point = LanePoint(t.frame, [*outer, *["0"] * len(inner)], 1, None, refs)
            stores = stores_of(stages)
            when(t.w, t.w.op(f"icmp eq i64 {t.x}, 0"), partial(write_stores, point, stores))
        else:
            made = [partials[s] for s in group if s in partials]
            for at in [outer] if kernel.together == 1 else [[*outer, str(n)] for n in range(kernel.together)]:
                _walk(t, inner, at, lo, hi, refs, stages, made)
            refs += _tree(t, made)
        if partials or number + 1 < len(groups):
            # What one stage wrote another thread may read in a later one, and the next unit's partial results go
            # where these are read.
            barrier(t.w)


def _walk(
    t: Threads,
    inner: Sequence[Int],
    outer: list[str],
    lo: str,
    hi: str,
    refs: list[tuple[str, int]],
    stages: Sequence[Reduce | Store],
    made: Sequence[Partials],
) -> None:
    roots = roots_of(stages)
    start = LanePoint(t.frame, [*outer, *grid_indices(t.frame, (*inner,), lo)], 1, None, refs)
    for each in made:
        each.clear(start)
    uniform: dict[int, str] = {}

    def walk() -> None:
        if len(inner) == 1:  # what does not vary along the last of several axes varies along the others
            uniform.update(hoist_uniform(roots, start))
        t.along_x(lo, hi, body)

    def body(i: str) -> None:
        point = LanePoint(t.frame, [*outer, *grid_indices(t.frame, (*inner,), i)], 1, None, refs)
        registers = {id(e): r for e, r in zip(roots, emit_exprs(t.w, roots, point, dict(uniform)), strict=True)}
        reducing = iter(made)
        for stage in stages:
            if isinstance(stage, Store):
                point.store(stage, registers[id(stage.value)], [registers[id(x)] for x in stage.indices])
            else:
                next(reducing).add(element_values(stage, registers))

    # Hoisted loads of an empty row would read memory that is not there.
    when(t.w, t.w.op(f"icmp slt i64 {lo}, {hi}"), walk)


def _tree(t: Threads, made: Sequence[Partials]) -> list[tuple[str, int]]:
    """The tree over the threads' partial results; every thread gets the reductions."""
    if not made:
        return []
    for each in made:
        each.publish(t.x)
    for half in halves():
        barrier(t.w)
        when(t.w, t.w.op(f"icmp ult i64 {t.x}, {half}"), partial(halve, made, t.x, half))
    barrier(t.w)
    return [p.result() for p in made]

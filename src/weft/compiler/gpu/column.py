"""Renders :class:`ColumnReduce` for GPUs: neighbouring threads take neighbouring columns."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.errors import CompileError
from ..emit import emit_exprs
from ..kernels import REDUCE_LANES, ColumnReduce, extents_of
from ..lanes import LanePoint, RenderTarget, loop, when
from ..stages import element_values, grid_indices, piece, reduces_of, roots_of, slots_of, stores_of, write_stores
from .frame import GpuLaunch, Threads, barrier, begin_gpu, end_gpu
from .partials import Partials, halve, halves, state_nbytes

COLUMNS, JOBS = 32, 8  # shape of a block: a warp reads 32 neighbouring columns
SHARED_NBYTES = 48 << 10  # what every GPU gives a block without asking


def launch_column(kernel: ColumnReduce, ints: Sequence[int], units: int) -> GpuLaunch:
    """Blocks of columns x JOBS threads."""
    columns = _columns(kernel)
    return GpuLaunch(units, (columns, JOBS), state_nbytes(kernel) * REDUCE_LANES * columns)


def _columns(kernel: ColumnReduce) -> int:
    """Columns of a block: as many, up to a warp, as have their partial results in shared memory."""
    columns = COLUMNS
    while columns and state_nbytes(kernel) * REDUCE_LANES * columns > SHARED_NBYTES:
        columns //= 2
    if not columns:
        raise CompileError(
            f"{len(reduces_of(kernel.stages))} reductions of columns do not fit into a GPU's shared memory"
        )
    return columns


def render_column(kernel: ColumnReduce, name: str, target: RenderTarget) -> str:
    """LLVM IR (nvptx64) of one module that defines the entry ``name``.

    Raises:
        CompileError: the reductions need more shared memory than a block has.
    """
    reduced = extents_of(kernel.reduced)
    extents = (*kernel.grid, *reduced, kernel.chunk, kernel.chunks, kernel.inner, kernel.block, kernel.blocks)
    t = begin_gpu(len(kernel.buffers), slots_of(kernel.stages, extents), target)
    columns = _columns(kernel)
    made = [Partials(t, stage, columns) for stage in reduces_of(kernel.stages)]
    t.units(lambda unit: _unit(kernel, t, made, columns, unit))
    return end_gpu(t, name, columns * JOBS)


def _unit(kernel: ColumnReduce, t: Threads, made: Sequence[Partials], columns: int, unit: str) -> None:
    w = t.w
    *outer, chunk, block = grid_indices(t.frame, (*kernel.grid, kernel.chunks, kernel.blocks), unit)
    if kernel.chunk_axis:
        outer = [*outer, chunk]
    first, row_stop = piece(t.frame, chunk, kernel.chunk, kernel.reduced)
    lo, hi = piece(t.frame, block, kernel.block, kernel.inner)
    reduced = extents_of(kernel.reduced)
    stores = stores_of(kernel.stages)
    roots = roots_of([p.stage for p in made])

    def strip(start: str) -> None:
        column = w.op(f"add nsw i64 {start}, {t.x}")
        inside = w.op(f"icmp slt i64 {column}, {hi}")
        when(w, inside, lambda: loop(w, t.y, str(REDUCE_LANES), JOBS, lambda lane: one_lane(lane, column)))
        for half in halves():
            if half < JOBS:  # before that, thread j combines what it made itself: lanes j, j + 8, ...
                barrier(w)
            loop(w, t.y, str(half), JOBS, lambda lane, half=half: halve(made, at(lane), half))  # type: ignore[misc]
        finish = w.op(f"and i1 {inside}, {w.op(f'icmp eq i64 {t.y}, 0')}")
        when(w, finish, lambda: store(column))
        barrier(w)  # the next strip's partial results go where these are read

    def store(column: str) -> None:
        refs = [p.result(t.x) for p in made]
        write_stores(LanePoint(t.frame, [*outer, *["0"] * len(reduced), column], 1, None, refs), stores)

    def at(lane: str) -> str:
        return w.op(f"add nsw i64 {w.op(f'mul nsw i64 {lane}, {columns}')}, {t.x}")

    def one_lane(lane: str, column: str) -> None:
        for each in made:
            each.clear(LanePoint(t.frame, [*outer, *["0"] * len(reduced), column], 1))
        loop(w, w.op(f"add nsw i64 {first}, {lane}"), row_stop, REDUCE_LANES, lambda row: element(row, column))
        for each in made:
            each.publish(at(lane))

    def element(row: str, column: str) -> None:
        point = LanePoint(t.frame, [*outer, *grid_indices(t.frame, reduced, row), column], 1)
        registers = {id(e): r for e, r in zip(roots, emit_exprs(w, roots, point), strict=True)}
        for each in made:
            each.add(element_values(each.stage, registers))

    loop(w, lo, hi, columns, strip)

"""Kernels for NVIDIA GPUs: the same dataclasses, the same order of operations, hence the same bits (docs/numerics.md).

**ABI.** ``.entry kernel(ptr bufs, ptr ints, i64 begin, i64 end, ptr status)``

- ``bufs`` points at an array, in device memory, of device pointers; ``ints`` at an array of int64: as for a CPU;
- units ``begin <= u < end`` are computed: block b of the grid takes units ``begin + b``, and on in steps of the
  grid's size, so any grid does; disjoint ranges may run at the same time;
- ``status`` points at one int64 in device memory, into which status bits are or-ed (atomically);
- the shape of a block is the kernel's: :func:`gpu_launch` gives it, with the grid and the number of units.

How kernels lie on threads (a unit is one block of threads):

=============  =================================================================================================
Nest           a thread for each element of a unit; with reductions 64 threads, thread t holding partial result t,
               which meet in shared memory and are combined there by the tree of the contract
ColumnReduce   32 columns x 8 threads: thread (c, j) makes partial results j, j + 8, ... of column c
Contraction    a thread for each element of a 16 x 16 piece of the result, with the chains over k of the contract;
               units are these pieces (not the CPU's), and PARTITION ints are not read. Operands come from the
               caches: pieces of A and B in shared memory are for a later version
Sequential     a thread for each inner element, which walks the steps
=============  =================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ...core.errors import CompileError
from ..contraction.plan import contraction_slots
from ..contraction.tile import convert
from ..emit import emit_exprs, mangle, memory_type, scalar_type
from ..expr import Expr
from ..kernels import (
    K_BLOCK,
    REDUCE_LANES,
    ColumnReduce,
    Contraction,
    Int,
    Kernel,
    Nest,
    Reduce,
    Sequential,
    Slot,
    Store,
)
from ..lanes import LanePoint, MemoryTarget, hoist_uniform, loop
from ..nest import accumulate, combine_registers, grid_indices, load_cell, slots_of, stage_groups, store_cell
from ..reduction import identities, state_dtypes
from .frame import Threads, barrier, begin_gpu, end_gpu, piece, shared_array, shared_cell, when

__all__ = ["GpuLaunch", "gpu_launch", "render_gpu"]

THREADS = 256  # most threads of an elementwise block
COLUMNS, JOBS = 32, 8  # shape of a ColumnReduce's block: a warp reads 32 neighbouring columns
TILE = 16  # a Contraction's block computes TILE x TILE elements
MOST_BLOCKS = 1 << 20
SHARED_NBYTES = 48 << 10  # what every GPU gives a block without asking


@dataclass(frozen=True, slots=True)
class GpuLaunch:
    """How to launch: ``0 .. units`` is the range to give, ``grid`` and ``block`` are (x, y); no dynamic shared memory
    is needed beyond the ``shared_nbytes`` that the kernel declares."""

    units: int
    grid: tuple[int, int]
    block: tuple[int, int]
    shared_nbytes: int


def gpu_launch(kernel: Kernel, ints: Sequence[int], units: int) -> GpuLaunch:
    """The launch of a kernel with these ints and (CPU) units; a Contraction's units are counted anew."""

    def value(x: Int) -> int:
        return ints[x.index] if isinstance(x, Slot) else x

    block, shared = (THREADS, 1), 0
    if isinstance(kernel, Contraction):
        units, block = -(-value(kernel.m) // TILE) * -(-value(kernel.n) // TILE), (TILE, TILE)
        for axis in kernel.batch:
            units *= value(axis)
    elif isinstance(kernel, ColumnReduce):
        columns = _columns(kernel)
        block, shared = (columns, JOBS), _state_nbytes(kernel) * REDUCE_LANES * columns
    elif isinstance(kernel, Nest) and _reduces(kernel):
        block, shared = (REDUCE_LANES, 1), _state_nbytes(kernel) * REDUCE_LANES
    else:
        widest = value(kernel.inner) if kernel.blocks == 1 else min(value(kernel.inner), value(kernel.block))
        block = (min(THREADS, max(32, -(-widest // 32) * 32)), 1)
    return GpuLaunch(units, (max(1, min(units, MOST_BLOCKS)), 1), block, shared)


def render_gpu(kernel: Kernel, name: str, target: MemoryTarget) -> str:
    """LLVM IR (nvptx64) of one module that defines the entry ``name``.

    Raises:
        CompileError: the kernel's reductions need more shared memory than a block has.
    """
    if isinstance(kernel, Nest):
        return _render_nest(kernel, name, target)
    if isinstance(kernel, ColumnReduce):
        return _render_column(kernel, name, target)
    if isinstance(kernel, Contraction):
        return _render_contraction(kernel, name, target)
    return _render_sequential(kernel, name, target)


def _reduces(kernel: Nest | ColumnReduce) -> list[Reduce]:
    return [s for s in kernel.stages if isinstance(s, Reduce)]


def _state_nbytes(kernel: Nest | ColumnReduce) -> int:
    """Bytes of one partial result of every reduction."""
    return sum(d.itemsize for s in _reduces(kernel) for d in state_dtypes(s))


def _extents(*values: Int) -> list[Slot]:
    return [x for x in values if isinstance(x, Slot)]


# --- partial results --------------------------------------------------------------------------------------------


class _Partials:
    """The partial results of one Reduce: the one that a thread is making, and all of them in shared memory."""

    def __init__(self, t: Threads, stage: Reduce, columns: int = 1):
        self.w, self.stage, self.columns = t.w, stage, columns
        self.dtypes = state_dtypes(stage)
        self.own = [t.w.op(f"alloca {memory_type(d)}, align 8", "own") for d in self.dtypes]
        self.shared = [shared_array(t.w, d, REDUCE_LANES * columns) for d in self.dtypes]

    def clear(self, point: LanePoint) -> None:
        """Begin: the identity."""
        for cell, dtype, value in zip(
            self.own, self.dtypes, emit_exprs(self.w, identities(self.stage), point), strict=True
        ):
            store_cell(self.w, cell, dtype, value, 1)

    def add(self, values: list[str]) -> None:
        """Combine one element into the thread's own partial result."""
        accumulate(self.w, self.stage, self.own, "0", values, 1, None)

    def publish(self, at: str) -> None:
        """Write the thread's own partial result into shared memory."""
        for cell, array, dtype in zip(self.own, self.shared, self.dtypes, strict=True):
            shared_cell(self.w, array, dtype, at, load_cell(self.w, cell, dtype, 1))

    def halve(self, at: str, half: int) -> None:
        """Combine partial result ``at`` with the one ``half`` lanes on."""
        above = self.w.op(f"add nsw i64 {at}, {half * self.columns}")
        low, high = (
            [shared_cell(self.w, array, d, place) for array, d in zip(self.shared, self.dtypes, strict=True)]
            for place in (at, above)
        )
        merged = combine_registers(self.w, self.stage, low, high, 1)
        for array, dtype, value in zip(self.shared, self.dtypes, merged, strict=True):
            shared_cell(self.w, array, dtype, at, value)

    def result(self, column: str = "0") -> tuple[str, int]:
        """The reduction, as a LanePoint's ref."""
        return shared_cell(self.w, self.shared[-1], self.dtypes[-1], column), 1


def _halves() -> list[int]:
    return [REDUCE_LANES >> step for step in range(1, REDUCE_LANES.bit_length())]


def _halve(made: Sequence[_Partials], at: str, half: int) -> None:
    for each in made:
        each.halve(at, half)


def _reduce_roots(stages: Sequence[Reduce | Store]) -> list[Expr]:
    """What is evaluated at each point: values, scatter indices, positions."""
    roots: list[Expr] = []
    for stage in stages:
        roots.append(stage.value)
        if isinstance(stage, Store):
            roots += stage.indices
        elif stage.position is not None:
            roots.append(stage.position)
    return roots


def _reduce_values(stage: Reduce, registers: dict[int, str]) -> list[str]:
    return [registers[id(e)] for e in (stage.value, stage.position) if e is not None]


def _write(point: LanePoint, stores: Sequence[Store]) -> None:
    """Compute all stores' values and indices, then write in order."""
    values = iter(emit_exprs(point.frame.w, [e for s in stores for e in (s.value, *s.indices)], point))
    for store in stores:
        value = next(values)
        point.store(store, value, [next(values) for _ in store.indices])


# --- rows -------------------------------------------------------------------------------------------------------


def _render_nest(kernel: Nest, name: str, target: MemoryTarget) -> str:
    t = begin_gpu(
        len(kernel.buffers),
        slots_of(kernel.stages, _extents(*kernel.grid, kernel.inner, kernel.block, kernel.blocks)),
        target,
    )
    partials = {s: _Partials(t, stage) for s, stage in enumerate(kernel.stages) if isinstance(stage, Reduce)}
    t.units(lambda unit: _nest_unit(kernel, t, partials, unit))
    return end_gpu(t, name, REDUCE_LANES if partials else THREADS)


def _nest_unit(kernel: Nest, t: Threads, partials: dict[int, _Partials], unit: str) -> None:
    indices = grid_indices(t.frame, (*kernel.grid, kernel.blocks), unit)
    outer = indices if kernel.block_axis else indices[:-1]
    lo, hi = "0", t.frame.int_(kernel.inner)
    if kernel.blocks != 1:
        lo, hi = piece(t.frame, indices[-1], kernel.block, kernel.inner)
    refs: list[tuple[str, int]] = []
    groups = stage_groups(kernel.stages)
    for number, group in enumerate(groups):
        stages = [kernel.stages[s] for s in group]
        first = stages[0]
        if isinstance(first, Store) and first.scalar:
            point = LanePoint(t.frame, [*outer, "0"], 1, None, refs)
            stores = [s for s in stages if isinstance(s, Store)]
            when(t.w, t.w.op(f"icmp eq i64 {t.x}, 0"), partial(_write, point, stores))
        else:
            made = [partials[s] for s in group if s in partials]
            _nest_walk(t, outer, lo, hi, refs, stages, made)
            refs += _nest_tree(t, made)
        if partials or number + 1 < len(groups):
            # What one stage wrote another thread may read in a later one, and the next unit's partial results go
            # where these are read.
            barrier(t.w)


def _nest_walk(
    t: Threads,
    outer: list[str],
    lo: str,
    hi: str,
    refs: list[tuple[str, int]],
    stages: Sequence[Reduce | Store],
    made: Sequence[_Partials],
) -> None:
    roots = _reduce_roots(stages)
    start = LanePoint(t.frame, [*outer, lo], 1, None, refs)
    for each in made:
        each.clear(start)
    uniform: dict[int, str] = {}

    def walk() -> None:
        uniform.update(hoist_uniform(roots, start))
        t.along_x(lo, hi, body)

    def body(i: str) -> None:
        point = LanePoint(t.frame, [*outer, i], 1, None, refs)
        registers = {id(e): r for e, r in zip(roots, emit_exprs(t.w, roots, point, dict(uniform)), strict=True)}
        reducing = iter(made)
        for stage in stages:
            if isinstance(stage, Store):
                point.store(stage, registers[id(stage.value)], [registers[id(x)] for x in stage.indices])
            else:
                next(reducing).add(_reduce_values(stage, registers))

    # Hoisted loads of an empty row would read memory that is not there.
    when(t.w, t.w.op(f"icmp slt i64 {lo}, {hi}"), walk)


def _nest_tree(t: Threads, made: Sequence[_Partials]) -> list[tuple[str, int]]:
    """The tree over the threads' partial results; every thread gets the reductions."""
    if not made:
        return []
    for each in made:
        each.publish(t.x)
    for half in _halves():
        barrier(t.w)
        when(t.w, t.w.op(f"icmp ult i64 {t.x}, {half}"), partial(_halve, made, t.x, half))
    barrier(t.w)
    return [p.result() for p in made]


# --- columns ----------------------------------------------------------------------------------------------------


def _columns(kernel: ColumnReduce) -> int:
    """Columns of a block: as many, up to a warp, as have their partial results in shared memory."""
    columns = COLUMNS
    while columns and _state_nbytes(kernel) * REDUCE_LANES * columns > SHARED_NBYTES:
        columns //= 2
    if not columns:
        raise CompileError(f"{len(_reduces(kernel))} reductions of columns do not fit into a GPU's shared memory")
    return columns


def _render_column(kernel: ColumnReduce, name: str, target: MemoryTarget) -> str:
    extents = _extents(
        *kernel.grid, kernel.reduced, kernel.chunk, kernel.chunks, kernel.inner, kernel.block, kernel.blocks
    )
    t = begin_gpu(len(kernel.buffers), slots_of(kernel.stages, extents), target)
    columns = _columns(kernel)
    made = [_Partials(t, stage, columns) for stage in _reduces(kernel)]
    t.units(lambda unit: _column_unit(kernel, t, made, columns, unit))
    return end_gpu(t, name, columns * JOBS)


def _column_unit(kernel: ColumnReduce, t: Threads, made: Sequence[_Partials], columns: int, unit: str) -> None:
    w = t.w
    *outer, chunk, block = grid_indices(t.frame, (*kernel.grid, kernel.chunks, kernel.blocks), unit)
    if kernel.chunk_axis:
        outer = [*outer, chunk]
    first, row_stop = piece(t.frame, chunk, kernel.chunk, kernel.reduced)
    lo, hi = piece(t.frame, block, kernel.block, kernel.inner)
    stores = [s for s in kernel.stages if isinstance(s, Store)]
    roots = _reduce_roots([p.stage for p in made])

    def strip(start: str) -> None:
        column = w.op(f"add nsw i64 {start}, {t.x}")
        inside = w.op(f"icmp slt i64 {column}, {hi}")
        when(w, inside, lambda: loop(w, t.y, str(REDUCE_LANES), JOBS, lambda lane: one_lane(lane, column)))
        for half in _halves():
            if half < JOBS:  # before that, thread j combines what it made itself: lanes j, j + 8, ...
                barrier(w)
            loop(w, t.y, str(half), JOBS, lambda lane, half=half: _halve(made, at(lane), half))  # type: ignore[misc]
        finish = w.op(f"and i1 {inside}, {w.op(f'icmp eq i64 {t.y}, 0')}")
        when(
            w,
            finish,
            lambda: _write(LanePoint(t.frame, [*outer, "0", column], 1, None, [p.result(t.x) for p in made]), stores),
        )
        barrier(w)  # the next strip's partial results go where these are read

    def at(lane: str) -> str:
        return w.op(f"add nsw i64 {w.op(f'mul nsw i64 {lane}, {columns}')}, {t.x}")

    def one_lane(lane: str, column: str) -> None:
        for each in made:
            each.clear(LanePoint(t.frame, [*outer, first, column], 1))
        loop(w, w.op(f"add nsw i64 {first}, {lane}"), row_stop, REDUCE_LANES, lambda row: element(row, column))
        for each in made:
            each.publish(at(lane))

    def element(row: str, column: str) -> None:
        point = LanePoint(t.frame, [*outer, row, column], 1)
        registers = {id(e): r for e, r in zip(roots, emit_exprs(w, roots, point), strict=True)}
        for each in made:
            each.add(_reduce_values(each.stage, registers))

    loop(w, lo, hi, columns, strip)


# --- contractions -----------------------------------------------------------------------------------------------


def _render_contraction(kernel: Contraction, name: str, target: MemoryTarget) -> str:
    t = begin_gpu(len(kernel.buffers), contraction_slots(kernel), target)
    w, scalar = t.w, scalar_type(kernel.accumulate)
    chain, total = (w.op(f"alloca {scalar}, align 8", hint) for hint in ("chain", "total"))
    m, n, k = (t.frame.int_(x) for x in (kernel.m, kernel.n, kernel.k))
    zero = "0.0" if kernel.accumulate.is_floating else "0"

    def tiles(extent: str) -> str:
        return w.op(f"sdiv i64 {w.op(f'add nsw i64 {extent}, {TILE - 1}')}, {TILE}")

    across, down = tiles(n), tiles(m)

    def unit(number: str) -> None:
        column, rest = w.op(f"urem i64 {number}, {across}"), w.op(f"udiv i64 {number}, {across}")
        row, rest = w.op(f"urem i64 {rest}, {down}"), w.op(f"udiv i64 {rest}, {down}")
        batch = grid_indices(t.frame, kernel.batch, rest)
        i, j = (
            w.op(f"add nsw i64 {w.op(f'mul nsw i64 {tile}, {TILE}')}, {thread}")
            for tile, thread in ((row, t.y), (column, t.x))
        )
        inside = w.op(f"and i1 {w.op(f'icmp slt i64 {i}, {m}')}, {w.op(f'icmp slt i64 {j}, {n}')}")
        when(w, inside, lambda: element(batch, i, j))

    def element(batch: list[str], i: str, j: str) -> None:
        w.do(f"store {scalar} {zero}, ptr {total}")
        loop(w, "0", k, K_BLOCK, lambda k0: block(batch, i, j, k0))
        acc = w.op(f"load {scalar}, ptr {total}")
        _write(LanePoint(t.frame, [*batch, i, j], 1, accumulator=acc), kernel.epilogue)

    def block(batch: list[str], i: str, j: str, k0: str) -> None:
        w.do(f"store {scalar} {zero}, ptr {chain}")
        end = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {k0}, {K_BLOCK}')}, i64 {k})")
        loop(w, k0, end, 1, lambda x: term(batch, i, j, x))
        last, before = w.op(f"load {scalar}, ptr {chain}"), w.op(f"load {scalar}, ptr {total}")
        more = w.op(f"{'fadd' if kernel.accumulate.is_floating else 'add'} {scalar} {before}, {last}")
        # The first block's sum is taken as it is: 0 + -0 would lose its sign.
        sums = w.op(f"select i1 {w.op(f'icmp eq i64 {k0}, 0')}, {scalar} {last}, {scalar} {more}")
        w.do(f"store {scalar} {sums}, ptr {total}")

    def term(batch: list[str], i: str, j: str, x: str) -> None:
        a, b = (
            convert(w, LanePoint(t.frame, [*batch, *at], 1).load(access), access.dtype, kernel.accumulate, 1)
            for access, at in ((kernel.a, (i, x)), (kernel.b, (x, j)))
        )
        before = w.op(f"load {scalar}, ptr {chain}")
        if kernel.accumulate.is_floating:
            after = w.op(f"call {scalar} @llvm.fma.{mangle(scalar, 1)}({scalar} {a}, {scalar} {b}, {scalar} {before})")
        else:
            after = w.op(f"add {scalar} {before}, {w.op(f'mul {scalar} {a}, {b}')}")
        w.do(f"store {scalar} {after}, ptr {chain}")

    t.units(unit)
    return end_gpu(t, name, TILE * TILE)


# --- steps in order ---------------------------------------------------------------------------------------------


def _render_sequential(kernel: Sequential, name: str, target: MemoryTarget) -> str:
    extents = _extents(*kernel.grid, kernel.steps, kernel.inner, kernel.block, kernel.blocks)
    t = begin_gpu(len(kernel.buffers), slots_of(kernel.stores, extents), target)

    def unit(number: str) -> None:
        *outer, block = grid_indices(t.frame, (*kernel.grid, kernel.blocks), number)
        lo, hi = piece(t.frame, block, kernel.block, kernel.inner)
        # Inner elements do not depend on each other (a CPU's units cut them anywhere), so each walks on its own.
        t.along_x(
            lo,
            hi,
            lambda i: loop(
                t.w,
                "0",
                t.frame.int_(kernel.steps),
                1,
                lambda step: _write(LanePoint(t.frame, [*outer, step, i], 1), kernel.stores),
            ),
        )

    t.units(unit)
    return end_gpu(t, name, THREADS)

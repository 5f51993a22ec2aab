"""Renders :class:`Nest` for CPUs: rows, element by element, in vector lanes.

Naive meaning::

    for unit in range(begin, end):                     # a grid point and a block of the inner axis
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

from collections.abc import Iterable

from ..core import dtypes as dt
from .emit import Module, Writer, constant, emit_exprs, memory_type, register_type, vector_of
from .expr import Expr, topological
from .kernels import REDUCE_LANES, Access, Int, Nest, Reduce, Slot, Store
from .lanes import (
    Frame,
    LanePoint,
    MemoryTarget,
    begin_kernel,
    end_kernel,
    hoist_uniform,
    loop,
    spread,
    vector_loop,
)
from .reduction import combine, identities, partials, state_dtypes

__all__ = ["render_nest", "slots_of", "stage_groups"]

CHEAP = 10  # nodes of the reduced expressions; more are not worth a second copy of the loop body


def render_nest(kernel: Nest, name: str, target: MemoryTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    module = Module()
    w = Writer(module)
    extra = [x for x in (*kernel.grid, kernel.inner, kernel.block, kernel.blocks) if isinstance(x, Slot)]
    frame = begin_kernel(w, len(kernel.buffers), slots_of(kernel.stages, extra), target)
    cells = [_allocate(w, s) if isinstance(s, Reduce) else [] for s in kernel.stages]
    loop(w, "%begin", "%end", 1, lambda unit: _unit(kernel, frame, cells, unit))
    end_kernel(frame, name)
    return module.text() + ATTRIBUTES


ATTRIBUTES = '!0 = !{}\nattributes #0 = { nounwind "no-trapping-math"="true" }\n'


def slots_of(stages: Iterable[Reduce | Store], extra: Iterable[Slot]) -> list[int]:
    """Every Slot that a kernel's stages and its extents name."""
    found = {s.index for s in extra}

    def visit(access: Access, steps: Iterable[tuple[Int, Int]] = ()) -> None:
        for value in (access.offset, *access.strides, *(v for step in steps for v in step)):
            if isinstance(value, Slot):
                found.add(value.index)

    for stage in stages:
        roots = [stage.value]
        if isinstance(stage, Store):
            visit(stage.access, stage.steps)
            roots += stage.indices
        elif stage.position is not None:
            roots.append(stage.position)
        for node in topological(roots):
            if node.op in ("load", "index"):
                visit(node.value)
            elif node.op == "gather":
                visit(*node.value)
            elif node.op == "param":
                found.add(node.value.index)
    return sorted(found)


def grid_indices(frame: Frame, sizes: tuple[Int, ...], unit: str) -> list[str]:
    """``unit`` as indices of axes of the given sizes, the last one fastest."""
    w, indices = frame.w, []
    for axis in range(len(sizes) - 1, 0, -1):
        size = frame.int_(sizes[axis])
        if size == "1":
            indices.append("0")
            continue
        indices.append(w.op(f"urem i64 {unit}, {size}", "i"))
        unit = w.op(f"udiv i64 {unit}, {size}", "i")
    return [unit if sizes and sizes[0] != 1 else "0", *reversed(indices)] if sizes else []


def _unit(kernel: Nest, frame: Frame, cells: list[list[str]], unit: str) -> None:
    w = frame.w
    if kernel.block_axis:
        outer = grid_indices(frame, (*kernel.grid, kernel.blocks), unit)
        block = outer[-1]
    else:  # one block of every row before the next block: reads across rows find their lines in the cache again
        block, *outer = grid_indices(frame, (kernel.blocks, *kernel.grid), unit)
    size = frame.int_(kernel.inner)
    if kernel.blocks == 1:
        lo, hi = "0", size
    else:
        lo = w.arithmetic("mul", frame.int_(kernel.block), block)
        stop = w.arithmetic("add", lo, frame.int_(kernel.block))
        hi = w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 {size})")
    refs: list[tuple[str, int]] = []
    position = 0
    for group in stage_groups(kernel.stages):
        members = [(kernel.stages[s], cells[s]) for s in group]
        if isinstance(kernel.stages[group[0]], Store) and kernel.stages[group[0]].scalar:  # type: ignore[union-attr]
            _scalar_stores(frame, [*outer, "0"], refs, [s for s, _ in members if isinstance(s, Store)])
            continue
        for stage, cell in members:
            if isinstance(stage, Reduce):
                _clear(w, stage, cell)
        _walk(frame, outer, lo, hi, refs, members)
        for stage, cell in members:
            if isinstance(stage, Reduce):
                refs.append((_tree(w, stage, cell), 1))
        position += len(group)


def stage_groups(stages: tuple[Reduce | Store, ...]) -> list[list[int]]:
    """Consecutive stages that can share a loop: none reads a reduction made in the same loop."""
    groups: list[list[int]] = []
    finished = made = 0  # reductions complete before the current group; reductions so far
    for s, stage in enumerate(stages):
        roots = [stage.value, *(stage.indices if isinstance(stage, Store) else ())]
        needs = max((n.value + 1 for n in topological(roots) if n.op == "ref"), default=0)
        scalar = isinstance(stage, Store) and stage.scalar
        before = stages[groups[-1][0]] if groups else None
        same_kind = before is not None and (isinstance(before, Store) and before.scalar) == scalar
        if not groups or needs > finished or not same_kind:
            finished = made
            groups.append([])
        groups[-1].append(s)
        made += isinstance(stage, Reduce)
    return groups


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
    w = frame.w
    roots: list[Expr] = []
    for stage, _ in members:
        roots.append(stage.value)
        if isinstance(stage, Store):
            roots += stage.indices
        elif stage.position is not None:
            roots.append(stage.position)
    uniform = hoist_uniform(roots, LanePoint(frame, [*outer, lo], 1, None, refs))
    if all(isinstance(s, Reduce) for s, _ in members) and len(topological(roots)) <= CHEAP:
        lo = _walk_lanes(frame, outer, lo, hi, refs, members, roots, uniform)

    def body(i: str, lanes: int, mask: str | None) -> None:
        point = LanePoint(frame, [*outer, i], lanes, mask, refs, uniform=uniform)
        known = spread(frame, uniform, roots, lanes)
        registers = dict(zip(map(id, roots), emit_exprs(w, roots, point, known), strict=True))
        for stage, cell in members:
            if isinstance(stage, Store):
                point.store(stage, registers[id(stage.value)], [registers[id(x)] for x in stage.indices])
            else:
                values = [registers[id(stage.value)]]
                if stage.position is not None:
                    values.append(registers[id(stage.position)])
                lane = w.op(f"and i64 {w.op(f'sub nsw i64 {i}, {lo}')}, {REDUCE_LANES - 1}")
                accumulate(w, stage, cell, lane, values, lanes, mask)

    vector_loop(frame, lo, hi, body)


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
            accumulate(w, stage, registers_at, "0", values, REDUCE_LANES, None)

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


class _Bound:
    """A Point whose ``acc`` leaves are registers given by name."""

    def __init__(self, lanes: int, registers: dict[object, str]):
        self.lanes, self.registers = lanes, registers

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        return self.registers[node.value]


def combine_registers(w: Writer, stage: Reduce, a: list[str], b: list[str], lanes: int) -> list[str]:
    """Registers of the combination of two partial results."""
    first, second = partials(stage, "a"), partials(stage, "b")
    registers: dict[object, str] = {}
    for name, values in (("a", a), ("b", b)):
        registers |= {(name, k): v for k, v in enumerate(values)}
    return emit_exprs(w, combine(stage.op, first, second), _Bound(lanes, registers))


def accumulate(
    w: Writer, stage: Reduce, cells: list[str], lane: str, values: list[str], lanes: int, mask: str | None
) -> None:
    """Combine ``values`` into the partial results that start at element ``lane`` of ``cells``."""
    pointers, old = [], []
    for cell, dtype in zip(cells, state_dtypes(stage), strict=False):
        pointer = cell if lane == "0" else w.op(f"getelementptr {memory_type(dtype)}, ptr {cell}, i64 {lane}", "p")
        pointers.append(pointer)
        old.append(load_cell(w, pointer, dtype, lanes))
    new = combine_registers(w, stage, old, values, lanes)
    for pointer, dtype, before, after in zip(pointers, state_dtypes(stage), old, new, strict=True):
        if mask is not None:
            kind = register_type(dtype, lanes)
            after = w.op(f"select <{lanes} x i1> {mask}, {kind} {after}, {kind} {before}")
        store_cell(w, pointer, dtype, after, lanes)


def load_cell(w: Writer, pointer: str, dtype: dt.DType, lanes: int) -> str:
    """Partial results from stack memory as registers."""
    align = min(64, dtype.itemsize * lanes)
    value = w.op(f"load {vector_of(memory_type(dtype), lanes)}, ptr {pointer}, align {align}")
    if dtype is dt.bool_:
        return w.op(f"icmp ne {vector_of('i8', lanes)} {value}, {constant(0, dt.uint8, lanes)}")
    return value


def store_cell(w: Writer, pointer: str, dtype: dt.DType, value: str, lanes: int) -> None:
    """Partial results from registers to stack memory."""
    if dtype is dt.bool_:
        value = w.op(f"zext {vector_of('i1', lanes)} {value} to {vector_of('i8', lanes)}")
    align = min(64, dtype.itemsize * lanes)
    w.do(f"store {vector_of(memory_type(dtype), lanes)} {value}, ptr {pointer}, align {align}")


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

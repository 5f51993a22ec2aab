"""What the renderers of all families share: from a unit's number to indices and pieces, from stages to loops and
stores, and the partial results of reductions. Each function says its naive meaning; tests compare the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from itertools import product

from ..core import dtypes as dt
from .emit import Module, Point, Writer, constant, emit_exprs, memory_type, register_type, vector_of
from .expr import Expr, topological
from .kernels import STREAMED, Access, Int, Ints, Kernel, Reduce, Slot, Store, extents_of
from .lanes import Frame, LanePoint, RenderTarget, begin_kernel, end_kernel, loop
from .reduction import combine, partials, state_dtypes

ATTRIBUTES = '!0 = !{}\n!1 = !{i32 1}\nattributes #0 = { nounwind "no-trapping-math"="true" }\n'

# --- a kernel's function ----------------------------------------------------------------------------------------


def begin_units(kernel: Kernel, extents: Iterable[Int], target: RenderTarget) -> Frame:
    """Begin the function of a kernel, in a module of its own: its buffers and the ints that it names are loaded."""
    return begin_kernel(Writer(Module()), len(kernel.buffers), slots_of(kernel.stages, extents), target)


def end_units(frame: Frame, name: str, body: Callable[[str], None]) -> str:
    """Close the function ``name`` and give the module's text. Naive meaning::

    for unit in range(begin, end): body(unit)
    """
    loop(frame.w, "%begin", "%end", 1, body)
    end_kernel(frame, name)
    return frame.w.module.text() + ATTRIBUTES


def slots_of(stages: Iterable[Reduce | Store], values: Iterable[Int]) -> list[int]:
    """Positions of all Slots that the stages name, and of those among ``values`` (extents, strides)."""
    found = {v.index for v in values if isinstance(v, Slot)}

    def visit(access: Access, steps: Iterable[tuple[Int, Int]] = ()) -> None:
        for value in (access.offset, *access.strides, *(v for step in steps for v in step)):
            if isinstance(value, Slot):
                found.add(value.index)

    for stage in stages:
        if isinstance(stage, Store):
            visit(stage.access, stage.steps)
        for node in topological(roots_of([stage])):
            if node.op in ("load", "index"):
                visit(node.value)
            elif node.op == "gather":
                visit(*node.value)
            elif node.op == "param":
                found.add(node.value.index)
    return sorted(found)


# --- units ------------------------------------------------------------------------------------------------------


def grid_indices(frame: Frame, sizes: tuple[Int, ...], unit: str) -> list[str]:
    """``unit`` as indices of axes of the given sizes, the last one fastest. Naive meaning::

    for size in reversed(sizes[1:]): unit, index = divmod(unit, size)   # an axis of size 1 costs nothing
    """
    w, indices = frame.w, []
    for axis in range(len(sizes) - 1, 0, -1):
        size = frame.int_(sizes[axis])
        if size == "1":
            indices.append("0")
            continue
        indices.append(w.op(f"urem i64 {unit}, {size}", "i"))
        unit = w.op(f"udiv i64 {unit}, {size}", "i")
    return [unit if sizes and sizes[0] != 1 else "0", *reversed(indices)] if sizes else []


def elements_of(frame: Frame, walked: Ints) -> str:
    """Operand of the number of elements of one axis, or of several that are walked as one."""
    first, *rest = map(frame.int_, extents_of(walked))
    return reduce(partial(frame.w.arithmetic, "mul"), rest, first)


def piece(frame: Frame, number: str, size: Int, extent: Ints) -> tuple[str, str]:
    """First element, and the one after the last, of piece ``number`` of what is cut into pieces of ``size`` (0: it is
    one piece). Naive meaning::

    lo, hi = number * size, min(number * size + size, extent)
    """
    w, end = frame.w, elements_of(frame, extent)
    if size == 0:
        return "0", end
    lo = w.arithmetic("mul", frame.int_(size), number)
    stop = w.arithmetic("add", lo, frame.int_(size))
    return lo, w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 {end})")


def streams(frame: Frame, extents: Iterable[Ints], stages: Iterable[Reduce | Store]) -> str:
    """i1: what the stages write at all points of these axes is more than STREAMED bytes, and nothing takes the place of
    what is read, whose lines are there."""
    w, stages = frame.w, list(stages)
    stores = [store for store in stores_of(stages) if not store.scalar]
    nbytes = max(sum(store.access.dtype.itemsize for store in stores), 1)
    points = reduce(partial(w.arithmetic, "mul"), [elements_of(frame, extent) for extent in extents], "1")
    found = w.op(f"icmp sgt i64 {points}, {STREAMED // nbytes}")
    read = {node.value.buf for node in topological(roots_of(stages)) if node.op == "load"}
    for one, other in product(sorted({store.access.buf for store in stores}), sorted(read)):
        apart = w.op(f"icmp ne ptr {frame.buffers[one]}, {frame.buffers[other]}")
        found = w.op(f"and i1 {found}, {apart}")
    return found


# --- stages -----------------------------------------------------------------------------------------------------


def roots_of(stages: Iterable[Reduce | Store]) -> list[Expr]:
    """What the stages evaluate at each point, in order: values, each followed by scatter indices or position."""
    roots: list[Expr] = []
    for stage in stages:
        roots.append(stage.value)
        if isinstance(stage, Store):
            roots += stage.indices
        elif stage.position is not None:
            roots.append(stage.position)
    return roots


def reduces_of(stages: Iterable[Reduce | Store]) -> list[Reduce]:
    """The reductions among the stages."""
    return [s for s in stages if isinstance(s, Reduce)]


def stores_of(stages: Iterable[Reduce | Store]) -> list[Store]:
    """The stores among the stages."""
    return [s for s in stages if isinstance(s, Store)]


def element_values(stage: Reduce, registers: dict[int, str]) -> list[str]:
    """What an element adds to a reduction, of the registers (by ``id``) of its roots: value, and position if any."""
    return [registers[id(e)] for e in (stage.value, stage.position) if e is not None]


def stage_groups(stages: Sequence[Reduce | Store]) -> list[list[int]]:
    """Consecutive stages that can share a loop: none reads a reduction made in the same loop, and scalar stores, which
    need no loop, are by themselves. Naive meaning: the stages in order, each in a loop (a group) of its own."""
    groups: list[list[int]] = []
    finished = made = 0  # reductions complete before the current group; reductions so far
    for s, stage in enumerate(stages):
        needs = max((n.value + 1 for n in topological(roots_of([stage])) if n.op == "ref"), default=0)
        scalar = isinstance(stage, Store) and stage.scalar
        before = stages[groups[-1][0]] if groups else None
        same_kind = before is not None and (isinstance(before, Store) and before.scalar) == scalar
        if not groups or needs > finished or not same_kind:
            finished = made
            groups.append([])
        groups[-1].append(s)
        made += isinstance(stage, Reduce)
    return groups


def write_stores(point: LanePoint, stores: Sequence[Store], known: dict[int, str] | None = None) -> None:
    """Carry out stores at a point; ``known`` as in :func:`weft.compiler.emit.emit_exprs`. Naive meaning::

    values = [(s.value, *s.indices) for s in stores]     # all are read before the first is written
    for s, (value, *indices) in zip(stores, values): memory[s.access, indices] = value
    """
    registers = iter(emit_exprs(point.frame.w, roots_of(stores), point, known))
    for store in stores:
        value = next(registers)
        point.store(store, value, [next(registers) for _ in store.indices])


# --- partial results of reductions ------------------------------------------------------------------------------
# A partial result is a value, and for argmax and argmin its position. Cells hold them in memory, one array for each
# part; registers are lists of the same order.


class _Bound:
    """A Point whose ``acc`` leaves are registers given by name."""

    def __init__(self, lanes: int, registers: dict[object, str]):
        self.lanes, self.registers = lanes, registers

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        return self.registers[node.value]


def combine_registers(w: Writer, stage: Reduce, a: list[str], b: list[str], lanes: int) -> list[str]:
    """Registers of ``[combine(op, a[l], b[l]) for l in range(lanes)]``, where ``a`` stands for earlier lanes."""
    first, second = partials(stage, "a"), partials(stage, "b")
    registers: dict[object, str] = {}
    for name, values in (("a", a), ("b", b)):
        registers |= {(name, k): v for k, v in enumerate(values)}
    point: Point = _Bound(lanes, registers)
    return emit_exprs(w, combine(stage.op, first, second), point)


def accumulate(
    w: Writer, stage: Reduce, cells: list[str], lane: str, values: Sequence[list[str]], lanes: int, mask: str | None
) -> None:
    """Combine ``values`` into the partial results from element ``lane`` of ``cells`` on. Naive meaning::

    for value in values:
        for l in range(lanes):
            if mask[l]: cells[lane + l] = combine(op, cells[lane + l], value[l])
    """
    pointers, old = [], []
    for cell, dtype in zip(cells, state_dtypes(stage), strict=False):
        pointer = cell if lane == "0" else w.op(f"getelementptr {memory_type(dtype)}, ptr {cell}, i64 {lane}", "p")
        pointers.append(pointer)
        old.append(load_cell(w, pointer, dtype, lanes))
    new = old
    for value in values:
        new = combine_registers(w, stage, new, value, lanes)
    for pointer, dtype, before, after in zip(pointers, state_dtypes(stage), old, new, strict=True):
        if mask is not None:
            kind = register_type(dtype, lanes)
            after = w.op(f"select <{lanes} x i1> {mask}, {kind} {after}, {kind} {before}")
        store_cell(w, pointer, dtype, after, lanes)


def load_cell(w: Writer, pointer: str, dtype: dt.DType, lanes: int) -> str:
    """``cells[at : at + lanes]`` as a register; bools are bytes in memory."""
    align = min(64, dtype.itemsize * lanes)
    value = w.op(f"load {vector_of(memory_type(dtype), lanes)}, ptr {pointer}, align {align}")
    if dtype is dt.bool_:
        return w.op(f"icmp ne {vector_of('i8', lanes)} {value}, {constant(0, dt.uint8, lanes)}")
    return value


def store_cell(w: Writer, pointer: str, dtype: dt.DType, value: str, lanes: int) -> None:
    """``cells[at : at + lanes] = value``; bools are bytes in memory."""
    if dtype is dt.bool_:
        value = w.op(f"zext {vector_of('i1', lanes)} {value} to {vector_of('i8', lanes)}")
    align = min(64, dtype.itemsize * lanes)
    w.do(f"store {vector_of(memory_type(dtype), lanes)} {value}, ptr {pointer}, align {align}")

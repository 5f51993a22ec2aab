"""What renderers share: each function does what its naive meaning says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import naive
import numpy as np
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kernels import KERNEL, TARGETS, bits, nests, numbers

from weft.compiler.emit import Module, Writer, constant
from weft.compiler.expr import add, const, leaf
from weft.compiler.kernels import LANES, Access, Int, Nest, Reduce, Slot, Store
from weft.compiler.lanes import Frame, LanePoint, begin_kernel, first_lanes
from weft.compiler.reduction import state_dtypes
from weft.compiler.stages import (
    accumulate,
    begin_units,
    end_units,
    grid_indices,
    load_cell,
    piece,
    roots_of,
    slots_of,
    stage_groups,
    write_stores,
)
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.assembly import assemble
from weft.llvm.elf import load

Array = Any
sizes = st.lists(st.integers(1, 5), max_size=4)


def run_units(body: Callable[[Frame, str], None], buffers: Sequence[Array], ints: Sequence[int], *units: int) -> None:
    """Run ``body(frame, unit)``, rendered, for the units of a range."""
    frame = begin_kernel(Writer(Module()), len(buffers), range(len(ints)), TARGETS[-1])
    code = load(assemble(end_units(frame, "kernel", lambda unit: body(frame, unit)), TARGETS[-1], level=1))
    pointers = np.array([b.ctypes.data for b in buffers], np.uint64)
    values = np.array([*ints, 0], np.int64)
    assert KERNEL(code.address("kernel"))(pointers.ctypes.data, values.ctypes.data, *units, 0) == 0


def put(frame: Frame, buffer: int, at: str, value: str) -> None:
    """buffer[at] = value (i64)."""
    w = frame.w
    w.do(f"store i64 {value}, ptr {w.op(f'getelementptr i64, ptr {frame.buffers[buffer]}, i64 {at}')}")


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 5), (2, 4), (4, 2)])
def test_a_function_runs_the_units_that_it_is_given(begin: int, end: int) -> None:
    out = np.zeros(5, np.int64)
    run_units(lambda frame, unit: put(frame, 0, unit, "1"), [out], [], begin, end)
    assert np.flatnonzero(out).tolist() == list(range(begin, end))


@settings(max_examples=25)
@given(sizes, st.data())
def test_a_units_number_is_its_indices(found: list[int], data: st.DataObject) -> None:
    fixed = [data.draw(st.booleans()) for _ in found]
    extents: tuple[Int, ...] = tuple(n if f else Slot(k) for k, (n, f) in enumerate(zip(found, fixed, strict=True)))
    units, rank = int(np.prod(found)), len(found)
    out = np.full(units * rank + 1, -1, np.int64)

    def body(frame: Frame, unit: str) -> None:
        for axis, index in enumerate(grid_indices(frame, extents, unit)):
            put(frame, 0, frame.w.op(f"add i64 {frame.w.op(f'mul i64 {unit}, {rank}')}, {axis}"), index)

    run_units(body, [out], found, 0, units)
    if rank:
        wanted = np.stack(np.unravel_index(np.arange(units), found), axis=1)
        assert out[:-1].reshape(units, rank).tolist() == wanted.tolist()


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(0, 100), st.booleans(), st.booleans())
def test_pieces_cover_an_axis_once_and_in_order(size: int, extent: int, fixed_size: bool, fixed_extent: bool) -> None:
    pieces = -(-extent // size)
    out = np.zeros(2 * pieces + 1, np.int64)

    def body(frame: Frame, unit: str) -> None:
        lo, hi = piece(frame, unit, size if fixed_size else Slot(0), extent if fixed_extent else Slot(1))
        twice = frame.w.op(f"mul i64 {unit}, 2")
        put(frame, 0, twice, lo)
        put(frame, 0, frame.w.op(f"add i64 {twice}, 1"), hi)

    run_units(body, [out], [size, extent], 0, pieces)
    assert out[:-1].reshape(pieces, 2).tolist() == [[lo, min(lo + size, extent)] for lo in range(0, extent, size)]


@few(25, 300, nests())
def test_stages_that_share_a_loop_need_nothing_of_each_other(drawn: tuple[Nest, Any, Any, int]) -> None:
    stages = drawn[0].stages
    groups = stage_groups(stages)
    assert [s for group in groups for s in group] == list(range(len(stages)))
    made = [k for k, s in enumerate(stages) if isinstance(s, Reduce)]

    def alone(stage: Reduce | Store) -> bool:
        return isinstance(stage, Store) and stage.scalar

    def needs(s: int) -> list[int]:
        return [made[n.value] for n in naive.topological(roots_of([stages[s]])) if n.op == "ref"]

    for group in groups:
        assert len({alone(stages[s]) for s in group}) == 1
        assert all(r < group[0] for s in group for r in needs(s))
    for before, after in pairwise(groups):  # a cut is made only where it must be
        assert any(r in before for r in needs(after[0])) or alone(stages[before[0]]) != alone(stages[after[0]])


def test_the_slots_of_a_kernel_are_those_of_its_extents_accesses_and_numbers() -> None:
    load_, index = (
        leaf(op, dt.int64, Access(0, dt.int64, Slot(k), (Slot(k + 1),))) for k, op in ((1, "load"), (3, "index"))
    )
    value = add(add(load_, index), leaf("param", dt.int64, Slot(5)))
    gathered = leaf("gather", dt.int64, (Access(1, dt.int64, 0, (Slot(6),)), ((Slot(7), Slot(8)),)))
    gathered = type(gathered)("gather", dt.int64, (load_,), gathered.value)
    stages = (
        Reduce("argmax", value, dt.int64, leaf("index", dt.int64, Access(0, dt.int64, 0, (Slot(9),)))),
        Store(Access(2, dt.int64, Slot(10), (0,)), gathered, indices=(index,), steps=((Slot(11), 1),)),
    )
    assert slots_of(stages, (Slot(0), 3, 1)) == list(range(12))
    assert slots_of((), (4,)) == []
    kernel = Nest((), Slot(0), 0, 1, stages, (dt.int64,) * 3)
    assert sorted(begin_units(kernel, (kernel.inner, kernel.block), TARGETS[-1]).ints) == list(range(12))


def test_what_a_point_stores_is_computed_before_anything_is_written() -> None:
    a, b = np.arange(40), np.arange(40) * 10
    wanted = (b.copy(), a.copy())
    one, two = (Access(k, dt.int64, 0, (1,)) for k in (0, 1))
    stores = [Store(one, leaf("load", dt.int64, two)), Store(two, leaf("load", dt.int64, one))]
    run_units(lambda frame, unit: write_stores(LanePoint(frame, [unit], 1), stores), [a, b], [], 0, 40)
    assert (a == wanted[0]).all() and (b == wanted[1]).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("lanes", [1, LANES])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min", "argmax", "argmin"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.int8, dt.bool_], ids=str)
def test_values_are_combined_into_the_cells_that_exist(dtype: DType, op: str, lanes: int, masked: bool) -> None:
    """Cells 3 .. 3 + lanes change, or the first five of these where a mask says so."""
    stage = Reduce(op, leaf("acc", dtype, "x"), dtype, const(0, dt.int64) if op.startswith("arg") else None)
    masked = masked and lanes > 1
    rng, kinds = np.random.default_rng(7), state_dtypes(stage)
    cells = [numbers(d, 40, rng) for d in kinds]
    values = [numbers(d, lanes, rng) for _ in range(2) for d in kinds]  # two, one after the other
    wanted = [c.copy() for c in cells]
    count = 5 if masked else lanes
    for value in (values[: len(kinds)], values[len(kinds) :]):
        now = naive.combine(stage, [c[3 : 3 + count] for c in wanted], [v[:count] for v in value])
        for cell, combined in zip(wanted, now, strict=True):
            cell[3 : 3 + count] = combined

    def body(frame: Frame, unit: str) -> None:
        w = frame.w
        first = [w.op(f"getelementptr i8, ptr {b}, i64 0") for b in frame.buffers]
        loaded = [load_unaligned(w, p, d, lanes) for p, d in zip(first[len(kinds) :], kinds * 2, strict=True)]
        given = [loaded[: len(kinds)], loaded[len(kinds) :]]
        mask = first_lanes(w, "5") if masked else None
        accumulate(w, stage, first[: len(kinds)], "3" if lanes == 1 else "0", given, lanes, mask)

    # Vectors of cells are aligned as a whole: then the cells begin with the first that changes.
    room = [np.zeros(64 * 12, np.uint8) for _ in cells]
    aligned = []
    for raw, cell in zip(room, cells, strict=True):
        at, skipped = -raw.ctypes.data % 64, 3 * cell.itemsize if lanes > 1 else 0
        aligned.append(raw[at : at + cell.nbytes - skipped].view(cell.dtype))
        aligned[-1][...] = cell[3:] if lanes > 1 else cell
    run_units(body, [*aligned, *values], [], 0, 1)
    for view, cell in zip(aligned, wanted, strict=True):
        assert (bits(view) == bits(cell[3:] if lanes > 1 else cell)).all()


def load_unaligned(w: Writer, pointer: str, dtype: DType, lanes: int) -> str:
    """The values, copied to where a cell may lie."""
    room = w.op(f"alloca [{64 * 16} x i8], align 64")
    nbytes = dtype.itemsize * lanes
    w.do(f"call void @llvm.memcpy.p0.p0.i64(ptr align 64 {room}, ptr align 1 {pointer}, i64 {nbytes}, i1 false)")
    return load_cell(w, room, dtype, lanes)


def test_a_constant_is_no_slot() -> None:
    assert (
        constant(3, dt.int64, 1) == "3"
        and slots_of([Store(Access(0, dt.int64, 0, (1,)), const(3, dt.int64))], ()) == []
    )

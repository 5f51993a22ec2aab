"""Sort: its machine code does what its naive meaning says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kernels import TARGETS, Drawn, check, compiled, sorts

from weft.compiler.build import render
from weft.compiler.kernels import LANES, Access, Slot, Sort
from weft.core import dtypes as dt
from weft.core.errors import CompileError
from weft.llvm.targets import cross_target


@settings(max_examples=120)
@given(sorts(), st.data())
def test_rows_are_in_order(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)


def kernel_of(dtype: Any, descending: bool = False, wide: bool = False) -> Sort:
    """Of a row, all in one buffer each."""
    buffers = [Access(n, t, 0, (0, 1)) for n, t in enumerate((dtype, dt.int64, dt.int64))]
    return Sort(*map(Slot, range(5)), *buffers, descending, wide, (dtype, dt.int64, dt.int64))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.isa + "-checked" * target.checked)
@pytest.mark.parametrize("wide", [False, True])
def test_every_isa_gives_the_same_order(target: Any, wide: bool) -> None:
    """Of a long row with ties, by insertion and by radix, in each of two forms of items."""
    count = 1 << 10 if target.checked else 1 << 16
    x = np.random.default_rng(0).integers(-99, 99, count).astype(np.float32)
    x[::7], x[3::7], x[::11], x[::13] = np.nan, np.copysign(np.nan, -1), -0.0, np.inf
    order = count - 1 - np.argsort(x[::-1], kind="stable")[::-1]
    run = compiled(kernel_of(dt.float32, True, wide), target)
    for kept in (10, 200, count):
        space = min(count, kept + LANES)
        found, room = np.empty(kept, np.int64), np.empty(2 * space * (1 + wide), np.int64)
        assert run([x, found, room], [1, 1, count, kept, space], [(0, 1)]) == 0
        np.testing.assert_array_equal(found, order[:kept])


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.uint8, dt.uint64, dt.bool_], ids=str)
def test_rows_of_nothing_but_the_last_element_there_is(dtype: Any) -> None:
    """Which has the greatest key, as the limit has before there is one."""
    x = np.full(
        100, np.nan if dtype.is_floating else 1 if dtype is dt.bool_ else np.iinfo(dtype.numpy).max, dtype.numpy
    )
    for kept in (1, 24, 25, 60, 100):
        found, room = np.full(kept, -1), np.empty(400, np.int64)
        compiled(kernel_of(dtype, wide=dtype.bits > 32), TARGETS[-1])(
            [x, found, room], [1, 1, 100, kept, 100], [(0, 1)]
        )
        np.testing.assert_array_equal(found, np.arange(kept))


def test_there_is_none_for_gpus() -> None:
    with pytest.raises(CompileError, match="a Sort does not run on a GPU: a row would be sorted by one lane"):
        render(kernel_of(dt.float32), "sort", cross_target("nvptx64"))

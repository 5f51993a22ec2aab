"""Running sums and products: NumPy's values, in order, with gradients that survive zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import ALL, FLOATS, check_gradient, close, is_float, same_bits, seeds, shapes, values

import weft as wf
from weft.core.errors import AxisError

NUMPY = {"cumulative_sum": np.cumsum, "cumulative_prod": np.cumprod}


def op(name: str) -> Any:
    return getattr(wf, name)


@pytest.mark.parametrize("name", NUMPY)
@settings(max_examples=40)
@given(data=st.data(), dtype=st.sampled_from(ALL), shape=shapes.filter(len), seed=seeds, initial=st.booleans())
def test_values(name: str, data: Any, dtype: str, shape: Any, seed: int, initial: bool) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = values(dtype, shape, seed, 0.5, 1.5)
    if is_float(dtype):
        wide = x.astype(np.float32) if x.dtype.itemsize == 2 else x
        expected = NUMPY[name](wide, axis=axis, dtype=wide.dtype).astype(x.dtype)
    else:
        expected = NUMPY[name](x, axis=axis, dtype=np.uint64 if x.dtype.kind == "u" else np.int64)
    if initial:
        first = np.full_like(
            np.take(expected, [], axis), 0, shape=[1 if a == axis % len(shape) else n for a, n in enumerate(shape)]
        )
        expected = np.concatenate([first + first.dtype.type(name == "cumulative_prod"), expected], axis)
    same_bits(op(name)(wf.asarray(x), axis=axis, include_initial=initial), expected)


@pytest.mark.parametrize("name", NUMPY)
def test_arguments(name: str) -> None:
    x = wf.asarray([1.0, 2.0, 3.0])
    same_bits(op(name)(x), NUMPY[name](x.numpy()))
    close(op(name)(x, dtype=wf.float64), NUMPY[name](x.numpy()), "float64")
    with pytest.raises(AxisError, match=rf"{name}: a tensor of shape \(2, 2\) needs an axis"):
        op(name)(wf.asarray([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(AxisError, match=f"{name}: axis 1 is out of range for a tensor of rank 1"):
        op(name)(x, axis=1)
    with pytest.raises(AxisError, match=f"{name}: "):
        op(name)(wf.asarray(1.0), axis=0)


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("dtype", FLOATS)
def test_compiled_equals_eager_in_bits(name: str, dtype: str) -> None:
    x = wf.asarray(values(dtype, (20, 33), 1, 0.5, 1.5))
    for axis in (0, 1):
        same_bits(wf.compile(lambda x, axis=axis: op(name)(x, axis=axis))(x), op(name)(x, axis=axis).numpy())


@pytest.mark.parametrize("name", NUMPY)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("initial", [False, True])
def test_gradients(name: str, axis: int, initial: bool) -> None:
    x = values("float64", (3, 4), 1, 0.5, 1.5)
    check_gradient(lambda x: op(name)(x, axis=axis, include_initial=initial), x)


@pytest.mark.parametrize("zeros", [[0], [2], [4], [1, 3], [0, 1, 4], [0, 1, 2, 3, 4]])
def test_gradients_of_products_with_zeros(zeros: list[int]) -> None:
    x = values("float64", (5,), 1, 0.5, 1.5)
    x[zeros] = 0.0
    check_gradient(wf.cumulative_prod, x)

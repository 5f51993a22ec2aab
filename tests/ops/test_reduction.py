"""Reductions give NumPy's values over any axes, follow the numerics contract's order, and have right gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import ALL, FLOATS, INTEGERS, check_gradient, close, is_float, same_bits, seeds, shapes, values

import weft as wf
from weft.core import dtypes as dt
from weft.core.errors import AxisError, DTypeError, ShapeError, WeftError

AXES = [None, 0, 1, 2, -1, (0, 1), (1, 2), (0, 2), (0, 1, 2), (2, 0), ()]


def op(name: str) -> Any:
    return getattr(wf, name)


@st.composite
def axes_of(draw: Any, shape: tuple[int, ...]) -> Any:
    """None, one axis or several, counted from either end."""
    if not shape:
        return draw(st.sampled_from((None, ())))
    chosen = draw(st.lists(st.integers(0, len(shape) - 1), unique=True, max_size=len(shape)))
    signed = tuple(a - len(shape) if draw(st.booleans()) else a for a in chosen)
    return draw(st.sampled_from((None, signed, signed[0] if signed else None)))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod"])
@settings(max_examples=30)
@given(data=st.data(), dtype=st.sampled_from(FLOATS), shape=shapes, seed=seeds, keepdims=st.booleans())
def test_float_reductions(name: str, data: Any, dtype: str, shape: Any, seed: int, keepdims: bool) -> None:
    axis = data.draw(axes_of(shape))
    x = values(dtype, shape, seed, 0.5, 1.5)
    wide = x.astype(np.float64)
    kept = (axis,) if isinstance(axis, int) else axis
    count = np.prod([shape[a] for a in (range(len(shape)) if kept is None else kept)])
    if count == 0 and name in ("mean", "var", "std"):
        assert np.isnan(op(name)(wf.asarray(x), axis=axis).numpy()).all()
        return
    expected = getattr(np, name)(wide, axis=axis, keepdims=keepdims)
    # A variance near zero is known to the rounding of what it is made of.
    close(
        op(name)(wf.asarray(x), axis=axis, keepdims=keepdims),
        expected,
        dtype,
        2000.0 if name in ("var", "std") and dtype != "float64" else 40.0,
    )


@pytest.mark.parametrize("name", ["sum", "prod"])
@settings(max_examples=25)
@given(data=st.data(), dtype=st.sampled_from(("bool", *INTEGERS)), shape=shapes, seed=seeds)
def test_integer_sums_and_products_wrap_in_64_bits(name: str, data: Any, dtype: str, shape: Any, seed: int) -> None:
    axis = data.draw(axes_of(shape))
    x = values(dtype, shape, seed)
    wide = np.uint64 if np.dtype(dtype).kind == "u" else np.int64
    same_bits(op(name)(wf.asarray(x), axis=axis), getattr(np, name)(x, axis=axis, dtype=wide))


@pytest.mark.parametrize("name", ["max", "min"])
@settings(max_examples=30)
@given(data=st.data(), dtype=st.sampled_from(ALL), shape=shapes, seed=seeds, keepdims=st.booleans(), nan=st.booleans())
def test_extrema(name: str, data: Any, dtype: str, shape: Any, seed: int, keepdims: bool, nan: bool) -> None:
    axis = data.draw(axes_of(shape))
    x = values(dtype, shape, seed)
    if nan and x.size and is_float(dtype):
        x.flat[seed % x.size] = np.nan
    try:
        expected = np.asarray(getattr(np, name)(x, axis=axis, keepdims=keepdims))
    except ValueError:
        with pytest.raises(ShapeError, match=f"there is no {name} of zero elements"):
            op(name)(wf.asarray(x), axis=axis)
        return
    same_bits(op(name)(wf.asarray(x), axis=axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@settings(max_examples=40)
@given(data=st.data(), dtype=st.sampled_from(ALL), shape=shapes, seed=seeds, keepdims=st.booleans(), nan=st.booleans())
def test_positions(name: str, data: Any, dtype: str, shape: Any, seed: int, keepdims: bool, nan: bool) -> None:
    """The first of equal elements; the first NaN."""
    axis = data.draw(st.sampled_from((None, *range(-len(shape), len(shape)))))
    x = np.round(values(dtype, shape, seed)) if is_float(dtype) else values(dtype, shape, seed)
    if nan and x.size and is_float(dtype):
        x.flat[seed % x.size] = x.flat[seed // 7 % x.size] = np.nan
    if (x.size if axis is None else shape[axis]) == 0:
        with pytest.raises(ShapeError, match=f"there is no {name} of zero elements"):
            op(name)(wf.asarray(x), axis=axis)
        return
    wide = x.astype(np.float32) if is_float(dtype) and x.dtype.itemsize == 2 else x
    expected = np.asarray(getattr(np, name)(wide, axis=axis, keepdims=keepdims), np.int64)
    same_bits(op(name)(wf.asarray(x), axis=axis, keepdims=keepdims), expected)


@pytest.mark.parametrize("name", ["any", "all", "count_nonzero"])
@settings(max_examples=25)
@given(data=st.data(), dtype=st.sampled_from(ALL), shape=shapes, seed=seeds, keepdims=st.booleans())
def test_truth(name: str, data: Any, dtype: str, shape: Any, seed: int, keepdims: bool) -> None:
    axis = data.draw(axes_of(shape))
    x = np.round(values(dtype, shape, seed) / 3) if is_float(dtype) else values(dtype, shape, seed)
    x = np.asarray(x).astype(values(dtype, (), 0).dtype)
    truth = x.astype(bool)
    expected = getattr(np, name)(truth, axis=axis, keepdims=keepdims)
    same_bits(
        op(name)(wf.asarray(x), axis=axis, keepdims=keepdims),
        np.asarray(expected, np.int64 if name == "count_nonzero" else bool),
    )


@pytest.mark.parametrize("correction", [0, 1, 0.5, 3, 10])
def test_variance_with_correction(correction: float) -> None:
    x = values("float64", (4, 3), 1)
    deviations = ((x - x.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(all="ignore"):
        expected = deviations / max(4 - correction, 0)
    close(wf.var(wf.asarray(x), axis=0, correction=correction), expected, "float64", 4.0)
    close(wf.std(wf.asarray(x), axis=0, correction=correction), np.sqrt(expected), "float64", 4.0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
def test_logsumexp_does_not_overflow(dtype: str, axis: Any) -> None:
    x = values(dtype, (3, 5), 1, 300, 400)
    wide = x.astype(np.float64)
    top = wide.max(axis=axis, keepdims=True)
    expected = np.log(np.exp(wide - top).sum(axis=axis)) + np.squeeze(top, axis=axis)
    close(wf.logsumexp(wf.asarray(x), axis=axis), expected, dtype)
    inf = np.inf
    edge = wf.asarray(np.array([[inf, 1], [-inf, -inf], [np.nan, 1], [-inf, 2]], np.float32))
    np.testing.assert_array_equal(wf.logsumexp(edge, axis=1).numpy(), np.array([inf, -inf, np.nan, 2], np.float32))


def in_contracts_order(x: np.ndarray) -> np.float32:
    """The sum of a vector as docs/numerics.md orders it: 64 lanes, a halving tree, chunks of 32768 in order."""
    chunks = []
    for start in range(0, len(x), 1 << 15):
        lanes = np.zeros(64, np.float32)
        for at in range(start, min(start + (1 << 15), len(x)), 64):
            row = x[at : min(at + 64, start + (1 << 15), len(x))]
            lanes[: len(row)] += row
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        chunks.append(lanes[0])
    if len(chunks) == 1:
        return chunks[0]
    return in_contracts_order(np.array(chunks, np.float32))


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 32768, 32769, 100_000])
def test_sums_follow_the_numerics_contract(size: int) -> None:
    x = values("float32", (size,), size)
    same_bits(wf.sum(wf.asarray(x)), np.asarray(in_contracts_order(x)))


@pytest.mark.parametrize("shape", [(70_000,), (40_000, 3), (3, 40_000), (200, 300), (33_000, 1)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "float16"])
def test_long_reductions(shape: tuple[int, ...], dtype: str) -> None:
    """In chunks: positions count from the start of the axis, the first of equal elements wins across chunks."""
    x = np.round(values(dtype, shape, 1, -50, 50)) + 0 if is_float(dtype) else values(dtype, shape, 1)
    wide = x.astype(np.float64) if is_float(dtype) else x
    for axis in (None, *range(len(shape))):
        for name in ("max", "min"):
            same_bits(op(name)(wf.asarray(x), axis=axis), np.asarray(getattr(np, name)(x, axis=axis)))
        for name in ("argmax", "argmin"):
            same_bits(op(name)(wf.asarray(x), axis=axis), np.asarray(getattr(np, name)(wide, axis=axis), np.int64))
        same_bits(wf.any(wf.asarray(x == x.min()), axis=axis), np.asarray((x == x.min()).any(axis=axis)))
        same_bits(wf.all(wf.asarray(x != x.min()), axis=axis), np.asarray((x != x.min()).all(axis=axis)))
        total = wf.sum(wf.asarray(x), axis=axis).numpy()
        np.testing.assert_allclose(
            total.astype(np.float64),
            wide.sum(axis=axis, dtype=wide.dtype if is_float(dtype) else np.int64),
            rtol=1e-3,
            atol=1e-3,
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_do_not_depend_on_the_batch(axis: int) -> None:
    x = values("float32", (300, 300), 1)
    whole = wf.sum(wf.asarray(x), axis=axis).numpy()
    for at in (0, 7, 299):
        line = x[at] if axis == 1 else np.ascontiguousarray(x[:, at])
        same_bits(wf.sum(wf.asarray(line)), whole[at])


def test_sum_takes_a_dtype() -> None:
    x = wf.asarray(np.full(300, 100, np.int8))
    assert wf.sum(x).dtype is dt.int64 and wf.sum(x).item() == 30000
    assert wf.sum(x, dtype=wf.float32).dtype is dt.float32
    assert wf.sum(x, dtype="int8").item() == np.int8(30000 - 256 * 117)
    assert wf.prod(wf.asarray(np.full(3, 7, np.uint8))).dtype is dt.uint64
    assert wf.sum(wf.asarray(np.full(70000, 1, np.float16))).item() == np.inf  # accumulated in float32, rounded once


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["sum", "max", "min", "prod", "mean", "var", "std", "logsumexp"])
@pytest.mark.parametrize("axis", [a for a in AXES if a != ()])
@pytest.mark.parametrize("keepdims", [False, True])
def test_gradients(name: str, axis: Any, keepdims: bool) -> None:
    check_gradient(lambda x: op(name)(x, axis=axis, keepdims=keepdims), values("float64", (2, 3, 2), 5, 0.5, 2.0))


def test_second_derivatives() -> None:
    x = values("float64", (2, 3), 5, 0.5, 2.0)
    for name in ("prod", "var", "std", "logsumexp", "mean"):
        check_gradient(lambda x, name=name: wf.grad(lambda y: wf.sum(op(name)(y, axis=1) ** 2))(x), x, tolerance=2e-5)


def test_gradient_of_a_root_at_zero_is_zero() -> None:
    x = wf.asarray([2.0, 2.0, 2.0])
    assert wf.grad(wf.std)(x).tolist() == [0.0, 0.0, 0.0]
    assert wf.grad(wf.linalg.vector_norm)(x - 2.0).tolist() == [0.0, 0.0, 0.0]


def test_ties_share_the_gradient() -> None:
    x = wf.asarray([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    gradient = wf.grad(lambda x: wf.sum(wf.max(x, axis=1)))(x).numpy()
    np.testing.assert_array_equal(gradient, np.array([[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]], np.float32))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([2.0, 3.0, 4.0], [12, 8, 6]),
        ([0.0, 3.0, 4.0], [12, 0, 0]),
        ([0.0, 0.0, 4.0], [0, 0, 0]),
        ([5.0], [1]),
    ],
)
def test_gradient_of_a_product_with_zeros(line: list[float], expected: list[float]) -> None:
    assert wf.grad(lambda x: wf.prod(x))(wf.asarray(line)).tolist() == expected


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: wf.sum(x, axis=2), AxisError, "sum: axis 2 is out of range for a tensor of rank 2"),
        (lambda x: wf.count_nonzero(x, axis=2), AxisError, "count_nonzero: axis 2 is out of range"),
        (lambda x: wf.mean(x, axis=(0, -2)), AxisError, "mean: an axis is named twice"),
        (lambda x: wf.argmax(x, axis=-3), AxisError, "argmax: axis -3 is out of range"),
        (lambda x: wf.argmax(x, axis=(0, 1)), ShapeError, "argmax: axis .*one axis"),
        (lambda x: wf.max(x[:0], axis=0), ShapeError, r"max: shape \(0, 3\), axis 0: there is no max of zero elements"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_errors_say_what_is_wrong(call: Any, error: type[WeftError], message: str, compiled: bool) -> None:
    with pytest.raises(error, match=message) as caught:
        (wf.compile(call) if compiled else call)(wf.asarray(np.ones((2, 3), np.float32)))
    assert __file__ in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "sum",
        "prod",
        "max",
        "min",
        "any",
        "all",
        "argmax",
        "argmin",
        "mean",
        "var",
        "std",
        "count_nonzero",
        "logsumexp",
        "cumulative_sum",
        "stop_gradient",
    ],
)
def test_lists_are_not_tensors(name: str) -> None:
    with pytest.raises(DTypeError, match=f"{name}: an operand of type list is not a tensor; make one with asarray"):
        op(name)([1.0, 2.0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
@pytest.mark.parametrize("axis", AXES)
def test_compiled_equals_eager_in_bits(dtype: str, axis: Any) -> None:
    x = wf.asarray(values(dtype, (5, 70, 9), 3))
    for name in ("sum", "max", "mean", "var", "any"):
        same_bits(wf.compile(lambda x, name=name: op(name)(x, axis=axis))(x), op(name)(x, axis=axis).numpy())

"""Elementwise functions give NumPy's values in every dtype and shape, promote, broadcast, and have right gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import (
    ALL,
    FLOATS,
    INTEGERS,
    NUMERIC,
    SPECIALS,
    broadcast_pairs,
    check_gradient,
    close,
    is_float,
    numpy_dtype,
    same_bits,
    seeds,
    shapes,
    values,
)

import weft as wf
from weft.core import dtypes as dt
from weft.core.errors import DTypeError, ShapeError, WeftError


def _erfinv(x: float) -> float:
    return math.copysign(mpmath.erfinv(abs(x)), x) if abs(x) <= 1 else math.nan


# name: (reference, lowest and highest argument)
SMOOTH: dict[str, tuple[Callable[..., Any], float, float]] = {
    "exp": (np.exp, -8, 8),
    "exp2": (np.exp2, -8, 8),
    "expm1": (np.expm1, -4, 4),
    "log": (np.log, 1e-3, 60),
    "log2": (np.log2, 1e-3, 60),
    "log10": (np.log10, 1e-3, 60),
    "log1p": (np.log1p, -0.9, 60),
    "sin": (np.sin, -30, 30),
    "cos": (np.cos, -30, 30),
    "tan": (np.tan, -1.5, 1.5),
    "asin": (np.arcsin, -1, 1),
    "acos": (np.arccos, -1, 1),
    "atan": (np.arctan, -20, 20),
    "sinh": (np.sinh, -6, 6),
    "cosh": (np.cosh, -6, 6),
    "tanh": (np.tanh, -5, 5),
    "asinh": (np.arcsinh, -20, 20),
    "acosh": (np.arccosh, 1, 40),
    "atanh": (np.arctanh, -0.99, 0.99),
    "erf": (np.vectorize(math.erf, otypes=[np.float64]), -3, 3),
    "erfc": (np.vectorize(math.erfc, otypes=[np.float64]), -3, 3),
    "erfinv": (np.vectorize(_erfinv, otypes=[float]), -0.9, 0.9),
    "cbrt": (np.cbrt, -30, 30),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -8, 8),
    "sqrt": (np.sqrt, 0, 60),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1e-2, 60),
    "reciprocal": (lambda x: 1 / x, 0.1, 9),
    "square": (np.square, -9, 9),
}
EXACT: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "negative": np.negative,
    "positive": np.positive,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.round,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "signbit": np.signbit,
}
FLOAT_PAIRS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "copysign": np.copysign,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
INTEGER_PAIRS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "bitwise_left_shift": np.left_shift,
    "bitwise_right_shift": np.right_shift,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


def op(name: str) -> Any:
    return getattr(wf, name)


# Values


@pytest.mark.parametrize("name", SMOOTH)
@settings(max_examples=12)
@given(dtype=st.sampled_from(FLOATS), shape=shapes, seed=seeds)
def test_smooth_functions_are_right_to_some_units(name: str, dtype: str, shape: tuple[int, ...], seed: int) -> None:
    reference, low, high = SMOOTH[name]
    x = values(dtype, shape, seed, low, high)
    if name in ("acosh", "asin", "acos", "atanh"):  # rounding may leave the domain
        x = np.clip(x.astype(np.float64), low, high).astype(x.dtype)
    close(op(name)(wf.asarray(x)), reference(x.astype(np.float64)), dtype)


@pytest.mark.parametrize("name", [n for n in SMOOTH if n not in ("rsqrt", "sigmoid", "reciprocal")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_are_those_of_ieee(name: str, dtype: str) -> None:
    x = np.array([s for s in SPECIALS if abs(s) != 3e38], dtype)
    with np.errstate(all="ignore"):
        expected = SMOOTH[name][0](x.astype(np.float64)).astype(dtype)
    actual = op(name)(wf.asarray(x)).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=0)
    zero = expected == 0
    np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(expected[zero]))


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=15)
@given(dtype=st.sampled_from(FLOATS), shape=shapes, seed=seeds)
def test_exact_functions_are_exact(name: str, dtype: str, shape: tuple[int, ...], seed: int) -> None:
    x = values(dtype, shape, seed)
    with np.errstate(all="ignore"):
        same_bits(op(name)(wf.asarray(x)), _in_float32(EXACT[name], x))
        special = np.array(SPECIALS, np.float64).astype(x.dtype)
        same_bits(op(name)(wf.asarray(special)), _in_float32(EXACT[name], special))


def _in_float32(function: Callable[..., Any], *arrays: Any) -> Any:
    """NumPy's result in the arrays' dtype, 16-bit floats by way of float32."""
    if arrays[0].dtype.itemsize != 2 or arrays[0].dtype.kind in "iu":
        return np.asarray(function(*arrays))
    result = np.asarray(function(*(a.astype(np.float32) for a in arrays)))
    return result.astype(arrays[0].dtype) if result.dtype == np.float32 else result


@pytest.mark.parametrize("name", ["abs", "negative", "positive", "floor", "ceil", "trunc", "round", "sign", "square"])
@settings(max_examples=15)
@given(dtype=st.sampled_from(INTEGERS), shape=shapes, seed=seeds)
def test_integers_keep_their_dtype(name: str, dtype: str, shape: tuple[int, ...], seed: int) -> None:
    x = values(dtype, shape, seed)
    with np.errstate(all="ignore"):
        expected = x if name in ("floor", "ceil", "trunc", "round") else EXACT[name](x)
    same_bits(op(name)(wf.asarray(x)), np.asarray(expected))


@pytest.mark.parametrize("name", FLOAT_PAIRS)
@settings(max_examples=15)
@given(dtype=st.sampled_from(FLOATS), pair=broadcast_pairs(), seed=seeds)
def test_pairs_of_floats(name: str, dtype: str, pair: Any, seed: int) -> None:
    x, y = values(dtype, pair[0], seed), values(dtype, pair[1], seed + 1)
    if x.size and y.size:
        x.flat[0] = y.flat[-1] = y.flat[0]  # an equal pair
    with np.errstate(all="ignore"):
        same_bits(op(name)(wf.asarray(x), wf.asarray(y)), _in_float32(FLOAT_PAIRS[name], x, y))


@pytest.mark.parametrize("name", FLOAT_PAIRS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_pairs_of_special_values(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        special = np.array(SPECIALS, np.float64).astype(dtype)
        x, y = special[:, None], special[None, :]
        expected = _in_float32(FLOAT_PAIRS[name], x, y)
    actual = op(name)(wf.asarray(x), wf.asarray(y))
    if name in ("maximum", "minimum"):  # NumPy does not say which zero of two it takes
        zero = -0.0 if name == "minimum" else 0.0
        either = (x == 0) & (y == 0) & (np.signbit(x) != np.signbit(y))
        expected = np.where(either, np.array(zero, dtype), expected)
    same_bits(actual, expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", INTEGER_PAIRS)
@settings(max_examples=15)
@given(dtype=st.sampled_from(INTEGERS), pair=broadcast_pairs(), seed=seeds)
def test_pairs_of_integers(name: str, dtype: str, pair: Any, seed: int) -> None:
    """Wrapping, division by zero (0) and shifts beyond the width included."""
    x, y = values(dtype, pair[0], seed), values(dtype, pair[1], seed + 1)
    if name in ("bitwise_left_shift", "bitwise_right_shift"):
        y = values("int8", pair[1], seed + 1).astype(dtype)
    with np.errstate(all="ignore"):
        expected = np.asarray(INTEGER_PAIRS[name](x, y))
    same_bits(op(name)(wf.asarray(x), wf.asarray(y)), expected)


@few(10, 90, dtype=st.sampled_from(("float32", "float64")), pair=broadcast_pairs(), seed=seeds)
def test_floor_divide_and_remainder_of_floats(dtype: str, pair: Any, seed: int) -> None:
    x, y = values(dtype, pair[0], seed, -50, 50), values(dtype, pair[1], seed + 1)
    with np.errstate(all="ignore"):
        same_bits(wf.remainder(wf.asarray(x), wf.asarray(y)), np.asarray(np.remainder(x, y)))
        same_bits(wf.floor_divide(wf.asarray(x), wf.asarray(y)) + 0.0, np.asarray(np.floor_divide(x, y) + 0.0))


@pytest.mark.parametrize(
    ("name", "reference"), [("pow", np.power), ("hypot", np.hypot), ("atan2", np.arctan2), ("logaddexp", np.logaddexp)]
)
@settings(max_examples=20)
@given(dtype=st.sampled_from(FLOATS), pair=broadcast_pairs(), seed=seeds)
def test_transcendental_pairs(name: str, reference: Any, dtype: str, pair: Any, seed: int) -> None:
    x, y = values(dtype, pair[0], seed, 0.1, 4), values(dtype, pair[1], seed + 1)
    close(op(name)(wf.asarray(x), wf.asarray(y)), reference(x.astype(np.float64), y.astype(np.float64)), dtype)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5, -1, 0.5, 2.0])
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8", "int64"])
def test_powers_by_a_number(dtype: str, exponent: float) -> None:
    x = np.array([1, 2, 3, 7], dtype)
    if exponent == -1 and dtype != "float32":
        if dtype == "uint8":
            with pytest.raises(DTypeError, match="pow: -1 does not fit in uint8"):
                wf.pow(wf.asarray(x), exponent)
            return
        expected = np.array([1, 0, 0, 0], dtype)
    else:
        result = "float32" if isinstance(exponent, float) or dtype == "float32" else dtype
        expected = (x.astype(np.float64) ** exponent).astype(np.int64 if result != "float32" else result).astype(result)
    actual = wf.pow(wf.asarray(x), exponent).numpy()
    assert actual.dtype == expected.dtype
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", FLOATS)
def test_nextafter_steps_by_one_unit(dtype: str) -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, 1.0, 1.0], np.float64).astype(numpy_dtype(dtype))
    y = np.array([1.0, -1.0, 2.0, -2.0, 0.0, 0.0, 0.0, 0.0, np.nan, 1.0], np.float64).astype(numpy_dtype(dtype))
    same_bits(wf.nextafter(wf.asarray(x), wf.asarray(y)), np.nextafter(x, y))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("source", ALL)
@pytest.mark.parametrize("target", ALL)
def test_astype_between_all_dtypes(source: str, target: str) -> None:
    x = np.array([0, 1, 2, 3, 100, 0, 1], np.float64).astype(numpy_dtype(source))
    same_bits(wf.astype(wf.asarray(x), target), x.astype(numpy_dtype(target)))


@pytest.mark.parametrize("target", INTEGERS)
def test_floats_saturate_as_integers(target: str) -> None:
    info = np.iinfo(target)
    x = wf.asarray(np.array([1e30, -1e30, np.inf, -np.inf, np.nan, 1.9, -0.9], np.float32))
    expected = np.array([info.max, info.min, info.max, info.min, 0, 1, 0], target)
    same_bits(wf.astype(x, target), expected)


@settings(max_examples=30)
@given(dtype=st.sampled_from(ALL), pair=broadcast_pairs(), seed=seeds)
def test_where_selects(dtype: str, pair: Any, seed: int) -> None:
    x, y = values(dtype, pair[0], seed), values(dtype, pair[1], seed + 1)
    condition = values("bool", np.broadcast_shapes(*pair)[1:], seed + 2)
    same_bits(wf.where(wf.asarray(condition), wf.asarray(x), wf.asarray(y)), np.where(condition, x, y))


@settings(max_examples=30)
@given(dtype=st.sampled_from(NUMERIC), pair=broadcast_pairs(), seed=seeds, below=st.booleans(), above=st.booleans())
def test_clip_is_minimum_of_maximum(dtype: str, pair: Any, seed: int, below: bool, above: bool) -> None:
    x, low = values(dtype, pair[0], seed), values(dtype, pair[1], seed + 1)
    high = values(dtype, (), seed + 2)
    expected = x
    if below:
        expected = np.maximum(expected, low)
    if above:
        expected = np.minimum(expected, high)
    actual = wf.clip(wf.asarray(x), wf.asarray(low) if below else None, wf.asarray(high) if above else None)
    same_bits(actual, np.asarray(expected))


def test_identities() -> None:
    x = wf.asarray([1.0, -2.0])
    for same in (wf.positive(x), wf.astype(x, "float32"), wf.clip(x), wf.stop_gradient(x)):
        same_bits(same, x.numpy())
    with pytest.raises(DTypeError, match="positive: bool operands"):
        wf.positive(wf.asarray([True]))
    same_bits(wf.logical_not(wf.asarray([0.0, 2.0, math.nan])), np.array([True, False, False]))
    same_bits(wf.bitwise_invert(wf.asarray([True, False])), np.array([False, True]))
    same_bits(wf.isfinite(wf.asarray([1, 2])), np.array([True, True]))


# dtypes


@pytest.mark.one_in(2)
@pytest.mark.parametrize("a", ALL)
@pytest.mark.parametrize("b", ALL)
def test_promotion_is_the_table(a: str, b: str) -> None:
    x, y = (wf.asarray(np.ones(3, numpy_dtype(d))) for d in (a, b))
    try:
        expected = dt.promote(dt.as_dtype(a), dt.as_dtype(b))
    except DTypeError:
        with pytest.raises(DTypeError, match=r"add: u?int\d+ and u?int\d+ have no common integer dtype"):
            wf.add(x, y)
        return
    if a == b == "bool":
        with pytest.raises(DTypeError, match="add: bool operands: wants an integer or floating-point dtype"):
            wf.add(x, y)
        return
    assert wf.add(x, y).dtype is expected
    assert wf.equal(x, y).dtype is dt.bool_
    quotient = wf.divide(x, y).dtype
    assert quotient is (expected if is_float(expected.name) else dt.float32)


@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("float16", 2, "float16"),
        ("float16", 2.5, "float16"),
        ("float64", 2.5, "float64"),
        ("float32", True, "float32"),
        ("int8", 2, "int8"),
        ("int8", True, "int8"),
        ("int8", 2.5, "float32"),
        ("uint64", 3, "uint64"),
        ("bool", 2, "int64"),
        ("bool", 2.5, "float32"),
    ],
)
def test_python_numbers_are_weak(dtype: str, number: float, expected: str) -> None:
    x = wf.asarray(np.ones(2, dtype))
    for result in (wf.add(x, number), wf.add(number, x)):
        same_bits(result, (np.ones(2) + number).astype(expected))


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "sigmoid", "atan2", "divide"])
def test_float_functions_of_integers_are_float32(name: str) -> None:
    x = wf.asarray(np.array([1, 2], np.int16))
    assert (op(name)(x, x) if name in ("atan2", "divide") else op(name)(x)).dtype is dt.float32


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: wf.add(wf.asarray([1.0, 2.0]), wf.asarray([1.0, 2.0, 3.0])),
            ShapeError,
            r"add: shapes \(2,\) and \(3,\) do not broadcast: axis -1 has sizes 2 and 3",
        ),
        (
            lambda: wf.where(wf.asarray([True, False]), wf.asarray([1.0]), wf.asarray([[1.0, 2.0, 3.0]])),
            ShapeError,
            "where: shapes",
        ),
        (lambda: wf.add(wf.asarray(np.ones(2, np.int8)), 300), DTypeError, "add: 300 does not fit in int8"),
        (lambda: wf.multiply(wf.asarray(np.ones(2, np.uint8)), -1), DTypeError, "multiply: -1 does not fit in uint8"),
        (
            lambda: wf.add(wf.asarray([1.0]), 10**400),
            DTypeError,
            "add: an integer of 1329 bits does not fit in float32",
        ),
        (lambda: wf.add([1.0], wf.asarray([1.0])), DTypeError, "add: an operand of type list is neither a tensor nor"),
        (lambda: wf.bitwise_and(wf.asarray([1.0]), 1), DTypeError, "bitwise_and: float32 operands: wants an integer"),
        (
            lambda: wf.bitwise_left_shift(wf.asarray([True]), wf.asarray([True])),
            DTypeError,
            "bitwise_left_shift: bool operands",
        ),
        (lambda: wf.where(wf.asarray([1.0]), 1, 2), DTypeError, "where: the condition is float32, not bool"),
        (lambda: wf.astype(wf.asarray([1.0]), "float7"), DTypeError, "float7"),
        (lambda: wf.negative(wf.asarray([True])), DTypeError, "negative: bool operands"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_errors_say_what_is_wrong(call: Any, error: type[WeftError], message: str, compiled: bool) -> None:
    with pytest.raises(error, match=message) as caught:
        (wf.compile(call) if compiled else call)()
    assert __file__ in str(caught.value)


# Bits


@pytest.mark.parametrize("name", [*SMOOTH, "abs", "sign", "floor", "isnan"])
def test_compiled_equals_eager_in_bits(name: str) -> None:
    low, high = SMOOTH[name][1:] if name in SMOOTH else (-4.0, 4.0)
    x = wf.asarray(values("float32", (5, 37), 3, low, high))
    eager = op(name)(x) + 1.0
    same_bits(wf.compile(lambda x: op(name)(x) + 1.0)(x), eager.numpy())


# Gradients

# Where the functions are smooth and central differences are good.
DIFFERENTIABLE = {name: SMOOTH[name][1:] for name in SMOOTH} | {
    "abs": (0.2, 3.0),
    "negative": (-3.0, 3.0),
    "positive": (-3.0, 3.0),
    "reciprocal": (0.5, 3.0),
    "sqrt": (0.5, 9.0),
    "rsqrt": (0.5, 4.0),
    "cbrt": (0.5, 9.0),
    "exp": (-2.0, 2.0),
    "exp2": (-2.0, 2.0),
    "log": (0.5, 9.0),
    "log2": (0.5, 9.0),
    "log10": (0.5, 9.0),
    "log1p": (-0.5, 4.0),
    "tan": (-1.0, 1.0),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "sinh": (-2.0, 2.0),
    "cosh": (-2.0, 2.0),
    "acosh": (1.3, 5.0),
    "atanh": (-0.9, 0.9),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients(name: str) -> None:
    low, high = DIFFERENTIABLE[name]
    x = values("float64", (2, 3), 5, low, high)
    check_gradient(op(name), x)
    check_gradient(lambda x: wf.grad(lambda y: wf.sum(op(name)(y)))(x), x, tolerance=2e-5)  # the second derivative


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name",
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "maximum",
        "minimum",
        "hypot",
        "atan2",
        "logaddexp",
        "copysign",
        "pow",
        "remainder",
    ],
)
@pytest.mark.parametrize("pair", [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (3,))])
def test_gradients_of_pairs(name: str, pair: Any) -> None:
    x, y = values("float64", pair[0], 5, 0.5, 3.0), values("float64", pair[1], 6, 0.6, 2.9)
    check_gradient(op(name), x, y)


@pytest.mark.parametrize("exponent", [1, 2, 3, -1, 0.5, -2.5, 0])
def test_gradients_of_powers_by_a_number(exponent: float) -> None:
    check_gradient(lambda x: wf.pow(x, exponent), values("float64", (4,), 5, 0.5, 3.0))


def test_gradients_of_selection() -> None:
    x, y = values("float64", (3, 4), 1), values("float64", (4,), 2)
    condition = wf.asarray(values("bool", (3, 1), 3))
    check_gradient(lambda a, b: wf.where(condition, a, b), x, y)
    check_gradient(lambda a, b: wf.clip(a, b, 1.5), x, y - 3.0)


def gradient_at(function: Callable[[Any], Any], *points: float) -> list[float]:
    return list(wf.grad(lambda x: wf.sum(function(x)))(wf.asarray(list(points))).tolist())


def test_gradients_at_kinks_are_pytorchs() -> None:
    assert gradient_at(wf.abs, -1.0, 0.0, 2.0) == [-1.0, 0.0, 1.0]
    assert gradient_at(lambda x: wf.maximum(x, 0.0), -1.0, 0.0, 1.0) == [0.0, 0.5, 1.0]
    assert gradient_at(lambda x: wf.minimum(x, 0.0), -1.0, 0.0, 1.0) == [1.0, 0.5, 0.0]
    assert gradient_at(lambda x: wf.clip(x, -1.0, 1.0), -2.0, -1.0, 0.0, 1.0, 2.0) == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert gradient_at(lambda x: wf.pow(x, wf.asarray([0.0, 1.0, 2.0, 3.0])), 0.0, 0.0, 0.0, 0.0) == [0, 1, 0, 0]
    assert gradient_at(lambda x: wf.pow(wf.asarray([0.0, 0.0]), x), 1.0, 2.0) == [0.0, 0.0]
    assert gradient_at(lambda x: wf.hypot(x, 0.0), 0.0) == [0.0]
    assert gradient_at(lambda x: wf.atan2(x, 0.0), 0.0) == [0.0]
    assert gradient_at(lambda x: wf.floor(x) + x, 1.5) == [1.0]
    assert gradient_at(lambda x: x * wf.stop_gradient(x), 3.0) == [3.0]
    assert gradient_at(lambda x: wf.logaddexp(x, -math.inf), 1.0, -math.inf) == [1.0, 0.5]


def test_gradients_of_16_bits_keep_their_dtype() -> None:
    x = wf.asarray(np.array([0.5, 2.0], np.float16))
    gradient = wf.grad(lambda x: wf.sum(wf.exp(x) * 2))(x)
    close(gradient, 2 * np.exp([0.5, 2.0]), "float16", 2.0)
    mixed = wf.grad(lambda x: wf.sum(wf.astype(x, wf.float32) * 3.0))(x)
    same_bits(mixed, np.array([3.0, 3.0], np.float16))

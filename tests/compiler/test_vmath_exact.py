"""What has no rounding error: comparisons, neighbours, Python's division, integer powers and shifts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from vmath_harness import bits_of, compiled, stratified

from weft.compiler.expr import cast
from weft.compiler.vmath import BINARY, UNARY
from weft.core import dtypes as dt
from weft.core.dtypes import DType

FLOATS = (dt.float32, dt.float64)
HALVES = (dt.float16, dt.bfloat16)
INTEGERS = (dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64)
EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    math.inf,
    -math.inf,
    math.nan,
    2.0,
    -2.0,
    3.0,
    -3.0,
    0.5,
    7.5,
    -7.5,
    0.1,
    1e-45,
    -1e-45,
    3e38,
    -3e38,
]


def by_name(d: Any) -> str:
    """Test ids."""
    return d.name if isinstance(d, DType) else str(d)


def edge_pairs(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of special values, and ordinary ones."""
    edges, random = np.array(EDGES).astype(dtype.numpy), np.random.default_rng(0)
    x, y = (v.ravel() for v in np.meshgrid(edges, edges))
    return (
        np.concatenate([x, random.normal(size=4000) * 100]).astype(dtype.numpy),
        np.concatenate([y, random.normal(size=4000)]).astype(dtype.numpy),
    )


def edge_integers(dtype: DType) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of extreme and small integers, and random ones."""
    info, random = np.iinfo(dtype.numpy), np.random.default_rng(0)
    edges = [info.min, info.min + 1, info.max, info.max - 1, *range(9), 31, 63, 64]
    edges += [-1, -2, -3, -7] if info.min else []
    x, y = (v.ravel() for v in np.meshgrid(*2 * (np.array([wrapped(e, dtype) for e in edges], dtype.numpy),)))
    return (
        np.concatenate([x, random.integers(info.min, info.max, 2000, dtype=dtype.numpy, endpoint=True)]),
        np.concatenate([y, random.integers(max(info.min, -40), 40, 2000).astype(dtype.numpy)]),
    )


def wrapped(value: int, dtype: DType) -> int:
    """``value`` modulo 2^bits, within the dtype's range."""
    value &= (1 << dtype.bits) - 1
    return value - (1 << dtype.bits) if dtype.is_signed and value >> (dtype.bits - 1) else value


@pytest.mark.parametrize("dtype", FLOATS, ids=by_name)
@pytest.mark.parametrize("name", ["floor_divide", "remainder", "nextafter"])
def test_floats_as_numpy_has_them(name: str, dtype: DType) -> None:
    x, y = edge_pairs(dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
    results = compiled(BINARY[name], (dtype, dtype))(x, y)
    wrong = bits_of(results) != bits_of(expected)
    assert not wrong.any(), list(zip(x[wrong], y[wrong], results[wrong], expected[wrong], strict=True))


@pytest.mark.parametrize("dtype", FLOATS, ids=by_name)
def test_float_division_is_pythons(dtype: DType) -> None:
    x, y = edge_pairs(dt.float64)
    fine = np.isfinite(x) & np.isfinite(y) & (y != 0) & (np.abs(y) > 1e-30) & (np.abs(x) < 1e30)
    x, y = x[fine].astype(dtype.numpy), y[fine].astype(dtype.numpy)
    quotients = compiled(BINARY["floor_divide"], (dtype, dtype))(x, y)
    rests = compiled(BINARY["remainder"], (dtype, dtype))(x, y)
    if dtype is dt.float64:
        assert quotients.tolist() == [a // b for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        assert rests.tolist() == [a % b for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert np.all((rests == 0) | (np.signbit(rests) == np.signbit(y)))
    assert np.all(np.abs(rests) <= np.abs(y))


@pytest.mark.parametrize("dtype", FLOATS, ids=by_name)
def test_maximum_and_minimum(dtype: DType) -> None:
    """NaN wins, and -0 < +0."""

    def key(v: float) -> tuple[float, float]:
        return (v, math.copysign(1.0, v))

    x, y = edge_pairs(dtype)
    both = list(zip(x.tolist(), y.tolist(), strict=True))
    for name, choose in (("maximum", max), ("minimum", min)):
        expected = [math.nan if a != a or b != b else choose(a, b, key=key) for a, b in both]
        results = compiled(BINARY[name], (dtype, dtype))(x, y)
        assert np.array_equal(bits_of(results), bits_of(np.array(expected, dtype.numpy))), name


@pytest.mark.parametrize("dtype", FLOATS, ids=by_name)
def test_sign_signbit_and_round(dtype: DType) -> None:
    x = np.concatenate([np.array(EDGES), np.arange(-8, 8) / 2]).astype(dtype.numpy)
    x = np.concatenate([x, -x, stratified(dtype, 3000)])
    with np.errstate(invalid="ignore"):  # of signalling NaN
        sign = np.where(np.isnan(x), x, np.sign(x) + 0.0).astype(dtype.numpy)
    assert np.array_equal(bits_of(compiled(UNARY["sign"], (dtype,))(x)), bits_of(sign))
    assert np.array_equal(compiled(UNARY["signbit"], (dtype,))(x), np.signbit(x))
    x = x[~np.isnan(x)]
    assert np.array_equal(bits_of(compiled(UNARY["round"], (dtype,))(x)), bits_of(np.round(x)))


@pytest.mark.parametrize("dtype", HALVES, ids=by_name)
@pytest.mark.parametrize("towards", [math.inf, -math.inf, 0.0, -0.0, 1.5, math.nan])
def test_nextafter_of_every_16_bit_float(dtype: DType, towards: float) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype.numpy)
    results = compiled(BINARY["nextafter"], (dtype, dtype))(x, np.full(x.size, towards, dtype.numpy))
    wide, after = x.astype(np.float32), results.astype(np.float32)
    nan = np.isnan(wide) | math.isnan(towards)
    assert np.isnan(after[nan]).all() and not np.isnan(after[~nan]).any()
    still = ~nan & (wide == np.float32(towards))
    moved = ~nan & ~still
    assert np.array_equal(np.signbit(after[still]), np.full(still.sum(), np.signbit(np.float32(towards))))
    assert np.all((after[moved] > wide[moved]) == (np.float32(towards) > wide[moved]))
    order = np.where(x.view(np.int16) < 0, -(x.view(np.int16) & 0x7FFF).astype(int), x.view(np.int16).astype(int))
    after_order = np.where(
        results.view(np.int16) < 0, -(results.view(np.int16) & 0x7FFF).astype(int), results.view(np.int16).astype(int)
    )
    assert np.all(np.abs(order - after_order)[moved] == 1)


@pytest.mark.parametrize("dtype", INTEGERS, ids=by_name)
def test_integer_division(dtype: DType) -> None:
    """Python's, but x // 0 and x % 0 are 0, and lowest // -1 wraps around."""
    x, y = edge_integers(dtype)
    both = list(zip(x.tolist(), y.tolist(), strict=True))
    quotients = compiled(BINARY["floor_divide"], (dtype, dtype))(x, y)
    assert quotients.tolist() == [wrapped(a // b, dtype) if b else 0 for a, b in both]
    rests = compiled(BINARY["remainder"], (dtype, dtype))(x, y)
    assert rests.tolist() == [a % b if b else 0 for a, b in both]


@pytest.mark.parametrize("dtype", INTEGERS, ids=by_name)
def test_integer_power(dtype: DType) -> None:
    """Modulo 2^bits; a negative exponent gives the truncated quotient, and 0 for base 0."""
    x, y = edge_integers(dtype)
    modulus = 1 << dtype.bits
    expected = [
        wrapped(pow(a, b, modulus), dtype) if b >= 0 else int(a in (1, -1)) * (a if b & 1 else 1)
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
    ]
    assert compiled(BINARY["pow"], (dtype, dtype))(x, y).tolist() == expected


@pytest.mark.parametrize("dtype", INTEGERS, ids=by_name)
def test_shifts_by_any_count(dtype: DType) -> None:
    x, y = edge_integers(dtype)
    both = list(zip(x.tolist(), y.tolist(), strict=True))
    fits = [0 <= b < dtype.bits for _, b in both]
    left = compiled(BINARY["bitwise_left_shift"], (dtype, dtype))(x, y)
    assert left.tolist() == [wrapped(a << b, dtype) if ok else 0 for (a, b), ok in zip(both, fits, strict=True)]
    right = compiled(BINARY["bitwise_right_shift"], (dtype, dtype))(x, y)
    assert right.tolist() == [a >> b if ok else -(a < 0) for (a, b), ok in zip(both, fits, strict=True)]


@pytest.mark.parametrize("dtype", INTEGERS, ids=by_name)
@pytest.mark.parametrize(("name", "reference"), [("maximum", max), ("minimum", min)])
def test_integer_maximum(name: str, reference: Callable[[int, int], int], dtype: DType) -> None:
    x, y = edge_integers(dtype)
    expected = [reference(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    assert compiled(BINARY[name], (dtype, dtype))(x, y).tolist() == expected
    signs = compiled(UNARY["sign"], (dtype,))(x)
    assert signs.tolist() == [(a > 0) - (a < 0) for a in x.tolist()]


def test_float16_goes_through_float32() -> None:
    """The way of the ops layer: every float16 result is the float32 one, rounded once."""
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    half = compiled(_half_exp, (dt.float16,))(x)
    with np.errstate(all="ignore"):
        single = compiled(UNARY["exp"], (dt.float32,))(x.astype(np.float32)).astype(np.float16)
    assert np.array_equal(bits_of(half), bits_of(single))


def _half_exp(x: Any) -> Any:
    return cast(UNARY["exp"](cast(x, dt.float32)), dt.float16)

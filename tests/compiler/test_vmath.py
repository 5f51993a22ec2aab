"""Vector math keeps to its documented error over the whole range, and gives the same bits on every target."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf
from vmath_harness import bits_of, compile_for, compiled, num_nodes, spacing, stratified, ulp_error

import weft as wf
from weft.compiler.expr import Expr
from weft.compiler.vmath import BINARY, ULP, UNARY, coefficients
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.core.errors import CompileError
from weft.llvm.targets import Target, host_target

ROOT = Path(__file__).resolve().parents[2]
INF, NAN = math.inf, math.nan
FLOATS = (dt.float32, dt.float64)
ROUNDED_UNARY = sorted({name for name, _ in ULP} & set(UNARY))
ROUNDED_BINARY = sorted({name for name, _ in ULP} & set(BINARY))


def _erfinv(x: float) -> float:
    """By Newton's steps from the normal distribution's quantile."""
    a = abs(x)
    if not 0 < a < 1:
        return x * INF if a == 1 else x
    y = -NormalDist().inv_cdf((1 - a) / 2) / math.sqrt(2)
    for _ in range(2):
        left = math.erf(y) - a if a < 0.7 else (1 - a) - math.erfc(y)
        y -= left * math.sqrt(math.pi) / 2 * math.exp(y * y)
    return math.copysign(y, x)


# name: (float64 reference, mpmath reference, intervals where the function is worth a closer look)
WIDE = ((-30.0, 30.0), (-1.0, 1.0))
REFERENCES: dict[str, tuple[Callable[[Any], Any], Callable[[mpf], mpf], tuple[tuple[float, float], ...]]] = {
    "acos": (np.arccos, mp.acos, ((-1.0, 1.0),)),
    "acosh": (np.arccosh, mp.acosh, ((1.0, 1.01), (1.0, 10.0))),
    "asin": (np.arcsin, mp.asin, ((-1.0, 1.0),)),
    "asinh": (np.arcsinh, mp.asinh, WIDE),
    "atan": (np.arctan, mp.atan, WIDE),
    "atanh": (np.arctanh, mp.atanh, ((-1.0, 1.0),)),
    "cbrt": (np.cbrt, lambda x: mp.sign(x) * mp.cbrt(abs(x)), WIDE),
    "cos": (np.cos, mp.cos, WIDE),
    "cosh": (np.cosh, mp.cosh, WIDE),
    "erf": (np.vectorize(math.erf, otypes=[float]), mp.erf, ((-6.0, 6.0), (-1.0, 1.0))),
    "erfc": (np.vectorize(math.erfc, otypes=[float]), mp.erfc, ((-6.0, 28.0), (-1.0, 1.0))),
    "erfinv": (np.vectorize(_erfinv, otypes=[float]), lambda x: mp.erfinv(x), ((-1.0, 1.0), (0.999, 1.0))),
    "exp": (np.exp, mp.exp, ((-745.0, 710.0), (-104.0, 89.0), (-1.0, 1.0))),
    "exp2": (np.exp2, lambda x: mpf(2) ** x, ((-1075.0, 1024.0), (-150.0, 128.0), (-1.0, 1.0))),
    "expm1": (np.expm1, mp.expm1, ((-40.0, 710.0), (-18.0, 89.0), (-1.0, 1.0))),
    "log": (np.log, mp.log, ((0.5, 2.0),)),
    "log10": (np.log10, mp.log10, ((0.5, 2.0),)),
    "log1p": (np.log1p, mp.log1p, ((-1.0, 1.0),)),
    "log2": (np.log2, lambda x: mp.log(x) / mp.log(2), ((0.5, 2.0),)),
    "rsqrt": (lambda x: 1 / np.sqrt(x.astype(np.longdouble)), lambda x: 1 / mp.sqrt(x), ((0.5, 4.0),)),
    "sigmoid": (
        lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x))),
        lambda x: 1 / (1 + mp.exp(-x)),
        ((-745.0, 40.0), (-104.0, 20.0), (-1.0, 1.0)),
    ),
    "sin": (np.sin, mp.sin, WIDE),
    "sinh": (np.sinh, mp.sinh, WIDE),
    "tan": (np.tan, mp.tan, WIDE),
    "tanh": (np.tanh, mp.tanh, ((-20.0, 20.0), (-1.0, 1.0))),
}

# Where a function is defined, and where mpmath has an answer in reasonable time.
DOMAINS: dict[str, tuple[float, float]] = {
    "acos": (-1, 1),
    "acosh": (1, INF),
    "asin": (-1, 1),
    "atanh": (-1, 1),
    "cosh": (-720, 720),
    "erf": (-30, 30),
    "erfc": (-30, 30),
    "erfinv": (-1, 1),
    "exp": (-760, 720),
    "exp2": (-1090, 1030),
    "expm1": (-760, 720),
    "log": (0, INF),
    "log10": (0, INF),
    "log1p": (-1, INF),
    "log2": (0, INF),
    "rsqrt": (0, INF),
    "sigmoid": (-760, 760),
    "sinh": (-720, 720),
    "tanh": (-400, 400),
}


def samples(name: str, dtype: DType, dense: int, close: int) -> np.ndarray:
    """Numbers of every binade and of the function's own intervals, all within its domain."""
    random = np.random.default_rng(7)
    intervals = [random.uniform(a, b, close).astype(dtype.numpy) for a, b in REFERENCES[name][2]]
    values = np.concatenate([stratified(dtype, dense), *intervals])
    low, high = DOMAINS.get(name, (-INF, INF))
    inside = np.isfinite(values) & (values > low) & (values < high)
    return values[inside]


def exact_errors(name: str, values: np.ndarray, results: np.ndarray) -> np.ndarray:
    """Errors in ULP against mpmath."""
    function, errors = REFERENCES[name][1], np.empty(values.size)
    with mp.workdps(40):
        for k, (x, y) in enumerate(zip(values, results, strict=True)):
            true = function(mpf(float(x)))
            if abs(true) >= mpf(float(np.finfo(results.dtype).max)):
                errors[k] = ulp_error(np.array([y]), np.array([float(true)], np.longdouble))[0]
            else:
                unit = spacing(np.array([float(true)], np.longdouble), results.dtype)[0]
                errors[k] = abs(mpf(float(y)) - true) / mpf(float(unit)) if np.isfinite(y) else INF
    return errors


def worst(name: str, values: np.ndarray, results: np.ndarray, errors: np.ndarray) -> str:
    """The sample with the largest error."""
    k = int(np.argmax(errors))
    return f"{name}({values[k]!r}) = {results[k]!r}: {errors[k]:.3f} ULP"


@pytest.mark.parametrize("name", ROUNDED_UNARY)
def test_float32_error(name: str) -> None:
    values = samples(name, dt.float32, 100_000, 100_000)
    results = compiled(UNARY[name], (dt.float32,))(values)
    with np.errstate(all="ignore"):
        errors = ulp_error(results, REFERENCES[name][0](values.astype(np.float64)))
    assert errors.max() <= ULP[name, "float32"], worst(name, values, results, errors)


@pytest.mark.parametrize("name", ROUNDED_UNARY)
def test_float64_error(name: str) -> None:
    values = samples(name, dt.float64, 0, 500)
    values = np.random.default_rng(1).permutation(values)[:3000]
    results = compiled(UNARY[name], (dt.float64,))(values)
    errors = exact_errors(name, values, results)
    assert errors.max() <= ULP[name, "float64"], worst(name, values, results, errors)


@pytest.mark.long
@pytest.mark.parametrize("name", ROUNDED_UNARY)
def test_float64_error_of_many(name: str) -> None:
    values = samples(name, dt.float64, 20_000, 10_000)
    results = compiled(UNARY[name], (dt.float64,))(values)
    errors = exact_errors(name, values, results)
    assert errors.max() <= ULP[name, "float64"], worst(name, values, results, errors)


@pytest.mark.long
@pytest.mark.parametrize("name", ROUNDED_UNARY)
def test_float32_error_of_every_number(name: str) -> None:
    run, (low, high) = compiled(UNARY[name], (dt.float32,)), DOMAINS.get(name, (-INF, INF))
    step = 1 << 22
    for start in range(0, 1 << 32, step):
        values = np.arange(start, start + step, dtype=np.uint32).view(np.float32)
        values = values[np.isfinite(values) & (values > low) & (values < high)]
        if not values.size:
            continue
        results = run(values)
        with np.errstate(all="ignore"):
            true = np.asarray(REFERENCES[name][0](values.astype(np.float64)), np.float64)
            unit = np.ldexp(1.0, np.clip(np.frexp(true)[1], -125, 128) - 24)
            errors = np.abs(results - np.clip(true, -(2.0**128), 2.0**128)) / unit
            errors[np.isinf(results) & (np.abs(true) > 3.4028235e38)] = 0
        assert errors.max() <= ULP[name, "float32"], worst(name, values, results, errors)


# --- angles that are hard to reduce -----------------------------------------------------------------------------


def closest(exponent: int, bits: int) -> list[float]:
    """Numbers ``m 2^exponent`` with m of at most ``bits`` bits that come closest to multiples of pi/2: the
    denominators of the continued fraction of 2^exponent / (pi/2), and small multiples of them."""
    found, rest, last, now = [], mp.ldexp(2 / mp.pi, exponent), 0, 1
    while now < 1 << bits:
        found += [math.ldexp(now * k, exponent) for k in (1, 2, 3) if now * k < 1 << bits]
        rest = 1 / (rest - mp.floor(rest))
        last, now = now, int(mp.floor(rest)) * now + last
    return found[-6:]


def hard_angles(dtype: DType) -> np.ndarray:
    """Numbers next to multiples of pi/2, in every binade and of few turns; among them the closest of all."""
    digits, largest = (24, 127) if dtype is dt.float32 else (53, 1023)
    random, found = np.random.default_rng(5), [2.0**largest, float(np.finfo(dtype.numpy).max)]
    with mp.workdps(400):
        near = [mp.nint(mp.ldexp(1 + random.random(), e) / (mp.pi / 2)) * mp.pi / 2 for e in range(largest)]
        near += [k * mp.pi / 2 for k in range(1, 300)]
        for multiple in np.array([float(m) for m in near]).astype(dtype.numpy):
            above = np.nextafter(multiple, dtype.numpy.type(INF))
            found += [float(v) for v in (multiple, above, 2 * multiple - above)]
        for exponent in range(-digits, largest - digits, 1 if dtype is dt.float32 else 4):
            found += closest(exponent, digits)
    if dtype is dt.float64:
        found += [6381956970095103 * 2.0**797]  # J.-M. Muller, Elementary Functions, 2006, table 11.1
        found += [45.553093477052, 91.106186954104, 28922353.34055676]  # few turns, many bits behind the point
    return np.unique(np.array(found).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_hard_angles(name: str, dtype: DType) -> None:
    values = hard_angles(dtype)
    results = compiled(UNARY[name], (dtype,))(values)
    errors = exact_errors(name, values, results)
    assert errors.max() <= ULP[name, dtype.name], worst(name, values, results, errors)


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_every_angle_of_16_bits(name: str, dtype: DType) -> None:
    """Computed as float32 and rounded once: the error is half an ULP and what float32 adds."""
    values = np.arange(1 << 16, dtype=np.uint16).view(dtype.numpy)
    values = values[np.isfinite(values.astype(np.float32))]
    results = getattr(wf, name)(wf.asarray(values)).numpy().astype(np.float64)
    true = REFERENCES[name][0](values.astype(np.float64))
    low, high, digits = (-13, 16, 11) if dtype is dt.float16 else (-125, 128, 8)
    true = np.clip(true, -(2.0**high), 2.0**high)  # infinity stands for what is next to the largest number
    results = np.clip(results, -(2.0**high), 2.0**high)
    errors = np.abs(results - true) / np.ldexp(1.0, np.maximum(np.frexp(true)[1], low) - digits)
    assert errors.max() <= 0.501, worst(name, values, results, errors)


# --- special values ---------------------------------------------------------------------------------------------

PI = math.pi
SPECIAL: dict[str, list[tuple[float, float]]] = {
    "acos": [(1, 0), (INF, NAN), (-INF, NAN), (1.5, NAN), (-1.5, NAN), (-1, PI), (0, PI / 2), (-0.0, PI / 2)],
    "acosh": [(1, 0), (0.5, NAN), (-1, NAN), (-INF, NAN), (INF, INF), (0, NAN)],
    "asin": [(0, 0), (-0.0, -0.0), (1, PI / 2), (-1, -PI / 2), (1.5, NAN), (-INF, NAN), (INF, NAN)],
    "asinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "atan": [(0, 0), (-0.0, -0.0), (INF, PI / 2), (-INF, -PI / 2), (1, PI / 4), (-1, -PI / 4)],
    "atanh": [(0, 0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)],
    "cbrt": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (27, 3), (-8, -2), (0.001, 0.1)],
    "cos": [(0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "cosh": [(0, 1), (-0.0, 1), (INF, INF), (-INF, INF), (1000, INF), (-1000, INF)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (10, 1), (-10, -1)],
    "erfc": [(0, 1), (-0.0, 1), (INF, 0), (-INF, 2), (1000, 0), (-10, 2)],
    "erfinv": [(0, 0), (-0.0, -0.0), (1, INF), (-1, -INF), (1.5, NAN), (-1.5, NAN), (INF, NAN), (-INF, NAN)],
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1000, INF), (-1000, 0)],
    "exp2": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (2000, INF), (-2000, 0), (10, 1024), (-3, 0.125)],
    "expm1": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1000, INF), (-1000, -1)],
    "log": [(1, 0), (0, -INF), (-0.0, -INF), (-1, NAN), (-INF, NAN), (INF, INF)],
    "log10": [(1, 0), (0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (1000, 3), (100, 2)],
    "log1p": [(0, 0), (-0.0, -0.0), (-1, -INF), (-2, NAN), (-INF, NAN), (INF, INF)],
    "log2": [(1, 0), (0, -INF), (-0.0, -INF), (-1, NAN), (INF, INF), (1024, 10), (0.125, -3), (2.0**-140, -140)],
    "rsqrt": [(0, INF), (-0.0, -INF), (INF, 0), (-1, NAN), (-INF, NAN), (4, 0.5)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1000, 1), (-1000, 0)],
    "sin": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "sinh": [(0, 0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1000, INF), (-1000, -INF)],
    "tan": [(0, 0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (30, 1), (-30, -1)],
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, dtype: DType) -> None:
    pairs = [*SPECIAL[name], (NAN, NAN)]
    values, expected = np.array(pairs).T.astype(dtype.numpy)
    results = compiled(UNARY[name], (dtype,))(values)
    wrong = bits_of(results) != bits_of(np.ascontiguousarray(expected))
    assert not wrong.any(), list(zip(values[wrong], results[wrong], expected[wrong], strict=True))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["asin", "asinh", "atan", "atanh", "cbrt", "erf", "sin", "sinh", "tan", "tanh"])
def test_odd_functions_are_odd(name: str, dtype: DType) -> None:
    values = np.abs(stratified(dtype, 8000))
    run = compiled(UNARY[name], (dtype,))
    assert np.array_equal(bits_of(run(values)), bits_of(-run(-values)))


NEARLY_LINEAR = ["asin", "asinh", "atan", "atanh", "erf", "expm1", "log1p", "sin", "sinh", "tan", "tanh"]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", NEARLY_LINEAR)
def test_denormals_keep_their_bits(name: str, dtype: DType) -> None:
    """f(x) = c x for tiny x: a flushed or truncated denormal would show."""
    low = np.arange(1, 2000, dtype=f"u{dtype.itemsize}").view(dtype.numpy)
    values = np.concatenate([low, -low])
    results = compiled(UNARY[name], (dtype,))(values)
    with mp.workdps(40):
        true = [float(REFERENCES[name][1](mpf(float(v)))) for v in values]
    assert np.array_equal(results, np.array(true, dtype.numpy))


# --- functions of two arguments ---------------------------------------------------------------------------------


def longdouble_or_mpmath(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """References by mpmath as longdouble (which need only be as wide as float64 for float32 arguments)."""
    functions: dict[str, Callable[[mpf, mpf], mpf]] = {
        "pow": lambda a, b: mp.power(a, b),
        "hypot": lambda a, b: mp.sqrt(a * a + b * b),
        "atan2": mp.atan2,
        "logaddexp": lambda a, b: max(a, b) + mp.log1p(mp.exp(-abs(a - b))),
    }
    with mp.workdps(60):
        values = [functions[name](mpf(float(a)), mpf(float(b))) for a, b in zip(x, y, strict=True)]
        high = [float(v) for v in values]
        low = [float(v - mpf(h)) if math.isfinite(h) else 0.0 for v, h in zip(values, high, strict=True)]
    return np.array(high, np.longdouble) + np.array(low, np.longdouble)


def pairs(name: str, dtype: DType, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Arguments over the whole range, and where the function is interesting."""
    random = np.random.default_rng(11)
    if name == "pow":
        top = 150 if dtype is dt.float32 else 1075
        near = 1 + random.normal(size=count) * 2.0 ** -random.uniform(1, np.finfo(dtype.numpy).nmant, count)
        far = np.abs(random.permutation(stratified(dtype, count))[:count])
        x = np.concatenate([near, far]).astype(dtype.numpy)
        x = x[np.isfinite(x) & (x > 0) & (x != 1)]
        y = (random.uniform(-1.05, 1.05, x.size) * top / np.log2(x.astype(np.float64))).astype(dtype.numpy)
        return x, y
    if name == "logaddexp":
        x = random.uniform(-100, 100, 2 * count).astype(dtype.numpy)
        return x, (x + random.uniform(-40, 40, x.size)).astype(dtype.numpy)
    x = random.permutation(stratified(dtype, count))[:count]
    y = random.permutation(stratified(dtype, count, 3))[:count]
    close = (x * random.uniform(-4, 4, x.size)).astype(dtype.numpy)
    x, y = np.concatenate([x, x]), np.concatenate([y, close])
    fine = np.isfinite(x) & np.isfinite(y) & (x != 0)
    return x[fine], y[fine]


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ROUNDED_BINARY)
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.filterwarnings("ignore:invalid")
def test_binary_error(name: str, dtype: DType) -> None:
    x, y = pairs(name, dtype, 600)
    results = compiled(BINARY[name], (dtype, dtype))(x, y)
    true = longdouble_or_mpmath(name, x, y)
    errors = ulp_error(results, true)
    if name == "logaddexp":  # documented: against the largest of the terms
        with np.errstate(all="ignore"):
            scale = np.maximum(np.maximum(np.abs(x), np.abs(y)).astype(np.longdouble), np.abs(true))
            errors = (np.abs(results - true) / spacing(scale, results.dtype)).astype(np.float64)
    k = int(np.argmax(errors))
    assert errors[k] <= ULP[name, dtype.name], (x[k], y[k], results[k], true[k], errors[k])


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "reference"), [("pow", np.power), ("atan2", np.arctan2), ("hypot", np.hypot)])
def test_binary_special_values(name: str, reference: Callable[..., Any], dtype: DType) -> None:
    """C's tables of special values, as NumPy follows them."""
    edges = [0.0, -0.0, 1, -1, INF, -INF, NAN, 2, -2, 3, -3, 0.5, -0.5, 2.0**24, 2.0**53 - 1, 1.5]
    x, y = (np.ascontiguousarray(v.ravel()) for v in np.meshgrid(*2 * (np.array(edges, dtype.numpy),)))
    results = compiled(BINARY[name], (dtype, dtype))(x, y)
    with np.errstate(all="ignore"):
        expected = reference(x, y)
        near = np.isfinite(results) & (np.abs(results - expected) <= 2 * np.abs(np.spacing(expected)))
    near &= np.signbit(results) == np.signbit(expected)
    wrong = ~near & (bits_of(results) != bits_of(expected))
    assert not wrong.any(), list(zip(x[wrong], y[wrong], results[wrong], expected[wrong], strict=True))


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
def test_exact_powers_are_exact(dtype: DType) -> None:
    bases, exponents = (v.ravel() for v in np.meshgrid(np.arange(-40.0, 41.0), np.arange(0.0, 12.0)))
    exact = [int(b) ** int(e) for b, e in zip(bases, exponents, strict=True)]
    fits = np.array([float(dtype.numpy.type(float(v))) == v for v in exact])
    x, y = bases[fits].astype(dtype.numpy), exponents[fits].astype(dtype.numpy)
    run = compiled(BINARY["pow"], (dtype, dtype))
    assert np.array_equal(run(x, y), np.array(exact, float)[fits].astype(dtype.numpy))
    roots = np.arange(0.0, 2000.0).astype(dtype.numpy)
    half = np.full_like(roots, 0.5)
    assert np.array_equal(run(roots * roots, half), roots)


def test_infinities_of_logaddexp() -> None:
    x = np.array([INF, INF, -INF, -INF, 1.0, NAN, 0.0], np.float32)
    y = np.array([INF, -INF, -INF, 3.0, INF, 0.0, NAN], np.float32)
    expected = np.array([INF, INF, -INF, 3.0, INF, NAN, NAN], np.float32)
    for dtype in FLOATS:
        results = compiled(BINARY["logaddexp"], (dtype, dtype))(x, y).astype(np.float32)
        assert np.array_equal(results, expected, equal_nan=True)


# --- the same bits everywhere -----------------------------------------------------------------------------------


def targets() -> list[Target]:
    """Every vector ISA that this machine has."""
    found = []
    for isa in ("generic", "avx2", "avx512", "neon"):
        try:
            found.append(host_target(isa))
        except CompileError:
            continue
    return found


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_same_bits_on_every_target(name: str, dtype: DType) -> None:
    if name.startswith("bitwise"):
        return
    function: Callable[..., Expr] = UNARY.get(name) or BINARY[name]
    count = 1 if name in UNARY else 2
    random = np.random.default_rng(3)
    arrays = [
        np.concatenate(
            [random.permutation(stratified(dtype, 0, seed))[:997], random.normal(size=1000).astype(dtype.numpy)]
        )
        for seed in range(count)
    ]
    results = [bits_of(compile_for(function, (dtype,) * count, target)(*arrays)) for target in targets()]
    for other in results[1:]:
        assert np.array_equal(results[0], other)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "erf", "sin", "sigmoid"])
def test_a_number_alone_gives_what_it_gives_among_others(name: str, dtype: DType) -> None:
    values = np.random.default_rng(2).normal(size=37).astype(dtype.numpy) * 3
    for target in targets():
        run = compile_for(UNARY[name], (dtype,), target)
        together = run(values)
        alone = np.concatenate([run(values[k : k + 1]) for k in range(values.size)])
        assert np.array_equal(bits_of(together), bits_of(alone))


# --- documentation ----------------------------------------------------------------------------------------------


def test_documented_errors() -> None:
    text = (ROOT / "docs" / "vector_math.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    names = ("float32", "float64")
    documented = {(name, d): float(v) for name, *both in rows for d, v in zip(names, both, strict=True)}
    assert documented == ULP


def test_hot_functions_stay_small() -> None:
    """What activations are made of: at most so many operations for one float32 (casts of bits included)."""
    most = {"exp": 26, "tanh": 36, "erf": 37, "sigmoid": 42, "log": 39}
    assert all(num_nodes(UNARY[name], (dt.float32,)) <= limit for name, limit in most.items())


def load_tool(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/minimax.py, which is not part of the package."""
    spec = importlib.util.spec_from_file_location("minimax", ROOT / "tools" / "minimax.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "minimax", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.long
def test_coefficients_are_what_the_tool_makes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_tool(monkeypatch).main([])
    made: dict[str, Any] = {}
    exec(capsys.readouterr().out, made)
    committed = {k: v for k, v in vars(coefficients).items() if k.isupper()}
    assert {k: v for k, v in made.items() if k.isupper()} == committed

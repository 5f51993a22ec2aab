"""log, log2, log10 and log1p.

``x = 2^e m`` with an integer e and m in [11/16, 11/8); ``f = m - 1`` is exact. ``log m = f + c`` with a small
``c``: for float32 ``c = f (f^2 P(f) - f/2)``; for float64, with ``s = f / (2 + f)``, ``c = s (f^2/2 + s^2 P(s^2)) -
f^2/2`` (log m = 2 atanh(s)). Then ``log_b x = e log_b 2 + (f + c) log_b e``, where the constants are pairs of floats
(the first part of ``log_b 2`` so short that its product with e is exact) and the largest parts are summed with their
rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...core import dtypes as dt
from ..expr import Expr, add, and_, bitcast, copysign, eq, fma, le, lt, or_, shl, shr, where
from . import coefficients as c
from .floats import Format, format_of, horner, quick_two_sum, two_sum

ULP = {"log": (0.85, 0.85), "log10": (0.98, 1.0), "log1p": (0.98, 1.0), "log2": (0.95, 1.0)}

INFINITY, NAN = float("inf"), float("nan")


@dataclass(frozen=True, slots=True)
class Base:
    """``log_b 2`` and ``log_b e``, each as (first part, rest) for float32 and for float64."""

    two: tuple[tuple[float, float], tuple[float, float]]
    e: tuple[tuple[float, float], tuple[float, float]]


NATURAL = Base(c.LN2, ((1.0, 0.0), (1.0, 0.0)))
BINARY = Base(((1.0, 0.0), (1.0, 0.0)), c.LOG2_E)
DECIMAL = Base(c.LOG10_2, c.LOG10_E)


@dataclass(frozen=True, slots=True)
class Split:
    """``x = 2^e m`` with m in [11/16, 11/8). ``biased`` is e + bias and ``fraction`` the bits of m less those of 11/16,
    both unsigned integers."""

    e: Expr
    m: Expr
    biased: Expr
    fraction: Expr


def split(x: Expr, denormal: bool = True) -> Split:
    """Exponent and significand of a positive finite x; ``denormal``: it may be one."""
    fmt = format_of(x)
    up = fmt.mantissa + 1
    small = lt(x, fmt.const(fmt.tiny))
    start = fmt.bits_of(11 / 16)
    shift = (fmt.bias << fmt.mantissa) - start  # moves m's interval to [1, 2)
    bits = bitcast(where(small, x * 2.0**up, x) if denormal else x, fmt.unsigned) + shift
    biased = shr(bits, fmt.natural(fmt.mantissa))
    joined = bitcast(or_(biased, fmt.natural(fmt.bits_of(2.0**fmt.mantissa))), fmt.dtype)  # 2^mantissa + biased
    base = 2.0**fmt.mantissa + fmt.bias
    e = joined - (where(small, fmt.const(base + up), fmt.const(base)) if denormal else fmt.const(base))
    fraction = and_(bits, fmt.natural((1 << fmt.mantissa) - 1))
    return Split(e, bitcast(fraction + start, fmt.dtype), biased, fraction)


def curvature(f: Expr) -> Expr:
    """``c`` with log(1 + f) = f + c for -5/16 <= f <= 3/8."""
    fmt = format_of(f)
    if fmt.dtype is dt.float32:
        return f * fma(f, f * horner(f, c.LOG_F32), f * -0.5)
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    return fma(s, fma(z, horner(z, c.LOG_F64), half), -half)


def assemble(e: Expr, f: Expr, small: Expr, base: Base) -> Expr:
    """``e log_b 2 + (f + small) log_b e``."""
    fmt = format_of(f)
    which = 0 if fmt.dtype is dt.float32 else 1
    (two, two_rest), (one, one_rest) = base.two[which], base.e[which]
    main = f
    if one != 1.0:
        main = f * one
        small = fma(small, fmt.const(one), fma(f, fmt.const(one_rest), fma(f, fmt.const(one), -main)))
    if two_rest:
        small = fma(e, fmt.const(two_rest), small)
    total, error = quick_two_sum(e if two == 1.0 else e * two, main)
    return total + (error + small)


def _general(x: Expr, base: Base) -> Expr:
    fmt = format_of(x)
    parts = split(x)
    f = parts.m - 1.0
    value = assemble(parts.e, f, curvature(f), base)
    return _special(x, value, fmt)


def _special(x: Expr, value: Expr, fmt: Format) -> Expr:
    """``value`` where x is positive and finite; -inf at 0, inf at inf, else NaN."""
    edge = where(eq(x, fmt.const(0.0)), fmt.const(-INFINITY), fmt.const(NAN))
    return where(le(x, fmt.const(0.0)), edge, where(lt(x, fmt.const(INFINITY)), value, x))


def log(x: Expr) -> Expr:
    """Natural logarithm; -inf at 0, NaN below."""
    return _general(x, NATURAL)


def log2(x: Expr) -> Expr:
    """Logarithm to base 2, exact for powers of two; -inf at 0, NaN below."""
    return _general(x, BINARY)


def log10(x: Expr) -> Expr:
    """Logarithm to base 10; -inf at 0, NaN below."""
    return _general(x, DECIMAL)


def log_of_sum(u: Expr, lost: Expr, doublings: Expr | None = None) -> Expr:
    """log(u + lost) for a normal u and |lost| <= ULP(u), as exact as if u + lost were one number, even near 1.

    ``doublings``: how often 2 is to be multiplied with u + lost. No special values.
    """
    fmt = format_of(u)
    parts = split(u, denormal=False)
    largest = fmt.natural(2 * fmt.bias)
    negated = largest - where(largest < parts.biased, largest, parts.biased)
    scale = bitcast(shl(negated, fmt.natural(fmt.mantissa)), fmt.dtype)  # 2^-e, or 0 for the largest e
    f, rest = quick_two_sum(parts.m - 1.0, lost * scale)
    return assemble(parts.e if doublings is None else parts.e + doublings, f, add(curvature(f), rest), NATURAL)


def log1p(x: Expr) -> Expr:
    """log(1 + x); -inf at -1, NaN below."""
    fmt = format_of(x)
    u, lost = two_sum(fmt.const(1.0), x)
    return _special(u, copysign(log_of_sum(u, lost), x), fmt)

"""exp, exp2, expm1 and the logistic function.

All but exp2 reduce ``x = n ln2 + r`` with an integer n and |r| <= ln2/2: n appears in the low bits of
``x / ln2 + 1.5 * 2^p`` (p: mantissa bits), and ln2 is taken in two parts, of which the first has so few bits that
``high = x - n * first`` is exact (W. J. Cody and W. Waite, "Software Manual for the Elementary Functions", 1980);
``r = high + low`` with ``low = -n * second``. e^r - 1 is ``high + (low + r^2 P(r))`` with a minimax polynomial P.
A scale 2^n is applied in two factors, so that results in the whole range, denormal ones and infinity included, are
rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..expr import Expr, abs_, bitcast, fma, shr, where
from . import coefficients as c
from .floats import Format, clamp, either, format_of, horner, pick, power_of_two

ULP = {"exp": (0.9, 0.9), "exp2": (0.9, 0.9), "expm1": (0.98, 1.15), "sigmoid": (0.92, 0.92)}


@dataclass(frozen=True, slots=True)
class Reduced:
    """``x = n ln2 + high + low``; ``bits`` is an integer whose low bits are n + the bias asked for."""

    bits: Expr
    n: Expr
    high: Expr
    low: Expr


def reduce_by_ln2(x: Expr, bias: int = 0) -> Reduced:
    """Reduce x, which must be so small that n fits in 11 bits (float32: 9)."""
    fmt = format_of(x)
    shifted = fma(x, fmt.const(pick(x, *c.LOG2_E)[0]), fmt.const(fmt.magic + bias))
    n = shifted - (fmt.magic + bias)
    first, second = pick(x, *c.LN2)
    return Reduced(bitcast(shifted, fmt.integer), n, fma(n, fmt.const(-first), x), n * -second)


def exp_tail(reduced: Reduced) -> Expr:
    """``v`` with e^r = 1 + (high + v); the error is below 2^-28 (2^-57) of e^r."""
    r = reduced.high + reduced.low
    return fma(r * r, horner(r, pick(r, c.EXP_F32, c.EXP_F64)), reduced.low)


def scale_factors(doubled: Expr, fmt: Format) -> tuple[Expr, Expr]:
    """Two powers of two whose product is 2^n, where ``doubled`` has ``n + 2 bias`` in its low bits."""
    half = shr(doubled, fmt.bits(1))
    return power_of_two(half, fmt), power_of_two(doubled - half, fmt)


def exp(x: Expr) -> Expr:
    """e^x; exp(-inf) = 0, exp(inf) = inf."""
    fmt = format_of(x)
    x = clamp(x, either(x, -104.0, -746.0), either(x, 89.0, 710.0))
    reduced = reduce_by_ln2(x, 2 * fmt.bias)
    value = (reduced.high + exp_tail(reduced)) + 1.0
    first, second = scale_factors(reduced.bits, fmt)
    return value * first * second


def exp2(x: Expr) -> Expr:
    """2^x, exact for integers. ``x - rint(x)`` is exact."""
    fmt = format_of(x)
    x = clamp(x, either(x, -151.0, -1076.0), either(x, 129.0, 1025.0))
    shifted = x + (fmt.magic + 2 * fmt.bias)
    r = x - (shifted - (fmt.magic + 2 * fmt.bias))
    value = fma(r, horner(r, pick(x, c.EXP2_F32, c.EXP2_F64)), fmt.const(1.0))
    first, second = scale_factors(bitcast(shifted, fmt.integer), fmt)
    return value * first * second


def expm1(x: Expr) -> Expr:
    """e^x - 1 = 2 (s (e^r - 1) + (s - 1/2)) with s = 2^(n-1): so s is finite whenever the result is.

    ``s * high + (s - 1/2)`` is kept with its rounding errors. Where |x| is tiny, x itself is the nearest value.
    """
    fmt = format_of(x)
    y = clamp(x, either(x, -18.0, -38.0), either(x, 89.0, 710.0))
    reduced = reduce_by_ln2(y, fmt.bias - 1)
    r = reduced.high + reduced.low
    tail = fma(r * r, horner(r, pick(x, c.EXPM1_F32, c.EXPM1_F64)), reduced.low)
    scale = power_of_two(reduced.bits, fmt)
    offset = scale - 0.5
    main = fma(scale, reduced.high, offset)
    error = fma(scale, reduced.high, offset - main) + ((scale - offset) - 0.5)
    half = main + fma(scale, tail, error)
    return where(abs_(x) < either(x, 2.0**-25, 2.0**-54), x, half + half)


def complement(magnitude: Expr, precise: bool) -> Expr:
    """1 / (1 + e^a) for a >= 0, down to denormal results.

    With e^a = 2^n (1 + t) it is ``2^-n / ((1 + 2^-n) + t)``. If ``precise``, the rounding errors of the denominator
    and of the division are made good by one Newton step.
    """
    fmt = format_of(magnitude)
    a = clamp(magnitude, high=either(magnitude, 104.0, 746.0))
    reduced = reduce_by_ln2(a)
    first, second = scale_factors(fmt.bits(2 * fmt.bias) - (reduced.bits - fmt.bits(fmt.bits_of(fmt.magic))), fmt)
    part = first * second
    whole = part + 1.0
    tail = reduced.high + exp_tail(reduced)
    denominator = whole + tail
    inverse = fmt.const(1.0) / denominator
    if precise:
        lost = (tail - (denominator - whole)) + (part - (whole - 1.0))
        residual = fma(-inverse, lost, fma(-inverse, denominator, fmt.const(1.0)))
        inverse = fma(residual, inverse, inverse)
    return inverse * first * second


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e^-x); small results keep all their bits."""
    small = complement(abs_(x), precise=True)
    return where(x < 0.0, small, format_of(x).const(1.0) - small)

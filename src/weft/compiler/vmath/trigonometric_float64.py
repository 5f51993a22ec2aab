"""sin, cos and tan of float64.

The argument is measured in turns: ``|x| / 2pi mod 1``. As for float32 (see trigonometric.py), x is an integer y times
2^s with s = 8 k - 56, and ``2^s / 2pi mod 1`` comes from a table of rows k, each in four parts: multiples of 2^-52,
2^-104 and 2^-156, and the rest; together 209 bits. y is an integer below 2^61 for every x that can lie next to a
multiple of a quarter turn: s goes down to -56, so that x may have 56 bits behind its point. (Below 2^-4 it may have
more; there is nothing to cancel.) So the first product is, mod 1, a multiple of 2^-52 and exact in one float64, and
what the following ones add is summed with its rounding errors: the remainder is known to about 2^-148 of a turn, when
no number comes closer to a quarter turn than 2^-64.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...core import dtypes as dt
from ..expr import Expr, abs_, and_, bitcast, const, fma, lt, ne, rint, shl, shr, table, where, xor
from . import coefficients as c
from .floats import Format, format_of, horner, quick_two_sum, two_product, two_sum

TINY = 2.0**-27  # below, sin x and tan x round to x or to one of its neighbours
LOWEST = -56  # s of the first row


@dataclass(frozen=True, slots=True)
class Angle:
    """``|x| = quarter * pi/2 + high + low``; ``quarter`` is an integer of which the two low bits are right."""

    quarter: Expr
    high: Expr
    low: Expr


def _row(x: Expr, fmt: Format) -> tuple[Expr, list[Expr]]:
    """``y`` and the parts of ``2^s / 2pi mod 1``."""
    biased = shr(bitcast(x, fmt.integer), fmt.bits(fmt.mantissa))
    excess = biased - (fmt.bias + fmt.mantissa + LOWEST)
    excess = where(lt(excess, fmt.bits(0)), fmt.bits(0), excess)
    row = shr(excess, fmt.bits(3))
    scale = bitcast(shl(fmt.bits(fmt.bias - LOWEST) - shl(row, fmt.bits(3)), fmt.bits(fmt.mantissa)), fmt.dtype)
    return x * scale, [table(column, row, fmt.dtype) for column in c.TURNS]


def reduce(x: Expr) -> Angle:
    """The angle of a finite ``x >= 0``; NaN for infinity."""
    fmt = format_of(x)
    y, parts = _row(x, fmt)
    whole, lost = two_product(y, parts[0])
    turns = (whole - rint(whole)) + (lost - rint(lost))  # exact: multiples of 2^-52, and at most 1
    second, lost1 = two_product(y, parts[1])
    turns, error1 = two_sum(turns, second)
    shifted = fma(turns, fmt.const(4.0), fmt.const(fmt.magic))
    rest = fma(shifted - fmt.magic, fmt.const(-0.25), turns)
    third, lost2 = two_product(y, parts[2])
    small, error2 = two_sum(error1, lost1)
    small, error3 = two_sum(small, third)
    high, error4 = two_sum(rest, small)
    low = ((error4 + error3) + error2) + fma(y, parts[3], lost2)
    high, low = quick_two_sum(high, low)
    two_pi, two_pi_rest = c.TWO_PI
    radians, lost3 = two_product(high, two_pi)
    low = fma(low, fmt.const(two_pi), fma(high, fmt.const(two_pi_rest), lost3))
    return Angle(bitcast(shifted, fmt.integer), radians, low)


def sine(angle: Angle) -> tuple[Expr, Expr]:
    """sin(r + low) for |r| <= pi/4 as r + (r^3 P(r^2) + low (1 - r^2/2))."""
    r, low = angle.high, angle.low
    z = r * r
    return r, fma(r * z, horner(z, c.SIN_F64), low * fma(z, const(-0.5, r.dtype), const(1.0, r.dtype)))


def cosine(angle: Angle) -> tuple[Expr, Expr]:
    """cos(r + low) for |r| <= pi/4 as 1 - r^2/2, and its rounding error with r^4 P(r^2) - r low."""
    r, low = angle.high, angle.low
    z = r * r
    half = z * 0.5
    main = const(1.0, r.dtype) - half
    error = (const(1.0, r.dtype) - main) - half
    return main, error + fma(z * z, horner(z, c.COS_F64), -(r * low))


def _odd(n: Expr) -> Expr:
    return ne(and_(n, const(1, dt.int64)), const(0, dt.int64))


def _flip(value: Expr, sign: Expr) -> Expr:
    """``value`` negated where the sign bit of the integer is set."""
    return bitcast(xor(bitcast(value, dt.int64), and_(sign, const(-(1 << 63), dt.int64))), dt.float64)


def _choose(odd: Expr, a: tuple[Expr, Expr], b: tuple[Expr, Expr]) -> tuple[Expr, Expr]:
    return where(odd, a[0], b[0]), where(odd, a[1], b[1])


def sin_double(x: Expr) -> Expr:
    """sin of float64."""
    angle = reduce(abs_(x))
    main, rest = _choose(_odd(angle.quarter), cosine(angle), sine(angle))
    value = _flip(main + rest, xor(shl(angle.quarter, const(62, dt.int64)), bitcast(x, dt.int64)))
    return where(lt(abs_(x), const(TINY, dt.float64)), x, value)


def cos_double(x: Expr) -> Expr:
    """cos of float64."""
    angle = reduce(abs_(x))
    main, rest = _choose(_odd(angle.quarter), sine(angle), cosine(angle))
    return _flip(main + rest, shl(angle.quarter + 1, const(62, dt.int64)))


def tan_double(x: Expr) -> Expr:
    """tan of float64: the quotient of sine and cosine, both with their rounding errors."""
    angle = reduce(abs_(x))
    odd, sin, cos = _odd(angle.quarter), sine(angle), cosine(angle)
    over, over_rest = _choose(odd, cos, sin)
    under, under_rest = quick_two_sum(*_choose(odd, sin, cos))
    inverse = const(1.0, dt.float64) / under
    value = (over + over_rest) * inverse
    value = fma(fma(-value, under, over) + fma(-value, under_rest, over_rest), inverse, value)
    value = _flip(value, xor(shl(angle.quarter, const(63, dt.int64)), bitcast(x, dt.int64)))
    return where(lt(abs_(x), const(TINY, dt.float64)), x, value)

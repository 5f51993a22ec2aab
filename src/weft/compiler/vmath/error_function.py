"""erf and erfc."""

from __future__ import annotations

from dataclasses import replace

from ...core import dtypes as dt
from ..expr import Expr, abs_, bitcast, copysign, fma, lt, where
from . import coefficients as c
from .exponential import exp_tail, reduce_by_ln2, scale_factors
from .floats import clamp, format_of, horner, power_of_two, quick_two_sum, through_double, two_product, two_sum

__all__ = ["erf", "erfc"]
ULP = {"erf": (0.9, 0.9), "erfc": (0.51, 1.2)}

SMALL = 57 / 64  # up to here erf is a polynomial; log2(erfc) of this number is within 2^-29 of a float32


def erf(x: Expr) -> Expr:
    """erf: a + a P(a^2) for a = |x| < 57/64, else 1 - erfc(a).

    float32: erfc(a) = 2^Q(a - 57/64) with a polynomial Q.
    """
    fmt = format_of(x)
    a = abs_(x)
    if fmt.dtype is dt.float32:
        near, far = horner(a * a, c.ERF_F32), _one_less_erfc_single(a)
    else:
        near, far = horner(a * a, c.ERF_F64), fmt.const(1.0) - _erfc_of_magnitude(clamp(a, high=6.0))
    return copysign(where(lt(a, fmt.const(SMALL)), fma(a, near, a), far), x)


def _one_less_erfc_single(a: Expr) -> Expr:
    fmt = format_of(a)
    w = clamp(a, high=3.95) - SMALL
    slope, start = horner(w, c.ERFC_LOG_F32[1:]), fmt.const(c.ERFC_LOG_F32[0])
    shifted = fma(w, slope, start) + (fmt.magic + fmt.bias)
    r = fma(w, slope, start - (shifted - (fmt.magic + fmt.bias)))  # one rounding less than from the rounded exponent
    value = fma(r, horner(r, c.EXP2_F32), fmt.const(1.0))
    return fma(-value, power_of_two(bitcast(shifted, fmt.integer), fmt), fmt.const(1.0))


@through_double
def erfc(x: Expr) -> Expr:
    """1 - erf x, with all its bits for large x, down to denormal results; for |x| < 3/4 by the polynomial of erf."""
    fmt = format_of(x)
    a, one = abs_(x), fmt.const(1.0)
    main = one - x
    near = main + fma(-x, horner(x * x, c.ERF_F64), (one - main) - x)
    far = _erfc_of_magnitude(clamp(a, high=27.5))
    far = where(lt(x, fmt.const(0.0)), fmt.const(2.0) - far, far)
    return where(lt(a, fmt.const(0.75)), near, far)


def _erfc_of_magnitude(a: Expr) -> Expr:
    """e^(-a^2) P((a - 4)/(a + 4)) / (1 + 2a) for 0 <= a <= 27.5.

    The form is that of M. Shepherd and J. Laframboise, Math. Comp. 36, 1981. One division serves both quotients, t
    and q, which are corrected by their residuals, and the square is kept with its rounding error.
    """
    fmt = format_of(a)
    shifted = a + 4.0
    under, under_low = two_sum(fmt.const(1.0), a + a)
    inverse = fmt.const(1.0) / (shifted * under)
    offset, to_t = a - 4.0, under * inverse
    t = offset * to_t
    t = fma(fma(-t, shifted, offset), to_t, t)
    over, over_low = quick_two_sum(fmt.const(c.ERFC[0]), t * horner(t, c.ERFC[1:]))
    inverse = inverse * shifted
    q = over * inverse
    q_low = (fma(-q, under, over) + fma(-q, under_low, over_low + c.ERFC_REST)) * inverse
    q, q_low = quick_two_sum(q, q_low)
    square, square_low = two_product(a, a)
    reduced = reduce_by_ln2(-square, 2 * fmt.bias)
    reduced = replace(reduced, low=reduced.low - square_low)
    value = q + fma(reduced.high, q, fma(exp_tail(reduced), q, q_low))
    first, second = scale_factors(reduced.bits, fmt)
    return value * first * second

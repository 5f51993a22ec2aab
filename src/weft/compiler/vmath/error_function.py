"""erf, erfc and the inverse of erf."""

from __future__ import annotations

import math
from dataclasses import replace

from ...core import dtypes as dt
from ..expr import Expr, abs_, bitcast, copysign, eq, fma, lt, sqrt, where
from . import coefficients as c
from .exponential import exp, exp_tail, reduce_by_ln2, scale_factors
from .floats import clamp, format_of, horner, power_of_two, quick_two_sum, through_double, two_product, two_sum
from .logarithm import log

ULP = {"erf": (0.9, 0.9), "erfc": (0.51, 1.2), "erfinv": (0.51, 0.9)}

# Where the inverse is sought from, to 4e-7: M. Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011,
# table 5: erfinv(x) / x of w - 2.5, for w = -log(1 - x^2) < 5; and, fitted to mpmath by least squares, to 2e-7:
# erfinv(x) / s of s - 4, for s = sqrt(w) up to 6.07, where x is the number below 1.
INVERSE_NEAR = (
    1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087,
    -4.39150654e-06, -3.5233877e-06, 3.43273939e-07, 2.81022636e-08,
)  # fmt: skip
INVERSE_FAR = (
    0.959945842, 0.0123870063, -0.00278258981, 0.000483121159, -4.87573082e-05,
    -9.76303491e-06, 9.28391944e-06, -3.32172542e-06, 4.7363197e-07,
)  # fmt: skip
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


@through_double
def erfinv(x: Expr) -> Expr:
    """The y whose erf is x: a start to 4e-7 and one step of third order (Halley's); infinite at 1, NaN beyond.

    What is left, erf(y) - a for a = |x|, is computed without cancellation: from the polynomial of erf below 0.7, where
    y - a is exact, and beyond as (1 - a) - erfc(y), where 1 - a is.
    """
    fmt = format_of(x)
    a, one = abs_(x), fmt.const(1.0)
    rest = one - a
    w = -log(rest * (one + a))
    s = sqrt(w)
    y = where(lt(w, fmt.const(5.0)), horner(w - 2.5, INVERSE_NEAR) * a, horner(s - 4.0, INVERSE_FAR) * s)
    square = y * y
    left = where(lt(a, fmt.const(0.7)), fma(y, horner(square, c.ERF_F64), y - a), rest - _erfc_of_magnitude(y))
    step = left * exp(square) * (0.5 * math.sqrt(math.pi))
    value = y - step / fma(step, y, one)
    return copysign(where(eq(a, one), fmt.const(math.inf), value), x)

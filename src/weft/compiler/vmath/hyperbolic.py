"""tanh, sinh, cosh and their inverses; all but tanh are computed in float64 for both dtypes."""

from __future__ import annotations

from dataclasses import dataclass

from ..expr import Expr, abs_, copysign, eq, fma, gt, lt, sqrt, sub, where
from . import coefficients as c
from .exponential import exp_tail, reduce_by_ln2
from .floats import (
    clamp,
    either,
    format_of,
    horner,
    pick,
    power_of_two,
    quick_two_sum,
    through_double,
    two_product,
    two_sum,
)
from .logarithm import log_of_sum

ULP = {
    "acosh": (0.51, 1.1),
    "asinh": (0.51, 1.2),
    "atanh": (0.51, 1.2),
    "cosh": (0.51, 1.1),
    "sinh": (0.51, 1.1),
    "tanh": (0.98, 1.0),
}

SMALL = 0.9  # up to here tanh is a polynomial; beyond, the error of the exponential is damped by more than 0.29
TINY = 2.0**-28  # below, x is the nearest value of sinh, asinh and atanh, or its neighbour
HUGE = 2.0**30  # above, sqrt(x^2 +- 1) rounds to x


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent: a + a^3 P(a^2) for a = |x| < 0.9, else 1 - 2 / (1 + e^(2a)).

    With e^(2a) = 2^n (1 + t) the quotient is ``2 2^-n / ((1 + 2^-n) + t)``.
    """
    fmt = format_of(x)
    a = abs_(x)
    near = fma(a * a * a, horner(a * a, pick(x, c.TANH_F32, c.TANH_F64)), a)
    doubled = clamp(a, high=either(x, 10.0, 20.0)) * 2.0
    reduced = reduce_by_ln2(doubled)
    scale = power_of_two(fmt.bits(fmt.bits_of(fmt.magic) + fmt.bias) - reduced.bits, fmt)
    tail = reduced.high + exp_tail(reduced)
    far = fma(scale / ((scale + 1.0) + tail), fmt.const(-2.0), fmt.const(1.0))
    return copysign(where(lt(a, fmt.const(SMALL)), near, far), x)


@dataclass(frozen=True, slots=True)
class _Halves:
    """``sinh r = high + rest``, ``cosh r = 1 + excess``, and ``2^(n-2) -+ 2^(-n-2)``, each with its rounding error;
    |x| = n ln2 + r."""

    high: Expr
    rest: Expr
    excess: Expr
    difference: tuple[Expr, Expr]
    total: tuple[Expr, Expr]


def _halves(x: Expr) -> _Halves:
    fmt = format_of(x)
    reduced = reduce_by_ln2(clamp(abs_(x), high=710.5))
    r = reduced.high + reduced.low
    z = r * r
    n = reduced.bits - fmt.bits(fmt.bits_of(fmt.magic))
    up = power_of_two(n + (fmt.bias - 2), fmt)
    down = sub(fmt.bits(fmt.bias - 2), n)
    down = power_of_two(where(lt(down, fmt.bits(0)), fmt.bits(0), down), fmt)
    rest = fma(r * z, horner(z, c.SINH), reduced.low)
    return _Halves(reduced.high, rest, z * horner(z, c.COSH), quick_two_sum(up, -down), quick_two_sum(up, down))


@through_double
def sinh(x: Expr) -> Expr:
    """sinh |x| = 2 (cosh r (2^(n-2) - 2^(-n-2)) + sinh r (2^(n-2) + 2^(-n-2))): it overflows when the result does."""
    fmt = format_of(x)
    h = _halves(x)
    (difference, error), (total, _) = h.difference, h.total
    inner = fma(h.excess, difference, fma(total, h.rest, error))
    half = difference + fma(total, h.high, inner)
    return where(lt(abs_(x), fmt.const(TINY)), x, copysign(half + half, x))


@through_double
def cosh(x: Expr) -> Expr:
    """cosh x = 2 (cosh r (2^(n-2) + 2^(-n-2)) + sinh r (2^(n-2) - 2^(-n-2)))."""
    h = _halves(x)
    (difference, _), (total, error) = h.difference, h.total
    inner = fma(h.excess, total, fma(difference, h.rest, error))
    half = total + fma(difference, h.high, inner)
    return half + half


def _root_pair(high: Expr, low: Expr) -> tuple[Expr, Expr]:
    """``sqrt(high + low)`` as a pair; high > 0."""
    root = sqrt(high)
    return root, (fma(-root, root, high) + low) / (root + root)


@through_double
def asinh(x: Expr) -> Expr:
    """log(a + sqrt(a^2 + 1)) for a = |x|, the sum as a pair of floats; log a + log 2 for a huge one."""
    fmt = format_of(x)
    a = abs_(x)
    big = gt(a, fmt.const(HUGE))
    square, square_low = two_product(a, a)
    above, above_low = two_sum(square, fmt.const(1.0))
    root, root_low = _root_pair(above, above_low + square_low)
    total, error = two_sum(root, a)
    total, error = quick_two_sum(total, error + root_low)
    value = log_of_sum(
        where(big, a, total), where(big, fmt.const(0.0), error), where(big, fmt.const(1.0), fmt.const(0.0))
    )
    value = where(lt(a, fmt.const(float("inf"))), value, a)
    return where(lt(a, fmt.const(TINY)), x, copysign(value, x))


@through_double
def acosh(x: Expr) -> Expr:
    """log(x + sqrt(x^2 - 1)), the sum as a pair of floats; NaN below 1."""
    fmt = format_of(x)
    big = gt(x, fmt.const(HUGE))
    square, square_low = two_product(x, x)
    above, above_low = two_sum(square, fmt.const(-1.0))
    above, above_low = quick_two_sum(above, above_low + square_low)
    root = sqrt(above)
    root_low = where(gt(above, fmt.const(0.0)), (fma(-root, root, above) + above_low) / (root + root), fmt.const(0.0))
    total, error = two_sum(x, root)
    total, error = quick_two_sum(total, error + root_low)
    value = log_of_sum(
        where(big, x, total), where(big, fmt.const(0.0), error), where(big, fmt.const(1.0), fmt.const(0.0))
    )
    value = where(lt(x, fmt.const(1.0)), fmt.const(float("nan")), value)
    return where(lt(x, fmt.const(float("inf"))), value, x)


@through_double
def atanh(x: Expr) -> Expr:
    """log((1 + a) / (1 - a)) / 2 for a = |x|, the quotient as a pair of floats; infinite at 1, NaN beyond."""
    fmt = format_of(x)
    a, one = abs_(x), fmt.const(1.0)
    over, over_low = quick_two_sum(one, a)
    under, under_low = quick_two_sum(one, -a)
    quotient = over / under
    error = (fma(-quotient, under, over) + fma(-quotient, under_low, over_low)) / under
    quotient, error = quick_two_sum(quotient, error)
    value = log_of_sum(quotient, error) * 0.5
    edge = where(eq(a, one), fmt.const(float("inf")), fmt.const(float("nan")))
    return where(lt(a, fmt.const(TINY)), x, copysign(where(lt(a, one), value, edge), x))

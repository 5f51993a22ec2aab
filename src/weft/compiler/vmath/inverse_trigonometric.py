"""asin, acos, atan and atan2, computed in float64 for both dtypes."""

from __future__ import annotations

from dataclasses import dataclass

from ...core import dtypes as dt
from ..expr import Expr, abs_, bitcast, const, copysign, eq, fma, ge, gt, le, lt, or_, sqrt, where
from . import coefficients as c
from .floats import format_of, horner, through_double, two_sum

ULP = {"acos": (0.51, 0.7), "asin": (0.51, 0.7), "atan": (0.51, 0.8), "atan2": (0.51, 1.0)}

_HALF_PI, _HALF_PI_REST = c.HALF_PI


@dataclass(frozen=True, slots=True)
class Root:
    """For asin of ``a = |x|``: ``asin a = s + tail`` if ``a <= 1/2``, else ``pi/2 - 2 (s + tail)``."""

    s: Expr
    tail: Expr
    large: Expr


def _root(x: Expr) -> Root:
    """``z = a^2`` or ``(1 - a) / 2`` (exact), ``s = sqrt z`` with its error, and ``asin s = s + s z P(z)``."""
    fmt = format_of(x)
    a = abs_(x)
    large = gt(a, fmt.const(0.5))
    half = fma(a, fmt.const(-0.5), fmt.const(0.5))
    z = where(large, half, a * a)
    root = sqrt(half)
    s = where(large, root, a)
    error = where(gt(root, fmt.const(0.0)), fma(-root, root, half) / (root + root), fmt.const(0.0))
    tail = fma(s * z, horner(z, c.ASIN_F64), where(large, error, fmt.const(0.0)))
    return Root(s, tail, large)


@through_double
def asin(x: Expr) -> Expr:
    """asin x; NaN beyond [-1, 1]."""
    fmt = format_of(x)
    root = _root(x)
    double, main = root.s * -2.0, fmt.const(_HALF_PI)
    total = main + double
    error = (main - total) + double
    far = total + (error + fma(root.tail, fmt.const(-2.0), fmt.const(_HALF_PI_REST)))
    return copysign(where(root.large, far, root.s + root.tail), x)


@through_double
def acos(x: Expr) -> Expr:
    """acos x = pi/2 - asin x, or 2 asin(sqrt((1 - x)/2)), or pi less that of -x; NaN beyond [-1, 1]."""
    fmt = format_of(x)
    root = _root(x)
    negative = lt(x, fmt.const(0.0))
    # value = base + factor * (s + tail)
    base = where(root.large, where(negative, fmt.const(2 * _HALF_PI), fmt.const(0.0)), fmt.const(_HALF_PI))
    rest = where(root.large, where(negative, fmt.const(2 * _HALF_PI_REST), fmt.const(0.0)), fmt.const(_HALF_PI_REST))
    factor = where(root.large, fmt.const(2.0), fmt.const(1.0))
    factor = copysign(factor, where(root.large, -x, x)) * -1.0
    main = factor * root.s
    total = base + main
    error = (base - total) + main
    return total + (error + fma(factor, root.tail, rest))


def _angle(across: Expr, along: Expr, negative: Expr) -> Expr:
    """Angle of the point (along, across), both >= 0 and not both 0, mirrored to the left where ``negative``.

    The quotient is turned by 0, pi/4 or pi/2, so that at most 1/2 remains; t has its rounding error with it.
    """
    fmt = format_of(across)
    low, high = le(across + across, along), ge(across, along + along)
    total, lost = two_sum(across, along)
    over = where(low, across, where(high, -along, across - along))
    under = where(low, along, where(high, across, total))
    lost = where(or_(low, high), fmt.const(0.0), lost)
    inverse = fmt.const(1.0) / under
    t = over * inverse
    error = fma(-t, lost, fma(-t, under, over)) * inverse
    z = t * t
    tail = fma(t * z, horner(z, c.ATAN_F64), error)

    def turned(straight: float, diagonal: float, upright: float) -> Expr:
        return where(low, fmt.const(straight), where(high, fmt.const(upright), fmt.const(diagonal)))

    base = where(negative, turned(2 * _HALF_PI, c.THREE_QUARTER_PI[0], _HALF_PI), turned(0.0, 0.5 * _HALF_PI, _HALF_PI))
    rest = where(
        negative,
        turned(2 * _HALF_PI_REST, c.THREE_QUARTER_PI[1], _HALF_PI_REST),
        turned(0.0, 0.5 * _HALF_PI_REST, _HALF_PI_REST),
    )
    t, tail = where(negative, -t, t), where(negative, -tail, tail)
    main = base + t
    return main + (((base - main) + t) + (tail + rest))


@through_double
def atan(x: Expr) -> Expr:
    """atan x."""
    fmt = format_of(x)
    a = abs_(x)
    bounded = where(gt(a, fmt.const(2.0**60)), fmt.const(2.0**60), a)  # atan of infinity needs no quotient
    return copysign(_angle(bounded, fmt.const(1.0), const(False, dt.bool_)), x)


@through_double
def atan2(y: Expr, x: Expr) -> Expr:
    """Angle of the point (x, y) in [-pi, pi], with the special values of C's atan2."""
    fmt = format_of(y)
    infinity, zero, one = fmt.const(float("inf")), fmt.const(0.0), fmt.const(1.0)
    across, along = abs_(y), abs_(x)
    negative = lt(bitcast(x, fmt.integer), fmt.bits(0))
    unbounded = or_(eq(across, infinity), eq(along, infinity))
    across, along = (
        where(unbounded, where(eq(v, infinity), one, where(eq(v, v), zero, v)), v) for v in (across, along)
    )
    larger = where(lt(across, along), along, across)
    scale = where(
        gt(larger, fmt.const(2.0**1000)),
        fmt.const(2.0**-100),
        where(lt(larger, fmt.const(2.0**-800)), fmt.const(2.0**200), one),
    )
    across, along = across * scale, along * scale
    along = where(eq(across + along, zero), one, along)
    return copysign(_angle(across, along, negative), y)

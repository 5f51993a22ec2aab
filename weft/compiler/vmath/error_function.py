"""erf and erfc."""

from __future__ import annotations

from ..expr import Expr, abs_, bitcast, copysign, fma, lt, where
from . import coefficients as c
from .floats import clamp, format_of, horner, power_of_two

__all__ = ["erf"]


def erf(x: Expr) -> Expr:
    """erf: a + a P(a^2) for a = |x| < 0.9, else 1 - 2^Q(a - 1) with a polynomial Q for log2(erfc)."""
    fmt = format_of(x)
    a = abs_(x)
    near = fma(a, horner(a * a, c.ERF_F32), a)
    w = clamp(a, high=3.95) - 1.0
    slope, start = horner(w, c.ERFC_LOG_F32[1:]), fmt.const(c.ERFC_LOG_F32[0])
    shifted = fma(w, slope, start) + (fmt.magic + fmt.bias)
    r = fma(w, slope, start - (shifted - (fmt.magic + fmt.bias)))  # one rounding less than from the rounded exponent
    value = fma(r, horner(r, c.EXP2_F32), fmt.const(1.0))
    far = fma(-value, power_of_two(bitcast(shifted, fmt.integer), fmt), fmt.const(1.0))
    return copysign(where(lt(a, fmt.const(0.9)), near, far), x)

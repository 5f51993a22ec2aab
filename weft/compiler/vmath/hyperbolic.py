"""tanh."""

from __future__ import annotations

from ..expr import Expr, abs_, copysign, fma, lt, where
from . import coefficients as c
from .exponential import exp_tail, reduce_by_ln2
from .floats import clamp, either, format_of, horner, pick, power_of_two

__all__ = ["tanh"]

SMALL = 0.9  # up to here tanh is a polynomial; beyond, the error of the exponential is damped by more than 0.29


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

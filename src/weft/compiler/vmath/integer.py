"""Integer powers and shifts."""

from __future__ import annotations

from ..expr import Expr, and_, const, eq, lt, mul, ne, or_, shl, shr, where


def integer_pow(x: Expr, y: Expr) -> Expr:
    """x^y modulo 2^bits by repeated squaring (x^0 = 1, 0^0 = 1).

    A negative exponent gives 1 / x^-y rounded toward zero: 1 for x = 1, 1 or -1 for x = -1, else 0 (and 0 for x = 0).
    """
    dtype = x.dtype
    zero, one = const(0, dtype), const(1, dtype)
    result, square, left = one, x, y
    for k in range(dtype.bits - dtype.is_signed):
        result = where(ne(and_(left, one), zero), mul(result, square), result)
        if k + 1 < dtype.bits - dtype.is_signed:
            square, left = mul(square, square), shr(left, one)
    if not dtype.is_signed:
        return result
    odd = ne(and_(y, one), zero)
    alternating = where(odd, x, one)  # of 1 and -1
    unit = or_(eq(x, one), eq(x, const(-1, dtype)))
    return where(lt(y, zero), where(unit, alternating, zero), result)


def _too_far(x: Expr, y: Expr) -> Expr:
    far = lt(const(x.dtype.bits - 1, x.dtype), y)
    return or_(far, lt(y, const(0, x.dtype))) if x.dtype.is_signed else far


def left_shift(x: Expr, y: Expr) -> Expr:
    """x 2^y modulo 2^bits; 0 where y is negative or not below the number of bits."""
    zero = const(0, x.dtype)
    far = _too_far(x, y)
    return where(far, zero, shl(x, where(far, zero, y)))


def right_shift(x: Expr, y: Expr) -> Expr:
    """floor(x / 2^y); 0, or -1 for a negative x, where y is negative or not below the number of bits."""
    last = const(x.dtype.bits - 1, x.dtype)
    if x.dtype.is_signed:
        return shr(x, where(_too_far(x, y), last, y))
    zero = const(0, x.dtype)
    far = _too_far(x, y)
    return where(far, zero, shr(x, where(far, zero, y)))

"""floor_divide and remainder, of floats and of integers: Python's ``//`` and ``%``, without exceptions."""

from __future__ import annotations

from ..expr import Expr, and_, const, copysign, div, eq, floor, gt, lt, mul, ne, neg, rem, where, xor
from .floats import format_of


def floor_divide(x: Expr, y: Expr) -> Expr:
    """The floor of x / y.

    Floats: exact quotients where Python's are; x // 0 is x / 0 (infinite, or NaN); NaN for an infinite x.
    Integers: x // 0 is 0, and the one quotient that does not fit (lowest // -1) wraps around to itself.
    """
    if x.dtype.is_integer:
        return _integer_parts(x, y)[0]
    fmt = format_of(x)
    zero, one, half = fmt.const(0.0), fmt.const(1.0), fmt.const(0.5)
    rest = rem(x, y)
    quotient = (x - rest) / y
    quotient = where(and_(ne(rest, zero), xor(lt(y, zero), lt(rest, zero))), quotient - one, quotient)
    down = floor(quotient)
    # The quotient is an integer but for one rounding.
    whole = where(gt(quotient - down, half), down + one, down)
    whole = where(eq(quotient, zero), copysign(zero, x / y), whole)
    return where(eq(y, zero), x / y, whole)


def remainder(x: Expr, y: Expr) -> Expr:
    """x - floor(x / y) y, with the sign of y; a zero has it too.

    Floats: exact but for one rounding; NaN for y = 0 and for an infinite x. Integers: x % 0 is 0.
    """
    if x.dtype.is_integer:
        return _integer_parts(x, y)[1]
    zero = format_of(x).const(0.0)
    rest = rem(x, y)
    moved = where(xor(lt(y, zero), lt(rest, zero)), rest + y, rest)
    return where(eq(rest, zero), copysign(zero, y), moved)


def _integer_parts(x: Expr, y: Expr) -> tuple[Expr, Expr]:
    zero, one = const(0, x.dtype), const(1, x.dtype)
    by_zero = eq(y, zero)
    if x.dtype.kind == "uint":
        divisor = where(by_zero, one, y)
        quotient = div(x, divisor)
        return where(by_zero, zero, quotient), x - mul(quotient, divisor)  # x - x by 1 is 0
    negate = eq(y, const(-1, x.dtype))
    divisor = where(by_zero, one, where(negate, one, y))
    quotient = div(x, divisor)
    rest = x - mul(quotient, divisor)
    lower = and_(ne(rest, zero), xor(lt(rest, zero), lt(divisor, zero)))
    quotient = where(lower, quotient - one, quotient)
    rest = where(lower, rest + divisor, rest)
    return where(by_zero, zero, where(negate, neg(x), quotient)), rest

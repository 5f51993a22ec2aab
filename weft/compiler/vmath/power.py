"""pow of float32, computed in float64."""

from __future__ import annotations

from ...core import dtypes as dt
from ..expr import Expr, abs_, and_, bitcast, cast, eq, gt, lt, ne, not_, or_, trunc, where, xor
from . import coefficients as c
from .floats import Format, clamp, format_of, horner, power_of_two
from .logarithm import split

__all__ = ["pow_"]

INFINITY, NAN = float("inf"), float("nan")


def pow_(x: Expr, y: Expr) -> Expr:
    """x^y with the special values of C's pow (IEEE 754-2008, 9.2.1): x^0 = 1^y = 1 even for NaN; a negative base has
    a power for integer y alone; (-1)^inf = 1."""
    fmt = format_of(x)
    magnitude = _pow_single(x, y)
    half = y * 0.5
    whole = eq(trunc(y), y)
    odd = and_(whole, ne(trunc(half), half))
    sign = and_(bitcast(x, fmt.unsigned), where(odd, fmt.natural(fmt.sign), fmt.natural(0)))
    value = bitcast(xor(bitcast(magnitude, fmt.unsigned), sign), fmt.dtype)
    negative = and_(lt(x, fmt.const(0.0)), gt(x, fmt.const(-INFINITY)))
    return where(and_(negative, not_(whole)), fmt.const(NAN), value)


def unbounded(x: Expr, logarithm: Expr, fmt: Format) -> Expr:
    """``logarithm`` of |x|, made right for 0, infinity and NaN."""
    a = abs_(x)
    value = where(lt(a, fmt.const(INFINITY)), logarithm, a)
    return where(eq(a, fmt.const(0.0)), fmt.const(-INFINITY), value)


def _pow_single(x: Expr, y: Expr) -> Expr:
    """|x|^y = 2^(y log2 |x|): log2 to 38 bits, the power of two to 32, then one rounding to float32."""
    fmt = format_of(cast(x, dt.float64))
    base, exponent = abs_(cast(x, dt.float64)), cast(y, dt.float64)
    e, f, _ = split(base, denormal=False)
    logarithm = unbounded(base, e + f * horner(f, c.LOG2_POWER), fmt)
    zero = fmt.const(0.0)
    product = where(or_(eq(exponent, zero), eq(logarithm, zero)), zero, exponent * logarithm)
    product = clamp(product, -160.0, 140.0)
    shifted = product + (fmt.magic + fmt.bias)
    r = product - (shifted - (fmt.magic + fmt.bias))
    power = horner(r, c.EXP2_POWER) * power_of_two(bitcast(shifted, fmt.integer), fmt)
    return cast(power, dt.float32)


"""pow, the cube root, hypot, the reciprocal square root, and logaddexp."""

from __future__ import annotations

from ...core import dtypes as dt
from ..expr import (
    Expr,
    abs_,
    and_,
    bitcast,
    cast,
    copysign,
    eq,
    fma,
    gt,
    lt,
    ne,
    not_,
    or_,
    shr,
    sqrt,
    table,
    trunc,
    where,
    xor,
)
from . import coefficients as c
from .exponential import exp, scale_factors
from .floats import (
    Format,
    clamp,
    format_of,
    horner,
    power_of_two,
    quick_two_sum,
    through_double,
    two_product,
    two_sum,
)
from .integer import integer_pow
from .logarithm import log1p, split

ULP = {"cbrt": (0.51, 0.55), "hypot": (0.51, 0.9), "logaddexp": (0.51, 1.25), "pow": (0.51, 0.95), "rsqrt": (1.5, 1.5)}

INFINITY, NAN = float("inf"), float("nan")


def pow_(x: Expr, y: Expr) -> Expr:
    """x^y with the special values of C's pow (IEEE 754-2008, 9.2.1): x^0 = 1^y = 1 even for NaN; a negative base has
    a power for integer y alone; (-1)^inf = 1. Integers: see integer.py."""
    if x.dtype.is_integer:
        return integer_pow(x, y)
    fmt = format_of(x)
    magnitude = _pow_single(x, y) if fmt.dtype is dt.float32 else _pow_double(abs_(x), y)
    half = y * 0.5
    whole = eq(trunc(y), y)
    odd = and_(whole, ne(trunc(half), half))
    sign = and_(bitcast(x, fmt.unsigned), where(odd, fmt.natural(fmt.sign), fmt.natural(0)))
    value = bitcast(xor(bitcast(magnitude, fmt.unsigned), sign), fmt.dtype)
    negative = and_(lt(x, fmt.const(0.0)), gt(x, fmt.const(-INFINITY)))
    return where(and_(negative, not_(whole)), fmt.const(NAN), value)


def _unbounded(a: Expr, logarithm: Expr, fmt: Format) -> Expr:
    """``logarithm`` of ``a >= 0``, made right for 0, infinity and NaN."""
    value = where(lt(a, fmt.const(INFINITY)), logarithm, a)
    return where(eq(a, fmt.const(0.0)), fmt.const(-INFINITY), value)


def _pow_single(x: Expr, y: Expr) -> Expr:
    """|x|^y = 2^(y log2 |x|) in float64: log2 to 38 bits, the power of two to 34, then one rounding to float32."""
    fmt = format_of(cast(x, dt.float64))
    base, exponent = abs_(cast(x, dt.float64)), cast(y, dt.float64)
    parts = split(base, denormal=False)
    f = parts.m - 1.0
    logarithm = _unbounded(base, fma(f, horner(f, c.LOG2_POWER), parts.e), fmt)
    zero = fmt.const(0.0)
    product = where(or_(eq(exponent, zero), eq(logarithm, zero)), zero, exponent * logarithm)
    return cast(_exp2_single(product), dt.float32)


def _log2_pair(a: Expr) -> tuple[Expr, Expr]:
    """log2 of a positive finite float64 as a pair of floats, to about 2^-66 of its value.

    For ``a = 2^e m`` a table gives r close to 1/m, so short that ``d = m r - 1`` is exact; then
    ``log2 a = (e - log2 r) + log2(1 + d)``, where d and d^2/2 are multiplied with log2(e) as pairs.
    """
    fmt = format_of(a)
    parts = split(a)
    row = bitcast(shr(parts.fraction, fmt.natural(fmt.mantissa - 7)), fmt.integer)
    reciprocal, first, rest = (table(column, row, fmt.dtype) for column in c.RECIPROCALS)
    d = fma(parts.m, reciprocal, fmt.const(-1.0))
    log2_e, log2_e_rest = c.LOG2_E[1]
    linear, linear_low = two_product(d, log2_e)
    square, square_low = two_product(d, d)
    half, half_low = two_product(square, -0.5 * log2_e)
    total, error = two_sum(parts.e + first, linear)
    total, error1 = quick_two_sum(total, half)
    low = fma(square * d, horner(d, c.LOG_POWER) * log2_e, rest + error)
    products = fma(d, fmt.const(log2_e_rest), linear_low) + fma(square_low, fmt.const(-0.5 * log2_e), half_low)
    low = low + (error1 + products)
    return quick_two_sum(total, fma(square, fmt.const(-0.5 * log2_e_rest), low))


def _pow_double(a: Expr, y: Expr) -> Expr:
    """a^y = 2^(y log2 a) for a >= 0, the logarithm and its product with y as pairs of floats."""
    fmt = format_of(a)
    zero = fmt.const(0.0)
    high, low = _log2_pair(a)
    high = _unbounded(a, high, fmt)
    one = or_(eq(y, zero), eq(high, zero))
    product = where(one, zero, y * high)
    exact = or_(one, not_(lt(abs_(product), fmt.const(2048.0))))
    error = where(exact, zero, fma(y, low, fma(y, high, -product)))
    product = clamp(product, -1080.0, 1030.0)
    shifted = product + (fmt.magic + 2 * fmt.bias)
    r = product - (shifted - (fmt.magic + 2 * fmt.bias))
    total, error1 = quick_two_sum(r, error)
    slope = horner(total, c.EXP2_F64)
    value = fma(total, slope, fmt.const(1.0))
    value = fma(error1, slope, value)
    first, second = scale_factors(bitcast(shifted, fmt.integer), fmt)
    return value * first * second


@through_double
def cbrt(x: Expr) -> Expr:
    """Cube root, defined for negative numbers.

    ``|x| = 8^k m`` with m in [1, 8). y = m^(-1/3) to 20 bits by a polynomial on [1, 2) and a factor 1, 2^(-1/3) or
    2^(-2/3), one step of third order to 58 bits; then m y^2 is corrected by its residual.
    """
    fmt = format_of(x)
    a = abs_(x)
    small = lt(a, fmt.const(fmt.tiny))
    bits = bitcast(where(small, a * 2.0**54, a), fmt.integer)
    # 3 (k + 1024) + j: positive, so that the quotient by 3 is a product and a shift; 54 and 3072 are multiples of 3.
    biased = shr(bits, fmt.bits(fmt.mantissa)) + where(small, fmt.bits(3072 - 1023 - 54), fmt.bits(3072 - 1023))
    third = shr(biased * 43691, fmt.bits(17))
    j = biased - third * 3
    one = bitcast(or_(and_(bits, fmt.bits((1 << fmt.mantissa) - 1)), fmt.bits(fmt.bits_of(1.0))), fmt.dtype)
    y = horner(one, c.CBRT)
    two, four = eq(j, fmt.bits(1)), eq(j, fmt.bits(2))
    m = one * where(four, fmt.const(4.0), where(two, fmt.const(2.0), fmt.const(1.0)))
    y = y * where(four, fmt.const(c.CBRT_FACTORS[1]), where(two, fmt.const(c.CBRT_FACTORS[0]), fmt.const(1.0)))
    h = fma(-(m * y), y * y, fmt.const(1.0))
    y = fma(y, h * fma(h, fmt.const(2 / 9), fmt.const(1 / 3)), y)
    root = m * y * y
    square, square_low = two_product(root, root)
    residual = fma(-root, square, m) - root * square_low
    root = fma(residual, y * y * (1 / 3), root)
    scale = power_of_two(third + (fmt.bias - 1024), fmt)
    value = copysign(root * scale, x)
    return where(and_(lt(a, fmt.const(INFINITY)), gt(a, fmt.const(0.0))), value, x)


def hypot(x: Expr, y: Expr) -> Expr:
    """sqrt(x^2 + y^2); infinite if one is, even beside NaN.

    float32: in float64, where nothing overflows. float64: scaled, and corrected by the residual of the root.
    """
    fmt = format_of(x)
    infinity = fmt.const(INFINITY)
    infinite = or_(eq(abs_(x), infinity), eq(abs_(y), infinity))
    if fmt.dtype is dt.float32:
        a, b = cast(x, dt.float64), cast(y, dt.float64)
        return where(infinite, infinity, cast(sqrt(fma(a, a, b * b)), dt.float32))
    return where(infinite, infinity, _hypot_double(abs_(x), abs_(y), fmt))


def _hypot_double(a: Expr, b: Expr, fmt: Format) -> Expr:
    swap = lt(a, b)
    large, small = where(swap, b, a), where(swap, a, b)
    huge, tiny = gt(large, fmt.const(2.0**500)), lt(large, fmt.const(2.0**-450))
    scale = where(huge, fmt.const(2.0**-600), where(tiny, fmt.const(2.0**600), fmt.const(1.0)))
    back = where(huge, fmt.const(2.0**600), where(tiny, fmt.const(2.0**-600), fmt.const(1.0)))
    large, small = large * scale, small * scale
    square, square_low = two_product(large, large)
    total, error = quick_two_sum(square, small * small)
    error = error + (square_low + fma(small, small, -(small * small)))
    root = sqrt(total)
    correction = (fma(-root, root, total) + error) / (root + root)
    return where(gt(root, fmt.const(0.0)), root + correction, root + small) * back


def rsqrt(x: Expr) -> Expr:
    """1 / sqrt(x), two correctly rounded operations; inf at 0 with its sign, NaN below."""
    return format_of(x).const(1.0) / sqrt(x)


def logaddexp(x: Expr, y: Expr) -> Expr:
    """log(e^x + e^y) = max + log1p(e^-|x - y|), in float64 for float32.

    Its error is measured against max(|x|, |y|, result): where the two terms nearly cancel, the result is small.
    """
    wide = cast(x, dt.float64), cast(y, dt.float64)
    larger = where(lt(wide[0], wide[1]), wide[1], wide[0])
    fmt = format_of(larger)
    zero = fmt.const(0.0)
    distance = where(eq(*wide), zero, abs_(wide[0] - wide[1]))  # equal infinities have no difference
    if x.dtype is dt.float64:
        return larger + log1p(exp(-distance))
    small = _exp2_single(distance * -c.LOG2_E[1][0])
    big = lt(fmt.const(0.375), small)  # 1 + small is f + 1, or 2 (f + 1)
    f = where(big, fma(small, fmt.const(0.5), fmt.const(-0.5)), small)
    binary = fma(f, horner(f, c.LOG2_POWER), where(big, fmt.const(1.0), zero))
    return cast(fma(binary, fmt.const(sum(c.LN2[1])), larger), dt.float32)


def _exp2_single(x: Expr) -> Expr:
    """2^x to 34 bits for a float64 x, whatever rounds to float32's 0 or infinity cut off."""
    fmt = format_of(x)
    x = clamp(x, -160.0, 140.0)
    shifted = x + (fmt.magic + fmt.bias)
    r = x - (shifted - (fmt.magic + fmt.bias))
    return horner(r, c.EXP2_POWER) * power_of_two(bitcast(shifted, fmt.integer), fmt)

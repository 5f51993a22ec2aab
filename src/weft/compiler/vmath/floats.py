"""What the vector math needs to know of float32 and float64, and the few moves on their bits that it is made of."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

from ...core import dtypes as dt
from ...core.dtypes import DType
from ..expr import Expr, bitcast, cast, const, fma, lift, mul, shl, where


@dataclass(frozen=True, slots=True)
class Format:
    """A binary float: ``mantissa`` stored bits, exponent ``bias``, the integer dtypes of the same width."""

    dtype: DType
    integer: DType
    unsigned: DType
    mantissa: int
    bias: int

    @property
    def magic(self) -> float:
        """1.5 * 2^mantissa: adding it to a small x leaves rint(x) in the low bits of the sum."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.dtype.bits - 1)

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return 2.0 ** (1 - self.bias)

    def const(self, value: float) -> Expr:
        """A constant of this float dtype."""
        return const(value, self.dtype)

    def bits(self, value: int) -> Expr:
        """A constant of the signed integer dtype."""
        return const(value, self.integer)

    def natural(self, value: int) -> Expr:
        """A constant of the unsigned integer dtype."""
        return const(value, self.unsigned)

    def bits_of(self, value: float) -> int:
        """The bits of a number, rounded to this format."""
        single = self.dtype is dt.float32
        return int.from_bytes(struct.pack("<f" if single else "<d", value), "little")


_FORMATS = {
    dt.float32: Format(dt.float32, dt.int32, dt.uint32, 23, 127),
    dt.float64: Format(dt.float64, dt.int64, dt.uint64, 52, 1023),
}


def format_of(x: Expr) -> Format:
    """The format of a float32 or float64 expression; no other dtype has vector math of its own."""
    return _FORMATS[x.dtype]


def pick(x: Expr, single: Sequence[float], double: Sequence[float]) -> Sequence[float]:
    """The table for ``x``'s dtype."""
    return single if x.dtype is dt.float32 else double


def either(x: Expr, single: float, double: float) -> float:
    """The number for ``x``'s dtype."""
    return single if x.dtype is dt.float32 else double


def horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    """The polynomial, lowest power first, one fma a power.

    Horner's rule is the fewest instructions; its long chain does no harm where many vectors are in flight.
    """
    total = const(coefficients[-1], x.dtype)
    for c in reversed(coefficients[:-1]):
        total = fma(total, x, const(c, x.dtype))
    return total


def clamp(x: Expr, low: float | None = None, high: float | None = None) -> Expr:
    """``x`` within the bounds; a NaN stays. The order of the operands is that of x86's min and max instructions."""
    if high is not None:
        x = where(const(high, x.dtype) < x, const(high, x.dtype), x)
    if low is not None:
        x = where(x < low, const(low, x.dtype), x)
    return x


def power_of_two(biased: Expr, fmt: Format) -> Expr:
    """2^(biased - bias) for 0 < biased <= 2 bias, and 0 for biased = 0. Only as many low bits count as the exponent
    and the sign have; those above are shifted out."""
    return bitcast(shl(biased, fmt.bits(fmt.mantissa)), fmt.dtype)


def through_double(function: Callable[..., Expr]) -> Callable[..., Expr]:
    """The decorated function of float64 arguments, for float32 ones too: cast, computed, and rounded once."""

    @wraps(function)
    def either_dtype(*args: Expr) -> Expr:
        if args[0].dtype is dt.float64:
            return function(*args)
        return cast(function(*(cast(a, dt.float64) for a in args)), args[0].dtype)

    return either_dtype


# --- pairs of floats: a value as the unevaluated sum of a float and its rounding error -----------------------------


def two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """``a + b`` as (rounded sum, exact error); Knuth, TAOCP 2, 4.2.2, theorem B."""
    total = a + b
    shadow = total - a
    return total, (a - (total - shadow)) + (b - shadow)


def quick_two_sum(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """As :func:`two_sum`, for ``|a| >= |b|`` or ``a == 0``; T. J. Dekker, Numer. Math. 18, 1971."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Expr, b: Expr | float) -> tuple[Expr, Expr]:
    """``a * b`` as (rounded product, exact error)."""
    b = lift(b, a.dtype)
    product = mul(a, b)
    return product, fma(a, b, -product)

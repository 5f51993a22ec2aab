"""Functions without rounding error: sign, signbit, round, maximum, minimum, nextafter."""

from __future__ import annotations

from ...core import dtypes as dt
from ...core.dtypes import DType
from ..expr import (
    Expr,
    and_,
    bitcast,
    cast,
    const,
    copysign,
    eq,
    gt,
    lt,
    ne,
    neg,
    not_,
    or_,
    rint,
    where,
    xor,
)

_SIGNED = {1: dt.int8, 2: dt.int16, 4: dt.int32, 8: dt.int64}


def _integer(dtype: DType) -> DType:
    return _SIGNED[dtype.itemsize]


def sign(x: Expr) -> Expr:
    """1, 0 or -1 of the same dtype; +0 for -0, NaN for NaN."""
    zero, one = const(0, x.dtype), const(1, x.dtype)
    if x.dtype.kind in ("uint", "bool"):
        return where(eq(x, zero), zero, one)
    rest = where(eq(x, zero), zero, x) if x.dtype.is_floating else zero
    return where(gt(x, zero), one, where(lt(x, zero), neg(one), rest))


def signbit(x: Expr) -> Expr:
    """True where the sign bit is set: for -0 and negative NaN too."""
    if x.dtype.kind in ("uint", "bool"):
        return const(False, dt.bool_)
    integer = _integer(x.dtype)
    return lt(bitcast(x, integer), const(0, integer))


def round_(x: Expr) -> Expr:
    """The nearest integer, the even one of two; an integer is itself."""
    return rint(x) if x.dtype.is_floating else x


def maximum(x: Expr, y: Expr) -> Expr:
    """The larger; NaN if one is; +0 of +0 and -0."""
    larger = where(gt(x, y), x, y)
    if not x.dtype.is_floating:
        return larger
    integer = _integer(x.dtype)
    both = bitcast(and_(bitcast(x, integer), bitcast(y, integer)), x.dtype)
    return where(ne(x, x), x, where(eq(x, y), both, larger))


def minimum(x: Expr, y: Expr) -> Expr:
    """The smaller; NaN if one is; -0 of +0 and -0."""
    smaller = where(lt(x, y), x, y)
    if not x.dtype.is_floating:
        return smaller
    integer = _integer(x.dtype)
    both = bitcast(or_(bitcast(x, integer), bitcast(y, integer)), x.dtype)
    return where(ne(x, x), x, where(eq(x, y), both, smaller))


def nextafter(x: Expr, y: Expr) -> Expr:
    """The number next to ``x`` towards ``y``; y itself if they are equal, NaN if one is.

    For every float dtype, float16 and bfloat16 included (which are compared as float32, exactly).
    """
    integer = _integer(x.dtype)
    computed = x.dtype if x.dtype.itemsize >= 4 else dt.float32
    a, b = cast(x, computed), cast(y, computed)
    zero = const(0.0, computed)
    inward = xor(gt(b, a), gt(a, zero))  # the magnitude shrinks
    step = where(inward, const(-1, integer), const(1, integer))
    moved = bitcast(bitcast(x, integer) + step, x.dtype)
    smallest = bitcast(const(1, integer), x.dtype)
    if x.dtype.itemsize >= 4:
        from_zero = copysign(smallest, y)
    else:
        sign_bit = const(-(1 << (x.dtype.bits - 1)), integer)
        from_zero = bitcast(or_(and_(bitcast(y, integer), sign_bit), const(1, integer)), x.dtype)
    value = where(eq(a, b), y, where(eq(a, zero), from_zero, moved))
    return where(ne(a, a), x, where(not_(eq(b, b)), y, value))

"""sin, cos and tan: of float32, computed in float64, here; of float64 in trigonometric_float64.py.

The argument is measured in quarter turns: ``|x| 2/pi = n + r`` with |r| <= 0.67. 2/pi is taken in two float64 parts,
106 bits; that is enough for |x| < 2^50. A larger x is an integer y times 2^s, and ``2^s 2/pi`` may be replaced by its
remainder mod 4, because multiples of 4 quarter turns change nothing (M. H. Payne and R. N. Hanek, SIGNUM Newsletter
18, 1983, keep the same bits of the product). Four rows ``(limit, 2^-s, remainder)`` hold for all float32 numbers, so
that choosing one takes three comparisons; no number comes closer to a quarter turn than 2^-29, and the
product is off by less than 2^-57.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core import dtypes as dt
from ..expr import Expr, abs_, and_, bitcast, cast, const, fma, ge, ne, shl, where, xor
from . import coefficients as c
from .floats import format_of, horner
from .trigonometric_float64 import cos_double, sin_double, tan_double

ULP = {"cos": (0.51, 0.9), "sin": (0.51, 0.9), "tan": (0.52, 1.2)}


def _quarter_turns(x: Expr) -> tuple[Expr, Expr]:
    """``(integer with n in its low bits, r)`` for a float64 ``x >= 0`` that is a float32 number."""
    fmt = format_of(x)
    scale, first, rest = (fmt.const(v) for v in c.QUARTER_TURNS[0][1:])
    for (limit, *_), (_, *row) in zip(c.QUARTER_TURNS, c.QUARTER_TURNS[1:]):
        above = ge(x, fmt.const(limit))
        scale, first, rest = (where(above, fmt.const(v), old) for v, old in zip(row, (scale, first, rest)))
    y = x * scale
    product = y * first
    lost = fma(y, first, -product)
    shifted = product + fmt.magic
    r = (product - (shifted - fmt.magic)) + fma(y, rest, lost)
    return bitcast(shifted, fmt.integer), r


def _sine(r: Expr) -> Expr:
    return r * horner(r * r, c.SIN_QUARTER)


def _cosine(r: Expr) -> Expr:
    return horner(r * r, c.COS_QUARTER)


def _signed(value: Expr, *signs: Expr) -> Expr:
    """``value`` with its sign flipped by the sign bit of the exclusive or of the integers; as float32."""
    flip = signs[0]
    for other in signs[1:]:
        flip = xor(flip, other)
    mask = const(-(1 << 63), dt.int64)
    return cast(bitcast(xor(bitcast(value, dt.int64), and_(flip, mask)), dt.float64), dt.float32)


def _odd(n: Expr) -> Expr:
    return ne(and_(n, const(1, dt.int64)), const(0, dt.int64))


def _by_dtype(double: Callable[[Expr], Expr]) -> Callable[[Callable[[Expr], Expr]], Callable[[Expr], Expr]]:
    """The decorated function for float32 arguments, cast to float64; ``double`` for float64 ones."""

    def decorate(single: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
        def function(x: Expr) -> Expr:
            return double(x) if x.dtype is dt.float64 else single(cast(x, dt.float64))

        function.__name__, function.__doc__ = single.__name__, single.__doc__
        return function

    return decorate


@_by_dtype(sin_double)
def sin(x: Expr) -> Expr:
    """sin x: sin r, or cos r in odd quarters, negative in the third and fourth. NaN at the infinities."""
    n, r = _quarter_turns(abs_(x))
    value = where(_odd(n), _cosine(r), _sine(r))
    return _signed(value, shl(n, const(62, dt.int64)), bitcast(x, dt.int64))


@_by_dtype(cos_double)
def cos(x: Expr) -> Expr:
    """cos x: cos r, or sin r in odd quarters, negative in the second and third. NaN at the infinities."""
    n, r = _quarter_turns(abs_(x))
    value = where(_odd(n), _sine(r), _cosine(r))
    return _signed(value, shl(n + 1, const(62, dt.int64)))


@_by_dtype(tan_double)
def tan(x: Expr) -> Expr:
    """tan x: sin r / cos r, in odd quarters -cos r / sin r. NaN at the infinities."""
    n, r = _quarter_turns(abs_(x))
    odd, sine, cosine = _odd(n), _sine(r), _cosine(r)
    value = where(odd, cosine, sine) / where(odd, sine, cosine)
    return _signed(value, shl(n, const(63, dt.int64)), bitcast(x, dt.int64))

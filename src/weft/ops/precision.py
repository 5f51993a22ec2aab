"""The dtype that ops compute in: 16-bit floats in float32, rounded once (docs/numerics.md, 1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..compiler import expr as ex
from ..compiler.expr import Expr
from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError
from .op import Array

_HALVES = (dt.float16, dt.bfloat16)


def working(dtype: DType) -> DType:
    """The dtype in which values of ``dtype`` are computed: float32 for float16 and bfloat16, else itself."""
    return dt.float32 if dtype.is_half else dtype


def in_float32(expr: Callable[..., Expr]) -> Callable[..., Expr]:
    """``expr(params, *arguments)`` with float16 and bfloat16 arguments in float32 and the result rounded once."""

    def widened(params: dict[str, Any], *arguments: Expr) -> Expr:
        narrow = [a.dtype for a in arguments if a.dtype in _HALVES]
        if not narrow:
            return expr(params, *arguments)
        result = expr(params, *(ex.cast(a, working(a.dtype)) for a in arguments))
        return ex.cast(result, narrow[0]) if result.dtype is dt.float32 else result

    return widened


def widen(op: str, *arrays: Array) -> tuple[Array, ...]:
    """The arrays in the dtype that ``op``, a function of floats, computes in.

    Raises:
        DTypeError: one is not floating.
    """
    from .elementwise import cast

    for x in arrays:
        if not x.dtype.is_floating:
            raise DTypeError(f"{op}: {x.dtype.name} operands: wants a floating-point dtype; cast with astype")
    return tuple(cast(x, working(x.dtype)) for x in arrays)


def as_float(x: Array) -> Array:
    """``x`` in the dtype that means and norms are computed in: float64 as it is, everything else in float32."""
    from .elementwise import cast

    return x if x.dtype is dt.float64 else cast(x, dt.float32)


def rounded_to(dtype: DType, value: Array) -> Array:
    """What was computed by :func:`as_float` of an operand of ``dtype``: in that dtype, where it is a float's."""
    from .elementwise import cast

    return cast(value, dtype) if dtype.is_floating else value

"""How each reduction combines two partial results: identities and combining expressions (numerics contract, 2)."""

from __future__ import annotations

from ..core import dtypes as dt
from ..core.dtypes import DType
from .expr import Expr, add, and_, const, eq, ge, gt, le, leaf, lt, mul, ne, or_, where
from .kernels import Reduce

_INT64_MAX = (1 << 63) - 1


def lowest(dtype: DType) -> float | int | bool:
    """The value that every other is at least."""
    if dtype.is_floating:
        return float("-inf")
    return 0 if dtype.kind in ("uint", "bool") else -(1 << (dtype.bits - 1))


def highest(dtype: DType) -> float | int | bool:
    """The value that every other is at most."""
    if dtype.is_floating:
        return float("inf")
    if dtype is dt.bool_:
        return True
    return (1 << dtype.bits) - 1 if dtype.kind == "uint" else (1 << (dtype.bits - 1)) - 1


def state_dtypes(stage: Reduce) -> tuple[DType, ...]:
    """dtypes of one partial result: the value, and for argmax/argmin its position."""
    value = stage.value.dtype
    return (value, dt.int64) if stage.op.startswith("arg") else (value,)


def identity(op: str, dtype: DType) -> tuple[float | int | bool, ...]:
    """The partial result of nothing."""
    if op in ("sum", "any"):
        return (0,)
    if op in ("prod", "all"):
        return (1,)
    start = lowest(dtype) if op.endswith("max") else highest(dtype)
    return (start, _INT64_MAX) if op.startswith("arg") else (start,)


def combine(op: str, a: tuple[Expr, ...], b: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The partial result of ``a`` and ``b``, where ``a`` stands for earlier lanes."""
    x, y = a[0], b[0]
    if op in ("any", "all") or (x.dtype is dt.bool_ and op in ("sum", "prod")):
        return ((or_ if op in ("any", "sum") else and_)(x, y),)
    if op in ("sum", "prod"):
        return ((add if op == "sum" else mul)(x, y),)
    if x.dtype is dt.bool_:
        better = and_(y, ~x) if op.endswith("max") else and_(~y, x)
    elif x.dtype.is_floating:  # greater, or the first NaN: two comparisons
        better = and_(~(le if op.endswith("max") else ge)(y, x), eq(x, x))
    else:
        better = (gt if op.endswith("max") else lt)(y, x)
    if not op.startswith("arg"):
        return (where(better, y, x),)
    same = eq(x, y) if not x.dtype.is_floating else or_(eq(x, y), and_(ne(x, x), ne(y, y)))
    better = or_(better, and_(same, lt(b[1], a[1])))
    return (where(better, y, x), where(better, b[1], a[1]))


def partials(stage: Reduce, name: str) -> tuple[Expr, ...]:
    """Leaves that stand for one partial result; renderers bind them by identity."""
    return tuple(leaf("acc", d, (name, k)) for k, d in enumerate(state_dtypes(stage)))


def identities(stage: Reduce) -> tuple[Expr, ...]:
    """The identity as constants of the state's dtypes."""
    values = identity(stage.op, stage.value.dtype)
    return tuple(const(v, d) for v, d in zip(values, state_dtypes(stage), strict=True))

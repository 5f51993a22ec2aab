"""Running sums and products along an axis: element i combines the first i + 1 elements, in order.

Each line is one chain, so that the result does not depend on threads or tiling. float16 and bfloat16 run in float32
and every element is rounded once.
"""

from __future__ import annotations

from typing import Any

from ..compiler import expr as ex
from ..core import dtypes as dt
from ..core.errors import AxisError
from ..core.shapes import normalize_axis
from ..graph.protocol import Primitive, Scan, TensorType
from .creation import full
from .elementwise import cast, equal, logical_and, where
from .op import Array, apply, composite
from .operands import accumulator, require_tensors
from .pieces import concat
from .precision import working
from .shape import flip
from .views import slice_


def _scan_type(params: dict[str, Any], x: TensorType) -> TensorType:
    if not 0 <= params["axis"] < len(x.shape):
        raise AxisError(f"axis {params['axis']} is out of range for a tensor of rank {len(x.shape)}")
    return x


def _reverse_sum(x: Array, axis: int) -> Array:
    """Sums from each element to the end."""
    return flip(apply(CUMULATIVE_SUM, flip(x, axis=axis), axis=axis), axis=axis)


def _sum_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    return (_reverse_sum(g, params["axis"]),)


def _prod_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    """``dx_i = sum over j >= i of g_j * y_j / x_i``, and where that is 0 / 0, the products without x_i.

    Before the first zero of a line the quotient is right, after it every product holds a zero that is another
    element. At the first zero itself the products without it are those of the line with a 1 in its place.
    """
    (x,), axis = inputs, params["axis"]
    is_zero = equal(x, 0.0)
    zeros = apply(CUMULATIVE_SUM, cast(is_zero, dt.int64), axis=axis)
    first = logical_and(is_zero, equal(zeros, 1))
    without = apply(CUMULATIVE_PROD, where(first, 1.0, x), axis=axis)
    before = _reverse_sum(g * output, axis) / where(is_zero, 1.0, x)
    return (where(first, _reverse_sum(g * without, axis), where(equal(zeros, 0), before, 0.0)),)


CUMULATIVE_SUM = Primitive("cumulative_sum", _scan_type, Scan(ex.add), _sum_vjp)
CUMULATIVE_PROD = Primitive("cumulative_prod", _scan_type, Scan(ex.mul), _prod_vjp)


def exclusive_prod(x: Array, axis: int) -> Array:
    """The product of the elements before each one along ``axis``; 1 for the first. Within a trace alone."""
    shape = tuple(x.shape)
    if shape[axis] == 0:
        return x
    one = tuple(1 if a == axis else n for a, n in enumerate(shape))
    shifted = slice_(x, (0,) * len(shape), tuple(n - 1 if a == axis else n for a, n in enumerate(shape)))
    return apply(CUMULATIVE_PROD, concat([full(one, 1, dtype=x.dtype), shifted], axis=axis), axis=axis)


def _cumulate(op: Primitive, initial: int, x: Array, axis: int | None, dtype: Any, include_initial: bool) -> Array:
    require_tensors(op.name, x)
    if axis is None:
        if x.ndim != 1:
            raise AxisError(f"{op.name}: a tensor of shape {x.shape} needs an axis; only vectors go without")
        axis = 0
    at = normalize_axis(axis, x.ndim, op.name)
    if not x.ndim:
        raise AxisError(f"{op.name}: a tensor of rank 0 has no axis")
    kind = accumulator(x.dtype) if dtype is None else dt.as_dtype(dtype)
    value: Array = apply(op, cast(cast(x, kind), working(kind)), axis=at)
    value = cast(value, kind)
    if include_initial:
        one = tuple(1 if a == at else n for a, n in enumerate(x.shape))
        value = concat([full(one, initial, dtype=kind), value], axis=at)
    return value


@composite
def cumulative_sum(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """The running sum along an axis.

    Args:
        x: rank 1 or more; any dtype.
        axis: may be left out for a vector.
        dtype: of the sums; None means int64 for signed integers and bool, uint64 for unsigned ones, else x's own.
        include_initial: begin with the sum of no elements, 0; the axis is one longer.

    Raises:
        AxisError: the axis is out of range, or None where the rank is not 1.

    Example:
        >>> import weft as wf
        >>> wf.cumulative_sum(wf.asarray([1.0, 2.0, 3.0])).tolist()
        [1.0, 3.0, 6.0]
    """
    return _cumulate(CUMULATIVE_SUM, 0, x, axis, dtype, include_initial)


@composite
def cumulative_prod(x: Array, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Array:
    """The running product along an axis. Arguments as for :func:`cumulative_sum`; the product of no elements is 1.

    Raises:
        AxisError: the axis is out of range, or None where the rank is not 1.

    Example:
        >>> import weft as wf
        >>> wf.cumulative_prod(wf.asarray([1, 2, 3]), include_initial=True).tolist()
        [1, 1, 2, 6]
    """
    return _cumulate(CUMULATIVE_PROD, 1, x, axis, dtype, include_initial)

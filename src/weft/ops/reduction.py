"""Reductions: sum, prod, max, min, any, all, argmax, argmin, and mean, var, std, logsumexp made of them.

A primitive reduces one group of *adjacent* axes and removes them; other axes are several primitives, the last group
first. The order of the additions therefore depends on the shape and the axes alone (docs/numerics.md). float16 and
bfloat16 are reduced in float32 and rounded once at the end.
"""

from __future__ import annotations

import builtins
from typing import Any

from ..core import dtypes as dt
from ..core.errors import ShapeError
from ..core.shapes import Shape, normalize_axes, normalize_axis, size_of
from ..core.symbolic import undecided
from ..graph.protocol import Primitive, Reduction, TensorType
from .elementwise import cast, equal, exp, isfinite, isnan, log, logical_or, maximum, sqrt, square, stop_gradient, where
from .op import Array, apply, composite
from .operands import accumulator, extent, require_tensors
from .precision import as_float, rounded_to, working
from .shape import broadcast_to, flip, reshape, squeeze

Axes = int | tuple[int, ...] | None


# Primitives: adjacent axes


def _reduced_shape(params: dict[str, Any], x: TensorType) -> Shape:
    axes = params["axes"]
    if axes != tuple(range(axes[0], axes[0] + len(axes))) or not 0 <= axes[0] <= axes[-1] < len(x.shape):
        raise ShapeError(f"axes {axes} are not adjacent axes of a tensor of rank {len(x.shape)}")
    return x.shape[: axes[0]] + x.shape[axes[-1] + 1 :]


def _same_dtype(params: dict[str, Any], x: TensorType) -> TensorType:
    return TensorType(x.dtype, _reduced_shape(params, x))


def _position(params: dict[str, Any], x: TensorType) -> TensorType:
    return TensorType(dt.int64, _of_elements(params, x).shape)


def _of_elements(params: dict[str, Any], x: TensorType) -> TensorType:
    """Of what has no value for zero elements: symbolic sizes may turn out to be 0 where public functions saw none."""
    made = _same_dtype(params, x)
    known = builtins.all(undecided(n) or n > 0 for n in made.shape)
    if known and builtins.any(not undecided(x.shape[a]) and x.shape[a] < 1 for a in params["axes"]):
        raise ShapeError(f"shape {x.shape}, axes {params['axes']}: there is no greatest or least of zero elements")
    return made


def _spread(value: Array, x: Array, axes: tuple[int, ...]) -> Array:
    """A result of reducing ``x``, broadcast back to its shape."""
    return broadcast_to(_keep(value, x.shape, axes), x.shape)


def _sum_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    return (_spread(g, inputs[0], params["axes"]),)


def _prod_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    """Each element times the product of the others: those before it and those after, so that zeros are no problem."""
    from .cumulative import exclusive_prod

    x, axes = inputs[0], params["axes"]
    axis = axes[0]
    line = reshape(x, (*x.shape[:axis], size_of(x.shape[a] for a in axes), *x.shape[axes[-1] + 1 :]))
    others = exclusive_prod(line, axis) * flip(exclusive_prod(flip(line, axis=axis), axis), axis=axis)
    return (_spread(g, x, axes) * reshape(others, x.shape),)


def _extremum_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    """Shared evenly among the elements that are equal to the result."""
    x, axes = inputs[0], params["axes"]
    chosen = logical_or(equal(x, _spread(output, x, axes)), isnan(x))
    share = g / apply(SUM, cast(chosen, x.dtype), axes=axes)
    return (where(chosen, _spread(share, x, axes), 0.0),)


SUM = Primitive("sum", _same_dtype, Reduction("sum"), _sum_vjp)
PROD = Primitive("prod", _same_dtype, Reduction("prod"), _prod_vjp)
MAX = Primitive("max", _of_elements, Reduction("max"), _extremum_vjp)
MIN = Primitive("min", _of_elements, Reduction("min"), _extremum_vjp)
ANY = Primitive("any", _same_dtype, Reduction("any"))
ALL = Primitive("all", _same_dtype, Reduction("all"))
SUPREMUM = Primitive("supremum", _same_dtype, Reduction("max"), _extremum_vjp)  # of zero elements the least number
ARGMAX = Primitive("argmax", _position, Reduction("argmax"))
ARGMIN = Primitive("argmin", _position, Reduction("argmin"))


# From public arguments to primitives


def _keep(value: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """``value`` with the reduced axes put back with size 1."""
    return reshape(value, tuple(1 if a in axes else n for a, n in enumerate(shape)))


def _reduce(op: Primitive, x: Array, axis: Axes, keepdims: bool) -> Array:
    axes = normalize_axes(axis, x.ndim, op.name)
    value, left = cast(x, working(x.dtype)), axes
    while left:
        first = len(left) - 1  # the last group of adjacent axes is left[first:]
        while first and left[first - 1] == left[first] - 1:
            first -= 1
        value = apply(op, value, axes=left[first:])
        left = left[:first]
    if x.dtype.is_half and value.dtype is dt.float32:  # no position
        value = cast(value, x.dtype)
    return _keep(value, x.shape, axes) if keepdims and axes else value


def greatest_or_lowest(x: Array, axis: Axes) -> Array:
    """The greatest element over axes, which stay with size 1, as a constant: what is subtracted before ``exp``. -inf of
    zero elements, for which no element needs it: a size that is not known yet may turn out to be 0."""
    some = builtins.all(not undecided(x.shape[a]) and x.shape[a] > 0 for a in normalize_axes(axis, x.ndim, "max"))
    return stop_gradient(_reduce(MAX if some else SUPREMUM, x, axis, True))


def _check_elements(name: str, x: Array, axis: Axes) -> None:
    require_tensors(name, x)
    if builtins.any(x.shape[a] == 0 for a in normalize_axes(axis, x.ndim, name)):
        raise ShapeError(f"{name}: shape {x.shape}, axis {axis}: there is no {name} of zero elements")


@composite
def sum(x: Array, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """The sum over axes; 0 over no elements.

    Args:
        x: any shape and dtype.
        axis: an axis, a tuple of axes, or None for all of them.
        dtype: of the sum; None means int64 for signed integers and bool, uint64 for unsigned ones, else x's own.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.sum(wf.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        Tensor([4., 6.], dtype=float32)
    """
    require_tensors("sum", x)
    return _reduce(SUM, cast(x, accumulator(x.dtype) if dtype is None else dt.as_dtype(dtype)), axis, keepdims)


@composite
def prod(x: Array, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False) -> Array:
    """The product over axes; 1 over no elements. Arguments as for :func:`sum`.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.prod(wf.asarray([2.0, 3.0, 4.0]))
        Tensor(24., dtype=float32)
    """
    require_tensors("prod", x)
    return _reduce(PROD, cast(x, accumulator(x.dtype) if dtype is None else dt.as_dtype(dtype)), axis, keepdims)


@composite
def max(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The greatest element over axes; NaN where there is one. The gradient is shared evenly among equal elements (as
    that of PyTorch's ``amax``; that of ``x.max(dim)`` goes to the first).

    Args:
        x: any shape and dtype; of bools it is :func:`any`.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.
        ShapeError: a reduced axis has size 0.

    Example:
        >>> import weft as wf
        >>> wf.max(wf.asarray([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        Tensor([5., 4.], dtype=float32)
    """
    _check_elements("max", x, axis)
    return _reduce(ANY if x.dtype is dt.bool_ else MAX, x, axis, keepdims)


@composite
def min(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The least element over axes; NaN where there is one. Arguments and gradient as for :func:`max`.

    Raises:
        AxisError: an axis is out of range or named twice.
        ShapeError: a reduced axis has size 0.

    Example:
        >>> import weft as wf
        >>> wf.min(wf.asarray([[1.0, 5.0], [3.0, 4.0]]), axis=1)
        Tensor([1., 3.], dtype=float32)
    """
    _check_elements("min", x, axis)
    return _reduce(ALL if x.dtype is dt.bool_ else MIN, x, axis, keepdims)


@composite
def any(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """True where some element over the axes is not 0 (NaN is not); False over no elements.

    Args:
        x: any shape and dtype.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.any(wf.asarray([[False, True], [False, False]]), axis=1)
        Tensor([ True, False], dtype=bool)
    """
    require_tensors("any", x)
    return _reduce(ANY, cast(x, dt.bool_), axis, keepdims)


@composite
def all(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """True where every element over the axes is not 0; True over no elements. Arguments as for :func:`any`.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.all(wf.asarray([[True, True], [False, True]]), axis=1)
        Tensor([ True, False], dtype=bool)
    """
    require_tensors("all", x)
    return _reduce(ALL, cast(x, dt.bool_), axis, keepdims)


def _arg(name: str, op: Primitive, x: Array, axis: int | None, keepdims: bool) -> Array:
    if isinstance(axis, tuple):
        raise ShapeError(f"{name}: axis {axis}: one axis, or None for the position in the flattened tensor")
    _check_elements(name, x, axis)
    if x.dtype is dt.bool_:
        x = cast(x, dt.uint8)
    if not x.ndim:  # the position of the one element there is
        if axis is not None:
            normalize_axis(axis, 0, name)
        x, axis, keepdims = reshape(x, (1,)), 0, False
    return _reduce(op, x, axis, keepdims)


@composite
def argmax(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the greatest element along an axis: the first one; the first NaN where there is one.

    Args:
        x: any shape and dtype.
        axis: an axis, or None for the position in the flattened tensor.
        keepdims: leave the reduced axes in the result, with size 1.

    Returns:
        A tensor of dtype int64.

    Raises:
        AxisError: the axis is out of range.
        ShapeError: a reduced axis has size 0.

    Example:
        >>> import weft as wf
        >>> wf.argmax(wf.asarray([[1.0, 5.0], [3.0, 3.0]]), axis=1)
        Tensor([1, 0], dtype=int64)
    """
    return _arg("argmax", ARGMAX, x, axis, keepdims)


@composite
def argmin(x: Array, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The position of the least element along an axis: the first one; the first NaN where there is one.

    Arguments, result and errors as for :func:`argmax`.

    Example:
        >>> import weft as wf
        >>> wf.argmin(wf.asarray([[1.0, 5.0], [3.0, 3.0]]), axis=1)
        Tensor([0, 0], dtype=int64)
    """
    return _arg("argmin", ARGMIN, x, axis, keepdims)


# Composites


def _with_index(name: str, op: Primitive, x: Array, axis: int, keepdims: bool) -> tuple[Array, Array]:
    from .indexing import take_along_axis

    if not x.ndim:
        normalize_axis(axis, 1, name)
        return x, _arg(name, op, x, None, False)
    at = _arg(name, op, x, normalize_axis(axis, x.ndim, name), True)
    values = take_along_axis(x, at, axis=axis)
    kept = (value if keepdims else squeeze(value, axis=axis) for value in (values, at))
    return next(kept), next(kept)


@composite(public=False)
def max_with_index(x: Array, /, *, axis: int, keepdims: bool = False) -> tuple[Array, Array]:
    """The greatest elements along an axis and their positions: of equal ones the first, which alone gets the gradient
    (PyTorch's ``x.max(dim)``).

    Args:
        x: any shape and dtype; a tensor of rank 0 counts as one of rank 1.
        axis: an axis.
        keepdims: leave the reduced axis in the results, with size 1.

    Raises:
        AxisError: the axis is out of range.
        ShapeError: the axis has size 0.

    Example:
        >>> import weft as wf
        >>> from weft.ops.reduction import max_with_index
        >>> max_with_index(wf.asarray([[1.0, 5.0], [3.0, 3.0]]), axis=1)
        (Tensor([5., 3.], dtype=float32), Tensor([1, 0], dtype=int64))
    """
    return _with_index("max", ARGMAX, x, axis, keepdims)


@composite(public=False)
def min_with_index(x: Array, /, *, axis: int, keepdims: bool = False) -> tuple[Array, Array]:
    """The least elements along an axis and their positions; otherwise as :func:`max_with_index`.

    Example:
        >>> import weft as wf
        >>> from weft.ops.reduction import min_with_index
        >>> min_with_index(wf.asarray([[1.0, 5.0], [3.0, 3.0]]), axis=1)
        (Tensor([1., 3.], dtype=float32), Tensor([0, 0], dtype=int64))
    """
    return _with_index("min", ARGMIN, x, axis, keepdims)


@composite
def count_nonzero(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The number of elements over axes that are not 0, as int64.

    Args:
        x: any shape and dtype.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.count_nonzero(wf.asarray([0.0, 2.0, 3.0]))
        Tensor(2, dtype=int64)
    """
    require_tensors("count_nonzero", x)
    axes = normalize_axes(axis, x.ndim, "count_nonzero")
    return sum(cast(x, dt.bool_), axis=axes, keepdims=keepdims)


def _count(x: Array, axis: Axes, name: str) -> Array:
    """The number of elements that are reduced, in x's dtype."""
    return extent(size_of(x.shape[a] for a in normalize_axes(axis, x.ndim, name)), x.dtype)


def _wide(name: str, x: Array) -> Array:
    require_tensors(name, x)
    return as_float(x)


@composite
def mean(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The arithmetic mean over axes: the sum divided by the number of elements; NaN over none.

    Args:
        x: any shape; integers and bools are converted to float32.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.mean(wf.asarray([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        Tensor([2., 3.], dtype=float32)
    """
    wide = _wide("mean", x)
    count = _count(wide, axis, "mean")
    return rounded_to(x.dtype, _reduce(SUM, wide, axis, keepdims) / count)


def _variance(name: str, x: Array, axis: Axes, correction: float, keepdims: bool) -> Array:
    """In two passes, the mean first: what a single pass loses to cancellation is most of the digits."""
    count = _count(x, axis, name)
    deviation = x - _reduce(SUM, x, axis, True) / count
    return _reduce(SUM, square(deviation), axis, keepdims) / (maximum(count - correction, 0.0) if correction else count)


@composite
def var(x: Array, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The variance over axes: the mean square deviation from the mean.

    Args:
        x: any shape; integers and bools are converted to float32.
        axis: an axis, a tuple of axes, or None for all of them.
        correction: the sum of squares is divided by the number of elements less this; 1 for a sample's variance.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.var(wf.asarray([1.0, 2.0, 3.0, 4.0]))
        Tensor(1.25, dtype=float32)
    """
    return rounded_to(x.dtype, _variance("var", _wide("var", x), axis, correction, keepdims))


def root(x: Array) -> Array:
    """The square root, with the gradient 0 at 0 (as PyTorch's ``std`` and ``norm`` have it). Within a trace alone."""
    is_zero = equal(x, 0.0)
    return where(is_zero, x, sqrt(where(is_zero, 1.0, x)))


@composite
def std(x: Array, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Array:
    """The standard deviation over axes: the square root of :func:`var`, whose arguments it takes. Its gradient is 0
    where it is 0.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.std(wf.asarray([1.0, 3.0]))
        Tensor(1., dtype=float32)
    """
    return rounded_to(x.dtype, root(_variance("std", _wide("std", x), axis, correction, keepdims)))


@composite
def logsumexp(x: Array, /, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """``log(sum(exp(x)))`` over axes, without overflow; -inf over no elements.

    Args:
        x: any shape; integers and bools are converted to float32.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.

    Raises:
        AxisError: an axis is out of range or named twice.

    Example:
        >>> import weft as wf
        >>> wf.logsumexp(wf.asarray([1000.0, 1000.0]))
        Tensor(1000.6932, dtype=float32)
    """
    wide = _wide("logsumexp", x)
    axes = normalize_axes(axis, x.ndim, "logsumexp")
    greatest = greatest_or_lowest(wide, axis)
    greatest = where(isfinite(greatest), greatest, 0.0)
    value = log(_reduce(SUM, exp(wide - greatest), axis, True)) + greatest
    if not keepdims:
        value = reshape(value, tuple(n for a, n in enumerate(x.shape) if a not in axes))
    return rounded_to(x.dtype, value)

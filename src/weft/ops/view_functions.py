"""Views under PyTorch's names, with its arguments: diagonal, narrow, select, unbind, unflatten, unfold."""

from __future__ import annotations

from math import prod

from ..core.errors import AxisError, IndexError_, ShapeError
from ..core.shapes import Shape, normalize_axis, shown
from .creation import Whole
from .op import Array, apply, composite
from .operands import require_tensors
from .pieces import unstack
from .strided_views import UNFOLD, diagonal_of
from .views import reshaped, slice_


def _axis_of(op: str, x: Array, dim: int) -> int:
    require_tensors(op, x)
    if not x.shape:
        raise AxisError(f"{op}: a tensor of rank 0 has no axis {shown(dim)}; reshape it to (1,) first")
    return normalize_axis(dim, len(x.shape), op)


def _cut(x: Array, axis: int, start: int, length: int) -> Array:
    shape: Shape = tuple(x.shape)
    starts = tuple(start if a == axis else 0 for a in range(len(shape)))
    return slice_(x, starts, (*shape[:axis], length, *shape[axis + 1 :]))


@composite(view=True)
def narrow(input: Array, dim: int, start: int, length: int) -> Array:
    """``length`` elements along the axis ``dim``, from ``start`` on.

    Args:
        input: rank 1 or more; any dtype.
        dim: the axis; negative ones count from the end.
        start: the first element; negative ones count from the end of the axis.
        length: how many.

    Raises:
        AxisError: ``dim`` is out of range.
        IndexError_: ``start`` is.
        ShapeError: ``length`` is negative, or there are fewer elements.

    Example:
        >>> from weft.ops.view_functions import narrow
        >>> narrow(wf.arange(6).reshape(3, 2), 0, 1, 2).tolist()
        [[2, 3], [4, 5]]
    """
    axis = _axis_of("narrow", input, dim)
    size = int(input.shape[axis])
    if length < 0:
        raise ShapeError(f"narrow: {shown(length)} elements; there cannot be fewer than none")
    if not -size <= start <= size:
        raise IndexError_(f"narrow: start {shown(start)} is out of range for axis {axis} of {tuple(input.shape)}")
    first = start + size if start < 0 else start
    if first + length > size:
        raise ShapeError(
            f"narrow: {shown(length)} elements from {first} on do not fit into axis {axis} of {tuple(input.shape)}"
        )
    return _cut(input, axis, first, length)


@composite(view=True)
def select(input: Array, dim: int, index: int) -> Array:
    """The elements at ``index`` of the axis ``dim``, which the result no longer has.

    Args:
        input: rank 1 or more; any dtype.
        dim: the axis; negative ones count from the end.
        index: the position; negative ones count from the end.

    Raises:
        AxisError: ``dim`` is out of range.
        IndexError_: ``index`` is.

    Example:
        >>> from weft.ops.view_functions import select
        >>> select(wf.arange(6).reshape(3, 2), 0, -1).tolist()
        [4, 5]
    """
    axis = _axis_of("select", input, dim)
    shape = tuple(input.shape)
    size = int(shape[axis])
    if not -size <= index < size:
        raise IndexError_(f"select: index {shown(index)} is out of range for axis {axis} of {shape}")
    part = _cut(input, axis, index + size if index < 0 else index, 1)
    return reshaped(part, (*shape[:axis], *shape[axis + 1 :]))


@composite(view=True)
def unbind(input: Array, dim: int = 0) -> tuple[Array, ...]:
    """The slices along the axis ``dim``, which they no longer have.

    Raises:
        AxisError: ``dim`` is out of range.

    Example:
        >>> from weft.ops.view_functions import unbind
        >>> [part.tolist() for part in unbind(wf.eye(2))]
        [[1.0, 0.0], [0.0, 1.0]]
    """
    parts: tuple[Array, ...] = unstack(input, axis=_axis_of("unbind", input, dim))
    return parts


@composite(view=True)
def unfold(input: Array, dimension: int, size: int, step: int) -> Array:
    """All windows of ``size`` elements along the axis ``dimension``, ``step`` apart.

    Args:
        input: any dtype; a tensor of rank 0 counts as one of one element.
        dimension: the axis along which the windows lie; it counts them in the result.
        size: of a window; the result has it as a further, last axis.
        step: from one window's first element to that of the next, 1 or more.

    Raises:
        AxisError: ``dimension`` is out of range.
        ShapeError: ``size`` is negative or larger than the axis, or ``step`` is below 1.

    Example:
        >>> from weft.ops.view_functions import unfold
        >>> unfold(wf.arange(5), 0, 3, 2).tolist()
        [[0, 1, 2], [2, 3, 4]]
    """
    require_tensors("unfold", input)
    axis = normalize_axis(dimension, len(input.shape) or 1, "unfold")
    x = input if input.shape else reshaped(input, (1,))
    if size < 0 or size > int(x.shape[axis]):
        raise ShapeError(f"unfold: windows of {shown(size)} elements on axis {axis} of {tuple(input.shape)}")
    if step < 1:
        raise ShapeError(f"unfold: windows every {shown(step)} elements; the step is 1 or more")
    windows = apply(UNFOLD, x, axis=axis, size=size, step=step)
    return windows if input.shape else reshaped(windows, (size,))


@composite(view=True)
def diagonal(input: Array, offset: Whole = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """The elements whose positions on the axes ``dim1`` and ``dim2`` differ by ``offset``; they become the last axis.
    (``wf.linalg.diagonal`` is of the last two axes.)

    Raises:
        AxisError: an axis is out of range, or both are the same.

    Example:
        >>> from weft.ops.view_functions import diagonal
        >>> diagonal(wf.arange(6).reshape(2, 3), 1).tolist()
        [1, 5]
    """
    first, second = (_axis_of("diagonal", input, dim) for dim in (dim1, dim2))
    if first == second:
        raise AxisError(
            f"diagonal: dim1={shown(dim1)} and dim2={shown(dim2)} are the same axis of {tuple(input.shape)}"
        )
    return diagonal_of(input, offset, first, second)


@composite(view=True)
def unflatten(input: Array, dim: int, sizes: Shape) -> Array:
    """The axis ``dim`` as several of the ``sizes``, of which one may be -1.

    Raises:
        AxisError: ``dim`` is out of range.
        ShapeError: the sizes do not multiply to that of the axis.

    Example:
        >>> from weft.ops.view_functions import unflatten
        >>> unflatten(wf.arange(6), 0, (2, -1)).tolist()
        [[0, 1, 2], [3, 4, 5]]
    """
    axis = _axis_of("unflatten", input, dim)
    shape, wanted = tuple(input.shape), tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
    known = prod(int(n) for n in wanted if n != -1)
    if wanted.count(-1) == 1 and known and shape[axis] % known == 0:
        wanted = tuple(shape[axis] // known if n == -1 else n for n in wanted)
    if not wanted or any(n < 0 for n in wanted) or prod(wanted) != shape[axis]:
        raise ShapeError(f"unflatten: axis {axis} of {shape} has {shape[axis]} elements, which are not {shown(sizes)}")
    return reshaped(input, (*shape[:axis], *wanted, *shape[axis + 1 :]))

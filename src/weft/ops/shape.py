"""Shapes and axes: reshaping, permuting, broadcasting and flipping; triangles.

Written over the primitives of :mod:`weft.ops.views`, which also hold their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import AxisError, CaptureError, ShapeError
from ..core.shapes import Shape, broadcast_shapes, normalize_axes, normalize_axis, size_of
from ..core.symbolic import Dim, SymDim, are_equal, undecided
from .creation import Whole, as_shape, tri_mask
from .elementwise import where
from .op import Array, composite, public
from .views import broadcasted, flipped, permuted, reshaped

# --- reshape ----------------------------------------------------------------------------------------------------


@composite(view=True)
def reshape(x: Array, /, shape: Dim | Sequence[Dim], *, copy: bool | None = None) -> Array:
    """The elements of ``x`` in row-major order under another shape.

    Args:
        x: any shape and dtype.
        shape: sizes; one of them may be -1, which stands for what is left.
        copy: None: a view where strides can say it, else a copy. True: always a copy. False: never, else an error.

    Raises:
        ShapeError: the number of elements differs, or -1 has no answer.

    >>> wf.reshape(wf.arange(6), (2, -1)).tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    return reshaped(x, _whole_shape(tuple(x.shape), shape))


def _whole_shape(old: Shape, shape: Any) -> Shape:
    sizes = list(shape) if hasattr(shape, "__iter__") else [shape]
    unknown = [i for i, n in enumerate(sizes) if not isinstance(n, SymDim) and n == -1]
    if not unknown:
        return as_shape(sizes, "reshape")
    if len(unknown) > 1:
        raise ShapeError(f"reshape: {old} to {tuple(sizes)}: only one size can be -1")
    rest = as_shape([n for i, n in enumerate(sizes) if i != unknown[0]], "reshape")
    known, total = size_of(rest), size_of(old)
    if are_equal(known, 0) or not are_equal(total % known, 0):
        raise ShapeError(f"reshape: {old} to {tuple(sizes)}: {total} elements do not divide into pieces of {known}")
    return (*rest[: unknown[0]], total // known, *rest[unknown[0] :])


@composite(view=True)
def flatten(x: Array, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The axes ``start_dim`` to ``end_dim`` as one; a tensor of rank 0 gets one axis.

    Raises:
        AxisError: an axis is out of range, or they are in the wrong order.

    >>> wf.flatten(wf.zeros((2, 3, 4)), start_dim=1).shape
    (2, 12)
    """
    if not x.shape:
        return reshaped(x, (1,))
    first, last = (normalize_axis(a, len(x.shape), "flatten") for a in (start_dim, end_dim))
    if first > last:
        raise AxisError(f"flatten: axis {start_dim} comes after axis {end_dim}")
    shape = tuple(x.shape)
    return reshaped(x, (*shape[:first], size_of(shape[first : last + 1]), *shape[last + 1 :]))


@composite(view=True)
def expand_dims(x: Array, /, axis: int | Sequence[int] = 0) -> Array:
    """``x`` with new axes of size 1 at the positions ``axis`` of the result.

    Raises:
        AxisError: a position is out of range or named twice.

    >>> wf.expand_dims(wf.zeros((2, 3)), axis=-1).shape
    (2, 3, 1)
    """
    added = 1 if isinstance(axis, int) else len(axis)
    places = normalize_axes(axis, len(x.shape) + added, "expand_dims")
    rest = iter(tuple(x.shape))
    return reshaped(x, tuple(1 if i in places else next(rest) for i in range(len(x.shape) + added)))


@composite(view=True)
def squeeze(x: Array, /, axis: int | Sequence[int] | None = None) -> Array:
    """``x`` without the axes ``axis``, which have size 1; None: without every axis of size 1.

    Raises:
        AxisError: an axis is out of range or named twice.
        ShapeError: an axis has another size.

    >>> wf.squeeze(wf.zeros((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    shape = tuple(x.shape)
    if axis is None:
        return reshaped(x, tuple(n for n in shape if not _is_one(n)))
    removed = normalize_axes(axis, len(shape), "squeeze")
    for i in removed:
        if not are_equal(shape[i], 1):
            raise ShapeError(f"squeeze: axis {i} of {shape} has size {shape[i]}, not 1")
    return reshaped(x, tuple(n for i, n in enumerate(shape) if i not in removed))


def _is_one(size: Dim) -> bool:
    if undecided(size):
        raise CaptureError(
            f"squeeze: whether the axis of size {size} goes depends on this size, which is symbolic: say which axes go "
            f"(squeeze(1)), or reshape"
        )
    return are_equal(size, 1)


# --- permute ----------------------------------------------------------------------------------------------------


@composite(view=True)
def permute_dims(x: Array, /, axes: Sequence[int]) -> Array:
    """``x`` with its axes in another order: axis i of the result is axis ``axes[i]`` of ``x``.

    Raises:
        AxisError: ``axes`` does not name every axis once.

    >>> wf.permute_dims(wf.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    order = tuple(normalize_axis(a, len(x.shape), "permute_dims") for a in axes)
    if sorted(order) != list(range(len(x.shape))):
        raise AxisError(f"permute_dims: {tuple(axes)} does not name each axis of {tuple(x.shape)} once")
    return permuted(x, order)


@composite(view=True)
def matrix_transpose(x: Array, /) -> Array:
    """``x`` (..., m, n) with its last two axes exchanged.

    Raises:
        ShapeError: the rank is below 2.

    >>> wf.matrix_transpose(wf.zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    rank = len(x.shape)
    if rank < 2:
        raise ShapeError(f"matrix_transpose: {tuple(x.shape)} has fewer than two axes")
    return permuted(x, (*range(rank - 2), rank - 1, rank - 2))


@composite(view=True)
def swapaxes(x: Array, axis1: int, axis2: int, /) -> Array:
    """``x`` with two axes exchanged.

    Raises:
        AxisError: an axis is out of range.

    >>> wf.swapaxes(wf.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    order = list(range(len(x.shape)))
    i, j = (normalize_axis(a, len(order), "swapaxes") for a in (axis1, axis2))
    order[i], order[j] = order[j], order[i]
    return permuted(x, tuple(order))


@composite(view=True)
def moveaxis(x: Array, source: int | Sequence[int], destination: int | Sequence[int], /) -> Array:
    """``x`` with the axes ``source`` moved to the positions ``destination``; the others keep their order.

    Raises:
        AxisError: an axis is out of range or named twice, or the counts differ.

    >>> wf.moveaxis(wf.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    rank = len(x.shape)
    sources, places = (
        tuple(normalize_axis(a, rank, "moveaxis") for a in ((v,) if isinstance(v, int) else v))
        for v in (source, destination)
    )
    if len(sources) != len(places) or len(set(sources)) != len(sources) or len(set(places)) != len(places):
        raise AxisError(f"moveaxis: from {source} to {destination} is not one place for each axis")
    placed = dict(zip(places, sources, strict=True))
    rest = iter(a for a in range(rank) if a not in sources)
    return permuted(x, tuple(placed[i] if i in placed else next(rest) for i in range(rank)))


# --- broadcast_to -----------------------------------------------------------------------------------------------


@composite(view=True)
def broadcast_to(x: Array, /, shape: Dim | Sequence[Dim]) -> Array:
    """``x`` repeated along new leading axes and along its axes of size 1, under NumPy's rules.

    Raises:
        ShapeError: the shapes do not fit.

    >>> wf.broadcast_to(wf.arange(2), (2, 2)).tolist()
    [[0, 1], [0, 1]]
    """
    return broadcasted(x, as_shape(shape, "broadcast_to"))


@public
def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Every array broadcast to their common shape.

    Raises:
        ShapeError: the shapes do not fit.

    >>> [x.shape for x in wf.broadcast_arrays(wf.zeros((2, 1)), wf.zeros(3))]
    [(2, 3), (2, 3)]
    """
    shape = broadcast_shapes(*(tuple(x.shape) for x in arrays), op="broadcast_arrays")
    return tuple(broadcast_to(x, shape) for x in arrays)


# --- flip -------------------------------------------------------------------------------------------------------


@composite
def flip(x: Array, /, *, axis: int | Sequence[int] | None = None) -> Array:
    """``x`` backwards along ``axis``; None: along every axis.

    Raises:
        AxisError: an axis is out of range or named twice.

    >>> wf.flip(wf.arange(3)).tolist()
    [2, 1, 0]
    """
    return flipped(x, normalize_axes(axis, len(x.shape), "flip"))


# --- triangles --------------------------------------------------------------------------------------------------


def _triangle(op: str, x: Array, k: Whole, lower: bool) -> Array:
    if len(x.shape) < 2:
        raise ShapeError(f"{op}: {tuple(x.shape)} has fewer than two axes")
    mask = tri_mask(x.shape[-2], x.shape[-1], k if lower else k - 1)
    return where(mask, x, False) if lower else where(mask, False, x)


@composite
def tril(x: Array, /, *, k: Whole = 0) -> Array:
    """``x`` (..., m, n) with zeros above the ``k``-th diagonal.

    Raises:
        ShapeError: the rank is below 2.

    >>> wf.tril(wf.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return _triangle("tril", x, k, lower=True)


@composite
def triu(x: Array, /, *, k: Whole = 0) -> Array:
    """``x`` (..., m, n) with zeros below the ``k``-th diagonal.

    Raises:
        ShapeError: the rank is below 2.

    >>> wf.triu(wf.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return _triangle("triu", x, k, lower=False)

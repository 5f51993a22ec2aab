"""The way back from the greatest elements of windows: each in its place, and 0 elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, SymDim, undecided
from .creation import full, iota
from .indexing import SCATTER_SET, _scatter, as_indices
from .op import Array, composite
from .operands import one_each, require_tensors
from .views import broadcasted, reshaped


def _sizes(
    op: str,
    x: Array,
    size: tuple[int, ...],
    step: tuple[int, ...],
    padding: tuple[int, ...],
    wanted: Sequence[Dim] | None,
) -> tuple[Dim, ...]:
    """The last axes of the result: those that the pooling's windows reach, or what was asked for."""
    rank = len(size)
    own = x.shape[x.ndim - rank :]
    usual = tuple((n - 1) * s + k - 2 * p for n, k, s, p in zip(own, size, step, padding, strict=True))
    if wanted is None:
        if any(not undecided(n) and n < 0 for n in usual):
            raise ShapeError(f"{op}: windows of {size} with padding {padding} leave {usual} of an input {x.shape}")
        return usual
    given = tuple(wanted) if isinstance(wanted, Sequence) else (wanted,)
    found = given[2:] if len(given) == rank + 2 else given
    if len(found) != rank or not all(type(n) is int or isinstance(n, SymDim) for n in found):
        raise ArgumentError(f"{op}: output_size is {shown(wanted)}; it is {rank} or {rank + 2} integers")
    for axis, (n, near, s) in enumerate(zip(found, usual, step, strict=True)):
        if not (undecided(n) or undecided(near)) and not near - s < n < near + s:
            raise ArgumentError(
                f"{op}: output_size {shown(wanted)}: on axis {axis} of the last {rank} it is {n}, and must be between "
                f"{near - s} and {near + s}, both excluded"
            )
    return found


def _max_unpool(
    op: str,
    x: Array,
    indices: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    output_size: Sequence[Dim] | None,
) -> Array:
    require_tensors(op, x, indices)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(f"{op}: wants an input of {rank + 1} or {rank + 2} axes; shape {x.shape}")
    if tuple(indices.shape) != tuple(x.shape):
        raise ShapeError(f"{op}: indices {indices.shape} for an input {x.shape}: wants one for each element")
    size = one_each(op, "kernel_size", kernel_size, rank, 1)
    step = size if stride is None else one_each(op, "stride", stride, rank, 1)
    sizes = _sizes(op, x, size, step, one_each(op, "padding", padding, rank, 0), output_size)
    at = as_indices(op, indices, from_the_end=False)
    lead = tuple(x.shape[: x.ndim - rank])
    rows, own, whole = prod(lead), prod(x.shape[x.ndim - rank :]), prod(sizes)
    places = [broadcasted(iota((rows, 1), 0), (rows, own)), reshaped(at, (rows, own))]
    empty = full((rows, whole), 0, dtype=x.dtype)
    return reshaped(_scatter(SCATTER_SET, empty, places, reshaped(x, (rows, own))), (*lead, *sizes))


@composite
def max_unpool1d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[Dim] | None = None,
) -> Array:
    """What :func:`max_pool1d` took, back in its place. Arguments, result and errors as for :func:`max_unpool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_unpool1d(wf.asarray([[3.0, 2.0]]), wf.asarray([[1, 2]]), 2)
        Tensor([[0., 3., 2., 0.]], dtype=float32)
    """
    return _max_unpool("max_unpool1d", input, indices, 1, kernel_size, stride, padding, output_size)


@composite
def max_unpool2d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[Dim] | None = None,
) -> Array:
    """What :func:`max_pool2d` took, back in its place, and 0 elsewhere. Where a place is named several times, the last
    element is there, and it alone gets a gradient.

    Args:
        input: shape (N, C, H, W) or (C, H, W); any dtype.
        indices: the positions that ``max_pool2d(..., return_indices=True)`` gave, of input's shape; an integer dtype.
        kernel_size, stride, padding: those of the pooling.
        output_size: the last axes of the result, or its whole shape; less than a stride from
            ``(H - 1) * stride + kernel_size - 2 * padding``, which None means.

    Returns:
        ``(N, C, *output_size)``, or without N; input's dtype.

    Raises:
        ShapeError: another number of axes, or indices of another shape.
        IndexError: a position is out of range.
        ArgumentError: ``output_size`` is none that the pooling has.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_unpool2d(wf.asarray([[[4.0, 5.0]]]), wf.asarray([[[2, 1]]]), (2, 1))
        Tensor([[[0., 5.],
                 [4., 0.]]], dtype=float32)
    """
    return _max_unpool("max_unpool2d", input, indices, 2, kernel_size, stride, padding, output_size)


@composite
def max_unpool3d(
    input: Array,
    indices: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[Dim] | None = None,
) -> Array:
    """What :func:`max_pool3d` took, back in its place. Arguments, result and errors as for :func:`max_unpool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_unpool3d(wf.ones((1, 1, 1, 1)), wf.asarray([[[[1]]]]), (1, 1, 2))
        Tensor([[[[0., 1.]]]], dtype=float32)
    """
    return _max_unpool("max_unpool3d", input, indices, 3, kernel_size, stride, padding, output_size)

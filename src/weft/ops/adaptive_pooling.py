"""Pooling into a given number of parts, and norms of windows.

Part ``i`` of the ``m`` parts of an axis of ``n`` elements is ``i * n // m`` up to ``ceil((i + 1) * n / m)``, so parts
share elements where ``m`` does not divide ``n``. An element is in just those parts that it would itself have as a part,
were the ``m`` parts cut into ``n``: a sum over parts is the transpose of the sum the other way, and its gradient reads
each cotangent where it lies instead of adding them up one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod
from typing import Any

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, shown
from ..core.symbolic import Dim, SymDim, undecided
from .creation import full, iota
from .elementwise import abs as abs_
from .elementwise import cast, minimum, where
from .indexing import _gather, take, take_along_axis
from .op import Array, apply, composite
from .operands import require_tensors
from .pooling import _pool_params, average_pooled, flattened, max_pooled
from .precision import widen, working
from .reduction import ARGMAX
from .reduction import sum as sum_
from .views import broadcasted, permuted, reshaped, slice_

# --- parts ------------------------------------------------------------------------------------------------------


def _output_sizes(op: str, x: Array, output_size: Dim | Sequence[Dim | None], rank: int) -> tuple[Dim, ...]:
    """The number of parts of each of the last axes.

    Raises:
        ArgumentError: they are not one number, or one for each axis, of at least 0.
        ShapeError: the input has another number of axes, or an axis without elements.
    """
    require_tensors(op, x)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{op}: wants an input of {rank + 1} or {rank + 2} axes, the last {rank} of which it pools; shape {x.shape}"
        )
    own = x.shape[x.ndim - rank :]
    wanted = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * rank
    if len(wanted) != rank or not all(n is None or type(n) is int or isinstance(n, SymDim) for n in wanted):
        each = "an integer or None" if rank == 1 else f"an integer, or {rank} of them or None"
        raise ArgumentError(f"{op}: output_size is {shown(output_size)}; it is {each}")
    sizes = tuple(n if m is None else m for n, m in zip(own, wanted, strict=True))
    if any(not undecided(m) and m < 0 for m in sizes):
        raise ArgumentError(f"{op}: output_size is {shown(output_size)}; it is at least 0")
    for axis, (n, m) in enumerate(zip(own, sizes, strict=True), x.ndim - rank):
        if isinstance(n, int) and n == 0 and not (isinstance(m, int) and m == 0):
            raise ShapeError(f"{op}: axis {axis} of shape {x.shape} has no elements for {m} parts")
    return sizes


def _is(size: Dim, number: int) -> bool:
    return isinstance(size, int) and size == number


def _longest(n: int, m: int) -> int:
    """The number of elements of the longest of ``m`` parts of ``n``: one begins as far behind an element's edge as any
    can, ``1 - gcd / m`` of it."""
    common = math.gcd(n, m)
    return (n // common + 2 * (m // common) - 2) // (m // common)


def _bounds(part: Array, n: int, m: int) -> tuple[Array, Array]:
    """Where parts begin, and where they end."""
    return part * n // m, ((part + 1) * n + (m - 1)) // m


def _part_sums(x: Array, axis: int, m: Dim) -> Array:
    """The sum of each of ``m`` parts of an axis."""
    shape, n = tuple(x.shape), x.shape[axis]
    result = (*shape[:axis], m, *shape[axis + 1 :])
    if _is(m, 1):
        return sum_(x, axis=axis, keepdims=True)
    if _is(n, 1):
        return broadcasted(x, result)
    if _is(n, 0):
        return full(result, 0, dtype=x.dtype)
    if n is m or n == m:
        return x
    n, m = int(n), int(m)
    if m == 0:
        return slice_(x, (0,) * len(shape), result)
    if n % m == 0:
        return sum_(reshaped(x, (*shape[:axis], m, n // m, *shape[axis + 1 :])), axis=axis + 1)
    if m % n == 0:
        apart = reshaped(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        return reshaped(broadcasted(apart, (*shape[: axis + 1], m // n, *shape[axis + 1 :])), result)
    points = (m, _longest(n, m))
    start, end = _bounds(iota(points, 0), n, m)
    place = start + iota(points, 1)
    inside = reshaped(place < end, (*points, *(1,) * (len(shape) - axis - 1)))
    return sum_(where(inside, take(x, minimum(place, n - 1), axis=axis), 0), axis=axis + 1)


def _counts(x: Array, axis: int, n: Dim, m: Dim) -> Any:
    """The numbers of elements of the ``m`` parts of an axis of ``n``, for an operand with a result's axes."""
    if _is(m, 1):
        return n
    if n is m or n == m or _is(m, 0):
        return 1
    n, m = int(n), int(m)
    if n % m == 0:
        return n // m
    if m % n == 0:
        return 1
    start, end = _bounds(iota((m,), 0), n, m)
    return cast(reshaped(end - start, (m, *(1,) * (x.ndim - axis - 1))), x.dtype)


def part_means(x: Array, sizes: Sequence[Dim]) -> Array:
    """The mean of each part of the last axes, in ``x``'s dtype, one that is computed in."""
    lead = x.ndim - len(sizes)
    ones = tuple(axis for axis, m in enumerate(sizes, lead) if _is(m, 1) and not _is(x.shape[axis], 1))
    if ones:
        x = sum_(x, axis=ones, keepdims=True) / prod_of(x.shape[a] for a in ones)
    for axis, m in enumerate(sizes, lead):
        n = x.shape[axis]
        total = _part_sums(x, axis, m)
        count = _counts(total, axis, n, m)
        x = total if _is(count, 1) else total / count
    return x


def prod_of(sizes: Any) -> Any:
    """The product of sizes."""
    return prod(sizes, start=1)


def part_means_gradient(g: Array, shape: Shape, rank: int) -> Array:
    """The cotangent of :func:`part_means`'s operand, of ``shape``; ``g`` in a dtype that is computed in."""
    for axis in range(len(shape) - rank, len(shape)):
        n, m = shape[axis], g.shape[axis]
        count = _counts(g, axis, n, m)
        g = _part_sums(g if _is(count, 1) else g / count, axis, n)
    return g


# --- means ------------------------------------------------------------------------------------------------------


def _adaptive_avg(op: str, x: Array, output_size: Dim | Sequence[Dim | None], rank: int) -> Array:
    sizes = _output_sizes(op, x, output_size, rank)
    (wide,) = widen(op, x)
    return cast(part_means(wide, sizes), x.dtype)


def _avg_gradient(rank: int) -> Any:
    def rule(result: Array, g: Array, input: Array, output_size: Dim | Sequence[Dim | None]) -> Array:
        return cast(part_means_gradient(cast(g, working(g.dtype)), tuple(input.shape), rank), input.dtype)

    return rule


@composite(gradient=_avg_gradient(1))
def adaptive_avg_pool1d(input: Array, output_size: Dim | Sequence[Dim | None]) -> Array:
    """The mean of each of ``output_size`` parts of the last axis. Arguments, result and errors as for
    :func:`adaptive_avg_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_avg_pool1d(wf.asarray([[1.0, 3.0, 2.0, 0.0]]), 2)
        Tensor([[2., 1.]], dtype=float32)
    """
    return _adaptive_avg("adaptive_avg_pool1d", input, output_size, 1)


@composite(gradient=_avg_gradient(2))
def adaptive_avg_pool2d(input: Array, output_size: Dim | Sequence[Dim | None]) -> Array:
    """The mean of each part of the last two axes, however large they are.

    Part ``i`` of the ``m`` of an axis of ``n`` elements is elements ``i * n // m`` to ``ceil((i + 1) * n / m)``.

    Args:
        input: shape (N, C, H, W) or (C, H, W); a floating dtype.
        output_size: the number of parts, on both axes or on each; None is the input's size.

    Returns:
        ``(N, C, *output_size)``, or without N; input's dtype.

    Raises:
        ShapeError: another number of axes, or one without elements.
        ArgumentError: ``output_size`` is neither one number nor one for each axis, or below 0.
        DTypeError: ``input`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_avg_pool2d(wf.asarray([[[1.0, 2.0, 5.0], [4.0, 3.0, 0.0]]]), (1, 2))
        Tensor([[[2.5, 2.5]]], dtype=float32)
    """
    return _adaptive_avg("adaptive_avg_pool2d", input, output_size, 2)


@composite(gradient=_avg_gradient(3))
def adaptive_avg_pool3d(input: Array, output_size: Dim | Sequence[Dim | None]) -> Array:
    """The mean of each part of the last three axes. Arguments, result and errors as for :func:`adaptive_avg_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_avg_pool3d(wf.arange(8.0).reshape(1, 2, 2, 2), (2, 1, 1))
        Tensor([[[[1.5]],
        <BLANKLINE>
                 [[5.5]]]], dtype=float32)
    """
    return _adaptive_avg("adaptive_avg_pool3d", input, output_size, 3)


# --- greatest elements ------------------------------------------------------------------------------------------


def _greatest_places(x: Array, sizes: Sequence[int]) -> Array:
    """The position, in the flattened last axes, of the greatest element of each part: the first one."""
    rank = len(sizes)
    lead = x.ndim - rank
    spatial = tuple(int(n) for n in x.shape[lead:])
    lengths = tuple(_longest(n, m) for n, m in zip(spatial, sizes, strict=True))
    points = (*sizes, *lengths)
    index = []
    for axis, (n, m) in enumerate(zip(spatial, sizes, strict=True)):
        start, end = _bounds(iota(points, axis), n, m)
        index.append(minimum(start + iota(points, rank + axis), end - 1))  # the last again, which is not the first
    front = permuted(x, (*range(lead, lead + rank), *range(lead)))
    taps: Array = apply(ARGMAX, _gather(front, index), axes=tuple(range(rank, 2 * rank)))
    taps = permuted(taps, (*range(rank, rank + lead), *range(rank)))
    places: list[Array] = []
    shape = tuple(taps.shape)
    for axis, (n, m) in enumerate(zip(spatial, sizes, strict=True)):
        inner = prod(lengths[axis + 1 :])
        tap = taps // inner
        taps = taps - tap * inner
        places.append(_bounds(iota(shape, lead + axis), n, m)[0] + tap)
    return flattened(places, spatial)


def _adaptive_max(op: str, x: Array, output_size: Dim | Sequence[Dim | None], rank: int, return_indices: bool) -> Any:
    sizes = _output_sizes(op, x, output_size, rank)
    if x.dtype is dt.bool_:
        raise DTypeError(f"{op}: bool operands: wants numbers; cast with astype")
    lead = x.ndim - rank
    own, rest = x.shape[lead:], tuple(x.shape[:lead])
    if not all(_is(m, 1) for m in sizes):
        own, sizes = tuple(map(int, own)), tuple(map(int, sizes))
        if all(m > 0 and n % m == 0 for n, m in zip(own, sizes, strict=True)):
            step, none, one = tuple(n // m for n, m in zip(own, sizes, strict=True)), (0,) * rank, (1,) * rank
            windows = {"size": step, "step": step, "dilation": one, "before": none, "after": none}
            value, axes = max_pooled(op, x, windows, return_indices)
            return (value, flattened(axes, own)) if return_indices else value
    flat = reshaped(x, (*rest, prod_of(own)))
    if 0 in sizes:
        at: Array = full((*rest, *sizes), 0, dtype=dt.int64)
    elif all(_is(m, 1) for m in sizes):
        wide = cast(flat, working(x.dtype))
        at = reshaped(apply(ARGMAX, wide, axes=(lead,)), (*rest, *sizes))
    else:
        at = _greatest_places(cast(x, working(x.dtype)), sizes)  # type: ignore[arg-type]
    value = take_along_axis(flat, reshaped(at, (*rest, prod_of(sizes))), axis=-1)
    value = reshaped(value, (*rest, *sizes))
    return (value, at) if return_indices else value


@composite
def adaptive_max_pool1d(input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False) -> Any:
    """The greatest element of each of ``output_size`` parts of the last axis. Arguments, result and errors as for
    :func:`adaptive_max_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_max_pool1d(wf.asarray([[1.0, 3.0, 2.0, 0.0]]), 2)
        Tensor([[3., 2.]], dtype=float32)
    """
    return _adaptive_max("adaptive_max_pool1d", input, output_size, 1, return_indices)


@composite
def adaptive_max_pool2d(input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False) -> Any:
    """The greatest element of each part of the last two axes; NaN where there is one. The gradient goes to the first of
    equal elements (of several NaNs, to the first; PyTorch's goes to the last).

    Args:
        input: shape (N, C, H, W) or (C, H, W); any dtype but bool.
        output_size: the number of parts, as for :func:`adaptive_avg_pool2d`.
        return_indices: also give the positions of the greatest elements.

    Returns:
        ``(N, C, *output_size)``, or without N, of input's dtype; with ``return_indices`` also a tensor of dtype int64,
        positions in the flattened last axes of ``input``.

    Raises:
        ShapeError: another number of axes, or one without elements.
        ArgumentError: ``output_size`` is neither one number nor one for each axis, or below 0.
        DTypeError: ``input`` is of bools.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_max_pool2d(wf.asarray([[[1.0, 2.0, 5.0], [4.0, 3.0, 0.0]]]), (1, 2))
        Tensor([[[4., 5.]]], dtype=float32)
    """
    return _adaptive_max("adaptive_max_pool2d", input, output_size, 2, return_indices)


@composite
def adaptive_max_pool3d(input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False) -> Any:
    """The greatest element of each part of the last three axes. Arguments, result and errors as for
    :func:`adaptive_max_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.adaptive_max_pool3d(wf.arange(8.0).reshape(1, 2, 2, 2), 1)
        Tensor([[[[7.]]]], dtype=float32)
    """
    return _adaptive_max("adaptive_max_pool3d", input, output_size, 3, return_indices)


# --- norms ------------------------------------------------------------------------------------------------------


def _lp_pool(
    op: str,
    x: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    ceil_mode: bool,
    rank: int,
) -> Array:
    if norm_type == 0 or math.isnan(norm_type):
        raise ArgumentError(f"{op}: norm_type is {norm_type}: there is no such norm")
    (wide,) = widen(op, x)
    params = _pool_params(op, x, rank, kernel_size, stride, 0, 1, ceil_mode)
    if math.isinf(norm_type):
        way = math.copysign(1.0, norm_type)
        return cast(max_pooled(op, abs_(wide) * way, params, False)[0] * way, x.dtype)
    means = average_pooled(op, wide**norm_type, params, ((0, 0),) * rank)  # of a cut window PyTorch takes the mean too
    total = means * prod(params["size"])
    if norm_type == 1:
        return cast(total, x.dtype)
    if norm_type < 0:
        return cast(total ** (1.0 / norm_type), x.dtype)
    none = total == 0  # where the root has no slope
    return cast(where(none, 0.0, where(none, 1.0, total) ** (1.0 / norm_type)), x.dtype)


@composite
def lp_pool1d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """A norm of each window of the last axis. Arguments, result and errors as for :func:`lp_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.lp_pool1d(wf.asarray([[3.0, 4.0, 6.0, 8.0]]), 2.0, 2)
        Tensor([[ 5., 10.]], dtype=float32)
    """
    return _lp_pool("lp_pool1d", input, norm_type, kernel_size, stride, ceil_mode, 1)


@composite
def lp_pool2d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """``sum(x ** norm_type) ** (1 / norm_type)`` of each window of the last two axes. The powers are of the elements
    themselves, as in PyTorch: an odd norm of negative ones is NaN. A window of zeros gets the gradient 0 (PyTorch's is
    NaN).

    Args:
        input: shape (N, C, H, W) or (C, H, W); a floating dtype.
        norm_type: any number but 0; infinity is the greatest absolute value, -infinity the least.
        kernel_size: of a window, on each axis or on both.
        stride: from one window to the next; None means ``kernel_size``.
        ceil_mode: also the last windows that do not fit; their sum counts as that of a whole window of the same mean.

    Raises:
        ShapeError: another number of axes, or fewer elements than a window has.
        ArgumentError: a size or stride is below 1, or ``norm_type`` is 0.
        DTypeError: ``input`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.lp_pool2d(wf.asarray([[[1.0, 2.0, 2.0], [4.0, 4.0, 8.0]]]), 2.0, (1, 3))
        Tensor([[[3.       ],
                 [9.797959]]], dtype=float32)
    """
    return _lp_pool("lp_pool2d", input, norm_type, kernel_size, stride, ceil_mode, 2)


@composite
def lp_pool3d(
    input: Array,
    norm_type: float,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """A norm of each window of the last three axes. Arguments, result and errors as for :func:`lp_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.lp_pool3d(wf.ones((1, 2, 2, 2)), 3.0, 2)
        Tensor([[[[2.]]]], dtype=float32)
    """
    return _lp_pool("lp_pool3d", input, norm_type, kernel_size, stride, ceil_mode, 3)

"""Fractional max pooling: windows of one size whose distances are drawn, so that a given number of them is enough.

The windows of ``k`` elements are ``m`` on an axis of ``n``; ``a = (n - k) / (m - 1)`` is their mean distance, and with
a sample ``u`` in [0, 1) the i-th begins at ``floor((i + u) * a) - floor(u * a)``, the last at ``n - k``. Each channel
has a sample for each axis. Like adaptive pooling by its greatest elements, it gathers: what differs from channel to
channel is no view.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, shown
from ..core.symbolic import Dim, SymDim, are_equal, undecided
from .creation import full, iota
from .elementwise import cast, maximum, minimum, where
from .indexing import take_along_axis
from .op import Array, apply, composite, public
from .operands import one_each, require_tensors
from .pooling import flattened
from .precision import working
from .random import Generator, default_generator, draw_uniform
from .reduction import ARGMAX
from .views import broadcasted, reshaped, slice_

Ints = tuple[int, ...]


def _parameters(
    op: str,
    x: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None,
    output_ratio: float | Sequence[float] | None,
) -> tuple[Ints, Ints]:
    """The elements of a window and the number of windows, on each of the last axes.

    Raises:
        ShapeError: another number of axes, or more windows than there are places.
        DTypeError: the input is not floating.
        ArgumentError: sizes that are none.
    """
    require_tensors(op, x)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{op}: wants an input of {rank + 1} or {rank + 2} axes, the last {rank} of which it pools; shape {x.shape}"
        )
    if not x.dtype.is_floating:
        raise DTypeError(f"{op}: an input of {x.dtype.name}: wants a floating dtype")
    lead = x.ndim - rank
    own = tuple(int(n) for n in x.shape[lead:])
    size = one_each(op, "kernel_size", kernel_size, rank, 1)
    if output_size is not None:
        given = output_size if isinstance(output_size, Sequence) else (output_size,)
        counts = one_each(op, "output_size", tuple(int(n) if isinstance(n, SymDim) else n for n in given), rank, 0)
    elif output_ratio is not None:
        ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,)
        ratios = ratios * rank if len(ratios) == 1 else ratios
        if len(ratios) != rank or not all(isfinite(r) and r >= 0 for r in ratios):
            raise ArgumentError(
                f"{op}: output_ratio is {shown(output_ratio)}; it is a number of at least 0, or {rank} of them"
            )
        counts = tuple(int(n * r) for n, r in zip(own, ratios, strict=True))
    else:
        raise ArgumentError(f"{op}: wants an output_size or an output_ratio")
    for axis, (n, k, m) in enumerate(zip(own, size, counts, strict=True), lead):
        if k + m - 1 > n:
            raise ShapeError(
                f"{op}: axis {axis} of shape {x.shape} has {n} elements, too few for {m} windows of {k}, each begun "
                "behind the one before"
            )
    return size, counts


def _samples(op: str, x: Array, rank: int, given: Array | None, generator: Generator | None) -> Array:
    """``(N, C, rank)``, where N may be more than input's.

    Raises:
        ShapeError, DTypeError: those that are given do not fit.
    """
    batch, channels = (x.shape[0] if x.ndim == rank + 2 else 1), x.shape[x.ndim - rank - 1]
    if given is None:
        state = (generator or default_generator(x.device)).next()
        return _drawn(state, (batch, channels, rank), x.dtype)
    require_tensors(op, given)
    found = given.shape
    fits = len(found) == 3 and are_equal(found[1], channels) and are_equal(found[2], rank)
    if not fits or (not undecided(batch) and not undecided(found[0]) and found[0] < batch):
        raise ShapeError(f"{op}: _random_samples {found} must be ({shown(batch)}, {shown(channels)}, {rank})")
    if given.dtype is not x.dtype:
        raise DTypeError(f"{op}: _random_samples of {given.dtype.name} for an input of {x.dtype.name}: wants the same")
    return given


@composite(name="fractional_samples")
def _drawn(state: Array, shape: Shape, dtype: DType) -> Array:
    return draw_uniform(state, shape, dtype=dtype)


def _starts(sample: Array, n: int, m: int, k: int) -> Array:
    """Where the windows begin: ``(N, C, m)``, from samples ``(N, C)``."""
    shape = (*sample.shape, m)
    if m < 2:
        return full(shape, n - k, dtype=dt.int64)
    dtype = sample.dtype
    u, number = broadcasted(reshaped(sample, (*sample.shape, 1)), shape), iota(shape, 2)
    between = full(shape, n - k, dtype=dtype) / full(shape, m - 1, dtype=dtype)
    start = cast((cast(number, dtype) + u) * between, dt.int64) - cast(u * between, dt.int64)
    start = where(number < m - 1, start, n - k)
    return minimum(maximum(start, 0), n - k)  # whatever samples somebody gives


@composite(name="fractional_max_pool")
def _pooled(input: Array, samples: Array, size: tuple[int, ...], counts: tuple[int, ...]) -> tuple[Array, Array]:
    """The greatest elements, and their positions in the flattened last axes: of equal ones the first."""
    rank = len(size)
    own = tuple(int(n) for n in input.shape[input.ndim - rank :])
    lead = (input.shape[0] if input.ndim == rank + 2 else 1, input.shape[input.ndim - rank - 1])
    whole = (*lead, prod(counts), prod(size))
    starts, points = [], (*lead, *counts, *size)
    for axis, (n, m, k) in enumerate(zip(own, counts, size, strict=True)):
        # The samples of an image are those of its width, then of its height.
        column = rank - 1 - axis if rank == 2 else axis
        sample = reshaped(slice_(samples, (0, 0, column), (*lead, 1)), lead)
        start = reshaped(_starts(sample, n, m, k), (*lead, *(m if a == axis else 1 for a in range(rank)), *(1,) * rank))
        starts.append(broadcasted(start, points))
    inside = [iota(points, 2 + rank + axis) for axis in range(rank)]
    places = reshaped(flattened([s + j for s, j in zip(starts, inside, strict=True)], own), whole)
    flat = reshaped(input, (*lead, prod(own)))
    wide = cast(flat, working(input.dtype))
    seen = take_along_axis(wide, reshaped(places, (*lead, prod(whole[2:]))), axis=-1)
    taps = apply(ARGMAX, reshaped(seen, whole), axes=(3,))
    at = reshaped(take_along_axis(places, reshaped(taps, (*whole[:3], 1)), axis=-1), whole[:3])
    shape = (*input.shape[: input.ndim - rank], *counts)
    return reshaped(take_along_axis(flat, at, axis=-1), shape), reshaped(at, shape)


def _fractional(
    op: str,
    input: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None,
    output_ratio: float | Sequence[float] | None,
    samples: Array | None,
    generator: Generator | None,
) -> tuple[Array, Array]:
    size, counts = _parameters(op, input, rank, kernel_size, output_size, output_ratio)
    found: tuple[Array, Array] = _pooled(input, _samples(op, input, rank, samples, generator), size, counts)
    return found


@public
def fractional_max_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    generator: Generator | None = None,
) -> Any:
    """The greatest element of each of ``output_size`` windows of the last two axes, whose distances are drawn for each
    channel. The gradient goes to the first of equal elements (of several NaNs, to the first; PyTorch's goes to the
    last).

    Args:
        input: shape (N, C, H, W) or (C, H, W); a floating dtype.
        kernel_size: of the windows: an integer, or one for each axis.
        output_size: the number of windows, likewise; ``output_size + kernel_size - 1`` is at most the input's.
        output_ratio: where there is no ``output_size``: the number of windows by that of elements.
        return_indices: also give the positions of the greatest elements.
        _random_samples: shape (N, C, 2), for the width and the height of each channel, in [0, 1) and input's dtype;
            None: they are drawn.
        generator: where they come from; one draw is made. None is the default generator.

    Returns:
        ``(N, C, *output_size)``, or without N, of input's dtype; with ``return_indices`` also a tensor of dtype int64,
        positions in the flattened last axes of ``input``.

    Raises:
        ShapeError: another number of axes, more windows than places, or samples of another shape.
        ArgumentError: sizes that are none, or neither size nor ratio.
        DTypeError: ``input`` is not floating, or the samples have another dtype.

    Reference:
        Graham, Fractional Max-Pooling, 2014.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.fractional_max_pool2d(wf.arange(16.0).reshape(1, 4, 4), 2, output_size=1)
        Tensor([[[15.]]], dtype=float32)
    """
    options = kernel_size, output_size, output_ratio, _random_samples, generator
    found = _fractional("fractional_max_pool2d", input, 2, *options)
    return found if return_indices else found[0]


@public
def fractional_max_pool2d_with_indices(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    generator: Generator | None = None,
) -> tuple[Array, Array]:
    """:func:`fractional_max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    options = kernel_size, output_size, output_ratio, _random_samples, generator
    return _fractional("fractional_max_pool2d_with_indices", input, 2, *options)


@public
def fractional_max_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    generator: Generator | None = None,
) -> Any:
    """The greatest element of each of ``output_size`` windows of the last three axes. Arguments, result and errors as
    for :func:`fractional_max_pool2d`; samples (N, C, 3) are for the axes in their order.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.fractional_max_pool3d(wf.arange(8.0).reshape(1, 2, 2, 2), (1, 2, 2), output_ratio=0.5)
        Tensor([[[[7.]]]], dtype=float32)
    """
    options = kernel_size, output_size, output_ratio, _random_samples, generator
    found = _fractional("fractional_max_pool3d", input, 3, *options)
    return found if return_indices else found[0]


@public
def fractional_max_pool3d_with_indices(
    input: Array,
    kernel_size: int | Sequence[int],
    output_size: Dim | Sequence[Dim] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Array | None = None,
    *,
    generator: Generator | None = None,
) -> tuple[Array, Array]:
    """:func:`fractional_max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    options = kernel_size, output_size, output_ratio, _random_samples, generator
    return _fractional("fractional_max_pool3d_with_indices", input, 3, *options)

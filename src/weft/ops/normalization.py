"""Normalization: over the last axes, over the elements of a channel or of a group of channels, over channels near by.

The mean is taken first and subtracted before the squares are summed: one pass over both would lose most of the digits.
What the variance hands back to the mean is a sum of deviations from it, which is zero, and is left out
(``squared_deviation``): all sums of the gradient are then over the same pass.
Running statistics are state: they are computed with the result, in one graph, and written where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..compiler import expr as ex
from ..compiler.expr import Expr
from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, size_of
from ..core.symbolic import Dim, are_equal, undecided
from .creation import as_shape
from .elementwise import cast, maximum, pow, rsqrt, stop_gradient
from .entries import primitive_of
from .linalg import vector_norm
from .op import Array, apply, composite, public
from .operands import FLOAT, extent, require_number, require_tensors
from .pooling import SUM_POOL
from .precision import widen
from .reduction import mean
from .shape import broadcast_to, reshape


def _squared(x: Expr, average: Expr) -> Expr:
    deviation = ex.sub(x, average)
    return ex.mul(deviation, deviation)


def _squared_vjp(x: Array, average: Array, output: Array, g: Array) -> tuple[Array | None, ...]:
    part = g * (x - average)
    return part + part, None


# Summed over all that ``average`` is the mean of. What it would receive is the sum of -2 (x - average): zero.
SQUARED_DEVIATION = primitive_of("squared_deviation", FLOAT.kinds, _squared, _squared_vjp, cost=2, result=None)


def _centred(x: Array, axes: int | tuple[int, ...]) -> tuple[Array, Array, Array]:
    """The mean over some axes, which stay with size 1, what x deviates from it, and the biased variance."""
    average = mean(x, axis=axes, keepdims=True)
    squares: Array = apply(SQUARED_DEVIATION, x, broadcast_to(average, tuple(x.shape)))
    return average, x - average, mean(squares, axis=axes, keepdims=True)


_EPSILON = {dt.float16: 2.0**-10, dt.bfloat16: 2.0**-7, dt.float32: 2.0**-23, dt.float64: 2.0**-52}


def _normalized(op: str, input: Array, normalized_shape: Dim | Sequence[Dim]) -> tuple[Array, Shape, tuple[int, ...]]:
    """Input in the dtype to compute in, the shape to normalize over, and its axes.

    Raises:
        ShapeError: input does not end with that shape.
    """
    shape = as_shape(normalized_shape, op)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(f"{op}: input {input.shape} does not end with normalized_shape {shape}")
    (x,) = widen(op, input)
    return x, shape, tuple(range(x.ndim - len(shape), x.ndim))


def _affine(op: str, y: Array, shape: Shape, weight: Array | None, bias: Array | None) -> Array:
    for name, factor in (("weight", weight), ("bias", bias)):
        if factor is None:
            continue
        if factor.shape != shape:
            raise ShapeError(f"{op}: {name} {factor.shape} must have normalized_shape {shape}")
        (wide,) = widen(op, factor)
        wide = cast(wide, y.dtype)
        y = y * wide if name == "weight" else y + wide
    return y


@composite
def layer_norm(
    input: Array,
    normalized_shape: Dim | Sequence[Dim],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes, with the biased variance.

    Args:
        input: ``(*, *normalized_shape)``; a floating dtype.
        normalized_shape: the sizes of the axes to normalize over, or the size of the last one.
        weight, bias: ``normalized_shape``, or None.
        eps: what is added to the variance.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: input, weight or bias do not have ``normalized_shape``.
        DTypeError: an operand is not floating.

    Reference:
        Ba et al., Layer Normalization, 2016.
    """
    x, shape, axes = _normalized("layer_norm", input, normalized_shape)
    _, centred, variance = _centred(x, axes)
    return cast(_affine("layer_norm", centred * rsqrt(variance + eps), shape, weight, bias), input.dtype)


@composite
def rms_norm(
    input: Array, normalized_shape: Dim | Sequence[Dim], weight: Array | None = None, eps: float | None = None
) -> Array:
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last axes.

    Args:
        input: ``(*, *normalized_shape)``; a floating dtype.
        normalized_shape: the sizes of the axes to normalize over, or the size of the last one.
        weight: ``normalized_shape``, or None.
        eps: what is added to the mean square; None is the machine epsilon of input's dtype.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: input or weight do not have ``normalized_shape``.
        DTypeError: an operand is not floating.

    Reference:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    x, shape, axes = _normalized("rms_norm", input, normalized_shape)
    scale = rsqrt(mean(x * x, axis=axes, keepdims=True) + (_epsilon(input.dtype) if eps is None else eps))
    return cast(_affine("rms_norm", x * scale, shape, weight, None), input.dtype)


def _epsilon(dtype: DType) -> float:
    """Distance from 1 to the next number of a floating dtype."""
    return _EPSILON[dtype]


# --- over the elements of a channel ------------------------------------------------------------------------------


def _with_channels(op: str, input: Array) -> Array:
    """Input in the dtype to compute in.

    Raises:
        ShapeError: it has no channels.
    """
    if input.ndim < 2:
        raise ShapeError(f"{op}: input {input.shape}: wants (N, C) or (N, C, ...), with channels on axis 1")
    (x,) = widen(op, input)
    return x


def _each_channel(op: str, name: str, value: Array, x: Array) -> Array:
    """One number for each channel of x, in its dtype and broadcasting to it.

    Raises:
        ShapeError: they are not as many as the channels.
    """
    channels = x.shape[1]
    if value.ndim != 1 or not are_equal(value.shape[0], channels):
        raise ShapeError(f"{op}: {name} {value.shape} for input {x.shape}: wants ({channels},), one for each channel")
    (wide,) = widen(op, value)
    return reshape(cast(wide, x.dtype), (channels, *(1,) * (x.ndim - 2)))


def _scaled(op: str, y: Array, factor: Array, weight: Array | None, bias: Array | None) -> Array:
    """``y * factor * weight + bias``, the last two by channel."""
    if weight is not None:
        factor = factor * _each_channel(op, "weight", weight, y)
    y = y * factor
    return y if bias is None else y + _each_channel(op, "bias", bias, y)


def _check_eps(op: str, eps: float, positive: bool) -> None:
    if eps < 0.0 or (positive and eps == 0.0):
        raise ArgumentError(f"{op}: eps is {eps}; it must be {'above 0 in training' if positive else '0 or more'}")


def _is_none(op: str, input: Array, count: Dim, of: str = "channel") -> bool:
    """Whether there are no elements to take the variance of.

    Raises:
        ShapeError: there is one.
    """
    if undecided(count) or count > 1:
        return False
    if count > 0:
        raise ShapeError(
            f"{op}: input {input.shape} has one value for each {of}, which has no variance: wants more (in training, a "
            f"larger batch; eval() where running statistics are kept)"
        )
    return True


def _has_no_batch(x: Array) -> bool:
    return not undecided(x.shape[0]) and not x.shape[0] > 0


def _moved(op: str, running: Array, now: Array, momentum: Array | float) -> Array:
    """A running statistic ``(C,)`` after a batch whose own is ``now``: a constant, of the dtype that it has."""
    if running.ndim != 1 or not are_equal(running.shape[0], now.shape[0]):
        raise ShapeError(
            f"{op}: running statistics {running.shape} for {now.shape[0]} channels: wants one number for each"
        )
    (wide,) = widen(op, running)
    share: Any = momentum if isinstance(momentum, (int, float)) else cast(momentum, now.dtype)
    return stop_gradient(cast(cast(wide, now.dtype) * (1.0 - share) + now * share, running.dtype))


def _write(op: str, running: Sequence[Any], values: Sequence[Any]) -> None:
    """Write running statistics where they are: no history follows."""
    require_tensors(op, *running)
    for held, value in zip(running, values, strict=True):
        if not hasattr(held, "copy_"):
            raise DTypeError(f"{op}: running statistics of type {type(held).__name__} are no tensors to be written to")
        held.copy_(value.detach())


@composite(name="batch_norm")
def _batch_norm_by(
    op: str,
    input: Array,
    running_mean: Array,
    running_var: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> Array:
    """By statistics that are there; ``op`` is what the user called."""
    x = _with_channels(op, input)
    centred = x - _each_channel(op, "running_mean", running_mean, x)
    factor = rsqrt(_each_channel(op, "running_var", running_var, x) + eps)
    return cast(_scaled(op, centred, factor, weight, bias), input.dtype)


@composite(name="batch_norm")
def _batch_norm_of(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    momentum: Array | float,
    eps: float,
) -> tuple[Array, ...]:
    """The result, and the running statistics that are given, after this batch."""
    op = "batch_norm"
    x = _with_channels(op, input)
    channels, axes = x.shape[1], (0, *range(2, x.ndim))
    count = size_of(x.shape[a] for a in axes)
    running = [r for r in (running_mean, running_var) if r is not None]
    if _is_none(op, input, count):
        return cast(_scaled(op, x, extent(1, x.dtype), weight, bias), input.dtype), *map(stop_gradient, running)
    average, centred, variance = _centred(x, axes)
    y = cast(_scaled(op, centred, rsqrt(variance + eps), weight, bias), input.dtype)
    made = [y]
    if running_mean is not None:
        made.append(_moved(op, running_mean, reshape(average, (channels,)), momentum))
    if running_var is not None:
        elements = extent(count, x.dtype)
        unbiased = reshape(variance, (channels,)) * (elements / (elements - 1.0))
        made.append(_moved(op, running_var, unbiased, momentum))
    return tuple(made)


@public
def batch_norm(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: Array | float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and the variance of each channel.

    In training these are the batch's (the variance is the biased one), and running statistics are written in place:
    ``running = (1 - momentum) * running + momentum * now``, of the variance the unbiased one. They get no gradient.

    Args:
        input: ``(N, C)`` or ``(N, C, ...)``; a floating dtype.
        running_mean, running_var: ``(C,)``, or None in training.
        weight, bias: ``(C,)``, or None.
        training: normalize by the batch's own statistics, else by the running ones.
        momentum: the share of the batch in the running statistics: a number, or a tensor of rank 0.
        eps: what is added to the variance.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: the sizes do not fit, or there is one value for each channel in training.
        ArgumentError: there are no running statistics, and no training; or ``eps`` is negative (in training: not
            above 0).
        DTypeError: an operand is not floating, or ``momentum`` is no number.

    Example:
        >>> import weft as wf
        >>> mean, var = wf.zeros(1), wf.ones(1)
        >>> wf.nn.functional.batch_norm(wf.asarray([[1.0], [3.0]]), mean, var, training=True, momentum=0.5).tolist()
        [[-0.9999949932098389], [0.9999949932098389]]
        >>> mean.tolist(), var.tolist()
        ([1.0], [1.5])

    Reference:
        Ioffe and Szegedy, Batch Normalization, 2015.
    """
    _check_eps("batch_norm", eps, training)
    require_number("batch_norm", "momentum", momentum)
    if not training:
        if running_mean is None or running_var is None:
            raise ArgumentError("batch_norm: running_mean and running_var are wanted where training is False")
        return _batch_norm_by("batch_norm", input, running_mean, running_var, weight, bias, eps)
    y, *moved = _batch_norm_of(input, running_mean, running_var, weight, bias, momentum, eps)
    _write("batch_norm", [r for r in (running_mean, running_var) if r is not None], moved)
    return y


@composite(name="instance_norm")
def _instance_norm_of(
    input: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    momentum: float,
    eps: float,
) -> tuple[Array, ...]:
    """The result, and the running statistics that are given, after this batch."""
    op = "instance_norm"
    x = _with_channels(op, input)
    shape = tuple(x.shape)
    count = size_of(shape[2:])
    running = [r for r in (running_mean, running_var) if r is not None]
    if _is_none(op, input, count) or _has_no_batch(x):
        return cast(_scaled(op, x, extent(1, x.dtype), weight, bias), input.dtype), *map(stop_gradient, running)
    x = reshape(x, (*shape[:2], count))
    average, centred, variance = _centred(x, 2)
    made = [cast(reshape(_scaled(op, centred, rsqrt(variance + eps), weight, bias), shape), input.dtype)]
    elements = extent(count, x.dtype)
    for held, now in ((running_mean, average), (running_var, variance * (elements / (elements - 1.0)))):
        if held is not None:
            made.append(_moved(op, held, mean(reshape(now, shape[:2]), axis=0), momentum))
    return tuple(made)


@public
def instance_norm(
    input: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Array:
    """:func:`batch_norm` of each element of the batch by itself: over the axes after the channels.

    Args:
        input: ``(N, C, ...)``; a floating dtype.
        running_mean, running_var: ``(C,)``, or None. Where the input's own statistics are used, these are written in
            place, with the mean over the batch; else they are used.
        weight, bias: ``(C,)``, or None.
        use_input_stats: normalize by the statistics of each element and channel.
        momentum: the share of the input in the running statistics.
        eps: what is added to the variance.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: the sizes do not fit, or there is one value for each channel.
        ArgumentError: neither running statistics, nor the input's.
        DTypeError: an operand is not floating, or ``momentum`` is no number.

    Reference:
        Ulyanov et al., Instance Normalization: The Missing Ingredient for Fast Stylization, 2016.
    """
    require_number("instance_norm", "momentum", momentum)
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ArgumentError("instance_norm: running_mean and running_var are wanted where use_input_stats is False")
        return _batch_norm_by("instance_norm", input, running_mean, running_var, weight, bias, eps)
    y, *moved = _instance_norm_of(input, running_mean, running_var, weight, bias, momentum, eps)
    _write("instance_norm", [r for r in (running_mean, running_var) if r is not None], moved)
    return y


# --- over channels ------------------------------------------------------------------------------------------------


@composite
def group_norm(
    input: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> Array:
    """``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and biased variance of each group of channels.

    Args:
        input: ``(N, C, ...)``; a floating dtype.
        num_groups: of so many equal groups of channels that lie side by side.
        weight, bias: ``(C,)``, or None.
        eps: what is added to the variance.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: the channels are not so many equal groups, weight or bias do not fit, or one value is all there is
            for each group.
        DTypeError: an operand is not floating.

    Reference:
        Wu and He, Group Normalization, 2018.
    """
    op = "group_norm"
    x = _with_channels(op, input)
    shape = tuple(x.shape)
    if num_groups < 1 or shape[1] % num_groups != 0:
        raise ShapeError(f"{op}: input {shape}: {shape[1]} channels are not {num_groups} equal groups")
    each = (num_groups, shape[1] // num_groups)
    grouped = reshape(x, (shape[0], *each, size_of(shape[2:])))  # where one factor for each channel still broadcasts
    if _is_none(op, input, shape[0] * size_of(grouped.shape[2:]), f"of {num_groups} groups"):
        return cast(_scaled(op, x, extent(1, x.dtype), weight, bias), input.dtype)
    _, centred, variance = _centred(grouped, (2, 3))
    factor = rsqrt(variance + eps)
    if weight is not None:
        factor = factor * reshape(_each_channel(op, "weight", weight, x), (*each, 1))
    y = centred * factor
    if bias is not None:
        y = y + reshape(_each_channel(op, "bias", bias, x), (*each, 1))
    return cast(reshape(y, shape), input.dtype)


@composite
def local_response_norm(input: Array, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """``x / (k + alpha * mean(x ** 2)) ** beta``, with the mean over ``size`` channels around each.

    Args:
        input: ``(N, C, ...)``, of rank 3 or more; a floating dtype.
        size: of the windows: ``size // 2`` channels before, ``(size - 1) // 2`` after; those that are not there count
            as 0.
        alpha, beta, k: constants of the formula.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: the input has fewer axes.
        ArgumentError: ``size`` is below 1.
        DTypeError: ``input`` is not floating.

    Reference:
        Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012.
    """
    op = "local_response_norm"
    if input.ndim < 3:
        raise ShapeError(f"{op}: input {input.shape}: wants (N, C, ...), of rank 3 or more")
    if size < 1:
        raise ArgumentError(f"{op}: size is {size}; it must be 1 or more")
    (x,) = widen(op, input)
    shape = tuple(x.shape)
    if 0 in shape:
        return cast(x, input.dtype)
    squares = reshape(x * x, (shape[0], 1, shape[1], size_of(shape[2:])))
    before, after = size // 2, (size - 1) // 2
    if not undecided(shape[1]) and before >= shape[1]:  # beyond the channels there is nothing to sum
        channels = int(shape[1])  # a plan of the window's size has one number of channels
        before, after = channels - 1, min(after, channels - 1)
    around = {"before": (before, 0), "after": (after, 0)}
    sums = apply(SUM_POOL, squares, size=(before + after + 1, 1), step=(1, 1), dilation=(1, 1), **around)
    return cast(x / pow(reshape(sums, shape) * (alpha / size) + k, beta), input.dtype)


@composite
def normalize(input: Array, p: float = 2.0, dim: int | tuple[int, ...] | None = 1, eps: float = 1e-12) -> Array:
    """``x / max(norm(x), eps)``, with the norm of order ``p`` over axes.

    Args:
        input: any shape; a floating dtype.
        p: the order of the norm; ``inf`` is the greatest magnitude.
        dim: the axis, or several; None means all of them.
        eps: the least number to divide by.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        AxisError: an axis is out of range or named twice.
        DTypeError: ``input`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.normalize(wf.asarray([[3.0, 4.0]]))
        Tensor([[0.6, 0.8]], dtype=float32)
    """
    (x,) = widen("normalize", input)
    return cast(x / maximum(vector_norm(x, axis=dim, keepdims=True, ord=p), eps), input.dtype)

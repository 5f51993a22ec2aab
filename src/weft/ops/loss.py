"""Losses: composites with PyTorch's names, order of arguments and reductions.

Losses over classes never see a one-hot array: the label's element is picked (and the label checked) by one indirect
load a row, ``take_along_axis``, whose gradient is a comparison with the position; that fuses with the gradient of
softmax into ``softmax(x) - onehot(target)``, one kernel a row. float16 and bfloat16 are computed in float32.
"""

from __future__ import annotations

import math

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from .activation import logsigmoid
from .elementwise import abs as abs_
from .elementwise import cast, exp, less, log, log1p, maximum, stop_gradient, where
from .indexing import NOWHERE, as_indices, take_along_axis
from .op import Array, composite, current_trace, public
from .operands import as_operand, broadcast_operands, extent, is_number
from .precision import widen, working
from .reduction import any as any_
from .reduction import max as max_
from .reduction import mean
from .reduction import sum as sum_
from .shape import broadcast_to, expand_dims, reshape, squeeze

# --- what the losses share --------------------------------------------------------------------------------------


def reduced(op: str, loss: Array, reduction: str, dtype: DType) -> Array:
    """The losses of the elements as ``reduction`` says, rounded to ``dtype``."""
    if reduction == "mean":
        return cast(mean(loss), dtype)
    if reduction == "sum":
        return cast(sum_(loss), dtype)
    if reduction == "none":
        return cast(loss, dtype)
    raise ArgumentError(f"{op}: reduction is {reduction!r}; it must be 'mean', 'sum' or 'none'")


def _pair(op: str, input: Array, target: Array) -> tuple[Array, Array, DType]:
    """Both operands in one dtype and shape, and the dtype of the result."""
    for x in (input, target):
        if not x.dtype.is_floating:
            raise DTypeError(f"{op}: {x.dtype.name} operands: wants a floating-point dtype; cast with astype")
    dtype = dt.promote(input.dtype, target.dtype)
    if input.shape != target.shape:
        raise ShapeError(f"{op}: input {input.shape} and target {target.shape} differ; broadcast one of them")
    x, t = widen(op, cast(input, dtype), cast(target, dtype))
    return x, t, dtype


def _class_axis(op: str, x: Array) -> int:
    """The class axis of ``(C,)``, ``(N, C)`` or ``(N, C, d1, ...)``."""
    if x.ndim == 0:
        raise ShapeError(f"{op}: input () has no class axis; it must be (C,), (N, C) or (N, C, d1, ...)")
    return 0 if x.ndim == 1 else 1


def pick(x: Array, label: Array, axis: int) -> Array:
    """The elements of ``x`` that the labels name on ``axis``, without it; a label outside it raises when it runs."""
    inside = where(label < 0, NOWHERE, label)
    return squeeze(take_along_axis(x, expand_dims(inside, axis=axis), axis=axis), axis=axis)


def _labels(op: str, input: Array, target: Array) -> Array:
    """``target`` as int64 labels, checked against the shape of ``input``.

    Raises:
        ShapeError: not one label for each ``input`` without its class axis.
        DTypeError: labels that are no integers.
    """
    if not target.dtype.is_integer:
        raise DTypeError(f"{op}: target is {target.dtype.name}; labels must be integers")
    labels = as_indices(op, target)  # negative ones too: ignore_index may be one
    expected = () if input.ndim <= 1 else (input.shape[0], *input.shape[2:])
    if target.shape != expected:
        raise ShapeError(f"{op}: target {target.shape} does not fit input {input.shape}: labels must be {expected}")
    return labels


def _class_weight(op: str, weight: Array | None, x: Array, axis: int) -> Array | None:
    """The classes' weights, broadcast to ``x``."""
    if weight is None:
        return None
    classes = x.shape[axis]
    if weight.shape != (classes,):
        raise ShapeError(f"{op}: weight {weight.shape} for {classes} classes: it must be ({classes},)")
    (wide,) = widen(op, weight)
    return broadcast_to(reshape(cast(wide, x.dtype), (classes, *(1,) * (x.ndim - axis - 1))), x.shape)


def _labelled(x: Array, label: Array, axis: int, weight: Array | None, ignore_index: int) -> tuple[Array, Array, Array]:
    """``(x[label], weight[label], counts)`` without the class axis; where ``counts`` is False the weight is 0."""
    counts = label != ignore_index
    safe = where(counts, label, 0)
    each = cast(counts, x.dtype) if weight is None else where(counts, pick(weight, safe, axis), 0.0)
    return pick(x, safe, axis), each, counts


def _reduce_weighted(op: str, loss: Array, each: Array, reduction: str, dtype: DType) -> Array:
    """``mean`` divides by the sum of the labels' weights: ignored ones do not count."""
    if reduction == "mean":
        return cast(sum_(loss) / sum_(each), dtype)
    return reduced(op, loss, reduction, dtype)


# --- classes ----------------------------------------------------------------------------------------------------


@composite
def nll_loss(
    input: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Array:
    """Negative log likelihood ``-weight[t] * input[t]`` of log probabilities.

    Args:
        input: log probabilities, ``(C,)``, ``(N, C)`` or ``(N, C, d1, ...)``; a floating dtype.
        target: labels in ``[0, C)``, ``()``, ``(N,)`` or ``(N, d1, ...)``; an integer dtype.
        weight: ``(C,)``, a factor for each class.
        ignore_index: a label that neither counts nor gets a gradient.
        reduction: ``"mean"`` (over the weights of the labels), ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or target's shape for ``"none"``; input's dtype.

    Raises:
        IndexError: a label outside ``[0, C)`` that is not ``ignore_index``.
        ShapeError, DTypeError: operands that do not fit.
    """
    label = _labels("nll_loss", input, target)
    (x,) = widen("nll_loss", input)
    axis = _class_axis("nll_loss", x)
    factors = _class_weight("nll_loss", weight, x, axis)
    picked, each, counts = _labelled(x, label, axis, factors, ignore_index)
    loss = where(counts, -picked if factors is None else -picked * each, 0.0)
    return _reduce_weighted("nll_loss", loss, each, reduction, input.dtype)


@composite
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Array:
    """Cross entropy of logits against labels or probabilities: ``-sum(p * log_softmax(x))``.

    Args:
        input: logits, ``(C,)``, ``(N, C)`` or ``(N, C, d1, ...)``; a floating dtype.
        target: labels in ``[0, C)`` of shape ``()``, ``(N,)`` or ``(N, d1, ...)`` and an integer dtype; or
            probabilities of input's shape and a floating dtype.
        weight: ``(C,)``, a factor for each class.
        ignore_index: a label that neither counts nor gets a gradient; with probabilities there is none to give.
        reduction: ``"mean"`` (over the weights of the labels; over N, d1, ... with probabilities), ``"sum"``,
            ``"none"``.
        label_smoothing: the target's share, in [0, 1], that is spread evenly over the classes.

    Returns:
        ``()``, or input's shape without the class axis for ``"none"``; input's dtype.

    Raises:
        IndexError: a label outside ``[0, C)`` that is not ``ignore_index``.
        ShapeError, DTypeError: operands that do not fit.
        ArgumentError: ``ignore_index`` with probabilities.

    Example:
        >>> round(wf.nn.functional.cross_entropy(wf.zeros((1, 4)), wf.asarray([2])).item(), 4)  # log(4)
        1.3863

    Reference:
        Szegedy et al., Rethinking the Inception Architecture, 2015 (label smoothing, section 7).
    """
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(f"cross_entropy: label_smoothing is {label_smoothing}; it must be in [0, 1]")
    (x,) = widen("cross_entropy", input)
    axis = _class_axis("cross_entropy", x)
    factors = _class_weight("cross_entropy", weight, x, axis)
    if target.dtype.is_floating:
        if target.shape != input.shape:
            raise ShapeError(
                f"cross_entropy: target {target.shape} does not fit input {input.shape}: probabilities "
                "must have its shape"
            )
        if ignore_index >= 0:
            raise ArgumentError(
                f"cross_entropy: ignore_index is {ignore_index}, but target is {target.dtype.name}: probabilities have "
                "no label to ignore; leave it out, or give labels of an integer dtype"
            )
        loss = _soft_cross_entropy(x, cast(target, x.dtype), axis, factors, label_smoothing)
        return reduced("cross_entropy", loss, reduction, input.dtype)
    label = _labels("cross_entropy", input, target)
    loss, each = _hard_cross_entropy(x, label, axis, factors, ignore_index, label_smoothing)
    return _reduce_weighted("cross_entropy", loss, each, reduction, input.dtype)


def _shifted(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """``(x - largest, largest, log(sum(exp(x - largest))))``; the last two without the class axis."""
    largest = stop_gradient(max_(x, axis=axis))
    shifted = x - expand_dims(largest, axis=axis)
    return shifted, largest, log(sum_(exp(shifted), axis=axis))


def _hard_cross_entropy(
    x: Array, label: Array, axis: int, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, Array]:
    """The losses, and the weights by which their mean is taken."""
    shifted, largest, total = _shifted(x, axis)
    picked, each, counts = _labelled(x, label, axis, weight, ignore_index)
    loss = total - (picked - largest)
    if weight is not None:
        loss = loss * each
    if smoothing:
        others = expand_dims(total, axis=axis) - shifted  # -log_softmax
        if weight is not None:
            others = others * weight
        loss = (1.0 - smoothing) * loss + smoothing * mean(others, axis=axis)
    return where(counts, loss, 0.0), each


def _soft_cross_entropy(x: Array, probabilities: Array, axis: int, weight: Array | None, smoothing: float) -> Array:
    shifted, _, total = _shifted(x, axis)
    if smoothing:
        share = smoothing / extent(x.shape[axis], x.dtype)
        probabilities = probabilities * (1.0 - smoothing) + share
    if weight is not None:
        probabilities = probabilities * weight
    return sum_(probabilities * (expand_dims(total, axis=axis) - shifted), axis=axis)


# --- two classes ------------------------------------------------------------------------------------------------


_STEEPEST = 1e-12  # of x * (1 - x), by which the gradient of binary_cross_entropy is divided


@composite
def binary_cross_entropy(input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean") -> Array:
    """``-(t * log(x) + (1 - t) * log(1 - x))`` of probabilities, each logarithm at least -100 as in PyTorch.

    An input outside [0, 1] gives NaN. The gradient by the input is ``(x - t) / max(x * (1 - x), 1e-12)``, as PyTorch's:
    1e12, not infinite, where a probability of 0 or 1 is wrong, and 0 where it is right. That by the target is of the
    logarithms as they are cut, where PyTorch's is infinite.

    Args:
        input: probabilities in [0, 1], any shape; a floating dtype.
        target: in [0, 1], input's shape; a floating dtype.
        weight: a factor for each element, of a shape that broadcasts to input's.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or input's shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    x, t, dtype = _pair("binary_cross_entropy", input, target)
    at_end = x * (1.0 - x) < _STEEPEST  # elsewhere the logarithms have that gradient by themselves
    still = where(at_end, stop_gradient(x), x)
    log_x, log_rest = maximum(log(still), -100.0), maximum(log1p(-still), -100.0)
    line = (x - stop_gradient(x)) * stop_gradient((x - t) / _STEEPEST)  # 0, with the gradient that the ends have
    loss = where(at_end, line, 0.0) - (t * log_x + (1.0 - t) * log_rest)
    return reduced("binary_cross_entropy", _weighted("binary_cross_entropy", loss, weight), reduction, dtype)


@composite
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Array | None = None,
) -> Array:
    """``binary_cross_entropy(sigmoid(x), t)`` without its overflow and loss of digits.

    Args:
        input: logits, any shape; a floating dtype.
        target: in [0, 1], input's shape; a floating dtype.
        weight: a factor for each element, of a shape that broadcasts to input's.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_weight: a factor for the positive part, of a shape that broadcasts to input's.

    Returns:
        ``()``, or input's shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    op = "binary_cross_entropy_with_logits"
    x, t, dtype = _pair(op, input, target)
    if pos_weight is None:
        loss = (1.0 - t) * x - logsigmoid(x)
    else:
        (factor,) = widen(op, pos_weight)
        factor = broadcast_to(cast(factor, x.dtype), x.shape)
        loss = (1.0 - t) * x - ((factor - 1.0) * t + 1.0) * logsigmoid(x)
    return reduced(op, _weighted(op, loss, weight), reduction, dtype)


def _weighted(op: str, loss: Array, weight: Array | None) -> Array:
    if weight is None:
        return loss
    (factor,) = widen(op, weight)
    return loss * broadcast_to(cast(factor, loss.dtype), loss.shape)


# --- regression -------------------------------------------------------------------------------------------------


def _for_each(op: str, weight: Array | None, loss: Array) -> Array | None:
    """A weight for each element, in the dtype of the losses."""
    if weight is None:
        return None
    if weight.shape != loss.shape:
        raise ShapeError(f"{op}: weight {weight.shape} for input {loss.shape}: it must have input's shape")
    (wide,) = widen(op, weight)
    return cast(wide, loss.dtype)


def _reduce_by(op: str, loss: Array, weight: Array | None, reduction: str, dtype: DType) -> Array:
    """The losses times their weights; ``mean`` divides by the sum of these."""
    each = _for_each(op, weight, loss)
    if each is None:
        return reduced(op, loss, reduction, dtype)
    return _reduce_weighted(op, loss * each, each, reduction, dtype)


@composite
def mse_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """``(x - t) ** 2``.

    Args:
        input, target: equal shapes; a floating dtype.
        reduction: ``"mean"`` (over the weights, where there are some), ``"sum"`` or ``"none"``.
        weight: a factor for each element, input's shape.

    Returns:
        ``()``, or input's shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> wf.nn.functional.mse_loss(wf.asarray([1.0, 3.0]), wf.asarray([1.0, 1.0])).item()
        2.0
    """
    x, t, dtype = _pair("mse_loss", input, target)
    difference = x - t
    return _reduce_by("mse_loss", difference * difference, weight, reduction, dtype)


@composite
def l1_loss(input: Array, target: Array, *, reduction: str = "mean", weight: Array | None = None) -> Array:
    """``|x - t|``; the arguments are those of :func:`mse_loss`."""
    x, t, dtype = _pair("l1_loss", input, target)
    return _reduce_by("l1_loss", abs_(x - t), weight, reduction, dtype)


@composite
def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """``0.5 * d**2 / beta`` where ``d = |x - t| < beta``, else ``d - 0.5 * beta``; ``beta=0`` is :func:`l1_loss`.

    The other arguments are those of :func:`mse_loss`.

    Reference:
        Girshick, Fast R-CNN, 2015.
    """
    if beta < 0:
        raise ArgumentError(f"smooth_l1_loss: beta is {beta}; it must not be negative")
    x, t, dtype = _pair("smooth_l1_loss", input, target)
    distance = abs_(x - t)
    if beta:
        distance = where(distance < beta, distance * distance * (0.5 / beta), distance - 0.5 * beta)
    return reduced("smooth_l1_loss", distance, reduction, dtype)


@composite
def huber_loss(
    input: Array, target: Array, reduction: str = "mean", delta: float = 1.0, weight: Array | None = None
) -> Array:
    """``0.5 * d**2`` where ``d = |x - t| < delta``, else ``delta * (d - 0.5 * delta)``.

    The other arguments are those of :func:`mse_loss`; but the mean is over the elements, as in PyTorch, also where
    they have weights.

    Reference:
        Huber, Robust Estimation of a Location Parameter, 1964.
    """
    if delta <= 0:
        raise ArgumentError(f"huber_loss: delta is {delta}; it must be positive")
    x, t, dtype = _pair("huber_loss", input, target)
    distance = abs_(x - t)
    loss = where(distance < delta, distance * distance * 0.5, delta * (distance - 0.5 * delta))
    each = _for_each("huber_loss", weight, loss)
    return reduced("huber_loss", loss if each is None else loss * each, reduction, dtype)


@composite
def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Array:
    """Pointwise Kullback-Leibler divergence ``t * (log(t) - x)`` of a log probability x from a probability t.

    Args:
        input: log probabilities; a floating dtype.
        target: probabilities (0 counts 0), or their logarithms with ``log_target``; input's shape.
        reduction: ``"batchmean"`` (the divergence: the sum over the size of axis 0), ``"mean"``, ``"sum"``, ``"none"``.

    Returns:
        ``()``, or input's shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    x, t, dtype = _pair("kl_div", input, target)
    if log_target:
        loss = exp(t) * (t - x)
    else:
        present = t != 0.0
        loss = where(present, t * log(where(present, t, 1.0)), 0.0) - t * x
    if reduction == "batchmean":
        return cast(sum_(loss) / extent(loss.shape[0], loss.dtype) if loss.ndim else loss, dtype)
    return reduced("kl_div", loss, reduction, dtype)


# --- likelihoods ------------------------------------------------------------------------------------------------


def _counted(op: str, input: Array, target: Array) -> tuple[Array, Array, DType]:
    """A floating input and a target of any numbers in one wide dtype, broadcast, and the dtype of the result."""
    if target.dtype is dt.bool_:
        raise DTypeError(f"{op}: target is bool; it must be numbers, of an integer or floating dtype; cast with astype")
    (x,) = widen(op, input)
    dtype = dt.promote(input.dtype, target.dtype)
    x, t = broadcast_operands(op, cast(x, working(dtype)), cast(target, working(dtype)))
    return x, t, dtype


@composite
def poisson_nll_loss(
    input: Array,
    target: Array,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Array:
    """Negative log likelihood of counts t that are Poisson distributed: ``exp(x) - t * x``, without ``log(t!)``.

    Args:
        input: the logarithm of the expected count, or with ``log_input=False`` the count; a floating dtype.
        target: counts, of a shape that broadcasts with input's; an integer or floating dtype.
        log_input: False: the loss is ``x - t * log(x + eps)``.
        full: add Stirling's approximation of ``log(t!)``, ``t * log(t) - t + log(2 * pi * t) / 2``, where t is above 1.
        eps: keeps ``log(0)`` away where ``log_input`` is False.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> wf.nn.functional.poisson_nll_loss(wf.asarray([0.0, 0.0]), wf.asarray([3, 5])).item()
        1.0
    """
    op = "poisson_nll_loss"
    x, t, dtype = _counted(op, input, target)
    loss = exp(x) - t * x if log_input else x - t * log(x + eps)
    if full:
        is_many = t > 1.0
        many = where(is_many, t, 1.0)
        loss = loss + where(is_many, many * log(many) - many + 0.5 * log(2.0 * math.pi * many), 0.0)
    return reduced(op, loss, reduction, dtype)


@public
def gaussian_nll_loss(
    input: Array,
    target: Array,
    var: Array | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Array:
    """Negative log likelihood of normally distributed numbers: ``(log(v) + (x - t)**2 / v) / 2``, v at least ``eps``.

    As in PyTorch the gradient of ``var`` is that at ``eps`` where it is below, so that it can grow again.

    Args:
        input: expected values, any shape; a floating dtype.
        target: the numbers, of a shape that broadcasts with input's.
        var: variances: input's shape, or without its last axis, or with one axis of size 1; or one number. A negative
            one is an error when called eagerly; in captured code such an element's loss is NaN, and
            ``wf.debug.check((var >= 0).all())`` before it is an error there too.
        full: add ``log(2 * pi) / 2``.
        eps: the least variance.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape for ``"none"``.

    Raises:
        ArgumentError: a negative variance.
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> wf.nn.functional.gaussian_nll_loss(wf.asarray([1.0, 3.0]), wf.asarray([1.0, 1.0]), 1.0).item()
        1.0

    Reference:
        Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994.
    """
    one = is_number(var)
    loss = _gaussian_nll_loss(input, target, var, full, eps, reduction)  # which says first what is no variance at all
    if var < 0 if one else current_trace() is None and any_(less(var, 0.0)).item():
        which = f"is {var}" if one else "has negative elements"
        raise ArgumentError(f"gaussian_nll_loss: var {which}; a variance is not below 0: exp or softplus makes one")
    return loss


@composite(name="gaussian_nll_loss", public=False)
def _gaussian_nll_loss(
    input: Array, target: Array, var: Array | float, full: bool, eps: float, reduction: str
) -> Array:
    op = "gaussian_nll_loss"
    x, t, dtype = _counted(op, input, target)
    if isinstance(var, (int, float)):
        v = as_operand(op, var, x.dtype)
    else:
        v, dtype = _variances(op, var, input), dt.promote(dtype, var.dtype)
    x, t, v = broadcast_operands(op, *(cast(each, working(dtype)) for each in (x, t, v)))
    # Its value is at least eps, its gradient var's own.
    v = where(v < 0.0, math.nan, v + stop_gradient(maximum(v, eps) - v))
    difference = x - t
    loss = 0.5 * (log(v) + difference * difference / v)
    return reduced(op, loss + 0.5 * math.log(2.0 * math.pi) if full else loss, reduction, dtype)


def _variances(op: str, var: Array, input: Array) -> Array:
    """``var``, of a shape that broadcasts to input's.

    Raises:
        ShapeError: it is not one variance for each element, nor for each of all axes but one.
    """
    (v,) = widen(op, var)
    if var.shape == input.shape:
        return v
    if var.shape == input.shape[:-1]:
        return expand_dims(v, axis=-1)
    others = [n for n, wanted in zip(var.shape, input.shape, strict=False) if n != wanted]
    if var.ndim != input.ndim or others != [1]:
        raise ShapeError(
            f"{op}: var {var.shape} for input {input.shape}: it must have input's shape, or lack the last axis, or "
            "have one axis of size 1; or be one number"
        )
    return v

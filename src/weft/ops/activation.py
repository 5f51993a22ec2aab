"""Activations: composites whose values and gradients stay finite wherever the mathematics is.

Each is written so that neither branch of a ``where`` overflows, because a gradient of 0 times infinity is NaN.
float16 and bfloat16 are computed in float32 and rounded once at the end. Gradients at kinks are PyTorch's. At NaN,
where the gradients of its elu, selu, hardswish, hardtanh and relu6 depend on the element's place in a vector, the first
three pass the cotangent on, as above 0, and the last two pass nothing, as beyond their bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import Shape, normalize_axis, shown
from .creation import iota
from .elementwise import cast, erf, exp, expm1, log, log1p, logical_and, sigmoid, stop_gradient, tanh, where
from .indexing import number_for
from .op import Array, Composite, P, composite, public
from .operands import REAL, common_dtype
from .precision import widen
from .random import Generator, default_generator, draw_uniform
from .reduction import argmax, greatest_or_lowest
from .reduction import sum as sum_
from .shape import reshape
from .views import slice_

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor

_SELU_SCALE = 1.0507009873554804934193349852946  # Klambauer et al. 2017, section 2
_SELU_ALPHA = 1.6732632423543772848170429916717
_INPLACE = "inplace: write the result into ``input``, and return that."
_DOC = """{summary}

    Args:
        input: any shape; a floating dtype.{arguments}

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: ``input`` is not floating.{reference}
    """


def _activation(
    summary: str, arguments: str = "", reference: str = ""
) -> Callable[[Callable[P, Array]], Callable[P, Tensor]]:
    """A composite of ``function(x, ...)`` over wide floats, its result rounded to the input's dtype."""

    def decorate(function: Any) -> Any:
        name = function.__name__

        def outer(input: Array, *args: Any, **kwargs: Any) -> Array:
            (x,) = widen(name, input)
            return cast(function(x, *args, **kwargs), input.dtype)

        outer.__name__ = outer.__qualname__ = name
        outer.__wrapped__ = function  # type: ignore[attr-defined]  # inspect.signature shows the real one
        described = [a for a in arguments.split("\n") if a] + [_INPLACE] * ("inplace" in signature(function).parameters)
        outer.__doc__ = _DOC.format(
            summary=summary,
            arguments="".join(f"\n        {a}" for a in described),
            reference=f"\n\n    Reference:\n        {reference}" if reference else "",
        )
        return Composite(outer, name)

    return decorate


def _relu_gradient(result: Array, g: Array, input: Array) -> Array:
    return where(result <= 0, 0, g)


@composite(gradient=_relu_gradient)
def relu(input: Array, inplace: bool = False) -> Array:
    """``max(0, x)``; NaN stays NaN, and the gradient at 0 is 0.

    Args:
        input: any shape; an integer or floating-point dtype.
        inplace: write the result into ``input``, and return that.

    Example:
        >>> wf.nn.functional.relu(wf.asarray([-1.0, 2.0]))
        Tensor([0., 2.], dtype=float32)
    """
    common_dtype("relu", (input,), REAL)
    return where(input <= 0, 0, input)


@_activation("``min(max(0, x), 6)``.")
def relu6(input: Array, inplace: bool = False) -> Array:
    return hardtanh(input, 0.0, 6.0)


@_activation("``x`` above 0, ``negative_slope * x`` below.", "negative_slope: the slope below 0.")
def leaky_relu(input: Array, negative_slope: float = 0.01, inplace: bool = False) -> Array:
    return where(input > 0.0, input, input * negative_slope)


@composite
def prelu(input: Array, weight: Array) -> Array:
    """``x`` above 0, ``weight * x`` below, with a slope that is learned.

    Args:
        input: ``(N, C, ...)`` or any shape when there is one slope; a floating dtype.
        weight: ``(1,)``, ``()``, or ``(C,)``: a slope for each channel (axis 1; axis 0 of an input of rank 1).

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        ShapeError: neither one slope nor one for each channel.
        DTypeError: an operand is not floating.

    Reference:
        He et al., Delving Deep into Rectifiers, 2015.
    """
    x, slope = widen("prelu", input, weight)
    slopes = slope.shape[0] if slope.ndim == 1 else 1
    channels = x.shape[min(x.ndim - 1, 1)] if x.ndim else 1
    if slope.ndim > 1 or not (slopes == 1 or slopes == channels):
        raise ShapeError(
            f"prelu: weight {weight.shape} for input {input.shape}: wants one slope, or one for each channel (axis 1)"
        )
    if slope.ndim:
        slope = reshape(slope, (slopes, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (slopes,) * x.ndim)
    return cast(x * where(x > 0.0, 1.0, cast(slope, x.dtype)), input.dtype)


@_activation(
    "``x`` above 0, ``alpha * (exp(x) - 1)`` below.",
    "alpha: minus the limit at -inf.",
    "Clevert et al., Fast and Accurate Deep Network Learning by Exponential Linear Units, 2015.",
)
def elu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    below = input <= 0.0
    return where(below, expm1(where(below, input, 0.0)) * alpha, input)


@_activation(
    "``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below: its slope is 1 at 0 for every ``alpha``.",
    "alpha: minus the limit at -inf; not 0.",
    "Barron, Continuously Differentiable Exponential Linear Units, 2017.",
)
def celu(input: Array, alpha: float = 1.0, inplace: bool = False) -> Array:
    if alpha == 0:
        raise ArgumentError("celu: alpha is 0; it is divided by")
    below = input <= 0.0
    return where(below, expm1(where(below, input, 0.0) * (1.0 / alpha)) * alpha, input)


@_activation(
    "``scale * elu(x, alpha)`` with the constants that keep mean 0 and variance 1.",
    "",
    "Klambauer et al., Self-Normalizing Neural Networks, 2017.",
)
def selu(input: Array, inplace: bool = False) -> Array:
    return elu(input, _SELU_ALPHA) * _SELU_SCALE


@_activation(
    "``x * P(N(0, 1) <= x)``.",
    "approximate: ``'none'`` (by erf) or ``'tanh'``, the usual approximation (error up to 5e-4).",
    "Hendrycks and Gimpel, Gaussian Error Linear Units, 2016.",
)
def gelu(input: Array, approximate: str = "none") -> Array:
    if approximate == "none":
        return input * 0.5 * (erf(input * math.sqrt(0.5)) + 1.0)
    if approximate == "tanh":
        inner = math.sqrt(2.0 / math.pi) * (input + 0.044715 * (input * input * input))
        return input * 0.5 * (tanh(inner) + 1.0)
    raise ArgumentError(f"gelu: approximate is {approximate!r}; it must be 'none' or 'tanh'")


@_activation(
    "``x * sigmoid(x)``, also called swish.", "", "Ramachandran et al., Searching for Activation Functions, 2017."
)
def silu(input: Array, inplace: bool = False) -> Array:
    return input * sigmoid(input)


@_activation(
    "``x * tanh(softplus(x))``.", "", "Misra, Mish: A Self Regularized Non-Monotonic Activation Function, 2019."
)
def mish(input: Array, inplace: bool = False) -> Array:
    return input * tanh(softplus(input))


@_activation(
    "``log(1 + exp(beta * x)) / beta``.",
    "beta: sharpness.\nthreshold: where ``beta * x`` is above it, the result is x.",
)
def softplus(input: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    scaled = input * beta
    linear = scaled > threshold
    return where(linear, input, log1p(exp(where(linear, 0.0, scaled))) / beta)


@_activation("``x / (1 + |x|)``.")
def softsign(input: Array) -> Array:
    return input / (where(input < 0.0, -input, input) + 1.0)


@_activation("``log(sigmoid(x))``, without overflow.")
def logsigmoid(input: Array) -> Array:
    below = input < 0.0
    return where(below, input, 0.0) - log1p(exp(where(below, input, -input)))


@_activation("``x`` cut to ``[min_val, max_val]``; no gradient passes at the bounds.", "min_val, max_val: the bounds.")
def hardtanh(input: Array, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Array:
    if min_val > max_val:
        raise ArgumentError(f"hardtanh: min_val {shown(min_val)} is greater than max_val {shown(max_val)}")
    return _between(input, min_val, max_val, input, (min_val, max_val))


def _between(x: Array, low: float, high: float, inside: Array, outside: tuple[float, float]) -> Array:
    """``inside`` where ``low < x < high``, the one or the other of ``outside`` beyond and on the bounds; where x is NaN
    NaN, as a constant: no gradient passes but strictly within the bounds."""
    below, above = outside
    return where(x <= low, below, where(x < high, inside, where(x >= high, above, stop_gradient(x))))


@_activation("``min(max(0, x + 3), 6) / 6``: sigmoid in three straight pieces.")
def hardsigmoid(input: Array, inplace: bool = False) -> Array:
    return _between(input, -3.0, 3.0, input + 3.0, (0.0, 6.0)) / 6.0


@_activation("``x * min(max(0, x + 3), 6) / 6``.", "", "Howard et al., Searching for MobileNetV3, 2019.")
def hardswish(input: Array, inplace: bool = False) -> Array:
    return input * where(input <= -3.0, 0.0, where(input < 3.0, input + 3.0, 6.0)) / 6.0


@_activation("``x``, and 0 in ``[-lambd, lambd]``.", "lambd: the bound.")
def hardshrink(input: Array, lambd: float = 0.5) -> Array:
    return where(logical_and(input >= -lambd, input <= lambd), 0.0, input)


@_activation("``x`` moved towards 0 by ``lambd``, and 0 in ``[-lambd, lambd]``.", "lambd: the bound, 0 or more.")
def softshrink(input: Array, lambd: float = 0.5) -> Array:
    if lambd < 0:
        raise ArgumentError(f"softshrink: lambd is {shown(lambd)}; it must be 0 or more")
    moved = where(input > 0.0, input - lambd, input + lambd)
    return where(logical_and(input >= -lambd, input <= lambd), 0.0, moved)


@_activation("``x - tanh(x)``.")
def tanhshrink(input: Array) -> Array:
    return input - tanh(input)


@composite
def threshold(input: Array, threshold: float, value: float, inplace: bool = False) -> Array:
    """``x`` above the threshold, else ``value``; NaN stays NaN.

    Args:
        input: any shape; an integer or floating-point dtype.
        threshold, value: numbers; of an integer input their whole parts count, modulo 2^bits of an unsigned one.
        inplace: write the result into ``input``, and return that.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: the input is bool, or a number does not fit in its dtype.

    Example:
        >>> wf.nn.functional.threshold(wf.asarray([-1.0, 0.5, 2.0]), 0.5, 9.0)
        Tensor([9., 9., 2.], dtype=float32)
    """
    if input.dtype.is_floating:
        (x,) = widen("threshold", input)
        return cast(where(x <= threshold, value, x), input.dtype)
    common_dtype("threshold", (input,), REAL)
    bound, other = (number_for("threshold", number, input.dtype) for number in (threshold, value))
    return cast(where(input <= bound, other, input), input.dtype)


@composite(name="rrelu", public=False)
def rrelu_by(input: Array, state: Array | None, lower: float, upper: float, inplace: bool = False) -> Array:
    """:func:`rrelu` from the state of a generator; without one, as outside training."""
    if not lower <= upper:
        raise ArgumentError(f"rrelu: lower {shown(lower)} is greater than upper {shown(upper)}")
    (x,) = widen("rrelu", input)
    slope = (lower + upper) / 2 if state is None else draw_uniform(state, x.shape, lower, upper, x.dtype)
    return cast(where(x <= 0.0, x * slope, x), input.dtype)


@public
def rrelu(
    input: Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """``x`` above 0, ``a * x`` below, with ``a`` drawn from ``[lower, upper)`` for each element in training, else their
    mean.

    Args:
        input: any shape; a floating dtype.
        lower, upper: the bounds of the slope.
        training: draw it.
        inplace: write the result into ``input``, and return that.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        ArgumentError: ``lower`` is greater than ``upper``.
        DTypeError: ``input`` is not floating.

    Reference:
        Xu et al., Empirical Evaluation of Rectified Activations in Convolution Network, 2015.
    """
    state = (generator or default_generator(input.device)).next() if training else None
    return rrelu_by(input, state, lower, upper, inplace)


@composite
def glu(input: Array, dim: int = -1) -> Array:
    """``a * sigmoid(b)`` of the two halves ``a`` and ``b`` of an axis.

    Args:
        input: rank 1 or more; a floating dtype.
        dim: the axis, of an even size.

    Returns:
        A tensor of the same dtype, with half the size on that axis.

    Raises:
        ShapeError: the size is odd, or the input has no axis.
        AxisError: no such axis.
        DTypeError: ``input`` is not floating.

    Reference:
        Dauphin et al., Language Modeling with Gated Convolutional Networks, 2016.
    """
    if not input.ndim:
        raise ShapeError("glu: a tensor of rank 0 has no axis to be halved")
    (x,) = widen("glu", input)
    at = normalize_axis(dim, x.ndim, "glu")
    shape = tuple(x.shape)
    if shape[at] % 2 > 0:
        raise ShapeError(f"glu: input {shape}: the size {shape[at]} of axis {at} has no halves")
    half = (*shape[:at], shape[at] // 2, *shape[at + 1 :])
    second = (*(0,) * at, half[at], *(0,) * (x.ndim - at - 1))
    return cast(slice_(x, (0,) * x.ndim, half) * sigmoid(slice_(x, second, half)), input.dtype)


def _softmax_gradient(
    result: Array, g: Array, input: Array, dim: int = -1, dtype: Any = None, *, axis: int | None = None
) -> Array:
    y, h, at = _along("softmax", result, g, dim if axis is None else axis)
    return reshape(cast((h - sum_(h * y, axis=at, keepdims=True)) * y, input.dtype), input.shape)


@composite(gradient=_softmax_gradient)
def softmax(input: Array, dim: int = -1, dtype: Any = None, *, axis: int | None = None) -> Array:
    """``exp(x) / sum(exp(x))`` along one axis: positive, summing to 1; one kernel a row.

    The maximum is subtracted first, so that nothing overflows. A slice of -inf alone gives NaN.

    Args:
        input: rank 1 or more; a floating dtype (another one with ``dtype``).
        dim: the axis; ``axis`` is another name for it.
        dtype: cast the input to this dtype first.

    Returns:
        A tensor of the same shape.

    Raises:
        AxisError: no such axis.
        DTypeError: ``input`` is not floating.

    Example:
        >>> wf.nn.functional.softmax(wf.asarray([0.0, 0.0]))
        Tensor([0.5, 0.5], dtype=float32)
    """
    x, shape, at, result = _softmax_operands("softmax", input, dim if axis is None else axis, dtype)
    if 0 in shape:
        return cast(x, result)
    shifted = exp(x - greatest_or_lowest(x, at))
    return reshape(cast(shifted / sum_(shifted, axis=at, keepdims=True), result), shape)


def _log_softmax_gradient(
    result: Array, g: Array, input: Array, dim: int = -1, dtype: Any = None, *, axis: int | None = None
) -> Array:
    y, h, at = _along("log_softmax", result, g, dim if axis is None else axis)
    return reshape(cast(h - exp(y) * sum_(h, axis=at, keepdims=True), input.dtype), input.shape)


@composite(gradient=_log_softmax_gradient)
def log_softmax(input: Array, dim: int = -1, dtype: Any = None, *, axis: int | None = None) -> Array:
    """``log(softmax(x))`` along one axis, accurate where softmax underflows.

    Args:
        input: rank 1 or more; a floating dtype (another one with ``dtype``).
        dim: the axis; ``axis`` is another name for it.
        dtype: cast the input to this dtype first.

    Returns:
        A tensor of the same shape.

    Raises:
        AxisError: no such axis.
        DTypeError: ``input`` is not floating.
    """
    x, shape, at, result = _softmax_operands("log_softmax", input, dim if axis is None else axis, dtype)
    if 0 in shape:
        return cast(x, result)
    shifted = x - greatest_or_lowest(x, at)
    return reshape(cast(shifted - log(sum_(exp(shifted), axis=at, keepdims=True)), result), shape)


@composite
def softmin(input: Array, dim: int = -1, dtype: Any = None) -> Array:
    """``softmax(-x)`` along one axis.

    Args:
        input: rank 1 or more; a floating dtype (another one with ``dtype``).
        dim: the axis.
        dtype: cast the input to this dtype first.

    Returns:
        A tensor of the same shape.

    Raises:
        AxisError: no such axis.
        DTypeError: ``input`` is not floating.
    """
    x = input if dtype is None else cast(input, dt.as_dtype(dtype))
    widen("softmin", x)
    return softmax(-x, dim)


@public
def gumbel_softmax(
    logits: Array,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    generator: Generator | None = None,
) -> Array:
    """``softmax((x + g) / tau)`` along one axis, with ``g`` drawn from Gumbel(0, 1): a soft draw of one class.

    Args:
        logits: logarithms of probabilities, up to a constant; a floating dtype.
        tau: the temperature, above 0: the smaller, the nearer to one-hot.
        hard: one-hot results, with the gradient of the soft ones.
        eps: has no meaning, as in PyTorch, and no other value.
        dim: the axis of the classes.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        AxisError: no such axis.
        ArgumentError: ``tau`` is not above 0, or ``eps`` is given.
        DTypeError: ``logits`` is not floating.

    Reference:
        Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2016.
    """
    if not tau > 0:
        raise ArgumentError(f"gumbel_softmax: tau is {shown(tau)}; it must be above 0")
    if eps != 1e-10:
        raise ArgumentError(f"gumbel_softmax: eps is {shown(eps)}; it has no meaning any more: leave it out")
    return _gumbel_softmax(logits, (generator or default_generator(logits.device)).next(), float(tau), bool(hard), dim)


@composite(name="gumbel_softmax")
def _gumbel_softmax(logits: Array, state: Array, tau: float, hard: bool, dim: int) -> Array:
    op = "gumbel_softmax"
    (x,) = widen(op, logits)
    at = normalize_axis(dim, max(x.ndim, 1), op)
    unit = draw_uniform(state, x.shape, dtype=x.dtype)  # a multiple of 2**-24 (2**-53) that may be 0
    least = 2.0**-54 if x.dtype is dt.float64 else 2.0**-25
    soft: Array = softmax((x - log(-log(where(unit == 0.0, least, unit)))) / tau, at)
    if hard and x.ndim and 0 not in x.shape:
        chosen = cast(iota(x.shape, at) == argmax(soft, axis=at, keepdims=True), x.dtype)
        soft = chosen + (soft - stop_gradient(soft))  # the difference is 0: it is there for its gradient
    return cast(soft, logits.dtype)


def _along(op: str, result: Array, g: Array, dim: int) -> tuple[Array, Array, int]:
    """A result and its cotangent in the dtype to compute in, of rank 1 at least, and the axis."""
    at = normalize_axis(dim, max(result.ndim, 1), op)
    y, h = widen(op, result, g)
    return (y, h, at) if y.ndim else (reshape(y, (1,)), reshape(h, (1,)), at)


def _softmax_operands(op: str, input: Array, dim: int, dtype: Any) -> tuple[Array, Shape, int, DType]:
    """The operand in the dtype to compute in, of rank 1 at least; the result's shape, the axis, the result's dtype."""
    if dtype is not None:
        input = cast(input, dt.as_dtype(dtype))
    (x,) = widen(op, input)
    at = normalize_axis(dim, max(input.ndim, 1), op)
    return x if x.ndim else reshape(x, (1,)), input.shape, at, input.dtype

"""The ONNX ops that weft reads from other tools' files: op -> what it is in weft.

Opsets from 7 on are understood. An op whose meaning changed has one function for each meaning, by the opset since which
it holds; see :mod:`weft.interop.onnx.foreign.call` for what their signatures say. Tensors arrive with the element types
that the standard allows (:mod:`weft.interop.onnx.foreign.schema`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal

from ....core import dtypes as dt
from ....core.errors import FormatError
from ....core.shapes import normalize_axis, size_of
from ....ops import activation as act
from ....ops import elementwise as ew
from ....ops import reduction as red
from ....ops.contraction import matmul
from ....ops.creation import full
from ....ops.cumulative import cumulative_sum
from ....ops.decompositions import det
from ....ops.normalization import layer_norm, rms_norm
from ....ops.precision import working
from ....ops.shape import broadcast_to, flip, permute_dims, reshape
from ....ops.views import slice_
from ..emitter import dtype_of_element
from .call import Array, Ints, Number, Op, OutputCount
from .host import ROUNDINGS
from .structure import STRUCTURE, flat
from .windows import WINDOWS


def _single(value: float) -> float:
    """The float32 next to ``value``: what an attribute holds."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


# --- elementwise ------------------------------------------------------------------------------------------------


def _unary(function: Callable[[Any], Any]) -> Op:
    def run(x: Array, /) -> Any:
        return function(x)

    return run


def _binary(function: Callable[[Any, Any], Any]) -> Op:
    def run(x: Array, y: Array, /) -> Any:
        return function(x, y)

    return run


def _folded(function: Callable[[Any, Any], Any]) -> Op:
    def run(*xs: Array) -> Any:
        total, *rest = xs
        for x in rest:
            total = function(total, x)
        return total

    return run


def _truncated(x: Any, y: Any) -> Any:
    """The quotient of integers, toward zero; 0 for a division by 0."""
    quotient = ew.floor_divide(x, y)
    if x.dtype.kind == "uint":
        return quotient
    rest = x - quotient * y
    rounded_down = ew.logical_and(ew.not_equal(x < 0, y < 0), ew.logical_and(rest != 0, y != 0))
    return ew.where(rounded_down, quotient + 1, quotient)


def _divide(x: Array, y: Array, /) -> Any:
    return ew.divide(x, y) if x.dtype.is_floating else _truncated(x, y)


def _modulo(x: Array, y: Array, /, *, fmod: bool = False) -> Any:
    if not fmod:
        if x.dtype.is_floating:
            raise FormatError("floating-point operands want fmod=1")
        return ew.remainder(x, y)
    if x.dtype.is_floating:
        return ew.copysign(ew.remainder(ew.abs(x), ew.abs(y)), x)
    rest = ew.remainder(x, y)
    if x.dtype.kind == "uint":
        return rest
    return ew.where(ew.logical_and(rest != 0, ew.not_equal(x < 0, y < 0)), rest - y, rest)


def _power(x: Array, y: Array, /) -> Any:
    if x.dtype.is_floating or not y.dtype.is_floating:
        return ew.pow(x, ew.cast(y, x.dtype))
    return ew.cast(ew.pow(ew.cast(x, y.dtype), y), x.dtype)


_GREATEST = struct.unpack("f", b"\xff\xff\x7f\x7f")[0]


def _clip_6(x: Array, /, *, min: float = -_GREATEST, max: float = _GREATEST) -> Any:
    if not min <= max:
        raise FormatError(f"bounds {min} and {max} that cross")
    return ew.clip(x, min, max)


def _clip(x: Array, low: Array | None = None, high: Array | None = None, /) -> Any:
    for bound in (low, high):
        if bound is not None and size_of(bound.shape) != 1:
            raise FormatError(f"a bound of shape {tuple(bound.shape)}, not a number")
    low, high = (None if b is None else reshape(b, ()) for b in (low, high))
    return ew.clip(x, low, high)


def _is_inf(x: Array, /, *, detect_negative: bool = True, detect_positive: bool = True) -> Any:
    found = ew.isinf(x)
    if not detect_negative:
        found = ew.logical_and(found, x > 0.0)
    return found if detect_positive else ew.logical_and(found, x < 0.0)


def _shift(x: Array, y: Array, /, *, direction: Literal["LEFT", "RIGHT"]) -> Any:
    return (ew.bitwise_left_shift if direction == "LEFT" else ew.bitwise_right_shift)(x, y)


def _mean(*xs: Array) -> Any:
    return _folded(ew.add)(*xs) / float(len(xs))


def _cast(x: Array, /, *, to: int, saturate: bool = True, round_mode: ROUNDINGS = "up") -> Any:
    """``saturate`` and ``round_mode`` are for element types of 8 and fewer bits, which weft does not have."""
    return ew.cast(x, dtype_of_element(to, "a Cast"))


def _cast_like(x: Array, like: Array, /, *, saturate: bool = True, round_mode: ROUNDINGS = "up") -> Any:
    return ew.cast(x, like.dtype)


def _where(condition: Array, x: Array, y: Array, /) -> Any:
    return ew.where(condition, x, y)


# --- activations ------------------------------------------------------------------------------------------------


def _elu(x: Array, /, *, alpha: float = 1.0) -> Any:
    return act.elu(x, alpha)


def _gelu(x: Array, /, *, approximate: Literal["none", "tanh"] = "none") -> Any:
    return act.gelu(x, approximate)


def _hard_sigmoid(x: Array, /, *, alpha: float = _single(0.2), beta: float = 0.5) -> Any:
    return ew.clip(x * alpha + beta, 0.0, 1.0)


def _leaky_relu(x: Array, /, *, alpha: float = _single(0.01)) -> Any:
    return act.leaky_relu(x, alpha)


def _selu(x: Array, /, *, alpha: float = _single(1.6732632), gamma: float = _single(1.050701)) -> Any:
    return ew.where(x > 0.0, x, ew.expm1(x) * alpha) * gamma


def _swish(x: Array, /, *, alpha: float = 1.0) -> Any:
    return x * ew.sigmoid(x * alpha)


def _prelu(x: Array, slope: Array, /) -> Any:
    return ew.where(x > 0, x, x * slope)


def _dropout_7(x: Array, /, *, ratio: float = 0.5, outputs: OutputCount) -> Any:
    """These opsets know the op as it is in evaluation alone."""
    return (x, full(tuple(x.shape), True, dtype=dt.bool_))[:outputs]


def _dropout(
    x: Array,
    ratio: Array | None = None,
    training_mode: Number | None = None,
    /,
    *,
    seed: int | None = None,
    outputs: OutputCount,
) -> Any:
    """``ratio`` and ``seed`` are of training, which a loaded model does not do."""
    if training_mode:
        raise FormatError("training_mode is not supported: a loaded model computes as in evaluation")
    return (x, full(tuple(x.shape), True, dtype=dt.bool_))[:outputs]


# --- reductions -------------------------------------------------------------------------------------------------


def _same(x: Any) -> Any:
    return x


def _floats(x: Any) -> Any:
    """For what is computed of integers and is none itself."""
    return x if x.dtype.is_floating else ew.cast(x, dt.float64)


def _reduce(
    function: Callable[..., Any], before: Callable[[Any], Any] = _same, after: Callable[[Any], Any] = _same
) -> Op:
    """``after(function(before(x)))``; where nothing is reduced, ``function`` is left out."""

    def run(x: Array, /, axes: Ints | None = None, *, keepdims: bool = True, noop_with_empty_axes: bool = False) -> Any:
        result = before(x)
        if axes or not noop_with_empty_axes:
            result = function(result, axis=axes or None, keepdims=keepdims)
        return ew.cast(after(result), x.dtype)

    return run


def _greatest(x: Any, **options: Any) -> Any:
    return red.any(x, **options) if x.dtype is dt.bool_ else red.max(x, **options)


def _least(x: Any, **options: Any) -> Any:
    return red.all(x, **options) if x.dtype is dt.bool_ else red.min(x, **options)


def _average(x: Any, axis: Any, keepdims: bool) -> Any:
    if x.dtype.is_floating:
        return red.mean(x, axis=axis, keepdims=keepdims)
    total = red.sum(x, axis=axis, keepdims=keepdims)
    rank = len(x.shape)
    count = size_of(x.shape[normalize_axis(a, rank, "ReduceMean")] for a in (range(rank) if axis is None else axis))
    return _truncated(total, full((), count, dtype=total.dtype))


def _arg(function: Callable[..., Any]) -> Op:
    def run(x: Array, /, *, axis: int = 0, keepdims: bool = True, select_last_index: bool = False) -> Any:
        if not select_last_index:
            return function(x, axis=axis, keepdims=keepdims)
        at = normalize_axis(axis, len(x.shape), "ArgMax")
        return x.shape[at] - 1 - function(flip(x, axis=at), axis=at, keepdims=keepdims)

    return run


def _softmax_1(function: Callable[..., Any]) -> Op:
    """Over all axes from ``axis`` on."""

    def run(x: Array, /, *, axis: int = 1) -> Any:
        rank = len(x.shape)
        at = rank if axis == rank else normalize_axis(axis, rank, "Softmax")
        return reshape(function(flat(x, at), -1), tuple(x.shape))

    return run


def _softmax(function: Callable[..., Any]) -> Op:
    def run(x: Array, /, *, axis: int = -1) -> Any:
        return function(x, axis)

    return run


def _cumulative(x: Array, axis: Number, /, *, exclusive: bool = False, reverse: bool = False) -> Any:
    at = normalize_axis(axis, len(x.shape), "CumSum")  # type: ignore[arg-type]
    moved = flip(x, axis=at) if reverse else x
    total: Any = cumulative_sum(moved, axis=at, dtype=x.dtype, include_initial=exclusive)
    if exclusive:
        total = slice_(total, (0,) * len(x.shape), tuple(x.shape))
    return flip(total, axis=at) if reverse else total


# --- contractions and normalization -----------------------------------------------------------------------------


def _scaled(x: Any, factor: float) -> Any:
    if factor == 1:
        return x
    if x.dtype.is_floating:
        return x * factor
    if not factor.is_integer():
        raise FormatError(f"integers are not scaled by {factor}")
    return x * int(factor)


def _gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    /,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: bool = False,
    transB: bool = False,
) -> Any:
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise FormatError(f"operands of shapes {tuple(a.shape)} and {tuple(b.shape)}, not two matrices")
    a = permute_dims(a, (1, 0)) if transA else a
    b = permute_dims(b, (1, 0)) if transB else b
    product = _scaled(matmul(a, b), alpha)
    return product if c is None else product + broadcast_to(_scaled(c, beta), tuple(product.shape))


def _det(x: Array, /) -> Any:
    return ew.cast(det(ew.cast(x, working(x.dtype))), x.dtype)


_STASH = "stash_type {} is not supported: 16-bit floats are computed in float32 (1)"


def _normalized(x: Any, axis: int, stash_type: int, *weights: Any) -> tuple[tuple[Any, ...], list[Any]]:
    """The shape of what is normalized, and the weights in it."""
    if stash_type != 1:
        raise FormatError(_STASH.format(stash_type))
    shape = tuple(x.shape[normalize_axis(axis, len(x.shape), "normalization") :])
    return shape, [None if w is None else broadcast_to(w, shape) for w in weights]


def _layer_norm(
    x: Array,
    scale: Array,
    bias: Array | None = None,
    /,
    *,
    axis: int = -1,
    epsilon: float = _single(1e-5),
    stash_type: int = 1,
) -> Any:
    shape, (weight, shift) = _normalized(x, axis, stash_type, scale, bias)
    return layer_norm(x, shape, weight, shift, epsilon)


def _rms_norm(x: Array, scale: Array, /, *, axis: int = -1, epsilon: float = _single(1e-5), stash_type: int = 1) -> Any:
    shape, (weight,) = _normalized(x, axis, stash_type, scale)
    return rms_norm(x, shape, weight, epsilon)


def _batch_norm(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    /,
    *,
    epsilon: float = _single(1e-5),
    momentum: float = _single(0.9),
    spatial: bool = True,
    training_mode: bool = False,
) -> Any:
    """``momentum`` is of training, which a loaded model does not do."""
    if training_mode or not spatial:
        raise FormatError(f"{'training_mode' if training_mode else 'spatial=0'} is not supported")
    shape = (x.shape[1], *(1,) * (len(x.shape) - 2))
    scale, bias, mean, variance = (reshape(ew.cast(v, x.dtype), shape) for v in (scale, bias, mean, variance))
    return (x - mean) * ew.rsqrt(variance + epsilon) * scale + bias


# --- the table --------------------------------------------------------------------------------------------------

_UNARY: dict[str, Callable[[Any], Any]] = {
    "Abs": ew.abs,
    "Acos": ew.acos,
    "Acosh": ew.acosh,
    "Asin": ew.asin,
    "Asinh": ew.asinh,
    "Atan": ew.atan,
    "Atanh": ew.atanh,
    "BitwiseNot": ew.bitwise_invert,
    "Ceil": ew.ceil,
    "Cos": ew.cos,
    "Cosh": ew.cosh,
    "Erf": ew.erf,
    "Exp": ew.exp,
    "Floor": ew.floor,
    "HardSwish": act.hardswish,
    "Identity": _same,
    "IsNaN": ew.isnan,
    "Log": ew.log,
    "Mish": act.mish,
    "Neg": ew.negative,
    "Not": ew.logical_not,
    "Reciprocal": ew.reciprocal,
    "Relu": act.relu,
    "Round": ew.round,
    "Sigmoid": ew.sigmoid,
    "Sign": ew.sign,
    "Sin": ew.sin,
    "Sinh": ew.sinh,
    "Softplus": lambda x: ew.logaddexp(x, 0.0),
    "Softsign": act.softsign,
    "Sqrt": ew.sqrt,
    "Tan": ew.tan,
    "Tanh": ew.tanh,
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": ew.add,
    "Sub": ew.subtract,
    "Mul": ew.multiply,
    "And": ew.logical_and,
    "Or": ew.logical_or,
    "Xor": ew.logical_xor,
    "BitwiseAnd": ew.bitwise_and,
    "BitwiseOr": ew.bitwise_or,
    "BitwiseXor": ew.bitwise_xor,
    "Equal": ew.equal,
    "Less": ew.less,
    "LessOrEqual": ew.less_equal,
    "Greater": ew.greater,
    "GreaterOrEqual": ew.greater_equal,
    "MatMul": matmul,
}

OPS: dict[str, dict[int, Op]] = {
    **{name: {1: _unary(function)} for name, function in _UNARY.items()},
    **{name: {1: _binary(function)} for name, function in _BINARY.items()},
    "Div": {1: _divide},
    "Mod": {1: _modulo},
    "Pow": {1: _power},
    "BitShift": {1: _shift},
    "Max": {1: _folded(ew.maximum)},
    "Min": {1: _folded(ew.minimum)},
    "Sum": {1: _folded(ew.add)},
    "Mean": {1: _mean},
    "Clip": {1: _clip_6, 11: _clip},
    "IsInf": {1: _is_inf},
    "Cast": {1: _cast},
    "CastLike": {1: _cast_like},
    "Where": {1: _where},
    "Elu": {1: _elu},
    "Gelu": {1: _gelu},
    "HardSigmoid": {1: _hard_sigmoid},
    "LeakyRelu": {1: _leaky_relu},
    "Selu": {1: _selu},
    "Swish": {1: _swish},
    "PRelu": {1: _prelu},
    "Dropout": {1: _dropout_7, 12: _dropout},
    "ReduceSum": {1: _reduce(red.sum)},
    "ReduceProd": {1: _reduce(red.prod)},
    "ReduceMax": {1: _reduce(_greatest)},
    "ReduceMin": {1: _reduce(_least)},
    "ReduceMean": {1: _reduce(_average)},
    "ReduceLogSumExp": {1: _reduce(red.logsumexp, before=_floats)},
    "ReduceSumSquare": {1: _reduce(red.sum, before=lambda x: x * x)},
    "ReduceL1": {1: _reduce(red.sum, before=ew.abs)},
    "ReduceL2": {1: _reduce(red.sum, before=lambda x: x * x, after=lambda x: ew.sqrt(_floats(x)))},
    "ReduceLogSum": {1: _reduce(red.sum, after=lambda x: ew.log(_floats(x)))},
    "ArgMax": {1: _arg(red.argmax)},
    "ArgMin": {1: _arg(red.argmin)},
    "Softmax": {1: _softmax_1(act.softmax), 13: _softmax(act.softmax)},
    "LogSoftmax": {1: _softmax_1(act.log_softmax), 13: _softmax(act.log_softmax)},
    "CumSum": {1: _cumulative},
    "Gemm": {1: _gemm},
    "Det": {1: _det},
    "LayerNormalization": {1: _layer_norm},
    "RMSNormalization": {1: _rms_norm},
    "BatchNormalization": {1: _batch_norm},
    **STRUCTURE,
    **WINDOWS,
}


def operator(name: str, opset: int) -> Op | None:
    """The function that an operator has in an opset; None where weft has none."""
    versions = OPS.get(name, {})
    return versions[max(since for since in versions if since <= opset)] if versions else None

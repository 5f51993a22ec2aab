"""The ONNX ops that weft reads from other tools' files: op -> what it is in weft.

Opsets from 11 on are understood: where a list of integers moved from an attribute to an input, both are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.shapes import SymDim, broadcast_shapes, normalize_axis, size_of
from ..ops import activation as act
from ..ops import elementwise as ew
from ..ops import reduction as red
from ..ops.contraction import matmul
from ..ops.creation import arange, full, iota, tri_mask
from ..ops.cumulative import cumulative_sum
from ..ops.indexing import getitem, scatter_add, setitem, take, take_along_axis
from ..ops.normalization import layer_norm, rms_norm
from ..ops.shape import (
    broadcast_to,
    concat,
    expand_dims,
    flip,
    pad,
    permute_dims,
    reshape,
    slice_,
    split,
    squeeze,
    tile,
)
from .emitter import dtype_of_element
from .foreign_call import Call, Known
from .foreign_host import BEYOND, Op, slice_of
from .read import tensor_of_proto

__all__ = ["OPS"]


# --- elementwise ------------------------------------------------------------------------------------------------


def _unary(function: Callable[[Any], Any]) -> Op:
    return lambda c: function(c.tensor(0))


def _binary(function: Callable[[Any, Any], Any]) -> Op:
    return lambda c: function(c.tensor(0), c.tensor(1))


def _folded(function: Callable[[Any, Any], Any]) -> Op:
    def run(c: Call) -> Any:
        total, *rest = c.tensors()
        for x in rest:
            total = function(total, x)
        return total

    return run


def _divide(c: Call) -> Any:
    """ONNX truncates the quotient of integers."""
    x, y = c.tensor(0), c.tensor(1)
    if x.dtype.is_floating:
        return ew.divide(x, y)
    if x.dtype.kind == "uint":
        return ew.floor_divide(x, y)
    quotient = ew.floor_divide(ew.abs(x), ew.abs(y))
    return ew.where(ew.not_equal(x < 0, y < 0), -quotient, quotient)


def _modulo(c: Call) -> Any:
    x, y = c.tensor(0), c.tensor(1)
    if not c.attribute("fmod", 0):
        return ew.remainder(x, y)
    rest = ew.remainder(ew.abs(x), ew.abs(y))
    return ew.copysign(rest, x) if x.dtype.is_floating else ew.where(x < 0, -rest, rest)


def _power(c: Call) -> Any:
    x, y = c.tensor(0), c.tensor(1)
    if x.dtype.is_floating or not y.dtype.is_floating:
        return ew.pow(x, ew.cast(y, x.dtype))
    return ew.cast(ew.pow(ew.cast(x, y.dtype), y), x.dtype)


def _clip(c: Call) -> Any:
    low = c.tensor(1) if c.has(1) else c.attribute("min")
    high = c.tensor(2) if c.has(2) else c.attribute("max")
    return ew.clip(c.tensor(0), low, high)


def _is_inf(c: Call) -> Any:
    x = c.tensor(0)
    found = ew.isinf(x)
    if not c.attribute("detect_negative", 1):
        found = ew.logical_and(found, x > 0.0)
    return found if c.attribute("detect_positive", 1) else ew.logical_and(found, x < 0.0)


def _shift(c: Call) -> Any:
    left = c.attribute("direction") == "LEFT"
    return (ew.bitwise_left_shift if left else ew.bitwise_right_shift)(c.tensor(0), c.tensor(1))


def _gelu(c: Call) -> Any:
    return act.gelu(c.tensor(0), c.attribute("approximate", "none"))


def _mean(c: Call) -> Any:
    return _folded(ew.add)(c) / float(len(c.items))


def _cast(c: Call) -> Any:
    return ew.cast(c.tensor(0), dtype_of_element(c.attribute("to"), "a Cast"))


# --- reductions -------------------------------------------------------------------------------------------------


def _reduce(function: Callable[..., Any]) -> Op:
    def run(c: Call) -> Any:
        x, axes = c.tensor(0), c.integers(1, "axes")
        keep = bool(c.attribute("keepdims", 1))
        if not axes and c.attribute("noop_with_empty_axes", 0):
            return x
        result = function(x, axis=tuple(axes) if axes else None, keepdims=keep)
        return result if result.dtype is x.dtype else ew.cast(result, x.dtype)

    return run


def _norm1(x: Any, **options: Any) -> Any:
    return red.sum(ew.abs(x), **options)


def _norm2(x: Any, **options: Any) -> Any:
    return ew.sqrt(red.sum(x * x, **options))


def _arg(function: Callable[..., Any]) -> Op:
    def run(c: Call) -> Any:
        if c.attribute("select_last_index", 0):
            raise c.error("select_last_index is not supported")
        return function(c.tensor(0), axis=c.attribute("axis", 0), keepdims=bool(c.attribute("keepdims", 1)))

    return run


def _softmax(function: Callable[..., Any]) -> Op:
    def run(c: Call) -> Any:
        x = c.tensor(0)
        if c.opset >= 13:
            return function(x, c.attribute("axis", -1))
        axis = normalize_axis(c.attribute("axis", 1), len(x.shape), "Softmax")
        return reshape(function(_flat(x, axis), -1), tuple(x.shape))

    return run


def _cumulative(c: Call) -> Any:
    (axis,) = c.known(1).integers
    x, back, exclusive = c.tensor(0), c.attribute("reverse", 0), c.attribute("exclusive", 0)
    at = normalize_axis(axis, len(x.shape), "CumSum")
    moved = flip(x, axis=at) if back else x
    total = cumulative_sum(moved, axis=at, dtype=x.dtype, include_initial=bool(exclusive))
    if exclusive:
        total = slice_(total, (0,) * len(x.shape), tuple(x.shape))
    return flip(total, axis=at) if back else total


# --- contractions and normalization -----------------------------------------------------------------------------


def _gemm(c: Call) -> Any:
    a, b = c.tensor(0), c.tensor(1)
    a = permute_dims(a, (1, 0)) if c.attribute("transA", 0) else a
    b = permute_dims(b, (1, 0)) if c.attribute("transB", 0) else b
    product = matmul(a, b)
    alpha, beta = c.attribute("alpha", 1.0), c.attribute("beta", 1.0)
    product = product if alpha == 1 else product * alpha
    if not c.has(2):
        return product
    return product + (c.tensor(2) if beta == 1 else c.tensor(2) * beta)


def _layer_norm(c: Call) -> Any:
    x = c.tensor(0)
    axis = normalize_axis(c.attribute("axis", -1), len(x.shape), "LayerNormalization")
    shape = tuple(x.shape[axis:])
    weight = broadcast_to(c.tensor(1), shape) if c.has(1) else None
    bias = broadcast_to(c.tensor(2), shape) if c.has(2) else None
    return layer_norm(x, shape, weight, bias, c.attribute("epsilon", 1e-5))


def _rms_norm(c: Call) -> Any:
    x = c.tensor(0)
    axis = normalize_axis(c.attribute("axis", -1), len(x.shape), "RMSNormalization")
    shape = tuple(x.shape[axis:])
    return rms_norm(x, shape, broadcast_to(c.tensor(1), shape), c.attribute("epsilon", 1e-5))


def _batch_norm(c: Call) -> Any:
    if c.attribute("training_mode", 0):
        raise c.error("training_mode is not supported")
    x, *rest = c.tensors()
    shape = (rest[0].shape[0], *(1,) * (len(x.shape) - 2))
    scale, bias, mean, variance = (reshape(v, shape) for v in rest)
    return (x - mean) * ew.rsqrt(variance + c.attribute("epsilon", 1e-5)) * scale + bias


# --- shapes -----------------------------------------------------------------------------------------------------


def _reshape(c: Call) -> Any:
    x, wanted = c.tensor(0), c.integers(1, "shape")
    if wanted is None:
        raise c.error("it has no shape")
    if not c.attribute("allowzero", 0):
        wanted = tuple(x.shape[i] if not isinstance(n, SymDim) and n == 0 else n for i, n in enumerate(wanted))
    return reshape(x, wanted)


def _flat(x: Any, axis: int) -> Any:
    return reshape(x, (size_of(x.shape[:axis]), size_of(x.shape[axis:])))


def _flatten(c: Call) -> Any:
    x, axis = c.tensor(0), c.attribute("axis", 1)
    return _flat(x, axis + len(x.shape) if axis < 0 else axis)


def _transpose(c: Call) -> Any:
    x = c.tensor(0)
    return permute_dims(x, tuple(c.attribute("perm") or reversed(range(len(x.shape)))))


def _expand(c: Call) -> Any:
    x = c.tensor(0)
    return broadcast_to(x, broadcast_shapes(tuple(x.shape), c.known(1).integers, op="Expand"))


def _squeeze(c: Call) -> Any:
    return squeeze(c.tensor(0), axis=c.integers(1, "axes"))


def _unsqueeze(c: Call) -> Any:
    return expand_dims(c.tensor(0), axis=c.integers(1, "axes") or ())


def _concat(c: Call) -> Any:
    return concat(c.tensors(), axis=c.attribute("axis"))


def _split(c: Call) -> Any:
    x = c.tensor(0)
    axis = normalize_axis(c.attribute("axis", 0), len(x.shape), "Split")
    sizes = c.integers(1, "split")
    if sizes is None:
        parts = c.attribute("num_outputs", len(c.proto.output))
        return split(x, -(-int(x.shape[axis]) // parts), axis=axis)
    return split(x, sizes, axis=axis)


def _slice(c: Call) -> Any:
    x = c.tensor(0)
    starts, ends = c.integers(1, "starts"), c.integers(2, "ends")
    if starts is None or ends is None:
        raise c.error("starts or ends are missing")
    axes, steps = c.integers(3, "axes") or range(len(starts)), c.integers(4) or (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _sliced(x, slice_of(start, end, step), normalize_axis(axis, len(x.shape), "Slice"))
    return x


def _sliced(x: Any, part: slice, axis: int) -> Any:
    """``x`` cut on one axis; symbolic bounds are taken to lie within it."""
    size, step = x.shape[axis], part.step
    if not any(isinstance(v, SymDim) for v in (part.start, part.stop)):
        return getitem(x, (*(slice(None),) * axis, part))
    start = part.start if part.start is not None else 0 if step > 0 else size - 1
    start = start + size if not isinstance(start, SymDim) and start < 0 else start
    stop = part.stop if part.stop is not None else size if step > 0 else -1
    count = stop - start if step == 1 else start - stop if step == -1 else -((start - stop) // step)
    ends = (
        [start if a == axis else 0 for a in range(len(x.shape))],
        [count if a == axis else n for a, n in enumerate(x.shape)],
        [step if a == axis else 1 for a in range(len(x.shape))],
    )
    return slice_(x, *map(tuple, ends))


def _pad(c: Call) -> Any:
    x, widths = c.tensor(0), c.integers(1, "pads")
    if c.attribute("mode", "constant") != "constant":
        raise c.error(f"mode {c.attribute('mode')!r} is not supported")
    value = c.number(2, c.attribute("value", 0.0 if x.dtype.is_floating else 0))
    rank = len(x.shape)
    axes = [normalize_axis(a, rank, "Pad") for a in c.integers(3) or range(rank)]
    if widths is None or len(widths) != 2 * len(axes):
        raise c.error("pads do not fit the axes")
    pairs: list[tuple[Any, Any]] = [(0, 0)] * rank
    for i, a in enumerate(axes):
        pairs[a] = (widths[i], widths[i + len(axes)])
    return pad(x, tuple(pairs), value=value)


def _tile(c: Call) -> Any:
    return tile(c.tensor(0), c.known(1).integers)


def _trilu(c: Call) -> Any:
    x, k = c.tensor(0), c.number(1, 0)
    upper = bool(c.attribute("upper", 1))
    mask = tri_mask(x.shape[-2], x.shape[-1], k - 1 if upper else k)
    return ew.where(mask, False, x) if upper else ew.where(mask, x, False)


# --- indices ----------------------------------------------------------------------------------------------------


def _gather(c: Call) -> Any:
    return take(c.tensor(0), c.tensor(1), axis=c.attribute("axis", 0))


def _gather_elements(c: Call) -> Any:
    x, index = c.tensor(0), c.tensor(1)
    axis = normalize_axis(c.attribute("axis", 0), len(x.shape), "GatherElements")
    sizes = tuple(x.shape[a] if a == axis else n for a, n in enumerate(index.shape))
    return take_along_axis(slice_(x, (0,) * len(sizes), sizes), index, axis=axis)


def _tuples(c: Call, index: Any) -> tuple[Any, ...]:
    """The columns of an array of index tuples."""
    count, rank = index.shape[-1], len(c.tensor(0).shape)
    if isinstance(count, SymDim) or count > rank:
        raise c.error(f"index tuples of length {count} into a tensor of rank {rank}")
    lead = tuple(index.shape[:-1])
    start = (0,) * len(lead)
    return tuple(reshape(slice_(index, (*start, i), (*lead, 1)), lead) for i in range(count))


def _gather_nd(c: Call) -> Any:
    if c.attribute("batch_dims", 0):
        raise c.error("batch_dims is not supported")
    return getitem(c.tensor(0), _tuples(c, c.tensor(1)))


def _scatter(c: Call, x: Any, indices: Sequence[Any], updates: Any) -> Any:
    reduction = c.attribute("reduction", "none")
    if reduction == "none":
        return setitem(x, tuple(indices), updates)
    if reduction != "add":
        raise c.error(f"reduction {reduction!r} is not supported")
    shape, count = tuple(x.shape), len(indices)
    place: Any = None
    for index, size in zip(indices, shape, strict=False):
        wrapped = ew.where(index < 0, index + size, index)
        place = wrapped if place is None else place * size + wrapped
    flat = reshape(x, (size_of(shape[:count]), *shape[count:]))
    return reshape(scatter_add(flat, place, updates), shape)


def _scatter_nd(c: Call) -> Any:
    return _scatter(c, c.tensor(0), _tuples(c, c.tensor(1)), c.tensor(2))


def _scatter_elements(c: Call) -> Any:
    x, index, updates = c.tensors()
    axis = normalize_axis(c.attribute("axis", 0), len(x.shape), "ScatterElements")
    shape = tuple(index.shape)
    return _scatter(c, x, [index if a == axis else iota(shape, a) for a in range(len(shape))], updates)


# --- constants --------------------------------------------------------------------------------------------------


def _constant(c: Call) -> Any:
    tensor = c.attribute("value")
    if tensor is not None:
        return c.reader.constant(c.proto.output[0], tensor_of_proto(tensor))
    for name, dtype in (
        ("value_float", dt.float32),
        ("value_floats", dt.float32),
        ("value_int", dt.int64),
        ("value_ints", dt.int64),
    ):
        value = c.attribute(name)
        if value is not None and dtype is dt.int64:
            return Known(value)
        if value is not None:
            import numpy as np

            from ..tensor.create import asarray

            return c.reader.constant(c.proto.output[0], asarray(np.asarray(value, dtype=np.float32)))
    raise c.error("a constant of this kind is not supported")


def _constant_of_shape(c: Call) -> Any:
    proto = c.attribute("value")
    shape = c.known(0).integers
    if proto is None:
        return full(shape, 0.0, dtype=dt.float32)
    tensor = tensor_of_proto(proto)
    number = tensor.numpy().reshape(-1)[0]
    return full(shape, number.item() if tensor.dtype is not dt.bfloat16 else float(number), dtype=tensor.dtype)


def _range(c: Call) -> Any:
    start, stop, step = (c.number(i) for i in range(3))
    first = c.item(0)
    return arange(start, stop, step, dtype=first.dtype)


def _cast_like(c: Call) -> Any:
    return ew.cast(c.tensor(0), c.tensor(1).dtype)


# --- the table --------------------------------------------------------------------------------------------------

OPS: dict[str, Op] = {
    "Abs": _unary(ew.abs),
    "Acos": _unary(ew.acos),
    "Acosh": _unary(ew.acosh),
    "Asin": _unary(ew.asin),
    "Asinh": _unary(ew.asinh),
    "Atan": _unary(ew.atan),
    "Atanh": _unary(ew.atanh),
    "BitwiseNot": _unary(ew.bitwise_invert),
    "Ceil": _unary(ew.ceil),
    "Cos": _unary(ew.cos),
    "Cosh": _unary(ew.cosh),
    "Erf": _unary(ew.erf),
    "Exp": _unary(ew.exp),
    "Floor": _unary(ew.floor),
    "HardSwish": _unary(act.hardswish),
    "Dropout": _unary(lambda x: x),
    "Identity": _unary(lambda x: x),
    "IsInf": _is_inf,
    "IsNaN": _unary(ew.isnan),
    "Log": _unary(ew.log),
    "Mish": _unary(act.mish),
    "Neg": _unary(ew.negative),
    "Not": _unary(ew.logical_not),
    "Reciprocal": _unary(ew.reciprocal),
    "Relu": _unary(act.relu),
    "Round": _unary(ew.round),
    "Sigmoid": _unary(ew.sigmoid),
    "Sign": _unary(ew.sign),
    "Sin": _unary(ew.sin),
    "Sinh": _unary(ew.sinh),
    "Softplus": _unary(lambda x: ew.logaddexp(x, 0.0)),
    "Softsign": _unary(act.softsign),
    "Sqrt": _unary(ew.sqrt),
    "Swish": _unary(act.silu),
    "Tan": _unary(ew.tan),
    "Tanh": _unary(ew.tanh),
    "Elu": lambda c: act.elu(c.tensor(0), c.attribute("alpha", 1.0)),
    "Gelu": _gelu,
    "HardSigmoid": lambda c: ew.clip(c.tensor(0) * c.attribute("alpha", 0.2) + c.attribute("beta", 0.5), 0.0, 1.0),
    "LeakyRelu": lambda c: act.leaky_relu(c.tensor(0), c.attribute("alpha", 0.01)),
    "Selu": _unary(act.selu),
    "PRelu": lambda c: ew.where(c.tensor(0) > 0.0, c.tensor(0), c.tensor(0) * c.tensor(1)),
    "Add": _binary(ew.add),
    "Sub": _binary(ew.subtract),
    "Mul": _binary(ew.multiply),
    "Div": _divide,
    "Mod": _modulo,
    "Pow": _power,
    "And": _binary(ew.logical_and),
    "Or": _binary(ew.logical_or),
    "Xor": _binary(ew.logical_xor),
    "BitwiseAnd": _binary(ew.bitwise_and),
    "BitwiseOr": _binary(ew.bitwise_or),
    "BitwiseXor": _binary(ew.bitwise_xor),
    "BitShift": _shift,
    "Equal": _binary(ew.equal),
    "Less": _binary(ew.less),
    "LessOrEqual": _binary(ew.less_equal),
    "Greater": _binary(ew.greater),
    "GreaterOrEqual": _binary(ew.greater_equal),
    "Max": _folded(ew.maximum),
    "Min": _folded(ew.minimum),
    "Sum": _folded(ew.add),
    "Mean": _mean,
    "Clip": _clip,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Where": lambda c: ew.where(*c.tensors()),
    "ReduceSum": _reduce(red.sum),
    "ReduceProd": _reduce(red.prod),
    "ReduceMax": _reduce(red.max),
    "ReduceMin": _reduce(red.min),
    "ReduceMean": _reduce(red.mean),
    "ReduceLogSumExp": _reduce(red.logsumexp),
    "ReduceSumSquare": _reduce(lambda x, **o: red.sum(x * x, **o)),
    "ReduceL1": _reduce(_norm1),
    "ReduceL2": _reduce(_norm2),
    "ReduceLogSum": _reduce(lambda x, **o: ew.log(red.sum(x, **o))),
    "ArgMax": _arg(red.argmax),
    "ArgMin": _arg(red.argmin),
    "Softmax": _softmax(act.softmax),
    "LogSoftmax": _softmax(act.log_softmax),
    "CumSum": _cumulative,
    "MatMul": _binary(matmul),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "BatchNormalization": _batch_norm,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "Tile": _tile,
    "Trilu": _trilu,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Shape": lambda c: Known(list(c.tensor(0).shape[c.attribute("start", 0) : c.attribute("end", BEYOND)])),
    "Size": lambda c: Known(size_of(c.tensor(0).shape)),
}

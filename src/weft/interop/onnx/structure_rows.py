"""Primitives that make, move, reduce or look up elements, in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.shapes import Shape, size_of
from ...core.symbolic import Dim, SymDim
from ...graph.constants import is_constant
from ...graph.ir import Node, Value
from ...graph.protocol import TensorType
from ...ops.creation import constant_value
from ...ops.operands import ANY, BOOL, FLOAT, REAL
from .emitter import ELEMENT_TYPES, Emitter, carrier, tensor_proto, wide
from .rows import (
    Lower,
    Row,
    is_axes,
    is_axis,
    is_dtype,
    is_flag,
    is_shape,
    is_size,
    is_steps,
    is_value,
)

_END = (1 << 63) - 1
_MANY = 1 << 16  # more operands than any node has


def _static(*sizes: Dim) -> bool:
    return not any(isinstance(n, SymDim) for n in sizes)


# --- constants and positions ------------------------------------------------------------------------------------


def filled(emit: Emitter, node: Node) -> str:
    """The number that a node fills a tensor with, as a tensor of rank 0."""
    value = node.params["value"]
    if isinstance(value, SymDim):
        return emit.number(value, node.output.dtype)
    return emit.scalar(constant_value(node.params), node.output.dtype)


def _full(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    import numpy as np

    shape, dtype, value = node.output.shape, node.output.dtype, node.params["value"]
    if isinstance(value, SymDim) or not shape:
        scalar = filled(emit, node)
        return emit("Expand", scalar, emit.vector(shape)) if shape else emit("Identity", scalar)
    with np.errstate(over="ignore"):
        one = np.asarray([constant_value(node.params)]).astype(dtype.numpy)
    return emit("ConstantOfShape", emit.vector(shape), value=tensor_proto("value", dtype, (1,), one.tobytes()))


def _iota(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    shape, axis, dtype = node.output.shape, node.params["axis"], node.output.dtype
    positions = emit("Range", emit.scalar(0, dt.int64), emit.number(shape[axis], dt.int64), emit.scalar(1, dt.int64))
    positions = emit.cast(positions, dt.int64, dtype)
    if len(shape) == 1:
        return positions
    after = len(shape) - 1 - axis
    if after:
        positions = emit("Unsqueeze", positions, emit.integers(range(1, after + 1)))
    return _expand(emit, positions, dtype, shape)


def _expand(emit: Emitter, x: str, dtype: DType, shape: Shape) -> str:
    """ONNX Runtime has no bfloat16 here."""
    middle = dt.float32 if dtype is dt.bfloat16 else dtype
    return emit.cast(emit("Expand", emit.cast(x, dtype, middle), emit.vector(shape)), middle, dtype)


# --- views ------------------------------------------------------------------------------------------------------


def _reshape(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return _shaped(emit, names[0], node.output.shape)


def _shaped(emit: Emitter, name: str, shape: Shape) -> str:
    numbers = [-1 if isinstance(n, SymDim) else n for n in shape]
    if numbers.count(-1) <= 1 and 0 not in numbers:
        return emit("Reshape", name, emit.integers(numbers))
    return emit("Reshape", name, emit.vector(shape), allowzero=1)


def _permute(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return emit("Transpose", names[0], perm=node.params["axes"])


def _broadcast(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return _expand(emit, names[0], node.output.dtype, node.output.shape)


def _slice(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    starts, sizes, steps = (node.params[k] for k in ("starts", "sizes", "steps"))
    whole = node.inputs[0].shape
    axes = [a for a, n in enumerate(whole) if not (sizes[a] == n and steps[a] == 1)]
    if not axes:
        return emit("Identity", names[0])
    ends = tuple(starts[a] + sizes[a] * steps[a] for a in axes)
    last = emit.vector(ends)
    if any(steps[a] < 0 for a in axes):  # an end below 0 would count from the back
        if _static(*ends):
            last = emit.integers([-_END - 1 if n < 0 else n for n in ends])
        else:
            last = emit("Where", emit("Less", last, emit.scalar(0, dt.int64)), emit.scalar(-_END - 1, dt.int64), last)
    return emit(
        "Slice",
        names[0],
        emit.vector(tuple(starts[a] for a in axes)),
        last,
        emit.integers(axes),
        emit.integers([steps[a] for a in axes]),
    )


# --- slice_update and concat -------------------------------------------------------------------------------------


def _is_fill(value: Value) -> bool:
    return value.node is not None and is_constant(value.node)


def _update_needs(node: Node) -> Sequence[Value]:
    return node.inputs[1:] if _is_fill(node.inputs[0]) and set(node.params["steps"]) <= {1} else node.inputs


def _slice_update(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    x, y = node.inputs
    starts, steps = node.params["starts"], node.params["steps"]
    if _is_fill(x) and set(steps) <= {1}:
        assert x.node is not None
        after = tuple(n - m - s for n, m, s in zip(x.shape, y.shape, starts, strict=True))
        return pad(emit, names[1], x.dtype, (*starts, *after), filled(emit, x.node))
    axes = [a for a in range(len(x.shape)) if y.shape[a] != x.shape[a] or steps[a] != 1]
    return _updated(emit, names[0], names[1], x.shape, y.shape, starts, steps, axes)


def pad(emit: Emitter, x: str, dtype: DType, widths: Shape, value: str) -> str:
    """``x`` with a scalar around it: so many elements before each axis, and so many after."""
    middle = carrier(dtype)
    padded = emit("Pad", emit.cast(x, dtype, middle), emit.vector(widths), emit.cast(value, dtype, middle))
    return emit.cast(padded, middle, dtype)


def _updated(
    emit: Emitter, x: str, y: str, shape: Shape, part: Shape, starts: Shape, steps: tuple[int, ...], axes: Sequence[int]
) -> str:
    """``x`` (``shape``) with ``y`` (``part``) in it, one axis after the other: the strip of ``x`` that the first axis
    picks is updated on the other axes and put back."""
    if not axes:
        return y
    axis, *rest = axes
    start, step, count = starts[axis], steps[axis], part[axis]
    end = start + count * step if step == 1 else start + (count - 1) * step + 1

    def cut(begin: Dim, stop: Dim, by: int = 1) -> str:
        return emit("Slice", x, emit.vector((begin,)), emit.vector((stop,)), emit.integers([axis]), emit.integers([by]))

    strip_shape = (*shape[:axis], count, *shape[axis + 1 :])
    inner = _updated(emit, cut(start, end, step) if rest else x, y, strip_shape, part, starts, steps, rest)
    if step == 1:
        before = [] if _static(start) and start == 0 else [cut(0, start)]
        after = [] if end == shape[axis] else [cut(end, shape[axis])]
        return emit("Concat", *before, inner, *after, axis=axis)
    positions = emit("Range", emit.number(start, dt.int64), emit.number(end, dt.int64), emit.scalar(step, dt.int64))
    behind = len(shape) - 1 - axis
    if behind:
        positions = emit("Unsqueeze", positions, emit.integers(range(1, behind + 1)))
    return emit("ScatterElements", x, emit("Expand", positions, emit.vector(strip_shape)), inner, axis=axis)


# --- diagonal, unfold, as_strided --------------------------------------------------------------------------------


def _on_one_axis(emit: Emitter, node: Node, x: str) -> tuple[str, Shape, int, int]:
    """``x`` with the two axes of a diagonal as one, the last; its shape, where the diagonal begins and its step."""
    shape, params = node.inputs[0].shape, node.params
    axes = (params["axis1"], params["axis2"])
    rest = [a for a in range(len(shape)) if a not in axes]
    rows, columns = (int(shape[a]) for a in axes)
    first = max(-params["offset"], 0) * columns + max(params["offset"], 0)
    flat = (*(shape[a] for a in rest), rows * columns)
    turned = emit("Transpose", x, perm=[*rest, *axes])
    return emit("Reshape", turned, emit.vector(flat), allowzero=1), flat, first, columns + 1


def _diagonal(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    length = int(node.output.shape[-1])
    flat, shape, first, step = _on_one_axis(emit, node, names[0])
    last = first + (length - 1) * step + 1 if length else first
    axis = emit.integers([len(shape) - 1])
    return emit("Slice", flat, emit.integers([first]), emit.integers([last]), axis, emit.integers([step]))


def _diagonal_update(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    (x, y), params = node.inputs, node.params
    if 0 in y.shape:
        return emit("Identity", names[0])
    axes = (params["axis1"], params["axis2"])
    rest = [a for a in range(len(x.shape)) if a not in axes]
    flat, shape, first, step = _on_one_axis(emit, node, names[0])
    at = len(shape) - 1
    starts, steps = (*[0] * at, first), (*[1] * at, step)
    written = _updated(emit, flat, names[1], shape, y.shape, starts, steps, [at])
    turned = emit("Reshape", written, emit.vector((*shape[:-1], *(x.shape[a] for a in axes))), allowzero=1)
    order = [*rest, *axes]
    return emit("Transpose", turned, perm=[order.index(a) for a in range(len(order))])


def _unfold(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    axis, size, step = (node.params[k] for k in ("axis", "size", "step"))
    rank = len(node.inputs[0].shape)
    places = grid(emit, (node.output.shape[axis], size), (step, 1), 0)
    windows = emit("Gather", names[0], places, axis=axis)
    return emit("Transpose", windows, perm=[*range(axis + 1), *range(axis + 2, rank + 1), axis + 1])


def grid(emit: Emitter, shape: Shape, strides: Sequence[int], offset: int) -> str:
    """``offset + sum(strides[a] * i_a)`` over ``shape``, int64."""
    total = (
        emit("Expand", emit.scalar(offset, dt.int64), emit.vector(shape)) if shape else emit.scalar(offset, dt.int64)
    )
    for axis, (n, stride) in enumerate(zip(shape, strides, strict=True)):
        positions = emit("Range", emit.scalar(0, dt.int64), emit.number(n, dt.int64), emit.scalar(1, dt.int64))
        positions = emit("Mul", positions, emit.scalar(stride, dt.int64))
        after = len(shape) - 1 - axis
        if after:
            positions = emit("Unsqueeze", positions, emit.integers(range(1, after + 1)))
        total = emit("Add", total, positions)
    return total


def _as_strided(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    shape, strides, offset = (node.params[k] for k in ("shape", "strides", "offset"))
    return emit("Gather", names[0], grid(emit, shape, strides, offset), axis=0)


def _as_strided_update(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    shape, strides, offset = (node.params[k] for k in ("shape", "strides", "offset"))
    if 0 in shape:
        return emit("Identity", names[0])
    last = emit.integers([-1])
    places = emit("Reshape", grid(emit, shape, strides, offset), last)
    return emit("ScatterElements", names[0], places, emit("Reshape", names[1], last), axis=0)


def _is_whole(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    return type(value) is int and abs(value) < 1 << 62


def _is_count(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def are_counts(value: Any, inputs: Sequence[TensorType] = ()) -> bool:
    """A tuple of numbers of elements."""
    return isinstance(value, tuple) and all(_is_count(n) for n in value)


_DIAGONAL = {"offset": _is_whole, "axis1": is_axis, "axis2": is_axis}
_STRIDED = {"shape": are_counts, "strides": are_counts, "offset": _is_count}


def _concat(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return emit("Concat", *names, axis=node.params["axis"])


def _interleave(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    steps, part = node.params["steps"], node.inputs[0].shape
    rank, lead = len(steps), len(part) - len(steps)
    one = [_shaped(emit, name, (1, *part)) for name in names]
    stacked = _shaped(emit, emit("Concat", *one, axis=0), (*steps, *part))
    between = [axis for k in range(rank) for axis in (rank + lead + k, k)]
    turned = emit("Transpose", stacked, perm=(*range(rank, rank + lead), *between))
    return _shaped(emit, turned, node.output.shape)


# --- reductions -------------------------------------------------------------------------------------------------


def _ordered(dtype: DType) -> DType:
    """The dtype to compare in where order matters: uint64 is compared as int64 with the sign bit turned."""
    return dt.int64 if dtype is dt.uint64 else dt.int32 if dtype is dt.bool_ else wide(dtype)


def _turned(emit: Emitter, x: str, dtype: DType) -> str:
    return emit("BitwiseXor", x, emit.scalar(-_END - 1, dt.int64)) if dtype is dt.uint64 else x


def _reduction(op: str, working: Callable[[DType], DType] = carrier, turns: bool = False) -> Lower:
    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        dtype = node.inputs[0].dtype
        middle = working(dtype)
        x = emit.cast(names[0], dtype, middle)
        x = _turned(emit, x, dtype) if turns else x
        result = emit(op, x, emit.integers(node.params["axes"]), keepdims=0)
        result = _turned(emit, result, dtype) if turns else result
        return emit.cast(result, middle, node.output.dtype)

    return lower


def _arg(op: str) -> Lower:
    """ONNX knows one axis: adjacent ones are made one first."""

    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        dtype, axes, shape = node.inputs[0].dtype, node.params["axes"], node.inputs[0].shape
        middle = _ordered(dtype)
        x = _turned(emit, emit.cast(names[0], dtype, middle), dtype)
        if len(axes) > 1:
            merged = (*shape[: axes[0]], size_of(shape[a] for a in axes), *shape[axes[-1] + 1 :])
            x = emit("Reshape", x, emit.vector(merged), allowzero=1)
        return emit(op, x, axis=axes[0], keepdims=0)

    return lower


def _cumulative_sum(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    dtype = node.output.dtype
    middle = carrier(dtype)
    total = emit("CumSum", emit.cast(names[0], dtype, middle), emit.scalar(node.params["axis"], dt.int64))
    return emit.cast(total, middle, dtype)


def _cumulative_prod(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """A Scan whose state is the product so far."""
    from onnx import helper

    axis, dtype, shape = node.params["axis"], node.output.dtype, node.output.shape
    middle = carrier(dtype)
    line = (*shape[:axis], *shape[axis + 1 :])
    before, element, after, out = (emit.fresh(f"{emit.scope}/{n}") for n in ("before", "element", "after", "product"))
    kind = ELEMENT_TYPES[middle]
    typed = {n: helper.make_tensor_value_info(n, kind, [None] * len(line)) for n in (before, element, after, out)}
    body = helper.make_graph(
        [helper.make_node("Mul", [before, element], [after]), helper.make_node("Identity", [after], [out])],
        emit.fresh("product_so_far"),
        [typed[before], typed[element]],
        [typed[after], typed[out]],
    )
    start = emit("Expand", emit.scalar(1, middle), emit.vector(line)) if line else emit.scalar(1, middle)
    name = emit.fresh(f"{emit.scope}/Scan")
    emit.nodes.append(
        helper.make_node(
            "Scan",
            [start, emit.cast(names[0], dtype, middle)],
            [emit.fresh("last"), name],
            name=name,
            body=body,
            num_scan_inputs=1,
            scan_input_axes=[axis],
            scan_output_axes=[axis],
        )
    )
    return emit.cast(name, middle, dtype) if middle is not dtype else emit("Identity", name)


# --- indices ----------------------------------------------------------------------------------------------------


def _positions(emit: Emitter, indices: Sequence[str]) -> str:
    """Index arrays as one array of tuples."""
    last = emit.integers([-1])
    apart = [emit("Unsqueeze", i, last) for i in indices]
    return emit("Concat", *apart, axis=-1) if len(apart) > 1 else apart[0]


def _gather(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    x, *indices = names
    if len(indices) == 1:
        return emit("Gather", x, indices[0], axis=0)
    return emit("GatherND", x, _positions(emit, indices))


def _pick(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    axis = node.params["axis"]
    return emit("GatherElements", names[0], names[1 + axis], axis=axis)


def _scatter(reduction: str) -> Lower:
    """Where an element is set several times, ONNX does not say which value stays; in weft it is the last."""

    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        x, *indices, updates = names
        dtype = node.output.dtype
        middle = dtype if reduction == "none" else carrier(dtype)
        into, written = (emit.cast(name, dtype, middle) for name in (x, updates))
        if reduction == "max":
            into, written = (_turned(emit, name, dtype) for name in (into, written))
        result = emit("ScatterND", into, _positions(emit, indices), written, reduction=reduction)
        return emit.cast(_turned(emit, result, dtype) if reduction == "max" else result, middle, dtype)

    return lower


def _scatter_within(reduction: str) -> Lower:
    """The axis before those of the indices goes behind them, and comes back."""
    lower = _scatter(reduction)

    def turned(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        x, *indices, updates = names
        rank, count = len(node.output.shape), len(indices)
        there = [*range(1, 1 + count), 0, *range(1 + count, rank)]
        first = emit("Transpose", x, perm=there)
        values = emit("Transpose", updates, perm=[1, 0, *range(2, len(node.inputs[-1].shape))])
        written = lower(emit, node, [first, *indices, values])
        assert isinstance(written, str)
        return emit("Transpose", written, perm=[there.index(a) for a in range(rank)])

    return turned


def _argsort(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """The positions of a TopK, which takes the first of equal elements too."""
    dtype, kept = node.inputs[0].dtype, emit.vector((node.params["kept"],))
    x = _turned(emit, emit.cast(names[0], dtype, _ordered(dtype)), dtype)
    values, positions = (emit.fresh(f"{emit.scope}/{n}" if emit.scope else n) for n in ("ordered", "positions"))
    emit.several("TopK", [x, kept], [values, positions], axis=1, largest=int(node.params["descending"]), sorted=1)
    return positions


def _shuffle(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """A Loop over i = n - 1 ... 1 that exchanges the elements i and ``swaps[i]``."""
    from onnx import TensorProto, helper

    x, swaps = names
    count = emit("Sub", emit.number(node.output.shape[0], dt.int64), emit.scalar(1, dt.int64))
    turn, go_on, before, still, after, i, j, both, values, pair = (
        emit.fresh(f"{emit.scope}/{n}")
        for n in ("turn", "go_on", "before", "still", "after", "i", "j", "both", "values", "pair")
    )
    last, column = emit.integers([0]), emit.integers([-1])
    position = emit.fresh(f"{emit.scope}/position")
    swapped = emit.fresh(f"{emit.scope}/swapped")
    body = helper.make_graph(
        [
            helper.make_node("Sub", [count, turn], [position]),
            helper.make_node("Unsqueeze", [position, last], [i]),
            helper.make_node("Gather", [swaps, i], [j]),
            helper.make_node("Concat", [i, j], [both], axis=0),
            helper.make_node("Concat", [j, i], [swapped], axis=0),
            helper.make_node("Gather", [before, swapped], [values]),
            helper.make_node("Unsqueeze", [both, column], [pair]),
            helper.make_node("ScatterND", [before, pair, values], [after]),
            helper.make_node("Identity", [go_on], [still]),
        ],
        emit.fresh("exchange"),
        [
            helper.make_tensor_value_info(turn, TensorProto.INT64, []),
            helper.make_tensor_value_info(go_on, TensorProto.BOOL, []),
            helper.make_tensor_value_info(before, ELEMENT_TYPES[node.output.dtype], [None]),
        ],
        [
            helper.make_tensor_value_info(still, TensorProto.BOOL, []),
            helper.make_tensor_value_info(after, ELEMENT_TYPES[node.output.dtype], [None]),
        ],
    )
    return emit("Loop", count, "", x, body=body)


# --- the table --------------------------------------------------------------------------------------------------


def _is_permutation(value: Any, inputs: Sequence[Any]) -> bool:
    return is_axes(value, inputs) and len(value) == len(inputs[0].shape)


def _is_result_axis(value: Any, inputs: Sequence[Any]) -> bool:
    return type(value) is int and value >= 0


def _is_forward(value: Any, inputs: Sequence[Any]) -> bool:
    return is_steps(value) and all(n > 0 for n in value)


def _fits_shape(params: dict[str, Any], inputs: Sequence[Any]) -> bool:
    return bool(params["axis"] < len(params["shape"]))


def _fits_value(params: dict[str, Any], inputs: Sequence[Any]) -> bool:
    value, dtype = params["value"], params["dtype"]
    if isinstance(value, SymDim) or (dtype.is_floating and not (isinstance(value, int) and value.bit_length() > 1023)):
        return True
    low = -(1 << dtype.bits - 1) if dtype.is_signed else 0
    return (
        isinstance(value, (int, float))
        and math.isfinite(value)
        and (dtype.kind == "bool" or low <= value < low + (1 << dtype.bits))
    )


_AXES = {"axes": is_axes}
_SCAN = {"axis": is_axis}

STRUCTURE: dict[str, Row] = {
    "full": Row(
        _full, (0, 0), {"shape": is_shape, "value": is_value, "dtype": is_dtype}, accepts=_fits_value, kinds=()
    ),
    "iota": Row(
        _iota, (0, 0), {"shape": is_shape, "axis": _is_result_axis, "dtype": is_dtype}, accepts=_fits_shape, kinds=()
    ),
    "reshape": Row(_reshape, (1, 1), {"shape": is_shape}, kinds=ANY.kinds),
    "permute": Row(_permute, (1, 1), {"axes": _is_permutation}, kinds=ANY.kinds),
    "broadcast_to": Row(_broadcast, (1, 1), {"shape": is_shape}, spreads=True, kinds=ANY.kinds),
    "slice": Row(_slice, (1, 1), {"starts": is_shape, "sizes": is_shape, "steps": is_steps}, kinds=ANY.kinds),
    "concat": Row(_concat, (1, _MANY), {"axis": is_axis}, kinds=ANY.kinds),
    "interleave": Row(_interleave, (1, _MANY), {"steps": _is_forward}, kinds=ANY.kinds),
    "slice_update": Row(
        _slice_update, (2, 2), {"starts": is_shape, "steps": _is_forward}, needs=_update_needs, kinds=ANY.kinds
    ),
    "diagonal": Row(_diagonal, (1, 1), _DIAGONAL, kinds=ANY.kinds),
    "diagonal_update": Row(_diagonal_update, (2, 2), _DIAGONAL, kinds=ANY.kinds),
    "unfold": Row(_unfold, (1, 1), {"axis": is_axis, "size": _is_count, "step": _is_count}, kinds=ANY.kinds),
    "as_strided": Row(_as_strided, (1, 1), _STRIDED, kinds=ANY.kinds),
    "as_strided_update": Row(_as_strided_update, (2, 2), _STRIDED, kinds=ANY.kinds),
    "sum": Row(_reduction("ReduceSum"), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "prod": Row(_reduction("ReduceProd"), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "max": Row(_reduction("ReduceMax", _ordered, turns=True), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "min": Row(_reduction("ReduceMin", _ordered, turns=True), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "supremum": Row(_reduction("ReduceMax", _ordered, turns=True), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "any": Row(_reduction("ReduceSum", lambda dtype: dt.int64), (1, 1), _AXES, kinds=BOOL.kinds),
    "all": Row(_reduction("ReduceProd", lambda dtype: dt.int32), (1, 1), _AXES, kinds=BOOL.kinds),
    "argmax": Row(_arg("ArgMax"), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "argmin": Row(_arg("ArgMin"), (1, 1), _AXES, kinds=REAL.kinds, halves=False),
    "det": Row(lambda emit, node, names: emit("Det", names[0]), (1, 1), kinds=FLOAT.kinds, halves=False),
    "cumulative_sum": Row(_cumulative_sum, (1, 1), _SCAN, kinds=REAL.kinds, halves=False),
    "cumulative_prod": Row(_cumulative_prod, (1, 1), _SCAN, kinds=REAL.kinds, halves=False),
    "gather": Row(_gather, (2, _MANY), kinds=ANY.kinds),
    "pick": Row(
        _pick,
        (2, _MANY),
        {"axis": is_axis},
        needs=lambda node: (node.inputs[0], node.inputs[1 + node.params["axis"]]),
        accepts=lambda params, inputs: len(inputs) == 1 + len(inputs[0].shape),
        kinds=ANY.kinds,
    ),
    "scatter_add": Row(_scatter("add"), (3, _MANY), kinds=REAL.kinds, halves=False),
    "scatter_add_within": Row(_scatter_within("add"), (3, _MANY), kinds=REAL.kinds, halves=False),
    "scatter_max": Row(_scatter("max"), (3, _MANY), kinds=REAL.kinds),
    "scatter_set_within": Row(_scatter_within("none"), (3, _MANY), kinds=ANY.kinds),
    "scatter_set": Row(_scatter("none"), (3, _MANY), kinds=ANY.kinds),
    "argsort": Row(
        _argsort,
        (1, 1),
        {"kept": lambda value, inputs: is_size(value), "descending": is_flag},
        kinds=ANY.kinds,
        halves=False,
    ),
    "shuffle": Row(_shuffle, (2, 2), kinds=ANY.kinds),
}

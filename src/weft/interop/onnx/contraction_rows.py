"""Contractions over several axes, convolutions among them, in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.shapes import Shape, size_of
from ...graph.ir import Node
from ...ops.operands import FLOAT, REAL
from .emitter import Emitter, carrier
from .rows import Lower, Row, is_dtype
from .structure_rows import grid, pad


def _contract(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    middle = carrier(node.output.dtype)
    return emit.through(middle, node.output.dtype, "MatMul", *names)


def _contract_float32(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return emit("MatMul", *(emit.cast(name, node.inputs[0].dtype, dt.float32) for name in names))


def _contract_int32(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return emit("MatMul", *(emit.cast(name, v.dtype, dt.int32) for name, v in zip(names, node.inputs, strict=True)))


def _reshaped(emit: Emitter, x: str, shape: Shape) -> str:
    return emit("Reshape", x, emit.vector(shape), allowzero=1)


def _contract_axes(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """One axis for each group, MatMul, the axes again."""
    (a, b), batch, summed = (v.shape for v in node.inputs), node.params["batch"], node.params["summed"]
    rows, depth, columns = a[batch : len(a) - summed], a[len(a) - summed :], b[batch + summed :]
    k = size_of(depth)
    left = _reshaped(emit, names[0], (*a[:batch], size_of(rows), k))
    right = _reshaped(emit, names[1], (*b[:batch], k, size_of(columns)))
    return _reshaped(emit, _contract(emit, node, (left, right)), node.output.shape)


# --- convolutions -----------------------------------------------------------------------------------------------


def _padded(emit: Emitter, node: Node, x: str) -> tuple[str, Shape]:
    """The padded input, and its shape."""
    value, before, after = node.inputs[0], node.params["before"], node.params["after"]
    if not any(before) and not any(after):
        return x, value.shape
    widths = (0, 0, *before, 0, 0, *after)
    shape = tuple(b + n + a for b, n, a in zip(widths, value.shape, widths[len(value.shape) :], strict=False))
    return pad(emit, x, value.dtype, widths, emit.scalar(0, value.dtype)), shape


def _windows(emit: Emitter, node: Node, x: str, kernel: Shape, results: Shape, kernel_first: bool) -> str:
    """The windows of ``x``, written down: ``(N, groups, C / groups, kernel, results)``, or results before kernel."""
    x, (n, channels, *spatial) = _padded(emit, node, x)
    groups, strides = node.params["groups"], [1] * len(spatial)
    for axis in range(len(spatial) - 1, 0, -1):
        strides[axis - 1] = strides[axis] * int(spatial[axis])
    flat = _reshaped(emit, x, (n, groups, int(channels) // groups, size_of(spatial)))
    inner = [d * s for d, s in zip(node.params["dilation"], strides, strict=True)]
    outer = [t * s for t, s in zip(node.params["stride"], strides, strict=True)]
    first, second = ((kernel, inner), (results, outer)) if kernel_first else ((results, outer), (kernel, inner))
    places = grid(emit, (*first[0], *second[0]), (*first[1], *second[1]), 0)
    return emit("Gather", flat, _reshaped(emit, places, (size_of(first[0]), size_of(second[0]))), axis=3)


def _convolve(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """Conv of float32, which it is for; others, which ONNX Runtime does not have, are products with windows."""
    (x, w), y, dtype = (v.type for v in node.inputs), node.output, node.inputs[0].dtype
    groups, kernel = node.params["groups"], w.shape[2:]
    if dtype.is_floating and dtype.bits <= 32 and 0 not in (*x.shape, *w.shape):
        operands = (emit.cast(name, dtype, dt.float32) for name in names)
        steps = {"strides": node.params["stride"], "dilations": node.params["dilation"], "group": groups}
        pads = {"pads": (*node.params["before"], *node.params["after"])}
        return emit.cast(emit("Conv", *operands, **steps, **pads), dt.float32, y.dtype)
    results = y.shape[2:]
    k = size_of(w.shape[1:])
    windows = _windows(emit, node, names[0], kernel, results, kernel_first=True)
    windows = _reshaped(emit, windows, (x.shape[0], groups, k, size_of(results)))
    matrices = _reshaped(emit, names[1], (1, groups, int(w.shape[0]) // groups, k))
    return _reshaped(emit, _product(emit, node, matrices, windows), y.shape)


def _convolve_weight(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    (x, g), w = (v.shape for v in node.inputs), node.output.shape
    groups, results = node.params["groups"], g[2:]
    k, inside = size_of((x[0], *results)), size_of(w[1:])
    windows = _windows(emit, node, names[0], w[2:], results, kernel_first=False)
    windows = _reshaped(emit, emit("Transpose", windows, perm=[1, 0, 3, 2, 4]), (groups, k, inside))
    apart = _reshaped(emit, names[1], (g[0], groups, int(g[1]) // groups, size_of(results)))
    matrices = _reshaped(emit, emit("Transpose", apart, perm=[1, 2, 0, 3]), (groups, int(g[1]) // groups, k))
    return _reshaped(emit, _product(emit, node, matrices, windows), w)


def _product(emit: Emitter, node: Node, a: str, b: str) -> str:
    middle, dtype = carrier(node.inputs[0].dtype), node.inputs[0].dtype
    return emit.cast(
        emit("MatMul", emit.cast(a, dtype, middle), emit.cast(b, dtype, middle)), middle, node.output.dtype
    )


def _is_count(value: Any, inputs: Sequence[Any]) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _are_counts(value: Any, inputs: Sequence[Any]) -> bool:
    return isinstance(value, tuple) and len(value) == len(inputs[0].shape) - 2 and all(_is_count(n, ()) for n in value)


_CONVOLUTION = {
    **dict.fromkeys(("stride", "dilation", "before", "after"), _are_counts),
    "groups": _is_count,
    "dtype": is_dtype,
}


def _row(lower: Lower, kinds: tuple[str, ...] | None, **params: Any) -> Row:
    return Row(lower, (2, 2), params, kinds=kinds)


CONTRACTIONS: dict[str, Row] = {
    "contract": _row(_contract, REAL.kinds),
    "contract_float32": _row(_contract_float32, FLOAT.kinds),
    "contract_int32": _row(_contract_int32, ("int", "uint")),
    "contract_axes": _row(_contract_axes, REAL.kinds, batch=_is_count, summed=_is_count),
    "convolve": _row(_convolve, REAL.kinds, **_CONVOLUTION),
    "convolve_weight": _row(_convolve_weight, REAL.kinds, **_CONVOLUTION, kernel=_are_counts),
}

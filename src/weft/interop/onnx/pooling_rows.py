"""Pooling in ONNX: MaxPool and AveragePool where the standard's kernels exist, else what it is composed of."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ...core import dtypes as dt
from ...graph.ir import Node
from ...graph.protocol import Composed, TensorType
from ...ops.operands import ANY, REAL
from .emitter import Emitter
from .rows import Row
from .structure_rows import STRUCTURE, are_counts, pad


def _padded(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    dtype, params = node.inputs[0].dtype, node.params
    value = emit.scalar(params["value"], dtype)
    return pad(emit, names[0], dtype, (*params["before"], *params["after"]), value)


def _max_pool(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    if node.output.dtype not in (dt.float32, dt.float64):
        return _composed(emit, node, names)
    return _pool(emit, "MaxPool", node, names[0], dilations=node.params["dilation"])


def _sum_pool(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    if node.output.dtype is not dt.float32 or max(node.params["dilation"]) > 1:
        return _composed(emit, node, names)
    mean = _pool(emit, "AveragePool", node, names[0], count_include_pad=1)
    return emit("Mul", mean, emit.scalar(prod(node.params["size"]), dt.float32))


def _pool(emit: Emitter, op: str, node: Node, x: str, **attributes: Any) -> str:
    """A pooling op of the standard, which wants an axis of batches and one of channels."""
    params, shape = node.params, node.inputs[0].shape
    lead = len(shape) - len(params["size"])
    sizes = {"kernel_shape": params["size"], "strides": params["step"], "pads": (*params["before"], *params["after"])}
    if lead == 2:  # these sizes may be symbolic
        return emit(op, x, **sizes, **attributes)
    x = emit("Reshape", x, emit.vector((prod(map(int, shape[:lead])), 1, *map(int, shape[lead:]))), allowzero=1)
    return emit("Reshape", emit(op, x, **sizes, **attributes), emit.vector(node.output.shape), allowzero=1)


def _composed(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """The ops that the op is composed of, one after the other."""
    rule, chain = node.op.lower, []
    assert isinstance(rule, Composed)
    value = rule.made(node)
    while value is not node.inputs[0]:
        chain.append(value.node)
        value = value.node.inputs[0]
    name = names[0]
    for part in reversed(chain):
        row = POOLING[part.op.name] if part.op.name in POOLING else STRUCTURE[part.op.name]
        name = str(row.lower(emit, part, [name]))
    return name


def _is_number(value: Any, inputs: Sequence[TensorType]) -> bool:
    if inputs[0].dtype.is_floating:
        return type(value) in (int, float)
    return type(value) is int and -(1 << 63) <= value < 1 << 64


def _fits(params: dict[str, Any], inputs: Sequence[TensorType]) -> bool:
    """Parameters that the op's own rule looks at: as many as there are axes, all of one length."""
    lengths = {len(value) for value in params.values() if isinstance(value, tuple)}
    return len(lengths) == 1 and 1 <= lengths.pop() <= len(inputs[0].shape)


_WINDOWS = dict.fromkeys(("size", "step", "dilation", "before", "after"), are_counts)
POOLING: dict[str, Row] = {
    "padded": Row(
        _padded,
        (1, 1),
        {"before": are_counts, "after": are_counts, "value": _is_number},
        accepts=_fits,
        kinds=ANY.kinds,
    ),
    "max_pool": Row(_max_pool, (1, 1), _WINDOWS, accepts=_fits, kinds=REAL.kinds, halves=False),
    "sum_pool": Row(_sum_pool, (1, 1), _WINDOWS, accepts=_fits, kinds=REAL.kinds, halves=False),
}

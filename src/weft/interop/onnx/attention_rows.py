"""Attention in ONNX: the ops that it is made of. Standard ONNX has an op for it in later opsets, and none for its
gradients; a file's notes say what it was, so that weft loads it as such."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core import dtypes as dt
from ...graph.constants import is_constant
from ...graph.ir import Node, Value
from ...graph.protocol import Attend, TensorType
from ...graph.simplify import simplify
from ...ops.attend import composition
from ...ops.operands import FLOAT
from .emitter import Emitter
from .rows import Row, is_flag
from .structure_rows import STRUCTURE, filled

_MANY = 1 << 16  # more masks than any node has


def _spread_of(node: Node) -> list[Value | Node]:
    """The operands, of what is elementwise before it was spread: ONNX does that by itself. A node is of a constant."""
    rule = node.op.lower
    assert isinstance(rule, Attend)
    return [value if at < rule.matrices else _thin(value) for at, value in enumerate(node.inputs)]


def _thin(value: Value) -> Value | Node:
    made = value.node
    if made is None or is_constant(made):
        return value if made is None else made
    row = STRUCTURE.get(made.op.name)
    return made.inputs[0] if row is not None and row.spreads else value


def _needs(node: Node) -> Sequence[Value]:
    return [x for x in _spread_of(node) if isinstance(x, Value)]


def _attend(emit: Emitter, node: Node, names: Sequence[str]) -> str | Sequence[str]:
    given = [emit.values[x] if isinstance(x, Value) else filled(emit, x) for x in _spread_of(node)]
    graph = simplify(composition(node))
    inner = emit.inside(graph, given)
    emit.nodes += inner.nodes
    found = [inner.values[v] for v in graph.outputs]
    if len(found) == 1:
        return found[0]
    for name, value in zip(found, node.outputs, strict=True):
        emit.several("Identity", [name], [emit.values[value]])
    return [emit.values[v] for v in node.outputs]


def _is_probability(value: Any, inputs: Sequence[TensorType]) -> bool:
    return type(value) is float and 0.0 <= value <= 1.0


def _drops_as_it_says(params: dict[str, Any], inputs: Sequence[TensorType]) -> bool:
    """With dropout, the last operand says what is dropped, behind all that is there without it."""
    return not params["dropout"] or inputs[-1].dtype is dt.bool_


def _row(least: int) -> Row:
    return Row(
        _attend,
        (least, _MANY),
        {"causal": is_flag, "dropout": _is_probability},
        needs=_needs,
        accepts=_drops_as_it_says,
        kinds=FLOAT.kinds,
        halves=False,
    )


ATTENTION: dict[str, Row] = {"attend": _row(4), "attend_queries": _row(8), "attend_keys": _row(8)}

"""Branches and loops in ONNX: If, Scan where iterations are the parts of sequences, Loop for all others.

A body reads its operands, but for carries and parts of sequences, by their names around it. In a Loop it finds its
parts of sequences by the number of the iteration. A loop that may not go on after so many iterations, and would, is an
error elsewhere too: an index out of range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.symbolic import Dim
from ...graph.ir import Graph, Node
from ...graph.protocol import TensorType
from ...ops.operands import ANY
from .emitter import Emitter, value_info
from .rows import Row, is_flag, is_size

_MANY = 1 << 16  # more operands than any node has
_FLAG, _NUMBER = TensorType(dt.bool_, ()), TensorType(dt.int64, ())


def _branch(emit: Emitter, node: Node, names: Sequence[str]) -> Sequence[str]:
    sides = {}
    for attribute, side in (("then_branch", "true"), ("else_branch", "false")):
        graph = node.params[side]
        inner = emit.inside(graph, names[1:])
        sides[attribute] = _proto(inner, emit.fresh(side), (), [(inner.values[v], v.type) for v in graph.outputs])
    return emit.several("If", [names[0]], [emit.values[v] for v in node.outputs], **sides)


def _proto(
    inner: Emitter, name: str, inputs: Sequence[tuple[str, TensorType]], outputs: Sequence[tuple[str, TensorType]]
) -> Any:
    """The GraphProto of what was written; outputs get names of their own."""
    from onnx import helper

    ends = [value_info(inner("Identity", each), type_) for each, type_ in outputs]
    return helper.make_graph(inner.nodes, name, [value_info(*each) for each in inputs], ends)


def _loop(emit: Emitter, node: Node, names: Sequence[str]) -> Sequence[str]:
    p = node.params
    flags = p["has_go"] + p["has_count"] + p["gives_count"]
    return (_by_scan if p["sequences"] and not flags else _by_loop)(emit, node, names)


def _by_scan(emit: Emitter, node: Node, names: Sequence[str]) -> Sequence[str]:
    p, graph = node.params, node.params["body"]
    given = p["carries"] + p["sequences"]
    own = [(emit.fresh("part"), v.type) for v in graph.inputs[:given]]
    inner = emit.inside(graph, [*(name for name, _ in own), *names[given:]])
    body = _proto(inner, emit.fresh("body"), own, [(inner.values[v], v.type) for v in graph.outputs])
    results = len(graph.outputs) - p["carries"]
    attributes: dict[str, Any] = {"scan_input_directions": [int(p["reverse"])] * p["sequences"]}
    if results:
        attributes["scan_output_directions"] = [int(p["reverse"])] * results
    outputs = [emit.values[v] for v in node.outputs]
    return emit.several("Scan", names[:given], outputs, body=body, num_scan_inputs=p["sequences"], **attributes)


def _by_loop(emit: Emitter, node: Node, names: Sequence[str]) -> Sequence[str]:
    p, graph = node.params, node.params["body"]
    flags, carries, sequences = p["has_go"] + p["has_count"], p["carries"], p["sequences"]
    go = names[0] if p["has_go"] else ""
    times = "" if p["length"] is None else emit.number(p["length"], dt.int64)
    if p["has_count"]:
        count = names[p["has_go"]]
        times = emit("Min", times, count) if times else count
    operands = names[flags:]
    # What the body gets and gives: carries; whether to go on and how many iterations there were, where that is asked.
    number, going = emit.fresh("iteration"), emit.fresh("going")
    own = [(emit.fresh("carry"), v.type) for v in graph.inputs[:carries]]
    more: list[tuple[str, str, TensorType]] = []  # its name in the body, what it begins with, its type
    if p["bounded"]:
        more.append((emit.fresh("carry"), go, _FLAG))
    if p["gives_count"]:
        more.append((emit.fresh("carry"), emit.scalar(0, dt.int64), _NUMBER))
    inputs = [(number, _NUMBER), (going, _FLAG), *own, *((name, type_) for name, _, type_ in more)]

    parts = [emit.fresh("part") for _ in range(sequences)]
    inner = emit.inside(graph, [*(name for name, _ in own), *parts, *operands[carries + sequences :]], lambda into: (
        _parts(into, number, times if p["reverse"] else "", operands[carries : carries + sequences], parts)
    ))  # fmt: skip
    made = [(inner.values[v], v.type) for v in graph.outputs]
    first = made[0] if p["has_go"] else (going, _FLAG)
    outputs = [first, *made[p["has_go"] : p["has_go"] + carries]]
    if p["bounded"]:
        outputs.append(first)
    if p["gives_count"]:
        outputs.append((inner("Add", number, inner.scalar(1, dt.int64)), _NUMBER))
    outputs += made[p["has_go"] + carries :]
    body = _proto(inner, emit.fresh("body"), inputs, outputs)

    found = [emit.fresh("loop") for _ in outputs[1:]]
    begins = [*operands[:carries], *(start for _, start, _ in more)]
    emit.several("Loop", [times, go, *begins], found, body=body)
    results = found[carries + len(more) :]
    if p["reverse"]:
        results = [_reversed(emit, name) for name in results]
    if p["has_go"] or p["has_count"]:
        pairs = zip(results, made[p["has_go"] + carries :], strict=True)
        results = [_lengthened(emit, name, type_, p["length"]) for name, (_, type_) in pairs]
    results = [*found[:carries], *results, *([found[carries + p["bounded"]]] if p["gives_count"] else [])]
    if p["bounded"]:
        index = emit.cast(found[carries], dt.bool_, dt.int64)
        results = [emit("Gather", emit("Unsqueeze", name, emit.integers([0])), index, axis=0) for name in results]
    return [
        emit.several("Identity", [name], [emit.values[v]])[0] for name, v in zip(results, node.outputs, strict=True)
    ]


def _parts(inner: Emitter, number: str, times: str, sequences: Sequence[str], parts: Sequence[str]) -> None:
    """An iteration's parts of sequences; with ``times``, of which it is so many, from the last one on."""
    index = number
    if times:
        index = inner("Sub", inner("Sub", times, inner.scalar(1, dt.int64)), number)
    for sequence, part in zip(sequences, parts, strict=True):
        inner.several("Gather", [sequence, index], [part], axis=0)


def _reversed(emit: Emitter, name: str) -> str:
    last, before_first, axis = emit.integers([-1]), emit.integers([-(1 << 63)]), emit.integers([0])
    return emit("Slice", name, last, before_first, axis, emit.integers([-1]))


def _lengthened(emit: Emitter, name: str, part: TensorType, length: Dim) -> str:
    """With zeros for the iterations that there were not."""
    missing = emit("Sub", emit.size(length), emit("Shape", name, start=0, end=1))
    shape = emit("Concat", missing, emit.vector(part.shape), axis=0) if part.shape else missing
    middle: DType = dt.float32 if part.dtype is dt.bfloat16 else part.dtype  # ONNX Runtime has no bfloat16 here
    zeros = emit("Expand", emit.scalar(0, middle), shape)
    return emit("Concat", name, emit.cast(zeros, middle, part.dtype), axis=0)


# --- checks -----------------------------------------------------------------------------------------------------


def _is_graph(value: Any, inputs: Sequence[TensorType]) -> bool:
    return isinstance(value, Graph)


def _is_count(value: Any, inputs: Sequence[TensorType]) -> bool:
    return type(value) is int and 0 <= value <= _MANY


def _is_length(value: Any, inputs: Sequence[TensorType]) -> bool:
    return value is None or is_size(value)


def _fits(params: Mapping[str, Any], inputs: Sequence[TensorType]) -> bool:
    """A loop that ends, or says itself when; as many operands as it has carries and sequences."""
    p = params
    if p["length"] is None and (not p["has_go"] or p["sequences"] or p["bounded"]):
        return False
    given = p["carries"] + p["sequences"]
    results = len(p["body"].outputs) - p["has_go"] - p["carries"]
    if results < 0 or (results and p["length"] is None) or (p["bounded"] and not p["has_go"]):
        return False
    return len(inputs) >= p["has_go"] + p["has_count"] + given and len(p["body"].inputs) >= given


CONTROL: dict[str, Row] = {
    "cond": Row(_branch, (1, _MANY), {"true": _is_graph, "false": _is_graph}, kinds=ANY.kinds),
    "loop": Row(
        _loop,
        (0, _MANY),
        {
            "body": _is_graph,
            "length": _is_length,
            **dict.fromkeys(("carries", "sequences"), _is_count),
            **dict.fromkeys(("reverse", "has_go", "has_count", "gives_count", "bounded"), is_flag),
        },
        accepts=_fits,
        kinds=ANY.kinds,
    ),
}

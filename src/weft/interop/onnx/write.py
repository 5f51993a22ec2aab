"""From weft's graph to an ONNX model.

Every node of the graph is written by its row of the table. What it was is noted at the ONNX node that computes its
value, in ``metadata_props["weft"]``: a JSON list of nodes, so that the graph can be rebuilt as it was. There are
several where ONNX needs fewer: an ONNX op broadcasts its operands by itself, and a constant need not be spread out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import FormatError
from ...core.shapes import Shape
from ...core.symbolic import SymDim
from ...graph.constants import is_constant
from ...graph.ir import Graph, Node, Value, subgraphs
from ...tensor.tensor import Tensor
from .emitter import Emitter, tensor_proto, value_info
from .rows import Row
from .structure_rows import filled
from .table import ROWS, SEVERAL, UNSUPPORTED
from .tags import bytes_of, dumps, encode_node

IR_VERSION = 10  # the first with metadata_props on nodes
OPSET = 21  # of the same release, ONNX 1.16
TAG = "weft"


def write_graph(
    graph: Graph, inputs: Mapping[Value, str], outputs: Sequence[str], state: Mapping[Value, tuple[str, Tensor]]
) -> tuple[Any, list[str]]:
    """The GraphProto of a simplified graph, and the names of the values that are its outputs.

    Args:
        inputs: names of the inputs that are given at each call, in order.
        outputs: names of the outputs.
        state: names and values of the other inputs, which become initializers.

    Raises:
        FormatError: a primitive that ONNX cannot express, by name.
    """
    _check(graph)
    from onnx import helper

    values = _value_names(graph, inputs, outputs, state)
    emit = Emitter(_sizes(graph, inputs), values, _write_nodes)
    needed = _needed(graph)
    waiting: list[dict[str, Any]] = []
    for node in graph.nodes:
        waiting.append(encode_node(node, values))
        if not needed.isdisjoint(node.outputs):
            _write_node(emit, node)
            emit.nodes[-1].metadata_props.add(key=TAG, value=dumps(waiting))
            waiting = []
    for name, value in zip(outputs, graph.outputs, strict=True):
        if values[value] != name:
            copied = helper.make_node("Identity", [values[value]], [name], name=emit.fresh(f"{name}/Identity"))
            emit.nodes.append(copied)
    constants = [tensor_proto(name, t.dtype, t.shape, bytes_of(t)) for name, t in state.values()]
    made_here = [v for node in graph.nodes for v in node.outputs]
    notes = [value_info(values[v], v.type) for v in made_here if v in needed and values[v] not in outputs]
    made = helper.make_graph(
        emit.nodes,
        graph.name,
        [value_info(name, v.type) for v, name in inputs.items()],
        [value_info(n, v.type) for n, v in zip(outputs, graph.outputs, strict=True)],
        constants + emit.constants,
        value_info=notes,
    )
    return made, [values[v] for v in graph.outputs]


def _check(graph: Graph) -> None:
    """Raise where a node, of a body too, has no row."""
    for node in graph.nodes:
        many = len(node.outputs) != 1 or subgraphs(node)
        if node.op.name not in ROWS or (many and node.op.name not in SEVERAL):
            reason = "files hold no such ops yet that have several outputs" if many else "it has no row in weft's table"
            reason = UNSUPPORTED.get(node.op.name, reason)
            where = f" (at {node.where[0]}:{node.where[1]})" if node.where else ""
            raise FormatError(f"save: the primitive {node.op.name}{where} cannot be written in ONNX: {reason}")
        for body in subgraphs(node).values():
            _check(body)


def _write_nodes(emit: Emitter, graph: Graph) -> None:
    """Write what a body needs of its nodes."""
    needed = _needed(graph)
    for node in graph.nodes:
        if not needed.isdisjoint(node.outputs):
            _write_node(emit, node)


def _value_names(
    graph: Graph, inputs: Mapping[Value, str], outputs: Sequence[str], state: Mapping[Value, tuple[str, Tensor]]
) -> dict[Value, str]:
    """A name for each value: that of the input, initializer or output, else its composite, op and number."""
    names = {**inputs, **{v: name for v, (name, _) in state.items()}}
    taken = {*names.values(), *outputs}
    for name, value in zip(outputs, graph.outputs, strict=True):
        names.setdefault(value, name)
    for number, node in enumerate(graph.nodes):
        for value in node.outputs:
            if value not in names:
                name = f"{_path(node)}_{number}" if len(node.outputs) == 1 else f"{_path(node)}_{number}.{value.index}"
                while name in taken:
                    name += "_"
                names[value] = name
    return names


def _path(node: Node) -> str:
    """The composites and the op; a composite that is called like its op is named once."""
    scope = node.scope[:-1] if node.scope and node.scope[-1] == node.op.name else node.scope
    return "/".join((*scope, node.op.name))


def _sizes(graph: Graph, inputs: Mapping[Value, str]) -> dict[str, tuple[str, int]]:
    """For each symbolic size the input and axis that has it."""
    found: dict[str, tuple[str, int]] = {}
    for value, name in inputs.items():
        for axis, size in enumerate(value.shape):
            if isinstance(size, SymDim):
                found.setdefault(str(size), (name, axis))
    return found


def _write_node(emit: Emitter, node: Node) -> None:
    """Write one node; its last ONNX node gets the value's name and the composite's path. One of several outputs names
    them by itself."""
    from onnx import helper

    row = ROWS[node.op.name]
    emit.scope = _path(node)
    count = len(emit.nodes)
    result = row.lower(
        emit, node, [_thin_name(emit, v) if v in _thin(node, row) else emit.values[v] for v in node.inputs]
    )
    if not isinstance(result, str):
        return
    wanted = emit.values[node.output]
    last = emit.nodes[-1] if len(emit.nodes) > count else None
    if last is None or last.output[-1] != result:  # a view that does nothing, or a size that was there already
        last = helper.make_node("Identity", [result], [wanted])
        emit.nodes.append(last)
    last.output[-1] = wanted
    last.name = emit.fresh(f"{wanted}/{last.op_type}")


# --- operands that ONNX broadcasts by itself --------------------------------------------------------------------


def _thin_shape(value: Value) -> Shape | None:
    """The shape in which a spread constant or a broadcast tensor may be given; None where there is no other."""
    if value.node is None:
        return None
    if is_constant(value.node):
        return ()
    return value.node.inputs[0].shape if ROWS[value.node.op.name].spreads else None


def _thin(node: Node, row: Row) -> set[Value]:
    """The operands that are given unspread: as many as leave the result its shape."""
    if not row.broadcasts or len(node.inputs) < 2:
        return set()
    thin = {v: s for v in node.inputs if (s := _thin_shape(v)) is not None}
    for value in list(thin):
        if _reaches(node.output.shape, [thin.get(v, v.shape) for v in node.inputs]):
            break
        del thin[value]
    return set(thin)


def _reaches(shape: Shape, operands: Sequence[Shape]) -> bool:
    """Whether operands of these shapes broadcast to ``shape``; they are known to fit it."""
    return all(
        any(len(o) >= back and (o[-back] == n) for o in operands) for back, n in enumerate(reversed(shape), 1)
    ) and any(len(o) == len(shape) for o in operands)


def _thin_name(emit: Emitter, value: Value) -> str:
    assert value.node is not None
    return filled(emit, value.node) if is_constant(value.node) else emit.values[value.node.inputs[0]]


def _needed(graph: Graph) -> set[Value]:
    """The values that some ONNX node has to compute as they are."""
    needed = set(graph.outputs)
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        row = ROWS[node.op.name]
        if row.needs is not None:
            needed.update(row.needs(node))
            continue
        thin = _thin(node, row)
        for value in node.inputs:
            if value not in thin:
                needed.add(value)
            elif value.node is not None:
                needed.update(value.node.inputs)
    return needed

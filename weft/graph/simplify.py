"""Bit-preserving simplifications: common subexpressions, dead code, views of constants, views that do nothing."""

from __future__ import annotations

from collections.abc import Callable

from .ir import Graph, Node, Value
from .protocol import Map, Position, View

__all__ = ["eliminate_dead", "simplify"]


def simplify(graph: Graph) -> Graph:
    """The same outputs, bit for bit, from fewer nodes. Rules run in one sweep, in program order."""
    replaced: dict[Value, Value] = {}
    known: dict[object, Value] = {}
    nodes: list[Node] = []

    def current(value: Value) -> Value:
        while value in replaced:
            value = replaced[value]
        return value

    for node in graph.nodes:
        inputs = tuple(current(v) for v in node.inputs)
        if inputs != node.inputs:
            moved = Node(node.op, inputs, node.params, node.where, node.scope)
            moved.output = Value(node.output.type, moved)
            replaced[node.output] = moved.output
            node = moved
        simpler = next((found for found in (rule(node) for rule in RULES) if found is not None), None)
        if simpler is not None:
            replaced[node.output] = simpler if isinstance(simpler, Value) else simpler.output
            if isinstance(simpler, Value):
                continue
            node = simpler
        key = node.key()
        if key in known:
            replaced[node.output] = known[key]
            continue
        known[key] = node.output
        nodes.append(node)
    return eliminate_dead(graph.copy(nodes, [current(v) for v in graph.outputs]))


def eliminate_dead(graph: Graph) -> Graph:
    """Without the nodes that no output needs."""
    live: set[Value] = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in live:
            kept.append(node)
            live.update(node.inputs)
    return graph.copy(reversed(kept))


# --- rules: a node -> the value that replaces it, a simpler node, or None -----------------------------------------


def identity_view(node: Node) -> Value | None:
    """A reshape or broadcast to the shape that the operand has."""
    if (
        isinstance(node.op.lower, View)
        and node.op.name in ("reshape", "broadcast_to")
        and (node.inputs[0].shape == node.output.shape)
    ):
        return node.inputs[0]
    return None


def identity_map(node: Node) -> Value | None:
    """A cast to the dtype that the operand has."""
    if isinstance(node.op.lower, Map) and node.op.name == "cast" and node.inputs[0].dtype is node.output.dtype:
        return node.inputs[0]
    return None


def view_of_constant(node: Node) -> Node | None:
    """Every view of a tensor filled with one value is such a tensor."""
    if not isinstance(node.op.lower, View):
        return None
    source = node.inputs[0].node
    if source is None or source.op.name != "full" or not isinstance(source.op.lower, Position):
        return None
    filled = Node(source.op, (), {**source.params, "shape": node.output.shape}, node.where, node.scope)
    filled.output = Value(node.output.type, filled)
    return filled


def permuted_twice(node: Node) -> Value | Node | None:
    """Two permutations are one, or none."""
    source = node.inputs[0].node if node.inputs else None
    if node.op.name != "permute" or source is None or source.op.name != "permute":
        return None
    axes = tuple(source.params["axes"][a] for a in node.params["axes"])
    if axes == tuple(range(len(axes))):
        return source.inputs[0]
    merged = Node(node.op, source.inputs, {"axes": axes}, node.where, node.scope)
    merged.output = Value(node.output.type, merged)
    return merged


RULES: tuple[Callable[[Node], Value | Node | None], ...] = (
    identity_view,
    identity_map,
    view_of_constant,
    permuted_twice,
)

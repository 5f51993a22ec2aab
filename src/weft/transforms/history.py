"""A captured graph as the tape outside sees it: what had no history inside has none outside either.

Where a captured function calls ``detach`` or computes under ``no_grad``, the values are those of any other operation,
but no gradient flows through them. The capture notes which they are; here they become ``stop_gradient`` nodes of the
graph that is differentiated, and parameters that were rebound its further inputs. The graph that runs does without.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..graph.ir import Graph, Node, Value, make_node
from ..ops.elementwise import STOP_GRADIENT

__all__ = ["differentiable_graph", "reached"]


def differentiable_graph(
    graph: Graph, outputs: Sequence[Value], stopped: Collection[Value], leaves: Sequence[Value]
) -> Graph:
    """``graph`` with these outputs, and a ``stop_gradient`` behind every value in ``stopped``. ``leaves``, values that
    parameters were rebound to, become further inputs: what is computed from them hangs on the parameter anew."""
    nodes: list[Node] = []
    begun = {v: Value(v.type) for v in leaves}
    replaced = dict(begun)
    for node in graph.nodes:
        value = node.output
        inputs = tuple(replaced.get(v, v) for v in node.inputs)
        if value in begun:
            continue
        if inputs != node.inputs:
            node = Node(node.op, inputs, node.params, node.where, node.scope)
            node.output = Value(value.type, node)
            replaced[value] = node.output
        nodes.append(node)
        if value in stopped:
            nodes.append(make_node(STOP_GRADIENT, [node.output], {}, node.where, node.scope))
            replaced[value] = nodes[-1].output
    inside = [replaced.get(v, v) for v in outputs]
    return Graph(graph.name, [*graph.inputs, *begun.values()], nodes, inside)


def reached(graph: Graph) -> set[Value]:
    """The values to which a gradient may flow from the outputs: those that they depend on by way of floating values."""
    found = {v for v in graph.outputs if v.dtype.is_floating}
    for node in reversed(graph.nodes):
        if node.output in found and node.op is not STOP_GRADIENT:
            found.update(v for v in node.inputs if v.dtype.is_floating)
    return found

"""Calls: functions of elements that stay one node of a graph until it is lowered.

An optimizer's update is some forty nodes, and a training step has as many updates as parameters: of the 38,000 nodes of
a step of 160 layers, 27,000 are these. So an update is recorded as one node over the graph of its function
(:data:`CALL`), which all nodes of one signature share; passes walk one node, and lowering makes the expressions of its
outputs once (:mod:`weft.graph.lower.roots`). Every output is stored.

Where what it takes is computed by elementwise ops, which would be part of its kernel, simplification takes it apart: an
update by clipped gradients clips them where it reads them. :func:`expand` takes all calls apart, for whoever asks about
each op.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import CompileError
from .ir import Graph, checked, rewrite
from .lower.expressions import Unfusable
from .lower.roots import called_roots
from .lower.storing import choose_stored
from .protocol import Called, Layout, Map, Position, Primitive, TensorType, View
from .simplify import inlined, is_constant, simplify

FEW = 8  # nodes of a function that are as soon walked as looked up


def _type(params: dict[str, Any], *operands: TensorType) -> tuple[TensorType, ...]:
    body: Graph = params["body"]
    if tuple([v.type for v in body.inputs]) != operands:
        raise CompileError("call: the graph takes something else than the operands")
    return tuple([v.type for v in body.outputs])


CALL = Primitive("call", _type, Called())
"""``call(*operands; body)``. It has no gradient: an update is recorded where nothing else is."""


def body_of(graph: Graph) -> Graph | None:
    """The body of the calls of a function; None where they are no good as one node: there is little to walk, it does
    more than compute elements, it has constants to fold, or an expression so long that lowering would cut it."""
    if len(graph.nodes) < FEW:
        return None
    body = simplify(graph, to_run=True)
    for node in body.nodes:
        if not isinstance(node.op.lower, (Map, Position, View)):
            return None
        if node.inputs and all(v.node is not None and is_constant(v.node) for v in node.inputs):
            return None
    made = {v for v in body.outputs if v.node is not None}
    if len(made) < len(body.outputs) or choose_stored(body) != made.union(body.inputs):
        return None
    try:
        called_roots(body, [Layout.contiguous(v.shape) for v in body.inputs])
    except Unfusable:
        return None
    return body


@checked
def expand(graph: Graph) -> Graph:
    """The graph with the nodes of its calls in their places."""
    if not any(isinstance(node.op.lower, Called) for node in graph.nodes):
        return graph
    return rewrite(graph, lambda node: inlined(node) if isinstance(node.op.lower, Called) else None)

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

from functools import lru_cache
from typing import Any

from ..core.errors import CompileError
from .constants import is_constant
from .ir import Found, Graph, Node, checked, make_node, rewrite, subgraphs
from .lower.expressions import Unfusable
from .lower.roots import called_roots
from .lower.storing import choose_stored
from .protocol import Called, Layout, Map, Position, Primitive, TensorType, View
from .simplify import inlined, simplify

FEW = 8  # nodes of a function that are as soon walked as looked up


def _type(params: dict[str, Any], *operands: TensorType) -> tuple[TensorType, ...]:
    body: Graph = params["body"]
    if tuple([v.type for v in body.inputs]) != operands:
        raise CompileError("call: the graph takes something else than the operands")
    if not _is_of_elements(body):
        raise CompileError("call: the graph does more than compute elements, each result of its own memory")
    return tuple([v.type for v in body.outputs])


@lru_cache(maxsize=64)  # many calls share a body
def _is_of_elements(body: Graph) -> bool:
    made = {v for node in body.nodes for v in node.outputs}
    return (
        all(isinstance(node.op.lower, (Map, Position, View)) for node in body.nodes)
        and len(set(body.outputs)) == len(body.outputs)
        and made.issuperset(body.outputs)
    )


CALL = Primitive("call", _type, Called())
"""``call(*operands; body)``. It has no gradient: an update is recorded where nothing else is."""


def body_of(graph: Graph) -> Graph | None:
    """The body of the calls of a function; None where they are no good as one node: there is little to walk, it does
    more than compute elements, it has constants to fold, or an expression so long that lowering would cut it."""
    if len(graph.nodes) < FEW:
        return None
    body = simplify(graph, to_run=True)
    if not _is_of_elements(body) or choose_stored(body) != {*body.inputs, *body.outputs}:
        return None
    for node in body.nodes:
        if node.inputs and all(v.node is not None and is_constant(v.node) for v in node.inputs):
            return None
    try:
        called_roots(body, [Layout.contiguous(v.shape) for v in body.inputs])
    except Unfusable:
        return None
    return body


@checked
def expand(graph: Graph) -> Graph:
    """The graph with the nodes of its calls, and of those in the bodies of branches and loops, in their places."""
    bodies: dict[Graph, Graph] = {}

    def rule(node: Node) -> Found:
        if isinstance(node.op.lower, Called):
            return inlined(node)
        changed = {}
        for name, body in subgraphs(node).items():
            if body not in bodies:
                bodies[body] = expand(body)
            if bodies[body] is not body:
                changed[name] = bodies[body]
        return make_node(node.op, node.inputs, {**node.params, **changed}, node.where, node.scope) if changed else None

    if not any(isinstance(node.op.lower, Called) or subgraphs(node) for node in graph.nodes):
        return graph
    made = rewrite(graph, rule)
    return graph if made.nodes == graph.nodes else made

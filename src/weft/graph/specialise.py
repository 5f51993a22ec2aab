"""A graph with its symbolic sizes replaced: by numbers, or by the sizes of a scope (core/symbolic.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..core.errors import ShapeError, WeftError
from ..core.shapes import Shape, substitute
from ..core.symbolic import Dim, undecided
from .ir import Graph, Node, Value, checked, make_node, rewrite, subgraphs
from .protocol import TensorType


@checked
def specialise(
    graph: Graph, sizes: Mapping[str, Dim], check: Callable[[Shape, int], None] = lambda shape, itemsize: None
) -> Graph:
    """The graph with symbolic sizes replaced, each node's shape rule being asked again. What the rules ask of sizes of
    a scope becomes guards there, so that they hold for all sizes that keep the guards.

    Args:
        sizes: by name.
        check: raises for a tensor of a shape and an itemsize that cannot be.

    Raises:
        ShapeError: the graph does not hold for these sizes.
    """
    inputs = {v: Value(TensorType(v.dtype, substitute(v.shape, sizes))) for v in graph.inputs}

    checked_types: set[TensorType] = set()
    bodies: dict[Graph, Graph] = {}  # nodes may share them

    def inner(body: Graph) -> Graph:
        if body not in bodies:
            bodies[body] = specialise(body, sizes, check)
        return bodies[body]

    def rule(node: Node) -> Node:
        params = {k: substitute(v, sizes) for k, v in node.params.items()}
        params.update({k: inner(body) for k, body in subgraphs(node).items()})
        made = make_node(node.op, node.inputs, params, node.where, node.scope)
        for old, new in zip(node.outputs, made.outputs, strict=True):
            expected: Shape = substitute(old.shape, sizes)
            if new.type in checked_types and new.shape == expected:
                continue
            checked_types.add(new.type)
            if new.shape != expected or any(not undecided(n) and n < 0 for n in expected):
                raise ShapeError(f"{graph.name}: {node.op} does not hold for the sizes {dict(sizes)}")
            try:
                check(expected, new.dtype.itemsize)
            except WeftError as error:
                raise ShapeError(f"{graph.name}: {node.op} for the sizes {dict(sizes)}: {error.message}") from None
        return made

    return rewrite(graph, rule, inputs)

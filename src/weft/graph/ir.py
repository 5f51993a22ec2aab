"""The graph: values computed by nodes, in the order in which the program wrote them.

A Graph is in static single assignment form: every Value is an input, a constant, or the output of one node. Nodes
have one output each (ops with several are several nodes, joined again by fusion).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.dtypes import DType
from ..core.errors import CompileError
from ..core.shapes import Shape
from .protocol import Primitive, TensorType

__all__ = ["Graph", "Node", "Value"]


class Value:
    """One tensor of a graph: its type, and the node that makes it (None for inputs)."""

    __slots__ = ("node", "type")

    def __init__(self, type_: TensorType, node: Node | None = None):
        self.type = type_
        self.node = node

    @property
    def dtype(self) -> DType:
        """Its dtype."""
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.type.shape


@dataclass(slots=True, eq=False)
class Node:
    """``output = op(*inputs, **params)``, written at ``where`` inside the composites ``scope`` (outermost first)."""

    op: Primitive
    inputs: tuple[Value, ...]
    params: dict[str, Any]
    output: Value = field(init=False)
    where: tuple[str, int] | None = None
    scope: tuple[str, ...] = ()

    def key(self) -> tuple[Any, ...]:
        """Equal keys compute equal bits."""
        return (self.op.name, tuple(sorted(self.params.items())), *map(id, self.inputs))


@dataclass(slots=True, eq=False)
class Graph:
    """Inputs, nodes in execution order, outputs."""

    name: str
    inputs: list[Value]
    nodes: list[Node]
    outputs: list[Value]

    def __repr__(self) -> str:
        from .printer import format_graph

        return format_graph(self)

    def copy(self, nodes: Iterable[Node] | None = None, outputs: Sequence[Value] | None = None) -> Graph:
        """The same graph with other nodes or outputs."""
        return Graph(
            self.name,
            list(self.inputs),
            list(self.nodes if nodes is None else nodes),
            list(self.outputs if outputs is None else outputs),
        )


def make_node(
    op: Primitive,
    inputs: Sequence[Value],
    params: dict[str, Any],
    where: tuple[str, int] | None = None,
    scope: tuple[str, ...] = (),
) -> Node:
    """A node with its inferred output; raises what the op's rule raises."""
    node = Node(op, tuple(inputs), params, where, scope)
    node.output = Value(op.infer(params, *(v.type for v in inputs)), node)
    return node


def inline(
    graph: Graph,
    arguments: Sequence[Value],
    nodes: list[Node],
    scope: tuple[str, ...] = (),
    where: tuple[str, int] | None = None,
) -> list[Value]:
    """Append a copy of ``graph``'s nodes over ``arguments`` to ``nodes``; returns the values of its outputs."""
    values = dict(zip(graph.inputs, arguments, strict=True))
    for node in graph.nodes:
        copied = Node(
            node.op, tuple(values[v] for v in node.inputs), node.params, where or node.where, scope + node.scope
        )
        copied.output = Value(node.output.type, copied)
        nodes.append(copied)
        values[node.output] = copied.output
    return [values[v] for v in graph.outputs]


def verify(graph: Graph) -> None:
    """Check the graph's form: definitions before uses, types as the ops' rules say.

    Raises:
        CompileError: naming the node.
    """
    known = set(graph.inputs)
    for node in graph.nodes:
        for value in node.inputs:
            if value not in known:
                raise CompileError(f"graph {graph.name}: {node.op} uses a value before it is computed")
        expected = node.op.infer(node.params, *(v.type for v in node.inputs))
        if expected != node.output.type:
            raise CompileError(f"graph {graph.name}: {node.op} gives {expected}, the graph says {node.output.type}")
        known.add(node.output)
    for value in graph.outputs:
        if value not in known:
            raise CompileError(f"graph {graph.name}: an output is never computed")

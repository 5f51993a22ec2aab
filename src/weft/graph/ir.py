"""The graph: values computed by nodes, in the order in which the program wrote them.

A Graph is in static single assignment form: every Value is an input or an output of one node. Nodes and values are
never changed once they are made, so that graphs may share them and threads may share graphs. What rebuilds a graph
goes through :func:`rewrite`; what records one calls :func:`make_node`, :func:`copy_nodes` or :func:`inline`.

A parameter of a node may be a Graph (the body of a loop, a branch, a call). It closes over nothing: what it needs are
inputs of the node. Whoever makes the node simplifies it; copies of the node share it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

from ..core.config import settings
from ..core.dtypes import DType
from ..core.errors import CompileError, WeftError
from ..core.shapes import Shape
from .protocol import Primitive, TensorType


class Value:
    """One tensor of a graph: its type, and of which node it is which output (None, 0 for inputs)."""

    __slots__ = ("index", "node", "type")

    def __init__(self, type_: TensorType, node: Node | None = None, index: int = 0):
        self.type = type_
        self.node = node
        self.index = index

    @property
    def dtype(self) -> DType:
        """Its dtype."""
        return self.type.dtype

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return self.type.shape


class Node:
    """``outputs = op(*inputs, **params)``, written at ``where`` inside the composites ``scope`` (outermost first)."""

    __slots__ = ("inputs", "op", "outputs", "params", "scope", "types", "where")

    def __init__(
        self,
        op: Primitive,
        inputs: tuple[Value, ...],
        params: dict[str, Any],
        types: tuple[TensorType, ...],  # of the outputs
        where: tuple[str, int] | None = None,
        scope: tuple[str, ...] = (),
    ):
        self.op = op
        self.inputs = inputs
        self.params = params
        self.types = types
        self.where = where
        self.scope = scope
        self.outputs: tuple[Value, ...]
        if len(types) == 1:  # in half the time
            self.outputs = (Value(types[0], self),)
        else:
            self.outputs = tuple([Value(t, self, i) for i, t in enumerate(types)])

    def __repr__(self) -> str:
        return f"<{self.op}: {', '.join(map(repr, self.types))}>"

    @property
    def output(self) -> Value:
        """The output of a node that has one.

        Raises:
            CompileError: it has several.
        """
        if len(self.outputs) != 1:
            error = CompileError(f"{self.op} has {len(self.outputs)} outputs where one is expected")
            error.where = self.where or error.where
            raise error
        return self.outputs[0]

    def key(self) -> tuple[Any, ...]:
        """Equal keys compute equal bits. A graph among the parameters equals itself alone."""
        return (self.op.name, tuple(sorted(self.params.items())) if self.params else (), *map(id, self.inputs))

    def over(self, inputs: tuple[Value, ...]) -> Node:
        """The same of other inputs; the node itself if they are its own."""
        if inputs == self.inputs:
            return self
        return Node(self.op, inputs, self.params, self.types, self.where, self.scope)


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

    def used(self) -> set[Value]:
        """What a node takes, or the graph gives."""
        return {v for node in self.nodes for v in node.inputs}.union(self.outputs)


def make_node(
    op: Primitive,
    inputs: Sequence[Value],
    params: dict[str, Any],
    where: tuple[str, int] | None = None,
    scope: tuple[str, ...] = (),
) -> Node:
    """A node with its inferred outputs; raises what the op's rule raises."""
    return Node(op, tuple(inputs), params, op.types([v.type for v in inputs], params), where, scope)


def copy_nodes(
    nodes: Iterable[Node],
    values: dict[Value, Value],
    made: list[Node],
    scope: tuple[str, ...] = (),
    where: tuple[str, int] | None = None,
) -> None:
    """Append copies of ``nodes`` over ``values`` to ``made``. ``values`` gets their outputs; a node whose outputs it
    knows from the beginning is not copied."""
    for node in nodes:
        if node.outputs[0] in values and all(map(values.__contains__, node.outputs)):
            continue
        inputs = tuple([values[v] for v in node.inputs])
        copied = Node(node.op, inputs, node.params, node.types, where or node.where, scope + node.scope)
        made.append(copied)
        for value in copied.outputs:
            values.setdefault(node.outputs[value.index], value)


def inline(
    graph: Graph,
    arguments: Sequence[Value],
    nodes: list[Node],
    scope: tuple[str, ...] = (),
    where: tuple[str, int] | None = None,
) -> list[Value]:
    """Append a copy of ``graph``'s nodes over ``arguments`` to ``nodes``; returns the values of its outputs."""
    values = dict(zip(graph.inputs, arguments, strict=True))
    copy_nodes(graph.nodes, values, nodes, scope, where)
    return [values[v] for v in graph.outputs]


def subgraphs(node: Node) -> dict[str, Graph]:
    """The graphs among a node's parameters, by name."""
    return {name: value for name, value in node.params.items() if isinstance(value, Graph)}


def nodes_in(graph: Graph) -> int:
    """How many nodes a graph has, with those of the graphs among their parameters."""
    return sum([1 + sum(map(nodes_in, subgraphs(node).values())) for node in graph.nodes])


# --- passes -------------------------------------------------------------------------------------------------------

Found = Node | Value | Sequence[Value] | None  # what stands for a node


def rewrite(
    graph: Graph, rule: Callable[[Node], Found] = lambda node: None, values: Mapping[Value, Value] | None = None
) -> Graph:
    """The graph that follows when ``rule`` says for each node, in program order, what stands for it.

    A rule is asked about the node over its current inputs. It returns None (the node stands for itself), a node, or
    values, one for each output. They belong to the new graph already, or to nodes that the rule has made, which are
    put in their places.

    Args:
        values: what stands for some values from the beginning: for inputs, or for the outputs of nodes, about which
            the rule is not asked then.
    """
    current = dict(values or {})
    nodes: dict[Node, None] = {}  # in order
    for node in graph.nodes:
        if values and all(map(values.__contains__, node.outputs)):
            _place([values[v] for v in node.outputs], nodes)
            continue
        moved = node.over(tuple([current.get(v, v) for v in node.inputs]))
        found = rule(moved)
        if found is None or found is moved:
            made: Sequence[Value] = moved.outputs
            nodes[moved] = None
        else:
            made = found.outputs if isinstance(found, Node) else (found,) if isinstance(found, Value) else found
            if len(made) != len(node.outputs):
                raise CompileError(f"graph {graph.name}: {len(made)} values for {len(node.outputs)} of {node.op}")
            _place(made, nodes)
        if made is not node.outputs:
            for value in node.outputs:
                current.setdefault(value, made[value.index])
    inputs, outputs = ([current.get(v, v) for v in ends] for ends in (graph.inputs, graph.outputs))
    return Graph(graph.name, inputs, list(nodes), outputs)


def eliminate_dead(graph: Graph) -> Graph:
    """Without the nodes that no output needs: passes end with it, so it is verified with them."""
    live: set[Value] = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.outputs):
            kept.append(node)
            live.update(node.inputs)
    return graph.copy(reversed(kept))


def _place(values: Iterable[Value], nodes: dict[Node, None]) -> None:
    """Append the nodes that make ``values`` and are missing, after those that they need."""
    waiting = [v.node for v in values if v.node not in nodes][::-1]
    while waiting:
        node = waiting[-1]
        if node is None or node in nodes:
            waiting.pop()
        elif missing := [m for v in node.inputs if (m := v.node) is not None and m not in nodes]:
            waiting += missing[::-1]
        else:
            nodes[node] = None


# --- debugging ----------------------------------------------------------------------------------------------------


def verify(graph: Graph) -> None:
    """Check the form of a graph, and of the graphs in its nodes' parameters.

    Inputs are made by no node; every other value is defined once, by a node that knows it, before it is used; types
    are as the ops' rules say; parameters are hashable; a graph in a parameter closes over nothing.

    Raises:
        CompileError: naming the graph and the node.
    """
    waiting, seen = [graph], set[Graph]()
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        known = set(one.inputs)
        if len(known) < len(one.inputs) or any(v.node is not None for v in one.inputs):
            raise CompileError(f"graph {one.name}: an input is there twice, or is made by a node")
        for node in one.nodes:
            fault = _fault(node, known)
            if fault is not None:
                where = f" (at {node.where[0]}:{node.where[1]})" if node.where else ""
                raise CompileError(f"graph {one.name}: {node.op}{where} {fault}")
            known.update(node.outputs)
            waiting += subgraphs(node).values()
        if not known.issuperset(one.outputs):
            raise CompileError(f"graph {one.name}: an output is never computed")


def _fault(node: Node, known: set[Value]) -> str | None:
    """What is wrong with a node, if anything, where these values are known."""
    if not known.issuperset(node.inputs):
        return "uses a value before it is computed"
    if not known.isdisjoint(node.outputs):
        return "computes a value that is there already"
    if [(v.node, v.index, v.type) for v in node.outputs] != [(node, i, t) for i, t in enumerate(node.types)]:
        return "has outputs that say something else of themselves"
    try:
        hash(node.key())
    except TypeError as error:
        return f"has a parameter that cannot be hashed: {error}"
    try:
        expected = node.op.types([v.type for v in node.inputs], node.params)
    except WeftError as error:
        return f"refuses its operands: {error.message}"
    return None if expected == node.types else f"gives {expected}, the graph says {node.types}"


Arguments = ParamSpec("Arguments")


def checked(change: Callable[Arguments, Graph]) -> Callable[Arguments, Graph]:
    """Decorator of a pass, whose first argument is the graph that it changes: while ``Settings.verify`` is on, what it
    gives is verified.

    Raises:
        CompileError: naming the pass, or saying that its graph was wrong before.
    """

    @functools.wraps(change)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Graph:
        made = change(*args, **kwargs)
        if settings().verify:
            _blame(made, f"after {change.__name__}", args[0])
        return made

    return run


def _blame(made: Graph, when: str, given: Any) -> None:
    """Verify what a pass has made; where that is wrong, look whether what it was given was wrong already."""
    try:
        verify(made)
    except CompileError as error:
        try:
            verify(given)
        except CompileError as before:
            raise CompileError(f"already before, and {when}: {before.message}") from None
        raise CompileError(f"{when}: {error.message}") from None

"""Constant folding: elementwise ops over constants are computed once, when the graph is compiled, by the same kernels.

The constants of a graph are tensors filled with one number, so what is computed is one number too: the constant part
is run as a graph of rank 0 and its results become constants. No other arithmetic is involved, hence the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from .ir import Graph, Node, Value
from .protocol import Map, TensorType
from .simplify import eliminate_dead, filled, is_constant

__all__ = ["fold_constants"]

Run = Callable[[Graph], list[bytes]]


def fold_constants(graph: Graph, run: Run) -> Graph:
    """``graph`` with its constant elementwise part folded; ``run`` executes a graph without inputs and gives the bytes
    of its outputs."""
    constant: dict[Value, Node] = {}  # value -> a constant node below it, whose op makes constants
    for node in graph.nodes:
        if is_constant(node):
            constant[node.output] = node
        elif isinstance(node.op.lower, Map) and node.inputs and all(v in constant for v in node.inputs):
            constant[node.output] = constant[node.inputs[0]]
    computed = [n.output for n in graph.nodes if n.output in constant and not is_constant(n)]
    outside = {v for n in graph.nodes if n.output not in constant for v in n.inputs} | set(graph.outputs)
    wanted = [v for v in computed if v in outside]
    if not wanted:
        return graph
    results = dict(zip(wanted, run(_scalars(graph, constant, wanted)), strict=True))
    nodes: list[Node] = []
    replaced: dict[Value, Value] = {}
    for node in graph.nodes:
        value = node.output
        if value in results:
            made = filled(constant[value], node, _number(results[value], value))
            replaced[value] = made.output
            nodes.append(made)
            continue
        inputs = tuple(replaced.get(v, v) for v in node.inputs)
        if inputs != node.inputs:
            moved = Node(node.op, inputs, node.params, node.where, node.scope)
            moved.output = Value(value.type, moved)
            replaced[value] = moved.output
            node = moved
        nodes.append(node)
    return eliminate_dead(graph.copy(nodes, [replaced.get(v, v) for v in graph.outputs]))


def _scalars(graph: Graph, constant: dict[Value, Node], wanted: list[Value]) -> Graph:
    """The constant part over tensors of rank 0."""
    nodes: list[Node] = []
    values: dict[Value, Value] = {}
    for node in graph.nodes:
        if node.output not in constant:
            continue
        params = {**node.params, "shape": ()} if is_constant(node) else node.params
        small = Node(node.op, tuple(values[v] for v in node.inputs), params)
        small.output = Value(TensorType(node.output.dtype, ()), small)
        values[node.output] = small.output
        nodes.append(small)
    return eliminate_dead(Graph(f"{graph.name}.constants", [], nodes, [values[v] for v in wanted]))


def _number(data: bytes, value: Value) -> object:
    """The one element in ``data`` as a constant's parameter."""
    import numpy as np

    number = np.frombuffer(data, value.dtype.numpy)[0]
    if not value.dtype.is_floating:
        return number.item()
    wide = float(number)
    return repr(wide) if wide != wide or (wide == 0 and math.copysign(1, wide) < 0) else wide

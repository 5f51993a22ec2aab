"""Constant folding: elementwise ops over constants are computed once, when the graph is compiled, by the same kernels.

The constants of a graph are tensors filled with one number, so what is computed is one number too: the constant part
is run as a graph of rank 0 and its results become constants. No other arithmetic is involved, hence the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence

from ..core.symbolic import SymDim
from .ir import Graph, Node, Value, checked, rewrite
from .protocol import Map, TensorType
from .simplify import eliminate_dead, filled, is_constant

__all__ = ["fold_constants"]

Run = Callable[[Graph], list[bytes]]


@checked
def fold_constants(graph: Graph, run: Run) -> Graph:
    """``graph`` with its constant elementwise part folded; ``run`` executes a graph without inputs and gives the bytes
    of its outputs."""
    constant: dict[Value, Node] = {}  # value -> a constant node below it, whose op makes constants
    for node in graph.nodes:
        if is_constant(node):
            if not isinstance(node.params["value"], SymDim):
                constant[node.output] = node
        elif isinstance(node.op.lower, Map) and node.inputs and all(v in constant for v in node.inputs):
            constant[node.output] = constant[node.inputs[0]]
    outside = {v for n in graph.nodes if n.outputs[0] not in constant for v in n.inputs} | set(graph.outputs)
    wanted = [v for v in constant if v in outside and not is_constant(_maker(v))]
    if not wanted:
        return graph
    numbers = zip(wanted, run(_scalars(graph, constant, wanted)), strict=True)
    folded = {v: filled(constant[v], _maker(v), _number(number, v)).output for v, number in numbers}
    return eliminate_dead(rewrite(graph, values=folded))


def _maker(value: Value) -> Node:
    assert value.node is not None
    return value.node


def _scalars(graph: Graph, constant: Container[Value], wanted: Sequence[Value]) -> Graph:
    """The constant part over tensors of rank 0."""

    def small(node: Node) -> Node:
        params = {**node.params, "shape": ()} if is_constant(node) else node.params
        return Node(node.op, node.inputs, params, (TensorType(node.output.dtype, ()),))

    nodes = [n for n in graph.nodes if n.outputs[0] in constant]
    return eliminate_dead(rewrite(Graph(f"{graph.name}.constants", [], nodes, list(wanted)), small))


def _number(data: bytes, value: Value) -> object:
    """The one element in ``data`` as a constant's parameter."""
    import numpy as np

    number = np.frombuffer(data, value.dtype.numpy)[0]
    if not value.dtype.is_floating:
        return number.item()
    wide = float(number)
    return repr(wide) if wide != wide or (wide == 0 and math.copysign(1, wide) < 0) else wide

"""Constant folding: elementwise ops over constants, and over views of them, are computed once, when the graph is
compiled, by the same kernels.

The constants of a graph are tensors filled with one number, so what is computed is one number too: the constant part
is run as a graph of rank 0 and its results become constants. No other arithmetic is involved, hence the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence

from ..core.symbolic import SymDim
from .constants import filled, is_constant
from .ir import Graph, Node, Value, eliminate_dead, rewrite
from .protocol import Map, TensorType, View

Run = Callable[[Graph], list[bytes]]


def constants_of(graph: Graph, run: Run) -> dict[Value, Node]:
    """What stands for the constants of a graph that something has to be computed for; ``run`` executes a graph without
    inputs and gives the bytes of its outputs."""
    constant: dict[Value, Node] = {}  # value -> a constant node below it, whose op makes constants
    computed: set[Value] = set()  # the constants that are more than views of what the graph holds
    for node in graph.nodes:
        rule = node.op.lower
        if isinstance(rule, (Map, View)):
            if node.inputs and all(v in constant for v in node.inputs):
                constant[node.output] = constant[node.inputs[0]]
                if isinstance(rule, Map) or node.inputs[0] in computed:
                    computed.add(node.output)
        elif is_constant(node) and not isinstance(node.params["value"], SymDim):
            constant[node.output] = node
    if not computed:
        return {}
    outside = {v for n in graph.nodes if n.outputs[0] not in constant for v in n.inputs} | set(graph.outputs)
    wanted = [v for v in constant if v in outside and v in computed]
    if not wanted:
        return {}
    numbers = zip(wanted, run(_scalars(graph, constant, wanted)), strict=True)
    return {v: filled(constant[v], v.type, _number(number, v), _maker(v)) for v, number in numbers}


def _maker(value: Value) -> Node:
    assert value.node is not None
    return value.node


def _scalars(graph: Graph, constant: Container[Value], wanted: Sequence[Value]) -> Graph:
    """The constant part over tensors of rank 0."""

    def small(node: Node) -> Node | Value:
        if isinstance(node.op.lower, View):
            return node.inputs[0]
        params = {**node.params, "shape": ()} if is_constant(node) else node.params
        return Node(node.op, node.inputs, params, (TensorType(node.output.dtype, ()),))

    nodes = [n for n in graph.nodes if n.outputs[0] in constant]
    return eliminate_dead(rewrite(eliminate_dead(Graph(f"{graph.name}.constants", [], nodes, list(wanted))), small))


def _number(data: bytes, value: Value) -> object:
    """The one element in ``data`` as a constant's parameter."""
    import numpy as np

    number = np.frombuffer(data, value.dtype.numpy)[0]
    if not value.dtype.is_floating:
        return number.item()
    wide = float(number)
    return repr(wide) if wide != wide or (wide == 0 and math.copysign(1, wide) < 0) else wide

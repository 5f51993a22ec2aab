"""Reverse mode over a graph: its nodes again, then their vjp rules from the last to the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.ir import Graph, Value, copy_nodes
from .op import Trace, hooks


def active_values(graph: Graph, wanted: Sequence[bool]) -> set[Value]:
    """The values that hang on one of the inputs that are wanted, by gradients."""
    active = {v for v, w in zip(graph.inputs, wanted, strict=True) if w}
    for node in graph.nodes:
        if node.op.vjp is not None and not active.isdisjoint(node.inputs):
            active.update([v for v in node.outputs if v.dtype.is_floating])
    return active


def reverse(
    graph: Graph, trace: Trace, known: dict[Value, Value], cotangents: Sequence[Any], wanted: Sequence[bool]
) -> list[Any]:
    """Record what the graph computes and is not known, then the vjp rules.

    Args:
        trace: which is being recorded.
        known: what stands for the graph's inputs, and for values that need not be computed again; gets the others.
        cotangents: of the outputs, traced; None: nothing flows from that output.
        wanted: which inputs.

    Returns:
        The cotangents of the inputs that are wanted; None where nothing flows.
    """
    copy_nodes(graph.nodes, known, trace.nodes, where=trace.where)
    active = active_values(graph, wanted)
    gradient: dict[Value, Any] = {}

    def accumulate(value: Value, cotangent: Any) -> None:
        if cotangent is not None and value in active:
            gradient[value] = gradient[value] + cotangent if value in gradient else cotangent

    for value, cotangent in zip(graph.outputs, cotangents, strict=True):
        accumulate(value, cotangent)
    outer = trace.scope
    for node in reversed(graph.nodes):
        if node.op.vjp is None or gradient.keys().isdisjoint(node.outputs):
            continue
        operands = tuple(hooks.wrap(known[v]) for v in node.inputs)
        trace.scope = node.scope
        results: Any = tuple(hooks.wrap(known[v]) for v in node.outputs)
        parts: Any = tuple(gradient.get(v) for v in node.outputs)
        if len(results) == 1:
            (results,), (parts,) = results, parts
        for value, part in zip(node.inputs, node.op.vjp(node.params, operands, results, parts), strict=True):
            accumulate(value, part)
    trace.scope = outer
    return [gradient.get(v) for v, w in zip(graph.inputs, wanted, strict=True) if w]

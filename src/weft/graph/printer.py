"""Graphs as text: one node a line, stable and short, with the user's line at its end. A graph among a node's
parameters stands below it, with numbers of its own."""

from __future__ import annotations

import os
from typing import Any

from .ir import Graph, Value, subgraphs


def value_names(graph: Graph) -> dict[Value, str]:
    """``%x0`` for inputs, ``%0`` for nodes, in order; ``%0.1`` for the second of several outputs."""
    names = {v: f"%x{i}" for i, v in enumerate(graph.inputs)}
    for i, node in enumerate(graph.nodes):
        for value in node.outputs:
            names[value] = f"%{i}" if len(node.outputs) == 1 else f"%{i}.{value.index}"
    return names


def _parameter(value: Any) -> str:
    return repr(value) if not hasattr(value, "name") else value.name


def format_graph(graph: Graph) -> str:
    """The graph as text."""
    names = value_names(graph)
    arguments = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    lines = [f"graph {graph.name}({arguments}):"]
    for node in graph.nodes:
        inside = [names[v] for v in node.inputs]
        inside += [f"{k}={_parameter(v)}" for k, v in sorted(node.params.items())]
        results = ", ".join(f"{names[v]}: {v.type}" for v in node.outputs)
        text = f"  {results} = {node.op}({', '.join(inside)})"
        notes = []
        if node.scope:
            notes.append("/".join(node.scope))
        if node.where:
            notes.append(f"{os.path.basename(node.where[0])}:{node.where[1]}")
        lines.append(text + (f"  # {' '.join(notes)}" if notes else ""))
        for name, inner in sorted(subgraphs(node).items()):
            head, *rest = format_graph(inner).splitlines()
            lines += [f"    {name}: {head}", *(f"    {line}" for line in rest)]
    lines.append(f"  return {', '.join(names[v] for v in graph.outputs)}")
    return "\n".join(lines)

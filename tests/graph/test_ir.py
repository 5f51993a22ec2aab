"""Graphs as data: printing, inlining, verification, simplification."""

from __future__ import annotations

import pytest

import weft as wf
from weft.graph.ir import Graph, Value, inline, verify
from weft.graph.simplify import simplify


def graph_of(function: object, *args: wf.Tensor) -> Graph:
    return wf.compile(function).graph(*args)  # type: ignore[arg-type]


def test_a_graph_prints_types_names_scopes_and_lines() -> None:
    text = repr(graph_of(lambda x: wf.exp(x) * 2.0, wf.ones((2, 3))))
    lines = text.splitlines()
    assert lines[0] == "graph <lambda>(%x0: float32[2, 3]):"
    assert "%0: float32[2, 3] = exp(%x0)" in lines[1] and "test_ir.py:" in lines[1]
    assert lines[-1].startswith("  return %")


def test_verification_finds_a_use_before_its_definition() -> None:
    graph = graph_of(lambda x: wf.exp(wf.tanh(x)), wf.ones(3))
    verify(graph)
    with pytest.raises(wf.CompileError, match="before it is computed"):
        verify(graph.copy(nodes=graph.nodes[::-1]))
    with pytest.raises(wf.CompileError, match="never computed"):
        verify(graph.copy(outputs=[Value(graph.outputs[0].type)]))


def test_inlining_copies_nodes_over_new_arguments() -> None:
    graph = graph_of(lambda x: wf.exp(x) + x, wf.ones(3))
    argument, nodes = Value(graph.inputs[0].type), []
    (result,) = inline(graph, [argument], nodes, ("outer",))
    whole = Graph("whole", [argument], nodes, [result])
    verify(whole)
    assert all(n.scope[0] == "outer" for n in nodes)


def test_simplification_keeps_the_interface() -> None:
    graph = graph_of(lambda x, y: (x, wf.reshape(x, (4,)), wf.astype(x, wf.float32)), wf.ones(4), wf.ones(2))
    assert len(graph.inputs) == 2
    assert simplify(graph).outputs == [graph.inputs[0]] * 3
    assert simplify(graph).nodes == []

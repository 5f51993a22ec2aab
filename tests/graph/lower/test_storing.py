"""Which values are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from lowered_programs import graph_of, graphs, roots_of

import weft as wf
from weft.graph.ir import Graph
from weft.graph.lower.storing import LONG, choose_stored
from weft.graph.protocol import Contract, Gather, Map, Position, View

SQUARE = (6, 6)

STORED: list[tuple[str, Callable[..., Any], list[str]]] = [
    ("nothing but the result of a chain", lambda x: wf.exp(x * 2.0) + 1.0, ["add"]),
    ("what is dear and used twice", lambda x: (y := wf.tanh(x)) * 2.0 + y[::-1], ["tanh", "add"]),
    ("not what is cheap and used twice", lambda x: (y := x * 3.0) * 2.0 + y[::-1], ["add"]),
    ("what is dear and looked at by two", lambda x: (y := wf.tanh(x)[:, ::-1]) * 2.0 + y[::-1], ["tanh", "add"]),
    (
        "what is cheap, read of three and used twice",
        lambda x, y, z: (s := x @ x + y + z)[::-1] * 2.0 + s[:, ::-1],
        ["contract", "add", "add"],
    ),
    ("not what is read of two", lambda x, y: (s := x @ x + y)[::-1] * 2.0 + s[:, ::-1], ["contract", "add"]),
    (
        "not what is read of three that others read too",
        lambda x, y, z: (s := (p := x @ x) + y + z)[::-1] * 2.0 + s[:, ::-1] * p,
        ["contract", "add"],
    ),
    (
        "not what is read of three that are not as large",
        lambda x, y: (s := x @ x + y[:1] + y[:, :1])[::-1] + s,
        ["contract", "add"],
    ),
    ("operands of a contraction", lambda x: (x * 2.0) @ (x + 1.0).mT, ["multiply", "permute", "contract"]),
    ("not operands that are views", lambda x: x[::-1] @ x.mT, ["contract"]),
    (
        "the source of a gather",
        lambda x: wf.take(x * 2.0, wf.zeros(2, dtype="int64"), axis=0) * 3.0,
        ["multiply", "multiply"],
    ),
    ("every reduction", lambda x: wf.sum(x * 2.0, axis=0) * 3.0, ["sum", "multiply"]),
]


@pytest.mark.parametrize(("name", "function", "expected"), STORED, ids=[c[0] for c in STORED])
def test_what_is_stored(name: str, function: Callable[..., Any], expected: list[str]) -> None:
    graph = graph_of(function, [SQUARE] * function.__code__.co_argcount)
    stored = choose_stored(graph)
    assert [n.op.name for n in graph.nodes if n.output in stored] == expected


@given(graphs(most=12))
def test_what_must_be_in_memory_is_stored(graph: Graph) -> None:
    stored = choose_stored(graph)
    assert stored.issuperset([*graph.inputs, *graph.outputs])
    assert all(isinstance(n.op.lower, (Map, Position, View, Gather)) for n in graph.nodes if n.output not in stored)
    for node in graph.nodes:
        for value in node.inputs if isinstance(node.op.lower, Contract) else ():
            while value not in stored:
                assert value.node is not None and isinstance(value.node.op.lower, View)
                value = value.node.inputs[0]


def test_shared_values_are_stored_whatever_they_cost() -> None:
    graph = graph_of(lambda x: x * 2.0 + 1.0, [SQUARE])
    cheap = graph.nodes[0].output
    assert cheap not in choose_stored(graph) and cheap in choose_stored(graph, [cheap])


@pytest.mark.parametrize("n", [LONG // 2, LONG, 5 * LONG])
def test_no_expression_is_longer_than_it_may_be(n: int) -> None:
    def f(x: Any) -> Any:
        for k in range(n):
            x = x * x if k % 2 else x + 1.0
        return x

    roots = roots_of(graph_of(f, [SQUARE]))
    assert max(r.size for r in roots) <= LONG + 2 and len(roots) <= 1 + n // (LONG // 2)

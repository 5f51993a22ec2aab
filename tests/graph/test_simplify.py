"""Simplification: what may go goes, what is alike is one, and bits stay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from several_outputs import MOST, SINCOS, divmod_, most, sincos

import weft as wf
from weft.graph.ir import Graph, Value, eliminate_dead, make_node, verify
from weft.graph.protocol import COPY, TensorType
from weft.graph.simplify import simplify


def graph_of(function: Any, *args: wf.Tensor) -> Graph:
    return wf.compile(function).graph(*args)


def names(graph: Graph) -> list[str]:
    verify(graph)
    return [n.op.name for n in graph.nodes]


X = wf.ones((2, 6))

RULES: list[tuple[str, Any, list[str]]] = [
    ("one of two equal ops", lambda x: wf.exp(x) + wf.exp(x), ["exp", "add"]),
    ("what hangs on equal ops", lambda x: wf.sin(wf.exp(x)) - wf.sin(wf.exp(x)), ["exp", "sin", "subtract"]),
    ("equal ops with other parameters stay", lambda x: wf.sum(x, axis=0).sum() + wf.sum(x, axis=1).sum(), None),
    ("a view that does nothing", lambda x: wf.reshape(x, (2, 6)) + x, ["add"]),
    ("a view and its inverse", lambda x: x.T.T + x, ["add"]),
    ("a cast to its own dtype", lambda x: wf.astype(x, wf.float32) + x, ["add"]),
    ("a view of a constant", lambda x: x + wf.reshape(wf.zeros((6, 2)), (2, 6)), ["full", "add"]),
    ("equal constants behind views", lambda x: x + wf.zeros((6, 2)).T + wf.zeros((2, 6)), ["full", "add", "add"]),
    ("what no output needs", lambda x: (wf.exp(x), x + 1.0)[1], ["full", "add"]),
]


@pytest.mark.parametrize(("name", "function", "left"), RULES, ids=[r[0] for r in RULES])
def test_what_is_left(name: str, function: Any, left: list[str] | None) -> None:
    graph = graph_of(function, X)
    if left is not None:
        assert names(graph) == left
    assert names(simplify(graph)) == names(graph), "once more changes nothing"
    assert simplify(graph).nodes == graph.nodes
    assert function(X).numpy().tobytes() == wf.compile(function)(X).numpy().tobytes()


def test_stopping_gradients_goes_where_the_graph_is_run() -> None:
    graph = graph_of(lambda x: wf.stop_gradient(wf.exp(x)) + 1.0, X)
    assert "stop_gradient" in names(graph)
    assert "stop_gradient" not in names(simplify(graph, to_run=True))


def test_outputs_that_need_not_each_other_are_run_one_by_one() -> None:
    """Only those that are wanted, and equal ones once."""
    graph = graph_of(lambda x, y: (sincos(x)[1], divmod_(x, y)[0] + divmod_(x, y)[1], most(x)[1]), X, X)
    assert names(graph) == ["sincos", "divmod", "add", "most"]
    assert names(simplify(graph, to_run=True)) == ["sincos.1", "divmod.0", "divmod.1", "add", "most.1"]
    a, b = (make_node(SINCOS, graph.inputs[:1], {}) for _ in range(2))
    twice = Graph("f", graph.inputs, [a, b], [a.outputs[0], b.outputs[0], b.outputs[1]])
    assert names(simplify(twice, to_run=True)) == ["sincos.0", "sincos.1"]


def test_a_node_lives_if_one_of_its_outputs_does() -> None:
    x = Value(TensorType(wf.float32, (2, 3)))
    node = make_node(MOST, [x], {"axes": (1,)})
    after = make_node(COPY, [node.outputs[1]], {})
    for outputs, kept in (([], []), (node.outputs[:1], [node]), (after.outputs, [node, after]), ([x], [])):
        assert eliminate_dead(Graph("f", [x], [node, after], list(outputs))).nodes == kept


def test_deep_and_shared_graphs_simplify() -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in range(2000):
            x = wf.reshape(x.T.T + wf.astype(x, wf.float32), (2, 6)) * 0.5
        return x

    graph = graph_of(f, X)
    assert names(graph).count("add") == 2000 and set(names(graph)) == {"full", "add", "multiply"}
    np.testing.assert_array_equal(wf.compile(f)(X).numpy(), X.numpy())


# Functions of the pieces of a tensor (2, 6); and whether its gradient is the pieces' gradients, side by side.
PIECES: list[tuple[str, Any, bool]] = [
    ("columns", lambda x: x[:, :2] * 2.0 + x[:, 2:4] - x[:, 4:] * x[:, :2], True),
    ("in another order", lambda x: x[:, 3:] * 2.0 - x[:, :3], True),
    ("rows", lambda x: wf.exp(x[:1]) * x[1:], True),
    ("of different sizes", lambda x: wf.concat([x[:, 5:] * 2.0, -x[:, :1], x[:, 1:5] * 0.0], axis=1), True),
    ("with a gap", lambda x: x[:, :2] * x[:, 4:], True),
    ("with room at both ends", lambda x: wf.exp(x[:, 1:3]) * x[:, 3:5], True),
    ("some of them twice", lambda x: x[:, :3] * x[:, 3:] + wf.sin(x[:, :3]), True),
    ("windows of one step", lambda x: sum(x[:, i] * x[:, i + 1] - x[:, i + 2] for i in range(4)), True),
    ("none of some", lambda x: x[:, :3] * x[:, 3:] + x[:, 2:2].sum(), True),
    ("that overlap", lambda x: x[:, :4] * x[:, 2:], False),
    ("all, and one that overlaps", lambda x: sum(x[:, i] * (1.0 + i) for i in range(6)) + x[:, 1:3].sum(), True),
    ("one that overlaps, and all", lambda x: x[:, 1:3].sum() - sum(x[:, i] * (1.0 + i) for i in range(6)), True),
    ("two at one place", lambda x: wf.sin(x[:, :2]) * x[:, :2], True),
    ("two at one place, and the whole", lambda x: wf.sin(x[:, :2]) * x[:, :2] + x.sum(), True),
    ("two at one place, and none", lambda x: wf.sin(x[:, :2]) * x[:, :2] + x[:, 3:3].sum(), True),
    ("a diagonal", lambda x: wf.sin(x.diagonal()).sum() + x[0] * x[1], True),
    ("every other one", lambda x: x[:, ::2] * x[:, 1::2], False),
    ("and the whole", lambda x: x[:, :3] * x[:, 3:] + x.sum(), True),
    ("and the whole before", lambda x: x.sum() + x[:, :3] * x[:, 3:], True),
    ("and the whole between", lambda x: x[:, :3] * wf.exp(x[:, 3:] * x.sum()) + x[:, :3] * x[:, 1:2], True),
    ("parts of two parts", lambda x: x[:, :4][:, :2] * x[:, :4][:, 2:] * x[:, 4:], True),
    ("one alone", lambda x: x[:, 2:4] * 2.0, False),
    ("of both axes", lambda x: x[:1, :3] * x[:1, 3:] * x[1:, :3] + x[1:, 3:], False),
]


@pytest.mark.parametrize(("name", "function", "joins"), PIECES, ids=[r[0] for r in PIECES])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_that_are_added_to_zeros_are_joined(name: str, function: Any, joins: bool, dtype: str) -> None:
    def gradient(x: Any) -> Any:
        with wf.enable_grad():
            x = x.detach().requires_grad_()
            (function(x) * -0.0).sum().backward()  # zeros of both signs
            first, x.grad = x.grad, None
            (function(x) ** 2).sum().backward()
            return first, x.grad

    x = wf.asarray(np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)).astype(dtype)
    whole = wf.compile(gradient).graph(x)
    graph = simplify(whole, to_run=True)
    assert ("joined" in names(graph)) == joins
    assert "joined" not in names(simplify(whole))
    for a, b in zip(gradient(x), wf.compile(gradient)(x), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("steps", [99, 1000])
def test_sums_of_many_parts_are_joined_in_one_go(steps: int) -> None:
    def gradient(x: Any) -> Any:
        return wf.grad(lambda x: sum((x[i] * x[i + 1]).sum() for i in range(steps)))(x)

    x = wf.asarray(np.random.default_rng(0).normal(size=(steps + 1, 3)).astype(np.float32))
    graph = simplify(wf.compile(gradient).graph(x), to_run=True)
    assert names(graph).count("joined") == 1 and "slice_update" not in names(graph)
    assert len(graph.nodes) < 12 * steps  # each place is added up by itself
    assert gradient(x).numpy().tobytes() == wf.compile(gradient)(x).numpy().tobytes()

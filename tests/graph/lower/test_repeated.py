"""Clusters that repeat each other: lowered once, to what each would be lowered to by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from few_examples import few
from hypothesis import strategies as st
from lowered_programs import graph_of, graphs

import weft as wf
from weft.compiler.kernels import describe
from weft.core.shapes import strides_of
from weft.graph.executable import plan_graph
from weft.graph.ir import Graph
from weft.graph.lower.launch import Launch
from weft.graph.lower.repeated import Repeated
from weft.llvm.targets import host_target


def planned(graph: Graph) -> tuple[list[Launch], list[Any]]:
    """The launches of a graph, and all that they are but for their values."""
    plan = plan_graph(graph, [strides_of(tuple(v.shape)) for v in graph.inputs], (), host_target(), 2)
    found = []
    for x in plan.launches:
        numbers = {v: n for n, (v, _) in enumerate(x.buffers)}
        pairs = [(numbers[a], numbers[b]) for a, b in x.in_place]
        uses = [[numbers[v] for v in values] for values in (x.reads, x.writes)]
        nodes = [(n.op, n.where) for n in x.nodes]
        found.append((describe(x.kernel), x.ints, plan.buffers(x), x.units, x.grain, pairs, uses, nodes, x.flops))
    return plan.launches, found


def alone(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What :func:`planned` says where every cluster is lowered by itself."""
    with monkeypatch.context() as patch:
        patch.setattr(Repeated, "launches", lambda self, cluster, needed: self._lower(cluster))
        return planned(graph)[1]


@few(33, 300, graphs(12), st.integers(2, 3))
def test_it_is_what_each_is_lowered_to_by_itself(graph: Graph, times: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert planned(graph)[1] == alone(graph, patch)


def layers(body: Callable[[Any], Any], count: int) -> Callable[..., Any]:
    def f(x: Any) -> Any:
        for _ in range(count):
            x = wf.tanh((x @ x.mT) @ body(x))
        return x

    return f


BODIES: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: wf.exp(x - wf.max(x, axis=1, keepdims=True)),
    "columns": lambda x: wf.sum(wf.exp(x), axis=0, keepdims=True) * 0.5 + x,
    "a long sum": lambda x: x * wf.sum(wf.broadcast_to(x, (4096, *x.shape)) * 0.5),
    "zeros of both signs": lambda x: x * 0.0 + x * -0.0,
}


@pytest.mark.parametrize("name", BODIES)
def test_equal_layers_have_the_very_same_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = (graph_of(layers(BODIES[name], n), [(17, 33)]) for n in (3, 8))
    launches, found = planned(many)
    assert found == alone(many, monkeypatch)
    assert len(launches) > len(planned(few)[0])
    assert len({id(x.kernel) for x in launches}) == len({id(x.kernel) for x in planned(few)[0]})


def test_constants_that_differ_are_lowered_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def f(x: Any) -> Any:
        return [wf.sum(wf.exp(x + 0.0)), wf.sum(wf.exp(x + -0.0)), wf.sum(wf.exp(x + 1.0))]

    graph = graph_of(lambda x: tuple(f(x[i])[i] for i in range(3)), [(3, 40)])
    found = planned(graph)[1]
    assert found == alone(graph, monkeypatch)
    assert len({ints for _, ints, *_ in found}) == len(found)

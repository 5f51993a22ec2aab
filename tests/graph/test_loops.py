"""Passes over branches and loops: what is left out, and what is computed once."""

from __future__ import annotations

from typing import Any

from control_flow import array, bits

import weft as wf
from weft.graph.ir import Graph, verify
from weft.graph.loops import hoist, prune, settle_loops
from weft.graph.simplify import simplify


def planned(function: Any, *args: Any) -> Graph:
    graph = settle_loops(simplify(wf.compile(function).graph(*args), to_run=True))
    verify(graph)
    return graph


def node_of(graph: Graph, name: str) -> Any:
    (node,) = [node for node in graph.nodes if node.op.name == name]
    return node


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def test_results_that_nobody_uses_are_left_out() -> None:
    def f(x: Any, y: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            a, b = c
            return (a + v[0], b * y + v[1]), (wf.exp(a), a - 1)

        (a, _), (_, kept) = wf.scan(step, (y, y), (x, x * 2))
        return a, kept

    graph = planned(f, array(4, 3), array(3))
    loop = node_of(graph, "loop")
    assert (loop.params["carries"], loop.params["sequences"], len(loop.outputs)) == (1, 1, 2)
    assert "exp" not in names(loop.params["body"]) and "multiply" not in names(graph)
    assert bits(wf.compile(f)(array(4, 3), array(3))) == bits(f(array(4, 3), array(3)))


def test_a_forward_pass_keeps_no_carries() -> None:
    w = array(3, 3).requires_grad_()

    def f(x: Any) -> Any:
        return wf.scan(lambda h, v: (wf.tanh(h @ w + v), None), x[0], x)[0]

    whole = simplify(wf.compile(f).graph(array(4, 2, 3)))
    assert len(node_of(whole, "loop").outputs) == 2  # for whoever differentiates
    assert len(node_of(prune(whole), "loop").outputs) == 1


def test_branches_compute_what_is_used() -> None:
    def f(p: Any, x: Any, y: Any) -> Any:
        a, _ = wf.cond(p, lambda: (x + 1, y @ y), lambda: (x - 1, y))
        return a

    node = node_of(planned(f, wf.asarray(True), array(3), array(3, 3)), "cond")
    assert (len(node.inputs), len(node.outputs)) == (2, 1)
    assert names(node.params["true"])[-1] == "add"


def test_carries_that_the_condition_needs_stay() -> None:
    def f(n: Any) -> Any:
        return wf.while_loop(lambda c: c[1] < n, lambda c: (c[0] * 2, c[1] + c[2], c[2], c[0]), (1, 0, 3, 5))[0]

    assert node_of(planned(f, wf.asarray(5)), "loop").params["carries"] in (2, 3)
    assert int(wf.compile(f)(wf.asarray(7))) == int(f(wf.asarray(7))) == 8


def test_what_no_iteration_changes_is_computed_once() -> None:
    def f(x: Any, w: Any) -> Any:
        def body(c: Any) -> Any:
            return wf.tanh(c[0] @ (w @ w).T + wf.exp(w).sum(0)) + x[0] * 2, c[1] + 1

        return wf.while_loop(lambda c: c[1] < 4, body, (x, 0))

    graph = planned(f, array(2, 3), array(3, 3))
    inside = names(node_of(graph, "loop").params["body"])
    assert inside.count("contract") == 1 and "exp" not in inside
    assert names(graph).count("contract") >= 1 and "exp" in names(graph)
    assert bits(wf.compile(f)(abs(array(2, 3)), array(3, 3))) == bits(f(abs(array(2, 3)), array(3, 3)))


def test_what_may_fail_or_grow_stays() -> None:
    table, at = array(5), wf.asarray([1, 7])

    def f(x: Any, n: Any) -> Any:
        return wf.while_loop(lambda c: c[1] < n, lambda c: (c[0] + table[at].sum(), c[1] + 1), (x, 0))[0]

    assert wf.compile(f)(wf.asarray(1.0), wf.asarray(0)).tolist() == 1.0  # no iteration, no error

    def g(x: Any, a: Any, b: Any) -> Any:
        return wf.scan(lambda c, _: (c + (a[:, None] * b[None]), None), x, length=2)[0]

    graph = hoist(simplify(wf.compile(g).graph(array(50, 60), array(50), array(60)), to_run=True))
    assert "multiply" in names(node_of(graph, "loop").params["body"])


def test_a_matrix_across_memory_is_turned_round_once() -> None:
    w = array(5, 3)

    def f(x: Any, product: Any) -> Any:
        return wf.scan(lambda c, v: (product(c) + v, c), x[0], x)

    for length, product, copies in (
        (9, lambda c: c @ w.T @ w, 1),  # the other one lies along memory
        (3, lambda c: c @ w.T @ w, 0),  # not worth it
        (9, lambda c: c * w.T[:, 0], 0),
    ):
        x = array(length, 2, 3)
        graph = planned(lambda x, product=product: f(x, product), x)
        assert names(graph).count("copy") == copies, (length, names(graph))
        assert "copy" not in names(node_of(graph, "loop").params["body"])
        assert bits(wf.compile(f)(x, product)) == bits(f(x, product))

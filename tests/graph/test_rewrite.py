"""One loop rebuilds graphs: what a rule may say, and what it leaves as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from several_outputs import SINCOS, divmod_, sincos

import weft as wf
from weft.core import dtypes as dt
from weft.graph.executable import _run, plan_graph
from weft.graph.fold import constants_of
from weft.graph.ir import Graph, Node, Value, inline, make_node, rewrite, verify
from weft.graph.protocol import COPY, Primitive, TensorType
from weft.graph.simplify import simplify
from weft.llvm.targets import host_target
from weft.tensor.calls import GraphCall

ADD, SIN, COS = (n.op for n in wf.compile(lambda x: (x + x, wf.sin(x), wf.cos(x))).graph(wf.ones(3)).nodes)
TYPE = TensorType(dt.float32, (3,))


def chain(n: int, op: Primitive = COPY) -> Graph:
    """An op n times over."""
    nodes: list[Node] = []
    first = value = Value(TYPE)
    for _ in range(n):
        nodes.append(make_node(op, [value], {}))
        value = nodes[-1].output
    return Graph("chain", [first], nodes, [value])


def names(graph: Graph) -> list[str]:
    verify(graph)
    return [n.op.name for n in graph.nodes]


def state_of(graph: Graph) -> list[Any]:
    """Everything that a rewrite could change."""
    values = [*graph.inputs, *graph.outputs, *(v for n in graph.nodes for v in n.outputs)]
    return [
        [(id(v), id(v.node), v.index, v.type) for v in values],
        [(id(n), n.op, n.inputs, n.outputs, dict(n.params), n.where, n.scope) for n in graph.nodes],
        (graph.inputs.copy(), graph.outputs.copy(), graph.nodes.copy()),
    ]


def test_a_rule_that_says_nothing_gives_the_same_nodes() -> None:
    graph = chain(5)
    again = rewrite(graph, lambda node: None)
    assert again is not graph and again.nodes == graph.nodes and again.outputs == graph.outputs


def test_a_value_stands_for_a_node() -> None:
    graph = chain(4)
    assert rewrite(graph, lambda node: node.inputs[0]).outputs == graph.inputs
    assert names(rewrite(graph, lambda node: node.inputs[0])) == []


def test_a_node_stands_for_another_and_later_ones_follow() -> None:
    graph = chain(3)
    turned = rewrite(graph, lambda node: make_node(SIN, node.inputs, {}) if node is graph.nodes[0] else None)
    assert names(turned) == ["sin", "copy", "copy"]
    assert not set(turned.nodes) & set(graph.nodes)


def test_a_rule_sees_the_current_operands() -> None:
    seen: list[Node] = []
    graph = chain(4)

    def rule(node: Node) -> Value:
        seen.append(node)
        return make_node(SIN, node.inputs, {}).output

    names(rewrite(graph, rule))
    assert seen[0].inputs == tuple(graph.inputs)
    assert [n.inputs[0].node.op for n in seen[1:]] == [SIN] * 3  # type: ignore[union-attr]


def test_values_bring_the_nodes_that_make_them() -> None:
    """In an order in which they can be computed, each once; nodes that no value needs stay away."""
    graph = chain(2)

    def rule(node: Node) -> Value:
        make_node(COS, node.inputs, {})
        part = make_node(SIN, node.inputs, {}).output
        return make_node(ADD, [part, make_node(ADD, [node.inputs[0], part], {}).output], {}).output

    assert names(rewrite(graph, rule)) == ["sin", "add", "add"] * 2


def test_values_stand_for_several_outputs() -> None:
    x = Value(TYPE)
    both = make_node(SINCOS, [x], {})
    total = make_node(ADD, both.outputs, {})
    graph = Graph("f", [x], [both, total], [total.output, both.outputs[1]])

    def rule(node: Node) -> Any:
        return None if node.op is ADD else [make_node(op, node.inputs, {}).output for op in (SIN, COS)]

    assert names(rewrite(graph, rule)) == ["sin", "cos", "add"]

    def wrong(node: Node) -> Value:
        return node.inputs[0]

    with pytest.raises(wf.CompileError, match="graph f: 1 values for 2 of sincos"):
        rewrite(graph, wrong)


def test_what_is_said_beforehand_counts() -> None:
    graph, other = chain(3), Value(TYPE)
    moved = rewrite(graph, values={graph.inputs[0]: other})
    assert moved.inputs == [other] and names(moved) == ["copy"] * 3
    made = make_node(SIN, graph.inputs, {}).output
    asked: list[Node] = []
    assert names(rewrite(graph, asked.append, {graph.nodes[1].output: made})) == ["copy", "sin", "copy"]
    assert len(asked) == 2


def test_an_output_that_is_an_input_follows() -> None:
    x, other = Value(TYPE), Value(TYPE)
    assert rewrite(Graph("f", [x], [], [x, x]), values={x: other}).outputs == [other, other]


@given(st.lists(st.sampled_from(["keep", "drop", "sin", "twice", "again"]), min_size=1, max_size=40))
def test_whatever_a_rule_says_the_form_holds_and_nothing_is_changed(says: list[str]) -> None:
    graph = chain(len(says))
    before, waiting = state_of(graph), iter(says)
    answers: dict[str, Callable[[Node], Any]] = {
        "keep": lambda node: None,
        "drop": lambda node: node.inputs[0],
        "sin": lambda node: make_node(SIN, node.inputs, {}),
        "twice": lambda node: [make_node(COS, [make_node(SIN, node.inputs, {}).output], {}).output],
        "again": lambda node: make_node(ADD, [node.inputs[0], node.inputs[0]], {}),
    }
    made = rewrite(graph, lambda node: answers[next(waiting)](node))
    parts = {"keep": ["copy"], "drop": [], "sin": ["sin"], "twice": ["sin", "cos"], "again": ["add"]}
    assert names(made) == [name for word in says for name in parts[word]]
    assert state_of(graph) == before


def test_long_graphs_take_no_stack_and_linear_work() -> None:
    """20,000 nodes in a row, rebuilt; and one node that 20,000 stand for."""
    n = 20_000
    graph = chain(n)
    assert names(rewrite(graph, lambda node: make_node(SIN, node.inputs, {}))) == ["sin"] * n
    long = rewrite(chain(1), lambda node: chain_over(node.inputs[0], n))
    assert names(long) == ["sin"] * n


def chain_over(value: Value, n: int) -> Value:
    for _ in range(n):
        value = make_node(SIN, [value], {}).output
    return value


def test_threads_may_do_all_of_it_with_one_graph_at_once() -> None:
    """Simplify, fold, differentiate, inline, plan: each thread gets what one gets alone, and the graph stays."""

    def f(x: wf.Tensor, y: wf.Tensor) -> Any:
        s, c = sincos(x.T @ x)
        return wf.reshape(x, (24,)) * (wf.ones((24,)) * 3.0), s + c, divmod_(x, y)

    operands = (wf.ones((6, 4)).T, wf.ones((4, 6)))
    graph = wf.compile(f).graph(*operands)
    strides = [(1, 4), (6, 1)]

    def work() -> list[str]:
        nodes: list[Node] = []
        inline(graph, [Value(v.type) for v in graph.inputs], nodes)
        simple = simplify(graph)
        folded = simplify(simple, values=constants_of(simple, lambda part: _run(part, host_target(), 1)))
        backward = GraphCall(graph).backward((True, True))
        planned = plan_graph(graph, strides, (), host_target(), 1)
        launches = [(str(p.kernel), p.ints) for p in planned.launches]
        return [repr(folded), repr(backward.call.graph), str(launches), str([n.op for n in nodes])]

    expected, before, found = work(), state_of(graph), list[Any]()
    barrier = threading.Barrier(6)

    def run() -> None:
        barrier.wait()
        found.extend(work() for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 30 and all(f == expected for f in found)
    assert state_of(graph) == before

"""Clusters: they hold every root once, in an order that can run; joining changes no bit, whichever rules there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from few_examples import few
from hypothesis import given
from hypothesis import strategies as st
from lowered_programs import graph_of, graphs, roots_of

import weft as wf
from weft.core.shapes import strides_of
from weft.graph.executable import build
from weft.graph.ir import Graph
from weft.graph.lower import clustering
from weft.graph.lower.clustering import MAX_READS, MAX_ROOTS, MAX_SIZE, RULES, cluster
from weft.llvm.targets import host_target
from weft.runtime import storage

ALONE = patch.object(clustering, "RULES", ())


@given(graphs(most=14))
def test_every_root_is_in_one_cluster_after_what_it_reads(graph: Graph) -> None:
    roots = roots_of(graph)
    clusters = cluster(roots)
    assert sorted(id(r.value) for r in roots) == sorted(id(r.value) for c in clusters for r in c.roots)
    made = {r.value for r in roots}
    computed = set()
    for each in clusters:
        for root in each.roots:
            assert all(v in computed for v, _ in root.reads if v in made)
            computed.add(root.value)
        assert len(each.roots) == 1 or (len(each.reading) <= MAX_READS and each.size <= MAX_SIZE)
        assert len(each.roots) <= MAX_ROOTS and each.full.keys() == {r.value for r in each.roots}


@given(graphs())
def test_without_rules_each_root_has_a_kernel_of_its_own(graph: Graph) -> None:
    with ALONE:
        assert all(len(c.roots) == 1 for c in cluster(roots_of(graph)))


def bits(graph: Graph, rules: Sequence[Any], threads: int) -> list[bytes]:
    """What a graph computes where roots join by these rules alone."""
    arrays = [
        (np.arange(int(np.prod(v.shape)), dtype=np.float32).reshape(v.shape) * (k + 0.7)) % 1.9 - 0.8
        for k, v in enumerate(graph.inputs)
    ]
    with patch.object(clustering, "RULES", tuple(rules)):
        exe = build(graph, [strides_of(v.shape) for v in graph.inputs], (), host_target(), threads)
    made = exe.program.call(*[storage.copy_of(np.ascontiguousarray(a).tobytes()) for a in arrays])
    found = made if isinstance(made, tuple) else (made,)
    sizes = [int(np.prod(v.shape)) * v.dtype.itemsize for v in graph.outputs]
    return [bytes(found[at])[:n] for at, n in zip(exe.results, sizes, strict=True)]


@few(10, 90, graphs(), st.sets(st.sampled_from(RULES)), st.integers(1, 2))
def test_joining_changes_no_bit(graph: Graph, left_out: set[Any], threads: int) -> None:
    alone = bits(graph, (), 1)
    assert bits(graph, RULES, threads) == alone
    assert bits(graph, [r for r in RULES if r not in left_out], threads) == alone


ALIVE: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (clustering.same_points, lambda x: (x + 1.0, x * 2.0)),
    (clustering.epilogue, lambda x: (x @ x) * 2.0),
    (clustering.points_of_rows, lambda x: wf.sum(x, axis=1, keepdims=True) * x),
    (clustering.one_value_a_row, lambda x: wf.sum(x, axis=0) * 2.0),
    (clustering.rows_of_points, lambda x: ((y := x * 2.0), wf.sum(y, axis=1))),
    (clustering.reductions_together, lambda x: (wf.sum(x, axis=0), wf.max(x, axis=0))),
]


def test_the_table_below_has_every_rule() -> None:
    assert [rule for rule, _ in ALIVE] == list(RULES)


@pytest.mark.parametrize(("rule", "function"), ALIVE, ids=[rule.__name__ for rule, _ in ALIVE])
def test_each_rule_joins_what_no_other_does(rule: Callable[..., Any], function: Callable[..., Any]) -> None:
    roots = roots_of(graph_of(function, [(8, 8)]))
    assert len(cluster(roots)) == 1
    with patch.object(clustering, "RULES", tuple(r for r in RULES if r is not rule)):
        assert len(cluster(roots)) == 2


LONG = (2, 40_000)
APART: list[tuple[str, Callable[..., Any], tuple[int, ...]]] = [
    ("a point of a long row", lambda x: wf.sum(x, axis=1, keepdims=True) * x, LONG),
    ("a value of a long row", lambda x: wf.sum(x, axis=1) * 2.0, LONG),
    ("a long reduction of what is computed", lambda x: ((y := x * 2.0), wf.sum(y, axis=1)), LONG),
    ("a point of a column", lambda x: wf.sum(x, axis=0) * x, (8, 9)),
    ("a column's reduction of another", lambda x: wf.sum((x - wf.max(x, axis=0)) ** 2, axis=0), (8, 9)),
    ("reductions over other axes", lambda x: (wf.sum(x, axis=0), wf.sum(x, axis=1)), (8, 9)),
    ("what is read at other points", lambda x: ((y := wf.tanh(x)), wf.flip(y, axis=0) * 2.0), (8, 9)),
    (
        "who reads a concat, and looks at its first piece",
        lambda x: wf.concat([(y := x * 2.0), y + 1.0])[:8] * 3.0,
        (8, 9),
    ),
    ("values of rows that read none", lambda x, y: (wf.sum(x, axis=1), wf.tanh(x[:, 0]) * 2.0), (8, 9)),
]


@pytest.mark.parametrize(("name", "function", "shape"), APART, ids=[c[0] for c in APART])
def test_limits_of_the_rules(name: str, function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    graph = graph_of(function, [shape] * function.__code__.co_argcount)
    assert len(cluster(roots_of(graph))) == 2


@pytest.mark.parametrize("axis", [0, 1])
def test_a_concat_of_equal_pieces_joins_what_walks_a_piece(axis: int) -> None:
    def function(x: Any, y: Any) -> Any:
        z = wf.tanh(x + y)
        return z * 2.0, wf.concat([z * y, x, z - y], axis=axis), wf.sum(z, axis=1)

    graph = graph_of(function, [(8, 9)] * 2)
    (made,) = cluster(roots_of(graph))
    assert made.kind == "row" and [r.kind for r in made.roots] == ["map", "map", "pieces", "reduce"]
    assert bits(graph, RULES, 2) == bits(graph, (), 1)


MATRICES: list[tuple[str, Callable[..., Any], list[int]]] = [
    ("of points", lambda x, w: ((y := wf.tanh(x)), wf.reshape(y * 2.0, (8, 8)) @ w), [2, 1]),
    ("of rows", lambda x, w: wf.reshape(x - wf.max(x, axis=2, keepdims=True), (8, 8)) @ w, [2, 1]),
    ("of points in another order", lambda x, w: ((y := wf.tanh(x)), wf.reshape(y.mT * 2.0, (8, 8)) @ w), [1, 2, 1]),
    ("of other rows", lambda x, w: wf.reshape(x - wf.max(x, axis=2, keepdims=True), (16, 4)) @ w[:4], [3, 1]),
]


@pytest.mark.parametrize(("name", "function", "expected"), MATRICES, ids=[c[0] for c in MATRICES])
def test_a_matrix_of_sequences_joins_what_walks_them(
    name: str, function: Callable[..., Any], expected: list[int]
) -> None:
    graph = graph_of(function, [(2, 4, 8), (8, 8)])
    assert [len(c.roots) for c in cluster(roots_of(graph))] == expected
    assert bits(graph, RULES, 2) == bits(graph, (), 1)


def test_a_cluster_prints_a_line_for_each_member() -> None:
    (made,) = cluster(roots_of(graph_of(lambda x: (x * 2.0, wf.sum(x * 2.0, axis=1)), [(4, 5)])))
    lines = repr(made).splitlines()
    assert all(".py:" in line.partition("  # ")[2] for line in lines[1:]), "the user's line"
    assert [line.partition("  # ")[0] for line in lines] == [
        "row over [4, 5] axes 1:2",
        "  v1: float32[4, 5] = map multiply over [4, 5] of v0",
        "  v2: float32[4] = reduce sum axes 1:2 over [4, 5] of v1",
    ]

"""Expressions: what is pulled through views are the elements that the views show."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lowered_programs import graph_of, roots_of

import weft as wf
from weft.compiler.expr import Expr
from weft.graph.ir import Value
from weft.graph.lower.expressions import Puller, Unfusable, leaf_layouts, map_layouts
from weft.graph.lower.roots import lower_roots
from weft.graph.protocol import Layout

Both = tuple[Callable[[Any], Any], Callable[[Any], Any]]

VIEWS: list[Both] = [
    (lambda x: x.mT, lambda x: np.swapaxes(x, -1, -2)),
    (lambda x: x[1:], lambda x: x[1:]),
    (lambda x: x[..., ::2], lambda x: x[..., ::2]),
    (lambda x: wf.flip(x, axis=0), lambda x: x[::-1]),
    (lambda x: x[..., None, :], lambda x: x[..., None, :]),
    (lambda x: wf.broadcast_to(x, (2, *x.shape)), lambda x: np.broadcast_to(x, (2, *x.shape))),
    (lambda x: wf.reshape(x, (-1, 1)) if x.size else x, lambda x: x.reshape(-1, 1) if x.size else x),
    (lambda x: wf.reshape(x, (*x.shape, 1)), lambda x: x.reshape(*x.shape, 1)),
]


def offsets(layout: Layout) -> Any:
    found = [
        layout.offset + sum(i * s for i, s in zip(at, layout.strides, strict=True))
        for at in product(*map(range, layout.shape))
    ]
    return np.array(found, np.int64).reshape(layout.shape)


def pulled(puller: Puller, value: Value) -> Expr | None:
    try:
        return puller.pull(value)
    except Unfusable:
        return None


@given(st.lists(st.sampled_from(VIEWS), min_size=1, max_size=5), st.sampled_from([(24, 4, 1), (1, 3, 15), (60, -2, 7)]))
def test_views_move_the_reads_below_them(steps: list[Both], strides: tuple[int, ...]) -> None:
    base = Layout((2, 3, 4), 100, strides)
    expected = offsets(base)

    def function(x: Any) -> Any:
        for view, _ in steps:
            x = view(x)
        return x

    for _, view in steps:
        expected = view(expected)
    graph = graph_of(function, [base.shape])
    (source,), (result,) = graph.inputs, graph.outputs
    found = pulled(Puller({source}, {source: base}, {}), result)
    if found is None:
        assert any(n.op.name == "reshape" for n in graph.nodes), "strides can say every other view"
        return
    assert found.op == "read" and found.value[0] is source
    assert np.array_equal(offsets(found.value[1]), expected)


def test_a_reduction_of_one_element_is_a_view_and_one_of_none_a_constant() -> None:
    (one,) = roots_of(graph_of(lambda x: wf.sum(x, axis=1), [(3, 1, 4)]))
    assert one.kind == "map" and [layout.strides for layout in one.layouts] == [(4, 1)]
    (none,) = roots_of(graph_of(lambda x: wf.sum(x, axis=1), [(3, 0, 4)]))
    assert none.kind == "map" and none.reads == []
    (many,) = roots_of(graph_of(lambda x: wf.sum(x, axis=1), [(3, 2, 4)]))
    assert many.kind == "reduce" and many.axes == (1, 2)


def test_what_strides_cannot_say_is_stored_first() -> None:
    roots = roots_of(graph_of(lambda x: wf.reshape((x * 2.0).mT, (24,)) + 1.0, [(4, 6)]))
    assert [r.node.op.name for r in roots] == ["permute", "add"]
    graph = graph_of(lambda x: wf.reshape(x, (24,)) + 1.0, [(4, 6)])
    (source,) = graph.inputs
    copied = lower_roots(graph, {source: Layout((4, 6), 0, (1, 4))}, {})
    assert [r.node.op.name for r in copied] == ["copy", "add"] and source.node is None


def test_layouts_are_moved_and_members_put_in() -> None:
    (root,) = roots_of(graph_of(lambda x, y: x * y[::-1], [(3,), (3,)]))
    (value, _), (other, _) = root.reads
    moved = map_layouts(root.exprs, lambda x: Layout(x.shape, x.offset + 7, x.strides), lambda v: None)
    assert [x.offset for x in leaf_layouts(moved)] == [x.offset + 7 for x in root.layouts]
    (put,) = map_layouts(root.exprs, lambda x: x, lambda v: root.exprs[0] if v is value else None)
    assert root.exprs[0] in put.args
    assert other is not value


@pytest.mark.parametrize("n", [3, 3000])
def test_no_walk_recurses(n: int) -> None:
    def f(x: Any) -> Any:
        for _ in range(n):
            x = wf.flip(x, axis=0)
        return x * 2.0

    (root,) = roots_of(graph_of(f, [(5,)]))
    assert root.layouts[0] == (Layout((5,), 4, (-1,)) if n % 2 else Layout((5,), 0, (1,)))


def test_a_root_prints_its_expression() -> None:
    (root,) = roots_of(graph_of(lambda x: x[1:] * 2.0, [(5,)]))
    first, *lines = repr(root).splitlines()
    assert first.startswith("v1: float32[4] = map multiply over [4] of v0  # ")
    assert lines[0] == "  %0 = read:float32 v0[1; 1]" and lines[-1] == "  return %2"

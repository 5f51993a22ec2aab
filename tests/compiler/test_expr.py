"""Expressions: walks and rebuilds of the DAG, whatever its shape and depth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.compiler import expr as ex
from weft.compiler.expr import Expr, const, leaf, rebuild, topological
from weft.core import dtypes as dt


@st.composite
def dags(draw: st.DrawFn) -> list[Expr]:
    """The nodes of a DAG, arguments before users; some are equal in structure, none is the same node twice."""
    nodes = [leaf("load", dt.float32, k) for k in range(draw(st.integers(1, 3)))] + [const(2.0, dt.float32)]
    for _ in range(draw(st.integers(0, 12))):
        args = [draw(st.sampled_from(nodes)) for _ in range(draw(st.integers(1, 3)))]
        make = {1: ex.neg, 2: draw(st.sampled_from([ex.add, ex.mul])), 3: ex.fma}[len(args)]
        nodes.append(make(*args))
    return nodes


def reached(roots: list[Expr], known: set[int]) -> set[int]:
    """Naively: ids of what the roots need, but for what is known."""
    return set().union(*({id(r)} | reached(list(r.args), known) for r in roots if id(r) not in known), set())


@given(dags(), st.data())
def test_each_node_comes_once_and_after_its_arguments(nodes: list[Expr], data: st.DataObject) -> None:
    roots = data.draw(st.lists(st.sampled_from(nodes), max_size=4))
    known = {id(n) for n in data.draw(st.lists(st.sampled_from(nodes), max_size=2))}
    order = topological(roots, known)
    places = {id(n): k for k, n in enumerate(order)}
    assert len(places) == len(order) and set(places) == reached(roots, known)
    assert all(id(a) in known or places[id(a)] < places[id(n)] for n in order for a in n.args)


@given(dags())
def test_a_rebuild_that_changes_nothing_gives_the_same_nodes(nodes: list[Expr]) -> None:
    assert all(a is b for a, b in zip(rebuild(nodes, lambda node, args: None), nodes, strict=True))


@given(dags(), st.data())
def test_a_rebuild_replaces_wherever_a_node_is_used_and_shares_what_was_shared(
    nodes: list[Expr], data: st.DataObject
) -> None:
    old, new = data.draw(st.sampled_from(nodes)), leaf("load", dt.float32, "new")
    found = rebuild(nodes, lambda node, args: new if node is old else None)
    by_node = dict(zip(map(id, nodes), found, strict=True))

    def naive(node: Expr) -> Any:
        if node is old:
            return "new"
        return (node.op, node.value, tuple(naive(a) for a in node.args))

    def text(node: Expr) -> Any:
        return "new" if node is new else (node.op, node.value, tuple(text(a) for a in node.args))

    assert [text(n) for n in found] == [naive(n) for n in nodes]
    uses_old = {id(n) for n in nodes if id(old) in reached([n], set())}
    assert all((by_node[id(n)] is n) == (id(n) not in uses_old) for n in nodes)
    assert len({id(n) for n in found}) == len({id(n) for n in nodes})


def test_depth_is_no_limit() -> None:
    node = leaf("load", dt.float32, 0)
    for _ in range(50_000):
        node = ex.neg(node)
    assert len(topological([node])) == 50_001
    (changed,) = rebuild([node], lambda n, args: const(0.0, dt.float32) if n.op == "load" else None)
    assert len(topological([changed])) == 50_001 and topological([changed])[0].op == "const"


def test_operators_lift_numbers_to_the_dtype() -> None:
    x = leaf("load", dt.int16, 0)
    for made, op, first in [
        (x + 1, "add", x),
        (1 - x, "sub", None),
        (x << 2, "shl", x),
        (x < 3, "lt", x),
        (x & 1, "and", x),
    ]:
        assert made.op == op and {a.dtype for a in made.args} == {dt.int16}
        assert first is None or made.args[0] is first
    assert (1 - x).args[1] is x and (x < 3).dtype is dt.bool_
    assert ex.cast(x, dt.int16) is x and ex.bitcast(x, dt.int16) is x
    assert repr(x + 1) == "add:int16(load, const)"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, b: ex.add(a, b),
        lambda a, b: ex.lt(a, b),
        lambda a, b: ex.fma(a, a, b),
        lambda a, b: ex.where(ex.lt(a, a), a, b),
        lambda a, b: ex.where(a, a, a),
        lambda a, b: ex.bitcast(a, dt.float64),
    ],
)
def test_dtypes_that_do_not_fit_are_refused_when_the_expression_is_made(wrong: Any) -> None:
    with pytest.raises(AssertionError):
        wrong(leaf("load", dt.float32, 0), leaf("load", dt.int32, 1))


def _dear(x: Expr, y: Expr) -> Expr:
    for _ in range(4):
        x = ex.fma(y, x, const(2.0, x.dtype)) * x + y
    return x


def test_a_function_is_one_node_until_it_is_expanded_and_is_met_as_its_body_is() -> None:
    x, y = leaf("load", dt.float32, "x"), leaf("load", dt.float32, "y")
    node, body = ex.call("dear", _dear, x, y), _dear(x, y)
    assert (node.op, node.dtype, repr(node.value)) == ("call", dt.float32, "dear")
    assert len(topological([node])) == 3
    (made,) = ex.expanded([node])

    def walk(root: Expr) -> list[Any]:
        order = topological([root])
        places = {n: at for at, n in enumerate(order)}
        return [(n.op, n.dtype, n.value, *(places[a] for a in n.args)) for n in order]

    assert walk(made) == walk(body)
    read = [n.value for n in topological([body]) if n.op == "load"]
    assert [n.value for n in topological([node]) if n.op == "load"] == read
    assert ex.instructions(topological([node])) == ex.instructions(topological([body]))


def test_functions_of_shared_operands_share_them_when_expanded() -> None:
    x = ex.neg(leaf("load", dt.float32, "x"))
    node = ex.call("dear", _dear, x, x)
    first, second = ex.expanded([node, ex.add(node, x)])
    assert second.args[0] is first and second.args[1] is x
    assert sum(n.op == "load" for n in topological([second])) == 1


def test_short_functions_and_those_that_forget_an_operand_are_no_calls() -> None:
    x = leaf("load", dt.float32, "x")
    assert ex.call("short", lambda a: a * a, x).op == "mul"
    assert ex.call("one of two", lambda a, b: _dear(a, a), x, x).op != "call"

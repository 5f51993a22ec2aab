"""What the way back through a loop takes from the loop, and what it computes again; no bit hangs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from control_flow import array, bits

import weft as wf
from weft import nn
from weft.graph import loops
from weft.graph.ir import Graph, verify
from weft.graph.loops import settle_loops
from weft.graph.replays import LEAST
from weft.graph.simplify import simplify

WIDE = 2 * LEAST


def steps(function: Any, *args: Any, is_limited: bool = False) -> list[list[str]]:
    """Of each loop, in order, the products and functions that a step computes."""
    graph = settle_loops(simplify(wf.compile(function).graph(*args), to_run=True), is_limited)
    verify(graph)
    bodies: list[Graph] = [n.params["body"] for n in graph.nodes if n.op.name == "loop"]
    return [[n.op.name for n in b.nodes if n.op.name in ("contract", "tanh", "exp")] for b in bodies]


def gradients(step: Callable[..., Any], xs: Any, *weights: Any, **options: Any) -> tuple[Any, ...]:
    """The gradients of a loop's last carry, by what its steps read."""

    def loss(xs: Any, *weights: Any) -> Any:
        last, rows = wf.scan(lambda c, x: step(c, x, *weights), wf.zeros((2, WIDE)), xs, **options)
        return (last * last).sum() + (rows * rows).sum()

    return wf.grad(loss, argnums=tuple(range(1 + len(weights))))(xs, *weights)


def dense(c: Any, x: Any, w: Any, u: Any) -> Any:
    after = wf.tanh(x @ w + c @ u)
    return after, after


def two_layers(c: Any, x: Any, w: Any, u: Any) -> Any:
    after = wf.tanh(wf.tanh(x @ w) @ u + c)
    return after, after @ w


def short_sums(c: Any, x: Any, w: Any, u: Any) -> Any:
    after = wf.tanh(x[:, : LEAST - 1] @ w[: LEAST - 1] + c)
    return after, after


def args(n: int = 5) -> tuple[Any, ...]:
    return array(n, 2, WIDE) * 0.1, array(WIDE, WIDE) * 0.1, array(WIDE, WIDE) * 0.1


def of_invariants(c: Any, x: Any, w: Any, u: Any) -> Any:
    after = wf.tanh(c @ (w @ u) + x)
    return after, after


FOUND = [
    # Of two products the sum's tanh is kept; the way back has the gradients' own products alone.
    (dense, [["contract", "contract", "tanh"], ["contract"] * 4]),
    (two_layers, [["contract", "tanh", "contract", "tanh", "contract"], ["contract"] * 6]),
    # What is cheaper to compute than to keep.
    (short_sums, [["contract", "tanh"], ["contract", "tanh", *["contract"] * 2]]),
]


@pytest.mark.parametrize(("step", "expected"), FOUND, ids=[step.__name__ for step, _ in FOUND])
def test_products_are_not_computed_again(step: Callable[..., Any], expected: list[list[str]]) -> None:
    found = steps(lambda *a: gradients(step, *a), *args())
    assert found == expected


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("step", [dense, two_layers, short_sums])
def test_no_bit_hangs_on_what_is_kept(step: Callable[..., Any], reverse: bool) -> None:
    def run(*a: Any) -> Any:
        return gradients(step, *a, reverse=reverse)

    given = args()
    wanted = bits(run(*given))
    assert bits(wf.compile(run)(*given)) == wanted
    with patch.object(loops, "keep", lambda graph: graph):
        assert bits(wf.compile(run)(*given)) == wanted


def test_what_no_iteration_changes_is_not_kept_for_each() -> None:
    graph = wf.compile(lambda *a: gradients(of_invariants, *a)).graph(*args())
    loop = next(n for n in settle_loops(simplify(graph, to_run=True)).nodes if n.op.name == "loop")
    assert (5, WIDE, WIDE) not in [tuple(v.shape) for v in loop.outputs]


def test_a_plan_with_a_limit_of_memory_computes_again() -> None:
    function = lambda *a: gradients(dense, *a)  # noqa: E731
    free, limited = (steps(function, *args(), is_limited=x) for x in (False, True))
    assert [each.count("contract") for each in free] == [2, 4]
    assert [each.count("contract") for each in limited] == [2, 6]
    given = args()
    assert bits(wf.compile(function, memory_limit=1 << 20)(*given)) == bits(wf.compile(function)(*given))


def test_loops_over_other_parts_have_values_of_their_own() -> None:
    """Equal nodes of other parts: shifted, turned round, of another sequence, of another length."""

    def f(xs: Any, w: Any, u: Any) -> Any:
        def step(c: Any, x: Any) -> Any:
            return c + x @ w, c

        first, rows = wf.scan(step, wf.zeros((2, WIDE)), xs)
        found = [first]
        for others in (wf.flip(xs, axis=0), wf.roll(rows, 1, axis=0), xs * 2.0, xs[:3]):
            found.append(wf.scan(step, wf.zeros((2, WIDE)), others)[0])
        return found

    given = args()
    assert [each.count("contract") for each in steps(f, *given)] == [1] * 5
    assert bits(wf.compile(f)(*given)) == bits(f(*given))


def test_a_loop_over_the_same_parts_takes_the_products_of_the_one_before_in_any_direction() -> None:
    def f(xs: Any, w: Any, u: Any) -> Any:
        forth = wf.scan(lambda c, x: (c + x @ w, c @ u), wf.zeros((2, WIDE)), xs)
        back = wf.scan(lambda c, v: (c * 0.5 + v[0] @ w, v[1]), wf.zeros((2, WIDE)), (xs, forth[1]), reverse=True)
        return forth, back

    given = args()
    assert [each.count("contract") for each in steps(f, *given)] == [2, 0]
    assert bits(wf.compile(f)(*given)) == bits(f(*given))


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells_in_loops_of_any_length(name: str) -> None:
    """Losses and gradients of steps over lengths that are symbols by then."""
    wf.manual_seed(2)
    cell = getattr(nn, name)(LEAST, LEAST)

    def step(xs: Any) -> Any:
        h = wf.zeros((3, LEAST))
        state = (h, h) if name == "LSTMCell" else h
        for x in xs:
            state = cell(x, state)
        loss = sum(((s * s).sum() for s in state), wf.zeros(())) if name == "LSTMCell" else (state * state).sum()
        cell.zero_grad()
        loss.backward()
        return loss, [p.grad for p in cell.parameters()]

    compiled = wf.compile(step)
    for length in (20, 23, 31, 40):
        xs = array(length, 3, LEAST)
        assert bits(compiled(xs)) == bits(step(xs))
    assert all(
        each.count("contract") == wanted for each, wanted in zip(steps(step, array(20, 3, LEAST)), (2, 3), strict=True)
    )

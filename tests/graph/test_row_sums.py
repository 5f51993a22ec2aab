"""Rows that iterations add to a sum are results of their loop, and the sum has the very bits that it had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from control_flow import array, bits

import weft as wf
from weft.graph import kept, loops
from weft.graph.ir import Graph, Node, verify
from weft.graph.loops import settle_loops
from weft.graph.simplify import simplify

N = 70  # steps: more than are unrolled


def rows(x: Any, w: Any) -> Any:
    h = w[0]
    for i in range(N):
        h = wf.tanh(h * x[i])
    return h.sum()


def columns(x: Any, w: Any) -> Any:
    h, seen = w[0], []
    for i in range(N):
        h = h * 0.5 + x[:, i, : w.shape[1]].sum(axis=0)
        seen.append(h)
    return (wf.stack(seen) ** 2).sum()


def backwards(x: Any, w: Any) -> Any:
    h = w[0]
    for i in range(N):
        h = wf.sin(h + x[N - 1 - i] * x[-1 - i])
    return h.sum()


def windows(x: Any, w: Any) -> Any:
    h = w[0]
    for i in range(1, N - 1):
        h = h * 0.9 + x[i - 1] * x[i] - wf.exp(-x[i + 1] * x[i + 1])
    return h.sum()


def zeros(x: Any, w: Any) -> Any:
    """Contributions of -0.0."""
    h = w[0]
    for i in range(N):
        h = h - x[i] * 0.0
    return (h * -0.0).sum()


def used_before_and_after(x: Any, w: Any) -> Any:
    h = wf.sin(x).sum(axis=0)
    for i in range(N):
        h = wf.tanh(h * x[i])
    return h.sum() + (x * x).sum()


def entries(x: Any, w: Any) -> Any:
    """Two indices, of which one stays."""
    h = w[0]
    for i in range(N):
        h = h * 0.5 + x[i, 1]
    return h.sum()


def table(x: Any, w: Any) -> Any:
    """Some rows several times, others never: in the order of the steps."""
    at = (wf.arange(N) * 7) % 31
    h = w[0]
    for i in range(N):
        h = wf.tanh(h + x[at[i]] * 1.7)
    return h.sum()


def nested(x: Any, w: Any) -> Any:
    h = w[0]
    for i in range(N):
        for j in range(3):
            h = wf.tanh(h + x[i] * w[j])
    return h.sum()


def changed_besides(x: Any, w: Any) -> Any:
    """All of the tensor and a row of it, in each step."""
    h = w[0]
    for i in range(N):
        h = wf.tanh(h * x.mean() + x[i])
    return h.sum()


def few_rows(x: Any, w: Any) -> Any:
    """Rows that would take much more memory than the sum."""
    h = w[0]
    for i in range(N * 3):
        h = wf.tanh(h + w[i % 3])
    return h.sum() + x.sum()


def of_two_forms(x: Any, w: Any) -> Any:
    """What is added lies at the same places of the sum, but in rows of other lengths."""
    h = w[0]
    for i in range(N):
        h = wf.tanh(h + wf.reshape(x, (2 * N, 2))[i].sum() * wf.reshape(x, (4 * N,))[3 * i])
    return h.sum()


def rows_and_entries(x: Any, w: Any) -> Any:
    at = (wf.arange(N) * 7) % 31
    h = w[0]
    for i in range(N):
        h = wf.tanh(h + x[at[i]] * x[at[i], at[i] // 20] - x[i, 2])
    return h.sum()


STEPS: list[tuple[Callable[..., Any], bool]] = [  # and whether the way back adds nothing of x's size in its steps
    (rows, True),
    (columns, True),
    (backwards, True),
    (windows, True),
    (zeros, True),
    (used_before_and_after, True),
    (entries, True),
    (table, True),
    (nested, True),
    (changed_besides, False),
    (of_two_forms, False),
    (rows_and_entries, False),
    (few_rows, False),
]


def gradient(function: Any) -> Any:
    return wf.grad(function, argnums=(0, 1))


def operands(function: Any, dtype: str = "float32") -> tuple[Any, Any]:
    if function is columns:
        return array(3, N, 5, dtype=dtype) * 0.2, array(3, 4, dtype=dtype, seed=1)
    return array(N, 4, dtype=dtype) * 0.2, array(3, 4, dtype=dtype, seed=1)


@contextmanager
def without() -> Iterator[None]:
    """As it was; tables on disk are of other sources."""
    version = f"{kept._version()}, without"
    with patch.object(loops, "take_rows_out", lambda graph: graph), patch.object(kept, "_version", lambda: version):
        yield


def scattering(function: Any) -> list[bool]:
    """Of each loop, whether its steps scatter."""
    graph = settle_loops(simplify(wf.compile(gradient(function)).graph(*operands(function)), to_run=True))
    verify(graph)
    return ["scatter_add" in [n.op.name for n in loop.params["body"].nodes] for loop in loops_of(graph)]


def loops_of(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op.name == "loop"]


@pytest.mark.parametrize(("function", "taken"), STEPS, ids=[f.__name__ for f, _ in STEPS])
def test_steps_add_nothing_of_the_whole_size(function: Any, taken: bool) -> None:
    found = scattering(function)
    assert found and any(found) == (not taken)
    with without():
        assert any(scattering(function))  # the pass is what does it


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("function", [f for f, _ in STEPS], ids=[f.__name__ for f, _ in STEPS])
def test_no_bit_hangs_on_it(function: Any, dtype: str) -> None:
    args = operands(function, dtype)
    args = tuple([wf.where(t < -0.3, wf.full(t.shape, -0.0, dtype=t.dtype), t) for t in args])
    found = [bits(gradient(function)(*args)), bits(wf.compile(gradient(function))(*args))]
    with without():
        found.append(bits(wf.compile(gradient(function))(*args)))
    assert found[0] == found[1] == found[2]


def test_sizes_that_are_not_known() -> None:
    def steps(x: Any) -> Any:
        h = wf.zeros((3,))
        for i in range(len(x)):
            h = wf.tanh(h + x[i])
        return h.sum()

    compiled = wf.compile(wf.grad(steps))
    graph = settle_loops(simplify(compiled.graph(array(N, 3)), to_run=True))
    assert not any("scatter_add" in [n.op.name for n in v.params["body"].nodes] for v in loops_of(graph))
    for n in (70, 71, 90, 128, 1, 2, 0):
        x = array(n, 3, seed=n)
        assert bits(compiled(x)) == bits(wf.grad(steps)(x))


def test_a_limit_of_memory_is_kept_as_it_was() -> None:
    def steps(x: Any) -> Any:
        h = x[0] * 0.0
        for i in range(len(x)):
            h = wf.tanh(h + x[i] * x[-1 - i])
        return h.sum()

    x = array(128, 4096)
    size = 128 * 4096 * 4
    graph = simplify(wf.compile(wf.grad(steps)).graph(x), to_run=True)
    assert loops_of(settle_loops(graph, is_limited=True))[-1].outputs[-1].shape == x.shape
    limited = wf.compile(wf.grad(steps), memory_limit=8 * size)
    assert bits(limited(x)) == bits(wf.grad(steps)(x))


def test_gradients_of_gradients() -> None:
    def second(x: Any, w: Any) -> Any:
        return wf.grad(lambda x: (wf.grad(rows)(x, w) ** 2).sum())(x)

    x, w = operands(rows)
    np.testing.assert_allclose(wf.compile(second)(x, w).numpy(), second(x, w).numpy(), rtol=1e-5, atol=1e-7)

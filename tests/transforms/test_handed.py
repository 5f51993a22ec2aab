"""Gradients that a step replaces: new ones lie where old ones lay, unless somebody has these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.transforms import handed


@pytest.fixture(autouse=True)
def _small() -> Any:
    with patch.object(handed, "LEAST", 1):
        yield


def made(read: bool = False) -> tuple[Any, Callable[..., Any], Any]:
    """A parameter, a compiled step that gives it a gradient, an operand."""
    wf.random.seed(1)
    layer = nn.Linear(6, 5)
    table = wf.tensor(np.arange(30, dtype=np.float32).reshape(6, 5))
    opt = optim.SGD(layer.parameters(), lr=0.1)

    @wf.compile
    def step(x: Any, rows: Any) -> Any:
        before = wf.sum(layer.weight.grad) if read else 0.0
        opt.zero_grad()
        loss = wf.mean((layer(x) - table[rows]) ** 2) + before
        loss.backward()
        opt.step()
        return loss

    return layer.weight, step, wf.tensor(np.ones((4, 6), np.float32))


ROWS = wf.tensor([0, 2, 1, 5])


def address(p: Any) -> int:
    return int(p.grad._storage.address)


def test_a_gradient_lies_where_the_one_before_lay() -> None:
    p, step, x = made()
    step(x, ROWS)
    first = address(p)
    for _ in range(3):
        step(x, ROWS)
        assert address(p) == first


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "the gradient": lambda g: g,
    "a view": lambda g: g[1:],
    "an alias without history": lambda g: g.detach(),
    "an array": lambda g: g.numpy(),
    "another library's view": lambda g: np.from_dlpack(g),
    "a list": lambda g: [g],
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_somebody_has_is_not_written(name: str) -> None:
    p, step, x = made()
    step(x, ROWS)
    held = HOLDERS[name](p.grad)
    shown = held[0] if isinstance(held, list) else held
    before, first = np.array(shown, copy=True), address(p)
    step(x, ROWS)
    assert address(p) != first and np.array_equal(np.array(shown), before)
    now = address(p)
    step(x, ROWS)
    assert address(p) == now, "the new one is nobody else's"


def test_a_gradient_of_two_leaves_is_not_written() -> None:
    p, step, x = made()
    step(x, ROWS)
    other = nn.Parameter(p.detach().clone())
    other.grad = p.grad
    before = other.grad.numpy().copy()
    step(x, ROWS)
    assert np.array_equal(other.grad.numpy(), before)


def test_a_run_that_raises_leaves_gradients_as_they_were() -> None:
    p, step, x = made()
    step(x, ROWS)
    before, where, weight = p.grad.numpy().copy(), address(p), p.detach().numpy().copy()
    with pytest.raises(wf.WeftError):
        step(x, wf.tensor([0, 2, 1, 6]))
    assert np.array_equal(p.grad.numpy(), before) and address(p) == where
    assert np.array_equal(p.detach().numpy(), weight)
    step(x, ROWS)
    assert address(p) == where


def test_bits_are_those_of_steps_that_are_handed_nothing() -> None:
    found = []
    for least in (1, 1 << 60):
        with patch.object(handed, "LEAST", least):
            p, step, x = made()
            losses = [step(x, ROWS).numpy().tobytes() for _ in range(4)]
            found.append((losses, p.grad.numpy().tobytes(), p.detach().numpy().tobytes()))
    assert found[0] == found[1]


def test_a_gradient_that_the_step_reads_is_none_of_these() -> None:
    p, step, x = made(read=True)
    p.grad = wf.zeros((5, 6))
    for _ in range(2):
        step(x, ROWS)
    ((entry,),) = step._entries.values()  # type: ignore[attr-defined]
    assert all(each.ref.get([]) is not p.grad for each in entry._handed)


def test_the_steps_explanation_leaves_gradients_alone() -> None:
    p, step, x = made()
    step(x, ROWS)
    before = p.grad.numpy().copy()
    step.explain(x, ROWS)  # type: ignore[attr-defined]
    assert np.array_equal(p.grad.numpy(), before)

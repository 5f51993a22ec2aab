"""What a branch on a value leaves in Python objects and in gradients, where eager code leaves the very tensor that was
there before: it is refused, or nobody can tell."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import weft as wf

REFUSED = "as a value decides, is one that was there before"


def x_of(value: float) -> wf.Tensor:
    return wf.full((3,), value)


def _itself(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        if x.sum() > 0:
            m.kept = m.p
        return x * 2

    return step


def _a_view(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        if x.sum() > 0:
            m.kept = m.p[1:]
        else:
            m.kept = x[1:] * 1
        return x * 2

    return step


def _written_in_the_branch(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        if x.sum() > 0:
            m.kept.zero_()
            m.p.add_(1.0)
            m.kept = m.p.detach()
        return m.p * 1

    return step


def _both_ways(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        if x.sum() > 0:
            m.p.add_(1.0)
            m.kept = m.p.detach()
        else:
            m.p.add_(2.0)
            m.kept = m.p.detach()
        return m.p * 1

    return step


def _in_a_list(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        y = x * 2
        if x.sum() > 0:
            y = m.p
        m.log.append(y)
        return x * 2

    return step


def _as_a_gradient(m: Any) -> Callable[[Any], Any]:
    opt = wf.optim.SGD([m.q], lr=0.1)

    def step(x: Any) -> Any:
        loss = (m.q * x).sum()
        loss.backward()
        if loss > 0:
            m.q.grad = m.q.detach()
            opt.step()
        return loss

    return step


@pytest.mark.parametrize(
    "make", [_itself, _a_view, _written_in_the_branch, _both_ways, _in_a_list, _as_a_gradient], ids=lambda f: f.__name__
)
def test_a_tensor_that_was_there_before_is_not_kept(make: Callable[[Any], Any]) -> None:
    m = SimpleNamespace(p=wf.ones(3), q=wf.ones(3).requires_grad_(), kept=wf.zeros(3), log=[])
    with pytest.raises(wf.CaptureError, match=REFUSED):
        wf.compile(make(m))(x_of(1.0))
    assert m.p.tolist() == [1.0] * 3 and m.kept.tolist() == [0.0] * 3 and not m.log


def _best(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        loss = (x * m.p).sum()
        if loss < m.best:
            m.best = loss
            m.kept = m.p.clone()
        m.p.mul_(0.5)
        return loss

    return step


def _hidden(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        h = m.kept
        if x.sum() > 0:
            h = h + x
        m.log.append(h)  # it may be what m.kept held, of which nothing else knows
        m.kept = h
        return h * 2

    return step


def _an_argument(m: Any) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        if x.sum() > 0:
            m.kept = x
        return x * 2

    return step


@pytest.mark.parametrize("make", [_best, _hidden, _an_argument], ids=lambda f: f.__name__)
def test_what_nobody_else_holds_is_kept(make: Callable[[Any], Any]) -> None:
    def run(wrap: Callable[[Any], Any]) -> list[Any]:
        m = SimpleNamespace(p=wf.ones(3), kept=wf.zeros(3), log=[], best=wf.full((), 1e9))
        step = wrap(make(m))
        found = []
        for value in (1.0, -2.0, 3.0, 0.5):
            found.append([step(x_of(value)).tolist(), m.p.tolist(), m.kept.tolist(), m.best.item()])
        return [*found, [each.tolist() for each in m.log]]

    assert run(wf.compile) == run(lambda f: f)

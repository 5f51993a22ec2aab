"""State that captured code writes: buffers that are assigned, gradients that are clipped, generators that move on."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

X = np.arange(6, dtype=np.float32).reshape(3, 2)


class Running(nn.Module):
    """Subtracts a running mean of its input."""

    def __init__(self, detached: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(wf.ones(2))
        self.register_buffer("mean", wf.zeros(2))
        self.detached = detached

    def forward(self, x: Any) -> Any:
        x = x * self.scale
        now = x.mean(0).detach() if self.detached else x.mean(0)
        self.mean = 0.9 * self.mean + 0.1 * now
        return x - self.mean


def outcomes(detached: bool, compiled: bool) -> tuple[list[Any], int]:
    """What four calls give and leave behind, and how many graphs there are."""
    net = Running(detached)
    run: Any = wf.compile(net) if compiled else net
    found: list[Any] = []
    for n in range(4):
        net.scale.grad = None
        y = run(wf.asarray(X * n))
        if not detached:
            net.mean = net.mean.detach()
        (y**2).sum().backward()
        found += [y.tolist(), net.mean.tolist(), net.mean.requires_grad, net.scale.grad.tolist()]
    return found, len(run.cache_info().graphs) if compiled else 0


@pytest.mark.parametrize("detached", [True, False])
def test_a_buffer_that_is_assigned_is_as_in_eager_code(detached: bool) -> None:
    eager, compiled = outcomes(detached, False), outcomes(detached, True)
    assert eager[0] == compiled[0]
    assert not detached or compiled[1] == 1


@pytest.mark.parametrize(
    "clip",
    [
        lambda p: nn.clip_grad_norm_(p, 0.5),
        lambda p: nn.clip_grad_norm_(p, 0.5, "inf"),
        lambda p: nn.clip_grad_value_(p, 0.25),
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_gradients_that_are_clipped_in_captured_code(clip: Callable[..., Any], given: bool) -> None:
    """``given``: gradients from outside, whose memory is written; else those of a backward pass inside."""
    found = []
    for compiled in (False, True):
        layer = nn.Linear(2, 1)
        with wf.no_grad():
            layer.weight.copy_(wf.asarray([[1.0, -2.0]]))
            layer.bias.zero_()

        def run(x: Any, layer: Any = layer) -> Any:
            if not given:
                layer.zero_grad()
                layer(x).sum().backward()
            clip(list(layer.parameters()))
            return x

        step = wf.compile(run) if compiled else run
        layer(wf.asarray(X)).sum().backward()
        grad, view = layer.weight.grad, layer.weight.grad[0]
        for _ in range(3):
            step(wf.asarray(X))
            found.append([layer.weight.grad.tolist(), layer.bias.grad.tolist(), view.tolist()])
        assert not given or layer.weight.grad is grad
    assert found[:3] == found[3:]


@pytest.mark.parametrize("kind", [wf.optim.SGD, wf.optim.Adam])
def test_whoever_shares_a_parameter_sees_a_captured_step(kind: Any) -> None:
    seen = []
    for compiled in (False, True):
        p = nn.Parameter(wf.ones((2, 2)))
        state, row, opt = p.detach(), p.detach()[1], kind([p], lr=0.5)

        def run(x: Any, p: Any = p, opt: Any = opt) -> Any:
            opt.zero_grad()
            (p * x).sum().backward()
            opt.step()
            return x

        step = wf.compile(run) if compiled else run
        for _ in range(3):
            step(wf.asarray([[1.0, -1.0], [2.0, 0.5]]))
            seen.append((p.tolist(), state.tolist(), row.tolist()))
    assert seen[:3] == seen[3:]


def test_initial_values_are_written_in_captured_code() -> None:
    w = nn.Parameter(wf.ones((3, 2)))
    view = w.detach()[0]

    @wf.compile
    def reset() -> Any:
        return nn.init.zeros_(w[:1])

    reset()
    assert w.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]] and view.tolist() == [0.0, 0.0]


def _two_gradients(p: wf.Tensor, q: wf.Tensor) -> wf.Tensor:
    p.grad, q.grad = wf.ones(3), wf.full((3,), 2.0)
    return wf.ones(3)


def _one_gradient(p: wf.Tensor, q: wf.Tensor) -> wf.Tensor:
    p.grad = q.grad = wf.ones(3)
    return wf.ones(3)


def _given_gradient(p: wf.Tensor, q: wf.Tensor) -> wf.Tensor:
    p.grad, q.grad = wf.ones(3), wf.full((3,), 2.0)
    return p.grad


def _one_for_all(p: wf.Tensor, q: wf.Tensor) -> wf.Tensor:
    p.grad = q.grad = wf.ones(3)
    return p.grad


def _flat_gradients(p: wf.Tensor, q: wf.Tensor) -> wf.Tensor:
    flat = wf.arange(0.0, 5.0)
    p.grad, q.grad = flat[:3], flat[2:]
    return flat[1:4]


def _accumulate(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    ((p * x).sum() + (q * 2.0).sum()).backward()
    return p.grad * 1.0  # type: ignore[operator]


def _copy(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    with wf.no_grad():
        q.grad.copy_(p.grad * 2.0)  # type: ignore[union-attr, operator]
    return p.grad + x  # type: ignore[operator]


def _write_given(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    (p * 2.0).sum().backward()
    with wf.no_grad():
        x.add_(1.0)
        p.grad.mul_(2.0)  # type: ignore[union-attr]
    return x * q.grad


def _part(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    return q.grad[:2]  # type: ignore[index]


def _detached(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    (p * x).sum().backward()
    return p.grad.detach()  # type: ignore[union-attr]


def _part_of_the_former(p: wf.Tensor, q: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
    part = p.grad[1:]  # type: ignore[index]
    p.grad = None
    (p * 3.0).sum().backward()
    return part * 1.0


@pytest.mark.parametrize("captured", ["", "p q", "p q x"])
@pytest.mark.parametrize("first", [_two_gradients, _one_gradient, _given_gradient, _one_for_all, _flat_gradients])
@pytest.mark.parametrize("body", [_accumulate, _copy, _write_given, _part, _detached, _part_of_the_former])
def test_gradients_that_share_memory(body: Callable[..., Any], first: Callable[..., Any], captured: str) -> None:
    """With each other, with an argument, with what the function closes over; what it returns shows them as in eager
    code."""
    found = []
    for compiled in (False, True):
        p, q = wf.ones(3).requires_grad_(), wf.full((3,), 3.0).requires_grad_()
        names = {"p": p, "q": q, "x": first(p, q)}
        x = names["x"]
        closed = {name: names.pop(name) for name in captured.split()}
        run: Any = functools.partial(body, **closed)
        run = wf.compile(run) if compiled else run
        seen: list[Any] = []
        for _ in range(2):
            result = run(**names)
            with wf.no_grad():
                result.add_(1.0)
            seen.append([t.tolist() for t in (result, p, q, x, p.grad, q.grad)])  # type: ignore[union-attr]
            seen.append((p.grad is q.grad, p.grad is x))
        found.append(seen)
    assert found[0] == found[1]

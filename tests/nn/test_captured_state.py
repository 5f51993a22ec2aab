"""State that captured code writes: buffers that are assigned, gradients that are clipped, generators that move on."""

from __future__ import annotations

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
    """What four calls give and leave behind, and how often Python ran."""
    net, calls = Running(detached), []

    def forward(x: Any) -> Any:
        calls.append(1)
        return net(x)

    run = wf.compile(forward) if compiled else forward
    found: list[Any] = []
    for n in range(4):
        net.scale.grad = None
        y = run(wf.asarray(X * n))
        if not detached:
            net.mean = net.mean.detach()
        (y**2).sum().backward()
        found += [y.tolist(), net.mean.tolist(), net.mean.requires_grad, net.scale.grad.tolist()]
    return found, len(calls)


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

"""Optimizers against PyTorch, where it is installed: ten steps, and a state that carries over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2, "amsgrad": True, "maximize": True}),
]


def both(name: str, options: Any) -> tuple[Any, Any, Any, Any]:
    """The optimizer here and PyTorch's, each with a parameter that begins alike."""
    start = RNG.normal(size=(3, 4)).astype(np.float32)
    p, q = nn.Parameter(start.copy()), torch.nn.Parameter(torch.tensor(start))
    ours, theirs = getattr(optim, name)([p], **options), getattr(torch.optim, name)([q], **options)
    return ours, theirs, p, q


def step(ours: Any, theirs: Any, p: Any, q: Any, count: int) -> None:
    for g in RNG.normal(size=(count, 3, 4)).astype(np.float32):
        p.grad, q.grad = wf.asarray(g), torch.tensor(g)
        ours.step()
        theirs.step()
    np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_state_brings_its_options(name: str, options: Any) -> None:
    """An optimizer that was made with other options keeps the buffers that the loaded ones need."""
    ours, theirs, p, q = both(name, options)
    step(ours, theirs, p, q, 2)
    fresh = getattr(optim, name)([p], lr=1.0)
    step(fresh, getattr(torch.optim, name)([q], lr=1.0), p, q, 1)
    fresh.load_state_dict(theirs.state_dict())
    step(fresh, theirs, p, q, 3)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_and_state(name: str, options: Any) -> None:
    ours, theirs, p, q = both(name, options)
    step(ours, theirs, p, q, 10)
    fresh = getattr(optim, name)([p], **options)
    fresh.load_state_dict(theirs.state_dict())
    assert fresh.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]
    step(fresh, theirs, p, q, 5)
    back = getattr(torch.optim, name)([q], **options)
    state = fresh.state_dict()
    state["state"] = {k: {n: torch.tensor(t.numpy()) for n, t in v.items()} for k, v in state["state"].items()}
    state["param_groups"] = [{**theirs.param_groups[0], **g} for g in state["param_groups"]]
    back.load_state_dict(state)
    step(fresh, back, p, q, 5)

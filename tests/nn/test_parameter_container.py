"""Containers of parameters: what PyTorch's hold, in its order."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

import weft as wf
from weft import nn

FILLED = {
    "dict": lambda f, n: n.ParameterDict({"b": f.zeros((1,)), "a": f.ones((2,)), "c": None}),
    "ordered": lambda f, n: n.ParameterDict(OrderedDict(b=f.zeros((1,)), a=f.ones((2,)))),
    "pairs": lambda f, n: n.ParameterDict([("b", f.zeros((1,))), ("a", f.ones((2,)))]),
    "keys": lambda f, n: n.ParameterDict().fromkeys(["b", "a"], f.zeros((1,))),
    "copy": lambda f, n: n.ParameterDict([("b", f.zeros((1,))), ("a", f.ones((2,)))]).copy(),
    "or": lambda f, n: n.ParameterDict(OrderedDict(d=f.zeros((1,)))) | {"c": f.zeros((1,)), "a": 5},
    "own": lambda f, n: n.ParameterDict(n.ParameterDict([("b", f.zeros((1,))), ("a", f.ones((2,)))])),
}


@pytest.mark.parametrize("name", sorted(FILLED))
def test_the_order_is_pytorchs(name: str) -> None:
    """By which optimizers' states find their parameters."""
    torch = pytest.importorskip("torch")
    ours, theirs = FILLED[name](wf, nn), FILLED[name](torch, torch.nn)
    assert list(ours) == list(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for p in theirs.parameters()]


def changed(framework: Any) -> list[Any]:
    held = framework.nn.ParameterDict([("b", framework.zeros((1,))), ("a", framework.ones((2,)))])
    held.update({"z": framework.zeros((3,)), "c": 7})
    held |= {"y": framework.zeros((4,)), "d": framework.zeros((5,))}
    popped = tuple(held.pop("a").shape), held.popitem()[0]
    held.setdefault("a", framework.zeros((6,)))
    kept = held.get("c"), held.get("q", 3), "c" in held, len(held)
    return [list(held), list(reversed(held)), list(held.state_dict()), popped, kept]


def test_changes_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    assert changed(wf) == changed(torch)

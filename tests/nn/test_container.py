"""Containers: they behave as Python's list and dict, and keep names that the state dict relies on."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

import weft as wf
from weft import nn


def layers(n: int) -> list[nn.Module]:
    return [nn.Linear(i + 1, i + 2) for i in range(n)]


def test_sequential_runs_in_order() -> None:
    net = nn.Sequential(*layers(3))
    x = wf.ones((4, 1))
    assert net(x).shape == (4, 4)
    assert net(x).numpy().tobytes() == net[2](net[1](net[0](x))).numpy().tobytes()
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize("kind", [lambda m: nn.Sequential(*m), nn.ModuleList])
def test_indexing_is_a_lists(kind: Any) -> None:
    plain = layers(4)
    held = kind(plain)
    assert len(held) == 4 and list(held) == plain and held[-1] is plain[-1]
    assert list(held[1:3]) == plain[1:3] and isinstance(held[1:3], type(held))
    with pytest.raises(IndexError, match="index 4 is out of range for 4 entries"):
        held[4]
    new = nn.Tanh()
    held[1] = plain[1] = new
    assert held[1] is new
    del held[0], plain[0]
    assert list(held) == plain and [n for n, _ in held.named_children()] == ["0", "1", "2"]
    held.append(new)
    held.insert(1, nn.Identity())
    held.extend([nn.ReLU()])
    assert [type(m).__name__ for m in held] == ["Tanh", "Identity", "Linear", "Linear", "Tanh", "ReLU"]
    assert isinstance(held.pop(1), nn.Identity) and isinstance(held.pop(), nn.ReLU) and len(held) == 4
    del held[1:3]
    assert len(held) == 2


def test_sequential_keeps_given_names() -> None:
    net = nn.Sequential(OrderedDict(first=nn.Linear(1, 2), second=nn.Linear(2, 3)))
    assert list(net.state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert net[1] is net.second and [n for n, _ in net[1:].named_children()] == ["second"]


def test_module_list_adds() -> None:
    held = nn.ModuleList(layers(1)) + layers(2)
    held += layers(1)
    assert len(held) == 4 and len(list(held.parameters())) == 8
    with pytest.raises(NotImplementedError, match="ModuleList does not define forward"):
        held(1)


def test_module_dict_is_a_dict() -> None:
    held = nn.ModuleDict({"a": nn.Tanh(), "b": nn.ReLU()})
    held["c"] = nn.Linear(1, 1)
    assert list(held) == list(held.keys()) == ["a", "b", "c"] and len(held) == 3 and "b" in held
    assert [type(m).__name__ for m in held.values()] == ["Tanh", "ReLU", "Linear"]
    assert isinstance(held.pop("a"), nn.Tanh) and "a" not in held
    held.update([("d", nn.Identity())])
    del held["b"]
    assert [n for n, _ in held.items()] == ["c", "d"]
    assert list(held.state_dict()) == ["c.weight", "c.bias"]


def test_parameter_list_holds_parameters() -> None:
    held = nn.ParameterList([wf.zeros((2,)), nn.Parameter(wf.ones((3,)))])
    held.append(wf.ones((1,)))
    held[0] = wf.ones((4,))
    assert [p.shape for p in held] == [(4,), (3,), (1,)] and all(isinstance(p, nn.Parameter) for p in held)
    assert list(held.state_dict()) == ["0", "1", "2"] and held[-1].shape == (1,) and len(held) == 3
    assert repr(held).splitlines()[1:3] == [
        "  (0): Parameter containing: [float32 of size 4]",
        "  (1): Parameter containing: [float32 of size 3]",
    ]


def test_only_modules_go_in() -> None:
    with pytest.raises(TypeError, match="must be a Module"):
        nn.Sequential(lambda x: x)
    with pytest.raises(TypeError, match="not a Module"):
        nn.ModuleList().insert(0, 3)


def test_a_list_may_say_what_it_holds() -> None:
    net = nn.ModuleList[nn.Linear](nn.Linear(2, 2) for _ in range(2))
    assert isinstance(net, nn.ModuleList) and [type(layer) for layer in net] == [nn.Linear] * 2
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]

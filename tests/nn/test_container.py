"""Containers: they behave as Python's list and dict, and keep names that the state dict relies on."""

from __future__ import annotations

import copy
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


def _pair() -> tuple[Any, Any]:
    import torch

    return torch.nn, nn


def _with_none(lib: Any) -> dict[str, Any]:
    """Containers that hold None, made in each way there is."""
    by_append, by_insert, by_setting, shorter = (lib.ModuleList([lib.ReLU(), lib.Linear(1, 2)]) for _ in range(4))
    by_append.append(None)
    by_append.extend([None, lib.Tanh()])
    by_insert.insert(0, None)
    by_setting[0] = None
    shorter.append(None)
    del shorter[1]
    by_name = lib.ModuleDict({"a": None, "b": lib.Linear(1, 1)})
    by_name["c"] = None
    popped = lib.ModuleList([None, None, lib.Linear(1, 1)])
    assert popped.pop(0) is None and by_name.pop("c") is None
    return {
        "list": lib.ModuleList([lib.Linear(1, 1), None, lib.Linear(1, 2)]),
        "only": lib.ModuleList([None, None]),
        "append": by_append,
        "insert": by_insert,
        "set": by_setting,
        "deleted": shorter,
        "popped": popped,
        "slice": lib.ModuleList([lib.ReLU(), None, lib.Linear(1, 1)])[1:],
        "sum": lib.ModuleList([None]) + lib.ModuleList([lib.Linear(1, 1)]),
        "sequential": lib.Sequential(lib.ReLU(), None, lib.Linear(1, 1)),
        "sequential append": lib.Sequential(lib.ReLU()).append(None),
        "sequential slice": lib.Sequential(lib.ReLU(), None, lib.Linear(1, 1))[1:],
        "sequential times": lib.Sequential(None, lib.Linear(1, 1)) * 2,
        "dict": by_name,
        "copy": copy.deepcopy(lib.ModuleList([None, lib.Linear(1, 1)])),
        "below": lib.Sequential(lib.ModuleList([None, lib.Linear(1, 1)]), lib.ModuleDict({"a": None})),
    }


def _seen(held: Any) -> dict[str, Any]:
    values = list(held.values()) if hasattr(held, "values") else list(held)
    return {
        "len": len(held),
        "values": [type(v).__name__ for v in values],
        "last": None if hasattr(held, "keys") else type(held[-1]).__name__,
        "repr": repr(held),
        "state": list(held.state_dict()),
        "children": [n for n, _ in held.named_children()],
        "modules": [n for n, _ in held.named_modules()],
        "parameters": [n for n, _ in held.named_parameters()],
    }


def test_none_has_a_place_as_in_pytorch() -> None:
    theirs, ours = map(_with_none, _pair())
    for name, held in theirs.items():
        assert _seen(ours[name]) == _seen(held), name


def test_none_cannot_be_called() -> None:
    net = nn.Sequential(OrderedDict(first=nn.ReLU(), second=None))
    with pytest.raises(wf.ArgumentError, match="Sequential: entry 'second' is None, which cannot be called") as caught:
        net(wf.ones(2))
    assert isinstance(caught.value, TypeError) and caught.value.where is not None
    assert caught.value.where[0] == __file__
    with pytest.raises(wf.ArgumentError, match="entry 'second' is None"):
        wf.compile(net)(wf.ones(2))


def test_a_captured_call_sees_that_an_entry_became_none() -> None:
    held = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])

    @wf.compile
    def run(x: Any) -> Any:
        for layer in held:
            x = x if layer is None else layer(x)
        return x

    x = -wf.ones((1, 2))
    assert run(x).tolist() == held[1](held[0](x)).tolist()
    held[1] = None  # type: ignore[assignment]
    assert run(x).tolist() == held[0](x).tolist()

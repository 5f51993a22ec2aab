"""Captured functions follow what their code names: rebound variables, globals, attributes, changed containers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import weft as wf
from weft import nn
from weft.transforms.names import Names

FACTOR: Any = 2.0


def helper(x: wf.Tensor) -> wf.Tensor:
    """Names a global that its caller does not."""
    return x * FACTOR


@pytest.mark.parametrize("values", [(2.0, 5.0), (wf.asarray(2.0), wf.asarray(5.0)), (2.0, wf.asarray(5.0))])
def test_rebound_names_are_noticed(values: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x = wf.asarray([1.0])
    variable, config, table = values[0], SimpleNamespace(inner=SimpleNamespace(k=values[0])), {"k": values[0]}
    monkeypatch.setitem(globals(), "FACTOR", values[0])
    functions: list[Callable[[wf.Tensor], wf.Tensor]] = [
        wf.compile(lambda x: x * variable),
        wf.compile(lambda x: x * config.inner.k),
        wf.compile(lambda x: helper(x) * 1.0),
        wf.compile(lambda x: x * FACTOR),
    ]
    assert [f(x).tolist() for f in functions] == [[2.0]] * 4
    variable = values[1]
    config.inner.k = values[1]
    monkeypatch.setitem(globals(), "FACTOR", values[1])
    assert [f(x).tolist() for f in functions] == [[5.0]] * 4
    config.inner = SimpleNamespace(k=7.0)
    assert functions[1](x).tolist() == [7.0]
    assert table  # containers of tensors are followed by identity alone


def test_short_lists_and_dicts_of_numbers_are_compared_by_their_items() -> None:
    x, numbers, table = wf.asarray([1.0]), [2.0], {"k": 2.0}
    f = wf.compile(lambda x: x * numbers[0] * table["k"])
    assert f(x).tolist() == [4.0]
    numbers[0] = 3.0
    assert f(x).tolist() == [6.0]
    table["k"] = 5.0
    assert f(x).tolist() == [15.0]


def test_a_module_in_a_variable_may_be_replaced() -> None:
    net: Any = nn.Identity()
    f = wf.compile(lambda x: net(x))
    assert f(wf.asarray([-1.0])).tolist() == [-1.0]
    net = nn.ReLU()
    assert f(wf.asarray([-1.0])).tolist() == [0.0]


def test_functions_and_tensors_that_a_module_holds_are_guards() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.activation: Any = wf.exp
            self.scale = wf.asarray([1.0])

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            return self.activation(x * self.scale)

    layer = Layer()
    f = wf.compile(layer)
    assert f(wf.zeros((1,))).tolist() == [1.0]
    layer.activation = wf.sin
    assert f(wf.zeros((1,))).tolist() == [0.0]
    layer.activation, layer.scale = wf.exp, wf.asarray([0.0])
    assert f(wf.ones((1,))).tolist() == [1.0]


def test_a_variable_that_is_rebound_to_a_tensor_that_is_made_inside() -> None:
    state = SimpleNamespace(h=wf.zeros((2,)))

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        state.h = state.h + x
        return state.h * 2.0

    for n in (1.0, 2.0, 3.0):
        assert f(wf.ones((2,))).tolist() == [2.0 * n] * 2
        assert state.h.tolist() == [n, n]


def test_a_tensor_that_a_module_keeps_from_call_to_call() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = wf.zeros((2,))

        def forward(self, x: wf.Tensor) -> wf.Tensor:
            self.h = self.h + x
            return self.h

    net = Recurrent()
    f = wf.compile(net)
    for n in (1.0, 2.0, 3.0):
        assert f(wf.ones((2,))) is net.h
        assert net.h.tolist() == [n, n]


def test_graphs_whose_state_never_comes_again_are_dropped() -> None:
    config = SimpleNamespace(k=0)
    f = wf.compile(lambda x: x + config.k)

    def results() -> list[int]:
        found = []
        for k in range(40):
            config.k = k
            found.append(f(wf.zeros((), dtype=wf.int64)).item())
        return found

    with pytest.warns(UserWarning, match="captured 9 times"):
        assert results() == list(range(40))
    assert all(len(entries) <= 16 for entries in f._entries.values())


def test_names_of_builtins_and_recursive_functions() -> None:
    def recursive(n: int) -> int:
        return recursive(n - 1) if n else 0

    assert Names(len).same() and Names(recursive).same() and Names(SimpleNamespace()).same()

"""Whose memory modules, their states and initial values are: what every name sees is what PyTorch's names see."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weft as wf

torch = pytest.importorskip("torch")

OURS = SimpleNamespace(lib=wf, nn=wf.nn)
THEIRS = SimpleNamespace(lib=torch, nn=torch.nn)
SCENES: dict[str, Callable[[Any], Any]] = {}


def scene(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    SCENES[function.__name__] = function
    return function


def layer(k: Any) -> Any:
    """A layer of known weights, with a buffer."""
    made = k.nn.Linear(2, 2)
    with k.lib.no_grad():
        made.weight.copy_(k.lib.tensor([[1.0, 2.0], [3.0, 4.0]]))
        made.bias.copy_(k.lib.tensor([5.0, 6.0]))
    made.register_buffer("count", k.lib.tensor([7.0, 8.0]))
    return made


def backward(k: Any, m: Any) -> Any:
    m(k.lib.tensor([[1.0, 2.0]], dtype=m.weight.dtype)).sum().backward()
    return m.weight.grad


@scene
def the_state_dict_is_the_modules_memory(k: Any) -> Any:
    m = layer(k)
    state = m.state_dict()
    state["weight"][0].copy_(k.lib.tensor([9.0, 9.0]))
    state["count"].zero_()
    with k.lib.no_grad():
        m.bias.mul_(2.0)
    return m.weight, m.bias, m.count, state["bias"], state["bias"].requires_grad


@scene
def a_loaded_state_is_copied(k: Any) -> Any:
    m, other = layer(k), layer(k)
    weight, bias, view, data = m.weight, m.bias, m.weight.detach()[0], m.weight.data
    state = {n: t.detach().clone() * 10 for n, t in other.state_dict().items()}
    m.load_state_dict(state)
    for t in state.values():
        t.zero_()
    return m.weight is weight, m.bias is bias, m.weight, m.count, view, data


@scene
def a_loaded_state_of_another_dtype(k: Any) -> Any:
    m = layer(k)
    state = {n: t.to(k.lib.float64) + 0.5 for n, t in m.state_dict().items()}
    state["count"] = k.lib.tensor([1, 2])
    m.load_state_dict(state)
    return m.weight, m.count, m.weight.dtype == k.lib.float32, m.count.dtype == k.lib.float32


@scene
def a_state_that_is_the_modules_own(k: Any) -> Any:
    m = layer(k)
    m.load_state_dict(m.state_dict())
    state = m.state_dict()
    m.load_state_dict({**state, "bias": state["count"], "count": state["bias"]})
    return m.weight, m.bias, m.count


@scene
def an_assigned_state_is_shared(k: Any) -> Any:
    m = layer(k)
    weight, state = m.weight, {n: t.clone() * 10 for n, t in m.state_dict().items()}
    m.weight.requires_grad_(False)
    m.load_state_dict(state, assign=True)
    for t in state.values():
        t.add_(1.0)
    kept = m.count is state["count"]
    return m.weight is weight, weight, m.weight, m.bias, m.count, kept, [p.requires_grad for p in m.parameters()]


@scene
def an_assigned_state_keeps_its_dtype_and_parameters(k: Any) -> Any:
    m = layer(k)
    p = k.nn.Parameter(k.lib.tensor([1.0, 2.0], dtype=k.lib.float64))
    m.load_state_dict({"bias": p}, strict=False, assign=True)
    return m.bias is p, m.bias.dtype == k.lib.float64, m.weight


@scene
def a_loaded_state_is_a_write(k: Any) -> Any:
    m = layer(k)
    loss = m(k.lib.tensor([[1.0, 2.0]]).requires_grad_()).sum()
    m.load_state_dict({n: t.clone() for n, t in m.state_dict().items()})
    with pytest.raises(RuntimeError, match=r"changed in place|modified by an inplace"):
        loss.backward()
    return m.weight


@scene
def initial_values_are_written_into_views(k: Any) -> Any:
    w = k.nn.Parameter(k.lib.zeros((4, 3)))
    first, column, data = w[:2], w.t()[0], w.data
    same = k.nn.init.ones_(first) is first
    k.nn.init.constant_(column, 5.0)
    k.nn.init.eye_(w[1:, 1:])
    k.nn.init.zeros_(data[3])
    return w, first, column, same, w.grad is None, w.is_leaf


@scene
def parameters_share_tensors(k: Any) -> Any:
    t = k.lib.zeros((2, 2)) + 1.0
    p = k.nn.Parameter(t)
    m = k.nn.Module()
    m.register_buffer("buffer", t)
    t.mul_(3.0)
    return p, m.buffer is t, m.buffer


@scene
def data_that_is_another_tensors(k: Any) -> Any:
    m, t = layer(k), k.lib.zeros(2) + 4.0
    before = m.bias.detach()
    m.bias.data = t
    t.add_(1.0)
    return m.bias, before, m.bias.requires_grad


@scene
def a_buffer_that_is_assigned(k: Any) -> Any:
    m = layer(k)
    old, new = m.count, k.lib.tensor([0.5, 0.5])
    m.count = new
    new.add_(1.0)
    return m.count is new, m.count, old, m.state_dict()["count"]


@scene
def another_dtype(k: Any) -> Any:
    m = layer(k)
    grad, weight, count = backward(k, m), m.weight, m.count
    m.double()
    kept = m.weight is weight, m.weight.grad is grad, m.count is count
    dtypes = [t.dtype == k.lib.float64 for t in (weight, grad, m.count, count)]
    return kept, dtypes, weight, grad, m.count, backward(k, m)


@scene
def another_dtype_leaves_the_old_memory(k: Any) -> Any:
    m = layer(k)
    old = m.weight.detach()
    m.half()
    with k.lib.no_grad():
        m.weight.zero_()
    return old, m.weight, m.to(k.lib.float16).weight.dtype == k.lib.float16


@scene
def the_same_dtype_moves_nothing(k: Any) -> Any:
    m = layer(k)
    old, count = m.weight.detach(), m.count
    m.float()
    with k.lib.no_grad():
        m.weight.zero_()
    return old, m.count is count


@scene
def a_copy_is_apart(k: Any) -> Any:
    m = layer(k)
    other = copy.deepcopy(m)
    with k.lib.no_grad():
        m.weight.zero_()
        m.count.zero_()
    return other.weight, other.count


@scene
def zeroed_gradients(k: Any) -> Any:
    m = layer(k)
    grad = backward(k, m)
    m.zero_grad(set_to_none=False)
    return grad, m.weight.grad is grad


def plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("name", SCENES)
def test_what_every_name_sees(name: str) -> None:
    assert plain(SCENES[name](OURS)) == plain(SCENES[name](THEIRS))


# --- memory of other libraries (PyTorch shares it; here parameters and buffers own theirs) ----------------------------


@pytest.mark.parametrize("how", ["Parameter", "data", "register_buffer", "load_state_dict", "assign"])
def test_memory_that_was_lent_is_copied(how: str) -> None:
    array = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    lent = wf.from_numpy(array)
    m = wf.nn.Module()
    if how == "Parameter":
        m.w = wf.nn.Parameter(lent[:, 0])
    elif how == "register_buffer":
        m.register_buffer("w", lent[:, 0])
    else:
        m.w = wf.nn.Parameter(wf.zeros(2))
        if how == "data":
            m.w.data = lent[:, 0]
        else:
            m.load_state_dict({"w": array[:, 0]}, assign=how == "assign")
    array[:] = 9.0
    assert m.w.tolist() == [1.0, 3.0]
    if isinstance(m.w, wf.nn.Parameter):
        m.w.grad = wf.ones(2)
        wf.optim.SGD([m.w], lr=1.0).step()
    assert array.tolist() == [[9.0, 9.0], [9.0, 9.0]]


def test_a_state_that_does_not_fit_assigns_nothing() -> None:
    m = layer(OURS)
    weight = m.weight
    with pytest.raises(wf.StateError, match="'bias' has shape"):
        m.load_state_dict({"weight": wf.zeros((2, 2)), "bias": wf.zeros(3), "count": wf.zeros(2)}, assign=True)
    assert m.weight is weight

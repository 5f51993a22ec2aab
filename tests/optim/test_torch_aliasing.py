"""Whose memory an optimizer writes: what every name sees afterwards is what PyTorch's names see."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import weft as wf

torch = pytest.importorskip("torch")

OURS = SimpleNamespace(lib=wf, nn=wf.nn, optim=wf.optim, clip_norm=wf.nn.clip_grad_norm_, clip=wf.nn.clip_grad_value_)
THEIRS = SimpleNamespace(
    lib=torch,
    nn=torch.nn,
    optim=torch.optim,
    clip_norm=torch.nn.utils.clip_grad_norm_,
    clip=torch.nn.utils.clip_grad_value_,
)
KINDS: list[Callable[[Any, Any], Any]] = [
    lambda k, p: k.optim.SGD(p, lr=0.5),
    lambda k, p: k.optim.SGD(p, lr=0.5, momentum=0.5),
    lambda k, p: k.optim.AdamW(p, lr=0.5),
]
SCENES: dict[str, Callable[[Any, Any], Any]] = {}


def scene(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    SCENES[function.__name__] = function
    return function


def pair(k: Any) -> tuple[Any, Any]:
    """Two parameters with gradients."""
    p, q = k.nn.Parameter(k.lib.tensor([1.0, 2.0])), k.nn.Parameter(k.lib.tensor([[3.0], [4.0]]))
    p.grad, q.grad = k.lib.tensor([1.0, -1.0]), k.lib.tensor([[0.5], [2.0]])
    return p, q


@scene
def a_step_writes_what_the_parameter_shares(k: Any, make: Any) -> Any:
    p, q = pair(k)
    flat, detached, data = q.detach().view(-1), p.detach(), p.data
    opt = make(k, [p, q])
    for _ in range(4):
        opt.step()
    return p, q, flat, detached, data


@scene
def parameters_that_are_parts_of_one_tensor(k: Any, make: Any) -> Any:
    flat = k.lib.tensor([1.0, 2.0, 3.0, 4.0]).clone()
    p, q = k.nn.Parameter(flat[:2]), k.nn.Parameter(flat[2:])
    p.grad, q.grad = k.lib.tensor([1.0, 2.0]), k.lib.tensor([-1.0, 2.0])
    opt = make(k, [p, q])
    for _ in range(4):
        opt.step()
    return flat, p, q


@scene
def gradients_that_are_parts_of_one_tensor(k: Any, make: Any) -> Any:
    p, q = pair(k)
    flat = k.lib.tensor([1.0, -2.0, 0.5, 3.0])
    p.grad, q.grad = flat[:2], flat[2:].view(2, 1)
    opt = make(k, [p, q])
    for _ in range(4):
        opt.step()
        flat.mul_(2.0)
    return p, q, flat, p.grad


@scene
def a_gradient_that_is_the_parameters_own_memory(k: Any, make: Any) -> Any:
    p = k.nn.Parameter(k.lib.tensor([1.0, 2.0]))
    p.grad = p.detach()
    opt = k.optim.SGD([p], lr=0.25)
    for _ in range(4):
        opt.step()
    return p, p.grad


@scene
def strides_stay(k: Any, make: Any) -> Any:
    base = k.lib.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).clone()
    p = k.nn.Parameter(base.T)
    p.grad = k.lib.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    opt = make(k, [p])
    for _ in range(4):
        opt.step()
    return base, p


@scene
def other_memory_between_steps(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt = make(k, [p, q])
    opt.step()
    opt.step()
    opt.step()
    old, other = p.data, k.lib.tensor([7.0, 8.0]).clone()
    p.data = other
    opt.step()
    opt.step()
    return p, q, old, other


@scene
def gradients_come_and_go(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt, grads = make(k, [p, q]), (p.grad, q.grad)
    for n in range(8):
        p.grad, q.grad = grads[0] if n % 2 else None, grads[1] if n != 3 else None
        opt.step()
    return p, q


@scene
def states_stay_the_same_objects(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt = make(k, [p, q])
    opt.step()
    held = dict(opt.state[p])
    for _ in range(3):
        opt.step()
    return p, [opt.state[p][name] is t for name, t in held.items() if t is not None]


@scene
def a_state_that_is_replaced(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt = make(k, [p, q])
    for _ in range(3):
        opt.step()
    for name in ("momentum_buffer", "exp_avg"):
        if opt.state[p].get(name) is not None:
            opt.state[p][name] = k.lib.tensor([10.0, 20.0])
    opt.step()
    opt.step()
    return p, q


@scene
def the_state_dict_shares_and_a_copy_does_not(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt = make(k, [p, q])
    opt.step()
    shared, copied = opt.state_dict(), copy.deepcopy(opt.state_dict())
    for _ in range(3):
        opt.step()
    return [
        [t for n, t in sorted(s["state"].get(0, {}).items()) if t is not None and n != "step"] for s in (shared, copied)
    ]


@scene
def a_loaded_state_goes_on(k: Any, make: Any) -> Any:
    p, q = pair(k)
    opt = make(k, [p, q])
    for _ in range(3):
        opt.step()
    other = make(k, [p, q])
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    for _ in range(3):
        other.step()
    return p, q


@scene
def zeros_are_written_into_gradients(k: Any, make: Any) -> Any:
    p, q = pair(k)
    grad, view = p.grad, q.grad.view(-1)
    opt = make(k, [p, q])
    opt.zero_grad(set_to_none=False)
    same = p.grad is grad
    opt.zero_grad()
    return grad, view, same, p.grad is None


@scene
def zeroed_gradients_have_no_history(k: Any, make: Any) -> Any:
    p = k.nn.Parameter(k.lib.tensor([1.0, 2.0]))
    with_history = k.lib.tensor([1.0, 2.0]).requires_grad_() * 2.0
    p.grad = with_history
    make(k, [p]).zero_grad(set_to_none=False)
    return with_history, with_history.requires_grad, p.grad is with_history


@scene
def norms_are_clipped_in_place(k: Any, make: Any) -> Any:
    p, q = pair(k)
    grad, view = p.grad, q.grad.view(-1)
    norms = [k.clip_norm([p, q], 1.0, norm_type=kind) for kind in (2.0, 1, "inf")]
    return norms, grad, view, p.grad is grad


@scene
def values_are_clipped_in_place(k: Any, make: Any) -> Any:
    p, q = pair(k)
    grad, view = p.grad, q.grad.view(-1)
    k.clip((p for p in (p, q)), 0.75, foreach=False)
    k.clip(q, 0.25)
    return grad, view, p.grad is grad


@scene
def norms_of_float64_gradients(k: Any, make: Any) -> Any:
    p = k.nn.Parameter(k.lib.tensor([1.0, 2.0], dtype=k.lib.float64))
    p.grad = k.lib.tensor([1.0, 1e-9], dtype=k.lib.float64)
    norm = k.clip_norm(p, 0.5, foreach=True)
    return norm, p.grad, str(norm.dtype).endswith("float64")


@scene
def norms_that_are_not_finite(k: Any, make: Any) -> Any:
    p, q = pair(k)
    p.grad = k.lib.tensor([float("inf"), 1.0])
    with pytest.raises(RuntimeError, match="norm"):
        k.clip_norm([p, q], 1.0, error_if_nonfinite=True)
    return p.grad, q.grad, k.clip_norm([], 1.0, error_if_nonfinite=True)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") else value


def flat(value: Any) -> list[Any]:
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [value]


def shape(value: Any) -> Any:
    return [shape(v) for v in value] if isinstance(value, list) else None


@pytest.mark.parametrize("make", KINDS, ids=["SGD", "momentum", "AdamW"])
@pytest.mark.parametrize("name", SCENES)
def test_what_every_name_sees(name: str, make: Any) -> None:
    ours, theirs = plain(SCENES[name](OURS, make)), plain(SCENES[name](THEIRS, make))
    assert shape(ours) == shape(theirs)
    assert flat(ours) == pytest.approx(flat(theirs), rel=1e-5, abs=1e-6)

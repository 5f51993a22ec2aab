"""Optimizers: each update is its formula; eager and compiled steps give the same bits; state saves and loads."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft import nn, optim

RNG = np.random.default_rng(0)


def np_sgd(
    p: Any,
    grads: Any,
    lr: float = 1e-3,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Any:
    buffer = None
    for g in grads:
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def np_adam(
    p: Any,
    grads: Any,
    lr: float = 1e-3,
    betas: Any = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled: bool = False,
) -> Any:
    m = v = top = np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        top = np.maximum(top, v)
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt((top if amsgrad else v) / (1 - betas[1] ** t)) + eps)
    return p


def np_adamw(p: Any, grads: Any, weight_decay: float = 1e-2, **options: Any) -> Any:
    return np_adam(p, grads, weight_decay=weight_decay, decoupled=True, **options)


CASES: list[tuple[type[optim.Optimizer], Callable[..., Any], dict[str, Any]]] = [
    (optim.SGD, np_sgd, {"lr": 0.1}),
    (optim.SGD, np_sgd, {"lr": 0.1, "weight_decay": 0.05, "maximize": True}),
    (optim.SGD, np_sgd, {"lr": 0.1, "momentum": 0.9}),
    (optim.SGD, np_sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (optim.SGD, np_sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (optim.Adam, np_adam, {}),
    (optim.Adam, np_adam, {"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (optim.Adam, np_adam, {"lr": 0.05, "amsgrad": True, "maximize": True}),
    (optim.Adam, np_adam, {"lr": 0.05, "betas": (0.0, 0.0)}),
    (optim.AdamW, np_adamw, {"lr": 0.05}),
    (optim.AdamW, np_adamw, {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
]
IDS = [f"{c[0].__name__}({', '.join(f'{k}={v}' for k, v in c[2].items())})" for c in CASES]


def run(optimizer: optim.Optimizer, parameter: Any, grads: Any) -> Any:
    for g in grads:
        parameter.grad = wf.asarray(g)
        optimizer.step()
    return parameter.numpy()


@pytest.mark.parametrize(("kind", "reference", "options"), CASES, ids=IDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_update_is_the_formula(kind: Any, reference: Any, options: Any, dtype: str) -> None:
    start, grads = RNG.normal(size=(3, 5)), RNG.normal(size=(12, 3, 5))
    p = nn.Parameter(start.astype(dtype))
    got = run(kind([p], **options), p, grads.astype(dtype))
    wanted = reference(start.astype(dtype).astype(np.float64), grads.astype(dtype).astype(np.float64), **options)
    np.testing.assert_allclose(got, wanted, rtol=2e-5 if dtype == "float32" else 1e-12, atol=1e-6)
    assert p.dtype.name == dtype


@pytest.mark.parametrize(("kind", "reference", "options"), CASES, ids=IDS)
def test_eager_and_compiled_steps_give_the_same_bits(kind: Any, reference: Any, options: Any) -> None:
    x = wf.asarray(RNG.normal(size=(6, 4)).astype(np.float32))
    y = wf.asarray(RNG.normal(size=(6, 2)).astype(np.float32))

    def train(compiled: bool) -> tuple[list[bytes], list[bytes]]:
        wf.manual_seed(1)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        opt = kind(net.parameters(), **options)

        def step(xb: Any, yb: Any) -> Any:
            loss = nn.functional.mse_loss(net(xb), yb)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        go = wf.compile(step) if compiled else step
        losses = [go(x, y).numpy().tobytes() for _ in range(5)]
        state = [t.numpy().tobytes() for held in opt.state.values() for t in held.values()]
        return losses + [p.numpy().tobytes() for p in net.parameters()], state

    assert train(False) == train(True)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW])
def test_16_bit_parameters_are_updated_in_float32_and_rounded_once(kind: Any, dtype: str) -> None:
    start = wf.astype(wf.asarray(RNG.normal(size=(40,)).astype(np.float32)), dtype)
    grad = wf.astype(wf.asarray(RNG.normal(size=(40,)).astype(np.float32)), dtype)
    narrow, full = nn.Parameter(start), nn.Parameter(wf.astype(start, "float32"))
    narrow.grad, full.grad = grad, wf.astype(grad, "float32")
    for p in (narrow, full):
        kind([p], lr=0.1).step()
    assert narrow.numpy().tobytes() == wf.astype(full.detach(), dtype).numpy().tobytes()


def test_parameters_without_gradient_stay_and_have_no_state() -> None:
    a, b = nn.Parameter(wf.ones((2,))), nn.Parameter(wf.ones((2,)))
    opt = optim.Adam([a, b], lr=0.1)
    a.grad = wf.ones((2,))
    opt.step()
    assert b.tolist() == [1.0, 1.0] and a.tolist() != [1.0, 1.0] and list(opt.state) == [a]
    b.grad = wf.ones((2,))
    opt.step()
    assert opt.state[a]["step"].item() == 2 and opt.state[b]["step"].item() == 1


def test_zero_grad() -> None:
    p = nn.Parameter(wf.ones((2,)))
    p.grad = wf.ones((2,))
    opt = optim.SGD([p])
    opt.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    opt.zero_grad()
    assert p.grad is None


def test_a_closure_is_called_with_gradients_on() -> None:
    p = nn.Parameter(wf.asarray([3.0]))
    opt = optim.SGD([p], lr=0.5)

    def closure() -> Any:
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with wf.no_grad():
        assert opt.step(closure).item() == 9.0
    assert p.tolist() == [0.0]


# --- groups and the learning rate ---------------------------------------------------------------------------------


def test_groups_have_options_of_their_own() -> None:
    a, b = nn.Parameter(wf.zeros((1,))), nn.Parameter(wf.zeros((1,)))
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    for p in (a, b):
        p.grad = wf.ones((1,))
    opt.step()
    assert [a.item(), b.item()] == pytest.approx([-0.1, -0.5])
    assert [g["lr"] for g in opt.param_groups] == [0.1, 0.5]
    opt.add_param_group({"params": [nn.Parameter(wf.zeros((1,)))], "momentum": 0.9})
    assert opt.param_groups[2]["momentum"] == 0.9 and opt.param_groups[2]["lr"] == 0.1
    assert "lr: 0.5" in repr(opt)


def test_named_parameters_are_accepted() -> None:
    layer = nn.Linear(2, 1)
    assert optim.SGD(layer.named_parameters()).param_groups[0]["params"] == [*layer.parameters()]


@pytest.mark.parametrize("by_tensor", [False, True])
def test_a_new_learning_rate_is_honoured_without_a_new_capture(by_tensor: bool) -> None:
    p = nn.Parameter(wf.zeros((1,)))
    rate = wf.asarray(1.0)
    opt = optim.SGD([p], lr=rate if by_tensor else 1.0)

    @wf.compile
    def step() -> Any:
        p.grad = wf.ones((1,))
        opt.step()
        return p * 1.0

    assert step().item() == -1.0
    if by_tensor:
        rate.assign(wf.asarray(0.25))
        assert opt.param_groups[0]["lr"] is rate
    else:
        opt.param_groups[0]["lr"] *= 0.25
        assert opt.param_groups[0]["lr"] == 0.25
    assert step().item() == -1.25 and len(step.cache_info().graphs) == 1


def test_another_option_makes_a_new_capture() -> None:
    p = nn.Parameter(wf.zeros((1,)))
    opt = optim.SGD([p], lr=1.0)

    @wf.compile
    def step() -> Any:
        p.grad = wf.ones((1,))
        opt.step()
        return p * 1.0

    assert step().item() == -1.0
    opt.param_groups[0]["maximize"] = True
    assert step().item() == 0.0


def test_a_group_is_a_dict() -> None:
    group = optim.SGD([nn.Parameter(wf.zeros((1,)))], lr=0.3).param_groups[0]
    assert group.get("lr") == 0.3 and group.get("absent", 7) == 7 and group.setdefault("lr", 1.0) == 0.3
    group.update({"lr": 0.2, "extra": 1}, more=2)
    assert dict(group.items())["lr"] == 0.2 and group.tensor("lr").item() == 0.2 and group["more"] == 2
    with pytest.raises(wf.StateError, match="must have rank 0"):
        group["lr"] = wf.zeros((2,))


@pytest.mark.parametrize("compiled", [False, True])
def test_betas_that_are_set_as_a_list_are_those_of_the_next_step(compiled: bool) -> None:
    def run(kind: type) -> list[float]:
        w = wf.tensor([1.0, 2.0], requires_grad=True)
        optimizer = wf.optim.Adam([w], lr=0.1)

        def step() -> None:
            (w * w).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        run = wf.compile(step) if compiled else step
        run()
        optimizer.param_groups[0]["betas"] = kind((0.5, 0.6))
        run()
        return w.tolist()

    assert run(list) == run(tuple)


def test_a_group_whose_first_beta_moved_says_so_everywhere() -> None:
    optimizer = wf.optim.Adam([wf.tensor([1.0], requires_grad=True)])
    group, other = optimizer.param_groups[0], dict(optimizer.param_groups[0])
    group.set_first("betas", 0.5)
    assert "(0.5, 0.999)" in repr(group)
    assert group != other
    assert group == {**other, "betas": (0.5, 0.999)}
    assert group.pop("betas") == (0.5, 0.999)
    assert group.pop("betas", None) is None


@pytest.mark.parametrize("wrong", [{"betas": (0.9,)}, {"betas": "no"}, {"weight_decay": None}, {"lr": None}])
def test_what_a_step_cannot_read_is_an_error_and_not_what_was_there_before(wrong: dict[str, Any]) -> None:
    w = wf.tensor([1.0], requires_grad=True)
    optimizer = wf.optim.Adam([w])
    w.sum().backward()
    optimizer.step()
    optimizer.param_groups[0].update(wrong)
    with pytest.raises(wf.StateError, match=next(iter(wrong))):
        optimizer.step()
    del optimizer.param_groups[0][next(iter(wrong))]
    with pytest.raises(wf.StateError, match="has no"):
        optimizer.step()


# --- state --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "reference", "options"), CASES, ids=IDS)
def test_a_loaded_state_goes_on_in_the_same_bits(kind: Any, reference: Any, options: Any) -> None:
    grads = RNG.normal(size=(6, 4)).astype(np.float32)
    p = nn.Parameter(wf.ones((4,)))
    opt = kind([p], **options)
    run(opt, p, grads[:3])
    q = nn.Parameter(p.detach().clone())
    other = kind([q], lr=123.0)
    if options.get("momentum"):
        other = kind([q], **options)
    if options.get("amsgrad"):
        other = kind([q], amsgrad=True)
    other.load_state_dict(pickle.loads(pickle.dumps(opt.state_dict())))
    assert other.param_groups[0]["lr"] == opt.param_groups[0]["lr"]
    assert run(opt, p, grads[3:]).tobytes() == run(other, q, grads[3:]).tobytes()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_of_a_net_and_its_optimizer_goes_on_by_itself(duplicate: Any) -> None:
    grads = RNG.normal(size=(4, 3)).astype(np.float32)
    p = nn.Parameter(wf.ones((3,)))
    opt = optim.Adam([p], lr=0.1)
    run(opt, p, grads[:2])
    q, other = duplicate((p, opt))
    middle = p.numpy().copy()
    other.param_groups[0]["lr"] = 0.1
    after = run(other, q, grads[2:])
    assert (p.numpy() == middle).all() and other.param_groups[0]["params"][0] is q
    assert run(opt, p, grads[2:]).tobytes() == after.tobytes()


def test_the_state_dict_has_pytorchs_structure() -> None:
    a, b = nn.Parameter(wf.ones((2,))), nn.Parameter(wf.ones((3,)))
    opt = optim.Adam([{"params": [a]}, {"params": [b], "lr": 0.5}])
    b.grad = wf.ones((3,))
    opt.step()
    state = opt.state_dict()
    assert list(state["state"]) == [1] and list(state["state"][1]) == ["step", "exp_avg", "exp_avg_sq"]
    assert [g["params"] for g in state["param_groups"]] == [[0], [1]] and state["param_groups"][1]["lr"] == 0.5


def test_a_compiled_step_goes_on_from_a_loaded_state() -> None:
    p = nn.Parameter(wf.zeros((1,)))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)

    @wf.compile
    def step() -> Any:
        p.grad = wf.ones((1,))
        opt.step()
        return p * 1.0

    step()
    state = copy.deepcopy(opt.state_dict())
    second = step().item()
    opt.load_state_dict(state)
    with wf.no_grad():
        p.assign(wf.asarray([-1.0]))
    assert step().item() == second == -2.5


def test_what_does_not_fit_is_listed_and_nothing_changes() -> None:
    p = nn.Parameter(wf.ones((2,)))
    opt = optim.Adam([p], lr=0.1)
    run(opt, p, np.ones((1, 2), np.float32))
    before = opt.state[p]["exp_avg"].tolist()
    state = opt.state_dict()
    state["param_groups"][0]["lr"] = 9.0
    state["state"][0] = {**state["state"][0], "exp_avg": np.zeros(3), "exp_avg_sq": "text", "surplus": wf.zeros(())}
    state["state"][5] = {}
    with pytest.raises(wf.StateError) as caught:
        opt.load_state_dict(state)
    text = str(caught.value)
    assert "'exp_avg' of parameter 0 has shape (3,) in the state and (2,) here" in text
    assert "'exp_avg_sq' of parameter 0 is a str" in text and "'surplus' of parameter 0 is not known to Adam" in text
    assert "state of parameter 5, which is in no group" in text
    assert opt.state[p]["exp_avg"].tolist() == before and opt.param_groups[0]["lr"] == 0.1
    with pytest.raises(wf.StateError, match=r"the groups have \[2\] parameters in the state, \[1\] here"):
        opt.load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]})
    with pytest.raises(wf.StateError, match="wants 'state' and 'param_groups'"):
        opt.load_state_dict({"state": {}})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda p: optim.SGD([]), ValueError, "there are no parameters"),
        (lambda p: optim.SGD(p), TypeError, "a single tensor"),
        (lambda p: optim.SGD([p, p]), ValueError, "listed twice"),
        (lambda p: optim.SGD([p * 2.0]), TypeError, "only leaves"),
        (lambda p: optim.SGD([1.0]), TypeError, "parameters are tensors, not float"),
        (lambda p: optim.SGD([p], lr=-1.0), ValueError, r"SGD: lr is -1\.0; it must be 0 or more"),
        (lambda p: optim.SGD([p], nesterov=True), ValueError, "nesterov"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), ValueError, "betas"),
        (lambda p: optim.AdamW([p], eps=-1.0), ValueError, "AdamW: eps"),
    ],
)
def test_misuse(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(nn.Parameter(wf.ones((1,))))


def compiled_step(opt: Any, *parameters: wf.Tensor) -> Any:
    """A compiled step of gradient 1 for each parameter."""

    @wf.compile
    def step() -> wf.Tensor:
        loss = wf.stack([p.sum() for p in parameters]).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return step


def test_a_compiled_step_follows_a_learning_rate_that_becomes_a_tensor() -> None:
    p = nn.Parameter(wf.zeros(()))
    opt = optim.SGD([p], lr=1.0)
    step = compiled_step(opt, p)
    values = []
    for rate in (1.0, wf.asarray(10.0), wf.asarray(100.0), 1000.0):
        opt.param_groups[0]["lr"] = rate
        step()
        values.append(p.item())
    assert values == [-1.0, -11.0, -111.0, -1111.0]


def test_a_compiled_step_follows_new_groups() -> None:
    a, b = nn.Parameter(wf.zeros(())), nn.Parameter(wf.zeros(()))
    opt = optim.SGD([a], lr=1.0)
    step = compiled_step(opt, a, b)
    step()
    opt.add_param_group({"params": [b]})
    step()
    assert (a.item(), b.item()) == (-2.0, -1.0)


def test_a_compiled_step_begins_again_from_an_empty_state() -> None:
    p = nn.Parameter(wf.zeros(()))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)
    fresh = opt.state_dict()
    step = compiled_step(opt, p)
    step()
    step()
    assert p.item() == -2.5
    opt.load_state_dict(fresh)
    with wf.no_grad():
        p.assign(wf.zeros(()))
    step()
    step()
    assert p.item() == -2.5


def test_momentum_may_be_turned_on_later() -> None:
    p = nn.Parameter(wf.zeros(()))
    opt = optim.SGD([p], lr=1.0)
    for momentum, expected in ((0.0, -1.0), (0.5, -2.0), (0.5, -3.5)):
        opt.param_groups[0]["momentum"] = momentum
        p.grad = wf.ones(())
        opt.step()
        assert p.item() == expected


def test_loaded_state_is_not_the_callers_array() -> None:
    p = nn.Parameter(wf.zeros((1,)))
    opt = optim.SGD([p], lr=1.0, momentum=0.5)
    array = np.ones(1, np.float32)
    opt.load_state_dict({"state": {0: {"momentum_buffer": array}}, "param_groups": opt.state_dict()["param_groups"]})
    array[0] = 9.0
    assert opt.state[p]["momentum_buffer"].tolist() == [1.0]


@pytest.mark.parametrize("wrong", [{"lr": "fast"}, {"betas": (2.0, 0.9)}, {"eps": None}])
def test_options_that_make_no_sense_change_nothing(wrong: dict[str, Any]) -> None:
    opt = optim.Adam([nn.Parameter(wf.zeros(()))], lr=1.0)
    state = opt.state_dict()
    before = str(opt)
    state["param_groups"][0].update(weight_decay=0.5, **wrong)
    with pytest.raises(wf.StateError, match="options that make no sense"):
        opt.load_state_dict(state)
    assert str(opt) == before


def step_with_gradients(opt: optim.Optimizer, *parameters: wf.Tensor) -> None:
    for p in parameters:
        p.grad = wf.ones(p.shape)
    opt.step()


def test_memory_that_was_replaced_is_not_kept() -> None:
    p, q = nn.Parameter(wf.ones((3,))), nn.Parameter(wf.ones((2,)))
    opt = optim.Adam([p, q], lr=0.1)
    for _ in range(4):
        step_with_gradients(opt, p, q)
    memory = weakref.ref(p._storage)
    p.data = wf.zeros((3,))
    step_with_gradients(opt, p, q)
    assert memory() is None
    gone = weakref.ref(q)
    opt.param_groups[0]["params"][1] = other = nn.Parameter(wf.ones((2,)))
    del opt.state[q], q
    step_with_gradients(opt, p, other)
    gc.collect()
    assert gone() is None


def test_an_option_that_needs_more_state_may_be_turned_on_later() -> None:
    p = nn.Parameter(wf.ones((3,)))
    opt = optim.Adam([p], lr=0.1)
    for amsgrad in (False, False, False, True, True, True):
        opt.param_groups[0]["amsgrad"] = amsgrad
        step_with_gradients(opt, p)
    assert list(opt.state[p]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert opt.state[p]["step"].item() == 6 and opt.state[p]["max_exp_avg_sq"].tolist()[0] > 0.0


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=4, unique=True), max_size=12), st.integers(0, 2))
@hypothesis.settings(max_examples=30)
def test_steps_over_any_parameters_are_those_of_each_alone(rounds: list[list[str]], kind: int) -> None:
    """One optimizer over all and one for each: the same bits, whichever have gradients when."""
    shapes = {"a": (3,), "b": (3,), "c": (4, 2), "d": ()}
    make = [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.5),
        lambda p: optim.AdamW(p, lr=0.1),
        lambda p: optim.SGD(p, lr=0.1, momentum=0.5, dampening=0.25),
    ][kind]
    together = {n: nn.Parameter(wf.ones(s)) for n, s in shapes.items()}
    alone = {n: nn.Parameter(wf.ones(s)) for n, s in shapes.items()}
    opts = [make(list(together.values())), *[make([p]) for p in alone.values()]]
    for number, names in enumerate(rounds):
        for n, shape in shapes.items():
            grad = wf.full(shape, number + 0.5) if n in names else None
            together[n].grad, alone[n].grad = grad, grad
        for opt in opts:
            opt.step()
    assert [p.numpy().tobytes() for p in together.values()] == [p.numpy().tobytes() for p in alone.values()]


def test_a_loaded_state_owns_its_memory() -> None:
    p, q = nn.Parameter(wf.zeros((2,))), nn.Parameter(wf.zeros((2,)))
    opt = optim.SGD([p], lr=wf.asarray(0.5), momentum=0.5)
    step_with_gradients(opt, p)
    other = optim.SGD([q], lr=1.0, momentum=0.5)
    other.load_state_dict(opt.state_dict())
    opt.param_groups[0]["lr"].fill_(9.0)
    opt.state[p]["momentum_buffer"].fill_(9.0)
    assert other.param_groups[0]["lr"].item() == 0.5 and other.state[q]["momentum_buffer"].tolist() == [1.0, 1.0]
    held = other.state[q]["momentum_buffer"]
    other.load_state_dict(opt.state_dict())
    assert other.state[q]["momentum_buffer"] is held and held.tolist() == [9.0, 9.0]


class Counting(wf.optim.Optimizer):
    """An optimizer of the user's: Python numbers and dicts in its state, and a learning rate that may be its own."""

    def __init__(self, params: Any, lr: float | None = None) -> None:
        super().__init__(params, {"lr": lr})

    @wf.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state: Any = self.state[p]
                if not state:
                    state["step"], state["mean"], state["last"] = 0, wf.zeros_like(p), {0: wf.zeros_like(p)}
                state["step"] += 1
                state["mean"].lerp_(p.grad, 0.5)
                p.sub_(state["mean"], alpha=group["lr"] or 1 / state["step"])
                state["last"][0].copy_(p.grad)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("lr", [None, 0.25])
def test_an_optimizer_of_the_users_keeps_what_it_likes(lr: float | None, compiled: bool) -> None:
    def train(optimizer: wf.optim.Optimizer, p: wf.Tensor, times: int) -> None:
        def step() -> None:
            optimizer.zero_grad()
            (p * p).sum().backward()
            optimizer.step()

        run = wf.compile(step) if compiled else step
        for _ in range(times):
            run()

    whole, half = (wf.nn.Parameter(wf.asarray([1.0, -2.0])) for _ in range(2))
    all_at_once, first, second = Counting([whole], lr), Counting([half], lr), Counting([half], 1.0)
    train(all_at_once, whole, 4)
    train(first, half, 2)
    saved = first.state_dict()
    assert saved["state"][0]["step"] == 2 and saved["state"][0]["mean"].dtype is wf.float32
    second.load_state_dict(saved)
    saved["state"][0]["mean"].zero_()
    saved["state"][0]["last"][0].zero_()
    assert second.param_groups[0]["lr"] == lr
    train(second, half, 2)
    assert half.tolist() == whole.tolist()
    state: Any = second.state[half]
    assert state["step"] == 4 and state["last"][0].tolist() == all_at_once.state[whole]["last"][0].tolist()  # type: ignore[index]

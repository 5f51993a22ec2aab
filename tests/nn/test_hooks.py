"""Hooks of modules: they see and change what PyTorch's do, eagerly and compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.errors import ArgumentError, CaptureError, StateError

RNG = np.random.default_rng(0)


class Two(nn.Module):
    """Two arguments, two results, and what is no tensor among both."""

    def forward(self, x: Any, flag: Any, y: Any, scale: float = 1.0) -> Any:
        return x * y * scale, flag, x + y


def two_of(framework: Any) -> Any:
    if framework is wf:
        return Two()
    return type("Two", (framework.nn.Module,), {"forward": Two.forward})()


def seen_by_hooks(framework: Any, tensor: Any, wanted: tuple[bool, bool], both: bool) -> list[Any]:
    module, seen = two_of(framework), []

    def shown(gradients: Any) -> list[Any]:  # PyTorch has zeros where there is no gradient beside others
        rows = [None if g is None else np.asarray(g.detach().numpy()).tolist() for g in gradients]
        return [row if row and any(row) else None for row in rows]

    module.register_full_backward_hook(lambda m, gi, go: seen.append(("after", shown(gi), shown(go))))
    module.register_full_backward_hook(lambda m, gi, go: tuple(None if g is None else g * 2 for g in gi), prepend=True)
    module.register_full_backward_pre_hook(lambda m, go: (go[0], None, go[2] * 3) if both else None)
    x, y = (tensor(v).requires_grad_(w) for v, w in zip(([1.0, 2.0], [3.0, 5.0]), wanted, strict=True))
    a, _, b = module(x * 1.0, "flag", y)
    ((a * a).sum() + ((b * 7).sum() if both else 0.0)).backward()
    seen.extend(None if t.grad is None else t.grad.tolist() for t in (x, y))
    return seen


@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("both", [True, False])
def test_gradients_as_pytorch(wanted: tuple[bool, bool], both: bool) -> None:
    torch = pytest.importorskip("torch")
    assert seen_by_hooks(wf, wf.tensor, wanted, both) == seen_by_hooks(torch, torch.tensor, wanted, both)


def test_gradients_of_a_module_whose_arguments_want_none() -> None:
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(wf.ones((1, 2))).sum().backward()
    with wf.no_grad():
        layer(wf.ones((1, 2)))
    assert seen == [((None,), [[1.0]])]


def test_gradients_in_compiled_code() -> None:
    layer = nn.Linear(2, 3)
    handle = layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 3.0,))

    def step(x: wf.Tensor) -> wf.Tensor:
        y = x.detach().requires_grad_()
        layer(y * y).sum().backward()
        assert y.grad is not None
        return y.grad * 1.0

    x = wf.asarray(RNG.normal(size=(2, 2)).astype(np.float32))
    compiled = wf.compile(step)
    tripled = compiled(x)
    assert tripled.numpy().tobytes() == step(x).numpy().tobytes()
    handle.remove()
    np.testing.assert_allclose(compiled(x).numpy() * 3.0, tripled.numpy(), rtol=1e-6)
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 3.0,))
    forward = wf.compile(lambda x: layer(x * x).sum())
    with pytest.raises(CaptureError, match="a hook that is registered inside a captured function"):
        forward(x.requires_grad_()).backward()


def test_wrong_gradients() -> None:
    def run(found: Any) -> None:
        layer = nn.Linear(2, 3)
        layer.register_full_backward_hook(lambda m, gi, go: found)
        layer(wf.ones((1, 2)).requires_grad_() * 1.0).sum().backward()

    with pytest.raises(ArgumentError, match="returned 2 gradients in the place of 1"):
        run((wf.ones((1, 2)), None))
    with pytest.raises(wf.ShapeError, match=r"gradient of shape \(1, 3\)"):
        run((wf.ones((1, 3)),))
    with pytest.raises(ArgumentError, match="returned a value of type int"):
        run((3,))


def calls_seen(framework: Any, ones: Any) -> list[Any]:
    module, seen = two_of(framework), []
    module.register_forward_hook(lambda m, a, o: seen.append(("second", len(a), len(o))))
    module.register_forward_hook(
        lambda m, a, k, o: seen.append(("first", len(a), sorted(k), o is None)),
        prepend=True,
        with_kwargs=True,
        always_call=True,
    )
    module.register_forward_pre_hook(lambda m, a, k: ((*a[:2], a[2] * 2), {**k, "scale": 10.0}), with_kwargs=True)
    module.register_forward_pre_hook(lambda m, a: seen.append(("pre", len(a))), prepend=True)
    a, _, b = module(ones((2,)), None, ones((2,)), scale=1.0)
    seen += [a.tolist(), b.tolist()]
    try:
        module(ones((2,)), None, ones((3,)))
    except (RuntimeError, ValueError):
        seen.append("raised")
    return seen


def test_calls_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    assert calls_seen(wf, wf.ones) == calls_seen(torch, torch.ones)
    layer = nn.Linear(1, 1)
    layer.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(ArgumentError, match="returns None or \\(args, kwargs\\)"):
        layer(wf.ones((1, 1)))


def test_hooked_calls_compiled() -> None:
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda m, a, k: ((a[0] * 2.0,), k), with_kwargs=True)
    compiled, x = wf.compile(layer), wf.ones((1, 2))
    assert compiled(x).tolist() == layer(x).tolist()
    handle = layer.register_forward_hook(lambda m, a, y: y + 1.0)
    assert compiled(x).tolist() == layer(x).tolist()
    handle.remove()
    assert compiled(x).tolist() == layer(x).tolist()


def states_seen(framework: Any, tensor: Any) -> list[Any]:
    seen: list[Any] = []

    class Extra(framework.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.count = framework.nn.Linear(1, 1), 3
            self.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("pre", prefix, keep)))
            self.register_state_dict_post_hook(lambda m, state, prefix, meta: seen.append(("post", prefix, len(state))))
            self.register_load_state_dict_pre_hook(self.rename)
            self.register_load_state_dict_post_hook(lambda m, keys: seen.append(("loaded", *map(list, keys), m.count)))

        def rename(self, module: Any, state: Any, prefix: str, meta: Any, strict: bool, *lists: Any) -> None:
            seen.append(("load", prefix, strict, len(lists)))
            if prefix + "old.weight" in state:
                state[prefix + "fc.weight"] = state.pop(prefix + "old.weight")

        def get_extra_state(self) -> Any:
            return {"count": self.count}

        def set_extra_state(self, state: Any) -> None:
            self.count = state["count"]

    net = framework.nn.Sequential(Extra(), framework.nn.ReLU(), Extra())
    state = dict(net.state_dict(prefix="net."))
    seen.append(sorted(state))
    old = {k.removeprefix("net.").replace("0.fc.weight", "0.old.weight"): v for k, v in state.items()}
    old["0._extra_state"] = {"count": 8}
    given = dict(old)
    seen.append([list(k) for k in net.load_state_dict(old)] + [old == given, net[0].count, net[2].count])
    del old["0.fc.bias"]
    old["more"] = tensor([1.0])
    keys = net.load_state_dict(old, strict=False)
    seen.append([sorted(k) for k in keys])
    kept = net.state_dict(keep_vars=True)
    seen.append(kept["0.fc.weight"] is net[0].fc.weight)
    return seen


def test_states_as_pytorch() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = states_seen(wf, wf.tensor), states_seen(torch, torch.tensor)
    assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


def test_hooks_on_states_may_refuse() -> None:
    layer = nn.Linear(1, 1)
    handle = layer.register_load_state_dict_pre_hook(
        lambda m, state, prefix, meta, strict, missing, unexpected, errors: errors.append("no")
    )
    before = layer.weight.item()
    with pytest.raises(StateError, match="does not fit\n    no"):
        layer.load_state_dict({"weight": wf.ones((1, 1)), "bias": wf.ones((1,))})
    assert layer.weight.item() == before
    handle.remove()
    layer.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    layer.load_state_dict({"weight": wf.ones((1, 1))})
    assert layer.weight.item() == 1.0


@pytest.mark.parametrize("framework", [nn, "torch"])
def test_the_error_of_a_call_is_its_own_whatever_hooks_do(framework: Any) -> None:
    framework = pytest.importorskip("torch").nn if framework == "torch" else framework
    module, seen = framework.Linear(2, 2), []

    def fails(*_: Any) -> None:
        raise KeyError("of the hook")

    gone = module.register_forward_hook(lambda *_: seen.append("gone"), always_call=True)
    module.register_forward_hook(fails, always_call=True)
    module.register_forward_hook(lambda *_: seen.append("last"), always_call=True)
    module.register_forward_pre_hook(lambda *_: gone.remove())
    module.forward = lambda: 1 / 0
    with pytest.warns(UserWarning, match="of the hook"), pytest.raises(ZeroDivisionError):
        module()
    assert seen == ["last"]


@pytest.mark.parametrize("compiled", [False, True])
def test_hooks_on_gradients_that_come_past_the_result_are_not_called(compiled: bool) -> None:
    class InList(nn.Module):
        def forward(self, x: Any) -> Any:
            return [x * 2]

    module = InList()
    module.register_full_backward_hook(lambda m, gi, go: (gi[0] * 5,))

    def step(x: Any) -> None:
        module(x)[0].sum().backward()

    x = wf.tensor([1.0], requires_grad=True)
    with pytest.warns(UserWarning, match="InList are not called"):
        (wf.compile(step) if compiled else step)(x)
    assert x.grad.tolist() == [2.0]

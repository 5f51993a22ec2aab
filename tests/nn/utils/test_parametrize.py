"""Parametrized tensors: values, gradients, state and errors are PyTorch's; compiled equals eager."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.errors import ArgumentError, CaptureError
from weft.nn.utils import parametrizations, parametrize

RNG = np.random.default_rng(0)

LAYERS: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
    ("Linear", (4, 3), (2, 4)),
    ("Conv1d", (2, 3, 2), (2, 2, 5)),
    ("Conv2d", (2, 3, 2), (1, 2, 4, 5)),
    ("ConvTranspose2d", (2, 3, 2), (1, 2, 3, 3)),
]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("weight_norm", {}),
    ("weight_norm", {"dim": None}),
    ("weight_norm", {"dim": 1}),
    ("spectral_norm", {}),
    ("spectral_norm", {"n_power_iterations": 3, "dim": 1, "eps": 1e-6}),
]


@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_as_pytorch(name: str, args: Any, shape: Any, kind: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    make = getattr(torch.nn.utils.parametrizations, kind)
    theirs = make(getattr(torch.nn, name)(*args).double(), **options)
    ours: Any = getattr(parametrizations, kind)(getattr(nn, name)(*args).double(), **options)
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    assert [v.shape for v in ours.state_dict().values()] == [tuple(v.shape) for v in state.values()]
    ours.load_state_dict({k: v.numpy().copy() for k, v in state.items()})
    x = RNG.normal(size=shape)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        ours.zero_grad()
        theirs.zero_grad()
        y, z = ours(wf.asarray(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-12)
        (y * y).sum().backward()
        (z * z).sum().backward()
        for (path, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert path == other
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-10)
        for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_compiled_equals_eager(kind: str) -> None:
    def train(compiled: bool) -> list[bytes]:
        wf.manual_seed(0)
        net = nn.Sequential(getattr(parametrizations, kind)(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1))
        opt = wf.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: wf.Tensor) -> wf.Tensor:
            opt.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            opt.step()
            return loss

        run = wf.compile(step) if compiled else step
        for _ in range(3):
            run(wf.ones((2, 3)))
        return [v.numpy().tobytes() for v in net.state_dict().values()]

    assert train(True) == train(False)


class Symmetric(nn.Module):
    """Of any matrix; no way back."""

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return (x + x.mT) / 2.0


class Exponential(nn.Module):
    """Positive numbers, with a way back."""

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return wf.exp(x)

    def right_inverse(self, x: wf.Tensor) -> wf.Tensor:
        return wf.log(x)


def test_one_after_the_other() -> None:
    layer = nn.Linear(3, 3)
    nn.init.uniform_(layer.weight, 1.0, 2.0)
    before, original = layer.weight.numpy().copy(), layer.weight
    assert parametrize.register_parametrization(layer, "weight", Exponential()) is layer
    assert parametrize.is_parametrized(layer, "weight") and not parametrize.is_parametrized(layer, "bias")
    np.testing.assert_allclose(layer.weight.numpy(), before, rtol=1e-6)
    assert layer.parametrizations.weight.original is original
    layer.weight = wf.full((3, 3), 2.0)
    np.testing.assert_allclose(original.numpy(), np.log(2.0), rtol=1e-6)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    with wf.no_grad():
        original.copy_(wf.asarray(RNG.normal(size=(3, 3)).astype(np.float32)))
    assert layer.weight.tolist() == layer.weight.mT.tolist()
    with pytest.raises(ArgumentError, match="Symmetric has no right_inverse"):
        layer.weight = wf.ones((3, 3))
    assert isinstance(layer, nn.Linear) and type(layer).__name__ == "ParametrizedLinear"
    assert parametrize.type_before_parametrizations(layer) is nn.Linear
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight
    other = copy.deepcopy(layer)
    with wf.no_grad():
        original.zero_()
    assert layer.weight.tolist() == [[1.0] * 3] * 3 != other.weight.tolist()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and layer.weight is original and original.tolist() == [[1.0] * 3] * 3
    assert list(layer.state_dict()) == ["bias", "weight"]
    parametrize.remove_parametrizations(other, "weight", leave_parametrized=False)
    assert type(other) is nn.Linear and other.weight.tolist() != other.weight.mT.tolist()


def test_states_of_the_older_weight_norm() -> None:
    layer: Any = parametrizations.weight_norm(nn.Linear(2, 3))
    g, v = wf.ones((3, 1)) * 2.0, wf.ones((3, 2))
    layer.load_state_dict({"bias": wf.zeros(3), "weight_g": g, "weight_v": v})
    np.testing.assert_allclose(layer.weight.numpy(), np.full((3, 2), 2.0**0.5), rtol=1e-6)
    parametrize.remove_parametrizations(layer, "weight")
    assert isinstance(layer.weight, nn.Parameter) and layer(wf.ones((1, 2))).shape == (1, 3)


def test_misuse() -> None:
    class Half(nn.Module):
        def forward(self, x: wf.Tensor) -> wf.Tensor:
            return x[:1]

    with pytest.raises(wf.ShapeError, match=r"gave \(1, 3\) for \(3, 3\)"):
        parametrize.register_parametrization(nn.Linear(3, 3), "weight", Half())
    layer = parametrize.register_parametrization(nn.Linear(3, 3, bias=False), "weight", Half(), unsafe=True)
    assert layer(wf.ones((2, 3))).shape == (2, 1)
    for name in ("nothing", "bias"):
        with pytest.raises(ArgumentError, match=name):
            parametrize.register_parametrization(nn.Linear(3, 3, bias=False), name, Half())
    with pytest.raises(ArgumentError, match="is not parametrized"):
        parametrize.remove_parametrizations(nn.Linear(3, 3), "weight")
    normed = parametrizations.weight_norm(nn.Linear(3, 3))
    with pytest.raises(ArgumentError, match="weight has 2 originals"):
        parametrize.remove_parametrizations(normed, "weight", leave_parametrized=False)
    with pytest.raises(ArgumentError, match="n_power_iterations is 0"):
        parametrizations.spectral_norm(nn.Linear(3, 3), n_power_iterations=0)


def test_the_length_of_a_number_is_no_less_than_0() -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = nn.Linear(2, 3), torch.nn.Linear(2, 3)
    ours.bias.detach().copy_(wf.asarray([-1.0, 2.0, -3.0]))
    theirs.bias.data.copy_(torch.tensor([-1.0, 2.0, -3.0]))
    nn.utils.parametrizations.weight_norm(ours, "bias")
    torch.nn.utils.parametrizations.weight_norm(theirs, "bias")
    for name, value in theirs.state_dict().items():
        if "bias" in name:
            assert ours.state_dict()[name].tolist() == value.tolist()
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    assert ours.bias.tolist() == [-1.0, 2.0, -3.0]


def test_a_captured_function_inside_of_cached_says_so() -> None:
    layer, x = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), wf.ones((1, 3))
    run = wf.compile(lambda x: layer(x))
    for _ in range(2):
        run(x)
        with nn.utils.parametrize.cached(), pytest.raises(CaptureError, match="enter the context in the function"):
            run(x)

    def inside(x: Any) -> Any:
        with nn.utils.parametrize.cached():
            return run(x) + layer(x)

    step = wf.compile(inside)
    assert step(x).shape == step(x).shape == (1, 3)
    assert len(step.cache_info().graphs) == 1


@pytest.mark.parametrize("make", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_and_pickles(make: Any, copied: Any) -> None:
    layer = make(nn.Linear(2, 3)).eval()
    other = copied(layer)
    assert parametrize.is_parametrized(other, "weight") and type(other).__name__ == "ParametrizedLinear"
    assert other.weight.tolist() == layer.weight.tolist() and list(other.state_dict()) == list(layer.state_dict())
    other.load_state_dict(layer.state_dict())


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(wf.core.errors.AxisError, match="weight_norm: axis 5"):
        parametrizations.weight_norm(nn.Linear(2, 3), dim=5)

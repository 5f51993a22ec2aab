"""Lazy modules: the first call makes the parameters, and the module an ordinary one; as in PyTorch."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.core.errors import StateError

RNG = np.random.default_rng(0)

LAZY: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("LazyLinear", (4,), {}, (2, 5)),
    ("LazyLinear", (4, False), {}, (2, 3, 5)),
    ("LazyConv1d", (4, 3), {"padding": "same", "groups": 2}, (2, 6, 7)),
    ("LazyConv2d", (4, (3, 2)), {"stride": 2, "bias": False}, (2, 3, 7, 6)),
    ("LazyConv2d", (4, 3), {"padding": 1, "padding_mode": "reflect"}, (3, 7, 6)),
    ("LazyConv3d", (2, 2), {}, (1, 3, 4, 3, 3)),
    ("LazyConvTranspose1d", (4, 3), {"groups": 2, "output_padding": 1, "stride": 2}, (2, 6, 7)),
    ("LazyConvTranspose2d", (4, 3), {}, (2, 3, 4, 5)),
    ("LazyConvTranspose3d", (2, 2), {"bias": False}, (1, 3, 2, 3, 2)),
    ("LazyBatchNorm1d", (), {}, (5, 3)),
    ("LazyBatchNorm1d", (), {"affine": False}, (5, 3, 2)),
    ("LazyBatchNorm2d", (1e-3, 0.2), {"track_running_stats": False}, (5, 3, 2, 2)),
    ("LazyBatchNorm3d", (), {"bias": False}, (5, 3, 2, 2, 1)),
    ("LazyInstanceNorm1d", (), {}, (2, 3, 4)),
    ("LazyInstanceNorm2d", (), {"affine": False}, (5, 3, 2, 2)),
    ("LazyInstanceNorm3d", (), {"track_running_stats": False}, (5, 3, 2, 2, 2)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), LAZY)
def test_as_pytorch(name: str, args: Any, options: Any, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.has_uninitialized_params() == theirs.has_uninitialized_params()
    x = RNG.normal(size=shape).astype(np.float32)
    theirs(torch.tensor(x))
    loaded = copy.deepcopy(ours)
    ours(wf.asarray(x))
    assert type(ours) is getattr(nn, name.removeprefix("Lazy")) and repr(ours) == repr(theirs)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}
    loaded.load_state_dict(state)  # before its first call
    assert not loaded.has_uninitialized_params()
    np.testing.assert_allclose(
        loaded.eval()(wf.asarray(x)).numpy(), theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5
    )
    assert type(loaded) is type(ours) and repr(loaded) == repr(ours)


def net() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Dropout(0.5), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(3))


def train(compiled: bool) -> list[Any]:
    wf.manual_seed(0)
    model = net()
    opt = optim.Adam(model.parameters(), lr=0.1)

    def step(x: wf.Tensor) -> wf.Tensor:
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        opt.step()
        return loss

    run = wf.compile(step) if compiled else step
    x = wf.asarray(np.random.default_rng(7).normal(size=(2, 3, 6, 6)).astype(np.float32))
    losses = [run(x).item() for _ in range(4)]
    if compiled:
        assert len(run.cache_info().graphs) == 1  # type: ignore[attr-defined]
    return [*losses, *(p.numpy().tobytes() for p in model.parameters())]


def test_compiled_equals_eager() -> None:
    assert train(True) == train(False)


def test_before_the_first_call() -> None:
    model = net()
    first: Any = model.get_submodule("0")
    for use in (
        lambda: first.weight.shape,
        lambda: first.weight.numel(),
        lambda: first.weight + 1.0,
        lambda: wf.matmul(first.weight, wf.ones((2, 2))),
        lambda: nn.init.zeros_(first.weight),
        lambda: first.weight.numpy(),
        lambda: sum(p.numel() for p in model.parameters()),
    ):
        with pytest.raises(StateError, match="lazy module has no shape"):
            use()
    with pytest.raises(StateError, match=r"(?s)LazyConv2d has no parameters before its first call.*sequential"):
        wf.eval_shape(model, wf.spec((2, 3, 6, 6)))
    assert first.weight.dtype is wf.float32 and first.weight.requires_grad and first.weight.grad is None
    weight = first.weight
    model.double().requires_grad_(False)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert made.get_submodule("0").weight.dtype is wf.float64
        assert made(wf.ones((2, 3, 6, 6), dtype=wf.float64)).shape == (2, 3)
        assert not made.get_submodule("0").weight.requires_grad
    model(wf.ones((2, 3, 6, 6), dtype=wf.float64))
    assert first.weight is weight and type(weight) is nn.Parameter and weight.shape == (4, 3, 3, 3)


def test_misuse() -> None:
    with pytest.raises(wf.ShapeError, match=r"input \(3, 4\): wants 4 axes, or 3 without N"):
        nn.LazyConv2d(4, 3)(wf.ones((3, 4)))
    with pytest.raises(wf.ShapeError, match="has 5 channels, which are not 2 equal groups"):
        nn.LazyConv1d(4, 3, groups=2)(wf.ones((1, 5, 9)))
    with pytest.raises(wf.ShapeError, match="out_channels 3 are not 2 equal groups"):
        nn.LazyConv1d(3, 3, groups=2)
    layer = nn.LazyLinear(3)
    with pytest.raises(wf.ShapeError, match="wants"):
        layer(wf.asarray(1.0))
    assert layer(wf.ones((1, 2))).shape == (1, 3)


class Scale(nn.LazyModuleMixin):
    """A lazy module of a user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.UninitializedParameter()

    def initialize_parameters(self, x: wf.Tensor) -> None:
        if self.has_uninitialized_params():
            self.factor.materialize(x.shape[-1:])
            nn.init.ones_(self.factor)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return x * self.factor


def test_own_lazy_module() -> None:
    layer = Scale()
    assert layer(wf.ones((2, 3))).tolist() == [[1.0] * 3] * 2 and type(layer) is Scale
    assert wf.compile(layer)(wf.ones((2, 3))).shape == (2, 3)


def test_threads_that_call_first_at_once_get_the_same_parameters() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(10):
            module, x, begin = nn.LazyLinear(64), wf.ones((3, 500)), threading.Barrier(4)

            def call(_: int, module: Any = module, x: Any = x, begin: Any = begin) -> Any:
                begin.wait()
                return module(x).numpy()

            with ThreadPoolExecutor(4) as pool:
                results = list(pool.map(call, range(4)))
            assert all((result == module(x).numpy()).all() for result in results)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("lazy", "ordinary", "shape"),
    [
        (lambda: nn.LazyLinear(3), lambda: nn.Linear(5, 3), (2, 5)),
        (lambda: nn.LazyConv1d(3, 2), lambda: nn.Conv1d(5, 3, 2), (2, 5, 4)),
        (lambda: nn.LazyBatchNorm1d(), lambda: nn.BatchNorm1d(5), (2, 5)),
    ],
)
def test_the_first_call_leaves_what_a_state_in_part_has_set(lazy: Any, ordinary: Any, shape: tuple[int, ...]) -> None:
    module, weight = lazy(), RNG.normal(size=ordinary().weight.shape).astype(np.float32)
    module.load_state_dict({"weight": weight}, strict=False)
    module(wf.ones(shape))
    np.testing.assert_array_equal(module.weight.numpy(), weight)


def test_the_path_of_a_first_call_that_fails() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(wf.ShapeError, match=r"(?s)wants \(\*, in_features\).*sequential\.1\.0"):
        model(wf.asarray(1.0))


def test_a_state_without_values() -> None:
    layer = nn.Linear(2, 3)
    for assign in (False, True):
        with pytest.raises(StateError, match="'weight' has no values"):
            layer.load_state_dict(nn.LazyLinear(3).state_dict(), assign=assign)
    assert layer(wf.ones((1, 2))).shape == (1, 3)


class Counted(nn.LazyModuleMixin):
    """With buffers that are assigned."""

    def __init__(self) -> None:
        super().__init__()
        self.count = nn.UninitializedBuffer(dtype=wf.int64)
        self.scratch = nn.UninitializedBuffer(persistent=False)

    def initialize_parameters(self, x: wf.Tensor) -> None:
        if self.has_uninitialized_params():
            self.count.materialize(x.shape[-1])
            self.scratch.materialize(x.shape)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        return x + self.count + self.scratch


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_uninitialized_buffers(copied: Any) -> None:
    layer = copied(Counted()).double()
    assert isinstance(layer.count, nn.Buffer) and list(layer.state_dict()) == ["count"]
    assert [layer.count.dtype, layer.scratch.dtype] == [wf.int64, wf.float64]
    assert (
        layer(wf.ones((2, 3))).shape == (2, 3) and layer.count.shape == (3,) and list(layer.state_dict()) == ["count"]
    )
    other = nn.Module()
    other.b = copied(layer.scratch)
    assert not other.state_dict() and [b.shape for b in other.buffers()] == [(2, 3)]

"""Normalization of channels against PyTorch: results, gradients, what is tracked; and captured code, bit for bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)
STATE = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def values(*shape: int) -> Any:
    return (RNG.normal(size=shape) * 3 + 1).astype(np.float32)


def compare(got: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance)


# name, arguments, shapes of the batches that it is trained with, and the one that it is evaluated with
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], list[tuple[int, ...]]]] = [
    ("BatchNorm1d", (5,), {}, [(4, 5), (7, 5), (2, 5)]),
    ("BatchNorm1d", (5,), {"momentum": None}, [(4, 5, 3), (1, 5, 2), (3, 5)]),
    ("BatchNorm1d", (5, 1e-2, 0.7), {"affine": False}, [(4, 5, 3), (3, 5)]),
    ("BatchNorm1d", (5,), {"bias": False}, [(4, 5, 3), (3, 5)]),
    ("BatchNorm1d", (5,), {"momentum": 0.0}, [(4, 5, 3), (3, 5)]),
    ("BatchNorm2d", (3,), {}, [(4, 3, 5, 2), (2, 3, 1, 7), (1, 3, 4, 4)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [(4, 3, 5, 2), (2, 3, 1, 7)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False, "momentum": None}, [(4, 3, 5, 2), (2, 3, 1, 7)]),
    ("BatchNorm3d", (3,), {"eps": 1e-3}, [(2, 3, 2, 3, 4), (1, 3, 2, 2, 2)]),
    ("InstanceNorm1d", (5,), {}, [(4, 5, 3), (5, 4)]),
    ("InstanceNorm1d", (5,), {"affine": True, "track_running_stats": True}, [(4, 5, 3), (2, 5, 6), (5, 4)]),
    ("InstanceNorm1d", (5, 1e-2, 0.7, True, True), {"bias": False}, [(4, 5, 3), (5, 4)]),
    ("InstanceNorm1d", (5,), {"momentum": None, "track_running_stats": True}, [(4, 5, 3), (5, 4)]),
    ("InstanceNorm2d", (3,), {"affine": True}, [(4, 3, 5, 2), (3, 2, 2)]),
    ("InstanceNorm2d", (3,), {"track_running_stats": True}, [(4, 3, 5, 2), (3, 2, 2), (2, 3, 2, 2)]),
    ("InstanceNorm3d", (3,), {"affine": True, "track_running_stats": True}, [(2, 3, 2, 3, 4), (3, 2, 2, 2)]),
    ("GroupNorm", (3, 6), {}, [(4, 6, 5, 2), (2, 6)]),
    ("GroupNorm", (1, 6, 1e-2), {"affine": False}, [(4, 6, 5), (1, 6, 2, 2, 2)]),
    ("GroupNorm", (6, 6), {"bias": False}, [(4, 6, 5), (1, 6, 2)]),
    ("LocalResponseNorm", (3,), {}, [(4, 6, 5), (2, 6, 3, 2)]),
    ("LocalResponseNorm", (2, 0.5, 0.6, 2.0), {}, [(4, 6, 5, 2), (2, 1, 3, 2, 2)]),
    ("LocalResponseNorm", (7,), {"alpha": 1.0}, [(4, 3, 5)]),
]
IDS = [f"{c[0]}-{n}" for n, c in enumerate(CASES)]


@pytest.mark.parametrize(("name", "args", "options", "shapes"), CASES, ids=IDS)
def test_training_and_evaluation_are_pytorchs(name: str, args: Any, options: Any, shapes: Any) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(values(*p.shape)))
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    for number, shape in enumerate((*shapes, shapes[0])):
        if number == len(shapes):
            ours.eval(), theirs.eval()
        x, weight = values(*shape), RNG.normal(size=shape).astype(np.float32)
        mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        y, z = ours(mine), theirs(other)
        compare(y, z)
        (y * wf.asarray(weight)).sum().backward()
        (z * torch.tensor(weight)).sum().backward()
        compare(mine.grad, other.grad, 1e-4)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            compare(p.grad, q.grad, 2e-4)
        for key, wanted in theirs.state_dict().items():
            compare(ours.state_dict()[key], wanted)


@pytest.mark.parametrize(("name", "args", "options", "shapes"), CASES, ids=IDS)
def test_captured_training_has_the_bits_of_eager_training(name: str, args: Any, options: Any, shapes: Any) -> None:
    states = []
    for compiled in (False, True):
        rng, layer = np.random.default_rng(1), getattr(nn, name)(*args, **options)
        buffers = list(layer.buffers())

        def step(x: Any, layer: Any = layer) -> Any:
            y = layer(x)
            loss = (y * y * x).sum()
            loss.backward()
            return loss, y

        run: Any = wf.compile(step) if compiled else step
        found = []
        for batch, mode in itertools.product((2, 5, 3, 7), (True, False)):
            layer.train(mode)
            layer.zero_grad()
            shape = shapes[0]
            x = wf.asarray(rng.normal(size=(batch, *shape[1:])).astype(np.float32)).requires_grad_()
            found += [t.detach().numpy().tobytes() for t in (*run(x), x.grad)]
            found += [p.grad.numpy().tobytes() for p in layer.parameters()]
            found += [b.numpy().tobytes() for b in layer.buffers()]
        assert all(a is b for a, b in zip(buffers, layer.buffers(), strict=True))  # written in place
        states.append(found)
    assert states[0] == states[1]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_captured_training_step_of_a_model(momentum: float | None) -> None:
    found = []
    for compiled in (False, True):
        wf.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8, momentum=momentum), nn.ReLU(), nn.GroupNorm(2, 8), nn.Linear(8, 3)
        )
        optimizer = wf.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: Any, y: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run: Any = wf.compile(step) if compiled else step
        rng, bits = np.random.default_rng(2), []
        for batch in (4, 4, 9, 9, 5, 6):
            x = wf.asarray(rng.normal(size=(batch, 6)).astype(np.float32))
            bits.append(run(x, wf.asarray(rng.integers(0, 3, batch))).numpy().tobytes())
        found.append(bits + [v.numpy().tobytes() for v in net.state_dict().values()])
        assert not compiled or len(run.cache_info().graphs) <= 3
    assert found[0] == found[1]


@pytest.mark.parametrize("compiled", [False, True])
def test_two_batches_before_one_backward_pass(compiled: bool) -> None:
    torch = pytest.importorskip("torch")
    a, b = values(4, 3), values(6, 3)
    found = []
    for lib, module in ((torch, torch.nn.BatchNorm1d(3)), (wf, nn.BatchNorm1d(3))):
        first, second = (lib.tensor(v).requires_grad_() for v in (a, b))

        def run(x: Any, y: Any, module: Any = module) -> Any:
            return (module(x) ** 3).sum() + (module(y) ** 3).sum() * 2

        (wf.compile(run) if compiled and lib is wf else run)(first, second).backward()
        found.append([v.detach().numpy() for v in (first.grad, second.grad, module.weight.grad, *module.buffers())])
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_layer_that_is_called_twice_in_captured_code_counts_both() -> None:
    layer = nn.BatchNorm1d(3)
    twice = nn.Sequential(layer, layer)
    run = wf.compile(twice)
    run(wf.asarray(values(5, 3)))
    assert layer.num_batches_tracked.item() == 2 and len(list(twice.buffers())) == 3


def test_captured_code_without_gradients_moves_the_statistics_too() -> None:
    found = []
    for compiled in (False, True):
        layer, rng = nn.BatchNorm2d(3), np.random.default_rng(4)
        shared = layer.running_mean.detach()  # looks at the memory that is written
        run: Any = wf.compile(layer) if compiled else layer
        for batch in (2, 3, 4, 5):
            with wf.no_grad():
                run(wf.asarray(rng.normal(size=(batch, 3, 4, 5)).astype(np.float32)))
        assert shared.tolist() == layer.running_mean.tolist()
        found.append([b.numpy().tobytes() for b in layer.buffers()])
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_layers_of_other_dtypes(dtype: str) -> None:
    x = wf.astype(wf.asarray(values(4, 6, 5)), dtype)
    for layer in (nn.BatchNorm1d(6), nn.GroupNorm(3, 6), nn.InstanceNorm1d(6, affine=True, track_running_stats=True)):
        layer.to(dtype)
        assert {t.dtype.name for t in (layer(x), layer.eval()(x), *layer.parameters())} == {dtype}
    mixed = nn.BatchNorm1d(6)  # 16-bit activations, statistics of 32 bits
    assert mixed(x).dtype.name == dtype and mixed.running_var.dtype is wf.float32


@pytest.mark.parametrize("training", [False, True])
def test_the_batch_may_be_symbolic_and_nothing_is_written(training: bool) -> None:
    for layer, shape in (
        (nn.BatchNorm1d(4), ("n", 4)),
        (nn.BatchNorm2d(4), ("n", 4, "h", "w")),
        (nn.InstanceNorm1d(4, affine=True, track_running_stats=True), ("n", 4, "h")),
        (nn.GroupNorm(2, 4), ("n", 4, "h")),
        (nn.LocalResponseNorm(3), ("n", 4, "h")),
    ):
        before = [b.tolist() for b in layer.buffers()]
        spec = wf.eval_shape(layer.train(training), wf.spec(shape))
        assert str(spec) == f"float32[{', '.join(map(str, shape))}]"
        assert [b.tolist() for b in layer.buffers()] == before


def test_a_layer_is_saved_for_every_size(tmp_path: Any) -> None:
    layer = nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LocalResponseNorm(3), nn.InstanceNorm2d(4))
    layer(wf.asarray(values(5, 4, 3, 2)))
    layer.eval()
    wf.save(layer, tmp_path / "norms.onnx", example=(wf.asarray(values(2, 4, 5, 6)),), dynamic={"n": (0, 0)})
    loaded = wf.load(tmp_path / "norms.onnx")
    for batch in (1, 2, 7):
        x = wf.asarray(values(batch, 4, 5, 6))
        assert loaded(x).numpy().tobytes() == layer(x).detach().numpy().tobytes()


def test_statistics_are_moved_without_gradients_too() -> None:
    layer, x = nn.BatchNorm1d(4), wf.asarray(values(6, 4))
    with wf.no_grad():
        layer(x)
    assert layer.num_batches_tracked.item() == 1 and not layer.running_mean.requires_grad
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.numpy().mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * x.numpy().var(0, ddof=1), rtol=1e-5)
    layer.eval()(x)
    assert layer.num_batches_tracked.item() == 1
    layer.reset_running_stats()
    assert layer.running_mean.tolist() == [0.0] * 4 and layer.running_var.tolist() == [1.0] * 4
    assert layer.num_batches_tracked.item() == 0


def test_cumulative_statistics_are_the_mean_over_batches() -> None:
    layer, batches = nn.BatchNorm1d(3, momentum=None), [values(5, 3) for _ in range(4)]
    for x in batches:
        layer(wf.asarray(x))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean([x.mean(0) for x in batches], 0), rtol=1e-4)
    np.testing.assert_allclose(layer.running_var.numpy(), np.mean([x.var(0, ddof=1) for x in batches], 0), rtol=1e-4)


def test_the_state_is_pytorchs() -> None:
    layer = nn.BatchNorm2d(3)
    assert list(layer.state_dict()) == STATE and layer.num_batches_tracked.dtype is wf.int64
    assert [n for n, _ in layer.named_buffers()] == STATE[2:]
    wide = nn.BatchNorm2d(3, dtype=wf.float64)
    assert wide.running_var.dtype is wide.weight.dtype is wf.float64
    layer.to("float64")
    assert layer.running_mean.dtype is wf.float64 and layer.num_batches_tracked.dtype is wf.int64
    assert list(nn.BatchNorm1d(3, affine=False, track_running_stats=False).state_dict()) == []
    assert list(nn.InstanceNorm1d(3).state_dict()) == [] and nn.GroupNorm(3, 6, bias=False).bias is None


def test_channels_that_are_not_used_are_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"InstanceNorm1d: input \(2, 4, 5\) has 4 channels, num_features is 3"):
        nn.InstanceNorm1d(3)(wf.ones((2, 4, 5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.BatchNorm1d(3)(wf.zeros((1, 3))), r"batch_norm: input \(1, 3\) has one value for each channel"),
        (lambda: nn.BatchNorm2d(3)(wf.zeros((1, 3, 1, 1))), "one value for each channel"),
        (lambda: nn.BatchNorm1d(3)(wf.zeros((2, 4))), r"weight \(3,\) for input \(2, 4\): wants \(4,\)"),
        (lambda: nn.BatchNorm1d(3)(wf.zeros((2, 3, 4, 5))), r"BatchNorm1d: input \(2, 3, 4, 5\): wants \(N, C\) or"),
        (lambda: nn.BatchNorm2d(3)(wf.zeros((2, 3))), r"BatchNorm2d: input \(2, 3\): wants \(N, C, H, W\)"),
        (lambda: nn.BatchNorm3d(3)(wf.zeros((2, 3))), "BatchNorm3d: input"),
        (lambda: nn.BatchNorm1d(-1), "BatchNorm1d: num_features is -1"),
        (lambda: nn.InstanceNorm1d(3)(wf.zeros((2, 3, 1))), "instance_norm: input .* one value for each channel"),
        (lambda: nn.InstanceNorm2d(3, affine=True)(wf.zeros((2, 4, 5, 5))), "has 4 channels, num_features is 3"),
        (lambda: nn.InstanceNorm3d(3)(wf.zeros((2, 3))), "InstanceNorm3d: input"),
        (lambda: nn.GroupNorm(4, 6), "num_channels 6 are not num_groups 4 equal groups"),
        (lambda: nn.GroupNorm(3, 6)(wf.zeros((2, 4, 5))), "group_norm: input .* 4 channels are not 3 equal groups"),
        (lambda: nn.GroupNorm(3, 6)(wf.zeros((2, 9, 5))), r"group_norm: weight \(6,\)"),
        (lambda: nn.LocalResponseNorm(3)(wf.zeros((2, 4))), "rank 3 or more"),
    ],
)
def test_inputs_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_one_value_for_each_channel_is_no_error_in_evaluation() -> None:
    assert nn.BatchNorm1d(3).eval()(wf.ones((1, 3))).shape == (1, 3)


def test_a_failed_step_does_not_move_the_running_statistics() -> None:
    layer = nn.BatchNorm1d(3)
    with pytest.raises(wf.ShapeError):
        layer(wf.ones((1, 3)))
    assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_var.tolist() == [1.0] * 3


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)])
def test_an_empty_batch_moves_nothing(shape: tuple[int, ...]) -> None:
    for layer in (nn.BatchNorm1d(3), nn.InstanceNorm1d(3, affine=True, track_running_stats=True), nn.GroupNorm(1, 3)):
        if len(shape) == 2 and isinstance(layer, nn.InstanceNorm1d):
            continue
        x = wf.zeros(shape).requires_grad_()
        y = layer(x)
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.shape == shape and layer.weight.grad.tolist() == [0.0] * 3
        if not isinstance(layer, nn.GroupNorm):
            assert layer.running_mean.tolist() == [0.0] * 3 and layer.running_var.tolist() == [1.0] * 3


class _WithMetadata(dict[str, Any]):
    """A state that says of which version it is, as PyTorch's does."""

    def __init__(self, state: Any, version: int | None):
        super().__init__(state)
        self._metadata = {"1": {"version": version}} if version else {}


@pytest.mark.parametrize("layer", [nn.BatchNorm2d, nn.InstanceNorm1d])
@pytest.mark.parametrize("version", [None, 1, 2])
def test_a_state_of_before_batches_were_counted_fits(layer: Any, version: int | None) -> None:
    """As in PyTorch: what says no version, or an older one, may lack the count, which stays as it is."""
    torch = pytest.importorskip("torch")
    kind = getattr(torch.nn, layer.__name__)
    own = nn.Sequential(nn.ReLU(), layer(3, track_running_stats=True))
    other = torch.nn.Sequential(torch.nn.ReLU(), kind(3, track_running_stats=True))
    for found, make in ((own, wf.ones), (other, torch.ones)):
        state = {name: make((3,)) for name in ("1.running_mean", "1.running_var")}
        if layer is nn.BatchNorm2d:
            state |= {name: make((3,)) for name in ("1.weight", "1.bias")}
        found[1].num_batches_tracked.fill_(7)
        if version == 2:
            with pytest.raises(RuntimeError, match="num_batches_tracked"):
                found.load_state_dict(_WithMetadata(state, version))
        else:
            keys = found.load_state_dict(_WithMetadata(state, version))
            assert not keys.missing_keys and found[1].running_mean.tolist() == [1.0] * 3
        assert found[1].num_batches_tracked.item() == 7
    with pytest.raises(wf.StateError, match="running_var"):
        own.load_state_dict({"1.running_mean": wf.ones((3,))})

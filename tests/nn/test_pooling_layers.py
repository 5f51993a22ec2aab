"""Layers that pool, unpool, resample and drop: each is PyTorch's layer, and its function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

torch = pytest.importorskip("torch")

rng = np.random.default_rng(6)
SHAPES = {"1": (2, 3, 11), "2": (2, 3, 9, 8), "3": (1, 2, 5, 6, 7)}

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("MaxPool1d", (3,), {}),
    ("MaxPool1d", (3, 2, 1, 2), {"ceil_mode": True}),
    ("MaxPool2d", ((3, 2), (2, 1), (1, 0)), {}),
    ("MaxPool2d", (2,), {"return_indices": True, "dilation": (2, 1)}),
    ("MaxPool3d", (2,), {"stride": 1, "return_indices": True}),
    ("AvgPool1d", (3,), {}),
    ("AvgPool1d", ((3,), 2, 1, True, False), {}),
    ("AvgPool2d", (3,), {}),
    ("AvgPool2d", ((3, 2), 2, (1, 0)), {"ceil_mode": True, "count_include_pad": False}),
    ("AvgPool2d", (2,), {"divisor_override": 3}),
    ("AvgPool3d", (2, 1, 1), {"divisor_override": 5}),
    ("LPPool1d", (2, 3), {}),
    ("LPPool2d", (2.0, (2, 3), 2), {"ceil_mode": True}),
    ("LPPool3d", (float("inf"), 2), {}),
    ("AdaptiveAvgPool1d", (4,), {}),
    ("AdaptiveAvgPool2d", (1,), {}),
    ("AdaptiveAvgPool2d", ((None, 3),), {}),
    ("AdaptiveAvgPool3d", ((2, None, 3),), {}),
    ("AdaptiveMaxPool1d", (5, True), {}),
    ("AdaptiveMaxPool2d", ((3, 5),), {}),
    ("AdaptiveMaxPool2d", ((None, 4),), {"return_indices": True}),
    ("AdaptiveMaxPool3d", (2,), {}),
    ("Upsample", (), {"scale_factor": 2}),
    ("Upsample", ((7, 12), None, "bilinear", True), {}),
    ("Upsample", (), {"scale_factor": (1.5, 2), "mode": "bicubic", "recompute_scale_factor": True}),
    ("UpsamplingNearest2d", (5,), {}),
    ("UpsamplingBilinear2d", (), {"scale_factor": 3}),
]


@pytest.mark.parametrize(("name", "args", "options"), CASES, ids=[f"{c[0]}-{k}" for k, c in enumerate(CASES)])
def test_the_layer_is_pytorchs(name: str, args: Any, options: Any) -> None:
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    x = rng.standard_normal(SHAPES.get(name[-2], SHAPES["2"])).astype(np.float32)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    if isinstance(z, tuple):
        assert np.array_equal(y[1].numpy(), z[1].numpy())
        y, z = y[0], z[0]
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2e-5, atol=2e-5)
    g = rng.standard_normal(tuple(z.shape)).astype(np.float32)
    y.backward(wf.asarray(g))
    z.backward(torch.tensor(g))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rank", "size"), [(1, [12]), (2, (2, 3, 9, 8)), (3, None)])
def test_unpooling_layers_are_pytorchs(rank: int, size: Any) -> None:
    x = rng.standard_normal(SHAPES[str(rank)]).astype(np.float32)
    pool = torch.nn.MaxPool2d(2) if rank == 2 else getattr(torch.nn, f"MaxPool{rank}d")(2)
    pool.return_indices = True
    values, at = pool(torch.tensor(x))
    size = x.shape[2:] if size is None else size
    size = x.shape[2:] if rank == 1 else size
    ours, theirs = getattr(nn, f"MaxUnpool{rank}d")(2), getattr(torch.nn, f"MaxUnpool{rank}d")(2)
    assert repr(ours) == repr(theirs)
    found = ours(wf.asarray(values.numpy()), wf.asarray(at.numpy()), output_size=size)
    assert np.array_equal(found.numpy(), theirs(values, at, output_size=size).numpy())


DROPS = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]


@pytest.mark.parametrize("name", DROPS)
def test_layers_drop_in_training_alone(name: str) -> None:
    layer = getattr(nn, name)(0.5)
    assert repr(layer) == repr(getattr(torch.nn, name)(0.5))
    shape = (40, 6, 2, 3, 2)[: {"1": 3, "2": 4, "3": 5}.get(name[-2], 4)]
    x = wf.ones(shape)
    y = layer(x)
    assert 0.3 < (y.numpy() == y.numpy().min()).mean() < 0.7 and layer.eval()(x) is x
    whole = y.numpy().reshape(40, 6, -1)
    assert (whole == whole[:, :, :1]).all() == (name not in ("Dropout", "AlphaDropout"))
    with pytest.raises(ValueError, match=f"{name}: p is 2"):
        getattr(nn, name)(2)


@pytest.mark.parametrize("name", DROPS)
def test_layers_write_over_their_input(name: str) -> None:
    x = wf.ones((40, 6, 5, 3)[: 3 if name[-2] == "1" else 4])
    assert getattr(nn, name)(0.5, inplace=True)(x) is x and len(np.unique(x.numpy())) == 2


class _Net(nn.Module):
    """Something of each family."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(2), nn.Dropout2d(0.3), nn.AlphaDropout(0.1))
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")
        self.pool = nn.AdaptiveAvgPool2d((3, 2))
        self.most = nn.AdaptiveMaxPool2d((3, 2))
        self.last = nn.Linear(24, 3)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        y = self.up(self.before(x))
        return self.last(wf.concat([F.relu(self.pool(y)), self.most(y)], axis=1).flatten(1))


def test_a_compiled_training_step_has_the_bits_of_an_eager_one() -> None:
    """For three batches, of which the second makes the size symbolic."""

    def trained(compiled: bool) -> list[bytes]:
        wf.manual_seed(1)
        net = _Net()
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run: Any = wf.compile(step) if compiled else step
        numbers = np.random.default_rng(2)
        bits = []
        for batch in (4, 4, 6, 3):
            x = wf.asarray(numbers.standard_normal((batch, 2, 8, 10)).astype(np.float32))
            bits.append(run(x, wf.asarray(numbers.integers(0, 3, batch))).numpy().tobytes())
        return [*bits, *(p.detach().numpy().tobytes() for p in net.parameters())]

    assert trained(True) == trained(False)

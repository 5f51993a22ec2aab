"""Networks of the benchmarks: the same program of PyTorch's layers, with the same weights, gives the same
results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weft as wf
from benchmarks.models import vision

torch = pytest.importorskip("torch")


def theirs() -> Any:
    """The module with PyTorch in the place of Weft."""
    source = Path(vision.__file__).read_text()
    source = source.replace("import weft as wf\n", "import torch as wf\n").replace(
        "from weft import nn\n", "from torch import nn\n"
    )
    names: dict[str, Any] = {"__name__": "vision_of_torch"}
    exec(compile(source, vision.__file__, "exec"), names)
    return SimpleNamespace(**names)


NETWORKS: dict[str, tuple[dict[str, Any], int, int]] = {  # arguments, size of the images, parameters
    "resnet18": ({"classes": 10, "small": True}, 16, 11_173_962),
    "resnet50": ({}, 40, 25_557_032),  # as many as torchvision's
    "mobilenet_v2": ({}, 40, 3_504_872),
    "UNet": ({"width": 8, "depth": 2}, 12, 29_634),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "UNet" else pytest.mark.long) for n in NETWORKS])
def test_it_is_pytorchs(name: str) -> None:
    """In training, the gradients too; in evaluation; under the same names."""
    arguments, size, _ = NETWORKS[name]
    wf.manual_seed(0)
    ours, other = getattr(vision, name)(**arguments), getattr(theirs(), name)(**arguments).double()
    ours.to(wf.float64)
    state = {key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()}
    other.load_state_dict(state)
    for net in (ours, other):
        for module in net.modules():
            if type(module).__name__ == "Dropout":
                module.p = 0.0
    x = np.random.default_rng(0).normal(size=(2, 3, size, size))
    wanted = other(torch.tensor(x))

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        found = ours(x)
        (found * found).mean().backward()
        return found

    np.testing.assert_allclose(step(wf.asarray(x)).numpy(), wanted.detach().numpy(), rtol=1e-8, atol=1e-8)
    (wanted * wanted).mean().backward()
    for (name, mine), its in zip(ours.named_parameters(), other.parameters(), strict=True):
        assert mine.grad is not None
        scale = float(its.grad.abs().max()) + 1e-9
        np.testing.assert_allclose(mine.grad.numpy() / scale, its.grad.numpy() / scale, atol=1e-6, err_msg=name)
    ours.eval()
    other.eval()
    evaluated = wf.compile(lambda x: ours(x))(wf.asarray(x))
    np.testing.assert_allclose(evaluated.numpy(), other(torch.tensor(x)).detach().numpy(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_number_of_parameters(name: str) -> None:
    arguments, _, parameters = NETWORKS[name]
    assert sum(p.numel() for p in getattr(vision, name)(**arguments).parameters()) == parameters


def test_torchvisions_names() -> None:
    """Of what checkpoints hold."""
    keys = {
        "resnet50": (
            "layer1.0.downsample.1.running_var",
            "layer3.5.conv3.weight",
            "bn1.num_batches_tracked",
            "fc.bias",
        ),
        "mobilenet_v2": ("features.1.conv.1.weight", "features.17.conv.3.running_mean", "classifier.1.weight"),
    }
    for name, some in keys.items():
        assert set(some) <= set(getattr(vision, name)().state_dict())

"""A PyTorch state dict of a whole model loads, and the model's outputs and gradients are PyTorch's.

The models are those of the model table, whose text is the same for both frameworks."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import weft as wf

torch = pytest.importorskip("torch")

MODELS = Path(__file__).resolve().parents[2] / "benchmarks" / "models"


def load(text: str, framework: str) -> ModuleType:
    """``text`` of the models as a module of its own, over ``framework``."""
    package = f"models_of_{framework}"
    if package not in sys.modules:
        sys.modules[package] = made = ModuleType(package)
        made.__path__ = [str(MODELS)]
        sys.modules[f"{package}.framework"] = over = ModuleType(f"{package}.framework")
        over.__dict__.update(
            framework=importlib.import_module(framework),
            nn=importlib.import_module(f"{framework}.nn"),
            F=importlib.import_module(f"{framework}.nn.functional"),
        )
    name = f"{package}.{text}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, MODELS / f"{text}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


IMAGES = np.random.default_rng(0).standard_normal((2, 3, 16, 16))
TOKENS = np.random.default_rng(1).integers(0, 50, (2, 9))
STATES = np.random.default_rng(2).standard_normal((2, 7, 12))


LONG = ("resnet18", "resnet18-evaluated", "resnet50", "mobilenet")


def shallow(framework: str, small: bool = False) -> Any:
    """A ResNet without the blocks of the two smallest images, which have 19 of 20 parameters."""
    vision = load("vision", framework)
    return vision.ResNet(vision.BasicBlock, (1, 2, 0, 0), 10, small)


MADE = {
    "resnet": (lambda framework: shallow(framework, small=True), (IMAGES,), True),
    "resnet-evaluated": (lambda framework: shallow(framework), (IMAGES,), False),
    "resnet18": (lambda framework: load("vision", framework).resnet18(10, small=True), (IMAGES,), True),
    "resnet18-evaluated": (lambda framework: load("vision", framework).resnet18(10), (IMAGES,), False),
    "resnet50": (lambda framework: load("vision", framework).resnet50(5), (IMAGES,), False),
    "mobilenet": (lambda framework: load("vision", framework).mobilenet_v2(5), (IMAGES,), False),
    "unet": (lambda framework: load("vision", framework).UNet(3, 2, 4, 2), (IMAGES,), True),
    "gpt-2-block": (lambda framework: load("language", framework).Block(2, 12), (STATES,), True),
    "gpt": (lambda framework: load("language", framework).GPT(2, 2, 12, 50, 16), (TOKENS,), True),
    "encoder": (lambda framework: load("language", framework).Encoder(2, 2, 12, 50, 16), (TOKENS,), False),
    "lstm": (lambda framework: load("language", framework).Classifier(50, 6, 8, 3), (TOKENS,), True),
    "transformer": (
        lambda framework: importlib.import_module(f"{framework}.nn").Transformer(
            12, 2, 2, 2, 24, dropout=0.0, batch_first=True
        ),
        (STATES, STATES[:, :4]),
        True,
    ),
}


def close(found: Any, expected: Any, what: str) -> None:
    assert found.shape == expected.shape, what
    if expected.size:
        assert np.abs(found - expected).max() <= 1e-8 * max(float(np.abs(expected).max()), 1e-6), what


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long if name in LONG else ()) for name in MADE])
def test_state_dict_outputs_and_gradients_are_pytorchs(name: str, compiled: bool) -> None:
    make, inputs, training = MADE[name]
    torch.manual_seed(0)
    theirs, ours = make("torch").double().train(training), make("weft").to(wf.float64).train(training)
    assert repr(ours) == repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")
    ours.load_state_dict({key: wf.tensor(value.numpy()) for key, value in theirs.state_dict().items()})

    expected = theirs(*(torch.from_numpy(x) for x in inputs))
    weights = np.random.default_rng(3).standard_normal(expected.shape)
    (expected * torch.from_numpy(weights)).sum().backward()

    def step(*inputs: wf.Tensor) -> wf.Tensor:
        output = ours(*inputs)
        (output * wf.tensor(weights)).sum().backward()
        return output

    found = (wf.compile(step) if compiled else step)(*(wf.tensor(x) for x in inputs))

    close(found.numpy(), expected.detach().numpy(), "output")
    gradients = dict(ours.named_parameters())
    for key, parameter in theirs.named_parameters():
        assert (gradients[key].grad is None) == (parameter.grad is None), key
        if parameter.grad is not None:
            close(gradients[key].grad.numpy(), parameter.grad.numpy(), key)
    for key, value in theirs.state_dict().items():  # what forward changes: running statistics
        close(ours.state_dict()[key].numpy().astype(np.float64), value.numpy().astype(np.float64), key)


COUNTS = {"resnet18": 11_173_962, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872}  # the last two as torchvision's


@pytest.mark.parametrize("name", COUNTS)
def test_a_model_of_images_has_its_parameters(name: str) -> None:
    arguments = {"classes": 10, "small": True} if name == "resnet18" else {}
    net = getattr(load("vision", "weft"), name)(**arguments)
    assert sum(p.numel() for p in net.parameters()) == COUNTS[name]

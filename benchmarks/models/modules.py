"""The models by name, their weights and losses: for the two frameworks that have modules."""

from __future__ import annotations

from typing import Any

import numpy as np

from .framework import F, nn
from .framework import framework as wf
from .language import GPT, Classifier, Encoder
from .sizes import BERT, GPTS, LSTM, UNET
from .vision import UNet, mobilenet_v2, resnet18, resnet50

__all__ = ["build", "load", "loss", "save"]


def build(name: str) -> nn.Module:
    """The model with weights of its own."""
    if name in GPTS:
        return GPT(*GPTS[name])
    makers = {
        "resnet50": resnet50,
        "mobilenet": mobilenet_v2,
        "resnet18": lambda: resnet18(10, small=True),
        "unet": lambda: UNet(*UNET),
        "bert": lambda: Encoder(*BERT),
        "lstm": lambda: Classifier(*LSTM),
    }
    return makers[name]()


def loss(output: Any, targets: Any) -> Any:
    """Cross-entropy; classes are the last axis of sequences, the second of images."""
    if output.ndim == 3:
        return F.cross_entropy(output.reshape(-1, output.shape[-1]), targets.reshape(-1))
    return F.cross_entropy(output, targets)


def save(name: str, path: str) -> None:
    """Write the weights that all peers begin with."""
    np.savez(path, **{key: value.numpy() for key, value in build(name).state_dict().items()})


def load(name: str, weights: str) -> nn.Module:
    """The model with the weights of a file."""
    model = build(name)
    with np.load(weights) as arrays:
        model.load_state_dict({key: wf.from_numpy(arrays[key]) for key in arrays.files})
    return model

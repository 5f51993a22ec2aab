"""Layers with ``inplace=True`` write their input, with PyTorch's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch", reason="the parity extra is not installed")

NAMES = (
    *("CELU", "ELU", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU", "Mish", "RReLU", "ReLU", "ReLU6", "SELU"),
    *("SiLU", "Threshold"),
)
ARGUMENTS = {"Threshold": (0.5, -2.0)}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_inplace_layer_writes_its_input(name: str, compiled: bool) -> None:
    data = np.linspace(-4, 4, 12, dtype=np.float32).reshape(3, 4)
    seen: list[Any] = []
    for lib, layers in ((torch, torch.nn), (wf, nn)):
        leaf = lib.tensor(data).requires_grad_()
        layer = getattr(layers, name)(*ARGUMENTS.get(name, ()), inplace=True).eval()
        if compiled and lib is wf:
            layer = wf.compile(layer)
        hidden = leaf * 1.5
        out = layer(hidden)
        assert out is hidden
        (out * out).sum().backward()
        seen.append((hidden.detach().numpy().copy(), leaf.grad.numpy().copy()))
        with pytest.raises(RuntimeError, match="leaf"):
            layer(leaf)
    for expected, found in zip(*seen, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_dropout_in_place() -> None:
    x = wf.ones((4, 5)) * 2.0
    out = nn.Dropout(0.5, inplace=True)(x)
    assert out is x and set(x.ravel().tolist() if hasattr(x, "ravel") else x.reshape(-1).tolist()) <= {0.0, 4.0}


def test_random_slopes_in_place() -> None:
    found = []
    for inplace, compiled in ((False, False), (True, False), (True, True)):
        wf.manual_seed(3)
        layer, leaf = nn.RReLU(inplace=inplace), wf.asarray(np.linspace(-4, 4, 12, dtype=np.float32)).requires_grad_()
        hidden = leaf * 1.5
        out = (wf.compile(layer) if compiled else layer)(hidden)
        assert (out is hidden) == inplace
        (out * out).sum().backward()
        found.append((out.detach().numpy().tobytes(), leaf.grad.numpy().tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inplace", [False, True])
def test_repr_is_pytorchs(name: str, inplace: bool) -> None:
    own, other = (getattr(m, name)(*ARGUMENTS.get(name, ()), inplace=inplace) for m in (nn, torch.nn))
    assert repr(own) == repr(other)

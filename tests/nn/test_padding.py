"""Layers that pad, fold and shuffle against PyTorch's: values, gradients, reprs; the bits of their functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)
SHAPES = {1: (2, 4, 9), 2: (2, 4, 6, 9), 3: (2, 2, 4, 5, 6)}
WIDTHS = {1: (1, 2), 2: (1, 2, 3, 0), 3: (1, 2, 0, 1, 3, 2)}

PADS: list[tuple[str, tuple[Any, ...], tuple[int, ...]]] = [
    *(
        (f"{kind}Pad{r}d", (1,), SHAPES[r])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for r in SHAPES
    ),
    *(
        (f"{kind}Pad{r}d", (WIDTHS[r],), SHAPES[r][1:])
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for r in SHAPES
    ),
    *((f"ConstantPad{r}d", (WIDTHS[r], 2.5), SHAPES[r]) for r in SHAPES),
    ("ConstantPad2d", (-1, 1.0), (6, 9)),
    ("ZeroPad2d", ((1, -2, -1, 3),), (4, 6, 9)),
]


def agree(ours: Any, theirs: Any, x: Any) -> None:
    """Values, gradients, repr, and the bits of a compiled call."""
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-6, atol=1e-6)
    weight = RNG.normal(size=z.shape).astype(np.float32)
    (y * wf.asarray(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-5)
    assert wf.compile(ours)(mine.detach()).numpy().tobytes() == y.numpy().tobytes()


@pytest.mark.parametrize(("name", "args", "shape"), PADS)
def test_pads(name: str, args: Any, shape: Any) -> None:
    agree(getattr(nn, name)(*args), getattr(torch.nn, name)(*args), RNG.normal(size=shape).astype(np.float32))


def test_widths_may_be_numpys() -> None:
    layer = nn.ReflectionPad1d(np.array([1, 2]))
    assert layer.padding == (1, 2) and nn.ZeroPad2d(np.int64(3)).padding == (3,) * 4


def test_a_wrong_size_names_the_layer() -> None:
    net = nn.Sequential(nn.ZeroPad2d(1), nn.ReflectionPad2d(9))
    with pytest.raises(wf.ShapeError, match="less one") as caught:
        net(wf.zeros((1, 3, 4, 4)))
    assert caught.value.module_path == "sequential.1"

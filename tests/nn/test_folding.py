"""Unfold, Fold and the shuffles as layers against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Unfold", (3,), {}, (2, 3, 6, 7)),
    ("Unfold", ((2, 3), (2, 1), 1, (1, 2)), {}, (3, 6, 7)),
    ("Fold", ((4, 5), (2, 3)), {}, (2, 12, 9)),
    ("Fold", (5, 2), {"dilation": 2, "padding": (0, 1), "stride": 2}, (8, 6)),
    ("PixelShuffle", (2,), {}, (2, 8, 3, 4)),
    ("PixelUnshuffle", (2,), {}, (3, 4, 6)),
    ("ChannelShuffle", (3,), {}, (2, 6, 4, 5)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), CASES)
def test_layer(name: str, args: Any, options: Any, shape: Any) -> None:
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs) and not ours.state_dict()
    x = RNG.normal(size=shape).astype(np.float32)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-6, atol=1e-6)
    weight = RNG.normal(size=z.shape).astype(np.float32)
    (y * wf.asarray(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-5)
    assert wf.compile(ours)(mine.detach()).numpy().tobytes() == y.numpy().tobytes()

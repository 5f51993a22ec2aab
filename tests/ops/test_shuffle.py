"""Shuffles of channels and pixels: PyTorch's values, gradients and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import ALL, same_bits, values

import weft as wf
from weft.core.errors import ArgumentError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")

CASES: list[tuple[str, tuple[int, ...], int]] = [
    ("pixel_shuffle", (2, 12, 3, 4), 2),
    ("pixel_shuffle", (9, 2, 1), 3),
    ("pixel_shuffle", (2, 1, 3, 8, 2, 5), 2),
    ("pixel_shuffle", (1, 3, 2, 2), 1),
    ("pixel_unshuffle", (2, 3, 4, 6), 2),
    ("pixel_unshuffle", (2, 9, 3), 3),
    ("pixel_unshuffle", (2, 1, 3, 2, 2, 4), 2),
    ("channel_shuffle", (2, 6, 3, 4), 3),
    ("channel_shuffle", (1, 4, 5), 2),
    ("channel_shuffle", (1, 8, 1, 2, 3), 4),
    ("channel_shuffle", (2, 5, 3), 1),
]


@pytest.mark.parametrize(("name", "shape", "number"), CASES)
def test_values_and_gradients_are_pytorchs(name: str, shape: Any, number: int) -> None:
    x = values("float32", shape, 0)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    a, b = getattr(F, name)(mine, number), getattr(torch.nn.functional, name)(other, number)
    same_bits(a, b.detach().numpy())
    g = values("float32", a.shape, 1)
    a.backward(wf.asarray(g))
    b.backward(torch.tensor(g))
    same_bits(mine.grad, other.grad.numpy())


@pytest.mark.parametrize("dtype", ALL)
def test_every_dtype_and_there_and_back(dtype: str) -> None:
    x = wf.asarray(values(dtype, (2, 8, 3, 5), 0))
    same_bits(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), x.numpy())
    same_bits(F.channel_shuffle(F.channel_shuffle(x, 2), 4), x.numpy())
    same_bits(
        F.pixel_shuffle(wf.flip(x, axis=(0, 3)).mT, 2), F.pixel_shuffle(wf.flip(x, axis=(0, 3)).mT.clone(), 2).numpy()
    )


def test_an_empty_batch_has_a_gradient() -> None:
    """(PyTorch's shapes of it are wrong.)"""
    for name, shape in (("pixel_shuffle", (0, 1, 4, 4)), ("pixel_unshuffle", (0, 16, 1, 1)), ("channel_shuffle", None)):
        x = wf.ones((0, 4, 2, 2)).requires_grad_()
        result = getattr(F, name)(x, 2)
        result.sum().backward()
        assert result.shape == (shape or x.shape) and x.grad.shape == x.shape


def test_a_result_shares_no_memory() -> None:
    x = wf.ones((1, 1, 2, 2))
    F.pixel_shuffle(x, 1).add_(1.0)
    F.pixel_unshuffle(x, 1).add_(1.0)
    F.channel_shuffle(x, 1).add_(1.0)
    assert x.tolist() == np.ones((1, 1, 2, 2)).tolist()


@pytest.mark.parametrize("name", ["pixel_shuffle", "pixel_unshuffle", "channel_shuffle"])
def test_compiled_bits_are_eager_bits_for_every_size(name: str) -> None:
    def function(x: wf.Tensor) -> Any:
        return wf.value_and_grad(lambda x: (F.gelu(getattr(F, name)(x, 2)) ** 2).sum())(x)

    compiled = wf.compile(function)
    for shape in ((2, 4, 6, 8), (3, 4, 6, 8), (5, 8, 2, 10), (4, 12, 4, 4)):
        x = wf.asarray(values("float32", shape, 0))
        for eager, again in zip(function(x), compiled(x), strict=True):
            same_bits(again, eager.numpy())
    assert str(wf.eval_shape(lambda x: getattr(F, name)(x, 2), wf.spec(("n", 4, 6, 8)))).startswith("float32[n, ")


BAD = [
    ("pixel_shuffle", (4, 2), 2, "wants (*, C * 4, H, W)"),
    ("pixel_shuffle", (1, 6, 2, 2), 2, "(1, 6, 2, 2)"),
    ("pixel_shuffle", (1, 4, 2, 2), 0, "upscale_factor is 0"),
    ("pixel_unshuffle", (4, 2), 2, "wants (*, C, H * 2, W * 2)"),
    ("pixel_unshuffle", (1, 1, 3, 2), 2, "(1, 1, 3, 2)"),
    ("pixel_unshuffle", (1, 1, 2, 2), -1, "downscale_factor is -1"),
    ("channel_shuffle", (4, 2), 2, "wants (N, C, *)"),
    ("channel_shuffle", (1, 5, 2), 2, "2 equal groups"),
    ("channel_shuffle", (1, 4, 2), 0, "groups is 0"),
]


@pytest.mark.parametrize(("name", "shape", "number", "says"), BAD)
def test_what_does_not_fit_is_refused_as_in_pytorch(name: str, shape: Any, number: int, says: str) -> None:
    with pytest.raises((ShapeError, ArgumentError)) as caught:
        getattr(F, name)(wf.ones(shape), number)
    assert caught.value.message.startswith(name) and says in caught.value.message
    with pytest.raises(RuntimeError):
        getattr(torch.nn.functional, name)(torch.ones(shape), number)

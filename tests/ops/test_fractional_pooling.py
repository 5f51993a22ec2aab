"""Fractional max pooling: PyTorch's values, positions and gradients of the same samples; compiled as eager; errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.nn import functional as F

# input, kernel_size, output_size, output_ratio
CASES: list[tuple[tuple[int, ...], Any, Any, Any]] = [
    ((2, 3, 9, 11), 2, 4, None),
    ((3, 12, 7), (3, 2), (5, 1), None),
    ((1, 2, 25, 25), 2, None, (0.5, 0.7)),
    ((0, 2, 5, 5), 2, 3, None),
    ((2, 3, 5, 5), 5, 1, None),
    ((2, 3, 6, 6), 1, 6, None),
    ((2, 3, 7, 7), 2, 0, None),
    ((2, 3, 7, 6, 9), 2, (3, 4, 4), None),
    ((2, 8, 9, 10), (1, 3, 2), None, 0.4),
]


def drawn(shape: tuple[int, ...], rank: int, dtype: str = "float32") -> tuple[Any, Any]:
    """An input with equal elements, and samples."""
    rng = np.random.default_rng(0)
    batch = shape[0] if len(shape) == rank + 2 else 1
    samples = rng.random((batch, shape[-rank - 1], rank)).astype(dtype)
    samples.reshape(-1)[:1] = 1 - 2.0**-8
    return rng.integers(-9, 9, shape).astype(dtype), samples


def rank_of(shape: tuple[int, ...], kernel: Any, size: Any, ratio: Any) -> int:
    known = [len(v) for v in (kernel, size, ratio) if isinstance(v, tuple)]
    return known[0] if known else len(shape) - 2 if len(shape) == 5 else 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_pytorch(case: Any, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    shape, kernel, size, ratio = case
    rank = rank_of(*case)
    x, samples = drawn(shape, rank, dtype)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    name = f"FractionalMaxPool{rank}d"
    ours = getattr(nn, name)(kernel, size, ratio, True, wf.asarray(samples))
    theirs = getattr(torch.nn, name)(kernel, size, ratio, True, torch.tensor(samples))
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    assert (ours.kernel_size, ours.output_size, ours.output_ratio) == (
        theirs.kernel_size,
        theirs.output_size,
        theirs.output_ratio,
    )
    (values, at), (wanted, places) = ours(mine), theirs(other)
    assert values.dtype == mine.dtype and at.dtype == wf.int64
    np.testing.assert_array_equal(at.numpy(), places.numpy())
    np.testing.assert_array_equal(values.detach().numpy(), wanted.detach().numpy())
    weight = np.random.default_rng(1).integers(-9, 9, wanted.shape).astype(dtype)
    (values * wf.asarray(weight)).sum().backward()
    (wanted * torch.tensor(weight)).sum().backward()
    assert mine.grad is not None
    np.testing.assert_array_equal(mine.grad.numpy(), other.grad.numpy())


@pytest.mark.parametrize("rank", [2, 3])
def test_compiled_as_eager(rank: int) -> None:
    """Also for another batch, and with the same draws."""
    pool = getattr(F, f"fractional_max_pool{rank}d")
    x, samples = drawn((4, 3, *(7, 8, 6)[:rank]), rank)

    def step(x: Any, samples: Any) -> Any:
        x = (x * 1.0).requires_grad_()
        values, at = pool(x, 2, 3, None, True, samples)
        free = pool(x, 2, 4)
        (values.sum() + (free * free).sum()).backward()
        return values.detach(), at, free.detach(), x.grad

    compiled = wf.compile(step)
    for n in (4, 2, 3):
        given = wf.asarray(x[:n]), wf.asarray(samples)  # those of more images than there are
        wf.random.seed(3)
        wanted = step(*given)
        wf.random.seed(3)
        for a, b in zip(compiled(*given), wanted, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_as_many_windows_as_there_are_places() -> None:
    """PyTorch refuses them in three dimensions."""
    x, _ = drawn((2, 4, 5, 6), 3)
    assert (F.fractional_max_pool3d(wf.asarray(x), 1, (4, 5, 6)) == wf.asarray(x)).all()


def test_windows_are_drawn() -> None:
    x = wf.asarray(np.arange(484.0).reshape(1, 4, 11, 11))
    pool = nn.FractionalMaxPool2d(2, output_size=5)
    wf.random.seed(0)
    first, second = pool(x), pool(x)
    assert (first - x[:, :, :1, :1]).numpy().std(axis=1).any(), "channels are drawn apart"
    assert (first != second).any()
    generator = wf.random.Generator(0)
    assert (F.fractional_max_pool2d(x, 2, 5, generator=generator) == first).all()
    values, at = F.fractional_max_pool2d_with_indices(x, 2, 5, generator=wf.random.Generator(0))
    assert (values == first).all() and (x.flatten(2).gather(2, at.flatten(2)).view(first.shape) == first).all()


X = wf.zeros((2, 3, 6, 6))


@pytest.mark.parametrize(
    ("message", "wrong", "kind"),
    [
        ("either an output_size or an output_ratio", lambda: nn.FractionalMaxPool2d(2), ArgumentError),
        ("either an output_size or an output_ratio", lambda: nn.FractionalMaxPool3d(2, 3, 0.5), ArgumentError),
        ("between 0 and 1", lambda: nn.FractionalMaxPool2d(2, output_ratio=1.0), ArgumentError),
        ("between 0 and 1", lambda: nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.5, 0.5)), ArgumentError),
        ("an output_size or an output_ratio", lambda: F.fractional_max_pool2d(X, 2), ArgumentError),
        ("of at least 0", lambda: F.fractional_max_pool2d(X, 2, output_ratio=-0.5), ArgumentError),
        ("kernel_size is 0", lambda: F.fractional_max_pool2d(X, 0, 2), ArgumentError),
        ("output_size is", lambda: F.fractional_max_pool2d(X, 2, (2, 2, 2)), ArgumentError),
        ("too few for 6 windows of 2", lambda: F.fractional_max_pool2d(X, 2, 6), ShapeError),
        ("4 or 5 axes", lambda: F.fractional_max_pool3d(wf.zeros((6, 6, 6)), 2, 2), ShapeError),
        ("floating", lambda: F.fractional_max_pool2d(wf.zeros((1, 6, 6), dtype="int32"), 2, 2), DTypeError),
        (
            r"_random_samples \(1, 3, 2\) must be \(2, 3, 2\)",
            lambda: F.fractional_max_pool2d(X, 2, 3, _random_samples=wf.zeros((1, 3, 2))),
            ShapeError,
        ),
        (
            "_random_samples of float64",
            lambda: F.fractional_max_pool2d(X, 2, 3, _random_samples=wf.zeros((2, 3, 2), dtype="float64")),
            DTypeError,
        ),
    ],
)
def test_what_is_wrong_is_said(message: str, wrong: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=message):
        wrong()


@pytest.mark.parametrize("sample", [-4.0, 1.0, 1e9, float("nan"), float("inf")])
def test_no_sample_leads_out_of_the_input(sample: float) -> None:
    _, at = F.fractional_max_pool2d_with_indices(X, 2, 3, _random_samples=wf.full((2, 3, 2), sample))
    assert int(at.min()) >= 0 and int(at.max()) < 36

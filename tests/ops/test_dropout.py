"""Dropout: its mean, its stream, its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def test_dropout_keeps_the_mean_and_scales_what_is_left() -> None:
    y = F.dropout(wf.ones((200, 200)), 0.25, generator=wf.random.Generator(3)).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.01


def test_dropout_of_one_seed_is_the_same_eager_and_compiled() -> None:
    x = wf.asarray(RNG.normal(size=(8, 33)).astype(np.float32))
    generator = wf.random.Generator(5)
    eager = [F.dropout(x, 0.5, generator=generator).numpy().tobytes() for _ in range(3)]
    again = wf.random.Generator(5)
    compiled = wf.compile(lambda t: F.dropout(t, 0.5, generator=again))
    assert [compiled(x).numpy().tobytes() for _ in range(3)] == eager
    assert len(set(eager)) == 3


def test_dropout_gradient_passes_where_the_value_did() -> None:
    x = wf.ones((100,)).requires_grad_()
    y = F.dropout(x, 0.5)
    y.sum().backward()
    assert x.grad.numpy().tobytes() == y.numpy().tobytes()


def test_dropout_is_the_identity_outside_training() -> None:
    x = wf.ones((3,))
    assert F.dropout(x, 0.9, training=False) is x
    assert F.dropout(x, 0.0) is x
    assert F.dropout(x, 1.0).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"dropout: p is 1\.5"):
        F.dropout(x, 1.5)


CHANNELS = [
    (F.dropout1d, (50, 6, 7), 2),
    (F.dropout1d, (300, 7), 1),
    (F.dropout2d, (50, 6, 3, 2), 2),
    (F.dropout2d, (50, 6, 3), 2),
    (F.dropout2d, (50, 6), 2),
    (F.dropout3d, (50, 6, 3, 2, 2), 2),
    (F.dropout3d, (300, 3, 2, 2), 1),
]


@pytest.mark.parametrize(("drop", "shape", "axes"), CHANNELS)
def test_channels_are_dropped_as_wholes(drop: Any, shape: tuple[int, ...], axes: int) -> None:
    y = drop(wf.ones(shape), 0.25, generator=wf.random.Generator(3)).numpy().reshape(*shape[:axes], -1)
    assert (y == y[..., :1]).all() and set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y[..., 0] == 0).mean() - 0.25) < 0.08


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p: float) -> None:
    x = wf.asarray(RNG.normal(size=(400, 100)).astype(np.float32))
    y = F.alpha_dropout(x, p, training=True, generator=wf.random.Generator(1)).numpy()
    assert abs(y.mean()) < 0.03 and abs(y.std() - 1) < 0.03
    assert F.alpha_dropout(x, p) is x


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_is_pytorchs_up_to_which_are_dropped(name: str, p: float) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=(30, 20, 4)).astype(np.float32)
    found = (
        getattr(F, name)(wf.asarray(x), p, True).numpy(),
        getattr(torch.nn.functional, name)(torch.tensor(x), p, True),
    )
    lines = []
    for values in map(np.asarray, found):
        numbers, counts = np.unique(values, return_counts=True)
        dropped = values == numbers[counts.argmax()]
        assert abs(dropped.mean() - p) < 0.1
        assert name == "alpha_dropout" or set(np.unique(dropped.sum(-1))) == {0, 4}
        lines.append([*np.polyfit(x[~dropped], values[~dropped], 1), numbers[counts.argmax()]])
    np.testing.assert_allclose(lines[0], lines[1], rtol=1e-4, atol=1e-5)


def test_alpha_dropout_of_all_is_0() -> None:
    for drop in (F.alpha_dropout, F.feature_alpha_dropout):
        assert not drop(wf.ones((3, 4)), 1.0, True).numpy().any()


DROPS = [F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout]


@pytest.mark.parametrize("drop", DROPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_a_seed_gives_one_stream_eagerly_and_compiled(drop: Any, dtype: str) -> None:
    shape = (4, 6, 3, 2, 2)[: {"1": 3, "3": 5}.get(drop.__name__[-2], 4)]
    x = wf.asarray(RNG.normal(size=shape)).astype(dtype)
    eager, again = wf.random.Generator(5), wf.random.Generator(5)

    def both(t: Any, generator: Any) -> Any:
        return wf.value_and_grad(lambda t: (drop(t, 0.4, training=True, generator=generator) ** 2).sum())(t)

    compiled = wf.compile(lambda t: both(t, again))
    for _ in range(3):
        for a, b in zip(both(x, eager), compiled(x), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes() and a.dtype is x.dtype


def test_mistakes_name_the_function() -> None:
    for drop, shape in (
        (F.dropout1d, (3,)),
        (F.dropout2d, (2,)),
        (F.dropout3d, (2, 3)),
        (F.feature_alpha_dropout, (3,)),
    ):
        with pytest.raises(wf.ShapeError, match=f"{drop.__name__}: wants an input"):
            drop(wf.ones(shape))
    for drop in DROPS:
        shape = (2, 3, 3, 2, 2)[: {"1": 3, "3": 5}.get(drop.__name__[-2], 4)]
        with pytest.raises(wf.DTypeError, match=f"{drop.__name__}: int32"):
            drop(wf.ones(shape, dtype=wf.int32), training=True)
        with pytest.raises(ValueError, match=f"{drop.__name__}: p is -1"):
            drop(wf.ones(shape), -1.0)

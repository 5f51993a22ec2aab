"""Dropout: its mean, its stream, its gradient."""

from __future__ import annotations

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

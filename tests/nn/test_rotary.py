"""Positions as angles: both conventions as other libraries have them, far positions, captured code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

RNG = np.random.default_rng(0)


def as_in_transformers(x: Any, positions: Any, base: float) -> Any:
    """``x * cos + rotate_half(x) * sin``."""
    half = x.shape[-1] // 2
    angle = np.asarray(positions)[..., None] / base ** (np.arange(half) / half)
    cos, sin = (np.concatenate([f(angle)] * 2, -1) for f in (np.cos, np.sin))
    return x * cos + np.concatenate([-x[..., half:], x[..., :half]], -1) * sin


def as_in_torchtune(x: Any, positions: Any, base: float) -> Any:
    """Pairs of neighbours, stacked again."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    angle = np.asarray(positions)[..., None] / base ** (np.arange(x.shape[-1] // 2) * 2 / x.shape[-1])
    cos, sin = np.cos(angle), np.sin(angle)
    turned = (pairs[..., 0] * cos - pairs[..., 1] * sin, pairs[..., 1] * cos + pairs[..., 0] * sin)
    return np.stack(turned, -1).reshape(x.shape)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("base", [10000.0, 500.0])
def test_positions_of_all_kinds(interleaved: bool, base: float) -> None:
    x, wanted = RNG.normal(size=(2, 3, 5, 8)), as_in_torchtune if interleaved else as_in_transformers
    turn, t = nn.RotaryEmbedding(8, base, interleaved), wf.asarray(x)
    many = RNG.integers(0, 50, (2, 5))
    for position, places in (
        (0, np.arange(5)),
        (7, np.arange(5) + 7),
        (wf.asarray(7), np.arange(5) + 7),
        (wf.asarray(many[0]), many[0]),
        (wf.asarray(many), many[:, None]),
    ):
        np.testing.assert_allclose(turn(t, position).numpy(), wanted(x, places, base), rtol=1e-11, atol=1e-12)
    assert turn(t).numpy().tobytes() == turn(t, 0).numpy().tobytes()


def test_scores_hang_on_distances_alone() -> None:
    q, k = wf.asarray(RNG.normal(size=(1, 16))), wf.asarray(RNG.normal(size=(1, 16)))
    turn = nn.RotaryEmbedding(16)
    scores = [(turn(q, at + 3) @ turn(k, at).mT).item() for at in (0, 10, 100_000)]
    assert scores == pytest.approx([scores[0]] * 3, rel=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_far_positions_are_as_exact_as_near_ones(dtype: str) -> None:
    x = RNG.normal(size=(2, 8)).astype(np.float32)
    t = wf.asarray(x).astype(dtype)
    got = nn.RotaryEmbedding(8).to(dtype)(t, 1_000_000).astype("float64").numpy()
    wanted = as_in_transformers(t.astype("float64").numpy(), np.arange(2) + 1_000_000, 10000.0)
    tolerance = 1e-2 if dtype == "bfloat16" else 1e-5
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_fewer_features_and_scaled_positions() -> None:
    x = RNG.normal(size=(3, 8))
    got = nn.RotaryEmbedding(4, scale=0.25)(wf.asarray(x), 8).numpy()
    np.testing.assert_allclose(got[:, :4], as_in_transformers(x[:, :4], (np.arange(3) + 8) / 4, 10000.0), rtol=1e-12)
    assert got[:, 4:].tobytes() == np.ascontiguousarray(x[:, 4:]).tobytes()


def test_compiled_code_has_the_bits_of_eager_code_for_all_positions_and_lengths() -> None:
    turn = nn.RotaryEmbedding(8)
    for position in (lambda n: n, lambda n: wf.asarray(n)):
        compiled: Any = wf.compile(lambda x, at: turn(x, at))
        for n, length in enumerate((5, 5, 5, 6, 7, 9, 1)):
            x = wf.asarray(RNG.normal(size=(2, length, 8)).astype(np.float32))
            assert compiled(x, position(n)).numpy().tobytes() == turn(x, position(n)).numpy().tobytes()
        assert len(compiled.cache_info().graphs) <= 4


def test_it_has_no_state() -> None:
    turn = nn.RotaryEmbedding(8)
    assert not turn.state_dict() and not list(turn.buffers())
    assert repr(turn) == "RotaryEmbedding(8, base=10000.0, interleaved=False)"
    assert (
        repr(nn.RotaryEmbedding(8, 500, True, scale=0.5)) == "RotaryEmbedding(8, base=500, interleaved=True, scale=0.5)"
    )


X = wf.ones((3, 8))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.RotaryEmbedding(7), ValueError, "dim is 7"),
        (lambda: nn.RotaryEmbedding(8, 0.0), ValueError, "base 0.0"),
        (lambda: nn.RotaryEmbedding(8)(wf.ones(8)), wf.ShapeError, r"x \(8,\)"),
        (lambda: nn.RotaryEmbedding(8)(wf.ones((3, 4))), wf.ShapeError, "turns 4 pairs of features"),
        (lambda: nn.RotaryEmbedding(8)(X, wf.zeros((2, 3), dtype="int64")), wf.ShapeError, r"positions \(2, 3\)"),
        (lambda: nn.RotaryEmbedding(8)(X, wf.zeros(2, dtype="int64")), wf.ShapeError, r"\(2, 4\)"),
        (lambda: nn.RotaryEmbedding(8)(X, wf.zeros(3, dtype="bool")), wf.DTypeError, "positions are bool"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

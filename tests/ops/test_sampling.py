"""Draws of categories: their frequencies, their bits, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.ops import sampling

CHANCES = np.array([0.0, 1.0, 3.0, 0.0, 4.0], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("replacement", [True, False])
def test_frequencies(replacement: bool, dtype: str) -> None:
    p, count = wf.asarray(CHANCES.astype(dtype)), 4000
    wf.manual_seed(0)
    found = wf.multinomial(p, count, True) if replacement else wf.multinomial(p.expand(count, 5), 1)
    counts = np.bincount(found.numpy().reshape(-1), minlength=5)
    assert found.dtype is wf.int64 and counts[[0, 3]].tolist() == [0, 0]
    np.testing.assert_allclose(counts / count, CHANCES / CHANCES.sum(), atol=0.03)


def test_without_replacement_none_comes_twice() -> None:
    found = wf.multinomial(wf.asarray(CHANCES).expand(50, 5), 3).numpy()
    assert all(sorted(row) == [1, 2, 4] for row in found)
    assert {tuple(row) for row in found} > {(4, 2, 1)}
    assert sorted(wf.asarray(CHANCES).multinomial(5).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("scale", [1e38, 1e-45])
def test_weights_at_the_ends_of_a_dtype(scale: float, replacement: bool) -> None:
    p = wf.asarray(np.tile(np.array([0, 3, 0, 3, 3, 0], np.float32) * np.float32(scale), (300, 1)))
    found = wf.multinomial(p, 2, replacement).numpy()
    assert set(np.unique(found)) == {1, 3, 4}
    assert np.bincount(found[:, 0]).min(where=[False, True, False, True, True], initial=300) > 60


def test_many_samples_of_many_categories_are_those_that_few_are() -> None:
    """Which are counted in order, where few are compared one by one."""
    p = wf.asarray(np.maximum(np.random.default_rng(0).normal(size=3000), 0.0).astype(np.float32))
    many, few = (wf.multinomial(p, n, True, generator=wf.random.Generator(1)).numpy() for n in (4000, 100))
    assert (many[:100] == few).all() and (p.numpy()[many] > 0.0).all()
    both = wf.multinomial(wf.stack([p, p]), 2000, True, generator=wf.random.Generator(1)).numpy()
    assert (both.reshape(-1) == many).all()


def test_the_last_category_may_have_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 less than float32 knows of."""
    most = lambda state, shape, dtype: wf.full(shape, 1.0 - 2.0**-53, dtype=dtype)  # noqa: E731
    monkeypatch.setattr(sampling, "draw_uniform", most)
    state = wf.random.Generator(0).next()
    for last, drawn in ((2.0**-40, 1), (0.0, 0)):
        p = wf.asarray([1.0, last], dtype=wf.float64)
        draw = wf.compile(lambda p: sampling._multinomial.function(p, state, 3, True))
        assert draw(p).tolist() == [drawn] * 3


@pytest.mark.parametrize("replacement", [True, False])
def test_the_stream_is_the_same_in_all_modes(replacement: bool) -> None:
    p = wf.asarray(np.random.default_rng(0).random((3, 40)).astype(np.float32))

    def call(p: Any) -> Any:
        return wf.multinomial(p, 4, replacement), wf.random.uniform(3)

    found = []
    for function in (call, wf.compile(call)):
        wf.manual_seed(5)
        found.append([x.numpy().tobytes() for _ in range(2) for x in function(p)])
    assert found[0] == found[1] and found[0][0] != found[0][2]
    generator = wf.random.Generator(5)
    assert wf.multinomial(p, 4, replacement, generator=generator).numpy().tobytes() == found[0][0]


@pytest.mark.parametrize(
    ("p", "count", "message"),
    [
        ([1.0, 1.0], 3, "without replacement there are 2 categories"),
        ([1.0, 1.0], 0, "num_samples is 0"),
        ([-1.0, 1.0], 1, "negative, infinite or NaN"),
        ([float("nan"), 1.0], 1, "negative, infinite or NaN"),
        ([0.0, 0.0], 1, "no element of a row of input is above 0"),
    ],
)
def test_what_is_refused(p: Any, count: int, message: str) -> None:
    with pytest.raises(wf.ArgumentError, match=message):
        wf.multinomial(wf.asarray(p), count)


def test_no_categories() -> None:
    for shape in ((0,), (2, 0)):
        with pytest.raises(wf.ArgumentError, match="has no categories"):
            wf.multinomial(wf.zeros(shape), 1, True)


def test_operands_that_do_not_fit() -> None:
    with pytest.raises(wf.DTypeError, match="probabilities are floating"):
        wf.multinomial(wf.asarray([1, 2]), 1)
    with pytest.raises(wf.ShapeError, match=r"must be \(C,\) or \(N, C\)"):
        wf.multinomial(wf.ones((1, 2, 3)), 1)


@pytest.mark.parametrize(("replacement", "count"), [(True, 700), (False, 3)])
def test_a_saved_model_draws_from_any_number_of_categories(replacement: bool, count: int, tmp_path: Path) -> None:
    def draw(p: Any) -> Any:
        return wf.multinomial(p, count, replacement, generator=wf.random.Generator(3))

    wf.save(draw, tmp_path / "net.onnx", example=wf.ones((2, 5)), dynamic={"n": (0, 1)})
    loaded = wf.load(tmp_path / "net.onnx")
    for categories in (3, 600):
        p = wf.asarray(np.random.default_rng(0).random((2, categories)).astype(np.float32))
        assert (loaded(p) == draw(p)).all()
    with pytest.raises(wf.ShapeError):
        loaded(wf.ones((2, 0)))

"""Rotary embedding: both conventions against complex numbers, gradients, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def reference(x: Any, angles: Any, interleaved: bool) -> Any:
    """Pairs as complex numbers, turned by multiplication."""
    dim = 2 * angles.shape[-1]
    y = np.array(x, np.float64)
    first, second = (slice(0, dim, 2), slice(1, dim, 2)) if interleaved else (slice(0, dim // 2), slice(dim // 2, dim))
    turned = (y[..., first] + 1j * y[..., second]) * np.exp(1j * angles)
    y[..., first], y[..., second] = turned.real, turned.imag
    return y


def given(*shape: int) -> tuple[Any, Any]:
    return RNG.normal(size=shape), RNG.normal(size=(shape[-2], shape[-1] // 2)) * 3


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 5, 8), (3, 1, 2), (2, 0, 4), (0, 3, 6), (1, 70, 64)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values(interleaved: bool, shape: tuple[int, ...], dtype: str) -> None:
    x, angles = given(*shape)
    c, s = (wf.asarray(f(angles)).astype(dtype) for f in (np.cos, np.sin))
    got = F.apply_rotary_embedding(wf.asarray(x).astype(dtype), c, s, interleaved)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(got.numpy(), reference(x, angles, interleaved), rtol=tolerance, atol=tolerance)
    assert got.dtype.name == dtype


@pytest.mark.parametrize("interleaved", [False, True])
def test_features_behind_the_angles_stay(interleaved: bool) -> None:
    x, angles = RNG.normal(size=(2, 3, 10)), RNG.normal(size=(3, 2))
    got = F.apply_rotary_embedding(wf.asarray(x), wf.asarray(np.cos(angles)), wf.asarray(np.sin(angles)), interleaved)
    np.testing.assert_allclose(got.numpy(), reference(x, angles, interleaved), rtol=1e-12, atol=1e-14)
    assert got.numpy()[..., 4:].tobytes() == np.ascontiguousarray(x[..., 4:]).tobytes()


@pytest.mark.parametrize("interleaved", [False, True])
def test_the_gradient_is_turned_back(interleaved: bool) -> None:
    x, angles = given(2, 3, 8)
    g = RNG.normal(size=x.shape)
    t = wf.asarray(x).requires_grad_()
    y = F.apply_rotary_embedding(t, wf.asarray(np.cos(angles)), wf.asarray(np.sin(angles)), interleaved)
    (y * wf.asarray(g)).sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), reference(g, -angles, interleaved), rtol=1e-12, atol=1e-14)


def test_gradients_of_the_angles_are_slopes() -> None:
    x, angles = given(2, 3, 4)
    g = RNG.normal(size=x.shape)
    got = wf.grad(lambda a: (F.apply_rotary_embedding(wf.asarray(x), wf.cos(a), wf.sin(a)) * wf.asarray(g)).sum())(
        wf.asarray(angles)
    ).numpy()
    for at in np.ndindex(angles.shape):
        h = np.zeros_like(angles)
        h[at] = 1e-6
        slope = ((reference(x, angles + h, False) - reference(x, angles - h, False)) * g).sum() / 2e-6
        assert got[at] == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    x, angles = given(2, 3, 8)
    c, s = wf.asarray(np.cos(angles).astype(np.float32)), wf.asarray(np.sin(angles).astype(np.float32))
    narrow = wf.asarray(x.astype(np.float32)).astype(dtype)
    got = F.apply_rotary_embedding(narrow, c, s)
    wide = F.apply_rotary_embedding(narrow.astype("float32"), c, s)
    assert got.dtype.name == dtype and got.numpy().tobytes() == wide.astype(dtype).numpy().tobytes()


C = wf.ones((3, 4))


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((wf.ones((2, 3, 6)), C, C), wf.ShapeError, r"cos \(3, 4\) turns 4 pairs of features; x \(2, 3, 6\)"),
        ((wf.ones((2, 3, 8)), C, wf.ones((3, 3))), wf.ShapeError, r"cos \(3, 4\), sin \(3, 3\)"),
        ((wf.ones(8), C, C), wf.ShapeError, r"x \(8,\)"),
        ((wf.ones((2, 5, 8)), C, C), wf.ShapeError, r"\(3, 4\)"),
        ((wf.ones((1, 8)), C, C), wf.ShapeError, r"does not broadcast to x \(1, 8\)"),
        ((wf.ones((3, 8), dtype="int64"), C, C), wf.DTypeError, "int64"),
    ],
)
def test_operands_that_do_not_fit(args: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        F.apply_rotary_embedding(*args)

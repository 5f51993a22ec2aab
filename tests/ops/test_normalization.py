"""Normalization against NumPy, and its errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def np_layer_norm(x: Any, rank: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(x.ndim - rank, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def np_rms_norm(x: Any, rank: int, weight: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(x.ndim - rank, x.ndim))
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


def slope(f: Any, x: Any) -> Any:
    """Central differences of a scalar function."""
    result = np.empty_like(x)
    for at in np.ndindex(x.shape):
        h = np.zeros_like(x)
        h[at] = 1e-6
        result[at] = (f(x + h) - f(x - h)) / 2e-6
    return result


@pytest.mark.parametrize(
    ("shape", "rank"), [((4, 7), 1), ((2, 3, 4), 2), ((5,), 1), ((3, 1), 1), ((0, 4), 1), ((6, 300), 1)]
)
@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm_and_rms_norm(shape: tuple[int, ...], rank: int, affine: bool) -> None:
    x = (RNG.normal(size=shape) * 3 + 1).astype(np.float32)
    last = shape[-rank:]
    w, b = (
        (RNG.normal(size=last).astype(np.float32), RNG.normal(size=last).astype(np.float32)) if affine else (None, None)
    )
    tensors = [None if v is None else wf.asarray(v) for v in (w, b)]
    wide = x.astype(np.float64)
    np.testing.assert_allclose(
        F.layer_norm(wf.asarray(x), last, *tensors).numpy(), np_layer_norm(wide, rank, w, b), rtol=2e-5, atol=2e-5
    )
    np.testing.assert_allclose(
        F.rms_norm(wf.asarray(x), last, tensors[0], 1e-5).numpy(), np_rms_norm(wide, rank, w), rtol=2e-5, atol=2e-5
    )


def test_gradients_are_slopes() -> None:
    x, w, b, v = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=5), RNG.normal(size=(3, 5))
    args = [wf.asarray(a) for a in (x, w, b)]

    def loss(*t: Any) -> Any:
        return wf.sum(F.layer_norm(t[0], 5, t[1], t[2]) * wf.asarray(v))

    for k in range(3):

        def at(a: Any, k: int = k) -> Any:
            given = [a if i == k else o for i, o in enumerate((x, w, b))]
            return (np_layer_norm(given[0], 1, given[1], given[2]) * v).sum()

        np.testing.assert_allclose(
            wf.grad(loss, argnums=k)(*args).numpy(), slope(at, (x, w, b)[k]), rtol=1e-5, atol=1e-7
        )
    got = wf.grad(lambda t: wf.sum(F.rms_norm(t, (5,), args[1]) * wf.asarray(v)))(args[0]).numpy()
    np.testing.assert_allclose(
        got, slope(lambda a: (np_rms_norm(a, 1, w, 2.0**-52) * v).sum(), x), rtol=1e-5, atol=1e-7
    )


def test_rows_do_not_depend_on_the_batch() -> None:
    x = RNG.normal(size=(9, 133)).astype(np.float32)
    whole = F.layer_norm(wf.asarray(x), 133).numpy()
    assert all(F.layer_norm(wf.asarray(x[i : i + 1]), 133).numpy().tobytes() == whole[i].tobytes() for i in range(9))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    x = wf.astype(wf.asarray(RNG.normal(size=(4, 50)).astype(np.float32)), dtype)
    got, wide = F.layer_norm(x, 50), F.layer_norm(wf.astype(x, "float32"), 50)
    assert got.dtype.name == dtype and got.numpy().tobytes() == wf.astype(wide, dtype).numpy().tobytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.layer_norm(wf.zeros((2, 3)), (2,)), wf.ShapeError, r"layer_norm: input \(2, 3\) does not end with"),
        (lambda: F.layer_norm(wf.zeros((2, 3)), 3, wf.zeros((2,))), wf.ShapeError, r"layer_norm: weight \(2,\)"),
        (lambda: F.layer_norm(wf.asarray([[1, 2]]), 2), wf.DTypeError, "layer_norm: int64 operands"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

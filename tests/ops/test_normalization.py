"""Normalization, dropout, embedding and one-hot against NumPy, and their errors."""

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


# --- dropout ----------------------------------------------------------------------------------------------------


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


# --- embedding and one-hot --------------------------------------------------------------------------------------


def test_embedding_takes_rows_and_adds_up_gradients() -> None:
    table = RNG.normal(size=(5, 3)).astype(np.float32)
    index = np.array([[1, 4], [1, 0]])
    weight = wf.asarray(table).requires_grad_()
    rows = F.embedding(wf.asarray(index), weight)
    assert rows.numpy().tobytes() == table[index].tobytes()
    rows.sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [1.0, 2.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("padding", [1, -4])
def test_the_padding_row_gets_no_gradient(padding: int) -> None:
    weight = wf.ones((5, 2)).requires_grad_()
    F.embedding(wf.asarray([1, 2, 1]), weight, padding).sum().backward()
    assert weight.grad.numpy()[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("index", [5, -1])
def test_an_index_out_of_range_raises(index: int) -> None:
    with pytest.raises(IndexError, match=f"embedding: index {index} is out of range"):
        F.embedding(wf.asarray([0, index]), wf.zeros((5, 2)))
    with pytest.raises(IndexError, match=f"one_hot: index {index} is out of range"):
        F.one_hot(wf.asarray([0, index]), 5)


def test_one_hot() -> None:
    labels = np.array([[2, 0], [1, 2]])
    got = F.one_hot(wf.asarray(labels))
    assert got.dtype is wf.int64 and (got.numpy() == np.eye(3, dtype=np.int64)[labels]).all()
    assert F.one_hot(wf.asarray(labels), 5).shape == (2, 2, 5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.layer_norm(wf.zeros((2, 3)), (2,)), wf.ShapeError, r"layer_norm: input \(2, 3\) does not end with"),
        (lambda: F.layer_norm(wf.zeros((2, 3)), 3, wf.zeros((2,))), wf.ShapeError, r"layer_norm: weight \(2,\)"),
        (lambda: F.layer_norm(wf.asarray([[1, 2]]), 2), wf.DTypeError, "layer_norm: int64 operands"),
        (lambda: F.embedding(wf.zeros((2,)), wf.zeros((5, 2))), wf.DTypeError, "embedding: indices are float32"),
        (lambda: F.embedding(wf.asarray([1]), wf.zeros((5,))), wf.ShapeError, r"embedding: weight \(5,\)"),
        (lambda: F.one_hot(wf.asarray([1.0]), 3), wf.DTypeError, "one_hot: indices are float32"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

"""Embedding and one-hot against NumPy, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


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
        (lambda: F.embedding(wf.zeros((2,)), wf.zeros((5, 2))), wf.DTypeError, "embedding: indices are float32"),
        (lambda: F.embedding(wf.asarray([1]), wf.zeros((5,))), wf.ShapeError, r"embedding: weight \(5,\)"),
        (lambda: F.one_hot(wf.asarray([1.0]), 3), wf.DTypeError, "one_hot: indices are float32"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

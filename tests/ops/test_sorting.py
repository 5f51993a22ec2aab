"""Sorting: positions, values and gradients as PyTorch's stable ones; the same bits in all modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf

torch = pytest.importorskip("torch", reason="the parity extra is not installed")


def drawn(dtype: str, *shape: int) -> Any:
    """Elements of which many are equal; of floats NaN, infinities and both zeros too."""
    rng = np.random.default_rng(len(shape))
    x = rng.integers(0, 2 if dtype == "bool" else 30, shape).astype(dtype)
    if x.dtype.kind == "f":
        for value in (np.nan, -0.0, np.inf, -np.inf):
            x[rng.random(shape) < 0.1] = value
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"])
@pytest.mark.parametrize("descending", [False, True])
def test_order_is_pytorchs(dtype: str, descending: bool) -> None:
    for shape in ((1, 1), (3, 2), (17, 7), (2, 64), (2, 65), (3, 300)):
        x = drawn(dtype, *shape)
        expected = torch.sort(torch.tensor(x), stable=True, dim=1, descending=descending)
        found = wf.asarray(x).sort(1, descending)
        np.testing.assert_array_equal(found.indices.numpy(), expected.indices.numpy())
        np.testing.assert_array_equal(found.values.numpy(), expected.values.numpy())
        for k in sorted({0, 1, shape[1] // 2, shape[1]}):
            most = wf.topk(wf.asarray(x), k, largest=descending)
            np.testing.assert_array_equal(most.indices.numpy(), expected.indices.numpy()[:, :k])
            np.testing.assert_array_equal(most.values.numpy(), expected.values.numpy()[:, :k])


def test_few_of_many_in_the_worst_order() -> None:
    up = np.arange(5000, dtype=np.float32)
    for x in (up, up[::-1].copy(), np.zeros_like(up)):
        for largest in (True, False):
            order = np.argsort(-x if largest else x, kind="stable")[:7]
            assert wf.topk(wf.asarray(x), 7, largest=largest).indices.tolist() == order.tolist()


def test_any_axis_and_layout() -> None:
    x = drawn("float32", 4, 5, 6)
    for axis in (0, 1, -1):
        for mine, other in ((wf.asarray(x), torch.tensor(x)), (wf.asarray(x).mT, torch.tensor(x).mT)):
            expected = other.sort(dim=axis, stable=True)
            found = mine.sort(dim=axis)
            np.testing.assert_array_equal(found.indices.numpy(), expected.indices.numpy())
            assert (mine.argsort(axis) == found.indices).all() and mine.msort().shape == mine.shape
            np.testing.assert_array_equal(wf.sort(mine, axis=axis).numpy(), found.values.numpy())


def test_gradients_go_where_values_came_from() -> None:
    x = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(3, 9)).astype(np.float32)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    for lib, leaf in ((wf, mine), (torch, other)):
        w = (wf.asarray if lib is wf else torch.tensor)(weights)
        ((leaf.sort(1).values * w).sum() + (leaf.topk(4, 1).values * w[:, :4]).sum()).backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-6)


def test_compiled_has_the_same_bits_for_any_size() -> None:
    def call(x: Any) -> Any:
        values, indices = x.topk(2)
        return values * 2.0, indices, (x + 1.0).argsort(0)

    compiled = wf.compile(call)
    for rows, count in ((3, 5), (4, 70), (9, 300), (2, 2), (40, 6)):
        x = wf.asarray(drawn("float32", rows, count))
        for a, b in zip(call(x), compiled(x), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_what_is_refused() -> None:
    with pytest.raises(wf.ShapeError, match=r"topk: k is 4; axis 1 of \(2, 3\) has 3 elements"):
        wf.topk(wf.ones((2, 3)), 4)
    with pytest.raises(wf.ShapeError, match="k is -1"):
        wf.ones(3).topk(-1)
    with pytest.raises(wf.AxisError, match="sort"):
        wf.ones(3).sort(1)
    with pytest.raises(wf.AxisError, match=r"^sort: None is not an axis"):
        wf.ones(3).sort(None)
    with pytest.raises(wf.ArgumentError, match="k must be given"):
        wf.ones(3).topk()

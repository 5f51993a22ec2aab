"""Sorting: positions, values and gradients as PyTorch's stable ones; the same bits in all modes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_every_dtype_keeps_all_of_its_values_apart() -> None:
    """Neighbours at the ends and around 0, in no order: both zeros are one value, NaN and -NaN another."""
    rng = np.random.default_rng(0)
    for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        assert_ordered(rng.permutation(np.array([low, low + 1, 0, 1, 2, high - 1, high, 0, low, high], dtype)))
    assert_ordered(rng.permutation(np.arange(10) % 2 == 0))
    for kind in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        about = ml_dtypes.finfo(kind)
        positive = [about.smallest_subnormal, about.tiny, 1.0, 1.0 + float(about.eps), about.max, np.inf, 0.0, np.nan]
        assert_ordered(rng.permutation(np.array([s * float(x) for x in positive for s in (1, -1)] * 2).astype(kind)))


def assert_ordered(x: Any) -> None:
    """Both orders of an array of rank 1 are NumPy's stable ones, and values are the very elements."""
    wide = x.astype(np.float64) if x.dtype.kind not in "iub" else x  # which has NumPy's order of NaN
    for descending in (False, True):
        order = (
            x.size - 1 - np.argsort(wide[::-1], kind="stable")[::-1] if descending else np.argsort(wide, kind="stable")
        )
        found = wf.asarray(x).sort(descending=descending)
        assert found.indices.tolist() == order.tolist(), (x.dtype, descending)
        assert found.values.numpy().tobytes() == x[order].tobytes(), (x.dtype, descending)


def test_many_elements() -> None:
    """More than fit into a cache; in order already; all the same; few values."""
    n, rng = 100_000, np.random.default_rng(0)
    up = np.arange(n, dtype=np.float32)
    for x in (
        rng.normal(size=n),
        up,
        up[::-1].copy(),
        up * 0,
        rng.integers(-3, 3, n),
        rng.integers(-(2**62), 2**62, n),
    ):
        assert_ordered(x)
        for k in (1, 24, 25, 1000, n - 1):
            order = np.argsort(x, kind="stable")[:k]
            assert wf.topk(wf.asarray(x), k, largest=False).indices.tolist() == order.tolist()


@pytest.mark.parametrize("dtype", ["float32", "int64", "bfloat16"])
def test_none_and_one(dtype: str) -> None:
    for shape, axis in (((0,), 0), ((3, 0), 1), ((0, 3), 1), ((0, 3), 0), ((1,), 0), ((4, 1), 1), ((1, 4), 0), ((), 0)):
        x = wf.ones(shape, dtype=dtype)
        for found in (x.sort(axis), x.topk(shape[axis] if shape else 1, axis)):
            assert tuple(found.values.shape) == tuple(found.indices.shape) == shape
            assert found.values.dtype is x.dtype and found.indices.dtype is wf.int64
            assert (found.indices == 0).all() and (found.values == 1).all()
    assert tuple(wf.ones((3, 2), dtype=dtype).topk(0).values.shape) == (3, 0)


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


@settings(max_examples=25)
@given(st.integers(1, 40), st.sampled_from([1, 2, 24, 25, 63, 64, 65, 700]), st.data())
def test_bits_of_all_modes_and_threads(rows: int, count: int, data: st.DataObject) -> None:
    """Eager, compiled, compiled for any size, on one thread and on several."""
    dtype, k = data.draw(st.sampled_from(["float32", "float64", "int8", "bool"])), data.draw(st.integers(1, count))
    descending, x = data.draw(st.booleans()), wf.asarray(drawn(dtype, rows, count))

    def call(x: Any) -> Any:
        return *x.topk(k, largest=descending), *x.sort(0, descending), x.mT.argsort(0, descending)

    sized = wf.compile(call)
    wanted = [a.numpy().tobytes() for a in call(x)]
    sized(wf.asarray(drawn(dtype, rows + 1, count + 3)))
    before = wf.get_num_threads()
    try:
        for threads in (1, 3):
            wf.set_num_threads(threads)
            for function in (call, wf.compile(call), sized):
                assert [a.numpy().tobytes() for a in function(x)] == wanted
    finally:
        wf.set_num_threads(before)


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
    with pytest.raises(wf.DTypeError, match="topk: sorted is 'no'; it must be True or False"):
        wf.topk(wf.ones(3), 1, sorted="no")


def test_long_rows_share_room() -> None:
    """So long that there is room for four at a time: the others come after them."""
    rows = np.random.default_rng(0).standard_normal((6, 1 << 20), np.float32)
    x = wf.asarray(rows)
    wf.memory.reset_peak()
    before = wf.memory.stats().current
    found = wf.argsort(x)
    assert np.array_equal(found.numpy(), rows.argsort(1, kind="stable"))
    assert wf.memory.stats().peak - before < found.nbytes + (5 * 2 * 8 << 20)

"""Pooling into parts, norms of windows, and the way back, against PyTorch; gradients, dtypes, sizes and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import check_gradient

import weft as wf
from weft.core.errors import ArgumentError, DTypeError, IndexError_, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

rng = np.random.default_rng(3)


def numbers(shape: tuple[int, ...], dtype: str = "float32", ties: bool = False) -> Any:
    """Values; ``ties``: of few, so that parts have several greatest elements."""
    values = rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape) * 4
    return values.astype(dtype)


def close(a: Any, b: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def both(x: Any) -> tuple[Any, Any]:
    return wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)


def compare_gradients(found: Any, expected: Any, mine: Any, other: Any) -> None:
    g = numbers(tuple(expected.shape))
    found.backward(wf.asarray(g))
    expected.backward(torch.tensor(g))
    close(mine.grad, other.grad)


@st.composite
def parts(draw: st.DrawFn) -> tuple[int, tuple[int, ...], Any]:
    """How many axes are pooled, a shape, and the numbers of parts."""
    rank = draw(st.integers(1, 3))
    lead = draw(st.sampled_from([(2,), (2, 3), (1, 2), (0, 3)]))
    shape = (*lead, *(draw(st.integers(1, (40, 11, 7)[rank - 1])) for _ in range(rank)))
    size = draw(st.sampled_from([1, 2, 3, 7])) if draw(st.booleans()) else None
    if size is None:
        size = tuple(draw(st.sampled_from([None, 1, 1, 2, 3, 5, 8])) for _ in range(rank))
        size = size if rank > 1 else size[0] or 4
    return rank, shape, size


@few(4, 36, parts(), st.booleans())
def test_parts_are_pytorchs(drawn: Any, ties: bool) -> None:
    parts_are_pytorchs(drawn, ties)


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(parts(), st.booleans())
def test_many_parts_are_pytorchs(drawn: Any, ties: bool) -> None:
    parts_are_pytorchs(drawn, ties)


def parts_are_pytorchs(drawn: Any, ties: bool) -> None:
    rank, shape, size = drawn
    x = numbers(shape, ties=ties)
    mine, other = both(x)
    found = getattr(F, f"adaptive_avg_pool{rank}d")(mine, size)
    expected = getattr(TF, f"adaptive_avg_pool{rank}d")(other, size)
    close(found, expected)
    compare_gradients(found, expected, mine, other)
    mine, other = both(x)
    found, at = getattr(F, f"adaptive_max_pool{rank}d")(mine, size, return_indices=True)
    expected, places = getattr(TF, f"adaptive_max_pool{rank}d")(other, size, return_indices=True)
    assert np.array_equal(found.detach().numpy(), expected.detach().numpy())
    assert np.array_equal(at.numpy(), places.numpy()) and at.dtype is wf.int64
    compare_gradients(found, expected, mine, other)


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("mean of all", lambda x: F.adaptive_avg_pool2d(x, 1)),
    ("mean of equal parts", lambda x: F.adaptive_avg_pool2d(x, (4, 3))),
    ("mean of parts that share", lambda x: F.adaptive_avg_pool2d(x, (5, 7))),
    ("mean of more parts", lambda x: F.adaptive_avg_pool2d(x, (16, 13))),
    ("mean, mixed", lambda x: F.adaptive_avg_pool2d(x, (1, None))),
    ("greatest of all", lambda x: F.adaptive_max_pool2d(x, 1)),
    ("greatest of equal parts", lambda x: F.adaptive_max_pool2d(x, (2, 9))),
    ("greatest of parts that share", lambda x: F.adaptive_max_pool2d(x, (5, 7))),
    ("norm", lambda x: F.lp_pool2d(x * x + 1.0, 3.0, 3, 2)),
    ("norm of cut windows", lambda x: F.lp_pool2d(x, 2.0, (3, 4), 3, ceil_mode=True)),
    ("back", lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape)),
    ("of lines", lambda x: F.adaptive_avg_pool1d(x[0], 4)),
    ("of volumes", lambda x: F.adaptive_max_pool3d(x, (2, 3, 4))),
]
NAMES = [c[0] for c in CALLS]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_compiled_is_eager_in_bits_and_its_gradients_too(call: Callable[[Any], Any], dtype: str) -> None:
    x = wf.asarray(numbers((2, 3, 8, 9))).astype(dtype)
    for function in (call, wf.grad(lambda y: (call(y) ** 2).sum())):
        eager, compiled = function(x), wf.compile(function)(x)
        assert bytes(eager.astype(wf.float64).numpy()) == bytes(compiled.astype(wf.float64).numpy())
        assert eager.dtype is x.dtype


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
def test_gradients_and_their_gradients_are_differences(call: Callable[[Any], Any]) -> None:
    x = numbers((1, 2, 6, 7), "float64")
    check_gradient(call, x, tolerance=1e-5)
    v = wf.asarray(numbers(x.shape, "float64"))
    gradient = wf.grad(lambda y: (call(y) ** 3).sum())
    product = wf.grad(lambda y: (gradient(y) * v).sum())(wf.asarray(x))
    step = 1e-6
    expected = (gradient(wf.asarray(x) + v * step) - gradient(wf.asarray(x) - v * step)) / (2 * step)
    np.testing.assert_allclose(product.numpy(), expected.numpy(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
def test_a_compiled_step_takes_any_batch(call: Callable[[Any], Any]) -> None:
    """Three batches: the second makes the size symbolic. An operand may be of any strides."""

    def step(x: Any, w: Any) -> Any:
        return wf.value_and_grad(lambda w: (call(x * w) ** 2).sum())(w)

    compiled, w = wf.compile(step), wf.asarray(numbers((3, 1, 1)))
    for batch in (2, 5, 3):
        x = wf.asarray(numbers((batch, 3, 9, 8))).swapaxes(2, 3)
        for a, b in zip(step(x, w), compiled(x, w), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_the_mean_of_all_takes_any_plane() -> None:
    compiled = wf.compile(lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_max_pool2d(x, 1)))
    for shape in ((2, 3, 8, 8), (2, 3, 5, 7), (4, 3, 11, 6)):
        x = numbers(shape)
        mean, most = compiled(wf.asarray(x))
        np.testing.assert_allclose(mean.numpy(), x.mean((2, 3), keepdims=True), rtol=1e-4, atol=1e-5)
        assert np.array_equal(most.numpy(), x.max((2, 3), keepdims=True))
    assert (
        str(wf.eval_shape(lambda x: F.adaptive_avg_pool2d(x, (2, 1)), wf.spec(("n", 3, 5, 7)))) == "float32[n, 3, 2, 1]"
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_not_a_number_is_the_greatest(size: int) -> None:
    x = numbers((2, 1, 8, 8))
    x[0, 0, 2, 3] = np.nan
    x[1] = -np.inf
    found, at = F.adaptive_max_pool2d(wf.asarray(x), size, return_indices=True)
    expected, places = TF.adaptive_max_pool2d(torch.tensor(x), size, return_indices=True)
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    assert np.array_equal(at.numpy(), places.numpy())


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "float16"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_maxima_of_every_dtype(dtype: str, size: int) -> None:
    x = (numbers((2, 6, 8), "float64") * 9).astype("int8").astype(dtype)
    found = F.adaptive_max_pool2d(wf.asarray(x), size)
    wanted = TF.adaptive_max_pool2d(torch.tensor(x.astype("float32")), size).numpy()
    assert found.dtype.name == dtype and np.array_equal(found.numpy().astype("float32"), wanted)


def test_no_parts_and_no_batch() -> None:
    x = wf.ones((2, 3, 4)).requires_grad_()
    for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
        assert pool(x, (0, 2)).shape == (2, 0, 2) and pool(wf.ones((0, 2, 3, 4)), 2).shape == (0, 2, 2, 2)
        pool(x, (0, 2)).sum().backward()
        assert x.grad.tolist() == np.zeros((2, 3, 4)).tolist()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("stride", [None, 2])
@pytest.mark.parametrize("norm", [2.0, 1.0, 3.0, 0.5, -2.0, float("inf"), -float("inf")])
def test_norms_are_pytorchs(rank: int, ceil_mode: bool, stride: int | None, norm: float) -> None:
    x = abs(numbers((2, 3, 11) if rank == 1 else (2, 5, 6, 7)[: 1 + rank])) + 0.1
    mine, other = both(x)
    found = getattr(F, f"lp_pool{rank}d")(mine, norm, 3, stride, ceil_mode)
    expected = getattr(TF, f"lp_pool{rank}d")(other, norm, 3, stride, ceil_mode)
    close(found, expected, 1e-4)
    g = abs(numbers(tuple(expected.shape)))
    found.backward(wf.asarray(g))
    expected.backward(torch.tensor(g))
    close(mine.grad, other.grad, 1e-3)


def test_a_window_of_zeros_has_the_norm_0_and_the_gradient_0() -> None:
    x = wf.zeros((1, 1, 4)).requires_grad_()
    y = F.lp_pool1d(x, 2.0, 2)
    y.sum().backward()
    assert y.tolist() == [[[0.0, 0.0]]] and x.grad.tolist() == [[[0.0] * 4]]


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("lead", [(3,), (2, 3)])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "n"), [(2, None, 0, 8), (3, 2, 1, 9), (3, 2, 0, 8), (2, 3, 0, 8)]
)
def test_unpooling_is_pytorchs(rank: int, lead: Any, kernel: int, stride: Any, padding: int, n: int) -> None:
    x = numbers((*lead, *(n, n - 1, n)[:rank]))
    args = (kernel, stride, padding)
    values, at = getattr(TF, f"max_pool{rank}d")(torch.tensor(x), *args, return_indices=True)
    mine, other = both(values.numpy())
    for size in (None, x.shape[len(lead) :], (*(1, 1), *x.shape[len(lead) :])):
        try:
            expected = getattr(TF, f"max_unpool{rank}d")(other, at, *args, size)
        except (RuntimeError, ValueError):  # positions beyond the usual size
            with pytest.raises((IndexError_, ArgumentError)):
                getattr(F, f"max_unpool{rank}d")(mine, wf.asarray(at.numpy()), *args, size).numpy()
            continue
        found = getattr(F, f"max_unpool{rank}d")(mine, wf.asarray(at.numpy()), *args, size)
        close(found, expected)
    expected = getattr(TF, f"max_unpool{rank}d")(other, at, *args, x.shape[len(lead) :])
    if rank == len(at.shape[1:]) and all(len(np.unique(image)) == image.size for image in at.numpy()):
        compare_gradients(found, expected, mine, other)


def test_unpooling_undoes_pooling() -> None:
    x = numbers((2, 3, 6, 8))
    values, at = F.max_pool2d(wf.asarray(x), 2, return_indices=True)
    back = F.max_unpool2d(values, at, 2).numpy()
    assert np.array_equal(back[back != 0], x[back != 0]) and (back != 0).sum() == 2 * 3 * 3 * 4
    mine, other = both(values.numpy())
    compare_gradients(F.max_unpool2d(mine, at, 2), TF.max_unpool2d(other, torch.tensor(at.numpy()), 2), mine, other)


X = wf.ones((2, 5, 6))
AT = wf.zeros((2, 5, 6), dtype=wf.int64)
MISTAKES: list[tuple[str, Callable[[], Any], type[Exception]]] = [
    ("axes", lambda: F.adaptive_avg_pool2d(X[0], 2), ShapeError),
    ("axes", lambda: F.adaptive_max_pool1d(X[None], 2), ShapeError),
    ("2 of them", lambda: F.adaptive_avg_pool2d(X, (2, 2, 2)), ArgumentError),
    ("an integer or None", lambda: F.adaptive_avg_pool1d(X, (2, 2)), ArgumentError),
    ("at least 0", lambda: F.adaptive_max_pool2d(X, -1), ArgumentError),
    ("no elements for 2 parts", lambda: F.adaptive_avg_pool2d(wf.ones((2, 0, 3)), 2), ShapeError),
    ("no elements for 2 parts", lambda: F.adaptive_max_pool2d(wf.ones((2, 0, 3)), 2), ShapeError),
    ("floating", lambda: F.adaptive_avg_pool2d(X.astype(wf.int32), 2), DTypeError),
    ("bool", lambda: F.adaptive_max_pool2d(X > 0, 2), DTypeError),
    ("no such norm", lambda: F.lp_pool2d(X, 0, 2), ArgumentError),
    ("fewer than a window", lambda: F.lp_pool2d(X, 2.0, 7), ShapeError),
    ("floating", lambda: F.lp_pool1d(X.astype(wf.int32), 2.0, 2), DTypeError),
    ("one for each element", lambda: F.max_unpool2d(X, AT[:1], 2), ShapeError),
    ("integers", lambda: F.max_unpool2d(X, X, 2), DTypeError),
    ("excluded", lambda: F.max_unpool2d(X, AT, 2, output_size=(14, 12)), ArgumentError),
    ("2 or 4 integers", lambda: F.max_unpool2d(X, AT, 2, output_size=(10,)), ArgumentError),
    ("out of range", lambda: F.max_unpool2d(X, AT + 120, 2).numpy(), IndexError_),
    ("out of range", lambda: F.max_unpool2d(X, AT - 1, 2).numpy(), IndexError_),
]


@pytest.mark.parametrize(("text", "call", "error"), MISTAKES, ids=[f"{m[0]} {k}" for k, m in enumerate(MISTAKES)])
def test_mistakes_are_named(text: str, call: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=text):
        call()

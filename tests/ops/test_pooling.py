"""Pooling against PyTorch: values, positions and gradients of any shape, stride, padding and dilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.graph.ir import Graph
from weft.nn import functional as F
from weft.transforms.capture import capture

torch = pytest.importorskip("torch")
TF = torch.nn.functional

rng = np.random.default_rng(5)


def numbers(shape: tuple[int, ...], dtype: str = "float32", ties: bool = False) -> Any:
    """Values; ``ties``: of few, so that windows have several greatest elements."""
    values = rng.integers(-2, 3, shape) if ties else rng.standard_normal(shape) * 4
    return values.astype(dtype)


@st.composite
def pools(draw: st.DrawFn) -> tuple[int, tuple[int, ...], dict[str, Any]]:
    """How many axes are pooled, a shape, and arguments that PyTorch takes."""
    rank = draw(st.integers(1, 3))
    size = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    dilation = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank))
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    stride = draw(st.one_of(st.none(), st.tuples(*[st.integers(1, 5)] * rank)))
    lead = draw(st.sampled_from([(2,), (2, 3), (1, 2), (0, 3)]))
    shape = (*lead, *(r + draw(st.integers(0, 9 if rank < 3 else 3)) for r in reach))
    arguments = {"kernel_size": size, "padding": padding, "dilation": dilation, "ceil_mode": draw(st.booleans())}
    return rank, shape, {**arguments, "stride": stride}


def torch_of(x: Any) -> torch.Tensor:
    return torch.tensor(x, requires_grad=x.dtype.kind == "f")


def close(a: Any, b: torch.Tensor) -> None:
    np.testing.assert_allclose(np.asarray(a), b.detach().numpy(), rtol=2e-5, atol=2e-5)


@few(4, 24, pools(), st.booleans())
def test_maxima_are_pytorchs(drawn: Any, ties: bool) -> None:
    maxima_are_pytorchs(drawn, ties)


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(pools(), st.booleans())
def test_many_maxima_are_pytorchs(drawn: Any, ties: bool) -> None:
    maxima_are_pytorchs(drawn, ties)


def maxima_are_pytorchs(drawn: Any, ties: bool) -> None:
    rank, shape, arguments = drawn
    x = numbers(shape, "float32", ties)
    ours, theirs = getattr(F, f"max_pool{rank}d"), getattr(TF, f"max_pool{rank}d")
    reference, given_ = torch_of(x), wf.asarray(x).requires_grad_()
    expected, at = theirs(reference, return_indices=True, **arguments)
    found, places = ours(given_, return_indices=True, **arguments)
    assert np.array_equal(found.detach().numpy(), expected.detach().numpy())
    assert np.array_equal(places.numpy(), at.numpy()) and places.dtype is wf.int64
    assert np.array_equal(ours(given_, **arguments).detach().numpy(), expected.detach().numpy())
    g = numbers(tuple(expected.shape))
    expected.backward(torch.tensor(g))
    found.backward(wf.asarray(g))
    close(given_.grad, reference.grad)


@few(5, 45, pools(), st.booleans(), st.sampled_from([None, 7, -2]))
def test_means_are_pytorchs(drawn: Any, with_padding: bool, divisor: int | None) -> None:
    rank, shape, arguments = drawn
    del arguments["dilation"]
    arguments["count_include_pad"] = with_padding
    if divisor is not None and rank > 1:
        arguments["divisor_override"] = divisor
    x = numbers(shape)
    ours, theirs = getattr(F, f"avg_pool{rank}d"), getattr(TF, f"avg_pool{rank}d")
    reference, given_ = torch_of(x), wf.asarray(x).requires_grad_()
    expected = theirs(reference, **{k: v for k, v in arguments.items() if v is not None})
    found = ours(given_, **arguments)
    close(found.detach(), expected)
    g = numbers(tuple(expected.shape))
    expected.backward(torch.tensor(g))
    found.backward(wf.asarray(g))
    close(given_.grad, reference.grad)


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("greatest", lambda x: F.max_pool2d(x, 3, 2, 1)),
    ("greatest, far", lambda x: F.max_pool2d(x, 2, 1, dilation=2)),
    ("mean", lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True)),
    ("mean, wide", lambda x: F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)),
    ("of lines", lambda x: F.max_pool1d(x[0], 3, 1, 1)),
    ("fused", lambda x: F.avg_pool2d(F.max_pool2d(F.relu(x), 3, 1, 1) * 2.0, 2) + 1.0),
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=[c[0] for c in CALLS])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_compiled_is_eager_in_bits_and_gradients_of_gradients_too(call: Callable[[Any], Any], dtype: str) -> None:
    x = wf.asarray(numbers((2, 3, 11, 14))).astype(dtype)

    def second(x: Any) -> Any:
        return wf.grad(lambda z: (wf.grad(lambda y: (call(y) ** 2).sum())(z) ** 2).sum())(x)

    for function in (call, wf.grad(lambda y: (call(y) ** 2).sum()), second):
        eager, compiled = function(x), wf.compile(function)(x)
        assert bytes(eager.astype(wf.float64).numpy()) == bytes(compiled.astype(wf.float64).numpy())
        assert eager.dtype is x.dtype


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=[c[0] for c in CALLS])
def test_second_derivatives_are_those_of_differences(call: Callable[[Any], Any]) -> None:
    x, v = (wf.asarray(numbers((1, 2, 9, 10), "float64")) for _ in range(2))
    gradient = wf.grad(lambda y: (call(y) ** 3).sum())
    product = wf.grad(lambda y: (gradient(y) * v).sum())(x)
    step = 1e-6
    expected = (gradient(x + v * step) - gradient(x - v * step)) / (2 * step)
    np.testing.assert_allclose(product.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint16", "float16", "float64"])
def test_maxima_of_every_dtype_are_numpys(dtype: str) -> None:
    x = numbers((2, 7, 9), "float64").astype(dtype)
    info = np.finfo(dtype) if dtype[0] == "f" else np.iinfo(dtype)
    x[0, :3] = info.min  # padding is less than any number
    found, at = F.max_pool2d(wf.asarray(x), (3, 2), 2, 1, return_indices=True)
    assert found.dtype.name == dtype
    flat = np.take_along_axis(x.reshape(2, -1), at.numpy().reshape(2, -1), 1)
    assert np.array_equal(flat, found.numpy().reshape(2, -1))
    wide = np.pad(x.astype("float64"), ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 2), (1, 2))[:, ::2, ::2]
    assert np.array_equal(found.numpy().astype("float64"), windows.max((-2, -1)))


ALONE: list[tuple[tuple[int, ...], Any, Any, Any, int]] = [
    ((1, 1, 1), 2, 1, 2, 1),
    ((2, 3, 1), 2, 1, 2, 1),
    ((1, 2, 3), 2, 1, 4, 1),
    ((2, 2, 4), 2, 1, 5, 2),
    ((1, 2, 2, 3), (1, 2), (0, 1), (1, 4), 1),
    ((1, 2, 3, 2), (2, 1), (1, 0), (4, 1), 1),
    ((2, 1, 2, 3), 2, 1, (3, 4), 1),
    ((2, 1, 3, 3), 2, 1, (2, 4), 1),
    ((1, 2, 1, 1, 2), 2, 1, (2, 2, 3), 1),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", ALONE, ids=str)
def test_windows_of_padding_alone(case: Any) -> None:
    """Values and positions are PyTorch's. Its gradients are written to positions that may lie in another row or behind
    the tensor (it crashes): ours go to no element."""
    shape, size, padding, dilation, stride = case
    pool = f"max_pool{len(shape) - 2}d"
    options: dict[str, Any] = {"padding": padding, "dilation": dilation, "stride": stride, "return_indices": True}
    x = wf.asarray(rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)).requires_grad_()
    with torch.no_grad():
        expected = getattr(TF, pool)(torch.asarray(x.detach().numpy()), size, **options)
    call = getattr(F, pool)
    for function in (call, wf.compile(call)):
        value, position = function(x, size, **options)
        assert value.tolist() == expected[0].tolist() and position.tolist() == expected[1].tolist()
    weights = wf.asarray(rng.integers(1, 9, value.shape).astype(np.float32))

    def loss(x: Any) -> Any:
        return (call(x, size, **options)[0].maximum(-1.0) * weights).sum()

    plane, start = int(np.prod(shape[2:])), np.arange(shape[0] * shape[1]) * int(np.prod(shape[2:]))
    places = position.numpy().reshape(len(start), -1) + start[:, None]
    wanted = np.zeros(len(start) * plane + 99, np.float32)
    found = np.isfinite(value.detach().numpy()).reshape(len(start), -1)
    np.add.at(wanted, places[found], weights.numpy().reshape(len(start), -1)[found])
    assert not found.all() and not wanted[len(start) * plane :].any()
    for gradient in (wf.grad(loss), wf.compile(wf.grad(loss))):
        assert gradient(x.detach()).numpy().ravel().tolist() == wanted[: len(start) * plane].tolist()
    value, _ = call(x, size, **options)
    value.backward(weights)
    assert x.grad is not None and x.grad.numpy().ravel().tolist() == wanted[: len(start) * plane].tolist()


def test_what_is_not_a_number_and_what_is_infinite() -> None:
    x = np.full((1, 4, 6), -np.inf, np.float32)
    x[0, 2, 3] = np.nan
    reference, given_ = torch_of(x), wf.asarray(x).requires_grad_()
    expected, at = TF.max_pool2d(reference, 2, 2, 1, return_indices=True)
    found, places = F.max_pool2d(given_, 2, 2, 1, return_indices=True)
    np.testing.assert_array_equal(found.detach().numpy(), expected.detach().numpy())
    assert np.array_equal(places.numpy(), at.numpy()), "no position is one of the padding"
    expected.sum().backward()
    found.sum().backward()
    np.testing.assert_array_equal(given_.grad.numpy(), reference.grad.numpy())


MISTAKES: list[tuple[str, Callable[[Any], Any], type[Exception]]] = [
    ("axes", lambda x: F.max_pool2d(x[0], 2), ShapeError),
    ("axes", lambda x: F.avg_pool1d(x[None], 2), ShapeError),
    ("fewer than a window", lambda x: F.max_pool2d(x, 7), ShapeError),
    ("more than half", lambda x: F.max_pool2d(x, 3, padding=2), ArgumentError),
    ("more than half", lambda x: F.max_pool2d(x, 3, padding=2, dilation=2), ArgumentError),
    ("more than half", lambda x: F.avg_pool2d(x, 2, padding=(0, 2)), ArgumentError),
    ("at least 1", lambda x: F.max_pool2d(x, 0), ArgumentError),
    ("at least 1", lambda x: F.max_pool2d(x, 2, 0), ArgumentError),
    ("at least 1", lambda x: F.max_pool2d(x, 2, dilation=0), ArgumentError),
    ("at least 0", lambda x: F.avg_pool2d(x, 2, padding=-1), ArgumentError),
    ("2 of them", lambda x: F.max_pool2d(x, (2, 2, 2)), ArgumentError),
    ("divisor_override", lambda x: F.avg_pool2d(x, 2, divisor_override=0), ArgumentError),
    ("bool", lambda x: F.max_pool2d(x > 0, 2), DTypeError),
    ("floating", lambda x: F.avg_pool2d(x.astype(wf.int32), 2), DTypeError),
]


@pytest.mark.parametrize(("text", "call", "error"), MISTAKES, ids=[f"{m[0]} {k}" for k, m in enumerate(MISTAKES)])
def test_mistakes_are_named(text: str, call: Callable[[Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=text):
        call(wf.ones((2, 5, 6)))


def graph_of(function: Callable[[Any], Any], x: Any) -> Graph:
    with wf.no_grad():
        return capture(function, [x]).graph


def test_nothing_but_the_result_is_stored() -> None:
    x = wf.ones((2, 3, 40, 50))
    for call in (
        lambda x: F.max_pool2d(F.relu(x), 3, 2, 1) * 2.0,
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda x: F.max_pool3d(x, 2),
        lambda x: F.max_pool1d(x[0], 3, 1, 1),
    ):
        assert [type(k).__name__ for k in wf.compile(call).kernels(x)] == ["ColumnReduce"]
    backward = wf.compile(wf.grad(lambda x: F.max_pool2d(x, 3, 2).sum()))
    assert all(k.count("b0") for k in map(str, backward.kernels(x))) and len(backward.kernels(x)) <= 3


def test_sizes_may_be_lists_and_one_number_stands_for_all() -> None:
    x = wf.asarray(numbers((1, 6, 8)))
    pairs = [(F.max_pool2d(x, [2, 2], [1, 2]), F.max_pool2d(x, 2, (1, 2))), (F.max_pool2d(x, (2,)), F.max_pool2d(x, 2))]
    for a, b in pairs:
        assert np.array_equal(a.numpy(), b.numpy())
    assert graph_of(lambda x: F.max_pool2d(x, 2), x).nodes[-1].op.name == "max_pool"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("pool", [F.max_pool2d, F.avg_pool2d])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_models_of_any_batch_are_saved(pool: Any, padding: int, ceil_mode: bool, tmp_path: Any) -> None:
    def net(x: wf.Tensor) -> Any:
        return pool(F.relu(x), 3, 2, padding, ceil_mode=ceil_mode) + 1.0

    wf.save(net, tmp_path / "net.onnx", example=wf.ones((2, 3, 8, 9)), dynamic={"batch": (0, 0)})
    model = wf.load(tmp_path / "net.onnx")
    for batch in (2, 1, 3, 0, 17):
        x = wf.asarray(np.random.default_rng(batch).normal(size=(batch, 3, 8, 9)).astype(np.float32))
        assert model(x).numpy().tobytes() == net(x).numpy().tobytes()

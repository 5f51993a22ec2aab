"""Resampling against PyTorch: values and gradients of every mode and option, dtypes, sizes and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

rng = np.random.default_rng(4)

RANKS = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
}
SHAPES = {1: (2, 3, 7), 2: (2, 2, 5, 6), 3: (1, 2, 3, 4, 5)}
SIZES: list[dict[str, Any]] = [
    {"size": 3},
    {"size": 9},
    {"size": 1},
    {"scale_factor": 2},
    {"scale_factor": 3.0},
    {"scale_factor": 1.7},
    {"scale_factor": 0.6},
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]


def close(a: Any, b: Any, tolerance: float) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def ways(mode: str) -> list[dict[str, Any]]:
    """The options that a mode has."""
    corners = [{}, {"align_corners": True}, {"align_corners": False}] if "linear" in mode or mode == "bicubic" else [{}]
    smooth = [{}, {"antialias": True}] if mode in ("bilinear", "bicubic") else [{}]
    return [{"mode": mode, **a, **b} for a in corners for b in smooth]


CASES = [(rank, way) for mode, ranks in RANKS.items() for rank in ranks for way in ways(mode)]


def compare(x: Any, options: dict[str, Any], tolerance: float) -> None:
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    found, expected = F.interpolate(mine, **options), TF.interpolate(other, **options)
    assert found.dtype is mine.dtype
    close(found, expected, tolerance)
    g = rng.standard_normal(tuple(expected.shape)).astype(x.dtype)
    found.backward(wf.asarray(g))
    expected.backward(torch.tensor(g))
    close(mine.grad, other.grad, tolerance)


@pytest.mark.parametrize(
    ("rank", "way"), CASES, ids=lambda v: str(v) if isinstance(v, int) else "-".join(map(str, v.values()))
)
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "-".join(map(str, s.values())))
@pytest.mark.one_in(6)
def test_values_and_gradients_are_pytorchs(rank: int, way: dict[str, Any], size: dict[str, Any]) -> None:
    compare(rng.standard_normal(SHAPES[rank]), {**way, **size}, 1e-9)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(41, 13), (7, 90), (49, 98), (10, 31)])
def test_large_images_in_float32(mode: str, size: tuple[int, int]) -> None:
    x = rng.standard_normal((1, 2, 31, 49)).astype(np.float32)
    compare(x, {"size": size, "mode": mode}, 3e-5)
    if mode.startswith("bi"):
        compare(x, {"size": size, "mode": mode, "antialias": True}, 3e-5)


@pytest.mark.parametrize("count", [41, 47, 49, 55, 82, 100, 164])
def test_positions_round_as_pytorchs(count: int) -> None:
    """In float32 ``i * (n / m)`` is now and then just below a whole number."""
    x = np.arange(count, dtype=np.float32).reshape(1, 1, -1)
    for m in (count * 2, count * 3, count * 5, count * 7, 3 * count // 2, count // 3):
        for mode in ("nearest", "nearest-exact"):
            found = F.interpolate(wf.asarray(x), m, mode=mode)
            assert np.array_equal(found.numpy(), TF.interpolate(torch.tensor(x), m, mode=mode).numpy())


@pytest.mark.parametrize("factors", [(1.05, 2.0), (1.05, 1.05), (2.0, 1.05)])
@pytest.mark.parametrize("way", [c[1] for c in CASES if c[0] == 2 and "align_corners" not in c[1]], ids=str)
def test_a_factor_that_leaves_the_size(way: dict[str, Any], factors: Any) -> None:
    """Values are PyTorch's; its gradients are those of another function there."""
    x = rng.standard_normal((1, 2, 5, 6))
    options = {**way, "scale_factor": factors}
    close(F.interpolate(wf.asarray(x), **options), TF.interpolate(torch.tensor(x), **options), 1e-9)
    check_gradient(lambda x: F.interpolate(x, **options), x)


CALLS: list[tuple[str, Callable[[Any], Any]]] = [
    ("nearest", lambda x: F.interpolate(x, scale_factor=2)),
    ("nearest, any size", lambda x: F.interpolate(x, (5, 11))),
    ("exact", lambda x: F.interpolate(x, (5, 11), mode="nearest-exact")),
    ("lines", lambda x: F.interpolate(x[0], 11, mode="linear")),
    ("bilinear", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    ("corners", lambda x: F.interpolate(x, (9, 4), mode="bilinear", align_corners=True)),
    ("bicubic", lambda x: F.interpolate(x, (9, 4), mode="bicubic")),
    ("smooth", lambda x: F.interpolate(x, (3, 5), mode="bicubic", antialias=True)),
    ("area", lambda x: F.interpolate(x, (4, 5), mode="area")),
]
NAMES = [c[0] for c in CALLS]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_compiled_is_eager_in_bits_and_its_gradients_too(call: Callable[[Any], Any], dtype: str) -> None:
    x = wf.asarray(rng.standard_normal((2, 3, 6, 7))).astype(dtype)
    for function in (call, wf.grad(lambda y: (call(y) ** 2).sum())):
        eager, compiled = function(x), wf.compile(function)(x)
        assert bytes(eager.astype(wf.float64).numpy()) == bytes(compiled.astype(wf.float64).numpy())
        assert eager.dtype is x.dtype


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
def test_gradients_and_their_gradients_are_differences(call: Callable[[Any], Any]) -> None:
    x = rng.standard_normal((1, 2, 4, 5))
    check_gradient(call, x)
    v = wf.asarray(rng.standard_normal(x.shape))
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

    compiled, w = wf.compile(step), wf.asarray(rng.standard_normal((3, 1, 1)).astype(np.float32))
    for batch in (2, 5, 3):
        x = wf.asarray(rng.standard_normal((batch, 3, 7, 6)).astype(np.float32)).swapaxes(2, 3)
        for a, b in zip(step(x, w), compiled(x, w), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


def test_the_other_axes_may_be_of_another_size_each_time() -> None:
    compiled = wf.compile(lambda x, y: F.interpolate(x, y.shape[2:], mode="bilinear") + y)
    for n, m in ((4, 7), (5, 9), (6, 3)):
        x, y = (wf.asarray(rng.standard_normal((1, 2, k, k)).astype(np.float32)) for k in (n, m))
        assert compiled(x, y).numpy().tobytes() == (F.interpolate(x, (m, m), mode="bilinear") + y).numpy().tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "float16"])
def test_nearest_takes_any_dtype(dtype: str) -> None:
    x = rng.integers(0, 2, (1, 2, 5, 4)).astype(dtype)
    for mode in ("nearest", "nearest-exact"):
        found = F.interpolate(wf.asarray(x), (7, 8), mode=mode)
        wanted = TF.interpolate(torch.tensor(x.astype(np.float32)), (7, 8), mode=mode).numpy()
        assert found.dtype.name == dtype and np.array_equal(found.numpy().astype(np.float32), wanted)


def test_an_empty_batch() -> None:
    for call in (c[1] for c in CALLS if c[0] != "lines"):
        x = wf.ones((0, 2, 4, 4)).requires_grad_()
        y = call(x)
        y.sum().backward()
        assert y.shape[:2] == (0, 2) and x.grad.shape == (0, 2, 4, 4)


X = wf.ones((1, 2, 4, 5))
MISTAKES: list[tuple[str, Callable[[], Any], type[Exception]]] = [
    ("mode is 'cubic'", lambda: F.interpolate(X, 3, mode="cubic"), ArgumentError),
    ("wants an input of 3 axes", lambda: F.interpolate(X, 3, mode="linear"), ShapeError),
    ("wants an input of 4 axes", lambda: F.interpolate(X[0], 3, mode="bicubic"), ShapeError),
    ("3 or 4 or 5 axes", lambda: F.interpolate(X[0, 0], 3), ShapeError),
    ("align_corners with mode", lambda: F.interpolate(X, 3, align_corners=False), ArgumentError),
    ("antialias with mode", lambda: F.interpolate(X, 3, antialias=True), ArgumentError),
    ("one of the two", lambda: F.interpolate(X), ArgumentError),
    ("one of the two", lambda: F.interpolate(X, 3, 2.0), ArgumentError),
    ("wants 2", lambda: F.interpolate(X, (3, 3, 3)), ArgumentError),
    ("wants 2", lambda: F.interpolate(X, scale_factor=(2.0,)), ArgumentError),
    ("no factor", lambda: F.interpolate(X, 3, recompute_scale_factor=True), ArgumentError),
    ("above 0", lambda: F.interpolate(X, scale_factor=-1.0), ArgumentError),
    ("at least 1", lambda: F.interpolate(X, 0), ShapeError),
    ("at least 1", lambda: F.interpolate(X, scale_factor=0.1), ShapeError),
    ("at least 1", lambda: F.interpolate(X[:, :, :0], 2), ShapeError),
    ("floating", lambda: F.interpolate(X.astype(wf.int32), 3, mode="bilinear"), DTypeError),
]


@pytest.mark.parametrize(("text", "call", "error"), MISTAKES, ids=[f"{m[0]} {k}" for k, m in enumerate(MISTAKES)])
def test_mistakes_are_named(text: str, call: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=text):
        call()

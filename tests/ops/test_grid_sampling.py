"""Grids and what is read at their places, against PyTorch: values, both gradients, every mode, sizes and mistakes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft.core.errors import ArgumentError, DTypeError, ShapeError
from weft.nn import functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

rng = np.random.default_rng(8)

WAYS = list(product(("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (True, False)))
SHAPES = [
    ((2, 3, 5, 6), (2, 4, 7, 2)),
    ((2, 2, 3, 4, 5), (2, 3, 2, 4, 3)),
    ((1, 1, 1, 1), (1, 3, 3, 2)),
    ((0, 2, 3, 3), (0, 2, 2, 2)),
    ((1, 2, 3, 3), (1, 0, 2, 2)),
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("way", WAYS, ids=lambda w: "-".join(map(str, w)))
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_values_and_gradients_are_pytorchs(shapes: Any, way: Any) -> None:
    if way[0] == "bicubic" and len(shapes[0]) == 5:
        pytest.skip("for images alone")
    x, g = rng.standard_normal(shapes[0]), rng.uniform(-2.5, 2.5, shapes[1])
    a, b = wf.asarray(x).requires_grad_(), wf.asarray(g).requires_grad_()
    c, d = torch.tensor(x, requires_grad=True), torch.tensor(g, requires_grad=True)
    found, expected = F.grid_sample(a, b, *way), TF.grid_sample(c, d, *way)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    w = rng.standard_normal(found.shape)
    found.backward(wf.asarray(w))
    expected.backward(torch.tensor(w))
    np.testing.assert_allclose(a.grad.numpy(), c.grad.numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(b.grad.numpy(), d.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_the_corners_themselves(mode: str, padding: str) -> None:
    places = np.stack(np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]), -1)[None].astype(np.float32)
    x = rng.standard_normal((1, 2, 5, 3)).astype(np.float32)
    found = F.grid_sample(wf.asarray(x), wf.asarray(places), mode, padding, True)
    np.testing.assert_allclose(found.numpy(), x[:, :, ::2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_places_far_away_and_places_that_are_no_numbers(mode: str, padding: str) -> None:
    places = np.array([[[[1e30, 0.0], [-1e30, 1e9], [3e5, -3e5], [np.nan, 0.0], [np.inf, 0.0]]]], np.float32)
    x = rng.standard_normal((1, 1, 4, 4)).astype(np.float32)
    found = F.grid_sample(wf.asarray(x), wf.asarray(places), mode, padding, False).numpy().ravel()
    if padding == "zeros":
        assert not found.any()
    elif padding == "border":
        assert np.isfinite(found[:3]).all() and np.isfinite(found[4])


CALLS: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("bilinear", lambda x, t: F.grid_sample(x, F.affine_grid(t, x.shape, False), align_corners=False)),
    (
        "border",
        lambda x, t: F.grid_sample(x, F.affine_grid(t, (x.shape[0], 3, 4, 5), True), "bilinear", "border", True),
    ),
    ("bicubic", lambda x, t: F.grid_sample(x, F.affine_grid(t, x.shape, False), "bicubic", "reflection", False)),
]
NAMES = [c[0] for c in CALLS]


def moves(batch: int) -> Any:
    """Affine maps that turn and shift."""
    return np.array([[0.8, 0.3, 0.1], [-0.4, 0.9, -0.2]]) + rng.uniform(-0.1, 0.1, (batch, 2, 3))


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
def test_gradients_are_differences(call: Callable[[Any, Any], Any]) -> None:
    check_gradient(call, rng.standard_normal((2, 3, 4, 5)), moves(2), tolerance=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_compiled_is_eager_in_bits_and_its_gradients_too(call: Callable[[Any, Any], Any], dtype: str) -> None:
    x, t = (wf.asarray(v).astype(dtype) for v in (rng.standard_normal((2, 3, 6, 7)), moves(2)))

    def both(x: Any, t: Any) -> Any:
        return call(x, t), *wf.grad(lambda x, t: (call(x, t) ** 2).sum(), argnums=(0, 1))(x, t)

    for eager, compiled in zip(both(x, t), wf.compile(both)(x, t), strict=True):
        assert bytes(eager.astype(wf.float64).numpy()) == bytes(compiled.astype(wf.float64).numpy())
        assert eager.dtype is x.dtype


@pytest.mark.parametrize("call", [c[1] for c in CALLS], ids=NAMES)
def test_a_compiled_step_takes_any_batch_and_any_plane(call: Callable[[Any, Any], Any]) -> None:
    def step(x: Any, t: Any) -> Any:
        return wf.value_and_grad(lambda t: (call(x, t) ** 2).sum())(t)

    compiled = wf.compile(step)
    for batch, n in ((2, 6), (5, 6), (3, 6), (3, 8), (3, 9)):
        x = wf.asarray(rng.standard_normal((batch, 3, 7, n)).astype(np.float32)).swapaxes(2, 3)
        t = wf.asarray(moves(batch).astype(np.float32))
        for a, b in zip(step(x, t), compiled(x, t), strict=True):
            assert a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 5), (2, 3, 3, 4, 5)])
@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.filterwarnings("ignore:Since version")
def test_grids_are_pytorchs(size: Any, corners: bool) -> None:
    rank = len(size) - 2
    theta = rng.standard_normal((2, rank, rank + 1))
    mine, other = wf.asarray(theta).requires_grad_(), torch.tensor(theta, requires_grad=True)
    found, expected = F.affine_grid(mine, size, corners), TF.affine_grid(other, size, corners)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(found.shape)
    found.backward(wf.asarray(g))
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-9, atol=1e-9)


X, G, T = wf.ones((2, 3, 4, 5)), wf.zeros((2, 6, 7, 2)), wf.zeros((2, 2, 3))
MISTAKES: list[tuple[str, Callable[[], Any], type[Exception]]] = [
    ("mode is 'linear'", lambda: F.grid_sample(X, G, "linear"), ArgumentError),
    ("padding_mode is 'zero'", lambda: F.grid_sample(X, G, padding_mode="zero"), ArgumentError),
    ("wants .N, C, H, W.", lambda: F.grid_sample(X[0], G), ShapeError),
    ("wants .N, C, H, W.", lambda: F.grid_sample(X, G[0]), ShapeError),
    ("2 coordinates", lambda: F.grid_sample(X, wf.zeros((2, 6, 7, 3))), ShapeError),
    ("batches differ", lambda: F.grid_sample(X, G[:1]), ShapeError),
    ("nothing to read", lambda: F.grid_sample(X[:, :, :0], G), ShapeError),
    (
        "inputs of 4 axes",
        lambda: F.grid_sample(X[None].broadcast_to((2, 2, 3, 4, 5)), wf.zeros((2, 1, 1, 1, 3)), "bicubic"),
        ShapeError,
    ),
    ("one dtype", lambda: F.grid_sample(X, G.astype(wf.float64)), DTypeError),
    ("floating", lambda: F.grid_sample(X.astype(wf.int32), G.astype(wf.int32)), DTypeError),
    ("floating", lambda: F.affine_grid(T.astype(wf.int32), (2, 1, 3, 3)), DTypeError),
    ("wants .N, 2, 3.", lambda: F.affine_grid(T, (2, 3, 3)), ShapeError),
    ("a matrix for each image", lambda: F.affine_grid(T, (3, 1, 3, 3)), ShapeError),
    ("a matrix for each image", lambda: F.affine_grid(T, (2, 1, 3, 3, 3)), ShapeError),
    ("at least 1", lambda: F.affine_grid(T, (2, 1, 0, 3)), ShapeError),
]


@pytest.mark.parametrize(("text", "call", "error"), MISTAKES, ids=[f"{m[0]} {k}" for k, m in enumerate(MISTAKES)])
def test_mistakes_are_named(text: str, call: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("padding", ["border", "reflection", "zeros"])
def test_places_that_are_no_numbers(padding: str, mode: str, corners: bool) -> None:
    """At the border and by reflection PyTorch's elements; else nothing, where PyTorch has NaN. No gradient is NaN."""
    x = np.arange(12.0).reshape(1, 1, 3, 4)
    grid = np.zeros((1, 1, 4, 2))
    grid[0, 0, 1, 0], grid[0, 0, 2, 0], grid[0, 0, 3, 1] = np.nan, np.inf, -np.inf
    ours = wf.asarray(x).requires_grad_()
    got = F.grid_sample(ours, wf.asarray(grid), mode=mode, padding_mode=padding, align_corners=corners)
    theirs = torch.nn.functional.grid_sample(
        torch.tensor(x), torch.tensor(grid), mode=mode, padding_mode=padding, align_corners=corners
    )
    np.testing.assert_allclose(got.numpy(), np.nan_to_num(theirs.numpy()))
    got.sum().backward()
    assert ours.grad is not None and np.isfinite(ours.grad.numpy()).all()

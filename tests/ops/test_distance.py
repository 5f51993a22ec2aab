"""Angles, distances and bilinear forms against NumPy and PyTorch, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft import nn
from weft.nn import functional as F
from weft.ops.all_pairs import MODES

RNG = np.random.default_rng(0)


def np_cosine(a: Any, b: Any, dim: int, eps: float) -> Any:
    a, b = np.broadcast_arrays(a, b)
    lengths = [np.maximum(np.linalg.norm(v, axis=dim, keepdims=True), eps) for v in (a, b)]
    return (a / lengths[0] * (b / lengths[1])).sum(dim)


@pytest.mark.parametrize(
    ("first", "second", "dim"),
    [((3, 4), (3, 4), 1), ((3, 4), (3, 4), 0), ((2, 3, 4), (3, 1), -1), ((5,), (5,), 0), ((0, 4), (0, 4), 1)],
)
def test_cosine_similarity(first: Any, second: Any, dim: int) -> None:
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    for eps in (1e-8, 3.0):
        got = F.cosine_similarity(wf.asarray(a), wf.asarray(b), dim, eps)
        np.testing.assert_allclose(got.numpy(), np_cosine(a, b, dim, eps), rtol=1e-12)
    check_gradient(lambda x, y: F.cosine_similarity(x, y, dim), a, b)


def test_a_vector_without_length_is_near_to_nothing() -> None:
    zero = wf.zeros((1, 2)).requires_grad_()
    y = F.cosine_similarity(zero, wf.ones((1, 2)))
    y.sum().backward()
    assert y.tolist() == [0.0] and np.isfinite(zero.grad.numpy()).all()


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 0.5, float("inf"), 0.0])
@pytest.mark.parametrize(("first", "second"), [((3, 4), (3, 4)), ((4,), (3, 4)), ((5,), (5,)), ((2, 1, 3), (4, 1))])
def test_pairwise_distance(p: float, first: Any, second: Any) -> None:
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    for keepdim in (False, True):
        got = F.pairwise_distance(wf.asarray(a), wf.asarray(b), p, 1e-3, keepdim)
        d = np.abs(a - b + 1e-3)
        wanted = d.max(-1) if p > 9 else (d != 0).sum(-1) if p == 0 else (d**p).sum(-1) ** (1 / p)
        np.testing.assert_allclose(got.numpy(), wanted[..., None] if keepdim else wanted, rtol=1e-12)
    if p:
        check_gradient(lambda x, y: F.pairwise_distance(x, y, p), a, b, tolerance=1e-5)


@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_bilinear(lead: Any, has_bias: bool) -> None:
    a, b, w = RNG.normal(size=(*lead, 4)), RNG.normal(size=(*lead, 5)), RNG.normal(size=(2, 4, 5))
    bias = [RNG.normal(size=2)] if has_bias else []
    got = F.bilinear(*(wf.asarray(v) for v in (a, b, w, *bias)))
    wanted = np.einsum("...i,oij,...j->...o", a, w, b) + (bias[0] if bias else 0)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12, atol=1e-12)
    check_gradient(F.bilinear, a, b, w, *bias)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    x, y, w = (wf.astype(wf.asarray(RNG.normal(size=s).astype(np.float32)), dtype) for s in ((3, 4), (3, 4), (2, 4, 4)))
    for f in (F.cosine_similarity, F.pairwise_distance, lambda a, b: F.bilinear(a, b, wf.astype(w, a.dtype))):
        wide = f(wf.astype(x, "float32"), wf.astype(y, "float32"))
        assert f(x, y).dtype.name == dtype and f(x, y).numpy().tobytes() == wf.astype(wide, dtype).numpy().tobytes()


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[Any, Any]]] = [
    ("CosineSimilarity", (), {}, ((3, 4), (3, 4))),
    ("CosineSimilarity", (0,), {"eps": 0.1}, ((3, 4), (3, 4))),
    ("PairwiseDistance", (), {}, ((3, 4), (3, 4))),
    ("PairwiseDistance", (1.0,), {"eps": 0.1, "keepdim": True}, ((3, 4), (4,))),
    ("Bilinear", (4, 5, 2), {}, ((3, 4), (3, 5))),
    ("Bilinear", (4, 5, 2), {"bias": False}, ((2, 3, 4), (2, 3, 5))),
]


@pytest.mark.parametrize(("name", "args", "options", "shapes"), LAYERS)
def test_layers_are_pytorchs_and_captured_as_they_are(name: str, args: Any, options: Any, shapes: Any) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    arrays = [RNG.normal(size=s).astype(np.float32) for s in shapes]
    mine, other = [wf.asarray(a).requires_grad_() for a in arrays], [torch.tensor(a).requires_grad_() for a in arrays]
    y, z = ours(*mine), theirs(*other)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert wf.compile(ours)(*mine).detach().numpy().tobytes() == y.detach().numpy().tobytes()
    (y * y).sum().backward()
    (z * z).sum().backward()
    for p, q in zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_bilinear_begins_within_its_bounds() -> None:
    layer = nn.Bilinear(25, 30, 40)
    for p, least in ((layer.weight, 0.199), (layer.bias, 0.1)):  # of 30,000 and of 40 numbers the largest
        assert least < abs(p.detach().numpy()).max() <= 0.2


A = wf.zeros((3, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.cosine_similarity(A, wf.zeros((2, 4))), wf.ShapeError, "cosine_similarity: shapes"),
        (lambda: F.cosine_similarity(A, A, 2), wf.AxisError, "cosine_similarity: axis 2"),
        (lambda: F.cosine_similarity(wf.asarray([1]), wf.asarray([2]), 0), wf.DTypeError, "cosine_similarity: int64"),
        (lambda: F.pairwise_distance(wf.asarray(1.0), wf.asarray(2.0)), wf.ShapeError, "two numbers are no vectors"),
        (lambda: F.bilinear(A, A, wf.zeros((2, 4))), wf.ShapeError, r"wants \(\*, in1\)"),
        (lambda: F.bilinear(A, wf.zeros((2, 4)), wf.zeros((2, 4, 4))), wf.ShapeError, r"wants \(\*, in1\)"),
        (lambda: F.bilinear(A, A, wf.zeros((2, 4, 5))), wf.ShapeError, "must be 4 and 5"),
        (lambda: F.bilinear(A, A, wf.zeros((2, 4, 4)), wf.zeros(3)), wf.ShapeError, r"bias \(3,\) must be \(2,\)"),
        (lambda: nn.Bilinear(0, 3, 2), ValueError, "in1_features is 0"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# --- all pairs ----------------------------------------------------------------------------------------------------

ORDERS = [0.0, 0.5, 1.0, 2.0, 3.0, float("inf")]


def np_norm(a: Any, p: float) -> Any:
    return (
        (a != 0).sum(-1).astype(a.dtype)
        if p == 0
        else (np.abs(a) ** p).sum(-1) ** (1 / p)
        if p < 9
        else np.abs(a).max(-1)
    )


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize(
    ("first", "second"),
    [((5, 3), (4, 3)), ((2, 5, 3), (2, 4, 3)), ((2, 1, 5, 3), (3, 4, 3)), ((0, 3), (4, 3)), ((1, 1), (1, 1))],
)
def test_cdist(p: float, first: Any, second: Any) -> None:
    torch = pytest.importorskip("torch")
    a, b = RNG.normal(size=first), RNG.normal(size=second)
    got = wf.cdist(wf.asarray(a), wf.asarray(b), p)
    np.testing.assert_allclose(got.numpy(), np_norm(a[..., :, None, :] - b[..., None, :, :], p), rtol=1e-12)
    np.testing.assert_allclose(
        got.numpy(), torch.cdist(torch.tensor(a), torch.tensor(b), p).numpy(), rtol=1e-9, atol=1e-12
    )
    check_gradient(lambda x, y: wf.cdist(x, y, p), a, b, tolerance=1e-5)


def test_cdist_by_a_product() -> None:
    a, b = RNG.normal(size=(30, 40)), RNG.normal(size=(35, 40))
    ways = [wf.cdist(wf.asarray(a), wf.asarray(b), compute_mode=mode).numpy() for mode in MODES]
    assert (ways[0] == ways[2]).all() and (ways[0] != ways[1]).any()
    np.testing.assert_allclose(ways[0], ways[1], rtol=1e-12)
    check_gradient(lambda x, y: wf.cdist(x, y, compute_mode=MODES[1]), a[:5, :4], b[:3, :4], tolerance=1e-5)


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (2, 3), (7, 1), (12, 4)])
def test_pdist(p: float, shape: Any) -> None:
    torch = pytest.importorskip("torch")
    x = RNG.normal(size=shape)
    got = F.pdist(wf.asarray(x), p)
    upper = np.triu_indices(shape[0], 1)
    np.testing.assert_allclose(got.numpy(), np_norm(x[upper[0]] - x[upper[1]], p), rtol=1e-12)
    np.testing.assert_allclose(got.numpy(), torch.pdist(torch.tensor(x), p).numpy(), rtol=1e-9)
    if shape[0] > 1:
        check_gradient(lambda t: F.pdist(t, p), x, tolerance=1e-5)
    assert wf.compile(lambda t: F.pdist(t, p))(wf.asarray(x)).numpy().tobytes() == got.numpy().tobytes()


@pytest.mark.parametrize("p", ORDERS[1:])  # of order 0 nothing has one
def test_vectors_that_are_equal_have_no_gradient(p: float) -> None:
    torch = pytest.importorskip("torch")
    x = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 5.0]])
    for own, other in (
        (lambda t: wf.cdist(t, t, p), lambda t: torch.cdist(t, t, p)),
        (lambda t: F.pdist(t, p), lambda t: torch.pdist(t, p)),
    ):
        a, b = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
        own(a).sum().backward()
        other(b).sum().backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_all_pairs_of_any_number_and_of_16_bits() -> None:
    with pytest.raises(wf.CaptureError, match="is not a whole number for every size"):
        wf.eval_shape(F.pdist, wf.spec(("n", 3), "float32"))
    assert str(wf.eval_shape(wf.cdist, wf.spec(("n", 3), "float32"), wf.spec((4, 3), "float32"))) == "float32[n, 4]"
    x = wf.asarray(RNG.normal(size=(6, 3)))
    for dtype in ("float16", "bfloat16"):
        half = x.astype(dtype)
        assert wf.cdist(half, half).dtype.name == F.pdist(half).dtype.name == dtype
        wide = wf.cdist(half.astype("float32"), half.astype("float32")).astype(dtype)
        assert (wf.cdist(half, half) == wide).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: wf.cdist(x, x, -1.0), wf.ArgumentError, "p is -1.0"),
        (lambda x: wf.cdist(x, x, compute_mode="mm"), wf.ArgumentError, "compute_mode is 'mm'"),
        (lambda x: wf.cdist(x, x[:, :2]), wf.ShapeError, "wants"),
        (lambda x: wf.cdist(x[0], x), wf.ShapeError, "wants"),
        (lambda x: wf.cdist(x.astype("int64"), x.astype("int64")), wf.DTypeError, "cdist"),
        (lambda x: F.pdist(x[0]), wf.ShapeError, r"must be \(N, M\)"),
        (lambda x: F.pdist(x, float("nan")), wf.ArgumentError, "p is nan"),
        (lambda x: F.pdist(x.astype("int64")), wf.DTypeError, "pdist"),
    ],
)
def test_misuse_of_all_pairs(call: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        call(wf.ones((4, 3)))

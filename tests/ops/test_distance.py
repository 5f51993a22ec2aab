"""Angles, distances and bilinear forms against NumPy and PyTorch, and their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft import nn
from weft.nn import functional as F

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

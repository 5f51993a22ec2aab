"""Attention against NumPy and PyTorch: masks, groups, gradients, dropout, bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft.nn import functional as F

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def reference(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: Any = None) -> Any:
    """In float64; queries that see nothing get zeros."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    if k.ndim > 2 and q.shape[-3] != k.shape[-3]:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    scores = q @ np.swapaxes(k, -1, -2) * (1 / np.sqrt(q.shape[-1]) if scale is None else scale)
    if causal:
        mask = np.tril(np.ones(scores.shape[-2:], bool))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    raised = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = raised.sum(-1, keepdims=True)
    return raised / np.where(total == 0, 1, total) @ v


def slope(f: Any, x: Any) -> Any:
    """Central differences of a scalar function."""
    result = np.empty_like(x)
    for at in np.ndindex(x.shape):
        h = np.zeros_like(x)
        h[at] = 1e-6
        result[at] = (f(x + h) - f(x - h)) / 2e-6
    return result


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def mask_of(kind: str, *shape: int) -> Any:
    """bool: some rows see nothing; float: some are -inf alone."""
    seen = RNG.random(shape) < 0.6
    seen[..., 1, :] = False
    return seen if kind == "bool" else np.where(seen, normal(*shape), -np.inf).astype(np.float32)


# query, key, value, options; "mask" is (kind, shape).
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "heads": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {}),
    "one head": ((5, 8), (7, 8), (7, 4), {}),
    "a batch": ((3, 5, 8), (3, 7, 8), (3, 7, 8), {}),
    "rank 5": ((2, 1, 3, 4, 8), (2, 1, 3, 6, 8), (2, 1, 3, 6, 8), {"is_causal": True}),
    "causal": ((2, 3, 6, 8), (2, 3, 6, 8), (2, 3, 6, 8), {"is_causal": True}),
    "causal, more keys": ((2, 3, 4, 8), (2, 3, 7, 8), (2, 3, 7, 8), {"is_causal": True}),
    "causal, fewer keys": ((2, 3, 7, 8), (2, 3, 4, 8), (2, 3, 4, 8), {"is_causal": True}),
    "bool mask": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"mask": ("bool", (5, 7))}),
    "bool mask of heads": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"mask": ("bool", (2, 3, 5, 7))}),
    "bool mask that broadcasts": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"mask": ("bool", (2, 1, 5, 7))}),
    "float mask": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"mask": ("float", (5, 7))}),
    "float mask of heads": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"mask": ("float", (2, 3, 5, 7))}),
    "scale": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"scale": 0.3}),
    "groups": ((2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 4), {"enable_gqa": True}),
    "groups, causal": ((2, 6, 5, 8), (2, 2, 5, 8), (2, 2, 5, 8), {"enable_gqa": True, "is_causal": True}),
    "groups, mask": ((2, 6, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"enable_gqa": True, "mask": ("bool", (2, 6, 5, 7))}),
    "groups of keys and of values": ((2, 6, 5, 8), (2, 2, 7, 8), (2, 3, 7, 4), {"enable_gqa": True}),
    "groups of one": ((2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 4), {"enable_gqa": True}),
    "long": ((1, 2, 70, 32), (1, 2, 133, 32), (1, 2, 133, 17), {"mask": ("bool", (70, 133))}),
    "no query": ((2, 3, 0, 8), (2, 3, 7, 8), (2, 3, 7, 4), {}),
    "no batch": ((0, 3, 5, 8), (0, 3, 7, 8), (0, 3, 7, 4), {}),
    "no key": ((2, 3, 5, 8), (2, 3, 0, 8), (2, 3, 0, 4), {}),
}


def case(name: str) -> tuple[list[Any], dict[str, Any]]:
    """The arrays (with the mask, if there is one) and the options."""
    *shapes, options = CASES[name]
    arrays, rest = [normal(*s) for s in shapes], dict(options)
    if "mask" in rest:
        kind, shape = rest.pop("mask")
        arrays.append(mask_of(kind, *shape))
    return arrays, rest


@pytest.mark.parametrize("name", CASES)
def test_values(name: str) -> None:
    arrays, options = case(name)
    got = F.scaled_dot_product_attention(*map(wf.asarray, arrays), **options).numpy()
    wanted = reference(*arrays, causal=options.get("is_causal", False), scale=options.get("scale"))
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name: str) -> None:
    arrays, options = case(name)
    ours, theirs = [wf.asarray(a) for a in arrays], [torch.tensor(a) for a in arrays]
    for x in (*ours, *theirs):
        if "float" in str(x.dtype):
            x.requires_grad_()
    y, z = (
        F.scaled_dot_product_attention(*ours, **options),
        torch.nn.functional.scaled_dot_product_attention(*theirs, **options),
    )
    np.testing.assert_allclose(y.numpy() if not y.requires_grad else y.detach().numpy(), z.detach().numpy(), 2e-5, 2e-6)
    weight = normal(*z.shape)
    (y * wf.asarray(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        if a.requires_grad:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=2e-4, atol=2e-6)


def test_a_query_that_sees_nothing_gets_zeros_and_gives_none() -> None:
    q, k, v = (wf.asarray(normal(2, 3, 4)).requires_grad_() for _ in range(3))
    mask = wf.asarray([[True, False, True], [False, False, False], [True, True, True]])
    for given_mask in (mask, wf.where(mask, 0.0, -np.inf)):
        for x in (q, k, v):
            x.grad = None
        y = F.scaled_dot_product_attention(q, k, v, given_mask)
        assert y.detach().numpy()[:, 1].tolist() == [[0.0] * 4] * 2
        y.sum().backward()
        assert q.grad.numpy()[:, 1].tolist() == [[0.0] * 4] * 2
        assert all(np.isfinite(x.grad.numpy()).all() and x.grad.numpy().any() for x in (q, k, v))


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"mask": "float"}, {"mask": "bool", "scale": 0.4}])
def test_gradients_are_slopes(options: dict[str, Any]) -> None:
    q, k, v, w = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 4)), RNG.normal(size=(2, 5, 3)), normal(2, 3, 3)
    rest = dict(options)
    kind = rest.pop("mask", None)
    arrays = [q, k, v] + ([] if kind is None else [mask_of(kind, 3, 5).astype(bool if kind == "bool" else np.float64)])
    tensors = [wf.asarray(a) for a in arrays]
    for n in range(3):

        def at(a: Any, n: int = n) -> Any:
            given_arrays = [a if i == n else o for i, o in enumerate(arrays)]
            return (reference(*given_arrays, causal=rest.get("is_causal", False), scale=rest.get("scale")) * w).sum()

        got = wf.grad(
            lambda *t: wf.sum(F.scaled_dot_product_attention(*t, **rest) * wf.asarray(w)),
            argnums=n,
        )(*tensors)
        np.testing.assert_allclose(got.numpy(), slope(at, arrays[n]), rtol=1e-5, atol=1e-7)


@few(
    8,
    60,
    st.tuples(*[st.sampled_from((1, 2, 3))] * 2),
    st.sampled_from((1, 2, 5, 17)),
    st.sampled_from((1, 3, 18)),
    st.sampled_from((1, 4, 9)),
    st.sampled_from((1, 3)),
    st.integers(0, 15),
    st.booleans(),
)
def test_any_shape(batch: Any, length: int, keys: int, size: int, depth: int, ones: int, boolean: bool) -> None:
    """``ones``: which axes of the mask are 1. Keys and values of one batch serve all."""
    q, k, v = normal(*batch, length, size), normal(1, batch[1], keys, size), normal(batch[1], keys, depth)
    shape = tuple(1 if ones >> i & 1 else n for i, n in enumerate((*batch, length, keys)))
    mask = RNG.random(shape) < 0.7 if boolean else normal(*shape)
    got = F.scaled_dot_product_attention(*map(wf.asarray, (q, k, v, mask))).numpy()
    np.testing.assert_allclose(got, reference(q, k, v, mask), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    narrow = [wf.astype(wf.asarray(normal(2, 3, 5, 8)), dtype) for _ in range(3)]
    got = F.scaled_dot_product_attention(*narrow, is_causal=True)
    wide = F.scaled_dot_product_attention(*(wf.astype(x, "float32") for x in narrow), is_causal=True)
    assert got.dtype.name == dtype and got.numpy().tobytes() == wf.astype(wide, dtype).numpy().tobytes()
    mask = wf.asarray(mask_of("float", 5, 5))  # a float32 mask is fine, as in PyTorch
    assert F.scaled_dot_product_attention(*narrow, mask).dtype.name == dtype


def test_operands_that_lie_in_other_orders() -> None:
    x = normal(2, 5, 3, 8)
    q = wf.asarray(x).permute(0, 2, 1, 3)
    wanted = F.scaled_dot_product_attention(*[wf.asarray(np.ascontiguousarray(x.transpose(0, 2, 1, 3)))] * 3)
    assert F.scaled_dot_product_attention(q, q, q).numpy().tobytes() == wanted.numpy().tobytes()


# --- dropout ----------------------------------------------------------------------------------------------------


def test_dropout_of_weights() -> None:
    q, k, v = wf.zeros((1, 1, 64, 4)), wf.zeros((1, 1, 128, 4)), wf.ones((1, 1, 128, 2))
    wf.random.seed(0)
    y = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25).numpy()
    assert abs(y.mean() - 1) < 0.02 and y.std() > 0.01
    wf.random.seed(0)
    again = F.scaled_dot_product_attention(q, k, v, None, 0.25).numpy()
    assert again.tobytes() == y.tobytes()
    generator = wf.random.Generator(1)
    other = F.scaled_dot_product_attention(q, k, v, dropout_p=0.25, generator=generator).numpy()
    assert other.tobytes() != y.tobytes()
    assert not F.scaled_dot_product_attention(q, k, v, dropout_p=1.0).numpy().any()


def test_gradients_see_the_weights_that_were_dropped() -> None:
    """With values that are an identity, the result is the weights themselves, and so is the gradient of the values."""
    q, k, v = wf.asarray(normal(5, 4)), wf.asarray(normal(6, 4)), wf.eye(6).requires_grad_()
    weights = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    weights.sum().backward()
    assert 0 in weights.detach().numpy()
    np.testing.assert_allclose(v.grad.numpy()[:, 0], weights.detach().numpy().sum(0), rtol=1e-6)


# --- bits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"dropout_p": 0.3}, {"enable_gqa": True}])
def test_compiled_steps_have_the_bits_of_eager_code_for_every_size(options: dict[str, Any]) -> None:
    def step(q: Any, k: Any, v: Any) -> Any:
        loss = (F.scaled_dot_product_attention(q, k, v, **options) ** 2).sum()
        return loss, *wf.grad(lambda *t: (F.scaled_dot_product_attention(*t, **options) ** 2).sum(), (0, 1, 2))(q, k, v)

    compiled = wf.compile(step)
    for batch, length in ((2, 5), (3, 6), (4, 9), (5, 12)):
        args = [wf.asarray(normal(batch, 4 if i or "enable_gqa" not in options else 8, length, 8)) for i in range(3)]
        found = []
        for run in (step, compiled):
            wf.random.seed(3)
            found.append([t.numpy().tobytes() for t in run(*args)])
        assert found[0] == found[1], (batch, length)
    assert len(compiled.cache_info().graphs) <= 2


def test_sizes_may_be_symbolic() -> None:
    q, k = wf.spec(("n", 4, "l", 8)), wf.spec(("n", 2, "s", 8))
    shape = wf.eval_shape(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True), q, k, k)
    assert str(shape) == "float32[n, 4, l, 8]"


def test_the_feature_size_may_be_symbolic() -> None:
    compiled = wf.compile(lambda x: F.scaled_dot_product_attention(x, x, x))
    for size in (8, 5, 7, 11, 16, 33):
        x = wf.asarray(normal(2, 6, size))
        assert compiled(x).numpy().tobytes() == F.scaled_dot_product_attention(x, x, x).numpy().tobytes()


def test_a_graph_names_it() -> None:
    text = str(wf.compile(lambda x: F.scaled_dot_product_attention(x, x, x)).lower(wf.spec((2, 3, 4))).graph)
    assert "scaled_dot_product_attention" in text


# --- errors -----------------------------------------------------------------------------------------------------

Q, K = wf.zeros((2, 3, 5, 8)), wf.zeros((2, 3, 7, 8))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f(Q, wf.zeros((2, 3, 7, 4)), K), wf.ShapeError, r"differ in their last axis, 8 and 4"),
        (lambda f: f(Q, K, wf.zeros((2, 3, 6, 8))), wf.ShapeError, r"7 keys and 6 values"),
        (lambda f: f(wf.zeros(8), K, K), wf.ShapeError, r"query \(8,\).*rank 2 or more"),
        (lambda f: f(Q, K[:, :2], K[:, :2]), wf.ShapeError, r"scaled_dot_product_attention: .*batches"),
        (lambda f: f(Q, K[:, :2], K[:, :2], enable_gqa=True), wf.ShapeError, r"2 heads of key do not divide the 3"),
        (lambda f: f(Q, K, K, wf.zeros((5, 6))), wf.ShapeError, r"a mask of shape \(5, 6\) does not broadcast"),
        (lambda f: f(Q, K, K, wf.zeros((2, 2, 3, 5, 7))), wf.ShapeError, r"a mask of shape \(2, 2, 3, 5, 7\)"),
        (lambda f: f(Q, K, K, wf.zeros((5, 7), dtype="int64")), wf.DTypeError, "the mask is int64"),
        (lambda f: f(Q, K, K, wf.zeros((5, 7)), is_causal=True), ValueError, "both attn_mask and is_causal"),
        (lambda f: f(Q, K, K, dropout_p=1.5), ValueError, r"dropout_p is 1\.5"),
        (lambda f: f(Q.astype("int64"), K, K), wf.DTypeError, "int64 operands"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(F.scaled_dot_product_attention)

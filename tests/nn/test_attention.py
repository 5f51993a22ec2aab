"""MultiheadAttention against PyTorch, over all of its arguments, and as bits in captured code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


def carry_over(ours: Any, theirs: Any) -> None:
    """Load PyTorch's state, with biases that are not zero, into ours; the names must be the same."""
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.tensor(normal(*p.shape) * 0.4))
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
    assert list(ours.state_dict()) == list(theirs.state_dict())


def close(a: Any, b: Any, tolerance: float = 3e-5) -> None:
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "added bias": {"add_bias_kv": True},
    "added zeros": {"add_zero_attn": True, "batch_first": True},
    "both added": {"add_bias_kv": True, "add_zero_attn": True},
    "kdim": {"kdim": 6},
    "kdim and vdim": {"kdim": 6, "vdim": 10, "batch_first": True},
    "vdim, no bias, added": {"vdim": 10, "bias": False, "add_bias_kv": True},
}
N, L, S, E, H = 3, 4, 5, 8, 2


def mask(kind: str, *shape: int) -> Any:
    """Everybody sees the first key."""
    hidden = RNG.random(shape) < 0.4
    hidden[..., 0] = False
    return hidden if kind == "bool" else np.where(hidden, -np.inf, normal(*shape)).astype(np.float32)


# what forward gets beside the operands; a mask is (kind, "2", "3" or "padding")
CALLS: dict[str, dict[str, Any]] = {
    "": {},
    "no weights": {"need_weights": False},
    "weights of heads": {"average_attn_weights": False},
    "bool mask": {"attn_mask": ("bool", "2")},
    "bool mask, no weights": {"attn_mask": ("bool", "2"), "need_weights": False},
    "float mask of heads": {"attn_mask": ("float", "3"), "need_weights": False},
    "bool mask of heads": {"attn_mask": ("bool", "3")},
    "padding": {"key_padding_mask": ("bool", "padding")},
    "float padding, no weights": {"key_padding_mask": ("float", "padding"), "need_weights": False},
    "both": {"attn_mask": ("bool", "2"), "key_padding_mask": ("bool", "padding"), "need_weights": False},
    "both, float": {"attn_mask": ("float", "3"), "key_padding_mask": ("float", "padding")},
}


def options(call: str, batched: bool) -> dict[str, Any]:
    shapes = {"2": (L, S), "3": (N * H if batched else H, L, S), "padding": (N, S) if batched else (S,)}
    return {k: mask(v[0], *shapes[v[1]]) if isinstance(v, tuple) else v for k, v in CALLS[call].items()}


def operands(layer: Any, batched: bool = True) -> list[Any]:
    found = []
    for length, size in ((L, E), (S, layer.kdim), (S, layer.vdim)):
        if not batched:
            found.append(normal(length, size))
        else:
            found.append(normal(N, length, size) if layer.batch_first else normal(length, N, size))
    return found


def compare(layer: dict[str, Any], call: str, batched: bool = True) -> None:
    ours, theirs = nn.MultiheadAttention(E, H, **layer), torch.nn.MultiheadAttention(E, H, **layer)
    carry_over(ours, theirs)
    arrays, given = operands(ours, batched), options(call, batched)
    mine, other = [wf.asarray(a).requires_grad_() for a in arrays], [torch.tensor(a).requires_grad_() for a in arrays]
    y, weights = ours(*mine, **{k: wf.asarray(v) if isinstance(v, np.ndarray) else v for k, v in given.items()})
    z, wanted = theirs(*other, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in given.items()})
    close(y, z)
    assert (weights is None) == (wanted is None)
    factor = normal(*z.shape)
    loss, theirs_loss = (y * wf.asarray(factor)).sum(), (z * torch.tensor(factor)).sum()
    if weights is not None:
        close(weights, wanted)
        loss, theirs_loss = loss + (weights**2).sum(), theirs_loss + (wanted**2).sum()
    loss.backward()
    theirs_loss.backward()
    for a, b in (*zip(mine, other, strict=True), *zip(ours.parameters(), theirs.parameters(), strict=True)):
        close(a.grad, b.grad, 2e-4)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("call", ["", "both", "both, float"])
def test_every_layer_is_pytorchs(layer: str, call: str) -> None:
    compare(LAYERS[layer], call)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("batched", [True, False])
def test_every_call_is_pytorchs(call: str, batched: bool) -> None:
    compare({"batch_first": True}, call, batched)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_hint_that_a_mask_is_causal(need_weights: bool, padded: bool) -> None:
    ours, theirs = nn.MultiheadAttention(E, H), torch.nn.MultiheadAttention(E, H)
    carry_over(ours, theirs)
    x, hidden = normal(L, N, E), np.triu(np.ones((L, L), bool), 1)
    padding = mask("bool", N, L) if padded else None
    y, _ = ours(*[wf.asarray(x)] * 3, wf.asarray(padding) if padded else None, need_weights, wf.asarray(hidden),
                is_causal=True)  # fmt: skip
    z, _ = theirs(*[torch.tensor(x)] * 3, torch.tensor(padding) if padded else None, need_weights, torch.tensor(hidden),
                  is_causal=True)  # fmt: skip
    close(y, z)


def test_a_hint_where_keys_are_added() -> None:
    """Everybody sees what is added, as the mask has it; PyTorch's hint hides it."""
    layer = nn.MultiheadAttention(E, H, add_bias_kv=True)
    x, hidden = wf.asarray(normal(L, N, E)), wf.asarray(np.triu(np.ones((L, L), bool), 1))
    hinted, _ = layer(x, x, x, need_weights=False, attn_mask=hidden, is_causal=True)
    plain, _ = layer(x, x, x, need_weights=False, attn_mask=hidden)
    assert hinted.detach().numpy().tobytes() == plain.detach().numpy().tobytes()


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_sees_nothing_is_as_in_pytorch(need_weights: bool) -> None:
    ours, theirs = nn.MultiheadAttention(E, H), torch.nn.MultiheadAttention(E, H)
    carry_over(ours, theirs)
    x, hidden = normal(L, N, E), np.zeros((L, L), bool)
    hidden[1] = True
    y, _ = ours(*[wf.asarray(x)] * 3, need_weights=need_weights, attn_mask=wf.asarray(hidden))
    z, _ = theirs(*[torch.tensor(x)] * 3, need_weights=need_weights, attn_mask=torch.tensor(hidden))
    assert np.isnan(z.detach().numpy()).any() == need_weights
    close(y, z)


def test_first_values_are_drawn_as_in_pytorch() -> None:
    for layer in ({}, {"kdim": 60, "vdim": 100}, {"add_bias_kv": True}):
        ours, theirs = nn.MultiheadAttention(80, 4, **layer), torch.nn.MultiheadAttention(80, 4, **layer)
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            a, b = p.detach().numpy(), q.detach().numpy()
            assert a.shape == b.shape and a.std() == pytest.approx(b.std(), rel=0.4, abs=1e-7)
            if a.ndim == 2:
                assert a.max() == pytest.approx(b.max(), rel=0.05)


def test_dropout_in_training_alone() -> None:
    layer = nn.MultiheadAttention(E, H, dropout=0.5)
    x = wf.asarray(normal(L, N, E))
    wf.random.seed(1)
    _, first = layer(x, x, x, average_attn_weights=False)
    _, second = layer(x, x, x, average_attn_weights=False)
    assert 0 in first.detach().numpy() and first.detach().numpy().tobytes() != second.detach().numpy().tobytes()
    layer.eval()
    y, weights = layer(x, x, x)
    np.testing.assert_allclose(weights.detach().numpy().sum(-1), 1, rtol=1e-5)
    close(layer(x, x, x, need_weights=False)[0], y)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("layer", ["batch first", "both added", "kdim and vdim"])
def test_compiled_steps_have_the_bits_of_eager_code(layer: str, need_weights: bool) -> None:
    net = nn.MultiheadAttention(E, H, 0.2, **LAYERS[layer])

    def step(q: Any, k: Any, v: Any, padding: Any) -> Any:
        net.zero_grad()
        y, weights = net(q, k, v, padding, need_weights)
        loss = (y**2).sum() if weights is None else (y**2).sum() + (weights**2).sum()
        loss.backward()
        return y, *(p.grad for p in net.parameters())

    compiled = wf.compile(step)
    for batch, length in ((2, 5), (3, 5), (4, 7), (5, 6)):
        q, k, v = (wf.asarray(normal(batch, length, size)) for size in (E, net.kdim, net.vdim))
        args = [x if net.batch_first else x.transpose(0, 1).contiguous() for x in (q, k, v)]
        padding = wf.asarray(mask("bool", batch, length))
        found = []
        for run in (step, compiled):
            wf.random.seed(3)
            found.append([t.detach().numpy().tobytes() for t in run(*args, padding)])
        assert found[0] == found[1], (batch, length)
    assert len(compiled.cache_info().graphs) <= 3


def test_one_tensor_given_three_times_has_the_bits_of_eager_code() -> None:
    """A captured function does not know that its arguments are one tensor."""
    net, x = nn.MultiheadAttention(E, H), normal(L, N, E)
    found = []
    for run in (net, wf.compile(net)):
        t = wf.asarray(x).requires_grad_()
        net.zero_grad()
        (run(t, t, t)[0] ** 2).sum().backward()
        found.append([t.grad.numpy().tobytes(), *(p.grad.numpy().tobytes() for p in net.parameters())])
    assert found[0] == found[1]


def test_sizes_may_be_symbolic() -> None:
    net = nn.MultiheadAttention(E, H, batch_first=True)
    q, k = wf.spec(("n", "l", E)), wf.spec(("n", "s", E))
    output, weights = wf.eval_shape(net, q, k, k)
    assert (str(output), str(weights)) == (f"float32[n, l, {E}]", "float32[n, l, s]")


def test_16_bits() -> None:
    net, x = nn.MultiheadAttention(E, H, dtype="bfloat16"), wf.asarray(normal(L, N, E)).astype("bfloat16")
    y, weights = net(x, x, x)
    assert y.dtype is wf.bfloat16 and weights.dtype is wf.bfloat16


X, K = wf.zeros((L, N, E)), wf.zeros((S, N, E))
LAYER = nn.MultiheadAttention(E, H)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.MultiheadAttention(8, 3), ValueError, "embed_dim 8, num_heads 3"),
        (lambda: nn.MultiheadAttention(0, 1), ValueError, "embed_dim 0"),
        (lambda: nn.MultiheadAttention(8, 2, dropout=2.0), ValueError, r"dropout is 2\.0"),
        (lambda: LAYER(X, K, X), wf.ShapeError, "key and value differ in positions"),
        (lambda: LAYER(X, K[:, :2], K[:, :2]), wf.ShapeError, "batches of 3 and 2"),
        (lambda: LAYER(X[0], K, K), wf.ShapeError, r"query \(3, 8\).*all three must be \(L, N, features\)"),
        (lambda: LAYER(X[..., :4], K, K), wf.ShapeError, "query has 4 features; the layer takes 8"),
        (lambda: LAYER(X, K, K, attn_mask=wf.zeros((L, L))), wf.ShapeError, r"attn_mask \(4, 4\) must be \(4, 5\) or"),
        (lambda: LAYER(X, K, K, wf.zeros((N, L))), wf.ShapeError, r"key_padding_mask \(3, 4\) must be \(3, 5\)"),
        (lambda: LAYER(X, K, K, wf.zeros((N, S), dtype="int64")), wf.DTypeError, "key_padding_mask is int64"),
        (lambda: LAYER(None, X, X), wf.DTypeError, "MultiheadAttention: an operand of type NoneType"),
        (lambda: LAYER(X, X, X, [True]), wf.DTypeError, "MultiheadAttention: an operand of type list"),
        (lambda: LAYER(X, X, X, is_causal=True), ValueError, "is_causal says that attn_mask is causal"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("separate", "added", "zero", "weights", "static"),
    [
        (True, False, False, True, False),
        (True, True, True, True, False),
        (False, True, False, False, False),
        (False, False, True, True, True),
        (False, False, False, False, True),
    ],
)
def test_the_function_as_pytorch(separate: bool, added: bool, zero: bool, weights: bool, static: bool) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return rng.normal(size=shape)

    q, k, v, same = drawn(3, 2, 8), drawn(5, 2, 6), drawn(5, 2, 4), drawn(5, 2, 8)
    apart, whole, fixed = [drawn(8, 8), drawn(8, 6), drawn(8, 4)], drawn(24, 8), [drawn(4, 5, 4), drawn(4, 5, 4)]
    bias, ends, last = drawn(24), [drawn(1, 1, 8), drawn(1, 1, 8)], [drawn(8, 8), drawn(8)]

    def run(function: Any, made: Any) -> Any:
        options: dict[str, Any] = {"training": False, "need_weights": weights, "average_attn_weights": separate}
        options |= {"use_separate_proj_weight": separate, "attn_mask": made(np.tri(3, 5) == 0)}
        if separate:
            options |= zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), map(made, apart), strict=True)
        if static:
            options |= {"static_k": made(fixed[0]), "static_v": made(fixed[1])}
        given = (q, k, v) if separate else (q, same, same)
        more = [made(e) if added else None for e in ends]
        in_weight = None if separate else made(whole)
        return function(
            *map(made, given), 8, 2, in_weight, made(bias), *more, zero, 0.5, made(last[0]), made(last[1]), **options
        )

    found = run(nn.functional.multi_head_attention_forward, wf.asarray)
    wanted = run(torch.nn.functional.multi_head_attention_forward, torch.tensor)
    for a, b in zip(found, wanted, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


def test_the_function_refuses() -> None:
    def run(features: int = 4, heads: int = 2, weight: Any = 1, **options: Any) -> Any:
        x, w = wf.ones((3, 1, 4)), wf.ones((12, 4))
        first = (x, x, x, features, heads, w if weight else None, None, None, None, False, 0.0, wf.ones((4, 4)), None)
        return nn.functional.multi_head_attention_forward(*first, **options)

    with pytest.raises(ValueError, match="the heads divide the features"):
        run(heads=3)
    with pytest.raises(ValueError, match="a projection has no weight"):
        run(weight=None)
    with pytest.raises(wf.ShapeError, match="query has 4 features; the layer takes 6"):
        run(6)
    with pytest.raises(wf.ShapeError, match=r"static_k \(3, 1, 2\) must be \(2, S, 2\)"):
        run(static_k=wf.ones((3, 1, 2)))

"""The cache: a model that decodes token by token gives what it gives for the whole text, in one capture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)
HEADS, WIDTH, LENGTH = 4, 32, 24


class Block(nn.Module):
    """As in GPT-2, with keys for half of the heads and, if wanted, rotary positions."""

    def __init__(self, rotary: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.q, self.kv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU("tanh"), nn.Linear(4 * WIDTH, WIDTH))
        self.turn = nn.RotaryEmbedding(WIDTH // HEADS) if rotary else None
        self.cache = nn.KVCache(2, HEADS // 2, LENGTH, WIDTH // HEADS)

    def attend(self, x: Any, cached: bool) -> Any:
        batch, length, _ = x.shape
        q = self.q(x).view(batch, length, HEADS, -1).transpose(1, 2)
        k, v = (y.view(batch, length, HEADS // 2, -1).transpose(1, 2) for y in self.kv(x).chunk(2, dim=-1))
        if self.turn is not None:
            at = self.cache.position if cached else 0
            q, k = self.turn(q, at), self.turn(k, at)
        if cached:
            k, v, mask = self.cache.update(k, v)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, WIDTH))

    def forward(self, x: Any, cached: bool = False) -> Any:
        x = x + self.attend(self.norms[0](x), cached)
        return x + self.mlp(self.norms[1](x))


class Model(nn.Module):
    """Two blocks over tokens."""

    def __init__(self, rotary: bool) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(50, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(Block(rotary) for _ in range(2))

    def forward(self, tokens: Any, cached: bool = False) -> Any:
        places = wf.arange(tokens.shape[1])
        x = self.tokens(tokens) + self.places(places + self.blocks[0].cache.position if cached else places)
        for block in self.blocks:
            x = block(x, cached)
        return x @ self.tokens.weight.T


def decoded(model: Any, run: Any, tokens: Any, prompt: int) -> list[Any]:
    """The logits of a prompt, then of one token after the other."""
    for block in model.blocks:
        block.cache.reset()
    parts = ([tokens[:, :prompt]] if prompt else []) + [tokens[:, i : i + 1] for i in range(prompt, tokens.shape[1])]
    with wf.no_grad():
        return [run(part.contiguous(), True).numpy() for part in parts]


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("prompt", [0, 4])
def test_decoding_is_the_whole_forward_in_two_captures(rotary: bool, prompt: int) -> None:
    model = Model(rotary)
    tokens = wf.asarray(RNG.integers(0, 50, (2, 20)))
    with wf.no_grad():
        whole = model(tokens).numpy()
    eager = decoded(model, model, tokens, prompt)
    np.testing.assert_allclose(np.concatenate(eager, 1), whole, rtol=1e-4, atol=1e-5)
    compiled = wf.compile(model)
    for _ in range(2):  # another text needs no other capture
        found = decoded(model, compiled, tokens, prompt)
        assert [a.tobytes() for a in found] == [a.tobytes() for a in eager]
        assert model.blocks[1].cache.position.item() == 20
        assert len(compiled.cache_info().graphs) <= (2 if prompt else 1)


def test_prompts_of_many_lengths() -> None:
    model = Model(rotary=True)
    compiled = wf.compile(model)
    for prompt in (5, 3, 7, 9, 4, 11):
        tokens = wf.asarray(RNG.integers(0, 50, (2, prompt + 2)))
        eager = decoded(model, model, tokens, prompt)
        assert [a.tobytes() for a in decoded(model, compiled, tokens, prompt)] == [a.tobytes() for a in eager]
    assert len(compiled.cache_info().graphs) <= 3


def test_a_text_is_decoded_by_one_compiled_loop() -> None:
    """Of a number of rounds that is known when it runs."""
    cache = nn.KVCache(1, 2, 16, 4)

    def decode(x: Any, rounds: Any) -> Any:
        for _ in range(rounds):
            keys, values, mask = cache.update(x, x)
            x = x + 0.5 * F.scaled_dot_product_attention(x, keys, values, attn_mask=mask)
        return x

    compiled, x = wf.compile(decode), wf.asarray(RNG.normal(size=(1, 2, 1, 4)).astype(np.float32))
    for rounds in (10, 3, 16):
        found = []
        for run in (decode, compiled):
            cache.reset()
            found.append(run(x, wf.asarray(rounds)).numpy().tobytes())
            assert cache.position.item() == rounds
        assert found[0] == found[1]
    assert len(compiled.cache_info().graphs) == 1


def test_what_is_written_and_returned() -> None:
    cache = nn.KVCache(1, 2, 5, 3, dtype="float64")
    k = RNG.normal(size=(1, 2, 4, 3))
    with wf.no_grad():
        first = cache.update(wf.asarray(k[:, :, :1]), wf.asarray(-k[:, :, :1]))
        keys, values, mask = cache.update(wf.asarray(k[:, :, 1:]), wf.asarray(-k[:, :, 1:]))
    assert first[0] is keys is cache.keys and values is cache.values and keys.dtype is wf.float64
    np.testing.assert_array_equal(keys.numpy()[:, :, :4], k)
    np.testing.assert_array_equal(values.numpy()[:, :, :4], -k)
    assert not keys.numpy()[:, :, 4:].any()
    assert mask.tolist() == [[i <= row for i in range(5)] for row in (1, 2, 3)]
    assert first[2].tolist() == [[True, False, False, False, False]]
    cache.reset()
    assert cache.position.item() == 0 and not cache.keys.numpy().any() and not cache.values.numpy().any()


def test_what_is_cast() -> None:
    cache = nn.KVCache(1, 1, 2, 2, dtype=wf.bfloat16)
    keys, _, _ = cache.update(wf.full((1, 1, 1, 2), 1 / 3), wf.ones((1, 1, 1, 2)))
    assert keys.dtype is wf.bfloat16 and keys.astype("float32").tolist()[0][0][0] == [0.333984375] * 2


def test_it_is_state_that_is_not_saved() -> None:
    cache = nn.KVCache(1, 2, 8, 4)
    assert list(cache.state_dict()) == [] and [n for n, _ in cache.named_buffers()] == ["keys", "values", "position"]
    assert cache.to("float16").keys.dtype is wf.float16 and cache.position.dtype is wf.int64
    assert repr(nn.KVCache(1, 2, 8, 4)) == "KVCache(1, 2, 8, 4, dtype=float32)"


def test_no_room() -> None:
    cache, x = nn.KVCache(1, 1, 4, 2), wf.ones((1, 1, 3, 2))
    compiled = wf.compile(cache.update)
    cache.update(x, x)
    before = cache.keys.numpy().copy()
    with pytest.raises(
        IndexError, match=r"KVCache.update: no room for 3 more positions behind 3 in a cache of length 4"
    ):
        cache.update(x, x)
    with pytest.raises(IndexError, match="index 4 is out of range for axis 2 of size 4"):
        compiled(x, x)
    assert cache.position.item() == 3 and cache.keys.numpy().tobytes() == before.tobytes()
    cache.reset()
    compiled(x, x)
    assert cache.position.item() == 3


@pytest.mark.parametrize(
    ("k", "v", "error", "message"),
    [
        (wf.ones((1, 2, 1, 4)), wf.ones((1, 2, 2, 4)), wf.ShapeError, r"v must be \(1, 2, n, 4\), of one n"),
        (wf.ones((2, 2, 1, 4)), wf.ones((1, 2, 1, 4)), wf.ShapeError, r"k \(2, 2, 1, 4\).*k must be"),
        (wf.ones((1, 2, 4)), wf.ones((1, 2, 1, 4)), wf.ShapeError, r"k \(1, 2, 4\)"),
        (None, wf.ones((1, 2, 1, 4)), wf.DTypeError, "KVCache.update: an operand of type NoneType"),
        (
            wf.ones((1, 2, 1, 4)).requires_grad_(),
            wf.ones((1, 2, 1, 4)),
            RuntimeError,
            "no gradient goes through a cache",
        ),
    ],
)
def test_operands_that_do_not_fit(k: Any, v: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nn.KVCache(1, 2, 8, 4).update(k, v)
    with pytest.raises(wf.ShapeError, match="KVCache: length is -1"):
        nn.KVCache(1, 2, -1, 4)

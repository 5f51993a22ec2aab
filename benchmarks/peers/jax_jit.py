"""JAX on CPU, everything under jit, state donated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..models.jax_models import decode, lstm, model
from ..workloads import (
    BATCH,
    DEEP,
    GPT2,
    GPT2_LENGTH,
    GPT_LENGTHS,
    LSTM,
    LSTM_LAYER,
    LSTM_LENGTHS,
    MLP,
    SMALL_GPT,
)

__all__ = ["decode", "lstm", "model"]
Timed = tuple[str, dict[str, Any]]


def start(threads: int, mode: str) -> str:
    """XLA takes as many threads as the process has CPUs."""
    return jax.__version__


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape, jnp.float32)


def matmul(n: int) -> Timed:
    f = jax.jit(jnp.matmul)
    return "f(a, b).block_until_ready()", {"f": f, "a": normal(n, n), "b": normal(n, n)}


def batched_matmul() -> Timed:
    f = jax.jit(jnp.matmul)
    return "f(a, b).block_until_ready()", {"f": f, "a": normal(32, 128, 128), "b": normal(32, 128, 64)}


def convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int) -> Timed:
    around = (kernel // 2, kernel // 2)
    f = jax.jit(lambda x, w: jax.lax.conv_general_dilated(x, w, (stride, stride), (around, around)))
    x, w = normal(batch, inside, size, size), normal(outside, inside, kernel, kernel)
    return "f(x, w).block_until_ready()", {"f": f, "x": x, "w": w}


def attention(length: int, backward: int) -> Timed:
    """Its heads are behind the tokens."""

    def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)

    f = jax.jit(jax.grad(lambda *x: attend(*x).sum(), argnums=(0, 1, 2)) if backward else attend)
    q = normal(1, length, 8, 64)
    return "ready(f(q, q, q))", {"f": f, "q": q, "ready": jax.block_until_ready}


def attention_decode(keys: int) -> Timed:
    q, k = normal(1, 1, 8, 64), normal(1, keys, 8, 64)
    f = jax.jit(jax.nn.dot_product_attention)
    return "f(q, k, k).block_until_ready()", {"f": f, "q": q, "k": k}


def matvec(n: int) -> Timed:
    f = jax.jit(jnp.matmul)
    return "f(a, v).block_until_ready()", {"f": f, "a": normal(n, n), "v": normal(n)}


def vecmat(n: int) -> Timed:
    f = jax.jit(jnp.matmul)
    return "f(v, a).block_until_ready()", {"f": f, "v": normal(n), "a": normal(n, n)}


def logits(batch: int, width: int, words: int) -> Timed:
    f = jax.jit(lambda x, w: x @ w.T)
    return "f(x, w).block_until_ready()", {"f": f, "x": normal(batch, width), "w": normal(words, width)}


def column_sum(rows: int, columns: int) -> Timed:
    f = jax.jit(lambda a: a.sum(0))
    return "f(a).block_until_ready()", {"f": f, "a": normal(rows, columns)}


def gelu_sum(n: int) -> Timed:
    f = jax.jit(lambda a, b, c: jax.nn.gelu(a * b + c, approximate=False).sum())
    return "f(a, b, c).block_until_ready()", {"f": f, "a": normal(n), "b": normal(n), "c": normal(n)}


def small_step() -> Timed:
    x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = jnp.array([[0.0], [1.0], [1.0], [1.0]])

    def loss(params: Any) -> jax.Array:
        (w1, b1), (w2, b2) = params
        p = jax.nn.sigmoid(jnp.tanh(x @ w1.T + b1) @ w2.T + b2)
        return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))

    def update(params: Any, gradients: Any) -> Any:
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)

    return train_step(loss, update, linear_layers((2, 8, 1)))


def mlp_step() -> Timed:
    x, y = normal(BATCH, MLP[0]), jax.random.randint(jax.random.key(1), (BATCH,), 0, MLP[-1])

    def loss(state: Any) -> jax.Array:
        h = x
        for w, b in state[:-1]:
            h = jax.nn.relu(h @ w.T + b)
        w, b = state[-1]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h @ w.T + b), y[:, None], axis=1))

    params = linear_layers(MLP)
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = (params, zeros, jax.tree.map(jnp.zeros_like, params), jnp.zeros((), jnp.int32))

    def update(state: Any, gradients: Any) -> Any:
        params, m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        adam = lambda p, m, v: p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8)  # noqa: E731
        return jax.tree.map(adam, params, m, v), m, v, t

    return train_step(loss, update, state, parameters=lambda state: state[0])


def linear_layers(sizes: tuple[int, ...]) -> list[tuple[jax.Array, jax.Array]]:
    return [(normal(b, a) / a**0.5, jnp.zeros(b)) for a, b in pairwise(sizes)]


def train_step(
    loss: Callable[[Any], jax.Array],
    update: Callable[[Any, Any], Any],
    state: Any,
    parameters: Callable[[Any], Any] = lambda state: state,
) -> Timed:
    """One jitted step; the state is threaded through it, as JAX wants it."""

    def body(state: Any) -> tuple[jax.Array, Any]:
        value, gradients = jax.value_and_grad(loss)(parameters(state))
        return value, update(state, gradients)

    jitted = jax.jit(body, donate_argnums=0)
    cell = [state]

    def step() -> None:
        value, cell[0] = jitted(cell[0])
        value.block_until_ready()

    return "step()", {"step": step}


def call_add() -> Timed:
    f = jax.jit(lambda x, y: x + y)
    return "f(x, y).block_until_ready()", {"f": f, "x": normal(10), "y": normal(10)}


def call_captured() -> Timed:
    held = [normal(10) for _ in range(20)]

    @jax.jit
    def f(x: jax.Array, y: jax.Array, held: list[jax.Array]) -> jax.Array:
        for tensor in held:
            x = x + tensor
        return x * y

    return "f(x, y, held).block_until_ready()", {"f": f, "x": normal(10), "y": normal(10), "held": held}


def layer_norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5) * scale + shift


def adamw(rate: float) -> Callable[[Any, Any], Any]:
    """The update of a state of parameters, their moments and a count."""

    def update(state: Any, gradients: Any) -> Any:
        params, m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        c1, c2 = 1 - 0.9**t, 1 - 0.999**t
        step = lambda p, m, v: p * (1 - rate * 0.01) - rate * (m / c1) / (jnp.sqrt(v / c2) + 1e-8)  # noqa: E731
        return jax.tree.map(step, params, m, v), m, v, t

    return update


def adamw_state(params: Any) -> Any:
    zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
    return params, *zeros, jnp.zeros((), jnp.int32)


def deep_step() -> Timed:
    layers, width, batch = DEEP
    x, y = normal(batch, width), normal(batch, width)
    params = [(*linear_layers((width, width))[0], jnp.ones(width), jnp.zeros(width)) for _ in range(layers)]

    def loss(params: Any) -> jax.Array:
        h = x
        for w, b, scale, shift in params:
            h = jax.nn.relu(layer_norm(h @ w.T + b, scale, shift))
        return ((h - y) ** 2).mean()

    return train_step(loss, adamw(1e-3), adamw_state(params), parameters=lambda state: state[0])


def gpt_parameters(layers: int, width: int, vocabulary: int, longest: int) -> dict[str, Any]:
    shapes = ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    norm = lambda: (jnp.ones(width), jnp.zeros(width))  # noqa: E731
    return {
        "tokens": normal(vocabulary, width) * 0.02,
        "places": normal(longest, width) * 0.02,
        "norm": norm(),
        "blocks": [
            {"norms": (norm(), norm()), "maps": [(normal(*shape) * 0.02, jnp.zeros(shape[0])) for shape in shapes]}
            for _ in range(layers)
        ],
    }


def gpt(params: dict[str, Any], tokens: jax.Array, heads: int) -> jax.Array:
    batch, length = tokens.shape
    x = params["tokens"][tokens] + params["places"][:length]
    width = x.shape[-1]
    mask = jnp.tril(jnp.ones((length, length), bool))
    for block in params["blocks"]:
        (qkv, qkv_bias), (out, out_bias), (up, up_bias), (down, down_bias) = block["maps"]
        parts = jnp.split(layer_norm(x, *block["norms"][0]) @ qkv.T + qkv_bias, 3, -1)
        q, k, v = (p.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3) for p in parts)
        scores = q @ k.mT * (width // heads) ** -0.5
        mixed = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1) @ v
        x = x + mixed.transpose(0, 2, 1, 3).reshape(batch, length, width) @ out.T + out_bias
        h = jax.nn.gelu(layer_norm(x, *block["norms"][1]) @ up.T + up_bias, approximate=False)
        x = x + h @ down.T + down_bias
    return layer_norm(x, *params["norm"]) @ params["tokens"].T


def random_tokens(vocabulary: int, batch: int, length: int) -> jax.Array:
    return jax.random.randint(jax.random.key(length), (batch, length), 0, vocabulary)


def gpt2_step() -> Timed:
    layers, heads, width, vocabulary, longest, batch = GPT2
    x, y = (random_tokens(vocabulary, batch, GPT2_LENGTH) for _ in range(2))

    def loss(params: Any) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(gpt(params, x, heads)), y[..., None], axis=-1).mean()

    state = adamw_state(gpt_parameters(layers, width, vocabulary, longest))
    return train_step(loss, adamw(1e-4), state, parameters=lambda state: state[0])


def lengths_lstm() -> Timed:
    """A scan: what JAX's users write, for a Python loop is unrolled anew for each length."""
    batch, inside, size = LSTM
    w, u, b = normal(inside, 4 * size) * 0.1, normal(size, 4 * size) * 0.1, normal(4 * size)

    def cell(state: Any, x: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x @ w + h @ u + b, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    zeros = jnp.zeros((batch, size))
    run = jax.jit(lambda x: jax.lax.scan(cell, (zeros, zeros), x)[0][0])
    rng = np.random.default_rng(0)
    return passes(run, [jnp.asarray(rng.standard_normal((n, batch, inside), np.float32)) for n in LSTM_LENGTHS])


def lstm_states(weights: Any, x: jax.Array) -> jax.Array:
    """All states of an LSTM, beginning with zeros."""
    w, u, a, b = weights
    zeros = jnp.zeros((x.shape[1], u.shape[1]))

    def cell(state: Any, x: jax.Array) -> Any:
        h, c = state
        i, f, g, o = jnp.split(x + h @ u.T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(cell, (zeros, zeros), x @ w.T + a + b)[1]


def lstm_weights(inside: int, size: int) -> Any:
    return tuple(normal(*shape) * 0.06 for shape in ((4 * size, inside), (4 * size, size), (4 * size,), (4 * size,)))


def lstm_layer(backward: int) -> Timed:
    inside, size, batch, steps = LSTM_LAYER
    weights, x = lstm_weights(inside, size), normal(steps, batch, inside)
    f = jax.jit(jax.grad(lambda w, x: (lstm_states(w, x) ** 2).sum()) if backward else lstm_states)
    return "jax.block_until_ready(f(w, x))", {"jax": jax, "f": f, "w": weights, "x": x}


def lengths_gpt() -> Timed:
    layers, heads, width, vocabulary, longest, batch = SMALL_GPT
    params = gpt_parameters(layers, width, vocabulary, longest)
    run = jax.jit(lambda tokens: gpt(params, tokens, heads))
    rng = np.random.default_rng(0)
    return passes(run, [jnp.asarray(rng.integers(0, vocabulary, (batch, n), np.int32)) for n in GPT_LENGTHS])


def passes(function: Any, inputs: list[jax.Array]) -> Timed:
    """A jitted function of all inputs in turn; it is compiled for each shape."""

    def go() -> None:
        for x in inputs:
            function(x).block_until_ready()

    return "go()", {"go": go, "captures": function._cache_size}

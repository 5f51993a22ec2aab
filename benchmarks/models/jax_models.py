"""The models in JAX, channels last, under jit, what is updated donated."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from . import functional, inputs, sizes
from .optimizers import ADAMW, adamw, is_updated, sgd

Timed = tuple[str, dict[str, Any]]
ops = sys.modules[__name__]

relu, gelu, sigmoid, tanh = jax.nn.relu, lambda x: jax.nn.gelu(x, approximate=False), jax.nn.sigmoid, jnp.tanh
softmax, log_softmax, where, rsqrt, zeros = jax.nn.softmax, jax.nn.log_softmax, jnp.where, lax.rsqrt, jnp.zeros
sqrt, concat, reshape, transpose = jnp.sqrt, jnp.concatenate, jnp.reshape, jnp.transpose
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def load(weights: str) -> dict[str, jax.Array]:
    return {key: jnp.asarray(array) for key, array in inputs.load(weights).items()}


def relu6(x: jax.Array) -> jax.Array:
    return jnp.clip(x, 0, 6)


def conv(x: jax.Array, w: jax.Array, stride: int, around: int, depthwise: bool) -> jax.Array:
    padding = ((around, around), (around, around))
    groups = x.shape[-1] if depthwise else 1
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=DIMENSIONS, feature_group_count=groups
    )


def conv_transpose(x: jax.Array, w: jax.Array) -> jax.Array:
    """2x2 with stride 2: windows do not overlap. ``w`` is (in, out, 2, 2), as PyTorch has it."""
    batch, height, width, _ = x.shape
    apart = jnp.einsum("nhwi,ioab->nhawbo", x, w)
    return apart.reshape(batch, 2 * height, 2 * width, w.shape[1])


def max_pool(x: jax.Array, size: int, stride: int, around: int) -> jax.Array:
    padding = ((0, 0), (around, around), (around, around), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), padding)


def mean(x: jax.Array, axes: tuple[int, ...] | None, keep: bool = False) -> jax.Array:
    return jnp.mean(x, axes, keepdims=keep)


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))


def swap(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, -1, -2)


def thirds(x: jax.Array) -> list[jax.Array]:
    return jnp.split(x, 3, -1)


def quarters(x: jax.Array) -> list[jax.Array]:
    return jnp.split(x, 4, -1)


def tril(length: int) -> jax.Array:
    return jnp.tril(jnp.ones((length, length), bool))


def take(table: jax.Array, rows: jax.Array) -> jax.Array:
    return table[rows]


def pick(x: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, targets[..., None], -1)[..., 0]


def row(table: jax.Array, at: jax.Array) -> jax.Array:
    return lax.dynamic_slice_in_dim(table, at, 1)


def upto(length: int, at: jax.Array) -> jax.Array:
    return jnp.arange(length) <= at


def write(room: jax.Array, part: jax.Array, at: jax.Array) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(room, part, at, 2)


def scan(step: Any, state: Any, parts: jax.Array) -> Any:
    return lax.scan(lambda state, part: (step(state, part), None), state, parts)[0]


def model(name: str, batch: int, weights: str) -> Timed:
    """Inference, or a training step, of the model."""
    p = load(weights)
    x, y = (None if part is None else jnp.asarray(part) for part in inputs.channels_last(name, batch))
    if name not in sizes.TRAINED:
        run = jax.jit(lambda p, x: functional.forward(ops, name, p, x, None))
        answer = lambda: np.asarray(run(p, x)).ravel()[:100].tolist()  # noqa: E731
        return "run(p, x).block_until_ready()", {"run": run, "p": p, "x": x, "check": answer}
    losses: list[Any] = []
    update, state = (adamw, ADAMW) if name in sizes.GPTS else (sgd, 1)
    fixed = {key: value for key, value in p.items() if not is_updated(key)}
    trained = {key: value for key, value in p.items() if is_updated(key)}
    kept = [{key: jnp.zeros_like(value) for key, value in trained.items()} for _ in range(state)]

    def one(trained: Any, fixed: Any, kept: Any, count: Any, x: Any, y: Any) -> Any:
        def loss(trained: Any) -> Any:
            new: dict[str, Any] = {}
            value = functional.forward(ops, name, {**trained, **fixed}, x, new)
            return functional.cross_entropy(ops, value, y), new

        (value, new), grads = jax.value_and_grad(loss, has_aux=True)(trained)
        count = count + 1
        trained, kept = update(ops, trained, grads, kept, sizes.RATE[name], count)
        return value, trained, {**fixed, **new}, kept, count

    compiled = jax.jit(one, donate_argnums=(0, 1, 2, 3))
    everything = [trained, fixed, kept, jnp.zeros((), jnp.float32)]

    def step() -> None:
        value, *everything[:] = compiled(*everything, x, y)
        value.block_until_ready()
        if len(losses) < 3:
            losses.append(value)

    return "step()", {"step": step, "check": lambda: [float(losses[0]), float(losses[2])]}


def decode(weights: str) -> Timed:
    """DECODED tokens behind a prompt, one after the other, each the likeliest."""
    p, (layers, heads, width, _, _) = load(weights), sizes.GPTS["gpt2"]
    room = (1, heads, sizes.PROMPT + sizes.DECODED, width // heads)
    token = jax.jit(lambda p, t, at, caches: functional.gpt_token(ops, p, t, at, caches, heads), donate_argnums=(3,))
    caches = [(jnp.zeros(room), jnp.zeros(room)) for _ in range(layers)]
    for at, t in enumerate(inputs.prompt()[0]):
        logits, caches = token(p, jnp.asarray([[t]]), at, caches)
    first, kept = jnp.argmax(logits, -1)[:, None], [caches]
    said: list[int] = []

    def go() -> None:
        t, caches, all_of_them = first, kept[0], [first]
        for at in range(sizes.PROMPT, sizes.PROMPT + sizes.DECODED):
            logits, caches = token(p, t, at, caches)
            t = jnp.argmax(logits, -1)[:, None]
            all_of_them.append(t)
        kept[0], said[:] = caches, [int(t[0, 0]) for t in all_of_them]

    return "go()", {"go": go, "check": lambda: said[:8]}


def lstm(weights: str) -> Timed:
    """A training pass over all batches."""
    p = load(weights)
    losses: list[Any] = []
    batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in inputs.lstm_batches()]
    kept = [{key: jnp.zeros_like(value) for key, value in p.items()}]

    @jax.jit
    def one(p: Any, kept: Any, x: Any, y: Any) -> Any:
        value, grads = jax.value_and_grad(lambda p: functional.cross_entropy(ops, functional.classifier(ops, p, x), y))(
            p
        )
        return value, *sgd(ops, p, grads, kept, 0.01, None)

    everything = [p, kept]

    def go() -> None:
        for x, y in batches:
            value, *everything[:] = one(*everything, x, y)
            if len(losses) < 3:
                losses.append(value)
        value.block_until_ready()

    check = lambda: [float(losses[0]), float(losses[2])]  # noqa: E731
    return "go()", {"go": go, "captures": one._cache_size, "check": check}

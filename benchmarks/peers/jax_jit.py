"""JAX on CPU, everything under jit, state donated."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp

from ..workloads import BATCH, MLP

Timed = tuple[str, dict[str, Any]]


def start(threads: int, compiled: bool) -> str:
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


def matvec(n: int) -> Timed:
    f = jax.jit(jnp.matmul)
    return "f(a, v).block_until_ready()", {"f": f, "a": normal(n, n), "v": normal(n)}


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

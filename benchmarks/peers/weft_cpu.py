"""Weft, eager and with wf.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import weft as wf
from weft import nn, optim
from weft.nn import functional as F
from weft.transforms import compile as compiling

from ..models.weft_models import decode, lstm, model
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
COMPILED = False


def start(threads: int, mode: str) -> str:
    global COMPILED
    COMPILED = mode == "compiled"
    wf.set_num_threads(threads)
    return wf.__version__


def normal(*shape: int) -> wf.Tensor:
    return wf.random.normal(shape=shape)


def maybe_compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return wf.compile(function) if COMPILED else function


def add() -> Timed:
    return "x + y", {"x": normal(10), "y": normal(10)}


def add_recorded() -> Timed:
    return "x + y", {"x": wf.tensor(normal(10).numpy(), requires_grad=True), "y": normal(10)}


def view() -> Timed:
    return "x[3:5]", {"x": normal(10)}


def add_in_place() -> Timed:
    return "x.add_(y)", {"x": normal(10), "y": normal(10)}


def write_item() -> Timed:
    return "x[3] = 0.5", {"x": normal(10)}


def chain() -> Timed:
    x = wf.tensor([0.5] * 10, requires_grad=True)

    def forward_backward() -> None:
        y = x
        for _ in range(10):
            y = y * x
            y = y + x
        y.sum().backward()
        x.grad = None

    return "f()", {"f": forward_backward}


def small_step() -> Timed:
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    x = wf.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = wf.tensor([[0.0], [1.0], [1.0], [1.0]])
    return train_step(net, F.binary_cross_entropy, optim.SGD(net.parameters(), lr=0.1), x, y)


def optimizer_step(count: int, rows: int, columns: int) -> Timed:
    params = [nn.Parameter(normal(rows, columns)) for _ in range(count)]
    for p in params:
        p.grad = normal(rows, columns)
    return "step()", {"step": maybe_compile(optim.AdamW(params).step)}


def matmul(n: int) -> Timed:
    return "a @ b", {"a": normal(n, n), "b": normal(n, n)}


def batched_matmul() -> Timed:
    return "a @ b", {"a": normal(32, 128, 128), "b": normal(32, 128, 64)}


def convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int) -> Timed:
    x, w = normal(batch, inside, size, size), normal(outside, inside, kernel, kernel)
    return f"f(x, w, None, {stride}, {kernel // 2})", {"f": F.conv2d, "x": x, "w": w}


def attention(length: int, backward: int) -> Timed:
    q, k, v = (normal(1, 8, length, 64).requires_grad_(bool(backward)) for _ in range(3))

    def both() -> None:
        for x in (q, k, v):
            x.grad = None
        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()

    if backward:
        return "f()", {"f": both}
    return "f(q, k, v, is_causal=True)", {"f": F.scaled_dot_product_attention, "q": q, "k": k, "v": v}


def attention_decode(keys: int) -> Timed:
    q, k, v = (normal(1, 8, n, 64) for n in (1, keys, keys))
    return "f(q, k, v)", {"f": F.scaled_dot_product_attention, "q": q, "k": k, "v": v}


def matvec(n: int) -> Timed:
    return "a @ v", {"a": normal(n, n), "v": normal(n)}


def vecmat(n: int) -> Timed:
    return "v @ a", {"v": normal(n), "a": normal(n, n)}


def logits(batch: int, width: int, words: int) -> Timed:
    return "x @ w.T", {"x": normal(batch, width), "w": normal(words, width)}


def column_sum(rows: int, columns: int) -> Timed:
    return "a.sum(0)", {"a": normal(rows, columns)}


def gelu_sum(n: int) -> Timed:
    f = maybe_compile(lambda a, b, c: F.gelu(a * b + c).sum())
    return "f(a, b, c)", {"f": f, "a": normal(n), "b": normal(n), "c": normal(n)}


def pool(kind: str, size: int) -> Timed:
    return "f(x, size, 2)", {"f": getattr(F, f"{kind}_pool2d"), "x": normal(32, 64, 112, 112), "size": size}


def mlp_step() -> Timed:
    net = nn.Sequential(
        nn.Linear(MLP[0], MLP[1]), nn.ReLU(), nn.Linear(MLP[1], MLP[2]), nn.ReLU(), nn.Linear(MLP[2], MLP[3])
    )
    x, y = normal(BATCH, MLP[0]), wf.random.integers(0, MLP[-1], shape=(BATCH,))
    return train_step(net, F.cross_entropy, optim.Adam(net.parameters(), lr=1e-3), x, y)


def train_step(net: nn.Module, loss: Callable[..., Any], opt: optim.Optimizer, x: wf.Tensor, y: wf.Tensor) -> Timed:
    @maybe_compile
    def step(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        value = loss(net(x), y)
        opt.zero_grad()
        value.backward()
        opt.step()
        return value

    return "step(x, y)", {"step": step, "x": x, "y": y}


def call_add() -> Timed:
    return "f(x, y)", {"f": maybe_compile(lambda x, y: x + y), "x": normal(10), "y": normal(10)}


def call_add_recorded() -> Timed:
    statement, names = call_add()
    return statement, {**names, "x": wf.tensor(normal(10).numpy(), requires_grad=True)}


def call_captured() -> Timed:
    held = [normal(10) for _ in range(20)]

    @maybe_compile
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        for tensor in held:
            x = x + tensor
        return x * y

    return "f(x, y)", {"f": f, "x": normal(10), "y": normal(10)}


def deep_step() -> Timed:
    layers, width, batch = DEEP
    blocks = [nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU()) for _ in range(layers)]
    net = nn.Sequential(*blocks)
    x, y = normal(batch, width), normal(batch, width)
    return train_step(net, F.mse_loss, optim.AdamW(net.parameters(), lr=1e-3), x, y)


class Block(nn.Module):
    """A layer of GPT-2."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: wf.Tensor) -> wf.Tensor:
        batch, length, width = x.shape
        q, k, v = (
            part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).chunk(3, -1)
        )
        scores = q @ k.mT * (width // self.heads) ** -0.5
        mask = wf.tril(wf.ones((length, length), dtype=wf.bool))
        weights = F.softmax(wf.where(mask, scores, float("-inf")), -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    """GPT-2, its head tied to the embedding."""

    def __init__(self, layers: int, heads: int, width: int, vocabulary: int, longest: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.blocks = nn.Sequential(*(Block(heads, width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: wf.Tensor) -> wf.Tensor:
        x = self.tokens(tokens) + self.places(wf.arange(tokens.shape[1]))
        return self.norm(self.blocks(x)) @ self.tokens.weight.mT


def tokens(vocabulary: int, batch: int, length: int) -> wf.Tensor:
    return wf.random.integers(0, vocabulary, shape=(batch, length))


def gpt2_step() -> Timed:
    *sizes, batch = GPT2
    net = GPT(*sizes)
    x, y = (tokens(sizes[3], batch, GPT2_LENGTH) for _ in range(2))
    opt = optim.AdamW(net.parameters(), lr=1e-4)
    return train_step(net, lambda p, y: F.cross_entropy(p.reshape(-1, sizes[3]), y.reshape(-1)), opt, x, y)


def lengths_lstm() -> Timed:
    batch, inside, size = LSTM
    w, u, b = normal(inside, 4 * size) * 0.1, normal(size, 4 * size) * 0.1, normal(4 * size)

    def run(x: wf.Tensor) -> wf.Tensor:
        h = c = wf.zeros((batch, size))
        for t in range(x.shape[0]):
            i, f, g, o = (x[t] @ w + h @ u + b).chunk(4, -1)
            c = F.sigmoid(f) * c + F.sigmoid(i) * wf.tanh(g)
            h = F.sigmoid(o) * wf.tanh(c)
        return h

    return passes(run, [normal(n, batch, inside) for n in LSTM_LENGTHS])


def lengths_gpt() -> Timed:
    *sizes, batch = SMALL_GPT
    net = GPT(*sizes).eval()
    return passes(net.__call__, [tokens(sizes[3], batch, n) for n in GPT_LENGTHS])


def lstm_layer(backward: int) -> Timed:
    inside, size, batch, steps = LSTM_LAYER
    net, x = nn.LSTM(inside, size), normal(steps, batch, inside)

    def forward() -> None:
        with wf.no_grad():
            net(x)

    def both() -> None:
        net.zero_grad()
        (net(x)[0] ** 2).sum().backward()

    return "f()", {"f": both if backward else forward}


def passes(function: Callable[..., Any], inputs: list[wf.Tensor]) -> Timed:
    """A function without gradients, of all inputs in turn."""
    captures, capturing, f = [0], compiling.capturing, maybe_compile(function)

    def counted() -> Any:
        captures[0] += 1
        return capturing()

    compiling.capturing = counted

    def go() -> None:
        with wf.no_grad():
            for x in inputs:
                f(x)

    return "go()", {"go": go, "captures": lambda: captures[0]}

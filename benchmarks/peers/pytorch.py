"""PyTorch on CPU, eager and with torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models import pytorch_models
from ..models.language import GPT
from ..models.pytorch_models import decode, lstm, model, save
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

__all__ = ["decode", "lstm", "model", "save"]
Timed = tuple[str, dict[str, Any]]
COMPILED = False


def start(threads: int, mode: str) -> str:
    global COMPILED
    COMPILED = mode == "compiled"
    pytorch_models.start(mode)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return torch.__version__


def maybe_compile(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function) if COMPILED else function


def add() -> Timed:
    return "x + y", {"x": torch.randn(10), "y": torch.randn(10)}


def add_recorded() -> Timed:
    return "x + y", {"x": torch.randn(10, requires_grad=True), "y": torch.randn(10)}


def view() -> Timed:
    return "x[3:5]", {"x": torch.randn(10)}


def add_in_place() -> Timed:
    return "x.add_(y)", {"x": torch.randn(10), "y": torch.randn(10)}


def write_item() -> Timed:
    return "x[3] = 0.5", {"x": torch.randn(10)}


def chain() -> Timed:
    x = torch.full((10,), 0.5, requires_grad=True)

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
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    return train_step(net, F.binary_cross_entropy, torch.optim.SGD(net.parameters(), lr=0.1), x, y)


def optimizer_step(count: int, rows: int, columns: int) -> Timed:
    params = [nn.Parameter(torch.randn(rows, columns)) for _ in range(count)]
    for p in params:
        p.grad = torch.randn(rows, columns)
    return "step()", {"step": maybe_compile(torch.optim.AdamW(params, foreach=True).step)}


def matmul(n: int) -> Timed:
    return "a @ b", {"a": torch.randn(n, n), "b": torch.randn(n, n)}


def batched_matmul() -> Timed:
    return "a @ b", {"a": torch.randn(32, 128, 128), "b": torch.randn(32, 128, 64)}


def convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int) -> Timed:
    x, w = torch.randn(batch, inside, size, size), torch.randn(outside, inside, kernel, kernel)
    return f"f(x, w, None, {stride}, {kernel // 2})", {"f": F.conv2d, "x": x, "w": w}


def attention(length: int, backward: int) -> Timed:
    q, k, v = (torch.randn(1, 8, length, 64, requires_grad=bool(backward)) for _ in range(3))

    def both() -> Any:
        return torch.autograd.grad(F.scaled_dot_product_attention(q, k, v, is_causal=True).sum(), (q, k, v))

    if backward:
        return "f()", {"f": both}
    return "f(q, k, v, is_causal=True)", {"f": F.scaled_dot_product_attention, "q": q, "k": k, "v": v}


def attention_decode(keys: int) -> Timed:
    q, k, v = (torch.randn(1, 8, n, 64) for n in (1, keys, keys))
    return "f(q, k, v)", {"f": F.scaled_dot_product_attention, "q": q, "k": k, "v": v}


def matvec(n: int) -> Timed:
    return "a @ v", {"a": torch.randn(n, n), "v": torch.randn(n)}


def vecmat(n: int) -> Timed:
    return "v @ a", {"v": torch.randn(n), "a": torch.randn(n, n)}


def logits(batch: int, width: int, words: int) -> Timed:
    return "x @ w.T", {"x": torch.randn(batch, width), "w": torch.randn(words, width)}


def column_sum(rows: int, columns: int) -> Timed:
    return "a.sum(0)", {"a": torch.randn(rows, columns)}


def gelu_sum(n: int) -> Timed:
    f = maybe_compile(lambda a, b, c: F.gelu(a * b + c).sum())
    return "f(a, b, c)", {"f": f, "a": torch.randn(n), "b": torch.randn(n), "c": torch.randn(n)}


def pool(kind: str, size: int) -> Timed:
    return "f(x, size, 2)", {"f": getattr(F, f"{kind}_pool2d"), "x": torch.randn(32, 64, 112, 112), "size": size}


def mlp_step() -> Timed:
    net = nn.Sequential(
        nn.Linear(MLP[0], MLP[1]), nn.ReLU(), nn.Linear(MLP[1], MLP[2]), nn.ReLU(), nn.Linear(MLP[2], MLP[3])
    )
    x, y = torch.randn(BATCH, MLP[0]), torch.randint(0, MLP[-1], (BATCH,))
    # fused is PyTorch's fastest Adam in both modes: torch.compile of opt.step is slower
    return train_step(net, F.cross_entropy, torch.optim.Adam(net.parameters(), lr=1e-3, fused=True), x, y)


def train_step(net: nn.Module, loss: Callable[..., Any], opt: torch.optim.Optimizer, x: Any, y: Any) -> Timed:
    forward = maybe_compile(lambda x, y: loss(net(x), y))

    def step() -> None:
        opt.zero_grad()
        forward(x, y).backward()
        opt.step()

    return "step()", {"step": step}


def call_add() -> Timed:
    return "f(x, y)", {"f": maybe_compile(lambda x, y: x + y), "x": torch.randn(10), "y": torch.randn(10)}


def call_add_recorded() -> Timed:
    statement, names = call_add()
    return statement, {**names, "x": torch.randn(10, requires_grad=True)}


def call_captured() -> Timed:
    held = [torch.randn(10) for _ in range(20)]

    @maybe_compile
    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for tensor in held:
            x = x + tensor
        return x * y

    return "f(x, y)", {"f": f, "x": torch.randn(10), "y": torch.randn(10)}


def deep_step() -> Timed:
    layers, width, batch = DEEP
    blocks = [nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU()) for _ in range(layers)]
    net = nn.Sequential(*blocks)
    x, y = torch.randn(batch, width), torch.randn(batch, width)
    return train_step(net, F.mse_loss, torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True), x, y)


def gpt2_step() -> Timed:
    *sizes, batch = GPT2
    net = GPT(*sizes)
    x, y = (torch.randint(0, sizes[3], (batch, GPT2_LENGTH)) for _ in range(2))
    opt = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    return train_step(net, lambda p, y: F.cross_entropy(p.reshape(-1, sizes[3]), y.reshape(-1)), opt, x, y)


def lengths_lstm() -> Timed:
    batch, inside, size = LSTM
    w, u, b = torch.randn(inside, 4 * size) * 0.1, torch.randn(size, 4 * size) * 0.1, torch.randn(4 * size)

    def run(x: torch.Tensor) -> torch.Tensor:
        h = c = torch.zeros(batch, size)
        for t in range(x.shape[0]):
            i, f, g, o = (x[t] @ w + h @ u + b).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h

    return passes(run, [torch.randn(n, batch, inside) for n in LSTM_LENGTHS])


def lengths_gpt() -> Timed:
    *sizes, batch = SMALL_GPT
    return passes(GPT(*sizes).eval(), [torch.randint(0, sizes[3], (batch, n)) for n in GPT_LENGTHS])


def lstm_layer(backward: int) -> Timed:
    inside, size, batch, steps = LSTM_LAYER
    net, x = nn.LSTM(inside, size), torch.randn(steps, batch, inside)

    def forward() -> None:
        with torch.no_grad():
            net(x)

    def both() -> None:
        net.zero_grad()
        (net(x)[0] ** 2).sum().backward()

    return "f()", {"f": both if backward else forward}


def passes(function: Callable[..., Any], inputs: list[torch.Tensor]) -> Timed:
    """A function without gradients, of all inputs in turn."""
    f = torch.compile(function, dynamic=True) if COMPILED else function

    def go() -> None:
        with torch.no_grad():
            for x in inputs:
                f(x)

    return "go()", {"go": go, "captures": pytorch_models.captures}

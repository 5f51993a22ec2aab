"""PyTorch on CPU, eager and with torch.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..workloads import BATCH, MLP

Timed = tuple[str, dict[str, Any]]
COMPILED = False


def start(threads: int, compiled: bool) -> str:
    global COMPILED
    COMPILED = compiled
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
    return "step()", {"step": torch.optim.AdamW(params, foreach=True).step}


def matmul(n: int) -> Timed:
    return "a @ b", {"a": torch.randn(n, n), "b": torch.randn(n, n)}


def batched_matmul() -> Timed:
    return "a @ b", {"a": torch.randn(32, 128, 128), "b": torch.randn(32, 128, 64)}


def convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int) -> Timed:
    x, w = torch.randn(batch, inside, size, size), torch.randn(outside, inside, kernel, kernel)
    return f"f(x, w, None, {stride}, {kernel // 2})", {"f": F.conv2d, "x": x, "w": w}


def matvec(n: int) -> Timed:
    return "a @ v", {"a": torch.randn(n, n), "v": torch.randn(n)}


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

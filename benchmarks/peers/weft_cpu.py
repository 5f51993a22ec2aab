"""Weft, eager and with wf.compile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

from ..workloads import BATCH, MLP

Timed = tuple[str, dict[str, Any]]
COMPILED = False


def start(threads: int, compiled: bool) -> str:
    global COMPILED
    COMPILED = compiled
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
    return "step()", {"step": optim.AdamW(params).step}


def matmul(n: int) -> Timed:
    return "a @ b", {"a": normal(n, n), "b": normal(n, n)}


def batched_matmul() -> Timed:
    return "a @ b", {"a": normal(32, 128, 128), "b": normal(32, 128, 64)}


def convolution(batch: int, inside: int, outside: int, size: int, kernel: int, stride: int) -> Timed:
    x, w = normal(batch, inside, size, size), normal(outside, inside, kernel, kernel)
    return f"f(x, w, None, {stride}, {kernel // 2})", {"f": F.conv2d, "x": x, "w": w}


def matvec(n: int) -> Timed:
    return "a @ v", {"a": normal(n, n), "v": normal(n)}


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

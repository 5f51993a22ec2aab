"""Iris: three measurements of a flower predict the fourth (the petal's width, in cm).

The first step is taken one line at a time, with every value in view, as one would in a debugger.
"""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_iris

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

from .timing import Timings

STEPS = 400
TEST = 30


def flowers() -> tuple[np.ndarray, np.ndarray]:
    """Measurements (150, 4), shuffled, and the same with each column at mean 0 and deviation 1; float32."""
    raw = load_iris().data.astype(np.float32)
    raw = raw[np.random.default_rng(0).permutation(len(raw))]
    train = raw[:-TEST]
    return raw, (raw - train.mean(axis=0)) / train.std(axis=0)


def inspect_one_step(console: Console, net: nn.Module, opt: optim.Optimizer, x: wf.Tensor, y: wf.Tensor) -> None:
    """One training step, printed line by line."""
    hidden = net[1](net[0](x))
    console.print(f"  hidden = tanh(x @ W.T + b)  {hidden.shape}, first {np.round(hidden[0, :3].numpy(), 3)}")
    predicted = net[2](hidden)
    console.print(f"  predicted                   {predicted.shape}, first {predicted[0].item():+.4f}")
    loss = F.mse_loss(predicted, y)
    console.print(f"  loss                        {loss.item():.4f}")
    opt.zero_grad()
    loss.backward()
    gradient = net[2].weight.grad
    assert gradient is not None
    console.print(f"  gradient of the last weight {gradient.shape}, first {np.round(gradient.numpy()[0, :3], 3)}")
    before = net[2].weight.numpy().copy()
    opt.step()
    change = np.abs(net[2].weight.numpy() - before).max()
    console.print(f"  after the step              no entry of it moved by more than {change:.4f}")


def run(console: Console, timings: Timings) -> None:
    """Inspect one step, train, and show some flowers that were not trained on."""
    wf.random.seed(0)
    raw, scaled = flowers()
    x, y = wf.tensor(scaled[:-TEST, :3]), wf.tensor(scaled[:-TEST, 3:])
    net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
    opt = optim.Adam(net.parameters(), lr=0.01)
    inspect_one_step(console, net, opt, x, y)

    with timings.measure("iris, eager", STEPS):
        for _ in track(range(STEPS), description="  training", console=console, transient=True):
            loss = F.mse_loss(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()

    with wf.no_grad():
        answer = net(wf.tensor(scaled[-TEST:, :3])).numpy()[:, 0]
    centimetres = answer * raw[:-TEST, 3].std() + raw[:-TEST, 3].mean()
    error = float(np.abs(centimetres - raw[-TEST:, 3]).mean())
    table = Table()
    for title in ("sepal length", "sepal width", "petal length", "petal width", "predicted"):
        table.add_column(title, justify="right")
    for flower, width in list(zip(raw[-TEST:], centimetres, strict=True))[:4]:
        table.add_row(*(f"{value:.1f}" for value in flower), f"{width:.2f}")
    console.print(table)
    console.print(f"  {TEST} flowers that it never saw: [bold]{error:.2f} cm[/bold] off on average")
    assert error < 0.25, error


if __name__ == "__main__":
    run(Console(), Timings())

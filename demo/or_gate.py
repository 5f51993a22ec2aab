"""The OR gate, define by run: three rows of the truth table in, the fourth predicted."""

from __future__ import annotations

from rich.console import Console

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

from .timing import Timings

STEPS = 500


def run(console: Console, timings: Timings) -> None:
    """Train line by line; every value is there to be looked at."""
    wf.random.seed(0)
    x = wf.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    y = wf.tensor([[0.0], [1.0], [1.0]])
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    opt = optim.Adam(net.parameters(), lr=0.05)
    with timings.measure("OR gate, eager", STEPS):
        for _ in range(STEPS):
            loss = F.binary_cross_entropy(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
    predicted = net(wf.tensor([[1.0, 1.0]])).item()
    console.print(f"  loss {loss.item():.5f}; [1, 1], the row that it never saw: [bold]{predicted:.4f}[/bold]")
    assert predicted > 0.9, predicted


if __name__ == "__main__":
    run(Console(), Timings())

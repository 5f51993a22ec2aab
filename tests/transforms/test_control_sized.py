"""Branches and loops in compiled functions of any shape: one capture for many sizes, with the bits of eager code."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from control_flow import bits

import weft as wf
from weft import nn, optim
from weft.core.errors import IndexError_, ShapeError
from weft.transforms import compile as compiling

SIZES = (4, 5, 9, 7, 30, 12, 7)
WEIGHT = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)

Pair = tuple[wf.Tensor, wf.Tensor]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An item for each capture."""
    found: list[int] = []
    plain = compiling.capture

    def counted(*args: Any, **kwargs: Any) -> Any:
        found.append(1)
        return plain(*args, **kwargs)

    monkeypatch.setattr(compiling, "capture", counted)
    return found


def rows(n: int, sign: float = 1.0) -> wf.Tensor:
    """n rows of three numbers, with a sum of this sign."""
    values = np.random.default_rng(n).normal(size=(n, 3)) * 0.3
    return wf.asarray((values - values.mean() + 0.1 * sign).astype(np.float32))


def cell(c: wf.Tensor, x: wf.Tensor, w: wf.Tensor) -> Pair:
    after = wf.tanh(c @ w + x)
    return after, after


PROGRAMS: dict[str, Callable[[wf.Tensor, wf.Tensor], Any]] = {
    "a branch": lambda x, w: wf.cond(x.sum() > 0, lambda x: (x @ w).exp().sum(), lambda x: (x * 3 @ w).sum(), x),
    "a branch over what is around it": lambda x, w: wf.cond(x.sum() > 0, lambda: x * 2, lambda: x - x.shape[0]),
    "a while": lambda x, w: wf.while_loop(lambda x: x.sum() < 100, lambda x: x * x + 1 + (x @ w) ** 2, x, max_steps=30),
    "a scan over a size": lambda x, w: wf.scan(lambda c, r: cell(c, r, w), x[0], x),
    "backwards": lambda x, w: wf.scan(lambda c, r: cell(c, r, w), x[0], x, reverse=True)[1],
    "a scan with a carry of a size": lambda x, w: wf.scan(
        lambda c, r: cell(c, r, w), wf.zeros((x.shape[0], 3)), wf.stack([x, x + 1, x * 2])
    ),
    "so often": lambda x, w: wf.scan(lambda c, _: cell(c, x, w), x * 0, length=x.shape[0] - 1),
    "nested": lambda x, w: wf.scan(
        lambda c, r: (
            wf.cond(
                c.sum() > 0,
                lambda c: wf.while_loop(lambda c: c.sum() < 5, lambda c: c + r * r + 0.5, c, max_steps=9),
                lambda c: c - x.mean(0),
                c,
            ),
            c * w,
        ),
        x[0],
        x,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_capture_serves_all_sizes(name: str, captures: list[int]) -> None:
    w = wf.asarray(WEIGHT)
    compiled = wf.compile(PROGRAMS[name])
    for n in SIZES:
        for sign in (1, -1):
            assert bits(compiled(rows(n, sign), w)) == bits(PROGRAMS[name](rows(n, sign), w))
    assert len(captures) == 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_inside(name: str, captures: list[int]) -> None:
    def loss(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
        found = PROGRAMS[name](x, w)
        return sum([(t * t).sum() for t in (found if isinstance(found, tuple) else (found,))])  # type: ignore[return-value]

    gradient = wf.grad(loss, (0, 1))
    compiled = wf.compile(gradient)
    for n in SIZES:
        for sign in (1, -1):
            args = rows(n, sign), wf.asarray(WEIGHT)
            for found, expected in zip(compiled(*args), gradient(*args), strict=True):
                assert np.array_equal(found.numpy(), expected.numpy())  # where zeros meet, their signs may differ
    assert len(captures) == 2


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_flow_back_from_outside(name: str, create_graph: bool, captures: list[int]) -> None:
    weights = [wf.tensor(WEIGHT, requires_grad=True) for _ in range(2)]
    modes = PROGRAMS[name], wf.compile(PROGRAMS[name])
    for n in SIZES:
        for sign in (1, -1):
            seen = []
            for function, w in zip(modes, weights, strict=True):
                x = rows(n, sign).requires_grad_()
                found = function(x, w)
                found = found if isinstance(found, tuple) else (found,)
                sum([(t * t).sum() for t in found]).backward(create_graph=create_graph)  # type: ignore[union-attr]
                grads = [t.grad for t in (x, w)]
                seen.append([None if g is None else g.detach().numpy() + 0.0 for g in grads])
                w.grad = None
            for a, b in zip(*seen, strict=True):
                assert (a is None) == (b is None) and (a is None or np.array_equal(a, b))
    assert len(captures) == 2


def test_sizes_that_are_said_to_be_two_are_not_taken_for_one() -> None:
    def f(x: wf.Tensor, y: wf.Tensor) -> Any:
        return wf.scan(lambda c, parts: (c + parts[0].sum() * parts[1].sum(), None), wf.asarray(0.0), (x, y))[0]

    for names, raises in (("nn", False), ("nm", True)):
        compiled = wf.compile(f, dynamic={"x": {0: names[0]}, "y": {0: names[1]}})
        with pytest.raises(ShapeError, match=r"xs\[1\] has m parts") if raises else nullcontext():
            assert bits(compiled(rows(5), rows(5))) == bits(f(rows(5), rows(5)))


def test_a_training_step_over_lengths_is_captured_twice(captures: list[int]) -> None:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input, self.state, self.out = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, h: wf.Tensor, x: wf.Tensor) -> Pair:
            h = wf.tanh(self.input(x) + self.state(h))
            return h, self.out(h)

    def made() -> tuple[Cell, Any, Callable[[wf.Tensor], wf.Tensor]]:
        wf.random.seed(3)
        net = Cell()
        opt = optim.AdamW(net.parameters(), lr=1e-2)

        def step(x: wf.Tensor) -> wf.Tensor:
            _, ys = wf.scan(net, wf.zeros((x.shape[1], 8)), x[:-1])
            loss = ((ys - x[1:]) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        return net, opt, step

    (one, _, eager), (two, _, step) = made(), made()
    compiled = wf.compile(step)
    for length, batch in ((5, 2), (6, 4), (7, 3), (19, 5), (6, 4)):
        x = wf.asarray(np.random.default_rng(length).normal(size=(length, batch, 3)).astype(np.float32))
        assert bits(compiled(x)) == bits(eager(x))
    assert bits(list(two.state_dict().values())) == bits(list(one.state_dict().values()))
    assert len(captures) == 2


def test_a_bound_is_kept_and_errors_are_those_of_numbers() -> None:
    @wf.compile
    def f(x: wf.Tensor, i: wf.Tensor) -> Any:
        return wf.while_loop(lambda c: c[0].sum() < 100, lambda c: (c[0] + x[c[1]], c[1] + 1), (x[0], i), max_steps=40)

    for n in (4, 6, 9):
        with pytest.raises(IndexError_, match=r"index"):
            f(rows(n) * 0, wf.asarray(n - 3))
        with pytest.raises(ValueError, match="max_steps=40"):
            wf.compile(lambda x: wf.while_loop(lambda c: c.sum() < 100, lambda c: c + 0, x, max_steps=40))(rows(n))

"""Gradients through control flow: those of the eager loop, in bits, however captured and differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from control_flow import array, bits
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn, optim
from weft.core.errors import AutogradError, CaptureError
from weft.nn import functional as F
from weft.transforms.tree import flatten

FLOATS = ["float16", "bfloat16", "float32", "float64"]


def same_gradients(function: Callable[..., Any], *args: Any, argnums: Any = None) -> Any:
    """The gradients of a function of tensors that gives a tensor of one element, in all orders of transforms."""
    argnums = tuple(range(len(args))) if argnums is None else argnums
    expected = wf.value_and_grad(function, argnums)(*args)
    for compiled in (
        wf.compile(wf.value_and_grad(function, argnums)),
        wf.value_and_grad(wf.compile(function), argnums),
        wf.compile(wf.value_and_grad(wf.compile(function), argnums)),
    ):
        assert bits(compiled(*args)) == bits(expected)
        assert bits(compiled(*args)) == bits(expected)
    return expected[1]


def close_second_order(function: Callable[..., Any], *args: Any) -> None:
    argnums = tuple(range(len(args)))
    first = wf.grad(function, argnums)

    def total(*given: Any) -> Any:
        return sum((g * g * g).sum() for g in first(*given))

    second = wf.grad(total, argnums)
    expected = second(*args)
    for found in (wf.compile(second)(*args), wf.grad(wf.compile(total), argnums)(*args)):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-4 * float(abs(b).max()))
    compiled = wf.compile(function)

    def through(*given: Any) -> Any:
        return sum((g * g * g).sum() for g in wf.grad(compiled, argnums)(*given))

    for a, b in zip(wf.grad(through, argnums)(*args), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=2e-4 * float(abs(b).max()))


# --- cond -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cond(dtype: str, sign: float) -> None:
    def f(x: Any, w: Any) -> Any:
        y = wf.cond(
            x.sum() > 0,
            lambda a: a * wf.exp(w[0]) + a.sum() + w[1] * a,
            lambda a: a * a.mean() - w[1] * w[2] * w[2],
            x,
        )
        return (y * y + x).sum() + w.sum()

    same_gradients(f, abs(array(3, dtype=dtype)) * sign, array(3, 3, dtype=dtype, seed=1))


def test_a_branch_that_does_not_use_an_operand_gives_zeros() -> None:
    def f(x: Any, w: Any, p: Any) -> Any:
        return wf.cond(p > 0, lambda: (x * w).sum(), lambda: (x * x).sum())

    compiled = wf.compile(wf.grad(f, (0, 1)))
    x, w = array(3), array(3, seed=1)
    for p in (1.0, -1.0):
        assert bits(compiled(x, w, wf.asarray(p))) == bits(wf.grad(f, (0, 1))(x, w, wf.asarray(p)))


def test_several_results_and_constants() -> None:
    def f(x: Any) -> Any:
        a, _b, n = wf.cond(x[0] > 0, lambda: (x * 2, x, 3), lambda: (x[::-1] if False else x, wf.ones(3), 4))
        return (a * n).sum()

    same_gradients(f, array(3))
    same_gradients(f, -abs(array(3)))


# --- scan -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 6])
@pytest.mark.parametrize("dtype", FLOATS)
def test_recurrent_layer(dtype: str, n: int, reverse: bool) -> None:
    def f(x: Any, w: Any, b: Any, h: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            after = wf.tanh(c @ w + v + b)
            return after, after

        last, ys = wf.scan(step, h, x, reverse=reverse)
        return (ys * ys).sum() + (last * x.sum()).sum() + h.sum() + w.sum()

    args = array(n, 2, 3), array(3, 3, seed=1), array(3, seed=2), array(2, 3, seed=3)
    same_gradients(f, *[a.astype(dtype) for a in args])


def lstm(x: Any, w: Any, u: Any, b: Any, state: Any) -> Any:
    def step(carry: Any, v: Any) -> Any:
        h, c = carry
        i, f, g, o = (
            wf.split(v @ w + h @ u + b, 4, axis=-1) if hasattr(wf, "split") else (v @ w + h @ u + b).chunk(4, -1)
        )
        c = wf.sigmoid(f) * c + wf.sigmoid(i) * wf.tanh(g)
        h = wf.sigmoid(o) * wf.tanh(c)
        return (h, c), h

    return wf.scan(step, state, x)


def test_lstm() -> None:
    def f(x: Any, w: Any, u: Any, b: Any, h: Any, c: Any) -> Any:
        (h, c), ys = lstm(x, w, u, b, (h, c))
        return (ys * ys).sum() + (h * c).sum()

    args = array(5, 2, 3), array(3, 16, seed=1), array(4, 16, seed=2), array(16, seed=3)
    same_gradients(f, *args, array(2, 4, seed=4), array(2, 4, seed=5))


def test_results_alone_or_the_last_carry_alone() -> None:
    def ys(x: Any, w: Any) -> Any:
        return wf.scan(lambda c, v: (wf.tanh(c * w + v), (c @ w) * v.sum()), wf.zeros(3), x)[1].sum()

    def last(x: Any, w: Any) -> Any:
        return wf.scan(lambda c, v: (wf.tanh(c * w + v), (c @ w) * v.sum()), wf.zeros(3), x)[0].sum()

    for f in (ys, last):
        same_gradients(f, array(4, 3), array(3, seed=1))


def test_a_carry_before_it_changes_is_a_result() -> None:
    def f(x: Any, h: Any) -> Any:
        last, ys = wf.scan(lambda c, v: (c * v + c, (c, v, c * 2)), h, x)
        return (ys[0] * ys[1] + ys[2]).sum() * last.sum()

    same_gradients(f, array(4, 3), array(3, seed=1))


def test_carries_that_change_places_or_stay() -> None:
    def f(x: Any, a: Any, b: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            p, q, r = c
            return (q, p * v + q * r, r), p.sum()

        (p, q, r), ys = wf.scan(step, (a, b, a * 2), x)
        return (p * q * r).sum() + (ys * ys).sum()

    same_gradients(f, array(5, 3), array(3, seed=1), array(3, seed=2))


def test_the_first_carry_is_used_elsewhere() -> None:
    def f(x: Any, w: Any) -> Any:
        h = x[0] * w
        last, _ = wf.scan(lambda c, v: (c * c + c * w + v, None), h, x)
        return (last * h).sum() + (h * h).sum()

    same_gradients(f, array(5, 3) * 0.1, array(3, seed=1) * 0.1)


def test_sequences_with_parts_that_count_for_nothing() -> None:
    def f(x: Any, k: Any) -> Any:
        return wf.scan(lambda c, v: (c + v[0] * v[1], None), wf.zeros(2), (x, k.astype("float32")))[0].sum()

    same_gradients(f, array(4, 2), wf.asarray(np.arange(8).reshape(4, 2)), argnums=(0,))


def test_closed_over_sequences() -> None:
    def f(x: Any) -> Any:
        return wf.scan(lambda c, v: (c + v * x.sum(), (c * x[0]).sum()), x[0], x)[1].sum()

    same_gradients(f, array(4, 3))


# --- while_loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 3, 6])
@pytest.mark.parametrize("dtype", FLOATS)
def test_while_with_a_bound(dtype: str, n: int) -> None:
    def f(x: Any, w: Any, steps: Any) -> Any:
        def body(c: Any) -> Any:
            return wf.tanh(c[0] @ w) * c[0] + x, c[1] + 1

        y, _ = wf.while_loop(lambda c: c[1] < steps, body, (x * 2, 0), max_steps=6)
        return (y * y).sum() + w.sum() + x.sum()

    same_gradients(f, array(2, 3, dtype=dtype), array(3, 3, dtype=dtype, seed=1), wf.asarray(n), argnums=(0, 1))


def test_an_unbounded_while_says_what_it_needs() -> None:
    def f(x: Any) -> Any:
        return wf.while_loop(lambda c: c.sum() < 100, lambda c: c * 2, x).sum()

    x = wf.asarray([1.0, 2.0])
    assert wf.grad(f)(x).tolist() == [64.0, 64.0]
    assert float(wf.compile(f)(x)) == 192.0
    for mode in (wf.compile(wf.grad(f)), wf.grad(wf.compile(f))):
        with pytest.raises(AutogradError, match="max_steps") as caught:
            mode(x)
        assert "test_control_gradients.py" in str(caught.value)
    assert wf.compile(lambda x: f(x.detach()) * x.sum())(x).tolist() == 576.0


# --- together -------------------------------------------------------------------------------------------------------


def nested(x: Any, w: Any) -> Any:
    def step(total: Any, row: Any) -> Any:
        def body(c: Any) -> Any:
            v, i = c
            return wf.cond(v.sum() > 0, lambda: v * w - total, lambda: wf.sin(v) + row * w), i + 1

        v, _ = wf.while_loop(lambda c: c[1] < 3, body, (row, 0), max_steps=4)
        inner, ys = wf.scan(lambda c, y: (c * y + total[0], c * w[0]), v[0], v)
        return total + v * inner, ys.sum()

    last, ys = wf.scan(step, w * 2, x)
    return (last * last).sum() + ys.sum()


def test_nesting() -> None:
    same_gradients(nested, array(4, 3) * 0.3, array(3, seed=1) * 0.3)


def test_second_order() -> None:
    def recurrent(x: Any, w: Any) -> Any:
        last, ys = wf.scan(lambda c, v: ((a := wf.tanh(c @ w + v * c)), a * v), x[0], x)
        return (ys * ys).sum() + last.sum()

    def chosen(x: Any, w: Any) -> Any:
        return wf.cond(x.sum() > 0, lambda: (x @ w * x.sum()).sum(), lambda: (wf.exp(x @ w)).sum())

    def bounded(x: Any, w: Any) -> Any:
        return wf.while_loop(lambda c: c[1] < 3, lambda c: (wf.tanh(c[0] @ w) * x, c[1] + 1), (x, 0), max_steps=5)[
            0
        ].sum()

    for f in (recurrent, chosen, bounded):
        close_second_order(f, array(3, 2, 3) if f is recurrent else array(2, 3), array(3, 3, seed=1) * 0.5)


def test_a_training_step_with_a_recurrent_network() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            def step(h: Any, v: Any) -> Any:
                h = wf.tanh(self.inner(h) + F.dropout(v, 0.25))
                return h, self.outer(h)

            return wf.scan(step, wf.zeros((x.shape[1], 4)), x)[1]

    x, y = array(6, 3, 4), array(6, 3, 2, seed=1)
    runs = []
    for compiled in (False, True):
        wf.manual_seed(3)
        net = Net()
        opt = optim.Adam(net.parameters(), lr=0.01)

        def train(x: Any, y: Any, net: Any = net, opt: Any = opt) -> Any:
            loss = F.mse_loss(net(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        step = wf.compile(train) if compiled else train
        losses = [bits(step(x, y)) for _ in range(4)]
        runs.append((losses, bits(net.state_dict()), bits([p.grad for p in net.parameters()])))
    assert runs[0] == runs[1]


def test_gradients_inside_of_a_body() -> None:
    def f(x: Any) -> Any:
        def descend(c: Any, _: Any) -> Any:
            g = wf.grad(lambda v: ((v - x) ** 2).sum())(c)
            return c - 0.1 * g, g.sum()

        return wf.scan(descend, wf.zeros(3), length=5)

    assert bits(wf.compile(f)(array(3))) == bits(f(array(3)))
    same_gradients(lambda x: f(x)[0].sum() + f(x)[1].sum(), array(3))


def test_carries_that_are_written_in_place() -> None:
    def f(x: Any, w: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            c += v * w
            c *= 0.5
            return c, wf.sin(v) + c

        start = x[0] * w
        last, ys = wf.scan(step, start, x)
        return (last * ys.sum(0)).sum() + start.sum()

    same_gradients(f, array(4, 3) * 0.3, array(3, seed=1))


def test_backward_inside_of_a_body() -> None:
    w = wf.ones(3).requires_grad_()

    def f(x: Any) -> Any:
        def step(c: Any, v: Any) -> Any:
            (v * w).sum().backward()
            return c, v

        return wf.scan(step, x[0], x)

    with pytest.raises(CaptureError, match="has a gradient or has none"):
        wf.compile(f)(array(2, 3))
    grads = []
    for function in (f, wf.compile(f)):
        w.grad = wf.ones(3)
        grads.append(bits([*function(array(2, 3)), w.grad]))
    assert grads[0] == grads[1]


def test_no_grad() -> None:
    def f(x: Any, w: Any) -> Any:
        with wf.no_grad():
            held = wf.scan(lambda c, v: (c * w + v, None), w, x)[0]
        last = wf.while_loop(lambda c: c.sum() < 50, lambda c: c.detach() * 2, abs(w).detach())
        return (held * w * last).sum()

    same_gradients(f, array(3, 3), array(3, seed=1))


OPS: dict[str, Callable[..., Any]] = {
    "x * w + 0.25, w": lambda x, w: (x * w + 0.25, w),
    "tanh(x) * x, w * x.sum()": lambda x, w: (wf.tanh(x) * x, w * x.sum()),
    "w, x": lambda x, w: (w, x),
    "x - x.mean(), sin(w) * -0.5": lambda x, w: (x - x.mean(), wf.sin(w) * -0.5),
    "x, x * 1.5 + w * w": lambda x, w: (x, x * 1.5 + w * w),
    "where(x > w, x, w * 1.5), x": lambda x, w: (wf.where(x > w, x, w * 1.5), x),
}


def run(program: Any, x: Any, w: Any) -> Any:
    """A program over two vectors, which gives two: the name of an op, or a kind and its parts."""
    if isinstance(program, str):
        return OPS[program](x, w)
    kind, first, second, number = program
    if kind == "then":
        return run(second, *run(first, x, w))
    if kind == "cond":
        return wf.cond(x.sum() > w.sum(), lambda a: run(first, a, w), lambda a: run(second, w, a), x)
    if kind == "while":

        def body(c: Any) -> Any:
            y, v = run(first, c[0], w)
            return wf.tanh(y + x * 0.125), wf.tanh(v + c[1]), c[2] + 1

        y, v, _ = wf.while_loop(lambda c: c[2] < number, body, (x, w, 0), max_steps=4)
        return run(second, y, v)

    def step(c: Any, v: Any) -> Any:
        y, u = run(first, c * 0.5 + v, w)
        y = wf.tanh(y)
        return y, (y * 1 if number % 2 else y, u.sum())

    last, (ys, sums) = wf.scan(step, x, wf.stack([x, w, x * w]), reverse=number > 1)
    return run(second, last + ys.sum(0), w * sums.sum())


def programs(depth: int = 3) -> Any:
    ops = st.sampled_from(list(OPS))
    if not depth:
        return ops
    parts = programs(depth - 1)
    return ops | st.tuples(st.sampled_from(["then", "cond", "while", "scan"]), parts, parts, st.integers(0, 3))


def apart(a: Any, b: Any) -> bool:
    """Whether two results differ in more than the sign of zeros."""
    return any(not np.array_equal(x.numpy(), y.numpy(), equal_nan=True) for x, y in zip(a, b, strict=True))


@given(programs())
@settings(max_examples=6, deadline=None)
def test_any_program(program: Any) -> None:
    check_program(program)


@pytest.mark.long
@given(programs())
@settings(max_examples=400, deadline=None)
def test_more_programs(program: Any) -> None:
    check_program(program)


def check_program(program: Any) -> None:
    def f(x: Any, w: Any) -> Any:
        y, v = run(program, x, w)
        return (y * v).sum() + y.sum()

    modes = wf.compile(wf.value_and_grad(f, (0, 1))), wf.value_and_grad(wf.compile(f), (0, 1))
    for size in (4, 3, 5):  # the second for any size
        args = array(size) * 0.3, array(size, seed=1) * 0.3
        expected = wf.value_and_grad(f, (0, 1))(*args)
        for mode in modes:
            assert not apart(flatten(mode(*args))[0], flatten(expected)[0])

"""Bodies of branches and loops that write tensors around them: what they hold, what shows them, and their history, as
in eager code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from control_flow import array, bits
from reported import counted

import weft as wf
from weft.core.errors import AutogradError, CaptureError
from weft.nn import functional as F
from weft.transforms.tree import flatten

Program = Callable[..., Any]

# Functions of x (four matrices of five rows), a weight, and tensors that they may write, which are there after it.


def halves(x: Any, w: Any, held: Any) -> Any:
    def step(c: Any, r: Any) -> Any:
        held.mul_(0.5)
        held.add_(r)
        return c + held.sum(), held * 1

    return wf.scan(step, wf.asarray(0.0), x)


def rows(x: Any, w: Any, held: Any) -> Any:
    def step(c: Any, r: Any) -> Any:
        held[0] += r.sum(0)
        held[-1:] *= 0.5
        part = held[1]
        part += 1
        return c + held.sum(), (part, held[2:])

    return wf.scan(step, wf.asarray(0.0), x)


def statistics(x: Any, w: Any, held: Any) -> Any:
    def norm(r: Any) -> Any:
        mean = r.mean(0)
        with wf.no_grad():
            held.mul_(0.9).add_(mean * 0.1)
        return r - mean

    total = wf.scan(lambda c, r: (c + (norm(r @ w) ** 3).sum(), None), wf.asarray(0.0), x)[0]
    return total + wf.cond(total > 0, lambda: norm(x[1] @ w)[0].sum(), lambda: total * 0)


def local(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w

    def step(c: Any, r: Any) -> Any:
        t.mul_(0.5)
        t.add_(r @ w)
        return c + t.sum(), t * r

    last, ys = wf.scan(step, wf.asarray(0.0), x)
    return last + (ys * ys).sum() + t.sum()


def gets_a_history(x: Any, w: Any, held: Any) -> Any:
    t, u = wf.zeros((5, 3)), wf.zeros((5, 3))

    def body(c: Any) -> Any:
        k, total = c
        before = t * 1
        u.add_(t)
        t.add_(wf.tanh(x[k] @ w))
        return k + 1, total + (before + t + u).sum()

    return wf.while_loop(lambda c: c[0] < 3, body, (0, wf.asarray(0.0)), max_steps=4)[1] + (u * t).sum()


def branches(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w
    wf.cond(x.sum() > 0, lambda: (t.mul_(0.5), 0)[1], lambda: (t.add_(x[1] @ w), 0)[1])
    return (t * t).sum()


def one_branch(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w
    found = wf.cond(x.sum() > 0, lambda: t.mul_(w.sum()).sum() * 2, lambda: (t * 3).sum())
    return found + (t * t).sum()


def views(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w
    part = t[1:]

    def step(c: Any, r: Any) -> Any:
        part.mul_(w[0])
        t[0] += r[0]
        return c + part.sum() + t.sum(), part * 2

    last, ys = wf.scan(step, wf.asarray(0.0), x)
    return last + part.sum() + (t * t).sum() + ys.sum()


def views_in_branches(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w
    part = t[1:]

    def true() -> Any:
        part.mul_(2.0)
        return part.sum()

    def false() -> Any:
        t.mul_(3.0)
        return part.sum() * 2

    return wf.cond(x.sum() > 0, true, false) + part.sum() + (t * t).sum()


def nested(x: Any, w: Any, held: Any) -> Any:
    t = x[0] @ w
    part = t[1]

    def body(c: Any) -> Any:
        k, total = c
        wf.cond(k % 2 == 0, lambda: (t.mul_(0.5), 0)[1], lambda: (part.add_(w.sum(0)), held.add_(1), 0)[2])
        inner = wf.scan(lambda c, r: (c + part.sum(), held.add_(r)[0]), wf.asarray(0.0), x)
        return k + 1, total + inner[0] + inner[1].sum()

    return wf.while_loop(lambda c: c[0] < 5, body, (0, wf.asarray(0.0)), max_steps=8)[1] + t.sum()


PROGRAMS: list[Program] = [
    *(halves, rows, statistics, local, gets_a_history, branches, one_branch, views, views_in_branches, nested),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_results_and_what_is_written(program: Program) -> None:
    states = []
    for compiled in (False, True):
        held, w = wf.zeros((5, 3)), array(3, 3)
        shown = held[1:]  # from outside as well
        f = wf.compile(lambda x: program(x, w, held)) if compiled else lambda x: program(x, w, held)  # noqa: B023
        states.append([bits([f(array(4, 5, 3, seed=n)), held, shown]) for n in range(3)])
    assert states[0] == states[1]


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("program", PROGRAMS[2:])
def test_gradients(program: Program, inside: bool) -> None:
    def loss(x: Any, w: Any, held: Any) -> Any:
        return program(x, w, held)

    states = []
    for compiled in (False, True):
        w, held = array(3, 3).requires_grad_(), wf.zeros((5, 3))

        def run(x: Any) -> Any:
            return loss(x, w, held)  # noqa: B023

        def step(x: Any) -> Any:
            w.grad = None  # noqa: B023
            found = function(x)  # noqa: B023
            found.backward()
            return found.detach(), w.grad  # noqa: B023

        function = wf.compile(run) if compiled and not inside else run
        train = wf.compile(step) if compiled and inside else step
        states.append([[*train(array(4, 5, 3, seed=n)), held.clone()] for n in range(4)])
    if program is views:  # contributions by way of a view are added up for each iteration
        for one, two in zip(flatten(states[0])[0], flatten(states[1])[0], strict=True):
            np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5)
    else:
        assert bits(states[0]) == bits(states[1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_one_capture_serves_all_lengths(program: Program) -> None:
    states = []
    for compiled in (False, True):
        held, w = wf.zeros((5, 3)), array(3, 3)

        def f(x: Any) -> Any:
            return program(x, w, held)  # noqa: B023

        g = wf.compile(f) if compiled else f
        with counted() as captures:
            states.append([bits([g(array(n, 5, 3, seed=n)), held]) for n in (4, 5, 7, 6)])
        assert not compiled or len(captures) <= 2
    assert states[0] == states[1]


def test_a_cache_of_an_attention_layer_is_filled_in_a_loop() -> None:
    def made() -> tuple[Any, Program]:
        cache, at = wf.zeros((6, 3)), wf.asarray(0)

        def generate(x: Any, n: Any) -> Any:
            def body(c: Any) -> Any:
                y, k = c
                cache[at] = y
                at.add_(1)
                return F.softmax(cache @ y, axis=0) @ cache, k + 1

            return wf.while_loop(lambda c: c[1] < n, body, (x, 0))[0]

        return (cache, at), generate

    (one, eager), (two, generate) = made(), made()
    compiled = wf.compile(generate)
    for n in (2, 3, 1):
        assert bits(compiled(array(3, seed=n), wf.asarray(n))) == bits(eager(array(3, seed=n), wf.asarray(n)))
    assert bits(one) == bits(two) and int(one[1]) == 6


def written_in_a_branch(w: Any, opt: Any, x: Any) -> Any:
    if x > 0:
        with wf.no_grad():
            w.sub_(0.1 * x)
    return x * 1


def stepped_in_a_branch(w: Any, opt: Any, x: Any) -> Any:
    opt.zero_grad()
    ((w * x) ** 2).sum().backward()
    if x > 0:
        opt.step()
    return x * 1


def written_in_a_while(w: Any, opt: Any, x: Any) -> Any:
    while x > 0:
        with wf.no_grad():
            w.sub_(0.1 * x)
        x = x - 1
    return x


def written_in_a_for(w: Any, opt: Any, x: Any) -> Any:
    for row in wf.stack([x] * 20):
        with wf.no_grad():
            w[1:].sub_(0.1 * row)
    return x * 1


def read_and_written_in_a_for(w: Any, opt: Any, x: Any) -> Any:
    total = wf.asarray(0.0)
    for row in wf.stack([x] * 20):
        total = total + (w * row).detach().sum() + (w + row).sum()
        with wf.no_grad():
            w.mul_(0.9)
    return total


@pytest.mark.parametrize(
    "program",
    [written_in_a_branch, stepped_in_a_branch, written_in_a_while, written_in_a_for, read_and_written_in_a_for],
)
def test_a_parameter_that_is_written_under_no_grad_stays_a_leaf(program: Program) -> None:
    states = []
    for compiled in (False, True):
        w = wf.nn.Parameter(array(3))
        opt = wf.optim.SGD([w], lr=0.1, momentum=0.9)
        opt.zero_grad()
        (w * 2).sum().backward()
        opt.step()

        def step(x: Any) -> Any:
            return program(w, opt, x)  # noqa: B023

        f, found = wf.compile(step) if compiled else step, []
        for x in (1.0, -2.0, 3.0):
            result = f(wf.asarray(x))
            w.grad = None
            ((w * w).sum() + (result if result.requires_grad else 0)).backward()
            assert w.is_leaf and w.requires_grad and w.grad is not None
            found.append((result.detach(), w.detach().clone(), w.grad))
        states.append(bits(found))
    assert states[0] == states[1]


def test_a_tensor_with_a_history_that_is_written_under_no_grad_keeps_it() -> None:
    def f(x: Any, w: Any) -> Any:
        t = x + w
        if x.sum() > 0:
            with wf.no_grad():
                t.mul_(2.0)
        for row in wf.stack([x] * 20):
            with wf.no_grad():
                t.add_(row)
        return (t * 3).sum()

    for sign in (1, -1):
        args = array(3).abs() * sign, array(3, seed=1)
        assert bits(wf.compile(wf.value_and_grad(f, 1))(*args)) == bits(wf.value_and_grad(f, 1)(*args))


def test_values_that_are_overwritten_are_not_differentiated() -> None:
    def kept_before(x: Any, w: Any) -> Any:
        t = x @ w
        squares = t * t
        wf.cond(x.sum() == x.sum(), lambda: (t.mul_(2.0), 0)[1], lambda: 0)
        return squares.sum()

    def kept_inside(x: Any, w: Any) -> Any:
        t = x @ w

        def true() -> Any:
            squares = (t * t).sum()
            t.mul_(2.0)
            return squares

        return wf.cond(x.sum() == x.sum(), true, lambda: x.sum())

    def written_after(x: Any, w: Any) -> Any:
        t = x @ w
        squares = wf.cond(x.sum() == x.sum(), lambda: (t * t).sum(), lambda: x.sum())
        t.add_(1)
        return squares

    for function in (kept_before, kept_inside, written_after):
        for mode in (wf.grad(function, 1), wf.compile(wf.grad(function, 1)), wf.grad(wf.compile(function), 1)):
            with pytest.raises(AutogradError, match="changed in place since"):
                mode(array(5, 3), array(3, 3))


def test_the_other_branch_keeps_what_one_writes() -> None:
    def f(x: Any, w: Any) -> Any:
        t = x @ w
        return wf.cond(x.sum() > 1e9, lambda: t.mul_(2.0).sum(), lambda: (t * t).sum())

    args = array(5, 3), array(3, 3)
    assert bits(wf.compile(wf.grad(f, 1))(*args)) == bits(wf.grad(f, 1)(*args))


def test_what_a_loop_is_given_is_not_written_by_another_name() -> None:
    def a_sequence(x: Any) -> Any:
        return wf.scan(lambda c, r: (c + x.mul_(0.5).sum(), r * 1), wf.asarray(0.0), x)

    def a_carry(x: Any) -> Any:
        t = x * 1

        def body(c: Any) -> Any:
            t.mul_(2.0)
            return c + 1

        return wf.while_loop(lambda c: c.sum() < 100, body, t)

    for function in (a_sequence, a_carry):
        with pytest.raises(CaptureError, match="the loop is given as well"):
            wf.compile(function)(array(4, 3))


def test_what_is_written_is_not_carried_by_another_name() -> None:
    def by_name(x: Any) -> Any:
        t = x * 1

        def body(c: Any) -> Any:
            t.mul_(2.0)
            return t

        return wf.while_loop(lambda c: c.sum() < 100, body, x)

    def by_a_view(x: Any) -> Any:
        def body(c: Any) -> Any:
            a, _ = c
            a += 1
            return a, a[:]

        return wf.while_loop(lambda c: c[0].sum() < 100, body, (x * 1, x * 1))

    for function in (by_name, by_a_view):
        with pytest.raises(CaptureError, match=r"carry a clone|another tensor on"):
            wf.compile(function)(array(4, 3))


def test_a_capture_that_fails_leaves_tensors_as_they_were() -> None:
    held = array(4)
    shown, before = held[1:], bits(held)

    @wf.compile
    def f(x: Any) -> Any:
        def step(c: Any, r: Any) -> Any:
            shown.mul_(2.0)
            return c, r.tolist()

        return wf.scan(step, wf.asarray(0.0), x)

    with pytest.raises(CaptureError):
        f(array(3))
    assert bits(held) == before and shown._view is not None and shown._view.base is held

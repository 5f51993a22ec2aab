"""Gradients that branches and loops of captured code set, and the steps that they take: as in eager code, in bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from control_flow import array, bits

import weft as wf
from weft.core.errors import CaptureError

Program = Callable[..., Any]

# Functions of (w, opt, x): x is -2, 1, 3, ... and inf.


def loss_of(w: Any, x: Any) -> Any:
    return ((w * x) ** 2).sum()


def unscaled_where_finite(w: Any, opt: Any, x: Any) -> Any:
    opt.zero_grad()
    (loss_of(w, x) * 8).backward()
    if wf.isfinite(w.grad).all():
        w.grad /= 8.0
        opt.step()
    return w.grad.sum()


def replaced(w: Any, opt: Any, x: Any) -> Any:
    w.grad = None
    loss_of(w, x).backward()
    if x > 0:
        w.grad = w.grad / 2
    return w.grad.sum() + x


def replaced_on_both_ways(w: Any, opt: Any, x: Any) -> Any:
    w.grad = None
    if x > 0:
        loss_of(w, x).backward()
    else:
        w.grad = wf.zeros_like(w)
    opt.step()
    return x * 1


def accumulated(w: Any, opt: Any, x: Any) -> Any:
    if x > 0:
        loss_of(w, x).backward()
    return w.grad.sum()


def dropped_and_computed_again(w: Any, opt: Any, x: Any) -> Any:
    loss_of(w, x).backward()
    if x < 0:
        opt.zero_grad()
        (w * x).sum().backward()
    opt.step()
    return x * 1


def nested(w: Any, opt: Any, x: Any) -> Any:
    w.grad = None
    loss_of(w, x).backward()
    if x > 0:
        if x > 2:
            w.grad = w.grad / 2
        else:
            w.grad = w.grad * 3
        opt.step()
    return w.grad * 1


def zeroed(w: Any, opt: Any, x: Any) -> Any:
    loss_of(w, x).backward()
    if x > 0:
        opt.step()
        opt.zero_grad(set_to_none=False)
    return x * 1


def clipped(w: Any, opt: Any, x: Any) -> Any:
    opt.zero_grad()
    loss_of(w, x).backward()
    norm = w.grad.norm()
    if norm > 1:
        w.grad = w.grad / norm
    opt.step()
    return norm


def skipped(w: Any, opt: Any, x: Any) -> Any:
    loss = loss_of(w, x)
    if not wf.isfinite(loss):
        return loss.detach()
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss.detach()


def early_stop(w: Any, opt: Any, x: Any) -> Any:
    for _ in range(3):
        loss = loss_of(w, x)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if loss < 1:
            break
    return loss.detach()


def many_rounds(w: Any, opt: Any, x: Any) -> Any:
    best = wf.asarray(1e9)
    for row in wf.stack([x / (n + 1) for n in range(20)]):
        loss = loss_of(w, row)
        opt.zero_grad()
        loss.backward()
        opt.step()
        best = wf.minimum(best, loss.detach())
    return best


def many_rounds_with_break(w: Any, opt: Any, x: Any) -> Any:
    for n in range(40):
        opt.zero_grad()
        loss = loss_of(w, x / (n + 1))
        loss.backward()
        if loss < 0.1:
            break
        opt.step()
    return loss.detach()


def until_small(w: Any, opt: Any, x: Any) -> Any:
    loss, n = loss_of(w, x).detach(), 0
    while loss > 0.5:
        opt.zero_grad()
        found = loss_of(w, x)
        found.backward()
        opt.step()
        loss = found.detach()
        n += 1
        if n > 10:
            break
    return loss


def carried(w: Any, opt: Any, x: Any) -> Any:
    n = 0
    while n < x:
        w.grad = w.grad * 0.5 + w.detach()
        n += 1
    return w.grad.sum()


def branch_in_a_loop(w: Any, opt: Any, x: Any) -> Any:
    for row in wf.stack([x - n for n in range(20)]):
        opt.zero_grad()
        loss_of(w, row).backward()
        if row > 0:
            w.grad = w.grad / 4
            opt.step()
    return x * 1


def with_a_history(w: Any, opt: Any, x: Any) -> Any:
    w.grad = None
    loss_of(w, x).backward(create_graph=True)
    if x > 0:
        w.grad = w.grad * w.grad
    penalty = w.grad.sum()
    w.grad = None
    penalty.backward()
    return penalty.detach()


def by_hand(w: Any, opt: Any, x: Any) -> Any:
    def set_(scale: float) -> Any:
        w.grad = w.grad * scale
        return w.grad.sum()

    return wf.cond(x > 0, lambda: set_(0.5), lambda: set_(2.0)) + wf.while_loop(
        lambda n: n < x, lambda n: n + set_(0.5) * 0 + 1, wf.asarray(0.0)
    )


PROGRAMS: list[Program] = [
    *(unscaled_where_finite, replaced, replaced_on_both_ways, accumulated, dropped_and_computed_again, nested, zeroed),
    *(clipped, skipped, early_stop, many_rounds, many_rounds_with_break, until_small, carried, branch_in_a_loop),
    *(with_a_history, by_hand),
]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("program", PROGRAMS)
def test_steps_and_gradients(program: Program, momentum: float) -> None:
    states = []
    for compiled in (False, True):
        w = wf.nn.Parameter(array(3) * 0.25)
        opt = wf.optim.SGD([w], lr=0.01, momentum=momentum)
        (w * w).sum().backward()
        opt.step()  # makes its state

        def step(x: Any) -> Any:
            return program(w, opt, x)  # noqa: B023

        f, found = wf.compile(step) if compiled else step, []
        for x in (1.0, -2.0, 3.0, 0.5, float("inf") if program is skipped else 1.5):
            found.append((f(wf.asarray(x)), w.detach().clone(), w.grad.clone(), w.is_leaf, w.grad.requires_grad))
        states.append([(bits(found_[:3]), found_[3:]) for found_ in found])
    assert states[0] == states[1]


def test_a_gradient_that_is_there_on_one_way_alone_is_not_read_or_left() -> None:
    def left(w: Any, x: Any) -> Any:
        if x > 0:
            loss_of(w, x).backward()
        return x * 1

    def read(w: Any, x: Any) -> Any:
        if x > 0:
            loss_of(w, x).backward()
        found = w.grad
        w.grad = None
        return x if found is None else found.sum()

    def loop(w: Any, x: Any) -> Any:
        while x > 0:
            loss_of(w, x).backward()
            x = x - 1
        return x

    for function in (left, read, loop):
        w = wf.nn.Parameter(array(3))
        with pytest.raises(CaptureError, match=r"parameter float32\[3\] has a gradient or has none"):
            wf.compile(lambda x: function(w, x))(wf.asarray(1.0))  # noqa: B023
        assert w.grad is None and w.is_leaf

    def dropped(w: Any, x: Any) -> Any:
        if x > 0:
            loss_of(w, x).backward()
        w.grad = None
        return x * 1

    w = wf.nn.Parameter(array(3))
    assert wf.compile(lambda x: dropped(w, x))(wf.asarray(1.0)).item() == 1 and w.grad is None


def test_a_gradient_that_other_names_show_is_not_written_unnoticed() -> None:
    """Eager code changes one memory: here it is refused, or the same."""

    def before(w: Any, x: Any) -> Any:
        g = w.grad
        if x > 0:
            loss_of(w, x).backward(create_graph=True)  # a new tensor
        w.grad.mul_(2.0)
        return g * 1, w.grad * 1

    def inside(w: Any, x: Any) -> Any:
        g = w.grad * 1
        if x > 0:
            w.grad = None
            loss_of(w, x).backward()
            g = w.grad
        w.grad.mul_(2.0)
        return g * 1

    def view(w: Any, x: Any) -> Any:
        g = w.grad[1:] * 1
        if x > 0:
            w.grad = None
            loss_of(w, x).backward()
            g = w.grad[1:]
        w.grad.mul_(2.0)
        return g * 1

    def in_a_loop(w: Any, x: Any) -> Any:
        g = w.grad * 1
        while x > 0:
            w.grad = None
            loss_of(w, x).backward()
            w.grad.mul_(2.0)
            g.add_(1.0)
            g = w.grad
            x = x - 1
        return g * 1

    def in_place_first(w: Any, x: Any) -> Any:
        g = w.grad
        while x > 0:
            w.grad.mul_(2.0)
            w.grad = w.grad + 1
            x = x - 1
        return g * 1

    for function in (before, inside, view, in_a_loop, in_place_first):
        for x in (1.0, -1.0, 3.0):
            found = []
            for compiled in (False, True):
                w = wf.nn.Parameter(array(3))
                w.grad = array(3, seed=1)
                f = wf.compile(lambda x: function(w, x)) if compiled else lambda x: function(w, x)  # noqa: B023
                with wf.no_grad() if function is in_place_first else wf.enable_grad():
                    try:
                        found.append(bits([f(wf.asarray(x)), w.grad]))
                    except CaptureError:
                        assert compiled
                        found.append(found[0])
            assert found[0] == found[1], (function.__name__, x)

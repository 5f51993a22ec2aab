"""Captured functions and the tensors of others: state, arguments, results and gradients are as after an eager run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

Made = tuple[Callable[..., Any], list[wf.Tensor]]


def values(tree: Any) -> Any:
    """Nested lists of numbers."""
    if isinstance(tree, (list, tuple)):
        return [values(t) for t in tree]
    return tree.tolist() if isinstance(tree, wf.Tensor) else tree


def returns_the_old_value() -> Made:
    s = wf.tensor([1.0, 2.0])

    def f() -> wf.Tensor:
        old = wf.positive(s)
        s.assign(s * 2.0)
        return old

    return f, [s]


def returns_a_detached_old_value() -> Made:
    s = wf.tensor([1.0, 2.0])

    def f() -> wf.Tensor:
        old = s.detach()
        s.assign(s * 2.0)
        return old

    return f, [s]


def keeps_the_old_value_in_other_state() -> Made:
    s, before = wf.tensor([1.0, 2.0]), wf.tensor([0.0, 0.0])

    def f() -> None:
        before.assign(s)
        s.assign(s * 2.0)

    return f, [s, before]


def gives_two_states_one_value() -> Made:
    s, p = wf.tensor([1.0, 2.0]), wf.tensor([3.0, 4.0])

    def f() -> None:
        both = s + p
        s.assign(both)
        p.assign(both)

    return f, [s, p]


def exchanges_two_states() -> Made:
    s, p = wf.tensor([1.0, 2.0]), wf.tensor([3.0, 4.0])

    def f() -> None:
        t = s.detach()
        s.assign(p)
        p.assign(t)

    return f, [s, p]


def makes_a_tensor_of_data_and_changes_it() -> Made:
    x = wf.tensor([1.0, 2.0])

    def f() -> wf.Tensor:
        total = wf.tensor([0.0, 0.0])
        total += x
        total += wf.from_numpy(np.ones(2, np.float32))
        return total

    return f, [x]


def changes_a_detached_copy() -> Made:
    w = wf.tensor([1.0, 2.0])

    def f() -> wf.Tensor:
        d = w.detach()
        d += 1.0
        w.assign(w + d)
        return d

    return f, [w]


def returns_a_strided_state_that_it_replaces() -> Made:
    s = wf.tensor([[1.0, 2.0], [3.0, 4.0]]).T

    def f() -> wf.Tensor:
        old = s.detach()
        s.assign(s * 2.0)
        return old

    return f, [s]


@pytest.mark.parametrize(
    "make",
    [
        returns_the_old_value,
        returns_a_detached_old_value,
        keeps_the_old_value_in_other_state,
        gives_two_states_one_value,
        exchanges_two_states,
        makes_a_tensor_of_data_and_changes_it,
        changes_a_detached_copy,
        returns_a_strided_state_that_it_replaces,
    ],
)
def test_state_is_as_after_an_eager_run(make: Callable[[], Made]) -> None:
    seen = []
    for compiled in (False, True):
        function, states = make()
        run = wf.compile(function) if compiled else function
        seen.append([(values(run()), values(states)) for _ in range(3)])
    assert seen[0] == seen[1]


def test_an_argument_that_is_written_is_written_for_the_caller() -> None:
    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        x += 1.0
        return x * 2.0

    a = wf.tensor([1.0])
    held, alias = a.numpy(), a.detach()
    assert f(a).tolist() == [4.0] and a.tolist() == [2.0]
    assert held[0] == 2.0 and alias.tolist() == [2.0], "whoever shares the memory sees it"


def test_one_tensor_as_two_arguments_is_one_tensor() -> None:
    @wf.compile
    def f(x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        x.assign(x * 2.0)
        return x + y

    a, b = wf.tensor([1.0]), wf.tensor([10.0])
    assert f(a, b).tolist() == [12.0]
    assert f(a, a).tolist() == [8.0] and a.tolist() == [4.0]
    assert f(a, b).tolist() == [18.0] and b.tolist() == [10.0]


def test_an_argument_that_is_captured_state_too() -> None:
    w = wf.tensor([1.0])

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        x += 1.0
        return x * w

    other = wf.tensor([4.0])
    assert f(other).tolist() == [5.0] and w.tolist() == [1.0]
    assert f(w).tolist() == [4.0] and w.tolist() == [2.0]
    assert f(other).tolist() == [12.0] and other.tolist() == [6.0]


def test_a_result_that_is_a_tensor_of_others_is_that_object() -> None:
    s = wf.tensor([1.0])

    @wf.compile
    def f(x: wf.Tensor) -> Any:
        s.assign(s + x)
        return x, s, x + s

    a = wf.tensor([2.0])
    first, second, third = f(a)
    assert first is a and second is s and third.tolist() == [5.0]
    address = s._storage.address
    f(a)
    assert s._storage.address == address, "returning the state does not keep it from being written in place"


def test_backward_inside_reaches_the_gradient_of_an_argument() -> None:
    x, y = wf.tensor([1.0, 2.0], requires_grad=True), wf.tensor([3.0, 2.0], requires_grad=True)

    @wf.compile
    def f(a: wf.Tensor, b: wf.Tensor) -> None:
        (a * b * b).sum().backward()

    f(x, y)
    assert x.grad is not None and y.grad is not None
    assert x.grad.tolist() == [9.0, 4.0] and y.grad.tolist() == [6.0, 8.0]
    f(y, x)
    assert x.grad.tolist() == [15.0, 12.0] and y.grad.tolist() == [7.0, 12.0]
    x.grad = y.grad = None
    f(x, x)
    assert x.grad.tolist() == [3.0, 12.0] and y.grad is None


def test_backward_beyond_an_argument_is_an_error() -> None:
    w = wf.tensor([1.0], requires_grad=True)
    f = wf.compile(lambda a: (a * a).sum().backward())
    with pytest.raises(wf.CaptureError, match="detach"):
        f(w * 2.0)


def test_gradients_flow_through_state_from_call_to_call() -> None:
    seen = []
    for compiled in (False, True):
        w, h = wf.tensor([1.0, 2.0], requires_grad=True), wf.tensor([0.5, 0.5])

        def step(x: wf.Tensor, w: wf.Tensor = w, h: wf.Tensor = h) -> wf.Tensor:
            h.assign(wf.tanh(h * w + x))
            return h * 2.0

        run = wf.compile(step) if compiled else step
        total: Any = 0.0
        for _ in range(3):
            total = total + run(wf.tensor([0.1, 0.2])).sum()
        assert h.requires_grad
        with pytest.raises(wf.AutogradError, match="changed in place"):  # h * w keeps h, which the next call writes
            total.backward()
        seen.append(h.tolist())
    assert seen[0] == seen[1]
    for compiled in (False, True):
        w, h = wf.tensor([1.0, 2.0], requires_grad=True), wf.tensor([0.5, 0.5])

        def add(x: wf.Tensor, w: wf.Tensor = w, h: wf.Tensor = h) -> wf.Tensor:
            h.add_(w * x)  # keeps nothing that is written
            return h * 2.0

        run = wf.compile(add) if compiled else add
        total = 0.0
        for _ in range(3):
            total = total + run(wf.tensor([0.1, 0.2])).sum()
        total.backward()
        assert w.grad is not None and h.requires_grad
        seen.append((w.grad.tolist(), h.tolist()))
    assert seen[2] == seen[3]


def test_a_state_that_is_written_under_no_grad_keeps_its_history() -> None:
    w = wf.tensor([1.0], requires_grad=True)
    h = w * 2.0

    @wf.compile
    def f() -> None:
        with wf.no_grad():
            h.assign(h * 3.0)

    f()
    assert h.tolist() == [6.0] and h.requires_grad  # as in PyTorch


def test_state_that_comes_to_require_grad_makes_a_new_capture() -> None:
    w = wf.tensor([1.0, 2.0])
    f = wf.compile(lambda x: x * w)
    x = wf.tensor([3.0, 4.0])
    assert not f(x).requires_grad
    w.requires_grad_()
    f(x).sum().backward()
    assert w.grad is not None and w.grad.tolist() == [3.0, 4.0]


def detached(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
    return x.detach() * x


def without_history(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
    with wf.no_grad():
        scale = wf.exp(x)
    return x * scale


def a_copy_without_history(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
    with wf.no_grad():
        scale = wf.positive(x)
    return x * scale


def a_gradient_as_a_factor(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
    return x * wf.grad(lambda z: (z * z * z).sum())(x.detach())


def only_compared_with(x: wf.Tensor, w: wf.Tensor) -> wf.Tensor:
    return wf.where(x > w, x, 1.0) + x


@pytest.mark.parametrize(
    "function", [detached, without_history, a_copy_without_history, a_gradient_as_a_factor, only_compared_with]
)
def test_what_has_no_history_inside_has_none_for_who_differentiates_from_outside(
    function: Callable[[wf.Tensor, wf.Tensor], wf.Tensor],
) -> None:
    seen = []
    for compiled in (False, True):
        x, w = wf.tensor([1.0, 2.0], requires_grad=True), wf.tensor([3.0, 4.0], requires_grad=True)
        run: Any = wf.compile(function) if compiled else function
        run(x, w).sum().backward()
        seen.append([values(t.grad) for t in (x, w)])
    assert seen[0] == seen[1]


def test_what_is_computed_from_a_parameter_that_was_written_hangs_on_the_parameter() -> None:
    seen = []
    for compiled in (False, True):
        p = wf.tensor([1.0], requires_grad=True)

        def f(x: wf.Tensor, p: wf.Tensor = p) -> wf.Tensor:
            before = p + x
            with wf.no_grad():
                p.assign(p * 2.0)
            return before + p * x

        run: Any = wf.compile(f) if compiled else f
        (run(wf.tensor([5.0])) + run(wf.tensor([7.0]))).sum().backward()
        seen.append((values(p), values(p.grad)))
    assert seen[0] == seen[1]


def test_state_that_is_written_but_not_read_goes_on_requiring_grad() -> None:
    h = wf.tensor([1.0])
    f = wf.compile(lambda x: h.assign(x * 2.0))
    f(wf.tensor([1.0]))
    h.assign(wf.tensor([1.0], requires_grad=True) * 2.0)
    assert h.requires_grad
    f(wf.tensor([3.0]))
    assert h.tolist() == [6.0] and h.requires_grad  # as in PyTorch, though no gradient is left


def order_inside(x: wf.Tensor) -> wf.Tensor:
    return (F.silu(x) * x).sum()


def order_around(x: wf.Tensor) -> wf.Tensor:
    y = x * 1.1
    return (F.gelu(y) * y * x).sum() + (y / 3.0).sum()


def the_same_twice(x: wf.Tensor) -> wf.Tensor:
    y = wf.tanh(x)
    return (y * y * x).sum() + (y + y + x * 0.1).sum()


@pytest.mark.parametrize("function", [order_inside, order_around, the_same_twice])
def test_cotangents_are_added_in_one_order(function: Callable[[wf.Tensor], wf.Tensor]) -> None:
    x = wf.asarray(np.random.default_rng(0).standard_normal(2048).astype(np.float32))

    def gradients(run: Any) -> list[bytes]:
        leaf = wf.tensor(x, requires_grad=True)
        for _ in range(2):  # a second pass is added to the first as a whole
            (run(leaf) + (leaf * 0.3).sum()).backward()
        assert leaf.grad is not None
        second = wf.grad(lambda v: (wf.grad(run)(v) * v).sum())
        return [t.numpy().tobytes() for t in (wf.grad(run)(x), leaf.grad, second(x))]

    assert gradients(wf.compile(function)) == gradients(function)


def test_several_results_have_histories_of_their_own() -> None:
    seen = []
    for compiled in (False, True):
        x, w = wf.tensor([1.0, 2.0], requires_grad=True), wf.tensor([3.0, 4.0], requires_grad=True)

        def f(a: wf.Tensor, b: wf.Tensor) -> Any:
            return a * a, wf.exp(b), a

        run: Any = wf.compile(f) if compiled else f
        first, second, third = run(x, w)
        assert third is x
        first.sum().backward()
        second.sum().backward()
        with pytest.raises(wf.AutogradError, match="a second time through multiply"):
            first.sum().backward()
        seen.append((values(x.grad), values(w.grad)))
    assert seen[0] == seen[1]


def test_a_result_that_is_returned_twice_is_one_tensor() -> None:
    def f(x: wf.Tensor) -> Any:
        y = x * 2.0
        return y, {"again": y}

    first, other = wf.compile(f)(wf.asarray([1.0]))
    assert first is other["again"]


def test_gradients_that_are_changed_in_place() -> None:
    seen = []
    for compiled in (False, True):
        p = wf.tensor([3.0, 4.0], requires_grad=True)

        def clip(p: wf.Tensor = p) -> None:
            (p * p).sum().backward()
            with wf.no_grad():
                p.grad.mul_(0.5)  # type: ignore[union-attr]

        run: Any = wf.compile(clip) if compiled else clip
        run()
        run()
        seen.append(values(p.grad))
        halve: Any = wf.compile(lambda p=p: p.grad.mul_(0.5).sum()) if compiled else lambda p=p: p.grad.mul_(0.5).sum()
        seen[-1] += [halve().item(), *values(p.grad)]
        clear: Any = (
            wf.compile(lambda p=p: setattr(p, "grad", None)) if compiled else lambda p=p: setattr(p, "grad", None)
        )
        clear()
        assert p.grad is None
        p.grad = wf.ones(2)
        clear()
        assert p.grad is None
    assert seen[0] == seen[1]


def test_what_would_change_a_tensor_from_outside_for_good_is_refused() -> None:
    s = wf.ones((2, 3))
    with pytest.raises(wf.CaptureError, match=r"would become float32\[6\]"):
        wf.compile(lambda: setattr(s, "data", s.reshape(6)))()
    with pytest.raises(wf.CaptureError, match="requires_grad_"):
        wf.compile(lambda x: x.requires_grad_())(wf.ones(3))
    x = wf.ones(3)
    assert wf.compile(lambda x: x.detach().requires_grad_() * 2.0)(x).requires_grad


# --- memory that is lent inside -----------------------------------------------------------------------------------


def _add(tensor: wf.Tensor, x: wf.Tensor) -> None:
    tensor.add_(x)


WRITES: dict[str, Callable[[Any, wf.Tensor], Any]] = {
    "asarray": lambda buf, x: _add(wf.asarray(buf), x),
    "from_numpy": lambda buf, x: _add(wf.from_numpy(buf), x),
    "from_dlpack": lambda buf, x: _add(wf.from_dlpack(buf), x),
    "a view": lambda buf, x: _add(wf.asarray(buf)[1:], x[1:]),
    "of a view": lambda buf, x: _add(wf.asarray(buf[1:]), x[1:]),
    "detached": lambda buf, x: _add(wf.asarray(buf).detach(), x),
    "an element": lambda buf, x: wf.asarray(buf).__setitem__(0, x[0]),
}


@pytest.mark.parametrize("way", WRITES)
def test_memory_that_is_lent_inside_is_not_written(way: str) -> None:
    """Eager code would write the array at each call, the runs of a captured function would not."""
    buf = np.arange(3.0, dtype=np.float32)

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        WRITES[way](buf, x)
        return x * 1.0

    with pytest.raises(wf.CaptureError, match="an array that becomes a tensor inside of the captured function") as told:
        f(wf.ones(3))
    assert __file__.rpartition("/")[2] in str(told.value)
    assert buf.tolist() == [0.0, 1.0, 2.0]


def test_memory_that_is_lent_inside_is_not_read_beside_what_is_written() -> None:
    buf = np.zeros(3, np.float32)
    outside = wf.from_numpy(buf)

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        outside.add_(x)
        return wf.asarray(buf) * 1.0

    with pytest.raises(wf.CaptureError, match="another tensor's memory"):
        f(wf.ones(3))


def test_read_only_memory_that_is_lent_inside_raises_as_outside() -> None:
    buf = np.zeros(3, np.float32)
    buf.flags.writeable = False

    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        return wf.asarray(buf).add_(x)

    with pytest.raises(wf.WeftError, match="lent read-only"):
        f(wf.ones(3))


@pytest.mark.parametrize(
    "made",
    [
        lambda: wf.tensor(np.zeros(3, np.float32)),
        lambda: wf.asarray([0.0, 0.0, 0.0]),
        lambda: wf.asarray(np.zeros(3), dtype="float32"),
    ],
)
def test_data_that_nobody_else_sees_is_written_and_begins_anew(made: Callable[[], wf.Tensor]) -> None:
    @wf.compile
    def f(x: wf.Tensor) -> wf.Tensor:
        return made().add_(x)

    for _ in range(3):
        assert f(wf.ones(3)).tolist() == [1.0] * 3

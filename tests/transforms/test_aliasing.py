"""Arguments and captured tensors that share memory: a compiled call leaves what an eager one leaves, and returns the
same objects."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import weft as wf

Body = Callable[..., Any]
# What a call is given: a is a tensor that the function closes over, b shows its memory, c is another tensor.
GIVEN: dict[str, Callable[[wf.Tensor, wf.Tensor, wf.Tensor], tuple[wf.Tensor, ...]]] = {
    "apart": lambda a, b, c: (c, c.clone()),
    "captured": lambda a, b, c: (c, a),
    "captured twice": lambda a, b, c: (a, a),
    "an alias": lambda a, b, c: (c, a.detach()),
    "two aliases": lambda a, b, c: (a.detach(), a.detach()),
    "one object": lambda a, b, c: (c, c),
    "a view": lambda a, b, c: (c, a.T),
    "both": lambda a, b, c: (a, b),
    "another's view": lambda a, b, c: (c, c[:]),
}


def _write_b_read_a(a: wf.Tensor, b: wf.Tensor, x: wf.Tensor, y: wf.Tensor) -> Any:
    b.assign(wf.full_like(x, 0.25))
    b.add_((x @ a) * 0.125 + 1.0)
    return y * 2.0


def _write_y_read_all(a: wf.Tensor, b: wf.Tensor, x: wf.Tensor, y: wf.Tensor) -> Any:
    y[0] = x[1]
    return a + b + x


def _write_row_of_a(a: wf.Tensor, b: wf.Tensor, x: wf.Tensor, y: wf.Tensor) -> Any:
    a[0].mul_(2.0)
    return a, y, x.T


def _write_nothing(a: wf.Tensor, b: wf.Tensor, x: wf.Tensor, y: wf.Tensor) -> Any:
    return a, x, y, b


BODIES: list[Body] = [_write_b_read_a, _write_y_read_all, _write_row_of_a, _write_nothing]


def _played(body: Body, names: Sequence[str], compiled: bool) -> list[Any]:
    a = wf.tensor(np.arange(1.0, 5.0).reshape(2, 2))
    b, c = a.detach(), wf.tensor(np.arange(2.0, 6.0).reshape(2, 2))

    def function(x: wf.Tensor, y: wf.Tensor) -> Any:
        return body(a, b, x, y)

    run: Any = wf.compile(function) if compiled else function
    seen: list[Any] = []
    for name in names:
        given = GIVEN[name](a, b, c)
        found = run(*given)
        results = found if isinstance(found, tuple) else (found,)
        everything = (a, b, c, *given, *results)
        seen.append([t.tolist() for t in everything])
        seen.append([next(i for i, other in enumerate(everything) if other is t) for t in everything])
    return seen


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("first", GIVEN)
def test_compiled_calls_leave_what_eager_ones_leave(body: Body, first: str) -> None:
    """What one call was given must not count for the next."""
    for second in GIVEN:
        names = (first, second, first)
        assert _played(body, names, True) == _played(body, names, False), names


def _windows(compiled: bool, places: Sequence[tuple[int, int, int]]) -> list[Any]:
    """Calls of one function with windows of tensors that are not among its arguments."""

    def function(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        a.add_(10.0)
        return b * 1.0

    run: Any = wf.compile(function) if compiled else function
    seen: list[Any] = []
    for start, length, distance in places:
        whole = wf.arange(0.0, 12.0)
        a, b = whole[start : start + length], whole[start + distance : start + distance + length]
        seen.append((run(a, b).tolist(), whole.tolist()))
    return seen


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(3, 4), st.integers(0, 4)), min_size=2, max_size=5))
@example([(0, 3, 2), (1, 3, 2), (0, 3, 2)])
def test_windows_that_overlap_in_the_same_way_elsewhere(places: list[tuple[int, int, int]]) -> None:
    """Where the windows lie in the tensor that they are of is part of what a graph holds for."""
    assert _windows(True, places) == _windows(False, places)


@pytest.mark.parametrize("with_history", [False, True])
def test_windows_of_a_tensor_with_a_history(with_history: bool) -> None:
    """Values, and gradients through every name, are those of eager code; the tensor itself is no argument."""
    found = []
    for compiled in (False, True):
        w = wf.tensor([2.0, 3.0]).requires_grad_()

        def function(a: wf.Tensor, b: wf.Tensor, w: wf.Tensor = w) -> wf.Tensor:
            a.mul_(w[0])
            return b * 2.0

        run: Any = wf.compile(function) if compiled else function
        x = wf.arange(0.0, 8.0) * (w[1] if with_history else 1.0)
        a, b = x[0:3], x[2:5]
        result = run(a, b)
        (result.sum() + (x * x).sum() + (a * b).sum()).backward()
        found.append((result.tolist(), x.tolist(), w.grad.tolist()))  # type: ignore[union-attr]
    assert found[0] == found[1]


def test_memory_without_a_base_takes_no_history() -> None:
    """Where nothing says whose views the others are, a value with a history is refused, not written without it."""
    w, x = wf.tensor(2.0).requires_grad_(), wf.arange(0.0, 6.0)
    a, b, c = x.data[0:3], x[0:3], x[1:4]

    @wf.compile
    def function(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        b.copy_(a * w)
        return c * 1.0

    with pytest.raises(wf.CaptureError, match="no one tensor of which all are views"):
        function(a, b)
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("value", [2.0, "w"])
@pytest.mark.parametrize("second", ["other", "same", "overlaps"])
def test_views_made_under_no_grad_are_not_written(value: Any, second: str) -> None:
    """As in eager code, where gradients are recorded and the base has a history."""
    w = wf.tensor(2.0).requires_grad_()
    for function in (_multiply, wf.compile(_multiply)):
        x = wf.arange(0.0, 6.0) * w
        with wf.no_grad():
            a = x[0:3]
            b = {"other": wf.zeros(3), "same": a, "overlaps": x[1:4]}[second]
        with pytest.raises(wf.AutogradError, match="made under no_grad"):
            function(a, b, w if value == "w" else value)
        assert x.tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def _multiply(a: wf.Tensor, b: wf.Tensor, value: Any) -> wf.Tensor:
    a.mul_(value)
    return b * 1.0


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("other", [slice(None), slice(1, None)])
def test_read_only_windows_of_memory_that_is_written(other: slice, warm: bool) -> None:
    """What must not be written is not written by way of what shares its memory either; beside it one may write."""

    def function(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        a[1:].add_(1.0)
        return b.sum()

    for run in (function, wf.compile(function)):
        buffer = np.arange(4.0)
        locked = buffer[:]
        locked.flags.writeable = False
        if warm:
            run(wf.from_numpy(buffer[other]), wf.from_numpy(buffer[:3]))
            buffer[:] = np.arange(4.0)
        with pytest.raises(wf.WeftError, match="read-only"):
            run(wf.from_numpy(locked[other]), wf.from_numpy(buffer[:3]))
        assert buffer.tolist() == [0.0, 1.0, 2.0, 3.0]
        if other.start is not None:
            assert run(wf.from_numpy(buffer[:3]), wf.from_numpy(locked[other])).item() == 8.0
            assert buffer.tolist() == [0.0, 2.0, 3.0, 3.0]


VIEWS: list[Callable[[wf.Tensor], wf.Tensor]] = [
    lambda x: x[1:3],
    lambda x: x[:2],
    lambda x: x.detach()[2:],
    lambda x: wf.zeros((2,)),
    lambda x: x[::2],
]


def _rebound(kept_in: str, compiled: bool) -> list[Any]:
    """A function writes a view that a variable, a list or an attribute names, which is another one at each call."""
    base, view = wf.arange(4.0), wf.zeros((2,))
    items, module = [view], wf.nn.Module()
    module.view = view

    def function() -> Any:
        part = view if kept_in == "a variable" else items[0] if kept_in == "a list" else module.view
        part.add_(1.0)
        return base * 1.0, part

    run: Any = wf.compile(function) if compiled else function
    seen: list[Any] = []
    for make in VIEWS:
        view = items[0] = module.view = make(base)
        seen.append([t.tolist() for t in (*run(), base, view)])
    view.data = wf.ones((2,))  # it is the same tensor, and shares nothing any more
    seen.append([t.tolist() for t in (*run(), base, view)])
    return seen


@pytest.mark.parametrize("kept_in", ["a variable", "a list", "an attribute"])
def test_names_may_come_to_mean_other_views_of_the_same_memory(kept_in: str) -> None:
    """Captured views are no inputs where their base is one, and must be those very tensors all the same."""
    assert _rebound(kept_in, True) == _rebound(kept_in, False)


def _argument_and_item(compiled: bool) -> list[Any]:
    """A function writes an item of a list, which is an argument as well at first."""
    own, other = wf.zeros((2,)), wf.ones((2,))
    items = [own]

    def function(x: wf.Tensor) -> Any:
        items[0].add_(2.0)
        return x * 1.0

    run: Any = wf.compile(function) if compiled else function
    seen: list[Any] = []
    for item, x in ((own, own), (own, other), (other, own), (other, other), (own, own)):
        items[0] = item
        seen.append([t.tolist() for t in (run(x), own, other)])
    return seen


def test_a_name_that_meant_an_argument_may_come_to_mean_another_tensor() -> None:
    assert _argument_and_item(True) == _argument_and_item(False)


def test_a_captured_view_of_what_becomes_a_leaf() -> None:
    x = wf.ones(3)
    row = x[:2]
    run = wf.compile(lambda: row.add_(1.0))
    run()
    x.requires_grad_()
    with pytest.raises(wf.AutogradError, match="a view of a leaf that requires grad"):
        run()
    x.requires_grad_(False)
    run()
    assert x.tolist() == [3.0, 3.0, 1.0]


@pytest.mark.parametrize("change", ["frozen", "shape"])
def test_members_that_are_no_inputs_are_looked_at(change: str) -> None:
    """A captured tensor whose memory comes in as an argument's: what becomes of it later is noticed."""
    found = []
    for compiled in (False, True):
        p, seen = wf.ones((2, 2)).requires_grad_(), list[Any]()

        def step(x: wf.Tensor, p: wf.Tensor = p) -> wf.Tensor:
            p.grad = None
            loss = (p * x).sum() * 1.0
            if loss.requires_grad:
                loss.backward()
            with wf.no_grad():
                p.add_(1.0)
            return loss.detach()

        run: Any = wf.compile(step) if compiled else step
        for number in range(3):
            if number == 1:
                if change == "frozen":
                    p.requires_grad_(False)
                else:
                    p.data = wf.ones((1, 2, 2)).expand(1, 2, 2).clone()
            x = p.data[:1] if change == "frozen" else p.data.reshape(-1)[:2]
            seen.append((run(x).tolist(), p.tolist(), None if p.grad is None else p.grad.tolist()))
        found.append(seen)
    assert found[0] == found[1]


def test_a_name_that_comes_to_mean_another_member() -> None:
    """The same signature, and the memory of the former one is still there: but it is not what the name says now."""
    found = []
    for compiled in (False, True):
        x, y = wf.arange(0.0, 6.0), wf.arange(10.0, 16.0)
        c = x[2:5]

        def function(a: wf.Tensor) -> wf.Tensor:
            a.add_(1.0)
            return c * 1.0  # noqa: B023 - that it changes is what is tested

        run: Any = wf.compile(function) if compiled else function
        first = run(x[0:3]).tolist()
        c = y[2:5]
        found.append((first, run(x[0:3]).tolist(), run(y[0:3]).tolist(), x.tolist(), y.tolist()))
    assert found[0] == found[1]


def _write_both(p: wf.Tensor, q: wf.Tensor) -> Any:
    p.mul_(2.0)
    q.add_(p.sum())
    return p * q


def _write_one(p: wf.Tensor, q: wf.Tensor) -> Any:
    q[:2].mul_(3.0)
    return p, q[1:]


@pytest.mark.parametrize("body", [_write_both, _write_one])
def test_arguments_may_be_views_of_a_tensor_with_a_history(body: Body) -> None:
    """The tensor itself is neither an argument nor captured; its history goes on all the same."""
    seen: list[list[Any]] = []
    for compiled in (False, True):
        run: Any = wf.compile(body) if compiled else body
        leaf, played = wf.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], requires_grad=True), []
        for make in (lambda x: x * 1.0, lambda x: x.detach() * 1.0, lambda x: x * 2.0):
            base = make(leaf)
            views = base[1:4], base.view(2, 3)[1]
            results = run(*views)
            for t in (base, *views, *(results if isinstance(results, tuple) else (results,))):
                leaf.grad = None
                if t.requires_grad:
                    t.sum().backward(retain_graph=True)
                played.append([t.tolist(), None if leaf.grad is None else leaf.grad.tolist()])
        seen.append(played)
    assert seen[0] == seen[1]


def _asks_for_history(w: wf.Tensor) -> Callable[[wf.Tensor, wf.Tensor], wf.Tensor]:
    def f(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        a[1] = w[0] * 2
        if not b.requires_grad:
            raise AssertionError("b shows a")
        b.sum().backward()
        return a * 1

    return f


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x[1:], lambda x: x.detach()], ids=["itself", "part", "detached"]
)
def test_what_a_function_raises_before_shared_memory_is_known_is_not_the_end(view: Any) -> None:
    found = []
    for compiled in (False, True):
        w, x = wf.tensor([1.0, 2.0]).requires_grad_(), wf.zeros(3)
        f = _asks_for_history(w)
        try:
            (wf.compile(f) if compiled else f)(x, view(x))
            found.append((w.grad.tolist(), x.tolist()))
        except AssertionError as error:
            found.append((w.grad, str(error)))
    assert found[0] == found[1]


def test_an_error_of_a_function_that_gets_one_tensor_twice_is_its_own() -> None:
    errors = [ValueError("first")]

    def f(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        a.add_(b)
        raise errors.pop()  # no history: nothing hangs on knowing that they are one, and the function runs once

    x = wf.zeros(2)
    with pytest.raises(ValueError, match="first"):
        wf.compile(f)(x, x)
    assert x.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("history", [False, True])
def test_an_error_of_a_captured_function_is_not_kept(history: bool) -> None:
    class Error(Exception):
        pass

    w, x, kept = wf.ones(2).requires_grad_(), wf.zeros(2), list[weakref.ref[Error]]()

    def f(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
        a.add_(w * 2 if history else b)
        error = Error()
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.disable()
    try:
        with pytest.raises(Error):
            wf.compile(f)(x, x)
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()


def test_a_view_whose_base_reaches_into_the_memory_of_others() -> None:
    """The part that the function closes over is seen through its base, in which the arguments lie too."""
    found = []
    for compiled in (False, True):
        x = wf.tensor([[0.5, 0.75], [1.0, -1.0], [0.25, 0.5]])
        first, last = x[:1], x[2:]

        def f(a: wf.Tensor, b: wf.Tensor, c: wf.Tensor, last: wf.Tensor = last) -> wf.Tensor:
            c.mul_(last)
            b[0].mul_(-1.0)
            return c * 0.5

        result = (wf.compile(f) if compiled else f)(first.detach(), first.detach(), last.detach())
        found.append((result.tolist(), x.tolist()))
    assert found[0] == found[1]


def sets_and_reads(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    b.grad = wf.full((2, 2), 3.0)
    return a * 2.0 if a.grad is None else a.grad * 5.0


def goes_back_and_reads(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    (a * a).sum().backward()
    return wf.zeros((2, 2)) if b.grad is None else b.grad * 2.0


def needs_the_gradient(a: wf.Tensor, b: wf.Tensor) -> wf.Tensor:
    b.grad = wf.full((2, 2), 3.0)
    result = b.sum()
    a.grad.zero_()  # type: ignore[union-attr]
    return result


@pytest.mark.parametrize("function", [sets_and_reads, goes_back_and_reads, needs_the_gradient])
def test_one_tensor_given_twice_has_one_gradient(function: Callable[..., wf.Tensor]) -> None:
    compiled = wf.compile(function)
    for once in (False, True, False, False, True):
        if once and function is needs_the_gradient:
            continue
        seen = []
        for run in (function, compiled):
            a = wf.ones((2, 2)).requires_grad_()
            b = (wf.ones((2, 2)) * 4.0).requires_grad_() if once else a
            seen.append((run(a, b).tolist(), repr(a.grad), repr(b.grad)))
        assert seen[0] == seen[1]

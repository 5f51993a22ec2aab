"""Tensors that a function reads in places and that are others at later calls: inputs, as numbers there are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import weft as wf
from weft import nn

Program = Callable[[Callable[[Any], Any]], tuple[Callable[[Any], Any], Callable[[], Any]]]
PROGRAMS: dict[str, tuple[Program, int]] = {}
TABLE: Any = None


def program(captures: int) -> Callable[[Program], Program]:
    """A program, which makes a function and what shows its state, and how often it may be captured."""

    def note(made: Program) -> Program:
        PROGRAMS[made.__name__] = made, captures
        return made

    return note


@program(2)
def an_attribute_that_is_replaced(compiled: Any) -> Any:
    box = SimpleNamespace(h=wf.zeros(3))

    @compiled
    def run(x: Any) -> Any:
        box.h = wf.tanh(box.h * 0.9 + x)
        return box.h.sum()

    return run, lambda: box.h


@program(3)
def a_state_of_a_module_that_begins_with_none(compiled: Any) -> Any:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = wf.nn.Parameter(wf.eye(3) * 0.5)
            self.h: Any = None
            self.last: list[Any] = []

        def forward(self, x: Any) -> Any:
            h = wf.zeros_like(x) if self.h is None else self.h
            self.h = wf.tanh(x @ self.weight + h).detach()
            self.last.append(self.h)
            return self.h.sum()

    cell = Cell()
    return compiled(cell), lambda: [cell.h, cell.last[-1] is cell.h, len(cell.last)]


@program(2)
def one_tensor_under_two_names(compiled: Any) -> Any:
    both = wf.ones(3)
    box = SimpleNamespace(a=both, b=both)

    @compiled
    def run(x: Any) -> Any:
        box.a = box.a * x + box.b
        return box.a

    return run, lambda: [box.a, box.b, box.a is box.b]


@program(8)  # what is written in place is state, one by one
def what_is_written_and_returned(compiled: Any) -> Any:
    box = SimpleNamespace(a=wf.ones(3))

    @compiled
    def run(x: Any) -> Any:
        box.a.add_(x)
        before = box.a
        box.a = box.a * 2.0
        return before

    return run, lambda: box.a


@program(2)
def an_item_and_a_variable(compiled: Any) -> Any:
    held, h = {"x": [wf.zeros(3)]}, wf.ones(3)

    @compiled
    def run(x: Any) -> Any:
        nonlocal h
        h = h * 0.5 + x
        held["x"][0] = held["x"][0] + h
        return held["x"][0]

    return run, lambda: [h, held]


@program(2)
def two_that_change_places(compiled: Any) -> Any:
    box = SimpleNamespace(a=wf.zeros(3), b=wf.ones(3))

    @compiled
    def run(x: Any) -> Any:
        box.a, box.b = box.b, box.a + x
        return box.a * 2.0

    return run, lambda: [box.a, box.b]


@program(8)
def a_state_with_a_history(compiled: Any) -> Any:
    weight, box = wf.ones(3).requires_grad_(), SimpleNamespace(h=wf.zeros(3))

    @compiled
    def run(x: Any) -> Any:
        box.h = box.h * weight + x
        return box.h

    return run, lambda: box.h


def shown(value: Any) -> Any:
    if isinstance(value, wf.Tensor):
        return value.dtype.name, value.numpy().tobytes(), value.requires_grad
    if isinstance(value, dict):
        return {key: shown(item) for key, item in value.items()}
    return list(map(shown, value)) if isinstance(value, list) else value


@pytest.mark.parametrize("name", PROGRAMS)
def test_state_is_that_of_eager_code_and_captured_as_an_input(name: str) -> None:
    made, captures = PROGRAMS[name]
    (eager, eager_state), (compiled, state) = made(lambda f: f), made(wf.compile)
    for k in range(6):
        x = wf.asarray([0.5, -1.0, 2.0]) * float(k) if "module" not in name else wf.ones((2, 3)) * float(k)
        assert shown(compiled(x)) == shown(eager(x))
        assert shown(state()) == shown(eager_state())
    assert len(compiled.cache_info().graphs) <= captures


def test_a_table_that_is_replaced_from_outside() -> None:
    global TABLE

    @wf.compile
    def run(x: Any) -> Any:
        return x * TABLE

    for k, shape in enumerate(((3,), (3,), (3,), (1,), (3,), (1,), (3,))):
        TABLE = wf.ones(shape) * float(k)
        assert run(wf.ones(3)).tolist() == [float(k)] * 3
    for dtype in (wf.int32, wf.float64):
        TABLE = wf.ones(3, dtype=dtype)
        assert run(wf.ones(3)).dtype is (wf.ones(3) * TABLE).dtype
    TABLE = wf.ones(3).requires_grad_()
    run(wf.ones(3)).sum().backward()
    assert TABLE.grad.tolist() == [1.0] * 3
    TABLE = wf.ones(4)[1:]  # a view
    assert run(wf.ones(3)).tolist() == [1.0] * 3


def test_a_call_that_fails_leaves_the_state() -> None:
    box = SimpleNamespace(h=wf.zeros(3))

    @wf.compile
    def run(x: Any, k: int) -> Any:
        box.h = box.h + x
        if k == 3:
            raise ValueError("no")
        return box.h

    for k in range(3):
        run(wf.ones(3), k)
    before = box.h
    with pytest.raises(ValueError, match="no"):
        run(wf.ones(3), 3)
    assert box.h is before and before.tolist() == [3.0] * 3
    run(wf.ones(3), 0)
    assert copy.deepcopy(box.h).tolist() == [4.0] * 3


def test_any_size() -> None:
    box = SimpleNamespace(h=wf.zeros(2))

    @wf.compile
    def run(x: Any) -> Any:
        box.h = (x.sum() + box.h * 0.5).detach()
        return box.h

    h = wf.zeros(2)
    for n in (3, 3, 3, 4, 5, 6, 7):
        h = wf.ones(n).sum() + h * 0.5
        assert run(wf.ones(n)).tolist() == h.tolist()
    assert len(run.cache_info().graphs) <= 3

"""Whether anything but an error on its way holds tensors, told by counting."""

import functools
import gc
from collections.abc import Callable
from types import CellType
from typing import Any

import pytest

import weft as wf
from weft.transforms.in_flight import hangs_on


class Holder:
    """An object of the user's, which is not looked into."""

    def __init__(self, tensor: Any):
        self.tensor = tensor


kept: list[Any] = []


def _plain(x: Any) -> None:
    raise ValueError


def _views_and_containers(x: Any) -> None:
    held = {"rows": [(x[1:], x.T), {1: x}], "all": {x}}
    raise ValueError(len(held))


def _closures(x: Any) -> None:
    def inner() -> Any:
        return x + 1

    calls = [inner, functools.partial(inner)]
    raise ValueError(len(calls))


def _below(x: Any) -> None:
    def inner(y: Any, *more: Any, **others: Any) -> None:
        _plain([y, more, others])

    try:
        inner(x, x, z=x)
    except ValueError as error:
        raise KeyError from error


def _itself(x: Any) -> None:
    held: list[Any] = [x]
    held.append(held)
    raise ValueError


def _in_the_error(x: Any) -> None:
    raise ValueError(x)


def _kept(x: Any) -> None:
    kept.append(x)
    raise ValueError


def _kept_deep(x: Any) -> None:
    inner = {"x": [x]}
    kept.append((1, inner))
    raise ValueError


def _kept_by_a_view(x: Any) -> None:
    kept.append(x[:2])
    raise ValueError


def _kept_by_a_closure(x: Any) -> None:
    kept.append(lambda: x)
    raise ValueError


def _of_an_object(x: Any) -> None:
    held = Holder(x)
    raise ValueError(held is None)


CASES: list[tuple[Callable[[Any], None], bool]] = [
    *((f, True) for f in (_plain, _views_and_containers, _closures, _below, _itself, _in_the_error)),
    *((f, False) for f in (_kept, _kept_deep, _kept_by_a_view, _kept_by_a_closure, _of_an_object)),
]


def met(function: Callable[[Any], None]) -> bool:
    """Whether the tensor that a function gets hangs on the error that it raises."""
    try:
        function(wf.ones((3, 3)))
    except Exception as error:
        step = error.__traceback__
        while step is not None and step.tb_frame.f_code is not function.__code__:
            step = step.tb_next
        assert step is not None
        held = [h.cell_contents if isinstance(h, CellType) else h for h in gc.get_referents(step.tb_frame)]
        tensors = [h for h in held if isinstance(h, wf.Tensor)][:1]
        del held
        return hangs_on(error, tensors)
    raise AssertionError


@pytest.mark.parametrize(("function", "expected"), CASES)
def test_who_holds_a_tensor(function: Callable[[Any], None], expected: bool) -> None:
    kept.clear()
    assert met(function) is expected


def test_no_error_holds_nothing() -> None:
    assert not hangs_on(None, [wf.ones(2)]) and not hangs_on(ValueError(), [wf.ones(2)])


def test_an_error_that_leads_to_very_much_is_not_looked_through() -> None:
    def much(x: Any) -> None:
        raise ValueError([[n] for n in range(6_000)])

    assert not met(much)

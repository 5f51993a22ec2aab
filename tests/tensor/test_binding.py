"""Methods that bind their arguments: what they take by its names, and errors of weft's own for all else."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.tensor.binding import OTHER_NAMES, Takes, names_of

X = wf.asarray([[1.0, 2.0], [3.0, 4.0]])
METHODS = [name for name, value in vars(Takes).items() if inspect.isfunction(value) and not name.startswith("_")]
# Of two operands: they are declared as ``maximum`` is.
BINARY = ["atan2", "eq", "lt", "logical_and", "remainder", "hypot", "bitwise_or", "multiply", "subtract"]
IN_PLACE = ["add_", "mul_", "pow_", "atan2_", "remainder_", "multiply_"]


def required(name: str) -> list[str]:
    """The parameters of a method that have no default."""
    parameters = list(inspect.signature(getattr(wf.Tensor, name)).parameters.values())
    return [
        p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"
    ]


@pytest.mark.parametrize("name", [n for n in (*METHODS, *BINARY, *IN_PLACE) if required(n)])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(wf.ArgumentError, match="must be given") as caught:
        getattr(X.clone(), name)()
    assert caught.value.message.startswith(name.removesuffix("_").replace("multiply", "mul").replace("subtract", "sub"))
    assert all(key in caught.value.message for key in required(name))


@pytest.mark.parametrize("name", [*METHODS, *BINARY, *IN_PLACE])
def test_an_argument_that_there_is_not_is_named(name: str) -> None:
    given = dict.fromkeys(required(name), X)
    with pytest.raises((wf.ArgumentError, TypeError), match="unknown"):
        getattr(X.clone(), name)(**given, unknown=1)


ONE_OPERAND = [*BINARY, *IN_PLACE, "add", "sub", "mul", "div", "pow", "maximum", "mm", "bmm", "dot", "matmul"]


@pytest.mark.parametrize("name", ONE_OPERAND)
def test_one_argument_too_many_is_shown(name: str) -> None:
    with pytest.raises(wf.ArgumentError, match=r"2 arguments by position, the last of them 7; it takes \w+ \(in this"):
        getattr(X.clone(), name)(X, 7)


@pytest.mark.parametrize("name", ["mul", "maximum", "atan2", "matmul", "pow", "eq"])
def test_an_operand_may_be_given_by_its_name_once(name: str) -> None:
    method, (key,) = getattr(X, name), required(name)
    assert np.array_equal(method(**{key: X}).numpy(), method(X).numpy())
    with pytest.raises(wf.ArgumentError, match=f"{name}: {key} is given twice"):
        method(X, **{key: X})
    with pytest.raises(wf.DTypeError, match=f"{name}: an operand of type str"):
        method(**{key: "text"})


@pytest.mark.parametrize("name", METHODS)
def test_other_names_are_understood_where_their_own_is_a_parameter(name: str) -> None:
    names = names_of(name)
    for other, own in OTHER_NAMES.items():
        if own in (*names.order, *names.options) and other not in names.order:
            with pytest.raises(wf.ArgumentError, match=f"{own} is given twice"):
                getattr(X, name)(**{own: 0, other: 0})


@pytest.mark.parametrize(
    "name", [n for n in dir(wf.ones(())) if not n.startswith("_") and callable(getattr(wf.Tensor, n)) and n != "numpy"]
)
def test_annotations_mean_something(name: str) -> None:
    """``typing.get_type_hints`` finds what they name, and shows what ``inspect.signature`` does."""
    method: Any = getattr(wf.Tensor, name)
    hints = typing.get_type_hints(method)
    shown = inspect.signature(method, eval_str=True)
    named = {p.name: p.annotation for p in shown.parameters.values() if p.annotation is not p.empty}
    assert hints.items() >= named.items()

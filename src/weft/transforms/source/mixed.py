"""Numbers that are ints or floats as values decide: ``min(1, step / warmup)``.

Beside an integer tensor, as text, or stored in an object the two differ, so nothing of the kind takes such a number.
What a float is computed of does: ``rate * min(1, step / warmup)`` is a float either way, of the same bits.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from .number import Number, needed


class Mixed:
    """An int or a float; ``number``: as a float."""

    __slots__ = ("number",)

    def __init__(self, number: Number):
        self.number = number

    def __eq__(self, other: object) -> Any:
        return self.number == _plain(other)

    def __ne__(self, other: object) -> Any:
        return self.number != _plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.number < _plain(other)

    def __le__(self, other: Any) -> Any:
        return self.number <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.number > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.number >= _plain(other)

    def __repr__(self) -> str:
        return repr(self.number)


def _plain(other: Any) -> Any:
    return other.number if type(other) is Mixed else other


def _is_float(other: Any) -> bool:
    return type(other) is float or (type(other) is Number and other.kind is float)


def _operator(name: str, reflected: bool) -> Callable[[Mixed, Any], Any]:
    function = getattr(operator, name)

    def method(self: Mixed, other: Any) -> Any:
        divides = name == "truediv" and (type(other) in (int, bool, Mixed) or type(other) is Number)
        if not _is_float(other) and not divides:
            raise needed(self.number, "whether it is an int or a float: it")
        return function(_plain(other), self.number) if reflected else function(self.number, _plain(other))

    return method


def _refusing(name: str) -> Callable[..., Any]:
    def method(self: Mixed, *args: Any) -> Any:
        raise needed(self.number, name)

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    setattr(Mixed, f"__{_name}__", _operator(_name, False))
    setattr(Mixed, f"__r{_name}__", _operator(_name, True))
for _name in ("bool", "int", "float", "index", "hash", "format", "str", "round", "abs", "neg"):
    setattr(Mixed, f"__{_name}__", _refusing(_name))

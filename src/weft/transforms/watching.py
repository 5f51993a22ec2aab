"""What a body does to Python objects: it is traced once, however often it runs, so it must leave them as they are.

:func:`seen_by` looks at what a function reaches by name (variables around it, globals that its code names, the object
that it is a method of), into containers and attributes; :func:`changed` compares. Tensors are not its business: what is
written into them is followed (bodies.py).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..tensor.tensor import Tensor

_MANY = 4000  # values that are looked at
_DEEP = 4  # steps from a name
_PLAIN = (bool, int, float, complex, str, bytes, type(None))

# A way to a value, its name first; and the value: what it was, or what stands for it.
Seen = dict[tuple[Any, ...], Any]


def seen_by(*functions: Any) -> Seen:
    """What functions reach now, by the ways to it."""
    found: Seen = {}
    known: set[int] = set()
    waiting: deque[tuple[tuple[Any, ...], Any, int]] = deque()
    waiting.extend(((n,), function, 0) for n, function in enumerate(functions))
    while waiting and len(found) < _MANY:
        way, value, depth = waiting.popleft()
        found[way] = value
        if isinstance(value, (*_PLAIN, Tensor, ModuleType, type)) or id(value) in known or depth > _DEEP:
            continue
        known.add(id(value))
        for key, inner in _inside(value):
            waiting.append(((*way, key), inner, depth + 1))
        if isinstance(value, (list, dict, set, deque)):
            found[(*way, "length of")] = len(value)
    return found


def changed(before: Seen, after: Seen) -> str | None:
    """The name of what is another value than it was, or of what holds one."""
    for way in before.keys() | after.keys():
        if way not in before or way not in after:
            if len(before) < _MANY and len(after) < _MANY and _holder(way) in before and _holder(way) in after:
                return _named(way)
        else:
            a, b = before[way], after[way]
            if a is not b and not (type(a) is type(b) and isinstance(a, _PLAIN) and (a == b or (a != a and b != b))):
                if isinstance(a, (MethodType, FunctionType)) and isinstance(b, (MethodType, FunctionType)):
                    continue  # defined anew
                return _named(way)
    return None


def _holder(way: tuple[Any, ...]) -> tuple[Any, ...]:
    return way[:-1]


def _named(way: tuple[Any, ...]) -> str:
    parts = [key for key in way[1:] if key not in ("length of", "self", "self object")]
    return ".".join(map(str, parts)) if parts else "an object"


def _inside(value: Any) -> Iterator[tuple[Any, Any]]:
    """What a value holds, by names or positions."""
    if isinstance(value, functools.partial):
        yield "self", value.func
        yield from enumerate((*value.args, *value.keywords.values()))
    elif isinstance(value, MethodType):
        yield "self", value.__func__
        yield "self object", value.__self__
    elif isinstance(value, FunctionType):
        code = value.__code__
        for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield name, cell.cell_contents
            except ValueError:  # not bound yet
                continue
        for name in _names(code):
            if name in value.__globals__:
                yield name, value.__globals__[name]
    elif isinstance(value, dict):
        yield from list(value.items())
    elif isinstance(value, (list, tuple, deque)):
        yield from enumerate(list(value))
    elif type(value).__module__.partition(".")[0] != "weft":
        yield from list(getattr(value, "__dict__", {}).items())


def _names(code: CodeType) -> Iterator[str]:
    """The globals that code may name, with those of functions that it defines."""
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)

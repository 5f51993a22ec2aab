"""What a container holds, so that it can be told later whether it still holds that.

Lists, dicts, sets, deques and views of dicts by their items, arrays and bytes by their bytes. Lists and dicts that are
short are compared natively (quick.py); everything else here, by a function that a call of compiled code asks.
"""

from __future__ import annotations

import functools
from array import array
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, deque
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

from ..tensor.create import is_numpy
from ..tensor.guards import same

VIEWS: tuple[type, ...] = (
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)  # those of ordered dicts are subclasses
SETS = (set, frozenset, deque)
_BYTES = (bytearray, array, memoryview)
_CONTAINERS = (list, dict, tuple, *SETS, *VIEWS, MappingProxyType, *_BYTES)
AROUND = (UserDict, UserList, UserString, ChainMap)  # of the standard library: they hold one, which their methods read


def _is_array(kind: Any) -> bool:
    """Whether a class is NumPy's array, asked without importing NumPy."""
    return is_numpy(kind) and hasattr(kind, "__setitem__")


def _is_of_bytes(kind: Any) -> bool:
    """Whether objects of a class hold bytes, not objects."""
    return issubclass(kind, _BYTES) or _is_array(kind)


def _is_container(kind: Any) -> bool:
    """Whether objects of a class hold others, or bytes."""
    return issubclass(kind, _CONTAINERS) or _is_array(kind)


is_array: Callable[[Any], bool] = functools.cache(_is_array)
is_of_bytes: Callable[[Any], bool] = functools.cache(_is_of_bytes)
is_container: Callable[[Any], bool] = functools.cache(_is_container)


def children(thing: Any) -> Sequence[Any]:
    """The values in a container, none of an array."""
    if isinstance(thing, dict):
        return tuple(dict.values(thing))
    if isinstance(thing, list):
        return tuple(list.__iter__(thing))
    if isinstance(thing, tuple):
        return tuple(tuple.__iter__(thing))
    if isinstance(thing, MappingProxyType):
        return tuple(thing.values())
    return () if is_of_bytes(type(thing)) else tuple(thing)


def contents(thing: Any) -> tuple[Any, ...]:
    """All that a container holds now."""
    if isinstance(thing, dict):
        kind = OrderedDict if isinstance(thing, OrderedDict) else dict  # which keeps an order of its own
        return tuple(kind.keys(thing)), tuple(kind.values(thing))
    if isinstance(thing, list):
        return tuple(list.__iter__(thing))
    if isinstance(thing, MappingProxyType):
        return tuple(thing.keys()), tuple(thing.values())
    if is_array(type(thing)):
        return thing.dtype.str if thing.dtype.names is None else repr(thing.dtype), thing.shape, thing.tobytes()
    if isinstance(thing, _BYTES):
        return type(thing), bytes(thing)
    return tuple(thing)


def is_as(now: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    """Whether what a container holds is what it held: numbers and strings by value, everything else by identity."""
    if len(now) != len(before):
        return False
    for a, b in zip(now, before, strict=True):
        if a is not b and not same(a, b):
            if isinstance(a, tuple) and isinstance(b, tuple):
                if not is_as(a, b):
                    return False
            elif type(a) is not bytes or a != b:
                return False
    return True

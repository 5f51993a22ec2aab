"""What a capture that has failed leaves behind, told without a look at the whole heap.

The tensors that such a function has made are there still: the error that is on its way holds the frames that it has
left, with their variables. Whether anything else holds one of them is told by counting: each object that the error
leads to has as many references as these objects have to it, or somebody else has one.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from functools import partial
from types import CellType, FrameType, FunctionType, MethodType, TracebackType
from typing import Any

from ..ops.operands import Late
from ..tensor.alias import View
from ..tensor.tensor import Tensor

_MOST = 5_000  # objects that are looked at, in some ms
_OF_BODIES = ("weft.transforms.source.", "weft.transforms.bodies")
# What is looked into: what running functions have in variables, and what these hold.
_INTO: tuple[type, ...] = (BaseException, TracebackType, FrameType, CellType, FunctionType, MethodType, partial)
_INTO += (list, tuple, dict, set, Tensor, View, Late)


def _count(objects: list[Any]) -> list[int]:
    """The references to each of the objects, of which the list and this function have some."""
    return [sys.getrefcount(each) for each in objects]


_OWN = _count([object()])[0]  # those


def hangs_on(error: BaseException | None, tensors: list[Tensor]) -> bool:
    """Whether an error, and what that alone holds, holds the tensors, and nothing else does but the list that they are
    in here. False where that is not known."""
    if error is None:
        return False
    found: dict[int, Any] = {id(error): error}
    links: dict[int, list[int]] = {}
    others = {id(sys.modules), id(tensors), id(found)}
    queue: list[Any] = [error]
    for each in queue:  # it grows
        if isinstance(each, FrameType):
            others |= {id(each.f_globals), id(each.f_builtins)}
        elif isinstance(each, FunctionType):
            others |= {id(each.__globals__), id(getattr(each, "__builtins__", None))}
        below = links[id(each)] = []
        for held in gc.get_referents(each):
            if _may_hold(held) and id(held) not in others:
                below.append(id(held))
                if id(held) not in found:
                    found[id(held)] = held
                    queue.append(held)
        if len(queue) > _MOST:
            return False
    each = held = None
    if any(id(t) not in found for t in tensors):
        return False
    known = Counter(number for below in links.values() for number in below)
    left = {number: count - _OWN - 1 for number, count in zip(found, _count(queue), strict=True)}  # but for ``found``
    for number in map(id, tensors):
        left[number] -= 1
    inside = set(found)
    waiting = [number for number in found if left[number] > known[number] and not _runs(found[number])]
    while waiting:  # somebody else has one of them, and with it what it leads to
        number = waiting.pop()
        if number in inside:
            inside.discard(number)
            for each in links[number]:
                known[each] -= 1
                if left[each] > known[each] and not _runs(found[each]):
                    waiting.append(each)
    return all(id(t) in inside for t in tensors)


def _may_hold(held: Any) -> bool:
    """Whether an object is looked into: a container, or what stands for bodies while they are traced."""
    module = type(held).__module__
    return isinstance(held, _INTO) or (isinstance(module, str) and module.startswith(_OF_BODIES))


def _runs(held: Any) -> bool:
    """Whether it is a part of what runs, or of an error, which lets go of what it holds."""
    return isinstance(held, (FrameType, TracebackType, BaseException))

"""Locks of state: runs of captured code that write tensors in place happen one after the other.

A training step is one call for whoever makes it, so of two threads that make it at once neither may lose its update.
Each tensor of the state that captured code writes, the memory that it shares with others, and each leaf whose gradient
it replaces belong to a lock; what is written by the same code shares one. A run takes the locks of all that it writes,
in one order for all; runs over separate state do not wait for each other. An argument that is written is the caller's
affair. Eager code takes none, as in PyTorch, except for draws of random numbers, which would come twice.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Sequence
from typing import Any

from ..core.process import Lock

_numbers = itertools.count()


class StateLock(Lock):
    """A lock with a place in the order of all. ``host`` is ``now`` while a run holds it that may be inside Python code
    of its own: what that code wrote under the lock, the run would write over."""

    __slots__ = ("host", "number")

    def __init__(self) -> None:
        super().__init__()
        self.number = next(_numbers)
        self.host: Any = None


# By the id of a tensor (equality of tensors is elementwise), Storage or leaf: a reference that takes the entry away,
# and the lock.
_of: dict[int, tuple[weakref.ref[Any], StateLock]] = {}
_registry = Lock()


def lock_of(tensor: Any) -> StateLock:
    """The lock that a tensor belongs to."""
    return locks_of([tensor])[0]


def locks_of(tensors: Sequence[Any]) -> list[StateLock]:
    """The locks of all these tensors, in their order; those that belong to none get one together."""
    with _registry.now:
        new: StateLock | None = None
        found: dict[int, StateLock] = {}
        for tensor in tensors:
            key = id(tensor)
            known = _of.get(key)
            if known is None or known[0]() is not tensor:
                new = new or StateLock()
                known = _of[key] = weakref.ref(tensor, functools.partial(_forget, key)), new
            found[known[1].number] = known[1]
        return [found[number] for number in sorted(found)]


def _forget(key: int, gone: weakref.ref[Any]) -> None:
    known = _of.get(key)
    if known is not None and known[0] is gone:
        del _of[key]

"""Captures that are going on, in all threads.

A tensor that a function stores in a Python object while it is captured has no value before its first run has ended.
Another thread that comes across such a tensor meanwhile waits here; nobody else ever looks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..graph.ir import Value

if TYPE_CHECKING:
    from .tensor import Tensor

_PATIENCE = 60.0  # seconds; two threads that wait for each other must not do so for ever


class _Going:
    """The threads that capture, and a condition that is notified when one of them is done."""

    __slots__ = ("changed", "threads")

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.changed = threading.Condition()


_going = _Going()


def _after_fork() -> None:
    """The child has this thread alone."""
    own = threading.get_ident()
    _going.changed, _going.threads = threading.Condition(), [t for t in _going.threads if t == own]


os.register_at_fork(after_in_child=_after_fork)


class capturing:
    """Context manager: around a capture and the first run of what it found."""

    def __enter__(self) -> None:
        with _going.changed:
            _going.threads.append(threading.get_ident())

    def __exit__(self, *details: object) -> None:
        with _going.changed:
            _going.threads.remove(threading.get_ident())
            _going.changed.notify_all()


def others() -> bool:
    """Whether another thread is capturing now."""
    own = threading.get_ident()
    return any(t != own for t in _going.threads)


def settled(tensors: Sequence[Tensor]) -> bool:
    """Wait while other threads capture and one of the tensors has no value; whether all have one."""
    until = time.monotonic() + _PATIENCE
    with _going.changed:
        while any(isinstance(t._storage, Value) for t in tensors):
            left = until - time.monotonic()
            if left <= 0 or not others():
                return False
            _going.changed.wait(left)
    return True


def settle_others() -> bool:
    """Wait until one of the other threads that capture now is done; False if there is none."""
    with _going.changed:
        return others() and _going.changed.wait(_PATIENCE)

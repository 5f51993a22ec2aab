"""The garbage collector, and code that makes a great many objects which all stay: it would look at them over and over.

Capture and lowering of a large step make half a million of them; the collector takes a third of the time then.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .process import Lock

_lock = Lock()
_inside: list[int] = []  # the threads that are in such code, as often as they are
_found: list[bool] = []  # whether the first of them found the collector on


@contextmanager
def uncollected() -> Iterator[None]:
    """Code during which no garbage is collected unless it is asked for; the collector is then as it was."""
    me = threading.get_ident()
    with _lock.now:
        if not _inside:
            _found[:] = [gc.isenabled()]
            gc.disable()
        _inside.append(me)
    try:
        yield
    finally:
        with _lock.now:
            _inside.remove(me)
            _resume()


def _resume() -> None:
    if not _inside and _found.pop():
        gc.enable()


def _after_fork() -> None:
    """The child has this thread alone."""
    own = threading.get_ident()
    inside = [thread for thread in _inside if thread == own]
    if _inside != inside:
        _inside[:] = inside
        _resume()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

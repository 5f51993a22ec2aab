"""What a fork and the end of the process wait for, and what a forked child has anew.

A forked child has one thread. What another thread of the parent held at that moment stays held in the child for ever:
a lock of ours, a lock inside LLVM, a module that was half imported. So

- our locks are of the type :class:`Lock`, and a child has new ones. What they guard is changed by single assignments
  to dictionaries and names, so it is never half changed;
- code of other people that takes locks of its own runs :func:`undivided`, and a fork waits until no other thread is in
  it. It also waits while another thread imports one of our modules or of those that we import where they are needed.

LLVM's static objects are destroyed by ``exit()``, which threads that are still inside would not survive: the end of the
process waits for them too, and daemon threads that come later end there. Machine code of our own is never unmapped
(llvm/elf.py), so a kernel needs no such care.
"""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_PATIENCE = 30.0  # seconds that a fork or the end of the process waits at most
_POLL = 0.5e-3
_IMPORTED_LATE = ("weft", "llvmlite", "numpy", "ml_dtypes", "onnx", "google", "safetensors", "rich")


class Lock:
    """A reentrant lock that is free in a forked child, whoever held it in the parent: ``with lock.now: ...``.

    Reentrant, because a signal handler or a destructor that computes may run in the middle of anything.
    """

    __slots__ = ("__weakref__", "now")

    def __init__(self) -> None:
        self.now = threading.RLock()
        _locks.add(self)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()
_entrance = threading.RLock()  # of undivided code; a fork holds it from before until after
_inside: dict[int, int] = {}  # thread -> how many times it is inside
_ending = False


@contextmanager
def undivided() -> Iterator[None]:
    """Code that no fork by another thread cuts in two, and that the end of the process waits for.

    It must end without waiting for other threads, and not run Python code of the user's.

    Raises:
        SystemExit: in a daemon thread, while the process ends.
    """
    me = threading.get_ident()
    with _entrance:
        if _ending and threading.current_thread().daemon:
            raise SystemExit
        _inside[me] = _inside.get(me, 0) + 1
    try:
        yield
    finally:
        _inside[me] -= 1
        if not _inside[me]:
            del _inside[me]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Code that a Ctrl-C waits for: an import, which, cut in two, may leave modules of Python's library half made (that
    of ``pathlib`` in Python 3.13)."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    met: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: met.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if met:
            handler(*met[-1])


def _others_inside() -> bool:
    me = threading.get_ident()
    return any(thread != me for thread in list(_inside))


def _others_import() -> bool:
    """True while another thread holds the import system's lock of a module that is ours or that we need."""
    me = threading.get_ident()
    held: dict[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
    for name, reference in list(held.items()):
        if name.partition(".")[0] in _IMPORTED_LATE:
            owner = getattr(reference(), "owner", None)
            if owner is not None and owner != me:
                return True
    return False


def _before_fork() -> None:
    """Wait for what must not be cut in two, and let nobody in until the fork is done."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        _entrance.acquire()
        if not (_others_inside() or _others_import()) or time.monotonic() > deadline:
            return
        _entrance.release()
        time.sleep(_POLL)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # the wait was interrupted by Ctrl-C: it is not held
        _entrance.release()


def _after_fork_in_child() -> None:
    global _entrance
    _entrance = threading.RLock()
    me = threading.get_ident()
    for thread in list(_inside):
        if thread != me:
            del _inside[thread]
    for lock in list(_locks):
        lock.now = threading.RLock()


def _at_exit() -> None:
    global _ending
    with _entrance:
        _ending = True
    deadline = time.monotonic() + _PATIENCE
    while _others_inside() and time.monotonic() < deadline:
        time.sleep(_POLL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)

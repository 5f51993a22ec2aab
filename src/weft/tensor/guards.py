"""Python state that a captured function was specialised on: attributes of modules, options of optimizers.

While a capture runs, reads of such state are reported here and become guards; the captured graph holds as long as its
guards do. Checking them is rarely needed: every write bumps one version number, so that a call whose version is still
that of the last check need not look at any guard.

Example (the capture's side):
    >>> from weft.tensor import guards
    >>> class Layer: training = True
    >>> with guards.recording() as seen:
    ...     _ = guards.read(Layer, "training", Layer.training)
    >>> [guard.holds() for guard in seen]
    [True]
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Guard", "bump", "is_recording", "read", "recording", "same", "version"]

T = TypeVar("T")
_PLAIN = (bool, int, float, str, tuple, type(None))


class _Seen(threading.local):
    """The guards that this thread records; None outside captures."""

    seen: list[Guard] | None = None


class _Writes:
    """The number of writes so far, by all threads."""

    __slots__ = ("version",)

    def __init__(self) -> None:
        self.version = 0


_state, _writes = _Seen(), _Writes()


@dataclass(frozen=True, slots=True)
class Guard:
    """``owner.name`` (for a dict: ``owner[name]``) was ``value``. A ``name`` of "" stands for ``owner.guarded()``."""

    owner: Any
    name: str
    value: Any

    def holds(self) -> bool:
        """True while reading it again gives the :func:`same`."""
        if not self.name:
            return same(self.owner.guarded(), self.value)
        if isinstance(self.owner, dict):
            return self.name in self.owner and same(self.owner[self.name], self.value)
        return hasattr(self.owner, self.name) and same(getattr(self.owner, self.name), self.value)


def same(a: Any, b: Any) -> bool:
    """Numbers, strings and tuples by value, objects by identity."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and (a == b or (a != a and b != b)))


@contextmanager
def recording() -> Iterator[list[Guard]]:
    """Collect the guards of what is read inside; nested recordings report to the outer one too."""
    outer = _state.seen
    seen: list[Guard] = []
    _state.seen = seen
    try:
        yield seen
    finally:
        _state.seen = outer
        if outer is not None:
            outer.extend(seen)


def is_recording() -> bool:
    """True inside :func:`recording`."""
    return _state.seen is not None


def read(owner: Any, name: str, value: T) -> T:
    """Report that ``owner.name`` was read as ``value``; returns the value."""
    if _state.seen is not None:
        _state.seen.append(Guard(owner, name, value))
    return value


def bump() -> None:
    """Report that guarded state was written."""
    _writes.version += 1


def version() -> int:
    """Number of writes so far: while it stays, every guard that held still holds."""
    return _writes.version

"""Python state that a captured function was specialised on: attributes of modules, options of optimizers.

While a capture runs, reads of such state are reported here and become guards; the captured graph holds as long as its
guards do. Checking them is rarely needed: every write bumps one version number, so that a call whose version is still
that of the last check need not look at any guard.

Example (the capture's side):
    >>> from weft.tensor import guards
    >>> class Layer: training = True
    >>> with guards.recording() as recorded:
    ...     _ = guards.read(Layer, "training", Layer.training)
    >>> [guard.holds() for guard in recorded.seen]
    [True]
"""

from __future__ import annotations

import itertools
import operator
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_SHORT = (bool, int, float, str, type(None))
_PLAIN = (bool, int, float, str, tuple, type(None))


ABSENT = object()  # what an attribute was that was not there
ANYTHING: Any = object()  # in a guard's value: what the captured function wrote itself


class _Recording(threading.local):
    """What this thread records; None outside captures."""

    recorded: Recorded | None = None


class _Writes:
    """The number of writes so far, by all threads, where native code can look at it (runtime/quick.py). Every write has
    a number of its own, so that two at once leave none that an earlier check could have seen."""

    __slots__ = ("count", "version")

    def __init__(self) -> None:
        self.count = itertools.count(1)
        self.version = array("q", (0,))


_state, _writes = _Recording(), _Writes()


@dataclass(frozen=True, slots=True)
class Like:
    """In a guard's value: any tensor of this type, with gradients or without; the captured function did not read it."""

    spec: Any
    has_history: bool


def like(tensor: Any) -> Like:
    """What stands for any tensor of the same type."""
    return Like(tensor._spec, tensor._node is not None)


def shown_plainly(value: Any) -> str:
    """A value in a few words: a number, a string or a short tuple as it is, of all else the type."""
    if isinstance(value, tuple) and len(value) <= 8:
        return f"({', '.join(map(shown_plainly, value))})"
    if isinstance(value, _SHORT):
        text = repr(value) if type(value) in _SHORT else type(value).__name__
        return text if len(text) <= 80 else f"{text[:79]}\u2026"
    if isinstance(value, Like):
        return f"any tensor {value.spec!r}"
    return "absent" if value is ABSENT else "anything" if value is ANYTHING else f"that very {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Guard:
    """``owner.name`` (for a dict: ``owner[name]``) was ``value``. A ``name`` of "" stands for ``owner.guarded()``."""

    owner: Any
    name: str
    value: Any

    def described(self) -> str:
        """In words, without running code of the owner's or the value's."""
        name = f"[{self.name!r}]" if isinstance(self.owner, dict) else f".{self.name}" if self.name else " as a whole"
        return f"{type(self.owner).__name__}{name} is {shown_plainly(self.value)}"

    def holds(self) -> bool:
        """True while reading it again gives the :func:`same`."""
        if not self.name:
            return same(self.owner.guarded(), self.value)
        if isinstance(self.owner, dict):
            return self.name in self.owner and same(self.owner[self.name], self.value)
        return hasattr(self.owner, self.name) and same(getattr(self.owner, self.name), self.value)

    def changed(self) -> str:
        """In words what it was and is."""
        kind = type(self.owner).__name__
        of = self.owner
        if not self.name:
            now = of.guarded()
            for was, is_now in zip(self.value, now, strict=False):
                pair = isinstance(was, tuple) and isinstance(is_now, tuple) and len(was) == len(is_now) == 2
                if pair and not same(is_now, was) and isinstance(was[0], str):
                    return f"{kind}.{was[0].lstrip('_')} was {shown_plainly(was[1])}, is {shown_plainly(is_now[1])}"
            return f"what a {kind} holds is something else"
        now = of.get(self.name, ABSENT) if isinstance(of, dict) else getattr(of, self.name, ABSENT)
        where = repr(self.name) if isinstance(of, dict) else f"{kind}.{self.name}"
        return f"{where} was {shown_plainly(self.value)}, is {shown_plainly(now)}"


def same(a: Any, b: Any) -> bool:
    """Numbers (NumPy's too), strings and tuples by type and value, objects by identity."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if b is ANYTHING:
        return True
    if b.__class__ is Like:
        return getattr(a, "_spec", None) is b.spec and (a._node is not None) == b.has_history
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, _PLAIN):
        return bool(a == b and (a != 0 or repr(a) == repr(b))) or bool(a != a and b != b)
    of_numpy = type(a).__module__ == "numpy" and hasattr(a, "tobytes") and not hasattr(a, "__setitem__")
    return of_numpy and bool(a.tobytes() == b.tobytes())


@dataclass(slots=True)
class Recorded:
    """What was ``seen``, and the first ``writes`` to attributes: (the dict that holds it, its name, what it was
    before), by the dict's id and the name. ``last``: the id of what was written last."""

    seen: list[Guard] = field(default_factory=list)
    writes: dict[tuple[int, str], tuple[dict[str, Any], str, Any]] = field(default_factory=dict)
    last: dict[tuple[int, str], int] = field(default_factory=dict)

    def is_own(self, key: tuple[int, str], now: Any) -> bool:
        """Whether it is what was written here that is there now: other threads may have written since."""
        return threading.active_count() == 1 or self.last[key] == id(now)


@contextmanager
def recording() -> Iterator[Recorded]:
    """Collect what is read and written inside; nested recordings report to the outer one too."""
    outer = _state.recorded
    recorded = _state.recorded = Recorded()
    try:
        yield recorded
    finally:
        _state.recorded = outer
        if outer is not None:
            outer.seen.extend(recorded.seen)
            outer.writes = {**recorded.writes, **outer.writes}
            outer.last.update(recorded.last)


def is_recording() -> bool:
    """True inside :func:`recording`."""
    return _state.recorded is not None


def recorded() -> Recorded | None:
    """What this thread has collected so far."""
    return _state.recorded


def read(owner: Any, name: str, value: T) -> T:
    """Report that ``owner.name`` was read as ``value``; returns the value."""
    if _state.recorded is not None:
        _state.recorded.seen.append(Guard(owner, name, value))
    return value


def rewritten(guard: Guard, replacement: Callable[[Any], Any]) -> Guard:
    """The guard with what ``replacement`` gives for each value in it."""

    def replaced(value: Any) -> Any:
        if not isinstance(value, tuple):
            return replacement(value)
        items = [replaced(item) for item in value]
        if all(map(operator.is_, items, value)):
            return value
        return value._make(items) if hasattr(value, "_make") else type(value)(items)  # of a named tuple

    return Guard(guard.owner, guard.name, replaced(guard.value))


def before_write(names: dict[str, Any], name: str, value: Any) -> None:
    """Report that ``names[name]`` is about to become ``value``."""
    recorded = _state.recorded
    if recorded is not None:
        key = (id(names), name)
        recorded.writes.setdefault(key, (names, name, dict.get(names, name, ABSENT)))
        recorded.last[key] = id(value)  # to hold it would be to store it


def bump() -> int:
    """Report that guarded state was written; the number of the write."""
    number = _writes.version[0] = next(_writes.count)
    return number


def version() -> int:
    """Number of writes so far: while it stays, every guard that held still holds."""
    return _writes.version[0]


def counter() -> array[int]:
    """What holds :func:`version`."""
    return _writes.version

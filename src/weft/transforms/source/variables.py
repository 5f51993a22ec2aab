"""The variables of a branch or a loop: read, given back, compared, and put together again from what both ways gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.errors import CaptureError
from ...tensor.tensor import Tensor
from ..tree import Form, flatten, matched
from .number import Number
from .signals import RESULT
from .writes import journal


class _Missing:
    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}>"


UNBOUND: Any = _Missing("unbound")  # a variable without a value
READ = 2
UNSET: Any = _Missing("no result yet")  # what a function returns, as long as no return was met
OPAQUE = (Tensor, Number)


class Maybe:
    """A variable that has a value on some ways alone: where ``flag``, a bool tensor, is true."""

    __slots__ = ("flag", "value")

    def __init__(self, value: Any, flag: Tensor):
        self.value, self.flag = value, flag


class State:
    """The variables that a statement binds.

    Args:
        names: as they are written, ``x`` or ``self.h``.
        live: whether each is read later.
        entering: whether an iteration, or the test, reads it before it binds it: READ where it does itself, true where
            a function that refers to it may.
        get, set: their values (UNBOUND for none).
    """

    __slots__ = ("entering", "get", "live", "names", "set")

    def __init__(
        self,
        names: tuple[str, ...],
        live: tuple[bool, ...],
        entering: tuple[int, ...],
        get: Callable[[], tuple[Any, ...]],
        set: Callable[[Sequence[Any]], None],
    ):
        self.names, self.live, self.entering, self.get, self.set = names, live, entering, get, set

    def saved(self) -> Saved:
        """What they are now."""
        return Saved(self.get())

    def restore(self, saved: Saved) -> None:
        """Make them what they were."""
        self.give_back(saved.values)
        saved.refill()

    def give_back(self, values: Sequence[Any]) -> None:
        """Set them to what is no store of the program: what they held before, what an iteration begins with."""
        noted = journal()
        before = noted is not None and noted.restoring
        try:
            if noted is not None:
                noted.restoring = True
            self.set(values)
        finally:
            if noted is not None:
                noted.restoring = before

    def holds_all(self) -> State:
        """The same variables, all of which are read later."""
        every = (True,) * len(self.names)
        return State(self.names, every, every, self.get, self.set)


class Saved:
    """Values of variables; of lists and dicts also what they held."""

    __slots__ = ("contents", "values")

    def __init__(self, values: Sequence[Any]):
        self.values = list(values)
        self.contents = [v.copy() if type(v) in (list, dict) else None for v in values]

    def refill(self) -> None:
        """Give lists and dicts what they held."""
        noted = journal()
        for value, content in zip(self.values, self.contents, strict=True):
            if content is not None:
                if noted is not None:
                    noted.handles(id(value))
                refill(value, content)

    def now(self, n: int) -> Any:
        """The value of variable n, a copy where it is a list or dict: what it was then."""
        content = self.contents[n]
        return self.values[n] if content is None else content


def refill(container: Any, content: Any) -> None:
    """Make a list or dict hold other things, itself."""
    if type(container) is list:
        if len(container) != len(content) or any(a is not b for a, b in zip(container, content, strict=True)):
            container[:] = content
    elif list(container.items()) != list(content.items()) if not _has_values(content) else True:
        container.clear()
        container.update(content)


def _has_values(content: dict[Any, Any]) -> bool:
    return any(isinstance(leaf, OPAQUE) for leaf in flatten(content)[0])


def is_same(a: Any, b: Any) -> bool:
    """Whether two values are one, or plain and equal."""
    if a is b:
        return True
    if type(a) is not type(b) or isinstance(a, OPAQUE):
        return False
    if type(a) in (bool, int, str, bytes):
        return bool(a == b)
    if type(a) in (float, complex):
        return repr(a) == repr(b)
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(is_same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(map(is_same, a.values(), b.values()))
    return False


def parts(name: str, value: Any, form: Form | None, what: str) -> list[Any]:
    """The leaves of a variable's value, in the order of ``form``.

    Raises:
        CaptureError: it is another nesting.
    """
    if form is None:
        return flatten(value)[0]
    found = matched(value, form, named(name))
    if isinstance(found, str):
        raise CaptureError(f"{what}: {found}")
    return found


def named(name: str) -> str:
    """A variable, for an error."""
    return "what is returned" if name == RESULT else f"`{name}`"


def shown(leaf: Any) -> str:
    """A leaf, for an error."""
    if leaf is UNBOUND:
        return "not bound"
    if isinstance(leaf, Tensor):
        return f"a tensor of {leaf.dtype.name}, shape {tuple(leaf.shape)}"
    if type(leaf) is Number:
        return f"a Python {leaf.kind.__name__}"
    return "None" if leaf is None else f"{leaf!r}" if type(leaf) in (bool, int, float, str) else type(leaf).__name__

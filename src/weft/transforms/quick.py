"""The quick way of a compiled function's call: what :meth:`Captured.valid` asks, laid out for one native call.

A :class:`Quick` (runtime/quick.py) compares by identity alone. So an entry gets one at its second call, when all holds:
what is equal to what the capture saw, without being it, is noted as it is then. A call that it refuses goes the long
way, and when the entry is found to hold all the same, it is noted anew, more and more seldom.

What it cannot say that way (gradients that are read, memory that several tensors show) Python functions look at, called
by the native one. Arguments inside of lists and dicts leave the entry to the long way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from ..core.device import chosen
from ..ops.op import state
from ..runtime import storage as storages
from ..runtime.quick import Builtins, Given, Quick
from ..tensor import dispatch, guards, tape
from ..tensor.create import is_array, is_scalar
from ..tensor.guards import ABSENT, ANYTHING, Like, same
from ..tensor.tensor import Tensor, is_traced, make
from .captured import Captured, Reads
from .places import content

_TOO_MANY = 4096  # arguments and rows of each kind: the native code keeps them on its stack

# The fields of Reads.
_LAID_OUT = {"refs", "specs", "nodes", "conditions", "guards", "names", "objects", "version", "_now"}


class Otherwise(Exception):
    """There is something that a Quick cannot say."""


def given(value: Any) -> Given:
    """An argument as it has to be at calls to come.

    Raises:
        Otherwise: it is more than a tensor, or a thing that is what it is.
    """
    if isinstance(value, Tensor):
        of = value._view
        row = Given(type(value), value._spec, type(value._node))
        return row if of is None else row._replace(view=of.kind, base=type(of.base._node))
    if isinstance(value, (list, tuple, dict, set, frozenset)) or is_array(value) or is_scalar(value):
        raise Otherwise
    return Given(value)


class Noting:
    """Takes down what an entry relies on.

    Raises:
        Otherwise: it does not hold, or cannot be said.
    """

    def __init__(self, captured: Captured, quick: Quick):
        self.captured, self.version = captured, guards.version()
        self.quick = quick

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """What is given to calls, and the thread's modes."""
        quick = self.quick
        quick.names = list(kwargs)
        quick.given = [given(value) for value in (*args, *kwargs.values())]
        quick.attributes += [(state, "trace", None), (chosen, "device", chosen.device)]
        quick.attributes.append((tape.recording, "enabled", tape.recording.enabled))

    def reads(self) -> bool:
        """Tensors and Python state that the function read; whether a run can take its inputs from what is noted."""
        reads, checks = self.captured.reads, self.quick.checks
        if reads.version != self.version:
            raise Otherwise
        if not reads.now.is_fixed:  # some are found anew at each call
            checks.append(reads.hold)
            return False
        if not _LAID_OUT.issuperset(Reads.__slots__):  # it looks at something that is not laid out here
            checks.append(reads.hold)
        for tensor, spec, node in zip(reads.now.fixed, reads.specs, reads.nodes, strict=True):
            self.quick.state.append((tensor, spec, node, None))
        checks += reads.conditions
        names = reads.names
        if names is not None:
            names.note(self)
        return True

    def memory(self, given: Sequence[Tensor], written: Sequence[int]) -> None:
        """Which memory is written, and has to be apart from what."""
        aliases, quick = self.captured.aliases, self.quick
        quick.written = list(written)
        tensors, is_written = aliases.fixed(), aliases.written[len(given) :]
        if aliases.leaves or aliases.groups or len(tensors) != len(is_written):
            quick.checks.append(aliases.hold)
            return
        if True not in aliases.written:
            return
        shown = {id(t): t._storage for t in tensors}
        quick.pairs = True in aliases.written[: len(given)]
        roots = [shown[id(t)].root for t, wrote in zip(tensors, is_written, strict=True) if wrote or quick.pairs]
        quick.roots = list({id(root): root for root in roots}.values())
        quick.state = [(t, spec, node, shown.get(id(t))) for t, spec, node, _ in quick.state]
        known = {id(t) for t, *_ in quick.state}
        quick.others += [(t, t._spec, type(t._node), shown[id(t)]) for t in tensors if id(t) not in known]
        if not aliases.hold(given):  # after storages were looked at: none of them is another one now
            raise Otherwise

    def cell(self, cell: Any, value: Any) -> None:
        """A closure's variable has to be ``value``."""
        self._row(self.quick.cells, (cell,), lambda: content(cell), value)

    def item(self, names: Any, name: Any, value: Any) -> None:
        """So has an item of a dict, or of a class."""
        rows = self.quick.items if type(names) is dict else None
        if type(names) is MappingProxyType and name in names:
            rows = self.quick.class_items
        self._row(rows, (names, name), lambda: names.get(name, ABSENT), value)

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """So has an attribute that is no item of a dict."""
        rows = self.quick.attributes if hasattr(owner, name) else None
        self._row(rows, (owner, name), lambda: getattr(owner, name, ABSENT), value)

    def contents(self, container: Any, now: Sequence[Any], values: Sequence[Any]) -> None:
        """A list has to hold these items, or a dict these (key, value)."""
        is_dict, expected = isinstance(container, dict), list(values)
        if is_dict:
            now, values = [part for pair in now for part in pair], [part for pair in values for part in pair]
        with suppress(Otherwise):
            if len(now) == len(values):
                items = [self._expected(a, b) for a, b in zip(now, values, strict=True)]
                if not any(item is ANYTHING for item in items):
                    self.quick.contents.append((container, items))
                    return
        self.check(lambda _: same(tuple(container.items() if is_dict else container), tuple(expected)))

    def check(self, holds: Callable[[Any], bool]) -> None:
        """A function has to say True, given the tensors among the arguments."""
        self.quick.checks.append(holds)

    def _row(self, rows: list[Any] | None, where: tuple[Any, ...], read: Callable[[], Any], value: Any) -> None:
        """What ``read`` gives has to be ``value``; without ``rows`` it is called each time."""
        if rows is not None:
            with suppress(Otherwise):
                expected = self._expected(read(), value)
                if expected is not ANYTHING:
                    rows.append((*where, expected))
                return
        self.check(lambda _: same(read(), value))

    def _expected(self, now: Any, value: Any) -> Any:
        """What has to be there, by identity."""
        if value is ANYTHING or value is now:
            return value
        if not same(now, value) or (isinstance(now, Tensor) and is_traced(now)):  # by another thread's capture
            raise Otherwise
        if value.__class__ is Like:
            self.quick.others.append((now, value.spec, type(now._node), None))
        elif _is_open(value):
            raise Otherwise
        return now

    def bound(self) -> Builtins:
        """The builtins for all this."""
        quick = self.quick
        known = make is storages.make  # where CPython puts the slots of classes
        if any(each.view is not None for each in quick.given):
            known = known and dispatch._look is storages.look
        if not known or len(quick.given) + len(quick.state) > _TOO_MANY:
            raise Otherwise
        return quick.bind(guards.counter(), self.version, ABSENT)


def _is_open(value: Any) -> bool:
    """Whether it stands for more than one thing."""
    return value.__class__ is Like or value is ANYTHING or (isinstance(value, tuple) and any(map(_is_open, value)))

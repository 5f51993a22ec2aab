"""Caches: what was worked out for a signature. They are bounded, the oldest going first, and emptied together when code
becomes stale."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any

from ..ops import op
from ..ops.operands import at_home
from . import guards

_LIMIT = 20_000  # keys of a cache: a program with ever new signatures must not leak
_GENERATION = 2_048  # plans with a graph of their own, all functions together: 40 KB and more each
_BOUND = 8  # plans that are bound to sizes count as one such


class Epoch:
    """A number that changes when every executable becomes stale: with the number of threads, and with the target."""

    __slots__ = ("caches", "number")

    def __init__(self) -> None:
        self.number = 0
        self.caches: list[Cache | deque[Any]] = []  # what is emptied then

    def begin(self) -> None:
        """A new one: what was worked out before is forgotten."""
        self.number += 1
        guards.bump()
        for cache in self.caches:
            cache.clear()


epoch = Epoch()


class Cache(dict[Any, Any]):
    """What was worked out by key, for at most ``limit`` keys; it lasts as long as the process."""

    __slots__ = ("limit",)

    def __init__(self, limit: int = _LIMIT) -> None:
        super().__init__()
        self.limit = limit
        epoch.caches.append(self)

    def keep(self, key: Any, value: Any) -> Any:
        """Remember a value, and give it back. Where there is no room the oldest quarter is forgotten: those in use come
        again. A number of another thread's capture is the number itself: a key would keep it for good."""
        if len(self) >= self.limit:
            for old in list(islice(self, self.limit // 4 + 1)):
                self.pop(old, None)
        self[at_home(key)] = value
        return value


class Generations:
    """How many plans public functions keep by signature, all together: ``Composite.plans``.

    Who is asked for is not noted, for a look-up is to cost nothing. Instead plans have two generations. When so many
    were made that the younger one is full, it becomes the older one (``Composite.older``), and what was the older one
    is forgotten: what nobody has asked for since it became old. A plan that is asked for comes back to the younger one
    (:meth:`back`), so that there is no more than twice a generation.
    """

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made = 0

    def keep(self, function: op.Composite, key: Any, plan: Any, bound: bool) -> Any:
        """Remember a plan, and give it back. ``bound``: its graph is another's, for many sizes."""
        self._made += 1 if bound else _BOUND
        if self._made >= _BOUND * _GENERATION:
            self._made = 0
            for each in op.all_composites():
                each.older, each.plans = each.plans, {}
                each.quick.clear()  # others have a hold of it
        function.plans[key] = plan
        return plan

    def back(self, function: op.Composite, key: Any, bound: Any) -> Any:
        """The plan of the older generation, which is young now; None: there is none. ``bound(plan)``: as for
        :meth:`keep`."""
        plan = function.older.pop(key, None)
        return None if plan is None else self.keep(function, key, plan, bound(plan))


generations = Generations()

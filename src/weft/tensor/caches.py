"""Caches: what was worked out for a signature. They are bounded, and emptied together when code becomes stale."""

from __future__ import annotations

from typing import Any

MAX_PLANS = 20_000  # of one function: a program with ever new signatures must not leak


class Epoch:
    """A number that changes when every executable becomes stale: with the number of threads, and with the target."""

    __slots__ = ("caches", "number")

    def __init__(self) -> None:
        self.number = 0
        self.caches: list[Cache] = []

    def begin(self) -> None:
        """A new one: what was worked out before is forgotten."""
        self.number += 1
        for cache in self.caches:
            cache.clear()


epoch = Epoch()


class Cache(dict[Any, Any]):
    """What was worked out by key, for at most ``limit`` keys; it lasts as long as the process."""

    __slots__ = ("limit",)

    def __init__(self, limit: int = MAX_PLANS) -> None:
        super().__init__()
        self.limit = limit
        epoch.caches.append(self)

    def keep(self, key: Any, value: Any) -> Any:
        """Remember a value, and give it back. Where there is no room all are forgotten: those in use come again."""
        if len(self) >= self.limit:
            self.clear()
        self[key] = value
        return value

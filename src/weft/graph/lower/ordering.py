"""The order in which clusters, and then launches, run.

:class:`Order` holds what clusters depend on while they are made, and settles their order at the end. Of launches, those
that only look whether indices are in range (of scatters; in long programs of all indices that are inputs) come first
(:func:`guards_first`), and those that only write updates come
after the last that may fail (:func:`checks_before_writes`): such a run has written nothing.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from ..ir import Value
from .launch import Launch


class Order:
    """What must run before what, closed under transitivity. Sets of numbers are the bits of an integer: a graph of
    thousands of kernels has millions of such pairs, and 64 of them are one step."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.after: list[list[int]] = []  # direct successors alone

    def add(self) -> None:
        """The next number, free of any order."""
        self.before.append(0)
        self.after.append([])

    def all_before(self, numbers: Iterable[int]) -> int:
        """What must run before one of the numbers."""
        found = 0
        for number in numbers:
            found |= self.before[number]
        return found

    def put_before(self, numbers: set[int], place: int) -> None:
        """The numbers, and all before them, run before ``place`` and all after it."""
        earlier = self.all_before(numbers)
        for number in numbers:
            earlier |= 1 << number
            self.after[number].append(place)
        waiting = [place]
        while waiting:
            at = waiting.pop()
            if earlier & ~self.before[at]:
                self.before[at] |= earlier
                waiting += self.after[at]

    def settled(self) -> list[int]:
        """All numbers, each as early as its own order allows."""
        found: list[int] = []
        done = 0
        for at in range(len(self.before)):
            waiting = _bits(self.before[at] & ~done)
            found += sorted(waiting, key=lambda n: (self.before[n].bit_count(), n))
            found += [at] if not done >> at & 1 else []
            done |= self.before[at] | 1 << at
        return found


def _bits(mask: int) -> list[int]:
    """Numbers of the bits that are set."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found


def guards_first(launches: Sequence[Launch]) -> list[Launch]:
    """The launches with those that only check indices as early as there are indices."""
    if not any(launch.guards for launch in launches):
        return list(launches)
    first: list[Launch] = []
    following: list[list[Launch]] = [[] for _ in launches]
    written: dict[Value, int] = {}
    for at, launch in enumerate(launches):
        if launch.guards:
            needed = max((written[v] for v in launch.reads if v in written), default=-1)
            (first if needed < 0 else following[needed]).append(launch)
        else:
            written.update(dict.fromkeys(launch.writes, at))
    found = first
    for launch, more in zip(launches, following, strict=True):
        found += [*([] if launch.guards else [launch]), *more]
    return found


def checks_before_writes(launches: Sequence[Launch], updates: Container[Value]) -> list[Launch]:
    """The launches with those that compute nothing but updates, for nobody else, after the last that may fail: what
    comes after it may be written in place."""
    last_check = max((at for at, launch in enumerate(launches) if launch.checks), default=-1)
    waiting = {at for at in range(last_check) if launches[at].writes and not launches[at].checks}
    settled = False
    while not settled:
        others = [x for at, x in enumerate(launches[: last_check + 1]) if at not in waiting]
        used = {v for x in others for v in (*x.reads, *x.writes)}
        stay = {at for at in waiting if any(v not in updates or v in used for v in launches[at].writes)}
        waiting -= stay
        settled = not stay
    first = [x for at, x in enumerate(launches[: last_check + 1]) if at not in waiting]
    return [*first, *(launches[at] for at in sorted(waiting)), *launches[last_check + 1 :]]

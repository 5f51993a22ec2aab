"""One planned arena: where every stored value lives.

Values that are never alive at the same time share memory. An elementwise result takes the memory of an operand that
ends with it. An update takes that of the input which it replaces, where nothing looks for the old value afterwards. The
memory of an output is lent to a value that is done before the output is there (:func:`_lent`): what a gradient needs
lies where the gradients that come last will be.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from ..core.shapes import SIZE_LIMIT, size_of
from ..core.symbolic import Dim, greatest, typical
from .ir import Value
from .lower.launch import Launch

ALIGNMENT = 64
LENT = 4096  # bytes of memory that is lent


@dataclass(slots=True)
class Plan:
    """``place[value]`` is (place, byte offset); places are numbered: the inputs, then the outputs, then the arena."""

    place: dict[Value, tuple[int, Any]]
    outputs: list[Value]
    arena_nbytes: Any
    inputs: int


def nbytes_of(value: Value) -> Any:
    """Size of a value in bytes."""
    return size_of(value.shape) * value.dtype.itemsize


def plan_memory(
    launches: Sequence[Launch],
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    overwritten: Mapping[Value, Value],
    row_major: Collection[Value] = (),
    apart: int = 0,
) -> Plan:
    """Places for all values.

    Args:
        overwritten: value -> the input whose memory it takes (see :func:`in_place`).
        row_major: the inputs of these whose memory has nothing between their elements.
        apart: bytes between values, which nobody may touch.
    """
    birth: dict[Value, int] = {}
    death: dict[Value, int] = {}
    for at, launch in enumerate(launches):
        for value in (*launch.writes, *launch.reads):
            birth.setdefault(value, at)
            death[value] = at
    given = set(inputs)
    wanted = dict.fromkeys([v for v in outputs if v not in given])
    place: dict[Value, tuple[int, Any]] = {v: (i, 0) for i, v in enumerate(inputs)}
    place |= {new: place[old] for new, old in overwritten.items()}
    place |= {v: (len(inputs) + i, 0) for i, v in enumerate(wanted)}
    owner = _share(launches, place, overwritten, birth, death)
    spans: dict[Value, tuple[int, int]] = {}  # of what shares memory with others: first and last launch
    for value in birth:
        root = _find(owner, value)
        if root not in place:
            start, stop = spans.get(root, (birth[value], death[value]))
            spans[root] = (min(start, birth[value]), max(stop, death[value]))
    begins: dict[tuple[int, Any], int] = {}  # when memory that is there anyway is first written, or read
    for value, at in birth.items():
        there = place.get(_find(owner, value))
        if there is not None:
            begins[there] = min(at, begins.get(there, at))
    last_check = max((at for at, launch in enumerate(launches) if launch.checks), default=-1)
    hosts = {place[v]: (nbytes_of(v), -1) for v in wanted}
    hosts |= {
        place[v]: (nbytes_of(v), last_check) for v, old in overwritten.items() if old in row_major and old not in birth
    }
    place |= _lent(spans, [_Host(at, begins[at], *found) for at, found in hosts.items() if at in begins])
    spans = {value: span for value, span in spans.items() if value not in place}
    last = len(inputs) + len(wanted)
    by_size = sorted(spans.items(), key=lambda item: (-typical(nbytes_of(item[0])), item[1]))
    # An empty value has a place too.
    sizes: dict[Value, Any] = {v: greatest(-(-nbytes_of(v) // ALIGNMENT), 1) * ALIGNMENT + apart for v, _ in by_size}
    if all(isinstance(size, int) for size in sizes.values()):
        arena = _Arena(len(spans), sum(sizes.values()))
        place |= {value: (last, arena.add(sizes[value], start, stop)) for value, (start, stop) in by_size}
        nbytes: Dim = arena.nbytes
    else:
        offsets, nbytes = _in_blocks(by_size, sizes)
        place |= {value: (last, offset) for value, offset in offsets.items()}
    place |= {value: place[_find(owner, value)] for value in birth}
    return Plan(place, list(wanted), nbytes, len(inputs))


class _Host(NamedTuple):
    """Memory that is there anyway: where, the launch that first uses it, its bytes, and after which launch it may be
    written."""

    place: tuple[int, Any]
    begins: int
    nbytes: Any
    after: int


def _lent(spans: Mapping[Value, tuple[int, int]], hosts: Sequence[_Host]) -> dict[Value, tuple[int, Any]]:
    """Places for some values in the memory of outputs, and of inputs that are written and never read, before that is
    used. One value in each, of those that are alive where most is, of sizes that are known.

    What ends last has the fewest places, so it chooses first, the smallest that has room. No input is written before
    the last launch that may fail.
    """
    waiting = sorted([x for x in hosts if isinstance(x.nbytes, int) and x.nbytes >= LENT], key=lambda x: (x.begins, x))
    if not waiting or not spans:
        return {}
    change = [0] * (max(stop for _, stop in spans.values()) + 2)
    for value, (start, stop) in spans.items():
        change[start] += typical(nbytes_of(value))
        change[stop + 1] -= typical(nbytes_of(value))
    alive = list(accumulate(change))
    peak = alive.index(max(alive))
    guests = [
        (-stop, -nbytes, start, value)
        for value, (start, stop) in spans.items()
        if start <= peak <= stop and isinstance(nbytes := nbytes_of(value), int) and nbytes >= LENT
    ]
    free: list[tuple[int, int, _Host]] = []  # those that begin after the guest's end, by bytes
    found: dict[Value, tuple[int, Any]] = {}
    for stop, nbytes, start, value in sorted(guests, key=lambda guest: guest[:3]):
        while waiting and waiting[-1].begins > -stop:
            host = waiting.pop()
            insort(free, (host.nbytes, len(waiting), host))
        for at in range(bisect_left(free, (-nbytes,)), len(free)):
            if start > free[at][2].after:
                found[value] = free.pop(at)[2].place
                break
    return found


def _in_blocks(
    spans: Sequence[tuple[Value, tuple[int, int]]], sizes: Mapping[Value, Any]
) -> tuple[dict[Value, Dim], Dim]:
    """Offsets, and the bytes of all, where sizes are not known: each value goes into the first block that no other uses
    at its time. A block is as large as the largest of its values, whichever that comes to be, and blocks follow each
    other, so that this is right for any sizes; the order of ``spans`` makes it small for the examples."""
    import numpy as np

    first, last, block = np.zeros((3, len(spans)), np.int64)
    tenants: list[list[Dim]] = []
    for count, (value, (start, stop)) in enumerate(spans):
        alive = (first[:count] <= stop) & (last[:count] >= start)
        free = np.ones(len(tenants) + 1, bool)
        free[block[:count][alive]] = False
        at = int(np.argmax(free))
        first[count], last[count], block[count] = start, stop, at
        if at == len(tenants):
            tenants.append([])
        tenants[at].append(sizes[value])
    offsets: list[Dim] = [0]
    for members in tenants:
        offsets.append(offsets[-1] + greatest(*members))
    return {value: offsets[at] for (value, _), at in zip(spans, block.tolist(), strict=True)}, offsets[-1]


class _Arena:
    """Blocks of memory, each in use from one launch to another: what is added gets the lowest offset at which no block
    of its time is. Kept as rows of one array, in the order of offsets, because all temporaries of a long loop and its
    gradient are alive at once: 10,000 of them take 2.5 s in this way, 62 s as a list of tuples."""

    def __init__(self, count: int, most: int) -> None:
        """``count`` blocks, of ``most`` bytes together: there may be more of these than int64 holds, which whoever
        makes a program of the plan reports."""
        import numpy as np

        self._count = 0
        kind = np.int64 if most < SIZE_LIMIT else object
        self._rows = np.empty((4, count), kind)  # offset, end, first and last launch
        self.nbytes = 0

    def add(self, size: int, start: int, stop: int) -> int:
        """The offset of a further block."""
        import numpy as np

        low, high, first, last = known = self._rows[:, : self._count]
        alive = np.flatnonzero((first <= stop) & (last >= start))
        ends = np.concatenate(([0], np.maximum.accumulate(high[alive])))  # of the blocks before each, and of all
        gaps = np.flatnonzero(low[alive] - ends[:-1] >= size)
        offset = int(ends[gaps[0] if gaps.size else -1])
        row = int(np.searchsorted(low, offset))
        self._rows[:, row + 1 : self._count + 1] = known[:, row:].copy()
        self._rows[:, row] = offset, offset + size, start, stop
        self._count += 1
        self.nbytes = max(self.nbytes, offset + size)
        return offset


def in_place(
    launches: Sequence[Launch], outputs: Collection[Value], updates: Mapping[Value, Value]
) -> dict[Value, Value]:
    """Which updates (new value -> the input that it replaces) may be computed in the input's own memory, and the values
    that lead to them: an update that copies one value and changes some elements can begin with the other in its place.

    Nothing may look for the old value after it was written over, and no input is written before the last launch that
    may fail, which ends the program.
    """
    touched: dict[Value, list[int]] = {}
    for at, launch in enumerate(launches):
        for value in dict.fromkeys((*launch.writes, *launch.reads)):
            touched.setdefault(value, []).append(at)
    last_check = max((at for at, launch in enumerate(launches) if launch.checks), default=-1)

    def allowed(chain: Sequence[Value], old: Value) -> bool:
        writes = {at for v in chain for at in touched[v] if v in launches[at].writes}
        changing = min((at for at in writes if _changes(launches[at], chain, old)), default=len(launches))
        return changing > last_check and all(
            at < changing or (at == changing and _side_by_side(launches[at], chain, old)) for at in touched.get(old, ())
        )

    found: dict[Value, Value] = {}
    for new, old in updates.items():
        if new not in touched or not allowed([new], old):
            continue
        chain = [new]
        while True:
            first = touched[chain[0]][0]
            copied = launches[first].copies
            before = copied[1] if copied is not None and copied[0] is chain[0] else old
            if before.node is None or before in outputs or before in updates or touched[before][-1] != first:
                break
            if not allowed([before, *chain], old):
                break
            chain.insert(0, before)
        found.update(dict.fromkeys(chain, old))
    return found


def _changes(launch: Launch, chain: Sequence[Value], old: Value) -> bool:
    """Whether a launch that writes one of ``chain`` does more than to copy what has the same place."""
    return launch.copies is None or launch.copies[1] not in (old, *chain)


def _side_by_side(launch: Launch, chain: Sequence[Value], old: Value) -> bool:
    """Whether a launch that writes one of ``chain`` reads ``old`` only at the very element that it writes."""
    return all((v, old) in launch.in_place for v in launch.writes if v in chain)


def _find(owner: dict[Value, Value], value: Value) -> Value:
    root = value
    while root in owner:
        root = owner[root]
    while value is not root:  # a chain of thousands is walked once
        owner[value], value = root, owner[value]
    return root


def _share(
    launches: Sequence[Launch],
    place: Mapping[Value, tuple[int, Any]],
    overwritten: Mapping[Value, Value],
    birth: Mapping[Value, int],
    death: Mapping[Value, int],
) -> dict[Value, Value]:
    """operand -> result that takes over its memory."""
    owner: dict[Value, Value] = {}
    taken: set[Value] = set()
    for at, launch in enumerate(launches):
        for new, old in sorted(launch.in_place, key=lambda pair: (birth[pair[0]], typical(nbytes_of(pair[1])))):
            # An update's memory holds the old state until it is written; an operand that lives on keeps its own.
            if old in place or old in owner or new in overwritten or new in taken:
                continue
            if death[old] == at and birth[new] == at and nbytes_of(new) == nbytes_of(old):
                owner[old] = new
                taken.add(new)
    return owner

"""An order of launches in which fewer bytes are alive.

Lowering gives launches in the order of the user's program, which computes a value long before it is read, or reads one
for the last time long after it could have. :func:`scheduled` walks such a program twice. From its end: what makes more
bytes than it needs is put off until something reads them. From its beginning: what ends more bytes than it makes runs
as soon as it can (the gradient of a weight, which is the last that looks at an activation; the update of a weight, by a
gradient that nobody keeps). All else keeps its order, and what is not lower is not taken.

What runs before what, for the bits' sake, stays: whatever one writes and the other touches, be it in the memory of an
input; and nothing passes a launch that may fail.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush

from ..core.symbolic import typical
from .ir import Value
from .lower.launch import Launch
from .memory import nbytes_of

LEAST = 8 << 20  # bytes of intermediate values that are worth a look: fewer fit into a cache
WORTH = 64 << 10  # bytes, by which a launch must lower what is alive to leave its place


def scheduled(launches: list[Launch], outputs: Collection[Value], direct: Mapping[Value, Value]) -> list[Launch]:
    """The launches in the order with the lowest peak of those that are tried, their own among them.

    Args:
        outputs: values with memory that is there all the time, as that of inputs is.
        direct: value -> the input whose memory it is written to.
    """
    nbytes = {
        v: typical(nbytes_of(v))
        for launch in launches
        for v in (*launch.writes, *launch.reads)
        if v.node is not None and v not in outputs and v not in direct
    }
    if sum(nbytes.values()) < LEAST:
        return launches
    after = _successors(launches, direct)
    before: list[list[int]] = [[] for _ in launches]
    for at, others in enumerate(after):
        for other in others:
            before[other].append(at)
    touched = [[v for v in dict.fromkeys((*x.writes, *x.reads)) if v in nbytes] for x in launches]
    straight = list(range(len(launches)))
    late = _walked(straight[::-1], before, touched, nbytes)[::-1]
    tries = (straight, _walked(straight, after, touched, nbytes), late, _walked(late, after, touched, nbytes))
    best = min(tries, key=lambda order: _peak(order, launches, touched, nbytes))
    return [launches[at] for at in best]


def _successors(launches: Sequence[Launch], direct: Mapping[Value, Value]) -> list[list[int]]:
    """For each launch, those that must come after it."""
    after: list[list[int]] = [[] for _ in launches]
    written: dict[Value, int] = {}  # memory -> the launch that wrote it last, and those that have read it since
    read: dict[Value, list[int]] = {}
    fence, between = -1, list[int]()  # the last launch that may fail, and those since
    for at, launch in enumerate(launches):
        needs = {fence}
        for v in launch.reads:
            memory = direct.get(v, v)
            needs.add(written.get(memory, -1))
            read.setdefault(memory, []).append(at)
        for v in launch.writes:
            memory = direct.get(v, v)
            needs.add(written.get(memory, -1))
            needs.update(read.pop(memory, ()))
            written[memory] = at
        if launch.checks:
            needs.update(between)
            fence, between = at, []
        else:
            between.append(at)
        for other in needs - {at, -1}:
            after[other].append(at)
    return after


def _walked(
    order: Sequence[int],
    after: Sequence[Sequence[int]],
    touched: Sequence[Sequence[Value]],
    nbytes: Mapping[Value, int],
) -> list[int]:
    """``order``, but what ends more than it begins comes as soon as it can. ``after``: what must follow each."""
    rank = {at: n for n, at in enumerate(order)}
    waits = [0] * len(order)
    for others in after:
        for other in others:
            waits[other] += 1
    readers: dict[Value, set[int]] = {}  # that are still to come
    for at in order:
        for v in touched[at]:
            readers.setdefault(v, set()).add(at)
    alive: set[Value] = set()
    ready: list[int] = []  # by rank, those that are ahead of their turn among them
    ahead: list[tuple[int, int, int]] = []  # (bytes that it begins, bytes more than before, rank)
    found: list[int] = []
    done: set[int] = set()

    def note(at: int) -> None:
        begun = sum([nbytes[v] for v in touched[at] if v not in alive])
        more = begun - sum([nbytes[v] for v in touched[at] if len(readers[v]) == 1])
        if more <= -WORTH:
            heappush(ahead, (begun, more, rank[at]))

    def arrive(at: int) -> None:
        heappush(ready, rank[at])
        note(at)

    for at in order:
        if not waits[at]:
            arrive(at)
    while ready:
        at = order[heappop(ahead)[-1] if ahead else heappop(ready)]
        if at in done:
            continue
        done.add(at)
        found.append(at)
        alive.update(touched[at])
        for v in touched[at]:
            readers[v].discard(at)
            if len(readers[v]) == 1:
                (last,) = readers[v]
                if not waits[last]:
                    note(last)
        for other in after[at]:
            waits[other] -= 1
            if not waits[other]:
                arrive(other)
    return found


def _peak(
    order: Sequence[int], launches: Sequence[Launch], touched: Sequence[Sequence[Value]], nbytes: Mapping[Value, int]
) -> int:
    """Most bytes that are alive at once. What is written over an operand that ends there takes no others."""
    first: dict[Value, int] = {}
    last: dict[Value, int] = {}
    for n, at in enumerate(order):
        for v in touched[at]:
            first.setdefault(v, n)
            last[v] = n
    now = peak = 0
    for n, at in enumerate(order):
        now += sum(nbytes[v] for v in touched[at] if first[v] == n)
        ended, over = {v for v in touched[at] if last[v] == n}, set[Value]()
        for new, old in launches[at].in_place:
            if old in ended and new not in over and first.get(new) == n and nbytes[new] == nbytes[old]:
                over.add(new)
                ended.remove(old)
                now -= nbytes[old]
        peak = max(peak, now)
        now -= sum(nbytes[v] for v in ended)
    return peak

"""Which stored values one kernel computes.

:func:`cluster`: roots join one kernel when they walk the same points: elementwise roots of one shape; rows (a reduction
over the last axes with everything that reads or feeds it row by row: softmax, layer norm); columns; a contraction with
its epilogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ...compiler.kernels import REDUCE_CHUNK
from ...core.shapes import strides_of
from ..ir import Value
from ..protocol import Layout
from .roots import Root, mergeable

__all__ = ["Cluster", "cluster", "squeeze"]

# Of one kernel. Size is in instructions: beyond some 1,000 LLVM's time grows faster than the size (a chain of 240 tanh:
# 11 s as one kernel, 1 s as 16) and what a loop keeps in registers no longer fits. Usual models have up to 400.
MAX_ROOTS, MAX_READS, MAX_SIZE = 16, 24, 512
MAX_TRIED = 64  # clusters that read one value which a root tries to join: an input may be read by thousands


def squeeze(shape: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Without the axes of size 1, whose strides do not matter."""
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    return tuple(n for n, _ in kept), tuple(s for _, s in kept)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


@dataclass(slots=True, eq=False)
class Cluster:
    """Roots that one kernel computes. ``kind``: map, row, column, contract, ordered.

    ``space`` is the shape of the points without axes of size 1; ``axes`` the part of it that is reduced. A member is
    ``full`` (one value a point) or not (one value for each point of the space without the reduced axes).
    """

    kind: str
    space: tuple[int, ...]
    axes: tuple[int, int]
    roots: list[Root] = field(default_factory=list)
    full: dict[Value, bool] = field(default_factory=dict)
    reading: set[Value] = field(default_factory=set)
    size: int = 0  # instructions of the roots' expressions

    @property
    def is_full(self) -> bool:
        """Whether nothing can join it."""
        alone = self.kind == "ordered"
        return alone or len(self.roots) >= MAX_ROOTS or len(self.reading) > MAX_READS or self.size >= MAX_SIZE

    @property
    def kept(self) -> tuple[int, ...]:
        """The space without the reduced axes."""
        return self.space[: self.axes[0]] + self.space[self.axes[1] :]

    @property
    def reduced_size(self) -> int:
        """Number of elements that one reduction takes."""
        size = 1
        for n in self.space[self.axes[0] : self.axes[1]]:
            size *= n
        return size

    def add(self, root: Root, full: bool) -> None:
        """Append a root."""
        self.roots.append(root)
        self.size += root.size
        self.full[root.value] = full
        self.reading.update(v for v, _ in root.reads)

    def reads_in_place(self, value: Value, layout: Layout, reader_full: bool) -> bool:
        """Whether reading member ``value`` with ``layout`` takes, at each point, what that point (or row) computed."""
        if layout.offset != 0:
            return False
        if self.full[value] == reader_full:
            shape = self.space if reader_full else self.kept
            expected = strides_of(shape)
        elif reader_full:
            shape, outer = self.space, strides_of(self.kept)
            zeros = (0,) * (self.axes[1] - self.axes[0])
            expected = outer[: self.axes[0]] + zeros + outer[self.axes[0] :]
        else:
            return False
        return squeeze(layout.shape, layout.strides) == (shape, expected)


def cluster(roots: Sequence[Root]) -> list[Cluster]:
    """Clusters in execution order. A root joins the latest cluster that it can and with which it has something in
    common (it reads what the cluster computes, or what it reads); otherwise it begins one.

    A root may join a cluster that comes before one it depends on, as long as that one does not depend on the cluster
    in turn: the order is settled at the end.
    """
    clusters: list[Cluster] = []
    order = _Order()
    home: dict[Value, int] = {}
    readers: dict[Value, list[int]] = {}  # clusters that a further root may join, most recent last
    for root in roots:
        values = dict.fromkeys([v for v, _ in root.reads])
        needs = {home[v] for v in values if v in home}
        place = None
        if root.kind not in _ALONE:
            blocked = order.all_before(needs)
            near = needs.union(*[readers[v][-MAX_TRIED:] for v in values if v in readers])
            for at in sorted(near, reverse=True):
                if not blocked >> at & 1 and _join(clusters[at], root, at in needs):
                    place = at
                    break
        if place is None:
            place = len(clusters)
            clusters.append(_begin(root))
            order.add()
        home[root.value] = place
        for value in values:
            _note_reader(readers.setdefault(value, []), place, clusters)
        order.put_before(needs - {place}, place)
    return [clusters[at] for at in order.settled()]


def _note_reader(known: list[int], place: int, clusters: Sequence[Cluster]) -> None:
    if place not in known[-MAX_TRIED:]:
        if len(known) >= 2 * MAX_TRIED:  # those that are full need not be tried again
            known[:] = [at for at in known if not clusters[at].is_full][-MAX_TRIED:]
        known.append(place)


class _Order:
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


def _axes_of(root: Root) -> tuple[int, int]:
    start = len(_squeezed(root.shape[: root.axes[0]]))
    return start, start + len(_squeezed(root.shape[root.axes[0] : root.axes[1]]))


def _begin(root: Root) -> Cluster:
    if root.kind == "reduce":
        axes, space = _axes_of(root), _squeezed(root.shape)
        made = Cluster("row" if axes[1] == len(space) else "column", space, axes)
        made.add(root, False)
        return made
    space = _squeezed(root.shape)
    made = Cluster(root.kind, space, (len(space), len(space)))
    made.add(root, True)
    return made


_ALONE = ("contract", "ordered")  # roots that begin a cluster


def _join(to: Cluster, root: Root, needed: bool) -> bool:
    """Add ``root`` to the cluster if one kernel can compute both."""
    if root.kind in _ALONE or to.is_full or to.size + root.size > MAX_SIZE:
        return False
    if to.kind == "contract" and (root.place is not None or root.kind != "map"):
        return False
    space, kind, axes = _squeezed(root.shape), to.kind, to.axes
    if root.kind == "reduce":
        axes = _axes_of(root)
        if space != to.space or axes[0] == axes[1]:
            return False
        if to.kind == "map":
            if axes[1] != len(space) or _long(space, axes):
                return False
            kind = "row"
        elif axes != to.axes or (_long(space, axes) and any(r.kind != "reduce" for r in to.roots)):
            return False
        full = False
    elif space == to.space and to.kind != "column":
        full = True
    elif space == to.kept and to.kind in ("row", "column") and needed:
        full = False
    else:
        return False
    if root.kind == "map" and to.kind in ("row", "column") and _long(to.space, to.axes):
        return False
    if len(to.reading | {v for v, _ in root.reads}) > MAX_READS:
        return False
    walking = [r for r in to.roots if to.full[r.value] or r.kind == "reduce"]
    walking += [root] if full or root.kind == "reduce" else []
    if kind in ("row", "column") and not all(_reduced_as_one(r, axes) for r in walking):
        return False
    widened = Cluster(kind, to.space, axes, to.roots, to.full)
    reader_full = True if root.kind == "reduce" else full
    for value, layout in root.reads:
        if value in to.full and not widened.reads_in_place(value, layout, reader_full):
            return False
        if value in to.full and to.kind in ("row", "column") and _long(to.space, to.axes):
            return False
    if to.kind == "column" and root.kind == "reduce" and any(v in to.full for v, _ in root.reads):
        return False
    to.kind, to.axes = kind, axes
    to.add(root, full)
    return True


def _reduced_as_one(root: Root, axes: tuple[int, int]) -> bool:
    """Whether the reduced axes (of the space) are one axis for everything that a member reads."""
    start, stop = axes
    if stop - start < 2:
        return True
    written = [] if root.place is None or root.kind == "reduce" else [root.place]
    squeezed = (squeeze(root.shape, layout.strides) for layout in (*root.layouts, *written))
    return all(mergeable(sizes[start:stop], strides[start:stop]) for sizes, strides in squeezed)


def _long(space: tuple[int, ...], axes: tuple[int, int]) -> bool:
    size = 1
    for n in space[axes[0] : axes[1]]:
        size *= n
    return size > REDUCE_CHUNK

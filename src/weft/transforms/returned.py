"""What a run of a captured function gives back: which tensors it makes, and whose memory they show.

A result, or a tensor that the function stored somewhere, is one of these:

- a tensor from outside, or an earlier result: the very object;
- an :class:`Item`, a tensor that each run makes anew. It has memory of its own, or it is a view: of an argument, of
  captured state, or of another item, as an eager call would have made it. A tensor that is a view of something that
  nobody gets to see has memory of its own too, unless it is expanded: nobody can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..graph.ir import Value
from ..tensor.alias import DETACHED, TRACKED, layout_of
from ..tensor.calls import wrap
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .inside import Inside
from .refs import ArgumentRef, GradRef, Ref, TensorRef

# What a result is: a tensor from outside, an earlier result (its number), or the n-th item.
Result = TensorRef | ArgumentRef | GradRef | int | None


@dataclass(slots=True, eq=False)
class Item:
    """A tensor that every run makes.

    value: what the graph computes for it, and its place on the tape. of: whose memory it shows, a tensor from outside
    or another item (its number), at a byte ``offset``; None: its own. base: likewise the tensor that it is a view of,
    and the ``way`` there.
    """

    value: Value
    node: Any
    index: int
    spec: Spec
    of: Ref | int | None = None
    offset: int = 0
    base: Ref | int | None = None
    way: tuple[Any, ...] = ()
    kind: int = 0


@dataclass(slots=True, eq=False)
class _Seen:
    """A traced tensor as data: nothing is held, since whoever still holds it later has stored it."""

    value: Value
    node: Any
    index: int
    spec: Spec
    base: int | None  # the id of what it is a view of
    way: tuple[Any, ...]
    kind: int
    outside: Ref | None


class Items:
    """The items of a capture: its own results, what it stored, and the bases of these that nobody else gets.

    Tensors are noted (:meth:`see`) while they are there, results before the capture lets go of them.
    """

    def __init__(self, going: Inside):
        self._going = going
        self._seen: dict[int, _Seen] = {}  # by id
        self._numbers: dict[int, int] = {}
        self.items: list[Item] = []

    def see(self, tensor: Tensor) -> int:
        """Note a tensor, and what it is a view of; returns its id."""
        tensor = self._going.inside(tensor)
        first = id(tensor)
        while id(tensor) not in self._seen:
            of = tensor._view
            outside = self._going.outside_of(tensor)
            self._seen[id(tensor)] = _Seen(
                tensor._storage,
                tensor._node,
                tensor._index,
                tensor._spec,
                None if of is None else id(of.base),
                () if of is None else of.way,
                TRACKED if of is None else of.kind,
                outside,
            )
            if of is None:
                break
            tensor = of.base
        return first

    def see_value(self, value: Value, node: Any, index: int) -> int:
        """Note a tensor that is gone; returns what stands for its id."""
        name = -1 - len(self._seen)
        self._seen[name] = _Seen(value, node, index, wrap(value)._spec, None, (), TRACKED, None)
        return name

    def make(self, ids: Sequence[int]) -> list[Item]:
        """The items of the tensors with these ids, in their order, and then their bases."""
        families = Counter(self._root(i) for i in dict.fromkeys(ids))
        for i in ids:
            self._add(i)
        waiting = list(ids)
        for i in waiting:  # which grows meanwhile
            seen, item = self._seen[i], self.items[self._numbers[i]]
            root = self._root(i)
            alone = self._seen[root].outside is None and families[root] == 1 and i in ids
            if root == i or (alone and not seen.spec.overlaps):  # an expanded one shows its elements several times
                continue
            item.of = self._where(root, waiting)
            item.spec, item.offset = self._layout(i, root)
            if seen.kind != DETACHED and seen.base is not None:
                item.base, item.way, item.kind = self._where(seen.base, waiting), seen.way, seen.kind
        return self.items

    def _add(self, i: int) -> int:
        seen = self._seen[i]
        self._numbers[i] = number = len(self.items)
        self.items.append(Item(seen.value, seen.node, seen.index, seen.spec.dense()))
        return number

    def _root(self, i: int) -> int:
        while (base := self._seen[i].base) is not None:
            i = base
        return i

    def _layout(self, i: int, root: int) -> tuple[Spec, int]:
        steps: tuple[Any, ...] = ()
        while i != root:
            seen = self._seen[i]
            steps = (*seen.way, *steps)
            assert seen.base is not None
            i = seen.base
        return layout_of(self._seen[root].spec, steps)

    def _where(self, i: int, waiting: list[int]) -> Ref | int:
        """Where a run finds a tensor: outside, or among the items."""
        outside = self._seen[i].outside
        if outside is not None:
            return outside
        if i not in self._numbers:
            waiting.append(i)
            self._add(i)
        return self._numbers[i]


def in_order(items: Sequence[Item]) -> list[int]:
    """The numbers of the items in an order in which each comes after those that it shows, or is a view of."""
    found: list[int] = []
    waiting = list(range(len(items)))
    while waiting:
        done = set(found)
        ready = [n for n in waiting if all(not isinstance(w, int) or w in done for w in (items[n].of, items[n].base))]
        found += ready
        waiting = [n for n in waiting if n not in ready]
    return found

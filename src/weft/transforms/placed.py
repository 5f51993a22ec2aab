"""What places outside of a compiled function hold, as inputs of its graph: a module's counter, ``cfg.lr``, ``self.h``.

A capture holds for the numbers and tensors that it has read in attributes, items and variables. When one of them is
another at a later call (a tensor: of the same type, no view, without a history), the function is captured once more
with what the place holds as an input (numbers.py): each run reads it there. Meanwhile what stands for it lies in the
place itself (:class:`Placing`), so that whoever reads it, in whatever way, gets that. What the function stores of such
numbers (``self.n += 1``) its graph computes, and each run stores it.

Another thread may come across what lies there. A number is the plain number to it (source/number.py), with which it
computes as ever; for a tensor it waits until the capture is over, as for any that a capture has stored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary, ref

from ..ops.operands import Late
from ..runtime import storage as storages
from ..tensor import guards
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .names import Names, is_plain, may_be_input
from .numbers import fits, tensor_of
from .places import Item, Place, item_of

if TYPE_CHECKING:
    from .captured import Reads

_UNPACKED: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    float: struct.Struct("d").unpack_from,
    int: struct.Struct("q").unpack_from,
    bool: struct.Struct("?").unpack_from,
}


@dataclass(frozen=True, slots=True)
class PlacedNumber:
    """A place outside of the function that holds a number of a type, which is an input: each run reads it there."""

    place: Place
    kind: type

    def tensor(self) -> Tensor | None:
        """What it holds now; None where that is no such number."""
        value = self.place.get()
        return tensor_of(value) if type(value) is self.kind and fits(value) else None


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A place outside of the function that holds a tensor of a type, which is an input: ``self.h = f(self.h)``."""

    place: Place
    spec: Spec
    kind: ClassVar[type] = Tensor

    def tensor(self) -> Tensor | None:
        """What it holds now; None where that is no such tensor."""
        value = self.place.get()
        return value if is_plain(value) and value._spec == self.spec else None


Placed = PlacedNumber | PlacedTensor


def extended(tensors: list[Tensor], places: Sequence[Placed]) -> list[Tensor] | None:
    """The tensors of a call, and after them what the places hold; None where one holds no such number."""
    found: list[Any] = [each.tensor() for each in places]
    return None if any(t is None for t in found) else [*tensors, *found]


def changed_inputs(reads: Reads) -> list[Placed]:
    """The places that a capture holds for with one number or tensor, and that hold another by now."""
    found: dict[Any, Placed] = {}
    known = (*_guarded(reads.guards), *(() if reads.names is None else reads.names.inputs()))
    for place, value in known:
        now = place.get()
        if isinstance(value, Tensor):
            if now is not value and is_plain(now) and now._spec == value._spec:
                found[place.id] = PlacedTensor(place, now._spec)
        elif type(now) is type(value) and fits(now) and not guards.same(now, value):
            found[place.id] = PlacedNumber(place, type(now))
    return list(found.values())


def _guarded(seen: Sequence[guards.Guard]) -> Iterator[tuple[Place, Any]]:
    """The places of numbers that modules, optimizers and schedulers report, and these."""
    for guard in seen:
        owner, attributes = guard.owner, getattr(guard.owner, "__dict__", {})
        if guard.name and may_be_input(guard.value):
            if isinstance(owner, dict):
                yield item_of(owner, guard.name), guard.value
            elif guard.name in attributes:
                yield Item(attributes, guard.name), guard.value
        elif not guard.name and isinstance(guard.value, tuple):
            for pair in guard.value:
                if type(pair) is tuple and len(pair) == 2 and may_be_input(pair[1]) and pair[0] in attributes:
                    yield Item(attributes, pair[0]), pair[1]


@dataclass(slots=True, eq=False)
class StoredNumber:
    """A number that every run stores in a place: of a type, the number of the item that has its value. ``is_reported``:
    guards are told. ``lock``: what stands for the place where runs wait for each other."""

    place: Place
    kind: type
    item: int
    is_reported: bool
    lock: _Lock


class _Lock:
    """Stands for a place among what runs lock (runtime/state_locks.py)."""

    __slots__ = ("__weakref__",)


_locks: WeakValueDictionary[Any, _Lock] = WeakValueDictionary()  # by the ids of places, which live as long


def lock_of(place: Place) -> _Lock:
    """What stands for a place among locks."""
    found = _locks.get(place.id)
    if found is None:
        found = _locks.setdefault(place.id, _Lock())
    return found


def store_numbers(stored: Sequence[StoredNumber], made: Sequence[Tensor]) -> bool:
    """Store what a run has computed; whether guards have to be told."""
    for each in stored:
        tensor = made[each.item]
        storage = storages.to_host(tensor._storage, tensor._spec.nbytes)
        each.place.set(_UNPACKED[each.kind](storage)[0])
    return any(each.is_reported for each in stored)


class Placing:
    """Numbers of run time in the places of those that are inputs, while the function runs to be captured."""

    def __init__(self, numbers: Sequence[tuple[Placed, Any]]):
        """``numbers``: the places, and what stands for what is there."""
        # Not held: what still is when the function has ended was stored by it.
        self._tensors = [(ref(number), each.tensor()) for each, number in numbers if isinstance(each, PlacedTensor)]
        self._placed = [(each.place, each.place.get(), number) for each, number in numbers]

    def begin(self) -> None:
        """Put them there; to be ended, whatever happens meanwhile."""
        for place, before, number in self._placed:
            place.put_back(number, before)

    def let_go(self) -> None:
        """What stood for tensors is these from now on: other threads may have come across it."""
        for held, tensor in self._tensors:
            stands = held()
            if stands is not None and tensor is not None:
                stands._storage, stands._spec = tensor._storage, tensor._spec
        self._tensors = []

    @property
    def before(self) -> dict[Any, Any]:
        """The numbers themselves, by the ids of the places."""
        return {place.id: before for place, before, _ in self._placed}

    def end(
        self, names: Names, recorded: guards.Recorded, noted: Callable[[Any], bool] = lambda _: False
    ) -> list[tuple[Place, Any, bool]]:
        """Give all places what they held before; those in which the function has stored a number of run time, that
        number, and whether the store was reported to the guards. Places of which the journal has ``noted`` what was
        stored stay for another time."""
        found: list[tuple[Place, Any, bool]] = []
        later = [row for row in self._placed if noted(row[0].id)]
        self._placed = [row for row in self._placed if not noted(row[0].id)]
        own = {place.id: (before, number) for place, before, number in self._placed}
        written = [(item_of(owner, name), before) for owner, name, before in recorded.writes.values()]
        others = [
            (place, before)
            for place, before in (*written, *names.stores(True))
            if place.id not in own and not noted(place.id)
        ]
        for place, before in (*((place, before) for place, before, _ in self._placed), *others):
            now = place.get()
            ours = place.id in own and now is own[place.id][1]
            if isinstance(now, Late) or ours:
                if not ours:
                    found.append((place, now, place.id in recorded.writes))
                place.put_back(before, now)
        for place, _, _ in found:
            recorded.writes.pop(place.id, None)
        for key, (before, _) in own.items():  # something else than a number is there now
            if key in recorded.writes:
                recorded.writes[key] = (*recorded.writes[key][:2], before)
        self._placed = later
        names.placed = self.before
        return found

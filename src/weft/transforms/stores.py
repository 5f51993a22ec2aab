"""Tensors that captured code stored in Python objects without telling: weft's modules, and code without source.

What rewritten source does is in the capture's journal (journal.py), and taken back when the function has ended. Traced
tensors that still exist then were stored somewhere else. Where that is an attribute, a key of a dict or a variable
(maybe inside of a tuple), the store becomes part of every run: the tensor is an output of the graph, and the run puts a
new tensor there. Anything else (a queue, a cache of a library) is refused, since a run could not repeat it. A capture
that fails, or that is never run, takes its stores back.

Tensors from outside may be stored as well (two buffers that change places at each call), and numbers (a counter):
:class:`Kept`.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from types import BuiltinMethodType, CellType, FrameType, FunctionType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any

from ..core.errors import CaptureError
from ..core.symbolic import SymDim
from ..graph.ir import Value
from ..ops.operands import Late
from ..tensor import guards
from ..tensor.alias import View
from ..tensor.tensor import Tensor, is_traced
from .in_flight import hangs_on
from .names import SIMPLE, Names
from .places import Attribute, Place, Variable, item_of
from .refs import ArgumentRef, GradRef, TensorRef
from .tree import flatten, unflatten

if TYPE_CHECKING:
    from .inside import Inside

# What a running function may hold its operands in; a chain of more than so many is not looked through.
_PASSING: tuple[type, ...] = (
    *(tuple, list, dict, type(iter([])), type(iter(())), zip, map, enumerate),
    *(FunctionType, MethodType, BuiltinMethodType, CellType, GeneratorType),
)
_MANY = 50
_PATIENCE = 0.2  # seconds that other threads have to let go of what they hold
# What remembers tensors without being a place that a function stored them in.
_OURS = (FrameType, guards.Guard, guards.Recorded, Names, View)


@dataclass(slots=True, eq=False)
class Held:
    """What a place holds: a tree (:mod:`.tree`) whose leaves are numbers of stores, or values as they are."""

    place: Place
    form: Any
    leaves: tuple[Any, ...]

    def put(self, tensors: Sequence[Tensor | None]) -> None:
        """Store there what the function would; ``tensors`` are those of the stores."""
        leaves = [tensors[leaf.store] if isinstance(leaf, _Number) else leaf for leaf in self.leaves]
        self.place.set(unflatten(self.form, leaves))


@dataclass(frozen=True, slots=True)
class _Number:
    """Stands for the tensor of the n-th store."""

    store: int


@dataclass(slots=True, eq=False)
class Store:
    """A tensor that the function made and stored: its number among those that a run makes (-1: it is an argument, or
    the gradient ``of`` a leaf before the run), what the graph computes for it, and its place on the tape."""

    number: int
    of: ArgumentRef | GradRef | None
    value: Value
    node: Any
    index: int
    places: list[Held]
    first: weakref.ref[Tensor]  # the tensor itself: what the first run makes becomes its value


@dataclass(frozen=True, slots=True)
class Plain:
    """A number, a string: what the function made of values that the capture holds for."""

    value: Any

    def get(self, _: Sequence[Tensor]) -> Any:
        """It is the same in every run."""
        return self.value


@dataclass(slots=True, eq=False)
class Kept:
    """A place where the function stored a tensor that was there before, or a plain value (a counter's next one)."""

    place: Place
    what: TensorRef | ArgumentRef | GradRef | Plain

    def set(self, arguments: Sequence[Tensor]) -> None:
        """Store it, as the function would."""
        self.place.set(self.what.get(arguments))
        guards.bump()


def kept(going: Inside, recorded: guards.Recorded, names: Names, noted: Set[tuple[int, Any]]) -> list[tuple[Kept, Any]]:
    """The places in which the function stored tensors from outside, or plain values, as far as its code, or a module,
    tells, and what was there before; ``noted`` places are the journal's."""
    found: dict[Any, tuple[Kept, Any]] = {}
    alone = threading.active_count() == 1
    own = [each for each in _attributes_written(recorded) if each[0].id not in noted]
    # The rest is compared with what it held; where other threads run, one of these may have changed it.
    stores = [
        (place, before)
        for place, before in names.stores(alone)
        if place.id not in recorded.writes and place.id not in noted
    ]
    others = [(place, before, place.get()) for place, before in stores if alone or not names.is_reported(place)]
    for number, (place, before, now) in enumerate((*own, *others)):
        if guards.same(now, before) and number >= len(own):  # nobody knows whether it was stored again
            continue
        if isinstance(now, SymDim):
            raise CaptureError("a size is stored in a Python object, which gets the number of each run")
        if isinstance(now, SIMPLE):
            what: TensorRef | ArgumentRef | GradRef | Plain = Plain(now)
        elif isinstance(now, Tensor) and not is_traced(now) and not going.is_constant(now):
            ref = going.object_of(now)
            what = ref if isinstance(ref, ArgumentRef) else TensorRef(now)
        else:
            continue
        found.setdefault(place.id, (Kept(place, what), before))  # the first says what was there before
    return list(found.values())


def _attributes_written(recorded: guards.Recorded) -> list[tuple[Place, Any, Any]]:
    """The attributes of modules that hold what the function stored there, what they held before, and hold now."""
    places = [(key, item_of(owner, name), before) for key, (owner, name, before) in recorded.writes.items()]
    found = [(key, place, before, place.get()) for key, place, before in places]
    return [(place, before, now) for key, place, before, now in found if recorded.is_own(key, now)]


def unchanged(names: Names, noted: Set[tuple[int, Any]]) -> list[tuple[Place, Any]]:
    """The places that hold the tensors and plain values that they held, and that the function's code may store into:
    what it stored, if it did, was there already."""
    places = [each for each in names.stores(alone=False) if each[0].id not in noted]
    return [(p, held) for p, held in places if isinstance(held, (Tensor, *SIMPLE)) and guards.same(p.get(), held)]


def put(stores: Sequence[Store], made: Sequence[Tensor], arguments: Sequence[Tensor]) -> None:
    """Store the tensors that a run made, or was given, where the function stored its own."""
    tensors = [made[s.number] if s.of is None else s.of.get(arguments) for s in stores]
    for store in stores:
        for held in store.places:
            held.put(tensors)
    if stores:
        guards.bump()


def first_tensor(first: weakref.ref[Tensor], made: Tensor) -> Tensor:
    """What a run made for a store: in the first run the very tensor that the function made, which others may have seen
    meanwhile, with the value that it has now."""
    tensor = first()
    if tensor is None or not is_traced(tensor):
        return made
    tensor._node, tensor._index = made._node, made._index
    tensor._storage, tensor._spec = made._storage, made._spec
    return tensor


def settle(going: Inside, results: Sequence[int]) -> list[Store]:
    """The stores of a capture that has ended well; ``results`` are the ids of the tensors that it returns.

    Raises:
        CaptureError: a tensor is kept where a run cannot put another.
    """
    if not going.surviving():
        return []
    gc.collect(1)  # what only hangs in a cycle is not stored; the function made it just now
    with suppress(_Hidden):
        return _stores(_stored(going), results, going.stands_for)
    _show_all()
    return _stores(_stored(going), results, going.stands_for)


def _show_all() -> None:
    """Let the collector show what gc.freeze() has set aside; for good: to freeze again would set aside what is alive
    now, and keep it when it is garbage."""
    gc.unfreeze()
    gc.collect()
    _shown.frozen = gc.get_freeze_count()  # what cannot die, from Python 3.12 on


class _Shown:
    """How many objects the collector sets aside where nobody has frozen any; more: some may be hidden."""

    __slots__ = ("frozen",)

    def __init__(self) -> None:
        self.frozen = 0


_shown = _Shown()


class _Hidden(Exception):
    """Something is held by an object that the collector does not show, since gc.freeze() has set it aside."""


def _check_seen(items: list[Any], held: int = 0) -> None:
    """Whether the collector shows all holders of the items; ``held``: how many running functions hold the first, which
    it does not show either. (Where those of other threads do as well, it is a false alarm.)

    Raises:
        _Hidden: it does not.
    """
    holders = gc.get_referrers(*items)
    seen = dict.fromkeys([id(item) for item in items], 2)  # the loop below, the argument of getrefcount
    for item in items[:1]:
        seen[id(item)] += held
    item = None
    for holder in holders:
        for referent in gc.get_referents(holder):
            if id(referent) in seen:
                seen[id(referent)] += 1
    referent = None
    for item in items:
        if sys.getrefcount(item) > seen[id(item)] and gc.get_freeze_count() > _shown.frozen:  # counted one by one
            raise _Hidden


def _stored(going: Inside) -> list[Tensor]:
    """The traced tensors that are held by more than their views."""
    alive = going.surviving()
    _check_seen(alive)
    bases = {id(t._view.base): t._view.base for t in alive if t._view is not None}
    items = tuple(bases.values())
    held: set[int] = set()
    for holder in gc.get_referrers(*items) if items else ():
        if holder is not alive and holder is not bases and holder is not items and not isinstance(holder, _OURS):
            held.update(id(referent) for referent in gc.get_referents(holder))
    return [t for t in alive if id(t) not in bases or id(t) in held]


def _stores(alive: list[Tensor], results: Sequence[int], given: Mapping[int, ArgumentRef | GradRef]) -> list[Store]:
    """A store for each of the tensors, with all the places that hold it."""
    numbers = {id(t): _Number(i) for i, t in enumerate(alive)}
    stores: list[Store] = []
    more = len(results)
    for tensor in alive:
        if id(tensor) in given:
            number = -1
        elif id(tensor) in results:
            number = results.index(id(tensor))
        else:
            number, more = more, more + 1
        of, first = given.get(id(tensor)), weakref.ref(tensor)
        stores.append(Store(number, of, tensor._storage, tensor._node, tensor._index, [], first))
    level: list[Any] = list(alive)
    inside: dict[int, set[int]] = {id(t): {i} for i, t in enumerate(alive)}  # by id: the tensors in an item of a level
    while level:  # a tuple that holds some of them is an item of the next level
        above: list[Any] = []
        ids = {id(item): item for item in level}
        items = tuple(level)  # from Python 3.13 on the tuple of arguments is among the holders
        for holder in gc.get_referrers(*items):
            if holder is alive or holder is level or holder is items or holder is ids or isinstance(holder, _OURS):
                continue
            if isinstance(holder, tuple):
                if id(holder) not in inside:
                    above.append(holder)
                    inside[id(holder)] = _union(holder, inside)
                continue
            if isinstance(holder, Late):
                if threading.active_count() > 1 and not _is_kept(holder):  # one of them has come across it
                    continue
                raise _refused(alive[min(_union(level, inside))], "a Python number")
            direct = _direct(holder, ids)
            if direct and threading.active_count() > 1 and _is_passing(holder, 1):
                continue
            if not direct and _keeps(holder, level):
                raise _refused(alive[min(_union(level, inside))], f"a {type(holder).__name__}")
            for place, item in direct:
                leaves, form = flatten(item)
                held = Held(place, form, tuple([numbers.get(id(leaf), leaf) for leaf in leaves]))
                for i in inside[id(item)]:
                    stores[i].places.append(held)
        level = above
    for tensor, store in zip(alive, stores, strict=True):
        # Where other threads run, one of them may have read what has been replaced since: it gets its value.
        if not store.places and threading.active_count() == 1:
            if gc.get_freeze_count() > _shown.frozen:
                raise _Hidden
            raise _refused(tensor, None)
        if type(tensor) is not Tensor:
            raise _refused(tensor, f"a {type(tensor).__name__}, which would be another object for each run")
        if getattr(tensor._node, "grad", None) is not None and store.of is None:
            raise _refused(tensor, "a leaf with a gradient of its own")
    return stores


def _union(items: Sequence[Any], inside: dict[int, set[int]]) -> set[int]:
    """The tensors in any of the items. (No closure here or above: its cells would be holders too.)"""
    found: set[int] = set()
    for item in items:
        found |= inside.get(id(item), set())
    return found


def _keeps(holder: Any, items: Sequence[Any]) -> bool:
    """Whether ``holder`` holds one of the items for good: other threads may be about to let go of it, or have stored
    something else there."""
    if _is_passing(holder, 2):
        return False
    until, pauses = time.monotonic() + _PATIENCE, 0
    while _refers(holder, items):
        if threading.active_count() == 1:
            return True
        if pauses > 3 and time.monotonic() > until:
            return not _is_passing(holder, 2)
        time.sleep(pauses * 1e-3)
        pauses += 1
    return False


def _is_kept(number: Any) -> bool:
    """Whether something holds a number for good."""
    holders = gc.get_referrers(number)
    for holder in holders:  # noqa: SIM110 -- the cells of a comprehension would be holders too
        if not _is_passing(holder, 2):
            return True
    return False


def _refers(holder: Any, items: Sequence[Any]) -> bool:
    """Whether it holds one of the items: asked of itself, for to find all holders takes a second in a large heap."""
    found = {id(held) for held in gc.get_referents(holder)}
    return any(id(item) in found for item in items)


def take_back(going: Inside, recorded: guards.Recorded, names: Names) -> None:
    """Undo the stores of a capture that failed, or that is never run: attributes of modules, and whatever else the
    function's code names, hold again what they held before; from anything else the tensors, which have no value, are
    taken away."""
    for place, before, now in _attributes_written(recorded):
        place.put_back(before, now)
    if recorded.writes:
        guards.bump()
    alive = going.surviving()
    names.restore(alive)
    if not alive or hangs_on(sys.exc_info()[1], alive):
        return
    with suppress(_Hidden):
        _check_seen(alive)
        _take_away(alive, going.was_met)
        return
    _show_all()
    _take_away(alive, going.was_met)


def _take_away(tensors: list[Tensor], were_met: bool) -> None:
    """``were_met``: another thread, which may be gone, has met numbers."""
    alive: list[Any] = [*tensors, *(holder for holder in gc.get_referrers(*tensors) if isinstance(holder, Late))]
    ids = {id(t): t for t in alive}
    ours = {id(alive), id(tensors), id(ids)}
    holders = [h for h in gc.get_referrers(*alive) if id(h) not in ours and not isinstance(h, Late)]
    places = [h for h in holders if not isinstance(h, (tuple, CellType))]
    passing = _passing(places, holders)
    shared = were_met or threading.active_count() > 1
    for holder in places:
        if id(holder) in passing:
            continue
        if shared and isinstance(holder, list):  # another thread has read a number, and keeps it
            holder[:] = [item.plain() if isinstance(item, Late) and id(item) in ids else item for item in holder]
        elif shared:
            for place, item in _direct(holder, ids):
                if isinstance(item, Late):
                    place.put_back(item.plain(), item)
        if isinstance(holder, list):
            holder[:] = [item for item in holder if id(item) not in ids]
        else:
            for place, _ in _direct(holder, ids):
                place.clear()


def _passing(items: list[Any], beside: list[Any]) -> set[int]:
    """The ids of those of the items that :meth:`_is_passing` says yes to, by as many looks at the heap for all of them
    as for one; ``beside``: a list that holds them too.

    Raises:
        _Hidden: something may hold one of them for good that the collector does not show.
    """
    above: dict[int, set[int]] = {}  # by ids: who holds what
    queue = list(items)
    seen = {id(each) for each in (queue, items, beside, *items)}
    level = tuple(queue)
    while level and len(queue) <= _MANY * (1 + len(items)):
        level = tuple([each for each in level if isinstance(each, _PASSING)])
        below = {id(each) for each in level}
        found = gc.get_referrers(*level) if level else []
        ours, before = {id(level), id(found), *seen.intersection((id(queue), id(items), id(beside)))}, len(queue)
        for holder in found:
            if id(holder) in ours:
                continue
            for referent in gc.get_referents(holder):
                if id(referent) in below:
                    above.setdefault(id(referent), set()).add(id(holder))
            if id(holder) not in seen:
                seen.add(id(holder))
                queue.append(holder)
        holder = referent = None
        found.clear()
        level = tuple(queue[before:])
    runs = {id(each) for each in queue[: len(queue) - len(level)] if isinstance(each, (*_PASSING, *_OURS))}
    passing, parts = set[int](), set[int]()
    for holder in items:
        around = _around(id(holder), above)
        if len(around) <= _MANY and around <= runs:
            passing.add(id(holder))
            parts |= around
    holder = None
    level = ()
    _check_seen([each for each in queue if id(each) in parts and isinstance(each, (list, dict, tuple))])
    return passing


def _around(item: int, above: dict[int, set[int]]) -> set[int]:
    """An item, what holds it, what holds that ..., by ids."""
    found, waiting = {item}, [item]
    while waiting:
        more = above.get(waiting.pop(), set()) - found
        found |= more
        waiting += more
    return found


def _is_passing(holder: Any, held: int) -> bool:
    """Whether ``holder`` is only a part of something that runs now, in this thread or another (a list or dict of
    arguments, an iterator, a frame), or of what captured code is guarded by. ``held``: how many variables of running
    functions here name it.

    Raises:
        _Hidden: something may hold it for good that the collector does not show.
    """
    queue: list[Any] = [holder]
    seen = {id(queue), id(holder)}
    level = (holder,)
    while level:  # all of a level at once: to find holders takes a second in a large heap
        if any(not isinstance(item, (*_PASSING, *_OURS)) for item in level) or len(queue) > _MANY:
            return False
        level = tuple([item for item in level if not isinstance(item, _OURS)])
        holders = gc.get_referrers(*level) if level else []
        seen |= {id(level), id(holders)}
        before = len(queue)
        for found in holders:  # no comprehension: its cells would be holders too
            if id(found) not in seen:
                seen.add(id(found))
                queue.append(found)
        found = None
        holders.clear()
        level = tuple(queue[before:])
    _check_seen([holder, *(each for each in queue[1:] if isinstance(each, (list, dict, tuple)))], held + 1)
    return True


def _direct(holder: Any, items: dict[int, Any]) -> list[tuple[Place, Any]]:
    """The places in ``holder`` that hold one of the items and that a run can store into."""
    if isinstance(holder, dict):
        return [(item_of(holder, key), value) for key, value in list(holder.items()) if id(value) in items]
    if isinstance(holder, CellType):
        return [(Variable(holder), holder.cell_contents)]
    names = getattr(holder, "__dict__", None)
    found = _direct(names, items) if isinstance(names, dict) else []
    slots = [name for kind in type(holder).__mro__ for name in _slots(kind)]
    own = [(name, getattr(holder, name, None)) for name in slots]
    return found + [(Attribute(holder, name), value) for name, value in own if id(value) in items]


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _refused(tensor: Tensor, obstacle: str | None) -> CaptureError:
    error = CaptureError(
        f"a tensor {tensor._spec} that is computed here is kept in {obstacle or 'an object that cannot be seen'} when "
        "the captured function has ended; its Python code runs once, so later calls would not keep theirs. Return the "
        "tensor, or keep it under an attribute, a key of a dict or in a tensor outside (assign)"
    )
    made = getattr(tensor._storage, "node", None)  # another thread's run may have given it a value meanwhile
    error.where = (made.where if made is not None else None) or error.where
    return error

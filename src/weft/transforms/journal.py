"""What captured code does to Python objects, noted as it does it (source/writes.py): ``a.b = v``, ``log.append(loss)``.

It is done at once, since the function must see it, and taken back when the function has ended. What is then held by
nothing but the journal was made by the function, and is Python's own business; what was there before gets it again from
every run, the first included, in the order of the source (:mod:`.repeated`).

The body of a branch or loop that a value decides about is a level of its own: what it does to objects from around it
could not be repeated, and is refused at its line.
"""

from __future__ import annotations

import builtins
import gc
import sys
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import CaptureError, user_line
from ..tensor.guards import ABSENT
from ..tensor.tensor import Tensor
from .contents import contents as all_of
from .places import Place, Variable

if TYPE_CHECKING:
    from .names import Names

_MANY = 1_000_000  # objects that are looked through for what the function made
_OPEN = (str, int, float, complex, bytes, type(None), type, ModuleType, CodeType, Tensor)  # nothing is looked for there
_BUILTINS = vars(builtins)
CONTAINERS = (list, dict, set, deque, bytearray)


class Event:
    """One thing that was done to ``owner``: ``do(*args)``. ``place``: it is a store there, ``blind``: what was there
    before makes no difference to it."""

    __slots__ = ("args", "blind", "do", "owner", "place", "where")

    def __init__(self, owner: Any, do: Callable[..., Any], args: list[Any], place: Place | None, blind: bool):
        self.owner, self.do, self.args, self.place, self.blind = owner, do, args, place, blind
        self.where = user_line()


class _Level:
    """What a body did, or the function outside of bodies."""

    __slots__ = ("events", "given", "handled", "places", "stores", "undo", "whole")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.undo: list[Any] = []  # how to take it back, in order: (place, what was there), (container, its contents)
        self.places: dict[Any, int] = {}  # by ids: numbers of rows of ``undo``
        self.whole: dict[int, Any] = {}  # containers whose contents are in ``undo``, by id
        self.stores: dict[Any, Event] = {}  # the last to each place
        self.handled: set[Any] = set()  # places and containers that the statement itself carries (source/variables.py)
        self.given: list[Any] = []  # what holds things without being a place that they were stored in


class Journal:
    """The journal of one capture."""

    __slots__ = ("_levels", "first", "restoring")

    def __init__(self) -> None:
        self._levels = [_Level()]
        # By ids: containers that the function has changed, and what they held before, as contents.py has it.
        self.first: dict[int, tuple[Any, Any]] = {}
        self.restoring = False  # a statement gives its variables what they held before

    # --- what is noted ----------------------------------------------------------------------------------------------

    def store(self, owner: Any, place: Place, value: Any, put: Callable[[], Any] | None = None) -> None:
        """Store a value; ``put``: how, where that is more than to put it there."""
        level = self._levels[-1]
        if put is None:  # what it replaces is what another thread may have stored just now
            replaced = place.exchange(value)
            self._before(level, place, lambda: replaced)
        else:
            self._before(level, place, place.get)
            put()
        key = place.id
        event = level.stores.get(key)
        if event is None:
            level.events.append(Event(owner, place.set, [value], place, True))
            level.stores[key] = level.events[-1]
        else:  # of several stores the last counts, at the place of the first
            event.args, event.do = [value], place.set

    def clear(self, owner: Any, place: Place, put: Callable[[], Any]) -> None:
        """Take away what is in a place."""
        level = self._levels[-1]
        self._before(level, place, place.get)
        put()
        level.stores.pop(place.id, None)
        level.events.append(Event(owner, put, [], place, False))  # which says when it is not there

    def change(
        self,
        owner: Any,
        do: Callable[..., Any],
        args: Sequence[Any],
        blind: bool = False,
        held: Any = None,
    ) -> Any:
        """Do something to a container; ``held``: the container where that is not the owner itself."""
        level = self._levels[-1]
        container = owner if held is None else held
        if id(container) not in level.whole:
            if id(container) not in self.first:
                self.first[id(container)] = container, all_of(container)
            level.whole[id(container)] = container
            level.undo.append((container, contents(container)))
        if isinstance(container, dict):
            for key in [key for key in level.stores if key[0] == id(container)]:
                del level.stores[key]
        result = do(*args)
        level.events.append(Event(owner, do, list(args), None, blind))
        return result

    def _before(self, level: _Level, place: Place, held: Callable[[], Any]) -> None:
        """Note what a place held before the first store, which ``held`` gives: no property is asked twice."""
        if place.id not in level.places:
            level.places[place.id] = len(level.undo)
            level.undo.append((place, held()))

    def has_changed(self, key: Any) -> bool:
        """Whether the function has stored into a place (by its id), or changed all of what it is in."""
        return any(key in level.places or key[0] in level.whole for level in self._levels)

    def watch(self, place: Place) -> None:
        """Note what a variable holds that the code may store into."""
        level = self._levels[0]
        self._before(level, place, place.get)

    def rebind(self, place: Place, value: Any) -> None:
        """Note that the code stores a value in a variable."""
        level = self._levels[0]
        self._before(level, place, place.get)
        level.stores[place.id] = Event(place.holder, place.set, [value], place, True)

    # --- bodies -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A body of a branch or loop begins."""
        self._levels.append(_Level())

    def handles(self, key: Any) -> None:
        """The statement whose body this is carries what is in a place, or in a container."""
        self._levels[-1].handled.add(key)

    def given(self, value: Any) -> None:
        """What a body leaves in its variables holds nothing for good."""
        self._levels[-1].given.append(value)

    def end(self, what: str) -> None:
        """The body has ended: objects from around it are as before.

        Raises:
            CaptureError: it has changed one.
        """
        level = self._levels[-1]
        if level.events:
            self._drop_handled(level)
            made = _taken_back(level, *level.given, self.first)
            refused = next((e for e in level.events if id(e.owner) not in made), None)
            if refused is not None:
                level.undo.clear()
                raise _conditional(what, refused)
        self._levels.pop()

    def fail(self) -> None:
        """The body has raised."""
        level = self._levels.pop()
        self._drop_handled(level)
        _undo(level)

    @staticmethod
    def _drop_handled(level: _Level) -> None:
        handled = level.handled
        if handled:
            level.undo = [row for row in level.undo if _key_of(row[0]) not in handled]
            level.events = [
                e for e in level.events if (e.place is None or e.place.id not in handled) and id(e.owner) not in handled
            ]

    # --- the end ----------------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take all of it back."""
        self.first.clear()
        levels, self._levels = self._levels, [_Level()]
        for level in reversed(levels):
            _undo(level)

    def settle(self, names: Names) -> tuple[list[Event], dict[int, Any]]:
        """Take back what was done to objects that were there before; these events, and what the function made (by id).
        ``names``: what is noted there is not stored."""
        self.first.clear()
        level = self._levels[0]
        if not level.undo:
            return [], {}
        _look(level)
        made = _taken_back(level, self, names=names)
        self._levels = [_Level()]
        return [e for e in level.events if id(e.owner) not in made], made


def _key_of(what: Any) -> Any:
    return what.id if isinstance(what, Place) else id(what)


def _look(level: _Level) -> None:
    """Note what places hold in the end, variables among them."""
    known = set()
    for event in level.events:
        if event.place is not None:
            known.add(event.place.id)
            now = event.place.get()
            if event.args and now is not ABSENT and level.stores.get(event.place.id) is event:
                event.args[0] = now
    for place, before in level.undo:
        if isinstance(place, Place) and place.id not in known:
            now = place.get()
            if now is ABSENT and before is not ABSENT:
                level.events.append(Event(place.holder, place.clear, [], place, False))
            elif now is not before:
                level.events.append(Event(place.holder, place.set, [now], place, True))


def _taken_back(level: _Level, *around: Any, names: Names | None = None) -> dict[int, Any]:
    """Take back what was done, but for what was done to objects that nothing but the journal holds then: these."""
    finals = [(what, what.get() if isinstance(what, Place) else contents(what)) for what, _ in level.undo]
    _undo(level)
    try:
        made = made_inside([finals, level, *around], names, _held_before(level, names))
    except CaptureError as error:
        error.where = next((e.where for e in level.events if e.where), error.where)
        raise
    for what, final in finals:
        if isinstance(what, Place):
            if id(what.holder) in made:
                what.put_back(final, ABSENT) if final is ABSENT else what.set(final)
        elif id(what) in made:
            refill(what, final)
    return made


def _held_before(level: _Level, names: Names | None) -> set[int]:
    """What containers from outside held before the function changed them, by id: it need not be looked through."""
    found: set[int] = set()
    if names is not None:
        for what, before in level.undo:
            if id(what) in names.outside and not isinstance(what, (Place, bytearray)) and isinstance(what, CONTAINERS):
                found.update(map(id, before.values() if isinstance(before, dict) else before))
        for event in level.events:  # what was stored before all of the container was changed
            found.difference_update(map(id, event.args))
    return found


def _undo(level: _Level) -> None:
    """Take back what was done, the last first; where other threads run, only what is there still."""
    alone = threading.active_count() == 1
    for what, before in reversed(level.undo):
        if isinstance(what, Place):
            event = level.stores.get(what.id)
            if event is not None and event.args:
                what.put_back(before, event.args[0])
            elif alone or not isinstance(what, Variable):
                what.put_back(before, what.get())
        elif alone or not _undo_one_by_one(what, before, level.events):
            refill(what, before)


def _undo_one_by_one(container: Any, before: Any, events: Sequence[Event]) -> bool:
    """Take out of a list, set or deque what events have put in; False where they have done anything else."""
    own = [e for e in events if e.owner is container and e.place is None]
    names = {getattr(e.do, "__name__", "") for e in own}
    if not isinstance(container, (list, set, deque)) or not names <= {"append", "extend", "add", "update"}:
        return False
    for event in reversed(own):
        items = event.args if event.do.__name__ in ("append", "add") else event.args[0]
        for item in reversed(list(items)):
            if isinstance(container, set):
                if item not in before:
                    container.discard(item)
                continue
            for n in range(len(container) - 1, -1, -1):
                if container[n] is item:
                    del container[n]
                    break
    return True


def contents(container: Any) -> Any:
    """A copy of what a container holds."""
    if isinstance(container, dict):
        return dict.copy(container)
    if not isinstance(container, CONTAINERS):  # an array of another library's
        return container.copy()
    return bytes(container) if isinstance(container, bytearray) else list(_iterated(container))


def _iterated(container: Any) -> Any:
    return next(kind for kind in CONTAINERS if isinstance(container, kind)).__iter__(container)


def refill(container: Any, items: Any) -> None:
    """Give a container what it held."""
    if isinstance(container, list):
        list.__setitem__(container, slice(None), items)
    elif isinstance(container, bytearray):
        container[:] = items
    elif not isinstance(container, CONTAINERS):
        container[...] = items
    elif isinstance(container, dict):
        base: Any = OrderedDict if isinstance(container, OrderedDict) else dict
        base.clear(container)
        for key, value in items.items():
            base.__setitem__(container, key, value)
    elif isinstance(container, set):
        set.clear(container)
        set.update(container, items)
    elif isinstance(container, deque):
        deque.clear(container)
        deque.extend(container, items)


def made_inside(roots: Sequence[Any], names: Names | None, before: Collection[int] = ()) -> dict[int, Any]:
    """What is held by the roots, by way of anything, and by nothing else (but by notes of names); by id.

    ``before``: ids of what was there before. As the collector finds garbage: of each object it is counted how many of
    those that were found refer to it; one with more references is alive, and with it all that it refers to.

    Raises:
        CaptureError: that is too much to look through.
    """
    known = {id(root) for root in roots}.union(before, () if names is None else names.known())
    found: dict[int, Any] = {}
    counts: Counter[int] = Counter()
    waiting = deque(roots)
    while waiting and len(found) < _MANY:
        for held in _held(waiting.popleft()):
            key = id(held)
            counts[key] += 1
            if key not in found and key not in known and not isinstance(held, _OPEN) and not _is_namespace(held):
                found[key] = held
                waiting.append(held)
    if waiting:
        raise CaptureError(
            f"what the function changes holds more than {_MANY} objects, too many to tell those that the function made "
            "from those that were there; change something that holds less, or do it outside of the captured function"
        )
    held = None
    if names is not None:
        _count_noted(names, counts)
    probe = object()
    at, found[id(probe)] = id(probe), probe
    del probe
    references = {}
    for key in list(found):
        item = found[key]
        references[key] = sys.getrefcount(item)
    item = None
    usual = references[at]
    del found[at]
    alive = deque([key for key in found if references[key] - usual > counts[key]])
    outside = set(alive)
    while alive:
        for item in _held(found[alive.popleft()]):
            if id(item) in found and id(item) not in outside:
                outside.add(id(item))
                alive.append(id(item))
    return {key: item for key, item in found.items() if key not in outside}


def _count_noted(names: Names, counts: Counter[int]) -> None:
    for row in names.rows():
        for item in row:
            counts[id(item)] += 1


def _is_namespace(held: Any) -> bool:
    """Whether it holds the globals of a module, which the function did not make."""
    return type(held) is dict and "__builtins__" in held


def _held(holder: Any) -> list[Any]:
    """What an object refers to."""
    if isinstance(holder, np.ndarray):
        return [] if holder.base is None else [holder.base]
    found = gc.get_referents(holder)
    if isinstance(holder, FunctionType):
        return [item for item in found if item is not holder.__globals__ and item is not _BUILTINS]
    return found if sys.version_info < (3, 13) else _by_its_dict(holder, found)


def _by_its_dict(holder: Any, found: list[Any]) -> list[Any]:
    """What an object refers to, as it was before Python 3.13: its dict, which refers to the attributes. Now the object
    itself does, and the collector shows the dict neither as held by it nor as a holder."""
    if isinstance(holder, dict):
        return [*dict.keys(holder), *dict.values(holder)]
    if isinstance(holder, (*_OPEN, threading.local)) or not type(holder).__dictoffset__:
        return found
    own = object.__getattribute__(holder, "__dict__")
    if type(own) is not dict or any(item is own for item in found):
        return found
    inline = Counter(map(id, own.values()))
    rest = []
    for item in found:
        if inline[id(item)]:
            inline[id(item)] -= 1
        else:
            rest.append(item)
    return [*rest, own]


def _conditional(what: str, event: Event) -> CaptureError:
    kind = type(event.owner).__name__
    name = getattr(event.place, "attribute", None) or getattr(event.place, "key", None)
    done = f"{name!r} of a {kind}" if name is not None else f"a {kind}"
    error = CaptureError(
        f"{what}: the function changes {done} where a tensor's value decides whether, or how often; its Python code "
        f"runs once, so calls could not repeat that. Do it outside of the {what}, keep a tensor there "
        "(wf.where(test, new, old)), or bind a variable here and store that afterwards"
    )
    error.where = event.where
    return error

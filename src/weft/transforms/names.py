"""What a function reads outside of itself: closure cells, globals, attributes of objects, items of containers.

A captured function holds as long as these mean what they meant when it was captured: numbers, strings and what
containers hold by value, everything else by identity. What a tensor holds may change; which tensor it is may not.

Two ways lead here. Before a function runs, its bytecode tells what it names (``config.lr``), which is noted as it is
then: code that is seen by nobody may change it. While it runs, its rewritten source reports what it reads (see
source/reads.py), however that was reached, and the functions that it calls. An object counts where it was *outside*
before: reached from the function, its arguments or a module by reads; what the function makes is its own business. What
libraries read is not seen.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache, partial
from types import BuiltinFunctionType, CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from ..core.asked import Asked
from ..ops.operands import Late
from ..tensor import guards
from ..tensor.guards import ABSENT, ANYTHING, like, same, shown_plainly
from ..tensor.tensor import Tensor, is_traced
from .contents import AROUND, SETS, children, contents, is_as, is_container
from .places import Attribute, Item, Place, Variable, content, item_of
from .reads import Chain, reads
from .tree import flatten

if TYPE_CHECKING:
    from .journal import Journal
    from .quick import Noting

_LIBRARIES = {"weft", "numpy", *sys.stdlib_module_names}
SIMPLE = (bool, int, float, str, type(None))
_LONGEST = 1024  # what a longer list or dict held before is not remembered
_DEEPEST = 4  # functions named by functions that are followed, before they are called
_LEAVES = frozenset((*SIMPLE, complex, bytes, type(...), type(NotImplemented), range, slice, BuiltinFunctionType))
MADE: set[type] = {Asked}  # of values that captured code makes, to which rewritten code adds its own
CACHED = type(cache(len))  # functions that remember what they gave: the fact is what they give


class Names:
    """The names of a function, and what they mean now."""

    __slots__ = (
        "_arguments",
        "_asked",
        "_before",
        "_bound",
        "_called",
        "_cells",
        "_contents",
        "_copies",
        "_into_items",
        "_kinds",
        "_members",
        "_opaque",
        "_others",
        "_remembered",
        "_reported",
        "_seen",
        "_stored",
        "_variables",
        "_whole",
        "_written",
        "journal",
        "placed",
        "outside",
    )

    def __init__(self, function: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self._cells: list[tuple[Any, Any]] = []  # (closure cell, what it holds)
        self._variables: dict[int, str] = {}  # their names, by id
        self._bound: list[tuple[Any, str, Any]] = []  # (globals or attributes, name, what it is bound to)
        self._members: list[tuple[Any, str, Any]] = []  # (object with __slots__, name, what it is bound to)
        self._contents: list[tuple[Any, Any]] = []  # (list or dict, its items)
        self._remembered: dict[int, tuple[Any, ...]] = {}  # the same, by their ids
        self._whole: set[int] = set()  # those of them all of which was read, by their ids
        self._copies: dict[int, Any] = {}  # what sets and dicts held before, by their ids
        self._others: list[tuple[Any, Any]] = []  # (container of another kind, what it holds)
        self._asked: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []  # (function, arguments, what it gives)
        self._kinds: dict[type, bool] = {}  # whether a class, or a base of it, is the user's
        self.outside: dict[int, Any] = {}  # objects that were there before the function, as far as they are reached
        self._written: list[tuple[Place, Any]] = []  # (what the code stores into, what it holds)
        self._stored: dict[Any, Any] = {}  # the same, by the ids of the places
        self._reported: set[Any] = set()  # the ids of those of these that the guards are told of
        self._before: Any = None  # the lists above as they were before settle(), for restore()
        self._arguments = args, kwargs or {}
        self.journal: Journal | None = None  # of what the function does, while it runs
        self.placed: dict[Any, Any] = {}  # numbers that are inputs (placed.py), by the ids of their places, meanwhile
        self._opaque = False  # whether the code that is looked into has no source that is rewritten
        self._into_items = False  # whether the code stores items of lists or dicts
        self._seen: set[Any] = set()
        self._called: set[int] = set()  # modules whose forward is followed
        self.reach(function)
        for leaf in flatten(self._arguments)[0]:
            self.reach(leaf)
        self._follow(function, 0)
        self._arguments = (), {}

    def inputs(self) -> Iterator[tuple[Place, Any]]:
        """The places whose numbers count by value, and whose tensors have to be those, and these."""
        yield from ((Variable(cell), value) for cell, value in self._cells if may_be_input(value))
        for names, name, value in self._bound:
            if may_be_input(value) and isinstance(names, dict):
                yield Item(names, name), value
        for owner, name, value in self._members:
            if may_be_input(value):
                holder = _holder(owner, name)
                if holder is not owner:
                    yield Item(holder, name), value
                elif type(getattr(type(owner), name, None)) is MemberDescriptorType:  # what else there is computes
                    yield Attribute(owner, name), value
        for container, items in self._contents:
            pairs = items if isinstance(container, dict) else enumerate(items)
            yield from ((item_of(container, key), value) for key, value in pairs if may_be_input(value))

    def settle(self, read: set[int], free: Set[Any] = frozenset()) -> None:
        """Take note of what the function has done when it was captured. What places hold that are ``free``, by id, does
        not count.

        A tensor that it read (``read``: by id) must be that very one; for another any of its type will do. What it
        stored counts as it was before. What was added to lists is taken as it is now: a function that notes its
        captures in one is not captured again for that.
        """

        def expected(value: Any, owner: Any = None, key: Any = None) -> Any:
            if isinstance(value, Late) or (free and (id(owner), key) in free):
                return ANYTHING
            return like(value) if isinstance(value, Tensor) and id(value) not in read else value

        self._seen.clear()
        self.outside.clear()
        self._copies.clear()
        self._remembered.clear()
        self._stored.clear()
        self.journal = None
        self._before = self._cells, self._bound, self._members, self._contents
        self._cells = [(cell, expected(value, cell)) for cell, value in self._cells]
        self._bound = [(names, name, expected(value, names, name)) for names, name, value in self._bound]
        self._members = [
            (owner, name, expected(value, _holder(owner, name), name)) for owner, name, value in self._members
        ]
        read_whole = []
        for container, before in self._contents:
            if id(container) not in self._whole:
                continue
            if isinstance(container, dict):
                items: tuple[Any, ...] = tuple([(key, expected(value, container, key)) for key, value in before])
            else:
                known = [expected(value, container, n) for n, value in enumerate(before)]
                items = (*known, *container[len(before) :])
            read_whole.append((container, items))
        self._contents = read_whole

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """What is noted, all of which this holds."""
        for rows in (self._cells, self._bound, self._members, self._written):
            yield from rows
        for container, items in self._contents:
            inner = [value for _, value in items] if isinstance(container, dict) else []
            yield (container, *items, *inner)

    def has_contents(self, container: Any) -> bool:
        """Whether all that a container holds is looked at."""
        return id(container) in self._whole

    def same(self) -> bool:
        """Whether all of them still mean the same."""
        for cell, value in self._cells:
            now = content(cell)
            if now is not value and not same(now, value):
                return False
        for names, name, value in self._bound:
            now = names.get(name, ABSENT)
            if now is not value and not same(now, value):
                return False
        for owner, name, value in self._members:
            now = getattr(owner, name, ABSENT)
            if now is not value and not same(now, value):
                return False
        for container, items in self._contents:
            if not same(_items(container), items):
                return False
        for container, held in self._others:
            if not is_as(contents(container), held):
                return False
        return all(_gives(*asked) for asked in self._asked)

    def described(self) -> list[str]:
        """What :meth:`same` looks at, in words."""
        found = [f"a closure's variable is {shown_plainly(value)}" for _, value in self._cells]
        found += [f"{name} is {shown_plainly(value)}" for _, name, value in self._bound]
        found += [f"{type(owner).__name__}.{name} is {shown_plainly(value)}" for owner, name, value in self._members]
        found += [
            f"a {type(container).__name__} of {len(items)} has the items that it had"
            for container, items in self._contents
        ]
        found += [f"a {type(container).__name__} holds what it held" for container, _ in self._others]
        found += [f"{_name(called)}() gives {shown_plainly(value)}" for called, _, _, value in self._asked]
        return found

    def changed(self) -> str | None:
        """The first that means something else, in words."""
        for cell, value in self._cells:
            if not same(content(cell), value):
                return _was_and_is(self._variables[id(cell)], value, content(cell))
        bound = [(name, value, names.get(name, ABSENT)) for names, name, value in self._bound]
        members = [(name, value, getattr(owner, name, ABSENT)) for owner, name, value in self._members]
        for name, value, now in (*bound, *members):
            if not same(now, value):
                return _was_and_is(name, value, now)
        for container, items in self._contents:
            if not same(_items(container), items):
                return f"what a {type(container).__name__} of {len(items)} holds"
        for container, held in self._others:
            if not is_as(contents(container), held):
                return f"what a {type(container).__name__} holds"
        for called, args, kwargs, value in self._asked:
            if not _gives(called, args, kwargs, value):
                return f"{_name(called)}() gave {shown_plainly(value)}, and gives something else"
        return None

    def note(self, noting: Noting) -> None:
        """Take down all that :meth:`same` looks at."""
        for cell, value in self._cells:
            noting.cell(cell, value)
        for names, name, value in self._bound:
            noting.item(names, name, value)
        for owner, name, value in self._members:
            noting.attribute(owner, name, value)
        for container, items in self._contents:
            noting.contents(container, _items(container), items)
        for container, held in self._others:
            noting.check(partial(_holds_still, container, held))
        for asked in self._asked:
            noting.check(partial(_gives, *asked))

    # --- what is read while the function runs -----------------------------------------------------------------------

    def reach(self, value: Any) -> None:
        """Take notice of what was there before the function, since something that was leads to it."""
        kind = type(value)
        if kind in _LEAVES or kind in MADE or id(value) in self.outside or isinstance(value, (Tensor, Late)):
            return
        self.outside[id(value)] = value
        if is_container(type(value)):
            if isinstance(value, (list, dict)):
                if len(value) <= _LONGEST and not any(map(is_traced, children(value))):
                    items = self._remembered[id(value)] = self._plain_items(value)
                    self._contents.append((value, items))
            elif isinstance(value, SETS):
                self._copies[id(value)] = self._contents_before(value)
            if isinstance(value, (tuple, frozenset)):
                for item in value:
                    self.reach(item)
        elif kind is MethodType:
            self.reach(value.__self__)
            self.reach(value.__func__)
        elif kind is partial:
            for item in (value.func, value.args, value.keywords):
                self.reach(item)
        elif kind is not FunctionType and not isinstance(value, (ModuleType, type)):
            modules = attributes_of(value).get("_modules")
            if isinstance(modules, dict):
                for module in modules.values():
                    self.reach(module)

    def _contents_before(self, thing: Any) -> Any:
        """All that a container held before the function changed it."""
        first = None if self.journal is None else self.journal.first.get(id(thing))
        return contents(thing) if first is None else first[1]

    def _plain_items(self, container: list[Any] | dict[Any, Any]) -> tuple[Any, ...]:
        """What a list or dict held before the function, with the numbers themselves that are inputs."""
        key = id(container)
        if self.journal is not None and key in self.journal.first:
            held = self._contents_before(container)
            return tuple(zip(*held, strict=True)) if isinstance(container, dict) else held
        recorded = guards.recorded()
        written = {} if recorded is None else recorded.writes
        if not self.placed and not written:
            return _items(container)
        if not isinstance(container, dict):
            return tuple([self.placed.get((key, n), v) for n, v in enumerate(container)])
        held = {k: self.placed.get((key, k), v) for k, v in container.items()}
        for name, before in [(n, before) for (of, n), (_, _, before) in written.items() if of == key]:
            held[name] = self.placed.get((key, name), before)  # what weft's own code has written, it has told
        return tuple([(k, v) for k, v in held.items() if v is not ABSENT])

    def known(self) -> Iterator[int]:
        """The ids of what was there before the function, and of what holds the attributes of that."""
        for key, value in self.outside.items():
            yield key
            own = attributes_of(value)
            if own:
                yield id(own)

    def is_outside(self, value: Any) -> bool:
        """Whether an object was there before the function."""
        return id(value) in self.outside

    def is_users(self, kind: type) -> bool:
        """Whether objects of a class run code of the user's."""
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = any(is_users(k.__module__) for k in kind.__mro__)
        return found

    def wrote(self, owner: Any, name: Any) -> None:
        """Take notice that the function stores an attribute or item: what is read there later is its own."""
        own = owner if isinstance(owner, dict) else attributes_of(owner)
        self._seen.add((id(own) if isinstance(owner, dict) or type(own) is dict else id(owner), name))

    def variable(self, names: dict[str, Any], name: str, value: Any) -> None:
        """Note an item of a namespace (an object's attributes, a module's globals): it is ``value``, or ABSENT."""
        key = (id(names), name)
        if key not in self._seen:
            self._seen.add(key)
            if not self._is_own(key, value):
                self._bound.append((names, name, value))
                self.reach(value)

    def member(self, owner: Any, name: str, value: Any) -> None:
        """Note what ``getattr(owner, name)`` gives, for an attribute that runs no code, or that it gives nothing."""
        key = (id(owner), name)
        if key not in self._seen:
            self._seen.add(key)
            if not self._is_own(key, value):
                self._members.append((owner, name, value))
                self.reach(value)

    def of_class(self, owner: Any, name: str, holder: type, found: Any) -> None:
        """Note that an object has ``found`` by its class: neither has it one of its own, nor another class."""
        kind = type(owner)
        plainly = type(kind.__getattribute__) is not FunctionType
        if plainly and not hasattr(type(found), "__get__"):
            self.member(owner, name, found)
            return
        self.method_of(kind, name, holder, found)
        self.variable_absent(owner, name)
        key = (id(owner), "__class__")
        if plainly and key not in self._seen:
            self._seen.add(key)
            self._members.append((owner, "__class__", kind))

    def method_of(self, kind: type, name: str, holder: type, found: Any) -> None:
        """Note what a class says of a name."""
        key = (id(kind), name)
        if key in self._seen:
            return
        self._seen.add(key)
        value = getattr(kind, name, ABSENT)
        if isinstance(found, (FunctionType, property)) and value is found:
            self._members.append((kind, name, value))
        else:
            self._bound.append((holder.__dict__, name, found))
        self.reach(kind)
        self.reach(getattr(found, "__func__", found))

    def variable_absent(self, owner: Any, name: str) -> None:
        """Note that an object has no attribute of its own of this name."""
        self._absence(attributes_of(owner), name)

    def item(self, container: Any, key: Any) -> None:
        """Note an item that is read, or that there is none."""
        if not isinstance(container, dict):
            self.whole(container)
            return
        at = (id(container), key)
        if at in self._seen or id(container) in self._whole:
            return
        self._seen.add(at)
        now = dict.get(container, key, ABSENT)
        before = self._copy(container).get(key, ABSENT)
        if now is not before and not same(now, before):
            return  # the function has stored it
        if is_made_inside(now):
            return
        if type(container) is dict:
            self._bound.append((container, key, now))
        else:
            self._asked.append((dict.get, (container, key, ABSENT), {}, now))
        self.reach(now)

    def whole(self, thing: Any, deep: bool = False) -> None:
        """Note all that a container holds; ``deep``: and the containers in it."""
        key = ("whole", id(thing), deep)
        if key in self._seen:
            return
        outside = id(thing) in self.outside
        if outside:
            self._seen.add(key)
            self._note_whole(thing)
        if is_container(type(thing)):
            for item in self._first_items(thing) if outside else ():
                self.reach(item)
            for item in children(thing) if deep else ():
                if is_container(type(item)) and type(item) not in _LEAVES:
                    self.whole(item, deep)

    def _first_items(self, thing: Any) -> Sequence[Any]:
        """What a container held when it was reached, where that is known."""
        if id(thing) in self._remembered:
            items = self._remembered[id(thing)]
            return [value for _, value in items] if isinstance(thing, dict) else items
        return self._copies[id(thing)] if isinstance(thing, SETS) and id(thing) in self._copies else children(thing)

    def _note_whole(self, thing: Any) -> None:
        if isinstance(thing, (tuple, frozenset)):
            return
        if isinstance(thing, AROUND):
            for name, value in list(attributes_of(thing).items()):
                self.variable(attributes_of(thing), name, value)
                self.whole(value, True)
        elif not is_container(type(thing)) or id(thing) in self._whole:
            return
        elif id(thing) in self._remembered and type(thing) in (list, dict):
            self._whole.add(id(thing))
        else:
            self._whole.add(id(thing))
            held = self._copies.get(id(thing))
            if held is None or not isinstance(thing, SETS):
                held = self._contents_before(thing)
            if not any(map(is_made_inside, held)):
                self._others.append((thing, held))

    def asked(self, called: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any) -> None:
        """Note what a function gives that is to be called again to know whether it still does."""
        self._asked.append((called, args, kwargs, value))
        self.reach(value)

    def follow(self, called: Any, opaque: bool = False, args: tuple[Any, ...] = ()) -> None:
        """Look into a function that is about to be called. ``opaque``: it has no source that is rewritten, so nobody
        sees what it reads while it runs; ``args`` is then what it gets."""
        function, owner = called, ABSENT
        if type(called) is MethodType:
            function, owner = called.__func__, called.__self__
        if type(function) is not FunctionType:
            if type(called) is partial and id(called) in self.outside:
                self.whole(called.keywords)
            self._follow(called, 1)
            return
        if not is_users(function.__globals__.get("__name__")):
            if opaque and "__wrapped__" in function.__dict__:
                self._follow(called, 1, opaque=True)
            return
        if id(owner) in self.outside:
            self._method(owner, function)
        outside = id(function) in self.outside
        known = outside or id(owner) in self.outside
        # Those that the function makes come and go; their code stays.
        key = ("run", id(function) if outside else id(function.__code__), id(owner) if known else 0, opaque)
        if key in self._seen and not args:
            return
        self._seen.add(key)
        if outside:
            self.member(function, "__code__", function.__code__)
            if function.__defaults__ is not None:
                self.member(function, "__defaults__", function.__defaults__)
            if function.__kwdefaults__ is not None:
                self.member(function, "__kwdefaults__", function.__kwdefaults__)
                self.whole(function.__kwdefaults__)
        if opaque and args:
            self._arguments = args, {}
            for arg in args:
                self.whole(arg, True)
        try:
            self._follow(called, 0 if opaque and args else 1, opaque=opaque, cells=outside or opaque)
        finally:
            self._arguments = (), {}

    def _method(self, owner: Any, function: Any) -> None:
        """Note by which name of its class an object has a method, if it is its class's."""
        name = getattr(function, "__name__", "")
        for holder, found in in_class(owner, name) if not isinstance(owner, type) else ():
            if found is function:
                self.of_class(owner, name, holder, found)
            return

    def _copy(self, container: dict[Any, Any]) -> Any:
        """What a dict held when it was reached, where that is known."""
        found = self._copies.get(id(container))
        if found is None:
            items = self._remembered.get(id(container))
            found = self._copies[id(container)] = container if items is None else dict(items)
        return found

    def _is_own(self, key: Any, value: Any) -> bool:
        """Whether the function has made or stored what is there."""
        if is_made_inside(value) or (self.journal is not None and self.journal.has_changed(key)):
            return True
        if key in self._stored and not same(value, self._stored[key]):
            return True
        recorded = guards.recorded()
        return recorded is not None and key in recorded.writes

    # --- what runs --------------------------------------------------------------------------------------------------

    def _follow(self, called: Any, depth: int, owner: Any = ABSENT, opaque: bool = False, cells: bool = True) -> None:
        """Look into what a call of ``called`` runs; ``owner`` is its first argument where that is known. ``opaque``:
        nobody sees it run; ``cells``: its closure was there before."""
        if isinstance(called, MethodType):
            called, owner = called.__func__, called.__self__
        opaque |= self._opaque
        # Those that the function makes come and go; their code, and their classes, stay.
        what = called if id(called) in self.outside else getattr(called, "__code__", type(called))
        key = ("call", id(what), id(owner) if id(owner) in self.outside else 0, opaque)
        too_deep = depth > _DEEPEST and not (opaque and _is_of_the_program(called))
        if too_deep or isinstance(called, type) or (key in self._seen and depth):
            return
        self._seen.add(key)
        if isinstance(called, FunctionType):
            if is_users(called.__globals__.get("__name__")):
                variables = _variables(called, owner if id(owner) in self.outside else ABSENT)
                if depth == 0:
                    self._given(called, owner, variables)
                free = called.__code__.co_freevars if cells else ()
                closure = dict(zip(free, called.__closure__ or (), strict=False))
                before, self._opaque = self._opaque, opaque
                self._code(called.__code__, called.__globals__, variables, closure, depth, [])
                self._opaque = before
        elif not isinstance(called, (Tensor, ModuleType, *SIMPLE)):
            self._object(called, depth)
        wrapped = called.func if isinstance(called, partial) else attributes_of(called).get("__wrapped__")
        if wrapped is not None and not isinstance(called, CACHED):
            self._follow(wrapped, depth, owner, opaque)

    def _given(self, called: FunctionType, owner: Any, variables: dict[str, list[Any]]) -> None:
        """The objects among the arguments, whose attributes the function may read."""
        code, (args, kwargs) = called.__code__, self._arguments
        names = code.co_varnames[owner is not ABSENT : code.co_argcount]
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if not isinstance(value, (Tensor, list, tuple, dict, *SIMPLE)):
                variables.setdefault(name, []).append(value)

    def _object(self, called: Any, depth: int) -> None:
        """What calling an object runs: its ``__call__``, a module's ``forward``, those of modules that it holds."""
        self._called.add(id(called))
        for name in ("__call__", "forward"):
            for _, found in in_class(called, name):
                if isinstance(found, FunctionType):
                    self._follow(found, depth, called)
        modules = attributes_of(called).get("_modules")
        for module in list(modules.values()) if isinstance(modules, dict) else ():
            self._follow(module, depth)

    def _code(
        self,
        code: CodeType,
        names: dict[str, Any],
        variables: dict[str, list[Any]],
        cells: dict[str, Any],
        depth: int,
        around: list[Any],
    ) -> None:
        """Note what ``code`` reads, and the functions inside of it; ``variables`` are the locals that are known.

        ``around`` is what the code around it reaches: a loose name may be an attribute of that too.
        """
        found = reads(code)
        self._into_items |= found.into_items
        reached = [*around, *(value for values in variables.values() for value in values)]
        for chain in found.chains:
            if chain.is_global:
                values = [self._global(names, chain.root, depth)]
            elif chain.root in cells:
                values = [content(cells[chain.root])]
                self._note(("cell", id(cells[chain.root])), values[0], depth, None, chain.root, cells[chain.root])
            else:
                values = variables.get(chain.root, [])
            for value in values:
                for name in chain.links:
                    value = self._attribute(value, name, depth)
                    reached.append(value)
                if chain.kept_in is not None and value is not ABSENT:
                    variables.setdefault(chain.kept_in, []).append(value)
                reached.append(value)
        for chain in found.written:
            self._before_write(chain, names, variables, cells)
        for place, value in self._written[len(self._stored) :]:
            self._stored.setdefault(place.id, value)
        for name in found.loose:
            reached.append(self._global(names, name, depth))
        tried: set[int] = set()
        for value in reached if found.loose else ():  # it grows
            if id(value) not in tried:
                tried.add(id(value))
                reached += [self._attribute(value, name, depth) for name in found.loose]
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                free = inner.co_freevars
                known = {k: v for k, v in variables.items() if k in free}
                self._code(inner, names, known, {k: c for k, c in cells.items() if k in free}, depth, reached)

    # --- what it reads ----------------------------------------------------------------------------------------------

    def _global(self, names: dict[str, Any], name: str, depth: int) -> Any:
        value = names.get(name, ABSENT)
        self._note((id(names), name), value, depth, names, name)
        return value

    def _attribute(self, owner: Any, name: str, depth: int) -> Any:
        """Note ``owner.name``; its value, or ABSENT where that is not known without running code."""
        own = attributes_of(owner)
        if name in own:
            self._note((id(own), name), own[name], depth, own, name)
            return own[name]
        modules = own.get("_modules")
        if isinstance(modules, dict) and name in modules:  # reported to the guards
            return modules[name]
        value = ABSENT
        for holder, found in in_class(owner, name):  # all of them: super() reads those behind the first
            if isinstance(found, (staticmethod, classmethod, FunctionType)):
                function = getattr(found, "__func__", found)
                self._follow(function, depth + 1, owner if found is function else ABSENT)
            elif isinstance(found, property):
                self._follow(found.fget, depth + 1, owner)
            elif isinstance(found, MemberDescriptorType):
                value = getattr(owner, name, ABSENT) if not isinstance(owner, type) else ABSENT
                self._note((id(owner), name), value, depth, owner, name)
            elif hasattr(type(found), "__get__"):
                self._follow(found, depth + 1, owner)
            else:
                if value is ABSENT:
                    value = found
                    self.of_class(owner, name, holder, found)
                    self._inside(found, depth)
                    self._follow(found, depth + 1)
        return value

    def _before_write(
        self, chain: Chain, names: dict[str, Any], variables: dict[str, list[Any]], cells: dict[str, Any]
    ) -> None:
        """Remember what an attribute or a global holds that the code stores into."""
        if not chain.links:
            if chain.is_global:
                self._remember(Item(names, chain.root))
            elif chain.root in cells:
                self._remember(Variable(cells[chain.root]))
            return
        if chain.is_global:
            owners = [names.get(chain.root, ABSENT)]
        else:
            owners = [content(cells[chain.root])] if chain.root in cells else variables.get(chain.root, [])
        for owner in owners:
            for name in chain.links[:-1]:
                owner = attributes_of(owner).get(name, ABSENT)
            last, own = chain.links[-1], getattr(owner, "__dict__", None)
            if isinstance(own, dict):
                place = Item(own, last)
                self._remember(place)
                if getattr(type(owner), "reports_writes", False):
                    self._reported.add(place.id)
            elif owner is not ABSENT and not isinstance(owner, (Tensor, type, ModuleType)):  # p.grad is the tape's
                self._remember(Attribute(owner, last))

    def _remember(self, place: Place) -> None:
        """Remember what a place holds, unless the function has stored something there: then its journal does."""
        if self.journal is None or not self.journal.has_changed(place.id):
            self._written.append((place, self.placed.get(place.id, place.get())))

    def undo(self) -> None:
        """Give all that the code stores into back what it held before, since the function is going to run once more."""
        alone = threading.active_count() == 1
        for place, value in self._written:
            now = place.get()
            if alone or isinstance(now, SIMPLE):  # another thread may have stored a tensor
                place.put_back(value, now)
        for container, items in self._contents if alone else ():
            if isinstance(container, list) or not same(_items(container), items):
                _refill(container, items)

    def restore(self, made: Sequence[Tensor]) -> None:
        """Give variables, attributes and items that hold tensors that a capture has ``made`` back what they held."""
        own, alone = {id(t) for t in made}, threading.active_count() == 1
        cells, bound, members, contents = self._before or (self._cells, self._bound, self._members, self._contents)
        places: list[tuple[Place, Any]] = [(Variable(cell), value) for cell, value in cells]
        places += [(Item(names, name), value) for names, name, value in bound if isinstance(names, dict)]
        places += [(Attribute(owner, name), value) for owner, name, value in members]
        for place, value in (*places, *self._written):
            now = place.get()
            if _holds(now, own):
                place.put_back(value, now)
        for container, items in contents:
            is_dict = isinstance(container, dict)
            now = list(container.items() if is_dict else enumerate(container))
            held = [(key, value) for key, value in now if _holds(value, own)]
            if held and alone:
                _refill(container, items)
            elif is_dict or len(now) == len(items):  # what other threads have stored there stays
                before = dict(items if is_dict else enumerate(items))
                for key, value in held:
                    item_of(container, key).put_back(before.get(key, ABSENT), value)

    def stores(self, alone: bool) -> Iterator[tuple[Place, Any]]:
        """What the code may have stored into, and what was there before; items of lists and dicts only if it is
        ``alone``: another thread may have changed them."""
        yield from self._written
        for container, before in self._contents if alone else ():
            if isinstance(container, dict):
                yield from ((item_of(container, key), earlier) for key, _, earlier in _pairs(_items(container), before))
            elif len(container) == len(before):
                yield from ((Item(container, n), value) for n, value in enumerate(before))

    def is_reported(self, place: Place) -> bool:
        """Whether the guards are told what is stored there."""
        return place.id in self._reported

    def unchanged_items(self) -> list[Tensor]:
        """Tensors that lists and dicts still hold, if the code stores items: it may have stored these once more, which
        the runs would have to do where they are no longer there."""
        found: list[Tensor] = []
        for container, before in self._contents if self._into_items else ():
            if isinstance(container, dict):
                found += [now for _, now, earlier in _pairs(_items(container), before) if now is earlier]
            else:
                found += [now for now, earlier in zip(container, before, strict=False) if now is earlier]
        return [item for item in found if isinstance(item, Tensor)]

    def forget_before(self) -> None:
        """There is nothing to restore any more: what a capture stored has values."""
        self._before, self._written = None, []

    def _absence(self, names: dict[str, Any], name: str) -> None:
        """An attribute of the class counts as long as the object has none of its own."""
        if isinstance(names, dict) and (id(names), name) not in self._seen:
            self._seen.add((id(names), name))
            self._bound.append((names, name, ABSENT))

    def _note(self, key: Any, value: Any, depth: int, names: Any = None, name: str = "", cell: Any = None) -> None:
        """Remember what a name means; once."""
        if value is ABSENT or (key in self._seen and not self._opaque):
            return
        if key not in self._seen and not _is_librarys(value) and not self._is_own(key, value):
            if cell is not None:
                self._cells.append((cell, value))
                self._variables[id(cell)] = name
            elif names is not None and isinstance(names, Mapping):
                self._bound.append((names, name, value))
            else:
                self._members.append((names, name, value))
        self._seen.add(key)
        self.reach(value)
        self._inside(value, depth)
        self._follow(value, depth + 1)

    def _inside(self, container: Any, depth: int) -> None:
        """Take notice of what a list, tuple or dict holds, and of what calls of it run."""
        if self._opaque:
            self.whole(container, True)
        if not isinstance(container, (list, tuple, dict)) or len(container) > _LONGEST or depth > _DEEPEST:
            return
        for item in container.values() if isinstance(container, dict) else container:
            if not isinstance(item, (Tensor, ModuleType, type, *SIMPLE)):
                self.reach(item)
                self._inside(item, depth + 1)
                self._follow(item, depth + 1)


def _was_and_is(name: str, value: Any, now: Any) -> str:
    before, after = shown_plainly(value), shown_plainly(now)
    return f"{name} is another {type(now).__name__}" if before == after else f"{name} was {before}, is {after}"


def _holder(owner: Any, name: str) -> Any:
    """What an attribute of an object is an item of; the object itself where that is no dict."""
    own = getattr(owner, "__dict__", None)
    if type(own) is not dict or isinstance(owner, type) or hasattr(type(getattr(type(owner), name, None)), "__set__"):
        return owner
    return own


def is_made_inside(value: Any) -> bool:
    """Whether the function that is captured has made a value: it is known at run time, or a size of a scope."""
    return type(value) in MADE or isinstance(value, Late) or is_traced(value)


def _is_librarys(value: Any) -> bool:
    """Whether it is a module or class that programs do not put another in the place of."""
    if isinstance(value, ModuleType):
        return not is_users(value.__name__)
    return isinstance(value, type) and not is_users(value.__module__)


def _is_of_the_program(called: Any) -> bool:
    """Whether code is in no installed package."""
    file = getattr(getattr(called, "__code__", None), "co_filename", "")
    return "site-packages" not in file and "dist-packages" not in file


def _gives(called: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any, *_: Any) -> bool:
    """Whether a function gives what it gave."""
    return same(called(*args, **kwargs), value)


def _holds_still(container: Any, held: tuple[Any, ...], *_: Any) -> bool:
    """Whether a container holds what it held."""
    return is_as(contents(container), held)


def _name(called: Any) -> str:
    return getattr(called, "__name__", type(called).__name__)


def is_int_or_float(value: Any) -> bool:
    """Whether a value is a Python number that may be an input of a graph."""
    return type(value) is float or type(value) is int


def is_plain(value: Any) -> bool:
    """Whether a value is a tensor that stands for itself alone: no parameter, no view, without a history."""
    return type(value) is Tensor and value._node is None and value._view is None and not is_traced(value)


def may_be_input(value: Any) -> bool:
    """Whether what a place holds may be an input of a graph."""
    return is_int_or_float(value) or is_plain(value)


def _holds(value: Any, tensors: set[int]) -> bool:
    """Whether it is one of the tensors (by id), or a tuple that holds one."""
    if isinstance(value, tuple):
        return any(_holds(item, tensors) for item in value)
    return id(value) in tensors


def is_users(module: Any) -> bool:
    """Whether code of this module may be followed: not weft's own, nor a library's that keeps counts of its own."""
    return not isinstance(module, str) or module.partition(".")[0] not in _LIBRARIES


def _variables(function: FunctionType, owner: Any) -> dict[str, list[Any]]:
    """The locals that are known before the function runs: the object that it is a method of."""
    first = function.__code__.co_varnames[: function.__code__.co_argcount][:1]
    return {} if owner is ABSENT or not first else {first[0]: [owner]}


def attributes_of(owner: Any) -> dict[str, Any]:
    """What an object holds by name; nothing for classes, which :func:`in_class` looks into."""
    found = getattr(owner, "__dict__", None)
    return found if isinstance(found, dict) else {}


def in_class(owner: Any, name: str) -> Iterator[tuple[type, Any]]:
    """The classes of the user's that define ``name`` for an object (or a class) and what they say, in order."""
    for kind in (owner if isinstance(owner, type) else type(owner)).__mro__:
        if name in kind.__dict__ and is_users(kind.__module__):
            yield kind, kind.__dict__[name]


def _items(container: list[Any] | dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(container) if isinstance(container, list) else tuple(container.items())


def _refill(container: list[Any] | dict[Any, Any], items: tuple[Any, ...]) -> None:
    if isinstance(container, list):
        container[:] = items
    else:
        container.clear()
        container.update(items)


def _pairs(now: tuple[Any, ...], before: tuple[Any, ...]) -> Iterator[tuple[Any, Any, Any]]:
    """(key, value now, value before) of a dict's items."""
    known = dict(before)
    return ((key, value, known.get(key, ABSENT)) for key, value in now)

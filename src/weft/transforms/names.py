"""What a function's code names outside of itself: closure cells, globals, and attributes on them (``config.lr``).

A captured function holds as long as these names mean what they meant when it was captured: numbers, strings, and short
lists and dicts of them by value, everything else by identity. What a tensor holds may change; which tensor it is may
not. Functions, methods, properties and modules that are named are looked into too, and so are attributes of classes.
What is reached in other ways (``getattr``, an element of a list of objects) is not seen, neither is what libraries
read, nor a module or a class itself, which programs do not rebind.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from types import CodeType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

from ..tensor.guards import ABSENT, like, same, shown_plainly
from ..tensor.tensor import Tensor
from .places import Attribute, Item, Place, Variable, content
from .reads import Chain, reads

if TYPE_CHECKING:
    from .quick import Noting

_LIBRARIES = {"weft", "numpy", *sys.stdlib_module_names}
SIMPLE = (bool, int, float, str, type(None))
_LONGEST = 1024  # a longer list or dict is compared by identity
_DEEPEST = 4  # functions named by functions that are followed


class Names:
    """The names of a function, and what they mean now."""

    __slots__ = (
        "_arguments",
        "_before",
        "_bound",
        "_called",
        "_cells",
        "_contents",
        "_into_items",
        "_members",
        "_reported",
        "_seen",
        "_variables",
        "_written",
    )

    def __init__(self, function: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> None:
        self._cells: list[tuple[Any, Any]] = []  # (closure cell, what it holds)
        self._variables: dict[int, str] = {}  # their names, by id
        self._bound: list[tuple[Any, str, Any]] = []  # (globals or attributes, name, what it is bound to)
        self._members: list[tuple[Any, str, Any]] = []  # (object with __slots__, name, what it is bound to)
        self._contents: list[tuple[Any, Any]] = []  # (list or dict, its items)
        self._written: list[tuple[Place, Any]] = []  # (what the code stores into, what it holds)
        self._reported: set[Any] = set()  # the ids of those of these that the guards are told of
        self._before: Any = None  # the lists above as they were before settle(), for restore()
        self._arguments = args, kwargs or {}
        self._into_items = False  # whether the code stores items of lists or dicts
        self._seen: set[Any] = set()
        self._called: set[int] = set()  # modules whose forward is followed
        self._follow(function, 0)
        self._arguments = (), {}

    def follow(self, called: Any) -> None:
        """Look into a function too that the captured one is about to call without naming it: a hook."""
        self._follow(called, 1)

    def settle(self, read: set[int]) -> None:
        """Take note of what the function has done when it was captured.

        A tensor that it read (``read``: by id) must be that very one; for another any of its type will do. What it
        stored counts as it was before. What was added to lists is taken as it is now: a function that notes its
        captures in one is not captured again for that.
        """

        def expected(value: Any) -> Any:
            return like(value) if isinstance(value, Tensor) and id(value) not in read else value

        self._seen.clear()
        self._before = self._cells, self._bound, self._members, self._contents
        self._cells = [(cell, expected(value)) for cell, value in self._cells]
        self._bound = [(names, name, expected(value)) for names, name, value in self._bound]
        self._members = [(owner, name, expected(value)) for owner, name, value in self._members]
        contents = []
        for container, before in self._contents:
            if isinstance(container, dict):
                items: tuple[Any, ...] = tuple([(key, expected(value)) for key, value in before])
            else:
                items = (*map(expected, before), *container[len(before) :])
            contents.append((container, items))
        self._contents = contents

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
        for container, items in self._contents:  # noqa: SIM110 - called each time: a generator would cost more
            if not same(_items(container), items):
                return False
        return True

    def described(self) -> list[str]:
        """What :meth:`same` looks at, in words."""
        found = [f"a closure's variable is {shown_plainly(value)}" for _, value in self._cells]
        found += [f"{name} is {shown_plainly(value)}" for _, name, value in self._bound]
        found += [f"{type(owner).__name__}.{name} is {shown_plainly(value)}" for owner, name, value in self._members]
        found += [
            f"a {type(container).__name__} of {len(items)} has the items that it had"
            for container, items in self._contents
        ]
        return found

    def changed(self) -> str | None:
        """The first that means something else, in words."""
        for cell, value in self._cells:
            if not same(content(cell), value):
                return f"{self._variables[id(cell)]} was {shown_plainly(value)}, is {shown_plainly(content(cell))}"
        for names, name, value in (*self._bound, *self._members):
            now = names.get(name, ABSENT) if hasattr(names, "get") else getattr(names, name, ABSENT)
            if not same(now, value):
                return f"{name} was {shown_plainly(value)}, is {shown_plainly(now)}"
        for container, items in self._contents:
            if not same(_items(container), items):
                return f"what a {type(container).__name__} of {len(items)} holds"
        return None

    def note(self, noting: Noting) -> None:
        """Take down all that :meth:`same` looks at.

        Raises:
            Otherwise: it does not hold, or cannot be taken down.
        """
        for cell, value in self._cells:
            noting.cell(cell, value)
        for names, name, value in self._bound:
            noting.item(names, name, value)
        for owner, name, value in self._members:
            noting.attribute(owner, name, value)
        for container, items in self._contents:
            noting.contents(container, _items(container), items)

    # --- what runs --------------------------------------------------------------------------------------------------

    def _follow(self, called: Any, depth: int, owner: Any = ABSENT) -> None:
        """Look into what a call of ``called`` runs; ``owner`` is its first argument where that is known."""
        if isinstance(called, MethodType):
            called, owner = called.__func__, called.__self__
        key = ("call", id(called), id(owner))
        if key in self._seen or depth > _DEEPEST or isinstance(called, type):
            return
        self._seen.add(key)
        if isinstance(called, FunctionType):
            if _is_users(called.__globals__.get("__name__")):
                variables = _variables(called, owner)
                if depth == 0:
                    self._given(called, owner, variables)
                cells = dict(zip(called.__code__.co_freevars, called.__closure__ or (), strict=True))
                self._code(called.__code__, called.__globals__, variables, cells, depth, [])
        elif not isinstance(called, (Tensor, ModuleType, *SIMPLE)):
            self._object(called, depth)
        wrapped = called.func if isinstance(called, partial) else _attributes(called).get("__wrapped__")
        if wrapped is not None:
            self._follow(wrapped, depth, owner)

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
            for _, found in _in_class(called, name):
                if isinstance(found, FunctionType):
                    self._follow(found, depth, called)
        modules = _attributes(called).get("_modules")
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
        own = _attributes(owner)
        if name in own:
            self._note((id(own), name), own[name], depth, own, name)
            return own[name]
        modules = own.get("_modules")
        if isinstance(modules, dict) and name in modules:  # reported to the guards
            return modules[name]
        value = ABSENT
        for holder, found in _in_class(owner, name):  # all of them: super() reads those behind the first
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
                value = found if value is ABSENT else value
                self._note((id(holder), name), found, depth, holder.__dict__, name)
                self._absence(own, name)
        return value

    def _before_write(
        self, chain: Chain, names: dict[str, Any], variables: dict[str, list[Any]], cells: dict[str, Any]
    ) -> None:
        """Remember what an attribute or a global holds that the code stores into."""
        if not chain.links:
            if chain.is_global:
                self._written.append((Item(names, chain.root), names.get(chain.root, ABSENT)))
            elif chain.root in cells:
                self._written.append((Variable(cells[chain.root]), content(cells[chain.root])))
            return
        if chain.is_global:
            owners = [names.get(chain.root, ABSENT)]
        else:
            owners = [content(cells[chain.root])] if chain.root in cells else variables.get(chain.root, [])
        for owner in owners:
            for name in chain.links[:-1]:
                owner = _attributes(owner).get(name, ABSENT)
            last, own = chain.links[-1], getattr(owner, "__dict__", None)
            if isinstance(own, dict):
                place = Item(own, last)
                self._written.append((place, own.get(last, ABSENT)))
                if getattr(type(owner), "reports_writes", False):
                    self._reported.add(place.id)
            elif owner is not ABSENT and not isinstance(owner, (Tensor, type, ModuleType)):  # p.grad is the tape's
                self._written.append((Attribute(owner, last), getattr(owner, last, ABSENT)))

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
                    Item(container, key).put_back(before.get(key, ABSENT), value)

    def stores(self, alone: bool) -> Iterator[tuple[Place, Any]]:
        """What the code may have stored into, and what was there before; items of lists and dicts only if it is
        ``alone``: another thread may have changed them."""
        yield from self._written
        for container, before in self._contents if alone else ():
            if isinstance(container, dict):
                yield from ((Item(container, key), earlier) for key, _, earlier in _pairs(_items(container), before))
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
        if key in self._seen or value is ABSENT or isinstance(value, (ModuleType, type)):
            return
        self._seen.add(key)
        if cell is not None:
            self._cells.append((cell, value))
            self._variables[id(cell)] = name
        elif hasattr(names, "get"):
            self._bound.append((names, name, value))
        else:
            self._members.append((names, name, value))
        self._inside(value, depth)
        self._follow(value, depth + 1)

    def _inside(self, container: Any, depth: int) -> None:
        """Note what a list, tuple or dict holds, and what calls of it run."""
        if not isinstance(container, (list, tuple, dict)) or len(container) > _LONGEST or depth > _DEEPEST:
            return
        if not isinstance(container, tuple):
            self._contents.append((container, _items(container)))
        for item in container.values() if isinstance(container, dict) else container:
            if not isinstance(item, (Tensor, ModuleType, type, *SIMPLE)):
                self._inside(item, depth + 1)
                self._follow(item, depth + 1)


def _holds(value: Any, tensors: set[int]) -> bool:
    """Whether it is one of the tensors (by id), or a tuple that holds one."""
    if isinstance(value, tuple):
        return any(_holds(item, tensors) for item in value)
    return id(value) in tensors


def _is_users(module: Any) -> bool:
    """Whether code of this module may be followed: not weft's own, nor a library's that keeps counts of its own."""
    return not isinstance(module, str) or module.partition(".")[0] not in _LIBRARIES


def _variables(function: FunctionType, owner: Any) -> dict[str, list[Any]]:
    """The locals that are known before the function runs: the object that it is a method of."""
    first = function.__code__.co_varnames[: function.__code__.co_argcount][:1]
    return {} if owner is ABSENT or not first else {first[0]: [owner]}


def _attributes(owner: Any) -> dict[str, Any]:
    """What an object holds by name; nothing for classes, which :func:`_in_class` looks into."""
    found = getattr(owner, "__dict__", None)
    return found if isinstance(found, dict) else {}


def _in_class(owner: Any, name: str) -> Iterator[tuple[type, Any]]:
    """The classes of the user's that define ``name`` for an object (or a class) and what they say, in order."""
    for kind in (owner if isinstance(owner, type) else type(owner)).__mro__:
        if name in kind.__dict__ and _is_users(kind.__module__):
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

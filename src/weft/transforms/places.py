"""Places that Python code stores into: an item of a dict or list, an attribute, a variable of the code around it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import suppress
from types import CellType
from typing import Any

from ..tensor.guards import ABSENT, before_write, bump


class Place(ABC):
    """One place; ``id`` names it while its owner lives."""

    __slots__ = ()

    @property
    @abstractmethod
    def id(self) -> tuple[int, Any]:
        """The same for the same place."""

    @property
    def holder(self) -> Any:
        """The object that it is a place in."""
        return self.owner  # type: ignore[attr-defined]

    @property
    @abstractmethod
    def name(self) -> str:
        """In words."""

    @abstractmethod
    def get(self) -> Any:
        """What is there, or ABSENT."""

    @abstractmethod
    def set(self, value: Any) -> None:
        """Store there."""

    @abstractmethod
    def clear(self) -> None:
        """Take away what is there, if anything is."""

    def exchange(self, value: Any) -> Any:
        """Store there; what it replaces, or ABSENT."""
        before = self.get()
        self.set(value)
        return before

    def put_back(self, before: Any, now: Any) -> None:
        """Store what was there before, or ABSENT; where other threads run, only if ``now`` is there still."""
        if threading.active_count() > 1:
            self._replace(now, before)
        elif before is ABSENT:
            self.clear()
        else:
            self.set(before)

    def _replace(self, now: Any, before: Any) -> None:
        """Store what was there before if ``now`` is there.

        Other threads get in at calls and backward jumps: here nearly nobody does, and where nothing has to be called
        between the look and the store (items, variables) nobody.
        """
        if self.get() is now:
            self.clear() if before is ABSENT else self.set(before)


class Item(Place):
    """``owner[key]`` of a dict (an object's attributes, a module's globals) or list."""

    __slots__ = ("key", "owner")

    def __init__(self, owner: dict[Any, Any] | list[Any], key: Any) -> None:
        self.owner, self.key = owner, key

    @property
    def id(self) -> tuple[int, Any]:
        return id(self.owner), self.key

    @property
    def name(self) -> str:
        return f"the item {self.key!r}"

    def get(self) -> Any:
        if isinstance(self.owner, dict):
            return dict.get(self.owner, self.key, ABSENT)  # options of an optimizer report what is read otherwise
        return self.owner[self.key] if self.key < len(self.owner) else ABSENT

    def set(self, value: Any) -> None:
        self.owner[self.key] = value

    def clear(self) -> None:
        if isinstance(self.owner, dict):
            self.owner.pop(self.key, None)

    def exchange(self, value: Any) -> Any:
        owner, key = self.owner, self.key
        try:  # nothing is called from here on, so that no other thread stores between the look and the store
            before = owner[key]
            owner[key] = value
        except LookupError:
            before = ABSENT
            owner[key] = value
        return before

    def _replace(self, now: Any, before: Any) -> None:
        owner, key = self.owner, self.key
        with suppress(LookupError):
            if before is ABSENT:
                if owner[key] is now:
                    del owner[key]
            elif now is ABSENT:
                if key not in owner:
                    owner[key] = before
            elif owner[key] is now:
                owner[key] = before


class Reported(Item):
    """An attribute of a module: the guards are told of every store."""

    __slots__ = ()

    def set(self, value: Any) -> None:
        self.owner[self.key] = value
        bump()

    def exchange(self, value: Any) -> Any:
        assert isinstance(self.owner, dict)
        before_write(self.owner, self.key, value)
        before = super().exchange(value)
        bump()
        return before

    def clear(self) -> None:
        super().clear()
        bump()


class Option(Item):
    """An item of a dict of weft's own that does more when something is stored: what else hangs on it, the graph has."""

    __slots__ = ()

    @property
    def _dict(self) -> dict[Any, Any]:
        assert isinstance(self.owner, dict)
        return self.owner

    def get(self) -> Any:
        return dict.get(self._dict, self.key, ABSENT)

    def set(self, value: Any) -> None:
        dict.__setitem__(self._dict, self.key, value)

    def clear(self) -> None:
        dict.pop(self._dict, self.key, None)

    _replace, exchange = Place._replace, Place.exchange  # an item's own reports what it stores


class Key(Place):
    """``owner[key]`` of a dict of any class, whatever that does with stores: nobody has written anything."""

    __slots__ = ("_of", "reports", "key", "owner")

    def __init__(self, owner: dict[Any, Any], key: Any) -> None:
        self.owner, self.key = owner, key
        self.reports = type(owner).__module__.startswith("weft.")  # options of an optimizer
        self._of: Any = OrderedDict if isinstance(owner, OrderedDict) else dict

    @property
    def id(self) -> tuple[int, Any]:
        return id(self.owner), self.key

    @property
    def name(self) -> str:
        return repr(self.key)

    def get(self) -> Any:
        return dict.get(self.owner, self.key, ABSENT)

    def set(self, value: Any) -> None:
        self._of.__setitem__(self.owner, self.key, value)
        if self.reports:
            bump()

    def clear(self) -> None:
        self._of.pop(self.owner, self.key, None)


def item_of(owner: dict[Any, Any] | list[Any], key: Any) -> Place:
    """The place of an item of a dict that weft writes: an object's attributes, or options."""
    kind = type(owner)
    if kind is dict or isinstance(owner, list):
        return Item(owner, key)
    return Option(owner, key) if kind.__module__.startswith("weft.") else Key(owner, key)


class Attribute(Place):
    """``owner.name`` of an object without a dict for it: a slot, a property. What its class does with stores
    (``__setattr__``) is not done once more: nobody has written anything."""

    __slots__ = ("attribute", "owner")

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.attribute = owner, name

    @property
    def id(self) -> tuple[int, Any]:
        return id(self.owner), self.attribute

    @property
    def name(self) -> str:
        return f"the attribute {self.attribute}"

    def get(self) -> Any:
        return getattr(self.owner, self.attribute, ABSENT)

    def set(self, value: Any) -> None:
        try:
            object.__setattr__(self.owner, self.attribute, value)
        except (AttributeError, TypeError):  # a proxy, an object of one thread
            setattr(self.owner, self.attribute, value)

    def clear(self) -> None:
        with suppress(AttributeError):  # a property that cannot be deleted
            if hasattr(self.owner, self.attribute):
                delattr(self.owner, self.attribute)


class ClassAttribute(Place):
    """An attribute of a class itself."""

    __slots__ = ("key", "owner")

    def __init__(self, owner: type, key: str) -> None:
        self.owner, self.key = owner, key

    @property
    def id(self) -> tuple[int, Any]:
        return id(self.owner), self.key

    @property
    def name(self) -> str:
        return f"{self.owner.__name__}.{self.key}"

    def get(self) -> Any:
        return self.owner.__dict__.get(self.key, ABSENT)

    def set(self, value: Any) -> None:
        setattr(self.owner, self.key, value)

    def clear(self) -> None:
        if self.key in self.owner.__dict__:
            delattr(self.owner, self.key)


class Variable(Place):
    """A variable of the code around a function, by its closure cell."""

    __slots__ = ("cell",)

    def __init__(self, cell: CellType) -> None:
        self.cell = cell

    @property
    def holder(self) -> Any:
        return self.cell

    @property
    def id(self) -> tuple[int, Any]:
        return id(self.cell), None

    @property
    def name(self) -> str:
        return "a variable of the code around"

    def get(self) -> Any:
        return content(self.cell)

    def set(self, value: Any) -> None:
        self.cell.cell_contents = value

    def clear(self) -> None:
        with suppress(ValueError):
            del self.cell.cell_contents

    def _replace(self, now: Any, before: Any) -> None:
        cell = self.cell
        if before is ABSENT:
            if content(cell) is now:
                self.clear()
            return
        if now is ABSENT:
            if content(cell) is ABSENT:
                cell.cell_contents = before
            return
        with suppress(ValueError):
            if cell.cell_contents is now:
                cell.cell_contents = before


def content(cell: CellType) -> Any:
    """What a variable holds."""
    try:
        return cell.cell_contents
    except ValueError:  # it has none now
        return ABSENT

"""What a function's code names outside of itself: closure cells, globals, and attributes on them (``config.lr``).

A captured function holds as long as these names mean what they meant when it was captured: numbers, strings, and short
lists and dicts of them by value, everything else by identity. What a tensor holds may change; which tensor it is may
not. Functions that are named are looked into too. What is reached in other ways (``getattr``, an element of a list of
objects) is not seen, and neither are modules and classes, which programs do not rebind.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from ..tensor.guards import same

__all__ = ["Names"]

_ROOTS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_FAST")
_LINKS = ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR")
_SIMPLE = (bool, int, float, str, type(None))
_LONGEST = 64  # a longer list or dict is compared by identity
_DEEPEST = 4  # functions named by functions that are followed
_ABSENT = object()


class Names:
    """The names of a function, and what they mean now."""

    __slots__ = ("_bound", "_cells", "_contents", "_seen")

    def __init__(self, function: Any) -> None:
        self._cells: list[tuple[Any, Any]] = []  # (closure cell, what it holds)
        self._bound: list[tuple[dict[str, Any], str, Any]] = []  # (globals or attributes, name, what it is bound to)
        self._contents: list[tuple[Any, tuple[Any, ...]]] = []  # (list or dict, its items)
        self._seen: set[Any] = set()
        self._function(function, 0)
        self._seen.clear()

    def renew_contents(self) -> None:
        """Take the items that lists and dicts have now as those to compare with: a function that counts its captures in
        one of them is not captured again for that."""
        self._contents = [(container, _items(container)) for container, _ in self._contents]

    def same(self) -> bool:
        """Whether all of them still mean the same."""
        for cell, value in self._cells:
            try:
                now = cell.cell_contents
            except ValueError:  # it is empty now
                return False
            if now is not value and not same(now, value):
                return False
        for names, name, value in self._bound:
            now = names.get(name, _ABSENT)
            if now is not value and not same(now, value):
                return False
        for container, items in self._contents:  # noqa: SIM110 - called each time: a generator would cost more
            if not same(_items(container), items):
                return False
        return True

    def _function(self, function: Any, depth: int) -> None:
        owner = None
        if isinstance(function, MethodType):
            function, owner = function.__func__, function.__self__
        function = getattr(function, "__wrapped__", function)
        if not isinstance(function, FunctionType) or function in self._seen or depth > _DEEPEST:
            return
        if (function.__module__ or "").partition(".")[0] in ("weft", "numpy"):
            return
        self._seen.add(function)
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        first = function.__code__.co_varnames[:1] if owner is not None else ()
        for opcode, root, links in _chains(function.__code__):
            if opcode == "LOAD_FAST":
                value = owner if (root,) == first else _ABSENT
            elif root in cells:
                value = _content(cells[root])
                self._note(("cell", id(cells[root])), value, depth, cell=cells[root])
            else:
                value = function.__globals__.get(root, _ABSENT)
                self._note((id(function.__globals__), root), value, depth, function.__globals__, root)
            for name in links:
                names = getattr(value, "__dict__", None)
                if not isinstance(names, dict) or name not in names or isinstance(value, type):
                    break
                value = names[name]
                self._note((id(names), name), value, depth, names, name)

    def _note(
        self, key: Any, value: Any, depth: int, names: dict[str, Any] | None = None, name: str = "", cell: Any = None
    ) -> None:
        """Remember what a name means; once."""
        if key in self._seen or value is _ABSENT or isinstance(value, (ModuleType, type)):
            return
        self._seen.add(key)
        if names is None:
            self._cells.append((cell, value))
        else:
            self._bound.append((names, name, value))
        if isinstance(value, (list, dict)) and len(value) <= _LONGEST:
            items = _items(value)
            if all(isinstance(item, _SIMPLE) for item in items):
                self._contents.append((value, items))
        self._function(value, depth + 1)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _ABSENT


def _items(container: list[Any] | dict[Any, Any]) -> tuple[Any, ...]:
    return tuple(container) if isinstance(container, list) else (*container, *container.values())


def _chains(code: CodeType) -> Iterator[tuple[str, str, list[str]]]:
    """``a.b.c`` in the code, and in that of functions inside of it, as (opcode, "a", ["b", "c"])."""
    chain: tuple[str, str, list[str]] | None = None
    for instruction in dis.get_instructions(code):
        if chain is not None:
            if instruction.opname in _LINKS:
                chain[2].append(instruction.argval)
                continue
            yield chain
            chain = None
        if instruction.opname in _ROOTS:
            chain = (instruction.opname, instruction.argval, [])
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            for opcode, root, links in _chains(constant):
                if opcode != "LOAD_FAST":
                    yield opcode, root, links

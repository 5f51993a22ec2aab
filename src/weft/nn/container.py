"""Containers: modules that hold modules, in order or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Generic, Self, TypeVar, overload

from ..core.errors import ArgumentError
from ..tensor import guards
from ..tensor.tensor import Tensor
from .module import Module

M = TypeVar("M", bound=Module)


def _at(index: int, size: int, owner: object) -> int:
    position = index.__index__()
    if not -size <= position < size:
        raise IndexError(f"{type(owner).__name__}: index {index} is out of range for {size} entries")
    return position % size


def _times(number: int) -> int:
    if not isinstance(number, int) or number < 1:
        raise ArgumentError(f"Sequential: {number!r} times; it must be a whole number, at least 1")
    return number


class _Indexed(Module, Generic[M]):
    """Modules called "0", "1", ... or by names, in order."""

    def _items(self) -> list[M]:
        if guards.is_recording():
            guards.read(self, "", self.guarded())
        return list(self._modules.values())  # type: ignore[arg-type]  # None has a place, as in PyTorch

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[M]:
        return iter(self._items())

    @overload
    def __getitem__(self, index: int) -> M: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: Any) -> Any:
        items = self._items()
        if isinstance(index, slice):
            return self._sliced(list(self._modules.items())[index])
        return items[_at(index, len(items), self)]

    def _sliced(self, entries: list[tuple[str, Module | None]]) -> Self:
        return type(self)([module for _, module in entries])  # type: ignore[call-arg]

    def __setitem__(self, index: int, module: M) -> None:
        self.add_module(list(self._modules)[_at(index, len(self._modules), self)], module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)
        chosen = names[index] if isinstance(index, slice) else [names[_at(index, len(names), self)]]
        kept = [(name, module) for name, module in self._modules.items() if name not in chosen]
        self._replace(kept)

    def _replace(self, entries: Iterable[tuple[str, Module | None]]) -> None:
        """Hold these modules alone; names that are numbers are given again."""
        self._modules.clear()
        for k, (name, module) in enumerate(entries):
            self._modules[str(k) if name.isdigit() else name] = module
        guards.bump()

    def append(self, module: M) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self._modules)), module)
        return self

    def extend(self, modules: Iterable[M]) -> Self:
        """Add modules at the end."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: M) -> Self:
        """Add a module before position ``index``."""
        entries = list(self._modules.items())
        entries.insert(index, ("0", module))
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(self).__name__}.insert: {type(module).__name__} is not a Module")
        self._replace(entries)
        return self

    def pop(self, index: int = -1) -> M:
        """Take a module out."""
        module = self[index]
        del self[index]
        return module


class Sequential(_Indexed[Module]):
    """Modules called one after the other: ``(*) -> (*)`` as its modules say.

    Args:
        modules: the modules in order, or one mapping of names to modules.

    Example:
        >>> net = wf.nn.Sequential(wf.nn.Linear(2, 3), wf.nn.Tanh())
        >>> net[1]
        Tanh()
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            for k, module in enumerate(modules):
                self.add_module(str(k), module)

    def _sliced(self, entries: list[tuple[str, Module | None]]) -> Self:
        return type(self)(dict(entries))

    def forward(self, input: Any) -> Tensor:
        """The last module's output: a tensor, where each module gives one."""
        for name, module in self._modules.items():
            if module is None:
                raise ArgumentError(f"{type(self).__name__}: entry {name!r} is None, which cannot be called")
            input = module(input)
        result: Tensor = input
        return result

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Self:
        return self.extend(other) if isinstance(other, Sequential) else NotImplemented

    def __mul__(self, times: int) -> Sequential:
        return Sequential(*list(self) * _times(times))

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        return self.extend(list(self) * (_times(times) - 1))


class ModuleList(_Indexed[M]):
    """A list of modules. It has no ``forward``: its owner says what happens. For type checkers it is one of modules of
    one class, ``ModuleList[Block]``.

    Example:
        >>> blocks = wf.nn.ModuleList(wf.nn.Linear(4, 4) for _ in range(3))
        >>> len(blocks)
        3
    """

    def __init__(self, modules: Iterable[M] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __iadd__(self, modules: Iterable[M]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[M]) -> ModuleList[M]:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        """Modules that follow each other and look alike are shown once, as in PyTorch."""
        lines, first = [], 0
        for shown, alike in groupby(map(repr, self)):
            count = len(list(alike))
            head = f"({first}): " if count == 1 else f"({first}-{first + count - 1}): {count} x "
            lines.append(head + shown.replace("\n", "\n  "))
            first += count
        inside = "\n  ".join(lines)
        return f"{type(self).__name__}(\n  {inside}\n)" if lines else f"{type(self).__name__}()"


class ModuleDict(Module):
    """Modules by name, in the order of insertion. It has no ``forward``: its owner says what happens.

    Example:
        >>> heads = wf.nn.ModuleDict({"a": wf.nn.Linear(4, 1), "b": wf.nn.Linear(4, 2)})
        >>> list(heads)
        ['a', 'b']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def _table(self) -> dict[str, Module | None]:
        if guards.is_recording():
            guards.read(self, "", self.guarded())
        return self._modules

    def __getitem__(self, name: str) -> Module:
        return self._table()[name]  # type: ignore[return-value]  # None has a place, as in PyTorch

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        guards.bump()

    def __contains__(self, name: object) -> bool:
        return name in self._table()

    def __len__(self) -> int:
        return len(self._table())

    def __iter__(self) -> Iterator[str]:
        return iter(self._table())

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._table().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return (self[name] for name in self._table())

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return ((name, self[name]) for name in self._table())

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        for name, module in dict(modules).items():
            self[name] = module

    def pop(self, name: str) -> Module:
        """Take a module out."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Take all modules out."""
        self._modules.clear()
        guards.bump()

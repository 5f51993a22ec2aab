"""Containers of parameters: a list and a dict of them.

Tensors become Parameters; any other value is kept as it is, as an attribute, and is no part of the state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, overload

from ..core.errors import ArgumentError
from ..tensor import guards
from ..tensor.tensor import Tensor
from .module import Module
from .parameter import Parameter


class _Held(Module):
    """Values as attributes, and their names in order."""

    _names: dict[str, None]

    def __init__(self) -> None:
        super().__init__()
        self._names = {}

    def _read(self) -> dict[str, Any]:
        """The values by name."""
        if guards.is_recording():
            guards.read(self, "", self.guarded())
        return {name: self._value(name) for name in self._names}

    def guarded(self) -> tuple[Any, ...]:
        """As of any module, and the names."""
        return (*super().guarded(), ("names", tuple(self._names)))

    def _value(self, name: str) -> Any:
        return self._parameters[name] if name in self._parameters else self.__dict__[name]

    def _set(self, name: str, value: Any) -> None:
        is_tensor = isinstance(value, Tensor) and not isinstance(value, Parameter)
        if name not in self._names:
            self._check_name(name, "parameter", {})
        elif name in self._parameters and not isinstance(value, Tensor):
            delattr(self, name)
        setattr(self, name, Parameter(value) if is_tensor else value)
        self._names[name] = None

    def __len__(self) -> int:
        return len(self._read())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A container of parameters is not called.

        Raises:
            ArgumentError: always.
        """
        raise ArgumentError(f"{type(self).__name__} should not be called: it holds parameters")

    def __repr__(self) -> str:
        lines = []
        for name, value in self._read().items():
            if isinstance(value, Tensor):
                size = "x".join(map(str, value.shape))
                lines.append(f"({name}): {type(value).__name__} containing: [{value.dtype.name} of size {size}]")
            else:
                lines.append(f"({name}): Object of type: {type(value).__name__}")
        inside = "\n  ".join(lines)
        return f"{type(self).__name__}(\n  {inside}\n)" if lines else f"{type(self).__name__}()"


class ParameterList(_Held):
    """A list of parameters; tensors in it become Parameters.

    Example:
        >>> len(wf.nn.ParameterList([wf.zeros((2,)), wf.zeros((3,))]))
        2
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values if values is not None else ())

    def _name(self, index: int) -> str:
        size, position = len(self._names), index.__index__()
        if not -size <= position < size:
            raise IndexError(f"{type(self).__name__}: index {index} is out of range for {size} entries")
        return str(position % size)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read().values())

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: Any) -> Any:
        values = self._read()
        if isinstance(index, slice):
            return type(self)(list(values.values())[index])
        return values[self._name(index)]

    def __setitem__(self, index: int, value: Any) -> None:
        self._set(self._name(index), value)

    def append(self, value: Any) -> Self:
        """Add a value at the end."""
        self._set(str(len(self._names)), value)
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end."""
        if isinstance(values, Tensor):
            raise TypeError(f"{type(self).__name__}.extend: a tensor; it must be several: append() adds one")
        for value in list(values):
            self.append(value)
        return self

    def pop(self, index: int = -1) -> Any:
        """Take a value out."""
        values = list(self._read().values())
        found = values.pop(int(self._name(index)))
        for name in list(self._names):
            delattr(self, name)
        self._names.clear()
        self.extend(values)
        return found

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)


class ParameterDict(_Held):
    """Parameters by name, in the order of insertion; tensors in it become Parameters. A dict is inserted in the order
    of its names.

    Example:
        >>> held = wf.nn.ParameterDict({"scale": wf.ones((2,)), "shift": wf.zeros((2,))})
        >>> list(held), held["scale"].requires_grad
        (['scale', 'shift'], True)
    """

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self.update(parameters if parameters is not None else {})

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._set(key, value)

    def __delitem__(self, key: str) -> None:
        del self._names[key]
        delattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self._read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._read()))

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._read().keys()

    def values(self) -> ValuesView[Any]:
        """The values."""
        return self._read().values()

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self._read().items()

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or ``default``."""
        return self._read().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """A value, set to ``default`` if it was not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add or replace values; of a mapping that is neither an OrderedDict nor a ParameterDict in the order of their
        names, as in PyTorch: an optimizer's state counts parameters by their order."""
        values = dict(parameters)
        is_plain = isinstance(parameters, Mapping) and not isinstance(parameters, OrderedDict)
        for key in sorted(values) if is_plain else list(values):
            self[key] = values[key]

    def pop(self, key: str) -> Any:
        """Take a value out."""
        value = self[key]
        del self[key]
        return value

    def popitem(self) -> tuple[str, Any]:
        """Take the last value out, with its name."""
        if not self._names:
            raise KeyError("ParameterDict.popitem: it is empty")
        key = list(self._names)[-1]
        return key, self.pop(key)

    def clear(self) -> None:
        """Take all values out."""
        for key in list(self._names):
            del self[key]

    def copy(self) -> ParameterDict:
        """Another one of the same values."""
        return ParameterDict(self._read().items())

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Another one of the same value under these names."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: Mapping[str, Any]) -> ParameterDict:
        made = self.copy()
        made.update(other)
        return made

    def __ror__(self, other: Mapping[str, Any]) -> ParameterDict:
        return ParameterDict({**dict(other.items()), **self._read()}.items())

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

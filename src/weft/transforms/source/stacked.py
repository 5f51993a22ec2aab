"""Lists that a loop over values appends to: while its body is traced, and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...core.asked import Asked
from ...core.errors import CaptureError
from ...ops.pieces import unstack
from ...tensor.tensor import Tensor

_FEW = 64  # rows that become a list of tensors at once


class Growing(list[Any]):
    """A list in the body of a loop, which is traced once: it can be appended to; what it holds is another in each
    iteration, and nobody may ask."""

    def __init__(self, items: Sequence[Any]):
        super().__init__(items)
        self.appended: list[Any] = []

    def plain(self) -> list[Any]:
        """What it held before."""
        return list(list.__iter__(self))

    def copy(self) -> Growing:
        return self

    def append(self, item: Any) -> None:
        self.appended.append(item)

    def extend(self, items: Any) -> None:
        self.appended.extend(items)

    def __iadd__(self, items: Any) -> Growing:  # type: ignore[misc]
        self.extend(items)
        return self

    def _refused(self, *args: Any, **kwargs: Any) -> Any:
        raise Reads("the body of a loop over values reads a list that it, or another iteration, may have appended to")


for _name in ("__iter__", "__len__", "__contains__", "__add__", "__mul__", "__eq__", "__reversed__"):
    setattr(Growing, _name, Growing._refused)
for _name in ("__getitem__", "__setitem__", "__delitem__", "__bool__"):
    setattr(Growing, _name, Growing._refused)
for _name in ("pop", "insert", "remove", "clear", "sort", "reverse", "index", "count"):
    setattr(Growing, _name, Growing._refused)


class Reads(CaptureError):
    """A list that grows is read."""


class Stacked(Sequence[Any]):
    """A list of which the last items are rows of tensors that a loop gave: ``wf.stack`` takes them as they are."""

    __class__ = property(lambda self: list)  # isinstance(rows, list) holds

    def __init__(self, first: list[Any], columns: list[Tensor], rounds: Any):
        self.first, self.columns, self.rounds = first, columns, rounds
        self._items: list[Any] | None = None

    @staticmethod
    def after(first: list[Any], columns: list[Tensor], count: Any) -> Any:
        """The list after the loop: a plain one where the rows are few and their number is known."""
        made = Stacked(first, columns, count)
        return made._all() if not isinstance(count, Asked) and count <= _FEW else made

    def stacked(self) -> Tensor | None:
        """All items, stacked, where the loop gave them so."""
        return self.columns[0] if not self.first and len(self.columns) == 1 and self._items is None else None

    def _all(self) -> list[Any]:
        if self._items is None:
            rows = zip(*[unstack(c) for c in self.columns], strict=True)
            self._items = [*self.first, *(item for row in rows for item in row)]
        return self._items

    def __len__(self) -> int:
        if self._items is not None:
            return len(self._items)
        return len(self.first) + int(self.rounds) * len(self.columns)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __getitem__(self, at: Any) -> Any:
        if at == -1 and self._items is None:
            return self.columns[-1][-1]
        return self._all()[at]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_items",):
            raise AttributeError(name)
        return getattr(self._all(), name)

    def __iadd__(self, more: Any) -> Stacked:
        self._all().extend(more)
        return self

    def __imul__(self, times: int) -> Stacked:
        self._all().__imul__(times)
        return self

    def __radd__(self, before: list[Any]) -> list[Any]:
        return [*before, *self._all()] if isinstance(before, list) else NotImplemented


def _as_a_list(name: str) -> Any:
    def method(self: Stacked, *others: Any) -> Any:
        return getattr(self._all(), name)(*[list(x) if type(x) is Stacked else x for x in others])

    return method


for _name in ("__add__", "__mul__", "__rmul__", "__eq__", "__ne__", "__lt__", "__gt__"):
    setattr(Stacked, _name, _as_a_list(_name))
for _name in ("__setitem__", "__delitem__", "__le__", "__ge__", "__repr__"):
    setattr(Stacked, _name, _as_a_list(_name))

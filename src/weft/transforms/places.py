"""A place that Python code stores into: an item of a dict or list, an attribute, a variable of the code around it."""

from __future__ import annotations

from dataclasses import dataclass
from types import CellType
from typing import Any

from ..tensor.guards import ABSENT

__all__ = ["Place", "content"]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """``owner[key]`` of a dict or list, ``owner.key`` of an object with slots, or (a cell, without key) a variable."""

    owner: Any
    key: Any

    def get(self) -> Any:
        """What is there, or ABSENT."""
        if isinstance(self.owner, dict):
            return self.owner.get(self.key, ABSENT)
        if isinstance(self.owner, list):
            return self.owner[self.key]
        if isinstance(self.owner, CellType):
            return content(self.owner)
        return getattr(self.owner, self.key, ABSENT)

    def set(self, value: Any) -> None:
        """Store there."""
        if isinstance(self.owner, (dict, list)):
            self.owner[self.key] = value
        elif isinstance(self.owner, CellType):
            self.owner.cell_contents = value
        else:
            object.__setattr__(self.owner, self.key, value)

    def clear(self) -> None:
        """Take away what is there, if anything is. (A variable is None then: code that has run once may read it.)"""
        if isinstance(self.owner, dict):
            self.owner.pop(self.key, None)
        elif isinstance(self.owner, CellType):
            self.owner.cell_contents = None
        elif hasattr(self.owner, self.key):
            object.__delattr__(self.owner, self.key)

    def put_back(self, before: Any) -> None:
        """Store what was there before, or ABSENT."""
        self.clear() if before is ABSENT else self.set(before)


def content(cell: CellType) -> Any:
    """What a variable holds."""
    try:
        return cell.cell_contents
    except ValueError:  # it has none now
        return ABSENT

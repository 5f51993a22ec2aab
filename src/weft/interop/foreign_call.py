"""One node of another tool's ONNX model, as the table in :mod:`weft.interop.foreign_ops` sees it.

Shapes are computed by nodes in ONNX. Such values (small integer constants, sizes of tensors and what is made of them)
are followed while the model is read, as arrays of Python integers and symbolic sizes: :class:`Known`. Everything else
is a traced tensor.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import FormatError
from ..tensor.tensor import Tensor

__all__ = ["Call", "Item", "Known"]


class Known:
    """An integer or bool array whose elements are known while the model is read: numbers or symbolic sizes."""

    __slots__ = ("array", "dtype")

    def __init__(self, array: Any, dtype: DType = dt.int64):
        import numpy as np

        self.array = np.empty(np.shape(array), dtype=object)
        self.array[...] = array
        self.dtype = dtype

    @property
    def integers(self) -> tuple[Any, ...]:
        """The elements, in order."""
        return tuple(self.array.ravel().tolist())


Item = Tensor | Known


class Reading(Protocol):
    """The model that is being read."""

    what: str
    opset: int

    def constant(self, name: str, tensor: Tensor) -> Item:
        """A constant of the model."""

    def tensor(self, item: Item) -> Any:
        """The item as a traced tensor."""

    def value_of(self, traced: Any) -> Tensor | None:
        """The constant that a traced tensor stands for, if it is one."""


class Call:
    """One node of an ONNX graph: its attributes and inputs, as the table's functions ask for them."""

    def __init__(self, reader: Reading, proto: Any, items: list[Item | None]):
        self.reader, self.proto, self.items = reader, proto, items
        self.opset = reader.opset

    def error(self, reason: str) -> FormatError:
        """What to raise when weft cannot say what the node says."""
        name = f" {self.proto.name!r}" if self.proto.name else ""
        return FormatError(f"{self.reader.what}: the node{name} of type {self.proto.op_type}: {reason}")

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value; strings as text."""
        from onnx import helper

        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def has(self, number: int) -> bool:
        """Whether the input is there."""
        return number < len(self.items) and self.items[number] is not None

    def item(self, number: int) -> Item:
        """An input as it is."""
        found = self.items[number] if number < len(self.items) else None
        if found is None:
            raise self.error(f"input {number} is missing")
        return found

    def tensor(self, number: int) -> Any:
        """An input as a traced tensor."""
        return self.reader.tensor(self.item(number))

    def tensors(self) -> list[Any]:
        """All inputs as traced tensors."""
        return [self.tensor(i) for i in range(len(self.items))]

    def known(self, number: int) -> Known:
        """An input that has to be known while the model is read."""
        item = self.item(number)
        if not isinstance(item, Known):
            raise self.error(f"input {number} must be a constant or computed from shapes")
        return item

    def integers(self, number: int, name: str = "") -> tuple[Any, ...] | None:
        """Integers given as an input, or (in older opsets) as the attribute ``name``; None where they are left out."""
        if self.has(number):
            return self.known(number).integers
        given = self.attribute(name) if name else None
        return None if given is None else tuple(given)

    def number(self, number: int, default: Any = None) -> Any:
        """A constant of one element as a Python number; ``default`` where it is left out."""
        if not self.has(number):
            return default
        item = self.item(number)
        if isinstance(item, Known):
            (value,) = item.integers
            return value
        tensor = self.reader.value_of(item)
        if tensor is not None and tensor.size == 1:
            return tensor.numpy().reshape(()).astype("float64").item()
        raise self.error(f"input {number} must be a constant")

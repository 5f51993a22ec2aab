"""Specs: interned descriptions of a tensor's dtype, shape and strides. Equal specs are the same object, so that a
signature is a tuple of pointers."""

from __future__ import annotations

from typing import Any

from ..core.dtypes import DType
from ..core.shapes import Shape, check_count, size_of, strides_of
from ..graph.protocol import TensorType
from ..ops.op import state

__all__ = ["Spec", "spec_of"]


class Spec:
    """dtype, shape, and strides in elements."""

    __slots__ = ("contiguous", "dtype", "row", "shape", "strides", "type")

    def __init__(self, dtype: DType, shape: Shape, strides: tuple[Any, ...]):
        self.dtype, self.shape, self.strides = dtype, shape, strides
        self.type = TensorType(dtype, shape)
        self.contiguous = strides == strides_of(shape)
        self.row: Spec | None = None  # of x[i]

    def __repr__(self) -> str:
        return repr(self.type)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, known to be all numbers (a tensor that has a buffer has no symbolic sizes)."""
        return self.shape  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """Bytes of the elements (not of the span that strides cover)."""
        return int(size_of(self.shape)) * self.dtype.itemsize


_interned: dict[tuple[DType, Shape, tuple[Any, ...]], Spec] = {}


def spec_of(dtype: DType, shape: Shape, strides: tuple[Any, ...] | None = None) -> Spec:
    """The Spec; row-major unless strides are given. Every tensor has one, traced or not, so that a shape which 64 bits
    cannot count is found here.

    Raises:
        ShapeError: 2**63 or more elements.
    """
    if strides is None:
        strides = strides_of(shape)
    key = (dtype, shape, strides)
    found = _interned.get(key)
    if found is None:
        check_count(shape, op=state.trace.name if state.trace is not None else "")
        if len(_interned) > 200_000:  # a program that makes ever new shapes must not leak
            _interned.clear()
        found = _interned[key] = Spec(dtype, shape, strides)
    return found

"""Specs: interned descriptions of a tensor's dtype, shape, strides and device. Equal specs are the same object, so that
a signature is a tuple of pointers."""

from __future__ import annotations

from sys import getrefcount
from typing import Any

from ..core.device import CPU, Device
from ..core.dtypes import DType, float32
from ..core.shapes import Shape, check_count, is_static, size_of, strides_of
from ..core.symbolic import SymDim
from ..graph.protocol import TensorType
from ..ops.op import state


class Spec:
    """dtype, shape, strides in elements, and device."""

    __slots__ = (
        *("contiguous", "device", "dtype", "extent", "is_floating", "is_static", "number", "overlaps", "row"),
        *("shape", "strides", "type"),
    )

    def __init__(self, dtype: DType, shape: Shape, strides: tuple[Any, ...], device: Device):
        self.dtype, self.shape, self.strides, self.device = dtype, shape, strides, device
        # Equal where a Python number becomes the same tensor beside this one.
        self.number: Any = dtype if device is CPU else (dtype, device)
        self.type = TensorType(dtype, shape)
        self.is_static = static = is_static(shape)
        self.contiguous = strides == strides_of(shape) or (static and 0 in shape)
        self.is_floating = dtype.is_floating
        self.row: Spec | None = None  # of x[i]
        self.extent = 0  # bytes from the first element to the end of the last
        self.overlaps = False  # whether several elements lie in one place
        if static and self.contiguous:
            self.extent = self.nbytes
        elif static:
            self._measure()

    def _measure(self) -> None:
        """Find out how far strided elements reach, and whether they lie on top of each other. (An order of the axes in
        which each stride steps over all that the axes below it reach is what shows that they do not; every view of
        row-major memory has one, except for windows that slide and for what is repeated.)"""
        axes = sorted((s, n) for n, s in zip(self.static_shape, self.strides, strict=True) if n != 1)
        if 0 in self.shape:
            return
        reach = 1
        for step, size in axes:
            self.overlaps |= step < reach
            reach += step * (size - 1)
        self.extent = reach * self.dtype.itemsize

    def __repr__(self) -> str:
        return repr(self.type) if self.device is CPU else self.placed

    @property
    def placed(self) -> str:
        """Type and device, for messages: ``float32[2, 3] on cpu``."""
        return f"{self.type!r} on {self.device}"

    def is_like(self, other: Spec) -> bool:
        """Whether the other has the same dtype and shape, on the same device."""
        return self.type == other.type and self.device is other.device

    def dense(self) -> Spec:
        """The same, row-major."""
        return self if self.contiguous else spec_of(self.dtype, self.shape, None, self.device)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape, known to be all numbers (a tensor that has a buffer has no symbolic sizes)."""
        return self.shape  # type: ignore[return-value]

    @property
    def nbytes(self) -> int:
        """Bytes of the elements (not of the span that strides cover)."""
        return int(size_of(self.shape)) * self.dtype.itemsize


_interned: dict[tuple[DType, Shape, tuple[Any, ...], Device], Spec] = {}


_limit = [50_000]  # specs, after which those that nobody has are looked for


def _forget_unused() -> None:
    """Forget the specs that only the table has: a program that makes ever new shapes must not leak. What somebody has
    stays: equal specs are one object."""
    lone = _references([(None, Spec(float32, (), (), CPU))])[0]
    pairs = list(_interned.items())
    counts = _references(pairs)
    while pairs:
        key, _ = pairs.pop()
        if counts.pop() <= lone + 1:  # the table
            _interned.pop(key, None)
    _limit[0] = max(50_000, 2 * len(_interned))


def _references(pairs: list[tuple[Any, Spec]]) -> list[int]:
    return [getrefcount(spec) for _, spec in pairs]


def spec_of(dtype: DType, shape: Shape, strides: tuple[Any, ...] | None = None, device: Device = CPU) -> Spec:
    """The Spec; row-major unless strides are given. Every tensor has one, traced or not, so that a shape which 64 bits
    cannot count is found here.

    Raises:
        ShapeError: 2**63 or more elements.
    """
    if strides is None:
        strides = strides_of(shape)
    key = (dtype, shape, strides, device)
    found = _interned.get(key)
    if found is None:
        scope = next((n.scope for n in shape if isinstance(n, SymDim)), None)
        if scope is not None and key in scope.interned:
            return scope.interned[key]
        check_count(shape, op=state.trace.name if state.trace is not None else "")
        if len(_interned) >= _limit[0]:
            _forget_unused()
        table = _interned if scope is None else scope.interned
        found = table[key] = Spec(dtype, shape, strides, device)
    return found

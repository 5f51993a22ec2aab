"""Inputs of programs: tensors with any strides, in memory whose other bytes are looked after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weft.core import dtypes as dt
from weft.graph.protocol import TensorType
from weft.runtime import storage

CANARY = 0xA5


class Strided:
    """An input: elements at any strides in a block of memory whose other bytes are canaries."""

    def __init__(self, values: np.ndarray[Any, Any], strides: Sequence[int]):
        self.strides = tuple(strides)
        last = sum((n - 1) * s for n, s in zip(values.shape, strides, strict=True)) if values.size else -1
        self.block = np.full(((last + 4) * values.itemsize,), CANARY, np.uint8)
        self.array = np.lib.stride_tricks.as_strided(
            self.block.view(values.dtype), values.shape, [s * values.itemsize for s in strides]
        )
        self.array[...] = values
        self.storage = storage.wrap(self.block.ctypes.data, self.block.nbytes, self.block)

    def written(self, values: np.ndarray[Any, Any]) -> bytes:
        """What the block is with ``values`` in it."""
        return Strided(values, self.strides).block.tobytes()


def laid_out(shape: Sequence[int], order: Sequence[int], steps: Sequence[int]) -> tuple[int, ...]:
    """Strides without overlaps: axes in memory in some order, with gaps."""
    strides, step = [0] * len(shape), 1
    for axis, gap in zip(order, steps, strict=False):
        strides[axis] = step * gap
        step *= max(shape[axis], 1) * gap
    return tuple(strides)


def type_of(array: np.ndarray[Any, Any]) -> TensorType:
    names = {"bool": "bool_"}
    return TensorType(getattr(dt, names.get(array.dtype.name, array.dtype.name)), array.shape)


def storages_of(found: Any) -> list[Any]:
    return [] if found is None else list(found) if isinstance(found, tuple) else [found]

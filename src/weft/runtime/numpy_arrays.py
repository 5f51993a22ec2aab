"""NumPy arrays in and out of Storage, without copies where NumPy's memory is such that kernels can read it.

A kernel needs native byte order, aligned elements and strides that are whole elements; an array that lacks one of
these is copied on its way in. Strides here count elements, as everywhere in weft.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import DTypeError
from . import storage as storages

if TYPE_CHECKING:
    import numpy as np

    from .storage import Storage

__all__ = ["Strided", "contiguous_strides", "from_numpy", "to_numpy"]


class Strided(NamedTuple):
    """Elements of a Storage: index (i, j, ...) lies at element ``offset + i * strides[0] + j * strides[1] + ...``."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType
    offset: int = 0


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in elements.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, size = [], 1
    for extent in reversed(shape):
        strides.append(size)
        size *= max(extent, 1)
    return tuple(reversed(strides))


def to_numpy(
    storage: Storage, shape: tuple[int, ...], dtype: DType, strides: tuple[int, ...] | None = None, offset: int = 0
) -> np.ndarray[Any, Any]:
    """A NumPy array over elements of ``storage``, which it keeps alive. Read-only, and cannot be made writable.

    Args:
        shape, strides, offset: in elements; strides default to C-contiguous, and may be 0 or negative.
        dtype: of the elements.

    Raises:
        ValueError: elements that do not lie inside the storage.
    """
    import numpy as np

    size = dtype.itemsize
    steps = contiguous_strides(shape) if strides is None else strides
    return np.ndarray(
        shape, dtype.numpy, memoryview(storages.read_only(storage)), offset * size, tuple(step * size for step in steps)
    )


def from_numpy(array: np.ndarray[Any, Any]) -> Strided:
    """The elements of ``array`` as a Storage window on its memory, which stays alive and shared; copied where it must.

    A NumPy number is copied: it has no memory that it could lend, and the address that it gives is a temporary's.

    Raises:
        DTypeError: a dtype that weft does not have, or a masked array with masked elements.
    """
    import numpy as np

    if type(array) is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise DTypeError("a masked array: a tensor has no mask; array.filled(value) says what stands there")
        array = np.asarray(array)  # an array's own memory under NumPy's own type; memory for what is no array
    dtype = _dtype_of(array.dtype)
    size = dtype.itemsize
    flags = array.flags
    if not (array.dtype.isnative and flags.aligned) or any(step % size for step in array.strides):
        array = array.astype(dtype.numpy, order="C")
        flags = array.flags
    shape = array.shape
    if not array.size:
        return Strided(storages.empty(0), shape, contiguous_strides(shape), dtype)
    address = array.__array_interface__["data"][0]
    if flags.c_contiguous:
        return Strided(storages.wrap(address, array.nbytes, array), shape, contiguous_strides(shape), dtype)
    strides = tuple(step // size for step in array.strides)
    before, after = reach(shape, strides)
    window = storages.wrap(address - before * size, (before + after + 1) * size, array)
    return Strided(window, shape, strides, dtype, before)


_dtype_of = cache(dtypes.from_numpy)  # of a NumPy dtype; 5 us without the cache


def reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """How many elements before and after element (0, 0, ...) the elements of an array lie; no extent is 0."""
    ends = [(extent - 1) * step for extent, step in zip(shape, strides, strict=True)]
    return -sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)

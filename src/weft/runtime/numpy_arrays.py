"""NumPy arrays in and out of Storage, without copies where NumPy's memory is such that a tensor can lie in it.

A tensor needs native byte order, aligned elements and strides that are whole elements and not negative (its Storage
begins with its first element); an array that lacks one of these is copied on its way in, or refused. Shared memory may
be written on both sides unless the lender says that it must not: then it is read-only on the other side too. Strides
here count elements, as everywhere in weft.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError
from ..core.shapes import strides_of
from . import storage as storages

if TYPE_CHECKING:
    import numpy as np

    from .storage import Storage


class Strided(NamedTuple):
    """Elements of a Storage: index (i, j, ...) lies at element ``i * strides[0] + j * strides[1] + ...``."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType


def to_numpy(
    storage: Storage, shape: tuple[int, ...], dtype: DType, strides: tuple[int, ...] | None = None, offset: int = 0
) -> np.ndarray[Any, Any]:
    """A NumPy array over elements of ``storage``, which it keeps alive. Over read-only memory it is read-only, and
    cannot be made writable.

    Args:
        shape, strides, offset: in elements; strides default to C-contiguous, and may be 0 or negative.
        dtype: of the elements.

    Raises:
        ValueError: elements that do not lie inside the storage.
    """
    import numpy as np

    size = dtype.itemsize
    steps = strides_of(shape) if strides is None else strides
    buffer: Any = storage  # NumPy's stubs list the types of buffers by name
    return np.ndarray(shape, dtype.numpy, buffer, offset * size, tuple([step * size for step in steps]))


def from_numpy(array: np.ndarray[Any, Any], copy: bool | None = None) -> Strided:
    """The elements of ``array`` as a Storage window on its memory, which stays alive and shared; the window is
    read-only where the array is.

    Args:
        copy: True: always into memory of their own; None: where they cannot be shared; False: never.

    A NumPy number is always copied: it has no memory that it could lend.

    Raises:
        DTypeError: a dtype that weft does not have, or a masked array with masked elements.
        ArgumentError: ``copy=False``, and the memory cannot be shared.
    """
    import numpy as np

    if type(array) is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise DTypeError("a masked array: a tensor has no mask; array.filled(value) says what stands there")
        array = np.asarray(array)  # an array's own memory under NumPy's own type; memory for what is no array
    dtype = _dtype_of(array.dtype)
    shape = array.shape
    if not copy:
        obstacle = _obstacle(array)
        if not (obstacle or array.flags.c_contiguous):
            strides, span, obstacle = layout(shape, array.strides, dtype.itemsize)
        if copy is False and obstacle:
            raise ArgumentError(f"an array with {obstacle} cannot be shared; wf.asarray(array) copies it")
    if copy or obstacle:
        block = storages.empty(array.size * dtype.itemsize)
        own = np.frombuffer(memoryview(block), np.uint8, array.size * dtype.itemsize).view(dtype.numpy).reshape(shape)
        own[...] = array
        return Strided(block, shape, strides_of(shape), dtype)
    flags = array.flags
    if flags.c_contiguous:
        strides, span = strides_of(shape), array.size
    if not span:
        return Strided(storages.empty(0), shape, strides, dtype)
    window = storages.wrap(array.__array_interface__["data"][0], span * dtype.itemsize, array)
    return Strided(window if flags.writeable else storages.read_only(window), shape, strides, dtype)


def _obstacle(array: np.ndarray[Any, Any]) -> str:
    """Why a tensor cannot have an array's elements, as ``layout`` says it of strides."""
    if not array.dtype.isnative:
        return f"elements in foreign byte order ({array.dtype.str})"
    return "" if array.flags.aligned else "elements that are not aligned"


_dtype_of = cache(dtypes.from_numpy)  # of a NumPy dtype; 5 us without the cache


def layout(shape: tuple[int, ...], steps: tuple[int, ...], unit: int) -> tuple[tuple[int, ...], int, str]:
    """Strides of a tensor for steps of ``unit`` per element, and how many elements they span; else why there are none,
    to stand behind "with".

    Nobody walks along an axis of one element, so it has no stride that is wrong.

    >>> layout((2, 1, 3), (8, -1, 16), 8)
    ((1, 0, 2), 6, '')
    >>> layout((2,), (-8,), 8)
    ((), 0, 'negative strides (-8,)')
    """
    strides, span = [], 1
    for extent, step in zip(shape, steps, strict=True):
        stride, rest = divmod(step, unit)
        if extent < 2:
            stride = max(stride, 0)
        elif step < 0:
            return (), 0, f"negative strides {steps}"
        elif rest:
            return (), 0, f"strides {steps} that are no multiples of the element's {unit} bytes"
        strides.append(stride)
        span += (extent - 1) * stride
    return tuple(strides), span, ""

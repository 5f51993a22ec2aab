"""NumPy in and out: the same memory wherever kernels can read it, the same values always."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weft.core import dtypes
from weft.core.errors import ArgumentError, DTypeError
from weft.core.shapes import strides_of
from weft.runtime import storage
from weft.runtime.numpy_arrays import Strided, from_numpy, to_numpy


def back(strided: Strided) -> np.ndarray[Any, Any]:
    return to_numpy(strided.storage, strided.shape, strided.dtype, strided.strides)


@st.composite
def sliced_arrays(draw: Any) -> np.ndarray[Any, Any]:
    """Arrays of 0 to 4 axes, some sliced, flipped, transposed or broadcast."""
    base = np.arange(7 * 5 * 4 * 3, dtype=draw(st.sampled_from(["i4", "f8", "u1", "f2"]))).reshape(7, 5, 4, 3)
    array = base[draw(hnp.basic_indices(base.shape, allow_ellipsis=False))]
    if draw(st.booleans()):
        array = array.T
    if draw(st.booleans()):
        array = np.broadcast_to(array, (2, *array.shape))
    return np.asarray(array)


@few(33, 300, sliced_arrays())
def test_there_and_back_is_the_same_memory(array: np.ndarray[Any, Any]) -> None:
    strided = from_numpy(array)
    again = back(strided)
    assert again.dtype == array.dtype and np.array_equal(again, array) and again.shape == array.shape
    assert min(strided.strides, default=0) >= 0
    if not array.size:
        return
    if any(step < 0 for step, extent in zip(array.strides, array.shape) if extent > 1):
        assert not np.shares_memory(again, array) and again.flags.c_contiguous and again.flags.writeable
        with pytest.raises(ArgumentError, match="negative strides"):
            from_numpy(array, copy=False)
        return
    assert strided.storage.address == again.ctypes.data == array.ctypes.data
    assert all(a == b for a, b, extent in zip(again.strides, array.strides, array.shape) if extent > 1)
    assert again.flags.writeable == array.flags.writeable is not strided.storage.is_read_only
    assert from_numpy(array, copy=False).storage.address == array.ctypes.data


@few(33, 300, sliced_arrays())
def test_a_copy_is_contiguous_and_can_be_written(array: np.ndarray[Any, Any]) -> None:
    strided = from_numpy(array, copy=True)
    again = back(strided)
    assert np.array_equal(again, array) and strided.strides == strides_of(array.shape)
    assert again.flags.writeable and not np.shares_memory(again, array)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
def test_every_dtype(dtype: dtypes.DType) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)
    strided = from_numpy(array)
    assert strided.dtype is dtype and strided.strides == (3, 1) and strided.storage.address == array.ctypes.data
    assert np.array_equal(back(strided), array)


def test_the_window_spans_exactly_the_elements() -> None:
    array = np.arange(20.0)[3:18:3]
    strided = from_numpy(array)
    assert strided.storage.nbytes == 8 * 13 and strided.strides == (3,)
    assert strided.storage.address == array.ctypes.data


def test_axes_of_one_element_do_not_matter() -> None:
    array = np.arange(20.0).reshape(4, 5)
    odd = np.lib.stride_tricks.as_strided(array, (1, 2, 1, 3), (-3, 40, 5, 8))
    strided = from_numpy(odd, copy=False)
    assert strided.storage.address == array.ctypes.data and strided.strides[1::2] == (5, 1)
    assert min(strided.strides) >= 0 and np.array_equal(back(strided), odd)


def test_arrays_that_kernels_cannot_read_are_copied() -> None:
    swapped = np.arange(5, dtype=">i4")
    misaligned = np.frombuffer(bytearray(41), np.uint8)[1:].view(np.float64)
    field = np.zeros(4, np.dtype([("a", "i2"), ("b", "i4")], align=False))["b"]
    for array in (swapped, misaligned, field):
        strided = from_numpy(array)
        low, high = strided.storage.address, strided.storage.address + strided.storage.nbytes
        assert not low <= array.ctypes.data < high
        assert np.array_equal(back(strided), array) and back(strided).dtype.isnative
    for array, text in ((swapped, "foreign byte order"), (misaligned, "not aligned"), (field, "not aligned|multiples")):
        with pytest.raises(ArgumentError, match=text):
            from_numpy(array, copy=False)


def test_the_array_lives_as_long_as_its_window() -> None:
    array = np.arange(10.0)
    watch = weakref.ref(array)
    strided = from_numpy(array)
    del array
    gc.collect()
    assert watch() is not None and back(strided).tolist() == list(range(10))
    del strided
    gc.collect()
    assert watch() is None


def test_what_comes_out_can_be_written_where_the_memory_can() -> None:
    block = storage.copy_of(np.arange(4.0))
    array = to_numpy(block, (2,), dtypes.float64, (2,), 1)
    assert array.flags.writeable
    array[:] = 7
    assert np.frombuffer(bytes(block)).tolist() == [0, 7, 2, 7]
    memoryview(block).cast("d")[1] = 5
    assert array.tolist() == [5, 7]
    fixed = to_numpy(storage.read_only(block), (4,), dtypes.float64)
    for each in (fixed, fixed[1:], fixed.view(np.int64)):
        assert not each.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            each.flags.writeable = True


def test_the_block_lives_as_long_as_the_array() -> None:
    block = storage.copy_of(np.arange(4.0))
    watch = weakref.ref(block)
    array = to_numpy(block, (2, 2), dtypes.float64)
    del block
    assert watch() is not None and array.tolist() == [[0, 1], [2, 3]]
    del array
    assert watch() is None


def test_elements_outside_raise() -> None:
    block = storage.empty(32)
    for shape, strides, offset in (((5,), None, 0), ((4,), None, 1), ((4,), (-1,), 2), ((2, 2), (3, 1), 1)):
        with pytest.raises((ValueError, TypeError)):
            to_numpy(block, shape, dtypes.float64, strides, offset)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4, 0)])
def test_no_elements(shape: tuple[int, ...]) -> None:
    strided = from_numpy(np.zeros(shape))
    assert strided.shape == shape and back(strided).shape == shape
    assert strided.strides == strides_of(shape)


def test_dtypes_that_weft_lacks_raise() -> None:
    for array in (np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros(2, ml_dtypes.float8_e4m3fn)):
        with pytest.raises(DTypeError):
            from_numpy(array)

"""DLPack: the same memory on both sides, released once, both protocols, and clear refusals."""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from weft.core import dtypes
from weft.core.errors import ArgumentError, DeviceError, DTypeError
from weft.runtime import memory, storage
from weft.runtime.dlpack import DEVICE, from_dlpack, to_dlpack
from weft.runtime.numpy_arrays import Strided, from_numpy, to_numpy


class Producer:
    """What a Tensor will be to its peers."""

    def __init__(self, strided: Strided, old: bool = False, device: int = DEVICE[0]):
        self.strided, self.old, self.device = strided, old, device

    def __dlpack__(self, **options: Any) -> Any:
        if self.old and options:
            raise TypeError("__dlpack__() got an unexpected keyword argument")
        return to_dlpack(*self.strided, max_version=options.get("max_version"))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (self.device, 0)


def back(strided: Strided) -> np.ndarray[Any, Any]:
    return to_numpy(strided.storage, strided.shape, strided.dtype, strided.strides)


ARRAYS = {
    "plain": np.arange(12.0).reshape(3, 4),
    "steps": np.arange(24, dtype=np.int32).reshape(4, 6)[1::2, ::2].T,
    "scalar": np.array(3, np.uint16),
    "empty": np.zeros((0, 5), np.int8),
    "broadcast": np.broadcast_to(np.arange(3.0), (2, 3)),
}
NUMPY_DTYPES = [d for d in dtypes.ALL if d is not dtypes.bfloat16]


@pytest.mark.parametrize("old", [False, True], ids=["versioned", "old"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_numpy_reads_our_memory(array: np.ndarray[Any, Any], old: bool) -> None:
    strided = from_numpy(array if array.flags.writeable else array.copy())
    array = back(strided)
    capsule = to_dlpack(*strided, max_version=None if old else (1, 0))
    assert ('"dltensor"' if old else '"dltensor_versioned"') in repr(capsule)
    peer = np.from_dlpack(Producer(strided, old=old))
    assert np.array_equal(peer, array) and peer.dtype == array.dtype
    assert not array.size or (peer.ctypes.data == array.ctypes.data and peer.strides == array.strides)


@pytest.mark.parametrize("dtype", NUMPY_DTYPES, ids=lambda d: d.name)
def test_every_dtype_there_and_back(dtype: dtypes.DType) -> None:
    strided = from_numpy(np.array([0, 1, 1]).astype(dtype.numpy))
    for old in (False, True):
        assert np.from_dlpack(Producer(strided, old=old)).dtype == dtype.numpy
        again = from_dlpack(Producer(strided, old=old))
        assert again.dtype is dtype and again.storage.address == strided.storage.address
        assert back(again).tolist() == back(strided).tolist()


def test_bfloat16_there_and_back() -> None:
    block = storage.copy_of(np.array([0x3F80, 0x4000], np.uint16))
    again = from_dlpack(Producer(Strided(block, (2,), (1,), dtypes.bfloat16)))
    assert again.dtype is dtypes.bfloat16 and back(again).astype(float).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_we_read_numpys_memory(array: np.ndarray[Any, Any]) -> None:
    strided = from_dlpack(array)
    assert np.array_equal(back(strided), array)
    assert not array.size or back(strided).ctypes.data == array.ctypes.data
    assert not array.size or strided.storage.is_read_only is not array.flags.writeable


@pytest.mark.parametrize("max_version", [None, (0, 8), (1, 0), (1, 2), (2, 0)])
def test_the_consumer_chooses_the_protocol(max_version: tuple[int, int] | None) -> None:
    capsule = to_dlpack(storage.empty(8), (1,), None, dtypes.float64, max_version=max_version)
    versioned = max_version is not None and max_version >= (1, 0)
    assert ("versioned" in repr(capsule)) == versioned


@pytest.mark.parametrize("max_version", [None, (1, 0)], ids=["old", "versioned"])
def test_a_capsule_that_nobody_takes_lets_go(max_version: Any, fresh_memory: None) -> None:
    before = memory.stats().current
    block = storage.empty(64)
    watch = weakref.ref(block)
    capsule = to_dlpack(block, (8,), None, dtypes.float64, max_version=max_version)
    del block
    assert watch() is not None
    del capsule
    assert watch() is None and memory.stats().current == before


@pytest.mark.parametrize("old", [False, True], ids=["versioned", "old"])
def test_our_memory_lives_as_long_as_the_peer(old: bool, fresh_memory: None) -> None:
    before = memory.stats().current
    block = storage.copy_of(np.arange(8.0))
    watch = weakref.ref(block)
    peer = np.from_dlpack(Producer(Strided(block, (8,), (1,), dtypes.float64), old=old))
    del block
    gc.collect()
    assert watch() is not None and peer.tolist() == list(range(8))
    del peer
    gc.collect()
    assert watch() is None and memory.stats().current == before


def test_the_peers_memory_is_released_once() -> None:
    array = np.arange(8.0)
    watch = weakref.ref(array)
    strided = from_dlpack(array)
    view = storage.view(strided.storage, 8, 8)
    del array
    gc.collect()
    del strided
    gc.collect()
    assert watch() is not None and np.frombuffer(view).tolist() == [1.0]
    del view
    gc.collect()
    assert watch() is None


def test_a_capsule_is_taken_once() -> None:
    capsule = to_dlpack(storage.empty(8), (1,), None, dtypes.float64)
    kept = from_dlpack(capsule)
    assert '"used_dltensor"' in repr(capsule)
    with pytest.raises(BufferError, match="nobody has taken yet"):
        from_dlpack(capsule)
    del capsule
    assert kept.storage.nbytes == 8


def test_read_only_memory_needs_the_new_protocol() -> None:
    strided = from_numpy(np.arange(3.0))
    assert np.from_dlpack(Producer(strided)).flags.writeable
    fixed = storage.read_only(strided.storage)
    assert not np.from_dlpack(Producer(strided._replace(storage=fixed))).flags.writeable
    for consumer in (None, (0, 8)):
        with pytest.raises(BufferError, match=r"DLPack 1.0"):
            to_dlpack(fixed, (3,), None, dtypes.float64, max_version=consumer)


def flags_of(capsule: Any) -> int:
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )(capsule, b"dltensor_versioned")
    return ctypes.c_uint64.from_address(pointer + 24).value


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_flags_of_the_new_protocol(read_only: bool, copied: bool) -> None:
    block = storage.read_only(storage.empty(8)) if read_only else storage.empty(8)
    capsule = to_dlpack(block, (1,), None, dtypes.float64, max_version=(1, 0), copied=copied)
    assert flags_of(capsule) == read_only + 2 * copied
    if copied:
        with pytest.raises(ArgumentError, match="lent a copy"):
            from_dlpack(capsule, copy=False)
    else:
        assert from_dlpack(capsule, copy=False).storage.is_read_only is read_only


@pytest.mark.parametrize("old", [False, True], ids=["versioned", "old"])
def test_what_is_copied_is_the_consumers_own(old: bool) -> None:
    block = storage.copy_of(np.arange(6.0))
    for source in (block, block if old else storage.read_only(block)):
        strided = from_dlpack(Producer(Strided(source, (2,), (3,), dtypes.float64), old), copy=True)
        assert back(strided).tolist() == [0, 3] and not strided.storage.is_read_only
        assert not block.address <= strided.storage.address < block.address + block.nbytes


def test_negative_strides_are_copied_or_refused() -> None:
    array = np.arange(6.0)
    strided = from_dlpack(array[::-2])
    assert strided.strides == (1,) and back(strided).tolist() == [5, 3, 1]
    with pytest.raises(ArgumentError, match=r"negative strides \(-2,\)"):
        from_dlpack(array[::-2], copy=False)
    one = from_dlpack(array[2:3][::-1], copy=False)
    assert one.storage.address == array.ctypes.data + 16 and one.strides[0] >= 0


def test_other_devices_raise() -> None:
    with pytest.raises(DeviceError, match="device type 2"):
        from_dlpack(Producer(from_numpy(np.zeros(1)), device=2))


def test_what_is_not_dlpack_raises() -> None:
    with pytest.raises(BufferError, match="got list"):
        from_dlpack([1, 2])
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        ("PyCapsule_New", ctypes.pythonapi)
    )
    with pytest.raises(BufferError, match="expected a capsule named dltensor"):
        from_dlpack(new(4096, b"other", None))


def test_dtypes_that_weft_lacks_raise_and_release() -> None:
    array = np.zeros(3, complex)
    watch = weakref.ref(array)
    with pytest.raises(DTypeError, match="type code 5 with 128 bits"):
        from_dlpack(array)
    del array
    gc.collect()
    assert watch() is None


def test_versions_from_the_future_raise_and_release() -> None:
    block = storage.empty(8)
    watch = weakref.ref(block)
    capsule = to_dlpack(block, (1,), None, dtypes.float64, max_version=(1, 0))
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )(capsule, b"dltensor_versioned")
    ctypes.c_uint32.from_address(pointer).value = 2
    with pytest.raises(BufferError, match=r"DLPack 2.0 is newer"):
        from_dlpack(capsule)
    del block, capsule
    assert watch() is None


def test_misaligned_memory_is_copied() -> None:
    block = storage.copy_of(b"\0" + np.arange(3.0).tobytes())
    capsule = to_dlpack(storage.view(block, 1, 24), (3,), None, dtypes.float64)
    strided = from_dlpack(capsule)
    assert strided.storage.address % 8 == 0 and back(strided).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentError, match="not aligned"):
        from_dlpack(to_dlpack(storage.view(block, 1, 24), (3,), None, dtypes.float64), copy=False)


def test_a_deleter_may_run_without_the_gil_in_another_thread() -> None:
    """As PyTorch does it from its own threads: the deleter takes the GIL itself."""
    block = storage.empty(64)
    watch = weakref.ref(block)
    capsule = to_dlpack(block, (8,), None, dtypes.float64)
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
    managed = get(capsule, b"dltensor")
    name = ctypes.create_string_buffer(b"used_dltensor")
    rename(capsule, ctypes.addressof(name) and name.value)
    del block
    deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.c_void_p.from_address(managed + 56).value or 0)
    thread = threading.Thread(target=deleter, args=(managed,))  # a CFUNCTYPE call runs without the GIL
    thread.start()
    thread.join()
    assert watch() is None


# ---------------------------------------------------------------------------------------------------- PyTorch


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
def test_torch_there_and_back(dtype: dtypes.DType) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([[0, 1, 0], [1, 1, 0]]).to(getattr(torch, dtype.name))
    for source in (tensor, tensor.T, tensor[:, 1], tensor.expand(4, 2, 3)):
        strided = from_dlpack(source)
        assert strided.dtype is dtype and strided.shape == tuple(source.shape)
        assert strided.storage.address == source.data_ptr()
        assert back(strided).tolist() == source.tolist()
        for old in (False, True):
            again = torch.from_dlpack(Producer(strided, old=old))
            assert again.data_ptr() == source.data_ptr() and torch.equal(again, source)
            assert again.dtype == source.dtype


def test_torch_holds_our_memory_and_lets_go() -> None:
    torch = pytest.importorskip("torch")
    block = storage.copy_of(np.arange(8.0))
    watch = weakref.ref(block)
    tensor = torch.from_dlpack(Producer(Strided(block, (8,), (1,), dtypes.float64)))
    del block
    half = tensor[4:]
    del tensor
    assert watch() is not None and half.tolist() == [4, 5, 6, 7]
    del half
    assert watch() is None

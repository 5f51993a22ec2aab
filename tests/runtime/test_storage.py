"""Storage: lifetimes of blocks, windows and owners; bounds; the buffer protocol."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.runtime import memory, storage


class Owner:
    """Something whose end can be watched."""


def test_a_block_is_aligned_and_of_its_size() -> None:
    for nbytes in (0, 1, 63, 64, 65, 1000, 1 << 20, (1 << 20) + 1):
        block = storage.empty(nbytes)
        assert block.address % 64 == 0 and block.nbytes == nbytes and block.owner is None


def test_repr_names_size_and_address() -> None:
    block = storage.empty(12)
    assert repr(block) == f"<Storage of 12 bytes at {block.address:#x}>"


def test_storage_is_made_by_its_functions_only() -> None:
    with pytest.raises(TypeError, match="cannot create"):
        storage.Storage()
    with pytest.raises(AttributeError):
        storage.empty(8).address = 0


def test_numpy_sees_the_same_bytes() -> None:
    block = storage.empty(32)
    array = np.ndarray((4,), np.int64, buffer=block)
    array[:] = [1, -2, 3, 4]
    assert array.ctypes.data == block.address
    assert np.frombuffer(bytes(block), np.int64).tolist() == [1, -2, 3, 4]


def test_numpy_keeps_the_block_alive(fresh_memory: None) -> None:
    block = storage.empty(64)
    watch = weakref.ref(block)
    before = memory.stats().current
    array = np.ndarray((8,), np.int64, buffer=block)
    del block
    assert watch() is not None
    del array
    assert watch() is None and memory.stats().current == before - 64


def test_a_window_keeps_its_owner_and_lets_go_once() -> None:
    owner = Owner()
    watch = weakref.ref(owner)
    count = sys.getrefcount(owner)
    first = storage.wrap(4096, 16, owner)
    second = storage.view(first, 8, 8)
    assert first.owner is owner and second.owner is owner and second.address == 4104
    assert sys.getrefcount(owner) == count + 2
    del first
    assert sys.getrefcount(owner) == count + 1
    del owner
    assert watch() is not None
    del second
    assert watch() is None


def test_a_view_of_a_view_refers_to_the_root() -> None:
    root = storage.empty(256)
    middle = storage.view(root, 64, 128)
    last = storage.view(middle, 32, 16)
    assert last.owner is root and last.address == root.address + 96
    watch = weakref.ref(middle)
    del middle
    assert watch() is None


def test_memory_is_reused_only_after_the_last_view(fresh_memory: None) -> None:
    block = storage.empty(640)
    address, view = block.address, storage.view(block, 0, 8)
    del block
    assert storage.empty(640).address != address
    del view
    assert storage.empty(640).address == address


@given(st.integers(0, 100), st.integers(-5, 120), st.integers(-5, 120))
def test_a_view_lies_inside_or_raises(size: int, offset: int, nbytes: int) -> None:
    root = storage.empty(size)
    if min(offset, nbytes) >= 0 and offset + nbytes <= size:
        assert storage.view(root, offset, nbytes).address == root.address + offset
    else:
        with pytest.raises(ValueError, match=rf"cannot take {nbytes} bytes from offset {offset} of {size}"):
            storage.view(root, offset, nbytes)


def test_huge_offsets_do_not_wrap_around() -> None:
    root = storage.empty(64)
    with pytest.raises(ValueError, match="cannot take"):
        storage.view(root, 8, (1 << 63) - 1)
    with pytest.raises(OverflowError):
        storage.view(root, 1 << 64, 8)


def test_wrong_arguments_raise() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        storage.empty(-1)
    with pytest.raises(ValueError, match="-1 bytes"):
        storage.wrap(0, -1, None)
    with pytest.raises(TypeError, match="takes 3 arguments, got 2"):
        storage.view(storage.empty(8), 0)
    with pytest.raises(TypeError, match=r"view\(\) argument 0 must be a weft Storage, not <class 'bytes'>"):
        storage.view(b"12345678", 0, 8)
    with pytest.raises(TypeError):
        storage.empty("8")
    with pytest.raises(TypeError):
        storage.wrap("8", 8, None)


def test_an_owner_that_fails_to_die_quietly_is_not_our_problem() -> None:
    seen = []

    class Loud:
        def __del__(self) -> None:
            seen.append(storage.empty(64).nbytes)  # allocates while a window is being freed

    window = storage.wrap(4096, 8, Loud())
    del window
    gc.collect()
    assert seen == [64]


@pytest.mark.parametrize("data", [b"", b"abc", bytearray(b"xyz"), np.arange(6.0).reshape(2, 3)])
def test_copy_of_copies(data: object) -> None:
    block = storage.copy_of(data)
    assert bytes(block) == bytes(memoryview(data)) and block.owner is None


def test_a_read_only_window_and_its_views_cannot_be_written() -> None:
    block = storage.copy_of(b"abcdef")
    window = storage.read_only(block)
    for each in (window, storage.view(window, 1, 3), storage.read_only(storage.view(block, 1, 3))):
        assert memoryview(each).readonly and each.owner is block
    assert not memoryview(block).readonly and not memoryview(storage.view(block, 1, 3)).readonly
    with pytest.raises(TypeError, match="must be a weft Storage"):
        storage.read_only(b"abc")

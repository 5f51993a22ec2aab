"""Storage: lifetimes of blocks, windows and owners; families and their versions; bounds; the buffer protocol."""

from __future__ import annotations

import gc
import random
import sys
import threading
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


@pytest.mark.plain_memory
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
    assert first.owner is owner and second.owner is first and second.address == 4104
    assert sys.getrefcount(owner) == count + 1
    del first, owner
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


def test_a_tail_is_the_view_to_the_end() -> None:
    root = storage.copy_of(bytes(range(100)))
    for base in (root, storage.view(root, 10, 50), storage.read_only(root)):
        for offset in (0, 1, 13, base.nbytes):
            part = storage.tail(base, offset)
            assert bytes(part) == bytes(base)[offset:] and part.address == base.address + offset
            assert part.owner is root and part is not base and part.is_read_only == base.is_read_only
        for offset in (-1, base.nbytes + 1, 1 << 62):
            with pytest.raises(ValueError, match=rf"offset {offset} is outside of {base.nbytes} bytes"):
                storage.tail(base, offset)
    with pytest.raises(TypeError, match="takes 2 arguments, got 1"):
        storage.tail(root)
    with pytest.raises(TypeError, match="must be a weft Storage"):
        storage.tail(b"", 0)
    with pytest.raises(TypeError):
        storage.tail(root, "1")
    with pytest.raises(OverflowError):
        storage.tail(root, 1 << 64)


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
    assert window.is_read_only and not block.is_read_only and not storage.view(block, 1, 3).is_read_only
    assert not memoryview(block).readonly and not memoryview(storage.view(block, 1, 3)).readonly
    with pytest.raises(TypeError, match="must be a weft Storage"):
        storage.read_only(b"abc")


WINDOWS = {
    "view": lambda base: storage.view(base, 0, base.nbytes),
    "tail": lambda base: storage.tail(base, min(1, base.nbytes)),
    "read_only": storage.read_only,
    "unshared": storage.unshared,
    "wrap": lambda base: storage.wrap(base.address, base.nbytes, base),
}


@pytest.mark.parametrize("kind", WINDOWS)
def test_who_is_a_root(kind: str) -> None:
    block = storage.empty(64)
    assert block.root is block
    window = WINDOWS[kind](block)
    own = kind in ("unshared", "wrap")
    assert window.root is (window if own else block) and window.owner is block
    further = storage.tail(storage.view(window, 0, 32), 1)
    assert further.root is window.root and further.owner is window.root


@pytest.mark.parametrize("kind", WINDOWS)
def test_a_window_keeps_its_root_and_its_lender(kind: str) -> None:
    owner = Owner()
    lender, block = weakref.ref(owner), storage.wrap(4096, 64, owner)
    root, middle = weakref.ref(block), WINDOWS[kind](block)
    window = storage.tail(middle, 8)
    count = sys.getrefcount(block)
    again = WINDOWS[kind](block)
    assert sys.getrefcount(block) == count + 1
    del block, owner, middle, again
    assert root() is not None and lender() is not None
    del window
    assert root() is None and lender() is None


def test_roots_are_not_referred_to_by_themselves() -> None:
    """A root is its own ``root`` without a reference to itself, which nobody would ever drop."""
    for made in (storage.empty(8), storage.unshared(storage.empty(8)), storage.wrap(4096, 8, None)):
        count = sys.getrefcount(made)
        root = made.root
        assert root is made
        del root
        after = sys.getrefcount(made)
        assert after == count


@given(st.randoms(use_true_random=False))
def test_versions_and_marks_are_the_roots(draw: random.Random) -> None:
    """Against a model: a number and a mark for each root, whichever member is asked."""
    members = [storage.empty(64)]
    numbers, marks, notes = [0], [False], [None]  # of each family
    family = [0]  # of each member
    for step in range(60):
        at = draw.randrange(len(members))
        member, of = members[at], family[at]
        action = draw.choice(("window", "save", "wrote", "wrote", "note"))
        if action == "window":
            kind = draw.choice(sorted(WINDOWS))
            members.append(WINDOWS[kind](member))
            if kind in ("unshared", "wrap"):
                numbers.append(0), marks.append(False), notes.append(None)
                family.append(len(numbers) - 1)
            else:
                family.append(of)
        elif action == "save":
            assert storage.save(member) == numbers[of]
            marks[of] = True
        elif action == "note":
            member.note = notes[of] = ("file.py", step)
        elif member.is_read_only:
            with pytest.raises(BufferError, match="read-only"):
                storage.wrote(member)
        else:
            assert storage.wrote(member) is marks[of]
            numbers[of], marks[of] = numbers[of] + 1, False
        for each, its in zip(members, family, strict=True):
            assert each.version == numbers[its] and each.note == notes[its]


def test_notes_are_freed() -> None:
    note, block = Owner(), storage.empty(8)
    watch, window = weakref.ref(note), storage.view(block, 0, 4)
    window.note = note
    del note
    assert block.note is watch() is not None
    block.note = None
    assert watch() is None and window.note is None
    for drop in ("replaced", "deleted", "with the root"):
        note = Owner()
        watch, block.note = weakref.ref(note), note
        del note
        assert watch() is not None
        if drop == "replaced":
            window.note = 1
        elif drop == "deleted":
            del window.note
            assert window.note is None
        else:
            del block
            assert watch() is not None
            del window
        assert watch() is None


def test_versions_and_roots_cannot_be_set() -> None:
    block = storage.empty(8)
    for name in ("version", "root", "owner", "is_read_only", "nbytes"):
        with pytest.raises(AttributeError):
            setattr(block, name, 1)
    for function in (storage.save, storage.wrote, storage.unshared):
        with pytest.raises(TypeError, match="must be a weft Storage"):
            function(b"abc")


def test_unshared_memory_is_the_same_memory() -> None:
    block = storage.copy_of(b"abcdef")
    apart = storage.unshared(storage.view(block, 2, 3))
    assert bytes(apart) == b"cde" and not apart.is_read_only
    memoryview(apart)[0] = ord("x")
    assert bytes(block) == b"abxdef"
    fixed = storage.unshared(storage.read_only(block))
    assert fixed.is_read_only and memoryview(fixed).readonly and storage.tail(fixed, 1).is_read_only
    with pytest.raises(BufferError, match="read-only"):
        storage.wrote(fixed)


def test_writes_of_several_threads_are_all_counted() -> None:
    block = storage.empty(64)

    def work() -> None:
        for offset in range(2000):
            storage.save(block)
            storage.wrote(storage.tail(block, offset % 64))
            block.note = ("file.py", offset)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert block.version == 8000 and block.note == ("file.py", 1999)

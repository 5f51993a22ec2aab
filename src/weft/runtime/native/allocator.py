"""The caching allocator.

Blocks come in size classes: multiples of 64 bytes up to 1 KiB, then eight classes per power of two, so that at most
an eighth of a block is waste. Class ``c`` has a free list, threaded through the first word of its free blocks.

    class_of(n) = 8 * (k - 9) + ((n - 1) >> (k - 3)),  k = max(9, floor(log2(n - 1)))
    bytes_of(c) = (8 + c % 8 + 1) << (c / 8 + 5)  for c >= 8;  (c + 1) << 6 below

Blocks below ``LARGE`` come from posix_memalign (64-byte aligned), larger ones from mmap at a 2 MiB boundary with
MADV_HUGEPAGE where there is one: a fresh 64 MiB block costs 32 page faults instead of 16384.

What lives for one call (:func:`lendable`: a program's arena) takes a free block of up to eight times its size. Arenas
of fifty lengths of a sequence are then one block; fresh pages for each of their classes are a second of page faults.
Not any larger one: a block counts as a whole, and whom it would fit (in another thread, in Python code that the call
runs) finds it taken.

All state is guarded by the GIL: every entry point is called with it held, so there is no lock. ``in_use`` and
``cached`` count whole blocks. What came from the system is ``in_use + cached``; it never exceeds ``limit``, nor
twice the peak of ``in_use`` plus ``CACHE_SLACK``: before it would, all cached blocks are given back.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import cold, function, static
from ...llvm.text import (
    I64,
    Integers,
    Pointers,
    Ptr,
    Value,
    at,
    at_most,
    below,
    break_,
    cast,
    counted,
    else_,
    field_names,
    if_,
    is_null,
    local,
    loop,
    return_,
    return_if,
    select,
    structure,
    to_integer,
    to_pointer,
)
from . import UNLIMITED
from .cpython import PyLong_FromLongLong, PyTuple_New, PyTuple_SetItem, builtin, filled, new_none
from .system import ctlz, free, madvise, mmap, munmap, posix_memalign, smax, system, umax, umin

LARGE = 1 << 20
CACHE_SLACK = 256 << 20
HUGE_PAGE = 2 << 20
LENT = 8 * 3  # classes, eight for each doubling, by which a block that is lent may be too large
CLASSES = 8 * (47 - 9) + 8  # one more than the class of the largest block, of 2**47 bytes

Allocator = Annotated[
    Value,
    structure("Allocator", in_use=I64, peak=I64, cached=I64, allocations=I64, system_allocations=I64, limit=I64),
]
allocator = static("allocator", Allocator, (0, 0, 0, 0, 0, UNLIMITED))
free_lists = static("free_lists", Ptr, count=CLASSES)


@function
def class_of(nbytes: I64) -> I64:
    """The class of the smallest blocks that hold so many bytes; CLASSES or more where there is none."""
    last = umax(nbytes, 1) - 1
    k = smax(63 - ctlz(last, False), 9)
    return ((k - 9) << 3) + (last >> (k - 3))


def bytes_of(size_class: Value) -> Value:
    """The size of a class's blocks."""
    large = ((size_class & 7) + 9) << ((size_class >> 3) + 5)
    return select(below(size_class, 8), (size_class + 1) << 6, large)


@function
def map_pages(nbytes: I64) -> Ptr:
    """Anonymous memory whose address is a multiple of 2 MiB, or null. ``nbytes`` is a multiple of the page size: map
    2 MiB more than asked for, and give back what lies before the first boundary and after the end."""
    mapping = mmap(None, nbytes + HUGE_PAGE, 3, system().map_private_anonymous, -1, 0)
    start = to_integer(mapping)
    return_if(start == -1)
    aligned = (start + (HUGE_PAGE - 1)) & -HUGE_PAGE
    head = aligned - start
    with if_(head != 0):
        munmap(mapping, head)
    munmap(to_pointer(aligned + nbytes), HUGE_PAGE - head)
    block = to_pointer(aligned)
    advice = system().huge_pages
    if advice is not None:
        madvise(block, nbytes, advice)
    return block


@function
def system_allocate(nbytes: I64) -> Ptr:
    """A block of exactly so many bytes from the system, or null."""
    allocator.system_allocations += 1
    with if_(~below(nbytes, LARGE)):
        return_(map_pages(nbytes))
    block = local(Ptr)
    failed = posix_memalign(block, 64, nbytes)
    return select(failed == 0, block.value, None)


@function
def system_free(block: Ptr, nbytes: I64) -> None:
    """Give a block of so many bytes back to the system."""
    with if_(below(nbytes, LARGE)):
        free(block)
    with else_():
        munmap(block, nbytes)


@function
def flush_cache() -> None:
    """Give every cached block back to the system."""
    for size_class in counted(CLASSES):
        free_list, nbytes = at(free_lists, size_class), bytes_of(size_class)
        with loop():
            with if_(is_null(free_list.value)):
                break_()
            system_free(pop(free_list), nbytes)
    allocator.cached = 0


def pop(head: Value) -> Value:
    """Take the first of a list that is threaded through the first words of its items, and is not empty."""
    first = head.value
    head.value = cast(Pointers, first)[0]
    return first


def push(head: Value, item: Value) -> None:
    """Put an item in front of such a list."""
    cast(Pointers, item)[0] = head.value
    head.value = item


@cold
def grow(nbytes: I64) -> Ptr:
    """A block of so many bytes from the system, within the limit; null when there is none to be had."""
    limit = allocator.limit
    used_after = allocator.in_use + nbytes
    bound = umax((allocator.peak << 1) + CACHE_SLACK, used_after)
    with if_(at_most(used_after + allocator.cached, umin(bound, limit))):
        block = system_allocate(nbytes)
        return_if(~is_null(block), block)
        flush_cache()
    with else_():
        flush_cache()
        return_if(~at_most(used_after, limit))
    return system_allocate(nbytes)


@function
def allocate(size_class: I64) -> Ptr:
    """A block of a class, 64-byte aligned; null when there is no such class, or the limit or the system refuses."""
    return_if(~below(size_class, CLASSES))
    nbytes = bytes_of(size_class)
    free_list = at(free_lists, size_class)
    block = local(Ptr, free_list.value)
    with if_(is_null(block.value)):
        block.value = grow(nbytes)
        return_if(is_null(block.value))
    with else_():
        pop(free_list)
        allocator.cached -= nbytes
    used = allocator.in_use + nbytes
    allocator.in_use = used
    allocator.peak = umax(allocator.peak, used)
    allocator.allocations += 1
    return block.value


@function
def lendable(size_class: I64) -> I64:
    """The class to allocate from what lives for one call: of a large block, the first that has a free one, from the
    class of its size on and up to LENT further."""
    return_if(below(bytes_of(size_class), LARGE), size_class)
    found, end = local(I64, size_class), umin(size_class + (LENT + 1), CLASSES)
    with loop():
        with if_(~below(found.value, end)):
            break_()
        return_if(~is_null(at(free_lists, found.value).value), found.value)
        found.value += 1
    return size_class


@function
def release(block: Ptr, size_class: I64) -> None:
    """Give a block back: to its free list, or to the system while more than the limit is held."""
    nbytes = bytes_of(size_class)
    used = allocator.in_use
    allocator.in_use = used - nbytes
    with if_(~at_most(used + allocator.cached, allocator.limit)):
        system_free(block, nbytes)
    with else_():
        push(at(free_lists, size_class), block)
        allocator.cached += nbytes


# ---------------------------------------------------------------------------------------------------- builtins


@builtin
def memory_stats() -> Ptr:
    """(in use, peak, cached, allocations, system allocations, limit)"""
    counters = cast(Integers, allocator)
    count = len(field_names(Allocator))
    return filled(PyTuple_New(count), PyTuple_SetItem, count, lambda i: PyLong_FromLongLong(counters[i]))


@builtin
def memory_reset_peak() -> Ptr:
    """Let the peak begin anew at what is in use."""
    allocator.peak = allocator.in_use
    return new_none()


@builtin
def memory_empty_cache() -> Ptr:
    """Give all cached blocks back to the system."""
    flush_cache()
    return new_none()


@builtin
def memory_set_limit(limit: I64) -> Ptr:
    """Bytes that may be held, in use and cached together."""
    allocator.limit = limit
    with if_(~at_most(allocator.in_use + allocator.cached, limit)):
        flush_cache()
    return new_none()

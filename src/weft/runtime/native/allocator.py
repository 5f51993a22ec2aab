"""IR: the caching allocator.

Blocks come in size classes: multiples of 64 bytes up to 1 KiB, then eight classes per power of two, so that at most
an eighth of a block is waste. Class ``c`` has a free list, threaded through the first word of its free blocks.

    class_of(n) = 8 * (k - 9) + ((n - 1) >> (k - 3)),  k = max(9, floor(log2(n - 1)))
    bytes_of(c) = (8 + c % 8 + 1) << (c / 8 + 5)  for c >= 8;  (c + 1) << 6 below

Blocks below ``LARGE`` come from posix_memalign (64-byte aligned), larger ones from mmap at a 2 MiB boundary with
MADV_HUGEPAGE where there is one: a fresh 64 MiB block costs 32 page faults instead of 16384.

All state is guarded by the GIL: every entry point is called with it held, so there is no lock. ``in_use`` and
``cached`` count whole blocks. What came from the system is ``in_use + cached``; it never exceeds ``limit``, nor
twice the peak of ``in_use`` plus ``CACHE_SLACK``: before it would, all cached blocks are given back.
"""

from __future__ import annotations

__all__ = ["BUILTINS", "TEXT"]

BUILTINS = {
    "memory_stats": ("none", "(in use, peak, cached, allocations, system allocations, limit)"),
    "memory_reset_peak": ("none", "Let the peak begin anew at what is in use."),
    "memory_empty_cache": ("none", "Give all cached blocks back to the system."),
    "memory_set_limit": ("one", "Bytes that may be held, in use and cached together."),
}

TEXT = r"""
%Allocator = type { i64, i64, i64, i64, i64, i64 }  ; in use, peak, cached, allocations, system allocations, limit
@allocator = internal global %Allocator { i64 0, i64 0, i64 0, i64 0, i64 0, i64 $UNLIMITED }
@in_use = internal alias i64, ptr @allocator
@peak = internal alias i64, getelementptr (%Allocator, ptr @allocator, i64 0, i32 1)
@cached = internal alias i64, getelementptr (%Allocator, ptr @allocator, i64 0, i32 2)
@allocations = internal alias i64, getelementptr (%Allocator, ptr @allocator, i64 0, i32 3)
@system_allocations = internal alias i64, getelementptr (%Allocator, ptr @allocator, i64 0, i32 4)
@limit = internal alias i64, getelementptr (%Allocator, ptr @allocator, i64 0, i32 5)
@free_lists = internal global [$CLASSES x ptr] zeroinitializer

define internal i64 @class_of(i64 %nbytes) {
  %at_least_one = call i64 @llvm.umax.i64(i64 %nbytes, i64 1)
  %last = sub i64 %at_least_one, 1
  %zeros = call i64 @llvm.ctlz.i64(i64 %last, i1 false)
  %log = sub i64 63, %zeros
  %k = call i64 @llvm.smax.i64(i64 %log, i64 9)
  %shift = sub i64 %k, 3
  %step = lshr i64 %last, %shift
  %group = sub i64 %k, 9
  %first = shl i64 %group, 3
  %class = add i64 %first, %step
  ret i64 %class
}

define internal i64 @bytes_of(i64 %class) {
  %small = icmp ult i64 %class, 8
  %group = lshr i64 %class, 3
  %place = and i64 %class, 7
  %eighths = add i64 %place, 9
  %shift = add i64 %group, 5
  %large_bytes = shl i64 %eighths, %shift
  %next = add i64 %class, 1
  %small_bytes = shl i64 %next, 6
  %bytes = select i1 %small, i64 %small_bytes, i64 %large_bytes
  ret i64 %bytes
}

; Anonymous memory whose address is a multiple of 2 MiB, or null. `nbytes` is a multiple of the page size: map 2 MiB
; more than asked for, and give back what lies before the first boundary and after the end.
define internal ptr @map_pages(i64 %nbytes) {
  %padded = add i64 %nbytes, $HUGE_PAGE
  %mapping = call ptr @mmap(ptr null, i64 %padded, i32 3, i32 $MAP_FLAGS, i32 -1, i64 0)
  %start = ptrtoint ptr %mapping to i64
  %failed = icmp eq i64 %start, -1
  br i1 %failed, label %refused, label %trim
trim:
  %over = add i64 %start, $HUGE_PAGE_MASK
  %aligned = and i64 %over, $HUGE_PAGE_INVERSE
  %head = sub i64 %aligned, %start
  %has_head = icmp ne i64 %head, 0
  br i1 %has_head, label %trim_head, label %trim_tail
trim_head:
  %head_failed = call i32 @munmap(ptr %mapping, i64 %head)
  br label %trim_tail
trim_tail:
  %tail = sub i64 $HUGE_PAGE, %head
  %end = add i64 %aligned, %nbytes
  %end_pointer = inttoptr i64 %end to ptr
  %tail_failed = call i32 @munmap(ptr %end_pointer, i64 %tail)
  %block = inttoptr i64 %aligned to ptr
  $ADVISE_HUGE_PAGES
  ret ptr %block
refused:
  ret ptr null
}

define internal ptr @system_allocate(i64 %bytes) {
  %out = alloca ptr
  %count = load i64, ptr @system_allocations
  %count_after = add i64 %count, 1
  store i64 %count_after, ptr @system_allocations
  %is_large = icmp uge i64 %bytes, $LARGE
  br i1 %is_large, label %large, label %small
large:
  %mapped = call ptr @map_pages(i64 %bytes)
  ret ptr %mapped
small:
  %failed = call i32 @posix_memalign(ptr %out, i64 64, i64 %bytes)
  %good = icmp eq i32 %failed, 0
  %pointer = load ptr, ptr %out
  %block = select i1 %good, ptr %pointer, ptr null
  ret ptr %block
}

define internal void @system_free(ptr %block, i64 %bytes) {
  %is_large = icmp uge i64 %bytes, $LARGE
  br i1 %is_large, label %large, label %small
large:
  %failed = call i32 @munmap(ptr %block, i64 %bytes)
  ret void
small:
  call void @free(ptr %block)
  ret void
}

; Give every cached block back to the system.
define internal void @flush_cache() {
entry:
  br label %class_loop
class_loop:
  %class = phi i64 [ 0, %entry ], [ %next_class, %class_done ]
  %list = getelementptr ptr, ptr @free_lists, i64 %class
  %bytes = call i64 @bytes_of(i64 %class)
  br label %block_loop
block_loop:
  %block = load ptr, ptr %list
  %none = icmp eq ptr %block, null
  br i1 %none, label %class_done, label %drop
drop:
  %next = load ptr, ptr %block
  store ptr %next, ptr %list
  call void @system_free(ptr %block, i64 %bytes)
  br label %block_loop
class_done:
  %next_class = add i64 %class, 1
  %more = icmp ult i64 %next_class, $CLASSES
  br i1 %more, label %class_loop, label %done
done:
  store i64 0, ptr @cached
  ret void
}

; A block of `bytes` from the system, within the limit; null when there is none to be had.
define internal ptr @grow(i64 %bytes) noinline {
  %used = load i64, ptr @in_use
  %idle = load i64, ptr @cached
  %limit = load i64, ptr @limit
  %peak = load i64, ptr @peak
  %used_after = add i64 %used, %bytes
  %held_after = add i64 %used_after, %idle
  %twice = shl i64 %peak, 1
  %bound = add i64 %twice, $CACHE_SLACK
  %bound_or_need = call i64 @llvm.umax.i64(i64 %bound, i64 %used_after)
  %allowed = call i64 @llvm.umin.i64(i64 %bound_or_need, i64 %limit)
  %over = icmp ugt i64 %held_after, %allowed
  br i1 %over, label %flush, label %first_try
flush:
  call void @flush_cache()
  %within = icmp ule i64 %used_after, %limit
  br i1 %within, label %last_try, label %refused
first_try:
  %block = call ptr @system_allocate(i64 %bytes)
  %got = icmp ne ptr %block, null
  br i1 %got, label %done, label %flush_and_retry
flush_and_retry:
  call void @flush_cache()
  br label %last_try
last_try:
  %last = call ptr @system_allocate(i64 %bytes)
  ret ptr %last
done:
  ret ptr %block
refused:
  ret ptr null
}

; A block of at least `nbytes`, 64-byte aligned, and its class; {null, _} when the limit or the system refuses.
define internal { ptr, i64 } @allocate(i64 %nbytes) {
  %absurd = icmp ugt i64 %nbytes, $LARGEST
  br i1 %absurd, label %refused, label %look
look:
  %class = call i64 @class_of(i64 %nbytes)
  %bytes = call i64 @bytes_of(i64 %class)
  %list = getelementptr ptr, ptr @free_lists, i64 %class
  %head = load ptr, ptr %list
  %empty = icmp eq ptr %head, null
  br i1 %empty, label %miss, label %hit
hit:
  %next = load ptr, ptr %head
  store ptr %next, ptr %list
  %idle = load i64, ptr @cached
  %idle_after = sub i64 %idle, %bytes
  store i64 %idle_after, ptr @cached
  br label %count
miss:
  %fresh = call ptr @grow(i64 %bytes)
  %none = icmp eq ptr %fresh, null
  br i1 %none, label %refused, label %count
count:
  %block = phi ptr [ %head, %hit ], [ %fresh, %miss ]
  %used = load i64, ptr @in_use
  %used_after = add i64 %used, %bytes
  store i64 %used_after, ptr @in_use
  %peak = load i64, ptr @peak
  %peak_after = call i64 @llvm.umax.i64(i64 %peak, i64 %used_after)
  store i64 %peak_after, ptr @peak
  %calls = load i64, ptr @allocations
  %calls_after = add i64 %calls, 1
  store i64 %calls_after, ptr @allocations
  %with_block = insertvalue { ptr, i64 } undef, ptr %block, 0
  %result = insertvalue { ptr, i64 } %with_block, i64 %class, 1
  ret { ptr, i64 } %result
refused:
  ret { ptr, i64 } zeroinitializer
}

; Give a block back: to its free list, or to the system while more than the limit is held.
define internal void @release(ptr %block, i64 %class) {
  %bytes = call i64 @bytes_of(i64 %class)
  %used = load i64, ptr @in_use
  %idle = load i64, ptr @cached
  %limit = load i64, ptr @limit
  %used_after = sub i64 %used, %bytes
  store i64 %used_after, ptr @in_use
  %held = add i64 %used, %idle
  %over = icmp ugt i64 %held, %limit
  br i1 %over, label %free, label %keep
keep:
  %list = getelementptr ptr, ptr @free_lists, i64 %class
  %head = load ptr, ptr %list
  store ptr %head, ptr %block
  store ptr %block, ptr %list
  %idle_after = add i64 %idle, %bytes
  store i64 %idle_after, ptr @cached
  ret void
free:
  call void @system_free(ptr %block, i64 %bytes)
  ret void
}

; Set OutOfMemoryError for a request of `nbytes`; the text is made by memory.py.
define internal void @raise_out_of_memory(i64 %nbytes) noinline {
  %number = call ptr @PyLong_FromLongLong(i64 %nbytes)
  %failed = icmp eq ptr %number, null
  br i1 %failed, label %done, label %raise
raise:
  %hook = load ptr, ptr @py_raise_out_of_memory
  %result = call ptr @PyObject_CallOneArg(ptr %hook, ptr %number)
  call void @Py_DecRef(ptr %number)
  br label %done
done:
  ret void
}

; ---- builtins ----

; memory_stats() -> (in use, peak, cached, allocations, system allocations, limit)
define internal ptr @memory_stats(ptr %self, ptr %ignored) {
entry:
  %tuple = call ptr @PyTuple_New(i64 6)
  %failed = icmp eq ptr %tuple, null
  br i1 %failed, label %done, label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %stored ]
  %at = getelementptr i64, ptr @allocator, i64 %i
  %value = load i64, ptr %at
  %number = call ptr @PyLong_FromLongLong(i64 %value)
  %none = icmp eq ptr %number, null
  br i1 %none, label %drop, label %stored
stored:
  %ignore = call i32 @PyTuple_SetItem(ptr %tuple, i64 %i, ptr %number)
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, 6
  br i1 %more, label %loop, label %done
drop:
  call void @Py_DecRef(ptr %tuple)
  ret ptr null
done:
  ret ptr %tuple
}

; memory_reset_peak() -> None
define internal ptr @memory_reset_peak(ptr %self, ptr %ignored) {
  %used = load i64, ptr @in_use
  store i64 %used, ptr @peak
  %none = call ptr @new_none()
  ret ptr %none
}

; memory_empty_cache() -> None
define internal ptr @memory_empty_cache(ptr %self, ptr %ignored) {
  call void @flush_cache()
  %none = call ptr @new_none()
  ret ptr %none
}

; memory_set_limit(nbytes) -> None
define internal ptr @memory_set_limit(ptr %self, ptr %object) {
  %argument = call { i64, i1 } @int_argument(ptr %object)
  %good = extractvalue { i64, i1 } %argument, 1
  br i1 %good, label %set, label %bad
set:
  %limit = extractvalue { i64, i1 } %argument, 0
  store i64 %limit, ptr @limit
  %used = load i64, ptr @in_use
  %idle = load i64, ptr @cached
  %held = add i64 %used, %idle
  %over = icmp ugt i64 %held, %limit
  br i1 %over, label %flush, label %done
flush:
  call void @flush_cache()
  br label %done
done:
  %none = call ptr @new_none()
  ret ptr %none
bad:
  ret ptr null
}
"""

"""Kernels of the ABI, small enough to check by eye, that the runtime's tests run."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from weft.llvm.assembly import assemble
from weft.llvm.elf import CodeModule, load
from weft.llvm.targets import host_target
from weft.runtime import memory, pool

KERNELS = """
declare i32 @usleep(i32)

; out[u] = in[u] + ints[0] for int64 elements; also writes all over its scratch's first page
define i64 @add(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) {
  %in = load ptr, ptr %bufs
  %out_at = getelementptr ptr, ptr %bufs, i64 1
  %out = load ptr, ptr %out_at
  %step = load i64, ptr %ints
  br label %loop
loop:
  %u = phi i64 [ %begin, %0 ], [ %next, %loop ]
  %in_at = getelementptr i64, ptr %in, i64 %u
  %x = load i64, ptr %in_at
  %y = add i64 %x, %step
  %place = and i64 %u, 511
  %scratch_at = getelementptr i64, ptr %scratch, i64 %place
  store volatile i64 %y, ptr %scratch_at
  %again = load volatile i64, ptr %scratch_at
  %place_out = getelementptr i64, ptr %out, i64 %u
  store i64 %again, ptr %place_out
  %next = add i64 %u, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i64 0
}

; out[u] = address of the scratch that unit u was computed with, after ints[0] microseconds
define i64 @where(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) {
  %out = load ptr, ptr %bufs
  %delay = load i64, ptr %ints
  %delay32 = trunc i64 %delay to i32
  %slept = call i32 @usleep(i32 %delay32)
  br label %loop
loop:
  %u = phi i64 [ %begin, %0 ], [ %next, %loop ]
  %at = getelementptr ptr, ptr %out, i64 %u
  store ptr %scratch, ptr %at
  %next = add i64 %u, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i64 0
}

; status bits: ints[u] of each unit, OR-ed
define i64 @report(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) {
  br label %loop
loop:
  %u = phi i64 [ %begin, %0 ], [ %next, %loop ]
  %bits = phi i64 [ 0, %0 ], [ %all, %loop ]
  %at = getelementptr i64, ptr %ints, i64 %u
  %bit = load i64, ptr %at
  %all = or i64 %bits, %bit
  %next = add i64 %u, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i64 %all
}
"""


@pytest.fixture(scope="session")
def kernels() -> CodeModule:
    """Machine code with the symbols add, where and report."""
    return load(assemble(KERNELS, host_target()))


@pytest.fixture
def restored_pool() -> Iterator[None]:
    """The number of threads is what it was before."""
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


@pytest.fixture
def fresh_memory() -> Iterator[None]:
    """Nothing cached, no young garbage and no limit, before and after. What is old is set aside while a test runs
    (tests/conftest.py): to look through it takes more than a second in a process that has run thousands of tests."""
    gc.collect(1)
    memory.set_limit(None)
    memory.empty_cache()
    memory.reset_peak()
    yield
    memory.set_limit(None)
    memory.empty_cache()

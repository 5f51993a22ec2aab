"""Where workers run: not on the CPU of the thread that they work for.

Linux wakes a thread where it ran last, or on the CPU of whoever wakes it, and looks for an idle one only among those
that share a cache with that. Where CPUs share none, as those of many virtual machines, a worker and its caller stay on
one CPU for seconds while the other is idle, and the worker comes when the caller has done all the work. So each worker
says where it goes to sleep (``sleeps_on``). A caller that is about to wake one that sleeps on its own CPU takes this
CPU out of the worker's mask, wakes it, and puts it back in: the worker begins on another of those that it may run on,
and the system may move it as before. So nothing stays pinned, and masks that a user has chosen hold: a worker that may
run on that CPU alone is left where it is. On a busy machine the system may bring them together again and again, so a
caller does so at most once in ``PAUSE`` nanoseconds.

Only Linux has such masks; elsewhere nothing is done. All but :func:`note_cpu` is done by the thread that has the pool.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ...llvm.module import cold, extern, function, static, variable
from ...llvm.text import (
    FALSE,
    I1,
    I32,
    I64,
    TRUE,
    Ptr,
    Value,
    at,
    atomic_load,
    atomic_store,
    below,
    constant,
    counted,
    if_,
    local,
    return_,
    return_if,
    stack_array,
    zero_extend,
)
from .system import now

MAX_THREADS = 512
PAUSE = 1_000_000
WORDS = 16  # of a mask: 1,024 CPUs, as the C library's own have; on larger machines workers stay where they are
HAS_MASKS = sys.platform == "linux"

sched_getcpu = extern(I32, "sched_getcpu")
pthread_getaffinity_np = extern(I32, "pthread_getaffinity_np", I64, I64, Ptr)
pthread_setaffinity_np = extern(I32, "pthread_setaffinity_np", I64, I64, Ptr)

threads = static("threads", I64, count=MAX_THREADS)  # workers, by their numbers
sleeps_on = static("sleeps_on", I64, count=MAX_THREADS)
is_moved = static("is_moved", I64, count=MAX_THREADS)
looked = variable("looked", I64)
moves = variable("moves", I64)  # so many there were


@function
def this_cpu() -> I64:
    return zero_extend(sched_getcpu(), I64)


def note_cpu(worker: Value) -> None:
    """Note that this worker, which is running, is about to sleep here."""
    if HAS_MASKS:
        atomic_store(at(sleeps_on, worker), this_cpu(), "monotonic")


def is_near(worker: Value, cpu: Value) -> Value:
    """Whether it sleeps on this CPU, as far as is known."""
    return atomic_load(at(sleeps_on, worker), "monotonic") == cpu


@function
def change_mask(worker: I64, cpu: I64, allow: I1) -> I1:
    """Put a CPU into a worker's mask, or take it out, unless it is the only one there; whether that was done."""
    mask = stack_array(I64, WORDS, align=16)
    return_if(pthread_getaffinity_np(threads[worker], constant(8 * WORDS), mask) != 0)
    bit, others = constant(1) << (cpu & 63), local(I64, 0)
    with if_(allow):
        mask[cpu >> 6] = mask[cpu >> 6] | bit
        return_(pthread_setaffinity_np(threads[worker], constant(8 * WORDS), mask) == 0)
    return_if((mask[cpu >> 6] & bit) == 0)
    mask[cpu >> 6] = mask[cpu >> 6] & ~bit
    for i in counted(WORDS):
        others.value |= mask[i]
    return_if(others.value == 0)
    return pthread_setaffinity_np(threads[worker], constant(8 * WORDS), mask) == 0


@cold
def send_away(workers: I64, cpu: I64) -> I64:
    """Let the workers that sleep on this CPU wake up elsewhere; how many there are."""
    found = local(I64, 0)
    return_if((now() - looked.value < PAUSE) | ~below(cpu, 64 * WORDS), found.value)
    looked.value = now()
    for i in counted(workers):
        with if_(is_near(i, cpu)), if_(change_mask(i, cpu, FALSE)):
            is_moved[i] = 1
            found.value += 1
    moves.value += found.value
    return found.value


@cold
def let_back(workers: I64, cpu: I64) -> None:
    """They are awake: let them come back, if the system wants to."""
    for i in counted(workers):
        with if_(is_moved[i] != 0):
            is_moved[i] = 0
            change_mask(i, cpu, TRUE)


@contextmanager
def elsewhere(workers: Value) -> Iterator[None]:
    """Those of so many workers that sleep where the caller runs, and are woken inside, wake up on another CPU."""
    if not HAS_MASKS:
        yield
        return
    cpu, moved = this_cpu(), local(I64, 0)
    for i in counted(workers):
        with if_(is_near(i, cpu)):
            moved.value = 1
    with if_(moved.value != 0):
        moved.value = send_away(workers, cpu)
    yield
    with if_(moved.value != 0):
        let_back(workers, cpu)

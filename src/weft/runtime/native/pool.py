"""The thread pool.

One job at a time: ``kernel(bufs, ints, begin, end, scratch)`` over ``units``, cut into ranges of ``chunk`` units that
the caller and the workers take from the atomic counter ``next``. Results do not depend on who takes what. Where the
caller watches for signals (signals.py), ranges of long kernels are shorter; while it looks, nobody is inside: the job
is closed, and what is left of it is another one.

``word`` is the state: generation (bits 32..63), OPEN (bit 31), STOP (bit 30), number of workers inside (bits 0..15).

- The caller fills in the job, then stores generation + 1 with OPEN. It computes ranges itself, clears OPEN when none
  is left, and waits until nobody is inside. So it never waits for a worker that has not been scheduled yet.
- A worker joins by a compare-and-swap of ``word`` to ``word + 1`` while OPEN is set, at most once a generation, and
  leaves by subtracting one.
- Both sides spin ``SPIN_NANOSECONDS`` before they sleep on a condition variable; with one core they do not spin. Who
  goes to sleep first says so (``sleepers``, ``caller_waits``), then looks at ``word`` again under the mutex; who
  changes ``word`` looks at these afterwards. All four accesses are sequentially consistent, so one of the two sees the
  other. While the pool is acquired, its caller is in the middle of a program, whose kernels may come one short of what
  is worth waking for: then a worker spins for up to ``AWAKE`` (``patience``), where each thread has a CPU of its own.

To wake a worker costs its caller 5 to 10 us, and it comes 20 to 50 us later. So where workers sleep, and the
estimate does not say already that a job is long, the caller computes the first range alone, and sees how long the rest
will take: less than WORTH nanoseconds it computes alone too. Jobs that follow each other within the time that workers
spin add up: from ENOUGH of them on, workers are woken for the next.

``busy``, ``workers`` and ``wanted`` are guarded by the GIL: a caller acquires the pool before it releases the GIL and
gives it back after it has it again. Who finds the pool busy computes alone. Workers never touch a Python object.
Who wakes workers has them run on other CPUs than its own (placement.py).
Each worker owns a scratch region that outlives it; callers take theirs from ``scratch_free``, also under the GIL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from ...llvm.module import cold, function, invoke, static, variable
from ...llvm.text import (
    FALSE,
    I1,
    I64,
    NULL,
    TRUE,
    Ptr,
    Value,
    at,
    atomic_load,
    atomic_store,
    atomic_update,
    below,
    break_,
    compare_exchange,
    constant,
    counted,
    else_,
    if_,
    is_null,
    local,
    loop,
    return_,
    return_if,
    select,
    stack_array,
    structure,
    to_integer,
    to_pointer,
    while_,
)
from . import SCRATCH_BYTES
from .allocator import map_pages, pop, push
from .cpython import PyErr_Format, PyLong_FromLongLong, PyThread_get_thread_ident, builtin, new_none, value_error
from .guards import fill_scratch
from .placement import MAX_THREADS, elsewhere, moves, note_cpu, threads
from .signals import RANGE, Watch, has_raised, is_due, is_ended, main_thread
from .system import (
    PTHREAD_WORDS,
    now,
    pause,
    pthread_attr_destroy,
    pthread_attr_init,
    pthread_attr_setstacksize,
    pthread_cond_broadcast,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_wait,
    pthread_create,
    pthread_join,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_unlock,
    pthread_sigmask,
    sigfillset,
    system,
    umax,
    umin,
)

STACK_BYTES = 8 << 20
WORTH, ENOUGH = 60_000, 500_000  # nanoseconds
AWAKE = 1_000_000  # nanoseconds that a worker spins while a program has the pool, whose next job may come any time
LONG = 100  # microseconds, as they are estimated: by a factor of 3 too many or too few
OPEN, STOP, INSIDE = 1 << 31, 1 << 30, 0xFFFF  # `word`
ENDED = 1 << 61  # the status of what a signal's handler has ended by an exception

word = variable("word", I64, align=128)
next_unit = variable("next", I64, align=128)
status = variable("status", I64, align=128)
sleepers = variable("sleepers", I64)
caller_waits = variable("caller_waits", I64)
Job = Annotated[
    Value,
    structure("Job", kernel=Ptr, bufs=Ptr, ints=Ptr, units=I64, chunk=I64, grain=I64, is_watched=I1),
]
job = static("job", Job, align=128)
# guarded by the GIL
busy = variable("busy", I1)
cpus = variable("cpus", I64)  # whose time is the process's alone
wanted = variable("wanted", I64, 1)
workers = variable("workers", I64)
spin = variable("spin", I64)  # nanoseconds
scratch_free = variable("scratch_free", Ptr)
shared = variable("shared", I64)  # jobs that workers could join
until = variable("until", I64)  # when a job that was computed alone while workers slept ended
alone = variable("alone", I64)  # nanoseconds of such jobs that have followed each other
patience = variable("patience", I64, align=128)  # nanoseconds that workers spin now at least; the caller writes it
worker_scratch = static("worker_scratch", Ptr, count=MAX_THREADS)
mutex, work_ready, work_done = (
    static(name, I64, count=PTHREAD_WORDS, align=64) for name in ("mutex", "work_ready", "work_done")
)


@function
def pool_initialise() -> None:
    pthread_mutex_init(mutex, None)
    pthread_cond_init(work_ready, None)
    pthread_cond_init(work_done, None)


@contextmanager
def locked() -> Iterator[None]:
    """What is written inside happens under the mutex."""
    pthread_mutex_lock(mutex)
    yield
    pthread_mutex_unlock(mutex)


# ---------------------------------------------------------------------------------------------------- scratch


@function
def take_scratch() -> Ptr:
    """A scratch region for a caller, or null; pages are only touched when a kernel uses them."""
    with if_(is_null(scratch_free.value)):
        return_(map_pages(SCRATCH_BYTES))
    scratch = pop(scratch_free)
    fill_scratch(scratch)
    return scratch


def give_scratch(scratch: Value) -> None:
    """Give such a region back."""
    push(scratch_free, scratch)


# ---------------------------------------------------------------------------------------------------- both sides


@function
def compute(scratch: Ptr, watch: Watch) -> I64:
    """Take ranges of the job until none is left, or the caller, whose watch it is, wants to look: then nobody takes
    any more. Where what is left begins; the number of units if nothing is."""
    kernel, bufs, ints, units, chunk, grain = job.kernel, job.bufs, job.ints, job.units, job.chunk, job.grain
    bits, range, left = local(I64, 0), local(I64, chunk), local(I64, units)
    is_watched = job.is_watched
    with if_(is_watched):
        range.value = first_range(chunk, grain)
    with loop():
        begin = atomic_update("add", next_unit, range.value, "monotonic")
        with if_(begin >= units):
            break_()
        before = local(I64)
        with if_(is_watched):
            before.value = now()
        bits.value |= invoke(kernel, I64, bufs, ints, begin, umin(begin + range.value, units), scratch)
        with if_(is_watched):
            range.value = next_range(range.value, now() - before.value, chunk, grain)
            with if_(is_due(watch)):
                left.value = umin(atomic_update("xchg", next_unit, units, "monotonic"), units)
                break_()
    atomic_update("or", status, bits.value, "monotonic")
    return left.value


@function
def first_range(chunk: I64, grain: I64) -> I64:
    """Units of the first range of a kernel that may be ended: a part of a chunk, to see how long it takes."""
    return umax(chunk // 16 // grain, 1) * grain


@function
def next_range(units: I64, elapsed: I64, chunk: I64, grain: I64) -> I64:
    """Units of the next range where so many took ``elapsed`` nanoseconds: a chunk, or fewer if that would take long."""
    with if_(below(elapsed, 1000)):
        return_(chunk)
    wanted = units * (constant(RANGE * 1000) // elapsed) // 1000
    return umin(umax(wanted // grain, 1) * grain, chunk)


@cold
def run_alone(kernel: Ptr, bufs: Ptr, ints: Ptr, units: I64, grain: I64, scratch: Ptr, watch: Watch) -> I64:
    """Run a kernel on this thread, range by range; its status bits, or ENDED."""
    bits, begin, range = local(I64, 0), local(I64, 0), local(I64, first_range(units, grain))
    with while_(lambda: begin.value < units):
        before, end = now(), umin(begin.value + range.value, units)
        bits.value |= invoke(kernel, I64, bufs, ints, begin.value, end, scratch)
        begin.value = end
        range.value = next_range(range.value, now() - before, units, grain)
        return_if(is_ended(watch), ENDED)
    return bits.value


def wait_until(
    arrived: Callable[[Value], Value],
    signal: Value,
    waiting: Callable[[int], object],
    sleeping: Callable[[], None] = lambda: None,
    at_least: Callable[[], Value] = lambda: constant(0),
) -> Value:
    """The word, once it shows what is waited for: spin for a while, then sleep until ``signal`` says to look again.
    ``waiting`` is told 1 before the first look under the mutex and 0 after the last one, ``sleeping`` each time that
    the thread is about to sleep. It spins ``at_least`` so many nanoseconds, whatever that is at the time."""
    found, pauses = local(I64), local(I64, 0)
    started, since, limit, asleep = now(), local(I64), spin.value, local(I1, False)
    since.value = started
    with loop():
        found.value = atomic_load(word, "seq_cst")
        with if_(arrived(found.value)):
            break_()
        with if_(below(pauses.value, 16)):
            pause()
            pauses.value += 1
            asleep.value = limit == 0
        with else_():  # time to look at the clock
            pauses.value = 0
            here = now()
            with if_(below(here - started, at_least())):
                since.value = here
            asleep.value = below(limit, here - since.value)
        with if_(asleep.value):
            break_()
    with if_(asleep.value), locked():
        waiting(1)
        with loop():
            found.value = atomic_load(word, "seq_cst")
            with if_(arrived(found.value)):
                break_()
            sleeping()
            pthread_cond_wait(signal, mutex)
        waiting(0)
    return found.value


# ---------------------------------------------------------------------------------------------------- workers


@function
def await_news(worker: I64, generation: I64) -> I64:
    """The word, once it shows a job that a worker whose last one was ``generation`` may join, or the order to stop."""

    def news(word: Value) -> Value:
        return (((word & OPEN) != 0) & ((word >> 32) != generation)) | ((word & STOP) != 0)

    def waiting(begins: int) -> None:
        atomic_update("add" if begins else "sub", sleepers, 1, "seq_cst")

    return wait_until(news, work_ready, waiting, lambda: note_cpu(worker), lambda: atomic_load(patience, "monotonic"))


@function
def leave() -> None:
    """Leave the job; the last one out wakes a caller that sleeps."""
    before = atomic_update("sub", word, 1, "seq_cst")
    with if_((before & INSIDE) == 1), if_(atomic_load(caller_waits, "seq_cst") != 0), locked():
        pthread_cond_broadcast(work_done)


@function
def worker_main(number: Ptr) -> Ptr:
    worker, generation = to_integer(number), local(I64, -1)
    scratch = worker_scratch[worker]
    with loop():
        seen = await_news(worker, generation.value)
        with if_((seen & STOP) != 0):
            break_()
        with if_(compare_exchange(word, seen, seen + 1)):
            generation.value = seen >> 32
            compute(scratch, None)
            leave()
    return NULL


@function
def start_worker(i: I64) -> I1:
    """Start a worker, with all signals blocked (they belong to Python's threads). False when the system refuses."""
    attributes, every, mask = (stack_array(I64, PTHREAD_WORDS, align=16) for _ in range(3))
    scratch = at(worker_scratch, i)
    with if_(is_null(scratch.value)):
        scratch.value = map_pages(SCRATCH_BYTES)
        return_if(is_null(scratch.value))
    pthread_attr_init(attributes)
    pthread_attr_setstacksize(attributes, STACK_BYTES)
    sigfillset(every)
    pthread_sigmask(system().sig_setmask, every, mask)
    error = pthread_create(at(threads, i), attributes, worker_main.address, to_pointer(i))
    pthread_sigmask(system().sig_setmask, mask, None)
    pthread_attr_destroy(attributes)
    return error == 0


@function
def start_workers() -> None:
    """Start workers until there are wanted - 1, or the system refuses one."""
    with while_(lambda: workers.value < wanted.value - 1):
        return_if(~start_worker(workers.value))
        workers.value += 1


@function
def stop_workers() -> None:
    """End all workers and wait for them. The pool must be acquired or idle."""
    atomic_update("or", word, STOP, "seq_cst")
    with locked():
        pthread_cond_broadcast(work_ready)
    out = local(Ptr)
    with while_(lambda: workers.value > 0):
        workers.value -= 1
        pthread_join(threads[workers.value], out)
    atomic_update("and", word, ~STOP, "seq_cst")


# ---------------------------------------------------------------------------------------------------- the caller


@function
def pool_acquire() -> I1:
    """True when the pool is now this thread's: it is not busy and more than one thread is wanted. GIL held."""
    return_if(busy.value | (wanted.value <= 1))
    with if_(workers.value >= wanted.value):
        stop_workers()
    start_workers()
    busy.value = workers.value > 0
    with if_(busy.value & (wanted.value <= cpus.value)):
        atomic_store(patience, AWAKE, "monotonic")
    return busy.value


def pool_give_back() -> None:
    """Let another thread acquire the pool."""
    atomic_store(patience, 0, "monotonic")
    busy.value = FALSE


@function
def wake_workers(count: I64) -> None:
    """Wake up to ``count`` sleeping workers."""
    asleep = atomic_load(sleepers, "seq_cst")
    return_if(asleep == 0)
    with elsewhere(workers.value), locked():
        with if_(count < asleep):
            for _ in counted(count):
                pthread_cond_signal(work_ready)
        with else_():
            pthread_cond_broadcast(work_ready)


@function
def await_workers() -> None:
    """Wait until no worker is inside."""

    def waiting(begins: int) -> None:
        atomic_store(caller_waits, begins, "seq_cst")

    wait_until(lambda word: (word & INSIDE) == 0, work_done, waiting)


def chunk_of(units: Value, grain: Value) -> Value:
    """Units of one range: about four ranges a thread, a multiple of the grain."""
    ranges = (workers.value + 1) << 2
    share = (units + ranges - 1) // ranges
    return (share + grain - 1) // grain * grain


@function
def is_worth(rest: I64, ended: I64) -> I1:
    """Whether to wake workers for so many nanoseconds of work that are left now, at ``ended``; notes them if not."""
    with if_(ended - until.value >= spin.value):
        alone.value = 0
    with if_((rest >= WORTH) | (alone.value >= ENOUGH)):
        alone.value = 0
        return_(TRUE)
    alone.value += rest
    return FALSE


@function
def pool_run(kernel: Ptr, bufs: Ptr, ints: Ptr, units: I64, grain: I64, work: I64, scratch: Ptr, watch: Watch) -> I64:
    """Run the kernel over 0 <= unit < units on all threads; its status bits, or ENDED. The pool is acquired; units and
    grain are at least 1; ``work`` is in microseconds, and 0 says as many as the grain has parts."""
    status.value = 0
    is_long = select(work == 0, units // grain, work) >= LONG
    with if_((atomic_load(sleepers, "seq_cst") == 0) | is_long):
        return_(run_together(kernel, bufs, ints, constant(0), units, grain, scratch, watch))
    first, before = umin(first_range(units, grain), units), now()
    status.value = invoke(kernel, I64, bufs, ints, constant(0), first, scratch)
    ended = now()
    with if_(first < units):
        with if_(is_worth((ended - before) * (units - first) // first, ended)):
            return_(run_together(kernel, bufs, ints, first, units, grain, scratch, watch))
        status.value |= invoke(kernel, I64, bufs, ints, first, units, scratch)
    until.value = now()
    return status.value


@function
def run_together(
    kernel: Ptr, bufs: Ptr, ints: Ptr, first: I64, units: I64, grain: I64, scratch: Ptr, watch: Watch
) -> I64:
    """Run the kernel over first <= unit < units with all workers that come; ``status`` has the bits of those before."""
    left = local(I64, first)
    with while_(lambda: left.value < units):
        left.value = share(kernel, bufs, ints, left.value, units, grain, scratch, watch)
        with if_(left.value < units):
            return_if(has_raised(watch), ENDED)
    return status.value


@function
def share(kernel: Ptr, bufs: Ptr, ints: Ptr, first: I64, units: I64, grain: I64, scratch: Ptr, watch: Watch) -> I64:
    """Give the workers a job of these units and wait for them: where what is left begins, if the caller has to look for
    signals. What Python code may see then is not what the kernel reads and writes, so no worker is inside."""
    shared.value += 1
    chunk = chunk_of(units - first, grain)
    job.kernel = kernel
    job.bufs = bufs
    job.ints = ints
    job.units = units
    job.chunk = chunk
    job.grain = grain
    job.is_watched = ~is_null(watch)
    next_unit.value = first
    generation = word.value >> 32
    atomic_store(word, ((generation + 1) << 32) | OPEN, "seq_cst")
    wake_workers((units - first - 1) // chunk)
    left = compute(scratch, watch)
    before = atomic_update("and", word, ~OPEN, "seq_cst")
    with if_((before & INSIDE) != 0):
        await_workers()
    return left


# ---------------------------------------------------------------------------------------------------- builtins


@builtin
def pool_set_threads(count: I64) -> Ptr:
    """Threads that a call may use, the caller included; surplus workers end when idle."""
    with if_(~below(count - 1, MAX_THREADS)):
        text = "the number of threads must lie in 1..%lld, got %lld"
        return_(PyErr_Format(value_error.value, text, constant(MAX_THREADS), count))
    wanted.value = count  # workers follow when the pool is next acquired
    return new_none()


@builtin
def pool_set_spin(nanoseconds: I64) -> Ptr:
    """Nanoseconds that an idle thread spins before it sleeps."""
    spin.value = nanoseconds
    return new_none()


@builtin
def pool_set_cpus(count: I64) -> Ptr:
    """With up to so many threads, workers spin longer in the middle of a program."""
    cpus.value = count
    return new_none()


@builtin
def pool_threads() -> Ptr:
    """The number last set."""
    return PyLong_FromLongLong(wanted.value)


@builtin
def pool_workers() -> Ptr:
    """Workers running now."""
    return PyLong_FromLongLong(workers.value)


@builtin
def pool_shared() -> Ptr:
    """How many jobs were open to workers; those that were not worth waking them are not among these."""
    return PyLong_FromLongLong(shared.value)


@builtin
def pool_moves() -> Ptr:
    """How often a worker was woken on another CPU than it slept on, because its caller ran there."""
    return PyLong_FromLongLong(moves.value)


@builtin
def pool_stop() -> Ptr:
    """End all workers, if the pool is idle; they start again when needed."""
    with if_(~busy.value):
        stop_workers()
    return new_none()


@builtin
def pool_after_fork() -> Ptr:
    """In a forked child: forget the workers, which only the parent has. Its one thread handles signals."""
    main_thread.value = PyThread_get_thread_ident()
    for each in (workers, sleepers, caller_waits, word, busy, patience):
        each.value = None
    pool_initialise()
    return new_none()

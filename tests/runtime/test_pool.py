"""The thread pool: every unit exactly once, whoever computes it, whatever else happens in the process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.llvm.elf import CodeModule
from weft.runtime import native, pool, storage
from weft.runtime.numpy_arrays import from_numpy

pytestmark = pytest.mark.usefixtures("restored_pool")
ROOT = Path(__file__).resolve().parents[2]


def add_seven(kernels: CodeModule, units: int, grain: int) -> np.ndarray:
    """``7 + (0, 1, ..., units - 1)``, computed by the pool; places that nobody wrote hold -1."""
    source, target = np.arange(units), np.full(units, -1)
    buffers = [from_numpy(source).storage, from_numpy(target).storage]
    assert pool.parallel_for(kernels.address("add"), buffers, [7], units, grain) == 0
    return target


@given(st.integers(0, 5000), st.integers(1, 700), st.integers(1, 5))
def test_every_unit_is_computed_once(kernels: CodeModule, units: int, grain: int, threads: int) -> None:
    pool.set_num_threads(threads)
    assert np.array_equal(add_seven(kernels, units, grain), np.arange(units) + 7)


def scratch_of_units(kernels: CodeModule, units: int, grain: int, microseconds: int) -> list[int]:
    block = storage.empty(8 * units)
    pool.parallel_for(kernels.address("where"), [block], [microseconds], units, grain)
    return np.frombuffer(block, np.int64).tolist()


def test_each_thread_has_a_scratch_of_its_own(kernels: CodeModule) -> None:
    pool.set_num_threads(3)
    places: set[int] = set()
    for _ in range(50):  # on a busy machine a worker may come too late
        places |= set(scratch_of_units(kernels, 12, 1, 3000))
        if len(places) == 3:
            break
    assert len(places) == 3
    assert all(place % 64 == 0 for place in places)
    ordered = sorted(places)
    assert all(b - a >= native.SCRATCH_BYTES for a, b in itertools.pairwise(ordered))


def test_up_to_grain_units_stay_with_the_caller(kernels: CodeModule) -> None:
    pool.set_num_threads(3)
    assert len(set(scratch_of_units(kernels, 12, 12, 1000))) == 1


def test_ranges_are_multiples_of_the_grain(kernels: CodeModule) -> None:
    pool.set_num_threads(2)
    places = scratch_of_units(kernels, 100, 7, 500)
    changes = [i for i in range(1, 100) if places[i] != places[i - 1]]
    assert all(i % 7 == 0 for i in changes)


def test_one_thread_uses_no_workers(kernels: CodeModule) -> None:
    pool.set_num_threads(1)
    assert len(set(scratch_of_units(kernels, 12, 1, 100))) == 1


def test_workers_follow_the_number_of_threads(kernels: CodeModule) -> None:
    for count in (4, 2, 5):
        pool.set_num_threads(count)
        assert pool.get_num_threads() == count
        add_seven(kernels, 100, 1)
        assert pool.num_workers() == count - 1


@pytest.mark.parametrize("count", [0, -1, 513])
def test_impossible_numbers_of_threads_raise(count: int) -> None:
    with pytest.raises(ValueError, match=rf"must lie in 1..512, got {count}"):
        pool.set_num_threads(count)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_status_bits_of_all_ranges_are_collected(kernels: CodeModule, threads: int) -> None:
    pool.set_num_threads(threads)
    bits = [0] * 100
    bits[3], bits[50], bits[99] = 1, 4, 1 << 40
    for _ in range(50):
        assert pool.parallel_for(kernels.address("report"), [], bits, 100, 3) == 1 | 4 | 1 << 40
    assert pool.parallel_for(kernels.address("report"), [], [0] * 100, 100, 3) == 0


def test_python_threads_share_the_pool(kernels: CodeModule) -> None:
    pool.set_num_threads(3)
    failures = []

    def work(units: int) -> None:
        for _ in range(100):
            if not np.array_equal(add_seven(kernels, units, 5), np.arange(units) + 7):
                failures.append(units)

    threads = [threading.Thread(target=work, args=(500 + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_the_number_of_threads_changes_while_others_compute(kernels: CodeModule) -> None:
    failures, stop = [], threading.Event()

    def work(units: int) -> None:
        while not stop.is_set():
            if not np.array_equal(add_seven(kernels, units, 5), np.arange(units) + 7):
                failures.append(units)

    threads = [threading.Thread(target=work, args=(3000 + i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for number in range(400):
        pool.set_num_threads(1 + number % 5)
        assert np.array_equal(add_seven(kernels, 200, 1), np.arange(200) + 7)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_sleeping_pool_wakes_up(kernels: CodeModule) -> None:
    pool.set_num_threads(2)
    builtins = native.native()
    try:
        builtins["pool_set_spin"](0)
        for _ in range(200):
            assert np.array_equal(add_seven(kernels, 64, 1), np.arange(64) + 7)
        assert len(set(scratch_of_units(kernels, 8, 1, 3000))) == 2
    finally:
        builtins["pool_set_spin"](int(pool.SPIN * 1e9))


@pytest.fixture
def sleepy(kernels: CodeModule) -> Iterator[Callable[[int], None]]:
    """A pool of two that sleeps at once; what it is called with is how many nanoseconds it spins from then on."""
    spin = native.native()["pool_set_spin"]
    pool.set_num_threads(2)
    spin(0)
    yield spin
    spin(int(pool.SPIN * 1e9))


def shared_of(jobs: int, job: Callable[[], object], pause: float = 0.0) -> int:
    before = pool.num_shared()
    for _ in range(jobs):
        time.sleep(pause)
        job()
    return pool.num_shared() - before


def test_workers_are_not_woken_for_short_jobs(kernels: CodeModule, sleepy: Callable[[int], None]) -> None:
    scratch_of_units(kernels, 8, 1, 1000)  # they are there, and asleep
    time.sleep(0.01)
    shared = shared_of(100, lambda: add_seven(kernels, 64, 1), 0.0005)
    assert shared <= 20  # a few, where the system has taken the CPU away meanwhile


def test_workers_are_woken_for_long_jobs(kernels: CodeModule, sleepy: Callable[[int], None]) -> None:
    scratch_of_units(kernels, 8, 1, 1000)
    assert shared_of(10, lambda: scratch_of_units(kernels, 8, 1, 1000), 0.002) == 10


def test_workers_are_woken_for_many_short_jobs(kernels: CodeModule, sleepy: Callable[[int], None]) -> None:
    scratch_of_units(kernels, 8, 1, 1000)
    time.sleep(0.01)
    sleepy(10_000_000)
    found = next((n for n in range(20_000) if shared_of(1, lambda: add_seven(kernels, 64, 1))), None)
    assert found is not None


def test_workers_stay_awake_in_the_middle_of_a_program(cpus: list[int]) -> None:
    """Between two jobs for all, each too short to wake anybody for, one thread has work that lasts longer than SPIN."""
    pool.set_num_threads(2)
    jobs, large, row = 8, wf.ones((600, 600)), wf.ones(100_000)

    @wf.compile
    def program(large: wf.Tensor, row: wf.Tensor) -> wf.Tensor:
        x = (large @ large)[:128, :128]  # which is worth waking them for
        for _ in range(jobs):
            row = row.cumsum(0)
            x = (x + row[-1]) @ x
        return x

    program(large, row)
    assert max(shared_of(1, lambda: program(large, row)) for _ in range(50)) > jobs


def test_what_is_computed_before_workers_come_counts(kernels: CodeModule, sleepy: Callable[[int], None]) -> None:
    """Every unit once, and the status of all, where the caller begins alone."""
    bits = [0] * 100
    bits[0], bits[3], bits[99] = 2, 1, 1 << 40
    for units in (1, 2, 15, 16, 17, 100):
        assert np.array_equal(add_seven(kernels, units, 1), np.arange(units) + 7)
        wanted = 2 | (1 if units > 3 else 0) | (1 << 40 if units > 99 else 0)
        assert pool.parallel_for(kernels.address("report"), [], bits, units, 1) == wanted
        assert len(scratch_of_units(kernels, units, 1, 500)) == units


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_pool_works_in_parent_and_child_after_a_fork(kernels: CodeModule) -> None:
    pool.set_num_threads(3)
    add_seven(kernels, 1000, 1)
    assert pool.num_workers() == 2
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        good = pool.num_workers() == 0
        good &= np.array_equal(add_seven(kernels, 1000, 1), np.arange(1000) + 7)
        good &= pool.num_workers() == 2
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert np.array_equal(add_seven(kernels, 1000, 1), np.arange(1000) + 7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_while_another_thread_computes(kernels: CodeModule) -> None:
    pool.set_num_threads(2)
    busy = threading.Thread(target=scratch_of_units, args=(kernels, 8, 1, 50_000))
    busy.start()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if np.array_equal(add_seven(kernels, 1000, 1), np.arange(1000) + 7) else 1)
    _, status = os.waitpid(child, 0)
    busy.join()
    assert status == 0
    assert np.array_equal(add_seven(kernels, 1000, 1), np.arange(1000) + 7)


def worker_of(kernels: CodeModule) -> int:
    """The one worker, as the system knows it; it sleeps as soon as it has no work."""
    pool.set_num_threads(1)
    native.native()["pool_stop"]()
    before = set(os.listdir("/proc/self/task"))
    pool.set_num_threads(2)
    native.native()["pool_set_spin"](0)
    add_seven(kernels, 100, 1)
    (worker,) = set(os.listdir("/proc/self/task")) - before
    return int(worker)


def cpu_of(thread: int) -> int:
    """Where a thread runs now, or has run last."""
    return int(Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[36])


@pytest.fixture
def cpus() -> Iterator[list[int]]:
    """The CPUs of this thread, of which there are two at least; afterwards its mask is what it was."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux's masks of CPUs, and two of them")
    before = os.sched_getaffinity(0)
    yield sorted(before)
    os.sched_setaffinity(0, before)
    native.native()["pool_set_spin"](int(pool.SPIN * 1e9))


def fall_asleep(worker: int) -> None:
    """Wait until the worker sleeps: on a busy machine it may have been woken, and not have run yet."""
    for _ in range(5000):
        if Path(f"/proc/self/task/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "S":
            return
        time.sleep(0.001)
    raise TimeoutError("the worker does not sleep")


def sleeps_on(kernels: CodeModule, worker: int, cpu: int) -> None:
    """Let the worker go to sleep on a CPU."""
    os.sched_setaffinity(worker, {cpu})
    scratch_of_units(kernels, 8, 1, 1000)
    time.sleep(0.002)  # the pool looks where workers sleep once in a millisecond
    fall_asleep(worker)
    assert cpu_of(worker) == cpu


def test_a_worker_that_sleeps_where_its_caller_runs_begins_elsewhere(kernels: CodeModule, cpus: list[int]) -> None:
    worker, home = worker_of(kernels), cpus[0]
    os.sched_setaffinity(0, {home})
    places = set()
    for _ in range(100):
        sleeps_on(kernels, worker, home)
        os.sched_setaffinity(worker, cpus)
        before = pool.num_moves()
        scratch_of_units(kernels, 8, 1, 1000)
        assert pool.num_moves() == before + 1
        places.add(cpu_of(worker))
        assert os.sched_getaffinity(worker) == set(cpus)  # and it may come back, which a busy system may want
        assert os.sched_getaffinity(0) == {home}
        if places - {home}:
            break
    fall_asleep(worker)
    assert np.array_equal(add_seven(kernels, 100, 1), np.arange(100) + 7)
    if not places - {home}:
        pytest.skip("the system, which is busy, has put it back each time before anybody could look")


def test_a_worker_stays_where_a_user_has_pinned_it(kernels: CodeModule, cpus: list[int]) -> None:
    worker, home = worker_of(kernels), cpus[0]
    os.sched_setaffinity(0, {home})
    sleeps_on(kernels, worker, home)
    before = pool.num_moves()
    for _ in range(5):
        scratch_of_units(kernels, 8, 1, 1000)
        time.sleep(0.002)
        fall_asleep(worker)
        assert (os.sched_getaffinity(worker), cpu_of(worker)) == ({home}, home)
    assert pool.num_moves() == before


def test_a_worker_elsewhere_is_left_alone(kernels: CodeModule, cpus: list[int]) -> None:
    worker, (home, other) = worker_of(kernels), cpus[:2]
    os.sched_setaffinity(0, {home})
    sleeps_on(kernels, worker, other)
    before = pool.num_moves()
    for _ in range(5):
        scratch_of_units(kernels, 8, 1, 1000)
        time.sleep(0.003)
    assert pool.num_moves() == before
    assert os.sched_getaffinity(worker) == {other}


SCRIPT = """
import sys, threading, time
sys.path.insert(0, {tests!r})
from conftest import KERNELS
from weft.runtime import pool, storage
from weft.llvm.assembly import assemble
from weft.llvm.elf import load
from weft.llvm.targets import host_target
code = load(assemble(KERNELS, host_target()))
pool.set_num_threads(3)
def work():
    block = storage.empty(800)
    pool.parallel_for(code.address("where"), [block], [{microseconds}], 100, 1)
work() if {microseconds} < 10 else threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
print("end")
"""


@pytest.mark.parametrize("microseconds", [1, 300_000], ids=["idle", "computing"])
def test_the_interpreter_exits_cleanly(microseconds: int) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent), microseconds=microseconds)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_workers_take_no_signals(kernels: CodeModule) -> None:
    """A signal reaches Python's main thread, so that a sleeping system call of its own is interrupted."""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs Linux's /proc")
    pool.set_num_threads(3)
    before = set(os.listdir("/proc/self/task"))
    pool.set_num_threads(4)
    add_seven(kernels, 100, 1)
    for task in set(os.listdir("/proc/self/task")) - before:
        status = Path(f"/proc/self/task/{task}/status").read_text()
        blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
        assert blocked >> (signal.SIGINT - 1) & 1 and blocked >> (signal.SIGALRM - 1) & 1

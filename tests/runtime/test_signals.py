"""Signals during runs: a handler that raises ends a run between steps or ranges, as long as it has written nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from alarms import Rang

from weft.llvm.elf import CodeModule
from weft.runtime import pool, storage
from weft.runtime.program import Program, Release, Step

pytestmark = pytest.mark.usefixtures("restored_pool")


def sleeping(kernels: CodeModule, microseconds: int, offset: int, units: int = 1, grain: int = 1) -> Step:
    """Step: each range sleeps, then writes its units of the first input."""
    return Step(kernels.address("where"), (microseconds,), ((0, 8 * offset),), units, grain)


def block(count: int) -> Any:
    return storage.copy_of(np.zeros(count, np.int64))


def written(block: Any) -> int:
    return int(np.count_nonzero(np.frombuffer(block, np.int64)))


def test_a_run_ends_between_its_steps(kernels: CodeModule, alarm: Callable[[float], None]) -> None:
    steps = [sleeping(kernels, 10_000, n) for n in range(1000)]
    memory, program = block(1000), Program(steps, 1, (8,), release_gil=Release(1001))
    alarm(0.05)
    with pytest.raises(Rang):
        program.call(memory)
    assert 0 < written(memory) < 500
    assert isinstance(Program(steps[:2], 1, (8,), release_gil=Release(3)).call(memory), storage.Storage)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_run_ends_inside_of_a_long_kernel(kernels: CodeModule, alarm: Callable[[float], None], threads: int) -> None:
    pool.set_num_threads(threads)
    memory = block(1000)
    program = Program([sleeping(kernels, 60_000, 0, 1000)], 1, (), release_gil=Release(2))
    alarm(0.05)
    with pytest.raises(Rang):
        program.call(memory)
    assert 0 < written(memory) < 500


@pytest.mark.parametrize("first", [0, 3])
def test_what_comes_after_the_first_write_is_always_done(
    kernels: CodeModule, alarm: Callable[[float], None], first: int
) -> None:
    steps = [sleeping(kernels, 15_000, n) for n in range(20)]
    memory, program = block(20), Program(steps, 1, (), release_gil=Release(1 + first))

    def call() -> None:
        program.call(memory)
        while True:  # until the handler is called
            pass

    alarm(0.12)
    with pytest.raises(Rang):
        call()
    assert written(memory) in (20, *range(1, first + 1))


def test_what_was_saved_is_there_again(kernels: CodeModule, alarm: Callable[[float], None]) -> None:
    """The first input is written early, the second one by the last step alone."""
    early = [sleeping(kernels, 5_000, n) for n in range(200)]
    last = Step(kernels.address("where"), (0,), ((1, 0),), 1, 1)
    memory, other = storage.copy_of(np.arange(200) + 7), block(1)
    program = Program([*early, last], 2, (), release_gil=Release(201, 0, ((0, 1600),)))
    alarm(0.1)
    with pytest.raises(Rang):
        program.call(memory, other)
    assert np.frombuffer(memory, np.int64).tolist() == [n + 7 for n in range(200)]
    assert written(other) == 0
    program.call(memory, other)
    assert written(other) == 1 and np.frombuffer(memory, np.int64).min() > 1000  # addresses


@pytest.mark.parametrize("saves", [(), ((0, 160),)])
def test_a_handler_that_does_not_raise_lets_the_run_go_on(kernels: CodeModule, saves: Any) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled on the main thread")
    memory, seen = block(20), []
    before = signal.signal(signal.SIGALRM, lambda *details: seen.append(written(memory)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        steps = [sleeping(kernels, 15_000, n) for n in range(20)]
        Program(steps, 1, (), release_gil=Release(21, saves=saves)).call(memory)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert written(memory) == 20
    assert len(seen) == 1 and (seen[0] == 0 if saves else 0 < seen[0] < 20)  # it sees what was there before the run


def test_no_worker_is_inside_of_a_kernel_while_a_handler_runs(kernels: CodeModule) -> None:
    """It would go on with what was saved, and its results would be lost."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are handled on the main thread")
    pool.set_num_threads(2)
    memory, seen = block(40), []

    def handler(*details: Any) -> None:
        seen.append(written(memory))
        time.sleep(0.05)
        seen.append(written(memory))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        step = sleeping(kernels, 30_000, 0, 40)
        program = Program([step, sleeping(kernels, 0, 0)], 1, (), release_gil=Release(2, saves=((0, 320),)))
        program.call(memory)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert written(memory) == 40
    assert seen == [0, 0]


def test_other_threads_are_left_alone(kernels: CodeModule, alarm: Callable[[float], None]) -> None:
    memory = block(20)
    program = Program([sleeping(kernels, 15_000, n) for n in range(20)], 1, (), release_gil=Release(21))
    thread = threading.Thread(target=program.call, args=(memory,))
    thread.start()
    alarm(0.02)
    with pytest.raises(Rang):
        time.sleep(60)
    thread.join()
    assert written(memory) == 20

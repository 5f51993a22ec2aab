"""Programs: steps in order over inputs, outputs, constants and arena; checks; lifetimes; status; threads."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import OutOfMemoryError, WeftError
from weft.llvm.elf import CodeModule
from weft.runtime import memory, pool, storage
from weft.runtime.program import (
    UNBOUNDED,
    Body,
    BranchStep,
    HostError,
    HostStep,
    KernelStatus,
    LoopStep,
    Program,
    Release,
    Step,
    Template,
    watch,
)

UNITS = 10


def integers(*values: int) -> Any:
    """A Storage of int64."""
    return storage.copy_of(np.array(values, np.int64))


def values_of(block: Any) -> list[int]:
    return np.frombuffer(block, np.int64).tolist()


def add(
    kernels: CodeModule,
    amount: int,
    source: tuple[int, int],
    target: tuple[int, int],
    units: int = UNITS,
    grain: int = 1 << 40,
) -> Step:
    """Step: target[u] = source[u] + amount."""
    return Step(kernels.address("add"), (amount,), (source, target), units, grain)


def test_one_step(kernels: CodeModule) -> None:
    program = Program([add(kernels, 5, (0, 0), (1, 0))], 1, (80,))
    result = program.call(integers(*range(10)))
    assert values_of(result) == list(range(5, 15))
    assert result.nbytes == 80 and result.owner is None


def test_places_are_inputs_outputs_constants_arena(kernels: CodeModule) -> None:
    constant = integers(*range(100, 110))
    program = Program(
        [
            add(kernels, 1, (4, 0), (5, 64)),  # constant -> arena, from byte 64
            add(kernels, 2, (5, 64), (2, 0)),  # arena -> first output
            add(kernels, 3, (1, 16), (3, 0), units=8),  # second input from its third element -> second output
        ],
        2,
        (80, 64),
        (constant,),
        64 + 80,
    )
    first, second = program.call(integers(0), integers(*range(10)))
    assert values_of(first) == list(range(103, 113))
    assert values_of(second) == list(range(5, 13))


def test_numbers_of_outputs_decide_what_is_returned(kernels: CodeModule) -> None:
    source = integers(*range(10))
    steps = [add(kernels, 1, (0, 0), (0, 0))]
    assert Program(steps, 1, ()).call(source) is None  # in place
    assert values_of(source) == list(range(1, 11))
    assert isinstance(Program(steps, 1, (8,)).call(source), storage.Storage)
    assert [block.nbytes for block in Program(steps, 1, (8, 0, 100)).call(source)] == [8, 0, 100]
    assert Program([], 0, ()).call() is None


@given(
    st.lists(st.integers(-50, 50), min_size=1, max_size=30),
    st.integers(0, 300),
    st.integers(1, 40),
    st.integers(1, 3),
    st.booleans(),
)
def test_a_chain_of_steps_runs_in_order(
    kernels: CodeModule, amounts: list[int], units: int, grain: int, threads: int, release_gil: bool
) -> None:
    before = pool.get_num_threads()
    pool.set_num_threads(threads)
    try:
        steps = [
            add(kernels, amount, (0 if i == 0 else 1, 0), (1, 0), units, grain) for i, amount in enumerate(amounts)
        ]
        program = Program(steps, 1, (8 * units,), release_gil=release_gil)
        source = storage.copy_of(np.arange(units))
        assert values_of(program.call(source)) == [i + sum(amounts) for i in range(units)]
    finally:
        pool.set_num_threads(before)


def test_wrong_arguments_raise(kernels: CodeModule) -> None:
    program = Program([add(kernels, 5, (0, 0), (2, 0))], 2, (80,))
    block = integers(*range(10))
    with pytest.raises(TypeError, match="takes 2 arguments, got 1"):
        program.call(block)
    with pytest.raises(TypeError, match="takes 2 arguments, got 3"):
        program.call(block, block, block)
    with pytest.raises(TypeError, match="argument 1 must be a weft Storage, not <class 'list'>"):
        program.call(block, [1])
    with pytest.raises(TypeError):
        program.call(block, block=block)


def test_wrong_steps_raise(kernels: CodeModule) -> None:
    with pytest.raises(ValueError, match=r"step 0: buffer \(place 2, offset 0\) of 2 places"):
        Program([add(kernels, 5, (0, 0), (2, 0))], 1, (80,))
    with pytest.raises(ValueError, match="offset -8"):
        Program([add(kernels, 5, (0, -8), (1, 0))], 1, (80,))
    with pytest.raises(ValueError, match="units -1"):
        Program([add(kernels, 5, (0, 0), (1, 0), units=-1)], 1, (80,))
    with pytest.raises(ValueError, match="grain 0"):
        Program([add(kernels, 5, (0, 0), (1, 0), grain=0)], 1, (80,))
    with pytest.raises(ValueError, match="negative"):
        Program([], 0, (-1,))
    with pytest.raises(ValueError, match="at most"):
        Program([], 1 << 20, ())
    with pytest.raises(ValueError, match="at most"):
        Template([], 1 << 20, (), 0, Release(), 0)


@pytest.mark.parametrize("release_gil", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_step_with_status_bits_ends_the_run(
    kernels: CodeModule, restored_pool: None, fresh_memory: None, threads: int, release_gil: bool
) -> None:
    pool.set_num_threads(threads)
    report = kernels.address("report")
    steps = [Step(report, (0, 0, 0), (), 3, 1), Step(report, (0, 1, 4), (), 3, 1), Step(report, (8,), (), 1, 1)]
    steps.append(add(kernels, 7, (0, 0), (0, 0)))  # in place, after the failure: must not run
    state = integers(*range(10))
    program = Program(steps, 1, (64, 64), arena_nbytes=1000, release_gil=release_gil)
    before = memory.stats().current
    with pytest.raises(KernelStatus, match="status 0x5: an index is out of range") as caught:
        program.call(state)
    assert caught.value.bits == 5 and isinstance(caught.value, WeftError)
    assert memory.stats().current == before
    assert bytes(state) == bytes(integers(*range(10)))
    assert Program(steps[:1], 0, ()).call() is None


@pytest.mark.plain_memory
def test_outputs_and_arena_come_from_the_allocator(kernels: CodeModule, fresh_memory: None) -> None:
    program = Program([add(kernels, 1, (2, 0), (1, 0))], 1, (80,), arena_nbytes=1 << 16)
    source = integers(*range(10))
    base = memory.stats().current
    memory.reset_peak()
    result = program.call(source)
    assert memory.stats().current == base + 128
    assert memory.stats().peak == base + 128 + (1 << 16)
    del result
    assert memory.stats().current == base


@pytest.mark.parametrize(("outputs", "arena"), [((1 << 16, 1 << 20), 0), ((64,), 1 << 20), ((), 1 << 20)])
def test_without_memory_nothing_runs_and_nothing_stays(
    kernels: CodeModule, fresh_memory: None, outputs: tuple[int, ...], arena: int
) -> None:
    source = integers(*range(10))
    program = Program([add(kernels, 1, (0, 0), (0, 0))], 1, outputs, arena_nbytes=arena)
    before = memory.stats().current
    memory.set_limit(before + (1 << 18))
    with pytest.raises(OutOfMemoryError, match="1 MiB"):
        program.call(source)
    assert memory.stats().current == before
    assert values_of(source) == list(range(10))
    memory.set_limit(None)
    program.call(source)
    assert values_of(source) == list(range(1, 11))


def test_call_outlives_the_program_and_keeps_what_it_needs(kernels: CodeModule) -> None:
    constant = integers(*range(10))
    watch = weakref.ref(constant)
    call = Program([add(kernels, 1, (1, 0), (0, 0))], 0, (80,), (constant,)).call
    del constant
    gc.collect()
    assert watch() is not None
    assert values_of(call()) == list(range(1, 11))
    del call
    gc.collect()
    assert watch() is None


def test_calls_leave_reference_counts_as_they_were(kernels: CodeModule) -> None:
    source = integers(*range(10))
    program = Program([add(kernels, 1, (0, 0), (1, 0))], 1, (80,))
    program.call(source)
    counts = sys.getrefcount(source), sys.getrefcount(storage.Storage), sys.getrefcount(None)
    for _ in range(1000):
        program.call(source)
        with pytest.raises(TypeError):
            program.call(None)
    after = sys.getrefcount(source), sys.getrefcount(storage.Storage), sys.getrefcount(None)
    assert all(abs(b - a) < 50 for a, b in zip(counts, after))


def test_a_result_is_a_block_that_only_the_caller_holds(kernels: CodeModule) -> None:
    result = Program([], 0, (8,)).call()
    assert sys.getrefcount(result) == 2
    pair = Program([], 0, (8, 8)).call()
    assert [sys.getrefcount(block) for block in pair] == [3, 3]  # the tuple, the loop, the argument


def test_profile_times_each_step(kernels: CodeModule) -> None:
    wait = Step(kernels.address("where"), (20_000,), ((0, 0),), 1, 1)
    program = Program([add(kernels, 1, (0, 0), (0, 0)), wait], 1, (64,))
    seconds = program.profile(integers(*range(10)))
    assert len(seconds) == 2 and all(s >= 0 for s in seconds)
    assert seconds[1] >= 0.02
    assert Program([], 0, ()).profile() == []
    with pytest.raises(TypeError):
        program.profile()
    with pytest.raises(KernelStatus):
        Program([Step(kernels.address("report"), (2,), (), 1, 1)], 0, ()).profile()


@pytest.mark.parametrize("release_gil", [False, True])
def test_other_python_threads_run_meanwhile(kernels: CodeModule, release_gil: bool) -> None:
    """With release_gil a second thread gets through while a kernel sleeps; without it only after the call."""
    wait = Step(kernels.address("where"), (100_000,), ((0, 0),), 1, 1)
    program = Program([wait], 0, (64,), release_gil=release_gil)
    order: list[str] = []
    go = threading.Event()

    def other() -> None:
        go.wait()
        order.append("other")

    thread = threading.Thread(target=other)
    thread.start()

    def run() -> None:
        go.set()
        program.call()
        order.append("call")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(10.0)  # the GIL changes hands only where it is given up
    try:
        run()
    finally:
        sys.setswitchinterval(interval)
    thread.join()
    assert order == (["other", "call"] if release_gil else ["call", "other"])


@pytest.mark.parametrize("threads", [1, 2])
def test_overlapping_calls_do_not_mix(kernels: CodeModule, restored_pool: None, threads: int) -> None:
    pool.set_num_threads(threads)
    units = 3000
    program = Program(
        [
            add(kernels, 1, (0, 0), (2, 0), units, 16),
            *[add(kernels, 1, (2, 0), (2, 0), units, 16)] * 5,
            add(kernels, 1, (2, 0), (1, 0), units, 16),
        ],
        1,
        (8 * units,),
        arena_nbytes=8 * units,
        release_gil=True,
    )
    failures = []

    def work(start: int) -> None:
        source = np.arange(start, start + units)
        block = storage.copy_of(source)
        for _ in range(50):
            if not np.array_equal(np.frombuffer(program.call(block), np.int64), source + 7):
                failures.append(start)

    workers = [threading.Thread(target=work, args=(1000 * i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_many_places_and_steps(kernels: CodeModule) -> None:
    constants = tuple(integers(*range(i, i + 10)) for i in range(2000))
    steps = [add(kernels, 0, (2 + i, 0), (1, 0)) for i in range(1, 2000)]
    program = Program(steps, 1, (80,), constants)
    assert values_of(program.call(integers(0))) == list(range(1999, 2009))
    assert "2000 constants" not in repr(program) or repr(program).startswith("<Program of 1999 steps")


@pytest.mark.parametrize("steps", [1, 40])  # of few numbers, and of many
def test_a_template_makes_programs_that_differ_in_numbers(kernels: CodeModule, steps: int) -> None:
    made = [Step(kernels.address("add"), ("amount",), ((0, 0), (1, 0)), "units", 1 << 40)]
    for k in range(1, steps):
        made.append(Step(kernels.address("add"), (0,), ((1, 0), (2, k)), "units", "units"))
    template = Template(made, 1, ["bytes"], "arena" if steps > 1 else 0, Release("long"), 0)
    for amount, units in ((5, 10), (-7, 3), (5, 10)):
        numbers = {"amount": amount, "units": units, "bytes": 8 * units, "arena": 4096, "long": units > 3}
        program = template.filled([numbers[name] for name in template.open])
        call = program.call
        assert program.output_nbytes == (8 * units,) and program.release_gil is (units > 3)
        assert str(program).startswith(f"<Program of {steps} steps: 1 inputs, 1 outputs")
        del program
        gc.collect()
        assert values_of(call(integers(*range(10)))) == [n + amount for n in range(units)]


def test_numbers_that_do_not_fit_are_refused(kernels: CodeModule) -> None:
    template = Template([add(kernels, 1, (0, 0), (1, 0))], 1, ["bytes"], "arena", Release(), 0)
    with pytest.raises(OutOfMemoryError, match=r"2\*\*63"):
        template.filled([8, 1 << 63])
    with pytest.raises(ValueError, match="negative"):
        template.filled([8, -64])
    many = Template([Step(kernels.address("add"), ("n",), ((0, 0), (1, 0)), 1, 1)] * 100, 1, ["n"], 0, Release(), 0)
    with pytest.raises(OutOfMemoryError, match=r"2\*\*63"):
        many.filled([1 << 64])


# --- steps that Python code computes ------------------------------------------------------------------------------


def adding(amount: int) -> Any:
    def function(source: Any, target: Any) -> None:
        np.frombuffer(target, np.int64)[:] = np.frombuffer(source, np.int64) + amount

    return function


def test_python_code_is_a_step_among_kernels(kernels: CodeModule) -> None:
    for release_gil in (False, True):
        program = Program(
            [
                add(kernels, 1, (0, 0), (2, 64)),
                HostStep(adding(10), ((2, 64), (2, 144)), (80, 80), 1),
                add(kernels, 100, (2, 144), (1, 0)),
            ],
            1,
            (80,),
            (),
            256,
            release_gil,
        )
        assert values_of(program.call(integers(*range(10)))) == list(range(111, 121))
        assert len(program.profile(integers(*range(10)))) == 3


def test_its_buffers_are_windows_of_the_sizes_that_the_step_says(kernels: CodeModule) -> None:
    seen: list[Any] = []

    def function(*buffers: Any) -> None:
        seen.extend((b.nbytes, b.is_read_only, bytes(b)[:8]) for b in buffers)

    constant = integers(7)
    steps = [HostStep(function, ((0, 8), (2, 0), (1, 0)), (16, 8, 0), 2)]
    Program(steps, 1, (8,), (constant,)).call(integers(1, 2, 3))
    assert [(size, read_only) for size, read_only, _ in seen] == [(16, True), (8, True), (0, False)]
    assert [np.frombuffer(first, np.int64).tolist() for _, _, first in seen] == [[2], [7], []]


def test_a_program_owns_the_functions_of_its_steps() -> None:
    function = adding(1)
    alive = weakref.ref(function)
    program = Program([HostStep(function, ((0, 0), (1, 0)), (8, 8), 1)], 1, (8,))
    call = program.call
    del program, function
    gc.collect()
    assert values_of(call(integers(4))) == [5]
    del call
    gc.collect()
    assert alive() is None


def test_an_exception_ends_the_run(kernels: CodeModule) -> None:
    def function(*buffers: Any) -> None:
        raise HostError(KeyError("mine"), ("file", 3))

    later = integers(*[0] * 10)
    program = Program([HostStep(function, (), (), 0), add(kernels, 1, (0, 0), (0, 0))], 1, ())
    before = memory.stats().current
    with pytest.raises(HostError) as caught:
        program.call(later)
    assert values_of(later) == [0] * 10 and caught.value.line == ("file", 3)
    with pytest.raises(KeyError, match="mine"):
        caught.value.raise_error()
    del caught
    gc.collect()
    assert memory.stats().current == before


def test_memory_that_somebody_holds_after_an_error_is_theirs() -> None:
    held: list[Any] = []

    def function(*buffers: Any) -> None:
        for buffer in buffers:
            held.append(np.frombuffer(buffer, np.int64))
        for value, array in enumerate(held[1:], 1):
            array[:] = value
        raise KeyboardInterrupt

    gc.collect()
    before = memory.stats().current
    # an operand, an output and a place of the arena
    program = Program([HostStep(function, ((0, 0), (1, 0), (2, 0)), (80, 80, 80), 1)], 1, (80,), (), 128)
    with pytest.raises(KeyboardInterrupt):
        program.call(integers(*[5] * 10))
    others = [integers(*[9] * 10) for _ in range(50)]  # what was free is in use again
    assert [set(array.tolist()) for array in held] == [{5}, {1}, {2}]
    assert memory.stats().current >= before + 3 * 80
    del others
    held.clear()
    gc.collect()
    assert memory.stats().current <= before


# --- branches and loops ---------------------------------------------------------------------------------------------


def test_a_branch_runs_one_of_two_bodies(kernels: CodeModule) -> None:
    true = Body((add(kernels, 1, (1, 0), (2, 0)),), 4)
    false = Body(
        (
            add(kernels, 10, (1, 0), (3, 0)),
            add(kernels, 10, (3, 0), (2, 0)),
        ),
        4,
    )
    step = BranchStep(true, false, ((0, 0), (1, 0), (2, 0), (3, 0)))
    program = Program([step], 2, (80,), arena_nbytes=80)
    for chosen, amount in ((1, 1), (0, 20)):
        result = program.call(integers(chosen), integers(*range(10)))
        assert values_of(result) == [i + amount for i in range(10)]


@pytest.mark.parametrize("length", [0, 1, 2, 5])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_loop_swaps_its_carries_and_walks_its_sequences(kernels: CodeModule, length: int, reverse: bool) -> None:
    # carry, part of the sequence -> next carry = carry + 1, part of the result = part + 100
    body = Body(
        (
            add(kernels, 1, (0, 0), (2, 0), units=2),
            add(kernels, 100, (1, 0), (3, 0), units=1),
        ),
        5,
    )
    buffers = ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (4, 64))
    step = LoopStep(body, buffers, (16,), (8,), 0, (8,), length, reverse)
    program = Program([step], 2, (16, 8 * max(length, 1)), arena_nbytes=128)
    last, parts = program.call(integers(3, 4), integers(*range(max(length, 1))))
    assert values_of(last) == [3 + length, 4 + length]
    assert values_of(parts)[:length] == [100 + i for i in range(length)]


def test_a_loop_goes_on_while_a_byte_says_so_and_counts(kernels: CodeModule) -> None:
    # go, carry -> go (the carry's lowest byte, before it grows), carry - 1
    body = Body(
        (
            add(kernels, -1, (0, 0), (1, 0), units=1),
            add(kernels, -1, (0, 0), (2, 0), units=1),
        ),
        4,
    )
    buffers = ((0, 0), (0, 8), (1, 0), (2, 0), (3, 0), (3, 64), (3, 128))
    step = LoopStep(body, buffers, (8,), (), 0, (), UNBOUNDED, has_go=True, gives_count=True)
    program = Program([step], 1, (8, 8), arena_nbytes=192)
    for start in (1, 2, 7):
        last, count = program.call(integers(1, start))
        assert values_of(last) == [0] and values_of(count) == [start]
    last, count = program.call(integers(0, 5))
    assert values_of(last) == [5] and values_of(count) == [0]
    bounded = LoopStep(body, buffers, (8,), (), 0, (), 3, has_go=True, gives_count=True, bounded=True)
    program = Program([bounded], 1, (8, 8), arena_nbytes=192)
    assert values_of(program.call(integers(1, 3))[1]) == [3]
    with pytest.raises(KernelStatus, match="a loop goes on"):
        program.call(integers(1, 4))


def test_a_body_names_places_that_are_there(kernels: CodeModule) -> None:
    body = Body((add(kernels, 1, (0, 0), (2, 0)),), 2)
    with pytest.raises(ValueError, match="2 places"):
        Program([BranchStep(body, body, ((0, 0), (0, 0), (0, 0)))], 1, ())


# --- who watches ------------------------------------------------------------------------------------------------------


@pytest.fixture
def told() -> Any:
    """What the one who watches was told."""
    found: list[tuple[list[Any], list[int]]] = []
    watch(lambda about, clock: found.append((about, np.frombuffer(clock, np.int64).tolist())))
    yield found
    watch(None)


def test_who_watches_is_told_of_every_call_of_programs_that_were_there_before(kernels: CodeModule, told: Any) -> None:
    watch(None)
    first = Program([add(kernels, 1, (0, 0), (1, 0)), add(kernels, 2, (0, 0), (2, 0))], 1, (80, 80))
    first.about.append("first")
    call, numbers = first.call, integers(*range(10))
    expected = list(map(values_of, call(numbers)))
    watch(lambda about, clock: told.append((about, np.frombuffer(clock, np.int64).tolist())))
    second = Program([], 0, ())
    before = time.monotonic_ns()
    assert list(map(values_of, call(numbers))) == expected and second.call() is None
    after = time.monotonic_ns()
    assert [about for about, _ in told] == [["first"], []]
    ((_, clock), (_, empty)) = told
    assert len(clock) == 3 and len(empty) == 1 and clock == sorted(clock)
    assert before <= clock[0] and empty[0] <= after
    watch(None)
    call(numbers)
    assert len(told) == 2


def test_calls_that_fail_are_not_told_and_those_of_a_template_are(kernels: CodeModule, told: Any) -> None:
    failing = Program([Step(kernels.address("report"), (3,), (), 1, 1)], 0, ())
    with pytest.raises(KernelStatus):
        failing.call()
    with pytest.raises(TypeError):
        failing.call(1)
    assert told == []
    template = Template([add(kernels, 1, (0, 0), (1, 0))], 1, ("n",), 0, Release(), 0)
    values_of(template.filled((80,)).call(integers(*range(10))))
    assert len(told) == 1


def test_what_the_one_who_watches_raises_is_raised_and_nothing_is_lost(kernels: CodeModule) -> None:
    program, numbers = Program([add(kernels, 1, (0, 0), (1, 0))], 1, (80,)), integers(*range(10))

    def stop(about: list[Any], clock: bytes) -> None:
        raise KeyboardInterrupt

    kept = memory.stats().current
    watch(stop)
    try:
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                program.call(numbers)
    finally:
        watch(None)
    gc.collect()
    assert memory.stats().current == kept
    assert values_of(program.call(numbers)) == list(range(1, 11))


def test_who_watched_is_let_go(kernels: CodeModule) -> None:
    class Watcher:
        def __call__(self, about: list[Any], clock: bytes) -> None:
            pass

    watcher = Watcher()
    gone = weakref.ref(watcher)
    watch(watcher)
    Program([], 0, ()).call()
    watch(Watcher())
    watch(None)
    del watcher
    gc.collect()
    assert gone() is None


def test_what_a_program_is_about_outlives_it_with_its_table(kernels: CodeModule, told: Any) -> None:
    program = Program([], 0, ())
    program.about.append("what it is about")
    call = program.call
    del program
    gc.collect()
    call()
    assert told[0][0] == ["what it is about"]

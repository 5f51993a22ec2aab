"""The table of a program, and how its steps are run.

The table is a block of 64-bit words that program.py lays out::

    %Program   inputs, outputs, constants    numbers of places of each kind
               arena_nbytes                  0: no arena
               steps                         number of steps
               max_buffers                   largest number of buffers of a step
               release_gil                   0: the run keeps the GIL; else 1 + before how many steps it may be ended
               parallel                      1: some step has more units than its grain
               before_writes                 before so many steps it may be ended without anything having been saved
               saves, saved, saved_nbytes    -> (place, bytes) of inputs that are saved if it may be ended later too
               output_nbytes                 -> outputs x i64
               constant_addresses            -> constants x ptr
               table                         -> steps x %Step
    %Step      kernel, ints -> i64..., buffers -> (place, byte offset)..., buffer count, units, grain, work

A step without a kernel is a branch or a loop: its integers are a %Control, which points to tables of other programs.
What their steps work on is what the step has resolved: a branch's places are the step's buffers, a loop's are a row of
addresses that moves on from one iteration to the next. Nothing is copied on the way, and nothing is allocated::

    %Control   kind                                   0: branch, 1: loop
               program, other                         of a branch: where the predicate is true, where it is false
               carries, sequences, invariants, results, length, reversed, has_go, has_count, gives_count, bounded
               then, for each carry, its bytes; for each sequence (and each result) the bytes of one iteration's part

    buffers of a branch:  predicate, whatever the two programs name
    buffers of a loop:    go?, count?, initial carries, sequences, invariants,       what it reads
                          final carries, results, count?,                            what it gives
                          as many carries again, go?, an arena                       scratch
    places of its body:   carries, sequences, invariants, go?, carries, results, arena

An iteration reads its carries where the one before has written them: first the initial ones, then the memory of the
final ones and the scratch by turns. Its parts of sequences and results are found by its number.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import cold, function, invoke
from ...llvm.text import (
    I1,
    I64,
    NULL,
    Integers,
    Pointers,
    Ptr,
    Value,
    at,
    byte_offset,
    cast,
    constant,
    counted,
    else_,
    if_,
    is_null,
    local,
    return_,
    return_if,
    select,
    stack,
    stack_array,
    structure,
    to_integer,
    while_,
)
from ..program import NOT_DONE, UNBOUNDED
from .pool import ENDED, pool_run, run_alone
from .signals import SOON, Bytes, Saved, Watch, is_ended, is_main_thread
from .system import about_now, memcpy, now, umax, umin

Buffer = Annotated[Value, structure("Buffer", place=I64, offset=I64)]
Step = Annotated[
    Value, structure("Step", kernel=Ptr, ints=Ptr, buffers=Buffer, num_buffers=I64, units=I64, grain=I64, work=I64)
]
Program = Annotated[
    Value,
    structure(
        "Program",
        inputs=I64,
        outputs=I64,
        constants=I64,
        arena_nbytes=I64,
        steps=I64,
        max_buffers=I64,
        release_gil=I64,
        parallel=I64,
        before_writes=I64,
        saves=I64,
        saved=Saved,
        saved_nbytes=I64,
        output_nbytes=Integers,
        constant_addresses=Pointers,
        table=Step,
    ),
]
CONTROL_FIELDS = (
    *("carries", "sequences", "invariants", "results", "length", "reversed"),
    *("has_go", "has_count", "gives_count", "bounded"),
)
Control = Annotated[
    Value,
    structure("Control", kind=I64, program=Program, other=Program, **dict.fromkeys(CONTROL_FIELDS, I64)),
]
# What a running call holds besides its outputs. It may be ended (signals.py) before its first ``stops`` steps and the
# one behind, as long as none has written what was there before; ``watch`` is null where it may not.
Frame = Annotated[
    Value,
    structure("Frame", places=Pointers, arena=Ptr, arena_class=I64, scratch=Ptr, has_pool=I1, stops=I64, watch=Watch),
]


def run_units(
    kernel: Value,
    bufs: Value,
    ints: Value,
    extent: tuple[Value, Value, Value],
    scratch: Value,
    has_pool: Value,
    watch: Value,
) -> Value:
    """Run a kernel on the pool or here; its status bits, or ENDED. ``extent``: units, grain, work of its step."""
    units, grain, work = extent
    bits = local(I64, 0)
    with if_((units > grain) & has_pool):
        bits.value = pool_run(kernel, bufs, ints, units, grain, work, scratch, watch)
    with else_(), if_(units > 0):
        with if_(is_null(watch) | (units <= grain)):
            bits.value = invoke(kernel, I64, bufs, ints, constant(0), units, scratch)
        with else_():
            bits.value = run_alone(kernel, bufs, ints, units, grain, scratch, watch)
    return bits.value


@function
def run_step(step: Step, frame: Frame, bufs: Pointers, watch: Watch) -> I64:
    """Resolve a step's buffers into ``bufs``, and run it."""
    places, buffers = frame.places, step.buffers
    for i in counted(step.num_buffers):
        bufs[i] = byte_offset(places[buffers[i].place], buffers[i].offset)
    with if_(is_null(step.kernel)):
        return_(run_control(cast(Control, step.ints), frame, bufs, watch))
    extent = step.units, step.grain, step.work
    return run_units(step.kernel, bufs, step.ints, extent, frame.scratch, frame.has_pool, watch)


@function
def run_steps(program: Program, frame: Frame, times: Integers) -> I64:
    """All steps, or up to the first that has status bits, which are the result. Where ``times`` is not null it gets
    steps + 1 clock readings."""
    table = program.table
    bufs = stack_array(Ptr, program.max_buffers)
    read_clock(times, constant(0))
    for i in counted(program.steps):
        watch = local(Ptr, None)
        with if_(~is_null(frame.watch)), if_(i <= frame.stops):
            return_if(is_ended(frame.watch), ENDED)
            with if_(i != frame.stops):
                watch.value = frame.watch
        bits = run_step(table[i], frame, bufs, cast(Watch, watch.value))
        return_if(bits != 0, bits)
        read_clock(times, i + 1)
    return constant(0)


def read_clock(times: Value, i: Value) -> None:
    with if_(~is_null(times)):
        times[i] = now()


# ---------------------------------------------------------------------------------------------------- control


@cold
def run_control(control: Control, frame: Frame, bufs: Pointers, watch: Watch) -> I64:
    """Run a branch or a loop over the buffers of its step: what its bodies write is new."""
    inner = stack(Frame)
    inner.stops = UNBOUNDED
    inner.watch = watch
    inner.scratch = frame.scratch
    inner.has_pool = frame.has_pool
    with if_(control.kind == 0):
        inner.places = bufs
        with if_(cast(Bytes, bufs[0])[0] != 0):
            return_(run_steps(control.program, inner, None))
        return_(run_steps(control.other, inner, None))
    return run_loop(control, inner, bufs)


@cold
def run_loop(control: Control, frame: Frame, bufs: Pointers) -> I64:
    """Run a loop; ``frame`` is its iterations', still without places."""
    made, own = stack(Watch), local(Ptr, frame.watch)
    made.looked = about_now()
    made.count = 0
    with if_(is_null(frame.watch) & is_main_thread()):  # it may be long, however short the rest is; it writes no inputs
        own.value = made
    watch = cast(Watch, own.value)
    frame.watch = watch
    carries, sequences, results = control.carries, control.sequences, control.results
    has_go, program = control.has_go, control.program
    carry_bytes = cast(Integers, byte_offset(control, 8 * (3 + len(CONTROL_FIELDS))))
    sequence_bytes = at(carry_bytes, carries)
    result_bytes = at(sequence_bytes, sequences)
    # What it reads and gives, in the order of its buffers.
    count_at = has_go
    first = count_at + control.has_count
    sequences_at = first + carries
    finals = sequences_at + sequences + control.invariants
    results_at = finals + carries
    counted_at = results_at + results
    spares = counted_at + control.gives_count
    go_at = spares + carries
    # The places of an iteration.
    places = stack_array(Ptr, carries + carries + sequences + control.invariants + results + 2)
    frame.places = places
    next_go = carries + sequences + control.invariants
    next_carries = next_go + has_go
    next_results = next_carries + carries
    for i in counted(carries):
        places[i] = bufs[first + i]
    for i in counted(sequences + control.invariants):
        places[carries + i] = bufs[sequences_at + i]
    with if_(has_go != 0):
        places[next_go] = bufs[go_at]
    places[next_results + results] = bufs[go_at + has_go]  # an arena, or what is never read
    length = local(I64, control.length)
    with if_(control.has_count != 0):
        length.value = umin(length.value, cast(Integers, bufs[count_at])[0])
    done = local(I64, 0)
    going = local(I64, 1)
    with if_(has_go != 0):
        going.value = select(cast(Bytes, bufs[0])[0] != 0, constant(1), 0)
    # The last iteration of so many writes the final carries.
    turn = local(I64, (length.value - 1) & 1)
    with if_(has_go != 0):
        turn.value = 0
    look_at, interval, before = local(I64, 1), local(I64, 1), local(I64, made.looked)
    with while_(lambda: (going.value != 0) & (done.value < length.value)):
        index = select(control.reversed != 0, length.value - 1 - done.value, done.value)
        for i in counted(carries):
            places[next_carries + i] = bufs[select(turn.value == 0, finals, spares) + i]
        for i in counted(sequences):
            places[carries + i] = byte_offset(bufs[sequences_at + i], sequence_bytes[i] * index)
        for i in counted(results):
            places[next_results + i] = byte_offset(bufs[results_at + i], result_bytes[i] * index)
        bits = run_steps(program, frame, None)
        return_if(bits != 0, bits)
        for i in counted(carries):
            places[i] = places[next_carries + i]
        with if_(has_go != 0):
            going.value = select(cast(Bytes, bufs[go_at])[0] != 0, constant(1), 0)
        turn.value = constant(1) - turn.value
        done.value = done.value + 1
        with if_(done.value == look_at.value):
            return_if(is_ended(watch), ENDED)
            interval.value = next_interval(interval.value, before)
            look_at.value = done.value + interval.value
            # Steps of short iterations do not look by themselves, which would be a third of their time.
            frame.watch = select(interval.value == 1, watch, NULL)
    with if_((control.bounded != 0) & (going.value != 0)):
        return_(constant(NOT_DONE))
    for i in counted(carries):
        with if_(to_integer(places[i]) != to_integer(bufs[finals + i])):
            memcpy(bufs[finals + i], places[i], carry_bytes[i])
    with if_(control.gives_count != 0):
        cast(Integers, bufs[counted_at])[0] = done.value
    return constant(0)


@function
def next_interval(interval: I64, before: Integers) -> I64:
    """Iterations until the next look at the clock, where so many have passed since the one ``before``."""
    elapsed = about_now() - before[0]
    before[0] += elapsed
    return_if(elapsed < SOON // 4, interval + interval)
    return_if(elapsed < SOON, interval)
    return umax(interval // 4, 1)

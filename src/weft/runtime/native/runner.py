"""The program runner, one native call for a whole table of kernels.

The table, and how its steps are run, is in steps.py.

Places are numbered inputs, outputs, constants, arena. A call fills a row of base addresses on its own stack, so the
table is never written and calls may overlap. Order of a call, with the GIL: check the arguments, allocate outputs and
arena, take a scratch region and, if it is free, the pool. Then, without the GIL if the program says so: the steps.
Then, with the GIL: give everything back, and return the outputs, or drop them and raise the status, or what Python code
inside a step (host.py) raised.
"""

from __future__ import annotations

from ...llvm.module import cold, function, static, variable
from ...llvm.text import (
    I1,
    I64,
    NULL,
    TRUE,
    Integers,
    Pointers,
    Ptr,
    Value,
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
    to_float,
    to_pointer,
)
from . import SCRATCH_BYTES
from .allocator import allocate, class_of, lendable, release
from .cpython import (
    METH_FASTCALL,
    Builtin,
    MethodDef,
    Py_DecRef,
    PyBytes_FromStringAndSize,
    PyCFunction_NewEx,
    PyErr_NoMemory,
    PyEval_RestoreThread,
    PyEval_SaveThread,
    PyFloat_FromDouble,
    PyList_New,
    PyList_SetItem,
    PyLong_FromLongLong,
    PyObject_CallOneArg,
    PyTuple_New,
    PyTuple_SetItem,
    builtin,
    check_count,
    filled,
    new_none,
    new_reference,
    none,
    raise_out_of_memory,
    raise_status,
    raise_through,
)
from .guards import begin_guard, end_guard, with_guard
from .host import HOST_FAILED, leave_to
from .pool import ENDED, give_scratch, pool_acquire, pool_give_back, take_scratch
from .signals import Bytes, Watch, copy_saved, is_main_thread
from .steps import Frame, Program, run_steps, run_units
from .storage import Storage, check_storage, storage_allocate, storage_new
from .system import about_now, calloc, free, smax


@function
def bind_inputs(program: Program, arguments: Pointers, count: I64, places: Pointers) -> Ptr:
    """Inputs and constants into their places; null with TypeError set, else the program."""
    inputs = program.inputs
    check_count("program", inputs, count)
    for i in counted(inputs):
        places[i] = check_storage(arguments[i], "program", i).address
    first, addresses = inputs + program.outputs, program.constant_addresses
    for i in counted(program.constants):
        places[first + i] = addresses[i]
    return program


@function
def drop_outputs(objects: Pointers, count: I64) -> None:
    for i in counted(count):
        Py_DecRef(objects[i])


@function
def make_outputs(program: Program, places: Pointers, objects: Pointers) -> I1:
    """Allocate the outputs, into ``objects`` and their places; false with an exception set, and nothing allocated."""
    inputs, sizes = program.inputs, program.output_nbytes
    for i in counted(program.outputs):
        storage = cast(Storage, storage_allocate(sizes[i]))
        with if_(is_null(storage)):
            drop_outputs(objects, i)
            return_()
        objects[i] = storage
        places[inputs + i] = storage.address
    return TRUE


def arena_place(program: Value) -> Value:
    """The last place."""
    return program.inputs + program.outputs + program.constants


@function
def open_frame(program: Program, places: Pointers, frame: Frame, watch: Watch) -> I1:
    """Arena, scratch and pool for a call; false with OutOfMemoryError set, and nothing taken."""
    frame.places = places
    frame.arena = None
    nbytes = program.arena_nbytes
    with if_(nbytes != 0):
        size_class = lendable(class_of(with_guard(nbytes)))
        arena = allocate(size_class)
        with if_(is_null(arena)):
            raise_through(raise_out_of_memory.value, nbytes)
            return_()
        begin_guard(arena, nbytes)
        frame.arena = arena
        frame.arena_class = size_class
        places[arena_place(program)] = arena
    frame.scratch = take_scratch()
    with if_(is_null(frame.scratch)):
        release_arena(program, frame)
        raise_through(raise_out_of_memory.value, SCRATCH_BYTES)
        return_()
    frame.watch = None
    frame.stops = program.release_gil - 1
    with if_((program.release_gil != 0) & is_main_thread()):
        watch.looked = about_now()
        watch.count = 0
        watch.places = places
        watch.saved = program.saved
        frame.watch = watch
        with if_(frame.stops > program.before_writes):
            save_inputs(program, frame)
    frame.has_pool = False
    with if_(program.parallel != 0):
        frame.has_pool = pool_acquire()
    return TRUE


@cold
def save_inputs(program: Program, frame: Frame) -> None:
    """Save what is written early; where there is no memory for that, the run cannot be ended from there on."""
    watch = frame.watch
    memory = allocate(class_of(program.saved_nbytes))
    with if_(is_null(memory)):
        frame.stops = program.before_writes
        return_()
    watch.memory = cast(Bytes, memory)
    watch.count = program.saves
    copy_saved(watch)


def release_arena(program: Value, frame: Value) -> None:
    with if_(~is_null(frame.arena)):
        end_guard(frame.arena, program.arena_nbytes)
        release(frame.arena, frame.arena_class)


@function
def close_frame(program: Program, frame: Frame) -> None:
    release_arena(program, frame)
    with if_(~is_null(frame.watch)), if_(frame.watch.count != 0):
        release(frame.watch.memory, class_of(program.saved_nbytes))
    give_scratch(frame.scratch)
    with if_(frame.has_pool):
        pool_give_back()


@function
def pack_outputs(objects: Pointers, count: I64) -> Ptr:
    """The outputs as what a call returns; takes over the references."""
    with if_(count == 1):
        return_(objects[0])
    with if_(count == 0):
        return_(new_none())
    outputs = PyTuple_New(count)
    with if_(is_null(outputs)):
        drop_outputs(objects, count)
        return_()
    for i in counted(count):
        PyTuple_SetItem(outputs, i, objects[i])
    return outputs


@function
def program_run(self: Storage, arguments: Pointers, count: I64, times: Integers) -> Ptr:
    """A whole call."""
    program = cast(Program, self.address)
    outputs = program.outputs
    places = stack_array(Ptr, arena_place(program) + 1)
    objects = stack_array(Ptr, outputs)
    frame = stack(Frame)
    return_if(is_null(bind_inputs(program, arguments, count, places)))
    return_if(~make_outputs(program, places, objects))
    with if_(~open_frame(program, places, frame, stack(Watch))):
        drop_outputs(objects, outputs)
        return_()
    bits = local(I64)
    with if_(program.release_gil == 0):
        bits.value = run_steps(program, frame, times)
    with else_():
        thread = PyEval_SaveThread()
        bits.value = run_steps(program, frame, times)
        PyEval_RestoreThread(thread)
    with if_(bits.value != 0):
        return_(failed(self, arguments, objects, frame, bits.value))
    close_frame(program, frame)
    return pack_outputs(objects, outputs)


@cold
def failed(self: Storage, arguments: Pointers, objects: Pointers, frame: Frame, bits: I64) -> Ptr:
    """Give everything back and raise the status, or leave what Python code, or a signal's handler, has raised."""
    with if_(bits == HOST_FAILED):
        give_to_holders(self, arguments, objects, frame)
    program = cast(Program, self.address)
    close_frame(program, frame)
    drop_outputs(objects, program.outputs)
    return_if((bits == HOST_FAILED) | (bits == ENDED))
    return raise_through(raise_status.value, bits)


@function
def give_to_holders(self: Storage, arguments: Pointers, objects: Pointers, frame: Frame) -> None:
    """Let those who still hold windows of a step that failed (a traceback's frames) keep the memory of the run."""
    held = cast(Pointers, frame.scratch)[0]
    return_if(is_null(held))
    program = cast(Program, self.address)
    inputs, outputs = program.inputs, program.outputs
    memory = PyTuple_New(inputs + outputs + 2)
    return_if(is_null(memory))
    for i in counted(inputs):
        PyTuple_SetItem(memory, i, new_reference(arguments[i]))
    for i in counted(outputs):
        PyTuple_SetItem(memory, inputs + i, new_reference(objects[i]))
    PyTuple_SetItem(memory, inputs + outputs, new_reference(self))  # whose owner holds the constants
    arena = local(Ptr, None)
    with if_(~is_null(frame.arena)):
        arena.value = storage_new(frame.arena, program.arena_nbytes, None, frame.arena_class, None)
        frame.arena = None
    with if_(is_null(arena.value)):
        arena.value = new_none()
    PyTuple_SetItem(memory, inputs + outputs + 1, arena.value)
    leave_to(held, memory)
    Py_DecRef(memory)


# ---------------------------------------------------------------------------------------------------- builtins


def program_call(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """Run the program: call(*inputs) -> Storage | tuple[Storage, ...] | None."""
    return program_run(self, arguments, count, None)


def program_profile(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """Run the program, drop its outputs; the seconds of each step."""
    steps = cast(Program, self.address).steps
    times = cast(Integers, calloc(steps + 1, 8))
    with if_(is_null(times)):
        return_(PyErr_NoMemory())
    result = program_run(self, arguments, count, times)
    seconds = local(Ptr, None)
    with if_(~is_null(result)):
        Py_DecRef(result)
        seconds.value = list_differences(times, steps)
    free(times)
    return seconds.value


@function
def list_differences(times: Integers, count: I64) -> Ptr:
    """[times[1] - times[0], ...] in seconds, as a list of floats."""

    def seconds(i: Value) -> Value:
        return PyFloat_FromDouble(to_float(times[i + 1] - times[i]) / 1e9)

    return filled(PyList_New(count), PyList_SetItem, count, seconds)


watcher = variable("watcher", Ptr)  # Python code that is told of every call, while there is some


def program_watched(self: Storage, arguments: Pointers, count: I64) -> Ptr:
    """What stands for :func:`program_call` meanwhile: the call, then ``watcher((table, clock readings as bytes))``."""
    steps = cast(Program, self.address).steps
    times = cast(Integers, calloc(steps + 1, 8))
    with if_(is_null(times)):
        return_(PyErr_NoMemory())
    result = local(Ptr, program_run(self, arguments, count, times))
    with if_(~is_null(result.value)), if_(is_null(tell_watcher(self, times, (steps + 1) * 8))):
        Py_DecRef(result.value)
        result.value = None
    free(times)
    return result.value


@cold
def tell_watcher(self: Storage, times: Integers, nbytes: I64) -> Ptr:
    """Not null, unless the watcher has raised something."""
    told = PyTuple_New(2)
    return_if(is_null(told))
    PyTuple_SetItem(told, 0, new_reference(self))
    PyTuple_SetItem(told, 1, PyBytes_FromStringAndSize(times, nbytes))
    answer = PyObject_CallOneArg(watcher.value, told)
    Py_DecRef(told)
    Py_DecRef(answer)
    return answer


METHODS = [Builtin(body, METH_FASTCALL).row for body in (program_call, program_profile)]  # their self is a table
methods = static("methods", MethodDef, METHODS)
# CPython reads a builtin's function from its row at every call: what is written there holds for all programs at once,
# and who does not watch pays nothing.
plain_and_watched = static("plain_and_watched", Ptr, [METHODS[0][1], Builtin(program_watched, METH_FASTCALL)])


@builtin
def program_bind(table: Storage) -> Ptr:
    """The two callables (call, profile) of a program's table, a Storage."""
    count = len(METHODS)
    return filled(PyTuple_New(count), PyTuple_SetItem, count, lambda i: PyCFunction_NewEx(methods[i], table, None))


@builtin
def program_watch(function: Ptr) -> Ptr:
    """program_watch(function): let ``function((table, clock))`` be told of every call of a program that succeeds, from
    now on; ``clock``: steps + 1 readings in ns, int64, as bytes. None: of no call."""
    before, on = watcher.value, function != none.value
    watcher.value = new_reference(function)
    methods[0].function = plain_and_watched[select(on, constant(1), constant(0))]
    Py_DecRef(before)
    return new_none()


@builtin
def parallel_for(kernel: I64, bufs: I64, ints: I64, units: I64, grain: I64) -> Ptr:
    """(kernel, bufs, ints, units, grain): run on the pool; addresses of the ABI's arrays."""
    scratch = take_scratch()
    with if_(is_null(scratch)):
        return_(raise_through(raise_out_of_memory.value, SCRATCH_BYTES))
    has_pool = pool_acquire()
    thread = PyEval_SaveThread()  # always without the GIL
    arrays = to_pointer(bufs), to_pointer(ints)
    extent = units, smax(grain, 1), constant(0)
    bits = run_units(to_pointer(kernel), *arrays, extent, scratch, has_pool, NULL)
    PyEval_RestoreThread(thread)
    give_scratch(scratch)
    with if_(has_pool):
        pool_give_back()
    return PyLong_FromLongLong(bits)

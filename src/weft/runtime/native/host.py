"""Python code as a step: ``host_kernel`` is a kernel of the ABI, so that nothing that runs steps knows of it.

Its integers are ``function, count, operands, nbytes...``. It takes the GIL (a program may have let go of it), lends the
function a window for each buffer, the operands' read-only, and takes them back. A window that somebody holds longer
than the call is an error, since the memory is used again: after an exception the frames of its traceback do, and those
must not dangle either. So the step that fails leaves the windows that are still held, linked by their notes, at the
beginning of its scratch region, and the run that ends with it leaves them its memory (runner.py).
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import cold, function
from ...llvm.text import (
    FALSE,
    I1,
    I64,
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
    pointer_to,
    return_,
    return_if,
    select,
    stack_array,
    to_integer,
    to_pointer,
    while_,
)
from .cpython import (
    Py_DecRef,
    PyGILState_Ensure,
    PyGILState_Release,
    PyLong_FromLongLong,
    PyObject_CallOneArg,
    PyObject_Vectorcall,
    builtin,
    collect_garbage,
    new_reference,
    none,
    raise_kept,
)
from .storage import READ_ONLY, Storage, storage_new

HOST_FAILED = 1 << 62  # the status of a step whose Python code has set an exception

Held = Annotated[Value, pointer_to(Ptr)]  # where a failed step leaves the first window that is still held


@function
def lend(bufs: Pointers, ints: Integers, windows: Pointers) -> I1:
    """A window on each buffer; false with MemoryError set, and none."""
    count, operands = ints[1], ints[2]
    for i in counted(count):
        access = select(i < operands, constant(READ_ONLY), 0)
        made = storage_new(bufs[i], ints[i + 3], new_reference(none.value), access, None)
        with if_(is_null(made)):
            for k in counted(i):
                Py_DecRef(windows[k])
            return_(FALSE)
        windows[i] = made
    return TRUE


@function
def any_held(windows: Pointers, count: I64) -> I1:
    """Whether anybody else has a reference to a window."""
    for i in counted(count):
        return_if(cast(Storage, windows[i]).refcount != 1, TRUE)
    return FALSE


@cold
def refuse_held(function: Ptr, windows: Pointers, count: I64) -> I1:
    """True with an exception set where windows are held, by something else than garbage."""
    collected = PyObject_CallOneArg(collect_garbage.value, function)
    return_if(is_null(collected), TRUE)
    Py_DecRef(collected)
    return_if(~any_held(windows, count), FALSE)
    Py_DecRef(PyObject_CallOneArg(raise_kept.value, function))
    return TRUE


@function
def take_back(windows: Pointers, count: I64) -> Ptr:
    """The first of the windows that somebody else holds, each with the next as its note; the others are dropped."""
    first = local(Ptr, None)
    for i in counted(count):
        window = cast(Storage, windows[i])
        with if_(window.refcount == 1):
            Py_DecRef(window)
        with else_():
            window.note = first.value
            first.value = window
    return first.value


def leave_to(held: Value, memory: Value) -> None:
    """Make ``memory`` what the windows keep alive, for whoever holds them."""
    next = local(Ptr, held)
    with while_(lambda: ~is_null(next.value)):
        window = cast(Storage, next.value)
        next.value = window.note
        window.note = None
        Py_DecRef(window.owner)  # None
        window.owner = new_reference(memory)
        Py_DecRef(window)


@function
def run_host(bufs: Pointers, ints: Integers, begin: I64, end: I64, scratch: Held) -> I64:
    """The kernel."""
    state = PyGILState_Ensure()
    function, count = to_pointer(ints[0]), ints[1]
    windows = stack_array(Ptr, count)
    scratch.value = None
    bits = local(I64, HOST_FAILED)
    with if_(lend(bufs, ints, windows)):
        result = PyObject_Vectorcall(function, windows, count, None)
        with if_(~is_null(result)):
            Py_DecRef(result)
            bits.value = 0
            with if_(any_held(windows, count)), if_(refuse_held(function, windows, count)):
                bits.value = HOST_FAILED
        scratch.value = take_back(windows, count)
    PyGILState_Release(state)
    return bits.value


@builtin
def host_kernel() -> Ptr:
    """The address of the kernel that calls Python code."""
    return PyLong_FromLongLong(to_integer(run_host.address))

"""Signals during long runs: Ctrl-C, and whatever else Python code handles.

Python runs the handlers of signals on its main thread, between its own instructions. A run without the GIL has none, so
it looks for signals itself, every ``SOON`` nanoseconds, between kernels and between the ranges of a long one: it takes
the GIL and lets the handlers run. If one of them raises, the run ends there, with that exception set, and with nothing
written that was there before: a run looks as long as its steps write nothing that it could not give back (steps.py).

A *watch* is what a run looks with: the time of its last look, and the inputs that it may have written by then, which
are few and small (program.Release): ``memory`` has what they held before. Handlers see them as they were, and so does
everybody after a run that has ended. No thread is inside of a kernel meanwhile, for what was saved may be memory that
the kernel works on. A null watch stands for a run that does not look: one that is short, on another thread than the
main one, or past its first write of more.
"""

from __future__ import annotations

from typing import Annotated

from ...llvm.module import cold, function, variable
from ...llvm.text import (
    FALSE,
    I1,
    I64,
    Pointers,
    Ptr,
    Type,
    Value,
    byte_offset,
    cast,
    counted,
    if_,
    is_null,
    local,
    pointer_to,
    return_if,
    structure,
)
from .cpython import (
    PyErr_CheckSignals,
    PyGILState_Ensure,
    PyGILState_Release,
    PyThread_get_thread_ident,
    builtin,
    new_none,
)
from .system import about_now, memcpy

SOON = 60_000_000  # nanoseconds between two looks
Bytes = Annotated[Value, pointer_to(Annotated[Value, Type("i8")])]
RANGE = 15_000_000  # about what a range of a kernel that may be ended takes at most

main_thread = variable("main_thread", I64)
Saved = Annotated[Value, structure("Saved", place=I64, nbytes=I64)]
Watch = Annotated[Value, structure("Watch", looked=I64, count=I64, saved=Saved, places=Pointers, memory=Bytes)]


@builtin
def set_main_thread(identity: I64) -> Ptr:
    """set_main_thread(identity): the thread that handles signals."""
    main_thread.value = identity
    return new_none()


@function
def is_main_thread() -> I1:
    return PyThread_get_thread_ident() == main_thread.value


@function
def is_ended(watch: Watch) -> I1:
    """Whether the run has to end: a handler has raised. To be asked again and again."""
    return_if(is_null(watch), FALSE)
    return_if(about_now() - watch.looked < SOON, FALSE)
    return has_raised(watch)


@function
def is_due(watch: Watch) -> I1:
    """Whether a kernel that others compute too has to stop for a look: later than between kernels, where nobody waits
    for anybody."""
    return_if(is_null(watch), FALSE)
    return about_now() - watch.looked >= 2 * SOON


@cold
def has_raised(watch: Watch) -> I1:
    """Let handlers run; whether one has raised."""
    state = PyGILState_Ensure()
    exchange(watch)
    raised = PyErr_CheckSignals()
    with if_(raised == 0):
        exchange(watch)
    PyGILState_Release(state)
    watch.looked = about_now()
    return raised != 0


@function
def exchange(watch: Watch) -> None:
    """Let what is saved and what is there now change places."""
    memory = local(Ptr, watch.memory)
    for i in counted(watch.count):
        saved, here = cast(Bytes, memory.value), cast(Bytes, watch.places[watch.saved[i].place])
        nbytes = watch.saved[i].nbytes
        for k in counted(nbytes):
            before = saved[k]
            saved[k] = here[k]
            here[k] = before
        memory.value = byte_offset(memory.value, nbytes)


@cold
def copy_saved(watch: Watch) -> None:
    """Copy what is there now."""
    memory = local(Ptr, watch.memory)
    for i in counted(watch.count):
        nbytes = watch.saved[i].nbytes
        memcpy(memory.value, watch.places[watch.saved[i].place], nbytes)
        memory.value = byte_offset(memory.value, nbytes)

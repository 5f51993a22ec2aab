"""The native runtime: Storage, allocator, thread pool and program runner, as one module of LLVM IR text.

Each file here is one section: its IR (``TEXT``) and the builtins that it gives to Python (``BUILTINS``: name ->
(calling convention, doc)). :func:`native` puts them together, compiles them through the object cache, and asks the
module's only exported function, ``weft_native_init``, for the type and the builtins. That happens once a process.

Who holds what lock: everything but the pool's job is guarded by the GIL (see allocator.py and pool.py).
"""

from __future__ import annotations

import ctypes
import os
import string
import sys
from collections.abc import Callable
from typing import Any

from ...core.errors import CompileError
from ..process import Lock
from . import allocator, cpython, dlpack, pool, runner, storage, view

__all__ = ["MAX_THREADS", "SCRATCH_BYTES", "UNLIMITED", "native", "text"]

SCRATCH_BYTES = 2 << 20  # of each thread that runs kernels
MAX_THREADS = 512
UNLIMITED = (1 << 63) - 1
_HUGE_PAGE = 2 << 20
_OPEN, _STOP, _INSIDE = 1 << 31, 1 << 30, 0xFFFF  # pool.py, `word`

_CONSTANTS = {
    "SCRATCH_BYTES": SCRATCH_BYTES,
    "MAX_THREADS": MAX_THREADS,
    "STACK_BYTES": 8 << 20,
    "UNLIMITED": UNLIMITED,
    "CLASSES": 8 * (47 - 9) + 16,  # class_of(LARGEST) + 1
    "LARGEST": 1 << 47,
    "LARGE": 1 << 20,
    "CACHE_SLACK": 256 << 20,
    "HUGE_PAGE": _HUGE_PAGE,
    "HUGE_PAGE_MASK": _HUGE_PAGE - 1,
    "HUGE_PAGE_INVERSE": -_HUGE_PAGE,
    "STORAGE_SIZE": 88,
    "READ_ONLY": -1,  # in place of a window's size class
    "OPEN": _OPEN,
    "NOT_OPEN": ~_OPEN,
    "STOP": _STOP,
    "NOT_STOP": ~_STOP,
    "INSIDE": _INSIDE,
}

# <sys/mman.h>, <time.h>, <signal.h>: MAP_PRIVATE | MAP_ANONYMOUS, CLOCK_MONOTONIC, SIG_SETMASK
_SYSTEMS: dict[str, dict[str, Any]] = {
    "linux": {
        "MAP_FLAGS": 0x22,
        "CLOCK_MONOTONIC": 1,
        "SIG_SETMASK": 2,
        "ADVISE_HUGE_PAGES": "%advised = call i32 @madvise(ptr %block, i64 %nbytes, i32 14)",
    },
    "darwin": {"MAP_FLAGS": 0x1002, "CLOCK_MONOTONIC": 6, "SIG_SETMASK": 3, "ADVISE_HUGE_PAGES": ""},
}

# a hint to the core that this is a spin loop
_PAUSES = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32 immarg)", "call void @llvm.aarch64.hint(i32 1)"),
}
_PAUSES["arm64"] = _PAUSES["aarch64"]

_SECTIONS = (cpython, allocator, storage, view, pool, runner, dlpack)
_FLAGS = {"fast": 0x80, "none": 0x04, "one": 0x08}  # METH_FASTCALL, METH_NOARGS, METH_O

_INIT = r"""
; Keep the hooks, make the Storage type, and fill a dict with it and with the builtins.
define ptr @weft_native_init(ptr %hooks) {
  %dict = call ptr @PyDict_New()
  %no_dict = icmp eq ptr %dict, null
  br i1 %no_dict, label %failed, label %keep_hooks
keep_hooks:
$KEEP_HOOKS
  call void @pool_initialise()
  %type = call ptr @make_storage_type()
  %no_type = icmp eq ptr %type, null
  br i1 %no_type, label %failed, label %add_type
add_type:
  %added = call i32 @PyDict_SetItemString(ptr %dict, ptr @text_storage_name, ptr %type)
  br label %loop
loop:
  %i = phi i64 [ 0, %add_type ], [ %next, %add ]
  %more = icmp slt i64 %i, $COUNT
  br i1 %more, label %make, label %done
make:
  %method = getelementptr %MethodDef, ptr @builtins, i64 %i
  %function = call ptr @PyCFunction_NewEx(ptr %method, ptr null, ptr null)
  %no_function = icmp eq ptr %function, null
  br i1 %no_function, label %failed, label %add
add:
  %name = load ptr, ptr %method
  %added_function = call i32 @PyDict_SetItemString(ptr %dict, ptr %name, ptr %function)
  call void @Py_DecRef(ptr %function)
  %next = add i64 %i, 1
  br label %loop
done:
  ret ptr %dict
failed:
  ret ptr null
}
"""


def _method(name: str, kind: str) -> str:
    return f"%MethodDef {{ ptr @name_{name}, ptr @{name}, i32 {_FLAGS[kind]}, ptr @doc_{name} }}"


def _tables() -> str:
    """Method definitions of all builtins, and the init function."""
    builtins = {
        name: entry
        for section in (allocator, storage, view, pool, runner, dlpack)
        for name, entry in section.BUILTINS.items()
    }
    names = {**builtins, **runner.METHODS}
    lines = [
        cpython.strings(
            text_storage_name="Storage",
            **{f"name_{name}": name for name in names},
            **{f"doc_{name}": doc for name, (_, doc) in names.items()},
        )
    ]
    rows = ",\n  ".join(_method(name, kind) for name, (kind, _) in builtins.items())
    lines.append(f"@builtins = internal global [{len(builtins)} x %MethodDef] [\n  {rows} ]")
    lines += [f"@method_{name} = internal global {_method(name, kind)}" for name, (kind, _) in runner.METHODS.items()]
    hooks = [
        f"  %hook_{i} = call ptr @PyTuple_GetItem(ptr %hooks, i64 {i})\n"
        f"  call void @Py_IncRef(ptr %hook_{i})\n"
        f"  store ptr %hook_{i}, ptr @py_{name}"
        for i, name in enumerate(cpython.HOOKS)
    ]
    init = string.Template(_INIT).substitute(KEEP_HOOKS="\n".join(hooks), COUNT=len(builtins))
    return "\n".join([*lines, init])


def text() -> str:
    """The whole module for this platform.

    Raises:
        CompileError: an operating system or machine that the runtime does not know.
    """
    system, machine = sys.platform, os.uname().machine if hasattr(os, "uname") else ""
    if system not in _SYSTEMS or machine not in _PAUSES:
        raise CompileError(
            f"weft's runtime does not know {system} on {machine}; it knows "
            f"{', '.join(_SYSTEMS)} on {', '.join(_PAUSES)}"
        )
    declare, pause = _PAUSES[machine]
    sections = [*(section.TEXT for section in _SECTIONS), _tables()]
    return string.Template("\n".join(sections)).substitute(
        _CONSTANTS, DECLARE_PAUSE=declare, PAUSE=pause, **_SYSTEMS[system]
    )


def _raise_out_of_memory(nbytes: int) -> None:
    from ..memory import raise_out_of_memory

    raise_out_of_memory(nbytes)


def _raise_status(bits: int) -> None:
    from ..program import KernelStatus

    raise KernelStatus(bits)


_builtins: dict[str, Callable[..., Any]] = {}
_lock = Lock()


def native() -> dict[str, Callable[..., Any]]:
    """The type ``Storage`` and the builtins by name; compiled or loaded at the first call.

    Raises:
        CompileError: a platform, or a build of CPython, that the runtime does not know.
    """
    if not _builtins:
        with _lock.now:
            if not _builtins:
                loaded = _load()
                if not _builtins:  # a destructor that ran meanwhile may have needed it, and there is one Storage type
                    _builtins.update(loaded)
    return _builtins


def _load() -> dict[str, Callable[..., Any]]:
    from ..llvm import host_target, load
    from ..object_cache import cached_object

    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""):
        raise CompileError("weft's runtime needs CPython with the GIL, not a free-threaded build or another Python")
    module = load(cached_object("weft native runtime", host_target(), text))
    hooks = (None, TypeError, ValueError, BufferError, _raise_out_of_memory, _raise_status)  # cpython.HOOKS
    initialise = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(module.address("weft_native_init"))
    builtins: dict[str, Callable[..., Any]] = initialise(hooks)
    return builtins

"""The native runtime: Storage, allocator, thread pool and program runner, as one module of LLVM IR.

Each file here is one section, written with the builder of ``llvm/text.py``; what of it Python calls is a ``builtin``
(cpython.py). :func:`native` renders the module where no cache has it, loads it, and asks its only exported function,
``weft_native_init``, for the type and the builtins. That happens once a process.

Who holds what lock: everything but the pool's job is guarded by the GIL (see allocator.py and pool.py).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from ...core.errors import CompileError
from ...core.process import Lock, undivided

SCRATCH_BYTES = 2 << 20  # of each thread that runs kernels; part of the kernel ABI (compiler/kernels.py)
UNLIMITED = (1 << 63) - 1  # bytes that memory may take at most


def text() -> str:
    """The whole module for this platform.

    Raises:
        CompileError: an operating system or machine that the runtime does not know.
    """
    with undivided():  # imported here: with a warm cache nothing is rendered
        from ...llvm.module import module
        from .init import weft_native_init
        from .system import check_platform
    check_platform()
    return module([weft_native_init])


def _raise_out_of_memory(nbytes: int) -> None:
    from ..memory import raise_out_of_memory

    raise_out_of_memory(nbytes)


def _raise_status(bits: int) -> None:
    from ..access_record import STATUS_MEMORY, raise_noted
    from ..program import KernelStatus

    if bits >= 0 and bits & STATUS_MEMORY:
        raise_noted()
    raise KernelStatus(bits)


def _collect_garbage(function: Callable[..., None]) -> None:
    import gc

    gc.collect()


def _raise_kept(function: Any) -> None:
    from ..program import HostError

    name = function.__name__
    error = BufferError(f"{name}: its Python code keeps an array over memory that the run uses again; keep a copy")
    raise HostError(error, function.line)


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
    from ...llvm.elf import load
    from ...llvm.object_cache import cached_object
    from ...llvm.targets import host_target

    if sys.implementation.name != "cpython" or "t" in getattr(sys, "abiflags", ""):
        raise CompileError("weft's runtime needs CPython with the GIL, not a free-threaded build or another Python")
    module = load(cached_object("weft native runtime", host_target(), text))
    raising = _raise_out_of_memory, _raise_status, _collect_garbage, _raise_kept
    hooks = (None, TypeError, ValueError, BufferError, *raising)  # cpython.HOOKS
    initialise = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(module.address("weft_native_init"))
    builtins: dict[str, Callable[..., Any]] = initialise(hooks)
    return builtins

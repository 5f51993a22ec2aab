"""What the native runtime asks of libc, pthread and the machine, and how they differ between systems."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from ...core.errors import CompileError
from ...llvm.module import Function, extern, function
from ...llvm.text import I1, I32, I64, Ptr, Value, stack_array

calloc = extern(Ptr, "calloc", I64, I64)
free = extern(None, "free", Ptr)
memcmp = extern(I32, "memcmp", Ptr, Ptr, I64)
memset = extern(Ptr, "memset", Ptr, I32, I64)
memcpy = extern(Ptr, "memcpy", Ptr, Ptr, I64)
posix_memalign = extern(I32, "posix_memalign", Ptr, I64, I64)
mmap = extern(Ptr, "mmap", Ptr, I64, I32, I32, I32, I64)
munmap = extern(I32, "munmap", Ptr, I64)
madvise = extern(I32, "madvise", Ptr, I64, I32)
clock_gettime = extern(I32, "clock_gettime", I32, Ptr)
sigfillset = extern(I32, "sigfillset", Ptr)

pthread_mutex_init = extern(I32, "pthread_mutex_init", Ptr, Ptr)
pthread_mutex_lock = extern(I32, "pthread_mutex_lock", Ptr)
pthread_mutex_unlock = extern(I32, "pthread_mutex_unlock", Ptr)
pthread_cond_init = extern(I32, "pthread_cond_init", Ptr, Ptr)
pthread_cond_wait = extern(I32, "pthread_cond_wait", Ptr, Ptr)
pthread_cond_signal = extern(I32, "pthread_cond_signal", Ptr)
pthread_cond_broadcast = extern(I32, "pthread_cond_broadcast", Ptr)
pthread_attr_init = extern(I32, "pthread_attr_init", Ptr)
pthread_attr_setstacksize = extern(I32, "pthread_attr_setstacksize", Ptr, I64)
pthread_attr_destroy = extern(I32, "pthread_attr_destroy", Ptr)
pthread_create = extern(I32, "pthread_create", Ptr, Ptr, Ptr, Ptr)
pthread_join = extern(I32, "pthread_join", I64, Ptr)
pthread_sigmask = extern(I32, "pthread_sigmask", I32, Ptr, Ptr)
PTHREAD_WORDS = 16  # of any pthread object or signal set: more than on any platform

ctlz = extern(I64, "llvm.ctlz.i64", I64, I1)
umax = extern(I64, "llvm.umax.i64", I64, I64)
umin = extern(I64, "llvm.umin.i64", I64, I64)
smax = extern(I64, "llvm.smax.i64", I64, I64)


class System(NamedTuple):
    """Numbers of <sys/mman.h>, <time.h>, <signal.h>; ``huge_pages`` is the advice to use them, None where there is
    none. ``clock_coarse`` is right to some milliseconds, and is read in a few nanoseconds."""

    map_private_anonymous: int
    clock_monotonic: int
    clock_coarse: int
    sig_setmask: int
    huge_pages: int | None


_SYSTEMS = {"linux": System(0x22, 1, 6, 2, 14), "darwin": System(0x1002, 6, 5, 3, None)}

# hints to the core that this is a spin loop
_PAUSES: dict[str, tuple[Function, tuple[int, ...]]] = {
    "x86_64": (extern(None, "llvm.x86.sse2.pause"), ()),
    "aarch64": (extern(None, "llvm.aarch64.hint", I32), (1,)),
}
_PAUSES["arm64"] = _PAUSES["aarch64"]


def _machine() -> str:
    return os.uname().machine if hasattr(os, "uname") else ""


def check_platform() -> None:
    """Whether the runtime can be made for this platform.

    Raises:
        CompileError: an operating system or machine that the runtime does not know.
    """
    if sys.platform not in _SYSTEMS or _machine() not in _PAUSES:
        raise CompileError(
            f"weft's runtime does not know {sys.platform} on {_machine()}; it knows "
            f"{', '.join(_SYSTEMS)} on {', '.join(_PAUSES)}"
        )


def system() -> System:
    """The numbers of this system."""
    return _SYSTEMS[sys.platform]


def pause() -> None:
    """Tell the core that this is a spin loop."""
    hint, arguments = _PAUSES[_machine()]
    hint(*arguments)


def _nanoseconds(clock: int) -> Value:
    time = stack_array(I64, 2)  # seconds, nanoseconds
    clock_gettime(clock, time)
    return time[0] * 1_000_000_000 + time[1]


@function
def now() -> I64:
    """Nanoseconds of the monotonic clock."""
    return _nanoseconds(system().clock_monotonic)


@function
def about_now() -> I64:
    """Nanoseconds of a coarse clock."""
    return _nanoseconds(system().clock_coarse)

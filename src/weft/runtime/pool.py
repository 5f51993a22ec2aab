"""The thread pool: how many threads compute, and running one kernel on all of them (native/pool.py does the work).

The calling thread computes too, so ``n`` threads are the caller and ``n - 1`` workers. Workers start with the first
work that is large enough, spin for ``SPIN`` seconds when they run out of it (not on a single core), up to ``AWAKE`` in
the middle of a program (where each has a CPU of its own), then sleep. They are woken for work that takes longer than
that costs, so that no call is slower with several threads than with one. The pool serves one Python thread at a time;
others that come meanwhile compute alone. Before a fork idle workers end, and parent and child start their own when they
need them; a child forked while workers compute has none of them either. At exit idle workers end; what still computes
then is left alone.
"""

from __future__ import annotations

import atexit
import os
import threading
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.cpus import cpus
from ..core.process import Lock
from .native import native

if TYPE_CHECKING:
    from .storage import Storage

SPIN = 30e-6  # seconds; waking a sleeping thread costs 5 to 50 us


_started = False
_lock = Lock()


def start() -> dict[str, Any]:
    """The native builtins, with the pool prepared at the first call: its size, and what happens at fork and at exit."""
    if not _started:
        with _lock.now:
            if not _started:
                _prepare()
    return native()


def _prepare() -> None:
    global _started
    builtins = native()
    cores, whole = cpus()
    builtins["set_main_thread"](threading.main_thread().ident)
    builtins["pool_set_threads"](cores)
    builtins["pool_set_spin"](int(SPIN * 1e9) if cores > 1 else 0)
    builtins["pool_set_cpus"](whole)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=builtins["pool_stop"], after_in_child=builtins["pool_after_fork"])
    atexit.register(_finish)
    _started = True


def _finish() -> None:
    builtins = start()
    builtins["pool_set_threads"](1)
    builtins["pool_stop"]()


def set_num_threads(count: int) -> None:
    """Compute with up to ``count`` threads from the next call on. Results do not depend on it.

    Raises:
        ValueError: less than 1, or more than 512.
    """
    start()["pool_set_threads"](count)


def get_num_threads() -> int:
    """Threads that a call may use; at the start the number of cores."""
    return int(start()["pool_threads"]())


def num_workers() -> int:
    """Worker threads that are alive; the caller is not one."""
    return int(start()["pool_workers"]())


def num_shared() -> int:
    """How many jobs were open to workers; those that were not worth waking them are not among these."""
    return int(start()["pool_shared"]())


def num_moves() -> int:
    """How often a worker was woken on another CPU than it slept on, because its caller ran there."""
    return int(start()["pool_moves"]())


def parallel_for(kernel: int, buffers: Sequence[Storage], ints: Sequence[int], units: int, grain: int = 1) -> int:
    """Run one kernel over ``0 <= unit < units``, in ranges of at least ``grain`` units; returns its status bits.

    For tests and tools: a Program does this for many kernels at a fraction of the cost.

    Args:
        kernel: address of code of the kernel ABI.
        buffers, ints: what it works on.
    """
    bufs = array("q", [buffer.address for buffer in buffers])
    numbers = array("q", ints)
    return int(start()["parallel_for"](kernel, bufs.buffer_info()[0], numbers.buffer_info()[0], units, grain))

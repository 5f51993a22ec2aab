"""Memory: statistics and limits of the caching allocator that all Storage blocks come from (native/allocator.py).

Freed blocks are kept for reuse, by size class, so that a training step that repeats takes no memory from the system.
What is kept never brings the total above the limit, nor above twice the peak in use plus 256 MiB.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from ..core.errors import OutOfMemoryError
from .native import UNLIMITED, native

__all__ = ["Stats", "empty_cache", "raise_out_of_memory", "reset_peak", "set_limit", "stats"]


class Stats(NamedTuple):
    """Bytes are those of whole blocks, at most an eighth (for small ones 63 bytes) more than was asked for.

    current: in use. peak: largest ``current`` since :func:`reset_peak`. cached: kept for reuse; ``current + cached``
    is what is held of the system's memory. allocations: blocks handed out so far. system_allocations: those that had
    to come from the system. limit: bytes that may be held, or None.
    """

    current: int
    peak: int
    cached: int
    allocations: int
    system_allocations: int
    limit: int | None


def stats() -> Stats:
    """Statistics of the allocator now."""
    current, peak, cached, allocations, system_allocations, limit = native()["memory_stats"]()
    return Stats(current, peak, cached, allocations, system_allocations, None if limit == UNLIMITED else limit)


def reset_peak() -> None:
    """Let ``stats().peak`` begin anew at what is in use now."""
    native()["memory_reset_peak"]()


def empty_cache() -> None:
    """Give all cached blocks back to the system."""
    native()["memory_empty_cache"]()


def set_limit(nbytes: int | None) -> None:
    """Hold at most ``nbytes`` bytes from now on; None: no limit. Blocks in use are not taken away.

    Raises:
        ValueError: a negative limit.
    """
    if nbytes is not None and nbytes < 0:
        raise ValueError(f"the memory limit must not be negative, got {nbytes}")
    native()["memory_set_limit"](UNLIMITED if nbytes is None else nbytes)


def raise_out_of_memory(requested: int) -> NoReturn:
    """Raise OutOfMemoryError for a request of ``requested`` bytes; called by the native runtime.

    Raises:
        OutOfMemoryError: always.
    """
    now = stats()
    limit = "the system has no more" if now.limit is None else f"the limit is {_size(now.limit)}"
    raise OutOfMemoryError(f"out of memory: {_size(requested)} requested, {_size(now.current)} in use, {limit}")


def _size(nbytes: int) -> str:
    """A number of bytes to read: exact, and in binary units from 1 KiB."""
    scaled, unit = float(nbytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if scaled < 1024:
            break
        scaled, unit = scaled / 1024, larger
    return f"{nbytes} bytes" if unit == "bytes" else f"{scaled:.4g} {unit} ({nbytes} bytes)"

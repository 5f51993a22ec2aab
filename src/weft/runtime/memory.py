"""Memory: statistics and limits of a device's memory; the CPU's is a caching allocator (native/allocator.py).

Freed blocks are kept for reuse, by size class, so that a training step that repeats takes no memory from the system.
What is kept never brings the total above the limit, nor above twice the peak in use plus 256 MiB.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

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


def stats(device: Any = None) -> Stats:
    """Statistics of a device's memory now; of the default device unless one is named."""
    row, device = _row(device)
    return row.stats(device)


def reset_peak(device: Any = None) -> None:
    """Let ``stats().peak`` begin anew at what is in use now."""
    row, device = _row(device)
    row.reset_peak(device)


def empty_cache(device: Any = None) -> None:
    """Give all cached blocks back to the system."""
    row, device = _row(device)
    row.empty_cache(device)


def set_limit(nbytes: int | None, device: Any = None) -> None:
    """Hold at most ``nbytes`` bytes from now on; None: no limit. Blocks in use are not taken away.

    Raises:
        ValueError: a negative limit.
    """
    if nbytes is not None and nbytes < 0:
        raise ValueError(f"the memory limit must not be negative, got {nbytes}")
    row, device = _row(device)
    row.set_limit(device, nbytes)


def _row(device: Any) -> tuple[Any, Any]:
    from .devices import device_of, row_of

    found = device_of(device, "memory")
    return row_of(found), found


# --- the CPU's ------------------------------------------------------------------------------------------------------


def host_stats() -> Stats:
    """Statistics of the native allocator."""
    current, peak, cached, allocations, system_allocations, limit = native()["memory_stats"]()
    return Stats(current, peak, cached, allocations, system_allocations, None if limit == UNLIMITED else limit)


def host_reset_peak() -> None:
    """Let the native allocator's peak begin anew."""
    native()["memory_reset_peak"]()


def host_empty_cache() -> None:
    """Give the native allocator's cached blocks back."""
    native()["memory_empty_cache"]()


def host_set_limit(nbytes: int | None) -> None:
    """Set the native allocator's limit."""
    native()["memory_set_limit"](UNLIMITED if nbytes is None else nbytes)


def raise_out_of_memory(requested: int) -> NoReturn:
    """Raise OutOfMemoryError for a request of ``requested`` bytes; called by the native runtime.

    Raises:
        OutOfMemoryError: always.
    """
    now = host_stats()
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

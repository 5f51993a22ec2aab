"""What a checked kernel (compiler/checked.py) notes of the first access outside of its buffers, and the error it makes.

There is one record, of 64-bit words that kernels write and Python reads, and a text for each launch that may write it:
the launches of programs, in the order in which they were made. They are kept for good, for they are few where somebody
looks for such an access.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple, NoReturn

from ..core.errors import MemoryAccessError
from ..core.process import Lock

STATUS_MEMORY = 1 << 8  # a kernel's status: it would have touched what is not its own
RECORDED = 64  # ranges
FIELDS = ("taken", "launch", "address", "nbytes", "writes", "first", "count", "total")
_HEADER, _RANGE = len(FIELDS), 3

_record = array("q", bytes(8 * (_HEADER + _RANGE * RECORDED)))
_launches: list[Origin] = []
_lock = Lock()


class Origin(NamedTuple):
    """A launch, for the error: its kernel and ops in a line, all that it works on, the user's line."""

    name: str
    text: str
    where: tuple[str, int] | None


def record_address() -> int:
    """Where the record lies."""
    return _record.buffer_info()[0]


def number_of(origin: Origin) -> int:
    """The number by which the launch is known to its kernel."""
    with _lock.now:
        _launches.append(origin)
        return len(_launches) - 1


def raise_noted() -> NoReturn:
    """The error of the access that was noted; the next one is noted again."""
    taken, launch, address, nbytes, writes, first, count, total = _record[:_HEADER]
    ranges = [tuple(_record[at : at + _RANGE]) for at in range(_HEADER, len(_record), _RANGE)][:total]
    _record[0] = 0
    if not taken:
        raise MemoryAccessError("a kernel touches memory that is not its own (which, another run has noted)")
    origin = _launches[launch]
    found = _Access(address, nbytes, bool(writes))
    error = MemoryAccessError(f"{origin.name}: {found.told(ranges, first, count)}\n{origin.text}")
    error.where = origin.where or error.where
    raise error


class _Access(NamedTuple):
    """What would have been touched."""

    address: int
    nbytes: int
    writes: bool

    def told(self, ranges: list[tuple[int, ...]], first: int, count: int) -> str:
        """It in words. ``ranges`` are (low, high, whether it may be written); those from ``first`` on were allowed."""
        head = f"a kernel {'writes' if self.writes else 'reads'} {self.nbytes} bytes"
        allowed = range(first, min(first + count, len(ranges)))
        if not allowed:
            return f"{head} outside of a variable on its stack"
        near = min(allowed, key=lambda k: self._distance(*ranges[k][:2]))
        low, high, writable = ranges[near]
        text = f"{head} at offset {self.address - low} of buffer {near}, which has {high - low} bytes"
        if self._distance(low, high):
            return text
        if self.writes and not writable:
            return f"{text} and is only read"
        return f"{text}: the address {self.address:#x} is not aligned for it"

    def _distance(self, low: int, high: int) -> int:
        """Bytes between it and a range; 0 where it lies inside."""
        return max(low - self.address, self.address + self.nbytes - high, 0)

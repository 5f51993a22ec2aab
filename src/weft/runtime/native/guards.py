"""Guards around blocks of memory, for who works on weft: there are some under WEFT_CHECK_MEMORY=1, else none of this.

A block is given out full of ones, which are NaN, -1 and true, so that results show what is read before it is written;
what is given back is filled again (the first MiB: pages that nobody has touched stay that way). Behind the bytes that
were asked for is a pattern; where it has changed, the process ends when the block is given back: what lay behind it may
be anybody's.
"""

from __future__ import annotations

from ...core.config import settings
from ...llvm.module import cold, fixed, function
from ...llvm.text import I8, I32, I64, Ptr, Value, byte_offset, constant, if_
from . import SCRATCH_BYTES
from .cpython import Py_FatalError
from .system import memcmp, memcpy, memset, umin

_BYTES = 64  # of the pattern
_FILLED = 1 << 20
_pattern = fixed("guard_pattern", I8, bytes([0xA5, 0x5A] * (_BYTES // 2)), 64)


def with_guard(nbytes: Value) -> Value:
    """Bytes of a block that has room for so many."""
    return nbytes + _BYTES if settings().check_memory else nbytes


def begin_guard(block: Value, nbytes: Value) -> None:
    """Fill a block of so many bytes, which is given out."""
    if settings().check_memory:
        fill(block, nbytes)
        memcpy(byte_offset(block, nbytes), _pattern, constant(_BYTES))


def end_guard(block: Value, nbytes: Value) -> None:
    """Look at what is behind a block, which is given back."""
    if settings().check_memory:
        with if_(memcmp(byte_offset(block, nbytes), _pattern, constant(_BYTES)) != 0):
            end_process()
        fill(block, nbytes)


@function
def fill(block: Ptr, nbytes: I64) -> None:
    memset(block, -1, umin(nbytes, _FILLED))


def fill_scratch(scratch: Value) -> None:
    """Fill a thread's scratch memory before a program."""
    if settings().check_memory:
        memset(scratch, constant(-1, I32), constant(SCRATCH_BYTES))


@cold
def end_process() -> None:
    Py_FatalError("weft: bytes behind a block of memory were written (WEFT_CHECK_MEMORY)")

"""Storage: memory as an object. The type and its functions are native (native/storage.py has the layout).

A Storage either owns a 64-byte aligned block of the allocator's, or is a window: memory that another object owns and
that it keeps alive (``owner``; None for a block). ``address`` and ``nbytes`` say where it is; the buffer protocol
gives its bytes, writable unless it is a read-only window (``read_only``). It never moves, and its memory is
free for reuse the moment the last reference goes. Weak references work.

``empty``, ``wrap``, ``view``, ``read_only`` and ``Storage`` itself come into being at first use. Call them through the
module, as in ``storage.empty(64)``: ``from weft.runtime.storage import empty`` builds the native runtime at import.

>>> from weft.runtime import storage
>>> block = storage.empty(256)
>>> block.address % 64, block.nbytes, block.owner
(0, 256, None)
>>> window = storage.view(block, 64, 128)
>>> window.address - block.address, window.owner is block
(64, True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .native import native

__all__ = ["Storage", "copy_of", "empty", "read_only", "view", "wrap"]

_NATIVE = ("Storage", "empty", "read_only", "view", "wrap")

if TYPE_CHECKING:

    class Storage:
        """A piece of memory: a block of its own, or a window on the memory of its owner."""

        address: int
        nbytes: int
        owner: Any

        def __buffer__(self, flags: int, /) -> memoryview: ...

    def empty(nbytes: int, /) -> Storage:
        """A new block of at least ``nbytes`` bytes, 64-byte aligned, its content undefined.

        Raises:
            OutOfMemoryError: the limit, or the system, does not allow it.
            ValueError: a negative size.
        """

    def wrap(address: int, nbytes: int, owner: object, /) -> Storage:
        """A window on ``nbytes`` bytes at ``address``, which are valid while ``owner`` lives.

        Raises:
            ValueError: a negative size.
        """

    def view(storage: Storage, byte_offset: int, nbytes: int, /) -> Storage:
        """A window on part of a Storage. It keeps the root alive, not the windows in between.

        Raises:
            ValueError: the part does not lie inside ``storage``.
        """

    def read_only(storage: Storage, /) -> Storage:
        """A window on all of a Storage whose buffer cannot be written, nor that of any view of it."""


def __getattr__(name: str) -> Any:
    if name not in _NATIVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    builtins = native()
    for each in _NATIVE:
        globals()[each] = builtins[each]
    return globals()[name]


def copy_of(data: Any) -> Storage:
    """A new block with the bytes of ``data``, any object with a C-contiguous buffer.

    >>> bytes(copy_of(b"weft"))
    b'weft'
    """
    source = memoryview(data)
    block: Storage = native()["empty"](source.nbytes)
    memoryview(block)[:] = source.cast("B") if source.nbytes else b""
    return block

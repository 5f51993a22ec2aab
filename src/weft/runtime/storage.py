"""Storage: memory as an object. The type and its functions are native (native/storage.py has the layout).

A Storage either owns a 64-byte aligned block of the allocator's, or is a window: memory that another object owns and
that it keeps alive (``owner``; None for a block). ``address`` and ``nbytes`` say where it is; the buffer protocol
gives its bytes, writable unless it is a read-only window (``read_only``, ``is_read_only``). It never moves, and its
memory is free for reuse the moment the last reference goes. Weak references work.

The windows on one Storage and it itself have one ``root``: the block, or what ``wrap`` or ``unshared`` made. The root
counts what is written by those who say so (``wrote``): its number is the ``version`` of all whose root it is. Who keeps
a value for later asks for it with ``save``, and finds another number if there was a write meanwhile; ``note`` is where
that write says which line of the program it was.

``Storage`` and its native functions come into being at first use. Call them through the module, as in
``storage.empty(64)``: ``from weft.runtime.storage import empty`` builds the native runtime at import.

>>> from weft.runtime import storage
>>> block = storage.empty(256)
>>> block.address % 64, block.nbytes, block.owner
(0, 256, None)
>>> window = storage.tail(storage.view(block, 64, 128), 32)
>>> window.address - block.address, window.nbytes, window.owner is block, window.root is block
(96, 96, True, True)
>>> kept = storage.save(block)
>>> storage.wrote(window), block.version - kept
(True, 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .native import native

if TYPE_CHECKING:
    from ..core.device import Device

__all__ = [
    "Storage",
    "block_of",
    "copy_of",
    "elsewhere",
    "empty",
    "keeper_of",
    "look",
    "make",
    "make_kind",
    "read_only",
    "record",
    "record_kind",
    "save",
    "tail",
    "to_host",
    "unshared",
    "view",
    "walk",
    "wrap",
    "wrote",
]

_NATIVE = set(__all__) - {"block_of", "copy_of", "keeper_of", "to_host"}

if TYPE_CHECKING:

    class Keeper(Protocol):
        """What keeps a block of another device. The block goes back to the device when this object goes."""

        device: Device

        def read(self, address: int, nbytes: int, into: int, /) -> None:
            """Copy bytes of the device's memory to an address of the CPU's."""

        def write(self, address: int, nbytes: int, source: int, /) -> None:
            """Copy bytes at an address of the CPU's to the device's memory."""

        def like(self, nbytes: int, /) -> Storage:
            """A new block on the same device.

            Raises:
                OutOfMemoryError: there is no memory for it.
            """

    class Storage:
        """A piece of memory: a block of its own, or a window on the memory of its owner."""

        @property
        def address(self) -> int:
            """Of the first byte."""

        @property
        def nbytes(self) -> int:
            """How many bytes there are."""

        @property
        def owner(self) -> Any:
            """What keeps the memory alive: the root of a window on a Storage, the lender of foreign memory; None for
            a block."""

        @property
        def keeper(self) -> Keeper | None:
            """Of a block in another device's memory: the device's object that keeps it; None for all others."""

        @property
        def root(self) -> Storage:
            """Who counts the writes: the Storage itself, or its owner."""

        @property
        def version(self) -> int:
            """How many writes the root has counted."""

        @property
        def is_read_only(self) -> bool:
            """Whether it must not be written, through this window at least."""

        note: Any
        """Of the root, by whoever wrote: where in the program the last write to saved memory stands; None at first."""

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

    def elsewhere(address: int, nbytes: int, keeper: Keeper, /) -> Storage:
        """A block in another device's memory, which ``keeper`` gives back when it goes; the CPU cannot look at it.

        Raises:
            ValueError: a negative size.
        """

    def view(storage: Storage, byte_offset: int, nbytes: int, /) -> Storage:
        """A window on part of a Storage. It keeps the root alive, not the windows in between.

        Raises:
            ValueError: the part does not lie inside ``storage``.
        """

    def tail(storage: Storage, byte_offset: int, /) -> Storage:
        """A window from an offset to the end; what ``view`` says holds.

        Raises:
            ValueError: the offset is negative or behind the end.
        """

    def unshared(storage: Storage, /) -> Storage:
        """A window on all of a Storage that is a root of its own: writes through it do not count as the
        source's, nor the other way round. It is read-only if the source is, and keeps the source's root alive."""

    def save(storage: Storage, /) -> int:
        """The version, for somebody who keeps this value: the next :func:`wrote` will say so."""

    def wrote(storage: Storage, /) -> bool:
        """Count a write; whether anybody called :func:`save` after the write before.

        Raises:
            BufferError: the Storage is read-only.
        """

    def read_only(storage: Storage, /) -> Storage:
        """A window on all of a Storage that cannot be written, nor can any view of it."""

    def make(storage: Any, spec: Any, node: Any, index: int, /) -> Any:
        """A tensor of its parts in one call. See native/view.py."""

    def make_kind(type: type, /) -> None:
        """Say what :func:`make` makes."""

    def look(source: Any, spec: Any, offset: int, step: Any, kind: int, layout: tuple[Any, ...], /) -> Any:
        """A view of a tensor in one call; None where it has no memory. See native/view.py."""

    def record_kind(type: type, gradient: type, numbers: Any, own: object, /) -> None:
        """Say what :func:`record` makes, of which gradients, what gives the numbers, and what stands for a record in
        what it keeps."""

    def record(
        gradient: Any,
        call: Any,
        wanted: tuple[bool, ...],
        tensors: tuple[Any, ...],
        outputs: tuple[Any, ...],
        place: Any,
        /,
    ) -> bool:
        """A call on the tape in one call; whether it is there. See native/record.py."""

    def walk(root: Any, table: Storage, /) -> tuple[list[Any], list[Storage]] | None:
        """The walk of a backward pass, if it is that of a table. See native/walk.py."""


def __getattr__(name: str) -> Any:
    if name not in _NATIVE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    builtins = native()
    for each in _NATIVE:
        globals()[each] = builtins[each]
    return globals()[name]


def copy_of(data: Any) -> Storage:
    """A new block with the bytes of ``data``, any object with a C-contiguous buffer; of a Storage on its own device.

    >>> bytes(copy_of(b"weft"))
    b'weft'
    """
    keeper = keeper_of(data)
    if keeper is None:
        return _from_buffer(data)
    made, through = keeper.like(data.nbytes), to_host(data, data.nbytes)
    keeper.write(made.address, data.nbytes, through.address)
    return made


def _from_buffer(data: Any) -> Storage:
    source = memoryview(data)
    block: Storage = native()["empty"](source.nbytes)
    memoryview(block)[:] = source.cast("B") if source.nbytes else b""
    return block


def keeper_of(storage: Any) -> Keeper | None:
    """What keeps the memory of a Storage on another device; None for the CPU's memory, and for what is no Storage."""
    return block_of(storage).keeper if type(storage) is native()["Storage"] else None


def to_host(storage: Storage, nbytes: int) -> Storage:
    """The first bytes in the CPU's memory: the Storage itself, or a copy of what lies on another device."""
    keeper = keeper_of(storage)
    if keeper is None:
        return storage
    block: Storage = native()["empty"](nbytes)
    keeper.read(storage.address, nbytes, block.address)
    return block


def block_of(storage: Storage) -> Storage:
    """The root of the memory itself, also of what counts its writes apart (``unshared``).

    >>> from weft.runtime import storage
    >>> block = storage.empty(64)
    >>> block_of(storage.view(storage.unshared(block), 8, 8)) is block
    True
    """
    root = storage.root
    while type(root.owner) is type(storage):
        root = root.owner.root
    return root

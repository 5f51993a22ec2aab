"""DLPack: memory to and from any peer (NumPy, PyTorch, JAX, CuPy, ...) on the CPU, without copies.

Both protocols are spoken: the old capsule ``dltensor``, and since DLPack 1.0 ``dltensor_versioned``, which a consumer
asks for with ``max_version``. The structs, from https://dmlc.github.io/dlpack/latest/c_api.html (64-bit offsets)::

    DLTensor                  0 data, 8 device type, 12 device id, 16 ndim, 20 type code, 21 bits, 22 lanes,
                              24 shape, 32 strides (elements; NULL: C-contiguous), 40 byte offset
    DLManagedTensor           0 DLTensor, 48 manager_ctx, 56 deleter
    DLManagedTensorVersioned  0 major, 4 minor, 8 manager_ctx, 16 deleter, 24 flags, 32 DLTensor
                              (flags: 1 read-only, 2 copied)

An exported struct, with its shape and strides, lies in a Storage block of its own; capsules and deleters are native
(native/dlpack.py).
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

from ..core import dtypes
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DeviceError, DTypeError
from ..core.shapes import strides_of
from . import storage as storages
from .native import native
from .numpy_arrays import Strided, from_numpy, layout, to_numpy

if TYPE_CHECKING:
    from .storage import Storage

VERSION = (1, 0)  # the newest layout spoken; minor versions only add flags and codes
DEVICE = (1, 0)  # what __dlpack_device__ returns: kDLCPU, device 0
_HOST_DEVICES = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost: memory that the CPU reads
_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_BFLOAT = 4
_READ_ONLY, _IS_COPIED = 1, 2
_TENSOR = struct.Struct("<QiiiBBHQQQ")
_VERSIONED = struct.Struct("<IIQQQ")
_PLAIN_SIZE, _VERSIONED_SIZE = 64, 80
_DTYPES = {(_BFLOAT if d is dtypes.bfloat16 else _CODES[d.kind], d.bits): d for d in dtypes.ALL}
_CODE_OF = {d: code for (code, _), d in _DTYPES.items()}


def to_dlpack(
    storage: Storage,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: DType,
    *,
    max_version: tuple[int, int] | None = None,
    copied: bool = False,
    device: tuple[int, int] = DEVICE,
) -> Any:
    """A DLPack capsule over elements of ``storage``, which lives until the consumer lets go; of a read-only Storage it
    says so.

    Args:
        shape, strides: in elements; strides None: C-contiguous.
        max_version: newest version that the consumer understands; None: the protocol before 1.0.
        copied: tell the consumer that the memory is a copy made for it.
        device: kind and number of the device whose memory it is.

    Raises:
        BufferError: read-only memory to a consumer of the old protocol, which cannot be told.
    """
    versioned = max_version is not None and max_version[0] >= 1
    read_only = storage.is_read_only
    if read_only and not versioned:
        raise BufferError("read-only memory needs DLPack 1.0: call __dlpack__ with max_version=(1, 0)")
    head = _VERSIONED_SIZE if versioned else _PLAIN_SIZE
    ndim = len(shape)
    block = storages.empty(head + 16 * ndim)
    shape_at, strides_at = block.address + head, block.address + head + 8 * ndim
    view = memoryview(block)
    if versioned:
        flags = (_READ_ONLY if read_only else 0) | (_IS_COPIED if copied else 0)
        _VERSIONED.pack_into(view, 0, *VERSION, 0, 0, flags)
    _TENSOR.pack_into(
        view,
        32 if versioned else 0,
        storage.address,
        *device,
        ndim,
        _CODE_OF[dtype],
        dtype.bits,
        1,
        shape_at,
        strides_at,
        0,
    )
    struct.pack_into(f"<{2 * ndim}q", view, head, *shape, *(strides_of(shape) if strides is None else strides))
    managed = storages.wrap(block.address, block.nbytes, (block, storage))
    return native()["dlpack_capsule"](managed, versioned)


def from_dlpack(source: Any, copy: bool | None = None) -> Strided:
    """The elements of a DLPack capsule, or of an object with ``__dlpack__``, on the CPU: shared, read-only where the
    peer says so. The peer's memory is released when the Storage goes.

    Args:
        copy: True: always into memory of their own; None: where they cannot be shared (they are not aligned, or lie
            before the first one); False: never.

    Raises:
        ArgumentError: ``copy=False``, and the memory cannot be shared.
        DeviceError: memory that the CPU cannot read.
        DTypeError: a dtype that weft does not have.
        BufferError: not a DLPack capsule, one that was used before, or a version from the future.
    """
    if hasattr(source, "__dlpack__"):
        device = source.__dlpack_device__()[0] if hasattr(source, "__dlpack_device__") else DEVICE[0]
        _check_device(int(device))
        capsule = _capsule_of(source, copy)
    else:
        capsule = source
    if type(capsule).__name__ != "PyCapsule":
        raise BufferError(f"expected a DLPack capsule or an object with __dlpack__, got {type(source).__name__}")
    owner = native()["dlpack_take"](capsule)  # from here on the peer's deleter runs when `owner` goes
    name, address = _contents(owner)
    at, flags = address, 0
    if name.endswith(b"versioned"):
        major, minor, _, _, flags = _VERSIONED.unpack(ctypes.string_at(address, _VERSIONED.size))
        if major > VERSION[0]:
            raise BufferError(f"DLPack {major}.{minor} is newer than {VERSION[0]}.x, which weft reads")
        at += 32
    if copy is False and flags & _IS_COPIED:
        raise ArgumentError(f"{type(source).__name__} lent a copy of its memory, which copy=False forbids")
    tensor = _TENSOR.unpack(ctypes.string_at(at, _TENSOR.size))
    return _strided(owner, bool(flags & _READ_ONLY), copy, *tensor)


def _capsule_of(source: Any, copy: bool | None) -> Any:
    """What ``__dlpack__`` gives. A copy that is wanted is made here, whatever the producer understands."""
    wishes: dict[str, Any] = {"max_version": VERSION}
    if copy is False:
        try:
            return source.__dlpack__(**wishes, copy=False)
        except TypeError:  # a producer from before copy=
            pass
    try:
        return source.__dlpack__(**wishes)
    except TypeError:  # a producer from before 1.0
        return source.__dlpack__()


def _strided(
    owner: Any,
    read_only: bool,
    copy: bool | None,
    data: int,
    device: int,
    _device_id: int,
    ndim: int,
    code: int,
    bits: int,
    lanes: int,
    shape_at: int,
    strides_at: int,
    byte_offset: int,
) -> Strided:
    _check_device(device)
    dtype = _DTYPES.get((code, bits)) if lanes == 1 else None
    if dtype is None:
        raise DTypeError(f"DLPack type code {code} with {bits} bits and {lanes} lanes has no dtype in weft")
    shape = _integers(shape_at, ndim)
    strides = _integers(strides_at, ndim) if strides_at else strides_of(shape)
    if 0 in shape:
        return Strided(storages.empty(0), shape, strides_of(shape), dtype)
    start, size = data + byte_offset, dtype.itemsize
    shared, span, obstacle = layout(shape, strides, 1)
    if start % size:
        obstacle = "elements that are not aligned"
    if copy is False and obstacle:
        raise ArgumentError(f"memory with {obstacle} cannot be shared; leave copy=False out to copy it")
    if copy or obstacle:
        before, after = _reach(shape, strides)
        window = storages.wrap(start - before * size, (before + after + 1) * size, owner)
        return from_numpy(to_numpy(window, shape, dtype, strides, before), copy=True)
    window = storages.wrap(start, span * size, owner)
    return Strided(storages.read_only(window) if read_only else window, shape, shared, dtype)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """How many elements before and after element (0, 0, ...) the elements of an array lie; no extent is 0."""
    ends = [(extent - 1) * step for extent, step in zip(shape, strides, strict=True)]
    return -sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)


def _check_device(device: int) -> None:
    if device not in _HOST_DEVICES:
        raise DeviceError(f"DLPack device type {device} is not memory that the CPU can read; copy it to the CPU first")


def _integers(address: int, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}q", ctypes.string_at(address, 8 * count)) if count else ()


@cache
def _capsule_api() -> tuple[Any, Any]:
    api = ctypes.pythonapi
    return (
        ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api)),
        ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api)),
    )


def _contents(capsule: Any) -> tuple[bytes, int]:
    """Name and pointer of a capsule."""
    get_name, get_pointer = _capsule_api()
    name: bytes = get_name(capsule)
    return name, get_pointer(capsule, name) or 0

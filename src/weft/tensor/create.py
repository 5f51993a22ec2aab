"""Tensors from data: Python numbers and nestings of them, NumPy arrays, other libraries' arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ..core import dtypes as dt
from ..core.device import CPU, Device
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError, WeftError
from ..graph.ir import Value
from ..ops.creation import fitting
from ..ops.op import public, state, suspended
from ..ops.operands import Late, at_home, weak_dtype
from ..runtime.devices import device_of
from ..runtime.devices import moved as moved_memory
from ..runtime.dlpack import from_dlpack as import_dlpack
from ..runtime.numpy_arrays import Strided
from ..runtime.numpy_arrays import from_numpy as import_numpy
from .spec import Spec, spec_of
from .tensor import Tensor, make

_PLAIN = {bool, int, float}


def _of(strided: Strided) -> Tensor:
    return _new(strided.storage, spec_of(strided.dtype, strided.shape, strided.strides))


def _new(storage: Any, spec: Spec) -> Tensor:
    """A tensor of data; a capture that is going on takes it for a constant."""
    made, trace = make(storage, spec, None, 0), state.trace
    if trace is not None and trace.capture is not None:
        trace.capture.add_constant(made)
    return made


@functools.cache
def is_numpy(kind: type) -> bool:
    """Whether a type is NumPy's array or number, or a kind of one; asked without importing NumPy."""
    return any(base.__module__ == "numpy" and base.__name__ in ("ndarray", "generic") for base in kind.__mro__)


def is_array(value: Any) -> bool:
    """A NumPy array or number, which becomes a tensor (a Python number) where one is expected. Other libraries' arrays
    are an error there: their history would be lost without a word. ``wf.asarray`` and ``wf.from_dlpack`` take them."""
    kind: Any = type(value)
    return kind not in _PLAIN and is_numpy(kind)


def is_scalar(value: Any) -> bool:
    """A NumPy number (``np.int64(3)``): an op takes it for a Python number that has been through NumPy, weakly typed.
    ``np.array(3)`` is an array."""
    return is_array(value) and not hasattr(value, "__setitem__")


def check_number(op: str, value: Any, dtype: DType) -> None:
    """That one integer in a NumPy array fits, as every number must that is written into a tensor of ``dtype``; several
    are converted as arrays are, modulo 2^bits.

    Raises:
        DTypeError: it does not.
    """
    if isinstance(value, Late):
        if dtype.is_integer and dtype is not dt.int64:
            value.check_fits(op, dtype)
    elif is_array(value) and value.ndim == 0 and value.dtype.kind in "iu" and dtype.is_integer:
        fitting(int(value), dtype, op)


def python_number(value: Any) -> Any:
    """A NumPy number as Python's.

    Raises:
        DTypeError: a date or a record.
    """
    if value.dtype.kind in "mMVO" and value.dtype.name != "bfloat16":
        raise DTypeError(f"a NumPy value of dtype {value.dtype} is not a number")
    plain = value.item()
    return plain if not is_array(plain) else complex(plain) if value.dtype.kind == "c" else float(plain)


def from_numpy(array: Any) -> Tensor:
    """A tensor over a NumPy array's own memory: what is written to one shows in the other. Over an array that is
    read-only the tensor is so too.

    >>> import numpy as np, weft as wf
    >>> a = np.arange(3.0)
    >>> x = wf.from_numpy(a)
    >>> a[0] = 7
    >>> x
    Tensor([7., 1., 2.], dtype=float64)

    Raises:
        DTypeError: it is no array (a NumPy number is none), or has a dtype that weft does not have.
        ArgumentError: memory that cannot be shared: negative strides, strides that are no whole elements, foreign byte
            order, elements that are not aligned. ``wf.asarray`` copies it.
    """
    if not is_array(array) or is_scalar(array):
        kind = "has no memory to share" if is_array(array) else "is not a NumPy array"
        raise DTypeError(f"from_numpy: {type(array).__name__} {kind}; wf.asarray takes other things")
    return _of(import_numpy(array, copy=False))


def from_dlpack(array: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of any library's CPU array, through DLPack: what is written to one shows in the other,
    and what the other library lends read-only is so.

    Args:
        device: where the tensor is to be; ``"cpu"`` unless given. On another one it is a copy.
        copy: True: the tensor owns its memory; None: it does so where the array's cannot be shared (negative strides,
            elements that are not aligned); False: it never does.

    Raises:
        ArgumentError: ``copy=False``, and the memory cannot be shared.
        DeviceError: the array is not in CPU memory, or the device is not there.
        DTypeError: it is no array, or its owner does not lend its memory (as PyTorch one that requires grad).
    """
    place = CPU if device is None else device_of(device, "from_dlpack")
    _check_copy("from_dlpack", copy, place)
    try:
        strided = import_dlpack(array, copy)
    except WeftError:
        raise
    except Exception as error:  # BufferError, or the other library's own reasons
        raise DTypeError(f"from_dlpack: {type(array).__name__} does not lend its memory: {error}") from error
    return _on(_of(strided), place)


def _check_copy(op: str, copy: bool | None, device: Device) -> None:
    """Raises:
    ArgumentError: memory of the CPU is to lie on another device, and ``copy=False``.
    """
    if copy is False and device is not CPU:
        raise ArgumentError(f"{op}: what lies in the CPU's memory gets to {device} by a copy, which copy=False forbids")


def _on(tensor: Tensor, device: Device) -> Tensor:
    """A tensor that was made of data in the CPU's memory, on the device where it is to be."""
    spec = tensor._spec
    if device is spec.device or tensor._storage.__class__ is Value:
        return tensor
    if not spec.contiguous:
        tensor = _new(in_a_block(tensor._storage, spec), spec.dense())
    storage = moved_memory(tensor._storage, spec.nbytes, device)
    return _new(storage, spec_of(spec.dtype, spec.shape, None, device))


@public
def asarray(obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of ``obj``: a tensor, number, nested sequence, NumPy array, or another library's array.

    Python floats become float32, integers int64, booleans bool. What has a dtype keeps it, as in PyTorch: NumPy's
    numbers and arrays, alone or in a list (of several dtypes the promoted one), and whatever has ``__dlpack__``
    (PyTorch, JAX), ``__array__`` (pandas) or a buffer of numbers (``array.array``, ``memoryview``). A tensor is
    returned as it is.

    Args:
        device: where it is to be; unless given, a tensor stays where it is, and everything else goes to the default
            device.
        copy: None: an array's memory is shared, so that what is written to one shows in the other (read-only memory
            stays so), and copied where it cannot be (another dtype is wanted; see :func:`from_numpy`). True: the
            tensor owns its memory. False: nothing is copied.

    >>> import weft as wf
    >>> wf.asarray([[1, 2], [3, 4]])
    Tensor([[1, 2],
            [3, 4]], dtype=int64)

    Raises:
        ShapeError: a ragged nesting. DTypeError: no numbers, or a dtype that weft does not have.
        ArgumentError: ``copy=False``, and the memory cannot be shared, or there is none.
        DeviceError: the device is not there.
    """
    wanted = None if dtype is None else dt.as_dtype(dtype)
    if isinstance(obj, Late):
        from ..ops.elementwise import clone

        return clone(obj.operand(wanted or weak_dtype(obj)))  # which may be written
    place = None if isinstance(obj, Tensor) and device is None else device_of(device, "asarray")
    if isinstance(obj, Tensor):
        result = obj if not copy else tensor(obj, device=place)
        if place is not None and result._spec.device is not place:
            _check_copy("asarray", copy, place)
            result = result.to(place)
    elif is_array(obj) or _is_foreign(obj):
        assert place is not None
        _check_copy("asarray", copy, place)
        result = _on(_of_foreign(obj, copy), place)
    else:
        if copy is False:
            raise ArgumentError(f"asarray: {type(obj).__name__} has no memory to share, so copy=False cannot be met")
        assert place is not None
        return _on(_from_python(obj, wanted), place)
    if wanted is not None and result.dtype is not wanted:
        from ..ops.elementwise import astype

        if copy is False:
            raise ArgumentError(
                f"asarray: {result.dtype.name} becomes {wanted.name} by a copy, which copy=False forbids"
            )
        return astype(result, wanted)
    return result


def _is_foreign(obj: Any) -> bool:
    """Another library's array: its dtype is the owner's decision, which Python's lists and numbers do not make."""
    if isinstance(obj, (bool, int, float, complex, str, bytes, list, tuple, type(None))):
        return False
    if any(hasattr(obj, name) for name in ("__dlpack__", "__array__", "__array_interface__", "__array_struct__")):
        return not isinstance(obj, type)
    try:
        memoryview(obj)
    except (TypeError, BufferError):
        return False
    return True


def _of_foreign(obj: Any, copy: bool | None) -> Tensor:
    """A tensor of a NumPy array or number, or of another library's array; ``copy`` as in :func:`asarray`."""
    import numpy as np

    if not isinstance(obj, (np.ndarray, np.generic)) and hasattr(obj, "__dlpack__"):
        return from_dlpack(obj, copy=copy)
    if copy is False and isinstance(obj, np.generic):
        raise ArgumentError(f"asarray: {type(obj).__name__} has no memory to share, so copy=False cannot be met")
    try:
        # Not np.array(obj): of an object whose __array__ does not heed copy= it is no copy.
        array = (
            np.asanyarray(obj) if copy is not False or isinstance(obj, np.ndarray) else np.asanyarray(obj, copy=False)
        )
    except Exception as error:
        if copy is False and isinstance(error, ValueError):
            raise ArgumentError(f"asarray: {type(obj).__name__} does not lend its memory without a copy") from error
        raise DTypeError(f"asarray: {type(obj).__name__} cannot be read as an array: {error}") from error
    return _of(import_numpy(array, True if isinstance(obj, np.generic) else copy))


def _from_python(obj: Any, wanted: dt.DType | None) -> Tensor:
    import numpy as np

    if isinstance(obj, (list, tuple)):
        kinds = _leaf_kinds(obj)
        if any(issubclass(kind, Late) for kind in kinds):
            obj = at_home(obj)
            kinds = _leaf_kinds(obj)
        if not all(kind in _PLAIN or is_numpy(kind) for kind in kinds) and _holds_arrays(obj):
            from ..ops.pieces import stack

            return stack([asarray(o, dtype=wanted, device=None if isinstance(o, Tensor) else CPU) for o in obj])
        if wanted is None and any(map(is_numpy, kinds)):
            wanted = functools.reduce(dt.promote, _leaf_dtypes(obj))
    try:
        array = np.asarray(obj)
    except ValueError as error:
        raise ShapeError(f"asarray: the nested sequence is ragged: {error}") from None
    except (OverflowError, MemoryError) as error:  # range(2**62)
        raise ShapeError(f"asarray: {type(obj).__name__} of more elements than memory holds: {error}") from None
    except Exception as error:  # whatever the methods of ``obj`` raise
        raise DTypeError(f"asarray: {type(obj).__name__} cannot be read as numbers: {error}") from error
    if array.dtype.kind == "O" and wanted is not None and wanted.is_floating:
        array = _of_integers(array, wanted)
    if (array.dtype.kind not in "bifuV" and array.size) or array.dtype.kind in "OUSc":
        huge = max((o.bit_length() for o in array.flat if isinstance(o, int)), default=0)
        if huge > 64:
            raise DTypeError(f"asarray: an integer of {huge} bits does not fit any dtype")
        given = f"{type(obj).__name__}: " if array.dtype.kind == "O" else ""
        raise DTypeError(f"asarray: {given}elements of type {array.dtype} are not real numbers")
    if wanted is None:
        wanted = {"b": dt.bool_, "f": dt.default_float}.get(array.dtype.kind)
        if wanted is None:
            wanted = dt.default_float if array.size == 0 else dt.from_numpy(array.dtype)
            wanted = dt.default_int if wanted.kind == "int" else wanted
    if wanted.is_integer and array.dtype.kind in "iu" and array.size:
        low, high = int(array.min()), int(array.max())
        bits = wanted.bits - wanted.is_signed
        if low < (-(1 << bits) if wanted.is_signed else 0) or high >= 1 << bits:
            bad = low if low < 0 and not wanted.is_signed else high
            raise DTypeError(f"asarray: {bad} does not fit {wanted.name}")
    with np.errstate(all="ignore"):
        made = _of(import_numpy(np.array(array, dtype=wanted.numpy)))
    return _new(in_a_block(made._storage, made._spec), made._spec.dense())


def _leaf_kinds(obj: Any, depth: int = 0) -> set[type]:
    """The types of what is in a nesting of lists."""
    if depth > 64:
        raise ShapeError("asarray: the nested sequence has more than 64 axes, or contains itself")
    kinds = set(map(type, obj))
    if not kinds <= _PLAIN:
        for each in obj:
            if isinstance(each, (list, tuple)):
                kinds |= _leaf_kinds(each, depth + 1)
    return kinds - {list, tuple}


def _leaf_dtypes(obj: Any) -> Iterator[dt.DType]:
    """The dtypes of what is in a nesting of lists."""
    for each in obj:
        if isinstance(each, (list, tuple)):
            yield from _leaf_dtypes(each)
        elif is_array(each):
            yield dt.from_numpy(each.dtype)
        else:
            yield dt.bool_ if each is True or each is False else dt.default_int if each.__class__ is int else dt.float32


def _holds_arrays(obj: Any) -> bool:
    return any(
        _holds_arrays(o) if isinstance(o, (list, tuple)) else isinstance(o, Tensor) or _is_foreign(o) for o in obj
    )


def _of_integers(array: Any, wanted: dt.DType) -> Any:
    """An array of Python objects as float64, where all of them are numbers: integers of more than 64 bits."""
    import numpy as np

    if not all(isinstance(each, (bool, int, float)) for each in array.flat):
        return array
    try:
        return array.astype(np.float64)
    except OverflowError:
        huge = max(each.bit_length() for each in array.flat if isinstance(each, int))
        raise DTypeError(f"asarray: an integer of {huge} bits does not fit in {wanted.name}") from None


@public
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor that owns a copy of ``data``; see :func:`asarray` for what data may be, and where it goes.

    >>> import weft as wf
    >>> wf.tensor([1.0, 2.0], requires_grad=True)
    Tensor([1., 2.], dtype=float32, requires_grad=True)
    """
    if isinstance(data, Tensor):
        place = data._spec.device if device is None else device_of(device, "tensor")
        if state.trace is not None:  # there is no value yet
            from ..ops.elementwise import clone

            copied: Tensor = clone(data.detach()).to(place, data.dtype if dtype is None else dt.as_dtype(dtype))
            return copied.requires_grad_() if requires_grad else copied
        made = asarray(data.cpu().numpy(), dtype=dtype, device=CPU)
    else:
        place = device_of(device, "tensor")
        made = asarray(data, dtype=dtype, device=CPU, copy=True)
    made = _on(_new(in_a_block(made._storage, made._spec), made._spec.dense()), place)
    return made.requires_grad_() if requires_grad else made


def in_a_block(storage: Any, spec: Spec) -> Any:
    """The elements, row-major, in a block of the allocator's: memory that is weft's own."""
    from ..runtime.storage import Storage, copy_of

    if not isinstance(storage, Storage) or (storage.owner is None and spec.contiguous):  # what is traced has none yet
        return storage
    if spec.contiguous:
        return copy_of(memoryview(storage)[: spec.nbytes])
    from ..ops.elementwise import clone
    from . import tape

    with tape.no_grad(), suspended():  # data of a captured function is there before its graph
        return clone(make(storage, spec, None, 0))._storage

"""Tensors from data: Python numbers and nestings of them, NumPy arrays, other libraries' arrays."""

from __future__ import annotations

from typing import Any

from ..core import dtypes as dt
from ..core.errors import DTypeError, ShapeError
from ..ops.op import state
from ..runtime.dlpack import from_dlpack as import_dlpack
from ..runtime.numpy_arrays import Strided
from ..runtime.numpy_arrays import from_numpy as import_numpy
from .spec import Spec, spec_of
from .tensor import Tensor, make

__all__ = ["asarray", "from_dlpack", "from_numpy", "tensor"]


def _of(strided: Strided) -> Tensor:
    storage = strided.storage
    if strided.offset:
        from ..runtime.storage import view

        skipped = strided.offset * strided.dtype.itemsize
        storage = view(storage, skipped, storage.nbytes - skipped)
    return _new(storage, spec_of(strided.dtype, strided.shape, strided.strides))


def _new(storage: Any, spec: Spec) -> Tensor:
    """A tensor of data; a capture that is going on takes it for a constant."""
    made, trace = make(storage, spec, None, 0), state.trace
    if trace is not None and trace.capture is not None:
        trace.capture.add_constant(made)
    return made


def from_numpy(array: Any) -> Tensor:
    """A tensor over a NumPy array's own memory (no copy, where its layout allows it). Do not change the array
    afterwards: tensors are values.

    >>> import numpy as np, weft as wf
    >>> wf.from_numpy(np.arange(3.0))
    Tensor([0., 1., 2.], dtype=float64)
    """
    strided = import_numpy(array)
    if any(s < 0 for s in strided.strides):
        import numpy as np

        strided = import_numpy(np.ascontiguousarray(array))
    return _of(strided)


def from_dlpack(array: Any, /) -> Tensor:
    """A tensor over the memory of any library's CPU array (no copy), through DLPack.

    Raises:
        DeviceError: the array is not in CPU memory.
    """
    strided = import_dlpack(array)
    if any(s < 0 for s in strided.strides):
        return tensor(_of(strided))
    return _of(strided)


def asarray(obj: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of ``obj``: a tensor, number, nested sequence, NumPy array, or another library's array.

    Python floats become float32, integers int64, booleans bool; arrays keep their dtype and, unless ``copy=True``,
    their memory.

    >>> import weft as wf
    >>> wf.asarray([[1, 2], [3, 4]])
    Tensor([[1, 2],
            [3, 4]], dtype=int64)

    Raises:
        ShapeError: a ragged nesting. DTypeError: no numbers, or a dtype that weft does not have.
    """
    wanted = None if dtype is None else dt.as_dtype(dtype)
    if isinstance(obj, Tensor):
        result = obj if not copy else tensor(obj)
    elif hasattr(obj, "__array__") and type(obj).__module__.startswith(("numpy", "ml_dtypes")):
        import numpy as np

        result = from_numpy(np.array(obj) if copy or np.ndim(obj) == 0 else obj)
    elif hasattr(obj, "__dlpack__"):
        result = from_dlpack(obj)
        result = tensor(result) if copy else result
    else:
        return _from_python(obj, wanted)
    if wanted is not None and result.dtype is not wanted:
        from ..ops.elementwise import astype

        return astype(result, wanted)
    return result


def _from_python(obj: Any, wanted: dt.DType | None) -> Tensor:
    import numpy as np

    if isinstance(obj, (list, tuple)) and _holds_tensors(obj):
        from ..ops.shape import stack

        stacked = stack([asarray(o, dtype=wanted) for o in obj])
        return stacked
    try:
        array = np.asarray(obj)
    except ValueError as error:
        raise ShapeError(f"asarray: the nested sequence is ragged: {error}") from None
    if (array.dtype.kind not in "bifuV" and array.size) or array.dtype.kind in "OUSc":
        if isinstance(obj, int):
            raise DTypeError(f"asarray: an integer of {obj.bit_length()} bits does not fit any dtype")
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
        return from_numpy(np.array(array, dtype=wanted.numpy))


def _holds_tensors(obj: Any) -> bool:
    return any(isinstance(o, Tensor) or (isinstance(o, (list, tuple)) and _holds_tensors(o)) for o in obj)


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A new tensor with a copy of ``data``; see :func:`asarray` for what data may be.

    >>> import weft as wf
    >>> wf.tensor([1.0, 2.0], requires_grad=True)
    Tensor([1., 2.], dtype=float32, requires_grad=True)
    """
    if isinstance(data, Tensor):
        import numpy as np

        made = asarray(np.array(data.numpy()), dtype=dtype)
    else:
        made = asarray(data, dtype=dtype, copy=True)
    made = _new(made._storage, made._spec)
    return made.requires_grad_() if requires_grad else made

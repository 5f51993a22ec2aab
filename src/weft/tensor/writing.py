"""``x[key] = value``: what is written how."""

from __future__ import annotations

from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import bool_
from ..core.errors import DTypeError, IndexError_, ShapeError
from ..ops.creation import fitting
from ..ops.indexing import basic_key, write_at, write_value, write_where
from ..ops.op import state
from ..ops.operands import Late
from ..ops.subscript import as_entry, is_mask, normalize_key
from .create import asarray, check_number, is_array, is_scalar, python_number
from .dispatch import scalar_like
from .in_place import InPlace
from .placing import beside
from .tensor import Tensor

whole_form = InPlace("setitem", write_value)
_at = InPlace("setitem", write_at)
_where = InPlace("setitem", write_where)


def has_late(key: Any) -> bool:
    """Whether an index is a number that is known at run time alone."""
    return any(isinstance(k, Late) for k in key) if type(key) is tuple else isinstance(key, Late)


def without_late(key: Any) -> Any:
    """``key`` with tensors of rank 0 for numbers that are known at run time alone."""
    if type(key) is tuple:
        return tuple([without_late(k) for k in key])
    return key.operand(dt.int64) if isinstance(key, Late) else key


def write_item(self: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``: a basic key is a view that is written; index arrays and masks are written by ops.

    Raises:
        IndexError_: an index is out of range, or there are too many.
        ShapeError: the value does not broadcast to the place.
        DTypeError: something that is no index, or a value of another kind.
    """
    value = _value(self, value)
    entry = key[0] if type(key) is tuple and len(key) == 1 else as_entry(key) if isinstance(key, list) else key
    if basic_key(key):
        if _goes_back(key):  # such a part is a copy
            _at(self, value, normalize_key(key, self.shape)[0])
        else:
            whole_form(self if key is Ellipsis else self[key], value)
    elif is_mask(entry) and _fits_everywhere(value, self, entry):
        if tuple(entry.shape) != tuple(self.shape[: len(entry.shape)]):
            raise IndexError_(f"a mask of shape {tuple(entry.shape)} for a tensor of shape {tuple(self.shape)}")
        _where(self, *beside(self, [entry]), value)
    else:
        subscript, arrays = normalize_key(key, self.shape)
        if arrays:
            _at(self, value, subscript, *beside(self, arrays))
        else:
            whole_form(self[key], value)


def _value(self: Tensor, value: Any) -> Any:
    """What is written as a tensor, or (while a graph is traced) a Python number."""
    if isinstance(value, Tensor):
        return value
    if is_scalar(value):
        value = python_number(value)
    if isinstance(value, (bool, int, float)):
        if isinstance(value, float) and not self.dtype.is_floating:
            raise DTypeError(f"setitem: {value} into a tensor of {self.dtype.name}; cast the tensor first")
        if self.dtype is bool_:
            value = bool(value)
        return value if state.trace is not None else scalar_like("setitem", value, self._spec)
    if not is_array(value):
        if hasattr(value, "__dlpack__") or hasattr(value, "__array__"):
            raise DTypeError(f"setitem: a value of type {type(value).__name__} is not a tensor; make one with asarray")
        import numpy as np

        try:
            value = np.asarray(value)
        except ValueError:
            raise ShapeError("setitem: the value is a ragged nesting of lists") from None
        if value.dtype.kind == "f" and self.dtype.is_floating:
            value = value.astype(self.dtype.numpy)
        if value.dtype.kind in "iu" and self.dtype.is_integer:  # numbers that nobody gave a dtype: none wraps
            for number in (value.min(), value.max()) if value.size else ():
                fitting(int(number), self.dtype, "setitem")
    check_number("setitem", value, self.dtype)
    return asarray(value, device=self.device)


def _goes_back(key: Any) -> bool:
    """Whether a basic key has a slice with a negative step."""
    return any(
        isinstance(k, slice) and k.step is not None and k.step < 0 for k in (key if type(key) is tuple else (key,))
    )


def _fits_everywhere(value: Any, self: Tensor, mask: Any) -> bool:
    """The value has no axis for the mask's true elements."""
    return len(getattr(value, "shape", ())) <= self.ndim - len(mask.shape)

"""Methods that give a tensor in another dtype, or on another device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.device import CPU
from ..core.dtypes import DType, as_dtype
from ..ops import elementwise as e
from ..runtime.devices import device_of
from .binding import bind, names_of
from .placing import to_device
from .tensor import Tensor


def to(self: Tensor, *args: Any, **named: Any) -> Any:
    """The tensor with another dtype (an object, a name, another tensor's) or on another device, as PyTorch's ``to``:
    ``(dtype)``, ``(tensor)`` or ``(device, dtype)``, and ``non_blocking`` (which makes no difference) and ``copy``
    behind it. Without ``copy`` a tensor that has the dtype and is there is returned itself."""
    if args and isinstance(args[0], Tensor):
        return _as(to_device(self, args[0].device), args[0].dtype, bool(bind(_OTHER, args[1:], named).get("copy")))
    given = bind(_DTYPE_FIRST if args and _is_dtype(args[0]) else _DEVICE_FIRST, args, named)
    device, dtype = given.get("device"), given.get("dtype")
    there = self if device is None else to_device(self, device_of(device, "to"))
    return _as(there, self.dtype if dtype is None else as_dtype(dtype), bool(given.get("copy")) and there is self)


_DEVICE_FIRST = names_of("to")
_OTHER = _DEVICE_FIRST._replace(order=_DEVICE_FIRST.order[2:], options=())
_DTYPE_FIRST = _DEVICE_FIRST._replace(order=_DEVICE_FIRST.order[1:], options=("device",))


def _as(self: Tensor, dtype: DType, copy: bool = False) -> Tensor:
    """The tensor as ``dtype``: itself where that is its own, as in PyTorch."""
    return self if self._spec.dtype is dtype and not copy else e.astype(self, dtype)


def _is_dtype(value: Any) -> bool:
    try:
        as_dtype(value)
    except TypeError:
        return False
    return value is not None  # of which NumPy makes float64


def _cast(name: str) -> Callable[[Tensor], Tensor]:
    dtype = as_dtype(name)

    def method(self: Tensor) -> Tensor:
        return _as(self, dtype)

    method.__doc__ = f"The tensor as {name}; itself if it is."
    return method


def cpu(self: Tensor) -> Tensor:
    """The tensor in the CPU's memory: itself if it is there, else a copy."""
    return to_device(self, CPU)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype of another, on its device."""
    return to_device(_as(self, other.dtype), other.device)


def type_(self: Tensor, dtype: Any) -> Tensor:
    """The tensor as ``dtype``; itself if it is."""
    return _as(self, as_dtype(dtype))


type_.__name__ = "type"

METHODS: dict[str, Callable[..., Any]] = {
    "to": to,
    "type": type_,
    "type_as": type_as,
    "cpu": cpu,
    "float": _cast("float32"),
    "double": _cast("float64"),
    "half": _cast("float16"),
    "bfloat16": _cast("bfloat16"),
    "long": _cast("int64"),
    "int": _cast("int32"),
    "short": _cast("int16"),
    "char": _cast("int8"),
    "byte": _cast("uint8"),
    "bool": _cast("bool"),
}

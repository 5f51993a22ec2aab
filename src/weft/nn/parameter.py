"""Parameter: a tensor that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.dtypes import as_dtype, default_float
from ..core.errors import DTypeError, ShapeError
from ..ops.creation import zeros
from ..ops.op import state
from ..runtime.devices import device_of
from ..tensor.create import asarray
from ..tensor.in_place import owned
from ..tensor.tensor import Tensor


class Parameter(Tensor):
    """A leaf Tensor with ``requires_grad`` that a Module finds when it is assigned as an attribute.

    ``data`` is a tensor (whose memory is shared, its history is not), a NumPy array (which is copied) or nested
    numbers; without it there are no elements.

    Raises:
        AutogradError: ``requires_grad`` and the dtype is not floating.

    Example:
        >>> wf.nn.Parameter(wf.zeros((2,))).requires_grad
        True
    """

    __slots__ = ()

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        value = owned(zeros((0,)) if data is None else asarray(data).detach())
        self._storage, self._spec, self._node, self._index = value._storage, value._spec, None, 0
        self._view = self._views = None
        if requires_grad:
            self.requires_grad_()
        if state.trace is not None and state.trace.capture is not None:
            state.trace.capture.made((self,))


class Buffer(Tensor):
    """A tensor that a Module registers as a buffer when it is assigned as an attribute; ``data`` as for a
    :class:`Parameter`, ``persistent`` whether the state dict has it.

    Example:
        >>> class Centred(wf.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.mean = wf.nn.Buffer(wf.zeros((2,)))
        >>> list(Centred().state_dict())
        ['mean']
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any = None, *, persistent: bool = True) -> None:
        value = owned(zeros((0,)) if data is None else asarray(data))
        self._storage, self._spec, self._node, self._index = value._storage, value._spec, value._node, value._index
        self._view = self._views = None
        self.persistent = persistent
        if state.trace is not None and state.trace.capture is not None:
            state.trace.capture.made((self,))

    def __copy__(self) -> Any:
        return self._as_persistent(super().__copy__())

    def __deepcopy__(self, memo: Any) -> Any:
        return self._as_persistent(super().__deepcopy__(memo))

    def _as_persistent(self, copied: Any) -> Any:
        copied.persistent = self.persistent
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), (None, {"persistent": self.persistent}))


def blank(shape: Sequence[int], dtype: Any = None, device: Any = None) -> Parameter:
    """A parameter of zeros that a layer fills when it resets its parameters.

    Raises:
        DTypeError: the dtype is not floating.
        DeviceError: the device is not there.
    """
    wanted = default_float if dtype is None else as_dtype(dtype)
    if not wanted.is_floating:
        raise DTypeError(f"a parameter must be floating, not {wanted.name}")
    return Parameter(zeros(tuple(shape), dtype=wanted, device=device_of(device)))


def check_sizes(layer: str, **sizes: int) -> None:
    """Raise unless each size is a whole number, 0 or more.

    Raises:
        ShapeError: naming the layer and its argument.
    """
    for name, size in sizes.items():
        if not hasattr(size, "__index__") or size.__index__() < 0:
            raise ShapeError(f"{layer}: {name} is {size!r}; it must be a whole number, 0 or more")

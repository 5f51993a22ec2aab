"""Parameters, tensors that are trained, and buffers; and those whose shapes are not known yet.

The latter are those of lazy modules before their first call. Such a tensor knows its dtype, its device and whether it
requires grad. Everything else asks for its spec (``_spec``), which is what raises here. It becomes a parameter, or a
buffer, by a change of its class: whoever holds it (an optimizer, another module) holds the same object then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeGuard

from ..core.dtypes import as_dtype, default_float
from ..core.errors import DTypeError, ShapeError, UninitializedError
from ..ops.creation import zeros
from ..ops.op import state
from ..runtime.devices import device_of
from ..tensor import guards
from ..tensor.create import asarray
from ..tensor.in_place import owned
from ..tensor.tape import Leaf
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


# --- shapes that are not known yet ----------------------------------------------------------------------------------

_SPEC: Any = Tensor._spec  # the slot itself


class _Uninitialized(Tensor):
    __slots__ = ()
    _becomes: ClassVar[type[Tensor]]

    def __init__(self, requires_grad: bool, device: Any = None, dtype: Any = None) -> None:
        wanted = default_float if dtype is None else as_dtype(dtype)
        if requires_grad and not wanted.is_floating:
            raise DTypeError(f"a parameter must be floating, not {wanted.name}")
        self._node, self._index = None, 0
        self._view = self._views = None
        self._place(wanted, device_of(device))
        if requires_grad:
            self.requires_grad_()

    def _place(self, dtype: Any, device: Any) -> None:
        value = zeros((0,), dtype=dtype, device=device)
        self._storage = value._storage
        _SPEC.__set__(self, value._spec)

    @property
    def _spec(self) -> Any:  # type: ignore[override]
        raise UninitializedError(
            "a parameter or buffer of a lazy module has no shape and no values before the module's first call, or "
            "load_state_dict; call the module once, with an input of the size that it will get"
        )

    @property
    def dtype(self) -> Any:
        """The type that the elements will have."""
        return _SPEC.__get__(self).dtype

    @property
    def device(self) -> Any:
        """Where the elements will lie."""
        return _SPEC.__get__(self).device

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether gradients will flow to it."""
        self._node = Leaf(_SPEC.__get__(self)) if requires_grad else None
        guards.bump()
        return self

    def convert(self, dtype: Any, device: Any) -> None:
        """Have another dtype, or lie on another device, once there are elements; None: the same."""
        requires_grad = self._node is not None
        self._place(dtype or self.dtype, device or self.device)
        self.requires_grad_(requires_grad)

    def materialize(self, shape: int | Sequence[int], device: Any = None, dtype: Any = None) -> None:
        """Become a parameter, or a buffer, of this shape: the very object, full of zeros."""
        wanted = self.dtype if dtype is None else as_dtype(dtype)
        place = self.device if device is None else device_of(device)
        requires_grad = self._node is not None
        value = zeros(shape, dtype=wanted, device=place)
        self.__class__ = self._becomes  # type: ignore[assignment]
        self._storage, self._spec, self._node = value._storage, value._spec, None  # type: ignore[misc]
        if requires_grad:
            Tensor.requires_grad_(self)
        guards.bump()

    def __deepcopy__(self, memo: Any) -> Any:
        made: Any = type(self)(self._node is not None, self.device, self.dtype)
        memo[id(self)] = made
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._node is not None, str(self.device), self.dtype.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A parameter of a lazy module before the module has seen an input."""

    __slots__ = ()
    _becomes = Parameter

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        _Uninitialized.__init__(self, requires_grad, device, dtype)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A buffer of a lazy module before the module has seen an input; ``persistent`` as for a :class:`Buffer`."""

    __slots__ = ()
    _becomes = Buffer

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> None:
        _Uninitialized.__init__(self, requires_grad, device, dtype)
        self.persistent = persistent

    def __deepcopy__(self, memo: Any) -> Any:
        return self._as_persistent(super().__deepcopy__(memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return (*super().__reduce__(), (None, {"persistent": self.persistent}))


def is_lazy(tensor: Any) -> TypeGuard[_Uninitialized]:
    """Whether the shape of a parameter or a buffer is not known yet."""
    return isinstance(tensor, _Uninitialized)

"""Where a tensor's elements lie: what it says of that, and in-place forms that change it and not the elements.

``x.t_()`` makes the object look at its memory in another way. So ``x`` becomes a view of what it was: a tensor that
nobody else holds takes its place as the base of its other views (see :mod:`weft.tensor.alias`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import AutogradError, CaptureError, DTypeError
from ..core.shapes import normalize_axis, shown
from ..core.symbolic import SymDim
from ..graph.ir import Value
from ..ops.elementwise import clone
from ..ops.op import state
from . import guards, tape
from .alias import DETACHED, base_of, hand_over, relist
from .capturing import settled
from .tensor import Tensor, as_asked, make, rest

# --- what a tensor says of its memory ---------------------------------------------------------------------------


def stride(self: Tensor, dim: int | None = None) -> Any:
    """Steps from one element to the next, in elements: of every axis, or of one."""
    strides = as_asked(self._spec.strides)
    return strides if dim is None else strides[normalize_axis(dim, len(strides), "stride")]


def is_contiguous(self: Tensor, memory_format: Any = None) -> bool:
    """Whether the elements lie in row-major order without gaps."""
    _check_format("is_contiguous", memory_format)
    return self._spec.contiguous


def contiguous(self: Tensor, memory_format: Any = None) -> Tensor:
    """The tensor itself where its elements lie in row-major order without gaps, else a copy for which they do."""
    _check_format("contiguous", memory_format)
    if self._spec.contiguous or 0 in self._spec.shape:
        return self
    made: Tensor = clone(self)
    return made


def _check_format(name: str, memory_format: Any) -> None:
    if memory_format is not None:
        raise DTypeError(f"{name}: memory_format {shown(memory_format)}: tensors have one memory format; leave it away")


def _address(name: str, tensor: Tensor) -> Any:
    """The storage of a tensor that has one now."""
    trace = state.trace
    if trace is not None or (tensor._storage.__class__ is Value and not settled([tensor])):
        raise CaptureError(f"{name}: the memory of a tensor is asked for while a function is captured")
    return tensor._storage


def data_ptr(self: Tensor) -> int:
    """The address of the first element; 0 where there is none."""
    return _address("data_ptr", self).address if self.size else 0


def storage_offset(self: Tensor) -> int:
    """Elements from the beginning of the memory that the tensor shares to its first one."""
    storage = _address("storage_offset", self)
    return int(storage.address - storage.root.address) // self.dtype.itemsize


def element_size(self: Tensor) -> int:
    """Bytes of one element."""
    return self.dtype.itemsize


def is_floating_point(self: Tensor) -> bool:
    """Whether the elements are floating-point numbers."""
    return self.dtype.is_floating


def is_signed(self: Tensor) -> bool:
    """Whether the dtype has negative numbers."""
    return self.dtype.is_floating or (self.dtype.is_integer and self.dtype.is_signed)


def is_complex(self: Tensor) -> bool:
    """False: there are no complex numbers."""
    return False


def nelement(self: Tensor) -> int:
    """The number of elements."""
    count = self.size
    return count if isinstance(count, SymDim) else int(count)


def ndimension(self: Tensor) -> int:
    """The number of axes."""
    return self.ndim


# --- the same object, looking at its memory in another way ------------------------------------------------------


def _restrided(name: str, view_of: Callable[..., Any]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        trace = state.trace
        if trace is not None and trace.capture is not None and trace.capture.is_outside(self):
            raise CaptureError(
                f"{name}: a tensor from outside of a captured function would get another shape inside it; do it before "
                f"the function is called, or use {name[:-1]}()"
            )
        _check(name, self)
        is_leaf = isinstance(self._node, tape.Leaf)  # then calls are not recorded, and it stays one
        with tape.set_grad_enabled(not is_leaf):
            made = view_of(self, *args, **kwargs)
        if made is not self:
            _become(self, made, is_leaf)
        return self

    method.__name__, method.__doc__ = name, f"Make the tensor look as ``{name[:-1]}`` shows it; returns it."
    return method


def _check(name: str, tensor: Tensor) -> None:
    if tape.recording.enabled and isinstance(base_of(tensor)._node, tape.Leaf):
        what = "a leaf that requires grad" if base_of(tensor) is tensor else "a view of a leaf that requires grad"
        raise AutogradError(
            f"in-place {name}: {what} (shape {tuple(tensor.shape)}) is changed while calls are recorded; do it under "
            f"wf.no_grad(), or use {name[:-1]}()"
        )


def _become(tensor: Tensor, made: Tensor, is_leaf: bool) -> None:
    """Let a tensor be what a view of it is."""
    of = tensor._view
    is_view = of is not None and of.kind != DETACHED
    if not is_view:  # the new view is one of the tensor
        was = make(tensor._storage, tensor._spec, tensor._node, tensor._index)
        hand_over(tensor, was)
        if is_leaf:
            made._view, made._node, made._index = None, tensor._node, 0
            tensor._node.spec = made._spec
    tensor._storage, tensor._spec, tensor._view = made._storage, made._spec, made._view
    tensor._node, tensor._index = made._node, made._index
    if not is_view and tensor._view is not None:
        relist(tensor._view.base, made, tensor)
    if state.trace is None:
        guards.bump()


def detach_(self: Tensor) -> Tensor:
    """Forget the tensor's history: it becomes a leaf that does not require grad.

    Raises:
        AutogradError: it is a view, whose history is its base's.
    """
    of = self._view
    if of is not None and of.kind != DETACHED:
        raise AutogradError(
            f"detach_: the tensor (shape {tuple(self.shape)}) is a view, with the history of its base; use detach()"
        )
    trace = state.trace
    if self._node is not None:
        if trace is not None and trace.capture is not None and trace.capture.is_outside(self):
            raise CaptureError("detach_ inside a captured function on a tensor from outside: use detach()")
        rest(self)
        self._node, self._index = None, 0
        if trace is None:
            guards.bump()
    return self


METHODS: dict[str, Callable[..., Any]] = {
    "contiguous": contiguous,
    "data_ptr": data_ptr,
    "detach_": detach_,
    "element_size": element_size,
    "is_complex": is_complex,
    "is_contiguous": is_contiguous,
    "is_floating_point": is_floating_point,
    "is_signed": is_signed,
    "ndimension": ndimension,
    "nelement": nelement,
    "storage_offset": storage_offset,
    "stride": stride,
}


def restriding_methods() -> dict[str, Callable[..., Tensor]]:
    """The methods that change what the object shows: ``t_``, ``transpose_`` and the like."""
    names = ("t", "transpose", "swapaxes", "swapdims", "squeeze", "unsqueeze")
    return {f"{name}_": _restrided(f"{name}_", getattr(Tensor, name)) for name in names}

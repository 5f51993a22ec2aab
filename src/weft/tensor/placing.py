"""Tensors from device to device, and operands that lie on different ones."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from ..core.device import CPU, Device
from ..core.errors import DeviceError
from ..graph.ir import Value
from ..ops.op import state
from ..runtime.devices import moved
from . import tape
from .capturing import settled
from .spec import Spec, spec_of
from .tensor import Tensor, make


def to_device(tensor: Tensor, device: Device) -> Tensor:
    """The tensor on a device: itself if it is there, else a copy, row-major, through which gradients flow.

    Raises:
        DeviceError: inside a captured function, which runs on another one.
    """
    spec = tensor._spec
    if spec.device is device:
        return tensor
    trace = state.trace
    if trace is not None and (trace.capture is not None or tensor._storage.__class__ is Value):
        raise DeviceError(
            f"to: a captured function runs on one device, here {trace.device}, and {spec.placed} would go to {device}; "
            f"move tensors before it is called"
        )
    if tensor._storage.__class__ is Value and not settled([tensor]):
        from .calls import traced_error

        raise traced_error([tensor])
    source = tensor
    if not spec.contiguous:
        from ..ops.elementwise import clone

        with tape.no_grad():
            source = clone(tensor.detach())
    dense = spec_of(spec.dtype, spec.shape, None, device)
    made = make(moved(source._storage, spec.nbytes, device), dense, None, 0)
    if tensor._node is not None and tape.recording.enabled:
        tape.record(_Copy(spec, dense), (tensor,), (made,))  # type: ignore[arg-type]
    return made


class _Copy:
    """A copy to another device as a record's call, and its gradient in one: the copy back."""

    __slots__ = ("_source", "backwards", "out_specs")

    name = "to"
    needs_inputs = needs_outputs = ()
    needs_values = False

    def __init__(self, source: Spec, made: Spec):
        self._source, self.out_specs = source.device, (made,)
        self.backwards: dict[tuple[bool, ...], _Copy] = {}

    @property
    def flows(self) -> tuple[bool]:
        return (self.out_specs[0].is_floating,)

    def backward(self, wanted: tuple[bool, ...]) -> _Copy:
        """The gradient, as the tape asks a call for it."""
        return self

    def call(self, operands: Sequence[Tensor]) -> list[Tensor]:
        """The cotangent of the source."""
        if state.trace is not None:  # recorded before the capture
            raise tape.Boundary(self.name).error()
        (g,) = operands
        return [to_device(g, self._source)]


def is_number(spec: Spec) -> bool:
    """Whether it is of rank 0 on the CPU: such a tensor stands beside those of any device, as in PyTorch."""
    return spec.device is CPU and not spec.shape


def on_one_device(name: str, tensors: Sequence[Tensor], given: Set[int], in_place: bool) -> list[Tensor]:
    """The operands of an eager call on the one device that the tensors lie on. Numbers are copied there, and so is data
    of no device (NumPy arrays): what is not ``given``, by its id. ``in_place``: the first is written, and stays.

    Raises:
        DeviceError: the tensors lie on several.
    """
    fixed = {t._spec.device for t in tensors if id(t) in given and not is_number(t._spec)} or {CPU}
    if len(fixed) > 1 or (in_place and tensors[0]._spec.device not in fixed):
        raise mixed(name, [t._spec for t in tensors])
    (device,) = fixed
    return [to_device(t, device) for t in tensors]


def beside(x: Tensor, indices: Sequence[Any]) -> list[Any]:
    """Index arrays and masks of ``x[...]``: tensors of the CPU may choose elements on any device, as in PyTorch."""
    trace, device = state.trace, x._spec.device
    if trace is None:
        if device is CPU:
            return list(indices)
        return [to_device(a, device) if isinstance(a, Tensor) and a._spec.device is CPU else a for a in indices]
    if trace.capture is None or trace.device is CPU:
        return list(indices)
    return [trace.capture.beside(a) if isinstance(a, Tensor) else a for a in indices]


def mixed(name: str, specs: Sequence[Spec]) -> DeviceError:
    """What to raise when operands lie on different devices."""
    operands = ", ".join(spec.placed for spec in specs)
    return DeviceError(f"{name}: operands lie on different devices: {operands}; move them to one with x.to(device)")

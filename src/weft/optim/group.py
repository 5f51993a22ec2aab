"""Parameter groups: dicts of options, of which the learning rate is also a tensor.

A captured training step reads the learning rate by reference, as it reads parameters: changing it compiles nothing
and is honoured by the next step. The user sees a float. The other options are Python numbers on which a captured step
is specialised; reading one during a capture makes a guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.device import CPU, Device
from ..core.dtypes import float64
from ..core.errors import StateError
from ..ops.op import suspended
from ..ops.operands import Late
from ..tensor import guards
from ..tensor.create import asarray
from ..tensor.placing import to_device
from ..tensor.tensor import Tensor

_BY_REFERENCE = ("lr",)


class ParamGroup(dict[str, Any]):
    """Options by name; ``tensor(name, device)`` is the float64 tensor of rank 0 behind one that is held by reference.
    It lies where it was asked for last.

    A tensor that is given as learning rate is kept as it is, and read back as a tensor.
    """

    def __init__(self, options: Mapping[str, Any]):
        super().__init__()
        self._tensors: dict[str, Tensor] = {}
        self.update(options)

    def __getitem__(self, name: str) -> Any:
        return guards.read(self, name, dict.__getitem__(self, name))

    def get(self, name: str, default: Any = None) -> Any:
        """The option, or ``default``."""
        if name not in self:
            return default
        return self[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if guards.is_recording():
            guards.before_write(self, name, value)
        super().__setitem__(name, value)
        guards.bump()
        if name not in _BY_REFERENCE or value is None:  # an optimizer of the user's may choose its own rate
            self._tensors.pop(name, None)
            return
        if isinstance(value, Tensor):
            if value.ndim:
                raise StateError(f"{name} is a tensor of shape {value.shape}; it must have rank 0")
            self._tensors[name] = value
            return
        held = self._tensors.get(name)
        if isinstance(value, Late) and held is not None:  # a captured step computes it
            held.assign(asarray(value, dtype=held.dtype))
            return
        if held is None or held.requires_grad or held.dtype is not float64:
            with suspended():  # it must outlive a capture that is going on
                self._tensors[name] = asarray(float(value), dtype=float64, device=CPU)
        else:
            held.assign(asarray(float(value), dtype=float64, device=held.device))

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The option, set to ``default`` if it was not there."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **options: Any) -> None:
        """Set several options."""
        for name, value in dict(*args, **options).items():
            self[name] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return ParamGroup, (dict(self),)

    def tensor(self, name: str, device: Device = CPU) -> Tensor:
        """The tensor behind ``lr``, on a device; one that the user gave stays where it is."""
        held = self._tensors[name]
        if held._spec.device is not device and not isinstance(dict.__getitem__(self, name), Tensor):
            with suspended():
                held = self._tensors[name] = to_device(held, device)
            guards.bump()
        return guards.read(self._tensors, name, held)

"""``x.data``: the value of a tensor without its history; what changes it in place changes the tensor, as in PyTorch."""

from __future__ import annotations

from typing import Any

from ..ops.op import state
from . import tape
from .tensor import Tensor

__all__ = ["Data", "data"]


class Data(Tensor):
    """The value of ``owner``. Results of ops on it are plain tensors."""

    __slots__ = ("_owner",)

    _owner: Tensor

    def _rebind(self, value: Tensor) -> None:
        with tape.no_grad():
            self._owner._rebind(value)
            super()._rebind(value)

    def __repr__(self) -> str:
        return repr(self.detach())

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.detach().__deepcopy__(memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.detach().__reduce__()


def _get(owner: Tensor) -> Tensor:
    plain, made = owner.detach(), object.__new__(Data)
    made._storage, made._spec, made._node, made._index, made._owner = plain._storage, plain._spec, None, 0, owner
    if state.trace is not None and state.trace.capture is not None:
        state.trace.capture.made((made,))
    return made


def _set(owner: Tensor, value: Tensor) -> None:
    with tape.no_grad():
        owner._rebind(value)


data = property(_get, _set, doc="The value without history; what changes it in place changes the tensor.")

"""Checking a state before it is taken over: everything that is wrong is found first, then everything is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import WeftError
from ..tensor.create import asarray
from ..tensor.tensor import Tensor
from .parameter import is_lazy


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """The values of ``state`` for the keys of ``own``, and the problems, one line each."""
    fit: dict[str, Tensor] = {}
    problems: list[str] = []
    for name, tensor in own.items():
        if name not in state:
            continue
        try:
            value = as_tensor(state[name])
        except (WeftError, TypeError, ValueError):
            problems.append(f"{name!r} is a {type(state[name]).__name__}, not a tensor")
            continue
        if is_lazy(tensor):
            fit[name] = value
        elif is_lazy(value):
            problems.append(f"{name!r} has no values in the state: it is that of a lazy module before its first call")
        elif value.shape != tensor.shape:
            problems.append(f"{name!r} has shape {tuple(value.shape)} in the state and {tuple(tensor.shape)} here")
        else:
            fit[name] = value
    return fit, problems


def as_tensor(value: Any) -> Tensor:
    """``value`` (Tensor, NumPy array, anything that speaks DLPack, number) as a Tensor, which may share its memory."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (str, bytes, dict)):
        raise TypeError(f"{type(value).__name__} is not a tensor")
    return asarray(value)

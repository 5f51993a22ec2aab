"""Limits on gradients, between ``backward()`` and ``step()``."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..core.dtypes import float32
from ..ops.creation import zeros
from ..ops.elementwise import abs as abs_
from ..ops.elementwise import cast, clip, maximum, minimum, sqrt
from ..ops.op import Array, composite
from ..ops.reduction import max as max_
from ..ops.reduction import sum as sum_
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_"]


def _with_gradient(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [p for p in listed if p.grad is not None]


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scale the gradients, taken together as one vector, so that its norm is at most ``max_norm``.

    Args:
        parameters: those without a gradient are left out.
        max_norm: the limit.
        norm_type: 1, 2 or ``inf``.

    Returns:
        ``()`` float32: the norm as it was.
    """
    if norm_type not in (1.0, 2.0, math.inf):
        raise ValueError(f"clip_grad_norm_: norm_type is {norm_type}; it must be 1, 2 or inf")
    held = _with_gradient(parameters)
    with no_grad():
        if not held:
            return zeros(())
        norm: Tensor = _total_norm([p.grad for p in held], float(norm_type))
        for p in held:
            p.grad = _scaled(p.grad, norm, float(max_norm))
    return norm


@composite(name="total_norm")
def _total_norm(gradients: list[Array], norm_type: float) -> Array:
    parts = []
    for g in gradients:
        x = cast(g, float32)
        if norm_type == 2.0:
            parts.append(sum_(x * x))
        else:
            parts.append(sum_(abs_(x)) if norm_type == 1.0 else max_(abs_(x)))
    total = parts[0]
    for part in parts[1:]:
        total = total + part if norm_type != math.inf else maximum(total, part)
    return sqrt(total) if norm_type == 2.0 else total


@composite(name="scale_gradient")
def _scaled(gradient: Array, norm: Array, max_norm: float) -> Array:
    factor = minimum(max_norm / (norm + 1e-6), 1.0)
    return cast(cast(gradient, norm.dtype) * factor, gradient.dtype)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Cut every element of the gradients to ``[-clip_value, clip_value]``."""
    with no_grad():
        for p in _with_gradient(parameters):
            p.grad = clip(p.grad, -float(clip_value), float(clip_value))

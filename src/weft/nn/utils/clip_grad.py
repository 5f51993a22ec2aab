"""Limits on gradients, between ``backward()`` and ``step()``: written into the memory that the gradients have."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ...core.dtypes import float32, float64
from ...core.errors import ArgumentError, AutogradError
from ...core.namespace import publish as _publish
from ...ops.creation import zeros
from ...ops.elementwise import abs as abs_
from ...ops.elementwise import cast, clip, maximum, minimum, sqrt
from ...ops.op import Array, composite
from ...ops.precision import working
from ...ops.reduction import max as max_
from ...ops.reduction import sum as sum_
from ...tensor.in_place import Update
from ...tensor.joint import update_each
from ...tensor.tape import no_grad
from ...tensor.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients of the parameters that have one."""
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [g for g in [p.grad for p in listed] if g is not None]


def _power(name: str, norm_type: float) -> float:
    power = float(norm_type)
    if not power > 0.0:
        raise ArgumentError(f"{name}: norm_type is {norm_type}; it must be above 0, or inf")
    return power


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of tensors, taken together as one vector: ``()``, float64 if one of them is, else float32. The arguments
    are those of :func:`clip_grad_norm_`.

    Raises:
        AutogradError: the norm is not finite, and ``error_if_nonfinite``.
    """
    power = _power("get_total_norm", norm_type)
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    return _norm_of("get_total_norm", listed, power, error_if_nonfinite) if listed else zeros(())


def _norm_of(name: str, gradients: Sequence[Tensor], power: float, error_if_nonfinite: bool) -> Tensor:
    norm: Tensor = _total_norm(gradients, power)
    if error_if_nonfinite and not math.isfinite(norm.item()):
        raise AutogradError(
            f"{name}: the norm of the gradients is {norm.item()}, so that they cannot be clipped; look for the "
            f"parameter whose gradient is not finite, or pass error_if_nonfinite=False to scale by it"
        )
    return norm


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients in place by ``max_norm / total_norm``, where that is below 1: :func:`clip_grad_norm_` with a
    norm that is known, or is that of more parameters."""
    with no_grad():
        gradients = _gradients(parameters)
        if gradients:
            update_each(_scale_, gradients, total_norm, float(max_norm))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients in place, taken together as one vector, so that its norm is at most ``max_norm``.

    Args:
        parameters: those without a gradient are left out.
        max_norm: the limit.
        norm_type: above 0, or ``inf``.
        error_if_nonfinite: raise, before anything is written, if the norm is infinite or not a number. (Reads the
            norm's value: not inside a captured function.)
        foreach: PyTorch's choice between two implementations; here there is one, and all three values mean it.

    Returns:
        ``()``, float64 if a gradient is, else float32: the norm as it was.

    Raises:
        AutogradError: the norm is not finite, and ``error_if_nonfinite``.
    """
    power = _power("clip_grad_norm_", norm_type)
    gradients = _gradients(parameters)
    with no_grad():
        if not gradients:
            return zeros(())
        norm = _norm_of("clip_grad_norm_", gradients, power, error_if_nonfinite)
        update_each(_scale_, gradients, norm, float(max_norm))
    return norm


@composite(name="total_norm")
def _total_norm(gradients: Sequence[Array], norm_type: float) -> Array:
    dtype = float64 if any(g.dtype is float64 for g in gradients) else float32
    parts = []
    for g in gradients:
        x = cast(g, dtype)
        if norm_type == 2.0:
            parts.append(sum_(x * x))
        elif norm_type == math.inf:
            parts.append(max_(abs_(x)))
        else:
            parts.append(sum_(abs_(x) if norm_type == 1.0 else abs_(x) ** norm_type))
    total = parts[0]
    for part in parts[1:]:
        total = total + part if norm_type != math.inf else maximum(total, part)
    if norm_type in (1.0, math.inf):
        return total
    return sqrt(total) if norm_type == 2.0 else total ** (1.0 / norm_type)


@composite(name="scale_gradient")
def _scaled(gradient: Array, norm: Array, max_norm: float) -> Array:
    wide = working(gradient.dtype)
    factor = cast(minimum(max_norm / (norm + 1e-6), 1.0), wide)
    return cast(cast(gradient, wide) * factor, gradient.dtype)


@composite(name="clip_gradient")
def _clipped(gradient: Array, limit: float) -> Array:
    return clip(gradient, -limit, limit)


_scale_, _clip_ = Update(_scaled), Update(_clipped)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None) -> None:
    """Cut every element of the gradients to ``[-clip_value, clip_value]``, in place. ``foreach`` as for
    :func:`clip_grad_norm_`."""
    with no_grad():
        update_each(_clip_, _gradients(parameters), float(clip_value))


_publish(globals())

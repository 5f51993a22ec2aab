"""Windows of a tensor's last axes as a view, and what lies around a tensor: what pooling and folding are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.errors import ShapeError
from ..graph.ir import Value, make_node
from ..graph.protocol import Padded, Primitive, TensorType
from .op import Array
from .strided_views import UNFOLD
from .views import PERMUTE, SLICE, Gradients, Params, slice_

Ints = tuple[int, ...]


def _padded_type(params: Params, x: TensorType) -> TensorType:
    before, after = params["before"], params["after"]
    if not len(before) == len(after) == len(x.shape) or min((*before, *after), default=0) < 0:
        raise ShapeError(f"padded: {before} elements before and {after} after a tensor of shape {x.shape}")
    return TensorType(x.dtype, tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True)))


def _padded_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    return (slice_(g, params["before"], tuple(inputs[0].shape)),)


PADDED = Primitive("padded", _padded_type, Padded(), _padded_vjp)

Emit = Callable[..., Any]  # (primitive, operand, **params): a tensor of a tensor (apply), or a value of a value


def emitted(op: Primitive, x: Value, **params: Any) -> Value:
    """A value of a value: for who lowers an op to others."""
    return make_node(op, (x,), params).output


def pad(emit: Emit, x: Any, before: Ints, after: Ints, value: float | int) -> Any:
    """``x`` with a number around its last axes."""
    if not any(before) and not any(after):
        return x
    lead = (0,) * (len(x.shape) - len(before))
    return emit(PADDED, x, before=(*lead, *before), after=(*lead, *after), value=value)


def windows_of(emit: Emit, x: Any, size: Ints, step: Ints, dilation: Ints) -> Any:
    """All windows of the last axes: ``(*rest, *size, *counts)``, a view."""
    lead, rank = len(x.shape) - len(size), len(size)
    for axis, (k, s, d) in enumerate(zip(size, step, dilation, strict=True)):
        x = emit(UNFOLD, x, axis=lead + axis, size=d * (k - 1) + 1, step=s)
        if d > 1:
            shape = (*x.shape[:-1], k)
            x = emit(SLICE, x, starts=(0,) * len(shape), sizes=shape, steps=(*(1,) * (len(shape) - 1), d))
    last = len(x.shape)
    return emit(PERMUTE, x, axes=(*range(lead), *range(last - rank, last), *range(lead, lead + rank)))

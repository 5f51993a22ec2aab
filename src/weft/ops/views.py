"""The primitives that move elements without computing.

Views (``reshape``, ``permute``, ``broadcast_to``, ``slice``) only move the strides of the reads below them; a reshape
that strides cannot express makes a copy. ``slice_update`` writes one tensor into a slice of another. The public
functions are in :mod:`weft.ops.shape`; the lower-case functions here work within a trace alone. Views that show
elements in other ways are in :mod:`weft.ops.strided_views`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape, size_of
from ..core.symbolic import Dim, are_equal, undecided
from ..graph.protocol import Concat, Layout, Primitive, SliceUpdate, TensorType, View
from .creation import full
from .op import Array, apply

Params = dict[str, Any]
Gradients = tuple[Any, ...]


# --- reshape ----------------------------------------------------------------------------------------------------


def _reshape_type(params: Params, x: TensorType) -> TensorType:
    shape = params["shape"]
    if not are_equal(size_of(shape), size_of(x.shape)):
        raise ShapeError(f"reshape: {x.shape} has {size_of(x.shape)} elements, {shape} has {size_of(shape)}")
    return TensorType(x.dtype, shape)


def _reshape_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    return (reshaped(g, tuple(inputs[0].shape)),)


def _reshape_put(params: Params, x: Array, y: Array) -> Array:
    return reshaped(y, tuple(x.shape))


RESHAPE = Primitive(
    "reshape",
    _reshape_type,
    View(lambda params, x: x.reshaped(params["shape"])),
    _reshape_vjp,
    _reshape_put,
)


def reshaped(x: Array, shape: Shape) -> Array:
    """``x`` under another shape; itself where it has it."""
    return x if tuple(x.shape) == shape else apply(RESHAPE, x, shape=shape)


# --- permute ----------------------------------------------------------------------------------------------------


def _permute_type(params: Params, x: TensorType) -> TensorType:
    return TensorType(x.dtype, tuple(x.shape[a] for a in params["axes"]))


def _permute_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    return (_permute_put(params, inputs[0], g),)


def _permute_put(params: Params, x: Array, y: Array) -> Array:
    axes = params["axes"]
    return permuted(y, tuple(axes.index(a) for a in range(len(axes))))


PERMUTE = Primitive(
    "permute", _permute_type, View(lambda params, x: x.permuted(params["axes"])), _permute_vjp, _permute_put
)


def permuted(x: Array, axes: tuple[int, ...]) -> Array:
    """``x`` with its axes in the order ``axes``."""
    return x if axes == tuple(range(len(axes))) else apply(PERMUTE, x, axes=axes)


# --- broadcast_to -----------------------------------------------------------------------------------------------


def _is_one(size: Dim) -> bool:
    return isinstance(size, int) and size == 1


def _broadcast_type(params: Params, x: TensorType) -> TensorType:
    shape = params["shape"]
    lead = len(shape) - len(x.shape)
    if lead < 0 or not all(_is_one(n) or n == m for n, m in zip(x.shape, shape[lead:], strict=True)):
        raise ShapeError(f"broadcast_to: {x.shape} does not broadcast to {shape}")
    return TensorType(x.dtype, shape)


def _broadcast_layout(params: Params, x: Layout) -> Layout:
    shape: tuple[int, ...] = params["shape"]
    lead = len(shape) - len(x.shape)
    kept = (0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))
    return Layout(shape, x.offset, (*(0,) * lead, *kept))


def _broadcast_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    from .reduction import sum  # the gradient of a sum is a broadcast, and of a broadcast a sum

    own, shape = tuple(inputs[0].shape), params["shape"]
    lead = len(shape) - len(own)
    repeated = [a for a in range(len(shape)) if a < lead or (_is_one(own[a - lead]) and not _is_one(shape[a]))]
    return (reshaped(sum(g, axis=tuple(repeated)) if repeated else g, own),)


def _broadcast_put(params: Params, x: Array, y: Array) -> Array:
    own, shape = tuple(x.shape), params["shape"]
    lead = len(shape) - len(own)
    if not all(_is_one(n) for n in shape[:lead]) or shape[lead:] != own:
        raise ShapeError(f"elements of a tensor of shape {own} show several times in {shape}: it has no place for each")
    return reshaped(y, own)


BROADCAST_TO = Primitive("broadcast_to", _broadcast_type, View(_broadcast_layout), _broadcast_vjp, _broadcast_put)


def broadcasted(x: Array, shape: Shape) -> Array:
    """``x`` repeated to ``shape``; itself where it has it."""
    return x if tuple(x.shape) == shape else apply(BROADCAST_TO, x, shape=shape)


# --- slice and slice_update -------------------------------------------------------------------------------------


def _check_slice(op: str, shape: Shape, params: Params, sizes: Shape) -> None:
    """The primitive's own guard: its first and last elements lie within the tensor."""
    starts, steps = params["starts"], params["steps"]
    if not len(shape) == len(starts) == len(sizes) == len(steps):
        raise ShapeError(f"{op}: starts {starts}, sizes {sizes} and steps {steps} do not fit a tensor of shape {shape}")
    for axis, (n, start, size, step) in enumerate(zip(shape, starts, sizes, steps, strict=True)):
        if any(map(undecided, (n, start, size))) or not (size < 0 or size > 0):
            continue
        if not (0 <= start < n and 0 <= start + (size - 1) * step < n):
            raise ShapeError(f"{op}: elements {start}, {start + step}, ... ({size}) lie outside axis {axis} of {shape}")


def _slice_type(params: Params, x: TensorType) -> TensorType:
    _check_slice("slice", x.shape, params, params["sizes"])
    return TensorType(x.dtype, params["sizes"])


def _slice_layout(params: Params, x: Layout) -> Layout:
    offset = x.offset + sum(start * s for start, s in zip(params["starts"], x.strides, strict=True))
    strides = tuple(s * step for s, step in zip(x.strides, params["steps"], strict=True))
    return Layout(params["sizes"], 0 if 0 in params["sizes"] else offset, strides)


def _slice_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    (x,) = inputs
    base = full(tuple(x.shape), 0, dtype=x.dtype)
    return (slice_update(base, g, params["starts"], params["steps"]),)


def _slice_put(params: Params, x: Array, y: Array) -> Array:
    return slice_update(x, y, params["starts"], params["steps"])


SLICE = Primitive("slice", _slice_type, View(_slice_layout), _slice_vjp, _slice_put)


def slice_(x: Array, starts: Shape, sizes: Shape, steps: tuple[int, ...] | None = None) -> Array:
    """``x[start], x[start + step], ...`` (``size`` of them) on every axis; within a trace alone."""
    steps = (1,) * len(starts) if steps is None else steps
    if sizes == tuple(x.shape) and steps == (1,) * len(starts):
        return x
    return apply(SLICE, x, starts=starts, sizes=sizes, steps=steps)


def _update_type(params: Params, x: TensorType, y: TensorType) -> TensorType:
    if x.dtype is not y.dtype:
        raise DTypeError(f"slice_update: {y.dtype.name} values into a tensor of {x.dtype.name}")
    _check_slice("slice_update", x.shape, params, y.shape)
    return x


def _update_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    shape = tuple(inputs[1].shape)
    hidden = full(shape, 0, dtype=g.dtype)
    return (
        slice_update(g, hidden, params["starts"], params["steps"]),
        slice_(g, params["starts"], shape, params["steps"]),
    )


def _update_place(params: Params, x: Layout, shape: Shape) -> Layout:
    return _slice_layout({**params, "sizes": shape}, x)


SLICE_UPDATE = Primitive("slice_update", _update_type, SliceUpdate(_update_place), _update_vjp)


def slice_update(x: Array, y: Array, starts: Shape, steps: tuple[int, ...] | None = None) -> Array:
    """``x`` with ``y`` (of its dtype) written at ``starts + steps * index``; within a trace alone."""
    steps = (1,) * len(starts) if steps is None else steps
    if tuple(y.shape) == tuple(x.shape) and steps == (1,) * len(starts):
        return y
    if any(step < 0 for step in steps):  # the primitive's writes go forward: y goes backward instead
        turned = [a for a, step in enumerate(steps) if step < 0]
        y = flipped(y, turned)
        starts = tuple(s + (n - 1) * step if step < 0 else s for s, n, step in zip(starts, y.shape, steps, strict=True))
        steps = tuple(abs(step) for step in steps)
    return apply(SLICE_UPDATE, x, y, starts=starts, steps=steps)


def flipped(x: Array, axes: Sequence[int]) -> Array:
    """``x`` backwards along ``axes``."""
    shape = tuple(x.shape)
    starts = tuple(n - 1 if a in axes and n != 0 else 0 for a, n in enumerate(shape))
    return slice_(x, starts, shape, tuple(-1 if a in axes else 1 for a in range(len(shape))))


def _concat_type(params: Params, *parts: TensorType) -> TensorType:
    axis, first = params["axis"], parts[0]
    total: Dim = 0
    for part in parts:
        if part.dtype is not first.dtype:
            raise DTypeError(f"concat: {part.dtype.name} and {first.dtype.name} in one call")
        others = zip(part.shape, first.shape, strict=True)
        if not all(are_equal(a, b) for at, (a, b) in enumerate(others) if at != axis):
            raise ShapeError(f"concat: {first.shape} and {part.shape} differ on other axes than {axis}")
        total = total + part.shape[axis]
    return TensorType(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))


def _concat_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    axis, parts = params["axis"], []
    start: Dim = 0
    for x in inputs:
        shape = tuple(x.shape)
        parts.append(slice_(g, tuple(start if a == axis else 0 for a in range(len(shape))), shape))
        start = start + shape[axis]
    return tuple(parts)


CONCAT = Primitive("concat", _concat_type, Concat(), _concat_vjp)

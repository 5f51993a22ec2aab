"""Views by strides: the diagonal, windows, any strides at all; and how elements are written through them.

``diagonal``, ``unfold`` and ``as_strided`` are views; ``diagonal_update`` and ``as_strided_update`` write a tensor into
the place that such a view shows. The functions here work within a trace alone.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..core import dtypes as dt
from ..core.errors import AxisError, DTypeError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import undecided
from ..graph.protocol import Layout, Primitive, SliceUpdate, TensorType, View
from .creation import full, iota
from .op import Array, apply
from .views import Gradients, Params, reshaped

# --- diagonal ---------------------------------------------------------------------------------------------------


def _first_and_length(params: Params, shape: Shape) -> tuple[int, int, int]:
    """Where a diagonal begins on its two axes, and how long it is."""
    offset = params["offset"]
    top, left = max(-offset, 0), max(offset, 0)
    return top, left, max(0, min(int(shape[params["axis1"]]) - top, int(shape[params["axis2"]]) - left))


def _diagonal_type(params: Params, x: TensorType) -> TensorType:
    axes, rank = (params["axis1"], params["axis2"]), len(x.shape)
    if axes[0] == axes[1] or not all(0 <= a < rank for a in axes):
        raise AxisError(f"diagonal: axes {axes} of a tensor of shape {x.shape}; they are two different ones")
    rest = (n for a, n in enumerate(x.shape) if a not in axes)
    return TensorType(x.dtype, (*rest, _first_and_length(params, x.shape)[2]))


def _diagonal_layout(params: Params, x: Layout) -> Layout:
    axes = (params["axis1"], params["axis2"])
    top, left, length = _first_and_length(params, x.shape)
    first, second = (x.strides[a] for a in axes)
    rest = [a for a in range(len(x.shape)) if a not in axes]
    shape = (*(x.shape[a] for a in rest), length)
    offset = x.offset + top * first + left * second if prod(shape) else 0
    return Layout(shape, offset, (*(x.strides[a] for a in rest), first + second))


def _diagonal_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    (x,) = inputs
    return (_diagonal_put(params, full(tuple(x.shape), 0, dtype=x.dtype), g),)


def _diagonal_put(params: Params, x: Array, y: Array) -> Array:
    return apply(DIAGONAL_UPDATE, x, y, **params)


def _diagonal_update_type(params: Params, x: TensorType, y: TensorType) -> TensorType:
    shown = _diagonal_type(params, x)
    _check_value("diagonal_update", x, y, shown.shape)
    return x


def _check_value(op: str, x: TensorType, y: TensorType, shape: Shape) -> None:
    if x.dtype is not y.dtype:
        raise DTypeError(f"{op}: {y.dtype.name} values into a tensor of {x.dtype.name}")
    if y.shape != shape:
        raise ShapeError(f"{op}: values of shape {y.shape} for a place of shape {shape}")


def _diagonal_update_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    hidden = full(tuple(inputs[1].shape), 0, dtype=g.dtype)
    return (_diagonal_put(params, g, hidden), apply(DIAGONAL, g, **params))


DIAGONAL = Primitive("diagonal", _diagonal_type, View(_diagonal_layout), _diagonal_vjp, _diagonal_put)
DIAGONAL_UPDATE = Primitive(
    "diagonal_update",
    _diagonal_update_type,
    SliceUpdate(lambda params, x, shape: _diagonal_layout(params, x)),
    _diagonal_update_vjp,
)


def diagonal_of(x: Array, offset: int, axis1: int, axis2: int) -> Array:
    """The elements of ``x`` at ``[..., i, ..., i + offset, ...]`` on two axes, which become one: the last."""
    return apply(DIAGONAL, x, offset=offset, axis1=axis1, axis2=axis2)


# --- as_strided -------------------------------------------------------------------------------------------------


def _strided_type(params: Params, x: TensorType) -> TensorType:
    shape, strides, offset = params["shape"], params["strides"], params["offset"]
    if len(x.shape) != 1 or len(shape) != len(strides) or any(int(v) < 0 for v in (*shape, *strides, offset)):
        raise ShapeError(
            f"as_strided: shape {shape}, strides {strides} and offset {offset} of a tensor of shape {x.shape}; it has "
            "one axis, and they are not negative"
        )
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if prod(shape) and last >= int(x.shape[0]):
        raise ShapeError(
            f"as_strided: shape {shape} with strides {strides} from element {offset} on reaches element {last} of "
            f"{x.shape[0]}"
        )
    return TensorType(x.dtype, shape)


def _strided_layout(params: Params, x: Layout) -> Layout:
    (step,), shape = x.strides, params["shape"]
    offset = x.offset + params["offset"] * step if prod(shape) else 0
    return Layout(shape, offset, tuple(s * step for s in params["strides"]))


def _strided_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    return (_added_at(tuple(inputs[0].shape), Layout(params["shape"], params["offset"], params["strides"]), g),)


def _strided_put(params: Params, x: Array, y: Array) -> Array:
    return apply(AS_STRIDED_UPDATE, x, y, **params)


def _strided_update_type(params: Params, x: TensorType, y: TensorType) -> TensorType:
    shown = _strided_type(params, x)
    _check_value("as_strided_update", x, y, shown.shape)
    if _overlaps(Layout(params["shape"], 0, params["strides"])):
        raise ShapeError(
            f"elements show several times in a view of shape {params['shape']} with strides {params['strides']}: it "
            "has no place for each"
        )
    return x


def _overlaps(layout: Layout) -> bool:
    """Whether two indices show one element."""
    import numpy as np

    if 0 in layout.shape:
        return False
    axes = sorted((s, n) for s, n in zip(layout.strides, layout.shape, strict=True) if n > 1)
    reach = 0
    for stride, size in axes:
        if stride <= reach:
            break
        reach += (size - 1) * stride
    else:
        return False
    span = sum((n - 1) * s for s, n in axes) + 1
    if prod(layout.shape) > span:
        return True
    seen = np.zeros(span, bool)
    places = np.zeros((), np.int64)
    for stride, size in axes:
        places = np.add.outer(places, np.arange(size) * stride)
    seen[places] = True
    return int(seen.sum()) < places.size


def _strided_update_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    hidden = full(tuple(inputs[1].shape), 0, dtype=g.dtype)
    return (_strided_put(params, g, hidden), apply(AS_STRIDED, g, **params))


AS_STRIDED = Primitive("as_strided", _strided_type, View(_strided_layout), _strided_vjp, _strided_put)
AS_STRIDED_UPDATE = Primitive(
    "as_strided_update",
    _strided_update_type,
    SliceUpdate(lambda params, x, shape: _strided_layout(params, x)),
    _strided_update_vjp,
)


def as_strided(x: Array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> Array:
    """The elements ``offset + sum(strides[a] * i_a)`` of ``x`` (rank 1)."""
    return apply(AS_STRIDED, x, shape=shape, strides=strides, offset=offset)


def _added_at(shape: Shape, layout: Layout, g: Array) -> Array:
    """Zeros of ``shape`` with ``g`` added where a view that has ``layout``, were they row-major, shows each element."""
    from .indexing import _sum_at
    from .reduction import sum as sum_

    count = (prod(int(n) for n in shape),)
    repeated = tuple(a for a, (n, s) in enumerate(zip(layout.shape, layout.strides, strict=True)) if n > 1 and s == 0)
    if repeated:
        g = sum_(g, axis=repeated, keepdims=True)
        layout = Layout(tuple(g.shape), layout.offset, layout.strides)
    if not _overlaps(layout):
        params = {"shape": layout.shape, "strides": layout.strides, "offset": layout.offset}
        return reshaped(apply(AS_STRIDED_UPDATE, full(count, 0, dtype=g.dtype), g, **params), shape)
    places: Array = full(layout.shape, layout.offset, dtype=dt.int64)
    for axis, stride in enumerate(layout.strides):
        places = places + iota(layout.shape, axis) * stride
    size = (prod(layout.shape),)
    return reshaped(_sum_at(count, [reshaped(places, size)], reshaped(g, size)), shape)


# --- unfold -----------------------------------------------------------------------------------------------------


def _unfold_type(params: Params, x: TensorType) -> TensorType:
    axis, size, step = params["axis"], params["size"], params["step"]
    fits = 0 <= axis < len(x.shape) and size >= 0 and step >= 1
    if not fits or (not undecided(x.shape[axis]) and x.shape[axis] < size):
        raise ShapeError(f"unfold: windows of {size}, every {step}, on axis {axis} of {x.shape}")
    count = (x.shape[axis] - size) // step + 1
    return TensorType(x.dtype, (*x.shape[:axis], count, *x.shape[axis + 1 :], size))


def _unfold_layout(params: Params, x: Layout) -> Layout:
    axis = params["axis"]
    shape: Any = _unfold_type(params, TensorType(dt.bool_, x.shape)).shape
    strides = (*x.strides[:axis], x.strides[axis] * params["step"], *x.strides[axis + 1 :], x.strides[axis])
    return Layout(shape, x.offset if prod(shape) else 0, strides)


def _unfold_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    shape: Any = tuple(inputs[0].shape)
    return (_added_at(shape, _unfold_layout(params, Layout.contiguous(shape)), g),)


def _unfold_put(params: Params, x: Array, y: Array) -> Array:
    shape: Any = tuple(x.shape)
    shown = _unfold_layout(params, Layout.contiguous(shape))
    flat = reshaped(x, (prod(shape),))
    written = apply(AS_STRIDED_UPDATE, flat, y, shape=shown.shape, strides=shown.strides, offset=shown.offset)
    return reshaped(written, shape)


UNFOLD = Primitive("unfold", _unfold_type, View(_unfold_layout), _unfold_vjp, _unfold_put)

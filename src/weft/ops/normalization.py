"""Normalization over the last axes: composites around one row kernel each."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ShapeError
from ..core.shapes import Shape
from ..core.symbolic import Dim
from .creation import as_shape
from .elementwise import cast, rsqrt
from .op import Array, composite
from .precision import widen
from .reduction import mean

_EPSILON = {dt.float16: 2.0**-10, dt.bfloat16: 2.0**-7, dt.float32: 2.0**-23, dt.float64: 2.0**-52}


def _normalized(op: str, input: Array, normalized_shape: Dim | Sequence[Dim]) -> tuple[Array, Shape, tuple[int, ...]]:
    """Input in the dtype to compute in, the shape to normalize over, and its axes.

    Raises:
        ShapeError: input does not end with that shape.
    """
    shape = as_shape(normalized_shape, op)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(f"{op}: input {input.shape} does not end with normalized_shape {shape}")
    (x,) = widen(op, input)
    return x, shape, tuple(range(x.ndim - len(shape), x.ndim))


def _affine(op: str, y: Array, shape: Shape, weight: Array | None, bias: Array | None) -> Array:
    for name, factor in (("weight", weight), ("bias", bias)):
        if factor is None:
            continue
        if factor.shape != shape:
            raise ShapeError(f"{op}: {name} {factor.shape} must have normalized_shape {shape}")
        (wide,) = widen(op, factor)
        wide = cast(wide, y.dtype)
        y = y * wide if name == "weight" else y + wide
    return y


@composite
def layer_norm(
    input: Array,
    normalized_shape: Dim | Sequence[Dim],
    weight: Array | None = None,
    bias: Array | None = None,
    eps: float = 1e-5,
) -> Array:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axes, with the biased variance.

    Args:
        input: ``(*, *normalized_shape)``; a floating dtype.
        normalized_shape: the sizes of the axes to normalize over, or the size of the last one.
        weight, bias: ``normalized_shape``, or None.
        eps: what is added to the variance.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: input, weight or bias do not have ``normalized_shape``.
        DTypeError: an operand is not floating.

    Reference:
        Ba et al., Layer Normalization, 2016.
    """
    x, shape, axes = _normalized("layer_norm", input, normalized_shape)
    centred = x - mean(x, axis=axes, keepdims=True)
    variance = mean(centred * centred, axis=axes, keepdims=True)
    return cast(_affine("layer_norm", centred * rsqrt(variance + eps), shape, weight, bias), input.dtype)


@composite
def rms_norm(
    input: Array, normalized_shape: Dim | Sequence[Dim], weight: Array | None = None, eps: float | None = None
) -> Array:
    """``x / sqrt(mean(x ** 2) + eps) * weight`` over the last axes.

    Args:
        input: ``(*, *normalized_shape)``; a floating dtype.
        normalized_shape: the sizes of the axes to normalize over, or the size of the last one.
        weight: ``normalized_shape``, or None.
        eps: what is added to the mean square; None is the machine epsilon of input's dtype.

    Returns:
        A tensor of input's shape and dtype.

    Raises:
        ShapeError: input or weight do not have ``normalized_shape``.
        DTypeError: an operand is not floating.

    Reference:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """
    x, shape, axes = _normalized("rms_norm", input, normalized_shape)
    scale = rsqrt(mean(x * x, axis=axes, keepdims=True) + (_epsilon(input.dtype) if eps is None else eps))
    return cast(_affine("rms_norm", x * scale, shape, weight, None), input.dtype)


def _epsilon(dtype: DType) -> float:
    """Distance from 1 to the next number of a floating dtype."""
    return _EPSILON[dtype]

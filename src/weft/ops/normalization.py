"""Normalization, dropout, and what turns labels into rows: composites around one row kernel each."""

from __future__ import annotations

from collections.abc import Sequence

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, IndexError_, ShapeError
from ..core.shapes import Dim, Shape
from .activation import widen
from .creation import as_shape, iota
from .elementwise import cast, rsqrt, stop_gradient, where
from .indexing import as_indices, take
from .op import Array, composite, public
from .random import Generator, default_generator, draw_uniform
from .reduction import max as max_
from .reduction import mean
from .shape import expand_dims

__all__ = ["dropout", "embedding", "layer_norm", "one_hot", "rms_norm"]

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


@public
def dropout(input: Array, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Array:
    """Each element is zero with probability ``p`` and ``x / (1 - p)`` otherwise; outside training, ``x`` itself.

    Args:
        input: any shape; a floating dtype.
        p: in [0, 1]; it counts to 24 bits.
        training: False: return ``input``.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: ``input`` is not floating.

    Reference:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"dropout: p is {p}; it must be in [0, 1]")
    if not training or p == 0.0:
        return input
    return _dropout(input, (generator or default_generator()).next(), float(p))


@composite(name="dropout")
def _dropout(input: Array, state: Array, p: float) -> Array:
    (x,) = widen("dropout", input)
    dropped = draw_uniform(state, x.shape) < p
    return cast(where(dropped, 0.0, x * (1.0 / (1.0 - p) if p < 1.0 else 0.0)), input.dtype)


def _epsilon(dtype: DType) -> float:
    """Distance from 1 to the next number of a floating dtype."""
    return _EPSILON[dtype]


@composite
def embedding(input: Array, weight: Array, padding_idx: int | None = None) -> Array:
    """Rows of a table: ``weight[input]``.

    Args:
        input: row numbers in ``[0, num_embeddings)``, any shape; an integer dtype.
        weight: the table, ``(num_embeddings, embedding_dim)``; any dtype.
        padding_idx: a row that gets no gradient; a negative one counts from the end.

    Returns:
        ``(*input.shape, embedding_dim)``, weight's dtype.

    Raises:
        IndexError: a row number, or ``padding_idx``, out of range.
        ShapeError: weight is no matrix.
        DTypeError: ``input`` is not of an integer dtype.

    Example:
        >>> wf.nn.functional.embedding(wf.asarray([1, 0]), wf.asarray([[1.0, 2.0], [3.0, 4.0]]))
        Tensor([[3., 4.],
                [1., 2.]], dtype=float32)
    """
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight {weight.shape} must be (num_embeddings, embedding_dim)")
    index = as_indices("embedding", input, from_the_end=False)
    rows = take(weight, index, axis=0)
    if padding_idx is None:
        return rows
    count = weight.shape[0]
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise IndexError_(f"embedding: padding_idx {padding_idx} is out of range for a table of {count} rows")
    is_padding = expand_dims(index == (padding_idx if padding_idx >= 0 else count + padding_idx), axis=-1)
    return where(is_padding, stop_gradient(rows), rows)


@public
def one_hot(tensor: Array, num_classes: int = -1) -> Array:
    """1 at each label's place, 0 elsewhere.

    Args:
        tensor: labels in ``[0, num_classes)``, any shape; an integer dtype.
        num_classes: -1 means the greatest label and one more, which must be read from the values.

    Returns:
        ``(*tensor.shape, num_classes)`` of int64.

    Raises:
        IndexError: a label out of range.
        DTypeError: ``tensor`` is not of an integer dtype.

    Example:
        >>> wf.nn.functional.one_hot(wf.asarray([1, 0]), 3)
        Tensor([[0, 1, 0],
                [1, 0, 0]], dtype=int64)
    """
    if not tensor.dtype.is_integer:
        raise DTypeError(f"one_hot: indices are {tensor.dtype.name}; they must be integers")
    if num_classes < -1:
        raise ShapeError(f"one_hot: num_classes is {num_classes}; it must be -1, to be found, or 0 or more")
    if num_classes < 0:
        if 0 in tensor.shape:
            raise ShapeError(f"one_hot: labels {tensor.shape} are none: num_classes must be given")
        num_classes = int(max_(tensor).item()) + 1
    return _one_hot(tensor, num_classes)


@composite(name="one_hot")
def _one_hot(tensor: Array, num_classes: int) -> Array:
    # The labels are looked up in 0, 1, ... to be checked: the comparison alone would take no notice of a wrong one.
    checked = take(iota((num_classes,), 0), as_indices("one_hot", tensor, from_the_end=False), axis=0)
    shape = (*tensor.shape, num_classes)
    return cast(iota(shape, len(shape) - 1) == expand_dims(checked, axis=-1), dt.int64)

"""What turns labels into rows: embedding, one_hot."""

from __future__ import annotations

from ..core import dtypes as dt
from ..core.errors import DTypeError, IndexError_, ShapeError
from .creation import iota
from .elementwise import cast, stop_gradient, where
from .indexing import as_indices, take
from .op import Array, composite, public
from .reduction import max as max_
from .shape import expand_dims


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

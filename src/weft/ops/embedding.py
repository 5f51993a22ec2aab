"""What turns labels into rows: embedding, embedding_bag, one_hot."""

from __future__ import annotations

from typing import Any

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError, IndexError_, ShapeError
from ..core.shapes import size_of
from ..core.symbolic import Dim, are_equal, undecided
from .creation import full, iota
from .cumulative import cumulative_sum
from .elementwise import cast, isfinite, isnan, logical_not, maximum, stop_gradient, where
from .indexing import NOWHERE, SCATTER_MAX, as_indices, scatter_add, take, take_along_axis
from .linalg import vector_norm
from .op import Array, apply, composite, public
from .operands import require_number
from .precision import widen
from .reduction import max as max_
from .reduction import max_with_index
from .reduction import sum as sum_
from .shape import broadcast_to, expand_dims, reshape
from .views import slice_


@public
def embedding(
    input: Array,
    weight: Array,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Array:
    """Rows of a table: ``weight[input]``.

    Args:
        input: row numbers in ``[0, num_embeddings)``, any shape; an integer dtype.
        weight: the table, ``(num_embeddings, embedding_dim)``; any dtype.
        padding_idx: a row that gets no gradient; a negative one counts from the end.
        max_norm: the rows that are named, and whose norm is greater, are first scaled to it, in the table itself.
        norm_type: the order of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it is named.
        sparse: False: gradients are dense.

    Returns:
        ``(*input.shape, embedding_dim)``, weight's dtype.

    Raises:
        IndexError: a row number, or ``padding_idx``, out of range.
        ShapeError: weight is no matrix.
        DTypeError: ``input`` is not of an integer dtype.
        ArgumentError: ``sparse``.

    Example:
        >>> wf.nn.functional.embedding(wf.asarray([1, 0]), wf.asarray([[1.0, 2.0], [3.0, 4.0]]))
        Tensor([[3., 4.],
                [1., 2.]], dtype=float32)
    """
    require_number("embedding", "norm_type", norm_type)
    if sparse:
        raise ArgumentError("embedding: sparse gradients are not there: wants sparse=False")
    if max_norm is not None:
        table: Any = weight
        rows = reshape(input, (-1,))
        table.detach()[rows] = _limited(rows, table.detach(), float(max_norm), float(norm_type))
    return _embedded(input, weight, padding_idx, scale_grad_by_freq)


@composite(name="embedding")
def _embedded(input: Array, weight: Array, padding_idx: int | None, by_frequency: bool) -> Array:
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight {weight.shape} must be (num_embeddings, embedding_dim)")
    index = as_indices("embedding", input, from_the_end=False)
    rows: Array = take(weight, index, axis=0)
    if by_frequency:
        (wide,) = widen("embedding", rows)
        rows = cast(_by_frequency(wide, index, weight.shape[0]), weight.dtype)
    if padding_idx is None:
        return rows
    return where(expand_dims(_is_padding("embedding", index, weight, padding_idx), axis=-1), stop_gradient(rows), rows)


def _by_frequency(rows: Array, index: Array, count: Dim) -> Array:
    """The rows; their gradients are divided by how often each is named."""
    flat = reshape(index, (size_of(index.shape),))
    counts = scatter_add(full((count,), 0, dtype=rows.dtype), flat, full(flat.shape, 1, dtype=rows.dtype))
    fixed = stop_gradient(rows)
    nothing = where(isfinite(fixed), rows - fixed, 0.0)  # 0, which is there for its gradient
    return fixed + nothing / expand_dims(take(counts, index, axis=0), axis=-1)


def _is_padding(op: str, index: Array, weight: Array, padding_idx: int) -> Array:
    count = weight.shape[0]
    if isinstance(count, int) and not -count <= padding_idx < count:
        raise IndexError_(f"{op}: padding_idx {padding_idx} is out of range for a table of {count} rows")
    return index == (padding_idx if padding_idx >= 0 else count + padding_idx)


@public
def embedding_bag(
    input: Array,
    weight: Array,
    offsets: Array | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Array | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Array:
    """The sum, the mean or the greatest elements of the rows of a table that each bag names; 0 of an empty bag.

    Args:
        input: row numbers in ``[0, num_embeddings)``: ``(B, N)``, a bag a row, or ``(N,)``, bags one after another; an
            integer dtype.
        weight: the table, ``(num_embeddings, embedding_dim)``; a floating dtype.
        offsets: of an input ``(N,)``: where each bag begins, ``(B,)``; the first is 0, and they never fall.
        max_norm: the rows that are named, and whose norm is greater, are first scaled to it, in the table itself.
        norm_type: the order of that norm.
        scale_grad_by_freq: divide a row's gradient by how often it is named; not with mode ``"max"``.
        sparse: False: gradients are dense.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        per_sample_weights: a factor for each row that is named, of input's shape, where ``mode`` is ``"sum"``.
        include_last_offset: ``offsets`` has one number more: where the last bag ends.
        padding_idx: a row that is left out, and gets no gradient; a negative one counts from the end.

    Returns:
        ``(B, embedding_dim)``, weight's dtype.

    Raises:
        IndexError: a row number, an offset or ``padding_idx`` out of range; numbers before the first offset.
        ShapeError: the shapes do not fit.
        ArgumentError: an option that is not there, or not with ``mode``.
        DTypeError: ``input`` or ``offsets`` are not of an integer dtype, or ``weight`` not of a floating one.

    Example:
        >>> import weft as wf
        >>> table = wf.asarray([[1.0], [2.0], [4.0]])
        >>> wf.nn.functional.embedding_bag(wf.asarray([0, 1, 2]), table, wf.asarray([0, 2]), mode="sum").tolist()
        [[3.0], [4.0]]
    """
    op = "embedding_bag"
    require_number(op, "norm_type", norm_type)
    if sparse:
        raise ArgumentError(f"{op}: sparse gradients are not there: wants sparse=False")
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"{op}: mode is {mode!r}; it must be 'sum', 'mean' or 'max'")
    if per_sample_weights is not None and mode != "sum":
        raise ArgumentError(f"{op}: per_sample_weights with mode {mode!r}: wants 'sum'")
    if scale_grad_by_freq and mode == "max":
        raise ArgumentError(f"{op}: scale_grad_by_freq with mode 'max': wants 'sum' or 'mean'")
    if weight.ndim != 2:
        raise ShapeError(f"{op}: weight {weight.shape} must be (num_embeddings, embedding_dim)")
    if input.ndim not in (1, 2) or (input.ndim == 1) != (offsets is not None):
        raise ShapeError(f"{op}: input {input.shape}: wants (N,) with offsets, or (B, N) without")
    if max_norm is not None:
        table: Any = weight
        rows = reshape(input, (-1,))
        table.detach()[rows] = _limited(rows, table.detach(), float(max_norm), float(norm_type))
    if offsets is None:
        return _bag_a_row(input, weight, mode, scale_grad_by_freq, per_sample_weights, padding_idx)
    more = (scale_grad_by_freq, per_sample_weights, include_last_offset, padding_idx)
    return _bags_in_line(input, weight, offsets, mode, *more)


@composite(name="embedding_bag")
def _limited(input: Array, weight: Array, max_norm: float, norm_type: float) -> Array:
    """The rows that are named, with norms of ``max_norm`` at most."""
    (rows,) = widen("embedding_bag", take(weight, as_indices("embedding_bag", input, from_the_end=False), axis=0))
    norm = vector_norm(rows, axis=1, keepdims=True, ord=norm_type)
    return cast(where(norm > max_norm, rows * (max_norm / (norm + 1e-7)), rows), weight.dtype)


def _named(
    input: Array, weight: Array, by_frequency: bool, per_sample_weights: Array | None, padding_idx: int | None
) -> tuple[Array, Array | None]:
    """The rows that are named, times their factors, and which of them count (None: all of them)."""
    op = "embedding_bag"
    index = as_indices(op, input, from_the_end=False)
    (rows,) = widen(op, take(weight, index, axis=0))
    if by_frequency:
        rows = _by_frequency(rows, index, weight.shape[0])
    if per_sample_weights is not None:
        if per_sample_weights.ndim != input.ndim or not all(map(are_equal, per_sample_weights.shape, input.shape)):
            raise ShapeError(
                f"{op}: per_sample_weights {per_sample_weights.shape} must have input's shape {input.shape}"
            )
        (factors,) = widen(op, per_sample_weights)
        rows = rows * expand_dims(cast(factors, rows.dtype), axis=-1)
    return rows, None if padding_idx is None else logical_not(_is_padding(op, index, weight, padding_idx))


@composite(name="embedding_bag")
def _bag_a_row(
    input: Array,
    weight: Array,
    mode: str,
    by_frequency: bool,
    per_sample_weights: Array | None,
    padding_idx: int | None,
) -> Array:
    rows, counts = _named(input, weight, by_frequency, per_sample_weights, padding_idx)
    bags, each = rows.shape[:2]
    if mode == "max":
        if not undecided(each) and not each > 0:
            return cast(sum_(rows, axis=1), weight.dtype)
        if counts is None:
            return cast(max_with_index(rows, axis=1)[0], weight.dtype)
        greatest, _ = max_with_index(where(expand_dims(counts, axis=-1), rows, float("-inf")), axis=1)
        some = expand_dims(sum_(cast(counts, dt.int64), axis=1) > 0, axis=-1)
        return cast(where(some, greatest, 0.0), weight.dtype)
    if counts is not None:
        rows = where(expand_dims(counts, axis=-1), rows, 0.0)
    total: Array = sum_(rows, axis=1)
    if mode == "mean":
        ones = full((bags, each), 1, dtype=rows.dtype) if counts is None else cast(counts, rows.dtype)
        total = total / maximum(sum_(ones, axis=1, keepdims=True), 1.0)
    return cast(total, weight.dtype)


@composite(name="embedding_bag")
def _bags_in_line(
    input: Array,
    weight: Array,
    offsets: Array,
    mode: str,
    by_frequency: bool,
    per_sample_weights: Array | None,
    include_last_offset: bool,
    padding_idx: int | None,
) -> Array:
    op = "embedding_bag"
    if offsets.ndim != 1:
        raise ShapeError(f"{op}: offsets {offsets.shape} must be of rank 1")
    bags = offsets.shape[0]
    if include_last_offset and not undecided(bags) and not bags > 0:
        raise ShapeError(f"{op}: offsets (0,) with include_last_offset: wants where the last bag ends")
    rows, counts = _named(input, weight, by_frequency, per_sample_weights, padding_idx)
    length, dim = rows.shape
    # The number of a row's bag is how many bags have begun by then, less one: -1 before the first is out of range.
    starts = as_indices(op, offsets, from_the_end=False)
    begun = scatter_add(full((length + 1,), 0, dtype=dt.int64), starts, full((bags,), 1, dtype=dt.int64))
    bag = slice_(cumulative_sum(begun), (0,), (length,)) - 1
    bag = where(bag < 0, NOWHERE, bag)
    if mode == "max":
        greatest = _greatest_of_bags(rows, counts, bag, bags)
        last = bags - 1 if include_last_offset else bags
        return cast(slice_(greatest, (0, 0), (last, dim)), weight.dtype)
    if counts is not None:
        rows = where(expand_dims(counts, axis=-1), rows, 0.0)
    total: Array = scatter_add(full((bags, dim), 0, dtype=rows.dtype), bag, rows)
    if mode == "mean":
        ones = full((length,), 1, dtype=rows.dtype) if counts is None else cast(counts, rows.dtype)
        number = maximum(scatter_add(full((bags,), 0, dtype=rows.dtype), bag, ones), 1.0)
        total = total / broadcast_to(reshape(number, (bags, 1)), (bags, dim))
    if include_last_offset:
        total = slice_(total, (0, 0), (bags - 1, dim))
    return cast(total, weight.dtype)


def _greatest_of_bags(rows: Array, counts: Array | None, bag: Array, bags: Dim) -> Array:
    """The greatest elements of the rows of each bag, of several the first, to which the gradient goes; else 0."""
    length, dim = rows.shape
    if not undecided(length) and not length > 0:
        return full((bags, dim), 0, dtype=rows.dtype)
    fixed = stop_gradient(rows)
    there = full((length, dim), True, dtype=dt.bool_)
    if counts is not None:
        there = broadcast_to(expand_dims(counts, axis=-1), (length, dim))
    fixed = where(there, fixed, float("-inf"))
    greatest = apply(SCATTER_MAX, full((bags, dim), float("-inf"), dtype=rows.dtype), bag, fixed)
    wanted = take(greatest, bag, axis=0)
    wins = there & ((fixed == wanted) | (isnan(fixed) & isnan(wanted)))
    # The first of them: the greatest of their numbers, counted down.
    number = cast(wins, dt.int64) * (length - iota((length, dim), 0))
    best = apply(SCATTER_MAX, full((bags, dim), 0, dtype=dt.int64), bag, number)
    found = take_along_axis(rows, cast(best > 0, dt.int64) * (length - best), axis=0)
    return where(best > 0, found, 0.0)


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

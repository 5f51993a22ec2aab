"""Choosing and writing elements by index with PyTorch's arguments: index_select, index_add, scatter and the like.

Indices count from 0 here; negative ones are out of range (but for ``put``). Where an index occurs several times the
last value stays, or all are added.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, broadcast_shapes, normalize_axis, shown, size_of
from . import elementwise as e
from .creation import full, iota
from .cumulative import cumulative_sum
from .indexing import (
    NOWHERE,
    SCATTER_SET,
    _accumulate,
    _gather,
    _scatter,
    as_indices,
    number_for,
    take,
)
from .op import Array, composite
from .operands import as_operand, require_tensors
from .views import broadcasted, reshaped, slice_

_set = functools.partial(_scatter, SCATTER_SET)


def _same_dtype(op: str, x: Array, source: Array, name: str) -> None:
    require_tensors(op, x, source)
    if source.dtype is not x.dtype:
        raise DTypeError(f"{op}: {name} is {source.dtype.name}, the tensor {x.dtype.name}; cast one of them")


def _as_vector(x: Array) -> Array:
    """A tensor of rank 0 counts as one of one element."""
    return x if x.shape else reshaped(x, (1,))


def _value(op: str, value: Any, dtype: dt.DType) -> Array:
    """A number, or a tensor of rank 0, in a dtype."""
    if not hasattr(value, "dtype"):
        return as_operand(op, number_for(op, value, dtype), dtype)
    if value.shape:
        raise ShapeError(f"{op}: the value has shape {tuple(value.shape)}; it must be a number or of rank 0")
    return e.cast(value, dtype)


# --- slices along an axis ---------------------------------------------------------------------------------------


def _rows(op: str, x: Array, dim: int, index: Array) -> tuple[Array, Array, int]:
    """The tensor of rank 1 or more, the index of rank 1, and the axis."""
    require_tensors(op, x, index)
    found = as_indices(op, index, from_the_end=False)
    if len(found.shape) > 1:
        raise ShapeError(f"{op}: an index of shape {tuple(found.shape)}; it must be of rank 1")
    return _as_vector(x), _as_vector(found), normalize_axis(dim, len(x.shape) or 1, op)


def _write_rows(op: str, x: Array, dim: int, index: Array, source: Array, scatter: Callable[..., Array]) -> Array:
    whole, rows, at = _rows(op, x, dim, index)
    values, shape = _as_vector(source), tuple(whole.shape)
    wanted = (*shape[:at], rows.shape[0], *shape[at + 1 :])
    if tuple(values.shape) != wanted:
        raise ShapeError(
            f"{op}: a source of shape {tuple(source.shape)} for {tuple(index.shape)} indices on axis {at} of "
            f"{tuple(x.shape)}; wants {wanted}"
        )
    return reshaped(scatter(whole, [rows], values, at), tuple(x.shape))


@composite
def index_select(input: Array, dim: int, index: Array) -> Array:
    """The slices along ``dim`` that ``index`` (rank 0 or 1) names.

    Raises:
        IndexError_: an index is out of range; a negative one is.

    Example:
        >>> wf.asarray([[1, 2], [3, 4]]).index_select(1, wf.asarray([1])).tolist()
        [[2], [4]]
    """
    whole, rows, at = _rows("index_select", input, dim, index)
    found = take(whole, rows, axis=at)
    return found if input.shape else reshaped(found, ())


@composite
def index_add(input: Array, dim: int, index: Array, source: Array, *, alpha: Array | float = 1) -> Array:
    """``input`` with ``alpha * source`` added to its slices along ``dim`` that ``index`` names.

    Args:
        input: any shape.
        index: integers, rank 0 or 1.
        source: ``input``'s dtype, and its shape but for ``dim``, which is as long as ``index``.
        alpha: a number.

    Raises:
        ShapeError, DTypeError: they do not fit.
        IndexError_: an index is out of range; a negative one is.

    Example:
        >>> wf.zeros(3).index_add(0, wf.asarray([0, 2, 0]), wf.ones(3), alpha=2)
        Tensor([4., 0., 2.], dtype=float32)
    """
    _same_dtype("index_add", input, source, "source")
    if not input.shape and source.shape:
        raise ShapeError(f"index_add: a source of shape {tuple(source.shape)} for a tensor of rank 0")
    if isinstance(alpha, float) and not input.dtype.is_floating:
        raise DTypeError(f"index_add: alpha is {alpha} for tensors of {input.dtype.name}; cast them first")
    scaled = source if not hasattr(alpha, "dtype") and alpha == 1 else e.multiply(source, alpha)
    return _write_rows("index_add", input, dim, index, scaled, _accumulate)


@composite
def index_copy(input: Array, dim: int, index: Array, source: Array) -> Array:
    """``input`` with the slices along ``dim`` that ``index`` names replaced by ``source``'s; see :func:`index_add`.

    Example:
        >>> wf.zeros(3).index_copy(0, wf.asarray([2]), wf.ones(1))
        Tensor([0., 0., 1.], dtype=float32)
    """
    _same_dtype("index_copy", input, source, "source")
    return _write_rows("index_copy", input, dim, index, source, _set)


@composite
def index_fill(input: Array, dim: int, index: Array, value: Any) -> Array:
    """``input`` with ``value`` in the slices along ``dim`` that ``index`` names.

    Args:
        value: a number, converted to the input's dtype, or a tensor of rank 0.

    Example:
        >>> wf.zeros(3).index_fill(0, wf.asarray([0, 2]), 7)
        Tensor([7., 0., 7.], dtype=float32)
    """
    whole, rows, at = _rows("index_fill", input, dim, index)
    shape = tuple(whole.shape)
    values = broadcasted(_value("index_fill", value, input.dtype), (*shape[:at], rows.shape[0], *shape[at + 1 :]))
    return _write_rows("index_fill", input, dim, index, values, _set)


# --- one element at a time --------------------------------------------------------------------------------------


def _write_elements(
    op: str, x: Array, dim: int, index: Array, source: Array | None, value: Array | None, scatter: Callable[..., Array]
) -> Array:
    """PyTorch's scatter: ``x[i, index[i, j]] = source[i, j]`` for ``dim=1``, for the places that ``index`` has."""
    require_tensors(op, x, index)
    whole, places = _as_vector(x), _as_vector(as_indices(op, index, from_the_end=False))
    at = normalize_axis(dim, len(whole.shape), op)
    shape, sizes = tuple(whole.shape), tuple(places.shape)
    if 0 in sizes:
        return e.clone(x)
    if len(sizes) != len(shape):
        raise ShapeError(f"{op}: an index of shape {tuple(index.shape)} into {tuple(x.shape)}: the ranks differ")
    given = None if source is None else _as_vector(source)
    if given is not None and len(given.shape) != len(sizes):
        raise ShapeError(f"{op}: an index of shape {sizes} for a source of {tuple(given.shape)}: the ranks differ")
    for a, wanted in enumerate(sizes):
        if (a != at and wanted > shape[a]) or (given is not None and wanted > given.shape[a]):
            of = "" if given is None else f" from a source of {tuple(given.shape)}"
            raise ShapeError(f"{op}: an index of shape {sizes} into {shape}{of}: axis {a} is longer than it is there")
    if given is not None:
        values = slice_(given, (0,) * len(sizes), sizes)
    else:
        assert value is not None
        values = broadcasted(value, sizes)
    grid = [places if a == at else iota(sizes, a) for a in range(len(shape))]
    return reshaped(scatter(whole, grid, values), tuple(x.shape))


@composite
def scatter(
    input: Array, dim: int, index: Array, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Array:
    """PyTorch's scatter: ``input`` with ``src[i, j]`` at ``[i, index[i, j]]`` for ``dim=1``, and so on; the inverse of
    :func:`gather`.

    Args:
        index: integers of ``input``'s rank, no larger than ``src``, nor than ``input`` on other axes than ``dim``.
        src: a tensor of ``input``'s dtype; or a number for all places, also as ``value``.
        reduce: None, or "add": added to what is there.

    Raises:
        ShapeError, DTypeError: they do not fit.
        IndexError_: an index is out of range; a negative one is.

    Example:
        >>> wf.zeros((2, 3)).scatter(1, wf.asarray([[2], [0]]), 1.0).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if (src is None) == (value is None):
        raise ArgumentError("scatter: one of src and value must be given")
    if reduce not in (None, "add"):
        raise ArgumentError(f"scatter: reduce is None or 'add', not {shown(reduce)}")
    write = _set if reduce is None else _accumulate
    if hasattr(src, "dtype") and (src.shape or not input.shape):
        _same_dtype("scatter", input, src, "src")
        return _write_elements("scatter", input, dim, index, src, None, write)
    given = _value("scatter", value if src is None else src, input.dtype)
    return _write_elements("scatter", input, dim, index, None, given, write)


@composite
def scatter_add(input: Array, dim: int, index: Array, src: Array) -> Array:
    """As :func:`scatter`, added to what is there. (``wf.scatter_add`` is the inverse of ``take``.)

    Example:
        >>> wf.zeros(2).scatter_add(0, wf.asarray([1, 1]), wf.ones(2))
        Tensor([0., 2.], dtype=float32)
    """
    _same_dtype("scatter_add", input, src, "src")
    return _write_elements("scatter_add", input, dim, index, src, None, _accumulate)


@composite
def scatter_reduce(
    input: Array, dim: int, index: Array, src: Array, reduce: str, *, include_self: bool = True
) -> Array:
    """As :func:`scatter_add`; without ``include_self`` what was in a place that is written does not count.

    Args:
        reduce: "sum". (PyTorch's others are not there yet.)

    Example:
        >>> wf.ones(2).scatter_reduce(0, wf.asarray([1, 1]), wf.ones(2), "sum", include_self=False)
        Tensor([1., 2.], dtype=float32)
    """
    if reduce != "sum":
        raise ArgumentError(f"scatter_reduce: reduce is {shown(reduce)}; weft has 'sum' alone")
    _same_dtype("scatter_reduce", input, src, "src")
    zero = full((), 0, dtype=input.dtype)
    begin = input if include_self else _write_elements("scatter_reduce", input, dim, index, None, zero, _set)
    return _write_elements("scatter_reduce", begin, dim, index, src, None, _accumulate)


@composite
def put(input: Array, index: Array, source: Array, accumulate: bool = False) -> Array:
    """``input``, as if flattened, with the elements of ``source`` at ``index``; negative ones count from the end.

    Args:
        index: integers of any shape.
        source: as many elements, of ``input``'s dtype.
        accumulate: add to what is there.

    Example:
        >>> wf.zeros((2, 2)).put(wf.asarray([1, -1]), wf.asarray([5.0, 6.0])).tolist()
        [[0.0, 5.0], [0.0, 6.0]]
    """
    _same_dtype("put", input, source, "source")
    count = size_of(index.shape)
    if size_of(source.shape) != count:
        raise ShapeError(f"put: {size_of(source.shape)} elements for {count} indices")
    write = _accumulate if accumulate else _set
    flat = reshaped(input, (size_of(input.shape),))
    written = write(flat, [reshaped(as_indices("put", index), (count,))], reshaped(source, (count,)))
    return reshaped(written, tuple(input.shape))


# --- masks ------------------------------------------------------------------------------------------------------


@composite
def masked_scatter(input: Array, mask: Array, source: Array) -> Array:
    """``input`` with the elements of ``source``, in their order, where ``mask`` is True.

    Args:
        mask: bool, of a shape that broadcasts with ``input``'s.
        source: ``input``'s dtype; at least as many elements as the mask has True ones.

    Raises:
        IndexError_: there are fewer.

    Example:
        >>> wf.zeros(3).masked_scatter(wf.asarray([True, False, True]), wf.asarray([1.0, 2.0]))
        Tensor([1., 0., 2.], dtype=float32)
    """
    _same_dtype("masked_scatter", input, source, "source")
    require_tensors("masked_scatter", mask)
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_scatter: the mask is {mask.dtype.name}, not bool; compare it, as in x != 0")
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape), op="masked_scatter")
    whole, here = broadcasted(input, shape), broadcasted(mask, shape)
    count = (size_of(shape),)
    flags, available = reshaped(here, count), size_of(source.shape)
    if available:
        flat, places = reshaped(source, (available,)), cumulative_sum(e.cast(flags, dt.int64), axis=0) - 1
    else:  # then no element may be asked for
        flat, places = full((1,), 0, dtype=input.dtype), full(count, NOWHERE, dtype=dt.int64)
    chosen = _gather(flat, [e.where(flags, places, 0)])
    return e.where(here, reshaped(chosen, shape), whole)


@composite
def fill_diagonal(input: Array, fill_value: Any, wrap: bool = False) -> Array:
    """``input`` with a number on its main diagonal.

    Args:
        input: rank 2, or more with all sizes equal.
        wrap: of a matrix with more rows than columns: the diagonal begins again one row below its end.

    Example:
        >>> wf.zeros((2, 3)).fill_diagonal_(5).tolist()
        [[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]]
    """
    shape: Shape = tuple(input.shape)
    if len(shape) < 2:
        raise ShapeError(f"fill_diagonal: a tensor of shape {shape} has no diagonal; it takes rank 2 or more")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise ShapeError(f"fill_diagonal: {shape}: of more than two axes, all must have one size")
    first = iota(shape, 0)
    if wrap and len(shape) == 2:
        here = e.equal(e.remainder(first, shape[1] + 1), iota(shape, 1))
    else:
        here = e.equal(first, iota(shape, 1))
        for axis in range(2, len(shape)):
            here = e.logical_and(here, e.equal(first, iota(shape, axis)))
    return e.where(here, _value("fill_diagonal", fill_value, input.dtype), input)

"""Tensors as pieces: joined, padded, rolled, repeated and split.

Written over the primitives of :mod:`weft.ops.views`, which also hold their gradients.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..core.asked import unasked
from ..core.dtypes import promote
from ..core.errors import DTypeError, OutOfMemoryError, ShapeError
from ..core.shapes import Shape, check_count, normalize_axis, shown, size_of
from ..core.symbolic import Dim, SymDim, are_equal, undecided
from .creation import Whole, as_shape, full
from .elementwise import cast
from .op import Array, apply, composite, public
from .shape import broadcast_to
from .views import CONCAT, reshaped, slice_, slice_update

PadWidth = Any  # nested: see :func:`pad`


# --- joining ----------------------------------------------------------------------------------------------------


def _concat(arrays: Sequence[Array], axis: int) -> Array:
    """Arrays of one dtype, equal but for their size on ``axis``."""
    if len(arrays) == 1:
        return arrays[0]
    return apply(CONCAT, *arrays, axis=axis)


def _of_one_dtype(op: str, arrays: Sequence[Array]) -> list[Array]:
    if not arrays:
        raise ShapeError(f"{op}: no arrays")
    _parts(op, len(arrays))
    dtype = arrays[0].dtype
    for x in arrays:
        try:
            dtype = promote(dtype, x.dtype)
        except DTypeError as error:
            raise DTypeError(f"{op}: {error.message}") from None
    return [cast(x, dtype) for x in arrays]


@composite
def concat(arrays: Sequence[Array], /, *, axis: int | None = 0) -> Array:
    """Arrays one after another along ``axis``.

    Args:
        arrays: a list or tuple; equal shapes but for their size on ``axis``; dtypes are promoted.
        axis: None: the arrays are flattened first.

    Raises:
        ShapeError: the shapes do not fit, or there are no arrays.
        AxisError: ``axis`` is out of range.

    >>> wf.concat([wf.zeros(2), wf.ones(1)]).tolist()
    [0.0, 0.0, 1.0]
    """
    joined = _of_one_dtype("concat", arrays)
    if axis is None:
        return _concat([reshaped(x, (size_of(x.shape),)) for x in joined], 0)
    first = tuple(joined[0].shape)
    if not first:
        raise ShapeError("concat: arrays of rank 0 have no axis to be joined on; use stack")
    at = normalize_axis(axis, len(first), "concat")
    for x in joined[1:]:
        if len(x.shape) != len(first) or any(a != at and n != m for a, (n, m) in enumerate(zip(first, x.shape))):
            raise ShapeError(f"concat: {first} and {tuple(x.shape)} differ on other axes than {at}")
    return _concat(joined, at)


@composite
def stack(arrays: Sequence[Array], /, *, axis: int = 0) -> Array:
    """Arrays of one shape along a new axis, at position ``axis`` of the result.

    Raises:
        ShapeError: the shapes differ, or there are no arrays.
        AxisError: ``axis`` is out of range.

    >>> wf.stack([wf.arange(2), wf.arange(2)], axis=1).tolist()
    [[0, 0], [1, 1]]
    """
    joined = _of_one_dtype("stack", arrays)
    first = tuple(joined[0].shape)
    at = normalize_axis(axis, len(first) + 1, "stack")
    for x in joined[1:]:
        if tuple(x.shape) != first:
            raise ShapeError(f"stack: shapes {first} and {tuple(x.shape)} differ")
    return _concat([reshaped(x, (*first[:at], 1, *first[at:])) for x in joined], at)


@composite
def pad(x: Array, /, pad_width: PadWidth, *, value: bool | int | float = 0) -> Array:
    """``x`` with ``value`` around it.

    Args:
        x: any shape and dtype.
        pad_width: NumPy's order: ``((before, after), ...)`` for each axis, ``(before, after)`` or one number for all.
            A negative width takes elements away.
        value: a Python number.

    Raises:
        ShapeError: the widths do not fit the rank, or take away more than there is.

    >>> wf.pad(wf.arange(2), (1, 2)).tolist()
    [0, 0, 1, 0, 0]
    """
    shape = tuple(x.shape)
    widths = _pad_widths(pad_width, shape)
    kept = [n + min(before, 0) + min(after, 0) for n, (before, after) in zip(shape, widths, strict=True)]
    for n, size, width in zip(shape, kept, widths, strict=True):
        if not undecided(size) and size < 0:
            raise ShapeError(f"pad: widths {width} take away more than the {n} elements of {shape}")
    inner = slice_(x, tuple(max(-before, 0) for before, _ in widths), tuple(kept))
    if all(before <= 0 and after <= 0 for before, after in widths):
        return inner
    outer = tuple(n + max(before, 0) + max(after, 0) for n, (before, after) in zip(kept, widths, strict=True))
    return slice_update(full(outer, value, dtype=x.dtype), inner, tuple(max(before, 0) for before, _ in widths))


def _width(given: Any) -> Any:
    """An integer, or a symbolic size as it is: its number would make it another program for each."""
    return unasked(given) if isinstance(given, SymDim) else operator.index(given)


def _pad_widths(pad_width: PadWidth, shape: Shape) -> list[tuple[int, int]]:
    if not hasattr(pad_width, "__iter__"):
        pad_width = (pad_width, pad_width)
    widths = list(pad_width)
    if len(widths) == 2 and not any(hasattr(w, "__iter__") for w in widths):
        widths = [widths] * len(shape)
    elif len(widths) == 1 and len(shape) != 1:
        widths = widths * len(shape)
    try:
        pairs = [(_width(before), _width(after)) for before, after in widths]
    except (TypeError, ValueError):
        raise ShapeError(f"pad: {shown(pad_width)} is not a list of pairs of integers") from None
    if len(pairs) != len(shape):
        raise ShapeError(f"pad: {len(pairs)} pairs of widths for the {len(shape)} axes of {shape}")
    return pairs


@composite
def roll(x: Array, /, shift: Whole | Sequence[Whole], *, axis: int | Sequence[int] | None = None) -> Array:
    """``x`` moved ``shift`` places along ``axis``; what leaves at the end comes in at the front.

    Args:
        x: any shape and dtype.
        shift: places, for each axis or the same for all.
        axis: None: ``x`` is rolled as if it were flat.

    Raises:
        AxisError: an axis is out of range.
        ShapeError: not as many shifts as axes.

    >>> wf.roll(wf.arange(5), 2).tolist()
    [3, 4, 0, 1, 2]
    """
    if axis is None:
        flat = reshaped(x, (size_of(x.shape),))
        total = 0
        for places in (shift,) if isinstance(shift, int) else shift:
            total += places
        return reshaped(_roll_axis(flat, total, 0), tuple(x.shape))
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for places, a in zip(shifts, axes, strict=True):
        x = _roll_axis(x, places, normalize_axis(a, len(x.shape), "roll"))
    return x


def _roll_axis(x: Array, shift: Dim, axis: int) -> Array:
    size = x.shape[axis]
    if not undecided(size):
        shift = 0 if are_equal(size, 0) else shift % size
    if shift == 0:
        return x
    cut = size - shift if shift > 0 else -shift
    return _concat([_part(x, axis, cut, size - cut), _part(x, axis, 0, cut)], axis)


# --- repeating --------------------------------------------------------------------------------------------------


@composite
def tile(x: Array, repetitions: Dim | Sequence[Dim], /) -> Array:
    """``x`` repeated as a whole, ``repetitions`` times along each axis (aligned at the last one).

    Raises:
        ShapeError: a number of repetitions is negative.

    >>> wf.tile(wf.arange(2), (2, 2)).tolist()
    [[0, 1, 0, 1], [0, 1, 0, 1]]
    """
    times = as_shape(repetitions, "tile")
    shape = tuple(x.shape)
    rank = max(len(shape), len(times))
    shape = (1,) * (rank - len(shape)) + shape
    times = (1,) * (rank - len(times)) + times
    apart = reshaped(x, tuple(n for size in shape for n in (1, size)))
    wide = broadcast_to(apart, tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return reshaped(wide, tuple(t * n for t, n in zip(times, shape, strict=True)))


@public
def repeat(x: Array, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each element of ``x`` ``repeats`` times along ``axis``; None: of the flattened ``x``.

    Args:
        x: any shape and dtype.
        repeats: one number, or one for each element along the axis: a list, or a tensor of integers. The values of a
            tensor decide the size of the result; in a compiled function it is one that a kernel sets.
        axis: an axis of ``x``.

    Raises:
        AxisError: ``axis`` is out of range.
        ShapeError: a number of repetitions is negative, or there are too few or too many.
        CaptureError: ``repeats`` is a tensor, in a function that is captured for a file or a library.
        IndexError_: a negative number of repetitions, in a compiled function.

    >>> wf.repeat(wf.arange(2), 3).tolist()
    [0, 0, 0, 1, 1, 1]
    >>> wf.repeat(wf.arange(3), [2, 0, 1]).tolist()
    [0, 0, 2]
    """
    if isinstance(repeats, (tuple, list)) or len(getattr(repeats, "shape", ())) == 1:
        return _repeat_each(x, repeats, axis)
    return _repeat(x, repeats, axis=axis)


@composite(name="repeat")
def _repeat(x: Array, repeats: Dim, /, *, axis: int | None = None) -> Array:
    (times,) = as_shape(repeats, "repeat")
    if axis is None:
        x, axis = reshaped(x, (size_of(x.shape),)), 0
    shape = tuple(x.shape)
    at = normalize_axis(axis, len(shape), "repeat")
    apart = reshaped(x, (*shape[: at + 1], 1, *shape[at + 1 :]))
    wide = broadcast_to(apart, (*shape[: at + 1], times, *shape[at + 1 :]))
    return reshaped(wide, (*shape[:at], shape[at] * times, *shape[at + 1 :]))


def _repeat_each(x: Array, repeats: Any, axis: int | None) -> Array:
    """Positions are counted on the host: how many there are is the size of the result."""
    import numpy as np

    from .indexing import take
    from .operands import require_tensors
    from .subscript import host_values, sets_sizes

    require_tensors("repeat", x)
    if isinstance(repeats, (tuple, list)):
        times = as_shape(repeats, "repeat")
    else:
        if repeats.dtype.kind not in ("int", "uint", "i", "u"):
            raise DTypeError(f"repeat: repeats are {repeats.dtype}; they must be integers")
        if sets_sizes(repeats) and sets_sizes(x):
            return _repeat_by(x, repeats, axis)
        times = as_shape(host_values(repeats, "repeat").tolist(), "repeat")
    size = size_of(x.shape) if axis is None else x.shape[normalize_axis(axis, len(x.shape), "repeat")]
    if len(times) not in (1, size):
        raise ShapeError(f"repeat: {len(times)} numbers of repetitions for {size} elements")
    if len(times) == 1:
        return _repeat(x, times[0], axis=axis)
    check_count((_sum_of(times),), 8, "repeat")
    try:
        positions: Any = np.repeat(np.arange(len(times)), np.asarray(times, dtype=np.int64))
    except MemoryError:
        raise OutOfMemoryError(f"out of memory: repeat: {_sum_of(times)} positions") from None
    return take(x, positions, axis=axis)


def _repeat_by(x: Array, repeats: Array, axis: int | None) -> Array:
    """:func:`repeat` in a compiled function, which counts when it runs."""
    from .counted import repeated_positions
    from .indexing import take

    if axis is None:
        x, axis = _flattened(x), 0
    size = x.shape[normalize_axis(axis, len(x.shape), "repeat")]
    if repeats.shape[0] == 1:  # for all of them
        repeats = broadcast_to(repeats, (size,))
    elif not are_equal(unasked(repeats.shape[0]), unasked(size)):
        raise ShapeError(f"repeat: {repeats.shape[0]} numbers of repetitions for {size} elements")
    return take(x, repeated_positions(repeats), axis=axis)


@composite(public=False)
def _flattened(x: Array) -> Array:
    return reshaped(x, (size_of(x.shape),))


# --- splitting --------------------------------------------------------------------------------------------------


def _part(x: Array, axis: int, start: Dim, size: Dim) -> Array:
    """``size`` elements from ``start`` on along ``axis``."""
    starts = tuple(start if a == axis else 0 for a in range(len(x.shape)))
    sizes = tuple(size if a == axis else n for a, n in enumerate(x.shape))
    return slice_(x, starts, sizes)


@composite(view=True)
def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of ``x`` along ``axis``, which they no longer have.

    Raises:
        AxisError: ``axis`` is out of range.

    >>> [part.tolist() for part in wf.unstack(wf.eye(2))]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    shape = tuple(x.shape)
    at = normalize_axis(axis, len(shape), "unstack")
    rest = shape[:at] + shape[at + 1 :]
    count = _parts("unstack", int(shape[at]))
    return tuple(reshaped(_part(x, at, i, 1), rest) for i in range(count))


def _parts(op: str, count: int) -> int:
    """A number of operands or results.

    Raises:
        ShapeError: more than a program takes; with millions of objects Python itself would stand still.
    """
    if count > MAX_PARTS:
        raise ShapeError(f"{op}: {count} parts; there can be {MAX_PARTS}")
    return count


MAX_PARTS = 32_000  # a program has slots for that many results, or operands


@composite(view=True)
def split(x: Array, split_size_or_sections: Dim | Sequence[Dim], /, *, axis: int = 0) -> tuple[Array, ...]:
    """Consecutive parts of ``x`` along ``axis``, as PyTorch cuts them.

    Args:
        x: any shape of rank 1 or more.
        split_size_or_sections: the size of every part (the last may be smaller), or the list of their sizes.
        axis: the axis that is cut.

    Raises:
        AxisError: ``axis`` is out of range.
        ShapeError: a size is not positive, or the sizes do not add up to the axis's.

    >>> [part.tolist() for part in wf.split(wf.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    at = normalize_axis(axis, len(x.shape), "split")
    total = x.shape[at]
    if isinstance(split_size_or_sections, int):
        size = split_size_or_sections
        if size <= 0:
            raise ShapeError(f"split: parts of {shown(size)} elements")
        _parts("split", -(-int(total) // size))
        sizes: Shape = tuple(min(size, int(total) - start) for start in range(0, int(total), size)) or (0,)
    else:
        sizes = as_shape(split_size_or_sections, "split")
        if _sum_of(sizes) != total:
            raise ShapeError(f"split: sizes {sizes} of axis {at} of {tuple(x.shape)} do not add up to {total}")
    return tuple(_part(x, at, _sum_of(sizes[:i]), n) for i, n in enumerate(sizes))


def _sum_of(sizes: Shape) -> Dim:
    total: Dim = 0
    for n in sizes:
        total = total + n
    return total


@composite(view=True)
def chunk(x: Array, chunks: Dim, /, *, axis: int = 0) -> tuple[Array, ...]:
    """At most ``chunks`` consecutive parts of ``x`` of one size along ``axis``; the last may be smaller.

    Raises:
        AxisError: ``axis`` is out of range.
        ShapeError: ``chunks`` is not positive.

    >>> [part.tolist() for part in wf.chunk(wf.arange(5), 3)]
    [[0, 1], [2, 3], [4]]
    """
    at = normalize_axis(axis, len(x.shape), "chunk")
    if chunks <= 0:
        raise ShapeError(f"chunk: {shown(chunks)} parts")
    size = int(x.shape[at])
    return split(x, max(1, -(-size // chunks)), axis=at)

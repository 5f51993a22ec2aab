"""The ONNX ops that make, move and look up elements; see :mod:`weft.interop.onnx.foreign.ops`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from ....core import dtypes as dt
from ....core.errors import FormatError
from ....core.shapes import broadcast_shapes, normalize_axis, size_of
from ....core.symbolic import SymDim
from ....ops import elementwise as ew
from ....ops import pieces
from ....ops.creation import arange, full, iota, tri_mask
from ....ops.indexing import _accumulate, getitem, take, take_along_axis, with_items
from ....ops.pieces import concat, pad, tile
from ....ops.shape import broadcast_to, expand_dims, permute_dims, reshape, squeeze
from ....ops.views import slice_
from ..limits import NBYTES, bounded, check_extent
from ..read import tensor_of_proto
from .call import Array, Floats, Ints, Known, Number, Op, OutputCount, Proto, Refused, Scalar
from .host import ends_of, target_shape

# --- shapes -----------------------------------------------------------------------------------------------------


def flat(x: Any, axis: int) -> Any:
    """The axes before ``axis`` as one, and the others."""
    return reshape(x, (size_of(x.shape[:axis]), size_of(x.shape[axis:])))


def _reshape(x: Array, shape: Ints, /, *, allowzero: bool = False) -> Any:
    wanted = target_shape(shape, tuple(x.shape), allowzero)
    check_extent([n for n in wanted if isinstance(n, SymDim) or n >= 0], 1)
    return reshape(x, wanted)


def _flatten(x: Array, /, *, axis: int = 1) -> Any:
    rank = len(x.shape)
    return flat(x, rank if axis == rank else normalize_axis(axis, rank, "Flatten"))


def _transpose(x: Array, /, *, perm: Ints | None = None) -> Any:
    return permute_dims(x, tuple(reversed(range(len(x.shape)))) if perm is None else perm)


def _expand(x: Array, shape: Ints, /) -> Any:
    check_extent(shape, 1)
    return broadcast_to(x, broadcast_shapes(tuple(x.shape), shape, op="Expand"))


def _squeeze(x: Array, /, axes: Ints | None = None) -> Any:
    return squeeze(x, axis=axes)


def _unsqueeze(x: Array, /, axes: Ints) -> Any:
    return expand_dims(x, axis=axes)


def _concat(*xs: Array, axis: int) -> Any:
    return concat(xs, axis=axis)


def _split(
    x: Array,
    /,
    split: Ints | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    outputs: OutputCount,
) -> Any:
    at = normalize_axis(axis, len(x.shape), "Split")
    size = x.shape[at]
    if num_outputs not in (None, outputs) or (split is not None and (num_outputs or len(split) != outputs)):
        raise FormatError(f"split {split} and num_outputs {num_outputs} for {outputs} outputs")
    if split is None:
        if isinstance(size, SymDim):
            raise FormatError(f"parts of axis {at}, whose size {size} is symbolic")
        part = -(-size // outputs)
        if num_outputs is None and part * outputs != size:
            raise FormatError(f"{outputs} equal parts of axis {at}, whose size is {size}")
        split = tuple(max(0, min(part, size - k * part)) for k in range(outputs))
    return pieces.split(x, split, axis=at)


def _slice(x: Array, /, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Any:
    for axis, part in ends_of(starts, ends, axes, steps, tuple(x.shape)).items():
        x = _sliced(x, part, axis)
    return x


def _sliced(x: Any, part: slice, axis: int) -> Any:
    """``x`` cut on one axis; symbolic bounds are taken to lie within it."""
    size, step = x.shape[axis], part.step
    if not any(isinstance(v, SymDim) for v in (part.start, part.stop)):
        return getitem(x, (*(slice(None),) * axis, part))
    start = part.start if part.start is not None else 0 if step > 0 else size - 1
    start = start + size if not isinstance(start, SymDim) and start < 0 else start
    stop = part.stop if part.stop is not None else size if step > 0 else -1
    count = stop - start if step == 1 else start - stop if step == -1 else -((start - stop) // step)
    ends = (
        [start if a == axis else 0 for a in range(len(x.shape))],
        [count if a == axis else n for a, n in enumerate(x.shape)],
        [step if a == axis else 1 for a in range(len(x.shape))],
    )
    return slice_(x, *map(tuple, ends))


_MODES = Literal["constant"]  # of reflect, edge and wrap, weft has none


def _pad_2(x: Array, /, pads: Ints, *, mode: _MODES = "constant", value: float = 0.0) -> Any:
    return _padded(x, pads, value, None)


def _pad(
    x: Array,
    pads: Ints,
    value: Number | None = None,
    axes: Ints | None = None,
    /,
    *,
    mode: _MODES = "constant",
) -> Any:
    return _padded(x, pads, (0.0 if x.dtype.is_floating else 0) if value is None else value, axes)


def _padded(x: Any, widths: Ints, value: Any, axes: Ints | None) -> Any:
    rank = len(x.shape)
    places = [normalize_axis(a, rank, "Pad") for a in (range(rank) if axes is None else axes)]
    if len(set(places)) != len(places) or len(widths) != 2 * len(places):
        raise FormatError(f"{len(widths)} pads for the axes {places}")
    if any(isinstance(n, SymDim) or abs(n) > NBYTES for n in widths):
        raise FormatError(f"pads {widths} are not numbers of elements")
    pairs: list[tuple[Any, Any]] = [(0, 0)] * rank
    for i, a in enumerate(places):
        pairs[a] = (widths[i], widths[i + len(places)])
    return pad(x, tuple(pairs), value=value)


def _tile(x: Array, repeats: Ints, /) -> Any:
    if len(repeats) != len(x.shape):
        raise FormatError(f"{len(repeats)} repeats for {len(x.shape)} axes")
    check_extent([n * size for n, size in zip(repeats, x.shape, strict=True)], 1)
    return tile(x, repeats)


def _trilu(x: Array, k: Number | None = None, /, *, upper: bool = True) -> Any:
    if len(x.shape) < 2:
        raise FormatError(f"a tensor of rank {len(x.shape)} is no matrix")
    shift: Any = 0 if k is None else k
    if not isinstance(shift, SymDim):
        shift = max(-NBYTES, min(shift, NBYTES))  # beyond any axis
    mask = tri_mask(x.shape[-2], x.shape[-1], shift - 1 if upper else shift)
    return ew.where(mask, False, x) if upper else ew.where(mask, x, False)


# --- indices ----------------------------------------------------------------------------------------------------


def _gather(x: Array, indices: Array, /, *, axis: int = 0) -> Any:
    return take(x, indices, axis=axis)


def _gather_elements(x: Array, indices: Array, /, *, axis: int = 0) -> Any:
    at = _same_rank(x, indices, axis)
    sizes = tuple(x.shape[a] if a == at else n for a, n in enumerate(indices.shape))
    return take_along_axis(slice_(x, (0,) * len(sizes), sizes), indices, axis=at)


def _same_rank(x: Any, indices: Any, axis: int) -> int:
    """The axis, counted from the front; the indices lie within ``x`` on the others."""
    if len(x.shape) != len(indices.shape):
        raise FormatError(f"indices of shape {tuple(indices.shape)} into {tuple(x.shape)}: the ranks differ")
    at = normalize_axis(axis, len(x.shape), "the axis")
    for a, (n, count) in enumerate(zip(x.shape, indices.shape, strict=True)):
        if a != at and not isinstance(n, SymDim) and not isinstance(count, SymDim) and count > n:
            raise FormatError(f"indices of shape {tuple(indices.shape)} into {tuple(x.shape)}: axis {a} is too long")
    return at


def _tuples(x: Any, index: Any) -> tuple[Any, ...]:
    """The columns of an array of index tuples into ``x``."""
    rank = len(x.shape)
    count = index.shape[-1] if index.shape else 0
    if isinstance(count, SymDim) or not 1 <= count <= rank:
        raise FormatError(f"index tuples of length {count} into a tensor of rank {rank}")
    lead = tuple(index.shape[:-1])
    start = (0,) * len(lead)
    return tuple(reshape(slice_(index, (*start, i), (*lead, 1)), lead) for i in range(count))


def _gather_nd(x: Array, indices: Array, /, *, batch_dims: int = 0) -> Any:
    if batch_dims:
        raise FormatError("batch_dims is not supported")
    return getitem(x, _tuples(x, indices))


_REDUCTIONS = Literal["none", "add"]


def _scatter(x: Any, indices: Sequence[Any], updates: Any, reduction: str) -> Any:
    """Indices outside of ``x`` are found by the kernel, on every axis, with any reduction."""
    places = tuple(indices[0].shape)
    if tuple(updates.shape) != (*places, *x.shape[len(indices) :]):
        raise FormatError(f"updates of shape {tuple(updates.shape)} at {places} into {tuple(x.shape)}")
    if reduction == "none":
        return with_items(x, tuple(indices), updates)
    if x.dtype is dt.bool_:
        raise FormatError("bools are not added")
    return _accumulate(x, [ew.cast(i, dt.int64) for i in indices], updates)


def _scatter_nd(x: Array, indices: Array, updates: Array, /, *, reduction: _REDUCTIONS = "none") -> Any:
    return _scatter(x, _tuples(x, indices), updates, reduction)


def _scatter_elements(
    x: Array, indices: Array, updates: Array, /, *, axis: int = 0, reduction: _REDUCTIONS = "none"
) -> Any:
    at = _same_rank(x, indices, axis)
    shape = tuple(indices.shape)
    return _scatter(x, [indices if a == at else iota(shape, a) for a in range(len(shape))], updates, reduction)


# --- constants --------------------------------------------------------------------------------------------------


def _constant(
    *,
    value: Proto | None = None,
    value_float: float | None = None,
    value_floats: Floats | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
    value_string: Refused | None = None,
    value_strings: Refused | None = None,
    sparse_value: Refused | None = None,
) -> Any:
    import numpy as np

    from ....tensor.create import asarray

    given = [v for v in (value, value_float, value_floats, value_int, value_ints) if v is not None]
    if len(given) != 1:
        raise FormatError(f"it has {len(given)} values")
    if value is not None:
        return tensor_of_proto(value)
    floating = value_float is not None or value_floats is not None
    return asarray(np.asarray(given[0], dtype=np.float32 if floating else np.int64))


def _constant_of_shape(shape: Ints, /, *, value: Proto | None = None) -> Any:
    check_extent(shape, 1)
    if value is None:
        return full(shape, 0.0, dtype=dt.float32)
    tensor = tensor_of_proto(value)
    if tensor.size != 1:
        raise FormatError(f"its value has {tensor.size} elements, not one")
    number = tensor.cpu().numpy().reshape(-1)[0]
    return full(shape, number.item() if tensor.dtype is not dt.bfloat16 else float(number), dtype=tensor.dtype)


def _range(start: Scalar, limit: Scalar, delta: Scalar, /, *, stash_type: int = 1) -> Any:
    """Computed in float64 and rounded once, which is at least what ``stash_type`` asks for."""
    if stash_type != 1:
        raise FormatError(f"stash_type {stash_type} is not supported")
    numbers = [v.number for v in (start, limit, delta)]
    if not any(isinstance(n, SymDim) for n in numbers):
        if not all(map(math.isfinite, numbers)) or numbers[2] == 0:
            raise FormatError(f"a range from {numbers[0]} to {numbers[1]} in steps of {numbers[2]}")
        count = (numbers[1] - numbers[0]) / numbers[2]
        if count > NBYTES:
            raise FormatError(f"a range of {count:.1e} elements: no machine holds it")
    return arange(*numbers, dtype=start.dtype)


def _shape(x: Array, /, *, start: int = 0, end: int | None = None) -> Any:
    return Known(list(x.shape[start:end]))


def _size(x: Array, /) -> Any:
    return Known(bounded(size_of(x.shape)))


STRUCTURE: dict[str, dict[int, Op]] = {
    "Reshape": {1: _reshape},
    "Flatten": {1: _flatten},
    "Transpose": {1: _transpose},
    "Expand": {1: _expand},
    "Squeeze": {1: _squeeze},
    "Unsqueeze": {1: _unsqueeze},
    "Concat": {1: _concat},
    "Split": {1: _split},
    "Slice": {1: _slice},
    "Pad": {1: _pad_2, 11: _pad},
    "Tile": {1: _tile},
    "Trilu": {1: _trilu},
    "Gather": {1: _gather},
    "GatherElements": {1: _gather_elements},
    "GatherND": {1: _gather_nd},
    "ScatterND": {1: _scatter_nd},
    "ScatterElements": {1: _scatter_elements},
    "Constant": {1: _constant},
    "ConstantOfShape": {1: _constant_of_shape},
    "Range": {1: _range},
    "Shape": {1: _shape},
    "Size": {1: _size},
}

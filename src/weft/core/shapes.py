"""Shapes: tuples of dimensions, a dimension being an int or a symbolic one (symbolic.py); axes and broadcasting."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .errors import AxisError, ShapeError
from .symbolic import Dim, SymDim, are_equal

Shape = tuple[Dim, ...]


def is_static(shape: Iterable[Dim]) -> bool:
    """True when every dimension is a number."""
    return not any(isinstance(d, SymDim) for d in shape)


def substitute(value: Any, sizes: Mapping[str, Dim]) -> Any:
    """``value`` (a dimension, or any nesting of tuples) with names of sizes replaced by numbers or other sizes."""
    if isinstance(value, SymDim):
        return value.substitute(sizes)
    if isinstance(value, tuple):
        return tuple(substitute(v, sizes) for v in value)
    return value


def size_of(shape: Iterable[Dim]) -> Any:
    """Number of elements."""
    total: Dim = 1
    for d in shape:
        total = total * d
    return total


def check_count(shape: Shape, itemsize: int = 1, op: str = "") -> None:
    """Raise where a shape's elements of ``itemsize`` bytes, or a size in it, are more than 64 bits can count.

    A size of 0 does not excuse the others: strides are products of sizes too.

    Raises:
        ShapeError: there are 2**63 or more.
    """
    count: int = itemsize
    for d in shape:
        if isinstance(d, int) and d > 1:
            count *= d
            if count >= SIZE_LIMIT:
                what = "elements" if itemsize == 1 else "bytes"
                named = f"{op}: " if op else ""
                raise ShapeError(f"{named}shape {shown(shape)} has 2**63 {what} or more, which no memory holds")


SIZE_LIMIT = 1 << 63  # of sizes, and of the elements and the bytes of a tensor
MAX_BITS = 4096  # of an integer that may be printed: Python itself refuses to print much longer ones


def shown(value: Any) -> str:
    """``value`` as a message shows it: shortened, of an array its type, and not an error itself, whatever it is."""
    try:
        return type(value).__name__ if hasattr(value, "shape") else reprlib.repr(value)
    except Exception:  # an integer of more digits than Python prints, or a broken __repr__
        bits = value.bit_length() if isinstance(value, int) else 0
        return f"an integer of {bits} bits" if bits else f"an object of type {type(value).__name__}"


def strides_of(shape: Sequence[Any]) -> tuple[Any, ...]:
    """Row-major strides in elements. An axis of size 0 counts as one of size 1, as in NumPy and PyTorch.

    >>> strides_of((2, 3, 4)), strides_of((2, 0, 4))
    ((12, 4, 1), (4, 4, 1))
    """
    strides: list[Any] = []
    step: Any = 1
    for d in reversed(shape):
        strides.append(step)
        step = step if isinstance(d, int) and d == 0 else step * d
    return tuple(reversed(strides))


def broadcast_shapes(*shapes: Shape, op: str = "broadcast") -> Shape:
    """The common shape of operands under NumPy's rules.

    Raises:
        ShapeError: two sizes of one axis differ and neither is 1.
    """
    rank = max(map(len, shapes), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        size: Dim = 1
        for shape in shapes:
            at = axis - rank + len(shape)
            if at < 0 or (isinstance(shape[at], int) and shape[at] == 1):
                continue
            if isinstance(size, int) and size == 1:
                size = shape[at]
            elif not are_equal(shape[at], size):
                listed = " and ".join(map(str, shapes))
                raise ShapeError(
                    f"{op}: shapes {listed} do not broadcast: axis {axis - rank} has sizes {size} and {shape[at]}"
                )
        result.append(size)
    return tuple(result)


def normalize_axis(axis: int, rank: int, op: str) -> int:
    """``axis`` counted from the front.

    Raises:
        AxisError: it is outside ``[-rank, rank)``, or no integer. A bool is none, although Python counts with it: what
            is meant is another argument.
    """
    if not hasattr(axis, "__index__") or isinstance(axis, bool):
        raise AxisError(f"{op}: {shown(axis)} is not an axis; axes are integers")
    index = axis.__index__()
    if not -rank <= index < rank:
        raise AxisError(f"{op}: axis {shown(axis)} is out of range for a tensor of rank {rank}")
    return index % rank if rank else 0


def normalize_axes(axis: int | Sequence[int] | None, rank: int, op: str) -> tuple[int, ...]:
    """Sorted axes counted from the front; None means all of them.

    Raises:
        AxisError: one is out of range or named twice.
    """
    if axis is None:
        return tuple(range(rank))
    axes = [normalize_axis(a, rank, op) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))]
    if len(set(axes)) != len(axes):
        raise AxisError(f"{op}: an axis is named twice in {axis}")
    return tuple(sorted(axes))

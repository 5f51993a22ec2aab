"""Sizes that a kernel sets: how many elements of a mask are true, and where; how often elements are repeated in all.

Outside of captures these are looked at on the host (``host_values``). In a compiled function the number is a value of
the graph, and a size of the capture's scope that is known when the kernels before it have run
(:meth:`~weft.transforms.inside.Inside.counted`). What is computed here are the positions that the host would find, by
the same indices in the same order, so that all bits are those of eager code.
"""

from __future__ import annotations

from typing import Any

from ..core import dtypes as dt
from ..core.symbolic import Dim
from .creation import full, iota
from .cumulative import cumulative_sum
from .elementwise import cast, where
from .indexing import NOWHERE, SCATTER_ADD, SCATTER_SET
from .op import Array, apply, composite, current_trace
from .operands import extent
from .reduction import sum as total
from .views import reshaped, slice_


def counted(count: Any, most: Dim | None) -> Dim:
    """The size that a value of the capture that is going on is, of rank 0 and int64; at most ``most``, if that is
    known."""
    trace = current_trace()
    assert trace is not None
    size: Dim = trace.capture.counted(count, most)
    return size


def true_positions(mask: Any) -> tuple[Any, ...]:
    """For each axis of a mask where its true elements are, in row-major order: vectors of int64."""
    size = counted(_count(mask), _elements(tuple(mask._spec.shape)))
    found: tuple[Any, ...] = _true_positions(mask, size)
    return found


def _elements(shape: tuple[Dim, ...]) -> Dim:
    most: Dim = 1
    for n in shape:
        most = most * n
    return most


@composite(public=False)
def _count(mask: Array) -> Array:
    return total(cast(mask, dt.int64))


@composite(public=False)
def _true_positions(mask: Array, size: Dim) -> Any:
    shape = tuple(mask.shape)
    count = _elements(shape)
    flat = reshaped(mask, (count,))
    # The n-th true element writes its position into the n-th place, the others write behind the end.
    place = where(flat, cumulative_sum(cast(flat, dt.int64), axis=0) - 1, extent(size, dt.int64))
    apart = apply(SCATTER_SET, full((size + 1,), 0, dtype=dt.int64), place, iota((count,), 0))
    at: Any = slice_(apart, (0,), (size,))
    found: list[Any] = []
    for n in reversed(shape[1:]):
        divisor = extent(n, dt.int64)
        found.append(at % divisor)
        at = at // divisor
    return (at, *reversed(found))


def repeated_positions(repeats: Any) -> Any:
    """Each position ``repeats[position]`` times: a vector of int64. A negative number is an index out of range when it
    runs."""
    return _repeated_positions(repeats, counted(_total(repeats), None))


@composite(public=False)
def _total(repeats: Array) -> Array:
    return total(cast(repeats, dt.int64))


@composite(public=False)
def _repeated_positions(repeats: Array, size: Dim) -> Array:
    times = cast(repeats, dt.int64)
    starts = cumulative_sum(times, axis=0) - times
    starts = where(times < 0, NOWHERE, starts)
    ones = full(tuple(times.shape), 1, dtype=dt.int64)
    begun = apply(SCATTER_ADD, full((size + 1,), 0, dtype=dt.int64), starts, ones)
    found: Array = cumulative_sum(slice_(begun, (0,), (size,)), axis=0) - 1
    return found

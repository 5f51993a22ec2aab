"""The ONNX ops on known integers (see :mod:`weft.interop.onnx.foreign.call`), by which models compute shapes.

They compute what the same op computes on tensors: integers wrap in their dtype, ``x / 0`` is 0. A result that is not
known while sizes are symbolic, or that has more elements than are followed (``limits.KNOWN``), is None: then the op is
one of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ....core import dtypes as dt
from ....core.dtypes import DType
from ....core.errors import CaptureError, FormatError
from ....core.shapes import normalize_axis
from ....core.symbolic import SymDim
from ..emitter import dtype_of_element
from ..limits import KNOWN, bounded, wrapped
from .call import Ints, Known, Op

ROUNDINGS = Literal["up", "down", "nearest"]  # for the element types with 8 bits and an exponent alone, not weft's
_BEYOND = (1 << 31) - 1  # no axis is so long: exporters write the greatest int32 or int64 for "to the end"


# --- what host and graph ops share ------------------------------------------------------------------------------


def slice_of(start: Any, end: Any, step: int, size: Any) -> slice:
    """On an axis of that size. Ends that lie beyond it, which ONNX allows, are its own; one that is stepped back from
    is its first element, where Python would take none. (What lies beyond an unknown size is what exporters write for
    "to the end".)"""
    if not any(isinstance(v, SymDim) for v in (start, end, size)):
        low, high = (0, size) if step > 0 else (-1, size - 1)
        first, last = (n + size if n < 0 else n for n in (start, end))
        last = max(low, min(last, high))
        return slice(max(0, min(first, high)), None if last < 0 else last, step)
    open_end = not isinstance(end, SymDim) and (end >= _BEYOND if step > 0 else end <= -_BEYOND)
    open_start = not isinstance(start, SymDim) and (start == 0 if step > 0 else start >= _BEYOND)
    return slice(None if open_start else start, None if open_end else end, step)


def ends_of(starts: Ints, ends: Ints, axes: Ints | None, steps: Ints | None, shape: Sequence[Any]) -> dict[int, slice]:
    """The slice of each axis of the shape that a Slice names.

    Raises:
        FormatError: the lists do not fit each other, an axis is named twice, or a step is 0.
        AxisError: an axis is outside the rank.
    """
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise FormatError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps")
    found: dict[int, slice] = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = normalize_axis(axis, len(shape), "Slice")
        if at in found or isinstance(step, SymDim) or step == 0:
            raise FormatError(f"axis {at} is named twice" if at in found else f"a step of {step}")
        found[at] = slice_of(start, end, step, shape[at])
    return found


def target_shape(shape: Ints, own: tuple[Any, ...], allowzero: bool) -> tuple[Any, ...]:
    """The shape that a Reshape names: a 0 is the size that there is, unless ``allowzero``."""
    if allowzero:
        return shape
    if any(not isinstance(n, SymDim) and n == 0 and i >= len(own) for i, n in enumerate(shape)):
        raise FormatError(f"the shape {shape} takes a size of {own} that is not there")
    return tuple(own[i] if not isinstance(n, SymDim) and n == 0 else n for i, n in enumerate(shape))


# --- elementwise ------------------------------------------------------------------------------------------------


def _elementwise(function: Callable[..., Any], *arrays: Any) -> Any | None:
    """Over arrays of Python integers and sizes that broadcast; None where it is not known."""
    import numpy as np

    if math.prod(np.broadcast_shapes(*(a.shape for a in arrays))) > KNOWN:
        return None
    try:
        return np.frompyfunc(function, len(arrays), 1)(*arrays)
    except CaptureError:  # whether it holds, or what it is, depends on the size
        return None


def _known(array: Any, dtype: DType) -> Known | None:
    return None if array is None else Known(array, dtype)


def _in(dtype: DType, value: Any) -> Any:
    return bounded(value) if isinstance(value, SymDim) else wrapped(value, dtype)


def _arithmetic(function: Callable[[Any, Any], Any]) -> Op:
    def run(x: Known, y: Known, /) -> Known | None:
        return _known(_elementwise(lambda a, b: _in(x.dtype, function(a, b)), x.array, y.array), x.dtype)

    return run


def _quotient(x: Any, y: Any) -> Any:
    """Truncated; 0 for a division by 0, as in the graph."""
    if isinstance(x, SymDim) or isinstance(y, SymDim):
        return 0 if not isinstance(y, SymDim) and y == 0 else x // y
    quotient = abs(x) // abs(y) if y else 0
    return quotient if (x < 0) == (y < 0) else -quotient


def _equals(x: Any, y: Any) -> bool:
    """A size is at least 1 unless a caller says otherwise, see SymDim."""
    if isinstance(x, SymDim) is isinstance(y, SymDim) and not isinstance(x, SymDim):
        return bool(x == y)
    if isinstance(x, SymDim) and isinstance(y, SymDim):
        if x == y:
            return True
        raise CaptureError(f"whether {x} is {y} depends on the sizes")
    size, number = (x, y) if isinstance(x, SymDim) else (y, x)
    if number < 1 and all(c > 0 for c in size.terms.values()):
        return False
    raise CaptureError(f"whether {size} is {number} depends on the sizes")


def _comparison(function: Callable[[Any, Any], bool]) -> Op:
    def run(x: Known, y: Known, /) -> Known | None:
        return _known(_elementwise(function, x.array, y.array), dt.bool_)

    return run


def _where(condition: Known, x: Known, y: Known, /) -> Known | None:
    chosen = _elementwise(lambda c, a, b: a if c else b, condition.array, x.array, y.array)
    return _known(chosen, x.dtype)


def _cast(x: Known, /, *, to: int, saturate: bool = True, round_mode: ROUNDINGS = "up") -> Known | None:
    target = dtype_of_element(to, "a Cast")
    if any(isinstance(v, SymDim) for v in x.integers):
        return Known(x.array, target) if target is dt.int64 else None
    return _known(_elementwise(lambda v: wrapped(v, target), x.array), target) if target.is_integer else None


# --- structure --------------------------------------------------------------------------------------------------


def _identity(x: Known, /) -> Known:
    return x


def _shape(x: Known, /, *, start: int = 0, end: int | None = None) -> Known:
    return Known(list(x.array.shape[start:end]))


def _size(x: Known, /) -> Known:
    return Known(x.array.size)


def _gather(x: Known, index: Known, /, *, axis: int = 0) -> Known | None:
    import numpy as np

    at = normalize_axis(axis, x.array.ndim, "Gather")
    if any(isinstance(i, SymDim) for i in index.integers):
        return None
    shape = (*x.array.shape[:at], *index.array.shape, *x.array.shape[at + 1 :])
    return None if math.prod(shape) > KNOWN else Known(np.take(x.array, index.array.astype(np.int64), at), x.dtype)


def _concat(*xs: Known, axis: int) -> Known | None:
    import numpy as np

    if sum(x.array.size for x in xs) > KNOWN:
        return None
    return Known(np.concatenate([x.array for x in xs], axis=axis), xs[0].dtype)


def _squeeze(x: Known, /, axes: Ints | None = None) -> Known:
    import numpy as np

    return Known(np.squeeze(x.array, axis=axes), x.dtype)


def _unsqueeze(x: Known, /, axes: Ints) -> Known:
    import numpy as np

    return Known(np.expand_dims(x.array, axes), x.dtype)


def _slice(x: Known, /, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None) -> Known | None:
    parts = ends_of(starts, ends, axes, steps, x.array.shape)
    if any(isinstance(v, SymDim) for part in parts.values() for v in (part.start, part.stop)):
        return None
    return Known(x.array[tuple(parts.get(a, slice(None)) for a in range(x.array.ndim))], x.dtype)


def _reshape(x: Known, shape: Ints, /, *, allowzero: bool = False) -> Known:
    return Known(x.array.reshape(target_shape(shape, x.array.shape, allowzero)), x.dtype)


def _product(
    x: Known, /, axes: Ints | None = None, *, keepdims: bool = True, noop_with_empty_axes: bool = False
) -> Known | None:
    """Of all elements."""
    if axes or noop_with_empty_axes:
        return None
    total: Any = 1
    for value in x.integers:
        total = _in(x.dtype, total * value)
    return Known([total] if keepdims and x.array.ndim == 1 else total, x.dtype) if x.array.ndim < 2 else None


HOST: dict[str, Op] = {
    "Add": _arithmetic(lambda x, y: x + y),
    "Sub": _arithmetic(lambda x, y: x - y),
    "Mul": _arithmetic(lambda x, y: x * y),
    "Div": _arithmetic(_quotient),
    "Cast": _cast,
    "Equal": _comparison(_equals),
    "Less": _comparison(lambda x, y: x < y),
    "Where": _where,
    "Gather": _gather,
    "Concat": _concat,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Reshape": _reshape,
    "ReduceProd": _product,
    "Identity": _identity,
    "Shape": _shape,
    "Size": _size,
}

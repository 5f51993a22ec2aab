"""The ONNX ops on known integers (see :mod:`weft.interop.foreign_call`), by which models compute shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.shapes import SymDim, size_of
from .emitter import dtype_of_element
from .foreign_call import Call, Known

__all__ = ["BEYOND", "HOST", "Op", "slice_of"]

Op = Callable[[Call], Any]
BEYOND = (1 << 31) - 1  # no axis is so long: exporters write the greatest int32 or int64 for "to the end"


def slice_of(start: Any, end: Any, step: int) -> slice:
    """An end beyond the axis, which ONNX allows, is no end."""
    open_end = not isinstance(end, SymDim) and (end >= BEYOND if step > 0 else end <= -BEYOND)
    open_start = not isinstance(start, SymDim) and (start == 0 if step > 0 else start >= BEYOND)
    return slice(None if open_start else start, None if open_end else end, step)


def _host(function: Callable[..., Any], dtype: DType | None = None) -> Op:
    """Elementwise over arrays of Python integers and sizes."""

    def run(c: Call) -> Known:
        import numpy as np

        arrays = [c.known(i).array for i in range(len(c.items))]
        return Known(np.frompyfunc(function, len(arrays), 1)(*arrays), dtype or c.known(0).dtype)

    return run


def _host_shape(c: Call) -> Known:
    shape = c.known(0).array.shape
    return Known(list(shape[c.attribute("start", 0) : c.attribute("end", len(shape))]))


def _host_cast(c: Call) -> Known | None:
    target = dtype_of_element(c.attribute("to"), "a Cast")
    values = c.known(0)
    symbolic = any(isinstance(v, SymDim) for v in values.integers)
    return Known(values.array, target) if target.is_integer and (target is dt.int64 or not symbolic) else None


def _host_gather(c: Call) -> Known:
    import numpy as np

    index = c.known(1).array.astype(np.int64)
    return Known(np.take(c.known(0).array, index, axis=c.attribute("axis", 0)), c.known(0).dtype)


def _host_concat(c: Call) -> Known:
    import numpy as np

    return Known(
        np.concatenate([c.known(i).array for i in range(len(c.items))], axis=c.attribute("axis")), c.known(0).dtype
    )


def _host_reshaped(function: Callable[[Any, tuple[int, ...]], Any]) -> Op:
    def run(c: Call) -> Known:
        axes = c.integers(1, "axes")
        return Known(function(c.known(0).array, tuple(axes) if axes is not None else ()), c.known(0).dtype)

    return run


def _host_squeeze(array: Any, axes: tuple[int, ...]) -> Any:
    import numpy as np

    return np.squeeze(array, axis=axes or None)


def _host_unsqueeze(array: Any, axes: tuple[int, ...]) -> Any:
    import numpy as np

    return np.expand_dims(array, axes)


def _host_slice(c: Call) -> Known:
    array = c.known(0).array
    starts, ends = c.integers(1, "starts") or (), c.integers(2, "ends") or ()
    axes, steps = c.integers(3, "axes") or range(len(starts)), c.integers(4) or (1,) * len(starts)
    key: list[Any] = [slice(None)] * array.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        key[axis] = slice_of(start, end, step)
    return Known(array[tuple(key)], c.known(0).dtype)


def _host_reshape(c: Call) -> Known:
    return Known(c.known(0).array.reshape(c.known(1).integers), c.known(0).dtype)


def _host_product(c: Call) -> Known:
    values = c.known(0)
    total = size_of(values.integers)
    return Known([total] if c.attribute("keepdims", 1) else total, values.dtype)


def _host_where(condition: Any, x: Any, y: Any) -> Any:
    return x if condition else y


HOST: dict[str, Op] = {
    "Add": _host(lambda x, y: x + y),
    "Sub": _host(lambda x, y: x - y),
    "Mul": _host(lambda x, y: x * y),
    "Div": _host(lambda x, y: x // y if isinstance(x, SymDim) else int(x / y) if y else 0),
    "Cast": _host_cast,
    "Equal": _host(lambda x, y: x == y, dt.bool_),
    "Less": _host(lambda x, y: x < y, dt.bool_),
    "Where": lambda c: Known(_host(_host_where)(c).array, c.known(1).dtype),
    "Gather": _host_gather,
    "Concat": _host_concat,
    "Squeeze": _host_reshaped(_host_squeeze),
    "Unsqueeze": _host_reshaped(_host_unsqueeze),
    "Slice": _host_slice,
    "Reshape": _host_reshape,
    "ReduceProd": _host_product,
    "Identity": lambda c: c.known(0),
    "Shape": _host_shape,
    "Size": lambda c: Known(c.known(0).array.size),
}

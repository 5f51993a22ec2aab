"""Keys: what stands between the brackets of ``x[...]``.

:func:`normalize_key` takes a key apart into its static part, a :class:`Subscript`, and the index arrays in it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from ..core import dtypes as dt
from ..core.asked import unasked
from ..core.dtypes import DType
from ..core.errors import CaptureError, DTypeError, IndexError_
from ..core.shapes import Shape, shown
from ..core.symbolic import Dim, SymDim, undecided
from .op import current_trace
from .operands import at_home


class Subscript:
    """The static part of a key.

    ``x[key]`` is ``x`` sliced (``starts, sizes, steps``), reshaped to ``shape`` (axes dropped by integers, axes added
    by None), and then, where ``indexed`` is not empty, gathered on those axes of it; the axes of the result that
    come from the index arrays stand at ``place``. Equal subscripts are equal as static arguments.
    """

    __slots__ = ("_hash", "_parts", "indexed", "place", "shape", "sizes", "starts", "steps")

    def __init__(
        self,
        starts: Shape,
        sizes: Shape,
        steps: tuple[int, ...],
        shape: Shape,
        indexed: tuple[int, ...] = (),
        place: int = 0,
    ):
        self.starts, self.sizes, self.steps, self.shape = starts, sizes, steps, shape
        self.indexed, self.place = indexed, place
        self._parts = (starts, sizes, steps, shape, indexed, place)
        self._hash = hash(self._parts)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subscript) and self._parts == other._parts

    def __repr__(self) -> str:
        return f"Subscript{self._parts}"


def normalize_key(key: Any, shape: Shape) -> tuple[Subscript, list[Any]]:
    """``key`` as a :class:`Subscript` and the index arrays in it (tensors and NumPy arrays, of integers).

    Raises:
        IndexError_: too many indices, a Python integer out of range, a mask of another shape.
        DTypeError: something that is no index, or may be two things: an array of uint8.
        CaptureError: a boolean mask whose values are not known yet.
    """
    trace = current_trace()
    if trace is not None and trace.plans is not None:
        key, shape = unasked(key), unasked(shape)
    entries = key if type(key) is tuple else (key,)
    name = (basic_name(entries), shape)
    if name[0] is None:
        return _Parser(shape).parse(_expand(entries, shape))
    known = _basic.get(name)
    if known is None:
        if len(_basic) > 1 << 14:
            _basic.clear()
        entries, name = at_home(entries), at_home(name)  # they are kept
        known = _basic[name] = _Parser(shape).parse(_expand(entries, shape))[0]
    return known, []


_basic: dict[Any, Subscript] = {}  # keys without arrays


def basic_name(entries: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A hashable equivalent of a key of integers, slices, None and Ellipsis; None for others."""
    parts: list[Any] = []
    for entry in entries:
        kind = type(entry)
        if kind is slice:
            start, stop, step = bounds = (entry.start, entry.stop, entry.step)
            if not (
                (start is None or start.__class__ is int)
                and (stop is None or stop.__class__ is int)
                and (step is None or step.__class__ is int)
            ):
                return None
            parts.append(bounds)
        elif kind is int or entry is None or entry is Ellipsis:
            parts.append(entry)
        else:
            return None
    return tuple(parts)


def _position(index: int, size: Dim, axis: int) -> Dim:
    if undecided(size):
        return size + index if index < 0 else index
    if not -size <= index < size:
        raise IndexError_(f"index {shown(index)} is out of range for axis {axis} of size {size}")
    return index + size if index < 0 else index


def _is_array(entry: Any) -> bool:
    return hasattr(entry, "dtype") and hasattr(entry, "shape")


def as_entry(entry: Any) -> Any:
    """Lists become NumPy arrays, NumPy scalars Python's."""
    if isinstance(entry, (list, tuple, range)):
        import numpy as np

        try:
            found = np.asarray(entry)
        except Exception:  # ragged, or whatever the methods of what is inside raise
            raise DTypeError(f"{shown(entry)} is not an index: a list of integers or bools has to be regular") from None
        if found.dtype.kind in "fO" and found.size:
            _check_numbers(np.asarray(entry, object).flat)
        return found.astype(np.int64) if found.size == 0 and found.dtype.kind == "f" else found
    if is_foreign(entry):
        raise DTypeError(f"an index of type {type(entry).__name__} is not a tensor; make one with asarray")
    if hasattr(entry, "__array__") and not hasattr(entry, "_storage"):
        import numpy as np

        return entry.item() if isinstance(entry, np.generic) else np.asarray(entry)
    return entry


def _check_numbers(entries: Iterable[Any]) -> None:
    """Integers of which NumPy makes floats or objects, because one is beyond 64 bits, are indices out of range."""
    numbers = list(entries)
    if all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        raise IndexError_(f"index {max(numbers, key=abs)} is out of range for every axis")


def is_foreign(value: Any) -> bool:
    """Another library's array: neither a tensor nor NumPy's."""
    if (
        hasattr(value, "_storage")
        or isinstance(value, type)
        or not (hasattr(value, "__array__") or hasattr(value, "__dlpack__"))
    ):
        return False
    return not any(base.__module__ == "numpy" for base in type(value).__mro__)


def is_mask(entry: Any) -> bool:
    """A tensor or NumPy array of bools."""
    return _is_array(entry) and (entry.dtype is dt.bool_ or str(entry.dtype) == "bool")


def _used(entry: Any) -> int:
    """Axes of the tensor that an entry takes."""
    if entry is None or entry is Ellipsis or isinstance(entry, bool):
        return 0
    return len(entry.shape) if is_mask(entry) else 1


def _expand(entries: tuple[Any, ...], shape: Shape) -> list[Any]:
    """The entries with the Ellipsis written out as slices, at the end if there is none."""
    known = [as_entry(e) for e in entries]
    used = sum(_used(e) for e in known)
    if used > len(shape):
        raise IndexError_(f"{used} indices for a tensor of shape {shape}, which has {len(shape)} axes")
    dots = [i for i, e in enumerate(known) if e is Ellipsis]
    if len(dots) > 1:
        raise IndexError_("an index can have only one Ellipsis")
    at = dots[0] if dots else len(known)
    return known[:at] + [slice(None)] * (len(shape) - used) + known[at + 1 :]


def host_values(array: Any, what: str) -> Any:
    """The values of a mask as a NumPy array.

    Raises:
        ByValues: a function is captured, which does not know them.
    """
    import numpy as np

    if isinstance(array, np.ndarray):
        return array
    if current_trace() is not None:  # even a tensor from outside: the graph would keep today's values for ever
        raise ByValues(
            f"{what}: the shape of the result depends on the values, which a captured function does not "
            "know; use wf.where(mask, x, other), or do this outside of the captured function"
        )
    return array.cpu().numpy()


class ByValues(CaptureError):
    """A shape depends on values, and the capture that is going on has no sizes that kernels set."""


def sets_sizes(array: Any) -> bool:
    """Whether the values of a tensor may decide about sizes although a function is captured: its capture has sizes
    that kernels set (``capture.counted``)."""
    trace = current_trace()
    return hasattr(array, "_storage") and trace is not None and trace.capture is not None and trace.capture.counts_sizes


class _Parser:
    """Walks over the entries of a key and collects the Subscript."""

    def __init__(self, shape: Shape):
        self.shape = shape
        self.starts: list[Dim] = []
        self.sizes: list[Dim] = []
        self.steps: list[int] = []
        self.made: list[Dim] = []
        self.indexed: list[int] = []
        self.arrays: list[Any] = []
        self.advanced: list[bool] = []  # for each entry: it takes part in the broadcasting of indices
        self.places: list[int] = []  # axes made before each entry

    def parse(self, entries: list[Any]) -> tuple[Subscript, list[Any]]:
        for entry in entries:
            self.places.append(len(self.made) - len(self.indexed))
            self.advanced.append(self._entry(entry))
        return Subscript(
            tuple(self.starts),
            tuple(self.sizes),
            tuple(self.steps),
            tuple(self.made),
            tuple(self.indexed),
            self._place(),
        ), self.arrays

    def _place(self) -> int:
        """NumPy's rule: where the indices stand if they stand together, else in front. Integers count as indices
        when there are arrays."""
        at = [i for i, is_index in enumerate(self.advanced) if is_index]
        if not self.arrays or at[-1] - at[0] + 1 != len(at):
            return 0
        return self.places[at[0]]

    def _take(self, start: Dim, size: Dim, step: int) -> None:
        self.starts.append(start)
        self.sizes.append(size)
        self.steps.append(step)

    def _entry(self, entry: Any) -> bool:
        axis = len(self.starts)
        if entry is None:
            self.made.append(1)
            return False
        if isinstance(entry, slice):
            start, size, step = slice_bounds(entry, self.shape[axis], axis)
            self._take(start, size, step)
            self.made.append(size)
            return False
        if isinstance(entry, bool):
            entry = _bool_array(entry)
        if is_mask(entry):
            self._mask(entry)
            return True
        if _is_array(entry):
            if not holds_positions(entry.dtype):
                raise DTypeError(_no_positions(_name(entry.dtype)))
            self._index(entry)
            return True
        try:
            number = operator.index(entry)
        except TypeError:
            raise DTypeError(
                f"{shown(entry)} is not an index; indices are integers, slices, None, Ellipsis, and tensors or "
                "lists of integers or bools"
            ) from None
        self._take(_position(number, self.shape[axis], axis), 1, 1)
        return True

    def _index(self, array: Any) -> None:
        axis = len(self.starts)
        self._take(0, self.shape[axis], 1)
        self._add_index(array, self.shape[axis])

    def _add_index(self, array: Any, size: Dim) -> None:
        self.indexed.append(len(self.made))
        self.made.append(size)
        self.arrays.append(array)

    def _mask(self, mask: Any) -> None:
        axis = len(self.starts)
        covered = self.shape[axis : axis + len(mask.shape)]
        if tuple(mask.shape) != tuple(covered):
            raise IndexError_(
                f"a mask of shape {tuple(mask.shape)} for axes of sizes {tuple(covered)} of {tuple(self.shape)}"
            )
        if covered and sets_sizes(mask):
            from .counted import true_positions

            for positions in true_positions(mask):
                self._index(positions)
            return
        values = host_values(mask, "a boolean mask as an index")
        if not covered:  # a bool: a new axis of size 1, taken once or not at all
            self._add_index(_zero_indices(int(bool(values))), 1)
            return
        for positions in values.nonzero():
            self._index(positions)


def _bool_array(value: bool) -> Any:
    import numpy as np

    return np.asarray(value)


def _zero_indices(count: int) -> Any:
    import numpy as np

    return np.zeros(count, np.int64)


def holds_positions(dtype: Any) -> bool:
    """Whether values of a dtype, ours or NumPy's, are positions: integers, but for uint8, which may be masks."""
    return (dtype.is_integer if isinstance(dtype, DType) else dtype.kind in "iu") and _name(dtype) != "uint8"


def _no_positions(dtype: str) -> str:
    if dtype != "uint8":
        return f"an index of dtype {dtype}; indices are integers or bools"
    return (
        "an index of dtype uint8 is a mask to PyTorch and positions to NumPy; say which: "
        'index.astype("bool") or index.astype("int64")'
    )


def _name(dtype: Any) -> str:
    return dtype.name


def slice_bounds(key: slice, size: Dim, axis: int = 0) -> tuple[Dim, Dim, int]:
    """``(start, number of elements, step)`` of a slice of an axis; a symbolic size must leave no doubt.

    Raises:
        IndexError_: the step is 0, or a bound is no integer.
    """
    try:
        step = 1 if key.step is None else operator.index(key.step)
        bounds = [v if v is None or isinstance(v, SymDim) else operator.index(v) for v in (key.start, key.stop)]
    except TypeError:
        raise IndexError_(f"{key} for axis {axis}: the bounds of a slice are integers or None") from None
    if step == 0:
        raise IndexError_(f"{key} for axis {axis}: a slice has no step of 0")
    start, stop = bounds
    if not isinstance(size, SymDim) and not isinstance(start, SymDim) and not isinstance(stop, SymDim):
        first, last, step = slice(start, stop, step).indices(size)
        count = len(range(first, last, step))
        return (first if count else 0), count, step
    if any(map(undecided, (start, stop, size))):
        return _symbolic_bounds(start, stop, step, size)
    return _bounds_in_scope(start, stop, step, size)


def _bounds_in_scope(start: Dim | None, stop: Dim | None, step: int, size: Dim) -> tuple[Dim, Dim, int]:
    """As ``slice.indices`` has it, what it asks being decided."""
    lower, upper = (0, size) if step > 0 else (-1, size - 1)

    def place(value: Dim | None, default: Dim) -> Dim:
        if value is None:
            return default
        if value < 0:
            value = value + size
            return lower if value < lower else value
        return upper if value > upper else value

    first, end = place(start, lower if step > 0 else upper), place(stop, upper if step > 0 else lower)
    distance, stride = (end - first, step) if step > 0 else (first - end, -step)
    if distance <= 0:
        return 0, 0, step
    return first, distance if stride == 1 else (distance + stride - 1) // stride, step


def _symbolic_bounds(start: Any, stop: Any, step: int, size: Dim) -> tuple[Dim, Dim, int]:
    """Bounds counted from the ends of a symbolic size; that they lie within it cannot be known, and is assumed of
    numbers below 1 and else asked of the size (which says that it does not know)."""

    def place(value: Any, default: Dim) -> Dim:
        if value is None:
            return default
        if isinstance(value, int) and value < 0:
            return size + value
        return value if value <= size else size

    if step > 0:
        first, end = place(start, 0), place(stop, size)
        distance = end - first
    else:
        first, end = place(start, size - 1), place(stop, -1)
        distance = first - end
    stride = abs(step)
    return first, distance if stride == 1 else (distance + stride - 1) // stride, step

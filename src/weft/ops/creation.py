"""Arrays made of nothing: constants, positions, ranges, grids.

Two primitives: ``full`` (one value everywhere) and ``iota`` (the position on one axis); everything else is computed
from them, so that it fuses with whatever uses it and needs no memory of its own.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..compiler import expr as ex
from ..core import dtypes as dt
from ..core.dtypes import DType, as_dtype
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import SIZE_LIMIT, Shape, shown
from ..core.symbolic import Dim, SymDim, undecided
from ..graph.protocol import Position, Primitive, TensorType
from .elementwise import cast, where
from .op import Array, apply, composite

Scalar = bool | int | float
W = TypeVar("W", bound=Dim)
Whole = int  # an integer that is neither a size nor an axis: annotations say what a call checks


def as_shape(shape: Dim | Sequence[Dim], op: str) -> Shape:
    """``shape`` as a tuple of sizes; one number is a shape of rank 1.

    Raises:
        ShapeError: a size is negative or no integer, or 2**63 or more.
    """
    if isinstance(shape, (str, bytes, set, frozenset, dict)) or not isinstance(shape, Iterable):
        given: tuple[Any, ...] = (shape,)
    elif hasattr(shape, "ndim"):  # a tensor, or another library's array
        given = tuple(shape) if shape.ndim else (shape,)
    else:
        given = tuple(shape)
    sizes: list[Dim] = []
    for size in given:
        if not isinstance(size, SymDim):
            try:
                size = operator.index(size)
            except TypeError:
                raise ShapeError(f"{op}: {shown(size)} is not a size; sizes are integers") from None
            if size >= SIZE_LIMIT:
                raise ShapeError(f"{op}: size {shown(size)}; sizes are below 2**63")
            if size < 0:
                raise ShapeError(f"{op}: size {shown(size)} in shape {shown(given)} is negative")
        sizes.append(size)
    return tuple(sizes)


# --- full -------------------------------------------------------------------------------------------------------


def _filled_type(params: dict[str, Any]) -> TensorType:
    return TensorType(params["dtype"], params["shape"])


def constant_value(params: dict[str, Any]) -> Scalar:
    """The number that a ``full`` node holds."""
    value: Scalar | str = params["value"]
    return float(value) if isinstance(value, str) else value


FULL = Primitive(
    "full",
    _filled_type,
    Position(lambda params, index: ex.leaf("param", params["dtype"], constant_value(params)), constant=True),
)


def _representable(value: Scalar, dtype: DType, op: str) -> Scalar | str:
    """``value`` as a number of ``dtype``'s kind. -0.0 and NaN become text: as parameters of a node, 0.0 == -0.0
    would make two different constants one, and NaN != NaN would keep equal ones apart."""
    if not isinstance(value, (bool, int, float)):
        if not hasattr(value, "item") or getattr(value, "shape", None) != ():
            raise DTypeError(f"{op}: the fill value must be a Python number, got {type(value).__name__}")
        value = value.item()  # a NumPy scalar
    if dtype.kind == "bool":
        return bool(value)
    if dtype.is_floating:
        number = _finite(value, dtype, op)
        return repr(number) if number != number or (number == 0 and math.copysign(1, number) < 0) else number
    if isinstance(value, float) and not value.is_integer():
        raise DTypeError(f"{op}: {value} is not a value of {dtype.name}")
    return fitting(int(value), dtype, op)


def fitting(whole: W, dtype: DType, op: str) -> W:
    """``whole``, which an integer dtype holds.

    Raises:
        DTypeError: it does not.
    """
    low = -(1 << (dtype.bits - 1)) if dtype.is_signed else 0
    if not low <= whole < low + (1 << dtype.bits):
        raise DTypeError(f"{op}: {shown(whole)} does not fit in {dtype.name}")
    return whole


def rounded(number: float, dtype: DType) -> float:
    """``number``, or infinity where a floating dtype rounds it to that."""
    if dtype is not dt.float64 and _LARGEST_16 < abs(number) < math.inf:
        import numpy as np

        with np.errstate(all="ignore"):
            if np.isinf(np.float64(number).astype(dtype.numpy)):
                return math.copysign(math.inf, number)
    return number


def _finite(value: Any, dtype: DType, op: str) -> float:
    """``value`` as a float.

    Raises:
        DTypeError: it is finite and beyond the largest one of a floating dtype, as in PyTorch.
    """
    try:
        number = float(value)
    except OverflowError:
        raise DTypeError(f"{op}: an integer of {int(value).bit_length()} bits does not fit in {dtype.name}") from None
    if math.isinf(rounded(number, dtype)) and not math.isinf(number):
        raise DTypeError(f"{op}: {number} does not fit in {dtype.name}")
    return number


_LARGEST_16 = 65504.0  # float16's: what is not above it fits every floating dtype


def _default_dtype(value: Scalar) -> DType:
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.default_int
    return dt.default_float


@composite
def full(shape: Dim | Sequence[Dim], fill_value: Scalar, *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor of ``shape`` with ``fill_value`` everywhere.

    Args:
        shape: sizes, or one size.
        fill_value: a Python number.
        dtype: bool for a bool, int64 for an int, float32 for a float unless given.

    Raises:
        DTypeError: an integer dtype that cannot hold the value.

    >>> wf.full((2, 2), 7).tolist()
    [[7, 7], [7, 7]]
    """
    kind = _default_dtype(fill_value) if dtype is None else as_dtype(dtype)
    return apply(FULL, shape=as_shape(shape, "full"), value=_representable(fill_value, kind, "full"), dtype=kind)


@composite
def zeros(shape: Dim | Sequence[Dim], *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor of zeros; float32 unless ``dtype`` is given.

    >>> wf.zeros(3).tolist()
    [0.0, 0.0, 0.0]
    """
    return _constant(as_shape(shape, "zeros"), 0, dtype)


@composite
def ones(shape: Dim | Sequence[Dim], *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor of ones; float32 unless ``dtype`` is given.

    >>> wf.ones((1, 2), dtype=wf.int8).tolist()
    [[1, 1]]
    """
    return _constant(as_shape(shape, "ones"), 1, dtype)


@composite
def empty(shape: Dim | Sequence[Dim], *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor whose values do not matter: zeros, so that results never depend on what memory held before.

    >>> wf.empty((2, 3)).shape
    (2, 3)
    """
    return _constant(as_shape(shape, "empty"), 0, dtype)


def _constant(shape: Shape, value: int, dtype: Any) -> Array:
    kind = dt.default_float if dtype is None else as_dtype(dtype)
    return apply(FULL, shape=shape, value=_representable(value, kind, "full"), dtype=kind)


@composite
def full_like(x: Array, fill_value: Scalar, *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor of ``x``'s shape, and dtype unless another is given, with ``fill_value`` everywhere.

    >>> wf.full_like(wf.zeros(2), 3).tolist()
    [3.0, 3.0]
    """
    kind = x.dtype if dtype is None else as_dtype(dtype)
    return apply(FULL, shape=tuple(x.shape), value=_representable(fill_value, kind, "full_like"), dtype=kind)


@composite
def zeros_like(x: Array, *, dtype: Any = None, device: Any = None) -> Array:
    """Zeros of ``x``'s shape, and dtype unless another is given.

    >>> wf.zeros_like(wf.ones(2)).tolist()
    [0.0, 0.0]
    """
    return _constant(tuple(x.shape), 0, x.dtype if dtype is None else dtype)


@composite
def ones_like(x: Array, *, dtype: Any = None, device: Any = None) -> Array:
    """Ones of ``x``'s shape, and dtype unless another is given.

    >>> wf.ones_like(wf.zeros(2)).tolist()
    [1.0, 1.0]
    """
    return _constant(tuple(x.shape), 1, x.dtype if dtype is None else dtype)


@composite
def empty_like(x: Array, *, dtype: Any = None, device: Any = None) -> Array:
    """A tensor of ``x``'s shape, and dtype unless another is given, whose values do not matter: zeros.

    >>> wf.empty_like(wf.ones((4, 1))).shape
    (4, 1)
    """
    return _constant(tuple(x.shape), 0, x.dtype if dtype is None else dtype)


# --- iota -------------------------------------------------------------------------------------------------------


def _iota_expr(params: dict[str, Any], index: Callable[[int], ex.Expr]) -> ex.Expr:
    return ex.cast(index(params["axis"]), params["dtype"])


IOTA = Primitive("iota", _filled_type, Position(_iota_expr))


def iota(shape: Shape, axis: int, dtype: DType = dt.int64) -> Array:
    """The position on ``axis`` at each point of ``shape``; within a trace alone."""
    return apply(IOTA, shape=tuple(shape), axis=axis, dtype=dtype)


@composite
def arange(
    start: Dim | float, stop: Dim | float | None = None, step: Dim | float = 1, *, dtype: Any = None, device: Any = None
) -> Array:
    """``start, start + step, ...`` up to and without ``stop``; with one argument, from 0 to it.

    Integers are exact. Floats are ``start + i * step`` computed in float64 and rounded once to ``dtype``. The dtype
    is int64 when all three are integers, else float32, unless given.

    Raises:
        ShapeError: ``step`` is 0, or the range has no end.
        DTypeError: an integer dtype that does not hold the first or the last number (PyTorch wraps around).

    >>> wf.arange(5).tolist()
    [0, 1, 2, 3, 4]
    >>> wf.arange(1, 2, 0.25).tolist()
    [1.0, 1.25, 1.5, 1.75]
    """
    if stop is None:
        start, stop = 0, start
    whole = not any(isinstance(v, float) for v in (start, stop, step))
    kind = as_dtype(dtype) if dtype is not None else dt.default_int if whole else dt.default_float
    if kind.kind == "bool":
        raise DTypeError("arange: bool has no ranges")
    if not isinstance(step, SymDim) and step == 0:
        raise ShapeError("arange: step is 0")
    if not whole and any(isinstance(v, SymDim) for v in (start, stop, step)):
        start, stop, step = _beside_sizes(start, stop, step)
        whole = not any(isinstance(v, float) for v in (start, stop, step))
    (size,) = as_shape(_range_size(start, stop, step), "arange")
    if not undecided(size) and size and kind.is_integer:
        for end in (start, start + (size - 1) * step):
            if not undecided(end):
                fitting(end if isinstance(end, SymDim) else int(end), kind, "arange")
    if not whole:
        first, each = (_finite(v, dt.float64, "arange") for v in (start, step))
        return cast(iota((size,), 0, dt.float64) * each + first, kind)
    if isinstance(start, int) and isinstance(step, int):  # modulo 2**64: the numbers themselves fit what they become
        wide = dt.uint64 if kind is dt.uint64 else dt.int64
        start, step = (_modulo(v, wide) for v in (start, step))
        counted = iota((size,), 0, wide)
    else:
        counted = iota((size,), 0)
    if step != 1:
        counted = counted * step
    return cast(counted + start if start != 0 else counted, kind)


def _modulo(number: int, dtype: DType) -> int:
    """The number of a 64-bit ``dtype`` that is ``number`` modulo 2**64."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if dtype.is_signed and number >> 63 else number


def _beside_sizes(*ends: Any) -> list[Any]:
    """Floats beside symbolic sizes: as integers where they are whole numbers, which counts to the same bits (all are
    far below 2**53; -0.0 has no integer); else the sizes become the numbers that they stand for."""
    floats = [v for v in ends if isinstance(v, float)]
    if all(abs(v) < 2**31 and v == int(v) and (v or math.copysign(1.0, v) > 0) for v in floats):
        return [int(v) if isinstance(v, float) else v for v in ends]
    return [int(v) if isinstance(v, SymDim) else v for v in ends]


def _range_size(start: Any, stop: Any, step: Any) -> Dim:
    if any(isinstance(v, SymDim) for v in (start, stop)):
        distance = stop - start
        if not undecided(distance):
            count = -(-distance // step)
            return 0 if count <= 0 else count
        return distance if step == 1 else distance // step
    if any(isinstance(v, float) for v in (start, stop, step)):
        try:
            steps = (stop - start) / step
        except OverflowError:  # an integer that no float holds
            steps = math.inf
        if not math.isfinite(steps):
            raise ShapeError(
                f"arange: from {shown(start)} to {shown(stop)} in steps of {shown(step)} there is no number of steps"
            )
        return max(0, math.ceil(steps))
    return max(0, -((start - stop) // step))


@composite
def linspace(
    start: float, stop: float, /, num: Dim, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Array:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is the last one when ``endpoint``.

    Computed in float64 as ``start + i * step`` and rounded once to ``dtype`` (float32 unless given); the last one is
    ``stop`` exactly.

    Raises:
        ShapeError: ``num`` is negative.

    >>> wf.linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    (size,) = as_shape(num, "linspace")
    kind = dt.default_float if dtype is None else as_dtype(dtype)
    steps: Any = num - 1 if endpoint else num
    step = (float(stop) - float(start)) / steps if steps > 0 else 0.0
    values = iota((size,), 0, dt.float64) * step + float(start)
    if endpoint and num > 1:
        values = where(iota((size,), 0) == num - 1, full((size,), float(stop), dtype=dt.float64), values)
    return cast(values, kind)


@composite
def eye(n_rows: Dim, n_cols: Dim | None = None, /, *, k: Whole = 0, dtype: Any = None, device: Any = None) -> Array:
    """Ones on the ``k``-th diagonal (above the main one when positive) of a matrix of zeros; float32 unless given.

    >>> wf.eye(2, 3, k=1).tolist()
    [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    shape = as_shape((n_rows, n_rows if n_cols is None else n_cols), "eye")
    return cast(iota(shape, 1) - iota(shape, 0) == _diagonal(k), dt.default_float if dtype is None else as_dtype(dtype))


@composite(public=False)
def tri_mask(n_rows: Dim, n_cols: Dim, k: Whole = 0) -> Array:
    """bool [n_rows, n_cols]: true on the ``k``-th diagonal and below it.

    >>> from weft.ops.creation import tri_mask
    >>> tri_mask(2, 3).tolist()
    [[True, False, False], [True, True, False]]
    """
    shape = as_shape((n_rows, n_cols), "tri_mask")
    return iota(shape, 1) <= iota(shape, 0) + _diagonal(k)


def _diagonal(k: int) -> int:
    """``k`` within int64: a diagonal that far away is outside of every matrix, and so is the nearest one that fits."""
    return max(-(1 << 62), min(k, 1 << 62))


@composite
def meshgrid(*arrays: Array | Sequence[Array], indexing: str = "xy") -> tuple[Array, ...]:
    """Coordinate matrices of coordinate vectors (rank 1, equal dtypes).

    Args:
        arrays: vectors of sizes n0, n1, ...; or one list of them, as PyTorch takes them too.
        indexing: ``"ij"``: results have shape (n0, n1, ...); ``"xy"``: (n1, n0, ...).

    Raises:
        ShapeError: one is not of rank 1. ArgumentError: another indexing.

    >>> wf.meshgrid(wf.arange(2), wf.arange(3), indexing="ij")[0].tolist()
    [[0, 0, 0], [1, 1, 1]]
    """
    from .operands import require_tensors
    from .shape import broadcast_to, reshape  # shape is built upon this module

    vectors: Sequence[Any] = arrays
    if len(arrays) == 1 and isinstance(arrays[0], (tuple, list)):
        vectors = arrays[0]
    require_tensors("meshgrid", *vectors)
    if indexing not in ("xy", "ij"):
        raise ArgumentError(f"meshgrid: indexing is 'xy' or 'ij', not {indexing!r}")
    for x in vectors:
        if len(x.shape) != 1:
            raise ShapeError(f"meshgrid: {tuple(x.shape)} is not the shape of a vector")
        if x.dtype is not vectors[0].dtype:
            raise DTypeError(f"meshgrid: dtypes {vectors[0].dtype.name} and {x.dtype.name} differ")
    order = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        order[:2] = [1, 0]
    shape = tuple(vectors[i].shape[0] for i in order)
    placed = []
    for i, x in enumerate(vectors):
        own = tuple(x.shape[0] if j == i else 1 for j in order)
        placed.append(broadcast_to(reshape(x, own), shape))
    return tuple(placed)

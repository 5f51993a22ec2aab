"""Choosing and writing elements by index: gather, scatter, and ``x[key]`` in full.

A key is taken apart once (:func:`normalize_key`) into a static description (:class:`Subscript`) and the index arrays
in it. Reading is then at most slice -> reshape -> gather -> permute, all of which fuse into one kernel; writing is the
same way back. Out-of-range Python integers raise at once; those within tensors are found by the kernel, which reads
and writes nothing there and reports it.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape, broadcast_shapes, normalize_axis, size_of
from ..graph.protocol import Gather, Primitive, Scatter, TensorType
from .creation import full, iota
from .elementwise import cast, minimum, where
from .op import Array, Composite, apply, composite, public
from .operands import as_operand, require_tensors
from .precision import working
from .subscript import Subscript, basic_name, host_values, normalize_key, sets_sizes
from .views import broadcasted, permuted, reshaped, slice_, slice_update

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor

Params = dict[str, Any]
Gradients = tuple[Any, ...]


# --- gather -----------------------------------------------------------------------------------------------------


def _check_indices(op: str, x: TensorType, indices: Sequence[TensorType]) -> Shape:
    """The indices' common shape."""
    if not 1 <= len(indices) <= len(x.shape):
        raise ShapeError(f"{op}: {len(indices)} indices into a tensor of shape {x.shape}")
    for index in indices:
        if index.dtype is not dt.int64 or index.shape != indices[0].shape:
            raise ShapeError(f"{op}: indices {', '.join(map(repr, indices))} are not int64 of one shape")
    return indices[0].shape


def _gather_type(params: Params, x: TensorType, *indices: TensorType) -> TensorType:
    shape = _check_indices("gather", x, indices)
    return TensorType(x.dtype, shape + x.shape[len(indices) :])


def _gather_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    x, *indices = inputs
    return (_sum_at(tuple(x.shape), indices, g), *(None,) * len(indices))


GATHER = Primitive("gather", _gather_type, Gather(), _gather_vjp)


def _gather(x: Array, indices: Sequence[Array]) -> Array:
    return apply(GATHER, x, *indices)


def _pick_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    """One element was taken of each row: no two cotangents meet, and the gradient is a comparison that fuses."""
    x, *indices = inputs
    shape, axis = tuple(x.shape), params["axis"]
    index = indices[axis]
    wrapped = broadcasted(where(index < 0, index + shape[axis], index), shape)
    return (where(iota(shape, axis) == wrapped, broadcasted(g, shape), 0), *(None,) * len(indices))


# A gather with one index array for every axis, all but ``axis`` counting up, and of size 1 on ``axis``.
PICK = Primitive("pick", _gather_type, Gather(), _pick_vjp)


# --- scatter ----------------------------------------------------------------------------------------------------


def _scatter_type(params: Params, x: TensorType, *operands: TensorType, lead: int = 0) -> TensorType:
    *indices, updates = operands
    written = TensorType(x.dtype, x.shape[lead:])
    shape = (*x.shape[:lead], *_check_indices("scatter", written, indices), *written.shape[len(indices) :])
    if updates != TensorType(x.dtype, shape):
        raise ShapeError(f"scatter: updates {updates} for {TensorType(x.dtype, shape)}")
    return x


def _scatter_add_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array, lead: int = 0) -> Gradients:
    indices = inputs[1:-1]
    return (g, *(None,) * len(indices), _gathered(g, indices, lead))


def _scatter_set_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array, lead: int = 0) -> Gradients:
    """The updates that were overwritten by later ones have no part in the result."""
    *indices, updates = inputs[1:]
    (count,) = indices[0].shape
    numbers = iota((count,), 0)
    places = tuple(inputs[0].shape[lead : lead + len(indices)])
    last = _gather(apply(SCATTER_SET, full(places, -1, dtype=dt.int64), *indices, numbers), indices)
    shape = tuple(updates.shape)
    stayed = broadcasted(reshaped(last == numbers, (count,) + (1,) * (len(shape) - lead - 1)), shape)
    op = SCATTER_SET_WITHIN if lead else SCATTER_SET
    kept = apply(op, g, *indices, full(shape, 0, dtype=g.dtype))
    return (kept, *(None,) * len(indices), where(stayed, _gathered(g, indices, lead), 0))


def _gathered(x: Array, indices: Sequence[Array], lead: int) -> Array:
    """What a scatter with these indices writes to."""
    axes = range(lead, lead + len(indices))
    front = permuted(x, (*axes, *(a for a in range(len(x.shape)) if a not in axes)))
    return _from_front(_gather(front, indices), 1, lead)


def _scatter_max_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    """Those that are as great as the result share the cotangent alike."""
    x, *indices, updates = inputs
    own, theirs = cast(x == output, g.dtype), cast(updates == _gather(output, indices), g.dtype)
    share = g / apply(SCATTER_ADD, own, *indices, theirs)
    return (where(own > 0, share, 0), *(None,) * len(indices), where(theirs > 0, _gather(share, indices), 0))


SCATTER_ADD = Primitive("scatter_add", _scatter_type, Scatter("add"), _scatter_add_vjp)
SCATTER_MAX = Primitive("scatter_max", _scatter_type, Scatter("max"), _scatter_max_vjp)
SCATTER_SET = Primitive("scatter_set", _scatter_type, Scatter("set"), _scatter_set_vjp)
# Behind one axis more: what is written stays where it lies.
_type_within = functools.partial(_scatter_type, lead=1)
SCATTER_ADD_WITHIN = Primitive(
    "scatter_add_within", _type_within, Scatter("add", 1), functools.partial(_scatter_add_vjp, lead=1)
)
SCATTER_SET_WITHIN = Primitive(
    "scatter_set_within", _type_within, Scatter("set", 1), functools.partial(_scatter_set_vjp, lead=1)
)
_WITHIN = {SCATTER_ADD: SCATTER_ADD_WITHIN, SCATTER_SET: SCATTER_SET_WITHIN}


def _scatter(op: Primitive, x: Array, indices: Sequence[Array], updates: Array, lead: int = 0) -> Array:
    """``updates`` (the first ``lead`` axes of x, the indices' shape, the rest of x's) written or added at the indices,
    in their row-major order.

    The primitive gets one axis of each: a walk in order over any others would need them in memory anyway.
    """
    shape, last = tuple(x.shape), lead + len(indices)
    count, rest = size_of(indices[0].shape), shape[last:]
    head = (size_of(shape[:lead]),) if lead else ()
    tail = (size_of(rest),) if rest else ()
    flat = apply(
        _WITHIN[op] if lead else op,
        reshaped(x, (*head, *shape[lead:last], *tail)),
        *(reshaped(i, (count,)) for i in indices),
        reshaped(updates, (*head, count, *tail)),
    )
    return reshaped(flat, shape)


def _accumulate(x: Array, indices: Sequence[Array], updates: Array, lead: int = 0) -> Array:
    """``x`` with ``updates`` added at the indices; 16-bit floats are summed in float32 and rounded once."""
    wide = working(x.dtype)
    if wide is x.dtype:
        return _scatter(SCATTER_ADD, x, indices, updates, lead)
    return cast(_scatter(SCATTER_ADD, cast(x, wide), indices, cast(updates, wide), lead), x.dtype)


def _sum_at(shape: Shape, indices: Sequence[Array], updates: Array) -> Array:
    return _accumulate(full(shape, 0, dtype=updates.dtype), indices, updates)


# --- take and add along an axis ---------------------------------------------------------------------------------


NOWHERE = (1 << 63) - 1  # outside every axis, where a negative index would count from the end


def as_indices(op: str, indices: Array, *, from_the_end: bool = True) -> Array:
    """Indices as int64, of the same meaning: what int64 cannot hold is moved outside every axis, where the kernel
    finds it, and so are negative indices unless they count ``from_the_end``.

    Raises:
        DTypeError: they are no integers.
    """
    require_tensors(op, indices)
    if not indices.dtype.is_integer:
        raise DTypeError(f"{op}: indices are {indices.dtype.name}; they must be integers")
    if indices.dtype is dt.uint64:
        return cast(minimum(indices, NOWHERE), dt.int64)
    wide = cast(indices, dt.int64)
    return wide if from_the_end or indices.dtype.kind == "uint" else where(wide < 0, NOWHERE, wide)


def _to_front(x: Array, axis: int) -> Array:
    return permuted(x, (axis, *(a for a in range(len(x.shape)) if a != axis)))


def _from_front(x: Array, count: int, axis: int) -> Array:
    """The first ``count`` axes moved to position ``axis``."""
    rank = len(x.shape)
    return permuted(x, (*range(count, count + axis), *range(count), *range(count + axis, rank)))


@composite
def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """The slices of ``x`` along ``axis`` that ``indices`` name.

    Args:
        x: any shape and dtype.
        indices: integers of any shape; negative ones count from the end.
        axis: None: ``x`` is flattened first.

    Returns:
        ``x``'s shape with ``axis`` replaced by the shape of ``indices``.

    Raises:
        AxisError: ``axis`` is out of range.
        IndexError_: an index is out of range.

    >>> wf.take(wf.arange(4) * 10, wf.asarray([2, -1])).tolist()
    [20, 30]
    """
    index = as_indices("take", indices)
    if axis is None:
        x, axis = reshaped(x, (size_of(x.shape),)), 0
    at = normalize_axis(axis, len(x.shape), "take")
    return _from_front(_gather(_to_front(x, at), [index]), len(index.shape), at)


@composite(public=False)
def gather(x: Array, indices: Array, /, *, axis: int) -> Array:
    """PyTorch's gather: ``x[indices[i, j], j]`` for axis 0, ``x[i, indices[i, j]]`` for axis 1, and so on.

    Nothing broadcasts: a smaller ``indices`` takes less of ``x``. (:func:`take_along_axis` is NumPy's and broadcasts.)

    Args:
        x: any shape and dtype.
        indices: integers in ``[0, size)`` of ``x``'s rank, on other axes than ``axis`` no larger than it.
        axis: the axis that is indexed.

    Returns:
        The shape of ``indices``, the dtype of ``x``.

    Raises:
        ShapeError: the shapes do not fit.
        IndexError_: an index is out of range; a negative one is.

    >>> from weft.ops.indexing import gather
    >>> gather(wf.asarray([[1, 2], [3, 4]]), wf.asarray([[1]]), axis=1).tolist()
    [[2]]
    """
    index = as_indices("gather", indices, from_the_end=False)
    shape, sizes = tuple(x.shape), tuple(index.shape)
    if len(shape) <= 1 and len(sizes) <= 1:  # a tensor of rank 0 counts as one of rank 1
        at = normalize_axis(axis, 1, "gather")
        return reshaped(take(reshaped(x, (size_of(shape),)), index, axis=at), sizes)
    at = normalize_axis(axis, len(shape), "gather")
    if len(sizes) != len(shape):
        raise ShapeError(f"gather: indices {sizes} into {shape}: the ranks differ")
    for a, (wanted, there) in enumerate(zip(sizes, shape, strict=True)):
        if a != at and not (wanted == there or wanted <= there):
            raise ShapeError(f"gather: indices {sizes} into {shape}: axis {a} is longer than it is there")
    grid = [index if a == at else iota(sizes, a) for a in range(len(shape))]
    if sizes == tuple(1 if a == at else n for a, n in enumerate(shape)):
        return apply(PICK, x, *grid, axis=at)
    return _gather(x, grid)


def _grid_indices(op: str, shape: Shape, index: Array, axis: int) -> tuple[list[Array], Shape, int]:
    """One index array for every axis of a tensor of ``shape``: ``index`` for ``axis``, positions for the others."""
    at = normalize_axis(axis, len(shape), op)
    if len(index.shape) != len(shape):
        raise ShapeError(f"{op}: indices {tuple(index.shape)} into {shape}: the ranks differ")
    wanted = tuple(index.shape[a] if a == at else n for a, n in enumerate(shape))
    common = broadcast_shapes(tuple(index.shape), wanted, op=op)
    if any(common[a] != n for a, n in enumerate(shape) if a != at):
        raise ShapeError(f"{op}: indices {tuple(index.shape)} into {shape}: only axis {at} may be of another size")
    return [broadcasted(index, common) if a == at else iota(common, a) for a in range(len(shape))], common, at


@composite
def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """``x[i, indices[i, j], ...]``: on ``axis`` the position that ``indices`` says, on the others the same.

    Args:
        x: any shape and dtype.
        indices: integers of ``x``'s rank; sizes on other axes than ``axis`` are ``x``'s, or 1.
        axis: the axis that is indexed.

    Raises:
        ShapeError: the shapes do not fit.
        IndexError_: an index is out of range.

    >>> wf.take_along_axis(wf.asarray([[1, 2], [3, 4]]), wf.asarray([[1], [0]]), axis=1).tolist()
    [[2], [3]]
    """
    shape = tuple(x.shape)
    grid, common, at = _grid_indices("take_along_axis", shape, as_indices("take_along_axis", indices), axis)
    if isinstance(common[at], int) and common[at] == 1:
        return apply(PICK, x, *grid, axis=at)
    return _gather(x, grid)


@composite
def scatter_add(x: Array, indices: Array, updates: Array, /, *, axis: int = 0) -> Array:
    """``x`` with ``updates`` added to its slices along ``axis`` that ``indices`` name, in the indices' order.

    The inverse of :func:`take`: an index that occurs several times receives every update. float16 and bfloat16 are
    summed in float32 and rounded once.

    Args:
        x: any shape and dtype.
        indices: integers of any shape; negative ones count from the end.
        updates: ``x``'s shape with ``axis`` replaced by the shape of ``indices``, or a shape that broadcasts to it;
            a dtype that promotes to ``x``'s.

    Raises:
        ShapeError: the shapes do not fit.
        IndexError_: an index is out of range.

    >>> wf.scatter_add(wf.zeros(3), wf.asarray([0, 2, 0]), wf.ones(3)).tolist()
    [2.0, 0.0, 1.0]
    """
    shape = tuple(x.shape)
    at = normalize_axis(axis, len(shape), "scatter_add")
    index = as_indices("scatter_add", indices)
    values = broadcasted(_into("scatter_add", updates, x.dtype), (*shape[:at], *index.shape, *shape[at + 1 :]))
    return _accumulate(x, [index], values, at)


@composite
def index_add(x: Array, dim: int, index: Array, source: Array, /) -> Array:
    """:func:`scatter_add` with PyTorch's order of arguments; ``index`` is of rank 1.

    >>> from weft.ops.indexing import index_add
    >>> index_add(wf.zeros((2, 2)), 0, wf.asarray([1]), wf.ones((1, 2))).tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    return scatter_add(x, index, source, axis=dim)


_KINDS = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def _into(op: str, values: Array, dtype: DType) -> Array:
    """``values`` in ``dtype``: bools may become integers and integers floats, but not the other way."""
    if _KINDS[values.dtype.kind] > _KINDS[dtype.kind]:
        raise DTypeError(f"{op}: {values.dtype.name} values into a tensor of {dtype.name}; cast them first")
    return cast(values, dtype)


# --- reading ----------------------------------------------------------------------------------------------------


def _basic(x: Array, key: Subscript) -> Array:
    return reshaped(slice_(x, key.starts, key.sizes, key.steps), key.shape)


def _indices_of(arrays: Sequence[Array]) -> list[Array]:
    """int64 indices of one shape."""
    shape = broadcast_shapes(*(tuple(a.shape) for a in arrays), op="getitem")
    return [broadcasted(as_indices("getitem", a), shape) for a in arrays]


def _indexed_first(x: Array, key: Subscript) -> Array:
    rest = [a for a in range(len(x.shape)) if a not in key.indexed]
    return permuted(x, (*key.indexed, *rest))


def _read(x: Array, key: Subscript, *arrays: Array) -> Array:
    part = _basic(x, key)
    indices = _indices_of(arrays)
    return _from_front(_gather(_indexed_first(part, key), indices), len(indices[0].shape), key.place)


_getitem = Composite(_read, "getitem")
getitem_basic = Composite(_basic, "getitem", is_view=True)


def basic_key(key: Any) -> bool:
    """Whether a key is of integers, slices, None and Ellipsis alone."""
    return basic_name(key if type(key) is tuple else (key,)) is not None


def basic_subscript(key: Any, shape: Shape) -> Subscript:
    """The subscript of a basic key."""
    return normalize_key(key, shape)[0]


def getitem(x: Array, key: Any) -> Tensor:
    """``x[key]`` as NumPy and the Array API mean it; the result is a value of its own.

    Args:
        x: any shape and dtype.
        key: integers, slices (any step), None, Ellipsis, tensors or lists of integers (which broadcast against each
            other) or bools (masks), or a tuple of these. A mask needs the values, so that it works outside of
            captured functions alone.

    Raises:
        IndexError_: an index is out of range, or there are too many.
        DTypeError: something that is no index, or an array of uint8, which PyTorch takes for a mask and NumPy does not.
        CaptureError: a mask in a captured function.

    >>> x = wf.reshape(wf.arange(6), (2, 3))
    >>> x[1, ::-1].tolist(), x[:, [0, 2]].tolist(), x[x > 3].tolist()
    ([5, 4, 3], [[0, 2], [3, 5]], [4, 5])
    """
    subscript, arrays = normalize_key(key, x.shape)
    return _getitem(x, subscript, *arrays) if arrays else getitem_basic(x, subscript)


# --- writing ----------------------------------------------------------------------------------------------------


def write_at(x: Array, value: Any, key: Subscript, *arrays: Array) -> Array:
    return _written(x, value, key, arrays, functools.partial(_scatter, SCATTER_SET))


def add_at(x: Array, value: Any, key: Subscript, *arrays: Array) -> Array:
    """``x`` with ``value`` added at ``key``, which has index arrays; what it names several times gets every one."""
    return _written(x, value, key, arrays, _accumulate)


def _written(x: Array, value: Any, key: Subscript, arrays: tuple[Array, ...], scatter: Callable[..., Array]) -> Array:
    value = _as_value(value, x.dtype)
    part = _basic(x, key)
    if arrays:
        indices = _indices_of(arrays)
        result_shape = _result_shape(key, tuple(indices[0].shape))
        values = _spread_value(value, result_shape)
        if tuple(key.indexed) == tuple(range(key.place, key.place + len(indices))):
            part = scatter(part, indices, values, key.place)
            return slice_update(x, reshaped(part, key.sizes), key.starts, key.steps)
        count = len(indices[0].shape)
        order = (*range(key.place, key.place + count), *range(key.place), *range(key.place + count, len(result_shape)))
        front = _indexed_first(part, key)
        written = scatter(front, indices, permuted(values, order))
        axes = (*key.indexed, *(a for a in range(len(key.shape)) if a not in key.indexed))
        part = permuted(written, tuple(axes.index(a) for a in range(len(axes))))
    else:
        part = _spread_value(value, key.shape)
    return slice_update(x, reshaped(part, key.sizes), key.starts, key.steps)


def write_value(x: Array, value: Any) -> Array:
    """``x[...] = value``."""
    return _spread_value(_as_value(value, x.dtype), tuple(x.shape))


def write_where(x: Array, mask: Array, value: Any) -> Array:
    shape = tuple(x.shape)
    wide = reshaped(mask, tuple(mask.shape) + (1,) * (len(shape) - len(mask.shape)))
    return where(broadcasted(wide, shape), _spread_value(_as_value(value, x.dtype), shape), x)


def _as_value(value: Any, dtype: DType) -> Array:
    if hasattr(value, "dtype"):
        return _into("setitem", value, dtype)
    if isinstance(value, float) and not dtype.is_floating:
        raise DTypeError(f"setitem: {value} into a tensor of {dtype.name}; cast the tensor first")
    return as_operand("setitem", value, dtype)


def _spread_value(value: Array, shape: Shape) -> Array:
    extra = len(value.shape) - len(shape)
    if extra > 0 and all(n == 1 for n in value.shape[:extra]):
        value = reshaped(value, tuple(value.shape[extra:]))
    try:
        return broadcasted(value, shape)
    except ShapeError:
        raise ShapeError(f"setitem: a value of shape {tuple(value.shape)} for a place of shape {shape}") from None


def _result_shape(key: Subscript, indices: Shape) -> Shape:
    rest = tuple(n for a, n in enumerate(key.shape) if a not in key.indexed)
    return (*rest[: key.place], *indices, *rest[key.place :])


_setitem = Composite(write_at, "setitem")


def with_items(x: Array, key: Any, value: Array) -> Array:
    """``x`` with ``value`` (broadcast) in the place of ``x[key]``, as a new tensor of ``x``'s dtype; no masks."""
    subscript, arrays = normalize_key(key, x.shape)
    return _setitem(x, value, subscript, *arrays)


@composite(public=False)
def masked_fill(input: Array, mask: Array, value: Any) -> Array:
    """``value`` where ``mask`` is True, else the element; the dtype stays.

    Args:
        input: any shape and dtype.
        mask: bool; a shape that broadcasts with the input's.
        value: a number, converted to the input's dtype, or a tensor of rank 0.

    Raises:
        DTypeError: ``mask`` is not bool, or the number is out of the dtype's range.
        ShapeError: the shapes do not broadcast, or ``value`` is a tensor of rank 1 or more.

    Example:
        >>> wf.asarray([1.0, 2.0]).masked_fill(wf.asarray([True, False]), 0)
        Tensor([0., 2.], dtype=float32)
    """
    require_tensors("masked_fill", input, mask)
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_fill: the mask is {mask.dtype.name}, not bool; compare it, as in x != 0")
    if hasattr(value, "dtype"):
        if value.ndim:
            raise ShapeError(f"masked_fill: the value has shape {value.shape}; it must be a number or of rank 0")
        value = cast(value, input.dtype)
    else:
        value = as_operand("masked_fill", number_for("masked_fill", value, input.dtype), input.dtype)
    return where(mask, value, input)


_LARGEST = {dt.float16: 65504.0, dt.bfloat16: 3.3895313892515355e38, dt.float32: 3.4028234663852886e38}
_LARGEST[dt.float64] = sys.float_info.max


def largest(dtype: DType) -> float:
    """The greatest number of a floating-point dtype."""
    return _LARGEST[dtype]


def number_for(op: str, value: Any, dtype: DType) -> Any:
    """A number as PyTorch's ``masked_fill`` and the like convert it: truncated for integers, modulo 2^bits below zero
    of unsigned ones; an error out of range."""
    if not isinstance(value, (bool, int, float)):
        raise DTypeError(f"{op}: the value is {type(value).__name__}; it must be a number or of rank 0")
    if dtype.kind == "bool":
        return bool(value)
    if dtype.is_floating:
        if abs(value) > _LARGEST[dtype] and abs(value) != math.inf:
            raise DTypeError(f"{op}: {value} does not fit in {dtype.name}")
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise DTypeError(f"{op}: {value} does not fit in {dtype.name}")
    whole, top = int(value), (1 << dtype.bits - dtype.is_signed) - 1
    if not -top - dtype.is_signed <= whole <= top:
        raise DTypeError(f"{op}: {value} does not fit in {dtype.name}")
    return whole if dtype.is_signed else whole % (top + 1)


@public
def nonzero(x: Array, /) -> tuple[Array, ...]:
    """The positions of the elements that are not 0: for each axis a vector of int64, in row-major order.

    The shape depends on the values: they are looked at on the host; in a compiled function it is a size that a kernel
    sets, at most the number of elements.

    Raises:
        ShapeError: ``x`` has rank 0.
        CaptureError: in a function that is captured for a file or a library.

    >>> [axis.tolist() for axis in wf.nonzero(wf.eye(2))]
    [[0, 1], [0, 1]]
    """
    if not x.shape:
        raise ShapeError("nonzero: a tensor of rank 0 has no axes to count positions on")
    if sets_sizes(x):
        from .counted import true_positions

        return true_positions(x != 0)
    return tuple(_from_host(positions, device=x.device) for positions in host_values(x, "nonzero").nonzero())


_from_host = Composite(lambda positions, *, device=None: positions, "nonzero")

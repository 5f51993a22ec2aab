"""Pooling: the greatest element of windows, and their mean.

A window is never materialised: its axes are views of the operand, over which a reduction reads it where it lies, and
what a padded operand has around it is not read (``PADDED``). Gradients are written as windows too: an element gets the
cotangents of the windows it is in, which lie side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from math import prod
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, shown
from ..core.symbolic import greatest, undecided
from ..graph.ir import Node, Value, make_node
from ..graph.protocol import Composed, Primitive, TensorType
from .creation import full, iota
from .elementwise import cast, equal, greater_equal, logical_and, maximum, minimum, where
from .indexing import _sum_at
from .op import Array, apply, composite
from .operands import one_each, require_tensors
from .precision import widen, working
from .reduction import ARGMAX, MAX, SUM
from .shape import broadcast_to
from .sliding_windows import emitted, pad, windows_of
from .views import Gradients, Params, reshaped, slice_, slice_update

Ints = tuple[int, ...]

# --- primitives -------------------------------------------------------------------------------------------------


def _lowest(dtype: DType) -> float | int:
    if dtype.is_floating:
        return float("-inf")
    return 0 if dtype.kind == "uint" else -(1 << (dtype.bits - 1))


def _pool_type(params: Params, x: TensorType) -> TensorType:
    size, step, dilation, before, after = (params[k] for k in ("size", "step", "dilation", "before", "after"))
    rank = len(size)
    lead = len(x.shape) - rank
    spans = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    room = [b + n + a - span for b, n, a, span in zip(before, x.shape[lead:], after, spans, strict=True)]
    short = any(not undecided(n) and n < 0 for n in room)
    if lead < 0 or short or min((*size, *step, *dilation), default=1) < 1 or min((*before, *after), default=0) < 0:
        raise ShapeError(f"windows of {size} elements, every {step}, of a tensor of shape {x.shape}")
    return TensorType(x.dtype, (*x.shape[:lead], *(n // s + 1 for n, s in zip(room, step, strict=True))))


def _reduced(op: Primitive, node: Node) -> Value:
    """The reduction of the windows, as nodes."""
    x, params = node.inputs[0], node.params
    axes = tuple(range(len(x.shape) - len(params["size"]), len(x.shape)))
    x = pad(emitted, x, params["before"], params["after"], _lowest(x.dtype) if op is MAX else 0)
    windows = windows_of(emitted, x, params["size"], params["step"], params["dilation"])
    return make_node(op, (windows,), {"axes": axes}, node.where, node.scope).output


def _max_pool_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    (x,) = inputs
    taps = _taps(x, params)
    if max(params["dilation"]) == 1:
        return (_spread(g, tuple(x.shape), params, cast(taps, dt.int32)),)
    shape, rank = tuple(x.shape), len(params["size"])
    plane = prod(shape[len(shape) - rank :])
    lead = g.shape[: len(shape) - rank]
    first = reshaped(iota((prod(lead),), 0) * plane, (*lead, *(1,) * rank))
    places, sizes = _places(taps, shape, params), shape[len(shape) - rank :]
    for axis, (d, b, n) in enumerate(zip(params["dilation"], params["before"], sizes, strict=True)):
        if b and (not isinstance(n, int) or n < d):  # a window may have none of its elements in the operand
            g = where(places[axis] < n, g, 0)
            places[axis] = minimum(places[axis], n - 1)
    place = flattened(places, sizes)
    flat = reshaped(place + first, (prod(taps.shape),))
    return (reshaped(_sum_at((prod(shape),), [flat], reshaped(g, (prod(g.shape),))), shape),)


def _sum_pool_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    shape, size, step, dilation = tuple(inputs[0].shape), params["size"], params["step"], params["dilation"]
    if max(dilation) == 1:
        return (_spread(g, shape, params, None),)
    # Element i * step + k * dilation is in window i: the windows, turned round, of cotangents ``step`` apart.
    lead = len(shape) - len(size)
    around = tuple(d * (k - 1) for k, d in zip(size, dilation, strict=True))
    outer = tuple((n - 1) * s + 1 + 2 * a for n, s, a in zip(g.shape[lead:], step, around, strict=True))
    zeros = full((*shape[:lead], *outer), 0, dtype=g.dtype)
    apart = slice_update(zeros, g, (*(0,) * lead, *around), (*(1,) * lead, *step))
    none, one = (0,) * len(size), (1,) * len(size)
    found: Array = apply(SUM_POOL, apart, size=size, step=one, dilation=dilation, before=none, after=none)
    extents = (b + n + a for b, n, a in zip(params["before"], shape[lead:], params["after"], strict=True))
    rest = tuple(n - m for n, m in zip(extents, found.shape[lead:], strict=True))  # in no window
    return (slice_(pad(apply, found, none, rest, 0), (*(0,) * lead, *params["before"]), shape),)


MAX_POOL = Primitive("max_pool", _pool_type, Composed(partial(_reduced, MAX)), _max_pool_vjp)
SUM_POOL = Primitive("sum_pool", _pool_type, Composed(partial(_reduced, SUM)), _sum_pool_vjp)

# --- where the greatest elements are, and what gets their cotangents ----------------------------------------------


def _taps(x: Array, params: Params) -> Array:
    """The number of each window's greatest element in it: the first one; of NaNs the first."""
    size, before = params["size"], params["before"]
    lead = x.ndim - len(size)
    padded = pad(apply, x, before, params["after"], _lowest(x.dtype))
    windows = windows_of(apply, padded, size, params["step"], params["dilation"])
    taps: Array = apply(ARGMAX, windows, axes=tuple(range(lead, x.ndim)))
    first: Array | int = 0  # that lies in x: what is before it is nowhere greater, but may be equal
    for axis, (k, s, d, b) in enumerate(zip(size, params["step"], params["dilation"], before, strict=True), lead):
        first = first * k
        if b:
            missing = maximum(b - iota(tuple(taps.shape), axis) * s, 0)
            first = first + (missing if d == 1 else (missing + (d - 1)) // d)
    return taps if isinstance(first, int) else maximum(taps, first)


def _places(taps: Array, shape: Shape, params: Params) -> list[Array]:
    """Positions on each of the last axes of ``shape``, of numbers in windows; of a window of padding alone, behind
    them."""
    size, left, rank = params["size"], taps, len(params["size"])
    lead = len(shape) - rank
    found = []
    for axis, (k, s, d, b) in enumerate(zip(size, params["step"], params["dilation"], params["before"], strict=True)):
        inner = prod(size[axis + 1 :])
        index = _quotient(left, inner, k)
        left = left - index * inner
        found.append(index * d + iota(tuple(left.shape), lead + axis) * s - b)
    return found


def flattened(places: Sequence[Array], shape: Shape) -> Array:
    """Positions in the flattened axes of ``shape``, of positions on each."""
    return reduce(lambda found, axis: found * shape[axis] + places[axis], range(1, len(places)), places[0])


def _quotient(x: Array, divisor: int, most: int) -> Array:
    """``x // divisor``, which is less than ``most``."""
    if divisor == 1:
        return x
    if most > 16:
        return x // divisor
    total: Array = cast(greater_equal(x, divisor), dt.int64) if most > 1 else x * 0
    for k in range(2, most):  # comparisons: a division takes as long as 20 of them
        total = total + cast(greater_equal(x, k * divisor), dt.int64)
    return total


def _spread(g: Array, shape: Shape, params: Params, taps: Array | None) -> Array:
    """The sum, for each element of an operand of ``shape``, of the cotangents of the windows it is in; of those alone
    whose greatest element it is, where ``taps`` says (in int32) which that is.

    Element ``q * step + r`` is number ``j * step + r`` of window ``q - j``: these are windows of cotangents.
    """
    size, step, before = params["size"], params["step"], params["before"]
    rank, rest = len(size), shape[: len(shape) - len(size)]
    lead = len(rest)
    extents = [b + n + a for b, n, a in zip(before, shape[lead:], params["after"], strict=True)]
    blocks = tuple(-(-n // s) for n, s in zip(extents, step, strict=True))
    reach = tuple(-(-k // s) for k, s in zip(size, step, strict=True))
    ahead, behind = tuple(j - 1 for j in reach), tuple(q - n for q, n in zip(blocks, g.shape[lead:], strict=True))
    whole = (*rest, *reach, *(n for pair in zip(blocks, step, strict=True) for n in pair))

    def seen(v: Array) -> Array:
        windows = windows_of(apply, pad(apply, v, ahead, behind, 0), reach, (1,) * rank, (1,) * rank)
        windows = reshaped(windows, (*rest, *reach, *(n for q in blocks for n in (q, 1))))
        return broadcast_to(windows, whole)

    value = seen(cast(g, working(g.dtype)))
    conditions = []
    own: Any = 0
    for axis, (k, s, j) in enumerate(zip(size, step, reach, strict=True)):
        place = iota(whole, lead + rank + 2 * axis + 1, dt.int32)
        tap = place if j == 1 else (j - 1 - iota(whole, lead + axis, dt.int32)) * s + place
        own = own * k + tap
        if k != j * s:
            conditions.append(tap < k)
    if taps is not None:
        conditions.append(equal(seen(taps), own))
    if conditions:
        value = where(reduce(logical_and, conditions), value, 0)
    value = apply(SUM, value, axes=tuple(range(lead, lead + rank)))
    value = reshaped(cast(value, g.dtype), (*rest, *(q * s for q, s in zip(blocks, step, strict=True))))
    return slice_(value, (*(0,) * lead, *before), shape)


# --- public functions -------------------------------------------------------------------------------------------


def _pool_params(
    op: str,
    x: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    ceil: bool,
) -> Params:
    """The parameters of a primitive: PyTorch's rules for the number of windows."""
    require_tensors(op, x)
    if x.ndim not in (rank + 1, rank + 2):
        raise ShapeError(
            f"{op}: wants an input of {rank + 1} or {rank + 2} axes, the last {rank} of which it pools; shape {x.shape}"
        )
    size = one_each(op, "kernel_size", kernel_size, rank, 1)
    step = size if stride is None else one_each(op, "stride", stride, rank, 1)
    before, spread = one_each(op, "padding", padding, rank, 0), one_each(op, "dilation", dilation, rank, 1)
    for k, p in zip(size, before, strict=True):
        if p > k // 2:  # whatever the dilation
            raise ArgumentError(f"{op}: padding {shown(p)} is more than half of kernel_size {shown(k)}")
    return pool_params(op, x, size, step, spread, before, before, ceil)


def pool_params(
    op: str, x: Array, size: Ints, step: Ints, dilation: Ints, before: Sequence[Any], end: Sequence[Any], ceil: bool
) -> Params:
    """The parameters of a primitive, for ``before`` and ``end`` elements around each of the last axes; with ``ceil``
    also the last windows that do not fit, if they begin within the input or the padding before it."""
    after, lead = [], x.ndim - len(size)
    for axis, (k, s, d, b, e) in enumerate(zip(size, step, dilation, before, end, strict=True), lead):
        reach, n = d * (k - 1) + 1, x.shape[axis]
        count = (n + b + e - reach + (s - 1 if ceil else 0)) // s + 1
        if ceil and s > 1 and (count - 1) * s >= n + b:
            count -= 1
        if not undecided(count) and count < 1:
            around = shown(b) if b == e else f"{shown(b)} and {shown(e)}"
            raise ShapeError(
                f"{op}: axis {axis} of shape {x.shape} has {n} elements and {around} around it, fewer than a window: "
                f"{shown(reach)}"
            )
        after.append(greatest((count - 1) * s + reach - n - b, 0))
    return {"size": size, "step": step, "dilation": dilation, "before": tuple(before), "after": tuple(after)}


def _max_pool(
    op: str,
    x: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    dilation: int | Sequence[int],
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    params = _pool_params(op, x, rank, kernel_size, stride, padding, dilation, ceil_mode)
    value, axes = max_pooled(op, x, params, return_indices)
    return (value, flattened(axes, tuple(x.shape[x.ndim - rank :]))) if return_indices else value


def max_pooled(op: str, x: Array, params: Params, indices: bool) -> tuple[Array, list[Array]]:
    """The greatest element of each window and, with ``indices``, its position on each axis."""
    if x.dtype is dt.bool_:
        raise DTypeError(f"{op}: bool operands: wants numbers; cast with astype")
    wide = cast(x, working(x.dtype))
    value = cast(apply(MAX_POOL, wide, **params), x.dtype)
    return value, _places(_taps(wide, params), tuple(x.shape), params) if indices else []


def _avg_pool(
    op: str,
    x: Array,
    rank: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None,
    padding: int | Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Array:
    params = _pool_params(op, x, rank, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise ArgumentError(f"{op}: divisor_override is 0")
    around = tuple((p if count_include_pad else 0,) * 2 for p in params["before"])
    return average_pooled(op, x, params, around, divisor_override)


def average_pooled(
    op: str, x: Array, params: Params, around: Sequence[tuple[Any, Any]], divisor: int | None = None
) -> Array:
    """The sum of each window by the number of its elements, or by the divisor. Of what is ``around`` each axis, so much
    before and after it counts. Of a window in which nothing counts it is 0."""
    (wide,) = widen(op, x)
    total: Array = apply(SUM_POOL, wide, **params)
    counts = None if divisor is not None else _counts(params, x, total, around)
    if counts is None:
        total = total / (prod(params["size"]) if divisor is None else divisor)
    else:
        total = total / cast(counts, wide.dtype)
    return cast(total, x.dtype)


def _counts(params: Params, x: Array, windows: Array, around: Sequence[tuple[Any, Any]]) -> Array | None:
    """The number of elements of each window that count (see :func:`average_pooled`); None: all."""
    lead = x.ndim - len(params["size"])
    shape = (*(1,) * lead, *windows.shape[lead:])  # they are those of every batch and channel
    counts: list[Array] = []
    whole = 1
    for axis, (k, s, d, b, (ahead, behind)) in enumerate(
        zip(params["size"], params["step"], params["dilation"], params["before"], around, strict=True), lead
    ):
        end = x.shape[axis] + behind
        if b > ahead or (shape[axis] - 1) * s - b + d * (k - 1) + 1 > end:
            start = iota(shape, axis) * s - b
            counts.append(_count(start, k, d, -ahead if b > ahead else None, end))
        else:
            whole *= k
    total: Array | None = None
    for count in counts:
        total = (whole if total is None else total) * count
    return total if max(params["dilation"], default=1) == 1 or total is None else maximum(total, 1)


def _count(start: Array, size: int, dilation: int, first: Any, end: Any) -> Array:
    """How many of ``start + dilation * k`` for k < size lie in ``first <= ... < end``; None: all are behind it."""
    if dilation == 1:
        return minimum(start + size, end) - (start if first is None else maximum(start, first))

    def below(bound: Any) -> Array:
        return minimum(maximum((bound - start + (dilation - 1)) // dilation, 0), size)

    return below(end) if first is None else below(end) - below(first)


@composite
def max_pool1d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of the last axis. Arguments, result and errors as for :func:`max_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_pool1d(wf.asarray([[1.0, 3.0, 2.0, 0.0]]), 2)
        Tensor([[3., 2.]], dtype=float32)
    """
    return _max_pool("max_pool1d", input, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite
def max_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of the last two axes; NaN where there is one. The gradient goes to the first
    of equal elements (of several NaNs, to the first; PyTorch's goes to the last).

    Args:
        input: shape (N, C, H, W) or (C, H, W); any dtype but bool.
        kernel_size: of a window, on each axis or on both.
        stride: from one window to the next; None means ``kernel_size``.
        padding: elements around the input, at most half of ``kernel_size``; they are less than any other.
        dilation: from one element of a window to the next.
        ceil_mode: also the last windows that do not fit, if they begin within the input.
        return_indices: also give the positions of the greatest elements.

    Returns:
        A tensor of the same dtype; with ``return_indices`` also one of dtype int64, positions in the flattened last
        axes of ``input``. A dilated window of padding alone gives -inf (the least integer), as PyTorch's; its position,
        which is PyTorch's too, is none of the window's, and its cotangent goes nowhere.

    Raises:
        ShapeError: another number of axes, or fewer elements than a window has.
        ArgumentError: a size, stride or dilation is below 1, or the padding more than half of ``kernel_size``.
        DTypeError: ``input`` is of bools.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_pool2d(wf.asarray([[[1.0, 2.0, 5.0], [4.0, 3.0, 0.0]]]), 2, stride=1)
        Tensor([[[4., 5.]]], dtype=float32)
    """
    return _max_pool("max_pool2d", input, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite
def max_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The greatest element of each window of the last three axes. Arguments, result and errors as for
    :func:`max_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.max_pool3d(wf.arange(8.0).reshape(1, 2, 2, 2), 2)
        Tensor([[[[7.]]]], dtype=float32)
    """
    return _max_pool("max_pool3d", input, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite
def avg_pool1d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window of the last axis. Arguments, result and errors as for :func:`avg_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.avg_pool1d(wf.asarray([[1.0, 3.0, 2.0, 0.0]]), 2)
        Tensor([[2., 1.]], dtype=float32)
    """
    return _avg_pool("avg_pool1d", input, 1, kernel_size, stride, padding, ceil_mode, count_include_pad)


@composite
def avg_pool2d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window of the last two axes.

    Args:
        input: shape (N, C, H, W) or (C, H, W); a floating dtype.
        kernel_size: of a window, on each axis or on both.
        stride: from one window to the next; None means ``kernel_size``.
        padding: zeros around the input, at most half of ``kernel_size``.
        ceil_mode: also the last windows that do not fit, if they begin within the input.
        count_include_pad: whether the padding counts as elements; what ``ceil_mode`` adds beyond it never does.
        divisor_override: divide the sum of a window by this instead.

    Raises:
        ShapeError: another number of axes, or fewer elements than a window has.
        ArgumentError: a size or stride is below 1, the padding more than half of ``kernel_size``, or the divisor
            is 0.
        DTypeError: ``input`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.avg_pool2d(wf.asarray([[[1.0, 2.0, 5.0], [4.0, 3.0, 0.0]]]), 2, stride=1)
        Tensor([[[2.5, 2.5]]], dtype=float32)
    """
    return _avg_pool(
        "avg_pool2d", input, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@composite
def avg_pool3d(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """The mean of each window of the last three axes. Arguments, result and errors as for :func:`avg_pool2d`.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.avg_pool3d(wf.arange(8.0).reshape(1, 2, 2, 2), 2)
        Tensor([[[[3.5]]]], dtype=float32)
    """
    return _avg_pool(
        "avg_pool3d", input, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )

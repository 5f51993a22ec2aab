"""The primitives under convolutions, and what they become where they run.

``CONVOLVE`` is a contraction over the channels of a group and the kernel, in the order of the weight's axes; the other
operand is the padded input through a window (a stride for each axis of the kernel and of the result), so a sum has the
bits of the contraction of unfolded windows (docs/numerics.md). With ``CONVOLVE_WEIGHT``, the gradient of the weight,
the gradients of both are made of the two again:

- of the input: a transposed convolution (:func:`transposed`). The positions of its result that leave one rest by the
  stride meet the same elements of the kernel, and are a convolution of the cotangent with these, turned round;
- of the weight: a contraction over the batch and the positions of the result.

Both run as contractions whose windows, and whose padding, nobody writes down: what windows leave is said by
:class:`weft.graph.protocol.Around`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import Dim, greatest, undecided
from ..graph.protocol import Around, Contract, Layout, Primitive, Product, TensorType
from .contraction import narrowed
from .creation import full
from .interleave import INTERLEAVE, MOST
from .op import Array, apply
from .views import Gradients, Params, flipped, permuted, reshaped, slice_, slice_update

# --- shapes -----------------------------------------------------------------------------------------------------
# Axes are in PyTorch's order: the input's (N, C, *S), the weight's (O, C / groups, *K), the result's (N, O, *out).


def positions(size: Dim, kernel: Dim, stride: int, dilation: int) -> Dim:
    """Number of the windows along an axis."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def _results(params: Params, x: Shape, kernel: Shape) -> Shape:
    """The spatial sizes of the result; raises where a window does not fit."""
    sizes = []
    around = zip(params["before"], x[2:], params["after"], strict=True)
    wide = tuple(before + n + after for before, n, after in around)
    for n, k, stride, dilation in zip(wide, kernel, params["stride"], params["dilation"], strict=True):
        if not any(map(undecided, (n, k))) and not 0 < dilation * (k - 1) + 1 <= n:
            raise ShapeError(f"convolve: a kernel of shape {kernel} and dilation {params['dilation']} over {wide}")
        sizes.append(positions(n, k, stride, dilation))
    return tuple(sizes)


def _are_steps(params: Params, rank: int) -> bool:
    """Whether there is a number of each kind for each spatial axis."""
    each = [params[name] for name in ("stride", "dilation", "before", "after")]
    steps, widths = (*each[0], *each[1]), (*each[2], *each[3])
    return (
        rank > 2
        and all(len(numbers) == rank - 2 for numbers in each)
        and params["groups"] > 0
        and all(n > 0 for n in steps)
        and all(undecided(n) or n >= 0 for n in widths)
    )


def _convolve_type(params: Params, x: TensorType, w: TensorType) -> TensorType:
    groups = params["groups"]
    fits = (
        len(x.shape) == len(w.shape)
        and _are_steps(params, len(x.shape))
        and x.shape[1] == w.shape[1] * groups
        and w.shape[0] % groups == 0
    )
    if not fits:
        raise ShapeError(f"convolve: {x.shape} with {w.shape} in {groups} groups")
    return TensorType(_dtype_of(params, x, w), (x.shape[0], w.shape[0], *_results(params, x.shape, w.shape[2:])))


def _dtype_of(params: Params, x: TensorType, y: TensorType) -> Any:
    """The result's dtype: the operands', or float32, in which those of 16 bits are added up."""
    dtype = params["dtype"]
    known = dtype is x.dtype or (x.dtype.is_half and dtype is dt.float32)
    if x.dtype is not y.dtype or x.dtype.kind == "bool" or not known:
        raise DTypeError(f"convolve: {x.dtype.name} with {y.dtype.name} as {dtype.name}")
    return dtype


def _weight_type(params: Params, x: TensorType, g: TensorType) -> TensorType:
    groups, kernel = params["groups"], params["kernel"]
    fits = (
        len(x.shape) == len(g.shape) == len(kernel) + 2
        and _are_steps(params, len(x.shape))
        and x.shape[0] == g.shape[0]
        and x.shape[1] % groups == 0
        and g.shape[1] % groups == 0
        and _results(params, x.shape, kernel) == g.shape[2:]
    )
    if not fits:
        raise ShapeError(f"convolve_weight: {x.shape} with {g.shape} in {groups} groups, kernel {kernel}")
    return TensorType(_dtype_of(params, x, g), (g.shape[1], x.shape[1] // groups, *kernel))


# --- contractions -----------------------------------------------------------------------------------------------


class _Windows(NamedTuple):
    """How a step of the kernel, and of the result, moves in the input: layouts over the spatial axes. ``offset``: of
    the first element of the first window. ``around``: of each axis with padding its number, size and first index."""

    kernel: Layout
    results: Layout
    offset: Any
    around: tuple[tuple[int, Any, Any], ...]


def _windows(params: Params, x: Layout, kernel: Sequence[int], results: Sequence[int]) -> _Windows:
    def moved(sizes: Sequence[int], steps: Sequence[int]) -> Layout:
        # Nobody steps along an axis of size 1, where a step may be any number.
        strides = (t * s if n != 1 else 0 for n, t, s in zip(sizes, steps, x.strides[2:], strict=True))
        return Layout(tuple(sizes), 0, tuple(strides))

    offset, around = x.offset, []
    for axis, (before, after) in enumerate(zip(params["before"], params["after"], strict=True)):
        offset -= before * x.strides[2 + axis]
        if undecided(before) or undecided(after) or before > 0 or after > 0:
            around.append((axis, x.shape[2 + axis], -before))
    return _Windows(moved(kernel, params["dilation"]), moved(results, params["stride"]), offset, tuple(around))


def _grouped(layout: Layout, axis: int, groups: int) -> Layout:
    """An axis as two: (groups, rest)."""
    size, stride = layout.shape[axis] // groups, layout.strides[axis]
    shape, strides = list(layout.shape), list(layout.strides)
    shape[axis : axis + 1], strides[axis : axis + 1] = [groups, size], [size * stride, stride]
    return Layout(tuple(shape), layout.offset, tuple(strides))


def _joined(offset: int, *parts: tuple[Sequence[int], Sequence[int]]) -> Layout:
    """Axes, given as (sizes, strides), as one layout."""
    shape, strides = ([n for part in parts for n in part[which]] for which in (0, 1))
    return Layout(tuple(shape), offset, tuple(strides))


def _convolve_product(params: Params, x: Layout, w: Layout) -> Product:
    """Batch (N, groups), rows O / groups, summed (C / groups, *K), columns the positions of the result."""
    results = _results(params, x.shape, w.shape[2:])
    windows = _windows(params, x, w.shape[2:], results)  # type: ignore[arg-type]
    x, w = _grouped(x, 1, params["groups"]), _grouped(w, 0, params["groups"])
    a = _joined(w.offset, (x.shape[:1], (0,)), (w.shape, w.strides))
    b = _joined(windows.offset, (x.shape[:3], x.strides[:3]), windows.kernel[::2], windows.results[::2])
    around = tuple(
        Around(size, start, (3 + axis, params["dilation"][axis]), (3 + len(results) + axis, params["stride"][axis]))
        for axis, size, start in windows.around
    )
    return Product(a, b, 2, 1 + len(results), swapped=True, around=around)


def _weight_product(params: Params, x: Layout, g: Layout) -> Product:
    """Batch (groups,), rows O / groups, summed (N, *out), columns (C / groups, *K)."""
    windows = _windows(params, x, params["kernel"], g.shape[2:])
    x, g = _grouped(x, 1, params["groups"]), _grouped(g, 1, params["groups"])
    a = _joined(g.offset, *((g.shape[at], g.strides[at]) for at in (slice(1, 3), slice(1), slice(3, None))))
    b = _joined(
        windows.offset,
        (x.shape[1:2], x.strides[1:2]),
        (x.shape[:1], x.strides[:1]),
        windows.results[::2],
        (x.shape[2:3], x.strides[2:3]),
        windows.kernel[::2],
    )
    rank = len(params["kernel"])
    around = tuple(
        Around(size, start, (2 + axis, params["stride"][axis]), (3 + rank + axis, params["dilation"][axis]))
        for axis, size, start in windows.around
    )
    return Product(a, b, 1, 1 + rank, swapped=True, around=around)


# --- primitives -------------------------------------------------------------------------------------------------


def _convolve_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    x, w = inputs
    g = narrowed(g, x.dtype)  # where sums of 16-bit operands are handed on as float32
    own = {**params, "dtype": x.dtype}
    return _input_of(own, g, w, tuple(x.shape)), apply(CONVOLVE_WEIGHT, x, g, **own, kernel=tuple(w.shape[2:]))


def _weight_vjp(params: Params, inputs: tuple[Array, ...], output: Array, cotangent: Array) -> Gradients:
    x, g = inputs
    forward = {name: value for name, value in params.items() if name != "kernel"}
    return _input_of(forward, g, cotangent, tuple(x.shape)), apply(CONVOLVE, x, cotangent, **forward)


def _input_of(params: Params, g: Array, w: Array, shape: Shape) -> Array:
    """The gradient of a convolution's input of the given shape: each element of ``g`` times the weight, added up."""
    stride, dilation, groups = params["stride"], params["dilation"], params["groups"]
    return transposed(g, w, stride, params["before"], shape[2:], dilation, groups, params["dtype"])


CONVOLVE = Primitive("convolve", _convolve_type, Contract(_convolve_product), _convolve_vjp)
CONVOLVE_WEIGHT = Primitive("convolve_weight", _weight_type, Contract(_weight_product), _weight_vjp)


# --- transposed -------------------------------------------------------------------------------------------------


class _Rest(NamedTuple):
    """The positions of a transposed convolution's result, on one axis, that leave one rest by the stride: those of the
    uncropped result from ``block * stride + rest`` on, ``stride`` apart."""

    at: Dim  # of the first, in the result
    first: int  # element of the kernel that they meet, and how many more, so far apart
    taps: int
    step: int
    dilation: int  # of the convolution that computes them
    around: tuple[Dim, Dim]  # elements of the input before and after, where negative fewer


def _rests(n: Dim, kernel: int, stride: int, dilation: int, padding: Dim, result: Dim) -> list[_Rest]:
    """Of an axis of ``n`` elements. Rests that no element of the kernel meets are left out."""
    common = gcd(stride, dilation)
    step, found = stride // common, []
    for first in range(min(step, kernel)):  # element k is at rest k * dilation % stride
        moved, rest = divmod(first * dilation, stride)
        taps = (kernel - 1 - first) // step + 1
        start = (padding - rest + stride - 1) // stride
        more = (padding + result - n * stride - rest + stride - 1) // stride  # blocks than elements
        count = n + more - start
        if undecided(count) or count > 0:
            reach = moved + (taps - 1) * (dilation // common)
            at = start * stride + rest - padding
            found.append(_Rest(at, first, taps, step, dilation // common, (reach - start, more - moved)))
    return found


def _turned(w: Array, rests: Sequence[_Rest], groups: int) -> Array:
    """The weight of the convolution that computes some rests: ``(in, out / groups, *K)`` becomes ``(out, in / groups,
    *taps)``, turned round."""
    rank = len(rests)
    sizes = (*w.shape[:2], *(rest.taps for rest in rests))
    w = slice_(w, (0, 0, *(rest.first for rest in rests)), sizes, (1, 1, *(rest.step for rest in rests)))
    apart = reshaped(w, (groups, sizes[0] // groups, *sizes[1:]))
    turned = flipped(permuted(apart, (0, 2, 1, *range(3, 3 + rank))), range(3, 3 + rank))
    return reshaped(turned, (groups * sizes[1], sizes[0] // groups, *sizes[2:]))


def transposed(
    x: Array,
    w: Array,
    stride: tuple[int, ...],
    padding: tuple[Dim, ...],
    results: Shape,
    dilation: tuple[int, ...],
    groups: int,
    dtype: DType,
) -> Array:
    """A transposed convolution, whose result has the spatial sizes ``results``: without the first ``padding``
    positions, and zeros where it ends before; within a trace alone."""
    rank, lead = len(stride), (x.shape[0], groups * w.shape[1])
    each = [
        _rests(n, k, s, d, p, m)
        for n, k, s, d, p, m in zip(x.shape[2:], w.shape[2:], stride, dilation, padding, results, strict=True)
    ]
    parts: dict[tuple[Dim, ...], Array] = {}  # by where they begin
    for rests in product(*each):
        around = [rest.around for rest in rests]
        cut = [tuple(greatest(-n, 0) for n in widths) for widths in around]
        sizes = (n - before - after for n, (before, after) in zip(x.shape[2:], cut, strict=True))
        part: Array = apply(
            CONVOLVE,
            slice_(x, (0, 0, *(before for before, _ in cut)), (*x.shape[:2], *sizes)),
            _turned(w, rests, groups),
            stride=(1,) * rank,
            dilation=tuple(rest.dilation for rest in rests),
            before=tuple(greatest(before, 0) for before, _ in around),
            after=tuple(greatest(after, 0) for _, after in around),
            groups=groups,
            dtype=dtype,
        )
        if all(s == 1 for s in stride):
            return part
        parts[tuple(rest.at for rest in rests)] = part
    count = prod(stride)
    whole = tuple(product(*map(range, stride))) if count <= max(MOST, len(parts)) else ()
    # Whatever the sizes are: to ask whether they are even would take a capture for each answer, of each layer.
    few = count <= MOST and len(parts) > 0
    known = parts.keys() <= set(whole) if few else len(whole) > 0 and parts.keys() == set(whole)
    if known and all(
        n * s - m == 0 for part in parts.values() for n, s, m in zip(part.shape[2:], stride, results, strict=True)
    ):
        # What no element of the kernel meets (of one of 1x1, three rests of four) is zeros, which are written nowhere.
        size = tuple(next(iter(parts.values())).shape)
        found = [parts[at] if at in parts else full(size, 0, dtype=dtype) for at in whole]
        joined: Array = apply(INTERLEAVE, *found, steps=stride)
        return joined
    total: Array = full((*lead, *results), 0, dtype=dtype)
    for at, part in parts.items():
        total = slice_update(total, part, (0, 0, *at), (1, 1, *stride))
    return total

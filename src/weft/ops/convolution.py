"""Convolutions: contractions whose operand is read through windows, which nobody writes down.

``convolve`` is a contraction over the channels of a group and the kernel, in the order of the weight's axes; the other
operand is the input through a window (a stride for each axis of the kernel and of the result), so a sum has the bits of
the contraction of unfolded windows (docs/numerics.md). Padding is a padded copy of the input. With ``convolve_weight``,
the gradient of the weight, the gradients of both are made of the two again:

- of the input: the convolution of the cotangent, with zeros between and around its elements, with the weight turned
  round;
- of the weight: a contraction over the batch and the positions of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import Dim, undecided
from ..graph.protocol import Contract, Layout, Primitive, Product, TensorType
from .contraction import dtype_of, narrowed
from .creation import full
from .elementwise import cast
from .op import Array, apply, composite
from .operands import REAL, common_dtype, one_each
from .precision import working
from .views import Gradients, Params, flipped, permuted, reshaped, slice_update

# --- primitives -------------------------------------------------------------------------------------------------
# Axes are in PyTorch's order: the input's (N, C, *S), the weight's (O, C / groups, *K), the result's (N, O, *out).


def positions(size: Dim, kernel: Dim, stride: int, dilation: int) -> Dim:
    """Number of the windows along an axis."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def _results(params: Params, x: Shape, kernel: Shape) -> Shape:
    """The spatial sizes of the result; raises where a window does not fit."""
    sizes = []
    for n, k, stride, dilation in zip(x[2:], kernel, params["stride"], params["dilation"], strict=True):
        if not any(map(undecided, (n, k))) and not 0 < dilation * (k - 1) + 1 <= n:
            raise ShapeError(f"convolve: a kernel of shape {kernel} and dilation {params['dilation']} over {x[2:]}")
        sizes.append(positions(n, k, stride, dilation))
    return tuple(sizes)


def _convolve_type(params: Params, x: TensorType, w: TensorType) -> TensorType:
    groups = params["groups"]
    rank = len(x.shape)
    fits = (
        rank == len(w.shape) == len(params["stride"]) + 2 == len(params["dilation"]) + 2 > 2
        and groups > 0
        and x.shape[1] == w.shape[1] * groups
        and w.shape[0] % groups == 0
        and all(n > 0 for n in (*params["stride"], *params["dilation"]))
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


def _windows(params: Params, x: Layout, kernel: Sequence[int], results: Sequence[int]) -> tuple[Layout, Layout]:
    """How a step of the kernel, and of the result, moves in the input: two layouts over the spatial axes."""

    def moved(sizes: Sequence[int], steps: Sequence[int]) -> Layout:
        # Nobody steps along an axis of size 1, where a step may be any number.
        strides = (t * s if n != 1 else 0 for n, t, s in zip(sizes, steps, x.strides[2:], strict=True))
        return Layout(tuple(sizes), 0, tuple(strides))

    return moved(kernel, params["dilation"]), moved(results, params["stride"])


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
    kernel, outer = _windows(params, x, w.shape[2:], results)  # type: ignore[arg-type]
    x, w = _grouped(x, 1, params["groups"]), _grouped(w, 0, params["groups"])
    a = _joined(w.offset, (x.shape[:1], (0,)), (w.shape, w.strides))
    b = _joined(x.offset, (x.shape[:3], x.strides[:3]), kernel[::2], outer[::2])
    return Product(a, b, 2, 1 + len(results), swapped=True)


def _weight_type(params: Params, x: TensorType, g: TensorType) -> TensorType:
    groups, kernel = params["groups"], params["kernel"]
    fits = (
        len(x.shape) == len(g.shape) == len(kernel) + 2 == len(params["stride"]) + 2 == len(params["dilation"]) + 2 > 2
        and groups > 0
        and x.shape[0] == g.shape[0]
        and x.shape[1] % groups == 0
        and g.shape[1] % groups == 0
        and all(n > 0 for n in (*params["stride"], *params["dilation"]))
        and _results(params, x.shape, kernel) == g.shape[2:]
    )
    if not fits:
        raise ShapeError(f"convolve_weight: {x.shape} with {g.shape} in {groups} groups, kernel {kernel}")
    return TensorType(_dtype_of(params, x, g), (g.shape[1], x.shape[1] // groups, *kernel))


def _weight_product(params: Params, x: Layout, g: Layout) -> Product:
    """Batch (groups,), rows O / groups, summed (N, *out), columns (C / groups, *K)."""
    kernel, outer = _windows(params, x, params["kernel"], g.shape[2:])
    x, g = _grouped(x, 1, params["groups"]), _grouped(g, 1, params["groups"])
    a = _joined(g.offset, *((g.shape[at], g.strides[at]) for at in (slice(1, 3), slice(1), slice(3, None))))
    b = _joined(
        x.offset,
        (x.shape[1:2], x.strides[1:2]),
        (x.shape[:1], x.strides[:1]),
        outer[::2],
        (x.shape[2:3], x.strides[2:3]),
        kernel[::2],
    )
    return Product(a, b, 1, 1 + len(params["kernel"]), swapped=True)


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
    groups, stride, dilation = params["groups"], params["stride"], params["dilation"]
    around = tuple(d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True))
    spread = tuple((n - 1) * s + 1 for n, s in zip(g.shape[2:], stride, strict=True))
    outer = (*g.shape[:2], *(n + 2 * a for n, a in zip(spread, around, strict=True)))
    spaced = slice_update(full(outer, 0, dtype=g.dtype), g, (0, 0, *around), (1, 1, *stride))
    apart = reshaped(w, (groups, w.shape[0] // groups, *w.shape[1:]))
    turned = flipped(permuted(apart, (0, 2, 1, *range(3, len(apart.shape)))), range(3, len(apart.shape)))
    turned = reshaped(turned, (groups * w.shape[1], w.shape[0] // groups, *w.shape[2:]))
    found = apply(CONVOLVE, spaced, turned, **{**params, "stride": (1,) * len(stride)})
    return slice_update(full(shape, 0, dtype=g.dtype), found, (0,) * len(shape))  # no window reaches the last elements


CONVOLVE = Primitive("convolve", _convolve_type, Contract(_convolve_product), _convolve_vjp)
CONVOLVE_WEIGHT = Primitive("convolve_weight", _weight_type, Contract(_weight_product), _weight_vjp)

# --- functions --------------------------------------------------------------------------------------------------


def _padding(
    op: str, padding: int | Sequence[int] | str, kernel: Shape, stride: tuple[int, ...], dilation: tuple[int, ...]
) -> list[tuple[Dim, Dim]]:
    """Zeros before and after each spatial axis; "same" puts one more after than before where the number is odd."""
    if not isinstance(padding, str):
        return [(n, n) for n in one_each(op, "padding", padding, len(kernel), 0)]
    if padding not in ("same", "valid"):
        raise ShapeError(f"{op}: padding {padding!r}: wants a number, several, 'same' or 'valid'")
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if any(n != 1 for n in stride):
        raise ShapeError(f"{op}: padding 'same' with stride {stride}: a result of the input's size has stride 1")
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def padded(x: Array, widths: Sequence[tuple[Dim, Dim]]) -> Array:
    """``x`` with zeros before and after each spatial axis."""
    if not any(before or after for before, after in widths):
        return x
    sizes = tuple(before + n + after for n, (before, after) in zip(x.shape[2:], widths, strict=True))
    starts = (0, 0, *(before for before, _ in widths))
    return slice_update(full((*x.shape[:2], *sizes), 0, dtype=x.dtype), x, starts)


def _check(op: str, rank: int, input: Array, weight: Array, bias: Array | None, groups: int) -> None:
    shown = f"{op}: input {input.shape}, weight {weight.shape}"
    if weight.ndim != rank + 2 or input.ndim not in (rank + 1, rank + 2):
        axes = ("L", "H, W", "D, H, W")[rank - 1]
        raise ShapeError(f"{shown}: wants input (N, C, {axes}) or (C, {axes}), and a weight of {rank + 2} axes")
    if groups < 1 or weight.shape[0] % groups != 0:
        raise ShapeError(f"{shown}: the {weight.shape[0]} channels of the result are not {groups} equal groups")
    channels = input.shape[-rank - 1]
    if channels != weight.shape[1] * groups:
        raise ShapeError(
            f"{shown}: the input has {channels} channels, the weight wants {weight.shape[1] * groups} "
            f"({weight.shape[1]} for each of {groups} groups)"
        )
    if 0 in weight.shape[2:]:
        raise ShapeError(f"{shown}: a kernel of no elements")
    if bias is not None and tuple(bias.shape) != tuple(weight.shape[:1]):
        raise ShapeError(f"{shown}: bias {bias.shape}: wants one number for each of {weight.shape[0]} channels")


def _convolution(
    op: str,
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int] | str,
    dilation: int | Sequence[int],
    groups: int,
) -> Array:
    steps, spaces = one_each(op, "stride", stride, rank, 1), one_each(op, "dilation", dilation, rank, 1)
    _check(op, rank, input, weight, bias, groups)
    widths = _padding(op, padding, tuple(weight.shape[2:]), steps, spaces)
    if input.ndim == rank + 2:
        return convolved(op, input, weight, bias, steps, widths, spaces, groups)
    one = convolved(op, reshaped(input, (1, *input.shape)), weight, bias, steps, widths, spaces, groups)
    return reshaped(one, tuple(one.shape[1:]))


def convolved(
    op: str,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: tuple[int, ...],
    padding: Sequence[tuple[Dim, Dim]],
    dilation: tuple[int, ...],
    groups: int,
) -> Array:
    """The convolution of an ``(N, C, ...)`` input of any rank, with a pair of widths for each spatial axis; within a
    trace alone."""
    dtype = dtype_of(op, input, weight)
    x, w = padded(cast(input, dtype), padding), cast(weight, dtype)
    for n, k, d in zip(x.shape[2:], weight.shape[2:], dilation, strict=True):
        if not undecided(n) and n < d * (k - 1) + 1:
            raise ShapeError(
                f"{op}: input {input.shape}, weight {weight.shape}: a kernel that spans {d * (k - 1) + 1} elements "
                f"does not fit into {n}, padding included"
            )
    params = {"stride": stride, "dilation": dilation, "groups": groups}
    return biased(op, x, bias, lambda dtype: apply(CONVOLVE, x, w, **params, dtype=dtype))


def biased(op: str, x: Array, bias: Array | None, sums: Callable[[DType], Array]) -> Array:
    """What ``sums`` gives in a dtype, and a number for each of its channels; ``x`` has the dtype of the operands."""
    if bias is None:
        return sums(x.dtype)
    out = common_dtype(op, (x, bias), REAL)
    wide = working(out)  # as `linear` adds it: to the sums as they are accumulated
    found = sums(working(x.dtype))
    each = reshaped(cast(bias, wide), (*bias.shape, *(1,) * (len(found.shape) - 2)))
    return cast(cast(found, wide) + each, out)


@composite
def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """The sums of products of a kernel with the windows of a sequence; see :func:`conv2d`.

    Args:
        input: ``(N, in, L)`` or ``(in, L)``.
        weight: ``(out, in / groups, kernel)``.
        bias, stride, padding, dilation, groups: as for :func:`conv2d`.

    Returns:
        ``(N, out, L')``, or ``(out, L')`` without batch.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv1d(wf.asarray([[1.0, 2.0, 4.0]]), wf.asarray([[[1.0, -1.0]]]))
        Tensor([[-1., -2.]], dtype=float32)
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@composite
def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """The sums of products of a kernel with the windows of an image.

    Padding copies the input once; windows are never written down. A result has the bits of ``matmul`` of the weight, as
    a matrix ``(out, in / groups * kernel)``, with the windows; with operands of 16 bits the bias is added to the sums
    in float32, and the result rounded once.

    Args:
        input: ``(N, in, H, W)`` or ``(in, H, W)``; integer or floating-point dtypes.
        weight: ``(out, in / groups, kernel height, kernel width)``.
        bias: ``(out,)`` or None.
        stride: from window to window; one number, or one for each axis, as the two that follow.
        padding: zeros before and after each axis; ``"valid"`` is none, ``"same"`` as many as keep the input's size
            (stride 1; where they are odd in number, one more after than before).
        dilation: from element to element of a window.
        groups: ``input`` channels and ``out`` channels are cut into so many parts, the i-th of which see each other.

    Returns:
        ``(N, out, H', W')``, or ``(out, H', W')`` without batch, where ``H' = (H + 2 * padding - dilation * (kernel -
        1) - 1) // stride + 1``; in the promoted dtype.

    Raises:
        ShapeError: the shapes do not fit, or a window is larger than the padded input.
        ArgumentError: a stride or dilation is below 1, padding below 0, or they are not as many as the axes.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv2d(wf.ones((1, 1, 3, 4)), wf.ones((1, 1, 2, 2)), stride=(1, 2)).tolist()
        [[[[4.0, 4.0], [4.0, 4.0]]]]
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@composite
def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """The sums of products of a kernel with the windows of a volume; see :func:`conv2d`.

    Args:
        input: ``(N, in, D, H, W)`` or ``(in, D, H, W)``.
        weight: ``(out, in / groups, kernel depth, kernel height, kernel width)``.
        bias, stride, padding, dilation, groups: as for :func:`conv2d`.

    Returns:
        ``(N, out, D', H', W')``, or ``(out, D', H', W')`` without batch.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv3d(wf.ones((1, 2, 3, 3)), wf.ones((1, 1, 2, 3, 3))).tolist()
        [[[[18.0]]]]
    """
    return _convolution("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)

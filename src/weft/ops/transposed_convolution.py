"""Transposed convolutions: each element of the input times a kernel, added up where they overlap.

They are convolutions (:mod:`weft.ops.convolution`) of the input with the weight turned round. Where there is a stride,
the elements of the result whose positions leave the same rest by it meet the same part of the weight: each rest gets
channels of its own, and one convolution, without zeros between the input's elements, computes all of them. So are the
gradients, which follow from its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..core.dtypes import DType
from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import Shape, shown
from ..core.symbolic import Dim, greatest, undecided
from .contraction import dtype_of
from .convolution import CONVOLVE, biased, padded
from .creation import full
from .elementwise import cast
from .op import Array, apply, composite
from .operands import one_each
from .views import flipped, permuted, reshaped, slice_, slice_update


def _check_transposed(op: str, rank: int, input: Array, weight: Array, bias: Array | None, groups: int) -> None:
    what = f"{op}: input {input.shape}, weight {weight.shape}"
    if weight.ndim != rank + 2 or input.ndim not in (rank + 1, rank + 2):
        axes = ("L", "H, W", "D, H, W")[rank - 1]
        raise ShapeError(f"{what}: wants input (N, C, {axes}) or (C, {axes}), and a weight of {rank + 2} axes")
    if groups < 1 or weight.shape[0] % groups != 0:
        raise ShapeError(f"{what}: the {weight.shape[0]} channels of the input are not {groups} equal groups")
    channels = input.shape[-rank - 1]
    if channels != weight.shape[0]:
        raise ShapeError(f"{what}: the input has {channels} channels, the weight wants {weight.shape[0]}")
    if 0 in weight.shape[2:] or 0 in input.shape[input.ndim - rank :]:
        raise ShapeError(f"{what}: a kernel, or an image, of no elements")
    if bias is not None and tuple(bias.shape) != (weight.shape[1] * groups,):
        raise ShapeError(f"{what}: bias {bias.shape}: wants one number for each of {weight.shape[1] * groups} channels")


def _more(op: str, output_padding: Any, stride: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Dim, ...]:
    """Elements that the result has more, on each axis; a module computes them of sizes, so they may be some."""
    found = tuple(output_padding) if isinstance(output_padding, Sequence) else (output_padding,)
    found = found * len(stride) if len(found) == 1 else found
    if len(found) != len(stride):
        raise ArgumentError(f"{op}: output_padding is {shown(found)}; it is an integer, or {len(stride)} of them")
    for n, s, d in zip(found, stride, dilation, strict=True):
        if n < 0 or n >= max(s, d):
            raise ArgumentError(
                f"{op}: output_padding is {shown(output_padding)}; it is at least 0, and below the stride {stride} or "
                f"the dilation {dilation} of its axis"
            )
    return found


def _by_phase(w: Array, stride: tuple[int, ...], dilation: tuple[int, ...], groups: int) -> Array:
    """The weight of a convolution whose channels are those of the transposed one at each rest by the stride: ``(out *
    rests, in / groups, *K')``, turned round.

    Element ``k`` is read at rest ``k * dilation % stride``. An axis with a stride gets zeros between its elements for
    the dilation, and behind them, so that all rests have as many.
    """
    rank, kernel = len(stride), tuple(w.shape[2:])
    apart = tuple(d if s > 1 and k > 1 else 1 for s, d, k in zip(stride, dilation, kernel, strict=True))
    reach = tuple(-(-((k - 1) * a + 1) // s) for k, a, s in zip(kernel, apart, stride, strict=True))
    whole = (*w.shape[:2], *(r * s for r, s in zip(reach, stride, strict=True)))
    w = slice_update(full(whole, 0, dtype=w.dtype), w, (0,) * (rank + 2), (1, 1, *apart))
    each = (groups, w.shape[0] // groups, w.shape[1])
    w = reshaped(w, (*each, *(n for pair in zip(reach, stride, strict=True) for n in pair)))
    w = permuted(w, (0, 2, *range(4, 4 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2)))
    w = reshaped(w, (groups * each[2] * prod(stride), each[1], *reach))
    return flipped(w, range(2, 2 + rank))


def _from_phases(x: Array, stride: tuple[int, ...]) -> Array:
    """The channels of the rests as positions: ``(N, C * rests, *S) -> (N, C, *S * stride)``."""
    rank, sizes = len(stride), tuple(x.shape[2:])
    channels = x.shape[1] // prod(stride)
    x = reshaped(x, (x.shape[0], channels, *stride, *sizes))
    x = permuted(x, (0, 1, *(a for i in range(rank) for a in (2 + rank + i, 2 + i))))
    return reshaped(x, (x.shape[0], channels, *(n * s for n, s in zip(sizes, stride, strict=True))))


def _transposed(
    x: Array,
    w: Array,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    results: Shape,
    dilation: tuple[int, ...],
    groups: int,
    dtype: DType,
) -> Array:
    """A transposed convolution, whose result has the spatial sizes ``results``."""
    rank = len(stride)
    steps = tuple(1 if s > 1 else d for s, d in zip(stride, dilation, strict=True))
    phases = _by_phase(w, stride, dilation, groups)
    reach = tuple(d * (k - 1) for k, d in zip(phases.shape[2:], steps, strict=True))
    # Position p of the uncropped result is in block p // stride; what is cropped is computed by whole blocks alone.
    before = tuple(max(r - p // s, 0) for r, p, s in zip(reach, padding, stride, strict=True))
    after = tuple(
        greatest((p + m - n * s + s - 1) // s, 0)
        for n, p, m, s in zip(x.shape[2:], padding, results, stride, strict=True)
    )
    found: Array = apply(
        CONVOLVE,
        padded(x, tuple(zip(before, after, strict=True))),
        phases,
        stride=(1,) * rank,
        dilation=steps,
        groups=groups,
        dtype=dtype,
    )
    starts = tuple(p - (r - b) * s for p, r, b, s in zip(padding, reach, before, stride, strict=True))
    whole = _from_phases(found, stride)
    return slice_(whole, (0, 0, *starts), (*whole.shape[:2], *results))


def _transposed_convolution(
    op: str,
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    output_padding: int | Sequence[int],
    groups: int,
    dilation: int | Sequence[int],
) -> Array:
    steps, around = one_each(op, "stride", stride, rank, 1), one_each(op, "padding", padding, rank, 0)
    spaces = one_each(op, "dilation", dilation, rank, 1)
    more = _more(op, output_padding, steps, spaces)
    _check_transposed(op, rank, input, weight, bias, groups)
    x = input if input.ndim == rank + 2 else reshaped(input, (1, *input.shape))
    results = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + 1 + m
        for n, k, s, p, d, m in zip(x.shape[2:], weight.shape[2:], steps, around, spaces, more, strict=True)
    )
    if any(not undecided(n) and n < 1 for n in results):
        raise ShapeError(
            f"{op}: input {input.shape}, weight {weight.shape}: the result would be of sizes {results}: padding "
            f"{shown(padding)} takes away all there is"
        )
    dtype = dtype_of(op, input, weight)
    x, w = cast(x, dtype), cast(weight, dtype)
    found = biased(op, x, bias, lambda wide: _transposed(x, w, steps, around, results, spaces, groups, wide))
    return found if input.ndim == rank + 2 else reshaped(found, tuple(found.shape[1:]))


@composite
def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Array:
    """The gradient of a convolution of a sequence, as a function; see :func:`conv_transpose2d`.

    Args:
        input: ``(N, in, L)`` or ``(in, L)``.
        weight: ``(in, out / groups, kernel)``.
        bias, stride, padding, output_padding, groups, dilation: as for :func:`conv_transpose2d`.

    Returns:
        ``(N, out, L')``, or ``(out, L')`` without batch.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv_transpose1d(wf.asarray([[1.0, 2.0]]), wf.asarray([[[1.0, 10.0]]]), stride=2)
        Tensor([[ 1., 10.,  2., 20.]], dtype=float32)
    """
    return _transposed_convolution(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@composite
def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Array:
    """Each element of an image times a kernel, added up where they overlap: the gradient of a convolution's input, as a
    function of that of its result.

    Args:
        input: ``(N, in, H, W)`` or ``(in, H, W)``; integer or floating-point dtypes.
        weight: ``(in, out / groups, kernel height, kernel width)``.
        bias: ``(out,)`` or None.
        stride: from one element's kernel to the next one's; one number, or one for each axis, as those that follow.
        padding: elements that are taken away before and after each axis of the result: those that a convolution with
            this padding adds.
        output_padding: elements that the result has more behind each axis, below the stride or the dilation: a
            convolution has one size of result for several of its input.
        groups: ``input`` channels and ``out`` channels are cut into so many parts, the i-th of which see each other.
        dilation: from element to element of a kernel.

    Returns:
        ``(N, out, H', W')``, or ``(out, H', W')`` without batch, where ``H' = (H - 1) * stride - 2 * padding + dilation
        * (kernel - 1) + output_padding + 1``; in the promoted dtype.

    Raises:
        ShapeError: the shapes do not fit, or the result has no elements.
        ArgumentError: a stride or dilation is below 1, a padding below 0, or they are not as many as the axes;
            ``output_padding`` is neither below the stride nor the dilation.
        DTypeError: an operand is bool, or there is no common dtype.

    Reference:
        Zeiler et al., Deconvolutional Networks, 2010. The channels of rests: Shi et al., Real-Time Single Image and
        Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network, 2016.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv_transpose2d(wf.ones((1, 1, 2, 2)), wf.ones((1, 1, 2, 2))).tolist()
        [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    return _transposed_convolution(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@composite
def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Array:
    """The gradient of a convolution of a volume, as a function; see :func:`conv_transpose2d`.

    Args:
        input: ``(N, in, D, H, W)`` or ``(in, D, H, W)``.
        weight: ``(in, out / groups, kernel depth, kernel height, kernel width)``.
        bias, stride, padding, output_padding, groups, dilation: as for :func:`conv_transpose2d`.

    Returns:
        ``(N, out, D', H', W')``, or ``(out, D', H', W')`` without batch.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.conv_transpose3d(wf.ones((2, 1, 1, 1)), wf.ones((2, 1, 1, 1, 2))).tolist()
        [[[[2.0, 2.0]]]]
    """
    return _transposed_convolution(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )

"""Transposed convolutions: each element of the input times a kernel, added up where they overlap.

They are convolutions (``transposed`` of :mod:`weft.ops.convolve`) of the input with the weight turned round: one for
each rest by the stride, without zeros between the input's elements, since the positions of the result that leave the
same rest meet the same elements of the kernel. So are the gradients, which follow from its parts, and the gradient of a
convolution's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, undecided
from .contraction import dtype_of
from .convolution import biased
from .convolve import transposed
from .elementwise import cast
from .op import Array, composite
from .operands import one_each
from .views import reshaped


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
    found = biased(op, x, bias, lambda wide: transposed(x, w, steps, around, results, spaces, groups, wide))
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
        Zeiler et al., Deconvolutional Networks, 2010. The rests by the stride: Shi et al., Is the deconvolution layer
        the same as a convolutional layer?, 2016.

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

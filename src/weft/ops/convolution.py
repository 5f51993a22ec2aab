"""Convolutions, as users call them: :mod:`weft.ops.convolve` with padding, a bias and 16-bit operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.dtypes import DType
from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import Dim, are_equal, undecided
from .contraction import dtype_of
from .convolve import CONVOLVE
from .elementwise import cast
from .op import Array, apply, composite
from .operands import REAL, common_dtype, one_each, require_tensors
from .precision import working
from .shape import permute_dims
from .views import reshaped


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
    x, w = cast(input, dtype), cast(weight, dtype)
    before, after = (tuple(width[side] for width in padding) for side in (0, 1))
    sizes = [b + n + a for b, n, a in zip(before, x.shape[2:], after, strict=True)]
    for n, k, d in zip(sizes, weight.shape[2:], dilation, strict=True):
        if not undecided(n) and n < d * (k - 1) + 1:
            raise ShapeError(
                f"{op}: input {input.shape}, weight {weight.shape}: a kernel that spans {d * (k - 1) + 1} elements "
                f"does not fit into {n}, padding included"
            )
    params = {"stride": stride, "dilation": dilation, "before": before, "after": after, "groups": groups}
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

    Windows are never written down. A result has the bits of ``matmul`` of the weight, as
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


@composite
def conv_tbc(input: Array, weight: Array, bias: Array, pad: int = 0) -> Array:
    """:func:`conv1d` of a sequence whose first axis is time: ``(T, N, in) -> (T', N, out)``.

    Args:
        input: ``(T, N, in)``.
        weight: ``(kernel, in, out)``.
        bias: ``(out,)``.
        pad: zeros before and after the sequence.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: ``pad`` is below 0.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> x = wf.asarray([[[1.0]], [[2.0]], [[4.0]]])
        >>> wf.nn.functional.conv_tbc(x, wf.asarray([[[1.0]], [[-1.0]]]), wf.zeros(1)).tolist()
        [[[-1.0]], [[-2.0]]]
    """
    op = "conv_tbc"
    require_tensors(op, input, weight, bias)
    fits = (input.ndim, weight.ndim, bias.ndim) == (3, 3, 1)
    if not (fits and are_equal(input.shape[2], weight.shape[1]) and are_equal(bias.shape[0], weight.shape[2])):
        raise ShapeError(
            f"{op}: input {input.shape}, weight {weight.shape}, bias {bias.shape}: wants (T, N, in), (kernel, in, out) "
            f"and (out,)"
        )
    if pad < 0:
        raise ArgumentError(f"{op}: pad is {pad}; it must be 0 or more")
    length, kernel = input.shape[0] + 2 * pad, weight.shape[0]
    if kernel == 0 or (not undecided(length) and length < kernel):
        raise ShapeError(f"{op}: input {input.shape}, weight {weight.shape}: wants a kernel of 1 to {length} elements")
    sums = _convolution(op, 1, permute_dims(input, (1, 2, 0)), permute_dims(weight, (2, 1, 0)), bias, 1, pad, 1, 1)
    return permute_dims(sums, (2, 0, 1))

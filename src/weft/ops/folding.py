"""Windows of images written down as columns (im2col), and columns added up to images (col2im).

Each is the other's gradient, which is said so: what their parts' gradients would do, is to add elements one by one at
places that are computed.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from math import prod

from ..core.errors import ShapeError
from ..core.symbolic import Dim, are_equal, greatest, undecided
from .creation import full
from .elementwise import cast
from .op import Array, apply, composite
from .operands import one_each, require_tensors
from .precision import working
from .sliding_windows import pad, windows_of
from .views import permuted, reshaped, slice_, slice_update

Ints = tuple[int, ...]


def _numbers(
    op: str,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: int | Sequence[int],
    stride: int | Sequence[int],
) -> tuple[Ints, Ints, Ints, Ints]:
    return (
        one_each(op, "kernel_size", kernel_size, 2, 1),
        one_each(op, "dilation", dilation, 2, 1),
        one_each(op, "padding", padding, 2, 0),
        one_each(op, "stride", stride, 2, 1),
    )


def _positions(op: str, sizes: Sequence[Dim], size: Ints, spaces: Ints, around: Ints, step: Ints) -> tuple[Dim, ...]:
    """How many windows there are along each axis of an image."""
    found = []
    for n, k, d, p, s in zip(sizes, size, spaces, around, step, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        if not undecided(room) and room < 0:
            raise ShapeError(
                f"{op}: a window that spans {d * (k - 1) + 1} elements does not fit into {n} with {p} around them "
                f"(an image of {tuple(sizes)}, kernel_size {size}, dilation {spaces})"
            )
        found.append(room // s + 1)
    return tuple(found)


def _unfold_gradient(
    result: Array,
    g: Array,
    input: Array,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    return fold(g, tuple(input.shape[-2:]), kernel_size, dilation, padding, stride)  # type: ignore[arg-type]


@composite(gradient=_unfold_gradient)
def unfold(
    input: Array,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    """All windows of an image, each as a column. (A convolution does not need them: :func:`conv2d` reads its windows
    where they lie.)

    Args:
        input: ``(N, C, H, W)`` or ``(C, H, W)``; any dtype.
        kernel_size: of a window; one number, or one for each axis, as those that follow.
        dilation: from element to element of a window.
        padding: zeros before and after each axis.
        stride: from window to window.

    Returns:
        ``(N, C * kernel height * kernel width, L)``, or without ``N``; ``L`` windows, row by row.

    Raises:
        ShapeError: another number of axes, or a window is larger than the padded image.
        ArgumentError: a size, dilation or stride is below 1, or the padding below 0.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.unfold(wf.arange(4.0).reshape(1, 2, 2), (1, 2)).tolist()
        [[0.0, 2.0], [1.0, 3.0]]
    """
    require_tensors("unfold", input)
    size, spaces, around, step = _numbers("unfold", kernel_size, dilation, padding, stride)
    if input.ndim not in (3, 4):
        raise ShapeError(f"unfold: wants an input (N, C, H, W) or (C, H, W); shape {tuple(input.shape)}")
    counts = _positions("unfold", tuple(input.shape[-2:]), size, spaces, around, step)
    windows = windows_of(apply, pad(apply, input, around, around, 0), size, step, spaces)
    columns = input.shape[-3] * prod(size)
    return reshaped(windows, (*input.shape[:-3], columns, counts[0] * counts[1]))


def _fold_gradient(
    result: Array,
    g: Array,
    input: Array,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    return unfold(g, kernel_size, dilation, padding, stride)


def _overlaid(x: Array, taps: int, size: Dim, dilation: int, padding: int, step: int) -> Array:
    """``(A, taps, B, positions, C) -> (A, B, size, C)``: element ``i`` of the window at position ``q`` is added at
    ``q * step + i * dilation - padding``.

    Where windows are cut into blocks of ``step`` elements, block ``j`` of the window at ``q`` is block ``q + j`` of the
    result: as many terms as there are blocks in a window, whatever the number of windows.
    """
    a, b, positions, c = (x.shape[i] for i in (0, 2, 3, 4))
    if step > 1 and dilation > 1:
        taps = (taps - 1) * dilation + 1
        x = slice_update(full((a, taps, b, positions, c), 0, dtype=x.dtype), x, (0,) * 5, (1, dilation, 1, 1, 1))
        dilation = 1
    blocks = -(-taps // step)
    ahead = (blocks - 1) * dilation
    terms = []
    for block in range(blocks):
        count = min(step, taps - block * step)
        part = slice_(x, (0, block * step, 0, 0, 0), (a, count, b, positions, c))
        part = permuted(part, (0, 2, 3, 1, 4))
        j = block * dilation
        terms.append(pad(apply, part, (j, 0, 0), (ahead - j, step - count, 0), 0))
    reach = (positions + ahead) * step
    flat = reshaped(reduce(operator.add, terms), (a, b, reach, c))
    flat = pad(apply, flat, (0, 0), (greatest(padding + size - reach, 0), 0), 0)  # type: ignore[arg-type]
    return slice_(flat, (0, 0, padding, 0), (a, b, size, c))


@composite(gradient=_fold_gradient)
def fold(
    input: Array,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Array:
    """Windows, each a column, added up to an image: what :func:`unfold` has of an image, at the places that it has it
    from.

    Args:
        input: ``(N, C * kernel height * kernel width, L)`` or without ``N``; an integer or floating-point dtype. Sums
            of 16-bit floats are rounded once.
        output_size: ``(H, W)`` of the image, or one number for both.
        kernel_size, dilation, padding, stride: as for :func:`unfold`.

    Returns:
        ``(N, C, H, W)`` or ``(C, H, W)``.

    Raises:
        ShapeError: the shapes do not fit, or a window is larger than the padded image.
        ArgumentError: a size, dilation or stride is below 1, or the padding below 0.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.fold(wf.ones((2, 2)), (1, 3), (1, 2)).tolist()
        [[[1.0, 2.0, 1.0]]]
    """
    require_tensors("fold", input)
    size, spaces, around, step = _numbers("fold", kernel_size, dilation, padding, stride)
    sizes: tuple[Dim, ...] = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * 2
    sizes = sizes * 2 if len(sizes) == 1 else sizes
    shape = tuple(input.shape)
    if len(shape) not in (2, 3) or len(sizes) != 2:
        raise ShapeError(
            f"fold: an input {shape} and output_size {sizes}: wants (N, C * {prod(size)}, L) or (C * {prod(size)}, L), "
            "and two sizes"
        )
    counts = _positions("fold", sizes, size, spaces, around, step)
    if not are_equal(shape[-2] % prod(size), 0) or not are_equal(shape[-1], counts[0] * counts[1]):
        raise ShapeError(
            f"fold: an input {shape}: wants columns of a multiple of {prod(size)} elements (kernel_size {size}), and "
            f"{counts[0]} * {counts[1]} of them for an image of {sizes}"
        )
    lead, channels = shape[:-2], shape[-2] // prod(size)
    first = prod(lead) * channels
    x = cast(input, working(input.dtype))
    rows = _overlaid(
        reshaped(x, (first * size[0], size[1], counts[0], counts[1], 1)),
        size[1],
        sizes[1],
        spaces[1],
        around[1],
        step[1],
    )
    rows = reshaped(rows, (first, size[0], 1, counts[0], sizes[1]))
    image = _overlaid(rows, size[0], sizes[0], spaces[0], around[0], step[0])
    return cast(reshaped(image, (*lead, channels, *sizes)), input.dtype)

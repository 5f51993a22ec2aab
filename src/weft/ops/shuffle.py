"""Channels that become pixels, pixels that become channels, and channels in another order."""

from __future__ import annotations

from ..core.errors import ArgumentError, ShapeError
from ..core.symbolic import are_equal
from .op import Array, composite
from .operands import require_tensors
from .views import permuted, reshaped


def _factor(op: str, name: str, factor: int) -> None:
    if factor < 1:
        raise ArgumentError(f"{op}: {name} is {factor}; it is at least 1")


@composite
def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """Channels as pixels: ``upscale_factor ** 2`` channels become a square of that side.

    Args:
        input: ``(*, C * r ** 2, H, W)``, where r is ``upscale_factor``; any dtype.
        upscale_factor: by which the image grows on either axis.

    Returns:
        ``(*, C, H * r, W * r)``.

    Raises:
        ShapeError: fewer than three axes, or the channels are no multiple of ``r ** 2``.
        ArgumentError: ``upscale_factor`` is below 1.

    Reference:
        Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
        Network, 2016.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.pixel_shuffle(wf.arange(4).reshape(4, 1, 1), 2).tolist()
        [[[0, 1], [2, 3]]]
    """
    require_tensors("pixel_shuffle", input)
    r, shape = upscale_factor, tuple(input.shape)
    _factor("pixel_shuffle", "upscale_factor", r)
    if len(shape) < 3 or not are_equal(shape[-3] % (r * r), 0):
        raise ShapeError(f"pixel_shuffle: input {shape}: wants (*, C * {r * r}, H, W), for upscale_factor {r}")
    *lead, channels, height, width = shape
    n = len(lead)
    x = reshaped(input, (*lead, channels // (r * r), r, r, height, width))
    x = permuted(x, (*range(n + 1), n + 3, n + 1, n + 4, n + 2))
    return reshaped(x, (*lead, channels // (r * r), height * r, width * r))


@composite
def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """Pixels as channels: squares of the side ``downscale_factor`` become as many channels. What
    :func:`pixel_shuffle` has done, undone.

    Args:
        input: ``(*, C, H * r, W * r)``, where r is ``downscale_factor``; any dtype.
        downscale_factor: by which the image shrinks on either axis.

    Returns:
        ``(*, C * r ** 2, H, W)``.

    Raises:
        ShapeError: fewer than three axes, or height or width are no multiple of ``r``.
        ArgumentError: ``downscale_factor`` is below 1.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.pixel_unshuffle(wf.arange(4).reshape(1, 2, 2), 2).tolist()
        [[[0]], [[1]], [[2]], [[3]]]
    """
    require_tensors("pixel_unshuffle", input)
    r, shape = downscale_factor, tuple(input.shape)
    _factor("pixel_unshuffle", "downscale_factor", r)
    if len(shape) < 3 or not all(are_equal(n % r, 0) for n in shape[-2:]):
        raise ShapeError(f"pixel_unshuffle: input {shape}: wants (*, C, H * {r}, W * {r}), for downscale_factor {r}")
    *lead, channels, height, width = shape
    n = len(lead)
    x = reshaped(input, (*lead, channels, height // r, r, width // r, r))
    x = permuted(x, (*range(n + 1), n + 2, n + 4, n + 1, n + 3))
    return reshaped(x, (*lead, channels * r * r, height // r, width // r))


@composite
def channel_shuffle(input: Array, groups: int) -> Array:
    """Channels in another order: the first of each group, then the second of each, and so on.

    Args:
        input: ``(N, C, *)``, of three axes or more; any dtype.
        groups: into which the channels are cut.

    Raises:
        ShapeError: fewer than three axes, or the channels are not so many equal groups.
        ArgumentError: ``groups`` is below 1.

    Reference:
        Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, 2017.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.channel_shuffle(wf.arange(4).reshape(1, 4, 1), 2).tolist()
        [[[0], [2], [1], [3]]]
    """
    require_tensors("channel_shuffle", input)
    shape = tuple(input.shape)
    _factor("channel_shuffle", "groups", groups)
    if len(shape) < 3 or not are_equal(shape[1] % groups, 0):
        raise ShapeError(f"channel_shuffle: input {shape}: wants (N, C, *) with channels in {groups} equal groups")
    x = reshaped(input, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshaped(permuted(x, (0, 2, 1, *range(3, len(shape) + 1))), shape)

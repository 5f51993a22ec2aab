"""The ONNX ops over windows, convolution and pooling; see :mod:`weft.interop.onnx.foreign.ops`."""

from __future__ import annotations

from math import prod
from typing import Any, Literal, NamedTuple

from ....core.errors import FormatError
from ....core.symbolic import SymDim
from ....ops import reduction as red
from ....ops.convolution import convolved
from ....ops.creation import iota
from ....ops.pooling import average_pooled, flattened, max_pooled, pool_params
from ....ops.shape import reshape
from ..limits import NBYTES
from .call import Array, Ints, Op, OutputCount

_AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]


class Windows(NamedTuple):
    """One number for each spatial axis; of ``widths`` two, the padding before and after it."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    widths: tuple[tuple[int, int], ...]


def _windows(
    x: Any, kernel: Ints, auto_pad: str, dilations: Ints | None, pads: Ints | None, strides: Ints | None
) -> Windows:
    """What a node's attributes say.

    Raises:
        FormatError: naming the attribute that does not fit.
    """
    rank = len(x.shape) - 2
    if rank < 1 or len(kernel) != rank:
        raise FormatError(f"an operand of shape {tuple(x.shape)} with a kernel_shape {kernel}")
    steps, spaces, ends = strides or (1,) * rank, dilations or (1,) * rank, pads or (0,) * (2 * rank)
    for name, given, count, least in (
        ("kernel_shape", kernel, rank, 1),
        ("strides", steps, rank, 1),
        ("dilations", spaces, rank, 1),
        ("pads", ends, 2 * rank, 0),
    ):
        if len(given) != count or not all(isinstance(n, SymDim) or least <= n <= NBYTES for n in given):
            raise FormatError(f"its attribute {name!r} is {given} for {rank} axes")
    widths = tuple(zip(ends[:rank], ends[rank:], strict=True))
    if auto_pad != "NOTSET" and any(ends):
        raise FormatError(f"its attributes 'auto_pad' ({auto_pad}) and 'pads' ({ends}) exclude each other")
    if auto_pad.startswith("SAME"):
        widths = _same_size(tuple(x.shape[2:]), kernel, steps, spaces, auto_pad == "SAME_UPPER")
    return Windows(kernel, steps, spaces, widths)


def _same_size(
    sizes: Any, kernel: Any, strides: Ints, dilations: Ints, more_after: bool
) -> tuple[tuple[int, int], ...]:
    """As much padding as makes ceil(size / stride) of each size."""
    widths = []
    for n, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        if isinstance(n, SymDim):
            raise FormatError(f"auto_pad of an axis whose size {n} is symbolic")
        total = max(0, (-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n)
        least = total // 2
        widths.append((least, total - least) if more_after else (total - least, least))
    return tuple(widths)


def _conv(
    x: Array,
    w: Array,
    b: Array | None = None,
    /,
    *,
    auto_pad: _AutoPad = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Any:
    kernel = tuple(w.shape[2:])
    if len(w.shape) != len(x.shape) or kernel_shape not in (None, kernel) or group < 1:
        shapes = f"operands of shapes {tuple(x.shape)} and {tuple(w.shape)}"
        raise FormatError(f"{shapes}, kernel_shape {kernel_shape}, group {group}")
    found = _windows(x, kernel, auto_pad, dilations, pads, strides)
    return convolved("Conv", x, w, b, found.strides, found.widths, found.dilations, group)


def _pool(op: str, x: Any, ceil_mode: bool, found: Windows) -> dict[str, Any]:
    """The parameters of a pooling primitive."""
    for k, d, widths in zip(found.kernel, found.dilations, found.widths, strict=True):
        if max(widths) > d * (k - 1):
            raise FormatError(
                f"its attribute 'pads' has {max(widths)}, and a window is {d * (k - 1) + 1} long: "
                "there would be windows of padding alone"
            )
    before, end = zip(*found.widths, strict=True)
    return pool_params(op, x, found.kernel, found.strides, found.dilations, before, end, ceil_mode)


def _max_pool(
    x: Array,
    /,
    *,
    auto_pad: _AutoPad = "NOTSET",
    ceil_mode: bool = False,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
    outputs: OutputCount,
) -> Any:
    """``storage_order`` is of the second output alone."""
    if storage_order not in (0, 1):
        raise FormatError(f"its attribute 'storage_order' is {storage_order}, not 0 or 1")
    params = _pool("MaxPool", x, ceil_mode, _windows(x, kernel_shape, auto_pad, dilations, pads, strides))
    value, places = max_pooled("MaxPool", x, params, outputs > 1)
    if outputs == 1:
        return value
    (batch, channels, *sizes), order = x.shape, slice(None, None, -1 if storage_order else 1)
    plane = reshape(iota((batch * channels,), 0), (batch, channels, *(1,) * len(sizes)))
    return value, plane * prod(sizes) + flattened(places[order], tuple(sizes[order]))


def _average_pool(
    x: Array,
    /,
    *,
    auto_pad: _AutoPad = "NOTSET",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Any:
    """Padding counts or does not; what ``ceil_mode`` adds beyond it never does."""
    found = _windows(x, kernel_shape, auto_pad, dilations, pads, strides)
    around = found.widths if count_include_pad else ((0, 0),) * len(found.kernel)
    return average_pooled("AveragePool", x, _pool("AveragePool", x, ceil_mode, found), around)


def _everywhere(function: Any) -> Op:
    """Over all spatial axes."""

    def run(x: Array, /) -> Any:
        if len(x.shape) < 3:
            raise FormatError(f"an operand of shape {tuple(x.shape)}, which has no axes after batch and channels")
        return function(x, axis=tuple(range(2, len(x.shape))), keepdims=True)

    return run


WINDOWS: dict[str, dict[int, Op]] = {
    "Conv": {1: _conv},
    "MaxPool": {1: _max_pool},
    "AveragePool": {1: _average_pool},
    "GlobalAveragePool": {1: _everywhere(red.mean)},
    "GlobalMaxPool": {1: _everywhere(red.max)},
}

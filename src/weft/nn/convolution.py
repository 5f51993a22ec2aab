"""Convolutions and transposed convolutions over one, two and three axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..core.errors import ArgumentError, ShapeError
from ..ops.convolution import conv1d, conv2d, conv3d
from ..ops.operands import one_each
from ..ops.padding import pad
from ..ops.transposed_convolution import conv_transpose1d, conv_transpose2d, conv_transpose3d
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes

_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What both kinds have: the numbers, the parameters and their first values."""

    weight: Parameter
    bias: Parameter | None
    padding: tuple[int, ...] | str
    transposed: ClassVar[bool]
    _rank: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        numbers: dict[str, Any],
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        layer, rank = type(self).__name__, self._rank
        check_sizes(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if groups < 1:
            raise ArgumentError(f"{layer}: groups is {groups}; it is at least 1")
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % groups:
                raise ShapeError(f"{layer}: {name} {channels} are not {groups} equal groups")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.groups, self.padding_mode = groups, padding_mode
        self.kernel_size, self.stride, self.dilation, self.output_padding = (
            one_each(layer, name, numbers[name], rank, least)
            for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("output_padding", 0))
        )
        padding = numbers["padding"]
        self.padding = padding if isinstance(padding, str) else one_each(layer, "padding", padding, rank, 0)
        ends = (in_channels, out_channels // groups) if self.transposed else (out_channels, in_channels // groups)
        self.weight = blank((*ends, *self.kernel_size), dtype, device)
        self.register_parameter("bias", blank((out_channels,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again: uniformly from ``[-1, 1) / sqrt(fan in)``."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            fan = math.prod(self.weight.shape[1:])
            bound = 1.0 / math.sqrt(fan) if fan else 0.0
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """The sizes, and what is not as it is by default."""
        rank = self._rank
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0,)), ("dilation", (1,)), ("output_padding", (0,))):
            if getattr(self, name) != usual * rank:
                text += f", {name}={getattr(self, name)}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class _Conv(_Convolution):
    """A convolution; its padding may be zeros or the input itself."""

    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        layer = type(self).__name__
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(f"{layer}: padding {padding!r}: wants a number, several, 'same' or 'valid'")
        if padding_mode not in _MODES:
            raise ArgumentError(f"{layer}: padding_mode is {padding_mode!r}; it must be one of {', '.join(_MODES)}")
        numbers = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "output_padding": 0,
        }
        super().__init__(in_channels, out_channels, numbers, groups, bias, padding_mode, device, dtype)
        if padding == "same" and any(n != 1 for n in self.stride):
            raise ArgumentError(
                f"{layer}: padding 'same' with stride {self.stride}: a result of the input's size has stride 1"
            )

    def _around(self) -> list[int]:
        """The widths that :func:`weft.nn.functional.pad` takes: from the last axis on."""
        if self.padding == "valid":
            return [0, 0] * self._rank
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [n for total in reversed(totals) for n in (total // 2, total - total // 2)]
        return [n for n in reversed(self.padding) for _ in (0, 1)]  # type: ignore[misc]

    def _prepared(self, input: Tensor) -> tuple[Tensor, tuple[int, ...] | str]:
        """The input, and the zeros around it; of other modes it is padded, and there are none."""
        if self.padding_mode == "zeros":
            return input, self.padding
        return pad(input, self._around(), self.padding_mode), (0,) * self._rank


class Conv1d(_Conv):
    """``(N, in_channels, L) -> (N, out_channels, L')``, or without ``N``: see :class:`Conv2d`.

    Example:
        >>> wf.nn.Conv1d(4, 8, 3, padding="same")(wf.zeros((2, 4, 10))).shape
        (2, 8, 10)
    """

    _rank = 1

    def forward(self, input: Tensor) -> Tensor:
        """``(N, in_channels, L) -> (N, out_channels, L')``."""
        x, padding = self._prepared(input)
        return conv1d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """``(N, in_channels, H, W) -> (N, out_channels, H', W')``, or without ``N``: the sums of products of a kernel with
    the windows of an image; :func:`weft.nn.functional.conv2d` says what the numbers mean.

    ``weight`` ``(out_channels, in_channels / groups, *kernel_size)`` and ``bias`` ``(out_channels,)`` are drawn
    uniformly from ``[-1, 1) / sqrt(fan in)``, where fan in is the number of elements that one sum is of.

    ``padding_mode`` is what is around the input: ``"zeros"``, or of the input itself ``"reflect"``, ``"replicate"`` or
    ``"circular"`` (:func:`weft.nn.functional.pad`).

    Raises:
        ShapeError: the channels are not ``groups`` equal groups.
        ArgumentError: a number is too small, or they are not as many as the axes; no such padding.

    Example:
        >>> wf.nn.Conv2d(3, 16, 5, stride=2, padding=2)(wf.zeros((8, 3, 32, 32))).shape
        (8, 16, 16, 16)
    """

    _rank = 2

    def forward(self, input: Tensor) -> Tensor:
        """``(N, in_channels, H, W) -> (N, out_channels, H', W')``."""
        x, padding = self._prepared(input)
        return conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv3d(_Conv):
    """``(N, in_channels, D, H, W) -> (N, out_channels, D', H', W')``, or without ``N``: see :class:`Conv2d`.

    Example:
        >>> wf.nn.Conv3d(1, 2, (1, 3, 3))(wf.zeros((1, 4, 8, 8))).shape
        (2, 4, 6, 6)
    """

    _rank = 3

    def forward(self, input: Tensor) -> Tensor:
        """``(N, in_channels, D, H, W) -> (N, out_channels, D', H', W')``."""
        x, padding = self._prepared(input)
        return conv3d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _ConvTranspose(_Convolution):
    """A transposed convolution; its result may have a size that is asked for."""

    transposed = True
    padding: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        layer = type(self).__name__
        if padding_mode != "zeros":
            raise ArgumentError(
                f"{layer}: padding_mode is {padding_mode!r}; a transposed convolution has 'zeros' alone"
            )
        if isinstance(padding, str):
            raise ArgumentError(f"{layer}: padding is {padding!r}; it is an integer, or {self._rank} of them")
        numbers = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "output_padding": output_padding,
        }
        super().__init__(in_channels, out_channels, numbers, groups, bias, padding_mode, device, dtype)

    def _more(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """How many elements the result has more than the least, so that it has ``output_size``."""
        if output_size is None:
            return self.output_padding
        layer, rank = type(self).__name__, self._rank
        wanted, lead = tuple(output_size), input.ndim - rank
        if len(wanted) == lead + rank:
            wanted = wanted[lead:]
        if len(wanted) != rank:
            raise ShapeError(
                f"{layer}: output_size {tuple(output_size)}: wants {rank} sizes, or {input.ndim}, as the input has"
            )
        smallest = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[lead:], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        )
        for n, low, s in zip(wanted, smallest, self.stride, strict=True):
            if n < low or n > low + s - 1:
                most = tuple(low + s - 1 for low, s in zip(smallest, self.stride, strict=True))
                raise ShapeError(
                    f"{layer}: output_size {wanted}: of an input {tuple(input.shape)} the sizes can be from {smallest} "
                    f"to {most}"
                )
        return tuple(n - low for n, low in zip(wanted, smallest, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """``(N, in_channels, L) -> (N, out_channels, L')``, or without ``N``: see :class:`ConvTranspose2d`.

    Example:
        >>> wf.nn.ConvTranspose1d(4, 8, 4, stride=2, padding=1)(wf.zeros((2, 4, 10))).shape
        (2, 8, 20)
    """

    _rank = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, in_channels, L) -> (N, out_channels, L')``."""
        more = self._more(input, output_size)
        return conv_transpose1d(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )


class ConvTranspose2d(_ConvTranspose):
    """``(N, in_channels, H, W) -> (N, out_channels, H', W')``, or without ``N``: each element times a kernel, added up
    where they overlap; :func:`weft.nn.functional.conv_transpose2d` says what the numbers mean.

    ``weight`` ``(in_channels, out_channels / groups, *kernel_size)`` and ``bias`` ``(out_channels,)`` are drawn
    uniformly from ``[-1, 1) / sqrt(fan)``, where fan is ``out_channels / groups`` times the elements of a kernel.

    A convolution with a stride has one size of result for several of its input: the call's ``output_size`` chooses one
    of them, instead of ``output_padding``.

    Raises:
        ShapeError: the channels are not ``groups`` equal groups; in a call, ``output_size`` is none of the sizes.
        ArgumentError: a number is too small, or they are not as many as the axes.

    Example:
        >>> down, up = wf.nn.Conv2d(3, 8, 3, stride=2), wf.nn.ConvTranspose2d(8, 3, 3, stride=2)
        >>> x = wf.zeros((1, 3, 10, 11))
        >>> up(down(x), output_size=x.shape).shape
        (1, 3, 10, 11)
    """

    _rank = 2

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, in_channels, H, W) -> (N, out_channels, H', W')``."""
        more = self._more(input, output_size)
        return conv_transpose2d(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )


class ConvTranspose3d(_ConvTranspose):
    """``(N, in_channels, D, H, W) -> (N, out_channels, D', H', W')``, or without ``N``: see :class:`ConvTranspose2d`.

    Example:
        >>> wf.nn.ConvTranspose3d(2, 1, 2, stride=2)(wf.zeros((2, 3, 4, 5))).shape
        (1, 6, 8, 10)
    """

    _rank = 3

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, in_channels, D, H, W) -> (N, out_channels, D', H', W')``."""
        more = self._more(input, output_size)
        return conv_transpose3d(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation
        )

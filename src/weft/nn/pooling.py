"""Layers that pool windows: the greatest element, the mean, a norm; and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.errors import ArgumentError
from ..ops import adaptive_pooling as adaptive
from ..ops import fractional_pooling as fractional
from ..ops import pooling as ops
from ..ops import unpooling
from ..tensor.tensor import Tensor
from .module import Module

Sizes = int | Sequence[int]
OptionalSizes = int | Sequence[int | None]


def _each(value: Sizes, axes: int) -> Any:
    """One size for each axis, as PyTorch shows it; a sequence is what it is."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * axes


class _MaxPool(Module):
    """What the layers that give the greatest element of each window share."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def _pool(self, function: Any, input: Tensor) -> Any:
        return function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        """The windows."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """``(N, C, L) -> (N, C, L')``, or without N: the greatest element of each window. Arguments as for
    :class:`MaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        """``(N, C, L) -> (N, C, L')``."""
        return self._pool(ops.max_pool1d, input)


class MaxPool2d(_MaxPool):
    """``(N, C, H, W) -> (N, C, H', W')``, or without N: the greatest element of each window; with ``return_indices``
    also its position in the flattened plane, which :class:`MaxUnpool2d` wants.

    ``H' = (H + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1``; with ``ceil_mode`` the division rounds
    up, for windows that begin within the input or the padding before it. ``stride=None`` is ``kernel_size``. Arguments
    are numbers, or one for each axis; :func:`~weft.nn.functional.max_pool2d` says more.

    Example:
        >>> wf.nn.MaxPool2d(2)(wf.zeros((1, 3, 8, 6))).shape
        (1, 3, 4, 3)
    """

    def forward(self, input: Tensor) -> Any:
        """``(N, C, H, W) -> (N, C, H', W')``."""
        return self._pool(ops.max_pool2d, input)


class MaxPool3d(_MaxPool):
    """``(N, C, D, H, W) -> (N, C, D', H', W')``, or without N: the greatest element of each window. Arguments as for
    :class:`MaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        """``(N, C, D, H, W) -> (N, C, D', H', W')``."""
        return self._pool(ops.max_pool3d, input)


class _MaxUnpool(Module):
    """What the layers that put elements back share."""

    _axes: int

    def __init__(self, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, self._axes)
        self.stride = _each(kernel_size if stride is None else stride, self._axes)
        self.padding = _each(padding, self._axes)

    def extra_repr(self) -> str:
        """The windows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """``(N, C, L) -> (N, C, L')``, or without N: what :class:`MaxPool1d` took, back in its place; 0 elsewhere.
    Arguments as for :class:`MaxUnpool2d`."""

    _axes = 1

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, L) -> (N, C, L')``."""
        return unpooling.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """``(N, C, H, W) -> (N, C, H', W')``, or without N: what :class:`MaxPool2d` took, back in its place; 0 elsewhere.

    ``H' = (H - 1) * stride + kernel_size - 2 * padding``, or what the call's ``output_size`` says: several inputs of
    the pooling have results of one size.

    Example:
        >>> values, indices = wf.nn.MaxPool2d(2, return_indices=True)(wf.asarray([[[1.0, 2.0], [4.0, 3.0]]]))
        >>> wf.nn.MaxUnpool2d(2)(values, indices).tolist()
        [[[0.0, 0.0], [4.0, 0.0]]]
    """

    _axes = 2

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, H, W) -> (N, C, H', W')``."""
        return unpooling.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """``(N, C, D, H, W) -> (N, C, D', H', W')``, or without N: what :class:`MaxPool3d` took, back in its place; 0
    elsewhere. Arguments as for :class:`MaxUnpool2d`."""

    _axes = 3

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """``(N, C, D, H, W) -> (N, C, D', H', W')``."""
        return unpooling.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class AvgPool1d(Module):
    """``(N, C, L) -> (N, C, L')``, or without N: the mean of each window. Arguments as for :class:`AvgPool2d`."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _each(kernel_size, 1)
        self.stride = _each(kernel_size if stride is None else stride, 1)
        self.padding = _each(padding, 1)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, L) -> (N, C, L')``."""
        return ops.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self) -> str:
        """The windows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    """What the layers that give the mean of each window of several axes share."""

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def _pool(self, function: Any, input: Tensor) -> Tensor:
        result: Tensor = function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )
        return result

    def extra_repr(self) -> str:
        """The windows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """``(N, C, H, W) -> (N, C, H', W')``, or without N: the mean of each window.

    ``H' = (H + 2 * padding - kernel_size) // stride + 1``; with ``ceil_mode`` the division rounds up, for windows that
    begin within the input or the padding before it. ``stride=None`` is ``kernel_size``; ``count_include_pad`` says
    whether the zeros around the input count, and ``divisor_override`` is what a window's sum is divided by instead.
    Arguments are numbers, or one for each axis; :func:`~weft.nn.functional.avg_pool2d` says more.

    Example:
        >>> wf.nn.AvgPool2d((2, 3))(wf.zeros((1, 3, 8, 6))).shape
        (1, 3, 4, 2)
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H', W')``."""
        return self._pool(ops.avg_pool2d, input)


class AvgPool3d(_AvgPool):
    """``(N, C, D, H, W) -> (N, C, D', H', W')``, or without N: the mean of each window. Arguments as for
    :class:`AvgPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, D, H, W) -> (N, C, D', H', W')``."""
        return self._pool(ops.avg_pool3d, input)


class _LPPool(Module):
    """What the layers that give a norm of each window share."""

    def __init__(
        self, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def _pool(self, function: Any, input: Tensor) -> Tensor:
        result: Tensor = function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)
        return result

    def extra_repr(self) -> str:
        """The norm and the windows."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """``(N, C, L) -> (N, C, L')``, or without N: ``sum(x ** norm_type) ** (1 / norm_type)`` of each window. Arguments
    as for :class:`LPPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, L) -> (N, C, L')``."""
        return self._pool(adaptive.lp_pool1d, input)


class LPPool2d(_LPPool):
    """``(N, C, H, W) -> (N, C, H', W')``, or without N: ``sum(x ** norm_type) ** (1 / norm_type)`` of each window.

    ``norm_type=1`` is the sum, infinity the greatest absolute value. ``stride=None`` is ``kernel_size``; ``ceil_mode``
    as for :class:`AvgPool2d`, and :func:`~weft.nn.functional.lp_pool2d` says more.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H', W')``."""
        return self._pool(adaptive.lp_pool2d, input)


class LPPool3d(_LPPool):
    """``(N, C, D, H, W) -> (N, C, D', H', W')``, or without N: ``sum(x ** norm_type) ** (1 / norm_type)`` of each
    window. Arguments as for :class:`LPPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, D, H, W) -> (N, C, D', H', W')``."""
        return self._pool(adaptive.lp_pool3d, input)


class _AdaptiveMaxPool(Module):
    """What the layers that give so many greatest elements share."""

    def __init__(self, output_size: OptionalSizes, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def extra_repr(self) -> str:
        """The sizes."""
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """``(N, C, L) -> (N, C, output_size)``, or without N: the greatest element of each part. Arguments as for
    :class:`AdaptiveMaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        """``(N, C, L) -> (N, C, output_size)``."""
        return adaptive.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """``(N, C, H, W) -> (N, C, *output_size)``, or without N: the greatest element of each part; with
    ``return_indices`` also its position in the flattened plane.

    ``output_size`` is one number for both axes or one for each, None being the input's size. Parts are those of
    :class:`AdaptiveAvgPool2d`.
    """

    def forward(self, input: Tensor) -> Any:
        """``(N, C, H, W) -> (N, C, *output_size)``."""
        return adaptive.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """``(N, C, D, H, W) -> (N, C, *output_size)``, or without N: the greatest element of each part. Arguments as for
    :class:`AdaptiveMaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        """``(N, C, D, H, W) -> (N, C, *output_size)``."""
        return adaptive.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _FractionalMaxPool(Module):
    """What the layers whose windows are at drawn distances share."""

    _axes: int

    def __init__(
        self,
        kernel_size: Sizes,
        output_size: Sizes | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(f"{name}: wants either an output_size or an output_ratio")
        self.kernel_size, self.return_indices = _each(kernel_size, self._axes), return_indices
        self.output_size = None if output_size is None else _each(output_size, self._axes)
        self.output_ratio: Any = output_ratio
        if output_ratio is not None:
            ratios = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * self._axes
            if len(ratios) != self._axes or not all(0 < ratio < 1 for ratio in ratios):
                raise ArgumentError(
                    f"{name}: output_ratio is {output_ratio}; it must be between 0 and 1, or {self._axes} such numbers"
                )
            self.output_ratio = ratios
        self.register_buffer("_random_samples", _random_samples)

    def _pool(self, function: Any, input: Tensor) -> Any:
        sizes = self.kernel_size, self.output_size, self.output_ratio
        return function(input, *sizes, self.return_indices, self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """``(N, C, H, W) -> (N, C, *output_size)``, or without N: the greatest elements of windows whose distances are
    drawn, in each call and for each channel; with ``return_indices`` also their positions in the flattened plane.

    There is either an ``output_size`` or an ``output_ratio`` between 0 and 1; both, and ``kernel_size``, are a number
    or one for each axis. ``_random_samples``, a buffer, are in the place of what is drawn.
    :func:`~weft.nn.functional.fractional_max_pool2d` says more.

    Example:
        >>> wf.nn.FractionalMaxPool2d(2, output_ratio=0.5)(wf.zeros((1, 3, 9, 6))).shape
        (1, 3, 4, 3)
    """

    _axes = 2

    def forward(self, input: Tensor) -> Any:
        """``(N, C, H, W) -> (N, C, *output_size)``."""
        return self._pool(fractional.fractional_max_pool2d, input)


class FractionalMaxPool3d(_FractionalMaxPool):
    """``(N, C, D, H, W) -> (N, C, *output_size)``, or without N. Arguments as for :class:`FractionalMaxPool2d`."""

    _axes = 3

    def forward(self, input: Tensor) -> Any:
        """``(N, C, D, H, W) -> (N, C, *output_size)``."""
        return self._pool(fractional.fractional_max_pool3d, input)


class _AdaptiveAvgPool(Module):
    """What the layers that give so many means share."""

    def __init__(self, output_size: OptionalSizes) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """The sizes."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """``(N, C, L) -> (N, C, output_size)``, or without N: the mean of each part. Arguments as for
    :class:`AdaptiveAvgPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, L) -> (N, C, output_size)``."""
        return adaptive.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """``(N, C, H, W) -> (N, C, *output_size)``, or without N: the mean of each part.

    ``output_size`` is one number for both axes or one for each, None being the input's size. Part ``i`` of ``m`` is
    elements ``i * H // m`` to ``ceil((i + 1) * H / m)``: where ``m`` does not divide ``H``, parts share elements.

    Example:
        >>> wf.nn.AdaptiveAvgPool2d((1, None))(wf.zeros((1, 3, 8, 6))).shape
        (1, 3, 1, 6)
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, *output_size)``."""
        return adaptive.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """``(N, C, D, H, W) -> (N, C, *output_size)``, or without N: the mean of each part. Arguments as for
    :class:`AdaptiveAvgPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, D, H, W) -> (N, C, *output_size)``."""
        return adaptive.adaptive_avg_pool3d(input, self.output_size)

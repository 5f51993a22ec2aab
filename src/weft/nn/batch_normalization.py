"""Layers that normalize each channel, by statistics of the batch or of one element, which they may keep track of."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from ..core.dtypes import default_float, int64
from ..core.errors import ShapeError, user_line
from ..ops.creation import ones, zeros
from ..ops.elementwise import astype
from ..ops.normalization import batch_norm, instance_norm
from ..runtime.devices import device_of
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes


class _ChannelNorm(Module):
    """What the layers share: a factor and a summand for each channel, and running statistics."""

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    _since: ClassVar[Mapping[str, int]] = {"num_batches_tracked": 2}
    _ranks: ClassVar[tuple[int, ...]]  # of inputs
    _shapes: ClassVar[str]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        for name, present in (("weight", affine), ("bias", affine and bias)):
            self.register_parameter(name, blank((num_features,), dtype, device) if present else None)
        place, kind = device_of(device), default_float if dtype is None else dtype
        for name, make in (("running_mean", zeros), ("running_var", ones)):
            self.register_buffer(name, make((num_features,), dtype=kind, device=place) if track_running_stats else None)
        self.register_buffer(
            "num_batches_tracked", zeros((), dtype=int64, device=place) if track_running_stats else None
        )
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Mean 0 and variance 1, of no batches."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Ones and zeros, and :meth:`reset_running_stats`."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check(self, input: Tensor) -> None:
        if input.ndim not in self._ranks:
            raise ShapeError(f"{type(self).__name__}: input {input.shape}: wants {self._shapes}")

    def extra_repr(self) -> str:
        """The number of channels and the constants."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, ...) -> (N, C, ...)``."""
        self._check(input)
        mean, variance, count = self.running_mean, self.running_var, self.num_batches_tracked
        by_batch = self.training or (mean is None and variance is None)
        share: Tensor | float = 0.0 if self.momentum is None else self.momentum
        if self.training and not self.track_running_stats:
            mean = variance = None
        elif self.training and count is not None:
            count.add_(1)
            if self.momentum is None:  # of all batches alike; a tensor, since captured code does not know the number
                share = 1.0 / astype(count, default_float)
        return batch_norm(input, mean, variance, self.weight, self.bias, by_batch, share, self.eps)


class BatchNorm1d(_BatchNorm):
    """``(N, C) or (N, C, L) -> same``: mean 0 and variance 1 of each channel over the batch, then ``* weight + bias``.

    In training the statistics are the batch's, and ``running_mean`` and ``running_var`` ``(C,)`` move towards them by
    ``momentum`` (None: they are the mean over all batches, which ``num_batches_tracked`` counts); in evaluation the
    running statistics are used. ``track_running_stats=False``: there are none, and the batch's are always used.
    ``weight`` and ``bias`` ``(C,)``, there with ``affine``, begin as ones and zeros.

    Example:
        >>> wf.nn.BatchNorm1d(3)(wf.zeros((5, 3))).shape
        (5, 3)

    Reference:
        Ioffe and Szegedy, Batch Normalization, 2015.
    """

    _ranks, _shapes = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """``(N, C, H, W) -> same``: see :class:`BatchNorm1d`.

    Example:
        >>> wf.nn.BatchNorm2d(3)(wf.zeros((5, 3, 2, 2))).shape
        (5, 3, 2, 2)
    """

    _ranks, _shapes = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """``(N, C, D, H, W) -> same``: see :class:`BatchNorm1d`.

    Example:
        >>> wf.nn.BatchNorm3d(3)(wf.zeros((5, 3, 2, 2, 2))).shape
        (5, 3, 2, 2, 2)
    """

    _ranks, _shapes = (5,), "(N, C, D, H, W)"


class _InstanceNorm(_ChannelNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, ...) -> (N, C, ...)``, or the same without N."""
        self._check(input)
        one = input.ndim == self._ranks[0]
        channels = input.shape[0 if one else 1]
        if channels != self.num_features:
            text = f"{type(self).__name__}: input {input.shape} has {channels} channels, num_features is "
            if self.affine:
                raise ShapeError(f"{text}{self.num_features}")
            file, line = user_line() or ("weft", 0)
            text += f"{self.num_features}, which is not used where affine is False"
            warnings.warn_explicit(text, UserWarning, file, line)
        y = instance_norm(
            input.unsqueeze(0) if one else input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.squeeze(0) if one else y


class InstanceNorm1d(_InstanceNorm):
    """``(N, C, L) or (C, L) -> same``: mean 0 and variance 1 of each channel of each element of the batch.

    With ``affine``, ``* weight + bias`` follows (``(C,)``, at first ones and zeros). With ``track_running_stats``,
    ``running_mean`` and ``running_var`` ``(C,)`` move in training towards the mean of the statistics over the batch, by
    ``momentum``, and are what evaluation uses; else the input's own always are.

    Example:
        >>> wf.nn.InstanceNorm1d(3)(wf.zeros((5, 3, 2))).shape
        (5, 3, 2)

    Reference:
        Ulyanov et al., Instance Normalization: The Missing Ingredient for Fast Stylization, 2016.
    """

    _ranks, _shapes = (2, 3), "(C, L) or (N, C, L)"


class InstanceNorm2d(_InstanceNorm):
    """``(N, C, H, W) or (C, H, W) -> same``: see :class:`InstanceNorm1d`.

    Example:
        >>> wf.nn.InstanceNorm2d(3)(wf.zeros((3, 2, 2))).shape
        (3, 2, 2)
    """

    _ranks, _shapes = (3, 4), "(C, H, W) or (N, C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """``(N, C, D, H, W) or (C, D, H, W) -> same``: see :class:`InstanceNorm1d`.

    Example:
        >>> wf.nn.InstanceNorm3d(3)(wf.zeros((3, 2, 2, 2))).shape
        (3, 2, 2, 2)
    """

    _ranks, _shapes = (4, 5), "(C, D, H, W) or (N, C, D, H, W)"

"""Lazy modules: the sizes that an input has are known at the first call, which makes the parameters.

A lazy class is its ordinary one with :class:`LazyModuleMixin` in front. The first call makes the parameters
(``initialize_parameters``), and the module an instance of the ordinary class. Until then, or until a state was loaded,
they are an :class:`UninitializedParameter` or :class:`UninitializedBuffer` each.

A captured function cannot make state. A capture that comes to a lazy module ends (``UninitializedError``), and
``wf.compile`` runs that one call as Python, to the same bits; the next call is captured. What has no values to run
with (``wf.eval_shape``, ``lower``) raises the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..core.boundary import leave
from ..core.dtypes import int64
from ..core.errors import ShapeError, StateError, UninitializedError
from ..core.process import Lock
from ..ops.creation import zeros
from ..ops.op import state
from ..runtime.devices import device_of
from ..tensor import guards
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from .batch_normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

_first_call = Lock()  # of two threads that call a module first, one makes its parameters


class LazyModuleMixin(Module):
    """What makes a module lazy; a class of one's own names it before the class that it extends, sets ``cls_to_become``,
    makes its parameters as ``UninitializedParameter()``, and gives them their shapes in ``initialize_parameters``."""

    cls_to_become: ClassVar[type[Module] | None] = None
    _ready = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The first call: the parameters are made, then it is as any other."""
        if not getattr(self, "_ready", True):  # the class may become the ordinary one meanwhile
            if state.trace is not None:
                raise UninitializedError(
                    f"{type(self).__name__} has no parameters before its first call; call it once with values"
                )
            try:
                with _first_call.now:
                    LazyModuleMixin._begin_call(self, args, kwargs)
            except Exception as error:
                self._note_path(error)
                leave(error, self.forward, args, kwargs)
                raise
        return Module.__call__(self, *args, **kwargs)

    def _begin_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if getattr(self, "_ready", True):  # another thread was quicker
            return
        with no_grad():
            self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise StateError(f"{type(self).__name__}.initialize_parameters has left parameters without a shape")
        if self.cls_to_become is not None:
            self.__class__ = self.cls_to_become  # type: ignore[assignment]
        else:
            self._ready = True
        guards.bump()

    def has_uninitialized_params(self) -> bool:
        """Whether there is a parameter, or a buffer, without a shape."""
        return any(is_lazy(x) for x in (*self._parameters.values(), *self._buffers.values()))

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes (``p.materialize(shape)``) and values; gets what ``forward`` gets."""
        raise NotImplementedError(f"{type(self).__name__} does not define initialize_parameters")


class LazyLinear(LazyModuleMixin, Linear):
    """A :class:`Linear` whose ``in_features`` are the input's.

    Example:
        >>> layer = wf.nn.LazyLinear(3)
        >>> layer(wf.zeros((2, 5))).shape, layer
        ((2, 3), Linear(in_features=5, out_features=3, bias=True))
    """

    cls_to_become = Linear

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.bias = UninitializedParameter(device=device, dtype=dtype) if bias else None

    def reset_parameters(self) -> None:
        """Draw the parameters again, where there are any."""
        if not self.has_uninitialized_params() and self.in_features:
            super().reset_parameters()

    def initialize_parameters(self, input: Tensor) -> None:
        """From an input ``(*, in_features)``."""
        if not input.ndim:
            raise ShapeError(f"{type(self).__name__}: input {tuple(input.shape)}: wants (*, in_features)")
        if self.has_uninitialized_params():
            self.in_features = int((input if is_lazy(self.weight) else self.weight).shape[-1])
            _make(self, {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)})
        elif not self.in_features:  # a state was loaded
            self.in_features = int(self.weight.shape[1])


def _make(module: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Make what has no shape yet, and draw it; what a state was loaded into (``strict=False``) stays."""
    found = {name: getattr(module, name) for name in shapes}
    loaded = [(x, x.detach().clone()) for x in found.values() if x is not None and not is_lazy(x)]
    for name, x in found.items():
        if is_lazy(x):
            x.materialize(shapes[name])
    module.reset_parameters()
    for x, value in loaded:
        x.copy_(value)


class _LazyConvolution(LazyModuleMixin):
    """Of a convolution: ``in_channels`` are the input's."""

    def _begin(self: Any, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        """Behind the ordinary ``__init__``, for no channels."""
        if out_channels % self.groups:
            raise ShapeError(f"{type(self).__name__}: out_channels {out_channels} are not {self.groups} equal groups")
        self.out_channels = out_channels
        self.register_parameter("weight", UninitializedParameter(device=device, dtype=dtype))
        self.register_parameter("bias", UninitializedParameter(device=device, dtype=dtype) if bias else None)

    def reset_parameters(self: Any) -> None:
        """Draw the parameters again, where there are any."""
        if not self.has_uninitialized_params() and self.in_channels:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """From an input ``(N, in_channels, ...)``, or without ``N``."""
        rank = self._rank
        if input.ndim not in (rank + 1, rank + 2):
            raise ShapeError(
                f"{type(self).__name__}: input {tuple(input.shape)}: wants {rank + 2} axes, or {rank + 1} without N"
            )
        channels = int(input.shape[-rank - 1])
        if not self.has_uninitialized_params():
            if not self.in_channels:  # a state was loaded
                self.in_channels = int(self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups)
            return
        if channels % self.groups:
            raise ShapeError(
                f"{type(self).__name__}: input {tuple(input.shape)} has {channels} channels, which are not "
                f"{self.groups} equal groups"
            )
        self.in_channels = channels
        ends = (
            (channels, self.out_channels // self.groups)
            if self.transposed
            else (
                self.out_channels,
                channels // self.groups,
            )
        )
        _make(self, {"weight": (*ends, *self.kernel_size), "bias": (self.out_channels,)})


class _LazyConv(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)  # type: ignore[call-arg]
        self._begin(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """A :class:`Conv1d` whose ``in_channels`` are the input's."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A :class:`Conv2d` whose ``in_channels`` are the input's.

    Example:
        >>> layer = wf.nn.LazyConv2d(8, 3)
        >>> layer(wf.zeros((1, 5, 6, 6))).shape, layer.in_channels
        ((1, 8, 4, 4), 5)
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A :class:`Conv3d` whose ``in_channels`` are the input's."""

    cls_to_become = Conv3d


class _LazyConvTranspose(_LazyConvolution):
    def __init__(
        self,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode
        )
        self._begin(out_channels, bias, device, dtype)


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A :class:`ConvTranspose1d` whose ``in_channels`` are the input's."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A :class:`ConvTranspose2d` whose ``in_channels`` are the input's."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A :class:`ConvTranspose3d` whose ``in_channels`` are the input's."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """Of a normalization of channels: ``num_features`` are the input's."""

    def _begin(self: Any, affine: bool, track: bool, bias: bool, device: Any, dtype: Any) -> None:
        """Behind the ordinary ``__init__``, for no channels and without parameters."""
        self.affine, self.track_running_stats = affine, track
        if affine:
            self.register_parameter("weight", UninitializedParameter(device=device, dtype=dtype))
            self.register_parameter("bias", UninitializedParameter(device=device, dtype=dtype) if bias else None)
        if track:
            for name in ("running_mean", "running_var"):
                self.register_buffer(name, UninitializedBuffer(device=device, dtype=dtype))
            self.register_buffer("num_batches_tracked", zeros((), dtype=int64, device=device_of(device)))

    def reset_parameters(self: Any) -> None:
        """Set the parameters and statistics back, where there are any."""
        if not self.has_uninitialized_params() and self.num_features:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self: Any, input: Tensor) -> None:
        """From an input ``(N, C, ...)``."""
        self._check(input)
        channels = int(input.shape[self._axis(input)])
        if self.has_uninitialized_params():
            self.num_features = channels
            _make(self, dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,)))
        elif not self.num_features:  # a state was loaded, or there is nothing to be made
            known = self.weight if self.weight is not None else self.running_mean
            self.num_features = channels if known is None else int(known.shape[0])

    def _axis(self, input: Tensor) -> int:
        return 1


class _LazyBatchNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)  # type: ignore[call-arg]
        self._begin(affine, track_running_stats, bias, device, dtype)


class LazyBatchNorm1d(_LazyBatchNorm, BatchNorm1d):
    """A :class:`BatchNorm1d` whose ``num_features`` are the input's."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyBatchNorm, BatchNorm2d):
    """A :class:`BatchNorm2d` whose ``num_features`` are the input's."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyBatchNorm, BatchNorm3d):
    """A :class:`BatchNorm3d` whose ``num_features`` are the input's."""

    cls_to_become = BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False)  # type: ignore[call-arg]
        self._begin(affine, track_running_stats, bias, device, dtype)

    def _axis(self: Any, input: Tensor) -> int:
        return 0 if input.ndim == self._ranks[0] else 1


class LazyInstanceNorm1d(_LazyInstanceNorm, InstanceNorm1d):
    """An :class:`InstanceNorm1d` whose ``num_features`` are the input's."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, InstanceNorm2d):
    """An :class:`InstanceNorm2d` whose ``num_features`` are the input's."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, InstanceNorm3d):
    """An :class:`InstanceNorm3d` whose ``num_features`` are the input's."""

    cls_to_become = InstanceNorm3d

"""Layers that give signals and images of another size."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.resampling import interpolate
from ..tensor.tensor import Tensor
from .module import Module


class Upsample(Module):
    """``(N, C, *) -> (N, C, *size)``: a signal, image or volume of another size.

    Either ``size`` or ``scale_factor`` says which. ``mode`` is "nearest", "nearest-exact", "linear" (one axis after
    batch and channels), "bilinear" or "bicubic" (two), "trilinear" (three) or "area";
    :func:`~weft.nn.functional.interpolate` says what the others are.

    Example:
        >>> wf.nn.Upsample(scale_factor=2, mode="bilinear")(wf.zeros((1, 3, 4, 5))).shape
        (1, 3, 8, 10)
    """

    scale_factor: float | tuple[float, ...] | None

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.size = size
        if isinstance(scale_factor, Sequence):
            self.scale_factor = tuple(map(float, scale_factor))
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode, self.align_corners = mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, *) -> (N, C, *size)``."""
        return interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        """The size or the factor, and the mode."""
        what = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{what}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """``(N, C, H, W) -> (N, C, *size)``: each element is the nearest of the input, as in mode "nearest" of
    :class:`Upsample`."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """``(N, C, H, W) -> (N, C, *size)``: elements lie on lines between those of the input, as in mode "bilinear" of
    :class:`Upsample` with ``align_corners``."""

    def __init__(
        self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)

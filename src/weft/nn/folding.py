"""Windows of images as columns, and columns added up to images."""

from __future__ import annotations

from collections.abc import Sequence

from ..ops.folding import fold, unfold
from ..tensor.tensor import Tensor
from .module import Module


class Unfold(Module):
    """``(N, C, H, W) -> (N, C * prod(kernel_size), L)``, or without ``N``: all windows, each as a column.

    See :func:`weft.nn.functional.unfold`.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.padding, self.stride = kernel_size, dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C * prod(kernel_size), L)``."""
        return unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The numbers."""
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """``(N, C * prod(kernel_size), L) -> (N, C, *output_size)``, or without ``N``: windows added up to an image.

    See :func:`weft.nn.functional.fold`.
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C * prod(kernel_size), L) -> (N, C, *output_size)``."""
        return fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """The numbers."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )

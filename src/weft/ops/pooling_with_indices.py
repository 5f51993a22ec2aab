"""Greatest elements of windows and parts, always with their positions: what ``return_indices=True`` gives."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.symbolic import Dim
from .adaptive_pooling import adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d
from .op import Array, public
from .pooling import max_pool1d, max_pool2d, max_pool3d


@public
def max_pool1d_with_indices(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Array, Array]:
    """:func:`max_pool1d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return max_pool1d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


@public
def max_pool2d_with_indices(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Array, Array]:
    """:func:`max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


@public
def max_pool3d_with_indices(
    input: Array,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Array, Array]:
    """:func:`max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return max_pool3d(input, kernel_size, stride, padding, dilation, ceil_mode, True)


@public
def adaptive_max_pool1d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool1d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return adaptive_max_pool1d(input, output_size, True)


@public
def adaptive_max_pool2d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return adaptive_max_pool2d(input, output_size, True)


@public
def adaptive_max_pool3d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    return adaptive_max_pool3d(input, output_size, True)

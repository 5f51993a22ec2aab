"""Greatest elements of windows and parts, always with their positions: what ``return_indices=True`` gives."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.symbolic import Dim
from .adaptive_pooling import _adaptive_max
from .op import Array, composite
from .pooling import _max_pool


@composite
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
    op = "max_pool1d_with_indices"
    values, indices = _max_pool(op, input, 1, kernel_size, stride, padding, dilation, ceil_mode, True)
    return values, indices


@composite
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
    op = "max_pool2d_with_indices"
    values, indices = _max_pool(op, input, 2, kernel_size, stride, padding, dilation, ceil_mode, True)
    return values, indices


@composite
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
    op = "max_pool3d_with_indices"
    values, indices = _max_pool(op, input, 3, kernel_size, stride, padding, dilation, ceil_mode, True)
    return values, indices


@composite
def adaptive_max_pool1d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool1d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    values, indices = _adaptive_max("adaptive_max_pool1d_with_indices", input, output_size, 1, True)
    return values, indices


@composite
def adaptive_max_pool2d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool2d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    values, indices = _adaptive_max("adaptive_max_pool2d_with_indices", input, output_size, 2, True)
    return values, indices


@composite
def adaptive_max_pool3d_with_indices(
    input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
) -> tuple[Array, Array]:
    """:func:`adaptive_max_pool3d` with the positions, whatever ``return_indices`` says, as in PyTorch."""
    values, indices = _adaptive_max("adaptive_max_pool3d_with_indices", input, output_size, 3, True)
    return values, indices

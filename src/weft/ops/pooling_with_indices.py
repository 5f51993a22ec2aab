"""Greatest elements of windows and parts, always with their positions: what ``return_indices=True`` gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.symbolic import Dim
from .adaptive_pooling import _adaptive_max
from .op import Array, composite
from .pooling import _max_pool


def _of_windows(rank: int) -> Any:
    name = f"max_pool{rank}d"

    def function(
        input: Array,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Array, Array]:
        op = f"{name}_with_indices"
        values, indices = _max_pool(op, input, rank, kernel_size, stride, padding, dilation, ceil_mode, True)
        return values, indices

    return _with_indices(name, function)


def _of_parts(rank: int) -> Any:
    name = f"adaptive_max_pool{rank}d"

    def function(
        input: Array, output_size: Dim | Sequence[Dim | None], return_indices: bool = False
    ) -> tuple[Array, Array]:
        values, indices = _adaptive_max(f"{name}_with_indices", input, output_size, rank, True)
        return values, indices

    return _with_indices(name, function)


def _with_indices(name: str, function: Callable[..., tuple[Array, Array]]) -> Any:
    """What gives both results of the function ``name``, under PyTorch's name for it."""
    function.__name__ = function.__qualname__ = f"{name}_with_indices"
    function.__doc__ = f":func:`{name}` with the positions, whatever ``return_indices`` says, as in PyTorch."
    return composite(function)


max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(_of_windows, (1, 2, 3))
(
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices,
) = map(_of_parts, (1, 2, 3))

"""Layers that move axes together and apart."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..core.shapes import normalize_axis
from ..ops.shape import flatten, reshape
from ..tensor.tensor import Tensor
from .module import Module


class Flatten(Module):
    """``(N, d1, d2, ...) -> (N, d1 * d2 * ...)``: the axes ``start_dim`` to ``end_dim`` as one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)`` with fewer axes."""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """``(..., d, ...) -> (..., *unflattened_size, ...)``: axis ``dim`` as several; one size may be -1."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)`` with more axes."""
        axis = normalize_axis(self.dim, input.ndim, "Unflatten")
        sizes = self.unflattened_size
        if -1 in sizes:
            known = math.prod(s for s in sizes if s != -1)
            sizes = tuple(input.shape[axis] // known if s == -1 else s for s in sizes)
        return reshape(input, (*input.shape[:axis], *sizes, *input.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """The axis and sizes."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"

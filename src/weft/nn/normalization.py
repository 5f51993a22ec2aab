"""Layers that normalize, drop or reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import ArgumentError
from ..core.shapes import normalize_axis
from ..ops.normalization import dropout, layer_norm, rms_norm
from ..ops.shape import flatten, reshape
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank

__all__ = ["Dropout", "Flatten", "LayerNorm", "RMSNorm", "Unflatten"]


def _sizes(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


class LayerNorm(Module):
    """``(*, *normalized_shape) -> same``: mean 0 and variance 1 over the last axes, then ``* weight + bias``.

    ``weight`` and ``bias`` have ``normalized_shape`` and begin as ones and zeros.

    Reference:
        Ba et al., Layer Normalization, 2016.
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape), eps
        self.elementwise_affine = elementwise_affine
        for name, present in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            self.register_parameter(name, blank(self.normalized_shape, dtype, device) if present else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Ones and zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """``(*, *normalized_shape) -> same``."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The shape and constants."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """``(*, *normalized_shape) -> same``: root mean square 1 over the last axes, then ``* weight``.

    ``eps=None`` is the machine epsilon of the input's dtype.

    Reference:
        Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
    """

    weight: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _sizes(normalized_shape), eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", blank(self.normalized_shape, dtype, device) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """``(*, *normalized_shape) -> same``."""
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The shape and constants."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class Dropout(Module):
    """``(*) -> (*)``: in training, each element is zero with probability ``p`` and divided by ``1 - p`` otherwise.

    Reference:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"Dropout: p is {p}; it must be in [0, 1]")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        result = dropout(input, self.p, self.training)
        return input.copy_(result) if self.inplace else result

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


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

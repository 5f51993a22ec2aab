"""Layers of two operands: how near they are, and their product with a tensor that is learned."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ArgumentError
from ..ops.distance import bilinear, cosine_similarity, pairwise_distance
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes


class CosineSimilarity(Module):
    """``(*, D, *), (*, D, *) -> (*, *)``: the cosine of the angle between vectors along axis ``dim``."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``(*, D, *), (*, D, *) -> (*, *)``."""
        return cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """``(N, D), (N, D) -> (N,)``: the norm of order ``p`` of ``x1 - x2 + eps``; ``(N, 1)`` with ``keepdim``."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm, self.eps, self.keepdim = p, eps, keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """``(N, D), (N, D) -> (N,)``."""
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class Bilinear(Module):
    """``(*, in1_features), (*, in2_features) -> (*, out_features)``: ``x1 @ weight[o] @ x2 + bias[o]``.

    ``weight`` ``(out_features, in1_features, in2_features)`` and ``bias`` ``(out_features,)`` are drawn uniformly from
    ``[-1, 1) / sqrt(in1_features)``.

    Example:
        >>> wf.nn.Bilinear(20, 30, 40)(wf.zeros((5, 20)), wf.zeros((5, 30))).shape
        (5, 40)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes("Bilinear", in1_features=in1_features, in2_features=in2_features, out_features=out_features)
        if in1_features < 1:
            raise ArgumentError("Bilinear: in1_features is 0; it must be 1 or more")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = blank((out_features, in1_features, in2_features), dtype, device)
        self.register_parameter("bias", blank((out_features,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        bound = 1.0 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """``(*, in1_features), (*, in2_features) -> (*, out_features)``."""
        return bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )

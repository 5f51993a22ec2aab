"""Fully connected layers, and the one that does nothing."""

from __future__ import annotations

import math
from typing import Any

from ..ops.linear import linear
from ..tensor.tensor import Tensor
from . import init
from .module import Module
from .parameter import Parameter, blank, check_sizes


class Identity(Module):
    """``(*) -> (*)``: its argument itself; takes and ignores any arguments when made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input."""
        return input


class Linear(Module):
    """``(*, in_features) -> (*, out_features)``: ``x @ weight.T + bias``.

    ``weight`` ``(out_features, in_features)`` and ``bias`` ``(out_features,)`` are drawn uniformly from
    ``[-1, 1) / sqrt(in_features)``.

    Example:
        >>> wf.nn.Linear(784, 10)(wf.zeros((32, 784))).shape
        (32, 10)
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        self.weight = blank((out_features, in_features), dtype, device)
        self.register_parameter("bias", blank((out_features,), dtype, device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters again."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5.0))
        if self.bias is not None:
            bound = 1.0 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """``(*, in_features) -> (*, out_features)``."""
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

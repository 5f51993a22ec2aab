"""Dropout: elements that are zero at random while a model trains."""

from __future__ import annotations

from ..core.errors import ArgumentError
from ..ops.dropout import dropout
from ..tensor.tensor import Tensor
from .module import Module


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

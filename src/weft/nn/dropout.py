"""Dropout: elements, or whole channels, that are zero at random while a model trains."""

from __future__ import annotations

from typing import Any

from ..core.errors import ArgumentError
from ..ops import dropout as ops
from ..tensor.tensor import Tensor
from .module import Module


class _Dropout(Module):
    """What dropouts share: a probability, and whether the input is written over."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ArgumentError(f"{type(self).__name__}: p is {p}; it must be in [0, 1]")
        self.p, self.inplace = p, inplace

    def _drop(self, function: Any, input: Tensor) -> Tensor:
        result: Tensor = function(input, self.p, self.training, self.inplace)
        return result

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """``(*) -> (*)``: in training, each element is zero with probability ``p`` and divided by ``1 - p`` otherwise.

    Reference:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return self._drop(ops.dropout, input)


class Dropout1d(_Dropout):
    """``(N, C, L) -> same``, or without N: in training, each channel is zero with probability ``p`` and divided by
    ``1 - p`` otherwise.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, L) -> same``."""
        return self._drop(ops.dropout1d, input)


class Dropout2d(_Dropout):
    """``(N, C, H, W) -> same``: in training, each channel is zero with probability ``p`` and divided by ``1 - p``
    otherwise. An input of three axes is (N, C, L), as in PyTorch, which warns of it.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, H, W) -> same``."""
        return self._drop(ops.dropout2d, input)


class Dropout3d(_Dropout):
    """``(N, C, D, H, W) -> same``, or without N: in training, each channel is zero with probability ``p`` and divided
    by ``1 - p`` otherwise.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, D, H, W) -> same``."""
        return self._drop(ops.dropout3d, input)


class AlphaDropout(_Dropout):
    """``(*) -> (*)``: in training, each element is what SELU saturates at with probability ``p``; then all are scaled
    and moved so that a mean of 0 and a variance of 1 stay. For networks of :class:`SELU`.

    Reference:
        Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(*) -> (*)``."""
        return self._drop(ops.alpha_dropout, input)


class FeatureAlphaDropout(_Dropout):
    """``(N, C, ...) -> same``: :class:`AlphaDropout` of whole channels.

    Reference:
        Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, ...) -> same``."""
        return self._drop(ops.feature_alpha_dropout, input)

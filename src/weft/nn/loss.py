"""Losses as modules: ``(input, target) -> ()``, or a loss for each element with ``reduction="none"``."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ArgumentError, ShapeError
from ..ops import loss as ops
from ..ops.linear_loss import linear_cross_entropy
from ..tensor.tensor import Tensor
from .linear import Linear
from .module import Module

REDUCTIONS = ("mean", "sum", "none")


class Loss(Module):
    """A loss with a reduction and, maybe, a weight that is a buffer."""

    weight: Tensor | None

    def __init__(self, reduction: str, reductions: tuple[str, ...] = REDUCTIONS) -> None:
        super().__init__()
        if reduction not in reductions:
            raise ArgumentError(
                f"{type(self).__name__}: reduction is {reduction!r}; it must be one of {', '.join(reductions)}"
            )
        self.reduction = reduction


class CrossEntropyLoss(Loss):
    """Logits ``(N, C, ...)`` against labels ``(N, ...)`` or probabilities ``(N, C, ...)``.

    See :func:`weft.nn.functional.cross_entropy`; ``weight`` ``(C,)`` is a factor for each class.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class LinearCrossEntropyLoss(Loss):
    """A linear layer and the cross entropy of its results, the logits: ``(N, in_features)`` against labels ``(N, ...)``
    or probabilities ``(N, num_classes, ...)``.

    See :func:`weft.nn.functional.linear_cross_entropy`. ``linear`` is a :class:`weft.nn.Linear` of ``num_classes``
    results, times the sizes of ``out_features``; ``weight`` ``(num_classes,)`` a factor for each class.

    Raises:
        ShapeError: ``weight`` has another shape.
        ArgumentError: ``label_smoothing`` is not in [0, 1].
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ShapeError(f"LinearCrossEntropyLoss: weight {tuple(weight.shape)} must be ({num_classes},)")
        if not 0.0 <= label_smoothing <= 1.0:
            raise ArgumentError(f"LinearCrossEntropyLoss: label_smoothing is {label_smoothing}; it must be in [0, 1]")
        self.register_buffer("weight", weight)
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        size = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, size, bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        outer, bias = (self.num_classes, *self.out_features), self.linear.bias
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape((*outer, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else bias.reshape(outer),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """The sizes and options."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}"
        )


class NLLLoss(Loss):
    """Log probabilities ``(N, C, ...)`` against labels ``(N, ...)``; ``weight`` ``(C,)`` for each class."""

    def __init__(self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class BCELoss(Loss):
    """Probabilities against targets in [0, 1] of the same shape; ``weight`` for each element."""

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Loss):
    """Logits against targets in [0, 1] of the same shape; ``weight`` for each element, ``pos_weight`` for the positive
    part of the loss."""

    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class MSELoss(Loss):
    """``(x - t) ** 2``."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """``|x - t|``."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Quadratic where ``|x - t| < beta``, linear beyond."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """Quadratic where ``|x - t| < delta``, linear beyond with slope ``delta``."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(Loss):
    """Log probabilities against probabilities (or their logarithms, ``log_target``)."""

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction, ("batchmean", *REDUCTIONS))
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(Loss):
    """Logarithms of expected counts (the counts themselves with ``log_input=False``) against counts.

    See :func:`weft.nn.functional.poisson_nll_loss`.
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, *, eps: float = 1e-8, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.log_input, self.full, self.eps = log_input, full, eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(Loss):
    """Expected values and variances against numbers: ``(input, target, var)``.

    See :func:`weft.nn.functional.gaussian_nll_loss`.
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.full, self.eps = full, eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        """The loss."""
        return ops.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)

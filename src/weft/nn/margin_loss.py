"""Losses of margins, of embeddings and of sequences as modules, and those of their functions that call a user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.errors import ArgumentError
from ..ops import margin_loss as ops
from ..ops.distance import pairwise_distance
from ..ops.op import Array, public
from ..tensor.tensor import Tensor
from ..transforms.source.find import captured
from .ctc import ctc_loss
from .loss import REDUCTIONS, Loss


class SoftMarginLoss(Loss):
    """Scores against 1 or -1 of the same shape: ``log(1 + exp(-t * x))``."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.soft_margin_loss(input, target, reduction=self.reduction)


class HingeEmbeddingLoss(Loss):
    """Distances against 1 (near) or -1 (farther away than ``margin``)."""

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """Scores ``(N, C)`` against 1 or 0 for each class; ``weight`` ``(C,)`` for each class."""

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class MultiLabelMarginLoss(Loss):
    """Scores ``(N, C)`` against lists of labels ``(N, C)`` that end with -1."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__(reduction)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(Loss):
    """Scores ``(N, C)`` against labels ``(N,)``, whose score is to be the greatest; ``weight`` ``(C,)`` for each class.

    See :func:`weft.nn.functional.multi_margin_loss`.
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        if p not in (1, 2):
            raise ArgumentError(f"MultiMarginLoss: p is {p}; it must be 1 or 2")
        if weight is not None and weight.ndim != 1:
            raise ArgumentError(f"MultiMarginLoss: weight {weight.shape} must be (C,), a factor for each class")
        self.register_buffer("weight", weight)
        self.p, self.margin = p, margin

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


class MarginRankingLoss(Loss):
    """Two scores and 1 or -1, which of them is to be the greater one: ``(input1, input2, target)``."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(Loss):
    """Two vectors ``(N, D)`` and 1 or -1, whether they belong together: ``(input1, input2, target)``."""

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        """The loss."""
        return ops.cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class TripletMarginLoss(Loss):
    """Vectors ``(N, D)``: the negative is to be farther from the anchor than the positive.

    See :func:`weft.nn.functional.triplet_margin_loss`.
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        *,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        ops.check_margin("TripletMarginLoss", margin)
        self.margin, self.p, self.eps, self.swap = margin, p, eps, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss."""
        return ops.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


@public
def triplet_margin_with_distance_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Array:
    """``max(0, d(a, p) - d(a, n) + margin)`` of any distances d.

    Args:
        anchor, positive, negative: of one rank; what the distance takes.
        distance_function: of two tensors, the distances; None: ``pairwise_distance``.
        margin: by how much the negative should be farther away; greater than 0.
        swap: take the distance of the negative from the positive where that is the smaller one.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the distances' shape for ``"none"``.

    Raises:
        ArgumentError: a margin that is not greater than 0, or no function.
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> a, p, n = wf.asarray([[0.0]]), wf.asarray([[1.0]]), wf.asarray([[3.0]])
        >>> loss = wf.nn.functional.triplet_margin_with_distance_loss
        >>> loss(a, p, n, distance_function=lambda x, y: wf.abs(x - y).sum(-1), margin=4.0).item()
        2.0
    """
    op = "triplet_margin_with_distance_loss"
    if reduction not in REDUCTIONS:  # before the user's function runs
        raise ArgumentError(f"{op}: reduction is {reduction!r}; it must be one of {', '.join(REDUCTIONS)}")
    if distance_function is not None and not callable(distance_function):
        raise ArgumentError(f"{op}: distance_function is no function, but {type(distance_function).__name__}")
    ops.check_margin(op, margin)
    ops.check_ranks(op, anchor, positive, negative)
    distance: Any = pairwise_distance if distance_function is None else captured(distance_function)
    near, far = distance(anchor, positive), distance(anchor, negative)
    other = distance(positive, negative) if swap else None
    return ops.loss_of_distances(near, far, other, margin, reduction)


class TripletMarginWithDistanceLoss(Loss):
    """As :class:`TripletMarginLoss`, of any distances; a module that computes them is a submodule.

    See :func:`weft.nn.functional.triplet_margin_with_distance_loss`.
    """

    def __init__(
        self,
        *,
        distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction)
        ops.check_margin("TripletMarginWithDistanceLoss", margin)
        self.distance_function, self.margin, self.swap = distance_function, margin, swap

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss."""
        return triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )


class CTCLoss(Loss):
    """Log probabilities ``(T, N, C)`` of classes at each time against sequences of labels that are not aligned:
    ``(log_probs, targets, input_lengths, target_lengths)``.

    See :func:`weft.nn.functional.ctc_loss`.
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False) -> None:
        super().__init__(reduction)
        self.blank, self.zero_infinity = blank, zero_infinity

    def forward(
        self,
        log_probs: Tensor,
        targets: Tensor,
        input_lengths: Tensor | Sequence[int],
        target_lengths: Tensor | Sequence[int],
    ) -> Tensor:
        """The loss."""
        return ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )

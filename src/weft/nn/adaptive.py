"""The adaptive softmax: many classes, of which the frequent ones are told apart first."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import shown
from ..ops.activation import log_softmax
from ..ops.elementwise import cast, where
from ..ops.indexing import NOWHERE, as_indices
from ..ops.loss import pick
from ..ops.op import Array, composite
from ..ops.pieces import concat
from ..ops.precision import widen
from ..ops.reduction import argmax, mean
from ..ops.shape import expand_dims
from ..tensor.tensor import Tensor
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module


class Adaptive(NamedTuple):
    """What :class:`AdaptiveLogSoftmaxWithLoss` gives: the log probabilities of the targets, and minus their mean."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """``(N, in_features), (N,) -> (log probabilities of the targets (N,), their loss ())``, or of one row.

    Classes are in the order of their frequency. Those below ``cutoffs[0]`` have a place of their own in the softmax of
    the head; each later cluster has one there, and a softmax of its own, over a projection to
    ``in_features // div_value ** i`` features. All clusters are computed for all rows, so that one graph does for any
    targets: what is saved is the smaller products, not (as in PyTorch) also the rows of other clusters.

    Example:
        >>> layer = wf.nn.AdaptiveLogSoftmaxWithLoss(8, 100, [10, 40])
        >>> output, loss = layer(wf.ones((2, 8)), wf.asarray([3, 70]))
        >>> output.shape, loss.shape, layer.log_prob(wf.ones((2, 8))).shape
        ((2,), (), (2, 100))

    Reference:
        Grave et al., Efficient softmax approximation for GPUs, 2017.
    """

    head: Linear
    tail: ModuleList

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        ends = list(cutoffs)
        rising = all(a < b for a, b in zip([0, *ends], [*ends, n_classes], strict=True))
        if not ends or not rising:
            raise ArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs are {shown(tuple(ends))} for {n_classes} classes: they must be "
                f"integers that rise, one or more, between 1 and {n_classes - 1}"
            )
        if not div_value > 0:
            raise ArgumentError(f"AdaptiveLogSoftmaxWithLoss: div_value is {div_value}; it must be above 0")
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*ends, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size, self.n_clusters = ends[0], len(ends)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i, (start, end) in enumerate(pairwise(self.cutoffs)):
            inner = int(in_features // div_value ** (i + 1))
            self.tail.append(
                Sequential(
                    Linear(in_features, inner, bias=False, device=device, dtype=dtype),
                    Linear(inner, end - start, bias=False, device=device, dtype=dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw all weights again."""
        self.head.reset_parameters()
        for inner, outer in self.tail:
            inner.reset_parameters()
            outer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> Adaptive:
        """``(output, loss)``; a label outside ``[0, n_classes)`` is an IndexError."""
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: input {input_.shape} and target {target_.shape} do not fit: an input "
                "(N, in_features) wants a target (N,), an input (in_features,) a target ()"
            )
        logits = [self.head(input_), *(cluster(input_) for cluster in self.tail)]
        found: Any = _chosen(logits, target_, tuple(self.cutoffs))  # Tensors: it is called from outside
        return Adaptive(*found)

    def log_prob(self, input: Tensor) -> Tensor:
        """``(N, in_features) -> (N, n_classes)``: the log probabilities of all classes."""
        return _all_classes([self.head(input), *(cluster(input) for cluster in self.tail)], self.shortlist_size)

    def predict(self, input: Tensor) -> Tensor:
        """``(N, in_features) -> (N,)``: the most probable class of each row."""
        return argmax(self.log_prob(input), axis=1)


@composite(name="adaptive_log_softmax", public=False)
def _chosen(logits: Sequence[Array], target: Array, cutoffs: tuple[int, ...]) -> tuple[Array, Array]:
    op = "AdaptiveLogSoftmaxWithLoss"
    if not target.dtype.is_integer:
        raise DTypeError(f"{op}: target is {target.dtype.name}; labels must be integers")
    if target.shape != logits[0].shape[:-1]:
        raise ShapeError(f"{op}: target {target.shape} for logits {logits[0].shape}: one label for each row")
    dtype, label = logits[0].dtype, as_indices(op, target)
    rows = [log_softmax(x if target.ndim else expand_dims(x, axis=0)) for x in widen(op, *logits)]
    label = label if target.ndim else expand_dims(label, axis=0)
    place = where(label < cutoffs[0], label, where(label < cutoffs[-1], cutoffs[0], NOWHERE))
    within = None
    for i, (start, end) in enumerate(pairwise(cutoffs)):
        here = (label >= start) & (label < end)
        place = where(here, cutoffs[0] + i, place)
        part = where(here, pick(rows[i + 1], where(here, label - start, 0), 1), 0.0)
        within = part if within is None else within + part
    output = pick(rows[0], place, 1) + within
    loss = cast(-mean(output), dtype)
    return cast(output if target.ndim else output[0], dtype), loss


@composite(name="adaptive_log_softmax", public=False)
def _all_classes(logits: Sequence[Array], shortlist: int) -> Array:
    if logits[0].ndim != 2:
        raise ShapeError(f"AdaptiveLogSoftmaxWithLoss: input with {logits[0].ndim - 1} axes of rows; wants (N, ...)")
    head, *tail = (log_softmax(x) for x in widen("AdaptiveLogSoftmaxWithLoss", *logits))
    parts = [x + head[:, shortlist + i : shortlist + i + 1] for i, x in enumerate(tail)]
    return cast(concat([head[:, :shortlist], *parts], axis=1), logits[0].dtype)

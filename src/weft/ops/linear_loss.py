"""The cross entropy of logits that a linear layer computes."""

from __future__ import annotations

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import size_of
from ..core.symbolic import are_equal
from .linear import linear
from .loss import cross_entropy
from .op import Array, composite
from .operands import require_tensors
from .shape import reshape


@composite
def linear_cross_entropy(
    input: Array,
    linear_weight: Array,
    target: Array,
    *,
    linear_bias: Array | None = None,
    weight: Array | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """``cross_entropy(linear(input, linear_weight, linear_bias), target)``, to the same bits.

    Args:
        input: ``(in,)`` or ``(N, in)``; a floating dtype.
        linear_weight: ``(C, in)``, or ``(C, d1, ..., in)`` for logits ``(N, C, d1, ...)``.
        target: labels in ``[0, C)`` of shape ``()``, ``(N,)`` or ``(N, d1, ...)`` and an integer dtype; or
            probabilities of the logits' shape and a floating dtype.
        linear_bias: ``linear_weight``'s shape without the last axis.
        weight: ``(C,)``, a factor for each class.
        reduction: ``"mean"``, ``"sum"``, ``"none"``.
        ignore_index: a label that neither counts nor gets a gradient; None: -100. With probabilities there is none to
            give.
        label_smoothing: the target's share, in [0, 1], that is spread evenly over the classes.

    Returns:
        ``()``, or the target's shape without a class axis for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
        ArgumentError: ``ignore_index`` with probabilities.

    Example:
        >>> import weft as wf
        >>> table = wf.eye(3)
        >>> wf.nn.functional.linear_cross_entropy(wf.zeros((2, 3)), table, wf.asarray([0, 2])).item() > 1.09
        True
    """
    op = "linear_cross_entropy"
    require_tensors(op, input, linear_weight, target)
    if input.ndim not in (1, 2):
        raise ShapeError(f"{op}: input {input.shape} must be (in,) or (N, in)")
    if linear_weight.ndim < 2 or not are_equal(linear_weight.shape[-1], input.shape[-1]):
        raise ShapeError(
            f"{op}: linear_weight {linear_weight.shape} must be (C, {input.shape[-1]}) or (C, ..., {input.shape[-1]})"
        )
    outer = tuple(linear_weight.shape[:-1])
    if len(outer) > 1 and input.ndim == 1:
        raise ShapeError(f"{op}: input {input.shape}: wants (N, in) with linear_weight {linear_weight.shape}")
    if linear_bias is not None and (
        linear_bias.ndim != len(outer) or not all(map(are_equal, linear_bias.shape, outer))
    ):
        raise ShapeError(f"{op}: linear_bias {linear_bias.shape} must be {outer}")
    if target.dtype.is_floating and ignore_index is not None:
        raise ArgumentError(f"{op}: ignore_index is {ignore_index}, and the target has probabilities")
    rows = size_of(outer)
    bias = None if linear_bias is None else reshape(linear_bias, (rows,))
    logits = linear(input, reshape(linear_weight, (rows, linear_weight.shape[-1])), bias)
    return cross_entropy(
        reshape(logits, (*input.shape[:-1], *outer)),
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )

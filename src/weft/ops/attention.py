"""Attention: scores of queries against keys, their softmax, and the values summed by it.

The scores are not stored: the primitives of :mod:`.attend` compute them block by block, and their gradients compute
them again, with what dropout draws. Who asks for the weights gets the same ops one by one, which give the same bits.
Heads that share keys (grouped queries) are a further axis of the batch, on which the keys do not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape, broadcast_shapes
from ..core.symbolic import Dim, are_equal
from .attend import ATTEND
from .contraction import product_of
from .creation import full
from .elementwise import astype, cast, exp, sqrt, where
from .op import Array, apply, composite, public
from .operands import extent
from .precision import widen
from .random import Generator, default_generator, draw_uniform
from .reduction import greatest_or_lowest
from .reduction import sum as sum_
from .shape import broadcast_to, expand_dims, matrix_transpose, reshape

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor  # one layer up: what a composite gives to whoever calls it

_NAME = "scaled_dot_product_attention"


@public
def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    generator: Generator | None = None,
) -> Array:
    """``softmax(query @ key^T * scale + mask) @ value`` for each head.

    The scores are not in memory, which grows with the lengths and not with their product. The bits are those of the
    formula (docs/numerics.md), so a row that is decoded with a cache of keys is that of the whole text.

    Args:
        query: ``(..., heads, L, E)``; a floating dtype, as of key and value.
        key: ``(..., heads, S, E)``; the leading axes of the three broadcast.
        value: ``(..., heads, S, Ev)``.
        attn_mask: a shape that broadcasts to ``(..., heads, L, S)``: bool, True where a query sees a key, or floating,
            added to the scores. A query that sees no key gets zeros.
        dropout_p: each weight is zero with this probability and divided by ``1 - dropout_p`` otherwise. There is no
            mode: outside of training pass 0.
        is_causal: query i sees the keys 0 to i; instead of a mask.
        scale: None is ``1 / sqrt(E)``.
        enable_gqa: key and value may have fewer heads, which divide query's: each serves as many heads in a row.
        generator: where dropout's random numbers come from; None is the default generator.

    Returns:
        ``(..., heads, L, Ev)`` in the promoted dtype; 16-bit floats are computed in float32 and rounded once.

    Raises:
        ShapeError: the sizes do not fit.
        DTypeError: an operand is not floating, or the mask is an integer's.
        ArgumentError: a mask together with ``is_causal``, or ``dropout_p`` is no probability.

    Reference:
        Vaswani et al., Attention Is All You Need, 2017; Ainslie et al., GQA, 2023 (grouped queries).

    Example:
        >>> q, k = wf.asarray([[1.0, 0.0]]), wf.asarray([[1.0, 0.0], [1.0, 0.0]])
        >>> wf.nn.functional.scaled_dot_product_attention(q, k, wf.asarray([[2.0], [4.0]]))
        Tensor([[3.]], dtype=float32)
    """
    if not 0.0 <= dropout_p <= 1.0:
        raise ArgumentError(f"{_NAME}: dropout_p is {dropout_p}; it must be in [0, 1]")
    if attn_mask is not None and is_causal:
        raise ArgumentError(f"{_NAME}: both attn_mask and is_causal: give one, or a mask that is causal too")
    masks = () if attn_mask is None else (attn_mask,)
    draw = _draw(query, dropout_p, generator)
    return _attention_of(query, key, value, masks, draw, float(dropout_p), is_causal, scale, enable_gqa)


def attended(
    query: Array,
    key: Array,
    value: Array,
    masks: Sequence[Array],
    dropout_p: float,
    is_causal: bool,
) -> Tensor:
    """:func:`scaled_dot_product_attention` under several masks, each as it is there."""
    return _attention_of(query, key, value, masks, _draw(query, dropout_p, None), dropout_p, is_causal, None, False)


def attended_with_weights(
    query: Array, key: Array, value: Array, masks: Sequence[Array], dropout_p: float
) -> tuple[Tensor, Tensor]:
    """The same with the weights ``(..., heads, L, S)`` by which the values are summed (after dropout). A query that
    sees no key gets NaN, as from PyTorch's ``MultiheadAttention`` where it returns weights."""
    result: Any = _with_weights(query, key, value, masks, _draw(query, dropout_p, None), dropout_p)  # two tensors
    found: tuple[Tensor, Tensor] = result
    return found


def _draw(query: Array, dropout_p: float, generator: Generator | None) -> Array | None:
    """A state of the generator for dropout, if there is any."""
    return (generator or default_generator(query.device)).next() if dropout_p > 0.0 else None


def _attention_of(
    query: Array,
    key: Array,
    value: Array,
    masks: Sequence[Array],
    draw: Array | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Tensor:
    """Of what is kept of the rows, only the gradient knows. It is rounded here: what is kept of the result is not."""
    several: Any = _attention(query, key, value, masks, draw, dropout_p, is_causal, scale, enable_gqa)
    found: Tensor = several[0]
    dtype = dt.promote(dt.promote(query.dtype, key.dtype), value.dtype)
    return found if found.dtype is dtype else astype(found, dtype)


@composite(name=_NAME)
def _attention(
    query: Array,
    key: Array,
    value: Array,
    masks: Sequence[Array],
    draw: Array | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> tuple[Array, ...]:
    """The result in the dtype that it is computed in, and what the gradient needs to know of each row."""
    _check(query, key, value, enable_gqa)
    q, k, v, _ = _operands(query, key, value)
    whole = None
    if enable_gqa:
        whole, q, k, v = _apart(q, k, v)
    batch = broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2], op=f"{_NAME}: batches")
    q, k, v = (broadcast_to(x, (*batch, *x.shape[-2:])) for x in (q, k, v))
    scores = (*batch, q.shape[-2], k.shape[-2])
    given = scores if whole is None else (*batch[:-2], whole, *scores[-2:])
    seen = [reshape(_mask_over(mask, given, q.dtype), scores) for mask in masks]
    others = [broadcast_to(_scale(q, scale), scores), *seen]
    if draw is not None:
        others.append(draw_uniform(draw, scores) < dropout_p)
    several: Any = apply(ATTEND, q, k, v, *others, causal=is_causal, dropout=dropout_p)
    result, *rows = several
    return (result if whole is None else reshape(result, (*given[:-1], v.shape[-1])), *rows)


@composite(name="multi_head_attention", public=False)
def _with_weights(
    query: Array, key: Array, value: Array, masks: Sequence[Array], draw: Array | None, dropout_p: float
) -> tuple[Array, Array]:
    _check(query, key, value, False)
    q, k, v, dtype = _operands(query, key, value)
    scores = product_of(_NAME, q, matrix_transpose(k), f"query {q.shape}, key {k.shape}") * _scale(q, None)
    for mask in masks:
        spread = _mask_over(mask, scores.shape, scores.dtype)
        scores = where(spread, scores, -math.inf) if mask.dtype is dt.bool_ else scores + spread
    raised = exp(scores - greatest_or_lowest(scores, -1))
    weights = raised / sum_(raised, axis=-1, keepdims=True)
    if draw is not None:
        kept = weights * (1.0 / (1.0 - dropout_p) if dropout_p < 1.0 else 0.0)
        weights = where(draw_uniform(draw, weights.shape) < dropout_p, 0.0, kept)
    # + 0.0: a sum of zeros has no sign (ops/attend.py).
    result = product_of(_NAME, weights, v, f"weights {weights.shape}, value {v.shape}") + 0.0
    return cast(result, dtype), cast(weights, dtype)


# --- the parts --------------------------------------------------------------------------------------------------


def _operands(query: Array, key: Array, value: Array) -> tuple[Array, Array, Array, DType]:
    """The three in one dtype to compute in, and the dtype of the result."""
    widen(_NAME, query, key, value)  # what is not floating raises
    dtype = dt.promote(dt.promote(query.dtype, key.dtype), value.dtype)
    q, k, v = widen(_NAME, *(cast(x, dtype) for x in (query, key, value)))
    return q, k, v, dtype


def _check(query: Array, key: Array, value: Array, grouped: bool) -> None:
    """Raise unless the sizes fit.

    Raises:
        ShapeError: naming them.
    """
    shown = f"{_NAME}: query {query.shape}, key {key.shape}, value {value.shape}"
    least = 3 if grouped else 2
    if min(query.ndim, key.ndim, value.ndim) < least:
        axes = "(..., heads, L, E)" if grouped else "(..., L, E)"
        raise ShapeError(f"{shown}: each must have rank {least} or more: {axes}")
    if not are_equal(query.shape[-1], key.shape[-1]):
        raise ShapeError(f"{shown}: query and key differ in their last axis, {query.shape[-1]} and {key.shape[-1]}")
    if not are_equal(key.shape[-2], value.shape[-2]):
        raise ShapeError(f"{shown}: {key.shape[-2]} keys and {value.shape[-2]} values")
    if not grouped:
        return
    heads = query.shape[-3]
    for name, x in (("key", key), ("value", value)):
        few = x.shape[-3]
        if isinstance(heads, int) and isinstance(few, int) and (heads % few if few else heads):
            raise ShapeError(f"{shown}: {few} heads of {name} do not divide the {heads} of query")


def _apart(q: Array, k: Array, v: Array) -> tuple[Dim | None, Array, Array, Array]:
    """Heads that share a key as an axis of their own, on which key and value have size 1; and how many heads there are,
    or None where each has a key of its own. Where key and value are of different groups, they are repeated."""
    heads, few = q.shape[-3], k.shape[-3]
    if not are_equal(few, v.shape[-3]):
        return None, q, _repeated(k, heads), _repeated(v, heads)
    if are_equal(heads, few):
        return None, q, k, v
    apart = reshape(q, (*q.shape[:-3], few, heads // few, *q.shape[-2:]))
    return heads, apart, expand_dims(k, -3), expand_dims(v, -3)


def _repeated(x: Array, heads: Dim) -> Array:
    few, rest = x.shape[-3], x.shape[-2:]
    spread = broadcast_to(expand_dims(x, -3), (*x.shape[:-2], heads // few, *rest))
    return reshape(spread, (*x.shape[:-3], heads, *rest))


def _mask_over(mask: Array, shape: Shape, dtype: DType) -> Array:
    """A mask as one of all scores, in their dtype if it is added."""
    _check_mask(mask)
    spread = _spread(mask, shape)
    return spread if mask.dtype is dt.bool_ else cast(spread, dtype)


def _scale(q: Array, scale: float | None) -> Array:
    """What the scores are multiplied by."""
    if scale is not None:
        return full((), 1.0, dtype=q.dtype) * scale
    # Of a number a constant; of a symbolic size the same number, computed where the size is known.
    return cast(1.0 / sqrt(extent(q.shape[-1], dt.float64)), q.dtype)


def _check_mask(mask: Array) -> None:
    if mask.dtype is not dt.bool_ and not mask.dtype.is_floating:
        raise DTypeError(f"{_NAME}: the mask is {mask.dtype.name}; it must be bool or floating")


def _spread(mask: Array, shape: Shape) -> Array:
    try:
        return broadcast_to(mask, shape)
    except ShapeError:
        raise ShapeError(f"{_NAME}: a mask of shape {mask.shape} does not broadcast to scores of {shape}") from None


def _dropped(weights: Array, draw: Array | None, p: float) -> Array:
    if draw is None:
        return weights
    return where(draw_uniform(draw, weights.shape) < p, 0.0, weights * (1.0 / (1.0 - p) if p < 1.0 else 0.0))

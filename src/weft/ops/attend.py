"""Attention as primitives: what queries see of keys and values, and its gradients, without the scores in memory.

Each is defined by the ops that :func:`composition` writes down, and has their bits: it is these ops in one kernel. The
matrices come first: (query, key, value), of gradients also the cotangent. Then comes what is elementwise over (queries,
keys): of gradients what the forward pass kept of each row, and the sum of its cotangents' products; the scale; the
masks; and, with dropout, which weights are zeros. All have one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler import expr as ex
from ..compiler.expr import Expr
from ..core import dtypes as dt
from ..core.errors import DTypeError, ShapeError
from ..graph.ir import Graph, Node, Value, inline
from ..graph.protocol import Attend, Pairs, Primitive, TensorType
from .contraction import CONTRACT
from .creation import tri_mask
from .elementwise import exp, where
from .entries import vector_math
from .op import Array, apply, trace_function
from .reduction import greatest_or_lowest
from .reduction import sum as sum_
from .shape import broadcast_to, expand_dims, matrix_transpose, squeeze

Params = dict[str, Any]
Gradients = tuple[Any, ...]
_raised = vector_math("exp")

# --- types ------------------------------------------------------------------------------------------------------


def _checked(name: str, matrices: Sequence[TensorType], others: Sequence[TensorType]) -> TensorType:
    """The type of the scores."""
    q, k, v = matrices[:3]
    scores = (*q.shape[:-1], *k.shape[-2:-1])
    fits = (
        min(len(x.shape) for x in matrices) >= 2
        and all(x.shape[:-2] == q.shape[:-2] for x in matrices)
        and q.shape[-1] == k.shape[-1]
        and k.shape[-2] == v.shape[-2]
        and all(g.shape == (*q.shape[:-1], v.shape[-1]) for g in matrices[3:])
        and all(x.shape == scores for x in others)
    )
    if not fits:
        raise ShapeError(f"{name}: {', '.join(str(x.shape) for x in (*matrices, *others))}")
    if q.dtype not in (dt.float32, dt.float64) or any(x.dtype is not q.dtype for x in matrices):
        raise DTypeError(f"{name}: {', '.join(x.dtype.name for x in matrices)}")
    if any(x.dtype is not q.dtype and x.dtype is not dt.bool_ for x in others):
        raise DTypeError(f"{name}: {', '.join(x.dtype.name for x in others)} for {q.dtype.name}")
    return TensorType(q.dtype, scores)


def _attend_type(params: Params, *types: TensorType) -> tuple[TensorType, ...]:
    scores = _checked("attend", types[:3], types[3:])
    rows = TensorType(scores.dtype, scores.shape[:-1])
    return TensorType(scores.dtype, (*rows.shape, types[2].shape[-1])), rows, rows


def _queries_type(params: Params, *types: TensorType) -> TensorType:
    _checked("attend_queries", types[:4], types[4:])
    return types[0]


def _keys_type(params: Params, *types: TensorType) -> tuple[TensorType, ...]:
    _checked("attend_keys", types[:4], types[4:])
    return types[1], types[2]


# --- one pair of a kernel ---------------------------------------------------------------------------------------


def _split(params: Params, others: Sequence[Any]) -> tuple[Any, Sequence[Any], Any]:
    """The scale, the masks, and which weights are zeros, or None."""
    scale, *masks = others
    return (scale, masks[:-1], masks[-1]) if params["dropout"] else (scale, masks, None)


def _factor(params: Params) -> float:
    """What the weights that stay are multiplied by."""
    p = params["dropout"]
    return 1.0 / (1.0 - p) if p < 1.0 else 0.0


def _seen(params: Params, raw: Expr, others: Sequence[Expr]) -> Expr:
    """The score of a pair."""
    scale, masks, _ = _split(params, others)
    score = ex.mul(raw, scale)
    for mask in masks:
        hidden = ex.const(-math.inf, score.dtype)
        score = ex.where(mask, score, hidden) if mask.dtype is dt.bool_ else ex.add(score, mask)
    return score


def _kept(params: Params, weight: Expr, others: Sequence[Expr]) -> Expr:
    """A weight, or its gradient, behind dropout."""
    dropped = _split(params, others)[2]
    if dropped is None:
        return weight
    scaled = ex.mul(weight, ex.const(_factor(params), weight.dtype))
    return ex.where(dropped, ex.const(0.0, weight.dtype), scaled)


def _attend_stages(params: Params, refs: Sequence[Expr], others: Sequence[Expr]) -> Pairs:
    score, top, total = refs
    zero, one, lowest = (ex.const(x, score.dtype) for x in (0.0, 1.0, -math.inf))
    shift = ex.where(ex.eq(top, lowest), zero, top)
    divisor = ex.where(ex.eq(total, zero), one, total)
    reductions = ("max", _seen(params, score, others)), ("sum", _raised(ex.sub(score, shift)))
    return Pairs(reductions, (shift, divisor), (_kept(params, ex.div(score, divisor), others),))


def _weight(params: Params, refs: Sequence[Expr], others: Sequence[Expr]) -> tuple[Expr, Expr]:
    """The weight of a pair, behind dropout, and the gradient of its score."""
    raw, product = refs
    shift, divisor, mean, *rest = others
    weight = ex.div(_raised(ex.sub(_seen(params, raw, rest), shift)), divisor)
    return _kept(params, weight, rest), ex.mul(weight, ex.sub(_kept(params, product, rest), mean))


def _queries_stages(params: Params, refs: Sequence[Expr], others: Sequence[Expr]) -> Pairs:
    return Pairs((), (), (ex.mul(_weight(params, refs, others)[1], others[3]),))


def _keys_stages(params: Params, refs: Sequence[Expr], others: Sequence[Expr]) -> Pairs:
    weight, gradient = _weight(params, refs, others)
    return Pairs((), (), (ex.mul(gradient, others[3]), weight))


# --- the same by other ops --------------------------------------------------------------------------------------


def scores_of(params: Params, q: Array, k: Array, others: Sequence[Array]) -> Array:
    """The scores of all pairs, -inf where a query does not see a key."""
    scale, masks, _ = _split(params, others)
    scores: Array = apply(CONTRACT, q, matrix_transpose(k)) * scale
    for mask in masks:
        scores = where(mask, scores, -math.inf) if mask.dtype is dt.bool_ else scores + mask
    if params["causal"]:
        scores = where(tri_mask(scores.shape[-2], scores.shape[-1]), scores, -math.inf)
    return scores


def softmax_of(scores: Array) -> tuple[Array, Array, Array]:
    """The weights, what is subtracted from the scores of a row, and what its powers are divided by, such that rows of
    -inf alone get zeros."""
    top = greatest_or_lowest(scores, -1)
    shift = where(top == -math.inf, 0.0, top)
    raised = exp(scores - shift)
    total = sum_(raised, axis=-1, keepdims=True)  # 1 at least, where anything is seen
    divisor = where(total == 0.0, 1.0, total)
    return raised / divisor, shift, divisor


def _staying(params: Params, weights: Array, others: Sequence[Array]) -> Array:
    """Weights, or their gradients, behind dropout."""
    dropped = _split(params, others)[2]
    return weights if dropped is None else where(dropped, 0.0, weights * _factor(params))


def _attended(params: Params, q: Array, k: Array, v: Array, *others: Array) -> tuple[Array, ...]:
    weights, shift, divisor = softmax_of(scores_of(params, q, k, others))
    weights = _staying(params, weights, others)
    return _summed(weights, v), squeeze(shift, -1), squeeze(divisor, -1)


def _summed(weights: Array, x: Array) -> Array:
    """Rows of ``x`` by their weights. A sum that is zero is +0.0, however many zeros it has."""
    found: Array = apply(CONTRACT, weights, x) + 0.0
    return found


def _gradients(params: Params, q: Array, k: Array, v: Array, g: Array, *others: Array) -> tuple[Array, Array]:
    """The weights, behind dropout, and the gradient of the scores."""
    shift, divisor, mean, *rest = others
    weights = exp(scores_of(params, q, k, rest) - shift) / divisor
    products = _staying(params, apply(CONTRACT, g, matrix_transpose(v)), rest)
    gradient = weights * (products - mean)
    if params["causal"]:
        gradient = where(tri_mask(gradient.shape[-2], gradient.shape[-1]), gradient, 0.0)
    return _staying(params, weights, rest), gradient


def _attended_queries(params: Params, q: Array, k: Array, v: Array, g: Array, *others: Array) -> tuple[Array, ...]:
    gradient = _gradients(params, q, k, v, g, *others)[1]
    return (_summed(gradient * others[3], k),)


def _attended_keys(params: Params, q: Array, k: Array, v: Array, g: Array, *others: Array) -> tuple[Array, ...]:
    weights, gradient = _gradients(params, q, k, v, g, *others)
    return _summed(matrix_transpose(gradient * others[3]), q), _summed(matrix_transpose(weights), g)


_COMPOSED: dict[str, Callable[..., tuple[Array, ...]]] = {
    "attend": _attended,
    "attend_queries": _attended_queries,
    "attend_keys": _attended_keys,
}


def composition(node: Node) -> Graph:
    """What a node computes, as a graph of other ops over its operands."""
    function = _COMPOSED[node.op.name]
    types = [v.type for v in node.inputs]
    return trace_function(lambda *operands: function(node.params, *operands), types, node.op.name)[0]


def composed(node: Node) -> Sequence[Value]:
    """What a node gives, by nodes of other ops."""
    return inline(composition(node), node.inputs, [], node.scope, node.where)


# --- gradients --------------------------------------------------------------------------------------------------


def over_pairs(rows: Array, scores: tuple[Any, ...]) -> Array:
    """A value of each row as one of each pair."""
    return broadcast_to(expand_dims(rows, -1), scores)


def _attend_vjp(params: Params, inputs: tuple[Array, ...], output: tuple[Array, ...], g: tuple[Any, ...]) -> Gradients:
    """Of the rows' ``shift`` and ``divisor`` nobody asks for a gradient: they are kept for this."""
    (q, k, v), others, cotangent = inputs[:3], inputs[3:], g[0]
    scores = (*q.shape[:-1], k.shape[-2])
    mean = sum_(cotangent * output[0], axis=-1)
    operands = (q, k, v, cotangent, *(over_pairs(x, scores) for x in (*output[1:], mean)), *others)
    for_q: Array = apply(ATTEND_QUERIES, *operands, **params)
    for_k, for_v = apply(ATTEND_KEYS, *operands, **params)
    return for_q, for_k, for_v, None, *_mask_gradients(params, inputs, over_pairs(mean, scores), cotangent)


def _mask_gradients(params: Params, inputs: tuple[Array, ...], mean: Array, g: Array) -> list[Any]:
    """Of masks that are added: the gradient of the scores, which is computed where somebody asks for it."""
    (q, k, v), others = inputs[:3], inputs[3:]
    if all(mask.dtype is dt.bool_ for mask in others[1:]):
        return [None] * len(others[1:])
    weights = softmax_of(scores_of(params, q, k, others))[0]
    gradient = weights * (_staying(params, apply(CONTRACT, g, matrix_transpose(v)), others) - mean)
    return [None if mask.dtype is dt.bool_ else gradient for mask in others[1:]]


def _second(params: Params, inputs: tuple[Array, ...], a: Any, b: Any, c: Any) -> Gradients:
    """The gradients of ``sum(a * dq) + sum(b * dk) + sum(c * dv)``, all by ordinary ops.

    With ``w`` the weights, ``p = g @ v.T`` and ``u = g @ c.T`` behind dropout, and ``t = scale * (a @ k.T + q @ b.T)``
    that is the sum of ``w * (p - sum(w * p)) * t + w * u``, where ``w`` hangs on the scores as softmax does; what was
    kept of the rows is part of that and has no gradient of its own.
    """
    q, k, v, g, _, _, _, *others = inputs
    scale, *masks = others
    weights = softmax_of(scores_of(params, q, k, others))[0]

    def pairs(x: Array, y: Array) -> Array:
        found: Array = apply(CONTRACT, x, matrix_transpose(y))
        return found

    def mean(x: Array) -> Array:
        return sum_(weights * x, axis=-1, keepdims=True)

    p = _staying(params, pairs(g, v), others)
    parts = [*([pairs(a, k)] if a is not None else []), *([pairs(q, b)] if b is not None else [])]
    gradient = weights * (p - mean(p))
    t = (parts[0] + parts[1] if len(parts) > 1 else parts[0]) * scale if parts else None
    inner = None if t is None else (p - mean(p)) * t - p * mean(t)
    if c is not None:
        u = _staying(params, pairs(g, c), others)
        inner = u if inner is None else inner + u
    assert inner is not None, "a cotangent flows"
    of_scores = weights * (inner - mean(inner))
    scaled, first = of_scores * scale, gradient * scale
    for_q, for_k = _summed(scaled, k), _summed(matrix_transpose(scaled), q)
    if b is not None:
        for_q = for_q + _summed(first, b)
    if a is not None:
        for_k = for_k + _summed(matrix_transpose(first), a)
    for_v = for_g = None
    if t is not None:
        apart = _staying(params, weights * (t - mean(t)), others)
        for_v, for_g = _summed(matrix_transpose(apart), g), _summed(apart, v)
    if c is not None:
        more = _summed(_staying(params, weights, others), c)
        for_g = more if for_g is None else for_g + more
    rest = [None if mask.dtype is dt.bool_ else of_scores for mask in masks]
    return for_q, for_k, for_v, for_g, None, None, None, None, *rest


def _queries_vjp(params: Params, inputs: tuple[Array, ...], output: Array, g: Array) -> Gradients:
    return _second(params, inputs, g, None, None)


def _keys_vjp(params: Params, inputs: tuple[Array, ...], output: Any, g: tuple[Any, ...]) -> Gradients:
    return _second(params, inputs, None, *g)


ATTEND = Primitive("attend", _attend_type, Attend(((0, 1),), (2,), _attend_stages, composed, reductions=2), _attend_vjp)
ATTEND_QUERIES = Primitive(
    "attend_queries", _queries_type, Attend(((0, 1), (3, 2)), (1,), _queries_stages, composed), _queries_vjp
)
ATTEND_KEYS = Primitive(
    "attend_keys",
    _keys_type,
    Attend(((1, 0), (2, 3)), (0, 3), _keys_stages, composed, turned=True),
    _keys_vjp,
)

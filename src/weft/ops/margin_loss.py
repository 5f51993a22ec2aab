"""Losses of margins and of embeddings: composites with PyTorch's names, order of arguments and reductions.

What says which side of a margin is wanted, 1 or -1, may be of any integer or floating dtype, and shapes broadcast where
PyTorch's do. At a kink the gradient is PyTorch's; a NaN stays one. float16 and bfloat16 are computed in float32.
"""

from __future__ import annotations

from functools import reduce

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import Shape
from ..core.symbolic import Dim
from .activation import logsigmoid
from .creation import iota, zeros
from .elementwise import cast, minimum, sqrt, stop_gradient, where
from .indexing import NOWHERE, as_indices, take, take_along_axis
from .linalg import vector_norm
from .loss import pick, reduced
from .op import Array, composite
from .operands import broadcast_operands, extent
from .precision import widen, working
from .pytorch_indexing import scatter_add
from .reduction import min as min_
from .reduction import sum as sum_
from .shape import broadcast_to, expand_dims, reshape

_COSINE_EPS = 1e-12  # what PyTorch adds to the squared lengths

# --- what they share --------------------------------------------------------------------------------------------


def _at_least_0(x: Array) -> Array:
    """``max(x, 0)`` with the gradient 1 at 0, as that of PyTorch's clamp."""
    return where(x < 0.0, 0.0, x)


def _above_0(x: Array) -> Array:
    """``max(x, 0)`` with the gradient 0 at 0."""
    return where(x <= 0.0, 0.0, x)


def _with_target(op: str, target: Array, *inputs: Array) -> tuple[Array, tuple[Array, ...], DType]:
    """The target and the inputs in one dtype, wide, and the dtype of the result."""
    if target.dtype is dt.bool_:
        raise DTypeError(f"{op}: target is bool; it must be numbers, of an integer or floating dtype; cast with astype")
    wide = widen(op, *inputs)
    common = reduce(dt.promote, [x.dtype for x in (*inputs, target) if x.dtype.is_floating])
    dtype = working(common)
    return cast(target, dtype), tuple(cast(x, dtype) for x in wide), common


def check_margin(op: str, margin: float) -> None:
    """Raise an ArgumentError for a margin that is not greater than 0."""
    if not margin > 0:
        raise ArgumentError(f"{op}: margin is {margin}; it must be greater than 0")


def _classes(op: str, input: Array) -> Dim:
    """The number of classes of an input ``(C,)`` or ``(N, C)``.

    Raises:
        ShapeError: another rank, or no classes.
    """
    classes = input.shape[-1] if input.ndim in (1, 2) else 0
    if isinstance(classes, int) and classes == 0:
        raise ShapeError(f"{op}: input {input.shape} must be (C,) or (N, C), with one class or more")
    return classes


# --- one score --------------------------------------------------------------------------------------------------


@composite
def soft_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """``log(1 + exp(-t * x))`` of a score x, whose sign is to be that of t.

    Computed without overflow: far out on the wrong side it is ``-t * x`` (in PyTorch infinite).

    Args:
        input: scores, any shape; a floating dtype.
        target: 1 or -1, input's shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or input's shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> round(wf.nn.functional.soft_margin_loss(wf.asarray([0.0]), wf.asarray([1])).item(), 4)  # log(2)
        0.6931
    """
    op = "soft_margin_loss"
    t, (x,), dtype = _with_target(op, target, input)
    if input.shape != target.shape:
        raise ShapeError(f"{op}: input {input.shape} and target {target.shape} differ; broadcast one of them")
    return reduced(op, -logsigmoid(t * x), reduction, dtype)


@composite
def hinge_embedding_loss(input: Array, target: Array, margin: float = 1.0, *, reduction: str = "mean") -> Array:
    """A distance ``x`` where the target is 1, ``max(0, margin - x)`` where it is -1 (their sum where it is neither).

    Args:
        input: distances, any shape; a floating dtype.
        target: 1 or -1, of a shape that broadcasts with input's.
        margin: how far what does not belong together should be.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    op = "hinge_embedding_loss"
    t, (x,), dtype = _with_target(op, target, input)
    t, x = broadcast_operands(op, t, x)
    loss = where(t != 1.0, _at_least_0(margin - x), 0.0) + where(t != -1.0, x, 0.0)
    return reduced(op, loss, reduction, dtype)


@composite
def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Array:
    """``-(t * log(sigmoid(x)) + (1 - t) * log(sigmoid(-x)))``, averaged over the classes, the last axis.

    Args:
        input: scores, ``(..., C)``; a floating dtype.
        target: 1 for the classes that hold, 0 for others; of a shape that broadcasts with input's, of no more axes.
        weight: a factor for each class, ``(C,)``, or of any shape that broadcasts to input's.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape without the last axis for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    op = "multilabel_soft_margin_loss"
    t, (x,), dtype = _with_target(op, target, input)
    if not x.ndim:
        raise ShapeError(f"{op}: input () has no class axis; it must be (..., C)")
    if target.ndim > input.ndim:  # the classes are on input's last axis: PyTorch sums over the one of that number
        raise ShapeError(f"{op}: target {target.shape} has more axes than input {input.shape}; broadcast input")
    t, x = broadcast_operands(op, t, x)
    loss = -(t * logsigmoid(x) + (1.0 - t) * logsigmoid(-x))
    if weight is not None:
        (factor,) = widen(op, weight)
        loss = loss * broadcast_to(cast(factor, x.dtype), x.shape)
    return reduced(op, sum_(loss, axis=-1) / extent(x.shape[-1], x.dtype), reduction, dtype)


# --- one score a class --------------------------------------------------------------------------------------------


@composite
def multilabel_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """``max(0, 1 - (x[y] - x[i]))`` for each class y that holds and each i that does not, their sum over C.

    Nothing of size ``C * C`` is stored.

    Args:
        input: scores, ``(C,)`` or ``(N, C)``; a floating dtype.
        target: in each row the classes that hold, then -1; what follows the first -1 does not count. Input's shape; an
            integer dtype.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or ``(N,)`` for ``"none"`` of an input ``(N, C)``; input's dtype.

    Raises:
        IndexError: a label outside ``[-1, C)``.
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> x, y = wf.asarray([0.1, 0.2, 0.4, 0.8]), wf.asarray([3, 0, -1, 1])
        >>> round(wf.nn.functional.multilabel_margin_loss(x, y).item(), 4)
        0.85
    """
    op = "multilabel_margin_loss"
    if not target.dtype.is_integer:
        raise DTypeError(f"{op}: target is {target.dtype.name}; labels must be integers")
    classes = _classes(op, input)
    if target.shape != input.shape:
        raise ShapeError(f"{op}: target {target.shape} does not fit input {input.shape}: labels must have its shape")
    (x,) = widen(op, input)
    labels = as_indices(op, target)
    ends = labels == -1
    safe = where(ends, 0, where(labels < 0, NOWHERE, labels))
    position = iota(tuple(x.shape), x.ndim - 1)
    first = min_(where(ends, position, extent(classes, dt.int64)), axis=-1, keepdims=True)
    loss = _margins(x, take_along_axis(x, safe, axis=-1), safe, position < first)
    return reduced(op, loss / extent(classes, x.dtype), reduction, input.dtype)


def _margins(x: Array, own: Array, labels: Array, counts: Array) -> Array:
    """The sum of ``max(0, 1 - (own[j] - x[i]))`` over j that count and i that are none of their labels, ``(...)``.

    Each sum runs along the last axis of pairs that are computed where they are summed up. Differentiated as it stands,
    the sums of the gradient along either axis would share pairs in memory; so the gradient is that of
    ``sum(m[i] * x[i]) - sum(n[j] * own[j])`` with the numbers of pairs above the margin, which has the same one.
    """
    by_row, by_column = (expand_dims(counts, axis=at) for at in (-1, -2))
    ones = cast(counts, x.dtype)
    holds = scatter_add(zeros(tuple(x.shape), dtype=x.dtype), x.ndim - 1, labels, ones) > 0.0
    score, label = stop_gradient(x), stop_gradient(own)

    def above(term: Array, both: Array) -> tuple[Array, Array]:
        is_above = both & ~(term <= 0.0)
        return where(is_above, term, 0.0), cast(is_above, x.dtype)

    terms, ones = above(
        1.0 - (expand_dims(label, axis=-1) - expand_dims(score, axis=-2)), by_row & ~expand_dims(holds, axis=-2)
    )
    _, others = above(
        1.0 - (expand_dims(label, axis=-2) - expand_dims(score, axis=-1)), by_column & ~expand_dims(holds, axis=-1)
    )
    n, m = sum_(ones, axis=-1), sum_(others, axis=-1)
    line = sum_(where(m == 0.0, 0.0, m * x) - where(n == 0.0, 0.0, n * own), axis=-1)
    nothing = line - stop_gradient(line)
    line = where(nothing == 0.0, nothing, 0.0)  # of infinite scores it would be NaN
    return sum_(sum_(terms, axis=-1), axis=-1) + line


@composite
def multi_margin_loss(
    input: Array,
    target: Array,
    p: int = 1,
    margin: float = 1.0,
    weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """``weight[y] * max(0, margin - x[y] + x[i]) ** p`` for each class i that is not y, their sum over C.

    Args:
        input: scores, ``(C,)`` or ``(N, C)``; a floating dtype.
        target: the class y, in ``[0, C)``: ``()`` (or ``(1,)``), or ``(N,)``; an integer dtype.
        p: 1 or 2.
        margin: by how much the class's score should be the greatest.
        weight: ``(C,)``, a factor for each class.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or target's shape for ``"none"``; input's dtype.

    Raises:
        IndexError: a label outside ``[0, C)``.
        ArgumentError: another p.
        ShapeError, DTypeError: operands that do not fit.
    """
    op = "multi_margin_loss"
    if p not in (1, 2):
        raise ArgumentError(f"{op}: p is {p}; it must be 1 or 2")
    if not target.dtype.is_integer:
        raise DTypeError(f"{op}: target is {target.dtype.name}; labels must be integers")
    classes = _classes(op, input)
    wanted: list[Shape] = [(input.shape[0],)] if input.ndim == 2 else [(), (1,)]
    if target.shape not in wanted:
        raise ShapeError(f"{op}: target {target.shape} does not fit input {input.shape}: labels must be {wanted[0]}")
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"{op}: weight {weight.shape} for {classes} classes: it must be ({classes},)")
    (x,) = widen(op, input)
    x = x if x.ndim == 2 else expand_dims(x, axis=0)
    label = reshape(as_indices(op, target), (x.shape[0],))
    terms = _above_0(margin - expand_dims(pick(x, label, 1), axis=1) + x)
    terms = terms * terms if p == 2 else terms
    is_own = expand_dims(label, axis=1) == iota(tuple(x.shape), 1)
    loss = sum_(where(is_own, 0.0, terms), axis=1) / extent(classes, x.dtype)
    if weight is not None:
        (factor,) = widen(op, weight)
        loss = loss * take(cast(factor, x.dtype), label, axis=0)
    return reduced(op, reshape(loss, tuple(target.shape)), reduction, input.dtype)


# --- two or three inputs ------------------------------------------------------------------------------------------


@composite
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """``max(0, -t * (x1 - x2) + margin)``: where t is 1 the first is to be the greater one, where it is -1 the second.

    Args:
        input1, input2: scores; a floating dtype.
        target: 1 or -1; all three are of one rank, and of shapes that broadcast.
        margin: by how much.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape for ``"none"``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.
    """
    op = "margin_ranking_loss"
    t, (x, y), dtype = _with_target(op, target, input1, input2)
    if not x.ndim == y.ndim == t.ndim:
        raise ShapeError(
            f"{op}: input1 {input1.shape}, input2 {input2.shape} and target {target.shape} are not of one rank"
        )
    t, x, y = broadcast_operands(op, t, x, y)
    return reduced(op, _at_least_0(margin - t * (x - y)), reduction, dtype)


@composite
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, margin: float = 0.0, *, reduction: str = "mean"
) -> Array:
    """``1 - cos(x1, x2)`` where the target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1 (else 0).

    Args:
        input1, input2: ``(D,)`` or ``(N, D)``, which broadcast; a floating dtype.
        target: 1 or -1; ``()`` or ``(N,)``.
        margin: the cosine, in [-1, 1], that what does not belong together may have.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or ``(N,)`` for ``"none"`` of inputs ``(N, D)``.

    Raises:
        ShapeError, DTypeError: operands that do not fit.

    Example:
        >>> x, y = wf.asarray([1.0, 0.0]), wf.asarray([0.0, 1.0])
        >>> wf.nn.functional.cosine_embedding_loss(x, y, wf.asarray(1)).item()
        1.0
    """
    op = "cosine_embedding_loss"
    t, (x, y), dtype = _with_target(op, target, input1, input2)
    if t.ndim > 1 or not x.ndim == y.ndim == t.ndim + 1:
        raise ShapeError(
            f"{op}: input1 {input1.shape}, input2 {input2.shape} and target {target.shape} do not fit: inputs (N, D) "
            "want a target (N,), inputs (D,) a target ()"
        )
    x, y = broadcast_operands(op, x, y)
    lengths = (sum_(x * x, axis=-1) + _COSINE_EPS) * (sum_(y * y, axis=-1) + _COSINE_EPS)
    cosine, t = broadcast_operands(op, sum_(x * y, axis=-1) / sqrt(lengths), t)
    loss = where(t == 1.0, 1.0 - cosine, where(t == -1.0, _at_least_0(cosine - margin), 0.0))
    return reduced(op, loss, reduction, dtype)


def check_ranks(op: str, anchor: Array, positive: Array, negative: Array) -> None:
    """Raise a ShapeError for a triplet of several ranks."""
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{op}: anchor {anchor.shape}, positive {positive.shape} and negative {negative.shape} are not of one rank"
        )


@composite
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Array:
    """``max(0, d(a, p) - d(a, n) + margin)`` of distances ``d(x, y) = norm(x - y + eps)`` along the last axis.

    Args:
        anchor, positive, negative: ``(D,)`` or ``(N, D)``, of one rank and of shapes that broadcast; a floating dtype.
        margin: by how much the negative should be farther away; greater than 0.
        p: which norm.
        eps: added to each difference, so that equal operands have a gradient.
        swap: take the distance of the negative from the positive where that is the smaller one.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        ``()``, or the common shape without the last axis for ``"none"``.

    Raises:
        ArgumentError: a margin that is not greater than 0.
        ShapeError, DTypeError: operands that do not fit.

    Reference:
        Balntas et al., Learning shallow convolutional feature descriptors with triplet losses, 2016.
    """
    op = "triplet_margin_loss"
    check_margin(op, margin)
    check_ranks(op, anchor, positive, negative)
    if not anchor.ndim:
        raise ShapeError(f"{op}: anchor () has no axis of features; it must be (D,) or (N, D)")
    dtype = reduce(dt.promote, [x.dtype for x in (anchor, positive, negative)])
    a, b, c = (cast(x, working(dtype)) for x in widen(op, anchor, positive, negative))

    def distance(x: Array, y: Array) -> Array:
        x, y = broadcast_operands(op, x, y)
        return vector_norm(x - y + eps, axis=-1, ord=p)

    far = distance(a, c)
    far = minimum(far, distance(b, c)) if swap else far
    return reduced(op, _triplet(op, distance(a, b), far, margin), reduction, dtype)


def _triplet(op: str, near: Array, far: Array, margin: float) -> Array:
    near, far = broadcast_operands(op, near, far)
    return _at_least_0(margin + near - far)


@composite(name="triplet_margin_with_distance_loss", public=False)
def loss_of_distances(near: Array, far: Array, other: Array | None, margin: float, reduction: str) -> Array:
    """``max(0, near - min(far, other) + margin)``; ``other`` may be None."""
    op = "triplet_margin_with_distance_loss"
    arrays = [near, far] if other is None else [near, far, other]
    dtype = reduce(dt.promote, [d.dtype for d in arrays])
    wide = [cast(d, working(dtype)) for d in widen(op, *arrays)]
    beyond = wide[1] if other is None else minimum(*wide[1:])
    return reduced(op, _triplet(op, wide[0], beyond, margin), reduction, dtype)

"""How near two vectors are: angles, distances, and the product of two with a tensor."""

from __future__ import annotations

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import normalize_axis
from ..core.symbolic import are_equal, undecided
from .all_pairs import check_order
from .contraction import matmul
from .creation import full, iota
from .cumulative import cumulative_sum
from .elementwise import cast, maximum
from .indexing import scatter_add, take
from .linalg import vector_norm
from .op import Array, composite
from .operands import broadcast_operands
from .precision import widen, working
from .reduction import sum as sum_
from .shape import expand_dims, reshape
from .views import permuted


def _pair(op: str, x1: Array, x2: Array) -> tuple[Array, Array, DType]:
    """Both operands in the dtype to compute in, broadcast to one shape, and the dtype of the result.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: neither operand is floating, or there is no common dtype.
    """
    try:
        dtype = dt.promote(x1.dtype, x2.dtype)
    except DTypeError as error:
        raise DTypeError(f"{op}: {error.message}") from None
    a, b = widen(op, cast(x1, dtype), cast(x2, dtype))
    a, b = broadcast_operands(op, a, b)
    return a, b, dtype


@composite
def cosine_similarity(x1: Array, x2: Array, dim: int = 1, eps: float = 1e-8) -> Array:
    """The cosine of the angle between vectors: ``sum(x1 * x2) / (max(|x1|, eps) * max(|x2|, eps))``.

    Args:
        x1, x2: shapes that broadcast; floating dtypes.
        dim: the axis of the vectors, of the common shape.
        eps: the least length to divide by.

    Returns:
        The common shape without ``dim``, in the common dtype.

    Raises:
        ShapeError: the shapes do not broadcast.
        AxisError: no such axis.
        DTypeError: no operand is floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.cosine_similarity(wf.asarray([[1.0, 0.0]]), wf.asarray([[3.0, 4.0]])).tolist()
        [0.6000000238418579]
    """
    a, b, dtype = _pair("cosine_similarity", x1, x2)
    at = normalize_axis(dim, a.ndim, "cosine_similarity")
    # Each by its own length, as PyTorch does: products of small numbers would be 0.
    unit_a = a / maximum(vector_norm(a, axis=at, keepdims=True), eps)
    unit_b = b / maximum(vector_norm(b, axis=at, keepdims=True), eps)
    return cast(sum_(unit_a * unit_b, axis=at), dtype)


@composite
def pairwise_distance(x1: Array, x2: Array, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Array:
    """The norm of order ``p`` of ``x1 - x2 + eps`` over the last axis.

    Args:
        x1, x2: ``(N, D)`` or ``(D,)``, or shapes that broadcast; floating dtypes.
        p: the order of the norm.
        eps: what is added to each difference.
        keepdim: leave the last axis in the result, with size 1.

    Returns:
        The common shape without its last axis, in the common dtype.

    Raises:
        ShapeError: the shapes do not broadcast, or there is no axis.
        DTypeError: no operand is floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.pairwise_distance(wf.asarray([3.0, 0.0]), wf.asarray([0.0, 4.0]), eps=0.0).tolist()
        5.0
    """
    a, b, dtype = _pair("pairwise_distance", x1, x2)
    if not a.ndim:
        raise ShapeError("pairwise_distance: two numbers are no vectors: wants shapes (N, D) or (D,)")
    return cast(vector_norm(a - b + eps, axis=a.ndim - 1, keepdims=keepdim, ord=p), dtype)


@composite
def pdist(input: Array, p: float = 2.0) -> Array:
    """The distances of all pairs of rows, each pair once: the upper triangle of ``cdist(input, input)``, row by row.

    Args:
        input: ``(N, M)``; a floating dtype.
        p: the order of the norm, 0 or more.

    Returns:
        ``(N * (N - 1) / 2,)``, the input's dtype: of rows 0 and 1, 0 and 2 ..., N - 2 and N - 1. (Where sizes have
        names, that of N is a number: the result's size would have none.)

    Raises:
        ShapeError: the input is no matrix.
        ArgumentError: a negative order.
        DTypeError: the input is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.pdist(wf.asarray([[0.0], [1.0], [3.0]])).tolist()
        [1.0, 3.0, 2.0]
    """
    check_order("pdist", p)
    if input.ndim != 2:
        raise ShapeError(f"pdist: input {input.shape} must be (N, M)")
    (x,) = widen("pdist", input)
    rows = x.shape[0]
    if not undecided(rows) and rows < 2:
        return full((0,), 0, dtype=input.dtype)
    pairs = rows * (rows - 1) // 2
    # Row i begins the pairs from i * (2 * rows - i - 1) / 2 on; the others of a row follow it in order.
    number = iota((rows - 1,), 0)
    begins = number * (2 * rows - 1 - number) // 2
    marks = scatter_add(full((pairs,), 0, dtype=dt.int64), begins, full((rows - 1,), 1, dtype=dt.int64))
    first = cumulative_sum(marks) - 1
    second = iota((pairs,), 0) - take(begins, first, axis=0) + first + 1
    return cast(vector_norm(take(x, first, axis=0) - take(x, second, axis=0), axis=1, ord=p), input.dtype)


@composite
def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    """``sum(x1[i] * weight[o, i, j] * x2[j])`` over i and j, ``+ bias[o]``.

    Args:
        input1: ``(*, in1)``; a floating dtype.
        input2: ``(*, in2)``, the same but for the last size.
        weight: ``(out, in1, in2)``.
        bias: ``(out,)``, or None.

    Returns:
        ``(*, out)``, in the inputs' common dtype.

    Raises:
        ShapeError: the sizes do not fit.
        DTypeError: an operand is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.bilinear(wf.asarray([2.0]), wf.asarray([3.0]), wf.asarray([[[5.0]]])).tolist()
        [30.0]
    """
    op = "bilinear"
    shown = f"{op}: inputs {input1.shape} and {input2.shape}, weight {weight.shape}"
    fit = weight.ndim == 3 and input1.ndim == input2.ndim > 0
    if not fit or not all(map(are_equal, input1.shape[:-1], input2.shape[:-1])):
        raise ShapeError(f"{shown}: wants (*, in1), (*, in2) and (out, in1, in2)")
    out, in1, in2 = weight.shape
    if not are_equal(input1.shape[-1], in1) or not are_equal(input2.shape[-1], in2):
        raise ShapeError(f"{shown}: the last sizes of the inputs must be {in1} and {in2}, as the weight has them")
    if bias is not None and not (bias.ndim == 1 and are_equal(bias.shape[0], out)):
        raise ShapeError(f"{shown}: bias {bias.shape} must be ({out},)")
    try:
        dtype = dt.promote(input1.dtype, input2.dtype)
    except DTypeError as error:
        raise DTypeError(f"{op}: {error.message}") from None
    x1, x2, w = (cast(each, working(dtype)) for each in widen(op, input1, input2, weight))
    lead = tuple(x1.shape[:-1])
    by_first = matmul(x1, reshape(permuted(w, (1, 0, 2)), (in1, out * in2)))
    y: Array = sum_(reshape(by_first, (*lead, out, in2)) * expand_dims(x2, axis=-2), axis=-1)
    if bias is not None:
        (wide,) = widen(op, bias)
        y = y + cast(wide, y.dtype)
    return cast(y, dtype)

"""Distances of all pairs of vectors: of two sets (``wf.cdist``), of one (``F.pdist``, in ops/distance.py)."""

from __future__ import annotations

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.symbolic import are_equal
from .contraction import matmul
from .elementwise import cast, maximum, square
from .linalg import vector_norm
from .op import Array, composite
from .precision import widen
from .reduction import root
from .reduction import sum as sum_
from .shape import expand_dims, matrix_transpose

MODES = ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")


def check_order(op: str, p: float) -> None:
    """The order of a norm.

    Raises:
        ArgumentError: it is negative, or NaN.
    """
    if not p >= 0:
        raise ArgumentError(f"{op}: p is {p}; it must be 0 or more")


@composite
def cdist(x1: Array, x2: Array, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Array:
    """The distance of each vector of one set from each of another: the norm of order ``p`` of their difference.

    Args:
        x1: ``(..., P, M)``; a floating dtype.
        x2: ``(..., R, M)``; the leading axes broadcast.
        p: the order of the norm, 0 or more: 0 counts the elements that differ, ``inf`` is the greatest difference.
        compute_mode: ``"use_mm_for_euclid_dist"`` computes distances of order 2 by a product of matrices, which is
            quicker where M is large, and wrong where vectors are near to each other. The others do not: it is never
            necessary.

    Returns:
        ``(..., P, R)``, in the common dtype. Equal vectors have gradient 0.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a negative order, or another mode.
        DTypeError: an operand is not floating.

    Example:
        >>> import weft as wf
        >>> wf.cdist(wf.asarray([[0.0, 0.0], [3.0, 0.0]]), wf.asarray([[0.0, 4.0]])).tolist()
        [[4.0], [5.0]]
    """
    check_order("cdist", p)
    if compute_mode not in MODES:
        raise ArgumentError(f"cdist: compute_mode is {compute_mode!r}; it must be one of {', '.join(MODES)}")
    if x1.ndim < 2 or x2.ndim < 2 or not are_equal(x1.shape[-1], x2.shape[-1]):
        raise ShapeError(f"cdist: x1 {x1.shape} and x2 {x2.shape}: wants (..., P, M) and (..., R, M)")
    try:
        dtype = dt.promote(x1.dtype, x2.dtype)
    except DTypeError as error:
        raise DTypeError(f"cdist: {error.message}") from None
    a, b = widen("cdist", cast(x1, dtype), cast(x2, dtype))
    if compute_mode == "use_mm_for_euclid_dist" and p == 2.0:
        lengths = sum_(square(a), axis=-1, keepdims=True) + matrix_transpose(sum_(square(b), axis=-1, keepdims=True))
        return cast(root(maximum(lengths - 2.0 * matmul(a, matrix_transpose(b)), 0.0)), dtype)
    return cast(vector_norm(expand_dims(a, axis=-2) - expand_dims(b, axis=-3), axis=-1, ord=p), dtype)

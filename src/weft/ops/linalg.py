"""``wf.linalg``: the Array API's names for products and decompositions, norms and diagonals made of reductions."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ArgumentError, LinAlgError, ShapeError
from ..core.shapes import normalize_axis
from .contraction import matmul, outer, tensordot, vecdot
from .creation import iota
from .decompositions import cholesky, det, eigh, eigvalsh, inv, matrix_exp, qr, slogdet, solve, svd, svdvals
from .elementwise import abs, cast, equal, not_equal, pow, square, where
from .op import Array, composite
from .operands import require_tensors
from .precision import as_float, rounded_to
from .reduction import max, min, root, sum
from .shape import matrix_transpose
from .strided_views import diagonal_of

__all__ = [
    "LinAlgError",
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_transpose",
    "outer",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


@composite
def vector_norm(
    x: Array, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Array:
    """The norm of vectors along axes: ``sum(abs(x) ** ord) ** (1 / ord)``.

    Args:
        x: any shape; integers are converted to float32. float16 and bfloat16 are computed in float32.
        axis: an axis, a tuple of axes, or None for all of them.
        keepdims: leave the reduced axes in the result, with size 1.
        ord: ``inf`` is the greatest magnitude, ``-inf`` the least, 0 the number of elements that are not 0.

    Raises:
        AxisError: an axis is out of range or named twice.
        ArgumentError: ``ord`` is no number.

    Example:
        >>> import weft as wf
        >>> wf.linalg.vector_norm(wf.asarray([3.0, 4.0])).tolist()
        5.0
    """
    require_tensors("vector_norm", x)
    if not isinstance(ord, (int, float)) or math.isnan(ord):
        raise ArgumentError(f"vector_norm: ord is {ord!r}; it must be a number, inf or -inf")
    wide = as_float(x)
    if ord == 2:
        value = root(sum(square(wide), axis=axis, keepdims=keepdims))
    elif math.isinf(ord):
        value = (max if ord > 0 else min)(abs(wide), axis=axis, keepdims=keepdims)
    elif ord == 0:
        value = sum(cast(not_equal(wide, 0.0), wide.dtype), axis=axis, keepdims=keepdims)
    elif ord == 1:
        value = sum(abs(wide), axis=axis, keepdims=keepdims)
    else:
        value = _root_of_powers(wide, float(ord), axis, keepdims)
    return rounded_to(x.dtype, value)


def _root_of_powers(x: Array, p: float, axis: Any, keepdims: bool) -> Array:
    """``sum(abs(x) ** p) ** (1 / p)``, with the gradient 0 at elements that are 0 and where the norm is (PyTorch's)."""
    is_zero = equal(x, 0.0)
    powers = pow(where(is_zero, 1.0, abs(x)), p)
    total = sum(where(is_zero, 0.0 if p > 0 else math.inf, powers), axis=axis, keepdims=keepdims)
    nothing = equal(total, 0.0)
    root_of = pow(where(nothing, 1.0, total), 1.0 / p)
    return where(nothing, 0.0 if p > 0 else math.inf, root_of)


@composite
def matrix_norm(x: Array, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of matrices, the last two axes.

    Args:
        x: ``(..., m, n)``; integers are converted to float32.
        keepdims: leave the reduced axes in the result, with size 1.
        ord: ``"fro"``: the root of the sum of squares; 1 or -1: the greatest or least sum of magnitudes of a column;
            ``inf`` or ``-inf``: of a row. (2 and ``"nuc"`` need singular values.)

    Raises:
        ShapeError: the rank is below 2, or there is no such norm.

    Example:
        >>> import weft as wf
        >>> wf.linalg.matrix_norm(wf.asarray([[3.0, 0.0], [0.0, 4.0]])).tolist()
        5.0
    """
    require_tensors("matrix_norm", x)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm: {x.shape} has fewer than two axes")
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ShapeError(f"matrix_norm: ord is 'fro', 1, -1, inf or -inf, not {ord!r}")
    first, second = (-2, -1) if ord in (1, -1) else (-1, -2)
    sums = sum(abs(as_float(x)), axis=first, keepdims=True)
    value = (max if ord > 0 else min)(sums, axis=second, keepdims=True)
    return rounded_to(x.dtype, value if keepdims else value[..., 0, 0])


def _on_diagonal(x: Array, offset: int, name: str) -> Array:
    if x.ndim < 2:
        raise ShapeError(f"{name}: {x.shape} has fewer than two axes")
    return equal(iota(x.shape, x.ndim - 1), iota(x.shape, x.ndim - 2) + offset)


@composite(view=True)
def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """The diagonals of matrices, the last two axes.

    Args:
        x: ``(..., m, n)``; any dtype.
        offset: above 0 for diagonals above the main one, below 0 for those below.

    Returns:
        ``(..., length of the diagonal)``.

    Raises:
        ShapeError: the rank is below 2.

    Example:
        >>> import weft as wf
        >>> wf.linalg.diagonal(wf.asarray([[1, 2], [3, 4]])).tolist()
        [1, 4]
    """
    require_tensors("diagonal", x)
    if x.ndim < 2:
        raise ShapeError(f"diagonal: {x.shape} has fewer than two axes")
    return diagonal_of(x, offset, x.ndim - 2, x.ndim - 1)


@composite
def trace(x: Array, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sums of the diagonals of matrices, the last two axes.

    Args:
        x: ``(..., m, n)``.
        offset: above 0 for diagonals above the main one, below 0 for those below.
        dtype: of the sum, as for :func:`weft.sum`.

    Raises:
        ShapeError: the rank is below 2.

    Example:
        >>> import weft as wf
        >>> wf.linalg.trace(wf.asarray([[1, 2], [3, 4]])).tolist()
        5
    """
    require_tensors("trace", x)
    return sum(where(_on_diagonal(x, offset, "trace"), x, False), axis=(-2, -1), dtype=dtype)


@composite
def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of three elements along an axis.

    Args:
        x1, x2: shapes that broadcast, with size 3 along ``axis``; integer or floating-point dtypes.
        axis: -1 is the last one.

    Raises:
        ShapeError: the size along the axis is not 3, or the shapes do not broadcast.
        AxisError: the axis is out of range.

    Example:
        >>> import weft as wf
        >>> wf.linalg.cross(wf.asarray([1, 0, 0]), wf.asarray([0, 1, 0])).tolist()
        [0, 0, 1]
    """
    from .pieces import roll

    require_tensors("cross", x1, x2)
    for x in (x1, x2):
        if x.shape[normalize_axis(axis, x.ndim, "cross")] != 3:
            raise ShapeError(f"cross: {x1.shape} and {x2.shape}: the size along axis {axis} is not 3")
    left = roll(x1, -1, axis=axis) * roll(x2, -2, axis=axis)
    return left - roll(x1, -2, axis=axis) * roll(x2, -1, axis=axis)

"""Decompositions of matrices, inverses, determinants and linear systems: what LAPACK computes (:mod:`.lapack`).

All take stacks of matrices: the last two axes are a matrix's, the others are the batch. Operands are float32 or
float64. Names are the Array API's; meanings, defaults and the fields of results are PyTorch's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import broadcast_shapes
from .elementwise import cast
from .lapack import CHOLESKY, DET, EIGH, EIGVALSH, INV, MATRIX_EXP, QR, SLOGDET, SOLVE, SVD, SVDVALS
from .op import Array, apply, composite, public
from .operands import common_dtype, require_tensors
from .shape import broadcast_to, expand_dims, matrix_transpose, squeeze

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor  # one layer up: what users see


class SlogdetResult(NamedTuple):
    """What :func:`slogdet` returns."""

    sign: Tensor
    logabsdet: Tensor


class EighResult(NamedTuple):
    """What :func:`eigh` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """What :func:`qr` returns."""

    Q: Tensor
    R: Tensor


class SVDResult(NamedTuple):
    """What :func:`svd` returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


@composite
def cholesky(x: Array, /, *, upper: bool = False) -> Array:
    """The Cholesky factor of symmetric positive-definite matrices: ``L`` with ``L @ L.mT = x``.

    Args:
        x: ``(..., n, n)``; what is above the diagonal is not read.
        upper: return ``L.mT`` instead, and do not read what is below the diagonal.

    Raises:
        LinAlgError: a matrix is not positive-definite.
        ShapeError: the matrices are not square.

    Gradient: Murray, Differentiation of the Cholesky decomposition, 2016.

    Example:
        >>> import weft as wf
        >>> wf.linalg.cholesky(wf.asarray([[4.0, 2.0], [2.0, 5.0]])).tolist()
        [[2.0, 0.0], [1.0, 2.0]]
    """
    require_tensors("cholesky", x)
    return matrix_transpose(apply(CHOLESKY, matrix_transpose(x))) if upper else apply(CHOLESKY, x)


@composite
def inv(x: Array, /) -> Array:
    """The inverse of matrices.

    To solve ``a @ x = b``, :func:`solve` is faster and more accurate.

    Args:
        x: ``(..., n, n)``.

    Raises:
        LinAlgError: a matrix is singular.
        ShapeError: the matrices are not square.

    Gradient: Giles, Collected matrix derivative results, 2008, 2.2.3.

    Example:
        >>> import weft as wf
        >>> wf.linalg.inv(wf.asarray([[2.0, 0.0], [0.0, 4.0]])).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    require_tensors("inv", x)
    return apply(INV, x)


@composite
def matrix_exp(x: Array, /) -> Array:
    """The exponential of matrices, the sum of ``x**k / k!``; computed in float64. Of matrices of more than one element
    whose 1-norm is not finite it is NaN.

    Args:
        x: ``(..., n, n)``.

    Raises:
        ShapeError: the matrices are not square.

    Reference: Higham, The Scaling and Squaring Method for the Matrix Exponential Revisited, 2005.

    Example:
        >>> import weft as wf
        >>> wf.linalg.matrix_exp(wf.asarray([[0.0, 1.0], [0.0, 0.0]])).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    require_tensors("matrix_exp", x)
    return apply(MATRIX_EXP, x)


@composite
def solve(x1: Array, x2: Array, /, *, left: bool = True) -> Array:
    """The solution ``x`` of linear systems ``x1 @ x = x2``.

    Args:
        x1: ``(..., n, n)``.
        x2: ``(..., n, k)``, whose leading axes broadcast with those of ``x1``; or vectors: ``(n,)``, or ``(..., n)``
            with the very leading axes of ``x1``.
        left: False solves ``x @ x1 = x2`` with ``x2`` of shape ``(..., k, n)``.

    Raises:
        LinAlgError: a matrix is singular.
        ShapeError: the matrices are not square, or the shapes do not fit.

    Gradient: Giles, Collected matrix derivative results, 2008, 2.3.1.

    Example:
        >>> import weft as wf
        >>> wf.linalg.solve(wf.asarray([[2.0, 0.0], [0.0, 4.0]]), wf.asarray([1.0, 2.0])).tolist()
        [0.5, 0.5]
    """
    require_tensors("solve", x1, x2)
    shown = f"{x1.shape} and {x2.shape}"
    if x1.ndim < 2 or x1.shape[-1] != x1.shape[-2]:
        raise ShapeError(f"solve: {shown}: the matrices of the first, its last two axes, are not square")
    is_vector = x2.ndim == 1 or (x2.ndim == x1.ndim - 1 and x2.shape == x1.shape[:-1])
    if x2.ndim == 0 or (is_vector and not left):
        raise ShapeError(f"solve: {shown}: wants a stack of matrices" + ("" if left else ", as left=False does"))
    dtype = common_dtype("solve", (x1, x2))
    a, b = cast(x1, dtype), cast(x2, dtype)
    if is_vector:
        b = expand_dims(b, -1)
    if not left:
        a, b = matrix_transpose(a), matrix_transpose(b)
    if b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"solve: {shown}: sizes {a.shape[-1]} and {b.shape[-2]} differ")
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2], op=f"solve: {shown}: batches")
    x: Array = apply(SOLVE, *(broadcast_to(m, (*batch, *m.shape[-2:])) for m in (a, b)))
    return squeeze(x, -1) if is_vector else x if left else matrix_transpose(x)


@composite
def det(x: Array, /) -> Array:
    """The determinant of matrices.

    Args:
        x: ``(..., n, n)``.

    Returns:
        ``(...)``.

    Raises:
        ShapeError: the matrices are not square.

    Gradient: Jacobi's formula, by cofactors of the singular value decomposition, which singular matrices have too
    (their second derivatives raise LinAlgError).

    Example:
        >>> import weft as wf
        >>> wf.linalg.det(wf.asarray([[2.0, 1.0], [0.0, 4.0]])).tolist()
        8.0
    """
    require_tensors("det", x)
    return apply(DET, x)


@public
def slogdet(x: Array, /) -> SlogdetResult:
    """The sign of the determinant of matrices, and the logarithm of its magnitude: ``(0, -inf)`` where it is 0.

    Args:
        x: ``(..., n, n)``.

    Returns:
        ``sign`` and ``logabsdet``, each ``(...)``.

    Raises:
        ShapeError: the matrices are not square.

    Gradient: Giles, Collected matrix derivative results, 2008, 2.2.4; that of a singular matrix raises LinAlgError.

    Example:
        >>> import weft as wf
        >>> wf.linalg.slogdet(wf.asarray([[-1.0, 0.0], [0.0, 1.0]])).sign.tolist()
        -1.0
    """
    return SlogdetResult(*_slogdet(x))


@composite(name="slogdet")
def _slogdet(x: Array, /) -> Any:
    require_tensors("slogdet", x)
    return apply(SLOGDET, x)


@public
def eigh(x: Array, /, UPLO: str = "L") -> EighResult:
    """The eigenvalues and eigenvectors of symmetric matrices.

    The sign of an eigenvector is LAPACK's choice, so only what does not depend on it has a meaningful gradient; equal
    eigenvalues make the gradient of eigenvectors infinite.

    Args:
        x: ``(..., n, n)``.
        UPLO: ``"L"`` reads the lower triangle, ``"U"`` the upper one.

    Returns:
        ``eigenvalues`` ``(..., n)`` in ascending order, ``eigenvectors`` ``(..., n, n)``, of which each column is one.

    Raises:
        LinAlgError: LAPACK finds none (an element may be NaN).
        ShapeError: the matrices are not square.

    Gradient: Giles, Collected matrix derivative results, 2008, 3.1.

    Example:
        >>> import weft as wf
        >>> wf.linalg.eigh(wf.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
        [1.0, 2.0]
    """
    return EighResult(*_eigh(x, _triangle("eigh", UPLO)))


@composite(name="eigh")
def _eigh(x: Array, uplo: str) -> Any:
    require_tensors("eigh", x)
    return apply(EIGH, x, uplo=uplo)


@composite
def eigvalsh(x: Array, /, UPLO: str = "L") -> Array:
    """The eigenvalues of symmetric matrices, in ascending order.

    Args:
        x: ``(..., n, n)``.
        UPLO: ``"L"`` reads the lower triangle, ``"U"`` the upper one.

    Returns:
        ``(..., n)``.

    Raises:
        LinAlgError: LAPACK finds none (an element may be NaN).
        ShapeError: the matrices are not square.

    Gradient: as that of :func:`eigh`.

    Example:
        >>> import weft as wf
        >>> wf.linalg.eigvalsh(wf.asarray([[2.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, 2.0]
    """
    require_tensors("eigvalsh", x)
    return apply(EIGVALSH, x, uplo=_triangle("eigvalsh", UPLO))


def _triangle(name: str, uplo: Any) -> str:
    if uplo not in ("L", "U"):
        raise ArgumentError(f"{name}: UPLO is 'L' or 'U', not {uplo!r}")
    return str(uplo)


@public
def qr(x: Array, /, *, mode: str = "reduced") -> QRResult:
    """The QR decomposition of matrices: orthonormal columns ``Q`` and upper triangles ``R`` with ``Q @ R = x``.

    Args:
        x: ``(..., m, n)``; with k the lesser of m and n:
        mode: ``"reduced"``: Q is ``(..., m, k)`` and R ``(..., k, n)``; ``"complete"``: ``(..., m, m)`` and
            ``(..., m, n)``.

    Raises:
        ShapeError: the rank is below 2.
        ArgumentError: there is no such mode.

    Gradient: Roberts and Roberts, QR and LQ decomposition matrix backpropagation algorithms, 2020; of complete factors
    only where m is at most n.

    Example:
        >>> import weft as wf
        >>> wf.linalg.qr(wf.ones((3, 2))).R.shape
        (2, 2)
    """
    return QRResult(*_qr(x, mode))


@composite(name="qr")
def _qr(x: Array, mode: str) -> Any:
    require_tensors("qr", x)
    if mode not in ("reduced", "complete"):
        raise ArgumentError(f"qr: mode is 'reduced' or 'complete', not {mode!r}")
    return apply(QR, x, mode=mode)


@public
def svd(x: Array, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition of matrices: ``U @ diag(S) @ Vh = x``.

    The signs of singular vectors are LAPACK's choice, so only what does not depend on them has a meaningful gradient;
    equal singular values make the gradient of vectors infinite.

    Args:
        x: ``(..., m, n)``; with k the lesser of m and n:
        full_matrices: U is ``(..., m, m)`` and Vh ``(..., n, n)``; else ``(..., m, k)`` and ``(..., k, n)``.

    Returns:
        ``U``, ``S`` ``(..., k)`` in descending order, ``Vh``.

    Raises:
        LinAlgError: LAPACK finds none (an element may be NaN).
        ShapeError: the rank is below 2.

    Gradient: Townsend, Differentiating the singular value decomposition, 2016. Columns of U and rows of Vh
    beyond k are any basis: what flows back to them is ignored.

    Example:
        >>> import weft as wf
        >>> wf.linalg.svd(wf.asarray([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
        [2.0, 1.0]
    """
    return SVDResult(*_svd(x, full_matrices))


@composite(name="svd")
def _svd(x: Array, full_matrices: bool) -> Any:
    require_tensors("svd", x)
    return apply(SVD, x, full_matrices=full_matrices)


@composite
def svdvals(x: Array, /) -> Array:
    """The singular values of matrices, in descending order.

    Args:
        x: ``(..., m, n)``.

    Returns:
        ``(..., k)`` with k the lesser of m and n.

    Raises:
        LinAlgError: LAPACK finds none (an element may be NaN).
        ShapeError: the rank is below 2.

    Gradient: as that of :func:`svd`.

    Example:
        >>> import weft as wf
        >>> wf.linalg.svdvals(wf.asarray([[0.0, 2.0], [1.0, 0.0]])).tolist()
        [2.0, 1.0]
    """
    require_tensors("svdvals", x)
    return apply(SVDVALS, x)

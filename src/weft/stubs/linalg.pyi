"""``weft.linalg``, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Sequence
from typing import Any

from ..core.errors import LinAlgError as LinAlgError
from ..ops.decompositions import EighResult, QRResult, SVDResult, SlogdetResult
from ..stubs.tensor import DTypeLike, Operand, TensorLike
from ..tensor.tensor import Tensor

def cholesky(x: Operand, /, *, upper: bool = False) -> Tensor:
    """The Cholesky factor of symmetric positive-definite matrices: ``L`` with ``L @ L.mT = x``."""

def cross(x1: TensorLike, x2: TensorLike, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements along an axis."""

def det(x: Operand, /) -> Tensor:
    """The determinant of matrices."""

def diagonal(x: Operand, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices, the last two axes."""

def eigh(x: Operand, /, UPLO: str = "L") -> EighResult:
    """The eigenvalues and eigenvectors of symmetric matrices."""

def eigvalsh(x: Operand, /, UPLO: str = "L") -> Tensor:
    """The eigenvalues of symmetric matrices, in ascending order."""

def inv(x: Operand, /) -> Tensor:
    """The inverse of matrices."""

def matmul(x1: TensorLike, x2: TensorLike, /, *, dtype: DTypeLike | None = None) -> Tensor:
    """The matrix product ``x1 @ x2``."""

def matrix_exp(x: Operand, /) -> Tensor:
    """The exponential of matrices, the sum of ``x**k / k!``; computed in float64."""

def matrix_norm(x: Operand, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of matrices, the last two axes."""

def matrix_transpose(x: Operand, /) -> Tensor:
    """``x`` (..., m, n) with its last two axes exchanged."""

def outer(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """The product of each element of one vector with each of another."""

def qr(x: Operand, /, *, mode: str = "reduced") -> QRResult:
    """The QR decomposition of matrices: orthonormal columns ``Q`` and upper triangles ``R`` with ``Q @ R = x``."""

def slogdet(x: Operand, /) -> SlogdetResult:
    """The sign of the determinant of matrices, and the logarithm of its magnitude: ``(0, -inf)`` where it is 0."""

def solve(x1: TensorLike, x2: TensorLike, /, *, left: bool = True) -> Tensor:
    """The solution ``x`` of linear systems ``x1 @ x = x2``."""

def svd(x: Operand, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition of matrices: ``U @ diag(S) @ Vh = x``."""

def svdvals(x: Operand, /) -> Tensor:
    """The singular values of matrices, in descending order."""

def tensordot(x1: TensorLike, x2: TensorLike, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over pairs of axes."""

def trace(x: Operand, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Tensor:
    """The sums of the diagonals of matrices, the last two axes."""

def vecdot(x1: TensorLike, x2: TensorLike, /, *, axis: int = -1) -> Tensor:
    """The sum of the products of elements along one axis."""

def vector_norm(
    x: Operand, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Tensor:
    """The norm of vectors along axes: ``sum(abs(x) ** ord) ** (1 / ord)``."""

"""``weft.linalg``, to type checkers. Written by `make stubs`; not to be edited."""

from collections.abc import Sequence
from typing import Any

from ..stubs.tensor import DTypeLike, Operand, TensorLike
from ..tensor.tensor import Tensor

def cross(x1: TensorLike, x2: TensorLike, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of three elements along an axis."""

def diagonal(x: Operand, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices, the last two axes."""

def matmul(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """The matrix product ``x1 @ x2``."""

def matrix_norm(x: Operand, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """The norm of matrices, the last two axes."""

def matrix_transpose(x: Operand, /) -> Tensor:
    """``x`` (..., m, n) with its last two axes exchanged."""

def outer(x1: TensorLike, x2: TensorLike, /) -> Tensor:
    """The product of each element of one vector with each of another."""

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

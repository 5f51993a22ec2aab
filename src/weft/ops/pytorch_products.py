"""Products that are added to something: PyTorch's addmm and its kin, ``beta * input + alpha * product``."""

from __future__ import annotations

from typing import Any

from ..core.errors import DTypeError, ShapeError
from . import elementwise as e
from .contraction import matmul, outer
from .creation import Scalar
from .op import Array, composite
from .operands import is_one, require_tensors
from .reduction import sum as sum_
from .shape import broadcast_to


def _added(
    op: str, input: Array, first: Array, second: Array, ranks: tuple[int, int], beta: Any, alpha: Any
) -> tuple[Array, Array, Any]:
    """The operands of the product, checked, and a function that adds it."""
    require_tensors(op, input, first, second)
    given = (len(first.shape), len(second.shape))
    if given != ranks:
        raise ShapeError(f"{op}: factors of shapes {tuple(first.shape)} and {tuple(second.shape)}: wants ranks {ranks}")
    if not input.dtype is first.dtype is second.dtype:
        raise DTypeError(
            f"{op}: operands of {input.dtype.name}, {first.dtype.name} and {second.dtype.name}: wants one dtype"
        )
    if not input.dtype.is_floating and any(isinstance(v, float) for v in (beta, alpha)):
        raise DTypeError(
            f"{op}: beta={beta} and alpha={alpha} for tensors of {input.dtype.name}: they must be integers"
        )
    if first.shape[0] != second.shape[0] and ranks == (3, 3):
        raise ShapeError(f"{op}: {tuple(first.shape)} and {tuple(second.shape)}: the batches differ")

    def add(product: Array) -> Array:
        if len(input.shape) > len(product.shape):
            raise ShapeError(f"{op}: a tensor of shape {tuple(input.shape)} for a product of {tuple(product.shape)}")
        scaled = product if is_one(alpha, product.dtype) else e.multiply(product, alpha)
        own = broadcast_to(input, tuple(product.shape))
        if beta == 0:
            return scaled  # NaN times 0 is NaN, which PyTorch does not mean here
        return e.add(own if is_one(beta, own.dtype) else e.multiply(own, beta), scaled)

    return first, second, add


@composite
def addmm(input: Array, mat1: Array, mat2: Array, *, beta: Scalar = 1, alpha: Scalar = 1) -> Array:
    """``beta * input + alpha * (mat1 @ mat2)``; with beta 0 ``input`` counts for nothing, also NaN.

    Args:
        input: a shape that broadcasts to the product's.
        mat1, mat2: matrices ``(n, k)`` and ``(k, m)`` of the same dtype.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: the dtypes differ.

    Example:
        >>> wf.ones((2, 2)).addmm(wf.eye(2), wf.eye(2), alpha=3).tolist()
        [[4.0, 1.0], [1.0, 4.0]]
    """
    a, b, add = _added("addmm", input, mat1, mat2, (2, 2), beta, alpha)
    return add(matmul(a, b))


@composite
def addmv(input: Array, mat: Array, vec: Array, *, beta: Scalar = 1, alpha: Scalar = 1) -> Array:
    """``beta * input + alpha * (mat @ vec)``; see :func:`addmm`.

    Example:
        >>> wf.ones(2).addmv(wf.eye(2), wf.asarray([1.0, 2.0]))
        Tensor([2., 3.], dtype=float32)
    """
    a, b, add = _added("addmv", input, mat, vec, (2, 1), beta, alpha)
    return add(matmul(a, b))


@composite
def addr(input: Array, vec1: Array, vec2: Array, *, beta: Scalar = 1, alpha: Scalar = 1) -> Array:
    """``beta * input + alpha * outer(vec1, vec2)``; see :func:`addmm`.

    Example:
        >>> wf.zeros((2, 2)).addr(wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0])).tolist()
        [[3.0, 4.0], [6.0, 8.0]]
    """
    a, b, add = _added("addr", input, vec1, vec2, (1, 1), beta, alpha)
    return add(outer(a, b))


@composite
def baddbmm(input: Array, batch1: Array, batch2: Array, *, beta: Scalar = 1, alpha: Scalar = 1) -> Array:
    """``beta * input + alpha * (batch1 @ batch2)`` of batches of matrices; see :func:`addmm`.

    Example:
        >>> wf.zeros((1, 2, 2)).baddbmm(wf.ones((1, 2, 3)), wf.ones((1, 3, 2))).tolist()
        [[[3.0, 3.0], [3.0, 3.0]]]
    """
    a, b, add = _added("baddbmm", input, batch1, batch2, (3, 3), beta, alpha)
    return add(matmul(a, b))


@composite
def addbmm(input: Array, batch1: Array, batch2: Array, *, beta: Scalar = 1, alpha: Scalar = 1) -> Array:
    """``beta * input + alpha * sum(batch1 @ batch2)``, the sum over the batch; see :func:`addmm`.

    Example:
        >>> wf.zeros((2, 2)).addbmm(wf.ones((4, 2, 3)), wf.ones((4, 3, 2))).tolist()
        [[12.0, 12.0], [12.0, 12.0]]
    """
    a, b, add = _added("addbmm", input, batch1, batch2, (3, 3), beta, alpha)
    return add(sum_(matmul(a, b), axis=0, dtype=input.dtype))

"""Contractions: matmul and what is made of it.

The primitive multiplies equal batches of matrices; ranks, broadcasting and axes are views around it. float16 and
bfloat16 accumulate in float32 and are rounded once; each element of the result is one chain of fused multiply-adds in
increasing k, by blocks (docs/numerics.md), so that it depends on its row and its column alone.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import Shape, broadcast_shapes, normalize_axes, normalize_axis, size_of
from ..core.symbolic import are_equal
from ..graph.protocol import Contract, Primitive, Product, TensorType
from .elementwise import CAST, cast, multiply
from .op import Array, apply, composite, hooks
from .operands import REAL, common_dtype, require_tensors
from .precision import working
from .reduction import sum
from .shape import broadcast_to, matrix_transpose, permute_dims, reshape
from .views import PERMUTE, RESHAPE


def _contract_type(params: dict[str, Any], a: TensorType, b: TensorType) -> TensorType:
    fits = len(a.shape) == len(b.shape) >= 2 and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2]
    if not fits:
        raise ShapeError(f"contract: {a.shape} @ {b.shape}")
    if a.dtype is not b.dtype or a.dtype.kind == "bool":
        raise DTypeError(f"contract: {a.dtype.name} @ {b.dtype.name}")
    return TensorType(a.dtype, (*a.shape[:-1], b.shape[-1]))


def _sums_type(params: dict[str, Any], a: TensorType, b: TensorType) -> TensorType:
    if not a.dtype.is_half:
        raise DTypeError(f"contract_float32: {a.dtype.name} operands: wants float16 or bfloat16")
    return TensorType(dt.float32, _contract_type(params, a, b).shape)


def _integers_type(params: dict[str, Any], a: TensorType, b: TensorType) -> TensorType:
    if not all(x.dtype.is_integer and x.dtype.bits == 8 for x in (a, b)):
        raise DTypeError(f"contract_int32: {a.dtype.name} @ {b.dtype.name}: wants int8 or uint8")
    return TensorType(dt.int32, _contract_type(params, a, TensorType(a.dtype, b.shape)).shape)


def _contract_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    a, b = inputs
    g = narrowed(g, a.dtype)  # where the sums of 16-bit operands are handed on as float32
    # The gradient of a transposed operand is computed transposed, with the same bits: its own transpose then cancels
    # that of the operand's gradient, and a weight (out, in) gets its gradient without a copy.
    if _is_transposed(a):
        for_a = matrix_transpose(apply(CONTRACT, b, matrix_transpose(g)))
    else:
        for_a = apply(CONTRACT, g, matrix_transpose(b))
    if _is_transposed(b):
        for_b = matrix_transpose(apply(CONTRACT, matrix_transpose(g), a))
    else:
        for_b = apply(CONTRACT, matrix_transpose(a), g)
    return for_a, for_b


def narrowed(g: Array, dtype: DType) -> Array:
    """``g`` in ``dtype``; where it is a tensor of that dtype that was widened, that tensor: it is in memory already."""
    node = g._storage.node
    if g.dtype is dtype or node is None or node.op not in (CAST, RESHAPE):
        return cast(g, dtype)
    source = hooks.wrap(node.inputs[0])
    if node.op is RESHAPE:
        return reshape(narrowed(source, dtype), g.shape)
    return source if source.dtype is dtype else cast(g, dtype)


def _is_transposed(x: Array) -> bool:
    node, rank = x._storage.node, len(x.shape)
    return node is not None and node.op is PERMUTE and node.params["axes"][-2:] == (rank - 1, rank - 2)


def _axes_of(params: dict[str, Any], a: Shape, b: Shape) -> tuple[Shape, Shape, Shape, Shape]:
    """The sizes of the axes batch, rows, summed and columns."""
    batch, last = params["batch"], len(a) - params["summed"]
    return a[:batch], a[batch:last], a[last:], b[batch + params["summed"] :]


def _axes_type(params: dict[str, Any], a: TensorType, b: TensorType) -> TensorType:
    batch, rows, summed, columns = _axes_of(params, a.shape, b.shape)
    if params["batch"] + params["summed"] > builtins.min(len(a.shape), len(b.shape)) or (
        b.shape != (*batch, *summed, *columns)
    ):
        raise ShapeError(f"contract_axes: {a.shape} @ {b.shape}: {params['batch']} batch, {params['summed']} summed")
    if a.dtype is not b.dtype or a.dtype.kind == "bool":
        raise DTypeError(f"contract_axes: {a.dtype.name} @ {b.dtype.name}")
    return TensorType(a.dtype, (*batch, *rows, *columns))


def _axes_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    a, b = inputs
    batch, rows, summed, columns = map(len, _axes_of(params, tuple(a.shape), tuple(b.shape)))
    for_a = contracted(g, _turned(b, batch, summed), batch, columns)
    return for_a, contracted(_turned(a, batch, rows), g, batch, rows)


def _turned(x: Array, batch: int, first: int) -> Array:
    """The axes behind the batch's in two groups, of which the first has ``first``, the other way round."""
    rank, split = len(x.shape), batch + first
    return permute_dims(x, (*range(batch), *range(split, rank), *range(batch, split)))


CONTRACT = Primitive("contract", _contract_type, Contract(), _contract_vjp)
# Of operands of 16 bits: what was accumulated, not rounded.
CONTRACT_FLOAT32 = Primitive("contract_float32", _sums_type, Contract(), _contract_vjp)
# Of operands of 8 bits, of either kind: their products are summed as int32.
CONTRACT_INT32 = Primitive("contract_int32", _integers_type, Contract())
# Groups of several axes: (*batch, *m, *k) and (*batch, *k, *n), read where they lie.
CONTRACT_AXES = Primitive(
    "contract_axes",
    _axes_type,
    Contract(lambda params, a, b: Product(a, b, params["batch"], params["summed"])),
    _axes_vjp,
)


def contracted(a: Array, b: Array, batch: int, summed: int) -> Array:
    """``(*batch, *m, *k)`` times ``(*batch, *k, *n)``; ``batch`` and ``summed`` are numbers of axes. Within a trace."""
    if summed == 1 and len(a.shape) == len(b.shape) == batch + 2:
        return apply(CONTRACT, a, b)
    return apply(CONTRACT_AXES, a, b, batch=batch, summed=summed)


def dtype_of(name: str, a: Array, b: Array) -> DType:
    """The dtype of the product.

    Raises:
        DTypeError: an operand is not a tensor, is bool, or there is no common dtype.
    """
    require_tensors(name, a, b)
    return common_dtype(name, (a, b), REAL)


def product_of(name: str, a: Array, b: Array, shown: str, op: Primitive = CONTRACT) -> Array:
    """Matrices ``(..., m, k)`` and ``(..., k, n)`` of one dtype, batches broadcast; ``shown`` is for errors."""
    if not are_equal(a.shape[-1], b.shape[-2]):
        raise ShapeError(f"{name}: {shown}: inner dimensions {a.shape[-1]} and {b.shape[-2]} differ")
    if b.ndim == 2 and a.ndim > 2:  # one tall matrix: the rows are what they are
        tall = apply(op, reshape(a, (size_of(a.shape[:-1]), a.shape[-1])), b)
        return reshape(tall, (*a.shape[:-1], b.shape[-1]))
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2], op=f"{name}: {shown}: batches")
    return apply(op, _with_batch(a, batch), _with_batch(b, batch))


def _with_batch(x: Array, batch: Shape) -> Array:
    shape = (*batch, *x.shape[-2:])
    return x if x.shape == shape else broadcast_to(x, shape)


def _sums_in(dtype: DType, wide: DType, a: Array, b: Array) -> tuple[Primitive, Array, Array]:
    """How products of ``a`` and ``b``, of common dtype ``dtype``, are summed in ``wide``, and of what."""
    if wide is dtype:
        return CONTRACT, cast(a, wide), cast(b, wide)
    if dt.promote(dtype, wide) is not wide:
        raise DTypeError(f"matmul: dtype {wide.name} does not hold {dtype.name}, the common dtype of the operands")
    if wide is dt.float32 and a.dtype is b.dtype and a.dtype.is_half:
        return CONTRACT_FLOAT32, a, b
    if wide is dt.int32 and a.dtype.bits == b.dtype.bits == 8:
        return CONTRACT_INT32, a, b
    return CONTRACT, cast(a, wide), cast(b, wide)


@composite
def matmul(x1: Array, x2: Array, /, *, dtype: Any = None) -> Array:
    """The matrix product ``x1 @ x2``.

    Args:
        x1: ``(..., m, k)``, or ``(k,)``, which stands for one row that is not in the result.
        x2: ``(..., k, n)``, or ``(k,)``, which stands for one column that is not in the result.
            Integer or floating-point dtypes; the leading axes broadcast.
        dtype: in which the products are summed, as if the operands were cast to it first; None is the promoted dtype.
            It holds all values of that. Operands of 8 bits in int32, and of 16 bits in float32, are not copied.

    Returns:
        ``(..., m, n)`` in ``dtype``.

    Raises:
        ShapeError: the inner dimensions differ, the leading axes do not broadcast, or an operand has rank 0.
        DTypeError: an operand is bool, there is no common dtype, or ``dtype`` does not hold it.

    Example:
        >>> import weft as wf
        >>> wf.matmul(wf.asarray([[1.0, 2.0]]), wf.asarray([[3.0], [4.0]]))
        Tensor([[11.]], dtype=float32)
    """
    common = dtype_of("matmul", x1, x2)
    shown = f"{x1.shape} @ {x2.shape}"
    if not x1.ndim or not x2.ndim:
        raise ShapeError(f"matmul: {shown}: an operand has rank 0; multiply by numbers with *")
    op, a, b = _sums_in(common, common if dtype is None else dt.as_dtype(dtype), x1, x2)
    if x1.ndim == 1:
        a = reshape(a, (1, *x1.shape))
    if x2.ndim == 1:
        b = reshape(b, (*x2.shape, 1))
    product = product_of("matmul", a, b, shown, op)
    rows = () if x1.ndim == 1 else product.shape[-2:-1]
    columns = () if x2.ndim == 1 else product.shape[-1:]
    shape = (*product.shape[:-2], *rows, *columns)
    return product if shape == product.shape else reshape(product, shape)


@composite
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The sum of the products of elements along one axis.

    Args:
        x1, x2: shapes that broadcast, of the same size along ``axis``; integer or floating-point dtypes.
        axis: of each operand; -1 is the last one.

    Returns:
        The broadcast shape without ``axis``, in the promoted dtype; float16 and bfloat16 are summed in float32.

    Raises:
        ShapeError: the shapes do not broadcast, or the sizes along ``axis`` differ.
        AxisError: the axis is out of range.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.vecdot(wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0]))
        Tensor(11., dtype=float32)
    """
    dtype = dtype_of("vecdot", x1, x2)
    one, two = (_axis_last("vecdot", x, axis) for x in (x1, x2))
    if not are_equal(one.shape[-1], two.shape[-1]):
        raise ShapeError(
            f"vecdot: {x1.shape} and {x2.shape}: sizes {one.shape[-1]} and {two.shape[-1]} along axis {axis} differ"
        )
    wide = working(dtype)
    return cast(sum(multiply(cast(one, wide), cast(two, wide)), axis=-1, dtype=wide), dtype)


def _axis_last(name: str, x: Array, axis: int) -> Array:
    at = normalize_axis(axis, x.ndim, name)
    return permute_dims(x, (*(a for a in range(x.ndim) if a != at), at))


@composite
def outer(x1: Array, x2: Array, /) -> Array:
    """The product of each element of one vector with each of another.

    Args:
        x1: ``(m,)``.
        x2: ``(n,)``. Integer or floating-point dtypes.

    Returns:
        ``(m, n)`` in the promoted dtype.

    Raises:
        ShapeError: an operand is not of rank 1.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.outer(wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0]))
        Tensor([[3., 4.],
                [6., 8.]], dtype=float32)
    """
    dtype_of("outer", x1, x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(f"outer: {x1.shape} and {x2.shape}: wants two vectors")
    return multiply(reshape(x1, (*x1.shape, 1)), x2)


@composite
def tensordot(x1: Array, x2: Array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Array:
    """The sum of products over pairs of axes.

    Args:
        x1, x2: integer or floating-point dtypes.
        axes: N for the last N axes of x1 with the first N of x2, in order; or the axes of x1 and those of x2.

    Returns:
        The axes of x1 that are left, then those of x2, in the promoted dtype.

    Raises:
        ShapeError: the numbers of axes or their sizes differ.
        AxisError: an axis is out of range or named twice.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.tensordot(wf.asarray([[1.0, 2.0]]), wf.asarray([3.0, 4.0]), axes=1)
        Tensor([11.], dtype=float32)
    """
    dtype = dtype_of("tensordot", x1, x2)
    shown = f"{x1.shape} and {x2.shape}, axes {axes}"
    if isinstance(axes, int):
        if not 0 <= axes <= builtins.min(x1.ndim, x2.ndim):
            raise ShapeError(f"tensordot: {shown}: an operand has fewer axes than that")
        axes = (range(x1.ndim - axes, x1.ndim), range(axes))
    left = [normalize_axis(a, x1.ndim, "tensordot") for a in axes[0]]
    right = [normalize_axis(a, x2.ndim, "tensordot") for a in axes[1]]
    normalize_axes(tuple(left), x1.ndim, "tensordot")
    normalize_axes(tuple(right), x2.ndim, "tensordot")
    if [x1.shape[a] for a in left] != [x2.shape[a] for a in right]:
        raise ShapeError(
            f"tensordot: {shown}: sizes {tuple(x1.shape[a] for a in left)} and "
            f"{tuple(x2.shape[a] for a in right)} differ"
        )
    rest1 = [a for a in range(x1.ndim) if a not in left]
    rest2 = [a for a in range(x2.ndim) if a not in right]
    a = permute_dims(cast(x1, dtype), (*rest1, *left))
    b = permute_dims(cast(x2, dtype), (*right, *rest2))
    return contracted(a, b, 0, len(left))

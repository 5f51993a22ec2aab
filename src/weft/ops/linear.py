"""The affine map of a fully connected layer."""

from __future__ import annotations

from ..core.errors import ShapeError
from ..core.symbolic import are_equal
from .contraction import CONTRACT_FLOAT32, dtype_of, matmul, product_of
from .elementwise import cast
from .op import Array, composite
from .operands import REAL, common_dtype
from .precision import working
from .shape import matrix_transpose, reshape


@composite
def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """``x @ weight^T + bias``: the affine map of a fully connected layer.

    One op: with operands of 16 bits the bias is added to the sums in float32, and the result rounded once.

    Args:
        input: ``(..., in)``.
        weight: ``(out, in)``.
        bias: ``(out,)`` or None.

    Returns:
        ``(..., out)`` in the promoted dtype.

    Raises:
        ShapeError: the sizes do not fit.
        DTypeError: an operand is bool, or there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.linear(wf.asarray([1.0, 2.0]), wf.asarray([[3.0, 4.0]]), wf.asarray([0.5]))
        Tensor([11.5], dtype=float32)
    """
    dtype = dtype_of("linear", input, weight)
    if weight.ndim != 2 or not input.ndim or not are_equal(input.shape[-1], weight.shape[1]):
        fits = weight.ndim == 2 and input.ndim
        why = f"{input.shape[-1]} is not {weight.shape[1]}" if fits else "the ranks are wrong"
        raise ShapeError(
            f"linear: input {input.shape}, weight {weight.shape}: {why}; wants input (..., in) and weight (out, in)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: bias {bias.shape}, weight {weight.shape}: wants bias (out,) for weight (out, in)")
    a, b = cast(input, dtype), matrix_transpose(cast(weight, dtype))
    if bias is None:
        return matmul(a, b)
    result = common_dtype("linear", (a, bias), REAL)
    if not dtype.is_half:
        return cast(matmul(a, b), result) + cast(bias, result)
    wide = working(result)
    rows = reshape(a, (1, *a.shape)) if a.ndim == 1 else a
    sums = product_of("linear", rows, b, f"{input.shape} @ {weight.shape}^T", CONTRACT_FLOAT32)
    return cast(cast(reshape(sums, (*input.shape[:-1], weight.shape[0])), wide) + cast(bias, wide), result)

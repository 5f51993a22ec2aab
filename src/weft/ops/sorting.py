"""Elements in order along an axis: positions (one kernel, :class:`~weft.compiler.kernels.Sort`), and what lies there.

Everything is stable: of equal elements the one that comes first stays first, ascending and descending. NaN is greater
than all numbers, and 0.0 is equal to -0.0, as in PyTorch. Values are looked up by their positions, so that their
gradients go where they came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..core import dtypes as dt
from ..core.errors import ShapeError
from ..core.shapes import normalize_axis, shown, size_of
from ..core.symbolic import Dim, undecided
from ..graph.protocol import Argsort, Primitive, TensorType
from .creation import full
from .elementwise import cast
from .indexing import take_along_axis
from .op import Array, apply, composite, public
from .operands import require_tensors
from .precision import working
from .shape import moveaxis, reshape

if TYPE_CHECKING:
    from ..tensor.tensor import Tensor  # one layer up: what users see


def _is_more(kept: Dim, count: Dim) -> bool:
    """Whether more are to be kept than there are; of a size that has no number yet, that is asked when it has one."""
    return not (undecided(kept) or undecided(count)) and kept > count


def _argsort_type(params: dict[str, Any], x: TensorType) -> TensorType:
    kept = params["kept"]
    if len(x.shape) != 2 or kept < 1 or _is_more(kept, x.shape[1]):
        raise ShapeError(f"argsort: {kept} of the elements of {x}: wants some of each row of a matrix")
    return TensorType(dt.int64, (x.shape[0], kept))


ARGSORT = Primitive("argsort", _argsort_type, Argsort())


class Ordered(NamedTuple):
    """What :func:`topk` and PyTorch's ``x.sort()`` return."""

    values: Tensor
    indices: Tensor


def _positions(op: str, x: Array, axis: int, descending: bool, kept: Dim | None = None) -> tuple[Array, Array, int]:
    """The operand, of rank 1 at least, the positions of the first ``kept`` elements along the axis (None: of all), and
    the axis."""
    require_tensors(op, x)
    at = normalize_axis(axis, max(x.ndim, 1), op)
    if not x.ndim:
        x = reshape(x, (1,))
    shape = tuple(x.shape)
    if kept is None:
        kept = shape[at]
    if kept < 0 or _is_more(kept, shape[at]):
        raise ShapeError(f"{op}: k is {shown(kept)}; axis {at} of {shape} has {shape[at]} elements")
    result = (*shape[:at], kept, *shape[at + 1 :])
    if 0 in result:
        return x, full(result, 0, dtype=dt.int64), at
    lines = moveaxis(cast(x, working(x.dtype)) if x.dtype.is_half else x, at, -1)
    outer = tuple(lines.shape[:-1])
    found: Array = apply(ARGSORT, reshape(lines, (size_of(outer), shape[at])), kept=kept, descending=descending)
    return x, moveaxis(reshape(found, (*outer, kept)), -1, at), at


@composite
def argsort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The positions of the elements along an axis in ascending order, as int64.

    Args:
        x: any shape and dtype; a tensor of rank 0 counts as one of rank 1.
        axis: an axis.
        descending: in descending order, in which NaN comes first.
        stable: equal elements stay in their order, whatever is said here.

    Raises:
        AxisError: the axis is out of range.

    Example:
        >>> import weft as wf
        >>> wf.argsort(wf.asarray([3.0, 1.0, 2.0])).tolist()
        [1, 2, 0]
    """
    _, found, _ = _positions("argsort", x, axis, descending)
    return found if x.ndim else reshape(found, ())


@composite
def sort(x: Array, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The elements along an axis in ascending order. Arguments and errors as for :func:`argsort`.

    Example:
        >>> import weft as wf
        >>> wf.sort(wf.asarray([3.0, 1.0, 2.0]), descending=True).tolist()
        [3.0, 2.0, 1.0]
    """
    line, found, at = _positions("sort", x, axis, descending)
    values = take_along_axis(line, found, axis=at)
    return values if x.ndim else reshape(values, ())


@composite(name="sort", public=False)
def sort_with_index(x: Array, /, *, axis: int = -1, descending: bool = False) -> tuple[Array, Array]:
    """The elements along an axis in order, and their positions (PyTorch's ``x.sort(dim)``).

    Example:
        >>> import weft as wf
        >>> from weft.ops.sorting import sort_with_index
        >>> sort_with_index(wf.asarray([3, 1]))
        (Tensor([1, 3], dtype=int64), Tensor([1, 0], dtype=int64))
    """
    line, found, at = _positions("sort", x, axis, descending)
    values = take_along_axis(line, found, axis=at)
    return (values, found) if x.ndim else (reshape(values, ()), reshape(found, ()))


@public
def topk(input: Array, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Ordered:
    """The ``k`` greatest elements along an axis, the greatest first, and their positions.

    Of equal elements those that come first are taken, and stay in their order. NaN is greater than all numbers.

    Args:
        input: any shape and dtype; a tensor of rank 0 counts as one of rank 1.
        k: how many, at most the axis's size.
        dim: the axis.
        largest: False: the least elements, the least first.
        sorted: they are in order, whatever is said here.

    Returns:
        ``values`` of input's dtype and ``indices`` of int64, of input's shape with ``k`` on the axis.

    Raises:
        ShapeError: ``k`` is below 0, or more than there are.
        AxisError: the axis is out of range.

    Example:
        >>> import weft as wf
        >>> values, indices = wf.topk(wf.asarray([1.0, 4.0, 3.0, 4.0]), 3)
        >>> values.tolist(), indices.tolist()
        ([4.0, 4.0, 3.0], [1, 3, 2])
    """
    return Ordered(*_topk(input, k, dim, largest))


@composite(name="topk")
def _topk(input: Array, k: int, dim: int, largest: bool) -> Any:
    line, found, at = _positions("topk", input, dim, largest, k)
    values = take_along_axis(line, found, axis=at)
    return (values, found) if input.ndim or k < 1 else (reshape(values, ()), reshape(found, ()))

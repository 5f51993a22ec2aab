"""Padding as PyTorch has it: widths from the last axis on, and several things that may be around a tensor.

What is not a constant is the tensor itself, in pieces: turned round, its first or last element again, or its other end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.errors import ArgumentError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, undecided
from . import pieces
from .elementwise import cast
from .op import Array, apply, composite
from .operands import require_tensors
from .precision import working
from .views import CONCAT, broadcasted, flipped, slice_

Widths = list[tuple[int, int]]
_FEW = 4  # elements around the last axis that are taken one by one


def _part(x: Array, axis: int, start: Dim, size: Dim) -> Array:
    shape = tuple(x.shape)
    starts = tuple(start if a == axis else 0 for a in range(len(shape)))
    return slice_(x, starts, (*shape[:axis], size, *shape[axis + 1 :]))


def _refuse(mode: str, axis: int, widths: tuple[int, int], size: Dim, why: str) -> ShapeError:
    return ShapeError(f"pad: widths {widths} on axis {axis}, of {size} elements, mode {mode!r}: {why}")


def _cropped(x: Array, axis: int, widths: tuple[int, int], mode: str) -> Array:
    """Without what negative widths take away."""
    first, last = (max(-n, 0) for n in widths)
    if not first and not last:
        return x
    left = x.shape[axis] - first - last
    if not undecided(left) and left < 0:
        raise _refuse(mode, axis, widths, x.shape[axis], "they take away more than there is")
    return _part(x, axis, first, left)


def _joined(x: Array, axis: int, before: Sequence[Array], after: Sequence[Array]) -> Array:
    parts = [*before, x, *after]
    return x if len(parts) == 1 else apply(CONCAT, *parts, axis=axis)


def _reflected(x: Array, axis: int, widths: tuple[int, int]) -> Array:
    """The elements beside the first and the last, which are not repeated, in the other direction."""
    size = x.shape[axis]
    first, last = (max(n, 0) for n in widths)
    if not undecided(size) and size <= max(first, last) > 0:
        raise _refuse("reflect", axis, widths, size, "a width is at most the size of the axis less one")
    before = _turned(x, axis, 1, first) if first else []
    after = _turned(x, axis, size - 1 - last, last) if last else []
    return _cropped(_joined(x, axis, before, after), axis, widths, "reflect")


def _turned(x: Array, axis: int, start: Dim, count: int) -> list[Array]:
    """The elements from ``start`` on in the other direction: one by one where they are few, since a loop along the last
    axis that goes two elements far is mostly its beginning."""
    if axis == x.ndim - 1 and count <= _FEW:
        return [_part(x, axis, start + k, 1) for k in reversed(range(count))]
    return [flipped(_part(x, axis, start, count), (axis,))]


def _replicated(x: Array, axis: int, widths: tuple[int, int]) -> Array:
    """The first and the last element again."""
    size, shape = x.shape[axis], tuple(x.shape)
    first, last = (max(n, 0) for n in widths)
    if max(first, last) > 0 and not undecided(size) and size < 1:
        raise _refuse("replicate", axis, widths, size, "there is no element to repeat")

    def repeated(start: Dim, count: int) -> list[Array]:
        return [broadcasted(_part(x, axis, start, 1), (*shape[:axis], count, *shape[axis + 1 :]))] if count else []

    return _cropped(_joined(x, axis, repeated(0, first), repeated(size - 1, last)), axis, widths, "replicate")


def _wrapped(x: Array, axis: int, widths: tuple[int, int]) -> Array:
    """The elements of the other end, of what negative widths leave."""
    whole = x.shape[axis]
    x = _cropped(x, axis, widths, "circular")
    size = x.shape[axis]
    first, last = (max(n, 0) for n in widths)
    if not undecided(size) and size < max(first, last):
        left = "" if min(widths) >= 0 else f" what negative ones leave, {size},"
        raise _refuse("circular", axis, widths, whole, f"they go around{left} more than once")
    before = [_part(x, axis, size - first, first)] if first else []
    return _joined(x, axis, before, [_part(x, axis, 0, last)] if last else [])


_MODES: dict[str, Callable[[Array, int, tuple[int, int]], Array]] = {
    "reflect": _reflected,
    "replicate": _replicated,
    "circular": _wrapped,
}


def _widths_of(pad: Sequence[int], rank: int, mode: str) -> Widths:
    """A pair for each of the last axes, in their order."""
    numbers = list(pad) if isinstance(pad, Sequence) else [pad]
    if len(numbers) % 2 or len(numbers) > 2 * rank:
        raise ShapeError(
            f"pad: {shown(pad)} for a tensor of {rank} axes: wants before and after for the last axis, then for the "
            "last but one, and so on"
        )
    if mode not in ("constant", *_MODES):
        raise ArgumentError(f"pad: mode is {mode!r}; it must be one of constant, {', '.join(_MODES)}")
    count = len(numbers) // 2
    if mode != "constant" and not (1 <= count <= 3 and rank in (count + 1, count + 2)):
        raise ShapeError(
            f"pad: {len(numbers)} widths for a tensor of {rank} axes: mode {mode!r} pads the last one, two or three "
            "axes of (N, C, ...) or (C, ...)"
        )
    return list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]


@composite
def pad(input: Array, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Array:
    """``input`` with elements around it.

    Args:
        input: any shape and dtype; of the modes but ``"constant"`` ``(N, C, ...)`` or ``(C, ...)``, of which the last
            one, two or three axes are padded.
        pad: ``(before, after)`` of the last axis, then of the last but one, and so on; a negative width takes elements
            away. (``wf.pad`` takes a pair for each axis, from the first on.)
        mode: ``"constant"``; ``"reflect"``, the elements beside the first and the last in the other direction;
            ``"replicate"``, the first and the last again; ``"circular"``, those of the other end.
        value: the constant; None is 0.

    Returns:
        A tensor of the same dtype.

    Raises:
        ShapeError: the widths are not pairs or too many, or a mode has too few elements for them.
        ArgumentError: no such mode, or a value with another mode than ``"constant"``.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.pad(wf.asarray([[1.0, 2.0, 3.0]]), (1, 2), "reflect")
        Tensor([[2., 1., 2., 3., 2., 1.]], dtype=float32)
    """
    require_tensors("pad", input)
    widths = _widths_of(pad, input.ndim, mode)
    lead = input.ndim - len(widths)
    if mode == "constant":
        filled: Array = pieces.pad(input, [(0, 0)] * lead + widths, value=0 if value is None else value)
        return filled
    if value is not None and value != 0:
        raise ArgumentError(f"pad: a value, {shown(value)}, with mode {mode!r}: only 'constant' has one")
    x = cast(input, working(input.dtype))  # of 16-bit floats, whose cotangents are added up
    for axis, width in enumerate(widths, lead):
        x = _MODES[mode](x, axis, width)
    return cast(x, input.dtype)

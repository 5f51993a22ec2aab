"""Images read at any places: grids of coordinates, and what lies there.

Each place reads a few elements of every channel, gathered where they lie, and weighs them; the gradient of the
coordinates is that of the weights. Coordinates go from -1 to 1: with ``align_corners`` these are the middles of the
first and last elements, without it their outer edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, are_equal, undecided
from .creation import as_shape, iota
from .elementwise import abs as abs_
from .elementwise import cast, floor, isnan, logical_and, stop_gradient, where
from .elementwise import round as round_
from .indexing import _gather
from .op import Array, composite
from .operands import require_tensors
from .precision import widen
from .resampling import cubic_weights
from .views import broadcasted, permuted, reshaped, slice_

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")

# --- coordinates ------------------------------------------------------------------------------------------------


def _clipped(at: Array, size: Dim) -> Array:
    """Within the axis; on its ends, and outside, no gradient passes."""
    last: Any = size - 1
    return where(at <= 0.0, 0.0, where(at >= last, last, at))


def _reflected(at: Array, size: Dim, corners: bool) -> Array:
    """Turned back at the middles of the first and last elements, or at their outer edges, as often as it takes."""
    if corners and isinstance(size, int) and size == 1:
        return at * 0.0
    low = 0.0 if corners else -0.5
    span: Any = size - 1 if corners else size
    away = abs_(at - low)
    flips = floor(away / span)
    extra = away - flips * span
    odd = flips - floor(flips * 0.5) * 2.0 > 0.5
    return _clipped(where(odd, span - extra, extra) + low, size)


def _padded(at: Array, size: Dim, padding: str, corners: bool) -> Array:
    """A position on an axis, for what lies outside of it; 0 for what is no number, or infinite and reflected."""
    if padding == "zeros":
        return at
    found = _clipped(at, size) if padding == "border" else _reflected(at, size, corners)
    return where(isnan(found), 0.0, found)


_Tap = tuple[Array, Array, Array | None]  # index; whether it lies on the axis; weight (None: 1)


def _tap(at: Array, size: Dim, weight: Array | None) -> _Tap:
    """The tap at a whole position, which may lie anywhere, or be no number."""
    inside = logical_and(at >= 0.0, at <= size - 1)
    near = where(inside, at, 0.0)
    return cast(near, dt.int64), inside, weight


def _axis_taps(coordinate: Array, size: Dim, mode: str, padding: str, corners: bool) -> list[_Tap]:
    """What places read on one axis."""
    at = (coordinate + 1.0) * ((size - 1) if corners else size) * 0.5
    at = at if corners else at - 0.5
    if mode == "bicubic":
        below = stop_gradient(floor(at))
        weights = cubic_weights(at - below)
        return [_tap(_padded(below + (k - 1.0), size, padding, corners), size, w) for k, w in enumerate(weights)]
    at = _padded(at, size, padding, corners)
    if mode == "nearest":
        return [_tap(stop_gradient(round_(at)), size, None)]
    below = stop_gradient(floor(at))
    t = at - below
    return [_tap(below, size, 1.0 - t), _tap(below + 1.0, size, t)]


# --- sampling ---------------------------------------------------------------------------------------------------


def _check(x: Array, grid: Array, mode: str, padding: str) -> None:
    require_tensors("grid_sample", x, grid)
    if mode not in _MODES:
        raise ArgumentError(f"grid_sample: mode is {shown(mode)}; it is one of {', '.join(_MODES)}")
    if padding not in _PADDINGS:
        raise ArgumentError(f"grid_sample: padding_mode is {shown(padding)}; it is one of {', '.join(_PADDINGS)}")
    what = f"grid_sample: input {x.shape}, grid {grid.shape}"
    if x.ndim not in (4, 5) or grid.ndim != x.ndim:
        raise ShapeError(f"{what}: wants (N, C, H, W) and (N, H', W', 2), or (N, C, D, H, W) and (N, D', H', W', 3)")
    if not are_equal(grid.shape[-1], x.ndim - 2):
        raise ShapeError(f"{what}: the last axis of grid has the {x.ndim - 2} coordinates of a place")
    if not are_equal(x.shape[0], grid.shape[0]):
        raise ShapeError(f"{what}: the batches differ")
    if any(not undecided(n) and n < 1 for n in x.shape[2:]):
        raise ShapeError(f"{what}: there is nothing to read in an input without elements")
    if mode == "bicubic" and x.ndim == 5:
        raise ShapeError(f"{what}: mode 'bicubic' is for inputs of 4 axes")
    if x.dtype is not grid.dtype:
        raise DTypeError(f"grid_sample: input is {x.dtype.name}, grid {grid.dtype.name}: they are of one dtype")


@composite
def grid_sample(
    input: Array,
    grid: Array,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Array:
    """What lies at the places of a grid.

    Args:
        input: shape (N, C, H, W) or (N, C, D, H, W); a floating dtype.
        grid: ``(N, H', W', 2)`` or ``(N, D', H', W', 3)``: the coordinates ``(x, y)`` or ``(x, y, z)`` of places, where
            -1 and 1 are the ends of the axes W, H and D; input's dtype.
        mode: "bilinear" (of a volume, trilinear), "nearest", or "bicubic", which is for images alone.
        padding_mode: outside lie "zeros", the nearest element ("border"), or the input turned back at its ends
            ("reflection").
        align_corners: -1 and 1 are the middles of the first and last elements instead of their outer edges. None is
            False (PyTorch warns).

    Returns:
        ``(N, C, H', W')`` or ``(N, C, D', H', W')``; input's dtype. A coordinate that is no number reads zeros where
        ``padding_mode`` is "zeros".

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: an unknown mode.
        DTypeError: the operands are not of one floating dtype.

    Example:
        >>> import weft as wf
        >>> image, places = wf.asarray([[[[1.0, 2.0], [3.0, 4.0]]]]), wf.asarray([[[[0.0, 0.0], [0.5, 0.5]]]])
        >>> wf.nn.functional.grid_sample(image, places)
        Tensor([[[[2.5, 4. ]]]], dtype=float32)

    Reference:
        Jaderberg et al., Spatial Transformer Networks, 2015.
    """
    _check(input, grid, mode, padding_mode)
    x, places = widen("grid_sample", input, grid)
    rank, corners = x.ndim - 2, bool(align_corners)
    shape = tuple(places.shape[:-1])
    taps = []
    for axis in range(rank):  # coordinates are in the order of the axes from the last
        start = (*(0,) * len(shape), rank - 1 - axis)
        coordinate = reshaped(slice_(places, start, (*shape, 1)), shape)
        taps.append(_axis_taps(coordinate, x.shape[2 + axis], mode, padding_mode, corners))
    rows = permuted(x, (0, *range(2, rank + 2), 1))
    total: Any = None
    for chosen in product(*taps):
        value = _read(rows, chosen)
        total = value if total is None else total + value
    return cast(permuted(total, (0, rank + 1, *range(1, rank + 1))), input.dtype)


def _read(rows: Array, chosen: Sequence[_Tap]) -> Array:
    """The weighed elements of ``rows`` ``(N, *spatial, C)`` at a tap on each axis; 0 for those outside."""
    shape = tuple(chosen[0][0].shape)
    value: Array = _gather(rows, [iota(shape, 0), *(index for index, _, _ in chosen)])
    inside, weight = chosen[0][1], chosen[0][2]
    for _, other, factor in chosen[1:]:
        inside = logical_and(inside, other)
        weight = weight if weight is None or factor is None else weight * factor
    if weight is not None:
        weight = where(inside, weight, 0.0)  # a place that is no number has none, nor gradients
        value = value * broadcasted(reshaped(weight, (*shape, 1)), tuple(value.shape))
    return where(reshaped(inside, (*shape, 1)), value, 0.0)


# --- grids ------------------------------------------------------------------------------------------------------


def _line(n: Dim, axis: int, rank: int, dtype: DType, corners: bool) -> Array:
    """The coordinates of the elements of an axis, for a grid's axes before the coordinates."""
    shape = tuple(n if a == axis + 1 else 1 for a in range(rank + 2))
    at = iota(shape, axis + 1, dtype)
    if not corners:
        return (at * 2.0 + 1.0) / n - 1.0
    return at * 2.0 / (n - 1) - 1.0 if n > 1 else at * 0.0


@composite
def affine_grid(theta: Array, size: Sequence[Dim], align_corners: bool | None = None) -> Array:
    """The grid of places that an affine map makes of the middles of an image's elements: what :func:`grid_sample`
    reads there is the image, moved.

    Args:
        theta: a matrix for each image, ``(N, 2, 3)`` or ``(N, 3, 4)``; a floating dtype.
        size: ``(N, C, H, W)`` or ``(N, C, D, H, W)``, the shape of the images that shall come out.
        align_corners: as for :func:`grid_sample`.

    Returns:
        ``(N, H, W, 2)`` or ``(N, D, H, W, 3)``; theta's dtype.

    Raises:
        ShapeError: the shapes do not fit, or a size is below 1.
        DTypeError: ``theta`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.affine_grid(wf.asarray([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.5]]]), (1, 1, 1, 2))
        Tensor([[[[-0.5,  0.5],
                  [ 0.5,  0.5]]]], dtype=float32)

    Reference:
        Jaderberg et al., Spatial Transformer Networks, 2015.
    """
    require_tensors("affine_grid", theta)
    (wide,) = widen("affine_grid", theta)
    size = as_shape(size, "affine_grid")
    rank = len(size) - 2
    what = f"affine_grid: theta {theta.shape}, size {shown(size)}"
    if rank not in (2, 3) or theta.ndim != 3:
        raise ShapeError(f"{what}: wants (N, 2, 3) and (N, C, H, W), or (N, 3, 4) and (N, C, D, H, W)")
    if not all(are_equal(a, b) for a, b in zip(theta.shape, (size[0], rank, rank + 1), strict=True)):
        raise ShapeError(f"{what}: theta is ({size[0]}, {rank}, {rank + 1}), a matrix for each image")
    if any(not undecided(n) and n < 1 for n in size):
        raise ShapeError(f"{what}: sizes are at least 1")
    batch = theta.shape[0]

    def column(k: int) -> Array:
        return reshaped(slice_(wide, (0, 0, k), (batch, rank, 1)), (batch, *(1,) * rank, rank))

    total = column(rank)
    for axis, n in enumerate(size[2:]):
        total = total + column(rank - 1 - axis) * _line(n, axis, rank, wide.dtype, bool(align_corners))
    return cast(broadcasted(total, (batch, *size[2:], rank)), theta.dtype)

"""Signals and images of another size: each axis on its own, one after the other.

An element of the result is a weighted sum of a few of the input's, the *taps*: where they are and how much they weigh
is computed from its position where it is needed, and no matrix is written down. The gradient is made the same way. What
reads an element of the input lies side by side in the result, so its cotangent is the sum over a window of cotangents,
each times the weight with which it read the element; nothing is added up one by one.

Positions are computed in float32 (float64 for float64) by PyTorch's formulas, so that both round to the same elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.shapes import shown
from ..core.symbolic import Dim, SymDim, undecided
from .adaptive_pooling import part_means, part_means_gradient
from .creation import iota
from .elementwise import abs as abs_
from .elementwise import cast, clip, floor, logical_and, maximum, minimum, where
from .indexing import take
from .op import Array, composite
from .operands import require_tensors
from .precision import widen, working
from .reduction import sum as sum_
from .views import broadcasted, reshaped

# Mode -> how many axes after batch and channels it is for.
_RANKS = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "trilinear": (3,),
    "bicubic": (2,),
}
_COUNTED = 1 << 22  # positions of larger results are not looked at on the host
_WITHOUT_CORNERS = ("nearest", "nearest-exact", "area")


@dataclass(frozen=True, slots=True)
class _Way:
    """How an axis of ``n`` elements becomes one of ``m``."""

    kind: str  # "nearest", "nearest-exact", "linear", "cubic"
    n: int
    m: int
    scale: float  # the distance, in the input, of two elements of the result
    corners: bool  # whether the middles of the first and last elements fall together, and not their outer edges
    antialias: bool
    same: bool  # whether the axis stays as it is: PyTorch's rule, where a factor leaves the size

    @property
    def shift(self) -> float:
        """Element ``i`` of the result lies at ``scale * (i + shift)``, and the middle of the input's ``p`` at
        ``p + 0.5``; with ``corners`` at ``p``."""
        return 0.0 if self.corners or self.kind == "nearest" else 0.5

    @property
    def reach(self) -> float:
        """No element is read from further away."""
        half = {"cubic": 2.0, "linear": 1.0}.get(self.kind, 0.5)
        return half * max(self.scale, 1.0) + 1.0 if self.antialias else half


# --- taps -------------------------------------------------------------------------------------------------------


def cubic_weights(t: Array) -> list[Array]:
    """What the four elements around a point weigh that lies ``t`` behind the second (Keys, with a = -0.75)."""
    return [_outer(t + 1.0, -0.75), _inner(t, -0.75), _inner(1.0 - t, -0.75), _outer(2.0 - t, -0.75)]


def _inner(x: Array, a: float) -> Array:
    """The cubic kernel up to a distance of 1."""
    return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0


def _outer(x: Array, a: float) -> Array:
    """The cubic kernel at a distance from 1 to 2."""
    return ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a


def _index(x: Array) -> Array:
    return cast(x, dt.int64)


def _taps(way: _Way, at: Array, dtype: DType) -> list[tuple[Array, Array | None]]:
    """The elements that the result's element ``at`` reads, and their weights; None: all of it."""
    i, last = cast(at, dtype), way.n - 1
    if way.kind == "nearest":
        return [(minimum(_index(floor(i * way.scale)), last), None)]
    if way.kind == "nearest-exact":
        return [(minimum(_index(floor((i + 0.5) * way.scale)), last), None)]
    source = i * way.scale if way.corners else (i + 0.5) * way.scale - 0.5
    if way.kind == "linear":
        source = maximum(source, 0.0)
        before = minimum(_index(floor(source)), last)
        t = clip(source - cast(before, dtype), 0.0, 1.0)
        return [(before, 1.0 - t), (minimum(before + 1, last), t)]
    below: Array = floor(source)
    first = _index(below)
    weights = cubic_weights(source - below)
    return [(clip(first + (k - 1), 0, last), weight) for k, weight in enumerate(weights)]


def _window(way: _Way, at: Array, dtype: DType) -> tuple[Array, Array, Array]:
    """Of an antialiased axis: the first element that is read, the one behind the last, and the place of the middle."""
    support = way.reach - 1.0
    middle = way.scale * (cast(at, dtype) + 0.5)
    first = maximum(_index(middle + (0.5 - support)), 0)
    end = minimum(_index(middle + (0.5 + support)), way.n)
    return first, end, middle


def _filter(way: _Way, place: Array, middle: Array, dtype: DType) -> Array:
    """What an element weighs in an antialiased sum, before the weights are made to add up to 1."""
    x = abs_((cast(place, dtype) - middle + 0.5) * (1.0 / max(way.scale, 1.0)))
    if way.kind == "linear":
        return maximum(1.0 - x, 0.0)
    return where(x < 1.0, _inner(x, -0.5), where(x < 2.0, _outer(x, -0.5), 0.0))


def _most(way: _Way) -> int:
    """The number of elements that an antialiased sum reads, at most."""
    return min(math.ceil(way.reach - 1.0) * 2 + 1, way.n)


def _totals(way: _Way, at: Array, dtype: DType) -> Array:
    """What the weights of the result's elements ``at``, of rank 1, add up to."""
    count, most = at.shape[0], _most(way)
    points = (count, most)
    first, end, middle = (broadcasted(reshaped(v, (count, 1)), points) for v in _window(way, at, dtype))
    place = first + iota(points, 1)
    return sum_(where(place < end, _filter(way, place, middle, dtype), 0.0), axis=1)


# --- an axis, and back ------------------------------------------------------------------------------------------


def _along(weights: Array, x: Array, axis: int) -> Array:
    """A tensor of one or two axes, for ``x`` whose axes from ``axis`` on are those."""
    shape = tuple(weights.shape)
    return reshaped(weights, (*shape, *(1,) * (x.ndim - axis - len(shape))))


def _resampled(x: Array, axis: int, way: _Way, dtype: DType) -> Array:
    """An axis of ``x`` in its new size. Positions are computed in ``dtype``, which is ``x``'s if it is added up."""
    factor = way.m // way.n
    if way.kind == "nearest" and way.m == factor * way.n and _repeats(way, dtype):
        shape = tuple(x.shape)
        apart = reshaped(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        wide = broadcasted(apart, (*shape[: axis + 1], factor, *shape[axis + 1 :]))
        return reshaped(wide, (*shape[:axis], way.m, *shape[axis + 1 :]))
    if way.antialias:
        points = (way.m, _most(way))
        first, end, middle = _window(way, iota(points, 0), dtype)
        place = first + iota(points, 1)
        weight: Array = where(place < end, _filter(way, place, middle, dtype), 0.0)
        weight = weight / reshaped(_totals(way, iota((way.m,), 0), dtype), (way.m, 1))
        read = take(x, minimum(place, way.n - 1), axis=axis)
        return sum_(where(_along(place < end, read, axis), read * _along(weight, read, axis), 0.0), axis=axis + 1)
    total: Any = None
    for index, share in _taps(way, iota((way.m,), 0), dtype):
        read = take(x, index, axis=axis)
        part = read if share is None else read * _along(share, read, axis)
        total = part if total is None else total + part
    return total


def _repeats(way: _Way, dtype: DType) -> bool:
    """Whether each element stands ``m / n`` times, as rounded positions have it (PyTorch's do, and not always)."""
    import numpy as np

    if way.m > _COUNTED:
        return False
    places = np.floor(np.arange(way.m).astype(dtype.numpy) * dtype.numpy.type(way.scale))
    return bool((places == np.arange(way.m) // (way.m // way.n)).all())


def _resampled_back(g: Array, axis: int, way: _Way, dtype: DType) -> Array:
    """The cotangent of :func:`_resampled`'s operand."""
    factor = way.m // way.n
    if way.kind == "nearest" and way.m == factor * way.n and _repeats(way, dtype):
        shape = tuple(g.shape)
        return sum_(reshaped(g, (*shape[:axis], way.n, factor, *shape[axis + 1 :])), axis=axis + 1)
    reads = way.m if way.scale == 0 else min(way.m, math.ceil(2.0 * way.reach / way.scale) + 2)
    points = (way.n, reads)
    own, at = iota(points, 0), iota(points, 1)
    inside = at >= 0
    if reads < way.m:  # from the first element of the result that may have read this one
        middle = 0.0 if way.corners else 0.5
        near = (cast(own, dtype) + (middle - way.reach)) * (1.0 / way.scale) - way.shift
        place = _index(floor(near)) + at
        inside = logical_and(place >= 0, place < way.m)
        at = clip(place, 0, way.m - 1)
    weight: Any = 0.0
    if way.antialias:
        first, end, centre = _window(way, at, dtype)
        totals = take(_totals(way, iota((way.m,), 0), dtype), at, axis=0)
        inside = logical_and(inside, logical_and(own >= first, own < end))
        weight = _filter(way, own, centre, dtype) / totals
    else:
        for index, share in _taps(way, at, dtype):
            weight = weight + where(index == own, 1.0 if share is None else share, 0.0)
        weight = cast(weight, dtype)
    read = take(g, at, axis=axis)
    return sum_(where(_along(inside, read, axis), read * _along(weight, read, axis), 0.0), axis=axis + 1)


# --- the function -----------------------------------------------------------------------------------------------


def _check_mode(x: Array, mode: str, align_corners: bool | None, antialias: bool) -> None:
    require_tensors("interpolate", x)
    if mode not in _RANKS:
        raise ArgumentError(f"interpolate: mode is {shown(mode)}; it is one of {', '.join(_RANKS)}")
    if x.ndim - 2 not in _RANKS[mode]:
        axes = " or ".join(str(rank + 2) for rank in _RANKS[mode])
        raise ShapeError(f"interpolate: mode {mode!r} wants an input of {axes} axes, (N, C, ...); shape {x.shape}")
    if align_corners is not None and mode in _WITHOUT_CORNERS:
        raise ArgumentError(
            f"interpolate: align_corners with mode {mode!r}: it is for the linear and cubic modes alone"
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(f"interpolate: antialias with mode {mode!r}: it is for 'bilinear' and 'bicubic' alone")


def _sizes(
    x: Array,
    size: Dim | Sequence[Dim] | None,
    scale_factor: float | Sequence[float] | None,
    recompute: bool,
) -> tuple[tuple[Dim, ...], tuple[float, ...] | None]:
    """The last axes of the result; and the factors, if positions are computed by them and not by the sizes."""
    own = x.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: wants either size or scale_factor, one of the two")
    given: Any = scale_factor if size is None else size
    found = tuple(given) if isinstance(given, Sequence) else (given,) * len(own)
    name = "scale_factor" if size is None else "size"
    if len(found) != len(own):
        raise ArgumentError(f"interpolate: {name} is {shown(given)}: wants {len(own)}, for the axes {own} of {x.shape}")
    if size is not None and recompute:
        raise ArgumentError("interpolate: recompute_scale_factor with size: there is no factor to compute again")
    if size is None:
        if not all(isinstance(s, (int, float)) and 0 < s < math.inf for s in found):
            raise ArgumentError(f"interpolate: scale_factor is {shown(given)}; factors are numbers above 0")
        sizes = tuple(_scaled(n, float(s)) for n, s in zip(own, found, strict=True))
    elif not all(type(n) is int or isinstance(n, SymDim) for n in found):
        raise ArgumentError(f"interpolate: size is {shown(given)}; sizes are integers")
    else:
        sizes = found
    if any(not undecided(n) and n < 1 for n in (*own, *sizes)):
        raise ShapeError(f"interpolate: from {own} elements to {sizes}: both are at least 1 on each axis")
    return sizes, None if size is not None or recompute else tuple(map(float, found))


def _scaled(n: Dim, factor: float) -> Dim:
    return n * int(factor) if factor.is_integer() else math.floor(int(n) * factor)


def _ways(
    x: Array,
    size: Dim | Sequence[Dim] | None,
    scale_factor: float | Sequence[float] | None,
    mode: str,
    align_corners: bool | None,
    recompute_scale_factor: bool | None,
    antialias: bool,
) -> list[_Way]:
    """How each of the last axes is resampled."""
    sizes, factors = _sizes(x, size, scale_factor, bool(recompute_scale_factor))
    kind = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    corners = bool(align_corners)
    ways = []
    for axis, (n, m) in enumerate(zip(map(int, x.shape[2:]), map(int, sizes), strict=True)):
        if corners:
            scale = (n - 1) / (m - 1) if m > 1 else 0.0
        else:
            scale = n / m if factors is None else 1.0 / factors[axis]
        same = n == m and (scale == 1.0 or antialias or kind == "linear" or (mode == "nearest" and len(sizes) == 2))
        ways.append(_Way(kind, n, m, scale, corners, antialias, same))
    return ways


def _positions_in(x: Array, mode: str) -> DType:
    """The dtype of positions and weights.

    Raises:
        DTypeError: the mode computes, and the input is not floating.
    """
    if mode.startswith("nearest"):
        return dt.float64 if x.dtype is dt.float64 else dt.float32
    if not x.dtype.is_floating:
        raise DTypeError(
            f"interpolate: {x.dtype.name} operands with mode {mode!r}: wants a floating-point dtype; cast with astype"
        )
    return working(x.dtype)


def _interpolate_gradient(
    result: Array,
    g: Array,
    input: Array,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    wide = cast(g, working(g.dtype))
    if mode == "area":
        return cast(part_means_gradient(wide, tuple(input.shape), input.ndim - 2), input.dtype)
    ways = _ways(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    for axis, way in reversed(list(enumerate(ways, 2))):
        wide = wide if way.same else _resampled_back(wide, axis, way, _positions_in(input, mode))
    return cast(wide, input.dtype)


@composite(gradient=_interpolate_gradient)
def interpolate(
    input: Array,
    size: Dim | Sequence[Dim] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Array:
    """A signal, image or volume of another size.

    Args:
        input: shape (N, C, L), (N, C, H, W) or (N, C, D, H, W); a floating dtype, with the nearest modes any.
        size: the last axes of the result: one number for all, or one for each.
        scale_factor: they are the input's times this, rounded down: one number for all, or one for each.
        mode: "nearest" (as PyTorch's, which takes the element before), "nearest-exact", "linear" (L), "bilinear"
            (H, W), "trilinear" (D, H, W), "bicubic" (H, W), or "area", the mean of each part
            (:func:`adaptive_avg_pool2d`).
        align_corners: in the linear and cubic modes, the middles of the first and last elements fall together instead
            of their outer edges.
        recompute_scale_factor: positions are computed by the sizes, as with ``size``, and not by ``scale_factor``.
        antialias: a smaller image is filtered, so that each element of the result is a weighted mean of all that it
            stands for; "bilinear" and "bicubic" alone.

    Returns:
        ``(N, C, *size)``; input's dtype.

    Raises:
        ShapeError: another number of axes than the mode is for, or a size below 1.
        ArgumentError: both or neither of ``size`` and ``scale_factor``, another number of them than axes, or an option
            that the mode does not have.
        DTypeError: the mode computes, and ``input`` is not floating.

    Example:
        >>> import weft as wf
        >>> wf.nn.functional.interpolate(wf.asarray([[[0.0, 4.0]]]), scale_factor=2, mode="linear")
        Tensor([[[0., 1., 3., 4.]]], dtype=float32)

    Reference:
        Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981.
    """
    _check_mode(input, mode, align_corners, antialias)
    dtype = _positions_in(input, mode)
    if mode == "area":
        sizes, _ = _sizes(input, size, scale_factor, size is None)
        (wide,) = widen("interpolate", input)
        return cast(part_means(wide, sizes), input.dtype)
    nearest = mode.startswith("nearest")
    x = input if nearest else cast(input, dtype)
    ways = _ways(input, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias)
    for axis, way in enumerate(ways, 2):
        x = x if way.same else _resampled(x, axis, way, dtype)
    return cast(x, input.dtype)

"""Axes: which axes of a shape are one axis for everything that is read and written, and in which order a kernel walks
them. The fewer axes, the longer the vectors and the fewer the kernels that differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ...core.shapes import Shape
from ...core.symbolic import Dim, typical
from ..protocol import Layout


def squeeze(shape: Shape, strides: Shape) -> tuple[Shape, Shape]:
    """Without the axes of size 1, whose strides do not matter."""
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    return tuple(n for n, _ in kept), tuple(s for _, s in kept)


def squeezed(shape: Shape) -> Shape:
    """A shape without the axes of size 1."""
    return tuple([n for n in shape if n != 1])


def mergeable(sizes: Sequence[Dim], strides: Sequence[Dim]) -> bool:
    """Whether axes of these sizes and strides are one axis."""
    kept = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    return all(a[1] == b[1] * b[0] for a, b in pairwise(kept)) or 0 in sizes


class Axes:
    """The iteration axes of a kernel, merged where every access allows it: the same elements in the same order.

    ``groups`` are ranges of axes that may be merged among themselves; they are taken in the order ``order``.
    """

    def __init__(
        self,
        sizes: Sequence[Dim],
        layouts: Sequence[Layout],
        groups: Sequence[tuple[int, int]],
        order: Sequence[int] | None = None,
    ):
        self.sizes: list[Dim] = []
        self.counts: list[int] = []  # merged axes of each group
        # Of each merged axis, the original one whose stride it has; or (of an added axis) none, and the stride.
        self._strides: list[tuple[int | None, Dim]] = []
        for start, stop in groups:
            merged: list[list[int]] = []
            for axis in (order or range(len(sizes)))[start:stop]:
                if sizes[axis] == 1:
                    continue
                if merged and all(
                    layout.strides[merged[-1][-1]] == layout.strides[axis] * sizes[axis] for layout in layouts
                ):
                    merged[-1].append(axis)
                else:
                    merged.append([axis])
            self.counts.append(len(merged))
            for axes in merged:
                size: Dim = 1
                for axis in axes:
                    size *= sizes[axis]
                self.sizes.append(size)
                self._strides.append((axes[-1], 0))

    def strides(self, layout: Layout) -> list[Dim]:
        """The layout's strides over the merged axes."""
        return [fixed if axis is None else layout.strides[axis] for axis, fixed in self._strides]

    def permute(self, order: Sequence[int]) -> None:
        """Put the merged axes into another order."""
        self.sizes = [self.sizes[a] for a in order]
        self._strides = [self._strides[a] for a in order]

    def add(self, at: int, stride: int) -> None:
        """Put an axis of size 1 before axis ``at``, where a kernel wants one; every access has ``stride`` on it."""
        self.sizes.insert(at, 1)
        self._strides.insert(at, (None, stride))


SHORT = 8  # an axis shorter than this fills too little of a vector


def across(
    shape: Shape, walked: tuple[int, int], layouts: Sequence[Layout], indices: Sequence[Layout] = ()
) -> tuple[Axes, int]:
    """Axes in the order ``(*grid, *walked, inner)``, and how many are walked: the axes ``walked``, several where they
    are not one for all layouts; then the one that vectors run along: the last of those that are not walked or, where
    several are walked, a long one along which elements lie side by side. ``layouts``: of what is read and written;
    ``indices``: of what depends on positions."""
    start, stop = walked
    axes = Axes(shape, [*layouts, *indices], [(0, start), (start, stop), (stop, len(shape))])
    outer, count, after = axes.counts
    if not count:
        axes.add(outer, 0)
        count = 1
    if not after and (count == 1 or not outer):
        axes.add(outer + count, 1)
    rank = len(axes.sizes)
    kept = [*range(outer), *range(outer + count, rank)]
    inner = kept[-1]
    if count > 1:
        strides = [axes.strides(x) for x in layouts]
        walking = [s for s in strides if any(s[outer : outer + count])]

        def gain(axis: int) -> tuple[int, int, int]:
            near = sum(s[axis] in (0, 1) for s in strides) + sum(s[axis] in (0, 1) for s in walking)
            return min(typical(axes.sizes[axis]), SHORT), near, axis

        inner = max(kept, key=gain)
    axes.permute([*(a for a in kept if a != inner), *range(outer, outer + count), inner])
    return axes, count


def order_of(place: Layout, layouts: Sequence[Layout]) -> list[int] | None:
    """The order of the axes in the memory that is written, where nothing is read in another: a column-major tensor is
    then walked from one end to the other. None: as the axes come."""
    order = sorted(range(len(place.shape)), key=lambda axis: -place.strides[axis])
    for layout in layouts:
        steps = [layout.strides[axis] for axis in order if layout.strides[axis] and layout.shape[axis] != 1]
        if any(a < b for a, b in pairwise(steps)):
            return None
    return order

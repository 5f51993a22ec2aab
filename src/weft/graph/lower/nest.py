"""Elementwise clusters and clusters of rows, each as one Nest."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod

from ...compiler.kernels import Nest, Reduce, Store
from ...core.symbolic import Dim, computed, least, typical
from ..ir import Node, Value
from ..protocol import Layout
from .axes import SHORT, Axes, order_of
from .clustering import MAX_SIZE, Cluster
from .launch import Launch, LaunchBuilder, cost_of, grain_of, pieces
from .members import Members

MAP_BLOCK = 4096  # elements of one unit of an elementwise kernel
LINE = 128  # elements of an axis that is long enough to be walked
STRIDED_BLOCK = 128  # where something is read with a stride: the lines it touches stay in the first-level cache
# Where they would not: steps of multiples of 2 KiB crowd them into few of its sets. 1024 x 1024 turned round, from
# memory: 3.1 -> 1.2 ms; with steps of 1 KiB the longer blocks are quicker.
CROWDED_BLOCK = 16
SETS, WAYS = 4096, 8  # bytes after which the sets begin anew, and lines in a set, of the caches that there are at least


def lower_nest(cluster: Cluster, needed: set[Value]) -> Launch:
    """The launch of a cluster of kind map or row; ``needed`` are the values that others read."""
    members, walked, together = Members(cluster, needed), 1, 1
    written = [(place, v) for v, places in members.places.items() if v in members.stored for place in places]
    layouts = [*members.reads, *(place for place, _ in written)]
    if cluster.kind == "row":
        axes = Axes(cluster.space, layouts, [(0, cluster.axes[0]), (cluster.axes[0], len(cluster.space))])
        block, walked = 0, axes.counts[1]
    else:
        place = next((members.places[r.value][0] for r in members.roots if r.place is not None), None)
        axes = point_axes(cluster.space, layouts, None if place is None else order_of(place, layouts))
        if cluster.size <= MAX_SIZE // 4:
            together = _together(axes, [place for place, _ in written])
        if together == 1:
            _end_on_a_long_axis(axes)
        block = MAP_BLOCK
        if len(axes.sizes) > 1:
            near = (0, 1, together)
            steps = [(axes.strides(x)[-1], v.dtype.itemsize) for x, v in (*members.touched, *written)]
            block = min([_strided_block(typical(s) * size) for s, size in steps if s not in near], default=block)
    builder = LaunchBuilder(together, together > 1)
    rewritten = builder.rewrite(members.exprs, axes.strides)
    found = members.stages(builder, rewritten, axes, (len(axes.sizes) - walked, len(axes.sizes)))
    stages = [stage for reduce, store in found if (stage := reduce or store) is not None]
    results = [store for reduce, store in found if reduce is not None and store is not None]
    return nest_launch(
        builder,
        axes.sizes,
        block,
        [*stages, *results],
        cost_of(rewritten),
        cluster.nodes,
        members.in_place(),
        walked=walked,
        together=together,
    )


def _strided_block(step: int) -> int:
    """How many elements a block has where neighbours lie ``step`` bytes apart: their lines stay in the cache until the
    next row reads on in them."""
    lines = SETS // gcd(step, SETS) * WAYS
    return CROWDED_BLOCK if lines <= CROWDED_BLOCK else STRIDED_BLOCK


def point_axes(shape: Sequence[Dim], layouts: Sequence[Layout], order: Sequence[int] | None) -> Axes:
    """All axes merged; where nothing is left to walk, one point, which a vector of it reads with stride 1."""
    axes = Axes(shape, layouts, [(0, len(shape))], order)
    if not axes.sizes:
        axes.add(0, 1)
    return axes


def _together(axes: Axes, written: Sequence[Layout]) -> int:
    """Where the last axis has 2 or 4 points and something is written along it and the one before it as if they were one
    axis, put it before that one: so many points are then computed at a time, in vectors that are half empty if need be
    (the rows of images of 8 x 8). 1: all others."""
    if len(axes.sizes) < 2:
        return 1
    *_, long, count = axes.sizes
    if not isinstance(count, int) or count not in (2, 4) or typical(long) < SHORT // 2:
        return 1
    if not any(axes.strides(layout)[-2:] == [count, 1] for layout in written):
        return 1
    rank = len(axes.sizes)
    axes.permute([*range(rank - 2), rank - 1, rank - 2])
    return count


def _end_on_a_long_axis(axes: Axes) -> None:
    """Walk a long axis where the last one is too short for vectors: of those that are long enough, the last."""
    rank = len(axes.sizes)
    longest = max(range(rank), key=lambda axis: (min(typical(axes.sizes[axis]), LINE), axis))
    if longest < rank - 1 and axes.sizes[-1] < SHORT and axes.sizes[longest] >= 2 * SHORT:
        axes.permute([*(a for a in range(rank) if a != longest), longest])


def nest_launch(
    builder: LaunchBuilder,
    sizes: Sequence[Dim],
    block: int,
    stages: Sequence[Reduce | Store],
    cost: int,
    nodes: Sequence[Node],
    in_place: tuple[tuple[Value, Value], ...] = (),
    block_axis: bool = False,
    walked: int = 1,
    together: int = 1,
) -> Launch:
    """The launch of a Nest over ``sizes`` whose last axis (the last ``walked``, as one) is cut into blocks (0: it is
    one); ``together``: the points of the axis before it, if they are computed at a time; ``cost``: of a vector."""
    outer, inner = sizes[: -walked - (together > 1)], prod(sizes[-walked:])
    cost *= together
    blocks = pieces(inner, block) if block else 1
    grid, extent = builder.slots(outer), builder.extents(sizes[-walked:])
    count = builder.slot(blocks) if block else 1
    streams = builder.streams(sizes, stages)
    kernel = Nest(grid, extent, block, count, tuple(stages), tuple(builder.dtypes), block_axis, together, streams)
    grain = computed(grain_of, cost * (least(inner, block) if block else inner))
    return builder.launch(kernel, prod(outer) * blocks, grain, nodes, cost * prod(outer) * inner, in_place)

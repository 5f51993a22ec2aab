"""Clusters of columns (reductions over axes that are not the last), each as one ColumnReduce."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.kernels import COLUMNS, WINDOW, ColumnReduce, Ints, Reduce, Store
from ...core.symbolic import Dim, computed, least
from ..ir import Node, Value
from .axes import across
from .clustering import MAX_SIZE, Cluster
from .expressions import leaf_layouts
from .launch import Launch, LaunchBuilder, cost_of, grain_of, pieces
from .members import Members


def lower_column(cluster: Cluster, needed: set[Value]) -> Launch:
    """The launch of a cluster of kind column; ``needed`` are the values that others read."""
    members = Members(cluster, needed)
    reads = leaf_layouts(members.exprs, ("read", "gather"))
    indices = leaf_layouts(members.exprs, ("position",))
    places = [place for each in members.places.values() for place in each]
    axes, walked = across(cluster.space, cluster.axes, [*reads, *places], indices)
    last = len(axes.sizes) - 1
    cost = sum(r.size + 1 for r in cluster.roots if r.kind == "reduce")
    at_end = cluster.axes[1] == len(cluster.space)  # windows, and short rows
    window = (walked > 1 or at_end) and _is_window(axes.sizes[last - walked : last], cost)
    builder = LaunchBuilder(near=2 if window else 1)
    rewritten = builder.rewrite(members.exprs, axes.strides)
    found = members.stages(builder, rewritten, axes, (last - walked, last))
    stages = [reduce for reduce, _ in found if reduce is not None]
    stores = [store for _, store in found if store is not None]
    cost = cost_of(rewritten) + 2
    in_place = () if window else members.in_place()  # columns of windows may be computed twice
    return column_launch(builder, axes.sizes, 0, [*stages, *stores], cost, cluster.nodes, in_place, walked, window)


def _is_window(sizes: Sequence[Dim], cost: int) -> bool:
    """Whether the sizes of reduced axes are structure; ``cost``: of one element."""
    count = prod(sizes)
    return isinstance(count, int) and count <= WINDOW and count * cost <= MAX_SIZE


def column_launch(
    builder: LaunchBuilder,
    sizes: Sequence[Dim],
    chunk: int,
    stages: Sequence[Reduce | Store],
    cost: int,
    nodes: Sequence[Node],
    in_place: tuple[tuple[Value, Value], ...] = (),
    walked: int = 1,
    window: bool = False,
) -> Launch:
    """The launch of a ColumnReduce over ``(*grid, *reduced, inner)``, of which ``walked`` axes are reduced; they are
    cut into chunks (0: they are one), each with a result of its own. ``window``: their sizes are structure."""
    outer, several, inner = sizes[: -walked - 1], tuple(sizes[-walked - 1 : -1]), sizes[-1]
    reduced = prod(several)
    chunks, blocks = pieces(reduced, chunk) if chunk else 1, pieces(inner, COLUMNS)
    grid = builder.slots(outer)
    extent: Ints = tuple(map(int, several)) if window else builder.extents(several)
    count = builder.slot(chunks) if chunk else 1
    width, parts = builder.slot(inner), builder.slot(blocks)
    whole = 0 if isinstance(extent, tuple) else extent
    kernel = ColumnReduce(
        grid, extent, chunk or whole, count, width, COLUMNS, parts, tuple(stages), tuple(builder.dtypes), chunk > 0
    )
    work = cost * (least(reduced, chunk) if chunk else reduced) * least(inner, COLUMNS)
    return builder.launch(
        kernel, prod(outer) * chunks * blocks, computed(grain_of, work), nodes, cost * prod(sizes), in_place
    )

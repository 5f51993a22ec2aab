"""Clusters of columns (reductions over axes that are not the last), each as one ColumnReduce."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...compiler.kernels import COLUMNS, ColumnReduce, Reduce, Store
from ...core.symbolic import Dim, computed, least
from ..ir import Node, Value
from .axes import across
from .clustering import Cluster
from .launch import Launch, LaunchBuilder, cost_of, grain_of, pieces
from .members import Members


def lower_column(cluster: Cluster, needed: set[Value]) -> Launch:
    """The launch of a cluster of kind column; ``needed`` are the values that others read."""
    members, builder = Members(cluster, needed), LaunchBuilder()
    axes = across(cluster.space, cluster.axes, [*members.reads, *members.own.values()])
    rewritten = builder.rewrite(members.exprs, axes.strides)
    found = members.stages(builder, rewritten, axes, len(axes.sizes) - 2)
    stages = [reduce for reduce, _ in found if reduce is not None]
    stores = [store for _, store in found if store is not None]
    cost = cost_of(rewritten) + 2
    return column_launch(builder, axes.sizes, 0, [*stages, *stores], cost, cluster.nodes, members.in_place())


def column_launch(
    builder: LaunchBuilder,
    sizes: Sequence[Dim],
    chunk: int,
    stages: Sequence[Reduce | Store],
    cost: int,
    nodes: Sequence[Node],
    in_place: tuple[tuple[Value, Value], ...] = (),
) -> Launch:
    """The launch of a ColumnReduce over ``(*grid, reduced, inner)``; the reduced axis is cut into chunks (0: it is
    one), each with a result of its own."""
    *outer, reduced, inner = sizes
    chunks, blocks = pieces(reduced, chunk) if chunk else 1, pieces(inner, COLUMNS)
    grid, extent = builder.slots(outer), builder.slot(reduced)
    count = builder.slot(chunks) if chunk else 1
    width, parts = builder.slot(inner), builder.slot(blocks)
    kernel = ColumnReduce(
        grid, extent, chunk or extent, count, width, COLUMNS, parts, tuple(stages), tuple(builder.dtypes), chunk > 0
    )
    work = cost * (least(reduced, chunk) if chunk else reduced) * least(inner, COLUMNS)
    return builder.launch(
        kernel, prod(outer) * chunks * blocks, computed(grain_of, work), nodes, cost * prod(sizes), in_place
    )

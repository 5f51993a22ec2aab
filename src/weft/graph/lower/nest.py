"""Clusters to launches: elementwise kernels, rows and columns (contractions, long reductions and ordered ops have
files of their own)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.expr import Expr, leaf, topological
from ...compiler.kernels import COLUMNS, REDUCE_CHUNK, Access, ColumnReduce, Nest, Reduce, Store
from ...core import dtypes as dt
from ..ir import Node, Value
from ..protocol import Layout
from .clustering import Cluster, squeeze
from .launch import Axes, Launch, LaunchBuilder, cost_of, map_layouts, order_of
from .roots import DEAR, Root, leaf_layouts

__all__ = ["Members", "over_space", "own_layout", "reduction_op"]

MAP_BLOCK = 4096  # elements of one unit of an elementwise kernel
STRIDED_BLOCK = (
    128  # the same where something is read with a stride: the lines it touches stay in the first-level cache
)
SHORT = 8  # an inner axis shorter than this fills too little of a vector: a longer axis is walked instead


class Members:
    """How members of a cluster read each other: by reference, in a register, or from memory."""

    def __init__(self, cluster: Cluster, needed: set[Value]):
        self.cluster = cluster
        self.by_value = {r.value: r for r in cluster.roots}
        self.exprs: dict[Value, Expr] = {}  # what a member's reader in a register sees
        self.level: dict[Value, int] = {}  # number of reductions that must be finished before
        self.stored = {r.value for r in cluster.roots if r.value in needed}
        for root in cluster.roots:
            self.level[root.value] = max(
                (self.level[v] + (self.by_value[v].kind == "reduce") for v, _ in root.reads if v in self.level),
                default=0,
            )
        for root in cluster.roots:
            self.stored.update(v for v, _ in root.reads if v in self.by_value and self.from_memory(v, root))

    def from_memory(self, value: Value, reader: Root) -> bool:
        """A full member that is dear and was computed in an earlier loop is read back; a cheap one is recomputed."""
        source = self.by_value[value]
        earlier = self.level[value] < self.level[reader.value]
        return source.kind == "map" and self.cluster.full[value] and earlier and source.size > DEAR

    def order(self) -> list[Root]:
        """Roots by level; within a level, values of one row before loops over rows."""
        return sorted(
            self.cluster.roots, key=lambda r: (self.level[r.value], self.cluster.full[r.value] or r.kind == "reduce")
        )

    def computed(self, root: Root) -> Callable[[Value], Expr | None]:
        """For each value, the expression that ``root`` sees instead of reading memory, if there is one."""
        return lambda v: None if v not in self.by_value or self.from_memory(v, root) else self.exprs[v]


def reduction_op(root: Root) -> str:
    """The kernel's name of a reduction."""
    op: str = root.node.op.lower.op  # type: ignore[union-attr]
    return op


def over_space(cluster: Cluster, root: Root) -> Callable[[Layout], Layout]:
    """A layout over a root's own shape as one over the cluster's space: without axes of size 1, and with stride 0 on
    the reduced axes for a root that has one value a row."""
    full, (start, stop) = cluster.full[root.value] or root.kind == "reduce", cluster.axes

    def move(layout: Layout) -> Layout:
        strides = squeeze(root.shape, layout.strides)[1]
        if not full:
            strides = strides[:start] + (0,) * (stop - start) + strides[start:]
        return Layout(cluster.space, layout.offset, strides)

    return move


def own_layout(cluster: Cluster, root: Root) -> Layout:
    """Where a member's elements are stored, over the cluster's space."""
    (_, strides), (start, stop) = squeeze(root.own.shape, root.own.strides), cluster.axes
    if cluster.full[root.value]:
        return Layout(cluster.space, 0, strides)
    return Layout(cluster.space, 0, strides[:start] + (0,) * (stop - start) + strides[start:])


def _prepare(cluster: Cluster, needed: set[Value]) -> tuple[Members, list[tuple[Root, Expr]]]:
    """Members in the order of their stages, each with its expression over the cluster's space."""
    members = Members(cluster, needed)
    prepared: list[tuple[Root, Expr]] = []
    finished = 0
    for root in members.order():
        (expr,) = map_layouts(root.exprs, over_space(cluster, root), members.computed(root))
        members.exprs[root.value] = expr
        if root.kind == "reduce":
            members.exprs[root.value] = leaf("ref", root.value.dtype, finished)
            finished += 1
        prepared.append((root, expr))
    return members, prepared


def _in_place(
    prepared: Sequence[tuple[Root, Expr]], cluster: Cluster, members: Members
) -> frozenset[tuple[Value, Value]]:
    """Pairs (written, read) where every read of the second is at the very element that is written to the first, and
    no later loop reads it again. A ColumnReduce writes its results after it has read everything that they need."""
    at_end = cluster.kind == "column"
    reads: dict[Value, set[tuple[int, tuple[int, ...]]]] = {}
    last: dict[Value, int] = {}
    for root, expr in prepared:
        for node in topological([expr]):
            if node.op in ("read", "gather"):
                value, layout = node.value[:2]
                reads.setdefault(value, set()).add((layout.offset, layout.strides) if node.op == "read" else (-1, ()))
                last[value] = max(last.get(value, 0), members.level[root.value])
    return frozenset(
        (root.value, value)
        for root, _ in prepared
        if root.value in members.stored and (at_end or cluster.full[root.value])
        for value, layouts in reads.items()
        if layouts == {(0, own_layout(cluster, root).strides)}
        and value.dtype.itemsize == root.value.dtype.itemsize
        and (at_end or last[value] <= members.level[root.value])
    )


def _nodes(cluster: Cluster) -> list[Node]:
    return [r.node for r in cluster.roots]


def lower_nest(cluster: Cluster, needed: set[Value]) -> Launch:
    """An elementwise cluster, or one of rows, as one Nest."""
    members, prepared = _prepare(cluster, needed)
    rank, start, is_row = len(cluster.space), cluster.axes[0], cluster.kind == "row"
    builder = LaunchBuilder()
    layouts = leaf_layouts([e for _, e in prepared])
    layouts += [own_layout(cluster, r) for r, _ in prepared if r.value in members.stored]
    place = next((own_layout(cluster, r) for r, _ in prepared if r.place is not None), None)
    order = None if is_row or place is None else order_of(place, layouts)
    axes = Axes(cluster.space, layouts, [(0, start), (start, rank)] if is_row else [(0, rank)], order)
    if not is_row and len(axes.sizes) > 1 and axes.sizes[-1] < SHORT:
        longest = max(range(len(axes.sizes)), key=axes.sizes.__getitem__)
        if axes.sizes[longest] >= 2 * SHORT:
            axes.permute([*(a for a in range(len(axes.sizes)) if a != longest), longest])
    # Nothing left to walk: one point, which a vector of it reads with stride 1.
    tail = [1] if axes.counts[-1] == 0 else []
    sizes = [*axes.sizes, *tail]
    rewritten = builder.rewrite([e for _, e in prepared], lambda layout: [*axes.strides(layout), *tail])
    stages: list[Reduce | Store] = []
    results: list[Store] = []
    for (root, _), expr in zip(prepared, rewritten, strict=True):
        scalar = not cluster.full[root.value]
        strides = [*axes.strides(own_layout(cluster, root)), *([0] if scalar and tail else tail)]
        store = None
        if root.value in members.stored:
            value = members.exprs[root.value] if root.kind == "reduce" else expr
            store = Store(builder.access(root.value, 0, strides, write=True), value, scalar)
        if root.kind == "reduce":
            walk = Access(0, dt.int64, 0, (*[0] * (len(sizes) - 1), 1))
            position = leaf("index", dt.int64, walk) if reduction_op(root).startswith("arg") else None
            stages.append(Reduce(reduction_op(root), expr, root.value.dtype, position))
            results += [store] if store else []
        elif store:
            stages.append(store)
    inner, outer = sizes[-1], 1
    for n in sizes[:-1]:
        outer *= n
    grid, extent = tuple(builder.slot(n) for n in sizes[:-1]), builder.slot(inner)
    strided = len(sizes) > 1 and any(axes.strides(layout)[-1] not in (0, 1) for layout in layouts)
    block = STRIDED_BLOCK if strided else MAP_BLOCK
    blocks = 1 if is_row else -(-inner // block)
    kernel = Nest(
        grid,
        extent,
        0 if is_row else block,
        1 if is_row else builder.slot(blocks),
        (*stages, *results),
        tuple(builder.dtypes),
    )
    cost, width = cost_of(rewritten), inner if is_row else min(inner, block)
    return builder.launch(
        kernel,
        outer * blocks,
        cost * width,
        _in_place(prepared, cluster, members),
        _nodes(cluster),
        cost * outer * inner,
    )


def column_axes(cluster_space: tuple[int, ...], reduced: tuple[int, int], layouts: Sequence[Layout]) -> Axes:
    """Axes in the order of a ColumnReduce: kept axes but the last merged one, the reduced axis, the last one."""
    start, stop = reduced
    merged = Axes(cluster_space, layouts, [(0, start), (start, stop), (stop, len(cluster_space))])
    outer, one, inner = merged.counts
    assert one == 1 and inner >= 1, (cluster_space, reduced)
    last = outer + one + inner - 1
    merged.permute([*range(outer), *range(outer + 1, last), outer, last])
    return merged


def lower_column(cluster: Cluster, needed: set[Value]) -> Launch:
    """Reductions over an axis that is not the last as one ColumnReduce."""
    members, prepared = _prepare(cluster, needed)
    builder = LaunchBuilder()
    layouts = leaf_layouts([e for _, e in prepared]) + [own_layout(cluster, r) for r, _ in prepared]
    axes = column_axes(cluster.space, cluster.axes, layouts)
    rewritten = builder.rewrite([e for _, e in prepared], axes.strides)
    stages: list[Reduce | Store] = []
    stores: list[Store] = []
    for (root, _), expr in zip(prepared, rewritten, strict=True):
        value = expr
        if root.kind == "reduce":
            walk = Access(0, dt.int64, 0, (*[0] * (len(axes.sizes) - 2), 1, 0))
            position = leaf("index", dt.int64, walk) if reduction_op(root).startswith("arg") else None
            stages.append(Reduce(reduction_op(root), expr, root.value.dtype, position))
            value = members.exprs[root.value]
        if root.value in members.stored:
            strides = axes.strides(own_layout(cluster, root))
            stores.append(Store(builder.access(root.value, 0, strides, write=True), value))
    *outer, reduced, inner = axes.sizes
    units = blocks = -(-inner // COLUMNS)
    for n in outer:
        units *= n
    grid = tuple(builder.slot(n) for n in outer)
    extent = builder.slot(reduced)
    kernel = ColumnReduce(
        grid,
        extent,
        extent,
        1,
        builder.slot(inner),
        COLUMNS,
        builder.slot(blocks),
        (*stages, *stores),
        tuple(builder.dtypes),
    )
    cost = cost_of(rewritten) + 2
    return builder.launch(
        kernel,
        units,
        cost * reduced * min(inner, COLUMNS),
        _in_place(prepared, cluster, members),
        _nodes(cluster),
        cost * reduced * inner * (units // max(blocks, 1)),
    )


def is_long(cluster: Cluster) -> bool:
    """Whether its reduction is cut into chunks."""
    return cluster.kind in ("row", "column") and cluster.reduced_size > REDUCE_CHUNK

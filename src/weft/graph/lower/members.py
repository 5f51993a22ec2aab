"""Members: how the roots of one cluster read each other, and the stages that they become in its kernel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...compiler.expr import Expr, leaf, topological
from ...compiler.kernels import Reduce, Store
from ...core.shapes import Shape
from ...core.symbolic import Dim
from ..ir import Value
from ..protocol import Layout, Reduction
from .axes import Axes
from .clustering import Cluster
from .expressions import leaf_layouts, map_layouts
from .launch import LaunchBuilder, reduce_stage
from .roots import Root
from .storing import DEAR


class Members:
    """The members of a cluster, for a nest or a column reduction: who reads another sees its result (``ref``) where it
    is a reduction, else its expression, or memory where it is dear and was computed in an earlier loop.

    ``roots``: in the order of their stages; ``exprs``: theirs, over the cluster's space, one of each root but of each
    piece of a concat; ``reads``: the layouts of what these read, positions too; ``places``: where the elements of each
    lie; ``stored``: the values that are written.
    """

    def __init__(self, cluster: Cluster, needed: set[Value]):
        self.cluster = cluster
        self.stored = {r.value for r in cluster.roots if r.value in needed}
        self._by_value = {r.value: r for r in cluster.roots}
        self._level: dict[Value, int] = {}  # number of reductions that must be finished before
        self._seen: dict[Value, Expr] = {}  # what a member's reader in a register sees
        for root in cluster.roots:
            inside = [v for v, _ in root.reads if v in self._level]
            after = [self._level[v] + (self._by_value[v].kind == "reduce") for v in inside]
            self._level[root.value] = max(after, default=0)
            self.stored.update(v for v in inside if self._from_memory(v, root))
        # By level; within a level, values of one row before loops over rows.
        self.roots = sorted(cluster.roots, key=lambda r: (self._level[r.value], cluster.walks(r)))
        self.exprs: list[Expr] = []
        self._owners: list[tuple[Root, int]] = []  # for each expression, and which piece it is of
        finished = 0
        for root in self.roots:
            move = partial(cluster.over_space, shape=root.shape, walks=cluster.walks(root))
            found = map_layouts(root.exprs, move, partial(self._computed, root))
            self.exprs += found
            self._owners += [(root, number) for number in range(len(found))]
            self._seen[root.value] = found[0]  # a concat is not seen: who reads it is in another cluster
            if root.kind == "reduce":
                self._seen[root.value] = leaf("ref", root.value.dtype, finished)
                finished += 1
        self.reads = leaf_layouts(self.exprs)
        self.places = {r.value: cluster.places(r) for r in self.roots}

    @property
    def touched(self) -> list[tuple[Layout, Value]]:
        """The layouts of what is read from memory, and of what."""
        nodes = (node for node in topological(self.exprs) if node.op in ("read", "gather"))
        return [(node.value[1], node.value[0]) for node in nodes]

    def _from_memory(self, value: Value, reader: Root) -> bool:
        """A full member that is dear and was computed in an earlier loop is read back; a cheap one is recomputed."""
        source = self._by_value[value]
        earlier = self._level[value] < self._level[reader.value]
        return source.kind == "map" and self.cluster.full[value] and earlier and source.size > DEAR

    def _computed(self, reader: Root, value: Value) -> Expr | None:
        """The expression that ``reader`` sees instead of reading memory, if there is one."""
        return None if value not in self._by_value or self._from_memory(value, reader) else self._seen[value]

    def stages(
        self, builder: LaunchBuilder, rewritten: Sequence[Expr], axes: Axes, reduced: tuple[int, int]
    ) -> list[tuple[Reduce | None, Store | None]]:
        """For each expression, the stage that reduces it and the one that stores it. ``reduced``: the axes, of the
        merged."""
        found: list[tuple[Reduce | None, Store | None]] = []
        for (root, number), expr in zip(self._owners, rewritten, strict=True):
            reduce, value = None, expr
            if root.kind == "reduce":
                reduce = reduce_stage(builder, op_of(root), expr, root.value.dtype, axes.sizes, reduced)
                value = self._seen[root.value]
            store = None
            if root.value in self.stored:
                scalar = self.cluster.kind == "row" and not self.cluster.full[root.value]
                place = self.places[root.value][number]
                store = builder.store(root.value, place.offset, axes.strides(place), value, scalar)
            found.append((reduce, store))
        return found

    def in_place(self) -> tuple[tuple[Value, Value], ...]:
        """Pairs (written, read) where every read of the second is at the very element that is written to the first,
        and no later loop reads it again. Columns write their results after they have read everything these need."""
        at_end = self.cluster.kind == "column"
        reads: dict[Value, set[tuple[Dim, Shape]]] = {}
        last: dict[Value, int] = {}
        for (root, _), expr in zip(self._owners, self.exprs, strict=True):
            for node in topological([expr]):
                if node.op in ("read", "gather"):
                    value, layout = node.value[:2]
                    everywhere = node.op == "read" and not node.args
                    place = (layout.offset, layout.strides) if everywhere else (-1, ())
                    reads.setdefault(value, set()).add(place)
                    last[value] = max(last.get(value, 0), self._level[root.value])
        return tuple(
            (root.value, value)
            for root in self.roots
            if root.value in self.stored and (at_end or self.cluster.full[root.value])
            for value, places in reads.items()
            if len(self.places[root.value]) == 1
            and places == {(0, self.places[root.value][0].strides)}
            and value.dtype.itemsize == root.value.dtype.itemsize
            and (at_end or last[value] <= self._level[root.value])
        )


def op_of(root: Root) -> str:
    """The kernel's name of a reduction."""
    rule = root.node.op.lower
    assert isinstance(rule, Reduction)
    return rule.op

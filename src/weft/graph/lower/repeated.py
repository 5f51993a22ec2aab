"""Clusters that repeat each other, as those of equal layers do, are lowered once.

Two clusters of one graph have equal keys where they differ in nothing but which values they read and write. What the
first was lowered to is then, with these values in the places of its own, what the second is lowered to: the kernels
are the very same objects, so that whoever looks for their text looks once as well.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

from ...compiler.expr import Expr
from ..ir import Value
from .clustering import Cluster
from .launch import Launch

_APART = ("ordered", "attend", "host", "control")  # kinds that are lowered by what their nodes say besides


class Repeated:
    """The launches of clusters of one graph; ``lower`` is asked for those of a cluster that repeats none before it."""

    def __init__(self, lower: Callable[[Cluster], list[Launch]]):
        self._lower = lower
        self._known: dict[Hashable, tuple[tuple[Value, ...], list[Launch]]] = {}

    def launches(self, cluster: Cluster, needed: set[Value]) -> list[Launch]:
        """The launches of a cluster; ``needed`` are the values that others read."""
        if cluster.kind in _APART:
            return self._lower(cluster)
        key, values = _key(cluster, needed)
        known = self._known.get(key)
        if known is None:
            launches = self._lower(cluster)
            self._known[key] = values, launches
            return launches
        own = dict(zip(known[0], values, strict=True))
        return [_moved(launch, own, cluster) for launch in known[1]]


def _key(cluster: Cluster, needed: set[Value]) -> tuple[Hashable, tuple[Value, ...]]:
    """What the lowering of a cluster depends on but for which values these are; and these, in order."""
    values: dict[Value, int] = {}
    fixed: dict[Expr, int] = {}
    parts: list[Hashable] = [cluster.kind, cluster.space, cluster.axes]
    for root in cluster.roots:
        node = root.node
        rule = () if root.kind == "map" else (node.op, *sorted(node.params.items()))
        numbers = [values.setdefault(v, len(values)) for v in (root.value, *root.leaves)]
        same = [fixed.setdefault(e, len(fixed)) for e in root.fixed]
        flags = root.value in needed, cluster.full[root.value]
        parts += (root.kind, root.shape, root.axes, root.place, flags, rule, tuple(numbers), tuple(same), root.form)
    return (*parts, *[v.type for v in values]), tuple(values)


def _moved(launch: Launch, own: dict[Value, Value], cluster: Cluster) -> Launch:
    """The launch over other values. What has none is a partial result, of which each cluster has its own."""

    def value(known: Value) -> Value:
        if known not in own:
            own[known] = Value(known.type)
        return own[known]

    def pairs(known: Iterable[tuple[Value, Value]]) -> tuple[tuple[Value, Value], ...]:
        return tuple([(value(a), value(b)) for a, b in known])

    def each(known: Sequence[Value]) -> tuple[Value, ...]:
        return tuple([value(v) for v in known])

    return replace(
        launch,
        buffers=tuple([(value(v), offset) for v, offset in launch.buffers]),
        reads=each(launch.reads),
        writes=each(launch.writes),
        in_place=pairs(launch.in_place),
        copies=None if launch.copies is None else pairs([launch.copies])[0],
        nodes=tuple(cluster.nodes),
    )

"""Lowering: from a simplified graph to launches. The stages, in the order in which data meets them:

==================  ================================================================================================
storing             which values are stored
expressions         one element of a value, computed from the stored values below it
roots               the stored values with their expressions
clustering          which roots one kernel computes; the rules of fusion
ordering            the order in which clusters, and then launches, run
members             how the roots of one cluster read each other
nest, column,       clusters to launches, one file for each kind: elementwise and rows; columns; contractions with
contraction,        their epilogues; long ones whose K blocks threads share; attention; reductions of more than one
long_contraction,   chunk; what is written piece by piece; Python code; control flow
attention,
long_reduction,
in_order, sorting,
host, control
repeated            clusters that repeat each other are lowered once
axes, launch        what these share: merged axes; a launch's integers, buffers, accesses and stages
==================  ================================================================================================

Each stage prints: ``print(root)``, ``print(cluster)``, ``print(launch)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...llvm.targets import Target
from ..ir import Graph, Value
from ..protocol import Layout
from .attention import lower_attention
from .clustering import Cluster, cluster
from .column import lower_column
from .contraction import lower_contraction
from .control import lower_control
from .host import lower_host
from .in_order import early_guards, lower_ordered
from .launch import Launch
from .long_contraction import is_long_contraction, lower_long_contraction
from .long_reduction import lower_long_reduction
from .nest import lower_nest
from .ordering import guards_first
from .repeated import Repeated
from .roots import lower_roots

LONG = 64  # clusters of a program in which indices that are inputs are looked at first, to write in place early


def launches_of(
    graph: Graph,
    layouts: Mapping[Value, Layout],
    target: Target,
    threads: int,
    places: Mapping[Value, Layout] | None = None,
    shared: Sequence[Value] = (),
    late: Mapping[Value, int] | None = None,
    stored: set[Value] | None = None,
) -> list[Launch]:
    """The kernels of a simplified graph, in order.

    Args:
        layouts: of the inputs.
        places: for each update, the layout of the input that it goes to.
        shared: elementwise values to be stored, whatever they cost.
        late: as for :func:`~weft.graph.lower.clustering.cluster`.
        stored: as ``known`` of :func:`~weft.graph.lower.roots.lower_roots`.
    """
    places = places or {}
    clusters = cluster(lower_roots(graph, layouts, places, shared, stored), late or {})
    needed = set(graph.outputs)  # values that other kernels read, or nobody
    for item in clusters:
        needed.update([v for root in item.roots for v, _ in root.reads if v not in item.full])
    repeated = Repeated(lambda item: _lower(item, needed, target, threads, bool(places)))
    launches: list[Launch] = []
    for item in clusters:
        made = repeated.launches(item, needed)
        if places and len(clusters) >= LONG and item.kind not in ("ordered", "host") and any(x.checks for x in made):
            guards = [early_guards(root) for root in item.roots]
            if None not in guards:  # what looks at them later finds them in range
                made = [*(x for each in guards for x in each or ()), *(replace(x, checks=False) for x in made)]
        launches += made
    return guards_first([launch for launch in launches if launch.units != 0])


def _lower(item: Cluster, needed: set[Value], target: Target, threads: int, guarded: bool) -> list[Launch]:
    if item.kind == "ordered":
        return lower_ordered(item.roots[0], guarded)
    if item.kind == "attend":
        return [lower_attention(item.roots[0], target)]
    if item.kind == "host":
        return [lower_host(item.roots[0])]
    if item.kind == "control":
        return [lower_control(item.roots[0], target, threads)]
    if item.kind == "contract":
        if is_long_contraction(item, target, threads):
            return lower_long_contraction(item, needed, target, threads)
        return [lower_contraction(item, needed, target, threads)]
    if item.kind in ("row", "column") and item.is_long:
        return lower_long_reduction(item)
    return [lower_column(item, needed) if item.kind == "column" else lower_nest(item, needed)]

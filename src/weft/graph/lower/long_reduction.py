"""Reductions of more than REDUCE_CHUNK elements: partial results of chunks, which the same rule reduces again.

The cut depends on the length alone (numerics contract, 2), so that threads may share the chunks of one reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

from ...compiler.expr import Expr, leaf
from ...compiler.kernels import REDUCE_CHUNK, Reduce, Store
from ...core import dtypes as dt
from ...core.shapes import Shape
from ...core.symbolic import Dim
from ..ir import Value
from ..protocol import Layout, TensorType
from .axes import Axes, across
from .clustering import Cluster
from .column import column_launch
from .expressions import leaf_layouts, map_layouts
from .launch import Launch, LaunchBuilder, cost_of, pieces, reduce_stage
from .members import op_of
from .nest import nest_launch


@dataclass(slots=True)
class _Part:
    """One reduction at one stage: what it reduces and, for argmax and argmin, where each element comes from."""

    op: str
    value: Expr
    position: Expr | None
    target: Value  # values (or, at the last stage of an arg reduction, positions)
    place: Value | None = None  # positions of partial results


def lower_long_reduction(cluster: Cluster) -> list[Launch]:
    """The launches, chunks first."""
    space, (start, stop) = cluster.space, cluster.axes
    values = [map_layouts(r.exprs, partial(cluster.over_space, shape=r.shape))[0] for r in cluster.roots]
    positions: list[Expr | None] = [None] * len(values)
    launches: list[Launch] = []
    while True:
        chunks = pieces(prod(space[start:stop]), REDUCE_CHUNK)
        chunks = chunks if chunks > 1 else 1  # guards
        kept = (*space[:start], chunks, *space[stop:])
        parts = []
        for root, value, position in zip(cluster.roots, values, positions, strict=True):
            op = op_of(root)
            part = _Part(op, value, position, root.value)
            if chunks > 1:
                part.target = Value(TensorType(value.dtype, kept))
                part.place = Value(TensorType(dt.int64, kept)) if op.startswith("arg") else None
            parts.append(part)
        launches.append(_launch(cluster, parts, space, (start, stop), chunks))
        if chunks == 1:
            return launches
        layout = Layout.contiguous(kept)
        values = [leaf("read", p.target.dtype, (p.target, layout)) for p in parts]
        positions = [None if p.place is None else leaf("read", dt.int64, (p.place, layout)) for p in parts]
        space, stop = kept, start + 1


def _launch(cluster: Cluster, parts: Sequence[_Part], space: Shape, reduced: tuple[int, int], chunks: Dim) -> Launch:
    (start, stop), last = reduced, chunks == 1
    is_row = cluster.kind == "row"
    builder = LaunchBuilder()
    roots = [e for p in parts for e in (p.value, p.position) if e is not None]
    own = Layout.contiguous((*space[:start], chunks, *space[stop:])).strides
    result = Layout(space, 0, own[:start] + (0,) * (stop - start) + own[start + 1 :])
    layouts, indices = [*leaf_layouts(roots, ("read", "gather")), result], leaf_layouts(roots, ("position",))
    if is_row:
        axes = Axes(space, [*layouts, *indices], [(0, start), (start, stop)])
        count = axes.counts[1]
    else:
        axes, count = across(space, reduced, layouts, indices)
    at = len(axes.sizes) - count - (not is_row)  # the first reduced axis; the chunk's axis goes before it
    # Positions count all that is reduced, also within a chunk.
    sizes = axes.sizes if last else [*axes.sizes[:at], chunks, *axes.sizes[at:]]
    walked = (at + (not last), at + (not last) + count)

    def strides(layout: Layout, chunk: Dim = 0) -> list[Dim]:
        plain = axes.strides(layout)
        return plain if last else [*plain[:at], chunk, *plain[at:]]

    rewritten = builder.rewrite(roots, strides)
    following = iter(rewritten)
    reductions: list[Reduce] = []
    stores: list[Store] = []

    def reduce_to(target: Value, op: str, value: Expr, position: Expr | None) -> None:
        ref = leaf("ref", target.dtype, len(reductions))
        stage = reduce_stage(builder, op, value, target.dtype, sizes, walked)
        reductions.append(stage if position is None else replace(stage, position=position))
        stores.append(builder.store(target, 0, strides(result, own[start]), ref, is_row))

    for part in parts:
        value, position = next(following), None if part.position is None else next(following)
        if part.place is not None:
            reduce_to(part.place, part.op, value, position)
            reduce_to(part.target, part.op.removeprefix("arg"), value, None)
        else:
            reduce_to(part.target, part.op, value, position)
    stages: list[Reduce | Store] = [*reductions, *stores]
    cost, chunk = cost_of(rewritten), 0 if last else REDUCE_CHUNK
    if is_row:
        return nest_launch(builder, axes.sizes, chunk, stages, cost, cluster.nodes, block_axis=not last, walked=count)
    return column_launch(builder, axes.sizes, chunk, stages, cost, cluster.nodes, walked=count)

"""Reductions of more than REDUCE_CHUNK elements: partial results of chunks, which the same rule reduces again.

The cut depends on the length alone (numerics contract, 2), so that threads may share the chunks of one reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ...compiler.expr import Expr, leaf
from ...compiler.kernels import COLUMNS, REDUCE_CHUNK, Access, ColumnReduce, Kernel, Nest, Reduce, Store
from ...core import dtypes as dt
from ..ir import Value
from ..protocol import Layout, TensorType
from .clustering import Cluster
from .launch import Axes, Launch, LaunchBuilder, cost_of, map_layouts
from .nest import column_axes, over_space, reduction_op
from .roots import leaf_layouts

__all__ = ["lower_long_reduction"]


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
    values = [map_layouts(r.exprs, over_space(cluster, r))[0] for r in cluster.roots]
    positions: list[Expr | None] = [None] * len(values)
    launches: list[Launch] = []
    while True:
        chunks = -(-prod(space[start:stop]) // REDUCE_CHUNK)
        kept = (*space[:start], chunks, *space[stop:])
        parts = []
        for root, value, position in zip(cluster.roots, values, positions, strict=True):
            op = reduction_op(root)
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


def _launch(
    cluster: Cluster, parts: Sequence[_Part], space: tuple[int, ...], reduced: tuple[int, int], chunks: int
) -> Launch:
    (start, stop), last = reduced, chunks == 1
    is_row = stop == len(space)
    builder = LaunchBuilder()
    roots = [e for p in parts for e in (p.value, p.position) if e is not None]
    own = Layout.contiguous((*space[:start], chunks, *space[stop:])).strides
    result = Layout(space, 0, own[:start] + (0,) * (stop - start) + own[start + 1 :])
    layouts = [*leaf_layouts(roots), result]
    if is_row:
        axes = Axes(space, layouts, [(0, start), (start, stop)])
    else:
        axes = column_axes(space, reduced, layouts)
    at = len(axes.sizes) - (1 if is_row else 2)  # the reduced axis; the chunk's axis goes before it

    def strides(layout: Layout, chunk: int = 0) -> list[int]:
        plain = axes.strides(layout)
        return plain if last else [*plain[:at], chunk, *plain[at:]]

    rewritten = iter(builder.rewrite(roots, strides))
    walk = [0] * (len(axes.sizes) + (not last))
    walk[at + (not last)] = 1  # positions count the whole reduced axis, also within a chunk
    stages: list[Reduce] = []
    stores: list[Store] = []

    def reduce_to(target: Value, op: str, value: Expr, position: Expr | None) -> None:
        ref = leaf("ref", target.dtype, len(stages))
        stages.append(Reduce(op, value, target.dtype, position))
        stores.append(Store(builder.access(target, 0, strides(result, own[start]), write=True), ref, is_row))

    for part in parts:
        value, position = next(rewritten), None
        if part.op.startswith("arg"):
            position = leaf("index", dt.int64, Access(0, dt.int64, 0, tuple(walk)))
            position = next(rewritten) if part.position is not None else position
        if part.place is not None:
            reduce_to(part.place, part.op, value, position)
            reduce_to(part.target, part.op.removeprefix("arg"), value, None)
        else:
            reduce_to(part.target, part.op, value, position)
    grid = tuple(builder.slot(n) for n in axes.sizes[:at])
    length, units = builder.slot(axes.sizes[at]), chunks * prod(axes.sizes[:at])
    stages_: tuple[Reduce | Store, ...] = (*stages, *stores)
    work, cost = min(axes.sizes[at], REDUCE_CHUNK), cost_of(roots)
    count = 1 if last else builder.slot(chunks)
    if is_row:
        kernel: Kernel = Nest(
            grid, length, 0 if last else REDUCE_CHUNK, count, stages_, tuple(builder.dtypes), not last
        )
    else:
        inner = axes.sizes[-1]
        blocks = -(-inner // COLUMNS)
        kernel = ColumnReduce(
            grid,
            length,
            length if last else REDUCE_CHUNK,
            count,
            builder.slot(inner),
            COLUMNS,
            builder.slot(blocks),
            stages_,
            tuple(builder.dtypes),
            not last,
        )
        units, work = units * blocks, work * min(inner, COLUMNS)
    return builder.launch(kernel, units, cost * work, nodes=[r.node for r in cluster.roots], flops=cost * prod(space))

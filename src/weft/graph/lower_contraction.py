"""A contraction and its epilogue as one launch."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..compiler.contraction import contraction_units, first_partition_slot
from ..compiler.expr import Expr, cast, leaf
from ..compiler.kernels import Access, Contraction, Int, Store
from ..core import dtypes as dt
from ..runtime.llvm import Target
from .cluster import Cluster, squeeze
from .fusion import leaf_layouts
from .ir import Value
from .kernelize import Members
from .launch import Axes, Launch, LaunchBuilder, map_layouts
from .protocol import Layout

__all__ = ["lower_contraction"]


def lower_contraction(cluster: Cluster, needed: set[Value], target: Target, threads: int) -> Launch:
    """The cluster's first root is the contraction; the others are its epilogue."""
    root, members, builder = cluster.roots[0], Members(cluster, needed), LaunchBuilder()
    shape = root.shape
    batch, (m, n) = shape[:-2], shape[-2:]
    (a_value, a_layout), (b_value, b_layout) = (e.value for e in root.exprs)
    accumulate = dt.float32 if root.value.dtype.is_half else root.value.dtype
    epilogue = _epilogue(cluster, members, shape, cast(leaf("acc", accumulate, None), root.value.dtype))
    own = Layout.contiguous(shape)
    roots = [e for _, e in epilogue]
    layouts = [Layout(batch, 0, x.strides[: len(batch)]) for x in (a_layout, b_layout, own, *leaf_layouts(roots))]
    merged = Axes(batch, layouts, [(0, len(batch))])

    def outer(layout: Layout) -> list[int]:
        return merged.strides(Layout(batch, 0, layout.strides[: len(batch)]))

    def strides(layout: Layout) -> list[int]:
        s_m, s_n = layout.strides[-2:]
        if n == 1 and s_n == 0 and s_m != 0:
            s_n = 1  # one column: its stride does not matter; take the form of a full matrix's row
        return [*outer(layout), s_m, s_n]

    def operand(value: Value, layout: Layout, sizes: tuple[int, int]) -> Access:
        whole = builder.access(value, layout.offset, [*outer(layout), 0, 0])
        return Access(whole.buf, whole.dtype, 0, (*whole.strides[:-2], *_matrix(builder, layout.strides[-2:], sizes)))

    k = a_layout.shape[-1]
    a, b = operand(a_value, a_layout, (m, k)), operand(b_value, b_layout, (k, n))
    rewritten = builder.rewrite(roots, strides)
    place = [*outer(own), n, 1]
    stores = tuple(
        Store(builder.access(v, 0, place, write=True), e) for (v, _), e in zip(epilogue, rewritten, strict=True)
    )
    sizes = tuple(builder.slot(x) for x in merged.sizes)
    kernel = Contraction(
        sizes, builder.slot(m), builder.slot(n), builder.slot(k), a, b, accumulate, stores, tuple(builder.dtypes)
    )
    partition = contraction_units(kernel, tuple(builder.ints), threads, target)
    builder.ints[first_partition_slot(kernel) :] = partition.ints
    flops = 2 * m * n * k * prod(batch)
    # 32 flops are about one vector instruction lane of the other kernels' work.
    work = flops / 32 / max(partition.units, 1)
    return builder.launch(kernel, partition.units, work, nodes=[r.node for r in cluster.roots], flops=flops)


def _epilogue(cluster: Cluster, members: Members, shape: tuple[int, ...], acc: Expr) -> list[tuple[Value, Expr]]:
    """Stored members with their expressions over the contraction's own shape (axes of size 1 included)."""
    root = cluster.roots[0]
    members.exprs[root.value] = acc
    found = [(root.value, acc)] if root.value in members.stored else []
    for member in cluster.roots[1:]:

        def reshaped(layout: Layout, own: tuple[int, ...] = member.shape) -> Layout:
            if own == shape:  # strides of axes of size 1 too: one row then has the structure of many
                return layout
            strides = iter(squeeze(own, layout.strides)[1])
            return Layout(shape, layout.offset, tuple(0 if n == 1 else next(strides) for n in shape))

        (expr,) = map_layouts(member.exprs, reshaped, members.exprs.get)
        members.exprs[member.value] = expr
        if member.value in members.stored:
            found.append((member.value, expr))
    return found


def _matrix(builder: LaunchBuilder, strides: Sequence[int], sizes: tuple[int, int]) -> tuple[Int, Int]:
    """Strides of a matrix operand: (runtime, 1), (1, runtime) or both runtime; an axis of size 1 fits any form."""
    (s0, s1), (n0, n1) = strides, sizes
    if s1 == 1 or n1 == 1:
        return builder.slot(s0), 1
    if s0 == 1 or n0 == 1:
        return 1, builder.slot(s1)
    return builder.slot(s0), builder.slot(s1)

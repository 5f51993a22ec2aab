"""A contraction and its epilogue as one Contraction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod

from ...compiler.contraction.box import has_box
from ...compiler.contraction.plan import (
    BOXED,
    MODES,
    PARTITION,
    THIN,
    TILES,
    VECTORS,
    contraction_units,
    first_partition_slot,
)
from ...compiler.expr import Expr, cast, leaf
from ...compiler.kernels import K_BLOCK, LANES, Access, Contraction, Counted, Edge, Int, Slot, Windowed, describe
from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.shapes import Shape
from ...core.symbolic import Dim, computed, computed_items, typical
from ...llvm.targets import Target
from ..ir import Node, Value
from ..protocol import Around, Layout, Product
from .axes import Axes, squeeze
from .clustering import Cluster
from .expressions import leaf_layouts, map_layouts
from .launch import Launch, LaunchBuilder, effort_of, grain_of

RAGGED = 512  # columns; the last vector of more is too little of them


def lower_contraction(cluster: Cluster, needed: set[Value], target: Target, threads: int) -> Launch:
    """The cluster's first root is the contraction; the others are its epilogue."""
    root = cluster.roots[0]
    accumulate = accumulated_in(root.value.dtype)
    epilogue = epilogue_of(cluster, cast(leaf("acc", accumulate, None), root.value.dtype))
    stores = [(v, 0, e) for v, e in epilogue.items() if v in needed]
    operands = [e.value[0] for e in root.exprs]
    return contraction_launch(root.product, operands, accumulate, stores, cluster.nodes, target, threads)


def accumulated_in(dtype: DType) -> DType:
    """The dtype of the sums whose results have ``dtype``."""
    return dt.float32 if dtype.is_half else dtype


def contraction_launch(
    product: Product,
    operands: Sequence[Value],
    accumulate: DType,
    written: Sequence[tuple[Value, int, Expr]],
    nodes: Sequence[Node],
    target: Target,
    threads: int,
) -> Launch:
    """One Contraction. ``written``: values, the offset in them where the result begins, and expressions of ``acc``,
    over ``(*batch, m, n)``."""
    builder = LaunchBuilder()
    a_value, b_value = reversed(operands) if product.swapped else operands
    shape, (m, n, k) = product.shape, product.sizes
    batch, exprs = shape[:-2], [e for *_, e in written]
    own = Layout.contiguous(shape)
    layouts = [_outer(x, batch) for x in (product.a, product.b, own, *leaf_layouts(exprs))]
    axes = Axes(batch, layouts, [(0, len(batch))])
    operand = _Operands(builder, batch, axes)

    def strides(layout: Layout) -> list[Dim]:
        s_m, s_n = layout.strides[-2:]
        if n == 1 and s_n == 0 and s_m != 0:
            s_n = 1  # one column: its stride does not matter; take the form of a full matrix's row
        return [*operand.outer(layout), s_m, s_n]

    thin = axes.counts == [1] and _is_thin(product)
    a = operand.read(a_value, product.a, len(product.a.shape) - product.summed, counted=thin)
    is_wide = b_value.dtype.itemsize >= 4  # narrow elements are multiplied more quickly as matrices
    joins = is_wide and axes.counts == [1] and operand.outer(product.a) == [0] and _is_ragged(product)
    b = operand.read(b_value, product.b, product.batch + product.summed, product.around, joins)
    rewritten, place = builder.rewrite(exprs, strides), [*operand.outer(own), n, 1]
    stores = tuple([builder.store(v, at, place, e) for (v, at, _), e in zip(written, rewritten, strict=True)])
    sizes, rows, columns, depth = builder.slots(axes.sizes), builder.slot(m), builder.slot(n), builder.slot(k)
    streams = builder.streams((*axes.sizes, m, n), stores)
    kernel = Contraction(sizes, rows, columns, depth, a, b, accumulate, stores, tuple(builder.dtypes), streams=streams)
    first = first_partition_slot(kernel)
    cut, named = _Cut(kernel, threads, target), tuple(builder.ints)  # the partition's own come after them
    units, *builder.ints[first:] = computed_items(cut, named, len(PARTITION) + 1)
    if target.is_gpu:
        kernel = replace(kernel, streams=False)
    else:
        kernel = replace(kernel, modes=_settled(kernel, builder.ints[first + PARTITION.index("mode")]))
    flops = 2 * m * n * k * prod(batch)
    return builder.launch(kernel, units, computed(_grain, effort_of(kernel, builder.ints, flops), units), nodes, flops)


class _Operands:
    """What a kernel reads of layouts over ``(*batch, *rows, *columns)``, where the axes of the batch are merged."""

    def __init__(self, builder: LaunchBuilder, batch: Shape, axes: Axes):
        self.builder, self.batch, self.axes = builder, batch, axes

    def outer(self, layout: Layout) -> list[Dim]:
        """Strides over the batch."""
        return self.axes.strides(_outer(layout, self.batch))

    def read(
        self, value: Value, layout: Layout, split: int, around: Sequence[Around] = (), counted: bool = False
    ) -> Access | Windowed:
        """The columns begin with axis ``split``. A matrix is an Access; what has more axes, or is left by windows, and,
        if it is to be ``counted``, a matrix too, a Windowed."""
        whole = self.builder.access(value, layout.offset, [*self.outer(layout), 0, 0])
        apart = {axis for x in around for axis in (x.summed[0], x.column[0])}
        rows, row_of = _merged(layout, len(self.batch), split, apart)
        columns, column_of = _merged(layout, split, len(layout.shape), apart)
        if len(rows) == len(columns) == 1 and not around and not counted:
            (n_row, s_row), (n_column, s_column) = rows[0], columns[0]
            matrix = _matrix(self.builder, (s_row, s_column), (n_row, n_column))
            return Access(whole.buf, whole.dtype, 0, (*whole.strides[:-2], *matrix))
        row_runs, column_runs = _runs(rows, columns)
        groups = self._counted(rows, row_runs), self._counted(columns, column_runs)
        edges = [self._edge(x, row_of, column_of) for x in around]
        return Windowed(whole.buf, whole.dtype, whole.offset, whole.strides[:-2], *groups, tuple(edges))

    def _counted(self, group: Sequence[tuple[Dim, Dim]], runs: bool) -> Counted:
        """Axes that one number counts; ``runs``: a kernel takes the last one for contiguous."""
        # Steps of 2, as of a strided convolution, and of -1, as of a kernel that is turned round, are structure: see
        # compiler/contraction/few_rows.py and pack_windows.py.
        *others, (n, s) = group
        slot = self.builder.slot
        found: list[tuple[Slot, Int]] = [(slot(size), slot(stride)) for size, stride in others]
        last: tuple[Slot, Int] = slot(n), 1 if runs else s if isinstance(s, int) and s in (2, -1) else slot(s)
        return (*found, last)

    def _edge(self, around: Around, row_of: Mapping[int, int], column_of: Mapping[int, int]) -> Edge:
        """Where windows leave the tensor; ``row_of`` and ``column_of`` say which axis became which."""
        slot = self.builder.slot

        def part(axis: int, step: int) -> tuple[int, Int]:
            return axis, step if step in (1, 2) else slot(step)

        (row, row_step), (column, column_step) = around.summed, around.column
        return Edge(
            slot(around.size), slot(around.start), part(row_of[row], row_step), part(column_of[column], column_step)
        )


class _Cut:
    """``cut(*ints)`` is a contraction's partition, units first. Those of one structure are equal: of 160 equal layers,
    one is computed."""

    def __init__(self, kernel: Contraction, threads: int, target: Target):
        self.kernel, self.threads, self.target = kernel, threads, target

    @cached_property
    def _identity(self) -> tuple[str, int, Target]:
        return describe(self.kernel), self.threads, self.target

    def __call__(self, *ints: int) -> tuple[int, ...]:
        partition = contraction_units(self.kernel, ints, self.threads, self.target)
        return partition.units, *partition.ints

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Cut) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def _settled(kernel: Contraction, mode: Dim) -> tuple[int, ...]:
    """The mode that a launch takes; where sizes of a scope decide it, a guard that it stays this one. But an image's
    size decides whether its windows are packed or read from a box: for tiles that may do either there is one guard."""
    if not isinstance(mode, int) and has_box(kernel.b) and mode <= BOXED:
        return TILES, BOXED
    return (next(number for number in MODES if mode <= number),)


def _grain(flops: int, units: int) -> int:
    """Units for one task: 32 flops are about one vector instruction lane of the other kernels' work."""
    return grain_of(flops / 32 / max(units, 1))


def _outer(layout: Layout, batch: Shape) -> Layout:
    """The layout over the batch axes alone."""
    return Layout(batch, 0, layout.strides[: len(batch)])


def _merged(
    layout: Layout, start: int, stop: int, apart: Collection[int] = ()
) -> tuple[list[tuple[Dim, Dim]], dict[int, int]]:
    """(size, stride) of the axes from ``start`` to ``stop``, as few as they can be, at least one. Axes ``apart`` stay
    what they are; they are also given as numbers in the result."""
    if stop - start == 1:
        return [(layout.shape[start], layout.strides[start])], {start: 0}
    if not apart and 0 in layout.shape[start:stop]:
        return [(0, 1)], {}
    found: list[tuple[Dim, Dim]] = []
    kept: dict[int, int] = {}
    for axis in range(start, stop):
        size, stride = layout.shape[axis], layout.strides[axis]
        if axis in apart:
            kept[axis] = len(found)
            found.append((size, 1 if size == 1 else stride))
        elif found and len(found) - 1 not in kept.values() and found[-1][1] == size * stride:
            found[-1] = (found[-1][0] * size, stride)
        elif size != 1:
            found.append((size, stride))
    return found or [(1, 1)], kept


def _is_ragged(product: Product) -> bool:
    """Whether each element of a batch has so few columns, which are no whole vectors, that those of all elements are
    better cut as one (Form.joins in compiler/contraction/plan.py): as of 1x1 kernels over images of 7x7."""
    m, n, _ = map(typical, product.sizes)
    return m > VECTORS and 1 < n < RAGGED and n % LANES != 0 and product.b.strides[-1] == 1


def _is_thin(product: Product) -> bool:
    """Whether a batch of long sums of windows, with so few results each, is better computed with lanes along the batch
    (a matrix is read where it lies)."""
    m, n, k = map(typical, product.sizes)
    batch = prod(map(typical, product.a.shape[: product.batch]))
    if not (m <= THIN[0] and n <= THIN[1] and k > K_BLOCK and 2 * batch >= LANES):
        return False
    start, split, stop = product.batch, product.batch + product.summed, len(product.b.shape)
    return bool(product.around) or any(
        len(_merged(product.b, *ends)[0]) > 1 for ends in ((start, split), (split, stop))
    )


def _runs(rows: Sequence[tuple[Dim, Dim]], columns: Sequence[tuple[Dim, Dim]]) -> tuple[bool, bool]:
    """Whether a kernel takes the last axes of rows and columns for contiguous. Where both are, packing goes along the
    columns (k of A, n of B: it need not transpose), unless they are much shorter; a few rows are not worth it."""
    (row, s_row), (column, s_column) = ((typical(group[-1][0]), group[-1][1]) for group in (rows, columns))
    if s_row == s_column == 1:
        return column * 2 < row, column * 2 >= row
    return s_row == 1 and row > 3, s_column == 1


def epilogue_of(cluster: Cluster, acc: Expr) -> dict[Value, Expr]:
    """The members' expressions over the contraction's ``(*batch, m, n)`` (axes of size 1 included)."""
    shape, matrix = cluster.roots[0].shape, cluster.roots[0].product.shape
    found = {cluster.roots[0].value: acc}
    for member in cluster.roots[1:]:

        def reshaped(layout: Layout, own: Shape = member.shape) -> Layout:
            if matrix != shape:
                moved = layout.reshaped(matrix)
                assert moved is not None, "clustering has asked"
                return moved
            if own == shape:  # strides of axes of size 1 too: one row then has the structure of many
                return layout
            strides = iter(squeeze(own, layout.strides)[1])
            return Layout(shape, layout.offset, tuple(0 if n == 1 else next(strides) for n in shape))

        (found[member.value],) = map_layouts(member.exprs, reshaped, found.get)
    return found


def _matrix(builder: LaunchBuilder, strides: Sequence[Dim], sizes: tuple[Dim, Dim]) -> tuple[Int, Int]:
    """Strides of a matrix operand: (runtime, 1), (1, runtime) or both runtime; an axis of size 1 fits any form."""
    (s0, s1), (n0, n1) = strides, sizes
    if s1 == 1 or n1 == 1:
        return builder.slot(s0), 1
    if s0 == 1 or n0 == 1:
        return 1, builder.slot(s1)
    return builder.slot(s0), builder.slot(s1)

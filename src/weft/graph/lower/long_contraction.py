"""Products with few results and long sums, whose K blocks threads share.

A unit of a contraction has all of K (compiler/contraction/plan.py), so that with few results most threads would have
nothing to do. The chains of K blocks do not depend on each other (numerics contract, 3): here they are a batch of
products of one block each, whose results are stored and added in order; then what follows the product is computed.
"""

from __future__ import annotations

from math import prod

from ...compiler.contraction.tile import tile_of
from ...compiler.expr import Expr, add, cast, const, eq, leaf, where
from ...compiler.kernels import K_BLOCK, Sequential, Store
from ...core import dtypes as dt
from ...llvm.targets import Target
from ..ir import Value
from ..protocol import Layout, Product, TensorType
from .clustering import Cluster
from .contraction import accumulated_in, contraction_launch, epilogue_of
from .expressions import leaf_layouts
from .launch import Launch, LaunchBuilder, cost_of, grain_of, pieces
from .nest import MAP_BLOCK, nest_launch, point_axes

_WORTH = 20_000_000  # flops, some 0.2 ms: what waking the threads two times more is nothing beside
_PIECE = 256  # elements of the sums in one unit


def is_long_contraction(cluster: Cluster, target: Target, threads: int) -> bool:
    """Whether threads are to share K blocks: there are fewer register tiles than two for each thread, and more blocks.

    Of sizes that are known, and of a K that is one axis.
    """
    product = cluster.roots[0].product
    (m, n, k), batch = product.sizes, product.shape[:-2]
    if threads == 1 or product.summed > 1 or product.around or not all(isinstance(x, int) for x in (*batch, m, n, k)):
        return False
    tile = tile_of(accumulated_in(cluster.roots[0].value.dtype), target)
    tiles = prod(batch) * -(-m // tile.rows) * -(-n // tile.columns)
    return tiles < 2 * threads <= k // K_BLOCK and 2 * prod(batch) * m * n * k >= _WORTH


def lower_long_contraction(cluster: Cluster, needed: set[Value], target: Target, threads: int) -> list[Launch]:
    """The launches: K blocks, their sums, and what follows."""
    root = cluster.roots[0]
    product, dtype = root.product, root.value.dtype
    accumulate, shape, k = accumulated_in(dtype), product.shape, product.sizes[2]
    blocks, whole = -(-k // K_BLOCK), k // K_BLOCK
    parts = Value(TensorType(accumulate, (blocks, *shape)))
    operands, acc = [e.value[0] for e in root.exprs], leaf("acc", accumulate, None)
    launches = []
    for first, count, length in ((0, whole, K_BLOCK), (whole, blocks - whole, k - whole * K_BLOCK)):
        if count:
            some = _blocks(product, first, count, length)
            stores = [(parts, first * prod(shape), acc)]
            launches.append(contraction_launch(some, operands, accumulate, stores, cluster.nodes, target, threads))
    is_all = len(cluster.roots) == 1 and accumulate is dtype
    total = root.value if is_all else Value(TensorType(accumulate, shape))
    launches.append(_sum(cluster, parts, total, blocks))
    if not is_all:
        launches.append(_following(cluster, total, needed))
    return launches


def _blocks(product: Product, first: int, count: int, length: int) -> Product:
    """``count`` K blocks from number ``first`` on, of so many elements, as elements of a batch."""

    def split(layout: Layout, axis: int) -> Layout:
        step = layout.strides[axis]
        shape = (count, *layout.shape[:axis], length, *layout.shape[axis + 1 :])
        return Layout(shape, layout.offset + first * K_BLOCK * step, (K_BLOCK * step, *layout.strides))

    a, b = split(product.a, len(product.a.shape) - 1), split(product.b, product.batch)
    return product._replace(a=a, b=b, batch=product.batch + 1)


def _sum(cluster: Cluster, parts: Value, total: Value, blocks: int) -> Launch:
    """``total = parts[0] + parts[1] + ...``, in order."""
    builder, elements = LaunchBuilder(), prod(total.shape)
    part = leaf("load", parts.dtype, builder.access(parts, 0, [elements, 1]))
    place = builder.access(total, 0, [0, 1], write=True)
    number = leaf("index", dt.int64, builder.index(0, [1, 0]))
    value = where(eq(number, const(0, dt.int64)), part, add(leaf("load", total.dtype, place), part))
    steps, inner, units = builder.slot(blocks), builder.slot(elements), pieces(elements, _PIECE)
    kernel = Sequential((), steps, inner, _PIECE, builder.slot(units), (Store(place, value),), tuple(builder.dtypes))
    cost = blocks * cost_of([value])
    return builder.launch(kernel, units, grain_of(cost * _PIECE), cluster.nodes, blocks * elements)


def _following(cluster: Cluster, total: Value, needed: set[Value]) -> Launch:
    """The epilogue, of finished sums."""
    builder, own = LaunchBuilder(), Layout.contiguous(total.shape)
    acc: Expr = cast(leaf("read", total.dtype, (total, own)), cluster.roots[0].value.dtype)
    epilogue = {v: e for v, e in epilogue_of(cluster, acc).items() if v in needed}
    exprs = list(epilogue.values())
    axes = point_axes(total.shape, [*leaf_layouts(exprs), own], None)
    rewritten = builder.rewrite(exprs, axes.strides)
    stores = [builder.store(v, 0, axes.strides(own), e) for v, e in zip(epilogue, rewritten, strict=True)]
    return nest_launch(builder, axes.sizes, MAP_BLOCK, stores, cost_of(rewritten), cluster.nodes)

"""Ops whose elements are written piece by piece: concat, slice update, scatter, running reductions, the shuffle.

Those that change a tensor begin with a launch that copies what is kept (dropped where it would copy memory onto
itself), and go on with one that writes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..compiler.expr import Expr, add, cast, leaf, topological
from ..compiler.kernels import Nest, Sequential, Store
from ..core import dtypes as dt
from ..core.shapes import strides_of
from .cluster import squeeze
from .fusion import Root, leaf_layouts
from .ir import Node, Value
from .kernelize import MAP_BLOCK
from .launch import Axes, Launch, LaunchBuilder, cost_of, map_layouts, order_of
from .protocol import Concat, Layout, Scan, Scatter, Shuffle, SliceUpdate, TensorType

__all__ = ["copy_launch", "lower_ordered"]


STEP_BLOCK = 256  # elements side by side that one unit carries through all steps; blocks run on different threads


def lower_ordered(root: Root, guarded: bool = False) -> list[Launch]:
    """The launches of one ordered op. ``guarded``: indices are checked by a launch that comes before those that write,
    because an input may be written."""
    rule = root.node.op.lower
    if isinstance(rule, SliceUpdate):
        return _slice_update(root, rule)
    if isinstance(rule, Concat):
        return _concat(root)
    if isinstance(rule, Scatter):
        return _scatter(root, rule, guarded)
    if isinstance(rule, Scan):
        return _scan(root, rule)
    assert isinstance(rule, Shuffle)
    return _shuffle(root)


def copy_launch(node: Node, target: Value, expr: Expr, shape: tuple[int, ...], place: Layout) -> Launch:
    """Elementwise: ``target[place] = expr`` over ``shape``."""
    builder = LaunchBuilder()
    layouts = [*leaf_layouts([expr]), place]
    axes = Axes(shape, layouts, [(0, len(shape))], order_of(place, layouts))
    tail = [1] if not axes.sizes else []
    (value,) = builder.rewrite([expr], lambda layout: [*axes.strides(layout), *tail])
    store = Store(builder.access(target, place.offset, [*axes.strides(place), *tail], write=True), value)
    sizes = [*axes.sizes, *tail]
    blocks = -(-sizes[-1] // MAP_BLOCK)
    grid, inner = tuple(builder.slot(n) for n in sizes[:-1]), builder.slot(sizes[-1])
    kernel = Nest(grid, inner, MAP_BLOCK, builder.slot(blocks), (store,), tuple(builder.dtypes))
    cost = cost_of([expr]) + 1
    reads: dict[Value, set[bool]] = {}  # value -> whether it is read at the very elements that are written
    for leaf_ in topological([expr]):
        if leaf_.op in ("read", "gather"):
            at, layout = leaf_.value[:2]
            reads.setdefault(at, set()).add(leaf_.op == "read" and _same_elements(layout, place))
    same = frozenset(
        (target, v) for v, found in reads.items() if found == {True} and v.dtype.itemsize == target.dtype.itemsize
    )
    launch = builder.launch(
        kernel, prod(sizes[:-1]) * blocks, cost * min(sizes[-1], MAP_BLOCK), same, [node], cost * prod(sizes)
    )
    if expr.op == "read" and (target, expr.value[0]) in same and expr.dtype is target.dtype:
        launch.copies = (target, expr.value[0])
    return launch


def _same_elements(a: Layout, b: Layout) -> bool:
    return a.offset == b.offset and squeeze(a.shape, a.strides) == squeeze(b.shape, b.strides)


def _concat(root: Root) -> list[Launch]:
    axis, own = root.node.params["axis"], root.own
    launches, start = [], 0
    for value, expr in zip(root.node.inputs, root.exprs, strict=True):
        shape: tuple[int, ...] = tuple(value.shape)  # type: ignore[arg-type]
        if prod(shape):
            launches.append(
                copy_launch(root.node, root.value, expr, shape, Layout(shape, start * own.strides[axis], own.strides))
            )
        start += shape[axis]
    return launches


def _slice_update(root: Root, rule: SliceUpdate) -> list[Launch]:
    base, update = root.exprs
    own = root.own
    inner: tuple[int, ...] = tuple(root.node.inputs[1].shape)  # type: ignore[arg-type]
    place = rule.place(root.node.params, own, inner)
    launches = [copy_launch(root.node, root.value, base, root.shape, own)]
    if prod(inner):
        launches.append(copy_launch(root.node, root.value, update, inner, place))
    return launches


def _scatter(root: Root, rule: Scatter, guarded: bool) -> list[Launch]:
    base, *indices, updates = root.exprs
    indexed = len(indices)
    where: tuple[int, ...] = tuple(root.node.inputs[1].shape)  # type: ignore[arg-type]
    rest = root.shape[indexed:]
    shape = (*where, *rest)
    own = strides_of(root.shape)
    launches = [copy_launch(root.node, root.value, base, root.shape, root.own)]
    if not prod(shape):
        return launches
    stretched = [map_layouts([e], lambda x: Layout(shape, x.offset, x.strides + (0,) * len(rest)))[0] for e in indices]
    place = Layout(shape, 0, (0,) * len(where) + own[indexed:])
    roots = [*stretched, updates]
    split = len(where)
    axes = Axes(shape, [*leaf_layouts(roots), place], [(0, split), (split, len(shape))])
    builder = LaunchBuilder()
    builder.checks = True
    strides = _stepped(axes)
    *at, value = builder.rewrite(roots, strides)
    steps = tuple((builder.slot(n), builder.slot(s)) for n, s in zip(root.shape, own[:indexed], strict=False))
    target = builder.access(root.value, 0, strides(place), write=True)
    if rule.op == "add":
        before = Expr("gather", root.value.dtype, tuple(at), (target, steps))
        value = _sum(before, value)
    store = Store(target, value, indices=tuple(at), steps=steps)
    launches.append(_in_order(root, builder, axes, (store,), cost_of(roots)))
    if guarded:
        launches[-1].checks = False
        launches.insert(0, _guard(root.node, indices, where, root.shape[:indexed]))
    return launches


def _guard(node: Node, indices: Sequence[Expr], shape: tuple[int, ...], extents: Sequence[int]) -> Launch:
    """Look at all indices, and write nothing but one byte of scratch that says nothing."""
    scratch = Value(TensorType(dt.bool_, ()))
    nowhere = Layout(shape, 0, (0,) * len(shape))
    looked_up = Expr("gather", dt.bool_, tuple(indices), (scratch, nowhere, tuple((n, 0) for n in extents)))
    launch = copy_launch(node, scratch, looked_up, shape, nowhere)
    launch.guards = True
    return launch


def _sum(a: Expr, b: Expr) -> Expr:
    """One addition in the dtype of ``a``; 16-bit floats are added in float32 and rounded."""
    if a.dtype.is_half:
        return cast(add(cast(a, dt.float32), cast(b, dt.float32)), a.dtype)
    if a.dtype is dt.bool_:
        return a | b
    return add(a, b)


def _stepped(axes: Axes) -> Any:
    """Strides over ``(step, inner)`` for axes merged into [steps, rest]; axes that do not merge are further grid."""
    steps, rest = axes.counts
    if steps > 1 or rest > 1:
        raise AssertionError(f"axes {axes.sizes} of an ordered op are not two")

    def strides(layout: Layout) -> list[int]:
        merged = axes.strides(layout)
        return [merged[0] if steps else 0, merged[-1] if rest else 1]

    return strides


def _in_order(root: Root, builder: LaunchBuilder, axes: Axes, stores: Sequence[Store], cost: int) -> Launch:
    steps, rest = axes.counts
    count, inner = (axes.sizes[0] if steps else 1), (axes.sizes[-1] if rest else 1)
    blocks = -(-inner // STEP_BLOCK)
    width = builder.slot(inner) if rest else 1
    kernel = Sequential(
        (), builder.slot(count), width, STEP_BLOCK, builder.slot(blocks), tuple(stores), tuple(builder.dtypes)
    )
    return builder.launch(
        kernel, blocks, cost * count * min(inner, STEP_BLOCK), nodes=[root.node], flops=cost * count * inner
    )


def _scan(root: Root, rule: Scan) -> list[Launch]:
    (operand,) = root.exprs
    axis, shape = root.node.params["axis"], root.shape
    if not prod(shape):
        return []
    own = Layout.contiguous(shape)
    first = (*shape[:axis], 1, *shape[axis + 1 :])
    (head,) = map_layouts([operand], lambda x: Layout(first, x.offset, x.strides))
    launches = [copy_launch(root.node, root.value, head, first, Layout(first, 0, own.strides))]
    if shape[axis] == 1:
        return launches
    later = (*shape[:axis], shape[axis] - 1, *shape[axis + 1 :])
    (element,) = map_layouts([operand], lambda x: Layout(later, x.offset + x.strides[axis], x.strides))
    before = leaf("read", root.value.dtype, (root.value, Layout(later, 0, own.strides)))
    place = Layout(later, own.strides[axis], own.strides)
    roots = [rule.combine(before, element)]
    axes = Axes(later, [*leaf_layouts(roots), place], [(0, axis), (axis, axis + 1), (axis + 1, len(shape))])
    outer, steps, inner = axes.counts
    grid_axes = [*range(outer), *range(outer + steps, outer + steps + inner - 1)]
    last = [outer + steps + inner - 1] if inner else []
    order = [*grid_axes, *range(outer, outer + steps), *last]
    axes.permute(order)
    builder = LaunchBuilder()

    def strides(layout: Layout) -> list[int]:
        merged = axes.strides(layout)
        head_strides = merged[: len(grid_axes)]
        step = merged[len(grid_axes)] if steps else 0
        return [*head_strides, step, merged[-1] if inner else 1]

    (value,) = builder.rewrite(roots, strides)
    store = Store(builder.access(root.value, place.offset, strides(place), write=True), value)
    sizes = axes.sizes
    count, width = (sizes[len(grid_axes)] if steps else 1), (sizes[-1] if inner else 1)
    blocks = -(-width // STEP_BLOCK)
    grid = tuple(builder.slot(n) for n in sizes[: len(grid_axes)])
    kernel = Sequential(
        grid,
        builder.slot(count),
        builder.slot(width) if inner else 1,
        STEP_BLOCK,
        builder.slot(blocks),
        (store,),
        tuple(builder.dtypes),
        builder.access(root.value, 0, strides(before.value[1])).buf,
    )
    cost = cost_of(roots)
    units = prod(sizes[: len(grid_axes)]) * blocks
    launches.append(
        builder.launch(
            kernel, units, cost * count * min(width, STEP_BLOCK), nodes=[root.node], flops=cost * prod(later)
        )
    )
    return launches


def _shuffle(root: Root) -> list[Launch]:
    values, swaps = root.exprs
    (n,) = root.shape
    launches = [copy_launch(root.node, root.value, values, root.shape, root.own)]
    if n < 2:
        return launches
    builder = LaunchBuilder()
    # Step t is i = n - 1 - t: swap element i with element swaps[i].
    (reversed_swaps,) = map_layouts(
        [swaps], lambda x: Layout((n - 1,), x.offset + (n - 1) * x.strides[0], (-x.strides[0],))
    )
    (partner,) = builder.rewrite([reversed_swaps], lambda layout: [layout.strides[0], 0])
    here = builder.access(root.value, n - 1, [-1, 0], write=True)
    anywhere = builder.access(root.value, 0, [0, 0], write=True)
    steps = ((builder.slot(n), builder.slot(1)),)
    other = Expr("gather", root.value.dtype, (partner,), (anywhere, steps))
    mine = leaf("load", root.value.dtype, here)
    # A swap with itself writes the same value twice: the order of the two stores does not matter.
    stores = (Store(here, other), Store(anywhere, mine, indices=(partner,), steps=steps))
    kernel = Sequential((), builder.slot(n - 1), 1, STEP_BLOCK, 1, stores, tuple(builder.dtypes))
    launches.append(builder.launch(kernel, 1, 8.0 * n, nodes=[root.node], flops=n))
    return launches

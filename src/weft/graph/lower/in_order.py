"""Ops whose elements are written piece by piece: concat, slice update, scatter, running reductions, the shuffle; and
sorting (:mod:`.sorting`).

Those that change a tensor begin with a launch that copies what is kept (dropped where it would copy memory onto
itself), and go on with one that writes the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ...compiler.expr import Expr, add, cast, leaf, topological
from ...compiler.kernels import Sequential, Store
from ...compiler.reduction import combine
from ...core import dtypes as dt
from ...core.shapes import Shape
from ...core.symbolic import computed, least
from ..ir import Node, Value
from ..protocol import Argsort, Concat, Layout, Scan, Scatter, Shuffle, SliceUpdate, TensorType
from .axes import Axes, across, order_of, squeeze
from .expressions import leaf_layouts, map_layouts
from .launch import Launch, LaunchBuilder, cost_of, grain_of, pieces
from .nest import MAP_BLOCK, nest_launch, point_axes
from .roots import Root
from .sorting import lower_sort

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
    if isinstance(rule, Argsort):
        return [lower_sort(root)]
    assert isinstance(rule, Shuffle)
    return _shuffle(root)


def copy_launch(node: Node, target: Value, expr: Expr, shape: Shape, place: Layout) -> Launch:
    """Elementwise: ``target[place] = expr`` over ``shape``."""
    builder = LaunchBuilder()
    layouts = [*leaf_layouts([expr]), place]
    axes = point_axes(shape, layouts, order_of(place, layouts))
    (value,) = builder.rewrite([expr], axes.strides)
    store = builder.store(target, place.offset, axes.strides(place), value)
    reads: dict[Value, set[bool]] = {}  # value -> whether it is read at the very elements that are written
    for read in topological([expr]):
        if read.op in ("read", "gather"):
            at, layout = read.value[:2]
            reads.setdefault(at, set()).add(read.op == "read" and not read.args and _same_elements(layout, place))
    same = tuple(
        (target, v) for v, found in reads.items() if found == {True} and v.dtype.itemsize == target.dtype.itemsize
    )
    launch = nest_launch(builder, axes.sizes, MAP_BLOCK, [store], cost_of([expr]) + 1, [node], same)
    is_copy = expr.op == "read" and (target, expr.value[0]) in same and expr.dtype is target.dtype
    return replace(launch, copies=(target, expr.value[0])) if is_copy else launch


def _same_elements(a: Layout, b: Layout) -> bool:
    return a.offset == b.offset and squeeze(a.shape, a.strides) == squeeze(b.shape, b.strides)


def _concat(root: Root) -> list[Launch]:
    axis, own = root.node.params["axis"], root.own
    launches, start = [], 0
    for value, expr in zip(root.node.inputs, root.exprs, strict=True):
        shape = value.shape
        if prod(shape):
            launches.append(
                copy_launch(root.node, root.value, expr, shape, Layout(shape, start * own.strides[axis], own.strides))
            )
        start += shape[axis]
    return launches


def _slice_update(root: Root, rule: SliceUpdate) -> list[Launch]:
    base, update = root.exprs
    own = root.own
    inner = root.node.inputs[1].shape
    place = rule.place(root.node.params, own, inner)
    launches = [copy_launch(root.node, root.value, base, root.shape, own)]
    if prod(inner):
        launches.append(copy_launch(root.node, root.value, update, inner, place))
    return launches


def _scatter(root: Root, rule: Scatter, guarded: bool) -> list[Launch]:
    base, *indices, updates = root.exprs
    first, last = rule.lead, rule.lead + len(indices)
    lead, where, rest = root.shape[:first], root.node.inputs[1].shape, root.shape[last:]
    shape, own = (*lead, *where, *rest), root.own.strides
    launches = [copy_launch(root.node, root.value, base, root.shape, root.own)]
    if not prod(shape):
        return launches
    around = (0,) * len(lead), (0,) * len(rest)
    stretched = [
        map_layouts([e], lambda x: Layout(shape, x.offset, (*around[0], *x.strides, *around[1])))[0] for e in indices
    ]
    place = Layout(shape, root.own.offset, (*own[:first], *(0,) * len(where), *own[last:]))
    exprs = [*stretched, updates]
    axes, _ = across(shape, (first, first + len(where)), [*leaf_layouts(exprs), place])
    assert len(axes.sizes) <= 2 + first, "the axes after those of the indices are one"
    builder = LaunchBuilder()
    *at, value = builder.rewrite(exprs, axes.strides)
    steps = tuple(
        [(builder.slot(n), builder.slot(s)) for n, s in zip(root.shape[first:last], own[first:], strict=False)]
    )
    target = builder.access(root.value, place.offset, axes.strides(place), write=True)
    if rule.op != "set":
        there = Expr("gather", root.value.dtype, tuple(at), (target, steps))
        value = _sum(there, value) if rule.op == "add" else _greatest(there, value)
    store = Store(target, value, indices=tuple(at), steps=steps)
    # The guard looks at the indices of the scatter, not at those by which the updates are gathered.
    checks = not guarded or any(e.op == "gather" for e in topological([updates]))
    launch = replace(_sequential(builder, axes, store, cost_of(exprs), root.node), checks=checks)
    guards = [_guard(root.node, indices, where, root.shape[first:last])] if guarded else []
    return [*guards, *launches, launch]


def _guard(node: Node, indices: Sequence[Expr], shape: Shape, extents: Shape) -> Launch:
    """Look at all indices, and write nothing but one byte of scratch that says nothing."""
    scratch = Value(TensorType(dt.bool_, ()))
    nowhere = Layout(shape, 0, (0,) * len(shape))
    indices = map_layouts(indices, lambda x: Layout(shape, x.offset, x.strides))
    looked_up = Expr("gather", dt.bool_, tuple(indices), (scratch, nowhere, tuple((n, 0) for n in extents)))
    return replace(copy_launch(node, scratch, looked_up, shape, nowhere), guards=True)


def early_guards(root: Root) -> list[Launch] | None:
    """Launches that look at all indices by which a root gathers, where these are computed from inputs alone: they may
    come first. None where some are not, or are not looked at everywhere (below padding)."""
    found = []
    for gather in topological(root.exprs):
        if gather.op != "gather":
            continue
        steps = gather.value[2]
        below = topological(gather.args)
        inputs = all(e.value[0].node is None for e in below if e.op == "read")
        if not inputs or len(gather.args) != len(steps) or any(e.op == "gather" for e in below):
            return None
        layouts = leaf_layouts(list(gather.args))
        shape = tuple([n if any(x.strides[axis] for x in layouts) else 1 for axis, n in enumerate(root.shape)])
        if not all(isinstance(n, int) and n > 0 for n in root.shape) or not layouts:
            return None
        found.append(_guard(root.node, gather.args, shape, tuple([n for n, _ in steps])))
    return found


def _sum(a: Expr, b: Expr) -> Expr:
    """One addition in the dtype of ``a``; 16-bit floats are added in float32 and rounded."""
    if a.dtype.is_half:
        return cast(add(cast(a, dt.float32), cast(b, dt.float32)), a.dtype)
    if a.dtype is dt.bool_:
        return a | b
    return add(a, b)


def _greatest(a: Expr, b: Expr) -> Expr:
    """The greater of two values, or the first NaN; 16-bit floats are compared in float32."""
    if a.dtype.is_half:
        return cast(combine("max", (cast(a, dt.float32),), (cast(b, dt.float32),))[0], a.dtype)
    return combine("max", (a,), (b,))[0]


def _scan(root: Root, rule: Scan) -> list[Launch]:
    (operand,), axis, shape = root.exprs, root.node.params["axis"], root.shape
    if not prod(shape):
        return []
    own = Layout.contiguous(shape).strides
    first, later = ((*shape[:axis], n, *shape[axis + 1 :]) for n in (1, shape[axis] - 1))
    (head,) = map_layouts([operand], lambda x: Layout(first, x.offset, x.strides))
    launches = [copy_launch(root.node, root.value, head, first, Layout(first, 0, own))]
    if shape[axis] == 1:
        return launches
    (element,) = map_layouts([operand], lambda x: Layout(later, x.offset + x.strides[axis], x.strides))
    before, place = Layout(later, 0, own), Layout(later, own[axis], own)
    combined = rule.combine(leaf("read", root.value.dtype, (root.value, before)), element)
    axes, _ = across(later, (axis, axis + 1), [*leaf_layouts([combined]), place])
    builder = LaunchBuilder()
    (value,) = builder.rewrite([combined], axes.strides)
    store = builder.store(root.value, place.offset, axes.strides(place), value)
    carry = builder.access(root.value, 0, axes.strides(before)).buf
    return [*launches, _sequential(builder, axes, store, cost_of([combined]), root.node, carry)]


def _sequential(
    builder: LaunchBuilder, axes: Axes, store: Store, cost: int, node: Node, carry: int | None = None
) -> Launch:
    """The launch of a Sequential over ``(*grid, step, inner)`` with one store; ``cost``: of a vector."""
    *outer, steps, inner = axes.sizes
    blocks = pieces(inner, STEP_BLOCK)
    grid, count = builder.slots(outer), builder.slot(steps)
    width = builder.slot(inner) if axes.counts[-1] else 1
    parts = builder.slot(blocks)
    kernel = Sequential(grid, count, width, STEP_BLOCK, parts, (store,), tuple(builder.dtypes), carry)
    grain = computed(grain_of, cost * steps * least(inner, STEP_BLOCK))
    return builder.launch(kernel, prod(outer) * blocks, grain, [node], cost * prod(axes.sizes))


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
    launches.append(builder.launch(kernel, 1, computed(grain_of, 8 * n), [root.node], n))
    return launches

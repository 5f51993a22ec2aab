"""Which values are stored, and which kernels compute them together.

Three steps, each printable:

1. :func:`choose_stored`: the values that get memory. Reductions, contractions and the like always do; an elementwise
   value does when something needs it in memory (an output, an operand of a contraction, a source of a gather), or
   when it is dear and used more than once. Everything else is *pulled*: recomputed inside its users' expressions.
2. :class:`Root`: a stored value with the expression that computes one element of it from other stored values.
   Views never cost anything: they move the strides of the reads below them.
3. :func:`cluster`: consecutive roots join one kernel when they walk the same points: elementwise roots of one shape;
   rows (a reduction over the last axes with everything that reads or feeds it row by row: softmax, layer norm);
   columns; a contraction with its epilogue.

Fusion changes no bit: every element is computed by the same operations in the same order, wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..compiler.expr import Expr, const, leaf, topological
from ..compiler.kernels import REDUCE_CHUNK
from ..core import dtypes as dt
from ..core.shapes import strides_of
from .ir import Graph, Node, Value
from .protocol import (
    Concat,
    Contract,
    Gather,
    Layout,
    Map,
    Position,
    Primitive,
    Reduction,
    Scan,
    Scatter,
    Shuffle,
    SliceUpdate,
    View,
)

__all__ = ["COPY", "Cluster", "Root", "cluster", "lower_roots", "squeeze"]

DEAR = 8  # cost above which a value with several users is stored rather than recomputed
MAX_ROOTS, MAX_READS = 16, 24  # of one kernel
_FUSABLE = (Map, Position, View, Gather)
_IN_ORDER = (Concat, Scatter, SliceUpdate, Scan, Shuffle)

COPY = Primitive("copy", lambda params, x: x, Map(lambda params, x: x))


def _dropped(params: dict[str, Any], x: Layout) -> Layout:
    kept = [a for a in range(len(x.shape)) if a not in params["axes"]]
    return Layout(tuple(x.shape[a] for a in kept), x.offset, tuple(x.strides[a] for a in kept))


_DROP = Primitive("drop", lambda params, x: x, View(_dropped))  # of axes of size 1


def _reduced_size(node: Node) -> int:
    size = 1
    for axis in node.params["axes"]:
        size *= int(node.inputs[0].shape[axis])
    return size


class _Unfusable(Exception):
    """``value`` must be stored (contiguously) before the lowering can go on."""

    def __init__(self, value: Value):
        super().__init__()
        self.value = value


Step = Node | int  # a view node, or the number of axes to append (with stride 0) at the end


class Puller:
    """Builds the expression of one element of a value from the stored values below it.

    Leaves: ``read`` (Value, Layout over the reader's shape), ``position`` (Layout of an index), ``param`` (a
    constant's value), ``gather`` (Value, Layout, ((extent, stride), ...)).
    """

    def __init__(self, stored: set[Value], layouts: dict[Value, Layout]):
        self.stored = stored
        self.layouts = layouts
        self._memo: dict[tuple[object, ...], Expr] = {}
        self._kept: list[Node] = []

    def pull(self, value: Value, views: tuple[Step, ...] = ()) -> Expr:
        """The expression of ``value`` seen through ``views`` (innermost first)."""
        key = (value, *(v if isinstance(v, int) else id(v) for v in views))
        if key not in self._memo:
            if value in self.stored or value.node is None:
                base = self.layouts.get(value) or Layout.contiguous(value.shape)  # type: ignore[arg-type]
                self._memo[key] = leaf("read", value.dtype, (value, self._through(base, views)))
            else:
                self._memo[key] = self.compute(value, views)
        return self._memo[key]

    def compute(self, value: Value, views: tuple[Step, ...] = ()) -> Expr:
        """As :meth:`pull`, but always by the node that makes ``value``."""
        node = value.node
        assert node is not None
        rule = node.op.lower
        if isinstance(rule, View):
            return self.pull(node.inputs[0], (node, *views))
        if isinstance(rule, Map):
            return rule.expr(node.params, *(self.pull(v, views) for v in node.inputs))
        if isinstance(rule, Position):
            return rule.expr(node.params, lambda axis: self._position(value, axis, views))
        if isinstance(rule, Gather):
            return self._gather(node, views)
        if isinstance(rule, Reduction):
            return self._reduction_of_few(node, rule.op, views)
        raise _Unfusable(value)

    def _reduction_of_few(self, node: Node, op: str, views: tuple[Step, ...]) -> Expr:
        """A reduction over one element is that element, over none it is the op's neutral element."""
        if op in ("argmax", "argmin") or _reduced_size(node) == 0:
            neutral = op in ("prod", "all")  # the public functions refuse max and min of nothing
            return const(neutral if node.output.dtype.kind == "bool" else int(neutral), node.output.dtype)
        dropped = Node(_DROP, node.inputs, node.params)
        dropped.output = node.output
        self._kept.append(dropped)  # the memo knows views by their id
        return self.pull(node.inputs[0], (dropped, *views))

    def _through(self, layout: Layout, views: tuple[Step, ...]) -> Layout:
        for view in views:
            if isinstance(view, int):
                layout = Layout(layout.shape + (0,) * view, layout.offset, layout.strides + (0,) * view)
                continue
            assert isinstance(view.op.lower, View)
            if layout.shape != view.inputs[0].shape:  # axes appended by a gather: their sizes are known here
                layout = Layout(tuple(view.inputs[0].shape), layout.offset, layout.strides)  # type: ignore[arg-type]
            moved = view.op.lower.layout(view.params, layout)
            if moved is None:
                raise _Unfusable(view.inputs[0])
            layout = moved
        return layout

    def _position(self, value: Value, axis: int, views: tuple[Step, ...]) -> Expr:
        shape: tuple[int, ...] = tuple(value.shape)  # type: ignore[arg-type]
        strides = tuple(int(a == axis) for a in range(len(shape)))
        return leaf("position", dt.int64, self._through(Layout(shape, 0, strides), views))

    def _gather(self, node: Node, views: tuple[Step, ...]) -> Expr:
        source, *indices = node.inputs
        origin = self.pull(source)
        if origin.op != "read":
            raise _Unfusable(source)
        base, layout = origin.value
        indexed, rest = len(indices), len(layout.shape) - len(indices)
        shape: tuple[int, ...] = tuple(node.output.shape)  # type: ignore[arg-type]
        own = Layout(shape, layout.offset, (0,) * (len(shape) - rest) + layout.strides[indexed:])
        steps = tuple(zip(layout.shape[:indexed], layout.strides[:indexed], strict=True))
        appended = (rest,) if rest else ()
        arguments = tuple(self.pull(i, (*appended, *views)) for i in indices)
        return Expr("gather", node.output.dtype, arguments, (base, self._through(own, views), steps))


@dataclass(slots=True, eq=False)
class Root:
    """A stored value. ``kind``: map, reduce, contract, or ordered (scatter and the like).

    ``shape`` is what its expressions are read over: the value's own, or a reduction's operand's. ``exprs`` are the
    expression of an element, a contraction's two operands, or an ordered op's operands.
    """

    value: Value
    kind: str
    shape: tuple[int, ...]
    exprs: tuple[Expr, ...]
    axes: tuple[int, int] = (0, 0)  # a reduction's axes: [start, stop)
    reads: list[tuple[Value, Layout]] = field(default_factory=list)
    late: bool = False  # an update of captured state: computed at the end, in a kernel of its own

    @property
    def node(self) -> Node:
        """The node that makes the value."""
        assert self.value.node is not None
        return self.value.node


def choose_stored(graph: Graph) -> set[Value]:
    """The values that get memory; see the module's docstring."""
    stored = set(graph.inputs) | set(graph.outputs)
    users: dict[Value, int] = {}
    for node in graph.nodes:
        rule = node.op.lower
        if not isinstance(rule, _FUSABLE):
            stored.add(node.output)
        for value in dict.fromkeys(node.inputs):
            users[value] = users.get(value, 0) + 1
    cost: dict[Value, int] = {}
    for node in graph.nodes:
        rule = node.op.lower
        own = rule.cost if isinstance(rule, Map) else 4 if isinstance(rule, Gather) else 0
        total = own + sum(cost.get(v, 0) for v in dict.fromkeys(node.inputs) if v not in stored)
        if users.get(node.output, 0) > 1 and total > DEAR and isinstance(rule, _FUSABLE) and not isinstance(rule, View):
            stored.add(node.output)
        cost[node.output] = total
    return stored


def lower_roots(graph: Graph, layouts: dict[Value, Layout], late: set[Value]) -> tuple[Graph, list[Root]]:
    """The roots in program order. The graph returned may have copies inserted (of strided inputs)."""
    stored = choose_stored(graph)
    while True:
        roots, unfusable = _roots_of(graph, set(stored), layouts)
        if not unfusable:
            break
        for value in unfusable:
            if value in stored:
                graph = _with_copy(graph, value)
            else:
                stored.add(value)
    for root in roots:
        root.late = root.value in late
    return graph, _live(roots, graph.outputs)


def _roots_of(graph: Graph, stored: set[Value], layouts: dict[Value, Layout]) -> tuple[list[Root], list[Value]]:
    """The roots, and what must be stored as well (a strided input: copied) before they are all right."""
    roots: list[Root] = []
    unfusable: dict[Value, None] = {}
    puller = Puller(stored, layouts)
    for node in graph.nodes:
        while node.output in stored:
            try:
                roots.append(_root(puller, node.output))
                break
            except _Unfusable as need:
                unfusable[need.value] = None
                if need.value in stored:
                    break
                stored.add(need.value)
                puller = Puller(stored, layouts)  # what was pulled through the value is out of date
    return roots, list(unfusable)


def _live(roots: Sequence[Root], outputs: Iterable[Value]) -> list[Root]:
    """The roots that an output needs: a reduction over no elements does not read its operand."""
    live, kept = set(outputs), []
    for root in reversed(roots):
        if root.value in live:
            kept.append(root)
            live.update(v for v, _ in root.reads)
    return kept[::-1]


def _with_copy(graph: Graph, value: Value) -> Graph:
    """``graph`` with every use of ``value`` (a strided input) replaced by a contiguous copy of it."""
    copied = Node(COPY, (value,), {})
    copied.output = Value(value.type, copied)
    nodes, replaced = [copied], {value: copied.output}
    for node in graph.nodes:
        moved = Node(node.op, tuple(replaced.get(v, v) for v in node.inputs), node.params, node.where, node.scope)
        moved.output = node.output
        node.output.node = moved
        nodes.append(moved)
    return graph.copy(nodes)


def _root(puller: Puller, value: Value) -> Root:
    node = value.node
    assert node is not None
    rule = node.op.lower
    shape: tuple[int, ...] = tuple(value.shape)  # type: ignore[arg-type]
    if isinstance(rule, Reduction) and _reduced_size(node) > 1:
        axes = node.params["axes"]
        operand: tuple[int, ...] = tuple(node.inputs[0].shape)  # type: ignore[arg-type]
        root = Root(value, "reduce", operand, (puller.pull(node.inputs[0]),), (axes[0], axes[-1] + 1))
    elif isinstance(rule, Contract):
        operands = tuple(puller.pull(v) for v in node.inputs)
        for operand_value, operand_expr in zip(node.inputs, operands, strict=True):
            if operand_expr.op != "read":
                raise _Unfusable(operand_value)
        root = Root(value, "contract", shape, operands)
    elif isinstance(rule, _IN_ORDER):
        root = Root(value, "ordered", shape, tuple(puller.pull(v) for v in node.inputs))
        if isinstance(rule, Shuffle) and root.exprs[1].op != "read":
            raise _Unfusable(node.inputs[1])  # each swap is needed several times, one at a time
        if isinstance(rule, Scatter):
            _require_two_axes(root)
    else:
        root = Root(value, "map", shape, (puller.compute(value),))
    root.reads = reads_of(root.exprs)
    if root.kind == "reduce":
        _require_one_axis(root)
    return root


def reads_of(exprs: Iterable[Expr]) -> list[tuple[Value, Layout]]:
    """Every (stored value, layout) that the expressions read."""
    found = []
    for node in topological(exprs):
        if node.op == "read":
            found.append(node.value)
        elif node.op == "gather":
            found.append((node.value[0], Layout((), -1, ())))  # anywhere in it
    return found


def leaf_layouts(exprs: Iterable[Expr]) -> list[Layout]:
    """Layouts of all leaves that have one."""
    found = []
    for node in topological(exprs):
        if node.op == "read":
            found.append(node.value[1])
        elif node.op == "position":
            found.append(node.value)
        elif node.op == "gather":
            found.append(node.value[1])
    return found


def _require_one_axis(root: Root) -> None:
    """The reduced axes must be one axis for every read; otherwise the operand is stored first."""
    start, stop = root.axes
    sizes = root.shape[start:stop]
    for layout in leaf_layouts(root.exprs):
        if not mergeable(sizes, layout.strides[start:stop]):
            raise _Unfusable(root.node.inputs[0])


def _require_two_axes(root: Root) -> None:
    """A scatter walks (indices, rest): each must be one axis for every operand but the first."""
    indices: tuple[int, ...] = tuple(root.node.inputs[1].shape)  # type: ignore[arg-type]
    rest = root.shape[len(root.exprs) - 2 :]
    for at, expr in enumerate(root.exprs[1:], 1):
        sizes = (*indices, *rest) if at == len(root.exprs) - 1 else indices
        for layout in leaf_layouts([expr]):
            if not (
                mergeable(sizes[: len(indices)], layout.strides[: len(indices)])
                and mergeable(sizes[len(indices) :], layout.strides[len(indices) :])
            ):
                raise _Unfusable(root.node.inputs[at])


def mergeable(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether axes of these sizes and strides are one axis."""
    kept = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    return all(a[1] == b[1] * b[0] for a, b in pairwise(kept)) or 0 in sizes


# --- clusters ---------------------------------------------------------------------------------------------------


def squeeze(shape: Sequence[int], strides: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Without the axes of size 1, whose strides do not matter."""
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    return tuple(n for n, _ in kept), tuple(s for _, s in kept)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


@dataclass(slots=True, eq=False)
class Cluster:
    """Roots that one kernel computes. ``kind``: map, row, column, contract, ordered.

    ``space`` is the shape of the points without axes of size 1; ``axes`` the part of it that is reduced. A member is
    ``full`` (one value a point) or not (one value for each point of the space without the reduced axes).
    """

    kind: str
    space: tuple[int, ...]
    axes: tuple[int, int]
    roots: list[Root] = field(default_factory=list)
    full: dict[Value, bool] = field(default_factory=dict)
    reading: set[Value] = field(default_factory=set)

    @property
    def kept(self) -> tuple[int, ...]:
        """The space without the reduced axes."""
        return self.space[: self.axes[0]] + self.space[self.axes[1] :]

    @property
    def reduced_size(self) -> int:
        """Number of elements that one reduction takes."""
        size = 1
        for n in self.space[self.axes[0] : self.axes[1]]:
            size *= n
        return size

    def add(self, root: Root, full: bool) -> None:
        """Append a root."""
        self.roots.append(root)
        self.full[root.value] = full
        self.reading.update(v for v, _ in root.reads)

    def reads_in_place(self, value: Value, layout: Layout, reader_full: bool) -> bool:
        """Whether reading member ``value`` with ``layout`` takes, at each point, what that point (or row) computed."""
        if layout.offset != 0:
            return False
        if self.full[value] == reader_full:
            shape = self.space if reader_full else self.kept
            expected = strides_of(shape)
        elif reader_full:
            shape, outer = self.space, strides_of(self.kept)
            zeros = (0,) * (self.axes[1] - self.axes[0])
            expected = outer[: self.axes[0]] + zeros + outer[self.axes[0] :]
        else:
            return False
        return squeeze(layout.shape, layout.strides) == (shape, expected)


def cluster(roots: Sequence[Root]) -> list[Cluster]:
    """Clusters in execution order. A root joins the latest cluster that it can and with which it has something in
    common (it reads what the cluster computes, or what it reads); otherwise it begins one.

    A root may join a cluster that comes before one it depends on, as long as that one does not depend on the cluster
    in turn: the order is settled at the end.
    """
    clusters: list[Cluster] = []
    order = _Order()
    home: dict[Value, int] = {}
    readers: dict[Value, set[int]] = {}
    for root in roots:
        values = {v for v, _ in root.reads}
        needs = {home[v] for v in values if v in home}
        place = None
        if root.kind not in _ALONE:
            blocked = order.all_before(needs)
            for at in sorted(needs.union(*(readers.get(v, ()) for v in values)), reverse=True):
                if not blocked >> at & 1 and _join(clusters[at], root, at in needs):
                    place = at
                    break
        if place is None:
            place = len(clusters)
            clusters.append(_begin(root))
            order.add()
        home[root.value] = place
        for value in values:
            readers.setdefault(value, set()).add(place)
        order.put_before(needs - {place}, place)
    return [clusters[at] for at in order.settled()]


class _Order:
    """What must run before what, closed under transitivity. Sets of numbers are the bits of an integer: a graph of
    thousands of kernels has millions of such pairs."""

    def __init__(self) -> None:
        self.before: list[int] = []
        self.after: list[int] = []

    def add(self) -> None:
        """The next number, free of any order."""
        self.before.append(0)
        self.after.append(0)

    def all_before(self, numbers: Iterable[int]) -> int:
        """What must run before one of the numbers."""
        found = 0
        for number in numbers:
            found |= self.before[number]
        return found

    def put_before(self, numbers: Iterable[int], place: int) -> None:
        """The numbers, and all before them, run before ``place`` and all after it."""
        earlier = self.all_before(numbers)
        for number in numbers:
            earlier |= 1 << number
        earlier &= ~self.before[place]
        later = self.after[place] | 1 << place
        for number in _bits(earlier):
            self.after[number] |= later
        for number in _bits(later) if earlier else ():
            self.before[number] |= earlier

    def settled(self) -> list[int]:
        """All numbers, each as early as its own order allows."""
        found: list[int] = []
        done = 0
        for at in range(len(self.before)):
            waiting = _bits(self.before[at] & ~done)
            found += sorted(waiting, key=lambda n: (self.before[n].bit_count(), n))
            found += [at] if not done >> at & 1 else []
            done |= self.before[at] | 1 << at
        return found


def _bits(mask: int) -> list[int]:
    """Numbers of the bits that are set."""
    text = bin(mask)[:1:-1]
    found, at = [], text.find("1")
    while at >= 0:
        found.append(at)
        at = text.find("1", at + 1)
    return found


def _axes_of(root: Root) -> tuple[int, int]:
    start = len(_squeezed(root.shape[: root.axes[0]]))
    return start, start + len(_squeezed(root.shape[root.axes[0] : root.axes[1]]))


def _begin(root: Root) -> Cluster:
    if root.kind == "reduce":
        axes, space = _axes_of(root), _squeezed(root.shape)
        made = Cluster("row" if axes[1] == len(space) else "column", space, axes)
        made.add(root, False)
        return made
    space = _squeezed(root.shape)
    made = Cluster(root.kind, space, (len(space), len(space)))
    made.add(root, True)
    return made


_ALONE = ("contract", "ordered")  # roots that begin a cluster


def _join(to: Cluster, root: Root, needed: bool) -> bool:
    """Add ``root`` to the cluster if one kernel can compute both."""
    if root.kind in _ALONE or to.kind == "ordered" or len(to.roots) >= MAX_ROOTS:
        return False
    if to.kind == "contract" and (root.late or root.kind != "map"):
        return False
    space, kind, axes = _squeezed(root.shape), to.kind, to.axes
    if root.kind == "reduce":
        axes = _axes_of(root)
        if space != to.space or axes[0] == axes[1]:
            return False
        if to.kind == "map":
            if axes[1] != len(space) or _long(space, axes):
                return False
            kind = "row"
        elif axes != to.axes or (_long(space, axes) and any(r.kind != "reduce" for r in to.roots)):
            return False
        full = False
    elif space == to.space and to.kind != "column":
        full = True
    elif space == to.kept and to.kind in ("row", "column") and needed:
        full = False
    else:
        return False
    if root.kind == "map" and to.kind in ("row", "column") and _long(to.space, to.axes):
        return False
    if len(to.reading | {v for v, _ in root.reads}) > MAX_READS:
        return False
    walking = [r for r in to.roots if to.full[r.value] or r.kind == "reduce"]
    walking += [root] if full or root.kind == "reduce" else []
    if kind in ("row", "column") and not all(_reduced_as_one(r, axes) for r in walking):
        return False
    widened = Cluster(kind, to.space, axes, to.roots, to.full)
    reader_full = True if root.kind == "reduce" else full
    for value, layout in root.reads:
        if value in to.full and not widened.reads_in_place(value, layout, reader_full):
            return False
        if value in to.full and to.kind in ("row", "column") and _long(to.space, to.axes):
            return False
    if to.kind == "column" and root.kind == "reduce" and any(v in to.full for v, _ in root.reads):
        return False
    to.kind, to.axes = kind, axes
    to.add(root, full)
    return True


def _reduced_as_one(root: Root, axes: tuple[int, int]) -> bool:
    """Whether the reduced axes (of the space) are one axis for everything that a member reads."""
    start, stop = axes
    if stop - start < 2:
        return True
    squeezed = (squeeze(root.shape, layout.strides) for layout in leaf_layouts(root.exprs))
    return all(mergeable(sizes[start:stop], strides[start:stop]) for sizes, strides in squeezed)


def _long(space: tuple[int, ...], axes: tuple[int, int]) -> bool:
    size = 1
    for n in space[axes[0] : axes[1]]:
        size *= n
    return size > REDUCE_CHUNK

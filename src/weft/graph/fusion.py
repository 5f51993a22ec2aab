"""Which values are stored.

1. :func:`choose_stored`: the values that get memory. Reductions, contractions and the like always do; an elementwise
   value does when something needs it in memory (an output, an operand of a contraction, a source of a gather), when
   it is dear and used more than once, or when the expression that it is part of has become long enough. Everything
   else is *pulled* (:mod:`weft.graph.pull`): recomputed inside its users' expressions.
2. :class:`Root`: a stored value with the expression that computes one element of it from other stored values.

Which roots share a kernel is the business of :mod:`weft.graph.cluster`. Fusion changes no bit: every element is
computed by the same operations in the same order, wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..compiler.expr import Expr, topological
from .ir import Graph, Node, Value
from .launch import FREE
from .protocol import (
    COPY,
    Concat,
    Contract,
    Gather,
    Layout,
    Map,
    Position,
    Reduction,
    Scan,
    Scatter,
    Shuffle,
    SliceUpdate,
    View,
)
from .pull import Puller, Unfusable, reduced_size

__all__ = ["DEAR", "Root", "copy_of", "leaf_layouts", "lower_roots", "mergeable"]

DEAR = 8  # cost above which a value with several users is stored rather than recomputed
# Cost above which an expression is cut. 480 products and sums over 4 MB, kernels not joined again: 24 ms cut at 64,
# 35 at 128, 46 at 256, 67 at 512 (constants no longer fit into registers). Random bits cost 120, and a dropout of
# them stays in one piece.
LONG = 192
_FUSABLE = (Map, Position, View, Gather)
_IN_ORDER = (Concat, Scatter, SliceUpdate, Scan, Shuffle)


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
    place: Layout | None = None  # where an update's elements lie in the input that it replaces; else row-major
    reads: list[tuple[Value, Layout]] = field(init=False)  # every stored value that the expressions read
    layouts: list[Layout] = field(init=False)  # of all leaves that have one
    size: int = field(init=False)  # rough number of the expressions' instructions

    def __post_init__(self) -> None:
        self.reads, self.layouts = [], []
        nodes = topological(self.exprs)
        self.size = sum([n.op not in FREE for n in nodes])
        for node in nodes:
            if node.op == "read":
                self.reads.append(node.value)
                self.layouts.append(node.value[1])
            elif node.op == "gather":
                self.reads.append((node.value[0], Layout((), -1, ())))  # anywhere in it
                self.layouts.append(node.value[1])
            elif node.op == "position":
                self.layouts.append(node.value)

    @property
    def node(self) -> Node:
        """The node that makes the value."""
        assert self.value.node is not None
        return self.value.node

    @property
    def own(self) -> Layout:
        """Where the value's elements are stored."""
        return self.place or Layout.contiguous(_shape(self.value))


def choose_stored(graph: Graph, shared: Iterable[Value] = ()) -> set[Value]:
    """The values that get memory; see the module's docstring. ``shared`` are in any case among them."""
    stored = set(graph.inputs).union(graph.outputs, shared)
    stored.update(node.output for node in graph.nodes if not isinstance(node.op.lower, _FUSABLE))
    users: dict[Value, int] = {}
    for node in reversed(graph.nodes):  # who looks at a value through a view uses the value
        times = users.get(node.output, 0) if isinstance(node.op.lower, View) and node.output not in stored else 1
        for value in dict.fromkeys(node.inputs):
            users[value] = users.get(value, 0) + times
    cost: dict[Value, int] = {}  # of a pulled value's expression, what is shared in it counted as often as it is used
    length: dict[Value, int] = {}  # the same, with every view and leaf as one
    for node in graph.nodes:
        rule, value = node.op.lower, node.output
        operands = list(dict.fromkeys(node.inputs))
        from_memory = node.inputs if isinstance(rule, Contract) else node.inputs[:1] if isinstance(rule, Gather) else ()
        stored.update([v for v in from_memory if _computed(v, stored)])
        total = sum(1 if v in stored else length[v] for v in operands)
        for operand in sorted((v for v in operands if v not in stored), key=length.__getitem__, reverse=True):
            if total <= LONG or not isinstance(rule, _FUSABLE):  # others read each operand in a loop of its own
                break
            stored.add(operand)
            total -= length[operand] - 1
        own = rule.cost if isinstance(rule, Map) else 4 if isinstance(rule, Gather) else 0
        cost[value] = own + sum(cost[v] for v in operands if v not in stored)
        length[value] = max(own, 1) + total
        if users.get(value, 0) > 1 and cost[value] > DEAR and isinstance(rule, _FUSABLE) and not isinstance(rule, View):
            stored.add(value)
    return stored


def _computed(value: Value, stored: set[Value]) -> bool:
    """Whether a value is not simply a stored one, or a view of one."""
    while value not in stored:
        if value.node is None or not isinstance(value.node.op.lower, View):
            return True
        value = value.node.inputs[0]
    return False


def lower_roots(
    graph: Graph, layouts: Mapping[Value, Layout], places: Mapping[Value, Layout], shared: Iterable[Value] = ()
) -> list[Root]:
    """The roots in program order, copies of strided inputs first.

    Args:
        layouts: of the inputs.
        places: for each update, the layout of the input that it is written to.
        shared: elementwise values to be stored, whatever they cost.
    """
    stored, copies = choose_stored(graph, shared), dict[Value, Value]()
    while True:
        roots, unfusable = _roots_of(graph, Puller(set(stored), layouts, copies))
        if not unfusable:
            break
        for value in unfusable:
            if value in stored:
                assert value not in copies, "a row-major copy can be read in any way"
                copies[value] = copy_of(value)
            else:
                stored.add(value)
    inputs = Puller(stored, layouts, {})
    roots[:0] = [Root(copied, "map", _shape(v), (inputs.pull(v),)) for v, copied in copies.items()]
    for root in roots:
        root.place = places.get(root.value)
    return _live(roots, graph.outputs)


def _roots_of(graph: Graph, puller: Puller) -> tuple[list[Root], list[Value]]:
    """The roots, and what must be stored as well (a strided input: copied) before they are all right."""
    roots: list[Root] = []
    unfusable: dict[Value, None] = {}
    for node in graph.nodes:
        while node.output in puller.stored:
            try:
                roots.append(_root(puller, node))
                break
            except Unfusable as need:
                unfusable[need.value] = None
                if need.value in puller.stored:
                    break
                puller.store(need.value)
    return roots, list(unfusable)


def _shape(value: Value) -> tuple[int, ...]:
    return tuple(value.shape)  # type: ignore[arg-type]


def copy_of(value: Value) -> Value:
    """A value of its own that is ``value``."""
    return Node(COPY, (value,), {}, (value.type,)).output


def _live(roots: Sequence[Root], outputs: Iterable[Value]) -> list[Root]:
    """The roots that an output needs: a reduction over no elements does not read its operand."""
    live, kept = set(outputs), []
    for root in reversed(roots):
        if root.value in live:
            kept.append(root)
            live.update(v for v, _ in root.reads)
    return kept[::-1]


def _root(puller: Puller, node: Node) -> Root:
    value, rule = node.output, node.op.lower
    shape = _shape(value)
    if isinstance(rule, Reduction) and reduced_size(node) > 1:
        axes = node.params["axes"]
        root = Root(value, "reduce", _shape(node.inputs[0]), (puller.pull(node.inputs[0]),), (axes[0], axes[-1] + 1))
        _require_one_axis(root)
        return root
    if isinstance(rule, Contract):
        operands = tuple(puller.pull(v) for v in node.inputs)
        for operand_value, operand_expr in zip(node.inputs, operands, strict=True):
            if operand_expr.op != "read":
                raise Unfusable(operand_value)
        return Root(value, "contract", shape, operands)
    if isinstance(rule, _IN_ORDER):
        root = Root(value, "ordered", shape, tuple(puller.pull(v) for v in node.inputs))
        if isinstance(rule, Shuffle) and root.exprs[1].op != "read":
            raise Unfusable(node.inputs[1])  # each swap is needed several times, one at a time
        if isinstance(rule, Scatter):
            _require_two_axes(root)
        return root
    return Root(value, "map", shape, (puller.compute(value),))


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
    for layout in root.layouts:
        if not mergeable(sizes, layout.strides[start:stop]):
            raise Unfusable(root.node.inputs[0])


def _require_two_axes(root: Root) -> None:
    """A scatter walks (indices, rest): each must be one axis for every operand but the first."""
    indices = _shape(root.node.inputs[1])
    rest = root.shape[len(root.exprs) - 2 :]
    for at, expr in enumerate(root.exprs[1:], 1):
        sizes = (*indices, *rest) if at == len(root.exprs) - 1 else indices
        for layout in leaf_layouts([expr]):
            if not (
                mergeable(sizes[: len(indices)], layout.strides[: len(indices)])
                and mergeable(sizes[len(indices) :], layout.strides[len(indices) :])
            ):
                raise Unfusable(root.node.inputs[at])


def mergeable(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether axes of these sizes and strides are one axis."""
    kept = [(n, s) for n, s in zip(sizes, strides, strict=True) if n != 1]
    return all(a[1] == b[1] * b[0] for a, b in pairwise(kept)) or 0 in sizes

"""Roots: the stored values, each with the expressions that compute its elements from other stored values.

:func:`lower_roots` makes them in program order. What an expression cannot say (a view that strides cannot express) is
stored first, or copied; so is what is read by a reduction over short axes that are not one in memory, where there is no
other axis to walk. Then they are made again.

The roots of a call (graph/called.py) are made once for its body and the layouts of its operands; other calls of the
same repeat them over values of their own (:meth:`Root.over`), and have expressions when somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

from ...compiler.expr import Expr, instructions, leaf, rebuild, topological
from ...core.errors import CompileError
from ...core.shapes import Shape
from ...core.symbolic import typical, undecided
from ..ir import Graph, Node, Value, make_node
from ..protocol import (
    COPY,
    Argsort,
    Attend,
    Branch,
    Called,
    Concat,
    Contract,
    Host,
    Layout,
    Loop,
    Product,
    Reduction,
    Scan,
    Scatter,
    Shuffle,
    SliceUpdate,
)
from .axes import SHORT, mergeable, squeeze, squeezed
from .expressions import Puller, Unfusable, format_exprs, leaf_layouts, map_layouts, reduced_size
from .storing import choose_stored

_IN_ORDER = (Concat, Scatter, SliceUpdate, Scan, Shuffle, Argsort)
# Of pieces in one loop: instructions, and values that are read. More do not stay in registers.
MAX_PIECES, MAX_PIECES_READ = 192, 16
FEW = 4  # elements of a row: as columns, 131,072 rows of 2 are summed in 0.5 ms, apart in 1.6 (argmax: 1.3, 6.9)
ACROSS = 128  # elements of a line across memory: what its vectors touch stays in the first-level cache for the next
_ANYWHERE = Layout((), -1, ())  # what a gather reads of its source


@dataclass(slots=True, eq=False, repr=False)
class Root:
    """A stored value. ``kind``: map, pieces (a concat of equal ones), reduce, contract, ordered (scatter and the like),
    attend, host or control (all outputs of an attention, a host call, a branch, a loop, of which it is the first).

    ``shape`` is what its expressions are read over: the value's own, a piece's, a reduction's operand's; of what joins
    a contraction, the contraction's. ``exprs``, which are ``given``, are the expression of an element, those of an
    element of each piece, a contraction's two operands, or the operands of an ordered op, an attention, a host call, a
    branch, a loop.
    """

    value: Value
    kind: str
    shape: Shape
    given: tuple[Expr, ...]
    axes: tuple[int, int] = (0, 0)  # a reduction's axes: [start, stop)
    place: Layout | None = None  # where an update's elements lie in the input that it replaces; else row-major
    reads: list[tuple[Value, Layout]] = field(init=False)  # every stored value that the expressions read
    layouts: list[Layout] = field(init=False)  # of all leaves that have one
    size: int = field(init=False)  # rough number of the expressions' instructions
    space: Shape = field(init=False)  # the shape without axes of size 1
    reduced: tuple[int, int] = field(init=False)  # a reduction's axes, of the space
    way: str = field(init=False)  # of a reduction: row or column, or copy (of what is read) first
    is_one: bool = field(init=False)  # whether a reduction's axes are one axis for every read
    # Of the expressions, for who looks for equal ones (repeated.py): their structure, where ``leaves`` stand for the
    # values that are read, in order, and ``fixed`` for nodes that nothing is read below, which expressions may share.
    form: tuple[Any, ...] = field(init=False)
    leaves: tuple[Value, ...] = field(init=False)
    fixed: tuple[Expr, ...] = field(init=False)
    moved: Mapping[Value, Value] | None = field(init=False, default=None)  # what ``given`` is still to be read of

    def __post_init__(self) -> None:
        self.reads, self.layouts = [], []
        nodes = topological(self.given)
        self.size = instructions(nodes)
        numbers: dict[Expr, int] = {}
        leaves: dict[Value, int] = {}
        fixed: dict[Expr, None] = {}
        form: list[Any] = []
        for number, node in enumerate(nodes):
            numbers[node] = number
            op, what = node.op, node.value
            arguments = tuple([numbers[a] for a in node.args])
            if op == "read":
                self.reads.append(what)
                self.layouts.append(what[1])
                form.append((op, arguments, leaves.setdefault(what[0], len(leaves)), what[1]))
            elif op == "gather":
                self.reads.append((what[0], _ANYWHERE))
                self.layouts.append(what[1])
                form.append((op, node.dtype, arguments, leaves.setdefault(what[0], len(leaves)), *what[1:]))
            elif op == "position":
                self.layouts.append(what)
                form.append((op, what))
            else:
                if op != "const" and all(a in fixed or a.op == "const" for a in node.args):
                    fixed[node] = None
                # Numbers by their text, which tells 0.0 from -0.0 and 1 from True.
                form.append((op, node.dtype, arguments, what if op == "call" or what is None else repr(what)))
        form.append(tuple([numbers[e] for e in self.given]))
        self.form, self.leaves, self.fixed = tuple(form), tuple(leaves), tuple(fixed)
        start, stop = self.axes
        self.space, before = squeezed(self.shape), len(squeezed(self.shape[:start]))
        self.reduced = (before, before + len(squeezed(self.shape[start:stop])))
        self.is_one = start == stop or all(
            mergeable(self.shape[start:stop], x.strides[start:stop]) for x in self.layouts
        )
        self.way = self._way()

    def _way(self) -> str:
        """How reduced axes are walked: as rows, lanes along the last of them, or as columns, lanes along another axis.
        Rows of short lines (windows) are columns of their results, and so are rows across memory that their results go
        along, and rows of FEW elements. Where there are none of these, what is read is copied."""
        start, stop = self.reduced
        if stop < len(self.space):
            return "column"
        if self.is_one:
            return "column" if self._is_few() else "row"
        steps = [squeeze(self.shape, x.strides)[1] for x in self.layouts]

        def is_near(axis: int) -> bool:
            return all(s[axis] in (0, 1) for s in steps)

        line = self.space[-1]
        if line >= 2 * SHORT and is_near(-1):
            return "row"
        if any(n >= SHORT and (line < 2 * SHORT or is_near(axis)) for axis, n in enumerate(self.space[:start])):
            return "column"
        return "row" if 2 * SHORT <= line <= ACROSS else "copy"

    def _is_few(self) -> bool:
        """Whether rows of so few elements that their 64 partial results are most of the work stand side by side."""
        start, stop = self.reduced
        count = prod(self.space[start:stop])
        return isinstance(count, int) and count <= FEW and any(typical(n) >= 2 * SHORT for n in self.space[:start])

    def over(self, values: Mapping[Value, Value]) -> Root:
        """The same of other values: of the one that is stored and all that are read."""
        made = object.__new__(Root)
        for name in _NAMES:
            setattr(made, name, getattr(self, name))
        made.value, made.moved = values[self.value], values
        made.reads = [(values[v], layout) for v, layout in self.reads]
        made.leaves = tuple([values[v] for v in self.leaves])
        return made

    def reshaped(self, shape: Shape) -> Root | None:
        """An elementwise root over another shape of as many elements, which are stored in the same order; None where
        strides cannot say what it reads there."""

        def move(layout: Layout) -> Layout:
            moved = layout.reshaped(shape)
            assert moved is not None, "asked before"
            return moved

        if self.place is not None or any(layout.reshaped(shape) is None for layout in self.layouts):
            return None
        return Root(self.value, self.kind, shape, tuple(map_layouts(self.exprs, move)))

    @property
    def exprs(self) -> tuple[Expr, ...]:
        """What is computed of an element of the space."""
        values = self.moved
        if values is not None:

            def change(node: Expr, args: tuple[Expr, ...]) -> Expr | None:
                if node.op != "read":
                    return None
                value, layout = node.value
                return leaf("read", node.dtype, (values[value], layout))

            self.given, self.moved = tuple(rebuild(self.given, change)), None
        return self.given

    @property
    def node(self) -> Node:
        """The node that makes the value."""
        assert self.value.node is not None
        return self.value.node

    @property
    def values(self) -> tuple[Value, ...]:
        """The value, and what else is computed with it."""
        return self.node.outputs if self.kind in ("attend", "host", "control") else (self.value,)

    @property
    def product(self) -> Product:
        """How a contraction's operands are multiplied."""
        rule = self.node.op.lower
        assert isinstance(rule, Contract)
        a, b = (e.value[1] for e in self.exprs)
        return rule.product(self.node.params, a, b)

    @property
    def own(self) -> Layout:
        """Where the value's elements are stored."""
        return self.place or Layout.contiguous(self.shape if self.kind == "map" else self.value.shape)

    @property
    def places(self) -> tuple[Layout, ...]:
        """Where the elements of each expression are stored, over ``shape``: one place, or those of pieces."""
        if self.kind != "pieces":
            return (self.own,)
        axis, own = self.node.params["axis"], self.own
        step = self.shape[axis] * own.strides[axis]
        return tuple([Layout(self.shape, own.offset + n * step, own.strides) for n in range(len(self.given))])

    def line(self, names: dict[Value, str]) -> str:
        """One line: the value, how it is made, what is read, the user's line."""
        read = ", ".join(dict.fromkeys(names.setdefault(v, f"v{len(names)}") for v, _ in self.reads))
        own = [f"{names.setdefault(v, f'v{len(names)}')}: {v.type}" for v in self.values]
        how = f"{self.kind} {self.node.op}" + (" axes {}:{}".format(*self.axes) if self.kind == "reduce" else "")
        where = self.node.where
        note = f"  # {os.path.basename(where[0])}:{where[1]}" if where else ""
        return f"{', '.join(own)} = {how} over {list(self.shape)} of {read or 'nothing'}{note}"

    def __repr__(self) -> str:
        names: dict[Value, str] = {}
        return "\n  ".join([self.line(names), *format_exprs(self.exprs, names)])


_NAMES = tuple([f.name for f in fields(Root)])
_Templates = dict[tuple[Graph, tuple[Layout, ...]], list[Root]]  # of calls: by their bodies and operands' layouts


def lower_roots(
    graph: Graph,
    layouts: Mapping[Value, Layout],
    places: Mapping[Value, Layout],
    shared: Iterable[Value] = (),
    known: set[Value] | None = None,
) -> list[Root]:
    """The roots in program order, copies of strided inputs first.

    Args:
        layouts: of the inputs.
        places: for each update, the layout of the input that it is written to.
        shared: elementwise values to be stored, whatever they cost.
        known: what was chosen to be stored, of a graph that has become this one by copies of inputs and results.
    """
    stored = choose_stored(graph, shared) if known is None else known.union(graph.outputs, shared)
    copies: dict[Value, Value] = {}
    known_calls: _Templates = {}
    while True:
        roots, unfusable = _roots_of(graph, Puller(set(stored), layouts, copies), known_calls)
        if not unfusable:
            break
        for value in unfusable:
            if value in stored:
                assert value not in copies, "a row-major copy can be read in any way"
                copies[value] = copy_of(value)
            else:
                stored.add(value)
    inputs = Puller(stored, layouts, {})
    roots[:0] = [Root(copied, "map", v.shape, (inputs.pull(v),)) for v, copied in copies.items()]
    for at, root in enumerate(roots):
        root.place = places.get(root.value)
        if root.kind == "ordered" and _in_pieces(root):
            roots[at] = Root(root.value, "pieces", root.node.inputs[0].shape, root.given)
    return _live(roots, graph.outputs)


def _in_pieces(root: Root) -> bool:
    """Whether it is a concat of equal pieces that one loop computes an element of each: what several of them read is
    then read once. Not an update: a piece that is there already is no work, if it is a launch of its own."""
    node = root.node
    if not isinstance(node.op.lower, Concat) or root.place is not None or root.size > MAX_PIECES:
        return False
    if len({v.shape for v in node.inputs}) > 1:
        return False
    each = [{(n.value[0], n.value[1]) for n in topological([e]) if n.op in ("read", "gather")} for e in root.given]
    together = set().union(*each)
    return len(together) <= MAX_PIECES_READ and sum(map(len, each)) > len(together)


def copy_of(value: Value) -> Value:
    """A value of its own that is ``value``."""
    return make_node(COPY, (value,), {}).output


def _roots_of(graph: Graph, puller: Puller, known: _Templates) -> tuple[list[Root], list[Value]]:
    """The roots, and what must be stored as well (a strided input: copied) before they are all right."""
    roots: list[Root] = []
    unfusable: dict[Value, None] = {}
    for node in graph.nodes:
        while node.outputs[0] in puller.stored:
            try:
                roots += _called(puller, node, known) if isinstance(node.op.lower, Called) else [_root(puller, node)]
                break
            except Unfusable as need:
                unfusable[need.value] = None
                if need.value in puller.stored:
                    break
                puller.store(need.value)
    return roots, list(unfusable)


def _live(roots: Sequence[Root], outputs: Iterable[Value]) -> list[Root]:
    """The roots that an output needs: a reduction over no elements does not read its operand."""
    live, kept = set(outputs), []
    for root in reversed(roots):
        if not live.isdisjoint(root.values):
            kept.append(root)
            live.update(v for v, _ in root.reads)
    return kept[::-1]


def _root(puller: Puller, node: Node) -> Root:
    value, rule = node.outputs[0], node.op.lower
    shape = value.shape
    if isinstance(rule, Reduction) and reduced_size(node) > 1:
        axes, operand = node.params["axes"], node.inputs[0]
        root = Root(value, "reduce", operand.shape, (puller.pull(operand),), (axes[0], axes[-1] + 1))
        if root.way == "copy":
            raise Unfusable(operand)
        return root
    if isinstance(rule, Contract):
        operands = tuple(puller.pull(v) for v in node.inputs)
        assert all(e.op == "read" for e in operands), "operands of a contraction are stored, or views of what is"
        root = Root(value, "contract", shape, operands)
        product = root.product
        of_b = 0 if product.swapped else 1
        if product.around and not _has_lines(operands[of_b].value[1]):
            raise Unfusable(node.inputs[of_b])
        return root
    if isinstance(rule, Attend):
        root = Root(value, "attend", shape, tuple(puller.pull(v) for v in node.inputs))
        for operand, expr in zip(node.inputs[: rule.matrices], root.exprs, strict=False):
            if expr.value[1].strides[-1] != 1 and expr.value[1].shape[-1] != 1:
                raise Unfusable(operand)  # rows are read by vectors
        return root
    if isinstance(rule, (Host, Branch, Loop)):
        root = Root(
            value, "host" if isinstance(rule, Host) else "control", shape, tuple(puller.pull(v) for v in node.inputs)
        )
        for operand, expr in zip(node.inputs, root.exprs, strict=True):
            if expr.op != "read" or not expr.value[1].is_contiguous:
                raise Unfusable(operand)
        return root
    if isinstance(rule, _IN_ORDER):
        root = Root(value, "ordered", shape, tuple(puller.pull(v) for v in node.inputs))
        if isinstance(rule, Shuffle) and root.exprs[1].op != "read":
            raise Unfusable(node.inputs[1])  # each swap is needed several times, one at a time
        if isinstance(rule, Argsort) and (root.exprs[0].op != "read" or root.exprs[0].args):
            raise Unfusable(node.inputs[0])  # each element is compared several times
        if isinstance(rule, Scatter):
            _require_one_axis_each(root, rule.lead)
        return root
    return Root(value, "map", shape, (puller.compute(value),))


def _has_lines(layout: Layout) -> bool:
    """Whether elements lie together along the last axis. What does not (channels come last in memory) is copied where
    windows leave it: gathered element by element, each compared with all edges, it takes half as long again."""
    return undecided(layout.shape[-1]) or layout.shape[-1] <= 1 or layout.strides[-1] == 1


def _called(puller: Puller, node: Node, known: _Templates) -> list[Root]:
    """The roots of a call."""
    operands = [puller.pull(v) for v in node.inputs]
    for value, expr in zip(node.inputs, operands, strict=True):
        if expr.op != "read" or expr.args:
            raise Unfusable(value)
    body: Graph = node.params["body"]
    key = body, tuple([expr.value[1] for expr in operands])
    if key not in known:
        try:
            known[key] = called_roots(*key)
        except Unfusable as need:
            raise Unfusable(_strided_below(need.value, node, key[1])) from None
    found = known[key]
    values = dict(zip(body.inputs, [expr.value[0] for expr in operands], strict=True))
    values.update(zip(body.outputs, node.outputs, strict=True))
    return [root.over(values) for root in found]


def _strided_below(value: Value, node: Node, layouts: Sequence[Layout]) -> Value:
    """The operand of a call that a view in its body cannot be said of: of what lies row-major it can."""
    body: Graph = node.params["body"]
    strided = {
        v: operand for v, operand, at in zip(body.inputs, node.inputs, layouts, strict=True) if not at.is_contiguous
    }
    waiting = [value]
    while waiting:
        below = waiting.pop()
        if below in strided:
            return strided[below]
        waiting += () if below.node is None else below.node.inputs
    raise CompileError(f"{node.op}: strides cannot say a view in its body of row-major operands either")


def called_roots(body: Graph, layouts: Sequence[Layout]) -> list[Root]:
    """The roots of a call's body over operands with these layouts.

    Raises:
        Unfusable: strides cannot say a view in it.
    """
    puller = Puller({*body.inputs, *body.outputs}, dict(zip(body.inputs, layouts, strict=True)), {})
    made = [node.output for node in body.nodes if node.output in puller.stored]
    return [Root(v, "map", v.shape, (puller.compute(v),)) for v in made]


def _require_one_axis_each(root: Root, lead: int) -> None:
    """A scatter walks (lead, indices, rest): each must be one axis for every operand but the first."""
    indices = root.node.inputs[1].shape
    updates, last = len(root.exprs) - 1, lead + len(root.exprs) - 2
    for at, expr in enumerate(root.exprs[1:], 1):
        groups = (root.shape[:lead], indices, root.shape[last:]) if at == updates else (indices,)
        for layout in leaf_layouts([expr]):
            start = 0
            for sizes in groups:
                if not mergeable(sizes, layout.strides[start : start + len(sizes)]):
                    raise Unfusable(root.node.inputs[at])
                start += len(sizes)

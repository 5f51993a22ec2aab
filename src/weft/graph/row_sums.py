"""Sums to which each iteration of a loop adds a row: the rows are results of the loop, and are added up after it.

That is the gradient of ``x[i]`` in a loop over i. As it is recorded, an iteration makes zeros of the size of x, with
the row in its place, and adds them to what it carries: for n rows, n times the whole. As results of the loop, rows are
written once, and added to the sum once, where their indices say, in the order of the iterations: what has several
terms has them in the order in which it had them. Everything else was added to zeros, which changes -0.0 alone, and is
done once. So no bit changes. 16-bit floats, which are scattered in float32, are left as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.shapes import size_of
from ..core.symbolic import typical
from .constants import filled, is_filled
from .ir import Found, Graph, Node, Value, checked, eliminate_dead, make_node, rewrite
from .joining import Place, added, is_sum, place_of
from .protocol import Layout, Scatter, SliceUpdate, TensorType, View
from .rearranged import joined, layout_of, part_of, permuted, reshaped, reversed_rows, views_of
from .replays import is_plain

_GROWTH = 4  # times the size of the sum that rows may have together: a carry has two places, and a third is added to it


class _Seen(NamedTuple):
    """Views of all elements of a tensor, each once: of which type it is, and the axes in the order in which they lie in
    its memory."""

    views: tuple[Node, ...]
    of: TensorType
    layout: Layout
    order: tuple[int, ...]


class _Put(NamedTuple):
    """An update of zeros."""

    update: Node
    place: Place


class _Term(NamedTuple):
    """A row that is added: by which sum, zeros with the row in its place, and what of the sum these are, from there to
    the whole."""

    sum: Node
    scatter: Node
    ways: tuple[_Seen | _Put, ...]

    @property
    def row(self) -> Value:
        return self.scatter.inputs[-1]

    @property
    def form(self) -> tuple[Any, ...]:
        """Equal for terms that may be added in one go: of what types the scatter is, and where its elements are in the
        sum."""
        places = [(w.of, w.layout) if isinstance(w, _Seen) else (w.update.inputs[1].type, w.place) for w in self.ways]
        return ([v.type for v in self.scatter.inputs], places)


@checked
def take_rows_out(graph: Graph) -> Graph:
    """The graph with rows that loops add to what they carry as results of these loops."""
    return eliminate_dead(rewrite(graph, _without_sums))


def _without_sums(node: Node) -> Found:
    if not is_plain(node):
        return None
    body: Graph = node.params["body"]
    carries = node.params["carries"]
    uses = Counter(v for each in body.nodes for v in each.inputs)
    uses.update(body.outputs)
    sums = {i: terms for i in range(carries) if (terms := _terms(body, i, uses))}
    sums = {i: terms for i, terms in sums.items() if _is_worth(terms, node.params["length"])}
    if not sums:
        return None
    given = {i: _in_order(terms, node) for i, terms in sums.items()}
    stay = [i for i in range(carries) if i not in sums]
    inputs = [*(body.inputs[i] for i in stay), *body.inputs[carries:]]
    outputs = [*(body.outputs[i] for i in stay), *body.outputs[carries:], *(v for vs in given.values() for v in vs)]
    made = {v.node: None for vs in given.values() for v in vs if v.node is not None}  # some of them before
    nodes = dict.fromkeys(body.nodes) | made
    params = {**node.params, "body": eliminate_dead(Graph(body.name, inputs, list(nodes), outputs))}
    operands = [*(node.inputs[i] for i in stay), *node.inputs[carries:]]
    loop = make_node(node.op, operands, {**params, "carries": len(stay)}, node.where, node.scope)
    kept, rows = iter(loop.outputs), iter(loop.outputs[len(stay) + len(body.outputs) - carries :])
    totals = {i: _total(node.inputs[i], sums[i][0], [next(rows) for _ in given[i]], node) for i in sums}
    return [totals[i] if i in totals else next(kept) for i in range(len(node.outputs))]


def _in_order(terms: Sequence[_Term], loop: Node) -> list[Value]:
    """Each index of all terms of an iteration, then the rows, one after another; those of a loop that goes backwards
    too, so that all of them, backwards, are in the order in which they were added."""
    step = -1 if loop.params["reverse"] else 1
    columns = zip(*(term.scatter.inputs[1:] for term in terms), strict=True)
    return [joined(column[::step], 0, loop) for column in columns]


def _terms(body: Graph, carry: int, uses: Counter[Value]) -> list[_Term]:
    """The rows that an iteration adds to a carry, in order; none if it does anything else with it."""
    start, value = body.inputs[carry], body.outputs[carry]
    found: list[_Term] = []
    while value is not start:
        term = _term(value.node) if value.node is not None and uses[value] == 1 else None
        if term is None or (found and term.form != found[0].form):
            return []
        found.insert(0, term)
        value = term.sum.inputs[0]
    return found if uses[start] == 1 else []


def _term(node: Node) -> _Term | None:
    if not is_sum(node):
        return None
    ways: list[_Seen | _Put] = []
    made = node.inputs[1].node
    while made is not None and isinstance(made.op.lower, (View, SliceUpdate)):
        way = _seen(made) if isinstance(made.op.lower, View) else _put(made)
        if way is None:
            return None
        ways.insert(0, way)
        made = (way.views[0].inputs[0] if isinstance(way, _Seen) else way.update.inputs[1]).node
    if made is None or made.op.lower != Scatter("add") or not is_filled(made.inputs[0]):
        return None
    return _Term(node, made, tuple(ways)) if all(size_of(v.shape) == 1 for v in made.inputs[1:-1]) else None


def _seen(last: Node) -> _Seen | None:
    """Views up to the last one; None where they do not show everything, or not by strides."""
    source, views = views_of(last.output)
    layout = layout_of(last.output)
    if layout is None or layout.offset != 0 or size_of(layout.shape) != size_of(source.shape):
        return None
    shape, strides = layout.shape, layout.strides
    order = tuple(sorted(range(len(shape)), key=lambda axis: (shape[axis] != 1, -typical(strides[axis]))))
    return _Seen(tuple(views), source.type, layout, order) if layout.permuted(order).is_contiguous else None


def _put(update: Node) -> _Put | None:
    place = place_of(update) if is_filled(update.inputs[0]) else None
    return None if place is None else _Put(update, place)


def _is_worth(terms: Sequence[_Term], length: int) -> bool:
    """Whether rows take little enough memory."""
    rows = sum(typical(size_of(term.row.shape)) for term in terms) * typical(length)
    return bool(rows <= _GROWTH * typical(size_of(terms[0].scatter.output.shape)))


def _total(start: Value, term: _Term, results: Sequence[Value], loop: Node) -> Value:
    """What the carry was at the end: ``results`` are indices and rows of all iterations, for terms like this one."""
    zeros = term.scatter.inputs[0].node
    assert zeros is not None
    found = [reshaped(v, (v.shape[0] * v.shape[1], *v.shape[2:]), loop) for v in results]
    if loop.params["reverse"]:
        found = [reversed_rows(v, loop) for v in found]

    def within(total: Value, ways: Sequence[_Seen | _Put]) -> Value:
        """A sum with the rows added, where only these are left of the ways to it."""
        if not ways:
            return term.scatter.over((total, *found)).output
        *others, way = ways
        if isinstance(way, _Put):
            part = within(part_of(total, *way.place, loop), others)
            return way.update.over((total, part)).output
        total = within(reshaped(permuted(total, way.order, loop), way.of.shape, loop), others)
        for view in way.views:
            total = view.over((total,)).output
        return total

    whole = filled(zeros, start.type, 0.0, zeros).output
    if not is_filled(start, ("0.0", "-0.0")):
        whole = added(start, whole, term.sum)
    return within(whole, term.ways)

"""Sums of tensors that are zeros but for a part along one axis: the parts, side by side.

That is the gradient of what was taken apart (chunks, gates, columns, the steps of a sequence). As it is recorded, each
part is a tensor of the whole size, and so is each partial sum: for n steps, n times what is there. Joined, each part
is written and read once. A tensor that was there before the first part is taken apart for them.

The numbers are added in the order in which they were: where parts lie at the same place, theirs is kept; and what met
zeros of other parts meets zeros once, at the end: -0.0 + 0.0 is 0.0, and nothing else changes by it. So no bit does.
Where a part overlaps others without being at their place, they are put side by side first, and it is added to that.
"""

from __future__ import annotations

from bisect import bisect, insort
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from ..compiler.expr import leaf
from ..core.symbolic import Dim
from .constants import filled, is_filled
from .ir import Found, Graph, Node, Value, checked, eliminate_dead, make_node, rewrite
from .protocol import Layout, Map, SliceUpdate, TensorType
from .rearranged import joined, part_of, with_size


class Place(NamedTuple):
    """Where a part lies: along which axis, from where, how much of it."""

    axis: int
    start: Dim
    size: Dim


@dataclass(slots=True)
class _Parts:
    """A sum as its parts: what stands at each place, and ``rest``, the tensor of the whole size that was there before
    them (None: zeros)."""

    rest: Value | None
    axis: int
    at: dict[Place, Value]
    ordered: list[Place] | None  # the places of some size, which do not overlap; None: nobody can say their order
    count: int  # of parts that were added; several may have one place
    zeros: Node  # of the whole size


@checked
def join(graph: Graph) -> Graph:
    """The graph with sums of two or more such parts as parts side by side."""
    if sum(_is_update_of_zeros(node) for node in graph.nodes) < 2:
        return graph
    return eliminate_dead(rewrite(graph, _Joining(graph)))


class _Joining:
    """The rule of :func:`join`: asked about every node, in program order."""

    def __init__(self, graph: Graph) -> None:
        uses = Counter(v for node in graph.nodes for v in node.inputs)
        uses.update(graph.outputs)
        sums = {node for node in graph.nodes if is_sum(node)}
        terms = {v for node in sums for v in node.inputs}
        # Whether a node is a sum; and a term of one other sum and nothing else: that one's parts are its parts too.
        self._kinds = iter([(n in sums, uses[n.outputs[0]] == 1 and n.outputs[0] in terms) for n in graph.nodes])
        self._parts: dict[Value, _Parts] = {}
        self._zeros: dict[TensorType, Value] = {}

    def __call__(self, node: Node) -> Found:
        summed, inner = next(self._kinds)
        if _is_update_of_zeros(node):
            self._note(node)
        given = [self._parts.get(v) for v in node.inputs] if summed else []
        if not any(given):
            return None
        parts = self._sum(node, *given)
        if parts is None:  # its terms, each by itself
            return node.over(tuple([self._whole(p, v, node) for p, v in zip(given, node.inputs, strict=True)]))
        if inner:
            self._parts[node.output] = parts
            return None
        return self._whole(parts, node.output, node)

    def _note(self, update: Node) -> None:
        place, zeros = place_of(update), update.inputs[0].node
        assert zeros is not None
        if place is not None:
            known = all(isinstance(n, int) for n in (*place, update.output.shape[place.axis]))
            ordered = ([place] if place.size else []) if known else None
            self._parts[update.output] = _Parts(None, place.axis, {place: update.inputs[1]}, ordered, 1, zeros)

    def _sum(self, node: Node, a: _Parts | None, b: _Parts | None) -> _Parts | None:
        """The parts of a sum, of which some term has parts; None where it is one of wholes. A sum that has taken a
        term's parts is the only one that needs them: they are added to, not copied."""
        if b is None or b.rest is not None or (a is not None and a.axis != b.axis):
            return None
        if a is None:
            a = _Parts(node.inputs[0], b.axis, {}, None if b.ordered is None else [], 0, b.zeros)
        turned = len(a.at) < len(b.at) and a.rest is None
        into, others = (b, a) if turned else (a, b)
        new = [place for place in others.at if place not in into.at]
        if into.ordered is not None and any(_overlaps(place, into.ordered) for place in new):
            return None
        at, ordered = into.at, into.ordered
        if into.count < 2:  # an update, which others may add too
            at, ordered = dict(at), None if ordered is None else list(ordered)
        if ordered is not None:
            for place in [p for p in new if p.size]:
                insort(ordered, place)
        for place, value in others.at.items():
            there = at.get(place)
            if there is None and a.rest is not None:
                there = part_of(a.rest, *place, node)
            if there is not None:
                value = added(value, there, node) if turned else added(there, value, node)
            at[place] = value
        return _Parts(a.rest, a.axis, at, ordered, a.count + b.count, a.zeros)

    def _whole(self, parts: _Parts | None, value: Value, node: Node) -> Value:
        """Parts side by side; ``value``, which is the same, where that is no less or cannot be."""
        if parts is None or parts.count < 2:
            return value
        places = _in_order(parts, value.shape[parts.axis])
        if places is None:
            return value
        pieces = []
        for place in places:
            there = parts.at.get(place)
            alone = there is not None and len(parts.at) == 1  # nothing else was added there, zeros neither
            if there is None and parts.rest is not None:
                there = part_of(parts.rest, *place, node)
            zero = self._zero(parts, place, value.type)
            pieces.append(zero if there is None else there if alone else added(there, zero, node))
        return joined(pieces, parts.axis, node)

    def _zero(self, parts: _Parts, place: Place, whole: TensorType) -> Value:
        type_ = TensorType(whole.dtype, with_size(whole.shape, place.axis, place.size))
        if type_ not in self._zeros:
            self._zeros[type_] = filled(parts.zeros, type_, 0.0, parts.zeros).output
        return self._zeros[type_]


def _overlaps(place: Place, ordered: list[Place]) -> bool:
    """Whether a place has something of one of others, which do not overlap each other."""
    at = bisect(ordered, place)
    before, after = ordered[max(at - 1, 0) : at], ordered[at : at + 1]
    return place.size > 0 and (
        any(p.start + p.size > place.start for p in before) or any(p.start < place.start + place.size for p in after)
    )


def _in_order(parts: _Parts, size: Dim) -> list[Place] | None:
    """Places from the first to the last, with what lies between them. Where sizes are not known, each must begin where
    another ends; None: they do not."""
    found: list[Place] = []
    end: Dim = 0
    if parts.ordered is not None:
        for place in parts.ordered:
            found += [Place(parts.axis, end, place.start - end), place] if place.start > end else [place]
            end = place.start + place.size
        return [*found, Place(parts.axis, end, size - end)] if end < size else found
    follows = {place.start: place for place in parts.at if place.size != 0}
    while end in follows:
        found.append(follows.pop(end))
        end = end + found[-1].size
    return found if end == size and not follows else None


def place_of(update: Node) -> Place | None:
    """Where an update lies, if it is a part along one axis, and all of the others."""
    assert isinstance(update.op.lower, SliceUpdate)
    shape, part = update.output.shape, update.inputs[1].shape
    whole = Layout.contiguous(shape)
    axes = [axis for axis, (n, m) in enumerate(zip(shape, part, strict=False)) if n != m]
    if len(axes) != 1 or len(part) != len(shape):  # which may be a diagonal, or windows
        return None
    (axis,) = axes
    there = update.op.lower.place(update.params, whole, part)
    if there.strides != whole.strides or there.shape != part:
        return None
    along = Layout(shape, 0, tuple([int(a == axis) for a in range(len(shape))]))  # whose offsets are positions
    return Place(axis, update.op.lower.place(update.params, along, part).offset, part[axis])


def added(x: Value, y: Value, node: Node) -> Value:
    """As a sum adds, of any shape."""
    return make_node(node.op, (x, y), node.params, node.where, node.scope).output


def is_sum(node: Node) -> bool:
    """Whether it adds two numbers at each point, and does nothing else; 16-bit floats in float32, rounded once."""
    rule = node.op.lower
    if not isinstance(rule, Map) or len(node.inputs) != 2 or not node.output.dtype.is_floating:
        return False
    a, b = (leaf("read", v.dtype, number) for number, v in enumerate(node.inputs))
    found = rule.expr(node.params, a, b)
    terms = found.args
    if found.op == "cast" and found.dtype is a.dtype and found.args[0].op == "add":
        (found,) = found.args
        terms = tuple([x.args[0] if x.op == "cast" else x for x in found.args])
    return found.op == "add" and terms[0] is a and terms[1] is b


def _is_update_of_zeros(node: Node) -> bool:
    return isinstance(node.op.lower, SliceUpdate) and 0 not in node.output.shape and is_filled(node.inputs[0])

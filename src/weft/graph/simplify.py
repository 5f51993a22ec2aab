"""Bit-preserving simplifications: common subexpressions, dead code, views of constants, views that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..compiler.expr import leaf
from ..core.symbolic import Dim, undecided
from .ir import Found, Graph, Node, Value, checked, eliminate_dead, inline, make_node, rewrite
from .protocol import (
    Called,
    Composed,
    Concat,
    Gather,
    Layout,
    Map,
    Outputs,
    Padded,
    Position,
    Primitive,
    SliceUpdate,
    TensorType,
    View,
)


@checked
def simplify(graph: Graph, to_run: bool = False, values: Mapping[Value, Node] | None = None) -> Graph:
    """The same outputs, bit for bit, from fewer nodes. Rules run in one sweep, in program order.

    Args:
        to_run: the graph is not differentiated any more.
        values: nodes of no inputs that stand for some values (constants that have been computed).
    """
    rules = (*RULES, stop_gradient, one_by_one, composed, taken_apart, joined) if to_run else RULES
    known: dict[object, Found] = {}  # what stands for a node with this key

    def first(node: Node) -> Found:
        key = node.key()
        if key in known:
            return known[key]
        for rule in rules:
            found: Found = rule(node)
            if found is not None:
                break
        else:
            found = node
        if isinstance(found, Node) and found is not node:
            found = known.setdefault(found.key(), found)
        known[key] = found
        return found

    given: dict[Value, Value] = {}
    for value, node in (values or {}).items():
        found = first(node)
        given[value] = found.output if isinstance(found, Node) else value
    return eliminate_dead(rewrite(graph, first, given))


# --- rules: a node -> the value that replaces it, a simpler node, or None -----------------------------------------


def identity_view(node: Node) -> Value | None:
    """A view (or a view of a view) that leaves every element where it is; not one that stops gradients."""
    if not isinstance(node.op.lower, View) or node.op.stops_gradient:
        return None
    source, steps = node.inputs[0], [node]
    while True:
        if source.shape == node.output.shape and not any(map(undecided, source.shape)):
            start = layout = Layout.contiguous(source.shape)
            for step in reversed(steps):
                moved = step.op.lower.layout(step.params, layout)  # type: ignore[union-attr]
                if moved is None:
                    return None
                layout = moved
            if layout == start:
                return source
        made = source.node
        if made is None or not isinstance(made.op.lower, View) or made.op.stops_gradient or len(steps) == 2:
            return None
        steps.append(made)
        source = made.inputs[0]


def identity_map(node: Node) -> Value | None:
    """An elementwise op that is its operand (a cast to the dtype that it has); not one that stops gradients."""
    rule = node.op.lower
    if not isinstance(rule, Map) or len(node.inputs) != 1 or node.op.stops_gradient:
        return None
    if node.inputs[0].type != node.output.type:
        return None
    operand = leaf("read", node.output.dtype, None)
    return node.inputs[0] if rule.expr(node.params, operand) is operand else None


def view_of_constant(node: Node) -> Node | None:
    """Every view of a tensor filled with one value is such a tensor."""
    source = node.inputs[0].node if isinstance(node.op.lower, View) else None
    if source is None or not is_constant(source):
        return None
    return filled(source, node, source.params["value"])


def is_constant(node: Node) -> bool:
    """Whether the node fills a tensor with one value."""
    return isinstance(node.op.lower, Position) and node.op.lower.constant


def filled(constant: Node, like: Node, value: object) -> Node:
    """A node with the type of ``like`` that holds ``value`` everywhere."""
    type_ = like.output.type
    params = {**constant.params, "shape": type_.shape, "dtype": type_.dtype, "value": value}
    return Node(constant.op, (), params, (type_,), like.where, like.scope)


def stop_gradient(node: Node) -> Value | None:
    """What matters to gradients alone."""
    return node.inputs[0] if node.op.stops_gradient else None


def one_by_one(node: Node) -> list[Value] | None:
    """Outputs that need not each other, as nodes of their own."""
    if not isinstance(node.op.lower, Outputs):
        return None
    made = []
    for i, rule in enumerate(node.op.lower.rules):
        op = Primitive(f"{node.op}.{i}", lambda params, *types, i=i: node.op.types(types, params)[i], rule)
        made.append(make_node(op, node.inputs, node.params, node.where, node.scope).output)
    return made


def composed(node: Node) -> list[Value] | None:
    """What other ops compute."""
    return [node.op.lower.made(node)] if isinstance(node.op.lower, Composed) else None


def taken_apart(node: Node) -> list[Value] | None:
    """A call that takes what elementwise ops compute: it reads that from memory, and they need none. One number (a
    learning rate that is computed) costs nothing to store."""
    return inlined(node) if isinstance(node.op.lower, Called) and any(map(_is_elementwise, node.inputs)) else None


def _joined_type(params: dict[str, object], *parts: TensorType) -> TensorType:
    axis, first = params["axis"], parts[0].shape
    assert isinstance(axis, int)
    size = sum([part.shape[axis] for part in parts])
    return TensorType(parts[0].dtype, (*first[:axis], size, *first[axis + 1 :]))


_JOINED = Primitive("joined", _joined_type, Concat())


def joined(node: Node) -> Node | None:
    """A sum of tensors, each of which is zeros but for its part along an axis: the parts, side by side.

    That is the gradient of what was taken apart (chunks, gates, columns), written and read once instead of once for
    each part. The zeros that each part was added to are still added to it: -0.0 + 0.0 is 0.0.
    """
    parts = _updates_of_zeros(node)
    if parts is None:
        return None
    whole = Layout.contiguous(node.output.shape)
    axes = [a for a, (n, m) in enumerate(zip(whole.shape, parts[0].inputs[1].shape, strict=True)) if n != m]
    if len(axes) != 1:
        return None
    (axis,) = axes
    places = []
    for part in parts:
        shape = part.inputs[1].shape
        assert isinstance(part.op.lower, SliceUpdate)
        place = part.op.lower.place(part.params, whole, shape)
        if place.strides != whole.strides or (*shape[:axis], whole.shape[axis], *shape[axis + 1 :]) != whole.shape:
            return None
        places.append(place.offset)
    end: Dim = 0
    ordered: list[Node] = []
    while len(ordered) < len(parts):
        following = [n for n, offset in enumerate(places) if offset == end * whole.strides[axis]]
        if len(following) != 1:
            return None
        ordered.append(parts[following[0]])
        end = end + ordered[-1].inputs[1].shape[axis]
    if end != whole.shape[axis]:
        return None
    added = []
    for part in ordered:
        base, update = part.inputs
        assert base.node is not None
        type_ = update.type
        params = {**base.node.params, "shape": type_.shape, "dtype": type_.dtype}
        zero = Node(base.node.op, (), params, (type_,), part.where, part.scope)
        added.append(make_node(node.op, (update, zero.output), node.params, node.where, node.scope).output)
    return make_node(_JOINED, added, {"axis": axis}, node.where, node.scope)


def _updates_of_zeros(node: Node) -> list[Node] | None:
    """The updates that a node is the sum of, if they all are of zeros, of more than none."""
    if len(node.inputs) != 2 or not _is_update_of_zeros(node.inputs[1].node) or not _is_sum(node):
        return None
    parts: list[Node] = []
    waiting = [node]
    while waiting:
        for value in waiting.pop().inputs:
            made = value.node
            if _is_update_of_zeros(made):
                parts.append(made)  # type: ignore[arg-type]
            elif made is not None and len(parts) < _MOST_PARTS and _is_sum(made):
                waiting.append(made)
            else:
                return None
    return parts


_MOST_PARTS = 64  # which are looked at for every sum of them


def _is_update_of_zeros(node: Node | None) -> bool:
    if node is None or not isinstance(node.op.lower, SliceUpdate) or 0 in node.output.shape:
        return False
    base = node.inputs[0].node
    return base is not None and is_constant(base) and str(base.params["value"]) == "0.0"


def _is_sum(node: Node) -> bool:
    """Whether it adds two numbers at each point, and does nothing else."""
    rule = node.op.lower
    if not isinstance(rule, Map) or len(node.inputs) != 2:
        return False
    a, b = (leaf("read", v.dtype, number) for number, v in enumerate(node.inputs))
    found = rule.expr(node.params, a, b)
    return found.op == "add" and found.dtype.is_floating and found.args[0] is a and found.args[1] is b


def _is_elementwise(value: Value) -> bool:
    while value.node is not None and isinstance(value.node.op.lower, View):
        value = value.node.inputs[0]
    rule = None if value.node is None else value.node.op.lower
    return isinstance(rule, Position) or (value.shape != () and isinstance(rule, (Map, Padded, Gather)))


def inlined(node: Node) -> list[Value]:
    """What a call gives, by nodes of its body."""
    return inline(node.params["body"], node.inputs, [], node.scope, node.where)


RULES: tuple[Callable[[Node], Value | Node | None], ...] = (identity_view, identity_map, view_of_constant)

"""Bit-preserving simplifications: common subexpressions, dead code, views of constants, views that do nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..compiler.expr import leaf
from ..core.symbolic import undecided
from .constants import filled, is_constant
from .ir import Found, Graph, Node, Value, checked, eliminate_dead, inline, make_node, rewrite
from .joining import join
from .protocol import Called, Composed, Gather, Layout, Map, Outputs, Padded, Position, Primitive, View
from .rearranged import views_of


@checked
def simplify(graph: Graph, to_run: bool = False, values: Mapping[Value, Node] | None = None) -> Graph:
    """The same outputs, bit for bit, from fewer nodes. Rules run in one sweep, in program order.

    Args:
        to_run: the graph is not differentiated any more.
        values: nodes of no inputs that stand for some values (constants that have been computed).
    """
    rules = (*RULES, stop_gradient, one_by_one, composed, taken_apart) if to_run else RULES
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
    simple = eliminate_dead(rewrite(graph, first, given))
    return join(simple) if to_run else simple


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
    return filled(source, node.output.type, source.params["value"], node)


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


def _is_elementwise(value: Value) -> bool:
    value, _ = views_of(value)
    rule = None if value.node is None else value.node.op.lower
    return isinstance(rule, Position) or (value.shape != () and isinstance(rule, (Map, Padded, Gather)))


def inlined(node: Node) -> list[Value]:
    """What a call gives, by nodes of its body."""
    return inline(node.params["body"], node.inputs, [], node.scope, node.where)


RULES: tuple[Callable[[Node], Value | Node | None], ...] = (identity_view, identity_map, view_of_constant)

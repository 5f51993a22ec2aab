"""What a loop computes again of an earlier one is kept there instead, where that is dearer than to write and read it.

The way back through a loop of a user's code finds the carries before each iteration, and computes from them again what
the iteration computed (transforms/loop_tape.py), its products too. Here both loops stand in one graph: a value of the
later body is one of the earlier body if it is computed by equal nodes of what is equal: parts of the same sequences,
parts of results that the earlier loop has made, operands that are the same in all iterations. Iterations meet by the
number of their part, whichever way each loop goes.

A product is not kept itself where elementwise ops alone follow, whose result is no larger: of ``tanh(x @ w + h @ u)``
the tanh is kept, once. The numbers are the same, so no bit changes; memory grows by a row for each iteration, so a plan
with a limit of memory is made without this pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..core.shapes import size_of
from ..core.symbolic import typical
from .ir import Graph, Node, Value, checked, eliminate_dead, make_node, rewrite
from .protocol import Contract, Layout, Loop, Map

LEAST = 32  # terms of a sum: 64 operations, at 100 a nanosecond, take as long as 8 bytes, at 10 a nanosecond


class _Kept(NamedTuple):
    """A value of an earlier loop's body: which loop, and which output all iterations' values of it are."""

    loop: Node
    output: int


@checked
def keep(graph: Graph) -> Graph:
    """The graph with loops that hand on to later ones what these would compute again."""
    given: dict[Node, dict[Value, int]] = {}  # values of a loop's body that become results, and as which outputs
    taken: dict[Node, dict[Value, _Kept]] = {}
    for node in graph.nodes:
        if not is_plain(node):
            continue
        p = node.params
        sequences = node.inputs[p["carries"] : p["carries"] + p["sequences"]]
        for earlier in dict.fromkeys([v.node for v in sequences if v.node is not None]):
            if not is_plain(earlier) or earlier.params["length"] != p["length"]:
                continue
            for value, same in _dear_again(node, earlier).items():
                output = _output_of(earlier, same, given.setdefault(earlier, {}))
                taken.setdefault(node, {}).setdefault(value, _Kept(earlier, output))
    if not taken:
        return graph
    values: dict[Value, Value] = {}
    made: dict[Node, Node] = {}
    for node in graph.nodes:
        moved = node.over(tuple([values.get(v, v) for v in node.inputs]))
        if node in given or node in taken:
            rows = {v: made[kept.loop].outputs[kept.output] for v, kept in taken.get(node, {}).items()}
            moved = _extended(moved, given.get(node, {}), rows)
        made[node] = moved
        values.update(zip(node.outputs, moved.outputs, strict=False))
    return Graph(graph.name, list(graph.inputs), list(made.values()), [values.get(v, v) for v in graph.outputs])


def is_plain(node: Node) -> bool:
    """Whether it is a loop of a known number of iterations, each of which has a part of the results."""
    p = node.params
    open_ended = ("has_go", "has_count", "gives_count", "bounded")
    return isinstance(node.op.lower, Loop) and p["length"] is not None and not any(p[name] for name in open_ended)


def _output_of(loop: Node, value: Value, given: dict[Value, int]) -> int:
    """Which output of a loop a value of its body is, or becomes."""
    results = loop.params["body"].outputs
    for number in range(loop.params["carries"], len(results)):
        if results[number] is value:
            return number
    return given.setdefault(value, len(loop.outputs) + len(given))


def _dear_again(node: Node, earlier: Node) -> dict[Value, Value]:
    """Values of a loop's body that are dear, with the values of the earlier loop's body that they are."""
    body: Graph = node.params["body"]
    same = _same(node, earlier)
    users: dict[Value, list[Node]] = {}
    varying = set(body.inputs[: node.params["carries"] + node.params["sequences"]])
    for each in body.nodes:
        for value in dict.fromkeys(each.inputs):
            users.setdefault(value, []).append(each)
        if not varying.isdisjoint(each.inputs):
            varying.update(each.outputs)
    found: dict[Value, Value] = {}
    for each in body.nodes:
        # What no iteration changes is computed once, before the loop (loops.hoist), not kept once for each.
        if each.outputs[0] in same and each.outputs[0] in varying and _is_dear(each):
            value = each.output
            while (after := _only_user(value, users, body)) is not None and after in same:
                value = after
            found[value] = same[value]
    return found


def _same(node: Node, earlier: Node) -> dict[Value, Value]:
    """Values of a loop's body that are values of an earlier loop's body, in the iteration over the same parts."""
    p, body, their_body = node.params, node.params["body"], earlier.params["body"]
    carries, first_closed = earlier.params["carries"], earlier.params["carries"] + earlier.params["sequences"]
    parts = dict(zip(earlier.inputs[carries:first_closed], their_body.inputs[carries:first_closed], strict=True))
    parts |= dict(zip(earlier.outputs[carries:], their_body.outputs[carries:], strict=True))
    closed = dict(zip(earlier.inputs[first_closed:], their_body.inputs[first_closed:], strict=True))
    same: dict[Value, Value] = {}
    for number in range(p["carries"], len(body.inputs)):
        theirs = (parts if number < p["carries"] + p["sequences"] else closed).get(node.inputs[number])
        if theirs is not None:
            same[body.inputs[number]] = theirs
    known = {each.key(): each for each in their_body.nodes}
    for each in body.nodes:
        if all(v in same for v in each.inputs):
            match = known.get(each.over(tuple([same[v] for v in each.inputs])).key())
            if match is not None:
                same.update(zip(each.outputs, match.outputs, strict=True))
    return same


def _is_dear(node: Node) -> bool:
    how = node.op.lower
    if not isinstance(how, Contract):
        return False
    product = how.product(node.params, *(Layout.contiguous(v.shape) for v in node.inputs))
    return bool(typical(product.sizes[2]) >= LEAST)


def _only_user(value: Value, users: Mapping[Value, list[Node]], body: Graph) -> Value | None:
    """What is computed elementwise of a value that nobody else uses, if that takes no more memory."""
    if value in body.outputs or len(users.get(value, ())) != 1:
        return None
    (user,) = users[value]
    if not isinstance(user.op.lower, Map) or len(user.outputs) != 1:
        return None
    after = user.output
    smaller = (
        typical(size_of(after.shape)) * after.dtype.itemsize <= typical(size_of(value.shape)) * value.dtype.itemsize
    )
    return after if smaller else None


def _extended(loop: Node, results: Iterable[Value], rows: Mapping[Value, Value]) -> Node:
    """A loop with further results, and with the rows of values that its body then takes instead of computing them."""
    p, body = loop.params, loop.params["body"]
    at = p["carries"] + p["sequences"]
    parts = {v: Value(v.type) for v in rows}
    inputs = [*body.inputs[:at], *parts.values(), *body.inputs[at:]]
    inner = rewrite(Graph(body.name, inputs, body.nodes, [*body.outputs, *results]), values=parts)
    params = {**p, "body": eliminate_dead(inner), "sequences": p["sequences"] + len(parts)}
    operands = (*loop.inputs[:at], *rows.values(), *loop.inputs[at:])
    return make_node(loop.op, operands, params, loop.where, loop.scope)

"""Which values are stored.

:func:`choose_stored`: the values that get memory. Reductions, contractions and the like always do; an elementwise value
does when something needs it in memory (an output, an operand of a contraction, a source of a gather), when it is used
more than once and is dear or read of several others, or when the expression that it is part of has become long enough.
Everything else is *pulled* (:mod:`weft.graph.lower.expressions`): computed again inside its users' expressions.

This changes no bit: an element is computed by the same operations in the same order, wherever it is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from ...core.shapes import Shape
from ...core.symbolic import typical, undecided
from ..ir import Graph, Node, Value
from ..protocol import Argsort, Attend, Branch, Called, Contract, Gather, Host, Loop, Map, Padded, Position, View
from ..rearranged import views_of

DEAR = 8  # cost above which a value with several users is stored rather than recomputed
# Values as large as itself that one with several users is computed from, from which on it is stored, if nobody else
# reads one of them: who reads it reads one instead, and where that one lay it is written. (The sum of a residual's two
# gradients, under the mask of a rectifier, was read so by four kernels of a batch norm's way back: of 6.8 GB that a
# step of ResNet-18 moved, 0.4.)
MANY = 3
REPEATED = 3  # cost above which a value that is padded, and so probably read through windows, is stored
# Cost above which an expression is cut. 480 products and sums over 4 MB, kernels not joined again: 24 ms cut at 64,
# 35 at 128, 46 at 256, 67 at 512 (constants no longer fit into registers). Random bits cost 120, and a dropout of
# them stays in one piece.
LONG = 192
_FUSABLE = (Map, Padded, Position, View, Gather)


def choose_stored(graph: Graph, shared: Iterable[Value] = ()) -> set[Value]:
    """The values that get memory. ``shared`` are in any case among them."""
    stored = set(graph.inputs).union(graph.outputs, shared)
    stored.update(v for node in graph.nodes if not isinstance(node.op.lower, _FUSABLE) for v in node.outputs)
    users = _users(graph, stored)
    cost: dict[Value, int] = {}  # of a pulled value's expression, what is shared in it counted as often as it is used
    length: dict[Value, int] = {}  # the same, with every view and leaf as one
    wide: dict[Value, tuple[Value, ...]] = {}  # stored values that it reads for each element, MANY of them or all
    ending: set[Value] = set()  # what nobody else reads one of these for
    for node in graph.nodes:
        rule, value = (
            node.op.lower,
            node.outputs[0],
        )  # host calls, control flow and calls have several, all of them stored
        operands = node.inputs if len(node.inputs) < 2 else tuple(dict.fromkeys(node.inputs))
        fusable = isinstance(rule, _FUSABLE)
        if not isinstance(rule, (Map, View)):
            stored.update([v for v in _from_memory(node) if _computed(v, stored)])
            if isinstance(rule, Attend):  # masks are computed for each pair: stored, they would be as large as scores
                stored.update([v for x in operands if cost.get(v := views_of(x)[0], 0) > LONG])
            if isinstance(rule, Padded):  # windows read an element several times
                stored.update([v for v in operands if cost.get(v, 0) > REPEATED and _computed(v, stored)])
        pulled = [v for v in operands if v not in stored]
        total = len(operands) - len(pulled) + sum([length[v] for v in pulled])
        if total > LONG and fusable:  # others read each operand in a loop of its own
            for operand in sorted(pulled, key=length.__getitem__, reverse=True):
                if total <= LONG:
                    break
                stored.add(operand)
                total -= length[operand] - 1
            pulled = [v for v in pulled if v not in stored]
        own = rule.cost if isinstance(rule, Map) else 4 if isinstance(rule, (Gather, Padded)) else 0
        cost[value] = own + sum([cost[v] for v in pulled])
        length[value] = max(own, 1) + total
        if isinstance(rule, (Map, View)):
            wide[value] = _wide(node, stored, wide)
            alone = [v for v in operands if users.get(v, 0) == 1]
            if any(v in ending or (v in wide[value] and v.node is not None) for v in alone):
                ending.add(value)
        dear = cost[value] > DEAR or (value in ending and len(wide[value]) >= MANY)
        if dear and users.get(value, 0) > 1 and fusable and not isinstance(rule, View):
            stored.add(value)
    return stored


def _users(graph: Graph, stored: set[Value]) -> dict[Value, int]:
    """How many nodes use a value: who looks at it through a view does. Who attends computes its masks for each pair,
    whoever else does."""
    users: dict[Value, int] = {}
    for node in reversed(graph.nodes):
        value, rule = node.outputs[0], node.op.lower
        times = users.get(value, 0) if isinstance(rule, View) and value not in stored else 1
        for value in dict.fromkeys(node.inputs[: rule.matrices] if isinstance(rule, Attend) else node.inputs):
            users[value] = users.get(value, 0) + times
    return users


def _wide(node: Node, stored: set[Value], wide: Mapping[Value, tuple[Value, ...]]) -> tuple[Value, ...]:
    """The stored values that an elementwise value, or a view, is read of: those as large as it, MANY at most."""
    found: dict[Value, None] = {}
    for v in node.inputs:
        found.update(dict.fromkeys((v,) if v in stored else wide.get(v, ())))
    shape = node.outputs[0].shape
    if isinstance(node.op.lower, Map):
        return tuple([v for v in found if _as_large(v.shape, shape)][:MANY])
    return tuple(found)[:MANY]


def _as_large(a: Shape, b: Shape) -> bool:
    """Whether two shapes have equally many elements, typically; of symbols without a scope, whatever these are."""
    more = prod(a) - prod(b)
    return not more if isinstance(more, int) else not undecided(more) and typical(more) == 0


def _from_memory(node: Node) -> tuple[Value, ...]:
    """The operands that a node reads several times, or anywhere."""
    rule = node.op.lower
    if isinstance(rule, (Contract, Argsort, Host, Branch, Loop, Called)):
        return node.inputs
    if isinstance(rule, Attend):
        return node.inputs[: rule.matrices]
    return node.inputs[:1] if isinstance(rule, Gather) else ()


def _computed(value: Value, stored: set[Value]) -> bool:
    """Whether a value is not simply a stored one, or a view of one."""
    while value not in stored:
        if value.node is None or not isinstance(value.node.op.lower, View):
            return True
        value = value.node.inputs[0]
    return False

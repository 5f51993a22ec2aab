"""Rematerialisation: what is kept for later and is cheap to compute is computed again, later, instead.

A training step holds most memory where the forward pass ends: what the backward pass needs of it is alive there. At
such a *peak*, a place between two nodes, values from before it are read after it. :func:`_kept` says which of them, or
of what they are computed from, are kept, so that fewest bytes are; all else that is read later is computed again from
these, by copies of its nodes that stand right before their first reader. A gradient keeps the operand of a GELU, not
its operand, its tanh and its result; of ReLU a byte for each element; of softmax (of short products) the operands of
the product, and two numbers for each row. What is the first to read a copy, and nobody waits for, waits for the next
that does, where that keeps less.

Which values are kept is a least cut: from all that cannot be computed again to all that is read later. An edge costs
the bytes of keeping a value (and some for writing one that was not to be stored, as the deviations from a mean
beside their operand), or what computing it again is held to cost, in bytes too (:func:`price`).

Where that is not enough for a limit of the user's, there are further :data:`WAYS`: what comes before the peak
is cut into parts, values that lead from one to the next are kept, and a part is computed again as a whole before the
backward pass needs it.

This changes no bit: a copy of a node computes what the node computes. Copies are values of their own, and no later pass
takes equal nodes for one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from ..core.symbolic import typical
from .flow import SINK, SOURCE, Network
from .ir import Graph, Node, Value, checked, eliminate_dead
from .lower.storing import choose_stored
from .protocol import Contract, Layout, Map, Padded, Position, Reduction, View

LEAST = 8 << 20  # bytes that are worth a look: a smaller arena fits into a cache
PEAKS = 8  # that are looked at, one after the other
GAIN = 1 / 8  # the part of a peak that it must become lower by
MISSED = 3  # tries in a row that may fail to
NEVER = 1 << 60

# Bytes that an instruction for each element of a result is held to be worth, and a term of a product's sum: no less. To
# write an element of 4 bytes and read it again costs about as much as 20 to 80 vector instructions. (With terms at 0.02
# a GPT of width 128 computed its products again: a step in 52.2 ms instead of 46.4, in 10 MB instead of 19.)
INSTRUCTION, TERM = 0.05, 0.05
# Of a value's bytes, what keeping one costs more that nobody would have stored: more than an instruction.
WRITTEN = 1 / 64


@dataclass(slots=True)
class Remade:
    """A graph with copies of nodes. ``kept``: what is kept over a peak, to be stored. ``copies``: each has the number
    of its peak. ``stored``: what :func:`choose_stored` says of the graph, if it was asked."""

    graph: Graph
    kept: dict[Value, None] = field(default_factory=dict)
    copies: dict[Value, int] = field(default_factory=dict)
    stored: set[Value] | None = None

    def late(self) -> dict[Value, int]:
        """The copies and what reads them: no kernel from before their peak may compute them. Each has the number of
        the last such peak, by the order in which their copies come."""
        found: dict[Value, int] = {}
        order: dict[int, int] = {}
        for node in self.graph.nodes if self.copies else ():
            for v in node.outputs:
                numbers = [found[x] for x in node.inputs if x in found]
                if v in self.copies:
                    numbers.append(order.setdefault(self.copies[v], len(order)))
                if numbers:
                    found[v] = max(numbers)
        return found


class Way(NamedTuple):
    """How much is computed again. ``least``: bytes that are worth a look, by default :data:`LEAST`. ``parts``: what
    comes before the first peak is cut into so many parts, of which the values that lead from one to the next are kept
    and all else is computed again, layers too, if that needs fewer bytes; 1: as :func:`price` says."""

    least: int | None = None
    parts: int = 1

    @property
    def worth(self) -> float:
        """What an instruction is worth, to what it is otherwise."""
        return 1.0 if self.parts == 1 else 0.02


USUAL = Way()
WAYS = (USUAL, Way(0), *(Way(0, parts) for parts in (64, 32, 16, 12, 8, 6, 4, 2)))
"""The ways in the order of what they cost: fewer parts are longer ones, all of which is computed before it is read."""


@dataclass(slots=True)
class Alive:
    """Bytes of intermediate values, if nodes run in their order: ``during[i]`` while node i runs, ``over[i]`` of them
    are read after it. ``last``: the node that reads a value last, be it by way of values that are not stored."""

    during: list[int]
    over: list[int]
    last: dict[Value, int]

    @property
    def peak(self) -> int:
        """Most bytes."""
        return max(self.during, default=0)

    @property
    def at(self) -> int:
        """The node with most."""
        return self.during.index(self.peak)


def rematerialise(graph: Graph, way: Way = USUAL) -> Remade:
    """The same values, some of them computed again where that lowers the peak."""
    made = Remade(graph)
    least = LEAST if way.least is None else way.least
    if sum([bytes_of(v) for node in graph.nodes if not isinstance(node.op.lower, View) for v in node.outputs]) < least:
        return made
    alive, number, missed = alive_in(made), 0, 0
    at = alive.at if alive.during else 0
    while number < PEAKS and missed < MISSED and alive.peak >= least:
        kept, again = _kept(made, at, way, _between(made, at, way.parts))
        outside = set(made.graph.outputs)
        if not again or alive.over[at] - sum([bytes_of(v) for v in kept if v not in outside]) < alive.peak * GAIN:
            break
        stored, tried = made.stored or set(), _with_copies(made, at, number, kept, again)
        lower = alive_in(tried)
        if lower.peak <= alive.peak * (1 - GAIN):
            made, alive, way, at = tried, lower, Way(least), lower.at
            number, missed = number + 1, 0
        else:  # what is computed again for a reader that comes at once wins nothing: look behind it
            later = [n for v in again & stored if (n := alive.last[v]) > at]
            if not later:
                break
            at, missed = min(later), missed + 1
    return made


def bytes_of(value: Value) -> int:
    """The bytes of a value, typically."""
    count = value.dtype.itemsize
    for n in value.shape:
        count *= typical(n)
    return count


def price(node: Node, way: Way = USUAL) -> int:
    """What computing a node again is held to cost, in bytes. Not again: what may fail, goes in order, or is Python."""
    cost = _price(node, way.parts == 1)
    return cost if cost == NEVER else int(way.worth * cost)


def _price(node: Node, usual: bool) -> int:
    rule = node.op.lower
    if len(node.outputs) > 1:
        return NEVER
    if isinstance(rule, (View, Position)):
        return 0
    elements = bytes_of(node.output) // node.output.dtype.itemsize
    if isinstance(rule, Map):
        return int(INSTRUCTION * rule.cost * elements)
    if isinstance(rule, Padded):
        return int(INSTRUCTION * 4 * elements)
    if isinstance(rule, Reduction):
        return bytes_of(node.inputs[0]) // 4
    if isinstance(rule, Contract):
        if usual and sum([bytes_of(v) for v in node.inputs]) >= bytes_of(node.output):
            return NEVER  # a layer of a narrow network: all layers would be computed again at once
        a, b = (Layout.contiguous(v.shape) for v in node.inputs)
        return int(TERM * typical(rule.product(node.params, a, b).sizes[2]) * elements)
    return NEVER


def alive_in(made: Remade) -> Alive:
    """What is alive at each node; notes what is stored."""
    graph = made.graph
    stored = made.stored = choose_stored(graph, made.kept)
    last: dict[Value, int] = {}
    for at in range(len(graph.nodes) - 1, -1, -1):
        node = graph.nodes[at]
        read = max([at if v in stored else last.get(v, at) for v in node.outputs])
        for v in node.inputs:
            if last.get(v, -1) < read:
                last[v] = read
    ending = [0] * (len(graph.nodes) + 1)
    now, found = 0, Alive([], [], last)
    outside = set(graph.outputs)
    for at, node in enumerate(graph.nodes):
        for v in node.outputs:
            if v in stored and v not in outside and v in last:
                now += (nbytes := bytes_of(v))
                ending[last[v]] += nbytes
        found.during.append(now)
        now -= ending[at]
        found.over.append(now)
    return found


def _between(made: Remade, at: int, parts: int) -> set[Value]:
    """What leads from one of the parts of what comes before node ``at`` to the next: they end near equal numbers of
    nodes, where fewest bytes are alive."""
    nodes, stored = made.graph.nodes[: at + 1], made.stored
    if parts == 1 or stored is None:
        return set()
    born = {v: i for i, node in enumerate(nodes) for v in node.outputs if v in stored}
    last: dict[Value, int] = {}
    for i in range(at, -1, -1):
        read = max([i if v in stored else last.get(v, -1) for v in nodes[i].outputs])
        for v in nodes[i].inputs:
            last[v] = max(last.get(v, -1), read)
    change = [0] * (at + 2)
    for v, i in born.items():
        if last.get(v, -1) > i:
            change[i] += bytes_of(v)
            change[last[v]] -= bytes_of(v)
    alive = list(accumulate(change))
    size = (at + 1) / parts
    ends = []
    for part in range(1, parts):
        near = range(max(int((part - 0.5) * size), 0), min(int((part + 0.5) * size), at))
        if near:
            ends.append(min(near, key=lambda i: (alive[i], i)))
    return {v for v, i in born.items() for end in ends if i <= end < last.get(v, -1)}


def _kept(made: Remade, at: int, way: Way = USUAL, between: Collection[Value] = ()) -> tuple[list[Value], set[Value]]:
    """What is kept over the place after node ``at``, and what is computed again after it, which ``between`` is not."""
    graph, stored = made.graph, made.stored or ()
    early = {v: node for node in graph.nodes[: at + 1] if node.inputs for v in node.outputs}
    wanted = dict.fromkeys([v for node in graph.nodes[at + 1 :] for v in node.inputs if v in early])
    outside = set(graph.outputs)
    network = Network()
    into: dict[Value, int] = {}  # a value's two vertices are this one and the next
    waiting = list(wanted)
    while waiting:
        value = waiting.pop()
        if value not in into:
            into[value] = network.vertex()
            network.vertex()
            if value not in between and price(early[value], way) < NEVER:
                waiting += [v for v in early[value].inputs if v in early]
    for value, vertex in into.items():
        node = early[value]
        again = NEVER if value in between else price(node, way)
        network.edge(SOURCE, vertex, again)
        held = bytes_of(value) if value in stored else int((1 + WRITTEN) * bytes_of(value))
        network.edge(vertex, vertex + 1, 0 if value in outside else held)
        if again < NEVER:
            for operand in dict.fromkeys(node.inputs):
                if operand in into:
                    network.edge(into[operand] + 1, vertex, NEVER)
        if value in wanted:
            network.edge(vertex + 1, SINK, NEVER)
    side = network.sink_side()
    kept = [v for v, vertex in into.items() if vertex not in side and vertex + 1 in side]
    return kept, {v for v, vertex in into.items() if vertex in side}


def _with_copies(made: Remade, at: int, number: int, kept: list[Value], again: set[Value]) -> Remade:
    """The graph where what is read after node ``at`` of ``again`` is read of copies."""
    graph = made.graph
    copies: dict[Value, Value] = {}
    moved: dict[Value, Value] = {}  # what stands for what is computed after the peak
    nodes = graph.nodes[: at + 1]
    for node in _put_off(made, at, again):
        for v in node.inputs:
            if v in again and v not in copies:
                _copy(v, again, copies, nodes)
        known = node.over(tuple([copies[v] if v in again else moved.get(v, v) for v in node.inputs]))
        nodes.append(known)
        if known is not node:
            moved.update(zip(node.outputs, known.outputs, strict=True))
    marks = {moved.get(v, v): n for v, n in made.copies.items()} | dict.fromkeys(copies.values(), number)
    stored = dict.fromkeys([*(moved.get(v, v) for v in made.kept), *kept])
    outputs = [moved.get(v, v) for v in graph.outputs]
    return Remade(with_nodes(graph, nodes, outputs), stored, marks)


_PURE = (Contract, Map, View, Padded, Position, Reduction)


def _put_off(made: Remade, at: int, again: Collection[Value]) -> list[Node]:
    """The nodes after ``at``, of which one that is the first to read what is computed again waits for the next that
    does, where it keeps fewer bytes by that, and nobody waits for it (the gradient of a weight of one branch, beside
    that of the other). One that may fail, or runs Python code, keeps its place."""
    nodes, stored = made.graph.nodes[at + 1 :], (made.stored or set()).difference(made.graph.inputs, made.graph.outputs)
    readers: dict[Value, list[int]] = {}
    for n, node in enumerate(nodes):
        for v in dict.fromkeys(node.inputs):
            readers.setdefault(v, []).append(n)
    place = list(range(len(nodes)))
    for v, (first, *others) in readers.items():
        node = nodes[first]
        if not others or v not in again or v not in stored or place[first] != first:
            continue
        if not isinstance(node.op.lower, _PURE):
            continue
        waits = min([readers[x][0] for x in node.outputs if x in readers], default=len(nodes)) > others[0]
        held = sum([bytes_of(x) for x in dict.fromkeys(node.inputs) if x in stored and readers[x][-1] == first])
        if waits and held < bytes_of(v):
            place[first] = others[0]
    return [nodes[n] for n in sorted(range(len(nodes)), key=lambda n: (place[n], n))]


def _copy(value: Value, again: set[Value], copies: dict[Value, Value], nodes: list[Node]) -> None:
    """Append copies of the nodes that compute a value to ``nodes``."""
    waiting = [value]
    while waiting:
        node = waiting[-1].node
        assert node is not None
        missing = [v for v in node.inputs if v in again and v not in copies]
        if missing:
            waiting += missing
            continue
        if waiting.pop() not in copies:
            inputs = tuple([copies.get(v, v) for v in node.inputs])
            copied = Node(node.op, inputs, node.params, node.types, node.where, node.scope)
            copies[node.output] = copied.output
            nodes.append(copied)


@checked
def with_nodes(graph: Graph, nodes: list[Node], outputs: list[Value]) -> Graph:
    """The graph with other nodes and outputs, and without what nobody reads any more."""
    return eliminate_dead(graph.copy(nodes, outputs))

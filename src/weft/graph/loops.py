"""Passes over branches and loops: what nobody uses is not computed, what no iteration changes is computed once, and
what a loop would compute again of an earlier one is kept (replays.py).

They run when a graph is planned, its bodies included, after everything that wants to differentiate has been there.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.shapes import size_of
from ..core.symbolic import typical
from .ir import Found, Graph, Node, Value, checked, eliminate_dead, make_node, rewrite
from .protocol import COPY, Branch, Contract, Layout, Loop, Map, Position, Reduction, View
from .rearranged import layout_of, views_of
from .replays import keep
from .row_sums import take_rows_out
from .simplify import simplify

LONG = 1 << 20  # iterations that a loop without a length is taken to have
_MANY = 8  # iterations that are worth copying a matrix before them


def settle_loops(graph: Graph, is_limited: bool = False) -> Graph:
    """The passes, where there are any branches or loops. ``is_limited``: memory is dearer than time, nothing is kept
    that can be computed again."""
    if not any(isinstance(node.op.lower, (Branch, Loop)) for node in graph.nodes):
        return graph
    if is_limited:
        return hoist(prune(graph))
    pruned = prune(take_rows_out(graph))
    kept = keep(pruned)
    return hoist(kept if kept is pruned else prune(kept))


@checked
def prune(graph: Graph) -> Graph:
    """Without results, carries and operands of branches and loops that no output needs."""
    live: set[Value] = set(graph.outputs)
    smaller: dict[Node, tuple[Node, list[int | None]]] = {}
    for node in reversed(graph.nodes):
        if live.isdisjoint(node.outputs):
            continue
        used = [v in live for v in node.outputs]
        if isinstance(node.op.lower, Branch):
            smaller[node] = _smaller_branch(node, used)
        elif isinstance(node.op.lower, Loop):
            smaller[node] = _smaller_loop(node, used)
        live.update(smaller[node][0].inputs if node in smaller else node.inputs)
    made = {id(node.outputs[0]): found for node, found in smaller.items()}
    values: dict[Value, Value] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        if live.isdisjoint(node.outputs):
            continue
        if id(node.outputs[0]) not in made:
            moved = node.over(tuple([values.get(v, v) for v in node.inputs]))
            nodes.append(moved)
            values.update(zip(node.outputs, moved.outputs, strict=True))
            continue
        found, places = made[id(node.outputs[0])]
        moved = found.over(tuple([values.get(v, v) for v in found.inputs]))
        nodes.append(moved)
        values.update({v: moved.outputs[at] for v, at in zip(node.outputs, places, strict=True) if at is not None})
    return Graph(graph.name, list(graph.inputs), nodes, [values.get(v, v) for v in graph.outputs])


def _needs(graph: Graph, outputs: Sequence[Value]) -> set[Value]:
    live = set(outputs)
    for node in reversed(graph.nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
    return live


def _smaller_branch(node: Node, used: Sequence[bool]) -> tuple[Node, list[int | None]]:
    """The branch with the outputs that are used alone, and where these are among its outputs."""
    sides = {}
    for name in ("true", "false"):
        graph = node.params[name]
        sides[name] = graph.copy(outputs=[v for v, on in zip(graph.outputs, used, strict=True) if on])
    needed = [_needs(graph, graph.outputs) for graph in sides.values()]
    count = len(node.inputs) - 1
    kept = [i for i in range(count) if any(g.inputs[i] in n for g, n in zip(sides.values(), needed, strict=True))]
    places = _places(used)
    if len(kept) == count and all(used):
        return node, places
    params = {name: _over(graph, kept) for name, graph in sides.items()}
    inputs = (node.inputs[0], *(node.inputs[1 + i] for i in kept))
    return make_node(node.op, inputs, params, node.where, node.scope), places


def _over(graph: Graph, kept: Sequence[int]) -> Graph:
    return eliminate_dead(Graph(graph.name, [graph.inputs[i] for i in kept], graph.nodes, graph.outputs))


def _places(used: Sequence[bool]) -> list[int | None]:
    return [sum(used[:i]) if on else None for i, on in enumerate(used)]


def _smaller_loop(node: Node, used: Sequence[bool]) -> tuple[Node, list[int | None]]:
    """The loop with the results that are used, and the carries that these, or the way on, need."""
    p, body = node.params, node.params["body"]
    flags, carries, sequences = p["has_go"] + p["has_count"], p["carries"], p["sequences"]
    go = body.outputs[: p["has_go"]]
    after = body.outputs[p["has_go"] : p["has_go"] + carries]
    results = body.outputs[p["has_go"] + carries :]
    used = list(used)
    wanted = [v for v, on in zip(results, used[carries:], strict=False) if on]
    alive = {i for i in range(carries) if used[i]}
    while True:
        needed = _needs(body, [*go, *wanted, *(after[i] for i in alive)])
        more = {i for i in range(carries) if body.inputs[i] in needed} - alive
        if not more:
            break
        alive |= more
    gives_count = p["gives_count"] and used[-1]
    kept = [i for i, v in enumerate(body.inputs) if (i in alive if i < carries else v in needed)]
    outputs = [i in alive for i in range(carries)] + used[carries : carries + len(results)]
    outputs += [gives_count] if p["gives_count"] else []
    places = _places(outputs)
    if len(kept) == len(body.inputs) and all(outputs):
        return node, places
    graph = body.copy(outputs=[*go, *(after[i] for i in sorted(alive)), *wanted])
    params = {
        **p,
        "body": _over(graph, kept),
        "carries": len(alive),
        "sequences": sum(carries <= i < carries + sequences for i in kept),
        "gives_count": gives_count,
    }
    inputs = (*node.inputs[:flags], *(node.inputs[flags + i] for i in kept))
    return make_node(node.op, inputs, params, node.where, node.scope), places


@checked
def hoist(graph: Graph) -> Graph:
    """What an iteration computes of invariants alone is an invariant."""
    return eliminate_dead(rewrite(graph, _hoisted))


def _hoisted(node: Node) -> Found:
    if not isinstance(node.op.lower, Loop):
        return None
    p = node.params
    body = simplify(p["body"], to_run=True)
    if typical(LONG if p["length"] is None else p["length"]) >= _MANY:
        body = lined_up(body, set(body.inputs[p["carries"] + p["sequences"] :]))
    first, flags = p["carries"] + p["sequences"], p["has_go"] + p["has_count"]
    around = dict(zip(body.inputs[first:], node.inputs[flags + first :], strict=True))
    fixed: set[Value] = set()  # constants, and what is computed of these alone
    same: set[Value] = set(around)  # what is the same in all iterations
    for each in body.nodes:
        if all(v in fixed for v in each.inputs) and isinstance(each.op.lower, (Position, View, Map)):
            fixed.update(each.outputs)
        elif all(v in same or v in fixed for v in each.inputs) and _is_safe(each):
            same.update(each.outputs)
    used: set[Value] = set(body.outputs)
    for each in reversed(body.nodes):
        if each.outputs[0] not in same or isinstance(each.op.lower, View):
            used.update(v for v in each.inputs if each.outputs[0] not in same or each.outputs[0] in used)
    moved = [v for n in body.nodes for v in n.outputs if v in same and v in used and not isinstance(n.op.lower, View)]
    if not moved:
        return None
    # Outside, they are computed by nodes over the loop's operands.
    outside = rewrite(Graph(body.name, list(around), body.nodes, moved), values=around)
    inner = {v: Value(v.type) for v in moved}
    rest = rewrite(Graph(body.name, [*body.inputs], body.nodes, body.outputs), values=inner)
    made = eliminate_dead(Graph(body.name, [*rest.inputs, *inner.values()], rest.nodes, rest.outputs))
    return make_node(node.op, (*node.inputs, *outside.outputs), {**p, "body": made}, node.where, node.scope)


@checked
def lined_up(body: Graph, same: set[Value]) -> Graph:
    """Matrices that are the same in all iterations, and that contractions read across memory, as copies along it: as
    they lie, each contraction would turn them round again, panel by panel (15% of the time of a product with 32 rows).
    """

    def rule(node: Node) -> Node | None:
        how = node.op.lower
        if not isinstance(how, Contract):
            return None
        product = how.product(node.params, *(Layout.contiguous(v.shape) for v in node.inputs))
        at = 0 if product.swapped else 1
        matrix = node.inputs[at]
        seen = layout_of(matrix)
        if len(matrix.shape) != 2 or views_of(matrix)[0] not in same or seen is None or seen.strides[-1] == 1:
            return None
        inputs = list(node.inputs)
        inputs[at] = make_node(COPY, (matrix,), {}, node.where, node.scope).output
        return node.over(tuple(inputs))

    return rewrite(body, rule)


def _is_safe(node: Node) -> bool:
    """Whether a node may run though no iteration does, and gives no more than it takes."""
    if isinstance(node.op.lower, (Reduction, Contract, View)):
        return True
    if not isinstance(node.op.lower, Map) or len(node.outputs) != 1:
        return False
    given = [typical(size_of(views_of(v)[0].shape)) for v in node.inputs]  # no result depends on it
    return any(size >= typical(size_of(node.output.shape)) for size in given)

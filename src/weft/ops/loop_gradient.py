"""The gradient of a loop that is a node of a public function's own graph, as those of the recurrent layers are.

(Loops of user code have gradients that follow the tape, one addition after the other: transforms/loop_tape.py.)

The way back is a loop over the same iterations from the last to the first. What the first loop gave as results is not
computed again: a body says by its results what is dearer to compute than to keep; everything else is, from the carries
before the iteration. Its carries are the cotangents of the carries, and what operands that are the same in all
iterations have received so far. But where what such an operand receives is a product, the factors are results, and one
contraction over all iterations, in the order of the parts, multiplies and adds them up: each iteration would read and
write the whole sum (docs/numerics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from ..core.errors import AutogradError
from ..graph.ir import Graph, Value
from ..graph.protocol import Primitive
from ..graph.simplify import simplify
from .contraction import CONTRACT, contracted
from .creation import full, zeros
from .op import Trace, apply, hooks, state
from .reverse import reverse
from .shape import reshape
from .views import CONCAT, PERMUTE, permuted, slice_


def no_gradient(params: dict[str, Any], inputs: Any, output: Any, cotangent: Any) -> NoReturn:
    """Refuse what has no gradient as a node."""
    raise AutogradError(
        "a branch, or a loop that a value ends, of a model from a file has no gradient: what it does is known to the "
        "function that it was saved from"
    )


class _Loop(NamedTuple):
    """A node: its body, and its operands and results in groups."""

    op: Primitive
    params: dict[str, Any]
    operands: tuple[Any, ...]
    rows: dict[Value, Any]  # by values of the body: the results that have all of them

    @property
    def body(self) -> Graph:
        body: Graph = self.params["body"]
        return body

    @property
    def carries(self) -> int:
        count: int = self.params["carries"]
        return count

    @property
    def first_closed(self) -> int:
        """The number of the first operand that is the same in all iterations."""
        count: int = self.carries + self.params["sequences"]
        return count


class _Back(NamedTuple):
    """The body of the way back, before it is one: its graph over ``given``, whose outputs are those of the fields."""

    graph: Graph
    cotangents: dict[int, Value]  # of the carries, inputs, by the numbers of the loop's operands
    now: list[Value]  # for the inputs of the loop's body
    kept: dict[Value, Value]  # for values of the loop's body that are results
    sent: dict[int, Value]  # cotangents of results, by their numbers
    found: dict[int, Value]  # outputs: cotangents of the loop's operands, by their numbers


def loop_vjp(op: Primitive, params: dict[str, Any], operands: Any, outputs: Any, cotangents: Any) -> tuple[Any, ...]:
    """The cotangents of a loop's operands.

    Raises:
        AutogradError: a value says how often it runs.
    """
    if params["length"] is None or params["has_go"] or params["has_count"] or params["gives_count"]:
        no_gradient(params, operands, outputs, cotangents)
    if len(params["body"].outputs) == 1:
        outputs, cotangents = (outputs,), (cotangents,)
    carries = params["carries"]
    rows: dict[Value, Any] = {}
    for value, result in zip(params["body"].outputs[carries:], outputs[carries:], strict=True):
        rows.setdefault(value, result)
    loop = _Loop(op, params, tuple(operands), rows)
    sent = {n: c for n, c in enumerate(cotangents[carries:]) if c is not None}
    return _sent_back(loop, _traced(loop, sent), cotangents[:carries], sent)


def _traced(loop: _Loop, sent: dict[int, Any]) -> _Back:
    """One iteration of the way back."""
    body, carries, outer = loop.body, loop.carries, state.trace
    assert outer is not None
    trace = Trace(None, outer.where, outer.name, outer.device, outer.plans is not None)
    wanted = [v.dtype.is_floating for v in body.inputs]
    cotangents = {i: Value(body.inputs[i].type) for i in range(carries) if wanted[i]}
    now = [Value(v.type) for v in body.inputs]
    kept = {v: Value(v.type) for v in loop.rows if v not in body.inputs}
    given = {n: Value(body.outputs[carries + n].type) for n in sent}
    flows = [*(cotangents.get(i) for i in range(carries)), *(given.get(n) for n in range(len(body.outputs) - carries))]
    state.trace = trace
    try:
        known = {**kept, **dict(zip(body.inputs, now, strict=True))}
        parts = reverse(body, trace, known, [None if v is None else hooks.wrap(v) for v in flows], wanted)
        numbers = [n for n, on in enumerate(wanted) if on]
        found = {n: t for n, t in zip(numbers, parts, strict=True) if t is not None}
        for i in cotangents:
            if i not in found:
                found[i] = zeros(now[i].shape, dtype=now[i].dtype)
        values = [hooks.value_of(t, trace) for t in found.values()]
    finally:
        state.trace = outer
    inputs = [*cotangents.values(), *now, *kept.values(), *given.values()]
    graph = simplify(Graph(f"{body.name}.grad", inputs, trace.nodes, values))
    return _Back(graph, cotangents, now, kept, given, dict(zip(found, graph.outputs, strict=True)))


class _Factor(NamedTuple):
    """A factor of a product: a value of the body, whose axes stand in this order."""

    value: Value
    axes: tuple[int, ...]


def _seen(value: Value) -> _Factor:
    """What a value shows, by permutations of axes."""
    axes = tuple(range(len(value.shape)))
    while value.node is not None and value.node.op is PERMUTE:
        axes = tuple([value.node.params["axes"][a] for a in axes])
        value = value.node.inputs[0]
    return _Factor(value, axes)


class _Product(NamedTuple):
    """What an operand receives of an iteration: the product of two matrices, with its axes in this order."""

    a: _Factor
    b: _Factor
    axes: tuple[int, ...]


def _product(value: Value, same: set[Value]) -> _Product | None:
    """A value as a product of matrices that differ from iteration to iteration; None: it is something else."""
    whole = _seen(value)
    node = whole.value.node
    if node is None or node.op is not CONTRACT or len(whole.axes) != 2:
        return None
    a, b = map(_seen, node.inputs)
    return None if a.value in same or b.value in same else _Product(a, b, whole.axes)


def _sent_back(loop: _Loop, back: _Back, finals: Sequence[Any], sent: dict[int, Any]) -> tuple[Any, ...]:
    """Record the loop of the way back, and what is multiplied after it."""
    carries, closed = loop.carries, loop.first_closed
    same = set(back.now[closed:])
    found = back.found
    products = {n: p for n, v in found.items() if n >= closed and (p := _product(v, same)) is not None}
    added = [n for n in found if n >= closed and n not in products]
    parts = [n for n in found if carries <= n < closed]
    # Factors that an iteration does not find but computes, and that are not among its results already.
    stored = {*back.now[:closed], *back.kept.values(), *back.sent.values(), *(found[n] for n in parts)}
    factors = dict.fromkeys([f.value for p in products.values() for f in (p.a, p.b) if f.value not in stored])
    sums = {n: Value(back.now[n].type) for n in added}
    outer = state.trace
    assert outer is not None
    trace = Trace(None, outer.where, outer.name, outer.device, outer.plans is not None)
    state.trace = trace
    try:
        totals = [hooks.value_of(hooks.wrap(v) + hooks.wrap(found[n]), trace) for n, v in sums.items()]
    finally:
        state.trace = outer
    graph = back.graph
    outputs = [*(found[i] for i in back.cotangents), *totals, *(found[n] for n in parts), *factors]
    whole = Graph(graph.name, [*graph.inputs, *sums.values()], [*graph.nodes, *trace.nodes], outputs)
    begins = [_begun(finals[i], back.cotangents[i]) for i in back.cotangents]
    begins += [full(v.shape, -0.0, dtype=v.dtype) for v in sums.values()]
    each = _EachIteration(loop, back, sent)
    made = _run(loop, whole, [*back.cotangents.values(), *sums.values()], begins, each)
    gradients: dict[int, Any] = dict(zip((*back.cotangents, *added, *parts), made, strict=False))
    results = dict(zip(factors, made[len(gradients) :], strict=True)) | {found[n]: gradients[n] for n in parts}

    def all_of(factor: _Factor) -> Any:
        """The factors of all iterations, ``(length, *axes)``."""
        rows = results[factor.value] if factor.value in results else each.rows(factor.value)
        return permuted(rows, (0, *(1 + a for a in factor.axes)))

    for n, product in products.items():
        a, b = permuted(all_of(product.a), (1, 0, 2)), all_of(product.b)
        gradients[n] = permuted(contracted(a, b, 0, 2), product.axes)
    return tuple([gradients.get(n) for n in range(len(loop.operands))])


def _begun(final: Any, like: Value) -> Any:
    return zeros(like.shape, dtype=like.dtype) if final is None else final


def _run(loop: _Loop, graph: Graph, carried: list[Value], begins: list[Any], each: _EachIteration) -> list[Any]:
    """Record a loop with a body whose inputs are ``carried``, and what the first loop's iterations had, as far as it
    is used."""
    used = graph.used()
    sequences = [v for v in each.sequences if v in used]
    closed = [v for v in each.closed if v in used]
    body = simplify(Graph(graph.name, [*carried, *sequences, *closed], graph.nodes, graph.outputs))
    params = {
        **loop.params,
        "body": body,
        "carries": len(carried),
        "sequences": len(sequences),
        "reverse": not loop.params["reverse"],
    }
    operands = [*begins, *map(each.rows, sequences), *(each.closed[v] for v in closed)]
    made = apply(loop.op, *operands, **params)
    return list(made) if len(body.outputs) > 1 else [made]


class _EachIteration:
    """What an iteration of the first loop found and kept: for the values that stand for it in the way back the rows of
    all iterations."""

    def __init__(self, loop: _Loop, back: _Back, sent: dict[int, Any]):
        self.loop = loop
        first, closed = loop.carries, loop.first_closed
        self._before = {v: i for i, v in enumerate(back.now[:first])}
        self._known = dict(zip(back.now[first:closed], loop.operands[first:closed], strict=True))
        self._known |= {v: loop.rows[of] for of, v in back.kept.items()}
        self._known |= {v: sent[n] for n, v in back.sent.items()}
        self.sequences = [*self._before, *self._known]
        self.closed = dict(zip(back.now[closed:], loop.operands[closed:], strict=True))
        self._again: list[Any] | None = None  # the carries, where the first loop has not kept them

    def rows(self, value: Value) -> Any:
        """``(length, ...)``."""
        if value not in self._known:
            self._known[value] = self._carry(self._before[value])
        return self._known[value]

    def _carry(self, i: int) -> Any:
        """A carry before each iteration: the first, and what the others left; or the first loop once more."""
        loop, body = self.loop, self.loop.body
        if body.inputs[i] in loop.rows:
            return loop.rows[body.inputs[i]]
        after = loop.rows.get(body.outputs[i])
        if after is not None:
            first = reshape(loop.operands[i], (1, *loop.operands[i].shape))
            rest = (loop.params["length"] - 1, *first.shape[1:])
            zero = (0,) * (len(rest) - 1)
            if loop.params["reverse"]:
                return apply(CONCAT, slice_(after, (1, *zero), rest), first, axis=0)
            return apply(CONCAT, first, slice_(after, (0, *zero), rest), axis=0)
        if self._again is None:
            carries = body.inputs[: loop.carries]
            params = {**loop.params, "body": body.copy(outputs=[*body.outputs, *carries])}
            self._again = list(apply(loop.op, *loop.operands, **params))[len(body.outputs) :]
        return self._again[i]

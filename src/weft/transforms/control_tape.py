"""Gradients of branches and loops in captured code: the additions of eager code, one by one.

The tape that was recorded in a body is kept (:class:`Body`), as a unit's is (unit.py). A node's record stands for the
records that eager code would have made (:class:`ControlRecord`). Sent back through it, cotangents become a node again:
of a branch, a branch, each side of which computes its values again and walks its own tape; of a loop, a loop
(loop_tape.py). Both are traced like the functions of users, so that they can be differentiated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import CaptureError, user_line
from ..core.shapes import substitute
from ..graph.ir import Graph, Node, Value, copy_nodes
from ..graph.protocol import Primitive
from ..graph.simplify import simplify
from ..graph.specialise import specialise
from ..ops.control import BRANCH
from ..ops.creation import full, zeros
from ..ops.op import Trace, state
from ..tensor import lines, tape
from ..tensor.calls import GraphCall, value_of, wrap
from ..tensor.spec import spec_of
from ..tensor.tensor import Tensor
from .bodies import Carried, Tracing
from .unit import _inner, _records

_Place = tuple[Any, ...] | None


class Body:
    """A body with its tape.

    Args:
        tracing: where it was recorded; outputs: what it gives.
        inputs: for each input of the graph, its place on the tape in the body, (node, index).
        graph: over those inputs; values: what stands in it for the values of the tracing.
        strict: whether every history from around comes in by an input.
    """

    __slots__ = ("graph", "inner", "places", "reached")

    def __init__(
        self,
        tracing: Tracing,
        outputs: Sequence[Tensor],
        inputs: Sequence[tuple[Any, int]],
        graph: Graph,
        values: dict[Value, Value],
        strict: bool = True,
    ):
        self.graph = graph
        records = reachable(outputs, tracing.start)
        number = {record: i for i, record in enumerate(records)}
        position: dict[tuple[Any, int], int] = {}
        for i, (node, index) in enumerate(inputs):
            if node is not None:
                position.setdefault((node, index), i)

        def place(node: Any, index: int) -> _Place:
            if node in number:
                return "record", number[node], index
            if (node, index) in position:
                return "input", position[node, index]
            if isinstance(node, tape.Stale):
                return ("stale",)
            if strict and node is not None and getattr(node, "sequence", -1) < tracing.start:
                raise CaptureError(
                    f"{tracing.name}: a tensor from outside is read in a way that gradients cannot follow"
                )
            return None

        overwritten = {} if tracing.capture is None else tracing.capture.overwritten | tracing.overwritten
        self.inner = [_inner(record, place, overwritten) for record in records]
        for inner in self.inner:
            if inner.saved is not None:
                inner.saved = [(values[v], spec, where_) for v, spec, where_ in inner.saved]
        self.places = [place(t._node, t._index) for t in outputs]
        below: list[set[int]] = []
        for inner in self.inner:
            found: set[int] = set()
            for parent in inner.parents:
                if parent is not None and parent[0] == "input":
                    found.add(parent[1])
                elif parent is not None and parent[0] == "record":
                    found |= below[parent[1]]
            below.append(found)
        # For each output, the inputs that a cotangent of it reaches.
        self.reached = [
            set() if p is None or p[0] == "stale" else {p[1]} if p[0] == "input" else below[p[1]] for p in self.places
        ]

    def at(self, sizes: Mapping[str, int]) -> Body:
        """The body for certain numbers, of one with symbols for sizes."""
        saved = list(dict.fromkeys([v for inner in self.inner for v, *_ in inner.saved or ()]))
        known = specialise(self.graph.copy(outputs=[*self.graph.outputs, *saved]), sizes)
        count = len(self.graph.outputs)
        values = dict(zip(saved, known.outputs[count:], strict=True))
        made = object.__new__(Body)
        made.graph = known.copy(outputs=known.outputs[:count])
        made.places, made.reached, made.inner = self.places, self.reached, []
        for inner in self.inner:
            backward, call = inner.calls_at(sizes)
            kept = inner.saved and [
                (values[v], spec_of(v.dtype, values[v].shape, None, spec.device), place)
                for v, spec, place in inner.saved
            ]
            made.inner.append(replace(inner, backward=backward, call=call, saved=kept))
        return made

    def walk(
        self,
        tensors: Sequence[Tensor],
        ends: Sequence[tuple[Any, int]],
        cotangents: Sequence[Tensor | None],
        targets: dict[Any, Tensor | None],
    ) -> None:
        """Compute the body's values again, and walk its tape: ``targets`` receive what is sent to these places.
        ``tensors`` are the inputs, ``ends`` their places."""
        trace = state.trace
        assert trace is not None
        values = dict(zip(self.graph.inputs, [value_of(t, trace) for t in tensors], strict=True))
        copy_nodes(self.graph.nodes, values, trace.nodes)
        records: list[Any] = _records(
            self.inner,
            lambda inner: (inner.backward, inner.call),
            ends.__getitem__,
            lambda v, spec: (values[v], spec),
            frozenset(),
        )
        for inner, record in zip(self.inner, records, strict=True):
            record.sequence = tape.now()
            if inner.spoiled is not None:
                raise inner.spoiled
        roots = []
        for where_, cotangent in zip(self.places, cotangents, strict=True):
            if cotangent is None or where_ is None:
                continue
            if where_[0] == "stale":
                raise tape.Stale().error()
            node, index = ends[where_[1]] if where_[0] == "input" else (records[where_[1]], where_[2])
            roots.append((node, index, cotangent))
        tape.backward(roots, tape.recording.enabled, True, targets)


def reachable(outputs: Sequence[Tensor], start: float) -> list[tape.Record]:
    """The records made since ``start`` that lead to tensors, in the order in which they were made."""
    found: set[tape.Record] = set()
    stack = [t._node for t in outputs]
    while stack:
        node = stack.pop()
        if isinstance(node, tape.Record) and node.sequence >= start and node not in found:
            found.add(node)
            stack += [parent for parent, _ in node.parents]
    return sorted(found, key=lambda record: record.sequence)


def saved_by(outputs: Sequence[Tensor], start: float) -> list[Value]:
    """The values that the tape of a body needs."""
    return [v for record in reachable(outputs, start) for v, *_ in record.saved or ()]


@dataclass(slots=True, eq=False)
class Control:
    """What is the same for all runs of a branch or loop that is on the tape: its tape, and how to go back.

    ``tracked``: the numbers of the operands that have places; the record's parents are theirs. ``kept``: numbers of
    operands, and ~n for outputs, whose values the way back needs.
    """

    name: str
    out_specs: tuple[Any, ...]
    bodies: tuple[Body, ...]
    params: dict[str, Any]
    tracked: list[int]
    kept: list[int]
    back: Callable[[ControlRecord, list[Tensor], list[Tensor | None], tape.Sums], None]
    needs_values = True

    def at(self, sizes: Mapping[str, int]) -> Control:
        """The same for certain numbers, of one with symbols for sizes."""
        specs = tuple([spec_of(s.dtype, substitute(s.shape, sizes), None, s.device) for s in self.out_specs])
        params = {name: substitute(value, sizes) for name, value in self.params.items() if not isinstance(value, Graph)}
        return replace(self, out_specs=specs, bodies=tuple([body.at(sizes) for body in self.bodies]), params=params)


class ControlRecord(tape.Record):
    """A branch or a loop on the tape; ``backward`` is its :class:`Control`."""

    __slots__ = ()

    def propagate(self, cotangents: list[Tensor | None], sums: tape.Sums, retain_graph: bool) -> None:
        """Send the cotangents of the outputs on to the operands."""
        tensors = tape.kept(self)
        self.backward.back(self, tensors, cotangents, sums)
        if not retain_graph and self.saved:
            self.saved = None


def record(control: Control, operands: Sequence[Tensor], outputs: Sequence[Tensor], flows: Sequence[bool]) -> None:
    """Put a branch or loop on the tape."""
    made = ControlRecord()
    made.backward = made.call = control
    made.sequence = tape.now()
    made.parents = tuple([(operands[n]._node, operands[n]._index) for n in control.tracked])
    made.place = lines.place()
    saved: list[Any] = []
    for n in control.kept:
        t = operands[n] if n >= 0 else outputs[~n]
        node, index = (t._node, t._index) if n >= 0 else tape.own(~n)
        storage = t._storage
        saved.append((storage, t._spec, node, index, 0 if isinstance(storage, Value) else storage.version))
    made.saved = saved
    for i, output in enumerate(outputs):
        if flows[i] and output._spec.dtype.is_floating:
            output._node, output._index = made, i


# --- nodes in any mode ----------------------------------------------------------------------------------------------


def apply(op: Primitive, params: dict[str, Any], operands: Sequence[Tensor]) -> list[Tensor]:
    """A branch or loop over tensors: recorded in the trace, or run."""
    trace = state.trace
    if trace is None:
        inputs = [Value(t._spec.type) for t in operands]
        types = op.types([v.type for v in inputs], params)
        node = Node(op, tuple(inputs), params, types, user_line(2))
        call = GraphCall(Graph(op.name, inputs, [node], list(node.outputs)), operands[0]._spec.device)
        return list(call.run(operands))
    if trace.capture is not None:
        operands = [trace.capture.inside(t) for t in operands]
    made = [wrap(v) for v in trace.add(op, [value_of(t, trace) for t in operands], params).outputs]
    if trace.capture is not None:
        trace.capture.made(tuple(made))
    return made


class _NoCapture:
    """What takes the place of a capture where the way back is traced outside of one, and is to be differentiated in
    turn: calls are recorded on the tape, and nothing comes from outside."""

    body: Any = None

    def __init__(self) -> None:
        self.inner: set[Value] = set()
        self.overwritten: dict[Value, Any] = {}

    def inside(self, tensor: Tensor) -> Tensor:
        """Itself."""
        return tensor

    def placed(self, name: str, tensors: list[Tensor]) -> list[Tensor]:
        """Themselves."""
        return tensors

    def made(self, tensors: Sequence[Tensor]) -> None:
        """Nobody stores them."""

    check_made = check = expose = overwrite = read_hooks = lambda self, *_: None


class Traced:
    """A function of the way back, over stand-ins for all that it needs: its graph, and its tape where calls are
    recorded."""

    __slots__ = ("body", "graph", "outputs")

    def __init__(
        self,
        name: str,
        specs: Sequence[Any],
        ends: Sequence[Any],
        run: Callable[[list[Tensor]], Sequence[Tensor]],
        device: Any,
    ):
        outer = state.trace
        if outer is not None and outer.capture is not None:
            trace = outer
        else:
            capture = _NoCapture() if tape.recording.enabled else None
            sized = outer is not None and outer.plans is not None
            trace = Trace(capture, user_line(2), device=device, sized=sized)
        state.trace = trace
        try:
            tracing = Tracing(name, trace)
            given = [tracing.stand_in(spec, end) for spec, end in zip(specs, ends, strict=True)]
            with tracing.going():
                outputs = list(run(given))
            values = [value_of(t, trace) for t in outputs]
            whole, stands = tracing.graph(tracing.given, values)
        finally:
            state.trace = outer
        self.graph = simplify(whole)
        self.outputs = outputs
        self.body = None
        if tape.recording.enabled:
            self.body = Body(tracing, outputs, [(t._node, t._index) for t in given], whole, stands, False)


def tracked(tensors: Sequence[Tensor]) -> list[bool]:
    """Which of them have a history that is being recorded."""
    return [tape.recording.enabled and t._node is not None for t in tensors]


def nothing(spec: Any) -> Tensor:
    """What added to x gives x, of any x: -0.0."""
    return full(spec.shape, -0.0, dtype=spec.dtype, device=spec.device)


# --- branches -------------------------------------------------------------------------------------------------------


def branch_back(
    record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None], sums: tape.Sums
) -> None:
    """Send cotangents back through a branch."""
    control: Control = record_.backward
    predicate, *closed = tensors
    # Operands at one place are one group; a number of control.tracked counts the predicate.
    places = list(dict.fromkeys(record_.parents))
    group = {n - 1: places.index(p) for n, p in zip(control.tracked, record_.parents, strict=True)}
    before = [sums.at(*p) for p in places]
    given = [c for c in cotangents if c is not None]
    received = [t for t in before if t is not None]
    operands = [*closed, *given, *received]
    marks = [Carried() for _ in places]
    follows = tracked(operands)
    ends = [marks[group[n]] if n in group and follows[n] else Carried() if on else None for n, on in enumerate(follows)]

    def walked(body: Body, stand_ins: list[Tensor]) -> list[Tensor | None]:
        more = iter(stand_ins[len(closed) :])
        sent = [None if c is None else next(more) for c in cotangents]
        own = [None if t is None else next(more) for t in before]
        at = [(marks[group[n]], 0) if n in group else (None, 0) for n in range(len(closed))]
        targets = {(mark, 0): t for mark, t in zip(marks, own, strict=True)}
        body.walk(stand_ins[: len(closed)], at, sent, targets)
        return list(targets.values())

    reached = [
        set().union(*(body.reached[o] for o, c in enumerate(cotangents) if c is not None)) for body in control.bodies
    ]
    wanted = sorted({group[n] for found in reached for n in found if n in group})
    if not wanted:
        return

    def run(body: Body) -> Callable[[list[Tensor]], list[Tensor]]:
        def each(stand_ins: list[Tensor]) -> list[Tensor]:
            found = walked(body, stand_ins)
            made = []
            for g in wanted:
                t = found[g]
                if t is None:
                    spec = closed[next(n for n, k in group.items() if k == g)]._spec
                    t = zeros(spec.shape, dtype=spec.dtype, device=spec.device)
                made.append(t)
            return made

        return each

    specs = [t._spec for t in operands]
    sides = [Traced(f"{control.name}.grad", specs, ends, run(body), predicate._spec.device) for body in control.bodies]
    outputs = apply(BRANCH, {"true": sides[0].graph, "false": sides[1].graph}, [predicate, *operands])
    record_branch(f"{control.name}.grad", [s.body for s in sides], [predicate, *operands], outputs)
    for g, total in zip(wanted, outputs, strict=True):
        sums.replace(*places[g], total)


def record_branch(
    name: str, bodies: Sequence[Body | None], operands: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Put a branch on the tape, if calls are recorded. ``operands``: the predicate, then the bodies' inputs."""
    if any(body is None for body in bodies) or not any(tracked(operands)):
        return
    known = [body for body in bodies if body is not None]
    reached = set().union(*(found for body in known for found in body.reached))
    numbers = [n for n, t in enumerate(operands) if t._node is not None and n - 1 in reached]
    if not numbers:
        return
    flows = [any({n - 1 for n in numbers} & body.reached[o] for body in known) for o in range(len(outputs))]
    specs = tuple([t._spec for t in outputs])
    control = Control(name, specs, tuple(known), {}, numbers, list(range(len(operands))), branch_back)
    record(control, operands, outputs, flows)

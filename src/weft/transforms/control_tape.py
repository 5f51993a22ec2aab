"""Gradients of branches and loops in captured code: the additions of eager code, one by one.

The tape that was recorded in a body is kept (:class:`Body`), as a unit's is (unit.py). A node's record stands for the
records that eager code would have made (:class:`ControlRecord`). Sent back through it, cotangents become a node again:

- of a branch, a branch: each side computes its values again and walks its own tape;
- of a loop, a loop over the same iterations from the last to the first, which computes each one's values again, from
  the carries that the first loop has kept. Its carries are the cotangents of the carries, and what tensors around the
  loop have received so far, to which each iteration adds.

Both are traced like the functions of users, so that they can be differentiated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..core.errors import AutogradError, CaptureError, user_line
from ..core.shapes import substitute
from ..core.symbolic import Dim
from ..graph.ir import Graph, Node, Value, copy_nodes
from ..graph.protocol import Primitive
from ..graph.simplify import simplify
from ..graph.specialise import specialise
from ..ops.control import BRANCH, LOOP
from ..ops.creation import arange, full, zeros, zeros_like
from ..ops.elementwise import less, maximum, where
from ..ops.op import Trace, state
from ..ops.pieces import concat
from ..ops.shape import expand_dims, reshape
from ..tensor import tape
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
    made.place = tape.place()
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


# --- loops ----------------------------------------------------------------------------------------------------------


def record_loop(
    name: str,
    body: Body | None,
    params: dict[str, Any],
    operands: Sequence[Tensor],
    outputs: Sequence[Tensor],
    kept: int,
) -> None:
    """Put a loop on the tape, if calls are recorded. Its last ``kept`` results are the carries before each iteration;
    ``body`` gives neither these nor whether to go on."""
    if body is None or not any(tracked(operands)):
        return
    flags = params["has_go"] + params["has_count"]
    carries = params["carries"]
    have = {n for n, t in enumerate(operands[flags:]) if t._node is not None and t._spec.dtype.is_floating}
    grown = True
    while grown:  # carries that get a history on the way
        more = {i for i in range(carries) if body.reached[i] & have} - have
        have |= more
        grown = bool(more)
    flows = [i in have for i in range(carries)] + [bool(found & have) for found in body.reached[carries:]]
    flows += [i in have for i in range(carries)][:kept] if kept else []
    flows += [False] * (len(outputs) - len(flows))
    if not any(flows):
        return
    numbers = [n for n, t in enumerate(operands) if n >= flags and t._node is not None and n - flags in have]
    needed = list(range(flags + carries, len(operands)))
    results = len(body.places) - carries
    needed += [~n for n in range(carries + results, len(outputs))]  # the carries, and how many iterations there were
    if params["has_count"]:
        needed.append(0)
    specs = tuple([t._spec for t in outputs])
    control = Control(
        name, specs, (body,), params, numbers, needed, loop_back if kept or not carries else unbounded_back
    )
    record(control, operands, outputs, flows)


def unbounded_back(
    record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None], sums: tape.Sums
) -> None:
    """Refuse a loop that has kept nothing."""
    error = AutogradError(
        "backward through a while_loop in captured code needs to know how many steps there may be, to keep what it "
        "carries: while_loop(..., max_steps=n); a while statement is for _ in range(n) with a break"
    )
    error.where = tape.where_of(record_.place) or error.where
    raise error


def loop_back(record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None], sums: tape.Sums) -> None:
    """Send cotangents back through a loop."""
    _LoopBack(record_, tensors, cotangents).send(sums)


def _gone_through(rows: Tensor, count: Tensor, length: Dim) -> Tensor:
    """Rows of a result, zeros for the iterations that there were not, the last ones: a loop leaves those unwritten."""
    there = less(arange(length, dtype=count.dtype, device=rows.device), count)
    return where(reshape(there, (length, *(1 for _ in rows.shape[1:]))), rows, zeros_like(rows))


class _LoopBack:
    """The way back through one loop.

    Numbers: of inputs of the body (carries, parts of sequences, invariants), of its outputs (carries, parts of results;
    then the carries that were kept). A *group* is a place on the tape of invariants; an accumulator carries what it has
    received.
    """

    def __init__(self, record_: ControlRecord, tensors: list[Tensor], cotangents: list[Tensor | None]):
        self.control: Control = record_.backward
        (self.body,), p = self.control.bodies, self.control.params
        self.length, self.backwards = p["length"], p["reverse"]
        self.carries, inputs = p["carries"], len(self.body.graph.inputs)
        self.closed_at = self.carries + p["sequences"]  # the first invariant
        rows, self.closed = tensors[: p["sequences"]], tensors[p["sequences"] : inputs - self.carries]
        # What an iteration found: the carries before it, and parts of sequences.
        self.found = [*tensors[inputs - self.carries : inputs], *rows]
        self.count = tensors[inputs] if p["has_count"] or p["gives_count"] else None
        self.device = (self.found + self.closed)[0]._spec.device
        self.kept_at = len(self.body.places)  # the first carry that was kept, among outputs
        self.finals = cotangents[: self.carries]
        each = enumerate(cotangents[self.carries : self.kept_at + self.carries], self.carries)
        self.ys = {o: c for o, c in each if c is not None}
        flags = p["has_go"] + p["has_count"]
        self.parents = {n - flags: place for n, place in zip(self.control.tracked, record_.parents, strict=True)}
        self.shared = self._shared()
        active = {i for i, c in enumerate(self.finals) if c is not None} | set(self.shared)
        for o in self.ys:
            active |= {i for i in self._reached(o) if i < self.carries}
        while more := {j for i in active for j in self.body.reached[i] if j < self.carries} - active:
            active |= more
        self.active = sorted(active)
        touched = set().union(*(self.body.reached[i] for i in active), *map(self._reached, self.ys))
        at = {n: place for n, place in self.parents.items() if n in touched}
        self.groups = list(dict.fromkeys([place for n, place in at.items() if n >= self.closed_at]))
        self.group = {n: self.groups.index(place) for n, place in at.items() if n >= self.closed_at}
        self.parts = [n for n in at if self.carries <= n < self.closed_at]
        self.begins = {i: self.parents[i] for i in self.active if i in self.parents}  # places of the initial carries

    def _reached(self, o: int) -> set[int]:
        return self.body.reached[o] if o < self.kept_at else {o - self.kept_at}

    def _shared(self) -> dict[int, list[int]]:
        """Carries that are results as well: a tensor that gets its cotangents from both, the result's first."""
        found: dict[int, list[int]] = {}
        taken: set[int] = set()
        for i in range(self.carries if self.count is None else 0):
            place = self.body.places[i]
            twins = [o for o in self.ys if o < self.kept_at and place is not None and self.body.places[o] == place]
            if twins and taken.isdisjoint(twins):
                found[i] = sorted(twins, reverse=True)
                taken.update(twins)
        return found

    def _part_of(self, tensor: Tensor) -> Any:
        spec = tensor._spec
        return spec_of(spec.dtype, spec.shape[1:], None, spec.device)

    def send(self, sums: tape.Sums) -> None:
        """Compute all contributions, and add them up."""
        if self.length == 0:
            for i, c in enumerate(self.finals):
                if c is not None and i in self.parents:
                    sums.add(*self.parents[i], c)
            return
        if not self.active and not self.group and not self.parts:
            return
        # The first iteration has the initial carries themselves, whose places may have received something already, or
        # be those of other operands: it goes by itself.
        stays = self._stays()
        places = [place for i, place in self.begins.items() if i not in stays]
        alone = len(set(places)) < len(places) or any(p in self.groups or sums.at(*p) is not None for p in places)
        alone = alone and (self.count is None or not (self.parts or self.backwards))
        start, seeds = self._start()
        if not alone:  # iterations add to what has arrived at that tensor
            before = [sums.at(*self.begins[i]) if i in stays else None for i in self.active]
            start = [t if b is None else b for t, b in zip(start, before, strict=True)]
        sent = {o: c for o, c in self.ys.items() if all(o not in twins for twins in self.shared.values())}
        received = [sums.at(*place) for place in self.groups]
        example = {g: self.closed[n - self.closed_at]._spec for n, g in self.group.items()}
        added = [nothing(example[g]) if t is None else t for g, t in enumerate(received)]
        first = -1 if self.backwards else 0
        sequences = [*self.found, *sent.values(), *seeds.values()]
        results: list[Tensor] = []
        if not alone:
            start, added, results = self._rest(
                start, added, sequences, list(sent), list(seeds), self.length, self.count
            )
        else:
            if self.length > 1:
                others = slice(None, -1) if self.backwards else slice(1, None)
                count = None if self.count is None else maximum(self.count - 1, 0)
                cut = [t[others] for t in sequences]
                start, added, results = self._rest(start, added, cut, list(sent), list(seeds), self.length - 1, count)
            kept = [t[first] for t in (*self.found, *sent.values())]
            start, added, last = self._first(start, added, kept, list(sent), sums)
            last = [expand_dims(t, axis=0) for t in last]
            if results:
                pairs = zip(last, results, strict=True)
                last = [concat([b, a] if self.backwards else [a, b]) for a, b in pairs]
            results = last
        for place, total in zip(self.groups, added, strict=True):
            sums.replace(*place, total)
        for i, total in zip(self.active, start, strict=True):
            if i in self.begins and not alone:
                (sums.replace if i in stays else sums.add)(*self.begins[i], total)
        for n, total in reversed(list(zip(self.parts, results, strict=True))):
            sums.add(*self.parents[n], total)

    def _stays(self) -> set[int]:
        """Carries that the iterations write with no history recorded: one place on the tape, in all of them and after
        the loop."""
        found = {i for i in set(self.begins) - set(self.shared) if self.body.places[i] == ("input", i)}
        each = list(self.begins.values())
        found = {i for i in found if self.finals[i] is None and self.begins[i] not in self.groups}
        return {i for i in found if each.count(self.begins[i]) == 1}

    def _start(self) -> tuple[list[Tensor], dict[int, Tensor]]:
        """The cotangents of the last carries; and for carries that are results as well, by the iterations that they
        come to, what the results send."""
        last = 0 if self.backwards else -1
        start: list[Tensor] = []
        seeds: dict[int, Tensor] = {}
        for i in self.active:
            c = self.finals[i]
            empty = nothing(self._part_of(self.found[i]))
            total: Any = None
            for o in self.shared.get(i, ()):
                c = self.ys[o][last] if c is None else c + self.ys[o][last]
                total = self.ys[o] if total is None else total + self.ys[o]
            if total is not None:
                end = expand_dims(empty, axis=0)
                seeds[i] = concat([total[1:], end] if self.backwards else [end, total[:-1]])
            start.append(empty if c is None else c)
        return start, seeds

    def _walk(
        self,
        now: Sequence[Tensor],
        cts: Mapping[int, Tensor],
        sent: Mapping[int, Tensor],
        ends: Sequence[Any],
        targets: dict[Any, Tensor | None],
    ) -> None:
        """One iteration: ``cts`` are the carries' cotangents, ``sent`` those of results and kept carries."""
        outgoing = [cts.get(i) for i in range(self.carries)]
        outgoing += [sent.get(o) for o in range(self.carries, self.kept_at)]
        for i in range(self.carries):
            ct = sent.get(self.kept_at + i)
            if ct is not None:
                held = targets.get((ends[i], 0))
                targets[ends[i], 0] = ct if held is None else held + ct
        self.body.walk(now, [(end, 0) for end in ends], outgoing, targets)

    def _results(
        self, now: Sequence[Tensor], targets: Mapping[Any, Tensor | None], ends: Sequence[Any]
    ) -> list[Tensor]:
        made = []
        for n in self.parts:
            t, spec = targets[ends[n], 0], now[n]._spec
            made.append(zeros(spec.shape, dtype=spec.dtype, device=spec.device) if t is None else t)
        return made

    def _rest(
        self,
        start: Sequence[Tensor],
        added: Sequence[Tensor],
        sequences: Sequence[Tensor],
        sent: Sequence[int],
        seeded: Sequence[int],
        length: Dim,
        count: Tensor | None,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """A loop over iterations, from the last on: cotangents of the carries before them, accumulators, results."""
        operands = [*start, *added, *sequences, *self.closed]
        carried = len(start) + len(added)
        follows = tracked(operands)
        keeps = any(follows)
        if keeps:  # what is carried may get a history on the way
            follows[:carried] = [True] * carried
        marks = [Carried() for _ in self.groups]
        own = [Carried() for _ in range(self.closed_at)]
        ends = [*own, *(marks[self.group[n]] if n in self.group else None for n in self._invariants)]
        given = [Carried() for _ in range(carried)] + own
        given += [Carried() for _ in sequences[len(own) :]]
        given += [end or Carried() for end in ends[len(own) :]]

        def run(stand_ins: list[Tensor]) -> list[Tensor]:
            more = iter(stand_ins)
            cts = {i: next(more) for i in self.active}
            sums_now = [next(more) for _ in marks]
            now = [next(more) for _ in own]
            sent_now = {o: next(more) for o in sent}
            targets: dict[Any, Tensor | None] = {(end, 0): None for end in own}
            targets |= {(own[i], 0): next(more) for i in seeded}
            targets |= {(mark, 0): t for mark, t in zip(marks, sums_now, strict=True)}
            now += list(more)
            self._walk(now, cts, sent_now, ends, targets)
            made = []
            for i in self.active:
                t = targets[own[i], 0]
                made.append(nothing(now[i]._spec) if t is None else t)
            sums_after = [t for mark in marks if (t := targets[mark, 0]) is not None]
            return [*made, *sums_after, *self._results(now, targets, ends), *(stand_ins[:carried] if keeps else ())]

        specs = [t._spec for t in operands]
        specs[carried : carried + len(sequences)] = list(map(self._part_of, sequences))
        nodes = [mark if on else None for mark, on in zip(given, follows, strict=True)]
        name = f"{self.control.name}.grad"
        made = Traced(name, specs, nodes, run, self.device)
        params = {
            "body": made.graph,
            "carries": carried,
            "sequences": len(sequences),
            "length": length,
            "reverse": not self.backwards,
            "has_go": False,
            "has_count": count is not None,
            "gives_count": False,
            "bounded": False,
        }
        operands = [*([] if count is None else [count]), *operands]
        outputs = apply(LOOP, params, operands)
        stop = carried + len(self.parts)
        if made.body is not None:
            made.body.places, made.body.reached = made.body.places[:stop], made.body.reached[:stop]
            record_loop(name, made.body, params, operands, outputs, carried if keeps else 0)
        rows = outputs[carried:stop]
        if count is not None:
            rows = [_gone_through(t, count, length) for t in rows]
        return outputs[: len(start)], outputs[len(start) : carried], rows

    @property
    def _invariants(self) -> range:
        return range(self.closed_at, self.closed_at + len(self.closed))

    def _first(
        self,
        start: Sequence[Tensor],
        added: Sequence[Tensor],
        found: Sequence[Tensor],
        sent: Sequence[int],
        sums: tape.Sums,
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The first iteration, if there is one: contributions go to the places of the initial carries, in the order of
        eager code. As :meth:`_rest`, but that the carries' have been sent."""
        others = [p for p in dict.fromkeys(self.begins.values()) if p not in self.groups]
        places = [*self.groups, *others]
        received = [*added, *(sums.at(*p) for p in others)]
        before = [t for t in received if t is not None]
        operands = [*start, *before, *found, *self.closed]
        marks = [Carried() for _ in places]
        own: list[Any] = [Carried() for _ in range(self.closed_at)]
        for i, place in self.begins.items():
            own[i] = marks[places.index(place)]
        ends = [*own, *(marks[self.group[n]] if n in self.group else None for n in self._invariants)]
        given = [Carried() for _ in range(len(start) + len(before))] + own
        given += [Carried() for _ in found[len(own) :]]
        given += [end or Carried() for end in ends[len(own) :]]
        follows = tracked(operands)

        def opened(
            stand_ins: list[Tensor],
        ) -> tuple[dict[int, Tensor], dict[Any, Tensor | None], list[Tensor], dict[int, Tensor]]:
            more = iter(stand_ins)
            cts = {i: next(more) for i in self.active}
            targets = {(m, 0): None if t is None else next(more) for m, t in zip(marks, received, strict=True)}
            now = [next(more) for _ in own]
            sent_now = {o: next(more) for o in sent}
            return cts, targets, [*now, *more], sent_now

        def closed_(targets: dict[Any, Tensor | None]) -> list[Tensor]:
            found_ = [targets[mark, 0] for mark in marks]
            return [t for t in found_ if t is not None]

        def one(stand_ins: list[Tensor]) -> list[Tensor]:
            cts, targets, now, sent_now = opened(stand_ins)
            targets |= {(end, 0): None for end in own if (end, 0) not in targets}
            self._walk(now, cts, sent_now, ends, targets)
            for mark, place in zip(marks, places, strict=True):
                if targets[mark, 0] is None:
                    i = next(i for i, p in self.begins.items() if p == place)
                    targets[mark, 0] = nothing(now[i]._spec)
            return [*closed_(targets), *self._results(now, targets, ends)]

        def none(stand_ins: list[Tensor]) -> list[Tensor]:
            cts, targets, now, _ = opened(stand_ins)
            for i, place in self.begins.items():
                mark = marks[places.index(place)], 0
                held = targets[mark]
                targets[mark] = cts[i] if held is None else held + cts[i]
            return [*closed_(targets), *self._results(now, {(own[n], 0): None for n in self.parts}, own)]

        specs = [t._spec for t in operands]
        nodes = [mark if on else None for mark, on in zip(given, follows, strict=True)]
        name = f"{self.control.name}.grad"
        sides = [Traced(name, specs, nodes, run, self.device) for run in (one, none)]
        going = full((), True, dtype="bool", device=self.device) if self.count is None else self.count > 0
        outputs = apply(BRANCH, {"true": sides[0].graph, "false": sides[1].graph}, [going, *operands])
        record_branch(name, [side.body for side in sides], [going, *operands], outputs)
        for place, total in zip(others, outputs[len(self.groups) :], strict=False):
            sums.replace(*place, total)
        return list(start), outputs[: len(self.groups)], outputs[len(places) :]

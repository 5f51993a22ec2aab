"""A run of a captured function on the tape of whoever called it: one record that stands for many.

Eager code adds up cotangents in the order in which its records are visited, and so must whoever differentiates
*through* a compiled function (docs/numerics.md, section 4). So the tape that the capture recorded is kept
(:class:`Unit`), and the gradient of a run is what walking that very tape gives:

- As a rule the walk itself is traced once and runs as one call (:func:`_fuse`). What the operands have received from
  records after the run goes in, and what they have received with the run's own contributions comes out: the additions
  are those of eager code, one by one.
- With ``create_graph`` the gradients are differentiated in turn, through values in the middle of the function. Then the
  record is unfolded: its inner records are made for real, their values computed by one call, and the walk goes on
  through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import user_line
from ..graph.ir import Graph, Node, Value
from ..graph.simplify import eliminate_dead, simplify
from ..ops.op import Trace, state
from ..tensor import tape
from ..tensor.calls import GraphCall, value_of, wrap
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor, make

__all__ = ["Unit", "UnitRecord"]

# A place on the tape, as seen from a Unit: ("input", n), ("record", number, output), ("own", output) of the record that
# saved it, or None.
_Place = tuple[Any, ...] | None


@dataclass(slots=True, eq=False)
class _Inner:
    """A record of the captured function, with values of its graph for what it saved."""

    backward: Any
    call: GraphCall
    parents: list[_Place]
    saved: list[tuple[Value, Spec, _Place]] | None  # None: freed by a backward pass inside the function


@dataclass(slots=True, eq=False)
class _Fused:
    """A traced walk: its call, the inputs and outputs of the function it needs, the groups whose sums it returns."""

    call: GraphCall
    needs_inputs: tuple[int, ...]
    needs_outputs: tuple[int, ...]
    groups: tuple[int, ...]
    visited: frozenset[int]


class Unit:
    """The tape of a captured function: its records in order, and where its outputs and operands are on it.

    Args:
        graph: the captured graph.
        nodes: for each of its inputs the place on the tape that it had in the capture.
        outputs: (node, index, value) of what the caller gets with a history.
    """

    __slots__ = (
        *("_fused", "_middle", "graph", "inner", "kept", "name"),
        *("out_specs", "outputs", "positions", "spent", "values"),
    )

    def __init__(self, graph: Graph, nodes: Sequence[Any], outputs: Sequence[tuple[Any, int, Value]]):
        self.graph, self.name = graph, graph.name
        records = _reachable([node for node, _, _ in outputs])
        number = {record: i for i, record in enumerate(records)}
        position: dict[Any, int] = {}
        for i, node in enumerate(nodes):
            if node is not None:
                position.setdefault(node, i)

        def place(node: Any, index: int) -> _Place:
            if node in number:
                return ("record", number[node], index)
            return ("input", position[node]) if node in position else None

        self.inner = [_inner(record, place) for record in records]
        # For each output its place; outputs at one place of a record are one output of the run's record, a slot.
        self.outputs = [place(node, index) for node, index, _ in outputs]
        values = {p: value for p, (_, _, value) in zip(self.outputs, outputs, strict=True)}
        self.out_specs = [p for p in values if p is not None and p[0] == "record"]
        self.values = [values[p] for p in self.out_specs]
        reached = {p for inner in self.inner for p in inner.parents} | set(self.outputs)
        self.positions = tuple(i for i in sorted(position.values()) if ("input", i) in reached)
        self.kept = _needed(graph, _saved(self.inner))  # the inputs that a run's record holds on to
        # Everything was freed by backward passes inside the function: its runs share a record that says so.
        self.spent: UnitRecord | None = None
        if all(inner.saved is None for inner in self.inner) and len(self.out_specs) == len(values):
            self.positions = ()
            self.spent = UnitRecord(self, (), (), ())
        self._fused: dict[Any, _Fused] = {}
        self._middle: GraphCall | None = None

    def fused(self, pattern: tuple[int, ...], present: tuple[bool, ...], received: tuple[bool, ...]) -> _Fused:
        """The traced walk. ``pattern`` has for each operand the group of operands that are one place on the tape,
        ``present`` which outputs have a cotangent, ``received`` which groups have received something before."""
        key = pattern, present, received
        found = self._fused.get(key)
        if found is None:
            found = self._fused[key] = _fuse(self, pattern, present, received)
        return found

    def middle(self) -> tuple[GraphCall, list[Value]]:
        """The call that computes all values that inner records saved from the inputs that are kept, and these
        values."""
        wanted = _saved(self.inner)
        if self._middle is None:
            live = eliminate_dead(self.graph.copy(outputs=wanted))
            self._middle = GraphCall(Graph(live.name, [live.inputs[i] for i in self.kept], live.nodes, wanted))
        return self._middle, wanted


def _saved(inner: Sequence[_Inner]) -> list[Value]:
    """The values that records saved, each once."""
    return list(dict.fromkeys(v for record in inner for v, _, _ in record.saved or ()))


def _needed(graph: Graph, wanted: Sequence[Value]) -> tuple[int, ...]:
    """The numbers of the inputs that values are computed from."""
    found = set(wanted)
    for node in reversed(graph.nodes):
        if node.output in found:
            found.update(node.inputs)
    return tuple(i for i, v in enumerate(graph.inputs) if v in found)


def _inner(record: tape.Record, place: Any) -> _Inner:
    """A record as data: nodes become places."""
    saved = None
    if record.saved is not None:
        saved = [
            (value, spec, ("own", index) if tape.is_own(node) else place(node, index))
            for value, spec, node, index in record.saved
        ]
    return _Inner(record.backward, record.call, [place(node, index) for node, index in record.parents], saved)


def _reachable(nodes: Sequence[Any]) -> list[tape.Record]:
    """The records that lead to these nodes, in the order in which they were made."""
    found: set[tape.Record] = set()
    stack = [node for node in nodes if isinstance(node, tape.Record)]
    while stack:
        record = stack.pop()
        if record not in found:
            found.add(record)
            stack += [parent for parent, _ in record.parents if isinstance(parent, tape.Record)]
    return sorted(found, key=lambda record: record.sequence)


def _fuse(unit: Unit, pattern: tuple[int, ...], present: tuple[bool, ...], received: tuple[bool, ...]) -> _Fused:
    """Walk the tape on traced tensors; see :meth:`Unit.fused`."""
    graph, trace, outer = unit.graph, Trace(None, user_line(2)), state.trace
    inputs = [Value(v.type) for v in graph.inputs]
    outputs = [Value(v.type) for v in unit.values]
    given = {v: i for i, v in enumerate(graph.inputs)}
    values = dict(zip(graph.inputs, inputs, strict=True))
    known = {v: saved for v, saved in zip(unit.values, outputs, strict=True) if v not in given}
    for node in graph.nodes:
        copied = Node(node.op, tuple(values[v] for v in node.inputs), node.params, node.where, node.scope)
        copied.output = Value(node.output.type, copied)
        trace.nodes.append(copied)
        values[node.output] = known.get(node.output, copied.output)
    ends = [tape.Boundary() for _ in received]
    group = dict(zip(unit.positions, pattern, strict=True))
    records = _records(unit, lambda n: (ends[group[n]], 0), lambda v, spec: (values[v], spec), frozenset())
    types = [graph.inputs[unit.positions[pattern.index(g)]].type for g in range(len(ends))]
    sums = [Value(t) if has else None for t, has in zip(types, received, strict=True)]
    cotangents = [Value(v.type) if has else None for v, has in zip(unit.values, present, strict=True)]
    targets = {(end, 0): None if v is None else wrap(v) for end, v in zip(ends, sums, strict=True)}
    visited: set[int] = set()
    roots = []
    for (_, number, index), cotangent in zip(unit.out_specs, cotangents, strict=True):
        if cotangent is not None:
            roots.append((records[number], index, wrap(cotangent)))
            visited |= _below(unit, number)
    state.trace = trace
    try:
        tape.backward(roots, False, True, targets)
        found = [(g, value_of(t, trace)) for g, t in enumerate(targets.values()) if t is not None]
    finally:
        state.trace = outer
    found = [(g, v) for g, v in found if v is not sums[g]]
    rest = [v for v in (*cotangents, *sums) if v is not None]
    whole = simplify(Graph(f"{graph.name}.grad", [*inputs, *outputs, *rest], trace.nodes, [v for _, v in found]))
    used = {v for n in whole.nodes for v in n.inputs} | set(whole.outputs)
    needs_inputs = tuple(i for i, v in enumerate(inputs) if v in used)
    needs_outputs = tuple(i for i, v in enumerate(outputs) if v in used)
    kept = [*(inputs[i] for i in needs_inputs), *(outputs[i] for i in needs_outputs), *rest]
    call = GraphCall(Graph(whole.name, kept, whole.nodes, whole.outputs))
    return _Fused(call, needs_inputs, needs_outputs, tuple(g for g, _ in found), frozenset(visited))


def _below(unit: Unit, number: int) -> set[int]:
    """The inner records that a cotangent of one of them reaches, itself included."""
    found: set[int] = set()
    stack = [number]
    while stack:
        here = stack.pop()
        if here not in found:
            found.add(here)
            stack += [p[1] for p in unit.inner[here].parents if p is not None and p[0] == "record"]
    return found


def _records(unit: Unit, operand: Any, value: Any, freed: frozenset[int]) -> list[tape.Record]:
    """The inner records, made: ``operand(n)`` is the place of the function's n-th input, ``value(v, spec)`` what holds
    a value that they saved, and its spec."""
    made: list[tape.Record] = []

    def found(place: _Place) -> tuple[Any, int]:
        if place is None:
            return None, 0
        return operand(place[1]) if place[0] == "input" else (made[place[1]], place[2])

    for number, inner in enumerate(unit.inner):
        record = tape.Record()
        record.backward, record.call, record.sequence = inner.backward, inner.call, number
        record.parents = tuple([found(p) for p in inner.parents])
        record.saved = None
        if inner.saved is not None and number not in freed:
            record.saved = [
                (*value(v, spec), *(tape.own(place[1]) if place is not None and place[0] == "own" else found(place)))
                for v, spec, place in inner.saved
            ]
        made.append(record)
    return made


class UnitRecord(tape.Record):
    """One run of a captured function.

    Args:
        unit: the function's tape.
        operands: for each of ``unit.positions`` the operand's (node, index) before the run.
        inputs: the storages that the run begins with, and their specs.
    """

    __slots__ = ("expanded", "freed", "inputs", "outputs", "unit")

    def __init__(self, unit: Unit, operands: Sequence[tuple[Any, int]], inputs: Sequence[Any], specs: Sequence[Spec]):
        self.unit = unit
        self.call: Any = unit  # for its name, and the number of its outputs
        self.sequence = tape.now()
        self.parents = tuple(operands)
        self.inputs = {i: (inputs[i], specs[i]) for i in unit.kept}
        self.outputs: dict[int, tuple[Any, Spec]] = {}
        self.freed: set[int] = {i for i, inner in enumerate(unit.inner) if inner.saved is None}
        self.saved = []
        self.expanded = None

    def put(self, outputs: Sequence[Tensor]) -> None:
        """Give what the run made its place on the tape."""
        unit = self.unit
        operands = dict(zip(unit.positions, self.parents, strict=True))
        for output, place in zip(outputs, unit.outputs, strict=True):
            if place is None:  # a leaf that the function made
                output._node, output._index = tape.Leaf(output._spec), 0
            elif place[0] == "input":  # the value, and the history, of an operand
                output._node, output._index = operands[place[1]]
            else:
                slot = unit.out_specs.index(place)
                if unit.spent is None:
                    self.outputs[slot] = output._storage, output._spec
                output._node, output._index = self, slot

    def propagate(self, cotangents: list[Tensor | None], sums: tape.Sums, retain_graph: bool) -> None:
        """Send the cotangents of the results on to the operands, added up as eager records would."""
        if tape.recording.enabled:
            if self.unit.spent is not None:
                raise tape.freed(self.unit.inner[-1].call.name)
            self._unfold()
            for (node, index), cotangent in zip(self.expanded or (), cotangents, strict=True):
                if cotangent is not None:
                    sums.add(node, index, cotangent)
            return
        places: dict[tuple[Any, int], int] = {}
        pattern = tuple([places.setdefault(p, len(places)) for p in self.parents])
        before = [sums.at(node, index) for node, index in places]
        present = tuple([c is not None for c in cotangents])
        walk = self.unit.fused(pattern, present, tuple([t is not None for t in before]))
        for number in sorted(walk.visited & self.freed, reverse=True):
            raise tape.freed(self.unit.inner[number].call.name)
        operands = [make(*self.inputs[i], None, 0) for i in walk.needs_inputs]
        operands += [make(*self.outputs[i], None, 0) for i in walk.needs_outputs]
        operands += [t for t in (*cotangents, *before) if t is not None]
        keys = list(places)
        for group, total in zip(walk.groups, walk.call(operands), strict=True):
            sums.replace(*keys[group], total)
        if not retain_graph:
            self._free(walk.visited)

    def _free(self, numbers: frozenset[int]) -> None:
        """Let go of what inner records saved."""
        self.freed |= numbers
        if len(self.freed) == len(self.unit.inner):
            self.inputs, self.outputs = {}, {}

    def _unfold(self) -> None:
        """Make the inner records for real; from now on what is sent to this record goes to them."""
        if self.expanded is not None:
            return
        unit, values, inputs = self.unit, {}, self.inputs
        alive = len(self.freed) < len(unit.inner)
        if alive and unit.kept and not inputs:  # another thread has just done it
            return
        if alive:
            call, wanted = unit.middle()
            with tape.set_grad_enabled(False):
                computed = call([make(*inputs[i], None, 0) for i in unit.kept])
            values = {v: (t._storage, t._spec) for v, t in zip(wanted, computed, strict=True)}
        operands = dict(zip(unit.positions, self.parents, strict=True))
        records = _records(unit, operands.__getitem__, lambda v, spec: values[v], frozenset(self.freed))
        for record in records:
            # In their order, after everything before this run and before everything after it.
            record.sequence = self.sequence - 1 + (record.sequence + 1) / (len(records) + 1)
        self.expanded = [(records[number], index) for _, number, index in unit.out_specs]
        self.inputs, self.outputs = {}, {}

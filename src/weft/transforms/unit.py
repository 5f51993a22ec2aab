"""A run of a captured function on the tape of whoever called it: one record that stands for many.

Eager code adds up cotangents in the order in which its records are visited, and so must whoever differentiates
*through* a compiled function (docs/numerics.md, section 4). So the tape that the capture recorded is kept
(:class:`Unit`), and the gradient of a run is what walking that very tape gives:

- As a rule the walk itself is traced once and runs as one call (:func:`_fuse`). What the operands have received from
  records after the run goes in, and what they have received with the run's own contributions comes out: the additions
  are those of eager code, one by one.
- With ``create_graph`` the gradients are differentiated in turn, through values in the middle of the function. Then the
  record is unfolded: its inner records are made for real, over the values that the run kept, and the walk goes on
  through them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from ..core.device import Device
from ..core.errors import AutogradError, CaptureError, user_line
from ..core.process import Lock
from ..core.symbolic import Sizes
from ..graph.ir import Graph, Node, Value, copy_nodes
from ..graph.protocol import TensorType, View
from ..graph.simplify import simplify
from ..graph.specialise import specialise
from ..ops.op import Trace, state
from ..tensor import lines, tape
from ..tensor.calls import Backward, GraphCall, value_of, wrap
from ..tensor.gradient_hooks import Hooks, are_many_watched, line_of, unfold
from ..tensor.sized_call import SizedCall, numbers_of
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make

_tracing = Lock()

# A place on the tape, as seen from a Unit: ("input", n), ("record", number, output), ("own", output) of the record that
# saved it, ("stale",) of a view that no history can follow, or None.
_Place = tuple[Any, ...] | None


@dataclass(slots=True, eq=False)
class _Inner:
    """A record of the captured function, with values of its graph for what it saved."""

    kind: type[tape.Record]
    backward: Any
    call: GraphCall
    parents: list[_Place]
    saved: list[tuple[Value, Spec, _Place]] | None  # None: freed by a backward pass inside the function
    at: Any  # where the call was made
    spoiled: AutogradError | None  # a value that it saved was written by the function itself

    @property
    def has_sizes(self) -> bool:
        """Whether it can be had for any sizes."""
        return hasattr(self.call, "at") and (self.backward is self.call or isinstance(self.backward, Backward))

    def calls_at(self, sizes: Mapping[str, int]) -> tuple[Any, Any]:
        """Its gradient graph, and its call, for certain numbers."""
        call = self.call.at(sizes)
        if self.backward is self.call:  # of a branch or a loop
            return call, call
        wanted = next(w for w, backward in self.call.backwards.items() if backward is self.backward)
        return call.backward(wanted), call


@dataclass(slots=True, eq=False)
class _Fused:
    """A traced walk: its call, which of the values that a run kept it needs, the groups whose sums it returns."""

    call: Any  # a GraphCall, or what runs one for certain sizes
    needs: tuple[Value, ...]
    groups: tuple[int, ...]
    visited: frozenset[int]


class Unit:
    """The tape of a captured function: its records in order, and where its outputs and operands are on it.

    A run keeps what eager records would: operands, results and tensors that were written keep the memory that they have
    (``shown``: as part of which of them a saved value can be read), and what else was saved is computed by the run as
    ``residuals``.

    Args:
        graph: the captured graph; device: where it runs.
        nodes: for each of its inputs the place on the tape that it had in the capture; then of further operands, which
            share memory with an input.
        types: of these further operands.
        outputs: (node, index, value) of what the caller gets with a history.
        lasting: values that are there after a run: what inputs hold then, and results. Others become residuals.
        overwritten: values that the function wrote over, and where.
        scope: of the symbols among its sizes; runs have :class:`SizedUnit` then.
    """

    __slots__ = (
        *("_fused", "device", "freed", "graph", "inner", "lasting", "name", "residuals", "scope"),
        *("out_specs", "outputs", "positions", "slots", "spent", "types", "values"),
    )

    def __init__(
        self,
        graph: Graph,
        nodes: Sequence[Any],
        types: Sequence[TensorType],
        outputs: Sequence[tuple[Any, int, Value]],
        lasting: set[Value],
        overwritten: Mapping[Value, Any],
        device: Device,
        scope: Sizes | None = None,
    ):
        self.graph, self.name, self.device, self.scope = graph, graph.name, device, scope
        self.types = [*(v.type for v in graph.inputs), *types]
        records = _reachable([node for node, _, _ in outputs])
        number = {record: i for i, record in enumerate(records)}
        position: dict[Any, int] = {}
        for i, node in enumerate(nodes):
            if node is not None:
                position.setdefault(node, i)

        def place(node: Any, index: int) -> _Place:
            if node in number:
                return ("record", number[node], index)
            if node in position:
                return "input", position[node]
            return ("stale",) if isinstance(node, tape.Stale) else None

        self.inner = [_inner(record, place, overwritten) for record in records]
        # For each output its place; outputs at one place of a record are one output of the run's record, a slot.
        self.outputs = [place(node, index) for node, index, _ in outputs]
        values = {p: value for p, (_, _, value) in zip(self.outputs, outputs, strict=True)}
        self.out_specs = [p for p in values if p is not None and p[0] == "record"]
        self.slots = [self.out_specs.index(p) if p in self.out_specs else None for p in self.outputs]
        self.values = [values[p] for p in self.out_specs]
        reached = {p for inner in self.inner for p in inner.parents} | set(self.outputs)
        # Operands of branches and loops to which nothing is sent have places there, too.
        reached |= {p for inner in self.inner for _, _, p in inner.saved or ()}
        self.positions = tuple(i for i in sorted(position.values()) if ("input", i) in reached)
        saved = [_seen(v) for inner in self.inner if inner.spoiled is None for v, _, _ in inner.saved or ()]
        self.lasting = tuple(dict.fromkeys(v for v in saved if v in lasting))
        self.residuals = tuple(dict.fromkeys(v for v in saved if v not in lasting))
        self.freed = frozenset(i for i, inner in enumerate(self.inner) if inner.saved is None)
        # All ways back come to what backward passes inside the function have freed: its runs share a record that says
        # so.
        self.spent: UnitRecord | None = None
        if len(self.out_specs) == len(values) and all(self.freed & _below(self, n) for _, n, _ in self.out_specs):
            self.positions = ()
            self.spent = UnitRecord(self, (), {})
        self._fused: dict[Any, _Fused] = {}

    def fused(self, pattern: tuple[int, ...], present: tuple[bool, ...], received: tuple[bool, ...]) -> _Fused:
        """The traced walk. ``pattern`` has for each operand the group of operands that are one place on the tape,
        ``present`` which outputs have a cotangent, ``received`` which groups have received something before."""
        key = pattern, present, received
        found = self._fused.get(key)
        if found is None:
            with _tracing.now:  # what is asked of sizes is noted in the scope that all threads share
                found = self._fused[key] = _fuse(self, pattern, present, received)
        return found

    def calls(self, inner: _Inner) -> tuple[Any, GraphCall]:
        """The gradient graph, and the call, of an inner record."""
        return inner.backward, inner.call

    def call_of(self, graph: Graph) -> GraphCall:
        """A part of the function's graph as a call."""
        return GraphCall(graph, self.device, hands_on=True)

    def spec_of(self, value: Value) -> Spec:
        """The spec of a value that a run keeps."""
        return spec_of(value.dtype, value.shape, None, self.device)

    @property
    def has_sizes(self) -> bool:
        """Whether its records can be had for any sizes."""
        return all(inner.has_sizes for inner in self.inner)


class SizedUnit(Unit):
    """The tape of runs for certain numbers, of a capture with symbols for sizes.

    Args:
        unit: of the capture.
        sizes: the number of each name.
        specs: of the residuals.
    """

    __slots__ = ("_walks", "sizes", "specs", "whole")

    def __init__(self, unit: Unit, sizes: Mapping[str, int], specs: Mapping[Value, Spec]):
        for name in Unit.__slots__:
            setattr(self, name, getattr(unit, name))
        self.whole, self.sizes, self.specs = unit, sizes, specs
        self._walks: dict[Any, _Fused | None] = {}

    def fused(self, pattern: tuple[int, ...], present: tuple[bool, ...], received: tuple[bool, ...]) -> Any:
        """The traced walk for these sizes; None: what was traced asked for others."""
        key = pattern, present, received
        if key not in self._walks:
            walk = self.whole.fused(pattern, present, received)
            call = walk.call.at(numbers_of(walk.call.names, self.sizes))
            self._walks[key] = None if call is None else replace(walk, call=call)
        return self._walks[key]

    def calls(self, inner: _Inner) -> tuple[Any, GraphCall]:
        return inner.calls_at(self.sizes)

    def call_of(self, graph: Graph) -> GraphCall:
        return GraphCall(specialise(graph, self.sizes), self.device, hands_on=True)

    def spec_of(self, value: Value) -> Spec:
        return self.specs[value]


def _seen(value: Value) -> Value:
    """The value that one is a view of."""
    while value.node is not None and isinstance(value.node.op.lower, View):
        value = value.node.inputs[0]
    return value


def _inner(record: tape.Record, place: Any, overwritten: Mapping[Value, Any]) -> _Inner:
    """A record as data: nodes become places.

    Raises:
        CaptureError: the captured function has registered a hook there, which no run would have.
    """
    for hooked in getattr(record, "hooks", {}).values():
        if hooked:
            raise refused(hooked)
    for node, index in record.parents:  # a leaf that the function made
        if isinstance(node, tape.Leaf) and place(node, index) is None:
            check_unhooked(node)
    saved, spoiled = None, None
    if record.saved is not None:
        saved = []
        for value, spec, node, index, _ in record.saved:
            saved.append((value, spec, ("own", index) if tape.is_own(node) else place(node, index)))
            if value in overwritten and spoiled is None:
                spoiled = tape.overwritten(record.call.name, spec, lines.where_of(record.place), overwritten[value])
    parents = [place(node, index) for node, index in record.parents]
    at = getattr(record, "place", None)
    return _Inner(record.__class__, record.backward, record.call, parents, saved, at, spoiled)


def check_unhooked(leaf: tape.Leaf) -> None:
    """Raise where a leaf that the captured function has made, and that is reached from outside, has hooks."""
    for hooked in (leaf.before, leaf.after and leaf.after[1]):
        if hooked:
            raise refused(hooked)


def refused(hooked: Hooks) -> CaptureError:
    """What to raise where a hook that the captured function has registered would be ignored."""
    error = CaptureError(
        "a hook that is registered inside a captured function, on a tensor whose gradient is asked for outside of it; "
        "call backward() inside too, or return the tensor and register the hook there"
    )
    error.where = line_of(hooked) or error.where
    return error


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


def _views_below(value: Value, known: Mapping[Value, Value]) -> list[Node]:
    """The view nodes that lead to a value from one that is known."""
    found: list[Node] = []
    while value not in known:
        assert value.node is not None
        found.append(value.node)
        value = value.node.inputs[0]
    return found[::-1]


def _fuse(unit: Unit, pattern: tuple[int, ...], present: tuple[bool, ...], received: tuple[bool, ...]) -> _Fused:
    """Walk the tape on traced tensors; see :meth:`Unit.fused`."""
    trace = Trace(None, user_line(2), device=unit.device, sized=unit.scope is not None)
    outer = state.trace
    kept = {v: Value(v.type) for v in (*unit.lasting, *unit.residuals)}
    values = dict(kept)
    for inner in unit.inner:
        for value, _, _ in (inner.saved or ()) if inner.spoiled is None else ():
            copy_nodes(_views_below(value, values), values, trace.nodes)
    ends = [tape.Boundary() for _ in received]
    group = dict(zip(unit.positions, pattern, strict=True))
    records = _records(
        unit.inner, unit.calls, lambda n: (ends[group[n]], 0), lambda v, spec: (values.get(v), spec), frozenset()
    )
    types = [unit.types[unit.positions[pattern.index(g)]] for g in range(len(ends))]
    sums = [Value(t) if has else None for t, has in zip(types, received, strict=True)]
    cotangents = [Value(v.type) if has else None for v, has in zip(unit.values, present, strict=True)]
    targets = {(end, 0): None if v is None else wrap(v) for end, v in zip(ends, sums, strict=True)}
    visited: set[int] = set()
    roots = []
    for (_, number, index), cotangent in zip(unit.out_specs, cotangents, strict=True):
        if cotangent is not None:
            roots.append((records[number], index, wrap(cotangent)))
            visited |= _below(unit, number)
    for number in sorted(visited, reverse=True):
        spoiled = unit.inner[number].spoiled
        if spoiled is not None:
            raise spoiled
        if ("stale",) in unit.inner[number].parents:
            raise tape.Stale().error()
    state.trace = trace
    try:
        tape.backward(roots, False, True, targets)
        found = [(g, value_of(t, trace)) for g, t in enumerate(targets.values()) if t is not None]
    finally:
        state.trace = outer
    found = [(g, v) for g, v in found if v is not sums[g]]
    rest = [v for v in (*cotangents, *sums) if v is not None]
    name = f"{unit.graph.name}.grad"
    whole = simplify(Graph(name, [*kept.values(), *rest], trace.nodes, [v for _, v in found]))
    used = whole.used()
    needs = tuple(v for v, given in kept.items() if given in used)
    whole = Graph(whole.name, [*(kept[v] for v in needs), *rest], whole.nodes, whole.outputs)
    call: Any = unit.call_of(whole)
    if unit.scope is not None:
        call = SizedCall(call, unit.scope)
    return _Fused(call, needs, tuple(g for g, _ in found), frozenset(visited))


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


def _records(
    inner_records: Sequence[_Inner],
    calls: Callable[[_Inner], tuple[Any, Any]],
    operand: Callable[[int], tuple[Any, int]],
    value: Callable[[Value, Spec], tuple[Any, Spec]],
    freed: frozenset[int],
) -> list[tape.Record]:
    """Inner records, made: ``calls(inner)`` is the gradient graph and the call of one, ``operand(n)`` the place of the
    function's n-th input, ``value(v, spec)`` what holds a value that they saved, and its spec."""
    made: list[tape.Record] = []

    def found(place: _Place) -> tuple[Any, int]:
        if place is None:
            return None, 0
        if place[0] == "stale":
            return tape.Stale(), 0
        return operand(place[1]) if place[0] == "input" else (made[place[1]], place[2])

    for number, inner in enumerate(inner_records):
        record = inner.kind()
        record.backward, record.call = calls(inner)
        record.sequence, record.place = number, inner.at
        record.parents = tuple([found(p) for p in inner.parents])
        record.saved = None
        if inner.saved is not None and number not in freed:
            record.saved = []
            for v, spec, place in inner.saved:
                storage, seen = value(v, spec)
                own = place is not None and place[0] == "own"
                node, index = tape.own(place[1]) if own and place is not None else found(place)
                record.saved.append((storage, seen, node, index, getattr(storage, "version", 0)))
        made.append(record)
    return made


class UnitRecord(tape.Record):
    """One run of a captured function.

    Args:
        unit: the function's tape.
        operands: for each of ``unit.positions`` the operand's (node, index) before the run.
        kept: by their values in the graph the storages that inner records read, with their specs and versions.
    """

    __slots__ = ("expanded", "freed", "kept", "unit")
    is_many = True

    def __init__(self, unit: Unit, operands: Sequence[tuple[Any, int]], kept: dict[Value, tuple[Any, Spec, int]]):
        self.unit = unit
        self.call: Any = unit  # for its name, and the number of its outputs
        self.sequence = tape.now()
        self.parents = tuple(operands)
        self.kept = kept
        self.freed: Set[int] = unit.freed
        self.saved = []
        self.expanded = None

    def put(self, number: int) -> tuple[Any, int]:
        """The place on the tape of the run's n-th output with a history; (None, 0): a leaf that the function made."""
        slot = self.unit.slots[number]
        if slot is not None:
            return self, slot
        place = self.unit.outputs[number]
        if place is None:
            return None, 0
        if place[0] == "stale":
            return tape.Stale(), 0
        return self.parents[self.unit.positions.index(place[1])]  # the value, and the history, of an operand

    def propagate(self, cotangents: list[Tensor | None], sums: tape.Sums, retain_graph: bool) -> None:
        """Send the cotangents of the results on to the operands, added up as eager records would."""
        if self.unit.spent is not None:
            raise tape.freed(self.unit.inner[max(self.freed)].call.name)
        if tape.recording.enabled or are_many_watched(self, sums.retained):
            self._unfolded(cotangents, sums)
            return
        places: dict[tuple[Any, int], int] = {}
        pattern = tuple([places.setdefault(p, len(places)) for p in self.parents])
        before = [sums.at(node, index) for node, index in places]
        present = tuple([c is not None for c in cotangents])
        walk = self.unit.fused(pattern, present, tuple([t is not None for t in before]))
        if walk is None:  # it was traced for other sizes
            self._unfolded(cotangents, sums)
            return
        for number in sorted(walk.visited & self.freed, reverse=True):
            raise tape.freed(self.unit.inner[number].call.name)
        operands = [self._kept(v) for v in walk.needs]
        operands += [t for t in (*cotangents, *before) if t is not None]
        keys = list(places)
        totals = walk.call(operands)
        for at, (group, total) in enumerate(zip(walk.groups, totals, strict=True)):
            sums.replace(*keys[group], total, tape.is_lent(total, totals[:at], operands))
        if not retain_graph:
            self._free(walk.visited)

    def _unfolded(self, cotangents: list[Tensor | None], sums: tape.Sums) -> None:
        """Send the cotangents to the inner records."""
        self._unfold()
        unfold(self, sums.retained)
        for (node, index), cotangent in zip(self.expanded or (), cotangents, strict=True):
            if cotangent is not None:
                sums.add(node, index, cotangent)

    def _kept(self, value: Value) -> Tensor:
        """A value that the run kept.

        Raises:
            AutogradError: it was written since.
        """
        storage, spec, version = self.kept[value]
        if storage.version != version:
            inner = next(i for i in self.unit.inner if any(_seen(v) is value for v, _, _ in i.saved or ()))
            raise tape.overwritten(inner.call.name, spec, lines.where_of(inner.at), storage.note)
        return make(storage, spec, None, 0)

    def _free(self, numbers: frozenset[int]) -> None:
        """Let go of what inner records saved."""
        self.freed |= {n for n in numbers if self.unit.inner[n].saved}  # what keeps nothing has nothing to free
        if all(n in self.freed or not inner.saved for n, inner in enumerate(self.unit.inner)):
            self.kept = {}

    def _unfold(self) -> None:
        """Make the inner records for real; from now on what is sent to this record goes to them."""
        if self.expanded is not None:
            return
        unit, kept = self.unit, self.kept
        left = any(inner.saved and n not in self.freed for n, inner in enumerate(unit.inner))
        if left and (unit.lasting or unit.residuals) and not kept:
            return  # another thread has just done it
        values = {v: (storage, spec) for v, (storage, spec, _) in kept.items()}
        for number, inner in enumerate(unit.inner):
            if inner.saved is None or number in self.freed:
                continue
            if inner.spoiled is not None:
                raise inner.spoiled
            for value, _, _ in inner.saved:
                self._kept(_seen(value))
                if value not in values:
                    values[value] = self._viewed(value)
        operands = dict(zip(unit.positions, self.parents, strict=True))
        records = _records(
            unit.inner, unit.calls, operands.__getitem__, lambda v, spec: values[v], frozenset(self.freed)
        )
        for record in records:
            # In their order, after everything before this run and before everything after it.
            record.sequence = self.sequence - 1 + (record.sequence + 1) / (len(records) + 1)
        self.expanded = [(records[number], index) for _, number, index in unit.out_specs]
        for slot, hooked in getattr(self, "hooks", {}).items():
            record, index = self.expanded[slot]
            if not hasattr(record, "hooks"):
                record.hooks = {}
            record.hooks[index] = hooked
        self.kept = {}

    def _viewed(self, value: Value) -> tuple[Any, Spec]:
        """A view of a value that the run kept."""
        source = _seen(value)
        given = Value(source.type)
        trace, seen = Trace(), {source: given}
        copy_nodes(_views_below(value, seen), seen, trace.nodes)
        call = self.unit.call_of(Graph(self.unit.name, [given], trace.nodes, [seen[value]]))
        with tape.set_grad_enabled(False):
            (found,) = call([self._kept(source)])
        return found._storage, found._spec

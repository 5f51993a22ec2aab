"""A captured function: its graph, and what ties it to the world outside.

The parts answer one question each: what is read (:class:`Reads`), what aliases what (:class:`Aliases`), what is written
(:class:`Writes`), what is returned (:class:`Returns`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.device import Device
from ..core.errors import CaptureError
from ..core.symbolic import SymDim
from ..graph.called import expand
from ..graph.ir import Graph, Value
from ..tensor import guards
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .aliasing import Group, Pair, meets, overlaps
from .names import Names
from .placed import Placed, StoredNumber
from .refs import BaseRef, GradRef, Ref, TensorRef
from .repeated import Repeated
from .returned import Item, Result
from .stores import Kept, Store
from .tree import Form
from .unit import Unit


class Now:
    """Tensors by reference: those that are the same at each call, and where the others are found."""

    __slots__ = ("_found", "_leaves", "_others", "fixed")

    def __init__(self, refs: Sequence[Ref]):
        self._found = [r.tensor if isinstance(r, TensorRef) else None for r in refs]
        self.fixed = [t for t in self._found if t is not None]
        # Gradients of leaves, which there may be hundreds of; and whatever else.
        self._leaves = [(n, r.leaf) for n, r in enumerate(refs) if isinstance(r, GradRef) and r.leaf is not None]
        known = {n for n, _ in self._leaves}
        self._others = [(n, r) for n, r in enumerate(refs) if n not in known and not isinstance(r, TensorRef)]

    @property
    def is_fixed(self) -> bool:
        """Whether all are the same at each call."""
        return not (self._leaves or self._others)

    def moving(self, given: Sequence[Tensor]) -> list[Tensor | None]:
        """Those that are found anew, as they are now."""
        return [*(leaf.grad for _, leaf in self._leaves), *(ref.get(given) for _, ref in self._others)]

    def all(self, given: Sequence[Tensor]) -> list[Tensor | None]:
        """All of them, as they are now."""
        found = self._found.copy()
        for n, leaf in self._leaves:
            found[n] = leaf.grad
        for n, ref in self._others:
            found[n] = ref.get(given)
        return found


@dataclass(slots=True)
class Reads:
    """What the function read besides its arguments, and what its Python code was specialised on.

    refs: where the further inputs of the graph come from; specs, nodes: of the tensors there, and kinds of their places
    on the tape.
    """

    refs: list[Ref]
    specs: list[Spec]
    nodes: list[type]
    conditions: list[Callable[[Sequence[Tensor]], bool]]
    guards: list[guards.Guard]
    names: Names | None = None  # what the function's code names
    objects: set[int] = field(default_factory=set)  # ids of tensors: what names one of them must go on to do so
    version: int = -1  # of the guarded state, when the guards were last checked
    _now: Now | None = None

    def state(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The tensors read by reference, in the order of the graph's inputs."""
        found: list[Any] = self.now.all(given)
        for tensor in found:
            if tensor is None:
                raise CaptureError("a gradient that the captured function reads is None now")
        return found

    @property
    def now(self) -> Now:
        """These tensors."""
        if self._now is None:
            self._now = Now(self.refs)
        return self._now

    def hold(self, given: Sequence[Tensor]) -> bool:
        """Whether everything still is as it was when the function was captured (types, not values)."""
        for now, spec, node in zip(self.now.all(given), self.specs, self.nodes, strict=True):
            if now is None or now._spec is not spec or now._node.__class__ is not node:
                return False
        version = guards.version()
        if self.version != version:
            if not all(guard.holds() for guard in self.guards):
                return False
            self.version = version
        for condition in self.conditions:
            if not condition(given):
                return False
        return self.names is None or self.names.same()

    def changed(self, given: Sequence[Tensor]) -> str | None:
        """What does not hold any more, in words; None where all of it does."""
        for guard in self.guards:
            if not guard.holds():
                return guard.changed()
        for ref, spec, node in zip(self.refs, self.specs, self.nodes, strict=True):
            now = ref.get(given)
            if now is None:
                return f"a gradient that was {spec} is None"
            if now._spec is not spec:
                return f"a tensor or gradient is {now._spec} ({spec} before)"
            if now._node.__class__ is not node:
                return f"a tensor {spec} has another place in the history of gradients"
        if not all(condition(given) for condition in self.conditions):
            return "a gradient, a hook, or what was stored in a Python object is another"
        return None if self.names is None else self.names.changed()


@dataclass(slots=True)
class _Shared:
    """Memory that several tensors show, as a graph takes it: their numbers, where they lie (from the first on) and how
    they are related, and from where to where it goes. ``base``: whose memory it is, where that is none of them."""

    members: dict[int, tuple[int, Any]]
    low: int
    high: int
    base: BaseRef | None


@dataclass(slots=True)
class Aliases:
    """Which arguments and captured tensors share memory, or are one, where that makes a difference.

    refs: the captured tensors to look at: what this capture read, and what one that knew nothing of the overlaps did.
    written: of the arguments, then of these, which are written. pairs: the overlaps when the function was captured.
    groups: memory that several of them show, as the graph takes it.
    """

    refs: list[Ref]
    written: list[bool]
    pairs: tuple[Pair, ...] = ()
    groups: list[_Shared] = field(default_factory=list)
    leaves: bool = False  # gradients of arguments are read or written: two arguments may not be one leaf
    same: tuple[int, ...] = ()  # which of them were
    _now: Now | None = None
    _roots: frozenset[int] = frozenset()
    _state: list[Any] = field(default_factory=list)  # storages that the roots are of
    _windows: list[Tensor] = field(default_factory=list)  # captured tensors over memory of other libraries

    def settle(self, given: Sequence[Tensor]) -> None:
        """Take the overlaps of these arguments for those that the graph holds for."""
        self.pairs = overlaps(self._tensors(given), self.written)
        self.same = one_leaf(given, self._tensors(given)[len(given) :]) if self.leaves else ()

    @property
    def now(self) -> Now:
        """The captured tensors to look at."""
        if self._now is None:
            self._now = Now(self.refs)
        return self._now

    def _tensors(self, given: Sequence[Tensor]) -> Sequence[Tensor | None]:
        return [*given, *self.now.all(given)]

    def fixed(self) -> list[Tensor]:
        """The captured tensors to look at, where none is found anew at each call; else none."""
        return self.now.fixed if self.now.is_fixed else []

    def hold(self, given: Sequence[Tensor]) -> bool:
        """Whether the pattern is that of the capture."""
        if self.leaves and one_leaf(given, self._tensors(given)[len(given) :]) != self.same:
            return False
        if True not in self.written:
            return True
        if not self.groups:
            return self._clear(given) or not overlaps(self._tensors(given), self.written)
        return self._as_grouped(given, self._tensors(given))

    def group(self, given: Sequence[Tensor], groups: Sequence[Group]) -> None:
        """Note what lies in the memory of these groups, and where."""
        for group in groups:
            tensors, low, high = self._tensors(given), group.low, group.high
            starts = {
                i: t._storage.address
                for i, t in enumerate(tensors)
                if t is not None and low <= t._storage.address and t._storage.address + t._spec.extent <= high
            }
            first = next(iter(starts.values()))
            known = {i: (at - first, _relation(tensors[i], tensors)) for i, at in starts.items()}
            base = group.ref if isinstance(group.ref, BaseRef) else None
            self.groups.append(_Shared(known, low - first, high - first, base))

    def _as_grouped(self, given: Sequence[Tensor], tensors: Sequence[Tensor | None]) -> bool:
        """Whether the members of all groups lie as they did, nothing else reaches into their memory, and nothing else
        that is written overlaps with anything."""
        rest = list(tensors)
        for shared in self.groups:
            first = None
            for i, (at, relation) in shared.members.items():
                tensor = tensors[i]
                if tensor is None:
                    return False
                first = tensor._storage.address - at if first is None else first
                if tensor._storage.address != first + at or _relation(tensor, tensors) != relation:
                    return False
                rest[i] = None
            assert first is not None
            base = None if shared.base is None else shared.base.get(given)
            if base is not None and base._storage.address != first + shared.low:
                return False  # the same pattern elsewhere in the base: the graph has the members' ways from there
            for i, tensor in enumerate(tensors):
                reaches = tensor is not None and meets(tensor, first + shared.low, first + shared.high)
                if reaches and i not in shared.members:
                    return False
        return not overlaps(rest, self.written)

    def _clear(self, given: Sequence[Tensor]) -> bool:
        """Whether no argument or gradient shares a block with another, or with a captured tensor, and these do not
        overlap: a comparison of roots says so as a rule."""
        fixed, moving = self.now.fixed, self.now.moving(given)
        if moving:
            given = [*given, *(t for t in moving if t is not None)]
        roots = set()
        try:
            for t in given:
                root = t._storage.root
                if root.owner is not None:
                    return False
                roots.add(id(root))
            storages = [t._storage for t in fixed]
            if storages != self._state:  # compared one by one, by identity
                written = self.written[len(self.written) - len(self.refs) :]
                of_fixed = [w for w, r in zip(written, self.refs, strict=True) if isinstance(r, TensorRef)]
                if overlaps(fixed, of_fixed):
                    return False
                self._state = storages
                self._roots = frozenset([id(s.root) for s in storages if s.root.owner is None])
                self._windows = [t for t in fixed if t._storage.root.owner is not None]  # maybe of our memory
        except AttributeError:  # a tensor without a value: another thread's capture
            return True
        for window in self._windows:
            low = window._storage.address
            if any(meets(t, low, low + window._spec.extent) for t in given):
                return False
        return len(roots) == len(given) and self._roots.isdisjoint(roots)


def _relation(tensor: Tensor | None, tensors: Sequence[Tensor | None]) -> Any:
    """What a member of a group is, which may be no input of the graph: its spec and kind of place on the tape, which of
    the tensors it is (the first that is the same object), and whose view: that of the first of those that have the same
    base, or are it; None where it is none."""
    if tensor is None:
        return None
    same = next(n for n, other in enumerate(tensors) if other is tensor)
    own, of = (same, tensor._spec, tensor._node.__class__), tensor._view
    if of is None:
        return own, None
    for n, other in enumerate(tensors):
        if other is not None and (other is of.base or (other._view is not None and other._view.base is of.base)):
            return own, of.kind, n
    return own, of.kind, -1


def one_leaf(given: Sequence[Tensor], state: Sequence[Tensor | None]) -> tuple[int, ...]:
    """Which arguments are one leaf: for each the first that is the same, among the captured tensors too."""
    first = {id(t._node): ~n for n, t in enumerate(state) if t is not None and t._node is not None}
    return tuple([n if t._node is None else first.setdefault(id(t._node), n) for n, t in enumerate(given)])


@dataclass(slots=True)
class Writes:
    """What a run leaves behind in tensors and gradients that were there before.

    updates: what is written into memory, with its value. gradients: leaves whose gradient becomes another tensor, one
    from outside or an item (its number), or None. places: tensors whose place on the tape is another, with the
    number of the output on the run's tape (None: without a history). through: tensors by way of which memory that
    several show was written, so that they must not be read-only.
    """

    updates: list[tuple[Ref, Value]]
    gradients: list[tuple[GradRef, Result]]
    places: list[tuple[Ref, int | None]]
    through: list[Ref] = field(default_factory=list)

    @property
    def anything(self) -> bool:
        """Whether a run changes what was there before."""
        return bool(self.updates or self.gradients)


@dataclass(slots=True)
class Returns:
    """What a run makes: results, and what Python objects are given. ``tape``: for each item the number of its output on
    the run's tape (None: without a history). ``kept``: what they are given of what was there before; ``numbers``: items
    that they are given as Python numbers; ``repeated``: what is done to them besides, None where nothing is."""

    form: Form
    results: list[Result]
    values: list[Value]  # of all results
    items: list[Item]
    stores: list[Store]
    tape: list[int | None]
    kept: list[Kept] = field(default_factory=list)
    repeated: Repeated | None = None
    numbers: list[StoredNumber] = field(default_factory=list)

    @property
    def writes_python(self) -> bool:
        """Whether runs store anything in Python objects."""
        return bool(self.stores or self.kept or self.repeated or self.numbers)


@dataclass(slots=True, weakref_slot=True)
class Captured:
    """What a function did. The inputs of ``graph`` are the arguments, then the state that is read; its outputs are the
    items that have memory of their own, then the updates."""

    graph: Graph
    arguments: int
    reads: Reads
    aliases: Aliases
    writes: Writes
    returns: Returns
    unit: Unit | None  # the tape of what is made with a history
    members: list[Ref]  # captured tensors that share memory with an input, and have a history of their own
    leaves: list[Spec]  # leaves that every run makes
    device: Device  # where it runs
    counts: list[tuple[str, Value]] = field(default_factory=list)  # sizes that kernels set, by name, in order
    memory_limit: int | None = None  # bytes of intermediate values
    places: tuple[Placed, ...] = ()  # what they hold are the last of the arguments
    has_numbers: bool = False  # whether Python numbers are inputs: these, or among the arguments
    take_back: Callable[[], None] | None = None  # undoes stores in Python objects, as long as no run has made them real

    @property
    def function(self) -> Graph:
        """The graph with all results, and nothing else, as outputs: what files say, op for op."""
        return expand(self.graph.copy(outputs=self.returns.values))

    @property
    def live(self) -> Unit | None:
        """The unit, if runs keep anything for it."""
        return None if self.unit is None or self.unit.spent is not None else self.unit

    @property
    def program(self) -> Graph:
        """The graph with what a run computes as outputs: items, what it keeps for the tape, updates."""
        outputs, count = self.graph.outputs, len(self.graph.outputs) - len(self.writes.updates)
        residuals = () if self.live is None else self.live.residuals
        return self.graph.copy(outputs=[*outputs[:count], *residuals, *outputs[count:]])

    @property
    def whole(self) -> Graph:
        """The graph with all that a run leaves behind as outputs: results, what Python objects get, updates."""
        values = self.returns.values
        stored = [s.value for s in self.returns.stores if s.value not in values]
        stored += [] if self.returns.repeated is None else self.returns.repeated.values
        stored += [self.returns.items[number.item].value for number in self.returns.numbers]
        written = [self.returns.items[n].value for _, n in self.writes.gradients if isinstance(n, int)]
        written += [v for _, v in self.writes.updates]
        return self.graph.copy(outputs=[*values, *stored, *written])

    def guarded(self) -> list[str]:
        """What must stay as it is for the graph to be used again, in words."""
        arguments, state = self.graph.inputs[: self.arguments - len(self.places)], self.reads.specs
        found = [f"argument tensor {n}: {v.type!r}" for n, v in enumerate(arguments)]
        sized = [*arguments, *(v for node in self.graph.nodes for v in node.outputs if self.counts)]
        scopes = {id(n.scope): n.scope for v in sized for n in v.shape if isinstance(n, SymDim)}
        found += [
            f"sizes: {line}" for scope in scopes.values() if scope is not None for line in scope.lines_of_guards()
        ]
        found += [f"tensor read by reference: {s!r}, with the kind of history that it has" for s in state]
        found += [f"{each.kind.__name__} that is read at each run: {each.place.name}" for each in self.places]
        found += [guard.described() for guard in self.reads.guards]
        found += [f"condition: {getattr(c, '__name__', None) or 'what is stored stays'}" for c in self.reads.conditions]
        found += [] if self.reads.names is None else self.reads.names.described()
        return found + (["which arguments and captured tensors share memory"] if self.aliases.pairs else [])

    def abandon(self) -> None:
        """Take back what the function stored in Python objects, if no run has given it a value."""
        if self.take_back is not None:
            self.take_back()
            self.take_back = None

    def valid(self, given: Sequence[Tensor]) -> bool:
        """Whether arguments and state still are as they were when the function was captured."""
        reads = self.reads
        if not reads.hold(given):
            return False
        return self.aliases.hold(given)

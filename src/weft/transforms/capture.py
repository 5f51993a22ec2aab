"""Capture: run a function once on traced tensors and keep what it did as a graph.

Tensors that the function closes over are read *by reference*: they become further inputs of the graph, and what is
rebound during the capture (arguments, parameters, optimizer state, the random generator, gradients) becomes further
outputs, which every run writes back. Nothing outside is touched meanwhile (:mod:`weft.transforms.inside`); what the
function stores in Python objects is dealt with by :mod:`weft.transforms.stores`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import CaptureError, WeftError
from ..graph.ir import Graph, Value
from ..graph.protocol import TensorType
from ..graph.simplify import eliminate_dead
from ..ops.op import Trace, state
from ..tensor import guards, tape
from ..tensor.calls import GraphCall, value_of
from ..tensor.capturing import settle_others
from ..tensor.dispatch import is_array, is_scalar
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, is_traced, make
from .inside import ArgumentRef, GradRef, Inside, Ref, Target, TensorRef, Update
from .names import Names
from .stores import Store, settle, take_back
from .tree import Form, flatten, unflatten
from .unit import Unit

__all__ = ["Captured", "Result", "capture"]


# What a result is: a tensor of the state or an argument, an earlier result (its number), or (None) a tensor of its own.
Result = TensorRef | ArgumentRef | int | None


@dataclass(slots=True)
class Captured:
    """What a function did.

    ``graph`` has the arguments, then the state that was read, as inputs; its outputs are the results that are tensors
    of their own, the tensors that Python objects were given, then the updates.
    """

    graph: Graph
    arguments: int
    refs: list[Ref]
    specs: list[Spec]  # of the state when it was captured
    nodes: list[type]  # kinds of its places on the tape
    results: list[Result]
    values: list[Value]  # of all results
    stores: list[Store]
    updates: list[tuple[Target, Value]]
    cleared: list[GradRef]  # leaves whose gradient is None at the end
    outputs_form: Form
    unit: Unit | None  # the tape of what is made with a history ...
    on_tape: list[int]  # ... and which outputs of the graph that is
    forgotten: list[Target]  # tensors that were rebound to something without a history
    conditions: list[Callable[[Sequence[Tensor]], bool]] = field(default_factory=list)
    guards: list[guards.Guard] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)  # the refs' tensors, when none is a gradient
    version: int = -1  # of the guarded state, when the guards were last checked
    watched: dict[int, Tensor] = field(default_factory=dict)  # by id: state that an argument may not be as well ...
    distinct: bool = False  # ... nor may two arguments be one tensor ...
    aliases: tuple[int, ...] = ()  # ... unless they were when the function was captured
    names: Names | None = None  # what the function's code names
    places: set[tuple[int, Any]] = field(default_factory=set)  # (id of the owner, key) of what the runs store
    take_back: Callable[[], None] | None = None  # undoes stores in Python objects, as long as no run has made them real

    @property
    def function(self) -> Graph:
        """The graph with all results, and nothing else, as outputs."""
        return self.graph.copy(outputs=self.values)

    @property
    def whole(self) -> Graph:
        """The graph with all that a run leaves behind as outputs: results, what Python objects get, updates."""
        own = sum(what is None for what in self.results)
        return self.graph.copy(outputs=[*self.values, *self.graph.outputs[own:]])

    def abandon(self) -> None:
        """Take back what the function stored in Python objects, if no run has given it a value."""
        if self.take_back is not None:
            self.take_back()
            self.take_back = None

    def state(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The tensors read by reference, in the order of the graph's inputs."""
        found = [r.get(given) for r in self.refs]
        if any(t is None for t in found):
            raise CaptureError("a gradient that the captured function reads is None now")
        return found  # type: ignore[return-value]

    def aliases_of(self, given: Sequence[Tensor]) -> tuple[int, ...]:
        """Which arguments are one tensor, or a tensor of the state; () where that makes no difference."""
        watched, ids = self.watched, [id(t) for t in given]
        if not self.distinct or len(ids) < 2 or len(set(ids)) == len(ids):
            for i in ids:
                if i in watched:
                    break
            else:
                return ()
        first: dict[int, int] = {}
        return tuple([i if i in watched else first.setdefault(i, n) for n, i in enumerate(ids)])

    def valid(self, given: Sequence[Tensor]) -> bool:
        """Whether arguments and state still are as they were when the function was captured (types, not values)."""
        if (self.watched or self.distinct) and self.aliases_of(given) != self.aliases:
            return False
        if self.tensors:
            for tensor, spec, node in zip(self.tensors, self.specs, self.nodes, strict=True):
                if tensor._spec is not spec or tensor._node.__class__ is not node:
                    return False
        else:
            for ref, spec, node in zip(self.refs, self.specs, self.nodes, strict=True):
                now = ref.get(given)
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

    def changed(self, given: Sequence[Tensor]) -> str:
        """What makes the graph invalid, in words."""
        for guard in self.guards:
            if not guard.holds():
                return f"{type(guard.owner).__name__}{'.' if guard.name else ''}{guard.name}"
        for ref, spec in zip(self.refs, self.specs, strict=True):
            now = ref.get(given)
            if now is None or now._spec is not spec:
                return f"a tensor or gradient that was {spec}"
        return "a variable that its code names"


def capture(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None, *, to_run: bool = False
) -> Captured:
    """Capture ``function(*args, **kwargs)``.

    Arguments are any nestings of tensors (or TensorTypes, possibly with symbolic sizes) and Python values; the
    tensors, in order, are the graph's first inputs. ``to_run``: what the function stores in Python objects will be
    stored there by the runs; without it such stores are taken back.

    Raises:
        CaptureError: the function needs a value (``if`` on a tensor, ``item()``), or another capture is going on.
    """
    if state.trace is not None:
        raise CaptureError("a function is captured inside another capture; call it instead")
    leaves, form = flatten((tuple(args), dict(kwargs or {})))
    names = Names(function, tuple(args), dict(kwargs or {}))  # what they mean now: the function may change them
    for attempt in range(3):
        try:
            found, given = _run(function, leaves, form, set(), to_run, names)
            break
        except _ForeignValue:  # of another thread's capture, perhaps, which has a value when that is done
            if not settle_others() and attempt:
                raise
    found.names = names
    twice = found.aliases_of(given)
    if twice:
        # Something that the function rebinds is reached in two ways: once more, with one object for both.
        found.abandon()
        shared = {id(t) for i, t in enumerate(given) if twice.count(twice[i]) > 1 or id(t) in found.watched}
        again, given = _run(function, leaves, form, shared, to_run, names)
        again.watched |= found.watched
        again.distinct |= found.distinct
        again.aliases = again.aliases_of(given)
        found, again.names = again, names
    names.settle(found.places, {id(r.tensor) for r in found.refs if isinstance(r, TensorRef)})
    return found


@dataclass(slots=True, eq=False)
class _Made:
    """A tensor that the function made, as data: whoever still holds the tensor itself has stored it."""

    value: Value
    node: Any
    index: int


def _run(
    function: Callable[..., Any], leaves: Sequence[Any], form: Form, shared: set[int], to_run: bool, names: Names
) -> tuple[Captured, list[Tensor]]:
    """One run of the function, and its tensor arguments; ``shared`` ones stay the objects that they are."""
    going = Inside()
    trace = Trace(going)
    version, done, mode = guards.version(), False, tape.recording.enabled
    args, kwargs = unflatten(form, [_argument(leaf, going, shared) for leaf in leaves])
    with guards.recording() as recorded:
        state.trace = trace
        try:
            result = function(*args, **kwargs)
            if tape.recording.enabled != mode:
                raise CaptureError(
                    "the function leaves gradients switched on or off for good (set_grad_enabled as a plain call), "
                    "which a compiled function would do once; use it as a context manager"
                )
            results, result_form = flatten(result)
            values = _outputs(results, trace)
            is_what = _objects(results, going)
            parts = zip(results, values, is_what, strict=True)
            _check_containers(args, kwargs, form, going)
            own = {id(t): _Made(v, t._node, t._index) for t, v, what in parts if what is None}
            updates = going.updates(trace)
            going.release()
            del result, results, parts, args, kwargs
            stores = settle(going, list(own)) if to_run else []
            arguments = [a.value for a in going.arguments]
            _check_own(trace, [*arguments, *going.inputs], [m.value for m in own.values()])
            done = True
        finally:
            state.trace, tape.recording.enabled = None, mode
            if not done:
                _give_values(going, trace)
            if not done or not to_run:
                take_back(going, recorded, names)
    made = [*own.values(), *(_Made(s.value, s.node, s.index) for s in stores if s.number >= len(own))]
    written = [u for u in updates if u.value is not None]
    outputs = [*(m.value for m in made), *(u.value for u in written if u.value is not None)]
    going.keep_only({v for node in trace.nodes for v in node.inputs}.union(outputs, values))
    name = getattr(function, "__name__", type(function).__name__)
    graph = Graph(name, [*arguments, *going.inputs], trace.nodes, outputs)
    on_tape = _with_history(made, written)
    plain = [r.tensor for r in going.refs if isinstance(r, TensorRef)]
    places = {(id(p.owner), p.key) for s in stores for p in s.places}
    replacement = functools.partial(_seen_as, {id(t) for t in plain}, places, recorded)
    found = Captured(
        graph,
        len(going.arguments),
        going.refs,
        going.specs,
        [type(None) if isinstance(r, GradRef) else type(r.tensor._node) for r in going.refs],
        is_what,
        values,
        stores,
        [(u.target, u.value) for u in written if u.value is not None],
        [u.target for u in updates if u.value is None and isinstance(u.target, GradRef)],
        result_form,
        Unit(graph, [*(a.node for a in going.arguments), *going.nodes], list(on_tape.values())) if on_tape else None,
        list(on_tape),
        [u.target for u in written if u.is_new and u.node is None],
        going.conditions,
        # requires_grad_ gives and takes the leaf that gradients go to.
        [guards.rewritten(guard, replacement) for guard in recorded.seen]
        + [guards.Guard(t, "_node", t._node) for t in plain if not isinstance(t._node, tape.Record)],
        plain if len(plain) == len(going.refs) else [],
        version,
    )
    found.places = places
    if to_run:
        found.take_back = functools.partial(take_back, going, recorded, names)
    _watch(found, going, plain)
    return found, [a.given for a in going.arguments]


def _seen_as(read: set[int], places: set[tuple[int, Any]], recorded: guards.Recorded, value: Any) -> Any:
    """What a guard's value stands for: nothing where the function wrote it itself, any tensor of its type where the
    function replaced it unread."""
    if is_traced(value):
        return guards.ANYTHING
    replaced = isinstance(value, Tensor) and any(
        before is value and (id(names), key) in places for names, key, before in recorded.writes
    )
    return guards.like(value) if replaced and id(value) not in read else value


def _give_values(going: Inside, trace: Trace) -> None:
    """Give the tensors of a capture that has failed the values that they have so far, where other threads run: one of
    them may have come across a tensor that the function had stored, and is waiting for its value."""
    alive = going.surviving() if threading.active_count() > 1 else []
    tensors = [a.given for a in going.arguments] + [r.get([a.given for a in going.arguments]) for r in going.refs]
    if not alive or any(t is None or is_traced(t) for t in tensors):
        return
    inputs = [*(a.value for a in going.arguments), *going.inputs]
    known = set(inputs)
    nodes = []
    for node in trace.nodes:  # not those that need values of another capture
        if known.issuperset(node.inputs):
            nodes.append(node)
            known.add(node.output)
    alive = [t for t in alive if t._storage in known]
    with suppress(WeftError), tape.no_grad():
        graph = eliminate_dead(Graph("stored", inputs, nodes, [t._storage for t in alive]))
        for tensor, value in zip(alive, GraphCall(graph)(tensors), strict=True):  # type: ignore[arg-type]
            tensor._storage, tensor._spec = value._storage, value._spec


def _with_history(made: Sequence[_Made], written: Sequence[Update]) -> dict[int, tuple[Any, int, Value]]:
    """(node, index, value) of the outputs of the graph, by number, that have a history afterwards."""
    found = {i: (m.node, m.index, m.value) for i, m in enumerate(made) if m.node is not None}
    for i, update in enumerate(written, len(made)):
        if update.is_new and update.node is not None:
            assert update.value is not None
            found[i] = update.node, update.index, update.value
    return found


def _watch(found: Captured, going: Inside, plain: Sequence[Tensor]) -> None:
    """Note what must not be reached in two ways at once, because the function rebinds it in one of them."""
    used = [*found.refs, *found.cleared, *(target for target, _ in found.updates)]
    arguments = any(isinstance(ref, GradRef) and ref.leaf is None for ref in used)
    found.distinct = arguments or any(isinstance(t, ArgumentRef) for t, _ in found.updates)
    watched = [t.tensor for t, _ in found.updates if isinstance(t, TensorRef)]
    found.watched = {id(t): t for t in (*watched, *(plain if found.distinct else ()))}


def _argument(leaf: Any, going: Inside, shared: set[int]) -> Any:
    """What the function gets for a leaf of its arguments."""
    if isinstance(leaf, TensorType):
        leaf = make(Value(leaf), spec_of(leaf.dtype, leaf.shape), None, 0)
    elif not isinstance(leaf, Tensor):
        if not is_array(leaf) or is_scalar(leaf):
            return leaf
        from ..tensor.create import asarray

        leaf = asarray(leaf)
    return going.add_argument(leaf, id(leaf) in shared)


def _outputs(results: Sequence[Any], trace: Trace) -> list[Value]:
    """The values of what the function returned."""
    for item in results:
        if not isinstance(item, Tensor):
            raise CaptureError(
                f"a captured function must return tensors (in any nesting of dict, list and tuple), "
                f"not {type(item).__name__}"
            )
    return [value_of(item, trace) for item in results]


def _objects(results: Sequence[Tensor], going: Inside) -> list[Result]:
    """What each result is."""
    first: dict[int, int] = {}
    found: list[Result] = []
    for number, item in enumerate(results):
        earlier = first.setdefault(id(item), number)
        outside = going.object_of(item)
        found.append(outside if outside is not None or earlier == number else earlier)
    return found


def _check_containers(args: Any, kwargs: Any, form: Form, going: Inside) -> None:
    """The lists and dicts among the arguments are copies; a function that changes them would change nothing.

    Raises:
        CaptureError: it has changed one.
    """
    leaves, now = flatten((tuple(args), kwargs))
    given = [a.handed for a in going.arguments]
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if now != form or len(tensors) != len(given) or any(a is not b for a, b in zip(tensors, given, strict=True)):
        raise CaptureError(
            "the function changes a list or dict among its arguments, which a compiled function gets a copy of; return "
            "the new one"
        )


def _check_own(trace: Trace, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Every value that is used must be of this capture; one that an earlier capture left behind was never computed.

    Raises:
        CaptureError: at the line that uses such a value.
    """
    known = set(inputs)
    for node in trace.nodes:
        if not known.issuperset(node.inputs):
            raise _foreign(node.where)
        known.add(node.output)
    if not known.issuperset(outputs):
        raise _foreign(None)


class _ForeignValue(CaptureError):
    """A traced tensor of another capture."""


def _foreign(where: tuple[str, int] | None) -> CaptureError:
    error = _ForeignValue(
        "a tensor that was made while a function was captured is used in another capture: it has no value; return it, "
        "or keep a tensor outside and change its value with assign()"
    )
    error.where = where or error.where
    return error

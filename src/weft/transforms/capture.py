"""Capture: run a function once on traced tensors and keep what it did as a graph.

One question, one file: what is read (:mod:`weft.transforms.inside`: tensors that the function closes over become
further inputs, *by reference*, and nothing outside is touched meanwhile), what aliases what
(:mod:`weft.transforms.aliasing`), what is returned (:mod:`weft.transforms.returned`), what Python state is read
(:mod:`weft.transforms.names`), what is done to Python objects (:mod:`weft.transforms.journal`; by code without source:
:mod:`weft.transforms.stores`) and repeated by runs (:mod:`weft.transforms.repeated`), which places hold inputs
(:mod:`weft.transforms.placed`).
What is written (arguments, parameters, optimizer state, the random generator, gradients) are the differences that
``Inside.updates`` finds at the end. Here the function is run, and what was found becomes a
:class:`~weft.transforms.captured.Captured`.
"""

from __future__ import annotations

import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from threading import get_ident
from typing import Any

from ..core.device import CPU, Device
from ..core.errors import CaptureError, WeftError
from ..core.shapes import Shape, is_static
from ..core.symbolic import Sizes
from ..graph.ir import Graph, Value
from ..graph.protocol import TensorType
from ..ops.op import Trace, state
from ..ops.operands import Late
from ..tensor import guards, tape
from ..tensor.calls import value_of
from ..tensor.capturing import settle_others
from ..tensor.create import is_array, is_scalar
from ..tensor.gradient_hooks import retaining
from ..tensor.guards import ABSENT
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, is_traced, make
from .aliasing import Group, groups_of
from .captured import Aliases, Captured, Reads, Returns, Writes
from .evaluated import ForeignValue, computed
from .inside import Argument, Elsewhere, Inside, SharedLeaf, Update
from .names import Names
from .numbers import MOST, Scalar, check_attributes
from .placed import Placed, PlacedTensor, Placing, StoredNumber, lock_of
from .places import Place
from .refs import ArgumentRef, BaseRef, FlatRef, GradRef, Ref, TensorRef
from .repeated import Contents, Laid
from .returned import Item, Items, Result
from .source.find import converted
from .source.number import Number
from .source.signals import Unroll
from .stores import Kept, Plain, Store, kept, settle, take_back, unchanged
from .tree import Form, flatten, unflatten
from .unit import Unit, check_unhooked


def capture(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: dict[str, Any] | None = None,
    *,
    to_run: bool = False,
    shapes: Mapping[int, Shape] | None = None,
    counts: Sizes | None = None,
    alike: bool = False,
    places: Sequence[Placed] = (),
) -> Captured:
    """Capture ``function(*args, **kwargs)``.

    Arguments are any nestings of tensors (or TensorTypes, possibly with symbolic sizes) and Python values; the
    tensors, in order, are the graph's first inputs. ``to_run``: what the function stores in Python objects will be
    stored there by the runs; without it such stores are taken back. ``shapes``: of tensor arguments, by position, with
    sizes of a scope (core/symbolic.py) that have their numbers for examples; what the function asks of them becomes
    guards there. ``counts``: that scope, or one without names; sizes that values decide about become names of it;
    ``alike``: those that are equal now are one size, which is a guard. ``places``: what they hold are inputs, after the
    arguments.

    Raises:
        CaptureError: the function needs a value (``if`` on a tensor, ``item()``), or another capture is going on.
    """
    if state.trace is not None:
        raise CaptureError("a function is captured inside another capture; call it instead")
    leaves, form = flatten((tuple(args), dict(kwargs or {})))
    names = Names(function, tuple(args), dict(kwargs or {}))  # what they mean now: the function may change them
    shared: set[int] = set()
    unrolled: set[Any] = set()  # loops that cannot be one node
    placed = (leaf._spec.device for leaf in leaves if isinstance(leaf, Tensor))
    device = next((d for d in placed if d is not CPU), CPU)
    attempt = 0
    while True:
        try:
            first = _run(
                function,
                leaves,
                form,
                to_run,
                names,
                device,
                shared,
                shapes=shapes,
                unrolled=unrolled,
                counts=counts,
                alike=alike,
                places=places,
            )
            break
        except Unroll as met:
            unrolled.add(met.loop)
            names.undo()
            continue
        except SharedLeaf as twice:
            shared |= twice.ids
        except Elsewhere as met:
            device = met.device
        except ForeignValue:  # of another thread's capture, perhaps, which has a value when that is done
            if not settle_others() and attempt:
                raise
            names = Names(function, tuple(args), dict(kwargs or {}))
        attempt += 1
        if attempt == 4:
            raise CaptureError("a captured function meets other devices, or shared leaves, each time that it runs")
    again = functools.partial(
        _run,
        function,
        leaves,
        form,
        to_run,
        names,
        device,
        shapes=shapes,
        unrolled=unrolled,
        counts=counts,
        alike=alike,
        places=places,
    )

    def once_more(more: set[int], groups: list[Group], members: list[Tensor]) -> _Attempt:
        names.undo()
        return again(shared | more, groups, members)

    found = _with_aliases(first, once_more)
    found.reads.names, found.places = names, tuple(places)
    names.settle(found.reads.objects, {each.place.id for each in places})
    return found


@dataclass(slots=True)
class _Attempt:
    """A run of the function: what it came to, or what it raised, which may be due to memory that is reached in two ways
    and was not known to be; and what tells that."""

    result: Captured | Exception | None  # None once it has been taken
    given: list[Tensor]  # the tensor arguments
    aliases: Aliases
    written: list[Ref]


def _with_aliases(attempt: _Attempt, again: Callable[[set[int], list[Group], list[Tensor]], _Attempt]) -> Captured:
    """Where something that the function writes is reached in two ways: what it does once more, knowing that.

    Raises:
        Exception: the function's own.
        CaptureError: each time more comes in.
    """
    shared, groups = set[int](), list[Group]()
    for _ in range(6):  # a group may bring in further memory
        # Taken out of the attempt, whose other holders an error's traceback may reach.
        result, attempt.result = attempt.result, None
        aliases, given = attempt.aliases, attempt.given
        aliases.settle(given)
        refs: list[Ref] = [*(ArgumentRef(i) for i in range(len(given))), *aliases.refs]
        tensors = [r.get(given) for r in refs]
        written = [target.get(given) for target in attempt.written]
        twice = {id(t) for t in written if t is not None and t._spec.overlaps}  # elements that show several times
        one = {id(given[n]) for n, first in enumerate(aliases.same) if first != n} - shared
        if (
            not twice
            and not one
            and all(_is_known(tensors[i], tensors[j], shared, groups) for i, j, _ in aliases.pairs)
        ):
            assert result is not None
            if isinstance(result, Exception):
                try:
                    raise result
                finally:
                    del result  # its traceback holds this frame
            aliases.group(given, groups)
            return result
        if isinstance(result, Captured):
            result.abandon()
        del result
        ids = [id(t) for t in tensors]
        groups = groups_of(refs, tensors, aliases.pairs, [n for n, i in enumerate(ids) if i in twice])
        inside = Counter(id(t) for t in tensors if t is not None and any(g.holds(t) for g in groups))
        shared |= one.union(i for i, times in inside.items() if times > 1)
        members = [t for t in tensors[len(given) :] if t is not None and any(g.holds(t) for g in groups)]
        attempt = again(shared, groups, members)
        _look_at_all(attempt.aliases, aliases, len(given))
    raise CaptureError(
        "a captured function writes memory that its arguments and captured tensors share in ways that do not settle; "
        "pass clones, or leave the function uncompiled"
    )


def _is_known(a: Tensor | None, b: Tensor | None, shared: set[int], groups: Sequence[Group]) -> bool:
    """Whether the capture knew that two tensors share memory."""
    if a is None or b is None or (a is b and id(a) in shared):
        return True
    return any(g.holds(a) and g.holds(b) for g in groups)


def _look_at_all(found: Aliases, before: Aliases, count: int) -> None:
    """Let a capture look at the tensors that an earlier one of the same function read and wrote too."""
    own = {ref.key: n for n, ref in enumerate(found.refs, count)}
    for number, was_written in enumerate(before.written):
        if number < count:
            found.written[number] |= was_written
            continue
        ref = before.refs[number - count]
        at = own.get(ref.key)
        if at is None:
            found.refs.append(ref)
            found.written.append(was_written)
        else:
            found.written[at] |= was_written


def _places(found: Captured) -> set[tuple[int, Any]]:
    """(id of the owner, key) of what the runs store."""
    repeated = found.returns.repeated
    own = {h.place.id for s in found.returns.stores for h in s.places}
    return own if repeated is None else own | repeated.places


def _run(
    function: Callable[..., Any],
    leaves: Sequence[Any],
    form: Form,
    to_run: bool,
    names: Names,
    device: Device,
    shared: Set[int] = frozenset(),
    groups: Sequence[Group] = (),
    members: Sequence[Tensor] = (),
    shapes: Mapping[int, Shape] | None = None,
    unrolled: Set[Any] = frozenset(),
    counts: Sizes | None = None,
    alike: bool = False,
    places: Sequence[Placed] = (),
) -> _Attempt:
    """One run of the function, for a device; ``shared`` arguments stay the objects that they are, ``groups`` say which
    tensors share memory, ``members`` of them come from outside (they are entered now, before a body of a branch or loop
    has written them), ``shapes`` which arguments have sizes of a scope, ``places`` hold numbers that are inputs."""
    going = Inside(groups, shapes, counts, alike)
    going.names, names.journal = names, going.journal
    going.unrolled = unrolled
    named = any(isinstance(x, TensorType) and not is_static(x.shape) for x in leaves)
    trace = going.trace = Trace(going, device=device, sized=bool(shapes) or counts is not None or named)
    version, mode = guards.version(), tape.recording.enabled
    args, kwargs = unflatten(form, [_argument(leaf, going, shared) for leaf in leaves])
    count = going.calls_own = len(going.arguments)
    placing = Placing([(each, _placed(each, going)) for each in places])
    names.placed = placing.before
    ended = _Ended(going, names, placing, form, count, to_run)
    given = [args, kwargs]
    del args, kwargs
    with guards.recording() as recorded:
        under_way = going, names, placing, recorded
        try:
            _under_way.append(under_way)
            placing.begin()
            state.trace = trace
            for member in members:
                going.inside(member)
            attempt = ended.run(function, given, recorded)
            if attempt is not None:
                return attempt
        finally:
            state.trace, tape.recording.enabled = None, mode
            _end(going, names, placing, recorded)
            _under_way[:] = [each for each in _under_way if each is not under_way]
            if not ended.well:
                given.clear()
                going.release()
                _give_values(going)
            laid = ended.laid
            stays = kept(going, recorded, names, set() if laid is None else laid.repeated.places)
            if not ended.well or not to_run:
                _take_back(going, recorded, names, stays)
            if not ended.well and going.has_numbers:  # with constants it is captured once more
                names.undo()
    try:
        found = _captured(function, going, ended.updates, ended.becomes, ended.returns())
    except BaseException:  # an interrupt, say: what the function stored has no value yet
        if to_run:
            _take_back(going, recorded, names, stays)
        raise
    found.reads.version, found.counts, found.has_numbers = version, going.counts, going.has_numbers
    _note_reads(found, going, recorded, shared)
    if laid is not None:
        free = {each.place.id for each in places} | {each.place.id for each in ended.numbers}
        _note_kept(found, stays, ended.becomes, names, laid, free)
        found.take_back = functools.partial(_take_back, going, recorded, names, stays)
    return _Attempt(found, [a.given for a in going.arguments], found.aliases, [t for t, _ in found.writes.updates])


_under_way: list[tuple[Inside, Names, Placing, guards.Recorded]] = []  # captures, of all threads


def _end(going: Inside, names: Names, placing: Placing, recorded: guards.Recorded) -> None:
    """Take back what was done to buffers, Python objects and places while a function was captured."""
    going.restore_buffers()
    going.journal.undo()
    placing.end(names, recorded)
    placing.let_go()
    going.is_over = True


def _after_fork() -> None:
    """Captures of other threads are never ended in the child: what they have stored is taken back."""
    others = [each for each in _under_way if each[0].thread != get_ident()]
    for going, names, placing, recorded in others:
        with suppress(Exception):  # it may have been in the middle of anything
            _end(going, names, placing, recorded)
            take_back(going, recorded, names)
    _under_way[:] = [each for each in _under_way if each[0].thread == get_ident()]


os.register_at_fork(after_in_child=_after_fork)


class _Ended:
    """What one run of the function has come to. All that is made on the way are variables of :meth:`run`: of a run that
    fails, nothing but the error holds them."""

    def __init__(self, going: Inside, names: Names, placing: Placing, form: Form, count: int, to_run: bool):
        """``form``: of the arguments; ``count``: of those that are no places."""
        self.going, self.names, self.placing, self.to_run = going, names, placing, to_run
        self.form, self.count = form, count
        self.mode, self.well = tape.recording.enabled, False
        self.laid: Laid | None = None
        self.updates: list[Update] = []
        self.becomes: list[tuple[GradRef, Result]] = []
        self.numbers: list[StoredNumber] = []

    def run(self, function: Callable[..., Any], given: list[Any], recorded: guards.Recorded) -> _Attempt | None:
        """Run the function and note what it gives and leaves; the attempt of one that raised what may be due to shared
        memory. ``given``: its arguments, which are let go of."""
        going, names, placing = self.going, self.names, self.placing
        trace: Trace = going.trace
        args, kwargs = given
        result = _called(function, args, kwargs, going)
        if isinstance(result, _Attempt):
            return result
        going.write_buffers()
        numbers = placing.end(names, recorded, going.journal.has_changed)
        if going.has_numbers:
            _check_numbers(going, flatten(result)[0])
        if recorded.writes or going.has_numbers or going.has_rebound or len(going.arguments) > self.count:
            recorded.seen[:] = [guards.rewritten(guard, _anything_for_inputs) for guard in recorded.seen]
        _check_recording(self.mode)
        if not isinstance(result, Tensor):
            names.whole(result, deep=True)
        results, self._form = flatten(result)
        results = [r.tensor if isinstance(r, Late) else r for r in results]
        going.check_former(results)
        self._values = _outputs(results, trace)
        self._is_what = is_what = _objects(results, going)
        _check_retained(results)
        _check_containers(args, kwargs, self.form, going.arguments[: self.count])
        items = self._items = Items(going)
        own = {id(t): items.see(t) for t, what in zip(results, is_what, strict=True) if what is None}
        gradients = _seen_gradients(going, items)
        updates = self.updates = going.updates(trace)
        _check_placed(updates, self.count)
        constants = going.let_go_of_constants()
        going.release()
        stored_numbers = [(place, n.kind, items.see(n.tensor), reported) for place, n, reported in numbers]
        del result, results, args, kwargs, numbers
        given.clear()
        going.keep_constants(constants)
        if self.to_run:
            stored_numbers += self._lay_out(recorded, own)
        stores = self._stores = settle(going, list(own)) if self.to_run else []
        _check_retained([store.first() for store in stores])
        self._made = made = [*own.values(), *_seen_stores(stores, items, len(own))]
        self.becomes = _numbered(gradients, own, stores, made)
        self.numbers = _stored_numbers(stored_numbers, made)
        laid = self.laid
        stored_refs = [] if laid is None else laid.refs
        going.check_former(ref.tensor for ref in stored_refs if isinstance(ref, TensorRef))
        for ref in (*is_what, *stored_refs, *(store.of for store in stores), *(what for _, what in self.becomes)):
            going.hold_on(ref)
        stored = [*(u.value for u in updates), *(store.value for store in stores)]
        stored += [] if laid is None else laid.repeated.values
        _check_own(going, [*self._values, *stored])
        self.well = True
        return None

    def _lay_out(self, recorded: guards.Recorded, own: dict[int, int]) -> list[tuple[Place, type, int, bool]]:
        """Note what every run does to Python objects; the numbers that it stores."""
        laid = self.laid = Laid(self.going, self.going.journal, self.names)
        found = [(place, n.kind, self._items.see(n.tensor), told) for place, n, told in laid.numbers]
        laid.numbers.clear()
        self.placing.end(self.names, recorded)
        _see_laid(laid, self._items, own)
        return found

    def returns(self) -> Returns:
        """What a run gives and leaves."""
        items = self._items.make(self._made)
        made = Returns(self._form, self._is_what, self._values, items, self._stores, [], numbers=self.numbers)
        if self.laid is not None and self.laid.repeated.steps:
            made.repeated = self.laid.repeated
        return made


def _note_reads(found: Captured, going: Inside, recorded: guards.Recorded, shared: Set[int]) -> None:
    """The tensors that must be the very ones that the capture saw, and the guards: what else it read of Python."""
    plain = [r.tensor for r in going.refs if isinstance(r, TensorRef)]
    members = [r.tensor for r, _, _ in going.members if isinstance(r, TensorRef)]
    # Arguments that are reached by another name as well stand for what that name means.
    shown = [ref.tensor for item in found.returns.items for ref in (item.of, item.base) if isinstance(ref, TensorRef)]
    found.reads.objects = {id(t) for t in (*plain, *members, *shown)}.union(shared)
    replacement = functools.partial(_seen_as, found.reads.objects, _places(found), recorded)
    # requires_grad_ gives and takes the leaf that gradients go to.
    found.reads.guards = [guards.rewritten(guard, replacement) for guard in recorded.seen]
    read = [*plain, *members]
    read += [t._view.base for t in read if t._view is not None]  # a view of a leaf is not written
    found.reads.guards += [guards.Guard(t, "_node", t._node) for t in read if not isinstance(t._node, tape.Record)]


def _note_kept(
    found: Captured,
    stays: Sequence[tuple[Kept, Any]],
    gradients: Sequence[tuple[GradRef, Result]],
    names: Names,
    laid: Laid,
    free: Set[Any],
) -> None:
    """What was there before the function and is stored by it, or may be: each run stores it, or finds it there; but for
    places, by id, that are ``free`` to hold any number."""
    found.returns.kept = [each for each, _ in stays]
    same = unchanged(names, laid.repeated.places | free)
    found.reads.conditions += [functools.partial(_holds, place, held) for place, held in same]
    stored = [each.what.tensor for each in found.returns.kept if isinstance(each.what, TensorRef)]
    stored += [what.tensor for _, what in gradients if isinstance(what, TensorRef)]
    stored += [ref.tensor for ref in laid.refs if isinstance(ref, TensorRef)]
    stored += names.unchanged_items()
    found.reads.objects.update(id(t) for t in (*stored, *(held for _, held in same)) if isinstance(t, Tensor))
    for container in laid.read:
        if not names.has_contents(container):
            found.reads.conditions.append(Contents(container, found.reads.objects))


def _seen_gradients(going: Inside, items: Items) -> list[tuple[GradRef, Any]]:
    """What gradients become: a tensor from outside, or the id of one that was made and the number of its item."""
    return [
        (ref, None) if t is None else (ref, going.object_of(t) or (id(t), items.see(t))) for ref, t in going.gradients()
    ]


def _see_laid(laid: Laid, items: Items, own: dict[int, int]) -> None:
    """Note the tensors that runs hand to Python objects, beside the results (``own``: ids of tensors, their names)."""
    _check_retained(list(laid.tensors.values()))
    count = len(own)
    for key, tensor in laid.tensors.items():
        if key not in own:
            is_new = key < 0
            own[key] = items.see_value(tensor._storage, tensor._node, tensor._index) if is_new else items.see(tensor)
    laid.number(list(own), count)


def _seen_stores(stores: Sequence[Store], items: Items, results: int) -> list[int]:
    """Note the tensors of stores that are no results; their ids."""
    made = {s.number: s for s in stores if s.of is None and s.number >= results}
    found = []
    for _, store in sorted(made.items()):
        tensor = store.first()
        # Where other threads run, one of them may have replaced it already.
        found.append(items.see(tensor) if tensor is not None else items.see_value(store.value, store.node, store.index))
    return found


def _numbered(
    gradients: Sequence[tuple[GradRef, Any]], own: Mapping[int, int], stores: Sequence[Store], made: list[int]
) -> list[tuple[GradRef, Result]]:
    """What gradients become: tensors that are made as numbers of items, which may be results, or stored as well."""
    numbers = {key: n for n, key in enumerate(own)}
    for store in stores:
        if store.of is None and store.first() is not None:  # where other threads run, one may have replaced it
            numbers[id(store.first())] = store.number
    found: list[tuple[GradRef, Result]] = []
    for ref, what in gradients:
        if isinstance(what, tuple):
            key, name = what
            if key not in numbers:
                numbers[key] = len(made)
                made.append(name)
            what = numbers[key]
        found.append((ref, what))
    return found


def _captured(
    function: Callable[..., Any],
    going: Inside,
    updates: Sequence[Update],
    gradients: list[tuple[GradRef, Result]],
    returns: Returns,
) -> Captured:
    """What a capture has come to, but for guards; the numbers of outputs on the tape are added to ``returns``."""
    trace, items = going.trace, returns.items
    fresh = [item.value for item in items if item.of is None]
    written = [(u.target, u.value) for u in updates if u.written]
    replaced = [going.input_of(target) for target, _ in written]
    outputs = [*fresh, *(v for _, v in written)]
    shown = [item.value for item in items]  # a view may be all of an input, without a node
    going.keep_only({v for node in trace.nodes for v in node.inputs}.union(outputs, replaced, returns.values, shown))
    arguments = [a.value for a in going.arguments]
    name = getattr(function, "__name__", type(function).__name__)
    graph = Graph(name, [*arguments, *going.inputs], trace.nodes, outputs)
    on_tape = [(item.node, item.index, item.value) for item in items if item.node is not None]
    moved = [u for u in updates if u.is_new]
    on_tape += [(u.node, u.index, u.value) for u in moved if u.node is not None]
    counted = iter(range(len(on_tape)))
    returns.tape = [None if item.node is None else next(counted) for item in items]
    unit, leaves_made = None, dict[tape.Leaf, Spec]()
    if on_tape:
        lasting = set(graph.inputs).difference(replaced).union(fresh, (v for _, v in written))
        nodes = [*(a.node for a in going.arguments), *going.nodes, *(node for _, node, _ in going.members)]
        leaves_made = _leaves_made(items, nodes)
        types = [*(s.type for _, _, s in going.members), *(s.type for s in leaves_made.values())]
        ways = on_tape, lasting, going.overwritten, trace.device, going.scope
        unit = Unit(graph, [*nodes, *leaves_made], types, *ways)
    given = [a.given for a in going.arguments]
    now = [r.get(given) for r in going.refs]
    kinds: list[type] = [type(None) if t is None else type(t._node) for t in now]
    reads = Reads(going.refs, going.specs, kinds, going.conditions, [])
    aliases = _aliases(going, replaced, [ref for ref, _ in gradients])
    writes = Writes(
        written,
        gradients,
        [(u.target, None if u.node is None else next(counted)) for u in moved],
        [ref for ref in going.through if not isinstance(ref, FlatRef)],
    )
    members = [ref for ref, _, _ in going.members]
    return Captured(
        graph, len(arguments), reads, aliases, writes, returns, unit, members, list(leaves_made.values()), trace.device
    )


def _aliases(going: Inside, replaced: Sequence[Value], gradients: Sequence[GradRef]) -> Aliases:
    """What to look at for memory that is reached in two ways, if these inputs and gradients are replaced."""
    written = set(replaced)
    leaves = any(isinstance(r, GradRef) and r.leaf is None for r in (*going.refs, *gradients))
    plain = [(r, v) for r, v in zip(going.refs, going.inputs, strict=True) if not isinstance(r, (BaseRef, FlatRef))]
    looked_at = [*(a.value for a in going.arguments), *(v for _, v in plain)]
    return Aliases([r for r, _ in plain], [v in written for v in looked_at], leaves=leaves)


def _called(function: Callable[..., Any], args: Any, kwargs: Any, going: Inside) -> Any:
    """What the function returns; where it has raised what memory that is reached in two ways may be the reason of, the
    attempt."""
    try:
        return converted(function)(*args, **kwargs)
    except Exception as error:
        failed = _failed(error, going)
        if failed is None:
            raise
        try:
            return failed
        finally:
            del failed  # or it and the error's traceback keep each other


def _failed(error: Exception, going: Inside) -> _Attempt | None:
    """A run that raised, with what it had written until then; None where it would have raised all the same.

    Values cannot be looked at in a capture: nothing that it did hung on them, unless histories are involved, or
    gradients, which one tensor has although it is given twice.
    """
    if isinstance(error, (SharedLeaf, Elsewhere, ForeignValue)):
        return None
    updates = [u for u in going.updates(going.trace) if u.written]
    try:
        gradients = [ref for ref, _ in going.gradients()]
    except CaptureError:  # not decided yet: the error that there is comes first
        return None
    if all(u.node is None for u in updates) and not gradients:
        return None
    written = [u.target for u in updates]
    replaced = [going.input_of(target) for target in written]
    aliases = _aliases(going, replaced, gradients)
    return _Attempt(error, [a.given for a in going.arguments], aliases, written)


def _leaves_made(items: Sequence[Item], known: Sequence[Any]) -> dict[tape.Leaf, Spec]:
    """The leaves that the function made and that somebody gets.

    Raises:
        CaptureError: one of them has a gradient by now.
    """
    found: dict[tape.Leaf, Spec] = {}
    for item in items:
        if isinstance(item.node, tape.Leaf) and item.node not in known:
            check_unhooked(item.node)
            if item.node.grad is not None:
                raise CaptureError(
                    f"a tensor {item.spec} that the captured function made and that requires grad is kept with a "
                    "gradient of its own; return the gradient as a result"
                )
            found[item.node] = item.spec
    return found


def _seen_as(read: set[int], places: set[tuple[int, Any]], recorded: guards.Recorded, value: Any) -> Any:
    """What a guard's value stands for: nothing where the function wrote it itself, any tensor of its type where the
    function replaced it unread."""
    if is_traced(value):
        return guards.ANYTHING
    replaced = isinstance(value, Tensor) and any(
        before is value and (id(names), key) in places for names, key, before in recorded.writes.values()
    )
    return guards.like(value) if replaced and id(value) not in read else value


def _anything_for_inputs(value: Any) -> Any:
    """What a guard's value stands for, where it may be a number or tensor that is an input."""
    return guards.ANYTHING if isinstance(value, Late) or is_traced(value) else value


def _take_back(going: Inside, recorded: guards.Recorded, names: Names, stays: Sequence[tuple[Kept, Any]]) -> None:
    """Undo what the function stored in Python objects, what was there before included."""
    take_back(going, recorded, names)
    alone = threading.active_count() == 1
    for each, before in stays:
        if isinstance(each.what, Plain):
            each.place.put_back(before, each.what.value)
        elif alone:  # or nobody knows who has stored it
            each.place.put_back(before, ABSENT)


def _holds(place: Place, value: Any, _: Sequence[Tensor]) -> bool:
    """Whether a place holds a tensor, or a plain value."""
    return guards.same(place.get(), value)


def _give_values(going: Inside) -> None:
    """Give the tensors of a capture that has failed the values that they have so far, where other threads run: one of
    them may have come across a tensor that the function had stored, and is waiting for its value."""
    alive = going.surviving() if threading.active_count() > 1 else []
    if not alive:
        return
    with suppress(WeftError):
        found = computed(going, [t._storage for t in alive])
        for tensor in alive:
            value = found.get(tensor._storage)
            if value is not None:
                tensor._storage, tensor._spec = value._storage, value._spec


def _argument(leaf: Any, going: Inside, shared: Set[int]) -> Any:
    """What the function gets for a leaf of its arguments."""
    if type(leaf) is Scalar:
        going.has_numbers = True
        return Number(leaf.kind, going.add_argument(leaf.tensor, False), MOST, going)
    if isinstance(leaf, TensorType):
        leaf = make(Value(leaf), spec_of(leaf.dtype, leaf.shape, None, going.trace.device), None, 0)
    elif not isinstance(leaf, Tensor):
        if not is_array(leaf) or is_scalar(leaf):
            return leaf
        from ..tensor.create import asarray

        leaf = asarray(leaf)
    return going.add_argument(leaf, id(leaf) in shared)


def _placed(placed: Placed, going: Inside) -> Number | Tensor:
    """What stands for the number or tensor that a place holds."""
    now = placed.tensor()
    if now is None:  # another thread has stored something else
        raise CaptureError("what is an input has another type now")
    if isinstance(placed, PlacedTensor):
        return going.add_argument(now, False)
    going.has_numbers = True
    return Number(placed.kind, going.add_argument(now, False), MOST, going)


def _check_placed(updates: Sequence[Update], count: int) -> None:
    """Tensors that are inputs since they lie in places, behind ``count`` arguments, are not written in place.

    Raises:
        CaptureError: one is; as state, it is locked by runs, and told apart from what else they write.
    """
    for update in updates:
        if update.written and isinstance(update.target, ArgumentRef) and update.target.position >= count:
            raise CaptureError("a tensor that is an input since it lies in a place is written in place")


def _stored_numbers(numbers: Sequence[tuple[Place, type, int, bool]], made: list[int]) -> list[StoredNumber]:
    """The numbers that runs store, whose items are appended to those that are ``made``."""
    found = []
    for place, kind, name, reported in numbers:
        found.append(StoredNumber(place, kind, len(made), reported, lock_of(place)))
        made.append(name)
    return found


def _outputs(results: Sequence[Any], trace: Trace) -> list[Value]:
    """The values of what the function returned."""
    for item in results:
        if not isinstance(item, Tensor):
            if isinstance(item, Late):
                raise CaptureError(
                    "a captured function must return tensors, not a Python number that is known at run time alone: "
                    "return wf.asarray(n), or the tensor before item()"
                )
            raise CaptureError(
                f"a captured function must return tensors (in any nesting of dict, list and tuple), "
                f"not {type(item).__name__}"
            )
    for item in results:
        trace.capture.check_current(item)
    return [value_of(item, trace) for item in results]


def _check_recording(mode: bool) -> None:
    """Gradients must be recorded, or not, as when the function began.

    Raises:
        CaptureError: they are not.
    """
    if tape.recording.enabled != mode:
        raise CaptureError(
            "the function leaves gradients switched on or off for good (set_grad_enabled as a plain call), "
            "which a compiled function would do once; use it as a context manager"
        )


def _check_retained(tensors: Sequence[Tensor | None]) -> None:
    """What leaves the function may not keep its gradient: every run makes another tensor, which would keep none.

    Raises:
        CaptureError: the function has called ``retain_grad`` on one of them.
    """
    for tensor in tensors if retaining else ():
        retained = retaining.get(id(tensor))
        if retained is not None and is_traced(tensor):
            error = CaptureError(
                "retain_grad inside a captured function on a tensor that is returned or stored: call it on the result, "
                "or return its grad"
            )
            error.where = retained.where
            raise error


def _check_numbers(going: Inside, results: Sequence[Tensor]) -> None:
    """Where numbers from outside are inputs, none of them may have been asked for its value, even if the function has
    caught that error; nor may a result be what eager code has as a view, as a number decides.

    Raises:
        CaptureError: one has.
    """
    if any(isinstance(t, Tensor) and going.shared_with(t) for t in results):
        raise CaptureError("a result may show the memory of another tensor, as a number decides that is an input")
    if going.needed is not None:
        raise going.needed
    if going.has_caught:
        raise CaptureError("an error is caught, which may be one of a number that is an input")
    check_attributes(going.trace.nodes)


def _objects(results: Sequence[Tensor], going: Inside) -> list[Result]:
    """What each result is."""
    first: dict[int, int] = {}
    found: list[Result] = []
    for number, item in enumerate(results):
        earlier = first.setdefault(id(item), number)
        outside = going.object_of(item)
        found.append(outside if outside is not None or earlier == number else earlier)
    return found


def _check_containers(args: Any, kwargs: Any, form: Form, arguments: Sequence[Argument]) -> None:
    """The lists and dicts among the arguments are copies; a function that changes them would change nothing.

    Raises:
        CaptureError: it has changed one.
    """
    leaves, now = flatten((tuple(args), kwargs))
    given = [a.handed for a in arguments]
    tensors = [leaf.tensor if isinstance(leaf, Late) else leaf for leaf in leaves if isinstance(leaf, (Tensor, Late))]
    if now != form or len(tensors) != len(given) or any(a is not b for a, b in zip(tensors, given, strict=True)):
        raise CaptureError(
            "the function changes a list or dict among its arguments, which a compiled function gets a copy of; return "
            "the new one"
        )


def _check_own(going: Inside, outputs: Sequence[Value]) -> None:
    """Every value that is used must be of this capture; one that an earlier capture left behind was never computed.

    Raises:
        CaptureError: at the line that uses such a value.
    """
    known, inner = {*(a.value for a in going.arguments), *going.inputs}, going.inner
    for node in going.trace.nodes:
        if not known.issuperset(node.inputs):
            raise _foreign(node.where, not inner.isdisjoint(node.inputs))
        known.update(node.outputs)
    if not known.issuperset(outputs):
        raise _foreign(None, not inner.isdisjoint(outputs))


def _foreign(where: tuple[str, int] | None, inner: bool) -> CaptureError:
    if inner:
        error = CaptureError(
            "a tensor that was made in a function of wf.cond, wf.while_loop or wf.scan is used, or stored, outside of "
            "it, where there is no value of it; return it from there"
        )
        error.where = where or error.where
        return error
    error = ForeignValue(
        "a tensor that was made while a function was captured is used in another capture: it has no value; return it, "
        "or keep a tensor outside and change its value with assign()"
    )
    error.where = where or error.where
    return error

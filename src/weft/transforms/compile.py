"""``wf.compile``: a function captured once per signature, run as one native call.

The signature is the types of the tensor arguments, the values of the others, and whether calls are recorded. State
that the function read keeps its type from call to call; when it does not (or a captured Python attribute such as
``module.training`` has changed) the function is captured again.
"""

from __future__ import annotations

import functools
import os
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import MethodType
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, TypeVar, overload

from ..compiler.kernels import Kernel
from ..core.boundary import leave
from ..core.collector import uncollected
from ..core.device import CPU, chosen
from ..core.errors import ArgumentError, CaptureError, UninitializedError, WeftError, user_line
from ..core.errors import made as errors_made
from ..core.process import Lock
from ..core.symbolic import Sizes
from ..graph.ir import Graph
from ..graph.simplify import simplify
from ..ops.op import state
from ..ops.operands import Abroad, Late, at_home
from ..ops.subscript import ByValues
from ..runtime.program import KernelStatus
from ..runtime.quick import REFUSED
from ..tensor import tape
from ..tensor.caches import epoch
from ..tensor.capturing import capturing, others
from ..tensor.create import is_array, is_scalar
from ..tensor.spec import Spec
from ..tensor.tensor import Tensor
from .cache_info import CacheInfo, Made, called, info, reason
from .capture import capture
from .counted import CountedCapture, CountedEntry, OtherCounts, capture_counted
from .entry import Entry, OfNumbers, Way
from .explain import Explanation, explain
from .limit import bytes_said
from .lowered import Lowered, Standing, kernels_of, write_page
from .numbers import NumberArguments, Scalar, are_scalars, filling, plain_tensors, with_scalars
from .placed import Placed, changed_inputs, extended
from .sized import Dynamic, Family, Names, SizedCapture, examples_of, shapes_in
from .source.find import converted
from .source.signals import Stop
from .tree import flatten, unflatten

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))
_MAX_ENTRIES = 16  # graphs kept for one signature, and signatures: code whose state never comes again must not leak
_MAX_SIGNATURES = 4096
_MAX_BOUND = 256  # of these for sizes of a capture with symbols, which are had again in a millisecond
_MAX_QUICK = 4  # quick ways that a call tries, one after the other
_FEW = 4  # numbers in places that are tried one by one
_MANY_FLOATS = 4  # captures for one float argument before the user is told


class Compiled(Generic[P, R]):
    """A compiled function; see :func:`compile`."""

    def __init__(
        self,
        function: Callable[P, R],
        dynamic: Mapping[str, Mapping[int, Any]] | None = None,
        memory_limit: int | None = None,
    ):
        functools.update_wrapper(self, function)
        self.function = function
        self._said, self._limit = dynamic, memory_limit
        self._dynamic = None if dynamic is None else Dynamic(function, dynamic)
        self._quick: tuple[Way, ...] = ()  # of the entries that were found last; replaced as a whole, as what follows
        self._noted: list[tuple[Way, Entry]] = []  # these, and whose they are
        self._entries: dict[Any, tuple[Entry, ...]] = {}  # replaced as a whole: other threads may be going through one
        self._bound: dict[Any, None] = {}  # signatures of captures with symbols
        self._families: dict[Any, Family] = {}  # by signatures without sizes
        self._floats: dict[Any, int] = {}  # captures of signatures that differ in floats alone
        self._numbers = NumberArguments()
        self._needed: dict[Any, Placed] = {}  # places whose numbers the function needs, by their ids
        self._alone, self._writes_python = Lock(), False  # held by captures, and by runs that write Python state
        self._epoch = epoch.number
        self._key = getattr(function, "__name__", "")  # of the method in its object

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                try:
                    for way in self._quick:
                        result = way(args, kwargs)
                        if result is not REFUSED:
                            return result
                except KernelStatus:  # which the long way says in the user's words
                    pass
                return self._call(args, kwargs)
            except OtherCounts as met:
                counts: str | None = met.message
            except OfNumbers:
                counts = None
            if counts is None:
                return self._with_constants(args, kwargs)
            return self._of_other_counts(args, kwargs, counts)
        except Stop:  # a breakpoint: with live values, at its line
            return self.function(*args, **kwargs)
        except UninitializedError as error:
            if state.trace is not None:
                leave(error, self.function, args, kwargs)
                raise
        except Exception as error:
            leave(error, self.function, args, kwargs)
            raise
        try:  # a lazy module's first call, which makes parameters
            return self.function(*args, **kwargs)
        except Exception as error:
            leave(error, self.function, args, kwargs)
            raise

    def _call(self, args: Any, kwargs: Any) -> R:
        """A call the long way."""
        if state.trace is not None:  # inside another capture: part of its graph
            names = state.trace.capture.names if state.trace.capture is not None else None
            if names is not None and names.is_outside(self):
                names.reach(self.function)
            return converted(self.function)(*args, **kwargs)
        entry, call = (None, None) if self._writes_python else self._find(args, kwargs)
        if entry is not None and call is not None:
            self._note(entry, call)
            results = entry.run(call.tensors)
        else:
            entry, results = self._call_alone(args, kwargs)
        form = entry.captured.returns.form
        if form == ("leaf",):
            return results[0]  # type: ignore[return-value]
        return unflatten(form, results)

    def _call_alone(self, args: Any, kwargs: Any) -> tuple[Entry, list[Tensor]]:
        """A call while no other thread captures the function, or reads and writes Python state by it."""
        with self._alone.now:
            entry, call = self._find(args, kwargs)
            if entry is not None:
                self._note(entry, call)
                return entry, entry.run(call.tensors)
            with capturing():
                entry, call = self._capture(call)
                return entry, self._first_run(entry, call.tensors)

    def _of_other_counts(self, args: Any, kwargs: Any, counts: str) -> R:
        """A call for which the sizes that kernels set have turned out to be none that a capture is for; nothing has
        been written by it. ``counts``: these, in words."""
        _, call = self._find(args, kwargs)
        found: list[Tensor] | None = None
        for entry in self._entries.get(call.signature, ()):
            given = call.for_places(entry.captured.places)
            if isinstance(entry, CountedEntry) and given is not None and entry.captured.valid(given.tensors):
                with suppress(OtherCounts):
                    found = entry.run(given.tensors)
                    break
        if found is None:
            with capturing():
                entry, call = self._capture(call, counts=counts)
                found = self._first_run(entry, call.tensors)
        form = entry.captured.returns.form
        return found[0] if form == ("leaf",) else unflatten(form, found)  # type: ignore[return-value]

    def _with_constants(self, args: Any, kwargs: Any) -> R:
        """A call whose numbers are constants: what is wrong with them is said as eager code says it."""
        call = _Call(*self._signature(args, kwargs), args, kwargs)
        with capturing():
            entry = self._capture_as(call, None, None, False, call)
            results = self._first_run(entry, call.tensors)
        form = entry.captured.returns.form
        return results[0] if form == ("leaf",) else unflatten(form, results)  # type: ignore[return-value]

    def _note(self, entry: Entry, call: _Call) -> None:
        """Give an entry that was found the long way a quick way; the more often that was in vain, the more seldom."""
        version = entry.captured.reads.version
        args, kwargs, places = call.args, call.kwargs, entry.captured.places
        if call.has_scalars:
            args, kwargs = plain_tensors(args, kwargs)
        if places:
            args = (*args, *call.tensors[-len(places) :])
        if entry.builtins is not None:
            entry.builtins.renew(version)
            if entry.builtins.admit(args, kwargs) is not REFUSED:
                return
        entry.found += 1
        if entry.found & (entry.found - 1) or others():  # whose captures look at who holds what
            return
        way = entry.note(args, kwargs, call.tensors)
        if way is not None and self._signature(call.args, call.kwargs)[0] != call.signature:
            way = None  # another thread has written meanwhile
        if way is not None and (call.has_scalars or places):
            held = [(each.tensor if each.kind is Tensor else each.place.get, each.kind) for each in places]
            way = filling(way, call.args, call.kwargs, held)
        if way is not None and self._writes_python:  # what it finds in places too
            way = _one_at_a_time(way, self._alone)
        noted = [(way, entry)] if way is not None else []
        noted += [each for each in self._noted if each[1] is not entry]
        self._noted = noted[:_MAX_QUICK]
        self._quick = tuple([way for way, _ in self._noted])

    def __getattr__(self, name: str) -> Any:
        """What the function has: a compiled module still has its parameters, ``train()``, ``state_dict()`` ..."""
        if name == "function":  # not there yet
            raise AttributeError(name)
        return getattr(self.function, name)

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__name__', None) or repr(self.function)}>"

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Compiled[P, R]: ...
    @overload
    def __get__(self: Compiled[Concatenate[S, Q], R], instance: S, owner: Any = None) -> Compiled[Q, R]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: compiled once for each instance, which keeps it."""
        if instance is None:
            return self
        if isinstance(instance, type) or not hasattr(instance, "__dict__"):
            return MethodType(self, instance)  # of a class, or of an object that can hold nothing: its first argument
        bound = instance.__dict__.get(self._key)
        own = getattr(
            getattr(bound, "function", None), "__self__", instance
        )  # a copy of an object has its bound method
        if bound is None or (isinstance(bound, Compiled) and own is not instance):
            bound = Compiled(self.function.__get__(instance, owner), self._said, self._limit)
            bound._key = self._key
            instance.__dict__[self._key] = bound
        return bound

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self._key] = value  # so that __get__ is asked before the instance

    def __delete__(self, instance: Any) -> None:
        if self._key not in getattr(instance, "__dict__", {}):
            raise AttributeError(self._key)
        del instance.__dict__[self._key]

    def __reduce__(self) -> Any:
        """By name: a copy is compiled anew where it is used."""
        owner = getattr(self.function, "__self__", None)
        if owner is not None:
            return getattr, (owner, self._key)
        if getattr(self.function, "__qualname__", None) is None:  # a module, say
            return Compiled, (self.function, self._said, self._limit)
        return self.function.__qualname__

    @staticmethod
    def _first_run(entry: Entry, tensors: list[Tensor]) -> list[Tensor]:
        """A run after which what the capture stored in Python objects has a value; if it fails, nothing is stored."""
        try:
            results = entry.run(tensors)
        except BaseException:
            entry.captured.abandon()
            raise
        entry.captured.take_back = None
        if entry.captured.returns.repeated is not None:
            entry.captured.returns.repeated.first.clear()
        if entry.captured.reads.names is not None:
            entry.captured.reads.names.forget_before()
        return results

    def _entry(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], named: Mapping[tuple[int, int], str] | None = None
    ) -> tuple[Entry, list[Tensor]]:
        """The entry for these arguments, which is not run; with symbols for the sizes that are ``named``."""
        entry, call = self._find(args, kwargs)
        if entry is None or (named and not entry.sizes):
            with capturing():
                entry, call = self._capture(call, named)
                entry.captured.abandon()
        return entry, call.tensors

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry | None, _Call]:
        """The entry that holds for these arguments, and the call as it takes it; else the call with its numbers."""
        try:
            call = _Call(*self._signature(args, kwargs), args, kwargs)
        except Abroad:  # a number of another thread's capture
            return self._find(at_home(args), at_home(kwargs))
        found = self._entry_for(call)
        inputs = () if found is not None else self._numbers.inputs(call.signature)
        other = self._with_inputs(call, inputs) if inputs else None
        if other is not None:
            found = self._entry_for(other)
        return found or (None, call)

    def _entry_for(self, call: _Call) -> tuple[Entry, _Call] | None:
        """The entry that holds for a call, and the call with the numbers that the entry takes from places."""
        for entry in self._entries.get(call.signature, ()):
            given = call.for_places(entry.captured.places)
            if given is not None and entry.captured.valid(given.tensors):
                return entry, given
        return self._of_other_sizes(call)

    def _with_inputs(self, call: _Call, inputs: Sequence[int]) -> _Call | None:
        """A call with these of its numbers as inputs of the graph."""
        found = with_scalars(call.args, call.kwargs, inputs)
        return None if found is None else _Call(*self._signature(*found), *found, True)

    @staticmethod
    def _signature(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], list[Tensor]]:
        """The signature of a call, and the tensors among its arguments."""
        tensors: list[Tensor] = []
        key: list[Any] = [tape.recording.enabled, (epoch.number, chosen.device)]
        for a in args:
            if isinstance(a, Tensor):
                tensors.append(a)
                key.append(a._spec)
                if a._node is not None:
                    key.append(a._node.__class__)
                if a._view is not None:  # a write changes the history of its base
                    key.append((a._view.kind, a._view.base._node.__class__))
            else:
                _key_of(a, key, tensors)
        if kwargs:
            _key_of(kwargs, key, tensors)
        return tuple(key), tensors

    def _of_other_sizes(self, call: _Call) -> tuple[Entry, _Call] | None:
        """An entry for these sizes, of a capture with symbols for them."""
        if self._epoch != epoch.number:
            return None
        signature = call.signature
        family = self._families.get(_without_sizes(signature))
        if family is None:
            return None
        for sized in family.captures:
            given = call.for_places(sized.captured.places)
            if given is None:
                continue
            tensors = given.tensors
            numbers = sized.numbers(tuple([t._spec.static_shape for t in tensors]))
            if numbers is not None and sized.captured.valid(tensors):
                state = sized.captured.reads.state(tensors)
                try:
                    made = sized.entry(numbers, [t._spec for t in (*tensors, *state)])
                except WeftError:  # said by the capture with numbers, at the user's line
                    return None
                if made is not None:
                    self._keep(signature, made, tensors)
                    self._bound[signature] = None
                    if len(self._bound) > _MAX_BOUND:
                        self._entries.pop(self._pop_bound(), None)
                return None if made is None else (made, given)
        return None

    def _pop_bound(self) -> Any:
        """The signature that was bound first."""
        first = next(iter(self._bound))
        self._bound.pop(first, None)
        return first

    def _capture(
        self, call: _Call, named: Mapping[tuple[int, int], str] | None = None, counts: str | None = None
    ) -> tuple[Entry, _Call]:
        """Capture the function for a call; the entry, and the call as it takes it: numbers that were others in earlier
        calls are inputs, if the function does with them.

        Args:
            named: sizes that are to be any besides those that ``dynamic`` says.
            counts: sizes that kernels have set, which no graph is for.
        """
        begun = self._begin()
        failed: tuple[int, ...] = ()
        for inputs in self._numbers.wanted(call.signature):
            other = self._with_inputs(call, inputs)
            try:
                if other is not None:
                    found = self._capture_placed(other, named, counts, begun, call)
                    self._numbers.keep(call.signature, inputs)
                    self._numbers.give_up(call.signature, failed)
                    return found
            except Exception:  # whatever it is, the capture with the numbers themselves says it
                failed = failed or inputs
        self._warn_of_floats(call.signature)
        found = self._capture_placed(call, named, counts, begun, call)
        self._numbers.give_up(call.signature, failed)
        self._numbers.note(call.signature, self._families.get(_without_sizes(call.signature)))
        return found

    def _capture_placed(
        self, call: _Call, named: Mapping[tuple[int, int], str] | None, counts: str | None, begun: bool, plain: _Call
    ) -> tuple[Entry, _Call]:
        """Capture the function for a call as it stands: numbers in places that held others when it was captured last
        are inputs, if the function does with them. ``plain``: the call with its numbers, for the reason why."""
        failed: list[Placed] = []
        for places in self._wanted(call, plain):
            given = call.for_places(places)
            try:
                if given is not None:
                    made = self._capture_as(given, named, counts, begun, plain)
                    self._needed |= {each.place.id: each for each in failed if each not in places}
                    return made, given
            except Exception:  # whatever it is, the capture with the numbers themselves says it
                failed = failed or places
        made = self._capture_as(call, named, counts, begun, plain)
        self._needed |= {each.place.id: each for each in failed}
        return made, call

    def _wanted(self, call: _Call, plain: _Call) -> list[list[Placed]]:
        """The places whose numbers are to be inputs: several combinations to try, one after the other."""
        families = [
            self._families.get(_without_sizes(call.signature)),
            self._numbers.first_family(plain.signature),
        ]
        held = (family.latest for family in families if family is not None and family.latest is not None)
        latest = next((found for found in (each() for each in held) if found is not None), None)
        if latest is None:
            return []
        known = [each for each in latest.places if each.place.id not in self._needed]
        own = {each.place.id for each in known}
        new = [e for e in changed_inputs(latest.reads) if e.place.id not in own and e.place.id not in self._needed]
        if not known and not new:
            return []
        alone = [[*known, each] for each in new[:_FEW]] if len(new) > 1 else []
        return [[*known, *new], *alone, *([known] if known and new else [])]

    def _capture_as(
        self, call: _Call, named: Mapping[tuple[int, int], str] | None, counts: str | None, begun: bool, plain: _Call
    ) -> Entry:
        """Capture the function for a call as it stands; ``plain``: the same with its numbers, for the reason why."""
        signature, tensors, args, kwargs, _, places = call
        family = self._families.setdefault(_without_sizes(signature), Family())
        before = self._numbers.first_family(plain.signature) if call.has_scalars else None
        if before is not None:
            family.learn(before, are_scalars(call.tensors, args, kwargs))
        with uncollected():
            why = self._why(call, begun, counts, plain)
            made = self._capture_sized(family, call, named or {}, why)
            if made is not None:
                return made
            started = time.perf_counter()
            where = captured = None
            try:
                captured = capture(self.function, args, kwargs, to_run=True, places=places)
            except ByValues as met:
                where = met.where
            if captured is None:  # outside of the handler, or the error would be another one's context
                if self._limit is not None:
                    raise self._unlimited(where)
                made = self._capture_counted(family, call, why)[0]
                family.note(tuple([t._spec.static_shape for t in tensors]))
                return made
            captured.memory_limit = self._limit
            try:
                why.recorded(captured, started)
                made = Entry(captured, [t._spec for t in (*tensors, *captured.reads.state(tensors))], why)
                why.compiled()
                self._keep(signature, made, tensors)
                family.latest = weakref.ref(captured)
            except BaseException:
                captured.abandon()
                raise
        if self._limit is None:  # which is one of bytes, hence of certain sizes
            family.note(tuple([t._spec.static_shape for t in tensors]))
        return made

    def _capture_sized(
        self,
        family: Family,
        call: _Call,
        named: Mapping[tuple[int, int], str],
        why: Made,
    ) -> Entry | None:
        """Capture the function with symbols for the sizes that were others in earlier calls; None where there are
        none, or it does not go."""
        signature, tensors, args, kwargs, _, places = call
        if not all(t._spec.contiguous and t._spec.device is CPU for t in tensors):
            return None
        shapes = tuple([t._spec.static_shape for t in tensors])
        dynamic = self._dynamic if not named else Dynamic.named(named.values(), self._dynamic)
        said = {} if self._dynamic is None else self._dynamic.places(args, kwargs, shapes)
        said |= named
        names = family.names(shapes, said)
        if names is None:
            return None
        scope = Sizes(examples_of(names, shapes))
        if dynamic is not None:
            dynamic.limit(scope)
        made, before, started = None, errors_made.count, time.perf_counter()
        try:
            captured = capture(self.function, args, kwargs, to_run=True, shapes=shapes_in(scope, names), places=places)
        except ByValues:
            captured = None
        except Exception:  # whatever it is, the capture with numbers says it in numbers
            if said:
                raise
            family.give_up(names)
            return None
        finally:
            scope.closed = True
        if captured is None:
            try:
                made, counted = self._capture_counted(family, call, why, names, dynamic)
            except Exception:
                if said:
                    raise
                family.give_up(names)
                return None
            family.keep(counted)
            return made
        try:
            if dynamic is not None:
                dynamic.check(scope)
            # An error that the function caught may be one of symbols alone: sizes that are equal and not known to be.
            if errors_made.count == before and SizedCapture.can_be(captured):
                why.recorded(captured, started)
                sized = SizedCapture(captured, scope, names, why)
                numbers = sized.numbers(shapes)
                assert numbers is not None
                specs = [t._spec for t in (*tensors, *captured.reads.state(tensors))]
                with suppress(WeftError):
                    made = sized.entry(numbers, specs, first=True)
                    why.compiled()
            if made is None:
                if said:
                    raise CaptureError(
                        f"{self._name} cannot be captured for any size: results show an argument's memory, operands "
                        f"share memory that is written, Python code computes an op, or an error is caught in it; do "
                        f"not say dynamic"
                    )
                family.give_up(names)
                captured.abandon()
            else:
                family.keep(sized)
                self._keep(signature, made, tensors)
                family.latest = weakref.ref(captured)
        except BaseException:
            captured.abandon()
            raise
        return made

    def _capture_counted(
        self, family: Family, call: _Call, why: Made, names: Names | None = None, dynamic: Dynamic | None = None
    ) -> tuple[Entry, CountedCapture]:
        """Capture the function with sizes that kernels set, and keep that."""
        signature, tensors, args, kwargs, _, places = call
        made, sized = capture_counted(self.function, args, kwargs, tensors, why, names, dynamic, places=places)
        try:
            self._keep(signature, made, tensors)
            family.latest = weakref.ref(sized.captured)
        except BaseException:
            sized.captured.abandon()
            raise
        return made, sized

    def _unlimited(self, where: tuple[str, int] | None) -> CaptureError:
        """What to raise where values decide about sizes, and memory is limited; ``where``: at which line."""
        error = CaptureError(
            f"{self._name}: values decide about a size (a boolean mask as an index, nonzero, repeat), and memory_limit "
            f"counts bytes of certain sizes; use wf.where(mask, x, other), or give no memory_limit"
        )
        error.where = where or error.where
        return error

    def _why(self, call: _Call, begun: bool, counts: str | None, plain: _Call) -> Made:
        """What a graph is made for, and since; ``begun``: there were graphs, which became stale; ``counts``: sizes that
        kernels have set, which no graph is for; ``plain``: the call with its numbers."""
        known = self._entries.get(call.signature, ())
        changed = known[0].captured.reads.changed(call.tensors) if known else None
        changed = changed or counts
        why = reason(called(self.function, plain.args, plain.kwargs), self._made(), changed, begun)
        return Made(called(self.function, call.args, call.kwargs), why)

    def _made(self) -> list[Made]:
        """The captures whose graphs are kept, in their order."""
        made = [entry.made for entries in list(self._entries.values()) for entry in entries]
        made += [each.made for family in list(self._families.values()) for each in family.captures]
        return sorted(dict.fromkeys(made), key=lambda each: each.number)

    def cache_info(self) -> CacheInfo:
        """The graphs that there are: what arguments each is for, what it was made since (the first call, another dtype,
        a size, a value, something that the function reads and that has changed), how many later calls it has run, how
        long it took to capture and to compile. ``print`` it.

        >>> import weft as wf
        >>> double = wf.compile(lambda x: x * 2)
        >>> _ = double(wf.ones(3)), double(wf.ones(3)), double(wf.ones(4))
        >>> [(graph.arguments, graph.reason, graph.hits) for graph in double.cache_info().graphs]
        [('x: float32[3]', 'the first call', 1), ('x: float32[n0]', 'x.shape[0] is 4 (3 before)', 0)]
        """
        return info(self._name, self._made())

    def _begin(self) -> bool:
        """Forget what was captured for other threads or another target: the old graphs are never used again. Whether
        there was any."""
        begun = bool(self._entries)
        if self._epoch != epoch.number:
            self._quick, self._noted = (), []
            self._entries.clear()
            self._bound.clear()
            self._families.clear()
            self._floats.clear()
            self._numbers.clear()
            self._needed.clear()
            self._epoch = epoch.number
        return begun

    def _keep(self, signature: Any, made: Entry, tensors: list[Tensor]) -> None:
        """Keep an entry for calls to come."""
        self._begin()
        entries = self._entries.get(signature, ())
        if len(entries) == _MAX_ENTRIES // 2:
            _warn(
                f"{self._name} has been captured {len(entries) + 1} times for one signature, because state it reads is "
                f"different at each call: {made.made.reason}. Keep what changes in a "
                f"tensor, or pass it as an argument"
            )
        self._entries[signature] = (made, *entries)[:_MAX_ENTRIES]
        self._writes_python = self._writes_python or made.captured.returns.writes_python
        while len(self._entries) > _MAX_SIGNATURES:
            self._entries.pop(next(iter(self._entries)), None)  # the oldest
        if len(self._floats) > _MAX_SIGNATURES:
            self._floats.clear()

    @property
    def _name(self) -> str:
        return getattr(self.function, "__name__", "a function")

    def _warn_of_floats(self, signature: tuple[Any, ...]) -> None:
        """Say, once, that a float argument makes a new graph for each of its values."""
        kind = tuple([None if item.__class__ is tuple and item[0] == "float" else item for item in signature])
        if None not in kind:
            return
        count = self._floats[kind] = self._floats.get(kind, 0) + 1
        if count == _MANY_FLOATS:
            _warn(
                f"{self._name} has been captured {count} times because a Python float among its arguments has another "
                f"value at each call, which its code needs; each value is a graph of its own. Pass it as a tensor: "
                f"wf.asarray(value)"
            )

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The graph for these arguments, simplified; ``print`` it. Sizes that were others in earlier calls are symbols
        (``n0``). Nothing is run."""
        entry, _ = self._entry(args, kwargs)
        return simplify(entry.captured.whole)

    def kernels(self, *args: P.args, **kwargs: P.kwargs) -> list[Kernel]:
        """The kernels for these arguments, in order: ``print(k)``, ``k.llvm()``, ``k.asm()``. Nothing is run. Python
        code that computes an op (``wf.linalg.inv``) is none."""
        return kernels_of(self._entry(args, kwargs)[0])

    def lower(self, *specs: Any, **kwspecs: Any) -> Lowered:
        """Capture and compile for types of arguments, without data; the call that comes with such arguments is a hit.

        Args:
            specs: for each argument a :func:`weft.spec`, a tensor or array (its type counts), any nesting of them, or
                a Python value. A name in a spec's shape is a size that is to be any, as ``dynamic`` says it; sizes of
                one name are equal. A spec stands for a tensor that no gradient flows to: give a tensor where calls will
                have one with ``requires_grad``.

        Returns:
            The graph, the kernels, and what a run costs: ``graph``, ``kernels``, ``flops``, ``nbytes``,
            ``arena_nbytes``, ``explain()``.

        Raises:
            CaptureError, ShapeError, DTypeError: as the call would.

        >>> lowered = wf.compile(lambda x: (x * 2.0).sum()).lower(wf.spec((30, 50)))
        >>> len(lowered.kernels), lowered.nbytes
        (1, 6004)
        """
        standing = Standing(specs, kwspecs, {} if self._dynamic is None else self._dynamic.ranges)
        try:
            entry, _ = self._entry(standing.args, standing.kwargs, standing.named)
        except Exception as error:
            leave(error, self.function, standing.args, standing.kwargs)
            raise
        return Lowered(self._name, entry)

    def explain(self, *args: Any, html: str | os.PathLike[str] | None = None, **kwargs: Any) -> Explanation:
        """A table of the kernels for these arguments: what they do, whose lines, bytes, flops, time, share of the
        machine's measured roofline. Printed it is text; its ``show()`` adds bars on a terminal. Runs on copies: no
        state changes.

        Args:
            html: also write one self-contained page there: the graph, kernel by kernel, beside the source, with the
                kernels' code, the memory over time and the guards. (A parameter of the function that is called so is
                given by position.)

        Raises:
            OSError: the page cannot be written; what was there stays.
        """
        entry, tensors = self._entry(args, kwargs)
        found = explain(entry.executables(tensors))
        if html is not None:
            write_page(html, self._name, entry, found)
        return found


@overload
def compile(
    function: Callable[P, R],
    *,
    dynamic: Mapping[str, Mapping[int, Any]] | None = None,
    memory_limit: int | str | None = None,
) -> Compiled[P, R]: ...
@overload
def compile(
    *, dynamic: Mapping[str, Mapping[int, Any]] | None = None, memory_limit: int | str | None = None
) -> Callable[[Callable[P, R]], Compiled[P, R]]: ...
def compile(
    function: Any = None,
    *,
    dynamic: Mapping[str, Mapping[int, Any]] | None = None,
    memory_limit: int | str | None = None,
) -> Any:
    """Decorator: the function becomes one graph and one native call, with the same bits.

    Tensors that it closes over (parameters, optimizer state) are read by reference and updated in place, so a whole
    training step can be one call. Its Python code runs at the first call with each signature only. A call that differs
    from earlier ones in sizes alone is captured once more, for any size: what the code asks of a size (``n > 8``,
    ``n == m``) is answered for this call, and calls for which the answers are others are captured anew.

    A graph is used again while what it was captured for is as it was (it is *guarded*); otherwise the function is
    captured once more, and both graphs are kept. Guarded are

    - of tensor arguments: how many there are and where, dtype, number of axes, sizes (as above), strides, device,
      whether they require grad, whether they are views, and memory that they share with what the function writes;
    - other arguments: strings, None, bools and containers of these by value, ints and floats by value at first, other
      objects by identity;
    - of tensors that the function reads from elsewhere: which ones they are, their types, whether they require grad
      (what they hold is read at each call);
    - Python state that its code reads, and the functions that it calls: variables around them, globals, attributes of
      objects and of their classes, properties, items of lists and dicts, sets, deques and NumPy arrays as a whole,
      methods, defaults and code of functions, what ``functools.cache`` gives, what modules and optimizers hold,
      ``train()`` and ``eval()``, hooks. Strings and what containers hold count by value, ints and floats by value at
      first, other objects by identity. A NumPy array that ``wf.asarray`` is given is read at each call;
    - whether gradients are recorded, the default device, the number of threads.

    What libraries read by themselves is not seen. Clocks, random numbers other than weft's, files, logging, and
    iterators from outside that move on cannot be guarded: CaptureError.

    What the function does to Python objects (attributes, items, variables around it, methods of lists, dicts, sets and
    deques) is done by every call, in its order, with that call's tensors: ``self.n += 1``, ``log.append(loss)``. Where
    a tensor's value decides about it, it is refused. A container counts as read where the code does more with it than
    to put something in.

    An int or float that is another at a later call (a learning rate, a temperature, a step that is counted) becomes an
    input: the function is captured once more, for any number of that type there, and each run reads the number that is
    there then. What the function computes of it and stores (``self.steps += 1``) each run stores. Where the function
    needs the value itself (a shape, an axis, a key), each value has a capture of its own.

    ``cache_info()`` of the compiled function says which graphs there are, what each was made since, how many calls it
    has run, and what it took (``rate: any float`` is an input). While all that is guarded holds, a call is one native
    call.

    Args:
        dynamic: sizes that are to be any from the first call on, by the names of parameters and by axes:
            ``{"x": {0: "batch"}}``, ``{"x": {0: ("batch", 1, 512)}}`` with the least and the greatest number. Sizes of
            one name are equal in every call. Sizes 0 and 1 have captures of their own.
        memory_limit: bytes, or a text such as ``"64MB"``, that the intermediate values of a call may take beside its
            arguments, its results and the state. What does not fit is computed again when it is needed, which takes
            longer and gives the same bits. Each combination of sizes is captured by itself then. Inside another
            compiled function that one's limit counts.

    >>> import weft as wf
    >>> @wf.compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(wf.asarray([1.0, 2.0]))
    Tensor(5., dtype=float32)

    Raises:
        CaptureError: at the call, where the function's control flow needs a tensor's value, or the number of a size
            that was said to be any.
        ArgumentError: what ``dynamic`` or ``memory_limit`` says is not understood, or both are given.
        OutOfMemoryError: at the call, where intermediate values cannot be brought within ``memory_limit``; it says how
            many bytes they take at least.
        ShapeError: at the call, for a size that is not what ``dynamic`` says.
    """
    if function is None:
        return functools.partial(compile, dynamic=dynamic, memory_limit=memory_limit)
    limit = bytes_said(memory_limit)
    if limit is not None and dynamic is not None:
        raise ArgumentError("compile: memory_limit counts bytes of certain sizes, so it does not go with dynamic")
    if isinstance(function, Compiled):
        return function if dynamic is None is limit else Compiled(function.function, dynamic, limit)
    if not callable(function):
        raise CaptureError(f"compile: {type(function).__name__} is not a function")
    return Compiled(function, dynamic, limit)


class _Call(NamedTuple):
    """A call: its signature, the tensors among its arguments, and these. ``has_scalars``: some of its numbers are
    inputs (:class:`~weft.transforms.numbers.Scalar`), whose tensors are among the tensors."""

    signature: tuple[Any, ...]
    tensors: list[Tensor]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    has_scalars: bool = False
    places: tuple[Placed, ...] = ()  # of numbers that are inputs, whose tensors are the last ones

    def for_places(self, places: Sequence[Placed]) -> _Call | None:
        """The call with what these places hold now; None where they hold no such numbers."""
        if self.places:  # of the entry that it was for
            return self._replace(tensors=self.tensors[: -len(self.places)], places=()).for_places(places)
        if not places:
            return self
        tensors = extended(self.tensors, places)
        return None if tensors is None else self._replace(tensors=tensors, places=tuple(places))


def _one_at_a_time(way: Way, lock: Lock) -> Way:
    """A quick way that one thread goes at a time, with the numbers that it finds in places."""

    def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with lock.now:
            return way(args, kwargs)

    return run


def _warn(text: str) -> None:
    """Warn, at the user's line."""
    file, line = user_line() or ("<unknown>", 1)
    warnings.warn_explicit(text, UserWarning, file, line)


def _without_sizes(signature: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple([(s.dtype, len(s.shape), s.device) if isinstance(s, Spec) else s for s in signature])


def _key_of(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Append what an argument contributes to the signature, and its tensors."""
    leaves, form = flatten(value)
    key.append(form)
    for leaf in leaves:
        if type(leaf) is Scalar:
            tensors.append(leaf.tensor)
            key.append((Scalar, leaf.kind))
            continue
        if is_scalar(leaf):  # a Python number that has been through NumPy, as in eager calls
            leaf = leaf.item()
        if isinstance(leaf, Late) and leaf.is_abroad:
            raise Abroad
        if isinstance(leaf, Tensor) or is_array(leaf):
            from ..tensor.create import asarray

            tensor = asarray(leaf)
            tensors.append(tensor)
            key.append(tensor._spec)
            if tensor._node is not None:
                key.append(tensor._node.__class__)
            if tensor._view is not None:
                key.append((tensor._view.kind, tensor._view.base._node.__class__))
        elif isinstance(leaf, float):
            key.append(("float", repr(leaf)))
        elif isinstance(leaf, _SIMPLE):
            key.append((type(leaf), leaf))
        elif isinstance(leaf, (set, frozenset)) and all(isinstance(item, _SIMPLE) for item in leaf):
            key.append((type(leaf), frozenset((type(item), item) for item in leaf)))
        else:
            key.append(_Same(leaf))


class _Same:
    """An argument that is what it is by identity; a key that has it keeps it alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)

"""``if`` on a value: both ways are traced, and what they leave in variables becomes what one node gives.

A variable that is the same object after both ways stays what it is. Otherwise the ways give tensors of one dtype and
shape, in one nesting; Python numbers that differ become numbers of run time (number.py), or tensors where the other way
gives one. A way that raises becomes a check: the run raises where that way is taken.
"""

from __future__ import annotations

import dis
import re
from collections.abc import Callable, Sequence
from typing import Any

from ...core import dtypes as dt
from ...core.errors import CaptureError, WeftError, is_wefts_own
from ...graph.ir import Value
from ...ops import elementwise as ew
from ...ops.creation import full, zeros
from ...ops.op import Trace
from ...tensor.alias import root_of
from ...tensor.calls import value_of
from ...tensor.tensor import Tensor
from ..bodies import Tracing, Written, traced
from ..control_nodes import branch
from ..tree import Form, flatten, unflatten
from . import effects
from .number import DTYPES, Number, needed
from .signals import RESULT
from .variables import UNBOUND, UNSET, Maybe, Saved, State, is_same, named, parts, refill, shown

_RAISE = dis.opmap["RAISE_VARARGS"]


class _Nothing:
    """UNBOUND and UNSET, asked by identity."""

    def __contains__(self, value: object) -> bool:
        return value is UNBOUND or value is UNSET


_NOTHING = _Nothing()


def was_raised_by_user(error: Exception) -> bool:
    """Whether a ``raise`` of the user's code, or an assert, raised an error: it is what the program does there."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or isinstance(error, WeftError) or is_wefts_own(last.tb_frame.f_code):
        return False
    if isinstance(error, NameError):  # a variable that has no value on this way
        error.args = (re.sub(r"free variable (.*) in enclosing scope", r"local variable \1", str(error)),)
        return True
    return last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE


class Way:
    """One way of a branch, traced: what it leaves in the variables, or what it raises."""

    def __init__(self, trace: Trace, function: Callable[[], Any], state: State, before: Saved):
        self.error: Exception | None = None
        self.after: Saved = before
        self.known: dict[int, tuple[Any, Tensor, Value]] = {}  # leaves by id: itself, as a tensor, its value
        self._trace = trace

        leaves: list[Any] = []

        def run(tracing: Tracing) -> list[Tensor]:
            try:
                function()
                self.after = state.saved()
                trace.capture.journal.given(self.after)
            except Exception as error:
                if not was_raised_by_user(error):
                    raise
                self.error = error.with_traceback(None)  # which has this frame, and all that it holds
                effects.raising(full((), False), error)
                return []
            finally:
                state.restore(before)
            tensors: list[Tensor] = []
            for n, live in enumerate(state.live):
                value = self.after.now(n)
                if isinstance(value, Maybe):
                    value = [value.value, value.flag]
                for leaf in flatten(value)[0] if live else ():
                    tensor = leaf.tensor if type(leaf) is Number else leaf
                    if isinstance(tensor, Tensor) and id(leaf) not in {id(each) for each in leaves}:
                        leaves.append(leaf)
                        tensors.append(tensor)
            return tensors

        self.tracing: Tracing
        self.written: list[Written]
        self.tracing, found, values, self.written = traced("if", trace, run, function)
        if self.error is not None:  # a run that comes here raises
            self.tracing.gradients.clear()
        self.known = {id(x): (x, t, v) for x, t, v in zip(leaves, found, values, strict=True)}

    def tensor(self, leaf: Any, like: Any) -> tuple[Tensor, Value]:
        """A leaf as a tensor of the other way's type, and its value."""
        found = self.known.get(id(leaf))
        if found is not None and (type(leaf) is not Number or found[1].dtype is like.dtype):
            return found[1], found[2]
        with self.tracing.going():
            if found is not None:  # a number that stands where the other way has a tensor
                leaf = Number(leaf.kind, found[1])
            made = self._made(leaf, like)
            made = self._trace.capture.inside(made)
            return made, value_of(made, self._trace)

    def memory_of(self, tensor: Tensor) -> list[Tensor]:
        """The tensor that a tensor lies in the memory of, if this way itself has not made it."""
        storage, around = root_of(tensor)._storage, self.tracing.memory_of(tensor)
        if around is not None:
            return [around]
        return [] if isinstance(storage, Value) and self.tracing.owns(storage) else [tensor]

    @staticmethod
    def _made(leaf: Any, like: Any) -> Tensor:
        if leaf is UNBOUND or leaf is UNSET:
            return zeros(like.shape, dtype=like.dtype)
        if isinstance(leaf, Tensor):
            return leaf
        if type(leaf) is Number:
            return leaf.tensor if like.dtype is leaf.tensor.dtype else leaf.operand(like.dtype)
        return full((), leaf, dtype=like.dtype)


def predicate(test: Any) -> Tensor:
    """The truth of a tensor or number, as a bool tensor of rank 0.

    Raises:
        ShapeError: a tensor has more elements than one, or none.
    """
    if type(test) is Number:
        return test.to(bool).tensor
    if test.size != 1:
        from ...core.errors import ShapeError

        raise ShapeError(
            f"the truth of a tensor of shape {test.shape} is asked for: say which of its {test.size} elements "
            "count, as in (x > 0).all() or .any()"
        )
    found = test.detach() if test.dtype is dt.bool_ else ew.not_equal(test.detach(), 0)
    if found.ndim:
        from ...ops.shape import reshape

        found = reshape(found, ())
    return found


def stage_if(
    trace: Trace, test: Any, body: Callable[[], Any], orelse: Callable[[], Any], state: State, what: str = "if"
) -> None:
    """Trace both ways, and give the variables what the value decides of."""
    pred = predicate(test)
    before = state.saved()
    first = Way(trace, body, state, before)
    if first.error is not None:  # from here on the test does not hold
        _record(trace, pred, first, Way(trace, _nothing, state, before))
        orelse()
        return
    second = Way(trace, orelse, state, before)
    if second.error is not None:
        _record(trace, pred, Way(trace, _nothing, state, before), second)
        body()
        return
    joined = _Joined(trace, what, first, second)
    made: list[Any] = []
    for n, name in enumerate(state.names):
        made.append(joined.add(name, first.after.now(n), second.after.now(n)) if state.live[n] else None)
    if type(test) is Number and test.is_input and joined.has_one_history:
        raise needed(test, "whether a tensor has gradients")
    outputs = _record(trace, pred, first, second, joined.outputs)
    joined.note_aliases(outputs)
    values = list(before.values)
    for n, make in enumerate(made):
        if make is None:
            continue
        after = make(outputs)
        a, b = first.after.values[n], second.after.values[n]
        if a is b and type(a) in (list, dict) and type(after) is type(a):
            refill(a, after)  # one container, which both ways may have changed
            after = a
        values[n] = after
    state.set(values)


def _nothing() -> None:
    """A way on which nothing happens."""


def _record(
    trace: Trace, pred: Tensor, first: Way, second: Way, outputs: Sequence[Sequence[tuple[Tensor, Value]]] = ((), ())
) -> list[Tensor]:
    """The node of two ways."""
    bodies = [
        (way.tracing, [t for t, _ in given], [v for _, v in given], way.written)
        for way, given in zip((first, second), outputs, strict=True)
    ]
    return branch(trace, pred, bodies)


def stage_value(trace: Trace, test: Any, body: Callable[[], Any], orelse: Callable[[], Any], what: str) -> Any:
    """``body()`` where the test holds, ``orelse()`` where not: as a branch with one variable."""
    held: list[Any] = [UNBOUND]

    def give(values: Any) -> None:
        held[0] = values[0]

    state = State((what,), (True,), (True,), lambda: (held[0],), give)
    stage_if(trace, test, lambda: give([body()]), lambda: give([orelse()]), state, what)
    return held[0]


def _same(value: Any) -> Callable[[list[Tensor]], Any]:
    """A value that needs no output."""
    return lambda outputs: value


def _nested(form: Form, makes: Sequence[Callable[[list[Tensor]], Any]]) -> Callable[[list[Tensor]], Any]:
    """A nesting of what is made of outputs."""
    return lambda outputs: unflatten(form, [make(outputs) for make in makes])


class _Joined:
    """What two ways leave, put together: outputs for what differs."""

    def __init__(self, trace: Trace, what: str, first: Way, second: Way):
        self._what, self._ways, self._trace = what, (first, second), trace
        self.outputs: tuple[list[tuple[Tensor, Value]], list[tuple[Tensor, Value]]] = ([], [])
        self._sources: list[tuple[Any, ...]] = []

    @property
    def has_one_history(self) -> bool:
        """Whether a result has a history on one way alone: it would be zeros on the other, which Python can tell."""
        return any((a._node is None) != (b._node is None) for (a, _), (b, _) in zip(*self.outputs, strict=True))

    def add(self, name: str, a: Any, b: Any) -> Callable[[list[Tensor]], Any]:
        """How to make the value of a variable from the outputs."""
        before = len(self._sources)
        made = self._add(name, a, b)
        if name == RESULT:  # it is what it was when it was returned: nothing is written then
            self._sources[before:] = [(None, None)] * (len(self._sources) - before)
        return made

    def _add(self, name: str, a: Any, b: Any) -> Callable[[list[Tensor]], Any]:
        flags = [self._flag(v) for v in (a, b)]
        a, b = (v.value if isinstance(v, Maybe) else v for v in (a, b))
        if a in _NOTHING and b in _NOTHING:
            return lambda outputs: a
        if a in _NOTHING or b in _NOTHING:
            make = self._one_sided(name, a, b)
        elif is_same(a, b):  # one that was written in place is what the node gives it
            make = _same(a)
        else:
            leaves, form = flatten(a)
            others = parts(name, b, form, f"{self._what}: the two ways leave different nestings in {named(name)}")
            makes = [self._leaf(name, x, y) for x, y in zip(leaves, others, strict=True)]
            make = _nested(form, makes)
        if name == RESULT or all(f is True for f in flags):
            return make
        at = self._output(flags[0], flags[1], full((), False))
        return lambda outputs: Maybe(make(outputs), outputs[at])

    @staticmethod
    def _flag(value: Any) -> Any:
        """Whether there is a value."""
        return value.flag if isinstance(value, Maybe) else value is not UNBOUND

    def _one_sided(self, name: str, a: Any, b: Any) -> Callable[[list[Tensor]], Any]:
        """A value that one way has: nothing will read it where it is not there."""
        is_second = a in _NOTHING
        leaves, form = flatten(b if is_second else a)
        makes = []
        for leaf in leaves:
            if isinstance(leaf, Tensor) or type(leaf) is Number:
                makes.append(self._leaf(name, *((UNSET, leaf) if is_second else (leaf, UNSET))))
            else:
                makes.append(_same(leaf))
        return _nested(form, makes)

    def _leaf(self, name: str, a: Any, b: Any) -> Callable[[list[Tensor]], Any]:
        if is_same(a, b):
            return lambda outputs: a
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return self._tensor(name, a, b)
        kinds = {self._kind(x) for x in (a, b)} - {None}
        if len(kinds) != 1 or any(self._kind(x) is None and x is not UNSET for x in (a, b)):
            raise self._differs(name, a, b)
        (kind,) = kinds
        assert kind is not None
        like = full((), 0, dtype=DTYPES[kind])
        at = self._output(a, b, like)
        return lambda outputs: Number(kind, outputs[at])

    @staticmethod
    def _kind(leaf: Any) -> type | None:
        if type(leaf) is Number:
            return leaf.kind
        return type(leaf) if type(leaf) in DTYPES else None

    def _tensor(self, name: str, a: Any, b: Any) -> Callable[[list[Tensor]], Any]:
        like = a if isinstance(a, Tensor) else b
        for leaf in (a, b):
            if leaf is UNSET:
                continue
            if isinstance(leaf, Tensor):
                if leaf.dtype is not like.dtype or tuple(leaf.shape) != tuple(like.shape):
                    raise self._differs(name, a, b)
            elif self._kind(leaf) is None or tuple(like.shape) != () or not _fits(self._kind(leaf), like):
                raise self._differs(name, a, b)
        at = self._output(a, b, like)
        return lambda outputs: outputs[at]

    def _output(self, a: Any, b: Any, like: Any) -> int:
        self._sources.append(tuple(x if isinstance(x, Tensor) else None for x in (a, b)))
        for way, leaf, outputs in zip(self._ways, (a, b), self.outputs, strict=True):
            outputs.append(way.tensor(leaf, like))
        return len(self.outputs[0]) - 1

    def note_aliases(self, outputs: Sequence[Tensor]) -> None:
        """In eager code a variable may be the very tensor that a way gives it: where that was there before, neither may
        be written while both are."""
        for sources, output in zip(self._sources, outputs, strict=False):
            around: list[Any] = []
            for t, way in zip(sources, self._ways, strict=True):
                if t is not None:
                    around += way.memory_of(t)
                    around += self._trace.capture.shared_with(t)
            self._trace.capture.may_share(output, around)
        for n, sources in enumerate(self._sources):  # of one tensor there may be two variables
            for m, others in enumerate(self._sources[:n]):
                pairs = zip(sources, others, strict=True)
                if any(a is not None and b is not None and root_of(a) is root_of(b) for a, b in pairs):
                    self._trace.capture.may_share(outputs[n], [outputs[m]])

    def _differs(self, name: str, a: Any, b: Any) -> CaptureError:
        subject = f"{named(name)} is" if name.isidentifier() or "." in name else f"{name} gives"
        if all(self._kind(x) is None and not isinstance(x, Tensor) and x not in _NOTHING for x in (a, b)):
            return CaptureError(
                f"{self._what} on a value: {subject} {_a_kind(a)} on one way and {_a_kind(b, a)} on the other; a value "
                "can decide about tensors and numbers, in lists, tuples and dicts, not about other objects: choose "
                "among the tensors in them (wf.where)"
            )
        return CaptureError(
            f"{self._what} on a value: {subject} {shown(a)} on one way and {shown(b)} on the other; both ways must "
            "leave the same dtype and shape in it"
        )


def _a_kind(value: Any, other: Any = None) -> str:
    return f"another {type(value).__name__}" if type(value) is type(other) else f"an object of {type(value).__name__}"


def _fits(kind: type | None, like: Tensor) -> bool:
    """Whether a number can stand in a tensor's place: what it weakly is."""
    if like.dtype is dt.bool_:
        return kind is bool
    return like.dtype.is_floating or kind in (bool, int)

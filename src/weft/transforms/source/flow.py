"""What rewritten code calls (rewrite.py): Python's statements and expressions, which are staged where a value decides.

Where nothing does, each does what Python does. A value is a tensor, or a number made of one, in a function that is
being captured; anything else is Python's: bools, sizes (whose answers are guards, core/asked.py), objects.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...core.errors import CaptureError
from ...ops import elementwise as ew
from ...ops.op import Trace, state
from ...tensor.tensor import Tensor
from ..bodies import Unstable
from . import effects
from .branches import predicate, stage_if, stage_value
from .calls import Count, Pairs, call, decorator
from .effects import CONVERSIONS, Shown, Text, raising
from .find import converted
from .loops import Rounds, stage_for, stage_while
from .number import Number
from .operators import compared, operated, tested, unary
from .reads import (
    attribute,
    caught,
    entered,
    gone_through,
    imported,
    in_,
    is_,
    is_not,
    left,
    matched,
    not_in,
    stored,
    used,
)
from .signals import Unroll
from .variables import UNBOUND, UNSET, Maybe, State
from .writes import (
    augment_attribute,
    augment_item,
    augmented,
    delete_attribute,
    delete_item,
    drop,
    got_attribute,
    got_item,
    item_of,
    put,
    rebound,
    rebound_global,
    set_attribute,
    set_item,
    watch,
    watch_globals,
)

slice = builtins.slice
_FEW = 16  # rounds of a number that is known, which are unrolled


def capturing() -> Trace | None:
    """The trace of the capture that is going on in this thread."""
    trace = state.trace
    return None if trace is None or trace.capture is None else trace


def is_value(value: Any) -> bool:
    """Whether it is known at run time alone."""
    return (isinstance(value, Tensor) or type(value) is Number) and capturing() is not None


# --- names --------------------------------------------------------------------------------------------------------


def peek(read: Callable[[], Any]) -> Any:
    """A variable, UNBOUND where it has no value."""
    try:
        return read()
    except (NameError, AttributeError):
        return UNBOUND


def bound(value: Any, name: str, surely: bool) -> Any:
    """A variable that may have a value on some ways alone. Where the source does not tell that this is one of them
    (``surely``), the run raises what Python raises."""
    if type(value) is not Maybe:
        return value
    if not surely:
        text = f"cannot access local variable '{name}' where it is not associated with a value"
        raising(value.flag, UnboundLocalError(text))
    return value.value


def unset() -> Any:
    """No result yet."""
    return UNSET


def returned(result: Any, surely: Any) -> Any:
    """What a function returns at its end: the result of the return that was met.

    Raises:
        CaptureError: a value decides whether there was one.
    """
    if surely is True:
        return result
    if is_value(surely):
        raise CaptureError(
            "the function returns in a branch that a tensor's value decides of, and falls off its end otherwise, which "
            "returns None: return the same nesting of tensors on every way"
        )
    return result if surely else None


# --- truth --------------------------------------------------------------------------------------------------------


def not_(value: Any) -> Any:
    """``not value``."""
    return _bool(ew.logical_not(predicate(value))) if is_value(value) else not tested(value)


def none_of(*flags: Any) -> Any:
    """Whether none of these flags is set: bools, some of them at run time."""
    values = [predicate(f) for f in flags if is_value(f)]
    if any(f is True for f in flags) or not values:
        return not any(f is True for f in flags)
    found = values[0]
    for v in values[1:]:
        found = ew.logical_or(found, v)
    return _bool(ew.logical_not(found))


def _bool(tensor: Tensor) -> Number:
    return Number(bool, tensor)


def and_(value: Any, *parts: Callable[[], Any]) -> Any:
    """``a and b``."""
    if not parts:
        return value
    trace = capturing()
    if trace is not None and is_value(value):
        return stage_value(trace, value, lambda: _like(and_(parts[0](), *parts[1:]), value), lambda: value, "and")
    return and_(parts[0](), *parts[1:]) if tested(value) else value


def or_(value: Any, *parts: Callable[[], Any]) -> Any:
    """``a or b``."""
    if not parts:
        return value
    trace = capturing()
    if trace is not None and is_value(value):
        return stage_value(trace, value, lambda: value, lambda: _like(or_(parts[0](), *parts[1:]), value), "or")
    return value if tested(value) else or_(parts[0](), *parts[1:])


def all_of(value: Any, *parts: Callable[[], Any]) -> Any:
    """``a and b`` where its truth alone is asked for, of values that are tested."""
    if is_value(value) or not parts:
        return and_(value, *parts)
    return all_of(parts[0](), *parts[1:]) if value else False


def any_of(value: Any, *parts: Callable[[], Any]) -> Any:
    """``a or b`` where its truth alone is asked for."""
    if is_value(value) or not parts:
        return or_(value, *parts)
    return True if value else any_of(parts[0](), *parts[1:])


def _like(value: Any, other: Any) -> Any:
    """The second operand, as a number where the first one is."""
    return value if type(other) is not Number or not isinstance(value, Tensor) else _bool(predicate(value))


def if_exp(test: Any, body: Callable[[], Any], orelse: Callable[[], Any]) -> Any:
    """``body if test else orelse``."""
    trace = capturing()
    if trace is not None and is_value(test):
        return stage_value(trace, test, body, orelse, "a conditional expression")
    return body() if test else orelse()


def compare(left: Any, *steps: Any) -> Any:
    """``a < b < c``: each operand is evaluated once, and none after a comparison that is false."""
    right = steps[1]()
    found = steps[0](left, right)
    if len(steps) == 2:
        return found
    return and_(found, lambda: compare(right, *steps[2:]))


# --- statements ---------------------------------------------------------------------------------------------------


def if_(test: Any, body: Callable[[], Any], orelse: Callable[[], Any], variables: State) -> None:
    """``if test: body else: orelse``."""
    trace = capturing()
    if trace is not None and is_value(test):
        stage_if(trace, test, body, orelse, variables)
    elif test:
        body()
    else:
        orelse()


def _named(unstable: Unstable) -> CaptureError:
    """The error of a loop that cannot be a node, for the user."""
    error = CaptureError(unstable.message)
    error.where = unstable.where
    return error


def while_(test: Callable[[], Any], body: Callable[[], Any], variables: State) -> None:
    """``while test: body``; rounds that Python decides of come first."""
    while True:
        go = test()
        trace = capturing()
        if trace is not None and is_value(go):
            try:
                stage_while(trace, test, body, variables, go)
            except Unstable as unstable:
                raise _named(unstable) from None
            return
        if not go:
            return
        body()


def for_(iterable: Any, body: Callable[[Any], Any], going: Callable[[], Any] | None, variables: State) -> None:
    """``for item in iterable: body``; ``going``: whether an exit has not been met."""
    trace = capturing()
    rounds = None if trace is None else _rounds(iterable)
    if trace is not None and rounds is not None:
        loop = body.__code__
        known = type(rounds.count) is int
        capture = trace.capture
        if type(rounds.count) is Number:
            try:
                stage_for(trace, rounds, body, going, variables)
            except Unstable as unstable:
                raise _named(unstable) from None
            return
        if loop not in capture.unrolled and not (known and rounds.count <= _FEW):
            failed = False
            try:
                _stage_rounds(trace, rounds, body, going, variables)
                return
            except Exception:  # a number that is none of Python's goes not everywhere; what is wrong shows unrolled
                failed = True
            if failed:  # outside of the handler, or the error would be this one's context, with all its frames
                raise Unroll(loop)
        iterable = _unrolled(rounds)
    _for_each(iterable, body, going, variables)


def _stage_rounds(
    trace: Trace, rounds: Rounds, body: Callable[[Any], Any], going: Callable[[], Any] | None, variables: State
) -> None:
    """A loop as one node, after a first round by itself where that settles what it carries."""
    before = variables.saved()
    try:
        stage_for(trace, rounds, body, going, variables)
        return
    except Unstable:
        variables.restore(before)
    body(rounds.at(0))
    if going is not None:
        raise Unstable("for: the first round is another than the others")
    stage_for(trace, _without_first(rounds), body, going, variables)


def _without_first(rounds: Rounds) -> Rounds:
    def item(at: Number, pieces: Any) -> Any:
        return rounds.item(at + 1, pieces)

    return Rounds(rounds.count - 1, tuple(t[1:] for t in rounds.sequences), item, lambda n: rounds.at(n + 1))


def _unrolled(rounds: Rounds) -> Iterator[Any]:
    return (rounds.at(n) for n in range(rounds.count))


def _for_each(
    iterable: Iterable[Any], body: Callable[[Any], Any], going: Callable[[], Any] | None, variables: State
) -> None:
    """A loop that Python runs; where a value decides whether to go on, the rest hangs on it, round by round."""
    go: Any = True
    for item in iterable:
        if go is True:
            body(item)
        else:
            if_(go, _round(body, item), _nothing, variables.holds_all())
        if going is not None:
            go = going()
            if not is_value(go):
                if not go:
                    return
                go = True


def _round(body: Callable[[Any], Any], item: Any) -> Callable[[], Any]:
    return lambda: body(item)


def _nothing() -> None:
    pass


def _rounds(iterable: Any) -> Rounds | None:
    """What a loop over an iterable goes through, if it may be one node."""
    if isinstance(iterable, Tensor) and iterable.ndim:
        return Rounds(iterable.shape[0], (iterable,), lambda at, pieces: pieces[0], lambda n: iterable[n])
    if type(iterable) is range:
        first, step = iterable.start, iterable.step
        return Rounds(len(iterable), (), lambda at, pieces: at * step + first, lambda n: first + n * step)
    if type(iterable) is Count:
        count = iterable
        return Rounds(
            count.rounds, (), lambda at, pieces: at * count.step + count.start, lambda n: count.start + n * count.step
        )
    if type(iterable) is Pairs:
        return _side_by_side(iterable)
    return None


def _side_by_side(pairs: Pairs) -> Rounds | None:
    """``zip`` and ``enumerate`` of things that may be staged."""
    parts = [_rounds(each) for each in pairs.iterables]
    if any(p is None for p in parts):
        return None
    found = [p for p in parts if p is not None]
    counts = [p.count for p in found if p.count is not None]
    count = counts[0]
    if any(type(c) is Number for c in counts):
        return None
    for other in counts[1:]:
        count = other if other < count else count
    sequences = tuple(t[:count] if t.shape[0] != count else t for p in found for t in p.sequences)
    ends, at = [], 0
    for p in found:
        ends.append((at, at + len(p.sequences)))
        at = ends[-1][1]

    def item(at: Number, pieces: Any) -> Any:
        return tuple(p.item(at, pieces[a:b]) for p, (a, b) in zip(found, ends, strict=True))

    return Rounds(count, sequences, item, lambda n: tuple(p.at(n) for p in found))


def listed(iterable: Any, element: Callable[..., Any], spread: bool) -> Any:
    """``[element(item) for item in iterable]``, of which a loop over many rounds, or over a size, becomes a node."""
    trace = capturing()
    rounds = None if trace is None else _rounds(iterable)
    few = rounds is None or type(rounds.count) is Number or (type(rounds.count) is int and rounds.count <= _FEW)
    if few:
        return [element(*item) if spread else element(item) for item in iterable]
    made: list[Any] = [[]]

    def give(values: Any) -> None:
        made[0] = values[0]

    def body(item: Any) -> None:
        made[0].append(element(*item) if spread else element(item))

    variables = State(("the list",), (True,), (True,), lambda: (made[0],), give)
    assert trace is not None and rounds is not None
    loop = element.__code__
    if loop in trace.capture.unrolled:
        return [element(*item) if spread else element(item) for item in _unrolled(rounds)]
    try:
        stage_for(trace, rounds, body, None, variables)
        return made[0]
    except Exception:
        pass
    raise Unroll(loop)


def trying() -> None:
    """A ``try`` with handlers begins: what runs raise would pass them."""
    trace = capturing()
    if trace is not None:
        trace.capture.trying += 1


def tried() -> None:
    """It has ended."""
    trace = capturing()
    if trace is not None:
        trace.capture.trying -= 1


def assert_(test: Any, message: Callable[[], Any] | None) -> None:
    """``assert test, message``."""
    if is_value(test):
        error = AssertionError(*([] if message is None else [message()]))
        raising(predicate(test), error)
    elif not test:
        raise AssertionError(*([] if message is None else [message()]))


# --- text ---------------------------------------------------------------------------------------------------------


def formatted(value: Any, conversion: int, spec: Any) -> Any:
    """``{value!r:spec}`` in an f-string."""
    if is_value(value) and type(spec) is str:
        return Text([Shown(value, conversion, spec)])
    if type(value) is Text:
        return value
    if conversion != -1:
        value = CONVERSIONS[conversion](value)
    elif capturing() is not None and type(value) in (list, tuple, dict) and not spec:
        return Text(effects.text_of(value)) if effects.holds_values(value) else format(value, spec)
    return format(value, spec)


def text(*parts: Any) -> Any:
    """An f-string."""
    if all(type(p) is str for p in parts):
        return "".join(parts)
    found: list[Any] = []
    for p in parts:
        found += p.parts if type(p) is Text else [p]
    return Text(found)


__all__ = [
    "UNBOUND",
    "State",
    "all_of",
    "and_",
    "any_of",
    "assert_",
    "attribute",
    "augment_attribute",
    "augment_item",
    "augmented",
    "bound",
    "call",
    "caught",
    "compare",
    "compared",
    "converted",
    "decorator",
    "delete_attribute",
    "delete_item",
    "drop",
    "entered",
    "for_",
    "formatted",
    "gone_through",
    "got_attribute",
    "got_item",
    "if_",
    "if_exp",
    "imported",
    "in_",
    "is_",
    "is_not",
    "item_of",
    "left",
    "listed",
    "matched",
    "none_of",
    "not_",
    "not_in",
    "operated",
    "or_",
    "peek",
    "put",
    "rebound",
    "rebound_global",
    "returned",
    "set_attribute",
    "set_item",
    "stored",
    "tested",
    "text",
    "tried",
    "trying",
    "unary",
    "unset",
    "used",
    "watch",
    "watch_globals",
    "while_",
]

"""Families: eager signatures that differ in sizes alone: a loop over a thousand lengths makes no thousand plans.

A :class:`Family` has the calls of one function whose tensors have the same dtypes and ranks, and whose other arguments
are the same but for sizes. Its first two signatures are traced with numbers, as most programs have no third. The third
is traced with a symbol for each size that is not always the same (sizes that were equal in every call share one); what
the trace asks of a symbol becomes a guard (core/symbolic.py), and whatever keeps the guards is bound to its numbers by
a :class:`~weft.tensor.sized_call.SizedCall`: nothing is traced, lowered or compiled. The bits are those of a trace with
numbers. Strides that are not always the same make a family symbolic too.

Numbers stay what 0 and 1 are, what a function needs as a number (an axis, which it asks for), calls that Python code
computes a node of, and calls on other devices than the CPU. A family whose guards serve hardly anything gives up.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import cache
from itertools import count
from typing import Any, TypeVar

from ..core.errors import WeftError
from ..core.symbolic import Dim, Sizes
from ..graph.protocol import TensorType
from ..ops.op import Composite
from ..ops.subscript import Subscript
from .caches import epoch
from .calls import GraphCall
from .sized_call import SizedCall, numbers_of
from .spec import Spec

_CALLS = 8  # with symbols, of one family
_MOST = 1_024  # with symbols, of all families: the oldest go
_SEEN = 16  # combinations of sizes that say which are equal
_NUMERIC = 2  # signatures that are traced with numbers first
_TRIES = 16  # traces with symbols, after which they must have served four times as many signatures

Place = TypeVar("Place", bound=Hashable)
Trace = Callable[[Sequence[Dim]], tuple[GraphCall, bool]]  # of sizes: the call, and whether it gives a tuple


def names_for(
    columns: Mapping[Place, tuple[int, ...]], fixed: Collection[Place], said: Mapping[Place, str] | None = None
) -> dict[Place, str]:
    """Names for the places whose sizes are not always the same; equal columns share one.

    Args:
        columns: the sizes at a place in earlier calls, and at the end in this one.
        fixed: places that have to be numbers.
        said: names that have been given beforehand.
    """
    said = said or {}
    free = (name for name in map("n{}".format, count()) if name not in said.values())
    found: dict[Place, str] = dict(said)
    shared: dict[tuple[int, ...], str] = {}
    for place, column in columns.items():
        if place not in said and place not in fixed and column[-1] >= 2 and len(set(column)) > 1:
            if column not in shared:
                shared[column] = next(free)
            found[place] = shared[column]
    return found


class Family:
    """Calls whose signatures differ in sizes and strides alone."""

    __slots__ = ("_calls", "_fixed", "_numeric", "_seen", "_served", "_tries")

    def __init__(self) -> None:
        self._calls: tuple[tuple[SizedCall, tuple[str | int, ...]], ...] = ()  # replaced as a whole: threads read it
        self._fixed: set[int] = set()  # places whose size has to be a number
        self._seen: tuple[tuple[int, ...], ...] = ()
        self._numeric: set[tuple[Any, ...]] = set()  # the first sizes and strides, which are traced with numbers
        self._tries = self._served = 0

    def call(self, numbers: tuple[int, ...], strides: tuple[Any, ...], trace: Trace) -> tuple[GraphCall, bool]:
        """The call for these sizes, and for operands with these strides (None: row-major); and whether it gives a
        tuple.

        Raises:
            WeftError: what ``trace`` raises.
        """
        for sized, named in self._calls:
            found = _bound(sized, named, numbers)
            if found is not None:
                self._served += 1
                return found, sized.several
        if len(self._numeric) >= _NUMERIC and (numbers, strides) not in self._numeric:
            made = self._with_symbols(numbers, strides, trace)
            if made is not None:
                return made
        call, several = trace(numbers)
        if len(self._numeric) < _NUMERIC:
            self._numeric.add((numbers, strides))
        self._note(numbers)
        return call, several

    def _note(self, numbers: tuple[int, ...]) -> None:
        if len(self._seen) < _SEEN and numbers not in self._seen:
            self._seen = (*self._seen, numbers)

    def _with_symbols(
        self, numbers: tuple[int, ...], strides: tuple[Any, ...], trace: Trace
    ) -> tuple[GraphCall, bool] | None:
        """A call for what is like these sizes, bound to them; None where it is one of numbers."""
        names = names_for(dict(enumerate(zip(*self._seen, numbers, strict=True))), self._fixed)
        if not names and not any(strides):
            return None
        if self._tries >= _TRIES and self._served < 4 * self._tries:
            return None
        self._tries += 1
        scope = Sizes({name: numbers[place] for place, name in names.items()})
        try:
            call, several = trace([scope[names[i]] if i in names else n for i, n in enumerate(numbers)])
        except WeftError:  # of the user's, which numbers tell better; or of what cannot be said of any size
            return None
        if not SizedCall.can_be(call):
            self._tries, self._served = _TRIES, 0
            return None
        fixed = scope.fixed_names()
        self._fixed |= {place for place, name in names.items() if name in fixed}
        if fixed and len(fixed) == len(scope.examples):
            return None
        sized = SizedCall(call, scope, several)
        named = tuple([names.get(i, n) for i, n in enumerate(numbers)])
        found = _bound(sized, named, numbers)
        if found is None:
            return None
        self._note(numbers)
        self._calls = ((sized, named), *self._calls)[:_CALLS]
        _latest.append(self)
        while len(_latest) > _MOST:
            _latest.popleft()._calls = ()
        return found, several


_latest: deque[Family] = deque()  # families, once for each of their calls with symbols
epoch.caches.append(_latest)


def call_for(family: Family, specs: Sequence[Spec], trace: Callable[[list[TensorType]], GraphCall]) -> GraphCall:
    """The call of a family for operands with these specs; ``trace(types)`` makes it."""
    numbers = tuple([n for spec in specs for n in spec.static_shape])
    strides = strides_of_operands(specs)
    return family.call(numbers, strides, lambda sizes: (trace(types_of(specs, sizes)), False))[0]


def strides_of_operands(specs: Sequence[Spec]) -> tuple[Any, ...]:
    """The strides of operands that are not row-major; of others None."""
    return tuple([None if spec.contiguous else spec.strides for spec in specs])


def types_of(specs: Sequence[Spec], sizes: Sequence[Dim]) -> list[TensorType]:
    """The types of operands whose sizes are, one after the other, others than their specs'."""
    found, at = [], 0
    for spec in specs:
        rank = len(spec.shape)
        found.append(TensorType(spec.dtype, tuple(sizes[at : at + rank])))
        at += rank
    return found


def _bound(sized: SizedCall, named: tuple[str | int, ...], numbers: tuple[int, ...]) -> GraphCall | None:
    """The call for these numbers; None: it is for others."""
    found: dict[str, int] = {}
    for name, number in zip(named, numbers, strict=True):
        if number != (found.setdefault(name, number) if name.__class__ is str else name):
            return None
    return sized.at(numbers_of(sized.names, found))


# --- sizes among arguments --------------------------------------------------------------------------------------------

_SIZES = frozenset(
    (
        *("Dim", "Dim | None", "Shape", "Dim | float", "Dim | float | None"),
        *("Dim | Sequence[Dim]", "Dim | Sequence[Dim] | None"),
    )
)


@cache
def _takes_sizes(function: Composite) -> tuple[tuple[bool, ...], frozenset[str]]:
    """Which positional parameters of a function are sizes, and the names of those that are. (A function that says its
    gradient by a rule of its own has none: the rule gets its arguments as they are.)"""
    if function.gradient is not None:
        return (), frozenset()
    found = inspect.signature(function.function).parameters.values()
    plain = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    sizes = frozenset(p.name for p in found if p.annotation in _SIZES)
    return tuple(p.name in sizes for p in plain), sizes


_SIZE = object()  # stands for a size in the key of a family


def opened(function: Composite, args: Sequence[Any], kwargs: Mapping[str, Any], numbers: list[int]) -> Any:
    """What the arguments of a call are but for sizes, hashable as far as sizes are concerned: of each None where it has
    none. ``numbers``: sizes are appended."""
    places, names = _takes_sizes(function)
    key = [
        _opened(a, numbers) if a.__class__ is Subscript or (i < len(places) and places[i]) else None
        for i, a in enumerate(args)
    ]
    if kwargs:
        key += [_opened(a, numbers) if name in names else None for name, a in kwargs.items()]
    return tuple(key)


def _opened(value: Any, numbers: list[int]) -> Any:
    kind = value.__class__
    if kind is int:
        numbers.append(value)
        return _SIZE
    if (kind is tuple or kind is list) and all(v.__class__ is int for v in value):
        numbers += value
        return kind, len(value)
    if kind is Subscript:
        numbers += (*value.starts, *value.sizes, *value.shape)
        return len(value.starts), len(value.shape), value.steps, value.indexed, value.place
    return None


def with_sizes(key: Any, values: Sequence[Any], sizes: Sequence[Dim]) -> list[Any]:
    """Arguments (``values``: those by name behind the others) with other sizes in the places that ``key`` has."""
    found, at = [], 0
    for way, value in zip(key, values, strict=True):
        if way is None:
            found.append(value)
        elif way is _SIZE:
            found.append(sizes[at])
            at += 1
        elif value.__class__ is Subscript:
            rank, shown = way[:2]
            ends = at + rank, at + 2 * rank, at + 2 * rank + shown
            parts = [tuple(sizes[a:b]) for a, b in zip((at, *ends), ends, strict=False)]
            found.append(Subscript(parts[0], parts[1], value.steps, parts[2], value.indexed, value.place))
            at = ends[-1]
        else:
            found.append(value.__class__(sizes[at : at + way[1]]))
            at += way[1]
    return found

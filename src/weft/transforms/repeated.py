"""What every run does to Python objects, as the function did when it was captured (:mod:`.journal`).

A value that is stored, or appended, is laid out once: a tensor that the run makes, one from outside, a plain value, an
object that was there before; or a list, dict, tuple, set or object that the function made, which each run makes anew.
"""

from __future__ import annotations

import copyreg
import gc
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import BuiltinMethodType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import CaptureError
from ..core.symbolic import SymDim
from ..graph.ir import Value
from ..tensor import guards
from ..tensor.guards import ABSENT
from ..tensor.tensor import Tensor, is_traced
from .journal import CONTAINERS, Journal, contents, refill
from .names import SIMPLE, Names
from .places import Item, Key, Option, Place, Reported
from .refs import Ref, TensorRef

if TYPE_CHECKING:
    from .inside import Inside

_PLAIN = (*SIMPLE, complex, bytes, type, ModuleType)
Memo = dict[int, Any]  # what a run has made, by the numbers of layouts


@dataclass(slots=True, eq=False)
class Same:
    """A value that is the same in every run."""

    value: Any

    def get(self, made: Sequence[Tensor], arguments: Sequence[Tensor], memo: Memo) -> Any:
        """It."""
        return self.value


@dataclass(slots=True, eq=False)
class Made:
    """A tensor that the run makes; ``name``: its id, until the run's items are numbered."""

    name: int
    number: int = -1

    def get(self, made: Sequence[Tensor], arguments: Sequence[Tensor], memo: Memo) -> Any:
        """The tensor."""
        return made[self.number]


@dataclass(slots=True, eq=False)
class Counted:
    """A Python number that the run computes."""

    of: Made
    kind: type

    def get(self, made: Sequence[Tensor], arguments: Sequence[Tensor], memo: Memo) -> Any:
        """The number."""
        return self.kind(made[self.of.number].item())


@dataclass(slots=True, eq=False)
class Outside:
    """A tensor that was there before."""

    ref: Ref

    def get(self, made: Sequence[Tensor], arguments: Sequence[Tensor], memo: Memo) -> Any:
        """The tensor."""
        return self.ref.get(arguments)


@dataclass(slots=True, eq=False)
class New:
    """A container or object that every run makes: ``begin()`` makes it, ``fill`` gives it its parts."""

    begin: Callable[[], Any] | None
    fill: Callable[[Any, list[Any]], Any]
    parts: list[Any] = field(default_factory=list)

    def get(self, made: Sequence[Tensor], arguments: Sequence[Tensor], memo: Memo) -> Any:
        """It; one in one run."""
        key = id(self)
        if key in memo:
            return memo[key]
        if self.begin is not None:  # it may hold itself
            memo[key] = self.begin()
        found = [part.get(made, arguments, memo) for part in self.parts]
        if self.begin is None and key in memo:  # one of the parts holds it
            return memo[key]
        memo[key] = self.fill(memo.get(key), found)
        return memo[key]


Layout = Same | Made | Counted | Outside | New


@dataclass(slots=True, eq=False)
class Repeated:
    """What every run does: functions, and the layouts of what they are called with. ``first``: the tensors that the
    function itself made, with their numbers: what the first run makes becomes their value."""

    steps: list[tuple[Callable[..., Any], tuple[Layout, ...]]] = field(default_factory=list)
    first: list[tuple[int, weakref.ref[Tensor]]] = field(default_factory=list)
    places: set[tuple[int, Any]] = field(default_factory=set)
    values: list[Value] = field(default_factory=list)  # of tensors that are no results

    def do(self, made: Sequence[Tensor], arguments: Sequence[Tensor]) -> None:
        """All of it, in order."""
        memo: Memo = {}
        for function, layouts in self.steps:
            if len(layouts) == 1:
                function(layouts[0].get(made, arguments, memo))
            else:
                function(*[layout.get(made, arguments, memo) for layout in layouts])


class Laid:
    """What a capture's journal comes to, as long as the capture goes on."""

    def __init__(self, going: Inside, journal: Journal, names: Names):
        self._going = going
        from .source.number import Number

        events, self._made = journal.settle(names)
        self._memo: dict[int, Layout] = {}
        self._arrays: dict[int, Any] = {}  # those of NumPy's whose memory is copied
        self.tensors: dict[int, Tensor] = {}  # that runs make, by id
        self._handed: list[Tensor] = []  # that runs hand to Python objects, of one event
        self._numbered: list[Made] = []
        self.refs: list[Ref] = []
        self.repeated = Repeated()
        self.numbers: list[tuple[Place, Any, bool]] = []  # places in which runs store a number; whether guards are told
        read: dict[int, Any] = {}  # containers whose contents decided what was done
        # Where more is done than to store, or something new comes in, the order counts.
        ordered = {id(e.owner) for e in events if e.place is None or not e.args or e.place.get() is ABSENT}
        ordered |= {id(e.place.holder) for e in events if e.place is not None and id(e.owner) in ordered}
        # Who else holds what a place held, which gets another tensor, holds what nobody writes any more.
        former = [e.place.get() for e in events if e.place is not None]  # what was done is taken back
        for event in events:
            place = event.place
            self._handed.clear()
            alone = place is not None and ordered.isdisjoint((id(event.owner), id(place.holder)))
            if place is not None and alone and event.args and type(event.args[0]) is Number:
                self._count(place, event.args[0])
                continue
            try:
                layouts = tuple([self._layout(value) for value in event.args])
                for tensor in self._handed:
                    going.check_kept(tensor, former)
            except CaptureError as error:
                error.where = event.where or error.where
                raise
            self.repeated.steps.append((event.do, layouts))
            if event.place is not None:
                self.repeated.places.add(event.place.id)
            if isinstance(event.owner, CONTAINERS) and not event.blind:
                read[id(event.owner)] = event.owner
        self.read = list(read.values())
        self._made, self._memo, self._arrays, self._handed = {}, {}, {}, []

    def _count(self, place: Place, number: Any) -> None:
        """A number that the run computes becomes what a place holds."""
        told = isinstance(place, Reported) or (isinstance(place, Key) and place.reports)
        if isinstance(place, Reported):
            place = Item(place.owner, place.key)
        elif told and isinstance(place, Key):
            place = Option(place.owner, place.key)
        self.numbers.append((place, number, told))
        self.repeated.places.add(place.id)

    def _layout(self, value: Any) -> Layout:
        key = id(value)
        if key not in self._memo:
            self._memo[key] = self._new_layout(value)
        return self._memo[key]

    def _new_layout(self, value: Any) -> Layout:
        from .source.effects import Text
        from .source.number import Number, as_number
        from .source.stacked import Stacked

        kind = type(value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if kind is Number:
            return Counted(self._number(value.tensor), value.kind)
        if isinstance(value, SymDim):
            number = as_number(value)
            assert number is not None
            return Counted(self._number(number.tensor, -1 - len(self.tensors)), int)
        if kind is Text:
            raise CaptureError(
                "a string with the value of a tensor is known when captured code runs: it can be printed, or be the "
                "message of an error or an assert, but not be stored; store the tensor"
            )
        if isinstance(value, _PLAIN):
            return Same(value)
        if kind is Stacked:
            return self._parts(New(list, _extend), list(value))
        if isinstance(value, tuple):
            make = tuple if kind is tuple else getattr(kind, "_make", None)
            return Same(value) if make is None else self._tuple(value, make)
        if kind is slice:
            return self._tuple((value.start, value.stop, value.step), lambda parts: slice(*parts), value)
        if id(value) not in self._made:
            return Same(value)
        if kind is FunctionType:
            return self._function(value)
        if kind is CellType:
            return self._cell(value)
        if kind is MethodType:
            return self._tuple([value.__self__], partial(_as_method, value.__func__), value)
        if kind is BuiltinMethodType:
            return self._tuple([value.__self__], partial(_as_builtin, value.__name__), value)
        return self._object(value, kind)

    def _function(self, value: FunctionType) -> Layout:
        """A function that the function made. What it holds may be of the run, and then it is one of the run's own."""
        named, attributes = value.__kwdefaults__ or {}, vars(value)
        defaults = value.__defaults__ or ()
        names = (list(named), list(attributes), len(defaults))
        new = New(None, partial(_as_function, value.__code__, value.__globals__, value.__qualname__, *names))
        self._memo[id(value)] = new  # it may hold itself
        self._parts(new, [*named.values(), *attributes.values(), *defaults, *(value.__closure__ or ())])
        return Same(value) if all(type(part) is Same for part in new.parts) else new

    def _cell(self, value: CellType) -> Layout:
        """A variable of functions that the function made."""
        new = New(CellType, _with_contents)
        self._memo[id(value)] = new
        try:
            return self._parts(new, [value.cell_contents])
        except ValueError:  # it has no value
            return new

    def _tuple(self, value: Any, make: Callable[[list[Any]], Any], whole: Any = None) -> Layout:
        parts = [self._layout(part) for part in value]
        if all(type(part) is Same for part in parts):
            return Same(value if whole is None else whole)
        return New(None, lambda _, found: make(found), parts)

    def _parts(self, layout: New, parts: Sequence[Any]) -> New:
        layout.parts = [self._layout(part) for part in parts]
        return layout

    def _object(self, value: Any, kind: type) -> Layout:
        """A container or object that the function made."""
        new: New
        if isinstance(value, CONTAINERS) and kind.__module__.partition(".")[0] != "weft":
            begin: Callable[[], Any] = partial(kind.__new__, kind)
            if isinstance(value, deque):
                begin = partial(kind, maxlen=value.maxlen)
            elif isinstance(value, defaultdict):
                begin = partial(kind, value.default_factory)
            held, own = contents(value), getattr(value, "__dict__", {})
            keys = list(held) if isinstance(value, dict) else None
            new = New(begin, partial(_filled, keys, list(own)))
            self._memo[id(value)] = new
            if keys is None:
                parts = [held] if isinstance(value, bytearray) else held
            else:
                parts = list(held.values())
            return self._parts(new, [*parts, *own.values()])
        if kind is object:
            return New(object, _as_it_is)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return self._array(value)
        if kind is frozenset:
            return self._tuple(value, frozenset, value)
        plain = kind.__flags__ & _HEAP and not hasattr(kind, "guarded") and kind.__module__.partition(".")[0] != "weft"
        names = getattr(value, "__dict__", {}) if plain or kind.__name__ == "SimpleNamespace" else None
        if names is None or not _is_copied(kind):
            if _is_value(value, kind):
                return Same(value)
            raise CaptureError(
                f"a {kind.__name__} that is made here is stored, which captured code cannot make anew for each run; "
                "make it outside of the captured function, or store what it is made of"
            )
        slots = [n for n in copyreg._slotnames(kind) if hasattr(value, n)]  # type: ignore[attr-defined]
        new = New(partial(_bare, kind), partial(_set_attributes, list(names), slots))
        self._memo[id(value)] = new
        return self._parts(new, [*names.values(), *(getattr(value, n) for n in slots)])

    def _array(self, value: Any) -> Layout:
        """An array of NumPy's that the function made: a copy for each run."""
        root = value
        while isinstance(root.base, np.ndarray):
            root = root.base
        if id(root) in self._arrays:
            raise CaptureError("arrays that are made here and share memory are stored; store copies of them")
        self._arrays[id(root)] = root
        kept = value.copy(order="K")
        return New(None, lambda _, parts: kept.copy(order="K"))

    def _tensor(self, tensor: Tensor) -> Layout:
        ref = self._going.object_of(tensor)
        if ref is None and not is_traced(tensor):
            ref = TensorRef(tensor)
        if ref is not None:
            self.refs.append(ref)
            return Outside(ref)
        if type(tensor) is not Tensor:
            raise CaptureError(
                f"a {type(tensor).__name__} {tensor._spec} that is made here is stored, which would be another object "
                "for each run; make it outside of the captured function, and change its value with assign()"
            )
        if getattr(tensor._node, "grad", None) is not None:
            raise CaptureError(
                f"a tensor {tensor._spec} that is made here is stored, with a gradient of its own; return the gradient "
                "as a result"
            )
        self._handed.append(tensor)
        return self._number(tensor)

    def _number(self, tensor: Tensor, name: int | None = None) -> Made:
        """``name``: of a tensor that is made now, whose id may be that of a result, which is gone by now."""
        tensor = self._going.inside(tensor)
        name = id(tensor) if name is None else name
        self.tensors[name] = tensor
        self._numbered.append(Made(name))
        return self._numbered[-1]

    def number(self, names: Sequence[int], results: int) -> None:
        """Give the tensors their numbers: places of their ids among ``names``, of which the first are results; and let
        go of them."""
        numbers = {name: n for n, name in enumerate(names)}
        for made in self._numbered:
            made.number = numbers[made.name]
        for name, tensor in self.tensors.items():
            self.repeated.first.append((numbers[name], weakref.ref(tensor)))
            if numbers[name] >= results:
                self.repeated.values.append(tensor._storage)
        self.tensors = {}


_HEAP = 1 << 9  # of a class: written in Python


def _is_copied(kind: type) -> bool:
    """Whether an object of a class is what its attributes say."""
    new: Any = kind.__new__
    if new is not object.__new__ and type(new) is not FunctionType:  # written in C, as it may be without a sign of it
        return kind.__name__ == "SimpleNamespace"
    return (
        kind.__name__ == "SimpleNamespace"
        or kind.__base__ is object
        or all(base is object or base.__flags__ & _HEAP for base in kind.__mro__)
    )


def _is_value(value: Any, kind: type) -> bool:
    """Whether one object is as good as another that equals it, and holds nothing: a date, a Decimal, a range."""
    hashing: Any = kind.__hash__
    if hashing in (None, object.__hash__):
        return False
    return not [held for held in gc.get_referents(value) if held is not kind]  # which newer classes in C refer to


def _as_method(function: Any, parts: list[Any]) -> Any:
    return MethodType(function, parts[0])


def _as_builtin(name: str, parts: list[Any]) -> Any:
    return getattr(parts[0], name)


def _as_function(
    code: CodeType,
    names: dict[str, Any],
    qualname: str,
    named: Sequence[str],
    attributes: Sequence[str],
    defaults: int,
    _: Any,
    parts: list[Any],
) -> FunctionType:
    held = iter(parts)
    by_name = {name: next(held) for name in named}
    own = {name: next(held) for name in attributes}
    given = tuple([next(held) for _ in range(defaults)])
    made = FunctionType(code, names, code.co_name, given or None, tuple(held))
    made.__kwdefaults__, made.__qualname__ = by_name or None, qualname
    made.__dict__.update(own)
    return made


def _with_contents(cell: Any, parts: list[Any]) -> Any:
    if parts:
        cell.cell_contents = parts[0]
    return cell


def _as_it_is(made: Any, _: list[Any]) -> Any:
    return made


def _bare(kind: Any) -> Any:
    return kind() if kind.__name__ == "SimpleNamespace" else object.__new__(kind)


def _extend(made: Any, parts: list[Any]) -> Any:
    made.extend(parts)
    return made


def _filled(keys: Sequence[Any] | None, names: Sequence[str], made: Any, parts: list[Any]) -> Any:
    items = parts[: len(parts) - len(names)]
    refill(
        made,
        dict(zip(keys, items, strict=True)) if keys is not None else items[0] if isinstance(made, bytearray) else items,
    )
    if names:
        made.__dict__.update(zip(names, parts[len(items) :], strict=True))
    return made


def _set_attributes(names: Sequence[str], slots: Sequence[str], made: Any, parts: list[Any]) -> Any:
    if names:
        made.__dict__.update(zip(names, parts, strict=False))
    for name, value in zip(slots, parts[len(names) :], strict=True):
        object.__setattr__(made, name, value)
    return made


class Contents:
    """A condition: a container holds what it held. ``read``: the ids of tensors that the function read, which have to
    be those; for another any of its type will do."""

    __slots__ = ("container", "expected")

    def __init__(self, container: Any, read: set[int]):
        self.container = container
        self.expected = tuple([self._expected(value, read) for value in self._now()])

    @staticmethod
    def _expected(value: Any, read: set[int]) -> Any:
        if type(value) is tuple:
            return tuple([Contents._expected(part, read) for part in value])
        return guards.like(value) if isinstance(value, Tensor) and id(value) not in read else value

    def _now(self) -> Sequence[Any]:
        held = contents(self.container)
        if isinstance(held, dict):
            return list(held.items())
        return sorted(held, key=id) if isinstance(self.container, set) else held

    def __call__(self, _: Sequence[Tensor]) -> bool:
        if isinstance(self.container, set):
            return len(self.container) == len(self.expected) and all(map(self.container.__contains__, self.expected))
        return guards.same(tuple(self._now()), self.expected)

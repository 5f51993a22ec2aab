"""Python numbers among the arguments of a compiled function, as inputs of its graph: a learning rate, a step, a count.

The first call is captured with the numbers as constants. A call that differs from earlier ones in the values of ints or
floats is captured once more with these as numbers of run time (source/number.py), which each run fills in: later values
are hits. Where the function needs the value itself (a shape, an axis, a key of a dict), that capture fails, and every
value is captured by itself. Bools, and integers beyond 52 bits, are constants.

To the capture, such a number is a tensor argument of rank 0 that stands where the number stood: a :class:`Scalar` among
the leaves of the arguments.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..core import dtypes as dt
from ..core.errors import CaptureError
from ..graph.ir import Graph, Node
from ..ops.operands import Late
from ..runtime import storage as storages
from ..runtime.quick import REFUSED
from ..tensor.create import is_scalar
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .tree import flatten, unflatten

MOST = 2**52  # sums of two are floats exactly, and products with what code has at hand are of 64 bits
_PACKED: dict[type, Callable[..., Any]] = {float: struct.Struct("d").pack_into, int: struct.Struct("q").pack_into}
SPECS: dict[type, Spec] = {float: spec_of(dt.float64, ()), int: spec_of(dt.int64, ())}
_KNOWN = 4096  # signatures of which it is remembered which numbers are inputs

Call = tuple[tuple[Any, ...], dict[str, Any]]  # the arguments of a call


class Scalar:
    """A number among the arguments that is an input: its type, and the tensor that has its value in this call."""

    __slots__ = ("kind", "tensor")

    def __init__(self, kind: type, tensor: Tensor):
        self.kind, self.tensor = kind, tensor

    def __repr__(self) -> str:
        return f"any {self.kind.__name__}"


def fits(value: Any) -> bool:
    """Whether a number may be an input: a float, or an integer that is one exactly."""
    kind = type(value)
    return kind is float or (kind is int and -MOST <= value <= MOST)


def tensor_of(value: Any) -> Tensor:
    """A tensor of rank 0 with a float or an integer that fits, in memory of its own."""
    kind = type(value)
    storage = storages.empty(8)
    _PACKED[kind](storage, 0, value)
    return make(storage, SPECS[kind], None, 0)


class _Number(NamedTuple):
    """What the signature of a call says of a number: its place there, and its value."""

    at: int
    item: tuple[Any, Any]


def _numbers_in(signature: Sequence[Any]) -> Iterator[_Number]:
    """The ints and floats that a signature has (compile.py's ``_key_of``), in the order of the arguments' leaves."""
    for at, item in enumerate(signature):
        if item.__class__ is tuple and len(item) == 2 and (item[0] is int or item[0] == "float"):
            yield _Number(at, item)


class _Known:
    """Calls that differ in numbers (and sizes) alone: the first values, by the number of the number; which are inputs;
    which the function has turned out to need."""

    __slots__ = ("family", "first", "inputs", "needed")

    def __init__(self, first: tuple[Any, ...], family: Any):
        self.first, self.family = first, family
        self.inputs: tuple[int, ...] = ()
        self.needed: frozenset[int] = frozenset()


class NumberArguments:
    """Which numbers among the arguments of a compiled function are inputs of its graphs."""

    def __init__(self) -> None:
        self._known: dict[Any, _Known] = {}

    def clear(self) -> None:
        """Forget it all."""
        self._known.clear()

    def _of(self, signature: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """What calls have in common that differ in numbers and sizes alone; the numbers."""
        numbers = tuple(_numbers_in(signature))
        key: list[Any] = [(s.dtype, len(s.shape), s.device) if isinstance(s, Spec) else s for s in signature]
        for number in numbers:
            key[number.at] = number.item[0]
        return tuple(key), tuple([number.item for number in numbers])

    def inputs(self, signature: tuple[Any, ...]) -> tuple[int, ...]:
        """The numbers that are inputs of the graphs for such calls."""
        if not self._known:
            return ()
        known = self._known.get(self._of(signature)[0])
        return () if known is None else known.inputs

    def wanted(self, signature: tuple[Any, ...]) -> list[tuple[int, ...]]:
        """The numbers to make inputs for a call that no graph is for: those that had other values before. Several
        combinations to try, one after the other; none where there are no such numbers."""
        key, values = self._of(signature)
        known = self._known.get(key)
        if known is None:
            return []
        differ = {n for n, (a, b) in enumerate(zip(values, known.first, strict=True)) if a != b}
        found = tuple(sorted({*known.inputs, *differ} - known.needed))
        if not found:
            return []
        return [found, *((n,) for n in found if len(found) > 1)]

    def first_family(self, signature: tuple[Any, ...]) -> Any:
        """What was noted with the first call; None where there was none."""
        known = self._known.get(self._of(signature)[0])
        return None if known is None else known.family

    def note(self, signature: tuple[Any, ...], family: Any) -> None:
        """There is a graph with the numbers of this call as constants, of a family of graphs."""
        key, values = self._of(signature)
        if values and key not in self._known:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[key] = _Known(values, family)

    def keep(self, signature: tuple[Any, ...], inputs: tuple[int, ...]) -> None:
        """There is a graph with these numbers as inputs."""
        self._known[self._of(signature)[0]].inputs = inputs

    def give_up(self, signature: tuple[Any, ...], which: Iterable[int]) -> None:
        """No graph can have these numbers as inputs."""
        known = self._known.get(self._of(signature)[0])
        if known is not None:
            known.needed |= frozenset(which).difference(known.inputs)


def with_scalars(args: tuple[Any, ...], kwargs: dict[str, Any], inputs: Sequence[int]) -> Call | None:
    """The arguments with these numbers as :class:`Scalar`; None where one of them can be none."""
    leaves, form = flatten((args, kwargs))
    count = 0
    for at, leaf in enumerate(leaves):
        kind = type(leaf)
        if kind is bool or isinstance(leaf, Tensor):
            continue
        value = leaf
        if is_scalar(leaf):
            value = leaf.item()
            kind = type(value)
            if leaf.dtype.char not in "dlq":  # computing with it rounds to its own dtype
                kind = type(leaf)
        if not isinstance(value, float) and type(value) is not int:
            continue
        if count in inputs:
            if kind not in _PACKED or not fits(value):
                return None
            leaves[at] = Scalar(kind, tensor_of(value))
        count += 1
    found: Call = unflatten(form, leaves)
    return found


def are_scalars(tensors: Sequence[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[bool]:
    """Which tensors of a call are those of scalars."""
    known = {id(leaf.tensor) for leaf in flatten((args, kwargs))[0] if type(leaf) is Scalar}
    return [id(t) in known for t in tensors]


def plain_tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """The arguments with the tensors of scalars in their place, as native code takes them; those that are in lists and
    dicts stay."""
    return (
        tuple([a.tensor if type(a) is Scalar else a for a in args]),
        {name: a.tensor if type(a) is Scalar else a for name, a in kwargs.items()},
    )


def filling(
    way: Callable[[tuple[Any, ...], dict[str, Any]], Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    held: Sequence[tuple[Callable[[], Any], type]] = (),
) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """A quick way for calls with numbers, of one that takes tensors for those that are scalars in these arguments, and
    after the others tensors for what the functions ``held`` give."""
    places = [(n, a.kind) for n, a in enumerate(args) if type(a) is Scalar]
    named = [(name, a.kind) for name, a in kwargs.items() if type(a) is Scalar]
    count = len(args)
    pack_float, pack_int, empty = _PACKED[float], _PACKED[int], storages.empty
    of_float, of_int = SPECS[float], SPECS[int]

    def tensor(value: Any, kind: Any) -> Any:
        if value.__class__ is not kind:
            return None
        storage = empty(8)
        if kind is float:
            pack_float(storage, 0, value)
            return make(storage, of_float, None, 0)
        if not -MOST <= value <= MOST:
            return None
        pack_int(storage, 0, value)
        return make(storage, of_int, None, 0)

    def filled(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) != count:
            return REFUSED
        given = list(args)
        for at, kind in places:
            found = tensor(given[at], kind)
            if found is None:
                return REFUSED
            given[at] = found
        if named:
            kwargs = dict(kwargs)
            for name, kind in named:
                found = tensor(kwargs.get(name), kind)
                if found is None:
                    return REFUSED
                kwargs[name] = found
        for get, kind in held:
            found = get() if kind is Tensor else tensor(get(), kind)
            if found is None:
                return REFUSED
            given.append(found)
        return way(tuple(given), kwargs)

    return filled


def check_attributes(nodes: Iterable[Node]) -> None:
    """Raise where a node has a number of run time among its attributes, which are constants.

    Raises:
        CaptureError: it has.
    """
    for node in nodes:
        for value in node.params.values():
            if isinstance(value, Graph):
                check_attributes(value.nodes)
            elif isinstance(value, Late) or (type(value) is tuple and any(isinstance(v, Late) for v in value)):
                raise CaptureError(f"{node.op}: a Python number that is known at run time alone is an attribute")

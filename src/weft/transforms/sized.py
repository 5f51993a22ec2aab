"""Any shape: which sizes of a compiled function's arguments are symbols, and one capture for all of them.

The first call of a function is captured with numbers. A call whose signature differs from earlier ones in sizes alone
is captured with a symbol for each size that has changed (sizes that were equal in every call so far share one), in a
scope (core/symbolic.py): what the function, its ops, and later the lowering ask of a symbol is answered as this call
has it and becomes a guard. Every later call whose sizes keep the guards binds the capture's plan (graph/sized.py) to
its numbers: nothing is traced, lowered or compiled, and the bits are those of a capture for these very sizes.

- :class:`Family` has the calls that differ in sizes alone: which sizes have been seen, and the captures.
- :class:`SizedCapture` is a capture with symbols: its guards, its plans, and entries for certain numbers.

A size that is 0 or 1 stays a number, and so does one that the program needs as such (``range(n)``, ``float(n)``): the
scope says so, and no further capture tries a symbol there. Captures keep their numbers where operands are not
row-major or share memory that is written, where Python code computes a node, and where results show an argument's
memory.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.device import CPU
from ..core.errors import ArgumentError, CaptureError, ShapeError
from ..core.shapes import Shape, check_count, is_static, shown
from ..core.size_program import SizeProgram
from ..core.symbolic import Dim, Sizes
from ..graph.executable import Executable
from ..graph.sized import SizedPlans
from ..tensor.create import is_array
from ..tensor.families import names_for
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor
from .cache_info import Made
from .captured import Captured
from .entry import Entry, written_inputs
from .numbers import Scalar
from .tree import flatten
from .unit import SizedUnit

_CAPTURES = 8  # of one family
_SEEN = 64  # combinations of sizes that say which are equal

Sizing = tuple[tuple[int, ...], ...]  # the shapes of the tensor arguments
Names = tuple[tuple[str | int, ...], ...]  # the same with names for sizes


class Dynamic:
    """What a caller says beforehand about sizes: ``{"x": {0: "batch"}}``, or ``{"x": {0: ("batch", 2, 512)}}`` with the
    least and the greatest number; by the names of parameters that are tensors, and by axes.

    Raises:
        ArgumentError: it is none of these.
    """

    def __init__(self, function: Callable[..., Any], said: Mapping[str, Mapping[int, Any]]):
        self._parameters = _parameters(function)
        self._said: dict[str, dict[int, str]] = {}
        self.ranges: dict[str, tuple[int, int | None]] = {}  # by name
        if not isinstance(said, Mapping) or not all(isinstance(axes, Mapping) for axes in said.values()):
            raise ArgumentError(f"compile: dynamic is {shown(said)}; it must be like {{'x': {{0: 'batch'}}}}")
        for parameter, axes in said.items():
            if parameter not in self._parameters:
                known = ", ".join(self._parameters)
                raise ArgumentError(f"compile: dynamic names {shown(parameter)}; the parameters are {known}")
            self._said[parameter] = {axis: self._name(parameter, axis, what) for axis, what in axes.items()}

    @classmethod
    def named(cls, names: Iterable[str], before: Dynamic | None) -> Dynamic:
        """The same with further names of sizes, of which nothing is said."""
        made = object.__new__(cls)
        made._parameters, made._said = ([], {}) if before is None else (before._parameters, before._said)
        made.ranges = dict.fromkeys(names, (0, None)) | ({} if before is None else before.ranges)
        return made

    def _name(self, parameter: str, axis: Any, what: Any) -> str:
        given = what if isinstance(what, tuple) and len(what) == 3 else (what, None, None)
        name, least, greatest = given
        ends = [end for end in (least, greatest) if end is not None]
        if type(axis) is not int or not isinstance(name, str) or not name.isidentifier():
            asked = "an axis has a name, or (name, least, greatest)"
            raise ArgumentError(f"compile: dynamic[{parameter!r}][{axis!r}] is {shown(what)}; {asked}")
        if any(type(end) is not int for end in ends) or ends != sorted(ends) or (least is not None and least < 0):
            raise ArgumentError(f"compile: dynamic[{parameter!r}][{axis!r}] is {shown(what)}: no range of sizes")
        before = self.ranges.get(name, (0, None))
        highs = [end for end in (before[1], greatest) if end is not None]
        self.ranges[name] = max(before[0], least or 0), min(highs) if highs else None
        return name

    def places(self, args: Sequence[Any], kwargs: Mapping[str, Any], shapes: Sizing) -> dict[tuple[int, int], str]:
        """The names, by (number of the tensor, axis).

        Raises:
            ShapeError: an axis is not there, sizes of one name differ, or one is out of its range.
        """
        found: dict[tuple[int, int], str] = {}
        sizes: dict[str, tuple[int, str]] = {}
        number = 0
        for parameter, value in (*zip(self._parameters, args, strict=False), *kwargs.items()):
            leaves = flatten(value)[0]
            count = sum(isinstance(leaf, (Tensor, Scalar)) or is_array(leaf) for leaf in leaves)
            for axis, name in self._said.get(parameter, {}).items():
                if count != 1 or not -len(shapes[number]) <= axis < len(shapes[number]):
                    what = f"has shape {shapes[number]}" if count == 1 else "is no tensor"
                    raise ShapeError(f"{parameter}, which was said to have the size {name} at axis {axis}, {what}")
                size, where = shapes[number][axis], f"{parameter}.shape[{axis}]"
                least, greatest = self.ranges[name]
                if size < least or (greatest is not None and size > greatest):
                    most = "any" if greatest is None else greatest
                    raise ShapeError(f"{where} is {size}; {name} was said to be from {least} to {most}")
                before = sizes.setdefault(name, (size, where))
                if before[0] != size:
                    raise ShapeError(f"{where} is {size} and {before[1]} is {before[0]}; both were said to be {name}")
                found[number, axis % len(shapes[number])] = name
            number += count
        return found

    def limit(self, scope: Sizes) -> None:
        """Note the ranges."""
        for name in scope.examples:
            if name in self.ranges:
                scope.limit(name, *self.ranges[name])

    def check(self, scope: Sizes) -> None:
        """That what was said to be any size is not needed as a number.

        Raises:
            CaptureError: it is, at the line that needs it.
        """
        for name in sorted(scope.fixed_names()):
            least, greatest = self.ranges.get(name, (0, 0))
            if name in self.ranges and greatest != max(least, 2) and scope.examples[name] > 1:  # no range of one size
                error = CaptureError(
                    f"the size {name} was said to be any, and the function needs its number, {scope.examples[name]}; "
                    f"compute with it as with an integer (no range, float or hash of it), or do not say dynamic"
                )
                error.where = scope.lines.get(name) or error.where
                raise error


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ArgumentError("compile: dynamic needs a function whose parameters have names") from None
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


class Family:
    """Calls whose signatures differ in sizes alone."""

    __slots__ = ("_fixed", "_seen", "captures", "latest")

    def __init__(self) -> None:
        self.latest: weakref.ref[Captured] | None = None  # of all captures for such calls
        self.captures: list[SizedCapture] = []
        self._seen: list[Sizing] = []
        self._fixed: set[tuple[int, int]] = set()  # (argument, axis) whose size has to be a number

    def note(self, shapes: Sizing) -> None:
        """Sizes that a capture with numbers was made for."""
        if len(self._seen) < _SEEN:
            self._seen.append(shapes)

    def learn(self, other: Family, scalars: Sequence[bool]) -> None:
        """Take over which sizes have been seen for the same calls without inputs for their numbers; ``scalars``: which
        of the tensors are such inputs."""
        if not self._seen:
            for seen in other._seen:
                shapes = iter(seen)  # those of numbers in places, the last ones, are not among them
                self._seen.append(tuple([() if is_scalar else next(shapes, ()) for is_scalar in scalars]))

    def names(self, shapes: Sizing, said: Mapping[tuple[int, int], str]) -> Names | None:
        """Names for the sizes that are others in earlier calls, and for those that have been said to be any; None:
        there are none."""
        if not self._seen and not said:
            return None
        columns = {
            # Captures without inputs in places have not seen those, the last ones.
            (number, axis): (*(seen[number][axis] for seen in self._seen if number < len(seen)), size)
            for number, shape in enumerate(shapes)
            for axis, size in enumerate(shape)
        }
        names = names_for(columns, self._fixed, said)
        if not names:
            return None
        return tuple([tuple([names.get((i, axis), n) for axis, n in enumerate(s)]) for i, s in enumerate(shapes)])

    def keep(self, made: SizedCapture) -> None:
        """Keep a capture for calls to come."""
        fixed = made.scope.fixed_names()
        self._fix(made.names, fixed)
        self.captures = [made, *self.captures][:_CAPTURES]

    def give_up(self, names: Names) -> None:
        """No capture had symbols for these sizes: they stay numbers."""
        self._fix(names, {n for shape in names for n in shape if isinstance(n, str)})

    def _fix(self, names: Names, which: set[str]) -> None:
        for number, shape in enumerate(names):
            self._fixed |= {(number, axis) for axis, name in enumerate(shape) if name in which}


def shapes_in(scope: Sizes, names: Names) -> dict[int, Shape]:
    """The shapes of the arguments that have sizes of the scope."""
    shapes = {i: tuple([scope[n] if isinstance(n, str) else n for n in shape]) for i, shape in enumerate(names)}
    return {i: shape for i, shape in shapes.items() if not is_static(shape)}


def examples_of(names: Names, shapes: Sizing) -> dict[str, int]:
    """The number of each name."""
    pairs = zip(names, shapes, strict=True)
    return {n: size for named, shape in pairs for n, size in zip(named, shape, strict=True) if isinstance(n, str)}


class SizedCapture:
    """A capture with symbols for sizes.

    Args:
        captured: what the function did.
        scope: its sizes; what was asked of them.
        names: of the sizes of the arguments.
        made: the call that it was made for.
    """

    __slots__ = ("_dims", "_plans", "captured", "made", "names", "scope")

    def __init__(self, captured: Captured, scope: Sizes, names: Names, made: Made):
        self.captured, self.scope, self.names, self.made = captured, scope, names, made
        self._plans = SizedPlans(captured.program, tuple(scope.examples), written_inputs(captured))
        dims: list[Dim] = [n for item in captured.returns.items for n in item.spec.shape]
        if captured.live is not None:
            dims += [n for value in captured.live.residuals for n in value.shape]
        self._dims = SizeProgram(tuple(scope.examples), dims, scope)

    @staticmethod
    def can_be(captured: Captured) -> bool:
        """Whether runs for other sizes would do with this capture."""
        plain = captured.live is None or (captured.live.has_sizes and not captured.leaves)
        own = all(item.of is None and item.base is None for item in captured.returns.items)
        return plain and own and not captured.aliases.groups and captured.device is CPU

    def numbers(self, shapes: Sizing) -> tuple[int, ...] | None:
        """The numbers of the names for a call with these sizes; None: it is for others."""
        found = self.named(shapes)
        if found is None:
            return None
        numbers = tuple([found[name] for name in self.scope.examples])
        return numbers if self._dims.serves(numbers) else None

    def named(self, shapes: Sizing) -> dict[str, int] | None:
        """The same by name, whatever is guarded."""
        found: dict[str, int] = {}
        for named, shape in zip(self.names, shapes, strict=True):
            for name, size in zip(named, shape, strict=True):
                if size != (found.setdefault(name, size) if isinstance(name, str) else name):
                    return None
        return found

    def entry(self, numbers: tuple[int, ...], specs: list[Spec], first: bool = False) -> Entry | None:
        """What runs for these numbers, and operands with these specs; None where they deserve a capture of their own.
        ``first``: it is the run that the capture was made for."""
        if not all(spec.contiguous for spec in specs):
            return None
        bound = self._plans.bound(numbers)
        return None if bound is None else self.entry_of(numbers, specs, bound.executable, first)

    def entry_of(self, numbers: tuple[int, ...], specs: list[Spec], exe: Executable, first: bool = False) -> Entry:
        """What runs an executable for these numbers."""
        found = iter(self._dims(numbers))

        def spec(like: Any) -> Spec:
            shape = tuple([next(found) for _ in like.shape])
            check_count(shape, like.dtype.itemsize, self.captured.graph.name)
            return spec_of(like.dtype, shape)

        items = [replace(item, spec=spec(item.spec)) for item in self.captured.returns.items]
        captured = replace(self.captured, returns=replace(self.captured.returns, items=items))
        sizes = dict(zip(self.scope.examples, numbers, strict=True))
        unit = captured.live
        if unit is not None:
            captured.unit = SizedUnit(unit, sizes, {value: spec(value) for value in unit.residuals})
        if not first:
            captured.take_back = None
        return Entry(captured, specs, self.made, exe, sizes)

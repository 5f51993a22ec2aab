"""A graph over the sizes of a scope (core/symbolic.py) as calls for any sizes that keep its guards.

:class:`SizedCall` owns what all sizes share: the graph that was traced with symbols, the guards that it asked, its
plans (graph/sized.py), and its gradients, which are traced with symbols too. :class:`BoundCall` is it for certain
numbers, a :class:`~weft.tensor.calls.GraphCall` like others: it owns the specs of its results and the executables that
were bound to its numbers, a few KB, and has its graph in numbers where somebody asks for it.

Strides of operands are sizes as well: what is known of them when a plan is made is their pattern (:func:`_pattern`):
which are 0 or 1, and which step over all that another axis reaches. The others get names of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from ..core.device import CPU
from ..core.errors import WeftError
from ..core.shapes import Shape, check_count, strides_of
from ..core.size_program import SizeProgram
from ..core.symbolic import Dim, Sizes, SymDim
from ..graph.executable import Executable
from ..graph.ir import Graph, Node
from ..graph.protocol import Host, Layout
from ..graph.sized import SizedPlans
from ..graph.specialise import specialise
from .caches import epoch
from .calls import Backward, GraphCall, layouts_in
from .spec import Spec, spec_of

_PATTERNS = 32  # of strides, of one graph
_BACKWARDS = 8  # of one graph and the operands that want a gradient

_Pattern = tuple[int, ...] | None  # of the strides of one operand; None: it is row-major


class SizedCall:
    """A graph for many sizes.

    Args:
        call: the graph, with the sizes of the scope; it is never run itself.
        scope: what was asked of the sizes so far is what numbers must keep.
        several: whether the function that the graph was traced from gave a tuple.
    """

    __slots__ = ("_backwards", "_epoch", "_guards", "_plans", "_ranks", "call", "names", "several")

    def __init__(self, call: GraphCall, scope: Sizes, several: bool = False):
        self.call, self.names, self.several = call, tuple(scope.examples), several
        shapes = [v.shape for v in call.graph.outputs]
        self._ranks = tuple(map(len, shapes))
        self._guards = SizeProgram(self.names, [n for shape in shapes for n in shape], scope)
        self._plans: dict[Any, SizedPlans] = {}
        self._backwards: dict[tuple[bool, ...], list[tuple[Backward, SizedCall]]] = {}
        self._epoch = epoch.number

    @staticmethod
    def can_be(call: GraphCall) -> bool:
        """Whether other sizes would do with a graph: no Python code computes a node, which gets arrays of certain
        shapes, and it runs on the CPU."""
        return call.device is CPU and not any(isinstance(node.op.lower, Host) for node in call.graph.nodes)

    def at(self, numbers: tuple[int, ...]) -> BoundCall | None:
        """The call for these numbers, in the order of the names; None where the graph was traced for others.

        Raises:
            ShapeError: a result that no memory holds.
        """
        if not self._guards.serves(numbers):
            return None
        found, at, specs = self._guards(numbers), 0, []
        for value, rank in zip(self.call.graph.outputs, self._ranks, strict=True):
            shape = found[at : at + rank]
            at += rank
            check_count(shape, value.dtype.itemsize, self.call.name)
            specs.append(spec_of(value.dtype, shape, None, self.call.device))
        return BoundCall(self, numbers, tuple(specs))

    def in_numbers(self, numbers: tuple[int, ...]) -> Graph:
        """The graph for these numbers."""
        return specialise(self.call.graph, dict(zip(self.names, numbers, strict=True)))

    def executable(
        self, numbers: tuple[int, ...], specs: Sequence[Spec], targets: tuple[int, ...]
    ) -> Executable | None:
        """As :meth:`GraphCall.executable <weft.tensor.calls.GraphCall.executable>`; None where numbers deserve a plan
        of their own."""
        if self._epoch != epoch.number:
            self._plans = {}
            self._epoch = epoch.number
        patterns = tuple([_pattern(spec) for spec in specs])
        key = targets, patterns
        plans = self._plans.get(key)
        if plans is None:
            graph, count = self.call.graph, len(targets)
            outputs = graph.outputs
            graph = graph.copy(outputs=[*outputs[count:], *outputs[:count]])
            strides, further = _strides(graph, patterns)
            if len(self._plans) >= _PATTERNS:
                self._plans.pop(next(iter(self._plans)), None)
            names = (*self.names, *further)
            plans = self._plans[key] = SizedPlans(graph, names, targets, self.call.hands_on, strides)
        own = [
            spec.strides[axis]
            for spec, pattern in zip(specs, patterns, strict=True)
            for axis, way in enumerate(pattern or ())
            if way == _OWN
        ]
        bound = plans.bound((*numbers, *own))
        return None if bound is None else bound.executable

    def backward(self, wanted: tuple[bool, ...], numbers: tuple[int, ...]) -> Backward | None:
        """The gradient for these numbers; None where it was not to be had with symbols."""
        known = self._backwards.setdefault(wanted, [])
        for gradient, sized in known:
            bound = sized.at(numbers)
            if bound is not None:
                return _with(gradient, bound)
        if len(known) >= _BACKWARDS:
            return None
        scope = Sizes(dict(zip(self.names, numbers, strict=True)))
        whole = self.call
        try:
            graph = specialise(whole.graph, {name: scope[name] for name in self.names})
            forward = GraphCall(graph, whole.device, whole.is_view, whole.hands_on, whole.in_place)
            forward.gradient = whole.gradient
            gradient = Backward(forward, wanted)
        except WeftError:  # what asks for more than sizes can say is asked of the numbers
            return None
        if not self.can_be(gradient.call):
            return None
        sized = SizedCall(gradient.call, scope)
        known.append((gradient, sized))
        bound = sized.at(numbers)
        return None if bound is None else _with(gradient, bound)


def _with(gradient: Backward, call: GraphCall) -> Backward:
    """A gradient for certain numbers."""
    made = copy(gradient)
    made.call = call
    return made


class BoundCall(GraphCall):
    """A :class:`SizedCall` for certain numbers."""

    __slots__ = ("_numbers", "of")

    def __init__(self, of: SizedCall, numbers: tuple[int, ...], out_specs: tuple[Spec, ...]):
        whole = of.call
        self.of, self._numbers = of, numbers
        self.set_up(whole.name, whole.device, out_specs, whole.is_view, whole.hands_on, whole.in_place)
        self.gradient = whole.gradient

    def __getattr__(self, name: str) -> Any:
        if name == "graph":  # made for those few who ask: a size is to cost little
            return self.of.in_numbers(self._numbers)
        raise AttributeError(name)

    def layouts_of(self, source: Layout) -> list[Layout] | None:
        return layouts_in(self.of.call.graph, source, dict(zip(self.of.names, self._numbers, strict=True)))

    @property
    def nodes(self) -> Sequence[Node]:
        return self.of.call.graph.nodes

    def _build(self, specs: Sequence[Spec], targets: tuple[int, ...]) -> Executable:
        found = self.of.executable(self._numbers, specs, targets)
        return super()._build(specs, targets) if found is None else found

    def _differentiate(self, wanted: tuple[bool, ...]) -> Backward:
        found = self.of.backward(wanted, self._numbers)
        return super()._differentiate(wanted) if found is None else found


# --- strides ----------------------------------------------------------------------------------------------------------

_OWN = -1


def _pattern(spec: Spec) -> _Pattern:
    """What a plan knows of an operand's strides: for each axis 0 or 1, ``2 + k`` where it steps over all that axis k
    reaches, or _OWN."""
    if spec.contiguous:
        return None
    shape, strides = spec.static_shape, spec.strides
    found, below = [0] * len(shape), -1
    for axis in sorted(range(len(shape)), key=lambda axis: (strides[axis], -axis)):
        stride = strides[axis]
        if shape[axis] == 1 or stride == 0:
            continue
        if below >= 0 and stride == shape[below] * strides[below]:
            found[axis] = 2 + below
        else:
            found[axis] = 1 if stride == 1 else _OWN
        below = axis
    return tuple(found)


def _strides(graph: Graph, patterns: Sequence[_Pattern]) -> tuple[list[Shape], list[str]]:
    """The strides of the inputs as sizes without a scope, and the names that are among them besides those of shapes."""
    found: list[Shape] = []
    names: list[str] = []
    for number, (value, pattern) in enumerate(zip(graph.inputs, patterns, strict=True)):
        if pattern is None:
            found.append(strides_of(value.shape))
            continue
        known: dict[int, Dim] = {}
        for axis, way in enumerate(pattern):
            if way == _OWN:
                names.append(f"stride {number}.{axis}")
                known[axis] = SymDim.named(names[-1])
            elif way < 2:
                known[axis] = way
        while len(known) < len(pattern):
            for axis, way in enumerate(pattern):
                if axis not in known and way - 2 in known:
                    known[axis] = known[way - 2] * value.shape[way - 2]
        found.append(tuple([known[axis] for axis in range(len(pattern))]))
    return found, names


def numbers_of(names: Sequence[str], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The numbers of names, in their order."""
    return tuple([sizes[name] for name in names])

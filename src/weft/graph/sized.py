"""Plans for many sizes: a graph with symbolic sizes is lowered and compiled once; a further size costs arithmetic.

:func:`plan_sizes` lowers the graph for one example of its sizes, in a scope (core/symbolic.py) that notes what was
asked of them. The launches' integers, the bytes of buffers and their places in the arena come out as expressions, which
make a size program (core/size_program.py); the program's table has holes for them (``Template``, runtime/program.py).
:meth:`SizedPlan.bind` computes the numbers and fills them in: nothing is traced, lowered or compiled.

The bits are those of a plan for the very sizes: what results depend on (where a long reduction is cut, which elements a
shape rule lets be) was answered by a comparison, hence is guarded; everything else is schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ..core.device import CPU
from ..core.shapes import Shape, strides_of, substitute
from ..core.size_program import SizeProgram
from ..core.symbolic import Sizes, SymDim, computed
from ..llvm.targets import Target
from ..runtime.devices import target_of
from ..runtime.pool import get_num_threads
from ..runtime.program import Release, Template
from .executable import About, Executable, Planned, plan_folded, steps_of, stops_of
from .ir import Graph, Value, subgraphs
from .lower.control import with_inner
from .memory import nbytes_of
from .protocol import Host
from .specialise import specialise

_PLANS = 8  # of one graph


class Bound(NamedTuple):
    """An executable for certain sizes, and the shapes of its results."""

    executable: Executable
    shapes: tuple[tuple[int, ...], ...]


class SizedPlan:
    """A compiled graph for all sizes that keep its guards (``scope`` has them). Nothing in it changes: threads may
    share it."""

    __slots__ = ("_name", "_ranks", "_sizes", "_template", "planned", "scope")

    def __init__(self, planned: Planned, graph: Graph, scope: Sizes, target: Target):
        self.planned, self.scope, self._name = planned, scope, graph.name
        launches, plan = planned.launches, planned.plan
        first, last, saves = planned.writes
        release = Release(computed(stops_of, sum(x.effort for x in launches), first, last), first, saves)
        pairs = dict.fromkeys((x.units, x.grain) for x in with_inner(launches))
        parallel = computed(_any_above, *(n for pair in pairs for n in pair))
        outputs = [nbytes_of(v) for v in plan.outputs]
        steps = steps_of(planned, target)
        self._template = Template(steps, len(graph.inputs), outputs, plan.arena_nbytes, release, parallel)
        shapes = [v.shape for v in graph.outputs]
        self._ranks = tuple(map(len, shapes))
        sizes = [*self._template.open, *(n for shape in shapes for n in shape)]
        self._sizes = SizeProgram(tuple(scope.examples), sizes, scope)

    def serves(self, numbers: Sequence[int]) -> bool:
        """Whether it is for these sizes, in the order in which the examples came."""
        return self._sizes.serves(numbers)

    def bind(self, numbers: Sequence[int]) -> Bound:
        """The executable for sizes that it serves.

        Raises:
            OutOfMemoryError: more bytes than 64 bits can count.
        """
        found = self._sizes(numbers)
        at = len(self._template.open)
        program = self._template.filled(found[:at])
        shapes = []
        for rank in self._ranks:
            shapes.append(found[at : at + rank])
            at += rank
        planned = self.planned
        about = About(self._name, planned, dict(zip(self.scope.examples, numbers, strict=True)))
        exe = Executable(program, planned.results, len(planned.plan.outputs), planned, about)
        return Bound(exe, tuple(shapes))


def plan_sizes(
    graph: Graph,
    examples: Mapping[str, int],
    target: Target,
    threads: int,
    check: Callable[[Shape, int], None] = lambda shape, itemsize: None,
    written: Sequence[int] = (),
    hand_on: bool = False,
    strides: Sequence[Shape] | None = None,
) -> SizedPlan | None:
    """The plan of a graph with symbolic sizes for what is like the examples.

    None where something is empty for these examples, but not for others, or where Python code computes a node, which
    gets arrays of certain shapes: such sizes deserve a plan of numbers alone.

    Args:
        examples: a number for each name.
        check: as for :func:`~weft.graph.specialise.specialise`.
        written: the inputs into whose memory the last outputs are written, which are no results then.
        hand_on: as for :func:`~weft.graph.executable.plan_graph`.
        strides: of the inputs, which may have names of their own; None: all are row-major.

    Raises:
        ShapeError: the graph does not hold for the examples.
    """
    scope = Sizes(examples)
    sizes = {name: scope[name] for name in examples}
    graph = specialise(graph, sizes, check)
    if strides is not None:
        strides = [substitute(s, sizes) for s in strides]
    count = len(graph.outputs) - len(written)
    updates = list(zip(written, graph.outputs[count:], strict=True))
    return plan_in(scope, graph.copy(outputs=graph.outputs[:count]), target, threads, updates, hand_on, strides)


class SizedPlans:
    """The plans of one graph on the CPU, each of which serves a range of sizes. ``names``: of the sizes, in the order
    of the numbers; ``written``, ``hand_on`` and ``strides`` are as for :func:`plan_sizes`."""

    __slots__ = ("_graph", "_hand_on", "_names", "_plans", "_strides", "_written")

    def __init__(
        self,
        graph: Graph,
        names: Sequence[str],
        written: Sequence[int] = (),
        hand_on: bool = False,
        strides: Sequence[Shape] | None = None,
    ):
        self._graph, self._names, self._written, self._hand_on = graph, tuple(names), written, hand_on
        self._strides = strides
        self._plans: tuple[SizedPlan, ...] = ()  # the latest first; replaced as a whole, for other threads read it

    def bound(self, numbers: Sequence[int]) -> Bound | None:
        """The executable for these sizes; None where :func:`plan_sizes` has no plan."""
        plan = next((p for p in self._plans if p.serves(numbers)), None)
        if plan is None:
            examples = dict(zip(self._names, numbers, strict=True))
            target, threads = target_of(CPU), get_num_threads()
            plan = plan_sizes(
                self._graph,
                examples,
                target,
                threads,
                written=self._written,
                hand_on=self._hand_on,
                strides=self._strides,
            )
            if plan is None:
                return None
            self._plans = (plan, *self._plans)[:_PLANS]
        return plan.bind(numbers)


def plan_in(
    scope: Sizes,
    graph: Graph,
    target: Target,
    threads: int,
    updates: Sequence[tuple[int, Value]] = (),
    hand_on: bool = False,
    strides: Sequence[Shape] | None = None,
) -> SizedPlan | None:
    """As :func:`plan_sizes`, of a graph whose sizes are those of a scope already, recorded in it or specialised.

    ``updates`` and ``hand_on`` are as for :func:`~weft.graph.executable.plan_graph`.
    """
    if not _fits(graph):
        return None
    if strides is None:
        strides = [strides_of(v.shape) for v in graph.inputs]
    planned = plan_folded(graph, strides, updates, target, threads, hand_on)
    return SizedPlan(planned, graph, scope, target)


def _fits(graph: Graph) -> bool:
    """Whether nothing is empty for these sizes alone, and no Python code computes a node, in bodies too."""
    for value in (*graph.inputs, *(v for node in graph.nodes for v in node.outputs)):
        if any(isinstance(n, SymDim) and n < 1 for n in value.shape):
            return False
    if any(isinstance(node.op.lower, Host) for node in graph.nodes):
        return False
    return all(_fits(body) for node in graph.nodes for body in subgraphs(node).values())


def _any_above(*numbers: int) -> int:
    """Whether one of the pairs (units, grain) has more units than its grain."""
    return int(any(map(int.__gt__, numbers[::2], numbers[1::2])))

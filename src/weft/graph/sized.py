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

from ..core.shapes import Shape, strides_of
from ..core.size_program import SizeProgram
from ..core.symbolic import Sizes, SymDim, computed
from ..llvm.targets import Target
from ..runtime.program import Template
from .executable import GIL_WORK, Executable, Planned, plan_folded, steps_of
from .ir import Graph, Value
from .memory import nbytes_of
from .protocol import Host
from .specialise import specialise


class Bound(NamedTuple):
    """An executable for certain sizes, and the shapes of its results."""

    executable: Executable
    shapes: tuple[tuple[int, ...], ...]


class SizedPlan:
    """A compiled graph for all sizes that keep its guards (``scope`` has them). Nothing in it changes: threads may
    share it."""

    __slots__ = ("_ranks", "_sizes", "_template", "planned", "scope")

    def __init__(self, planned: Planned, graph: Graph, scope: Sizes, target: Target):
        self.planned, self.scope = planned, scope
        launches, plan = planned.launches, planned.plan
        release = computed(_is_long, sum(x.flops for x in launches))
        pairs = dict.fromkeys((x.units, x.grain) for x in launches)
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
        return Bound(Executable(program, planned.results, len(planned.plan.outputs), planned), tuple(shapes))


def plan_sizes(
    graph: Graph,
    examples: Mapping[str, int],
    target: Target,
    threads: int,
    check: Callable[[Shape, int], None] = lambda shape, itemsize: None,
) -> SizedPlan | None:
    """The plan of a graph with symbolic sizes for what is like the examples; all inputs are row-major.

    None where something is empty for these examples, but not for others, or where Python code computes a node, which
    gets arrays of certain shapes: such sizes deserve a plan of numbers alone.

    Args:
        examples: a number for each name.
        check: as for :func:`~weft.graph.specialise.specialise`.

    Raises:
        ShapeError: the graph does not hold for the examples.
    """
    scope = Sizes(examples)
    return plan_in(scope, specialise(graph, {name: scope[name] for name in examples}, check), target, threads)


def plan_in(
    scope: Sizes,
    graph: Graph,
    target: Target,
    threads: int,
    updates: Sequence[tuple[int, Value]] = (),
    hand_on: bool = False,
) -> SizedPlan | None:
    """As :func:`plan_sizes`, of a graph whose sizes are those of a scope already, recorded in it or specialised.

    ``updates`` and ``hand_on`` are as for :func:`~weft.graph.executable.plan_graph`.
    """
    for value in (*graph.inputs, *(v for node in graph.nodes for v in node.outputs)):
        if any(isinstance(n, SymDim) and n < 1 for n in value.shape):
            return None
    if any(isinstance(node.op.lower, Host) for node in graph.nodes):
        return None
    planned = plan_folded(graph, [strides_of(v.shape) for v in graph.inputs], updates, target, threads, hand_on)
    return SizedPlan(planned, graph, scope, target)


def _is_long(flops: int) -> int:
    """Whether the program lets other Python threads run meanwhile."""
    return int(flops > GIL_WORK)


def _any_above(*numbers: int) -> int:
    """Whether one of the pairs (units, grain) has more units than its grain."""
    return int(any(map(int.__gt__, numbers[::2], numbers[1::2])))

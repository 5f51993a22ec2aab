"""From a graph to a Program: simplify, choose and fuse, make launches, plan memory, compile, assemble the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..compiler.build import addresses
from ..compiler.expr import leaf
from ..core.errors import CompileError
from ..core.shapes import is_static, size_of
from ..llvm.targets import Target
from ..runtime.program import Program, Step
from .fold import fold_constants
from .ir import Graph, Node, Value, checked
from .lower import launches_of
from .lower.axes import static_shape
from .lower.in_order import copy_launch
from .lower.launch import Launch
from .lower.ordering import checks_before_writes
from .lower.roots import copy_of
from .memory import Plan, in_place, nbytes_of, plan_memory
from .protocol import Concat, Gather, Layout, Map, Position, SliceUpdate, View
from .simplify import simplify

GIL_WORK = 400_000  # rough instructions in a program that lets other Python threads run meanwhile: some 20 us


@dataclass(slots=True)
class Planned:
    """Launches, where values lie, and which of the program's outputs the graph's are: everything but machine code.

    ``results[i]`` says where graph output i comes from: n, the program's n-th output, or ~n, its n-th input.
    """

    launches: list[Launch]
    plan: Plan
    results: list[int]

    def buffers(self, launch: Launch) -> tuple[tuple[int, int], ...]:
        """(place, byte offset) of each buffer of a launch."""
        found = ((*self.plan.place[value], offset) for value, offset in launch.buffers)
        return tuple((place, start + offset) for place, start, offset in found)


@dataclass(slots=True)
class Executable:
    """A Program and which of its outputs the graph's are, as in :class:`Planned`."""

    program: Program
    launches: list[Launch]
    plan: Plan
    results: list[int]


@dataclass(slots=True)
class _Placed:
    """A graph whose outputs each have a place of their own, what an input holds or is to hold having been copied.

    ``written``: new value -> the input that it replaces. ``shared``: what is copied and used besides, hence stored.
    """

    graph: Graph
    results: list[Value]
    written: dict[Value, Value]
    shared: list[Value]


def plan_graph(
    graph: Graph,
    strides: Sequence[tuple[int, ...]],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool = False,
) -> Planned:
    """The launches of ``graph`` for a target, and their memory.

    The program computes everything from the old values of its inputs, and writes what ``updates`` says; a run that
    reports a status has written nothing.

    Args:
        strides: of each input, in elements.
        updates: (input number, the value that is written into the memory of that input). The elements of such an input
            do not overlap with each other, nor with those of another input.
        hand_on: results may be inputs (that are not written), and several results may be one output; otherwise each
            is an output of its own.

    Raises:
        CompileError: the graph has symbolic sizes.
    """
    for value in graph.inputs:
        if not is_static(value.shape):
            raise CompileError(
                f"graph {graph.name}: an input has the symbolic shape {value.shape}; specialise it first"
            )
    wanted = len(graph.outputs)
    graph = simplify(graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)]), to_run=True)
    layouts = {v: Layout(static_shape(v), 0, s) for v, s in zip(graph.inputs, strides, strict=True)}
    replaced = [(graph.inputs[at], v) for (at, _), v in zip(updates, graph.outputs[wanted:], strict=True)]
    placed = _own_places(graph, graph.outputs[:wanted], replaced, layouts, hand_on)
    graph, results, written = placed.graph, placed.results, placed.written
    launches, direct = _launches_in_place(placed, layouts, target, threads)
    for new, old in written.items():
        if new not in direct and size_of(new.shape):
            assert new.node is not None
            whole = Layout.contiguous(static_shape(new))
            last = copy_launch(new.node, old, leaf("read", new.dtype, (new, whole)), whole.shape, layouts[old])
            # Its operand is in the arena because it may not be here.
            launches.append(replace(last, in_place=(), copies=None))
    plan = plan_memory(launches, graph.inputs, results, direct)
    launches = [x for x in launches if x.copies is None or plan.place[x.copies[0]] != plan.place[x.copies[1]]]
    where = {v: i for i, v in enumerate(plan.outputs)} | {v: ~i for i, v in enumerate(graph.inputs)}
    return Planned(launches, plan, [where[v] for v in results])


def _own_places(
    graph: Graph,
    outputs: Sequence[Value],
    replaced: Sequence[tuple[Value, Value]],
    layouts: Mapping[Value, Layout],
    hand_on: bool,
) -> _Placed:
    """``replaced``: (input, the value that replaces it). Copies of inputs come first in the graph, so that few updates
    have to wait for them."""
    replaced = [(old, new) for old, new in replaced if old is not new]
    overwritten, given = {old for old, _ in replaced}, set(graph.inputs)
    early: list[Node] = []
    late: list[Node] = []
    results: list[Value] = []
    taken: set[Value] = set()
    copies: dict[Value, Value] = {}
    for value in outputs:
        if value in overwritten and hand_on:
            if value not in copies:
                copies[value] = _copied(value, early)
            results.append(copies[value])
        elif not hand_on and (value in given or value in taken):
            results.append(_copied(value, early if value in given else late))
        else:
            results.append(value)
        taken.add(results[-1])
    used = {v for node in graph.nodes for v in node.inputs}
    times = Counter([*outputs, *(new for _, new in replaced)])
    used.update(v for v, count in times.items() if count > 1)  # copied from where it is computed
    written: dict[Value, Value] = {}
    shared: list[Value] = []
    for old, new in replaced:
        if new.node is None or new in taken or not (layouts[old].is_contiguous or _fits_anywhere(new.node, used)):
            if new.node is not None and new in used and isinstance(new.node.op.lower, (Map, Gather)):
                shared.append(new)
            new = _copied(new, late)
        taken.add(new)
        written[new] = old
    return _Placed(with_copies(graph, early, late, [*results, *written]), results, written, shared)


@checked
def with_copies(graph: Graph, early: Sequence[Node], late: Sequence[Node], outputs: Sequence[Value]) -> Graph:
    """The graph with other outputs, what copies its inputs and what copies its results."""
    return graph.copy([*early, *graph.nodes, *late], outputs)


def _fits_anywhere(node: Node, used: set[Value]) -> bool:
    """Whether the launches of a node can write to any strides. What other nodes read is kept row-major."""
    return node.output not in used and isinstance(node.op.lower, (Map, Position, View, Gather, SliceUpdate, Concat))


def _copied(value: Value, nodes: list[Node]) -> Value:
    made = copy_of(value)
    assert made.node is not None
    nodes.append(made.node)
    return made


def _launches_in_place(
    placed: _Placed, layouts: Mapping[Value, Layout], target: Target, threads: int
) -> tuple[list[Launch], dict[Value, Value]]:
    """The launches, and the values that they compute in the memory of an input. The other updates are row-major."""
    aside: set[Value] = set()
    while True:
        places = {
            v: Layout.contiguous(static_shape(old)) if v in aside else layouts[old] for v, old in placed.written.items()
        }
        launches = launches_of(placed.graph, layouts, target, threads, places, placed.shared)
        launches = checks_before_writes(launches, placed.written)
        here = {new: old for new, old in placed.written.items() if new not in aside}
        direct = in_place(launches, set(placed.graph.outputs), here)
        failed = {v for v in placed.written if v not in direct and not places[v].is_contiguous and size_of(v.shape)}
        if not failed:
            return launches, direct
        aside |= failed


def build(
    graph: Graph,
    strides: Sequence[tuple[int, ...]],
    updates: Sequence[tuple[int, Value]],
    target: Target,
    threads: int,
    hand_on: bool = False,
) -> Executable:
    """Compile ``graph``; arguments and errors as for :func:`plan_graph`."""
    wanted = len(graph.outputs)
    graph = fold_constants(
        graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)]), lambda part: _run(part, target, threads)
    )
    updates = [(at, v) for (at, _), v in zip(updates, graph.outputs[wanted:], strict=True)]
    graph = graph.copy(outputs=graph.outputs[:wanted])
    planned = plan_graph(graph, strides, updates, target, threads, hand_on)
    program = assemble(planned, len(graph.inputs), target)
    return Executable(program, planned.launches, planned.plan, planned.results)


def assemble(planned: Planned, inputs: int, target: Target) -> Program:
    """Compile the kernels and write the program's table."""
    launches, plan = planned.launches, planned.plan
    code = addresses([x.kernel for x in launches], target)
    steps = [
        Step(address, x.ints, planned.buffers(x), x.units, x.grain) for address, x in zip(code, launches, strict=True)
    ]
    releases_gil = sum(x.flops for x in launches) > GIL_WORK
    return Program(steps, inputs, [nbytes_of(v) for v in plan.outputs], (), plan.arena_nbytes, releases_gil)


def _run(graph: Graph, target: Target, threads: int) -> list[bytes]:
    """Execute a graph without inputs."""
    planned = plan_graph(graph, (), (), target, threads, hand_on=True)
    made = assemble(planned, 0, target).call()
    storages = made if isinstance(made, tuple) else (made,)
    return [bytes(storages[number]) for number in planned.results]

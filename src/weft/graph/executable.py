"""From a graph to a Program: simplify, choose and fuse, make launches, plan memory, compile, assemble the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.build import addresses
from ..core.errors import CompileError
from ..core.shapes import is_static
from ..runtime.llvm import Target
from ..runtime.program import Program, Step
from .cluster import Cluster, cluster
from .fold import fold_constants
from .fusion import lower_roots
from .ir import Graph, Value
from .kernelize import is_long, lower_column, lower_nest
from .launch import Launch
from .long_reduction import lower_long_reduction
from .lower_contraction import lower_contraction
from .memory import Plan, nbytes_of, plan_memory
from .ordered import lower_ordered
from .protocol import Layout
from .simplify import simplify

__all__ = ["Executable", "Planned", "build", "launches_of", "plan_graph"]

GIL_WORK = 400_000  # rough instructions in a program that lets other Python threads run meanwhile: some 20 us


@dataclass(slots=True)
class Planned:
    """Launches, where values lie, and how the plan's outputs map to the graph's: everything but machine code.

    ``results[i]`` says where graph output i comes from: ``("output", k)`` or ``("input", k)``. ``updates`` says the
    same of each update: ``("output", k)``, ``("input", k)``, or None when it was written in place.
    """

    launches: list[Launch]
    plan: Plan
    results: list[tuple[str, int]]
    updates: list[tuple[str, int] | None]

    def buffers(self, launch: Launch) -> tuple[tuple[int, int], ...]:
        """(slot, byte offset) of each buffer of a launch."""
        places = ((*self.plan.place[value], offset) for value, offset in launch.buffers)
        return tuple((slot, start + offset) for slot, start, offset in places)


@dataclass(slots=True)
class Executable:
    """A Program and how its outputs map to the graph's, as in :class:`Planned`."""

    program: Program
    launches: list[Launch]
    plan: Plan
    results: list[tuple[str, int]]
    updates: list[tuple[str, int] | None]


def launches_of(
    graph: Graph, layouts: Mapping[Value, Layout], updates: Sequence[Value], target: Target, threads: int
) -> list[Launch]:
    """The kernels of a simplified graph, in order."""
    roots = lower_roots(graph, layouts, set(updates))
    clusters = cluster(roots)
    needed = set(graph.outputs)
    for item in clusters:
        inside = {r.value for r in item.roots}
        for root in item.roots:
            needed.update(v for v, _ in root.reads if v not in inside)
    launches: list[Launch] = []
    for item in clusters:
        launches += _lower(item, needed, target, threads)
    return [launch for launch in launches if launch.units]


def _lower(item: Cluster, needed: set[Value], target: Target, threads: int) -> list[Launch]:
    if item.kind == "ordered":
        return lower_ordered(item.roots[0])
    if item.kind == "contract":
        return [lower_contraction(item, needed, target, threads)]
    if is_long(item):
        return lower_long_reduction(item)
    return [lower_column(item, needed) if item.kind == "column" else lower_nest(item, needed)]


def plan_graph(
    graph: Graph, strides: Sequence[tuple[int, ...]], updates: Sequence[tuple[int, Value]], target: Target, threads: int
) -> Planned:
    """The launches of ``graph`` for a target, and their memory.

    Args:
        strides: of each input, in elements.
        updates: (input number, the graph output that replaces its value); these outputs come after the results.

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
    results, replaced = graph.outputs[:wanted], graph.outputs[wanted:]
    layouts = {v: Layout(v.shape, 0, s) for v, s in zip(graph.inputs, strides, strict=True)}  # type: ignore[arg-type]
    launches = launches_of(graph, layouts, replaced, target, threads)
    kept, times = set(results), Counter(replaced)
    handed_on = kept.union(replaced)  # an old value that is handed on must outlive the call
    over = {
        new: graph.inputs[at]
        for new, (at, _) in zip(replaced, updates, strict=True)
        if new not in kept
        and times[new] == 1
        and graph.inputs[at] not in handed_on
        and layouts[graph.inputs[at]].is_contiguous
    }
    outputs = [*results, *(v for v in replaced if v not in over)]
    plan = plan_memory(launches, graph.inputs, outputs, over)
    launches = [x for x in launches if x.copies is None or plan.place[x.copies[0]] != plan.place[x.copies[1]]]
    where = {v: ("output", i) for i, v in enumerate(plan.outputs)}
    where |= {v: ("input", i) for i, v in enumerate(graph.inputs)}
    return Planned(
        launches,
        plan,
        [where[v] for v in results],
        [
            None if v in plan.overwritten and plan.overwritten[v] is graph.inputs[at] else where[v]
            for v, (at, _) in zip(replaced, updates, strict=True)
        ],
    )


def build(
    graph: Graph, strides: Sequence[tuple[int, ...]], updates: Sequence[tuple[int, Value]], target: Target, threads: int
) -> Executable:
    """Compile ``graph``; arguments and errors as for :func:`plan_graph`."""
    wanted = len(graph.outputs)
    graph = fold_constants(
        graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)]), lambda part: _run(part, target, threads)
    )
    updates = [(at, v) for (at, _), v in zip(updates, graph.outputs[wanted:], strict=True)]
    graph = graph.copy(outputs=graph.outputs[:wanted])
    planned = plan_graph(graph, strides, updates, target, threads)
    program = assemble(planned, len(graph.inputs), target)
    return Executable(program, planned.launches, planned.plan, planned.results, planned.updates)


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
    planned = plan_graph(graph, (), (), target, threads)
    made = assemble(planned, 0, target).call()
    storages = made if isinstance(made, tuple) else (made,)
    return [bytes(storages[number]) for _, number in planned.results]

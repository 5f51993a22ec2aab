"""From a graph to a Program: simplify, choose and fuse, make launches, plan memory, compile, assemble the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..compiler.build import addresses
from ..core.errors import CompileError
from ..core.shapes import is_static
from ..runtime.llvm import Target
from ..runtime.program import Program, Step
from .fusion import Cluster, cluster, lower_roots
from .ir import Graph, Value
from .kernelize import is_long, lower_column, lower_nest
from .launch import Launch
from .long_reduction import lower_long_reduction
from .lower_contraction import lower_contraction
from .memory import Plan, nbytes_of, plan_memory
from .ordered import lower_ordered
from .protocol import Layout
from .simplify import simplify

__all__ = ["Executable", "build", "launches_of"]

GIL_WORK = 400_000  # rough instructions in a program that lets other Python threads run meanwhile: some 20 us


@dataclass(slots=True)
class Executable:
    """A Program and how its outputs map to the graph's.

    ``results[i]`` says where graph output i comes from: ``("output", k)`` or ``("input", k)``. ``updates`` says the
    same of each update: ``("output", k)``, ``("input", k)``, or None when it was written in place.
    """

    program: Program
    launches: list[Launch]
    plan: Plan
    results: list[tuple[str, int]]
    updates: list[tuple[str, int] | None]


def launches_of(graph: Graph, layouts: Mapping[Value, Layout], updates: Sequence[Value], target: Target,
                threads: int) -> list[Launch]:
    """The kernels of a simplified graph, in order."""
    graph, roots = lower_roots(graph, dict(layouts), set(updates))
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


def build(graph: Graph, strides: Sequence[tuple[int, ...]], updates: Sequence[tuple[int, Value]], target: Target,
          threads: int) -> Executable:
    """Compile ``graph``.

    Args:
        strides: of each input, in elements.
        updates: (input number, the graph output that replaces its value); these outputs come after the results.

    Raises:
        CompileError: the graph has symbolic sizes.
    """
    for value in graph.inputs:
        if not is_static(value.shape):
            raise CompileError(f"graph {graph.name}: an input has the symbolic shape {value.shape}; specialise it first")
    wanted = len(graph.outputs)
    graph = simplify(graph.copy(outputs=[*graph.outputs, *(v for _, v in updates)]))
    results, replaced = graph.outputs[:wanted], graph.outputs[wanted:]
    layouts = {v: Layout(v.shape, 0, s) for v, s in zip(graph.inputs, strides, strict=True)}  # type: ignore[arg-type]
    launches = launches_of(graph, layouts, replaced, target, threads)
    over = {new: graph.inputs[at] for new, (at, _) in zip(replaced, updates, strict=True)
            if new not in results and layouts[graph.inputs[at]].is_contiguous}
    outputs = [*results, *(v for v in replaced if v not in over)]
    plan = plan_memory(launches, graph.inputs, outputs, over)
    launches = [x for x in launches if x.copies is None or plan.place[x.copies[0]] != plan.place[x.copies[1]]]
    code = addresses([x.kernel for x in launches], target)
    steps = [Step(address, x.ints, tuple(_buffer(plan, v, o) for v, o in x.buffers), x.units, x.grain)
             for address, x in zip(code, launches, strict=True)]
    work = sum(x.units * (x.flops or 1) / max(x.units, 1) for x in launches)
    program = Program(steps, len(graph.inputs), [nbytes_of(v) for v in plan.outputs], (), plan.arena_nbytes,
                      work > GIL_WORK)
    where = {v: ("output", i) for i, v in enumerate(plan.outputs)}
    where |= {v: ("input", i) for i, v in enumerate(graph.inputs)}
    return Executable(program, launches, plan, [where[v] for v in results],
                      [None if v in plan.overwritten and plan.overwritten[v] is graph.inputs[at] else where[v]
                       for v, (at, _) in zip(replaced, updates, strict=True)])


def _buffer(plan: Plan, value: Value, offset: int) -> tuple[int, int]:
    slot, start = plan.place[value]
    return slot, start + offset

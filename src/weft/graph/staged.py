"""A graph with sizes that its own values set, as stages: graphs that are run one after the other.

A *count* is a value of rank 0 that a size is. All that leads to it is a stage of its own; when it has run, the number
is known, and the next stage, which may have that size in its shapes, is bound to it (graph/sized.py): that is
arithmetic, nothing is lowered or compiled. So the memory of each stage is planned for the very sizes, and needs no
upper bound. What a later stage reads of an earlier one is handed on as an output of the one and an input of the other.
Only the last stage writes to inputs: until then a run may be given up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.device import CPU
from ..core.shapes import Shape, strides_of, substitute
from ..runtime.devices import target_of
from ..runtime.pool import get_num_threads
from .executable import Executable, build
from .ir import Graph, Node, Value
from .sized import SizedPlans
from .specialise import specialise

_KEPT = 64  # combinations of numbers that deserve plans of their own


class Stage:
    """One of the graphs.

    Args:
        graph: its inputs are those of the whole graph, then ``handed``, values of earlier stages; its outputs those
            that later stages need, then the count.
        names: of the sizes that are known before it.
        strides: of the inputs of the whole graph; None: they are row-major.
        written: the inputs that the last outputs are written over.
    """

    __slots__ = ("_numeric", "_plans", "_strides", "_written", "graph", "handed", "names")

    def __init__(
        self,
        graph: Graph,
        handed: list[Value],
        names: Sequence[str],
        strides: Sequence[Shape] | None,
        written: Sequence[int] = (),
    ):
        self.graph, self.handed = graph, handed
        self.names, self._written = tuple(names), tuple(written)
        given = graph.inputs[: len(graph.inputs) - len(handed)]
        own = [strides_of(v.shape) for v in given] if strides is None else strides
        self._strides = [*own, *(strides_of(v.shape) for v in handed)]
        self._plans = SizedPlans(graph, self.names, written, strides=self._strides)
        self._numeric: dict[tuple[int, ...], Executable] = {}

    def bound(self, numbers: tuple[int, ...]) -> Executable:
        """What runs it for these sizes."""
        found = self._numeric.get(numbers)
        if found is None:
            bound = self._plans.bound(numbers)
            if bound is None and len(self._numeric) >= _KEPT:
                self._numeric.pop(next(iter(self._numeric)), None)
            found = self._of_numbers(numbers) if bound is None else bound.executable
            if found.about is not None:
                found.about.captured = True
            if bound is None:
                self._numeric[numbers] = found
        return found

    def in_numbers(self, numbers: Sequence[int]) -> Graph:
        """Its graph for these sizes."""
        return specialise(self.graph, dict(zip(self.names, numbers, strict=True)))

    def _of_numbers(self, numbers: tuple[int, ...]) -> Executable:
        """Where something is empty, or Python code computes a node."""
        sizes, graph = dict(zip(self.names, numbers, strict=True)), self.in_numbers(numbers)
        count = len(graph.outputs) - len(self._written)
        updates = list(zip(self._written, graph.outputs[count:], strict=True))
        strides = [substitute(s, sizes) for s in self._strides]
        return build(graph.copy(outputs=graph.outputs[:count]), strides, updates, target_of(CPU), get_num_threads())


class Stages:
    """The stages of a graph.

    Args:
        graph: its last outputs are written over inputs.
        counts: the values, in the order of their names.
        names: of the sizes that are known before a run, then of the counts.
        strides: of the inputs; None: they are row-major.
        written: the inputs that are written over.
    """

    __slots__ = ("early", "last")

    def __init__(
        self,
        graph: Graph,
        counts: Sequence[Value],
        names: Sequence[str],
        strides: Sequence[Shape] | None,
        written: Sequence[int],
    ):
        known, parts = set(graph.inputs), list[tuple[list[Node], Value | None]]()
        for value in counts:
            nodes = _leading_to(graph, [value], known)
            known.update(v for node in nodes for v in node.outputs)
            parts.append((nodes, value))
        parts.append((_leading_to(graph, graph.outputs, known), None))
        before = len(names) - len(counts)
        made: list[Stage] = []
        handed: list[Value] = []
        for number, (nodes, count) in enumerate(parts):
            here = {v for node in nodes for v in node.outputs}
            later = {v for nodes_, _ in parts[number + 1 :] for node in nodes_ for v in node.inputs}
            later.update(graph.outputs, counts[number + 1 :])
            inputs = list(handed)
            if count is None:
                outputs = list(graph.outputs)
            else:
                outputs = [*(v for node in nodes for v in node.outputs if v in later), count]
            whole = Graph(graph.name, [*graph.inputs, *inputs], nodes, outputs)
            own = names[: before + number]
            made.append(Stage(whole, inputs, own, strides, written if count is None else ()))
            handed += [v for v in outputs[:-1] if v in here] if count is not None else []
        self.early, self.last = tuple(made[:-1]), made[-1]

    def run(
        self, given: Sequence[Any], numbers: list[int], handed: list[Any], check: Callable[[tuple[int, ...]], None]
    ) -> None:
        """Run all stages but the last on the storages of the graph's inputs. ``numbers``, the sizes that are known,
        get the counts, and ``handed`` what is handed on to the last stage, each when it is there. ``check`` raises
        where the sizes that are known so far are others than the graph holds for: the next stage is made of it.

        Raises:
            KernelStatus: a kernel reports one.
        """
        for stage in self.early:
            exe = stage.bound(tuple(numbers))
            made = exe.program.call(*given, *handed)
            made = made if isinstance(made, tuple) else (made,)
            outputs = [made[n] for n in exe.results]
            numbers.append(int.from_bytes(bytes(outputs[-1])[:8], "little", signed=True))
            check(tuple(numbers))
            handed += outputs[:-1]


def _leading_to(graph: Graph, values: Sequence[Value], known: set[Value]) -> list[Node]:
    """The nodes that compute values, and are not known, in program order."""
    needed, nodes = {v for v in values if v not in known}, list[Node]()
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            nodes.append(node)
            needed.update(v for v in node.inputs if v not in known)
    return nodes[::-1]

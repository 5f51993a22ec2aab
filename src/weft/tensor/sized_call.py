"""A graph over the sizes of a scope (core/symbolic.py) as a call for any sizes that keep its guards.

Its plans (graph/sized.py) are shared by all sizes; what is bound to certain numbers is kept for the latest of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..core.device import CPU
from ..core.process import Lock
from ..core.size_program import SizeProgram
from ..core.symbolic import Sizes
from ..graph.ir import Graph
from ..graph.sized import SizedPlan, plan_in
from ..graph.specialise import specialise
from ..ops.op import state
from ..runtime.devices import target_of
from ..runtime.pool import get_num_threads
from ..runtime.program import KernelStatus
from .caches import epoch
from .calls import GraphCall
from .spec import spec_of
from .tensor import Tensor, make

_PLANS = 8
_KEPT = 64  # numbers for which an executable is kept


class SizedCall:
    """A graph for many sizes, on the CPU; see :meth:`bound`. Results may be operands as they are."""

    __slots__ = ("_bound", "_epoch", "_guards", "_lock", "_plans", "graph", "names")

    def __init__(self, graph: Graph, scope: Sizes):
        self.graph, self.names = graph, tuple(scope.examples)
        self._guards = SizeProgram(self.names, (), scope)
        self._plans: list[SizedPlan] = []
        self._bound: OrderedDict[tuple[int, ...], Callable[[Sequence[Tensor]], Sequence[Tensor]]] = OrderedDict()
        self._epoch, self._lock = epoch.number, Lock()

    def bound(self, sizes: Mapping[str, int]) -> Callable[[Sequence[Tensor]], Sequence[Tensor]] | None:
        """The call for these sizes; None where the graph was traced for others."""
        numbers = tuple([sizes[name] for name in self.names])
        if not self._guards.serves(numbers):
            return None
        with self._lock.now:
            if self._epoch != epoch.number:
                self._plans.clear()
                self._bound.clear()
                self._epoch = epoch.number
            found = self._bound.get(numbers)
            if found is None:
                found = self._bound[numbers] = self._bind(numbers)
            self._bound.move_to_end(numbers)
            if len(self._bound) > _KEPT:
                self._bound.popitem(last=False)
        return found

    def _bind(self, numbers: tuple[int, ...]) -> Callable[[Sequence[Tensor]], Sequence[Tensor]]:
        sizes = dict(zip(self.names, numbers, strict=True))
        numeric = GraphCall(specialise(self.graph, sizes), hands_on=True)
        plan = next((p for p in self._plans if p.serves(numbers)), None)
        if plan is None:
            scope = Sizes(sizes)
            graph = specialise(self.graph, {name: scope[name] for name in self.names})
            plan = plan_in(scope, graph, target_of(CPU), get_num_threads(), hand_on=True)
            if plan is None:
                return numeric
            self._plans = [plan, *self._plans][:_PLANS]
        exe, shapes = plan.bind(numbers)
        specs = [spec_of(v.dtype, shape) for v, shape in zip(self.graph.outputs, shapes, strict=True)]
        native, count, results = exe.program.call, len(exe.plan.outputs), tuple(zip(exe.results, specs, strict=True))

        def run(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            if state.trace is not None or not all(t._spec.contiguous for t in tensors):
                return numeric(tensors)
            try:
                made: Any = native(*[t._storage for t in tensors])
            except (KernelStatus, TypeError):  # the graph itself knows what is wrong, or waits for a value
                return numeric(tensors)
            made = (made,) if count == 1 else made
            return tuple(
                [
                    make(made[n], spec, None, 0) if n >= 0 else make(tensors[~n]._storage, tensors[~n]._spec, None, 0)
                    for n, spec in results
                ]
            )

        return run

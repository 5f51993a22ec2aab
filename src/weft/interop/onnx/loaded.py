"""A loaded model: a graph with its parameters as a function on tensors.

Where its sizes are symbolic, it is compiled for many of them at once (graph/sized.py): a size that no plan serves yet
makes one, every other size is bound to a plan, in microseconds for each of its kernels. What needs the graph itself (a
capture, a gradient, a message about an index) and operands that are not row-major get the graph for their very sizes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...core.asked import unasked
from ...core.device import CPU
from ...core.errors import DTypeError, ShapeError
from ...core.process import Lock
from ...core.symbolic import SymDim
from ...graph.ir import Graph
from ...graph.sized import SizedPlan, plan_sizes
from ...graph.specialise import specialise
from ...llvm.targets import host_target
from ...ops.op import state
from ...runtime.devices import default_device
from ...runtime.pool import get_num_threads
from ...runtime.program import KernelStatus
from ...tensor import tape
from ...tensor.caches import epoch
from ...tensor.calls import GraphCall
from ...tensor.create import asarray
from ...tensor.placing import to_device
from ...tensor.spec import Spec, spec_of
from ...tensor.tensor import Tensor, make
from ...transforms.tree import Form, flatten, plain, unflatten
from .limits import check_extent

_KEPT = 256  # sizes for which an executable is kept
_PLANS = 16  # plans that are kept; each serves a range of sizes


class _Run(NamedTuple):
    """An executable for certain sizes: its native call, how many outputs it makes, and of each result which it is
    and its spec."""

    native: Any
    outputs: int
    results: tuple[tuple[int, Spec], ...]


_ALONE = _Run(None, 0, ())  # of sizes that no plan is for


def _solution(size: SymDim, number: int) -> tuple[str, int] | None:
    """The name in ``coefficient * name + constant``, and what makes it ``number``; None where it has another form."""
    terms = dict(size.terms)
    rest = number - terms.pop((), 0)
    if len(terms) != 1:
        return None
    (((*names,), coefficient),) = terms.items()
    if len(names) != 1 or rest % coefficient or rest // coefficient < 0:
        return None
    return names[0], rest // coefficient


class Loaded:
    """What :func:`weft.load` returns: call it like the function or module that was saved.

    Args:
        graph: its inputs are the arguments, then the parameters; sizes may be symbolic.
        inputs, outputs: names.
        parameters: tensors by name, in the order of the graph's inputs.
        forms: of the tuple of arguments and of the result.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[str],
        outputs: Sequence[str],
        parameters: Mapping[str, Tensor],
        forms: tuple[Form, Form],
    ):
        self.graph = graph
        self.inputs = {name: v.type for name, v in zip(inputs, graph.inputs, strict=False)}
        self.outputs = {name: v.type for name, v in zip(outputs, graph.outputs, strict=True)}
        self._device = default_device()
        self.parameters = {name: to_device(tensor, self._device) for name, tensor in parameters.items()}
        self._arguments, self._result = forms
        # Used last, last. By sizes: the graph for them; by the operands' specs: what runs; and the plans.
        self._calls: OrderedDict[tuple[int, ...], GraphCall] = OrderedDict()
        self._runs: OrderedDict[tuple[Spec, ...], _Run] = OrderedDict()
        self._plans: OrderedDict[SizedPlan, None] = OrderedDict()
        self._epoch = epoch.number
        self._lock, self._planning = Lock(), Lock()  # of these; of whoever makes a plan
        names = {
            name
            for type_ in self.inputs.values()
            for n in type_.shape
            if isinstance(n, SymDim)
            for term in n.terms
            for name in term
        }
        self._names = tuple(sorted(names))

    def __call__(self, *args: Any) -> Any:
        """The result for these arguments: tensors, arrays or nested numbers.

        Raises:
            ShapeError, DTypeError: the arguments are not of the types in ``inputs``.
        """
        return unflatten(self._result, self.call_on(self._tensors(args)))

    def call_on(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results, in order, for the tensors that stand for the inputs, in order."""
        operands = [*tensors, *self.parameters.values()]
        traced = state.trace is not None
        recorded = tape.recording.enabled and any(t._node is not None for t in operands)
        if self._names and not traced and not recorded:
            run = self._run_for(tensors, tuple([t._spec for t in operands]))
            if run is not None:
                try:
                    made = run.native(*[t._storage for t in operands])
                except (KernelStatus, TypeError):  # the graph itself knows what is wrong, or waits for a value
                    pass
                else:
                    made = (made,) if run.outputs == 1 else made
                    return tuple([make(made[number], spec, None, 0) for number, spec in run.results])
        return self.call_for(unasked(self._sizes(tensors)))(operands)

    def call_for(self, sizes: Mapping[str, int]) -> GraphCall:
        """The graph for these sizes, as a call over the arguments and the parameters: what captures inline, and what is
        differentiated."""
        key = tuple(sizes[name] for name in self._names)
        found = self._recent(self._calls, key)
        if found is None:
            call = GraphCall(specialise(self.graph, sizes, check_extent), self._device)
            found = self._keep(self._calls, key, call, _KEPT)
        return found

    def _run_for(self, tensors: Sequence[Tensor], specs: tuple[Spec, ...]) -> _Run | None:
        """What runs for operands with these specs: a plan for many sizes, bound to theirs. None: the graph needs an
        executable of its own, because an operand is not row-major or on another device, something is empty, or Python
        code computes a node."""
        if self._epoch != epoch.number:
            with self._lock.now:
                self._plans.clear()
                self._runs.clear()
                self._epoch = epoch.number
        found = self._recent(self._runs, specs)
        if found is not None:
            return None if found is _ALONE else found
        sizes = self._sizes(tensors)
        constant = zip(specs[len(tensors) :], self.graph.inputs[len(tensors) :], strict=True)
        if not all(s.contiguous and s.device is CPU for s in specs) or any(s.type != v.type for s, v in constant):
            return None
        plan = self._plan_for(sizes)
        if plan is None:
            self._keep(self._runs, specs, _ALONE, _KEPT)
            return None
        exe, shapes = plan.bind([sizes[name] for name in self._names])
        outputs = zip(exe.results, self.graph.outputs, shapes, strict=True)
        results = tuple([(number, spec_of(v.dtype, shape)) for number, v, shape in outputs])
        run = _Run(exe.program.call, len(exe.plan.outputs), results)
        return self._keep(self._runs, specs, run, _KEPT) if plan in self._plans else run

    def _plan_for(self, sizes: Mapping[str, int]) -> SizedPlan | None:
        """A plan that serves these sizes: of two threads that want one, the second finds it."""
        numbers = [sizes[name] for name in self._names]
        with self._planning.now:
            with self._lock.now:
                plans = list(self._plans)
            for plan in reversed(plans):
                if plan.serves(numbers):
                    return self._keep(self._plans, plan, None, _PLANS) or plan
            began, examples = epoch.number, dict(zip(self._names, numbers, strict=True))
            try:
                made = plan_sizes(self.graph, examples, host_target(), get_num_threads(), check_extent)
            except ShapeError:  # said of these very sizes by the graph for them
                return None
            if made is not None and epoch.number == began:
                self._keep(self._plans, made, None, _PLANS)
            return made

    def _recent(self, cache: OrderedDict[Any, Any], key: Any) -> Any:
        with self._lock.now:
            found = cache.get(key)
            if found is not None:
                cache.move_to_end(key)
            return found

    def _keep(self, cache: OrderedDict[Any, Any], key: Any, value: Any, limit: int) -> Any:
        with self._lock.now:
            value = cache.setdefault(key, value)
            cache.move_to_end(key)
            if len(cache) > limit:
                cache.popitem(last=False)
            return value

    def _tensors(self, args: tuple[Any, ...]) -> list[Tensor]:
        leaves, form = flatten(args)
        form = plain(form)  # as it is in the file
        if form != self._arguments:
            if self._arguments != ("tuple", tuple, (("leaf",),) * len(self.inputs)):
                raise ShapeError(f"{self}: the arguments are not nested as they were when it was saved")
            if len(args) != len(self.inputs):
                raise ShapeError(f"{self}: {len(args)} arguments")
            leaves = list(args)  # nested numbers, each standing for a tensor
        tensors = []
        for leaf, type_ in zip(leaves, self.inputs.values(), strict=True):
            dtype = None if hasattr(leaf, "dtype") else type_.dtype
            place = None if isinstance(leaf, Tensor) else self._device
            tensors.append(asarray(leaf, dtype=dtype, device=place))
        return tensors

    def _sizes(self, tensors: Sequence[Tensor]) -> dict[str, int]:
        """The numbers that the symbolic sizes stand for in this call."""
        sizes: dict[str, int] = {}
        equations: list[tuple[SymDim, int]] = []
        for tensor, (name, type_) in zip(tensors, self.inputs.items(), strict=True):
            if tensor.dtype is not type_.dtype:
                raise DTypeError(f"{self}: {name} is {tensor.dtype.name}")
            fits = len(tensor.shape) == len(type_.shape)
            for got, wanted in zip(tensor.shape, type_.shape, strict=False):
                if not isinstance(wanted, SymDim):
                    fits = fits and got == wanted
                elif str(wanted) in self._names:
                    fits = fits and got == sizes.setdefault(str(wanted), got)
                else:
                    equations.append((wanted, got))
            if not fits:
                known = f" with {sizes}" if sizes else ""
                raise ShapeError(f"{self}: {name} has shape {tuple(tensor.shape)}{known}")
        self._solve(equations, sizes)
        return sizes

    def _solve(self, equations: list[tuple[SymDim, int]], sizes: dict[str, int]) -> None:
        """Find what the sizes of axes that are expressions, such as ``2*n + 1``, leave of the names, and check them."""
        waiting = equations
        while waiting:
            left = []
            for wanted, got in waiting:
                value = wanted.substitute(sizes)
                if isinstance(value, SymDim):
                    found = _solution(value, got)
                    if found is None:
                        left.append((wanted, got))
                    else:
                        sizes[found[0]] = found[1]
                elif value != got:
                    raise ShapeError(f"{self}: an axis of size {got} where {wanted} is {value} with {sizes}")
            if len(left) == len(waiting):
                raise ShapeError(f"{self}: what {left[0][0]} = {left[0][1]} says of each size is not known")
            waiting = left

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}: {type_}" for name, type_ in self.inputs.items())
        outside = ", ".join(f"{name}: {type_}" for name, type_ in self.outputs.items())
        return f"<weft model {self.graph.name}({inside}) -> {outside}>"

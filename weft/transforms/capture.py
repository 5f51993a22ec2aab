"""Capture: run a function once on traced tensors and keep what it did as a graph.

Tensors that the function closes over are read *by reference*: they become further inputs of the graph, and what is
rebound during the capture (parameters, optimizer state, the random generator, gradients) becomes further outputs,
which every run writes back. While the capture goes on, rebound objects hold traced values; at its end they get their
own back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import CaptureError
from ..graph.ir import Graph, Value
from ..graph.protocol import TensorType
from ..ops.op import Trace, state
from ..tensor import guards, tape
from ..tensor.calls import value_of
from ..tensor.dispatch import is_array
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .tree import Form, flatten, unflatten

__all__ = ["Captured", "GradRef", "TensorRef", "capture"]


@dataclass(slots=True, eq=False)
class TensorRef:
    """A tensor that the function read or rebound."""

    tensor: Tensor

    def get(self) -> Tensor | None:
        """The tensor as it is now."""
        return self.tensor

    def set(self, storage: Any, spec: Spec) -> None:
        """Rebind it."""
        self.tensor._storage, self.tensor._spec = storage, spec


@dataclass(slots=True, eq=False)
class GradRef:
    """The gradient of a leaf that the function read or replaced."""

    leaf: tape.Leaf

    def get(self) -> Tensor | None:
        """The gradient as it is now."""
        return self.leaf.grad

    def set(self, storage: Any, spec: Spec) -> None:
        """Replace it."""
        self.leaf.grad = make(storage, spec, None, 0)


Ref = TensorRef | GradRef


@dataclass(slots=True)
class Captured:
    """What a function did.

    ``graph`` has the arguments, then the state that was read, as inputs; its outputs are the results, then the updates.
    """

    graph: Graph
    arguments: int
    refs: list[Ref]
    specs: list[Spec]  # of the state when it was captured
    updates: list[tuple[Ref, Value]]
    cleared: list[tape.Leaf]  # leaves whose gradient is None at the end
    outputs_form: Form
    differentiable: list[bool]  # results that still hang on the tape
    conditions: list[Callable[[], bool]] = field(default_factory=list)
    guards: list[guards.Guard] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)  # the refs' tensors, when none is a gradient
    version: int = -1  # of the guarded state, when the guards were last checked

    @property
    def state(self) -> list[Tensor]:
        """The tensors read by reference, in the order of the graph's inputs."""
        found = [r.get() for r in self.refs]
        if any(t is None for t in found):
            raise CaptureError("a gradient that the captured function reads is None now")
        return found  # type: ignore[return-value]

    def valid(self) -> bool:
        """Whether the state still is as it was when the function was captured (types, not values)."""
        if self.tensors:
            for tensor, spec in zip(self.tensors, self.specs, strict=True):
                if tensor._spec is not spec:
                    return False
        else:
            for ref, spec in zip(self.refs, self.specs, strict=True):
                now = ref.get()
                if now is None or now._spec is not spec:
                    return False
        if self.version != guards.version():
            if not all(guard.holds() for guard in self.guards):
                return False
            self.version = guards.version()
        for condition in self.conditions:  # noqa: SIM110 - called each time: a generator would cost more
            if not condition():
                return False
        return True

    def changed(self) -> str:
        """What makes the graph invalid, in words."""
        for guard in self.guards:
            if not guard.holds():
                return f"{type(guard.owner).__name__}{'.' if guard.name else ''}{guard.name}"
        for ref, spec in zip(self.refs, self.specs, strict=True):
            now = ref.get()
            if now is None or now._spec is not spec:
                return f"a tensor or gradient that was {spec}"
        return "a variable that its code names"


class Capture:
    """A capture that is going on: the inputs found so far, and what to put back at the end."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.refs: list[Ref] = []
        self.specs: list[Spec] = []
        self.conditions: list[Callable[[], bool]] = []
        self._values: dict[int, Value] = {}
        self._grads: dict[tape.Leaf, Tensor | None] = {}
        self._touched: dict[int, tuple[Tensor, Any, Spec, Any, int]] = {}
        self._written: dict[tape.Leaf, Tensor | None] = {}
        self.start = tape.now()

    def input_for(self, tensor: Tensor) -> Value:
        """The input that stands for a tensor from outside."""
        found = self._values.get(id(tensor))
        if found is None:
            found = self._values[id(tensor)] = self._add(TensorRef(tensor), tensor._spec)
        return found

    def _add(self, ref: Ref, spec: Spec) -> Value:
        value = Value(spec.type)
        self.inputs.append(value)
        self.refs.append(ref)
        self.specs.append(spec)
        return value

    def before_rebind(self, tensor: Tensor) -> None:
        """Remember what a tensor from outside holds, before it is rebound for the first time."""
        if id(tensor) not in self._touched and not isinstance(tensor._storage, Value):
            self._touched[id(tensor)] = (tensor, tensor._storage, tensor._spec, tensor._node, tensor._index)

    def read_grad(self, leaf: tape.Leaf) -> Tensor | None:
        """A leaf's gradient; one from outside is read by reference, and its absence is a condition of the graph."""
        if leaf in self._written or leaf.sequence > self.start:
            return leaf.grad
        if leaf not in self._grads:
            if leaf.grad is None:
                self.conditions.append(lambda: leaf.grad is None)
                self._grads[leaf] = None
            else:
                value = self._add(GradRef(leaf), leaf.grad._spec)
                self._grads[leaf] = make(value, leaf.grad._spec, None, 0)
        return self._grads[leaf]

    def write_grad(self, leaf: tape.Leaf) -> None:
        """Remember a leaf's gradient before it is replaced for the first time."""
        if leaf.sequence < self.start:
            self._written.setdefault(leaf, leaf.grad)

    def finish(self, trace: Trace) -> tuple[list[tuple[Ref, Value]], list[tape.Leaf]]:
        """The updates, and the leaves whose gradient ends as None; everything gets its own value back."""
        updates: list[tuple[Ref, Value]] = []
        cleared: list[tape.Leaf] = []
        for tensor, storage, spec, node, index in self._touched.values():
            if isinstance(tensor._storage, Value):
                updates.append((TensorRef(tensor), tensor._storage))
            tensor._storage, tensor._spec, tensor._node, tensor._index = storage, spec, node, index
        for leaf, before in self._written.items():
            after, leaf.grad = leaf.grad, before
            if after is None:
                cleared.append(leaf)
            elif after is not before:
                updates.append((GradRef(leaf), value_of(after, trace)))
        return updates, cleared

    def keep_only(self, used: set[Value]) -> None:
        """Drop the inputs that nothing reads."""
        kept = [i for i, v in enumerate(self.inputs) if v in used]
        self.inputs = [self.inputs[i] for i in kept]
        self.refs = [self.refs[i] for i in kept]
        self.specs = [self.specs[i] for i in kept]

    def abandon(self) -> None:
        """After an error: everything gets its own value back."""
        for tensor, storage, spec, node, index in self._touched.values():
            tensor._storage, tensor._spec, tensor._node, tensor._index = storage, spec, node, index
        for leaf, before in self._written.items():
            leaf.grad = before


def capture(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> Captured:
    """Capture ``function(*args, **kwargs)``.

    Arguments are any nestings of tensors (or TensorTypes, possibly with symbolic sizes) and Python values; the
    tensors, in order, are the graph's first inputs.

    Raises:
        CaptureError: the function needs a value (``if`` on a tensor, ``item()``), or another capture is going on.
    """
    if state.trace is not None:
        raise CaptureError("a function is captured inside another capture; call it instead")
    leaves, form = flatten((tuple(args), dict(kwargs or {})))
    going = Capture()
    trace = Trace(going)
    inputs: list[Value] = []

    def traced(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) or is_array(leaf):
            from ..tensor.create import asarray

            given = asarray(leaf)
            value = Value(given._spec.type)
            inputs.append(value)
            node = None if given._node is None else tape.Leaf(given._spec)
            return make(value, given._spec, node, 0)
        if isinstance(leaf, TensorType):
            value = Value(leaf)
            inputs.append(value)
            return make(value, spec_of(leaf.dtype, leaf.shape), None, 0)
        return leaf

    new_args, new_kwargs = unflatten(form, [traced(leaf) for leaf in leaves])
    state.trace = trace
    version, done = guards.version(), False
    try:
        with guards.recording() as seen:
            result = function(*new_args, **new_kwargs)
        results, result_form = flatten(result)
        outputs, differentiable = _outputs(results, trace)
        updates, cleared = going.finish(trace)
        done = True
    finally:
        state.trace = None
        if not done:
            going.abandon()
    _check_own(trace, [*inputs, *going.inputs], [*outputs, *(v for _, v in updates)])
    going.keep_only({v for node in trace.nodes for v in node.inputs}.union(outputs, (v for _, v in updates)))
    name = getattr(function, "__name__", type(function).__name__)
    graph = Graph(name, [*inputs, *going.inputs], trace.nodes, [*outputs, *(v for _, v in updates)])
    plain = [r.tensor for r in going.refs if isinstance(r, TensorRef)]
    return Captured(
        graph,
        len(inputs),
        going.refs,
        going.specs,
        updates,
        cleared,
        result_form,
        differentiable,
        going.conditions,
        # requires_grad_ gives and takes the leaf that gradients go to.
        seen + [guards.Guard(t, "_node", t._node) for t in plain if not isinstance(t._node, tape.Record)],
        plain if len(plain) == len(going.refs) else [],
        version,
    )


def _outputs(results: Sequence[Any], trace: Trace) -> tuple[list[Value], list[bool]]:
    """The values of what the function returned, and whether gradients can flow back from them."""
    outputs, differentiable = [], []
    for item in results:
        if not isinstance(item, Tensor):
            raise CaptureError(
                f"a captured function must return tensors (in any nesting of dict, list and tuple), "
                f"not {type(item).__name__}"
            )
        outputs.append(value_of(item, trace))
        node = item._node
        differentiable.append(node is not None and not (isinstance(node, tape.Record) and node.saved is None))
    return outputs, differentiable


def _check_own(trace: Trace, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Every value that is used must be of this capture; one that an earlier capture left behind was never computed.

    Raises:
        CaptureError: at the line that uses such a value.
    """
    known = set(inputs)
    for node in trace.nodes:
        if not known.issuperset(node.inputs):
            raise _foreign(node.where)
        known.add(node.output)
    if not known.issuperset(outputs):
        raise _foreign(None)


def _foreign(where: tuple[str, int] | None) -> CaptureError:
    error = CaptureError(
        "a tensor that was made while a function was captured is used in another capture: it has no value; return it, "
        "or keep a tensor outside and change its value with assign()"
    )
    error.where = where or error.where
    return error

"""Capture: run a function once on traced tensors and keep what it did as a graph.

Tensors that the function closes over are read *by reference*: they become further inputs of the graph, and what is
rebound during the capture (arguments, parameters, optimizer state, the random generator, gradients) becomes further
outputs, which every run writes back. While the capture goes on, rebound objects hold traced values; at its end they
get their own back.
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

__all__ = ["ArgumentRef", "Captured", "GradRef", "TensorRef", "capture"]


@dataclass(slots=True, eq=False)
class TensorRef:
    """A tensor that the function read or rebound."""

    tensor: Tensor

    def get(self) -> Tensor | None:
        """The tensor as it is now."""
        return self.tensor


@dataclass(slots=True, eq=False)
class ArgumentRef:
    """The tensor that a call gives as its n-th, which the function rebound."""

    position: int


@dataclass(slots=True, eq=False)
class GradRef:
    """The gradient of a leaf that the function read or replaced. The leaf of an argument changes from call to call."""

    leaf: tape.Leaf

    def get(self) -> Tensor | None:
        """The gradient as it is now."""
        return self.leaf.grad

    def set(self, storage: Any, spec: Spec) -> None:
        """Replace it."""
        self.leaf.grad = make(storage, spec, None, 0)


Ref = TensorRef | GradRef
Target = TensorRef | ArgumentRef | GradRef


@dataclass(slots=True)
class Captured:
    """What a function did.

    ``graph`` has the arguments, then the state that was read, as inputs; its outputs are the results, then the updates.
    """

    graph: Graph
    arguments: int
    refs: list[Ref]
    specs: list[Spec]  # of the state when it was captured
    nodes: list[type]  # kinds of its places on the tape
    updates: list[tuple[Target, Value]]
    cleared: list[GradRef]  # leaves whose gradient is None at the end
    outputs_form: Form
    differentiable: list[bool]  # results, then updates, that still hang on the tape
    same: list[TensorRef | ArgumentRef | None]  # for each result the tensor of the state, or argument, that it is
    conditions: list[Callable[[], bool]] = field(default_factory=list)
    guards: list[guards.Guard] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)  # the refs' tensors, when none is a gradient
    version: int = -1  # of the guarded state, when the guards were last checked
    argument_grads: list[tuple[int, GradRef]] = field(default_factory=list)  # (argument, the gradient of its leaf)
    watched: dict[int, Tensor] = field(default_factory=dict)  # by id: state that an argument may not be as well ...
    distinct: bool = False  # ... nor may two arguments be one tensor ...
    stopped: set[Value] = field(default_factory=set)  # values that no gradient flows through
    rebound_leaves: set[Value] = field(default_factory=set)  # values that parameters were rebound to
    aliases: tuple[int, ...] = ()  # ... unless they were when the function was captured

    @property
    def state(self) -> list[Tensor]:
        """The tensors read by reference, in the order of the graph's inputs."""
        found = [r.get() for r in self.refs]
        if any(t is None for t in found):
            raise CaptureError("a gradient that the captured function reads is None now")
        return found  # type: ignore[return-value]

    def aliases_of(self, given: Sequence[Tensor]) -> tuple[int, ...]:
        """Which arguments are one tensor, or a tensor of the state; () where that makes no difference."""
        watched, ids = self.watched, [id(t) for t in given]
        if not self.distinct or len(ids) < 2 or len(set(ids)) == len(ids):
            for i in ids:
                if i in watched:
                    break
            else:
                return ()
        return tuple([i if i in watched else ids.index(i) for i in ids])

    def valid(self, given: Sequence[Tensor]) -> bool:
        """Whether arguments and state still are as they were when the function was captured (types, not values)."""
        for position, grad in self.argument_grads:
            grad.leaf = given[position]._node
        if (self.watched or self.distinct) and self.aliases_of(given) != self.aliases:
            return False
        if self.tensors:
            for tensor, spec, node in zip(self.tensors, self.specs, self.nodes, strict=True):
                if tensor._spec is not spec or tensor._node.__class__ is not node:
                    return False
        else:
            for ref, spec, node in zip(self.refs, self.specs, self.nodes, strict=True):
                now = ref.get()
                if now is None or now._spec is not spec or now._node.__class__ is not node:
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


@dataclass(slots=True, eq=False)
class _Argument:
    """A tensor argument: what was given, the input that stands for it, and the tensor that the function gets."""

    position: int
    given: Tensor
    value: Value
    traced: Tensor


@dataclass(slots=True, eq=False)
class _Update:
    """What is written back: a new value (None: a gradient is dropped), and whether it still hangs on the tape."""

    target: Target
    value: Value | None
    differentiable: bool


class Capture:
    """A capture that is going on: the inputs found so far, and what to put back at the end."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.refs: list[Ref] = []
        self.specs: list[Spec] = []
        self.conditions: list[Callable[[], bool]] = []
        self.rebound_leaves: set[Value] = set()
        self.grad_refs: dict[tape.Leaf, GradRef] = {}
        self._values: dict[int, Value] = {}
        self._constants: dict[int, Tensor] = {}
        self._grads: dict[tape.Leaf, Tensor | None] = {}
        self._touched: dict[int, tuple[Tensor, Any, Spec, Any, int]] = {}
        self._written: dict[tape.Leaf, Tensor | None] = {}
        self.start = tape.now()

    def input_for(self, tensor: Tensor) -> Value:
        """The input that stands for a tensor from outside."""
        found = self._values.get(id(tensor))
        if found is None:
            # A constant may be rebound later on; what it is now must stay.
            constant = id(tensor) in self._constants
            kept = make(tensor._storage, tensor._spec, tensor._node, tensor._index) if constant else tensor
            found = self._values[id(tensor)] = self._add(TensorRef(kept), tensor._spec)
        return found

    def _add(self, ref: Ref, spec: Spec) -> Value:
        value = Value(spec.type)
        self.inputs.append(value)
        self.refs.append(ref)
        self.specs.append(spec)
        return value

    def add_constant(self, tensor: Tensor) -> None:
        """Remember a tensor that is made of data inside: every run begins with it anew, also when it is rebound."""
        self._constants[id(tensor)] = tensor

    def before_rebind(self, tensor: Tensor) -> None:
        """Remember what a tensor from outside holds, before it is rebound for the first time."""
        known = id(tensor) in self._touched or id(tensor) in self._constants
        if not known and not isinstance(tensor._storage, Value):
            self._touched[id(tensor)] = (tensor, tensor._storage, tensor._spec, tensor._node, tensor._index)

    def bind(self, tensor: Tensor, value: Value, node: Any) -> Tensor:
        """Let an argument that is also reached in another way be ``value`` until the end of the capture."""
        self.before_rebind(tensor)
        tensor._storage, tensor._node = value, node
        return tensor

    def _ref_of(self, leaf: tape.Leaf) -> GradRef:
        return self.grad_refs.setdefault(leaf, GradRef(leaf))

    def read_grad(self, leaf: tape.Leaf) -> Tensor | None:
        """A leaf's gradient; one from outside is read by reference, and its absence is a condition of the graph."""
        if leaf in self._written or leaf.sequence > self.start:
            return leaf.grad
        if leaf not in self._grads:
            ref = self._ref_of(leaf)
            if leaf.grad is None:
                self.conditions.append(lambda: ref.leaf.grad is None)
                self._grads[leaf] = None
            else:
                value = self._add(ref, leaf.grad._spec)
                self._grads[leaf] = make(value, leaf.grad._spec, None, 0)
        return self._grads[leaf]

    def write_grad(self, leaf: tape.Leaf) -> None:
        """Remember a leaf's gradient before it is replaced for the first time."""
        if leaf.sequence < self.start:
            self._written.setdefault(leaf, leaf.grad)

    def object_of(self, tensor: Tensor, arguments: Sequence[_Argument]) -> TensorRef | ArgumentRef | None:
        """The tensor from outside that a result is, if it is one."""
        for a in arguments:
            if a.traced is tensor:
                return ArgumentRef(a.position)
        outside = id(tensor) in self._touched or (id(tensor) in self._values and id(tensor) not in self._constants)
        return TensorRef(tensor) if outside else None

    def finish(self, trace: Trace, arguments: Sequence[_Argument]) -> list[_Update]:
        """What is written back; everything gets its own value back."""
        updates: list[_Update] = []
        own: dict[int, _Argument] = {}
        for a in arguments:
            if own.setdefault(id(a.traced), a) is a and a.traced._storage is not a.value:
                before = self._touched[id(a.traced)][3] if id(a.traced) in self._touched else a.given._node
                on_tape = a.traced._node is not before and _on_tape(a.traced)
                updates.append(_Update(ArgumentRef(a.position), value_of(a.traced, trace), on_tape))
        for tensor, _, _, node, _ in self._touched.values():
            if id(tensor) not in own:
                on_tape = tensor._node is not node and _on_tape(tensor)
                updates.append(_Update(TensorRef(tensor), value_of(tensor, trace), on_tape))
        for tensor, storage, spec, node, index in self._touched.values():
            tensor._storage, tensor._spec, tensor._node, tensor._index = storage, spec, node, index
        for leaf, before in self._written.items():
            after, leaf.grad = leaf.grad, before
            if after is not before:
                updates.append(_Update(self._ref_of(leaf), None if after is None else value_of(after, trace), False))
        return updates

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


def _on_tape(tensor: Tensor) -> bool:
    node = tensor._node
    return node is not None and not (isinstance(node, tape.Record) and node.saved is None)


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
    found, given = _run(function, leaves, form, set())
    twice = found.aliases_of(given)
    if twice:
        # Something that the function rebinds is reached in two ways: once more, with one object for both.
        shared = {id(t) for i, t in enumerate(given) if twice.count(twice[i]) > 1 or id(t) in found.watched}
        again, given = _run(function, leaves, form, shared)
        again.watched |= found.watched
        again.distinct |= found.distinct
        again.aliases = again.aliases_of(given)
        return again
    return found


def _run(
    function: Callable[..., Any], leaves: Sequence[Any], form: Form, shared: set[int]
) -> tuple[Captured, list[Tensor]]:
    """One run of the function, and its tensor arguments; ``shared`` ones stay the objects that they are."""
    going = Capture()
    trace = Trace(going)
    arguments: list[_Argument] = []
    version, done = guards.version(), False
    try:
        args, kwargs = unflatten(form, [_argument(leaf, going, arguments, shared) for leaf in leaves])
        state.trace = trace
        with guards.recording() as seen:
            result = function(*args, **kwargs)
        results, result_form = flatten(result)
        outputs = _outputs(results, trace)
        same = [going.object_of(item, arguments) for item in results]
        on_tape = [ref is None and _on_tape(item) for item, ref in zip(results, same, strict=True)]
        updates = going.finish(trace, arguments)
        done = True
    finally:
        state.trace = None
        if not done:
            going.abandon()
    written = [(u.target, u.value) for u in updates if u.value is not None]
    outputs += [v for _, v in written]
    own = [a.value for a in arguments]
    _check_own(trace, [*own, *going.inputs], outputs)
    going.keep_only({v for node in trace.nodes for v in node.inputs}.union(outputs))
    plain = [r.tensor for r in going.refs if isinstance(r, TensorRef)]
    name = getattr(function, "__name__", type(function).__name__)
    found = Captured(
        Graph(name, [*own, *going.inputs], trace.nodes, outputs),
        len(arguments),
        going.refs,
        going.specs,
        [type(None) if isinstance(r, GradRef) else type(r.tensor._node) for r in going.refs],
        written,
        [u.target for u in updates if u.value is None and isinstance(u.target, GradRef)],
        result_form,
        on_tape + [u.differentiable for u in updates if u.value is not None],
        same,
        going.conditions,
        # requires_grad_ gives and takes the leaf that gradients go to.
        seen + [guards.Guard(t, "_node", t._node) for t in plain if not isinstance(t._node, tape.Record)],
        plain if len(plain) == len(going.refs) else [],
        version,
    )
    found.stopped, found.rebound_leaves = trace.stopped, going.rebound_leaves
    _watch(found, going, arguments, plain)
    return found, [a.given for a in arguments]


def _watch(found: Captured, going: Capture, arguments: Sequence[_Argument], plain: Sequence[Tensor]) -> None:
    """Note what must not be reached in two ways at once, because the function rebinds it in one of them."""
    found.argument_grads = [
        (a.position, going.grad_refs[a.given._node]) for a in arguments if a.given._node in going.grad_refs
    ]
    found.distinct = bool(found.argument_grads) or any(isinstance(t, ArgumentRef) for t, _ in found.updates)
    watched = [t.tensor for t, _ in found.updates if isinstance(t, TensorRef)]
    found.watched = {id(t): t for t in (*watched, *(plain if found.distinct else ()))}


def _argument(leaf: Any, going: Capture, arguments: list[_Argument], shared: set[int]) -> Any:
    """What the function gets for a leaf of its arguments."""
    if isinstance(leaf, TensorType):
        value = Value(leaf)
        traced = make(value, spec_of(leaf.dtype, leaf.shape), None, 0)
        arguments.append(_Argument(len(arguments), traced, value, traced))
        return traced
    if not isinstance(leaf, Tensor) and not is_array(leaf):
        return leaf
    from ..tensor.create import asarray

    given = asarray(leaf)
    value, traced = Value(given._spec.type), given
    if all(a.traced is not given for a in arguments):
        node = tape.Boundary() if isinstance(given._node, tape.Record) else given._node
        traced = going.bind(given, value, node) if id(given) in shared else make(value, given._spec, node, 0)
    arguments.append(_Argument(len(arguments), given, value, traced))
    return traced


def _outputs(results: Sequence[Any], trace: Trace) -> list[Value]:
    """The values of what the function returned."""
    for item in results:
        if not isinstance(item, Tensor):
            raise CaptureError(
                f"a captured function must return tensors (in any nesting of dict, list and tuple), "
                f"not {type(item).__name__}"
            )
    return [value_of(item, trace) for item in results]


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

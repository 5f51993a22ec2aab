"""What a captured function sees of the tensors outside of it.

A tensor from outside is never touched while a function is captured: other threads go on using it, other captures may be
going on, and a capture that fails has nothing to put back. What the function reads, rebinds or differentiates is a
*stand-in*, a traced tensor that this capture keeps for it; gradients that are read or replaced are kept here as well.
At the end the differences become the graph's updates.

Every way from a tensor to its value goes through :meth:`Inside.inside` (``dispatch.plan_of`` for the operands of calls,
``tensor._here`` for properties and in-place forms); outside of captures none of them costs anything.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..graph.ir import Value
from ..ops.op import Trace
from ..tensor import tape
from ..tensor.calls import value_of
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make

__all__ = ["Argument", "ArgumentRef", "GradRef", "Inside", "Ref", "Target", "TensorRef", "Update"]


@dataclass(slots=True, eq=False)
class TensorRef:
    """A tensor that the function read or rebound."""

    tensor: Tensor

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The tensor as it is now."""
        return self.tensor


@dataclass(slots=True, eq=False)
class ArgumentRef:
    """The tensor that a call gives as its n-th, which the function rebound."""

    position: int


@dataclass(slots=True, eq=False)
class GradRef:
    """The gradient of a leaf that the function read or replaced: a leaf from outside, or that of the n-th argument."""

    leaf: tape.Leaf | None
    position: int = -1

    def leaf_of(self, arguments: Sequence[Tensor]) -> tape.Leaf:
        """The leaf in a call with these arguments."""
        leaf = arguments[self.position]._node if self.leaf is None else self.leaf
        assert isinstance(leaf, tape.Leaf)
        return leaf

    def get(self, arguments: Sequence[Tensor]) -> Tensor | None:
        """The gradient as it is now."""
        return self.leaf_of(arguments).grad

    def set(self, arguments: Sequence[Tensor], gradient: Tensor | None) -> None:
        """Replace it."""
        self.leaf_of(arguments).grad = gradient


Ref = TensorRef | GradRef
Target = TensorRef | ArgumentRef | GradRef


@dataclass(slots=True, eq=False)
class Argument:
    """A tensor argument: what was given, the input of the graph, and the traced tensor that stands for it."""

    position: int
    given: Tensor
    value: Value
    stand_in: Tensor
    node: Any  # its place on the tape when the function begins
    handed: Tensor  # what the function gets


@dataclass(slots=True, eq=False)
class _Seen:
    """A tensor from outside: the input of the graph, what stands for it, and its place on the tape in the beginning."""

    tensor: Tensor
    value: Value
    stand_in: Tensor
    node: Any
    is_argument: bool = False


@dataclass(slots=True, eq=False)
class Update:
    """What is written back: a new value (None: a gradient is dropped), and its place on the tape where that is another
    than in the beginning; ``is_new`` says whether it is."""

    target: Target
    value: Value | None
    node: Any = None
    index: int = 0
    is_new: bool = False


class Inside:
    """A capture that is going on, as the trace's ``capture``."""

    def __init__(self) -> None:
        self.inputs: list[Value] = []  # besides the arguments
        self.refs: list[Ref] = []
        self.nodes: list[Any] = []  # of the inputs: places on the tape in the beginning
        self.specs: list[Spec] = []
        self.conditions: list[Callable[[Sequence[Tensor]], bool]] = []
        self.arguments: list[Argument] = []
        self.grad_refs: dict[tape.Leaf, GradRef] = {}
        self._seen: dict[int, _Seen] = {}  # by the id of the tensor from outside
        self._constants: dict[int, Tensor] = {}
        self._read_grads: dict[tape.Leaf, tuple[Tensor | None, Any]] = {}  # as read: the tensor, and its value
        self._written_grads: dict[tape.Leaf, Tensor | None] = {}
        self.positions: dict[int, int] = {}  # of arguments, by the id of what the function got
        self._handed: dict[int, ArgumentRef] = {}  # by the id of what was given, and of what the function got
        self._made: list[weakref.ref[Tensor]] = []
        self.start = tape.now()

    # --- tensors ----------------------------------------------------------------------------------------------------

    def inside(self, tensor: Tensor) -> Tensor:
        """The traced tensor that stands for ``tensor``; a traced one stands for itself."""
        if isinstance(tensor._storage, Value):
            return tensor
        seen = self._seen.get(id(tensor))
        return (self._enter(tensor) if seen is None else seen).stand_in

    def is_outside(self, tensor: Tensor) -> bool:
        """Whether the tensor was there before the function, or is one of its arguments."""
        if isinstance(tensor._storage, Value):
            return any(a.stand_in is tensor for a in self.arguments)
        return id(tensor) not in self._constants

    def _enter(self, tensor: Tensor) -> _Seen:
        constant = id(tensor) in self._constants
        node = tensor._node
        if isinstance(node, tape.Record):
            node = tape.Boundary(node.call.name)
        # A constant may be changed by whoever gets it; what it is now must stay.
        kept = make(tensor._storage, tensor._spec, None, 0) if constant else tensor
        spec = tensor._spec if tensor._spec.contiguous else spec_of(tensor._spec.dtype, tensor._spec.shape)
        value = self._add(TensorRef(kept), tensor._spec, None if constant else node)
        seen = self._seen[id(tensor)] = _Seen(tensor, value, make(value, spec, node, 0), node)
        return seen

    def _add(self, ref: Ref, spec: Spec, node: Any) -> Value:
        value = Value(spec.type)
        self.inputs.append(value)
        self.refs.append(ref)
        self.specs.append(spec)
        self.nodes.append(node)
        return value

    def add_argument(self, given: Tensor, shared: bool) -> Tensor:
        """Take ``given`` as the next argument; returns what the function gets for it. A shared one, which is also
        reached in another way, stays the object that it is; any other is one of its own."""
        spec, position = given._spec, len(self.arguments)
        value = Value(spec.type)
        before = self._seen.get(id(given)) if shared else None
        if before is not None:  # a second time the same object: its first place counts
            self.arguments.append(Argument(position, given, value, before.stand_in, before.node, given))
            return given
        node: Any = given._node
        if isinstance(node, tape.Record):
            node = tape.Boundary()
        elif node is not None:
            node = tape.Leaf(spec)  # the argument's own: the same function may be called with another leaf
            self.grad_refs[node] = GradRef(None, position)
        spec = spec if spec.contiguous else spec_of(spec.dtype, spec.shape)
        stand_in = make(value, spec, node, 0)
        self.arguments.append(Argument(position, given, value, stand_in, node, given if shared else stand_in))
        if not shared:
            self.made((stand_in,))
            self.positions[id(stand_in)] = position
            return stand_in
        self._seen[id(given)] = _Seen(given, value, stand_in, node, True)
        return given

    def add_constant(self, tensor: Tensor) -> None:
        """Remember a tensor that is made of data inside: every run begins with it anew, also when it is rebound."""
        self._constants[id(tensor)] = tensor

    def made(self, tensors: Sequence[Tensor]) -> None:
        """Remember traced tensors: those that are still there when the function has ended were stored somewhere."""
        self._made += [weakref.ref(t) for t in tensors]

    def surviving(self) -> list[Tensor]:
        """The traced tensors that still exist."""
        return [t for t in (r() for r in self._made) if t is not None]

    # --- gradients --------------------------------------------------------------------------------------------------

    def _outside(self, leaf: tape.Leaf) -> GradRef | None:
        """The gradient of a leaf from outside; None for a leaf that the function made."""
        found = self.grad_refs.get(leaf)
        if found is None and leaf.sequence < self.start:
            found = self.grad_refs[leaf] = GradRef(leaf)
        return found

    def read_grad(self, leaf: tape.Leaf) -> Tensor | None:
        """A leaf's gradient; one from outside is read by reference, and its absence is a condition of the graph."""
        ref = self._outside(leaf)
        if ref is None:
            return leaf.grad
        if leaf in self._written_grads:
            return self._written_grads[leaf]
        if leaf not in self._read_grads:
            now = ref.get([a.given for a in self.arguments])
            if now is None:
                self.conditions.append(lambda arguments: ref.get(arguments) is None)
                self._read_grads[leaf] = None, None
            else:
                value = self._add(ref, now._spec, None)
                gradient = make(value, spec_of(now._spec.dtype, now._spec.shape), None, 0)
                self.made((gradient,))
                self._read_grads[leaf] = gradient, value
        return self._read_grads[leaf][0]

    def write_grad(self, leaf: tape.Leaf, gradient: Tensor | None) -> None:
        """Replace a leaf's gradient."""
        if self._outside(leaf) is None:
            leaf.grad = gradient
        else:
            self._written_grads[leaf] = gradient

    # --- the end ----------------------------------------------------------------------------------------------------

    def object_of(self, tensor: Tensor) -> TensorRef | ArgumentRef | None:
        """The tensor from outside that a result is, if it is one."""
        if not self._handed:
            for a in reversed(self.arguments):  # the first of several counts
                self._handed[id(a.handed)] = self._handed[id(a.given)] = ArgumentRef(a.position)
        argument = self._handed.get(id(tensor))
        if argument is not None:
            return argument
        seen = self._seen.get(id(tensor))
        return TensorRef(tensor) if seen is not None and id(tensor) not in self._constants else None

    def updates(self, trace: Trace) -> list[Update]:
        """What the function changed of what was there before."""
        found: list[Update] = []
        stand_ins: set[int] = set()
        for a in self.arguments:
            if id(a.stand_in) not in stand_ins and a.stand_in._storage is not a.value:
                found.append(_update(ArgumentRef(a.position), a.stand_in, a.node, trace))
            stand_ins.add(id(a.stand_in))
        for seen in self._seen.values():
            changed = seen.stand_in._storage is not seen.value
            if changed and not seen.is_argument and id(seen.tensor) not in self._constants:
                found.append(_update(TensorRef(seen.tensor), seen.stand_in, seen.node, trace))
        grads: dict[tape.Leaf, Tensor | None] = {}
        for leaf, (tensor, value) in self._read_grads.items():
            if tensor is not None and tensor._storage is not value:  # changed in place
                grads[leaf] = tensor
        for leaf, tensor in self._written_grads.items():
            read = self._read_grads.get(leaf)
            if read is None or tensor is not read[0]:
                grads[leaf] = tensor
        # Whoever still holds one of these tensors has stored it.
        self._read_grads.clear()
        self._written_grads.clear()
        for leaf, tensor in grads.items():
            found.append(Update(self.grad_refs[leaf], None if tensor is None else value_of(tensor, trace)))
        return found

    def release(self) -> None:
        """Let go of the stand-ins: whoever still holds one has stored it."""
        for a in self.arguments:
            a.stand_in = a.handed = a.given
        self._seen.clear()

    def keep_only(self, used: set[Value]) -> None:
        """Drop the inputs that nothing reads."""
        kept = [i for i, v in enumerate(self.inputs) if v in used]
        self.inputs = [self.inputs[i] for i in kept]
        self.refs = [self.refs[i] for i in kept]
        self.specs = [self.specs[i] for i in kept]
        self.nodes = [self.nodes[i] for i in kept]


def _update(target: Target, stand_in: Tensor, first: Any, trace: Trace) -> Update:
    """The update that a stand-in whose place on the tape was ``first`` comes to."""
    node = stand_in._node
    return Update(target, value_of(stand_in, trace), node, stand_in._index, node is None or node is not first)

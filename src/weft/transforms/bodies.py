"""The functions of branches and loops while they are traced, and what they come to: a graph that closes over nothing.

A function is run once, over stand-ins, while the trace records into a list of its own (:class:`Tracing`). What it reads
of the code around it, traced or from outside of the capture, becomes an operand of the node, in the order of first use.
What it writes there (a generator's state, a buffer, with its views and its history) becomes a further value that the
node takes and gives: the tensor gets it when the node stands. So does the gradient of a parameter from around that it
sets; where a value decides whether there is one, it is :class:`Undecided`, which nobody may read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..core.errors import CaptureError, user_line
from ..graph.ir import Graph, Node, Value, copy_nodes
from ..ops.op import Trace
from ..tensor import tape
from ..tensor.alias import begin_again, family_of, root_of
from ..tensor.calls import value_of
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .watching import changed, seen_by


class Carried(tape.Boundary):
    """The end of the tape inside a body: a carry, a part of a sequence, or what an outer body has them for."""

    __slots__ = ()

    def error(self) -> CaptureError:
        """What to raise when backward() inside the body gets here."""
        return CaptureError(
            "backward() inside the body of a loop reaches what the loop carries, which has a history outside; use "
            "wf.grad there, or call backward() after the loop"
        )


@dataclass(slots=True, eq=False)
class Written:
    """A tensor from around a body that it wrote: what it was before, and what it is now, each a tensor of its own.
    ``end``: the place on the tape that it began with in the body. ``shown``: what its views, if any, were before."""

    tensor: Tensor
    before: Tensor
    after: Tensor
    end: Any
    shown: tuple[Value, ...]

    @property
    def keeps_history(self) -> bool:
        """Whether it was written with no history recorded, under no_grad: a leaf stays one."""
        return self.after._node is self.end and (self.after._node is None or self.after._index == self._began)

    @property
    def _began(self) -> int:
        return self.before._index if self.end is self.before._node else 0


class Undecided:
    """A gradient of which a value decides whether it is there. ``where``: the user's line."""

    def __init__(self) -> None:
        self.where = user_line(3)

    def error(self, leaf: tape.Leaf) -> CaptureError:
        """What to raise where it is read, or left."""
        error = CaptureError(
            f"as a value decides (in a branch, or a loop that may have no round), a parameter {leaf.spec.type!r} has a "
            "gradient or has none, and that is read, or left when the function ends: compute the gradient on both "
            "ways, or before the branch, and branch on what is done with it; or let it be zeros where there is none, "
            "as by zero_grad(set_to_none=False)"
        )
        error.where = self.where or error.where
        return error


class Unstable(CaptureError):
    """An iteration does not leave what it took."""


@dataclass(slots=True, eq=False)
class Gradient:
    """A gradient that a body has set: the very tensor (or None, or an Undecided), and what it is at the body's end."""

    tensor: Any
    after: Any
    is_own: bool = False  # whether the body has made it, memory and all
    value: Value | None = None  # what stands for what an iteration of a loop finds
    end: Any = None  # its place on the tape
    memory: Tensor | None = None  # the tensor in whose memory it lies, if that is from around and was written

    @property
    def lies_in(self) -> Tensor:
        """Whose memory it is, if not the body's."""
        return self.tensor if self.memory is None else self.memory


_Was = tuple[Tensor, Any, Any, int]  # a tensor, its value and its place on the tape


class Tracing:
    """A function that is being traced as a body: the capture's ``body``, and the trace's list of nodes meanwhile."""

    def __init__(self, name: str, trace: Trace):
        self.name, self.trace, self.capture = name, trace, trace.capture
        self.outer: Tracing | None = None if trace.capture is None else trace.capture.body
        self.nodes: list[Node] = []
        self.given: list[Value] = []
        self.stand_ins: list[Tensor] = []
        self.carries = 0  # so many of them come first
        self.is_loop = name != "if" and not name.startswith("cond")
        self.flags = 0  # what it gives before the carries: whether to go on
        self.follows = True  # whether these may get a history
        self.written_carries: set[int] = set()  # those that are written in place
        self.ends: list[Any] = []  # the places on the tape of what is given
        self.reads: dict[Value, Tensor] = {}  # by their values, as they were when they were first read
        self.constants: set[int] = set()  # ids of what stands for data that the body itself made tensors of
        self.start = tape.now()
        self._touched: dict[int, list[_Was]] = {}  # by the ids of roots: these, then their views
        self._views_once: dict[int, tuple[Tensor, Tensor]] = {}  # by id: what showed such a root, and this
        self._begins: dict[int, Any] = {}  # the places that these begin with
        self.overwritten: dict[Value, Any] = {}  # their values, and where they were written
        self._known: set[Value] = set()
        self._seen = 0  # nodes whose outputs are known
        self._around = trace.nodes
        self._grads: dict[tape.Leaf, Any] = {}  # leaves whose gradients it sets: what puts them back
        self._grad_stand_ins: dict[tape.Leaf, tuple[Tensor, Value, Any]] = {}
        self.gradients: dict[tape.Leaf, Gradient] = {}  # in the end
        self.shown_gradients: list[tuple[int, tape.Leaf]] = []  # results that lie in the memory of gradients

    @property
    def outermost_nodes(self) -> list[Node]:
        """The nodes of the captured function itself."""
        return self._around if self.outer is None else self.outer.outermost_nodes

    def stand_in(self, spec: Spec, node: Any = None) -> Tensor:
        """What the function gets for an operand."""
        value = Value(spec.type)
        self.given.append(value)
        self.ends.append(node)
        made = make(value, spec_of(spec.dtype, spec.shape, None, spec.device), node, 0)
        self.stand_ins.append(made)
        if self.capture is not None:
            self.capture.made((made,))
        return made

    def owns(self, value: Value) -> bool:
        """Whether a value was made here."""
        for node in self.nodes[self._seen :]:
            self._known.update(node.outputs)
        self._seen = len(self.nodes)
        return value in self._known or value in self.given or value in self.grad_values

    def read(self, tensor: Tensor) -> None:
        """Take notice of a tensor that is read: its value may be one from around the body, with a history there."""
        value = tensor._storage
        body: Tracing | None = self
        while body is not None:
            if value not in body.reads:
                body.reads[value] = make(value, tensor._spec, tensor._node, tensor._index)
            body = body.outer

    def memory_of(self, tensor: Tensor) -> Tensor | None:
        """The tensor from around the body whose memory one lies in, which the body has written; None: another's."""
        found = self._views_once.get(id(tensor))
        return None if found is None else found[1]

    def wrote(self, root: Tensor) -> None:
        """Take notice of memory that is about to be written.

        Raises:
            CaptureError: what that comes to in a loop, or after it, cannot be said.
        """
        body: Tracing | None = self
        while body is not None and not body.owns(root._storage):
            if id(root) not in body._touched:
                body.read(root)
                body._touched[id(root)] = [(t, t._storage, t._node, t._index) for t in family_of(root)]
            body = body.outer
        if body is not None:
            number = next((i for i, t in enumerate(body.stand_ins) if t is root), None)
            if number is not None and number not in body.written_carries:
                if number >= body.carries:
                    raise CaptureError(
                        f"{body.name}: a part of a sequence is written in place, which eagerly is memory of the whole; "
                        "return the new value instead"
                    )
                body.written_carries.add(number)

    def begin(self, threads: Sequence[Tensor]) -> None:
        """Of a loop's body: let tensors that it writes be what an iteration finds, with all that shows them."""
        for root in threads:
            self.wrote(root)
            is_followed = tape.recording.enabled and root._spec.dtype.is_floating
            if isinstance(root._node, tape.Leaf):  # written under no_grad alone: it is that leaf in every iteration
                end: Any = root._node
            else:
                end = Carried() if is_followed else None
            self._begins[id(root)] = end
            begin_again(root, end, self.trace)

    def written_around(self) -> list[Tensor]:
        """The tensors from around the body that it has written so far."""
        roots = [family[0][0] for family in self._touched.values()]
        return [root for root in roots if id(root) not in self.constants]

    @property
    def grad_values(self) -> list[Value]:
        """The values that stand for gradients which an iteration finds."""
        return [value for _, value, _ in self._grad_stand_ins.values()]

    def wrote_gradient(self, leaf: tape.Leaf) -> None:
        """Take notice of a leaf whose gradient is about to be set."""
        body: Tracing | None = self
        while body is not None and leaf.sequence < body.start:
            if leaf not in body._grads:
                body._grads[leaf] = self.capture.saved_grad(leaf)
            body = body.outer

    def begin_gradients(self, found: Mapping[tape.Leaf, Any]) -> None:
        """Of a loop's body: let an iteration find stand-ins for these gradients."""
        for leaf, before in found.items():
            self.wrote_gradient(leaf)
            stand_in = before
            if isinstance(before, Tensor):
                spec = before._spec
                end = Carried() if tape.recording.enabled and before._node is not None else None
                stand_in = make(Value(spec.type), spec_of(spec.dtype, spec.shape, None, spec.device), end, 0)
                self._grad_stand_ins[leaf] = stand_in, stand_in._storage, end
                self.capture.made((stand_in,))
            self.capture.put_grad(leaf, stand_in)

    def see_gradients(self, found: Sequence[Tensor]) -> None:
        """Note what the gradients that were set are at the end of the body, which gives these tensors.

        Raises:
            CaptureError: what the memory of one comes to cannot be said.
        """
        for leaf in self._grads:
            found_ = self.capture.peek_grad(leaf)
            after, is_own, memory = found_, False, None
            if isinstance(found_, Tensor):
                inside = self.capture.inside(found_)
                after = make(value_of(inside, self.trace), inside._spec, inside._node, inside._index)
                root = root_of(inside)
                self.shown_gradients += [(n, leaf) for n, t in enumerate(found) if root_of(t) is root]
                if any(root is t for t in self.stand_ins):
                    raise CaptureError(f"{self.name}: what a loop carries becomes a gradient; set a clone() of it")
                is_own = self.owns(root._storage) and id(root) not in self._touched
                memory = root if id(root) in self._touched else None
            stand_in, value, end = self._grad_stand_ins.get(leaf, (None, None, None))
            if stand_in is not None and stand_in._storage is not value:
                raise CaptureError(
                    f"{self.name}: an iteration writes a gradient in place, and sets another; write none in place (in "
                    "the place of p.grad.mul_(c) take p.grad = p.grad * c), or zero it by zero_grad(set_to_none=False)"
                )
            self.gradients[leaf] = Gradient(found_, after, is_own, value, end, memory)

    def restore_gradients(self) -> None:
        """Let gradients be what they were before the body."""
        for leaf, was in self._grads.items():
            self.capture.restore_grad(leaf, was)

    @contextmanager
    def going(self) -> Iterator[None]:
        """Record here."""
        self.trace.nodes = self.nodes
        if self.capture is not None:
            self.capture.body = self
        try:
            yield
        finally:
            self.trace.nodes = self._around
            if self.capture is not None:
                self.capture.body = self.outer
                self.capture.inner.update(self.given)
                self.capture.inner.update([v for node in self.nodes for v in node.outputs])

    def settle(self) -> list[Written]:
        """What was written around the body, which is as it was before from now on."""
        found = []
        for family in self._touched.values():
            root = family[0][0]
            after = now(root)
            known = {id(t) for t, *_ in family}
            self._views_once.update({id(t): (t, root) for t in family_of(root) if id(t) not in known})
            restore(family)
            for _, value, _, _ in family:  # of no concern to the other branch, nor around it before the node stands
                if value in self.capture.overwritten:
                    self.overwritten[value] = self.capture.overwritten.pop(value)
            end = self._begins.get(id(root), root._node)
            if id(root) not in self.constants and (after._storage is not root._storage or after._node is not end):
                found.append(Written(root, now(root), after, end, tuple([value for _, value, *_ in family[1:]])))
        return found

    def closed(self, outputs: Sequence[Value]) -> list[Value]:
        """The values from around that the body, or what it gives, needs."""
        known = {*self.given, *self.grad_values}
        for node in self.nodes:
            known.update(node.outputs)
        used = [*(v for node in self.nodes for v in node.inputs), *outputs]
        return list(dict.fromkeys([v for v in used if v not in known]))

    def graph(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> tuple[Graph, dict[Value, Value]]:
        """The graph over ``inputs``, which are stand-ins or values from around; and what stands in it for the values
        that were traced."""
        given = {*self.given, *self.grad_values}
        values = {v: v if v in given else Value(v.type) for v in inputs}
        nodes: list[Node] = []
        copy_nodes(self.nodes, values, nodes)
        return Graph(self.name, [values[v] for v in inputs], nodes, [values[v] for v in outputs]), values

    def tensor_of(self, value: Value) -> Tensor:
        """The tensor by way of which a value from around was read: its history."""
        found = self.reads.get(value)
        if found is None:  # nothing with a history reads without saying so
            found = make(value, spec_of(value.dtype, value.shape, None, self.trace.device), None, 0)
        return found


def traced(
    name: str,
    trace: Trace,
    run: Callable[[Tracing], Sequence[Tensor]],
    *functions: Callable[..., Any],
    follows: bool = True,
    threads: Sequence[Tensor] = (),
    gradients: Mapping[tape.Leaf, Any] | None = None,
) -> tuple[Tracing, list[Tensor], list[Value], list[Written]]:
    """Run ``run`` as a body: the tracing, the tensors that it gives, their values, and what it wrote around it.
    ``threads``: see :meth:`Tracing.begin`; ``gradients``: see :meth:`Tracing.begin_gradients`.

    Raises:
        CaptureError: the user's ``functions``, which it calls, have changed Python objects.
    """
    tracing = Tracing(name, trace)
    tracing.follows = follows
    before = seen_by(*functions)
    journal = None if trace.capture is None else trace.capture.journal
    if journal is not None:
        journal.begin()
    try:
        with tracing.going():
            tracing.begin(threads)
            tracing.begin_gradients(gradients or {})
            found = list(run(tracing))
            if trace.capture is not None:
                found = [trace.capture.inside(t) for t in found]
            values = [value_of(t, trace) for t in found]
            tracing.see_gradients(found)
        found = [make(v, t._spec, t._node, t._index) for v, t in zip(values, found, strict=True)]  # as they are now
        if journal is not None:
            journal.end(name)
    except BaseException:
        if journal is not None:
            journal.fail()
        tracing.restore_gradients()
        for family in tracing._touched.values():
            restore(family)
        raise
    tracing.restore_gradients()
    other = changed(before, seen_by(*functions))
    if other is not None:
        raise CaptureError(
            f"{name}: the function changes {other}, which captured code would do once, however often it runs; return "
            "what it computes instead"
        )
    return tracing, found, values, tracing.settle()


def now(tensor: Tensor) -> Tensor:
    """The tensor as it is now."""
    return make(tensor._storage, tensor._spec, tensor._node, tensor._index)


def restore(family: Sequence[_Was]) -> None:
    """Let tensors be what they were; views that have come since are none any more, but values of the body."""
    known = {id(t) for t, *_ in family}
    for tensor in [t for t in family_of(family[0][0]) if id(t) not in known]:
        tensor._view = None
    for tensor, value, node, index in family:
        tensor._storage, tensor._node, tensor._index = value, node, index
        if tensor._views is not None:
            tensor._views = [view for view in tensor._views if id(view()) in known]

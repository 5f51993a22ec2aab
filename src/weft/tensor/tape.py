"""The tape: which calls made a tensor, so that gradients can flow back through them.

A tensor's ``_node`` is a :class:`Leaf` (a parameter), a :class:`Record` (a call's output) or None (no gradient). A
Record keeps the values that its gradient needs; tensors are values, so rebinding one later does not touch them.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from ..core.errors import AutogradError, CaptureError
from ..ops.op import hooks, state

if TYPE_CHECKING:
    from .calls import Backward, GraphCall
    from .tensor import Tensor

__all__ = [
    "Boundary",
    "Leaf",
    "Record",
    "backward",
    "clear_grad",
    "enable_grad",
    "no_grad",
    "record",
    "recording",
    "set_grad_enabled",
]


class _Recording(threading.local):
    """Whether calls are recorded; one flag a thread, changed by :class:`no_grad` and :class:`enable_grad`."""

    enabled = True


recording = _Recording()
_sequence = count()


class _Mode:
    """Context manager and decorator: record calls on the tape, or not."""

    def __init__(self, mode: bool):
        self.mode = mode
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(recording.enabled)
        recording.enabled = self.mode

    def __exit__(self, *details: object) -> None:
        recording.enabled = self.before.pop()

    def __call__(self, function: Any) -> Any:
        import functools

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _Mode(self.mode):
                return function(*args, **kwargs)

        return inside


class set_grad_enabled(_Mode):
    """Record calls on the tape from now on, or not, in this thread. As a context manager, what was before comes back at
    its end; as a decorator, the mode is the function's alone. As in PyTorch, the call itself takes effect at once.

    >>> with wf.set_grad_enabled(False):
    ...     (wf.ones(2).requires_grad_() * 2).requires_grad
    False
    """

    def __init__(self, mode: bool = True):
        super().__init__(bool(mode))
        self._found = recording.enabled
        recording.enabled = self.mode

    def __enter__(self) -> None:
        recording.enabled = self.mode

    def __exit__(self, *details: object) -> None:
        recording.enabled = self._found

    def __call__(self, function: Any) -> Any:
        recording.enabled = self._found  # a decorator: only the function is meant
        return super().__call__(function)


class no_grad(_Mode):
    """Context manager and decorator: calls are not recorded."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(_Mode):
    """Context manager and decorator: calls are recorded, also inside :class:`no_grad`."""

    def __init__(self) -> None:
        super().__init__(True)


class Leaf:
    """The end of the tape: a tensor that gradients are accumulated for."""

    __slots__ = ("__weakref__", "grad", "sequence", "spec")

    def __init__(self, spec: Any) -> None:
        self.grad: Tensor | None = None
        self.spec = spec
        self.sequence = next(_sequence)


class Boundary:
    """The end of the tape inside a captured function: a tensor from outside that recorded calls had computed, an
    argument or (``of``, the name of the call) one that the function closes over."""

    __slots__ = ("of",)

    def __init__(self, of: str | None = None):
        self.of = of

    def error(self) -> CaptureError:
        """What to raise when backward() inside the function gets here."""
        if self.of is not None:
            return CaptureError(
                f"backward inside a captured function through {self.of}, which was recorded before the capture: "
                f"compute the loss inside the function too"
            )
        return CaptureError(
            "backward() inside a captured function reaches an argument that was itself computed from something that "
            "requires grad; call backward() outside of the function, or pass x.detach()"
        )


class Record:
    """One call: its gradient graph, the values it needs, and where its operands came from.

    ``saved`` holds (storage, spec, node, index) of operands, and of results with OWN for the node: a Record that held
    its own results would never be freed by reference counting.
    """

    __slots__ = ("backward", "call", "parents", "saved", "sequence")

    backward: Backward
    call: GraphCall
    parents: tuple[tuple[Any, int], ...]
    saved: list[tuple[Any, Any, Any, int]] | None
    sequence: float
    expanded: list[tuple[Any, int]] | None = None  # of a call of many records: for each output the one that made it

    def propagate(self, cotangents: list[Tensor | None], sums: Sums, retain_graph: bool) -> None:
        """Send the cotangents of the outputs on to the operands."""
        from .tensor import make

        if self.saved is None:
            raise freed(self.call.name)
        operands = [make(s, spec, self if n is _OWN else n, i) for s, spec, n, i in self.saved]
        specs = self.call.out_specs
        operands += [_zeros(spec) if c is None else c for c, spec in zip(cotangents, specs, strict=True)]
        gradients = self.backward.call(operands)
        if not retain_graph:
            self.saved = None
        for (parent, index), gradient in zip(self.parents, gradients, strict=True):
            sums.add(parent, index, gradient)


_OWN = object()


def own(index: int) -> tuple[Any, int]:
    """The place of a value that a record saved of its own outputs."""
    return _OWN, index


def is_own(node: Any) -> bool:
    """Whether a saved value is an output of the record itself."""
    return node is _OWN


def now() -> int:
    """The next sequence number: what is made later has a greater one."""
    return next(_sequence)


def record(call: GraphCall, tensors: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Put a call on the tape: its floating outputs get a Record as their node."""
    wanted = tuple([t._node is not None for t in tensors])
    gradient = call.backwards.get(wanted)
    if gradient is None:
        if not any(o._spec.dtype.is_floating for o in outputs):
            return
        gradient = call.backward(wanted)
    made = Record()
    made.backward = gradient
    made.call = call
    made.sequence = next(_sequence)
    made.parents = tuple([(t._node, t._index) for t in tensors if t._node is not None])
    trace = state.trace
    if trace is None:
        saved = [(t._storage, t._spec, t._node, t._index) for t in [tensors[i] for i in gradient.needs_inputs]]
    else:
        saved = [
            (hooks.value_of(t, trace), t._spec, t._node, t._index) for t in [tensors[i] for i in gradient.needs_inputs]
        ]
    for i in gradient.needs_outputs:
        saved.append((outputs[i]._storage, outputs[i]._spec, _OWN, i))
    made.saved = saved
    for i, output in enumerate(outputs):
        if output._spec.dtype.is_floating:
            output._node, output._index = made, i


def record_pair(call: GraphCall, a: Tensor, b: Tensor, output: Tensor) -> None:
    """:func:`record` for the commonest call, two operands and one result: half the time."""
    first, second = a._node, b._node
    gradient = call.pairs[(first is not None) + 2 * (second is not None)]
    if gradient is None or state.trace is not None:
        record(call, (a, b), (output,))
        if output._node is not None:
            call.pairs[(first is not None) + 2 * (second is not None)] = output._node.backward
        return
    made = Record()
    made.backward = gradient
    made.call = call
    made.sequence = next(_sequence)
    if second is None:
        made.parents = ((first, a._index),)
    elif first is None:
        made.parents = ((second, b._index),)
    else:
        made.parents = ((first, a._index), (second, b._index))
    made.saved = saved = []
    if gradient.needs_values:
        for i in gradient.needs_inputs:
            t = b if i else a
            saved.append((t._storage, t._spec, t._node, t._index))
        for i in gradient.needs_outputs:
            saved.append((output._storage, output._spec, _OWN, i))
    output._node = made


class Sums:
    """The cotangents that a backward pass has collected so far, by where they are going.

    Contributions to one place are added in the order in which they arrive (docs/numerics.md, Gradients): records from
    the last to the first, and the operands of a record from left to right.
    """

    __slots__ = ("_heap", "_leaves", "_pending", "_targets")

    def __init__(self, targets: dict[Any, Tensor | None] | None):
        self._targets = targets
        self._leaves: dict[Leaf, Tensor] = {}
        self._pending: dict[Record, list[Tensor | None]] = {}
        self._heap: list[tuple[float, Record]] = []

    def add(self, node: Any, index: int, cotangent: Tensor) -> None:
        """Send a contribution to output ``index`` of a node."""
        targets = self._targets
        if targets is not None and (node, index) in targets:
            before = targets[node, index]
            targets[node, index] = cotangent if before is None else before + cotangent
        elif isinstance(node, Record):
            slots = self._pending.get(node)
            if slots is None:
                if node.expanded is not None:
                    self.add(*node.expanded[index], cotangent)
                    return
                slots = self._pending[node] = [None] * len(node.call.out_specs)
                heapq.heappush(self._heap, (-node.sequence, node))
            before = slots[index]
            slots[index] = cotangent if before is None else before + cotangent
        elif targets is None:
            if isinstance(node, Boundary):
                raise node.error()
            before = self._leaves.get(node)
            self._leaves[node] = cotangent if before is None else before + cotangent

    def at(self, node: Any, index: int) -> Tensor | None:
        """What a place has received so far."""
        if self._targets is not None and (node, index) in self._targets:
            return self._targets[node, index]
        if isinstance(node, Record):
            slots = self._pending.get(node)
            if slots is None and node.expanded is not None:
                return self.at(*node.expanded[index])
            return None if slots is None else slots[index]
        return self._leaves.get(node)

    def replace(self, node: Any, index: int, total: Tensor) -> None:
        """Let a place have received ``total``, what it had before included."""
        if self._targets is not None and (node, index) in self._targets:
            self._targets[node, index] = total
        elif node.__class__ is Leaf and self._targets is None:
            self._leaves[node] = total
        elif isinstance(node, Record) and node.expanded is not None and node not in self._pending:
            self.replace(*node.expanded[index], total)
        elif self.at(node, index) is None:
            self.add(node, index, total)
        else:
            self._pending[node][index] = total

    def run(self, retain_graph: bool) -> None:
        """Let the records that have received something send it on, the latest first."""
        heap, pending = self._heap, self._pending
        while heap:
            node = heapq.heappop(heap)[1]
            node.propagate(pending.pop(node), self, retain_graph)

    def finish(self) -> None:
        """Add what the leaves received to their gradients: once each, after everything else went well."""
        for leaf, total in self._leaves.items():
            before = read_grad(leaf)
            set_grad(leaf, total if before is None else before + total)


def backward(
    roots: Sequence[tuple[Any, int, Tensor]],
    create_graph: bool,
    retain_graph: bool,
    targets: dict[Any, Tensor | None] | None = None,
) -> None:
    """Run the tape backwards from ``(node, output index, cotangent)``.

    Gradients are accumulated in the leaves' ``grad``; with ``targets`` ((node, index) -> gradient so far) they are
    put there instead and leaves stay as they are.
    """
    from .tensor import make

    trace, sums = state.trace, Sums(targets)
    with set_grad_enabled(create_graph):
        for node, index, cotangent in roots:
            # A leaf keeps what it is sent: not the caller's own object, whose in-place forms would change the gradient.
            storage = cotangent._storage if trace is None else hooks.value_of(cotangent, trace)
            sums.add(node, index, make(storage, cotangent._spec, cotangent._node, cotangent._index))
        sums.run(retain_graph)
        sums.finish()


def freed(name: str) -> AutogradError:
    """What to raise when a backward pass needs values that an earlier one has freed."""
    return AutogradError(
        f"backward a second time through {name}: the values it needs were freed by the first; use "
        f"backward(retain_graph=True) there"
    )


def _zeros(spec: Any) -> Tensor:
    from ..ops.creation import zeros

    return zeros(spec.shape, dtype=spec.dtype)


def read_grad(leaf: Leaf) -> Any:
    """The leaf's gradient; inside a capture, by reference."""
    if state.trace is not None and state.trace.capture is not None:
        return state.trace.capture.read_grad(leaf)
    return leaf.grad


def set_grad(leaf: Leaf, gradient: Any) -> None:
    """Replace the leaf's gradient; a capture keeps it to itself."""
    if state.trace is not None and state.trace.capture is not None:
        state.trace.capture.write_grad(leaf, gradient)
    else:
        leaf.grad = gradient


def clear_grad(tensor: Tensor, set_to_none: bool = True) -> None:
    """Drop a tensor's gradient, or set it to zero. Dropping does not read it, so that a captured step does not come
    to depend on what the gradient was."""
    if set_to_none:
        tensor.grad = None
    elif tensor.grad is not None:
        tensor.grad = _zeros(tensor._spec)

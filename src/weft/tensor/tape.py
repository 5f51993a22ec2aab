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


class set_grad_enabled:
    """Context manager and decorator: record calls on the tape, or not."""

    def __init__(self, mode: bool = True):
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
            with set_grad_enabled(self.mode):
                return function(*args, **kwargs)

        return inside


class no_grad(set_grad_enabled):
    """Context manager and decorator: calls are not recorded."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Context manager and decorator: calls are recorded, also inside :class:`no_grad`."""

    def __init__(self) -> None:
        super().__init__(True)


class Leaf:
    """The end of the tape: a tensor that gradients are accumulated for."""

    __slots__ = ("grad", "sequence", "spec")

    def __init__(self, spec: Any) -> None:
        self.grad: Tensor | None = None
        self.spec = spec
        self.sequence = next(_sequence)


class Boundary:
    """The end of the tape inside a captured function: an argument that was computed by recorded calls outside."""

    __slots__ = ()


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
    sequence: int


_OWN = object()


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


def backward(
    roots: Sequence[tuple[Any, int, Tensor]],
    create_graph: bool,
    retain_graph: bool,
    targets: dict[Any, Tensor | None] | None = None,
) -> None:
    """Run the tape backwards from ``(node, output index, cotangent)``.

    Gradients are accumulated in the leaves' ``grad``; with ``targets`` (node or (node, index) -> gradient) they are
    put there instead and leaves stay as they are.
    """
    from .tensor import make

    trace = state.trace
    pending: dict[Record, list[Tensor | None]] = {}
    heap: list[tuple[int, Record]] = []

    def send(node: Any, index: int, cotangent: Tensor) -> None:
        if targets is not None and (node, index) in targets:
            before = targets[node, index]
            targets[node, index] = cotangent if before is None else before + cotangent
            return
        if isinstance(node, Boundary):
            if targets is None:
                raise CaptureError(
                    "backward() inside a captured function reaches an argument that was itself computed from something "
                    "that requires grad; call backward() outside of the function, or pass x.detach()"
                )
            return
        if isinstance(node, Leaf):
            if targets is None:
                before = node.grad if trace is None else read_grad(node)
                total = cotangent if before is None else before + cotangent
                if trace is None:
                    node.grad = total
                else:
                    set_grad(node, total)
            return
        slots = pending.get(node)
        if slots is None:
            slots = pending[node] = [None] * len(node.call.out_specs)
            heapq.heappush(heap, (-node.sequence, node))
        before = slots[index]
        slots[index] = cotangent if before is None else before + cotangent

    with set_grad_enabled(create_graph):
        for node, index, cotangent in roots:
            # A leaf keeps what it is sent: not the caller's own object, whose in-place forms would change the gradient.
            storage = cotangent._storage if state.trace is None else hooks.value_of(cotangent, state.trace)
            send(node, index, make(storage, cotangent._spec, cotangent._node, cotangent._index))
        while heap:
            _, node = heapq.heappop(heap)
            cotangents = pending.pop(node)
            if trace is not None and trace.capture is not None and node.sequence < trace.capture.start:
                raise CaptureError(
                    f"backward inside a captured function through {node.call.name}, which was recorded before the "
                    f"capture: compute the loss inside the function too"
                )
            if node.saved is None:
                raise AutogradError(
                    f"backward a second time through {node.call.name}: the values it needs were freed by "
                    f"the first; use backward(retain_graph=True) there"
                )
            operands = [make(s, spec, node if n is _OWN else n, i) for s, spec, n, i in node.saved]
            specs = node.call.out_specs
            operands += [_zeros(spec) if c is None else c for c, spec in zip(cotangents, specs, strict=True)]
            gradients = node.backward.call(operands)
            if not retain_graph:
                node.saved = None
            for (parent, index), gradient in zip(node.parents, gradients, strict=True):
                send(parent, index, gradient)


def _zeros(spec: Any) -> Tensor:
    from ..ops.creation import zeros

    return zeros(spec.shape, dtype=spec.dtype)


def read_grad(leaf: Leaf) -> Any:
    """The leaf's gradient; inside a capture, by reference."""
    if state.trace is not None and state.trace.capture is not None:
        return state.trace.capture.read_grad(leaf)
    return leaf.grad


def set_grad(leaf: Leaf, gradient: Any) -> None:
    """Replace the leaf's gradient; a capture takes note."""
    if state.trace is not None and state.trace.capture is not None:
        state.trace.capture.write_grad(leaf)
    leaf.grad = gradient


def clear_grad(tensor: Tensor, set_to_none: bool = True) -> None:
    """Drop a tensor's gradient, or set it to zero. Dropping does not read it, so that a captured step does not come
    to depend on what the gradient was."""
    if set_to_none:
        tensor.grad = None
    elif tensor.grad is not None:
        tensor.grad = _zeros(tensor._spec)

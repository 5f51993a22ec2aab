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

from ..core.errors import AutogradError

if TYPE_CHECKING:
    from .calls import Backward, GraphCall
    from .tensor import Tensor

__all__ = ["Leaf", "Record", "backward", "enable_grad", "no_grad", "record", "recording", "set_grad_enabled"]


class _Recording(threading.local):
    """Whether calls are recorded; one flag a thread, changed by :class:`no_grad` and :class:`enable_grad`."""

    enabled = True


recording = _Recording()
_sequence = count()


class set_grad_enabled:  # noqa: N801 - PyTorch's name
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


class no_grad(set_grad_enabled):  # noqa: N801 - PyTorch's name
    """Context manager and decorator: calls are not recorded."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):  # noqa: N801 - PyTorch's name
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


class Record:
    """One call: its gradient graph, the values it needs, and where its operands came from."""

    __slots__ = ("backward", "name", "out_specs", "parents", "saved", "sequence")

    def __init__(self, backward: Backward, parents: tuple[tuple[Any, int], ...], saved: tuple[Tensor, ...],
                 out_specs: tuple[Any, ...], name: str):
        self.backward, self.parents, self.saved, self.out_specs, self.name = backward, parents, saved, out_specs, name
        self.sequence = next(_sequence)


def now() -> int:
    """The next sequence number: what is made later has a greater one."""
    return next(_sequence)


def record(call: GraphCall, tensors: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Put a call on the tape: its floating outputs get a Record as their node."""
    wanted = tuple(t._node is not None and t._spec.dtype.is_floating for t in tensors)
    if True not in wanted or not any(o._spec.dtype.is_floating for o in outputs):
        return
    gradient = call.backward(wanted)
    saved = [_alias(tensors[i]) for i in gradient.needs_inputs]
    parents = tuple((t._node, t._index) for t, w in zip(tensors, wanted, strict=True) if w)
    made = Record(gradient, parents, (), call.out_specs, call.name)
    for i, output in enumerate(outputs):
        if output._spec.dtype.is_floating:
            output._node, output._index = made, i
    made.saved = (*saved, *(_plain(outputs[i]) for i in gradient.needs_outputs))


def _alias(tensor: Tensor) -> Tensor:
    """A tensor of the same value and history that later rebinding of ``tensor`` does not touch."""
    from ..ops.op import state
    from .calls import value_of
    from .tensor import make

    storage = tensor._storage if state.trace is None else value_of(tensor, state.trace)
    return make(storage, tensor._spec, tensor._node, tensor._index)


class _Plain:
    """A result that a Record keeps. It must not keep the Record itself, or neither would ever be freed."""

    __slots__ = ("index", "spec", "storage")

    def __init__(self, storage: Any, spec: Any, index: int):
        self.storage, self.spec, self.index = storage, spec, index


def _plain(tensor: Tensor) -> Any:
    return _Plain(tensor._storage, tensor._spec, tensor._index)


def _restore(saved: Any, made: Record) -> Any:
    from .tensor import make

    return make(saved.storage, saved.spec, made, saved.index) if isinstance(saved, _Plain) else saved


def backward(roots: Sequence[tuple[Any, int, Tensor]], create_graph: bool, retain_graph: bool,
             targets: dict[Any, Tensor | None] | None = None) -> None:
    """Run the tape backwards from ``(node, output index, cotangent)``.

    Gradients are accumulated in the leaves' ``grad``; with ``targets`` (node or (node, index) -> gradient) they are
    put there instead and leaves stay as they are.
    """
    pending: dict[Record, list[Tensor | None]] = {}
    heap: list[tuple[int, Record]] = []

    def send(node: Any, index: int, cotangent: Tensor) -> None:
        if targets is not None and (node, index) in targets:
            before = targets[node, index]
            targets[node, index] = cotangent if before is None else before + cotangent
            return
        if isinstance(node, Leaf):
            if targets is None:
                set_grad(node, cotangent if read_grad(node) is None else read_grad(node) + cotangent)
            return
        slots = pending.get(node)
        if slots is None:
            slots = pending[node] = [None] * len(node.out_specs)
            heapq.heappush(heap, (-node.sequence, node))
        before = slots[index]
        slots[index] = cotangent if before is None else before + cotangent

    with set_grad_enabled(create_graph):
        for node, index, cotangent in roots:
            send(node, index, cotangent)
        while heap:
            _, node = heapq.heappop(heap)
            cotangents = pending.pop(node)
            if node.saved is None:
                raise AutogradError(f"backward a second time through {node.name}: the values it needs were freed by "
                                    f"the first; use backward(retain_graph=True) there")
            filled = [_zeros(spec) if c is None else c for c, spec in zip(cotangents, node.out_specs, strict=True)]
            gradients = node.backward.call([*(_restore(s, node) for s in node.saved), *filled])
            if not retain_graph:
                node.saved = None
            for (parent, index), gradient in zip(node.parents, gradients, strict=True):
                send(parent, index, gradient)


def _zeros(spec: Any) -> Tensor:
    from ..ops.creation import zeros

    return zeros(spec.shape, dtype=spec.dtype)  # type: ignore[no-any-return]


def read_grad(leaf: Leaf) -> Any:
    """The leaf's gradient; inside a capture, by reference."""
    from ..ops.op import state

    if state.trace is not None and state.trace.capture is not None:
        return state.trace.capture.read_grad(leaf)
    return leaf.grad


def set_grad(leaf: Leaf, gradient: Any) -> None:
    """Replace the leaf's gradient; a capture takes note."""
    from ..ops.op import state

    if state.trace is not None and state.trace.capture is not None:
        state.trace.capture.write_grad(leaf)
    leaf.grad = gradient

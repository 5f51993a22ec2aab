"""The tape: which calls made a tensor, so that gradients can flow back through them.

A tensor's ``_node`` is a :class:`Leaf` (a parameter), a :class:`Record` (a call's output) or None (no gradient). A
Record keeps the values that its gradient needs: their storages, and how often these had been written by then. A value
that was written since is found out when the gradient asks for it.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence
from itertools import count
from sys import _getframe
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import AutogradError, CaptureError
from ..graph.ir import Value
from ..ops.op import hooks, state
from ..runtime import storage as storages
from . import gradient_hooks
from .gradient_hooks import ever, retaining
from .lines import place as called_at
from .lines import user_code, where_of

if TYPE_CHECKING:
    from .alias import Way
    from .calls import GraphCall
    from .joint_pass import run_joint  # they put them here: they import this module
    from .tensor import Tensor, make
    from .windows import Box, Window


class _Recording(threading.local):
    """Whether calls are recorded; one flag a thread, changed by :class:`no_grad` and :class:`enable_grad`."""

    enabled = True


recording = _Recording()
_sequence = count()
F = TypeVar("F", bound=Callable[..., Any])


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

    def __call__(self, function: F) -> F:
        import functools

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _Mode(self.mode):
                return function(*args, **kwargs)

        return inside  # type: ignore[return-value]


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

    def __call__(self, function: F) -> F:
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
    """The end of the tape: a tensor that gradients are accumulated for, except while it ``rests``, which it does when
    its tensor has stopped requiring grad. ``before``: hooks on what arrives; ``after``: the tensor, and hooks on it
    when its gradient is there."""

    __slots__ = ("__weakref__", "after", "before", "grad", "rests", "sequence", "spec")

    def __init__(self, spec: Any) -> None:
        self.grad: Tensor | None = None
        self.before: gradient_hooks.Hooks | None = None
        self.after: tuple[Tensor, gradient_hooks.Hooks] | None = None
        self.rests = False
        self.spec = spec
        self.sequence = next(_sequence)

    def guarded(self) -> tuple[Any, ...]:
        """The hooks, as a captured function that differentiates is specialised on them."""
        before, after = self.before or {}, self.after[1] if self.after else {}
        return (tuple(before.values()), tuple(after.values())) if before or after else ()


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


class Stale:
    """The end of the tape at a view that was made under no_grad and whose base was given a history since: no history
    can follow, as in PyTorch."""

    __slots__ = ()

    def error(self) -> AutogradError:
        """What to raise when backward() gets here."""
        return AutogradError(
            "backward through a view that was made under no_grad, and whose base was changed in place with gradients "
            "recorded since; make the view where gradients are recorded, or clone() it"
        )


class Record:
    """One call: its gradient graph, the values it needs, and where its operands came from.

    ``saved`` holds (storage, spec, node, index, version) of operands, and of results with OWN for the node: a Record
    that held its own results would never be freed by reference counting. ``place`` is where the call was made.
    ``hooks``, on gradients of outputs, by their numbers, are there where somebody has registered one.
    """

    __slots__ = ("backward", "call", "hooks", "parents", "place", "saved", "sequence")

    backward: Any  # a Backward, or what stands for one: Window, Pulls (tensor/windows.py)
    call: Any  # a GraphCall, or what stands for one: only the name and the specs of the results are asked for
    parents: tuple[tuple[Any, int], ...]
    place: Any
    saved: Sequence[tuple[Any, Any, Any, int, int]] | None
    sequence: float
    hooks: dict[int, gradient_hooks.Hooks]
    is_many = False  # whether it hands its cotangents to records of its own, which then have the hooks
    expanded: list[tuple[Any, int]] | None = None  # of a call of many records: for each output the one that made it

    def propagate(self, cotangents: list[Tensor | None], sums: Sums, retain_graph: bool) -> None:
        """Send the cotangents of the outputs on to the operands."""
        operands, gradient = kept(self), self.backward
        if len(cotangents) > 1 and any(c is None for c in cotangents) and gradient.skips:
            gradient, operands = _without(self, operands, tuple([c is not None for c in cotangents]))
            operands += [c for c in cotangents if c is not None]
        else:
            specs = self.call.out_specs
            operands += [_zeros(spec) if c is None else c for c, spec in zip(cotangents, specs, strict=True)]
        if gradient.__class__ is Window and sums.add_part(*self.parents[0], gradient, operands[0]):
            return
        gradients = gradient.call(operands)
        if not retain_graph and self.saved:  # what keeps nothing has nothing to free
            self.saved = None
        sums.add_all(self.parents, gradients, operands)


def _without(record: Record, saved: list[Tensor], present: tuple[bool, ...]) -> tuple[Any, list[Tensor]]:
    """The gradient of a call some of whose results have received nothing, and what that needs of what was saved."""
    whole = record.backward
    part = record.call.backward((*whole.asked, *present))
    numbers = [*whole.needs_inputs, *(~i for i in whole.needs_outputs)]
    by_number = dict(zip(numbers, saved, strict=True))
    return part, [by_number[n] for n in (*part.needs_inputs, *(~i for i in part.needs_outputs))]


def kept(record: Record) -> list[Tensor]:
    """The values that a record has kept.

    Raises:
        AutogradError: they were freed, or written since.
    """
    if record.saved is None:
        raise freed(record.call.name)
    found = []
    for storage, spec, node, index, version in record.saved:
        if storage.__class__ is Value:
            _check_traced(storage, record)
        elif storage.version != version:
            raise overwritten(record.call.name, spec, where_of(record.place), storage.note)
        found.append(make(storage, spec, record if node is _OWN else node, index))
    return found


def _check_traced(value: Value, record: Record) -> None:
    """As versions do outside of captures: a value that the captured function has written since."""
    trace = state.trace
    if trace is not None and trace.capture is not None:
        written = trace.capture.overwritten.get(value)
        if written is not None:
            raise overwritten(record.call.name, value.type, where_of(record.place), written)


def overwritten(name: str, what: Any, saved: Any, written: Any) -> AutogradError:
    """What to raise when a value that backward needs was written since; ``saved`` and ``written`` are (file, line)."""
    told = f"\n  {name} called at {saved[0]}:{saved[1]}" if saved else ""
    told += f"\n  written at {written[0]}:{written[1]}" if written else ""
    return AutogradError(
        f"backward needs a value {what!r} that {name} has kept, and that was changed in place since; change a clone() "
        f"instead, or use the out-of-place form{told}"
    )


_OWN = object()


def own(index: int) -> tuple[Any, int]:
    """The place of a value that a record saved of its own outputs."""
    return _OWN, index


def is_own(node: Any) -> bool:
    """Whether a saved value is an output of the record itself."""
    return node is _OWN


def let_record(gradient: type) -> None:
    """Say what native records are, and what gradients they have."""
    storages.record_kind(Record, gradient, _sequence, _OWN)


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
    if True not in gradient.flows:
        return
    where = called_at() if gradient.needs_values else None
    if state.trace is not None or not _put(gradient, call, wanted, tuple(tensors), tuple(outputs), where):
        record_in_steps(gradient, call, wanted, tensors, outputs, where)


def record_pair(call: GraphCall, a: Tensor, b: Tensor, output: Tensor) -> None:
    """:func:`record` for the commonest call, two operands and one result, outside of captures: half the time."""
    number = (a._node is not None) + 2 * (b._node is not None)
    gradient = call.pairs[number]
    if gradient is None:
        record(call, (a, b), (output,))
        if output._node is not None:
            call.pairs[number] = output._node.backward
        return
    where = None
    if gradient.needs_values:
        frame = _getframe(2)  # behind the operator
        code = frame.f_code
        where = (code, frame.f_lasti) if id(code) in user_code else called_at(3)
    if not _put(gradient, call, _PAIRS[number], (a, b), (output,), where):
        record_in_steps(gradient, call, _PAIRS[number], (a, b), (output,), where)


_PAIRS = ((False, False), (True, False), (False, True), (True, True))


def record_in_steps(
    gradient: Any,
    call: Any,
    wanted: tuple[bool, ...],
    tensors: Sequence[Tensor],
    outputs: Sequence[Tensor],
    where: Any,
) -> None:
    """:func:`record`, written out: in a capture, and what ``storages.record`` does in one native call."""
    nodes = [t._node for t in tensors]  # once: another thread may be writing what these are views of
    if tuple([node is not None for node in nodes]) != wanted:
        return record(call, tensors, outputs)
    made = Record()
    made.backward = gradient
    made.call = call
    made.sequence = next(_sequence)
    made.parents = tuple([(n, t._index) for n, t in zip(nodes, tensors, strict=True) if n is not None])
    made.place = where
    trace = state.trace
    if trace is None:
        save = storages.save
        saved = []
        for i in gradient.needs_inputs:
            t = tensors[i]
            saved.append((t._storage, t._spec, t._node, t._index, save(t._storage)))
        for i in gradient.needs_outputs:
            t = outputs[i]
            saved.append((t._storage, t._spec, _OWN, i, save(t._storage)))
    else:
        saved = [
            (hooks.value_of(t, trace), t._spec, t._node, t._index, 0)
            for t in [tensors[i] for i in gradient.needs_inputs]
        ]
        saved += [(outputs[i]._storage, outputs[i]._spec, _OWN, i, 0) for i in gradient.needs_outputs]
    made.saved = saved
    for i, output in enumerate(outputs):
        if gradient.flows[i]:
            output._node, output._index = made, i


def _choose_put(*call: Any) -> bool:
    """Choose the native call, if it makes what :func:`record_in_steps` makes; called for the first record of a
    process."""
    global _put
    from .native_tape import chosen

    _put = chosen()
    return _put(*call)


_put: Callable[..., bool] = _choose_put


def record_view(way: Way, source: Tensor, view: Tensor) -> None:
    """:func:`record` for a view of a tensor that has a history, outside of captures: nothing is kept."""
    view._node = made = Record()  # as keep_nothing(), without a call more
    made.call, made.backward = way.history or way.find_history()
    made.sequence = next(_sequence)
    made.parents = ((source._node, source._index),)
    made.place, made.saved = None, ()


def keep_nothing(call: Any, backward: Any, parents: tuple[tuple[Any, int], ...]) -> Record:
    """A record of a call of which nothing has to be kept."""
    made = Record()
    made.backward = backward
    made.call = call
    made.sequence = next(_sequence)
    made.parents = parents
    made.place, made.saved = None, ()
    return made


class Sums:
    """The cotangents that a backward pass has collected so far, by where they are going.

    Contributions to one place are added in the order in which they arrive (docs/numerics.md, Gradients): records from
    the last to the first, and the operands of a record from left to right.
    """

    __slots__ = ("_heap", "_leaves", "_lent", "_made", "_pending", "_targets", "retained")

    def __init__(self, targets: dict[Any, Tensor | None] | None):
        self._targets = targets
        self._leaves: dict[Leaf, Tensor] = {}
        self._lent: set[Any] = set()  # leaves, or targets, whose total is memory of something else too
        # Of places whose totals were made here, by node and index: where an element may be -0.0 (None: anywhere).
        self._made: dict[Any, dict[int, Box | None]] = {}
        self._pending: dict[Record, list[Tensor | None]] = {}
        self._heap: list[tuple[float, Record]] = []
        # Places whose gradients tensors keep.
        self.retained = gradient_hooks.places_retained() if retaining else {}

    def add(self, node: Any, index: int, cotangent: Tensor) -> None:
        """Send a contribution to output ``index`` of a node."""
        targets = self._targets
        if targets is not None and (node, index) in targets:
            before = targets[node, index]
            targets[node, index] = cotangent if before is None else before + cotangent
            self._lent.discard((node, index))
        elif isinstance(node, Record):
            received = self._pending.get(node)
            if received is None:
                if node.expanded is not None:
                    self.add(*node.expanded[index], cotangent)
                    return
                received = self._pending[node] = [None] * len(node.call.out_specs)
                heapq.heappush(self._heap, (-node.sequence, node))
            before = received[index]
            received[index] = cotangent if before is None else before + cotangent
        elif targets is None or node.__class__ is Stale:
            if isinstance(node, (Boundary, Stale)):
                raise node.error()
            before = self._leaves.get(node)
            self._leaves[node] = cotangent if before is None else before + cotangent
            self._lent.discard(node)

    def add_all(
        self, places: Sequence[tuple[Any, int]], cotangents: Sequence[Tensor], sources: Sequence[Tensor]
    ) -> None:
        """Send contributions, computed from ``sources``, to their places. Some may be a source, or each other, handed
        on as it is."""
        targets = self._targets
        for number, ((node, index), cotangent) in enumerate(zip(places, cotangents, strict=True)):
            self.add(node, index, cotangent)
            if targets is None and node.__class__ is not Leaf:
                continue
            kept = self._leaves.get(node) if targets is None else targets.get((node, index))
            if kept is cotangent and is_lent(cotangent, cotangents[:number], sources):
                self._lent.add(node if targets is None else (node, index))

    def add_part(self, node: Any, index: int, window: Window, part: Tensor) -> bool:
        """Send to a place zeros with ``part`` in a window; whether that was done, which it is not where it is recorded.

        What is there is added to in its own memory where that gives the same bits: where it was made here, and no
        element outside of the window can be -0.0, which zeros would change. So the n columns of a matrix cost as much
        as the matrix, not n times that.
        """
        if recording.enabled or state.trace is not None:
            return False
        node, index = self._place(node, index)
        left = self._made.get(node, {}).get(index)
        before = self._received(node, index) if left is not None and window.covers(left) else None
        if before is not None:
            window.add(before, part)
        else:  # zeros were added everywhere else: what was there has no -0.0 now
            self.add(node, index, window.spread(part))
            self._made.setdefault(node, {})[index] = window.common(left)
        return True

    def lend(self, node: Any, index: int) -> None:
        """Note that what a place has just received is not its own."""
        if self._targets is not None and (node, index) in self._targets:
            self._lent.add((node, index))
        elif node.__class__ is Leaf:
            self._lent.add(node)

    def receive(self, leaf: Leaf, total: Tensor, lent: bool) -> None:
        """Let a leaf have received ``total``, and nothing before."""
        place: Any = leaf
        if self._targets is None:
            self._leaves[leaf] = total
        else:
            place = leaf, 0
            if place not in self._targets:
                return
            self._targets[place] = total
        if lent:
            self._lent.add(place)

    @property
    def is_joint(self) -> bool:
        """Whether it may be one native call (joint_pass.py): nothing is asked for between the root and the leaves."""
        return not self.retained and all(node.__class__ is Leaf for node, _ in self._targets or ())

    def at(self, node: Any, index: int) -> Tensor | None:
        """What a place has received so far, which stays as it is from now on."""
        node, index = self._place(node, index)
        self._made.pop(node, None)
        return self._received(node, index)

    def _place(self, node: Any, index: int) -> tuple[Any, int]:
        """Where contributions to a place are collected."""
        targets, pending = self._targets, self._pending
        while isinstance(node, Record) and node.expanded is not None and node not in pending:
            if targets is not None and (node, index) in targets:
                break
            node, index = node.expanded[index]
        return node, index

    def _received(self, node: Any, index: int) -> Tensor | None:
        if self._targets is not None and (node, index) in self._targets:
            return self._targets[node, index]
        if isinstance(node, Record):
            received = self._pending.get(node)
            return None if received is None else received[index]
        return self._leaves.get(node)

    def replace(self, node: Any, index: int, total: Tensor, lent: bool = False) -> None:
        """Let a place have received ``total``, what it had before included. ``lent``: it is memory of something else
        too."""
        node, index = self._place(node, index)
        self._made.pop(node, None)
        if self._targets is not None and (node, index) in self._targets:
            self._targets[node, index] = total
            (self._lent.add if lent else self._lent.discard)((node, index))
        elif node.__class__ is Leaf and self._targets is None:
            self._leaves[node] = total
            (self._lent.add if lent else self._lent.discard)(node)
        elif self._received(node, index) is None:
            self.add(node, index, total)
        else:
            self._pending[node][index] = total

    def run(self, retain_graph: bool) -> None:
        """Let the records that have received something send it on, the latest first."""
        heap, pending = self._heap, self._pending
        while heap:
            node = heapq.heappop(heap)[1]
            cotangents = pending.pop(node)
            self._made.pop(node, None)
            if (ever or self.retained) and not node.is_many:
                gradient_hooks.run_at(node, cotangents, self.retained)
            node.propagate(cotangents, self, retain_graph)

    def _finish_hooks(self) -> None:
        """Let the hooks of leaves, or of the targets, change what was received. What they leave may be anybody's."""
        for leaf, total in self._leaves.items():
            if leaf.before:
                self._leaves[leaf] = gradient_hooks.changed(total, leaf.before)
                self._lent.add(leaf)
        for place, total_ in (self._targets or {}).items():
            node, index = place
            hooked = node.before if isinstance(node, Leaf) else getattr(node, "hooks", {}).get(index)
            if hooked and total_ is not None and self._targets is not None:
                self._targets[place] = gradient_hooks.changed(total_, hooked)
                self._lent.add(place)

    def finish(self) -> None:
        """Add what the leaves received to their gradients: once each, after everything else went well. A gradient
        that is there is written in place, so that whoever holds it sees the sum; unless calls are recorded."""
        targets, trace = self._targets, state.trace
        if trace is not None and trace.capture is not None:
            trace.capture.read_hooks(list(self._leaves))
        if ever:
            self._finish_hooks()
        for place in self._lent if targets is not None else ():
            lent = targets[place] if targets is not None else None
            if targets is not None and lent is not None:
                targets[place] = _owned(lent)
        for leaf, total in self._leaves.items():
            if leaf.rests:
                continue
            before = read_grad(leaf)
            if before is None:
                set_grad(leaf, _owned(total) if leaf in self._lent else total)
            elif recording.enabled:
                set_grad(leaf, before + total)
            else:
                before += total
        for leaf in list(self._leaves) if ever else ():
            if leaf.after and leaf.after[1] and not leaf.rests:
                tensor, hooked = leaf.after
                if trace is not None and trace.capture is not None:
                    tensor = trace.capture.handed(leaf, tensor)
                gradient_hooks.call_after(tensor, hooked)


def is_lent(cotangent: Tensor, earlier: Sequence[Tensor], sources: Sequence[Tensor]) -> bool:
    """Whether a cotangent is one of these others as it is."""
    storage = cotangent._storage
    return any(storage is t._storage for t in sources) or any(storage is t._storage for t in earlier)


def _owned(tensor: Tensor) -> Tensor:
    """The same value in memory of its own."""
    from ..ops.elementwise import clone

    copied: Tensor = clone(tensor)
    return copied


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
    trace, sums = state.trace, Sums(targets)
    with set_grad_enabled(create_graph):
        joint = trace is None and not create_graph and len(roots) == 1 and sums.is_joint
        if joint and run_joint(*roots[0], sums, retain_graph):
            sums.finish()
            return
        for node, index, cotangent in roots:
            # A leaf keeps what it is sent: not the caller's own object, whose in-place forms would change the gradient.
            storage = cotangent._storage if trace is None else hooks.value_of(cotangent, trace)
            sums.add(node, index, make(storage, cotangent._spec, cotangent._node, cotangent._index))
            sums.lend(node, index)
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

    return zeros(spec.shape, dtype=spec.dtype, device=spec.device)


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
        gradient = tensor.grad
        with no_grad():
            gradient.zero_()
        gradient._node = None  # zeros have no history

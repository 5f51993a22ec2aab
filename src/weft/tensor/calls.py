"""Calls: a graph that can be run, inlined into a capture, and differentiated.

A :class:`GraphCall` owns one traced graph, its executables (one for each combination of operand strides) and its
gradient graphs. The gradient of a graph is a graph, hence a GraphCall: gradients of any order are calls like others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..core.device import CPU, Device
from ..core.dtypes import DType
from ..core.errors import ArgumentError, CaptureError, CompileError, DeviceError, IndexError_, WeftError, user_line
from ..core.shapes import is_static, strides_of, substitute
from ..graph.called import CALL, body_of
from ..graph.executable import Executable, build
from ..graph.ir import Graph, Node, Value, inline, make_node, subgraphs
from ..graph.protocol import COPY, Gather, Layout, Loop, Scatter, View
from ..graph.simplify import simplify
from ..graph.specialise import specialise
from ..ops.op import Trace, state
from ..ops.reverse import active_values, reverse
from ..runtime.devices import target_of
from ..runtime.pool import get_num_threads
from ..runtime.program import NOT_DONE, HostError, KernelStatus
from . import tape
from .caches import epoch
from .capturing import settled
from .spec import Spec, spec_of
from .tensor import Tensor, make

_STRIDES = 64  # of operands, for which executables of one graph are kept: the oldest go
_NUMERIC = 16  # numbers for which a graph with symbols is kept
_TRIES = 2  # of a call whose operands had no value at first


def wrap(value: Value) -> Tensor:
    """A traced tensor."""
    device = CPU if state.trace is None else state.trace.device
    return make(value, spec_of(value.dtype, value.shape, None, device), None, 0)


class GraphCall:
    """A graph as a function on tensors of one device.

    is_view: its results look at the memory of its one operand, where strides can say so. hands_on: a result may be an
    operand as it is (cotangents that pass through a gradient); else results own their memory. in_place: an in-place
    form, whose result requires grad where the operand did (``x.zero_()``), as in PyTorch. is_update: its results are
    written over its operands, and captured code has it as one node where it can (graph/called.py).
    """

    __slots__ = (
        *("_body", "backwards", "device", "epoch", "executables", "gradient", "graph", "hands_on", "in_place"),
        *("is_update", "is_view", "name", "numeric", "out_specs", "pairs", "quick"),
    )

    def __init__(
        self, graph: Graph, device: Device = CPU, is_view: bool = False, hands_on: bool = False, in_place: bool = False
    ):
        self.graph = simplify(graph)
        specs = tuple(spec_of(v.dtype, v.shape, None, device) for v in graph.outputs)
        self.set_up(graph.name, device, specs, is_view, hands_on, in_place)

    def set_up(
        self, name: str, device: Device, out_specs: tuple[Spec, ...], is_view: bool, hands_on: bool, in_place: bool
    ) -> None:
        """Everything but the graph."""
        self.name, self.device, self.out_specs = name, device, out_specs
        self.is_view, self.hands_on, self.in_place = is_view, hands_on, in_place
        self.is_update = False
        self._body: dict[str, Graph] | None = None  # of the nodes that it is in captured code; {}: it is no node
        self.executables: dict[tuple[Any, ...], Executable] = {}
        # By the operands' specs: the native call, its number of outputs, and where each result comes from.
        self.quick: dict[tuple[Spec, ...], tuple[Any, int, tuple[int, ...]]] = {}
        self.epoch = epoch.number
        # (result, its cotangent, operand) -> the operand's cotangent, where a function of one tensor says it itself.
        self.gradient: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
        self.backwards: dict[tuple[bool, ...], Backward] = {}
        self.numeric: dict[tuple[tuple[str, int], ...], GraphCall] = {}
        self.pairs: list[Backward | None] = [None] * 4  # for two operands: by which of them want a gradient

    def views_of(self, spec: Spec) -> list[tuple[Spec, int]] | None:
        """Where the results lie in the memory of an operand with these strides: for each its spec and byte offset; None
        where strides cannot say it."""
        found = self.layouts_of(Layout(spec.static_shape, 0, spec.strides))
        if found is None:
            return None
        return [placed(spec.dtype, at, self.device) for spec, at in zip(self.out_specs, found, strict=True)]

    def layouts_of(self, source: Layout) -> list[Layout] | None:
        """Where the results lie in memory in which the operand lies like this; None where strides cannot say it."""
        return layouts_in(self.graph, source)

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes of its graph, for what does not depend on sizes."""
        return self.graph.nodes

    def executable(self, specs: Sequence[Spec], targets: tuple[int, ...] = ()) -> Executable:
        """The executable for operands with these strides. ``targets``: the operands over which the results, in their
        order, are written; further results are new."""
        if self.epoch != epoch.number:
            self.executables.clear()
            self.quick.clear()
            self.epoch = epoch.number
        key = (targets, *[s.strides for s in specs])
        found = self.executables.get(key)
        if found is None:
            self._check_device(specs)
            if len(self.executables) >= _STRIDES:
                self.executables.pop(next(iter(self.executables)), None)
            found = self.executables[key] = self._build(specs, targets)
        return found

    def _build(self, specs: Sequence[Spec], targets: tuple[int, ...]) -> Executable:
        graph, count = self.graph, len(targets)
        outputs = graph.outputs
        return build(
            graph.copy(outputs=outputs[count:]),
            [s.strides for s in specs],
            list(zip(targets, outputs[:count], strict=True)),
            target_of(self.device),
            get_num_threads(),
            hand_on=self.hands_on,
            device=self.device,
        )

    def _check_device(self, specs: Sequence[Spec]) -> None:
        """Raises:
        DeviceError: an operand is not on the device that the graph runs on.
        """
        other = next((s for s in specs if s.device is not self.device), None)
        if other is not None:
            raise DeviceError(
                f"{self.name}: runs on {self.device}, and an operand is {other.placed}; move it first: x.to(device)"
            )

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run, or inline into the capture that is going on; record on the tape where a gradient may be asked for."""
        trace = state.trace
        if trace is not None:
            values = [value_of(t, trace) for t in tensors]
            found = self._recorded(values, trace, user_line(2))
            if trace.capture is not None:
                if not self.is_view and not self.hands_on:
                    found = _own(found, values, trace)
                outputs = tuple([wrap(v) for v in found])
                trace.capture.made(outputs)
                if self.is_view:
                    _show(self, tensors[0], outputs)
            else:
                outputs = tuple([wrap(v) for v in found])
        else:
            outputs = self.run(tensors)
        if tape.recording.enabled:
            for t in tensors:
                if t._node is not None:
                    tape.record(self, tensors, outputs)
                    break
        return outputs

    def _recorded(self, values: list[Value], trace: Trace, where: tuple[str, int] | None) -> list[Value]:
        """The results in a graph that is traced."""
        scope = (*trace.scope, self.name)
        if self.is_update and trace.capture is not None and not tape.recording.enabled:
            if self._body is None:
                body = body_of(self.graph)
                self._body = {} if body is None else {"body": body}
            if self._body:
                node = make_node(CALL, values, self._body, where, scope)
                trace.nodes.append(node)
                return list(node.outputs)
        return inline(self.graph, values, trace.nodes, scope, where)

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The outputs of one eager run."""
        key = tuple([t._spec for t in tensors])
        quick = self.quick.get(key) if self.epoch == epoch.number else None
        if quick is None:
            self._check_device(key)
            exe = self.executable(key)
            numbers = tuple(exe.results)
            # A graph that only hands its inputs on (the gradient of a sum) has nothing to run.
            native = exe.program.call if exe.plan.outputs else None
            if len(self.quick) >= _STRIDES:
                self.quick.pop(next(iter(self.quick)), None)
            quick = self.quick[key] = (native, len(exe.plan.outputs), numbers)
        native, count, numbers = quick
        if native is None:
            if any(isinstance(t._storage, Value) for t in tensors) and not settled(tensors):
                raise traced_error(tensors)
            return tuple([make(tensors[~n]._storage, tensors[~n]._spec, None, 0) for n in numbers])
        try:
            made = native(*[t._storage for t in tensors])
        except (KernelStatus, TypeError) as error:
            made = again(error, self, native, tensors)
        if count == 1:
            made = (made,)
        outputs = []
        for number, spec in zip(numbers, self.out_specs, strict=True):
            if number >= 0:
                outputs.append(make(made[number], spec, None, 0))
            else:
                outputs.append(make(tensors[~number]._storage, tensors[~number]._spec, None, 0))
        return tuple(outputs)

    def status_error(self, error: KernelStatus, tensors: Sequence[Tensor], captured: bool = False) -> WeftError:
        """What to raise when a kernel says that an index was out of range: names the op, the index and the size; of a
        captured graph also the line that asked for the op. What Python code inside a run raised, it raises."""
        if isinstance(error, HostError):
            error.raise_error(named=captured)
        if error.bits == NOT_DONE:
            return _goes_on(self.graph)
        node, detail = _offending_index(self.graph, tensors)
        if captured and node is None:  # in a body, whose operands nobody has kept
            inside = [n for n in _inner_nodes(self.graph) if isinstance(n.op.lower, (Gather, Scatter))]
            node = inside[0] if len({n.where for n in inside}) == 1 else None
        if not captured or node is None:
            return IndexError_(f"{self.name}: {detail}")
        found = IndexError_(f"{node.scope[0] if node.scope else node.op.name}: {detail}")
        found.where = node.where or found.where
        return found

    def at(self, sizes: Mapping[str, int]) -> GraphCall:
        """The call for certain numbers, of a graph with symbols for sizes."""
        key = tuple(sizes.items())
        found = self.numeric.get(key)
        if found is None:
            if len(self.numeric) >= _NUMERIC:
                self.numeric.clear()
            graph = specialise(self.graph, sizes)
            found = GraphCall(graph, self.device, self.is_view, self.hands_on, self.in_place)
            found.gradient = self.gradient
            self.numeric[key] = found
        return found

    def backward(self, wanted: tuple[bool, ...]) -> Backward:
        """The gradient with respect to the inputs that are wanted."""
        found = self.backwards.get(wanted)
        if found is None:
            found = self.backwards[wanted] = self._differentiate(wanted)
        return found

    def _differentiate(self, wanted: tuple[bool, ...]) -> Backward:
        return Backward(self, wanted)


def layouts_in(graph: Graph, source: Layout, sizes: Mapping[str, int] | None = None) -> list[Layout] | None:
    """Where the results of a graph of views lie in memory in which its input lies like this; None where strides cannot
    say it. ``sizes``: the numbers of its symbols."""
    layouts = {graph.inputs[0]: source}
    for node in graph.nodes:
        if not isinstance(node.op.lower, View):
            return None
        params = node.params if sizes is None else {k: substitute(v, sizes) for k, v in node.params.items()}
        moved = node.op.lower.layout(params, layouts[node.inputs[0]])
        if moved is None or any(is_static((s,)) and s < 0 for s in moved.strides):
            return None  # a window begins at its first element
        layouts[node.output] = moved
    return [layouts[v] for v in graph.outputs]


def again(error: Exception, call: GraphCall, native: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
    """What a native call that has failed comes to: the user's error where a kernel has reported a status; where an
    operand had no value yet (it is of another thread's capture), the call once more, with what it has then.

    Raises:
        WeftError: it is not to be mended.
    """
    for _ in range(_TRIES):
        if isinstance(error, KernelStatus) or not settled(tensors):
            break
        try:
            return native(*[t._storage for t in tensors])
        except (KernelStatus, TypeError) as later:
            error = later
    if isinstance(error, KernelStatus):
        raise call.status_error(error, tensors) from None
    raise traced_error(tensors) from None


def placed(dtype: DType, layout: Layout, device: Device) -> tuple[Spec, int]:
    """The spec of what lies in memory like this, and its byte offset."""
    strides = strides_of(layout.shape) if layout.is_contiguous else layout.strides
    return spec_of(dtype, layout.shape, strides, device), layout.offset * dtype.itemsize


def _own(found: list[Value], values: list[Value], trace: Trace) -> list[Value]:
    """The results of a traced call as values of their own: memory is known by its value."""
    seen, own = set(values), []
    for value in found:
        own.append(trace.add(COPY, [value], {}).output if value in seen else value)
        seen.add(value)
    return own


def _show(call: GraphCall, source: Tensor, outputs: Sequence[Tensor]) -> None:
    """Note that the results of a traced call of a view are views, where the ones of an eager call would be."""
    from .alias import TRACKED, UNTRACKED, attach, root_of

    trace = state.trace
    assert trace is not None and trace.capture is not None
    source = trace.capture.inside(source)
    places = call.views_of(source._spec)
    if places is None:
        return
    for number, (output, (spec, _)) in enumerate(zip(outputs, places, strict=True)):
        output._spec = spec
        attach(output, source, (call, number), TRACKED if tape.recording.enabled else UNTRACKED)
        trace.capture.expose(root_of(output), output._storage)


def _offending_index(graph: Graph, tensors: Sequence[Tensor]) -> tuple[Node | None, str]:
    """The first index that is out of range, as the user gave it, and the node that has it."""
    import numpy as np

    inputs, device = dict(zip(graph.inputs, tensors, strict=True)), tensors[0]._spec.device
    for node in graph.nodes:
        rule = node.op.lower
        if not isinstance(rule, (Gather, Scatter)):
            continue
        first = 0 if isinstance(rule, Gather) else rule.lead
        for axis, index in enumerate(node.inputs[1:] if isinstance(rule, Gather) else node.inputs[1:-1], first):
            origin = index
            while origin not in inputs and origin.node is not None and origin.node.inputs:
                origin = origin.node.inputs[0]
            if origin not in inputs:
                continue  # positions, which the op made itself
            size = int(node.inputs[0].shape[axis])
            with tape.no_grad():
                (computed,) = GraphCall(Graph(graph.name, graph.inputs, graph.nodes, [index]), device)(tensors)
            values = computed.cpu().numpy()
            bad = np.flatnonzero((values < -size) | (values >= size))
            if bad.size:
                given = inputs[origin].cpu().numpy()  # before the op moved or masked it
                shown = given if given.size == values.size and given.dtype.kind in "iu" else values
                return node, f"index {shown.flat[bad[0]]} is out of range for axis {axis} of size {size}"
    return None, "an index is out of range"


def _inner_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of the bodies of control flow, at any depth."""
    waiting = [inner for node in graph.nodes for inner in subgraphs(node).values()]
    while waiting:
        inner = waiting.pop()
        yield from inner.nodes
        waiting += [body for node in inner.nodes for body in subgraphs(node).values()]


def _goes_on(graph: Graph) -> WeftError:
    """What to raise when a loop would go on after as many iterations as it may have."""
    nodes = [n for n in (*graph.nodes, *_inner_nodes(graph)) if isinstance(n.op.lower, Loop) and n.params["bounded"]]
    most = ", or ".join(dict.fromkeys(str(n.params["length"]) for n in nodes))
    error = ArgumentError(f"while_loop: cond_fn is still true after max_steps={most} steps")
    lines = {n.where for n in nodes}
    error.where = (lines.pop() if len(lines) == 1 else None) or error.where
    return error


def traced_error(tensors: Sequence[Tensor]) -> WeftError:
    """What to raise when a tensor of a finished capture is used."""
    if any(isinstance(t._storage, Value) for t in tensors):
        return CaptureError("a tensor made while a function was captured is used outside of it; return it instead")
    return CompileError("operands do not fit the executable (a bug of weft)")


def value_of(tensor: Tensor, trace: Trace) -> Value:
    """The tensor's value in a trace; a tensor from outside becomes an input of the capture, by reference."""
    storage = tensor._storage
    if isinstance(storage, Value):
        return storage
    if trace.capture is None:
        raise CaptureError("a composite must get its tensors as arguments; this one comes from outside")
    found: Value = trace.capture.inside(tensor)._storage
    return found


class Backward:
    """The gradient graph of a GraphCall: which operands and results it needs, and the call that computes it.

    What it needs besides them is computed again inside it; inside a capture common-subexpression elimination then
    finds the values of the forward pass.

    ``asked``: for each operand whether its gradient is wanted; perhaps then for each result whether it has received
    anything. A result that has not counts as one that has received zeros, but where ``skips``: there the graph is
    another one. Zeros would be a pass over the memory of a loop, at each of its iterations.
    """

    __slots__ = ("asked", "call", "flows", "needs_inputs", "needs_outputs", "needs_values", "skips")

    def __init__(self, forward: GraphCall, asked: tuple[bool, ...]):
        graph = forward.graph
        count = len(graph.inputs)
        self.asked, wanted = asked, asked[:count]
        present = asked[count:] or (True,) * len(graph.outputs)
        # For each output, whether a gradient flows from it.
        self.flows = _flows(graph, wanted) if not forward.in_place else (True,)
        self.skips = len(graph.outputs) > 1 and any(isinstance(node.op.lower, Loop) for node in graph.nodes)
        trace, outer = Trace(None, user_line(2), device=forward.device), state.trace
        inputs = [Value(v.type) for v in graph.inputs]
        outputs = [Value(v.type) for v in graph.outputs]
        cotangents = [Value(v.type) if on else None for v, on in zip(graph.outputs, present, strict=True)]
        state.trace = trace
        try:
            sent = [None if v is None else wrap(v) for v in cotangents]
            if forward.gradient is not None:
                assert sent[0] is not None
                found = [value_of(forward.gradient(wrap(outputs[0]), sent[0], *map(wrap, inputs)), trace)]
            else:
                known = {
                    **dict(zip(graph.outputs, outputs, strict=True)),
                    **dict(zip(graph.inputs, inputs, strict=True)),
                }
                parts = reverse(graph, trace, known, sent, wanted)
                asked_ = [v for v, w in zip(graph.inputs, wanted, strict=True) if w]
                found = [
                    _zeros(trace, v) if t is None else value_of(t, trace) for v, t in zip(asked_, parts, strict=True)
                ]
        finally:
            state.trace = outer
        received = [v for v in cotangents if v is not None]
        whole = simplify(Graph(f"{forward.name}.grad", [*inputs, *outputs, *received], trace.nodes, found))
        used = whole.used()
        self.needs_inputs = tuple(i for i, v in enumerate(inputs) if v in used)
        self.needs_outputs = tuple(i for i, v in enumerate(outputs) if v in used)
        self.needs_values = bool(self.needs_inputs or self.needs_outputs)
        kept = [inputs[i] for i in self.needs_inputs] + [outputs[i] for i in self.needs_outputs] + received
        self.call = GraphCall(Graph(whole.name, kept, whole.nodes, whole.outputs), forward.device, hands_on=True)


def _flows(graph: Graph, wanted: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which outputs hang on one of the inputs that are wanted (``ones_like(x)`` does not)."""
    active = active_values(graph, wanted)
    return tuple(v in active for v in graph.outputs)


def _zeros(trace: Trace, value: Value) -> Value:
    from ..ops.creation import zeros

    return value_of(zeros(value.shape, dtype=value.dtype), trace)

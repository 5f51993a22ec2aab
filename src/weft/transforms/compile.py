"""``wf.compile``: a function captured once per signature, run as one native call.

The signature is the types of the tensor arguments, the values of the others, and whether calls are recorded. State
that the function read keeps its type from call to call; when it does not (or a captured Python attribute such as
``module.training`` has changed) the function is captured again.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, Generic, ParamSpec, TypeVar

from ..compiler.kernels import Kernel
from ..core.errors import CaptureError
from ..graph.executable import Executable, build
from ..graph.ir import Graph, Value
from ..graph.simplify import simplify
from ..ops.op import state
from ..runtime import storage as storages
from ..runtime.llvm import host_target
from ..runtime.pool import get_num_threads
from ..runtime.program import KernelStatus
from ..tensor import tape
from ..tensor.calls import GraphCall, traced_error
from ..tensor.dispatch import epoch, is_array
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .capture import ArgumentRef, Captured, GradRef, Target, TensorRef, capture
from .explain import Explanation, explain
from .history import differentiable_graph, reached
from .names import Names
from .tree import flatten, unflatten

__all__ = ["Compiled", "compile"]

P = ParamSpec("P")
R = TypeVar("R")
_SIMPLE = (bool, int, float, str, type(None))
_MAX_ENTRIES = 16  # graphs kept for one signature, and signatures: code whose state never comes again must not leak
_MAX_SIGNATURES = 4096


def _number(where: tuple[str, int]) -> int:
    """n for the program's n-th output, ~n for its n-th input."""
    kind, number = where
    return number if kind == "output" else ~number


class Entry:
    """One signature's graph, executable, and where its state lives."""

    __slots__ = (
        "_owned",
        "call",
        "captured",
        "exe",
        "has_grads",
        "leaves",
        "on_tape",
        "rebound",
        "refs",
        "result_specs",
        "same",
        "single",
        "tensors",
        "unreached",
        "update_specs",
    )

    def __init__(self, captured: Captured, specs: list[Spec]):
        self.captured = captured
        graph, wanted = captured.graph, len(captured.graph.outputs) - len(captured.updates)
        position = {
            id(r.tensor): captured.arguments + i for i, r in enumerate(captured.refs) if isinstance(r, TensorRef)
        }
        replaced: list[tuple[int, Value]] = []
        extra: list[Value] = []
        order: list[bool] = []
        for ref, value in captured.updates:
            at = (
                ref.position
                if isinstance(ref, ArgumentRef)
                else (position.get(id(ref.tensor)) if isinstance(ref, TensorRef) else None)
            )
            order.append(at is not None)
            if at is None:
                extra.append(value)
            else:
                replaced.append((at, value))
        # Results that are a tensor of the state or an argument are that object, and need no output.
        self.same = [(i, ref) for i, ref in enumerate(captured.same) if ref is not None]
        results = [v for v, ref in zip(graph.outputs[:wanted], captured.same, strict=True) if ref is None]
        self.exe: Executable = build(
            graph.copy(outputs=[*results, *extra]),
            [s.strides for s in specs],
            replaced,
            host_target(),
            get_num_threads(),
        )
        plain, written = iter(self.exe.results[len(results) :]), iter(self.exe.updates)
        # What to do after a run: (reference, where its new value is, its spec); None: written in place.
        self.update_specs: list[tuple[Target, int, Spec]] = []
        for in_graph, (ref, value) in zip(order, captured.updates, strict=True):
            where = next(written) if in_graph else next(plain)
            if where is not None:
                self.update_specs.append((ref, _number(where), self._spec(where, value, specs)))
        # Inputs that are overwritten: their memory must belong to the tensor alone.
        self._owned = [at for (at, _), where in zip(replaced, self.exe.updates, strict=True) if where is None]
        self.result_specs = [
            (_number(where), self._spec(where, v, specs)) for where, v in zip(self.exe.results, results, strict=False)
        ]
        self.call: GraphCall | None = None  # for the tape
        self.leaves: list[Target] = []  # parameters that a run rebinds: after it they are operands too
        self.unreached: list[int] = []  # operands that no gradient flows to
        self.single = len(self.exe.plan.outputs) == 1
        self.refs = captured.refs
        self.has_grads = any(isinstance(r, GradRef) for r in captured.refs)
        self.tensors = [] if self.has_grads else captured.state
        # Results, then updates, that the tape must know; and tensors whose history ends with a run: those that are read
        # had none, or the graph would not be valid.
        self.on_tape = [i for i, on_tape in enumerate(captured.differentiable) if on_tape]
        self.rebound = [
            ref
            for i, (ref, _) in enumerate(captured.updates, wanted)
            if isinstance(ref, ArgumentRef)
            or (
                isinstance(ref, TensorRef)
                and (i in self.on_tape or id(ref.tensor) not in position or isinstance(ref.tensor._node, tape.Record))
            )
        ]
        if self.on_tape and tape.recording.enabled:
            self._differentiable()

    def _differentiable(self) -> None:
        """Make the call that goes on the tape."""
        captured = self.captured
        outputs = [captured.graph.outputs[i] for i in self.on_tape]
        final = {v: ref for ref, v in captured.updates if v in captured.rebound_leaves}
        graph = differentiable_graph(captured.graph, outputs, captured.stopped, list(final))
        found = reached(graph)
        self.call = GraphCall(graph)
        self.leaves = list(final.values())
        self.unreached = [i for i, v in enumerate(graph.inputs) if v not in found]

    @staticmethod
    def _spec(where: tuple[str, int], value: Value, specs: list[Spec]) -> Spec:
        """The spec of an output; an input keeps its strides."""
        return specs[where[1]] if where[0] == "input" else spec_of(value.dtype, value.shape)

    def run(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run on the arguments and the state; write the updates back; the results."""
        captured, exe = self.captured, self.exe
        operands = self._operands(tensors) if self.on_tape and tape.recording.enabled else None
        given = [t._storage for t in tensors]
        given += [t._storage for t in (captured.state if self.has_grads else self.tensors)]
        for at in self._owned:
            # References: the tensor's, the list's, and getrefcount's own argument.
            if getrefcount(given[at]) > 3 or given[at].owner is not None:
                given[at] = self._copy(at, tensors)
        try:
            made = exe.program.call(*given)
        except KernelStatus:
            call = GraphCall(captured.graph)
            raise call.status_error([*tensors, *captured.state], captured=True) from None
        except TypeError:
            raise traced_error([*tensors, *captured.state]) from None
        if self.single:
            made = (made,)
        for ref, number, spec in self.update_specs:
            value = made[number] if number >= 0 else given[~number]
            if isinstance(ref, GradRef):
                ref.leaf.grad = make(value, spec, None, 0)
            else:
                tensor = _tensor_of(ref, tensors)
                tensor._storage, tensor._spec = value, spec
        for ref in captured.cleared:
            ref.leaf.grad = None
        results = []
        for number, spec in self.result_specs:
            results.append(make(made[number] if number >= 0 else given[~number], spec, None, 0))
        for rebound in self.rebound:
            tensor = _tensor_of(rebound, tensors)
            if not isinstance(tensor._node, tape.Leaf):
                tensor._node = None
        for at, same in self.same:
            results.insert(at, _tensor_of(same, tensors))
        if operands is not None:
            self._record(operands, tensors, results)
        return results

    def _copy(self, at: int, tensors: list[Tensor]) -> Any:
        """Give a tensor memory of its own, since something else still holds the old one."""
        tensor = tensors[at] if at < len(tensors) else self.captured.refs[at - len(tensors)].get()
        assert tensor is not None
        tensor._storage = storages.copy_of(tensor._storage)
        return tensor._storage

    def _operands(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Operands as they are before the run, for what has to go on the tape."""
        operands = [*tensors, *self.captured.state]
        return [make(t._storage, t._spec, t._node, t._index) for t in operands]

    def _record(self, operands: list[Tensor], tensors: list[Tensor], results: list[Tensor]) -> None:
        """Put the run on the tape: its results and the tensors that it rebound, where they are differentiable."""
        updates = self.captured.updates
        assert self.call is not None
        for t in [_tensor_of(ref, tensors) for ref in self.leaves]:
            operands.append(make(t._storage, t._spec, t._node, t._index))
        for i in self.unreached:
            operands[i]._node = None
        count = len(results)
        made = [results[i] if i < count else _tensor_of(updates[i - count][0], tensors) for i in self.on_tape]
        tape.record(self.call, operands, made)

    def program_inputs(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Copies of all inputs, for runs that must not change the state."""
        return [storages.copy_of(t._storage) for t in (*tensors, *self.captured.state)]


def _tensor_of(ref: Target, tensors: Sequence[Tensor]) -> Tensor:
    """The tensor that an update rebinds."""
    assert not isinstance(ref, GradRef)
    return tensors[ref.position] if isinstance(ref, ArgumentRef) else ref.tensor


class Compiled(Generic[P, R]):
    """A compiled function; see :func:`compile`."""

    def __init__(self, function: Callable[P, R]):
        functools.update_wrapper(self, function)
        self.function = function
        self._entries: dict[Any, list[Entry]] = {}
        self._epoch = epoch.number

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if state.trace is not None:  # inside another capture: part of its graph
            return self.function(*args, **kwargs)
        entry, tensors = self._entry(args, kwargs)
        results = entry.run(tensors)
        form = entry.captured.outputs_form
        if form == ("leaf",):
            return results[0]  # type: ignore[return-value]
        return unflatten(form, results)

    def __getattr__(self, name: str) -> Any:
        """What the function has: a compiled module still has its parameters, ``train()``, ``state_dict()`` ..."""
        if name == "function":  # not there yet
            raise AttributeError(name)
        return getattr(self.function, name)

    def __repr__(self) -> str:
        return f"<compiled {getattr(self.function, '__name__', None) or repr(self.function)}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: compiled once for each instance."""
        if instance is None:
            return self
        bound = Compiled(self.function.__get__(instance, owner))
        instance.__dict__[self.function.__name__] = bound
        return bound

    def _entry(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Entry, list[Tensor]]:
        tensors: list[Tensor] = []
        key: list[Any] = [tape.recording.enabled, epoch.number]
        for a in args:
            if isinstance(a, Tensor):
                tensors.append(a)
                key.append(a._spec)
                if a._node is not None:
                    key.append(a._node.__class__)
            else:
                _key_of(a, key, tensors)
        if kwargs:
            _key_of(kwargs, key, tensors)
        signature = tuple(key)
        for entry in self._entries.get(signature, ()):
            if entry.captured.valid(tensors):
                return entry, tensors
        captured = capture(self.function, args, kwargs)
        captured.conditions.append(Names(self.function).same)
        made = Entry(captured, [t._spec for t in (*tensors, *captured.state)])
        if self._epoch != epoch.number:  # other threads or another target: the old graphs are never used again
            self._entries.clear()
            self._epoch = epoch.number
        entries = self._entries.setdefault(signature, [])
        if len(entries) == _MAX_ENTRIES // 2:
            name = getattr(self.function, "__name__", "a function")
            warnings.warn(
                f"{name} has been captured {len(entries) + 1} times for one signature, because state it reads is "
                f"different at each call: {entries[0].captured.changed()}. Keep what changes in a "
                f"tensor, or pass it as an argument",
                stacklevel=3,
            )
        entries.insert(0, made)
        del entries[_MAX_ENTRIES:]
        if len(self._entries) > _MAX_SIGNATURES:
            del self._entries[next(iter(self._entries))]  # the oldest
        return made, tensors

    def graph(self, *args: P.args, **kwargs: P.kwargs) -> Graph:
        """The graph for these arguments, simplified; ``print`` it. Nothing is run."""
        entry, _ = self._entry(args, kwargs)
        return simplify(entry.captured.graph)

    def kernels(self, *args: P.args, **kwargs: P.kwargs) -> list[Kernel]:
        """The kernels for these arguments, in order: ``print(k)``, ``k.llvm()``, ``k.asm()``. Nothing is run."""
        entry, _ = self._entry(args, kwargs)
        return [launch.kernel for launch in entry.exe.launches]

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """A table of the kernels for these arguments: what they do, whose lines, bytes, flops, time, share of the
        machine's peak. Runs on copies: no state changes."""
        entry, tensors = self._entry(args, kwargs)
        return explain(entry.exe, entry.program_inputs(tensors))


def compile(function: Callable[P, R]) -> Compiled[P, R]:
    """Decorator: the function becomes one graph and one native call, with the same bits.

    Tensors that it closes over (parameters, optimizer state) are read by reference and updated in place, so a whole
    training step can be one call. Its Python code runs at the first call with each signature only.

    >>> import weft as wf
    >>> @wf.compile
    ... def f(x):
    ...     return (x * x).sum()
    >>> f(wf.asarray([1.0, 2.0]))
    Tensor(5., dtype=float32)

    Raises:
        CaptureError: at the call, where the function's control flow needs a tensor's value.
    """
    if isinstance(function, Compiled):
        return function
    if not callable(function):
        raise CaptureError(f"compile: {type(function).__name__} is not a function")
    return Compiled(function)


def _key_of(value: Any, key: list[Any], tensors: list[Tensor]) -> None:
    """Append what an argument contributes to the signature, and its tensors."""
    leaves, form = flatten(value)
    key.append(form)
    for leaf in leaves:
        if isinstance(leaf, Tensor) or is_array(leaf):
            from ..tensor.create import asarray

            tensor = asarray(leaf)
            tensors.append(tensor)
            key.append(tensor._spec)
            if tensor._node is not None:
                key.append(tensor._node.__class__)
        elif isinstance(leaf, float):
            key.append(("float", repr(leaf)))
        elif isinstance(leaf, _SIMPLE):
            key.append((type(leaf), leaf))
        else:
            key.append((type(leaf), id(leaf), leaf))  # objects by identity; the key keeps them alive

"""One signature of a compiled function: its graph, its executable, and how a run meets the world.

A run hands the storages of arguments and state to one native call, takes what was written in place as done, and puts
the rest where it belongs: results, tensors that Python objects hold, state and gradients, the tape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from sys import getrefcount
from typing import Any

from ..graph.executable import Executable, build
from ..graph.ir import Value
from ..runtime import storage as storages
from ..runtime.llvm import host_target
from ..runtime.pool import get_num_threads
from ..runtime.program import KernelStatus
from ..runtime.state_locks import locks_of
from ..tensor import tape
from ..tensor.calls import GraphCall, traced_error
from ..tensor.capturing import settled
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .capture import Captured, Result
from .inside import ArgumentRef, GradRef, Target, TensorRef
from .stores import first_tensor, put
from .unit import Unit, UnitRecord

__all__ = ["Entry"]


_TRIES = 3  # of a run whose operands have no value yet


class _Unsettled(Exception):
    """Operands that another thread's capture has made, and that have no value yet."""

    def __init__(self, tensors: list[Tensor]):
        super().__init__()
        self.tensors = tensors


def _number(where: tuple[str, int]) -> int:
    """n for the program's n-th output, ~n for its n-th input."""
    kind, number = where
    return number if kind == "output" else ~number


class Entry:
    """One signature's graph, executable, and where its state lives."""

    __slots__ = (
        "_fresh",
        "_has_grads",
        "_locks",
        "_made",
        "_owned",
        "_rebound",
        "_single",
        "_specs",
        "_tensors",
        "_updates",
        "captured",
        "exe",
    )

    def __init__(self, captured: Captured, specs: list[Spec]):
        self.captured, self._specs = captured, specs
        graph = captured.graph
        count = len(graph.outputs) - len(captured.updates)  # results of its own, and what Python objects are given
        position = {
            id(r.tensor): captured.arguments + i for i, r in enumerate(captured.refs) if isinstance(r, TensorRef)
        }
        inputs = [_input_of(target, position) for target, _ in captured.updates]
        replaced = [(at, v) for at, (_, v) in zip(inputs, captured.updates, strict=True) if at is not None]
        extra = [v for at, (_, v) in zip(inputs, captured.updates, strict=True) if at is None]
        self.exe: Executable = build(
            graph.copy(outputs=[*graph.outputs[:count], *extra]),
            [s.strides for s in specs],
            replaced,
            host_target(),
            get_num_threads(),
        )
        # Where each tensor that a run makes comes from, and its spec.
        self._made = [
            (_number(where), self._spec(where, v))
            for where, v in zip(self.exe.results[:count], graph.outputs[:count], strict=True)
        ]
        others, written = iter(self.exe.results[count:]), iter(self.exe.updates)
        # What to do after a run: (reference, where its new value is, its spec); what is written in place is done.
        self._updates: list[tuple[Target, int, Spec]] = []
        for at, (target, value) in zip(inputs, captured.updates, strict=True):
            where = next(others) if at is None else next(written)
            if where is not None:
                self._updates.append((target, _number(where), self._spec(where, value)))
        # Inputs that are overwritten: their memory must belong to the tensor alone.
        self._owned = [at for (at, _), where in zip(replaced, self.exe.updates, strict=True) if where is None]
        self._single = len(self.exe.plan.outputs) == 1
        self._has_grads = any(isinstance(r, GradRef) for r in captured.refs)
        self._tensors = [] if self._has_grads else captured.state(())
        # Tensors whose history ends with a run; those that are read had none, or the graph would not be valid.
        plain = {
            id(r.tensor)
            for r, node in zip(captured.refs, captured.nodes, strict=True)
            if isinstance(r, TensorRef) and not issubclass(node, tape.Record)
        }
        self._rebound = [t for t in captured.forgotten if not isinstance(t, TensorRef) or id(t.tensor) not in plain]
        self._fresh = not captured.stores and all(what is None for what in captured.results)
        self._locks = locks_of(list(_written(captured)))

    def _spec(self, where: tuple[str, int], value: Value) -> Spec:
        """The spec of an output; an input keeps its strides."""
        return self._specs[where[1]] if where[0] == "input" else spec_of(value.dtype, value.shape)

    def run(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run on the arguments and the state; write the updates back; the results."""
        for _ in range(_TRIES):
            try:
                return self._locked(tensors) if self._locks else self._run(tensors)
            except _Unsettled as found:  # by now without locks, which whoever gives them values may need
                if not settled(found.tensors):
                    raise traced_error(found.tensors) from None
        raise traced_error(tensors)

    def _locked(self, tensors: list[Tensor]) -> list[Tensor]:
        if len(self._locks) == 1:
            with self._locks[0].now:
                return self._run(tensors)
        taken: list[Any] = []
        try:
            for state_lock in self._locks:
                taken.append(state_lock.now)
                taken[-1].acquire()
            return self._run(tensors)
        finally:
            for held in taken:
                held.release()

    def _run(self, tensors: list[Tensor]) -> list[Tensor]:
        captured = self.captured
        state = captured.state(tensors) if self._has_grads else self._tensors
        given = [t._storage for t in tensors]
        given += [t._storage for t in state]
        record = None
        if captured.unit is not None:
            record = captured.unit.spent or self._record(captured.unit, tensors, state, given)
        for at in self._owned:
            # References: the tensor's, the list's, and getrefcount's own argument.
            if given[at].__class__ is Value:
                raise _Unsettled([*tensors, *state])
            if getrefcount(given[at]) > 3 or given[at].owner is not None:
                given[at] = _copy(tensors[at] if at < len(tensors) else state[at - len(tensors)])
        try:
            outputs = self.exe.program.call(*given)
        except KernelStatus:
            raise GraphCall(captured.graph).status_error([*tensors, *state], captured=True) from None
        except TypeError:
            raise _Unsettled([*tensors, *state]) from None
        if self._single:
            outputs = (outputs,)
        made = [make(outputs[n] if n >= 0 else given[~n], spec, None, 0) for n, spec in self._made]
        for store in captured.stores:
            if store.number >= 0:
                made[store.number] = first_tensor(store, made[store.number])
        for target, number, spec in self._updates:
            value = outputs[number] if number >= 0 else given[~number]
            if isinstance(target, GradRef):
                target.set(tensors, make(value, spec, None, 0))
            else:
                tensor = _tensor_of(target, tensors)
                tensor._storage, tensor._spec = value, spec
        for grad in captured.cleared:
            grad.set(tensors, None)
        for target in self._rebound:
            tensor = _tensor_of(target, tensors)
            if not isinstance(tensor._node, tape.Leaf):
                tensor._node = None
        if record is not None:
            self._put(record, made, tensors)
        if captured.stores:
            put(captured.stores, made, tensors)
        return made if self._fresh else self._results(made, tensors)

    def _record(self, unit: Unit, tensors: list[Tensor], state: list[Tensor], given: list[Any]) -> UnitRecord:
        """A place on the tape. It holds on to what the run begins with, so that nothing of it is overwritten."""
        count = len(tensors)
        operands = [tensors[i] if i < count else state[i - count] for i in unit.positions]
        return UnitRecord(unit, [(t._node, t._index) for t in operands], tuple(given), self._specs)

    def _results(self, made: list[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        """What the caller gets: new tensors, tensors that were there before, and again what came earlier."""
        found: list[Tensor] = []
        fresh = iter(made)
        for what in self.captured.results:
            found.append(_result(what, fresh, found, tensors))
        return found

    def _put(self, record: UnitRecord, made: Sequence[Tensor], tensors: Sequence[Tensor]) -> None:
        """Put the run on the tape: what it made and what it rebound, where that has a history."""
        captured, count = self.captured, len(made)
        record.put(
            [made[i] if i < count else _tensor_of(captured.updates[i - count][0], tensors) for i in captured.on_tape]
        )

    def program_inputs(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Copies of all inputs, for runs that must not change the state."""
        return [storages.copy_of(t._storage) for t in (*tensors, *self.captured.state(tensors))]


def _written(captured: Captured) -> Iterator[Any]:
    """What every run writes: tensors of the state, and leaves whose gradients it replaces."""
    for target in (*(target for target, _ in captured.updates), *captured.cleared):
        if isinstance(target, TensorRef):
            yield target.tensor
        elif isinstance(target, GradRef) and target.leaf is not None:
            yield target.leaf


def _input_of(target: Target, position: dict[int, int]) -> int | None:
    """The graph's input that a target is; None where its old value is not read."""
    if isinstance(target, ArgumentRef):
        return target.position
    return position.get(id(target.tensor)) if isinstance(target, TensorRef) else None


def _tensor_of(target: Target, tensors: Sequence[Tensor]) -> Tensor:
    """The tensor that an update rebinds."""
    assert not isinstance(target, GradRef)
    return tensors[target.position] if isinstance(target, ArgumentRef) else target.tensor


def _result(what: Result, fresh: Any, found: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    if what is None:
        made: Tensor = next(fresh)
        return made
    return found[what] if isinstance(what, int) else _tensor_of(what, tensors)


def _copy(tensor: Tensor) -> Any:
    """Give a tensor memory of its own, since something else still holds the old one."""
    tensor._storage = storages.copy_of(tensor._storage)
    return tensor._storage

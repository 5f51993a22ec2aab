"""One signature of a compiled function: its graph, its executable, and how a run meets the world.

A run hands the storages of arguments and state to one native call, which writes what the function wrote into their
memory. Then it puts the rest where it belongs: results, tensors that Python objects hold, gradients, the tape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core.errors import CaptureError
from ..graph.executable import Executable, build
from ..graph.ir import Value
from ..graph.specialise import specialise
from ..ops.registry import primitives
from ..runtime import storage as storages
from ..runtime.devices import moved, target_of
from ..runtime.pool import get_num_threads
from ..runtime.program import HostStep, KernelStatus
from ..runtime.state_locks import locks_of
from ..tensor import tape
from ..tensor.alias import UNTRACKED, attach_to, rebase
from ..tensor.calls import GraphCall, traced_error
from ..tensor.capturing import settled
from ..tensor.in_place import check_storage, count_writes
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .captured import Captured
from .refs import ArgumentRef, FlatRef, GradRef, Ref, TensorRef
from .returned import in_order
from .stores import first_tensor, put
from .unit import Unit, UnitRecord

_MANY = 64  # nodes of a graph whose finished table is kept on disk: fewer are lowered in as little time
_TRIES = 3  # of a run whose operands have no value yet


class _Unsettled(Exception):
    """Operands that another thread's capture has made, and that have no value yet."""

    def __init__(self, tensors: list[Tensor]):
        super().__init__()
        self.tensors = tensors


class Entry:
    """One signature's graph, executable, and where its state lives."""

    __slots__ = (
        *("_flat", "_fresh", "_host", "_items", "_kept", "_locks", "_moved", "_numbers", "_order", "_plain"),
        *("_others", "_residuals", "_simple", "_single", "_specs", "_state", "_tracked", "_untracked", "_written"),
        *("captured", "exe", "sizes"),
    )

    def __init__(
        self,
        captured: Captured,
        specs: list[Spec],
        exe: Executable | None = None,
        sizes: Mapping[str, int] | None = None,
    ):
        """``exe``: what runs a graph with symbols for sizes, ``sizes`` being their numbers."""
        self.captured, device = captured, captured.device
        self.sizes = sizes or {}
        # Numbers and indices of the CPU's, which a run on another device gets copies of.
        self._moved = [i for i, s in enumerate(specs) if s.device is not device]
        self._specs = specs = [s if s.device is device else spec_of(s.dtype, s.shape, s.strides, device) for s in specs]
        graph, unit = captured.graph, captured.unit
        count = len(graph.outputs) - len(captured.writes.updates)
        residuals = () if unit is None or unit.spent is not None else unit.residuals
        positions = {v: i for i, v in enumerate(graph.inputs)}
        self._written = written_inputs(captured)
        self.exe: Executable = exe or build(
            graph.copy(outputs=[*graph.outputs[:count], *residuals]),
            [s.strides for s in specs],
            list(zip(self._written, graph.outputs[count:], strict=True)),
            target_of(device),
            get_num_threads(),
            device=device,
            known=primitives() if len(graph.nodes) >= _MANY else None,
        )
        # Tensors that share memory which is written as a flat tensor count writes apart.
        self._flat = [r for t, _ in captured.writes.updates if isinstance(t, FlatRef) for r in t.others]
        self._single = self.exe.outputs == 1
        numbers = iter(self.exe.results)
        items = captured.returns.items
        self._numbers = [next(numbers) if item.of is None else -1 for item in items]
        self._residuals = [(v, next(numbers), unit.spec_of(v)) for v in residuals if unit is not None]
        self._items = items
        self._order = in_order(items)
        on_tape = captured.returns.tape
        self._untracked = [
            n for n, i in enumerate(items) if i.kind == UNTRACKED and i.base is not None and on_tape[n] is None
        ]
        self._plain = all(item.base is None and item.of is None for item in items)
        self._state = captured.reads.tensors if len(captured.reads.tensors) == len(captured.reads.refs) else None
        self._tracked = [(n, at) for n, at in enumerate(on_tape) if at is not None]
        # A gradient is as a rule something that the run made: the number of an item.
        gradients = captured.writes.gradients
        self._simple = [(ref, n) for ref, n in gradients if n is None or isinstance(n, int)]
        self._others = [] if len(self._simple) == len(gradients) else gradients
        # So many items are the results, in order; None: results are not all made anew.
        results = captured.returns.results
        self._fresh = len(results) if all(what is None for what in results) else None
        self._locks = locks_of(list(_written(captured)))
        self._host = any(isinstance(step, HostStep) for step in self.exe.program.steps)
        self._kept = [] if unit is None or unit.spent is not None else self._places(unit, positions)

    def _places(self, unit: Unit, positions: dict[Value, int]) -> list[tuple[Value, str, int]]:
        """Where the values that the tape reads lie after a run: in an input, a written input, or an item."""
        found = []
        updated = {v: at for (_, v), at in zip(self.captured.writes.updates, self._written, strict=True)}
        own = {item.value: i for i, item in enumerate(self._items) if item.of is None}
        for value in unit.lasting:
            if value in own:
                found.append((value, "item", own[value]))
            else:
                found.append((value, "input", updated[value] if value in updated else positions[value]))
        return found

    def run(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run on the arguments and the state; the results."""
        for _ in range(_TRIES):
            try:
                return self._locked(tensors) if self._locks else self._run(tensors)
            except _Unsettled as found:  # by now without locks, which whoever gives them values may need
                if not settled(found.tensors):
                    raise traced_error(found.tensors) from None
        raise traced_error(tensors)

    def _locked(self, tensors: list[Tensor]) -> list[Tensor]:
        locks = self._locks
        if len(locks) == 1:
            with locks[0].now:
                return self._run_held(tensors) if self._host or locks[0].host else self._run(tensors)
        taken: list[Any] = []
        try:
            for state_lock in locks:
                taken.append(state_lock.now)
                taken[-1].acquire()
            return self._run_held(tensors)
        finally:
            for held in taken:
                held.release()

    def _run_held(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run under the locks, which are this thread's. What Python code inside such a run writes would be lost."""
        if any(lock.host is lock.now for lock in self._locks):
            raise CaptureError(
                f"{self.captured.graph.name}: Python code inside a run writes state that the run itself writes"
            )
        if not self._host:
            return self._run(tensors)
        try:
            for lock in self._locks:
                lock.host = lock.now
            return self._run(tensors)
        finally:
            for lock in self._locks:
                lock.host = None

    def _run(self, tensors: list[Tensor]) -> list[Tensor]:
        captured = self.captured
        state = captured.reads.state(tensors) if self._state is None else self._state
        given = [t._storage for t in (*tensors, *state)]
        for i in self._moved:
            given[i] = moved(given[i], self._specs[i].extent, captured.device)
        record = None
        unit = captured.unit
        if unit is not None:
            record = unit.spent or UnitRecord(unit, self._operands(unit, tensors, state), {})
        try:
            for written in self._written:
                if given[written].is_read_only:
                    check_storage(captured.graph.name, given[written])
            for ref in captured.writes.through:
                check_storage(captured.graph.name, _tensor_of(ref, (), tensors)._storage)
            outputs = self.exe.program.call(*given)
        except KernelStatus as error:
            operands = [*tensors, *state]
            for i in self._moved:
                operands[i] = make(given[i], self._specs[i], None, 0)
            graph = specialise(captured.graph, self.sizes) if self.sizes else captured.graph
            raise GraphCall(graph, captured.device).status_error(error, operands, captured=True) from None
        except (TypeError, AttributeError):
            raise _Unsettled([*tensors, *state]) from None
        if self._written:
            changed = [given[at] for at in self._written]
            count_writes(changed + self._apart(tensors) if self._flat else changed)
        if self._single:
            outputs = (outputs,)
        writes = captured.writes
        made = self._make(outputs, tensors)
        if record is not None:
            self._put(record, made, outputs, given, tensors)
        for target, at in writes.places:
            self._move(target, at, record, tensors)
        for i in self._untracked:  # made after the write, if no history is said to have missed it
            made[i]._node, made[i]._index = None, 0
        stores = captured.returns.stores
        if stores:
            put(stores, made, tensors)
        for each in captured.returns.kept:
            each.set(tensors)
        results = made[: self._fresh] if self._fresh is not None else self._results(made, tensors)
        # Last: until here a gradient is the one that was there before.
        if self._others:
            becomes = [None if what is None else _tensor_of(what, made, tensors) for _, what in self._others]
            for (ref, _), gradient in zip(self._others, becomes, strict=True):
                ref.set(tensors, gradient)
        else:
            for ref, n in self._simple:
                ref.set(tensors, None if n is None else made[n])
        return results

    def _apart(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Storages that show what was written as a flat tensor, and count writes apart. A read-only one has no count:
        its lender may change it at any time."""
        members = [_tensor_of(ref, (), tensors)._storage for ref in self._flat]
        return [storage for storage in members if not storage.is_read_only]

    def _operands(self, unit: Unit, tensors: list[Tensor], state: list[Tensor]) -> list[tuple[Any, int]]:
        """The places on the tape of the operands of the run, as they are before it."""
        captured = self.captured
        operands = [*tensors, *state]
        if captured.members:
            operands += [_tensor_of(ref, (), tensors) for ref in captured.members]
        count = len(operands)
        return [
            (operands[i]._node, operands[i]._index) if i < count else (tape.Leaf(captured.leaves[i - count]), 0)
            for i in unit.positions
        ]

    def _make(self, outputs: Sequence[Any], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The items of a run."""
        items = self._items
        if self._plain and not self.captured.returns.stores:
            return [make(outputs[n], item.spec, None, 0) for n, item in zip(self._numbers, items, strict=True)]
        made: list[Any] = [None] * len(items)
        for i in self._order:
            item = items[i]
            if item.of is None:
                made[i] = make(outputs[self._numbers[i]], item.spec, None, 0)
            else:
                storage = _tensor_of(item.of, made, tensors)._storage
                storage = storages.tail(storage, item.offset) if item.offset else storage
                made[i] = make(storage, item.spec, None, 0)
        for store in self.captured.returns.stores:
            if store.of is None:
                made[store.number] = first_tensor(store, made[store.number])
        for i in self._order:
            item = items[i]
            if item.base is not None and item.spec.is_floating:
                attach_to(made[i], _tensor_of(item.base, made, tensors), item.way, item.kind)
        return made

    def _put(
        self,
        record: UnitRecord,
        made: Sequence[Tensor],
        outputs: Sequence[Any],
        given: Sequence[Any],
        tensors: Sequence[Tensor],
    ) -> None:
        """Put the run on the tape: what it keeps, and the places of what it made."""
        kept = record.kept
        for value, where, number in self._kept:
            storage = made[number]._storage if where == "item" else given[number]
            spec = made[number]._spec if where == "item" else self._specs[number]
            kept[value] = storage, spec, storages.save(storage)
        for value, number, spec in self._residuals:
            kept[value] = outputs[number], spec, 0
        for n, at in self._tracked:
            tensor = made[n]
            tensor._node, tensor._index = record.put(at)
            if tensor._node is None:
                tensor._node = tape.Leaf(tensor._spec)

    def _move(self, target: Ref, number: int | None, record: UnitRecord | None, tensors: Sequence[Tensor]) -> None:
        """Give what was written its new place on the tape."""
        tensor = target.get(tensors)
        if tensor is None:
            return
        if number is None:
            if not isinstance(tensor._node, tape.Leaf):
                with tape.enable_grad():
                    rebase(tensor, None, 0)
        elif record is not None:
            node, index = record.put(number)
            with tape.enable_grad():
                rebase(tensor, tape.Leaf(tensor._spec) if node is None else node, index)

    def _results(self, made: list[Tensor], tensors: Sequence[Tensor]) -> list[Tensor]:
        """What the caller gets: new tensors, tensors that were there before, and again what came earlier."""
        found: list[Tensor] = []
        fresh = iter(made)
        for what in self.captured.returns.results:
            if what is None:
                found.append(next(fresh))
            elif isinstance(what, int):
                found.append(found[what])
            else:
                found.append(_tensor_of(what, made, tensors))
        return found

    def program_inputs(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Copies of all inputs, for runs that must not change the state."""
        return [storages.copy_of(t._storage) for t in (*tensors, *self.captured.reads.state(tensors))]


def written_inputs(captured: Captured) -> list[int]:
    """The numbers of the graph's inputs that a run writes, in the order of the updates."""
    known: dict[Any, int] = {ArgumentRef(n).key: n for n in range(captured.arguments)}
    for number, ref in enumerate(captured.reads.refs, captured.arguments):
        known.setdefault(ref.key, number)
    found = [known[target.key] for target, _ in captured.writes.updates]
    return found


def _tensor_of(where: Ref | int, made: Sequence[Tensor], tensors: Sequence[Tensor]) -> Tensor:
    """A tensor from outside, or one of the items."""
    found = made[where] if isinstance(where, int) else where.get(tensors)
    assert found is not None
    return found


def _written(captured: Captured) -> Iterator[Any]:
    """What every run writes: tensors of the state and the memory that they share with others, and leaves whose
    gradients it replaces."""
    targets = (*captured.writes.updates, *captured.writes.gradients)
    for target, _ in targets:
        for ref in target.others if isinstance(target, FlatRef) else (target,):
            if isinstance(ref, TensorRef):
                yield ref.tensor
                if isinstance(ref.tensor._storage, storages.Storage):
                    yield storages.block_of(ref.tensor._storage)
            elif isinstance(ref, GradRef) and ref.leaf is not None:
                yield ref.leaf

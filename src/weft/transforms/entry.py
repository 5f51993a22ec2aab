"""One signature of a compiled function: its graph, its executable, and how a run meets the world.

A run hands the storages of arguments and state to one native call, which writes what the function wrote into their
memory. Then it puts the rest where it belongs: results, tensors that Python objects hold, gradients, the tape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..core.device import CPU
from ..core.errors import CaptureError, IndexError_
from ..graph.executable import Executable, build
from ..graph.ir import Value, nodes_in
from ..graph.specialise import specialise
from ..ops.registry import primitives
from ..runtime import storage as storages
from ..runtime.devices import moved, target_of
from ..runtime.pool import get_num_threads
from ..runtime.program import HostStep, KernelStatus, Program
from ..runtime.quick import REFUSED, Builtins, Quick
from ..runtime.state_locks import locks_of
from ..tensor import guards, tape
from ..tensor.alias import UNTRACKED, attach_to, rebase
from ..tensor.calls import GraphCall, traced_error
from ..tensor.capturing import settled
from ..tensor.in_place import check_storage, count_writes
from ..tensor.spec import Spec, spec_of
from ..tensor.tensor import Tensor, make
from .cache_info import Made
from .captured import Captured
from .handed import handed_to, memory_for, with_memory
from .placed import extended, store_numbers
from .quick import Noting, Otherwise
from .refs import ArgumentRef, FlatRef, GradRef, Ref, TensorRef
from .repeated import Repeated
from .returned import in_order
from .stores import first_tensor, put
from .tree import unflatten
from .unit import Unit, UnitRecord

_MANY = 64  # nodes of a graph whose finished table is kept on disk: fewer are lowered in as little time
Way = Callable[[tuple[Any, ...], dict[str, Any]], Any]  # called with a call's arguments: its result, or REFUSED
_TRIES = 3  # of a run whose operands have no value yet


class Unsettled(Exception):
    """Operands that another thread's capture has made, and that have no value yet."""

    def __init__(self, tensors: list[Tensor]):
        super().__init__()
        self.tensors = tensors


class OfNumbers(IndexError_):
    """An index that is out of range in a run with Python numbers as inputs, which has written nothing: as constants,
    they may be what is wrong, in other words."""


class Entry:
    """One signature's graph, executable, and where its state lives."""

    is_whole = True  # a run is one run of ``exe``
    __slots__ = (
        *(
            "_flat",
            "_fresh",
            "_handed",
            "_host",
            "_is_open",
            "_items",
            "_kept",
            "_leaves_all",
            "_locks",
            "_moved",
            "_natively",
            "_numbers",
        ),
        *("_order", "_others", "_plain", "_residuals", "_simple", "_single", "_specs", "_state", "_tracked"),
        *("_untracked", "_written", "builtins", "captured", "exe", "found", "made", "sizes"),
    )

    def __init__(
        self,
        captured: Captured,
        specs: list[Spec],
        made: Made,
        exe: Executable | None = None,
        sizes: Mapping[str, int] | None = None,
    ):
        """``made``: what it was captured for. ``exe``: what runs a graph with symbols for sizes, ``sizes`` being their
        numbers."""
        self.captured, device = captured, captured.device
        self.sizes, self.made = sizes or {}, made
        # Numbers and indices of the CPU's, which a run on another device gets copies of.
        self._moved = [i for i, s in enumerate(specs) if s.device is not device]
        self._specs = specs = [s if s.device is device else spec_of(s.dtype, s.shape, s.strides, device) for s in specs]
        graph, unit = captured.program, captured.live
        positions = {v: i for i, v in enumerate(graph.inputs)}
        self._written = written_inputs(captured)
        count = len(graph.outputs) - len(self._written)
        items = captured.returns.items
        own = [i for i, item in enumerate(items) if item.of is None]
        self._handed = handed_to(captured) if exe is None else []
        apart = [own.index(each.item) for each in self._handed]
        whole, handed = with_memory(graph, [graph.outputs[at] for at in apart])
        self.exe: Executable = exe or build(
            whole.copy(outputs=[v for at, v in enumerate(graph.outputs[:count]) if at not in apart]),
            [s.strides for s in (*specs, *(each.spec for each in self._handed))],
            [*zip(self._written, graph.outputs[count:], strict=True), *handed],
            target_of(device),
            get_num_threads(),
            device=device,
            known=primitives() if nodes_in(graph) >= _MANY else None,
            limit=captured.memory_limit,
        )
        if self.exe.about is not None:
            self.exe.about.captured = True
        # Tensors that share memory which is written as a flat tensor count writes apart.
        self._flat = [r for t, _ in captured.writes.updates if isinstance(t, FlatRef) for r in t.others]
        self._single = self.exe.outputs == 1
        numbers = iter(self.exe.results)
        last = {each.item: self.exe.outputs + i for i, each in enumerate(self._handed)}  # after what the program makes
        self._numbers = [
            -1 if item.of is not None else last[i] if i in last else next(numbers) for i, item in enumerate(items)
        ]
        self._residuals = [] if unit is None else [(v, next(numbers), unit.spec_of(v)) for v in unit.residuals]
        self._items = items
        self._order = in_order(items)
        on_tape = captured.returns.tape
        self._untracked = [
            n for n, i in enumerate(items) if i.kind == UNTRACKED and i.base is not None and on_tape[n] is None
        ]
        self._plain = all(item.base is None and item.of is None for item in items)
        self._state = captured.reads.now.fixed if captured.reads.now.is_fixed else None
        # Items with a history, the numbers of their outputs on the run's tape, and which output of its record it is.
        slots: Sequence[int | None] = () if captured.unit is None else captured.unit.slots
        self._tracked = [(n, at, slots[at]) for n, at in enumerate(on_tape) if at is not None]
        # A gradient is as a rule something that the run made: the number of an item.
        gradients = captured.writes.gradients
        self._simple = [(ref, n) for ref, n in gradients if n is None or isinstance(n, int)]
        self._others = [] if len(self._simple) == len(gradients) else gradients
        # So many items are the results, in order; None: results are not all made anew.
        results = captured.returns.results
        self._fresh = len(results) if all(what is None for what in results) else None
        writes = captured.writes
        returns = captured.returns
        anything: Any = writes.places or gradients or self._untracked or returns.stores or returns.kept
        anything = anything or returns.numbers or returns.repeated
        self._leaves_all = not anything and self._fresh == len(items)  # what a run makes is what it returns
        self._locks = locks_of(list(_written(captured)))
        self._host = any(isinstance(step, HostStep) for step in self.exe.program.steps)
        # Whether Python code may run inside of a run: that of a step, or a signal's handler.
        self._is_open = self._host or bool(getattr(self.exe.program, "release_gil", False))
        self._kept = [] if unit is None else self._places(unit, positions)
        self._natively: Callable[[list[Tensor]], Any] | None = None
        self.builtins: Builtins | None = None  # that its quick way is made of
        self.found = 0  # how often it was found, the long way

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

    def note(self, args: tuple[Any, ...], kwargs: dict[str, Any], tensors: list[Tensor]) -> Way | None:
        """A quick way for calls like this one, which the entry holds for; None where there is none."""
        self.builtins = self._natively = None
        captured, program = self.captured, self.exe.program
        returns, writes = captured.returns, captured.writes
        if not isinstance(program, Program) or captured.device is not CPU or self._moved:
            return None
        own = self._plain and not (returns.stores or self._flat or self._host or writes.through or self._handed)
        own = own and self.is_whole
        only = own and self._fresh is not None and not (captured.unit or self._locks or self._written or writes.places)
        only = only and not (writes.gradients or self._untracked or returns.kept)  # what is done to Python objects
        only = only and not returns.numbers
        alone = only and self._fresh == 1 == self.exe.outputs and returns.form == ("leaf",) and not returns.repeated
        specs = [*(item.spec for item in self._items), *(spec for _, _, spec in self._residuals)] if own else []
        try:
            noting = Noting(captured, Quick(program, specs, alone, self.made.runs))
            noting.arguments(args, kwargs)
            own = noting.reads() and own
            noting.memory(tensors, self._written)
            self.builtins = noting.bound()
        except Otherwise:
            return None
        if alone and own:
            return self.builtins.call
        self._natively = self.builtins.run if own else None
        form, admit = None if returns.form == ("leaf",) else returns.form, self.builtins.admit
        if only and own and returns.repeated is not None:
            return self._way_that_repeats(admit, self.builtins.run, returns.repeated, form)

        def way(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            tensors = admit(args, kwargs)
            if tensors is REFUSED:
                return REFUSED
            results = self.run(tensors)
            return results[0] if form is None else unflatten(form, results)

        return way

    def _way_that_repeats(self, admit: Any, natively: Any, repeated: Repeated, form: Any) -> Way:
        """The quick way where nothing is left to do but to return tensors, and to hand them to Python objects."""
        do, fresh, run = repeated.do, self._fresh, self.run

        def way(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            tensors = admit(args, kwargs)
            if tensors is REFUSED:
                return REFUSED
            made = natively(tensors)
            if made is REFUSED:
                made = run(tensors)
            else:
                do(made, tensors)
            return made[0] if form is None else unflatten(form, made[:fresh])

        return way

    def run(self, tensors: list[Tensor]) -> list[Tensor]:
        """Run on the arguments and the state; the results."""
        for _ in range(_TRIES):
            try:
                return self._locked(tensors) if self._locks else self._run(tensors)
            except Unsettled as found:  # by now without locks, which whoever gives them values may need
                if not settled(found.tensors):
                    raise traced_error(found.tensors) from None
        raise traced_error(tensors)

    def _locked(self, tensors: list[Tensor]) -> list[Tensor]:
        locks = self._locks
        if len(locks) == 1:
            with locks[0].now:
                return self._run_held(tensors) if self._is_open or locks[0].host else self._run(tensors)
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
        if not self._is_open:
            return self._run(tensors)
        try:
            for lock in self._locks:
                lock.host = lock.now
            return self._run(tensors)
        finally:
            for lock in self._locks:
                lock.host = None

    def _run(self, tensors: list[Tensor], further: Sequence[Any] = ()) -> list[Tensor]:
        """``further``: storages that the program takes besides."""
        captured, natively = self.captured, self._natively
        if captured.returns.numbers:  # by now other runs have stored theirs
            tensors = self._as_they_are(tensors)
        state = captured.reads.state(tensors) if self._state is None else self._state
        record = None
        unit = captured.unit
        if unit is not None:
            record = unit.spent or UnitRecord(unit, self._operands(unit, tensors, state), {})
        made: Any = REFUSED
        if natively is not None:
            try:
                made = natively(tensors)
            except KernelStatus as error:
                raise self._status_error(error, [*tensors, *state]) from None
        if made is not REFUSED:
            if record is not None:
                self._put(record, made, made, [*tensors, *state])
            if self._residuals:  # which the record keeps
                del made[len(self._items) :]
        else:
            outputs, given = self._compute(tensors, state, further)
            self.made.runs[0] += 1
            made = self._make(outputs, tensors)
            if record is not None:
                self._put(record, made, outputs, given)
        return made if self._leaves_all else self._leave(made, record, tensors)

    def _as_they_are(self, tensors: list[Tensor]) -> list[Tensor]:
        """The arguments with what the places of numbers hold now; what they held where something else is there."""
        places = self.captured.places
        count = len(tensors) - len(places)
        return extended(tensors[:count], places) or tensors

    def _compute(
        self, tensors: list[Tensor], state: list[Tensor], further: Sequence[Any]
    ) -> tuple[Sequence[Any], list[Any]]:
        """Run the program; the storages of its outputs and its inputs."""
        captured = self.captured
        given = [t._storage for t in (*tensors, *state)]
        for i in self._moved:
            given[i] = moved(given[i], self._specs[i].extent, captured.device)
        handed = [memory_for(each, tensors) for each in self._handed]
        try:
            for written in self._written:
                if given[written].is_read_only:
                    check_storage(captured.graph.name, given[written])
            for ref in captured.writes.through:
                check_storage(captured.graph.name, _tensor_of(ref, (), tensors)._storage)
            outputs = self.exe.program.call(*given, *further, *handed)
        except KernelStatus as error:
            operands = [*tensors, *state]
            for i in self._moved:
                operands[i] = make(given[i], self._specs[i], None, 0)
            raise self._status_error(error, operands) from None
        except (TypeError, AttributeError) as error:
            if raised_below(error):
                raise  # of a signal's handler
            raise Unsettled([*tensors, *state]) from None
        if self._written:
            changed = [given[at] for at in self._written]
            count_writes(changed + self._apart(tensors) if self._flat else changed)
        if self._single:
            outputs = (outputs,)
        return ((*(outputs or ()), *handed) if handed else outputs), given

    def _status_error(self, error: KernelStatus, operands: list[Tensor]) -> BaseException:
        """What to raise for the status of a run."""
        captured = self.captured
        graph = specialise(captured.graph, self.sizes) if self.sizes else captured.graph
        found = GraphCall(graph, captured.device).status_error(error, operands, captured=True)
        if captured.has_numbers and type(found) is IndexError_:
            again = OfNumbers(found.message)
            again.where = found.where
            return again
        return found

    def _leave(self, made: list[Tensor], record: UnitRecord | None, tensors: list[Tensor]) -> list[Tensor]:
        """Put all that a run made where it belongs; the results."""
        captured = self.captured
        writes = captured.writes
        for target, at in writes.places:
            self._move(target, at, record, tensors)
        for i in self._untracked:  # made after the write, if no history is said to have missed it
            made[i]._node, made[i]._index = None, 0
        stores = captured.returns.stores
        if stores:
            put(stores, made, tensors)
        for each in captured.returns.kept:
            each.set(tensors)
        if captured.returns.numbers and store_numbers(captured.returns.numbers, made):
            self._told()
        if captured.returns.repeated is not None:
            captured.returns.repeated.do(made, tensors)
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

    def _told(self) -> None:
        """Tell the guards that numbers have been stored, which are none of this entry's guards."""
        reads, now = self.captured.reads, guards.bump()
        if reads.version == now - 1:
            reads.version = now
            if self.builtins is not None:
                self.builtins.renew(now)

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
        if not captured.leaves:
            return [(t._node, t._index) for t in map(operands.__getitem__, unit.positions)]
        count = len(operands)
        return [
            (operands[i]._node, operands[i]._index) if i < count else (tape.Leaf(captured.leaves[i - count]), 0)
            for i in unit.positions
        ]

    def _make(self, outputs: Sequence[Any], tensors: Sequence[Tensor]) -> list[Tensor]:
        """The items of a run."""
        items = self._items
        returns = self.captured.returns
        first = [] if returns.repeated is None else returns.repeated.first
        if self._plain and not returns.stores and not first:
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
        for number, tensor in (*((s.number, s.first) for s in returns.stores if s.of is None), *first):
            made[number] = first_tensor(tensor, made[number])
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
    ) -> None:
        """Put the run on the tape: what it keeps, and the places of what it made. ``outputs`` and ``given`` of the
        program are storages, or tensors that have these."""
        kept = record.kept
        for value, where, number in self._kept:
            at = made[number] if where == "item" else given[number]
            storage = at._storage if isinstance(at, Tensor) else at
            spec = made[number]._spec if where == "item" else self._specs[number]
            kept[value] = storage, spec, storages.save(storage)
        for value, number, spec in self._residuals:
            at = outputs[number]
            kept[value] = at._storage if isinstance(at, Tensor) else at, spec, 0
        for n, at, slot in self._tracked:
            tensor = made[n]
            if slot is not None:
                tensor._node, tensor._index = record, slot
                continue
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

    def parts(self) -> list[tuple[Executable, Mapping[str, int]]]:
        """What runs, one after the other, each with its sizes."""
        return [(self.exe, self.sizes)]

    def executables(self, tensors: Sequence[Tensor]) -> list[tuple[Executable, list[Any], Mapping[str, int]]]:
        """What runs, one after the other, with its inputs, copied so that no state changes, and its sizes."""
        return [(self.exe, self.program_inputs(tensors), self.sizes)]

    def program_inputs(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Copies of all inputs, for runs that must not change the state."""
        handed = [storages.empty(each.spec.nbytes) for each in self._handed]
        return [*(storages.copy_of(t._storage) for t in (*tensors, *self.captured.reads.state(tensors))), *handed]


def raised_below(error: BaseException, frames: int = 1) -> bool:
    """Whether an error comes from Python code deeper than so many frames, the first of which has caught it."""
    last = error.__traceback__
    for _ in range(frames):
        last = None if last is None else last.tb_next
    return last is not None


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
    """What every run writes: tensors of the state and the memory that they share with others, leaves whose gradients it
    replaces, and places of numbers."""
    yield from (each.lock for each in captured.returns.numbers)
    targets = (*captured.writes.updates, *captured.writes.gradients)
    for target, _ in targets:
        for ref in target.others if isinstance(target, FlatRef) else (target,):
            if isinstance(ref, TensorRef):
                yield ref.tensor
                if isinstance(ref.tensor._storage, storages.Storage):
                    yield storages.block_of(ref.tensor._storage)
            elif isinstance(ref, GradRef) and ref.leaf is not None:
                yield ref.leaf

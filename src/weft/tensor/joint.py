"""Many updates as one: calls of :class:`weft.tensor.in_place.Update`, prepared once, as one native call.

An optimizer's step over a hundred small tensors is work for the interpreter, not for the machine. What a joint leaves
to be done for each tensor is to see that it still lies where it lay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.device import Device
from ..core.errors import CompileError
from ..core.symbolic import typical
from ..graph.executable import GIL_WORK, Executable
from ..graph.ir import Value
from ..ops.op import state
from ..runtime.devices import Runs, row_of
from ..runtime.program import AnyStep
from .caches import Cache, epoch
from .in_place import Update, count_writes, overlap
from .spec import Spec
from .tensor import Tensor

_MOST = 30_000  # tensors: each is an argument of the program's call

Call = tuple[Update, Sequence[Tensor], tuple[Any, ...]]  # an update, its targets, its arguments


class Joint:
    """Calls of updates, one after the other, as one native call.

    ``kept`` and ``moving`` are all the tensors of the calls. The kept ones, among them all that is written, stay where
    they are from run to run; the moving ones (gradients) only have the same specs. A run finds out.
    """

    __slots__ = ("_epoch", "_moving", "_native", "_own", "_readers", "_specs", "_storages", "_windows", "_written")

    def __init__(self, calls: Sequence[Call], kept: Sequence[Tensor], moving: Sequence[Tensor]):
        self._epoch = epoch.number
        self._storages = [t._storage for t in kept]
        self._specs = [t._spec for t in kept]
        self._moving = [t._spec for t in moving]
        numbers = {id(t): i for i, t in enumerate([*kept, *moving])}
        self._written: list[Any] = []  # storages, in the order of the writes
        # For each moving tensor: what is written (storage, spec) by the calls that read it.
        self._readers: list[list[tuple[Any, Spec]]] = [[] for _ in moving]
        parts: list[tuple[Executable, list[int]]] = []
        for update, targets, args in calls:
            exe, tensors, _, _ = update.planned(targets, args)
            if exe.results:
                raise CompileError(f"{update.composite.name}: a joint update has no results of its own")
            places = [(t._storage, t._spec) for t in targets]
            inputs = [numbers[id(t)] for t in tensors]
            for number in inputs:
                if number >= len(kept):
                    self._readers[number - len(kept)] += places
            self._written += [storage for storage, _ in places]
            parts.append((exe, inputs))
        self._own = frozenset(self._written)
        # Moving tensors that are looked at each time: a target may be part of their memory.
        self._windows = [i for i, r in enumerate(self._readers) if any(s.owner is not None for s, _ in r)]
        self._native = _program(parts, len(kept) + len(moving), kept[0]._spec.device).call

    @staticmethod
    def of(calls: Sequence[Call], kept: Sequence[Tensor], moving: Sequence[Tensor]) -> Joint | None:
        """The calls as one; None where they have to be made one by one: a target shares memory with another operand,
        it must not be written, or there are too many."""
        if len(kept) + len(moving) > _MOST or len({id(t) for t in (*kept, *moving)}) < len(kept) + len(moving):
            return None
        if len({t._spec.device for t in (*kept, *moving)}) > 1:
            return None
        fixed = {id(t) for t in kept}
        for update, targets, args in calls:
            tensors = update.planned(targets, args)[1]
            for target in targets:
                if target._storage.is_read_only:
                    return None
                for other in tensors:
                    if other is not target and id(other) in fixed and _share(target, other):
                        return None
        return Joint(calls, kept, moving)

    def run(self, kept: Sequence[Tensor], moving: Sequence[Tensor]) -> bool:
        """Do it, unless something is not as it was (or a gradient shares memory with what is written); whether it was
        done."""
        if (
            self._epoch != epoch.number
            or [t._storage for t in kept] != self._storages
            or [t._spec for t in kept] != self._specs
            or [t._spec for t in moving] != self._moving
        ):
            return False
        given = [t._storage for t in moving]
        try:
            looked_at = [i for i, s in enumerate(given) if s.owner is not None]
        except AttributeError:  # a graph's Value
            return False
        if looked_at or self._windows or not self._own.isdisjoint(given):
            for i in {*looked_at, *self._windows, *[i for i, s in enumerate(given) if s in self._own]}:
                if any(overlap(s, spec, given[i], self._moving[i]) for s, spec in self._readers[i]):
                    return False
        count_writes(self._written)
        self._native(*self._storages, *given)
        return True


# Of many targets at once, by the update, its other arguments and all specs: the native call; None when it was asked for
# once.
_each = Cache(64)


def update_each(update: Update, targets: Sequence[Tensor], *args: Any) -> None:
    """``update((target,), target, *args)`` for each of the targets; from the second time on as one native call, where
    all that is read and written are blocks of their own."""
    tensors = [*targets, *[a for a in args if isinstance(a, Tensor)]]
    storages = [t._storage for t in tensors]
    joinable = state.trace is None and 1 < len(tensors) <= _MOST and _are_blocks(storages)
    joinable = joinable and len({t._spec.device for t in tensors}) == 1
    key = None
    if joinable:
        key = (update, repr([a for a in args if not isinstance(a, Tensor)]), len(targets), *[t._spec for t in tensors])
        native = _each.get(key)
        if native is not None:
            count_writes(storages[: len(targets)])
            native(*storages)
            return
    for target in targets:
        update((target,), target, *args)
    if not joinable:
        return
    if key not in _each:
        _each.keep(key, None)
        return
    numbers = {id(t): i for i, t in enumerate(tensors)}
    parts = []
    for target in targets:
        exe, operands, _, _ = update.planned((target,), (target, *args))
        parts.append((exe, [numbers[id(t)] for t in operands]))
    _each[key] = _program(parts, len(tensors), tensors[0]._spec.device).call


def _are_blocks(storages: Sequence[Any]) -> bool:
    """Whether no two of these share memory, which is so for different blocks."""
    if Value in [s.__class__ for s in storages] or len(set(storages)) < len(storages):
        return False
    return not any(s.owner is not None for s in storages)


def _share(a: Tensor, b: Tensor) -> bool:
    return overlap(a._storage, a._spec, b._storage, b._spec)


def _program(parts: Sequence[tuple[Executable, list[int]]], inputs: int, device: Device) -> Runs:
    """The programs' steps, one after the other, over ``inputs`` inputs; each part's are numbered. They share one arena:
    what is in there is for one part alone."""
    steps: list[AnyStep] = []
    for exe, numbers in parts:
        places = [*numbers, inputs]
        steps += [
            step._replace(buffers=tuple([(places[place], offset) for place, offset in step.buffers]))
            for step in exe.program.steps
        ]
    work = sum(typical(x.flops) for exe, _ in parts for x in exe.launches)
    arena = max([exe.program.arena_nbytes for exe, _ in parts], default=0)
    return row_of(device).program(device, steps, inputs, (), arena, work > GIL_WORK)

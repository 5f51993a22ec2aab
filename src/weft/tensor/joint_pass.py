"""Backward passes as one native call: what a pass over small tensors does again and again.

A pass over a hundred small tensors is work for the interpreter, not for the machine: finding out who is next, adding up
what has arrived, calling a kernel that takes less time than the call. A program that trains makes the same pass at
every step. So the pass that :class:`weft.tensor.tape.Sums` would make, record by record, is kept as data:

- its *walk*: for each record, in the order in which a pass comes to them, its gradient, where its operands came from
  (other records of the walk, or leaves) and the specs of what it has kept;
- its *program*: the programs of these gradients and of the additions, one after the other, as one. What is handed from
  one to the next lies in the arena. Nothing is compiled and nothing is lowered: these are the very kernels that the
  records run one by one, so that the bits are the same, and so is every error (below).

A pass that comes to a walk that is kept runs its program. Whatever is not as it was is left to the records: another
walk, a value that was freed or written since, a hook on the way, a gradient that is recorded itself, a capture, a
profile. They find out in their own way, and say so. Nothing has been changed by then.

Who keeps values for a pass keeps them until the program has ended, and intermediate values lie beside each other. So a
pass is one program only where all of it takes little memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from ..core.device import Device
from ..core.dtypes import float32
from ..core.errors import OutOfMemoryError
from ..core.symbolic import typical
from ..graph.executable import GIL_WORK, Executable
from ..graph.ir import Value
from ..runtime import storage as storages
from ..runtime.devices import row_of
from ..runtime.program import AnyStep, KernelStatus, is_watched
from . import gradient_hooks
from .caches import Cache
from .calls import Backward
from .spec import Spec, spec_of
from .tape import Leaf, Record, Sums, keep_nothing
from .tensor import Tensor, make
from .windows import Window, executable, filled, written

_SMALL = 1 << 20  # bytes of all that a pass reads and writes
_LONGEST = 2_000  # records of a walk
_MOST = 100_000  # of all walks: 300 bytes each
_WALKS = 8  # that are kept for one gradient at the end of which passes begin; a new one takes the place of the oldest
_BEFORE = 8  # passes over a walk until it gets a program: to compose it takes as long as some five of them
_REST = 64  # passes that are left alone at most, where others before them were for nothing


class _Visit(NamedTuple):
    """A record of a walk: its gradient; (number, index) of where its operands came from, leaves being numbered after
    the records; the specs of what it has kept, and of the results of the call."""

    backward: Backward | Window
    places: tuple[tuple[int, int], ...]
    saved: tuple[Spec, ...]
    results: tuple[Spec, ...]


class _Total(NamedTuple):
    """What a leaf receives: an output of the program, or (~n) its n-th input; ``lent``: it is memory of something else
    too."""

    number: int
    spec: Spec
    lent: bool


class _Program(NamedTuple):
    """A walk's native call (None: there is nothing to run) on the cotangent and all that records have kept, the number
    of its outputs, and what each leaf receives."""

    native: Any
    outputs: int
    totals: tuple[_Total, ...]


_NONE = _Program(None, 0, ())  # of walks that are left to the records


class _Walk:
    """A walk back from one record. ``table``: native/walk.py has the layout. ``passes``: that came to it; ``program``:
    when there were enough."""

    __slots__ = ("leaves", "passes", "program", "table", "visits")

    def __init__(self, visits: Sequence[_Visit], leaves: int):
        self.visits, self.leaves = tuple(visits), leaves
        words = [len(visits), leaves, sum(len(visit.saved) for visit in visits), id(Record), id(Leaf), id(list)]
        for backward, places, saved, _ in visits:
            words += [id(backward), len(places), len(saved)]
            words += [word for number, index in places for word in (number, id(index))]
            words += map(id, saved)
        held = array("q", words)
        address, length = held.buffer_info()
        self.table = storages.wrap(address, 8 * length, (held, self.visits))
        self.passes = 0
        self.program: _Program | None = None

    def found(self, root: Record) -> tuple[list[Any], list[Any]] | None:
        """The records and leaves that this walk comes to from ``root``, and the storages that they have kept; None
        where it is another walk, or where something was freed or written since."""
        found = storages.walk(root, self.table)
        if found is None:
            return None
        leaves = found[0][len(self.visits) :]
        return found if len(set(leaves)) == len(leaves) else None


_LAST = 256  # result of a call; CPython has one object for each number up to here
_KINDS = {Backward, Window}  # gradients whose programs are known


@cache
def _is_laid_out() -> bool:
    """Whether the slots of records lie where native/walk.py takes them to lie."""
    leaf, storage, spec = Leaf(None), storages.empty(8), spec_of(float32, (2,))
    backward: Any = object()
    record = keep_nothing(None, backward, ((leaf, 0),))
    record.saved = [(storage, spec, None, 0, 0)]
    return _Walk([_Visit(backward, ((1, 0),), (spec,), ())], 1).found(record) == ([record, leaf], [storage])


def _walk(root: Record) -> _Walk | None:
    """The walk from a record; None where it comes to something else than records of ordinary calls, and leaves."""
    if not _is_laid_out():
        return None
    records, stack = {root}, [root]
    while stack:
        record = stack.pop()
        if record.__class__ is not Record or record.backward.__class__ not in _KINDS or record.saved is None:
            return None
        for node, index in record.parents:
            if index > _LAST:
                return None
            if isinstance(node, Record):
                if node not in records:
                    records.add(node)
                    stack.append(node)
            elif node.__class__ is not Leaf:
                return None
        if len(records) > _LONGEST:
            return None
    ordered = sorted(records, key=lambda record: -record.sequence)
    numbers: dict[Any, int] = {record: number for number, record in enumerate(ordered)}
    visits = []
    for record in ordered:
        places = tuple([(numbers.setdefault(node, len(numbers)), index) for node, index in record.parents])
        specs = tuple([spec for _, spec, *_ in record.saved or ()])
        visits.append(_Visit(record.backward, places, specs, record.call.out_specs))
    return _Walk(visits, len(numbers) - len(ordered))


# --- the program ------------------------------------------------------------------------------------------------------


class _Part(NamedTuple):
    """A program among others: (number, byte offset) of the values that it reads or writes over, the numbers of those
    that it makes."""

    exe: Executable
    inputs: list[tuple[int, int]]
    makes: list[int]


class _Composing:
    """Composes the program of a walk. Values are numbered: the inputs, then what is made."""

    def __init__(self, device: Device, inputs: Sequence[Spec]):
        self.device, self.inputs = device, len(inputs)
        self.specs = list(inputs)
        self.nbytes = sum(spec.nbytes for spec in inputs)  # of all values
        self.parts: list[_Part] = []

    def run(self, exe: Executable, reads: Sequence[int], specs: Sequence[Spec]) -> list[int]:
        """The results of an executable that makes values of these specs; some may be what it reads."""
        first, made = len(self.specs), [n for n in exe.results if n >= 0]
        makes = [first + number for number in range(max(made, default=-1) + 1)]
        made_specs = [specs[exe.results.index(number)] for number in range(len(makes))]
        self.specs += made_specs
        self.nbytes += sum(spec.nbytes for spec in made_specs)
        self.parts.append(_Part(exe, [(value, 0) for value in reads], makes))
        return [makes[number] if number >= 0 else reads[~number] for number in exe.results]

    def added(self, a: int, b: int) -> int:
        """Their sum, by the kernel that ``+`` has for them."""
        from ..ops.elementwise import add
        from .dispatch import plan_of

        specs = [self.specs[a], self.specs[b]]
        plan, _ = plan_of(add, tuple([make(None, spec, None, 0) for spec in specs]), {})
        return self.run(plan.call.executable(specs), [a, b], plan.call.out_specs)[0]

    def zeros(self, spec: Spec) -> int:
        """Zeros, row-major."""
        return self.run(executable(filled, spec.dense()), [], [spec.dense()])[0]

    def spread(self, window: Window, g: int) -> int:
        """Zeros, with a cotangent in the place of a part, as :meth:`Window.spread` has them."""
        made = self.zeros(window.whole)
        self.parts.append(_Part(executable(written, window.part, self.specs[g]), [(made, window.offset), (g, 0)], []))
        return made

    def program(self, totals: Sequence[tuple[int, bool]]) -> _Program:
        """All parts, one after the other; ``totals``: for each leaf the value that it receives, and whether it is
        lent."""
        asked = [value for value, _ in totals]
        outputs = [v for v in dict.fromkeys(asked) if v >= self.inputs]
        places = {v: (v, 0) for v in range(self.inputs)}
        places |= {v: (self.inputs + number, 0) for number, v in enumerate(outputs)}
        arena, end = self.inputs + len(outputs), 0
        for v in range(self.inputs, len(self.specs)):
            if v not in places:
                places[v] = arena, end
                end += -(-self.specs[v].nbytes // 64) * 64
        steps: list[AnyStep] = []
        for exe, inputs, makes in self.parts:
            bases = [(places[v][0], places[v][1] + offset) for v, offset in (*inputs, *[(v, 0) for v in makes])]
            bases.append((arena, end))  # the arena of a part is its own
            for step in exe.program.steps:
                moved = [(bases[place][0], bases[place][1] + offset) for place, offset in step.buffers]
                steps.append(step._replace(buffers=tuple(moved)))
        end += max([exe.program.arena_nbytes for exe, _, _ in self.parts], default=0)
        work = sum(typical(x.flops) for exe, _, _ in self.parts for x in exe.launches)
        sizes = [self.specs[v].nbytes for v in outputs]
        made = row_of(self.device).program(self.device, steps, self.inputs, sizes, end, work > GIL_WORK)
        numbers = [outputs.index(v) if v >= self.inputs else ~v for v in asked]
        return _Program(
            made.call if steps or outputs else None,  # outputs without elements need no step
            len(outputs),
            tuple([_Total(n, self.specs[v], lent) for n, (v, lent) in zip(numbers, totals, strict=True)]),
        )


def _composed(walk: _Walk, index: int, cotangent: Spec) -> _Program | None:
    """The program of a walk that begins with a cotangent of output ``index``; None where it would take much memory."""
    inputs = [cotangent, *[spec for visit in walk.visits for spec in visit.saved]]
    device = cotangent.device
    if any(spec.device is not device for spec in inputs):
        return None
    made = _Composing(device, inputs)
    count = len(walk.visits)
    received: dict[tuple[int, int], int] = {(0, index): 0}
    lent: set[int] = set()  # leaves
    kept = 1
    for number, (backward, places, saved, results) in enumerate(walk.visits):
        operands = [*range(kept, kept + len(saved))]
        kept += len(saved)
        for result, spec in enumerate(results):
            value = received.get((number, result))
            operands.append(made.zeros(spec) if value is None else value)
        if made.nbytes > _SMALL:
            return None
        if isinstance(backward, Window):
            parts = [made.spread(backward, operands[0])]
        else:
            specs = [made.specs[value] for value in operands]
            parts = made.run(backward.call.executable(specs), operands, backward.call.out_specs)
        for at, (place, value) in enumerate(zip(places, parts, strict=True)):
            before = received.get(place)
            received[place] = value if before is None else made.added(before, value)
            if place[0] >= count:
                lent.discard(place[0])
                if before is None and (value in operands or value in parts[:at]):
                    lent.add(place[0])
    if made.nbytes > _SMALL:
        return None
    totals = [(received[leaf, 0], leaf in lent) for leaf in range(count, count + walk.leaves)]
    return made.program(totals)


# --- passes -----------------------------------------------------------------------------------------------------------


class _Known:
    """The walks of passes that begin in one way, the latest first. ``missed``: passes since the last that was one call;
    where they are many, those of a program that makes ever other ones, or none that can be composed, most of the
    following are left alone (``rest``)."""

    __slots__ = ("missed", "rest", "walks")

    def __init__(self) -> None:
        self.walks: tuple[_Walk, ...] = ()  # replaced as a whole, for other threads read it
        self.missed = self.rest = 0

    def found(self, root: Record) -> tuple[_Walk, list[Any], list[Any]] | None:
        """The walk that a pass comes to, if it is known, with its nodes and what they have kept; else it is from now
        on."""
        for walk in self.walks:
            found = walk.found(root)
            if found is not None:
                return walk, *found
        made = _walk(root)
        if made is not None:
            self.walks = (made, *self.walks)[:_WALKS]
            _kept[0] += len(made.visits)
            if _kept[0] > _MOST:
                _known.clear()
                _kept[0] = 0
        return None

    def miss(self) -> bool:
        """Note that a pass is not one call: False."""
        self.missed += 1
        self.rest = min(self.missed // _WALKS * _WALKS, _REST)
        return False


# By the gradient of the record that a pass begins with, the number of the result and the spec of its cotangent.
_known = Cache(512)
_kept = [0]  # records of all walks that were made since it was empty


def run_joint(root: Any, index: int, cotangent: Tensor, sums: Sums, retain_graph: bool) -> bool:
    """Send a cotangent from output ``index`` of a record to all leaves behind it, as :meth:`Sums.run` does, in one
    native call; whether that was done."""
    if root.__class__ is not Record or cotangent._storage.__class__ is Value or is_watched():
        return False
    key = root.backward, index, cotangent._spec
    known = _known.get(key)
    if known is None:
        known = _known.keep(key, _Known())
    if known.rest:
        known.rest -= 1
        return False
    found = known.found(root)
    if found is None:
        return known.miss()
    walk, nodes, kept = found
    if walk.program is None:
        walk.passes += 1
        if walk.passes < _BEFORE:
            return False
        walk.program = _composed(walk, index, cotangent._spec) or _NONE
    if walk.program is _NONE:
        return known.miss()
    known.missed = 0
    records = nodes[: len(walk.visits)]
    if gradient_hooks.ever and any(getattr(record, "hooks", None) for record in records):
        return False
    if not _run(walk.program, [cotangent._storage, *kept], nodes[len(records) :], sums):
        return False
    if not retain_graph:
        for record in records:
            if record.saved:
                record.saved = None
    return True


def _run(program: _Program, inputs: list[Any], leaves: Sequence[Leaf], sums: Sums) -> bool:
    """Run the program, and let the leaves receive what it gives."""
    made: Any = ()
    if program.native is not None:
        try:
            made = program.native(*inputs)
        except (KernelStatus, OutOfMemoryError):  # the records may do with less memory, and know what went wrong where
            return False
    if program.outputs == 1:
        made = (made,)
    for leaf, (number, spec, lent) in zip(leaves, program.totals, strict=True):
        sums.receive(leaf, make(made[number] if number >= 0 else inputs[~number], spec, None, 0), lent)
    return True

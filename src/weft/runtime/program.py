"""Program: an executable. A table of steps and what they work on, run by one native call.

A kernel is machine code of the ABI in compiler/kernels.py. A step names a kernel, the integers it reads, its buffers
and its number of units. A buffer is (place, byte offset). Places are numbered: the inputs of a call, then the outputs
that it allocates, then the constants, then one arena of ``arena_nbytes`` that lives for one call.

The table is written once, when the Program is made, as 64-bit words in one array (native/runner.py has the layout);
``Program.call`` is a builtin bound to it. The table is owned by a Storage window, whose owner holds all that the table
points to: the array and the constants. So ``call`` may outlive the Program. The code of the kernels is there for good
(llvm/elf.py), and nothing changes in a Program once it is made: any number of threads may call it at the same time.

A step may be Python code instead (native/host.py): its function is called, on the thread that called the program, with
a Storage for each of its buffers. In the table it is a kernel like others.

A step may be a branch or a loop (:class:`BranchStep`, :class:`LoopStep`) over :class:`Body` tables, which lie behind
the table itself, run by the same native call (native/steps.py).

Steps run in order; units of one step may run on many threads. Steps may write to inputs (updates in place). The first
step that reports status bits is the last one that runs: the outputs are dropped and :class:`KernelStatus` is raised, or
what the step's Python code raised.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..core.errors import OutOfMemoryError, WeftError, user_line
from .pool import start

if TYPE_CHECKING:
    from .storage import Storage

_HEADER_WORDS, _STEP_WORDS = 15, 7
NOT_DONE = 2  # the status of a loop that would go on after as many iterations as it may have
_MAX_PLACES = 1 << 15  # a call keeps one pointer for each on its thread's stack


class KernelStatus(WeftError):
    """A kernel reported status bits (``bits``); bit 0: an index was out of range; bit 1: a loop was to go on after as
    many iterations as it may have."""

    def __init__(self, bits: int):
        told = ": an index is out of range" if bits & 1 else ": a loop goes on" if bits & 2 else ""
        super().__init__(f"a kernel reported status {bits:#x}{told}")
        self.bits = bits


class HostError(KernelStatus):
    """What Python code inside a step raised (``error``), and the user's line that asked for the step (``line``)."""

    def __init__(self, error: Exception, line: tuple[str, int] | None = None):
        WeftError.__init__(self, f"Python code inside a run raised {type(error).__name__}")
        self.bits, self.error, self.line = 0, error, line

    def raise_error(self, named: bool = False) -> NoReturn:
        """Raise it as itself, at the user's line; ``named``: at the one that asked for the step."""
        error, context = self.error, self.error.__context__
        line = (self.line if named else None) or user_line()
        if not isinstance(error, WeftError) and not hasattr(error, "where") and line:
            error.add_note(f"  at {line[0]}:{line[1]}")
        with suppress(AttributeError):
            error.where = line  # type: ignore[attr-defined]
        try:
            raise error
        finally:
            error.__context__ = context  # not the HostError that is being handled


class Release(NamedTuple):
    """Whether a program lets go of the GIL, and how long a signal's handler that raises (Ctrl-C) may end a run of it.

    stops: 0: it keeps the GIL; else 1 + before how many steps that is. before_writes: so many steps come before the
    first that writes an input. saves: (number, bytes) of the inputs that steps behind these and before the last stop
    write: runs that may be ended there keep a copy.
    """

    stops: Any = 0
    before_writes: int = 0
    saves: tuple[tuple[int, int], ...] = ()


class Step(NamedTuple):
    """One kernel launch.

    address: of the kernel's code. ints: the kernel's int64 slots. buffers: (place, byte offset) of each of its buffers.
    units: size of the grid; 0 runs nothing. grain: units worth a thread of their own; up to that many run directly.
    launch: of a GPU's kernel its grid and block (compiler/gpu/frame.py), in whose units ``units`` does not count.
    work: how many microseconds all units take, roughly, which says whether to wake workers (native/pool.py); 0: as many
    as the grain has parts.
    """

    address: int
    ints: tuple[Any, ...]
    buffers: tuple[tuple[int, int], ...]
    units: int
    grain: int
    launch: Any = None
    work: Any = 0


class HostStep(NamedTuple):
    """A step that Python code computes.

    function: called with a Storage for each buffer; it raises nothing but :class:`HostError` and what is no Exception.
    buffers: (place, byte offset) of each. nbytes: the size of each. operands: so many of them come first, read-only.
    """

    function: Callable[..., None]
    buffers: tuple[tuple[int, int], ...]
    nbytes: tuple[int, ...]
    operands: int

    def as_step(self, address: int) -> Step:
        """It as a launch of the kernel at ``address``, which calls the function. Whoever runs it holds the function."""
        return Step(address, (id(self.function), len(self.nbytes), self.operands, *self.nbytes), self.buffers, 1, 1)


class Body(NamedTuple):
    """Steps that a branch or a loop runs in this order, over so many places that it gives them: of a table, or of a
    library (deploy/native.py)."""

    steps: tuple[Any, ...]
    places: int


class BranchStep(NamedTuple):
    """One of two bodies, by a predicate: the first byte of the first buffer. Their places are the buffers."""

    true: Body
    false: Body
    buffers: tuple[tuple[int, int], ...]

    def as_step(self) -> Step:
        """It as a row of the table; a body among its integers stands for the place of its table."""
        return Step(0, (0, self.true, self.false), self.buffers, 1, 1)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """What it runs."""
        return self.true, self.false


class LoopStep(NamedTuple):
    """A body, over and over; native/steps.py has the order of the buffers, and of the body's places.

    carries, sequences, results: the bytes of each carry; of what an iteration reads of each sequence, and writes of
    each result. invariants: how many there are. length: iterations at most. reverse: parts of sequences and results
    come from the last to the first. has_go: a byte says whether to begin, and each iteration whether to go on.
    has_count: an integer among the buffers says how many iterations there are, at most. gives_count: their number is a
    result. bounded: it is an error to want more than ``length``.
    """

    body: Body
    buffers: tuple[tuple[int, int], ...]
    carries: tuple[int, ...]
    sequences: tuple[int, ...]
    invariants: int
    results: tuple[int, ...]
    length: int
    reverse: bool = False
    has_go: bool = False
    has_count: bool = False
    gives_count: bool = False
    bounded: bool = False

    def as_step(self) -> Step:
        """It as a row of the table; a body among its integers stands for the place of its table."""
        counts = len(self.carries), len(self.sequences), self.invariants, len(self.results)
        flags = map(int, (self.reverse, self.has_go, self.has_count, self.gives_count, self.bounded))
        ints = 1, self.body, 0, *counts, self.length, *flags, *self.carries, *self.sequences, *self.results
        return Step(0, ints, self.buffers, 1, 1)

    @property
    def bodies(self) -> tuple[Body, ...]:
        """What it runs."""
        return (self.body,)


AnyStep = Step | HostStep | BranchStep | LoopStep
UNBOUNDED = (1 << 63) - 1  # the length of a loop that ends by itself


class Program:
    """Steps over ``num_inputs`` inputs that make outputs of ``output_nbytes`` bytes each.

    Args:
        steps: run in this order.
        num_inputs: number of Storages that a call takes.
        output_nbytes: size of each output.
        constants: Storages that calls read; kept alive.
        arena_nbytes: bytes of scratch for intermediate values, 64-byte aligned; 0 for none.
        release_gil: let other Python threads run meanwhile (costs 0.1 us a call; for programs of 20 us and more), and
            signals be heard; more of that says a Release.

    Raises:
        ValueError: a step that names a place which is not there, or negative sizes.
        OutOfMemoryError: sizes that 64 bits cannot count.
    """

    __slots__ = (
        "about",
        "arena_nbytes",
        "_numbers",
        "_steps",
        "call",
        "constants",
        "num_inputs",
        "output_nbytes",
        "profile",
        "release_gil",
        "table",
    )

    about: list[Any]
    """What its maker says of it to those who :func:`watch`. The table holds it: it may not hold the Program."""
    _steps: tuple[AnyStep, ...]
    _numbers: tuple[tuple[Any, ...], Sequence[int]] | None  # what stands for numbers in them, and these
    call: Callable[..., Any]
    """``call(*inputs) -> Storage | tuple[Storage, ...] | None``; TypeError for wrong arguments, KernelStatus, what
    Python code inside it raises."""
    profile: Callable[..., list[float]]
    """``profile(*inputs)``: run, drop the outputs; seconds of each step."""
    table: Storage
    """What ``call`` is bound to."""

    def __init__(
        self,
        steps: Sequence[AnyStep],
        num_inputs: int,
        output_nbytes: Sequence[int],
        constants: Sequence[Storage] = (),
        arena_nbytes: int = 0,
        release_gil: Release | bool = False,
    ):
        self._steps, self._numbers = tuple(steps), None
        self.num_inputs, self.output_nbytes = num_inputs, tuple(output_nbytes)
        self.constants = tuple(constants)
        release = release_gil if isinstance(release_gil, Release) else Release(int(release_gil))
        self.arena_nbytes, self.release_gil = arena_nbytes, bool(release.stops)
        self._check(steps)
        addresses = [constant.address for constant in self.constants]
        parallel = _is_parallel(steps)
        layout = steps, num_inputs, self.output_nbytes, addresses, arena_nbytes, release, int(parallel)
        words, pointers = _laid_out(*layout)
        try:
            self._bind(array("q", words), pointers, _functions(steps))
        except OverflowError:
            raise _too_large(arena_nbytes) from None

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """What it runs. (Of a :class:`Template`'s program they are made when somebody asks.)"""
        if self._numbers is None:
            return self._steps
        known = dict(zip(*self._numbers, strict=True))
        return tuple([_in_numbers(step, known) for step in self._steps])

    def _bind(self, words: array[int], pointers: Sequence[int], hosts: tuple[Callable[..., None], ...] = ()) -> None:
        """Make the callables from a table whose pointers count from its beginning; ``hosts``: of its Python code."""
        address, length = words.buffer_info()
        for at in pointers:
            words[at] += address
        builtins = start()
        self.about = []
        self.table = builtins["wrap"](address, length * 8, (words, self.constants, hosts, self.about))
        self.call, self.profile = builtins["program_bind"](self.table)

    def _check(self, steps: Sequence[AnyStep]) -> None:
        places = self.num_inputs + len(self.output_nbytes) + len(self.constants) + (self.arena_nbytes > 0)
        _check_places(places)
        if min((self.num_inputs, self.arena_nbytes, *self.output_nbytes)) < 0:
            raise ValueError("a program's sizes must not be negative")
        _check_steps(steps, places)

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.steps)} steps: {self.num_inputs} inputs, {len(self.output_nbytes)} outputs, "
            f"{len(self.constants)} constants, arena of {self.arena_nbytes} bytes>"
        )


def watch(told: Callable[[list[Any], bytes], None] | None) -> None:
    """Let ``told`` be called after each call of any Program that has succeeded, on the caller's thread: with what the
    Program is about, and the clock (``time.perf_counter_ns``) before its first step and after each, int64. None: of no
    call, which then costs what it did before. There is one at a time."""
    tell = None if told is None else lambda pair: told(pair[0].owner[3], pair[1])
    _watched[:] = [] if told is None else [True]
    start()["quick_watch"](told is not None)
    start()["program_watch"](tell)


_watched: list[bool] = []  # not empty while somebody does


def is_watched() -> bool:
    """Whether somebody is told of calls: those that could be one are made one by one."""
    return bool(_watched)


def _in_numbers(step: AnyStep, known: Mapping[Any, int]) -> AnyStep:
    """A step whose numbers are integers, or stand for these."""

    def numbers(values: Sequence[Any]) -> tuple[int, ...]:
        return tuple([known.get(n, n) for n in values])

    def body(of: Body) -> Body:
        return Body(tuple([_in_numbers(inner, known) for inner in of.steps]), of.places)

    buffers = tuple([(place, known.get(offset, offset)) for place, offset in step.buffers])
    if isinstance(step, HostStep):
        return step._replace(buffers=buffers, nbytes=numbers(step.nbytes))
    if isinstance(step, BranchStep):
        return step._replace(buffers=buffers, true=body(step.true), false=body(step.false))
    if isinstance(step, LoopStep):
        return step._replace(
            body=body(step.body),
            buffers=buffers,
            carries=numbers(step.carries),
            sequences=numbers(step.sequences),
            results=numbers(step.results),
            length=known.get(step.length, step.length),
        )
    units, grain, work = numbers((step.units, step.grain, step.work))
    return step._replace(buffers=buffers, ints=numbers(step.ints), units=units, grain=grain, work=work)


def _check_places(places: int) -> None:
    if places > _MAX_PLACES:
        raise ValueError(f"a program has at most {_MAX_PLACES} inputs, outputs and constants, not {places}")


def _check_steps(steps: Sequence[AnyStep], places: int) -> None:
    for number, step in enumerate(steps):
        if isinstance(step, Step) and not all(isinstance(n, int) for n in (*step.ints, *step[3:5], step.work)):
            raise ValueError(f"step {number}: what stands for a number is no number here: {step.ints}")
        if isinstance(step, Step) and (step.grain < 1 or step.units < 0):
            raise ValueError(f"step {number}: units {step.units} and grain {step.grain} must be >= 0 and >= 1")
        for place, offset in step.buffers:
            if not 0 <= place < places or offset < 0:
                raise ValueError(f"step {number}: buffer (place {place}, offset {offset}) of {places} places")
        if isinstance(step, (BranchStep, LoopStep)):
            for body in step.bodies:
                _check_places(body.places)
                _check_steps(body.steps, body.places)


def _is_parallel(steps: Sequence[AnyStep]) -> bool:
    """Whether a step has more units than its grain, in bodies too."""
    for step in steps:
        if isinstance(step, (BranchStep, LoopStep)):
            if any(_is_parallel(body.steps) for body in step.bodies):
                return True
        elif isinstance(step, Step) and step.units > step.grain:
            return True
    return False


def _functions(steps: Sequence[AnyStep]) -> tuple[Callable[..., None], ...]:
    """The Python functions that steps call, in bodies too."""
    found: list[Callable[..., None]] = []
    for step in steps:
        if isinstance(step, HostStep):
            found.append(step.function)
        elif isinstance(step, (BranchStep, LoopStep)):
            found += [function for body in step.bodies for function in _functions(body.steps)]
    return tuple(found)


def _laid_out(
    steps: Sequence[AnyStep],
    num_inputs: int,
    output_nbytes: Sequence[Any],
    constants: Sequence[int],
    arena_nbytes: Any,
    release: Release,
    parallel: Any,
) -> tuple[list[Any], list[int]]:
    """The words of the table, and of those of bodies behind it; and which of them are pointers: these count bytes from
    the beginning.

    Anything may stand for a number of a step, for bytes, and for the flags.
    """
    words, pointers = _table(steps, num_inputs, output_nbytes, constants, arena_nbytes, release, parallel)
    at = 0
    while at < len(words):
        body = words[at]
        if isinstance(body, Body):
            first = len(words)
            words[at] = 8 * first
            more, inner = _table(body.steps, body.places, (), (), 0, Release(), 0)
            for pointer in inner:
                more[pointer] += 8 * first
            pointers += [at, *(pointer + first for pointer in inner)]
            words += more
        at += 1
    return words, pointers


def _row(step: AnyStep) -> Step:
    """The step as a row of the table."""
    if isinstance(step, HostStep):
        return step.as_step(start()["host_kernel"]())
    return step.as_step() if isinstance(step, (BranchStep, LoopStep)) else step


def _table(
    steps: Sequence[AnyStep],
    num_inputs: int,
    output_nbytes: Sequence[Any],
    constants: Sequence[int],
    arena_nbytes: Any,
    release: Release,
    parallel: Any,
) -> tuple[list[Any], list[int]]:
    """As :func:`_laid_out`, of one table, in which bodies stand for their tables."""
    outputs_at = _HEADER_WORDS
    constants_at = outputs_at + len(output_nbytes)
    saved_at = constants_at + len(constants)
    steps_at = saved_at + 2 * len(release.saves)
    at = steps_at + _STEP_WORDS * len(steps)
    words = [num_inputs, len(output_nbytes), len(constants), arena_nbytes, len(steps)]
    words += [max((len(step.buffers) for step in steps), default=0), release.stops, parallel]
    words += [release.before_writes, len(release.saves), 8 * saved_at, sum(nbytes for _, nbytes in release.saves)]
    pointers = [len(words) - 2, len(words), len(words) + 1, len(words) + 2]
    words += [8 * outputs_at, 8 * constants_at, 8 * steps_at, *output_nbytes, *constants]
    words += [number for save in release.saves for number in save]
    rest: list[Any] = []
    for step in map(_row, steps):
        buffers_at = at + len(step.ints)
        pointers += [len(words) + 1, len(words) + 2]
        words += [step.address, 8 * at, 8 * buffers_at, len(step.buffers), step.units, step.grain, step.work]
        rest += step.ints
        rest += [number for buffer in step.buffers for number in buffer]
        at = buffers_at + 2 * len(step.buffers)
    return words + rest, pointers


def _too_large(arena_nbytes: int) -> OutOfMemoryError:
    """Sizes that int64 does not hold are those of intermediate values: tensors' are checked."""
    return OutOfMemoryError(f"out of memory: intermediate values of more than 2**63 bytes ({arena_nbytes})")


class Template:
    """Programs that differ in numbers alone.

    Arguments are as for :class:`Program`, but numbers may be anything hashable that stands for an integer. ``open`` are
    these things; :meth:`filled` makes the program in which they are certain numbers.
    """

    __slots__ = ("_counts", "_hosts", "_many", "_pointers", "_positions", "_rest", "_words", "open")

    def __init__(
        self,
        steps: Sequence[AnyStep],
        num_inputs: int,
        output_nbytes: Sequence[Any],
        arena_nbytes: Any,
        release_gil: Release,
        parallel: Any,
    ):
        _check_places(num_inputs + len(output_nbytes) + 1)  # and the arena
        self._rest = tuple(steps), num_inputs
        self._hosts = _functions(steps)
        words, self._pointers = _laid_out(steps, num_inputs, output_nbytes, (), arena_nbytes, release_gil, parallel)
        numbers: dict[Any, int] = {}
        self._positions = [(i, numbers.setdefault(w, len(numbers))) for i, w in enumerate(words) if type(w) is not int]
        self.open = tuple(numbers)
        self._words = array("q", [w if type(w) is int else 0 for w in words])
        self._counts = _HEADER_WORDS + len(output_nbytes)  # words before it, and those of outputs, are no less than 0
        self._many: tuple[Any, Any] | None = None
        if len(self._positions) > 64:  # worth the microseconds that NumPy takes for anything
            import numpy as np

            at, which = np.array(self._positions, np.int64).T
            self._many = at, which

    def filled(self, numbers: Sequence[int]) -> Program:
        """The program with these numbers for :attr:`open`.

        Raises:
            OutOfMemoryError: numbers that 64 bits do not hold.
        """
        words = array("q", self._words)
        try:
            if self._many is None:
                for at, which in self._positions:
                    words[at] = numbers[which]
            else:
                import numpy as np

                at, which = self._many
                np.frombuffer(words, np.int64)[at] = np.array(numbers, np.int64)[which]
        except OverflowError:
            raise _too_large(max(numbers)) from None
        made = object.__new__(Program)
        made._steps, made.num_inputs = self._rest
        made._numbers = self.open, numbers
        made.constants, made.arena_nbytes, made.release_gil = (), words[3], bool(words[6])
        made.output_nbytes = tuple(words[_HEADER_WORDS : self._counts])
        if min(words[3], *made.output_nbytes, 0) < 0:
            raise ValueError("a program's sizes must not be negative")
        made._bind(words, self._pointers, self._hosts)
        return made

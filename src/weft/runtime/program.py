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

Steps run in order; units of one step may run on many threads. Steps may write to inputs (updates in place). The first
step that reports status bits is the last one that runs: the outputs are dropped and :class:`KernelStatus` is raised, or
what the step's Python code raised.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..core.errors import OutOfMemoryError, WeftError, user_line
from .pool import start

if TYPE_CHECKING:
    from .storage import Storage

_HEADER_WORDS, _STEP_WORDS = 11, 6
_MAX_PLACES = 1 << 15  # a call keeps one pointer for each on its thread's stack


class KernelStatus(WeftError):
    """A kernel reported status bits (``bits``); bit 0: an index was out of range."""

    def __init__(self, bits: int):
        super().__init__(f"a kernel reported status {bits:#x}" + (": an index is out of range" if bits & 1 else ""))
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


class Step(NamedTuple):
    """One kernel launch.

    address: of the kernel's code. ints: the kernel's int64 slots. buffers: (place, byte offset) of each of its buffers.
    units: size of the grid; 0 runs nothing. grain: units worth a thread of their own; up to that many run directly.
    launch: of a GPU's kernel its grid and block (compiler/gpu/frame.py), in whose units ``units`` does not count.
    """

    address: int
    ints: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    units: int
    grain: int
    launch: Any = None


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


class Program:
    """Steps over ``num_inputs`` inputs that make outputs of ``output_nbytes`` bytes each.

    Args:
        steps: run in this order.
        num_inputs: number of Storages that a call takes.
        output_nbytes: size of each output.
        constants: Storages that calls read; kept alive.
        arena_nbytes: bytes of scratch for intermediate values, 64-byte aligned; 0 for none.
        release_gil: let other Python threads run meanwhile (costs 0.1 us a call; for programs of 20 us and more).

    Raises:
        ValueError: a step that names a place which is not there, or negative sizes.
        OutOfMemoryError: sizes that 64 bits cannot count.
    """

    __slots__ = (
        "arena_nbytes",
        "call",
        "constants",
        "num_inputs",
        "output_nbytes",
        "profile",
        "release_gil",
        "steps",
    )

    call: Callable[..., Any]
    """``call(*inputs) -> Storage | tuple[Storage, ...] | None``; TypeError for wrong arguments, KernelStatus, what
    Python code inside it raises."""
    profile: Callable[..., list[float]]
    """``profile(*inputs)``: run, drop the outputs; seconds of each step."""

    def __init__(
        self,
        steps: Sequence[Step | HostStep],
        num_inputs: int,
        output_nbytes: Sequence[int],
        constants: Sequence[Storage] = (),
        arena_nbytes: int = 0,
        release_gil: bool = False,
    ):
        self.steps, self.num_inputs, self.output_nbytes = tuple(steps), num_inputs, tuple(output_nbytes)
        self.constants = tuple(constants)
        self.arena_nbytes, self.release_gil = arena_nbytes, release_gil
        rows, hosts = _rows(steps)
        self._check(rows)
        addresses = [constant.address for constant in self.constants]
        parallel = any(row.units > row.grain for row in rows)
        layout = rows, num_inputs, self.output_nbytes, addresses, arena_nbytes, int(release_gil), int(parallel)
        words, pointers = _laid_out(*layout)
        try:
            self._bind(array("q", words), pointers, hosts)
        except OverflowError:
            raise _too_large(arena_nbytes) from None

    def _bind(self, words: array[int], pointers: Sequence[int], hosts: tuple[Callable[..., None], ...] = ()) -> None:
        """Make the callables from a table whose pointers count from its beginning; ``hosts``: of its Python code."""
        address, length = words.buffer_info()
        for at in pointers:
            words[at] += address
        builtins = start()
        table = builtins["wrap"](address, length * 8, (words, self.constants, hosts))
        self.call, self.profile = builtins["program_bind"](table)

    def _check(self, steps: Sequence[Step]) -> None:
        places = self.num_inputs + len(self.output_nbytes) + len(self.constants) + (self.arena_nbytes > 0)
        _check_places(places)
        if min((self.num_inputs, self.arena_nbytes, *self.output_nbytes)) < 0:
            raise ValueError("a program's sizes must not be negative")
        for number, step in enumerate(steps):
            if step.grain < 1 or step.units < 0:
                raise ValueError(f"step {number}: units {step.units} and grain {step.grain} must be >= 0 and >= 1")
            for place, offset in step.buffers:
                if not 0 <= place < places or offset < 0:
                    raise ValueError(f"step {number}: buffer (place {place}, offset {offset}) of {places} places")

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.steps)} steps: {self.num_inputs} inputs, {len(self.output_nbytes)} outputs, "
            f"{len(self.constants)} constants, arena of {self.arena_nbytes} bytes>"
        )


def _check_places(places: int) -> None:
    if places > _MAX_PLACES:
        raise ValueError(f"a program has at most {_MAX_PLACES} inputs, outputs and constants, not {places}")


def _rows(steps: Sequence[Step | HostStep]) -> tuple[list[Step], tuple[Callable[..., None], ...]]:
    """The steps as launches of kernels, and the Python functions that these call."""
    hosts = tuple([step.function for step in steps if isinstance(step, HostStep)])
    kernel = start()["host_kernel"]() if hosts else 0
    return [step.as_step(kernel) if isinstance(step, HostStep) else step for step in steps], hosts


def _laid_out(
    steps: Sequence[Step],
    num_inputs: int,
    output_nbytes: Sequence[int],
    constants: Sequence[int],
    arena_nbytes: int,
    release_gil: int,
    parallel: int,
) -> tuple[list[Any], list[int]]:
    """The words of the table, and which of them are pointers: these count bytes from the table's beginning.

    Anything may stand for a number of a step, for bytes, and for the flags.
    """
    outputs_at = _HEADER_WORDS
    constants_at = outputs_at + len(output_nbytes)
    steps_at = constants_at + len(constants)
    at = steps_at + _STEP_WORDS * len(steps)
    words = [num_inputs, len(output_nbytes), len(constants), arena_nbytes, len(steps)]
    words += [max((len(step.buffers) for step in steps), default=0), release_gil, parallel]
    pointers = [len(words), len(words) + 1, len(words) + 2]
    words += [8 * outputs_at, 8 * constants_at, 8 * steps_at, *output_nbytes, *constants]
    rest: list[Any] = []
    for step in steps:
        buffers_at = at + len(step.ints)
        pointers += [len(words) + 1, len(words) + 2]
        words += [step.address, 8 * at, 8 * buffers_at, len(step.buffers), step.units, step.grain]
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
        steps: Sequence[Step | HostStep],
        num_inputs: int,
        output_nbytes: Sequence[Any],
        arena_nbytes: Any,
        release_gil: Any,
        parallel: Any,
    ):
        _check_places(num_inputs + len(output_nbytes) + 1)  # and the arena
        self._rest = tuple(steps), num_inputs
        rows, self._hosts = _rows(steps)
        words, self._pointers = _laid_out(rows, num_inputs, output_nbytes, (), arena_nbytes, release_gil, parallel)
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
        made.steps, made.num_inputs = self._rest
        made.constants, made.arena_nbytes, made.release_gil = (), words[3], bool(words[6])
        made.output_nbytes = tuple(words[_HEADER_WORDS : self._counts])
        if min(words[3], *made.output_nbytes, 0) < 0:
            raise ValueError("a program's sizes must not be negative")
        made._bind(words, self._pointers, self._hosts)
        return made

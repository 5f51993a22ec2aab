"""Program: an executable. A table of kernels and what they work on, run by one native call.

A kernel is machine code of the ABI in compiler/kernels.py. A step names a kernel, the integers it reads, its buffers
and its number of units. A buffer is (place, byte offset). Places are numbered: the inputs of a call, then the outputs
that it allocates, then the constants, then one arena of ``arena_nbytes`` that lives for one call.

The table is written once, when the Program is made, as 64-bit words in one array (native/runner.py has the layout);
``Program.call`` is a builtin bound to it. The table is owned by a Storage window, whose owner holds all that the table
points to: the array and the constants. So ``call`` may outlive the Program. The code of the kernels is there for good
(llvm/elf.py), and nothing changes in a Program once it is made: any number of threads may call it at the same time.

Steps run in order; units of one step may run on many threads. Steps may write to inputs (updates in place). The first
step that reports status bits is the last one that runs: the outputs are dropped and :class:`KernelStatus` is raised.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import OutOfMemoryError, WeftError
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


class Step(NamedTuple):
    """One kernel launch.

    address: of the kernel's code. ints: the kernel's int64 slots. buffers: (place, byte offset) of each of its buffers.
    units: size of the grid; 0 runs nothing. grain: units worth a thread of their own; up to that many run directly.
    """

    address: int
    ints: tuple[int, ...]
    buffers: tuple[tuple[int, int], ...]
    units: int
    grain: int


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
    """``call(*inputs) -> Storage | tuple[Storage, ...] | None``; TypeError for wrong arguments, KernelStatus."""
    profile: Callable[..., list[float]]
    """``profile(*inputs)``: run, drop the outputs; seconds of each step."""

    def __init__(
        self,
        steps: Sequence[Step],
        num_inputs: int,
        output_nbytes: Sequence[int],
        constants: Sequence[Storage] = (),
        arena_nbytes: int = 0,
        release_gil: bool = False,
    ):
        self.steps, self.num_inputs, self.output_nbytes = tuple(steps), num_inputs, tuple(output_nbytes)
        self.constants = tuple(constants)
        self.arena_nbytes, self.release_gil = arena_nbytes, release_gil
        self._check()
        try:
            words = self._table()
        except OverflowError:  # sizes that int64 does not hold: of intermediate values, as those of tensors are checked
            raise OutOfMemoryError(
                f"out of memory: intermediate values of more than 2**63 bytes ({self.arena_nbytes})"
            ) from None
        address, length = words.buffer_info()
        builtins = start()
        table = builtins["wrap"](address, length * 8, (words, self.constants))
        self.call, self.profile = builtins["program_bind"](table)

    def _check(self) -> None:
        places = self.num_inputs + len(self.output_nbytes) + len(self.constants) + (self.arena_nbytes > 0)
        if places > _MAX_PLACES:
            raise ValueError(f"a program has at most {_MAX_PLACES} inputs, outputs and constants, not {places}")
        if min((self.num_inputs, self.arena_nbytes, *self.output_nbytes)) < 0:
            raise ValueError("a program's sizes must not be negative")
        for number, step in enumerate(self.steps):
            if step.grain < 1 or step.units < 0:
                raise ValueError(f"step {number}: units {step.units} and grain {step.grain} must be >= 0 and >= 1")
            for place, offset in step.buffers:
                if not 0 <= place < places or offset < 0:
                    raise ValueError(f"step {number}: buffer (place {place}, offset {offset}) of {places} places")

    def _table(self) -> array[int]:
        """The words of the table, its pointers being addresses inside the array itself."""
        steps, outputs, constants = self.steps, self.output_nbytes, self.constants
        outputs_at = _HEADER_WORDS
        constants_at = outputs_at + len(outputs)
        steps_at = constants_at + len(constants)
        at = steps_at + _STEP_WORDS * len(steps)
        length = at + sum(len(step.ints) + 2 * len(step.buffers) for step in steps)
        words = array("q", bytes(8 * length))
        base = words.buffer_info()[0]
        words[:_HEADER_WORDS] = array(
            "q",
            (
                self.num_inputs,
                len(outputs),
                len(constants),
                self.arena_nbytes,
                len(steps),
                max((len(step.buffers) for step in steps), default=0),
                self.release_gil,
                any(step.units > step.grain for step in steps),
                base + 8 * outputs_at,
                base + 8 * constants_at,
                base + 8 * steps_at,
            ),
        )
        words[outputs_at:steps_at] = array("q", (*outputs, *(constant.address for constant in constants)))
        for number, step in enumerate(steps):
            buffers_at = at + len(step.ints)
            first = steps_at + _STEP_WORDS * number
            words[first : first + _STEP_WORDS] = array(
                "q", (step.address, base + 8 * at, base + 8 * buffers_at, len(step.buffers), step.units, step.grain)
            )
            words[at:buffers_at] = array("q", step.ints)
            at = buffers_at + 2 * len(step.buffers)
            words[buffers_at:at] = array("q", [number for buffer in step.buffers for number in buffer])
        return words

    def __repr__(self) -> str:
        return (
            f"<Program of {len(self.steps)} steps: {self.num_inputs} inputs, {len(self.output_nbytes)} outputs, "
            f"{len(self.constants)} constants, arena of {self.arena_nbytes} bytes>"
        )

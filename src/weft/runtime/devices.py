"""The table of devices: one row for each kind, which says how many there are and what makes memory and programs there.

Who knows what: ``core/device.py`` names; ``llvm`` makes code for a row's target; the row loads that code and binds a
program of it; ``compiler`` renders for the target and knows no device; ``graph/executable.py`` asks the row of the
device that a program is for; a tensor's ``Spec`` says where it lies, so that signatures, plans and compiled functions
are a device's by themselves. What a graph computes is said without a device.

A runtime for another kind of device is a module that calls :func:`register` with its row. The memory that it hands out
is a Storage of ``storages.elsewhere``: an address that nobody here follows, with what keeps it. Its programs are called
as the CPU's are: ``call(*inputs)`` with Storages of its own gives Storages, and :class:`~weft.runtime.program.Step`
says what they run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..core.device import CPU, Device, chosen
from ..core.errors import DeviceError
from ..core.shapes import shown
from ..llvm.targets import Target, host_target
from . import memory
from . import storage as storages
from .memory import Stats
from .program import AnyStep, Program, Release


class Runs(Protocol):
    """What a row makes of steps."""

    @property
    def steps(self) -> tuple[AnyStep, ...]: ...

    arena_nbytes: int
    call: Callable[..., Any]
    """``call(*inputs)`` gives the outputs: a Storage, several in a tuple, or None; raises KernelStatus."""
    profile: Callable[..., list[float]]
    """The same, its outputs dropped; the seconds of each step."""


class Row(Protocol):
    """A kind of device.

    kind: its name. rank: of the kinds that are present, the greatest has the default device; the CPU's is 0. dlpack:
    the number of its kind in DLPack. (A ``device`` below is one of this kind, below ``count()``.)
    """

    kind: str
    rank: int
    dlpack: int

    def count(self) -> int:
        """How many devices of this kind there are; 0 where its driver or library is missing."""

    def target(self, device: Device) -> Target:
        """What to compile for."""

    def load(self, device: Device, codes: Sequence[bytes], name: str) -> list[int]:
        """Load what the target's assembly gave; of each the entry ``name``, as a :class:`Step`'s ``address``."""

    def program(
        self,
        device: Device,
        steps: Sequence[AnyStep],
        num_inputs: int,
        output_nbytes: Sequence[int],
        arena_nbytes: int,
        release_gil: Release | bool,
    ) -> Runs:
        """A program; the arguments are those of :class:`weft.runtime.program.Program`."""

    def empty(self, device: Device, nbytes: int) -> storages.Storage:
        """A new block.

        Raises:
            OutOfMemoryError: there is no memory for it.
        """

    def stats(self, device: Device) -> Stats:
        """Statistics of its memory."""

    def reset_peak(self, device: Device) -> None:
        """Let the peak begin anew."""

    def empty_cache(self, device: Device) -> None:
        """Give cached blocks back."""

    def set_limit(self, device: Device, nbytes: int | None) -> None:
        """Hold at most so many bytes."""


class _Cpu:
    """The machine that this process runs on."""

    kind, rank, dlpack = "cpu", 0, 1

    def count(self) -> int:
        return 1

    def target(self, device: Device) -> Target:
        return host_target()

    def load(self, device: Device, codes: Sequence[bytes], name: str) -> list[int]:
        from ..llvm.elf import load_objects

        return [code.address(name) for code in load_objects(codes)]

    def program(
        self,
        device: Device,
        steps: Sequence[AnyStep],
        num_inputs: int,
        output_nbytes: Sequence[int],
        arena_nbytes: int,
        release_gil: Release | bool,
    ) -> Runs:
        return Program(steps, num_inputs, output_nbytes, (), arena_nbytes, release_gil)

    def empty(self, device: Device, nbytes: int) -> storages.Storage:
        return storages.empty(nbytes)

    def stats(self, device: Device) -> Stats:
        return memory.host_stats()

    def reset_peak(self, device: Device) -> None:
        memory.host_reset_peak()

    def empty_cache(self, device: Device) -> None:
        memory.host_empty_cache()

    def set_limit(self, device: Device, nbytes: int | None) -> None:
        memory.host_set_limit(nbytes)


_rows: dict[str, Row] = {}
_wanted: list[Device] = []  # what set_default_device was given last


def register(row: Row) -> None:
    """Put a kind of device into the table."""
    _rows[row.kind] = row


def present() -> list[Device]:
    """The devices that there are, kind by kind."""
    return [Device(row.kind, number) for row in _rows.values() for number in range(row.count())]


def row_of(device: Device) -> Row:
    """The row of a device."""
    return _rows[device.type]


def target_of(device: Device) -> Target:
    """What to compile for, to run on a device."""
    return row_of(device).target(device)


def device_of(given: Any, op: str = "") -> Device:
    """The device that a user means: a Device or its name, an object with ``type`` and ``index`` (PyTorch's), None for
    the default. All that is called ``device`` in an argument goes through here.

    Raises:
        DeviceError: there is none of that name.
    """
    if given is None:
        return default_device()
    try:
        device = Device(given)
        row = _rows.get(device.type)
        if row is not None and device.number < row.count():
            return device
    except DeviceError:
        pass
    names = ", ".join(repr(str(each)) for each in present())
    prefix = f"{op}: " if op else ""
    raise DeviceError(f"{prefix}device {shown(given)} is not available; this build of weft runs on {names}")


def default_device() -> Device:
    """Where tensors are made for which nobody says where: the device of ``with device:``, else the one that was set,
    else the best one that there is."""
    if chosen.device is not None:
        return device_of(chosen.device)
    for device in _wanted:  # another thread may clear it meanwhile
        return device
    return CPU if len(_rows) == 1 else max(present(), key=lambda device: (_rows[device.type].rank, -device.number))


def get_default_device() -> Device:
    """The device that tensors are made on for which ``device=`` says no other.

    >>> import weft as wf
    >>> wf.get_default_device()
    device('cpu')
    """
    return default_device()


def want(device: Any) -> None:
    """Let a device be the default from now on; None: the best one again.

    Raises:
        DeviceError: it is not there.
    """
    _wanted[:] = [] if device is None else [device_of(device, "set_default_device")]


def moved(storage: storages.Storage, nbytes: int, to: Device) -> storages.Storage:
    """A new block on a device with the first bytes of a Storage of another one. Between two that are not the CPU they
    go by way of it."""
    there = storages.to_host(storage, nbytes)
    if to is CPU:
        return there if there is not storage else storages.copy_of(memoryview(storage)[:nbytes])
    made = row_of(to).empty(to, nbytes)
    keeper = storages.keeper_of(made)
    assert keeper is not None, "memory of another device has a keeper"
    keeper.write(made.address, nbytes, there.address)
    return made


register(_Cpu())

"""A second kind of device, ``test``, of which there are two: what a GPU's runtime adds, without a GPU.

Its memory has addresses that fault where the CPU follows them (pages without permissions): what they stand for lies in
another mapping, at the same distance. So whoever reads a tensor of the device without asking it crashes. Kernels are
the CPU's, run over the other mapping; results are copied into blocks of the device.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from weft.core.device import Device
from weft.core.errors import OutOfMemoryError
from weft.llvm.elf import load_objects
from weft.llvm.targets import Target, host_target
from weft.ops import random
from weft.runtime import devices
from weft.runtime import storage as storages
from weft.runtime.memory import Stats
from weft.runtime.program import Program, Step
from weft.runtime.storage import Storage
from weft.tensor.dispatch import forget_plans

EXTENT = 1 << 30  # bytes of each mapping, which take memory where they are written alone
_UNIT = 256

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def _mapping(protection: int) -> int:
    address = _libc.mmap(None, EXTENT, protection, 0x4022, -1, 0)  # private, anonymous, no reserve
    assert address not in (None, ctypes.c_void_p(-1).value)
    return int(address)


class _Memory:
    """The memory of one device: free blocks by size, and what lies behind them."""

    def __init__(self) -> None:
        self.base, self.behind = _mapping(0), _mapping(3)
        self.end = 0
        self.free: dict[int, list[int]] = {}
        self.current = self.peak = self.allocations = self.fresh = 0
        self.limit: int | None = None

    def take(self, nbytes: int) -> int:
        size = _size(nbytes)
        if self.limit is not None and self.current + size > self.limit:
            raise OutOfMemoryError(f"out of memory: {nbytes} bytes requested, {self.current} in use")
        self.current += size
        self.peak = max(self.peak, self.current)
        self.allocations += 1
        if self.free.get(size):
            return self.free[size].pop()
        self.fresh += 1
        self.end += size
        assert self.end <= EXTENT
        return self.base + self.end - size

    def give(self, address: int, nbytes: int) -> None:
        self.current -= _size(nbytes)
        self.free.setdefault(_size(nbytes), []).append(address)

    def shown(self, address: int) -> int:
        """Where the CPU finds what an address of the device stands for."""
        assert self.base <= address < self.base + EXTENT, "an address of another device"
        return address - self.base + self.behind


def _size(nbytes: int) -> int:
    return max(-(-nbytes // _UNIT), 1) * _UNIT


class _Block:
    """What keeps a block."""

    def __init__(self, device: Device, memory: _Memory, address: int, nbytes: int):
        self.device, self.memory, self.address, self.nbytes = device, memory, address, nbytes

    def read(self, address: int, nbytes: int, into: int) -> None:
        ctypes.memmove(into, self.memory.shown(address), nbytes)

    def write(self, address: int, nbytes: int, source: int) -> None:
        ctypes.memmove(self.memory.shown(address), source, nbytes)

    def like(self, nbytes: int) -> Storage:
        return ROW.empty(self.device, nbytes)

    def __del__(self) -> None:
        self.memory.give(self.address, self.nbytes)


class _Program:
    """Steps over the memory of a device."""

    def __init__(self, device: Device, memory: _Memory, program: Program):
        self._device, self._memory, self._program = device, memory, program
        self.steps, self.arena_nbytes = program.steps, program.arena_nbytes
        ROW.programs += 1

    def _given(self, inputs: Sequence[Any]) -> list[Storage]:
        for each in inputs:
            if not isinstance(each, Storage):
                raise TypeError(f"must be a weft Storage, not {type(each)!r}")
            keeper = storages.keeper_of(each)
            assert keeper is not None and keeper.device is self._device, "an operand of another device"
        return [storages.wrap(self._memory.shown(each.address), each.nbytes, each) for each in inputs]

    def call(self, *inputs: Any) -> Any:
        ROW.calls += 1
        made = self._program.call(*self._given(inputs))
        several = made if isinstance(made, tuple) else () if made is None else (made,)
        there = tuple([devices.moved(each, each.nbytes, self._device) for each in several])
        return there if isinstance(made, tuple) else there[0] if there else None

    def profile(self, *inputs: Any) -> list[float]:
        return self._program.profile(*self._given(inputs))


class Row:
    """The row of the kind."""

    kind, rank, dlpack = "test", -1, 12  # kDLExtDev

    def __init__(self) -> None:
        self.memory: dict[Device, _Memory] = {}
        self.programs = self.calls = 0

    def _of(self, device: Device) -> _Memory:
        return self.memory.setdefault(device, self.memory.get(device) or _Memory())

    def count(self) -> int:
        return 2

    def target(self, device: Device) -> Target:
        return host_target()

    def load(self, device: Device, codes: Sequence[bytes], name: str) -> list[int]:
        return [code.address(name) for code in load_objects(codes)]

    def program(
        self,
        device: Device,
        steps: Sequence[Step],
        num_inputs: int,
        output_nbytes: Sequence[int],
        arena_nbytes: int,
        release_gil: bool,
    ) -> _Program:
        inner = Program(steps, num_inputs, output_nbytes, (), arena_nbytes, release_gil)
        return _Program(device, self._of(device), inner)

    def empty(self, device: Device, nbytes: int) -> Storage:
        memory = self._of(device)
        address = memory.take(nbytes)
        return storages.elsewhere(address, nbytes, _Block(device, memory, address, nbytes))

    def stats(self, device: Device) -> Stats:
        memory = self._of(device)
        cached = sum(size * len(blocks) for size, blocks in memory.free.items())
        return Stats(memory.current, memory.peak, cached, memory.allocations, memory.fresh, memory.limit)

    def reset_peak(self, device: Device) -> None:
        memory = self._of(device)
        memory.peak = memory.current

    def empty_cache(self, device: Device) -> None:
        self._of(device).free.clear()

    def set_limit(self, device: Device, nbytes: int | None) -> None:
        self._of(device).limit = nbytes


ROW = Row()


def register() -> None:
    """Put the row into the table."""
    devices.register(ROW)


def unregister(kind: str = ROW.kind) -> None:
    """Take a kind out again, with its random streams and the plans of its programs."""
    devices._rows.pop(kind, None)
    forget_plans()
    for kept in (random._default, random._steps):
        for device in [each for each in kept if each.type == kind]:
            del kept[device]  # type: ignore[attr-defined]

"""NVIDIA GPUs through CUDA's driver library: memory, PTX and launches, as a row of the table of devices.

Not registered: nothing has run on a GPU yet. ``devices.register(Cuda())`` does it; tests/runtime/test_cuda.py does so
where a device answers. What is here is the least that runs programs: each step waits for the one before it, since a
step that reports a status must be the last one, and memory is the driver's, without a cache.
"""

from __future__ import annotations

import ctypes
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate
from typing import Any

from ..core.device import Device
from ..core.errors import CompileError, OutOfMemoryError
from ..core.process import Lock
from ..llvm.targets import Target, cross_target
from . import storage as storages
from .memory import Stats
from .program import KernelStatus, Step
from .storage import Storage

_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_NEWEST = 90  # of the architectures that PTX is written for; a newer GPU assembles PTX of an older one


class Driver:
    """The functions of the driver library (``cuda.h``; 64-bit handles and addresses), their errors raised.

    Args:
        library: libcuda, or what has functions of these names.
    """

    def __init__(self, library: Any):
        self._library = library
        self.call("cuInit", ctypes.c_uint(0))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function.

        Raises:
            OutOfMemoryError: the device has no more memory.
            CompileError: any other error, with the driver's number.
        """
        code = getattr(self._library, name)(*arguments)
        if code == _OUT_OF_MEMORY:
            raise OutOfMemoryError(f"out of memory: {name} reports that the device has none left")
        if code:
            raise CompileError(f"{name} failed with CUDA error {code}")

    def _integer(self, name: str, kind: Any, *arguments: Any) -> int:
        found = kind()
        self.call(name, ctypes.byref(found), *arguments)
        return int(found.value or 0)

    def count(self) -> int:
        """How many devices there are."""
        return self._integer("cuDeviceGetCount", ctypes.c_int)

    def name(self, number: int) -> str:
        """What a device is called."""
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, ctypes.c_int(256), ctypes.c_int(number))
        return text.value.decode()

    def capability(self, number: int) -> int:
        """Compute capability, 90 for 9.0."""
        major, minor = (
            self._integer("cuDeviceGetAttribute", ctypes.c_int, ctypes.c_int(each), ctypes.c_int(number))
            for each in _CAPABILITY
        )
        return 10 * major + minor

    def total_memory(self, number: int) -> int:
        """Bytes."""
        return self._integer("cuDeviceTotalMem_v2", ctypes.c_size_t, ctypes.c_int(number))

    def context(self, number: int) -> int:
        """The primary context of a device, for good."""
        return self._integer("cuDevicePrimaryCtxRetain", ctypes.c_void_p, ctypes.c_int(number))

    def enter(self, context: int) -> None:
        """Let what this thread calls be of a context."""
        self.call("cuCtxSetCurrent", ctypes.c_void_p(context))

    def load(self, ptx: bytes, name: str) -> int:
        """A function of a module, which stays loaded."""
        module = self._integer("cuModuleLoadData", ctypes.c_void_p, ctypes.c_char_p(ptx))
        return self._integer("cuModuleGetFunction", ctypes.c_void_p, ctypes.c_void_p(module), name.encode())

    def allocate(self, nbytes: int) -> int:
        """The address of a block."""
        return self._integer("cuMemAlloc_v2", ctypes.c_uint64, ctypes.c_size_t(max(nbytes, 1)))

    def free(self, address: int) -> None:
        """Give a block back."""
        self.call("cuMemFree_v2", ctypes.c_uint64(address))

    def read(self, into: int, address: int, nbytes: int) -> None:
        """Copy from the device."""
        self.call("cuMemcpyDtoH_v2", ctypes.c_void_p(into), ctypes.c_uint64(address), ctypes.c_size_t(nbytes))

    def write(self, address: int, source: int, nbytes: int) -> None:
        """Copy to the device."""
        self.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), ctypes.c_void_p(source), ctypes.c_size_t(nbytes))

    def launch(self, function: int, launch: Any, bufs: int, ints: int, status: int) -> None:
        """Run a kernel (compiler/gpu has its ABI) over the units of its launch, and wait for it."""
        words = (bufs, ints, 0, launch.units, status)
        values = [ctypes.c_uint64(word) for word in words]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        sizes = (*launch.grid, 1, *launch.block, 1, 0)
        self.call(
            "cuLaunchKernel", ctypes.c_void_p(function), *map(ctypes.c_uint, sizes), ctypes.c_void_p(0), pointers, None
        )
        self.call("cuCtxSynchronize")


@cache
def driver() -> Driver | None:
    """The machine's driver; None where there is none, or where it finds no device."""
    try:
        found = Driver(ctypes.CDLL("libcuda.so.1"))
        return found if found.count() else None
    except (OSError, CompileError):
        return None


class _Keeper:
    """What keeps a block."""

    def __init__(self, row: Cuda, device: Device, nbytes: int):
        self.row, self.device, self.nbytes = row, device, nbytes
        self.address = row.take(device, nbytes)

    def read(self, address: int, nbytes: int, into: int) -> None:
        """See :class:`weft.runtime.storage.Keeper`."""
        if nbytes:
            self.row.on(self.device).read(into, address, nbytes)

    def write(self, address: int, nbytes: int, source: int) -> None:
        """See :class:`weft.runtime.storage.Keeper`."""
        if nbytes:
            self.row.on(self.device).write(address, source, nbytes)

    def like(self, nbytes: int) -> Storage:
        """See :class:`weft.runtime.storage.Keeper`."""
        return self.row.empty(self.device, nbytes)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self.row.given.append((self.device, self.address, self.nbytes))


class _Program:
    """Steps over the memory of a device; see :class:`weft.runtime.program.Program`."""

    def __init__(
        self, row: Cuda, device: Device, steps: Sequence[Step], inputs: int, outputs: Sequence[int], arena_nbytes: int
    ):
        self.steps, self.arena_nbytes = tuple(steps), arena_nbytes
        self._row, self._device, self._inputs, self._outputs = row, device, inputs, tuple(outputs)
        self._ints = self._uploaded([number for step in steps for number in step.ints])
        self._ints_at = list(accumulate((8 * len(step.ints) for step in steps), initial=0))
        self._bufs_at = list(accumulate((8 * len(step.buffers) for step in steps), initial=0))

    def _uploaded(self, numbers: Sequence[int]) -> Storage:
        words = array("Q", [number & (1 << 64) - 1 for number in numbers])
        made = self._row.empty(self._device, 8 * len(words))
        self._row.on(self._device).write(made.address, words.buffer_info()[0], 8 * len(words)) if words else None
        return made

    def call(self, *inputs: Any) -> Any:
        """Run; the outputs."""
        made = self._run(inputs, None)
        return None if not made else made[0] if len(made) == 1 else tuple(made)

    def profile(self, *inputs: Any) -> list[float]:
        """Run; the seconds of each step."""
        times: list[float] = []
        self._run(inputs, times)
        return times

    def _run(self, inputs: Sequence[Any], times: list[float] | None) -> list[Storage]:
        for each in inputs:
            if not isinstance(each, storages.Storage):
                raise TypeError(f"an operand must be a weft Storage, not {type(each)!r}")
        if len(inputs) != self._inputs:
            raise TypeError(f"a program of {self._inputs} inputs got {len(inputs)}")
        at, row, device = self._row.on(self._device), self._row, self._device
        made = [row.empty(device, nbytes) for nbytes in self._outputs]
        arena = row.empty(device, self.arena_nbytes)
        places = [each.address for each in (*inputs, *made, arena)]
        bufs = self._uploaded([places[place] + offset for step in self.steps for place, offset in step.buffers])
        status = self._uploaded([0])
        word = ctypes.c_int64(0)
        for number, step in enumerate(self.steps):
            start = time.perf_counter()
            if step.units:
                ints = self._ints.address + self._ints_at[number]
                at.launch(step.address, step.launch, bufs.address + self._bufs_at[number], ints, status.address)
                at.read(ctypes.addressof(word), status.address, 8)
            if word.value:
                raise KernelStatus(word.value)
            if times is not None:
                times.append(time.perf_counter() - start)
        return made


class Cuda:
    """The row of NVIDIA GPUs.

    Args:
        find: gives the driver, or None.
    """

    kind, rank, dlpack = "cuda", 10, 2

    def __init__(self, find: Callable[[], Driver | None] = driver):
        self._find = find
        self._contexts: dict[Device, int] = {}
        self._held: dict[Device, list[int]] = {}  # in use, peak, allocations; changed under the lock
        self._limits: dict[Device, int | None] = {}
        # What nobody keeps any more. A destructor runs anywhere: between two calls of the driver, which are for the
        # context that this thread is in, in a forked child, at the end of the process. So it makes no call, and only
        # says here what is to be freed, in one step; who takes or counts memory next frees it.
        self.given: deque[tuple[Device, int, int]] = deque()
        self._lock = Lock()

    def count(self) -> int:
        """How many devices answer."""
        found = self._find()
        return 0 if found is None else found.count()

    def on(self, device: Device) -> Driver:
        """The driver, for calls of a device's context in this thread."""
        found = self._find()
        assert found is not None, "a device that is not there"
        if device not in self._contexts:
            with self._lock.now:
                if device not in self._contexts:
                    self._contexts[device] = found.context(device.number)
        found.enter(self._contexts[device])
        return found

    def target(self, device: Device) -> Target:
        """PTX for the device, or for the newest architecture before it that LLVM writes PTX for."""
        return cross_target(f"nvptx64-sm_{min(self.on(device).capability(device.number), _NEWEST)}")

    def load(self, device: Device, codes: Sequence[bytes], name: str) -> list[int]:
        """The functions of PTX texts."""
        return [self.on(device).load(code + b"\0", name) for code in codes]

    def program(
        self,
        device: Device,
        steps: Sequence[Step],
        num_inputs: int,
        output_nbytes: Sequence[int],
        arena_nbytes: int,
        release_gil: Any,
    ) -> _Program:
        """A program. (ctypes lets go of the GIL in every call.)"""
        return _Program(self, device, steps, num_inputs, output_nbytes, arena_nbytes)

    def empty(self, device: Device, nbytes: int) -> Storage:
        """A block of the driver's."""
        keeper = _Keeper(self, device, nbytes)
        return storages.elsewhere(keeper.address, nbytes, keeper)

    def take(self, device: Device, nbytes: int) -> int:
        """Memory for a block, which is counted."""
        with self._lock.now:  # until it is counted: what others take meanwhile is within the limit too
            self._free_given()
            held, limit = self._held.setdefault(device, [0, 0, 0]), self._limits.get(device)
            if limit is not None and held[0] + nbytes > limit:
                raise OutOfMemoryError(
                    f"out of memory: {nbytes} bytes requested, {held[0]} in use, the limit is {limit}"
                )
            address = self.on(device).allocate(nbytes)
            # Each a step that no destructor gets into, for one may take and give in this very thread.
            held[0] += nbytes
            held[2] += 1
            if held[0] > held[1]:
                held[1] = held[0]
        return address

    def _free_given(self) -> None:
        """Free what nobody keeps any more; the lock is held."""
        while self.given:
            device, address, nbytes = self.given.popleft()
            self.on(device).free(address)
            self._held[device][0] -= nbytes

    def stats(self, device: Device) -> Stats:
        """Statistics of what was handed out."""
        with self._lock.now:
            self._free_given()
            current, peak, allocations = self._held.get(device, (0, 0, 0))
        return Stats(current, peak, 0, allocations, allocations, self._limits.get(device))

    def reset_peak(self, device: Device) -> None:
        """Let the peak begin anew."""
        with self._lock.now:
            self._free_given()
            held = self._held.setdefault(device, [0, 0, 0])
            held[1] = held[0]

    def empty_cache(self, device: Device) -> None:
        """Free what waits for it."""
        with self._lock.now:
            self._free_given()

    def set_limit(self, device: Device, nbytes: int | None) -> None:
        """Hold at most so many bytes."""
        self._limits[device] = nbytes

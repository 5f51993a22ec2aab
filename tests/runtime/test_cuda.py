"""The CUDA row: with a driver library in Python that runs kernels on the emulated GPU; and on a GPU, if there is one.

What the first shows: which calls are made with which arguments, and that programs of many kernels, memory, errors and
statistics come out as on the CPU. It cannot show what a GPU makes of PTX.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import second_device
from gpu_emulator import emulated

import weft as wf
from weft import nn
from weft.compiler import build
from weft.compiler.gpu.frame import GpuLaunch
from weft.nn import functional as F
from weft.runtime import cuda, devices
from weft.runtime.cuda import Cuda, Driver

GPU = cuda.driver()
DATA = np.random.default_rng(3).normal(size=(6, 40)).astype(np.float32)


class Library:
    """Functions of libcuda's names, for one device whose memory is this process's."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.entries: list[bytes] = []
        self.calls: list[str] = []
        self.left = 1 << 26

    def __getattr__(self, name: str) -> Any:
        body = getattr(type(self), "_" + name.removesuffix("_v2"))

        def function(*arguments: Any) -> int:
            self.calls.append(name)
            return body(self, *arguments) or 0

        return function

    def _cuInit(self, flags: Any) -> None:
        assert flags.value == 0

    def _cuDeviceGetCount(self, out: Any) -> None:
        out._obj.value = 1

    def _cuDeviceGetName(self, text: Any, size: Any, number: Any) -> None:
        text.value = b"emulated"

    def _cuDeviceGetAttribute(self, out: Any, which: Any, number: Any) -> None:
        out._obj.value = {75: 8, 76: 6}[which.value]

    def _cuDeviceTotalMem(self, out: Any, number: Any) -> None:
        out._obj.value = 1 << 26

    def _cuDevicePrimaryCtxRetain(self, out: Any, number: Any) -> None:
        out._obj.value = 77

    def _cuCtxSetCurrent(self, context: Any) -> None:
        assert context.value == 77

    def _cuCtxSynchronize(self) -> None:
        pass

    def _cuModuleLoadData(self, out: Any, image: Any) -> None:
        self.entries.append(image.value)
        out._obj.value = len(self.entries)

    def _cuModuleGetFunction(self, out: Any, module: Any, name: bytes) -> None:
        text = self.entries[module.value - 1]
        assert b".target sm_86" in text and b".entry " + name + b"(" in text
        out._obj.value = module.value

    def _cuMemAlloc(self, out: Any, nbytes: Any) -> int:
        if nbytes.value > self.left:
            return 2
        block = (ctypes.c_char * nbytes.value)()
        out._obj.value = ctypes.addressof(block)
        self.blocks[out._obj.value] = block
        return 0

    def _cuMemFree(self, address: Any) -> None:
        del self.blocks[address.value]

    def _inside(self, address: int, nbytes: int) -> None:
        assert any(at <= address and address + nbytes <= at + len(block) for at, block in self.blocks.items())

    def _cuMemcpyDtoH(self, into: Any, address: Any, nbytes: Any) -> None:
        self._inside(address.value, nbytes.value)
        ctypes.memmove(into.value, address.value, nbytes.value)

    def _cuMemcpyHtoD(self, address: Any, source: Any, nbytes: Any) -> None:
        self._inside(address.value, nbytes.value)
        ctypes.memmove(address.value, source.value, nbytes.value)

    def _cuLaunchKernel(self, function: Any, *rest: Any) -> None:
        gx, gy, gz, bx, by, bz, shared = (each.value for each in rest[:7])
        stream, pointers, extra = rest[7:]
        bufs, ints, begin, end, status = (ctypes.c_uint64.from_address(each).value for each in pointers)
        assert (gy, gz, bz, shared, stream.value, begin, extra) == (1, 1, 1, 0, None, 0, None)
        assert gx == GpuLaunch(end, (bx, by)).grid[0]
        emulated(KERNELS[self.entries[function.value - 1]], (bx, by), min(gx, 2), (bufs, ints, 0, end, status))


KERNELS: dict[bytes, Any] = {}  # by their PTX


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """A machine with such a library, and nothing loaded for it."""
    made = Library()
    found = Driver(made)
    render = build.cached_objects

    def remembered(requests: Sequence[tuple[str, Any]], target: Any) -> list[bytes]:
        codes = render(requests, target)
        if target.is_gpu:
            for (_, build_), code in zip(requests, codes, strict=True):
                KERNELS[code] = build_.__defaults__[0]
        return codes

    monkeypatch.setattr(build, "cached_objects", remembered)
    monkeypatch.setattr(build, "_loaded", {})
    devices.register(Cuda(lambda: found))
    with wf.device("cpu"):
        yield made
    second_device.unregister("cuda")


def programs(device: str) -> list[Any]:
    """What some programs give on a device, as bits."""
    x = wf.tensor(DATA, device=device)
    wf.random.seed(1)
    net = nn.Linear(40, 3, device="cpu").to(device)
    with wf.no_grad():
        net.weight.copy_(wf.asarray(DATA[:3]))
    opt = wf.optim.SGD(net.parameters(), lr=0.1)
    labels = wf.tensor([0, 1, 2, 0, 1, 2], device=device)

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), labels)
        loss.backward()
        opt.step()
        return loss

    losses = [step(x).item() for _ in range(2)]
    y = x.clone()
    y[1] += 3.0
    made = [F.gelu(x) * 2, x.softmax(-1), x.T @ x[:, :4], y.sum(0), wf.cumulative_sum(x, axis=0), x[labels], net.weight]
    assert {t.device for t in made} == {wf.device(device)}
    return [losses, *(t.cpu().numpy().tobytes() for t in made)]


def test_programs_have_the_bits_of_the_cpu(library: Library) -> None:
    assert programs("cuda") == programs("cpu")
    assert {"cuModuleLoadData", "cuLaunchKernel", "cuCtxSynchronize", "cuMemAlloc_v2"} <= set(library.calls)


def test_memory_and_errors(library: Library) -> None:
    before = len(library.blocks)
    x = wf.tensor(DATA, device="cuda:0")
    assert x.__dlpack_device__() == (2, 0) and x.device == "cuda:0" and len(library.blocks) == before + 1
    assert wf.memory.stats("cuda").current == x.nbytes <= wf.memory.stats("cuda").peak
    with pytest.raises(wf.WeftError, match="index 9 is out of range for axis 0 of size 6"):
        x[wf.tensor([9], device="cuda")]
    wf.memory.set_limit(2 * x.nbytes, "cuda")
    with pytest.raises(wf.OutOfMemoryError, match=f"{3 * x.nbytes} bytes requested"):
        wf.concat([x, x, x])
    wf.memory.set_limit(None, "cuda")
    library.left = 100
    with pytest.raises(wf.OutOfMemoryError, match="cuMemAlloc_v2 reports that the device has none left"):
        x.clone()
    with pytest.raises(wf.DeviceError, match="device 'cuda:1' is not available"):
        x.to("cuda:1")
    with pytest.raises(wf.CompileError, match="cuInit failed with CUDA error 100"):
        Driver(type("Broken", (), {"cuInit": lambda self, flags: 100})())


def test_a_destructor_makes_no_call_and_who_takes_memory_next_frees_it(library: Library) -> None:
    """It may run between two calls of the driver, the second of which is for the context that the first set."""
    row, device = devices.row_of(wf.device("cuda")), wf.device("cuda")
    blocks = [row.empty(device, 64) for _ in range(3)]
    held, count = wf.memory.stats("cuda").current, len(library.blocks)
    library.calls.clear()
    blocks.pop()
    blocks.pop()
    assert not library.calls and len(library.blocks) == count
    blocks.append(row.empty(device, 64))
    assert len(library.blocks) == count - 1 and library.calls.count("cuMemFree_v2") == 2
    assert wf.memory.stats("cuda").current == held - 64
    blocks.clear()
    assert wf.memory.stats("cuda").current == held - 3 * 64 and len(library.blocks) == count - 3
    blocks.append(row.empty(device, 64))
    blocks.clear()
    wf.memory.empty_cache("cuda")
    assert len(library.blocks) == count - 3


def test_threads_keep_to_the_limit_and_are_counted(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver takes its time, and lets other threads run."""
    take = Library._cuMemAlloc

    def slowly(self: Library, out: Any, nbytes: Any) -> int:
        time.sleep(1e-3)
        return take(self, out, nbytes)

    monkeypatch.setattr(Library, "_cuMemAlloc", slowly)
    device = wf.device("cuda")
    row = devices.row_of(device)
    before, size, most = wf.memory.stats("cuda"), 256, 6
    wf.memory.set_limit(before.current + most * size, "cuda")
    made: list[list[Any]] = [[] for _ in range(8)]
    refused: list[int] = []
    barrier = threading.Barrier(len(made))

    def work(mine: list[Any]) -> None:
        barrier.wait()
        for _ in range(3):
            try:
                mine.append(row.empty(device, size))
            except wf.OutOfMemoryError:
                refused.append(1)

    workers = [threading.Thread(target=work, args=(each,)) for each in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wf.memory.set_limit(None, "cuda")
    after = wf.memory.stats("cuda")
    assert sum(map(len, made)) == most and len(refused) == 3 * len(made) - most
    assert after.current - before.current == most * size and after.peak <= before.current + most * size
    assert after.allocations - before.allocations == most
    made.clear()
    assert wf.memory.stats("cuda").current == before.current


def test_the_driver_says_what_is_there(library: Library) -> None:
    found = Driver(library)
    assert (found.count(), found.name(0), found.capability(0), found.total_memory(0)) == (1, "emulated", 86, 1 << 26)
    assert devices.target_of(wf.device("cuda")).cpu == "sm_86" and devices.present() == ["cpu", "cuda:0"]


def test_it_is_no_device_of_weft_yet() -> None:
    with pytest.raises(wf.DeviceError, match="device 'cuda' is not available; this build of weft runs on 'cpu'"):
        wf.zeros(2, device="cuda")
    assert Cuda(lambda: None).count() == 0


@pytest.mark.skipif(GPU is None, reason="no GPU: libcuda is not there, or finds no device")
def test_on_a_gpu() -> None:
    assert GPU is not None
    print(GPU.name(0), GPU.capability(0))
    devices.register(Cuda())
    try:
        with wf.device("cpu"):
            assert programs("cuda") == programs("cpu")
    finally:
        second_device.unregister("cuda")

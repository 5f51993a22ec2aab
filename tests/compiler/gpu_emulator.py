"""Runs GPU kernels on the host: the IR of ``weft.compiler.gpu``, compiled for this machine.

What is special to a GPU becomes arguments: thread and block numbers, and a function that is the barrier. The threads
of a block take turns: each runs until it reaches a barrier (or ends), then the next, in an order that the test gives.
So a missing barrier shows itself always, not now and then: with threads running in increasing order a value that a
later thread was to write is not there yet, in decreasing order one that an earlier thread was to write.

What this cannot show is how LLVM's NVPTX back end and ptxas translate the IR; test_gpu.py reads the PTX for that.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Sequence
from typing import Any

from weft.compiler.build import render
from weft.compiler.kernels import Kernel, describe
from weft.compiler.renderers import gpu_launch
from weft.llvm.assembly import assemble
from weft.llvm.elf import CodeModule, load
from weft.llvm.targets import cross_target, host_target

_BARRIER = ctypes.CFUNCTYPE(None)
_ENTRY = ctypes.CFUNCTYPE(
    None,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_void_p,
    *[ctypes.c_int32] * 5,
    _BARRIER,
)
_REGISTERS = ("tid.x", "tid.y", "ntid.x", "ctaid.x", "nctaid.x")
_loaded: dict[str, tuple[CodeModule, bool]] = {}


def host_text(kernel: Kernel) -> str:
    """The kernel's GPU rendering with everything that a host lacks replaced."""
    text = render(kernel, "kernel", cross_target("nvptx64"))
    text = re.sub(r"call i32 @llvm\.nvvm\.read\.ptx\.sreg\.([a-z.]+)\(\)", r"add i32 %sreg.\1, 0", text)
    text = text.replace("call void @llvm.nvvm.barrier.cta.sync.aligned.all(i32 0)", "call void %barrier()")
    text = re.sub(
        r"addrspacecast ptr( addrspace\(\d\))? (\S+) to ptr( addrspace\(\d\))?",
        r"getelementptr i8, ptr \2, i64 0",
        text,
    )
    text = re.sub(r"internal addrspace\(3\) global (\[.*\]) poison", r"global \1 zeroinitializer", text)
    parameters = ", ".join(f"i32 %sreg.{name}" for name in _REGISTERS)
    text = re.sub(r"ptx_kernel void @kernel\((.*)\) #0", rf"void @kernel(\1, {parameters}, ptr %barrier) #0", text)
    assert "nvvm.read" not in text and "addrspace" not in text
    return text


def _code(kernel: Kernel) -> tuple[Any, bool]:
    """The entry, and whether it has barriers."""
    key = describe(kernel)
    if key not in _loaded:
        text = host_text(kernel)
        _loaded[key] = load(assemble(text, host_target(), level=1)), "%barrier()" in text
    module, waits = _loaded[key]
    return _ENTRY(module.address("kernel")), waits


class _Block:
    """The threads of one block, one of which runs at a time."""

    def __init__(self, entry: Any, arguments: Sequence[Any], shape: tuple[int, int], block: int, blocks: int):
        self.entry, self.arguments, self.shape = entry, arguments, shape
        self.place = (block, blocks)
        self.count = shape[0] * shape[1]
        self.turn = [threading.Semaphore(0) for _ in range(self.count)]
        self.back = threading.Semaphore(0)
        self.done = [False] * self.count
        self.current = 0
        self.barrier = _BARRIER(self._wait)

    def _wait(self) -> None:
        thread = self.current
        self.back.release()
        self.turn[thread].acquire()

    def _thread(self, number: int) -> None:
        self.turn[number].acquire()
        y, x = divmod(number, self.shape[0])
        self.entry(*self.arguments, x, y, self.shape[0], *self.place, self.barrier)
        self.done[number] = True
        self.back.release()

    def run(self, order: Sequence[int]) -> None:
        """Run all threads from barrier to barrier."""
        threads = [threading.Thread(target=self._thread, args=(n,)) for n in range(self.count)]
        for thread in threads:
            thread.start()
        stray = False
        while not all(self.done):
            for number in order:
                if not self.done[number]:
                    self.current = number
                    self.turn[number].release()
                    self.back.acquire()
            stray = stray or (any(self.done) and not all(self.done))
        for thread in threads:
            thread.join()
        assert not stray, "some threads ended while others waited at a barrier"


def run_on_emulated_gpu(
    kernel: Kernel,
    ints: Sequence[int],
    pointers: Sequence[int],
    units: int,
    *,
    most_blocks: int = 3,
    descending: bool = False,
    given: tuple[int, int] | None = None,
) -> int:
    """Launch the kernel over all units, or those ``given``; returns the status bits.

    With few blocks each block has several units.
    """
    launch = gpu_launch(kernel, ints, units)
    bufs = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
    numbers = (ctypes.c_int64 * max(len(ints), 1))(*ints)
    status = ctypes.c_int64(0)
    begin, end = given or (0, launch.units)
    arguments = (ctypes.addressof(bufs), ctypes.addressof(numbers), begin, end, ctypes.addressof(status))
    emulated(kernel, launch.block, min(launch.grid[0], most_blocks), arguments, descending)
    return status.value


def emulated(
    kernel: Kernel, shape: tuple[int, int], blocks: int, arguments: Sequence[int], descending: bool = False
) -> None:
    """Run so many blocks of threads of a kernel on the arguments of its ABI."""
    entry, waits = _code(kernel)
    width, height = shape
    order = range(width * height)
    nothing = _BARRIER(lambda: None)
    for block in range(blocks):
        if waits:
            _Block(entry, arguments, shape, block, blocks).run(list(reversed(order)) if descending else order)
            continue
        for thread in reversed(order) if descending else order:
            y, x = divmod(thread, width)
            entry(*arguments, x, y, width, block, blocks, nothing)

"""A function's kernels one by one: its launches, the memory that they share, and a run of some of a launch's units."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import weft as wf
from weft.compiler.kernels import SCRATCH_BYTES
from weft.core.shapes import strides_of
from weft.graph.executable import Executable, build
from weft.graph.lower.launch import Launch
from weft.llvm.targets import host_target
from weft.transforms.capture import capture

TARGET = replace(host_target(), checked=False)  # whose kernels have no more integers than their launches
_KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)
Array = Any


def executable_of(function: Callable[..., Any], arrays: Sequence[Array], threads: int = 1) -> Executable:
    """What compiles from a function that has no state."""
    with wf.no_grad():
        captured = capture(function, [wf.asarray(a) for a in arrays])
    assert not captured.reads.refs
    return build(captured.graph, [strides_of(a.shape) for a in arrays], [], TARGET, threads)


def buffers_of(exe: Executable, arrays: Sequence[Array]) -> list[Array]:
    """Memory of every place: inputs, outputs, arena."""
    memory = [np.frombuffer(bytearray(a.tobytes() or b"\0"), np.uint8) for a in arrays]
    memory += [np.full(max(v.dtype.itemsize * int(np.prod(v.shape)), 1), 0xA5, np.uint8) for v in exe.plan.outputs]
    return [*memory, np.full(exe.plan.arena_nbytes + 1, 0x5A, np.uint8)]


def pointers_of(exe: Executable, launch: Launch, memory: Sequence[Array]) -> list[int]:
    """Where the launch's buffers lie."""
    places = [(exe.plan.place[v][0], exe.plan.place[v][1] + offset) for v, offset in launch.buffers]
    return [memory[place].ctypes.data + offset for place, offset in places]


def run_units(address: int, launch: Launch, pointers: Sequence[int], ranges: Sequence[tuple[int, int]]) -> int:
    """Run ranges of units of a launch, whose code is at ``address``, one after the other; the status."""
    ints = (ctypes.c_int64 * max(len(launch.ints), 1))(*launch.ints)
    bufs = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
    scratch = np.zeros(SCRATCH_BYTES + 64, np.uint8)
    at, status = -(-scratch.ctypes.data // 64) * 64, 0
    for begin, end in ranges:
        status |= _KERNEL(address)(ctypes.addressof(bufs), ctypes.addressof(ints), begin, end, at)
    return status

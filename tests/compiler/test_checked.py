"""Checked memory: kernels that stay inside of their buffers compute what they always do, and one byte less is seen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler import checked
from weft.compiler.build import addresses, render
from weft.compiler.expr import leaf
from weft.compiler.kernels import Access, Nest, Slot, Store
from weft.core import dtypes as dt
from weft.core.errors import CompileError, MemoryAccessError
from weft.graph.executable import Planned, plan_graph, steps_of
from weft.graph.memory import nbytes_of
from weft.llvm.targets import Target, host_target
from weft.nn import functional as F
from weft.runtime import storage as storages
from weft.runtime.access_record import STATUS_MEMORY
from weft.runtime.pool import parallel_for
from weft.runtime.program import AnyStep, Program, Step
from weft.transforms.capture import capture

CHECKED, PLAIN = replace(host_target(), checked=True), replace(host_target(), checked=False)
HEADER, EXTENT = 2, 3


def floats(*shape: int) -> wf.Tensor:
    return wf.asarray(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def last_row(size: int, *others: int) -> wf.Tensor:
    return wf.asarray(np.array([0, *others, size - 1]))


Case = tuple[Callable[..., Any], list[wf.Tensor]]
CASES: dict[str, Case] = {
    "elementwise": (lambda x, y: wf.exp(x) * y, [floats(5, 7), floats(7)]),
    "bytes": (lambda x: x > 0, [floats(67)]),
    "half": (lambda x: wf.astype(x, "bfloat16"), [floats(33)]),
    "strided": (lambda x: x * 2.0, [floats(9, 31)[:, ::3]]),
    "every other": (lambda x: x * 2.0, [floats(3, 65)[:, ::2]]),
    "transposed": (lambda x: wf.exp(x), [floats(9, 20).mT]),
    "rows": (lambda x: F.softmax(x, -1), [floats(4, 130)]),
    "columns": (lambda x: (wf.sum(x, axis=0), wf.argmax(x, axis=0)), [floats(70, 19)]),
    "long": (lambda x: wf.sum(x), [floats(70_001)]),
    "running": (lambda x: wf.cumulative_sum(x, axis=0), [floats(9, 5)]),
    "take": (lambda x, i: x[i], [floats(6, 20), last_row(6, 2)]),
    "elements": (lambda x, i: x[i], [floats(40), last_row(40, *range(20))]),
    "scatter": (lambda x, i, u: wf.scatter_add(x, i, u), [floats(6, 3), last_row(6, 2), floats(3, 3)]),
    "matmul": (lambda a, b: a @ b, [floats(33, 65), floats(65, 37)]),
    "packed": (lambda a, b: a.mT @ b.mT, [floats(70, 300), floats(90, 70)]),
    "matrix and vector": (lambda a, x: a @ x, [floats(33, 65), floats(65)]),
    "vector and matrix": (lambda x, a: x @ a, [floats(33), floats(33, 65)]),
    "convolution": (lambda x, w: F.conv2d(x, w), [floats(2, 3, 9, 11), floats(5, 3, 3, 3)]),
}


def planned(case: Case, target: Target) -> Planned:
    function, tensors = case
    captured = capture(function, tensors)
    return plan_graph(captured.graph, [t._spec.strides for t in tensors], [], target, 2)


def run(plan: Planned, steps: Sequence[AnyStep], tensors: Sequence[wf.Tensor]) -> list[bytes]:
    """The bytes of the results."""
    outputs = [nbytes_of(v) for v in plan.plan.outputs]
    program = Program(steps, len(tensors), outputs, arena_nbytes=plan.plan.arena_nbytes)
    made = program.call(*(t._storage for t in tensors))
    return [bytes(s) for s in (made if isinstance(made, tuple) else (made,))]


@pytest.mark.parametrize("name", CASES)
def test_checks_change_no_bit(name: str) -> None:
    tensors = CASES[name][1]
    one, other = (planned(CASES[name], target) for target in (CHECKED, PLAIN))
    assert run(one, steps_of(one, CHECKED), tensors) == run(other, steps_of(other, PLAIN), tensors)


def changed(steps: Sequence[AnyStep], at: int, ints: dict[int, int]) -> list[AnyStep]:
    """The steps with other integers of one."""
    step = steps[at]
    assert isinstance(step, Step)
    numbers = [ints.get(place, n) for place, n in enumerate(step.ints)]
    return [*steps[:at], step._replace(ints=tuple(numbers)), *steps[at + 1 :]]


def extents_in(steps: Sequence[AnyStep]) -> Iterator[tuple[int, int, Step]]:
    """(number of the step, place of a buffer's extent among its integers, the step), of all buffers."""
    for at, step in enumerate(steps):
        assert isinstance(step, Step)
        for k in range(len(step.buffers)):
            yield at, HEADER + EXTENT * k, step


@pytest.mark.parametrize("name", [n for n in CASES if n != "running"])  # whose steps touch parts
def test_one_element_less_is_seen_at_either_end(name: str) -> None:
    """Whatever buffer is said to end an element earlier, or to begin an element later: the kernel would leave it."""
    plan, tensors = planned(CASES[name], CHECKED), CASES[name][1]
    steps = steps_of(plan, CHECKED)
    assert run(plan, steps, tensors)
    for at, place, step in extents_in(steps):
        launch = plan.launches[at]
        value = launch.buffers[(place - HEADER) // EXTENT][0]
        low, nbytes, size = step.ints[place], step.ints[place + 1], value.dtype.itemsize
        for ints in ({place + 1: nbytes - size}, {place: low + size, place + 1: nbytes - size}):
            with pytest.raises(MemoryAccessError, match=r"a kernel (reads|writes) \d+ bytes at offset -?\d+ of buffer"):
                run(plan, changed(steps, at, ints), tensors)
    assert run(plan, steps, tensors), "and nothing is left of it"


@pytest.mark.parametrize("name", CASES)
def test_what_is_only_read_is_not_written(name: str) -> None:
    plan, tensors = planned(CASES[name], CHECKED), CASES[name][1]
    steps = steps_of(plan, CHECKED)
    for at, place, step in extents_in(steps):
        if step.ints[place + 2]:
            with pytest.raises(MemoryAccessError, match=r"a kernel writes \d+ bytes .* and is only read"):
                run(plan, changed(steps, at, {place + 2: 0}), tensors)


def test_the_error_names_kernel_op_buffer_and_line() -> None:
    plan = planned(CASES["rows"], CHECKED)
    plan.spans = (4 * 130 * 4 - 4,)
    with pytest.raises(MemoryAccessError) as caught:
        run(plan, steps_of(plan, CHECKED), CASES["rows"][1])
    text = str(caught.value)
    assert text.startswith("softmax (Nest): a kernel reads 8 bytes at offset 2072 of buffer 0, which has 2076 bytes")
    assert "b0 = v0: float32[4, 130] read" in text
    assert caught.value.where is not None and caught.value.where[0] == __file__


# --- kernels that are wrong ---------------------------------------------------------------------------------------


def copy(read: int, written: int) -> Nest:
    """``out[i + written] = x[i + read]``"""
    x = leaf("load", dt.float32, Access(0, dt.float32, Slot(1), (1,)))
    return Nest((), Slot(0), 0, 1, (Store(Access(1, dt.float32, Slot(2), (1,)), x),), (dt.float32, dt.float32))


@pytest.mark.parametrize(("read", "written"), [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
@pytest.mark.parametrize("size", [1, 16, 17, 48])
def test_a_wrong_kernel_is_stopped_where_it_would_leave(size: int, read: int, written: int) -> None:
    """Nothing is touched that is not its own: the memory around stays as it is."""
    whole = [storages.empty(4 * (size + 2)) for _ in range(2)]
    arrays = [np.frombuffer(memoryview(s), np.float32) for s in whole]
    arrays[0][:], arrays[1][:] = np.arange(size + 2), -1
    inside = [storages.wrap(s.address + 4, 4 * size, s) for s in whole]
    (address,) = addresses([copy(read, written)], CHECKED)
    ints = [*checked.extents([(0, 4 * size, False), (0, 4 * size, True)]), size, read, written]
    assert parallel_for(address, inside, ints, 1) == (STATUS_MEMORY if read or written else 0)
    assert arrays[1][0] == arrays[1][-1] == -1
    if not read and not written:
        assert (arrays[1][1:-1] == arrays[0][1:-1]).all()


def test_an_address_is_held_to_its_alignment() -> None:
    memory = storages.empty(64)
    crooked = [storages.wrap(memory.address + at, 16, memory) for at in (2, 32)]
    (address,) = addresses([copy(0, 0)], CHECKED)
    ints = [*checked.extents([(0, 16, False), (0, 16, True)]), 4, 0, 0]
    assert parallel_for(address, crooked, ints, 1) == STATUS_MEMORY


@pytest.mark.parametrize("name", CASES)
def test_every_access_of_a_kernel_is_checked(name: str) -> None:
    """What is loaded or stored without one is a variable, or what the kernel is given."""
    for launch in planned(CASES[name], PLAIN).launches:
        text = render(launch.kernel, "kernel", CHECKED).partition("%Checked = type")[0]
        for function in text.split("define "):
            own = {"%checked", *re.findall(r"(%[\w.]+) = alloca", function)}
            own |= {*re.findall(r"(%[\w.]+) = getelementptr \w+, ptr (?:%bufs|%ints),", function)}
            for line in function.splitlines():
                if re.search(r"@llvm\.masked| load |^  store ", line):
                    pointer = re.findall(r"(?:ptr|ptr>)(?: align \d+)? (%[\w.]+)", line)[-1]
                    assert pointer.startswith("%checked.") or pointer in own, line


def test_an_access_of_another_form_is_refused() -> None:
    text = (
        "define i64 @kernel(ptr noalias %bufs, ptr noalias %ints) #0 {\nentry:\n  %v = atomicrmw add ptr %p, i64 1\n}"
    )
    with pytest.raises(CompileError, match="an access of an unknown form: %v = atomicrmw"):
        checked.with_checks(text, 1)


# --- memory -------------------------------------------------------------------------------------------------------

GUARDS = """
import ctypes
from weft.runtime import storage as storages
block = storages.empty(100)
assert set(bytes(block)) == {0xFF}
ctypes.memset(block.address, 0, 100)
address = block.address
del block
again = storages.empty(100)
assert again.address == address and set(bytes(again)) == {0xFF}
print("as it should be", flush=True)
ctypes.memset(again.address + 100, 0, 1)
del again
print("never reached")
"""


def test_memory_is_filled_and_what_is_behind_it_is_looked_at() -> None:
    env = {**os.environ, "WEFT_CHECK_MEMORY": "1"}
    done = subprocess.run([sys.executable, "-c", GUARDS], capture_output=True, text=True, env=env)
    assert done.stdout == "as it should be\n", done.stderr
    assert done.returncode < 0 and "bytes behind a block of memory were written" in done.stderr


RUN = """
import weft as wf
from weft.llvm.targets import host_target
assert host_target().checked
@wf.compile
def step(x):
    return wf.sum(x, axis=0) + wf.scan(lambda c, y: (c + y, c), x[0], x)[0]
for n in (4, 5, 6, 7):
    assert step(wf.ones((n, 3))).tolist() == [2.0 * n + 1] * 3
"""


def test_a_process_may_run_in_it_from_the_start() -> None:
    env = {**os.environ, "WEFT_CHECK_MEMORY": "1"}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr

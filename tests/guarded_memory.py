"""Programs run on buffers that begin or end at a page which may not be touched: a kernel that reads or writes outside
of a buffer ends the process with a signal, or is seen to have changed the bytes around it.

``python guarded_memory.py FIRST LAST`` runs the cases of that range (see :func:`cases`) and names each before it
runs it, so that the one that crashed is known.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from fuzz_programs import draw_program, rolled

import weft as wf
from weft.compiler.build import addresses
from weft.graph.executable import plan_graph
from weft.graph.ir import Value
from weft.graph.memory import nbytes_of
from weft.llvm.targets import host_target
from weft.nn import functional as F
from weft.runtime import storage as storages
from weft.runtime.program import Program, Step
from weft.transforms.capture import capture

PAGE = mmap.PAGESIZE
AROUND = 0xA5

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_size_t]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Guarded:
    """``nbytes`` of memory right before (``at_end``) or right after a page without access; the rest of its own pages
    is filled with a pattern."""

    def __init__(self, nbytes: int, at_end: bool):
        pages = max(-(-nbytes // PAGE), 1)
        self.length = (pages + 2) * PAGE
        self.start = _libc.mmap(
            None, self.length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
        )
        if self.start in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"mmap of {self.length} bytes")
        inside, self.nbytes = self.start + PAGE, nbytes
        self.address = inside + pages * PAGE - nbytes if at_end else inside
        slack = pages * PAGE - nbytes
        self.slack = (inside if at_end else inside + nbytes, slack)
        ctypes.memset(inside, 0xFF, pages * PAGE)  # NaN, -1, true: what is read before it is written shows
        ctypes.memset(*(self.slack[0], AROUND, slack))
        for guard in (self.start, inside + pages * PAGE):
            if _libc.mprotect(guard, PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def intact(self) -> bool:
        """Whether the bytes around are as they were."""
        return set(ctypes.string_at(*self.slack)) <= {AROUND}

    def free(self) -> None:
        """Give the memory back."""
        _libc.munmap(self.start, self.length)


def run_guarded(
    function: Callable[..., Any], tensors: Sequence[wf.Tensor], at_end: bool, threads: int = 2
) -> list[bytes | None]:
    """The bytes of the function's results, computed by its compiled program on guarded memory; None for those that are
    views or arguments.

    Raises:
        AssertionError: bytes next to a buffer have changed.
    """
    captured = capture(function, tensors)
    assert not captured.writes.anything and not captured.reads.refs, "a function of its arguments alone"
    graph, target = captured.graph, replace(host_target(), checked=False)
    planned = plan_graph(graph, [t._spec.strides for t in tensors], [], target, threads)
    regions: dict[Any, Guarded] = {}
    numbers: dict[Any, int] = {}

    def region_of(key: Any, nbytes: int) -> int:
        if key not in numbers:
            regions[key] = Guarded(nbytes, at_end)
            numbers[key] = len(numbers)
        return numbers[key]

    for i, tensor in enumerate(tensors):
        data = np.frombuffer(memoryview(tensor._storage), np.uint8)[: _span(tensor)]
        region_of(i, data.size)
        ctypes.memmove(regions[i].address, data.tobytes(), data.size)

    def place(value: Value) -> int:
        place, offset = planned.plan.place[value]
        return place if place < len(tensors) else region_of((place, offset, nbytes_of(value)), nbytes_of(value))

    steps = []
    for address, x in zip(addresses([x.kernel for x in planned.launches], target), planned.launches, strict=True):
        buffers = tuple((place(value), offset) for value, offset in x.buffers)
        steps.append(Step(address, x.ints, buffers, x.units, x.grain))
    outputs = [len(tensors) + i for i in planned.results]
    for slot, value in zip(outputs, graph.outputs, strict=True):
        region_of((slot, 0, nbytes_of(value)), nbytes_of(value))
    program = Program(steps, len(regions), [])
    program.call(*(storages.wrap(r.address, r.nbytes, None) for r in regions.values()))
    assert all(r.intact() for r in regions.values()), "bytes beside a buffer were written"
    results = {}
    for slot, value in zip(outputs, graph.outputs, strict=True):
        results[value] = ctypes.string_at(regions[slot, 0, nbytes_of(value)].address, nbytes_of(value))
    for region in regions.values():
        region.free()
    return [results.get(value) for value in captured.returns.values]


def _span(tensor: wf.Tensor) -> int:
    """Bytes from the first to the last element."""
    if 0 in tensor.shape:
        return 0
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor._spec.strides, strict=True))
    return (last + 1) * tensor.dtype.itemsize


# --- cases ------------------------------------------------------------------------------------------------------

LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 47, 63, 64, 65, 100, 127, 129, 255, 257, 300)
DTYPES = ("float32", "bfloat16", "float64", "float16", "int32", "bool", "int64", "int8")
NUMBERS = tuple(d for d in DTYPES if d != "bool")

Case = tuple[str, Callable[..., Any], list[Any]]


def _array(dtype: str, *shape: int) -> wf.Tensor:
    return wf.astype(wf.asarray(np.random.default_rng(len(shape)).uniform(-3, 3, shape)), dtype)


def _index(size: int, *shape: int) -> wf.Tensor:
    return wf.asarray(np.random.default_rng(1).integers(-size, size, shape))


def kernels() -> Iterator[Case]:
    """Each form of kernel over lengths around those of vectors, tiles and blocks."""
    for at, n in enumerate(LENGTHS):
        m, dtype = LENGTHS[(at * 5 + 3) % len(LENGTHS)], DTYPES[at % 4]
        other, number = DTYPES[at % len(DTYPES)], NUMBERS[at % len(NUMBERS)]
        yield (
            f"elementwise {other} {n}",
            lambda x, y: (wf.where(x == y, x, y), x == y),
            [_array(other, n), _array(other, n)],
        )
        yield f"broadcast {dtype} {m, n}", lambda x, y: x * y + 1.0, [_array(dtype, m, 1), _array(dtype, n)]
        yield f"transposed {other} {m, n}", lambda x: wf.where(x.T == x.T, x.T, x.T), [_array(other, m, n)]
        yield f"steps {dtype} {m, 3 * n}", lambda x: x[:, ::3] * 2.0, [_array(dtype, m, 3 * n)]
        yield f"softmax {dtype} {m, n}", lambda x: F.softmax(x, -1), [_array(dtype, m, n)]
        yield f"column softmax {dtype} {m, n}", lambda x: F.softmax(x, 0), [_array(dtype, m, n)]
        yield f"rows {number} {m, n}", lambda x: (wf.sum(x, axis=1), wf.argmax(x, axis=1)), [_array(number, m, n)]
        yield f"columns {number} {m, n}", lambda x: (wf.max(x, axis=0), wf.argmin(x, axis=0)), [_array(number, m, n)]
        yield (
            f"running {dtype} {m, n}",
            lambda x: (wf.cumulative_sum(x, axis=0), wf.cumulative_sum(x, axis=1)),
            [_array(dtype, m, n)],
        )
        yield f"take {other} {m, n}", lambda x, i: (x[i], x[:, 0][i]), [_array(other, m, n), _index(m, n)]
        yield (
            f"scatter {dtype} {m, n}",
            lambda x, i, u: wf.scatter_add(x, i, u),
            [_array(dtype, m, n), _index(m, 5), _array(dtype, 5, n)],
        )
        yield (
            f"set rows {other} {m, n}",
            lambda x, i, u: wf.where(x == x, x, x).index_put_((i,), u),
            [_array(other, m, n), _index(m, 5), _array(other, 5, n)],
        )
        yield (
            f"concat {other} {m, n}",
            lambda x, y: wf.concat([x, wf.flip(y, axis=1), x], axis=1),
            [_array(other, m, n), _array(other, m, 3)],
        )
        for k in (1, 5, 64, 257):
            a, b = _array(dtype, m, k), _array(dtype, k, n)
            yield f"matmul {dtype} {m, k, n}", lambda a, b: wf.tanh(a @ b), [a, b]
            yield (
                f"matmul of transposes {dtype} {m, k, n}",
                lambda a, b: a.mT @ b.mT,
                [_array(dtype, k, m), _array(dtype, n, k)],
            )
        yield (
            f"linear {dtype} {m, n}",
            lambda x, w, b: F.relu(F.linear(x, w, b)),
            [_array(dtype, m, 33), _array(dtype, n, 33), _array(dtype, n)],
        )
        yield f"batched {dtype} {m, n}", lambda a, b: a @ b, [_array(dtype, 3, m, 9), _array(dtype, 3, 9, n)]
        yield (
            f"vector {dtype} {m, n}",
            lambda a, x, y: (a @ x, y @ a),
            [_array(dtype, m, n), _array(dtype, n), _array(dtype, m)],
        )
        yield (
            f"strided matmul {dtype} {m, n}",
            lambda a, b: a[:, ::2] @ b[::2, 1:],
            [_array(dtype, m, 16), _array(dtype, 16, n + 1)],
        )


def cases() -> Iterator[Case]:
    """:func:`kernels`, then random programs without end."""
    yield from kernels()
    seed = 0
    while True:
        below = rolled(seed)
        program = draw_program(below, 4 + below(16))
        if all(step.op != "set_rows" for step in program.steps):  # which writes its argument
            yield f"program {seed}", program.__call__, program.arguments()
        seed += 1


def main(first: int, last: int) -> None:
    """Run cases ``first <= number < last`` and compare with an ordinary run."""
    for number, (name, function, tensors) in enumerate(cases()):
        if number >= last:
            return
        if number < first:
            continue
        print(name, flush=True)
        expected = function(*tensors)
        expected = expected if isinstance(expected, (list, tuple)) else [expected]
        for at_end in (True, False):
            found = run_guarded(function, tensors, at_end)
            for tensor, data in zip(expected, found, strict=True):
                if data is None:
                    continue
                got = np.frombuffer(data, tensor.dtype.numpy).reshape(tuple(tensor.shape))
                same = (got == tensor.numpy()) | ((got != got) & (tensor.numpy() != tensor.numpy()))
                assert same.all(), f"{name}: other results on guarded memory"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

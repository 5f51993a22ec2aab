"""Small kernels drawn by hypothesis, and what runs them: sizes at the borders of vectors and blocks, strides of every
sign, every dtype; as machine code, cut into units in any way, and by their naive meaning."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import ml_dtypes
import naive
import numpy as np
from hypothesis import strategies as st

from weft.compiler import expr as ex
from weft.compiler.build import render
from weft.compiler.checked import extents
from weft.compiler.expr import Expr, leaf
from weft.compiler.kernels import (
    CACHE_LINE,
    LANES,
    SCRATCH_BYTES,
    Access,
    ColumnReduce,
    Int,
    Ints,
    Nest,
    Reduce,
    Sequential,
    Slot,
    Sort,
    Store,
)
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.core.errors import CompileError
from weft.llvm.assembly import assemble
from weft.llvm.elf import load
from weft.llvm.targets import Target, host_target

Array = Any
KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)
BORDERS = [0, 1, 2, 15, 16, 17, 31, 63, 64, 65, 130, 4095, 4096, 4097]
WORKING = [dt.float32, dt.float64, dt.int8, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint64, dt.bool_]
STORED = [*WORKING, dt.float16, dt.bfloat16, dt.int16, dt.uint32]


def targets() -> list[Target]:
    """Every ISA that this machine runs, best last; those with masked memory and those without. The best once more with
    checks, which say that no kernel leaves its buffers."""
    found = []
    for isa in ("generic", "neon", "avx2", "avx512"):
        try:
            found.append(host_target(isa))
        except CompileError:
            continue
    return [*found, replace(found[-1], checked=True)]


TARGETS = targets()

# --- numbers ----------------------------------------------------------------------------------------------------


def specials(dtype: DType) -> Array:
    """NaN, infinities, both zeros and the extremes of floats; of integers the extremes and what lies around 0."""
    if dtype is dt.bool_:
        return np.array([False, True])
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        return np.array([info.min, info.max, 0, 1, 2, -1 if info.min else info.max // 2], dtype.numpy)
    info = ml_dtypes.finfo(dtype.numpy)
    found = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.5, info.max, info.tiny, info.smallest_subnormal]
    return np.array(found).astype(dtype.numpy)


def numbers(dtype: DType, count: int, rng: np.random.Generator, special: float = 0.05) -> Array:
    """Values that round, wrap, cancel and compare; that part of them is special."""
    if dtype is dt.bool_:
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_integer:
        values = rng.integers(np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max, count, dtype.numpy, endpoint=True)
    else:
        values = (rng.standard_normal(count) * np.exp2(rng.integers(-6, 7, count))).astype(dtype.numpy)
    return np.where(rng.random(count) < special, rng.choice(specials(dtype), count), values)


def bits(a: Array) -> Array:
    """The elements' bits, with one pattern for every NaN."""
    unsigned = a.view(f"u{a.itemsize}").copy()
    if a.dtype.kind not in "iub":
        unsigned[np.isnan(a.astype(np.float64))] = 0x7F
    return unsigned


# --- kernels ----------------------------------------------------------------------------------------------------


class Draft:
    """The buffers and ints of a kernel that is being drawn."""

    def __init__(self, draw: st.DrawFn):
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
        self.special = draw(st.sampled_from([0.0, 0.0, 0.05]))  # one NaN hides what is wrong with a sum
        self.ints: list[int] = []
        self.buffers: list[Array] = []
        self.dtypes: list[DType] = []

    def slot(self, value: int) -> Slot:
        """A new int of the kernel."""
        self.ints.append(value)
        return Slot(len(self.ints) - 1)

    def number(self, value: int, inner: bool = False) -> Int:
        """A stride or offset: 0 and 1 are structure (1, up to ``near``, along the vector axis alone), all others are
        Slots."""
        return value if value == 0 or (inner and 1 <= value <= self.near) else self.slot(value)

    def extents(self, sizes: Sequence[int]) -> Ints:
        """The extents of one axis, or of several that are walked as one."""
        found = tuple(self.slot(n) for n in sizes)
        return found if len(sizes) > 1 else found[0]

    def access(self, dtype: DType, sizes: Sequence[int], write: bool = False) -> Access:
        """An access to a new buffer by which every point lies within it; points that are written lie apart."""
        order = self.draw(st.permutations(range(len(sizes)))) if write else range(len(sizes))
        strides = [0] * len(sizes)
        step = self.draw(st.sampled_from([1, 1, 2])) if write else 1
        for axis in order:
            if write:
                strides[axis] = step * self.draw(st.sampled_from([1, 1, -1]))
                step *= max(sizes[axis], 1)
            else:
                strides[axis] = self.draw(st.sampled_from([0, 1, 1, -1, 2, -3, sizes[-1]]))
        reach = [(max(n, 1) - 1) * s for n, s in zip(sizes, strides, strict=True)]
        offset = -sum(r for r in reach if r < 0)
        size = offset + sum(r for r in reach if r > 0) + 1
        self.buffers.append(numbers(dtype, size, self.rng, self.special))
        self.dtypes.append(dtype)
        last = len(sizes) - 1
        found = [
            s if self.together and (axis, s) == (last - 1, 1) else self.number(s, axis == last)
            for axis, s in enumerate(strides)
        ]
        return Access(len(self.buffers) - 1, dtype, self.number(offset), tuple(found))

    def load(self, sizes: Sequence[int], dtype: DType) -> Expr:
        """An element of a new buffer of any dtype, in ``dtype``; now and then through an index or a param."""
        stored = self.draw(st.sampled_from(STORED))
        kind = self.draw(st.sampled_from(["load"] * 6 + ["part", "gather", "index", "param"]))
        if kind == "index":
            strides = [self.number(self.draw(st.integers(-2, 3)), axis == len(sizes) - 1) for axis in range(len(sizes))]
            return ex.cast(leaf("index", dt.int64, Access(0, dt.int64, 0, tuple(strides))), dtype)
        if kind == "param":
            raw = numbers(stored, 1, self.rng).tobytes().ljust(8, b"\0")
            return ex.cast(leaf("param", stored, self.slot(int.from_bytes(raw, "little", signed=True))), dtype)
        if kind == "part":  # what lies beyond is not read: there is no memory
            strides = [self.number(self.draw(st.integers(-2, 3)), axis == len(sizes) - 1) for axis in range(len(sizes))]
            at = leaf("index", dt.int64, Access(0, dt.int64, 0, tuple(strides)))
            there = ex.lt(at, ex.const(self.draw(st.integers(-3, 20)), dt.int64))
            found = Expr("load", stored, (there,), self.access(stored, sizes))
            return ex.cast(ex.where(there, found, ex.const(1, stored)), dtype)
        if kind == "gather":
            extent = self.draw(st.integers(1, 9))
            index = self.access(dt.int64, sizes)
            most = extent + self.draw(st.integers(0, 1))  # one beyond: an index out of range, sometimes
            own = self.buffers[index.buf]
            own[...] = self.rng.integers(-extent, most, own.size)
            self.buffers.append(numbers(stored, extent, self.rng))
            self.dtypes.append(stored)
            access = Access(len(self.buffers) - 1, stored, 0, (0,) * len(sizes))
            steps = ((self.slot(extent), 1),)
            return ex.cast(ex.gather(access, (leaf("load", dt.int64, index),), steps, stored), dtype)
        return ex.cast(leaf("load", stored, self.access(stored, sizes)), dtype)

    def value(self, dtype: DType, terms: Sequence[Expr]) -> Expr:
        """An expression of ``dtype`` over all of the terms, which have that dtype."""
        made = list(terms[:1])
        for number in range(1, len(terms) + self.draw(st.integers(0, 3))):
            fresh = number < len(terms)
            a, b = made[-1], terms[number] if fresh else self.draw(st.sampled_from(made))
            if dtype is dt.bool_:
                op = self.draw(st.sampled_from([ex.and_, ex.or_, ex.xor]))
            elif dtype.is_integer:
                op = self.draw(st.sampled_from([ex.add, ex.sub, ex.mul, ex.xor, ex.and_]))
            else:
                op = self.draw(st.sampled_from([ex.add, ex.sub, ex.mul, ex.div]))
            made.append(op(a, b))
            if self.draw(st.booleans()):
                choice = a if dtype is dt.bool_ else ex.lt(a, b)
                made.append(ex.where(choice, made[-1], ex.const(1, dtype)))
        return made[-1]

    def reduce(self, sizes: Sequence[int], refs: Sequence[Expr] = ()) -> Reduce:
        """A reduction of an expression over axes of these sizes; now and then one that reads an earlier one."""
        dtype = self.draw(st.sampled_from(WORKING))
        earlier = refs if self.draw(st.booleans()) else ()
        value = self.value(dtype, [self.load(sizes, dtype), *(ex.cast(r, dtype) for r in earlier)])
        op = self.draw(st.sampled_from(["sum", "sum", "sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]))
        if op in ("any", "all"):
            return Reduce(op, ex.cast(value, dt.bool_), dt.bool_)
        if not op.startswith("arg"):
            return Reduce(op, value, dtype)
        along, reduced = [0] * len(sizes), sizes if self.last_reduced else sizes[:-1]
        for axis in range(self.walked):
            along[-1 - axis - (not self.last_reduced)] = prod(reduced[len(reduced) - axis :])
        place = leaf("index", dt.int64, Access(0, dt.int64, 0, tuple(self.number(s, s == 1) for s in along)))
        return Reduce(op, value, dt.int64, place)

    near = 1  # greatest stride that is structure
    together = False  # whether one of 1 on the axis before the last is
    walked = 1  # axes that are reduced
    last_reduced = True  # rows are reduced along the last axis, columns along the one before it

    def store(self, sizes: Sequence[int], terms: Sequence[Expr], scalar: bool = False) -> Store:
        """Write an expression over new loads and ``terms`` to a new buffer."""
        dtype = self.draw(st.sampled_from(WORKING))
        found = [ex.cast(t, dtype) for t in terms] + ([] if scalar and terms else [self.load(sizes, dtype)])
        stored = self.draw(st.sampled_from(STORED))
        return Store(self.access(stored, sizes, write=True), ex.cast(self.value(dtype, found), stored), scalar)


Drawn = tuple[Any, list[Array], list[int], int]  # kernel, buffers, ints, units


@st.composite
def nests(draw: st.DrawFn) -> Drawn:
    """A Nest of one to three stages, over one inner axis or several."""
    d = Draft(draw)
    grid = draw(st.lists(st.integers(0, 3), max_size=2))
    lines = draw(st.sampled_from([[], [], [3], [2, 5]]))
    inner = draw(st.sampled_from([n for n in BORDERS if n and n < 1000] if lines else BORDERS))
    d.walked, ones = 1 + len(lines), [1] * len(lines)
    block = draw(st.sampled_from([0, 0, 0, 16, 64, 48, 4096]))
    blocks = -(-prod(lines) * inner // block) if block else 1
    reductions = draw(st.integers(0, 2)) if not block else 0
    sizes, stages, refs = [*grid, *lines, inner], [], []
    for number in range(reductions):
        stages.append(d.reduce(sizes, refs))
        refs.append(leaf("ref", stages[-1].dtype, number))
        if draw(st.booleans()):
            stages.append(d.store([*grid, *ones, 1], refs, scalar=True))
    if not reductions or draw(st.booleans()):
        stages += [d.store(sizes, refs) for _ in range(draw(st.integers(1, 2)))]
    kernel = Nest(
        tuple(d.slot(n) for n in grid),
        1 if sizes[-1:] == [1] and not lines and draw(st.booleans()) else d.extents([*lines, inner]),
        block,
        d.slot(blocks) if block else 1,
        tuple(stages),
        tuple(d.dtypes),
    )
    return kernel, d.buffers, d.ints, prod(grid) * blocks


@st.composite
def nests_together(draw: st.DrawFn) -> Drawn:
    """A Nest that computes the points of a short axis at a time."""
    d = Draft(draw)
    grid, count = draw(st.lists(st.integers(0, 3), max_size=2)), draw(st.sampled_from([2, 4]))
    d.near, d.together = count, True
    inner = draw(st.sampled_from(BORDERS))
    block = draw(st.sampled_from([0, 0, 16, 64, 48, 4096]))
    blocks = -(-inner // block) if block else 1
    stages = [d.store([*grid, count, inner], []) for _ in range(draw(st.integers(1, 2)))]
    kernel = Nest(
        tuple(d.slot(n) for n in grid),
        d.slot(inner),
        block,
        d.slot(blocks) if block else 1,
        tuple(stages),
        tuple(d.dtypes),
        together=count,
    )
    return kernel, d.buffers, d.ints, prod(grid) * blocks


@st.composite
def partial_nests(draw: st.DrawFn) -> Drawn:
    """A Nest that reduces the blocks of a row apart, as long reductions do: one more axis, the number of the block."""
    d = Draft(draw)
    lines = draw(st.sampled_from([[], [3], [2, 5]]))
    inner = draw(st.sampled_from([n for n in BORDERS if n and n < 1000] if lines else BORDERS))
    d.walked, block = 1 + len(lines), draw(st.sampled_from([16, 64, 65, 4096]))
    rows, blocks = draw(st.integers(1, 3)), -(-prod(lines) * inner // block)
    stages = [d.reduce([rows, blocks, *lines, inner])]
    stages.append(d.store([rows, blocks, *[1] * len(lines), 1], [leaf("ref", stages[0].dtype, 0)], scalar=True))
    grid = (d.slot(rows),)
    kernel = Nest(grid, d.extents([*lines, inner]), d.slot(block), d.slot(blocks), tuple(stages), tuple(d.dtypes), True)
    return kernel, d.buffers, d.ints, rows * blocks


WINDOWS = [(2, 2), (3, 3), (1, 5), (3, 2, 2), (5, 6)]
COLUMN_SIZES = [*((n,) for n in (0, 1, 2, 15, 63, 64, 65, 130, 256, 331, 600)), (2, 65), (7, 11), (3, 4, 12)]


@st.composite
def columns(draw: st.DrawFn) -> Drawn:
    """A ColumnReduce of one or two reductions, over one axis or several; in chunks, or in one."""
    d = Draft(draw)
    d.last_reduced = False
    grid = draw(st.lists(st.integers(0, 2), max_size=1))
    several, inner = draw(st.sampled_from([*COLUMN_SIZES, *WINDOWS])), draw(st.sampled_from(BORDERS[:11]))
    reduced, d.walked, ones = prod(several), len(several), [1] * len(several)
    window = several in WINDOWS and draw(st.booleans())  # its sizes are structure
    d.near = 1 + window
    block = draw(st.sampled_from([16, 48, 64]))
    blocks = -(-inner // block)
    chunk = 0 if window else draw(st.sampled_from([0, 64, 70]))
    chunks = -(-reduced // chunk) if chunk else 1
    stages: list[Reduce | Store] = []
    before = [*grid, chunks] if chunk else grid
    stages += [d.reduce([*before, *several, inner]) for _ in range(draw(st.integers(1, 2)))]
    refs = [leaf("ref", s.dtype, number) for number, s in enumerate(stages)]
    stages += [
        d.store([*grid, *([chunks] if chunk else []), *ones, inner], refs) for _ in range(draw(st.integers(1, 2)))
    ]
    kernel = ColumnReduce(
        tuple(d.slot(n) for n in grid),
        several if window else d.extents(several),
        d.slot(chunk or reduced) if chunk or d.walked == 1 else 0,
        d.slot(chunks) if chunk else 1,
        d.slot(inner),
        block,
        d.slot(blocks),
        tuple(stages),
        tuple(d.dtypes),
        bool(chunk),
    )
    return kernel, d.buffers, d.ints, prod(grid) * chunks * blocks


@st.composite
def sequentials(draw: st.DrawFn) -> Drawn:
    """A Sequential: a running combination along its steps, or a scatter that adds up."""
    d = Draft(draw)
    steps, inner = draw(st.integers(0, 9)), draw(st.sampled_from(BORDERS[:11]))
    block = draw(st.sampled_from([16, 64, 100]))
    grid = draw(st.lists(st.integers(0, 2), max_size=1))
    dtype = draw(st.sampled_from(WORKING))
    width = 1 if inner == 1 else d.slot(inner)
    value, carry = d.load([*grid, steps, inner], dtype), None
    extent = draw(st.integers(1, 5)) if draw(st.booleans()) else 0
    rows = extent or steps + 1
    at = len(d.buffers)
    d.buffers.append(numbers(dtype, max(prod(grid) * rows * inner, 1), d.rng))
    d.dtypes.append(dtype)
    outer = tuple(d.number(rows * inner) for _ in grid)
    if extent:  # out[index[step]] = out[index[step]] combined with value
        index = d.access(dt.int64, [*grid, steps, 1])
        d.buffers[index.buf][...] = d.rng.integers(-extent, extent + 1, d.buffers[index.buf].size)
        index = Access(index.buf, dt.int64, index.offset, (*index.strides[:-1], 0))
        place, step = leaf("load", dt.int64, index), ((d.slot(extent), d.slot(inner)),)
        here = Access(at, dtype, 0, (*outer, 0, 1))
        made = d.value(dtype, [ex.gather(here, (place,), step, dtype), value])
        stores = [Store(here, made, indices=(place,), steps=step)]
    else:  # out[step + 1] = out[step] combined with value
        before = Access(at, dtype, 0, (*outer, d.number(inner), 1))
        after = Access(at, dtype, d.number(inner), before.strides)
        last = leaf("load", dtype, before)
        made = d.value(dtype, [last, value])
        made = ex.where(ex.const(True, dt.bool_), made, last)
        stores, carry = [Store(after, made)], at if draw(st.booleans()) else None
    blocks = -(-inner // block)
    kernel = Sequential(
        tuple(d.slot(n) for n in grid),
        d.slot(steps),
        width,
        block,
        d.slot(blocks),
        tuple(stores),
        tuple(d.dtypes),
        carry,
    )
    return kernel, d.buffers, d.ints, prod(grid) * blocks


@st.composite
def sorts(draw: st.DrawFn) -> Drawn:
    """A Sort of rows in which many elements are equal, or few; of those kept few, half or all."""
    d = Draft(draw)
    rows, count = draw(st.integers(0, 5)), draw(st.sampled_from([*BORDERS[1:11], 33, 257, 300, 4097]))
    kept = draw(
        st.sampled_from(sorted({n for n in (1, 2, 31, 32, 33, 64, count // 2, count - 1, count) if 0 < n <= count}))
    )
    space, block = min(count, kept + draw(st.integers(LANES, 70))), draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([*WORKING, dt.int16, dt.uint32]))
    source = d.access(dtype, [rows, count])
    own = d.buffers[source.buf]
    if draw(st.booleans()):
        own[...] = d.rng.choice(np.concatenate([specials(dtype), numbers(dtype, 3, d.rng)]), own.size)
    if draw(st.booleans()):
        own.sort()  # as strides may be negative, the best order and the worst one
    result = d.access(dt.int64, [rows, kept], write=True)
    wide = dtype.bits > 32 or draw(st.booleans())
    words, units = 2 * space * (1 + wide), -(-rows // block)
    d.buffers.append(np.zeros(max(units * words, 1), np.int64))
    d.dtypes.append(dt.int64)
    room = Access(len(d.buffers) - 1, dt.int64, 0, (d.slot(words), 1))
    sizes = [d.slot(n) for n in (rows, block, count, kept, space)]
    kernel = Sort(*sizes, source, result, room, draw(st.booleans()), wide, tuple(d.dtypes))
    return kernel, d.buffers, d.ints, units


# --- runs -------------------------------------------------------------------------------------------------------


def cuts(units: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Ranges that make up ``0 .. units``, in any order."""
    borders = st.lists(st.integers(0, max(units, 0)), max_size=4)
    ranges = borders.map(lambda found: list(zip([0, *sorted(found)], [*sorted(found), units], strict=True)))
    return ranges.flatmap(st.permutations)


def aligned(array: Array) -> Array:
    """A copy that begins with a line of memory."""
    memory = np.empty(array.nbytes + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    copy = memory[start : start + array.nbytes].view(array.dtype)
    copy[...] = array
    return copy


def compiled(kernel: Any, target: Target) -> Any:
    """``run(buffers, ints, ranges) -> status`` of the kernel's machine code."""
    code = load(assemble(render(kernel, "kernel", target), target, level=1))
    native = KERNEL(code.address("kernel"))

    def run(buffers: Sequence[Array], ints: Sequence[int], ranges: Sequence[tuple[int, int]]) -> int:
        pointers = np.array([b.ctypes.data for b in buffers] or [0], np.uint64)
        before = extents([(0, b.nbytes, True) for b in buffers]) if target.checked else ()
        values = np.array([*before, *ints, 0], np.int64)
        scratch = np.zeros(SCRATCH_BYTES + 64, np.uint8)
        at, status = -(-scratch.ctypes.data // 64) * 64, 0
        for begin, end in ranges:
            status |= native(pointers.ctypes.data, values.ctypes.data, begin, end, at)
        return status

    run.code = code  # type: ignore[attr-defined]  # which lives as long as the function
    return run


def check(drawn: Drawn, data: st.DataObject) -> None:
    """The kernel's machine code and its naive meaning leave the same memory, as bits, but for the room of a Sort."""
    kernel, buffers, ints, units = drawn
    target, ranges = data.draw(st.sampled_from(TARGETS), "target"), data.draw(cuts(units), "units")
    expected, found = [b.copy() for b in buffers], [aligned(b) for b in buffers]
    wanted = naive.run(kernel, expected, ints)
    status = compiled(kernel, target)(found, ints, ranges)
    if isinstance(kernel, Sort):
        expected[kernel.room.buf] = found[kernel.room.buf]
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        different = np.flatnonzero(bits(a) != bits(b))
        assert not different.size, (
            f"{kernel}\nints {ints} on {target.isa}, units {ranges}: buffer {number} differs in {different.size} of "
            f"{a.size} places, first [{different[0]}]: {a[different[0]]} instead of {b[different[0]]}"
        )
    assert status == wanted, f"{kernel}\nints {ints}: status {status} instead of {wanted}"

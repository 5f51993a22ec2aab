"""Windowed operands: any axes and strides give the bits of the contraction of the matrices that they show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from test_contraction import ISAS, reference, run, same_bits, values_of

from weft.compiler.contraction import planes
from weft.compiler.contraction.box import BOX_COLUMNS, MOST
from weft.compiler.contraction.few_rows import LINE, MASK, WIDEST
from weft.compiler.contraction.offsets import ENTRY, PART
from weft.compiler.contraction.plan import (
    BATCH_LANES,
    BOXED,
    FEW_ROWS,
    MASKS_AT,
    PARTITION,
    PLANES,
    TABLES,
    TABLES_AT,
    THIN,
    contraction_units,
    form_of,
)
from weft.compiler.contraction.render import render_contraction
from weft.compiler.contraction.tile import Tile, lanes_pitch, packed_row
from weft.compiler.expr import cast, leaf
from weft.compiler.kernels import (
    K_BLOCK,
    LANES,
    MOST_EDGES,
    SCRATCH_BYTES,
    Access,
    Contraction,
    Edge,
    Int,
    Slot,
    Store,
    Windowed,
    describe,
)
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.assembly import assemble
from weft.llvm.elf import CodeModule, load
from weft.llvm.targets import Target, cross_target, host_target

TARGETS = [*map(host_target, ISAS), *map(cross_target, ("x86_64-linux-gnu", "aarch64-linux-gnu"))]
M, N, K, PITCH, *START = (Slot(i) for i in range(6))
Axes = tuple[tuple[int, int], ...]  # (size, stride)
Structure = tuple[int, int, str]  # numbers of axes of rows and columns, and along which of them elements lie together

STRUCTURES: list[Structure] = [
    (1, 2, "columns"),
    (2, 3, "columns"),
    (3, 1, "rows"),
    (2, 2, "rows"),
    (2, 2, "neither"),
    (1, 2, "columns -1"),
    (2, 2, "columns 2"),
]


def step_of(runs: str, group: str) -> int | None:
    """The step along the last axis of rows or columns, where it is structure."""
    name, _, step = runs.partition(" ")
    return int(step or 1) if name == group else None


def windowed(structure: Structure, buffer: int, dtype: DType, first: int) -> tuple[Windowed, int]:
    """The operand whose ints begin at slot ``first``, and the next slot."""
    rows, columns, runs = structure
    groups, slot = [], first
    for count, step in ((rows, step_of(runs, "rows")), (columns, step_of(runs, "columns"))):
        axes: list[tuple[Slot, Int]] = [(Slot(slot + 2 * i), Slot(slot + 2 * i + 1)) for i in range(count)]
        if step is not None:
            axes[-1] = axes[-1][0], step
        groups.append(tuple(axes))
        slot += 2 * count
    return Windowed(buffer, dtype, START[buffer], (), *groups), slot


@cache
def build(a: Structure | None, b: Structure | None, dtype: DType, isa: str) -> tuple[Contraction, Target, CodeModule]:
    """Kernel, target and code; without a structure an operand is a row-major matrix."""
    slot = 6
    operands: list[Access | Windowed] = []
    for number, structure in enumerate((a, b)):
        if structure is None:
            operands.append(Access(number, dtype, START[number], (Slot(slot), 1)))
            slot += 1
        else:
            operand, slot = windowed(structure, number, dtype, slot)
            operands.append(operand)
    total = dt.float32 if dtype.is_half else dtype
    store = Store(Access(2, dtype, 0, (PITCH, 1)), cast(leaf("acc", total, None), dtype))
    kernel = Contraction((), M, N, K, operands[0], operands[1], total, (store,), (dtype,) * 3)
    target = host_target(isa)
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


@st.composite
def split(draw: Any, size: int, count: int) -> tuple[int, ...]:
    """``size`` as a product of ``count`` sizes."""
    sizes = []
    for _ in range(count - 1):
        sizes.append(draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0])))
        size //= sizes[-1]
    return (*sizes, size)


def strides_of(draw: Any, sizes: tuple[int, ...], step: int | None) -> Axes:
    """Axes of these sizes; steps overlap, repeat and go backwards."""
    steps = [draw(st.integers(-3, 9)) for _ in sizes]
    if step is not None:
        steps[-1] = step
    return tuple(zip(sizes, steps, strict=True))


def shown(memory: Any, start: int, rows: Axes, columns: Axes) -> Any:
    """The matrix that the axes show."""
    offsets = np.asarray(start)
    for size, stride in (*rows, *columns):
        offsets = np.add.outer(offsets, np.arange(size) * stride)
    return memory[offsets].reshape(prod(n for n, _ in rows), prod(n for n, _ in columns))


def operand(draw: Any, structure: Structure | None, shape: tuple[int, int], dtype: DType, seed: int) -> Any:
    """Memory that ends where the operand's last element does, the matrix that it shows, ints, and its start."""
    rng = np.random.default_rng(seed)
    if structure is None:
        matrix = values_of(dtype, rng, shape)
        return matrix, matrix, [shape[1]], 0
    rows, columns, runs = structure
    one = strides_of(draw, draw(split(shape[0], rows)), step_of(runs, "rows"))
    two = strides_of(draw, draw(split(shape[1], columns)), step_of(runs, "columns"))
    reach = [(n - 1) * s for n, s in (*one, *two)]
    start = -sum(min(0, r) for r in reach)
    memory = values_of(dtype, rng, (start + sum(max(0, r) for r in reach) + 1,))
    return memory, shown(memory, start, one, two), [v for axis in (*one, *two) for v in axis], start


extents = st.one_of(st.integers(1, 8), st.sampled_from([12, 16, 24, 30, 36, 60, 64, 70]))
depths = st.one_of(st.integers(1, 40), st.sampled_from([64, 255, 256, 300, 512, 540]))


@pytest.mark.one_in(4)
@pytest.mark.parametrize("b", [None, *STRUCTURES], ids=str)
@pytest.mark.parametrize("a", [None, *STRUCTURES], ids=str)
@given(data=st.data(), m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_the_bits_are_those_of_what_is_shown(
    a: Structure | None, b: Structure | None, data: st.DataObject, m: int, n: int, k: int, seed: int
) -> None:
    """Whichever operand is one, in memory that may not be read behind its last element."""
    memory_a, matrix_a, ints_a, start_a = operand(data.draw, a, (m, k), dt.float32, seed)
    memory_b, matrix_b, ints_b, start_b = operand(data.draw, b, (k, n), dt.float32, seed + 1)
    wanted = reference(matrix_a, matrix_b, dt.float32)
    sizes = dict(enumerate([m, n, k, n, start_a, start_b, *ints_a, *ints_b]))
    for isa in ISAS:
        arrays = [memory_a, memory_b, np.zeros((m, n), np.float32)]
        found, _ = run(build(a, b, dt.float32, isa), arrays, sizes, threads=data.draw(st.integers(1, 3)))
        assert same_bits(found[2], wanted)


@pytest.mark.parametrize("dtype", [dt.float64, dt.float16, dt.bfloat16, dt.int8, dt.int64, dt.uint16], ids=str)
@given(data=st.data(), m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_every_dtype(dtype: DType, data: st.DataObject, m: int, n: int, k: int, seed: int) -> None:
    for structure in ((2, 2, "columns"), (2, 2, "rows")):
        memory, matrix, ints, start = operand(data.draw, structure, (m, k), dtype, seed)
        other = values_of(dtype, np.random.default_rng(seed + 1), (k, n))
        total = dt.float32 if dtype.is_half else dtype
        with np.errstate(over="ignore"):
            wanted = reference(matrix, other, total).astype(dtype.numpy)
        for isa in ISAS:
            sizes = dict(enumerate([m, n, k, n, start, 0, *ints, n]))
            found, _ = run(build(structure, None, dtype, isa), [memory, other, np.zeros((m, n), dtype.numpy)], sizes)
            assert same_bits(found[2], wanted)


EDGED = ["columns", "columns 2", "rows", "neither"]


@cache
def edged(runs: str, isa: str) -> tuple[Contraction, Target, CodeModule]:
    """A product with windows of two axes of a tensor of three, which leave it: three axes of rows, two of columns; or,
    where "rows" lie together, three and three, as for a gradient of a weight."""
    slots = iter(range(6, 100))
    sizes = [Slot(next(slots)) for _ in range(2)]
    starts = [Slot(next(slots)) for _ in range(2)]
    columns = 3 if runs == "rows" else 2
    axes = [[(Slot(next(slots)), Slot(next(slots))) for _ in range(count)] for count in (3, columns)]
    steps: list[list[Int]] = [[Slot(next(slots)) for _ in range(2)] for _ in range(2)]
    group, step = (0, 1) if runs == "rows" else (1, step_of(runs, "columns"))
    if step is not None:
        axes[group][-1] = (axes[group][-1][0], step)  # type: ignore[assignment]
        steps[group][-1] = step
    edges = tuple(Edge(sizes[e], starts[e], (1 + e, steps[0][e]), (columns - 2 + e, steps[1][e])) for e in range(2))
    b = Windowed(1, dt.float32, START[1], (), tuple(axes[0]), tuple(axes[1]), edges)
    a = Access(0, dt.float32, START[0], (K, 1))
    store = Store(Access(2, dt.float32, 0, (PITCH, 1)), leaf("acc", dt.float32, None))
    kernel = Contraction((), M, N, K, a, b, dt.float32, (store,), (dt.float32,) * 3)
    target = host_target(isa)
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


@pytest.mark.parametrize("runs", EDGED)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_what_is_beyond_an_edge_is_zero(runs: str, data: st.DataObject, seed: int) -> None:
    """Windows that leave a tensor before and after each axis, in memory that ends with its last element."""
    draw, rng = data.draw, np.random.default_rng(seed)
    channels, m = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 4, 5, 13, 30]))
    sizes = [draw(st.integers(1, 9)), draw(st.one_of(st.integers(1, 20), st.sampled_from([33, 64, 70])))]
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    dilation = [draw(st.integers(1, 3)) for _ in range(2)]
    stride = [draw(st.integers(1, 3)), 1 if runs == "rows" else step_of(runs, "columns") or 3]
    before = [draw(st.integers(0, 4)) for _ in range(2)]
    room = [draw(st.integers(0, 4)) + b + n for b, n in zip(before, sizes, strict=True)]
    results = [max(0, r - d * (k - 1) - 1) // s + 1 for r, d, k, s in zip(room, dilation, kernel, stride, strict=True)]
    pitch = [sizes[1], 1]
    tensor = values_of(dt.float32, rng, (channels, *sizes))
    lead = [(channels, sizes[0] * sizes[1])]
    inner = [(k, d * p) for k, d, p in zip(kernel, dilation, pitch, strict=True)]
    outer = [(n, s * p) for n, s, p in zip(results, stride, pitch, strict=True)]
    groups, moved = ([*lead, *inner], outer), (dilation, stride)
    if runs == "rows":
        batch = draw(st.integers(1, 3))
        groups, moved = ([(batch, 0), *outer], [*lead, *inner]), (stride, dilation)
    indices = [np.indices([n for n, _ in axes]).reshape(len(axes), -1) for axes in groups]
    start = -sum(b * p for b, p in zip(before, pitch, strict=True))
    along = [
        sum(i * stride_of for i, (_, stride_of) in zip(at, axes, strict=True))
        for at, axes in zip(indices, groups, strict=True)
    ]
    offsets = start + np.add.outer(*along)
    there = np.ones(offsets.shape, bool)
    for e in range(2):
        index = (
            np.add.outer(*[at[len(at) - 2 + e] * step[e] for at, step in zip(indices, moved, strict=True)]) - before[e]
        )
        there &= (index >= 0) & (index < sizes[e])
    matrix = np.where(there, tensor.ravel()[np.where(there, offsets, 0)], np.float32(0))
    k, n = matrix.shape
    factors = values_of(dt.float32, rng, (m, k))
    wanted = reference(factors, matrix, dt.float32)
    ints = [m, n, k, n, 0, start, *sizes, *(-b for b in before), *(x for axes in groups for axis in axes for x in axis)]
    ints += [x for steps in moved for x in steps]
    for isa in ISAS:
        arrays = [factors, tensor, np.zeros((m, n), np.float32)]
        found, _ = run(edged(runs, isa), arrays, dict(enumerate(ints)), threads=draw(st.integers(1, 3)))
        assert same_bits(found[2], wanted)


def of_edges(axes: int, channels: bool, batched: bool, dtype: DType, near: bool = False) -> Contraction:
    """A product with windows of one axis or two, which leave it, of a tensor that has ``channels`` before them or not;
    ``batched``: of several images with one matrix; ``near``: windows are one element apart on both axes."""
    slots = (Slot(number) for number in range(6, 100))
    sizes, starts = ([next(slots) for _ in range(axes)] for _ in range(2))
    rows, columns = ([(next(slots), next(slots)) for _ in range(count)] for count in (axes + channels, axes))
    dilation, stride = ([next(slots) for _ in range(axes)] for _ in range(2))
    edges = tuple(
        Edge(sizes[e], starts[e], (channels + e, dilation[e]), (e, 1 if near or e == axes - 1 else stride[e]))
        for e in range(axes)
    )
    images = [next(slots) for _ in range(3)]  # how many, and how far apart in B and in C
    batch, apart, of_c = ((images[0],), (images[1],), (images[2],)) if batched else ((), (), ())
    b = Windowed(1, dtype, START[1], apart, tuple(rows), (*columns[:-1], (columns[-1][0], 1)), edges)
    total = dt.float32 if dtype.is_half else dtype
    a = Access(0, dtype, START[0], (*(0 for _ in batch), K, 1))
    store = Store(Access(2, dtype, 0, (*of_c, PITCH, 1)), cast(leaf("acc", total, None), dtype))
    return Contraction(batch, M, N, K, a, b, total, (store,), (dtype,) * 3)


@cache
def boxed(
    axes: int, channels: bool, batched: bool, dtype: DType, isa: str, near: bool = False
) -> tuple[Contraction, Target, CodeModule]:
    """The code of :func:`of_edges`."""
    kernel, target = of_edges(axes, channels, batched, dtype, near), host_target(isa)
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


@given(data=st.data(), m=st.integers(1, 1200), threads=st.integers(1, 70))
@settings(max_examples=200, deadline=None)
def test_a_box_has_room(data: st.DataObject, m: int, threads: int) -> None:
    """Of products of any size, on every machine."""
    draw, channels = data.draw, data.draw(st.integers(1, 600))
    height, width = draw(st.integers(1, 300)), LANES * draw(st.integers(1, 80))
    kernel, dilation = ([draw(st.integers(1, most)) for _ in range(2)] for most in (5, 9))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 20))
    n, k, image = height * width, channels * prod(kernel), (height * stride, width)
    ints = [m, n, k, n, 0, 0, *image, -padding, -padding, channels, prod(image)]
    ints += [kernel[0], dilation[0] * width, kernel[1], dilation[1], height, stride * width, width, 1]
    ints += [*dilation, stride, 1, draw(st.integers(1, 3)), channels * prod(image), m * n]
    dtype = draw(st.sampled_from([dt.float32, dt.float64]))
    built, target = of_edges(2, True, True, dtype), draw(st.sampled_from(TARGETS))
    part = dict(zip(PARTITION, contraction_units(built, ints, threads, target).ints, strict=True))
    event(f"mode {part['mode']}")
    if part["mode"] == BOXED:
        _check_room(part, form_of(built, target).tile, k, prod(kernel))


def _check_room(part: dict[str, int], tile: Tile, k: int, taps: int) -> None:
    """What a unit keeps lies apart, and ends where the tables begin."""
    tiles_m, tiles_n = -(-part["sub_m"] // tile.rows), -(-part["sub_n"] // tile.columns)
    assert part["sub_n"] <= BOX_COLUMNS and tiles_m * tile.rows * packed_row(tile) <= part["packed_b_at"]
    places = 1 if k <= K_BLOCK else tiles_m * tiles_n
    assert part["sums_at"] + places * tile.rows * tile.columns * tile.dtype.itemsize <= TABLES_AT
    channels = max((min(k0 + K_BLOCK, k) - 1) // taps - k0 // taps + 1 for k0 in range(0, k, K_BLOCK))
    nbytes = channels * part["box_plane"] * tile.dtype.itemsize
    assert nbytes <= part["sums_at"] - part["packed_b_at"] <= MOST


@pytest.mark.parametrize("axes", [1, 2])
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_windows_are_read_from_a_box(axes: int, data: st.DataObject, seed: int) -> None:
    """Where lines of the result are whole vectors: in the bits of the windows written down, for K blocks that begin
    within a channel, units that begin within a line, and padding wider than a vector."""
    draw, rng = data.draw, np.random.default_rng(seed)
    dtype = draw(st.sampled_from([dt.float32, dt.float32, dt.float64, dt.bfloat16, dt.int32]))
    images, m = draw(st.integers(0, 3)), draw(st.sampled_from([5, 13, 20, 32, 390]))
    channels = draw(st.sampled_from([0, 1, 3, 29, 60]))
    kernel, dilation = ([draw(st.integers(low, high)) for _ in range(axes)] for low, high in ((1, 3), (1, 2)))
    stride, before = [draw(st.integers(1, 2)), 1][-axes:], [draw(st.integers(0, 3)), draw(st.sampled_from([0, 1, 17]))]
    results, before = [draw(st.integers(1, 40)), LANES * draw(st.integers(1, 5))][-axes:], before[-axes:]
    if axes == 1:
        results[0] += draw(st.integers(0, LANES))
    made = windows_of(draw, rng, dtype, images, m, channels, (kernel, dilation, stride), results, before)
    for isa in ISAS:
        part, built, ints = made(isa, False)
        assert (part["box_line"] > 0) == (part["mode"] == BOXED)
        if part["mode"] == BOXED:
            _check_room(part, form_of(*built[:2]).tile, ints[2], prod(kernel))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_few_rows_read_planes_from_a_box(data: st.DataObject, seed: int) -> None:
    """Of short lines, with units that are a part of a plane and whole ones, padding on all sides, wide or none."""
    draw, rng = data.draw, np.random.default_rng(seed)
    dtype = draw(st.sampled_from([dt.float32, dt.float32, dt.float64, dt.bfloat16, dt.int32]))
    images, m = draw(st.integers(0, 3)), draw(st.sampled_from([1, 1, 2, 3, 4]))
    kernel, dilation = ([draw(st.integers(1, most)) for _ in range(2)] for most in (5, 3))
    before = [draw(st.sampled_from([0, 1, 2, 5])), draw(st.sampled_from([0, 1, 2, 17]))]
    results = [draw(st.one_of(st.integers(1, 30), st.integers(60, 200))), draw(st.integers(1, 33))]
    made = windows_of(draw, rng, dtype, images, m, 0, (kernel, dilation, [1, 1]), results, before)
    for isa in ISAS:
        part, built, _ = made(isa, True)
        if part["mode"] == PLANES:
            tile = form_of(*built[:2]).tile
            assert results[1] <= planes.WIDEST and part["sub_n"] % results[1] == 0 and part["sub_n"] <= planes.COLUMNS
            assert tile.rows * packed_row(tile) <= part["packed_b_at"]
            flat = part["sums_at"] + (part["sub_n"] + 4 * tile.lanes) * m * tile.dtype.itemsize
            lines = part["sub_n"] // results[1]
            assert flat + (lines * part["box_line"] + 4 * tile.lanes) * tile.dtype.itemsize <= TABLES_AT
        else:
            assert part["box_line"] == 0 or part["mode"] == BOXED


Made = Callable[[str, bool], tuple[dict[str, int], tuple[Contraction, Target, CodeModule], list[int]]]


def windows_of(
    draw: Any,
    rng: np.random.Generator,
    dtype: DType,
    images: int,
    m: int,
    channels: int,
    of_windows: tuple[Sequence[int], Sequence[int], Sequence[int]],
    results: Sequence[int],
    before: Sequence[int],
) -> Made:
    """``made(isa, near)`` runs the product of :func:`of_edges` and compares it with that of the windows written down;
    gives the partition, the kernel, and its ints. The last window ends with the tensor, or beyond it."""
    (kernel, dilation, stride), axes = of_windows, len(results)
    sizes = [
        max(1, (n - 1) * s + d * (k - 1) + 1 - b - draw(st.integers(0, 2)))
        for n, s, d, k, b in zip(results, stride, dilation, kernel, before, strict=True)
    ]
    tensor = values_of(dtype, rng, (max(images, 1), max(channels, 1), *sizes))
    places = [
        np.add.outer(np.arange(k) * d, np.arange(n) * s) - b
        for k, d, n, s, b in zip(kernel, dilation, results, stride, before, strict=True)
    ]
    shape = (max(images, 1), max(channels, 1) * prod(kernel), prod(results))
    if axes == 2:
        places = [places[0][:, None, :, None], places[1][None, :, None, :]]
    there = np.all(np.broadcast_arrays(*[(p >= 0) & (p < n) for p, n in zip(places, sizes, strict=True)]), 0)
    found = tensor[(slice(None), slice(None), *(np.clip(p, 0, n - 1) for p, n in zip(places, sizes, strict=True)))]
    matrix = np.where(there, found, tensor.dtype.type(0)).reshape(shape)
    _, k, n = shape
    factors = values_of(dtype, rng, (m, k))
    total = dt.float32 if dtype.is_half else dtype
    wanted = np.stack([reference(factors, one, total) for one in matrix]).astype(tensor.dtype)
    pitch = [prod(sizes[at + 1 :]) for at in range(axes)]
    ints = [m, n, k, n, 0, -sum(b * p for b, p in zip(before, pitch, strict=True)), *sizes, *(-b for b in before)]
    ints += [channels, prod(sizes)] if channels else []
    for counts, steps in ((kernel, dilation), (results, stride)):
        ints += [v for c, t, p in zip(counts, steps, pitch, strict=True) for v in (c, t * p)]
    ints += [*dilation, *stride, images, tensor[0].size, m * n]

    def made(isa: str, near: bool) -> tuple[dict[str, int], tuple[Contraction, Target, CodeModule], list[int]]:
        built, threads = boxed(axes, channels > 0, images > 0, dtype, isa, near), draw(st.integers(1, 3))
        part = dict(zip(PARTITION, contraction_units(built[0], ints, threads, built[1]).ints, strict=True))
        event(f"mode {part['mode']}")
        result = np.zeros((max(images, 1), m, n), tensor.dtype)
        found, _ = run(built, [factors, tensor, result], dict(enumerate(ints)), threads=threads)
        assert same_bits(found[2], wanted)
        return part, built, ints

    return made


@cache
def thin(dtype: DType, isa: str) -> tuple[Contraction, Target, CodeModule]:
    """A batch of products of a matrix, whose k is two axes, with windows of a tensor of two, which leave it."""
    slots = iter(range(6, 100))
    batch, *sizes = (Slot(next(slots)) for _ in range(3))
    starts = [Slot(next(slots)) for _ in range(2)]
    strides = [Slot(next(slots)) for _ in range(2)]
    rows = (Slot(next(slots)), Slot(next(slots)))
    depth = (Slot(next(slots)), Slot(next(slots))), (Slot(next(slots)), 1)
    axes = [tuple((Slot(next(slots)), Slot(next(slots))) for _ in range(2)) for _ in range(2)]
    steps = [[Slot(next(slots)) for _ in range(2)] for _ in range(2)]
    edges = tuple(Edge(sizes[e], starts[e], (e, steps[0][e]), (e, steps[1][e])) for e in range(2))
    a = Windowed(0, dtype, START[0], (strides[0],), (rows,), depth)
    b = Windowed(1, dtype, START[1], (strides[1],), axes[0], axes[1], edges)
    total = dt.float32 if dtype.is_half else dtype
    store = Store(Access(2, dtype, 0, (Slot(next(slots)), PITCH, 1)), cast(leaf("acc", total, None), dtype))
    kernel = Contraction((batch,), M, N, K, a, b, total, (store,), (dtype,) * 3)
    target = host_target(isa)
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16, dt.int16], ids=str)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_lanes_along_the_batch(dtype: DType, data: st.DataObject, seed: int) -> None:
    """Few rows and columns for each element of a batch: the bits of the products one by one, of windows too that
    leave their tensor, in memory that ends with its last element."""
    draw, rng = data.draw, np.random.default_rng(seed)
    batch, m = draw(st.sampled_from([1, 3, 8, 16, 17, 35])), draw(st.integers(1, 5))
    sizes = [draw(st.integers(1, 12)), draw(st.one_of(st.integers(1, 20), st.sampled_from([33, 70])))]
    kernel, dilation, stride = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(3))
    before = [draw(st.integers(0, 3)) for _ in range(2)]
    room = [draw(st.integers(0, 3)) + b + n for b, n in zip(before, sizes, strict=True)]
    results = [max(0, r - d * (k - 1) - 1) // s + 1 for r, d, k, s in zip(room, dilation, kernel, stride, strict=True)]
    tensor, (k, n) = values_of(dtype, rng, (batch, *sizes)), (prod(results), prod(kernel))
    factors = values_of(dtype, rng, (batch, m, k))
    positions = [
        np.add.outer(np.arange(o) * s, np.arange(t) * d) - b
        for o, s, t, d, b in zip(results, stride, kernel, dilation, before, strict=True)
    ]
    y, x = positions[0][:, None, :, None], positions[1][None, :, None, :]
    there = (y >= 0) & (y < sizes[0]) & (x >= 0) & (x < sizes[1])
    found = np.where(there, tensor[:, np.where(there, y, 0), np.where(there, x, 0)], tensor.dtype.type(0))
    matrices = found.reshape(batch, k, n)
    total = dt.float32 if dtype.is_half else dtype
    with np.errstate(over="ignore"):
        wanted = np.stack([reference(a, b, total).astype(dtype.numpy) for a, b in zip(factors, matrices, strict=True)])
    pitch = [sizes[1], 1]
    ints = [m, n, k, n, 0, -sum(b * p for b, p in zip(before, pitch, strict=True)), batch, *sizes]
    ints += [*(-b for b in before), m * k, sizes[0] * sizes[1], m, k, results[0], results[1], results[1]]
    for counts, steps in ((results, stride), (kernel, dilation)):
        ints += [v for c, s, p in zip(counts, steps, pitch, strict=True) for v in (c, s * p)]
    ints += [*stride, *dilation, m * n]
    for isa in ISAS:
        kernel_, target, code = thin(dtype, isa)
        part = dict(zip(PARTITION, contraction_units(kernel_, ints, 1, target).ints, strict=True))
        form = form_of(kernel_, target)
        assert (part["mode"] == BATCH_LANES) == (form.thin and m <= 4 and 2 * batch >= form.tile.lanes)
        arrays = [factors, tensor, np.zeros((batch, m, n), dtype.numpy)]
        made, _ = run((kernel_, target, code), arrays, dict(enumerate(ints)), threads=draw(st.integers(1, 3)))
        assert same_bits(made[2], wanted)


def test_lanes_along_the_batch_fit_into_the_scratch() -> None:
    """What is packed of as many rows and columns as there may be, their sums, and those of an element."""
    for isa in ISAS:
        target = host_target(isa)
        for dtype in (dt.float32, dt.float64):
            tile = form_of(thin(dtype, isa)[0], target).tile
            size, (m, n) = tile.dtype.itemsize, THIN
            sums = m * n * tile.lanes * size + m * (n + LANES) * size
            assert (m + n) * lanes_pitch(tile) + sums <= TABLES_AT


@given(
    m=st.integers(1, 5000),
    n=st.integers(1, 5000),
    k=st.one_of(st.integers(1, 300), st.integers(1, 100_000)),
    threads=st.integers(1, 70),
    dtype=st.sampled_from([dt.float32, dt.float64, dt.float16, dt.int8]),
    name=st.sampled_from(["x86_64-linux-gnu", "aarch64-linux-gnu", "wasm32"]),
    of_a=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_tables_fit_behind_everything_else(
    m: int, n: int, k: int, threads: int, dtype: DType, name: str, of_a: bool
) -> None:
    """A unit's entries, those of a K block, and the sums before them lie apart in the scratch."""
    b, slot = windowed((2, 2, "columns"), 1, dtype, 7)
    total = dt.float32 if dtype.is_half else dtype
    store = Store(Access(2, dtype, 0, (PITCH, 1)), cast(leaf("acc", total, None), dtype))
    a = b if of_a else Access(0, dtype, 0, (Slot(6), 1))
    kernel = Contraction((), M, N, K, a, b, total, (store,), (dtype,) * 3)
    target = cross_target(name)
    part = contraction_units(kernel, [m, n, k, n, 0, 0, k, *[1] * (slot - 7)], threads, target)
    sub_m, sub_n, sums_at = part.ints[0], part.ints[2], part.ints[8]
    tile = form_of(kernel, target).tile
    ends = [*sorted(TABLES.values())[1:], SCRATCH_BYTES - TABLES_AT]
    room = dict(zip(sorted(TABLES, key=TABLES.__getitem__), ends, strict=True))
    few = part.ints[4] == FEW_ROWS  # they read the table of a K block alone
    needed = {"depth_a": K_BLOCK, "depth_b": K_BLOCK, "outer_a": sub_m if of_a else 0, "outer_b": 0 if few else sub_n}
    for table, start in TABLES.items():
        entry = ENTRY + (MOST_EDGES * PART if table.endswith("b") else 0)
        assert start + needed[table] * entry <= room[table]
    if few:
        assert m <= tile.heights[0] and k <= K_BLOCK
        assert sums_at + m * (sub_n + WIDEST * tile.lanes) * tile.dtype.itemsize <= MASKS_AT
        assert MASKS_AT + LINE * k * MASK <= TABLES_AT
        return
    places = 1 if k <= K_BLOCK else -(-sub_m // tile.rows) * -(-sub_n // tile.columns)
    assert sums_at + places * tile.rows * tile.columns * tile.dtype.itemsize <= TABLES_AT


@pytest.mark.parametrize(
    ("batch", "m", "n", "k", "joined"),
    [(8, 512, 49, 4608, True), (8, 512, 16, 4608, True), (8, 64, 3136, 576, False), (1, 512, 49, 4608, False)],
)
def test_small_images_are_one_product(batch: int, m: int, n: int, k: int, joined: bool) -> None:
    """Where a batch has one weight and few columns for each of its elements, all of them are cut as one."""
    image = Slot(8)
    b, slot = windowed((2, 2, "columns"), 1, dt.float32, 9)
    b = replace(b, strides=(Slot(7),))
    store = Store(Access(2, dt.float32, 0, (Slot(7), PITCH, 1)), leaf("acc", dt.float32, None))
    a = Access(0, dt.float32, 0, (0, Slot(6), 1))
    kernel = Contraction((image,), M, N, K, a, b, dt.float32, (store,), (dt.float32,) * 3)
    target = cross_target("x86_64-linux-gnu")
    part = contraction_units(kernel, [m, n, k, n, 0, 0, k, n, batch, *[1] * (slot - 9)], 1, target)
    found = dict(zip(PARTITION, part.ints, strict=True))
    assert found["columns"] == (n * batch if joined else n)
    assert part.units == found["blocks_m"] * found["blocks_n"] * (1 if joined else batch)


@pytest.mark.parametrize(
    "name",
    ["aarch64-linux-gnu"]
    + [pytest.param(n, marks=pytest.mark.long) for n in ("x86_64-linux-gnu", "riscv64-linux-gnu-v", "cortex-m4")],
)
def test_other_targets_are_accepted(name: str) -> None:
    target = cross_target(name)
    kernels = [build(structure, structure, dt.float32, ISAS[0])[0] for structure in STRUCTURES]
    kernels += [edged(runs, ISAS[0])[0] for runs in EDGED] + [thin(dt.float32, ISAS[0])[0]]
    kernels += [of_edges(2, True, False, dt.float32, near) for near in (False, True)]
    for kernel in kernels:
        assert assemble(render_contraction(kernel, "kernel", target), target)


def test_the_text_says_the_axes_and_edges() -> None:
    kernel, _, _ = build((1, 2, "columns"), None, dt.float32, ISAS[0])
    assert "a=b0:float32[$4; $6*$7, $8*$9 $10*1]" in describe(kernel)
    kernel, _, _ = edged("columns", ISAS[0])
    assert "; 0<=$8+r1*$20+c0*$22<$6; 0<=$9+r2*$21+c1*1<$7]" in describe(kernel)

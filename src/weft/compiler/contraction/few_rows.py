"""Products of few rows with windows: a depthwise convolution has one for each channel.

A tile would compute twelve rows, of a packed panel whose elements each row reads once. Here the windows are read where
they lie: lanes run along the last axis of the columns, line by line of it, and chains stay in registers for all of k,
which is one K block. Naive meaning, with the tables and offsets of offsets.py::

    for column in range(start, start + count):
        for i in range(rows):
            chain = 0
            for k in range(kc): chain = fma(a[i, k], element at b + offset of the column + depth[k].offset, chain)
            sums[i, column - start] = chain
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...core.dtypes import DType
from ..emit import Module, Writer, constant, convert, register_type, splat
from ..kernels import Windowed
from ..lanes import begin_kernel, either, first_lanes, load_every_other, load_lanes, loop, when
from ..stages import grid_indices, slots_of
from .offsets import ENTRY
from .plan import Form
from .tile import ContractionTarget, Tile, at, multiply_add, packed_row

WIDEST = 4  # vectors of a line that are computed at a time: their chains hide the latency of each other

FEW_ROWS_ARGUMENTS = (
    "ptr %a, i64 %rows, ptr %b, ptr %ints, i64 %start, i64 %count, ptr %depth, i64 %kc, ptr %sums, i64 %pitch"
)
"""``a`` is packed; rows of ``sums`` lie ``pitch`` bytes apart, with room for WIDEST vectors behind their elements."""


def sums_pitch(w: Writer, tile: Tile, count: str) -> str:
    """Bytes from row to row of the sums of ``count`` columns."""
    return w.arithmetic("mul", w.op(f"add nsw i64 {count}, {WIDEST * tile.lanes}"), tile.dtype.itemsize)


def render_few_rows(module: Module, name: str, form: Form, access: Windowed, target: ContractionTarget) -> None:
    """Add ``void @name(...)``, for a B whose columns are one or two elements apart along their last axis."""
    w, tile, size = Writer(module), form.tile, form.tile.dtype.itemsize
    frame = begin_kernel(w, 0, slots_of((), [x for axis in access.columns for x in axis]), target)
    chains = [w.op(f"alloca {register_type(tile.dtype, tile.lanes)}, align 64") for _ in range(WIDEST)]
    sizes = tuple(n for n, _ in access.columns)
    steps = [w.arithmetic("mul", frame.int_(stride), access.dtype.itemsize) for _, stride in access.columns]
    step, width = access.columns[-1][1], frame.int_(sizes[-1])
    assert isinstance(step, int), "what lies further apart has no lines"
    row_step, k_step = (size, tile.rows * size) if form.a == "panels" else (packed_row(tile), size)
    lines = _Lines(w, tile, access.dtype, step, k_step, chains)
    compute = lines.masked if target.masked_memory and tile.lanes > 1 else lines.whole
    end = w.op("add nsw i64 %start, %count")

    def line(number: str) -> None:
        first = w.op(f"mul nsw i64 {number}, {width}")
        lo = w.op(f"call i64 @llvm.smax.i64(i64 {w.op(f'sub nsw i64 %start, {first}')}, i64 0)")
        hi = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'sub nsw i64 {end}, {first}')}, i64 {width})")
        axes = [*grid_indices(frame, sizes[:-1], number), lo]
        b = at(w, "%b", *zip(axes, steps, strict=True))
        to = at(w, "%sums", (w.op(f"sub nsw i64 {w.op(f'add nsw i64 {first}, {lo}')}, %start"), size))
        count = w.op(f"sub nsw i64 {hi}, {lo}")
        loop(w, "0", "%rows", 1, lambda i: compute(at(w, "%a", (i, row_step)), b, at(w, to, (i, "%pitch")), count))

    last = w.op(f"sdiv i64 {w.op(f'sub nsw i64 {end}, 1')}, {width}")
    loop(w, w.op(f"sdiv i64 %start, {width}"), w.op(f"add nsw i64 {last}, 1"), 1, line)
    w.do("ret void")
    w.define(f"internal void @{name}({FEW_ROWS_ARGUMENTS}) #1")


@dataclass(frozen=True, slots=True)
class _Lines:
    """Emits the sums of a row of ``a`` with ``count`` columns of a line, which begin at ``b``, into ``to``."""

    w: Writer
    tile: Tile
    source: DType
    step: int  # elements from column to column, 1 or 2
    k_step: int  # bytes from k to k of a
    chains: list[str]  # a vector in memory each, which becomes a register

    def masked(self, a: str, b: str, to: str, count: str) -> None:
        """In pieces of as many vectors as there are columns for; of the last, some lanes."""
        w, lanes = self.w, self.tile.lanes

        def some(c: str) -> None:
            left = w.op(f"sub nsw i64 {count}, {c}")
            here, into = self._from(b, c), at(w, to, (c, self.tile.dtype.itemsize))

            def of(vectors: int) -> None:
                if vectors == 1:
                    self._piece(a, here, into, 1, lanes, left)
                    return
                more = w.op(f"icmp sgt i64 {left}, {vectors // 2 * lanes}")
                either(w, more, lambda: self._piece(a, here, into, vectors, lanes, left), lambda: of(vectors // 2))

            of(WIDEST)

        loop(w, "0", count, WIDEST * lanes, some)

    def whole(self, a: str, b: str, to: str, count: str) -> None:
        """In pieces as wide as can be, then halves, so that nothing beyond the line is read."""
        w, lanes = self.w, self.tile.lanes

        def some(c: str, vectors: int, wide: int) -> None:
            self._piece(a, self._from(b, c), at(w, to, (c, self.tile.dtype.itemsize)), vectors, wide, None)

        widest = WIDEST * lanes
        loop(w, "0", w.op(f"and i64 {count}, {-widest}"), widest, lambda c: some(c, WIDEST, lanes))
        half = widest // 2
        while half:
            there = w.op(f"icmp ne i64 {w.op(f'and i64 {count}, {half}')}, 0")
            vectors = max(half // lanes, 1)
            when(w, there, partial(some, w.op(f"and i64 {count}, {-2 * half}"), vectors, half // vectors))
            half //= 2

    def _from(self, b: str, column: str) -> str:
        return at(self.w, b, (column, self.step * self.source.itemsize))

    def _piece(self, a: str, b: str, to: str, vectors: int, wide: int, left: str | None) -> None:
        """``vectors`` of ``wide`` columns, of which only the first ``left`` are there."""
        w, tile, size = self.w, self.tile, self.tile.dtype.itemsize
        one, of = register_type(tile.dtype, 1), register_type(tile.dtype, wide)
        masks = [
            None if left is None else first_lanes(w, w.op(f"sub nsw i64 {left}, {v * wide}"), wide)
            for v in range(vectors)
        ]
        for chain in self.chains[:vectors]:
            w.do(f"store {of} {constant(0, tile.dtype, wide)}, ptr {chain}")

        def term(k: str) -> None:
            factor = w.op(f"load {one}, ptr {at(w, a, (k, self.k_step))}, align {size}")
            factor = splat(w, one, factor, wide)
            line = at(w, b, (w.op(f"load i64, ptr {at(w, '%depth', (k, ENTRY))}, align 16"), 1))
            for v, mask in enumerate(masks):
                load = load_every_other if self.step == 2 and wide > 1 else load_lanes
                value = load(w, self.source, self._from(line, str(v * wide)), wide, mask)
                value = convert(w, value, self.source, tile.dtype, wide)
                chain = w.op(f"load {of}, ptr {self.chains[v]}")
                w.do(f"store {of} {multiply_add(w, tile, factor, value, chain, wide)}, ptr {self.chains[v]}")

        loop(w, "0", "%kc", 1, term)
        for v, chain in enumerate(self.chains[:vectors]):
            total = w.op(f"load {of}, ptr {chain}")
            w.do(f"store {of} {total}, ptr {at(w, to, (str(v * wide), size))}, align {size}")

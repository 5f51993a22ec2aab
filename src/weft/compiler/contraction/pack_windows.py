"""Packing of Windowed operands: as in pack.py, from offsets in tables (offsets.py) and by the runs that these show.

Naive meaning of every function here, in whichever form it writes::

    for i in range(count):
        for k in range(kc): packed[i, k] = element at src + outer[i].offset + depth[k].offset
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, vector_of
from ..kernels import LANES, Int, Windowed
from ..lanes import load_lanes, loop, when
from .offsets import ENTRY
from .pack import copy, gathered, padded_rows, store_zero, transpose_quarters
from .plan import Form
from .tile import Tile, at, packed_row, prefetch

_AHEAD = 16  # rows: their runs are asked for, which lie too far from each other for a processor to foresee

WINDOW_ARGUMENTS = "ptr %src, ptr %outer, ptr %depth, i64 %count, i64 %kc, ptr %dst"
"""Arguments of every function here, which packs for one tile: ``outer`` is the table of the rows of A or columns of B
from the tile's first on, ``depth`` that of the K block."""


def render_pack_windows(module: Module, name: str, form: Form, access: Windowed, of_a: bool) -> None:
    """Add ``void @name(...)``, which packs A or B: A into rows unless it has panels, B into panels."""
    w, source = Writer(module), access.dtype
    w.label("entry")
    lies = form.a if of_a else form.b
    if lies == "panels":
        _panels(w, form.tile, source, of_a)
    elif of_a:
        _rows(w, form.tile, source, access.columns[-1][1])
    else:
        _columns(w, form.tile, source, lies == "rows")
    w.do("ret void")
    w.define(f"internal void @{name}({WINDOW_ARGUMENTS}) #1")


def _offset(w: Writer, table: str, entry: str) -> str:
    return w.op(f"load i64, ptr {at(w, table, (entry, ENTRY))}, align 16")


def _runs(w: Writer, table: str, count: str, body: Callable[[str, str, str], None]) -> None:
    """``body(first, offset, length)`` for each run of the table's first ``count`` entries; once in a function."""

    def run(first: str) -> None:
        entry = at(w, table, (first, ENTRY))
        left = w.op(f"load i64, ptr {at(w, entry, ('8', 1))}, align 8")
        rest = w.op(f"sub nsw i64 {count}, {first}")
        w.do(f"%run = call i64 @llvm.smin.i64(i64 {left}, i64 {rest})")
        body(first, w.op(f"load i64, ptr {entry}, align 16"), "%run")

    loop(w, "0", count, "%run", run)


def _pieces(w: Writer, length: str, widest: int, body: Callable[[str, int], None]) -> None:
    """``body(start, lanes)`` for pieces of a run: as wide as can be, then halves, so that nothing beyond it is read."""
    loop(w, "0", w.op(f"and i64 {length}, {-widest}"), widest, lambda start: body(start, widest))
    lanes = widest // 2
    while lanes:
        there = w.op(f"icmp ne i64 {w.op(f'and i64 {length}, {lanes}')}, 0")
        start = w.op(f"and i64 {length}, {-2 * lanes}")
        when(w, there, partial(body, start, lanes))
        lanes //= 2


def _panels(w: Writer, tile: Tile, source: DType, of_a: bool) -> None:
    """What has runs along i, into panels. Pieces of lines are walked along k: their offsets are read once."""
    size = tile.dtype.itemsize
    narrow = w.op(f"icmp sle i64 %count, {tile.lanes}")
    fill = str(tile.rows) if of_a else w.op(f"select i1 {narrow}, i64 {tile.lanes}, i64 {tile.columns}")
    pitch = w.arithmetic("mul", fill, size)

    def lines(first: str, offset: str, start: str, lanes: int) -> None:
        src = at(w, "%src", (offset, 1), (start, source.itemsize))
        dst = at(w, "%dst", (w.op(f"add nsw i64 {first}, {start}"), size))

        def line(k: str) -> None:
            copy(w, source, tile, at(w, src, (_offset(w, "%depth", k), 1)), at(w, dst, (k, pitch)), lanes)

        loop(w, "0", "%kc", 1, line)

    def run(first: str, offset: str, length: str) -> None:
        _pieces(w, length, tile.lanes, lambda start, lanes: lines(first, offset, start, lanes))

    _runs(w, "%outer", "%count", run)

    def zeros(i: str) -> None:
        loop(w, "0", "%kc", 1, lambda k: store_zero(w, tile, at(w, "%dst", (k, pitch), (i, size))))

    loop(w, "%count", fill, 1, zeros)


def _rows(w: Writer, tile: Tile, source: DType, step: Int) -> None:
    """A into rows, the last one repeated up to a height that a tile function has; by runs along k if its elements lie
    side by side, forward or (``step`` -1: a kernel that is turned round) backward."""
    last, size = w.op("sub nsw i64 %count, 1"), tile.dtype.itemsize

    def row(r: str) -> None:
        real = w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})")
        src, dst = at(w, "%src", (_offset(w, "%outer", real), 1)), at(w, "%dst", (r, packed_row(tile)))
        later = at(w, "%src", (_offset(w, "%outer", w.op(f"add nsw i64 {real}, {_AHEAD}")), 1))

        def run(first: str, offset: str, length: str) -> None:
            prefetch(w, at(w, later, (offset, 1)))
            start, to = at(w, src, (offset, 1)), at(w, dst, (first, size))

            def piece(k: str, lanes: int) -> None:
                if step == 1:
                    copy(w, source, tile, at(w, start, (k, source.itemsize)), at(w, to, (k, size)), lanes)
                    return
                first = at(w, start, (k, -source.itemsize), (str(lanes - 1), -source.itemsize))
                value = reversed_lanes(w, source, load_lanes(w, source, first, lanes, None), lanes)
                value = convert(w, value, source, tile.dtype, lanes)
                w.do(f"store {register_type(tile.dtype, lanes)} {value}, ptr {at(w, to, (k, size))}, align {size}")

            _pieces(w, length, LANES, piece)

        def single(k: str) -> None:
            copy(w, source, tile, at(w, src, (_offset(w, "%depth", k), 1)), at(w, dst, (k, size)), 1)

        if step in (1, -1):
            _runs(w, "%depth", "%kc", run)
        else:
            loop(w, "0", "%kc", 1, single)

    loop(w, "0", padded_rows(w, tile), 1, row)


def reversed_lanes(w: Writer, dtype: DType, value: str, lanes: int) -> str:
    """A vector's elements from the last to the first."""
    if lanes == 1:
        return value
    kind, order = vector_of(memory_type(dtype), lanes), ", ".join(f"i32 {lane}" for lane in range(lanes - 1, -1, -1))
    return w.op(f"shufflevector {kind} {value}, {kind} poison, <{lanes} x i32> <{order}>")


def _across(w: Writer, tile: Tile, source: DType, pointers: list[str], to: str) -> None:
    """One element of each column, as one vector: stores, not loads, would be the bottleneck."""
    element, vector = memory_type(source), "poison"
    for i, pointer in enumerate(pointers):
        value = w.op(f"load {element}, ptr {pointer}, align {source.itemsize}")
        vector = w.op(f"insertelement <{tile.lanes} x {element}> {vector}, {element} {value}, i64 {i}")
    out = convert(w, vector, source, tile.dtype, tile.lanes)
    w.do(f"store {register_type(tile.dtype, tile.lanes)} {out}, ptr {to}, align {tile.dtype.itemsize}")


def _columns(w: Writer, tile: Tile, source: DType, has_runs: bool) -> None:
    """B into panels, vector by vector, the last column repeated; along runs of k by transposing in registers."""
    size, lanes = tile.dtype.itemsize, tile.lanes
    quarter = min(lanes, max(1, 16 // size))
    final = w.op("sub i64 %count, 1")
    narrow = w.op(f"icmp sle i64 %count, {lanes}")
    fill = w.op(f"select i1 {narrow}, i64 {lanes}, i64 {tile.columns}")
    pitch = w.arithmetic("mul", fill, size)
    columns = w.op(f"alloca [{lanes} x ptr], align 64")

    def cell(i: str) -> str:
        return w.op(f"getelementptr ptr, ptr {columns}, i64 {i}", "p")

    def starts() -> list[str]:
        return [w.op(f"load ptr, ptr {cell(str(i))}") for i in range(lanes)]

    def vector(c: str) -> None:
        dst = at(w, "%dst", (c, size))

        def remember(i: str) -> None:
            real = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {c}, {i}')}, i64 {final})")
            w.do(f"store ptr {at(w, '%src', (_offset(w, '%outer', real), 1))}, ptr {cell(i)}")

        def line(k: str) -> str:
            return at(w, dst, (k, pitch))

        def run(first: str, offset: str, length: str) -> None:
            whole = w.op(f"and i64 {length}, {-quarter}")

            def here(k: str) -> list[str]:
                return [at(w, pointer, (offset, 1), (k, source.itemsize)) for pointer in starts()]

            def square(k: str) -> None:
                rows, to = here(k), line(w.op(f"add nsw i64 {first}, {k}"))
                vectors = [gathered(w, tile, source, rows[i::quarter], 0, quarter) for i in range(quarter)]
                for out in transpose_quarters(w, tile, vectors, quarter):
                    w.do(f"store {register_type(tile.dtype, lanes)} {out}, ptr {to}, align {size}")
                    to = w.op(f"getelementptr i8, ptr {to}, i64 {pitch}")

            def rest(k: str) -> None:
                _across(w, tile, source, here(k), line(w.op(f"add nsw i64 {first}, {k}")))

            loop(w, "0", whole, quarter, square)
            loop(w, whole, length, 1, rest)

        loop(w, "0", str(lanes), 1, remember)
        if has_runs:
            _runs(w, "%depth", "%kc", run)
        else:
            pointers = starts()

            def single(k: str) -> None:
                moved = _offset(w, "%depth", k)
                _across(w, tile, source, [at(w, pointer, (moved, 1)) for pointer in pointers], line(k))

            loop(w, "0", "%kc", 1, single)

    loop(w, "0", fill, lanes, vector)

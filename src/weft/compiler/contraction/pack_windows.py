"""Packing of Windowed operands: as in pack.py, from offsets in tables (offsets.py) and by the runs that these show.

Naive meaning of every function here, in whichever form it writes::

    for i in range(count):
        for k in range(kc): packed[i, k] = element at src + outer[i].offset + depth[k].offset

of B, 0 where an edge says that it is not there (edges.py). Most vectors are far from all edges and are read as where
there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, vector_of
from ..kernels import K_BLOCK, LANES, Int, Windowed
from ..lanes import begin_kernel, either, first_lanes, load_lanes, loop, store_lanes, when
from ..stages import slots_of
from .edges import Edges, edge_slots, load_near
from .offsets import ENTRY, entry_bytes
from .pack import copy, gathered, padded_rows, store_zero, transpose_quarters
from .plan import Form
from .tile import ContractionTarget, Tile, at, packed_row, prefetch

_AHEAD = 16  # rows: their runs are asked for, which lie too far from each other for a processor to foresee

WINDOW_ARGUMENTS = "ptr %src, ptr %ints, ptr %outer, ptr %depth, i64 %count, i64 %kc, ptr %dst"
"""Arguments of every function here, which packs for one tile: ``outer`` is the table of the rows of A or columns of B
from the tile's first on, ``depth`` that of the K block."""


def render_pack_windows(
    module: Module, name: str, form: Form, access: Windowed, of_a: bool, target: ContractionTarget
) -> None:
    """Add ``void @name(...)``, which packs A or B: A into rows unless it has panels, B into panels."""
    w, source = Writer(module), access.dtype
    frame = begin_kernel(w, 0, slots_of((), edge_slots(access)), target)
    lies = form.a if of_a else form.b
    if lies == "panels":
        _Panels(w, form.tile, access, of_a, Edges(frame, access, True), target.masked_memory).emit()
    elif of_a:
        _rows(w, form.tile, source, access.columns[-1][1])
    else:
        _Columns(w, form.tile, access, lies == "rows", Edges(frame, access, False)).emit()
    w.do("ret void")
    w.define(f"internal void @{name}({WINDOW_ARGUMENTS}) #1")


def _offset(w: Writer, table: str, entry: str, nbytes: int = ENTRY) -> str:
    return w.op(f"load i64, ptr {at(w, table, (entry, nbytes))}, align 8")


def runs(w: Writer, table: str, count: str, body: Callable[[str, str, str, str], None], nbytes: int = ENTRY) -> None:
    """``body(first, offset, length, entry)`` for each run of the first ``count`` entries; once in a function."""

    def run(first: str) -> None:
        entry = at(w, table, (first, nbytes))
        left = w.op(f"load i64, ptr {at(w, entry, ('8', 1))}, align 8")
        rest = w.op(f"sub nsw i64 {count}, {first}")
        w.do(f"%run = call i64 @llvm.smin.i64(i64 {left}, i64 {rest})")
        body(first, w.op(f"load i64, ptr {entry}, align 8"), "%run", entry)

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


class _Panels:
    """What has runs along i, into panels. Vectors of a run are walked along k: their offsets are read once."""

    def __init__(self, w: Writer, tile: Tile, access: Windowed, of_a: bool, edges: Edges, masked: bool):
        self.w, self.tile, self.source, self.edges, self.nbytes = w, tile, access.dtype, edges, entry_bytes(access)
        self.masked = masked and tile.lanes > 1
        step = (access.rows if of_a else access.columns)[-1][1]
        assert isinstance(step, int), "what lies further apart has no runs"
        self.step, self.size = step, tile.dtype.itemsize
        self.of_a = of_a

    def emit(self) -> None:
        """The panel; what is missing from it, or from its first vector, is 0."""
        w, tile, size = self.w, self.tile, self.size
        narrow = w.op(f"icmp sle i64 %count, {tile.lanes}")
        fill = str(tile.rows) if self.of_a else w.op(f"select i1 {narrow}, i64 {tile.lanes}, i64 {tile.columns}")
        self.pitch = w.arithmetic("mul", fill, size)
        runs(w, "%outer", "%count", self._run, self.nbytes)

        def zeros(i: str) -> None:
            loop(w, "0", "%kc", 1, lambda k: store_zero(w, tile, at(w, "%dst", (k, self.pitch), (i, size))))

        loop(w, "%count", fill, 1, zeros)

    def _run(self, first: str, offset: str, length: str, entry: str) -> None:
        w, lanes = self.w, self.tile.lanes
        indices = self.edges.parts(entry)

        def vector(start: str, wide: int, left: str | None) -> None:
            """``wide`` elements from ``start`` on, of which ``left`` are there."""
            src = at(w, "%src", (offset, 1), (start, self.step * self.source.itemsize))
            dst = at(w, "%dst", (w.op(f"add nsw i64 {first}, {start}"), self.size))
            here = self.edges.moved(indices, start)
            whole = "true" if left is None else w.op(f"icmp sge i64 {left}, {wide}")
            if self.edges.access.edges:
                whole = w.op(f"and i1 {whole}, {self.edges.interior(here, wide)}")
            if whole == "true":
                self._plain(src, dst, wide)
            elif self.masked:
                either(w, whole, lambda: self._plain(src, dst, wide), lambda: self._some(src, dst, here, left or ""))
            else:
                either(w, whole, lambda: self._plain(src, dst, wide), lambda: self._one_by_one(src, dst, here, wide))

        if self.masked:
            loop(w, "0", length, lanes, lambda start: vector(start, lanes, w.op(f"sub nsw i64 {length}, {start}")))
        else:
            _pieces(w, length, lanes, lambda start, wide: vector(start, wide, None))

    def _plain(self, src: str, dst: str, wide: int) -> None:
        w, tile = self.w, self.tile

        def line(k: str) -> None:
            place = at(w, src, (_offset(w, "%depth", k, self.nbytes), 1))
            value = convert(w, load_near(w, self.source, place, wide, self.step), self.source, tile.dtype, wide)
            kind = register_type(tile.dtype, wide)
            w.do(f"store {kind} {value}, ptr {at(w, dst, (k, self.pitch))}, align {self.size}")

        loop(w, "0", "%kc", 1, line)

    def _some(self, src: str, dst: str, here: list[str], left: str) -> None:
        """Masks say which lanes are written, and which of these are within the edges."""
        w, tile, lanes = self.w, self.tile, self.tile.lanes
        most = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {lanes})")
        written = first_lanes(w, left, lanes)

        def lines(mask_of: Callable[[str], str]) -> None:
            def line(k: str) -> None:
                entry = at(w, "%depth", (k, self.nbytes))
                mask = mask_of(entry)
                place = at(w, src, (w.op(f"load i64, ptr {entry}, align 8"), 1))
                value = load_near(w, self.source, place, lanes, self.step, mask)
                value = convert(w, value, self.source, tile.dtype, lanes)
                store_lanes(w, tile.dtype, at(w, dst, (k, self.pitch)), value, lanes, written)

            loop(w, "0", "%kc", 1, line)

        def by_spans(entry: str) -> str:
            return self.edges.within(self.edges.together(here, self.edges.parts(entry)), most).mask(w, lanes)

        def by_word() -> None:
            mask = self.edges.masks_by_word(here, most, lanes)
            lines(lambda entry: mask(self.edges.parts(entry)))

        if not here:
            lines(lambda entry: written)
        elif (is_narrow := self.edges.is_narrow()) == "false":
            lines(by_spans)
        else:
            either(w, is_narrow, by_word, lambda: lines(by_spans))

    def _one_by_one(self, src: str, dst: str, here: list[str], wide: int) -> None:
        """Where masks are dear: a vector that crosses an edge for some k is read lane by lane for these."""
        w, tile = self.w, self.tile

        def line(k: str) -> None:
            entry, to = at(w, "%depth", (k, self.nbytes)), at(w, dst, (k, self.pitch))
            span = self.edges.within(self.edges.together(here, self.edges.parts(entry)), str(wide))
            place = at(w, src, (w.op(f"load i64, ptr {entry}, align 8"), 1))

            def whole() -> None:
                value = convert(w, load_near(w, self.source, place, wide, self.step), self.source, tile.dtype, wide)
                w.do(f"store {register_type(tile.dtype, wide)} {value}, ptr {to}, align {self.size}")

            def lane(i: str) -> None:
                cell = at(w, to, (i, self.size))
                store_zero(w, tile, cell)
                inside = w.op(f"icmp ult i64 {w.op(f'sub i64 {i}, {span.first}')}, {span.count}")
                one = at(w, place, (i, self.step * self.source.itemsize))
                when(w, inside, lambda: copy(w, self.source, tile, one, cell, 1))

            full = w.op(f"icmp eq i64 {span.count}, {wide}")
            either(w, full, whole, lambda: loop(w, "0", str(wide), 1, lane))

        loop(w, "0", "%kc", 1, line)


def _rows(w: Writer, tile: Tile, source: DType, step: Int) -> None:
    """A into rows, the last one repeated up to a height that a tile function has; by runs along k if its elements lie
    side by side, forward or (``step`` -1: a kernel that is turned round) backward."""
    last, size = w.op("sub nsw i64 %count, 1"), tile.dtype.itemsize

    def row(r: str) -> None:
        real = w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})")
        src, dst = at(w, "%src", (_offset(w, "%outer", real), 1)), at(w, "%dst", (r, packed_row(tile)))
        later = at(w, "%src", (_offset(w, "%outer", w.op(f"add nsw i64 {real}, {_AHEAD}")), 1))

        def run(first: str, offset: str, length: str, entry: str) -> None:
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
            runs(w, "%depth", "%kc", run)
        else:
            loop(w, "0", "%kc", 1, single)

    loop(w, "0", padded_rows(w, tile), 1, row)


def reversed_lanes(w: Writer, dtype: DType, value: str, lanes: int) -> str:
    """A vector's elements from the last to the first."""
    if lanes == 1:
        return value
    kind, order = vector_of(memory_type(dtype), lanes), ", ".join(f"i32 {lane}" for lane in range(lanes - 1, -1, -1))
    return w.op(f"shufflevector {kind} {value}, {kind} poison, <{lanes} x i32> <{order}>")


def across(w: Writer, tile: Tile, source: DType, pointers: list[str], to: str) -> None:
    """One element of each column, as one vector: stores, not loads, would be the bottleneck."""
    element, vector = memory_type(source), "poison"
    for i, pointer in enumerate(pointers):
        value = w.op(f"load {element}, ptr {pointer}, align {source.itemsize}")
        vector = w.op(f"insertelement <{tile.lanes} x {element}> {vector}, {element} {value}, i64 {i}")
    out = convert(w, vector, source, tile.dtype, tile.lanes)
    w.do(f"store {register_type(tile.dtype, tile.lanes)} {out}, ptr {to}, align {tile.dtype.itemsize}")


class _Columns:
    """B into panels, vector by vector, the last column repeated; along runs of k by transposing in registers."""

    def __init__(self, w: Writer, tile: Tile, access: Windowed, has_runs: bool, edges: Edges):
        self.w, self.tile, self.source, self.edges = w, tile, access.dtype, edges
        self.has_runs, self.nbytes, self.size = has_runs, entry_bytes(access), tile.dtype.itemsize
        self.quarter = min(tile.lanes, max(1, 16 // self.size))
        self.has_edges = bool(access.edges)

    def emit(self) -> None:
        """The panel."""
        w, tile, lanes = self.w, self.tile, self.tile.lanes
        self.final = w.op("sub i64 %count, 1")
        narrow = w.op(f"icmp sle i64 %count, {lanes}")
        fill = w.op(f"select i1 {narrow}, i64 {lanes}, i64 {tile.columns}")
        self.pitch = w.arithmetic("mul", fill, self.size)
        # Of each lane: its column's address, the address of its line of a run, the parts of its indices.
        self.columns, self.lines = (w.op(f"alloca [{lanes} x ptr], align 64") for _ in range(2))
        self.indices = [w.op(f"alloca [{lanes} x i64], align 64") for _ in self.edges.access.edges]
        if self.has_edges:  # read instead of what is not there, along a whole run
            self.low, self.high = (w.op("alloca i64") for _ in range(2))
            self.zeros, _ = w.module.constant_table(self.source, [0] * K_BLOCK)
        loop(w, "0", fill, lanes, self._vector)

    def _vector(self, c: str) -> None:
        w, lanes = self.w, self.tile.lanes
        self.to = at(w, "%dst", (c, self.size))

        def remember(i: str) -> None:
            real = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {c}, {i}')}, i64 {self.final})")
            entry = at(w, "%outer", (real, self.nbytes))
            pointer = at(w, "%src", (w.op(f"load i64, ptr {entry}, align 8"), 1))
            w.do(f"store ptr {pointer}, ptr {at(w, self.columns, (i, 8))}")
            for part, cells in zip(self.edges.parts(entry), self.indices, strict=True):
                w.do(f"store i64 {part}, ptr {at(w, cells, (i, 8))}")

        loop(w, "0", str(lanes), 1, remember)
        if self.has_runs:
            runs(w, "%depth", "%kc", self._run, self.nbytes)
        else:
            loop(w, "0", "%kc", 1, self._single)

    def _starts(self, cells: str) -> list[str]:
        return [self.w.op(f"load ptr, ptr {at(self.w, cells, (str(8 * i), 1))}") for i in range(self.tile.lanes)]

    def _line(self, k: str) -> str:
        return at(self.w, self.to, (k, self.pitch))

    def _of_lane(self, i: str) -> list[str]:
        return [self.w.op(f"load i64, ptr {at(self.w, cells, (i, 8))}, align 8") for cells in self.indices]

    def _single(self, k: str) -> None:
        """One k of what has no runs."""
        w, entry = self.w, at(self.w, "%depth", (k, self.nbytes))
        moved, parts, pointers = w.op(f"load i64, ptr {entry}, align 8"), self.edges.parts(entry), []
        for i, pointer in enumerate(self._starts(self.columns)):
            place = at(w, pointer, (moved, 1))
            if self.has_edges:
                inside = self.edges.there(self.edges.together(self._of_lane(str(i)), parts), inner=True)
                place = w.op(f"select i1 {inside}, ptr {place}, ptr {self.zeros}")
            pointers.append(place)
        across(w, self.tile, self.source, pointers, self._line(k))

    def _run(self, first: str, offset: str, length: str, entry: str) -> None:
        """Squares of what all lanes are within the inner edge of; what is before and after these, k by k."""
        w, tile, size = self.w, self.tile, self.size
        start, end, source = "0", length, self.source
        edged = self.has_edges and self.edges.inner is not None
        starts = partial(self._starts, self.lines if self.has_edges else self.columns)
        moved = "0" if self.has_edges else offset
        if self.has_edges:
            start, end = self._lines_of(offset, length, self.edges.parts(entry))

        def here(k: str) -> list[str]:
            return [at(w, pointer, (moved, 1), (k, source.itemsize)) for pointer in starts()]

        def square(k: str) -> None:
            rows, to = here(k), self._line(w.op(f"add nsw i64 {first}, {k}"))
            vectors = [gathered(w, tile, source, rows[i :: self.quarter], 0, self.quarter) for i in range(self.quarter)]
            for out in transpose_quarters(w, tile, vectors, self.quarter):
                w.do(f"store {register_type(tile.dtype, tile.lanes)} {out}, ptr {to}, align {size}")
                to = w.op(f"getelementptr i8, ptr {to}, i64 {self.pitch}")

        def rest(k: str) -> None:
            across(w, tile, source, here(k), self._line(w.op(f"add nsw i64 {first}, {k}")))

        def careful(k: str) -> None:
            parts, pointers = self.edges.moved(self.edges.parts(entry), k), []
            for i, pointer in enumerate(here(k)):
                inside = self._inside(self.edges.together(self._of_lane(str(i)), parts))
                pointers.append(w.op(f"select i1 {inside}, ptr {pointer}, ptr {self.zeros}"))
            across(w, tile, source, pointers, self._line(w.op(f"add nsw i64 {first}, {k}")))

        inner = w.op(f"sub nsw i64 {end}, {start}")
        squares = w.op(f"add nsw i64 {start}, {w.op(f'and i64 {inner}, {-self.quarter}')}")
        if edged:
            loop(w, "0", start, 1, careful)
        loop(w, start, squares, self.quarter, square)
        loop(w, squares, end, 1, rest)
        if edged:
            loop(w, end, length, 1, careful)

    def _inside(self, indices: list[str]) -> str:
        """i1: whether an element of a line is within the inner edge."""
        inner = self.edges.inner
        assert inner is not None
        size = self.edges.frame.int_(self.edges.access.edges[inner].size)
        return self.w.op(f"icmp ult i64 {indices[inner]}, {size}")

    def _lines_of(self, offset: str, length: str, parts: list[str]) -> tuple[str, str]:
        """Where each lane's line of a run lies, or zeros if it is beyond an edge; and from which to which of its
        elements all lanes are within the inner one."""
        w, bounds = self.w, (self.low, self.high)
        for cell, value in zip(bounds, ("0", length), strict=True):
            w.do(f"store i64 {value}, ptr {cell}")

        def lane(i: str) -> None:
            indices = self.edges.together(self._of_lane(i), parts)
            own = w.op(f"load ptr, ptr {at(w, self.columns, (i, 8))}")
            place = w.op(f"select i1 {self.edges.there(indices)}, ptr {at(w, own, (offset, 1))}, ptr {self.zeros}")
            w.do(f"store ptr {place}, ptr {at(w, self.lines, (i, 8))}")
            if self.edges.inner is None:
                return
            low, high = self.edges.crossed(indices)
            for cell, value, most in zip(bounds, (low, high), ("smax", "smin"), strict=True):
                so_far = w.op(f"load i64, ptr {cell}")
                w.do(f"store i64 {w.op(f'call i64 @llvm.{most}.i64(i64 {so_far}, i64 {value})')}, ptr {cell}")

        loop(w, "0", str(self.tile.lanes), 1, lane)
        low, high = (w.op(f"load i64, ptr {cell}") for cell in bounds)
        low = w.op(f"call i64 @llvm.smin.i64(i64 {low}, i64 {length})")
        return low, w.op(f"call i64 @llvm.smax.i64(i64 {high}, i64 {low})")

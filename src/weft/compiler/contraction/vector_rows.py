"""Products of a matrix that is contiguous along k with a vector or a few: see vector.py.

``lanes`` rows are read at a time and transposed in registers: columns of the matrix, which go into the chains of all
vectors. With one vector a square is read, ``lanes`` elements of each row, which is a line of memory: where the rows lie
a multiple of 4 KiB apart, that many fall into one set of the L1 cache, which has half as many ways, so that no line is
there when it is wanted again. With several vectors, whose chains take the registers, four elements of each row are
read, and, of rows so far apart, each K block is copied first, line by line, to where they lie side by side. What comes
next is asked for in the order of memory: it is too many rows for what a processor foresees.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, vector_of
from ..kernels import CACHE_LINE, K_BLOCK
from ..lanes import first_lanes, load_lanes, loop, when
from .pack import gathered, transpose_parts, transpose_quarters
from .tile import Tile, at, multiply_add, prefetch
from .vector import VECTOR_ARGUMENTS, blocks, element, total, zero

AT_ONCE = 8  # vectors with which the matrix is transposed once: their chains and the columns fit into registers
_WAYS = 8  # lines of a set of the L1 cache
_PERIOD = 4096  # bytes from one line of a set to the next


def render_vector_rows(module: Module, name: str, tile: Tile, matrix: DType, vector: DType, at_once: int) -> None:
    """Add the product of vectors, ``at_once`` of them in one pass, with a matrix that is contiguous along k.

    For missing vectors of a pass the last one is repeated: their time is hidden behind the memory's.
    """
    w = Writer(module)
    w.label("entry")
    loop(w, "0", "%count", tile.lanes, _Rows(w, tile, matrix, vector, at_once).group)
    w.do("ret void")
    w.define(f"internal void @{name}({VECTOR_ARGUMENTS}) #1")


class _Rows:
    """Emits the products of ``lanes`` rows; ``starts`` are the addresses that the lanes read from."""

    def __init__(self, w: Writer, tile: Tile, matrix: DType, vector: DType, at_once: int):
        self.w, self.tile, self.matrix, self.vector, self.at_once = w, tile, matrix, vector, at_once
        self.size, self.lanes = tile.dtype.itemsize, tile.lanes
        self.quarter = min(self.lanes, max(1, 16 // self.size))
        self.kind, self.element = register_type(tile.dtype, self.lanes), memory_type(tile.dtype)
        self.starts = w.op(f"alloca [{self.lanes} x ptr], align 64")
        self.single = w.op(f"alloca [{self.lanes} x {self.element}], align 64")
        self.chains, self.totals = ([w.op(f"alloca {self.kind}, align 64") for _ in range(at_once)] for _ in range(2))
        self.final, self.last = w.op("sub nsw i64 %count, 1"), w.op("sub nsw i64 %vectors, 1")
        self.pitch = K_BLOCK * matrix.itemsize + CACHE_LINE  # of copied rows: an odd number of lines
        self.copy = ""
        if self.lanes > _WAYS and at_once > 1:
            self.aliased = w.op(f"icmp eq i64 {w.op(f'and i64 %stride, {_PERIOD - 1}')}, 0")
            self.copy = w.op(f"alloca [{self.lanes * self.pitch} x i8], align {CACHE_LINE}")

    def _load(self, pointer: str) -> str:
        return self.w.op(f"load {self.kind}, ptr {pointer}, align {self.size}")

    def _store(self, value: str, pointer: str) -> None:
        self.w.do(f"store {self.kind} {value}, ptr {pointer}, align {self.size}")

    def group(self, first: str) -> None:
        """The products of the rows from ``first`` on."""
        loop(self.w, "0", str(self.lanes), 1, lambda i: self._point(first, i))
        loop(self.w, "0", "%vectors", self.at_once, lambda v: self._products(first, v))

    # --- what is read ---------------------------------------------------------------------------------------------

    def _point(self, first: str, i: str) -> None:
        """Lane ``i`` reads row ``first + i`` (the last one, if that is too far)."""
        w = self.w
        row = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {first}, {i}')}, i64 {self.final})")
        here = at(w, "%mat", (row, "%stride"))
        w.do(f"store ptr {here}, ptr {w.op(f'getelementptr ptr, ptr {self.starts}, i64 {i}')}")

    def _copy(self, first: str, k0: str, end: str) -> None:
        """Copy a K block of the rows from ``first`` on; the lanes read there."""
        w, size = self.w, self.matrix.itemsize
        elements = CACHE_LINE // size
        length = w.op(f"sub nsw i64 {end}, {k0}")
        whole = w.op(f"and i64 {length}, {-elements}")

        def line(src: str, dst: str, k: str, left: str | None) -> None:
            mask = None if left is None else first_lanes(w, left, elements)
            value = load_lanes(w, self.matrix, at(w, src, (k, size)), elements, mask)
            kind = vector_of(memory_type(self.matrix), elements)
            w.do(f"store {kind} {value}, ptr {at(w, dst, (k, size))}, align {CACHE_LINE}")

        def row(i: str) -> None:
            number = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {first}, {i}')}, i64 {self.final})")
            src, dst = at(w, "%mat", (number, "%stride"), (k0, size)), at(w, self.copy, (i, self.pitch))
            loop(w, "0", whole, elements, lambda k: line(src, dst, k, None))
            loop(w, whole, length, elements, lambda k: line(src, dst, k, w.op(f"sub nsw i64 {length}, {k}")))
            begin = w.op(f"getelementptr i8, ptr {dst}, i64 {w.op(f'mul nsw i64 {k0}, {-size}')}")
            w.do(f"store ptr {begin}, ptr {w.op(f'getelementptr ptr, ptr {self.starts}, i64 {i}')}")

        loop(w, "0", str(self.lanes), 1, row)

    def _read_at(self, lane: str, k: str) -> str:
        start = self.w.op(f"getelementptr ptr, ptr {self.starts}, i64 {lane}")
        return at(self.w, self.w.op(f"load ptr, ptr {start}"), (k, self.matrix.itemsize))

    def _columns(self, k: str) -> list[str]:
        """``quarter`` columns from ``k`` on."""
        here = [self._read_at(str(i), k) for i in range(self.lanes)]
        quarters = range(self.quarter)
        vectors = [gathered(self.w, self.tile, self.matrix, here[i :: self.quarter], 0, self.quarter) for i in quarters]
        return transpose_quarters(self.w, self.tile, vectors, self.quarter)

    def _square(self, k: str) -> list[str]:
        """``lanes`` columns from ``k`` on: groups of ``quarter`` rows are transposed within each quarter of a vector,
        and quarters then among groups."""
        w, q, lanes = self.w, self.quarter, self.lanes
        rows = []
        for i in range(lanes):
            value = load_lanes(w, self.matrix, self._read_at(str(i), k), lanes, None)
            rows.append(convert(w, value, self.matrix, self.tile.dtype, lanes))
        groups = [transpose_quarters(w, self.tile, rows[i : i + q], q) for i in range(0, lanes, q)]
        # Vector c of a group has, in its quarter p, column p * q + c of the group's rows.
        parts = [transpose_parts(w, self.kind, [group[c] for group in groups], q) for c in range(q)]
        return [parts[c][p] for p in range(lanes // q) for c in range(q)]

    def _column(self, k: str) -> str:
        """Column ``k``, element by element."""
        w, matrix = self.w, self.matrix

        def lane(i: str) -> None:
            value = w.op(f"load {memory_type(matrix)}, ptr {self._read_at(i, k)}, align {matrix.itemsize}")
            cell = w.op(f"getelementptr {self.element}, ptr {self.single}, i64 {i}")
            w.do(f"store {self.element} {convert(w, value, matrix, self.tile.dtype, 1)}, ptr {cell}")

        loop(w, "0", str(self.lanes), 1, lane)
        return self._load(self.single)

    def _ask(self, following: str, past: str, columns: int) -> None:
        """Ask for as much as so many columns have: of rows that begin at ``following``, one after the other, what is
        due when ``past`` columns of those that are read now have been."""
        w, size = self.w, self.matrix.itemsize
        steps = K_BLOCK // self.lanes  # in which a row's part of a K block is asked for
        line, rest = w.op(f"udiv i64 {past}, {steps}"), w.op(f"urem i64 {past}, {steps}")
        here = at(w, following, (line, "%stride"), (rest, self.lanes * size))
        for byte in range(0, columns * self.lanes * size, CACHE_LINE):
            prefetch(w, at(w, here, (str(byte), 1)), 2)

    def _following(self, first: str, end: str) -> str:
        """What is read after element ``end`` of the rows from ``first`` on: the same rows, or the next ones."""
        w = self.w
        here = at(w, "%mat", (first, "%stride"))
        more = w.op(f"icmp slt i64 {end}, %k")
        start = w.op(f"select i1 {more}, i64 {end}, i64 0")
        return at(
            w,
            w.op(f"select i1 {more}, ptr {here}, ptr {at(w, here, (str(self.lanes), '%stride'))}"),
            (start, self.matrix.itemsize),
        )

    # --- K blocks -------------------------------------------------------------------------------------------------

    def _products(self, first: str, v: str) -> None:
        """Of the vectors from ``v`` on, with the rows from ``first`` on."""
        w = self.w
        numbers = [w.op(f"add nsw i64 {v}, {j}") for j in range(self.at_once)]
        numbers = [w.op(f"call i64 @llvm.smin.i64(i64 {number}, i64 {self.last})") for number in numbers]
        xs = [at(w, "%x", (number, "%xo")) for number in numbers]

        def terms(k: str, columns: list[str]) -> None:
            done = [self._load(chain) for chain in self.chains]
            for later, column in enumerate(columns):
                there = w.op(f"mul nsw i64 {w.op(f'add nsw i64 {k}, {later}')}, %xs")
                for j, x in enumerate(xs):
                    factor = element(w, self.tile, self.vector, at(w, x, (there, 1)), self.lanes)
                    done[j] = multiply_add(w, self.tile, factor, column, done[j], self.lanes)
            for chain, value in zip(self.chains, done, strict=True):
                self._store(value, chain)

        def block(k0: str, end: str) -> None:
            for chain in self.chains:
                self._store(zero(self.tile, self.lanes), chain)
            if self.copy:
                when(w, self.aliased, lambda: self._copy(first, k0, end))

            def pieces(start: str, columns: int, read: Callable[[str], list[str]], asks: bool = True) -> str:
                """So many columns at a time; where what is left begins."""
                whole = w.op(f"and i64 {w.op(f'sub nsw i64 {end}, {start}')}, {-columns}")
                stop = w.op(f"add nsw i64 {start}, {whole}")

                def piece(k: str) -> None:
                    if asks:
                        past = w.op(f"sub nsw i64 {k}, {k0}")
                        when(w, "%large", lambda: self._ask(self._following(first, end), past, columns))
                    terms(k, read(k))

                loop(w, start, stop, columns, piece)
                return stop

            squares = self.at_once == 1 and self.lanes > self.quarter
            start = pieces(k0, self.lanes, self._square) if squares else k0
            start = pieces(start, self.quarter, self._columns, asks=not squares)
            loop(w, start, end, 1, lambda k: terms(k, [self._column(k)]))
            for kept, chain in zip(self.totals, self.chains, strict=True):
                self._store(total(w, self.tile, k0, self._load(kept), self._load(chain), self.lanes), kept)

        blocks(w, block)
        for number, kept in zip(numbers, self.totals, strict=True):
            self._store(self._load(kept), at(w, "%out", (number, "%pitch"), (first, self.size)))

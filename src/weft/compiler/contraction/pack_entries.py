"""Packing for dot instructions: an operand's panels as entries of several elements along k (see dot.py).

Panels have the forms of tile.py with an entry for an element: ``rows`` of A, lines of B. Functions take PACK_ARGUMENTS
of pack.py, k counted in elements, and return an i1: whether tiles have to be computed exactly. Elements that fill the
last entry up add nothing: in B they are 0, in A -0.0 (a chain may be -0.0) or any number.

They rely on masked memory being cheap, as it is wherever there are such instructions so far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from ...core import dtypes as dt
from ...core.dtypes import DType
from ..emit import Module, Writer, memory_type, splat
from ..lanes import first_lanes, load_lanes, loop, when
from .dot import ENTRY_BITS
from .pack import PACK_ARGUMENTS, padded_rows, transpose_quarters, vectors_of_panel
from .tile import Tile, at, packed_row

_ENTRY = ENTRY_BITS // 8  # bytes
_QUARTER = 4  # entries of a row that are transposed at a time
_MIDDLE = -0x7F7F7F80  # 0x80 in each byte
_NORMAL = (127 - 56) << 7  # 2**-56, as bfloat16


def render_pack_entries(module: Module, name: str, tile: Tile, source: DType, form: str, of_a: bool) -> None:
    """Add the function that packs A (B) which lies in ``form``: rows, panels or strided."""
    entries = _Entries(Writer(module), tile, source, of_a)
    if form == "panels":
        entries.lines()
    elif not of_a:
        entries.columns(transposed=form == "rows")
    else:
        entries.rows(together=form == "rows")
    entries.end(name)


class _Entries:
    """Emits one function; ``least`` is the least magnitude of bfloat16 so far, less one, lane by lane."""

    def __init__(self, w: Writer, tile: Tile, source: DType, of_a: bool):
        assert tile.dot is not None
        self.w, self.tile, self.source, self.of_a, self.dot = w, tile, source, of_a, tile.dot
        self.lanes, self.group, self.size = tile.lanes, tile.group, source.itemsize
        self.vector = f"<{self.lanes} x i32>"
        self.narrow = f"<{self.lanes * self.group} x {memory_type(source)}>"
        w.label("entry")
        self.least = w.op(f"alloca {self.narrow}, align 64")
        w.do(f"store {self.narrow} splat ({memory_type(source)} -1), ptr {self.least}")
        self.buffer = w.op(f"alloca {self.vector}, align 64")
        self.corrections = [w.op(f"alloca {self.vector}, align 64") for _ in range(tile.vectors)]
        self.whole = w.op(f"udiv i64 %kc, {self.group}")
        self.count = w.op(f"udiv i64 {w.op(f'add i64 %kc, {self.group - 1}')}, {self.group}")

    def end(self, name: str) -> None:
        """Return whether there was a number too small."""
        w, found = self.w, "false"
        if self.dot.checked:
            least = w.op(f"load {self.narrow}, ptr {self.least}")
            least = w.op(f"call i16 @llvm.vector.reduce.umin.v{self.lanes * self.group}i16({self.narrow} {least})")
            found = w.op(f"icmp ult i16 {least}, {_NORMAL - 1}")
        w.do(f"ret i1 {found}")
        w.define(f"internal i1 @{name}({PACK_ARGUMENTS}) #1")

    # --- entries --------------------------------------------------------------------------------------------------

    @property
    def _absent(self) -> int:
        """What stands for an element of A that is not there."""
        return -(1 << 15) if self.of_a and self.dot.checked else 0

    def _finished(self, value: str, chain: str | None = None) -> str:
        """Entries as tiles want them; of B, ``chain`` is the correction of their columns, as a place in memory."""
        w = self.w
        if self.dot.checked:
            halves = w.op(f"bitcast {self.vector} {value} to {self.narrow}")
            size = w.op(f"and {self.narrow} {halves}, splat (i16 {(1 << 15) - 1})")
            size = w.op(f"add {self.narrow} {size}, splat (i16 -1)")  # 0 is no small number
            old = w.op(f"load {self.narrow}, ptr {self.least}")
            kind = f"v{self.lanes * self.group}i16"
            least = w.op(f"call {self.narrow} @llvm.umin.{kind}({self.narrow} {old}, {self.narrow} {size})")
            w.do(f"store {self.narrow} {least}, ptr {self.least}")
            turned = f"{self.vector} {value}, {self.vector} {value}, {self.vector} splat (i32 16)"
            return w.op(f"call {self.vector} @llvm.fshl.v{self.lanes}i32({turned})")
        if self.dot.moved and self.of_a:
            return w.op(f"xor {self.vector} {value}, splat (i32 {_MIDDLE})")
        if self.dot.moved and chain is not None:
            more = f"%{w.fresh('more')}"
            old = w.op(f"load {self.vector}, ptr {chain}")
            self.dot.add(w, f"splat (i32 {_MIDDLE})", value, old, self.lanes, more)
            w.do(f"store {self.vector} {more}, ptr {chain}")
        return value

    def _keep(self, value: str, to: str) -> None:
        self.w.do(f"store {self.vector} {value}, ptr {to}, align {_ENTRY}")

    def _begin(self, chain: str) -> None:
        self.w.do(f"store {self.vector} zeroinitializer, ptr {chain}")

    def _correct(self, chain: str, line: str) -> None:
        """Write the correction of a vector of columns in front of its first ``line``."""
        if self.dot.moved:
            w = self.w
            total = w.op(f"load {self.vector}, ptr {chain}")
            self._keep(w.op(f"sub {self.vector} zeroinitializer, {total}"), line)

    def _side_by_side(self, pointer: str, lanes: int, left: str | None) -> str:
        """Entries whose elements are neighbours; with ``left``, only so many elements are there."""
        w, elements = self.w, lanes * self.group
        mask = None if left is None else first_lanes(w, left, elements)
        value = load_lanes(w, self.source, pointer, elements, mask)
        kind = f"<{elements} x {memory_type(self.source)}>"
        if mask is not None and self._absent:
            absent = f"splat ({memory_type(self.source)} {self._absent})"
            value = w.op(f"select <{elements} x i1> {mask}, {kind} {value}, {kind} {absent}")
        return w.op(f"bitcast {kind} {value} to <{lanes} x i32>")

    def _one_by_one(self, src: str, k: str, step: str) -> str:
        """The entry whose first element is element ``k`` after ``src``, as an i32."""
        w, bits, entry = self.w, 8 * self.size, "0"
        for j in range(self.group):
            here = w.op(f"add nsw i64 {k}, {j}")
            there = w.op(f"icmp slt i64 {here}, %kc")
            place = w.op(f"select i1 {there}, ptr {at(w, src, (here, step))}, ptr %src")
            value = w.op(f"load i{bits}, ptr {place}, align {self.size}")
            value = w.op(f"select i1 {there}, i{bits} {value}, i{bits} {self._absent}")
            value = w.op(f"shl i32 {w.op(f'zext i{bits} {value} to i32')}, {bits * j}")
            entry = w.op(f"or i32 {entry}, {value}")
        return entry

    # --- forms ----------------------------------------------------------------------------------------------------

    def rows(self, together: bool) -> None:
        """Rows of A; the last one is repeated up to a height that a tile function has."""
        w, last = self.w, self.w.op("sub nsw i64 %count, 1")
        step = self.lanes * self.group
        whole = w.op(f"and i64 %kc, {-step}")

        def row(r: str) -> None:
            src = at(w, "%src", (w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})"), "%outer"))
            dst = at(w, "%dst", (r, packed_row(self.tile)))

            def near(k: str, masked: bool) -> None:
                left = w.op(f"sub nsw i64 %kc, {k}") if masked else None
                value = self._side_by_side(at(w, src, (k, self.size)), self.lanes, left)
                self._keep(self._finished(value), at(w, dst, (k, self.size)))

            def far(k: str) -> None:
                self._gather(lambda lane: (src, w.op(f"add i64 {k}, {w.op(f'mul i64 {lane}, {self.group}')}")))
                value = w.op(f"load {self.vector}, ptr {self.buffer}")
                self._keep(self._finished(value), at(w, dst, (k, self.size)))

            if together:
                loop(w, "0", whole, step, lambda k: near(k, False))
                loop(w, whole, "%kc", step, lambda k: near(k, True))
            else:
                loop(w, "0", "%kc", step, far)

        loop(w, "0", padded_rows(w, self.tile), 1, row)

    def _gather(self, place: Callable[[str], tuple[str, str]]) -> None:
        """A vector of entries, one by one, into the buffer; ``place(lane)`` is where one begins, and its first k."""
        w = self.w

        def one(lane: str) -> None:
            entry = self._one_by_one(*place(lane), "%inner")
            w.do(f"store i32 {entry}, ptr {at(w, self.buffer, (lane, _ENTRY))}")

        loop(w, "0", str(self.lanes), 1, one)

    def lines(self) -> None:
        """Lines of what is contiguous along i; a panel of B that fits into one vector is as wide as that."""
        w, tile = self.w, self.tile
        width = tile.rows if self.of_a else tile.columns
        pieces = [(number, number * self.lanes) for number in range(-(-width // self.lanes))]
        wide = w.op(f"icmp sgt i64 %count, {self.lanes}")
        pitch = str(width * _ENTRY)
        if not self.of_a:
            pitch = w.op(f"select i1 {wide}, i64 {pitch}, i64 {self.lanes * _ENTRY}")
        dst = at(w, "%dst", ("1", pitch)) if self._leads else "%dst"
        masks = [first_lanes(w, w.op(f"sub nsw i64 %count, {c}"), self.lanes) for _, c in pieces]
        for chain in self.corrections:
            self._begin(chain)

        def there(number: int, body: Callable[[], None]) -> None:
            """Do it, if the panel has a vector of that number."""
            if number:
                when(w, wide, body)
            else:
                body()

        def line(e: str, whole: bool, full: bool) -> None:
            # A line may reach into the following one, which is written later.
            for number, c in pieces:
                value = self._from_lines(e, c, None if full else masks[number], whole)
                place = at(w, dst, (e, pitch), (str(c), _ENTRY))
                there(0 if full else number, partial(self._keep_entries, value, number, place))

        full = w.op(f"icmp eq i64 %count, {width}")
        quick = w.op(f"select i1 {full}, i64 {self.whole}, i64 0")
        loop(w, "0", quick, 1, lambda e: line(e, True, width % self.lanes == 0))
        loop(w, quick, self.count, 1, lambda e: line(e, False, False))
        for number, c in pieces if self._leads else ():
            there(number, partial(self._correct, self.corrections[number], at(w, "%dst", (str(c), _ENTRY))))

    def _keep_entries(self, value: str, number: int, place: str) -> None:
        """Store entries of vector ``number`` of a panel."""
        self._keep(self._finished(value, None if self.of_a else self.corrections[number]), place)

    def _from_lines(self, e: str, c: int, mask: str | None, whole: bool) -> str:
        """A vector of entry ``e``, of the columns from ``c`` on; ``whole``: all of its elements are there."""
        w, bits, entry = self.w, 8 * self.size, "zeroinitializer"
        kind, k = f"<{self.lanes} x i{8 * self.size}>", w.op(f"mul nsw i64 {e}, {self.group}")
        for j in range(self.group):
            here, there = w.op(f"add nsw i64 {k}, {j}"), mask
            if not whole:
                inside = splat(w, "i1", w.op(f"icmp slt i64 {here}, %kc"), self.lanes)
                there = inside if mask is None else w.op(f"and <{self.lanes} x i1> {inside}, {mask}")
            pointer = at(w, "%src", (here, "%inner"), (str(c), self.size))
            value = load_lanes(w, self.source, pointer, self.lanes, there)
            if there is not None and self._absent:
                value = w.op(
                    f"select <{self.lanes} x i1> {there}, {kind} {value}, {kind} splat (i{bits} {self._absent})"
                )
            value = w.op(f"zext {kind} {value} to {self.vector}")
            entry = w.op(f"or {self.vector} {entry}, {w.op(f'shl {self.vector} {value}, splat (i32 {bits * j})')}")
        return entry

    @property
    def _leads(self) -> bool:
        """Whether a line of corrections leads."""
        return self.dot.moved and not self.of_a

    def columns(self, transposed: bool) -> None:
        """Columns of B, by vectors of them: squares are ``transposed`` in registers where they are contiguous along k,
        else entries are put together one by one."""
        w, chain = self.w, self.corrections[0]
        pointers = w.op(f"alloca [{self.lanes} x ptr], align 64")

        def cell(i: str) -> str:
            return w.op(f"getelementptr ptr, ptr {pointers}, i64 {i}", "p")

        def column(i: str) -> str:
            return w.op(f"load ptr, ptr {cell(i)}")

        def vector(src: str, dst: str, last: str, pitch: str) -> None:
            def remember(i: str) -> None:
                real = w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})")
                w.do(f"store ptr {at(w, src, (real, '%outer'))}, ptr {cell(i)}")

            first = at(w, dst, ("1", pitch)) if self._leads else dst

            def square(e: str, masked: bool) -> None:
                k = w.op(f"mul nsw i64 {e}, {self.group}")
                left = w.op(f"sub nsw i64 %kc, {k}") if masked else None
                rows = [
                    self._side_by_side(at(w, column(str(i)), (k, self.size)), _QUARTER, left) for i in range(self.lanes)
                ]
                plain = replace(self.tile, dtype=dt.int32)
                for j, out in enumerate(transpose_quarters(w, plain, _quarters(w, rows, self.lanes), _QUARTER)):
                    line = w.op(f"add nsw i64 {e}, {j}")
                    self._keep(self._finished(out, chain), at(w, first, (line, pitch)))

            def entry(e: str) -> None:
                k = w.op(f"mul nsw i64 {e}, {self.group}")
                self._gather(lambda lane: (column(lane), k))
                value = w.op(f"load {self.vector}, ptr {self.buffer}")
                self._keep(self._finished(value, chain), at(w, first, (e, pitch)))

            loop(w, "0", str(self.lanes), 1, remember)
            self._begin(chain)
            if transposed:
                squares = w.op(f"and i64 {self.whole}, {-_QUARTER}")
                loop(w, "0", squares, _QUARTER, lambda e: square(e, False))
                loop(w, squares, self.count, _QUARTER, lambda e: square(e, True))
            else:
                loop(w, "0", self.count, 1, entry)
            self._correct(chain, dst)

        vectors_of_panel(w, self.tile, vector)


def _quarters(w: Writer, rows: list[str], lanes: int) -> list[str]:
    """From ``lanes`` rows of a quarter each, vectors whose quarters are every fourth row, as transpose_quarters wants
    them."""
    found = []
    for start in range(_QUARTER):
        parts, count = rows[start::_QUARTER], _QUARTER
        while len(parts) > 1:
            both, kind = ", ".join(f"i32 {i}" for i in range(2 * count)), f"<{count} x i32>"
            parts = [
                w.op(f"shufflevector {kind} {x}, {kind} {y}, <{2 * count} x i32> <{both}>")
                for x, y in zip(parts[::2], parts[1::2], strict=True)
            ]
            count *= 2
        found.append(parts[0])
    return found

"""Renders :class:`Sort` for CPUs: an element and its position as one whole number, an item, and items in order.

The upper half of an item is the element's key, an unsigned integer that is less where the element comes earlier: of
integers their bits (the sign turned), of floats the bits of ``x + 0.0``, which makes one zero of both, all turned where
it is negative, the sign alone where not; every NaN has the greatest; in descending order all bits are turned. The lower
half is the position. So no two items are equal, and what is first of equal elements is less.

Naive meaning::

    for unit in range(begin, end):                              # a piece of the rows
        for row in rows of the unit:
            items = [key(x) << half | i for i, x in enumerate(source[row])]
            result[row] = [item & positions for item in sorted(items)[:kept]]

Few are kept in order from the beginning: an item that is less than the last one is inserted. Of many, such items are
collected, and sorted by radix, one byte of the key after the other (Knuth, The Art of Computer Programming 3, 5.2.5),
whenever there is no more room, and at the end; then as many as are kept stay. Where all are kept there is room for all
of them. Of a long row, of which few are kept, nearly all elements are only compared, LANES at once, with the last one
that is kept; none costs more than FEW moves, or its share of a sort of twice as many items as are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import dtypes as dt
from .emit import Writer, constant, element_pointer, offset_of, register_type, splat, vector_of
from .kernels import LANES, Sort
from .lanes import Frame, LanePoint, RenderTarget, either, loop, when
from .stages import begin_units, end_units, piece

# As many as this are inserted one by one. 24 elements of float32 are so in order after 0.34 us, by radix after 0.55; 64
# after 1.13 and 0.80. In the worst order inserting costs more.
FEW = 24
_BYTE, _COUNT_NBYTES = 256, 8  # values of a byte; each has a count


def render_sort(kernel: Sort, name: str, target: RenderTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    sizes = (kernel.rows, kernel.block, kernel.count, kernel.kept, kernel.space)
    places = (n for a in (kernel.source, kernel.result, kernel.room) for n in (a.offset, *a.strides))
    frame = begin_units(kernel, (*sizes, *places), target)
    sorter = _Sorter(kernel, frame)
    return end_units(frame, name, sorter.unit)


def scratch_nbytes(kernel: Sort, ints: Sequence[int]) -> int:
    """How much of its scratch a launch with these ints uses."""
    return 0 if ints[kernel.kept.index] <= FEW else _COUNT_NBYTES * _BYTE * kernel.source.dtype.itemsize


class _Sorter:
    """The code of one kernel. Variables are cells on the stack, which LLVM promotes to registers."""

    def __init__(self, kernel: Sort, frame: Frame):
        self.kernel, self.frame, self.w = kernel, frame, frame.w
        self.half = 64 if kernel.wide else 32
        self.item = f"i{2 * self.half}"
        self.count, self.kept, self.space = map(frame.int_, (kernel.count, kernel.kept, kernel.space))
        self.held = self._cell("i64", "held")  # how many items there are
        self.here, self.there = self._cell("ptr", "here"), self._cell("ptr", "there")  # where they are; as much room
        self.any = self._cell("i1", "any")  # whether elements of a block may be kept
        self.place = self._cell("i64", "place")
        self.limit = self._cell(self.item, "limit")  # the last item that is kept, once there are so many

    # --- words ------------------------------------------------------------------------------------------------------

    def _cell(self, kind: str, hint: str) -> str:
        return self.w.op(f"alloca {kind}", hint)

    def _get(self, cell: str, kind: str = "i64") -> str:
        return self.w.op(f"load {kind}, ptr {cell}")

    def _set(self, cell: str, value: str, kind: str = "i64") -> None:
        self.w.do(f"store {kind} {value}, ptr {cell}")

    def _at(self, items: str, index: str) -> str:
        return self.w.op(f"getelementptr {self.item}, ptr {items}, i64 {index}", "p")

    def _read(self, items: str, index: str) -> str:
        return self.w.op(f"load {self.item}, ptr {self._at(items, index)}, align 8", "item")

    def _write(self, items: str, index: str, item: str) -> None:
        self.w.do(f"store {self.item} {item}, ptr {self._at(items, index)}, align 8")

    # --- items ------------------------------------------------------------------------------------------------------

    def _key(self, row: str, i: str, lanes: int = 1) -> tuple[str, int]:
        """The keys of an element, and of those that follow it, as unsigned integers; and the bits that they have."""
        w, dtype = self.w, self.kernel.source.dtype
        x, bits = LanePoint(self.frame, [row, i], lanes).load(self.kernel.source), dtype.bits
        kind = register_type(dtype, lanes)
        if dtype is dt.bool_:
            x, bits = w.op(f"zext {kind} {x} to {vector_of('i8', lanes)}"), 8
        whole = vector_of(f"i{bits}", lanes)

        def number(value: int) -> str:
            return splat(w, f"i{bits}", str(value), lanes)

        sign = number(-1 << (bits - 1))
        if dtype.is_floating:
            same = w.op(f"bitcast {kind} {w.op(f'fadd {kind} {x}, {constant(0, dtype, lanes)}')} to {whole}")
            negative = w.op(f"ashr {whole} {same}, {number(bits - 1)}")
            ordered = w.op(f"xor {whole} {same}, {w.op(f'or {whole} {negative}, {sign}')}")
            is_nan = w.op(f"fcmp uno {kind} {x}, {x}")
            x = w.op(f"select {vector_of('i1', lanes)} {is_nan}, {whole} {number(-1)}, {whole} {ordered}")
        elif dtype.is_signed:
            x = w.op(f"xor {whole} {x}, {sign}")
        return (w.op(f"xor {whole} {x}, {number(-1)}") if self.kernel.descending else x), bits

    def _made(self, row: str, i: str) -> str:
        """The item of an element."""
        w, (key, bits) = self.w, self._key(row, i)
        key = w.op(f"zext i{bits} {key} to {self.item}")
        position = w.op(f"zext i64 {i} to i128") if self.kernel.wide else i
        return w.op(f"or {self.item} {w.op(f'shl {self.item} {key}, {self.half}')}, {position}")

    def _any_passes(self, row: str, i: str) -> str:
        """Whether one of LANES elements may be kept: its key is not beyond that of the last item."""
        w, (keys, bits) = self.w, self._key(row, i, LANES)
        upper = w.op(f"lshr {self.item} {self._get(self.limit, self.item)}, {self.half}")
        limit = splat(w, f"i{bits}", w.op(f"trunc {self.item} {upper} to i{bits}"), LANES)
        passes = w.op(f"icmp ule <{LANES} x i{bits}> {keys}, {limit}")
        return w.op(f"icmp ne i{LANES} {w.op(f'bitcast <{LANES} x i1> {passes} to i{LANES}')}, 0")

    def _position(self, item: str) -> str:
        return self.w.op(f"trunc i128 {item} to i64") if self.kernel.wide else self.w.op(f"and i64 {item}, {2**32 - 1}")

    def _byte(self, item: str, number: str) -> str:
        """A byte of an item's key; number 0 is the lowest."""
        w = self.w
        upper = w.op(f"lshr {self.item} {item}, {self.half}")
        word = w.op(f"trunc i128 {upper} to i64") if self.kernel.wide else upper
        shift = w.arithmetic("mul", "8", number)
        return w.op(f"and i64 {w.op(f'lshr i64 {word}, {shift}')}, {_BYTE - 1}")

    # --- a unit, a row ----------------------------------------------------------------------------------------------

    def unit(self, unit: str) -> None:
        """All rows of a unit."""
        room, w = self.kernel.room, self.w
        offset = offset_of(w, self.frame.ints, room.offset, zip(room.strides, (unit, "0"), strict=True))
        first = element_pointer(w, self.frame.buffers[room.buf], room, offset)
        second = self._at(first, self.space)
        few = w.op(f"icmp sle i64 {self.kept}, {FEW}")
        low, high = piece(self.frame, unit, self.kernel.block, self.kernel.rows)

        def sort(row: str) -> None:
            self._set(self.here, first, "ptr")
            self._set(self.there, second, "ptr")
            self._set(self.held, "0")
            self._set(self.limit, "-1", self.item)
            either(w, few, lambda: self._insert_all(row, first), lambda: self._collect_all(row))
            self._store(row, self._get(self.here, "ptr"))

        loop(w, low, high, 1, sort)

    def _store(self, row: str, items: str) -> None:
        """The positions of the items that are kept."""
        w, result = self.w, self.kernel.result

        def store(place: str) -> None:
            offset = offset_of(w, self.frame.ints, result.offset, zip(result.strides, (row, place), strict=True))
            at = element_pointer(w, self.frame.buffers[result.buf], result, offset)
            w.do(f"store i64 {self._position(self._read(items, place))}, ptr {at}, align 8")

        loop(w, "0", self.kept, 1, store)

    def _passes(self, item: str) -> str:
        return self.w.op(f"icmp ule {self.item} {item}, {self._get(self.limit, self.item)}")

    def _walk(self, row: str, begin: Callable[[str], None], consider: Callable[[str], None]) -> None:
        """``begin(i)`` at every block of LANES elements, and once after the last; then ``consider`` those of the block,
        if one of them may be kept."""
        w = self.w

        def block(i: str) -> None:
            begin(i)
            following = w.arithmetic("add", i, str(LANES))
            self._set(self.any, "true", "i1")
            is_whole = w.op(f"icmp sle i64 {following}, {self.count}")
            when(w, is_whole, lambda: self._set(self.any, self._any_passes(row, i), "i1"))
            end = w.op(f"call i64 @llvm.smin.i64(i64 {following}, i64 {self.count})")
            when(w, self._get(self.any, "i1"), lambda: loop(w, i, end, 1, consider))

        loop(w, "0", w.arithmetic("add", self.count, str(LANES)), LANES, block)

    # --- few --------------------------------------------------------------------------------------------------------

    def _insert_all(self, row: str, items: str) -> None:
        def consider(i: str) -> None:
            item = self._made(row, i)
            when(self.w, self._passes(item), lambda: self._insert(items, item))

        self._walk(row, lambda i: None, consider)

    def _insert(self, items: str, item: str) -> None:
        """Where it belongs; the last one is lost if there are as many as are kept."""
        w, held = self.w, self._get(self.held)
        was_full = w.op(f"icmp eq i64 {held}, {self.kept}")
        last = w.arithmetic("sub", held, w.op(f"zext i1 {was_full} to i64"))
        self._set(self.place, last)

        def before(again: Callable[[], None]) -> None:
            place = self._get(self.place)
            lower = w.arithmetic("add", place, "-1")

            def move() -> None:
                other = self._read(items, lower)

                def shift() -> None:
                    self._write(items, place, other)
                    self._set(self.place, lower)
                    again()

                when(w, w.op(f"icmp ult {self.item} {item}, {other}"), shift)

            when(w, w.op(f"icmp sgt i64 {place}, 0"), move)

        _repeat(w, before)
        self._write(items, self._get(self.place), item)
        held = w.arithmetic("add", last, "1")
        self._set(self.held, held)
        is_full = w.op(f"icmp eq i64 {held}, {self.kept}")
        when(w, is_full, lambda: self._set(self.limit, self._read(items, last), self.item))

    # --- many -------------------------------------------------------------------------------------------------------

    def _collect_all(self, row: str) -> None:
        """Sort where a block may find no room, and at the end."""
        w = self.w

        def begin(i: str) -> None:
            ended = w.op(f"icmp sge i64 {i}, {self.count}")
            left = w.op(f"call i64 @llvm.smin.i64(i64 {w.arithmetic('sub', self.count, i)}, i64 {LANES})")
            full = w.op(f"icmp sgt i64 {w.arithmetic('add', self._get(self.held), left)}, {self.space}")
            when(w, w.op(f"or i1 {ended}, {full}"), cut)

        def cut() -> None:
            self._sort()
            self._set(self.held, self.kept)
            last = w.arithmetic("add", self.kept, "-1")
            self._set(self.limit, self._read(self._get(self.here, "ptr"), last), self.item)

        def consider(i: str) -> None:  # what is not kept lies where the next one comes to lie
            item, held = self._made(row, i), self._get(self.held)
            self._write(self._get(self.here, "ptr"), held, item)
            self._set(self.held, w.arithmetic("add", held, w.op(f"zext i1 {self._passes(item)} to i64")))

        self._walk(row, begin, consider)

    def _sort(self) -> None:
        """All items by radix. Counts of the values of every byte are taken at once, in the thread's scratch."""
        w, held = self.w, self._get(self.held)
        dtype = self.kernel.source.dtype
        size = dtype.itemsize

        def counts(number: str) -> str:
            return w.op(f"getelementptr i64, ptr %scratch, i64 {w.arithmetic('mul', str(_BYTE), number)}", "counts")

        def cell(of: str, value: str) -> str:
            return w.op(f"getelementptr i64, ptr {of}, i64 {value}", "p")

        def clear(at: str) -> None:
            w.do(f"store <8 x i64> zeroinitializer, ptr {cell('%scratch', at)}, align 64")

        loop(w, "0", str(_BYTE * size), 8, clear)
        items = self._get(self.here, "ptr")

        def count(i: str) -> None:
            item = self._read(items, i)
            for number in range(size):
                at = cell(counts(str(number)), self._byte(item, str(number)))
                w.do(f"store i64 {w.arithmetic('add', w.op(f'load i64, ptr {at}, align 8'), '1')}, ptr {at}, align 8")

        loop(w, "0", held, 1, count)

        def by_byte(number: str) -> None:
            here, own = self._get(self.here, "ptr"), counts(number)
            at = cell(own, self._byte(self._read(here, "0"), number))
            differ = w.op(f"icmp ne i64 {w.op(f'load i64, ptr {at}, align 8')}, {held}")
            when(w, differ, lambda: self._distribute(number, here, own, held))

        loop(w, "0", str(size), 1, by_byte)

    def _distribute(self, number: str, here: str, counts: str, held: str) -> None:
        """The items in the order of one byte; of equal ones in the order in which they were."""
        w, there = self.w, self._get(self.there, "ptr")
        self._set(self.place, "0")

        def begin(value: str) -> None:
            at = w.op(f"getelementptr i64, ptr {counts}, i64 {value}", "p")
            found, place = w.op(f"load i64, ptr {at}, align 8"), self._get(self.place)
            w.do(f"store i64 {place}, ptr {at}, align 8")
            self._set(self.place, w.arithmetic("add", place, found))

        def move(i: str) -> None:
            item = self._read(here, i)
            at = w.op(f"getelementptr i64, ptr {counts}, i64 {self._byte(item, number)}", "p")
            place = w.op(f"load i64, ptr {at}, align 8")
            self._write(there, place, item)
            w.do(f"store i64 {w.arithmetic('add', place, '1')}, ptr {at}, align 8")

        loop(w, "0", str(_BYTE), 1, begin)
        loop(w, "0", held, 1, move)
        self._set(self.here, there, "ptr")
        self._set(self.there, here, "ptr")


def _repeat(w: Writer, body: Callable[[Callable[[], None]], None]) -> None:
    """``body(again)`` until it ends without having called ``again``."""
    head, done = w.fresh("again"), w.fresh("done")
    w.do(f"br label %{head}")
    w.label(head)

    def again() -> None:
        w.do(f"br label %{head}")
        w.label(w.fresh("unreached"))

    body(again)
    w.do(f"br label %{done}")
    w.label(done)

"""Renders :class:`Sort` for CPUs: of each row the candidates, which are merged in order whenever there are too many.

Naive meaning::

    for unit in range(begin, end):                              # a piece of the rows
        for row in rows of the unit:
            held = []                                           # positions, of ascending order where elements are equal
            last = None                                         # of those that are kept, once some were cut
            for i, x in enumerate(source[row]):
                if last is None or before(x, last):             # of equal ones the first is there already
                    if len(held) == space:
                        held = merge_sorted(held)[:kept]
                        last = source[row, held[-1]]
                        if not before(x, last): continue
                    held.append(i)
            result[row] = merge_sorted(held)[:kept]

``merge_sorted`` merges runs of 1, 2, 4 ... positions, taking from the second run only what comes strictly before; so
it is stable. Where few are kept of many, nearly every element is compared once (with a branch that is foreseen), and
where all are kept, there is room for all of them and one sort.
"""

from __future__ import annotations

from .emit import constant, element_pointer, offset_of, register_type
from .kernels import Sort
from .lanes import Frame, LanePoint, RenderTarget, loop, when
from .stages import begin_units, end_units, piece


def render_sort(kernel: Sort, name: str, target: RenderTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    sizes = (kernel.rows, kernel.block, kernel.count, kernel.kept, kernel.space)
    places = (n for a in (kernel.source, kernel.result, kernel.room) for n in (a.offset, *a.strides))
    frame = begin_units(kernel, (*sizes, *places), target)
    sorter = _Sorter(kernel, frame)
    return end_units(frame, name, sorter.unit)


class _Sorter:
    """The code of one kernel. Variables are cells on the stack, which LLVM promotes to registers."""

    def __init__(self, kernel: Sort, frame: Frame):
        self.kernel, self.frame, self.w = kernel, frame, frame.w
        self.dtype = kernel.source.dtype
        self.kind = register_type(self.dtype, 1)
        self.count, self.kept, self.space = map(frame.int_, (kernel.count, kernel.kept, kernel.space))
        self.held = self._cell("i64", "held")  # how many candidates there are
        self.side = self._cell("i64", "side")  # where they begin in the room: 0 or space
        self.width = self._cell("i64", "width")
        self.first, self.second = self._cell("i64", "first"), self._cell("i64", "second")  # the heads of two runs
        self.known = self._cell("i1", "known")  # whether some were cut
        self.last = self._cell(self.kind, "last")  # the last element that is kept then
        self.room = ""

    # --- words ------------------------------------------------------------------------------------------------------

    def _cell(self, kind: str, hint: str) -> str:
        return self.w.op(f"alloca {kind}", hint)

    def _get(self, cell: str, kind: str = "i64") -> str:
        return self.w.op(f"load {kind}, ptr {cell}")

    def _set(self, cell: str, value: str, kind: str = "i64") -> None:
        self.w.do(f"store {kind} {value}, ptr {cell}")

    def _add(self, a: str, b: str) -> str:
        return self.w.arithmetic("add", a, b)

    def _least(self, a: str, b: str) -> str:
        return self.w.op(f"call i64 @llvm.smin.i64(i64 {a}, i64 {b})")

    def _place(self, index: str) -> str:
        return self.w.op(f"getelementptr i64, ptr {self.room}, i64 {index}", "p")

    def _position(self, index: str) -> str:
        """The position that the room holds at an index."""
        return self.w.op(f"load i64, ptr {self._place(index)}, align 8")

    def _element(self, row: str, position: str) -> str:
        return LanePoint(self.frame, [row, position], 1).load(self.kernel.source)

    def _before(self, a: str, b: str) -> str:
        """Whether an element comes before another in every order: it is less (greater), or one of them is NaN, which is
        greater than all numbers."""
        w, down = self.w, self.kernel.descending
        if not self.dtype.is_floating:
            sign = "s" if self.dtype.is_signed else "u"
            return w.op(f"icmp {sign}{'gt' if down else 'lt'} {self.kind} {a}, {b}")
        nan, number = (a, b) if down else (b, a)
        compared = w.op(f"fcmp {'ogt' if down else 'olt'} {self.kind} {a}, {b}")
        is_nan = w.op(f"fcmp uno {self.kind} {nan}, {nan}")
        is_number = w.op(f"fcmp ord {self.kind} {number}, {number}")
        return w.op(f"or i1 {compared}, {w.op(f'and i1 {is_nan}, {is_number}')}")

    # --- a unit, a row ----------------------------------------------------------------------------------------------

    def unit(self, unit: str) -> None:
        """All rows of a unit."""
        room = self.kernel.room
        offset = offset_of(self.w, self.frame.ints, room.offset, zip(room.strides, (unit, "0"), strict=True))
        self.room = element_pointer(self.w, self.frame.buffers[room.buf], room, offset)
        low, high = piece(self.frame, unit, self.kernel.block, self.kernel.rows)
        loop(self.w, low, high, 1, self._row)

    def _row(self, row: str) -> None:
        w, kernel = self.w, self.kernel
        self._set(self.held, "0")
        self._set(self.side, "0")
        self._set(self.known, "false", "i1")
        self._set(self.last, constant(0, self.dtype, 1), self.kind)
        # One turn more than there are elements: the last one sorts what there is.
        loop(w, "0", self._add(self.count, "1"), 1, lambda i: self._turn(row, i))
        start = self._get(self.side)

        def write(place: str) -> None:
            found = self._position(self._add(start, place))
            offset = offset_of(
                w, self.frame.ints, kernel.result.offset, zip(kernel.result.strides, (row, place), strict=True)
            )
            at = element_pointer(w, self.frame.buffers[kernel.result.buf], kernel.result, offset)
            w.do(f"store i64 {found}, ptr {at}, align 8")

        loop(w, "0", self.kept, 1, write)

    def _turn(self, row: str, i: str) -> None:
        """One more element, or the end of the row."""
        w = self.w
        ended = w.op(f"icmp eq i64 {i}, {self.count}")
        element = self._element(row, self._least(i, self._add(self.count, "-1")))

        def is_candidate() -> str:
            unknown = w.op(f"xor i1 {self._get(self.known, 'i1')}, true")
            return w.op(f"or i1 {unknown}, {self._before(element, self._get(self.last, self.kind))}")

        def append() -> None:
            held = self._get(self.held)
            w.do(f"store i64 {i}, ptr {self._place(self._add(self._get(self.side), held))}, align 8")
            self._set(self.held, self._add(held, "1"))

        def consider() -> None:
            full = w.op(f"icmp eq i64 {self._get(self.held)}, {self.space}")
            when(w, w.op(f"or i1 {ended}, {full}"), lambda: self._cut(row))
            going = w.op(f"xor i1 {ended}, true")
            when(w, w.op(f"and i1 {going}, {is_candidate()}"), append)

        when(w, w.op(f"or i1 {ended}, {is_candidate()}"), consider)

    # --- merging ----------------------------------------------------------------------------------------------------

    def _cut(self, row: str) -> None:
        """Sort the candidates, and keep the first of them."""
        w, held = self.w, self._get(self.held)
        self._set(self.width, "1")
        head, inside, done = w.fresh("head"), w.fresh("pass"), w.fresh("sorted")
        w.do(f"br label %{head}")
        w.label(head)
        width = self._get(self.width)
        w.do(f"br i1 {w.op(f'icmp slt i64 {width}, {held}')}, label %{inside}, label %{done}")
        w.label(inside)
        here = self._get(self.side)
        there = w.arithmetic("sub", self.space, here)
        both = self._add(width, width)
        loop(w, "0", held, both, lambda low: self._merge(row, low, width, held, here, there))
        self._set(self.side, there)
        self._set(self.width, both)
        w.do(f"br label %{head}")
        w.label(done)
        self._set(self.held, self.kept)
        end = self._position(self._add(self._get(self.side), self._add(self.kept, "-1")))
        self._set(self.last, self._element(row, end), self.kind)
        self._set(self.known, "true", "i1")

    def _merge(self, row: str, low: str, width: str, held: str, here: str, there: str) -> None:
        """Two runs, of which the second may be shorter or missing, into one."""
        w = self.w
        middle = self._least(self._add(low, width), held)
        high = self._least(self._add(middle, width), held)
        self._set(self.first, low)
        self._set(self.second, middle)

        def step(place: str) -> None:
            one, other = self._get(self.first), self._get(self.second)
            has_one, has_other = w.op(f"icmp slt i64 {one}, {middle}"), w.op(f"icmp slt i64 {other}, {high}")
            # What is not there is not read: the first position of the runs is.
            p, q = (
                self._position(self._add(here, w.op(f"select i1 {there_is}, i64 {at}, i64 {low}")))
                for there_is, at in ((has_one, one), (has_other, other))
            )
            sooner = self._before(self._element(row, q), self._element(row, p))
            alone = w.op(f"xor i1 {has_one}, true")
            takes = w.op(f"and i1 {has_other}, {w.op(f'or i1 {alone}, {sooner}')}")
            chosen = w.op(f"select i1 {takes}, i64 {q}, i64 {p}")
            w.do(f"store i64 {chosen}, ptr {self._place(self._add(there, place))}, align 8")
            moved = w.op(f"zext i1 {takes} to i64")
            self._set(self.second, self._add(other, moved))
            self._set(self.first, self._add(one, w.arithmetic("sub", "1", moved)))

        loop(w, low, high, 1, step)

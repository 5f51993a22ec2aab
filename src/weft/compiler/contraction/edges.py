"""Where windows leave their tensor: which elements of a vector are within the edges of a Windowed (kernels.Edge).

An index on an edge's axis is the sum of two parts, one of the column and one of k, which stand in the tables of
offsets.py. What vectors run along moves with at most one edge, the *inner* one: of the others, all lanes are within or
none is. Naive meaning of what is loaded here::

    element if all(0 <= index < edge.size for index, edge in zip(indices, access.edges)) else 0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...core.dtypes import DType
from ..emit import Writer, splat
from ..kernels import LANES, Edge, Int, Windowed
from ..lanes import Frame, load_every_other, load_lanes
from .offsets import ENTRY, PART
from .tile import at


def edge_slots(access: Windowed) -> list[Int]:
    """The ints that the edges of an operand name, and the sizes of the axes that they lie along."""
    named: list[Int] = []
    for edge in access.edges:
        axes = access.rows[edge.row[0]][0], access.columns[edge.column[0]][0]
        named += [edge.size, edge.start, edge.row[1], edge.column[1], *axes]
    return named


@dataclass(frozen=True, slots=True)
class Span:
    """The lanes from ``first`` on, ``count`` of them (i64 registers, none of which is negative)."""

    first: str
    count: str

    def mask(self, w: Writer, lanes: int, vector: int = 0) -> str:
        """The lanes of vector number ``vector`` that are in it."""
        kind = f"<{lanes} x i32>"
        numbers = ", ".join(f"i32 {vector * lanes + lane}" for lane in range(lanes))
        first, count = (splat(w, "i32", w.op(f"trunc i64 {x} to i32"), lanes) for x in (self.first, self.count))
        return w.op(f"icmp ult {kind} {w.op(f'sub {kind} <{numbers}>, {first}')}, {count}", "mask")


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges of an operand, whose vectors run along its columns' or its rows' last axis."""

    frame: Frame
    access: Windowed
    along_columns: bool

    @property
    def inner(self) -> int | None:
        """The number of the edge that vectors may cross."""
        last = len(self.access.columns if self.along_columns else self.access.rows) - 1
        moving = [self._own(edge)[0] for edge in self.access.edges]
        return moving.index(last) if last in moving else None

    def _own(self, edge: Edge) -> tuple[int, Int]:
        return edge.column if self.along_columns else edge.row

    def step(self) -> str:
        """How far lanes lie apart on the inner edge's axis."""
        assert self.inner is not None
        return self.frame.int_(self._own(self.access.edges[self.inner])[1])

    def parts(self, entry: str) -> list[str]:
        """The parts of the indices that a table's entry has."""
        w = self.frame.w
        return [
            w.op(f"load i64, ptr {at(w, entry, (str(ENTRY + PART * number), 1))}, align 8")
            for number in range(len(self.access.edges))
        ]

    def together(self, one: Sequence[str], two: Sequence[str]) -> list[str]:
        """Indices of two parts each."""
        return [self.frame.w.arithmetic("add", a, b) for a, b in zip(one, two, strict=True)]

    def moved(self, indices: Sequence[str], lanes: str) -> list[str]:
        """The indices so many lanes on."""
        found, inner = list(indices), self.inner
        if inner is not None:
            w = self.frame.w
            found[inner] = w.arithmetic("add", found[inner], w.arithmetic("mul", lanes, self.step()))
        return found

    def there(self, indices: Sequence[str], inner: bool = False) -> str:
        """i1: whether these are within all edges but the inner one, or within that too."""
        w, found = self.frame.w, "true"
        for number, (index, edge) in enumerate(zip(indices, self.access.edges, strict=True)):
            if number != self.inner or inner:
                inside = w.op(f"icmp ult i64 {index}, {self.frame.int_(edge.size)}")
                found = inside if found == "true" else w.op(f"and i1 {found}, {inside}")
        return found

    def crossed(self, indices: Sequence[str]) -> tuple[str, str]:
        """From which lane on, and up to which, the inner edge is not crossed; these may lie anywhere."""
        w, inner = self.frame.w, self.inner
        assert inner is not None
        size = self.frame.int_(self.access.edges[inner].size)
        distances = w.op(f"sub nsw i64 0, {indices[inner]}"), w.op(f"sub nsw i64 {size}, {indices[inner]}")
        first, end = map(self._lanes, distances)
        return first, end

    def across(self, indices: Sequence[str], most: str) -> Span:
        """Those of ``most`` lanes, the first of which has these indices, that are within the inner edge."""
        if self.inner is None:
            return Span("0", most)
        w, (first, end) = self.frame.w, self.crossed(indices)
        first = w.op(f"call i64 @llvm.smax.i64(i64 {first}, i64 0)")
        first, end = (w.op(f"call i64 @llvm.smin.i64(i64 {x}, i64 {most})") for x in (first, end))
        return Span(first, w.op(f"call i64 @llvm.smax.i64(i64 {w.op(f'sub nsw i64 {end}, {first}')}, i64 0)"))

    def is_narrow(self) -> str:
        """i1: whether :meth:`masks_by_word` holds: the other parts on the inner edge's axis, and the lanes, which lie
        side by side, are a word's bits together."""
        if self.inner is None or self.step() != "1":
            return "false"
        return self.frame.w.op(f"icmp ule i64 {self._reach(self.inner)}, {64 - LANES}")

    def masks_by_word(self, indices: Sequence[str], most: str, lanes: int) -> Callable[[Sequence[str]], str]:
        """What gives, for the parts of a k, the mask of ``most`` of ``lanes`` lanes, of which the first has these parts
        of the indices: those that are within all edges. Which elements are within the inner one is a word, made once,
        of which bit t stands for the element t behind the first."""
        w, inner = self.frame.w, self.inner
        assert inner is not None
        before, up_to = (_low_bits(w, count) for count in self.crossed(indices))
        line = w.op(f"and i64 {up_to}, {w.op(f'xor i64 {before}, -1')}")
        written = _low_bits(w, most)

        def mask(parts: Sequence[str]) -> str:
            bits = w.op(f"and i64 {w.op(f'lshr i64 {line}, {parts[inner]}')}, {written}")
            there = self.there(self.together(indices, parts))
            if there != "true":
                bits = w.op(f"select i1 {there}, i64 {bits}, i64 0")
            return w.op(f"bitcast i{lanes} {w.op(f'trunc i64 {bits} to i{lanes}')} to <{lanes} x i1>", "mask")

        return mask

    def _reach(self, number: int) -> str:
        """How far the other parts of an edge's indices go, from the first."""
        w, edge = self.frame.w, self.access.edges[number]
        axis, step = edge.row if self.along_columns else edge.column
        sizes = self.access.rows if self.along_columns else self.access.columns
        last = w.op(f"sub nsw i64 {self.frame.int_(sizes[axis][0])}, 1")
        return w.arithmetic("mul", last, self.frame.int_(step))

    def within(self, indices: Sequence[str], most: str) -> Span:
        """Those of them that are within all edges."""
        span, there = self.across(indices, most), self.there(indices)
        if there == "true":
            return span
        return Span(span.first, self.frame.w.op(f"select i1 {there}, i64 {span.count}, i64 0"))

    def _lanes(self, distance: str) -> str:
        """How many lanes it takes to go so far, or less than 1."""
        w, step = self.frame.w, self.step()
        if step == "1":
            return distance
        up = w.op(f"add nsw i64 {distance}, {w.arithmetic('add', step, '-1')}")
        return w.op(f"ashr i64 {up}, 1") if step == "2" else w.op(f"sdiv i64 {up}, {step}")

    def interior(self, indices: Sequence[str], lanes: int, inner: bool = True) -> str:
        """i1: whether so many lanes, the first of which has these parts of indices, are within all edges (or all but
        the ``inner`` one), whatever the other part is."""
        w, found = self.frame.w, "true"
        for number, (index, edge) in enumerate(zip(indices, self.access.edges, strict=True)):
            if number == self.inner and not inner:
                continue
            last = w.op(f"add nsw i64 {index}, {self._reach(number)}")
            if number == self.inner:
                last = w.arithmetic("add", last, w.arithmetic("mul", str(lanes - 1), self.step()))
            for inside in (f"icmp sge i64 {index}, 0", f"icmp slt i64 {last}, {self.frame.int_(edge.size)}"):
                found = w.op(inside) if found == "true" else w.op(f"and i1 {found}, {w.op(inside)}")
        return found


def _low_bits(w: Writer, count: str) -> str:
    """i64 with as many low bits set, none if it is negative."""
    count = w.op(f"call i64 @llvm.smax.i64(i64 {count}, i64 0)")
    below = w.op(f"and i64 {count}, 63")
    some = w.op(f"sub i64 {w.op(f'shl i64 1, {below}')}, 1")
    return w.op(f"select i1 {w.op(f'icmp sgt i64 {count}, 63')}, i64 -1, i64 {some}")


def load_near(w: Writer, source: DType, pointer: str, lanes: int, step: int, mask: str | None = None) -> str:
    """``lanes`` elements ``step`` (1 or 2) apart, as they are in memory; 0 where the mask is not set."""
    return (load_every_other if step == 2 and lanes > 1 else load_lanes)(w, source, pointer, lanes, mask)

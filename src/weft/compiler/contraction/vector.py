"""Products of a matrix with a vector or a few: bound by memory, so the matrix is read once, in order, never packed.

Naive meaning, with element (i, k) of the matrix ``i * outer + k * inner`` bytes after ``mat``::

    for v in range(vectors):
        for i in range(count):
            total = chain over the first K block of x[v, k] and mat[i, k];  for each further block: total += chain
            out[v, i] = total

They differ in the axis along which the matrix is contiguous: here it is i, in vector_rows.py k. Chains run in vector
lanes along i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, splat
from ..kernels import K_BLOCK
from ..lanes import either, first_lanes, load_lanes, loop
from .tile import ContractionTarget, Tile, at, multiply_add, prefetch

_PIECE = 16 << 10  # bytes of the lines that all vectors are multiplied with while they are in the L1 cache
_LINES = 8  # of a matrix contiguous along i that are added in one pass: what they share is the traffic of the chains

VECTOR_ARGUMENTS = (
    "ptr %mat, i64 %stride, ptr %x, i64 %xo, i64 %xs, i64 %vectors, i64 %count, i64 %k, "
    "ptr %out, i64 %pitch, ptr %chains, i1 %large"
)
"""``stride``: bytes along the axis that is not contiguous; ``xo``, ``xs``: bytes between the vectors, and between the
elements of one; ``out`` and ``chains`` (used where the chains do not stay in registers): room for ``count`` elements of
each vector and ``lanes`` more, ``pitch`` bytes apart; ``large``: what comes next is asked for. (To ask for what is near
takes a quarter of the time that the product does.)"""


def element(w: Writer, tile: Tile, source: DType, pointer: str, lanes: int) -> str:
    """One element of the vector, converted, in every lane."""
    value = w.op(f"load {memory_type(source)}, ptr {pointer}, align {source.itemsize}")
    return splat(w, memory_type(tile.dtype), convert(w, value, source, tile.dtype, 1), lanes)


def zero(tile: Tile, lanes: int) -> str:
    """What chains begin with."""
    return "zeroinitializer" if lanes > 1 else "0.0" if tile.dtype.is_floating else "0"


def total(w: Writer, tile: Tile, k0: str, so_far: str, chain: str, lanes: int) -> str:
    """The sum of the blocks so far: the chain itself for the first block."""
    kind = register_type(tile.dtype, lanes)
    more = w.op(f"{'fadd' if tile.dtype.is_floating else 'add'} {kind} {so_far}, {chain}")
    return w.op(f"select i1 {w.op(f'icmp eq i64 {k0}, 0')}, {kind} {chain}, {kind} {more}")


def blocks(w: Writer, body: Callable[[str, str], None]) -> None:
    """``body(k0, end)`` for each K block; once, with no terms, when k is 0."""

    def block(k0: str) -> None:
        stop = w.op(f"add nsw i64 {k0}, {K_BLOCK}")
        body(k0, w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 %k)"))

    loop(w, "0", w.op("call i64 @llvm.smax.i64(i64 %k, i64 1)"), K_BLOCK, block)


def render_vector_columns(
    module: Module, name: str, tile: Tile, matrix: DType, vector: DType, target: ContractionTarget
) -> None:
    """Add the product with a matrix that is contiguous along i: the chains lie in the L1 cache, lines are added."""
    w = Writer(module)
    w.label("entry")
    blocks(w, _Columns(w, tile, matrix, vector, target.masked_memory).block)
    w.do("ret void")
    w.define(f"internal void @{name}({VECTOR_ARGUMENTS}) #1")


class _Columns:
    """Emits the products of one K block; ``whole`` elements of the result are whole vectors, ``last`` is the number of
    the last vector that is multiplied."""

    def __init__(self, w: Writer, tile: Tile, matrix: DType, vector: DType, masked: bool):
        self.w, self.tile, self.matrix, self.vector, self.masked = w, tile, matrix, vector, masked
        self.size, self.lanes, self.kind = tile.dtype.itemsize, tile.lanes, register_type(tile.dtype, tile.lanes)
        self.whole, self.last = w.op(f"and i64 %count, {-tile.lanes}"), w.op("sub nsw i64 %vectors, 1")

    def block(self, k0: str, end: str) -> None:
        """The K block from element ``k0`` to ``end``."""
        w, size = self.w, self.size
        start = zero(self.tile, self.lanes)
        self._each(lambda chain, out: w.do(f"store {self.kind} {start}, ptr {chain}, align {size}"))
        length = w.op(f"sub nsw i64 {end}, {k0}")
        several = w.op(f"add nsw i64 {k0}, {w.op(f'and i64 {length}, {-_LINES}')}")
        loop(w, k0, several, _LINES, lambda k: self._add_lines(k, _LINES))
        loop(w, several, end, 1, lambda k: self._add_lines(k, 1))

        def add(chain: str, out: str) -> None:
            old, new = (w.op(f"load {self.kind}, ptr {p}, align {size}") for p in (out, chain))
            done = total(w, self.tile, k0, old, new, self.lanes)
            w.do(f"store {self.kind} {done}, ptr {out}, align {size}")

        self._each(add)

    def _each(self, body: Callable[[str, str], None]) -> None:
        """``body(chains, out)`` for each vector register; the last one may reach into the room behind."""
        w, size = self.w, self.size

        def line(v: str) -> None:
            row = w.op(f"mul nsw i64 {v}, %pitch")
            loop(
                w,
                "0",
                "%count",
                self.lanes,
                lambda i: body(*(at(w, p, (row, 1), (i, size)) for p in ("%chains", "%out"))),
            )

        loop(w, "0", "%vectors", 1, line)

    def _add_lines(self, k: str, count: int) -> None:
        """Add ``count`` lines from ``k`` on to the chains of all vectors."""
        w, lanes = self.w, self.lanes
        ks = [w.op(f"add nsw i64 {k}, {j}") for j in range(count)]
        lines = [at(w, "%mat", (j, "%stride")) for j in ks]
        of_vectors = partial(self._of_vectors, ks, lines)

        def piece(start: str) -> None:
            """Elements that stay in the L1 cache from vector to vector; after the first, these come in pairs."""
            end = w.op(f"add nsw i64 {start}, {elements}")
            end = w.op(f"call i64 @llvm.smin.i64(i64 {end}, i64 {self.whole})")

            def pair(v: str) -> None:
                other = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {v}, 1')}, i64 {self.last})")
                of_vectors([v, other], start, end, lanes)  # twice the same: both read before one is written

            if count == _LINES and lanes > 1:
                asked, read = (partial(of_vectors, ["0"], start, end, lanes, ahead=ahead) for ahead in (True, False))
                either(w, "%large", asked, read)
            else:
                of_vectors(["0"], start, end, lanes)
            loop(w, "1", "%vectors", 2, pair)

        elements = _PIECE // (_LINES * self.matrix.itemsize)
        loop(w, "0", self.whole, elements, piece)
        if self.masked and lanes > 1:
            loop(w, "0", "%vectors", 1, lambda v: of_vectors([v], self.whole, "%count", lanes, True))
        elif lanes > 1:
            loop(w, "0", "%vectors", 1, lambda v: of_vectors([v], self.whole, "%count", 1))

    def _of_vectors(
        self,
        ks: Sequence[str],
        lines: Sequence[str],
        vs: Sequence[str],
        start: str,
        stop: str,
        step: int,
        masked: bool = False,
        ahead: bool = False,
    ) -> None:
        """Add the products of the lines ``ks`` and the vectors ``vs`` to their chains, from element ``start`` to
        ``stop``, ``step`` at a time; ``ahead``: ask for the lines behind these."""
        w, tile, size, matrix = self.w, self.tile, self.size, self.matrix
        xs = [[element(w, tile, self.vector, at(w, "%x", (v, "%xo"), (j, "%xs")), 1) for j in ks] for v in vs]
        scalar, of = memory_type(tile.dtype), register_type(tile.dtype, step)

        def terms(i: str) -> None:
            mask = first_lanes(w, w.op(f"sub nsw i64 %count, {i}"), self.lanes) if masked else None
            places = [at(w, "%chains", (v, "%pitch"), (i, size)) for v in vs]
            chains = [w.op(f"load {of}, ptr {place}, align {size}") for place in places]
            for number, line in enumerate(lines):
                pointer = at(w, line, (i, matrix.itemsize))
                if ahead:
                    prefetch(w, at(w, pointer, ("%stride", _LINES)), 2)
                value = convert(w, load_lanes(w, matrix, pointer, step, mask), matrix, tile.dtype, step)
                for v, x in enumerate(xs):
                    chains[v] = multiply_add(w, tile, splat(w, scalar, x[number], step), value, chains[v], step)
            for chain, place in zip(chains, places, strict=True):
                w.do(f"store {of} {chain}, ptr {place}, align {size}")

        loop(w, start, stop, step, terms)

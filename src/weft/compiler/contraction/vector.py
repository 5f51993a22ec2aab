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

from collections.abc import Callable
from functools import partial

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, splat
from ..kernels import K_BLOCK
from ..lanes import either, first_lanes, load_lanes, loop
from .tile import ContractionTarget, Tile, at, multiply_add, prefetch

_PIECE = 16 << 10  # bytes of the lines that all vectors are multiplied with while they are in the L1 cache
_CACHED = 2 << 20  # bytes of a matrix that is taken to be near
_LINES = 8  # of a matrix contiguous along i that are added in one pass: what they share is the traffic of the chains

VECTOR_ARGUMENTS = (
    "ptr %mat, i64 %stride, ptr %x, i64 %xo, i64 %xs, i64 %vectors, i64 %count, i64 %k, "
    "ptr %out, i64 %pitch, ptr %chains"
)
"""``stride``: bytes along the axis that is not contiguous; ``xo``, ``xs``: bytes between the vectors, and between the
elements of one; ``out`` and ``chains`` (used where the chains do not stay in registers): room for ``count`` elements of
each vector and ``lanes`` more, ``pitch`` bytes apart."""


def element(w: Writer, tile: Tile, source: DType, pointer: str, lanes: int) -> str:
    """One element of the vector, converted, in every lane."""
    value = w.op(f"load {memory_type(source)}, ptr {pointer}, align {source.itemsize}")
    return splat(w, memory_type(tile.dtype), convert(w, value, source, tile.dtype, 1), lanes)


def zero(tile: Tile, lanes: int) -> str:
    """What chains begin with."""
    return "zeroinitializer" if lanes > 1 else "0.0" if tile.dtype.is_floating else "0"


def total(w: Writer, tile: Tile, k0: str, total: str, chain: str, lanes: int) -> str:
    """The sum of the blocks so far: the chain itself for the first block."""
    kind = register_type(tile.dtype, lanes)
    more = w.op(f"{'fadd' if tile.dtype.is_floating else 'add'} {kind} {total}, {chain}")
    return w.op(f"select i1 {w.op(f'icmp eq i64 {k0}, 0')}, {kind} {chain}, {kind} {more}")


def blocks(w: Writer, body: Callable[[str, str], None], start: str = "0") -> None:
    """``body(k0, end)`` for each K block from ``start`` on; once, with no terms, when k is 0."""

    def block(k0: str) -> None:
        stop = w.op(f"add nsw i64 {k0}, {K_BLOCK}")
        body(k0, w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 %k)"))

    loop(w, start, w.op("call i64 @llvm.smax.i64(i64 %k, i64 1)"), K_BLOCK, block)


def render_vector_columns(
    module: Module, name: str, tile: Tile, matrix: DType, vector: DType, target: ContractionTarget
) -> None:
    """Add the product with a matrix that is contiguous along i: the chains lie in the L1 cache, lines are added."""
    w = Writer(module)
    size, lanes = tile.dtype.itemsize, tile.lanes
    w.label("entry")
    whole, last = w.op(f"and i64 %count, {-lanes}"), w.op("sub nsw i64 %vectors, 1")
    kind = register_type(tile.dtype, lanes)
    # To ask for what is near takes a quarter of the time that the product does.
    large = w.op(f"icmp sgt i64 {w.op('mul nsw i64 %stride, %k')}, {_CACHED}")

    def each(body: Callable[[str, str], None]) -> None:
        """``body(chains, out)`` for each vector register; the last one may reach into the room behind."""

        def line(v: str) -> None:
            row = w.op(f"mul nsw i64 {v}, %pitch")
            loop(w, "0", "%count", lanes, lambda i: body(*(at(w, p, (row, 1), (i, size)) for p in ("%chains", "%out"))))

        loop(w, "0", "%vectors", 1, line)

    def add_lines(k: str, count: int) -> None:
        ks = [w.op(f"add nsw i64 {k}, {j}") for j in range(count)]
        lines = [at(w, "%mat", (j, "%stride")) for j in ks]

        def of_vectors(
            vs: list[str], start: str, stop: str, step: int, masked: bool = False, ahead: bool = False
        ) -> None:
            xs = [[element(w, tile, vector, at(w, "%x", (v, "%xo"), (j, "%xs")), 1) for j in ks] for v in vs]
            scalar, of = memory_type(tile.dtype), register_type(tile.dtype, step)

            def terms(i: str) -> None:
                mask = first_lanes(w, w.op(f"sub nsw i64 %count, {i}"), lanes) if masked else None
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

        def piece(start: str) -> None:
            """Elements that stay in the L1 cache from vector to vector; after the first, these come in pairs."""
            end = w.op(f"add nsw i64 {start}, {elements}")
            end = w.op(f"call i64 @llvm.smin.i64(i64 {end}, i64 {whole})")

            def pair(v: str) -> None:
                other = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {v}, 1')}, i64 {last})")
                of_vectors([v, other], start, end, lanes)  # twice the same: both read before one is written

            if count == _LINES and lanes > 1:
                asked, read = (partial(of_vectors, ["0"], start, end, lanes, ahead=ahead) for ahead in (True, False))
                either(w, large, asked, read)
            else:
                of_vectors(["0"], start, end, lanes)
            loop(w, "1", "%vectors", 2, pair)

        elements = _PIECE // (_LINES * matrix.itemsize)
        loop(w, "0", whole, elements, piece)
        if target.masked_memory and lanes > 1:
            loop(w, "0", "%vectors", 1, lambda v: of_vectors([v], whole, "%count", lanes, True))
        elif lanes > 1:
            loop(w, "0", "%vectors", 1, lambda v: of_vectors([v], whole, "%count", 1))

    def block(k0: str, end: str) -> None:
        each(lambda chain, out: w.do(f"store {kind} {zero(tile, lanes)}, ptr {chain}, align {size}"))
        length = w.op(f"sub nsw i64 {end}, {k0}")
        several = w.op(f"add nsw i64 {k0}, {w.op(f'and i64 {length}, {-_LINES}')}")
        loop(w, k0, several, _LINES, lambda k: add_lines(k, _LINES))
        loop(w, several, end, 1, lambda k: add_lines(k, 1))

        def add(chain: str, out: str) -> None:
            old, new = (w.op(f"load {kind}, ptr {p}, align {size}") for p in (out, chain))
            w.do(f"store {kind} {total(w, tile, k0, old, new, lanes)}, ptr {out}, align {size}")

        each(add)

    blocks(w, block)
    w.do("ret void")
    w.define(f"internal void @{name}({VECTOR_ARGUMENTS}) #1")

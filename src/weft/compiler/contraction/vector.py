"""Products of a matrix and a vector: bound by memory, so the matrix is read once, in order, and never packed.

Naive meaning of both functions, with the element (i, k) of the matrix ``i * outer + k * inner`` bytes after ``mat``::

    for i in range(count):
        total = chain over the first K block of x[k] and mat[i, k];  for each further block: total = total + chain
        out[i] = total

They differ in the axis along which the matrix is contiguous. Chains run in vector lanes along i.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, splat
from ..kernels import K_BLOCK
from ..lanes import first_lanes, load_lanes, loop
from .pack import gathered, transpose_quarters
from .tile import ContractionTarget, Tile, at, multiply_add

VECTOR_ARGUMENTS = "ptr %mat, i64 %stride, ptr %x, i64 %xs, i64 %count, i64 %k, ptr %out, ptr %chains"
"""``stride``: bytes along the axis that is not contiguous; ``xs``: bytes between elements of the vector; ``out`` and
``chains`` (used where the chains do not stay in registers): room for ``count`` elements and one vector more."""


def _element(w: Writer, tile: Tile, source: DType, pointer: str, lanes: int) -> str:
    """One element of the vector, converted, in every lane."""
    value = w.op(f"load {memory_type(source)}, ptr {pointer}, align {source.itemsize}")
    return splat(w, memory_type(tile.dtype), convert(w, value, source, tile.dtype, 1), lanes)


def _zero(tile: Tile, lanes: int) -> str:
    return "zeroinitializer" if lanes > 1 else "0.0" if tile.dtype.is_floating else "0"


def _total(w: Writer, tile: Tile, k0: str, total: str, chain: str, lanes: int) -> str:
    """The sum of the blocks so far: the chain itself for the first block."""
    kind = register_type(tile.dtype, lanes)
    more = w.op(f"{'fadd' if tile.dtype.is_floating else 'add'} {kind} {total}, {chain}")
    return w.op(f"select i1 {w.op(f'icmp eq i64 {k0}, 0')}, {kind} {chain}, {kind} {more}")


def _blocks(w: Writer, body: Callable[[str, str], None]) -> None:
    """``body(k0, end)`` for each K block; once, with no terms, when k is 0."""

    def block(k0: str) -> None:
        stop = w.op(f"add nsw i64 {k0}, {K_BLOCK}")
        body(k0, w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 %k)"))

    loop(w, "0", w.op("call i64 @llvm.smax.i64(i64 %k, i64 1)"), K_BLOCK, block)


def render_vector_rows(module: Module, name: str, tile: Tile, matrix: DType, vector: DType) -> None:
    """Add the product with a matrix that is contiguous along k: ``lanes`` rows at a time, transposed on the way."""
    w = Writer(module)
    size, lanes = tile.dtype.itemsize, tile.lanes
    quarter = min(lanes, max(1, 16 // size))
    kind, element = register_type(tile.dtype, lanes), memory_type(tile.dtype)
    w.label("entry")
    rows = w.op(f"alloca [{lanes} x ptr], align 64")
    column = w.op(f"alloca [{lanes} x {element}], align 64")
    chain, total = w.op(f"alloca {kind}, align 64"), w.op(f"alloca {kind}, align 64")
    final = w.op("sub nsw i64 %count, 1")

    def cell(base: str, i: str, of: str) -> str:
        return w.op(f"getelementptr {of}, ptr {base}, i64 {i}", "p")

    def term(k: str, values: str) -> None:
        x = _element(w, tile, vector, at(w, "%x", (k, "%xs")), lanes)
        w.do(f"store {kind} {multiply_add(w, tile, x, values, w.op(f'load {kind}, ptr {chain}'), lanes)}, ptr {chain}")

    def group(first: str) -> None:
        def remember(i: str) -> None:
            row = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {first}, {i}')}, i64 {final})")
            w.do(f"store ptr {at(w, '%mat', (row, '%stride'))}, ptr {cell(rows, i, 'ptr')}")

        loop(w, "0", str(lanes), 1, remember)

        def block(k0: str, end: str) -> None:
            w.do(f"store {kind} {_zero(tile, lanes)}, ptr {chain}")
            length = w.op(f"sub nsw i64 {end}, {k0}")
            whole = w.op(f"add nsw i64 {k0}, {w.op(f'and i64 {length}, {-quarter}')}")

            def piece(k: str) -> None:
                here = [
                    at(w, w.op(f"load ptr, ptr {cell(rows, str(i), 'ptr')}"), (k, matrix.itemsize))
                    for i in range(lanes)
                ]
                vectors = [gathered(w, tile, matrix, here[i::quarter], 0, quarter) for i in range(quarter)]
                for j, values in enumerate(transpose_quarters(w, tile, vectors, quarter)):
                    term(w.op(f"add nsw i64 {k}, {j}"), values)

            def single(k: str) -> None:
                def lane(i: str) -> None:
                    here = at(w, w.op(f"load ptr, ptr {cell(rows, i, 'ptr')}"), (k, matrix.itemsize))
                    value = w.op(f"load {memory_type(matrix)}, ptr {here}, align {matrix.itemsize}")
                    w.do(f"store {element} {convert(w, value, matrix, tile.dtype, 1)}, ptr {cell(column, i, element)}")

                loop(w, "0", str(lanes), 1, lane)
                term(k, w.op(f"load {kind}, ptr {column}, align 64"))

            loop(w, k0, whole, quarter, piece)
            loop(w, whole, end, 1, single)
            done = _total(w, tile, k0, w.op(f"load {kind}, ptr {total}"), w.op(f"load {kind}, ptr {chain}"), lanes)
            w.do(f"store {kind} {done}, ptr {total}")

        _blocks(w, block)
        w.do(f"store {kind} {w.op(f'load {kind}, ptr {total}')}, ptr {at(w, '%out', (first, size))}, align {size}")

    loop(w, "0", "%count", lanes, group)
    w.do("ret void")
    w.define(f"internal void @{name}({VECTOR_ARGUMENTS}) #1")


def render_vector_columns(
    module: Module, name: str, tile: Tile, matrix: DType, vector: DType, target: ContractionTarget
) -> None:
    """Add the product with a matrix that is contiguous along i: the chains lie in the L1 cache, lines are added."""
    w = Writer(module)
    size, lanes = tile.dtype.itemsize, tile.lanes
    w.label("entry")
    whole = w.op(f"and i64 %count, {-lanes}")

    def each(body: Callable[[str, str], None]) -> None:
        """``body(chains, out)`` for each vector; the last one may reach into the room behind."""
        loop(w, "0", "%count", lanes, lambda i: body(at(w, "%chains", (i, size)), at(w, "%out", (i, size))))

    kind = register_type(tile.dtype, lanes)

    def lines(k: str, count: int) -> None:
        ks = [w.op(f"add nsw i64 {k}, {j}") for j in range(count)]
        xs = [_element(w, tile, vector, at(w, "%x", (j, "%xs")), 1) for j in ks]
        starts = [at(w, "%mat", (j, "%stride")) for j in ks]

        def terms(i: str, here: int, mask: str | None) -> None:
            of = register_type(tile.dtype, here)
            chain_at = at(w, "%chains", (i, size))
            chain = w.op(f"load {of}, ptr {chain_at}, align {size}")
            for x, start in zip(xs, starts, strict=True):
                pointer = at(w, start, (i, matrix.itemsize))
                value = convert(w, load_lanes(w, matrix, pointer, here, mask), matrix, tile.dtype, here)
                chain = multiply_add(w, tile, splat(w, memory_type(tile.dtype), x, here), value, chain, here)
            w.do(f"store {of} {chain}, ptr {chain_at}, align {size}")

        loop(w, "0", whole, lanes, lambda i: terms(i, lanes, None))
        if target.masked_memory and lanes > 1:
            loop(
                w,
                whole,
                "%count",
                lanes,
                lambda i: terms(i, lanes, first_lanes(w, w.op(f"sub nsw i64 %count, {i}"), lanes)),
            )
        elif lanes > 1:
            loop(w, whole, "%count", 1, lambda i: terms(i, 1, None))

    def block(k0: str, end: str) -> None:
        each(lambda chain, out: w.do(f"store {kind} {_zero(tile, lanes)}, ptr {chain}, align {size}"))
        length = w.op(f"sub nsw i64 {end}, {k0}")
        pairs = w.op(f"add nsw i64 {k0}, {w.op(f'and i64 {length}, -2')}")
        loop(w, k0, pairs, 2, lambda k: lines(k, 2))  # two lines in one pass: half of the traffic of the chains
        loop(w, pairs, end, 1, lambda k: lines(k, 1))

        def add(chain: str, out: str) -> None:
            old, new = (w.op(f"load {kind}, ptr {p}, align {size}") for p in (out, chain))
            w.do(f"store {kind} {_total(w, tile, k0, old, new, lanes)}, ptr {out}, align {size}")

        each(add)

    _blocks(w, block)
    w.do("ret void")
    w.define(f"internal void @{name}({VECTOR_ARGUMENTS}) #1")

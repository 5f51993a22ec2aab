"""Packing: copies of an operand's panels in the form that tile functions read fastest, converted to their dtype.

Which function packs depends on the form in which the operand lies (see tile.py): rows, panels, neither; a
B that lies in rows is transposed into panels.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.dtypes import DType
from ..emit import Module, Writer, convert, memory_type, register_type, vector_of
from ..kernels import LANES
from ..lanes import first_lanes, load_lanes, loop
from .tile import ContractionTarget, Tile, at, packed_row

_CHUNKS = 2  # pieces that one step of a transposition moves; more are hardly quicker to run and slower to compile

PACK_ARGUMENTS = "ptr %src, i64 %outer, i64 %inner, i64 %count, i64 %kc, ptr %dst"
"""Arguments of every pack function, which packs for one tile: element (i, k) of ``count`` x ``kc`` lies
``i * outer + k * inner`` bytes after ``src``, where i counts the rows of A or the columns of B."""


def copy(w: Writer, source: DType, tile: Tile, src: str, dst: str, lanes: int, left: str | None = None) -> None:
    """Copy ``lanes`` adjacent elements; with ``left``, only that many are read and the others become zero."""
    value = load_lanes(w, source, src, lanes, None if left is None else first_lanes(w, left, lanes))
    value = convert(w, value, source, tile.dtype, lanes)
    w.do(f"store {register_type(tile.dtype, lanes)} {value}, ptr {dst}, align {tile.dtype.itemsize}")


def _end(w: Writer, name: str) -> None:
    w.do("ret void")
    w.define(f"internal void @{name}({PACK_ARGUMENTS}) #1")


def render_pack_rows(module: Module, name: str, tile: Tile, source: DType, target: ContractionTarget) -> None:
    """Pack the rows of one tile of A that are contiguous along k.

    The last row is repeated up to a height that a tile function has.
    """
    w = Writer(module)
    w.label("entry")
    last = w.op("sub nsw i64 %count, 1")
    padded = padded_rows(w, tile)
    whole = w.op(f"and i64 %kc, {-LANES}")

    def row(r: str) -> None:
        real = w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})")
        src, dst = at(w, "%src", (real, "%outer")), at(w, "%dst", (r, packed_row(tile)))

        def piece(lanes: int, left: bool, k: str) -> None:
            rest = w.op(f"sub i64 %kc, {k}") if left else None
            copy(w, source, tile, at(w, src, (k, source.itemsize)), at(w, dst, (k, tile.dtype.itemsize)), lanes, rest)

        loop(w, "0", whole, LANES, lambda k: piece(LANES, False, k))
        if target.masked_memory:
            loop(w, whole, "%kc", LANES, lambda k: piece(LANES, True, k))
        else:
            loop(w, whole, "%kc", 1, lambda k: piece(1, False, k))

    loop(w, "0", padded, 1, row)
    _end(w, name)


def padded_rows(w: Writer, tile: Tile) -> str:
    """``%count`` rounded up to a height that the tile functions cover exactly."""
    step = tile.heights[0]
    steps = w.op(f"udiv i64 {w.op(f'add i64 %count, {step - 1}')}, {step}")
    return w.op(f"mul i64 {steps}, {step}")


def render_pack_panels(
    module: Module, name: str, tile: Tile, source: DType, of_a: bool, target: ContractionTarget
) -> None:
    """Pack the panel of what is contiguous along i.

    A partial one is filled up with zeros; if it is of B and fits into one vector, it is as wide as that.
    """
    w = Writer(module)
    width = tile.rows if of_a else tile.columns
    size, step = tile.dtype.itemsize, tile.lanes
    w.label("entry")
    whole = w.op(f"icmp eq i64 %count, {width}")
    lines = w.op(f"select i1 {whole}, i64 %kc, i64 0")
    loop(
        w,
        "0",
        lines,
        1,
        lambda k: copy(w, source, tile, at(w, "%src", (k, "%inner")), at(w, "%dst", (k, width * size)), width),
    )
    # Lines may run over the beginning of the following one, which is written later.
    narrow = w.op(f"icmp sle i64 %count, {step}")
    fill = w.op(f"select i1 {narrow}, i64 {step}, i64 {-(-width // step) * step}")
    pitch = str(width * size) if of_a else w.op(f"mul i64 {fill}, {size}")

    def line(k: str) -> None:
        src, dst = at(w, "%src", (k, "%inner")), at(w, "%dst", (k, pitch))

        def piece(lanes: int, c: str) -> None:
            left = w.op(f"sub i64 %count, {c}") if lanes > 1 else None
            copy(w, source, tile, at(w, src, (c, source.itemsize)), at(w, dst, (c, size)), lanes, left)

        if target.masked_memory and step > 1:
            loop(w, "0", fill, step, lambda c: piece(step, c))
        else:
            loop(w, "0", "%count", 1, lambda c: piece(1, c))
            loop(w, "%count", fill, 1, lambda c: store_zero(w, tile, at(w, dst, (c, size))))

    loop(w, lines, "%kc", 1, line)
    _end(w, name)


def store_zero(w: Writer, tile: Tile, pointer: str) -> None:
    """Write one zero."""
    w.do(f"store {memory_type(tile.dtype)} {'0.0' if tile.dtype.is_floating else '0'}, ptr {pointer}")


def render_pack_strided(module: Module, name: str, tile: Tile, source: DType, rows_form: bool) -> None:
    """Pack an operand without a contiguous axis, one element at a time: A into rows form, B into panels."""
    w = Writer(module)
    size, element = tile.dtype.itemsize, memory_type(source)
    w.label("entry")

    def copy(src: str, dst: str) -> None:
        value = convert(w, w.op(f"load {element}, ptr {src}, align {source.itemsize}"), source, tile.dtype, 1)
        w.do(f"store {memory_type(tile.dtype)} {value}, ptr {dst}, align {size}")

    def row(r: str) -> None:
        src = at(w, "%src", (w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})"), "%outer"))
        dst = at(w, "%dst", (r, packed_row(tile)))
        loop(w, "0", "%kc", 1, lambda k: copy(at(w, src, (k, "%inner")), at(w, dst, (k, size))))

    def vector(src: str, dst: str, last: str, pitch: str) -> None:
        def element_of(k: str, i: str) -> None:
            column = w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})")
            copy(at(w, src, (column, "%outer"), (k, "%inner")), at(w, dst, (k, pitch), (i, size)))

        loop(w, "0", "%kc", 1, lambda k: loop(w, "0", str(tile.lanes), 1, lambda i: element_of(k, i)))

    if rows_form:
        last = w.op("sub nsw i64 %count, 1")
        loop(w, "0", padded_rows(w, tile), 1, row)
    else:
        vectors_of_panel(w, tile, vector)
    _end(w, name)


def vectors_of_panel(w: Writer, tile: Tile, body: Callable[[str, str, str, str], None]) -> None:
    """Walk the vectors of a panel of B: ``body(src, dst, last, pitch)`` packs one, where ``last`` is its last
    existing column (later ones repeat it) and ``pitch`` the bytes of a line of the panel."""
    size, step = tile.dtype.itemsize, tile.lanes
    narrow = w.op(f"icmp sle i64 %count, {step}")
    fill = w.op(f"select i1 {narrow}, i64 {step}, i64 {tile.columns}")
    pitch = w.op(f"mul i64 {fill}, {size}")
    final = w.op("sub i64 %count, 1")

    def vector(c: str) -> None:
        first = w.op(f"call i64 @llvm.smin.i64(i64 {c}, i64 {final})")
        body(at(w, "%src", (first, "%outer")), at(w, "%dst", (c, size)), w.op(f"sub i64 {final}, {first}"), pitch)

    loop(w, "0", fill, step, vector)


def render_pack_transposed(module: Module, name: str, tile: Tile, source: DType) -> None:
    """Pack the panel of a B that is contiguous along k: pieces of lanes x quarter are transposed in registers.

    Quarters of 16 bytes are gathered from memory into vectors, then transposed within these quarters: half of the
    shuffles of a whole transposition.
    """
    w = Writer(module)
    size, lanes = tile.dtype.itemsize, tile.lanes
    quarter = min(lanes, max(1, 16 // size))
    w.label("entry")
    # Kept in memory on purpose: as 16 registers they compile ten times as long and are spilled all the same.
    columns = w.op(f"alloca [{lanes} x ptr], align 64")
    step = quarter * _CHUNKS
    whole = w.op(f"and i64 %kc, {-step}")

    def cell(i: str) -> str:
        return w.op(f"getelementptr ptr, ptr {columns}, i64 {i}", "p")

    def vector(src: str, dst: str, last: str, pitch: str) -> None:
        def remember(i: str) -> None:
            real = w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})")
            w.do(f"store ptr {at(w, src, (real, '%outer'))}, ptr {cell(i)}")

        def piece(k: str) -> None:
            here = [at(w, w.op(f"load ptr, ptr {cell(str(i))}"), (k, source.itemsize)) for i in range(lanes)]
            to = at(w, dst, (k, pitch))
            for c in range(_CHUNKS):
                vectors = [gathered(w, tile, source, here[i::quarter], c * quarter, quarter) for i in range(quarter)]
                for out in transpose_quarters(w, tile, vectors, quarter):
                    w.do(f"store {register_type(tile.dtype, lanes)} {out}, ptr {to}, align {size}")
                    to = w.op(f"getelementptr i8, ptr {to}, i64 {pitch}")

        def element(k: str, i: str) -> None:
            here = at(w, w.op(f"load ptr, ptr {cell(i)}"), (k, source.itemsize))
            value = w.op(f"load {memory_type(source)}, ptr {here}, align {source.itemsize}")
            value = convert(w, value, source, tile.dtype, 1)
            w.do(f"store {memory_type(tile.dtype)} {value}, ptr {at(w, dst, (k, pitch), (i, size))}, align {size}")

        loop(w, "0", str(lanes), 1, remember)
        loop(w, "0", whole, step, piece)
        loop(w, whole, "%kc", 1, lambda k: loop(w, "0", str(lanes), 1, lambda i: element(k, i)))

    vectors_of_panel(w, tile, vector)
    _end(w, name)


def gathered(w: Writer, tile: Tile, source: DType, rows: list[str], k: int, quarter: int) -> str:
    """One vector of the ``quarter`` elements from k on of each of the rows."""
    element, size = memory_type(source), source.itemsize
    parts = [
        w.op(f"load {vector_of(element, quarter)}, ptr {at(w, row, (str(k), size))}, align {size}") for row in rows
    ]
    count = quarter
    while len(parts) > 1:
        both = ", ".join(f"i32 {i}" for i in range(2 * count))
        kind = vector_of(element, count)
        parts = [
            w.op(f"shufflevector {kind} {a}, {kind} {b}, <{2 * count} x i32> <{both}>")
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
        count *= 2
    return convert(w, parts[0], source, tile.dtype, tile.lanes)


def transpose_quarters(w: Writer, tile: Tile, columns: list[str], quarter: int) -> list[str]:
    """Transpose ``quarter`` x ``quarter`` squares within each 16 bytes of the vectors, by interleaving halves."""
    lanes, kind = tile.lanes, register_type(tile.dtype, tile.lanes)

    def interleave(a: str, b: str, unit: int, high: bool) -> str:
        """From each quarter of a and b: units of the low (high) half, alternately."""
        picks = []
        for base in range(0, lanes, quarter):
            for u in range(quarter // 2 // unit):
                start = base + (quarter // 2 if high else 0) + u * unit
                picks += [start + x for x in range(unit)] + [lanes + start + x for x in range(unit)]
        order = ", ".join(f"i32 {p}" for p in picks)
        return w.op(f"shufflevector {kind} {a}, {kind} {b}, <{lanes} x i32> <{order}>")

    if quarter == 1:
        return columns
    if quarter == 2:
        return [interleave(columns[0], columns[1], 1, high) for high in (False, True)]
    low = [interleave(columns[i], columns[i + 1], 1, False) for i in (0, 2)]
    high = [interleave(columns[i], columns[i + 1], 1, True) for i in (0, 2)]
    return [interleave(pair[0], pair[1], 2, upper) for pair in (low, high) for upper in (False, True)]


def transpose_parts(w: Writer, kind: str, vectors: list[str], part: int) -> list[str]:
    """Transpose the parts, of ``part`` lanes each, of as many vectors as one has parts: part i of result j is part j of
    vector i. By halves of what is left, so that each step is a shuffle of whole parts of two vectors."""
    count = len(vectors)
    if count == 1:
        return vectors
    lanes, half = count * part, count // 2

    def picked(a: str, b: str, first: int) -> str:
        """The even (``first`` 0) or odd parts of both."""
        chosen = [(2 * p + first) * part + i for p in range(count) for i in range(part)]
        order = ", ".join(f"i32 {lane}" for lane in chosen)
        return w.op(f"shufflevector {kind} {a}, {kind} {b}, <{lanes} x i32> <{order}>")

    found = vectors
    while half:
        # Neighbours' even parts, then their odd ones: after log2(count) steps all are in place.
        pairs = [(found[i], found[i + 1]) for i in range(0, count, 2)]
        found = [picked(a, b, first) for first in (0, 1) for a, b in pairs]
        half //= 2
    return found

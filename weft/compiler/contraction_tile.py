"""The parts of a contraction that work on raw memory: register tiles, and packing of operands into panels.

Naive meaning of a tile function::

    for i in range(height):
        for j in range(vectors * lanes):
            chain = 0
            for k in range(kc): chain = fma(a[i, k], b[k, j], chain)
            t[i, j] = t[i, j] + chain if add else chain

The operands come in two forms, as they lie in the tensors or as packed copies; strides are runtime bytes:

- ``rows`` (of A): element (i, k) at ``a + i * sa + k * itemsize``; packed rows lie PACKED_ROW bytes apart, so that
  the rows of a tile fall into different sets of the L1 cache;
- ``panels``: element (k, j) at ``b + k * sb + j * itemsize`` (of A: (i, k) at ``a + k * sa + i * itemsize``); a packed
  panel is as wide as the tile (of A: as high) and has K_BLOCK lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..core import dtypes as dt
from ..core.dtypes import DType
from .emit import Module, Writer, emit_exprs, mangle, memory_type, register_type, splat, vector_of
from .expr import Expr, cast, leaf
from .kernels import K_BLOCK, LANES
from .lanes import MemoryTarget, loop

__all__ = ["ContractionTarget", "Tile", "packed_row", "pack_arguments", "render_pack_panels", "render_pack_rows",
           "render_pack_transposed", "render_pack_strided", "render_tile", "tile_of"]


class ContractionTarget(MemoryTarget, Protocol):
    """What the contraction renderer asks of a target."""

    @property
    def arch(self) -> str:
        """x86_64, aarch64 ..."""

    @property
    def vector_bits(self) -> int:
        """Width of a vector register; 0: none."""

    @property
    def num_vector_registers(self) -> int:
        """Number of vector registers."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The piece of C that stays in registers during a K block: ``rows`` x (``vectors`` * ``lanes``) of ``dtype``.

    ``heights`` are the numbers of rows for which there is a tile function, in multiples of ``heights[0]``.
    """

    dtype: DType
    lanes: int
    vectors: int
    rows: int
    heights: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Columns of a full tile; a multiple of LANES, so that epilogues read whole vectors of a tile's row."""
        return self.vectors * self.lanes

    @property
    def variants(self) -> tuple[tuple[int, int], ...]:
        """(height, vectors) of the tile functions: full width at every height, one vector at the extreme ones."""
        narrow = ((self.heights[0], 1), (self.rows, 1)) if self.vectors > 1 else ()
        return tuple(dict.fromkeys((*((h, self.vectors) for h in self.heights), *narrow)))


def tile_of(accumulate: DType, target: ContractionTarget) -> Tile:
    """The register tile for sums of ``accumulate``: 12x32 of float32 on AVX-512, 6x16 on AVX2.

    24 accumulators of 32 registers (12 of 16) leave room for the vectors of B and a broadcast of A. Integers narrower
    than 32 bits are computed as int32 and cut at the end, which wraps to the same value.
    """
    dtype = accumulate if accumulate.itemsize >= 4 else dt.int32
    lanes = max(1, (target.vector_bits or 128) // dtype.bits)
    vectors = max(LANES, 2 * lanes) // lanes
    rows = max(1, (24 if target.num_vector_registers >= 32 else 12) // vectors)
    third = rows // 3
    return Tile(dtype, lanes, vectors, rows, (third, 2 * third, rows) if third else (rows,))


def packed_row(tile: Tile) -> int:
    """Bytes from one packed row of A to the next: an odd number of cache lines."""
    return K_BLOCK * tile.dtype.itemsize + 64


# --- register tiles ---------------------------------------------------------------------------------------------


def render_tile(module: Module, name: str, tile: Tile, height: int, vectors: int, rows_form: bool,
                target: ContractionTarget, packs: bool = False) -> None:
    """Add ``void @name(ptr a, i64 sa, ptr b, i64 sb, i64 kc, ptr t, i64 st, i1 add)``; A is in rows form or in panels.

    With ``packs`` it has one more argument, ``ptr packed``, and leaves there the panel of B that it reads: copying costs
    nothing while the arithmetic units are what is waited for.
    """
    w = Writer(module)
    size = tile.dtype.itemsize
    scalar, vector = memory_type(tile.dtype), vector_of(memory_type(tile.dtype), tile.lanes)
    group = 3 if height % 3 == 0 else 4 if height % 4 == 0 else 2 if height % 2 == 0 else 1
    if not rows_form:
        group = height
    w.label("entry")
    steps = ["0"] + [_opaque(w, w.op(f"mul i64 %sa, {j}"), target) for j in range(1, group)] if rows_form else []
    starts = ["%a"]
    for q in range(1, height // group):
        offset = _opaque(w, w.op(f"mul i64 %sa, {q * group}"), target)
        starts.append(w.op(f"getelementptr i8, ptr %a, i64 {offset}"))
    w.do("br i1 %add, label %early, label %start")
    w.label("early")  # the sums are wanted at the end: ask for them
    row = "%t"
    for _ in range(height):
        for line in range(0, vectors * tile.lanes * size, 64):
            at = w.op(f"getelementptr i8, ptr {row}, i64 {line}")
            w.do(f"call void @llvm.prefetch.p0(ptr {at}, i32 0, i32 3, i32 1)")
        row = w.op(f"getelementptr i8, ptr {row}, i64 %st")
    w.do("br label %start")
    w.label("start")
    w.do("br label %head")
    # One block tests, one computes: kc may be 0 when the contracted axis is empty.
    w.label("head")
    names = [(r, v) for r in range(height) for v in range(vectors)]
    w.do("%k = phi i64 [ %kc, %start ], [ %k.next, %body ]")
    w.do("%pb = phi ptr [ %b, %start ], [ %pb.next, %body ]")
    if packs:
        w.do("%pp = phi ptr [ %packed, %start ], [ %pp.next, %body ]")
    for q, start in enumerate(starts):
        w.do(f"%pa{q} = phi ptr [ {start}, %start ], [ %pa{q}.next, %body ]")
    for r, v in names:
        w.do(f"%c{r}.{v} = phi {vector} [ zeroinitializer, %start ], [ %n{r}.{v}, %body ]")
    w.do(f"br i1 {w.op('icmp ne i64 %k, 0')}, label %body, label %done")
    w.label("body")
    b = []
    for v in range(vectors):
        at = w.op(f"getelementptr i8, ptr %pb, i64 {v * tile.lanes * size}")
        b.append(w.op(f"load {vector}, ptr {at}, align {size}"))
        if packs:
            at = w.op(f"getelementptr i8, ptr %pp, i64 {v * tile.lanes * size}")
            w.do(f"store {vector} {b[v]}, ptr {at}, align {size}")
    for r in range(height):
        q, j = divmod(r, group)
        at = w.op(f"getelementptr i8, ptr %pa{q}, i64 {steps[j] if rows_form else r * size}")
        a = splat(w, scalar, w.op(f"load {scalar}, ptr {at}, align {size}"), tile.lanes)
        for v in range(vectors):
            _multiply_add(w, tile, f"%n{r}.{v}", a, b[v], f"%c{r}.{v}")
    for q in range(len(starts)):
        w.do(f"%pa{q}.next = getelementptr i8, ptr %pa{q}, i64 {size if rows_form else '%sa'}")
    w.do("%pb.next = getelementptr i8, ptr %pb, i64 %sb")
    if packs:
        w.do(f"%pp.next = getelementptr i8, ptr %pp, i64 {tile.columns * size}")
    if height == tile.rows and vectors == tile.vectors:
        place = w.op("mul i64 %k, %fr")
        line = w.op(f"mul i64 {w.op(f'lshr i64 {place}, 8')}, %fs")
        low = w.op(f"and i64 {place}, 255")
        within = w.op(f"lshr i64 {w.op(f'mul i64 {low}, %fg')}, 1")
        at = w.op(f"getelementptr i8, ptr %f, i64 {w.op(f'add i64 {line}, {within}')}")
        w.do(f"call void @llvm.prefetch.p0(ptr {at}, i32 0, i32 {PFL}, i32 1)")
    w.do("%k.next = add nsw i64 %k, -1")
    w.do("br label %head")
    w.label("done")
    row, cells = "%t", []
    for r in range(height):
        cells += [(f"%c{r}.{v}", w.op(f"getelementptr i8, ptr {row}, i64 {v * tile.lanes * size}"))
                  for v in range(vectors)]
        row = w.op(f"getelementptr i8, ptr {row}, i64 %st")
    w.do("br i1 %add, label %more, label %plain")
    w.label("plain")
    for value, at in cells:
        w.do(f"store {vector} {value}, ptr {at}, align {size}")
    w.do("ret void")
    w.label("more")
    for value, at in cells:
        total = w.op(f"load {vector}, ptr {at}, align {size}")
        total = w.op(f"{'fadd' if tile.dtype.is_floating else 'add'} {vector} {total}, {value}")
        w.do(f"store {vector} {total}, ptr {at}, align {size}")
    w.do("ret void")
    w.define(f"internal void @{name}({TILE_ARGUMENTS}{', ptr %packed' if packs else ''}) #1")


TILE_ARGUMENTS = "ptr %a, i64 %sa, ptr %b, i64 %sb, i64 %kc, ptr %t, i64 %st, i1 %add, ptr %f, i64 %fs, i64 %fr, i64 %fg"


def _multiply_add(w: Writer, tile: Tile, result: str, a: str, b: str, c: str) -> None:
    vector = vector_of(memory_type(tile.dtype), tile.lanes)
    if tile.dtype.is_floating:
        kind = mangle(memory_type(tile.dtype), tile.lanes)
        w.do(f"{result} = call {vector} @llvm.fma.{kind}({vector} {a}, {vector} {b}, {vector} {c})")
    else:
        w.do(f"{result} = add {vector} {c}, {w.op(f'mul {vector} {a}, {b}')}")


def _opaque(w: Writer, value: str, target: ContractionTarget) -> str:
    """``value``, out of sight of loop strength reduction.

    LLVM would else step through the rows of a tile by a chain of 12 dependent additions of the row stride.
    """
    return w.op(f'call i64 asm "", "=r,0"(i64 {value})') if target.arch == "x86_64" else value


import os as _os
PFL = _os.environ.get('PFL','3')
CHUNKS = 2  # pieces that one step of a transposition moves; more are hardly quicker to run and slower to compile

# --- packing ----------------------------------------------------------------------------------------------------

pack_arguments = "ptr %src, i64 %outer, i64 %inner, i64 %count, i64 %kc, ptr %dst"
"""Arguments of every pack function, which packs for one tile: element (i, k) of ``count`` x ``kc`` lies
``i * outer + k * inner`` bytes after ``src``, where i counts the rows of A or the columns of B."""


class _Value:
    """A Point whose one leaf is a register."""

    def __init__(self, register: str, lanes: int):
        self.register, self.lanes = register, lanes

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        return self.register


def convert(w: Writer, register: str, source: DType, target: DType, lanes: int) -> str:
    """``register`` (``lanes`` elements of ``source``) cast to ``target``."""
    return emit_exprs(w, [cast(leaf("acc", source, None), target)], _Value(register, lanes))[0]


def _copy(w: Writer, source: DType, tile: Tile, src: str, dst: str, lanes: int, left: str | None = None) -> None:
    """Copy ``lanes`` adjacent elements; with ``left``, only that many are read and the others become zero."""
    kind = vector_of(memory_type(source), lanes)
    if left is None:
        value = w.op(f"load {kind}, ptr {src}, align {source.itemsize}")
    else:
        mask = first_lanes(w, left, lanes)
        value = w.op(f"call {kind} @llvm.masked.load.{mangle(memory_type(source), lanes)}.p0(ptr align "
                     f"{source.itemsize} {src}, <{lanes} x i1> {mask}, {kind} zeroinitializer)")
    value = convert(w, value, source, tile.dtype, lanes)
    w.do(f"store {register_type(tile.dtype, lanes)} {value}, ptr {dst}, align {tile.dtype.itemsize}")


def first_lanes(w: Writer, left: str, lanes: int) -> str:
    """Mask of the first ``left`` (i64, signed) lanes."""
    few = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {lanes})")
    count = splat(w, "i32", w.op(f"trunc i64 {few} to i32"), lanes)
    numbers = ", ".join(f"i32 {lane}" for lane in range(lanes))
    return w.op(f"icmp sgt <{lanes} x i32> {count}, <{numbers}>", "mask")


def _at(w: Writer, base: str, *terms: tuple[str, str | int]) -> str:
    """Pointer ``base + sum(index * bytes)``."""
    offset = "0"
    for index, stride in terms:
        offset = w.arithmetic("add", offset, w.arithmetic("mul", index, stride))
    return base if offset == "0" else w.op(f"getelementptr i8, ptr {base}, i64 {offset}", "p")


def _end(w: Writer, name: str) -> None:
    w.do("ret void")
    w.define(f"internal void @{name}({pack_arguments}) #1")


def render_pack_rows(module: Module, name: str, tile: Tile, source: DType, target: ContractionTarget) -> None:
    """Pack the rows of one tile of A that are contiguous along k. Rows are repeated up to a height that a tile function has."""
    w = Writer(module)
    w.label("entry")
    last = w.op("sub nsw i64 %count, 1")
    padded = _padded_rows(w, tile)
    whole = w.op(f"and i64 %kc, {-LANES}")

    def row(r: str) -> None:
        real = w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})")
        src, dst = _at(w, "%src", (real, "%outer")), _at(w, "%dst", (r, packed_row(tile)))

        def piece(lanes: int, left: bool, k: str) -> None:
            rest = w.op(f"sub i64 %kc, {k}") if left else None
            _copy(w, source, tile, _at(w, src, (k, source.itemsize)), _at(w, dst, (k, tile.dtype.itemsize)), lanes,
                  rest)

        loop(w, "0", whole, LANES, lambda k: piece(LANES, False, k))
        if target.masked_memory:
            loop(w, whole, "%kc", LANES, lambda k: piece(LANES, True, k))
        else:
            loop(w, whole, "%kc", 1, lambda k: piece(1, False, k))

    loop(w, "0", padded, 1, row)
    _end(w, name)


def _padded_rows(w: Writer, tile: Tile) -> str:
    """``%count`` rounded up to a height that the tile functions cover exactly."""
    step = tile.heights[0]
    steps = w.op(f"udiv i64 {w.op(f'add i64 %count, {step - 1}')}, {step}")
    return w.op(f"mul i64 {steps}, {step}")


def render_pack_panels(module: Module, name: str, tile: Tile, source: DType, of_a: bool,
                       target: ContractionTarget) -> None:
    """Pack the panel of what is contiguous along i.

    A partial one is filled up with zeros; if it is of B and fits into one vector, it is as wide as that.
    """
    w = Writer(module)
    width = tile.rows if of_a else tile.columns
    size, step = tile.dtype.itemsize, tile.lanes
    w.label("entry")
    whole = w.op(f"icmp eq i64 %count, {width}")
    lines = w.op(f"select i1 {whole}, i64 %kc, i64 0")
    loop(w, "0", lines, 1, lambda k: _copy(w, source, tile, _at(w, "%src", (k, "%inner")),
                                           _at(w, "%dst", (k, width * size)), width))
    # Lines may run over the beginning of the following one, which is written later.
    narrow = w.op(f"icmp sle i64 %count, {step}")
    fill = w.op(f"select i1 {narrow}, i64 {step}, i64 {-(-width // step) * step}")
    pitch = str(width * size) if of_a else w.op(f"mul i64 {fill}, {size}")

    def line(k: str) -> None:
        src, dst = _at(w, "%src", (k, "%inner")), _at(w, "%dst", (k, pitch))

        def piece(lanes: int, c: str) -> None:
            left = w.op(f"sub i64 %count, {c}") if lanes > 1 else None
            _copy(w, source, tile, _at(w, src, (c, source.itemsize)), _at(w, dst, (c, size)), lanes, left)

        if target.masked_memory and step > 1:
            loop(w, "0", fill, step, lambda c: piece(step, c))
        else:
            loop(w, "0", "%count", 1, lambda c: piece(1, c))
            loop(w, "%count", fill, 1, lambda c: _store_zero(w, tile, _at(w, dst, (c, size))))

    loop(w, lines, "%kc", 1, line)
    _end(w, name)


def _store_zero(w: Writer, tile: Tile, at: str) -> None:
    w.do(f"store {memory_type(tile.dtype)} {'0.0' if tile.dtype.is_floating else '0'}, ptr {at}")


def render_pack_strided(module: Module, name: str, tile: Tile, source: DType, rows_form: bool) -> None:
    """Pack an operand without a contiguous axis, one element at a time: A into rows form, B into panels."""
    w = Writer(module)
    size, element = tile.dtype.itemsize, memory_type(source)
    w.label("entry")

    def copy(src: str, dst: str) -> None:
        value = convert(w, w.op(f"load {element}, ptr {src}, align {source.itemsize}"), source, tile.dtype, 1)
        w.do(f"store {memory_type(tile.dtype)} {value}, ptr {dst}, align {size}")

    if rows_form:
        padded = _padded_rows(w, tile)
        last = w.op("sub nsw i64 %count, 1")

        def row(r: str) -> None:
            src = _at(w, "%src", (w.op(f"call i64 @llvm.smin.i64(i64 {r}, i64 {last})"), "%outer"))
            dst = _at(w, "%dst", (r, packed_row(tile)))
            loop(w, "0", "%kc", 1, lambda k: copy(_at(w, src, (k, "%inner")), _at(w, dst, (k, size))))

        loop(w, "0", padded, 1, row)
    else:
        _vectors_of_panel(w, tile, lambda src, dst, last, pitch: loop(w, "0", "%kc", 1, lambda k: loop(
            w, "0", str(tile.lanes), 1, lambda i: copy(
                _at(w, src, (w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})"), "%outer"), (k, "%inner")),
                _at(w, dst, (k, pitch), (i, size))))))
    _end(w, name)


def _vectors_of_panel(w: Writer, tile: Tile, body: Callable[[str, str, str, str], None]) -> None:
    """Walk the vectors of a panel of B: ``body(src, dst, last, pitch)`` packs one, where ``last`` is its last
    existing column (later ones repeat it) and ``pitch`` the bytes of a line of the panel."""
    size, step = tile.dtype.itemsize, tile.lanes
    narrow = w.op(f"icmp sle i64 %count, {step}")
    fill = w.op(f"select i1 {narrow}, i64 {step}, i64 {tile.columns}")
    pitch = w.op(f"mul i64 {fill}, {size}")
    final = w.op("sub i64 %count, 1")

    def vector(c: str) -> None:
        first = w.op(f"call i64 @llvm.smin.i64(i64 {c}, i64 {final})")
        body(_at(w, "%src", (first, "%outer")), _at(w, "%dst", (c, size)), w.op(f"sub i64 {final}, {first}"), pitch)

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
    step = quarter * CHUNKS
    whole = w.op(f"and i64 %kc, {-step}")

    def cell(i: str) -> str:
        return w.op(f"getelementptr ptr, ptr {columns}, i64 {i}", "p")

    def vector(src: str, dst: str, last: str, pitch: str) -> None:
        def remember(i: str) -> None:
            real = w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})")
            w.do(f"store ptr {_at(w, src, (real, '%outer'))}, ptr {cell(i)}")

        def piece(k: str) -> None:
            at = [_at(w, w.op(f"load ptr, ptr {cell(str(i))}"), (k, source.itemsize)) for i in range(lanes)]
            to = _at(w, dst, (k, pitch))
            for c in range(CHUNKS):
                vectors = [_gathered(w, tile, source, at[i::quarter], c * quarter, quarter) for i in range(quarter)]
                for out in _transpose_quarters(w, tile, vectors, quarter):
                    w.do(f"store {register_type(tile.dtype, lanes)} {out}, ptr {to}, align {size}")
                    to = w.op(f"getelementptr i8, ptr {to}, i64 {pitch}")

        def element(k: str, i: str) -> None:
            at = _at(w, w.op(f"load ptr, ptr {cell(i)}"), (k, source.itemsize))
            value = w.op(f"load {memory_type(source)}, ptr {at}, align {source.itemsize}")
            value = convert(w, value, source, tile.dtype, 1)
            w.do(f"store {memory_type(tile.dtype)} {value}, ptr {_at(w, dst, (k, pitch), (i, size))}, align {size}")

        loop(w, "0", str(lanes), 1, remember)
        loop(w, "0", whole, step, piece)
        loop(w, whole, "%kc", 1, lambda k: loop(w, "0", str(lanes), 1, lambda i: element(k, i)))

    _vectors_of_panel(w, tile, vector)
    _end(w, name)


def _gathered(w: Writer, tile: Tile, source: DType, rows: list[str], k: int, quarter: int) -> str:
    """One vector of the ``quarter`` elements from k on of each of the rows."""
    element = memory_type(source)
    parts = []
    for row in rows:
        at = w.op(f"getelementptr i8, ptr {row}, i64 {k * source.itemsize}") if k else row
        parts.append(w.op(f"load {vector_of(element, quarter)}, ptr {at}, align {source.itemsize}"))
    count = quarter
    while len(parts) > 1:
        both = ", ".join(f"i32 {i}" for i in range(2 * count))
        kind = vector_of(element, count)
        parts = [w.op(f"shufflevector {kind} {a}, {kind} {b}, <{2 * count} x i32> <{both}>")
                 for a, b in zip(parts[::2], parts[1::2], strict=True)]
        count *= 2
    return convert(w, parts[0], source, tile.dtype, tile.lanes)


def _transpose_quarters(w: Writer, tile: Tile, columns: list[str], quarter: int) -> list[str]:
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
    return [interleave(*pair, 2, upper) for pair in (low, high) for upper in (False, True)]

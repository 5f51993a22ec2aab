"""Register tiles: the innermost part of a contraction.

Naive meaning of a tile function::

    for i in range(height):
        for j in range(vectors * lanes):
            chain = 0
            for k in range(kc): chain = fma(a[i, k], b[k, j], chain)
            t[i, j] = sums[i, j] + chain if add else chain

The operands come in two forms, as they lie in the tensors or as packed copies; strides are runtime bytes:

- ``rows`` (of A): element (i, k) at ``a + i * sa + k * itemsize``; packed rows lie PACKED_ROW bytes apart, so that
  the rows of a tile fall into different sets of the L1 cache;
- ``panels``: element (k, j) at ``b + k * sb + j * itemsize`` (of A: (i, k) at ``a + k * sa + i * itemsize``); a packed
  panel is as wide as the tile (of A: as high) and has K_BLOCK lines;
- ``lines``, of B alone: the first LANES elements of line k lie at ``b + offset k`` of a table, those of the next LANES
  columns ``sb`` bytes after these (box.py).

Where there is a dot instruction for the operands (dot.py), entries stand for elements, and ``kc`` counts these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ...core import dtypes as dt
from ...core.dtypes import DType
from ..emit import Module, Writer, mangle, memory_type, splat, vector_of
from ..kernels import K_BLOCK, LANES
from ..lanes import RenderTarget, loop
from .dot import Dot, dot_of


class ContractionTarget(RenderTarget, Protocol):
    """What the contraction renderer asks of a target."""

    @property
    def hides_strides(self) -> bool:
        """Whether LLVM would chain the steps from row to row."""

    @property
    def vector_bits(self) -> int:
        """Width of a vector register; 0: none."""

    @property
    def num_vector_registers(self) -> int:
        """Number of vector registers."""

    def dot(self, dtype: str) -> str | None:
        """LLVM's name of the dot instruction for elements of that dtype, if there is one."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The piece of C that stays in registers during a K block: ``rows`` x (``vectors`` * ``lanes``) of ``dtype``.

    ``heights`` are the numbers of rows for which there is a tile function, in multiples of ``heights[0]``. With a
    ``dot`` instruction, operands are packed as entries.
    """

    dtype: DType
    lanes: int
    vectors: int
    rows: int
    heights: tuple[int, ...]
    dot: Dot | None = None

    @property
    def group(self) -> int:
        """Elements along k of what a tile reads as one."""
        return self.dot.group if self.dot else 1

    @property
    def depth(self) -> int:
        """Elements along k of a K block: K_BLOCK. Sums of integers are exact in any order: a longer one is quicker."""
        return K_BLOCK * (2 if self.dot and self.dtype.is_integer else 1)

    @property
    def entries(self) -> int:
        """Lines of a panel, entries of a row, that are packed of a K block."""
        return self.depth // self.group

    @property
    def panel_nbytes(self) -> int:
        """Room for a packed panel of B, with a line of corrections."""
        return (self.entries + 1) * self.columns * self.dtype.itemsize

    @property
    def columns(self) -> int:
        """Columns of a full tile; a multiple of LANES, so that epilogues read whole vectors of a tile's row."""
        return self.vectors * self.lanes

    @property
    def variants(self) -> tuple[tuple[int, int], ...]:
        """(height, columns) of the tile functions: full width at every height, one vector at the extreme ones."""
        narrow = [(self.heights[0], self.lanes), (self.rows, self.lanes)] if self.vectors > 1 else []
        if self.halves:
            narrow += [(self.rows, columns - self.lanes // 2) for columns in (self.lanes, self.columns)]
        return tuple(dict.fromkeys((*((h, self.columns) for h in self.heights), *narrow)))

    @property
    def halves(self) -> bool:
        """Whether the last columns may lie in half a vector. Processors that compute vectors of 512 bits in two halves
        take half the time for it: of the 49 columns of a 7x7 image, a fourth vector would be one eighth as useful."""
        return self.dot is None and self.lanes * self.dtype.bits == 512

    def pieces(self, columns: int) -> list[int]:
        """Lanes of the vectors that so many columns lie in."""
        return [min(self.lanes, columns - start) for start in range(0, columns, self.lanes)]


def tile_of(accumulate: DType, target: ContractionTarget, a: DType | None = None, b: DType | None = None) -> Tile:
    """The register tile for sums of ``accumulate``: 12x32 of float32 on AVX-512, 6x16 on AVX2.

    24 accumulators of 32 registers (12 of 16) leave room for the vectors of B and a broadcast of A. Integers narrower
    than 32 bits are computed as int32 and cut at the end, which wraps to the same value. ``a``, ``b``: what is
    multiplied, where a dot instruction may take it.
    """
    dtype = accumulate if accumulate.itemsize >= 4 else dt.int32
    lanes = max(1, (target.vector_bits or 128) // dtype.bits)
    vectors = max(LANES, 2 * lanes) // lanes
    rows = max(1, (24 if target.num_vector_registers >= 32 else 12) // vectors)
    third = rows // 3
    dot = None if a is None or b is None else dot_of(a, b, dtype, target.dot("bfloat16"), target.dot("int8"))
    return Tile(dtype, lanes, vectors, rows, (third, 2 * third, rows) if third else (rows,), dot)


def rounded_up(x: int, step: int) -> int:
    """The least multiple of ``step`` that is no less."""
    return -(-x // step) * step


def packed_row(tile: Tile) -> int:
    """Bytes from one packed row of A to the next: an odd number of cache lines."""
    return tile.entries * tile.dtype.itemsize + 64


def lanes_pitch(tile: Tile) -> int:
    """Bytes from what is packed of a column to the next in BATCH_LANES, which fall into different sets of the L1."""
    return K_BLOCK * tile.lanes * tile.dtype.itemsize + 64


# --- register tiles ---------------------------------------------------------------------------------------------

TILE_ARGUMENTS = (
    "ptr %a, i64 %sa, ptr %b, i64 %sb, i64 %kc, ptr %t, i64 %st, i1 %add, ptr %sums, ptr %f, i64 %fs, i64 %fr, i64 %fg"
)
"""Arguments of a tile function: operands and their byte strides, length of the chain, the result and its byte stride,
whether to add the chains to earlier ``sums`` (rows of a full tile, one after the other); then what to prefetch for
later tiles: at each k one line of memory, in the course of a K block ``fr`` lines of it ``fs`` bytes apart, and in each
of them from 0 to 128 * ``fg`` bytes. Where A is moved (dot.py), chains begin with the line of B before ``b``."""
LINES_ARGUMENTS = f"{TILE_ARGUMENTS}, ptr %o"
"""Those where B is in lines form: at last the table of offsets (offsets.py)."""


def render_tile(
    module: Module,
    name: str,
    tile: Tile,
    height: int,
    columns: int,
    rows_form: bool,
    target: ContractionTarget,
    exact: bool = False,
    lines: int = 0,
) -> None:
    """Add the tile function ``name`` of ``height`` rows and ``columns`` columns; A is in rows form or in panels.

    ``exact``: without the dot instruction, where it would not be right. ``lines``: B is in lines form, whose table has
    entries of so many bytes; 0: in panels.
    """
    w = Writer(module)
    size = tile.dtype.itemsize
    pieces = tile.pieces(columns)
    w.label("entry")
    group, steps, starts = _row_pointers(w, height, rows_form, target)
    w.do("br i1 %add, label %early, label %start")
    w.label("early")  # the sums are wanted at the end: ask for them
    loop(w, "0", str(height * tile.columns * size), 64, lambda c: prefetch(w, at(w, "%sums", (c, 1))))
    w.do("br label %start")
    w.label("start")
    first = _first_chains(w, tile, len(pieces))
    w.do("br label %head")
    # One block tests, one computes: kc may be 0 when the contracted axis is empty.
    w.label("head")
    w.do("%k = phi i64 [ %kc, %start ], [ %k.next, %body ]")
    # Of B, the line; of its lines, the entry of the table.
    w.do(f"%pb = phi ptr [ {'%o' if lines else '%b'}, %start ], [ %pb.next, %body ]")
    for q, start in enumerate(starts):
        w.do(f"%pa{q} = phi ptr [ {start}, %start ], [ %pa{q}.next, %body ]")
    for r in range(height):
        for v, lanes in enumerate(pieces):
            kind = vector_of(memory_type(tile.dtype), lanes)
            w.do(f"%c{r}.{v} = phi {kind} [ {first[v]}, %start ], [ %n{r}.{v}, %body ]")
    w.do(f"br i1 {w.op('icmp ne i64 %k, 0')}, label %body, label %done")
    w.label("body")
    places = [(f"%pa{r // group}", steps[r % group] if rows_form else str(r * size)) for r in range(height)]
    vectors = _vectors_of_line(w, tile, len(pieces)) if lines else [("%pb", v) for v in range(len(pieces))]
    _multiply(w, tile, places, [at(w, p, (str(v), tile.lanes * size)) for p, v in vectors], pieces, exact)
    for q in range(len(starts)):
        w.do(f"%pa{q}.next = getelementptr i8, ptr %pa{q}, i64 {size if rows_form else '%sa'}")
    w.do(f"%pb.next = getelementptr i8, ptr %pb, i64 {lines or '%sb'}")
    if (height, columns) == (tile.rows, tile.columns):
        _prefetch_ahead(w, tile)
    w.do("%k.next = add nsw i64 %k, -1")
    w.do("br label %head")
    w.label("done")
    _write_tile(w, tile, height, pieces)
    w.define(f"internal void @{name}({LINES_ARGUMENTS if lines else TILE_ARGUMENTS}) #1")


def _vectors_of_line(w: Writer, tile: Tile, vectors: int) -> list[tuple[str, int]]:
    """Where the vectors of a line lie that the table has: each as a pointer to LANES columns, and its number there."""
    group = at(w, "%b", (w.op("load i64, ptr %pb, align 8"), 1))
    each, found = LANES // tile.lanes, list[tuple[str, int]]()
    for v in range(vectors):
        if v and v % each == 0:
            group = at(w, group, ("%sb", 1))
        found.append((group, v % each))
    return found


def _multiply(
    w: Writer, tile: Tile, places: list[tuple[str, str]], line_of_b: list[str], pieces: list[int], exact: bool
) -> None:
    """Step all chains by the products of one k, where the rows of A have theirs at ``places`` (pointer, bytes), and
    the vectors of B lie at ``line_of_b``.

    What there are fewer of, rows or vectors, stays in registers beside the chains; the others come one by one. Three
    rows of four vectors, with one row at a time, took a register more than AVX2 has, and twice the time.
    """
    size, one = tile.dtype.itemsize, "i32" if tile.dot else memory_type(tile.dtype)

    def row(r: int) -> dict[int, str]:
        """Of row r of A, in every lane of vectors of each length."""
        pointer, offset = places[r]
        here = w.op(f"getelementptr i8, ptr {pointer}, i64 {offset}")
        value = w.op(f"load {one}, ptr {here}, align {size}")
        return {lanes: splat(w, one, value, lanes) for lanes in dict.fromkeys(pieces)}

    def line(v: int) -> str:
        """Vector v of B."""
        return w.op(f"load {vector_of(one, pieces[v])}, ptr {line_of_b[v]}, align {size}")

    def add(r: int, v: int, a: dict[int, str], b: str) -> None:
        chain, result, lanes = f"%c{r}.{v}", f"%n{r}.{v}", pieces[v]
        if tile.dot:
            (tile.dot.add_exactly if exact else tile.dot.add)(w, a[lanes], b, chain, lanes, result)
        else:
            multiply_add(w, tile, a[lanes], b, chain, lanes, result)

    height, vectors = len(places), len(pieces)
    if height < vectors:
        rows = [row(r) for r in range(height)]
        for v in range(vectors):
            b = line(v)
            for r in range(height):
                add(r, v, rows[r], b)
    else:
        lines = [line(v) for v in range(vectors)]
        for r in range(height):
            a = row(r)
            for v in range(vectors):
                add(r, v, a, lines[v])


def _first_chains(w: Writer, tile: Tile, vectors: int) -> list[str]:
    """What the chains of each vector of columns begin with."""
    if tile.dot is None or not tile.dot.moved:
        return ["zeroinitializer"] * vectors
    before = w.op(f"getelementptr i8, ptr %b, i64 {w.op('sub i64 0, %sb')}")
    kind, size = vector_of("i32", tile.lanes), tile.dtype.itemsize
    return [
        w.op(f"load {kind}, ptr {at(w, before, (str(v), tile.lanes * size))}, align {size}") for v in range(vectors)
    ]


def _write_tile(w: Writer, tile: Tile, height: int, pieces: list[int]) -> None:
    """Store the chains, added to the sums or not, and return."""
    size, kinds = tile.dtype.itemsize, [vector_of(memory_type(tile.dtype), lanes) for lanes in pieces]
    results, row = [], "%t"
    for r in range(height):
        row = w.op(f"getelementptr i8, ptr {row}, i64 %st") if r else row
        results += [(r, v, kind, at(w, row, (str(v), tile.lanes * size))) for v, kind in enumerate(kinds)]
    w.do("br i1 %add, label %more, label %plain")
    w.label("plain")
    for r, v, kind, result in results:
        w.do(f"store {kind} %c{r}.{v}, ptr {result}, align {size}")
    w.do("ret void")
    w.label("more")
    for r, v, kind, result in results:
        kept = at(w, "%sums", (str((r * tile.vectors + v) * tile.lanes), size))
        total = w.op(f"load {kind}, ptr {kept}, align {size}")
        total = w.op(f"{'fadd' if tile.dtype.is_floating else 'add'} {kind} {total}, %c{r}.{v}")
        w.do(f"store {kind} {total}, ptr {result}, align {size}")
    w.do("ret void")


def _row_pointers(
    w: Writer, height: int, rows_form: bool, target: ContractionTarget
) -> tuple[int, list[str], list[str]]:
    """``(group, steps, starts)``: row q * group + j of A begins ``steps[j]`` bytes after ``starts[q]``.

    Groups of three rows fit an addressing mode each (p, p + s, p + 2 s) and leave registers free.
    """
    if not rows_form:
        return height, [], ["%a"]
    group = 3 if height % 3 == 0 else 4 if height % 4 == 0 else 2 if height % 2 == 0 else 1
    steps = ["0"] + [_opaque(w, w.op(f"mul i64 %sa, {j}"), target) for j in range(1, group)]
    offsets = [_opaque(w, w.op(f"mul i64 %sa, {q * group}"), target) for q in range(1, height // group)]
    return group, steps, ["%a", *(w.op(f"getelementptr i8, ptr %a, i64 {offset}") for offset in offsets)]


def prefetch(w: Writer, pointer: str, nearness: int = 3, writes: bool = False) -> None:
    """Ask for a line of memory, to read it or to write a part of it: in the L1 cache or, where ``nearness`` is 2, in
    the L2 cache. Nothing is said of an address where there is none."""
    w.do(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(writes)}, i32 {nearness}, i32 1)")


def _prefetch_ahead(w: Writer, tile: Tile) -> None:
    """Ask for one line of what later tiles read; see TILE_ARGUMENTS. It hides the latency of the L3 cache (6 %)."""
    place = w.op(f"mul i64 {w.arithmetic('mul', '%k', tile.group)}, %fr")
    line = w.op(f"lshr i64 {place}, {K_BLOCK.bit_length() - 1}")
    within = w.op(f"mul i64 {w.op(f'and i64 {place}, {K_BLOCK - 1}')}, %fg")
    prefetch(w, at(w, "%f", (line, "%fs"), (w.op(f"lshr i64 {within}, 1"), 1)))


def multiply_add(w: Writer, tile: Tile, a: str, b: str, c: str, lanes: int, result: str | None = None) -> str:
    """``c + a * b``: a fused multiply-add of floats, wrapping of integers."""
    kind, result = vector_of(memory_type(tile.dtype), lanes), result or f"%{w.fresh()}"
    if tile.dtype.is_floating:
        suffix = mangle(memory_type(tile.dtype), lanes)
        w.do(f"{result} = call {kind} @llvm.fma.{suffix}({kind} {a}, {kind} {b}, {kind} {c})")
    else:
        w.do(f"{result} = add {kind} {c}, {w.op(f'mul {kind} {a}, {b}')}")
    return result


def at(w: Writer, base: str, *terms: tuple[str, str | int]) -> str:
    """Pointer ``base + sum(index * bytes)``."""
    offset = "0"
    for index, stride in terms:
        offset = w.arithmetic("add", offset, w.arithmetic("mul", index, stride))
    return base if offset == "0" else w.op(f"getelementptr i8, ptr {base}, i64 {offset}", "p")


def _opaque(w: Writer, value: str, target: ContractionTarget) -> str:
    """``value``, out of sight of loop strength reduction.

    LLVM would else step through the rows of a tile by a chain of 12 dependent additions of the row stride.
    """
    return w.op(f'call i64 asm "", "=r,0"(i64 {value})') if target.hides_strides else value


def call_tile(w: Writer, tile: Tile, name: str, height: str, width: str, arguments: str) -> None:
    """Call the smallest of the tile functions ``<name><height>x<columns>`` that covers the tile."""
    done = w.fresh("computed")
    narrow = {
        columns: w.op(f"icmp sle i64 {width}, {columns}") for _, columns in tile.variants if columns < tile.columns
    }
    for h, columns in sorted(tile.variants, key=lambda v: v[0] * v[1]):
        call, other = w.fresh("call"), w.fresh("larger")
        fits = w.op(f"icmp sle i64 {height}, {h}")
        if columns in narrow:
            fits = w.op(f"and i1 {fits}, {narrow[columns]}")
        w.do(f"br i1 {fits}, label %{call}, label %{other}")
        w.label(call)
        w.do(f"call void @{name}{h}x{columns}({arguments})")
        w.do(f"br label %{done}")
        w.label(other)
    w.do("unreachable")
    w.label(done)

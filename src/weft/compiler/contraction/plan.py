"""How a contraction is cut into units of work, from its structure (forms, dtypes) and its sizes.

A unit is one piece of C of at most ``sub_m`` x ``sub_n`` elements with all of K. What is decided here is only where and
when things are computed, never how: no choice changes a bit of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod

from ..emit import memory_type
from ..kernels import K_BLOCK, LANES, SCRATCH_BYTES, Access, Contraction, Int, Slot, Windowed
from ..stages import slots_of
from .box import BOX_COLUMNS, Box, box_of, has_box
from .planes import COLUMNS, has_planes, plane_of
from .tile import ContractionTarget, Tile, lanes_pitch, packed_row, rounded_up, tile_of

PARTITION = (
    "sub_m",
    "blocks_m",
    "sub_n",
    "blocks_n",
    "mode",
    "pack_a",
    "pack_b",
    "packed_b_at",
    "sums_at",
    "ahead",
    "in_rows",
    "large",
    "columns",
    "box_line",
    "box_plane",
    "box_tap",
    "box_step",
)
"""The ints that the kernel reads after its own: size and number of the pieces along m and n; how they are computed (one
of MODES); whether A (B) is packed where that is not a must; where in the scratch the packed panel of B, or its box, and
the sums lie, in bytes; lines of the next panel of B that each tile asks for; whether tiles follow each other along
rows, while all panels of B are kept; whether C is large, so that what is read and written with each element of it is
asked for ahead (of products with vectors, whether their matrix is); how many columns are cut into pieces: n, or those
of the whole batch (see Form.joins); the layout of the box (box.py). What is not asked for is 0."""

MODES = TILES, BOXED, MATRIX_VECTOR, VECTOR_MATRIX, FEW_ROWS, VECTORS_MATRIX, BATCH_LANES, PLANES = tuple(range(8))
THIN = (4, 64)  # rows and columns, at most, of the products in BATCH_LANES
VECTORS = 16  # at most in VECTORS_MATRIX; of more, tiles are quicker in any case
TABLES = {"depth_a": 0, "depth_b": 4 << 10, "outer_a": 14 << 10, "outer_b": 22 << 10}
"""Where the tables of Windowed operands lie, in bytes from :data:`TABLES_AT` of the scratch: of a K block, and of the
rows of A and the columns of B in a unit. An entry is 16 bytes, and 8 more for each edge of B; see offsets.py."""
_TABLE_BYTES = 64 << 10
TABLES_AT = SCRATCH_BYTES - _TABLE_BYTES
MASKS_AT = TABLES_AT - (128 << 10)  # masks of few rows: two bytes for each vector of a line and each k
_CACHED = 2 << 20  # bytes of a matrix that products with vectors take to be near
_PIECE = 1 << 18  # bytes of the matrix in a unit of a product with a vector
FEW_COLUMNS = 4096  # in a unit of few rows, whole lines: their sums stay in the first-level cache for the epilogue
_JOINED = 0.95  # of the time of a batch's products one by one: what one product of all their columns has to save
_SMALL = 30_000  # cycles: less than this is not worth waking a second thread for
_L2 = 1 << 20  # bytes of operands that are taken to stay in the L2 cache
_TALL, _TALLER, _TALLEST = 1536, 2112, 4224  # bytes of a column of a piece, at most: 384, 528 and 1056 rows of float32
_NARROW = 64  # columns of what may be as tall as that: those of one 7x7 image, which tiles read A for once or twice
_WIDE = 4096  # bytes of a row of one, at most, whose sums nothing is added to
_PANELS = 512 << 10  # bytes of packed panels of B, at most, that tiles in rows come back to: half of the L2 cache


@dataclass(frozen=True, slots=True)
class Partition:
    """How a contraction is cut: ``units`` of work, and the ``ints`` that the launcher appends to the kernel's own."""

    units: int
    ints: tuple[int, ...]


def _partition(mode: int, sizes: tuple[int, int, int], cut: tuple[int, int], **others: int) -> Partition:
    """The partition of ``sizes`` (batch, m, n) into pieces of ``cut`` (sub_m, sub_n) elements, each of them a unit."""
    (batch, m, n), (sub_m, sub_n) = sizes, cut
    blocks_m, blocks_n = -(-m // sub_m), -(-n // sub_n)
    pieces = {"sub_m": sub_m, "blocks_m": blocks_m, "sub_n": sub_n, "blocks_n": blocks_n}
    ints = {**pieces, "mode": mode, "columns": n, **others}
    return Partition(batch * blocks_m * blocks_n, tuple(ints.get(field, 0) for field in PARTITION))


@dataclass(frozen=True, slots=True)
class Form:
    """What is known of a kernel before its sizes are."""

    tile: Tile
    a: str  # rows, panels or strided (packed into rows); see tile.py
    b: str  # panels, rows (packed by transposition) or strided
    a_direct: bool  # A may be read where it lies
    b_direct: bool
    direct_store: bool  # tile functions write whole tiles to the output
    windowed: bool = False  # an operand is Windowed
    few_rows: bool = False  # B has lines that few rows may read where they lie; see few_rows.py
    thin: bool = False  # lanes may run along the batch; see batch_lanes.py
    joins: bool = False  # all of the batch has one A: the columns of its elements may be those of one product
    boxed: bool = False  # B's windows may be read from a box; see box.py
    planes: bool = False  # few rows may read them from one; see planes.py

    @property
    def turns(self) -> bool:
        """Whether tiles may follow each other along the rows."""
        return not self.windowed and self.tile.dot is None


def form_of(kernel: Contraction, target: ContractionTarget) -> Form:
    """The forms of the kernel's operands on a target.

    Tile functions store themselves when the epilogue is one plain store of ``acc`` along contiguous rows.
    """
    windowed = isinstance(kernel.a, Windowed) or isinstance(kernel.b, Windowed)
    multiplied = () if windowed else (kernel.a.dtype, kernel.b.dtype)
    tile = tile_of(kernel.accumulate, target, *multiplied)
    (a_outer, a_inner), (b_inner, b_outer) = last_strides(kernel.a), last_strides(kernel.b)
    a = "rows" if a_inner == 1 else "panels" if a_outer == 1 else "strided"
    near = (1, 2) if isinstance(kernel.b, Windowed) else (1,)  # steps of columns that vectors are read by
    b = "panels" if b_outer in near else "rows" if b_inner == 1 else "strided"

    def same(access: Access | Windowed) -> bool:
        return memory_type(access.dtype) == memory_type(tile.dtype)

    def direct(access: Access | Windowed) -> bool:
        return isinstance(access, Access) and same(access) and tile.dot is None

    store = kernel.stages[0]
    direct_store = (
        len(kernel.stages) == 1
        and not kernel.streams
        and store.value.op == "acc"
        and not store.indices
        and same(store.access)
        and kernel.accumulate.bits == tile.dtype.bits
        and store.access.strides[-1] == 1
    )
    few_rows = isinstance(kernel.a, Access) and isinstance(kernel.b, Windowed) and b_outer in (1, 2)
    a_direct, b_direct = a != "strided" and direct(kernel.a), b == "panels" and direct(kernel.b)
    joins = len(kernel.batch) == 1 and kernel.a.strides[0] == 0 and isinstance(kernel.b, Windowed)
    both = isinstance(kernel.a, Windowed) and isinstance(kernel.b, Windowed)
    thin = both and len(kernel.batch) == 1 and tile.lanes > 1
    boxed = has_box(kernel.b)
    planes = few_rows and target.masked_memory and isinstance(kernel.b, Windowed) and has_planes(kernel.b)
    return Form(tile, a, b, a_direct, b_direct, direct_store, windowed, few_rows, thin, joins, boxed, planes)


def modes_of(kernel: Contraction) -> tuple[int, ...]:
    """The modes that a kernel has."""
    return MODES if kernel.modes is None else kernel.modes


def last_strides(access: Access | Windowed) -> tuple[Int, Int]:
    """Strides of a matrix's rows and columns; of the last axes that these are."""
    if isinstance(access, Windowed):
        return access.rows[-1][1], access.columns[-1][1]
    rows, columns = access.strides[-2:]
    return rows, columns


def contraction_slots(kernel: Contraction) -> list[int]:
    """Positions of the ints that the kernel names."""
    strides = [x for access in (kernel.a, kernel.b) for x in (access.offset, *access.strides)]
    for access in (kernel.a, kernel.b):
        if isinstance(access, Windowed):
            strides += [x for axis in (*access.rows, *access.columns) for x in axis]
            strides += [x for e in access.edges for x in (e.size, e.start, e.row[1], e.column[1])]
    return slots_of(kernel.stages, (*kernel.batch, kernel.m, kernel.n, kernel.k, *strides))


def first_partition_slot(kernel: Contraction) -> int:
    """Position of the first PARTITION int: one after the highest slot that the kernel names."""
    return max(contraction_slots(kernel)) + 1


def contraction_units(kernel: Contraction, ints: Sequence[int], threads: int, target: ContractionTarget) -> Partition:
    """Cut the contraction with these ints into units for ``threads`` threads.

    The launcher puts ``Partition.ints`` at :func:`first_partition_slot` of the kernel's ints, and runs the units
    ``0 <= u < Partition.units`` in any order and grouping, on any threads; consecutive ones share a panel of B.
    """
    form = form_of(kernel, target)
    m, n, k = (ints[s.index] for s in (kernel.m, kernel.n, kernel.k))
    batch = prod(ints[axis.index] for axis in kernel.batch)
    if batch * m * n == 0:
        return _partition(TILES, (0, 0, 0), (1, 1))
    if n == 1 and form.a != "strided" and not form.windowed:
        piece = _vector_piece(m, k * kernel.a.dtype.itemsize, form.a == "panels", form.tile, threads)
        large = int(m * k * _matrices(kernel, kernel.a, ints) * kernel.a.dtype.itemsize > _CACHED)
        return _partition(MATRIX_VECTOR, (batch, m, n), (piece, 1), large=large)
    # Tiles are quicker with what is cached, where B is one panel as it lies (12 x 65536 x 32: 58 -> 110 GFLOP/s), and
    # with dot instructions: those that read B line by line from 4 rows on, those that transpose it from 2 on (2048 x
    # 2048 of bfloat16: 12 -> 26 GFLOP/s; 47 -> 74 with 8).
    vectors = VECTORS if form.tile.dot is None else 2 if form.b == "panels" else 1
    panel = form.b == "panels" and n <= form.tile.columns
    few = m == 1 or (m <= vectors and not panel and n * k * kernel.b.dtype.itemsize > _L2)
    if few and form.b != "strided" and not form.windowed:
        piece = _vector_piece(n, k * kernel.b.dtype.itemsize, form.b == "panels", form.tile, threads)
        mode = VECTOR_MATRIX if m == 1 else VECTORS_MATRIX
        near = _CACHED if m == 1 or form.b == "panels" else 0
        large = int(n * k * _matrices(kernel, kernel.b, ints) * kernel.b.dtype.itemsize > near)
        return _partition(mode, (batch, m, n), (m, piece), large=large)
    if form.few_rows and isinstance(kernel.b, Windowed) and m <= form.tile.heights[0] and k <= K_BLOCK:
        line = ints[kernel.b.columns[-1][0].index]
        if form.planes and (found := _planes(kernel, form, ints, (batch, m, n, line))):
            return found
        piece = n if n <= FEW_COLUMNS else max(FEW_COLUMNS // line * line, min(FEW_COLUMNS, line))
        return _few_rows(form, (batch, m, n), piece, FEW_ROWS)
    if form.thin and m <= THIN[0] and n <= THIN[1] and 2 * batch >= form.tile.lanes:
        b_at = m * lanes_pitch(form.tile)
        sums_at = b_at + n * lanes_pitch(form.tile)
        groups = -(-batch // form.tile.lanes)
        packed = {"pack_a": 1, "pack_b": 1, "packed_b_at": b_at, "sums_at": sums_at}
        return _partition(BATCH_LANES, (groups, m, n), (m, n), **packed)
    if form.joins and batch > 1 and _cycles(form, m, n * batch, k) < _JOINED * batch * _cycles(form, m, n, k):
        batch, n = 1, n * batch
    elif form.boxed and isinstance(kernel.b, Windowed):
        layout = partial(box_of, kernel.b, partial(_value, ints), form.tile, k)
        if largest := layout(BOX_COLUMNS + 2):  # of any unit, which may begin within a line
            cut = _cut(form, batch, m, n, k, threads, largest)
            return _tiled(kernel, form, ints, (batch, m, n, k), cut, layout(min(cut[1], n)))
    return _tiled(kernel, form, ints, (batch, m, n, k), _cut(form, batch, m, n, k, threads))


def _value(ints: Sequence[int], x: Int) -> int:
    return ints[x.index] if isinstance(x, Slot) else x


def _matrices(kernel: Contraction, access: Access | Windowed, ints: Sequence[int]) -> int:
    """How many there are of an operand: elements of the batch may share one."""
    strides = access.strides[: len(kernel.batch)]
    return prod(ints[n.index] for n, stride in zip(kernel.batch, strides, strict=True) if _value(ints, stride) != 0)


def scratch_nbytes(kernel: Contraction, ints: Sequence[int], target: ContractionTarget) -> int:
    """How much of its scratch a launch with these ints (PARTITION's included) uses: all of it in tiles, and where there
    are tables; in products with a vector the sums and chains of a piece, and the epilogue reads LANES sums at a time,
    from each one on where it is a row of its own."""
    first = first_partition_slot(kernel)
    part = dict(zip(PARTITION, ints[first : first + len(PARTITION)], strict=True))
    if part["mode"] in (TILES, BOXED, FEW_ROWS, BATCH_LANES, PLANES):
        return SCRATCH_BYTES
    tile = form_of(kernel, target).tile
    vectors, count = 1, part["sub_m"]
    if part["mode"] != MATRIX_VECTOR:
        vectors, count = part["sub_m"], part["sub_n"]
    return max(2 * vectors * (count + tile.lanes), count + LANES) * tile.dtype.itemsize


def _vector_piece(count: int, line: int, along: bool, tile: Tile, threads: int) -> int:
    """Elements of the result in one unit, where each takes ``line`` bytes of the matrix.

    ``along``: the matrix is contiguous along the result, and short pieces of its lines are slow to read.
    """
    most = 4096
    if count * line <= 2 * _PIECE or threads == 1:
        piece = count
    elif along:
        piece = max(512, -(-count // (2 * threads)))
    else:
        piece = max(_PIECE // max(line, 1), -(-count // (8 * threads)))
    return min(most, rounded_up(piece, 4 * tile.lanes))


def _planes(kernel: Contraction, form: Form, ints: Sequence[int], sizes: tuple[int, int, int, int]) -> Partition | None:
    """The partition of (batch, m, n) results in lines of ``line`` into whole lines whose windows are read from a box,
    or None where that would be too large."""
    assert isinstance(kernel.b, Windowed)
    batch, m, n, line = sizes
    lines = max(min(COLUMNS, n) // line, 1)
    box, piece = plane_of(kernel.b, partial(_value, ints), form.tile, lines), lines * line
    if box is None or piece > COLUMNS:
        return None
    return _few_rows(form, (batch, m, n), piece, PLANES, box)


def _few_rows(form: Form, sizes: tuple[int, int, int], piece: int, mode: int, box: Box | None = None) -> Partition:
    """The partition of (batch, m, n) results into pieces with all rows and so many columns; ``box``: of planes."""
    (_, m, _), b_at = sizes, rounded_up(form.tile.rows * packed_row(form.tile), 64)
    places = {"packed_b_at": b_at, "sums_at": b_at + (box.nbytes if box else 0)}
    return _partition(mode, sizes, (m, piece), pack_a=1, **places, **(box.ints if box else {}))


def _tiled(
    kernel: Contraction,
    form: Form,
    ints: Sequence[int],
    sizes: tuple[int, int, int, int],
    cut: tuple[int, int],
    box: Box | None = None,
) -> Partition:
    """The partition of ``sizes`` (batch, m, n, k) into pieces of ``cut`` (sub_m, sub_n) elements, whose windows are
    packed or read from a box."""
    tile, (batch, m, n, k), (sub_m, sub_n), size = form.tile, sizes, cut, form.tile.dtype.itemsize
    rows, columns = rounded_up(sub_m, tile.rows), rounded_up(sub_n, tile.columns)
    pitch = last_strides(kernel.a)[0 if form.a == "rows" else 1]
    pitch = _value(ints, pitch) * kernel.a.dtype.itemsize
    b_nbytes = n * k * kernel.b.dtype.itemsize
    # Rows a multiple of 4 KiB apart fall into one set of the L1 cache; panels are quicker to read when packed. Of four
    # tiles of columns, 1760 x 1024 x 128: 94 -> 101 GFLOP/s; panels 512 floats apart, 512 x 768 x 128: 95 -> 90.
    crowded = pitch % 4096 == 0
    wide = columns >= (4 if crowded else 5) * tile.columns
    pack_a = not form.a_direct or (wide and (form.a == "panels" or crowded))
    apart = n > tile.columns  # else a panel's lines lie side by side, and packing it would only move it
    pack_b = not form.b_direct or (apart and (b_nbytes > _L2 or (rows > 4 * tile.rows and b_nbytes > _L2 // 8)))
    large = batch * m * n * size > _L2
    in_rows = large and pack_b and form.turns and k <= K_BLOCK and k * columns * size <= _PANELS
    b_at = rounded_up(rows * packed_row(tile), 64)
    ahead = 0
    if not isinstance(kernel.b, Windowed) and (b_nbytes > _L2 or m * k * kernel.a.dtype.itemsize > _L2):
        ahead = -(-(tile.columns if form.b == "rows" else K_BLOCK) // (rows // tile.rows))
    panels = box.nbytes if box else k * columns * size if in_rows else tile.panel_nbytes
    return _partition(
        BOXED if box else TILES,
        (batch, m, n),
        cut,
        pack_a=int(pack_a),
        pack_b=int(pack_b),
        packed_b_at=b_at,
        sums_at=b_at + rounded_up(panels, 64),
        ahead=ahead,
        in_rows=int(in_rows),
        large=int(large),
        **(box.ints if box else {}),
    )


@lru_cache(maxsize=1024)
def _cut(form: Form, batch: int, m: int, n: int, k: int, threads: int, box: Box | None = None) -> tuple[int, int]:
    """``(sub_m, sub_n)``: the cut with the least estimated time of the busiest thread, into pieces whose windows are
    packed, or lie in a box that is no larger than ``box``.

    Pieces are as large as the caches like them, and smaller where that keeps more threads busy.
    """
    tile = form.tile
    most_m, most_n = _largest(form, n, k) if box is None else _largest_boxed(form, m, k, box)
    least_m, least_n = -(-m // most_m), -(-n // most_n)
    if threads == 1:
        return rounded_up(-(-m // least_m), tile.rows), rounded_up(-(-n // least_n), tile.columns)
    best = (float("inf"), 0, 0)
    # As large as they may be first: ties go to them.
    for more_m in _FACTORS:
        for more_n in _FACTORS:
            cut = more_m * more_n
            if cut > 1 and (cut > 2 * threads or batch * least_m * least_n * cut > 4 * threads):
                break
            sub_m = rounded_up(-(-m // (least_m * more_m)), tile.rows)
            sub_n = rounded_up(-(-n // (least_n * more_n)), tile.columns)
            if cut > 1 and _cycles(form, min(sub_m, m), min(sub_n, n), k) < _SMALL / 2:
                break
            best = min(
                best,
                (_busiest(form, batch, (m, n, k), (sub_m, sub_n), threads), sub_m, sub_n),
                key=lambda found: found[0],
            )
    return best[1], best[2]


def _busiest(form: Form, batch: int, shape: tuple[int, int, int], cut: tuple[int, int], threads: int) -> float:
    """Cycles of the thread with most work when each takes an equal number of consecutive units."""
    (m, n, k), (sub_m, sub_n) = shape, cut
    blocks_m, blocks_n = -(-m // sub_m), -(-n // sub_n)
    units = batch * blocks_m * blocks_n
    rest_m, rest_n = m - (blocks_m - 1) * sub_m, n - (blocks_n - 1) * sub_n
    if units > 4 * threads:  # small pieces are spread evenly enough
        full = _cycles(form, min(sub_m, m), min(sub_n, n), k)
        return -(-units // threads) * full * (m / blocks_m / min(sub_m, m)) * (n / blocks_n / min(sub_n, n))
    column = [
        [_cycles(form, height, width, k) for height in (min(sub_m, m), rest_m)] for width in (min(sub_n, n), rest_n)
    ]
    each = [
        column[j == blocks_n - 1][i == blocks_m - 1]
        for _ in range(batch)
        for j in range(blocks_n)
        for i in range(blocks_m)
    ]
    return max(sum(each[units * t // threads : units * (t + 1) // threads]) for t in range(threads))


_FACTORS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def _largest(form: Form, n: int, k: int) -> tuple[int, int]:
    """The largest piece that the scratch holds: packed A, a panel of B, and the sums that later K blocks add to."""
    tile, size = form.tile, form.tile.dtype.itemsize
    # The more rows, the less often windows are packed; but what tiles read of A for each panel lies in the L2 cache.
    repeats = form.windowed and form.a_direct
    tall = _TALL if not repeats else _TALLEST if n <= _NARROW else _TALLER
    most_m = rounded_up(tall // size, tile.rows)
    if k <= tile.depth:
        return most_m, rounded_up(_WIDE // size, tile.columns)
    end = TABLES_AT if form.windowed else SCRATCH_BYTES
    room = end - most_m * packed_row(tile) - tile.panel_nbytes - 4096
    return most_m, room // (most_m * size) // tile.columns * tile.columns


def _largest_boxed(form: Form, m: int, k: int, box: Box) -> tuple[int, int]:
    """The same of a product with ``m`` rows, where a box takes the place of the panel of B."""
    tile, size = form.tile, form.tile.dtype.itemsize
    most_m = min(rounded_up(_TALL // size, tile.rows), rounded_up(m, tile.rows))
    if k <= tile.depth:
        return most_m, BOX_COLUMNS
    room = TABLES_AT - most_m * packed_row(tile) - box.nbytes - 4096
    return most_m, min(BOX_COLUMNS, room // (most_m * size) // tile.columns * tile.columns)


def _cycles(form: Form, m: int, n: int, k: int) -> float:
    """Estimated cycles of one unit: two vector multiply-adds a cycle, four cycles from one to the next of a chain."""
    tile = form.tile
    full_m, rest_m = divmod(m, tile.rows)
    full_n, rest_n = divmod(n, tile.columns)
    height = next((h for h in tile.heights if h >= rest_m), tile.rows) if rest_m else 0
    half = tile.halves and 0 < rest_n % tile.lanes <= tile.lanes // 2
    width = -(-rest_n // tile.lanes) - (0.5 if half else 0)

    def step(h: int, vectors: float) -> float:
        return max(h * vectors / 2, 4.0) if h * vectors else 0.0

    each_k = (
        full_m * full_n * step(tile.rows, tile.vectors)
        + full_n * step(height, tile.vectors)
        + full_m * step(tile.rows, width)
        + (step(height, width) if height and width else 0.0)
    )
    tiles = -(-m // tile.rows) * -(-n // tile.columns)
    packing = n * (1.0 if form.windowed else 0.35 if form.b == "panels" else 0.5) + m * 0.5
    return k * (each_k + packing) / tile.group + tiles * 60.0 * max(1, -(-k // tile.depth))

"""How attention is cut into units, and what lies where in the scratch of one."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.dtypes import DType
from ..contraction.tile import ContractionTarget, Tile, packed_row, tile_of
from ..kernels import CAUSAL_STEP, K_BLOCK, REDUCE_LANES, SCRATCH_BYTES, Attention
from ..stages import reduces_of

WIDEST = 1024  # elements of an axis d or n: the panels and sums of a unit lie in its scratch
PAIRS_AT = 1 << 20  # bytes: from here on the scratch holds pairs


def width_of(accumulate: DType, target: ContractionTarget) -> int:
    """Columns of a unit: the elements of m that it computes."""
    return tile_of(accumulate, target).columns


@dataclass(frozen=True, slots=True)
class Room:
    """Where things lie in the scratch, in bytes.

    - ``rows``, ``panel``: packed copies of the last, partial tile of rows and panel of columns;
    - ``cells``: the partial results of a reduction, REDUCE_LANES for each column; ``chunks``: of reductions of chunks;
      ``unused``: where those go that have been taken already;
    - ``results``: of each reduction a value for each column;
    - ``free``: from here on the panels of m, then the sums;
    - ``pairs``: of each product a line for each k, of as many as there is room for: ``lines``.
    """

    rows: int
    panel: int
    cells: int
    chunks: int
    unused: int
    results: int
    free: int
    pairs: tuple[int, ...]
    lines: int


def room_of(kernel: Attention, tile: Tile) -> Room:
    """The places for a kernel."""
    assert CAUSAL_STEP % tile.columns == 0, "what a causal row looks at must not depend on the tile"
    line = tile.columns * tile.dtype.itemsize
    sizes = (tile.rows * packed_row(tile), K_BLOCK * line, *(REDUCE_LANES * line,) * 3)
    places = [0]
    for size in (*sizes, len(reduces_of(kernel.stages)) * line):
        places.append(-(-(places[-1] + size) // 64) * 64)
    products, sums = len(kernel.products), len(kernel.sums)
    tall = -(-tile.columns // tile.rows) * tile.rows
    wide = -(-WIDEST // tile.columns) * tile.columns
    assert places[-1] + products * WIDEST * line + sums * tall * wide * tile.dtype.itemsize <= PAIRS_AT
    each = (SCRATCH_BYTES - PAIRS_AT) // line // products
    pairs = tuple(PAIRS_AT + p * each * line for p in range(products))
    rows, panel, cells, chunks, unused, results, free = places
    # The last tile of rows may be higher than what is there.
    return Room(rows, panel, cells, chunks, unused, results, free, pairs, each - tile.rows)

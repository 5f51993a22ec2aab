"""The functions that the units of a contraction call: what there is, and who renders it.

A kernel has those of them that its units call (render.py), and these depend on its modes: a product with a vector needs
no tiles, and tiles no product with a vector.
"""

from __future__ import annotations

from collections.abc import Callable

from ...core.dtypes import DType
from ..emit import Module
from ..kernels import Contraction, Counted, Slot, Windowed
from .batch_lanes import render_lanes, render_pack_lanes
from .box import render_box, render_lines
from .few_rows import render_few_rows, render_masks
from .offsets import ENTRY, render_offsets
from .pack import render_pack_panels, render_pack_rows, render_pack_strided, render_pack_transposed
from .pack_entries import render_pack_entries
from .pack_windows import render_pack_windows
from .plan import MATRIX_VECTOR, PARTITION, VECTOR_MATRIX, VECTORS_MATRIX, Form, first_partition_slot
from .planes import render_planes, render_zeros
from .tile import ContractionTarget, Tile, render_tile
from .vector import render_vector_columns
from .vector_rows import AT_ONCE, render_vector_rows

Rendered = Callable[[Module, str], None]
"""Adds a function of the given name to a module."""


def functions_of(kernel: Contraction, form: Form, target: ContractionTarget) -> dict[str, Rendered]:
    """The functions that units may call, by their names behind the kernel's; those that are not called are not
    rendered."""
    tile, rows_form, found = form.tile, form.a != "panels", dict[str, Rendered]()

    def tile_function(height: int, columns: int, exact: bool = False, lines: int = 0) -> Rendered:
        return lambda module, own: render_tile(module, own, tile, height, columns, rows_form, target, exact, lines)

    for height, columns in tile.variants:
        found[f"tile{height}x{columns}"] = tile_function(height, columns)
        found[f"lines{height}x{columns}"] = tile_function(height, columns, lines=ENTRY)
    found["exact"] = tile_function(tile.rows, tile.columns, exact=True)
    for side, access, kind in (("a", kernel.a, form.a), ("b", kernel.b, form.b)):
        if isinstance(access, Windowed):
            found |= _of_windows(side, kernel, access, form, target)
        else:
            found[f"pack_{side}"] = _packing(side, access.dtype, kind, tile, target)
    found["lanes"] = lambda module, own: render_lanes(module, own, tile)
    for mode, (kind, matrix, vector, at_once) in _products_with_vectors(kernel, form).items():
        found[f"vector{mode}"] = _with_vectors(kind, matrix, vector, at_once, tile, target)
    return found


def _with_vectors(
    kind: str, matrix: DType, vector: DType, at_once: int, tile: Tile, target: ContractionTarget
) -> Rendered:
    """The product of a matrix of this kind with a vector or a few."""
    if kind == "rows":
        return lambda module, own: render_vector_rows(module, own, tile, matrix, vector, at_once)
    return lambda module, own: render_vector_columns(module, own, tile, matrix, vector, target)


def _packing(side: str, dtype: DType, kind: str, tile: Tile, target: ContractionTarget) -> Rendered:
    """What packs an operand of elements of ``dtype`` that is a matrix of this kind."""
    of_a = side == "a"
    if tile.dot:
        return lambda module, own: render_pack_entries(module, own, tile, dtype, kind, of_a)
    if kind == "panels":
        return lambda module, own: render_pack_panels(module, own, tile, dtype, of_a, target)
    if kind == "strided":
        return lambda module, own: render_pack_strided(module, own, tile, dtype, of_a)
    if of_a:
        return lambda module, own: render_pack_rows(module, own, tile, dtype, target)
    return lambda module, own: render_pack_transposed(module, own, tile, dtype)


def _of_windows(
    side: str, kernel: Contraction, access: Windowed, form: Form, target: ContractionTarget
) -> dict[str, Rendered]:
    """The functions that pack operand ``side`` or read it where it lies, and those that make the tables for them."""
    outer, depth = (access.rows, access.columns) if side == "a" else (access.columns, access.rows)
    joins, of_a = side == "b" and form.joins, side == "a"
    if joins:
        outer = _joined(kernel)
    moved = [(edge.column[0] + joins, edge.column[1], edge.start) for edge in access.edges]
    below = [(*edge.row, 0) for edge in access.edges]
    size = access.dtype.itemsize
    found: dict[str, Rendered] = {
        f"outer_{side}": lambda module, own: render_offsets(module, own, outer, size, target, moved),
        f"depth_{side}": lambda module, own: render_offsets(module, own, depth, size, target, below),
        f"pack_{side}": lambda module, own: render_pack_windows(module, own, form, access, of_a, target),
        f"lanes_{side}": lambda module, own: render_pack_lanes(module, own, form.tile, access, of_a, target),
    }
    if not of_a:
        found["few_rows"] = lambda module, own: render_few_rows(module, own, form, access, target)
        found["masks"] = lambda module, own: render_masks(module, own, form, access, target)
    if not of_a and form.planes:
        rows_form = form.a != "panels"
        found["zeros"] = render_zeros
        found["planes"] = lambda module, own: render_planes(module, own, form.tile, access, rows_form, target)
    if not of_a and form.boxed:
        first = first_partition_slot(kernel)
        plane, tap = (Slot(first + PARTITION.index(field)) for field in ("box_plane", "box_tap"))
        found["box"] = lambda module, own: render_box(module, own, form.tile, access, target)
        found["box_lines"] = lambda module, own: render_lines(module, own, form.tile, access, plane, tap, target)
    return found


def _joined(kernel: Contraction) -> Counted:
    """The axes of B's columns, those of the whole batch: of its first element to its last."""
    assert isinstance(kernel.b, Windowed)
    return ((kernel.batch[0], kernel.b.strides[0]), *kernel.b.columns)


def _products_with_vectors(kernel: Contraction, form: Form) -> dict[int, tuple[str, DType, DType, int]]:
    """How products with a vector or a few are computed, by mode: kind and dtype of the matrix, dtype of the vectors,
    how many in one pass. Modes whose matrix is strided have none, nor has a kernel with a Windowed operand."""
    a, b = kernel.a.dtype, kernel.b.dtype
    return {
        mode: (kind, matrix, vector, AT_ONCE if kind == "rows" and mode == VECTORS_MATRIX else 1)
        for mode, kind, matrix, vector in (
            (MATRIX_VECTOR, form.a, a, b),
            (VECTOR_MATRIX, form.b, b, a),
            (VECTORS_MATRIX, form.b, b, a),
        )
        if kind != "strided" and not form.windowed
    }


def vectors_by_mode(kernel: Contraction, form: Form) -> dict[int, str]:
    """The functions for products with a vector or a few, by mode: modes that are computed alike have one."""
    products = _products_with_vectors(kernel, form)
    first = {of: mode for mode, of in reversed(products.items())}
    return {mode: f"vector{first[of]}" for mode, of in products.items()}

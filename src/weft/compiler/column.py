"""Renders :class:`ColumnReduce` for CPUs: the reduced axis is a slow one, lanes run along the columns.

Naive meaning, for every column c of a block, the same 64 partial results as in a row (numerics contract, 2)::

    for r in range(r0, r1): lane[(r - r0) % 64][c] = combine(lane[(r - r0) % 64][c], value(r, c))
    for half in 32, 16, ..., 1: lane[l][c] = combine(lane[l][c], lane[l + half][c])  for l < half

Lanes that no row reached hold the identity; combining with it changes no bit, so they are neither cleared nor read.
The 64 x COLUMNS partial results live on the stack: 16 KiB of float32, in the first-level cache. Of a short expression
several rounds over the lanes are taken together: the rows of one lane, 64 apart, are combined with what is there before
it is written again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product
from typing import cast

from .emit import Writer, emit_exprs, memory_type
from .expr import topological
from .kernels import COLUMNS, LANES, REDUCE_LANES, ColumnReduce, Reduce, Slot, extents_of
from .lanes import Frame, LanePoint, RenderTarget, either, hoist_uniform, loop, overlapping_loop, spread, vector_loop
from .reduction import identities, state_dtypes
from .stages import (
    accumulate,
    begin_units,
    combine_registers,
    end_units,
    grid_indices,
    load_cell,
    piece,
    reduces_of,
    roots_of,
    store_cell,
    stores_of,
    write_stores,
)

_ROUNDS = 4  # elements of a lane that are combined at a time: partial results are read and written once for all
_SHORT = 8  # most nodes of an expression of which that many are worth their code


def render_column(kernel: ColumnReduce, name: str, target: RenderTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    reduced = extents_of(kernel.reduced)
    extents = (*kernel.grid, *reduced, kernel.chunk, kernel.chunks, kernel.inner, kernel.block, kernel.blocks)
    frame = begin_units(kernel, extents, target)
    reduces = reduces_of(kernel.stages)
    if not any(isinstance(n, Slot) for n in reduced):
        return end_units(frame, name, lambda unit: _window(kernel, frame, reduces, unit))
    cells = [
        [
            frame.w.op(f"alloca [{REDUCE_LANES * COLUMNS} x {memory_type(d)}], align 64", "lanes")
            for d in state_dtypes(stage)
        ]
        for stage in reduces
    ]
    return end_units(frame, name, lambda unit: _unit(kernel, frame, reduces, cells, unit))


def _unit(kernel: ColumnReduce, frame: Frame, reduces: list[Reduce], cells: list[list[str]], unit: str) -> None:
    w = frame.w
    *outer, chunk, block = grid_indices(frame, (*kernel.grid, kernel.chunks, kernel.blocks), unit)
    if kernel.chunk_axis:
        outer = [*outer, chunk]
    first, row_stop = piece(frame, chunk, kernel.chunk, kernel.reduced)
    lo, hi = piece(frame, block, kernel.block, kernel.inner)
    rows = w.op(f"sub nsw i64 {row_stop}, {first}")
    used = w.op(f"call i64 @llvm.smin.i64(i64 {rows}, i64 {REDUCE_LANES})")

    def clear(lane: str) -> None:
        base = w.op(f"mul nsw i64 {lane}, {COLUMNS}")

        def body(c: str, lanes: int, mask: str | None) -> None:
            at = w.op(f"add nsw i64 {base}, {w.op(f'sub nsw i64 {c}, {lo}')}")
            point = LanePoint(frame, [c], lanes)
            for stage, stage_cells in zip(reduces, cells, strict=True):
                registers = emit_exprs(w, identities(stage), point)
                for cell, dtype, register in zip(stage_cells, state_dtypes(stage), registers, strict=True):
                    pointer = w.op(f"getelementptr {memory_type(dtype)}, ptr {cell}, i64 {at}", "p")
                    store_cell(w, pointer, dtype, register, lanes)

        # The cells are padded to whole vectors, so no mask is needed: what lies past the block is never used.
        vector_loop(frame, lo, hi, body)

    # At least one lane is cleared: an empty reduction gives the identity.
    loop(w, "0", w.op(f"call i64 @llvm.smax.i64(i64 {used}, i64 1)"), 1, clear)
    sizes = extents_of(kernel.reduced)

    def row(number: str) -> None:
        at = [number] if len(sizes) == 1 else grid_indices(frame, sizes, number)
        lane = w.op(f"and i64 {w.op(f'sub nsw i64 {number}, {first}')}, {REDUCE_LANES - 1}")
        _rows(frame, reduces, cells, [[*outer, *at]], lane, lo, hi)

    def together(number: str) -> None:
        """Several rounds over the lanes."""

        def of_lane(lane: str) -> None:
            here = w.op(f"add nsw i64 {number}, {lane}")
            of_rounds = [w.op(f"add nsw i64 {here}, {turn * REDUCE_LANES}") for turn in range(_ROUNDS)]
            _rows(frame, reduces, cells, [[*outer, at] for at in of_rounds], lane, lo, hi)

        loop(w, "0", str(REDUCE_LANES), 1, of_lane)

    start = first
    if len(sizes) == 1 and len(topological(roots_of(reduces))) <= _SHORT:
        step = _ROUNDS * REDUCE_LANES
        start = w.op(f"add nsw i64 {first}, {w.op(f'and i64 {rows}, {-step}')}")
        loop(w, first, start, step, together)
    loop(w, start, row_stop, 1, row)
    _trees(frame, reduces, cells, used, lo, hi)
    _finish(kernel, frame, reduces, cells, outer, lo, hi)


def _rows(
    frame: Frame,
    reduces: list[Reduce],
    cells: list[list[str]],
    rows: list[list[str]],
    lane: str,
    lo: str,
    hi: str,
) -> None:
    """Combine the points of rows, given by their indices, into the partial results of one lane."""
    w = frame.w
    roots = roots_of(reduces)
    uniform = [hoist_uniform(roots, LanePoint(frame, [*at, lo], 1)) for at in rows]
    base = w.op(f"sub nsw i64 {w.op(f'mul nsw i64 {lane}, {COLUMNS}')}, {lo}")

    def body(c: str, lanes: int, mask: str | None) -> None:
        at = w.op(f"add nsw i64 {base}, {c}")
        values: list[list[list[str]]] = [[] for _ in reduces]  # of each reduction, of each row
        for indices, known in zip(rows, uniform, strict=True):
            point = LanePoint(frame, [*indices, c], lanes, mask)
            registers = iter(emit_exprs(w, roots, point, spread(frame, known, roots, lanes)))
            for stage, of_rows in zip(reduces, values, strict=True):
                of_rows.append([next(registers) for _ in state_dtypes(stage)])
        for stage, stage_cells, of_rows in zip(reduces, cells, values, strict=True):
            accumulate(w, stage, stage_cells, at, of_rows, lanes, None)

    vector_loop(frame, lo, hi, body)


def _trees(frame: Frame, reduces: list[Reduce], cells: list[list[str]], used: str, lo: str, hi: str) -> None:
    """Halve the lanes of every column; only lanes that a row reached take part."""
    w = frame.w

    def level(step: str) -> None:
        half = w.op(f"lshr i64 {REDUCE_LANES // 2}, {step}")
        above = w.op(f"sub nsw i64 {used}, {half}")
        pairs = w.op(f"call i64 @llvm.smin.i64(i64 {half}, i64 {above})")

        def pair(lane: str) -> None:
            a = w.op(f"mul nsw i64 {lane}, {COLUMNS}")
            b = w.op(f"add nsw i64 {a}, {w.op(f'mul nsw i64 {half}, {COLUMNS}')}")
            vector_loop(frame, "0", w.op(f"sub nsw i64 {hi}, {lo}"), lambda c, lanes, mask: columns(a, b, c, lanes))

        def columns(a: str, b: str, c: str, lanes: int) -> None:
            for stage, stage_cells in zip(reduces, cells, strict=True):
                low, high = (
                    [
                        load_cell(w, _at(w, cell, d, base, c), d, lanes)
                        for cell, d in zip(stage_cells, state_dtypes(stage), strict=True)
                    ]
                    for base in (a, b)
                )
                merged = combine_registers(w, stage, low, high, lanes)
                for cell, dtype, register in zip(stage_cells, state_dtypes(stage), merged, strict=True):
                    store_cell(w, _at(w, cell, dtype, a, c), dtype, register, lanes)

        loop(w, "0", pairs, 1, pair)

    loop(w, "0", str(REDUCE_LANES.bit_length() - 1), 1, level)


def _at(w: Writer, cell: str, dtype: object, base: str, column: str) -> str:
    element = memory_type(dtype)  # type: ignore[arg-type]
    return w.op(f"getelementptr {element}, ptr {cell}, i64 {w.op(f'add nsw i64 {base}, {column}')}", "p")


def _finish(
    kernel: ColumnReduce,
    frame: Frame,
    reduces: list[Reduce],
    cells: list[list[str]],
    outer: list[str],
    lo: str,
    hi: str,
) -> None:
    w = frame.w
    write = _writer(kernel, frame, outer, lo)

    def body(c: str, lanes: int, mask: str | None) -> None:
        refs = []
        for stage, stage_cells in zip(reduces, cells, strict=True):
            dtype = state_dtypes(stage)[-1]
            refs.append(
                (load_cell(w, _at(w, stage_cells[-1], dtype, w.op(f"sub nsw i64 0, {lo}"), c), dtype, lanes), lanes)
            )
        write(c, lanes, mask, refs)

    vector_loop(frame, lo, hi, body)


_Write = Callable[[str, int, str | None, list[tuple[str, int]]], None]


def _writer(kernel: ColumnReduce, frame: Frame, outer: list[str], lo: str) -> _Write:
    """``write(c, lanes, mask, refs)`` carries out the stores at columns from ``c`` on, of which the reductions are
    ``refs``."""
    stores = stores_of(kernel.stages)
    roots = roots_of(stores)
    outer = [*outer, *["0"] * len(extents_of(kernel.reduced))]
    varying = [("", LANES)] * len(reduces_of(kernel.stages))
    uniform = hoist_uniform(roots, LanePoint(frame, [*outer, lo], 1, None, varying))

    def write(c: str, lanes: int, mask: str | None, refs: list[tuple[str, int]]) -> None:
        point = LanePoint(frame, [*outer, c], lanes, mask, refs)
        write_stores(point, stores, spread(frame, uniform, roots, lanes))

    return write


def _window(kernel: ColumnReduce, frame: Frame, reduces: list[Reduce], unit: str) -> None:
    """A unit of a window whose sizes are structure: its few partial results are registers, and no loop walks it."""
    w, roots = frame.w, roots_of(reduces)
    *outer, block = grid_indices(frame, (*kernel.grid, kernel.blocks), unit)
    lo, hi = piece(frame, block, kernel.block, kernel.inner)
    write = _writer(kernel, frame, outer, lo)
    window = [[*outer, *map(str, at)] for at in product(*map(range, cast("tuple[int]", kernel.reduced)))]
    uniform = [hoist_uniform(roots, LanePoint(frame, [*at, lo], 1)) for at in window]

    def columns(c: str, lanes: int, mask: str | None, whole: dict[int, str]) -> None:
        states: list[list[list[str]]] = [[] for _ in reduces]
        for at, known in zip(window, uniform, strict=True):
            point = LanePoint(frame, [*at, c], lanes, mask)
            registers = iter(emit_exprs(w, roots, point, {**spread(frame, known, roots, lanes), **whole}))
            for stage, state in zip(reduces, states, strict=True):
                start = emit_exprs(w, identities(stage), point)
                values = [next(registers) for _ in state_dtypes(stage)]
                state.append(combine_registers(w, stage, start, values, lanes))
        refs = [(_tree(w, stage, state, lanes), lanes) for stage, state in zip(reduces, states, strict=True)]
        write(c, lanes, mask, refs)

    guards = [n.args[0] for n in topological(roots) if n.op == "load" and n.args]

    def inside(c: str) -> str:
        """Whether all guards hold at a column."""
        points = zip(window, uniform, strict=True)
        found = [b for at, known in points for b in emit_exprs(w, guards, LanePoint(frame, [*at, c], 1), dict(known))]
        return functools.reduce(lambda a, b: w.op(f"and i1 {a}, {b}"), found)

    def body(c: str, lanes: int, mask: str | None) -> None:
        if not guards:
            columns(c, lanes, mask, {})
            return
        # Guards are bounds of indices: what holds at both ends of a vector holds between them. Where they hold for the
        # whole window, it is computed without: they take several times as long as all else.
        end = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {c}, {lanes - 1}')}, i64 {last})")
        both = w.op(f"and i1 {inside(c)}, {inside(end)}") if lanes > 1 else inside(c)
        whole = {id(guard): "splat (i1 true)" if lanes > 1 else "true" for guard in guards}
        either(w, both, lambda: columns(c, lanes, mask, whole), lambda: columns(c, lanes, mask, {}))

    last = w.op(f"sub nsw i64 {hi}, 1")
    overlapping_loop(frame, lo, hi, body)


def _tree(w: Writer, stage: Reduce, lanes: list[list[str]], columns: int) -> str:
    """The tree over the partial results that there are."""
    half = REDUCE_LANES // 2
    while half:
        count = len(lanes)
        lanes = [
            combine_registers(w, stage, lanes[k], lanes[k + half], columns) if k + half < count else lanes[k]
            for k in range(min(half, count))
        ]
        half //= 2
    return lanes[0][-1]

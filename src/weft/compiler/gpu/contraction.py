"""Renders :class:`Contraction` for GPUs: a thread for each element of the result."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..contraction.plan import contraction_slots
from ..emit import convert, mangle, scalar_type
from ..kernels import K_BLOCK, Access, Contraction, Counted, Windowed
from ..lanes import Frame, LanePoint, RenderTarget, loop, when
from ..stages import grid_indices, write_stores
from .frame import GpuLaunch, begin_gpu, end_gpu

TILE = 16  # a block computes TILE x TILE elements


def launch_contraction(kernel: Contraction, ints: Sequence[int], units: int) -> GpuLaunch:
    """A unit is a piece of the result; the CPU's ``units`` do not count."""
    m, n = (ints[x.index] for x in (kernel.m, kernel.n))
    tiles = -(-m // TILE) * -(-n // TILE)
    return GpuLaunch(tiles * prod(ints[axis.index] for axis in kernel.batch), (TILE, TILE))


def _along(frame: Frame, axes: Counted, number: str) -> list[str]:
    """The indices of axes that one number counts."""
    return grid_indices(frame, tuple([size for size, _ in axes]), number)


def _there(frame: Frame, access: Windowed, rows: Sequence[str], columns: Sequence[str]) -> str | None:
    """i1: whether the element with these indices is within all edges; None where there are none."""
    w, found = frame.w, None
    for edge in access.edges:
        index = frame.int_(edge.start)
        for (axis, step), indices in ((edge.row, rows), (edge.column, columns)):
            index = w.arithmetic("add", index, w.arithmetic("mul", indices[axis], frame.int_(step)))
        inside = w.op(f"icmp ult i64 {index}, {frame.int_(edge.size)}")
        found = inside if found is None else w.op(f"and i1 {found}, {inside}")
    return found


def render_contraction(kernel: Contraction, name: str, target: RenderTarget) -> str:
    """LLVM IR (nvptx64) of one module that defines the entry ``name``."""
    t = begin_gpu(len(kernel.buffers), contraction_slots(kernel), target)
    w, scalar = t.w, scalar_type(kernel.accumulate)
    chain, total = (w.op(f"alloca {scalar}, align 8", hint) for hint in ("chain", "total"))
    m, n, k = (t.frame.int_(x) for x in (kernel.m, kernel.n, kernel.k))
    zero = "0.0" if kernel.accumulate.is_floating else "0"

    def tiles(extent: str) -> str:
        return w.op(f"sdiv i64 {w.op(f'add nsw i64 {extent}, {TILE - 1}')}, {TILE}")

    across, down = tiles(n), tiles(m)

    def unit(number: str) -> None:
        column, rest = w.op(f"urem i64 {number}, {across}"), w.op(f"udiv i64 {number}, {across}")
        row, rest = w.op(f"urem i64 {rest}, {down}"), w.op(f"udiv i64 {rest}, {down}")
        batch = grid_indices(t.frame, kernel.batch, rest)
        i, j = (
            w.op(f"add nsw i64 {w.op(f'mul nsw i64 {tile}, {TILE}')}, {thread}")
            for tile, thread in ((row, t.y), (column, t.x))
        )
        inside = w.op(f"and i1 {w.op(f'icmp slt i64 {i}, {m}')}, {w.op(f'icmp slt i64 {j}, {n}')}")
        when(w, inside, lambda: element(batch, i, j))

    def element(batch: list[str], i: str, j: str) -> None:
        w.do(f"store {scalar} {zero}, ptr {total}")
        loop(w, "0", k, K_BLOCK, lambda k0: block(batch, i, j, k0))
        acc = w.op(f"load {scalar}, ptr {total}")
        write_stores(LanePoint(t.frame, [*batch, i, j], 1, accumulator=acc), kernel.stages)

    def block(batch: list[str], i: str, j: str, k0: str) -> None:
        w.do(f"store {scalar} {zero}, ptr {chain}")
        end = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {k0}, {K_BLOCK}')}, i64 {k})")
        loop(w, k0, end, 1, lambda x: term(batch, i, j, x))
        last, before = w.op(f"load {scalar}, ptr {chain}"), w.op(f"load {scalar}, ptr {total}")
        more = w.op(f"{'fadd' if kernel.accumulate.is_floating else 'add'} {scalar} {before}, {last}")
        # The first block's sum is taken as it is: 0 + -0 would lose its sign.
        sums = w.op(f"select i1 {w.op(f'icmp eq i64 {k0}, 0')}, {scalar} {last}, {scalar} {more}")
        w.do(f"store {scalar} {sums}, ptr {total}")

    def operand(access: Access | Windowed, batch: list[str], row: str, column: str) -> str:
        at, there = [*batch, row, column], None
        if isinstance(access, Windowed):
            rows, columns = _along(t.frame, access.rows, row), _along(t.frame, access.columns, column)
            there, at = _there(t.frame, access, rows, columns), [*batch, *rows, *columns]
            strides = (*access.strides, *(stride for _, stride in (*access.rows, *access.columns)))
            access = Access(access.buf, access.dtype, access.offset, strides)
        value = convert(w, LanePoint(t.frame, at, 1).load(access, there), access.dtype, kernel.accumulate, 1)
        return value if there is None else w.op(f"select i1 {there}, {scalar} {value}, {scalar} {zero}")

    def term(batch: list[str], i: str, j: str, x: str) -> None:
        a, b = operand(kernel.a, batch, i, x), operand(kernel.b, batch, x, j)
        before = w.op(f"load {scalar}, ptr {chain}")
        if kernel.accumulate.is_floating:
            after = w.op(f"call {scalar} @llvm.fma.{mangle(scalar, 1)}({scalar} {a}, {scalar} {b}, {scalar} {before})")
        else:
            after = w.op(f"add {scalar} {before}, {w.op(f'mul {scalar} {a}, {b}')}")
        w.do(f"store {scalar} {after}, ptr {chain}")

    t.units(unit)
    return end_gpu(t, name, TILE * TILE)

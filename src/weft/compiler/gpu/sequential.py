"""Renders :class:`Sequential` for GPUs: a thread for each inner element, which walks the steps."""

from __future__ import annotations

from collections.abc import Sequence

from ..kernels import Sequential
from ..lanes import LanePoint, RenderTarget, loop
from ..stages import grid_indices, piece, slots_of, write_stores
from .frame import THREADS, GpuLaunch, begin_gpu, elementwise_block, end_gpu


def launch_sequential(kernel: Sequential, ints: Sequence[int], units: int) -> GpuLaunch:
    """As many threads as a unit has inner elements."""
    return GpuLaunch(units, elementwise_block(kernel, ints))


def render_sequential(kernel: Sequential, name: str, target: RenderTarget) -> str:
    """LLVM IR (nvptx64) of one module that defines the entry ``name``."""
    extents = (*kernel.grid, kernel.steps, kernel.inner, kernel.block, kernel.blocks)
    t = begin_gpu(len(kernel.buffers), slots_of(kernel.stages, extents), target)

    def unit(number: str) -> None:
        *outer, block = grid_indices(t.frame, (*kernel.grid, kernel.blocks), number)
        lo, hi = piece(t.frame, block, kernel.block, kernel.inner)
        # Inner elements do not depend on each other (a CPU's units cut them anywhere), so each walks on its own.
        t.along_x(
            lo,
            hi,
            lambda i: loop(
                t.w,
                "0",
                t.frame.int_(kernel.steps),
                1,
                lambda step: write_stores(LanePoint(t.frame, [*outer, step, i], 1), kernel.stages),
            ),
        )

    t.units(unit)
    return end_gpu(t, name, THREADS)

"""Renders :class:`Sequential` for CPUs: steps in order, each reading what earlier ones wrote.

Naive meaning::

    for unit in range(begin, end):                     # a grid point and a block of the inner axis
        for step in range(steps):
            for i in range(lo, hi): values = [store.value for each store];  write them in order
"""

from __future__ import annotations

from .emit import Module, Writer, emit_exprs
from .kernels import Sequential, Slot
from .lanes import Frame, LanePoint, MemoryTarget, begin_kernel, end_kernel, loop, vector_loop
from .nest import ATTRIBUTES, grid_indices, slots_of

__all__ = ["render_sequential"]


def render_sequential(kernel: Sequential, name: str, target: MemoryTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    module = Module()
    w = Writer(module)
    extents = (*kernel.grid, kernel.steps, kernel.inner, kernel.block, kernel.blocks)
    frame = begin_kernel(
        w, len(kernel.buffers), slots_of(kernel.stores, [x for x in extents if isinstance(x, Slot)]), target
    )
    loop(w, "%begin", "%end", 1, lambda unit: _unit(kernel, frame, unit))
    end_kernel(frame, name)
    return module.text() + ATTRIBUTES


def _unit(kernel: Sequential, frame: Frame, unit: str) -> None:
    w = frame.w
    *outer, block = grid_indices(frame, (*kernel.grid, kernel.blocks), unit)
    lo = w.arithmetic("mul", frame.int_(kernel.block), block)
    stop = w.arithmetic("add", lo, frame.int_(kernel.block))
    hi = w.op(f"call i64 @llvm.smin.i64(i64 {stop}, i64 {frame.int_(kernel.inner)})")

    def step(number: str) -> None:
        def body(i: str, lanes: int, mask: str | None) -> None:
            point = LanePoint(frame, [*outer, number, i], lanes, mask)
            first = LanePoint(frame, [*outer, number, lo], 1)
            # Scatter indices do not vary along the lanes: computed once, as scalars.
            indices = [emit_exprs(w, s.indices, first) for s in kernel.stores]
            values = emit_exprs(w, [s.value for s in kernel.stores], point)
            for store, value, at in zip(kernel.stores, values, indices, strict=True):
                point.store(store, value, at)

        if kernel.inner == 1:
            body(lo, 1, None)
        else:
            vector_loop(frame, lo, hi, body)

    loop(w, "0", frame.int_(kernel.steps), 1, step)

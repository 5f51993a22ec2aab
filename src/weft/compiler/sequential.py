"""Renders :class:`Sequential` for CPUs: steps in order, each reading what earlier ones wrote.

Naive meaning::

    for unit in range(begin, end):                     # a grid point and a block of the inner axis
        for step in range(steps):
            for i in range(lo, hi): values = [store.value for each store];  write them in order
"""

from __future__ import annotations

from .emit import emit_exprs, register_type
from .expr import Expr, topological
from .kernels import Sequential
from .lanes import Frame, LanePoint, RenderTarget, loop, vector_loop
from .stages import begin_units, end_units, grid_indices, piece


def render_sequential(kernel: Sequential, name: str, target: RenderTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    frame = begin_units(kernel, (*kernel.grid, kernel.steps, kernel.inner, kernel.block, kernel.blocks), target)
    carried = _carried(kernel) if kernel.inner == 1 else None
    cell = frame.w.op(f"alloca {register_type(carried.dtype, 1)}", "carry") if carried else ""
    return end_units(frame, name, lambda unit: _unit(kernel, frame, unit, carried, cell))


def _carried(kernel: Sequential) -> Expr | None:
    """The load whose value the step before computed, if the kernel has one."""
    for node in topological([s.value for s in kernel.stages]):
        if node.op == "load" and node.value.buf == kernel.carry:
            return node
    return None


def _unit(kernel: Sequential, frame: Frame, unit: str, carried: Expr | None, cell: str) -> None:
    w = frame.w
    *outer, block = grid_indices(frame, (*kernel.grid, kernel.blocks), unit)
    lo, hi = piece(frame, block, kernel.block, kernel.inner)

    def step(number: str) -> None:
        def body(i: str, lanes: int, mask: str | None) -> None:
            point = LanePoint(frame, [*outer, number, i], lanes, mask)
            first = LanePoint(frame, [*outer, number, lo], 1)
            # Scatter indices do not vary along the lanes: computed once, as scalars.
            indices = [emit_exprs(w, s.indices, first) for s in kernel.stages]
            known = {id(carried): w.op(f"load {register_type(carried.dtype, 1)}, ptr {cell}")} if carried else None
            values = emit_exprs(w, [s.value for s in kernel.stages], point, known)
            if carried:
                w.do(f"store {register_type(carried.dtype, 1)} {values[0]}, ptr {cell}")
            for store, value, at in zip(kernel.stages, values, indices, strict=True):
                point.store(store, value, at)

        if kernel.inner == 1:
            body(lo, 1, None)
        else:
            vector_loop(frame, lo, hi, body)

    if carried:  # in a register once LLVM has promoted the cell: a sum then costs one addition's latency a step
        start = LanePoint(frame, [*outer, "0", lo], 1).load(carried.value)
        w.do(f"store {register_type(carried.dtype, 1)} {start}, ptr {cell}")
    loop(w, "0", frame.int_(kernel.steps), 1, step)

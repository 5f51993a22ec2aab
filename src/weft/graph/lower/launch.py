"""A launch: one kernel with everything it needs at run time, and the tools that every lowering builds one with.

Kernels are pure structure (no size stands in them), so the same kernel serves every shape; sizes, strides, offsets and
constants are the launch's integers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ...compiler.expr import Expr, leaf, rebuild, topological
from ...compiler.kernels import Access, Int, Kernel, Slot
from ...core import dtypes as dt
from ...core.dtypes import DType
from ..ir import Node, Value
from ..protocol import Layout

__all__ = ["Axes", "Launch", "LaunchBuilder", "cost_of", "map_layouts", "order_of"]

FREE = ("const", "param", "ref")  # expressions that are no instruction of their own
TASK_WORK = 24_000  # vector-instruction lanes worth a task of its own: some microseconds


@dataclass(slots=True, eq=False)
class Launch:
    """A kernel, its integers, its buffers (value, byte offset), its units, and what it does (for explanations)."""

    kernel: Kernel
    ints: tuple[int, ...]
    buffers: tuple[tuple[Value, int], ...]
    units: int
    grain: int
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    in_place: frozenset[tuple[Value, Value]]  # (written, read): the write may take the read's memory
    nodes: tuple[Node, ...] = ()
    flops: int = 0
    checks: bool = False  # whether an index may be out of range: the program then ends with this launch
    copies: tuple[Value, Value] | None = None  # (written, read): nothing but a copy, needless where both have one place
    guards: bool = False  # it checks indices that a later launch writes with, and does nothing else


class Axes:
    """The iteration axes of a kernel, merged where every access allows it.

    ``groups`` are ranges of axes that may be merged among themselves; they are taken in the order ``order``.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        layouts: Sequence[Layout],
        groups: Sequence[tuple[int, int]],
        order: Sequence[int] | None = None,
    ):
        self.sizes: list[int] = []
        self.counts: list[int] = []  # merged axes of each group
        self._last: list[int] = []  # the original axis whose stride is the merged axis's
        for start, stop in groups:
            merged: list[list[int]] = []
            for axis in (order or range(len(sizes)))[start:stop]:
                if sizes[axis] == 1:
                    continue
                if merged and all(
                    layout.strides[merged[-1][-1]] == layout.strides[axis] * sizes[axis] for layout in layouts
                ):
                    merged[-1].append(axis)
                else:
                    merged.append([axis])
            self.counts.append(len(merged))
            for axes in merged:
                size = 1
                for axis in axes:
                    size *= sizes[axis]
                self.sizes.append(size)
                self._last.append(axes[-1])

    def strides(self, layout: Layout) -> list[int]:
        """The layout's strides over the merged axes."""
        return [layout.strides[axis] for axis in self._last]

    def permute(self, order: Sequence[int]) -> None:
        """Put the merged axes into another order."""
        self.sizes = [self.sizes[a] for a in order]
        self._last = [self._last[a] for a in order]


def order_of(place: Layout, layouts: Sequence[Layout]) -> list[int] | None:
    """The order of the axes in the memory that is written, where nothing is read in another: a column-major tensor is
    then walked from one end to the other. None: as the axes come."""
    order = sorted(range(len(place.shape)), key=lambda axis: -place.strides[axis])
    for layout in layouts:
        steps = [layout.strides[axis] for axis in order if layout.strides[axis] and layout.shape[axis] != 1]
        if any(a < b for a, b in pairwise(steps)):
            return None
    return order


class LaunchBuilder:
    """Collects the buffers and integers of one kernel and rewrites leaves into accesses."""

    def __init__(self) -> None:
        self.ints: list[int] = []
        self.buffers: list[tuple[Value, int]] = []
        self.dtypes: list[DType] = []
        self.reads: dict[Value, None] = {}
        self.writes: dict[Value, None] = {}
        self.checks = False  # set where the kernel looks at indices that it is given
        self._accesses: dict[tuple[object, ...], Access] = {}

    def slot(self, value: int) -> Slot:
        """A new runtime integer. Equal numbers get slots of their own: structure must not depend on coincidence."""
        self.ints.append(int(value))
        return Slot(len(self.ints) - 1)

    def stride(self, value: int, inner: bool) -> Int:
        """0, and on the innermost axis 1, are structure."""
        return value if value == 0 or (inner and value == 1) else self.slot(value)

    def access(self, value: Value, offset: int, strides: Sequence[int], write: bool = False) -> Access:
        """The access of a buffer; equal reads share one."""
        key = (value, offset, tuple(strides), write)
        if key not in self._accesses:
            self.buffers.append((value, offset * value.dtype.itemsize))
            self.dtypes.append(value.dtype)
            coded = tuple(self.stride(s, axis == len(strides) - 1) for axis, s in enumerate(strides))
            self._accesses[key] = Access(len(self.buffers) - 1, value.dtype, 0, coded)
            (self.writes if write else self.reads)[value] = None
        return self._accesses[key]

    def index(self, offset: int, strides: Sequence[int]) -> Access:
        """The access form of an index: a sum of positions."""
        coded = tuple(self.stride(s, axis == len(strides) - 1) for axis, s in enumerate(strides))
        return Access(0, dt.int64, 0 if offset == 0 else self.slot(offset), coded)

    def param(self, value: Any, dtype: DType) -> Expr:
        """A constant given at run time."""
        return Expr("param", dtype, (), self.slot(bits_of(value, dtype)))

    def rewrite(self, roots: Sequence[Expr], strides: Callable[[Layout], list[int]]) -> list[Expr]:
        """The expressions with accesses for layouts and slots for constants; ``strides`` gives a layout's strides over
        the kernel's iteration axes."""

        def change(node: Expr, args: tuple[Expr, ...]) -> Expr | None:
            if node.op == "read":
                value, layout = node.value
                return leaf("load", node.dtype, self.access(value, layout.offset, strides(layout)))
            if node.op == "position":
                return leaf("index", dt.int64, self.index(node.value.offset, strides(node.value)))
            if node.op == "param":
                return self.param(node.value, node.dtype)
            if node.op == "gather":
                self.checks = True
                value, layout, steps = node.value
                access = self.access(value, layout.offset, strides(layout))
                return Expr("gather", node.dtype, args, (access, tuple((self.slot(n), self.slot(s)) for n, s in steps)))
            return None

        return rebuild(roots, change)

    def launch(
        self,
        kernel: Kernel,
        units: int,
        work: float,
        in_place: frozenset[tuple[Value, Value]] = frozenset(),
        nodes: Sequence[Node] = (),
        flops: int = 0,
        grain: int | None = None,
    ) -> Launch:
        """The finished launch; ``work`` is the cost of one unit."""
        if grain is None:
            grain = max(1, int(TASK_WORK / max(work, 1.0)))
        return Launch(
            kernel,
            tuple(self.ints),
            tuple(self.buffers),
            units,
            grain,
            tuple(self.reads),
            tuple(self.writes),
            in_place,
            tuple(nodes),
            flops,
            self.checks,
        )


def bits_of(value: Any, dtype: DType) -> int:
    """The bits of a scalar of ``dtype`` as a signed 64-bit integer."""
    import numpy as np

    raw = np.asarray(value).astype(dtype.numpy).tobytes()
    return struct.unpack("<q", raw.ljust(8, b"\0"))[0]


def cost_of(exprs: Sequence[Expr]) -> int:
    """Rough number of instructions for one vector of points."""
    return sum([n.op not in FREE for n in topological(exprs)])


def map_layouts(
    roots: Sequence[Expr],
    move: Callable[[Layout], Layout],
    computed: Callable[[Value], Expr | None] = lambda value: None,
) -> list[Expr]:
    """The expressions with every layout moved; reads of values that ``computed`` knows become its expressions, which
    are in place already."""

    def change(node: Expr, args: tuple[Expr, ...]) -> Expr | None:
        if node.op == "read":
            value, layout = node.value
            found = computed(value)
            return leaf("read", node.dtype, (value, move(layout))) if found is None else found
        if node.op == "position":
            return leaf("position", node.dtype, move(node.value))
        if node.op == "gather":
            value, layout, steps = node.value
            return Expr("gather", node.dtype, args, (value, move(layout), steps))
        return None

    return rebuild(roots, change)

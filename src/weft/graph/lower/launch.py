"""Launches: a kernel with everything it needs at run time, and what every lowering builds one with.

Kernels are pure structure (no size stands in them), so the same kernel serves every shape; sizes, strides, offsets and
constants are the launch's integers, one in each *slot* of the kernel. An integer may be a size of a scope: a new size
then costs the integers and no lowering (graph/sized.py).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

from ...compiler.expr import Expr, instructions, leaf, rebuild, topological
from ...compiler.kernels import (
    CACHE_LINE,
    LANES,
    STREAMED,
    Access,
    Contraction,
    Int,
    Ints,
    Kernel,
    Reduce,
    Slot,
    Store,
    Windowed,
)
from ...core import dtypes as dt
from ...core.dtypes import DType
from ...core.symbolic import Dim, SymDim, computed, typical
from ..ir import Node, Value
from ..protocol import Layout

if TYPE_CHECKING:
    from .control import ControlCall
    from .host import HostCall

TASK_WORK = 24_000  # vector-instruction lanes worth a task of its own: a microsecond, as a rule
FLOPS = 100_000  # of a contraction in a microsecond
FEW, SLOWER = 4, 4  # rows, at most, of products with windows that are so many times slower than that
BYTES = 20_000  # that one thread reads from memory in a microsecond: what a product with a vector takes


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Launch:
    """A kernel, its integers, its buffers (value, byte offset), its units, and what it does (for explanations)."""

    kernel: Kernel | HostCall | ControlCall
    ints: tuple[Any, ...]  # it and the other numbers: integers, or sizes of a scope
    buffers: tuple[tuple[Value, Any], ...]
    units: Any
    grain: Any
    reads: tuple[Value, ...]
    writes: tuple[Value, ...]
    in_place: tuple[tuple[Value, Value], ...]  # (written, read): the write may take the read's memory
    nodes: tuple[Node, ...] = ()
    flops: Any = 0
    checks: bool = False  # whether it may fail (an index out of range, Python code): the program then ends with it
    copies: tuple[Value, Value] | None = None  # (written, read): nothing but a copy, needless where both have one place
    guards: bool = False  # it checks indices that a later launch writes with, and does nothing else

    @property
    def work(self) -> Any:
        """About so many microseconds of one thread."""
        if isinstance(self.kernel, Contraction):
            nbytes = sum(prod(v.shape) * v.dtype.itemsize for v in self.reads)
            return computed(_contracting, self.effort, nbytes)
        return computed(_tasks, self.flops)

    @property
    def effort(self) -> Any:
        """``flops``, as if all were done at the rate of the quickest kernels."""
        return effort_of(self.kernel, self.ints, self.flops) if isinstance(self.kernel, Contraction) else self.flops

    def __repr__(self) -> str:
        head = f"{type(self.kernel).__name__} units={self.units} grain={self.grain} ints={self.ints}"
        notes = ("checks", self.checks), ("copies", self.copies), ("guards", self.guards)
        lines = [" ".join([head, *(name for name, on in notes if on)])]
        names: dict[Value, str] = {}
        for number, (value, offset) in enumerate(self.buffers):
            name = names.setdefault(value, f"v{len(names)}")
            use = "/".join(["read"] * (value in self.reads) + ["written"] * (value in self.writes))
            lines.append(f"b{number} = {name}: {value.type}" + (f" + {offset} bytes" if offset else "") + f" {use}")
        same = [f"{names[new]} may take the place of {names[old]}" for new, old in self.in_place]
        return "\n  ".join([*lines, *same])


class LaunchBuilder:
    """Collects the buffers and integers of one kernel and rewrites leaves into accesses. ``near``: the greatest stride
    on the innermost axis that is structure; ``together``: whether one of 1 on the axis before it is."""

    def __init__(self, near: int = 1, together: bool = False) -> None:
        self.near, self.together = near, together
        self.ints: list[Any] = []
        self.buffers: list[tuple[Value, Any]] = []
        self.dtypes: list[DType] = []
        self.reads: dict[Value, None] = {}
        self.writes: dict[Value, None] = {}
        self.checks = False  # set where the kernel looks at indices that it is given
        self._accesses: dict[tuple[object, ...], Access] = {}

    def slot(self, value: Dim) -> Slot:
        """A new runtime integer. Equal numbers get slots of their own: structure must not depend on coincidence."""
        self.ints.append(value if isinstance(value, SymDim) else int(value))
        return Slot(len(self.ints) - 1)

    def slots(self, values: Sequence[Dim]) -> tuple[Slot, ...]:
        """New runtime integers."""
        return tuple([self.slot(value) for value in values])

    def extents(self, sizes: Sequence[Dim]) -> Ints:
        """The extents of one axis, or of several that are walked as one."""
        return self.slots(sizes) if len(sizes) > 1 else self.slot(sizes[0])

    def strides(self, values: Sequence[Dim]) -> tuple[Int, ...]:
        """Strides as a kernel has them: 0, and on the innermost axes those of ``near`` and ``together``, are
        structure."""
        last = len(values) - 1
        most = {last: self.near, last - 1: int(self.together)}
        return tuple(
            [s if isinstance(s, int) and 0 <= s <= most.get(axis, 0) else self.slot(s) for axis, s in enumerate(values)]
        )

    def access(self, value: Value, offset: Dim, strides: Sequence[Dim], write: bool = False) -> Access:
        """The access of a buffer; equal reads share one."""
        key = (value, offset, tuple(strides), write)
        if key not in self._accesses:
            self.buffers.append((value, max(offset, 0) * value.dtype.itemsize))
            self.dtypes.append(value.dtype)
            before: Int = self.slot(offset) if offset < 0 else 0  # nothing is read before the first element
            self._accesses[key] = Access(len(self.buffers) - 1, value.dtype, before, self.strides(strides))
            (self.writes if write else self.reads)[value] = None
        return self._accesses[key]

    def index(self, offset: Dim, strides: Sequence[Dim]) -> Access:
        """The access form of an index: a sum of positions."""
        coded = self.strides(strides)
        return Access(0, dt.int64, 0 if offset == 0 else self.slot(offset), coded)

    def store(self, target: Value, offset: Dim, strides: Sequence[Dim], value: Expr, scalar: bool = False) -> Store:
        """The stage that writes ``value``."""
        return Store(self.access(target, offset, strides, write=True), value, scalar)

    def streams(self, sizes: Sequence[Dim], stores: Sequence[Reduce | Store]) -> bool:
        """Whether stores at all points of ``sizes`` write more than STREAMED bytes, as a rule, and each, with the LANES
        points of a vector, whole lines."""

        def is_whole(store: Store) -> bool:
            *outer, last = store.access.strides
            size, (_, offset) = store.access.dtype.itemsize, self.buffers[store.access.buf]
            far = [typical(s if isinstance(s, int) else self.ints[s.index]) * size for s in outer]
            wide = size * LANES >= CACHE_LINE and last == 1 and not store.indices
            return wide and not any(nbytes % CACHE_LINE for nbytes in (*far, typical(offset)))

        written = [stage for stage in stores if isinstance(stage, Store) and not stage.scalar]
        nbytes = sum(store.access.dtype.itemsize for store in written) * typical(prod(sizes))
        return nbytes > STREAMED and all(map(is_whole, written))

    def param(self, value: Any, dtype: DType) -> Expr:
        """A constant given at run time."""
        bits = computed(_bits_in(dtype), value) if isinstance(value, SymDim) else bits_of(value, dtype)
        return Expr("param", dtype, (), self.slot(bits))

    def rewrite(self, roots: Sequence[Expr], strides: Callable[[Layout], list[Dim]]) -> list[Expr]:
        """The expressions with accesses for layouts and slots for constants; ``strides`` gives a layout's strides over
        the kernel's iteration axes."""

        def change(node: Expr, args: tuple[Expr, ...]) -> Expr | None:
            if node.op == "read":
                value, layout = node.value
                return Expr("load", node.dtype, args, self.access(value, layout.offset, strides(layout)))
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
        units: Dim,
        grain: Dim,
        nodes: Sequence[Node],
        flops: Dim,
        in_place: tuple[tuple[Value, Value], ...] = (),
    ) -> Launch:
        """The finished launch."""
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


def reduce_stage(
    builder: LaunchBuilder, op: str, value: Expr, dtype: DType, sizes: Sequence[Dim], walked: tuple[int, int]
) -> Reduce:
    """The stage that reduces ``value``; argmax and argmin give positions on the axes ``walked`` of ``sizes``."""
    if not op.startswith("arg"):
        return Reduce(op, value, dtype)
    start, stop = walked
    steps: list[Int] = [0] * len(sizes)
    steps[stop - 1] = 1
    for axis in range(start, stop - 1):
        steps[axis] = builder.slot(prod(sizes[axis + 1 : stop]))
    return Reduce(op, value, dtype, leaf("index", dt.int64, Access(0, dt.int64, 0, tuple(steps))))


def _tasks(work: float) -> int:
    return max(1, int(work / TASK_WORK))


def _contracting(flops: float, nbytes: float) -> int:
    return max(1, int(flops / FLOPS), int(nbytes / BYTES))


def effort_of(kernel: Contraction, ints: Sequence[Any], flops: Any) -> Any:
    """``flops``, as many more as a kernel takes longer than tiles do: with few rows, as depthwise convolutions have,
    and their gradients, each window is read for few products. (One thread: 21 to 35 GFLOP/s, where tiles do 100.)"""
    few = isinstance(kernel.b, Windowed) and typical(ints[kernel.m.index]) <= FEW
    return flops * SLOWER if few else flops


def grain_of(work: float) -> int:
    """How many units, each of which costs ``work``, are worth a task of their own."""
    return max(1, int(TASK_WORK / max(work, 1.0)))


def pieces(size: Dim, block: int) -> Dim:
    """Number of blocks of ``block`` elements that ``size`` elements are cut into."""
    return -(-size // block)


def bits_of(value: Any, dtype: DType) -> int:
    """The bits of a scalar of ``dtype`` as a signed 64-bit integer."""
    import numpy as np

    with np.errstate(over="ignore"):  # a size beyond a float16 is infinite
        raw = np.asarray(value).astype(dtype.numpy).tobytes()
    return struct.unpack("<q", raw.ljust(8, b"\0"))[0]


@cache
def _bits_in(dtype: DType) -> Callable[[int], int]:
    """The bits of a size in a dtype, as one function for each."""
    return lambda size: bits_of(size, dtype)


def cost_of(exprs: Sequence[Expr]) -> int:
    """Rough number of instructions for one vector of points."""
    return instructions(topological(exprs))

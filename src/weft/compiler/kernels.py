"""Kernels: target-neutral loop nests over scalar expressions, and the one ABI that all of them share.

A kernel is *structure*: ranks, dtypes, which strides are 0 or 1, the expressions. Every size, stride and offset is a
runtime integer (a :class:`Slot`), so that one compiled kernel serves every shape of the same structure.

**ABI.** ``i64 kernel(ptr bufs, ptr ints, i64 begin, i64 end, ptr scratch)``

- ``bufs[k]`` points at the first byte of buffer *k* (an Access adds its offset);
- ``ints[s]`` is the int64 of Slot *s*; strides and offsets are in elements;
- units ``begin <= u < end`` of the kernel's grid are computed; disjoint ranges may run at the same time;
- ``scratch`` is ``SCRATCH_BYTES`` of 64-byte aligned memory that belongs to the calling thread;
- the result is a set of status bits: bit 0 says that an index was out of range (nothing was read or written there).

A kernel for a target that is ``checked`` expects more integers in front of its own (compiler/checked.py).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ..core.dtypes import DType
from ..runtime import native
from .expr import Expr, expanded, topological

if TYPE_CHECKING:
    from ..llvm.targets import Target

LANES = 16  # points computed at a time: 64 bytes of float32, one zmm, two ymm or four q registers
REDUCE_LANES = 64  # partial accumulators of a reduction (numerics contract, 2)
REDUCE_CHUNK = 1 << 15  # elements of one chunk of a long reduction (numerics contract, 2)
COLUMNS = 64  # widest block of a ColumnReduce: four vectors
WINDOW = 32  # most elements of a window whose sizes are structure: its partial results are registers
K_BLOCK = 256  # length of one fma chain of a contraction (numerics contract, 3)
CAUSAL_STEP = 32  # keys after a query's own are looked at up to a multiple of it (numerics contract, 3)
STREAMED = 12 << 20  # bytes of results, of which the caches keep little until somebody reads them
CACHE_LINE = 64  # bytes of a line of memory
SCRATCH_BYTES = native.SCRATCH_BYTES
STATUS_INDEX = 1  # an index was out of range


@dataclass(frozen=True, slots=True)
class Slot:
    """A runtime int64: position in the kernel's ``ints``."""

    index: int

    def __repr__(self) -> str:
        return f"${self.index}"


Int = int | Slot  # a stride or extent: 0 and 1 are structure, everything else is a Slot (but see ColumnReduce)
Ints = Int | tuple[Int, ...]  # the extents of axes that are walked as one, in row-major order


@dataclass(frozen=True, slots=True)
class Access:
    """Element (i0, i1, ...) of the iteration space lies at ``bufs[buf][offset + sum(strides[a] * i_a)]``."""

    buf: int
    dtype: DType
    offset: Int
    strides: tuple[Int, ...]

    def __repr__(self) -> str:
        return f"b{self.buf}:{self.dtype.name}[{self.offset}; {', '.join(map(repr, self.strides))}]"


Counted = tuple[tuple[Slot, Int], ...]  # (size, stride) of axes that one number counts, the last axis fastest


@dataclass(frozen=True, slots=True)
class Edge:
    """An axis of the tensor under a :class:`Windowed`, of ``size`` elements, which windows leave: what lies outside is
    0, and is not read.

    An element's index on it is ``start + index on axis row[0] of the rows * row[1] + index on axis column[0] of the
    columns * column[1]``; it is there where ``0 <= index < size``.
    """

    size: Slot
    start: Int
    row: tuple[int, Int]
    column: tuple[int, Int]

    def __repr__(self) -> str:
        return f"0<={self.start!r}+r{self.row[0]}*{self.row[1]!r}+c{self.column[0]}*{self.column[1]!r}<{self.size!r}"


MOST_EDGES = 3  # of a Windowed: there is room for so many in the tables of a contraction


@dataclass(frozen=True, slots=True)
class Windowed:
    """A matrix whose rows or columns are several axes that are not one in memory, as of overlapping windows.

    Element (batch..., i, j) lies at ``bufs[buf][offset + sum(strides[a] * batch_a) + along(rows, i) + along(columns,
    j)]``, where ``along`` takes a number apart::

        def along(axes, number):
            total = 0
            for size, stride in reversed(axes):
                number, index = divmod(number, size)
                total += index * stride
            return total

    but where one of ``edges`` says that it is not there: then it is 0.
    """

    buf: int
    dtype: DType
    offset: Int
    strides: tuple[Int, ...]
    rows: Counted
    columns: Counted
    edges: tuple[Edge, ...] = ()

    def __repr__(self) -> str:
        batch = "".join(f" {stride!r}," for stride in self.strides)
        rows, columns = (" ".join(f"{n!r}*{s!r}" for n, s in axes) for axes in (self.rows, self.columns))
        edges = "".join(f"; {edge!r}" for edge in self.edges)
        return f"b{self.buf}:{self.dtype.name}[{self.offset};{batch} {rows}, {columns}{edges}]"


@dataclass(frozen=True, slots=True)
class Reduce:
    """Stage: reduce ``value`` over the reduced axis with ``op``; later stages read it as ``ref`` number *order*.

    op: sum prod max min any all (dtype of value; max/min give NaN when there is one; sum and prod of bools are any and
    all), argmax argmin (int64: the first position; a NaN wins, the first NaN). For argmax and argmin ``position`` is
    the int64 that stands for the element.
    """

    op: str
    value: Expr
    dtype: DType
    position: Expr | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """Stage: write ``value`` at ``access`` for each point; ``scalar``: once per grid point (after a reduction).

    ``indices`` and ``steps`` make it a scatter, as in :func:`weft.compiler.expr.gather`: an index out of range writes
    nothing and sets status bit 0.
    """

    access: Access
    value: Expr
    scalar: bool = False
    indices: tuple[Expr, ...] = ()
    steps: tuple[tuple[Int, Int], ...] = ()


def extents_of(walked: Ints) -> tuple[Int, ...]:
    """The extents of one axis, or of several that are walked as one."""
    return walked if isinstance(walked, tuple) else (walked,)


class Printed:
    """Kernels print as :func:`describe` has them; ``llvm()`` and ``asm()`` show what becomes of them."""

    __slots__ = ()

    def __str__(self) -> str:
        return describe(self)  # type: ignore[arg-type]

    def llvm(self, target: Target | None = None) -> str:
        """LLVM IR for a target (:class:`weft.llvm.targets.Target`); the host by default."""
        from ..llvm.targets import host_target
        from .build import ENTRY, render

        return render(self, ENTRY, target or host_target())  # type: ignore[arg-type]

    def asm(self, target: Target | None = None) -> str:
        """Assembly for a target; the host by default."""
        from ..llvm.assembly import assembly
        from ..llvm.targets import host_target

        target = target or host_target()
        return assembly(self.llvm(target), target)


@dataclass(frozen=True, slots=True)
class Nest(Printed):
    """Grid axes x one inner (vector) axis; stages run in order, each a loop over the inner axis.

    Iteration axes are ``(*grid, inner)``; every Access has one stride for each. A unit is one point of the grid and
    one block: the inner axis is cut into ``blocks`` pieces of ``block`` elements (the last may be
    shorter). Reductions reduce over one block; ``block_axis`` says that accesses have one more stride, after the
    grid's and before the inner one, for the number of the block (partial results of a long reduction).

    ``inner`` may be several axes, which are not one in memory: they are walked as one, lanes along the last. Accesses
    have a stride for each.

    ``together``: where it is not 1, there is an axis of so many points (2 or 4) before the inner one, for which
    accesses have a stride too, and no reduction. Its points belong to one unit and are computed at a time: where what
    they write lies side by side (doubled images, what is put together by twos), it is written by vectors. On that axis
    a stride of 1 is structure, on the inner one each up to ``together``.

    ``streams``: what it writes is, as a rule, more than STREAMED bytes, and whole lines of memory: stores go around the
    caches then (lanes.py).
    """

    grid: tuple[Slot, ...]
    inner: Ints
    block: Int
    blocks: Int
    stages: tuple[Reduce | Store, ...]
    buffers: tuple[DType, ...]
    block_axis: bool = False
    together: int = 1
    streams: bool = False


@dataclass(frozen=True, slots=True)
class ColumnReduce(Printed):
    """Reduce over a slow axis: iteration axes ``(*grid, reduced, inner)``, vector lanes along ``inner``.

    Stages: Reduce stages first (values over all axes), then Store stages (accesses with stride 0 on ``reduced``;
    ``ref`` leaves vary along ``inner``). A unit is one point of ``(*grid, chunks, blocks)``: ``blocks`` pieces of
    ``block`` columns, ``chunks`` pieces of ``chunk`` reduced elements; ``chunk_axis`` gives accesses one more stride,
    after the grid's, for the number of the chunk.

    ``reduced`` may be several axes, which are not one in memory (a window of two axes): they are walked as one, and
    accesses have a stride for each; ``chunk`` 0 means that they are one chunk. Of a window of at most ``WINDOW``
    elements the sizes are structure, and so is a stride of 2 along ``inner``.
    """

    grid: tuple[Slot, ...]
    reduced: Ints
    chunk: Int
    chunks: Int
    inner: Int
    block: Int
    blocks: Int
    stages: tuple[Reduce | Store, ...]
    buffers: tuple[DType, ...]
    chunk_axis: bool = False


@dataclass(frozen=True, slots=True)
class Contraction(Printed):
    """``acc[batch..., m, n] = sum_k a[batch..., m, k] * b[batch..., k, n]``, then the epilogue: stages that store.

    ``a`` has strides for ``(*batch, m, k)``, ``b`` for ``(*batch, k, n)``; the epilogue's accesses (loads and stores)
    for ``(*batch, m, n)``, where ``acc`` is the finished sum, of dtype ``accumulate``: float32 for float16, bfloat16
    and float32; float64; the integers as they are (wrapping). Each K block of K_BLOCK is one fma chain from zero in
    increasing k; block sums are added in order. With k == 0, acc is 0.

    An operand whose m, n or k is several axes is a :class:`Windowed`; each has axes of its own, so that what is one
    axis to the other operand and to the epilogue stays one there. ``b`` alone may have edges, MOST_EDGES of them.

    Slots ``batch`` are the sizes of the batch axes. Units: see ``compiler/contraction/plan.py``, which also has the
    modes that these are computed in, of which a launch takes one. ``modes``: those that the kernel has, so that the
    others are not compiled for nothing; None: all. ``streams``: as of a Nest.
    """

    batch: tuple[Slot, ...]
    m: Slot
    n: Slot
    k: Slot
    a: Access | Windowed
    b: Access | Windowed
    accumulate: DType
    stages: tuple[Store, ...]
    buffers: tuple[DType, ...]
    modes: tuple[int, ...] | None = None
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Sequential(Printed):
    """Steps in order, each reading what earlier ones wrote: iteration axes ``(*grid, step, inner)``.

    A unit is one point of ``(*grid, blocks)`` (blocks of ``block`` inner elements); within it the steps run in
    increasing order and, at each, the values of all stores are computed before the first is written. Scatter indices
    must not vary along ``inner``. Cumulative sums, scatter-add and the Fisher-Yates shuffle are of this kind.

    ``carry`` names the buffer of a load that reads, at every step, what the only store wrote in the step before: a
    renderer may keep that value in a register.
    """

    grid: tuple[Slot, ...]
    steps: Slot
    inner: Int
    block: Int
    blocks: Int
    stages: tuple[Store, ...]
    buffers: tuple[DType, ...]
    carry: int | None = None


@dataclass(frozen=True, slots=True)
class Attention(Printed):
    """Weights of pairs (m, k), computed where they are wanted and stored nowhere, and what they sum.

    ``pair[p][batch..., m, k] = sum_d a[batch..., m, d] * b[batch..., k, d]`` for each of ``products`` (a, b, size of
    d), chained as a Contraction's sums; what follows are the stages, in order:

    - a Reduce reduces over k for each m, in the order of numerics contract 2. Its value at a pair takes the place of
      product 0 for whoever comes later;
    - a scalar Store writes a value for each m;
    - the other Stores, which come last, have a weight as their value: the i-th writes, at (batch..., m, n), the sum
      over k of weights times ``sums[i]`` (c over (batch..., k, n), size of n), chained as a Contraction's, begun with
      +0.0.

    Leaf ``ref`` number p < len(products) is product p, the following ones are the finished reductions. Iteration axes
    are ``(*batch, k, m)``, of stores that write sums ``(*batch, m, n)``.

    ``causal``: 1: only pairs k <= m are there, -1: only pairs m <= k. Of the others the first reduction's value is -inf
    and, where there is none, the weights are 0; those that are CAUSAL_STEP and more away are not looked at.

    A unit is one of ``blocks`` pieces of m, as wide as a register tile. All matrices are contiguous along d and n, and
    of dtype ``accumulate``.
    """

    batch: tuple[Slot, ...]
    m: Slot
    k: Slot
    blocks: Slot
    products: tuple[tuple[Access, Access, Slot], ...]
    sums: tuple[tuple[Access, Slot], ...]
    causal: int
    accumulate: DType
    stages: tuple[Reduce | Store, ...]
    buffers: tuple[DType, ...]


@dataclass(frozen=True, slots=True)
class Sort(Printed):
    """``result[row, :kept]``: the positions of the first ``kept`` elements of each row of ``source``, in ascending or
    descending order. Of equal elements the one at the lower position comes first; NaN is greater than all numbers.

    ``source`` has strides for (row, element), ``count`` of them, ``result``, of int64, for (row, place), where ``1 <=
    kept <= count``. ``room``, of int64, is what a unit works in, at its stride for (unit, word): twice ``space`` items
    of one word, or of two where they are ``wide``, as those of 64-bit elements and of rows of more than 2**32 must be.
    ``kept + LANES <= space`` or ``space == count``. A unit is a piece of ``block`` rows, one after the other.

    It has no stages: nothing is computed of the elements.
    """

    rows: Slot
    block: Slot
    count: Slot
    kept: Slot
    space: Slot
    source: Access
    result: Access
    room: Access
    descending: bool
    wide: bool
    buffers: tuple[DType, ...]
    stages: tuple[Store, ...] = ()


Kernel = Nest | ColumnReduce | Contraction | Sequential | Attention | Sort


def written_by(kernel: Kernel) -> set[int]:
    """The numbers of the buffers that a kernel writes."""
    if isinstance(kernel, Sort):
        return {kernel.result.buf, kernel.room.buf}
    return {stage.access.buf for stage in kernel.stages if isinstance(stage, Store)}


def whole(kernel: Kernel) -> Kernel:
    """The kernel with the bodies of functions in its expressions, as renderers want it."""
    stages = kernel.stages
    roots = [e for stage in stages for e in _roots(stage)]
    if not any(node.op == "call" for node in topological(roots)):
        return kernel
    made = iter(expanded(roots))
    found: list[Reduce | Store] = []
    for stage in stages:
        value, *others = [next(made) for _ in _roots(stage)]
        if isinstance(stage, Reduce):
            found.append(replace(stage, value=value, position=others[0] if others else None))
        else:
            found.append(replace(stage, value=value, indices=tuple(others)))
    return replace(kernel, stages=tuple(found))  # type: ignore[arg-type]


def _roots(stage: Reduce | Store) -> tuple[Expr, ...]:
    others = (stage.position,) if isinstance(stage, Reduce) else stage.indices
    return (stage.value, *[e for e in others if e is not None])


def describe(kernel: Kernel) -> str:
    """The kernel as text, one expression node a line. Equal text means equal structure, hence equal bits."""
    numbers: dict[int, int] = {}
    seen: dict[str, int] = {}
    lines: list[str] = []

    def number(root: Expr) -> str:
        for node in topological([root], numbers):
            value = "" if node.value is None else f" {node.value!r}"
            text = f"{node.op}:{node.dtype.name}{value} {' '.join([f'%{numbers[id(a)]}' for a in node.args])}".rstrip()
            if text not in seen:
                seen[text] = len(seen)
                lines.append(f"  %{seen[text]} = {text}")
            numbers[id(node)] = seen[text]
        return f"%{numbers[id(root)]}"

    head = []
    for item in fields(kernel):
        value = getattr(kernel, item.name)
        if item.name != "stages":
            head.append(f"{item.name}={value!r}")
    lines.insert(0, f"{type(kernel).__name__}({', '.join(head)})")
    for stage in kernel.stages:
        if isinstance(stage, Reduce):
            position = "" if stage.position is None else f" at {number(stage.position)}"
            lines.append(f"  reduce {stage.op}:{stage.dtype.name} {number(stage.value)}{position}")
        else:
            where = "".join(f" {number(i)}:{step}" for i, step in zip(stage.indices, stage.steps, strict=True))
            value = number(stage.value)
            lines.append(f"  {'scalar ' if stage.scalar else ''}store {stage.access!r}{where} {value}")
    return "\n".join(lines)

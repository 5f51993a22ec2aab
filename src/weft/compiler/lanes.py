"""Points of a loop nest as vector lanes: masks, loads, stores, gathers, and the loop that walks an axis.

The naive meaning of a vector loop is ``for i in range(lo, hi): body(i)``; bodies have no dependence between points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..core import dtypes as dt
from .emit import (
    Writer,
    element_pointer,
    emit_exprs,
    mangle,
    memory_type,
    offset_of,
    scalar_type,
    splat,
    vector_of,
)
from .expr import Expr, topological
from .kernels import CACHE_LINE, LANES, STATUS_INDEX, Access, Int, Slot, Store


class RenderTarget(Protocol):
    """What the renderers ask of a target."""

    @property
    def masked_memory(self) -> bool:
        """Masked vector loads and stores are as quick as plain ones."""


@dataclass(slots=True)
class Frame:
    """What all points of one kernel function share: registers of buffers and ints, and the status cell."""

    w: Writer
    buffers: list[str]
    ints: dict[int, str]
    status: str
    target: RenderTarget
    streams: str | None = None  # i1: stores go around the caches; see LanePoint._write

    def int_(self, value: Int) -> str:
        """i64 operand of a literal or Slot."""
        return self.ints[value.index] if isinstance(value, Slot) else str(value)


def begin_kernel(w: Writer, buffers: int, slots: Sequence[int], target: RenderTarget) -> Frame:
    """Emit the entry block: load the buffer pointers and the ints once."""
    w.label("entry")
    status = w.op("alloca i64", "status")
    w.do(f"store i64 0, ptr {status}")
    pointers = []
    for k in range(buffers):
        at = w.op(f"getelementptr ptr, ptr %bufs, i64 {k}", "p")
        pointers.append(w.op(f"load ptr, ptr {at}, !invariant.load !0", "buf"))
    ints = {}
    for s in sorted(set(slots)):
        at = w.op(f"getelementptr i64, ptr %ints, i64 {s}", "p")
        ints[s] = w.op(f"load i64, ptr {at}, align 8, !invariant.load !0", "int")
    return Frame(w, pointers, ints, status, target)


def end_kernel(frame: Frame, name: str) -> None:
    """Emit the return of the status and close the function."""
    w = frame.w
    if frame.streams:  # what went around the caches is seen by other threads from here on
        w.do("fence seq_cst")
    w.do(f"ret i64 {w.op(f'load i64, ptr {frame.status}')}")
    w.define(f"i64 @{name}(ptr noalias %bufs, ptr noalias %ints, i64 %begin, i64 %end, ptr noalias %scratch) #0")


@dataclass(slots=True)
class LanePoint:
    """Evaluates expressions at ``lanes`` consecutive points of the last axis.

    ``axes`` are the i64 registers of the iteration axes; the last is the first lane's position on the vector axis.
    ``mask`` (a register of i1 lanes) says which lanes exist; None means all. ``refs`` are finished reductions, each
    ``(register, lanes)``: one value, or one for each lane. ``uniform`` are scalar registers of expressions (by id) that
    do not vary along the lanes.
    """

    frame: Frame
    axes: list[str]
    lanes: int
    mask: str | None = None
    refs: list[tuple[str, int]] = field(default_factory=list)
    accumulator: str | None = None
    uniform: dict[int, str] = field(default_factory=dict)

    def leaf(self, node: Expr, arguments: list[str]) -> str:
        """Emit a leaf; see :class:`weft.compiler.emit.Point`."""
        if node.op == "load":
            return self.load(node.value, *arguments)
        if node.op == "gather":
            return self._gather(node, arguments)
        if node.op == "ref":
            register, lanes = self.refs[node.value]
            return splat(self.frame.w, scalar_type(node.dtype), register, self.lanes) if lanes == 1 else register
        if node.op == "acc":
            assert self.accumulator is not None
            return self.accumulator
        if node.op == "param":
            return self._param(node)
        return self._index(node.value)

    def _param(self, node: Expr) -> str:
        w, kind = self.frame.w, scalar_type(node.dtype)
        bits = self.frame.int_(node.value)
        if node.dtype is dt.bool_ or node.dtype.bits < 64:
            bits = w.op(f"trunc i64 {bits} to i{1 if node.dtype is dt.bool_ else node.dtype.bits}")
        if kind in ("half", "float", "double"):
            bits = w.op(f"bitcast i{node.dtype.bits} {bits} to {kind}")
        return splat(w, kind, bits, self.lanes)

    def load(self, access: Access, there: str | None = None) -> str:
        """The access's elements, converted from their form in memory (bool: byte) to registers; only those for which
        ``there`` is true, the others are anything."""
        w, dtype = self.frame.w, access.dtype
        element, stride = memory_type(dtype), access.strides[-1]
        pointer, mask = self._pointer(access), self.mask
        if there is not None and (self.lanes == 1 or stride == 0):
            pointer = self._safe(pointer, dtype, there)
        elif there is not None:
            mask = there if mask is None else w.op(f"and <{self.lanes} x i1> {there}, {mask}")
        if self.lanes == 1 or stride == 0:
            value = w.op(f"load {element}, ptr {pointer}, align {dtype.itemsize}")
            return splat(w, scalar_type(dtype), self._from_memory(value, dtype, 1), self.lanes)
        if stride == 1:
            value = load_lanes(w, dtype, pointer, self.lanes, mask)
        elif stride == 2:
            value = load_every_other(w, dtype, pointer, self.lanes, mask)
        else:
            value = self._gather_from(element, dtype.itemsize, self._lane_pointers(pointer, element, stride), mask)
        return self._from_memory(value, dtype, self.lanes)

    def _safe(self, pointer: str, dtype: dt.DType, there: str) -> str:
        """``pointer`` if ``there`` (in a lane that exists), else one at a constant: no branch, nothing is touched."""
        w = self.frame.w
        if self.lanes > 1:
            there = there if self.mask is None else w.op(f"and <{self.lanes} x i1> {there}, {self.mask}")
            there = w.op(f"call i1 @llvm.vector.reduce.or.v{self.lanes}i1(<{self.lanes} x i1> {there})")
        name, _ = w.module.constant_table(dtype, [0])
        return w.op(f"select i1 {there}, ptr {pointer}, ptr {name}")

    def store(self, store: Store, value: str, arguments: list[str]) -> None:
        """Write ``value`` at the store's access; ``arguments`` are the registers of its scatter indices."""
        w, access = self.frame.w, store.access
        dtype, element, stride = access.dtype, memory_type(access.dtype), access.strides[-1]
        pointer, mask = self._pointer(access), self.mask
        if store.indices:
            moved, inside = self._indexed(store.steps, arguments, 1)
            pointer = w.op(f"getelementptr {element}, ptr {pointer}, i64 {moved}", "p")
            mask = self._and_mask(inside)
        if dtype is dt.bool_:
            value = w.op(f"zext {vector_of('i1', self.lanes)} {value} to {vector_of('i8', self.lanes)}")
        vector = vector_of(element, self.lanes)
        if self.lanes == 1:
            if mask is None:
                w.do(f"store {element} {value}, ptr {pointer}, align {dtype.itemsize}")
            else:
                yes, no = w.fresh("write"), w.fresh("skip")
                w.do(f"br i1 {mask}, label %{yes}, label %{no}")
                w.label(yes)
                w.do(f"store {element} {value}, ptr {pointer}, align {dtype.itemsize}")
                w.do(f"br label %{no}")
                w.label(no)
        elif stride == 1 and not store.indices:
            self._write(dtype, pointer, value)
        elif stride == 1:
            store_lanes(w, dtype, pointer, value, self.lanes, mask)
        else:
            pointers = self._lane_pointers(pointer, element, stride)
            w.do(
                f"call void @llvm.masked.scatter.{mangle(element, self.lanes)}.v{self.lanes}p0({vector} {value}, "
                f"<{self.lanes} x ptr> align {dtype.itemsize} {pointers}, <{self.lanes} x i1> "
                f"{mask or 'splat (i1 true)'})"
            )

    def _write(self, dtype: dt.DType, pointer: str, value: str) -> None:
        """Write adjacent elements. Where the kernel streams, whole lines go to memory past the caches, which would read
        a line before they write to it, and put it in the place of another."""
        w, streams = self.frame.w, self.frame.streams

        def write() -> None:
            store_lanes(w, dtype, pointer, value, self.lanes, self.mask)

        if streams is None or self.lanes * dtype.itemsize < CACHE_LINE:
            write()
            return
        past = w.op(f"and i64 {w.op(f'ptrtoint ptr {pointer} to i64')}, {CACHE_LINE - 1}")
        whole = w.op(f"and i1 {streams}, {w.op(f'icmp eq i64 {past}, 0')}")
        if self.mask is not None:
            every = w.op(f"call i1 @llvm.vector.reduce.and.v{self.lanes}i1(<{self.lanes} x i1> {self.mask})")
            whole = w.op(f"and i1 {whole}, {every}")
        kind = vector_of(memory_type(dtype), self.lanes)
        around = f"store {kind} {value}, ptr {pointer}, align {CACHE_LINE}, !nontemporal !1"
        either(w, whole, lambda: w.do(around), write)

    def store_between(self, store: Store, values: Sequence[str]) -> None:
        """Write the values of as many points, of which this is the first and whose elements lie between each other:
        ``memory[at + lane * len(values) + k] = values[k][lane]``. They are 2 or 4."""
        w, access = self.frame.w, store.access
        dtype, lanes = access.dtype, self.lanes
        masks = [self.mask] * len(values) if self.mask is not None else None
        if dtype is dt.bool_:
            bits, byte = vector_of("i1", lanes), vector_of("i8", lanes)
            values = [w.op(f"zext {bits} {value} to {byte}") for value in values]
        value = between(w, memory_type(dtype), list(values), lanes)
        mask = between(w, "i1", masks, lanes) if masks else None
        store_lanes(w, dtype, self._pointer(access), value, lanes * len(values), mask)

    # --- addresses ----------------------------------------------------------------------------------------------

    def _pointer(self, access: Access) -> str:
        # The terms of outer axes first: they do not change in the vector loop, so LLVM hoists the sum.
        offset = offset_of(self.frame.w, self.frame.ints, access.offset, zip(access.strides, self.axes, strict=True))
        return element_pointer(self.frame.w, self.frame.buffers[access.buf], access, offset)

    def _lane_numbers(self) -> str:
        return f"<{', '.join(f'i64 {lane}' for lane in range(self.lanes))}>"

    def _lane_pointers(self, pointer: str, element: str, stride: Int) -> str:
        w, i64s = self.frame.w, vector_of("i64", self.lanes)
        steps = w.op(f"mul {i64s} {splat(w, 'i64', self.frame.int_(stride), self.lanes)}, {self._lane_numbers()}")
        return w.op(f"getelementptr {element}, ptr {pointer}, {i64s} {steps}", "p")

    def _gather_from(self, element: str, align: int, pointers: str, mask: str | None) -> str:
        vector = vector_of(element, self.lanes)
        return self.frame.w.op(
            f"call {vector} @llvm.masked.gather.{mangle(element, self.lanes)}.v{self.lanes}p0("
            f"<{self.lanes} x ptr> align "
            f"{align} {pointers}, <{self.lanes} x i1> {mask or 'splat (i1 true)'}, {vector} zeroinitializer)"
        )

    def _from_memory(self, value: str, dtype: dt.DType, lanes: int) -> str:
        if dtype is not dt.bool_:
            return value
        w, byte = self.frame.w, vector_of("i8", lanes)
        return w.op(f"icmp ne {byte} {value}, {'0' if lanes == 1 else 'zeroinitializer'}")

    def _index(self, access: Access) -> str:
        w, stride = self.frame.w, access.strides[-1]
        base = offset_of(w, self.frame.ints, access.offset, zip(access.strides, self.axes, strict=True))
        if self.lanes == 1 or stride == 0:
            return splat(w, "i64", base, self.lanes)
        i64s = vector_of("i64", self.lanes)
        steps = w.op(f"mul {i64s} {splat(w, 'i64', self.frame.int_(stride), self.lanes)}, {self._lane_numbers()}")
        return w.op(f"add {i64s} {splat(w, 'i64', base, self.lanes)}, {steps}")

    # --- indirect access ----------------------------------------------------------------------------------------

    def _and_mask(self, inside: str) -> str:
        if self.lanes > 1:
            inside = self._widen(inside)
        bit = vector_of("i1", self.lanes)
        return inside if self.mask is None else self.frame.w.op(f"and {bit} {inside}, {self.mask}")

    def _widen(self, bit: str) -> str:
        return splat(self.frame.w, "i1", bit, self.lanes)

    def _indexed(self, steps: Sequence[tuple[Int, Int]], indices: list[str], lanes: int) -> tuple[str, str]:
        """``(elements to move, all indices in range)`` for ``lanes`` lanes; reports what is out of range."""
        w, i64s, bit = self.frame.w, vector_of("i64", lanes), vector_of("i1", lanes)
        total, inside = ("0" if lanes == 1 else "zeroinitializer"), ("true" if lanes == 1 else "splat (i1 true)")
        for (extent, stride), index in zip(steps, indices, strict=True):
            size = splat(w, "i64", self.frame.int_(extent), lanes)
            negative = w.op(f"icmp slt {i64s} {index}, {'0' if lanes == 1 else 'zeroinitializer'}")
            wrapped = w.op(f"select {bit} {negative}, {i64s} {w.op(f'add {i64s} {index}, {size}')}, {i64s} {index}")
            fits = w.op(f"icmp ult {i64s} {wrapped}, {size}")
            inside = w.op(f"and {bit} {inside}, {fits}")
            step = w.op(f"mul {i64s} {wrapped}, {splat(w, 'i64', self.frame.int_(stride), lanes)}")
            total = w.op(f"add {i64s} {total}, {step}")
        outside = w.op(f"xor {bit} {inside}, {'true' if lanes == 1 else 'splat (i1 true)'}")
        if lanes > 1:
            if self.mask is not None:
                outside = w.op(f"and {bit} {outside}, {self.mask}")
            outside = w.op(f"call i1 @llvm.vector.reduce.or.v{lanes}i1({bit} {outside})")
        flag = w.op(f"select i1 {outside}, i64 {STATUS_INDEX}, i64 0")
        old = w.op(f"load i64, ptr {self.frame.status}")
        w.do(f"store i64 {w.op(f'or i64 {old}, {flag}')}, ptr {self.frame.status}")
        return total, inside

    def _gather(self, node: Expr, indices: list[str]) -> str:
        access, steps = node.value
        w, dtype, element = self.frame.w, access.dtype, memory_type(access.dtype)
        if self.lanes > 1 and access.strides[-1] == 1 and all(id(a) in self.uniform for a in node.args):
            return self._gather_row(access, steps, [self.uniform[id(a)] for a in node.args])
        moved, inside = self._indexed(steps, indices, self.lanes)
        pointer = self._pointer(access)
        if self.lanes == 1:
            at = w.op(f"getelementptr {element}, ptr {pointer}, i64 {moved}", "p")
            value = w.op(f"load {element}, ptr {self._safe(at, dtype, inside)}, align {dtype.itemsize}")
            return self._from_memory(value, dtype, 1)
        i64s, stride = vector_of("i64", self.lanes), access.strides[-1]
        if stride != 0:
            own = w.op(f"mul {i64s} {splat(w, 'i64', self.frame.int_(stride), self.lanes)}, {self._lane_numbers()}")
            moved = w.op(f"add {i64s} {moved}, {own}")
        pointers = w.op(f"getelementptr {element}, ptr {pointer}, {i64s} {moved}", "p")
        mask = inside if self.mask is None else w.op(f"and <{self.lanes} x i1> {inside}, {self.mask}")
        return self._from_memory(self._gather_from(element, dtype.itemsize, pointers, mask), dtype, self.lanes)

    def _gather_row(self, access: Access, steps: Sequence[tuple[Int, Int]], indices: list[str]) -> str:
        """One index for all lanes, elements side by side (the row of an embedding): a plain load."""
        w, dtype, element = self.frame.w, access.dtype, memory_type(access.dtype)
        moved, inside = self._indexed(steps, indices, 1)
        pointer = w.op(f"getelementptr {element}, ptr {self._pointer(access)}, i64 {moved}", "p")
        value = load_lanes(w, dtype, pointer, self.lanes, self._and_mask(inside))
        return self._from_memory(value, dtype, self.lanes)


def load_lanes(w: Writer, dtype: dt.DType, pointer: str, lanes: int, mask: str | None) -> str:
    """Adjacent elements in their form in memory; 0, and nothing is read, where the mask is not set."""
    kind = vector_of(memory_type(dtype), lanes)
    if mask is None:
        return w.op(f"load {kind}, ptr {pointer}, align {dtype.itemsize}")
    return w.op(
        f"call {kind} @llvm.masked.load.{mangle(memory_type(dtype), lanes)}.p0(ptr align {dtype.itemsize} {pointer}, "
        f"<{lanes} x i1> {mask}, {kind} zeroinitializer)"
    )


def store_lanes(w: Writer, dtype: dt.DType, pointer: str, value: str, lanes: int, mask: str | None) -> None:
    """Write adjacent elements, in their form in memory; nothing where the mask is not set."""
    kind = vector_of(memory_type(dtype), lanes)
    if mask is None:
        w.do(f"store {kind} {value}, ptr {pointer}, align {dtype.itemsize}")
        return
    w.do(
        f"call void @llvm.masked.store.{mangle(memory_type(dtype), lanes)}.p0({kind} {value}, ptr align "
        f"{dtype.itemsize} {pointer}, <{lanes} x i1> {mask})"
    )


def between(w: Writer, element: str, vectors: Sequence[str], lanes: int) -> str:
    """One vector of 2 or 4: element k of the first, of the second ..., then element k + 1 of each."""
    if len(vectors) == 1:
        return vectors[0]
    a, b = (between(w, element, vectors[part::2], lanes) for part in (0, 1))
    count = lanes * len(vectors) // 2
    kind, chosen = vector_of(element, count), ", ".join(f"i32 {k}, i32 {k + count}" for k in range(count))
    return w.op(f"shufflevector {kind} {a}, {kind} {b}, <{2 * count} x i32> <{chosen}>")


def load_every_other(w: Writer, dtype: dt.DType, pointer: str, lanes: int, mask: str | None) -> str:
    """Every second element, as :func:`load_lanes`: two plain loads, from the first element and up to the last. A gather
    takes some 20 cycles, they take 3."""
    half, kind = lanes // 2, vector_of(memory_type(dtype), lanes)

    def part(start: int, wanted: Sequence[int | None]) -> str:
        """``lanes`` elements from ``start`` on: each of a lane, or of none."""
        at = w.op(f"getelementptr {memory_type(dtype)}, ptr {pointer}, i64 {start}", "p") if start else pointer
        bits = f"<{lanes} x i1>"
        chosen = ", ".join(f"i32 {lanes if lane is None else lane}" for lane in wanted)
        shuffled = f"shufflevector {bits} {mask}, {bits} zeroinitializer, <{lanes} x i32> <{chosen}>"
        return load_lanes(w, dtype, at, lanes, mask and w.op(shuffled))

    low = part(0, [None if e % 2 else e // 2 for e in range(lanes)])
    high = part(lanes - 1, [half + e // 2 if e % 2 else None for e in range(lanes)])
    chosen = ", ".join(f"i32 {e}" for e in [*range(0, lanes, 2), *range(lanes + 1, 2 * lanes, 2)])
    return w.op(f"shufflevector {kind} {low}, {kind} {high}, <{lanes} x i32> <{chosen}>")


# --- loops ------------------------------------------------------------------------------------------------------


def loop(w: Writer, start: str, stop: str, step: int | str, body: Callable[[str], None]) -> None:
    """``for (i = start; i < stop; i += step) body(i)`` over signed i64 operands."""
    head, inside, done = w.fresh("head"), w.fresh("body"), w.fresh("done")
    before, following = w.block, "%" + w.fresh("next")
    w.do(f"br label %{head}")
    w.label(head)
    first = len(w.lines)
    index = w.op("phi", "i")  # completed below, when the latch is known
    w.do(f"br i1 {w.op(f'icmp slt i64 {index}, {stop}')}, label %{inside}, label %{done}")
    w.label(inside)
    body(index)
    w.do(f"{following} = add nsw i64 {index}, {step}")
    w.lines[first] = f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{w.block} ]"
    w.do(f"br label %{head}")
    w.label(done)


def when(w: Writer, condition: str, body: Callable[[], None]) -> None:
    """``if (condition) body()``."""
    yes, after = w.fresh("when"), w.fresh("after")
    w.do(f"br i1 {condition}, label %{yes}, label %{after}")
    w.label(yes)
    body()
    w.do(f"br label %{after}")
    w.label(after)


def either(w: Writer, condition: str, yes: Callable[[], None], no: Callable[[], None]) -> None:
    """``if (condition) yes() else no()``."""
    first, second, after = w.fresh("either"), w.fresh("or"), w.fresh("after")
    w.do(f"br i1 {condition}, label %{first}, label %{second}")
    for label, body in ((first, yes), (second, no)):
        w.label(label)
        body()
        w.do(f"br label %{after}")
    w.label(after)


def first_lanes(w: Writer, left: str, lanes: int = LANES) -> str:
    """Mask of the first ``left`` (i64, signed) lanes; all of them when there are more."""
    few = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {lanes})")
    count = splat(w, "i32", w.op(f"trunc i64 {few} to i32"), lanes)
    numbers = ", ".join(f"i32 {lane}" for lane in range(lanes))
    return w.op(f"icmp sgt <{lanes} x i32> {count}, <{numbers}>", "mask")


def vector_loop(frame: Frame, lo: str, hi: str, body: Callable[[str, int, str | None], None]) -> None:
    """Walk ``lo <= i < hi``: ``body(i, lanes, mask)`` computes ``lanes`` points from ``i`` on.

    With cheap masks there is one body; otherwise whole vectors first, then the rest one by one.
    """
    w = frame.w
    if frame.target.masked_memory:
        loop(w, lo, hi, LANES, lambda i: body(i, LANES, first_lanes(w, w.op(f"sub nsw i64 {hi}, {i}"))))
        return
    length = w.op(f"sub nsw i64 {hi}, {lo}")
    whole = w.op(f"add nsw i64 {lo}, {w.op(f'and i64 {length}, {-LANES}')}")
    loop(w, lo, whole, LANES, lambda i: body(i, LANES, None))
    loop(w, whole, hi, 1, lambda i: body(i, 1, None))


def aligned_loop(frame: Frame, lo: str, hi: str, origin: str, body: Callable[[str, int, str | None], None]) -> None:
    """As :func:`vector_loop`, in vectors that begin where ``i - origin`` is a multiple of LANES; ``lo < hi``."""
    w = frame.w
    if frame.target.masked_memory:
        before = w.op(f"and i64 {w.op(f'sub nsw i64 {lo}, {origin}')}, {LANES - 1}")

        def masked(i: str) -> None:
            there = first_lanes(w, w.op(f"sub nsw i64 {hi}, {i}"))
            early = w.op(f"call i64 @llvm.smax.i64(i64 {w.op(f'sub nsw i64 {lo}, {i}')}, i64 0)")
            begun = w.op(f"xor <{LANES} x i1> {first_lanes(w, early)}, splat (i1 true)")
            body(i, LANES, w.op(f"and <{LANES} x i1> {there}, {begun}", "mask"))

        loop(w, w.op(f"sub nsw i64 {lo}, {before}"), hi, LANES, masked)
        return
    ahead = w.op(f"and i64 {w.op(f'sub nsw i64 {origin}, {lo}')}, {LANES - 1}")
    start = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {lo}, {ahead}')}, i64 {hi})")
    loop(w, lo, start, 1, lambda i: body(i, 1, None))
    vector_loop(frame, start, hi, body)


def overlapping_loop(frame: Frame, lo: str, hi: str, body: Callable[[str, int, str | None], None]) -> None:
    """As :func:`vector_loop`, of points that may be computed twice (nothing that is read is written): where masks are
    dear, the last vector begins so that it ends with the last point."""
    w = frame.w
    if frame.target.masked_memory:
        vector_loop(frame, lo, hi, body)
        return
    last = w.op(f"sub nsw i64 {hi}, {LANES}")
    enough = w.op(f"icmp sge i64 {last}, {lo}")
    stop = w.op(f"select i1 {enough}, i64 {hi}, i64 {lo}")
    loop(w, lo, stop, LANES, lambda i: body(w.op(f"call i64 @llvm.smin.i64(i64 {i}, i64 {last})"), LANES, None))
    loop(w, stop, hi, 1, lambda i: body(i, 1, None))


def hoist_uniform(roots: Sequence[Expr], point: LanePoint) -> dict[int, str]:
    """Compute once what does not vary along the vector axis; registers by ``id`` of the maximal such expressions.

    Stores of the loop may overwrite what was loaded (in-place updates), so LLVM could not hoist these loads itself;
    a kernel never stores to an element that it reads with another index, so we may.
    """
    scalar = LanePoint(point.frame, point.axes, 1, None, point.refs)
    uniform: dict[int, bool] = {}
    users: dict[int, bool] = {}
    for node in topological(roots):
        if node.op in ("load", "index"):
            alone = node.value.strides[-1] == 0 and all(uniform[id(a)] for a in node.args)
        elif node.op == "gather":
            alone = node.value[0].strides[-1] == 0 and all(uniform[id(a)] for a in node.args)
        elif node.op == "param":
            alone = True
        elif node.op == "ref":
            alone = point.refs[node.value][1] == 1
        else:
            alone = node.op not in ("const", "acc") and all(uniform[id(a)] or a.op == "const" for a in node.args)
        uniform[id(node)] = alone
        for a in node.args:
            users[id(a)] = users.get(id(a), False) or not alone
    root_ids = {id(r) for r in roots}
    tops = [n for n in topological(roots) if uniform[id(n)] and (users.get(id(n), False) or id(n) in root_ids)]
    registers = emit_exprs(point.frame.w, tops, scalar)
    return {id(n): r for n, r in zip(tops, registers, strict=True)}


def spread(frame: Frame, uniform: dict[int, str], roots: Sequence[Expr], lanes: int) -> dict[int, str]:
    """The hoisted registers, repeated in every lane."""
    kinds = {id(n): scalar_type(n.dtype) for n in topological(roots)}
    return {k: splat(frame.w, kinds[k], r, lanes) for k, r in uniform.items()}

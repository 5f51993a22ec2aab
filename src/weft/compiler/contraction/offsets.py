"""Tables of offsets: where the rows and columns of a Windowed operand lie, which no two strides say.

A table has an entry for each row of A or column of B in a unit, made once a unit, or for each k of a K block, made once
a block. An entry is some i64: the offset in bytes, how many elements from there on (this one included) lie a stride of
the last axis apart: a *run*, which is packed like what has one stride; and, for each edge of B, the entry's part of the
index on its axis. Naive meaning of a function that makes one::

    for e in range(count):
        table[e] = itemsize * along(axes, start + e), size of the last axis - its index     # kernels.Windowed
        table[e] += (start + index on the axis * step for each part)
"""

from __future__ import annotations

from collections.abc import Sequence

from ..emit import Module, Writer
from ..kernels import Counted, Int, Windowed
from ..lanes import begin_kernel, loop
from ..stages import slots_of
from .tile import ContractionTarget, at

ENTRY, PART = 16, 8  # bytes of an entry without parts, and of one of these
Part = tuple[int, Int, Int]  # of an index on an edge's axis: the axis that it moves with, its step, and where it begins


def entry_bytes(access: Windowed) -> int:
    """Bytes of an entry in the tables of an operand."""
    return ENTRY + PART * len(access.edges)


def render_offsets(
    module: Module, name: str, axes: Counted, itemsize: int, target: ContractionTarget, parts: Sequence[Part] = ()
) -> None:
    """Add ``void @name(ptr ints, i64 start, i64 count, ptr table)``.

    The indices are counted up from those of ``start``: dividing for each entry takes longer than packing it.
    """
    w, nbytes = Writer(module), ENTRY + PART * len(parts)
    named = [x for axis in axes for x in axis] + [x for _, step, begin in parts for x in (step, begin)]
    frame = begin_kernel(w, 0, slots_of((), named), target)
    sizes = [frame.int_(size) for size, _ in axes]
    strides = [w.arithmetic("mul", frame.int_(stride), itemsize) for _, stride in axes]
    indices, total = [w.op("alloca i64") for _ in axes], w.op("alloca i64")
    rest, first = "%start", "0"
    for axis in range(len(axes) - 1, -1, -1):
        index = rest
        if axis:
            index, rest = w.op(f"urem i64 {rest}, {sizes[axis]}"), w.op(f"udiv i64 {rest}, {sizes[axis]}")
        w.do(f"store i64 {index}, ptr {indices[axis]}")
        first = w.arithmetic("add", first, w.arithmetic("mul", index, strides[axis]))
    w.do(f"store i64 {first}, ptr {total}")
    # What a step on an axis adds to that of the axis behind it, which goes back to 0.
    steps = [strides[-1]]
    for axis in range(len(axes) - 2, -1, -1):
        back = w.arithmetic("mul", sizes[axis + 1], strides[axis + 1])
        steps.insert(0, w.op(f"sub i64 {strides[axis]}, {back}"))

    def entry(e: str) -> None:
        here, offset = at(w, "%table", (e, nbytes)), w.op(f"load i64, ptr {total}")
        last = w.op(f"load i64, ptr {indices[-1]}")
        w.do(f"store i64 {offset}, ptr {here}, align 8")
        left = w.op(f"sub nsw i64 {sizes[-1]}, {last}")
        w.do(f"store i64 {left}, ptr {at(w, here, ('8', 1))}, align 8")
        for number, (axis, step, begin) in enumerate(parts):
            moved = w.arithmetic("mul", w.op(f"load i64, ptr {indices[axis]}"), frame.int_(step))
            part = w.arithmetic("add", moved, frame.int_(begin))
            w.do(f"store i64 {part}, ptr {at(w, here, (str(ENTRY + PART * number), 1))}, align 8")
        on, added = "true", "0"  # whether the axes behind this one have gone back to 0
        for axis in range(len(axes) - 1, -1, -1):
            index = w.op(f"load i64, ptr {indices[axis]}")
            more = w.op(f"add i64 {index}, {w.op(f'zext i1 {on} to i64')}")
            ends = w.op(f"icmp eq i64 {more}, {sizes[axis]}")
            w.do(f"store i64 {w.op(f'select i1 {ends}, i64 0, i64 {more}')}, ptr {indices[axis]}")
            added = w.op(f"add i64 {added}, {w.op(f'select i1 {on}, i64 {steps[axis]}, i64 0')}")
            on = ends
        w.do(f"store i64 {w.op(f'add i64 {offset}, {added}')}, ptr {total}")

    loop(w, "0", "%count", 1, entry)
    w.do("ret void")
    w.define(f"internal void @{name}(ptr %ints, i64 %start, i64 %count, ptr %table) #1")

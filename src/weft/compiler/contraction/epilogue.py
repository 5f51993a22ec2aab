"""What follows the sums of a contraction: stores, element by element, and what they read, which is asked for ahead."""

from __future__ import annotations

from ..emit import Module, Writer, convert, element_pointer, memory_type, offset_of, vector_of
from ..expr import topological
from ..kernels import CACHE_LINE, Access, Contraction
from ..lanes import LanePoint, begin_kernel, hoist_uniform, loop, spread, vector_loop
from ..stages import roots_of, slots_of, streams, write_stores
from .plan import Form
from .tile import ContractionTarget, at, prefetch


def render_epilogue(module: Module, name: str, kernel: Contraction, form: Form, target: ContractionTarget) -> None:
    """Add ``i64 @name.epilogue(...)``: the stores of ``height`` x ``width`` elements from (m, n) on, row by row.

    Their finished sums begin at ``sums``, ``pitch`` bytes from row to row; the result is the status.
    """
    w, tile, stores = Writer(module), form.tile, kernel.stages
    size = tile.dtype.itemsize
    extents = (*kernel.batch, kernel.m, kernel.n)
    frame = begin_kernel(w, len(kernel.buffers), slots_of(stores, extents if kernel.streams else ()), target)
    if kernel.streams:
        frame.streams = streams(frame, extents, stores)
    batch = [f"%batch{axis}" for axis in range(len(kernel.batch))]
    roots = roots_of(stores)
    end = w.op("add nsw i64 %n, %width")

    def row(r: str) -> None:
        m = w.op(f"add nsw i64 %m, {r}")
        sums = at(w, "%sums", (r, "%pitch"))
        uniform = hoist_uniform(roots, LanePoint(frame, [*batch, m, "%n"], 1))

        def body(n: str, lanes: int, mask: str | None) -> None:
            kind = vector_of(memory_type(tile.dtype), lanes)
            cell = at(w, sums, (w.op(f"sub nsw i64 {n}, %n"), size))
            acc = w.op(f"load {kind}, ptr {cell}, align {size}")
            if kernel.accumulate.bits != tile.dtype.bits:
                acc = convert(w, acc, tile.dtype, kernel.accumulate, lanes)
            point = LanePoint(frame, [*batch, m, n], lanes, mask, accumulator=acc)
            write_stores(point, stores, spread(frame, uniform, roots, lanes))

        vector_loop(frame, "%n", end, body)

    loop(w, "0", "%height", 1, row)
    w.do(f"ret i64 {w.op(f'load i64, ptr {frame.status}')}")
    arguments = ", ".join(f"i64 {x}" for x in (*batch, "%m", "%n"))
    w.define(
        f"internal i64 @{name}.epilogue(ptr %bufs, ptr %ints, {arguments}, ptr %sums, i64 %pitch, i64 %height, "
        "i64 %width) #1"
    )


def _far_apart(kernel: Contraction) -> list[tuple[Access, bool]]:
    """What the epilogue reads another line of for each row, as of a residual, and what it writes (True)."""
    loads = (node.value for node in topological(roots_of(kernel.stages)) if node.op == "load")
    read = {(x.buf, x.offset, x.strides): x for x in loads if x.strides[-1] == 1 and x.strides[-2] != 0}
    stores = () if kernel.streams else kernel.stages
    written = [store.access for store in stores if not store.indices and store.access.strides[-1] == 1]
    return [*((access, False) for access in read.values()), *((access, True) for access in written)]


def render_ahead(module: Module, name: str, kernel: Contraction, form: Form, target: ContractionTarget) -> bool:
    """Add ``void @name.ahead(...)``, which asks for what the epilogue of a tile at (m, n) will read and write; whether
    there is anything. Lines of a few hundred bytes, far apart, are what no prefetcher of a processor foresees: without
    it, the residual of 256 channels of 56x56 takes as long as the product by 64 channels (0.6 of 1.1 ms). A store waits
    as a load does where the line that it changes a part of is not there."""
    wanted = _far_apart(kernel)
    if not wanted:
        return False
    w, slots = Writer(module), [x for access, _ in wanted for x in (access.offset, *access.strides)]
    frame = begin_kernel(w, len(kernel.buffers), slots_of((), slots), target)
    batch = [f"%batch{axis}" for axis in range(len(kernel.batch))]

    def row(r: str) -> None:
        m = w.op(f"add nsw i64 %m, {r}")
        for access, writes in wanted:
            offset = offset_of(w, frame.ints, access.offset, zip(access.strides, [*batch, m, "%n"], strict=True))
            line, nbytes = element_pointer(w, frame.buffers[access.buf], access, offset), access.dtype.itemsize
            for start in (*range(0, form.tile.columns * nbytes, CACHE_LINE), form.tile.columns * nbytes - 1):
                prefetch(w, at(w, line, (str(start), 1)), writes=writes)

    loop(w, "0", "%height", 1, row)
    w.do("ret void")
    indices = ", ".join(f"i64 {x}" for x in (*batch, "%m", "%n"))
    w.define(f"internal void @{name}.ahead(ptr %bufs, ptr %ints, {indices}, i64 %height) #1")
    return True

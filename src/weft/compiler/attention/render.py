"""Renders :class:`Attention` for CPUs.

Naive meaning::

    for each batch element, m:
        ks = all of k; of causal kernels up to CAUSAL_STEP beyond the pairs that are there
        pairs = [[chain over d of a[m] * b[k] for k in ks] for a, b in products]     # a Contraction's sums
        for each stage:
            Reduce:        pairs[0] = [value at k for k in ks]; the result = reduce of them
            scalar Store:  write value at m
            weights:       w[i] = [value at k for k in ks] for each i
        for each i, n: write 0.0 + chains over ks of w[i][k] * c_i[k, n], K_BLOCK after K_BLOCK

How it runs: a unit is as many m as a register tile is wide. Their rows of each ``a`` are transposed into panels once;
tile functions (contraction/tile.py) then compute the pairs of 12 rows of ``b``, read where they lie, with 32 columns:
a line of pairs for each k, which go to the scratch. The steps (stages.py) run along these lines, lanes along m, so that
a reduction over k is one of vectors. Then the lines are, as they lie, the panels of a product with ``c``, of whose
elements nothing is packed either but the last, partial panel. A kernel without reductions takes K_BLOCK lines at a
time; one with reductions keeps all lines that the scratch has room for (8 thousand of float32 on AVX-512), and where
there are more, it computes them again for each pass. So the memory of a launch does not grow with the sizes, and no
element depends on which way it went.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..contraction.pack import render_pack_panels, render_pack_rows, render_pack_transposed
from ..contraction.tile import ContractionTarget, Tile, at, call_tile, packed_row, render_tile, tile_of
from ..emit import Module, Writer, memory_type, offset_of, vector_of
from ..kernels import CAUSAL_STEP, K_BLOCK, REDUCE_CHUNK, REDUCE_LANES, Access, Attention, Reduce, Slot, Store
from ..lanes import Frame, LanePoint, begin_kernel, loop, vector_loop, when
from ..stages import end_units, grid_indices, reduces_of, slots_of, write_stores
from .plan import room_of
from .stages import (
    accumulate_line,
    begin_cells,
    fill,
    move_line,
    pointers,
    render_fold,
    render_step,
    steps_of,
    weights_of,
)


def render_attention(kernel: Attention, name: str, target: ContractionTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    tile, module = tile_of(kernel.accumulate, target), Module()
    for height, columns in tile.variants:
        render_tile(module, f"{name}.pairs{height}x{columns}", tile, height, columns, True, target)
        render_tile(module, f"{name}.sums{height}x{columns}", tile, height, columns, False, target)
    render_pack_transposed(module, f"{name}.turn", tile, kernel.accumulate)
    render_pack_rows(module, f"{name}.pack_rows", tile, kernel.accumulate, target)
    render_pack_panels(module, f"{name}.pack_panel", tile, kernel.accumulate, False, target)
    for number in range(len(steps_of(kernel))):
        render_step(module, f"{name}.step{number}", kernel, number, tile, target)
    for number, stage in enumerate(reduces_of(kernel.stages)):
        render_fold(module, f"{name}.fold{number}", stage, tile)
    frame = begin_kernel(Writer(module), len(kernel.buffers), _slots(kernel), target)
    text = end_units(frame, name, lambda unit: _Unit(kernel, tile, frame, name, unit).emit())
    return text + 'attributes #1 = { noinline nounwind "no-trapping-math"="true" }\n'


def _slots(kernel: Attention) -> list[int]:
    """Positions of the ints that the kernel names."""
    accesses = [access for a, b, _ in kernel.products for access in (a, b)] + [c for c, _ in kernel.sums]
    strides = [x for access in accesses for x in (access.offset, *access.strides)]
    sizes = [size for *_, size in kernel.products] + [size for _, size in kernel.sums]
    return slots_of(kernel.stages, (*kernel.batch, kernel.m, kernel.k, kernel.blocks, *sizes, *strides))


class _Unit:
    """Emits one unit; the fields are registers, i64 or ptr."""

    def __init__(self, kernel: Attention, tile: Tile, frame: Frame, name: str, unit: str):
        self.kernel, self.tile, self.frame, self.w, self.name = kernel, tile, frame, frame.w, name
        w, self.size, self.room = self.w, tile.dtype.itemsize, room_of(kernel, tile)
        self.line = tile.columns * self.size  # bytes of a line of pairs
        *self.batch, block = grid_indices(frame, (*kernel.batch, kernel.blocks), unit)
        self.k = frame.int_(kernel.k)
        self.m0 = w.op(f"mul nsw i64 {block}, {tile.columns}", "m")
        left = w.op(f"sub nsw i64 {frame.int_(kernel.m)}, {self.m0}")
        self.count = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {tile.columns})", "m")
        self.m1 = w.op(f"add nsw i64 {self.m0}, {self.count}", "m")
        narrow = w.op(f"icmp sle i64 {self.count}, {tile.lanes}")
        self.panel_pitch = w.op(f"select i1 {narrow}, i64 {tile.lanes * self.size}, i64 {self.line}")
        self.cells, self.chunks, self.unused, self.results = pointers(
            w, "%scratch", (self.room.cells, self.room.chunks, self.room.unused, self.room.results)
        )
        self.first, self.stop = self._range()
        self.tall = -(-tile.columns // tile.rows)  # tiles that the columns of a unit are, one below the other
        self._places()

    def _range(self) -> tuple[str, str]:
        """The first k that is looked at, and the one after the last."""
        w, near = self.w, self.w.op(f"and i64 {self.m0}, {-CAUSAL_STEP}")
        if self.kernel.causal > 0:
            end = w.op(f"add nsw i64 {near}, {CAUSAL_STEP}")
            return "0", w.op(f"call i64 @llvm.smin.i64(i64 {end}, i64 {self.k})")
        first = w.op(f"call i64 @llvm.smin.i64(i64 {near}, i64 {self.k})") if self.kernel.causal < 0 else "0"
        return first, self.k

    def _places(self) -> None:
        """Where the panels of m and the sums begin, which are as large as the sizes say."""
        w, place = self.w, str(self.room.free)
        self.panels: list[str] = []
        self.sums: list[str] = []
        for *_, depth in self.kernel.products:
            self.panels.append(at(w, "%scratch", (place, 1)))
            place = w.arithmetic("add", place, w.arithmetic("mul", self.frame.int_(depth), self.line))
        for _, width in self.kernel.sums:
            self.sums.append(at(w, "%scratch", (place, 1)))
            place = w.arithmetic("add", place, w.arithmetic("mul", self._sums_size(width), self.size))

    def _sums_size(self, width: Slot) -> str:
        """Elements of the sums over ``width`` columns: whole tiles."""
        tile, w = self.tile, self.w
        panels = w.op(f"udiv i64 {w.op(f'add i64 {self.frame.int_(width)}, {tile.columns - 1}')}, {tile.columns}")
        return w.op(f"mul i64 {panels}, {self.tall * tile.rows * tile.columns}")

    def _matrix(self, access: Access, row: str) -> tuple[str, str]:
        """Pointer to the first element of a row, and the bytes from row to row."""
        strides = zip(access.strides, (*self.batch, row, "0"), strict=True)
        offset = offset_of(self.w, self.frame.ints, access.offset, strides)
        pointer = at(self.w, self.frame.buffers[access.buf], (offset, self.size))
        return pointer, self.w.arithmetic("mul", self.frame.int_(access.strides[-2]), self.size)

    # --- the passes -----------------------------------------------------------------------------------------------

    def emit(self) -> None:
        """All passes, then the stores."""
        w, kernel = self.w, self.kernel
        for (a, _, depth), panel in zip(kernel.products, self.panels, strict=True):
            self._over_depth(depth, partial(self._turned, *self._matrix(a, self.m0), panel))
        for (_, width), sums in zip(kernel.sums, self.sums, strict=True):
            fill(w, self.tile, sums, self._sums_size(width), 0.0)
        # Where all lines of pairs have room, they are computed once.
        steps = steps_of(kernel)
        begun = w.op(f"and i64 {self.first}, {-K_BLOCK}")
        lines = w.op(f"sub nsw i64 {self.stop}, {begun}")
        self.kept = w.op(f"icmp sle i64 {lines}, {self.room.lines if len(steps) > 1 else 0}", "kept")
        self.begun = begun
        for number, stages in enumerate(steps):
            if isinstance(stages[0], Reduce):
                self._reduce(number, stages[0])
            else:
                loop(w, begun, self.stop, K_BLOCK, partial(self._block, number))
        self._store_rows()
        for number, store in enumerate(weights_of(kernel)):
            self._store_sums(number, store)

    def _over_depth(self, depth: Slot, body: Callable[[str, str], None]) -> None:
        """``body(k0, kc)`` for each K block of an axis d; once, with no terms, where it is empty."""
        w, extent = self.w, self.frame.int_(depth)

        def block(k0: str) -> None:
            left = w.op(f"sub nsw i64 {extent}, {k0}")
            body(k0, w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {K_BLOCK})", "kc"))

        loop(w, "0", w.op(f"call i64 @llvm.smax.i64(i64 {extent}, i64 1)"), K_BLOCK, block)

    def _turned(self, source: str, pitch: str, panel: str, k0: str, kc: str) -> None:
        """Transpose the unit's rows of ``a`` into a panel."""
        w = self.w
        src, dst = at(w, source, (k0, self.size)), at(w, panel, (k0, self.line))
        numbers = f"i64 {pitch}, i64 {self.size}, i64 {self.count}, i64 {kc}"
        w.do(f"call void @{self.name}.turn(ptr {src}, {numbers}, ptr {dst})")

    def _reduce(self, number: int, stage: Reduce) -> None:
        """A pass that reduces: chunk after chunk, and then the chunks."""
        w, frame, tile = self.w, self.frame, self.tile
        begin_cells(frame, stage, tile, self.cells)
        long = w.op(f"icmp sgt i64 {self.k}, {REDUCE_CHUNK}", "long")
        when(w, long, lambda: begin_cells(frame, stage, tile, self.chunks))

        def block(block: str) -> None:
            self._block(number, block)
            following = w.op(f"add i64 {block}, {K_BLOCK}")
            ends = w.op(f"icmp sge i64 {following}, {self.stop}")
            whole = w.op(f"icmp eq i64 {w.op(f'and i64 {following}, {REDUCE_CHUNK - 1}')}, 0")
            done = w.op(f"and i1 {long}, {w.op(f'or i1 {ends}, {whole}')}")

            def chunk() -> None:
                w.do(f"call void @{self.name}.fold{number}(ptr {self.cells})")
                lane = w.op(f"and i64 {w.op(f'udiv i64 {block}, {REDUCE_CHUNK}')}, {REDUCE_LANES - 1}")
                accumulate_line(w, stage, tile, self.cells, self.chunks, lane)
                begin_cells(frame, stage, tile, self.cells)

            when(w, done, chunk)

        loop(w, self.begun, self.stop, K_BLOCK, block)
        found = w.op(f"select i1 {long}, ptr {self.chunks}, ptr {self.cells}")
        w.do(f"call void @{self.name}.fold{number}(ptr {found})")
        move_line(w, tile, found, at(w, self.results, (str(number * self.line), 1)))

    def _block(self, number: int, block: str) -> None:
        """Step ``number`` for the pairs of a K block, with all that comes before it where they are not kept."""
        w = self.w
        start = w.op(f"call i64 @llvm.smax.i64(i64 {block}, i64 {self.first})")
        end = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'add nsw i64 {block}, {K_BLOCK}')}, i64 {self.stop})")
        base = w.op(f"select i1 {self.kept}, i64 {self.begun}, i64 {block}")
        above = w.op(f"sub nsw i64 {start}, {base}")
        lines = [at(w, "%scratch", (str(place), 1), (above, self.line)) for place in self.room.pairs]

        def again() -> None:
            for (_, b, depth), panel, line in zip(self.kernel.products, self.panels, lines, strict=True):
                self._pairs(b, depth, panel, line, start, end)
            for earlier in range(number):
                self._step(earlier, start, end, lines, self.unused)

        if number == 0:
            again()
        else:
            when(w, w.op(f"xor i1 {self.kept}, true"), again)
        self._step(number, start, end, lines, self.cells)
        if number == len(steps_of(self.kernel)) - 1:
            for i, (c, width) in enumerate(self.kernel.sums):
                self._sum(c, width, self.sums[i], lines[i], start, end)

    def _step(self, number: int, start: str, end: str, lines: list[str], cells: str) -> None:
        w = self.w
        numbers = ", ".join(f"i64 {x}" for x in (*self.batch, start, end, self.m0, self.m1))
        pairs = ", ".join(f"ptr {line}" for line in lines)
        status = w.op(
            f"call i64 @{self.name}.step{number}(ptr %bufs, ptr %ints, {numbers}, {pairs}, ptr {cells}, "
            f"ptr {self.results})"
        )
        old = w.op(f"load i64, ptr {self.frame.status}")
        w.do(f"store i64 {w.op(f'or i64 {old}, {status}')}, ptr {self.frame.status}")

    # --- products -------------------------------------------------------------------------------------------------

    def _pairs(self, b: Access, depth: Slot, panel: str, line: str, start: str, end: str) -> None:
        """The lines of a product from ``start`` to ``end``, the first at ``line``."""
        w, tile = self.w, self.tile
        source, pitch = self._matrix(b, "0")
        packed = at(w, "%scratch", (str(self.room.rows), 1))

        def rows(y: str) -> None:
            left = w.op(f"sub nsw i64 {end}, {y}")
            height = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {tile.rows})")
            short = w.op(f"icmp slt i64 {height}, {tile.rows}")
            own = w.op(f"select i1 {short}, i64 {packed_row(tile)}, i64 {pitch}")
            into = at(w, line, (w.op(f"sub nsw i64 {y}, {start}"), self.line))

            def block(k0: str, kc: str) -> None:
                src = at(w, source, (y, pitch), (k0, self.size))
                when(
                    w,
                    short,
                    lambda: w.do(
                        f"call void @{self.name}.pack_rows(ptr {src}, i64 {pitch}, i64 {self.size}, i64 {height}, "
                        f"i64 {kc}, ptr {packed})"
                    ),
                )
                a = w.op(f"select i1 {short}, ptr {packed}, ptr {src}")
                later = w.op(f"icmp ne i64 {k0}, 0")
                following = at(w, src, (str(tile.rows), pitch))
                call_tile(
                    w,
                    tile,
                    f"{self.name}.pairs",
                    height,
                    self.count,
                    f"ptr {a}, i64 {own}, ptr {at(w, panel, (k0, self.line))}, i64 {self.panel_pitch}, i64 {kc}, "
                    f"ptr {into}, i64 {self.line}, i1 {later}, ptr {into}, "
                    f"ptr {following}, i64 {pitch}, i64 {tile.rows}, i64 8",
                )

            self._over_depth(depth, block)

        loop(w, start, end, tile.rows, rows)

    def _sum(self, c: Access, width: Slot, sums: str, line: str, start: str, end: str) -> None:
        """Add the chains of weights, which begin at ``line``, times the rows of ``c`` from ``start`` to ``end``."""
        w, tile = self.w, self.tile
        source, pitch = self._matrix(c, start)
        kc = w.op(f"sub nsw i64 {end}, {start}", "kc")
        packed = at(w, "%scratch", (str(self.room.panel), 1))

        def panel(n: str) -> None:
            left = w.op(f"sub nsw i64 {self.frame.int_(width)}, {n}")
            columns = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {tile.columns})")
            src = at(w, source, (n, self.size))
            short = w.op(f"icmp slt i64 {columns}, {tile.columns}")
            narrow = w.op(f"icmp sle i64 {columns}, {tile.lanes}")
            own = w.op(f"select i1 {narrow}, i64 {tile.lanes * self.size}, i64 {self.line}")
            when(
                w,
                short,
                lambda: w.do(
                    f"call void @{self.name}.pack_panel(ptr {src}, i64 {self.size}, i64 {pitch}, i64 {columns}, "
                    f"i64 {kc}, ptr {packed})"
                ),
            )
            b, step = (
                w.op(f"select i1 {short}, {x}, {y}")
                for x, y in ((f"ptr {packed}", f"ptr {src}"), (f"i64 {own}", f"i64 {pitch}"))
            )

            def tiles(r: str) -> None:
                height = w.op(f"call i64 @llvm.smin.i64(i64 {w.op(f'sub nsw i64 {self.count}, {r}')}, i64 {tile.rows})")
                into = self._cell(sums, r, n)
                call_tile(
                    w,
                    tile,
                    f"{self.name}.sums",
                    height,
                    columns,
                    f"ptr {at(w, line, (r, self.size))}, i64 {self.line}, ptr {b}, i64 {step}, i64 {kc}, "
                    f"ptr {into}, i64 {self.line}, i1 true, ptr {into}, ptr {b}, i64 0, i64 0, i64 0",
                )

            loop(w, "0", self.count, tile.rows, tiles)

        loop(w, "0", self.frame.int_(width), tile.columns, panel)

    def _cell(self, sums: str, r: str, n: str) -> str:
        """Where the sum of column ``r`` of the unit and element ``n`` lies: tiles, panel after panel."""
        w, tile = self.w, self.tile
        panel, column = w.op(f"udiv i64 {n}, {tile.columns}"), w.op(f"urem i64 {n}, {tile.columns}")
        row = w.op(f"add i64 {w.op(f'mul i64 {panel}, {self.tall * tile.rows}')}, {r}")
        return at(w, sums, (row, self.line), (column, self.size))

    # --- stores ---------------------------------------------------------------------------------------------------

    def _store_rows(self) -> None:
        """What the reductions come to."""
        kernel, w = self.kernel, self.w
        stores = [s for s in kernel.stages if isinstance(s, Store) and s.scalar]
        if not stores:
            return

        def body(m: str, lanes: int, mask: str | None) -> None:
            column, kind = w.op(f"sub nsw i64 {m}, {self.m0}"), vector_of(memory_type(self.tile.dtype), lanes)
            refs = [("", lanes)] * len(kernel.products)
            for r in range(len(reduces_of(kernel.stages))):
                place = at(w, self.results, (str(r * self.line), 1), (column, self.size))
                refs.append((w.op(f"load {kind}, ptr {place}, align {self.size}"), lanes))
            write_stores(LanePoint(self.frame, [*self.batch, "0", m], lanes, mask, refs=refs), stores)

        vector_loop(self.frame, self.m0, self.m1, body)

    def _store_sums(self, number: int, store: Store) -> None:
        """Write finished sums, row by row."""
        w, kind = self.w, memory_type(self.tile.dtype)

        def row(r: str) -> None:
            m = w.op(f"add nsw i64 {self.m0}, {r}")

            def body(n: str, lanes: int, mask: str | None) -> None:
                cell = self._cell(self.sums[number], r, n)
                value = w.op(f"load {vector_of(kind, lanes)}, ptr {cell}, align {self.size}")
                LanePoint(self.frame, [*self.batch, m, n], lanes, mask).store(store, value, [])

            vector_loop(self.frame, "0", self.frame.int_(self.kernel.sums[number][1]), body)

        loop(w, "0", self.count, 1, row)

"""Renders :class:`Contraction` for CPUs.

Naive meaning::

    for each batch element, m, n:
        total = chain over the first K block       # chain: s = 0; for k in block: s = fma(a[m, k], b[k, n], s)
        for each further K block: total = total + chain over the block
        acc = total                                # 0 when k == 0
        for store in epilogue: write value(acc) at (m, n)

How it runs: a unit (plan.py) is a piece of C with all of K. For each K block and panel of B, tile functions (tile.py)
compute the chains of 12x32 elements (AVX-512, float32) in registers, from operands where they lie or packed into the
thread's scratch (pack.py), where that pays; a Windowed operand always is (pack_windows.py), unless tiles read it from a
box (box.py). Where there is one K block and C is large, tiles go along rows instead. Later blocks are added to the sums
of the earlier ones, which wait in the scratch. After the last block the epilogue reads the sums; when it is one plain
store of ``acc`` along contiguous rows, whole tiles go to the output without it. Products with a vector or a few go
another way (vector.py, vector_rows.py), and so do those of few rows with windows (few_rows.py, planes.py), and a batch
of long sums with few results each (batch_lanes.py). Every element goes through the same operations wherever it lies, so
the bits depend neither on tiles nor on units nor on what is packed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..emit import Module, Writer, memory_type, offset_of
from ..kernels import K_BLOCK, LANES, Access, Contraction, Slot, Windowed
from ..lanes import Frame, begin_kernel, either, loop, when
from ..stages import end_units, grid_indices
from .box import BoxedColumns
from .epilogue import render_ahead, render_epilogue
from .few_rows import has_masks, sums_pitch
from .functions import functions_of, vectors_by_mode
from .offsets import entry_bytes
from .plan import (
    BATCH_LANES,
    BOXED,
    FEW_ROWS,
    MASKS_AT,
    MATRIX_VECTOR,
    PARTITION,
    PLANES,
    TABLES,
    TABLES_AT,
    TILES,
    Form,
    contraction_slots,
    first_partition_slot,
    form_of,
    modes_of,
)
from .tile import ContractionTarget, at, call_tile, lanes_pitch, packed_row


def render_contraction(kernel: Contraction, name: str, target: ContractionTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI; it reads PARTITION after its own ints."""
    form, module = form_of(kernel, target), Module()
    render_epilogue(module, name, kernel, form, target)
    asks = not {TILES, BOXED}.isdisjoint(modes_of(kernel)) and render_ahead(module, name, kernel, form, target)
    first = first_partition_slot(kernel)
    frame = begin_kernel(
        Writer(module), len(kernel.buffers), [*contraction_slots(kernel), *range(first, first + len(PARTITION))], target
    )
    slots = {field: Slot(first + i) for i, field in enumerate(PARTITION)}
    _begin_few_rows(frame, name, kernel, form, slots)
    small = {side: frame.w.op("alloca i1", "small") for side in "ab"} if form.tile.dot else {}
    functions, by_mode = functions_of(kernel, form, target), vectors_by_mode(kernel, form)

    def body(unit: str) -> None:
        _Unit(kernel, form, frame, name, slots, unit, asks, small).emit(by_mode)
        text = "\n".join(frame.w.lines)
        for own, render in functions.items():
            if f"@{name}.{own}(" in text:
                render(module, f"{name}.{own}")

    frame.streams = "true" if kernel.streams else None  # for the fence at the end: it is the epilogue that stores
    text = end_units(frame, name, body)
    return text + 'attributes #1 = { noinline nounwind "no-trapping-math"="true" }\n'


def _begin_few_rows(frame: Frame, name: str, kernel: Contraction, form: Form, slots: dict[str, Slot]) -> None:
    """What all units of few rows share: the table of k, and of the masks, which is small, or the zeros in the box."""
    modes = {FEW_ROWS: form.few_rows, PLANES: form.planes}
    there = [mode for mode, has in modes.items() if has and mode in modes_of(kernel)]
    if not there:
        return
    w, k, part = frame.w, frame.int_(kernel.k), {field: frame.int_(slot) for field, slot in slots.items()}
    table = at(w, "%scratch", (str(TABLES_AT + TABLES["depth_b"]), 1))

    def windows() -> None:
        w.do(f"call void @{name}.depth_b(ptr %ints, i64 0, i64 {k}, ptr {table})")
        if has_masks(form, frame.target):  # type: ignore[arg-type]
            masks = at(w, "%scratch", (str(MASKS_AT), 1))
            w.do(f"call void @{name}.masks(ptr %ints, ptr {table}, i64 {k}, ptr {masks})")

    def planes() -> None:
        w.do(f"call void @{name}.box_lines(ptr %ints, i64 0, i64 {k}, ptr {table})")
        nbytes = w.op(f"mul nsw i64 {part['box_plane']}, {form.tile.dtype.itemsize}")
        w.do(f"call void @{name}.zeros(ptr {at(w, '%scratch', (part['packed_b_at'], 1))}, i64 {nbytes})")

    for mode in there:
        when(w, w.op(f"icmp eq i64 {part['mode']}, {mode}"), windows if mode == FEW_ROWS else planes)


@dataclass(frozen=True, slots=True)
class _Panel:
    """Columns of a tile, in registers: where they lie and the bytes from line to line, how many there are, whether they
    are the first of the unit, what is fetched ahead, the number of the first and its place (``_place``), the lines."""

    b: str
    pitch: str
    width: str
    leftmost: str
    ahead: str
    n: str
    place: tuple[list[str], str]
    entries: str


class _Unit:
    """Emits one unit; the fields are registers, i64 or ptr. ``small``: where it is kept, of what is packed of A in a K
    block and of B in a panel, whether dot instructions would be wrong (dot.py)."""

    def __init__(
        self,
        kernel: Contraction,
        form: Form,
        frame: Frame,
        name: str,
        slots: dict[str, Slot],
        unit: str,
        asks: bool,
        small: dict[str, str],
    ):
        self.asks, self.small = asks, small
        self.kernel, self.form, self.frame, self.w, self.name = kernel, form, frame, frame.w, name
        self.tile, self.size = form.tile, form.tile.dtype.itemsize
        w, part = self.w, {field: frame.int_(slot) for field, slot in slots.items()}
        self.part, self.k = part, frame.int_(kernel.k)
        *self.batch, block_n, block_m = grid_indices(frame, (*kernel.batch, slots["blocks_n"], slots["blocks_m"]), unit)
        self.m0, self.rows = self._piece(block_m, part["sub_m"], frame.int_(kernel.m))
        self.n, (self.n0, self.columns) = frame.int_(kernel.n), self._piece(block_n, part["sub_n"], part["columns"])
        self.a, self.a_outer, self.a_inner = self._operand(kernel.a, (self.m0, "0"), (-2, -1))
        self.b, self.b_outer, self.b_inner = self._operand(kernel.b, ("0", self.n0), (-1, -2))
        self.b_of_tiles = self.b
        if form.joins:  # tables count columns from those of the batch's first element on
            self.b_of_tiles, _, _ = self._operand(kernel.b, ("0", "0"), (-1, -2), ["0"])
            self.first = w.op(f"add nsw i64 {w.op(f'mul nsw i64 {self.batch[0]}, {self.n}')}, {self.n0}")
        self.box: BoxedColumns | None = None  # in the way that is emitted
        self.packed_a = "%scratch"
        self.packed_b = w.op(f"getelementptr i8, ptr %scratch, i64 {part['packed_b_at']}", "packed")
        self.sums = w.op(f"getelementptr i8, ptr %scratch, i64 {part['sums_at']}", "sums")
        self.pitch = str(self.tile.columns * self.size)  # bytes from row to row of a tile in scratch
        if form.direct_store:
            own = (["0"], "0") if form.joins else (self.batch, self.n0)
            self.c, self.c_pitch, _ = self._operand(kernel.stages[0].access, (self.m0, own[1]), (-2, -1), own[0])

    def _piece(self, block: str, sub: str, extent: str) -> tuple[str, str]:
        start = self.w.op(f"mul nsw i64 {block}, {sub}", "i")
        left = self.w.op(f"sub nsw i64 {extent}, {start}", "i")
        return start, self.w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {sub})", "i")

    def _tabulate(self, table: str, first_a: str, count_a: str, first_b: str, count_b: str) -> None:
        """Fill the tables (``outer`` or ``depth``) of the operands that are read by them."""
        for side, access, first, count in (
            ("a", self.kernel.a, first_a, count_a),
            ("b", self.kernel.b, first_b, count_b),
        ):
            if isinstance(access, Windowed) and not (side == "b" and self.box):
                place = self._table(f"{table}_{side}")
                self.w.do(f"call void @{self.name}.{table}_{side}(ptr %ints, i64 {first}, i64 {count}, ptr {place})")

    def _table(self, name: str, entry: str = "0") -> str:
        access = self.kernel.a if name.endswith("_a") else self.kernel.b
        assert isinstance(access, Windowed)
        return at(self.w, "%scratch", (str(TABLES_AT + TABLES[name]), 1), (entry, entry_bytes(access)))

    def _operand(
        self, access: Access | Windowed, start: tuple[str, str], axes: tuple[int, int], batch: list[str] | None = None
    ) -> tuple[str, str, str]:
        """Pointer to the unit's first element (in an element of the batch, by default its own), and the strides of two
        axes in bytes; where tables have the offsets, to the first element of all, and 0."""
        w, size, batch = self.w, access.dtype.itemsize, batch or self.batch
        if isinstance(access, Windowed):
            offset = offset_of(w, self.frame.ints, access.offset, zip(access.strides, batch, strict=True))
            return at(w, self.frame.buffers[access.buf], (offset, size)), "0", "0"
        offset = offset_of(w, self.frame.ints, access.offset, zip(access.strides, (*batch, *start), strict=True))
        pointer = at(w, self.frame.buffers[access.buf], (offset, size))
        outer, inner = (w.arithmetic("mul", self.frame.int_(access.strides[x]), size) for x in axes)
        return pointer, outer, inner

    def emit(self, vectors: dict[int, str]) -> None:
        """The ways of computing a unit, by mode."""
        ways = {TILES: self._tiles} | {n: partial(self._vector, n, function) for n, function in vectors.items()}
        if self.form.few_rows:
            ways[FEW_ROWS] = self._few_rows
        if self.form.planes:
            ways[PLANES] = self._planes
        if self.form.thin:
            ways[BATCH_LANES] = self._lanes
        if self.form.boxed:
            ways[BOXED] = self._boxed
        there = [number for number in ways if number in modes_of(self.kernel)]
        if len(there) == 1:
            ways[there[0]]()
            return
        for number in there:
            when(self.w, self.w.op(f"icmp eq i64 {self.part['mode']}, {number}"), ways[number])

    # --- few rows -------------------------------------------------------------------------------------------------

    def _few_rows(self) -> None:
        self._few("few_rows", f"ptr {at(self.w, '%scratch', (str(MASKS_AT), 1))}")

    def _planes(self) -> None:
        self._few("planes", f"i64 {self.part['box_line']}, i64 {self.part['box_step']}, ptr {self.packed_b}")

    def _few(self, function: str, others: str) -> None:
        """All rows of the unit's columns; ``others``: the arguments that the function has for itself."""
        w, panels = self.w, self.form.a == "panels"
        pitch, a = sums_pitch(w, self.tile, self.columns), self.a
        if self.form.a_direct:
            stride = self.a_inner if panels else self.a_outer
        else:
            self._pack("a", self.a, "0", self.rows, self.k, self.packed_a)
            a, stride = self.packed_a, str(self.tile.rows * self.size if panels else packed_row(self.tile))
        w.do(
            f"call void @{self.name}.{function}(ptr {a}, i64 {stride}, ptr {self.b}, ptr %ints, i64 {self.n0}, "
            f"i64 {self.columns}, i64 {self.rows}, ptr {self._table('depth_b')}, i64 {self.k}, {others}, "
            f"ptr {self.sums}, i64 {pitch})"
        )
        self._epilogue(self.batch, self.m0, self.n0, self.sums, pitch, self.rows, self.columns)

    # --- lanes along the batch ------------------------------------------------------------------------------------

    def _lanes(self) -> None:
        """The unit's number is that of a vector of the batch's elements."""
        w, lanes, pitch = self.w, self.tile.lanes, lanes_pitch(self.tile)
        nbytes, m, n = lanes * self.size, self.rows, self.columns
        first = w.op(f"mul nsw i64 {self.batch[0]}, {lanes}")
        count = self._at_most(self.frame.int_(self.kernel.batch[0]), first, lanes)
        last = w.op(f"sub nsw i64 {count}, 1")
        self._tabulate("outer", "0", m, "0", n)

        def pack(side: str, access: Access | Windowed, extent: str, place: str, kc: str) -> None:
            src, _, _ = self._operand(access, ("0", "0"), (-2, -1), [first])
            stride = w.arithmetic("mul", self.frame.int_(access.strides[0]), access.dtype.itemsize)

            def one(i: str) -> None:
                w.do(
                    f"call void @{self.name}.lanes_{side}(ptr {src}, i64 {stride}, i64 {last}, ptr %ints, "
                    f"ptr {self._table(f'outer_{side}', i)}, ptr {self._table(f'depth_{side}')}, i64 {kc}, "
                    f"ptr {at(w, place, (i, pitch))})"
                )

            loop(w, "0", extent, 1, one)

        def block(k0: str) -> None:
            kc = self._at_most(self.k, k0, K_BLOCK)
            self._tabulate("depth", k0, kc, k0, kc)
            pack("a", self.kernel.a, m, self.packed_a, kc)
            pack("b", self.kernel.b, n, self.packed_b, kc)
            later = w.op(f"icmp ne i64 {k0}, 0")

            def row(i: str) -> None:
                totals = at(w, self.sums, (w.op(f"mul nsw i64 {i}, {n}"), nbytes))
                w.do(
                    f"call void @{self.name}.lanes(ptr {at(w, self.packed_a, (i, pitch))}, ptr {self.packed_b}, "
                    f"i64 {n}, i64 {kc}, ptr {totals}, i1 {later})"
                )

            loop(w, "0", m, 1, row)

        loop(w, "0", w.op(f"call i64 @llvm.smax.i64(i64 {self.k}, i64 1)"), K_BLOCK, block)
        loop(w, "0", count, 1, lambda lane: self._lane_out(first, lane))

    def _lane_out(self, first: str, lane: str) -> None:
        """The epilogue of one element of the batch, whose sums are put side by side."""
        w, nbytes, m, n = self.w, self.tile.lanes * self.size, self.rows, self.columns
        cells = w.op(f"mul nsw i64 {m}, {n}")
        pitch = w.arithmetic("mul", w.op(f"add nsw i64 {n}, {LANES}"), self.size)
        rows, kind = at(w, self.sums, (cells, nbytes)), memory_type(self.tile.dtype)

        def row(i: str) -> None:
            def cell(j: str) -> None:
                number = w.op(f"add nsw i64 {w.op(f'mul nsw i64 {i}, {n}')}, {j}")
                value = w.op(f"load {kind}, ptr {at(w, self.sums, (number, nbytes), (lane, self.size))}")
                w.do(f"store {kind} {value}, ptr {at(w, rows, (i, pitch), (j, self.size))}")

            loop(w, "0", n, 1, cell)

        loop(w, "0", m, 1, row)
        self._epilogue([w.op(f"add nsw i64 {first}, {lane}")], "0", "0", rows, pitch, m, n)

    # --- products with a vector -----------------------------------------------------------------------------------

    def _vector(self, mode: int, function: str) -> None:
        w, lanes = self.w, self.tile.lanes
        if mode == MATRIX_VECTOR:
            vectors, count, outer, inner, rows_form = "1", self.rows, self.a_outer, self.a_inner, self.form.a == "rows"
            matrix, x, xo, xs = self.a, self.b, self.b_outer, self.b_inner
        else:
            vectors, count = self.rows, self.columns
            outer, inner, rows_form = self.b_outer, self.b_inner, self.form.b == "rows"
            matrix, x, xo, xs = self.b, self.a, self.a_outer, self.a_inner
        pitch = w.op(f"mul nsw i64 {w.op(f'add nsw i64 {count}, {lanes}')}, {self.size}")
        chains = at(w, self.sums, (vectors, pitch))
        large = w.op(f"icmp ne i64 {self.part['large']}, 0")
        stride = outer if rows_form else inner
        w.do(
            f"call void @{self.name}.{function}(ptr {matrix}, i64 {stride}, ptr {x}, i64 {xo}, i64 {xs}, "
            f"i64 {vectors}, i64 {count}, i64 {self.k}, ptr {self.sums}, i64 {pitch}, ptr {chains}, i1 {large})"
        )
        if mode == MATRIX_VECTOR:
            self._epilogue(self.batch, self.m0, self.n0, self.sums, str(self.size), count, "1")
        else:
            self._epilogue(self.batch, self.m0, self.n0, self.sums, pitch, vectors, count)

    def _epilogue(self, batch: list[str], m: str, n: str, sums: str, pitch: str, height: str, width: str) -> None:
        w = self.w
        indices = ", ".join(f"i64 {x}" for x in (*batch, m, n))
        status = w.op(
            f"call i64 @{self.name}.epilogue(ptr %bufs, ptr %ints, {indices}, ptr {sums}, i64 {pitch}, "
            f"i64 {height}, i64 {width})"
        )
        old = w.op(f"load i64, ptr {self.frame.status}")
        w.do(f"store i64 {w.op(f'or i64 {old}, {status}')}, ptr {self.frame.status}")

    # --- tiles, of packed windows or of a box -----------------------------------------------------------------------

    def _boxed(self) -> None:
        assert isinstance(self.kernel.b, Windowed)
        self.box = BoxedColumns(self.frame, self.name, self.tile, self.kernel.b, self.part, self.packed_b)
        self.box.begin(self.n0, self.columns)
        self._tiles()
        self.box = None

    def _tiles(self) -> None:
        """The loop over K blocks; once, with no terms, when k is 0."""
        w, tile = self.w, self.tile
        if self.form.joins:
            self._tabulate("outer", self.m0, self.rows, self.first, self.columns)
        else:
            self._tabulate("outer", self.m0, self.rows, self.n0, self.columns)
        # Rows (columns) from here on are packed: all of them, or only those of the last, partial tile.
        self.a_from = self._packed_from(self.form.a_direct, "pack_a", self.rows, tile.rows)
        self.b_from = self._packed_from(self.form.b_direct, "pack_b", self.columns, tile.columns)
        self.tiles_n = w.op(f"udiv i64 {w.op(f'add i64 {self.columns}, {tile.columns - 1}')}, {tile.columns}")
        loop(w, "0", w.op(f"call i64 @llvm.smax.i64(i64 {self.k}, i64 1)"), self.tile.depth, self._block)

    def _packed_from(self, direct: bool, field: str, extent: str, step: int) -> str:
        if not direct:
            return "0"
        w = self.w
        whole = w.op(f"sub i64 {extent}, {w.op(f'urem i64 {extent}, {step}')}")
        return w.op(f"select i1 {w.op(f'icmp ne i64 {self.part[field]}, 0')}, i64 0, i64 {whole}")

    def _block(self, k0: str) -> None:
        w = self.w
        left = w.op(f"sub nsw i64 {self.k}, {k0}")
        kc = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {self.tile.depth})", "kc")
        last = w.op(f"icmp sle i64 {left}, {self.tile.depth}", "last")
        self._tabulate("depth", k0, kc, k0, kc)
        if self.box:
            self.box.fill(self.b, k0, kc, self._table("depth_b"))
        if self.small:
            w.do(f"store i1 false, ptr {self.small['a']}")
        if self.form.turns:
            self._in_turn(k0, kc, last)
        else:
            loop(w, "0", self.columns, self.tile.columns, lambda j: self._column(j, k0, kc, last))

    def _column(self, j: str, k0: str, kc: str, last: str) -> None:
        """The tiles below each other, which share a panel of B."""
        panel = self._panel(j, k0, kc, None)
        loop(self.w, "0", self.rows, self.tile.rows, lambda i: self._one(i, j, panel, k0, kc, last))

    def _in_turn(self, k0: str, kc: str, last: str) -> None:
        """All tiles: those of a column after those of the one before, or those of a row after those of the row above.

        In rows, what they write and read (a residual) lies in lines that go on from tile to tile, which is how memory
        and what fetches ahead of it want it; all panels of B are kept."""
        w, tile = self.w, self.tile
        in_rows = w.op(f"icmp ne i64 {self.part['in_rows']}, 0")
        tiles_m = w.op(f"udiv i64 {w.op(f'add i64 {self.rows}, {tile.rows - 1}')}, {tile.rows}")
        inner = w.op(f"select i1 {in_rows}, i64 {self.tiles_n}, i64 {tiles_m}")
        nbytes = w.op(f"mul i64 {kc}, {tile.columns * self.size}")

        def one(number: str) -> None:
            q = w.op(f"udiv i64 {number}, {inner}")
            r = w.op(f"sub i64 {number}, {w.op(f'mul i64 {q}, {inner}')}")
            row = w.op(f"select i1 {in_rows}, i64 {q}, i64 {r}")
            column = w.op(f"select i1 {in_rows}, i64 {r}, i64 {q}")
            place = w.op(f"select i1 {in_rows}, i64 {column}, i64 0")
            i, j = w.op(f"mul i64 {row}, {tile.rows}"), w.op(f"mul i64 {column}, {tile.columns}")
            panel = self._panel(j, k0, kc, (at(w, self.packed_b, (place, nbytes)), w.op(f"icmp eq i64 {i}, 0")))
            self._one(i, j, panel, k0, kc, last)

        loop(w, "0", w.op(f"mul i64 {tiles_m}, {self.tiles_n}"), 1, one)

    def _panel(self, j: str, k0: str, kc: str, kept: tuple[str, str] | None) -> _Panel:
        """The columns from ``j`` on, packed if need be; ``kept``: where, and whether it is time (else it has been)."""
        w, tile = self.w, self.tile
        width = self._at_most(self.columns, j, tile.columns)
        src = at(w, self.b_of_tiles, (k0, self.b_inner), (j, self.b_outer))
        if self.box:
            b, pitch = self.box.columns(w.op(f"add nsw i64 {self.n0}, {j}"))
        else:
            b, pitch = self._b_panel(src, j, width, kc, *(kept or (self.packed_b, None)))
        n = w.op(f"add nsw i64 {self.first if self.form.joins else self.n0}, {j}")
        ahead, entries = self._next_panel(j, k0), kc
        if tile.group > 1:
            entries = w.op(f"udiv i64 {w.op(f'add i64 {kc}, {tile.group - 1}')}, {tile.group}")
        return _Panel(b, pitch, width, w.op(f"icmp eq i64 {j}, 0"), ahead, n, self._place(n), entries)

    def _one(self, i: str, j: str, panel: _Panel, k0: str, kc: str, last: str) -> None:
        """One tile; those of the first column pack A for all."""
        w, tile, width = self.w, self.tile, panel.width
        height = self._at_most(self.rows, i, tile.rows)
        src = at(w, self.a, (k0, self.a_inner), (i, self.a_outer))
        a, pitch_a = self._a_panel(src, i, height, kc, panel.leftmost)
        fetch = self._fetch(panel.ahead, src, i, panel.leftmost)
        sums, into, pitch, finish = self._sums(i, j, panel.place, height, width, last)
        later = w.op(f"icmp ne i64 {k0}, 0")
        if self.asks:
            large = w.op(f"icmp ne i64 {self.part['large']}, 0")
            when(w, w.op(f"and i1 {last}, {large}"), lambda: self._ask_ahead(i, panel.place, height))
        operands = f"ptr {a}, i64 {pitch_a}, ptr {panel.b}, i64 {panel.pitch}, i64 {panel.entries}"
        lines = f", ptr {self._table('depth_b')}" if self.box else ""
        self._compute(height, width, f"{operands}, ptr {into}, i64 {pitch}, i1 {later}, ptr {sums}, {fetch}{lines}")
        m = w.op(f"add nsw i64 {self.m0}, {i}")
        when(w, finish, lambda: self._epilogues(m, panel.n, sums, height, width))

    def _compute(self, height: str, width: str, arguments: str) -> None:
        """Call the tile function for these sizes; where dot instructions would be wrong, the exact one."""
        w, tile = self.w, self.tile
        if tile.dot is None or not tile.dot.checked:
            call_tile(w, tile, f"{self.name}.{'lines' if self.box else 'tile'}", height, width, arguments)
            return
        a, b = (w.op(f"load i1, ptr {cell}") for cell in self.small.values())
        either(
            w,
            w.op(f"or i1 {a}, {b}"),
            lambda: w.do(f"call void @{self.name}.exact({arguments})"),
            lambda: call_tile(w, tile, f"{self.name}.tile", height, width, arguments),
        )

    def _place(self, n: str) -> tuple[list[str], str]:
        """The element of the batch, and the column of it, that are column ``n`` of all."""
        if not self.form.joins:
            return self.batch, n
        return [self.w.op(f"udiv i64 {n}, {self.n}")], self.w.op(f"urem i64 {n}, {self.n}")

    def _epilogues(self, m: str, n: str, sums: str, height: str, width: str) -> None:
        """The epilogue of a tile: of the columns of each element of the batch that it has some of."""
        w = self.w
        if not self.form.joins:
            self._epilogue(self.batch, m, n, sums, self.pitch, height, width)
            return
        some = "%" + w.fresh("some")

        def part(done: str) -> None:
            batch, column = self._place(w.op(f"add nsw i64 {n}, {done}"))
            left, rest = w.op(f"sub nsw i64 {self.n}, {column}"), w.op(f"sub nsw i64 {width}, {done}")
            w.do(f"{some} = call i64 @llvm.smin.i64(i64 {left}, i64 {rest})")
            self._epilogue(batch, m, column, at(w, sums, (done, self.size)), self.pitch, height, some)

        loop(w, "0", width, some, part)

    def _ask_ahead(self, i: str, place: tuple[list[str], str], height: str) -> None:
        w, (batch, n) = self.w, place
        indices = ", ".join(f"i64 {x}" for x in (*batch, w.op(f"add nsw i64 {self.m0}, {i}"), n))
        w.do(f"call void @{self.name}.ahead(ptr %bufs, ptr %ints, {indices}, i64 {height})")

    def _at_most(self, extent: str, start: str, limit: int) -> str:
        left = self.w.op(f"sub nsw i64 {extent}, {start}")
        return self.w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {limit})")

    def _pack(self, side: str, src: str, first: str, count: str, kc: str, dst: str) -> None:
        """Pack the rows of A, or columns of B, from ``first`` on (which lies at ``src``)."""
        if isinstance(self.kernel.a if side == "a" else self.kernel.b, Windowed):
            tables = f"ptr {self._table(f'outer_{side}', first)}, ptr {self._table(f'depth_{side}')}"
            strides = f"ptr %ints, {tables}"
        elif side == "a":
            strides = f"i64 {self.a_outer}, i64 {self.a_inner}"
        else:
            strides = f"i64 {self.b_outer}, i64 {self.b_inner}"
        call = f"@{self.name}.pack_{side}(ptr {src}, {strides}, i64 {count}, i64 {kc}, ptr {dst})"
        if not self.small:
            self.w.do(f"call void {call}")
            return
        found = self.w.op(f"call i1 {call}")
        if side == "a":
            found = self.w.op(f"or i1 {found}, {self.w.op(f'load i1, ptr {self.small[side]}')}")
        self.w.do(f"store i1 {found}, ptr {self.small[side]}")

    def _a_panel(self, src: str, i: str, height: str, kc: str, leftmost: str) -> tuple[str, str]:
        """``(pointer, byte stride between rows or, of panels, lines)`` of the tile's rows of A, packed if need be."""
        w, tile = self.w, self.tile
        panels = self.form.a == "panels"
        own = at(w, self.packed_a, (i, tile.entries * self.size if panels else packed_row(tile)))
        own_stride = str(tile.rows * self.size if panels else packed_row(tile))
        packed = w.op(f"icmp sge i64 {i}, {self.a_from}")
        when(
            w,
            w.op(f"and i1 {packed}, {leftmost}"),
            lambda: self._pack("a", src, i, height, kc, own),
        )
        if not self.form.a_direct:
            return own, own_stride
        stride = self.a_inner if panels else self.a_outer
        return (
            w.op(f"select i1 {packed}, ptr {own}, ptr {src}"),
            w.op(f"select i1 {packed}, i64 {own_stride}, i64 {stride}"),
        )

    def _b_panel(self, src: str, j: str, width: str, kc: str, own: str, due: str | None) -> tuple[str, str]:
        """``(pointer, byte stride between lines)`` of the tile's columns of B, which are packed, if need be, at
        ``own``, now or (not ``due``) before."""
        w, tile = self.w, self.tile
        narrow = w.op(f"icmp sle i64 {width}, {tile.lanes}")
        own_stride = w.op(f"select i1 {narrow}, i64 {tile.lanes * self.size}, i64 {tile.columns * self.size}")
        packed = w.op(f"icmp sge i64 {j}, {self.b_from}")
        now = packed if due is None else w.op(f"and i1 {packed}, {due}")
        when(w, now, lambda: self._pack("b", src, j, width, kc, own))
        if tile.dot and tile.dot.moved:  # a line of corrections leads
            return at(w, own, (own_stride, 1)), own_stride
        if not self.form.b_direct:
            return own, own_stride
        return (
            w.op(f"select i1 {packed}, ptr {own}, ptr {src}"),
            w.op(f"select i1 {packed}, i64 {own_stride}, i64 {self.b_inner}"),
        )

    def _next_panel(self, j: str, k0: str) -> str:
        """Where the panel of B lies that is needed after this one: to the right, or leftmost in the next K block."""
        w = self.w
        right, below = w.op(f"add i64 {j}, {self.tile.columns}"), w.op(f"add i64 {k0}, {self.tile.depth}")
        more = w.op(f"icmp slt i64 {right}, {self.columns}")
        return at(
            w,
            self.b_of_tiles,
            (w.op(f"select i1 {more}, i64 {k0}, i64 {below}"), self.b_inner),
            (w.op(f"select i1 {more}, i64 {right}, i64 0"), self.b_outer),
        )

    def _fetch(self, ahead: str, src: str, i: str, leftmost: str) -> str:
        """What a tile prefetches (see TILE_ARGUMENTS): in the first column the rows of A below it, which no tile has
        read yet; in the others its share of the next panel of B."""
        w, tile = self.w, self.tile
        stride, reach = (self.b_outer, 8) if self.form.b == "rows" else (self.b_inner, 1)
        number = w.op(f"udiv i64 {i}, {tile.rows}")
        b = (at(w, ahead, (w.op(f"mul i64 {number}, {self.part['ahead']}"), stride)), stride, self.part["ahead"], reach)
        below = at(w, src, (str(tile.rows), self.a_outer))
        a = (below, self.a_inner, K_BLOCK, 0) if self.form.a == "panels" else (below, self.a_outer, tile.rows, 8)
        kinds = ("ptr", "i64", "i64", "i64")
        return ", ".join(
            f"{kind} {w.op(f'select i1 {leftmost}, {kind} {x}, {kind} {y}')}"
            for kind, x, y in zip(kinds, a, b, strict=True)
        )

    def _sums(
        self, i: str, j: str, place: tuple[list[str], str], height: str, width: str, last: str
    ) -> tuple[str, str, str, str]:
        """``(sums, into, pitch, i1: the epilogue has to follow)``: where the tile's sums are kept between K blocks, and
        where this block's go.

        With one K block nothing needs keeping: all tiles share the first place, which stays in the L1 cache.
        """
        w, tile = self.w, self.tile
        row, column = w.op(f"udiv i64 {i}, {tile.rows}"), w.op(f"udiv i64 {j}, {tile.columns}")
        number = w.op(f"add i64 {w.op(f'mul i64 {row}, {self.tiles_n}')}, {column}")
        number = w.op(f"select i1 {w.op(f'icmp sgt i64 {self.k}, {tile.depth}')}, i64 {number}, i64 0")
        sums = at(w, self.sums, (number, tile.rows * tile.columns * self.size))
        if not self.form.direct_store:
            return sums, sums, self.pitch, last
        whole = w.op(
            f"and i1 {w.op(f'icmp eq i64 {height}, {tile.rows}')}, {w.op(f'icmp eq i64 {width}, {tile.columns}')}"
        )
        output = at(w, self.c, (i, self.c_pitch), (j, self.size))
        if self.form.joins:
            (element,), column = place
            end = w.op(f"add nsw i64 {column}, {tile.columns}")
            whole = w.op(f"and i1 {whole}, {w.op(f'icmp sle i64 {end}, {self.n}')}")
            step = w.arithmetic("mul", self.frame.int_(self.kernel.stages[0].access.strides[0]), self.size)
            output = at(w, self.c, (element, step), (i, self.c_pitch), (column, self.size))
        stored = w.op(f"and i1 {last}, {whole}")
        return (
            sums,
            w.op(f"select i1 {stored}, ptr {output}, ptr {sums}"),
            w.op(f"select i1 {stored}, i64 {self.c_pitch}, i64 {self.pitch}"),
            w.op(f"xor i1 {last}, {stored}"),
        )

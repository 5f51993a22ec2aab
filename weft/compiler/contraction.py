"""Renders :class:`Contraction` for CPUs, and cuts it into units of work.

Naive meaning::

    for each batch element, m, n:
        total = chain over the first K block       # chain: s = 0; for k in block: s = fma(a[m, k], b[k, n], s)
        for each further K block: total = total + chain over the block
        acc = total                                # 0 when k == 0
        for store in epilogue: write value(acc) at (m, n)

How it runs: a unit is one piece of C of at most ``sub_m`` x ``sub_n`` elements with all of K. For each K block its
operands are packed into the thread's scratch, where that pays; tile functions (contraction_tile.py) compute the chains
of 12x32 elements (AVX-512, float32) in registers; later blocks are added to the sums of the earlier ones in scratch;
after the last block the epilogue reads them from there. When the epilogue is one plain store of ``acc`` along
contiguous rows, whole tiles keep their sums in the output itself. Every element goes through the same operations
wherever it lies, so the bits depend neither on tiles nor on units nor on what is packed.

The kernel reads PARTITION ints after its own slots (see :func:`contraction_units`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core import dtypes as dt
from .contraction_tile import (
    ContractionTarget,
    Tile,
    convert,
    packed_row,
    render_pack_panels,
    render_pack_rows,
    render_pack_strided,
    render_pack_transposed,
    render_tile,
    tile_of,
)
from .emit import Module, Writer, emit_exprs, memory_type, offset_of, vector_of
from .expr import Expr
from .kernels import K_BLOCK, Access, Contraction, Slot, Store
from .lanes import Frame, LanePoint, begin_kernel, end_kernel, hoist_uniform, loop, spread, vector_loop
from .nest import ATTRIBUTES, grid_indices, slots_of

__all__ = ["PARTITION", "Partition", "contraction_slots", "contraction_units", "first_partition_slot",
           "render_contraction"]

PARTITION = ("sub_m", "blocks_m", "sub_n", "blocks_n", "pack_a", "pack_b", "packed_b_at", "sums_at", "prefetch")


@dataclass(frozen=True, slots=True)
class Partition:
    """How a contraction is cut: ``units`` of work, and the ``ints`` that the launcher appends to the kernel's own."""

    units: int
    ints: tuple[int, ...]


def first_partition_slot(kernel: Contraction) -> int:
    """Position of the first PARTITION int: one after the highest slot that the kernel names."""
    return max(contraction_slots(kernel)) + 1


def contraction_slots(kernel: Contraction) -> list[int]:
    """Every Slot that the kernel names."""
    sizes = [*kernel.batch, kernel.m, kernel.n, kernel.k]
    for access in (kernel.a, kernel.b):
        sizes += [x for x in (access.offset, *access.strides) if isinstance(x, Slot)]
    return slots_of(kernel.epilogue, [x for x in sizes if isinstance(x, Slot)])


def _form(outer: object, inner: object) -> str:
    """Form of an operand by its strides along (m or n, k); see contraction_tile.py."""
    return "rows" if inner == 1 else "panels" if outer == 1 else "strided"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known of a kernel before its sizes are: tile, forms of the operands, what may stay unpacked."""

    kernel: Contraction
    tile: Tile
    a_form: str  # rows, panels or strided (packed as rows)
    b_form: str  # panels, rows (packed by transposition) or strided
    a_direct: bool  # A may be read where it lies
    b_direct: bool
    in_place: bool  # whole tiles keep their sums in the output


def _plan(kernel: Contraction, target: ContractionTarget) -> _Plan:
    tile = tile_of(kernel.accumulate, target)
    a_form = _form(kernel.a.strides[-2], kernel.a.strides[-1])
    outer, inner = kernel.b.strides[-1], kernel.b.strides[-2]
    b_form = "panels" if outer == 1 else _form(outer, inner)

    def same(access: Access) -> bool:
        return memory_type(access.dtype) == memory_type(tile.dtype)

    store = kernel.epilogue[0]
    in_place = (len(kernel.epilogue) == 1 and store.value.op == "acc" and not store.indices
                and same(store.access) and kernel.accumulate.itemsize == tile.dtype.itemsize
                and store.access.strides[-1] == 1 and store.access.strides[-2] != 0)
    return _Plan(kernel, tile, a_form, b_form, a_form != "strided" and same(kernel.a),
                 b_form == "panels" and same(kernel.b), in_place)


# --- units ------------------------------------------------------------------------------------------------------


def contraction_units(kernel: Contraction, ints: tuple[int, ...] | list[int], threads: int,
                      target: ContractionTarget) -> Partition:
    """Cut the contraction with these ints into units for ``threads`` threads.

    The launcher appends ``Partition.ints`` to the kernel's ints at :func:`first_partition_slot` and runs the units
    ``0 <= u < Partition.units`` in any order, on any threads. The cut never changes a result.
    """
    plan = _plan(kernel, target)
    tile, size = plan.tile, plan.tile.dtype.itemsize
    batch = 1
    for axis in kernel.batch:
        batch *= ints[axis.index]
    m, n, k = (ints[s.index] for s in (kernel.m, kernel.n, kernel.k))
    if batch * m * n == 0:
        return Partition(0, (1, 0, 1, 0, 0, 0, 0, 0, 0))
    sub_m, sub_n = _cut(plan, batch, m, n, k, threads)
    pack_a = not plan.a_direct or sub_n > 4 * tile.columns
    pack_b = not plan.b_direct or sub_m > 4 * tile.rows
    padded_m, padded_n = _up(sub_m, tile.rows), _up(sub_n, tile.columns)
    b_at = _up(padded_m * packed_row(tile) + 64, 64)
    sums_at = b_at + K_BLOCK * tile.columns * size
    share = -(-(tile.columns if plan.b_form == "rows" else K_BLOCK) // (padded_m // tile.rows))
    blocks_m, blocks_n = -(-m // sub_m), -(-n // sub_n)
    return Partition(batch * blocks_m * blocks_n,
                     (sub_m, blocks_m, sub_n, blocks_n, int(pack_a), int(pack_b), b_at, sums_at, share))


def _up(x: int, step: int) -> int:
    return -(-x // step) * step


def _cut(plan: _Plan, batch: int, m: int, n: int, k: int, threads: int) -> tuple[int, int]:
    """``(sub_m, sub_n)``: pieces as square as the scratch allows, enough of them to keep all threads busy."""
    tile, words = plan.tile, plan.tile.dtype.itemsize // 4
    most_m, most_n = _up(384 // words, tile.rows), _up(512 // words, tile.columns)
    blocks_m, blocks_n = -(-m // most_m), -(-n // most_n)
    return _up(-(-m // blocks_m), tile.rows), _up(-(-n // blocks_n), tile.columns)


# --- the kernel -------------------------------------------------------------------------------------------------


def render_contraction(kernel: Contraction, name: str, target: ContractionTarget) -> str:
    """LLVM IR of one module that defines ``name`` with the kernel ABI."""
    plan = _plan(kernel, target)
    tile, module = plan.tile, Module()
    for height, vectors in tile.variants:
        render_tile(module, f"{name}.tile{height}x{vectors}", tile, height, vectors, plan.a_form != "panels", target)
    if plan.b_direct:
        render_tile(module, f"{name}.packing", tile, tile.rows, tile.vectors, plan.a_form != "panels", target, True)
    if plan.a_form == "rows":
        render_pack_rows(module, f"{name}.pack_a", tile, kernel.a.dtype, target)
    elif plan.a_form == "panels":
        render_pack_panels(module, f"{name}.pack_a", tile, kernel.a.dtype, True, target)
    else:
        render_pack_strided(module, f"{name}.pack_a", tile, kernel.a.dtype, True)
    if plan.b_form == "panels":
        render_pack_panels(module, f"{name}.pack_b", tile, kernel.b.dtype, False, target)
    elif plan.b_form == "rows":
        render_pack_transposed(module, f"{name}.pack_b", tile, kernel.b.dtype)
    else:
        render_pack_strided(module, f"{name}.pack_b", tile, kernel.b.dtype, False)
    w, first = Writer(module), first_partition_slot(kernel)
    frame = begin_kernel(w, len(kernel.buffers), [*contraction_slots(kernel), *range(first, first + len(PARTITION))],
                         target)
    slots = {field: Slot(first + i) for i, field in enumerate(PARTITION)}
    loop(w, "%begin", "%end", 1, lambda unit: _Unit(plan, frame, name, slots, unit).emit())
    end_kernel(frame, name)
    return module.text() + ATTRIBUTES + 'attributes #1 = { noinline nounwind "no-trapping-math"="true" }\n'


class _Unit:
    """Emits one unit; the fields are registers (i64 unless named otherwise)."""

    def __init__(self, plan: _Plan, frame: Frame, name: str, slots: dict[str, Slot], unit: str):
        self.plan, self.frame, self.w, self.name, self.tile = plan, frame, frame.w, name, plan.tile
        self.part = {field: frame.int_(slot) for field, slot in slots.items()}
        kernel = plan.kernel
        *self.batch, block_n, block_m = grid_indices(
            frame, (*kernel.batch, slots["blocks_n"], slots["blocks_m"]), unit)
        self.size = self.tile.dtype.itemsize
        self.k = frame.int_(kernel.k)
        self.m0, self.rows = self._piece(block_m, self.part["sub_m"], frame.int_(kernel.m))
        self.n0, self.columns = self._piece(block_n, self.part["sub_n"], frame.int_(kernel.n))
        self.a, self.a_outer, self.a_inner = self._operand(kernel.a, (self.m0, "0"), (-2, -1))
        self.b, self.b_outer, self.b_inner = self._operand(kernel.b, ("0", self.n0), (-1, -2))
        w = self.w
        # Rows (columns) from here on are packed: all of them, or only those of the last, partial tile.
        self.a_from = self._packed_from(plan.a_direct, "pack_a", self.rows, self.tile.rows)
        self.b_from = self._packed_from(plan.b_direct, "pack_b", self.columns, self.tile.columns)
        self.packed_a = "%scratch"
        self.packed_b = w.op(f"getelementptr i8, ptr %scratch, i64 {self.part['packed_b_at']}", "packed.b")
        self.sums = w.op(f"getelementptr i8, ptr %scratch, i64 {self.part['sums_at']}", "sums")
        self.pitch = str(self.tile.columns * self.size)  # bytes from row to row of a tile in scratch
        self.tiles_n = w.op(f"udiv i64 {w.op(f'add i64 {self.columns}, {self.tile.columns - 1}')}, {self.tile.columns}")
        self.share = self.part["prefetch"]
        if plan.in_place:
            access = kernel.epilogue[0].access
            self.c, self.c_pitch, _ = self._operand(access, (self.m0, self.n0), (-2, -1))

    def _piece(self, block: str, sub: str, extent: str) -> tuple[str, str]:
        start = self.w.op(f"mul nsw i64 {block}, {sub}", "i")
        left = self.w.op(f"sub nsw i64 {extent}, {start}", "i")
        return start, self.w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {sub})", "i")

    def _operand(self, access: Access, start: tuple[str, str], axes: tuple[int, int]) -> tuple[str, str, str]:
        """Pointer to the unit's first element, and the strides of two axes in bytes."""
        w, size = self.w, access.dtype.itemsize
        offset = offset_of(w, self.frame.ints, access.offset,
                           zip(access.strides, (*self.batch, *start), strict=True))
        pointer = w.op(f"getelementptr {memory_type(access.dtype)}, ptr {self.frame.buffers[access.buf]}, "
                       f"i64 {offset}", "p")
        strides = [w.arithmetic("mul", self.frame.int_(access.strides[x]), size) for x in axes]
        return pointer, strides[0], strides[1]

    def _packed_from(self, direct: bool, field: str, extent: str, step: int) -> str:
        if not direct:
            return "0"
        w = self.w
        whole = w.op(f"sub i64 {extent}, {w.op(f'urem i64 {extent}, {step}')}")
        return w.op(f"select i1 {w.op(f'icmp ne i64 {self.part[field]}, 0')}, i64 0, i64 {whole}")

    def _at(self, base: str, *terms: tuple[str, str | int]) -> str:
        w, offset = self.w, "0"
        for index, stride in terms:
            offset = w.arithmetic("add", offset, w.arithmetic("mul", index, stride))
        return w.op(f"getelementptr i8, ptr {base}, i64 {offset}", "p")

    def emit(self) -> None:
        """The loop over K blocks; once, with no terms, when k is 0."""
        w = self.w
        stop = w.op(f"call i64 @llvm.smax.i64(i64 {self.k}, i64 1)")
        loop(w, "0", stop, K_BLOCK, self._block)

    def _block(self, k0: str) -> None:
        w = self.w
        left = w.op(f"sub nsw i64 {self.k}, {k0}")
        kc = w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {K_BLOCK})", "kc")
        last = w.op(f"icmp sle i64 {left}, {K_BLOCK}", "last")
        loop(w, "0", self.columns, self.tile.columns, lambda j: self._column(j, k0, kc, last))

    def _column(self, j: str, k0: str, kc: str, last: str) -> None:
        """The tiles below each other that share a panel of B; the first column of tiles packs A for all.

        A whole panel that lies in rows is packed by the first tile while it computes, any other before.
        """
        w, tile = self.w, self.tile
        width = self._at_most(self.columns, j, tile.columns)
        src = self._at(self.b, (k0, self.b_inner), (j, self.b_outer))
        packed, leftmost = w.op(f"icmp sge i64 {j}, {self.b_from}"), w.op(f"icmp eq i64 {j}, 0")
        early, copied = packed, "false"
        if self.plan.b_direct:
            copied = w.op(f"and i1 {packed}, {w.op(f'icmp eq i64 {width}, {tile.columns}')}")
            copied = w.op(f"and i1 {copied}, {w.op(f'icmp sge i64 {self.rows}, {tile.rows}')}")
            import os
            if os.environ.get("NOCOPY"): copied="false"
            early = w.op(f"xor i1 {packed}, {copied}")
        self._when(early, lambda: self._pack("b", src, self.b_outer, self.b_inner, width, kc, self.packed_b))

        right, below = w.op(f"add i64 {j}, {tile.columns}"), w.op(f"add i64 {k0}, {K_BLOCK}")
        more = w.op(f"icmp slt i64 {right}, {self.columns}")
        ahead = self._at(self.b, (w.op(f"select i1 {more}, i64 {k0}, i64 {below}"), self.b_inner),
                        (w.op(f"select i1 {more}, i64 {right}, i64 0"), self.b_outer))

        def fetch(i: str) -> str:
            number = w.op(f"udiv i64 {i}, {tile.rows}")
            fb = self._at(ahead, (w.op(f"mul i64 {number}, {self.share}"), self.b_outer if self.plan.b_form == "rows" else self.b_inner))
            sb_ = self.b_outer if self.plan.b_form == "rows" else self.b_inner
            gb = 8 if self.plan.b_form == "rows" else 1
            below = w.op(f"add i64 {i}, {tile.rows}")
            fa = self._at(self.a, (k0, self.a_inner), (below, self.a_outer))
            sa_, ra, ga = (self.a_inner, 256, 0) if self.plan.a_form == "panels" else (self.a_outer, tile.rows, 8)
            use = w.op(f"and i1 {leftmost}, {w.op(f'icmp slt i64 {below}, {self.rows}')}")
            return ", ".join(f"{t} " + w.op(f"select i1 {use}, {t} {x}, {t} {y}") for t, x, y in (("ptr", fa, fb), ("i64", sa_, sb_), ("i64", ra, self.share), ("i64", ga, gb)))

        def row(i: str) -> None:
            self.fetch = fetch(i)
            height = self._at_most(self.rows, i, tile.rows)
            a, sa = self._a_panel(self._at(self.a, (k0, self.a_inner), (i, self.a_outer)), i, height, kc, leftmost)
            copies = w.op(f"and i1 {copied}, {w.op(f'icmp eq i64 {i}, 0')}") if self.plan.b_direct else "false"
            b, sb = self._b_panel(src, packed, copies, width)
            self._tile(i, j, k0, kc, f"ptr {a}, i64 {sa}, ptr {b}, i64 {sb}, i64 {kc}", height, width, last, copies)

        loop(w, "0", self.rows, tile.rows, row)

    def _at_most(self, extent: str, start: str, limit: int) -> str:
        left = self.w.op(f"sub nsw i64 {extent}, {start}")
        return self.w.op(f"call i64 @llvm.smin.i64(i64 {left}, i64 {limit})")

    def _tile(self, i: str, j: str, k0: str, kc: str, operands: str, height: str, width: str, last: str,
              copies: str) -> None:
        """One tile of one K block at row i, column j of the unit."""
        w, plan = self.w, self.plan
        sums, pitch, stays = self._sums(i, j, height, width)
        later = w.op(f"icmp ne i64 {k0}, 0")
        self._call_tile(height, width, f"{operands}, ptr {sums}, i64 {pitch}, i1 {later}, {self.fetch}", copies)
        finish = w.op(f"and i1 {last}, {w.op(f'xor i1 {stays}, true')}") if plan.in_place else last
        self._when(finish, lambda: self._epilogue(i, j, sums, height, width))

    def _a_panel(self, src: str, i: str, height: str, kc: str, leftmost: str) -> tuple[str, str]:
        """``(pointer, byte stride between rows or, of panels, lines)`` of the tile's rows of A, packed if need be."""
        w, tile, plan = self.w, self.tile, self.plan
        panels = plan.a_form == "panels"
        own = self._at(self.packed_a, (i, K_BLOCK * self.size if panels else packed_row(tile)))
        own_stride = str(tile.rows * self.size if panels else packed_row(tile))
        packed = w.op(f"icmp sge i64 {i}, {self.a_from}")
        self._when(w.op(f"and i1 {packed}, {leftmost}"), lambda: self._pack(
            "a", src, self.a_outer, self.a_inner, height, kc, own))
        if not plan.a_direct:
            return own, own_stride
        stride = self.a_inner if panels else self.a_outer
        return (w.op(f"select i1 {packed}, ptr {own}, ptr {src}"),
                w.op(f"select i1 {packed}, i64 {own_stride}, i64 {stride}"))

    def _b_panel(self, src: str, packed: str, copies: str, width: str) -> tuple[str, str]:
        """``(pointer, byte stride between lines)`` from which a tile reads its columns of B."""
        w, tile = self.w, self.tile
        narrow = w.op(f"icmp sle i64 {width}, {tile.lanes}")
        stride = w.op(f"select i1 {narrow}, i64 {tile.lanes * self.size}, i64 {tile.columns * self.size}")
        if not self.plan.b_direct:
            return self.packed_b, stride
        own = w.op(f"and i1 {packed}, {w.op(f'xor i1 {copies}, true')}")
        return (w.op(f"select i1 {own}, ptr {self.packed_b}, ptr {src}"),
                w.op(f"select i1 {own}, i64 {stride}, i64 {self.b_inner}"))

    def _pack(self, side: str, src: str, outer: str, inner: str, count: str, kc: str, dst: str) -> None:
        self.w.do(f"call void @{self.name}.pack_{side}(ptr {src}, i64 {outer}, i64 {inner}, i64 {count}, i64 {kc}, "
                  f"ptr {dst})")

    def _when(self, condition: str, body: Callable[[], None]) -> None:
        w = self.w
        yes, after = w.fresh("when"), w.fresh("after")
        w.do(f"br i1 {condition}, label %{yes}, label %{after}")
        w.label(yes)
        body()
        w.do(f"br label %{after}")
        w.label(after)

    def _sums(self, i: str, j: str, height: str, width: str) -> tuple[str, str, str]:
        """``(pointer, pitch, i1: it is the output itself)`` of where the tile's sums are kept between K blocks.

        In scratch, partial tiles of the last row and of the last column have places of their own, and whole ones
        where they cannot stay in the output. With one K block nothing needs keeping: all tiles share the first
        place, which stays in the L1 cache.
        """
        w, tile = self.w, self.tile
        row, column = w.op(f"udiv i64 {i}, {tile.rows}"), w.op(f"udiv i64 {j}, {tile.columns}")
        if self.plan.in_place:
            partial = w.op(f"icmp slt i64 {height}, {tile.rows}")
            place = w.op(f"select i1 {partial}, i64 {column}, i64 {w.op(f'add i64 {self.tiles_n}, {row}')}")
        else:
            place = w.op(f"add i64 {w.op(f'mul i64 {row}, {self.tiles_n}')}, {column}")
        place = w.op(f"select i1 {w.op(f'icmp sgt i64 {self.k}, {K_BLOCK}')}, i64 {place}, i64 0")
        sums = self._at(self.sums, (place, tile.rows * tile.columns * self.size))
        if not self.plan.in_place:
            return sums, self.pitch, "false"
        whole = w.op(f"and i1 {w.op(f'icmp eq i64 {height}, {tile.rows}')}, "
                     f"{w.op(f'icmp eq i64 {width}, {tile.columns}')}")
        output = self._at(self.c, (i, self.c_pitch), (j, self.size))
        return (w.op(f"select i1 {whole}, ptr {output}, ptr {sums}"),
                w.op(f"select i1 {whole}, i64 {self.c_pitch}, i64 {self.pitch}"), whole)

    def _call_tile(self, height: str, width: str, arguments: str, copies: str) -> None:
        """Call the smallest tile function that covers the tile."""
        w, tile, done = self.w, self.tile, self.w.fresh("computed")
        if self.plan.b_direct:
            call, other = w.fresh("call"), w.fresh("larger")
            w.do(f"br i1 {copies}, label %{call}, label %{other}")
            w.label(call)
            w.do(f"call void @{self.name}.packing({arguments}, ptr {self.packed_b})")
            w.do(f"br label %{done}")
            w.label(other)
        narrow = w.op(f"icmp sle i64 {width}, {tile.lanes}")
        for h, vectors in sorted(tile.variants, key=lambda v: (v[1], v[0])):
            call, other = w.fresh("call"), w.fresh("larger")
            fits = w.op(f"icmp sle i64 {height}, {h}")
            if vectors < tile.vectors:
                fits = w.op(f"and i1 {fits}, {narrow}")
            w.do(f"br i1 {fits}, label %{call}, label %{other}")
            w.label(call)
            w.do(f"call void @{self.name}.tile{h}x{vectors}({arguments})")
            w.do(f"br label %{done}")
            w.label(other)
        w.do("unreachable")
        w.label(done)

    def _epilogue(self, i: str, j: str, sums: str, height: str, width: str) -> None:
        """The stores of one tile, row by row."""
        w, tile, kernel, frame = self.w, self.tile, self.plan.kernel, self.frame
        stores: tuple[Store, ...] = kernel.epilogue
        roots: list[Expr] = [x for store in stores for x in (store.value, *store.indices)]
        n = w.op(f"add nsw i64 {self.n0}, {j}")
        end = w.op(f"add nsw i64 {n}, {width}")
        top = w.op(f"add nsw i64 {self.m0}, {i}")

        def row(r: str) -> None:
            m = w.op(f"add nsw i64 {top}, {r}")
            uniform = hoist_uniform(roots, LanePoint(frame, [*self.batch, m, n], 1))

            def body(at: str, lanes: int, mask: str | None) -> None:
                c = w.op(f"sub nsw i64 {at}, {n}")
                kind = vector_of(memory_type(tile.dtype), lanes)
                cell = self._at(sums, (r, self.pitch), (c, self.size))
                acc = w.op(f"load {kind}, ptr {cell}, align {self.size}")
                if kernel.accumulate.bits != tile.dtype.bits:
                    acc = convert(w, acc, dt.int32, kernel.accumulate, lanes)
                point = LanePoint(frame, [*self.batch, m, at], lanes, mask, accumulator=acc)
                values = iter(emit_exprs(w, roots, point, spread(frame, uniform, roots, lanes)))
                for store in stores:
                    value = next(values)
                    point.store(store, value, [next(values) for _ in store.indices])

            vector_loop(frame, n, end, body)

        loop(w, "0", height, 1, row)

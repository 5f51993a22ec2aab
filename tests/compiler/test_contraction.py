"""Contractions: every way of computing one gives the bits of the numerics contract."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.compiler import stages
from weft.compiler.contraction.plan import (
    PARTITION,
    VECTORS,
    VECTORS_MATRIX,
    Partition,
    contraction_units,
    first_partition_slot,
)
from weft.compiler.contraction.render import render_contraction
from weft.compiler.expr import add, cast, const, gather, leaf, lt, mul, where
from weft.compiler.kernels import K_BLOCK, SCRATCH_BYTES, STATUS_INDEX, Access, Contraction, Slot, Store
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.core.errors import CompileError
from weft.llvm.assembly import assemble
from weft.llvm.elf import CodeModule, load
from weft.llvm.targets import Target, cross_target, host_target

_KERNEL = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)
# Slots: m n k, then the strides of a (batch m k), b (batch k n), c (batch m n), d (batch m n), the batch size.
M, N, K, BATCH = Slot(0), Slot(1), Slot(2), Slot(15)
BIAS, FULL, COLUMN, SCALE, PICK = range(3, 8)  # buffers of epilogues


def _isas() -> list[str]:
    found = []
    for isa in ("avx512", "avx2", "neon"):
        try:
            host_target(isa)
        except CompileError:
            continue
        found.append(isa)
    return found


ISAS = _isas()


def _reference_text(scalar: str, suffix: str, size: int) -> str:
    """The contract, literally: one element at a time, scalar fma, blocks of K_BLOCK added in order."""
    return f"""
define void @reference(ptr %a, i64 %am, i64 %ak, ptr %b, i64 %bk, i64 %bn, ptr %c, i64 %cols, i64 %k, i64 %elements) {{
entry:
  br label %element
element:
  %e = phi i64 [ 0, %entry ], [ %e1, %finish ]
  %none = icmp eq i64 %e, %elements
  br i1 %none, label %exit, label %start
start:
  %m = udiv i64 %e, %cols
  %n = urem i64 %e, %cols
  %rowat = mul i64 %m, %am
  %colat = mul i64 %n, %bn
  br label %term
term:
  %i = phi i64 [ 0, %start ], [ %i1, %step ]
  %chain = phi {scalar} [ 0.0, %start ], [ %longer, %step ]
  %total = phi {scalar} [ 0.0, %start ], [ %kept, %step ]
  %over = icmp eq i64 %i, %k
  br i1 %over, label %finish, label %step
step:
  %within = urem i64 %i, {K_BLOCK}
  %fresh = icmp eq i64 %within, 0
  %later = icmp ugt i64 %i, {K_BLOCK}
  %sum = fadd {scalar} %total, %chain
  %second = select i1 %later, {scalar} %sum, {scalar} %chain
  %begun = icmp ne i64 %i, 0
  %closes = and i1 %fresh, %begun
  %kept = select i1 %closes, {scalar} %second, {scalar} %total
  %from = select i1 %fresh, {scalar} 0.0, {scalar} %chain
  %ai = mul i64 %i, %ak
  %ao = add i64 %ai, %rowat
  %ap = getelementptr {scalar}, ptr %a, i64 %ao
  %av = load {scalar}, ptr %ap
  %bi = mul i64 %i, %bk
  %bo = add i64 %bi, %colat
  %bp = getelementptr {scalar}, ptr %b, i64 %bo
  %bv = load {scalar}, ptr %bp
  %longer = call {scalar} @llvm.fma.{suffix}({scalar} %av, {scalar} %bv, {scalar} %from)
  %i1 = add i64 %i, 1
  br label %term
finish:
  %blocks = icmp ugt i64 %k, {K_BLOCK}
  %full = fadd {scalar} %total, %chain
  %result = select i1 %blocks, {scalar} %full, {scalar} %chain
  %cp = getelementptr {scalar}, ptr %c, i64 %e
  store {scalar} %result, ptr %cp
  %e1 = add i64 %e, 1
  br label %element
exit:
  ret void
}}
"""


@cache
def _reference_code(dtype: DType) -> CodeModule:
    scalar, suffix = ("float", "f32") if dtype is dt.float32 else ("double", "f64")
    return load(assemble(_reference_text(scalar, suffix, dtype.itemsize), host_target(ISAS[-1])))


def reference(a: np.ndarray, b: np.ndarray, accumulate: DType) -> np.ndarray:
    """``a @ b`` by the contract; 2-D or with one equal batch axis; the result has dtype ``accumulate``."""
    if a.ndim == 3:
        return np.stack([reference(x, y, accumulate) for x, y in zip(a, b, strict=True)])
    if accumulate.is_integer:
        with np.errstate(over="ignore"):
            return np.matmul(a.astype(accumulate.numpy), b.astype(accumulate.numpy))
    a, b = (np.ascontiguousarray(x.astype(accumulate.numpy)) for x in (a, b))
    (m, k), n = a.shape, b.shape[1]
    out = np.zeros((m, n), accumulate.numpy)
    longs = [ctypes.c_int64] * 2
    function = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, *longs, ctypes.c_void_p, *longs, ctypes.c_void_p, *longs, ctypes.c_int64
    )(_reference_code(accumulate).address("reference"))
    function(a.ctypes.data, k, 1, b.ctypes.data, n, 1, out.ctypes.data, max(n, 1), k, m * n)
    return out


# --- kernels and buffers ----------------------------------------------------------------------------------------

Epilogue = Callable[[Any, DType, bool], tuple[Store, ...]]


def strides_of(first: int, form: str, batched: bool) -> tuple[Any, ...]:
    inner: tuple[Any, ...] = {
        "rows": (Slot(first + 1), 1),
        "columns": (1, Slot(first + 2)),
        "strided": (Slot(first + 1), Slot(first + 2)),
    }[form]
    return (Slot(first), *inner) if batched else inner


def _out(batched: bool, buffer: int, dtype: DType) -> Access:
    return Access(buffer, dtype, 0, strides_of(9, "rows", batched))


def _plain(acc: Any, dtype: DType, batched: bool) -> tuple[Store, ...]:
    return (Store(_out(batched, 2, dtype), cast(acc, dtype)),)


@cache
def build(
    form_a: str,
    form_b: str,
    dtype: DType,
    isa: str,
    epilogue: Epilogue = _plain,
    batched: bool = False,
    accumulate: DType | None = None,
    streams: bool = False,
) -> tuple[Contraction, Target, CodeModule]:
    """Kernel, target and code of one structure."""
    total = accumulate or (dt.float32 if dtype in (dt.float16, dt.bfloat16) else dtype)
    stores = epilogue(leaf("acc", total, None), dtype, batched)
    kernel = Contraction(
        (BATCH,) if batched else (),
        M,
        N,
        K,
        Access(0, dtype, 0, strides_of(3, form_a, batched)),
        Access(1, dtype, 0, strides_of(6, form_b, batched)),
        total,
        stores,
        (dtype,) * 8,
        streams=streams,
    )
    target = host_target(isa)
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


class Guarded:
    """Memory that ends where the process may not read: a copy of an array, byte for byte up to the edge."""

    def __init__(self, array: np.ndarray):
        page = mmap.PAGESIZE
        size = -(-max(array.nbytes, 1) // page) * page
        self.memory = mmap.mmap(-1, size + page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        assert mprotect(start + size, page, 0) == 0
        self.address = start + size - array.nbytes
        flat = np.frombuffer(self.memory, np.uint8, array.nbytes, size - array.nbytes)
        self.array = flat.view(array.dtype).reshape(array.shape) if array.nbytes else array.copy()
        self.array[...] = array


def run(
    built: tuple[Contraction, Target, CodeModule],
    arrays: Sequence[np.ndarray],
    sizes: dict[int, int],
    threads: int = 1,
    order: Callable[[int], list[tuple[int, int]]] | None = None,
    cut: tuple[int, int] | None = None,
    **changes: int,
) -> tuple[list[np.ndarray], int]:
    """Run over guarded copies of the arrays; returns the copies and the status.

    ``order``: unit ranges to run, for a number of units; ``cut``: (sub_m, sub_n) no larger than those that
    contraction_units chooses; ``changes`` override PARTITION.
    """
    kernel, target, code = built
    first = first_partition_slot(kernel)
    ints = [sizes.get(s, 0) for s in range(first)]
    part: Partition = contraction_units(kernel, ints, threads, target)
    units = part.units
    if cut:
        (sub_m, sub_n), (m, n) = cut, (sizes[0], sizes[1])
        blocks = {"blocks_m": -(-m // sub_m), "blocks_n": -(-n // sub_n)}
        units = blocks["blocks_m"] * blocks["blocks_n"]
        changes = {**changes, "sub_m": sub_m, "sub_n": sub_n, **blocks}
    extra = [changes.get(field, value) for field, value in zip(PARTITION, part.ints, strict=True)]
    guarded = [Guarded(a) for a in arrays]
    pointers = np.array([g.address for g in guarded], np.uint64)
    values = np.array(ints + extra, np.int64)
    scratch = np.full(SCRATCH_BYTES // 4 + 16, np.float32(np.nan))
    at = -(-scratch.ctypes.data // 64) * 64
    function = _KERNEL(code.address("kernel"))
    status = 0
    for begin, end in order(units) if order else [(0, units)]:
        status |= function(pointers.ctypes.data, values.ctypes.data, begin, end, at)
    return [g.array for g in guarded], status


def values_of(dtype: DType, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers whose sums round (floats) or wrap (integers)."""
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        return rng.integers(info.min, info.max, shape, dtype.numpy, endpoint=True)
    spread = np.exp2(rng.integers(-6, 7, shape))
    return (rng.standard_normal(shape) * spread).astype(dtype.numpy)


def laid_out(array: np.ndarray, form: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Memory in which a 2-D array lies in the given form, and its element strides."""
    rows, columns = array.shape
    if form == "rows":
        return np.ascontiguousarray(array), (columns, 1)
    if form == "columns":
        return np.ascontiguousarray(array.T), (1, rows)
    wide = np.full((rows, columns, 3), 7, array.dtype)  # every third element of memory
    wide[:, :, 0] = array
    flat = wide.reshape(-1)[: max(3 * array.size - 2, 0)]
    return flat.copy(), (3 * columns, 3)


def matmul(
    a: np.ndarray,
    b: np.ndarray,
    dtype: DType,
    isa: str,
    form_a: str = "rows",
    form_b: str = "rows",
    epilogue: Epilogue = _plain,
    extra: Sequence[np.ndarray] = (),
    **options: Any,
) -> np.ndarray:
    """The kernel's ``a @ b``: first output of a 2-D contraction."""
    (m, k), n = a.shape, b.shape[1]
    memory_a, stride_a = laid_out(a, form_a)
    memory_b, stride_b = laid_out(b, form_b)
    sizes = {0: m, 1: n, 2: k, 4: stride_a[0], 5: stride_a[1], 7: stride_b[0], 8: stride_b[1], 10: n, 11: 1}
    c = np.zeros((m, n), dtype.numpy)
    arrays, status = run(build(form_a, form_b, dtype, isa, epilogue), [memory_a, memory_b, c, *extra], sizes, **options)
    assert status == 0
    return arrays[2]


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    """Equal in every byte."""
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


FORMS = ("rows", "columns", "strided")
FEW = (dt.float32, dt.bfloat16)
DTYPES = (
    dt.float32,
    dt.float64,
    dt.float16,
    dt.bfloat16,
    dt.int8,
    dt.uint8,
    dt.int16,
    dt.int32,
    dt.uint32,
    dt.int64,
    dt.uint64,
)
extents = st.one_of(st.integers(0, 4), st.integers(1, 70), st.sampled_from([12, 16, 24, 32, 64, 96, 100]))
depths = st.one_of(st.integers(0, 3), st.integers(1, 40), st.sampled_from([255, 256, 257, 300, 512, 513, 800]))


# --- bits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form_b", FORMS)
@pytest.mark.parametrize("form_a", FORMS)
@given(m=extents, n=extents, k=st.integers(1, K_BLOCK), seed=st.integers(0, 2**32 - 1), pack=st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_tiles_one_row_after_the_other(form_a: str, form_b: str, m: int, n: int, k: int, seed: int, pack: int) -> None:
    """Tiles that follow each other along rows give the same bits, with all panels of B packed or none."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    bias = values_of(dt.float32, rng, (n,))
    wanted = reference(a, b, dt.float32)
    rectified = np.where(wanted + bias < 0, np.float32(0), wanted + bias)
    order = {"in_rows": 1, "large": 1, "pack_a": pack & 1, "pack_b": pack >> 1, "sums_at": 1 << 20}
    for isa in ISAS:
        assert same_bits(matmul(a, b, dt.float32, isa, form_a, form_b, **order), wanted)
        got = matmul(a, b, dt.float32, isa, form_a, form_b, _bias_relu, [bias], **order)
        assert same_bits(got, rectified)


@pytest.mark.parametrize("form_b", FORMS)
@pytest.mark.parametrize("form_a", FORMS)
@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1), pack=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_float32_is_the_contract(form_a: str, form_b: str, m: int, n: int, k: int, seed: int, pack: int) -> None:
    """Any shape, any form of the operands, packed or not, on every ISA of the host: the bits of the contract."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    wanted = reference(a, b, dt.float32)
    for isa in ISAS:
        assert same_bits(matmul(a, b, dt.float32, isa, form_a, form_b, pack_a=pack & 1, pack_b=pack >> 1), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_every_dtype(dtype: DType, m: int, n: int, k: int, seed: int) -> None:
    """float16 and bfloat16 accumulate in float32 and are rounded once at the end; integers wrap."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dtype, rng, (m, k)), values_of(dtype, rng, (k, n))
    accumulate = dt.float32 if dtype in (dt.float16, dt.bfloat16) else dtype
    with np.errstate(over="ignore"):
        wanted = reference(a, b, accumulate).astype(dtype.numpy)
    for isa in ISAS:
        for form_a, form_b in (("rows", "rows"), ("columns", "columns")):
            assert same_bits(matmul(a, b, dtype, isa, form_a, form_b), wanted)


@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1), threads=st.integers(1, 5), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_cut_gives_the_same_bits(m: int, n: int, k: int, seed: int, threads: int, data: st.DataObject) -> None:
    """However many threads, however large the pieces, in whatever order and grouping units run."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    isa = data.draw(st.sampled_from(ISAS))
    cut = (data.draw(st.integers(1, 3)) * 12, data.draw(st.integers(1, 3)) * 32) if m > 36 and n > 96 else None

    def order(units: int) -> list[tuple[int, int]]:
        marks = sorted({0, units, *data.draw(st.lists(st.integers(0, units), max_size=4))})
        return list(data.draw(st.permutations(list(pairwise(marks)))))

    got = matmul(a, b, dt.float32, isa, threads=threads, order=order, cut=cut)
    assert same_bits(got, reference(a, b, dt.float32))


@pytest.mark.parametrize(
    "shape", [(513, 1030, 300), (800, 33, 520), (7, 2000, 256), (1000, 1, 700), (1, 1000, 700), (700, 900, 60)]
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_more_than_one_unit(shape: tuple[int, int, int], threads: int) -> None:
    """Large shapes are cut so that every piece fits into the scratch; edges of the pieces are not seen."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    wanted = reference(a, b, dt.float32)
    for isa in ISAS:
        for form_a, form_b in (("rows", "rows"), ("rows", "columns"), ("columns", "rows")):
            assert same_bits(matmul(a, b, dt.float32, isa, form_a, form_b, threads=threads), wanted)


@pytest.mark.parametrize("form_b", FORMS)
@pytest.mark.parametrize("form_a", FORMS)
@given(count=extents, k=depths, left=st.booleans(), seed=st.integers(0, 2**32 - 1), threads=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_products_with_a_vector(
    form_a: str, form_b: str, count: int, k: int, left: bool, seed: int, threads: int
) -> None:
    """A matrix with one row or one column takes another way; nothing shows in the bits."""
    rng = np.random.default_rng(seed)
    m, n = (1, count) if left else (count, 1)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    wanted = reference(a, b, dt.float32)
    for isa in ISAS:
        for large in (0, 1):
            assert same_bits(matmul(a, b, dt.float32, isa, form_a, form_b, threads=threads, large=large), wanted)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int8], ids=lambda d: d.name)
@given(m=st.integers(1, 50), k=depths, periods=st.integers(1, 2), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_rows_that_fall_into_one_set_of_the_cache(dtype: DType, m: int, k: int, periods: int, seed: int) -> None:
    """What lies between rows a multiple of 4 KiB apart is not read."""
    rng, pitch = np.random.default_rng(seed), periods * 4096 // dtype.itemsize
    a, b = values_of(dtype, rng, (m, k)), values_of(dtype, rng, (k, 1))
    wanted = reference(a, b, dt.float32 if dtype.is_floating else dtype).astype(dtype.numpy)
    memory = np.full((m, pitch), 7, dtype.numpy)
    memory[:, :k] = a
    sizes = {0: m, 1: 1, 2: k, 4: pitch, 5: 1, 7: 1, 8: 1, 10: 1, 11: 1}
    for isa in ISAS:
        built = build("rows", "rows", dtype, isa)
        flat = memory.reshape(-1)[: (m - 1) * pitch + k]
        arrays, status = run(built, [flat, b, np.zeros((m, 1), dtype.numpy)], sizes)
        assert status == 0 and same_bits(arrays[2], wanted)


@pytest.mark.parametrize("form_b", ["rows", "columns"])
@pytest.mark.parametrize("form_a", FORMS)
@given(
    m=st.integers(1, VECTORS),
    n=st.integers(1, 300),
    k=depths,
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(FEW),
)
@settings(max_examples=15, deadline=None)
def test_products_with_a_few_vectors(form_a: str, form_b: str, m: int, n: int, k: int, seed: int, dtype: DType) -> None:
    """So does one with a few rows, of any size."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dtype, rng, (m, k)), values_of(dtype, rng, (k, n))
    wanted = reference(a, b, dt.float32).astype(dtype.numpy)
    for isa in ISAS:
        got = matmul(a, b, dtype, isa, form_a, form_b, cut=(m, n), mode=VECTORS_MATRIX, sums_at=0)
        assert same_bits(got, wanted)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int8], ids=lambda d: d.name)
@given(
    m=st.integers(1, VECTORS), n=st.integers(1, 50), k=depths, periods=st.integers(1, 2), seed=st.integers(0, 2**32 - 1)
)
@settings(max_examples=15, deadline=None)
def test_a_few_vectors_with_rows_that_fall_into_one_set(
    dtype: DType, m: int, n: int, k: int, periods: int, seed: int
) -> None:
    """Such rows are copied, to the last element and no further."""
    rng, pitch = np.random.default_rng(seed), periods * 4096 // dtype.itemsize
    a, b = values_of(dtype, rng, (m, k)), values_of(dtype, rng, (k, n))
    wanted = reference(a, b, dt.float32 if dtype.is_floating else dtype).astype(dtype.numpy)
    memory = np.full((n, pitch), 7, dtype.numpy)
    memory[:, :k] = b.T
    flat = memory.reshape(-1)[: (n - 1) * pitch + k]
    sizes = {0: m, 1: n, 2: k, 4: k, 5: 1, 7: 1, 8: pitch, 10: n, 11: 1}
    for isa in ISAS:
        arrays = [a, flat, np.zeros((m, n), dtype.numpy)]
        found, status = run(build("rows", "columns", dtype, isa), arrays, sizes, mode=VECTORS_MATRIX, sums_at=0)
        assert status == 0 and same_bits(found[2], wanted)


@pytest.mark.parametrize(("m", "k", "n"), [(2, 700, 600), (8, 513, 1000), (5, 64, 5000)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_few_vectors_with_a_matrix_beyond_the_caches(m: int, k: int, n: int, threads: int) -> None:
    """Of some sizes that way is the chosen one."""
    rng = np.random.default_rng(0)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    wanted = reference(a, b, dt.float32)
    for isa in ISAS:
        for form_b in ("rows", "columns"):
            assert same_bits(matmul(a, b, dt.float32, isa, "rows", form_b, threads=threads), wanted)


@given(m=st.integers(1, 300), n=extents, k=depths, row=st.integers(0, 299), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_row_does_not_depend_on_the_batch(m: int, n: int, k: int, row: int, seed: int) -> None:
    """One row alone has the bits that it has among others."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    row %= m
    whole, alone = (matmul(x, b, dt.float32, ISAS[0]) for x in (a, a[row : row + 1]))
    assert same_bits(whole[row : row + 1], alone)


def test_zeros_and_specials() -> None:
    """A chain starts from +0.0; a first block's -0.0 survives; NaN and inf go their way and touch no other element."""
    tiny = np.float32(1e-30)
    for depth, wanted in ((1, b"\x00\x00\x00\x80"), (2 * K_BLOCK, b"\x00\x00\x00\x80")):
        a, b = np.full((1, depth), -tiny, np.float32), np.full((depth, 1), tiny, np.float32)
        assert matmul(a, b, dt.float32, ISAS[0]).tobytes() == wanted  # the product underflows to -0.0
    a, b = np.zeros((1, 3), np.float32), np.full((3, 1), -1.0, np.float32)
    assert matmul(a, b, dt.float32, ISAS[0]).tobytes() == b"\0\0\0\0"  # fma(0, -1, +0.0)
    rng = np.random.default_rng(1)
    a, b = values_of(dt.float32, rng, (40, 300)), values_of(dt.float32, rng, (300, 40))
    clean = matmul(a, b, dt.float32, ISAS[0])
    a[39, 0], b[5, 39] = np.inf, np.nan
    dirty = matmul(a, b, dt.float32, ISAS[0])
    assert same_bits(dirty[:39, :39], clean[:39, :39]) and np.isnan(dirty[:, 39]).all()


# --- batches ----------------------------------------------------------------------------------------------------


@given(
    size=st.integers(0, 5),
    m=st.integers(0, 40),
    n=st.integers(0, 70),
    k=depths,
    shared=st.integers(0, 2),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_batches_and_broadcast(size: int, m: int, n: int, k: int, shared: int, seed: int) -> None:
    """Batch elements are contractions of their own; a batch stride of 0 shares an operand."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (size, m, k)), values_of(dt.float32, rng, (size, k, n))
    if shared and size:
        (a if shared == 1 else b)[:] = (a if shared == 1 else b)[0]
    wanted = reference(a, b, dt.float32) if size else np.zeros((0, m, n), np.float32)
    sizes = {
        0: m,
        1: n,
        2: k,
        3: 0 if shared == 1 else m * k,
        4: k,
        6: 0 if shared == 2 else k * n,
        7: n,
        9: m * n,
        10: n,
        15: size,
    }
    memory_a, memory_b = (a[:1] if shared == 1 else a), (b[:1] if shared == 2 else b)
    for isa in ISAS:
        built = build("rows", "rows", dt.float32, isa, batched=True)
        arrays, _ = run(built, [memory_a, memory_b, np.zeros((size, m, n), np.float32)], sizes, threads=2)
        assert same_bits(arrays[2], wanted)


# --- epilogues --------------------------------------------------------------------------------------------------


def _bias_relu(acc: Any, dtype: DType, batched: bool) -> tuple[Store, ...]:
    total = add(acc, leaf("load", dtype, Access(BIAS, dtype, 0, (0, 1))))
    zero = const(0, dtype)
    return (Store(_out(batched, 2, dtype), where(lt(total, zero), zero, total)),)


def _everything(acc: Any, dtype: DType, batched: bool) -> tuple[Store, ...]:
    """Two stores, one of them transposed; loads of a full matrix, a column, and a scalar."""
    full = leaf("load", dtype, Access(FULL, dtype, 0, (Slot(10), 1)))
    column = leaf("load", dtype, Access(COLUMN, dtype, 0, (1, 0)))
    scale = leaf("load", dtype, Access(SCALE, dtype, 0, (0, 0)))
    value = add(mul(acc, scale), add(full, column))
    return (Store(_out(batched, 2, dtype), value), Store(Access(PICK, dtype, 0, (1, Slot(13))), acc))


def _picked(acc: Any, dtype: DType, batched: bool) -> tuple[Store, ...]:
    """Adds the element of a table that an index of each row picks."""
    index = leaf("load", dt.int64, Access(PICK, dt.int64, 0, (1, 0)))
    table = gather(Access(FULL, dtype, 0, (0, 0)), (index,), ((Slot(13), 1),), dtype)
    return (Store(_out(batched, 2, dtype), add(acc, table)),)


@pytest.mark.parametrize("isa", ISAS)
@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_epilogues(isa: str, m: int, n: int, k: int, seed: int) -> None:
    """An epilogue computes from the finished sum what the same elementwise ops compute afterwards."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    bias, full, column, scale = (values_of(dt.float32, rng, s) for s in ((n,), (m, n), (m,), (1,)))
    acc = reference(a, b, dt.float32)
    total = acc + bias
    extra = [bias, full, column, scale]
    assert same_bits(
        matmul(a, b, dt.float32, isa, epilogue=_bias_relu, extra=extra), np.where(total < 0, np.float32(0), total)
    )
    sizes = {0: m, 1: n, 2: k, 4: k, 7: n, 10: n, 13: m}
    arrays = [a, b, np.zeros((m, n), np.float32), *extra, np.zeros((n, m), np.float32)]
    results, _ = run(build("rows", "rows", dt.float32, isa, _everything), arrays, sizes, threads=2)
    assert same_bits(results[2], acc * scale + (full + column[:, None]))
    assert same_bits(results[7], np.ascontiguousarray(acc.T))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("epilogue", [_plain, _bias_relu])
@given(m=extents, n=st.one_of(extents, st.sampled_from([32, 64, 208])), k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_results_past_the_caches(isa: str, epilogue: Epilogue, m: int, n: int, k: int, seed: int) -> None:
    """Whole lines of the result go to memory around the caches, parts of lines as ever."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dt.float32, rng, (m, k)), values_of(dt.float32, rng, (k, n))
    bias = values_of(dt.float32, rng, (n,))
    wanted = reference(a, b, dt.float32)
    if epilogue is _bias_relu:
        wanted = np.where(wanted + bias < 0, np.float32(0), wanted + bias)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "STREAMED", -1)
        built = build("rows", "rows", dt.float32, isa, epilogue, streams=True)
    sizes = {0: m, 1: n, 2: k, 4: k, 5: 1, 7: n, 8: 1, 10: n, 11: 1}
    results, status = run(built, [a, b, np.zeros((m, n), np.float32), bias], sizes, threads=2)
    assert status == 0 and same_bits(results[2], wanted)


@pytest.mark.parametrize("isa", ISAS)
def test_index_out_of_range_is_reported(isa: str) -> None:
    """A gather in an epilogue reads nothing outside its buffer, and the status says so."""
    rng = np.random.default_rng(3)
    a, b = values_of(dt.float32, rng, (30, 20)), values_of(dt.float32, rng, (20, 45))
    table, index = values_of(dt.float32, rng, (9,)), rng.integers(-9, 9, 30)
    built = build("rows", "rows", dt.float32, isa, _picked)
    sizes = {0: 30, 1: 45, 2: 20, 4: 20, 7: 45, 10: 45, 13: 9}
    unused = np.zeros(1, np.float32)
    arrays = [a, b, np.zeros((30, 45), np.float32), unused, table, unused, unused, index]
    results, status = run(built, arrays, sizes)
    assert status == 0 and same_bits(results[2], reference(a, b, dt.float32) + table[index][:, None])
    index[17] = 9
    assert run(built, arrays, sizes)[1] == STATUS_INDEX


# --- targets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["aarch64-linux-gnu", "x86_64-linux-gnu", "riscv64-linux-gnu-v", "cortex-m4"])
def test_other_targets_are_accepted(name: str) -> None:
    """LLVM makes code of the kernel for machines other than this one."""
    target = cross_target(name)
    kernel, _, _ = build("rows", "columns", dt.float32, ISAS[0], _bias_relu)
    assert assemble(render_contraction(kernel, "kernel", target), target)


def test_the_text_is_stable() -> None:
    """Equal kernels render to equal text, whatever was rendered before: the object cache is keyed by it."""
    kernel, target, _ = build("rows", "rows", dt.float32, ISAS[0])
    assert render_contraction(kernel, "kernel", target) == render_contraction(kernel, "kernel", target)

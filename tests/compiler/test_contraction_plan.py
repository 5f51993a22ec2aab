"""The cut of a contraction into units: complete, within the scratch, and enough for all threads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from few_examples import few
from hypothesis import strategies as st

from weft.compiler.contraction.plan import (
    MATRIX_VECTOR,
    PARTITION,
    TILES,
    contraction_units,
    first_partition_slot,
    form_of,
    scratch_nbytes,
)
from weft.compiler.contraction.tile import packed_row
from weft.compiler.expr import const, leaf, mul
from weft.compiler.kernels import K_BLOCK, LANES, SCRATCH_BYTES, Access, Contraction, Slot, Store
from weft.core import dtypes as dt
from weft.llvm.targets import Target, cross_target

BATCH, M, N, K, ROW = (Slot(s) for s in range(5))
TARGETS = [cross_target(name) for name in ("x86_64-linux-gnu", "aarch64-linux-gnu", "cortex-m4", "wasm32")]
TARGETS.append(Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", "avx512"))
FORMS = [(ROW, 1), (1, ROW), (ROW, ROW)]


def kernel_of(a: int, b: int, dtype: dt.DType, plain: bool) -> Contraction:
    """A batched contraction with operands in the given FORMS and a plain or a computed epilogue."""
    total = dt.float32 if dtype is dt.float16 else dtype
    acc = leaf("acc", total, None)
    value = acc if plain else mul(acc, const(2, total))
    store = Store(Access(2, total, 0, (ROW, ROW, 1)), value)
    return Contraction(
        (BATCH,),
        M,
        N,
        K,
        Access(0, dtype, 0, (ROW, *FORMS[a])),
        Access(1, dtype, 0, (ROW, *FORMS[b])),
        total,
        (store,),
        (dtype, dtype, total),
    )


sizes = st.one_of(st.integers(0, 40), st.integers(1, 5000), st.sampled_from([64, 256, 1024, 4096, 100_000]))


@few(
    133,
    1200,
    a=st.integers(0, 2),
    b=st.integers(0, 2),
    plain=st.booleans(),
    target=st.sampled_from(TARGETS),
    dtype=st.sampled_from([dt.float32, dt.float64, dt.float16, dt.int8, dt.int64]),
    batch=st.integers(0, 70),
    m=sizes,
    n=sizes,
    k=sizes,
    threads=st.integers(1, 70),
)
def test_every_cut_is_complete_and_fits(
    a: int, b: int, plain: bool, target: Target, dtype: dt.DType, batch: int, m: int, n: int, k: int, threads: int
) -> None:
    """Pieces cover C once; what a unit keeps in its scratch lies apart and ends before the scratch does."""
    kernel = kernel_of(a, b, dtype, plain)
    part = contraction_units(kernel, (batch, m, n, k, 4096), threads, target)
    found = dict(zip(PARTITION, part.ints, strict=True))
    if batch * m * n == 0:
        assert part.units == 0
        return
    assert part.units == batch * found["blocks_m"] * found["blocks_n"]
    for extent, sub, blocks in ((m, "sub_m", "blocks_m"), (n, "sub_n", "blocks_n")):
        assert (found[blocks] - 1) * found[sub] < extent <= found[blocks] * found[sub]
    tile = form_of(kernel, target).tile
    size = tile.dtype.itemsize
    if found["mode"] != TILES:
        vectors, count = (1, found["sub_m"]) if found["mode"] == MATRIX_VECTOR else (found["sub_m"], found["sub_n"])
        assert found["sums_at"] + 2 * vectors * (count + 2 * tile.lanes) * size <= SCRATCH_BYTES
        return
    tiles_m, tiles_n = -(-found["sub_m"] // tile.rows), -(-found["sub_n"] // tile.columns)
    assert tiles_m * tile.rows * packed_row(tile) <= found["packed_b_at"]
    panels = k * tiles_n * tile.columns * size if found["in_rows"] else tile.panel_nbytes
    assert found["packed_b_at"] + panels <= found["sums_at"]
    places = 1 if k <= K_BLOCK else tiles_m * tiles_n
    assert found["sums_at"] + places * tile.rows * tile.columns * size <= SCRATCH_BYTES


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 16, 64])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 2048, 2048, 2048),
        (1, 128, 4096, 4096),
        (1, 4096, 128, 4096),
        (64, 128, 64, 128),
        (1, 1, 65536, 4096),
        (1, 65536, 1, 4096),
    ],
)
def test_large_work_is_shared(shape: tuple[int, ...], threads: int) -> None:
    """No thread gets more than twice its share of a large contraction."""
    batch, m, n, _ = shape
    part = contraction_units(kernel_of(0, 0, dt.float32, True), (*shape, 4096), threads, TARGETS[-1])
    found = dict(zip(PARTITION, part.ints, strict=True))
    busiest = -(-part.units // threads) * found["sub_m"] * found["sub_n"]
    assert busiest <= 2 * -(-batch * m * n // threads)


@pytest.mark.parametrize(("m", "n"), [(1, 1024), (1024, 1)])
@pytest.mark.parametrize("stride", [0, 64 * 1024])
def test_matrices_of_a_batch_are_as_large_as_they_are_together(m: int, n: int, stride: int) -> None:
    """A matrix that vectors share counts once: whether it is beyond the caches says whether it is asked for ahead."""
    kernel, apart = kernel_of(0, 1, dt.float32, True), Slot(5)
    a, b = (replace(x, strides=(apart if x.buf == (m == 1) else 0, *x.strides[1:])) for x in (kernel.a, kernel.b))
    kernel = replace(kernel, a=a, b=b)
    part = contraction_units(kernel, (256, m, n, 64, 64, stride), 1, TARGETS[-1])
    found = dict(zip(PARTITION, part.ints, strict=True))
    assert found["mode"] != TILES and found["large"] == (stride != 0)


def test_the_partition_follows_the_kernels_own_ints() -> None:
    """The first PARTITION int comes right after the highest slot in use."""
    assert first_partition_slot(kernel_of(0, 0, dt.float32, True)) == ROW.index + 1


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["riscv64-linux-gnu-v", "x86_64-linux-gnu"])
def test_what_an_epilogue_reads_is_scratch(name: str, dtype: dt.DType) -> None:
    """A library's scratch is as large as its largest launch says; of a product with one column, LANES sums are read
    from each row's on."""
    kernel, target = kernel_of(0, 0, dtype, False), cross_target(name)
    for m in range(1, 70):
        ints = (1, m, 1, 5, 5)
        part = contraction_units(kernel, ints, 1, target)
        assert dict(zip(PARTITION, part.ints, strict=True))["mode"] == MATRIX_VECTOR
        assert scratch_nbytes(kernel, (*ints, *part.ints), target) >= (m - 1 + LANES) * dtype.itemsize

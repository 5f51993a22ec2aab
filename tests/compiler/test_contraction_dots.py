"""Contractions by dot instructions: the bits are those of the contract, whatever the elements are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_contraction import FORMS, ISAS, depths, extents, laid_out, reference, run, same_bits, strides_of, values_of

from weft.compiler.contraction.plan import form_of
from weft.compiler.contraction.render import render_contraction
from weft.compiler.expr import cast, leaf
from weft.compiler.kernels import Access, Contraction, Slot, Store
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.llvm.assembly import assemble
from weft.llvm.elf import CodeModule, load
from weft.llvm.targets import Target, cross_target, host_target

NARROW = [(a, b) for a in (dt.int8, dt.uint8) for b in (dt.int8, dt.uint8)]
INSTRUCTIONS = {"bfloat16": "vdpbf16ps", "int8": "vpdpbusd"}


@cache
def built(
    form_a: str, form_b: str, a: DType, b: DType, isa: str, without: str = ""
) -> tuple[Contraction, Target, CodeModule]:
    """The product of matrices of these dtypes in float32 or int32, kept as it was summed; on a machine ``without`` a
    feature."""
    total, target = dt.float32 if a.is_floating else dt.int32, host_target(isa)
    if without:
        target = replace(target, features=target.features.replace(f"+{without}", f"-{without}"))
    out = Access(2, total, 0, strides_of(9, "rows", False))
    operands = Access(0, a, 0, strides_of(3, form_a, False)), Access(1, b, 0, strides_of(6, form_b, False))
    stores = (Store(out, cast(leaf("acc", total, None), total)),)
    kernel = Contraction((), Slot(0), Slot(1), Slot(2), *operands, total, stores, (a, b, total))
    return kernel, target, load(assemble(render_contraction(kernel, "kernel", target), target))


def product(
    a: np.ndarray, b: np.ndarray, dtypes: tuple[DType, DType], isa: str, forms: tuple[str, str], without: str = ""
) -> np.ndarray:
    """What the kernel makes of them."""
    (m, k), n = a.shape, b.shape[1]
    (memory_a, stride_a), (memory_b, stride_b) = laid_out(a, forms[0]), laid_out(b, forms[1])
    sizes = {0: m, 1: n, 2: k, 4: stride_a[0], 5: stride_a[1], 7: stride_b[0], 8: stride_b[1], 10: n, 11: 1}
    c = np.zeros((m, n), np.float32 if dtypes[0].is_floating else np.int32)
    arrays, status = run(built(*forms, *dtypes, isa, without), [memory_a, memory_b, c], sizes)
    assert status == 0
    return arrays[2]


def brain(x: np.ndarray) -> np.ndarray:
    """As bfloat16, rounded toward zero, so that no denormal is lost."""
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(dt.bfloat16.numpy)


USUAL = (("rows", "rows"), ("rows", "columns"), ("columns", "strided"))
PAIRS = [(a, b) if (a, b) in USUAL else pytest.param(a, b, marks=pytest.mark.long) for a in FORMS for b in FORMS]


@pytest.mark.parametrize(("form_a", "form_b"), PAIRS)
@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1), dtypes=st.sampled_from(NARROW))
@settings(max_examples=25, deadline=None)
def test_products_of_bytes(
    form_a: str, form_b: str, m: int, n: int, k: int, seed: int, dtypes: tuple[DType, DType]
) -> None:
    """Of either kind and mixed: the sums are exact, in every form of the operands."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dtypes[0], rng, (m, k)), values_of(dtypes[1], rng, (k, n))
    wanted = np.matmul(a.astype(np.int32), b.astype(np.int32))
    for isa in ISAS:
        assert same_bits(product(a, b, dtypes, isa, (form_a, form_b)), wanted)


@pytest.mark.parametrize("dtypes", NARROW, ids=lambda d: f"{d[0].name}-{d[1].name}")
def test_the_largest_bytes(dtypes: tuple[DType, DType]) -> None:
    """Nothing saturates on the way, and a correction of the largest size is right."""
    for low_a, low_b in ((True, True), (True, False), (False, False)):
        bounds = [getattr(np.iinfo(d.numpy), "min" if low else "max") for d, low in zip(dtypes, (low_a, low_b))]
        a, b = np.full((13, 1030), bounds[0], dtypes[0].numpy), np.full((1030, 40), bounds[1], dtypes[1].numpy)
        for isa in ISAS:
            found = product(a, b, dtypes, isa, ("rows", "rows"))
            assert np.all(found == 1030 * int(bounds[0]) * int(bounds[1]))


@pytest.mark.parametrize(("form_a", "form_b"), PAIRS)
@given(
    m=extents,
    n=extents,
    k=depths,
    seed=st.integers(0, 2**32 - 1),
    exponents=st.sampled_from([(-6, 7), (-56, -40), (-60, -50), (-70, -60), (-133, -60), (-133, 100), (60, 127)]),
    few=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_bfloat16_is_the_contract(
    form_a: str, form_b: str, m: int, n: int, k: int, seed: int, exponents: tuple[int, int], few: bool
) -> None:
    """Also where products or sums are denormal, or elements are, in all of an operand or in ``few`` places of it, where
    sums cancel, and where they overflow."""
    rng = np.random.default_rng(seed)

    def drawn(shape: tuple[int, int]) -> np.ndarray:
        x = brain(np.ldexp(rng.choice([1.0, 1.5, -1.0, -1.9921875, 0.0], shape), rng.integers(*exponents, shape)))
        return np.where(rng.random(shape) < 0.01, x, brain(rng.standard_normal(shape))) if few else x

    a, b = drawn((m, k)), drawn((k, n))
    with np.errstate(all="ignore"):
        wanted = reference(a, b, dt.float32)
    for isa in ISAS:
        found = product(a, b, (dt.bfloat16, dt.bfloat16), isa, (form_a, form_b))
        nan = np.isnan(wanted)
        assert np.array_equal(np.isnan(found), nan)  # which NaN is not part of the contract
        assert same_bits(np.where(nan, 0, found), np.where(nan, 0, wanted))


def test_zeros_keep_their_sign() -> None:
    """A chain of products that vanish is -0.0 if they are negative; what fills an entry up must not change it."""
    a, b = brain(np.full((5, 3), -(2.0**-100))), brain(np.full((3, 7), 2.0**-100))
    for isa in ISAS:
        found = product(a, b, (dt.bfloat16, dt.bfloat16), isa, ("rows", "rows"))
        assert np.all(found == 0) and np.all(np.signbit(found)) and same_bits(found, reference(a, b, dt.float32))


@pytest.mark.parametrize("dtype", [dt.bfloat16, dt.int8], ids=lambda d: d.name)
def test_the_instruction_is_used_where_there_is_one(dtype: DType) -> None:
    for isa in ISAS:
        kernel, target, _ = built("rows", "rows", dtype, dtype, isa)
        there = target.dot(dtype.name) is not None
        assert (INSTRUCTIONS[dtype.name] in kernel.asm(target)) is there is (form_of(kernel, target).tile.group > 1)


@pytest.mark.parametrize(("without", "dtype"), [("avx512bf16", dt.bfloat16), ("avx512vnni", dt.int8)], ids=str)
@given(m=extents, n=extents, k=depths, seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_machine_whose_instruction_is_not_used_has_the_same_bits(
    without: str, dtype: DType, m: int, n: int, k: int, seed: int
) -> None:
    """One whose probe found other bits (llvm/dot_probe.py) is one without the feature."""
    rng = np.random.default_rng(seed)
    a, b = values_of(dtype, rng, (m, k)), values_of(dtype, rng, (k, n))
    wanted = reference(a, b, dt.float32 if dtype.is_floating else dt.int32)
    for isa in ISAS:
        kernel, target, _ = built("rows", "columns", dtype, dtype, isa, without)
        assert target.dot(dtype.name) is None and form_of(kernel, target).tile.dot is None
        assert same_bits(product(a, b, (dtype, dtype), isa, ("rows", "columns"), without), wanted)


def test_other_targets_have_none() -> None:
    """A target without the feature computes as ever."""
    kernel, _, _ = built("rows", "columns", dt.int8, dt.int8, ISAS[0])
    for name in ("x86_64-linux-gnu", "aarch64-linux-gnu", "cortex-m4"):
        target = cross_target(name)
        assert target.dot("int8") is None and target.dot("bfloat16") is None
        assemble(render_contraction(kernel, "kernel", target), target)

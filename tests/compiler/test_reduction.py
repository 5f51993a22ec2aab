"""Reductions: how two partial results become one, for every op and dtype, NaN and both zeros included."""

from __future__ import annotations

from typing import Any

import naive
import numpy as np
import pytest
from small_kernels import TARGETS, WORKING, bits, compiled, numbers

import weft as wf
from weft.compiler.expr import leaf
from weft.compiler.kernels import Access, Nest, Reduce, Slot, Store
from weft.compiler.reduction import combine, identities, identity, state_dtypes
from weft.core import dtypes as dt
from weft.core.dtypes import DType

OPS = ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]
CASES = [(op, d) for op in OPS for d in WORKING if (d is dt.bool_) or op not in ("any", "all")]
COUNT = 600


def stage_of(op: str, dtype: DType) -> Reduce:
    place = leaf("index", dt.int64, Access(0, dt.int64, 0, (1,))) if op.startswith("arg") else None
    return Reduce(op, leaf("load", dtype, Access(0, dtype, 0, (1,))), dt.int64 if place else dtype, place)


def combined(stage: Reduce, a: list[Any], b: list[Any]) -> list[Any]:
    """What the expression gives for arrays of partial results."""
    kinds = state_dtypes(stage)
    first, second = (
        tuple(leaf("load", d, Access(start + k, d, 0, (1,))) for k, d in enumerate(kinds)) for start in (0, len(kinds))
    )
    out = [np.zeros(len(a[0]), d.numpy) for d in kinds]
    stores = tuple(
        Store(Access(2 * len(kinds) + k, d, 0, (1,)), value)
        for k, (d, value) in enumerate(zip(kinds, combine(stage.op, first, second), strict=True))
    )
    kernel = Nest((), Slot(0), 0, 1, stores, (*kinds, *kinds, *kinds))
    compiled(kernel, TARGETS[-1])([*a, *b, *out], [len(a[0])], [(0, 1)])
    return out


def states(stage: Reduce, seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    values = numbers(stage.value.dtype, COUNT, rng)
    values[:200] = numbers(stage.value.dtype, 4000, rng)[rng.integers(0, 4000, 200)]
    return [values, rng.integers(0, 5, COUNT)] if stage.op.startswith("arg") else [values]


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=str)
def test_two_partial_results_are_combined_as_they_mean(op: str, dtype: DType) -> None:
    stage = stage_of(op, dtype)
    a, b = states(stage, 1), states(stage, 2)
    b[0][::3] = a[0][::3]  # ties
    for found, wanted in zip(combined(stage, a, b), naive.combine(stage, a, b), strict=True):
        assert (bits(found) == bits(wanted)).all()


@pytest.mark.parametrize(("op", "dtype"), CASES, ids=str)
def test_the_identity_changes_nothing(op: str, dtype: DType) -> None:
    """Neither before nor after a partial result (which is no -0 for a sum: sums begin with +0)."""
    stage = stage_of(op, dtype)
    a = states(stage, 3)
    if op == "sum" and dtype.is_floating:
        a[0] = a[0] + dtype.numpy.type(0)
    nothing = [np.full(COUNT, v).astype(d.numpy) for v, d in zip(identity(op, dtype), state_dtypes(stage), strict=True)]
    for found in (combined(stage, a, nothing), combined(stage, nothing, a)):
        assert all((bits(x) == bits(y)).all() for x, y in zip(found, a, strict=True))
    assert [e.value for e in identities(stage)] == list(identity(op, dtype))


@pytest.mark.parametrize("shape", [(2,), (70_000,), (2, 3), (300, 2)])
def test_sums_and_products_of_bools_are_any_and_all(shape: tuple[int, ...]) -> None:
    x = np.ones(shape, np.float32)
    t = wf.asarray(x)
    for axis in range(len(shape)):
        assert wf.sum(t, axis=axis, dtype=wf.bool).tolist() == x.any(axis=axis).tolist()
        assert wf.prod(t, axis=axis, dtype=wf.bool).tolist() == x.all(axis=axis).tolist()

"""Precision: every rounding of eager code happens in compiled code, where kernels are fused too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reported import Case, Reports, check, data

import weft as wf
from weft.nn import functional as F

report = Reports()

NOT_YET: dict[str, str | int] = {}
KNOWN_WRONG: dict[str, str] = {}


@report("pytorch/pytorch#150638", "pytorch/pytorch#131595")
def sums_of_bfloat16_and_float32(compiled: Any) -> Any:
    """A chain of bfloat16 values to which a float32 one is added."""

    @compiled
    def run(x: Any, y: Any) -> Any:
        z = x * x + x
        return z, z + y, (z.sum(axis=-1) + y[:, 0]).astype(wf.bfloat16)

    return [run(data(3, n).astype(wf.bfloat16), data(3, n, seed=1)) for n in (5, 17)]


@report("pytorch/pytorch#182225")
def rotary_positions(compiled: Any) -> Any:
    """Halves are swapped and combined with sines and cosines, in three precisions."""

    @compiled
    def rope(q: Any, k: Any, cos: Any, sin: Any) -> Any:
        def turned(x: Any) -> Any:
            half = x.shape[-1] // 2
            return wf.concat([-x[..., half:], x[..., :half]], axis=-1)

        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return q * cos + turned(q) * sin, k * cos + turned(k) * sin

    found = []
    for dtype in (wf.bfloat16, wf.float16, wf.float32):
        for n in (7, 9):
            shapes = ((1, 2, n, 16), (1, 1, n, 16), (1, n, 16), (1, n, 16))
            found.append(rope(*(data(*s, seed=i).astype(dtype) for i, s in enumerate(shapes))))
    return found


@report("pytorch/pytorch#183761", "pytorch/pytorch#185337")
def a_cast_to_float16_and_back(compiled: Any) -> Any:
    """What goes through float16 is rounded, before a sum and before a choice."""

    @compiled
    def run(x: Any) -> Any:
        y = x.astype(wf.float16).astype(wf.float32)
        z = wf.where(x > 1.0, wf.full_like(x, 0.1).astype(wf.float16), x.astype(wf.float16)).astype(wf.float32) + 0.3
        return y, y.sum(axis=1), z, z.sum()

    return [run(wf.arange(20, dtype=wf.float32).reshape(5, 4).T / (7.0 + n)) for n in range(2)]


@report("pytorch/pytorch#181568")
def a_product_that_is_rounded_before_its_bias(compiled: Any) -> Any:
    """``(x @ w).astype(bfloat16) + b``: the rounding is between the product and the sum."""

    @compiled
    def run(x: Any, w: Any, b: Any) -> Any:
        y = (x @ w).astype(wf.bfloat16) + b
        return y, y.mean(axis=-1)

    return [run(data(2, n, 32), data(32, 17), data(17)) for n in (15, 8, 64)]


@report("pytorch/pytorch#183607")
def an_overflow_of_float16(compiled: Any) -> Any:
    """300 * 300 is infinite in float16, for whoever reads it."""

    @compiled
    def run(x: Any) -> Any:
        y = x * x
        return y, y / x, wf.isinf(y), wf.where(wf.isinf(y), wf.zeros_like(y), y)

    return [run(wf.full((n,), 300.0, dtype=wf.float16)) for n in (40, 3)]


@report("pytorch/pytorch#195214")
def ties_with_a_maximum_after_a_division(compiled: Any) -> Any:
    """How many elements equal the greatest one, in bfloat16; at least one."""

    @compiled
    def run(x: Any) -> Any:
        scaled = x / 2.828427
        return (scaled == wf.max(scaled, axis=-1, keepdims=True)).astype(wf.float32).sum(axis=-1), scaled

    found = []
    for dtype in (wf.bfloat16, wf.float16, wf.float32):
        found += [run(data(n, 64).astype(dtype)) for n in (4, 6)]
    return found


@report("pytorch/pytorch#168148")
def activations_of_bfloat16(compiled: Any) -> Any:
    """Sigmoid, tanh and gelu in chains of bfloat16 and their gradients."""

    @compiled
    def run(x: Any) -> Any:
        return F.gelu(wf.tanh(F.sigmoid(x) * 3.0) - x)

    found = []
    for n in (8, 65):
        x = data(n).astype(wf.bfloat16).requires_grad_(True)
        y = run(x)
        y.sum().backward()
        found += [y, x.grad]
    return found


@report("pytorch/pytorch#179575")
def projections_by_einsum(compiled: Any) -> Any:
    """Attention with projections by einsum, compared to the bit."""
    w = [data(8, 2, 4, seed=n) for n in range(3)]

    @compiled
    def run(x: Any) -> Any:
        q, k, v = (wf.einsum("bsd,dhe->bhse", x, each) for each in w)
        a = F.softmax(wf.einsum("bhse,bhte->bhst", q, k) * 0.5, axis=-1)
        return wf.einsum("bhst,bhte->bshe", a, v)

    return [run(data(2, n, 8)) for n in (5, 7, 12)]


@report("pytorch/pytorch#141258", "tensorflow/tensorflow#24726")
def types_of_python_and_numpy_numbers(compiled: Any) -> Any:
    """Python numbers are weak, NumPy's scalars are what eager code takes them for."""

    @compiled
    def run(x: Any, n: Any) -> Any:
        return x * n, x + n

    found = []
    for dtype in (wf.float16, wf.float32, wf.int32):
        x = wf.asarray([1, 2, 3], dtype=dtype)
        found += [run(x, n) for n in (2, 0.5, np.float32(0.5), np.float64(0.1), True)]
    return found


@pytest.mark.parametrize("case", report.cases(NOT_YET, KNOWN_WRONG))
def test_compiled_code_rounds_where_eager_code_does(case: Case) -> None:
    check(case)

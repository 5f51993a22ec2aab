"""Tensors put between each other, against NumPy; as bits in every mode; in ONNX."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import ShapeError
from weft.nn import functional as F
from weft.ops.interleave import INTERLEAVE
from weft.ops.op import apply, composite

STEPS = [(2,), (4,), (3,), (2, 2), (4, 4), (3, 2), (1, 2), (2, 1), (3, 3), (2, 2, 2), (6, 2), (7,)]


@composite
def put_between(parts: Any, steps: tuple[int, ...]) -> Any:
    return apply(INTERLEAVE, *parts, steps=steps)


def expected(parts: list[Any], steps: tuple[int, ...]) -> Any:
    shape, lead = parts[0].shape, parts[0].ndim - len(steps)
    whole = np.empty((*shape[:lead], *(n * s for n, s in zip(shape[lead:], steps, strict=True))), parts[0].dtype)
    for part, rests in zip(parts, product(*map(range, steps)), strict=True):
        whole[(..., *(slice(r, None, s) for r, s in zip(rests, steps, strict=True)))] = part
    return whole


def drawn(shape: tuple[int, ...], steps: tuple[int, ...], dtype: str) -> list[Any]:
    rng = np.random.default_rng(0)
    numbers = [rng.integers(-100, 100, shape) for _ in range(prod(steps))]
    return [(n > 0 if dtype == "bool" else n).astype(dtype) for n in numbers]


@few(
    10,
    90,
    st.sampled_from(STEPS),
    st.sampled_from([0, 1, 3, 15, 16, 17, 33, 40]),
    st.sampled_from([(), (2,), (2, 3)]),
    st.sampled_from(["float32", "float64", "int8", "int64", "bool", "float16"]),
    st.booleans(),
)
def test_each_part_is_where_its_rest_says(
    steps: tuple[int, ...], inner: int, before: tuple[int, ...], dtype: str, compiled: bool
) -> None:
    shape = (*before, *range(2, 1 + len(steps)), inner)
    parts = drawn(shape, steps, dtype)
    run = wf.compile(put_between) if compiled else put_between
    assert np.array_equal(run([wf.asarray(p) for p in parts], steps).numpy(), expected(parts, steps))


@pytest.mark.parametrize("steps", [(2,), (2, 2), (3, 3)])
def test_a_part_receives_its_elements(steps: tuple[int, ...]) -> None:
    parts = [wf.asarray(p) for p in drawn((2, *(5,) * len(steps)), steps, "float64")]
    weights = np.arange(prod((2, *(5 * s for s in steps))), dtype=np.float64).reshape(2, *(5 * s for s in steps))

    def loss(*given: Any) -> Any:
        return wf.sum(put_between(given, steps) ** 2 * wf.asarray(weights))

    found = wf.grad(loss, argnums=tuple(range(len(parts))))(*parts)
    for rests, part, got in zip(product(*map(range, steps)), parts, found, strict=True):
        own = weights[(slice(None), *(slice(r, None, s) for r, s in zip(rests, steps, strict=True)))]
        np.testing.assert_allclose(got.numpy(), 2 * part.numpy() * own)


def test_parts_of_different_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"interleave: \(3,\) and \(4,\) differ"):
        put_between([wf.ones(3), wf.ones(4)], (2,))
    with pytest.raises(ShapeError, match="interleave: 1 parts"):
        put_between([wf.ones(3)], (2,))


@pytest.mark.parametrize("steps", [(2,), (2, 2), (3, 3)])
def test_in_onnx(steps: tuple[int, ...], tmp_path: Path) -> None:
    parts = [wf.asarray(p) for p in drawn((2, *(5,) * len(steps)), steps, "float32")]
    wf.save(lambda *given: put_between(given, steps), tmp_path / "f.onnx", example=tuple(parts))
    assert np.array_equal(wf.load(tmp_path / "f.onnx")(*parts).numpy(), put_between(parts, steps).numpy())


def test_what_is_computed_by_rests_is_written_in_one_pass() -> None:
    x, w = wf.ones((2, 8, 32, 32)), wf.ones((8, 4, 2, 2))
    run = wf.compile(lambda x, w: F.relu(F.conv_transpose2d(x, w, stride=2)))
    kernels = [str(k).split("(")[0] for k in run.kernels(x, w)]
    assert kernels.count("Contraction") == 4
    assert next(k.together for k in run.kernels(x, w) if hasattr(k, "together")) == 2


def test_rests_that_no_element_of_a_kernel_meets_are_written_with_the_others() -> None:
    """The gradient of a 1x1 convolution's input with a stride of 2: no zeros are filled in first."""
    x, w = wf.ones((2, 8, 32, 32)), wf.ones((4, 8, 1, 1))
    gradient = wf.compile(wf.grad(lambda x, w: wf.sum(F.conv2d(x, w, stride=2) ** 2)))
    kernels = [str(k).split("(")[0] for k in gradient.kernels(x, w)]
    assert kernels.count("Contraction") == 2 and kernels.count("Nest") <= 2
    expected = np.zeros((2, 8, 32, 32))
    expected[..., ::2, ::2] = 2 * 8 * 4
    np.testing.assert_array_equal(gradient(x, w).numpy(), expected)

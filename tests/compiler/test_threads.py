"""Kernels that are rarely cut for threads: above the size from which they are, two threads give the bits of one.

A kernel whose units touch what another unit reads or writes (a dropped permutation of axes, a wrong stride of a block)
shows itself nowhere else: below that size one thread runs all units in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from launches import TARGET, buffers_of, executable_of, pointers_of, run_units

import weft as wf
from weft.compiler.build import addresses
from weft.nn import functional as F

SIZE = 600_000  # elements: each kind of kernel is handed to several threads from some ten thousands on
rng = np.random.default_rng(11)


def floats(*shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def indices(size: int, below: int) -> Any:
    return rng.integers(0, below, size)


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "scan along rows": (lambda x: wf.cumulative_sum(x, axis=1), (floats(600, 1000),)),
    "scan along columns": (lambda x: wf.cumulative_sum(x, axis=0), (floats(600, 1000),)),
    "scan along a middle axis": (lambda x: wf.cumulative_sum(x, axis=1), (floats(60, 100, 100),)),
    "scan of what is transposed": (
        lambda x: wf.cumulative_prod(wf.permute_dims(x, (2, 0, 1)), axis=1),
        (floats(60, 100, 100),),
    ),
    "scan of a strided view": (lambda x: wf.cumulative_sum(x[:, ::-2], axis=0), (floats(600, 2000),)),
    "scan before axes that do not merge": (
        lambda x: wf.cumulative_sum(x[:, :, :100], axis=0),
        (floats(60, 100, 200),),
    ),
    "scan between axes that do not merge": (
        lambda x: wf.cumulative_sum(x[:, :, :, :50], axis=1),
        (floats(4, 40, 40, 100),),
    ),
    "scan of integers": (lambda x: wf.cumulative_sum(x, axis=0), (indices(SIZE, 1000).reshape(600, 1000),)),
    "scatter of rows": (
        lambda x, i, y: wf.scatter_add(x, i, y),
        (floats(100, 600), indices(1000, 100), floats(1000, 600)),
    ),
    "take": (lambda x, i: wf.take(x, i, axis=0), (floats(1000, 600), indices(1000, 1000))),
    "take along columns": (lambda x, i: wf.take(x, i, axis=1), (floats(600, 1000), indices(1000, 1000))),
    "transposed": (lambda x: wf.permute_dims(x, (2, 1, 0)) * 2, (floats(60, 100, 100),)),
    "sums of columns": (lambda x: x.sum(axis=0), (floats(600, 1000),)),
    "sums of a middle axis": (lambda x: x.sum(axis=1), (floats(60, 100, 100),)),
    "long columns": (lambda x: x.sum(axis=0), (floats(200_000, 3),)),
    "long rows": (lambda x: x.sum(axis=1), (floats(3, 200_000),)),
    "one long sum": (lambda x: (x.sum(), x.max(), x.argmax()), (floats(SIZE),)),
    "argmax of columns": (lambda x: x.argmax(axis=0), (floats(600, 1000),)),
    "sums of an outer product": (lambda x, y: (x[:, :, None] * y).sum((1, 2)), (floats(300, 200), floats(100))),
    "one long outer product": (lambda x, y: (x[:, None] * y).sum(), (floats(2000), floats(1000))),
    "sums of turned columns": (lambda x: x.permute(2, 0, 1).sum((0, 1)), (floats(60, 100, 100),)),
    "long turned columns": (lambda x: x.permute(2, 0, 1).sum((0, 1)), (floats(1000, 6, 100),)),
    "windows": (lambda x: x.unfold(0, 3, 1).unfold(1, 3, 1).amax((2, 3)), (floats(600, 1000),)),
    "wide windows": (lambda x: x.unfold(0, 6, 1).unfold(1, 6, 1).sum((2, 3)), (floats(300, 300),)),
    "padded windows": (lambda x: F.max_pool2d(x, 3, 2, 1), (floats(1, 1200, 1000),)),
    "softmax": (lambda x: F.softmax(x, axis=-1), (floats(600, 1000),)),
    "layer_norm": (lambda x: F.layer_norm(x, (1000,)), (floats(600, 1000),)),
    "cross_entropy": (lambda x, t: F.cross_entropy(x, t), (floats(600, 1000), indices(600, 1000))),
    "concat": (lambda x: wf.concat([x, x * 2], axis=1), (floats(600, 1000),)),
    "matmul": (lambda x, y: x @ y, (floats(300, 2000), floats(2000, 300))),
    "matrix and vector": (lambda x, y: x @ y, (floats(600, 1000), floats(1000))),
    "permutation": (lambda: _drawn(lambda: wf.random.permutation(SIZE)), ()),
    "normal numbers": (lambda: _drawn(lambda: wf.random.normal((SIZE,))), ()),
    "dropout": (lambda x: _drawn(lambda: F.dropout(x, 0.5)), (floats(SIZE),)),
}


def _drawn(draw: Callable[[], Any]) -> Any:
    wf.random.seed(5)
    return draw()


@pytest.fixture
def threads() -> Iterator[None]:
    before = wf.get_num_threads()
    yield
    wf.set_num_threads(before)


def results(function: Callable[..., Any], arrays: tuple[Any, ...]) -> list[bytes]:
    made = function(*(wf.asarray(a) for a in arrays))
    return [np.asarray(t.numpy()).tobytes() for t in (made if isinstance(made, tuple) else (made,))]


WITHOUT_STATE = [name for name in CASES if name not in ("permutation", "normal numbers", "dropout")]


@pytest.mark.parametrize("name", WITHOUT_STATE)
def test_units_give_the_same_bits_in_any_order(name: str) -> None:
    """There are more units than one thread takes at once; run backwards, one by one, they leave the same memory."""
    function, arrays = CASES[name]
    exe = executable_of(function, arrays, 2)
    assert any(launch.units > launch.grain for launch in exe.launches)
    code = addresses([x.kernel for x in exe.launches], TARGET)
    forwards, backwards = buffers_of(exe, arrays), buffers_of(exe, arrays)
    for address, launch in zip(code, exe.launches, strict=True):
        run_units(address, launch, pointers_of(exe, launch, forwards), [(0, launch.units)])
        alone = [(unit, unit + 1) for unit in reversed(range(launch.units))]
        run_units(address, launch, pointers_of(exe, launch, backwards), alone)
    assert all((a == b).all() for a, b in zip(forwards, backwards, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_two_threads_give_the_bits_of_one(name: str, threads: None) -> None:
    function, arrays = CASES[name]
    wf.set_num_threads(1)
    alone = results(function, arrays)
    wf.set_num_threads(2)
    for _ in range(3):  # a race is not lost every time
        assert results(function, arrays) == alone

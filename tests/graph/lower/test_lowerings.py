"""Each kind of cluster against what NumPy says of it, in integers: any shape, strided inputs, one thread and two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.core import dtypes as dt
from weft.core.shapes import strides_of
from weft.graph.executable import build
from weft.graph.protocol import TensorType
from weft.llvm.targets import host_target
from weft.ops.op import trace_function
from weft.ops.views import slice_update
from weft.runtime import storage

Shape = tuple[int, ...]


def written(x: Any, y: Any) -> Any:
    x = x.copy()
    x[1:3] = y[1:3] * 2
    return x


ANY: list[Shape] = [(0, 3), (3, 0), (1, 1), (1, 7), (7, 1), (5, 9), (64, 65), (2, 3, 4), (3, 1, 5)]
FLAT: list[Shape] = [s for s in ANY if len(s) == 2]
FULL: list[Shape] = [s for s in ANY if 0 not in s]

CASES: list[tuple[str, str, Callable[..., Any], Callable[..., Any], list[Shape]]] = [
    ("points", "Nest", lambda x, y: x * 2 + y, lambda x, y: x * 2 + y, ANY),
    ("points in turn", "Nest", lambda x, y: x.mT * 2, lambda x, y: np.swapaxes(x, -1, -2) * 2, ANY),
    ("one value", "Nest", lambda x, y: x[:1, :1] + y[:1, :1], lambda x, y: x[:1, :1] + y[:1, :1], FLAT),
    (
        "rows",
        "Nest",
        lambda x, y: wf.sum(x * y, axis=-1, keepdims=True) + x,
        lambda x, y: (x * y).sum(-1, keepdims=True) + x,
        ANY,
    ),
    ("places in rows", "Nest", lambda x, y: wf.argmax(x, axis=-1), lambda x, y: x.argmax(-1), FULL),
    ("columns", "ColumnReduce", lambda x, y: wf.sum(x, axis=0) * 3, lambda x, y: x.sum(0) * 3, ANY),
    ("places in columns", "ColumnReduce", lambda x, y: wf.argmin(x, axis=0), lambda x, y: x.argmin(0), FULL),
    ("products", "Contraction", lambda x, y: (x @ y.mT) + 1, lambda x, y: (x @ np.swapaxes(y, -1, -2)) + 1, ANY),
    ("long rows", "Nest", lambda x, y: wf.sum(x, axis=1), lambda x, y: x.sum(1), [(2, 40_000), (1, 70_001)]),
    (
        "places in long rows",
        "Nest",
        lambda x, y: wf.argmax(x * 3 + y, axis=1),
        lambda x, y: (x * 3 + y).argmax(1),
        [(2, 40_000), (1, 70_001)],
    ),
    (
        "long columns",
        "ColumnReduce",
        lambda x, y: (wf.sum(x, axis=0), wf.argmin(x + y, axis=0)),
        lambda x, y: (x.sum(0), (x + y).argmin(0)),
        [(40_000, 2), (33_000, 70)],
    ),
    ("running sums", "Sequential", lambda x, y: wf.cumulative_sum(x, axis=0), lambda x, y: x.cumsum(0), ANY),
    ("running sums of rows", "Sequential", lambda x, y: wf.cumulative_sum(x, axis=-1), lambda x, y: x.cumsum(-1), ANY),
    (
        "parts",
        "Nest",
        lambda x, y: wf.concat([x[1:], y * 2, x[:1]], axis=0),
        lambda x, y: np.concatenate([x[1:], y * 2, x[:1]]),
        ANY,
    ),
    ("a part", "Nest", lambda x, y: slice_update(x, y[1:3] * 2, (1, 0)), written, [(5, 9), (3, 1), (64, 65)]),
]


def values(shape: Shape, seed: int) -> Any:
    count = int(np.prod(shape))
    return ((np.arange(count, dtype=np.int64) * (2 * seed + 7)) % 101 - 50).reshape(shape)


def computed(function: Callable[..., Any], arrays: Sequence[Any], threads: int, in_turn: bool) -> tuple[Any, list[Any]]:
    """The executable and its results; ``in_turn``: the inputs lie in memory column by column."""
    graph = trace_function(function, [TensorType(dt.int64, a.shape) for a in arrays], "f")[0]
    given = [
        (a.T.tobytes(), strides_of(a.shape[::-1])[::-1]) if in_turn else (a.tobytes(), strides_of(a.shape))
        for a in arrays
    ]
    exe = build(graph, [s for _, s in given], (), host_target(), threads)
    made = exe.program.call(*[storage.copy_of(data) for data, _ in given])
    found = made if isinstance(made, tuple) else (made,)
    results = []
    for number, value in zip(exe.results, graph.outputs, strict=True):
        shape = tuple(value.shape)
        data = bytes(found[number])[: 8 * int(np.prod(shape))]
        results.append(np.frombuffer(data, np.int64).reshape(shape))
    return exe, results


@pytest.mark.one_in(2)
@pytest.mark.parametrize("in_turn", [False, True], ids=["row-major", "column-major"])
@pytest.mark.parametrize(("name", "kernel", "function", "meaning", "shapes"), CASES, ids=[c[0] for c in CASES])
def test_what_a_cluster_computes(
    name: str,
    kernel: str,
    function: Callable[..., Any],
    meaning: Callable[..., Any],
    shapes: Sequence[Shape],
    in_turn: bool,
) -> None:
    used = set()
    for shape in shapes:
        x, y = values(shape, 1), values(shape, 2)
        expected = meaning(x, y)
        for threads in (1, 2):
            exe, found = computed(function, [x, y], threads, in_turn)
            used.update(type(launch.kernel).__name__ for launch in exe.launches)
            for a, b in zip(found, expected if isinstance(expected, tuple) else (expected,), strict=True):
                assert np.array_equal(a, b), shape
    assert kernel in used


BLOCKS = [("float32", 250, 128), ("float32", 512, 16), ("float32", 3072, 16), ("float64", 96, 128), ("uint8", 512, 128)]


@pytest.mark.parametrize(("dtype", "columns", "block"), BLOCKS)
def test_a_block_across_rows_has_the_lines_that_the_cache_holds(dtype: str, columns: int, block: int) -> None:
    """Rows 2 KiB apart, or 4, lie in few sets of the cache."""
    x = wf.zeros((64, columns), dtype=dtype)
    entry, _ = wf.compile(lambda x: x.T + x[0, 0])._entry((x,), {})
    (launch,) = entry.exe.launches
    assert launch.kernel.block == block


@pytest.mark.parametrize(
    ("dtype", "to", "columns", "block"),
    [("uint8", "float32", 512, 128), ("uint8", "float32", 2048, 16), ("float64", "uint8", 256, 16)],
)
def test_the_lines_of_a_block_are_those_of_what_is_read(dtype: str, to: str, columns: int, block: int) -> None:
    """Not of the elements that are written."""
    x = wf.zeros((64, columns), dtype=dtype)
    entry, _ = wf.compile(lambda x: x.T.astype(getattr(wf, to)))._entry((x,), {})
    (launch,) = entry.exe.launches
    assert launch.kernel.block == block


def test_positions_have_no_lines() -> None:
    """What is counted, and not read, does not make blocks short."""
    entry, _ = wf.compile(lambda x: x + wf.arange(64 * 100).reshape(100, 64).T)._entry((wf.zeros((64, 100)),), {})
    (launch,) = entry.exe.launches
    assert launch.kernel.block == 4096

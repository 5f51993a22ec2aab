"""Products with few results and long sums: threads share their K blocks, and nothing shows in the bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler.kernels import K_BLOCK, Contraction, Sequential
from weft.core import dtypes as dt
from weft.graph.ir import Graph, Value, make_node
from weft.graph.lower import launches_of
from weft.graph.lower.launch import Launch
from weft.graph.protocol import Layout, TensorType
from weft.llvm.targets import host_target
from weft.ops.contraction import CONTRACT

SHAPES = [(8, 163_840, 8), (20, 50_001, 12), (1, 3_500_000, 3), (3, 4_000_100, 1)]  # with and without a rest of K


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = wf.get_num_threads()
    yield
    wf.set_num_threads(before)


def lowered(m: int, k: int, n: int, threads: int, batch: tuple[int, ...] = ()) -> list[Launch]:
    a, b = (Value(TensorType(dt.float32, (*batch, *shape))) for shape in ((m, k), (k, n)))
    node = make_node(CONTRACT, (a, b), {})
    graph = Graph("f", [a, b], [node], [node.output])
    return launches_of(graph, {v: Layout.contiguous(v.shape) for v in (a, b)}, host_target(), threads)


def operands(m: int, k: int, n: int, dtype: str, columns: bool) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    a, b = (wf.asarray(rng.standard_normal(s, dtype=np.float32) * 9) for s in (((k, m) if columns else (m, k)), (k, n)))
    a, b = (wf.astype(x, getattr(wf, dtype)) for x in (a, b))
    return a.mT if columns else a, b


def bits(x: Any) -> bytes:
    return (wf.astype(x, wf.float32) if x.dtype is wf.bfloat16 else x).numpy().tobytes()


USUAL = (("float32", False), ("float32", True), ("bfloat16", False))


@pytest.mark.parametrize(
    ("shape", "dtype", "columns"),
    [
        pytest.param(shape, dtype, columns, marks=() if (dtype, columns) in USUAL else pytest.mark.long)
        for shape in SHAPES
        for dtype in ("float32", "bfloat16", "int32")
        for columns in (False, True)
    ],
)
def test_any_number_of_threads_gives_the_same_bits(shape: tuple[int, int, int], dtype: str, columns: bool) -> None:
    """Alone, with what follows it, and where only that is wanted."""
    a, b = operands(*shape, dtype, columns)

    def followed(a: Any, b: Any) -> Any:
        product = a @ b
        return product, wf.maximum(product * 2 + product[:1], 0), wf.sum(product, axis=0)

    def alone(a: Any, b: Any) -> Any:
        return wf.where(a @ b > 0, 1, 0)

    found = []
    for count in (1, 2, 5):
        wf.set_num_threads(count)
        found.append([bits(x) for x in (a @ b, *wf.compile(followed)(a, b), wf.compile(alone)(a, b))])
    assert found[0] == found[1] == found[2]


def test_the_bits_are_the_contract() -> None:
    """Chains of blocks that NumPy adds in order; a sum of -0.0 alone is -0.0."""
    m, k, n = 4, 700_000, 4
    wf.set_num_threads(2)
    a, b = operands(m, k, n, "float32", False)
    blocks = [(a[:, i : i + K_BLOCK] @ b[i : i + K_BLOCK]).numpy() for i in range(0, k, K_BLOCK)]
    total = blocks[0]
    for block in blocks[1:]:
        total = total + block
    assert bits(a @ b) == total.tobytes()
    small = wf.full((4, k), -1e-30), wf.full((k, 4), 1e-30)
    assert np.all(np.signbit((small[0] @ small[1]).numpy()))


@pytest.mark.parametrize(("m", "k", "n", "rest"), [(8, 163_840, 8, 0), (8, 163_841, 8, 1)])
def test_blocks_are_elements_of_a_batch(m: int, k: int, n: int, rest: int) -> None:
    *products, total = lowered(m, k, n, threads=2)
    assert [type(x.kernel) for x in products] == [Contraction] * (1 + rest) and isinstance(total.kernel, Sequential)
    assert products[0].units == k // K_BLOCK


@pytest.mark.parametrize(
    ("shape", "threads", "batch"),
    [
        ((8, 163_840, 8), 1, ()),  # one thread
        ((100, 163_840, 100), 2, ()),  # tiles enough
        ((8, 163_840, 8), 2, (16,)),  # elements of the batch enough
        ((8, 5_000, 8), 2, ()),  # too little to be worth it
    ],
)
def test_what_has_work_for_all_threads_stays_whole(shape: Any, threads: int, batch: tuple[int, ...]) -> None:
    assert len(lowered(*shape, threads, batch)) == 1

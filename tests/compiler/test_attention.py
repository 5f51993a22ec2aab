"""Attention as one kernel has the bits of the ops that it is made of: on every ISA, of every shape, by threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from small_kernels import TARGETS

import weft as wf
from weft.compiler.attention.plan import WIDEST
from weft.compiler.kernels import REDUCE_CHUNK, SCRATCH_BYTES, Attention, Contraction
from weft.graph.executable import build, plan_graph
from weft.graph.ir import Graph
from weft.graph.protocol import Primitive
from weft.llvm.targets import Target, cross_target, host_target
from weft.ops.attend import ATTEND, ATTEND_KEYS, ATTEND_QUERIES, composition
from weft.ops.op import apply, trace_function

RNG = np.random.default_rng(0)
KINDS = {"attend": ATTEND, "queries": ATTEND_QUERIES, "keys": ATTEND_KEYS}


def graphs(op: Primitive, operands: Sequence[wf.Tensor], causal: bool, dropout: float = 0.0) -> tuple[Graph, Graph]:
    """One node, and the ops that it is made of."""
    types = [x._spec.type for x in operands]
    fused, _ = trace_function(lambda *x: apply(op, *x, causal=causal, dropout=dropout), types, "attention")
    return fused, composition(fused.nodes[-1])


def run(graph: Graph, operands: Sequence[wf.Tensor], target: Target, threads: int = 1) -> list[Any]:
    exe = build(graph, [x._spec.strides for x in operands], (), target, threads)
    made = exe.program.call(*[x._storage for x in operands])
    made = made if isinstance(made, tuple) else (made,)
    return [
        np.frombuffer(bytes(made[number]), v.dtype.numpy).reshape(v.shape)
        for number, v in zip(exe.results, graph.outputs, strict=True)
    ]


def kernels(graph: Graph, target: Target) -> list[type]:
    strides = [wf.zeros(v.shape, dtype=v.dtype)._spec.strides for v in graph.inputs]
    return [type(x.kernel) for x in plan_graph(graph, strides, (), target, 1).launches]


def operands_of(
    op: Primitive, batch: tuple[int, ...], sizes: tuple[int, int, int, int], dtype: str, mask: str
) -> list[wf.Tensor]:
    """Of L queries and S keys with E and D elements. The rows' numbers are those of no softmax: any will do."""
    length, keys, depth, width = sizes
    scores = (*batch, length, keys)

    def normal(*shape: int) -> Any:
        return RNG.normal(size=shape).astype(dtype)

    matrices = [normal(*batch, length, depth), normal(*batch, keys, depth), normal(*batch, keys, width)]
    others = [np.full(scores, 0.3, dtype)]
    if op is not ATTEND:
        matrices.append(normal(*batch, length, width))
        rows = [normal(*batch, length, 1), 1 + normal(*batch, length, 1) ** 2, normal(*batch, length, 1)]
        others = [*(np.broadcast_to(x, scores).copy() for x in rows), *others]
    if mask == "bool":
        others.append(RNG.random(scores) < 0.7)
    elif mask == "float":
        others.append(np.where(RNG.random(scores) < 0.7, normal(*scores), -np.inf).astype(dtype))
    return [wf.asarray(x) for x in (*matrices, *others)]


def assert_same(
    op: Primitive, operands: Sequence[wf.Tensor], causal: bool, targets: Sequence[Target], dropout: float = 0.0
) -> None:
    fused, apart = graphs(op, operands, causal, dropout)
    wanted = run(apart, operands, host_target())
    for target in targets:
        got = run(fused, operands, target)
        for x, y in zip(got, wanted, strict=True):
            assert x.tobytes() == y.tobytes(), (target.isa, op, x.shape, np.abs(x - y).max())


@pytest.mark.one_in(6)
@pytest.mark.parametrize("op", KINDS)
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "float"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_isa_has_the_bits_of_the_ops_apart(op: str, mask: str, dtype: str) -> None:
    """Tails of tiles of rows and of columns; more than one K block, of elements and of keys."""
    for sizes in ((37, 300, 20, 40), (70, 33, 270, 7)):
        assert_same(KINDS[op], operands_of(KINDS[op], (2,), sizes, dtype, mask), mask == "causal", TARGETS)


@pytest.mark.parametrize("op", KINDS)
def test_dropout(op: str) -> None:
    """The last operand says which weights are zeros."""
    operands = operands_of(KINDS[op], (2,), (37, 70, 20, 40), "float32", "float")
    dropped = wf.asarray(RNG.random((2, 37, 70)) < 0.3)
    for p in (0.3, 1.0):
        assert_same(KINDS[op], [*operands, dropped], True, [host_target()], p)


@few(
    7,
    60,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from([(), (1,), (2, 3), (0, 2)]),
    st.tuples(*[st.sampled_from([0, 1, 2, 3, 12, 13, 16, 17, 31, 32, 33, 65])] * 4),
    st.sampled_from(["none", "causal", "bool", "float"]),
)
def test_any_shape(op: str, batch: tuple[int, ...], sizes: tuple[int, int, int, int], mask: str) -> None:
    operands = operands_of(KINDS[op], batch, sizes, "float32", mask)
    assert_same(KINDS[op], operands, mask == "causal", [host_target()])


@pytest.mark.parametrize("causal", [False, True])
def test_pairs_that_do_not_fit_into_the_scratch_are_computed_again(causal: bool) -> None:
    """More keys than lines of pairs; more than a chunk of a reduction, and than two of them."""
    most = SCRATCH_BYTES // 64
    for keys in (most // 2, REDUCE_CHUNK + 300, 2 * REDUCE_CHUNK + 1):
        length = 3 if not causal else 40
        assert_same(ATTEND, operands_of(ATTEND, (), (length, keys, 3, 2), "float32", "none"), causal, [host_target()])


def test_threads_and_batches_do_not_matter() -> None:
    """On 1, 2 and 3 threads; and each head alone."""
    for op in KINDS.values():
        operands = operands_of(op, (2, 3), (50, 70, 16, 24), "float32", "float")
        fused, _ = graphs(op, operands, True)
        wanted = run(fused, operands, host_target())
        for threads in (2, 3):
            assert [x.tobytes() for x in run(fused, operands, host_target(), threads)] == [x.tobytes() for x in wanted]
        for at in np.ndindex(2, 3):
            alone = [wf.asarray(x.numpy()[at].copy()) for x in operands]
            one, _ = graphs(op, alone, True)
            assert [x.tobytes() for x in run(one, alone, host_target())] == [x[at].tobytes() for x in wanted]


def test_what_it_is_not_for_other_ops_compute() -> None:
    """A GPU, and heads that are wider than a unit's scratch."""
    for op in KINDS.values():
        fused, _ = graphs(op, operands_of(op, (2,), (5, 7, 4, 4), "float32", "bool"), False)
        assert kernels(fused, host_target()).count(Attention) == 1
        on_gpu = kernels(fused, cross_target("nvptx64"))
        assert Attention not in on_gpu and Contraction in on_gpu
        wide = operands_of(op, (), (5, 7, WIDEST + 1, 4), "float32", "none")
        fused, _ = graphs(op, wide, False)
        assert Attention not in kernels(fused, host_target())
        assert_same(op, wide, False, [host_target()])
        assert_same(op, operands_of(op, (), (5, 7, WIDEST, WIDEST), "float32", "none"), False, [host_target()])


def test_a_kernel_prints() -> None:
    """Its text, its IR and its assembly; no size stands in it."""
    texts = set()
    for sizes in ((5, 70, 20, 12), (50, 9, 64, 30)):
        fused, _ = graphs(ATTEND, operands_of(ATTEND, (2, 3), sizes, "float32", "bool"), True)
        strides = [wf.zeros(v.shape, dtype=v.dtype)._spec.strides for v in fused.inputs]
        (launch,) = plan_graph(fused, strides, (), host_target(), 1).launches
        texts.add(str(launch.kernel))
    (text,) = texts
    assert text.startswith("Attention(") and "reduce max" in text and "reduce sum" in text
    assert "define i64 @kernel(" in launch.kernel.llvm()  # type: ignore[union-attr]

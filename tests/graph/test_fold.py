"""Constant folding keeps bits and leaves fewer nodes to run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import weft as wf
from weft.graph.executable import _run
from weft.graph.fold import constants_of
from weft.graph.ir import Graph, eliminate_dead, rewrite
from weft.llvm.targets import host_target


def folded(function: object, *args: wf.Tensor) -> Graph:
    graph = wf.compile(function).graph(*args)  # type: ignore[arg-type]
    found = constants_of(graph, lambda part: _run(part, host_target(), 1))
    return eliminate_dead(rewrite(graph, values={v: n.output for v, n in found.items()})) if found else graph


@pytest.mark.parametrize("dtype", [wf.float16, wf.bfloat16, wf.float32, wf.float64, wf.int32], ids=str)
def test_what_constants_alone_decide_is_computed_once(dtype: object) -> None:
    def f(x: wf.Tensor) -> wf.Tensor:
        scale = wf.full((3, 4), 3, dtype=dtype) * 7 + 2
        return x * (scale if dtype is wf.int32 else wf.exp(scale / 11.0))

    x = wf.ones((3, 4), dtype=dtype)
    graph = folded(f, x)
    assert [n.op.name for n in graph.nodes] == ["full", "multiply"]
    assert wf.compile(f)(x).numpy().tobytes() == f(x).numpy().tobytes()


VIEWS: dict[str, Callable[[wf.Tensor], wf.Tensor]] = {
    "reshape": lambda x: x.reshape(6, 2),
    "broadcast": lambda x: x.expand(5, 3, 4),
    "permute": lambda x: x.T,
    "slice": lambda x: x[1:, ::-2],
    "of a view": lambda x: x.T.reshape(2, 6)[0],
    "of nothing": lambda x: x[:0],
}


@pytest.mark.parametrize("name", VIEWS)
def test_constants_behind_views_are_constants(name: str) -> None:
    view = VIEWS[name]

    def f(x: wf.Tensor) -> wf.Tensor:
        return x * wf.exp(view(wf.full((3, 4), 3.0) / 7.0) - 1.0)

    x = wf.ones(view(wf.ones((3, 4))).shape)
    assert [n.op.name for n in folded(f, x).nodes] == ["full", "multiply"]
    assert wf.compile(f)(x).numpy().tobytes() == f(x).numpy().tobytes()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_of_a_constant_is_the_only_result(name: str) -> None:
    def f() -> tuple[wf.Tensor, wf.Tensor]:
        made = wf.sqrt(wf.full((3, 4), 2.0))
        return VIEWS[name](made), VIEWS[name](wf.full((3, 4), 2.0))

    assert [n.op.name for n in folded(f).nodes if n.op.name in ("sqrt", "divide")] == []
    for compiled, eager in zip(wf.compile(f)(), f(), strict=True):
        assert compiled.shape == eager.shape and compiled.numpy().tobytes() == eager.numpy().tobytes()


def test_negative_zero_and_nan_stay_what_they_are() -> None:
    x = wf.ones(3)
    for value in (-0.0, float("nan"), float("inf")):
        f = wf.compile(lambda x, v=value: x * wf.abs(wf.full((3,), 1.0)) * (wf.zeros(3) + v if v else wf.zeros(3) * v))
        expected = x * (wf.zeros(3) + value if value else wf.zeros(3) * value)
        assert f(x).numpy().tobytes() == expected.numpy().tobytes()


@pytest.mark.parametrize(("dtype", "start"), [(wf.int64, 2**53), (wf.int64, -(2**63)), (wf.uint64, 2**64 - 2)], ids=str)
def test_large_integers_are_exact(dtype: wf.DType, start: int) -> None:
    assert wf.compile(lambda: wf.full((2,), start, dtype=dtype) + 1)().tolist() == [start + 1] * 2


@pytest.mark.parametrize("dtype", [wf.float16, wf.float32, wf.float64], ids=str)
def test_zeros_of_both_signs_and_two_nan_stay_apart(dtype: wf.DType) -> None:
    """Equal nodes are one, and ``0.0 == -0.0``."""

    def f(x: wf.Tensor) -> tuple[wf.Tensor, ...]:
        one, zero = wf.full((2,), 1.0, dtype=dtype), wf.full((2,), 0.0, dtype=dtype)
        return wf.copysign(x, zero * one), wf.copysign(x, zero * -one), zero * one, zero / zero, -(zero * one)

    x = wf.ones(2, dtype=dtype)
    for compiled, eager in zip(wf.compile(f)(x), f(x), strict=True):
        assert np.signbit(compiled.numpy()).tolist() == np.signbit(eager.numpy()).tolist() or (eager != eager).all()
        assert np.array_equal(compiled.numpy(), eager.numpy(), equal_nan=True)


def test_a_graph_of_constants_alone() -> None:
    assert wf.compile(lambda: wf.sqrt(wf.full((2, 2), 16.0)))().tolist() == [[4.0, 4.0], [4.0, 4.0]]

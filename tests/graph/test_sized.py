"""Plans for many sizes: bound to any sizes that they serve, they give the bits of a plan for these sizes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lowered_programs as programs
import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
import weft.nn.functional as F
from weft.core import dtypes as dt
from weft.core.errors import OutOfMemoryError, ShapeError
from weft.core.shapes import Shape, strides_of
from weft.core.symbolic import Sizes, SymDim
from weft.graph import executable
from weft.graph.executable import Executable, build
from weft.graph.ir import Graph
from weft.graph.protocol import TensorType
from weft.graph.sized import SizedPlan, plan_in, plan_sizes
from weft.graph.specialise import specialise
from weft.llvm.targets import host_target
from weft.ops.op import trace_function
from weft.ops.views import slice_
from weft.runtime.program import KernelStatus

N, M = SymDim.named("n"), SymDim.named("m")
# Around everything that a size is compared with: vectors, SHORT, COLUMNS, STEP_BLOCK, K_BLOCK, MAP_BLOCK.
SIZES = [64, 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 65, 128, 255, 256, 257, 1025, 4095, 4096, 4097]
PAIRS = [(a, b) for a in (5, 0, 1, 2, 16, 300) for b in (5, 1, 7, 8, 64, 520)]


def _attention(x: Any) -> Any:
    q = wf.permute_dims(wf.reshape(x, (*x.shape[:2], 2, 8)), (0, 2, 1, 3))
    heads = F.softmax(q @ q.mT * 0.35, -1) @ q
    return wf.reshape(wf.permute_dims(heads, (0, 2, 1, 3)), tuple(x.shape))


PROGRAMS: dict[str, tuple[Callable[..., Any], list[Shape], int]] = {
    # what is computed, shapes, the most plans that SIZES or PAIRS may need
    "map": (lambda x, y: wf.tanh(x * y) + x, [(N, 5), (N, 5)], 3),
    "a repeated row": (lambda x, y: x * y + 1.0, [(N, 5), (5,)], 4),
    "a repeated column": (lambda x, y: x - y, [(5, N), (5, 1)], 4),
    "mean": (lambda x: wf.mean(x, axis=0), [(N, 12)], 4),
    "variance of rows": (lambda x: wf.var(x, axis=1), [(6, N)], 4),
    "softmax": (lambda x: F.softmax(x, -1), [(3, N)], 4),
    "layer norm": (lambda x, w: F.layer_norm(x, (40,), w, w), [(N, 40), (40,)], 3),
    "a long reduction": (lambda x: wf.sum(x), [(N, 40)], 4),
    "long columns": (lambda x: wf.sum(x, axis=0), [(N, 40, 2)], 4),
    "argmax": (lambda x: (wf.argmax(x, axis=0), wf.argmax(x), wf.argmin(x, axis=1)), [(N, 33)], 5),
    "matmul": (lambda x, y: F.relu(x @ y + 1.0), [(N, 70), (70, 24)], 3),
    "inner": (lambda x: x @ x.mT, [(3, N)], 3),
    "outer": (lambda x: x @ x.mT, [(N, 3)], 3),
    "attention": (_attention, [(2, N, 16)], 4),
    "cumulative sum": (lambda x: wf.cumulative_sum(x, axis=0), [(N, 6)], 3),
    "cumulative sum of rows": (lambda x: wf.cumulative_sum(x, axis=1), [(3, N)], 4),
    "sorted": (lambda x: (wf.sort(x, axis=0), wf.argsort(x, axis=1)), [(N, 6)], 4),
    "greatest of rows": (lambda x: wf.topk(x, 5)[0] + 1.0, [(N, 40)], 4),
    "concat": (lambda x, y: wf.concat([x, y, x * 2.0], axis=0), [(N, 6), (3, 6)], 3),
    "stack": (lambda x: wf.stack([x, wf.exp(x)], axis=1), [(N, 6)], 4),
    "backwards": (lambda x: wf.flip(x, axis=0) + x, [(N, 6)], 4),
    "a part": (lambda x: slice_(x, (2, 0), (5, 6)) * 2.0, [(N, 6)], 1),
    "pad": (lambda x: wf.pad(x, ((1, 2), (0, 3))), [(N, 6)], 3),
    "roll": (lambda x: wf.roll(x, 3, axis=0), [(N, 6)], 3),
    "turned": (lambda x: wf.reshape(x.mT, (-1,)) * 2.0, [(N, 24)], 4),
    "grouped": (lambda x: wf.sum(wf.reshape(x, (-1, 3)), axis=1), [(N, 6)], 3),
    "triangle": (lambda x: wf.tril(x), [(N, N)], 4),
    "where": (lambda x: wf.where(x > 0.1, x, 0.0), [(N, 6)], 3),
    "halves": (lambda x: wf.astype(wf.sum(wf.astype(x, "float16"), axis=1), "float32"), [(6, N)], 4),
    "wholes": (lambda x: wf.sum(wf.astype(x * 9.0, "int32"), axis=0), [(N, 7)], 4),
    "extremes": (lambda x: (wf.max(x, axis=1), wf.min(x), wf.any(x > 1.0)), [(N, 7)], 4),
    "sizes as values": (lambda x: wf.clip(x * x.shape[0], 0, x.shape[0]) ** (1.0 / x.shape[1]), [(N, 6)], 3),
    "whole values": (lambda x: wf.arange(1, x.shape[0] + 1) * (2 * x.shape[0]) + wf.arange(x.shape[0]), [(N,)], 3),
    "counting down": (lambda x: wf.arange(3 * x.shape[0], 0, -3, dtype="float32") * x, [(N,)], 3),
    "counting down in floats": (lambda x: wf.arange(3 * x.shape[0], 0, -3.0) * x, [(N,)], 3),
    "gather": (lambda x: wf.take(x, wf.arange(x.shape[0]) // 2, axis=0) + 1.0, [(N, 6)], 4),
    "scatter": (lambda x: wf.scatter_add(x, wf.arange(x.shape[0]) // 3, x * 2.0) * 0.5, [(N, 6)], 4),
    "along an axis": (lambda x: wf.take_along_axis(x, wf.argmax(x, axis=1, keepdims=True), axis=1), [(N, 6)], 4),
    "windows": (lambda x, w: F.relu(F.conv2d(x, w, padding=1)), [(N, 3, 5, 6), (4, 3, 3, 3)], 4),
    "windows with lines of vectors": (lambda x, w: F.conv2d(x, w, padding=1), [(N, 5, 7, 32), (9, 5, 3, 3)], 4),
    "windows with lines of any length": (lambda x, w: F.conv2d(x, w, padding=1), [(2, 30, 3, N), (9, 30, 3, 3)], 6),
    "windows of many": (lambda x, w: F.conv1d(x, w, padding=2, dilation=2), [(2, 3, N), (4, 3, 3)], 6),
    "greatest of windows": (lambda x: F.max_pool2d(x, 3, 2, 1), [(N, 2, 9, 8)], 4),
    "greatest of windows of many": (lambda x: F.max_pool1d(F.relu(x), 3, 1, 1), [(2, 3, N)], 8),
    "means of windows of many": (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), [(2, 5, N)], 8),
    "turned axes": (lambda x: wf.sum(wf.permute_dims(x, (2, 0, 1)), axis=(1, 2)), [(4, N, 6)], 8),
    "axes apart": (lambda x: wf.mean(x * 2.0, axis=(0, 2)), [(3, 4, N)], 8),
    "two sizes": (lambda x, y: x @ y + wf.sum(x, axis=1, keepdims=True), [(N, M), (M, 5)], 9),
    "two sizes, turned": (lambda x: wf.exp(x.mT) - wf.mean(x), [(N, M)], 12),
    "product of sizes": (lambda x: wf.max(wf.reshape(x, (-1,))), [(N, M, 3)], 9),
    "two sizes joined": (lambda x, y: wf.concat([x, y], axis=1) * 3.0, [(4, N), (4, M)], 9),
}

QUADRATIC = ("attention", "outer", "triangle")


def names_of(graph: Graph) -> list[str]:
    """The names of the sizes of its inputs."""
    return sorted({name for v in graph.inputs for n in v.shape if isinstance(n, SymDim) for k in n.terms for name in k})


def numbers(graph: Graph) -> list[wf.Tensor]:
    """Operands of a graph without symbols, floats about 0."""
    rng = np.random.default_rng(7)
    return [wf.asarray(rng.standard_normal(tuple(map(int, v.shape))).astype(v.dtype.numpy)) for v in graph.inputs]


def results(exe: Executable, operands: Sequence[wf.Tensor]) -> list[bytes]:
    """The bytes of a run's results."""
    made = exe.program.call(*[x._storage for x in operands])
    made = made if isinstance(made, tuple) else (made,)
    return [bytes(made[number]) for number in exe.results]


def agrees(graph: Graph, sizes: Sequence[tuple[int, ...]], threads: int) -> list[SizedPlan | None]:
    """Compare plans for many sizes with one for each, as bits, and give the former."""
    names, plans = names_of(graph), list[SizedPlan | None]()
    for key in sizes:
        examples = dict(zip(names, key, strict=True))
        try:
            alone = specialise(graph, examples)
        except ShapeError:
            assert not any(plan.serves(key) for plan in plans if plan is not None), f"{examples} is refused"
            with pytest.raises(ShapeError):
                plan_sizes(graph, examples, host_target(), threads)
            continue
        operands = numbers(alone)
        strides = [strides_of(v.shape) for v in alone.inputs]
        expected = results(build(alone, strides, [], host_target(), threads), operands)
        found = [plan for plan in plans if plan is not None and plan.serves(key)]
        if not found:
            plan = plan_sizes(graph, examples, host_target(), threads)
            plans.append(plan)
            if plan is None:
                continue
            assert plan.serves(key), f"{plan.scope} is not for its own example {examples}"
            found = [plan]
        for plan in found:
            bound = plan.bind(key)
            assert bound.shapes == tuple(v.shape for v in alone.outputs)
            assert results(bound.executable, operands) == expected, f"{examples} in {plan.scope}"
    return plans


@pytest.mark.one_in(2)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_bound_plan_gives_the_bits_of_one_for_its_sizes(name: str, threads: int) -> None:
    function, shapes, most = PROGRAMS[name]
    graph = trace_function(function, [TensorType(dt.float32, shape) for shape in shapes], name)[0]
    sizes = PAIRS if len(names_of(graph)) == 2 else [(n,) for n in SIZES if name not in QUADRATIC or n < 1000]
    plans = agrees(graph, sizes, threads)
    assert len(plans) <= most, [plan and plan.scope for plan in plans]


SHAPES: list[tuple[Any, Any]] = [(N, 4), (4, N), (N, N), (N, M), (2 * N + 1, 3), (N, N + 2)]


@few(33, 300, st.data())
def test_random_programs_keep_their_bits(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    graph = data.draw(programs.graphs(most=6, of=[shape]))
    size = st.integers(0, 40) | st.sampled_from([64, 130, 256, 300])
    count = len(names_of(graph))
    keys = data.draw(st.lists(st.tuples(*[size] * count), min_size=1, max_size=5))
    agrees(graph, keys, data.draw(st.sampled_from([1, 2])))


def graph_of(function: Callable[..., Any], *shapes: Shape) -> Graph:
    """The graph of a function of float32 tensors."""
    return trace_function(function, [TensorType(dt.float32, shape) for shape in shapes], "f")[0]


def plan_for(graph: Graph, **examples: int) -> SizedPlan:
    """The plan for what is like the examples."""
    plan = plan_sizes(graph, examples, host_target(), 1)
    assert plan is not None
    return plan


def test_binding_lowers_and_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(graph_of(lambda x: F.softmax(x @ x.mT, -1), (N, 16)), n=20)
    monkeypatch.setattr(executable, "addresses", None)
    monkeypatch.setattr(executable, "launches_of", None)
    assert [plan.bind((n,)).shapes for n in (2, 33, 1000)] == [((2, 2),), ((33, 33),), ((1000, 1000),)]


def test_a_size_that_is_a_value_is_computed_at_each_binding() -> None:
    def mean(x: Any) -> Any:
        return wf.mean(x)

    graph = graph_of(mean, (N,))
    plan = plan_for(graph, n=4)
    for n in (3, 10, 77):
        (found,) = results(plan.bind((n,)).executable, [wf.arange(n, dtype="float32")])
        assert np.frombuffer(found, np.float32)[0] == (n - 1) / 2


def test_an_index_out_of_range_is_found_at_every_size() -> None:
    def looked_up(x: Any, i: Any) -> Any:
        return wf.take(x, i, axis=0)

    types = [TensorType(dt.float32, (N, 3)), TensorType(dt.int64, (5,))]
    plan = plan_for(trace_function(looked_up, types, "f")[0], n=10)
    index = wf.asarray([0, 1, 2, 3, 6], dtype="int64")
    for n, inside in ((7, True), (6, False), (8, True), (2, False)):
        x = wf.reshape(wf.arange(3 * n, dtype="float32"), (n, 3))
        if inside:
            (found,) = results(plan.bind((n,)).executable, [x, index])
            assert found == x.numpy()[index.numpy()].tobytes()
        else:
            with pytest.raises(KernelStatus):
                plan.bind((n,)).executable.program.call(x._storage, index._storage)


@pytest.mark.parametrize("n", [1 << 40, 1 << 57, 1 << 62, (1 << 63) - 1, 1 << 70])
def test_sizes_that_no_memory_holds_are_an_error(n: int) -> None:
    plan = plan_for(graph_of(lambda x: wf.exp(wf.cumulative_sum(x, axis=0)) @ x.mT, (N, 8)), n=5)
    with pytest.raises(OutOfMemoryError):
        plan.bind((n,)).executable.program.call(wf.ones(8)._storage)


def test_updates_are_written_in_place_at_every_size() -> None:
    def step(x: Any, y: Any) -> Any:
        return x - y * 0.5, wf.sum(x, axis=0)

    scope = Sizes({"n": 9})
    graph = graph_of(step, (scope["n"], 4), (scope["n"], 4))
    new, total = graph.outputs
    plan = plan_in(scope, graph.copy(outputs=[total]), host_target(), 1, updates=[(0, new)])
    assert plan is not None
    for n in (9, 2, 33, 3000):
        rng = np.random.default_rng(n)
        x, y = (wf.asarray(rng.standard_normal((n, 4)).astype(np.float32)) for _ in range(2))
        expected = [v.numpy().tobytes() for v in step(x, y)]
        assert results(plan.bind((n,)).executable, [x, y]) == expected[1:]
        assert x.numpy().tobytes() == expected[0]


def test_what_is_empty_for_the_examples_alone_gets_no_plan_for_many() -> None:
    graph = graph_of(lambda x: slice_(x, (2, 0), (N - 2, 3)) * 2.0, (N, 3))
    assert plan_sizes(graph, {"n": 2}, host_target(), 1) is None
    plan = plan_for(graph, n=3)
    assert plan.serves((3,)) and not plan.serves((2,))


def test_a_function_may_be_recorded_in_a_scope() -> None:
    """What cannot be known of every size is decided by the example there, and guarded."""

    def tail(x: Any) -> Any:
        rows = x.shape[0]
        return x[2:] * 2.0 if rows > 10 else wf.sum(x[: rows // 2], axis=0)

    for example, others in ((12, (11, 100, 999)), (6, (4, 7, 10))):
        scope = Sizes({"n": example})
        plan = plan_in(scope, graph_of(tail, (scope["n"], 3)), host_target(), 1)
        assert plan is not None and not plan.serves((12 if example == 6 else 6,))
        for n in others:
            x = wf.asarray(np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32))
            assert plan.serves((n,))
            assert results(plan.bind((n,)).executable, [x]) == [tail(x).numpy().tobytes()]


def test_a_plan_names_its_guards() -> None:
    plan = plan_for(graph_of(lambda x: wf.sum(x, axis=1), (3, N)), n=100)
    assert repr(plan.scope) == "Sizes(2 <= n <= 32768)"


def test_the_kernels_of_a_sum_are_those_of_one_size() -> None:
    """Of sizes that a static plan treats as the general case, kernels and numbers are the same."""
    graph = graph_of(lambda x, y: F.relu(x @ y) + wf.sum(x, axis=1, keepdims=True), (N, 70), (70, 24))
    alone = specialise(graph, {"n": 50})
    exe = build(alone, [strides_of(v.shape) for v in alone.inputs], [], host_target(), 1)
    bound = plan_for(graph, n=9).bind((50,)).executable
    assert list(map(str, (x.kernel for x in exe.launches))) == list(map(str, (x.kernel for x in bound.launches)))
    assert bound.program.output_nbytes == exe.program.output_nbytes

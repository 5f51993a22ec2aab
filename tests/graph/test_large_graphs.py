"""Graphs of thousands of nodes: any depth and width compiles, into code whose size is linear in the graph's."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler.expr import topological
from weft.compiler.kernels import Kernel, Reduce
from weft.graph.executable import plan_graph
from weft.graph.lower.clustering import MAX_SIZE
from weft.graph.lower.storing import LONG
from weft.llvm.targets import host_target

Case = tuple[Callable[..., Any], tuple[Any, ...]]  # over lists: a loop over a long range would be one node


def vector(n: int = 37) -> wf.Tensor:
    return wf.asarray(np.linspace(-1, 1, n, dtype=np.float32))


def matrix(rows: int, columns: int) -> wf.Tensor:
    return wf.reshape(vector(rows * columns), (rows, columns))


def chain(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 2)):
            x = x * 0.9 + 1.0
        return x

    return f, (vector(),)


def dear_chain(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 3)):
            x = wf.tanh(x * 1.5)
        return x

    return f, (vector(),)


def rows(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 5)):
            x = x * 0.9 + wf.sum(x, axis=-1, keepdims=True) * 0.01
        return x

    return f, (matrix(5, 7),)


def layers(n: int) -> Case:
    weights = [matrix(6, 6) * (1.0 + i % 3) for i in list(range(n // 3))]

    def f(x: wf.Tensor) -> wf.Tensor:
        for w in weights:
            x = wf.maximum(x @ w, -x)
        return x

    return f, (matrix(4, 6),)


def sum_of_branches(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        branches = [x * float(i) for i in list(range(n // 2))]
        total = branches[0]
        for branch in branches[1:]:
            total = total + branch
        return total

    return f, (vector(),)


def diamonds(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 2)):
            x = (x + x) * 0.5
        return x

    return f, (vector(),)


def diamonds_of_views(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 5)):
            y = x.T
            x = (y + y[::-1, ::-1]) * 0.5
        return x

    return f, (matrix(6, 6),)


def views(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        for _ in list(range(n // 2)):
            x = wf.roll(x[1:], 1)
        return x

    return f, (vector(n),)


def reshapes(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        y = x
        for _ in list(range(n // 4)):
            y = wf.reshape(wf.reshape(y, (6, 7)).T, (42,)) - x
        return y

    return f, (vector(42),)


OPS = ("add", "mul", "max", "sum", "turn", "where", "take")


def random_dag(n: int) -> Case:
    draw = random.Random(n)
    plan = [(draw.choice(OPS), draw.random(), draw.random()) for _ in range(n)]

    def f(x: wf.Tensor) -> tuple[wf.Tensor, wf.Tensor]:
        made = [x, x + 1.0]
        for op, far, near in plan:
            u, v = made[int(far * len(made))], made[-1 - int(near * min(6, len(made)))]
            if op == "add":
                made.append(u + v)
            elif op == "mul":
                made.append(u * v * 0.5)
            elif op == "max":
                made.append(wf.maximum(u, v))
            elif op == "sum":
                made.append(v - wf.mean(u, axis=1, keepdims=True))
            elif op == "turn":
                made.append(v.T + u)
            elif op == "where":
                made.append(wf.where(u > v, u, -v))
            else:
                made.append(wf.take(v, wf.asarray([3, 0, 1, 1, 4]), axis=0) * u)
        return made[-1], made[-2]

    return f, (matrix(5, 5),)


def recurrent_gradient(n: int) -> Case:
    def loss(w: wf.Tensor, u: wf.Tensor, x: wf.Tensor) -> wf.Tensor:
        h = x
        for _ in list(range(n // 10)):
            h = wf.tanh(h @ w + x @ u)
        return (h * h).sum()

    return wf.grad(loss), (matrix(6, 6), matrix(6, 6), matrix(4, 6))


def concat(n: int) -> Case:
    return lambda x: wf.concat([x * float(i) for i in list(range(n // 2))]), (vector(3),)


def outputs(n: int) -> Case:
    return lambda x: [x * float(i) + 1.0 for i in list(range(n // 2))], (vector(3),)


def slice_updates(n: int) -> Case:
    def f(x: wf.Tensor) -> wf.Tensor:
        x = x * 1.0
        for i in list(range(n // 3)):
            x[i % 16] = x[(i + 1) % 16] * 0.9
        return x

    return f, (vector(16),)


KINDS = [
    chain,
    dear_chain,
    rows,
    layers,
    sum_of_branches,
    diamonds,
    diamonds_of_views,
    views,
    reshapes,
    random_dag,
    recurrent_gradient,
    concat,
    outputs,
    slice_updates,
]


def flat(results: Any) -> list[np.ndarray]:
    found = results if isinstance(results, (tuple, list)) else (results,)
    return [t.numpy() for t in found]


def size_of(kernel: Kernel) -> int:
    """Nodes of a kernel's expressions."""
    roots = []
    for stage in kernel.stages:
        roots += [stage.value, *([stage.position] if isinstance(stage, Reduce) and stage.position is not None else [])]
    return len(topological(roots))


def numbers(array: Any) -> tuple[bytes, bytes]:
    """The bits; which NaN a NaN is does not count (docs/numerics.md)."""
    unknown = array != array
    return unknown.tobytes(), np.where(unknown, 0, array).tobytes()


def check(kind: Callable[[int], Case], n: int) -> None:
    """Eager and compiled give equal bits; the kernels are linear in the graph and none is huge."""
    f, args = kind(n)
    compiled = wf.compile(f)
    for a, b in zip(flat(f(*args)), flat(compiled(*args)), strict=True):
        assert numbers(a) == numbers(b)
    sizes = [size_of(k) for k in compiled.kernels(*args)]
    assert max(sizes) <= 4 * (MAX_SIZE + LONG), "one kernel"
    assert sum(sizes) <= 60 * n, "all kernels: a tanh is some 45 instructions"


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_nodes_compile_to_the_bits_of_eager_code(kind: Callable[[int], Case]) -> None:
    # Each kernel of a random graph is another one for LLVM, each slice of another length another eager call.
    check(kind, {random_dag: 300, views: 1000}.get(kind, 2000))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_thousand_nodes_compile(kind: Callable[[int], Case]) -> None:
    check(kind, {random_dag: 2_000, views: 5_000}.get(kind, 20_000))


@pytest.mark.parametrize("n", [50, 500, 2000])
def test_code_grows_with_the_graph_and_no_faster(n: int) -> None:
    """An expression that several consumers compute again must not double at each step."""
    for kind in (diamonds, diamonds_of_views, sum_of_branches):
        f, args = kind(n)
        compiled = wf.compile(f)
        nodes = len(compiled.graph(*args).nodes)
        assert sum(map(size_of, compiled.kernels(*args))) <= 8 * nodes + 64, (kind.__name__, n)


def test_thousands_of_parameters_are_updated_in_place() -> None:
    parameters = [vector(5) * float(i) for i in range(2000)]
    before = [p.numpy().copy() for p in parameters]

    @wf.compile
    def step(x: wf.Tensor) -> wf.Tensor:
        for p in parameters:
            p.assign(p - x * 0.25)
        return x + 1.0

    x = vector(5)
    step(x)
    for p, old in zip(parameters, before, strict=True):
        assert np.array_equal(p.numpy(), old - x.numpy() * np.float32(0.25))


def test_gradients_of_and_through_a_long_compiled_function() -> None:
    f, (x,) = chain(3000)
    compiled = wf.compile(f)
    eager = wf.grad(lambda x: f(x).sum())(x).numpy()
    assert np.array_equal(wf.grad(lambda x: compiled(x).sum())(x).numpy(), eager)
    assert np.array_equal(wf.compile(wf.grad(lambda x: f(x).sum()))(x).numpy(), eager)


def test_what_is_shown_of_a_long_function() -> None:
    f, (x,) = chain(3000)
    compiled = wf.compile(f)
    assert len(repr(compiled.graph(x)).splitlines()) > 3000
    assert all(len(str(k)) > len(repr(k)) > 0 for k in compiled.kernels(x))
    assert repr(compiled.explain(x)).count("\n") >= len(compiled.kernels(x))


def test_saving_loading_and_exporting_a_long_function(tmp_path: Any) -> None:
    f, (x,) = chain(3000)
    wf.save(f, tmp_path / "chain.onnx", example=x)
    assert np.array_equal(wf.load(tmp_path / "chain.onnx")(x).numpy(), f(x).numpy())
    wf.export(f, tmp_path, example=x, name="chain")


def test_a_small_stack_is_enough() -> None:
    f, (x,) = chain(3000)
    found: list[Any] = []
    before = threading.stack_size(256 << 10)
    try:
        thread = threading.Thread(target=lambda: found.append(wf.compile(f)(x).numpy()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert np.array_equal(found[0], f(x).numpy())


# --- passes and what they share ----------------------------------------------------------------------------------

SHARED: list[tuple[str, Callable[..., Any], tuple[int, ...]]] = [
    ("a strided input that must be copied", lambda x: wf.reshape(x, (24,)) * 2.0, (1, 4)),
    ("one that is copied for several readers", lambda x: (wf.reshape(x, (24,)), wf.reshape(x, (3, 8)) + 1.0), (1, 4)),
    ("a matrix in column order", lambda x: x @ x.T + wf.sum(x, axis=0)[:4], (1, 4)),
    ("constants that are folded", lambda x: x + (wf.ones((4, 6)) * 3.0 - 1.0), (6, 1)),
    ("a scatter", lambda x: wf.concat([x, wf.flip(x, axis=0)]), (1, 4)),
]


@pytest.mark.parametrize(("name", "function", "strides"), SHARED, ids=[c[0] for c in SHARED])
def test_passes_leave_the_graph_as_it_is(name: str, function: Callable[..., Any], strides: tuple[int, ...]) -> None:
    """So that several threads may compile one graph."""
    graph = wf.compile(function).graph(matrix(4, 6))

    def state() -> list[Any]:
        known = [*graph.inputs, *graph.outputs, *(n.output for n in graph.nodes)]
        return [(id(v), id(v.node), v.type) for v in known] + [(id(n), n.key(), id(n.output)) for n in graph.nodes]

    before = state()
    plan_graph(graph, [strides] * len(graph.inputs), (), host_target(), 1)
    assert state() == before


def test_several_threads_compile_one_graph() -> None:
    x = matrix(6, 4).T
    graph_call = wf.compile(lambda x: (wf.reshape(x, (24,)) * 2.0, wf.reshape(x, (3, 8)) + 1.0))
    graph = graph_call.graph(x)
    expected = [(p.kernel, p.ints) for p in plan_graph(graph, [(1, 4)], (), host_target(), 1).launches]
    found: list[Any] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(20):
            planned = plan_graph(graph, [(1, 4)], (), host_target(), 1)
            found.append([(str(p.kernel), p.ints) for p in planned.launches])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 160
    assert all(f == [(str(k), ints) for k, ints in expected] for f in found)

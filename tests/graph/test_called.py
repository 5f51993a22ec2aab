"""Calls: functions of elements that are one node until they are lowered, and what they are taken apart."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from strided_inputs import Strided, laid_out, storages_of, type_of

import weft as wf
from weft import nn, optim
from weft.core import dtypes as dt
from weft.core.errors import CompileError
from weft.core.shapes import strides_of
from weft.core.symbolic import SymDim
from weft.graph.called import CALL, FEW, body_of, expand
from weft.graph.executable import build, plan_graph
from weft.graph.ir import Graph, make_node, verify
from weft.graph.lower import roots
from weft.graph.protocol import TensorType
from weft.graph.simplify import simplify
from weft.graph.specialise import specialise
from weft.llvm.targets import host_target
from weft.ops.op import apply, trace_function
from weft.runtime import storage
from weft.transforms.capture import capture
from weft.transforms.pages.content import made_by

F32 = dt.float32


def graph_of(function: Callable[..., Any], *types: TensorType) -> Graph:
    return trace_function(function, list(types), "function")[0]


def momentum(p: Any, g: Any, m: Any, rate: Any) -> Any:
    """An update with two results, the first of which is computed from the second."""
    m = m * 0.9 + g * wf.tanh(g) * 0.1
    return p - rate * m / (wf.sqrt(wf.abs(m)) + 1e-3), m


@functools.cache
def body_for(*types: TensorType) -> Graph:
    body = body_of(graph_of(momentum, *types))
    assert body is not None
    return body


def called(*arrays: Any) -> Any:
    """The same as one node of a graph that is traced."""
    return apply(CALL, *arrays, body=body_for(*(TensorType(x.dtype, tuple(x.shape)) for x in arrays)))


def matrix(*shape: int) -> TensorType:
    return TensorType(F32, shape)


def names_in(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def launches_of(graph: Graph, strides: tuple[int, int] = (4, 1)) -> int:
    return len(plan_graph(graph, [strides] * 3 + [()], (), host_target(), 1).launches)


# --- which functions are called ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y * 2.0,  # little to walk
        lambda x, y: (x @ y) * 2.0 + x - y / 3.0 * x - 1.0,
        lambda x, y: wf.sum(x * y) + x - y / 3.0 * x - 1.0 + 2.0 * y,
        lambda x, y: x + y + wf.exp(wf.ones((4, 4)) * 2.0) - y / 3.0 * x - 1.0,  # constants to fold
        lambda x, y: (x + y - x * y / 2.0 + y * y - 3.0 * x, y),  # a result that is an operand
        lambda x, y: (z := x + y - x * y / 2.0 + y * y - 3.0 * x, z),
        lambda x, y: wf.tanh(z := wf.exp(x) * wf.sin(y) - 1.0) + z * z + 2.0 * x - y,  # dear, and used twice
    ],
)
def test_what_is_no_good_as_one_node_has_no_body(function: Callable[..., Any]) -> None:
    assert body_of(graph_of(function, matrix(4, 4), matrix(4, 4))) is None


def test_a_body_computes_elements_of_what_it_is_given() -> None:
    body = body_of(graph_of(momentum, *[matrix(3, 4)] * 3, matrix()))
    assert body is not None and len(body.nodes) >= FEW and len(body.outputs) == 2
    verify(body)


@pytest.mark.parametrize(
    "function",
    [
        lambda p, g: (p * 2.0, g),
        lambda p, g: ((z := p + g), z),
        lambda p, g: (p * wf.sum(g), g * 2.0),
        lambda p, g: (p @ g, g * 2.0),
    ],
)
def test_a_body_that_does_more_is_refused(function: Callable[..., Any]) -> None:
    body = graph_of(function, matrix(4, 4), matrix(4, 4))
    values = graph_of(lambda a, b: a, matrix(4, 4), matrix(4, 4)).inputs
    with pytest.raises(CompileError, match="more than compute elements"):
        make_node(CALL, values, {"body": body})


def test_a_call_of_other_types_is_refused() -> None:
    body = body_of(graph_of(momentum, *[matrix(3, 4)] * 3, matrix()))
    values = graph_of(lambda a, b: a, matrix(3, 4), matrix(5)).inputs
    with pytest.raises(CompileError, match="takes something else"):
        make_node(CALL, [values[0], values[1], values[0], values[1]], {"body": body})


# --- what they compute ---------------------------------------------------------------------------------------------


@st.composite
def operands(draw: st.DrawFn) -> list[Strided]:
    """Three tensors of one shape, each in an order of its own, and a number."""
    shape = (draw(st.sampled_from([0, 1, 3, 70])), draw(st.sampled_from([1, 4, 33])))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    found = []
    for _ in range(3):
        order = draw(st.sampled_from([(1, 0), (1, 0), (0, 1)]))
        steps = draw(st.sampled_from([(1, 1), (1, 1), (2, 1)]))
        found.append(Strided(rng.normal(size=shape).astype(np.float32), laid_out(shape, order, steps)))
    return [*found, Strided(np.float32(0.25).reshape(()), ())]


@few(38, 450, operands(), st.sampled_from([(), (0,), (2,), (0, 2), (2, 0)]), st.integers(1, 2), st.booleans())
def test_a_call_computes_what_its_nodes_do(
    inputs: list[Strided], written: tuple[int, ...], times: int, scaled: bool
) -> None:
    """Results, and what is written over operands of any strides, bit for bit."""

    def steps(p: Any, g: Any, m: Any, rate: Any) -> Any:
        for _ in range(times):
            p, m = called(p, wf.reshape(g.mT, tuple(g.shape)) * 2.0 if scaled else g, m, rate)
        after = {0: p, 2: m}
        return p + m, *[after[at] for at in written]

    graph = graph_of(steps, *map(type_of, [x.array for x in inputs]))
    assert names_in(graph).count("call") == times
    found = []
    for each in (graph, expand(graph)):
        updates = list(zip(written, each.outputs[1:], strict=True))
        own = each.copy(outputs=each.outputs[:1])
        exe = build(own, [x.strides for x in inputs], updates, host_target(), 1)
        copies = [storage.copy_of(x.block.tobytes()) for x in inputs]
        made = [bytes(s) for s in storages_of(exe.program.call(*copies))]
        found.append((made, [bytes(c) for c in copies]))
    assert found[0] == found[1]


def test_taken_apart_it_is_the_graph_of_the_function() -> None:
    types = [matrix(3, 4)] * 3 + [matrix()]
    apart = expand(graph_of(called, *types))
    verify(apart)
    plain = simplify(graph_of(momentum, *types), to_run=True)
    assert sorted(names_in(apart)) == sorted(names_in(plain)) and expand(plain) is plain


# --- how they are lowered ------------------------------------------------------------------------------------------


def test_it_is_lowered_to_as_many_kernels() -> None:
    for function in (called, lambda p, g, m, rate: called(*called(p, g, m, rate), g, rate)):
        graph = graph_of(function, *[matrix(3, 4)] * 3, matrix())
        assert launches_of(graph) == launches_of(expand(graph))


def test_what_elementwise_ops_compute_is_read_in_its_kernel() -> None:
    """An update by scaled gradients has no tensor of scaled gradients."""
    graph = graph_of(lambda p, g, m, rate: called(p, (g * 0.5)[::-1], m, rate), *[matrix(3, 4)] * 3, matrix())
    assert "call" not in names_in(simplify(graph, to_run=True))
    assert launches_of(graph) == 1


def test_one_number_that_is_computed_is_stored() -> None:
    """A learning rate, say."""
    graph = graph_of(lambda p, g, m, rate: called(p, g, m, wf.minimum(rate, 0.1) * 2.0), *[matrix(3, 4)] * 3, matrix())
    assert "call" in names_in(simplify(graph, to_run=True)) and launches_of(graph) == 2


def test_a_parameter_is_written_where_it_lies() -> None:
    """In any strides, by the kernel that computes it."""
    graph = graph_of(called, *[matrix(3, 4)] * 3, matrix())
    for each in (graph, expand(graph)):
        updates = list(zip((0, 2), each.outputs, strict=True))
        planned = plan_graph(each.copy(outputs=[]), [(1, 3)] * 3 + [()], updates, host_target(), 1)
        assert len(planned.launches) == 1


def test_an_operand_is_copied_where_a_view_in_the_body_wants_it() -> None:
    def function(p: Any, g: Any, m: Any, rate: Any) -> Any:
        flat = wf.reshape(wf.reshape(m, (12,))[::-1], (3, 4))
        return p - rate * flat * g / (wf.sqrt(wf.abs(p)) + 1e-3) - wf.tanh(g) * 2.0 + p * p

    body = body_of(graph_of(function, *[matrix(3, 4)] * 3, matrix()))
    assert body is not None
    graph = graph_of(lambda *x: apply(CALL, *x, body=body), *[matrix(3, 4)] * 3, matrix())
    for strides in ((4, 1), (1, 3)):
        assert launches_of(graph, strides) == launches_of(expand(graph), strides) == 1 + (strides[0] == 1)


def test_bodies_are_made_into_roots_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(lambda *x: (*called(*x[:4]), *called(*x[4:])), *([*[matrix(3, 4)] * 3, matrix()] * 2))
    seen: list[Any] = []
    make = roots.called_roots
    monkeypatch.setattr(roots, "called_roots", lambda *args: seen.append(args) or make(*args))
    for strides, count in (((4, 1), 1), ((1, 3), 2)):  # for each body and layouts
        seen.clear()
        plan_graph(graph, [*[(4, 1)] * 3, (), *[strides] * 3, ()], (), host_target(), 1)
        assert len(seen) == count


def test_equal_calls_share_their_kernels() -> None:
    both = [*[matrix(3, 4)] * 3, matrix()] * 2
    graph = graph_of(lambda *x: (*called(*x[:4]), *called(*x[4:])), *both)
    launches = plan_graph(graph, ([(4, 1)] * 3 + [()]) * 2, (), host_target(), 1).launches
    assert len(launches) == 2 and launches[0].kernel is launches[1].kernel


def test_specialised_calls_share_their_body() -> None:
    n = SymDim.named("n")

    def twice(p: Any, g: Any, m: Any, rate: Any) -> Any:
        body = body_of(graph_of(momentum, *(TensorType(x.dtype, tuple(x.shape)) for x in (p, g, m, rate))))
        p, m = apply(CALL, p, g, m, rate, body=body)
        return apply(CALL, p, g, m, rate, body=body)

    graph = specialise(graph_of(twice, *[matrix(n, 4)] * 3, matrix()), {"n": 3})
    verify(graph)
    first, second = (node.params["body"] for node in graph.nodes)
    assert first is second and first.inputs[0].shape == (3, 4)


# --- captured updates ----------------------------------------------------------------------------------------------


def step_of(kind: type[optim.Optimizer], **options: Any) -> tuple[nn.Module, Callable[[wf.Tensor], wf.Tensor]]:
    wf.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    opt = kind(net.parameters(), lr=0.1, **options)

    def step(x: wf.Tensor) -> wf.Tensor:
        loss = (net(x) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    return net, step


KINDS: list[tuple[type[optim.Optimizer], dict[str, Any]]] = [
    (optim.AdamW, {}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_an_update_is_one_node_and_keeps_its_bits(kind: type[optim.Optimizer], options: dict[str, Any]) -> None:
    net, step = step_of(kind, **options)
    step(wf.ones((2, 5)))  # the state is there
    graph = capture(step, (wf.ones((2, 5)),)).graph
    assert names_in(graph).count("call") == len(list(net.parameters()))
    assert len(expand(graph).nodes) > len(graph.nodes) + 8 * len(list(net.parameters()))
    (one, eager), (other, plain) = step_of(kind, **options), step_of(kind, **options)
    compiled = wf.compile(plain)
    for n in (2, 4, 3, 3, 2):
        x = wf.arange(n * 5, dtype="float32").reshape(n, 5) / 7
        assert eager(x).numpy().tobytes() == compiled(x).numpy().tobytes()
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_a_graph_that_is_saved_has_the_nodes_themselves() -> None:
    def tuned(x: wf.Tensor) -> wf.Tensor:
        w = wf.ones((3,)).clone().requires_grad_()
        opt = optim.AdamW([w], lr=0.1)
        ((w * x) ** 2).sum().backward()
        opt.step()
        return w.detach() * x

    found = capture(tuned, (wf.ones((3,)),))
    assert "call" in names_in(found.graph) and "call" not in names_in(found.function)


def test_calls_in_the_bodies_of_loops_are_saved_as_what_they_compute(tmp_path: Path) -> None:
    adam = sys.modules["weft.optim.adam"].adam

    def tuned(x: wf.Tensor) -> wf.Tensor:
        w, s, m, v = wf.ones((3,)).clone(), wf.zeros(()), wf.zeros((3,)), wf.zeros((3,))
        lr, first, second, i = wf.tensor(0.1), wf.tensor(0.9), wf.tensor(0.99), wf.tensor(0)
        with wf.no_grad():
            while i < wf.sum(x) * 0 + 3:
                w, s, m, v = adam(w, w * x, [s, m, v], lr, first, second, 1e-8, None, False, False)
                i = i + 1
        return w * x

    x = wf.ones((3,))
    wf.save(tuned, tmp_path / "model.onnx", example=x)
    loaded = wf.load(tmp_path / "model.onnx")
    assert loaded(x).numpy().tobytes() == wf.compile(tuned)(x).numpy().tobytes() == tuned(x).numpy().tobytes()


def test_a_page_shows_each_result_once() -> None:
    _, step = step_of(optim.AdamW)
    step(wf.ones((2, 5)))  # the state is there
    graph = capture(step, (wf.ones((2, 5)),)).graph
    launches = plan_graph(graph, [strides_of(v.shape) for v in graph.inputs], (), host_target(), 1).launches
    shown = [v for x in launches for node, values in made_by(x) if node.op is CALL for v in values]
    calls = [node for node in graph.nodes if node.op is CALL]
    assert len(shown) == len(set(shown)) == sum(len(node.outputs) for node in calls) == 16

"""Rematerialisation: same bits, lower peaks, copies that stay late."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from few_examples import few
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lowered_programs import graph_of, graphs

import weft as wf
from weft import nn, optim
from weft.core.shapes import strides_of
from weft.graph import kept, remat
from weft.graph.executable import build
from weft.graph.ir import Graph
from weft.graph.lower.clustering import cluster
from weft.graph.lower.roots import lower_roots
from weft.graph.protocol import Layout
from weft.graph.remat import NEVER, Remade, Way, price, rematerialise
from weft.graph.simplify import simplify
from weft.llvm.targets import host_target
from weft.nn import functional as F
from weft.runtime import storage

EAGERLY = patch.multiple(remat, LEAST=0, GAIN=0.0)  # wherever something is less
OFF = patch.object(remat, "LEAST", 1 << 60)


def bits(graph: Graph) -> list[bytes]:
    """What a graph computes."""
    arrays = [
        (np.arange(int(np.prod(v.shape)), dtype=np.float32).reshape(v.shape) * (k + 0.7)) % 1.9 - 0.8
        for k, v in enumerate(graph.inputs)
    ]
    exe = build(graph, [strides_of(v.shape) for v in graph.inputs], (), host_target(), 1)
    made = exe.program.call(*[storage.copy_of(np.ascontiguousarray(a).tobytes()) for a in arrays])
    found = made if isinstance(made, tuple) else (made,)
    sizes = [int(np.prod(v.shape)) * v.dtype.itemsize for v in graph.outputs]
    return [bytes(found[at])[:n] for at, n in zip(exe.results, sizes, strict=True)]


@few(13, 120, graphs(most=20), st.data())
def test_no_bit_changes_wherever_it_is_cut(graph: Graph, data: Any) -> None:
    with OFF:
        expected = bits(graph)
    with EAGERLY:
        assert bits(graph) == expected
    graph = simplify(graph, to_run=True)
    made = Remade(graph)
    assume(graph.nodes)  # without any there is no place
    for number in range(data.draw(st.integers(1, 3))):  # places that are no peaks, in any order
        at = data.draw(st.integers(0, len(made.graph.nodes) - 1))
        way = data.draw(st.sampled_from([Way(0), Way(0, 2), Way(0, 5)]))
        remat.alive_in(made)  # says what is stored
        over, again = remat._kept(made, at, way, remat._between(made, at, way.parts))
        made = remat._with_copies(made, at, number, over, again)
    with patch("weft.graph.executable.rematerialise", lambda graph, way: made):
        assert bits(graph) == expected


def step(layers: int, width: int, body: Any) -> tuple[Any, Any]:
    """An AdamW step of equal layers, and its operand."""
    wf.random.seed(0)
    net = nn.ModuleList([nn.Linear(width, width) for _ in range(layers)])
    norm = nn.LayerNorm(width)
    opt = optim.AdamW([*net.parameters(), *norm.parameters()], lr=1e-2)

    @wf.compile
    def train(x: Any) -> Any:
        opt.zero_grad()
        for layer in net:
            x = x + body(layer(norm(x)))
        loss = wf.mean(x * x)
        loss.backward()
        opt.step()
        return loss

    return train, wf.tensor(np.linspace(-1, 1, 64 * width, dtype=np.float32).reshape(64, width))


def arena(train: Any) -> int:
    """Bytes of intermediate values of a compiled step that has run."""
    ((entry,),) = train._entries.values()
    return int(entry.exe.plan.arena_nbytes)


BODIES = {
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), 0.7),
    "relu": (F.relu, 0.6),
    "silu": (F.silu, 0.7),
    "softmax": (lambda x: F.softmax(x, -1), 0.8),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_step_keeps_less_and_its_bits(name: str) -> None:
    body, part = BODIES[name]
    found = {}
    for way, setting in (("off", OFF), ("on", patch.object(remat, "LEAST", 0))):
        with setting, patch.object(kept, "get", lambda name: None), patch.object(kept, "put"):
            train, x = step(12, 32, body)
            losses = [train(x).numpy().tobytes() for _ in range(3)]
            found[way] = losses, arena(train)
    assert found["on"][0] == found["off"][0]
    assert found["on"][1] <= part * found["off"][1]


@settings(max_examples=40)
@given(graphs(most=20))
def test_copies_join_no_kernel_from_before_their_peak(graph: Graph) -> None:
    """A copy reads what an earlier kernel reads: that would compute it, and it would be kept."""
    with EAGERLY:
        made = rematerialise(graph)
    late = made.late()
    assert late.keys() >= made.copies.keys() & {v for node in made.graph.nodes for v in node.outputs}
    layouts = {v: Layout.contiguous(tuple(v.shape)) for v in made.graph.inputs}
    roots = lower_roots(made.graph, layouts, {}, made.kept, made.stored)
    first = {
        n: min(i for i, r in enumerate(roots) if late.get(r.value) == n)
        for n in {late[r.value] for r in roots if r.value in late}
    }
    place = {r.value: i for i, r in enumerate(roots)}
    for each in cluster(roots, late):
        begun = min(place[r.value] for r in each.roots)
        assert all(begun >= first[late[r.value]] for r in each.roots if r.value in late)


def test_what_may_fail_or_go_in_order_is_not_computed_again() -> None:
    for function, shapes in (
        (lambda x: wf.cumulative_sum(x, axis=0), [(8, 8)]),
        (lambda x: x[wf.argmax(x, axis=0)], [(8, 8)]),
    ):
        graph = simplify(graph_of(function, shapes), to_run=True)
        assert any(price(node) == NEVER for node in graph.nodes)


def test_products_of_few_terms_are_computed_again_and_long_ones_and_layers_kept() -> None:
    def terms(m: int, k: int, n: int) -> float:
        graph = graph_of(lambda a, b: a @ b, [(m, k), (k, n)])
        return sum(map(price, graph.nodes)) / (m * n * 4)

    assert terms(256, 64, 256) < 1 < terms(768, 128, 512)
    assert terms(256, 64, 64) > 1000, "its operands are no less than it is"


def test_what_nobody_waits_for_reads_a_copy_beside_the_next_that_does() -> None:
    """The gradient of a weight in one branch, whose operand the other branch reads too: both come late."""

    def branches(x: Any, w: Any) -> Any:
        y = wf.tanh(x)
        g = y @ w
        first = y @ x
        for _ in range(3):
            g = wf.sin(g @ w)
        return first, y @ g

    graph = simplify(graph_of(branches, [(64, 64), (64, 64)]), to_run=True)
    made = Remade(graph)
    remat.alive_in(made)
    again, first = graph.nodes[0].output, graph.outputs[0].node
    order = remat._put_off(made, 1, {again})
    assert first is graph.nodes[2] and order[-2] is first and again in order[-1].inputs
    assert [n for n in order if n is not first] == [n for n in graph.nodes[2:] if n is not first]
    assert remat._put_off(made, 1, ()) == graph.nodes[2:]


def test_small_graphs_are_left_alone() -> None:
    graph = simplify(graph_of(lambda x: wf.tanh(x) * x, [(8, 8)]), to_run=True)
    assert rematerialise(graph).graph is graph

"""From a graph to a program: what is planned, dropped, and where results are."""

from __future__ import annotations

from typing import Any

import pytest
from lowered_programs import graph_of

import weft as wf
from weft.core import dtypes as dt
from weft.core.symbolic import SymDim
from weft.graph.executable import GIL_WORK, build, plan_graph
from weft.graph.ir import Graph, Value
from weft.graph.protocol import TensorType
from weft.llvm.targets import host_target


def test_sizes_must_be_known() -> None:
    value = Value(TensorType(dt.float32, (SymDim({("n",): 1}), 3)))
    with pytest.raises(wf.CompileError, match="symbolic shape"):
        plan_graph(Graph("f", [value], [], [value]), [(3, 1)], (), host_target(), 1)


@pytest.mark.plain_memory
def test_buffers_are_places_and_bytes() -> None:
    graph = graph_of(lambda x, y: (x[1:] * 2.0, (y @ y.mT) @ y), [(4, 6), (4, 6)])
    planned = plan_graph(graph, [(6, 1), (6, 1)], (), host_target(), 1)
    found = {place: offset for launch in planned.launches for place, offset in planned.buffers(launch)}
    assert found[0] == 24, "the input from its second row on"
    assert sorted(found) == [0, 1, 2, 3, 4], "inputs, outputs, the arena"
    assert planned.results == [0, 1] and planned.plan.arena_nbytes == 64


def test_a_copy_of_memory_onto_itself_is_dropped() -> None:
    graph = graph_of(lambda x: wf.concat([x[:2], x[2:] * 2.0], axis=0), [(4, 6)])
    assert len(plan_graph(graph, [(6, 1)], (), host_target(), 1).launches) == 2
    update = plan_graph(graph.copy(outputs=[]), [(6, 1)], [(0, graph.outputs[0])], host_target(), 1)
    assert len(update.launches) == 1 and update.plan.arena_nbytes == 0


@pytest.mark.parametrize("rows", [10, 4000])
def test_a_long_program_lets_go_of_the_gil(rows: int) -> None:
    graph = graph_of(lambda x: wf.tanh(x) * 2.0, [(rows, 100)])
    exe = build(graph, [(100, 1)], (), host_target(), 1)
    assert exe.program.release_gil == (sum(x.flops for x in exe.launches) > GIL_WORK) == (rows > 100)


# --- how long launches take -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shape", "least", "most"),
    [
        (lambda x: x @ x, (512, 512), 1000, 10_000),
        (lambda x: x @ x, (32, 32), 1, 3),
        (lambda x: x + x, (1 << 20,), 50, 500),
        (lambda x: x + x, (10,), 1, 1),
        (lambda x: wf.tanh(x), (1 << 16,), 20, 300),
    ],
)
def test_launches_say_about_how_many_microseconds_they_take(
    function: Any, shape: tuple[int, ...], least: int, most: int
) -> None:
    graph, strides = graph_of(function, [shape]), (*shape[1:], 1)
    launches = plan_graph(graph, [strides], (), host_target(), 1).launches
    assert least <= sum(launch.work for launch in launches) <= most

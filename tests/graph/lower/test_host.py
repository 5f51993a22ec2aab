"""Host calls as launches: one for all outputs, over row-major operands, before what is written in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from host_calls import double, sum_and_difference

import weft as wf
from weft.graph.executable import plan_graph
from weft.graph.lower.host import HostCall
from weft.graph.lower.launch import Launch
from weft.llvm.targets import host_target


def launches(function: Any, *shapes: tuple[int, ...], strides: Any = None, updates: int | None = None) -> list[Launch]:
    graph = wf.compile(function).graph(*(wf.ones(s) for s in shapes))
    strides = strides or [np.empty(s, np.int8).strides for s in shapes]
    written = [] if updates is None else [(updates, graph.outputs.pop())]
    return plan_graph(graph, strides, written, host_target(), 1).launches


def names(found: list[Launch]) -> list[str]:
    return [str(x.kernel.node.op) if isinstance(x.kernel, HostCall) else type(x.kernel).__name__ for x in found]


def test_all_outputs_are_one_launch() -> None:
    (found,) = launches(sum_and_difference, (3, 4), (3, 4))
    assert found.units == 1 and found.checks and not found.in_place
    assert len(found.reads) == len(found.writes) == 2 and len(found.buffers) == 4
    assert repr(found.kernel) == (
        "HostCall sum_and_difference(float32[3, 4], float32[3, 4]) -> float32[3, 4], float32[3, 4]"
    )


def test_an_output_that_nobody_needs_has_a_place() -> None:
    assert names(launches(lambda x, y: sum_and_difference(x, y)[1] * 2.0, (3,), (3,))) == ["sum_and_difference", "Nest"]


def test_parts_that_lie_row_major_are_read_where_they_are() -> None:
    (found,) = launches(lambda x: double(x[2:4]), (5, 3))
    assert found.buffers[0][1] == 2 * 3 * 4
    assert names(launches(lambda x: double(x.reshape(3, 5)), (5, 3))) == ["double"]


def test_what_lies_otherwise_is_copied_first() -> None:
    for function in (lambda x: double(x.T), lambda x: double(x[:, 1:]), lambda x: double(wf.exp(x))):
        assert names(launches(function, (5, 3))) == ["Nest", "double"]
    assert names(launches(double, (5, 3), strides=[(1, 5)])) == ["Nest", "double"]
    assert names(launches(lambda x: double(wf.broadcast_to(x, (4, 3))), (3,))) == ["Nest", "double"]


def test_what_is_around_does_not_join() -> None:
    assert names(launches(lambda x: wf.exp(double(wf.exp(x))), (5,))) == ["Nest", "double", "Nest"]


def test_updates_come_after_the_last_call() -> None:
    def step(state: Any, x: Any) -> Any:
        return double(wf.exp(x)), state + x

    def through(state: Any, x: Any) -> Any:
        moved = state + x
        return double(moved), moved

    assert names(launches(step, (5,), (5,), updates=0)) == ["Nest", "double", "Nest"]
    found = launches(through, (5,), (5,), updates=0)
    assert names(found) == ["Nest", "double", "Nest"] and found[-1].writes[0] is found[-1].buffers[-1][0]

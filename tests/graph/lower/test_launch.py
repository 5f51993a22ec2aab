"""Launches: kernels without sizes, whose integers are what the kernel's slots stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lowered_programs import graph_of

import weft as wf
from weft.compiler.kernels import STREAMED, Slot
from weft.core import dtypes as dt
from weft.graph.ir import Value
from weft.graph.lower import launches_of
from weft.graph.lower.launch import Launch, LaunchBuilder
from weft.graph.protocol import Layout, TensorType
from weft.llvm.targets import host_target

FUNCTIONS: list[tuple[str, Callable[..., Any]]] = [
    ("points", lambda x: x * 2.0 + x),
    ("rows", lambda x: x - wf.max(x, axis=1, keepdims=True)),
    ("columns", lambda x: wf.sum(x, axis=0) * 3.0),
    ("contraction", lambda x: (x @ x.mT) * 2.0),
    ("running", lambda x: wf.cumulative_sum(x, axis=0)),
    ("joined", lambda x: wf.concat([x, x * 2.0], axis=0)),
    ("picked", lambda x: wf.take(x, wf.zeros(2, dtype="int64"), axis=0)),
]


def launches(function: Callable[..., Any], shape: tuple[int, ...]) -> list[Launch]:
    graph = graph_of(function, [shape])
    layouts = {v: Layout.contiguous(tuple(v.shape)) for v in graph.inputs}
    return launches_of(graph, layouts, host_target(), 2)


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[c[0] for c in FUNCTIONS])
def test_one_kernel_serves_every_shape(name: str, function: Callable[..., Any]) -> None:
    texts = [[str(x.kernel) for x in launches(function, shape)] for shape in [(5, 9), (7, 9), (40, 33)]]
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.parametrize(("name", "function"), FUNCTIONS, ids=[c[0] for c in FUNCTIONS])
def test_a_launch_says_what_it_reads_and_writes(name: str, function: Callable[..., Any]) -> None:
    for launch in launches(function, (5, 9)):
        assert {v for v, _ in launch.buffers} == {*launch.reads, *launch.writes}
        assert [v.dtype for v, _ in launch.buffers] == list(launch.kernel.buffers)
        assert all(new in launch.writes and old in launch.reads for new, old in launch.in_place)
        assert launch.units >= 1 and launch.grain >= 1 and launch.flops > 0 and launch.nodes


def test_equal_numbers_have_slots_of_their_own_and_equal_reads_one_access() -> None:
    builder, value = LaunchBuilder(), Value(TensorType(dt.float32, (4, 4)))
    assert builder.slots([3, 3]) == (Slot(0), Slot(1))
    first = builder.access(value, 2, [4, 1])
    assert first.strides == (Slot(2), 1) and builder.access(value, 2, [4, 1]) is first
    assert builder.access(value, 2, [0, 5]).strides == (0, Slot(3))
    assert builder.access(value, 0, [1, 0]).strides == (Slot(4), 0), "1 is structure on the last axis alone"
    assert builder.ints == [3, 3, 4, 5, 1] and builder.buffers == [(value, 8), (value, 8), (value, 0)]
    written = builder.access(value, 2, [4, 1], write=True)
    assert written.buf == 3 and list(builder.reads) == list(builder.writes) == [value]


def test_a_launch_prints_its_buffers() -> None:
    (launch,) = launches(lambda x: x[1:] * 2.0, (5, 3))
    head, *lines = repr(launch).splitlines()
    assert head.startswith("Nest units=1 ")
    assert lines == [
        "  b0 = v0: float32[5, 3] + 12 bytes read",
        "  b1 = v1: float32[4, 3] written",
    ]


@pytest.mark.parametrize(
    ("function", "shape", "streams"),
    [
        (lambda x: x * 2.0, (STREAMED // 4 + 16,), True),
        (lambda x: x * 2.0, (STREAMED // 4,), False),
        (lambda x: x * 2.0 + x.mT, (2048, 2048), True),
        (lambda x: x * 2.0 + x.mT, (2001, 2001), False),  # lines of the result are no lines of memory
        (lambda x: wf.sum(x, axis=1), (4096, 1024), False),
        (lambda x: (x @ x.mT) * 2.0, (2048, 8), True),
        (lambda x: (x @ x.mT) * 2.0, (2001, 8), False),
        (lambda x: (x * 2.0).astype("float16"), (4096, 2048), False),  # a vector is half a line
    ],
)
def test_large_results_go_past_the_caches(function: Callable[..., Any], shape: tuple[int, ...], streams: bool) -> None:
    assert [getattr(x.kernel, "streams", False) for x in launches(function, shape)] == [streams]

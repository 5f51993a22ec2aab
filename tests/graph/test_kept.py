"""Finished tables on disk: found again for the same graph alone, and what is found is what would be made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.compiler import build as loaded
from weft.core import dtypes as dt
from weft.core.config import configure
from weft.core.errors import CompileError
from weft.graph import executable, kept
from weft.graph.executable import Executable, build
from weft.graph.ir import Graph, Value
from weft.graph.protocol import Primitive, TensorType
from weft.graph.simplify import simplify
from weft.llvm.disk_cache import SUFFIX
from weft.llvm.targets import Target, host_target
from weft.ops.op import trace_function
from weft.ops.registry import primitives
from weft.runtime import storage
from weft.transforms import entry as entries
from weft.transforms.capture import capture


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """A cache folder of the test's own."""
    before = configure(cache_dir=str(tmp_path / "cache"), verify=False)
    yield tmp_path / "cache"
    configure(cache_dir=before.cache_dir, verify=before.verify)


def graph_of(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Graph:
    return trace_function(function, [TensorType(dt.float32, s) for s in shapes], "f")[0]


def layers(x: Any, y: Any) -> Any:
    for _ in range(3):
        x = wf.tanh(x @ y) + wf.sum(wf.exp(x), axis=1, keepdims=True) * 0.5
    return x, wf.max(x)


def made(graph: Graph, **options: Any) -> Executable:
    strides = [(s[1], 1) for s in (v.shape for v in graph.inputs)]
    return build(graph, strides, (), host_target(), options.pop("threads", 2), known=primitives(), **options)


def run(exe: Executable, *arrays: Any) -> list[bytes]:
    found = exe.program.call(*[storage.copy_of(a.tobytes()) for a in arrays])
    return [bytes(found[n]) for n in exe.results]


@pytest.fixture
def no_lowering(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, nothing is lowered."""

    def stop() -> None:
        def lowered(*args: Any) -> Any:
            raise AssertionError("lowered again")

        monkeypatch.setattr(executable, "launches_of", lowered)

    return stop


X, Y = np.linspace(-1, 1, 12, dtype="f").reshape(3, 4), np.linspace(-2, 2, 16, dtype="f").reshape(4, 4)


@pytest.mark.plain_memory
def test_the_second_time_nothing_is_lowered(no_lowering: Callable[[], None]) -> None:
    first = made(graph_of(layers, (3, 4), (4, 4)))
    no_lowering()
    again = made(graph_of(layers, (3, 4), (4, 4)))
    assert again.program.steps == first.program.steps
    assert (again.outputs, again.results) == (first.outputs, first.results)
    assert run(again, X, Y) == run(first, X, Y)


def controlled(number: float = 2.0, length: int = 3, reverse: bool = False) -> Graph:
    """A graph with a branch in a loop."""

    def f(x: Any, y: Any) -> Any:
        def step(c: Any, _: Any) -> Any:
            c = wf.cond(c.sum() > 0, lambda: c @ y, lambda: wf.tanh(c) * number)
            return c, c.sum()

        last, sums = wf.scan(step, x, length=length, reverse=reverse)
        return wf.while_loop(lambda c: c.sum() < 5, lambda c: abs(c) * 2 + 1, last, max_steps=50), sums

    return simplify(capture(f, [TensorType(dt.float32, s) for s in ((3, 4), (4, 4))]).function)


@pytest.mark.plain_memory
def test_branches_and_loops_are_kept(no_lowering: Callable[[], None]) -> None:
    first = made(controlled())
    configure(verify=True)
    made(controlled())  # which compares
    configure(verify=False)
    no_lowering()
    again = made(controlled())
    assert again.program.steps == first.program.steps
    assert run(again, X, Y) == run(first, X, Y)


def test_bodies_are_part_of_the_name() -> None:
    assert name(controlled()) == name(controlled())
    graphs = controlled(), controlled(3.0), controlled(length=4), controlled(reverse=True)
    assert len({name(graph) for graph in graphs} - {None}) == 4


def test_what_is_asked_of_it_is_planned_then() -> None:
    first, again = (made(graph_of(layers, (3, 4), (4, 4))) for _ in range(2))
    assert callable(again._planned)
    assert [str(x.kernel) for x in again.launches] == [str(x.kernel) for x in first.launches]
    assert [n.op for x in again.launches for n in x.nodes] == [n.op for x in first.launches for n in x.nodes]
    assert again.plan.arena_nbytes == first.plan.arena_nbytes


def name(
    graph: Graph,
    strides: Sequence[tuple[int, ...]] = ((4, 1), (4, 1)),
    updates: Sequence[tuple[int, Value]] = (),
    target: Target | None = None,
    threads: int = 2,
    hand_on: bool = False,
) -> str | None:
    return kept.name_of(graph, strides, updates, target or host_target(), threads, hand_on, primitives())


def test_whatever_a_table_depends_on_is_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, twin = (graph_of(layers, (3, 4), (4, 4)) for _ in range(2))
    assert name(graph) == name(twin)
    names = [
        name(graph),
        name(graph, strides=((1, 3), (4, 1))),
        name(graph, updates=[(0, graph.outputs[0])]),
        name(graph, updates=[(1, graph.outputs[0])]),
        name(graph, target=host_target("generic")),
        name(graph, threads=3),
        name(graph, hand_on=True),
        name(graph.copy(outputs=graph.outputs[::-1])),
        name(graph_of(layers, (5, 4), (4, 4))),
        name(graph_of(lambda x, y: layers(y, y), (3, 4), (4, 4))),
    ]
    monkeypatch.setattr(kept, "_version", lambda: "other")
    names.append(name(graph))
    assert None not in names and len(set(names)) == len(names)


@pytest.mark.parametrize("numbers", [(0.0, -0.0), (1.0, 2.0), (float("nan"), -float("nan")), (1, True), (1, 1.0)])
def test_constants_that_differ_in_bits_or_type_have_names_of_their_own(numbers: tuple[Any, Any]) -> None:
    first, second = map(kept.text_of, numbers)
    assert first != second


def test_parameters_are_told_apart() -> None:
    values = [None, "None", 0, "0", (0,), (0, 0), ((0,), 0), [0], slice(0, None), slice(0, 0), dt.int32, dt.int64, ""]
    assert len({kept.text_of(v) for v in values}) == len(values)


def test_what_has_no_certain_text_is_not_kept(folder: Path) -> None:
    graph = graph_of(layers, (3, 4), (4, 4))
    node = graph.nodes[-1]
    inner = type(node)(node.op, node.inputs, {**node.params, "strange": print}, node.types)
    body = Graph("body", graph.inputs, [*graph.nodes, inner], list(inner.outputs))
    for value in (object(), print, {1: 2}, np.float32(1.0), body):
        strange = type(node)(node.op, node.inputs, {**node.params, "strange": value}, node.types)
        assert name(Graph("f", graph.inputs, [*graph.nodes, strange], list(strange.outputs))) is None
    op = node.op
    twin = Primitive(op.name, op.infer, op.lower)
    strange = type(node)(twin, node.inputs, node.params, node.types)
    assert name(Graph("f", graph.inputs, [*graph.nodes, strange], list(strange.outputs))) is None


def test_python_code_is_not_kept(folder: Path) -> None:
    def f(x: Any, y: Any) -> Any:
        return wf.linalg.inv(y) @ y

    for _ in range(2):
        exe = made(graph_of(f, (3, 4), (4, 4)))
        assert not callable(exe._planned)


def test_code_that_is_gone_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded, "_loaded", {})
    first = made(graph_of(layers, (3, 4), (4, 4)))
    expected = run(first, X, Y)
    table = name(graph_of(layers, (3, 4), (4, 4)))
    monkeypatch.setattr(loaded, "_loaded", {})
    again = made(graph_of(layers, (3, 4), (4, 4)))
    assert callable(again._planned) and run(again, X, Y) == expected
    for file in folder.iterdir():
        if file.name != f"{table}{SUFFIX}":
            file.unlink()
    monkeypatch.setattr(loaded, "_loaded", {})
    third = made(graph_of(layers, (3, 4), (4, 4)))
    assert not callable(third._planned) and run(third, X, Y) == expected


def test_a_damaged_table_is_made_again(folder: Path) -> None:
    expected = run(made(graph_of(layers, (3, 4), (4, 4))), X, Y)
    file = folder / f"{name(graph_of(layers, (3, 4), (4, 4)))}{SUFFIX}"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    again = made(graph_of(layers, (3, 4), (4, 4)))
    assert not callable(again._planned) and run(again, X, Y) == expected


def test_while_passes_are_verified_tables_are_too() -> None:
    graph = graph_of(layers, (3, 4), (4, 4))
    made(graph)
    own = name(graph)
    assert own is not None
    table = kept.get(own)
    assert table is not None
    configure(verify=True)
    made(graph)
    kept.put(own, replace(table, rows=table.rows[::-1]))
    with pytest.raises(CompileError, match="the table that is kept"):
        made(graph)


PROGRAM = """
import sys
import numpy as np
import weft as wf
import weft.nn.functional as F
from weft.graph import executable

lowered = []
real = executable.launches_of
executable.launches_of = lambda graph, *rest: lowered.append(len(graph.nodes)) or real(graph, *rest)
wf.random.seed(3)
net = wf.nn.Sequential(*[m for _ in range(4) for m in (wf.nn.Linear(8, 8), wf.nn.LayerNorm(8), wf.nn.GELU())])
opt = wf.optim.AdamW(net.parameters(), lr=1e-2)
x = wf.asarray(np.linspace(-1, 1, 40, dtype="f").reshape(5, 8))

@wf.compile
def step(x):
    loss = F.mse_loss(net(x), x)
    opt.zero_grad()
    loss.backward()
    opt.step()
    return loss

losses = [float(step(x)).hex() for _ in range(3)]
print(max(lowered, default=0), *losses)
"""


def test_another_process_lowers_nothing_and_has_the_same_bits(folder: Path) -> None:
    environment = {**os.environ, "WEFT_CACHE_DIR": str(folder), "WEFT_VERIFY": "0"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs[0][1:] == runs[1][1:]
    assert int(runs[0][0]) >= entries._MANY > int(runs[1][0])

"""Inputs that a program writes: whatever their strides, what comes out is "compute everything, then write"."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st
from strided_inputs import Strided, laid_out, storages_of, type_of

import weft as wf
from weft.core import dtypes as dt
from weft.graph.executable import Executable, build
from weft.graph.ir import Graph
from weft.llvm.targets import host_target
from weft.ops.elementwise import cast
from weft.ops.indexing import SCATTER_SET, _scatter
from weft.ops.op import trace_function
from weft.ops.views import slice_update
from weft.runtime import storage
from weft.runtime.program import KernelStatus


def traced(function: Callable[..., Any], inputs: Sequence[Strided]) -> Graph:
    return trace_function(function, [type_of(x.array) for x in inputs], "f")[0]


def compiled(graph: Graph, inputs: Sequence[Strided], at: Sequence[int], threads: int = 1) -> Executable:
    """The last outputs of the graph replace the inputs ``at``."""
    wanted = len(graph.outputs) - len(at)
    updates = list(zip(at, graph.outputs[wanted:], strict=True))
    own = graph.copy(outputs=graph.outputs[:wanted])
    return build(own, [x.strides for x in inputs], updates, host_target(), threads)


def check(function: Callable[..., Any], inputs: Sequence[Strided], at: Sequence[int], threads: int = 1) -> Executable:
    """Results and what is written are what a program without updates computes of the old values."""
    graph = traced(function, inputs)
    contiguous = [tuple(s // x.array.itemsize for s in np.empty(x.array.shape, x.array.dtype).strides) for x in inputs]
    copies = [storage.copy_of(np.ascontiguousarray(x.array).tobytes()) for x in inputs]
    pure = build(graph, contiguous, (), host_target(), threads)
    expected = [bytes(s) for s in storages_of(pure.program.call(*copies))]
    assert pure.results == list(range(len(graph.outputs)))
    wanted = len(graph.outputs) - len(at)
    blocks = [x.block.tobytes() for x in inputs]
    for number, data in zip(at, expected[wanted:], strict=True):
        x = inputs[number]
        blocks[number] = x.written(np.frombuffer(data, x.array.dtype)[: x.array.size].reshape(x.array.shape))
    exe = compiled(graph, inputs, at, threads)
    made = storages_of(exe.program.call(*[x.storage for x in inputs]))
    assert sorted(exe.results) == list(range(wanted)), "every result owns its memory"
    assert [x.block.tobytes() for x in inputs] == blocks
    for number, data, value in zip(exe.results, expected, graph.outputs, strict=False):
        nbytes = int(np.prod(value.shape)) * value.dtype.itemsize
        assert bytes(made[number])[:nbytes] == data[:nbytes]
    return exe


def arange(*shape: int, dtype: str = "float32", strides: Sequence[int] | None = None) -> Strided:
    values = (np.arange(int(np.prod(shape))) % 7 - 2).reshape(shape).astype(dtype)
    own = tuple(s // values.itemsize for s in values.strides)
    return Strided(values, strides or own)


# --- random programs --------------------------------------------------------------------------------------------


def _largest(x: Any, axis: int) -> Any:
    return cast(wf.max(cast(x, dt.float32), axis=axis, keepdims=True), x.dtype)


def _rows(x: Any, y: Any) -> Any:
    return wf.broadcast_to(_largest(x, 1), tuple(x.shape)) if x.shape[1] else y


def _columns(x: Any, y: Any) -> Any:
    return wf.broadcast_to(_largest(x, 0), tuple(x.shape)) if x.shape[0] else y


def _contracted(x: Any, y: Any) -> Any:
    return (x @ y.mT @ x) if x.dtype.is_floating else wf.flip(x, axis=1)


def _part(x: Any, y: Any) -> Any:
    if 0 in x.shape:
        return y
    rows = (x.shape[0] + 1) // 2
    return slice_update(x, y[:rows], (0, 0), (2 if x.shape[0] > 1 else 1, 1))


def _shifted(x: Any, y: Any) -> Any:
    return slice_update(x, x[1:], (0, 0)) if x.shape[0] > 1 else y


def _picked(x: Any, y: Any) -> Any:
    return x[wf.zeros((x.shape[0],), dtype="int64")] if x.shape[0] else y


def _sought(x: Any, y: Any) -> Any:
    return wf.take(x, wf.argmax(cast(y, dt.float32), axis=1) * 0, axis=0) if 0 not in x.shape else y


def _placed(x: Any, y: Any) -> Any:
    if 0 in x.shape:
        return y
    return _scatter(SCATTER_SET, x, [wf.full((1,), -1, dtype="int64")], y[:1])


OPS: dict[str, Callable[[Any, Any], Any]] = {
    "mix": lambda x, y: x ^ y if x.dtype is dt.bool_ else x + y,
    "dear": lambda x, y: cast(wf.tanh(cast(x, dt.float32)) * 3, x.dtype),
    "backwards": lambda x, y: wf.flip(x, axis=0),
    "turned": lambda x, y: wf.reshape(x.mT, tuple(x.shape)),
    "ones": lambda x, y: wf.ones(tuple(x.shape), dtype=x.dtype),
    "joined": lambda x, y: wf.concat([x[:1], y[1:]], axis=0),
    "running": lambda x, y: cast(wf.cumulative_sum(cast(x, dt.int32), axis=0), x.dtype),
    "rows": _rows,
    "columns": _columns,
    "contracted": _contracted,
    "part": _part,
    "shifted": _shifted,
    "picked": _picked,
    "sought": _sought,
    "placed": _placed,
}


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Strided], list[tuple[str, int, int]], list[int], list[tuple[int, int]]]:
    """Inputs, steps (op, two earlier values), results, updates (input, value)."""
    shape = (draw(st.sampled_from([0, 1, 2, 5, 9])), draw(st.sampled_from([0, 1, 3, 17])))
    dtype = draw(st.sampled_from(["float32", "float16", "bool", "int64", "uint8"]))
    count = draw(st.integers(1, 3))
    inputs = []
    for k in range(count):
        order = draw(st.permutations([0, 1]))
        strides = laid_out(shape, order, draw(st.tuples(st.integers(1, 3), st.integers(1, 2))))
        if draw(st.booleans()):
            strides = (shape[1], 1) if shape[1] else (1, 1)
        values = ((np.arange(int(np.prod(shape))) * (k + 3)) % 11 - 1).reshape(shape).astype(dtype)
        inputs.append(Strided(values, strides))
    steps = []
    for number in range(draw(st.integers(0, 6))):
        of = st.integers(0, count + number - 1)
        steps.append((draw(st.sampled_from(sorted(OPS))), draw(of), draw(of)))
    value = st.integers(0, count + len(steps) - 1)
    results = draw(st.lists(value, max_size=3))
    updated = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    return inputs, steps, results, [(at, draw(value)) for at in updated]


@few(40, 360, programs(), st.integers(1, 2))
def test_everything_is_computed_then_written(drawn: Any, threads: int) -> None:
    inputs, steps, results, updates = drawn

    def function(*args: Any) -> Any:
        values = list(args)
        for name, a, b in steps:
            values.append(OPS[name](values[a], values[b]))
        return tuple(values[k] for k in (*results, *(v for _, v in updates)))

    check(function, inputs, [at for at, _ in updates], threads)


# --- how it is done ---------------------------------------------------------------------------------------------


def kinds(exe: Executable) -> list[str]:
    return [type(x.kernel).__name__ for x in exe.launches]


GAPS = (20, 2)  # strides of a (4, 6)

DIRECT: list[tuple[str, Callable[..., Any], list[Strided], list[int], list[str]]] = [
    ("elementwise", lambda x: x * 2 + 1, [arange(4, 6, strides=GAPS)], [0], ["Nest"]),
    (
        "one value for all",
        lambda x, v: wf.broadcast_to(v, (4, 6)),
        [arange(4, 6, strides=GAPS), arange(6)],
        [0],
        ["Nest"],
    ),
    (
        "a cast",
        lambda x, v: cast(v, dt.float16),
        [arange(4, 6, dtype="float16", strides=GAPS), arange(4, 6)],
        [0],
        ["Nest"],
    ),
    (
        "part of a strided input",
        lambda x, v: slice_update(x, v, (1, 0), (2, 3)),
        [arange(4, 6, strides=GAPS), arange(2, 2)],
        [0],
        ["Nest"],
    ),
    ("part, of itself", lambda x: slice_update(x, x[::2] * 2, (0, 0), (2, 1)), [arange(4, 6)], [0], ["Nest"]),
    (
        "part after part",
        lambda x, v: slice_update(slice_update(x, v, (0, 0)), v, (2, 0)),
        [arange(4, 6), arange(1, 6)],
        [0],
        ["Nest", "Nest"],
    ),
    (
        "elements at indices, which are checked first",
        lambda x, i, v: _scatter(SCATTER_SET, x, [i], v),
        [arange(4, 6), Strided(np.array([3, -4]), (1,)), arange(2, 6)],
        [0],
        ["Nest", "Sequential"],
    ),
    (
        "two caches",
        lambda x, y, i, v: (_scatter(SCATTER_SET, x, [i], v), _scatter(SCATTER_SET, y, [i], v * 2)),
        [arange(4, 6), arange(4, 6), Strided(np.array([3, -4]), (1,)), arange(2, 6)],
        [0, 1],
        ["Nest", "Nest", "Sequential", "Sequential"],
    ),
    (
        "before indices that are found later",
        lambda x, y, z: (_take(z, wf.argmax(y, axis=1)), x * 2, y + 1),
        [arange(4, 6), arange(4, 6, strides=GAPS), arange(6)],
        [0, 1],
        ["Nest", "Nest", "Nest"],
    ),
    ("the sums of rows", lambda x, y: wf.sum(x, axis=1), [arange(4, 6), arange(4, strides=(3,))], [1], ["Nest"]),
    ("a product, row-major", lambda x, y: x @ x, [arange(4, 4), arange(4, 4)], [1], ["Contraction"]),
]


@pytest.mark.parametrize(("name", "function", "inputs", "at", "expected"), DIRECT, ids=[c[0] for c in DIRECT])
def test_written_where_it_belongs(
    name: str, function: Callable[..., Any], inputs: list[Strided], at: list[int], expected: list[str]
) -> None:
    exe = check(function, inputs, at)
    assert kinds(exe) == expected
    assert exe.plan.arena_nbytes <= 128 or host_target().checked, "nothing but the byte of a check"


STAGED: list[tuple[str, Callable[..., Any], list[Strided], list[int]]] = [
    ("a swap", lambda x, y: (y, x), [arange(4, 6, strides=GAPS), arange(4, 6)], [0, 1]),
    ("a ring", lambda x, y, z: (y, z, x), [arange(4, 6), arange(4, 6, strides=GAPS), arange(4, 6)], [0, 1, 2]),
    ("itself", lambda x: x, [arange(4, 6)], [0]),
    ("itself, and a result", lambda x: (x, x), [arange(4, 6)], [0]),
    ("another input", lambda x, y: y, [arange(4, 6, strides=GAPS), arange(4, 6)], [0]),
    ("one value for two", lambda x, y: (x + y,) * 2, [arange(4, 6, strides=GAPS), arange(4, 6)], [0, 1]),
    ("also a result", lambda x: (x * 2,) * 2, [arange(4, 6, strides=GAPS)], [0]),
    ("several results", lambda x: (x, x, x * 2, x * 2, x * 2), [arange(4, 6)], [0]),
    ("the old value is read later", lambda x: (x @ x, x * 2), [arange(6, 6)], [0]),
    (
        "the new value is read",
        lambda x, y: ((z := x + 1), z.mT @ z),
        [arange(6, 6, strides=(1, 6)), arange(6, 6)],
        [0, 1],
    ),
    ("backwards", lambda x: wf.flip(x, axis=0), [arange(5, 6, strides=(7, 1))], [0]),
    ("moved by one", lambda x: slice_update(x, x[:-1], (1, 0)), [arange(5, 6)], [0]),
    ("a product", lambda x, y: x @ x, [arange(4, 4), arange(4, 4, strides=(1, 4))], [1]),
    ("a product of itself", lambda x: x @ x, [arange(4, 4)], [0]),
    ("one value, two layouts", lambda x, y: (y + 1.0, y + 1.0), [arange(3, strides=(2,)), arange(3)], [0, 1]),
    ("by the sum of a transposed tensor", lambda x: x * wf.sum(x), [arange(3, 2, strides=(1, 3))], [0]),
    ("by the largest of a transposed tensor", lambda x: x + wf.max(x), [arange(64, 32, strides=(1, 64))], [0]),
    ("sums of columns", lambda x, y: wf.sum(x, axis=0), [arange(40, 6), arange(6, strides=(3,))], [1]),
    ("a long sum", lambda x, y: wf.sum(x), [arange(40_000), arange()], [1]),
    ("long sums of columns", lambda x, y: wf.sum(x, axis=0), [arange(40_000, 2), arange(2, strides=(5,))], [1]),
    ("a running sum", lambda x: wf.cumulative_sum(x, axis=0), [arange(4, 6, strides=(1, 4))], [0]),
    ("joined", lambda x: wf.concat([x[2:], x[:2]], axis=0), [arange(4, 6, strides=GAPS)], [0]),
    ("rank 0", lambda x, y: (x + y, x), [arange(), arange()], [0, 1]),
    ("empty", lambda x, y: (x + 1, wf.sum(x)), [arange(0, 3), arange()], [0, 1]),
    (
        "elements of a strided input",
        lambda x, i, v: _scatter(SCATTER_SET, x, [i], v),
        [arange(4, 6, strides=GAPS), Strided(np.array([3, 0]), (1,)), arange(2, 6)],
        [0],
    ),
    (
        "elements at indices that are read from it",
        lambda x: _scatter(SCATTER_SET, x, [x[:2]], x[1:3]),
        [Strided(np.array([3, 0, 1, 1]), (1,))],
        [0],
    ),
    (
        "written before indices are checked",
        lambda x, y, i: (x * 2, _scatter(SCATTER_SET, y, [cast(wf.sum(x), dt.int64) * 0 + i], x[:2])),
        [arange(4, 6), arange(4, 6), Strided(np.array([3, 0]), (1,))],
        [0, 1],
    ),
]


@pytest.mark.parametrize(("name", "function", "inputs", "at"), STAGED, ids=[c[0] for c in STAGED])
def test_written_at_the_end(name: str, function: Callable[..., Any], inputs: list[Strided], at: list[int]) -> None:
    check(function, inputs, at, threads=2)


BAD: list[tuple[str, Callable[..., Any]]] = [
    ("scatter", lambda x, y, i: (_scatter(SCATTER_SET, x, [i], y[:2]),)),
    ("scatter after a write", lambda x, y, i: (x + 1, _scatter(SCATTER_SET, y, [i], x[:2]))),
    ("scatter of what is gathered", lambda x, y, i: (_scatter(SCATTER_SET, x, [i * 0], _take(y, i)),)),
    ("gather", lambda x, y, i: (x + 1, wf.concat([_take(y, i)] * 2, axis=0))),
    ("gather of what was written", lambda x, y, i: ((z := y * 2), wf.concat([_take(z, i), x[:2]], axis=0))),
]


def _take(x: Any, indices: Any) -> Any:
    return wf.take(x, indices, axis=0)


@pytest.mark.parametrize(("name", "function"), BAD, ids=[c[0] for c in BAD])
@pytest.mark.parametrize("strides", [(6, 1), GAPS], ids=["row-major", "strided"])
def test_a_bad_index_leaves_all_inputs_as_they_were(
    name: str, function: Callable[..., Any], strides: tuple[int, int]
) -> None:
    for index in (4, -5):
        inputs = [arange(4, 6, strides=strides), arange(4, 6, strides=strides), Strided(np.array([0, index]), (1,))]
        graph = traced(function, inputs)
        exe = compiled(graph, inputs, range(len(graph.outputs)))
        before = [x.block.tobytes() for x in inputs]
        with pytest.raises(KernelStatus):
            exe.program.call(*[x.storage for x in inputs])
        assert [x.block.tobytes() for x in inputs] == before


def test_inputs_are_handed_on_where_that_is_allowed() -> None:
    inputs = [arange(4), arange(4)]
    graph = traced(lambda x, y: (x, y, (z := x + y), z, x), inputs)
    strides = [x.strides for x in inputs]
    assert build(graph, strides, (), host_target(), 1, hand_on=True).results == [-1, -2, 0, 0, -1]
    assert build(graph, strides, (), host_target(), 1).results == [0, 1, 2, 3, 4]
    own = graph.copy(outputs=graph.outputs[:2])
    written = build(own, strides, [(0, graph.outputs[2])], host_target(), 1, hand_on=True)
    assert written.results == [0, -2], "what is written is copied"
    made = written.program.call(*[x.storage for x in inputs])
    assert np.array_equal(np.frombuffer(made, np.float32)[:4], arange(4).array)
    assert np.array_equal(inputs[0].array, 2 * arange(4).array)


def test_a_program_without_results_returns_none() -> None:
    x = arange(4)
    assert compiled(traced(lambda x: x * 2, [x]), [x], [0]).program.call(x.storage) is None
    assert compiled(traced(lambda x: x, [x]), [x], [0]).program.call(x.storage) is None


def test_a_bias_and_its_moments_are_written_by_the_kernel_that_sums_their_gradient() -> None:
    def step(g: Any, p: Any, m: Any, v: Any) -> Any:
        grad = wf.sum(g, axis=0)
        m, v = m * 0.9 + grad * 0.1, v * 0.99 + grad * grad * 0.01
        return p - m / (wf.sqrt(v) + 1e-8), m, v

    exe = check(step, [arange(40, 6), arange(6), arange(6), arange(6, strides=(2,))], [1, 2, 3])
    assert kinds(exe) == ["ColumnReduce"] and exe.plan.arena_nbytes == 0


def test_column_major_memory_is_walked_from_one_end_to_the_other() -> None:
    exe = check(lambda x, y: x * 2 + y, [arange(5, 6, strides=(1, 5)), arange(5, 6, strides=(1, 5))], [0])
    (launch,) = exe.launches
    assert launch.kernel.grid == () and 30 in launch.ints, "one axis of all elements"

"""Integers by which other tools' models compute shapes: followed on the host or computed by the graph, they are what
ONNX Runtime computes, in value, shape and dtype, to the ends of int32 and int64."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_peer
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import weft as wf
from weft.core import dtypes as dt
from weft.core.errors import FormatError
from weft.core.symbolic import SymDim
from weft.interop.onnx.foreign.call import Known
from weft.interop.onnx.foreign.host import HOST, slice_of
from weft.interop.onnx.limits import KNOWN, NBYTES, RANK, bounded, check_extent, wrapped

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
ENDS = {name: (int(np.iinfo(name).min), int(np.iinfo(name).max)) for name in ("int32", "int64")}


def numbers(dtype: str) -> st.SearchStrategy[int]:
    low, high = ENDS[dtype]
    near = [low, low + 1, -2, -1, 0, 1, 2, high - 1, high]
    return st.one_of(st.integers(-9, 9), st.sampled_from(near), st.integers(low, high))


def arrays(dtype: str, min_rank: int = 0, max_rank: int = 2) -> st.SearchStrategy[Any]:
    shapes = st.lists(st.integers(1, 3), min_size=min_rank, max_size=max_rank).map(tuple)
    return shapes.flatmap(
        lambda shape: st.lists(numbers(dtype), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
            lambda values: np.asarray(values, dtype).reshape(shape)
        )
    )


def write(path: Path, nodes: list[Any], inputs: dict[str, Any], constants: dict[str, Any], outputs: list[str]) -> None:
    """``inputs``: arrays, or (element type, shape)."""
    given = [
        helper.make_tensor_value_info(
            k, *(v if isinstance(v, tuple) else (helper.np_dtype_to_tensor_dtype(v.dtype), v.shape))
        )
        for k, v in inputs.items()
    ]
    held = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "model", given, [onnx.ValueInfoProto(name=o) for o in outputs], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())


def results(path: Path, *fed: Any) -> list[Any]:
    found = wf.load(path)(*fed)
    return [np.asarray(t.numpy()) for t in (found if isinstance(found, (tuple, list)) else (found,))]


def is_same(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b))


# --- one op -----------------------------------------------------------------------------------------------------

Drawn = tuple[list[Any], list[Any], dict[str, Any]]  # data, further inputs that are integers of a shape, attributes


def broadcast(data: st.DataObject, dtype: str, *others: str) -> list[Any]:
    """Arrays that broadcast."""
    first = data.draw(arrays(dtype))
    shapes = [first.shape, first.shape[1:], (1,) * first.ndim, ()]
    more = []
    for other in others:
        shape = data.draw(st.sampled_from(shapes))
        more.append(data.draw(arrays(other, 0, 0).map(lambda v, shape=shape: np.broadcast_to(v, shape).copy())))
        more[-1] = data.draw(st.permutations(range(more[-1].size))) and more[-1]
    return [first, *more]


def drawn(op: str, dtype: str, data: st.DataObject) -> Drawn:
    if op in ("Add", "Sub", "Mul", "Equal", "Less"):
        return broadcast(data, dtype, dtype), [], {}
    if op == "Div":  # the processor traps, and ONNX Runtime with it
        x, y = broadcast(data, dtype, dtype)
        assume(not (y == 0).any() and not ((x == ENDS[dtype][0]).any() and (y == -1).any()))
        return [x, y], [], {}
    if op == "Where":
        x, y = broadcast(data, dtype, dtype)
        condition = data.draw(st.sampled_from([x > 0, y > 0, np.asarray(True), np.zeros(x.shape, bool)]))
        return [condition, x, y], [], {}
    x = data.draw(arrays(dtype, 0 if op in ("Cast", "Identity", "Size", "Shape", "Unsqueeze", "ReduceProd") else 1))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1)) if x.ndim else 0
    if op == "Cast":
        return [x], [], {"to": data.draw(st.sampled_from([TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL]))}
    if op in ("Identity", "Size"):
        return [x], [], {}
    if op == "Shape":
        ends = {"start": data.draw(st.integers(-3, 3)), "end": data.draw(st.integers(-3, 3))}
        return [x], [], {name: ends[name] for name in data.draw(st.sets(st.sampled_from(sorted(ends))))}
    if op == "Gather":
        size = x.shape[axis]
        at = st.integers(-size, size - 1)
        kind = data.draw(st.sampled_from(["int32", "int64"]))
        return [x, np.asarray(data.draw(st.one_of(at, st.lists(at, max_size=3))), kind)], [], {"axis": axis}
    if op == "Concat":
        return [x, *([x[::-1]] * data.draw(st.integers(0, 2)))], [], {"axis": axis}
    if op == "Squeeze":
        ones = [a for a, n in enumerate(x.shape) if n == 1]
        assume(ones)
        axes = data.draw(st.one_of(st.none(), st.lists(st.sampled_from(ones), min_size=1, unique=True)))
        return [x], [] if axes is None else [np.asarray(axes)], {}
    if op == "Unsqueeze":
        count = data.draw(st.integers(1, 2))
        rank = x.ndim + count
        axes = data.draw(st.lists(st.integers(0, rank - 1), min_size=count, max_size=count, unique=True))
        return [x], [np.asarray([a - rank * data.draw(st.integers(0, 1)) for a in axes])], {}
    if op == "Slice":
        kind = data.draw(st.sampled_from(["int32", "int64"]))
        axes = data.draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True))
        low, high = ENDS[kind]
        # The greatest end of a step back is one of ONNX Runtime's own, which the standard does not know: "to the end".
        end = st.one_of(st.integers(-4, 4), st.sampled_from([*ENDS["int32"], low, low + 1, high - 1, high]))
        starts, steps = [data.draw(end) for _ in axes], [data.draw(st.sampled_from([1, 1, 2, -1, -2])) for _ in axes]
        stops = [data.draw(end if step > 0 else end.filter(lambda n: n < ENDS["int32"][1])) for step in steps]
        return [x], [np.asarray(v, kind) for v in (starts, stops, axes, steps)], {}
    if op == "Reshape":
        target = data.draw(st.sampled_from([[-1], [0, -1][: x.ndim], [x.size], [1, -1], [x.size, 1, 1]]))
        return [x], [np.asarray(target)], {"allowzero": 0}
    assert op == "ReduceProd"
    assume(abs(math.prod(x.ravel().tolist())) <= min(2**53, ENDS[dtype][1]))  # of ONNX Runtime, in float64
    return [x], [], {name: data.draw(st.integers(0, 1)) for name in ("keepdims", "noop_with_empty_axes")}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("op", HOST)
@few
@given(data=st.data())
def test_an_op_on_known_integers_is_onnx_runtimes(op: str, dtype: str, tmp_path: Path, data: st.DataObject) -> None:
    """And the graph's."""
    operands, shapes, attributes = drawn(op, dtype, data)
    names = [f"x{i}" for i in range(len(operands) + len(shapes))]
    node = helper.make_node(op, names, ["y"], **attributes)
    constants = dict(zip(names, [*operands, *shapes], strict=True))
    fed = {n: constants[n] for n in names[: len(operands)]}
    held = {n: constants[n] for n in names[len(operands) :]}
    host, graph = tmp_path / "host.onnx", tmp_path / "graph.onnx"
    write(host, [node], {}, constants, ["y"])
    write(graph, [node], fed, held, ["y"])
    (expected,) = onnx_peer.run(graph, *fed.values())
    for path, inputs in ((host, []), (graph, list(fed.values()))):
        (found,) = results(path, *inputs)
        assert is_same(found, expected), (path.stem, found, expected)


def test_a_division_that_no_processor_makes_is_the_graphs(tmp_path: Path) -> None:
    for dtype, (low, _) in ENDS.items():
        x, y = np.asarray([7, -7, 0, low, low, low], dtype), np.asarray([0, 0, 0, 0, -1, 1], dtype)
        node = helper.make_node("Div", ["x", "y"], ["z"])
        write(tmp_path / "host.onnx", [node], {}, {"x": x, "y": y}, ["z"])
        write(tmp_path / "graph.onnx", [node], {"x": x, "y": y}, {}, ["z"])
        for name, fed in (("host", []), ("graph", [x, y])):
            (found,) = results(tmp_path / f"{name}.onnx", *fed)
            assert is_same(found, np.asarray([0, 0, 0, 0, low, low], dtype))


def test_a_product_that_wraps_is_the_graphs(tmp_path: Path) -> None:
    for x in (np.asarray([-1, -(2**31)], np.int32), np.asarray([65537, 65537], np.int32), np.asarray([2**62, 6])):
        node = helper.make_node("ReduceProd", ["x"], ["z"], keepdims=0)
        write(tmp_path / "host.onnx", [node], {}, {"x": x}, ["z"])
        write(tmp_path / "graph.onnx", [node], {"x": x}, {}, ["z"])
        for name, fed in (("host", []), ("graph", [x])):
            (found,) = results(tmp_path / f"{name}.onnx", *fed)
            assert is_same(found, np.prod(x, dtype=x.dtype))


@given(data=st.data(), dtype=st.sampled_from([d for d in dt.ALL if d.is_integer]))
def test_integers_wrap_as_numpys(data: st.DataObject, dtype: Any) -> None:
    value = data.draw(st.integers(-(2**130), 2**130))
    low = value % 2**dtype.bits
    assert wrapped(value, dtype) == int(np.asarray(low, f"uint{dtype.bits}").astype(dtype.numpy))
    assert wrapped(value, dt.bool_) == int(value != 0)


# --- shapes of symbolic sizes -----------------------------------------------------------------------------------

SIZES = [(1, 1), (2, 3), (6, 4)]


def chain(data: st.DataObject) -> tuple[list[Any], dict[str, Any], str]:
    """Nodes that compute integers of the shape (batch, 4, length), and the name of what they compute."""
    nodes: list[Any] = [helper.make_node("Shape", ["x"], ["s0"])]
    constants: dict[str, Any] = {"zero": np.asarray([0]), "minus": np.asarray([-1])}
    known = {"s0": 3}  # name -> the number of elements

    def held(values: Any) -> str:
        constants[f"c{len(constants)}"] = np.asarray(values, np.int64)
        return f"c{len(constants) - 1}"

    def made(op: str, inputs: list[str], size: int, **attributes: Any) -> None:
        name = f"s{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        known[name] = size

    small = st.integers(-3, 5)
    for _ in range(data.draw(st.integers(1, 6))):
        name = data.draw(st.sampled_from(sorted(known)))
        size = known[name]
        other = data.draw(st.sampled_from([n for n in sorted(known) if known[n] in (1, size)]))
        constant = held([data.draw(small) for _ in range(data.draw(st.sampled_from([1, size])))])
        op = data.draw(
            st.sampled_from(["Add", "Sub", "Mul", "Div", "Gather", "Concat", "Slice", "ReduceProd", "Where", "Cast"])
        )
        if op in ("Add", "Sub", "Mul"):
            pair = data.draw(st.permutations([name, data.draw(st.sampled_from([other, constant]))]))
            made(op, list(pair), size)
        elif op == "Div":
            made(op, [name, held([data.draw(st.sampled_from([1, 2, 3, 4, -2]))])], size)
        elif op == "Gather":
            at = [data.draw(st.integers(-size, size - 1)) for _ in range(data.draw(st.integers(1, 3)))]
            made(op, [name, held(at)], len(at), axis=0)
        elif op == "Concat":
            assume(size + known[other] < 9)
            made(op, [name, other], size + known[other], axis=0)
        elif op == "Slice":
            start, end, step = data.draw(small), data.draw(small), data.draw(st.sampled_from([1, 2, -1]))
            count = len(range(size)[start:end:step])
            assume(count)
            made(op, [name, held([start]), held([end]), "zero", held([step])], count)
        elif op == "ReduceProd":
            made(op, [name], 1)
        elif op == "Cast":
            nodes.append(helper.make_node("Cast", [name], [f"narrow{len(nodes)}"], to=TensorProto.INT32))
            made("Cast", [f"narrow{len(nodes) - 1}"], size, to=TensorProto.INT64)
        else:
            compare = data.draw(st.sampled_from(["Equal", "Less"]))
            nodes.append(helper.make_node(compare, [name, constant], [f"b{len(nodes)}"]))
            made("Where", [f"b{len(nodes) - 1}", other, name], size)
    return nodes, constants, f"s{len(nodes) - 1}"


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
@given(data=st.data())
def test_integers_of_symbolic_sizes_are_onnx_runtimes(tmp_path: Path, data: st.DataObject) -> None:
    """Those of one model, for every size."""
    nodes, constants, last = chain(data)
    path = tmp_path / "f.onnx"
    write(path, nodes, {"x": (TensorProto.FLOAT, ["batch", 4, "length"])}, constants, [last])
    loaded = wf.load(path)
    for batch, length in SIZES:
        x = np.zeros((batch, 4, length), np.float32)
        (expected,) = onnx_peer.run(path, x)
        assert is_same(loaded(x).numpy(), expected), (batch, length)


WINDOWS = [  # starts, ends: names are computed of sizes
    (["zero"], ["half"]),
    (["one"], ["length"]),
    (["half"], ["end"]),
    (["minus"], ["end"]),
    (["zero"], ["less"]),
    (["half"], ["length"]),
]


@pytest.mark.parametrize(("starts", "ends"), WINDOWS)
@pytest.mark.parametrize("narrow", [False, True])
def test_a_tensor_is_cut_at_symbolic_ends(starts: list[str], ends: list[str], narrow: bool, tmp_path: Path) -> None:
    """``length`` is even, so that its half is known."""
    kind = np.int32 if narrow else np.int64
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "one", "two"], ["length"]),
        helper.make_node("Div", ["length", "two"], ["half"]),
        helper.make_node("Sub", ["length", "one"], ["less"]),
        helper.make_node("Slice", ["x", starts[0], ends[0], "one"], ["y"]),
    ]
    constants = {"zero": [0], "one": [1], "two": [2], "minus": [-1], "end": [2**63 - 1]}
    held = {k: np.asarray(v, np.int64) for k, v in constants.items()}
    if narrow and not {*starts, *ends} & {"half", "length", "less"}:
        held |= {k: np.asarray([min(held[k][0], ENDS["int32"][1])], kind) for k in (*starts, *ends, "one")}
    write(tmp_path / "f.onnx", nodes, {"x": (TensorProto.FLOAT, ["n", "2*m"])}, held, ["y"])
    if held["one"].dtype == np.int32:
        return  # ONNX wants one element type of the four lists, and Shape's is int64
    loaded = wf.load(tmp_path / "f.onnx")
    for n, m in ((1, 1), (2, 3)):
        x = np.arange(n * 2 * m, dtype=np.float32).reshape(n, 2 * m)
        (expected,) = onnx_peer.run(tmp_path / "f.onnx", x)
        assert is_same(loaded(x).numpy(), expected)


@given(size=st.integers(0, 6), end=st.integers(-8, 8), start=st.integers(-8, 8), step=st.sampled_from([1, 2, -1, -2]))
@example(size=3, start=0, end=ENDS["int32"][1], step=1)
@example(size=3, start=ENDS["int64"][1], end=ENDS["int64"][0], step=-1)
@example(size=3, start=ENDS["int32"][1], end=ENDS["int32"][0], step=-1)
@example(size=3, start=ENDS["int64"][0], end=ENDS["int64"][1], step=1)
@example(size=3, start=ENDS["int32"][1] - 1, end=ENDS["int32"][0] + 1, step=-2)
def test_the_elements_of_a_slice_are_the_standards(size: int, start: int, end: int, step: int) -> None:
    """The standard's words: negative numbers count from the end; then a step forward clamps both to [0, size], one
    back the start to [0, size - 1] and the end to [-1, size - 1]."""
    first, last = (n + size if n < 0 else n for n in (start, end))
    if step > 0:
        first, last = max(0, min(first, size)), max(0, min(last, size))
    else:
        first, last = max(0, min(first, size - 1)), max(-1, min(last, size - 1))
    expected = list(range(first, last, step)) if size else []
    assert list(range(size))[slice_of(start, end, step, size)] == expected


def test_the_slice_of_an_axis_of_unknown_size() -> None:
    n, most, least = SymDim.named("n"), ENDS["int32"][1], -ENDS["int32"][1]
    assert slice_of(0, most, 1, n) == slice_of(0, 2**63 - 1, 1, n) == slice(None, None, 1)
    assert slice_of(0, most - 1, 1, n) == slice(None, most - 1, 1) and slice_of(1, -1, 2, n) == slice(1, -1, 2)
    assert slice_of(most, least, -1, n) == slice_of(2**63 - 1, -(2**63), -1, n) == slice(None, None, -1)
    assert slice_of(most - 1, least + 1, -1, n) == slice(most - 1, least + 1, -1)
    assert slice_of(0, n, 1, 3) == slice(None, n, 1) and slice_of(n, 0, -1, 3) == slice(n, 0, -1)


# --- bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [KNOWN - 1, KNOWN, KNOWN + 1])
@pytest.mark.parametrize("op", ["Add", "Concat", "Gather", "Identity", "Equal"])
def test_long_arrays_are_the_graphs(op: str, count: int, tmp_path: Path) -> None:
    """At either side of the bound, the same numbers."""
    x, half = np.arange(count, dtype=np.int32), np.arange(count // 2, dtype=np.int32)
    rest = np.arange(count - count // 2, dtype=np.int32)
    inputs: dict[str, dict[str, Any]] = {
        "Concat": {"a": half, "b": rest},
        "Gather": {"a": half[:7], "b": np.arange(count) % 7},
        "Identity": {"a": x},
    }
    fed = inputs.get(op, {"a": x[:, None][:1, :], "b": x} if op in ("Add", "Equal") else {})
    attributes = {"axis": 0} if op in ("Concat", "Gather") else {}
    write(tmp_path / "f.onnx", [helper.make_node(op, list(fed), ["y"], **attributes)], {}, fed, ["y"])
    (expected,) = onnx_peer.run(tmp_path / "f.onnx")
    assert is_same(results(tmp_path / "f.onnx")[0], expected)
    small = {k: Known(v.tolist()[:1] if v.ndim else v, dt.int32) for k, v in fed.items()}
    assert HOST[op](*small.values(), **attributes) is not None


def test_what_is_followed_is_bounded() -> None:
    def known(count: int) -> Known:
        return Known(list(range(count)), dt.int64)

    row, column = known(KNOWN), Known([[0], [1]], dt.int64)
    assert HOST["Add"](row, known(1)) is not None and HOST["Add"](row, column) is None
    assert HOST["Add"](known(KNOWN + 1), known(1)) is None and HOST["Equal"](known(1), known(KNOWN + 1)) is None
    assert HOST["Concat"](known(KNOWN - 1), known(1), axis=0) is not None
    assert HOST["Concat"](known(KNOWN), known(1), axis=0) is None
    assert HOST["Gather"](known(1), Known([0] * KNOWN)) is not None
    assert HOST["Gather"](known(1), Known([0] * (KNOWN + 1))) is None


def test_what_depends_on_a_size_is_not_known() -> None:
    n = SymDim.named("n")
    size, one, two = Known([n]), Known([1]), Known([2])
    assert HOST["Div"](size, two) is None and HOST["Div"](Known([2 * n]), two).integers == (n,)
    assert HOST["Div"](size, Known([0])).integers == (0,)
    assert HOST["Equal"](size, one) is None and HOST["Equal"](size, Known([SymDim.named("m")])) is None
    assert HOST["Equal"](size, size).integers == (True,)
    for number in (0, -1, -(2**63)):
        assert HOST["Equal"](size, Known([number])).integers == (False,)
        assert HOST["Equal"](Known([number]), size).integers == (False,)
    assert HOST["Equal"](Known([n - 2]), Known([0])) is None
    assert HOST["Equal"](size, one) is None and HOST["Less"](size, two) is None
    assert HOST["Less"](size, one).integers == (False,)
    assert HOST["Cast"](size, to=TensorProto.INT32) is None
    assert HOST["Cast"](size, to=TensorProto.INT64).integers == (n,)
    assert HOST["Cast"](one, to=TensorProto.FLOAT) is None
    assert HOST["Gather"](Known([1, 2]), size) is None
    assert HOST["Slice"](Known([1, 2]), (0,), (n,)) is None and HOST["Slice"](Known([1, 2]), (n,), (2,)) is None


def test_symbolic_sizes_are_bounded() -> None:
    n = SymDim.named("n")
    size: Any = n
    for _ in range(63):
        size = size * n
    assert bounded(size) is size
    with pytest.raises(FormatError, match="no model has such sizes"):
        bounded(size * n)
    many: Any = 0
    for k in range(64):
        many = many + SymDim.named(f"n{k}")
    assert bounded(many) is many
    with pytest.raises(FormatError, match="no model has such sizes"):
        bounded(many + n)
    assert bounded(n * (2**62 - 1)) is not None
    for factor in (2**62, -(2**62)):
        with pytest.raises(FormatError, match="no model has such sizes"):
            bounded(n * factor)
    assert bounded(2**70) == 2**70


def test_extents_are_bounded() -> None:
    check_extent((1,) * RANK, 8)
    check_extent((NBYTES // 4,), 4)
    check_extent((0, NBYTES), 1)
    check_extent((SymDim.named("n"), NBYTES), 1)
    for shape, itemsize in (((NBYTES // 4 + 1,), 4), ((0, NBYTES + 1), 1), ((NBYTES // 2, 1, 3), 1)):
        with pytest.raises(FormatError, match="more than 2\\*\\*47 bytes"):
            check_extent(shape, itemsize)
    with pytest.raises(FormatError, match=f"{RANK + 1} axes"):
        check_extent((1,) * (RANK + 1), 1)


REFUSED = {
    "an axis of Gather": ("Gather", [[1, 2], [0]], {"axis": 1}, "axis 1 is out of range"),
    "an axis of Slice": ("Slice", [[1, 2], [0], [1], [1]], {}, "axis 1 is out of range"),
    "an axis twice": ("Slice", [[1, 2], [0, 0], [1, 1], [0, -1]], {}, "axis 0 is named twice"),
    "a step of 0": ("Slice", [[1, 2], [0], [1], [0], [0]], {}, "a step of 0"),
    "lists that do not fit": ("Slice", [[1, 2], [0], [1, 2]], {}, "1 starts, 2 ends, 1 axes and 1 steps"),
    "a size that is not there": ("Reshape", [[1, 2], [1, 0]], {}, "takes a size of"),
    "an index outside": ("Gather", [[1, 2], [5]], {}, "Gather"),
    "an axis of size 2": ("Squeeze", [[1, 2], [0]], {}, "Squeeze"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path) -> None:
    op, inputs, attributes, message = REFUSED[what]
    held = {f"x{i}": np.asarray(v) for i, v in enumerate(inputs)}
    write(tmp_path / "f.onnx", [helper.make_node(op, list(held), ["y"], **attributes)], {}, held, ["y"])
    with pytest.raises(FormatError, match=message):
        wf.load(tmp_path / "f.onnx")

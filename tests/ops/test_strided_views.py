"""Views by strides, and the inverses of all views, against NumPy's views of the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import weft as wf
from weft.core import dtypes as dt
from weft.graph.ir import Graph
from weft.graph.protocol import Layout, Primitive, TensorType
from weft.ops.elementwise import clone
from weft.ops.op import apply, composite, trace_function
from weft.ops.put import put_graph
from weft.ops.strided_views import AS_STRIDED, AS_STRIDED_UPDATE, DIAGONAL, UNFOLD, _overlaps
from weft.ops.view_functions import narrow, select, unbind, unfold
from weft.ops.views import BROADCAST_TO, PERMUTE, RESHAPE, SLICE
from weft.tensor.calls import GraphCall

Step = tuple[Primitive, dict[str, Any]]


def shown_by(step: Step, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The view of a NumPy array; a copy where NumPy makes one."""
    op, params = step
    if op is RESHAPE:
        return x.reshape(params["shape"])
    if op is PERMUTE:
        return x.transpose(params["axes"])
    if op is BROADCAST_TO:
        return x.reshape(params["shape"])
    if op is SLICE:
        bounds = zip(params["starts"], params["sizes"], params["steps"], strict=True)
        return x[tuple(slice(a, a + max((n - 1) * s + 1, 0), s) if n else slice(0, 0) for a, n, s in bounds)]
    if op is DIAGONAL:
        return x.diagonal(params["offset"], params["axis1"], params["axis2"])
    if op is UNFOLD:
        axis, size, step_ = params["axis"], params["size"], params["step"]
        windows = np.lib.stride_tricks.sliding_window_view(x, size, axis, writeable=True)
        return windows[(*[slice(None)] * axis, slice(None, None, step_))]
    assert op is AS_STRIDED
    return np.lib.stride_tricks.as_strided(
        x[params["offset"] :], params["shape"], [s * x.strides[0] for s in params["strides"]]
    )


@st.composite
def view_steps(draw: st.DrawFn, shape: tuple[int, ...], apart: bool) -> Step:
    """A view of a tensor of this shape; ``apart``: that shows no element twice."""
    rank = len(shape)
    kinds = ["reshape", "broadcast_to", *(["permute", "slice", "slice", "unfold"] if rank else [])]
    kinds += ["diagonal"] * (rank > 1) + ["as_strided"] * (rank == 1)
    kind = draw(st.sampled_from(kinds))
    if kind == "reshape":
        size = int(np.prod(shape))
        divisor = draw(st.sampled_from([n for n in (1, 2, 3, 4) if size % n == 0]))
        return RESHAPE, {"shape": draw(st.permutations((divisor, size // divisor, 1)))}
    if kind == "broadcast_to":
        return BROADCAST_TO, {"shape": (1,) * draw(st.integers(0, 2)) + shape}
    if kind == "permute":
        return PERMUTE, {"axes": tuple(draw(st.permutations(range(rank))))}
    if kind == "slice":
        starts, sizes, steps = [], [], []
        for n in shape:
            start, step = draw(st.integers(0, max(n - 1, 0))), draw(st.integers(1, 3))
            most = -(-(n - start) // step)
            starts.append(start)
            steps.append(step)
            sizes.append(draw(st.integers(0 if n == 0 else min(1, most), most)))
        return SLICE, {"starts": tuple(starts), "sizes": tuple(sizes), "steps": tuple(steps)}
    if kind == "diagonal":
        axis1, axis2 = draw(st.permutations(range(rank)))[:2]
        return DIAGONAL, {"offset": draw(st.integers(-3, 3)), "axis1": axis1, "axis2": axis2}
    if kind == "unfold":
        axis = draw(st.integers(0, rank - 1))
        size = draw(st.integers(1, max(shape[axis], 1)))
        assume(size <= shape[axis])
        return UNFOLD, {"axis": axis, "size": size, "step": draw(st.integers(size if apart else 1, size + 1))}
    parts = draw(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), max_size=3))
    strides = tuple(s for _, s in parts)
    sizes = tuple(n for n, _ in parts)
    reach = sum((n - 1) * s for n, s in parts)
    assume(reach < shape[0] and not (apart and _overlaps(Layout(sizes, 0, strides))))
    return AS_STRIDED, {"shape": sizes, "strides": strides, "offset": draw(st.integers(0, shape[0] - 1 - reach))}


@st.composite
def chains(draw: st.DrawFn, apart: bool = True) -> tuple[tuple[int, ...], list[Step]]:
    first = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 6]), max_size=3)))
    shape, steps = first, []
    for _ in range(draw(st.integers(0, 4))):
        op, params = draw(view_steps(shape, apart))
        steps.append((op, params | ({"shape": tuple(params["shape"])} if "shape" in params else {})))
        shape = op.infer(steps[-1][1], TensorType(dt.float32, shape)).shape  # type: ignore[assignment]
    return first, steps


def graph_of(steps: list[Step], shape: tuple[int, ...], dtype: Any = dt.int32) -> Graph:
    def function(x: Any) -> Any:
        for op, params in steps:
            x = apply(op, x, **params)
        return x

    return trace_function(function, [TensorType(dtype, shape)], "view")[0]


def run(graph: Graph, *arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = GraphCall(graph)([wf.asarray(np.array(a, order="C")) for a in arrays])[0].numpy()
    return result


def numbers(shape: tuple[int, ...], first: int = 0) -> np.ndarray[Any, Any]:
    return np.arange(first, first + int(np.prod(shape)), dtype=np.int32).reshape(shape)


@few(50, 450, chains(apart=False))
def test_views_show_what_numpys_do(drawn: tuple[tuple[int, ...], list[Step]]) -> None:
    shape, steps = drawn
    expected = numbers(shape)
    for step in steps:
        expected = shown_by(step, expected)
    np.testing.assert_array_equal(run(graph_of(steps, shape), numbers(shape)), expected)


@few(50, 450, chains())
def test_put_is_the_inverse_of_a_view(drawn: tuple[tuple[int, ...], list[Step]]) -> None:
    shape, steps = drawn
    view, x = graph_of(steps, shape), numbers(shape)
    put = put_graph(view)
    v = run(view, x)
    np.testing.assert_array_equal(run(put, x, v), x)
    y = numbers(v.shape, 1000)
    written = run(put, x, y)
    np.testing.assert_array_equal(run(view, written), y)
    whole = np.arange(x.size).reshape(shape)  # which elements show
    for step in steps:
        whole = shown_by(step, whole)
    expected = x.copy()
    expected.reshape(-1)[whole.reshape(-1)] = y.reshape(-1)
    np.testing.assert_array_equal(written, expected)


@few(27, 240, chains(apart=False), st.sampled_from(["float32", "float16"]))
def test_gradients_go_where_the_elements_are(drawn: tuple[tuple[int, ...], list[Step]], dtype: str) -> None:
    shape, steps = drawn

    @composite
    def loss(x: Any, weights: Any) -> Any:
        for op, params in steps:
            x = apply(op, x, **params)
        return wf.sum(x * weights)

    whole = np.arange(int(np.prod(shape))).reshape(shape)
    for step in steps:
        whole = shown_by(step, whole)
    weights = (np.arange(whole.size) % 5 - 2).reshape(whole.shape).astype(dtype)
    expected = np.zeros(int(np.prod(shape)), dtype)
    np.add.at(expected, whole.reshape(-1), weights.reshape(-1))
    found = wf.grad(loss)(wf.ones(shape, dtype=dtype), wf.asarray(weights))
    np.testing.assert_array_equal(found.numpy(), expected.reshape(shape))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=4))
def test_overlaps(parts: list[tuple[int, int]]) -> None:
    layout = Layout(tuple(n for n, _ in parts), 0, tuple(s for _, s in parts))
    grid = np.indices(layout.shape).reshape(len(parts), -1) if parts else np.zeros((0, 1), int)
    places = np.asarray(layout.strides, int) @ grid
    assert _overlaps(layout) == (len(np.unique(places)) < places.size)


def test_what_has_no_inverse() -> None:
    twice = graph_of([(BROADCAST_TO, {"shape": (2, 3)})], (3,))
    computed = trace_function(lambda x: (x + 1).reshape(3), [TensorType(dt.int32, (3, 1))], "f")[0]
    windows = graph_of([(UNFOLD, {"axis": 0, "size": 2, "step": 1})], (3,))
    for graph in (twice, computed, windows):
        with pytest.raises(wf.ShapeError):
            put_graph(graph)
    with pytest.raises(wf.ShapeError, match="reaches element 6 of 6"):
        graph_of([(AS_STRIDED, {"shape": (4,), "strides": (2,), "offset": 0})], (6,))
    with pytest.raises(wf.ShapeError):
        trace_function(
            lambda x, y: apply(AS_STRIDED_UPDATE, x, y, shape=(2, 2), strides=(1, 1), offset=0),
            [TensorType(dt.int32, (3,)), TensorType(dt.int32, (2, 2))],
            "f",
        )


def test_put_into_one_of_several_views() -> None:
    split = trace_function(lambda x: wf.split(x, 2), [TensorType(dt.int32, (6, 2))], "split")[0]
    x = numbers((6, 2))
    np.testing.assert_array_equal(run(put_graph(split, 1), x, x[:2]), np.concatenate([x[:2], x[:2], x[4:]]))


# --- public functions against PyTorch's -------------------------------------------------------------------------

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

CALLS: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    *((narrow, args) for args in ((0, 0, 2), (1, 1, 2), (-1, -3, 2), (2, 4, 0), (0, 2, 0), (1, 0, 0))),
    *((narrow, args) for args in ((3, 0, 1), (0, 3, 1), (0, -3, 1), (1, 1, 3), (0, 0, -1), (-4, 0, 0))),
    *((select, args) for args in ((0, 0), (1, -1), (-1, 3), (2, -4), (3, 0), (0, 2), (1, -4))),
    *((unbind, args) for args in ((), (0,), (1,), (-1,), (3,), (-4,))),
    *((unfold, args) for args in ((0, 2, 1), (1, 2, 1), (-1, 3, 2), (2, 1, 3), (1, 0, 1))),
    *((unfold, args) for args in ((3, 1, 1), (0, 3, 1), (0, -1, 1), (0, 1, 0), (0, 1, -1))),
]


@pytest.mark.parametrize(("ours", "args"), CALLS, ids=lambda v: getattr(v, "__name__", str(v)))
@pytest.mark.parametrize("rank", [0, 3])
def test_as_pytorchs(ours: Callable[..., Any], args: tuple[Any, ...], rank: int) -> None:
    torch = pytest.importorskip("torch")
    x = X if rank else np.asarray(3.0, np.float32)
    try:
        expected = getattr(torch.Tensor, ours.__name__)(torch.from_numpy(x), *args)
    except (IndexError, RuntimeError) as error:
        with pytest.raises(type(error)):
            ours(wf.asarray(x), *args)
        return
    found = ours(wf.asarray(x), *args)
    several = isinstance(expected, tuple)
    for a, b in zip(found if several else [found], expected if several else [expected], strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_which_composites_are_views() -> None:
    names = "reshape flatten expand_dims squeeze permute_dims matrix_transpose swapaxes moveaxis broadcast_to unstack"
    for name in (*names.split(), "split", "chunk"):
        assert getattr(wf, name).is_view, name
    assert wf.linalg.diagonal.is_view and not wf.concat.is_view and not clone.is_view


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float64"])
def test_clone(dtype: str) -> None:
    x = wf.asarray(np.asarray([[0, 1], [1, 0]]).astype(dtype))
    assert clone(x).dtype is x.dtype and clone(x).tolist() == x.tolist()
    assert wf.grad(lambda x: wf.sum(clone(x) * x))(wf.asarray([2.0, 3.0])).tolist() == [4.0, 6.0]


@pytest.mark.parametrize("offset", range(-4, 5))
def test_diagonal_keeps_every_bit(offset: int) -> None:
    x = np.asarray([[-0.0, np.nan, 1.0], [np.inf, -0.0, 5e-324]])
    found = wf.linalg.diagonal(wf.asarray(x), offset=offset).numpy()
    assert found.tobytes() == np.diagonal(x, offset).tobytes()


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:][0],
        lambda x: x.mT[2][1:],
        lambda x: wf.expand_dims(x[::2], 0)[0, 1:, 1:3],
        lambda x: wf.swapaxes(x, 0, 1)[1:, 1].reshape(1, 4),
    ],
)
def test_slices_of_slices_are_written_once(view: Callable[[Any], Any]) -> None:
    graph = trace_function(view, [TensorType(dt.int32, (4, 5))], "view")[0]
    put = put_graph(graph)
    assert [n.op.name for n in put.nodes].count("slice_update") == 1 and put.nodes[-1].op.name == "slice_update"
    assert all(n.op.name in ("slice_update", "reshape", "permute") for n in put.nodes)

"""Indexing: every key that NumPy takes reads and writes what NumPy does; gradients; nothing outside the buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import ALL, FLOATS, INTEGERS, check_gradient, same_bits, seeds, values

import weft as wf
from weft.core.errors import AxisError, IndexError_
from weft.nn import functional as F
from weft.ops import indexing
from weft.ops.op import apply, composite

some = settings(max_examples=80)
few = settings(max_examples=30)
dtypes = st.sampled_from(ALL)
shapes = st.lists(st.sampled_from((1, 2, 3, 5, 18)), max_size=4).map(tuple)


@st.composite
def keys(draw: Any, shape: tuple[int, ...], masks: bool = True) -> Any:
    """A key for a tensor of ``shape``: as many entries of each kind as fit."""
    common = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
    entries: list[Any] = []
    axis = 0
    dots = draw(st.booleans())
    while axis < len(shape):
        kind = draw(st.sampled_from(("int", "slice", "array", "list", "mask", "none", "dots", "stop")))
        size = shape[axis]
        bound = st.one_of(st.none(), st.integers(-size - 2, size + 2))
        if kind == "none":
            entries.append(None)
            continue
        if kind == "stop":
            break
        if kind == "dots":
            if not dots:
                continue
            dots = False
            entries.append(Ellipsis)
            axis += draw(st.integers(0, len(shape) - axis))
            continue
        if kind == "mask":
            span = draw(st.integers(1, len(shape) - axis))
            if not masks or common:
                continue
            wanted = np.random.default_rng(draw(seeds)).integers(0, 2, shape[axis : axis + span]).astype(bool)
            if any(isinstance(e, np.ndarray) for e in entries):
                continue
            entries.append(wanted)
            axis += span
            continue
        if kind == "int":
            entries.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            step = draw(st.one_of(st.none(), st.integers(-3, 3).filter(bool)))
            entries.append(slice(draw(bound), draw(bound), step))
        elif any(isinstance(e, np.ndarray) and e.dtype == bool for e in entries):
            continue
        else:
            own = tuple(1 if draw(st.integers(0, 4)) == 0 else n for n in common)
            index = np.random.default_rng(draw(seeds)).integers(-size, size, own)
            entries.append(index.tolist() if kind == "list" and index.ndim else index)
        axis += 1
    return tuple(entries) if len(entries) != 1 or draw(st.booleans()) else entries[0]


def as_weft(key: Any) -> Any:
    """The key with NumPy arrays as tensors."""
    if isinstance(key, tuple):
        return tuple(map(as_weft, key))
    return wf.asarray(key) if isinstance(key, np.ndarray) else key


@some
@given(data=st.data(), dtype=dtypes, shape=shapes, seed=seeds)
def test_getitem(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    key = data.draw(keys(shape))
    same_bits(wf.asarray(x)[as_weft(key)], x[key])
    same_bits(wf.asarray(x)[key], x[key])


@some
@given(data=st.data(), dtype=dtypes, shape=shapes, seed=seeds, spread=st.booleans())
def test_setitem(data: Any, dtype: str, shape: Any, seed: int, spread: bool) -> None:
    x = values(dtype, shape, seed)
    key = data.draw(keys(shape))
    place = x[key].shape
    value = values(dtype, tuple(1 if spread and n % 2 else n for n in place)[spread and len(place) > 1 :], seed + 1)
    expected = x.copy()
    expected[key] = value
    actual = wf.tensor(x)
    shared = actual[...]
    actual[as_weft(key)] = wf.asarray(value)
    same_bits(actual, expected)
    same_bits(shared, expected)
    actual, expected = wf.tensor(x), x.copy()
    expected[key] = 1
    actual[key] = 1
    same_bits(actual, expected)


@few
@given(data=st.data(), shape=shapes, seed=seeds)
def test_compiled_equals_eager_in_bits(data: Any, shape: Any, seed: int) -> None:
    x = wf.asarray(values("float32", shape, seed))
    key = as_weft(data.draw(keys(shape, masks=False)))

    def read_and_write(x: Any) -> Any:
        part = x[key]
        x = x + 0.0
        x[key] = part * 2.0
        return part, x

    for actual, expected in zip(wf.compile(read_and_write)(x), read_and_write(x)):
        same_bits(actual, expected.numpy())


def test_values_take_the_tensors_dtype() -> None:
    for dtype, value in (
        ("float32", np.arange(3)),
        ("float32", np.ones(3)),
        ("int8", np.arange(3)),
        ("int64", np.arange(3, dtype=np.uint64)),
        ("float16", [0.1, 2, 3]),
        ("int32", [True] * 3),
        ("bfloat16", np.ones(3, np.float32)),
    ):
        x = wf.zeros((2, 3), dtype=dtype)
        x[1] = value
        same_bits(x[1], np.asarray(value).astype(x.dtype.numpy))


def test_bools_as_keys() -> None:
    x = np.arange(6).reshape(2, 3)
    for key in (True, False, (True, 1), (slice(None), True), np.asarray(True)):
        same_bits(wf.asarray(x)[key], x[key])


def test_numpy_numbers_as_keys() -> None:
    x = np.arange(6).reshape(2, 3)
    for key in (np.int8(1), (np.int64(0), np.uint8(2)), np.asarray(1), [], [[0, 1], [1, 0]]):
        same_bits(wf.asarray(x)[key], x[key])


@pytest.mark.parametrize("index", [[1, 0, 1], 1])
@pytest.mark.parametrize("kind", [wf.asarray, np.asarray])
def test_bytes_are_no_key_as_they_may_be_a_mask(kind: Any, index: Any) -> None:
    """PyTorch takes them for one, NumPy does not."""
    x, key = wf.arange(3.0), kind(np.asarray(index, np.uint8))
    uses: list[Any] = [lambda: x[key], lambda: x[None, key], lambda: x.__setitem__(key, 0.0)]
    uses += [lambda: wf.compile(lambda a, b: a[b])(x, key), lambda: x.index_put_((wf.asarray(key),), wf.asarray(5.0))]
    for use in uses:
        with pytest.raises(wf.DTypeError, match="a mask to PyTorch and positions to NumPy"):
            use()
    assert x.tolist() == [0.0, 1.0, 2.0]


@few
@given(data=st.data(), dtype=dtypes, shape=shapes.filter(len), seed=seeds)
def test_take(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.sampled_from(((), (1,), (0,), (20,), (2, 3))))
    kind = data.draw(st.sampled_from(("int8", "uint8", "int32", "int64", "uint64")))
    low = 0 if kind.startswith("u") else -shape[axis]
    index = np.random.default_rng(seed).integers(low, shape[axis], count).astype(kind)
    same_bits(wf.take(wf.asarray(x), wf.asarray(index), axis=axis), np.take(x, index.astype(np.int64), axis))
    flat = np.random.default_rng(seed).integers(-x.size, x.size, count)
    same_bits(wf.take(wf.asarray(x), wf.asarray(flat)), np.take(x, flat))


@few
@given(data=st.data(), dtype=dtypes, shape=shapes.filter(len), seed=seeds)
def test_take_along_axis(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    own = list(shape)
    own[axis] = data.draw(st.sampled_from((1, 2, 20)))
    index = np.random.default_rng(seed).integers(-shape[axis], shape[axis], own)
    same_bits(wf.take_along_axis(wf.asarray(x), wf.asarray(index), axis=axis), np.take_along_axis(x, index, axis))


@few
@given(data=st.data(), dtype=st.sampled_from([d for d in ALL if d != "bool"]), shape=shapes.filter(len), seed=seeds)
def test_scatter_add(data: Any, dtype: str, shape: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    index = np.random.default_rng(seed).integers(-shape[axis], shape[axis], data.draw(st.sampled_from((1, 7, 40))))
    x = values(dtype, shape, seed)
    updates = values(dtype, (*shape[:axis], index.size, *shape[axis + 1 :]), seed + 1)
    # The order of additions is the indices'; 16-bit floats are summed in float32.
    wide = np.dtype(np.float32) if dtype in ("float16", "bfloat16") else x.dtype
    expected = np.moveaxis(x.astype(wide), axis, 0).copy()
    np.add.at(expected, index, np.moveaxis(updates.astype(wide), axis, 0))
    expected = np.moveaxis(expected, 0, axis).astype(x.dtype)
    arguments = wf.asarray(x), wf.asarray(index), wf.asarray(updates)
    same_bits(wf.scatter_add(*arguments, axis=axis), expected)
    same_bits(wf.index_add(arguments[0], axis, *arguments[1:]), expected)


@few
@given(dtype=dtypes, shape=shapes.filter(len), seed=seeds)
def test_nonzero(dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed) * np.random.default_rng(seed).integers(0, 2, shape).astype(bool)
    for actual, expected in zip(wf.nonzero(wf.asarray(x)), np.nonzero(x), strict=True):
        same_bits(actual, expected)


# --- gradients --------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).uniform(-1, 1, (3, 4))


def index(*numbers: Any) -> Any:
    return wf.asarray(np.asarray(numbers))


def written(x: Any, key: Any, value: Any) -> Any:
    copied = x * 1.0
    copied[key] = value
    return copied


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "int": lambda x: x[-1],
    "slices": lambda x: x[::-1, 1::2],
    "arrays": lambda x: x[[0, 2, 0], [1, 1, 1]],
    "array and slice": lambda x: x[::-2, [0, 0, 3]],
    "mask": lambda x: x[X > 0],
    "take twice the same": lambda x: wf.take(x, index(1, 1, -1), axis=1),
    "one of each row": lambda x: wf.take_along_axis(x, index([1], [-1], [0]), axis=1),
    "one of each column": lambda x: wf.take_along_axis(x, index([1, 0, 2, -1]), axis=0),
    "several of each row": lambda x: wf.take_along_axis(x, index([1, 1], [-1, 3], [0, 2]), axis=1),
    "write a slice of x": lambda x: written(x, (slice(None), 1), 2.0),
    "write x into a slice": lambda x: written(
        wf.zeros((3, 8), dtype=wf.float64), (slice(None, None, -1), slice(None, None, 2)), x
    ),
    "write rows of x": lambda x: written(x, [0, 0], 5.0),
    "write x, one row over another": lambda x: written(wf.zeros((5, 4), dtype=wf.float64), [1, 3, 1], x),
    "write under a mask": lambda x: written(x, X > 0, x[0, 0]),
    "write some under a mask": lambda x: written(x, X > 0, x[X > 0][::-1]),
    "add x": lambda x: wf.scatter_add(wf.ones((2, 4), dtype=wf.float64), index(1, 0, 1), x),
    "add to x": lambda x: wf.scatter_add(x, index(1, 0, 1), wf.ones((3, 4), dtype=wf.float64)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    check_gradient(FUNCTIONS[name], X)
    check_gradient(wf.grad(lambda x: wf.sum(FUNCTIONS[name](x) ** 3)), X)


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradient_of_one_of_each_row_is_that_of_a_gather_in_bits(dtype: str) -> None:
    x = wf.asarray(values(dtype, (50, 10), 0))
    label = np.random.default_rng(1).integers(-10, 10, 50)
    weight = wf.asarray(values(dtype, (50,), 1))
    fused = wf.grad(lambda x: wf.sum(wf.take_along_axis(x, wf.asarray(label[:, None]), axis=1)[:, 0] * weight))(x)
    general = wf.grad(lambda x: wf.sum(x[np.arange(50), label] * weight))(x)
    same_bits(fused, general.numpy())


def test_gradient_of_repeated_rows_is_rounded_once() -> None:
    x = wf.zeros((2,), dtype=wf.bfloat16)
    gradient = wf.grad(lambda x: wf.sum(wf.astype(x[np.zeros(1001, np.int64)], wf.float32)))(x)
    same_bits(gradient, np.asarray([1001, 0]).astype(wf.bfloat16.numpy))


# --- messages ---------------------------------------------------------------------------------------------------

A = wf.asarray(np.arange(6).reshape(2, 3))


def assign(key: Any, value: Any) -> Any:
    copied = A[...]
    copied[key] = value
    return copied


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: A[2], IndexError_, "index 2 is out of range for axis 0 of size 2"),
    (lambda: A[0, -4], IndexError_, "index -4 is out of range for axis 1 of size 3"),
    (lambda: A[0, 0, 0], IndexError_, r"3 indices for a tensor of shape \(2, 3\), which has 2 axes"),
    (lambda: wf.asarray(1)[0], IndexError_, r"1 indices for a tensor of shape \(\)"),
    (lambda: A[..., ...], IndexError_, "only one Ellipsis"),
    (lambda: A[::0], IndexError_, "a slice has no step of 0"),
    (lambda: A[1.5:], IndexError_, "the bounds of a slice are integers or None"),
    (lambda: A[1.0], wf.DTypeError, "1.0 is not an index"),
    (lambda: A["a"], wf.DTypeError, "'a' is not an index"),
    (lambda: A[wf.asarray([0.5])], wf.DTypeError, "an index of dtype float32; indices are integers or bools"),
    (lambda: A[np.zeros((2, 2), bool)], IndexError_, r"a mask of shape \(2, 2\) for axes of sizes \(2, 3\)"),
    (lambda: A[[0, 1], [0, 1, 2]], wf.ShapeError, "getitem: shapes .* do not broadcast"),
    (lambda: wf.take(A, wf.asarray([1.0]), axis=0), wf.DTypeError, "take: indices are float32; they must be integers"),
    (lambda: wf.take(A, wf.asarray([0]), axis=2), AxisError, "take: axis 2 is out of range"),
    (lambda: wf.take_along_axis(A, wf.asarray([0]), axis=0), wf.ShapeError, "take_along_axis: .* the ranks differ"),
    (lambda: wf.take_along_axis(A, wf.asarray([[0]] * 3), axis=1), wf.ShapeError, "take_along_axis: "),
    (lambda: wf.scatter_add(A, wf.asarray([0]), wf.zeros((2, 2), dtype=wf.int64)), wf.ShapeError, "broadcast_to: "),
    (
        lambda: wf.scatter_add(A, wf.asarray([0]), wf.zeros(3)),
        wf.DTypeError,
        "scatter_add: float32 values into a tensor of int64; cast them first",
    ),
    (lambda: assign(0, wf.zeros(3)), wf.DTypeError, "setitem: float32 values into a tensor of int64"),
    (lambda: assign(0, 1.5), wf.DTypeError, "setitem: 1.5 into a tensor of int64; cast the tensor first"),
    (lambda: assign(0, 2**63), wf.DTypeError, "setitem: 9223372036854775808 does not fit in int64"),
    (lambda: assign(0, [1, 2]), wf.ShapeError, r"setitem: a value of shape \(2,\) for a place of shape \(3,\)"),
    (lambda: assign([0, 1], [[1], [2], [3]]), wf.ShapeError, "setitem: a value of shape .* for a place of shape"),
    (lambda: assign(5, 1), IndexError_, "index 5 is out of range for axis 0 of size 2"),
    (lambda: assign(np.zeros(3, bool), 1), IndexError_, r"a mask of shape \(3,\)"),
    (lambda: wf.nonzero(wf.asarray(1)), wf.ShapeError, "nonzero: a tensor of rank 0"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_messages(case: int) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_indexing.py" in str(caught.value)


FAR: list[Callable[[Any, Any], Any]] = [
    lambda x, i: x[i],
    lambda x, i: wf.take(x, i, axis=0),
    lambda x, i: wf.take_along_axis(x, i[:, None], axis=0),
    lambda x, i: wf.scatter_add(x, i, wf.ones((1, 3), dtype=wf.int64)),
    lambda x, i: written(wf.astype(x, wf.float32), i, 1.0),
]


@pytest.mark.parametrize("function", FAR)
@pytest.mark.parametrize("far", [2, -3, 2**62, -(2**62)])
def test_out_of_range_in_tensors(function: Callable[[Any, Any], Any], far: int) -> None:
    index = wf.asarray([far])
    with pytest.raises(IndexError_, match=f"index {far} is out of range for axis 0 of size 2"):
        function(A, index)
    with pytest.raises(IndexError_, match="out of range"):
        wf.compile(function)(A, index)


TABLE = wf.ones((2, 3))
BY_INDEX: dict[str, Callable[[Any], Any]] = {
    "getitem": lambda i: A[i],
    "getitem of two": lambda i: A[i, [0]],
    "setitem": lambda i: written(TABLE, i, 1.0),
    "take": lambda i: wf.take(A, i, axis=0),
    "take of the flattened": lambda i: wf.take(TABLE[0, :2], i),
    "take_along_axis": lambda i: wf.take_along_axis(A, i[:, None], axis=0),
    "gather": lambda i: A.gather(0, i[:, None]),
    "gather of a part": lambda i: TABLE.gather(0, wf.concat([i, i])[:, None]),
    "scatter_add": lambda i: wf.scatter_add(A, i, wf.ones((1, 3), dtype=wf.int64)),
    "index_add": lambda i: wf.index_add(TABLE, 0, i, wf.ones((1, 3))),
    "embedding": lambda i: F.embedding(i, TABLE),
    "embedding with padding": lambda i: F.embedding(i, TABLE, padding_idx=-1),
    "one_hot": lambda i: F.one_hot(i, 2),
    "cross_entropy": lambda i: F.cross_entropy(TABLE[:1, :2], i),
    "nll_loss": lambda i: F.nll_loss(TABLE[:1, :2], i),
    "nll_loss that ignores -1": lambda i: F.nll_loss(TABLE[:1, :2], i, ignore_index=-1),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for d in INTEGERS for n in BY_INDEX if not ("item" in n and d == "uint8")]
)
def test_an_index_means_the_same_number_in_every_dtype(name: str, dtype: str) -> None:
    """Most of all those of uint64 that int64 would take for negative ones."""
    function, info = BY_INDEX[name], np.iinfo(dtype)
    same_bits(function(wf.asarray(np.array([1], dtype))), function(wf.asarray([1])).numpy())
    for far in {int(info.max), int(info.max) - 1, 1 << info.bits - 1, 2}:
        if far > info.max:
            continue
        index = wf.asarray(np.array([far], dtype))
        shown = f"index ({far}|{2**63 - 1}) is out of range"  # the latter where the op has repeated it
        with pytest.raises(IndexError_, match=shown + " for axis [01] of size 2"):
            function(index)
        with pytest.raises(IndexError_, match=shown):
            wf.compile(function)(index)


@pytest.mark.parametrize("far", [2**63, 2**64 - 1, 2**64, -(2**63) - 1, 2**100, -(2**100)])
@pytest.mark.parametrize("wrapped", [lambda n: n, lambda n: [n], lambda n: [0, n], lambda n: [[-1], [n]]])
def test_python_integers_of_any_size_are_indices_out_of_range(far: int, wrapped: Callable[[int], Any]) -> None:
    with pytest.raises(IndexError_, match=f"index {far} is out of range"):
        A[wrapped(far)]
    with pytest.raises(IndexError_, match=f"index {far} is out of range"):
        assign(wrapped(far), 1)
    assert A[far:].shape == ((0, 3) if far > 0 else (2, 3))


@pytest.mark.parametrize("padding", [2, -3, 2**64])
def test_a_padding_row_that_is_not_there(padding: int) -> None:
    with pytest.raises(IndexError_, match=f"embedding: padding_idx {padding} is out of range for a table of 2 rows"):
        F.embedding(wf.asarray([0]), TABLE, padding)


MASKED: list[Callable[[Any], Any]] = [lambda x: x[x > 1], lambda x: wf.nonzero(x), lambda x: x[A > 1]]


@pytest.mark.parametrize("function", MASKED)
def test_shapes_that_depend_on_values_are_captured_to_run(function: Callable[[Any], Any]) -> None:
    found, expected = wf.compile(function)(A), function(A)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for a, b in pairs:
        same_bits(a, b.numpy())
    with pytest.raises(wf.CaptureError, match="the shape of the result depends on the values"):
        wf.eval_shape(function, A)


def test_masks_of_the_whole_shape_are_written_in_captures() -> None:
    def clipped(x: Any) -> Any:
        x = x + 0
        x[x > 2] = 2
        return x

    same_bits(wf.compile(clipped)(A), np.minimum(A.numpy(), 2))


@composite(public=False)
def greatest_at(x: Any, indices: Any, updates: Any) -> Any:
    """What lies at the indices, or the updates where they are greater."""
    return apply(indexing.SCATTER_MAX, x, indices, updates)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "uint64"])
def test_the_greatest_is_written(dtype: str) -> None:
    x, index = wf.asarray([[1, 9], [2, 2], [3, 3]]).astype(dtype), wf.asarray([2, 0, 2, -2])
    updates = wf.asarray([[4, 1], [1, 10], [3, 5], [7, 0]]).astype(dtype)
    got = greatest_at(x, index, updates)
    assert got.dtype.name == dtype and got.tolist() == [[1, 10], [7, 2], [4, 5]]
    assert wf.compile(greatest_at)(x, index, updates).tolist() == got.tolist()
    with pytest.raises(IndexError):
        greatest_at(x, wf.asarray([0, 1, 3, 0]), updates)


def test_the_greatest_have_the_gradient() -> None:
    """Alike where there are several; a NaN stays, whatever comes."""
    rng, index = np.random.default_rng(3), wf.asarray([2, 0, 2, 2, 1, 1])
    check_gradient(lambda x, u: greatest_at(x, index, u), rng.normal(size=(4, 3)), rng.normal(size=(6, 3)))
    x, u = wf.asarray([1.0, 5.0]).requires_grad_(), wf.asarray([5.0, 1.0, 5.0, 2.0]).requires_grad_()
    greatest_at(x, wf.asarray([1, 0, 1, 0]), u).backward(wf.asarray([1.0, 3.0]))
    assert x.grad.tolist() == [0.0, 1.0] and u.grad.tolist() == [1.0, 0.0, 1.0, 1.0]
    nan = greatest_at(wf.asarray([0.0]), wf.asarray([0, 0, 0]), wf.asarray([1.0, float("nan"), 2.0]))
    assert nan.isnan().all()


def put_at(*key: Any) -> Callable[[Any, Any, Any], None]:
    """Values written at a key, in which ``i`` stands for the indices."""

    def write(x: Any, i: Any, v: Any) -> None:
        x[tuple(i if isinstance(k, str) else k for k in key)] = v

    return write


# Writes by index arrays into x (6, 5, 4, 3): ours, NumPy's, and the axes of the indices in x.
WRITES: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[int, ...]]] = {
    "first": (*(put_at("i"),) * 2, (0,)),
    "in the middle": (*(put_at(slice(None), "i"),) * 2, (1,)),
    "last": (*(put_at(..., "i"),) * 2, (3,)),
    "two axes": (*(put_at(slice(None), "i", "i"),) * 2, (1, 2)),
    "a part of others": (*(put_at(slice(1, None), slice(None), "i", slice(2)),) * 2, (2,)),
    "copied": (lambda x, i, v: x.index_copy_(2, i, v), put_at(slice(None), slice(None), "i"), (2,)),
    "added": (
        lambda x, i, v: x.index_add_(2, i, v),
        lambda x, i, v: np.add.at(x, (slice(None), slice(None), i), v),
        (2,),
    ),
}


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_what_is_written_by_indices_is_written_in_order(name: str, dtype: str, count: int) -> None:
    ours, numpys, axes = WRITES[name]
    if name == "added" and dtype in ("bool", "bfloat16"):
        pytest.skip("NumPy adds no bools; sums of bfloat16 are rounded once")
    rng = np.random.default_rng(3)
    x = wf.asarray(rng.integers(-9, 9, size=(6, 5, 4, 3))).astype(dtype)
    i = rng.integers(-3, 3, size=count)  # some several times
    if name in ("copied", "added"):
        i = i % 3
    wanted = x.astype("float32").numpy() if dtype == "bfloat16" else x.numpy().copy()
    place = np.zeros(wanted.shape)
    v = rng.integers(-9, 9, size=numpy_part(place, axes, i, name).shape)
    values = wf.asarray(v).astype(dtype)
    numpys(wanted, i, values.astype("float32").numpy() if dtype == "bfloat16" else values.numpy())
    compiled = wf.compile(lambda x, i, v: (ours(x, i, v), x)[1])
    for run in (lambda x: (ours(x, wf.asarray(i), values), x)[1], lambda x: compiled(x, wf.asarray(i), values)):
        for target in (x.clone(), x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)):
            assert run(target).astype("float32").numpy().tolist() == wanted.astype("float32").tolist()


def numpy_part(x: Any, axes: tuple[int, ...], i: Any, name: str) -> Any:
    x = x[1:, :, :, :2] if name == "a part of others" else x
    return x[(slice(None),) * axes[0] + (i,) * len(axes)]


@pytest.mark.parametrize("name", ["in the middle", "last", "two axes", "copied", "added"])
def test_gradients_of_writes_by_indices(name: str) -> None:
    ours, _, axes = WRITES[name]
    i = np.asarray([2, 0, 2])
    x = wf.asarray(RNG_OF_WRITES.normal(size=(2, 3, 3, 3))).requires_grad_()
    v = wf.asarray(RNG_OF_WRITES.normal(size=numpy_part(x.detach().numpy(), axes, i, name).shape)).requires_grad_()
    factors = wf.asarray(RNG_OF_WRITES.normal(size=(2, 3, 3, 3)))

    def loss(x: Any, v: Any) -> Any:
        y = x * 1.0
        ours(y, wf.asarray(i), v)
        return (y * y * factors).sum()

    found = [g.numpy() for g in wf.grad(loss, (0, 1))(x, v)]
    compiled = [g.numpy() for g in wf.compile(wf.grad(loss, (0, 1)))(x, v)]
    for operand, gradient, same in zip((x, v), found, compiled, strict=True):
        assert gradient.tobytes() == same.tobytes()
        for at in list(np.ndindex(operand.shape))[::5]:
            values = []
            for h in (1e-6, -1e-6):
                moved = operand.detach().clone()
                moved[at] += h
                values.append((loss(moved, v) if operand is x else loss(x, moved)).item())
            np.testing.assert_allclose(gradient[at], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-6)


RNG_OF_WRITES = np.random.default_rng(5)


@pytest.mark.parametrize("name", ["first", "in the middle", "last", "two axes", "copied", "added"])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_few_elements_are_written_where_they_lie(name: str, compiled: bool) -> None:
    ours, _, axes = WRITES[name]
    x, i = wf.zeros((40, 5, 4, 300)), wf.asarray([1])
    v = wf.ones(numpy_part(np.zeros(x.shape), axes, np.asarray([1]), name).shape)
    run = wf.compile(lambda x, i, v: ours(x, i, v)) if compiled else ours
    run(x, i, v)
    wf.memory.reset_peak()
    before = wf.memory.stats().current
    run(x, i, v)
    assert wf.memory.stats().peak - before < x.nbytes / 2

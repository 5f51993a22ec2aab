"""Arrays made of nothing: NumPy's values, default dtypes, constants that keep their bits, messages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import ALL, FLOATS, INTEGERS, SPECIALS, numpy_dtype, same_bits, shapes

import weft as wf
from weft.core.symbolic import SymDim
from weft.graph.protocol import TensorType
from weft.ops.creation import as_shape, tri_mask
from weft.ops.op import trace_function

few = settings(max_examples=30)


@few
@given(shape=shapes, dtype=st.sampled_from(ALL))
def test_zeros_ones_full(shape: Any, dtype: str) -> None:
    kind = numpy_dtype(dtype)
    same_bits(wf.zeros(shape, dtype=dtype), np.zeros(shape, kind))
    same_bits(wf.empty(shape, dtype=dtype), np.zeros(shape, kind))
    same_bits(wf.ones(list(shape), dtype=dtype), np.ones(shape, kind))
    same_bits(wf.full(shape, 1, dtype=dtype), np.ones(shape, kind))
    like = wf.zeros(shape, dtype=dtype)
    same_bits(wf.zeros_like(like), np.zeros(shape, kind))
    same_bits(wf.empty_like(like), np.zeros(shape, kind))
    same_bits(wf.ones_like(like), np.ones(shape, kind))
    same_bits(wf.full_like(like, True), np.ones(shape, kind))
    same_bits(wf.ones_like(like, dtype=wf.int16), np.ones(shape, np.int16))


def test_default_dtypes() -> None:
    assert wf.zeros(2).dtype is wf.ones(2).dtype is wf.empty(2).dtype is wf.float32
    assert wf.full(2, True).dtype is wf.bool
    assert wf.full(2, 1).dtype is wf.int64
    assert wf.full(2, 1.0).dtype is wf.float32
    assert wf.arange(3).dtype is wf.int64
    assert wf.arange(3.0).dtype is wf.arange(0, 3, 0.5).dtype is wf.float32
    assert wf.linspace(0, 1, 3).dtype is wf.eye(2).dtype is wf.float32


def test_shapes_that_look_alike_are_not_mixed_up() -> None:
    for _ in range(2):
        for shape in ((), (0,), (1,), [], [0], [1], 0, 1, (1, 0), (0, 1)):
            same_bits(wf.zeros(shape), np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", SPECIALS)
def test_constants_keep_their_bits(dtype: str, value: float) -> None:
    with np.errstate(over="ignore"):
        expected = np.full((3,), value, numpy_dtype(dtype))
    if np.isinf(expected).any() and not math.isinf(value):  # as in PyTorch
        with pytest.raises(wf.DTypeError, match=f"full: .* does not fit in {dtype}"):
            wf.full((3,), value, dtype=dtype)
    else:
        same_bits(wf.full((3,), value, dtype=dtype), expected)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_ends_of_integer_dtypes(dtype: str) -> None:
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        same_bits(wf.full((2,), int(value), dtype=dtype), np.full((2,), value, dtype))
        with pytest.raises(wf.DTypeError, match=f"full: .* does not fit in {dtype}"):
            wf.full((2,), int(value) + (1 if value == info.max else -1), dtype=dtype)


def test_zeros_of_both_signs_stay_apart_in_one_graph() -> None:
    @wf.compile
    def both() -> Any:
        return wf.full((2,), 0.0), wf.full((2,), -0.0)

    plus, minus = both()
    same_bits(plus, np.zeros(2, np.float32))
    same_bits(minus, -np.zeros(2, np.float32))
    assert math.copysign(1, wf.full((), -0.0).item()) == -1
    assert math.copysign(1, wf.full((), 0.0).item()) == 1


@few
@given(
    start=st.integers(-50, 50),
    stop=st.integers(-50, 50),
    step=st.integers(-7, 7).filter(bool),
    dtype=st.sampled_from(("int8", "int16", "int32", "int64", "float32", "float64")),
)
def test_arange_of_integers(start: int, stop: int, step: int, dtype: str) -> None:
    same_bits(wf.arange(start, stop, step, dtype=dtype), np.arange(start, stop, step).astype(dtype))
    same_bits(wf.arange(stop), np.arange(stop))


@few
@given(start=st.floats(-9, 9), stop=st.floats(-9, 9), step=st.floats(0.1, 3), dtype=st.sampled_from(FLOATS))
def test_arange_of_floats(start: float, stop: float, step: float, dtype: str) -> None:
    count = max(0, math.ceil((stop - start) / step))
    expected = np.arange(count).astype(np.float64) * step + start
    same_bits(wf.arange(start, stop, step, dtype=dtype), expected.astype(numpy_dtype(dtype)))


@pytest.mark.parametrize(
    "count",
    [
        lambda n: wf.arange(n - 1, -1, -1.0),
        lambda n: wf.arange(0, n, 2.0, dtype=wf.float16),
        lambda n: wf.arange(-0.0, -n, -1.0),
        lambda n: wf.arange(0, n, 0.3),
        lambda n: wf.arange(n, 1e301, 1e300),
        lambda n: wf.arange(n * 0.5),
    ],
)
def test_arange_of_sizes_and_floats(count: Any) -> None:
    """Positions of attention count down in floats: ``arange(n - 1, -1, -1.0)``, of a size that captured code learns
    from the second shape on, or that values decide about."""
    shaped, decided = wf.compile(lambda x: count(x.shape[0])), wf.compile(lambda x: count(wf.nonzero(x)[0].shape[0]))
    for n in (3, 5, 8, 1):
        same_bits(shaped(wf.ones(n)), count(n).numpy())
        same_bits(decided(wf.ones(n)), count(n).numpy())


@few
@given(
    start=st.floats(-9, 9),
    stop=st.floats(-9, 9),
    count=st.sampled_from((0, 1, 2, 3, 50)),
    endpoint=st.booleans(),
    dtype=st.sampled_from(FLOATS),
)
def test_linspace(start: float, stop: float, count: int, endpoint: bool, dtype: str) -> None:
    expected = np.linspace(start, stop, count, endpoint=endpoint)
    actual = wf.linspace(start, stop, count, endpoint=endpoint, dtype=dtype).numpy()
    assert actual.dtype == numpy_dtype(dtype) and actual.shape == (count,)
    np.testing.assert_allclose(
        actual.astype(np.float64), expected.astype(actual.dtype).astype(np.float64), rtol=1e-15, atol=1e-15
    )
    if endpoint and count > 1:
        same_bits(actual[-1], expected[-1:].astype(actual.dtype)[0])


@few
@given(
    rows=st.integers(0, 20),
    columns=st.one_of(st.none(), st.integers(0, 20)),
    k=st.integers(-9, 9),
    dtype=st.sampled_from(ALL),
)
def test_eye_and_mask(rows: int, columns: int | None, k: int, dtype: str) -> None:
    same_bits(wf.eye(rows, columns, k=k, dtype=dtype), np.eye(rows, columns, k).astype(numpy_dtype(dtype)))
    wide = rows if columns is None else columns
    same_bits(tri_mask(rows, wide, k), np.tri(rows, wide, k, dtype=bool))


@few
@given(sizes=st.lists(st.integers(0, 5), max_size=4), indexing=st.sampled_from(("xy", "ij")))
def test_meshgrid(sizes: list[int], indexing: Any) -> None:
    vectors = [np.arange(n) * 10 + i for i, n in enumerate(sizes)]
    expected = np.meshgrid(*vectors, indexing=indexing)
    for a, e in zip(wf.meshgrid(*map(wf.asarray, vectors), indexing=indexing), expected, strict=True):
        same_bits(a, e)


def test_symbolic_sizes() -> None:
    n = SymDim.named("n")
    assert as_shape((n, 2), "x") == (n, 2)
    made: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = [
        (lambda x: wf.zeros(x.shape), (n, 4)),
        (lambda x: wf.full_like(x, 2), (n, 4)),
        (lambda x: wf.arange(x.shape[0]), (n,)),
        (lambda x: wf.arange(1, x.shape[0] + 1), (n,)),
        (lambda x: wf.eye(x.shape[0], 3), (n, 3)),
    ]
    for function, shape in made:
        graph, _ = trace_function(function, [TensorType(wf.float32, (n, 4))], "symbolic")
        assert graph.outputs[0].shape == shape


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_compiled_equals_eager_in_bits(dtype: str) -> None:
    def made(x: Any) -> Any:
        return (
            x + wf.arange(7, dtype=dtype),
            x * wf.full((7,), 3, dtype=dtype),
            wf.linspace(0, 1, 7) + 1,
            wf.eye(7, dtype=dtype) + x,
        )

    x = wf.asarray(np.arange(7).astype(dtype))
    for actual, expected in zip(wf.compile(made)(x), made(x)):
        same_bits(actual, expected.numpy())


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: wf.zeros((2, -1)), wf.ShapeError, r"zeros: size -1 in shape \(2, -1\) is negative"),
    (lambda: wf.ones(1.5), wf.ShapeError, "ones: 1.5 is not a size; sizes are integers"),
    (lambda: wf.full((2,), 300, dtype=wf.uint8), wf.DTypeError, "full: 300 does not fit in uint8"),
    (lambda: wf.full((2,), -1, dtype=wf.uint64), wf.DTypeError, "full: -1 does not fit in uint64"),
    (lambda: wf.full((2,), 1.5, dtype=wf.int32), wf.DTypeError, "full: 1.5 is not a value of int32"),
    (lambda: wf.full((2,), math.nan, dtype=wf.int32), wf.DTypeError, "full: nan is not a value of int32"),
    (lambda: wf.full((2,), "a"), wf.DTypeError, "full: fill_value is 'a'; it must be a number"),
    (lambda: wf.zeros(2, dtype="float31"), wf.DTypeError, "float31"),
    (lambda: wf.arange(0, 5, 0), wf.ShapeError, "arange: step is 0"),
    (lambda: wf.arange(5, dtype=wf.bool), wf.DTypeError, "arange: bool has no ranges"),
    (lambda: wf.linspace(0, 1, -2), wf.ShapeError, "linspace: size -2"),
    (lambda: wf.eye(-1), wf.ShapeError, "eye: size -1"),
    (lambda: wf.meshgrid(wf.zeros((2, 2))), wf.ShapeError, r"meshgrid: \(2, 2\) is not the shape of a vector"),
    (lambda: wf.meshgrid(wf.zeros(2), wf.arange(2)), wf.DTypeError, "meshgrid: dtypes float32 and int64 differ"),
    (lambda: wf.meshgrid(wf.zeros(2), indexing="yx"), wf.ArgumentError, "meshgrid: indexing is 'xy' or 'ij', not 'yx'"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_messages(case: int) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_creation.py" in str(caught.value)

"""Shapes and axes: NumPy's values for every dtype, gradients, symbolic sizes, and messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import (
    ALL,
    N,
    broadcast_pairs,
    check_both_gradients,
    check_compiled,
    check_symbolic,
    same_bits,
    seeds,
    shapes,
    values,
)

import weft as wf
from weft.core.errors import AxisError

few = settings(max_examples=30)
dtypes = st.sampled_from(ALL)
ranked = shapes.filter(len)


def random_shape_of(size: int, data: Any) -> tuple[int, ...]:
    """A factorisation of ``size``, with ones strewn in."""
    shape = []
    while size > 1:
        factor = data.draw(st.sampled_from([f for f in range(2, size + 1) if size % f == 0]))
        shape.append(factor)
        size //= factor
    for _ in range(data.draw(st.integers(0, 2))):
        shape.insert(data.draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


@few
@given(data=st.data(), dtype=dtypes, shape=shapes, seed=seeds)
def test_reshape_of_permuted(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    axes = data.draw(st.permutations(range(len(shape))))
    new = random_shape_of(x.size, data) if x.size else (*shape, 3)
    if new and x.size:
        new = list(new)
        new[data.draw(st.integers(0, len(new) - 1))] = -1
    moved = wf.permute_dims(wf.asarray(x), tuple(axes))
    same_bits(moved, x.transpose(axes))
    same_bits(wf.reshape(moved, tuple(new)), x.transpose(axes).reshape(new))


@few
@given(pair=broadcast_pairs(), dtype=dtypes, seed=seeds)
def test_broadcast(pair: Any, dtype: str, seed: int) -> None:
    a, b = values(dtype, pair[0], seed), values(dtype, pair[1], seed + 1)
    for actual, expected in zip(wf.broadcast_arrays(wf.asarray(a), wf.asarray(b)), np.broadcast_arrays(a, b)):
        same_bits(actual, expected)


@few
@given(data=st.data(), dtype=dtypes, shape=ranked, seed=seeds)
def test_flip(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    axes = tuple(data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1)))
    same_bits(wf.flip(wf.asarray(x), axis=axes), np.flip(x, axes))


@few
@given(
    data=st.data(),
    dtype=dtypes,
    shape=st.lists(st.sampled_from((0, 1, 3, 18)), min_size=2, max_size=3),
    k=st.integers(-4, 4),
    seed=seeds,
)
def test_triangles(data: Any, dtype: str, shape: Any, k: int, seed: int) -> None:
    x = values(dtype, shape, seed)
    same_bits(wf.tril(wf.asarray(x), k=k), np.tril(x, k))
    same_bits(wf.triu(wf.asarray(x), k=k), np.triu(x, k))


@few
@given(data=st.data(), shape=shapes, seed=seeds)
def test_axes(data: Any, shape: Any, seed: int) -> None:
    x, rank = values("int16", shape, seed), len(shape)
    axis = data.draw(st.integers(-rank - 1, rank))
    wide = np.expand_dims(x, axis)
    same_bits(wf.expand_dims(wf.asarray(x), axis), wide)
    same_bits(wf.squeeze(wf.asarray(wide), axis), x)
    same_bits(wf.squeeze(wf.asarray(wide)), np.squeeze(wide))
    if rank:
        i, j = data.draw(st.tuples(*[st.integers(-rank, rank - 1)] * 2))
        same_bits(wf.swapaxes(wf.asarray(x), i, j), np.swapaxes(x, i, j))
        same_bits(wf.moveaxis(wf.asarray(x), i, j), np.moveaxis(x, i, j))
        first, last = sorted((i % rank, j % rank))
        flat = (*shape[:first], int(np.prod(shape[first : last + 1])), *shape[last + 1 :])
        same_bits(wf.flatten(wf.asarray(x), first, last), x.reshape(flat))
    else:
        same_bits(wf.flatten(wf.asarray(x)), x.reshape(1))


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda x: wf.reshape(x, (2, 6)),
    "reshape of transposed": lambda x: wf.reshape(wf.matrix_transpose(x), (2, -1)),
    "broadcast_to": lambda x: wf.broadcast_to(x, (2, 3, 4)),
    "broadcast one": lambda x: wf.broadcast_to(wf.expand_dims(x, 1), (3, 5, 4)),
    "flip": lambda x: wf.flip(x, axis=1),
    "slice": lambda x: x[::-2, 1:3],
    "tril": lambda x: wf.tril(x, k=-1),
    "triu": wf.triu,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    check_both_gradients(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_equals_eager_in_bits(name: str) -> None:
    check_compiled(FUNCTIONS[name])


SYMBOLIC: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = [
    (lambda x: wf.reshape(x, (-1, 2)), (N * 2, 2)),
    (lambda x: wf.reshape(x, (2, -1)), (2, N * 2)),
    (lambda x: wf.flatten(x), (N * 4,)),
    (lambda x: wf.expand_dims(x, 0), (1, N, 4)),
    (lambda x: wf.matrix_transpose(x), (4, N)),
    (lambda x: wf.broadcast_to(wf.expand_dims(x, 1), (N, 3, 4)), (N, 3, 4)),
    (lambda x: wf.flip(x), (N, 4)),
    (lambda x: wf.tril(x), (N, 4)),
    (lambda x: x[1:, -1], (N + -1,)),
    (lambda x: x[-1], (4,)),
    (lambda x: x[:, ::2], (N, 2)),
    (lambda x: wf.squeeze(wf.expand_dims(x, 1), 1), (N, 4)),
]


@pytest.mark.parametrize(("function", "shape"), SYMBOLIC)
def test_symbolic_sizes(function: Callable[[Any], Any], shape: tuple[Any, ...]) -> None:
    check_symbolic(function, shape)


A = wf.zeros((2, 3))

BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: wf.reshape(A, (4, 2)), wf.ShapeError, r"reshape: \(2, 3\) has 6 elements, \(4, 2\) has 8"),
    (lambda: wf.reshape(A, (4, -1)), wf.ShapeError, r"reshape: \(2, 3\) to \(4, -1\): 6 elements do not divide"),
    (lambda: wf.reshape(A, (-1, -1)), wf.ShapeError, "reshape: .* only one size can be -1"),
    (lambda: wf.reshape(A, (2, 1.5)), wf.ShapeError, "reshape: 1.5 is not a size"),
    (lambda: wf.reshape(A, (-2, 3)), wf.ShapeError, "reshape: size -2 in shape"),
    (lambda: wf.permute_dims(A, (0, 0)), AxisError, r"permute_dims: \(0, 0\) does not name each axis of \(2, 3\) once"),
    (lambda: wf.permute_dims(A, (0, 2)), AxisError, "permute_dims: axis 2 is out of range for a tensor of rank 2"),
    (lambda: wf.matrix_transpose(wf.zeros(3)), wf.ShapeError, r"matrix_transpose: \(3,\) has fewer than two axes"),
    (lambda: wf.moveaxis(A, (0, 1), (0,)), AxisError, "moveaxis: from .* is not one place for each axis"),
    (lambda: wf.broadcast_to(A, (3, 3)), wf.ShapeError, r"broadcast_to: \(2, 3\) does not broadcast to \(3, 3\)"),
    (lambda: wf.broadcast_arrays(A, wf.zeros(2)), wf.ShapeError, "broadcast_arrays: .* do not broadcast"),
    (lambda: wf.squeeze(A, 0), wf.ShapeError, r"squeeze: axis 0 of \(2, 3\) has size 2, not 1"),
    (lambda: wf.expand_dims(A, 4), AxisError, "expand_dims: axis 4 is out of range"),
    (lambda: wf.flatten(A, 1, 0), AxisError, "flatten: axis 1 comes after axis 0"),
    (lambda: wf.tril(wf.zeros(3)), wf.ShapeError, "tril: .* fewer than two axes"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_messages(case: int) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_shape.py" in str(caught.value)
    with pytest.raises(error, match=message):
        wf.compile(call)()

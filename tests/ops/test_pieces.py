"""Joining, repeating, splitting: NumPy's values for every dtype, gradients, symbolic sizes, and messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from op_cases import ALL, N, check_both_gradients, check_compiled, check_symbolic, same_bits, seeds, shapes, values

import weft as wf
from weft.core.errors import AxisError

few = settings(max_examples=30)
dtypes = st.sampled_from(ALL)
ranked = shapes.filter(len)


@few
@given(data=st.data(), shape=ranked, seed=seeds, kinds=st.lists(dtypes, min_size=1, max_size=4))
def test_concat_and_stack(data: Any, shape: Any, seed: int, kinds: list[str]) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    if {"uint64"} < set(kinds) and any(k.startswith("int") for k in kinds):
        kinds = ["uint64"]
    parts = []
    for number, kind in enumerate(kinds):
        own = list(shape)
        own[axis] = data.draw(st.integers(0, 5))
        parts.append(values(kind, own, seed + number))
    result = wf.concat([wf.asarray(p) for p in parts], axis=axis)
    with np.errstate(over="ignore"):
        joined = [p.astype(result.dtype.numpy) for p in parts]
    same_bits(result, np.concatenate(joined, axis))
    same_bits(wf.concat([wf.asarray(p) for p in parts], axis=None), np.concatenate([p.ravel() for p in joined]))
    same_bits(wf.stack([wf.asarray(parts[0])] * 3, axis=axis), np.stack([parts[0]] * 3, axis))


def test_many_parts() -> None:
    parts = [np.full((2, n % 3), n) for n in range(300)]
    same_bits(wf.concat([wf.asarray(p) for p in parts], axis=1), np.concatenate(parts, 1))


def test_the_same_part_twice() -> None:
    x = np.arange(6).reshape(2, 3)
    y = wf.asarray(x)
    same_bits(wf.concat([y, y, y], axis=1), np.concatenate([x, x, x], 1))


@few
@given(data=st.data(), dtype=dtypes, shape=shapes, seed=seeds)
def test_pad(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    widths = [data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in shape]
    same_bits(wf.pad(wf.asarray(x), tuple(widths), value=1), np.pad(x, widths, constant_values=1) if shape else x)


def test_pad_takes_away() -> None:
    x = np.arange(12).reshape(3, 4)
    same_bits(
        wf.pad(wf.asarray(x), ((-1, 2), (1, -2)), value=7), np.pad(x[1:, :2], ((0, 2), (1, 0)), constant_values=7)
    )


@few
@given(data=st.data(), dtype=dtypes, shape=ranked, seed=seeds)
def test_roll(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    axes = tuple(data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1)))
    shifts = tuple(data.draw(st.integers(-20, 20)) for _ in axes)
    same_bits(wf.roll(wf.asarray(x), shifts, axis=axes), np.roll(x, shifts, axes))
    same_bits(wf.roll(wf.asarray(x), shifts[0]), np.roll(x, shifts[0]))


@few
@given(data=st.data(), dtype=dtypes, shape=shapes, seed=seeds)
def test_tile_and_repeat(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, shape, seed)
    times = tuple(data.draw(st.lists(st.integers(0, 3), max_size=4)))
    same_bits(wf.tile(wf.asarray(x), times), np.tile(x, times))
    same_bits(wf.repeat(wf.asarray(x), 3), np.repeat(x, 3))
    if shape:
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        same_bits(wf.repeat(wf.asarray(x), 2, axis=axis), np.repeat(x, 2, axis))


@few
@given(data=st.data(), dtype=dtypes, shape=ranked, seed=seeds)
def test_cutting(data: Any, dtype: str, shape: Any, seed: int) -> None:
    x = values(dtype, tuple(min(n, 9) for n in shape), seed)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = x.shape[axis]
    for i, part in enumerate(wf.unstack(wf.asarray(x), axis=axis)):
        same_bits(part, np.take(x, i, axis))
    step = data.draw(st.integers(1, 4))
    cuts = list(range(step, size, step))
    for part, expected in zip(wf.split(wf.asarray(x), step, axis=axis), np.split(x, cuts, axis), strict=True):
        same_bits(part, expected)
    sizes = (size // 2, 0, size - size // 2)
    for part, expected in zip(
        wf.split(wf.asarray(x), sizes, axis=axis), np.split(x, np.cumsum(sizes)[:-1], axis), strict=True
    ):
        same_bits(part, expected)
    parts = wf.chunk(wf.asarray(x), step, axis=axis)
    assert len(parts) <= step
    same_bits(wf.concat(parts, axis=axis), x)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "roll": lambda x: wf.roll(x, 5),
    "concat": lambda x: wf.concat([x, x * x, x], axis=1),
    "stack": lambda x: wf.stack([x, x * x], axis=1),
    "pad": lambda x: wf.pad(x, ((1, 0), (0, -1)), value=2.0),
    "tile": lambda x: wf.tile(x, (2, 3)),
    "repeat": lambda x: wf.repeat(x, 2, axis=0),
    "unstack": lambda x: wf.stack(wf.unstack(x, axis=1)[::-1]),
    "split": lambda x: wf.concat(wf.split(x, (1, 2), axis=0)[::-1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name: str) -> None:
    check_both_gradients(FUNCTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_equals_eager_in_bits(name: str) -> None:
    check_compiled(FUNCTIONS[name])


SYMBOLIC: list[tuple[Callable[[Any], Any], tuple[Any, ...]]] = [
    (lambda x: wf.roll(x, 1, axis=0), (N, 4)),
    (lambda x: wf.concat([x, x]), (N * 2, 4)),
    (lambda x: wf.stack([x, x]), (2, N, 4)),
    (lambda x: wf.pad(x, 1), (N + 2, 6)),
    (lambda x: wf.tile(x, (2, 2)), (N * 2, 8)),
    (lambda x: wf.repeat(x, 3, axis=0), (N * 3, 4)),
]


@pytest.mark.parametrize(("function", "shape"), SYMBOLIC)
def test_symbolic_sizes(function: Callable[[Any], Any], shape: tuple[Any, ...]) -> None:
    check_symbolic(function, shape)


A = wf.zeros((2, 3))

BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: wf.concat([]), wf.ShapeError, "concat: no arrays"),
    (lambda: wf.concat([A, wf.zeros((2, 4))]), wf.ShapeError, r"concat: \(2, 3\) and \(2, 4\) differ on other axes"),
    (lambda: wf.concat([A, A], axis=2), AxisError, "concat: axis 2 is out of range"),
    (lambda: wf.concat([wf.asarray(1.0)]), wf.ShapeError, "concat: arrays of rank 0"),
    (
        lambda: wf.concat([wf.zeros(1, dtype=wf.uint64), wf.zeros(1, dtype=wf.int8)]),
        wf.DTypeError,
        "concat: uint64 and int8 have no common integer dtype",
    ),
    (lambda: wf.stack([A, wf.zeros(3)]), wf.ShapeError, r"stack: shapes \(2, 3\) and \(3,\) differ"),
    (lambda: wf.pad(A, ((1, 1),) * 3), wf.ShapeError, r"pad: 3 pairs of widths for the 2 axes of \(2, 3\)"),
    (lambda: wf.pad(A, ((-3, 0), (0, 0))), wf.ShapeError, "pad: widths .* take away more than the 2 elements"),
    (lambda: wf.pad(A, "ab"), wf.ShapeError, "pad: 'ab' is not a list of pairs"),
    (lambda: wf.roll(A, (1, 2), axis=0), wf.ShapeError, "roll: 2 shifts for 1 axes"),
    (lambda: wf.split(A, 0), wf.ShapeError, "split: parts of 0 elements"),
    (lambda: wf.split(A, (1, 2)), wf.ShapeError, r"split: sizes \(1, 2\) of axis 0 of \(2, 3\) do not add up to 2"),
    (lambda: wf.chunk(A, 0), wf.ShapeError, "chunk: 0 parts"),
    (lambda: wf.tile(A, (-1,)), wf.ShapeError, "tile: size -1"),
]


def test_pad_by_what_values_leave_of_an_axis() -> None:
    """Widths that values decide about are no numbers in captured code: ``k + (6 - k)`` rows stand beside 6."""

    def filled(mask: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
        count = wf.nonzero(mask)[0].shape[0]
        return wf.pad(wf.ones((count, 2)), [(0, 6 - count), (0, 0)]) * y

    compiled, y = wf.compile(filled), wf.reshape(wf.arange(12.0), (6, 2))
    for n in (2, 3, 5, 0, 6):
        mask = wf.arange(6) < n
        assert (compiled(mask, y) == filled(mask, y)).all() and (filled(mask, y)[n:] == 0).all()


@pytest.mark.parametrize("case", range(len(BAD)))
def test_messages(case: int) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        call()
    assert "test_pieces.py" in str(caught.value)
    with pytest.raises(error, match=message):
        wf.compile(call)()

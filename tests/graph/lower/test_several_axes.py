"""Reductions over axes that are not one in memory (windows, turned tensors, outer products) read what they reduce where
it lies, with the bits that they have where it was copied first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

import weft as wf
from weft.compiler.kernels import ColumnReduce, Nest
from weft.ops.op import apply, composite
from weft.ops.reduction import ARGMAX, ARGMIN

Axes = tuple[int, ...]
rng = np.random.default_rng(3)


@composite(public=False)
def place(x: Any, /, *, axes: Axes, least: bool = False) -> Any:
    """Where the greatest (or least) element of several adjacent axes is."""
    return apply(ARGMIN if least else ARGMAX, x, axes=axes)


REDUCTIONS: dict[str, Callable[[Any, Axes], Any]] = {
    "sum": lambda x, axes: wf.sum(x, axis=axes),
    "mean": lambda x, axes: wf.mean(x, axis=axes),
    "max": lambda x, axes: wf.max(x, axis=axes),
    "prod": lambda x, axes: wf.prod(x, axis=axes),
    "any": lambda x, axes: wf.any(x > 1, axis=axes),
    "argmax": lambda x, axes: place(x, axes=axes),
    "argmin": lambda x, axes: place(x, axes=axes, least=True),
    "all at once": lambda x, axes: wf.sum(x, axis=axes) * wf.max(x, axis=axes),
    "softmax": lambda x, axes: (
        (e := wf.exp(x - wf.max(x, axis=axes, keepdims=True))) / wf.sum(e, axis=axes, keepdims=True)
    ),
}


def numbers(shape: Sequence[int], dtype: str, special: bool) -> Any:
    values = rng.standard_normal(shape) * 4
    if special:
        values = np.where(rng.random(shape) < 0.05, rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], shape), values)
    with np.errstate(invalid="ignore"):
        return wf.asarray(values.astype("float32")).astype(dtype)


def bits(x: Any) -> bytes:
    """With one pattern for every NaN."""
    found = np.asarray(wf.asarray(x).astype(wf.float32) if x.dtype is wf.bfloat16 else x)
    return bytes(np.where(np.isnan(found), np.nan, found).astype(found.dtype).tobytes())


@st.composite
def views(draw: st.DrawFn) -> tuple[Callable[[Any], Any], tuple[int, ...], Axes]:
    """A view of a tensor of a shape, and adjacent axes of it."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 8, 17, 33, 70]), min_size=2, max_size=3)))
    order = draw(st.permutations(range(len(shape))))
    axis = draw(st.integers(0, len(shape) - 1))
    size = draw(st.integers(1, shape[axis]))
    step = draw(st.integers(1, 3))
    windows, flipped = draw(st.booleans()), draw(st.booleans())
    turned = draw(st.permutations(range(len(shape) + windows)))

    def view(x: Any) -> Any:
        x = x.permute(*order)
        x = x.unfold(order.index(axis), size, step) if windows else x
        return wf.flip(x.permute(*turned), axis=0) if flipped else x.permute(*turned)

    rank = len(shape) + windows
    start = draw(st.integers(0, rank - 2))
    return view, shape, tuple(range(start, draw(st.integers(start + 2, rank))))


@few(
    12,
    108,
    views(),
    st.sampled_from(sorted(REDUCTIONS)),
    st.sampled_from(["float32", "float64", "float16", "int32", "uint8"]),
    st.booleans(),
)
def test_the_bits_are_those_of_what_was_copied(drawn: Any, name: str, dtype: str, special: bool) -> None:
    (view, shape, axes), reduce = drawn, REDUCTIONS[name]
    x = numbers(shape, dtype, special and dtype.startswith("f"))
    with np.errstate(invalid="ignore", over="ignore"):
        expected = bits(reduce(wf.asarray(np.ascontiguousarray(np.asarray(view(x)))), axes))
        assert bits(reduce(view(x), axes)) == expected
        assert bits(wf.compile(lambda x: reduce(view(x), axes))(x)) == expected
        scaled = wf.compile(lambda x: reduce(view(wf.abs(x)), axes) * 2)(x)
        assert bits(scaled) == bits(reduce(wf.asarray(np.ascontiguousarray(np.asarray(view(wf.abs(x))))), axes) * 2)


OUTER = (lambda a, b: a[:, None] * b, ((30,), (50,)))
TURNED = (lambda a: a.permute(0, 2, 1), ((4, 33, 20),))
FAR = (lambda a, b: a.T + b, ((300, 300), (300, 300)))
# (name, view, shapes of what it is of, reduced axes, kernels)
READ: list[tuple[str, Callable[..., Any], tuple[Any, ...], Axes, list[type]]] = [
    ("an outer product", *OUTER, (0, 1), [Nest]),
    ("turned rows", *TURNED, (1, 2), [Nest]),
    ("a long outer product", OUTER[0], ((300,), (500,)), (0, 1), [Nest, Nest]),
    ("columns", lambda a: a.permute(2, 0, 1), ((30, 20, 9),), (0, 1), [ColumnReduce]),
    ("long columns", lambda a: a.permute(2, 0, 1), ((300, 20, 200),), (0, 1), [ColumnReduce, ColumnReduce]),
    ("windows", lambda a: a.unfold(0, 3, 2).unfold(1, 3, 2), ((31, 41),), (2, 3), [ColumnReduce]),
    ("wide windows", lambda a: a.unfold(0, 9, 2).unfold(1, 9, 2), ((31, 41),), (2, 3), [ColumnReduce]),
    ("long windows", lambda a: a[:, :6].unfold(0, 8000, 1).permute(0, 2, 1), ((8020, 7),), (1, 2), [ColumnReduce] * 2),
    ("rows across memory", lambda a: a.permute(3, 2, 1, 0), ((32, 4, 5, 40),), (2, 3), [ColumnReduce]),
    ("few short windows are copied", lambda a: a.unfold(0, 3, 2).unfold(1, 3, 2), ((6, 7),), (2, 3), [Nest, Nest]),
    ("long lines across memory are copied", *FAR, (0, 1), [Nest] * 3),
]


@pytest.mark.parametrize(("name", "view", "shapes", "axes", "kernels"), READ, ids=[c[0] for c in READ])
@pytest.mark.parametrize("reduction", ["sum", "argmax", "all at once"])
def test_nothing_is_stored_before(
    name: str, view: Any, shapes: Any, axes: Axes, kernels: list[type], reduction: str
) -> None:
    reduce = REDUCTIONS[reduction]
    function = wf.compile(lambda *given: reduce(view(*given), axes))
    given_ = [numbers(shape, "float32", False) for shape in shapes]
    found = [type(k) for k in function.kernels(*given_)]
    if reduction == "all at once" and "long" in name:
        kernels = [*kernels, Nest]  # the product of results that are done when the last launch is
    assert found == kernels
    expected = reduce(wf.asarray(np.ascontiguousarray(np.asarray(view(*given_)))), axes)
    assert bits(function(*given_)) == bits(expected)


def test_small_windows_are_structure_and_wide_ones_are_not() -> None:
    def kernel(*sizes: int) -> ColumnReduce:
        function = wf.compile(lambda x: wf.sum(x.unfold(0, sizes[0], 2).unfold(1, sizes[1], 2), axis=(2, 3)))
        (found,) = function.kernels(wf.ones((60, 70)))
        assert isinstance(found, ColumnReduce)
        return found

    assert kernel(3, 2).reduced == (3, 2) and ", 2]" in str(kernel(3, 3))
    assert str(kernel(9, 8)) == str(kernel(7, 9)) != str(kernel(3, 3)) != str(kernel(2, 3))

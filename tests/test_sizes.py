"""Sizes of every magnitude: a result, ShapeError where 64 bits cannot count it, OutOfMemoryError where no memory holds
it, DTypeError for numbers that a dtype does not hold; never NumPy's or Python's own, a wrapped size, or a long wait."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weft as wf
from weft import nn
from weft.core.shapes import SIZE_LIMIT
from weft.nn import functional as F

LIMIT = 1 << 28


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """So that what is representable but large is refused at once, on any machine."""
    wf.memory.set_limit(LIMIT)
    yield
    wf.memory.set_limit(None)


ONE, THREE, ROW = wf.ones(1), wf.ones(3), wf.ones((2, 3))


def wide(n: int) -> wf.Tensor:
    """``n`` elements that need no memory."""
    return wf.broadcast_to(ONE, (n,))


# Functions of two sizes, and the shape of what they make, where it is of float32.
MAKERS: dict[str, tuple[Callable[[int, int], Any], Callable[[int, int], tuple[int, ...]]]] = {
    "zeros": (lambda n, m: wf.zeros((n, m)), lambda n, m: (n, m)),
    "ones": (lambda n, m: wf.ones((n, m)), lambda n, m: (n, m)),
    "empty": (lambda n, m: wf.empty((n, m)), lambda n, m: (n, m)),
    "full": (lambda n, m: wf.full((n, m), 1.5), lambda n, m: (n, m)),
    "eye": (lambda n, m: wf.eye(n, m), lambda n, m: (n, m)),
    "new_zeros": (lambda n, m: ONE.new_zeros(n, m), lambda n, m: (n, m)),
    "new_full": (lambda n, m: ONE.new_full((n, m), 1.5), lambda n, m: (n, m)),
    "linspace": (lambda n, m: wf.linspace(0.0, 1.0, n), lambda n, m: (n,)),
    "tile": (lambda n, m: wf.tile(THREE, (n, m)), lambda n, m: (n, m * 3)),
    "Tensor.repeat": (lambda n, m: THREE.repeat(n, m), lambda n, m: (n, m * 3)),
    "repeat": (lambda n, m: wf.repeat(THREE, n), lambda n, m: (n * 3,)),
    "pad": (lambda n, m: wf.pad(THREE, (n, m)), lambda n, m: (n + 3 + m,)),
    "uniform": (lambda n, m: wf.random.uniform((n, m)), lambda n, m: (n, m)),
    "normal": (lambda n, m: wf.random.normal((n, m)), lambda n, m: (n, m)),
    "bernoulli": (lambda n, m: wf.random.bernoulli(0.5, (n, m), dtype=wf.float32), lambda n, m: (n, m)),
    "Linear": (lambda n, m: nn.Linear(m, n, bias=False).weight, lambda n, m: (n, m)),
    "Embedding": (lambda n, m: nn.Embedding(n, m).weight, lambda n, m: (n, m)),
}
# Views: they take no memory, and are refused where they cannot be counted alone.
VIEWS: dict[str, tuple[Callable[[int, int], Any], Callable[[int, int], tuple[int, ...]]]] = {
    "broadcast_to": (lambda n, m: wf.broadcast_to(ONE, (n, m)), lambda n, m: (n, m)),
    "expand": (lambda n, m: ONE.expand(n, m), lambda n, m: (n, m)),
}
# Of what is wide already.
JOINS: dict[str, tuple[Callable[[int, int], Any], Callable[[int, int], tuple[int, ...]]]] = {
    "concat": (lambda n, m: wf.concat([wide(n), wide(m)]), lambda n, m: (n + m,)),
    "stack": (lambda n, m: wf.stack([wide(n), wide(n), wide(n)]), lambda n, m: (3, n)),
    "outer": (lambda n, m: wf.outer(wide(n), wide(m)), lambda n, m: (n, m)),
    "add": (lambda n, m: wide(n)[:, None] + wide(m), lambda n, m: (n, m)),
    "matmul": (lambda n, m: wide(n)[:, None] @ wide(m)[None], lambda n, m: (n, m)),
    "einsum": (lambda n, m: wf.einsum("i,j->ij", wide(n), wide(m)), lambda n, m: (n, m)),
    "cumulative_sum": (lambda n, m: wf.cumulative_sum(wide(n)), lambda n, m: (n,)),
    "clone": (lambda n, m: wf.exp(wide(n)), lambda n, m: (n,)),
}
MAGNITUDES = st.one_of(
    st.integers(0, 5),
    st.integers(20, 130).flatmap(lambda bits: st.integers((1 << bits) - 2, (1 << bits) + 2)),
    st.sampled_from([2**31, 2**32, 2**40, 2**61 - 1, 2**62, 2**63 - 1, 2**63, 2**64, 10**400, 10**5000]),
)

WIDTHS = st.integers(0, 59).flatmap(lambda bits: st.integers(1 << bits, (1 << bits) + 2))
LAZY = {"tile", "Tensor.repeat"}  # a view, where the first axes alone are repeated


def held(make: Callable[[], Any], shape: tuple[int, ...], view: bool = False, lazy: bool = False) -> None:
    """``make`` returns a tensor of ``shape``, or raises what the shape says."""
    count = math.prod(max(n, 1) for n in shape)
    if count * 4 >= SIZE_LIMIT:
        with pytest.raises(wf.ShapeError) as caught:
            make()
        assert f"\n  at {__file__}" in str(caught.value)
    elif view or count * 4 <= LIMIT // 64 or 0 in shape:
        made = make()
        assert tuple(made.shape) == shape
    elif count * 4 > LIMIT:
        with contextlib.suppress(wf.OutOfMemoryError):
            made = make()
            assert lazy and tuple(made.shape) == shape


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40)
@given(n=MAGNITUDES, m=MAGNITUDES)
def test_what_is_made_of_sizes(name: str, n: int, m: int) -> None:
    make, shape = MAKERS[name]
    held(lambda: make(n, m), shape(n, m), lazy=name in LAZY)


@pytest.mark.parametrize("name", VIEWS)
@settings(max_examples=40)
@given(n=MAGNITUDES, m=MAGNITUDES)
def test_views_of_any_size(name: str, n: int, m: int) -> None:
    make, shape = VIEWS[name]
    held(lambda: make(n, m), shape(n, m), view=True)


@pytest.mark.parametrize("name", JOINS)
@settings(max_examples=30)
@given(n=WIDTHS, m=WIDTHS)
def test_what_is_made_of_wide_tensors(name: str, n: int, m: int) -> None:
    make, shape = JOINS[name]
    held(lambda: make(n, m), shape(n, m))


@pytest.mark.parametrize("dtype", [wf.bool, wf.int8, wf.float16, wf.float32, wf.float64], ids=str)
@given(size=st.integers(2**58, 2**66))
@settings(max_examples=20)
def test_bytes_are_counted_in_the_dtype(dtype: Any, size: int) -> None:
    kind = wf.ShapeError if size * dtype.itemsize >= SIZE_LIMIT else wf.OutOfMemoryError
    with pytest.raises(kind):
        wf.zeros(size, dtype=dtype)


INF, NAN = math.inf, math.nan
REFUSED: list[tuple[Callable[[], Any], type[Exception]]] = [
    (lambda: wf.arange(1e300), wf.ShapeError),
    (lambda: wf.arange(0, INF), wf.ShapeError),
    (lambda: wf.arange(-INF, 0), wf.ShapeError),
    (lambda: wf.arange(NAN), wf.ShapeError),
    (lambda: wf.arange(0, 1, NAN), wf.ShapeError),
    (lambda: wf.arange(0, 1, 1e-300), wf.ShapeError),
    (lambda: wf.arange(0.5, 10**400), wf.ShapeError),
    (lambda: wf.arange(2**62), wf.ShapeError),
    (lambda: wf.arange(2**59), wf.OutOfMemoryError),
    (lambda: wf.arange(2**70), wf.ShapeError),
    (lambda: wf.arange(2**70, 2**70 + 3), wf.DTypeError),
    (lambda: wf.arange(0, 2**64, 2**63), wf.DTypeError),
    (lambda: wf.arange(200, dtype=wf.int8), wf.DTypeError),
    (lambda: wf.arange(-1, 3, dtype=wf.uint8), wf.DTypeError),
    (lambda: wf.linspace(0, 1, 10**30), wf.ShapeError),
    (lambda: wf.linspace(0, 10**400, 3), wf.DTypeError),
    (lambda: wf.linspace(0, 1, NAN), wf.ShapeError),
    (lambda: wf.eye(2**40), wf.ShapeError),
    (lambda: wf.zeros((2**62, 2**62, 0)), wf.ShapeError),
    (lambda: wf.zeros(NAN), wf.ShapeError),
    (lambda: wf.reshape(THREE, (2**70,)), wf.ShapeError),
    (lambda: wf.reshape(wf.zeros((0,)), (2**70, 0)), wf.ShapeError),
    (lambda: wf.broadcast_to(ONE, (2**61,)).sum(), wf.ShapeError),
    (lambda: wf.full((2,), 10**400), wf.DTypeError),
    (lambda: wf.full((2,), 10**400, dtype=wf.float32), wf.DTypeError),
    (lambda: wf.full((2,), 10**5000), wf.DTypeError),
    (lambda: wf.full((2,), 1e300, dtype=wf.float16), wf.DTypeError),
    (lambda: wf.full((2,), INF, dtype=wf.int64), wf.DTypeError),
    (lambda: wf.zeros(2).fill_(10**400), wf.DTypeError),
    (lambda: wf.pad(THREE, 1, value=10**400), wf.DTypeError),
    (lambda: THREE + 10**400, wf.DTypeError),
    (lambda: THREE + 10**5000, wf.DTypeError),
    (lambda: F.one_hot(wf.arange(3), 2**62), wf.ShapeError),
    (lambda: F.one_hot(wf.arange(3), 2**45), wf.OutOfMemoryError),
    (lambda: nn.Linear(2**40, 2**40), wf.ShapeError),
    (lambda: nn.LayerNorm(2**62), wf.ShapeError),
    (lambda: wf.random.permutation(2**62), wf.ShapeError),
    (lambda: wf.random.uniform((2,), 0, 10**400), wf.DTypeError),
    (lambda: wf.random.integers(0, 2**100), wf.ShapeError),
    (lambda: wf.meshgrid(wide(2**40), wide(2**40)), wf.ShapeError),
    (lambda: wf.split(wide(2**40), 1), wf.ShapeError),
    (lambda: wf.chunk(wide(2**40), 2**40), wf.ShapeError),
    (lambda: wf.unstack(wide(2**40)), wf.ShapeError),
    (lambda: wf.split(THREE, [2**70, 3 - 2**70]), wf.ShapeError),
    (lambda: wf.repeat(THREE, [2**62, 2**62, 1]), wf.ShapeError),
    (lambda: wf.broadcast_to(wf.ones(1, dtype=wf.int8), (2**61,)).astype(wf.float64), wf.ShapeError),
    (lambda: wf.eval_shape(lambda x: x, wf.spec((2**70,))), wf.ShapeError),
    (lambda: wf.eval_shape(lambda x: wf.concat([x, x]), wf.spec((2**62,))), wf.ShapeError),
    (lambda: THREE[2**5000], IndexError),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_what_is_refused(case: int) -> None:
    call, error = REFUSED[case]
    with pytest.raises(error) as caught:
        call()
    assert isinstance(caught.value, wf.WeftError)
    assert len(str(caught.value)) < 400


def test_numbers_far_away_that_have_a_meaning() -> None:
    assert wf.eye(3, k=2**70).tolist() == wf.zeros((3, 3)).tolist()
    assert wf.tril(ROW, k=2**70).tolist() == ROW.tolist()
    assert wf.tril(ROW, k=-(2**70)).tolist() == wf.zeros((2, 3)).tolist()
    assert wf.triu(ROW, k=-(2**70)).tolist() == ROW.tolist()
    assert wf.roll(wf.arange(3), 2**70).tolist() == wf.roll(wf.arange(3), 2**70 % 3).tolist()
    assert THREE[2**70 :].shape == (0,)
    assert THREE[-(2**70) : 2**70].shape == (3,)
    assert [part.shape for part in wf.split(THREE, 2**70)] == [(3,)]
    assert wf.arange(2**63, 2**63 + 3, dtype=wf.uint64).tolist() == [2**63, 2**63 + 1, 2**63 + 2]
    assert wf.arange(2**63 - 2, 2**63).tolist() == [2**63 - 2, 2**63 - 1]
    assert wf.arange(10, 0, -3, dtype=wf.uint64).tolist() == [10, 7, 4, 1]
    assert (wf.ones(1, dtype=wf.float16) * 1e300).tolist() == [INF]
    assert wf.compile(lambda x: x * 1e300)(wf.ones(1, dtype=wf.float16)).tolist() == [INF]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 5), st.integers(-(2**62), 2**62).filter(bool))
def test_ranges_of_integers_are_exact(start: int, count: int, step: int) -> None:
    expected = list(range(start, start + count * step, step))
    if all(-(2**63) <= n < 2**63 for n in expected):
        assert wf.arange(start, start + count * step, step).tolist() == expected
    else:
        with pytest.raises(wf.DTypeError, match=r"arange: .* does not fit in int64"):
            wf.arange(start, start + count * step, step)

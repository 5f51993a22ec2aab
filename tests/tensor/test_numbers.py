"""A number is one number, however it is written: Python's, NumPy's, an array or a tensor of rank 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import weft as wf

DTYPES = [None, "bool", "int8", "int64", "uint64", "float16", "float32"]
X = wf.asarray([[1.0, 2.0], [3.0, 4.0]])


def seeded(draw: Callable[[], Any]) -> Any:
    wf.random.seed(3)
    return draw()


def stored(dtype: Any, key: Any, value: Any) -> Any:
    x = wf.zeros(2, dtype=dtype)
    x[key] = value
    return x


# What takes a number and a dtype.
OF_BOTH: dict[str, Callable[[Any, Any], Any]] = {
    "full": lambda v, d: wf.full((2,), v, dtype=d),
    "full by name": lambda v, d: wf.full(shape=2, fill_value=v, dtype=d),
    "full_like": lambda v, d: wf.full_like(X, v, dtype=d),
    "arange, stop": lambda v, d: wf.arange(0, v, dtype=d),
    "arange, start": lambda v, d: wf.arange(v, 5, dtype=d),
    "arange, step": lambda v, d: wf.arange(0, 5, v, dtype=d),
    "linspace, start": lambda v, d: wf.linspace(v, 5, 3, dtype=d),
    "linspace, stop": lambda v, d: wf.linspace(0, v, 3, dtype=d),
    "linspace, num": lambda v, d: wf.linspace(0, 1, v, dtype=d),
    "eye, k": lambda v, d: wf.eye(3, k=v, dtype=d),
    "eye, n": lambda v, d: wf.eye(v, dtype=d),
    "zeros": lambda v, d: wf.zeros(v, dtype=d),
    "ones": lambda v, d: wf.ones((v, 2), dtype=d),
    "bernoulli": lambda v, d: seeded(lambda: wf.random.bernoulli(v, (4,), dtype=d or "bool")),
    "uniform": lambda v, d: seeded(lambda: wf.random.uniform((4,), -9.0, v, dtype=d or "float32")),
    "uniform, low": lambda v, d: seeded(lambda: wf.random.uniform((4,), v, 9.0, dtype=d or "float32")),
    "normal": lambda v, d: seeded(lambda: wf.random.normal((4,), v, 2.0, dtype=d or "float32")),
    "normal, std": lambda v, d: seeded(lambda: wf.random.normal((4,), 1.0, v, dtype=d or "float32")),
    "integers": lambda v, d: seeded(lambda: wf.random.integers(0, v, (4,), dtype=d or "int64")),
}
# What takes a number that is written into a tensor: a tensor there is one of values, with rules of its own.
WRITTEN: dict[str, Callable[[Any, Any], Any]] = {
    "setitem": lambda v, d: stored(d, 0, v),
    "setitem of an array": lambda v, d: stored(d, [1, 0], v),
    "setitem of a mask": lambda v, d: stored(d, wf.asarray([True, False]), v),
    "masked_fill": lambda v, d: wf.zeros(2, dtype=d).masked_fill(wf.asarray([True, False]), v),
    "add": lambda v, d: wf.zeros(2, dtype=d) + v,
    "where": lambda v, d: wf.where(wf.asarray([True, False]), wf.zeros(2, dtype=d), v),
    "clip": lambda v, d: wf.clip(wf.zeros(2, dtype=d), v, None),
}
VALUES: list[Any] = [
    *(True, False, 0, 1, 3, -1, 300, 2**31, 2**63 - 1, -(2**63), 2**63, 2**64 - 1),
    *(0.0, -0.0, 0.25, 1.5, 2.0, -3.5, 70000.0, 1e39, math.nan, math.inf, -math.inf),
]
OWN = (wf.DTypeError, wf.ShapeError, wf.ArgumentError, wf.OutOfMemoryError)


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    wf.memory.set_limit(1 << 22)
    yield
    wf.memory.set_limit(None)


def result(call: Callable[[Any, Any], Any], value: Any, dtype: Any) -> tuple[Any, ...]:
    """What comes out, with its bits; or which error."""
    try:
        x = call(value, dtype)
    except OWN as error:
        return (type(error),)
    return (x.dtype, tuple(x.shape), x.numpy().tobytes())


def scalars(value: Any) -> Iterator[Any]:
    """NumPy's numbers that are this one."""
    kinds: list[Any] = [np.float64, np.float32, np.float16]
    if isinstance(value, bool):
        kinds = [np.bool_]
    elif isinstance(value, int):
        kinds = [k for k in (np.int64, np.uint64, np.int16) if np.iinfo(k).min <= value <= np.iinfo(k).max]
    for kind in kinds:
        with np.errstate(over="ignore"):
            number = kind(value)
        if float(number) == float(value) or value != value:
            yield number


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", [*OF_BOTH, *WRITTEN])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_is_the_same_in_every_form(name: str, dtype: Any) -> None:
    """The same bits, or an error of the same class."""
    call = OF_BOTH.get(name) or WRITTEN[name]
    for value in VALUES:
        for number in scalars(value):
            expected = result(call, number.item(), dtype or ("float32" if name in WRITTEN else None))
            forms: list[Any] = [number]
            if name in OF_BOTH:
                forms += [np.array(number), wf.asarray(np.array(number))]
            for form in forms:
                if name == "bernoulli" and not isinstance(form, np.generic):
                    continue  # a tensor of probabilities
                found = result(call, form, dtype or ("float32" if name in WRITTEN else None))
                assert found == expected, (type(form), number)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d])
@pytest.mark.parametrize("bad", [[1], [[2]], [1, 2]])
def test_a_tensor_of_another_rank_is_no_number(dtype: Any, bad: Any) -> None:
    for given in (wf.asarray(bad), np.asarray(bad)):
        with pytest.raises(wf.ShapeError, match="fill_value has shape"):
            wf.full((2,), given, dtype=dtype)
        with pytest.raises(wf.ShapeError, match="start has shape"):
            wf.linspace(given, 3.0, 4, dtype=dtype)


@pytest.mark.parametrize("value", [1.5, math.nan, math.inf])
def test_no_integer_is_made_of_what_is_none(value: float) -> None:
    """PyTorch cuts 1.5 to 1 without a word."""
    for given in (value, np.float64(value), wf.asarray(value)):
        for dtype in ("int32", "uint8", "int64"):
            with pytest.raises(wf.DTypeError, match=rf"full: {value} is not a value of {dtype}"):
                wf.full((2,), given, dtype=dtype)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64"])
def test_numbers_in_lists_do_not_wrap_when_they_are_stored(dtype: str) -> None:
    info = np.iinfo(dtype)
    x = wf.zeros(2, dtype=dtype)
    x[:] = [int(info.min), int(info.max)]
    assert x.tolist() == [info.min, info.max]
    for beyond in (int(info.min) - 1, int(info.max) + 1):
        with pytest.raises(wf.DTypeError):
            x[:] = [0, beyond]
    assert x.tolist() == [info.min, info.max]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float16", 0.0, 70000.0), ("float32", -3e38, 3e38), ("float32", 0.0, 1e39), ("float64", -1e308, 1e308)],
)
def test_an_interval_that_the_dtype_does_not_hold_is_refused(dtype: str, low: float, high: float) -> None:
    """As in PyTorch: the draws were all at its end, or infinite."""
    for draw in (
        lambda: wf.random.uniform((3,), low, high, dtype=dtype),
        lambda: wf.zeros(3, dtype=dtype).uniform_(low, high),
    ):
        with pytest.raises(wf.ShapeError, match=r"uniform: the interval \["):
            draw()


def test_an_interval_of_16_bit_floats_may_be_as_long_as_they_reach() -> None:
    x = wf.random.uniform((1000,), -65504.0, 65504.0, dtype="float16").numpy()
    assert np.isfinite(x).all() and x.min() < -6e4 and x.max() > 6e4


@pytest.mark.parametrize("dtype", [wf.int8, wf.uint8, wf.int32, wf.uint64], ids=str)
def test_no_number_wraps_that_numpy_holds_as_an_array_of_rank_0(dtype: wf.DType) -> None:
    """As a number alone does not; arrays of several are converted as arrays are."""
    x = wf.zeros(3, dtype=dtype)
    top = int(np.iinfo(dtype.numpy).max)
    outside = np.array(top + 1, np.uint64) if top < 2**64 - 1 else np.array(-1)
    for write in (lambda v: x.__setitem__(0, v), lambda v: x.__setitem__(wf.asarray([1, 2]), v), x.fill_):
        with pytest.raises(wf.DTypeError, match=f"{int(outside)} does not fit in {dtype.name}"):
            write(outside)
        assert x.tolist() == [0, 0, 0]
    x[0] = np.array(top, np.uint64)
    x[1] = np.array(True)
    assert x.tolist() == [top, 1, 0]
    assert x.fill_(np.array(top, np.uint64)).tolist() == [top] * 3


@pytest.mark.parametrize("cut", [wf.Tensor.split, wf.Tensor.chunk, wf.split], ids=["x.split", "x.chunk", "split"])
def test_true_as_a_size_is_one_also_for_who_asks_for_one_later(cut: Any) -> None:
    for size in (True, 1):
        parts = cut(wf.ones((7, 3)), size)
        assert [p.numpy().shape for p in parts] == [p.numpy().shape for p in cut(wf.ones((7, 3)), 1)]

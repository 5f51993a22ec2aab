"""Data becomes tensors: what has a dtype keeps it, Python's numbers get weft's."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

import weft as wf


class Column:
    """What a column of a table looks like from outside: ``__array__``, a dtype of its own, no DLPack."""

    def __init__(self, values: Any):
        self.values = np.asarray(values)
        self.dtype = self.values.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.values if dtype is None else self.values.astype(dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, at: Any) -> Any:
        return self.values[at]


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float16", "float32", "float64"]


@pytest.mark.parametrize("make", [wf.asarray, wf.tensor])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_has_a_dtype_keeps_it(dtype: str, make: Any) -> None:
    values = np.array([1, 0, 1], dtype)
    for given in (values, Column(values), values[0], memoryview(values), [values, values], [values[0], values[1]]):
        made = make(given)
        assert made.dtype.name == dtype, type(given)
        assert made.tolist() == np.asarray(given).tolist()
        assert make(given, dtype=wf.float64).dtype is wf.float64


def test_tables_of_pandas_keep_their_dtype() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert wf.asarray(frame).dtype is wf.float64
    assert wf.asarray(frame["a"]).tolist() == [1.0, 2.0]
    assert wf.asarray(frame["a"].astype("int16")).dtype is wf.int16


@pytest.mark.parametrize("code", "bBhHiIqQfd")
def test_buffers_keep_their_dtype(code: str) -> None:
    values = array.array(code, [1, 2, 3])
    assert wf.asarray(values).numpy().dtype == np.asarray(values).dtype
    assert wf.asarray(values).tolist() == list(values)


NUMBERS = [1.5, 2, True, np.float64(0.5), np.float32(2.5), np.float16(1.5), np.int8(3), np.uint8(4), np.bool_(True)]


@pytest.mark.parametrize("second", NUMBERS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("first", NUMBERS, ids=lambda v: type(v).__name__)
def test_a_list_has_the_dtype_that_pytorch_gives_it(first: Any, second: Any) -> None:
    torch = pytest.importorskip("torch")
    try:
        expected = torch.tensor([first, second])
    except TypeError:
        return  # PyTorch refuses np.bool_ among other numbers
    made = wf.tensor([first, second])
    assert f"torch.{made.dtype.name}" == str(expected.dtype)
    assert made.tolist() == expected.tolist()


def test_python_numbers_have_wefts_dtypes() -> None:
    for given, dtype in ((1.5, "float32"), (2, "int64"), (True, "bool"), ([1, 2.5], "float32"), ([], "float32")):
        assert wf.asarray(given).dtype.name == dtype
    assert wf.asarray(2**70, dtype=wf.float32).item() == 2.0**70
    assert wf.asarray([2**70, 1], dtype=wf.float64).tolist() == [2.0**70, 1.0]


SCALARS = [np.float64(2), np.float32(2), np.float16(2), np.longdouble(2), np.int8(2), np.int64(2), np.uint8(2)]
SCALARS += [np.bool_(True)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
@pytest.mark.parametrize("number", SCALARS, ids=lambda v: type(v).__name__)
def test_a_numpy_number_is_a_python_number_to_an_op(number: Any, dtype: str) -> None:
    x = wf.ones((2,), dtype=dtype)
    plain = float(number) if isinstance(number, np.longdouble) else number.item()
    functions = [
        lambda n: wf.copysign(1.0, n) if dtype == "bool" else wf.add(x, n),
        lambda n: wf.maximum(n, x) if dtype != "bool" and not isinstance(plain, bool) else x,
        lambda n: x if dtype == "bool" else x + n,
        lambda n: n * x if dtype != "bool" or not isinstance(plain, bool) else x,
        lambda n: x == n,
        lambda n: n < x,
        lambda n: wf.where(x > 0, x, n),
        lambda n: wf.full((2,), n),
        lambda n: wf.exp(n),
        lambda n: wf.isnan(n),
        lambda n: wf.sum(n),
    ]
    for function in functions:
        expected = function(plain)
        for found in (function(number), wf.compile(lambda f=function: f(number))()):
            assert found.dtype is expected.dtype
            assert found.tolist() == expected.tolist()


def test_an_array_of_rank_0_is_no_number() -> None:
    x = wf.ones((2,), dtype=wf.float32)
    assert (x * np.array(2.0)).dtype is wf.float64
    assert (np.array(2.0) * x).dtype is wf.float64
    assert wf.exp(np.array(2.0)).dtype is wf.float64


class Refuses:
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise KeyError("not today")


BAD: list[tuple[Any, type[Exception], str]] = [
    (Refuses(), wf.DTypeError, "Refuses cannot be read as an array: 'not today'"),
    ([[1], [1, 2]], wf.ShapeError, "ragged"),
    (10**400, wf.DTypeError, "an integer of 1329 bits does not fit any dtype"),
    ([1.5, 10**400], wf.DTypeError, "an integer of 1329 bits does not fit any dtype"),
    (np.datetime64("2020-01-01"), wf.DTypeError, "dtype datetime64"),
    (np.clongdouble(1), wf.DTypeError, "dtype complex256|dtype clongdouble"),
    (b"ab", wf.DTypeError, "not real numbers"),
    (range(2**62), wf.ShapeError, "more elements than memory holds"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: type(case[0]).__name__)
def test_what_is_no_data(case: Any) -> None:
    given, error, text = case
    for make in (wf.asarray, wf.tensor):
        with pytest.raises(error, match=text):
            make(given)


def test_a_list_that_contains_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(wf.ShapeError, match="contains itself"):
        wf.asarray(endless)


def test_a_tensor_of_pytorch_that_asks_for_gradients_says_so() -> None:
    torch = pytest.importorskip("torch")
    asks = torch.ones(2, requires_grad=True)
    for make in (wf.asarray, wf.tensor, wf.from_dlpack):
        with pytest.raises(wf.DTypeError, match="gradient"):
            make(asks)
        assert make(asks.detach()).tolist() == [1.0, 1.0]


def copies(x: wf.Tensor) -> list[wf.Tensor]:
    other = x.detach() * 3
    return [
        wf.tensor(x),
        wf.tensor(x.T),
        wf.tensor(x, dtype=wf.float64),
        wf.tensor(x * 2.7, dtype=wf.int32),
        wf.tensor(x, device="cpu"),
        x.new_tensor(other),
        x.new_tensor(other, dtype=wf.bfloat16),
        x.long().new_tensor(other * 1.5),
        wf.asarray(x, copy=True),
    ]


def test_a_copy_of_a_tensor_has_the_same_bits_in_compiled_code() -> None:
    x = wf.tensor([[1.0, -2.0, 3.0], [0.1, 5.0, wf.inf]])
    for eager, found in zip(copies(x), wf.compile(copies)(x), strict=True):
        assert found.dtype is eager.dtype and found.shape == eager.shape
        assert found.astype(wf.float64).numpy().tobytes() == eager.astype(wf.float64).numpy().tobytes()


def test_a_copy_has_neither_the_history_nor_the_memory() -> None:
    outside = wf.ones((3,)).requires_grad_()

    def loss(x: wf.Tensor) -> wf.Tensor:
        copied, of_outside = wf.tensor(x * x), x.new_tensor(outside)
        copied += 1.0  # which x * x does not notice
        return (copied * x + of_outside * outside).sum()

    for way in (loss, wf.compile(loss)):
        x, outside.grad = wf.tensor([1.0, 2.0, 3.0], requires_grad=True), None
        way(x).backward()
        assert x.grad is not None and x.grad.tolist() == [2.0, 5.0, 10.0] and x.tolist() == [1.0, 2.0, 3.0]
        assert outside.grad is not None and wf.Tensor.tolist(outside.grad) == [1.0, 1.0, 1.0]


def test_a_copy_is_a_leaf_that_may_ask_for_gradients() -> None:
    def slope(x: wf.Tensor) -> wf.Tensor | None:
        leaf = wf.tensor(x * 2, requires_grad=True)
        assert leaf.is_leaf and leaf.requires_grad
        (leaf * leaf).sum().backward()
        return leaf.grad

    x = wf.tensor([1.0, 2.0])
    for way in (slope, wf.compile(slope)):
        found = way(x)
        assert found is not None and found.tolist() == [4.0, 8.0]

"""finfo and iinfo: NumPy's, and PyTorch's, numbers for every dtype."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import weft as wf
from weft.core import dtypes as dt

FLOATS = [d for d in dt.ALL if d.is_floating]
INTEGERS = [d for d in dt.ALL if d.is_integer]
NAMES = "bits eps max min smallest_normal tiny resolution"


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_have_numpys_limits(dtype: dt.DType) -> None:
    expected, found = ml_dtypes.finfo(dtype.numpy), wf.finfo(dtype)
    for name in NAMES.split():
        if name != "resolution":  # a float of the dtype itself there
            assert getattr(found, name) == float(getattr(expected, name)), name
    assert found.dtype is dtype


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_have_pytorchs_limits(dtype: dt.DType) -> None:
    torch = pytest.importorskip("torch")
    expected, found = torch.finfo(getattr(torch, dtype.name)), wf.finfo(dtype)
    assert [getattr(found, name) for name in NAMES.split()] == [getattr(expected, name) for name in NAMES.split()]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_have_numpys_limits(dtype: dt.DType) -> None:
    expected, found = np.iinfo(dtype.numpy), wf.iinfo(dtype)
    assert (found.bits, found.min, found.max) == (expected.bits, expected.min, expected.max)
    assert found.dtype is dtype


@pytest.mark.parametrize("given", [wf.float16, "float16", np.float16, np.dtype("float16"), np.zeros(2, np.float16)])
def test_a_dtype_by_any_name_or_a_tensor_of_it(given: object) -> None:
    assert wf.finfo(given) == wf.finfo(wf.zeros(2, dtype=wf.float16))


def test_of_another_kind_there_are_no_limits() -> None:
    for dtype in (wf.int32, wf.bool, int):
        with pytest.raises(wf.DTypeError, match=r"finfo: .* is no floating dtype"):
            wf.finfo(dtype)
    for dtype in (wf.float32, wf.bool, float):
        with pytest.raises(wf.DTypeError, match=r"iinfo: .* is no integer dtype"):
            wf.iinfo(dtype)


def test_compiled_code_masks_with_the_least_number_of_a_dtype() -> None:
    def masked(x: wf.Tensor) -> wf.Tensor:
        return wf.where(x > 0, x, wf.finfo(x.dtype).min)

    for dtype in FLOATS:
        x = wf.tensor([1.0, -1.0], dtype=dtype)
        assert wf.compile(masked)(x).tolist() == masked(x).tolist() == [1.0, wf.finfo(dtype).min]

"""16-bit floats are computed in float32 and rounded once; nothing else changes its dtype."""

from __future__ import annotations

import pytest

from weft.compiler import expr as ex
from weft.core import dtypes as dt
from weft.core.dtypes import DType
from weft.ops.precision import in_float32, working


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_the_working_dtype(dtype: DType) -> None:
    half = dtype.name in ("float16", "bfloat16")
    assert dtype.is_half is half
    assert working(dtype) is (dt.float32 if half else dtype)
    x = ex.leaf("read", dtype, 0)
    seen: list[DType] = []
    result = in_float32(lambda params, a: seen.append(a.dtype) or a)({}, x)
    assert seen == [working(dtype)] and result.dtype is dtype

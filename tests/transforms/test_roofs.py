"""The measured roofline: what is larger is never said to move faster, and a floor is the larger of two times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core import dtypes as dt
from weft.transforms import roofs


def test_what_moves_more_has_no_higher_roof() -> None:
    found = [roofs.bytes_roof(size) for size in (1, *roofs.SIZES, 10 * roofs.SIZES[-1])]
    assert found == sorted(found, reverse=True) and found[-1] > 0 and found[-1] == found[-2]


def test_each_roof_is_measured_once() -> None:
    assert roofs.flops_roof(dt.float32) == roofs.flops_roof(dt.bfloat16) == roofs.flops_roof(dt.float32) > 0
    assert roofs.bytes_roof(100) == roofs.bytes_roof(200)


@given(flops=st.integers(0, 10**15), nbytes=st.integers(0, 10**12))
def test_a_floor_is_the_larger_of_both_times(flops: int, nbytes: int) -> None:
    patch = pytest.MonkeyPatch()
    with patch.context() as patched:
        patched.setattr(roofs, "flops_roof", lambda dtype: 1e9)
        patched.setattr(roofs, "bytes_roof", lambda nbytes: 1e6)
        assert roofs.floor(flops, nbytes) == max(flops / 1e9, nbytes / 1e6)

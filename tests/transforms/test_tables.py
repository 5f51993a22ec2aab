"""Figures as tables show them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.transforms.tables import count, microseconds, percent


@given(n=st.integers(0, 10**22))
def test_a_count_keeps_its_leading_digits(n: int) -> None:
    text = count(n)
    digits = text.rstrip("KMGTP")
    unit = 1000 ** ["", "K", "M", "G", "T", "P"].index(text[len(digits) :])
    assert int(digits) * unit <= n < (int(digits) + 1) * unit
    assert unit == 1 or int(digits) >= 10
    assert int(digits) < 10_000 or unit == 1000**5
    assert not (n < 10_000 and unit > 1)


def test_what_was_not_measured_is_a_dash() -> None:
    assert [microseconds(None), percent(None)] == ["-", "-"]
    assert [microseconds(2.5e-6), percent(0.043)] == ["2.5", "4"]

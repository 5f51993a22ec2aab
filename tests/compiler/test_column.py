"""ColumnReduce: its machine code does what its naive meaning says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from small_kernels import Drawn, check, columns


@settings(max_examples=15)
@given(columns(), st.data())
def test_columns_are_reduced_as_they_mean(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)

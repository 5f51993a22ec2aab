"""ColumnReduce: its machine code does what its naive meaning says."""

from __future__ import annotations

from few_examples import few
from hypothesis import strategies as st
from small_kernels import Drawn, check, columns


@few(5, 45, columns(), st.data())
def test_columns_are_reduced_as_they_mean(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)

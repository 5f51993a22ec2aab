"""Every family: many more small kernels do what they mean than the tests of each family draw."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_kernels import Drawn, check, columns, nests, nests_together, partial_nests, sequentials

FAMILIES = {
    "nests": nests,
    "nests together": nests_together,
    "partial nests": partial_nests,
    "columns": columns,
    "sequentials": sequentials,
}


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_many_small_kernels_do_what_they_mean(family: str) -> None:
    @settings(max_examples=500)
    @given(FAMILIES[family](), st.data())
    def many(drawn: Drawn, data: st.DataObject) -> None:
        check(drawn, data)

    many()

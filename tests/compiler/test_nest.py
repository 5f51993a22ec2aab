"""Nest: its machine code does what its naive meaning says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from few_examples import few
from hypothesis import strategies as st
from small_kernels import Drawn, check, nests, nests_together, partial_nests

from weft.compiler import stages


@few(10, 90, nests(), st.data())
def test_nests_do_what_they_mean(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)


@few(8, 75, partial_nests(), st.data())
def test_blocks_of_a_row_are_reduced_apart(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)


@few(8, 75, nests_together(), st.data())
def test_points_of_a_short_axis_are_computed_at_a_time(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)


@few(10, 90, nests(), st.data())
def test_stores_past_the_caches(drawn: Drawn, data: st.DataObject) -> None:
    """Whole lines, parts of them and masked ends, in place too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "STREAMED", -1)
        check((replace(drawn[0], streams=True), *drawn[1:]), data)

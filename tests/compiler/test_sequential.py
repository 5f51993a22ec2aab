"""Sequential: its machine code does what its naive meaning says."""

from __future__ import annotations

from few_examples import few
from hypothesis import strategies as st
from small_kernels import Drawn, check, sequentials


@few(17, 150, sequentials(), st.data())
def test_steps_run_in_order(drawn: Drawn, data: st.DataObject) -> None:
    check(drawn, data)

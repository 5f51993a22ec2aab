"""Points as vector lanes: what single points and whole vectors have in common."""

from __future__ import annotations

import weft as wf


def test_bools_are_gathered_one_at_a_time_too() -> None:
    @wf.compile
    def count(x: wf.Tensor, i: wf.Tensor) -> wf.Tensor:  # a running sum takes its elements one by one
        return wf.cumulative_sum(wf.astype(wf.reshape(wf.take(x, i, axis=0), (3, 1)), wf.int64), axis=0)

    x, i = wf.asarray([True, False, True]), wf.asarray([2, 0, 1])
    assert count(x, i).tolist() == [[1], [2], [2]]

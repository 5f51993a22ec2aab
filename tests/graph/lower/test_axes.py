"""Axes: merged or turned, they enumerate the elements that the original axes do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from weft.graph.lower.axes import Axes, across, mergeable, order_of, squeeze
from weft.graph.protocol import Layout

SIZES = st.lists(st.integers(0, 4), min_size=0, max_size=4)


def elements(sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Offsets in the order in which loops over the axes meet them."""
    return [sum(i * s for i, s in zip(at, strides, strict=True)) for at in product(*map(range, sizes))]


@st.composite
def layouts(draw: st.DrawFn, shape: Sequence[int]) -> Layout:
    """Row-major, of an array that is turned, with gaps, or anything else."""
    kind = draw(st.sampled_from(["row-major", "turned", "broadcast", "any"]))
    if kind == "any":
        strides = [draw(st.integers(-3, 9)) for _ in shape]
    else:
        order = list(range(len(shape)))
        order = draw(st.permutations(order)) if kind == "turned" else order
        strides, step = [0] * len(shape), draw(st.integers(1, 2))
        for axis in reversed(order):
            strides[axis] = 0 if kind == "broadcast" and draw(st.booleans()) else step
            step *= max(shape[axis], 1)
    return Layout(tuple(shape), 0, tuple(strides))


ACCESSES = SIZES.flatmap(lambda n: st.tuples(st.just(n), st.lists(layouts(n), min_size=1, max_size=3)))
Drawn = tuple[list[int], list[Layout]]


@given(ACCESSES, st.data())
def test_merged_axes_meet_the_same_elements_in_the_same_order(drawn: Drawn, data: st.DataObject) -> None:
    sizes, given_ = drawn
    cut = data.draw(st.integers(0, len(sizes)))
    axes = Axes(sizes, given_, [(0, cut), (cut, len(sizes))])
    assert sum(axes.counts) == len(axes.sizes) <= len(sizes) and 1 not in axes.sizes
    for layout in given_:
        assert elements(axes.sizes, axes.strides(layout)) == elements(sizes, layout.strides)


@given(SIZES.flatmap(lambda n: st.tuples(st.just(n), layouts(n))))
def test_mergeable_axes_are_those_that_one_axis_walks(drawn: tuple[list[int], Layout]) -> None:
    sizes, layout = drawn
    kept = squeeze(sizes, layout.strides)
    one = [k * kept[1][-1] for k in range(prod(sizes))] if kept[0] else [0]
    assert mergeable(sizes, layout.strides) == (elements(sizes, layout.strides) == one)


@given(ACCESSES, st.data())
def test_across_walks_one_axis_before_the_last(drawn: Drawn, data: st.DataObject) -> None:
    sizes, given_ = drawn
    walked = data.draw(st.integers(0, len(sizes) - 1)) if sizes else 0
    stop = walked + 1 if sizes else 0
    axes, count = across(sizes, (walked, stop), given_)
    *grid, steps, inner = axes.sizes
    assert count == 1 and steps == (sizes[walked] if sizes else 1) and prod(axes.sizes) == prod(sizes)
    for layout in given_:
        *outer, step, last = axes.strides(layout)
        assert step == (layout.strides[walked] if steps != 1 else 0), "of an axis that is not there: 0"
        assert last == 1 or axes.counts[-1], "a vector of one point reads with stride 1"
        whole = np.array(elements(sizes, layout.strides)).reshape(sizes)
        turned = np.moveaxis(whole, walked, -1) if sizes else whole
        found = np.array(elements(axes.sizes, [*outer, step, last])).reshape(axes.sizes)
        assert sorted(found.ravel()) == sorted(turned.ravel())
        assert found[..., :1].size == prod(grid) * steps * min(inner, 1)


@given(SIZES.flatmap(lambda n: st.tuples(layouts(n), st.lists(layouts(n), max_size=2))))
def test_memory_is_walked_from_one_end_to_the_other_where_nothing_is_read_otherwise(
    drawn: tuple[Layout, list[Layout]],
) -> None:
    place, reads = drawn
    order = order_of(place, reads)
    if order is None:
        assert reads
        return
    assert sorted(order) == list(range(len(place.shape)))
    for layout in (place, *reads):
        steps = [layout.strides[a] for a in order if layout.shape[a] != 1 and (layout.strides[a] or layout is place)]
        assert steps == sorted(steps, reverse=True)

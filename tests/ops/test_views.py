"""The views' layouts are NumPy's strides, and a reshape makes a copy only where NumPy must."""

from __future__ import annotations

from typing import Any

import numpy as np
from few_examples import few
from hypothesis import given
from hypothesis import strategies as st

from weft.graph.protocol import Layout, View
from weft.ops.put import layout_at
from weft.ops.subscript import normalize_key
from weft.ops.views import BROADCAST_TO, PERMUTE, RESHAPE, SLICE


def layout_of(x: Any) -> Layout:
    base = x
    while base.base is not None:
        base = base.base
    offset = (x.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // x.itemsize
    return Layout(x.shape, offset, tuple(s // x.itemsize for s in x.strides))


def elements(layout: Layout) -> Any:
    """The buffer positions that a layout visits."""
    grid = np.indices(layout.shape).reshape(len(layout.shape), -1) if layout.shape else np.zeros((0, 1), int)
    return (
        layout.offset + np.asarray(layout.strides, dtype=int) @ grid if layout.strides else np.asarray([layout.offset])
    )


def same(actual: Layout, x: Any) -> None:
    assert actual.shape == x.shape
    if x.size:
        np.testing.assert_array_equal(elements(actual), elements(layout_of(x)))


@st.composite
def strided(draw: Any) -> Any:
    """A view of a buffer: permuted, sliced, broadcast."""
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 4, 6)), max_size=4))
    x = np.zeros(shape, np.int8)
    for axis in range(x.ndim):
        step = draw(st.sampled_from((1, 1, 1, 2, -1)))
        x = np.moveaxis(np.moveaxis(x, axis, 0)[::step], 0, axis)
    x = x.transpose(draw(st.permutations(range(x.ndim))))
    if draw(st.integers(0, 3)) == 0:
        x = np.broadcast_to(x, (2, *x.shape))
    return x


def rule(primitive: Any) -> Any:
    assert isinstance(primitive.lower, View)
    return primitive.lower.layout


@few(75, 900, x=strided(), data=st.data())
def test_reshape(x: Any, data: Any) -> None:
    sizes, left = [], x.size
    while left > 1:
        sizes.append(data.draw(st.sampled_from([f for f in range(2, left + 1) if left % f == 0])))
        left //= sizes[-1]
    for _ in range(data.draw(st.integers(0, 2))):
        sizes.insert(data.draw(st.integers(0, len(sizes))), 1)
    actual = rule(RESHAPE)({"shape": tuple(sizes)}, layout_of(x))
    copied = x.reshape(sizes)
    if np.shares_memory(copied, x):
        assert actual is not None
        same(actual, copied)
    else:
        assert actual is None


@given(x=strided(), data=st.data())
def test_permute_broadcast_slice(x: Any, data: Any) -> None:
    axes = tuple(data.draw(st.permutations(range(x.ndim))))
    same(rule(PERMUTE)({"axes": axes}, layout_of(x)), x.transpose(axes))
    wide = (2, *(5 if n == 1 else n for n in x.shape))
    same(rule(BROADCAST_TO)({"shape": wide}, layout_of(x)), np.broadcast_to(x, wide))
    cut = tuple(slice(data.draw(st.integers(0, n)), None, data.draw(st.sampled_from((1, 2)))) for n in x.shape)
    params = {"starts": tuple(s.start for s in cut), "sizes": x[cut].shape, "steps": tuple(s.step for s in cut)}
    same(rule(SLICE)(params, layout_of(x)), x[cut])


@given(x=strided(), data=st.data())
def test_a_key_lies_where_numpys_view_lies(x: Any, data: Any) -> None:
    key: list[Any] = []
    for n in x.shape:
        if data.draw(st.booleans()):
            key.append(data.draw(st.integers(-n, n - 1)))
        else:
            key.append(slice(data.draw(st.integers(0, n)), None, data.draw(st.sampled_from((1, 1, 2, -1)))))
    for _ in range(data.draw(st.integers(0, 2))):
        key.insert(data.draw(st.integers(0, len(key))), None)
    at = (*key, ...)
    found = layout_at(normalize_key(at, x.shape)[0], layout_of(x))
    backwards = any(s < 0 for s in x.strides) or any(isinstance(k, slice) and k.step < 0 for k in key)
    if found is None:
        assert backwards
    else:
        same(found, x[at])

"""Calls: whatever a function returns, in any order, is what its caller gets, with its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.graph.ir import Graph
from weft.tensor.calls import GraphCall

# What a function of x and y may return: results, a result twice, an operand as it is.
RESULTS: dict[str, Callable[[Any, Any], Any]] = {
    "x": lambda x, y: x,
    "y": lambda x, y: y,
    "sum": lambda x, y: x + y,
    "product": lambda x, y: x * y,
    "row": lambda x, y: (x * y).sum(0),
}
RETURNED = [list(names) for count in (1, 2, 3) for names in itertools.product(RESULTS, repeat=count)]


def graph_of(names: list[str], x: wf.Tensor, y: wf.Tensor) -> Graph:
    return wf.compile(lambda x, y: [RESULTS[name](x, y) for name in names]).graph(x, y)


@pytest.mark.parametrize("first", RESULTS)
def test_outputs_are_in_their_places(first: str) -> None:
    x, y = wf.arange(6.0).reshape(2, 3), wf.ones((2, 3)) * 2.0
    for names in RETURNED:
        if names[0] != first:
            continue
        outputs = GraphCall(graph_of(names, x, y))((x, y))
        for name, output in zip(names, outputs, strict=True):
            assert np.array_equal(output.numpy(), RESULTS[name](x, y).numpy()), (names, name)


@pytest.mark.parametrize("names", [["sum", "x"], ["x", "product"], ["product", "product"], ["row", "y", "sum"]])
def test_gradients_flow_from_each_output_to_each_operand(names: list[str]) -> None:
    a, b = (wf.arange(6.0).reshape(2, 3).requires_grad_() for _ in range(2))
    c, d = (wf.arange(6.0).reshape(2, 3).requires_grad_() for _ in range(2))
    outputs = GraphCall(graph_of(names, a.detach(), b.detach()))((a, b))
    sum((k + 2.0) * (output * output).sum() for k, output in enumerate(outputs)).backward()
    sum((k + 2.0) * (value * value).sum() for k, value in enumerate(RESULTS[n](c, d) for n in names)).backward()
    for ours, plain in ((a, c), (b, d)):
        assert (ours.grad is None) == (plain.grad is None)
        if ours.grad is not None and plain.grad is not None:
            np.testing.assert_allclose(ours.grad.numpy(), plain.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 3])
def test_the_index_that_is_shown_is_the_one_that_is_wrong(size: int) -> None:
    """Not one at an end of what is right, from the front or from the back."""
    x, right = wf.arange(float(size)), [0, size - 1, -1, -size]
    for wrong in (size, -size - 1):
        with pytest.raises(wf.WeftError, match=f"index {wrong} is out of range for axis 0 of size {size}"):
            wf.take(x, wf.asarray([*right, wrong]))
    assert wf.take(x, wf.asarray(right)).tolist() == [0.0, size - 1.0, size - 1.0, 0.0]

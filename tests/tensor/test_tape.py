"""The tape by itself: what records keep and for how long, where they were made, the order in which gradients add up."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.core.errors import AutogradError
from weft.tensor import tape


def leaf(*values: float) -> wf.Tensor:
    return wf.asarray(list(values)).requires_grad_()


def line_here() -> int:
    return sys._getframe(1).f_lineno


# --- the order of additions -----------------------------------------------------------------------------------------


@given(st.permutations(range(7)), st.integers(0, 1000))
def test_contributions_add_up_from_the_last_call_to_the_first(order: list[int], seed: int) -> None:
    """Whatever reads the calls' results, and in which order: docs/numerics.md, Gradients."""
    factors = (np.random.default_rng(seed).standard_normal(7) * 10.0 ** np.arange(7)).astype(np.float32)
    x = leaf(1.0)
    made = [x * float(f) for f in factors]
    total = made[order[0]]
    for at in order[1:]:
        total = total + made[at]
    total.backward()
    expected = np.float32(0)
    for factor in factors[::-1]:
        expected = np.float32(expected + factor)
    assert x.grad is not None and x.grad.numpy().tobytes() == expected.tobytes()


def test_operands_of_one_call_add_up_from_left_to_right() -> None:
    x = leaf(1.0)
    wf.stack([x, x, x]).backward(wf.asarray([[1.0], [1e8], [-1e8]]))
    assert x.grad is not None and x.grad.tolist() == [0.0]  # (1 + 1e8) - 1e8 in float32


# --- what a record keeps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        (lambda x, y: x + y, 0),
        (lambda x, y: x * y, 2),
        (lambda x, y: x * y.detach(), 1),
        (lambda x, y: wf.exp(x), 1),
        (lambda x, y: x.sum(), 0),
        (lambda x, y: x[1:], 0),
        (lambda x, y: wf.maximum(x, y), 2),
    ],
    ids=["sum", "product", "product with a constant", "exp", "reduction", "view", "maximum"],
)
def test_a_record_keeps_what_its_gradient_needs(call: Callable[..., Any], kept: int) -> None:
    made = call(leaf(1.0, 2.0), leaf(3.0, 4.0))
    assert len(made._node.saved) == kept


def test_what_is_kept_is_freed_by_backward_and_by_forgetting_the_result() -> None:
    size = 1 << 20

    def used() -> int:
        gc.collect()
        return wf.memory.stats().current

    x = wf.ones(size // 4).requires_grad_()
    before = used()
    y = wf.exp(x * 2.0)
    z = y.sum()
    del y
    assert used() - before >= size  # exp's result, which its gradient needs
    z.backward()
    x.grad = None
    assert used() - before < size
    with pytest.raises(AutogradError, match="backward a second time through exp"):
        z.backward()
    y = wf.exp(x * 2.0)
    del y, z
    assert used() - before < size


def test_retaining_keeps_it_and_adds_up() -> None:
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    held = x.grad
    y.backward()
    assert held is x.grad and held is not None and held.tolist() == [8.0]


@pytest.mark.parametrize("which", ["operand", "result"])
def test_a_value_that_was_written_since_is_an_error_with_both_lines(which: str) -> None:
    x = leaf(1.0, 2.0)
    a = x * 1.0
    y = a * a if which == "operand" else wf.exp(a)
    made = line_here() - 1
    (a if which == "operand" else y).add_(1.0)
    written = line_here() - 1
    with pytest.raises(AutogradError) as caught:
        y.sum().backward()
    assert f"{__file__}:{made}" in str(caught.value) and f"{__file__}:{written}" in str(caught.value)
    assert x.grad is None


def test_a_gradient_is_memory_of_its_own() -> None:
    x, g = leaf(1.0, 2.0), wf.asarray([3.0, 4.0])
    x.view(2).backward(g)
    assert x.grad is not None
    g.zero_()
    assert x.grad.tolist() == [3.0, 4.0]
    x.grad.zero_()
    y = leaf(1.0)
    z = y + leaf(1.0)
    h = wf.ones(1)
    z.backward(h)
    h.zero_()
    assert y.grad is not None and y.grad.tolist() == [1.0]


def test_gradients_that_are_asked_for_leave_those_of_leaves_alone() -> None:
    x = leaf(3.0)
    assert wf.grad(lambda t: (t * t * x).sum())(leaf(2.0)).tolist() == [12.0]
    assert x.grad is None


def test_a_long_tape_is_walked_without_recursion() -> None:
    x = leaf(1.0)
    y: Any = x
    for _ in range(20 * sys.getrecursionlimit()):
        y = y + 1.0
    y.backward()
    assert x.grad is not None and x.grad.tolist() == [1.0]
    del y  # nor does forgetting it recurse


# --- modes ----------------------------------------------------------------------------------------------------------


def test_modes_nest_and_come_back_after_an_error() -> None:
    mode = wf.no_grad()
    with mode:
        with wf.enable_grad(), mode:
            assert not tape.recording.enabled
        assert not tape.recording.enabled
        with pytest.raises(KeyError), wf.enable_grad():
            raise KeyError
        assert not tape.recording.enabled
    assert tape.recording.enabled


# --- places ---------------------------------------------------------------------------------------------------------


def test_a_place_is_the_users_line_however_deep_the_call() -> None:
    where = tape.where_of(tape.place(1))
    assert where == (__file__, line_here() - 1)
    x = leaf(1.0)
    found = [t._node.place for t in (x * x, wf.exp(x), wf.nn.functional.gelu(x))]
    assert [tape.where_of(place) for place in found] == [(__file__, line_here() - 1)] * 3
    assert tape.where_of(None) is None

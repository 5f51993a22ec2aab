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
from weft.runtime import storage as storages
from weft.tensor import lines, tape
from weft.tensor.native_tape import chosen, never


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
    where = lines.where_of(lines.place(1))
    assert where == (__file__, line_here() - 1)
    x = leaf(1.0)
    found = [t._node.place for t in (x * x, wf.exp(x), wf.nn.functional.gelu(x))]
    assert [lines.where_of(place) for place in found] == [(__file__, line_here() - 1)] * 3
    assert lines.where_of(None) is None


# --- records, as they are made natively -------------------------------------------------------------------------------


def fields(record: Any) -> Any:
    """What a record says, in terms of what it was made of; where its own results stand."""
    saved = [(id(s), spec, "own" if tape.is_own(n) else n, i, v) for s, spec, n, i, v in record.saved]
    return record.backward, record.call, record.place, record.parents, saved, sorted(dir(record))


CALLS: list[Any] = [
    lambda x, y: wf.sin(x),
    lambda x, y: x + y,
    lambda x, y: x * y.detach(),
    lambda x, y: x.detach() * y,
    lambda x, y: wf.where(x > 0, x, y),
    lambda x, y: wf.exp(x),
    lambda x, y: x.max(0).values,
    lambda x, y: x.max(0, keepdim=True).values.sum(),
    lambda x, y: wf.astype(x, wf.int32) * 2,
    lambda x, y: wf.linalg.qr(x @ x.T)[1],
]


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_native_records_are_those_of_python(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = (wf.tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True) for _ in range(2))
    made: list[Any] = []
    assert chosen() is storages.record
    for put in (storages.record, never):
        monkeypatch.setattr(tape, "_put", put)
        made.append(CALLS[number](x, y))
    native, stepwise = (each._node for each in made)
    assert (native is None) == (stepwise is None)
    if native is not None:
        assert native.sequence < stepwise.sequence
        own = [[s for s, _, n, *_ in r.saved if tape.is_own(n)] for r in (native, stepwise)]
        assert [len(each) for each in own] == [len(own[0])] * 2
        a, b = fields(native), fields(stepwise)
        assert (a[0], a[1], a[5]) == (b[0], b[1], b[5])
        assert [p[1] for p in a[3]] == [p[1] for p in b[3]]
        assert [(spec, i) for _, spec, _, i, _ in a[4]] == [(spec, i) for _, spec, _, i, _ in b[4]]
        assert made[0]._index == made[1]._index


def test_native_records_hold_nothing_but_what_they_say() -> None:
    x = wf.tensor([1.0, 2.0], requires_grad=True)
    node, storage, spec = x._node, x._storage, x._spec
    wf.sin(x) * x
    before = [sys.getrefcount(each) for each in (node, storage, spec)]
    for _ in range(1000):
        wf.sin(x) * x
        with wf.no_grad():
            wf.sin(x)
    assert [sys.getrefcount(each) for each in (node, storage, spec)] == before

"""Dispatch: equal signatures share a plan, different ones do not, and no tensor is lost on the way through one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft.ops.op import Array, Composite, composite
from weft.tensor.dispatch import _fill, _flatten, _hollow, configure, forget_plans

TENSORS = [wf.arange(n + 1) for n in range(3)]
LEAVES = st.one_of(
    st.sampled_from(TENSORS),
    st.sampled_from([None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, float("nan"), "a", wf.float32]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    ),
    max_leaves=6,
)


def text(value: Any) -> str:
    """Equal for values that are the same, tensors by identity: ``1``, ``1.0`` and ``True`` are three things."""
    if isinstance(value, wf.Tensor):
        return f"tensor {id(value)}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(map(text, value))})"
    if isinstance(value, dict):
        return f"dict({', '.join(f'{k}: {text(v)}' for k, v in value.items())})"
    return f"{type(value).__name__} {value!r}"


def emptied(value: Any) -> str:
    """:func:`text`, whatever the tensors are."""
    return " ".join(f"tensor {'x' if word[:1].isdigit() else word}" for word in text(value).split("tensor "))


@given(VALUES)
def test_tensors_are_taken_out_of_arguments_and_put_back(value: Any) -> None:
    tensors: list[wf.Tensor] = []
    _flatten(value, tensors)
    numbers = [0]
    hollow = _hollow(value, numbers)
    assert numbers == [len(tensors)]
    assert text(_fill(hollow, tensors)) == text(value)


@given(VALUES, VALUES)
def test_static_arguments_are_equal_where_they_are_the_same(a: Any, b: Any) -> None:
    one, two = _flatten(a, []), _flatten(b, [])
    numbers = [0], [0]
    if text(_fill(_hollow(a, numbers[0]), TENSORS * 6)) == text(_fill(_hollow(b, numbers[1]), TENSORS * 6)):
        assert one == two and hash(one) == hash(two)
    elif not isinstance(a, dict) and not isinstance(b, dict):  # an empty one is like an empty tuple of pairs
        assert one != two or "dict" in text(a) + text(b)


@composite
def scaled(x: Array, y: Array, /, factor: float = 1.0) -> Array:
    return x * y * factor


def planned(function: Composite) -> int:
    """How many plans a function has: plans of other tests may have made a generation of these the older one."""
    return len({*function.plans, *function.older})


@pytest.fixture
def fresh() -> Composite:
    forget_plans()
    assert isinstance(scaled, Composite)
    return scaled


def test_a_call_of_tensors_alone_takes_the_quick_way_from_the_second_time_on(fresh: Composite) -> None:
    x, y = wf.arange(3.0), wf.ones(3)
    first = fresh(x, y)
    (plan,) = fresh.quick.values()
    assert plan.single and list(fresh.quick) == [(x._spec, y._spec)]
    assert np.array_equal(fresh(y, x).numpy(), first.numpy()) and planned(fresh) == 1
    fresh(x, y, 2.0)  # a number decides what is computed
    assert len(fresh.quick) == 1 and planned(fresh) == 2


def test_what_decides_about_code_has_a_plan_of_its_own(fresh: Composite) -> None:
    x, y = wf.arange(4.0), wf.ones(4)
    calls = [(x, y), (x[::2], y[::2]), (x.to(wf.float64), y), (x, y, 2.0), (x, y, -0.0), (x, y, 0.0), (x, y, True)]
    for number, call in enumerate(calls, 1):
        fresh(*call)
        fresh(*call)
        assert planned(fresh) == number


def test_plans_are_dropped_where_settings_change(fresh: Composite) -> None:
    x = wf.ones(3)
    fresh(x, x)
    configure()
    assert not fresh.plans and not fresh.quick
    assert fresh(x, x).tolist() == [1.0, 1.0, 1.0]

"""Guards: what a capture read of Python state is noticed when it changes, and only then."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weft as wf
from weft import nn
from weft.tensor import guards


class Owner:
    def __init__(self, value: Any):
        self.value = value


@pytest.mark.parametrize(
    ("before", "after", "holds"),
    [
        (True, True, True),
        (True, False, False),
        (1, 1, True),
        (1, 1.0, False),
        (1, True, False),
        ("a", "a", True),
        (None, None, True),
        ((1, 2.0), (1, 2.0), True),
        ((1, 2), (1, 3), False),
        ((1,), (1, 1), False),
        (float("nan"), float("nan"), True),
        ([1], [1], False),
    ],
)
def test_plain_values_compare_by_value_and_type(before: Any, after: Any, holds: bool) -> None:
    owner = Owner(before)
    with guards.recording() as recorded:
        guards.read(owner, "value", owner.value)
    owner.value = after
    assert [g.holds() for g in recorded.seen] == [holds]


Pair = namedtuple("Pair", "first second")
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 2), st.floats(), st.sampled_from([0.0, -0.0, 1.0, float("nan"), ""])
    ),
    lambda sub: st.one_of(st.lists(sub, max_size=2).map(tuple), st.tuples(sub, sub).map(Pair._make)),
    max_leaves=4,
)


@given(a=plain, b=plain)
def test_plain_values_are_the_same_when_they_print_the_same(a: Any, b: Any) -> None:
    """Text tells 0.0 from -0.0, 1 from 1.0 and True, a named tuple from a plain one, but no NaN from another."""
    assert guards.same(a, b) is (repr(a) == repr(b))
    guard = guards.Guard(Owner(b), "value", a)
    assert guard.holds() is (repr(a) == repr(b))
    assert guards.rewritten(guard, lambda value: value) == guard or "nan" in repr(a)
    negated = guards.rewritten(guard, lambda value: repr(value)).value  # every leaf
    assert type(negated) is (type(a) if isinstance(a, tuple) else str)
    assert not guards.same(a, guards.ABSENT) and guards.same(a, guards.ANYTHING)


class Asked:
    def __init__(self, value: Any):
        self.value = value

    def guarded(self) -> Any:
        return self.value


@pytest.mark.parametrize("nested", [False, True])
def test_a_guard_of_any_owner_knows_what_stands_for_other_values(nested: bool) -> None:
    """Attributes, entries of dicts, and what an owner says of itself."""

    def owners(value: Any) -> list[tuple[Any, str]]:
        value = (1, value) if nested else value
        return [(Owner(value), "value"), ({"value": value}, "value"), (Asked(value), "")]

    def holds(value: Any, stands: Any) -> list[bool]:
        return [guards.Guard(o, name, (1, stands) if nested else stands).holds() for o, name in owners(value)]

    x, y, z = wf.ones(2), wf.zeros(2), wf.ones(3)
    for anything in (x, None, 3, object()):
        assert holds(anything, guards.ANYTHING) == [True] * 3
    assert holds(y, guards.like(x)) == [True] * 3
    for other in (z, 3, None, wf.ones(2).requires_grad_() * 1.0):
        assert holds(other, guards.like(x)) == [False] * 3
    assert holds(x, x) == [True] * 3 and holds(y, x) == [False] * 3
    for owner, name in ((Owner(1), "gone"), ({}, "value")):
        assert not guards.Guard(owner, name, guards.ANYTHING).holds()


class Scaled(nn.Module):
    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale, self.pair = scale, (scale, 1.0)

    def forward(self, x: Any) -> Any:
        return x * self.scale + (self.pair.first if hasattr(self.pair, "first") else self.pair[1])


def test_an_attribute_that_is_nan_is_read_once() -> None:
    """NaN is unequal to itself; a guard that compared so would capture at every call."""
    net, x = Scaled(float("nan")), wf.ones(2)
    compiled = wf.compile(lambda t: net(t))
    first = compiled(x)
    entries = [e for found in compiled._entries.values() for e in found]
    for _ in range(3):
        net.scale, net.pair = float("nan"), (float("nan"), 1.0)
        assert np.isnan(compiled(x).numpy()).all()
    assert np.isnan(first.numpy()).all()
    assert [e for found in compiled._entries.values() for e in found] == entries
    net.scale, net.pair = 2.0, Pair(5.0, 1.0)
    assert compiled(x).tolist() == net(x).tolist() == [7.0, 7.0]
    net.pair = (5.0, 1.0)
    assert compiled(x).tolist() == net(x).tolist() == [3.0, 3.0]
    net.scale = -0.0
    net.pair = (0.0, -0.0)
    assert np.signbit(compiled(x).numpy()).tolist() == np.signbit(net(x).numpy()).tolist() == [True, True]


def test_objects_compare_by_identity() -> None:
    owner = Owner(object())
    guard = guards.Guard(owner, "value", owner.value)
    assert guard.holds()
    owner.value = object()
    assert not guard.holds()
    del owner.value
    assert not guard.holds()


def test_nothing_is_recorded_outside_and_inner_recordings_report_to_the_outer() -> None:
    owner = Owner(1)
    assert guards.read(owner, "value", 1) == 1 and not guards.is_recording()
    with guards.recording() as outer:
        with guards.recording() as inner:
            guards.read(owner, "value", 1)
        guards.read(owner, "value", 1)
    assert (len(inner.seen), len(outer.seen)) == (1, 2) and not guards.is_recording()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.factor = nn.Linear(2, 2), 2.0
        self.blocks = nn.ModuleList([nn.Identity()])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.fc(x) * self.factor if self.training else x


CHANGES = {
    "mode": lambda net: net.eval(),
    "attribute": lambda net: setattr(net, "factor", 3.0),
    "parameter": lambda net: setattr(net.fc, "weight", nn.Parameter(wf.ones((2, 2)))),
    "parameter gone": lambda net: setattr(net.fc, "bias", None),
    "module": lambda net: setattr(net, "fc", nn.Linear(2, 2)),
    "list": lambda net: net.blocks.append(nn.Tanh()),
    "hook": lambda net: net.register_forward_hook(lambda module, args, output: output + 1.0),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_compiled_module_notices_what_it_was_specialised_on(name: str) -> None:
    net, x = Net(), wf.asarray([[1.0, -2.0]])
    compiled = wf.compile(lambda t: net(t))
    assert compiled(x).numpy().tobytes() == net(x).numpy().tobytes()
    version = guards.version()
    CHANGES[name](net)
    assert guards.version() > version
    assert compiled(x).numpy().tobytes() == net(x).numpy().tobytes()


def test_new_values_of_parameters_need_no_new_capture() -> None:
    net, x = nn.Linear(2, 2), wf.asarray([[1.0, -2.0]])
    compiled: Any = wf.compile(net)
    compiled(x)
    with wf.no_grad():
        net.weight.assign(wf.ones((2, 2)))
    np.testing.assert_array_equal(compiled(x).numpy(), net(x).numpy())
    assert len(compiled.cache_info().graphs) == 1

"""Guards: what a capture read of Python state is noticed when it changes, and only then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
    net, x, calls = nn.Linear(2, 2), wf.asarray([[1.0, -2.0]]), []

    def forward(t: Any) -> Any:
        calls.append(1)
        return net(t)

    compiled = wf.compile(forward)
    compiled(x)
    with wf.no_grad():
        net.weight.assign(wf.ones((2, 2)))
    np.testing.assert_array_equal(compiled(x).numpy(), net(x).numpy())
    assert len(calls) == 1

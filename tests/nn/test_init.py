"""Initial values: the distributions' moments and bounds, in place, from the stream that is given."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import init

FAN_IN, FAN_OUT = 60 * 6, 50 * 6


def weight() -> Any:
    return nn.Parameter(wf.zeros((50, 60, 2, 3)))


# name, call, wanted standard deviation, bound (None: none)
TABLE = [
    ("uniform", lambda t, **k: init.uniform_(t, -2.0, 2.0, **k), 2 / math.sqrt(3), 2.0),
    ("normal", lambda t, **k: init.normal_(t, 0.0, 3.0, **k), 3.0, None),
    ("trunc_normal", lambda t, **k: init.trunc_normal_(t, 0.0, 1.0, -1.0, 1.0, **k), 0.5396, 1.0),
    (
        "kaiming_uniform",
        lambda t, **k: init.kaiming_uniform_(t, nonlinearity="relu", **k),
        math.sqrt(2 / FAN_IN),
        math.sqrt(6 / FAN_IN),
    ),
    (
        "kaiming_normal",
        lambda t, **k: init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu", **k),
        math.sqrt(2 / FAN_OUT),
        None,
    ),
    (
        "xavier_uniform",
        lambda t, **k: init.xavier_uniform_(t, 2.0, **k),
        2 * math.sqrt(2 / (FAN_IN + FAN_OUT)),
        2 * math.sqrt(6 / (FAN_IN + FAN_OUT)),
    ),
    ("xavier_normal", lambda t, **k: init.xavier_normal_(t, **k), math.sqrt(2 / (FAN_IN + FAN_OUT)), None),
]


@pytest.mark.parametrize(("call", "std", "bound"), [pytest.param(*c[1:], id=c[0]) for c in TABLE])
def test_moments_and_bounds(call: Any, std: float, bound: float | None) -> None:
    t = weight()
    assert call(t) is t and t.requires_grad
    values = t.numpy().astype(np.float64)
    assert values.std() == pytest.approx(std, rel=0.03) and abs(values.mean()) < 0.03 * std
    if bound is not None:
        assert 0.98 * bound < abs(values).max() <= bound


@pytest.mark.parametrize(("call", "std", "bound"), [pytest.param(*c[1:], id=c[0]) for c in TABLE])
def test_a_generator_decides_the_values(call: Any, std: float, bound: float | None) -> None:
    a, b = (call(weight(), generator=wf.random.Generator(7)).numpy().tobytes() for _ in range(2))
    assert a == b


def test_constants() -> None:
    t = nn.Parameter(wf.zeros((2, 3), dtype="float64"))
    assert init.ones_(t).tolist() == [[1.0] * 3] * 2 and init.constant_(t, 0.3).tolist() == [[0.3] * 3] * 2
    assert init.eye_(t).tolist() == [[1, 0, 0], [0, 1, 0]] and init.zeros_(t).tolist() == [[0.0] * 3] * 2
    assert t.dtype is wf.float64


def test_gains() -> None:
    gains = [init.calculate_gain(n) for n in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu")]
    assert gains == pytest.approx([1, 1, 5 / 3, 2**0.5, (2 / 1.0001) ** 0.5, 0.75])
    assert init.calculate_gain("leaky_relu", 1.0) == 1.0


def test_misuse() -> None:
    with pytest.raises(wf.ShapeError, match="kaiming_uniform_: a tensor of shape"):
        init.kaiming_uniform_(wf.zeros((3,)))
    with pytest.raises(ValueError, match="'fan_in' or 'fan_out'"):
        init.kaiming_normal_(wf.zeros((3, 3)), mode="fan")
    with pytest.raises(ValueError, match="'softmax' is none of"):
        init.calculate_gain("softmax")
    with pytest.raises(ValueError, match="hardly any"):
        init.trunc_normal_(wf.zeros((3,)), 0.0, 1.0, 10.0, 11.0)
    with pytest.raises(wf.ShapeError, match="not a matrix"):
        init.eye_(wf.zeros((3,)))

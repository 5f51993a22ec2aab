"""Initial values: the distributions' moments and bounds, in place, from the stream that is given."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from few_examples import few
from hypothesis import strategies as st

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


centers = st.floats(-100, 100)
widths = st.floats(0.01, 50)


@few(
    13,
    120,
    mean=centers,
    std=widths,
    low=st.floats(-2.5, 2.0),
    length=st.floats(0.05, 4.0),
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
)
def test_truncated_draws_lie_within_their_bounds(
    mean: float, std: float, low: float, length: float, dtype: str
) -> None:
    """In the tensor's dtype, wherever the bounds lie; and reach near to both of them."""
    a, b = mean + low * std, mean + (low + length) * std
    t = init.trunc_normal_(wf.zeros((2000,), dtype=dtype), mean, std, a, b)
    assert t.dtype.name == dtype
    values = t.numpy().astype(np.float64)
    first, last = (float(np.asarray(v).astype(t.numpy().dtype)) for v in (a, b))
    assert first <= values.min() and values.max() <= last
    spacing = 2 * abs(np.asarray([a, b, mean])).max() * {"bfloat16": 2**-8, "float16": 2**-11}.get(dtype, 2**-20)
    assert values.min() - a < 0.5 * (b - a) + spacing and b - values.max() < 0.5 * (b - a) + spacing


@pytest.mark.parametrize("bound", [math.inf, 30.0])
def test_bounds_that_hold_everything_change_nothing(bound: float) -> None:
    free = init.normal_(wf.zeros((500,)), 1.0, 2.0, generator=wf.random.Generator(3))
    cut = init.trunc_normal_(wf.zeros((500,)), 1.0, 2.0, -bound, bound, generator=wf.random.Generator(3))
    assert free.tolist() == cut.tolist()


def test_rare_draws_are_drawn_until_all_are_there() -> None:
    """About 2 in 1000 are inside at the first draw."""
    values = init.trunc_normal_(wf.zeros((300,)), 0.0, 1.0, 2.9, 3.5).numpy()
    assert values.min() >= np.float32(2.9) and values.max() <= 3.5


BAD = [None, "text", [1.0], {"a": 1}, object(), {1, 2}, int]


@pytest.mark.parametrize("name", init.__all__)
def test_what_is_no_tensor_and_no_number_is_an_error_of_the_function(name: str) -> None:
    function = getattr(init, name)
    more = {"constant_": {"val": 1.0}, "sparse_": {"sparsity": 0.5}}.get(name, {})
    for bad in BAD:
        if not (name == "calculate_gain" and bad == "text"):
            with pytest.raises(wf.WeftError, match=f"{name}: "):
                function(bad, **more)
    tensor = wf.zeros((2, 3))
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        for bad in BAD[1:]:
            first: Any = "leaky_relu" if name == "calculate_gain" else tensor
            with pytest.raises(wf.WeftError):
                function(first, **{**more, parameter.name: bad})
    assert tensor.shape == (2, 3)


@pytest.mark.parametrize(
    "given_", [{"std": 0.0}, {"std": -1.0}, {"std": math.nan}, {"mean": math.nan}, {"a": math.nan}]
)
def test_no_distribution(given_: dict[str, float]) -> None:
    with pytest.raises(wf.ArgumentError, match="trunc_normal_: "):
        init.trunc_normal_(wf.zeros(3), **given_)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_"])
def test_draws_are_floating_point_numbers(name: str) -> None:
    with pytest.raises(wf.DTypeError):
        getattr(init, name)(wf.zeros(3, dtype="int32"))


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


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (4, 3, 2), (3, 0)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    x = nn.init.orthogonal_(wf.zeros(shape, dtype=wf.float64), gain=2.0)
    flat = x.numpy().reshape(shape[0], -1)
    square = flat @ flat.T if shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(square, 4.0 * np.eye(len(square)), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 2, 3), (6, 2, 2, 3), (3, 5, 1, 2, 3)])
@pytest.mark.parametrize("groups", [1, 3])
def test_dirac_as_pytorch(shape: tuple[int, ...], groups: int) -> None:
    torch = pytest.importorskip("torch")
    if shape[0] % groups:
        with pytest.raises(wf.ShapeError, match="are not 3 equal groups"):
            nn.init.dirac_(wf.ones(shape), groups)
        return
    wanted = torch.nn.init.dirac_(torch.ones(shape), groups)
    assert nn.init.dirac_(wf.ones(shape), groups).tolist() == wanted.tolist()


def test_sparse() -> None:
    x = nn.init.sparse_(wf.zeros((10, 4)), 0.25, std=2.0).numpy()
    assert ((x == 0).sum(0) == 3).all() and 0.5 < x[x != 0].std() < 4.0
    for wrong in (lambda: nn.init.sparse_(wf.zeros((2,)), 0.5), lambda: nn.init.orthogonal_(wf.zeros((2,)))):
        with pytest.raises(wf.ShapeError, match="wants two axes"):
            wrong()

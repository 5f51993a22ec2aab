"""Activations: their values against NumPy in float64, their gradients against differences, and what happens far out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient

import weft as wf
from weft.nn import functional as F

erf = np.vectorize(math.erf)


def np_sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def np_softplus(x: Any, beta: float = 1.0) -> Any:
    return np.logaddexp(0.0, beta * x) / beta


def np_elu(x: Any, alpha: float = 1.0) -> Any:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


# name, function, the same in NumPy; None: elementwise in one argument with its defaults
TABLE: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("relu", F.relu, lambda x: np.maximum(x, 0)),
    ("relu6", F.relu6, lambda x: np.clip(x, 0, 6)),
    ("leaky_relu", F.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    ("leaky_relu(0.2)", lambda x: F.leaky_relu(x, 0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    ("elu", F.elu, np_elu),
    ("elu(0.5)", lambda x: F.elu(x, alpha=0.5), lambda x: np_elu(x, 0.5)),
    ("selu", F.selu, lambda x: 1.0507009873554805 * np_elu(x, 1.6732632423543772)),
    ("gelu", F.gelu, lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    (
        "gelu(tanh)",
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    ("silu", F.silu, lambda x: x * np_sigmoid(x)),
    ("mish", F.mish, lambda x: x * np.tanh(np_softplus(x))),
    ("softplus", F.softplus, np_softplus),
    ("softplus(3)", lambda x: F.softplus(x, beta=3.0), lambda x: np_softplus(x, 3.0)),
    ("softsign", F.softsign, lambda x: x / (1 + np.abs(x))),
    ("logsigmoid", F.logsigmoid, lambda x: -np_softplus(-x)),
    ("hardtanh", F.hardtanh, lambda x: np.clip(x, -1, 1)),
    ("hardtanh(-2, 3)", lambda x: F.hardtanh(x, -2.0, 3.0), lambda x: np.clip(x, -2, 3)),
    ("hardsigmoid", F.hardsigmoid, lambda x: np.clip(x + 3, 0, 6) / 6),
    ("hardswish", F.hardswish, lambda x: x * np.clip(x + 3, 0, 6) / 6),
    ("celu", F.celu, np_elu),
    ("celu(2)", lambda x: F.celu(x, 2.0), lambda x: 2.0 * np_elu(x / 2.0)),
    ("hardshrink", F.hardshrink, lambda x: np.where(np.abs(x) <= 0.5, 0, x)),
    ("hardshrink(2)", lambda x: F.hardshrink(x, 2.0), lambda x: np.where(np.abs(x) <= 2, 0, x)),
    ("softshrink", F.softshrink, lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("softshrink(2)", lambda x: F.softshrink(x, 2.0), lambda x: np.sign(x) * np.maximum(np.abs(x) - 2, 0)),
    ("tanhshrink", F.tanhshrink, lambda x: x - np.tanh(x)),
    ("threshold", lambda x: F.threshold(x, 1.0, -3.0), lambda x: np.where(x <= 1, -3, x)),
    ("rrelu", F.rrelu, lambda x: np.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2)),
    ("tanh", F.tanh, np.tanh),
    ("sigmoid", F.sigmoid, np_sigmoid),
]
CASES = [pytest.param(f, reference, id=name) for name, f, reference in TABLE]
POINTS = np.concatenate([np.linspace(-9, 9, 61) + 0.013, [-88.5, -30.3, 30.2, 87.5]])


@pytest.mark.parametrize(("function", "reference"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_value(function: Any, reference: Any, dtype: str) -> None:
    x = POINTS.astype(dtype)
    got = function(wf.asarray(x)).numpy()
    assert got.dtype == x.dtype
    # Relative to the largest value near by: gelu and the like cancel in their negative tails.
    np.testing.assert_allclose(
        got,
        reference(x.astype(np.float64)),
        rtol=1e-6 if dtype == "float32" else 1e-9,
        atol=1e-6 if dtype == "float32" else 1e-9,
    )


@pytest.mark.parametrize(("function", "reference"), CASES)
def test_gradient_is_the_slope(function: Any, reference: Any) -> None:
    x = (np.linspace(-7, 7, 57) + 0.017).astype(np.float64)
    h = 1e-6
    slope = (reference(x + h) - reference(x - h)) / (2 * h)
    got = wf.grad(lambda t: wf.sum(function(t)))(wf.asarray(x)).numpy()
    np.testing.assert_allclose(got, slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("function", "reference"), CASES)
def test_far_out_nothing_is_nan(function: Any, reference: Any) -> None:
    x = wf.asarray(np.array([-1e12, -1e4, -200.0, 0.0, 200.0, 1e4, 1e12], np.float32)).requires_grad_()
    y = function(x)
    y.sum().backward()
    assert not np.isnan(y.numpy()).any()
    assert np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(("function", "reference"), CASES)
def test_nan_stays(function: Any, reference: Any) -> None:
    assert np.isnan(function(wf.asarray([float("nan"), 1.0])).numpy()).tolist() == [True, False]


@pytest.mark.parametrize(("function", "reference"), CASES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(function: Any, reference: Any, dtype: str) -> None:
    x = wf.astype(wf.asarray(POINTS.astype(np.float32)), dtype)
    rounded = wf.astype(function(wf.astype(x, "float32")), dtype)
    assert function(x).dtype.name == dtype
    assert function(x).numpy().tobytes() == rounded.numpy().tobytes()


@pytest.mark.parametrize(("function", "reference"), CASES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 5)])
def test_any_shape(function: Any, reference: Any, shape: tuple[int, ...]) -> None:
    x = np.linspace(-2.1, 2.3, math.prod(shape), dtype=np.float32).reshape(shape)
    got = function(wf.asarray(x))
    assert got.shape == shape
    np.testing.assert_allclose(got.numpy(), reference(x) if x.size else x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("function", "reference"), CASES)
def test_compiled_equals_eager_in_bits(function: Any, reference: Any) -> None:
    x = wf.asarray(POINTS.astype(np.float32))
    assert wf.compile(function)(x).numpy().tobytes() == function(x).numpy().tobytes()


def test_relu_takes_integers_and_its_gradient_at_zero_is_zero() -> None:
    assert F.relu(wf.asarray([-2, 3])).tolist() == [0, 3]
    assert wf.grad(lambda x: wf.sum(F.relu(x)))(wf.asarray([0.0, -0.0, 1.0])).tolist() == [0.0, 0.0, 1.0]


def test_prelu_has_a_slope_for_each_channel() -> None:
    x = np.array([[[-1.0, 2.0], [-3.0, 4.0]]], np.float32)  # (N, C, L) = (1, 2, 2)
    slope = np.array([0.5, 0.1], np.float32)
    got = F.prelu(wf.asarray(x), wf.asarray(slope)).numpy()
    np.testing.assert_allclose(got, np.where(x > 0, x, x * slope[:, None]))
    assert F.prelu(wf.asarray([-2.0]), wf.asarray(0.5)).tolist() == [-1.0]


@pytest.mark.parametrize("name", ["gelu", "silu", "softmax", "log_softmax", "elu", "hardtanh"])
def test_integers_are_an_error(name: str) -> None:
    with pytest.raises(wf.DTypeError, match=f"{name}: int64 operands"):
        getattr(F, name)(wf.asarray([1, 2]))


def test_gelu_names_its_approximations() -> None:
    with pytest.raises(ValueError, match="'none' or 'tanh'"):
        F.gelu(wf.asarray([1.0]), approximate="sigmoid")


# --- softmax ----------------------------------------------------------------------------------------------------


def np_softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 129), (4, 1), (0, 3)])
def test_softmax_and_log_softmax_on_every_axis(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32) * 5
    for axis in range(-len(shape), len(shape)):
        if shape[axis] == 0:
            continue
        wanted = np_softmax(x.astype(np.float64), axis)
        np.testing.assert_allclose(F.softmax(wf.asarray(x), axis).numpy(), wanted, rtol=2e-6)
        np.testing.assert_allclose(F.softmax(wf.asarray(x), axis=axis).numpy(), wanted, rtol=2e-6)
        np.testing.assert_allclose(F.log_softmax(wf.asarray(x), dim=axis).numpy(), np.log(wanted), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_gradient_is_the_slope(function: Any) -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(2, 3, 5)), rng.normal(size=(2, 3, 5))
    f = np_softmax if function is F.softmax else lambda a, axis: np.log(np_softmax(a, axis))
    for axis in (0, 1, 2):
        got = wf.grad(lambda t, axis=axis: wf.sum(function(t, axis) * wf.asarray(w)))(wf.asarray(x)).numpy()
        slope = np.empty_like(x)
        for at in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[at] = 1e-6
            slope[at] = ((f(x + step, axis) - f(x - step, axis)) * w).sum() / 2e-6
        np.testing.assert_allclose(got, slope, rtol=1e-5, atol=1e-8)


def test_softmax_does_not_overflow() -> None:
    x = wf.asarray([[1e30, 1e30, -1e30], [0.0, 1e4, -1e4], [-np.inf, 0.0, 0.0]])
    assert F.softmax(x).tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]
    assert F.log_softmax(wf.asarray([[0.0, 200.0]])).tolist() == [[-200.0, 0.0]]


def test_softmax_rows_do_not_depend_on_the_batch() -> None:
    x = np.random.default_rng(2).normal(size=(9, 133)).astype(np.float32)
    whole = F.softmax(wf.asarray(x)).numpy()
    assert all(F.softmax(wf.asarray(x[i : i + 1])).numpy().tobytes() == whole[i].tobytes() for i in range(9))


def test_softmax_casts_first_when_told() -> None:
    assert F.softmax(wf.asarray([1, 1]), dtype="float64").dtype is wf.float64
    x = wf.asarray(np.array([1.0, 2.0, 3.0], np.float16))
    assert F.softmax(x, dtype=wf.float32).numpy().tobytes() == F.softmax(wf.astype(x, wf.float32)).numpy().tobytes()


def test_softmax_names_a_wrong_axis() -> None:
    with pytest.raises(wf.AxisError, match="softmax: axis 2 is out of range for a tensor of rank 2"):
        F.softmax(wf.zeros((2, 3)), 2)


@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_of_no_elements_is_empty(function: Any) -> None:
    x = wf.ones((2, 0)).requires_grad_()
    y = function(x, 1)
    assert y.shape == (2, 0) and wf.compile(function)(x, 1).shape == (2, 0)
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == (2, 0)
    assert function(wf.ones((0,), dtype="int32"), 0, dtype="float16").dtype is wf.float16
    with pytest.raises(wf.AxisError):
        function(x, 2)


def test_softmin_is_softmax_of_the_negative() -> None:
    x = np.random.default_rng(3).normal(size=(3, 4)).astype(np.float32)
    for dim in (0, 1, -1):
        assert F.softmin(wf.asarray(x), dim).numpy().tobytes() == F.softmax(wf.asarray(-x), dim).numpy().tobytes()
    np.testing.assert_allclose(
        F.softmin(wf.asarray([1, 2]), 0, wf.float64).numpy(), np_softmax(np.array([-1, -2.0]), 0)
    )
    with pytest.raises(wf.DTypeError, match="softmin: int64"):
        F.softmin(wf.asarray([1, 2]))


# --- halves, numbers, and random slopes -------------------------------------------------------------------------


def test_glu_on_every_axis() -> None:
    x = np.random.default_rng(4).normal(size=(2, 4, 6))
    for dim in (-3, -2, -1, 0, 1, 2):
        a, b = np.split(x, 2, dim)
        np.testing.assert_allclose(F.glu(wf.asarray(x), dim).numpy(), a * np_sigmoid(b), rtol=1e-12)
        check_gradient(lambda t, dim=dim: F.glu(t, dim), x)
    assert F.glu(wf.zeros((3, 0))).shape == (3, 0) and F.glu(wf.zeros((0, 4))).shape == (0, 2)
    turned = F.glu(wf.asarray(x).permute(2, 0, 1), 0).numpy()
    assert turned.tobytes() == F.glu(wf.asarray(np.ascontiguousarray(x.transpose(2, 0, 1))), 0).numpy().tobytes()


def test_threshold_takes_integers() -> None:
    assert F.threshold(wf.asarray([-2, 1, 3]), 1.5, 7.9).tolist() == [7, 7, 3]
    assert F.threshold(wf.asarray([-2, 1, 3]), 1, 7).dtype is wf.int64
    few = wf.asarray([0, 1, 2], dtype=wf.uint8)
    assert F.threshold(few, 1, -2).tolist() == [254, 254, 2] and F.threshold(few, -2, 3).tolist() == [3, 3, 3]
    for bound, value, shown in ((300, 1, "300"), (1, float("nan"), "nan"), (float("inf"), 1, "inf")):
        with pytest.raises(wf.DTypeError, match=f"^threshold: {shown} does not fit in uint8"):
            F.threshold(few, bound, value)


@pytest.mark.parametrize("name", ["relu", "threshold"])
def test_bools_have_no_rectifier(name: str) -> None:
    for inplace in (False, True):
        with pytest.raises(wf.DTypeError, match=f"^{name}: bool operands: wants an integer or floating-point dtype"):
            getattr(F, name)(wf.asarray([True]), *(1, 0)[: 2 * (name == "threshold")], inplace=inplace)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.glu(wf.zeros((2, 3))), wf.ShapeError, r"glu: input \(2, 3\): the size 3 of axis 1 has no halves"),
        (lambda: F.glu(wf.asarray(1.0)), wf.ShapeError, "glu: a tensor of rank 0"),
        (lambda: F.glu(wf.zeros((2, 4)), 2), wf.AxisError, "glu: axis 2"),
        (lambda: F.celu(wf.zeros(2), 0.0), wf.ArgumentError, "celu: alpha is 0"),
        (lambda: F.softshrink(wf.zeros(2), -1.0), wf.ArgumentError, "softshrink: lambd is -1.0"),
        (lambda: F.rrelu(wf.zeros(2), 0.5, 0.25), wf.ArgumentError, "rrelu: lower 0.5 is greater than upper 0.25"),
        (lambda: F.rrelu(wf.asarray([1]), training=True), wf.DTypeError, "rrelu: int64"),
        (lambda: F.gumbel_softmax(wf.zeros(2), 0.0), wf.ArgumentError, "gumbel_softmax: tau is 0.0"),
        (lambda: F.gumbel_softmax(wf.zeros(2), eps=1e-3), wf.ArgumentError, "gumbel_softmax: eps is 0.001"),
        (lambda: F.gumbel_softmax(wf.zeros(2), dim=1), wf.AxisError, "gumbel_softmax: axis 1"),
    ],
)
def test_arguments_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_rrelu_draws_slopes_in_training() -> None:
    x = wf.asarray(np.repeat([-2.0, 3.0], 5000).astype(np.float32)).requires_grad_()
    wf.manual_seed(1)
    y = F.rrelu(x, 0.25, 0.75, training=True)
    y.sum().backward()
    slope = (y.numpy() / x.numpy())[:5000]
    assert 0.25 <= slope.min() < 0.26 and 0.74 < slope.max() < 0.75 and abs(slope.mean() - 0.5) < 0.01
    assert (y.numpy()[5000:] == 3).all() and (x.grad.numpy()[5000:] == 1).all()
    np.testing.assert_allclose(x.grad.numpy()[:5000], slope, rtol=1e-6)
    one, other = wf.random.Generator(5), wf.random.Generator(5)
    draws = [F.rrelu(x, training=True, generator=g).numpy().tobytes() for g in (one, other)]
    assert draws[0] == draws[1] and one.state.tolist() == [5, 1]


def test_gumbel_softmax_draws_classes() -> None:
    p = np.array([0.1, 0.2, 0.7])
    logits = wf.asarray(np.tile(np.log(p), (20000, 1)).astype(np.float32)).requires_grad_()
    wf.manual_seed(2)
    hard = F.gumbel_softmax(logits, hard=True)
    np.testing.assert_allclose(hard.numpy().mean(0), p, atol=0.02)
    assert set(np.unique(hard.numpy()).tolist()) == {0.0, 1.0} and (hard.numpy().sum(1) == 1).all()
    soft = F.gumbel_softmax(logits, 0.5)
    np.testing.assert_allclose(soft.numpy().sum(1), 1, rtol=1e-5)
    assert F.gumbel_softmax(logits, dim=0).numpy().sum(0) == pytest.approx(1, rel=1e-4)
    weight = wf.asarray(np.array([1.0, 2.0, 4.0], np.float32))
    gradients = []
    for is_hard in (False, True):
        logits.grad = None
        g = wf.random.Generator(7)
        (F.gumbel_softmax(logits, 0.7, is_hard, generator=g) * weight).sum().backward()
        gradients.append(logits.grad.numpy())
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["rrelu", "gumbel"])
def test_draws_have_the_same_bits_in_captured_code(name: str) -> None:
    x = wf.asarray(np.random.default_rng(5).normal(size=(6, 5)).astype(np.float32))
    function = {
        "rrelu": lambda x: F.rrelu(x, training=True),
        "gumbel": lambda x: F.gumbel_softmax(x, 0.5, hard=True) + F.gumbel_softmax(x),
    }[name]
    found = []
    for run in (function, wf.compile(function)):
        wf.manual_seed(11)
        found.append([run(x).numpy().tobytes() for _ in range(3)])
    assert found[0] == found[1] and len(set(found[0])) == 3

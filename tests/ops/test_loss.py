"""Losses: values and gradients against NumPy in float64, labels out of range, operands that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft.nn import functional as F

RNG = np.random.default_rng(0)


def log_softmax(x: Any, axis: int) -> Any:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def reduced(loss: Any, reduction: str, weight: Any = None) -> Any:
    if reduction == "none":
        return loss
    return loss.sum() / (loss.size if weight is None else weight.sum()) if reduction == "mean" else loss.sum()


def np_cross_entropy(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", smoothing: float = 0.0
) -> Any:
    """The definition, label by label."""
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    rows = np.moveaxis(log_softmax(x, axis), axis, -1)
    w = np.ones(classes) if weight is None else weight
    loss, each = np.zeros(target.shape), np.zeros(target.shape)
    for at in np.ndindex(target.shape):
        label = target[at]
        if label == ignore_index:
            continue
        smooth = -(rows[at] * w).sum() / classes
        loss[at] = (1 - smoothing) * -rows[at][label] * w[label] + smoothing * smooth
        each[at] = w[label]
    return reduced(loss, reduction, each)


SHAPES = [(5,), (4, 5), (1, 1), (3, 4, 2), (2, 3, 2, 2), (33, 130)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_labels(shape: tuple[int, ...], reduction: str, smoothing: float, weighted: bool) -> None:
    axis = 0 if len(shape) == 1 else 1
    x = RNG.normal(size=shape).astype(np.float32) * 3
    target = RNG.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    weight = RNG.uniform(0.5, 2.0, shape[axis]).astype(np.float32) if weighted else None
    got = F.cross_entropy(
        wf.asarray(x),
        wf.asarray(target),
        None if weight is None else wf.asarray(weight),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    wanted = np_cross_entropy(x.astype(np.float64), target, weight, -100, reduction, smoothing)
    assert got.shape == wanted.shape and got.dtype is wf.float32
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_ignored_labels_neither_count_nor_get_a_gradient(weighted: bool, smoothing: float) -> None:
    x = RNG.normal(size=(6, 4))
    target = np.array([0, -100, 3, 2, -100, 1])
    weight = np.array([1.0, 2.0, 0.5, 3.0]) if weighted else None

    def loss(t: Any) -> Any:
        return F.cross_entropy(
            t, wf.asarray(target), None if weight is None else wf.asarray(weight), label_smoothing=smoothing
        )

    np.testing.assert_allclose(
        loss(wf.asarray(x)).numpy(), np_cross_entropy(x, target, weight, smoothing=smoothing), rtol=1e-12
    )
    gradient = wf.grad(loss)(wf.asarray(x)).numpy()
    assert (gradient[[1, 4]] == 0).all() and (gradient[[0, 2, 3, 5]] != 0).all()
    assert np.isnan(F.cross_entropy(wf.asarray(x[:1]), wf.asarray([7]), ignore_index=7).item())


def test_cross_entropy_gradient_is_softmax_minus_onehot() -> None:
    x, target = RNG.normal(size=(8, 10)), RNG.integers(0, 10, 8)
    got = wf.grad(lambda t: F.cross_entropy(t, wf.asarray(target)))(wf.asarray(x)).numpy()
    np.testing.assert_allclose(got, (np.exp(log_softmax(x, 1)) - np.eye(10)[target]) / 8, rtol=1e-10, atol=1e-12)


def test_cross_entropy_gradient_does_not_scatter() -> None:
    net = wf.asarray(RNG.normal(size=(8, 10)).astype(np.float32)).requires_grad_()

    @wf.compile
    def step(target: Any) -> Any:
        net.grad = None
        loss = F.cross_entropy(net, target)
        loss.backward()
        return loss

    assert "scatter" not in str(step.graph(wf.asarray(RNG.integers(0, 10, 8))))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 2), (6,)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_probabilities(shape: tuple[int, ...], reduction: str, smoothing: float) -> None:
    axis = 0 if len(shape) == 1 else 1
    x, p = RNG.normal(size=shape), RNG.uniform(size=shape)
    p /= p.sum(axis, keepdims=True)
    weight = RNG.uniform(0.5, 2.0, shape[axis])
    w = weight.reshape([-1] + [1] * (len(shape) - axis - 1))
    soft = p * (1 - smoothing) + smoothing / shape[axis]
    wanted = reduced(-(soft * w * log_softmax(x, axis)).sum(axis), reduction)
    got = F.cross_entropy(
        wf.asarray(x), wf.asarray(p), wf.asarray(weight), reduction=reduction, label_smoothing=smoothing
    )
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)


def test_cross_entropy_of_labels_and_of_their_onehot_agree() -> None:
    x, target = RNG.normal(size=(7, 5)), RNG.integers(0, 5, 7)
    hard = F.cross_entropy(wf.asarray(x), wf.asarray(target)).item()
    assert F.cross_entropy(wf.asarray(x), wf.asarray(np.eye(5)[target])).item() == pytest.approx(hard, rel=1e-12)


@pytest.mark.parametrize("label", [5, -1, 2**40, -(2**63)])
@pytest.mark.parametrize("function", [F.cross_entropy, F.nll_loss])
def test_a_label_out_of_range_raises(label: int, function: Any) -> None:
    with pytest.raises(IndexError, match=f"{function.__name__}: index {label} is out of range"):
        function(wf.zeros((2, 5)), wf.asarray([-100, label]))  # -100 is ignored, not blamed


def test_a_label_out_of_range_raises_in_a_compiled_step() -> None:
    loss = wf.compile(lambda x, t: F.cross_entropy(x, t))
    with pytest.raises(IndexError):
        loss(wf.zeros((2, 5)), wf.asarray([0, 5]))
    assert loss(wf.zeros((2, 5)), wf.asarray([0, 4])).item() == pytest.approx(np.log(5))


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
def test_labels_of_any_integer_dtype(dtype: str) -> None:
    got = F.cross_entropy(wf.asarray([[1.0, 2.0, 3.0]]), wf.asarray(np.array([2], dtype)))
    assert got.item() == pytest.approx(0.4076059)


def test_nll_loss_is_cross_entropy_of_log_probabilities() -> None:
    x, target = RNG.normal(size=(6, 4, 3)), RNG.integers(0, 4, (6, 3))
    weight = RNG.uniform(0.5, 2.0, 4)
    for reduction in ("mean", "sum", "none"):
        got = F.nll_loss(F.log_softmax(wf.asarray(x), 1), wf.asarray(target), wf.asarray(weight), reduction=reduction)
        np.testing.assert_allclose(got.numpy(), np_cross_entropy(x, target, weight, reduction=reduction), rtol=1e-12)


def test_cross_entropy_stays_finite_far_out() -> None:
    x = wf.asarray(np.array([[1e30, 0.0], [-200.0, 200.0]], np.float32)).requires_grad_()
    loss = F.cross_entropy(x, wf.asarray([0, 0]), reduction="sum")
    loss.backward()
    assert loss.item() == 400.0
    assert x.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


# --- the others -------------------------------------------------------------------------------------------------

X, T = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))
P = RNG.uniform(0.05, 0.95, (4, 3))
Q = RNG.uniform(0.05, 0.95, (4, 3))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def np_bce(x: Any, t: Any) -> Any:
    return -(t * np.log(x) + (1 - t) * np.log1p(-x))


PAIRS = [
    ("mse", F.mse_loss, X, T, lambda x, t: (x - t) ** 2),
    ("l1", F.l1_loss, X, T, lambda x, t: np.abs(x - t)),
    (
        "smooth_l1",
        F.smooth_l1_loss,
        X,
        T,
        lambda x, t: np.where(np.abs(x - t) < 1, 0.5 * (x - t) ** 2, np.abs(x - t) - 0.5),
    ),
    (
        "smooth_l1(0.3)",
        lambda x, t, **k: F.smooth_l1_loss(x, t, beta=0.3, **k),
        X,
        T,
        lambda x, t: np.where(np.abs(x - t) < 0.3, 0.5 * (x - t) ** 2 / 0.3, np.abs(x - t) - 0.15),
    ),
    ("smooth_l1(0)", lambda x, t, **k: F.smooth_l1_loss(x, t, beta=0.0, **k), X, T, lambda x, t: np.abs(x - t)),
    (
        "huber(0.7)",
        lambda x, t, **k: F.huber_loss(x, t, delta=0.7, **k),
        X,
        T,
        lambda x, t: np.where(np.abs(x - t) < 0.7, 0.5 * (x - t) ** 2, 0.7 * (np.abs(x - t) - 0.35)),
    ),
    ("bce", F.binary_cross_entropy, P, Q, np_bce),
    ("bce_with_logits", F.binary_cross_entropy_with_logits, X, Q, lambda x, t: np_bce(sigmoid(x), t)),
    ("kl_div", F.kl_div, X, Q, lambda x, t: t * (np.log(t) - x)),
    ("kl_div(log)", lambda x, t, **k: F.kl_div(x, t, log_target=True, **k), X, T, lambda x, t: np.exp(t) * (t - x)),
]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("function", "x", "t", "reference"), [pytest.param(*c[1:], id=c[0]) for c in PAIRS])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_value_and_gradient(function: Any, x: Any, t: Any, reference: Any, reduction: str) -> None:
    got = function(wf.asarray(x), wf.asarray(t), reduction=reduction).numpy()
    np.testing.assert_allclose(got, reduced(reference(x, t), reduction), rtol=1e-10)
    for which in (0, 1):
        gradient = wf.grad(lambda a, b: wf.sum(function(a, b, reduction=reduction)), argnums=which)(
            wf.asarray(x), wf.asarray(t)
        ).numpy()
        h = 1e-6 * np.ones_like(x)
        up, down = ((x + h, t), (x - h, t)) if which == 0 else ((x, t + h), (x, t - h))
        slope = (reference(*up) - reference(*down)) / 2e-6
        np.testing.assert_allclose(gradient, slope / (x.size if reduction == "mean" else 1), rtol=1e-5, atol=1e-8)


def test_binary_cross_entropy_at_the_ends_is_100_not_infinite() -> None:
    x = wf.asarray([0.0, 1.0, 0.0, 1.0]).requires_grad_()
    loss = F.binary_cross_entropy(x, wf.asarray([1.0, 0.0, 0.0, 1.0]), reduction="none")
    assert loss.tolist() == [100.0, 100.0, 0.0, 0.0]
    loss.sum().backward()
    assert x.grad.tolist() == pytest.approx([-1e12, 1e12, 0.0, 0.0])
    assert np.isnan(F.binary_cross_entropy(wf.asarray([-0.5]), wf.asarray([1.0])).item())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_near_the_ends_is_pytorchs(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    inputs = np.array([0, 1, 0, 1, 0, 1, 0.3, 1e-13, 1 - 1e-7, 1e-50, 0.999], dtype)
    targets = np.array([1, 0, 0, 1, 0.5, 0.5, 0.2, 1, 0.5, 1, 1], dtype)
    x, theirs = wf.asarray(inputs).requires_grad_(), torch.tensor(inputs, requires_grad=True)
    loss = F.binary_cross_entropy(x, wf.asarray(targets), reduction="none")
    wanted = torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(targets), reduction="none")
    np.testing.assert_allclose(loss.numpy(), wanted.detach().numpy(), rtol=1e-6)
    loss.sum().backward()
    wanted.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-6)


def test_logits_far_out_give_the_linear_loss() -> None:
    x = wf.asarray([-1e4, 1e4, -1e4, 1e4]).requires_grad_()
    loss = F.binary_cross_entropy_with_logits(x, wf.asarray([1.0, 0.0, 0.0, 1.0]), reduction="none")
    assert loss.tolist() == [1e4, 1e4, 0.0, 0.0]
    loss.sum().backward()
    assert x.grad.tolist() == [-1.0, 1.0, 0.0, 0.0]


def test_weights_of_binary_losses() -> None:
    w, pos = RNG.uniform(0.5, 2.0, (4, 3)), RNG.uniform(0.5, 2.0, 3)
    got = F.binary_cross_entropy(wf.asarray(P), wf.asarray(Q), wf.asarray(w)).item()
    assert got == pytest.approx((w * np_bce(P, Q)).mean(), rel=1e-12)
    got = F.binary_cross_entropy_with_logits(
        wf.asarray(X), wf.asarray(Q), wf.asarray(w), pos_weight=wf.asarray(pos)
    ).item()
    s = sigmoid(X)
    assert got == pytest.approx((w * -(pos * Q * np.log(s) + (1 - Q) * np.log1p(-s))).mean(), rel=1e-12)


def test_kl_div_of_zero_probability_is_zero_and_batchmean_is_the_divergence() -> None:
    x, t = wf.asarray([[-1.0, -2.0]]).requires_grad_(), wf.asarray([[0.0, 1.0]])
    loss = F.kl_div(x, t, reduction="batchmean")
    loss.backward()
    assert loss.item() == 2.0 and x.grad.tolist() == [[0.0, -1.0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_losses_are_computed_in_float32(dtype: str) -> None:
    x = wf.astype(wf.asarray(RNG.normal(size=(16, 40)).astype(np.float32)), dtype)
    target = wf.asarray(RNG.integers(0, 40, 16))
    got, wide = F.cross_entropy(x, target), F.cross_entropy(wf.astype(x, "float32"), target)
    assert got.dtype.name == dtype and got.numpy().tobytes() == wf.astype(wide, dtype).numpy().tobytes()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.mse_loss(wf.zeros((2, 3)), wf.zeros((3,))), wf.ShapeError, r"mse_loss: input \(2, 3\) and target"),
        (lambda: F.mse_loss(wf.zeros((2,)), wf.asarray([1, 2])), wf.DTypeError, "mse_loss: int64 operands"),
        (lambda: F.mse_loss(wf.zeros((2,)), wf.zeros((2,)), reduction="avg"), ValueError, "mse_loss: reduction"),
        (lambda: F.cross_entropy(wf.zeros((2, 3)), wf.asarray([0])), wf.ShapeError, r"labels must be \(2,\)"),
        (lambda: F.cross_entropy(wf.zeros((2, 3)), wf.zeros((2,))), wf.ShapeError, "must have its shape"),
        (lambda: F.cross_entropy(wf.zeros((2, 3)), wf.asarray([True, False])), wf.DTypeError, "target is bool"),
        (
            lambda: F.cross_entropy(wf.zeros((2, 3)), wf.asarray([0, 1]), wf.zeros((2,))),
            wf.ShapeError,
            r"weight \(2,\) for 3 classes",
        ),
        (lambda: F.cross_entropy(wf.zeros(()), wf.asarray(0)), wf.ShapeError, "no class axis"),
        (lambda: F.cross_entropy(wf.zeros((2, 3)), wf.asarray([0, 1]), label_smoothing=2.0), ValueError, "smoothing"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

"""The CTC loss: against the sum over all alignments, forms of targets and lengths, gradients, captured code."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from op_cases import check_gradient, same_bits

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)
INF = float("inf")


def collapsed(path: Any, blank: int) -> tuple[int, ...]:
    """What a path says: repeated classes once, blanks left out."""
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def by_enumeration(x: Any, target: Any, blank: int = 0) -> float:
    """``-log`` of the sum of the probabilities of all paths ``(T,)`` that say the target; x ``(T, C)``."""
    total = sum(
        np.exp(sum(x[t, c] for t, c in enumerate(path)))
        for path in itertools.product(range(x.shape[1]), repeat=len(x))
        if collapsed(path, blank) == tuple(target)
    )
    return -np.log(total) if total else INF


def log_probabilities(*shape: int) -> Any:
    x = RNG.normal(size=shape)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


X = log_probabilities(5, 6, 3)
TARGETS = [[1, 2], [1, 1], [2], [], [2, 1, 2], [1, 1, 1]]
STEPS = [5, 4, 5, 3, 4, 4]  # the last one is too short for its target
SIZES = [len(t) for t in TARGETS]
PADDED = np.array([t + [-1] * (3 - len(t)) for t in TARGETS])
CONCATENATED = np.array([c for t in TARGETS for c in t])
WANTED = np.array([by_enumeration(X[:n, i], t) for i, (n, t) in enumerate(zip(STEPS, TARGETS, strict=True))])


@pytest.mark.parametrize("targets", [PADDED, CONCATENATED, PADDED.astype(np.int32)])
@pytest.mark.parametrize("form", [tuple, list, lambda n: wf.asarray(n), lambda n: wf.asarray(n, dtype="int32")])
def test_the_sum_over_all_alignments(targets: Any, form: Any) -> None:
    got = F.ctc_loss(wf.asarray(X), wf.asarray(targets), form(STEPS), form(SIZES), reduction="none")
    assert got.dtype is wf.float64 and np.isinf(WANTED[5])
    np.testing.assert_allclose(got.numpy(), WANTED, rtol=1e-12)


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_any_class_may_be_the_blank(blank: int) -> None:
    a, b = (c for c in range(3) if c != blank)
    target = [a, b, b]
    got = F.ctc_loss(wf.asarray(X[:, 0]), wf.asarray(target), (5,), (3,), blank, "none")
    assert got.shape == () and got.item() == pytest.approx(by_enumeration(X[:, 0], target, blank), rel=1e-12)


def test_reductions() -> None:
    x, targets = wf.asarray(X), wf.asarray(PADDED)

    def loss(reduction: str) -> float:
        return F.ctc_loss(x, targets, STEPS, SIZES, reduction=reduction, zero_infinity=True).item()

    finite = np.where(np.isinf(WANTED), 0, WANTED)
    assert loss("sum") == pytest.approx(finite.sum(), rel=1e-12)
    assert loss("mean") == pytest.approx((finite / np.maximum(SIZES, 1)).mean(), rel=1e-12)
    assert F.ctc_loss(x, targets, STEPS, SIZES).item() == INF


@pytest.mark.parametrize("lengths", [((), ()), ((1,), (1,))])
def test_one_sequence_without_a_batch(lengths: Any) -> None:
    x, steps, sizes = wf.asarray(X[:, 0]), *(wf.zeros(s, dtype="int64") for s in lengths)
    for reduction in ("none", "mean", "sum"):
        got = F.ctc_loss(x, wf.asarray(TARGETS[0]), steps + 5, sizes + 2, reduction=reduction)
        wanted = WANTED[0] / 2 if reduction == "mean" else WANTED[0]
        assert got.shape == () and got.item() == pytest.approx(wanted, rel=1e-12)


def test_no_time_steps_say_no_labels_alone() -> None:
    got = F.ctc_loss(wf.asarray(X[:, :2]), wf.asarray([[1], [1]]), (0, 0), (0, 1), reduction="none")
    assert got.tolist() == [0.0, INF]
    got = F.ctc_loss(wf.asarray(X[:, :2]), wf.zeros((2, 0), dtype="int64"), (1, 2), (0, 0), reduction="none")
    np.testing.assert_allclose(got.numpy(), [-X[0, 0, 0], -X[:2, 1, 0].sum()], rtol=1e-12)


def test_gradient_by_differences() -> None:
    keep = slice(0, 5)  # not the infinite one

    def loss(x: Any) -> Any:
        return F.ctc_loss(x, wf.asarray(PADDED[keep]), STEPS[keep], SIZES[keep], reduction="none")

    check_gradient(loss, X[:, keep])


def test_the_gradient_is_minus_the_probability_of_each_class_at_each_time() -> None:
    x = wf.asarray(X).requires_grad_()
    F.ctc_loss(x, wf.asarray(PADDED), STEPS, SIZES, reduction="sum", zero_infinity=True).backward()
    sums = x.grad.numpy().sum(-1)
    wanted = [[-float(t < n) * (i < 5) for i, n in enumerate(STEPS)] for t in range(5)]
    np.testing.assert_allclose(sums, wanted, atol=1e-12)


def test_probabilities_of_zero_give_finite_gradients() -> None:
    x = X[:, :1].copy()
    x[2, 0, 1] = x[3, 0, 0] = -INF
    given = wf.asarray(x).requires_grad_()
    loss = F.ctc_loss(given, wf.asarray([[1, 2]]), (5,), (2,), reduction="sum")
    loss.backward()
    assert loss.item() == pytest.approx(by_enumeration(x[:, 0], [1, 2]), rel=1e-12)
    assert np.isfinite(given.grad.numpy()).all() and given.grad.numpy()[2, 0, 1] == 0


def test_an_infinite_loss_has_the_gradient_0() -> None:
    x = wf.asarray(X).requires_grad_()
    loss = F.ctc_loss(x, wf.asarray(PADDED), STEPS, SIZES, reduction="sum")
    loss.backward()
    assert loss.item() == INF and not x.grad.numpy()[:, 5].any() and np.isfinite(x.grad.numpy()).all()


def test_long_sequences_do_not_underflow() -> None:
    x = wf.asarray(log_probabilities(300, 2, 20).astype(np.float32)).requires_grad_()
    targets = wf.asarray(RNG.integers(1, 20, (2, 40)))
    loss = F.ctc_loss(x, targets, (300, 250), (40, 30), reduction="none")
    wide = F.ctc_loss(x.astype("float64"), targets, (300, 250), (40, 30), reduction="none")
    np.testing.assert_allclose(loss.numpy(), wide.numpy(), rtol=1e-5)
    loss.sum().backward()
    np.testing.assert_allclose(x.grad.numpy().sum(-1)[:250], -1.0, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_computed_in_float32(dtype: str) -> None:
    x = wf.asarray(X).astype(dtype)
    operands = wf.asarray(PADDED), STEPS, SIZES
    got = F.ctc_loss(x, *operands, reduction="none")
    same_bits(got, F.ctc_loss(x.astype("float32"), *operands, reduction="none").astype(dtype).numpy())


def test_compiled_steps_have_the_same_bits_for_any_sizes() -> None:
    net, loss = nn.Linear(4, 5), nn.CTCLoss(zero_infinity=True)

    def step(x: Any, targets: Any, steps: Any, sizes: Any) -> Any:
        net.zero_grad()
        value = loss(F.log_softmax(net(x), -1), targets, steps, sizes)
        value.backward()
        return value, net.weight.grad

    compiled = wf.compile(step)
    for time, batch, longest in ((7, 3, 2), (9, 4, 3), (11, 2, 4)):
        x = wf.asarray(RNG.normal(size=(time, batch, 4)).astype(np.float32))
        targets = wf.asarray(RNG.integers(1, 5, (batch, longest)))
        steps, sizes = (wf.asarray(RNG.integers(n // 2, n + 1, batch)) for n in (time, longest))
        for got, wanted in zip(compiled(x, targets, steps, sizes), step(x, targets, steps, sizes), strict=True):
            same_bits(got, wanted.numpy())


def test_all_sizes_may_be_symbolic() -> None:
    specs = (("t", "n", "c"), "float32"), (("n", "s"), "int64"), (("n",), "int64"), (("n",), "int64")
    given = [wf.spec(shape, dtype) for shape, dtype in specs]
    assert str(wf.eval_shape(nn.CTCLoss(reduction="none"), *given)) == "float32[n]"


def test_captured_code_takes_lengths_as_a_tuple_for_concatenated_targets() -> None:
    x, targets = wf.asarray(X), wf.asarray(CONCATENATED)
    compiled = wf.compile(lambda x, t: F.ctc_loss(x, t, tuple(STEPS), tuple(SIZES), reduction="none"))
    same_bits(compiled(x, targets), F.ctc_loss(x, targets, STEPS, SIZES, reduction="none").numpy())
    with pytest.raises(wf.CaptureError, match="are concatenated, so that"):
        wf.compile(lambda n: F.ctc_loss(x, targets, STEPS, n))(wf.asarray(SIZES))


def test_lengths_and_labels_out_of_range_raise_in_captured_code() -> None:
    x = wf.asarray(X)
    loss = wf.compile(lambda t, n, s: F.ctc_loss(x, t, n, s, reduction="none"))
    good = [wf.asarray(a) for a in (PADDED, STEPS, SIZES)]
    same_bits(loss(*good), F.ctc_loss(x, *good, reduction="none").numpy())
    for which, at, value in ((0, (0, 1), 3), (0, (0, 1), -2), (1, 0, 6), (1, 0, -1), (2, 0, 4), (2, 0, -1)):
        bad = [a.clone() for a in good]
        bad[which][at] = value
        with pytest.raises(IndexError, match="out of range"):
            loss(*bad)


P, T, N = wf.asarray(X), wf.asarray(PADDED), (5,) * 6


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F.ctc_loss(P.astype("int64"), T, N, SIZES), wf.DTypeError, "log_probs is int64"),
        (lambda: F.ctc_loss(P, P, N, SIZES), wf.DTypeError, "targets is float64"),
        (lambda: F.ctc_loss(P[0, 0], T, N, SIZES), wf.ShapeError, r"log_probs \(3,\) must be"),
        (lambda: F.ctc_loss(P[:0], T, N, SIZES), wf.ShapeError, "not empty"),
        (lambda: F.ctc_loss(P, T, N, SIZES, blank=3), ValueError, "blank is 3; it must be one of the 3 classes"),
        (lambda: F.ctc_loss(P, T, N, SIZES, blank=-1), ValueError, "blank is -1"),
        (lambda: F.ctc_loss(P, T, N[:5], SIZES), wf.ShapeError, r"input_lengths \(5,\) for log_probs"),
        (lambda: F.ctc_loss(P, T, N, (1.5,) * 6), wf.DTypeError, "target_lengths is float32"),
        (lambda: F.ctc_loss(P, T, (6,) * 6, SIZES), ValueError, "input_lengths has 6; a length is .* at most 5"),
        (lambda: F.ctc_loss(P, T, wf.asarray((6,) * 6), SIZES), ValueError, "input_lengths has 6"),
        (lambda: F.ctc_loss(P, T, N, (4,) * 6), ValueError, "target_lengths has 4; a length is .* at most 3"),
        (lambda: F.ctc_loss(P, T, N, (-1,) * 6), ValueError, "target_lengths has -1"),
        (lambda: F.ctc_loss(P, T[:5], N, SIZES), wf.ShapeError, r"targets \(5, 3\) for 6 sequences"),
        (lambda: F.ctc_loss(P, T[0], N, SIZES), wf.ShapeError, "but target_lengths add up to 11"),
        (lambda: F.ctc_loss(P, T[0, 0], N, SIZES), wf.ShapeError, r"targets \(\) must be"),
        (lambda: F.ctc_loss(P, T + 3, N, SIZES), IndexError, "out of range"),
        (lambda: F.ctc_loss(P, T, N, SIZES, reduction="avg"), ValueError, "reduction is 'avg'"),
        (lambda: nn.CTCLoss(reduction="avg"), ValueError, "CTCLoss: reduction is 'avg'"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

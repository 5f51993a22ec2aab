"""The adaptive softmax: against PyTorch, its probabilities sum to 1, captured code, wrong operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import same_bits

import weft as wf
from weft import nn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 16)).astype(np.float32)
LABELS = np.array([0, 4, 5, 11, 12, 29, 3])
CASES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((16, 30, [5, 12]), {}),
    ((16, 30, [5, 12]), {"div_value": 2.0, "head_bias": True}),
    ((16, 30, (29,)), {}),
]


@pytest.mark.parametrize(("args", "options"), CASES)
def test_against_pytorch(args: Any, options: Any) -> None:
    torch = pytest.importorskip("torch")
    mine, other = (m.AdaptiveLogSoftmaxWithLoss(*args, **options) for m in (nn, torch.nn))
    assert {k: v.shape for k, v in mine.state_dict().items()} == {
        k: tuple(v.shape) for k, v in other.state_dict().items()
    }
    assert list(mine.state_dict()) == list(other.state_dict()) and repr(mine) == repr(other)
    mine.load_state_dict({k: v.detach().numpy() for k, v in other.state_dict().items()})
    a, b = wf.asarray(X).requires_grad_(), torch.tensor(X, requires_grad=True)
    got, wanted = mine(a, wf.asarray(LABELS)), other(b, torch.tensor(LABELS))
    np.testing.assert_allclose(got.output.numpy(), wanted.output.detach().numpy(), rtol=2e-5)
    np.testing.assert_allclose(got.loss.item(), wanted.loss.item(), rtol=2e-5)
    (got.loss + got.output[0]).backward()
    (wanted.loss + wanted.output[0]).backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-6)
    for p, q in zip(mine.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mine.log_prob(a).numpy(), other.log_prob(b).detach().numpy(), rtol=2e-5)
    assert mine.predict(a).tolist() == other.predict(b).tolist()
    one, only = mine(a[3], wf.asarray(11)), other(b[3], torch.tensor(11))
    assert one.output.shape == () and one.output.item() == pytest.approx(only.output.item(), rel=2e-5)


def test_probabilities_sum_to_1_and_are_what_forward_gives() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(16, 30, [5, 12], dtype="float64")
    x = wf.asarray(X.astype(np.float64))
    whole = layer.log_prob(x).numpy()
    np.testing.assert_allclose(np.exp(whole).sum(1), 1.0, rtol=1e-12)
    output, loss = layer(x, wf.asarray(LABELS))
    np.testing.assert_allclose(output.numpy(), whole[np.arange(7), LABELS], rtol=1e-12)
    assert loss.item() == pytest.approx(-output.numpy().mean(), rel=1e-12)


def test_compiled_steps_have_the_same_bits_for_any_batch() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(16, 30, [5, 12])

    def step(x: Any, y: Any) -> Any:
        layer.zero_grad()
        result = layer(x, y)
        result.loss.backward()
        return result.output, result.loss, [p.grad for p in layer.parameters()]

    compiled = wf.compile(step)
    for rows in (7, 4, 2):
        x, y = wf.asarray(X[:rows]), wf.asarray(LABELS[-rows:])
        (a, b, grads), (c, d, wanted) = compiled(x, y), step(x, y)
        for got, expected in zip([a, b, *grads], [c, d, *wanted], strict=True):
            same_bits(got, expected.numpy())


LAYER = nn.AdaptiveLogSoftmaxWithLoss(16, 30, [5, 12])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 30, []), ValueError, "cutoffs are .* between 1 and 29"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 30, [5, 5]), ValueError, r"cutoffs are \(5, 5\)"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 30, [0, 5]), ValueError, "cutoffs are"),
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(16, 30, [5, 30]), ValueError, "cutoffs are"),
        (lambda: LAYER(wf.asarray(X), wf.asarray(LABELS[:3])), wf.ShapeError, "one label for each row"),
        (lambda: LAYER(wf.asarray(X), wf.asarray(3)), wf.ShapeError, "do not fit"),
        (lambda: LAYER(wf.asarray(X), wf.zeros(7)), wf.DTypeError, "labels must be integers"),
        (lambda: LAYER(wf.asarray(X), wf.asarray(LABELS + 1)), IndexError, "out of range"),
        (lambda: LAYER(wf.asarray(X), wf.asarray(LABELS - 1)), IndexError, "out of range"),
        (lambda: LAYER.log_prob(wf.asarray(X[0])), wf.ShapeError, "wants"),
    ],
)
def test_operands_that_do_not_fit(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

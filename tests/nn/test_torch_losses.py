"""Losses against PyTorch: values, gradients of every floating operand, reductions, state dicts, reprs, defaults."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.normal(size=shape).astype(np.float32)


X, Y, Z = floats(6, 4), floats(6, 4), floats(6, 4)
CUBE = floats(6, 4, 3)
SIGNS = np.where(floats(6, 4) > 0, 1, -1)
W = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
LABELS = RNG.integers(0, 4, 6)
LISTS = np.array([[2, 0, -1, 1], [-1, 0, 1, 2], [0, 1, 2, 3], [3, 3, -1, -1], [1, -1, 2, -1], [0, 2, -1, 3]])
HALVES = np.exp(floats(6, 4))

# class, options, operands
CASES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("SoftMarginLoss", {}, (X, SIGNS.astype(np.float32))),
    ("SoftMarginLoss", {}, (CUBE, np.sign(floats(6, 4, 3)))),
    ("HingeEmbeddingLoss", {}, (X, SIGNS)),
    ("HingeEmbeddingLoss", {"margin": 0.3}, (CUBE, SIGNS[:, :, None])),
    ("HingeEmbeddingLoss", {}, (X, SIGNS + 1)),  # what is neither 1 nor -1 counts for both
    ("MultiLabelSoftMarginLoss", {}, (X, (SIGNS + 1) // 2)),
    ("MultiLabelSoftMarginLoss", {"weight": W}, (X, (SIGNS + 1) // 2)),
    ("MultiLabelSoftMarginLoss", {}, (CUBE, HALVES[:, :, None])),
    ("MultiLabelSoftMarginLoss", {}, (X[0], SIGNS[0])),
    ("MultiLabelMarginLoss", {}, (X, LISTS)),
    ("MultiLabelMarginLoss", {}, (X[0], LISTS[0])),
    ("MultiMarginLoss", {}, (X, LABELS)),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": W}, (X, LABELS)),
    ("MultiMarginLoss", {"weight": W}, (X[0], LABELS[0])),
    ("MultiMarginLoss", {}, (X[0], LABELS[:1])),
    ("MarginRankingLoss", {}, (X, Y, SIGNS)),
    ("MarginRankingLoss", {"margin": 0.5}, (X, Y[:1], SIGNS[:, :1])),
    ("CosineEmbeddingLoss", {}, (X, Y, SIGNS[:, 0])),
    ("CosineEmbeddingLoss", {"margin": 0.3}, (X, Y[:1], SIGNS[:, 0])),
    ("CosineEmbeddingLoss", {}, (X[0], Y[0], SIGNS[0, 0])),
    ("TripletMarginLoss", {}, (X, Y, Z)),
    ("TripletMarginLoss", {"margin": 2.0, "p": 1.0, "eps": 1e-3, "swap": True}, (X, Y, Z)),
    ("TripletMarginLoss", {"p": 3.0}, (X[0], Y[0], Z[0])),
    ("TripletMarginLoss", {"p": np.inf}, (X, Y[:1], Z)),
    ("TripletMarginLoss", {}, (CUBE, CUBE[:1], CUBE)),
    ("TripletMarginWithDistanceLoss", {}, (X, Y, Z)),
    ("TripletMarginWithDistanceLoss", {"margin": 0.5, "swap": True}, (X, Y, Z)),
    ("TripletMarginWithDistanceLoss", {"distance_function": lambda x, y: ((x - y) ** 2).sum(-1)}, (X, Y, Z)),
    ("PoissonNLLLoss", {}, (X, SIGNS + 3)),
    ("PoissonNLLLoss", {"full": True}, (CUBE, HALVES[:, :, None])),
    ("PoissonNLLLoss", {"log_input": False, "eps": 1e-2}, (HALVES, SIGNS + 1)),
    ("GaussianNLLLoss", {}, (X, Y, HALVES)),
    ("GaussianNLLLoss", {"full": True, "eps": 0.9}, (X, Y, HALVES)),
    ("GaussianNLLLoss", {}, (X, Y, HALVES[:, :1])),
    ("GaussianNLLLoss", {}, (X, Y, HALVES[:, 0])),
    ("GaussianNLLLoss", {}, (CUBE, CUBE[:, :, :1], np.exp(CUBE[:, :1]))),
    ("GaussianNLLLoss", {}, (X, Y, 0.5)),
    ("HuberLoss", {"delta": 0.4}, (X, Y)),
    ("CrossEntropyLoss", {"weight": W, "label_smoothing": 0.2}, (CUBE, np.exp(CUBE))),
    ("CrossEntropyLoss", {"weight": W, "ignore_index": 1, "label_smoothing": 0.2}, (CUBE, RNG.integers(0, 4, (6, 3)))),
    ("CrossEntropyLoss", {"weight": W}, (X[0], LABELS[0])),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, (X[0], HALVES[0])),
    ("BCEWithLogitsLoss", {"weight": W, "pos_weight": W}, (X, HALVES)),
    ("BCELoss", {"weight": W}, (1 / (1 + np.exp(X)), 1 / (1 + HALVES))),
    ("KLDivLoss", {"log_target": True}, (X, Y)),
]
NAMED = [pytest.param(*case, id=f"{n}-{case[0]}") for n, case in enumerate(CASES)]


def ours(value: Any) -> Any:
    return wf.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else value


def theirs(value: Any) -> Any:
    return torch.tensor(value) if isinstance(value, (np.ndarray, np.generic)) else value


def compare(got: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    assert tuple(got.shape) == tuple(wanted.shape)
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.one_in(2)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("name", "options", "operands"), NAMED)
def test_value_and_gradients(name: str, options: Any, operands: Any, reduction: str) -> None:
    mine = getattr(nn, name)(**{k: ours(v) for k, v in options.items()}, reduction=reduction)
    other = getattr(torch.nn, name)(**{k: theirs(v) for k, v in options.items()}, reduction=reduction)
    assert list(mine.state_dict()) == list(other.state_dict())
    if name != "TripletMarginWithDistanceLoss":  # whose distance is a module there
        assert repr(mine) == repr(other)
    a, b = [ours(x) for x in operands], [theirs(x) for x in operands]
    # PyTorch has no gradient of some targets.
    wanted = [n for n, x in enumerate(b) if isinstance(x, torch.Tensor) and x.is_floating_point()]
    if name in ("SoftMarginLoss", "HuberLoss", "BCELoss", "CrossEntropyLoss"):
        wanted = wanted[:1]
    for n in wanted:
        a[n].requires_grad_()
        b[n].requires_grad_()
    y, z = mine(*a), other(*b)
    compare(y, z)
    y.sum().backward()
    z.sum().backward()
    for n in wanted:
        compare(a[n].grad, b[n].grad, 1e-4)


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_weights_for_each_element(name: str, reduction: str) -> None:
    a, b = wf.asarray(X).requires_grad_(), torch.tensor(X, requires_grad=True)
    y = getattr(F, name)(a, wf.asarray(Y), weight=wf.asarray(HALVES), reduction=reduction)
    z = getattr(torch.nn.functional, name)(b, torch.tensor(Y), weight=torch.tensor(HALVES), reduction=reduction)
    compare(y, z)
    y.sum().backward()
    z.sum().backward()
    compare(a.grad, b.grad)


CTC: list[tuple[dict[str, Any], Any, Any, Any]] = [
    ({}, RNG.integers(1, 7, (4, 5)), (20, 15, 9, 20), (5, 3, 0, 4)),
    ({"blank": 6}, RNG.integers(0, 6, (4, 5)), (20, 15, 20, 20), (5, 3, 0, 4)),
    ({}, RNG.integers(1, 7, 12), (20, 15, 9, 20), (5, 3, 0, 4)),
    ({"zero_infinity": True}, RNG.integers(1, 7, (4, 5)), (20, 2, 9, 3), (5, 3, 5, 4)),
    ({}, np.array([[1, 1, 1, 2, 2]] * 4), (20, 8, 9, 20), (5, 5, 5, 4)),
]


@pytest.mark.parametrize(("options", "targets", "steps", "sizes"), CTC)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_ctc(options: Any, targets: Any, steps: Any, sizes: Any, reduction: str, as_tensor: bool) -> None:
    """With log_softmax before it: PyTorch's gradient of the log probabilities is that of the logits."""
    logits = floats(20, 4, 7)
    a, b = wf.asarray(logits).requires_grad_(), torch.tensor(logits, requires_grad=True)
    mine, other = (m.CTCLoss(reduction=reduction, **options) for m in (nn, torch.nn))
    assert repr(mine) == repr(other)
    lengths = [wf.asarray(n) for n in (steps, sizes)] if as_tensor else [steps, sizes]
    y = mine(F.log_softmax(a, -1), wf.asarray(targets), *lengths)
    z = other(torch.log_softmax(b, -1), torch.tensor(targets), torch.tensor(steps), torch.tensor(sizes))
    compare(y, z)
    y.sum().backward()
    z.sum().backward()
    compare(a.grad, b.grad)


def test_ctc_of_one_sequence() -> None:
    logits, target = floats(20, 7), RNG.integers(1, 7, 5)
    for reduction in ("none", "mean", "sum"):
        y = F.ctc_loss(F.log_softmax(wf.asarray(logits), -1), wf.asarray(target), (18,), (5,), reduction=reduction)
        z = torch.nn.functional.ctc_loss(
            torch.log_softmax(torch.tensor(logits), -1),
            torch.tensor(target),
            torch.tensor(18),
            torch.tensor(5),
            reduction=reduction,
        )
        compare(y, z)


GONE = {"size_average", "reduce"}
CLASSES = sorted({name for name, _, _ in CASES} | {"CTCLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "NLLLoss"})
FUNCTIONS = [
    *("soft_margin_loss", "hinge_embedding_loss", "multilabel_soft_margin_loss", "multilabel_margin_loss"),
    *("multi_margin_loss", "margin_ranking_loss", "cosine_embedding_loss", "triplet_margin_loss", "ctc_loss"),
    *("triplet_margin_with_distance_loss", "poisson_nll_loss", "gaussian_nll_loss", "huber_loss", "mse_loss"),
    *("l1_loss", "smooth_l1_loss", "nll_loss", "cross_entropy", "binary_cross_entropy", "kl_div"),
]


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS])
def test_parameters_are_pytorchs_in_its_order_with_its_defaults(name: str) -> None:
    mine, other = (
        inspect.signature(getattr(home, name))
        for home in ((nn, torch.nn) if name in CLASSES else (F, torch.nn.functional))
    )
    wanted = {k: p.default for k, p in other.parameters.items() if k not in GONE}
    assert {k: p.default for k, p in mine.parameters.items()} == wanted
    # By position up to the first of those that are gone: beyond it PyTorch's positions would mean others.
    names = list(other.parameters)
    first = next((n for n, k in enumerate(names) if k in GONE), len(names))
    for k in names[:first]:
        assert mine.parameters[k].kind is other.parameters[k].kind, k
    for k in (k for k in names[first:] if k not in GONE):
        assert mine.parameters[k].kind is inspect.Parameter.KEYWORD_ONLY, k


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: m.MultiMarginLoss(p=3), "p is 3|p == 2"),
        (lambda m: m.TripletMarginLoss(margin=0.0), r"margin.* 0\.0"),
        (lambda m: m.TripletMarginWithDistanceLoss(margin=-1.0), r"margin.* -1\.0"),
    ],
)
def test_what_pytorch_refuses_is_refused(make: Any, message: str) -> None:
    for module in (nn, torch.nn):
        with pytest.raises(ValueError, match=message):
            make(module)


def test_a_weight_must_be_a_vector() -> None:
    with pytest.raises(ValueError, match=r"MultiMarginLoss: weight \(1, 4\) must be \(C,\)"):
        nn.MultiMarginLoss(weight=wf.ones((1, 4)))


def test_a_distance_that_is_a_module_trains() -> None:
    class Learned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(wf.ones(4))

        def forward(self, x: Any, y: Any) -> Any:
            return wf.abs((x - y) * self.scale).sum(-1)

    loss = nn.TripletMarginWithDistanceLoss(distance_function=Learned())
    assert list(loss.state_dict()) == ["distance_function.scale"]
    loss(*map(wf.asarray, (X, Y, Z))).backward()
    assert loss.distance_function.scale.grad.numpy().any()


@pytest.mark.parametrize("outer", [(), (2,), (2, 3)])
@pytest.mark.parametrize("options", [{}, {"bias": True, "label_smoothing": 0.2}, {"ignore_index": 1, "weight": "w"}])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_linear_cross_entropy(outer: tuple[int, ...], options: dict[str, Any], reduction: str) -> None:
    rng = np.random.default_rng(0)
    weight = np.array([1.0, 2.0, 0.5])
    mine, other = (
        {**options, "weight": make(weight) if "weight" in options else None} for make in (wf.asarray, torch.tensor)
    )
    ours = nn.LinearCrossEntropyLoss(4, 3, out_features=outer, reduction=reduction, **mine).double()
    theirs = torch.nn.LinearCrossEntropyLoss(4, 3, out_features=outer, reduction=reduction, **other).double()
    assert repr(ours) == repr(theirs).replace(", options=None", "") and list(ours.state_dict()) == list(
        theirs.state_dict()
    )
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, target = rng.normal(size=(5, 4)), rng.integers(0, 3, (5, *outer))
    a, b = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(a, wf.asarray(target)), theirs(b, torch.tensor(target))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10)
    y.sum().backward()
    z.sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        ours.linear.weight.grad.numpy(), theirs.linear.weight.grad.numpy(), rtol=1e-9, atol=1e-12
    )
    if not outer and options.get("bias"):
        logits = nn.functional.linear(a, ours.linear.weight, ours.linear.bias)
        apart = nn.functional.cross_entropy(logits, wf.asarray(target), label_smoothing=0.2, reduction=reduction)
        assert apart.numpy().tobytes() == y.numpy().tobytes()


def test_linear_cross_entropy_refuses() -> None:
    loss, x = nn.functional.linear_cross_entropy, wf.ones((2, 4))
    labels = wf.asarray([0, 1])
    with pytest.raises(wf.ShapeError, match=r"linear_weight \(3, 5\) must be \(C, 4\)"):
        loss(x, wf.ones((3, 5)), labels)
    with pytest.raises(wf.ShapeError, match=r"linear_bias \(4,\) must be \(3,\)"):
        loss(x, wf.ones((3, 4)), labels, linear_bias=wf.ones((4,)))
    with pytest.raises(wf.ShapeError, match=r"wants \(N, in\)"):
        loss(wf.ones((4,)), wf.ones((3, 2, 4)), labels)
    with pytest.raises(ValueError, match="the target has probabilities"):
        loss(x, wf.ones((3, 4)), wf.ones((2, 3)), ignore_index=1)
    with pytest.raises(wf.ShapeError, match=r"weight \(2,\) must be \(3,\)"):
        nn.LinearCrossEntropyLoss(4, 3, weight=wf.ones(2))

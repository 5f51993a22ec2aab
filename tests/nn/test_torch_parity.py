"""Layers and losses against PyTorch, where it is installed: outputs, gradients, and weights that carry over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(0)


def carry_over(ours: Any, theirs: Any) -> None:
    """Load the state of PyTorch's module into ours; the names must be the same."""
    ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})


def compare(got: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    np.testing.assert_allclose(got.numpy(), wanted.detach().numpy(), rtol=tolerance, atol=tolerance)


LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Linear", (6, 4), {}),
    ("Linear", (6, 4), {"bias": False}),
    ("LayerNorm", (6,), {}),
    ("LayerNorm", ((5, 6),), {"bias": False}),
    ("RMSNorm", (6,), {}),
    ("RMSNorm", ((5, 6),), {"eps": 1e-3}),
    ("PReLU", (), {}),
    ("PReLU", (5,), {}),
    *(
        (name, (), {})
        for name in (
            "ReLU",
            "ReLU6",
            "LeakyReLU",
            "ELU",
            "SELU",
            "GELU",
            "SiLU",
            "Mish",
            "Tanh",
            "Sigmoid",
            "LogSigmoid",
            "Softplus",
            "Softsign",
            "Hardtanh",
            "Hardsigmoid",
            "Hardswish",
            "Flatten",
            "Identity",
            "CELU",
            "GLU",
            "Hardshrink",
            "Softmax2d",
            "Softshrink",
            "Tanhshrink",
        )
    ),
    ("GELU", ("tanh",), {}),
    ("CELU", (0.5,), {}),
    ("GLU", (-1,), {}),
    ("Hardshrink", (1.5,), {}),
    ("Softshrink", (1.5,), {}),
    ("Threshold", (0.5, -2.0), {}),
    ("Softmin", (1,), {}),
    ("Softmax", (-1,), {}),
    ("LogSoftmax", (1,), {}),
    ("Unflatten", (2, (2, 3)), {}),
]


@pytest.mark.parametrize(("name", "args", "options"), LAYERS)
def test_layer(name: str, args: Any, options: Any) -> None:
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    carry_over(ours, theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = (RNG.normal(size=(3, 5, 6)) * 3).astype(np.float32)
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y, z = ours(mine), theirs(other)
    compare(y, z)
    weight = RNG.normal(size=z.shape).astype(np.float32)
    (y * wf.asarray(weight)).sum().backward()
    (z * torch.tensor(weight)).sum().backward()
    compare(mine.grad, other.grad)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        compare(p.grad, q.grad, 1e-4)


@pytest.mark.parametrize("padding", [None, 2, -1])
def test_embedding(padding: int | None) -> None:
    ours, theirs = nn.Embedding(7, 3, padding), torch.nn.Embedding(7, 3, padding)
    carry_over(ours, theirs)
    index = RNG.integers(0, 7, (4, 5))
    y, z = ours(wf.asarray(index)), theirs(torch.tensor(index))
    compare(y, z)
    (y * y).sum().backward()
    (z * z).sum().backward()
    compare(ours.weight.grad, theirs.weight.grad)


LOSSES: list[tuple[str, dict[str, Any]]] = [
    ("CrossEntropyLoss", {}),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}),
    ("CrossEntropyLoss", {"weight": "w", "ignore_index": 2, "label_smoothing": 0.2}),
    ("NLLLoss", {"weight": "w", "ignore_index": 1}),
    ("MSELoss", {}),
    ("L1Loss", {}),
    ("SmoothL1Loss", {"beta": 0.4}),
    ("HuberLoss", {"delta": 0.4}),
    ("KLDivLoss", {}),
    ("KLDivLoss", {"reduction": "batchmean"}),
    ("KLDivLoss", {"log_target": True}),
    ("BCELoss", {}),
    ("BCEWithLogitsLoss", {"pos_weight": "w"}),
]


@pytest.mark.one_in(2)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@pytest.mark.parametrize(("name", "options"), LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("rank", [2, 3])
def test_loss(name: str, options: Any, reduction: str, rank: int) -> None:
    shape = (6, 4) if rank == 2 else (6, 4, 3)
    logits = RNG.normal(size=shape).astype(np.float32)
    probabilities = RNG.uniform(0.05, 0.95, shape).astype(np.float32)
    target: Any = probabilities
    if name in ("CrossEntropyLoss", "NLLLoss"):
        target = RNG.integers(0, 4, (6, *shape[2:]))
    x = RNG.uniform(0.05, 0.95, shape).astype(np.float32) if name == "BCELoss" else logits
    weight = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    if name == "BCEWithLogitsLoss" and rank == 3:
        weight = weight[:, None]
    mine = {k: wf.asarray(weight) if v == "w" else v for k, v in {"reduction": reduction, **options}.items()}
    other = {k: torch.tensor(weight) if v == "w" else v for k, v in {"reduction": reduction, **options}.items()}
    a, b = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    y = getattr(nn, name)(**mine)(a, wf.asarray(target))
    z = getattr(torch.nn, name)(**other)(b, torch.tensor(target))
    compare(y, z)
    y.sum().backward()
    z.sum().backward()
    compare(a.grad, b.grad)


def test_cross_entropy_of_probabilities() -> None:
    x, p = RNG.normal(size=(5, 4, 2)).astype(np.float32), RNG.uniform(size=(5, 4, 2)).astype(np.float32)
    weight = np.array([1.0, 2.0, 0.5, 3.0], np.float32)
    y = nn.functional.cross_entropy(wf.asarray(x), wf.asarray(p), wf.asarray(weight), label_smoothing=0.1)
    z = torch.nn.functional.cross_entropy(torch.tensor(x), torch.tensor(p), torch.tensor(weight), label_smoothing=0.1)
    compare(y, z)


def test_the_same_default_initialization_up_to_the_random_numbers() -> None:
    wf.manual_seed(0)
    torch.manual_seed(0)
    for make in (lambda m: m.Linear(200, 300), lambda m: m.Embedding(300, 200), lambda m: m.LayerNorm(20)):
        ours, theirs = make(nn), make(torch.nn)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            a, b = p.numpy(), q.detach().numpy()
            assert a.std() == pytest.approx(b.std(), rel=0.1, abs=1e-6) and a.max() == pytest.approx(b.max(), rel=0.3)

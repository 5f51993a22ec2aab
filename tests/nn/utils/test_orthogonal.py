"""Orthogonal parametrizations against PyTorch's: states carry over, values and gradients are theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn.utils.parametrizations import orthogonal

torch = pytest.importorskip("torch", reason="the parity extra is not installed")


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("by", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)])
def test_values_and_gradients_are_pytorchs(shape: tuple[int, int], by: str, trivial: bool) -> None:
    options: dict[str, Any] = {"orthogonal_map": by, "use_trivialization": trivial}
    theirs = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(*shape[::-1]).double(), **options)
    ours = orthogonal(nn.Linear(*shape[::-1]).double(), **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    state = {k: v.detach().numpy().copy() for k, v in theirs.state_dict().items()}
    original = state["parametrizations.weight.original"]
    original += (
        0.3 * rng.normal(size=original.shape) * (1.0 - np.eye(*shape))
    )  # not the diagonal: its whole part counts
    theirs.load_state_dict({k: torch.tensor(v) for k, v in state.items()})
    ours.load_state_dict({k: wf.asarray(v) for k, v in state.items()})
    np.testing.assert_allclose(ours.weight.detach().numpy(), theirs.weight.detach().numpy(), atol=1e-12)
    weights = rng.normal(size=shape)
    (ours.weight * wf.asarray(weights)).sum().backward()
    (theirs.weight * torch.tensor(weights)).sum().backward()
    held = ours.parametrizations.weight.original, theirs.parametrizations.weight.original
    np.testing.assert_allclose(held[0].grad.numpy(), held[1].grad.numpy(), atol=1e-12)
    x = wf.asarray(rng.normal(size=(2, shape[1])))
    assert wf.compile(ours)(x).numpy().tobytes() == ours(x).numpy().tobytes()


def test_a_weight_is_made_orthogonal() -> None:
    layer = orthogonal(nn.Linear(4, 4).double())
    layer.weight = wf.asarray(np.random.default_rng(0).normal(size=(4, 4)))
    np.testing.assert_allclose((layer.weight.mT @ layer.weight).detach().numpy(), np.eye(4), atol=1e-12)
    turned = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 3)))[0]
    for trivial in (True, False):
        layer = orthogonal(nn.Linear(3, 6).double(), use_trivialization=trivial)
        layer.weight = wf.asarray(turned)
        np.testing.assert_allclose(layer.weight.detach().numpy(), turned, atol=1e-12)


def test_what_is_refused() -> None:
    with pytest.raises(wf.ArgumentError, match="orthogonal_map is 'other'"):
        orthogonal(nn.Linear(3, 3), orthogonal_map="other")
    with pytest.raises(wf.ShapeError, match="bias has shape"):
        orthogonal(nn.Linear(3, 3), "bias")
    with pytest.raises(wf.ArgumentError, match="no parameter or buffer 'none'"):
        orthogonal(nn.Linear(3, 3), "none")
    with pytest.raises(wf.DTypeError, match="weight is float16; it must be float32 or float64"):
        orthogonal(nn.Linear(3, 3).half())
    layer = orthogonal(nn.Linear(3, 3), use_trivialization=False)
    with pytest.raises(NotImplementedError, match="cannot be set"):
        layer.weight = wf.eye(3)


def test_the_matrix_exponential() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 4, 4)) * np.array([0.1, 3.0, 40.0])[:, None, None]
    mine, other = wf.asarray(x).requires_grad_(), torch.tensor(x, requires_grad=True)
    found, expected = wf.linalg.matrix_exp(mine), torch.linalg.matrix_exp(other)
    scale = np.abs(expected.detach().numpy()).max((1, 2), keepdims=True)
    assert (np.abs(found.detach().numpy() - expected.detach().numpy()) < 1e-11 * scale).all()
    weights = rng.normal(size=x.shape) / scale
    (found * wf.asarray(weights)).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-8, atol=1e-10)


def test_the_matrix_exponential_of_what_is_not_finite() -> None:
    inf = float("inf")
    found = wf.linalg.matrix_exp(wf.asarray([[[inf]], [[-inf]], [[0.0]]]))
    assert found.reshape(3).tolist() == [inf, 0.0, 1.0]
    for x in ([[1e308, 0.0], [1e308, 0.0]], [[inf, 0.0], [0.0, 0.0]]):
        two = wf.asarray([x, [[0.0, 1.0], [0.0, 0.0]]], dtype=wf.float64)
        found = wf.linalg.matrix_exp(two).numpy()
        assert np.isnan(found[0]).all()
        np.testing.assert_allclose(found[1], [[1.0, 1.0], [0.0, 1.0]], rtol=1e-14)


def test_names_of_parameters_without_a_shape() -> None:
    from weft.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

    assert nn.UninitializedParameter is UninitializedParameter and nn.UninitializedBuffer is UninitializedBuffer
    layer = nn.LazyLinear(3)
    assert is_lazy(layer.weight) and not is_lazy(nn.Linear(1, 1).weight)

"""Layers: each is its function over its parameters; shapes, defaults, reprs and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn
from weft.nn import functional as F

RNG = np.random.default_rng(0)
X = wf.asarray(RNG.normal(size=(3, 4)).astype(np.float32))

# module, function, repr
ELEMENTWISE = [
    (nn.ReLU(), F.relu, "ReLU()"),
    (nn.ReLU(inplace=True), F.relu, "ReLU(inplace=True)"),
    (nn.ReLU6(), F.relu6, "ReLU6()"),
    (nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), "LeakyReLU(negative_slope=0.2)"),
    (nn.ELU(0.5), lambda x: F.elu(x, 0.5), "ELU(alpha=0.5)"),
    (nn.SELU(), F.selu, "SELU()"),
    (nn.GELU(), F.gelu, "GELU(approximate='none')"),
    (nn.GELU("tanh"), lambda x: F.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (nn.SiLU(), F.silu, "SiLU()"),
    (nn.Mish(), F.mish, "Mish()"),
    (nn.Tanh(), wf.tanh, "Tanh()"),
    (nn.Sigmoid(), wf.sigmoid, "Sigmoid()"),
    (nn.LogSigmoid(), F.logsigmoid, "LogSigmoid()"),
    (nn.Softplus(2.0), lambda x: F.softplus(x, 2.0), "Softplus(beta=2.0, threshold=20.0)"),
    (nn.Softsign(), F.softsign, "Softsign()"),
    (nn.Hardtanh(-2.0, 0.5), lambda x: F.hardtanh(x, -2.0, 0.5), "Hardtanh(min_val=-2.0, max_val=0.5)"),
    (nn.Hardsigmoid(), F.hardsigmoid, "Hardsigmoid()"),
    (nn.Hardswish(), F.hardswish, "Hardswish()"),
    (nn.Softmax(dim=0), lambda x: F.softmax(x, 0), "Softmax(dim=0)"),
    (nn.Softmax(), F.softmax, "Softmax(dim=None)"),
    (nn.LogSoftmax(1), lambda x: F.log_softmax(x, 1), "LogSoftmax(dim=1)"),
    (nn.PReLU(), lambda x: F.leaky_relu(x, 0.25), "PReLU(num_parameters=1)"),
    (nn.CELU(0.5), lambda x: F.celu(x, 0.5), "CELU(alpha=0.5)"),
    (nn.CELU(0.5, inplace=True), lambda x: F.celu(x, 0.5), "CELU(alpha=0.5, inplace=True)"),
    (nn.RReLU().eval(), F.rrelu, "RReLU(lower=0.125, upper=0.3333333333333333)"),
    (nn.Threshold(0.1, 2.0), lambda x: F.threshold(x, 0.1, 2.0), "Threshold(threshold=0.1, value=2.0)"),
    (nn.Hardshrink(), F.hardshrink, "Hardshrink(0.5)"),
    (nn.Softshrink(0.25), lambda x: F.softshrink(x, 0.25), "Softshrink(0.25)"),
    (nn.Tanhshrink(), F.tanhshrink, "Tanhshrink()"),
    (nn.Softmin(1), lambda x: F.softmin(x, 1), "Softmin(dim=1)"),
    (nn.GLU(), F.glu, "GLU(dim=-1)"),
    (nn.GroupNorm(2, 4), lambda x: F.group_norm(x, 2), "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"),
    (nn.Identity(1, a=2), lambda x: x, "Identity()"),
    (nn.Flatten(), lambda x: x, "Flatten(start_dim=1, end_dim=-1)"),
    (nn.Unflatten(1, (2, 2)), lambda x: wf.reshape(x, (3, 2, 2)), "Unflatten(dim=1, unflattened_size=(2, 2))"),
    (nn.LayerNorm(4), lambda x: F.layer_norm(x, 4), "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"),
    (
        nn.RMSNorm((3, 4), 1e-3),
        lambda x: F.rms_norm(x, (3, 4), None, 1e-3),
        "RMSNorm((3, 4), eps=0.001, elementwise_affine=True)",
    ),
]


@pytest.mark.parametrize(("module", "function", "text"), [pytest.param(*c, id=c[2]) for c in ELEMENTWISE])
def test_the_module_is_the_function(module: Any, function: Any, text: str) -> None:
    assert module(X).numpy().tobytes() == function(X).numpy().tobytes()
    assert module(X).shape == function(X).shape
    assert repr(module) == text


def test_softmax_over_channels() -> None:
    x = wf.asarray(RNG.normal(size=(2, 3, 4, 5)).astype(np.float32))
    assert nn.Softmax2d()(x).numpy().tobytes() == F.softmax(x, 1).numpy().tobytes()
    assert nn.Softmax2d()(x[0]).numpy().tobytes() == F.softmax(x[0], 0).numpy().tobytes()
    with pytest.raises(wf.ShapeError, match=r"Softmax2d: input \(3, 4\): wants"):
        nn.Softmax2d()(X)


def test_linear_is_x_times_weight_transposed() -> None:
    layer = nn.Linear(4, 2)
    x = X.numpy()
    wanted = x @ layer.weight.numpy().T + layer.bias.numpy()
    np.testing.assert_allclose(layer(X).numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert layer(wf.zeros((5, 6, 4))).shape == (5, 6, 2) and layer(wf.zeros((4,))).shape == (2,)
    assert nn.Linear(4, 2, bias=False).bias is None
    assert nn.Linear(4, 2, dtype="float64").weight.dtype is wf.float64
    assert repr(nn.Linear(4, 2, bias=False)) == "Linear(in_features=4, out_features=2, bias=False)"


def test_linear_begins_within_its_bounds() -> None:
    layer = nn.Linear(100, 300)
    for parameter in (layer.weight, layer.bias):
        values = parameter.numpy()
        assert abs(values).max() <= 0.1 and abs(values).max() > 0.09 and abs(values.mean()) < 0.01


def test_the_same_seed_gives_the_same_network() -> None:
    def bits() -> list[bytes]:
        wf.manual_seed(3)
        return [p.numpy().tobytes() for p in nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 2)).parameters()]

    assert bits() == bits()


def test_embedding() -> None:
    layer = nn.Embedding(6, 3, padding_idx=-2)
    assert layer.padding_idx == 4 and layer.weight.numpy()[4].tolist() == [0.0] * 3
    assert layer(wf.asarray([[1, 4]])).shape == (1, 2, 3) and repr(layer) == "Embedding(6, 3, padding_idx=4)"
    layer(wf.asarray([1, 4])).sum().backward()
    assert layer.weight.grad.numpy()[:, 0].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    table = wf.asarray(RNG.normal(size=(3, 2)).astype(np.float32))
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad and frozen(wf.asarray([2])).tolist() == [table.tolist()[2]]
    with pytest.raises(ValueError, match="padding_idx 6 is out of range"):
        nn.Embedding(6, 3, padding_idx=6)
    with pytest.raises(IndexError, match="embedding"):
        layer(wf.asarray([6]))


def test_normalization_layers_train_their_parameters() -> None:
    layer = nn.LayerNorm((3, 4), bias=False)
    assert layer.bias is None and layer.weight.numpy().all()
    layer(X).sum().backward()
    assert layer.weight.grad.shape == (3, 4)
    assert not list(nn.LayerNorm(4, elementwise_affine=False).parameters())
    assert [n for n, _ in nn.RMSNorm(4).named_parameters()] == ["weight"]


def test_dropout_drops_in_training_only() -> None:
    layer = nn.Dropout(0.5)
    x = wf.ones((1000,))
    assert 0 in layer(x).numpy() and layer.eval()(x) is x
    with pytest.raises(ValueError, match="Dropout: p is -1"):
        nn.Dropout(-1)


def test_flatten_and_unflatten_are_inverse() -> None:
    x = wf.asarray(RNG.normal(size=(2, 3, 4, 5)).astype(np.float32))
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(1, 2)(x).shape == (2, 12, 5)
    back = nn.Unflatten(1, (3, -1, 5))(nn.Flatten()(x))
    assert back.shape == x.shape and back.numpy().tobytes() == x.numpy().tobytes()


Y, P = wf.asarray([1, 0, 2]), F.softmax(X)
W = wf.asarray([1.0, 2.0, 0.5, 3.0])
LOSSES = [
    (nn.CrossEntropyLoss(), lambda r: F.cross_entropy(X, Y, reduction=r), (X, Y)),
    (
        nn.CrossEntropyLoss(W, ignore_index=0, label_smoothing=0.1),
        lambda r: F.cross_entropy(X, Y, W, ignore_index=0, label_smoothing=0.1, reduction=r),
        (X, Y),
    ),
    (nn.NLLLoss(W, ignore_index=2), lambda r: F.nll_loss(X, Y, W, ignore_index=2, reduction=r), (X, Y)),
    (nn.MSELoss(), lambda r: F.mse_loss(X, P, reduction=r), (X, P)),
    (nn.L1Loss(), lambda r: F.l1_loss(X, P, reduction=r), (X, P)),
    (nn.SmoothL1Loss(beta=0.5), lambda r: F.smooth_l1_loss(X, P, beta=0.5, reduction=r), (X, P)),
    (nn.HuberLoss(delta=0.5), lambda r: F.huber_loss(X, P, delta=0.5, reduction=r), (X, P)),
    (nn.KLDivLoss(), lambda r: F.kl_div(X, P, reduction=r), (X, P)),
    (nn.BCELoss(W), lambda r: F.binary_cross_entropy(P, P, W, reduction=r), (P, P)),
    (
        nn.BCEWithLogitsLoss(W, pos_weight=W),
        lambda r: F.binary_cross_entropy_with_logits(X, P, W, pos_weight=W, reduction=r),
        (X, P),
    ),
]


@pytest.mark.parametrize(("module", "function", "args"), [pytest.param(*c, id=type(c[0]).__name__) for c in LOSSES])
def test_the_loss_is_the_function(module: Any, function: Any, args: Any) -> None:
    for reduction in ("mean", "sum", "none"):
        module.reduction = reduction
        assert module(*args).numpy().tobytes() == function(reduction).numpy().tobytes()
    with pytest.raises(ValueError, match="reduction is 'avg'"):
        type(module)(reduction="avg")


def test_weights_of_losses_are_buffers() -> None:
    loss = nn.CrossEntropyLoss(W)
    assert not list(loss.parameters()) and loss.to("float64").weight.dtype is wf.float64


def test_a_wrong_size_names_the_layer() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    with pytest.raises(wf.ShapeError) as caught:
        net(X)
    assert caught.value.module_path == "sequential.1"


def test_clipping_limits_the_norm() -> None:
    for norm_type in (1.0, 2.0, float("inf")):
        layer = nn.Linear(4, 3)
        (layer(X) * 10.0).sum().backward()
        flat = np.concatenate([p.grad.numpy().ravel() for p in layer.parameters()])
        norm = nn.clip_grad_norm_(layer.parameters(), 0.5, norm_type).item()
        assert norm == pytest.approx(np.linalg.norm(flat, norm_type), rel=1e-5)
        now = np.concatenate([p.grad.numpy().ravel() for p in layer.parameters()])
        np.testing.assert_allclose(now, flat * (0.5 / norm), rtol=1e-4)
        assert nn.clip_grad_norm_(layer.parameters(), 1e6, norm_type).item() == pytest.approx(0.5, rel=1e-4)
        nn.clip_grad_value_(layer.parameters(), 0.01)
        assert max(abs(p.grad.numpy()).max() for p in layer.parameters()) <= 0.01
    assert nn.clip_grad_norm_([nn.Parameter(wf.ones((2,)))], 1.0).item() == 0.0


@pytest.mark.parametrize(("module", "function", "text"), [pytest.param(*c, id=c[2]) for c in ELEMENTWISE])
def test_the_batch_may_be_symbolic(module: Any, function: Any, text: str) -> None:
    if text.startswith(("RMSNorm((3", "Softmax(dim=0")):
        pytest.skip("normalizes over the batch")
    batch = wf.spec(("n", 4))
    assert str(wf.eval_shape(module, batch)).startswith("float32[n, ")


@pytest.mark.parametrize(("module", "function", "args"), [pytest.param(*c, id=type(c[0]).__name__) for c in LOSSES])
def test_the_batch_of_a_loss_may_be_symbolic(module: Any, function: Any, args: Any) -> None:
    specs = [wf.spec(("n", *a.shape[1:]), a.dtype) for a in args]
    for reduction, shape in (("mean", "float32[]"), ("none", "float32[n")):
        module.reduction = reduction
        assert str(wf.eval_shape(module, *specs)).startswith(shape)

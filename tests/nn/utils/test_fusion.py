"""A normalization as part of the layer before it: the values of both, as PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft as wf
from weft import nn

RNG = np.random.default_rng(0)


def trained(bn: Any, x: wf.Tensor) -> Any:
    """A normalization with statistics of its own, in evaluation mode."""
    bn.double()
    for p in bn.parameters():
        nn.init.normal_(p)
    bn(x)
    return bn.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("transpose", [False, True])
def test_convolution(bias: bool, affine: bool, transpose: bool) -> None:
    kind = nn.ConvTranspose2d if transpose else nn.Conv2d
    conv = kind(2, 3, 2, bias=bias).double()
    x = wf.asarray(RNG.normal(size=(2, 2, 4, 5)))
    bn = trained(nn.BatchNorm2d(3, affine=affine), conv(x))
    before = conv.weight.numpy().copy()
    fused = nn.utils.fuse_conv_bn_eval(conv.eval(), bn, transpose)
    np.testing.assert_allclose(fused(x).numpy(), bn(conv(x)).numpy(), rtol=1e-10, atol=1e-12)
    assert type(fused) is kind and np.array_equal(conv.weight.numpy(), before)
    assert isinstance(fused.weight, nn.Parameter) and fused.bias is not None


def test_linear() -> None:
    linear, x = nn.Linear(3, 4, bias=False).double(), wf.asarray(RNG.normal(size=(5, 3)))
    bn = trained(nn.BatchNorm1d(4), linear(x))
    fused = nn.utils.fuse_linear_bn_eval(linear.eval(), bn)
    np.testing.assert_allclose(fused(x).numpy(), bn(linear(x)).numpy(), rtol=1e-10, atol=1e-12)
    with pytest.raises(wf.ShapeError, match="4 features of the normalization behind 2"):
        nn.utils.fuse_linear_bn_eval(nn.Linear(3, 2).eval(), bn)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        nn.utils.fuse_conv_bn_eval(nn.Conv1d(1, 1, 1), nn.BatchNorm1d(1).eval())
    with pytest.raises(ValueError, match="keeps no running statistics"):
        nn.utils.fuse_conv_bn_eval(nn.Conv1d(1, 1, 1).eval(), nn.BatchNorm1d(1, track_running_stats=False).eval())

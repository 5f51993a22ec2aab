"""A normalization by running statistics as part of the layer before it."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from ...core.errors import ArgumentError, ShapeError
from ...ops.creation import ones_like, zeros_like
from ...ops.elementwise import astype, rsqrt
from ...ops.shape import reshape
from ...tensor.tensor import Tensor
from ..module import Module
from ..parameter import Parameter

M = TypeVar("M", bound=Module)


def _check(function: str, layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise ArgumentError(f"{function}: both modules must be in evaluation mode: call eval() first")
    if bn.running_mean is None or bn.running_var is None:
        raise ArgumentError(f"{function}: the normalization keeps no running statistics")


def fuse_conv_bn_eval(conv: M, bn: Any, transpose: bool = False) -> M:
    """A convolution that computes what ``conv`` and then ``bn`` compute, but for rounding.

    Args:
        conv: a convolution in evaluation mode; it stays as it is.
        bn: a BatchNorm in evaluation mode, with running statistics.
        transpose: ``conv`` is a transposed convolution.

    Raises:
        ArgumentError: one of them is in training mode, or there are no statistics.

    Example:
        >>> conv, bn = wf.nn.Conv1d(2, 3, 1).eval(), wf.nn.BatchNorm1d(3).eval()
        >>> x = wf.ones((1, 2, 4))
        >>> wf.nn.utils.fuse_conv_bn_eval(conv, bn)(x).allclose(bn(conv(x)), atol=1e-6)
        True
    """
    _check("fuse_conv_bn_eval", conv, bn)
    fused: Any = copy.deepcopy(conv)
    statistics = bn.running_mean, bn.running_var, bn.eps
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, *statistics, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and the bias of :func:`fuse_conv_bn_eval`: of the convolution's, and of the normalization's running
    mean, running variance, ``eps``, weight and bias."""
    of_bias = conv_w.dtype if conv_b is None else conv_b.dtype
    bias = zeros_like(bn_rm) if conv_b is None else conv_b
    scale = rsqrt(bn_rv + bn_eps) * (ones_like(bn_rm) if bn_w is None else bn_w)
    shape = [1, -1] if transpose else [-1, 1]
    weight = conv_w * reshape(scale, (*shape, *[1] * (conv_w.ndim - 2)))
    shifted = (bias - bn_rm) * scale + (zeros_like(bn_rm) if bn_b is None else bn_b)
    return (
        Parameter(astype(weight, conv_w.dtype), conv_w.requires_grad),
        Parameter(astype(shifted, of_bias), bias.requires_grad),
    )


def fuse_linear_bn_eval(linear: M, bn: Any) -> M:
    """A :class:`weft.nn.Linear` that computes what ``linear`` and then ``bn`` compute, but for rounding.

    Raises:
        ArgumentError: one of them is in training mode, or there are no statistics.
        ShapeError: ``bn`` has neither one feature nor those of ``linear``.
    """
    _check("fuse_linear_bn_eval", linear, bn)
    fused: Any = copy.deepcopy(linear)
    if bn.num_features not in (1, fused.out_features):
        raise ShapeError(
            f"fuse_linear_bn_eval: {bn.num_features} features of the normalization behind {fused.out_features} of the "
            "linear layer"
        )
    statistics = bn.running_mean, bn.running_var, bn.eps
    fused.weight, fused.bias = fuse_linear_bn_weights(fused.weight, fused.bias, *statistics, bn.weight, bn.bias)
    return fused


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor,
    bn_b: Tensor,
) -> tuple[Parameter, Parameter]:
    """The weight and the bias of :func:`fuse_linear_bn_eval`."""
    of_bias = linear_w.dtype if linear_b is None else linear_b.dtype
    bias = zeros_like(bn_rm) if linear_b is None else linear_b
    scale = bn_w * rsqrt(bn_rv + bn_eps)
    weight = linear_w * astype(reshape(scale, (-1, 1)), linear_w.dtype)
    return (
        Parameter(weight, linear_w.requires_grad),
        Parameter(astype((bias - bn_rm) * scale + bn_b, of_bias), bias.requires_grad),
    )

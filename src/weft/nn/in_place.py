"""Activations under PyTorch's in-place names: ``F.relu_(x)`` is ``F.relu(x, inplace=True)``."""

from __future__ import annotations

from ..ops import activation as ops
from ..ops.op import Array, public
from ..ops.random import Generator, default_generator
from ..tensor.in_place import over


@public
def celu_(input: Array, alpha: float = 1.0) -> Array:
    """Write :func:`celu` of ``input`` into it; returns it."""
    return over("celu_", ops.celu, input, alpha)


@public
def elu_(input: Array, alpha: float = 1.0) -> Array:
    """Write :func:`elu` of ``input`` into it; returns it."""
    return over("elu_", ops.elu, input, alpha)


@public
def hardtanh_(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Write :func:`hardtanh` of ``input`` into it; returns it."""
    return over("hardtanh_", ops.hardtanh, input, min_val, max_val)


@public
def leaky_relu_(input: Array, negative_slope: float = 0.01) -> Array:
    """Write :func:`leaky_relu` of ``input`` into it; returns it."""
    return over("leaky_relu_", ops.leaky_relu, input, negative_slope)


@public
def relu_(input: Array) -> Array:
    """Write :func:`relu` of ``input`` into it; returns it."""
    return over("relu_", ops.relu, input)


@public
def rrelu_(
    input: Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    generator: Generator | None = None,
) -> Array:
    """Write :func:`rrelu` of ``input`` into it; returns it."""
    state = (generator or default_generator(input.device)).next() if training else None
    return over("rrelu_", ops.rrelu_by, input, state, lower, upper)


@public
def selu_(input: Array) -> Array:
    """Write :func:`selu` of ``input`` into it; returns it."""
    return over("selu_", ops.selu, input)


@public
def threshold_(input: Array, threshold: float, value: float) -> Array:
    """Write :func:`threshold` of ``input`` into it; returns it."""
    return over("threshold_", ops.threshold, input, threshold, value)

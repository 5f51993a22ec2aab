"""Activations under PyTorch's in-place names: ``F.relu_(x)`` is ``F.relu(x, inplace=True)``."""

from __future__ import annotations

from ..ops import activation as ops
from ..ops.op import Array, public
from ..ops.random import Generator


@public
def celu_(input: Array, alpha: float = 1.0) -> Array:
    """Write :func:`celu` of ``input`` into it; returns it."""
    return ops.celu(input, alpha, True)


@public
def elu_(input: Array, alpha: float = 1.0) -> Array:
    """Write :func:`elu` of ``input`` into it; returns it."""
    return ops.elu(input, alpha, True)


@public
def hardtanh_(input: Array, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """Write :func:`hardtanh` of ``input`` into it; returns it."""
    return ops.hardtanh(input, min_val, max_val, True)


@public
def leaky_relu_(input: Array, negative_slope: float = 0.01) -> Array:
    """Write :func:`leaky_relu` of ``input`` into it; returns it."""
    return ops.leaky_relu(input, negative_slope, True)


@public
def relu_(input: Array) -> Array:
    """Write :func:`relu` of ``input`` into it; returns it."""
    return ops.relu(input, True)


@public
def rrelu_(
    input: Array,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    generator: Generator | None = None,
) -> Array:
    """Write :func:`rrelu` of ``input`` into it; returns it."""
    return ops.rrelu(input, lower, upper, training, True, generator=generator)


@public
def selu_(input: Array) -> Array:
    """Write :func:`selu` of ``input`` into it; returns it."""
    return ops.selu(input, True)


@public
def threshold_(input: Array, threshold: float, value: float) -> Array:
    """Write :func:`threshold` of ``input`` into it; returns it."""
    return ops.threshold(input, threshold, value, True)

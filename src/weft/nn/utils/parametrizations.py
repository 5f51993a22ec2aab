"""Parametrizations that there are: weights by length and direction, with a spectral norm of 1, and orthogonal ones
(:mod:`.orthogonal`)."""

from __future__ import annotations

from functools import partial
from typing import Any

from ...core.errors import ArgumentError
from ...core.namespace import publish as _publish
from ...core.shapes import normalize_axis
from ...ops.creation import zeros
from ...ops.elementwise import abs as absolute
from ...ops.elementwise import clone
from ...ops.linalg import vector_norm
from ...ops.normalization import normalize
from ...ops.op import Array, composite
from ...ops.reduction import sum as sum_
from ...tensor.tape import no_grad
from ...tensor.tensor import Tensor
from .. import init
from ..convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from ..module import Module
from .orthogonal import orthogonal
from .parametrize import register_parametrization

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def _other_axes(x: Tensor, dim: int) -> tuple[int, ...]:
    """All axes but one; all of them for -1."""
    kept = -1 if dim == -1 else normalize_axis(dim, x.ndim, "weight_norm")
    return tuple(axis for axis in range(x.ndim) if axis != kept)


@composite(name="weight_norm")
def _lengths(weight: Array, axes: tuple[int, ...]) -> Array:
    """``()`` over all axes, else with axes of one element in their places."""
    return absolute(weight) if not axes else vector_norm(weight, axis=axes, keepdims=len(axes) < weight.ndim)


@composite(name="weight_norm")
def _scaled(length: Array, direction: Array, axes: tuple[int, ...]) -> Array:
    return direction * (length / _lengths(direction, axes))


class _WeightNorm(Module):
    """A weight as its length, along one axis or as a whole, and a tensor of which only the direction counts."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The weight."""
        return _scaled(weight_g, weight_v, _other_axes(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Its length, and itself."""
        return _lengths(weight, _other_axes(weight, self.dim)), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Parametrize a weight by its length and its direction: ``w = g * v / ||v||``.

    The state has ``parametrizations.weight.original0`` for g and ``...original1`` for v; states of the older
    ``weight_g`` and ``weight_v`` are taken too.

    Args:
        module: changed in place, and returned.
        name: of the weight.
        dim: the axis along which lengths differ; None: one length for the whole.

    Raises:
        AxisError: the weight has no such axis.

    Reference:
        Salimans and Kingma, Weight Normalization, 2016.

    Example:
        >>> layer = wf.nn.utils.parametrizations.weight_norm(wf.nn.Linear(2, 3))
        >>> {k: v.shape for k, v in layer.state_dict().items() if k != "bias"}
        {'parametrizations.weight.original0': (3, 1), 'parametrizations.weight.original1': (3, 2)}
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module.register_load_state_dict_pre_hook(partial(_take_older, name))
    return module


def _take_older(name: str, module: Module, state: dict[str, Any], prefix: str, *details: Any) -> None:
    """A hook on states that have ``weight_g`` and ``weight_v``."""
    older = f"{prefix}{name}_g", f"{prefix}{name}_v"
    if all(key in state for key in older):
        for k, key in enumerate(older):
            state[f"{prefix}parametrizations.{name}.original{k}"] = state.pop(key)


class _SpectralNorm(Module):
    """A weight divided by its greatest singular value, which power iterations approach: one a call in training."""

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        self.dim, self.eps = normalize_axis(dim, weight.ndim, "spectral_norm"), eps
        if n_power_iterations < 1:
            raise ArgumentError(f"spectral_norm: n_power_iterations is {n_power_iterations}; it must be 1 or more")
        if weight.ndim > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = self._matrix(weight)
                for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                    drawn = init.normal_(zeros((size,), dtype=weight.dtype, device=weight.device))
                    self.register_buffer(name, normalize(drawn, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        if self.dim:
            weight = weight.permute(self.dim, *(axis for axis in range(weight.ndim) if axis != self.dim))
        return weight.flatten(1)

    def _iterate(self, matrix: Tensor, times: int) -> None:
        with no_grad():
            for _ in range(times):
                self._u.copy_(normalize(matrix @ self._v, dim=0, eps=self.eps))
                self._v.copy_(normalize(matrix.mT @ self._u, dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight."""
        if weight.ndim == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        u, v = clone(self._u), clone(self._v)  # backward through this call needs them, and the next one writes them
        return weight / sum_(u * (matrix @ v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """Itself: it may have a norm of 1 or not."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Parametrize a weight by one whose spectral norm, as a matrix of ``dim`` and all other axes, becomes 1.

    The state has ``parametrizations.weight.original``, and ``_u`` and ``_v`` of ``parametrizations.weight.0``: the
    approximate singular vectors, which each call in training improves.

    Args:
        module: changed in place, and returned.
        name: of the weight.
        n_power_iterations: of each call in training.
        eps: keeps divisors from 0.
        dim: the axis of the matrix's rows; None: 1 of a transposed convolution, else 0.

    Reference:
        Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.

    Example:
        >>> layer = wf.nn.utils.parametrizations.spectral_norm(wf.nn.Linear(3, 3))
        >>> bool(abs(wf.linalg.svdvals(layer.weight)[0] - 1.0) < 0.1)
        True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ArgumentError(f"{type(module).__name__} has no parameter or buffer {name!r}")
    if dim is None:
        dim = 1 if isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


_publish(globals())

"""Orthogonal parametrizations: weights whose columns, or rows where these are fewer, are orthonormal."""

from __future__ import annotations

from typing import Any

from ...core.errors import ArgumentError, DTypeError, ShapeError
from ...ops.creation import eye, full
from ...ops.decompositions import matrix_exp, qr, solve
from ...ops.elementwise import equal, sign, stop_gradient, trunc, where
from ...ops.lapack import REFLECTORS
from ...ops.op import Array, apply, composite
from ...ops.pieces import concat
from ...ops.reduction import sum as sum_
from ...ops.shape import broadcast_to, expand_dims, matrix_transpose, tril, triu
from ...tensor.tape import no_grad
from ...tensor.tensor import Tensor
from .. import init
from ..module import Module
from .parametrize import register_parametrization

_MAPS = ("matrix_exp", "cayley", "householder")
_EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}


class _NoInverse(ArgumentError, NotImplementedError):
    """A weight is set that this parametrization cannot be made to give."""


@composite(name="orthogonal")
def _rotation(x: Array, by: str) -> Array:
    """An orthogonal matrix from the lower triangle of a tall one: of a skew-symmetric matrix A the exponential, or
    Cayley's ``(I + A / 2) / (I - A / 2)``; or the product of the reflections at the columns under the diagonal."""
    n, k = x.shape[-2:]
    if by == "householder":
        return _reflected(x)
    lower = tril(x)
    if n > k:
        lower = concat([lower, full((*x.shape[:-1], n - k), 0.0, dtype=x.dtype)], axis=-1)
    skew = lower - matrix_transpose(lower)
    if by == "matrix_exp":
        turned = matrix_exp(skew)
    else:
        one, half = eye(n, dtype=x.dtype), skew * 0.5
        turned = solve(one - half, one + half)
    return turned[..., :k] if n > k else turned


def _reflected(x: Array) -> Array:
    """The first columns of ``H_1 ... H_k``, ``H_i = I - 2 v v^T / |v|^2`` with ``v`` of column i: 1 on the diagonal, x
    below; each times the whole number on x's diagonal.

    The product is ``I - V S^-1 V^T``, where S is upper triangular: halves of ``|v|^2`` on the diagonal, above it the
    products of the columns (Joffrain et al., Accumulating Householder transformations, revisited, 2006).
    """
    n, k = x.shape[-2:]
    unit = eye(n, k, dtype=x.dtype)
    v = tril(x, k=-1) + unit
    products = matrix_transpose(v) @ v
    halves = eye(k, dtype=x.dtype) * expand_dims(sum_(v * v, axis=-2) * 0.5, -1)
    inner = triu(products, k=1) + halves
    q = unit - v @ solve(inner, matrix_transpose(v[..., :k, :]))
    signs = sum_(x * unit, axis=-2)
    return q * expand_dims(stop_gradient(trunc(signs)), -2)


@composite(name="orthogonal")
def _reflectors(q: Array) -> Array:
    """What :func:`_reflected` gives ``q`` of, if its columns are orthonormal; else the nearest ones of a QR."""
    found, factors = apply(REFLECTORS, q)
    there = eye(*q.shape[-2:], dtype="bool")
    diagonal = sign(sum_(where(there, found, 0.0), axis=-2))
    return where(there, expand_dims(where(equal(factors, 0.0), -diagonal, diagonal), -2), found)


def _orthogonalized(x: Tensor) -> Tensor:
    """The factor Q of a decomposition whose R has a diagonal that is not negative."""
    q, r = qr(x)
    diagonal = sum_(where(eye(r.shape[-1], dtype="bool"), r, 0.0), axis=-2)
    return q * expand_dims(sign(diagonal), -2)


def _is_orthogonal(q: Tensor) -> bool:
    n = q.shape[-1]
    near = 10 * n * _EPSILON[q.dtype.name]
    return bool((q.mT @ q).allclose(broadcast_to(eye(n, dtype=q.dtype), q.shape), atol=near))


class _Orthogonal(Module):
    """An orthogonal matrix from any; with ``base`` times that, where zeros stand for."""

    base: Any

    def __init__(self, weight: Tensor, by: str, use_trivialization: bool) -> None:
        super().__init__()
        self.shape, self.by, self.use_trivialization = tuple(weight.shape), by, use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Tensor:
        """The weight."""
        is_wide = x.shape[-2] < x.shape[-1]
        found: Tensor = _rotation(x.mT if is_wide else x, self.by)
        if self.use_trivialization:
            found = self.base @ found
        return found.mT if is_wide else found

    def right_inverse(self, value: Tensor) -> Tensor:
        """What the weight comes from; it is made orthogonal where it is not."""
        if tuple(value.shape) != self.shape:
            raise ShapeError(f"orthogonal: a weight of shape {tuple(value.shape)}; it has shape {self.shape}")
        if not self.use_trivialization and self.by != "householder":
            raise _NoInverse(f"orthogonal: a weight cannot be set with {self.by!r} and use_trivialization=False")
        is_wide = self.shape[-2] < self.shape[-1]
        tall = value.mT if is_wide else value
        n, k = tall.shape[-2:]
        with no_grad():
            if not self.use_trivialization:
                found = _reflectors(tall)
                return found.mT if is_wide else found
            if n > k:
                rest = init.normal_(value.new_empty(*tall.shape[:-1], n - k))
                self.base = _orthogonalized(concat([tall, rest], axis=-1))
            else:
                self.base = tall.clone() if _is_orthogonal(tall) else _orthogonalized(tall)
            # The diagonal counts for "householder" alone, whose reflections at zeros have -1 there.
            return broadcast_to(-eye(*self.shape[-2:], dtype=value.dtype), self.shape).clone()


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:
    """Parametrize a weight, ``(..., m, n)``, by one whose columns are orthonormal, or its rows where ``m < n``.

    The state has ``parametrizations.weight.original``, and ``parametrizations.weight.0.base``. The first value is the
    weight's own where that is orthogonal, else the factor Q of its QR decomposition; without trivialization and with
    ``"matrix_exp"`` or ``"cayley"`` it is what these make of it.

    Args:
        module: changed in place, and returned.
        name: of the weight; float32 or float64.
        orthogonal_map: ``"matrix_exp"`` (the exponential of a skew-symmetric matrix), ``"cayley"`` or
            ``"householder"`` (a product of reflections); None: the first for square weights, else the last.
        use_trivialization: multiply by a fixed orthogonal matrix, the first value, from which optimization goes on
            near the identity.

    Raises:
        ArgumentError: there is no such weight, or no such map.
        DTypeError: the weight is of another dtype.
        ShapeError: the weight has fewer than two axes.

    Reference:
        Lezcano-Casado, Trivializations for Gradient-Based Optimization on Manifolds, 2019.

    Example:
        >>> layer = wf.nn.utils.parametrizations.orthogonal(wf.nn.Linear(3, 5))
        >>> (layer.weight.mT @ layer.weight).allclose(wf.eye(3), atol=1e-6)
        True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ArgumentError(f"{type(module).__name__} has no parameter or buffer {name!r}")
    if weight.ndim < 2:
        raise ShapeError(f"orthogonal: {name} has shape {tuple(weight.shape)}; wants a matrix, or a batch of them")
    if weight.dtype.name not in _EPSILON:
        raise DTypeError(f"orthogonal: {name} is {weight.dtype.name}; it must be float32 or float64")
    if orthogonal_map is None:
        orthogonal_map = "matrix_exp" if weight.shape[-2] == weight.shape[-1] else "householder"
    if orthogonal_map not in _MAPS:
        raise ArgumentError(f"orthogonal: orthogonal_map is {orthogonal_map!r}; it is one of {', '.join(_MAPS)}")
    return register_parametrization(module, name, _Orthogonal(weight, orthogonal_map, use_trivialization), unsafe=True)

"""Dropout: elements, or whole channels, that are zero at random; and the kind that keeps the mean and the variance."""

from __future__ import annotations

import math

from ..core.dtypes import DType
from ..core.errors import ArgumentError, DTypeError, ShapeError
from .elementwise import cast, where
from .op import Array, composite, public
from .operands import require_tensors
from .precision import widen
from .random import Generator, default_generator, draw_uniform
from .views import broadcasted, reshaped

# What SELU gives to -infinity, and alpha dropout to what it drops.
_SATURATED = -1.7580993408473766


@public
def dropout(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """Each element is zero with probability ``p`` and ``x / (1 - p)`` otherwise; outside training, ``x`` itself.

    Args:
        input: any shape; a floating dtype.
        p: in [0, 1]; it counts to 24 bits.
        training: False: return ``input``.
        inplace: write the result into ``input``, and return that.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: ``input`` is not floating.

    Reference:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    return _dropped("dropout", input, p, training, inplace, generator, 0)


@public
def dropout1d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """Each channel of a sequence is zero with probability ``p`` and divided by ``1 - p`` otherwise.

    Args:
        input: shape (N, C, L) or (C, L); a floating dtype.
        p, training, inplace, generator: as for :func:`dropout`.

    Raises:
        ShapeError: another number of axes.
        DTypeError: ``input`` is not floating.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """
    axes = _channels("dropout1d", input, (2, 3), "(N, C, L)")
    return _dropped("dropout1d", input, p, training, inplace, generator, axes)


@public
def dropout2d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """Each channel of an image is zero with probability ``p`` and divided by ``1 - p`` otherwise.

    Args:
        input: shape (N, C, H, W); a floating dtype. Of three axes it is (N, C, L), of two (N, C), as in
            PyTorch, which warns of both.
        p, training, inplace, generator: as for :func:`dropout`.

    Raises:
        ShapeError: another number of axes.
        DTypeError: ``input`` is not floating.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """
    require_tensors("dropout2d", input)
    if input.ndim not in (2, 3, 4):
        raise ShapeError(f"dropout2d: wants an input (N, C, H, W), of 2 to 4 axes; shape {input.shape}")
    return _dropped("dropout2d", input, p, training, inplace, generator, 2)


@public
def dropout3d(
    input: Array,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """Each channel of a volume is zero with probability ``p`` and divided by ``1 - p`` otherwise.

    Args:
        input: shape (N, C, D, H, W) or (C, D, H, W); a floating dtype.
        p, training, inplace, generator: as for :func:`dropout`.

    Raises:
        ShapeError: another number of axes.
        DTypeError: ``input`` is not floating.

    Reference:
        Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.
    """
    axes = _channels("dropout3d", input, (4, 5), "(N, C, D, H, W)")
    return _dropped("dropout3d", input, p, training, inplace, generator, axes)


@public
def alpha_dropout(
    input: Array,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """Each element is ``-1.7581``, which is what SELU saturates at, with probability ``p``; then all are scaled and
    moved so that a mean of 0 and a variance of 1 stay.

    Args:
        input: any shape; a floating dtype.
        p, inplace, generator: as for :func:`dropout`; with ``p`` 1 all are 0.
        training: False: return ``input``. That is the default, as in PyTorch.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: ``input`` is not floating.

    Reference:
        Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    return _dropped("alpha_dropout", input, p, training, inplace, generator, 0, alpha=True)


@public
def feature_alpha_dropout(
    input: Array,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Array:
    """:func:`alpha_dropout` of whole channels: the first two axes of ``input`` say which.

    Args:
        input: shape (N, C, ...); a floating dtype.
        p, training, inplace, generator: as for :func:`alpha_dropout`.

    Raises:
        ShapeError: ``input`` has fewer than two axes.
        DTypeError: ``input`` is not floating.

    Reference:
        Klambauer et al., Self-Normalizing Neural Networks, 2017.
    """
    require_tensors("feature_alpha_dropout", input)
    if input.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout: wants an input (N, C, ...) of two or more axes; shape {input.shape}")
    return _dropped("feature_alpha_dropout", input, p, training, inplace, generator, 2, alpha=True)


def _channels(op: str, input: Array, ranks: tuple[int, int], shape: str) -> int:
    """How many axes say which channel an element is of.

    Raises:
        ShapeError: the input has another number of axes than one batch, or what is in one.
    """
    require_tensors(op, input)
    if input.ndim not in ranks:
        raise ShapeError(f"{op}: wants an input {shape}, of {ranks[0]} or {ranks[1]} axes; shape {input.shape}")
    return 2 if input.ndim == ranks[1] else 1


def _dropped(
    op: str,
    input: Array,
    p: float,
    training: bool,
    inplace: bool,
    generator: Generator | None,
    axes: int,
    alpha: bool = False,
) -> Array:
    """A dropout of what the first axes say; of elements where they are none."""
    if not isinstance(getattr(input, "dtype", None), DType):  # outside training nobody else looks at it
        raise DTypeError(f"{op}: an operand of type {type(input).__name__} is not a tensor; make one with asarray")
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"{op}: p is {p}; it must be in [0, 1]")
    if not training or p == 0.0:
        return input
    state = (generator or default_generator(input.device)).next()
    function = _alpha_dropout if alpha else _dropout
    return function(input, state, float(p), op, axes, True) if inplace else function(input, state, float(p), op, axes)


def _drawn(state: Array, x: Array, p: float, axes: int) -> Array:
    """Which elements are dropped."""
    shape = tuple(x.shape)
    if not axes:
        return draw_uniform(state, shape) < p
    dropped = draw_uniform(state, shape[:axes]) < p
    return broadcasted(reshaped(dropped, (*shape[:axes], *(1,) * (len(shape) - axes))), shape)


@composite(name="dropout")
def _dropout(input: Array, state: Array, p: float, op: str, axes: int, inplace: bool = False) -> Array:
    (x,) = widen(op, input)
    return cast(where(_drawn(state, x, p, axes), 0.0, x * (1.0 / (1.0 - p) if p < 1.0 else 0.0)), input.dtype)


@composite(name="alpha_dropout")
def _alpha_dropout(input: Array, state: Array, p: float, op: str, axes: int, inplace: bool = False) -> Array:
    (x,) = widen(op, input)
    if p == 1.0:
        return input * 0.0
    scale = 1.0 / math.sqrt((_SATURATED * _SATURATED * p + 1.0) * (1.0 - p))
    moved = -_SATURATED * scale * p
    return cast(where(_drawn(state, x, p, axes), _SATURATED * scale + moved, x * scale + moved), input.dtype)

"""Dropout: elements that are zero at random."""

from __future__ import annotations

from ..core.errors import ArgumentError
from .elementwise import cast, where
from .op import Array, composite, public
from .precision import widen
from .random import Generator, default_generator, draw_uniform


@public
def dropout(input: Array, p: float = 0.5, training: bool = True, *, generator: Generator | None = None) -> Array:
    """Each element is zero with probability ``p`` and ``x / (1 - p)`` otherwise; outside training, ``x`` itself.

    Args:
        input: any shape; a floating dtype.
        p: in [0, 1]; it counts to 24 bits.
        training: False: return ``input``.
        generator: where the random numbers come from; one draw is made. None is the default generator.

    Returns:
        A tensor of the same shape and dtype.

    Raises:
        DTypeError: ``input`` is not floating.

    Reference:
        Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014.
    """
    if not 0.0 <= p <= 1.0:
        raise ArgumentError(f"dropout: p is {p}; it must be in [0, 1]")
    if not training or p == 0.0:
        return input
    return _dropout(input, (generator or default_generator(input.device)).next(), float(p))


@composite(name="dropout")
def _dropout(input: Array, state: Array, p: float) -> Array:
    (x,) = widen("dropout", input)
    dropped = draw_uniform(state, x.shape) < p
    return cast(where(dropped, 0.0, x * (1.0 / (1.0 - p) if p < 1.0 else 0.0)), input.dtype)

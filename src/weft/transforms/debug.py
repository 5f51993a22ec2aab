"""Checks of values at run time: ``wf.debug``."""

from __future__ import annotations

from typing import Any

from ..core.errors import CheckError, ShapeError
from ..ops.op import state
from ..tensor.create import asarray, is_array
from ..tensor.tensor import Tensor
from .source.branches import predicate
from .source.effects import raising
from .source.number import Number


def check(condition: Any, message: Any = "a check failed") -> None:
    """Raise :class:`~weft.CheckError` where a condition does not hold, eagerly and at every run of captured code.

    A run that raises has changed no state. Several conditions: ``(x > 0).all()``.

    Args:
        condition: a bool, a tensor of one element, or a number.
        message: what the error says; an f-string may show values, in captured code too.

    >>> import weft as wf
    >>> wf.debug.check(wf.asarray(1.0).isfinite(), "the loss is finite")

    Raises:
        CheckError: the condition is false.
        ShapeError: a tensor has more elements than one, or none.
    """
    if is_array(condition):
        condition = asarray(condition)
    if state.trace is not None and (isinstance(condition, Tensor) or type(condition) is Number):
        raising(predicate(condition), CheckError(message))
        return
    if isinstance(condition, Tensor) and condition.size != 1:
        raise ShapeError(
            f"check: a condition of shape {condition.shape}: say which of its {condition.size} elements count, as in "
            "(x > 0).all()"
        )
    if not condition:
        raise CheckError(message)


__all__ = ["check"]

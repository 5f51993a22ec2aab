"""Layers that pad the last one, two or three axes: with a constant, or with the input itself.

``padding`` is one number for all sides, or ``(before, after)`` of the last axis, then of the last but one, and so on; a
negative one takes elements away. See :func:`weft.nn.functional.pad`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from ..ops.padding import pad
from ..tensor.tensor import Tensor
from .module import Module


def _sides(padding: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """A number for each side, where one may be given for all; NumPy's integers too."""
    given: Any = tuple(padding) if isinstance(padding, Iterable) else (padding,) * (2 * rank)
    return tuple(operator.index(n) if hasattr(n, "__index__") else n for n in given)


class _Pad(Module):
    """What is around is the input itself."""

    _rank: ClassVar[int]
    _mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = _sides(padding, self._rank)

    def forward(self, input: Tensor) -> Tensor:
        """``(N, C, ...)`` or ``(C, ...)``, larger on the last axes."""
        return pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class _ConstantPad(Module):
    """What is around is a number."""

    _rank: ClassVar[int]

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__()
        self.padding, self.value = _sides(padding, self._rank), value

    def forward(self, input: Tensor) -> Tensor:
        """``(*)``, larger on the last axes."""
        return pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """The widths and the number."""
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """``value`` before and after the last axis of a tensor of any rank and dtype."""

    _rank = 1


class ConstantPad2d(_ConstantPad):
    """``value`` before and after the last two axes of a tensor of any rank and dtype."""

    _rank = 2


class ConstantPad3d(_ConstantPad):
    """``value`` before and after the last three axes of a tensor of any rank and dtype."""

    _rank = 3


class ZeroPad1d(ConstantPad1d):
    """Zeros before and after the last axis of a tensor of any rank and dtype."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Zeros before and after the last two axes of a tensor of any rank and dtype."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """Zeros before and after the last three axes of a tensor of any rank and dtype."""

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """The widths."""
        return f"{self.padding}"


class ReflectionPad1d(_Pad):
    """``(N, C, L)`` or ``(C, L)``, and around it the elements beside the first and the last, in the other direction.

    Example:
        >>> wf.nn.ReflectionPad1d(2)(wf.asarray([[1, 2, 3]])).tolist()
        [[3, 2, 1, 2, 3, 2, 1]]
    """

    _rank, _mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """``(N, C, H, W)`` or ``(C, H, W)``, and around it the elements beside the first and the last, in the other
    direction."""

    _rank, _mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """``(N, C, D, H, W)`` or ``(C, D, H, W)``, and around it the elements beside the first and the last, in the other
    direction."""

    _rank, _mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """``(N, C, L)`` or ``(C, L)``, and around it the first and the last element again.

    Example:
        >>> wf.nn.ReplicationPad1d(2)(wf.asarray([[1, 2, 3]])).tolist()
        [[1, 1, 1, 2, 3, 3, 3]]
    """

    _rank, _mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """``(N, C, H, W)`` or ``(C, H, W)``, and around it the first and the last element again."""

    _rank, _mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """``(N, C, D, H, W)`` or ``(C, D, H, W)``, and around it the first and the last element again."""

    _rank, _mode = 3, "replicate"


class CircularPad1d(_Pad):
    """``(N, C, L)`` or ``(C, L)``, and around it the elements of the other end.

    Example:
        >>> wf.nn.CircularPad1d(2)(wf.asarray([[1, 2, 3]])).tolist()
        [[2, 3, 1, 2, 3, 1, 2]]
    """

    _rank, _mode = 1, "circular"


class CircularPad2d(_Pad):
    """``(N, C, H, W)`` or ``(C, H, W)``, and around it the elements of the other end."""

    _rank, _mode = 2, "circular"


class CircularPad3d(_Pad):
    """``(N, C, D, H, W)`` or ``(C, D, H, W)``, and around it the elements of the other end."""

    _rank, _mode = 3, "circular"

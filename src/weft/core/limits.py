"""The numbers that a dtype holds: the Array API's ``finfo`` and ``iinfo``, with PyTorch's names too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

from .dtypes import DType, as_dtype
from .errors import DTypeError


@dataclass(frozen=True, slots=True)
class FloatLimits:
    """What :func:`finfo` gives."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    resolution: float
    dtype: DType

    @property
    def tiny(self) -> float:
        """PyTorch's and NumPy's other name of ``smallest_normal``."""
        return self.smallest_normal


@dataclass(frozen=True, slots=True)
class IntegerLimits:
    """What :func:`iinfo` gives."""

    bits: int
    max: int
    min: int
    dtype: DType


# Bits of the significand, the leading one included, and the greatest exponent.
_FORMATS = {"float16": (11, 15), "bfloat16": (8, 127), "float32": (24, 127), "float64": (53, 1023)}


def finfo(type: Any, /) -> FloatLimits:
    """The limits of a floating dtype.

    Args:
        type: a dtype, or a tensor of one.

    Returns:
        Python numbers: ``bits``; ``eps``, the distance from 1 to the next number; ``max`` and ``min``, the greatest and
        the least; ``smallest_normal``, also ``tiny``, the least above 0 of full precision; ``resolution``, of the
        decimal digits that every number has; and the ``dtype``.

    Raises:
        DTypeError: the dtype is no floating one.

    >>> import weft as wf
    >>> wf.finfo(wf.bfloat16).eps, wf.finfo(wf.zeros(3)).min
    (0.0078125, -3.4028234663852886e+38)
    """
    dtype = _dtype_of(type)
    if not dtype.is_floating:
        raise DTypeError(f"finfo: {dtype.name} is no floating dtype; wf.iinfo has the limits of integers")
    return _of_floats(dtype)


@cache
def _of_floats(dtype: DType) -> FloatLimits:
    precision, exponent = _FORMATS[dtype.name]
    eps = 2.0 ** (1 - precision)
    most = (2.0 - eps) * 2.0**exponent
    digits = math.floor((precision - 1) * math.log10(2.0))  # C's DBL_DIG
    return FloatLimits(dtype.bits, eps, most, -most, 2.0 ** (1 - exponent), float(f"1e-{digits}"), dtype)


def iinfo(type: Any, /) -> IntegerLimits:
    """The limits of an integer dtype.

    Args:
        type: a dtype, or a tensor of one.

    Returns:
        ``bits``, ``max``, ``min`` and the ``dtype``.

    Raises:
        DTypeError: the dtype is no integer one. (bool is none.)

    >>> import weft as wf
    >>> wf.iinfo(wf.int8).min, wf.iinfo(wf.uint8).max
    (-128, 255)
    """
    dtype = _dtype_of(type)
    if not dtype.is_integer:
        raise DTypeError(f"iinfo: {dtype.name} is no integer dtype; wf.finfo has the limits of floats")
    value_bits = dtype.bits - dtype.is_signed
    return IntegerLimits(dtype.bits, 2**value_bits - 1, -(2**value_bits) if dtype.is_signed else 0, dtype)


def _dtype_of(given: Any) -> DType:
    """A dtype, or that of an array. (The class ``numpy.float32`` has an attribute of this name, which is none.)"""
    return as_dtype(given if isinstance(given, type) else getattr(given, "dtype", given))

"""Elementwise functions that PyTorch has besides those of the Array API: each is a formula over others."""

from __future__ import annotations

import math
from typing import Any

from ..core import dtypes as dt
from ..core.errors import ArgumentError, DTypeError
from ..core.shapes import shown
from . import elementwise as e
from .op import Array, composite
from .operands import FLOAT, as_operand, binary_operands, is_one, unary_operand


@composite
def addcmul(input: Array, tensor1: Array, tensor2: Array, *, value: Array | float = 1) -> Array:
    """``input + value * tensor1 * tensor2``.

    Args:
        input, tensor1, tensor2: shapes that broadcast.
        value: a number, or a tensor of rank 0.

    Example:
        >>> wf.ones(2).addcmul(wf.asarray([1.0, 2.0]), wf.asarray([3.0, 4.0]), value=10)
        Tensor([31., 81.], dtype=float32)
    """
    return e.add(input, e.multiply(_scaled(tensor1, value), tensor2))


@composite
def addcdiv(input: Array, tensor1: Array, tensor2: Array, *, value: Array | float = 1) -> Array:
    """``input + value * tensor1 / tensor2``.

    Args:
        input, tensor1, tensor2: shapes that broadcast; floating-point dtypes.
        value: a number, or a tensor of rank 0.

    Raises:
        DTypeError: integers are divided.

    Example:
        >>> wf.ones(2).addcdiv(wf.asarray([1.0, 2.0]), wf.asarray([4.0, 4.0]), value=2)
        Tensor([1.5, 2. ], dtype=float32)
    """
    if not (tensor1.dtype.is_floating or tensor2.dtype.is_floating):
        raise DTypeError(
            f"addcdiv: {tensor1.dtype.name} by {tensor2.dtype.name}: integers are not divided; cast one of them"
        )
    return e.add(input, e.divide(_scaled(tensor1, value), tensor2))


def _scaled(x: Array, value: Any) -> Array:
    if isinstance(value, float) and not x.dtype.is_floating:
        raise DTypeError(f"addcmul, addcdiv: value is {value} for tensors of {x.dtype.name}; cast them first")
    return x if is_one(value, x.dtype) else e.multiply(x, value)


@composite
def lerp(input: Array, end: Array, weight: Array | float) -> Array:
    """``input + weight * (end - input)``, from the end that is nearer: with weight 1 it is ``end`` itself.

    Args:
        input, end: one floating-point dtype; shapes that broadcast.
        weight: a Python number, or a tensor of that dtype and of a shape that broadcasts.

    Raises:
        DTypeError: the dtypes differ, or are no floating-point ones.

    Example:
        >>> wf.zeros(2).lerp(wf.asarray([1.0, 2.0]), 0.5)
        Tensor([0.5, 1. ], dtype=float32)
    """
    for name, other in (("end", end), ("weight", weight)):
        if hasattr(other, "dtype") and other.dtype is not input.dtype:
            raise DTypeError(f"lerp: {name} is {other.dtype.name}, the tensor {input.dtype.name}; cast one of them")
    if not input.dtype.is_floating:
        raise DTypeError(f"lerp: {input.dtype.name} operands: wants a floating-point dtype; cast them")
    way = e.subtract(end, input)
    # A number counts as it is rounded to the tensor's dtype, `1 - weight` too: as where it comes as a tensor.
    weight = as_operand("lerp", weight, input.dtype)
    first = e.add(input, e.multiply(weight, way))
    return e.where(e.less(e.abs(weight), 0.5), first, e.subtract(end, e.multiply(way, e.subtract(1, weight))))


@composite
def clamp_min(input: Array, min: Array | float) -> Array:
    """``min`` where the element is below it.

    Example:
        >>> wf.asarray([-1.0, 2.0]).clamp_min(0)
        Tensor([0., 2.], dtype=float32)
    """
    return e.clip(input, min=min)


@composite
def clamp_max(input: Array, max: Array | float) -> Array:
    """``max`` where the element is above it.

    Example:
        >>> wf.asarray([-1.0, 2.0]).clamp_max(0)
        Tensor([-1.,  0.], dtype=float32)
    """
    return e.clip(input, max=max)


@composite
def fmod(input: Array, other: Array | float) -> Array:
    """The remainder of a division rounded toward zero: it has the sign of ``input`` (``remainder``: the other's).

    Args:
        input, other: shapes that broadcast; integers or floating-point numbers.

    Example:
        >>> wf.asarray([-5, 5]).fmod(3)
        Tensor([-2,  2], dtype=int64)
    """
    x, y = binary_operands("fmod", input, other)
    if x.dtype is dt.bool_:
        raise DTypeError("fmod: bool operands: wants an integer or floating-point dtype; cast them")
    if x.dtype.kind == "uint":
        return e.remainder(x, y)
    rest = e.remainder(x, y)
    if x.dtype.is_integer:
        return e.where(e.logical_and(e.not_equal(rest, 0), e.not_equal(e.less(rest, 0), e.less(x, 0))), rest - y, rest)
    size = e.abs(y)
    return e.where(e.signbit(x), -e.remainder(-x, size), e.remainder(x, size))


@composite
def frac(input: Array) -> Array:
    """What stands behind the point, with the number's sign.

    Example:
        >>> wf.asarray([1.5, -2.25]).frac()
        Tensor([ 0.5 , -0.25], dtype=float32)
    """
    if not input.dtype.is_floating:
        raise DTypeError(f"frac: {input.dtype.name} operands: wants a floating-point dtype")
    return e.subtract(input, e.trunc(input))


@composite
def xlogy(input: Array, other: Array | float) -> Array:
    """``input * log(other)``; 0 where ``input`` is 0 (NaN where ``other`` is).

    Example:
        >>> wf.asarray([0.0, 2.0]).xlogy(wf.asarray([0.0, 1.0]))
        Tensor([0., 0.], dtype=float32)
    """
    x, y = binary_operands("xlogy", input, other, FLOAT)
    hidden = e.logical_and(e.equal(x, 0), e.logical_or(e.less_equal(y, 0), e.equal(y, math.inf)))
    return e.where(hidden, 0.0, e.multiply(x, e.log(e.where(hidden, 1.0, y))))


@composite
def sinc(input: Array) -> Array:
    """``sin(pi x) / (pi x)``; 1 at 0.

    Example:
        >>> wf.asarray([0.0, 0.5]).sinc()
        Tensor([1.        , 0.63661975], dtype=float32)
    """
    x = unary_operand("sinc", input, FLOAT)
    turned = e.multiply(e.where(e.equal(x, 0), 1.0, x), math.pi)
    return e.where(e.equal(x, 0), 1.0, e.divide(e.sin(turned), turned))


@composite
def logit(input: Array, eps: float | None = None) -> Array:
    """``log(x / (1 - x))``, the inverse of the sigmoid; ``eps``: of ``x`` cut to ``[eps, 1 - eps]`` first.

    Example:
        >>> wf.asarray([0.5, 0.75]).logit()
        Tensor([0.       , 1.0986123], dtype=float32)
    """
    x = unary_operand("logit", input, FLOAT)
    if eps is not None:
        x = e.clip(x, min=eps, max=1 - eps)
    return e.log(e.divide(x, e.subtract(1.0, x)))


@composite
def nan_to_num(
    input: Array, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """Numbers in place of NaN and the infinities.

    Args:
        input: any dtype; only floating-point numbers change.
        nan: 0 by default.
        posinf, neginf: the dtype's greatest and least number by default.

    Example:
        >>> wf.asarray([float("nan"), 1.0]).nan_to_num(nan=3.0)
        Tensor([3., 1.], dtype=float32)
    """
    from .indexing import largest

    if not input.dtype.is_floating:
        return e.clone(input)
    top = largest(input.dtype)
    high = as_operand("nan_to_num", top if posinf is None else float(posinf), input.dtype)
    low = as_operand("nan_to_num", -top if neginf is None else float(neginf), input.dtype)
    found = e.where(e.isnan(input), as_operand("nan_to_num", float(nan or 0.0), input.dtype), input)
    return e.where(e.equal(input, math.inf), high, e.where(e.equal(input, -math.inf), low, found))


@composite
def ldexp(input: Array, other: Array) -> Array:
    """``input * 2 ** other``.

    Example:
        >>> wf.asarray([1.0, 3.0]).ldexp(wf.asarray([2, 3]))
        Tensor([ 4., 24.], dtype=float32)
    """
    return e.multiply(input, e.pow(2.0, e.cast(other, input.dtype if input.dtype.is_floating else dt.default_float)))


@composite
def float_power(input: Array, exponent: Array | float) -> Array:
    """``input ** exponent`` in float64.

    Example:
        >>> wf.asarray([2, 3]).float_power(2)
        Tensor([4., 9.], dtype=float64)
    """
    x, y = (as_operand("float_power", o, dt.float64) for o in (input, exponent))
    return e.pow(x, y)


@composite
def deg2rad(input: Array) -> Array:
    """Degrees in radians.

    Example:
        >>> wf.asarray([180.0]).deg2rad()
        Tensor([3.1415927], dtype=float32)
    """
    return e.multiply(unary_operand("deg2rad", input, FLOAT), math.pi / 180)


@composite
def rad2deg(input: Array) -> Array:
    """Radians in degrees.

    Example:
        >>> wf.asarray([0.0, 1.0]).rad2deg()
        Tensor([ 0.     , 57.29578], dtype=float32)
    """
    return e.multiply(unary_operand("rad2deg", input, FLOAT), 180 / math.pi)


@composite(name="round")
def round_to(input: Array, *, decimals: int = 0) -> Array:
    """Rounded to so many digits behind the point (before it, where negative); halves to even.

    Example:
        >>> wf.asarray([1.25, 14.0]).round(decimals=1)
        Tensor([ 1.2, 14. ], dtype=float32)
    """
    if decimals == 0:
        return e.round(input)
    if not input.dtype.is_floating:
        raise DTypeError(f"round: {input.dtype.name} operands: decimals={decimals} wants a floating-point dtype")
    if abs(decimals) > 300:
        raise ArgumentError(f"round: decimals is {shown(decimals)}; no dtype has more than 300")
    scale = 10.0 ** abs(decimals)
    if decimals > 0:
        return e.divide(e.round(e.multiply(input, scale)), scale)
    return e.multiply(e.round(e.divide(input, scale)), scale)

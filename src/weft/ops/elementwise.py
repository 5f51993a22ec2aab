"""Elementwise functions: one value in each operand at each point, one value out.

Every entry of the tables below is one op in one place: its name, what it computes (a scalar expression), its
gradient, its cost, its meaning. :func:`unary` and :func:`binary` make of it a strict primitive and the public
function, which promotes dtypes (:func:`~weft.ops.operands.binary_operands`) and broadcasts shapes.

float16 and bfloat16 are computed in float32 and rounded once (:mod:`~weft.ops.precision`). Gradients at kinks are
PyTorch's: ``abs`` has 0 at 0 and at NaN; ``maximum`` and ``minimum`` share evenly between equal operands; ``clip``
passes at its bounds, and at NaN nothing. Where PyTorch's would be 0/0 (``hypot`` at the origin) it is 0.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

from ..compiler import expr as ex
from ..compiler.expr import Expr
from ..core import dtypes as dt
from ..core.dtypes import DType
from ..core.errors import CaptureError, DTypeError, ShapeError
from ..core.symbolic import SymDim, are_equal, undecided
from ..graph.protocol import COPY, Map, Primitive, TensorType, View
from .entries import Elementwise, binary, elementwise_type, primitive_of, unary, vector_math
from .op import Array, apply, composite
from .operands import (
    ANY,
    BITS,
    BOOL,
    FLOAT,
    INTEGER,
    REAL,
    as_operand,
    binary_operands,
    broadcast_operands,
    common_dtype,
    require_tensors,
    unary_operand,
)
from .precision import in_float32

# dtypes


def _cast_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    return (cast(g, inputs[0].dtype) if inputs[0].dtype.is_floating else None,)


CAST = Primitive(
    "cast",
    lambda params, x: TensorType(params["dtype"], x.shape),
    Map(lambda params, x: ex.cast(x, params["dtype"])),
    _cast_vjp,
)


def cast(x: Array, dtype: DType) -> Array:
    """``x`` in ``dtype``, inside a composite's body; ``x`` itself where it has it."""
    return x if x.dtype is dtype else apply(CAST, x, dtype=dtype)


@composite
def astype(x: Array, dtype: Any, /, *, copy: bool = True) -> Array:
    """Values converted to another dtype.

    A float becomes an integer by truncation, saturating at the integer's range, NaN giving 0; a float becomes a
    narrower float by rounding to nearest, ties to even; anything becomes bool by ``!= 0``; integers wrap.

    Args:
        x: any shape and dtype.
        dtype: a dtype, its name, a NumPy dtype, or ``float``, ``int``, ``bool``.
        copy: False: ``x`` itself where it has the dtype; else the result owns its memory.

    Raises:
        DTypeError: there is no such dtype.

    Example:
        >>> import weft as wf
        >>> wf.astype(wf.asarray([1.7, -1.7]), wf.int32)
        Tensor([ 1, -1], dtype=int32)
    """
    require_tensors("astype", x)
    return cast(x, dt.as_dtype(dtype))


STOP_GRADIENT = Primitive(
    "stop_gradient", lambda params, x: x, View(lambda params, layout: layout), stops_gradient=True
)


@composite
def stop_gradient(x: Array, /) -> Array:
    """``x``, as a constant to whoever differentiates: no gradient passes.

    Args:
        x: any shape and dtype.

    Example:
        >>> import weft as wf
        >>> wf.grad(lambda x: wf.sum(x * wf.stop_gradient(x)))(wf.asarray([3.0]))
        Tensor([3.], dtype=float32)
    """
    require_tensors("stop_gradient", x)
    return apply(STOP_GRADIENT, x)


@composite(public=False)
def clone(x: Array, /) -> Array:
    """``x``, in memory of its own; gradients pass.

    Args:
        x: any shape and dtype.

    Example:
        >>> from weft.ops.elementwise import clone
        >>> clone(wf.asarray([True, False]))
        Tensor([ True, False], dtype=bool)
    """
    require_tensors("clone", x)
    return apply(COPY, x)


# Arithmetic


def _zero(x: Array, y: Array, g: Array) -> None:
    """The gradient of a step function: zero wherever it exists."""
    return None


def _abs_expr(x: Expr) -> Expr:
    return x if x.dtype.kind == "uint" else ex.abs_(x)


def _abs_vjp(x: Array, y: Array, g: Array) -> Array:
    return where(greater(x, 0.0), g, where(less(x, 0.0), -g, 0.0 * g))


def _maximum_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    half = where(equal(x, y), 0.5 * g, g)
    return where(less(x, y), 0.0, half), where(less(y, x), 0.0, half)


def _minimum_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    half = where(equal(x, y), 0.5 * g, g)
    return where(less(y, x), 0.0, half), where(less(x, y), 0.0, half)


def _pow_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    # Both are written so that what is not wanted is never computed: 0 * inf would come back in a second derivative.
    exponent = where(equal(y, 0.0), 0.0, y - 1.0)
    base = where(logical_and(equal(x, 0.0), greater_equal(y, 0.0)), 1.0, x)
    return g * y * pow(x, exponent), g * z * log(base)


def _copysign_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    flipped = where(equal(signbit(x), signbit(y)), g, -g)
    return where(equal(x, 0.0), 0.0, flipped), None


def _hypot_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    length = where(equal(z, 0.0), 1.0, z)
    return g * (x / length), g * (y / length)


def _atan2_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    length = hypot(x, y)
    length = where(equal(length, 0.0), 1.0, length)
    return g * (y / length / length), -g * (x / length / length)


def _logaddexp_vjp(x: Array, y: Array, z: Array, g: Array) -> tuple[Any, ...]:
    difference = where(logical_and(isinf(x), equal(x, y)), 0.0, x - y)
    return g * sigmoid(difference), g * sigmoid(-difference)


add = binary(
    "add",
    REAL,
    ex.add,
    lambda x, y, z, g: (g, g),
    "``x1 + x2``; integers wrap.",
    ("wf.add(wf.asarray([1.0, 2.0]), 1)", "Tensor([2., 3.], dtype=float32)"),
)
subtract = binary(
    "subtract",
    REAL,
    ex.sub,
    lambda x, y, z, g: (g, -g),
    "``x1 - x2``; integers wrap.",
    ("wf.subtract(wf.asarray([1.0, 2.0]), 1)", "Tensor([0., 1.], dtype=float32)"),
)
multiply = binary(
    "multiply",
    REAL,
    ex.mul,
    lambda x, y, z, g: (g * y, g * x),
    "``x1 * x2``; integers wrap.",
    ("wf.multiply(wf.asarray([1.0, 2.0]), 3)", "Tensor([3., 6.], dtype=float32)"),
)
divide = binary(
    "divide",
    FLOAT,
    ex.div,
    lambda x, y, z, g: (g / y, -g * ((x / y) / y)),  # as PyTorch: the quotient may be written afterwards
    "``x1 / x2``, always a float.",
    ("wf.divide(wf.asarray([1.0, 3.0]), 2)", "Tensor([0.5, 1.5], dtype=float32)"),
    cost=4,
)
floor_divide = binary(
    "floor_divide",
    REAL,
    vector_math("floor_divide"),
    lambda x, y, z, g: (None, None),
    "``floor(x1 / x2)``; an integer divided by zero gives 0.",
    ("wf.floor_divide(wf.asarray([7, -7]), 2)", "Tensor([ 3, -4], dtype=int64)"),
    cost=10,
)
remainder = binary(
    "remainder",
    REAL,
    vector_math("remainder"),
    lambda x, y, z, g: (g, -g * floor_divide(x, y)),
    "``x1 - floor(x1 / x2) * x2``, of the sign of x2 like Python's ``%``; an integer modulo zero is 0.",
    ("wf.remainder(wf.asarray([7, -7]), 3)", "Tensor([1, 2], dtype=int64)"),
    cost=10,
)
maximum = binary(
    "maximum",
    REAL,
    vector_math("maximum"),
    _maximum_vjp,
    "The greater of two values; NaN if one is, 0.0 of 0.0 and -0.0.",
    ("wf.maximum(wf.asarray([-1.0, 2.0]), 0)", "Tensor([0., 2.], dtype=float32)"),
)
minimum = binary(
    "minimum",
    REAL,
    vector_math("minimum"),
    _minimum_vjp,
    "The smaller of two values; NaN if one is, -0.0 of 0.0 and -0.0.",
    ("wf.minimum(wf.asarray([-1.0, 2.0]), 0)", "Tensor([-1.,  0.], dtype=float32)"),
)
hypot = binary(
    "hypot",
    FLOAT,
    vector_math("hypot"),
    _hypot_vjp,
    "``sqrt(x1**2 + x2**2)`` without overflow.",
    ("wf.hypot(wf.asarray([3.0]), 4.0)", "Tensor([5.], dtype=float32)"),
    cost=10,
)
atan2 = binary(
    "atan2",
    FLOAT,
    vector_math("atan2"),
    _atan2_vjp,
    "The angle of the point (x2, x1), in [-pi, pi], signed zeros as in IEEE 754.",
    ("wf.atan2(wf.asarray([1.0, 0.0]), 1.0)", "Tensor([0.7853982, 0.       ], dtype=float32)"),
    cost=20,
)
logaddexp = binary(
    "logaddexp",
    FLOAT,
    vector_math("logaddexp"),
    _logaddexp_vjp,
    "``log(exp(x1) + exp(x2))``.",
    ("wf.logaddexp(wf.asarray([0.0]), 0.0)", "Tensor([0.6931472], dtype=float32)"),
    cost=25,
)
copysign = binary(
    "copysign",
    FLOAT,
    ex.copysign,
    _copysign_vjp,
    "The magnitude of x1 with the sign of x2.",
    ("wf.copysign(wf.asarray([1.0, 2.0]), -1.0)", "Tensor([-1., -2.], dtype=float32)"),
)

abs = unary(
    "abs",
    REAL,
    _abs_expr,
    _abs_vjp,
    "The magnitude; the least integer is its own.",
    ("wf.abs(wf.asarray([-1.5, 2.0]))", "Tensor([1.5, 2. ], dtype=float32)"),
)
negative = unary(
    "negative",
    REAL,
    ex.neg,
    lambda x, y, g: -g,
    "``-x``; unsigned integers wrap.",
    ("wf.negative(wf.asarray([1.0, -2.0]))", "Tensor([-1.,  2.], dtype=float32)"),
)
square = unary(
    "square",
    REAL,
    lambda x: x * x,
    lambda x, y, g: g * (2.0 * x),
    "``x * x``.",
    ("wf.square(wf.asarray([1.0, -3.0]))", "Tensor([1., 9.], dtype=float32)"),
)
reciprocal = unary(
    "reciprocal",
    FLOAT,
    lambda x: ex.const(1.0, x.dtype) / x,
    lambda x, y, g: -g * (y * y),
    "``1 / x``.",
    ("wf.reciprocal(wf.asarray([2.0, 4.0]))", "Tensor([0.5 , 0.25], dtype=float32)"),
    cost=4,
)
sqrt = unary(
    "sqrt",
    FLOAT,
    ex.sqrt,
    lambda x, y, g: 0.5 * g / y,
    "The square root, correctly rounded.",
    ("wf.sqrt(wf.asarray([4.0, 2.0]))", "Tensor([2.       , 1.4142135], dtype=float32)"),
    cost=4,
)
rsqrt = unary(
    "rsqrt",
    FLOAT,
    vector_math("rsqrt"),
    lambda x, y, g: -0.5 * g * (y * y * y),
    "``1 / sqrt(x)``.",
    ("wf.rsqrt(wf.asarray([4.0, 0.25]))", "Tensor([0.5, 2. ], dtype=float32)"),
    cost=8,
)
sign: Elementwise = unary(
    "sign",
    REAL,
    vector_math("sign"),
    _zero,
    "-1, 0 or 1; NaN of NaN.",
    ("wf.sign(wf.asarray([-1.5, 0.0, 2.0]))", "Tensor([-1.,  0.,  1.], dtype=float32)"),
)
floor = unary(
    "floor",
    REAL,
    ex.floor,
    _zero,
    "The greatest whole number not above x.",
    ("wf.floor(wf.asarray([1.5, -1.5]))", "Tensor([ 1., -2.], dtype=float32)"),
    integers_stay=True,
)
ceil = unary(
    "ceil",
    REAL,
    ex.ceil,
    _zero,
    "The least whole number not below x.",
    ("wf.ceil(wf.asarray([1.5, -1.5]))", "Tensor([ 2., -1.], dtype=float32)"),
    integers_stay=True,
)
trunc = unary(
    "trunc",
    REAL,
    ex.trunc,
    _zero,
    "The whole number next to x towards zero.",
    ("wf.trunc(wf.asarray([1.5, -1.5]))", "Tensor([ 1., -1.], dtype=float32)"),
    integers_stay=True,
)
round = unary(
    "round",
    REAL,
    ex.rint,
    _zero,
    "The nearest whole number, halves to the even one.",
    ("wf.round(wf.asarray([0.5, 1.5, -1.4]))", "Tensor([ 0.,  2., -1.], dtype=float32)"),
    integers_stay=True,
)


@composite
def positive(x: Array, /) -> Array:
    """``x`` itself.

    Args:
        x: any shape; an integer or floating-point dtype.

    Example:
        >>> import weft as wf
        >>> wf.positive(wf.asarray([1.0]))
        Tensor([1.], dtype=float32)
    """
    return unary_operand("positive", x, REAL)


_POW = primitive_of("pow", REAL.kinds, vector_math("pow"), _pow_vjp, 30, None)


@composite(reads_numbers=True)
def pow(x1: Array | float, x2: Array | float, /) -> Array:
    """``x1 ** x2``.

    The exponents 1, 2, 3 and -1, given as Python numbers, are products and a quotient. An integer to a negative power
    is the quotient rounded towards zero, and 0 to a negative power is 0.

    Args:
        x1, x2: shapes that broadcast; either may be a Python number; an integer or floating-point dtype.

    Returns:
        A tensor of that dtype.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: there is no common dtype.
        CaptureError: the exponent is a symbolic size, of which it is not known whether it is 1, 2 or 3.

    Example:
        >>> import weft as wf
        >>> wf.pow(wf.asarray([2.0, 3.0]), 2)
        Tensor([4., 9.], dtype=float32)
    """
    if undecided(x2):
        if common_dtype("pow", (x1, x2), REAL).is_floating:  # for integers a product has the same bits
            raise CaptureError(
                f"pow: x ** {x2}, of a symbolic size, is a product where the size is 1, 2 or 3, which has other bits "
                f"than a power; make the exponent a tensor: x ** (wf.zeros(()) + {x2})"
            )
    elif isinstance(x2, SymDim):
        x2 = next((n for n in (1, 2, 3, -1) if are_equal(x2, n)), x2)
    if isinstance(x2, (int, float)) and x2 in (1, 2, 3, -1):
        x = as_operand("pow", x1, common_dtype("pow", (x1, x2), REAL))
        if x2 > 0:
            return x if x2 == 1 else square(x) if x2 == 2 else square(x) * x
        if x.dtype.is_floating:
            return reciprocal(x)
    return apply(_POW, *binary_operands("pow", x1, x2, REAL))


# Exponentials, logarithms, trigonometry: expressions of weft.compiler.vmath, with their errors in docs/vector_math.md

_LN2, _LN10 = math.log(2.0), math.log(10.0)


def _function(name: str, vjp: Callable[..., Any], summary: str, at: str, printed: str, cost: int) -> Elementwise:
    example = (f"wf.{name}(wf.asarray({at}))", f"Tensor({printed}, dtype=float32)")
    return unary(name, FLOAT, vector_math(name), vjp, summary, example, cost=cost)


exp = _function("exp", lambda x, y, g: g * y, "``e ** x``.", "[0.0, 0.5]", "[1.       , 1.6487212]", 12)
exp2 = _function("exp2", lambda x, y, g: g * (y * _LN2), "``2 ** x``.", "[0.0, 0.5]", "[1.       , 1.4142135]", 12)
expm1 = _function(
    "expm1", lambda x, y, g: g * exp(x), "``e ** x - 1``, exact near 0.", "[0.0, 0.5]", "[0.       , 0.6487213]", 15
)
log = _function(
    "log",
    lambda x, y, g: g / x,
    "The natural logarithm; -inf at 0, NaN below.",
    "[1.0, 2.0]",
    "[0.       , 0.6931472]",
    12,
)
log2 = _function("log2", lambda x, y, g: g / (x * _LN2), "The logarithm to base 2.", "[1.0, 8.0]", "[0., 3.]", 12)
log10 = _function(
    "log10", lambda x, y, g: g / (x * _LN10), "The logarithm to base 10.", "[1.0, 1000.0]", "[0., 3.]", 12
)
log1p = _function(
    "log1p", lambda x, y, g: g / (1.0 + x), "``log(1 + x)``, exact near 0.", "[0.0, 0.5]", "[0.       , 0.4054651]", 15
)
sin = _function(
    "sin", lambda x, y, g: g * cos(x), "The sine of an angle in radians.", "[0.0, 0.5]", "[0.        , 0.47942555]", 20
)
cos: Elementwise = _function(
    "cos",
    lambda x, y, g: -g * sin(x),
    "The cosine of an angle in radians.",
    "[0.0, 0.5]",
    "[1.        , 0.87758255]",
    20,
)
tan = _function(
    "tan",
    lambda x, y, g: g * (1.0 + y * y),
    "The tangent of an angle in radians.",
    "[0.0, 0.5]",
    "[0.       , 0.5463025]",
    25,
)
asin = _function(
    "asin",
    lambda x, y, g: g / sqrt((1.0 - x) * (1.0 + x)),
    "The inverse sine, in [-pi/2, pi/2].",
    "[0.0, 0.5]",
    "[0.       , 0.5235988]",
    20,
)
acos = _function(
    "acos",
    lambda x, y, g: -g / sqrt((1.0 - x) * (1.0 + x)),
    "The inverse cosine, in [0, pi].",
    "[0.0, 0.5]",
    "[1.5707964, 1.0471976]",
    20,
)
atan = _function(
    "atan",
    lambda x, y, g: g / (1.0 + x * x),
    "The inverse tangent, in [-pi/2, pi/2].",
    "[0.0, 0.5]",
    "[0.       , 0.4636476]",
    20,
)
sinh = _function(
    "sinh", lambda x, y, g: g * cosh(x), "The hyperbolic sine.", "[0.0, 0.5]", "[0.       , 0.5210953]", 20
)
cosh: Elementwise = _function(
    "cosh", lambda x, y, g: g * sinh(x), "The hyperbolic cosine.", "[0.0, 0.5]", "[1.      , 1.127626]", 20
)
tanh = _function(
    "tanh", lambda x, y, g: g * (1.0 - y * y), "The hyperbolic tangent.", "[0.0, 0.5]", "[0.        , 0.46211717]", 15
)
asinh = _function(
    "asinh",
    lambda x, y, g: g / hypot(x, 1.0),
    "The inverse hyperbolic sine.",
    "[0.0, 0.5]",
    "[0.       , 0.4812118]",
    25,
)
acosh = _function(
    "acosh",
    lambda x, y, g: g / sqrt((x - 1.0) * (x + 1.0)),
    "The inverse hyperbolic cosine.",
    "[1.0, 2.0]",
    "[0.      , 1.316958]",
    25,
)
atanh = _function(
    "atanh",
    lambda x, y, g: g / ((1.0 - x) * (1.0 + x)),
    "The inverse hyperbolic tangent.",
    "[0.0, 0.5]",
    "[0.        , 0.54930615]",
    20,
)
erf = _function(
    "erf",
    lambda x, y, g: g * (2.0 / math.sqrt(math.pi) * exp(-x * x)),
    "The error function.",
    "[0.0, 0.5]",
    "[0.       , 0.5204999]",
    20,
)
erfc = _function(
    "erfc",
    lambda x, y, g: -g * (2.0 / math.sqrt(math.pi) * exp(-x * x)),
    "``1 - erf(x)``, also far out.",
    "[0.0, 0.5]",
    "[1.        , 0.47950011]",
    20,
)
erfinv = _function(
    "erfinv",
    lambda x, y, g: g * (0.5 * math.sqrt(math.pi) * exp(y * y)),
    "The inverse of erf; infinite at -1 and 1, NaN beyond.",
    "[0.0, 0.5]",
    "[0.        , 0.47693628]",
    60,
)
cbrt = _function("cbrt", lambda x, y, g: g / (3.0 * y * y), "The cube root.", "[8.0, -27.0]", "[ 2., -3.]", 15)
sigmoid = _function(
    "sigmoid", lambda x, y, g: g * (y * (1.0 - y)), "``1 / (1 + exp(-x))``.", "[0.0, 100.0]", "[0.5, 1. ]", 15
)


# Comparison and classification


def _comparison(name: str, expr: Callable[[Expr, Expr], Expr], symbol: str, printed: str) -> Elementwise:
    of_nan = "true" if name == "not_equal" else "false"
    return binary(
        name,
        ANY,
        _on_bits(expr),
        None,
        f"``x1 {symbol} x2``; {of_nan} if one is NaN.",
        (f"wf.{name}(wf.asarray([1.0, 2.0]), 2)", f"Tensor({printed}, dtype=bool)"),
        result=dt.bool_,
    )


def _on_bits(expr: Callable[[Expr, Expr], Expr]) -> Callable[[Expr, Expr], Expr]:
    """bools are compared as 0 and 1."""
    return lambda x, y: expr(ex.cast(x, dt.uint8), ex.cast(y, dt.uint8)) if x.dtype is dt.bool_ else expr(x, y)


equal = _comparison("equal", ex.eq, "==", "[False,  True]")
not_equal = _comparison("not_equal", ex.ne, "!=", "[ True, False]")
less = _comparison("less", ex.lt, "<", "[ True, False]")
less_equal = _comparison("less_equal", ex.le, "<=", "[ True,  True]")
greater = _comparison("greater", ex.gt, ">", "[False, False]")
greater_equal = _comparison("greater_equal", ex.ge, ">=", "[False,  True]")


def _float_test(test: Callable[[Expr], Expr], otherwise: bool) -> Callable[[Expr], Expr]:
    return lambda x: test(x) if x.dtype.is_floating else ex.const(otherwise, dt.bool_)


_INFINITY = math.inf

isnan = unary(
    "isnan",
    ANY,
    _float_test(lambda x: ex.ne(x, x), False),
    None,
    "True for NaN.",
    ("wf.isnan(wf.asarray([1.0, float('nan')]))", "Tensor([False,  True], dtype=bool)"),
    result=dt.bool_,
)
isinf = unary(
    "isinf",
    ANY,
    _float_test(lambda x: ex.eq(ex.abs_(x), ex.const(_INFINITY, x.dtype)), False),
    None,
    "True for the infinities.",
    ("wf.isinf(wf.asarray([1.0, float('-inf')]))", "Tensor([False,  True], dtype=bool)"),
    result=dt.bool_,
)
isfinite = unary(
    "isfinite",
    ANY,
    _float_test(lambda x: ex.abs_(x) < _INFINITY, True),
    None,
    "True for what is neither infinite nor NaN.",
    ("wf.isfinite(wf.asarray([1.0, float('inf')]))", "Tensor([ True, False], dtype=bool)"),
    result=dt.bool_,
)
signbit = unary(
    "signbit",
    REAL,
    vector_math("signbit"),
    None,
    "True where the sign bit is set: below zero, -0.0, -NaN.",
    ("wf.signbit(wf.asarray([-0.0, 0.0]))", "Tensor([ True, False], dtype=bool)"),
    result=dt.bool_,
    widen=False,
)
nextafter = binary(
    "nextafter",
    FLOAT,
    vector_math("nextafter"),
    None,
    "The value next to x1 in the direction of x2.",
    ("wf.nextafter(wf.asarray([0.0]), 1.0)", "Tensor([1.e-45], dtype=float32)"),
    cost=10,
    widen=False,
)


# Bits and truth


bitwise_and = binary(
    "bitwise_and",
    BITS,
    ex.and_,
    None,
    "``x1 & x2``.",
    ("wf.bitwise_and(wf.asarray([6, 3]), 2)", "Tensor([2, 2], dtype=int64)"),
)
bitwise_or = binary(
    "bitwise_or",
    BITS,
    ex.or_,
    None,
    "``x1 | x2``.",
    ("wf.bitwise_or(wf.asarray([4, 3]), 2)", "Tensor([6, 3], dtype=int64)"),
)
bitwise_xor = binary(
    "bitwise_xor",
    BITS,
    ex.xor,
    None,
    "``x1 ^ x2``.",
    ("wf.bitwise_xor(wf.asarray([6, 3]), 2)", "Tensor([4, 1], dtype=int64)"),
)
bitwise_invert = unary(
    "bitwise_invert",
    BITS,
    ex.not_,
    None,
    "``~x``.",
    ("wf.bitwise_invert(wf.asarray([0, 5]))", "Tensor([-1, -6], dtype=int64)"),
)
bitwise_left_shift = binary(
    "bitwise_left_shift",
    INTEGER,
    vector_math("bitwise_left_shift"),
    None,
    "``x1 << x2``; 0 where x2 is negative or not below the width.",
    ("wf.bitwise_left_shift(wf.asarray([1, 3]), 2)", "Tensor([ 4, 12], dtype=int64)"),
)
bitwise_right_shift = binary(
    "bitwise_right_shift",
    INTEGER,
    vector_math("bitwise_right_shift"),
    None,
    "``x1 >> x2``, keeping the sign; 0 or -1 where x2 is negative or not below the width.",
    ("wf.bitwise_right_shift(wf.asarray([8, -8]), 2)", "Tensor([ 2, -2], dtype=int64)"),
)
logical_and = binary(
    "logical_and",
    BOOL,
    ex.and_,
    None,
    "True where both are.",
    ("wf.logical_and(wf.asarray([True, False]), True)", "Tensor([ True, False], dtype=bool)"),
    result=dt.bool_,
)
logical_or = binary(
    "logical_or",
    BOOL,
    ex.or_,
    None,
    "True where one is.",
    ("wf.logical_or(wf.asarray([True, False]), True)", "Tensor([ True,  True], dtype=bool)"),
    result=dt.bool_,
)
logical_xor = binary(
    "logical_xor",
    BOOL,
    ex.xor,
    None,
    "True where exactly one is.",
    ("wf.logical_xor(wf.asarray([True, False]), True)", "Tensor([False,  True], dtype=bool)"),
    result=dt.bool_,
)
logical_not = unary(
    "logical_not",
    BOOL,
    ex.not_,
    None,
    "True where x is not.",
    ("wf.logical_not(wf.asarray([True, False]))", "Tensor([False,  True], dtype=bool)"),
    result=dt.bool_,
)


# Selection


def _where_type(params: dict[str, Any], condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if condition.dtype is not dt.bool_ or condition.shape != x.shape or x != y:
        raise ShapeError(f"where: operands {condition}, {x} and {y}")
    return x


def _where_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    condition = inputs[0]
    return None, where(condition, g, 0.0), where(condition, 0.0, g)


WHERE = Primitive("where", _where_type, Map(lambda params, condition, x, y: ex.where(condition, x, y)), _where_vjp)


@composite
def where(condition: Array, x1: Array | float, x2: Array | float, /) -> Array:
    """x1 where ``condition`` holds, else x2.

    Args:
        condition: bool; a shape that broadcasts with the others.
        x1, x2: shapes that broadcast; any dtype; either may be a Python number.

    Returns:
        A tensor of the promoted dtype of x1 and x2.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: ``condition`` is not bool.

    Example:
        >>> import weft as wf
        >>> wf.where(wf.asarray([True, False]), wf.asarray([1.0, 2.0]), 0)
        Tensor([1., 0.], dtype=float32)
    """
    if isinstance(condition, builtins.bool):
        condition = as_operand("where", condition, dt.bool_)
    if getattr(condition, "dtype", None) is not dt.bool_:
        kind = condition.dtype.name if hasattr(condition, "dtype") else type(condition).__name__
        raise DTypeError(f"where: the condition is {kind}, not bool; compare it, as in x != 0")
    dtype = common_dtype("where", (x1, x2))
    return apply(
        WHERE, *broadcast_operands("where", condition, as_operand("where", x1, dtype), as_operand("where", x2, dtype))
    )


def _clip_expr(params: dict[str, Any], x: Expr, *bounds: Expr) -> Expr:
    rest = list(bounds)
    if params["below"]:
        x = vector_math("maximum")(x, rest.pop(0))
    return vector_math("minimum")(x, rest.pop(0)) if params["above"] else x


def _clip_vjp(params: dict[str, Any], inputs: tuple[Array, ...], output: Array, g: Array) -> tuple[Any, ...]:
    """PyTorch's: what is compared with NaN is outside of the bounds, and beyond neither."""
    x, *bounds = inputs
    lower, upper = bounds[0] if params["below"] else None, bounds[-1] if params["above"] else None
    inside, outside = g, []
    if lower is not None:
        inside = where(greater_equal(x, lower), inside, 0.0)
        too_low = less(x, lower)
        if upper is not None:
            too_low = logical_and(too_low, less(lower, upper))  # where the bounds cross, the upper one wins
        outside.append(where(too_low, g, 0.0))
    if upper is not None:
        inside = where(less_equal(x, upper), inside, 0.0)
        too_high = greater(x, upper)
        if lower is not None:
            too_high = logical_or(too_high, less(upper, lower))
        outside.append(where(too_high, g, 0.0))
    return (inside, *outside)


CLIP = Primitive("clip", elementwise_type("clip"), Map(in_float32(_clip_expr), 2), _clip_vjp)


@composite
def clip(x: Array, /, min: Array | float | None = None, max: Array | float | None = None) -> Array:
    """``x`` with what is below ``min`` or above ``max`` replaced by them: ``minimum(maximum(x, min), max)``.

    Args:
        x: any shape; an integer or floating-point dtype.
        min, max: a tensor of a shape that broadcasts, a Python number, or None for no bound.

    Returns:
        A tensor of the promoted dtype. The gradient passes where x is within the bounds or on one.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: there is no common dtype.

    Example:
        >>> import weft as wf
        >>> wf.clip(wf.asarray([-2.0, 0.5, 2.0]), -1, 1)
        Tensor([-1. ,  0.5,  1. ], dtype=float32)
    """
    operands = [x, *(b for b in (min, max) if b is not None)]
    dtype = common_dtype("clip", tuple(operands), REAL)
    arrays = broadcast_operands("clip", *(as_operand("clip", o, dtype) for o in operands))
    return apply(CLIP, *arrays, below=min is not None, above=max is not None) if len(arrays) > 1 else arrays[0]

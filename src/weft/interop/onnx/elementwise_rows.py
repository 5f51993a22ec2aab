"""Elementwise primitives in ONNX.

Most are one ONNX op. The others are formulas over several, written so that they are as accurate as the op that they
stand for and have its special values; where they differ is said at their row. Every formula broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...compiler.vmath.error_function import INVERSE_FAR, INVERSE_NEAR
from ...core import dtypes as dt
from ...core.dtypes import DType
from ...graph.ir import Node
from ...ops.operands import ANY, REAL
from .emitter import ELEMENT_TYPES, Emitter, carrier, wide
from .rows import Lower, Row, is_dtype, is_flag


class Formula:
    """Ops and constants in one dtype."""

    __slots__ = ("dtype", "emit")

    def __init__(self, emit: Emitter, dtype: DType):
        self.emit, self.dtype = emit, dtype

    def __call__(self, op: str, *inputs: str | float, **attributes: Any) -> str:
        """An ONNX op; Python numbers are constants of the dtype."""
        names = [self.emit.scalar(x, self.dtype) if isinstance(x, (int, float)) else x for x in inputs]
        if op == "Where":
            return _select(self.emit, names[0], names[1], names[2], self.dtype)
        return self.emit(op, *names, **attributes)


def _computed(formula: Callable[..., str], working: Callable[[DType], DType] = wide) -> Lower:
    """A row that casts to the working dtype, computes ``formula(Formula, *inputs)`` and casts back (not from bool)."""

    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        dtype = node.inputs[0].dtype
        middle = working(dtype)
        result = formula(Formula(emit, middle), *(emit.cast(x, dtype, middle) for x in names))
        if node.output.dtype is dt.bool_ and dtype is not dt.bool_:
            return result
        return emit.cast(result, middle, dtype)

    return lower


def _op(op: str, working: Callable[[DType], DType] = wide, **attributes: Any) -> Lower:
    """A row that is one ONNX op."""
    return _computed(lambda f, *inputs: f(op, *inputs, **attributes), working)


def _by_kind(integers: Lower, floats: Lower, bools: Lower | None = None) -> Lower:
    """Another row for each kind of dtype."""

    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str | Sequence[str]:
        dtype = node.inputs[0].dtype
        row = floats if dtype.is_floating else bools if bools and dtype.kind == "bool" else integers
        return row(emit, node, names)

    return lower


# --- one operand ------------------------------------------------------------------------------------------------


def _abs(f: Formula, x: str) -> str:
    return f("Identity" if f.dtype.kind == "uint" else "Abs", x)


def _sign(f: Formula, x: str) -> str:
    signed = f("Sign", x)
    return f("Where", f("IsNaN", x), x, signed) if f.dtype.is_floating else signed


def _trunc(f: Formula, x: str) -> str:
    return f("Where", f("Less", x, 0), f("Ceil", x), f("Floor", x))


def _expm1(f: Formula, x: str) -> str:
    """``tanh(x / 2) * (exp(x) + 1)``: exact near 0, where ``exp(x) - 1`` cancels."""
    return f("Mul", f("Tanh", f("Mul", x, 0.5)), f("Add", f("Exp", x), 1.0))


def _log1p(f: Formula, x: str) -> str:
    """Kahan's formula: with u the rounded ``1 + x``, ``log(u) * x / (u - 1)``; u is x where x is huge, 1 where tiny."""
    u = f("Add", x, 1.0)
    tiny, huge = f("Equal", u, 1.0), f("Equal", u, x)
    logarithm = f("Log", u)
    ratio = f("Div", x, f("Where", tiny, 1.0, f("Sub", u, 1.0)))
    corrected = f("Where", tiny, x, f("Mul", logarithm, ratio))
    return f("Where", huge, logarithm, corrected)


def _cbrt(f: Formula, x: str) -> str:
    root = f("Pow", f("Abs", x), 1 / 3)
    return f("Where", f("Less", x, 0), f("Neg", root), root)


def _erfc(f: Formula, x: str) -> str:
    """ONNX has no op that keeps the digits far out: the error is that of 1, not of the result."""
    return f("Sub", 1.0, f("Erf", x))


def _erfinv(f: Formula, x: str) -> str:
    """As ``compiler/vmath/error_function.py``, but that ONNX has no erfc: in float64 the step is left out beyond
    0.9966, where the error is 2e-7; in float32 it would not help."""
    rest, above = f("Sub", 1.0, x), f("Add", 1.0, x)
    w = f("Neg", f("Log", f("Mul", rest, above)))
    s = f("Sqrt", w)
    near = f("Mul", _polynomial(f, f("Sub", w, 2.5), INVERSE_NEAR), x)
    far = _copysign(f, f("Mul", _polynomial(f, f("Sub", s, 4.0), INVERSE_FAR), s), x)
    if f.dtype is dt.float64:
        step = f("Mul", f("Sub", f("Erf", near), x), f("Mul", f("Exp", f("Mul", near, near)), 0.5 * math.sqrt(math.pi)))
        near = f("Sub", near, f("Div", step, f("Add", f("Mul", step, near), 1.0)))
    return f("Where", f("Less", w, 5.0), near, far)


def _polynomial(f: Formula, x: str, coefficients: Sequence[float]) -> str:
    value: str | float = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = f("Add", f("Mul", value, x), coefficient)
    return str(value)


def _is_finite(f: Formula, x: str) -> str:
    return f("Not", f("Or", f("IsNaN", x), f("IsInf", x)))


def _signbit(f: Formula, x: str) -> str:
    """The sign of a NaN does not show in ONNX: false for it."""
    if not f.dtype.is_floating:
        return f("Less", x, 0)
    return f("Or", f("Less", x, 0), f("Less", f("Reciprocal", x), 0))


def _never(f: Formula, x: str) -> str:
    return f("Not", f("Equal", x, x))


def _always(f: Formula, x: str) -> str:
    return f("Equal", x, x)


# --- two operands -----------------------------------------------------------------------------------------------


def _guarded(f: Formula, x: str, y: str) -> tuple[str, str, str]:
    """A divisor that neither traps nor overflows, and where it stands for 0 and for -1."""
    zero = f("Equal", y, 0)
    if f.dtype.kind == "uint":
        return f("Where", zero, 1, y), zero, ""
    minus = f("Equal", y, -1)
    return f("Where", f("Or", zero, minus), 1, y), zero, minus


def _floor_divide_integers(f: Formula, x: str, y: str) -> str:
    divisor, zero, minus = _guarded(f, x, y)
    quotient = f("Div", x, divisor)  # truncated
    if minus:
        rest = f("Sub", x, f("Mul", quotient, divisor))
        below = f("And", f("Not", f("Equal", rest, 0)), f("Xor", f("Less", rest, 0), f("Less", divisor, 0)))
        quotient = f("Where", minus, f("Neg", x), f("Where", below, f("Sub", quotient, 1), quotient))
    return f("Where", zero, 0, quotient)


def _remainder_integers(f: Formula, x: str, y: str) -> str:
    divisor, zero, _ = _guarded(f, x, y)
    return f("Where", zero, 0, f("Mod", x, divisor))  # -1 leaves 0, and so does the 1 that stands for it


def _remainder_floats(f: Formula, x: str, y: str) -> str:
    rest = f("Mod", x, y, fmod=1)
    other = f("And", f("Not", f("Equal", rest, 0)), f("Xor", f("Less", rest, 0), f("Less", y, 0)))
    return f("Where", other, f("Add", rest, y), rest)


def _hypot(f: Formula, x: str, y: str) -> str:
    """``m * sqrt(1 + (n / m)^2)`` for the greater and the smaller magnitude: no overflow."""
    a, b = f("Abs", x), f("Abs", y)
    great, small = f("Max", a, b), f("Min", a, b)
    plain = f("Or", f("Equal", great, 0), f("IsInf", great))
    ratio = f("Div", small, f("Where", plain, 1.0, great))
    length = f("Mul", great, f("Sqrt", f("Add", f("Mul", ratio, ratio), 1.0)))
    return f("Where", f("Or", f("IsInf", a), f("IsInf", b)), math.inf, f("Where", plain, great, length))


def _copysign(f: Formula, x: str, y: str) -> str:
    magnitude = f("Abs", x)
    return f("Where", _signbit(f, y), f("Neg", magnitude), magnitude)


def _atan2(f: Formula, y: str, x: str) -> str:
    """The angle in the first quadrant from the magnitudes, then moved by the signs."""
    a, b = f("Abs", y), f("Abs", x)
    angle = f("Atan", f("Div", a, b))
    angle = f("Where", f("And", f("IsInf", a), f("IsInf", b)), math.pi / 4, angle)
    angle = f("Where", f("And", f("Equal", a, 0), f("Equal", b, 0)), 0.0, angle)
    angle = f("Where", _signbit(f, x), f("Sub", math.pi, angle), angle)
    return f("Where", _signbit(f, y), f("Neg", angle), angle)


def _logaddexp(f: Formula, x: str, y: str) -> str:
    great = f("Max", x, y)
    distance = f("Where", f("Equal", x, y), 0.0, f("Sub", x, y))  # infinities of one sign differ by nothing
    return f("Add", great, _log1p(f, f("Exp", f("Neg", f("Abs", distance)))))


def _pow_integers(f: Formula, x: str, y: str) -> str:
    """ONNX Runtime computes powers of integers in float64: exact up to 2**53. 1 / x**n is 0 unless x is 1 or -1."""
    if f.dtype.kind == "uint":
        return f("Pow", x, y)
    odd = f("Equal", f("Mod", y, 2), 1)
    inverse = f("Where", f("Equal", x, 1), 1, f("Where", f("Equal", x, -1), f("Where", odd, -1, 1), 0))
    return f("Where", f("Less", y, 0), inverse, f("Pow", x, f("Max", y, 0)))


def _not_equal(f: Formula, x: str, y: str) -> str:
    return f("Not", f("Equal", x, y))


def _for_order(dtype: DType) -> DType:
    """bools are compared as 0 and 1."""
    return dt.int32 if dtype is dt.bool_ else wide(dtype)


def _for_choice(dtype: DType) -> DType:
    """ONNX Runtime 1.31 chooses wrongly among some int64 (2**32 - 1 < 0 for its Max): uint32 is left as it is."""
    return dtype if dtype is dt.uint32 else wide(dtype)


def _shift(left: bool) -> Lower:
    """ONNX shifts unsigned integers alone. To shift a signed one right, its complement is shifted where it is below 0,
    which brings in ones. A shift by less than 0, or by the width or more, moves everything out."""

    def lower(emit: Emitter, node: Node, names: Sequence[str]) -> str:
        dtype = node.inputs[0].dtype
        own, bits = Formula(emit, dtype), Formula(emit, dt.uint64)
        x, by = names
        inside = own("Less", by, dtype.bits)
        below = ""
        if dtype.is_signed:
            inside = own("And", inside, own("GreaterOrEqual", by, 0))
            if not left:
                below = own("Less", x, 0)
                x = _select(emit, below, own("BitwiseNot", x), x, dtype)
        amount = _select(emit, inside, emit.cast(by, dtype, dt.uint64), bits.emit.scalar(0, dt.uint64), dt.uint64)
        shifted = bits("BitShift", emit.cast(x, dtype, dt.uint64), amount, direction="LEFT" if left else "RIGHT")
        shifted = emit.cast(shifted, dt.uint64, dtype)
        shifted = _select(emit, inside, shifted, emit.scalar(0, dtype), dtype)
        return _select(emit, below, own("BitwiseNot", shifted), shifted, dtype) if below else shifted

    return lower


def _select(emit: Emitter, condition: str, x: str, y: str, dtype: DType) -> str:
    middle = carrier(dtype)
    return emit.cast(emit("Where", condition, *(emit.cast(v, dtype, middle) for v in (x, y))), middle, dtype)


# --- several operands, and with parameters ----------------------------------------------------------------------


def _where(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    condition, x, y = names
    return _select(emit, condition, x, y, node.output.dtype)


def _clip(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    dtype = node.output.dtype
    f = Formula(emit, _for_choice(dtype))
    x, *bounds = (emit.cast(name, dtype, f.dtype) for name in names)
    if node.params["below"]:
        x = f("Max", x, bounds.pop(0))
    if node.params["above"]:
        x = f("Min", x, bounds.pop(0))
    return emit.cast(x, f.dtype, dtype)


def _cast(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """What is out of an integer's range is not defined by ONNX; weft saturates."""
    return emit("Cast", names[0], to=ELEMENT_TYPES[node.params["dtype"]])


def _identity(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    return emit("Identity", names[0])


# --- random bits ------------------------------------------------------------------------------------------------

_LOW = (1 << 32) - 1


def _halves(f: Formula, x: str) -> tuple[str, str]:
    return f("BitwiseAnd", x, _LOW), f("BitShift", x, 32, direction="RIGHT")


def _random_bits(emit: Emitter, node: Node, names: Sequence[str]) -> str:
    """Philox4x32-10 on words of 32 bits, each in a uint64, so that a product has room for both halves."""
    from ...ops.random import _MULTIPLIERS, _ROUNDS, _WEYL

    f = Formula(emit, dt.uint64)
    (c0, c1), (k0, k1), (c2, c3) = (_halves(f, x) for x in names)
    for number in range(_ROUNDS):
        if number:
            k0, k1 = (f("BitwiseAnd", f("Add", k, weyl), _LOW) for k, weyl in zip((k0, k1), _WEYL, strict=True))
        low0, high0 = _halves(f, f("Mul", c0, _MULTIPLIERS[0]))
        low1, high1 = _halves(f, f("Mul", c2, _MULTIPLIERS[1]))
        c0, c1, c2, c3 = (
            f("BitwiseXor", f("BitwiseXor", high1, c1), k0),
            low1,
            f("BitwiseXor", f("BitwiseXor", high0, c3), k1),
            low0,
        )
    return emit.cast((c0, c1, c2, c3)[node.params["word"]], dt.uint64, dt.uint32)


def _multiply_high(f: Formula, x: str, y: str) -> str:
    """The high half of a product of 64-bit integers, from products of their halves."""
    (x0, x1), (y0, y1) = _halves(f, x), _halves(f, y)
    lowest = f("BitShift", f("Mul", x0, y0), 32, direction="RIGHT")
    (a0, a1), (b0, b1) = _halves(f, f("Mul", x0, y1)), _halves(f, f("Mul", x1, y0))
    carried = f("BitShift", f("Add", f("Add", lowest, a0), b0), 32, direction="RIGHT")
    return f("Add", f("Add", f("Add", f("Mul", x1, y1), a1), b1), carried)


def _squared_deviation(f: Formula, x: str, average: str) -> str:
    deviation = f("Sub", x, average)
    return f("Mul", deviation, deviation)


# --- the table --------------------------------------------------------------------------------------------------

_UNARY: dict[str, Lower] = {
    "abs": _computed(_abs),
    "negative": _op("Neg", carrier),
    "sign": _computed(_sign, _for_choice),
    "square": _computed(lambda f, x: f("Mul", x, x), carrier),
    "reciprocal": _op("Reciprocal"),
    "sqrt": _op("Sqrt"),
    "rsqrt": _computed(lambda f, x: f("Reciprocal", f("Sqrt", x))),
    "floor": _op("Floor"),
    "ceil": _op("Ceil"),
    "trunc": _computed(_trunc),
    "round": _op("Round"),
    "exp": _op("Exp"),
    "exp2": _computed(lambda f, x: f("Pow", 2.0, x)),
    "expm1": _computed(_expm1),
    "log": _op("Log"),
    "log2": _computed(lambda f, x: f("Mul", f("Log", x), 1 / math.log(2))),
    "log10": _computed(lambda f, x: f("Mul", f("Log", x), 1 / math.log(10))),
    "log1p": _computed(_log1p),
    "sin": _op("Sin"),
    "cos": _op("Cos"),
    "tan": _op("Tan"),
    "asin": _op("Asin"),
    "acos": _op("Acos"),
    "atan": _op("Atan"),
    "sinh": _op("Sinh"),
    "cosh": _op("Cosh"),
    "tanh": _op("Tanh"),
    "asinh": _op("Asinh"),
    "acosh": _op("Acosh"),
    "atanh": _op("Atanh"),
    "erf": _op("Erf"),
    "erfc": _computed(_erfc),
    "erfinv": _computed(_erfinv),
    "cbrt": _computed(_cbrt),
    "sigmoid": _op("Sigmoid"),
    "isnan": _by_kind(_computed(_never, _for_order), _op("IsNaN")),
    "isinf": _by_kind(_computed(_never, _for_order), _op("IsInf")),
    "isfinite": _by_kind(_computed(_always, _for_order), _computed(_is_finite)),
    "signbit": _computed(_signbit),
    "bitwise_invert": _by_kind(_op("BitwiseNot"), _op("BitwiseNot"), _op("Not")),
    "logical_not": _op("Not"),
    "stop_gradient": _identity,
    "copy": _identity,
}

_BINARY: dict[str, Lower] = {
    "add": _op("Add", carrier),
    "subtract": _op("Sub", carrier),
    "multiply": _op("Mul", carrier),
    "divide": _op("Div"),
    "maximum": _op("Max", _for_choice),
    "minimum": _op("Min", _for_choice),
    "floor_divide": _by_kind(_computed(_floor_divide_integers), _computed(lambda f, x, y: f("Floor", f("Div", x, y)))),
    "remainder": _by_kind(_computed(_remainder_integers), _computed(_remainder_floats)),
    "hypot": _computed(_hypot),
    "atan2": _computed(_atan2),
    "logaddexp": _computed(_logaddexp),
    "copysign": _computed(_copysign),
    "pow": _by_kind(_computed(_pow_integers, carrier), _op("Pow")),
    "equal": _op("Equal"),
    "not_equal": _computed(_not_equal),
    "less": _op("Less", _for_order),
    "less_equal": _op("LessOrEqual", _for_order),
    "greater": _op("Greater", _for_order),
    "greater_equal": _op("GreaterOrEqual", _for_order),
    "bitwise_and": _by_kind(_op("BitwiseAnd"), _op("BitwiseAnd"), _op("And")),
    "bitwise_or": _by_kind(_op("BitwiseOr"), _op("BitwiseOr"), _op("Or")),
    "bitwise_xor": _by_kind(_op("BitwiseXor"), _op("BitwiseXor"), _op("Xor")),
    "bitwise_left_shift": _shift(left=True),
    "bitwise_right_shift": _shift(left=False),
    "logical_and": _op("And"),
    "logical_or": _op("Or"),
    "logical_xor": _op("Xor"),
    "multiply_high": _computed(_multiply_high),
    "squared_deviation": _computed(_squared_deviation),
}

# The primitives that no table entry made, and the kinds that they compute in.
_KINDS = {"stop_gradient": ANY.kinds, "copy": ANY.kinds, "multiply_high": ("uint",)}

ELEMENTWISE: dict[str, Row] = {
    **{name: Row(lower, (1, 1), kinds=_KINDS.get(name)) for name, lower in _UNARY.items()},
    **{name: Row(lower, (2, 2), broadcasts=True, kinds=_KINDS.get(name)) for name, lower in _BINARY.items()},
    "where": Row(_where, (3, 3), broadcasts=True, kinds=ANY.kinds),
    "clip": Row(
        _clip,
        (1, 3),
        {"below": is_flag, "above": is_flag},
        broadcasts=True,
        accepts=lambda params, inputs: len(inputs) == 1 + params["below"] + params["above"],
        kinds=REAL.kinds,
    ),
    "cast": Row(_cast, (1, 1), {"dtype": is_dtype}, kinds=ANY.kinds),
    "random_bits": Row(
        _random_bits,
        (3, 3),
        {"word": lambda value, inputs: type(value) is int and 0 <= value < 4},
        broadcasts=True,
        kinds=("uint",),
    ),
}

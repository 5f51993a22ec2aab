"""Vector math: elementary functions as expressions over the primitives of ``compiler/expr.py``.

``UNARY`` and ``BINARY`` map the Array API's names (and a few more) to functions of expressions. The functions take
float32 and float64; a 16-bit float goes through float32 (only ``nextafter`` takes it as it is). floor_divide,
remainder, pow, maximum, minimum, sign, signbit, round and the shifts take integers as well. ``ULP[name, dtype name]``
is the documented maximal error, which the tests hold; see docs/vector_math.md.
"""

from __future__ import annotations

from collections.abc import Callable

from ..expr import Expr
from .division import floor_divide, remainder
from .error_function import erf, erfc
from .exact import maximum, minimum, nextafter, round_, sign, signbit
from .exponential import exp, exp2, expm1, sigmoid
from .hyperbolic import acosh, asinh, atanh, cosh, sinh, tanh
from .integer import left_shift, right_shift
from .inverse_trigonometric import acos, asin, atan, atan2
from .logarithm import log, log1p, log2, log10
from .power import cbrt, hypot, logaddexp, pow_, rsqrt
from .trigonometric import cos, sin, tan

UNARY: dict[str, Callable[[Expr], Expr]] = {
    "acos": acos,
    "acosh": acosh,
    "asin": asin,
    "asinh": asinh,
    "atan": atan,
    "atanh": atanh,
    "cbrt": cbrt,
    "cos": cos,
    "cosh": cosh,
    "erf": erf,
    "erfc": erfc,
    "exp": exp,
    "exp2": exp2,
    "expm1": expm1,
    "log": log,
    "log10": log10,
    "log1p": log1p,
    "log2": log2,
    "round": round_,
    "rsqrt": rsqrt,
    "sigmoid": sigmoid,
    "sign": sign,
    "signbit": signbit,
    "sin": sin,
    "sinh": sinh,
    "tan": tan,
    "tanh": tanh,
}
BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "atan2": atan2,
    "bitwise_left_shift": left_shift,
    "bitwise_right_shift": right_shift,
    "floor_divide": floor_divide,
    "hypot": hypot,
    "logaddexp": logaddexp,
    "maximum": maximum,
    "minimum": minimum,
    "nextafter": nextafter,
    "pow": pow_,
    "remainder": remainder,
}

# Largest error in units in the last place, (float32, float64), as tests/compiler/test_vmath.py measures it, rounded up.
# Functions that are not named are exact, or one correctly rounded operation.
_ULP = {
    "acos": (0.51, 0.7),
    "acosh": (0.51, 1.1),
    "asin": (0.51, 0.7),
    "asinh": (0.51, 1.2),
    "atan": (0.51, 0.8),
    "atan2": (0.51, 1.0),
    "atanh": (0.51, 1.2),
    "cbrt": (0.51, 0.55),
    "cos": (0.51, 0.9),
    "cosh": (0.51, 1.1),
    "erf": (0.9, 0.9),
    "erfc": (0.51, 1.2),
    "exp": (0.9, 0.9),
    "exp2": (0.9, 0.9),
    "expm1": (0.98, 1.15),
    "hypot": (0.51, 0.9),
    "log": (0.85, 0.85),
    "log10": (0.98, 1.0),
    "log1p": (0.98, 1.0),
    "log2": (0.95, 1.0),
    "logaddexp": (0.51, 1.25),
    "pow": (0.51, 0.95),
    "rsqrt": (1.5, 1.5),
    "sigmoid": (0.92, 0.92),
    "sin": (0.51, 0.9),
    "sinh": (0.51, 1.1),
    "tan": (0.52, 1.2),
    "tanh": (0.98, 1.0),
}
ULP: dict[tuple[str, str], float] = {
    (name, dtype): bound
    for name, bounds in _ULP.items()
    for dtype, bound in zip(("float32", "float64"), bounds, strict=True)
}

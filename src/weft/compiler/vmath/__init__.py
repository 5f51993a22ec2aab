"""Vector math: elementary functions as expressions over the primitives of ``compiler/expr.py``.

``UNARY`` and ``BINARY`` map the Array API's names (and a few more) to functions of expressions. The functions take
float32 and float64; a 16-bit float goes through float32 (only ``nextafter`` takes it as it is). floor_divide,
remainder, pow, maximum, minimum, sign, signbit, round and the shifts take integers as well. ``ULP[name, dtype name]``
is the documented maximal error, which the tests hold; see docs/vector_math.md.
"""

from __future__ import annotations

from collections.abc import Callable

from ..expr import Expr
from . import error_function, exponential, hyperbolic, inverse_trigonometric, logarithm, power, trigonometric
from .division import floor_divide, remainder
from .exact import maximum, minimum, nextafter, round_, sign, signbit
from .integer import left_shift, right_shift

_ROUNDED = (error_function, exponential, hyperbolic, inverse_trigonometric, logarithm, power, trigonometric)

BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "atan2": inverse_trigonometric.atan2,
    "bitwise_left_shift": left_shift,
    "bitwise_right_shift": right_shift,
    "floor_divide": floor_divide,
    "hypot": power.hypot,
    "logaddexp": power.logaddexp,
    "maximum": maximum,
    "minimum": minimum,
    "nextafter": nextafter,
    "pow": power.pow_,
    "remainder": remainder,
}
UNARY: dict[str, Callable[[Expr], Expr]] = {
    "round": round_,
    "sign": sign,
    "signbit": signbit,
    **{name: getattr(module, name) for module in _ROUNDED for name in module.ULP if name not in BINARY},
}

# Largest error in units in the last place as tests/compiler/test_vmath.py measures it, rounded up: each module says it
# of its functions, for (float32, float64). What is not named is exact, or one correctly rounded operation.
ULP: dict[tuple[str, str], float] = {
    (name, dtype): bound
    for module in _ROUNDED
    for name, bounds in module.ULP.items()
    for dtype, bound in zip(("float32", "float64"), bounds, strict=True)
}

"""Vector math: elementary functions as expressions over the primitives of ``compiler/expr.py``.

``UNARY`` and ``BINARY`` map the Array API's names to functions ``Expr -> Expr`` for float32 and float64 (16-bit floats
go through float32). ``ULP[name, dtype name]`` is the documented maximal error, which the tests hold.
"""

from __future__ import annotations

from collections.abc import Callable

from ..expr import Expr
from .error_function import erf
from .exponential import exp, exp2, expm1, sigmoid
from .hyperbolic import tanh
from .logarithm import log, log1p, log2, log10
from .power import pow_
from .trigonometric import cos, sin, tan

__all__ = ["BINARY", "ULP", "UNARY"]

UNARY: dict[str, Callable[[Expr], Expr]] = {
    "cos": cos, "erf": erf, "exp": exp, "exp2": exp2, "expm1": expm1, "log": log, "log10": log10, "log1p": log1p,
    "log2": log2, "sigmoid": sigmoid, "sin": sin, "tan": tan, "tanh": tanh,
}
BINARY: dict[str, Callable[[Expr, Expr], Expr]] = {"pow": pow_}
ULP: dict[tuple[str, str], float] = {}

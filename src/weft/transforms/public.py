"""What ``wf`` shows of the transforms. It is imported when the first of them is asked for: a program that only computes
starts without the machinery of captures."""

from __future__ import annotations

from ..core import boundary as _boundary
from .autograd import grad, value_and_grad
from .compile import Compiled as _Compiled
from .compile import compile
from .control import cond, scan, while_loop
from .eval_shape import eval_shape, spec

__all__ = ["compile", "cond", "eval_shape", "grad", "scan", "spec", "value_and_grad", "while_loop"]

_boundary.install(globals(), __all__, transforms=("grad", "value_and_grad"))
_boundary.install_class(_Compiled)

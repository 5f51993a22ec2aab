"""Weft: deep learning that is written line by line and runs as one graph, with the same bits.

>>> import weft as wf
>>> wf.matmul(wf.ones((2, 3)), wf.ones((3, 2)))
Tensor([[3., 3.],
        [3., 3.]], dtype=float32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .core import boundary as _boundary
from .core import namespace as _namespace
from .core import support as _support  # before what needs a Python that weft runs on
from .core.dtypes import (
    DType,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    promote,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .core.dtypes import bool_ as bool
from .core.errors import (
    ArgumentError,
    AutogradError,
    AxisError,
    CaptureError,
    CompileError,
    DeviceError,
    DTypeError,
    FormatError,
    OutOfMemoryError,
    ShapeError,
    StateError,
    WeftError,
)
from .core.version import VERSION as __version__
from .ops.contraction import matmul, outer, tensordot, vecdot
from .ops.creation import (
    arange,
    empty,
    empty_like,
    eye,
    full,
    full_like,
    linspace,
    meshgrid,
    ones,
    ones_like,
    zeros,
    zeros_like,
)
from .ops.cumulative import cumulative_prod, cumulative_sum
from .ops.einsum import einsum
from .ops.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    astype,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    cbrt,
    ceil,
    clip,
    copysign,
    cos,
    cosh,
    divide,
    equal,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    reciprocal,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from .ops.indexing import index_add, nonzero, scatter_add, take, take_along_axis
from .ops.reduction import all, any, argmax, argmin, count_nonzero, logsumexp, max, mean, min, prod, std, sum, var
from .ops.shape import (
    broadcast_arrays,
    broadcast_to,
    chunk,
    concat,
    expand_dims,
    flatten,
    flip,
    matrix_transpose,
    moveaxis,
    pad,
    permute_dims,
    repeat,
    reshape,
    roll,
    split,
    squeeze,
    stack,
    swapaxes,
    tile,
    tril,
    triu,
    unstack,
)
from .runtime import memory
from .runtime.pool import get_num_threads
from .tensor import methods as _methods
from .tensor.create import asarray, from_dlpack, from_numpy, tensor
from .tensor.dispatch import configure, set_num_threads
from .tensor.tape import enable_grad, no_grad, set_grad_enabled
from .tensor.tensor import Tensor
from .transforms.autograd import grad, value_and_grad
from .transforms.compile import Compiled as _Compiled
from .transforms.compile import compile
from .transforms.eval_shape import eval_shape, spec

if TYPE_CHECKING:
    from . import nn, optim
    from .deploy import export
    from .interop import load, load_weights, save, save_weights, verify
    from .ops import linalg, random

newaxis = None
e = 2.718281828459045
pi = 3.141592653589793
inf = float("inf")
nan = float("nan")

_MODULES = {"nn": ".nn", "optim": ".optim", "random": ".ops.random", "linalg": ".ops.linalg"}
_LATE = {
    "save": ".interop",
    "load": ".interop",
    "verify": ".interop",
    "save_weights": ".interop",
    "load_weights": ".interop",
    "export": ".deploy",
}


def __getattr__(name: str) -> Any:
    """Parts that most programs do not need at once are imported when they are first asked for."""
    if name in _MODULES:
        found: Any = importlib.import_module(_MODULES[name], __name__)
        if name not in ("nn", "optim"):  # they do it themselves
            _namespace.publish(vars(found), f"{__name__}.{name}")
    elif name in _LATE:
        home = importlib.import_module(_LATE[name], __name__)
        _boundary.install(vars(home), [name])
        found = getattr(home, name)
    else:
        _namespace.absent(__name__, name, __all__)
    globals()[name] = found
    return found


def manual_seed(seed: int) -> None:
    """Seed the default random generator; the same as ``wf.random.seed``."""
    from .ops import random as generator

    generator.seed(seed)


# A literal, so that type checkers see what is public.
# fmt: off
__all__ = [
    "abs", "acos", "acosh", "add", "all", "any", "arange", "argmax", "argmin", "ArgumentError",
    "asarray", "asin", "asinh", "astype",
    "atan", "atan2", "atanh", "AutogradError", "AxisError", "bfloat16", "bitwise_and", "bitwise_invert",
    "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "bool", "broadcast_arrays",
    "broadcast_to", "CaptureError", "cbrt", "ceil", "chunk", "clip", "compile", "CompileError", "concat", "configure",
    "copysign", "cos", "cosh", "count_nonzero", "cumulative_prod", "cumulative_sum", "DeviceError", "divide", "DType",
    "DTypeError", "e", "einsum", "empty", "empty_like", "enable_grad", "equal", "erf", "erfc", "eval_shape", "exp",
    "exp2", "expand_dims", "expm1", "export", "eye", "flatten", "flip", "float16", "float32", "float64", "floor",
    "floor_divide", "FormatError", "from_dlpack", "from_numpy", "full", "full_like", "get_num_threads", "grad",
    "greater", "greater_equal", "hypot", "index_add", "inf", "int16", "int32", "int64", "int8", "isfinite", "isinf",
    "isnan", "less", "less_equal", "linalg", "linspace", "load", "load_weights", "log", "log10", "log1p", "log2",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logsumexp", "manual_seed", "matmul",
    "matrix_transpose", "max", "maximum", "mean", "memory", "meshgrid", "min", "minimum", "moveaxis", "multiply",
    "nan", "negative", "newaxis", "nextafter", "nn", "no_grad", "nonzero", "not_equal", "ones", "ones_like", "optim",
    "outer", "OutOfMemoryError", "pad", "permute_dims", "pi", "positive", "pow", "prod", "promote", "random",
    "reciprocal", "remainder", "repeat", "reshape", "roll", "round", "rsqrt", "save", "save_weights", "scatter_add",
    "set_grad_enabled", "set_num_threads", "ShapeError", "sigmoid", "sign", "signbit", "sin", "sinh", "spec", "split",
    "sqrt", "square", "squeeze", "stack", "StateError", "std", "stop_gradient", "subtract", "sum", "swapaxes", "take",
    "take_along_axis", "tan", "tanh", "Tensor", "tensor", "tensordot", "tile", "tril", "triu", "trunc", "uint16",
    "uint32", "uint64", "uint8", "unstack", "value_and_grad", "var", "vecdot", "verify", "WeftError", "where",
    "zeros", "zeros_like",
]
# fmt: on

_namespace.publish(globals(), transforms=("grad", "value_and_grad"))
_namespace.publish(vars(memory), "weft.memory")
_boundary.install_class(_Compiled)

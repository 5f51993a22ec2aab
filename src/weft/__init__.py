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
from .core.device import Device as device
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
    CheckError,
    CompileError,
    DeviceError,
    DTypeError,
    FormatError,
    LinAlgError,
    MemoryAccessError,
    OutOfMemoryError,
    ShapeError,
    StateError,
    WeftError,
)
from .core.limits import finfo, iinfo
from .core.version import VERSION as __version__
from .ops import registry as _registry
from .runtime import memory
from .runtime.devices import get_default_device
from .runtime.pool import get_num_threads
from .tensor import methods as _methods
from .tensor.create import asarray, from_dlpack, from_numpy, tensor
from .tensor.dispatch import configure, set_default_device, set_num_threads
from .tensor.tape import enable_grad, no_grad, set_grad_enabled
from .tensor.tensor import Tensor

if TYPE_CHECKING:
    from . import nn, optim
    from .deploy import export
    from .interop import load, load_weights, save, save_weights, verify
    from .ops import linalg, random
    from .transforms import debug
    from .transforms.profile import profile
    from .transforms.public import compile, cond, eval_shape, grad, scan, spec, value_and_grad, while_loop

newaxis = None
e = 2.718281828459045
pi = 3.141592653589793
inf = float("inf")
nan = float("nan")

_MODULES = {
    "debug": ".transforms.debug",
    "linalg": ".ops.linalg",
    "nn": ".nn",
    "optim": ".optim",
    "random": ".ops.random",
}
_LATE = {
    "save": ".interop",
    "load": ".interop",
    "verify": ".interop",
    "save_weights": ".interop",
    "load_weights": ".interop",
    "export": ".deploy",
    "profile": ".transforms.profile",
    **dict.fromkeys(
        ("compile", "cond", "eval_shape", "grad", "scan", "spec", "value_and_grad", "while_loop"), ".transforms.public"
    ),
}


def __getattr__(name: str) -> Any:
    """Parts that most programs do not need at once are imported when they are first asked for."""
    if name in _MODULES:
        found: Any = importlib.import_module(_MODULES[name], __name__)
        if name not in ("nn", "optim", "debug"):  # they do it themselves
            _namespace.publish(vars(found), f"{__name__}.{name}")
    elif name in _LATE:
        home, names = importlib.import_module(_LATE[name], __name__), [n for n in _LATE if _LATE[n] == _LATE[name]]
        _boundary.install(vars(home), names)
        for each in names:  # a capture does not meet them one by one
            globals().setdefault(each, getattr(home, each))
        return globals()[name]
    else:
        _namespace.absent(__name__, name, __all__, _elsewhere)
    globals()[name] = found
    return found


def _elsewhere(name: str) -> str:
    """Where a function of PyTorch's own namespace is, if it is a method or in another namespace here."""
    found = []
    if not name.startswith("_") and hasattr(Tensor, name):
        found.append(f"the {'method' if callable(getattr(Tensor, name)) else 'attribute'} x.{name}")
    for home, module in (("linalg", ".ops.linalg"), ("random", ".ops.random"), ("nn.functional", ".nn.functional")):
        if name in importlib.import_module(module, __name__).__all__:
            found.append(f"wf.{home}.{name}")
    return ", or ".join(found)


def manual_seed(seed: int) -> None:
    """Seed the default random generator; the same as ``wf.random.seed``."""
    from .ops import random as generator

    generator.seed(seed)


# What the modules of ops define is public where the module is listed here.
_functions = _registry.functions(
    "all_pairs",
    "contraction",
    "creation",
    "cumulative",
    "einsum",
    "elementwise",
    "indexing",
    "pieces",
    "reduction",
    "sampling",
    "shape",
    "sorting",
)
globals().update(_functions)
# fmt: off
__all__ = [
    *_functions,
    "ArgumentError", "asarray", "AutogradError", "AxisError", "bfloat16", "bool", "CaptureError", "CheckError",
    "compile", "CompileError", "cond", "configure", "debug", "device", "DeviceError", "DType", "DTypeError", "e",
    "enable_grad", "eval_shape", "export", "finfo", "float16", "float32", "float64", "FormatError", "from_dlpack",
    "from_numpy", "get_default_device", "get_num_threads", "grad", "iinfo", "inf", "int16", "int32", "int64", "int8",
    "linalg", "LinAlgError", "load", "load_weights", "manual_seed", "memory", "MemoryAccessError", "nan", "newaxis",
    "nn", "no_grad", "optim", "OutOfMemoryError", "pi", "profile", "promote", "random", "save", "save_weights", "scan",
    "set_default_device", "set_grad_enabled", "set_num_threads", "ShapeError", "spec", "StateError", "Tensor", "tensor",
    "uint16", "uint32", "uint64", "uint8", "value_and_grad", "verify", "WeftError", "while_loop",
]
# fmt: on

_namespace.publish(globals())
_namespace.publish(vars(memory), "weft.memory")

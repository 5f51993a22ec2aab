"""Shapes without data: what a function or a module would return, checked before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.dtypes import as_dtype, float32
from ..core.errors import DTypeError, ShapeError
from ..core.symbolic import Dim, SymDim
from ..graph.protocol import TensorType
from ..tensor.create import is_array
from ..tensor.tape import no_grad
from ..tensor.tensor import Tensor
from .capture import capture
from .tree import flatten, unflatten


def spec(shape: int | str | SymDim | Sequence[int | str | SymDim], dtype: Any = float32) -> TensorType:
    """The type of a tensor: its dtype and shape. A string in the shape names a size that is not known yet.

    >>> wf.spec(("batch", 784))
    float32[batch, 784]

    Raises:
        ShapeError: a size is negative, or no number and no name.
        DTypeError: there is no such dtype.
    """
    sizes = (shape,) if isinstance(shape, (int, str, SymDim)) else tuple(shape)
    return TensorType(as_dtype(dtype), tuple(_dim(size, sizes) for size in sizes))


def _dim(size: Any, shape: tuple[Any, ...]) -> Dim:
    if isinstance(size, SymDim):
        return size
    if isinstance(size, str) and size.isidentifier():
        return SymDim.named(size)
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise ShapeError(f"spec: {size!r} in shape {shape} is neither a size nor a name")
    number = size.__index__()
    if number < 0:
        raise ShapeError(f"spec: size {number} in shape {shape} is negative")
    return int(number)


def eval_shape(function: Callable[..., Any], *specs: Any) -> Any:
    """The types of what ``function(*specs)`` returns; nothing is computed and no tensor is allocated.

    Args:
        function: a function of tensors, or a module.
        specs: for each argument a :func:`spec`, a tensor or array (its type counts), or any nesting of them; what is
            none of these is passed on as it is.

    Returns:
        Specs in the form of the result.

    Raises:
        ShapeError, DTypeError, AxisError: as the function would, naming the op, the shapes, the user's line and,
            inside a module, the module's path.
        CaptureError: the function needs a value.

    >>> net = wf.nn.Sequential(wf.nn.Linear(784, 128), wf.nn.ReLU(), wf.nn.Linear(128, 10))
    >>> wf.eval_shape(net, wf.spec(("batch", 784)))
    float32[batch, 10]
    """
    if not callable(function):
        raise DTypeError(f"eval_shape: {type(function).__name__} is not a function")
    with no_grad():
        captured = capture(function, [_typed(s) for s in specs])
    return unflatten(captured.returns.form, [v.type for v in captured.returns.values])


def _typed(tree: Any) -> Any:
    """The argument with tensors and arrays replaced by their types."""
    leaves, form = flatten(tree)
    return unflatten(form, [_type_of(leaf) for leaf in leaves])


def _type_of(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf._spec.type
    return spec(leaf.shape, leaf.dtype) if is_array(leaf) else leaf

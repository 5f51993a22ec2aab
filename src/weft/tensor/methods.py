"""Operators and methods of Tensor: PyTorch's and the Array API's names over the public functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..core.boundary import leave
from ..core.dtypes import DType, as_dtype
from ..core.errors import ArgumentError, DeviceError, DTypeError, ShapeError
from ..core.shapes import SymDim, broadcast_shapes, shown
from ..graph.ir import Value
from ..ops import elementwise as e
from ..ops.indexing import getitem as subscript
from ..ops.indexing import masked_fill
from ..ops.op import Composite, state
from ..runtime import storage as storages
from ..runtime.program import KernelStatus
from . import along_axes, tape
from .along_axes import bind, required
from .arguments import CONTRACTS, guarded
from .calls import epoch
from .data import data
from .dispatch import MAX_PLANS, SCALARS, is_array, run_single, scalar_dtype, scalar_like
from .spec import spec_of
from .tensor import Tensor, make

__all__: list[str] = []

_shape_of = CONTRACTS["Shape"].convert
_NUMBERS = (bool, int, float, SymDim)
_KINDS = {"bool": 0, "int": 1, "uint": 1, "float": 2}  # an in-place form may narrow a dtype, not change its kind


def _binary(function: Composite) -> Callable[[Tensor, Any], Any]:
    """An operator's method. The signature of two tensors is looked up here; everything else takes the long way."""
    plans: dict[Any, Any] = {}
    epoch.caches.append(plans)
    recording, record_pair, scalars, keeps_kind = tape.recording, tape.record_pair, SCALARS, function.name != "pow"

    def method(self: Tensor, other: Any) -> Any:
        try:
            kind = other.__class__
            if (kind is float or kind is int) and keeps_kind:
                number = scalars.get((kind, other if other else repr(other), self._spec.dtype))
                if number is None or state.trace is not None:
                    return slow(self, other)
                other = number
            try:
                plan = plans[self._spec, other._spec]
            except (KeyError, AttributeError):
                return slow(self, other)
            if state.trace is not None:
                return slow(self, other)
            try:
                output = make(plan.run(self._storage, other._storage), plan.spec, None, 0)
            except (KernelStatus, TypeError):
                return run_single(plan, (self, other))
            if (self._node is not None or other._node is not None) and recording.enabled:
                record_pair(plan.call, self, other, output)
            return output
        except Exception as error:
            leave(error)
            raise

    def slow(self: Tensor, other: Any) -> Any:
        if isinstance(other, _NUMBERS):
            if state.trace is None and keeps_kind:
                dtype = self._spec.dtype
                if scalar_dtype(other, dtype) is dtype:
                    # A tensor of rank 0, not a static argument: other numbers need no plan of their own.
                    return method(self, scalar_like(function.name, other, self._spec))
        elif not isinstance(other, Tensor) and not is_array(other):
            return NotImplemented
        result = function(self, other)
        if state.trace is None and isinstance(other, Tensor):
            plan = function.quick.get((self._spec, other._spec))
            if plan is not None:
                if len(plans) >= MAX_PLANS:
                    plans.clear()
                plans[self._spec, other._spec] = plan
        return result

    method.__name__ = function.name
    return method


def _reflected(function: Composite) -> Callable[[Tensor, Any], Any]:
    forward = _binary(function)

    def method(self: Tensor, other: Any) -> Any:
        try:
            if isinstance(other, _NUMBERS) and state.trace is None and function.name != "pow":
                if scalar_dtype(other, self._spec.dtype) is self._spec.dtype:
                    return forward(scalar_like(function.name, other, self._spec), self)
            elif not isinstance(other, _NUMBERS) and not is_array(other):
                return NotImplemented
            return function(other, self)
        except Exception as error:
            leave(error)
            raise

    return method


def _in_place(function: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Any], Tensor]:
    def method(self: Tensor, other: Any) -> Tensor:
        result = function(self, other)
        return result if result is NotImplemented else _rebound(self, result, function.__name__)

    return method


def _rebound(self: Tensor, result: Tensor, name: str) -> Tensor:
    """The tensor, rebound to a result of its own shape and cast to its own dtype.

    Raises:
        DTypeError: the result is of another kind (a float for an integer tensor).
        ShapeError: it is of another shape.
    """
    if result._spec.dtype is not self._spec.dtype:
        if _KINDS[result._spec.dtype.kind] > _KINDS[self._spec.dtype.kind]:
            raise DTypeError(
                f"in-place {name}: the result is {result._spec.dtype.name}, which a tensor of "
                f"{self._spec.dtype.name} cannot hold; cast the tensor first"
            )
        result = e.astype(result, self._spec.dtype)
    if result._spec.shape != self._spec.shape:
        raise ShapeError(f"in-place {name}: the result has shape {result.shape}, the tensor {self.shape}")
    self._rebind(result)
    return self


def _install_operators() -> None:
    binary = {
        "add": "add",
        "sub": "subtract",
        "mul": "multiply",
        "truediv": "divide",
        "floordiv": "floor_divide",
        "mod": "remainder",
        "pow": "pow",
        "and": "bitwise_and",
        "or": "bitwise_or",
        "xor": "bitwise_xor",
        "lshift": "bitwise_left_shift",
        "rshift": "bitwise_right_shift",
    }
    for short, name in binary.items():
        function = getattr(e, name)
        forward = _binary(function)
        setattr(Tensor, f"__{short}__", forward)
        setattr(Tensor, f"__r{short}__", _reflected(function))
        setattr(Tensor, f"__i{short}__", _in_place(forward))
    for short, name in {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }.items():
        setattr(Tensor, f"__{short}__", _binary(getattr(e, name)))
    from ..ops.contraction import matmul

    product: Any = matmul
    for name, form in (("__matmul__", _binary), ("__rmatmul__", _reflected)):
        setattr(Tensor, name, form(product))
    for short, name in {"neg": "negative", "pos": "positive", "abs": "abs", "invert": "bitwise_invert"}.items():
        setattr(Tensor, f"__{short}__", _method(getattr(e, name)))


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self, *args, **kwargs)
        except Exception as error:
            leave(error)
            raise

    method.__name__ = getattr(function, "name", getattr(function, "__name__", "method"))
    method.__doc__ = function.__doc__
    return method


# Methods that are public functions with the tensor as first argument, by module of weft.ops; "name=function" renames.
_METHODS = {
    "elementwise": "abs acos acosh asin asinh atan atan2 atanh ceil clip cos cosh erf exp expm1 floor isfinite isinf "
    "isnan log log10 log1p log2 logical_and logical_not logical_or logical_xor maximum minimum pow reciprocal "
    "remainder round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc astype clamp=clip "
    "eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal neg=negative",
    "contraction": "matmul",
    "shape": "flatten swapaxes moveaxis tile broadcast_to",
    "indexing": "take take_along_axis",
    "activation": "relu softmax log_softmax gelu",
}


def _install_methods() -> None:
    for module_name, names in _METHODS.items():
        module = importlib.import_module(f"weft.ops.{module_name}")
        for entry in names.split():
            name, _, source = entry.partition("=")
            setattr(Tensor, name, _method(getattr(module, source or name)))
    for name, method in along_axes.METHODS.items():
        setattr(Tensor, name, method)


# --- methods that are more than a function --------------------------------------------------------------------------


def _sizes(name: str, key: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """The numbers of ``x.name(2, 3)``, ``x.name((2, 3))`` or ``x.name(key=(2, 3))``."""
    if kwargs:
        args = tuple(required(name, bind(name, (key,), (), args, kwargs), key))
    if len(args) != 1 or args[0].__class__ is int:
        return args
    given = args[0]
    if not isinstance(given, (tuple, list)):
        given = _shape_of(name, key, given)  # what is in a tuple, the function behind the method checks
    return tuple(given) if isinstance(given, (tuple, list)) else (given,)


def reshape(self: Tensor, *shape: Any, **named: Any) -> Any:
    """The elements in row-major order under another shape; one size may be -1."""
    from ..ops.shape import reshape as function

    return function(self, _sizes("reshape", "shape", shape, named))


def permute(self: Tensor, *dims: Any, **named: Any) -> Any:
    """The axes in another order."""
    from ..ops.shape import permute_dims

    return permute_dims(self, _sizes("permute", "dim", dims, named))


def transpose(self: Tensor, dim0: int, dim1: int) -> Any:
    """Two axes exchanged."""
    from ..ops.shape import swapaxes

    return swapaxes(self, dim0, dim1)


def t(self: Tensor) -> Any:
    """A matrix transposed; a vector or a number is itself."""
    if self.ndim > 2:
        raise ShapeError(f"t: {self.shape} has more than two axes; say which with transpose(dim0, dim1), or use mT")
    return self.permute(*range(self.ndim)[::-1])


def expand(self: Tensor, *size: Any, **named: Any) -> Any:
    """Broadcast to a shape; -1 keeps an axis."""
    from ..ops.shape import broadcast_to

    wanted = _shape_of("expand", "size", _sizes("expand", "size", size, named))
    new = len(wanted) - self.ndim
    if new < 0:
        raise ShapeError(f"expand: {self.shape} to {wanted}: there are fewer axes than before")
    if any(isinstance(w, int) and w == -1 for w in wanted[:new]):
        raise ShapeError(f"expand: {self.shape} to {wanted}: -1 keeps an axis, and there is none to keep in front")
    own = (1,) * new + tuple(self.shape)
    return broadcast_to(
        self, tuple(o if isinstance(w, int) and w == -1 else w for w, o in zip(wanted, own, strict=True))
    )


def to(self: Tensor, *args: Any, **named: Any) -> Any:
    """The tensor with another dtype (an object, a name, another tensor's) or on another device, as PyTorch's ``to``:
    ``(dtype)``, ``(tensor)`` or ``(device, dtype)``, and ``non_blocking`` (which makes no difference) and ``copy``
    behind it. Without ``copy`` a tensor that has the dtype is returned itself."""
    order: tuple[str, ...] = ("device", "dtype")
    if args and isinstance(args[0], Tensor):
        args, order = (args[0].dtype, *args[1:]), ("dtype",)
    elif args and _is_dtype(args[0]):
        order = ("dtype",)
    given = bind("to", (*order, "non_blocking", "copy"), ("device", "dtype"), args, named)
    device, dtype = given.get("device"), given.get("dtype")
    _check_device("to", device)
    return _as(self, self.dtype if dtype is None else as_dtype(dtype), bool(given.get("copy")))


def _as(self: Tensor, dtype: DType, copy: bool = False) -> Tensor:
    """The tensor as ``dtype``: itself where that is its own, as in PyTorch."""
    return self if self._spec.dtype is dtype and not copy else e.astype(self, dtype)


def _is_dtype(value: Any) -> bool:
    try:
        as_dtype(value)
    except TypeError:
        return False
    return value is not None  # of which NumPy makes float64


def _check_device(name: str, device: Any) -> None:
    kind = device if isinstance(device, str) else getattr(device, "type", None)  # of torch.device
    if device is not None and str(kind).partition(":")[0] != "cpu":
        raise DeviceError(f"{name}: device {shown(device)} is not available; this build of weft runs on 'cpu'")


def getitem(self: Tensor, key: Any) -> Any:
    """``x[key]`` with NumPy's rules; a value of its own, never an alias."""
    if key.__class__ is int and self._node is None and state.trace is None and self._spec.shape:
        spec = self._spec
        size = spec.shape[0]
        at = key + size if key < 0 else key
        if 0 <= at < size and spec.strides[0] >= 0 and 0 not in spec.shape and self._storage.__class__ is not Value:
            row = spec.row
            if row is None:
                row = spec.row = spec_of(spec.dtype, spec.shape[1:], spec.strides[1:])
            offset = at * spec.strides[0] * spec.dtype.itemsize
            return make(storages.view(self._storage, offset, self._storage.nbytes - offset), row, None, 0)
    try:
        return subscript(self, key)
    except Exception as error:
        leave(error)
        raise


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``: rebinds ``x`` to a new value."""
    from ..ops.indexing import setitem as function

    self._rebind(function(self, key, value))


def iterate(self: Tensor) -> Any:
    """The slices along the first axis."""
    if self.ndim == 0:
        raise TypeError("iteration over a tensor of rank 0")
    return (self[i] for i in range(len(self)))


def _cast(name: str) -> Callable[[Tensor], Tensor]:
    dtype = as_dtype(name)

    def method(self: Tensor) -> Tensor:
        return _as(self, dtype)

    method.__doc__ = f"The tensor as {name}; itself if it is."
    return method


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype of another."""
    return _as(self, other.dtype)


def _of_two(name: str, operator: Callable[[Tensor, Any], Any], general: Callable[..., Any]) -> Callable[..., Any]:
    """A method that is the operator, the quick way, for one operand and no options."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs:
            result = operator(self, args[0])
            if result is not NotImplemented:
                return result
        return general(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, general.__doc__
    return method


def _scaled(name: str, function: Composite) -> Callable[..., Any]:
    """PyTorch's ``x.add(y, alpha=a)`` and ``x.sub``: ``x + a * y``."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        given = bind(name, ("other",), ("alpha",), args, kwargs)
        (other,) = required(name, given, "other")
        alpha = given.get("alpha", 1)
        return function(self, other if alpha == 1 else e.multiply(other, alpha))

    method.__doc__ = function.__doc__
    return method


def div(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The quotient; with ``rounding_mode="floor"`` or ``"trunc"`` rounded down or toward zero, in PyTorch's dtype."""
    given = bind("div", ("other",), ("rounding_mode",), args, kwargs)
    (other,) = required("div", given, "other")
    mode = given.get("rounding_mode")
    if mode is None:
        return e.divide(self, other)
    if mode == "floor":
        return e.floor_divide(self, other)
    if mode != "trunc":
        raise ArgumentError(f"div: rounding_mode is None, 'floor' or 'trunc', not {shown(mode)}")
    down = e.floor_divide(self, other)
    if down.dtype.is_floating:
        return e.trunc(e.divide(self, other))
    inexact = e.not_equal(e.multiply(down, other), self)
    return e.where(e.logical_and(inexact, e.less(down, 0)), e.add(down, 1), down)


def _rebinding(name: str, function: Callable[..., Any]) -> Callable[..., Tensor]:
    """PyTorch's ``x.add_(y, alpha=a)`` and the like: ``x += a * y``."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _rebound(self, function(self, *args, **kwargs), name)

    method.__name__ = f"{name}_"
    method.__doc__ = f"Rebind the tensor to what ``{name}`` gives of it; returns it."
    return method


def copy_(self: Tensor, source: Any, non_blocking: bool = False) -> Tensor:
    """Rebind the tensor to the values of another, broadcast and cast to its own type; returns it."""
    from ..ops.shape import broadcast_to
    from .create import asarray

    self._rebind(broadcast_to(e.astype(asarray(source), self.dtype), self.shape))
    return self


def fill_(self: Tensor, value: float) -> Tensor:
    """Rebind the tensor to ``value`` everywhere; returns it."""
    from ..ops.creation import full_like

    self._rebind(full_like(self, value))
    return self


def _like(name: str) -> Callable[..., Tensor]:
    def method(
        self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any
    ) -> Tensor:
        from ..ops import creation

        _check_device(f"new_{name}", device)
        sizes = _sizes(f"new_{name}", "size", size, named)
        made: Tensor = getattr(creation, name)(sizes, dtype=self.dtype if dtype is None else dtype)
        return made.requires_grad_() if requires_grad else made

    method.__name__, method.__doc__ = f"new_{name}", f"``wf.{name}`` with this tensor's dtype."
    return method


def where(self: Tensor, condition: Tensor, other: Any) -> Any:
    """The element where ``condition`` is True, else ``other``."""
    return e.where(condition, self, other)


def repeat(self: Tensor, *repeats: Any, **named: Any) -> Any:
    """PyTorch's repeat: the tensor as a whole, so many times along each axis (NumPy's ``tile``)."""
    from ..ops.shape import tile

    times = _sizes("repeat", "repeats", repeats, named)
    if len(times) < self.ndim:
        raise ShapeError(
            f"repeat: {times} for a tensor of shape {self.shape}: a number for each axis is wanted, and more for new "
            "ones in front (wf.repeat repeats elements, tile the last axes)"
        )
    return tile(self, times)


def _product(name: str, rank: int, function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """PyTorch's ``dot``, ``mm`` and ``bmm``: products of operands of one rank, which do not broadcast."""

    def method(self: Tensor, other: Any) -> Any:
        ranks = (self.ndim, getattr(other, "ndim", rank))
        if ranks != (rank, rank):
            raise ShapeError(
                f"{name}: operands of rank {ranks[0]} and {ranks[1]}: wants rank {rank}; matmul takes others"
            )
        if rank == 3 and self.shape[0] != getattr(other, "shape", self.shape)[0]:
            raise ShapeError(f"{name}: {self.shape} and {other.shape}: the batches differ; matmul broadcasts them")
        return function(self, other)

    method.__name__, method.__doc__ = name, f"``matmul`` of two operands of rank {rank}."
    return method


def allclose(self: Tensor, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are equal within ``atol + rtol * |other|``; the shapes broadcast, the dtypes may differ."""
    import numpy as np

    from .create import asarray

    other = asarray(other)
    broadcast_shapes(self.shape, other.shape, op="allclose")
    wide = (x.numpy().astype(np.float32) if x.dtype.name == "bfloat16" else x.numpy() for x in (self, other))
    return bool(np.allclose(next(wide), next(wide), float(rtol), float(atol), equal_nan))


def view_as(self: Tensor, other: Tensor) -> Any:
    """The elements under the shape of another."""
    return reshape(self, *other.shape)


def expand_as(self: Tensor, other: Tensor) -> Any:
    """Broadcast to the shape of another."""
    return expand(self, *other.shape)


def _install_special() -> None:
    from ..ops.contraction import matmul, vecdot
    from ..ops.shape import matrix_transpose

    arithmetic = {
        "add": _of_two("add", Tensor.__add__, _scaled("add", e.add)),
        "sub": _of_two("sub", Tensor.__sub__, _scaled("sub", e.subtract)),
        "mul": _of_two("mul", Tensor.__mul__, e.multiply),
        "div": _of_two("div", Tensor.__truediv__, div),
    }
    special: dict[str, Any] = {
        "__getitem__": getitem,
        "__setitem__": setitem,
        "__iter__": iterate,
        "__hash__": object.__hash__,
        "reshape": reshape,
        "view": reshape,
        "permute": permute,
        "transpose": transpose,
        "expand": expand,
        "to": to,
        "masked_fill": _method(masked_fill),
        "type_as": type_as,
        "mT": property(matrix_transpose),
        "T": property(lambda self: self.permute(*range(self.ndim)[::-1])),
        "t": t,
        "numel": lambda self: int(self.size),
        "dim": lambda self: self.ndim,
        "clone": lambda self: e.positive(self),
        "contiguous": lambda self: self,
        "cpu": lambda self: self,
        "float": _cast("float32"),
        "double": _cast("float64"),
        "half": _cast("float16"),
        "bfloat16": _cast("bfloat16"),
        "long": _cast("int64"),
        "int": _cast("int32"),
        "bool": _cast("bool"),
        "zero_": lambda self: fill_(self, 0),
        "fill_": fill_,
        "copy_": copy_,
        **arithmetic,
        "dot": _product("dot", 1, vecdot),
        "mm": _product("mm", 2, matmul),
        "bmm": _product("bmm", 3, matmul),
        "clamp_": _rebinding("clamp", e.clip),
        **{f"{name}_": _rebinding(name, method) for name, method in arithmetic.items()},
        "data": data,
        "new_zeros": _like("zeros"),
        "new_ones": _like("ones"),
        "where": where,
        "repeat": repeat,
        "allclose": allclose,
        "view_as": view_as,
        "reshape_as": view_as,
        "expand_as": expand_as,
    }
    for name, value in special.items():
        checks = getattr(value, "__annotations__", None) and not name.startswith("__")  # x[i] is checked further down
        setattr(Tensor, name, guarded(value) if checks else value)


_install_operators()
_install_methods()
_install_special()

"""Operators and methods of Tensor: PyTorch's and the Array API's names over the public functions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from ..core.dtypes import as_dtype
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import SymDim
from ..graph.ir import Value
from ..ops import elementwise as e
from ..ops.indexing import getitem as subscript
from ..ops.op import Composite, state
from ..runtime import storage as storages
from ..runtime.program import KernelStatus
from . import tape
from .calls import epoch
from .data import data
from .dispatch import MAX_PLANS, SCALARS, is_array, run_single, scalar_dtype, scalar_like
from .spec import spec_of
from .tensor import Tensor, make

__all__: list[str] = []

_NUMBERS = (bool, int, float, SymDim)
_KINDS = {"bool": 0, "int": 1, "uint": 1, "float": 2}  # an in-place form may narrow a dtype, not change its kind


def _binary(function: Composite) -> Callable[[Tensor, Any], Any]:
    """An operator's method. The signature of two tensors is looked up here; everything else takes the long way."""
    plans: dict[Any, Any] = {}
    epoch.caches.append(plans)
    recording, record_pair, scalars, keeps_kind = tape.recording, tape.record_pair, SCALARS, function.name != "pow"

    def method(self: Tensor, other: Any) -> Any:
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
        if isinstance(other, _NUMBERS) and state.trace is None and function.name != "pow":
            if scalar_dtype(other, self._spec.dtype) is self._spec.dtype:
                return forward(scalar_like(function.name, other, self._spec), self)
        elif not isinstance(other, _NUMBERS) and not is_array(other):
            return NotImplemented
        return function(other, self)

    return method


def _in_place(function: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Any], Tensor]:
    def method(self: Tensor, other: Any) -> Tensor:
        result = function(self, other)
        if result is NotImplemented:
            return result
        if result._spec.dtype is not self._spec.dtype:
            if _KINDS[result._spec.dtype.kind] > _KINDS[self._spec.dtype.kind]:
                raise DTypeError(
                    f"in-place {function.__name__}: the result is {result._spec.dtype.name}, which a tensor of "
                    f"{self._spec.dtype.name} cannot hold; cast the tensor first"
                )
            result = e.astype(result, self._spec.dtype)
        if result._spec.shape != self._spec.shape:
            raise ShapeError(
                f"in-place {function.__name__}: the result has shape {result.shape}, the tensor {self.shape}"
            )
        self._rebind(result)
        return self

    return method


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
        return function(self, *args, **kwargs)

    method.__name__ = getattr(function, "name", getattr(function, "__name__", "method"))
    method.__doc__ = function.__doc__
    return method


# Methods that are public functions with the tensor as first argument, by module of weft.ops; "name=function" renames.
_METHODS = {
    "elementwise": "abs acos acosh asin asinh atan atan2 atanh ceil clip cos cosh erf exp expm1 floor isfinite isinf "
    "isnan log log10 log1p log2 logical_and logical_not logical_or logical_xor maximum minimum pow reciprocal "
    "remainder round rsqrt sigmoid sign sin sinh sqrt square tan tanh trunc astype clamp=clip add "
    "sub=subtract mul=multiply "
    "div=divide eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal neg=negative",
    "contraction": "matmul dot=vecdot mm=matmul bmm=matmul",
    "shape": "flatten swapaxes moveaxis tile tril triu split chunk unstack unbind=unstack broadcast_to",
    "indexing": "take take_along_axis",
    "activation": "relu softmax log_softmax gelu",
}

# Methods that work along axes: PyTorch calls the axis ``dim``, NumPy ``axis``; it may be given by position.
_ALONG_AXES = {
    "reduction": "all any argmax argmin logsumexp mean prod sum max min amax=max amin=min std var",
    "cumulative": "cumsum=cumulative_sum cumprod=cumulative_prod",
    "shape": "flip squeeze unsqueeze=expand_dims",
}
_RENAMED = {"dim": "axis", "dims": "axis", "keepdim": "keepdims"}


def _along_axes(function: Any) -> Callable[..., Any]:
    """A method that takes ``axis`` (or ``dim``) and ``keepdims`` (or ``keepdim``) by position or by name."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not args and not kwargs:
            return function(self)
        # NumPy's functions (``np.sum(x)``) name every option, with None for those that were not given.
        named = {_RENAMED.get(k, k): v for k, v in kwargs.items() if v is not None or k not in ("dtype", "out")}
        if function.name in ("flip",) and len(args) > 1:
            args = (args,)
        named.update(zip(("axis", "keepdims"), args, strict=False))
        return function(self, **named)

    method.__name__, method.__doc__ = function.name, function.__doc__
    return method


class Extreme(NamedTuple):
    """What PyTorch's ``x.max(dim)`` and ``x.min(dim)`` return."""

    values: Tensor
    indices: Tensor


def _extreme(values: Any, positions: Any) -> Callable[..., Any]:
    """``max`` and ``min``: with ``dim``, or an axis by position, PyTorch's pair; with ``axis`` the values alone; with a
    tensor the greater (lesser) of two."""
    plain, where = _along_axes(values), _along_axes(positions)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], Tensor):
            return (e.maximum if values.name == "max" else e.minimum)(self, args[0])
        if args or "dim" in kwargs:
            return Extreme(plain(self, *args, **kwargs), where(self, *args, **kwargs))
        return plain(self, **kwargs)

    method.__name__, method.__doc__ = values.name, values.__doc__
    return method


def _spread(function: Any) -> Callable[..., Any]:
    """``std`` and ``var`` with PyTorch's default: divided by n - 1 (``correction=1``, or ``unbiased=True``)."""
    plain = _along_axes(function)

    def method(
        self: Tensor,
        *args: Any,
        unbiased: bool = True,
        correction: float | None = None,
        ddof: float | None = None,  # NumPy's name
        **kwargs: Any,
    ) -> Any:
        correction = ddof if correction is None else correction
        return plain(self, *args, correction=float(unbiased) if correction is None else correction, **kwargs)

    method.__name__, method.__doc__ = function.name, function.__doc__
    return method


def _install_methods() -> None:
    for table, form in ((_METHODS, _method), (_ALONG_AXES, _along_axes)):
        for module_name, names in table.items():
            module = importlib.import_module(f"weft.ops.{module_name}")
            for entry in names.split():
                name, _, source = entry.partition("=")
                setattr(Tensor, name, form(getattr(module, source or name)))
    reduction: Any = importlib.import_module("weft.ops.reduction")
    own = {
        "max": _extreme(reduction.max, reduction.argmax),
        "min": _extreme(reduction.min, reduction.argmin),
        "std": _spread(reduction.std),
        "var": _spread(reduction.var),
    }
    for name, method in own.items():
        setattr(Tensor, name, method)


# --- methods that are more than a function --------------------------------------------------------------------------


def _shape_argument(shape: tuple[Any, ...]) -> Any:
    return shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape


def reshape(self: Tensor, *shape: Any) -> Any:
    """The elements in row-major order under another shape; one size may be -1."""
    from ..ops.shape import reshape as function

    return function(self, tuple(_shape_argument(shape)))


def permute(self: Tensor, *axes: Any) -> Any:
    """The axes in another order."""
    from ..ops.shape import permute_dims

    return permute_dims(self, tuple(_shape_argument(axes)))


def transpose(self: Tensor, axis0: int, axis1: int) -> Any:
    """Two axes exchanged."""
    from ..ops.shape import swapaxes

    return swapaxes(self, axis0, axis1)


def expand(self: Tensor, *shape: Any) -> Any:
    """Broadcast to a shape; -1 keeps an axis."""
    from ..ops.shape import broadcast_to

    wanted = tuple(_shape_argument(shape))
    if len(wanted) < self.ndim:
        raise ShapeError(f"expand: {self.shape} to {wanted}: there are fewer axes than before")
    own = (1,) * (len(wanted) - self.ndim) + tuple(self.shape)
    return broadcast_to(self, tuple(o if w == -1 else w for w, o in zip(wanted, own, strict=True)))


def to(self: Tensor, *args: Any, dtype: Any = None, device: Any = None) -> Any:
    """The tensor with another dtype (an object, a name, another tensor's) or on another device (PyTorch's ``to``)."""
    from ..core.errors import DeviceError

    for a in args:
        try:
            dtype = a.dtype if isinstance(a, Tensor) else as_dtype(a)
        except TypeError:  # not a dtype
            device = a
    if device is not None and str(device).split(":")[0] != "cpu":
        raise DeviceError(f"to: device {device!r} is not available; this build of weft runs on 'cpu'")
    return self if dtype is None else e.astype(self, as_dtype(dtype))


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
    return subscript(self, key)


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
        return e.astype(self, dtype)

    method.__doc__ = f"The tensor as {name}."
    return method


def masked_fill(self: Tensor, mask: Any, value: Any) -> Tensor:
    """``value`` where ``mask`` is True, else the element."""
    return e.where(mask, value, self)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor with the dtype of another."""
    return e.astype(self, other.dtype)


def _rebinding(function: Callable[[Tensor, Any], Any]) -> Callable[..., Tensor]:
    """PyTorch's ``x.add_(y, alpha=a)`` and the like: ``x += a * y``."""
    in_place = _in_place(function)

    def method(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
        return in_place(self, other if alpha == 1 else other * alpha)

    method.__name__ = function.__name__
    method.__doc__ = f"Rebind the tensor to its {function.__name__} with another; returns it."
    return method


def copy_(self: Tensor, source: Any) -> Tensor:
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


def clamp_(self: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Rebind the tensor to itself cut to ``[min, max]``; returns it."""
    self._rebind(e.clip(self, min, max))
    return self


def _like(name: str) -> Callable[..., Tensor]:
    def method(self: Tensor, *shape: Any, dtype: Any = None) -> Tensor:
        from ..ops import creation

        made: Tensor = getattr(creation, name)(tuple(_shape_argument(shape)), dtype=dtype or self.dtype)
        return made

    method.__name__, method.__doc__ = f"new_{name}", f"``wf.{name}`` with this tensor's dtype."
    return method


def gather(self: Tensor, dim: int, index: Tensor) -> Any:
    """PyTorch's gather: the elements that ``index`` names along ``dim``."""
    from ..ops.indexing import take_along_axis

    return take_along_axis(self, index, axis=dim)


def where(self: Tensor, condition: Tensor, other: Any) -> Any:
    """The element where ``condition`` is True, else ``other``."""
    return e.where(condition, self, other)


def norm(self: Tensor, p: float = 2, dim: Any = None, keepdim: bool = False) -> Any:
    """The vector norm of order ``p`` over axes (all of them by default)."""
    from ..ops.linalg import vector_norm

    return vector_norm(self, ord=p, axis=dim, keepdims=keepdim)


def repeat(self: Tensor, *repeats: Any) -> Any:
    """PyTorch's repeat: the tensor as a whole, so many times along each axis (NumPy's ``tile``)."""
    from ..ops.shape import tile

    return tile(self, tuple(_shape_argument(repeats)))


def allclose(self: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are equal within ``atol + rtol * |other|``."""
    import numpy as np

    return bool(np.allclose(self.numpy(), other.numpy(), rtol, atol, equal_nan))


def _install_special() -> None:
    from ..ops.shape import matrix_transpose

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
        "masked_fill": masked_fill,
        "type_as": type_as,
        "mT": property(matrix_transpose),
        "T": property(lambda self: self.permute(*range(self.ndim)[::-1])),
        "t": lambda self: self.permute(*range(self.ndim)[::-1]),
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
        "clamp_": clamp_,
        "add_": _rebinding(Tensor.__add__),
        "sub_": _rebinding(Tensor.__sub__),
        "mul_": _rebinding(Tensor.__mul__),
        "div_": _rebinding(Tensor.__truediv__),
        "data": data,
        "new_zeros": _like("zeros"),
        "new_ones": _like("ones"),
        "gather": gather,
        "where": where,
        "norm": norm,
        "repeat": repeat,
        "allclose": allclose,
        "view_as": lambda self, other: self.reshape(*other.shape),
        "reshape_as": lambda self, other: self.reshape(*other.shape),
        "expand_as": lambda self, other: self.expand(*other.shape),
    }
    for name, value in special.items():
        setattr(Tensor, name, value)


_install_operators()
_install_methods()
_install_special()

"""PyTorch's methods that are a public function of the tensor, and their in-place forms: tables of both.

A function under a name here is a method ``x.name(...)`` and, written into the tensor, ``x.name_(...)``. Arguments have
PyTorch's names and order: functions in ``weft.ops.pytorch_*`` have them, the Array API's get them here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ..core import dtypes as dt
from ..core.boundary import leave
from ..core.errors import DTypeError, ShapeError
from ..core.shapes import broadcast_shapes
from ..graph.ir import Value
from ..ops import elementwise as e
from ..ops import indexing, registry
from ..ops.op import Composite, state
from ..ops.subscript import normalize_key
from ..runtime import storage as storages
from . import lines, tape
from .arguments import CONTRACTS, guarded
from .binding import named
from .caches import Cache
from .create import asarray, check_number
from .dispatch import plan_of, scalar_like
from .in_place import InPlace, same_place, write
from .in_place import copy_ as copy_form
from .placing import beside
from .sampling import SAMPLERS
from .tensor import Tensor

# Every entry of the elementwise table is a method of its name, but for these: PyTorch has none, or one that does more.
_NO_METHOD = {"add", "bitwise_invert", "cbrt", "divide", "equal", "multiply", "round", "subtract"}
# Further functions of one tensor, by module of weft.ops; "name=function" renames.
_UNARY = {
    "elementwise": "absolute=abs arccos=acos arccosh=acosh arcsin=asin arcsinh=asinh arctan=atan arctanh=atanh "
    "bitwise_not=bitwise_invert fix=trunc neg=negative positive sgn=sign",
    "pytorch_elementwise": "deg2rad frac rad2deg sinc",
    "activation": "relu",
}
# Further functions of a tensor and another operand, which PyTorch calls ``other``.
_BINARY = {
    "elementwise": "arctan2=atan2 eq=equal ne=not_equal lt=less le=less_equal gt=greater ge=greater_equal",
}
# Functions whose parameters have PyTorch's names.
_OTHERS = {
    "elementwise": "clamp=clip clip",
    "pytorch_elementwise": "addcdiv addcmul clamp_max clamp_min fmod ldexp lerp logit nan_to_num xlogy",
    "pytorch_products": "addbmm addmm addmv addr baddbmm",
    "pytorch_indexing": "index_add index_copy index_fill masked_scatter put scatter scatter_add scatter_reduce",
    "indexing": "masked_fill",
}
_METHODS_ALONE = {
    "pytorch_elementwise": "float_power",
    "pytorch_indexing": "index_select",
    "view_functions": "diagonal narrow select unflatten unfold",
}
_FORMS_ALONE = {"pytorch_indexing": "fill_diagonal"}
_NO_FORM = {"isfinite", "isinf", "isnan", "signbit", "positive", "logaddexp", "maximum", "minimum"}  # as in PyTorch
# Numbers that are given to these as tensors of rank 0, so that other numbers need no code of their own.
_WEAK: dict[str, tuple[str, int | None]] = {  # the argument's name, and its place where it may be given by position
    "addcdiv": ("value", None),
    "addcmul": ("value", None),
    "fmod": ("other", 0),
    "index_add": ("alpha", None),
    "lerp": ("weight", 1),
    "masked_fill": ("value", 1),
}


def _functions(table: Mapping[str, str]) -> dict[str, Composite]:
    found = {}
    for module_name, names in table.items():
        module = importlib.import_module(f"weft.ops.{module_name}")
        for entry in names.split():
            name, _, source = entry.partition("=")
            found[name] = getattr(module, source or name)
    return found


def _elementwise(operands: int, table: Mapping[str, str]) -> dict[str, Composite]:
    """The functions of so many operands, by the names of their methods."""
    entries = registry.entries("elementwise", operands)
    return {name: entry for name, entry in entries.items() if name not in _NO_METHOD} | _functions(table)


_operand = CONTRACTS["Array | float"].convert
_bounded = CONTRACTS["Any"].convert


# --- methods --------------------------------------------------------------------------------------------------------


def methods() -> dict[str, Any]:
    """The methods ``x.name(...)`` that give a new tensor, or a view."""
    found: dict[str, Any] = {}
    for name, function in _elementwise(1, _UNARY).items():  # methods have no ``inplace``
        found[name] = named(name, function) if function.inplace_at else _method(name, function)
    for table in (_OTHERS, _METHODS_ALONE):
        found |= {name: _method(name, function) for name, function in _functions(table).items()}
    binary = _elementwise(2, _BINARY)
    found |= {name: named(name, function, "maximum") for name, function in binary.items()}
    return found | {
        "index_put": index_put,
        "masked_select": masked_select,
        "pow": named("pow", e.pow),
        "round": round_,
    }


def _method(name: str, function: Composite) -> Callable[..., Any]:
    weak = _WEAK.get(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        try:
            if weak is not None:
                args = _weakened(function.name, weak, self, args, kwargs)
            return function(self, *args, **kwargs)
        except Exception as error:
            leave(error, function.function, (self, *args), kwargs)
            raise

    method.__name__, method.__doc__ = name, function.__doc__
    method.__wrapped__ = function  # type: ignore[attr-defined]
    return method


def _weakened(
    op: str, weak: tuple[str, int | None], self: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, ...]:
    """The arguments with a number as a tensor of rank 0, where its kind fits."""
    key, place = weak
    value = kwargs.get(key) if key in kwargs else args[place] if place is not None and len(args) > place else None
    if state.trace is not None or (value.__class__ is not float and value.__class__ is not int):
        return args
    if op.startswith("masked_fill"):
        value = indexing.number_for(op, _bounded(op, key, value), self._spec.dtype)
    elif value == 1 or (value.__class__ is float and not self._spec.dtype.is_floating):
        return args
    number = scalar_like(op, value, self._spec)
    if key in kwargs:
        kwargs[key] = number
        return args
    assert place is not None
    return (*args[:place], number, *args[place + 1 :])


def round_(self: Tensor, *, decimals: int = 0) -> Any:
    """The nearest whole number, or number with so many decimals; halves to even."""
    from ..ops.pytorch_elementwise import round_to

    decimals = CONTRACTS["Whole"].convert("round", "decimals", decimals)
    return e.round(self) if decimals == 0 else round_to(self, decimals=decimals)


def masked_select(self: Tensor, mask: Tensor) -> Any:
    """The elements where the mask is True, as a vector; both are broadcast to a common shape. Their number depends on
    values, so that it works outside of captured functions alone."""
    from ..ops.shape import broadcast_to

    mask = CONTRACTS["Tensor"].convert("masked_select", "mask", mask)
    if mask.dtype is not dt.bool_:
        raise DTypeError(f"masked_select: the mask is {mask.dtype.name}, not bool; compare it, as in x != 0")
    shape = broadcast_shapes(tuple(self.shape), tuple(mask.shape), op="masked_select")
    return broadcast_to(self, shape)[broadcast_to(mask, shape)]


def _key(name: str, indices: Any) -> tuple[Any, ...]:
    if not isinstance(indices, (tuple, list)):
        raise DTypeError(f"{name}: indices are a {type(indices).__name__}; they must be a tuple of tensors")
    for each in indices:
        if each is not None and not isinstance(each, Tensor):
            raise DTypeError(f"{name}: an index of type {type(each).__name__}; wants tensors, or None for a whole axis")
    return tuple(slice(None) if each is None else each for each in indices)


def index_put(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """The tensor with ``values`` in the place of ``x[indices]``, or added there."""
    return self.clone().index_put_(indices, values, accumulate)


_add_at = InPlace("index_put_", indexing.add_at)


def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """``x[indices] = values``; ``accumulate``: ``+=``, for every time that a place is named. Returns the tensor."""
    key = _key("index_put_", indices)
    if getattr(values, "dtype", None) is not self.dtype:
        given = values.dtype.name if hasattr(values, "dtype") else type(values).__name__
        raise DTypeError(f"index_put_: the values are {given}, the tensor {self.dtype.name}; cast one of them")
    if not accumulate:
        self[key] = values
        return self
    subscript, arrays = normalize_key(key, self.shape)
    if not arrays:
        return self.add_(values)
    return _add_at(self, values, subscript, *beside(self, arrays))


# --- in-place forms -------------------------------------------------------------------------------------------------


def in_place_methods(arithmetic: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """The methods ``x.name_(...)``; ``arithmetic`` are methods of one operand and options, the quick way without."""
    forms: dict[str, Any] = {**_elementwise(1, _UNARY)}
    for table in (_OTHERS, _FORMS_ALONE):
        forms |= _functions(table)
    found: dict[str, Any] = {
        f"{name}_": _form(name, function) for name, function in forms.items() if name not in _NO_FORM
    }
    binary = _elementwise(2, _BINARY)
    for name, function in binary.items():
        if name not in _NO_FORM:
            found[f"{name}_"] = _form_of_two(name, function, named(name, function, "maximum"))
    for name, general in arithmetic.items():
        found[f"{name}_"] = _form_of_two(name, _OPERATORS[name], general)
    long = {"subtract": "sub", "multiply": "mul", "divide": "div", "true_divide": "div"}
    found |= {f"{name}_": found[f"{short}_"] for name, short in long.items()}
    found |= {f"{name}_": _of_numbers(name) for name in ("cumprod", "cumsum", "tril", "triu")}
    return found | {
        "float_power_": _form("float_power", _float_power),
        "index_put_": index_put_,
        "pow_": _form_of_two("pow", e.pow, named("pow", e.pow), "exponent"),
        "round_": _form("round", round_),
        **_copies(),
        **SAMPLERS,
    }


_ALPHA = {"alpha"}
_OPERATORS = {"add": e.add, "sub": e.subtract, "mul": e.multiply, "div": e.divide}


def _form(name: str, function: Callable[..., Any]) -> Callable[..., Tensor]:
    form, weak = InPlace(f"{name}_", function), _WEAK.get(name)
    plans, recording, of_tensors = form.quick, tape.recording, _of_tensors(form)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            if not args and not kwargs and state.trace is None:
                plan, storage = plans.get((self._spec,)), self._storage
                if plan is not None and storage.__class__ is not Value and not storage.is_read_only:
                    of = self._view
                    if not recording.enabled or (self._node is None and (of is None or of.base._node is None)):
                        plan.run(storage)
                        if storages.wrote(storage):
                            lines.note_write(storage)
                        return self
            if weak is not None:
                args = _weakened(form.name, weak, self, args, kwargs)
            return of_tensors(self, *args, **kwargs)
        except Exception as error:
            leave(error, function, (self, *args), kwargs)
            raise

    method.__wrapped__ = function  # type: ignore[attr-defined]
    return _documented(method, name)


def _of_numbers(name: str) -> Callable[..., Tensor]:
    """The in-place form of a method whose arguments are no tensors; one of rank 0 stands for its value."""
    form = _form(name, getattr(Tensor, name))
    whole = CONTRACTS["int"].convert

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        args = tuple([whole(f"{name}_", "dim", a) if isinstance(a, Tensor) else a for a in args])
        kwargs = {k: whole(f"{name}_", k, v) if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        return form(self, *args, **kwargs)

    return _documented(method, name)


def _of_tensors(form: InPlace) -> Callable[..., Tensor]:
    """An in-place form that looks the plan of a call with tensors alone up by their specs."""
    plans = Cache()

    def call(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        tensors = (self, *args, *kwargs.values())
        try:
            key = (tuple(kwargs), *[t._spec for t in tensors])
        except AttributeError:
            return form(self, *args, **kwargs)
        plan = plans.get(key)
        if plan is not None and state.trace is None:
            write(form.name, plan, tensors)
            return self
        form(self, *args, **kwargs)
        if state.trace is None:
            plan, used = plan_of(form.composite, (self, *args), kwargs)
            # Fewer: one stands for a number, and another value of it may mean another plan.
            if plan.run is not None and len(used) == len(tensors):
                plans.keep(key, plan)
        return self

    return call


def _form_of_two(
    name: str, function: Callable[..., Any], general: Callable[..., Any], key: str = "other"
) -> Callable[..., Tensor]:
    """The in-place form of an operator: a tensor or a number alone takes the quick way of ``x += y``."""
    from .methods import _in_place

    quick, form = _in_place(InPlace(f"{name}_", function), key == "exponent"), InPlace(f"{name}_", general)
    # A number alpha as a tensor of rank 0, so that another one (a learning rate, say) needs no code of its own.
    scaled = None
    if name in ("add", "sub"):
        scaled = _of_tensors(InPlace(f"{name}_", lambda x, other, alpha: function(x, e.multiply(other, alpha))))

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            if len(args) == 1 and not kwargs:
                other = args[0]
                if other.__class__ is Tensor or isinstance(other, (Tensor, int, float)):
                    return quick(self, other)
            if scaled is not None and len(args) == 1 and kwargs.keys() == _ALPHA:
                alpha = kwargs["alpha"]
                fits = alpha.__class__ is int or (alpha.__class__ is float and self._spec.dtype.is_floating)
                if fits and state.trace is None:
                    other = args[0] if isinstance(args[0], Tensor) else _operand(form.name, key, args[0])
                    return scaled(self, other, scalar_like(form.name, alpha, self._spec))
            if isinstance(kwargs.get("alpha"), Tensor) and state.trace is None:  # a number, as in PyTorch
                kwargs["alpha"] = CONTRACTS["Scalar"].convert(form.name, "alpha", kwargs["alpha"])
                return method(self, *args, **kwargs)
            if args:
                args = (_operand(form.name, key, args[0]), *args[1:])
            elif key in kwargs:
                kwargs[key] = _operand(form.name, key, kwargs[key])
            return form(self, *args, **kwargs)
        except Exception as error:
            leave(error)
            raise

    return _documented(method, name)


def _documented(method: Callable[..., Any], name: str) -> Callable[..., Any]:
    method.__name__ = f"{name}_"
    method.__doc__ = f"Write what ``{name}`` gives of the tensor into it; returns it."
    return method


def _copies() -> dict[str, Any]:
    """``copy_``, ``fill_`` and ``zero_``."""
    from .methods import _in_place

    quick = _in_place(copy_form)

    def copy_(self: Tensor, other: Any, non_blocking: bool = False) -> Tensor:
        """Write the values of another, broadcast and cast to this tensor's type, into it; returns it."""
        try:
            if isinstance(other, Tensor):
                if self._spec.overlaps and same_place(self, other):
                    return self  # expanded memory may be given its own values
                return quick(self, other)
            return copy_form(self, asarray(other, device=self.device))
        except Exception as error:
            leave(error)
            raise

    def fill_(self: Tensor, value: float) -> Tensor:
        """Write ``value`` everywhere; returns the tensor."""
        spec = self._spec
        if spec.overlaps:  # the same value everywhere: once in each place will do
            key = [0 if s == 0 and n != 1 else slice(None) for n, s in zip(spec.shape, spec.strides, strict=True)]
            if 0 in key:
                fill_(self[tuple(key)], value)
                return self
            shortest = min(n for n in spec.static_shape if n > 1)  # windows that overlap: along the fewest
            for part in self.unbind(spec.shape.index(shortest)):
                fill_(part, value)
            return self
        try:
            if isinstance(value, Tensor):
                if value.ndim:
                    raise ShapeError(f"fill_: the value has shape {value.shape}; it must be a number or of rank 0")
                return quick(self, value)
            if state.trace is None and isinstance(value, (bool, int, float)):
                return quick(self, scalar_like("fill_", value, self._spec))
            check_number("fill_", value, self.dtype)
            return copy_form(self, asarray(value, dtype=self.dtype, device=self.device))
        except Exception as error:
            leave(error)
            raise

    zeros: dict[Any, Tensor] = {}

    def zero_(self: Tensor) -> Tensor:
        """Write 0 everywhere; returns the tensor."""
        spec = self._spec
        if spec.overlaps or state.trace is not None:
            return fill_(self, 0)
        number = zeros.get(spec.dtype)
        if number is None:
            number = zeros[spec.dtype] = scalar_like("zero_", 0, spec)
        try:
            return quick(self, number)
        except Exception as error:
            leave(error)
            raise

    return {"copy_": guarded(copy_), "fill_": guarded(fill_), "zero_": zero_}


def _float_power(x: Any, exponent: Any) -> Any:
    from ..ops.pytorch_elementwise import float_power

    if x.dtype is not dt.float64:
        raise DTypeError(f"float_power_: the result is float64, which a tensor of {x.dtype.name} is not; cast it first")
    return float_power(x, exponent)

"""Operators and methods of Tensor: PyTorch's and the Array API's names over the public functions."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

from ..core.boundary import leave
from ..core.errors import ArgumentError, DTypeError, ShapeError
from ..core.namespace import absences
from ..core.shapes import broadcast_shapes, shown
from ..core.symbolic import SymDim
from ..graph.ir import Value
from ..ops import elementwise as e
from ..ops.indexing import _getitem, getitem_basic
from ..ops.op import Composite, state
from ..ops.operands import is_one
from ..ops.subscript import basic_name, holds_positions, normalize_key
from ..runtime import storage as storages
from ..runtime.devices import device_of
from ..runtime.program import KernelStatus
from . import along_axes, conversions, hook_methods, in_place_methods, joint_pass, layout, lines, tape
from .alias import look_of, way_to
from .arguments import guarded
from .binding import Takes, bind, named, names_of, required, sizes_given
from .caches import Cache
from .create import is_array, is_scalar
from .dispatch import SCALARS, run_single, scalar_dtype, scalar_like, view
from .in_place import InPlace
from .placing import beside
from .spec import spec_of
from .tensor import Tensor, make
from .view_methods import view_methods
from .writing import has_late, whole_form, without_late, write_item

_NUMBERS = (bool, int, float, SymDim)


def _binary(function: Composite) -> Callable[[Tensor, Any], Any]:
    """An operator's method. The signature of two tensors is looked up here; everything else takes the long way."""
    plans = function.quick
    recording, record_pair, scalars, keeps_kind = tape.recording, tape.record_pair, SCALARS, not function.reads_numbers

    def method(self: Tensor, other: Any) -> Any:
        try:
            kind = other.__class__
            if (kind is float or kind is int) and keeps_kind:
                if state.trace is not None:
                    return slow(self, other)
                number = scalars.get((kind, other if other else repr(other), self._spec.number))
                if number is None:
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
        return function(self, other)

    method.__name__ = function.name
    return method


def _reflected(function: Composite) -> Callable[[Tensor, Any], Any]:
    forward = _binary(function)

    def method(self: Tensor, other: Any) -> Any:
        try:
            if isinstance(other, _NUMBERS) and state.trace is None and not function.reads_numbers:
                if scalar_dtype(other, self._spec.dtype) is self._spec.dtype:
                    return forward(scalar_like(function.name, other, self._spec), self)
            elif not isinstance(other, _NUMBERS) and not is_array(other):
                return NotImplemented
            return function(other, self)
        except Exception as error:
            leave(error)
            raise

    return method


def _in_place(form: InPlace, reads_numbers: bool = False) -> Callable[..., Tensor]:
    """An in-place operator or method of one operand: the signature of two tensors is looked up here, everything else
    takes the long way."""
    plans, scalars, recording, name = form.quick, SCALARS, tape.recording, form.name

    def method(self: Tensor, other: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            kind = other.__class__
            if (kind is float or kind is int) and not reads_numbers:
                if type(other) is not kind:  # a size that is asked
                    return form(self, other, *args, **kwargs)
                number = scalars.get((kind, other if other else repr(other), self._spec.number))
                if number is None:
                    number = _number(name, other, self)
                if number is not None:
                    other = number
            plan = plans[self._spec, other._spec]
            mine, its = self._storage, other._storage
            if args or kwargs or its is mine or state.trace is not None or _may_overlap(mine, its):
                return form(self, other, *args, **kwargs)
            if recording.enabled:
                of = self._view
                if self._node is not None or other._node is not None or (of is not None and of.base._node is not None):
                    return form(self, other)
            if mine.is_read_only:
                return form(self, other)
            plan.run(mine, its)
            if storages.wrote(mine):
                lines.note_write(mine)
        except (KeyError, AttributeError, BufferError, KernelStatus):
            return form(self, other, *args, **kwargs)
        return self

    method.__name__ = name
    return method


def _operator(form: InPlace, reads_numbers: bool) -> Callable[[Tensor, Any], Any]:
    """An in-place operator: what is no operand is left to the other side."""
    method = _in_place(form, reads_numbers)

    def operator(self: Tensor, other: Any) -> Any:
        if other.__class__ is not Tensor and not isinstance(other, (Tensor, *_NUMBERS)) and not is_array(other):
            return NotImplemented
        return method(self, other)

    operator.__name__ = form.name
    return operator


def _may_overlap(a: Any, b: Any) -> bool:
    """Whether two storages may be of common memory: not two blocks, nor parts of two."""
    return a.root is b.root or a.root.owner is not None or b.root.owner is not None


def _number(name: str, value: Any, like: Tensor) -> Tensor | None:
    """A Python number as a tensor of rank 0 of the dtype of another, if its kind fits."""
    if state.trace is not None or scalar_dtype(value, like._spec.dtype) is not like._spec.dtype:
        return None
    return scalar_like(name, value, like._spec)


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
        setattr(Tensor, f"__i{short}__", _operator(InPlace(short, function), function.reads_numbers))
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
    method.__doc__, method.__wrapped__ = function.__doc__, function  # type: ignore[attr-defined]
    return method


# Methods that are public functions with the tensor as first argument, by module of weft.ops; "name=function" renames.
_METHODS = {
    "elementwise": "astype",
    "indexing": "take_along_axis",
    "activation": "softmax log_softmax gelu",
    "sampling": "multinomial",
}
# The same, of functions whose parameters have no names; those of the methods have PyTorch's.
_NAMED = {
    "contraction": "matmul",
    "shape": "broadcast_to moveaxis movedim=moveaxis swapaxes swapdims=swapaxes",
}


def _install_methods() -> None:
    for table, method_of in ((_METHODS, lambda _, function: _method(function)), (_NAMED, named)):
        for module_name, names in table.items():
            module = importlib.import_module(f"weft.ops.{module_name}")
            for entry in names.split():
                name, _, source = entry.partition("=")
                _install(name, method_of(name, getattr(module, source or name)))
    for name, method in {**along_axes.METHODS, **in_place_methods.methods()}.items():
        _install(name, method)


def _install(name: str, method: Any) -> None:
    """Give the class a method. What ``help`` shows of one that binds its arguments itself is what it takes."""
    if isinstance(method, FunctionType) and method.__code__.co_flags & _VARIABLE:
        plain = name.removesuffix("_")
        known = (vars(Takes).get(key) for key in (name, plain, method.__name__.removesuffix("_")))
        declared = next(filter(None, known), getattr(Tensor, plain, None) if plain != name else None)
        if declared is not None and not name.startswith("__"):
            method.__wrapped__ = declared  # type: ignore[attr-defined]
    shown = inspect.unwrap(method)
    if shown is not method and isinstance(method, FunctionType):
        method.__annotations__ = shown.__annotations__  # what typing.get_type_hints shows, as inspect.signature does
    setattr(Tensor, name, method)


_VARIABLE = 12  # inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


# --- methods that are more than a function --------------------------------------------------------------------------


def getitem(self: Tensor, key: Any) -> Any:
    """``x[key]`` with NumPy's rules: a view where the key is of integers, slices, None and Ellipsis alone."""
    name = None
    if state.trace is None:
        spec = self._spec
        if key.__class__ is int and spec.shape:
            size = spec.shape[0]
            at = key + size if key < 0 else key
            if 0 <= at < size:
                row = spec.row
                if row is None:
                    row = spec.row = spec_of(spec.dtype, spec.shape[1:], spec.strides[1:], spec.device)
                made = view(self, row, at * spec.strides[0] * spec.dtype.itemsize if spec.extent else 0, at)
                if self._node is not None and recording.enabled:
                    tape.record_view(look_of(spec, at), self, made)
                return made
        else:
            name = basic_name(key if key.__class__ is tuple else (key,))
            place = _places.get((spec, name)) if name is not None else None
            if place is not None:
                part, offset, step, way = place
                made = view(self, part, offset, step)
                if self._node is not None and recording.enabled:
                    tape.record_view(way, self, made)
                return made
    try:
        if state.trace is None:
            if name is None:
                plain = _with_numbers(key)
                if plain is not key:
                    return getitem(self, plain)
        elif has_late(key):
            return late_item(self, key)
        subscript, arrays = normalize_key(key, self.shape)
        found = _getitem(self, subscript, *beside(self, arrays)) if arrays else getitem_basic(self, subscript)
        if state.trace is None and name is not None:
            _learn(self, name, found)
        return found
    except Exception as error:
        leave(error)
        raise


recording = tape.recording
_places = Cache()  # of basic keys: spec, byte offset, step and way of the view


def _with_numbers(key: Any) -> Any:
    """A key with integer tensors of rank 0 as the numbers that they are: they select, which is a view."""
    if isinstance(key, tuple):
        entries = tuple([_with_numbers(k) if isinstance(k, Tensor) else k for k in key])
        return entries if any(a is not b for a, b in zip(entries, key, strict=True)) else key
    if isinstance(key, Tensor) and not key._spec.shape and holds_positions(key._spec.dtype):
        return int(key)
    return key


def _learn(source: Tensor, name: Any, found: Tensor) -> None:
    """Remember where a basic key leads."""
    if found._view is not None:
        _places.keep((source._spec, name), way_to(source, found))


def late_item(self: Tensor, key: Any) -> Tensor:
    """``x[key]`` with a number that is known at run time: what eager code has as a view is a copy, so neither may be
    written while both are there."""
    found: Tensor = getitem(self, without_late(key))
    assert state.trace is not None
    if state.trace.capture is not None:
        state.trace.capture.may_share(found, [self])
    return found


def setitem(self: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``: writes into the tensor, and so into all that shares its memory."""
    try:
        if not _set_quickly(self, key, value):
            write_item(self, without_late(key) if state.trace is not None else key, value)
    except Exception as error:
        leave(error)
        raise


def _set_quickly(self: Tensor, key: Any, value: Any) -> bool:
    """``x[key] = value`` where the signature is known and no history is touched: no view is made."""
    if state.trace is not None:
        return False
    spec, kind = self._spec, value.__class__
    if kind is float or kind is int:
        value = SCALARS.get((kind, value if value else repr(value), spec.number))
        if value is None:
            return False
    elif kind is not Tensor:
        return False
    if key.__class__ is int:
        place, sizes = spec.row, spec.static_shape
        if place is None or not -sizes[0] <= key < sizes[0]:
            return False
        offset = key % sizes[0] * spec.strides[0] * spec.dtype.itemsize if spec.extent else 0
    else:
        name = basic_name(key if key.__class__ is tuple else (key,))
        found = _places.get((spec, name)) if name is not None else None
        if found is None:
            return False
        place, offset, _, _ = found
    plan = whole_form.quick.get((place, value._spec))
    mine, its = self._storage, value._storage
    if plan is None or mine.__class__ is Value or its.__class__ is Value or _may_overlap(mine, its):
        return False
    of = self._view
    history = self._node is not None or value._node is not None or (of is not None and of.base._node is not None)
    if (history and recording.enabled) or mine.is_read_only:
        return False
    plan.run(storages.tail(mine, offset) if offset else mine, its)
    if storages.wrote(mine):
        lines.note_write(mine)
    return True


def iterate(self: Tensor) -> Iterator[Tensor]:
    """The slices along the first axis."""
    if self.ndim == 0:
        raise TypeError("iteration over a tensor of rank 0")
    return (self[i] for i in range(len(self)))


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
    names = names_of(name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        given = bind(names, args, kwargs)
        (other,) = required(name, given, "other")
        alpha = given.get("alpha", 1)
        known = is_one(alpha, other.dtype) if isinstance(other, Tensor) else alpha == 1
        return function(self, other if known else e.multiply(other, alpha))

    method.__doc__ = function.__doc__
    return method


def div(self: Tensor, *args: Any, **kwargs: Any) -> Any:
    """The quotient; with ``rounding_mode="floor"`` or ``"trunc"`` rounded down or toward zero, in PyTorch's dtype."""
    given = bind(names_of("div"), args, kwargs)
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


def _like(name: str) -> Callable[..., Tensor]:
    def method(
        self: Tensor, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any
    ) -> Tensor:
        from ..ops import creation

        place = self._spec.device if device is None else device_of(device, f"new_{name}")
        sizes = sizes_given(names_of(f"new_{name}"), size, named)
        made: Tensor = getattr(creation, name)(sizes, dtype=self.dtype if dtype is None else dtype, device=place)
        return made.requires_grad_() if requires_grad else made

    method.__name__, method.__doc__ = f"new_{name}", f"``wf.{name}`` with this tensor's dtype, on its device."
    return method


def new_full(
    self: Tensor,
    size: int | Sequence[int],
    fill_value: float,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """``wf.full`` with this tensor's dtype, on its device."""
    from ..ops.creation import full

    place = self._spec.device if device is None else device_of(device, "new_full")
    made: Tensor = full(size, fill_value, dtype=self.dtype if dtype is None else dtype, device=place)
    return made.requires_grad_() if requires_grad else made


def new_tensor(
    self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``wf.tensor`` with this tensor's dtype, on its device: a copy of ``data`` without history."""
    from .create import tensor

    place = self._spec.device if device is None else device_of(device, "new_tensor")
    return tensor(data, dtype=self.dtype if dtype is None else dtype, device=place, requires_grad=requires_grad)


def nonzero(self: Tensor, *, as_tuple: bool = False) -> Any:
    """The positions of the elements that are not 0, in row-major order: a row of int64 for each, of shape (n, ndim);
    with ``as_tuple`` a vector for each axis, as ``wf.nonzero`` gives them."""
    from ..ops.indexing import nonzero as positions
    from ..ops.pieces import stack

    each = positions(self)
    return each if as_tuple else stack(each, axis=1)


def argwhere(self: Tensor) -> Any:
    """What ``x.nonzero()`` gives: a row of int64 for the position of each element that is not 0."""
    return nonzero(self)


def ravel(self: Tensor) -> Any:
    """The elements in row-major order as one axis: a view of a contiguous tensor, a copy of any other."""
    return self.contiguous().view(-1)


def where(self: Tensor, condition: Tensor, other: Any) -> Any:
    """The element where ``condition`` is True, else ``other``."""
    return e.where(condition, self, other)


def repeat(self: Tensor, *repeats: Any, **named: Any) -> Any:
    """PyTorch's repeat: the tensor as a whole, so many times along each axis (NumPy's ``tile``)."""
    from ..ops.pieces import tile as function

    times = sizes_given(names_of("repeat"), repeats, named)
    if len(times) < self.ndim:
        raise ShapeError(
            f"repeat: {times} for a tensor of shape {self.shape}: a number for each axis is wanted, and more for new "
            "ones in front (wf.repeat repeats elements, tile the last axes)"
        )
    return function(self, times)


def tile(self: Tensor, *dims: Any, **named: Any) -> Any:
    """The tensor as a whole, so many times along each of the last axes; along new ones in front, where there are more
    numbers than axes."""
    from ..ops.pieces import tile as function

    return function(self, sizes_given(names_of("tile"), dims, named))


def trace(self: Tensor) -> Any:
    """The sum of the diagonal of a matrix."""
    from ..ops.linalg import trace as function

    if self.ndim != 2:
        raise ShapeError(f"trace: a tensor of shape {self.shape}: wants a matrix; wf.linalg.trace takes stacks of them")
    return function(self)


def has_element(self: Tensor, value: Any) -> Tensor:
    """Whether any element is equal to ``value``, as a tensor.

    Raises:
        DTypeError: it is neither a number nor a tensor.
    """
    if not isinstance(value, (*_NUMBERS, Tensor)) and not is_scalar(value):
        raise DTypeError(f"in: {type(value).__name__} in a tensor; a number or a tensor may be an element of it")
    found: Tensor = e.equal(self, value)
    return found.any()


def contains(self: Tensor, value: Any) -> bool:
    """``value in x``: whether any element is equal to it, as in PyTorch."""
    return bool(has_element(self, value))


def _product(name: str, first: int, second: int, function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """PyTorch's ``dot``, ``mv``, ``mm`` and ``bmm``: products of operands of these ranks, which do not broadcast."""
    wanted = f"rank {first}" if first == second else f"rank {first} and rank {second}"

    def method(self: Tensor, other: Any) -> Any:
        ranks = (self.ndim, getattr(other, "ndim", second))
        if ranks != (first, second):
            raise ShapeError(f"{name}: operands of rank {ranks[0]} and {ranks[1]}: wants {wanted}; matmul takes others")
        if first == 3 and self.shape[0] != getattr(other, "shape", self.shape)[0]:
            raise ShapeError(f"{name}: {self.shape} and {other.shape}: the batches differ; matmul broadcasts them")
        return function(self, other)

    method.__name__, method.__doc__ = name, f"``matmul`` of two operands of {wanted}."
    return method


def allclose(self: Tensor, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are equal within ``atol + rtol * |other|``; the shapes broadcast, the dtypes may differ."""
    import numpy as np

    from .create import asarray

    other = asarray(other)
    broadcast_shapes(self.shape, other.shape, op="allclose")
    self, other = self.cpu(), other.cpu()
    wide = (x.numpy().astype(np.float32) if x.dtype.name == "bfloat16" else x.numpy() for x in (self, other))
    return bool(np.allclose(next(wide), next(wide), float(rtol), float(atol), equal_nan))


def _install_special() -> None:
    from ..ops.contraction import matmul, outer, vecdot

    arithmetic = {
        "add": _of_two("add", Tensor.__add__, _scaled("add", e.add)),
        "sub": _of_two("sub", Tensor.__sub__, _scaled("sub", e.subtract)),
        "mul": _of_two("mul", Tensor.__mul__, named("mul", e.multiply)),
        "div": _of_two("div", Tensor.__truediv__, div),
    }
    special: dict[str, Any] = {
        "__getitem__": getitem,
        "__setitem__": setitem,
        "__iter__": iterate,
        "__contains__": contains,
        "__hash__": object.__hash__,
        **conversions.METHODS,
        "numel": layout.nelement,
        "dim": layout.ndimension,
        "clone": _method(e.clone),
        **arithmetic,
        "subtract": arithmetic["sub"],
        "multiply": arithmetic["mul"],
        "divide": arithmetic["div"],
        "true_divide": arithmetic["div"],
        "dot": named("dot", _product("dot", 1, 1, vecdot)),
        "mm": named("mm", _product("mm", 2, 2, matmul)),
        "bmm": named("bmm", _product("bmm", 3, 3, matmul)),
        "mv": named("mv", _product("mv", 2, 1, matmul)),
        "trace": trace,
        **layout.METHODS,
        **hook_methods.METHODS,
        "outer": named("outer", outer),
        "new_empty": _like("empty"),
        "new_full": new_full,
        "new_tensor": new_tensor,
        "new_zeros": _like("zeros"),
        "new_ones": _like("ones"),
        "nonzero": nonzero,
        "argwhere": argwhere,
        "ravel": ravel,
        "where": where,
        "repeat": repeat,
        "tile": tile,
        "allclose": allclose,
    }
    for name, value in special.items():
        takes = {*getattr(value, "__annotations__", ())} - {"self", "return"}
        checks = takes and not name.startswith("__")  # x[i] is checked further down
        _install(name, guarded(value) if checks else value)
    for name, value in view_methods().items():
        _install(name, value)
    for name, value in {**in_place_methods.in_place_methods(arithmetic), **layout.restriding_methods()}.items():
        _install(name, value)


for absence in absences("Tensor"):  # first: what is there is written over it
    setattr(Tensor, absence.name, absence)
_install_operators()
_install_methods()
_install_special()
tape.run_joint = joint_pass.run_joint  # type: ignore[attr-defined]

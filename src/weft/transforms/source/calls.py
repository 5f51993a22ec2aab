"""What rewritten code calls in the place of a function: the rewritten one, or what a builtin means for values."""

from __future__ import annotations

import builtins
import contextlib
import functools
import heapq
import itertools
import operator
import sys
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from ...core import dtypes as dt
from ...core.asked import Asked
from ...core.dtypes import DType
from ...core.errors import CaptureError
from ...core.symbolic import SymDim
from ...ops import elementwise as ew
from ...ops.creation import full
from ...ops.op import state
from ...ops.operands import as_operand, weak_dtype
from ...ops.pieces import stack
from ...ops.shape import broadcast_to, permute_dims
from ...tensor import create
from ...tensor.tensor import Tensor
from . import effects
from .find import converted, in_place, is_rewritten
from .mixed import Mixed
from .number import Number, as_number, by_python, needed, number_of
from .operators import BY_FUNCTION, asking, compared, has_order, sorted_, sum_, tested
from .reads import (
    entered,
    getattr_,
    gone_through,
    hasattr_,
    in_,
    is_,
    is_not,
    item_of,
    next_,
    noting,
    plain,
    type_,
    vars_,
)
from .signals import Stop
from .stacked import Stacked
from .unseen import looking, made_of, unseen
from .writes import IN_C, in_place_of, journal, managed


class Count:
    """A range whose bounds are sizes of a scope, or values."""

    def __init__(self, start: Any, stop: Any, step: Any):
        self.start, self.stop, self.step = start, stop, step

    @property
    def rounds(self) -> Any:
        """How many numbers there are."""
        if self.step == 1 and self.start == 0:
            found = self.stop
        else:
            if not isinstance(self.step, int) or self.step == 0:
                raise CaptureError("range() in captured code: a step that is a value")
            if self.step > 0:
                found = (self.stop - self.start + (self.step - 1)) // self.step
            else:
                found = (self.start - self.stop + (-self.step - 1)) // -self.step
        if type(found) is Number:
            return Number(int, ew.maximum(found.tensor, 0), found.most)
        return found if found > 0 else 0

    def __iter__(self) -> Any:
        rounds = self.rounds
        if type(rounds) is Number:
            raise CaptureError("range() of a tensor's value in captured code: only a for statement may go through it")
        return iter(range(int(self.start), int(self.stop), int(self.step)))

    def __len__(self) -> int:
        return int(self.rounds)


class Pairs:
    """``zip`` or ``enumerate`` of things of which a loop node may be made."""

    def __init__(self, *iterables: Any):
        self.iterables = iterables

    def __iter__(self) -> Any:
        return builtins.zip(*self.iterables)


def call(called: Any) -> Callable[..., Any]:
    """What is called in the place of ``called``."""
    trace = state.trace
    if trace is None or trace.capture is None:
        return called
    if isinstance(called, SymDim):  # x.size, which is a number and can be called: a look-up would ask for the number
        return called  # type: ignore[return-value]
    kind = type(called)
    if kind is FunctionType:
        made = managed(called)
        if made is not called:
            return made
        made = converted(called)
        if made is not called or is_rewritten(called.__code__):
            return made
        if called.__module__ is not None and called.__module__.startswith("weft."):
            return _functions().get(called) or looking(called)
        return unseen(trace.capture, called)
    if kind is MethodType:
        owner = called.__self__
        if isinstance(owner, Tensor):
            if called.__name__ == "item" and type(owner) is Tensor:
                return functools.partial(_item, owner)
            return looking(called)
        changing = in_place_of(called) or _of_stack(called, owner)
        if changing is not None:
            return changing
        made = converted(called)
        return made if made is not called else unseen(trace.capture, called)
    if kind in IN_C:
        changing = in_place_of(called)
        if changing is not None:
            return changing
    if kind is BuiltinFunctionType and called.__module__ == "math":
        return functools.partial(_math, called)
    try:
        special = _BUILTINS.get(called) or _functions().get(called)
    except TypeError:  # no hash
        special = None
    if special is not None:
        return special
    if isinstance(called, type):
        return made_of(trace.capture, called)
    found = converted(called)
    return found if found is not called else unseen(trace.capture, called)


def _of_stack(called: Any, owner: Any) -> Callable[..., Any] | None:
    """A method of a ``contextlib.ExitStack``, which enters managers and calls functions unseen."""
    if isinstance(owner, contextlib.ExitStack):
        if called.__name__ == "enter_context":
            return lambda manager: called(entered(manager))
        if called.__name__ == "callback":
            return lambda function, /, *args, **kwargs: called(call(function), *args, **kwargs)
    return None


def decorator(called: Any) -> Callable[..., Any]:
    """What is called in the place of a decorator; a library's gets the function that it is for, and leaves it alone."""
    if type(called) in IN_C:
        return call(called)
    return converted(called) if type(called) in (FunctionType, MethodType) else called


def _is_value(x: Any) -> bool:
    return isinstance(x, Tensor) or type(x) is Number


def _range(*args: Any) -> Any:
    if not any(isinstance(a, (Asked, Tensor)) or type(a) is Number for a in args):
        return range(*args)
    args = tuple(number_of(a) if isinstance(a, Tensor) else a for a in args)
    start, stop, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
    return Count(start, stop, step)


def _may_stage(x: Any) -> bool:
    return (isinstance(x, Tensor) and x.ndim > 0) or type(x) in (Count, Pairs)


def _zip(*iterables: Any, strict: bool = False) -> Any:
    staged = any(map(_may_stage, iterables)) and all(_may_stage(x) or type(x) is range for x in iterables)
    if staged and not strict:
        return Pairs(*iterables)
    return builtins.zip(*iterables, strict=strict)


def _enumerate(iterable: Any, start: int = 0) -> Any:
    if _may_stage(iterable) and type(start) is int and isinstance(iterable, Tensor):
        return Pairs(Count(start, iterable.shape[0] + start, 1), iterable)
    return builtins.enumerate(iterable, start)


def _len(x: Any) -> Any:
    return x.shape[0] if isinstance(x, Tensor) and x.ndim else len(x)


def _int(*args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs and _is_value(args[0]):
        number = _number(args[0])
        return number.to(int) if number.kind is not float else by_python(int, int, number)  # of NaN it raises
    return int(*args, **kwargs)


def _type(*args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and not kwargs:
        return args[0].kind if type(args[0]) is Number else type_(args[0])
    return type(*args, **kwargs)


def _float(*args: Any) -> Any:
    if len(args) == 1 and type(args[0]) is Mixed:
        return args[0].number
    return _number(args[0]).to(float) if len(args) == 1 and _is_value(args[0]) else float(*args)


def _bool(*args: Any) -> Any:
    if len(args) == 1 and _is_value(args[0]):
        from .branches import predicate

        return Number(bool, predicate(args[0]))
    return bool(*args)


def _number(x: Any) -> Number:
    return x if type(x) is Number else number_of(x)


def _item(self: Tensor) -> Any:
    from ...core.errors import ShapeError

    if self.size != 1:
        raise ShapeError(f"item: a tensor of shape {self.shape} has {self.size} elements, not one")
    return number_of(self)


_WHOLE = {"floor", "ceil", "trunc", "factorial", "isqrt", "comb", "perm", "gcd", "lcm"}
_ASKING = {"isnan", "isinf", "isfinite", "isclose"}


def _math(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function of Python's ``math``, of numbers some of which are known at run time."""
    if kwargs or not any(type(a) is Number for a in args):
        return function(*args, **kwargs)
    numbers = [as_number(a) for a in args]
    name = function.__name__
    if any(n is None for n in numbers) or name in ("fsum", "prod", "frexp", "modf", "sumprod", "dist", "hypot"):
        raise CaptureError(f"math.{name} of a number that captured code computes at run time; use tensors")
    kind = int if name in _WHOLE else bool if name in _ASKING else float
    return by_python(function, kind, *[n for n in numbers if n is not None])


def _made_of(name: str, value: Any, dtype: DType) -> Any:
    """A number as a tensor of rank 0, which has to fit as eager code says."""
    if type(value) is not Number:
        return as_operand(name, value, dtype)
    if dtype.is_integer and value.kind is float and state.trace is not None and state.trace.capture.has_numbers:
        raise needed(value, f"{name} of an integer dtype")
    if (dtype.is_integer and dtype is not dt.int64) or (name == "full" and dtype.is_floating):
        value.check_fits(name, dtype)
    return as_operand(name, value, dtype)


def _full(plain: Callable[..., Any], shape: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    """A tensor full of a number that is known at run time."""
    if type(value) is not Number or args or kwargs.keys() - {"dtype"}:
        return plain(shape, value, *args, **kwargs)
    dtype = kwargs.get("dtype")
    made = _made_of("full", value, weak_dtype(value) if dtype is None else dt.as_dtype(dtype))
    return ew.clone(broadcast_to(made, shape if isinstance(shape, tuple) else (shape,)))


def _any(iterable: Any) -> Any:
    items = list(iterable)
    if not any(map(_is_value, items)):
        return any(map(tested, items))
    from . import flow

    return _bool(flow.or_(_bool(items[0]), *[(lambda x=x: _bool(x)) for x in items[1:]]))


def _all(iterable: Any) -> Any:
    items = list(iterable)
    if not any(map(_is_value, items)):
        return all(map(tested, items))
    from . import flow

    return _bool(flow.and_(_bool(items[0]), *[(lambda x=x: _bool(x)) for x in items[1:]]))


def _extreme(name: str) -> Callable[..., Any]:
    plain = getattr(builtins, name)

    def best(*args: Any, **kwargs: Any) -> Any:
        items = list(args[0]) if len(args) == 1 and type(args[0]) in (list, tuple) else list(args)
        if kwargs or len(items) < 2 or not any(_is_value(item) or type(item) is Mixed for item in items):
            if not kwargs and has_order(items):
                return _best_of(items, "gt" if name == "max" else "lt")
            return plain(*args, **_with_key(kwargs))
        from . import flow

        kinds = {item.kind if type(item) is Number else type(item) for item in items}
        mixed = kinds == {int, float} or (Mixed in kinds and kinds <= {int, float, Mixed})
        if mixed:
            items = [_as_float(item) for item in items]
        found = items[0]
        for item in items[1:]:
            better = item > found if name == "max" else item < found
            found = flow.if_exp(better, functools.partial(_itself, item), functools.partial(_itself, found))
        return Mixed(found) if mixed else found

    return best


def _best_of(items: list[Any], better: str) -> Any:
    """The first of the greatest or least, of objects of the user's."""
    found = items[0]
    for item in items[1:]:
        if tested(compared(better, item, found)):
            found = item
    return found


def _as_float(item: Any) -> Number:
    """A number as one of run time, and a float."""
    if type(item) is Mixed:
        return item.number
    number = as_number(item)
    if number is None:
        raise CaptureError(f"min or max of {item}, which is beyond 64 bits, and a number of run time")
    return number.to(float)


def _itself(value: Any) -> Any:
    return value


def _print(*values: Any, **kwargs: Any) -> None:
    effects.print_(*values, **kwargs)


def _stop(*args: Any, **kwargs: Any) -> None:
    raise Stop


def _str(*args: Any, **kwargs: Any) -> Any:
    if len(args) == 1 and effects.holds_values(args[0]):
        return effects.Text(effects.text_of(args[0]))
    return str(*args, **kwargs)


def _repr(x: Any) -> Any:
    if _is_value(x):
        return effects.Text([effects.Shown(x, ord("r"), "")])
    return effects.Text(effects.text_of(x)) if effects.holds_values(x) else repr(x)


def _globals() -> dict[str, Any]:
    """``globals()``, of the rewritten function that calls this."""
    found, names = sys._getframe(1).f_globals, noting()
    if names is not None:
        names.outside[id(found)] = found  # not to be remembered as a dict of the program's: its items are variables
    return found


def _with_functions(plain: Callable[..., Any], at: int | None = 0) -> Callable[..., Any]:
    """A builtin that calls a function it is given, its argument ``at``, or one that has the name ``key``."""

    def run(*args: Any, **kwargs: Any) -> Any:
        given = [in_place(a) if n == at else a for n, a in enumerate(args)]
        return plain(*given, **_with_key(kwargs))

    return run


def _with_key(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: in_place(v) if k in _KEYS else v for k, v in kwargs.items()}


_KEYS = {"key", "func", "function", "predicate"}  # the names that functions have among what builtins get


def _looked_at(special: Callable[..., Any], deep: bool = True) -> Callable[..., Any]:
    return looking(special, deep=deep)


def _iter(*args: Any) -> Any:
    return iter(gone_through(args[0]), *args[1:])


_BUILTINS: dict[Any, Callable[..., Any]] = {
    range: _range,
    zip: _looked_at(_zip, False),
    enumerate: _looked_at(_enumerate, False),
    len: asking("__len__", _looked_at(_len, False), len),
    abs: asking("__abs__", _looked_at(abs)),
    round: asking("__round__", _looked_at(round)),
    int: asking("__int__", _looked_at(_int), int),
    float: asking("__float__", _looked_at(_float), float),
    bool: lambda *args: _bool(*map(tested, args)),
    sum: sum_,
    any: _looked_at(_any),
    all: _looked_at(_all),
    max: _looked_at(_extreme("max")),
    min: _looked_at(_extreme("min")),
    print: _looked_at(_print),
    str: _looked_at(_str),
    repr: _looked_at(_repr),
    sorted: lambda *args, **kwargs: sorted_(*args, **_with_key(kwargs)),
    breakpoint: _stop,
    iter: _iter,
    next: next_,
    getattr: getattr_,
    hasattr: hasattr_,
    vars: vars_,
    globals: _globals,
    type: _type,
    object.__getattribute__: plain,
    operator.getitem: item_of,
    operator.is_: is_,
    operator.is_not: is_not,
    operator.contains: lambda of, key: in_(key, of),
    **BY_FUNCTION,
}
_CALLING: dict[Any, int] = {  # and where among their arguments the function is
    **dict.fromkeys((map, filter, functools.reduce, itertools.starmap), 0),
    **dict.fromkeys((itertools.takewhile, itertools.dropwhile, itertools.filterfalse), 0),
    **dict.fromkeys((itertools.accumulate, itertools.groupby), 1),
    **dict.fromkeys((heapq.nlargest, heapq.nsmallest), 2),
}
for _called, _at in _CALLING.items():
    _BUILTINS[_called] = _looked_at(_with_functions(_called, _at))


def _stack(*args: Any, **kwargs: Any) -> Any:
    rows = args[0] if len(args) == 1 and type(args[0]) is Stacked else None
    found, axis = None if rows is None else rows.stacked(), kwargs.get("axis", 0)
    known = type(axis) is int and kwargs.keys() <= {"axis"}
    if found is None or not known or not -found.ndim <= axis < found.ndim:  # the function says what is wrong
        return stack(*[list(a) if type(a) is Stacked else a for a in args], **kwargs)
    axis += found.ndim if axis < 0 else 0
    if not axis:
        return found + 0 if found.dtype.is_integer else found
    order = [*range(1, axis + 1), 0, *range(axis + 1, found.ndim)]
    return permute_dims(found, order)


def _asarray(plain: Callable[..., Any], value: Any, *args: Any, **kwargs: Any) -> Any:
    """A tensor of numbers that are known at run time, or of sizes, in a list or by themselves.

    Raises:
        CaptureError: of an array that the function has changed, which runs would read before they change it.
    """
    noted = journal()
    if noted is not None and id(value) in noted.first:
        raise CaptureError(
            "a tensor of an array that captured code has changed before: make the tensor first, or change a tensor"
        )
    values = list(value) if type(value) in (list, tuple) else [value]
    if not any(type(v) in (Number, Asked) for v in values) or args or kwargs.keys() - {"dtype"}:
        return plain(value, *args, **kwargs)
    kinds = {v.__class__ if not isinstance(v, Tensor) else None for v in values}
    kind = float if float in kinds else int if int in kinds else bool
    dtype = kwargs.get("dtype") or {float: dt.default_float, int: dt.default_int, bool: dt.bool_}[kind]
    wanted = dt.as_dtype(dtype)
    made = [ew.cast(v, wanted) if isinstance(v, Tensor) else _made_of("asarray", v, wanted) for v in values]
    return stack(made) if type(value) in (list, tuple) else ew.clone(made[0])  # which may be written


@functools.cache
def _functions() -> dict[Any, Callable[..., Any]]:
    """Functions of weft's that take more than tensors in rewritten code."""
    found: dict[Any, Callable[..., Any]] = {stack: looking(_stack)}
    for function in (create.asarray, create.tensor):  # as the package shows them: it has replaced them by now
        found[function] = looking(functools.partial(_asarray, function), by_reference=function is create.asarray)
    found[full] = looking(functools.partial(_full, full))
    return found

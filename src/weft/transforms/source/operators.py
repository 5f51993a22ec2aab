"""What rewritten code calls for operators: of objects of the user's, whose methods Python would call unseen.

``a + b`` calls ``__add__`` of one or ``__radd__`` of the other; ``a < b``, ``-a``, ``len(a)``, ``if a:`` ask methods
too. In a capture such a method is rewritten, so that what it reads is guarded and what it writes happens at every run.
They are asked in Python's order (the data model's "3.3.8 Emulating numeric types", and what CPython does for
sequences), each once. For tensors, numbers and what libraries bring the operators are Python's.
"""

from __future__ import annotations

import operator
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, MethodType
from typing import Any

from ...tensor.create import is_array, is_scalar
from ...tensor.guards import ABSENT
from ...tensor.tensor import Tensor
from ..names import Names, is_users
from .find import converted
from .number import Number, needed
from .reads import AT_ONCE, gone_through, look, noting, used

_SIGNS = {"add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%"}
_SIGNS |= {"pow": "** or pow()", "lshift": "<<", "rshift": ">>", "and": "&", "or": "|", "xor": "^"}
_BINARY = {name: getattr(operator, f"{name}_" if name in ("and", "or") else name) for name in _SIGNS}
_COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_COMPARING = {name: getattr(operator, name) for name in _COMPARED}
_REFLECTED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_UNARY = {name: getattr(operator, name) for name in ("neg", "pos", "invert")}
_SEQUENCES = (list, tuple, str, bytes, bytearray, deque, array)  # whose + and * come after the other's methods
Way = Callable[[], Any]


def _is_plain(value: Any) -> bool:
    return type(value) in AT_ONCE or isinstance(value, Tensor)


def _method(owner: Any, name: str) -> Any:
    """What the class of an object has under a name, and no metaclass; or ABSENT."""
    return next((k.__dict__[name] for k in type(owner).__mro__ if name in k.__dict__), ABSENT)


def own_method(names: Names, owner: Any, name: str) -> Any:
    """A method of the user's that Python would call of an object by itself, to be called; None for any other."""
    kind = type(owner)
    if kind in AT_ONCE or isinstance(owner, Tensor) or not names.is_users(kind):
        return None
    holder = next((k for k in kind.__mro__ if name in k.__dict__), object)
    found = holder.__dict__.get(name)
    if type(found) is not FunctionType or not is_users(holder.__module__):
        return None
    if not is_users(found.__globals__.get("__name__")):  # functools.total_ordering has made it
        return None
    if names.is_outside(owner) or names.is_outside(kind):
        names.method_of(kind, name, holder, found)
        names.reach(found)
    made = converted(MethodType(found, owner))
    if made.__func__ is found:  # without source: nobody sees what it reads
        look(names, owner, True)
    return made


def _native(owner: Any, name: str, *args: Any) -> Any:
    """What a method that is not the user's gives; NotImplemented where there is none."""
    found = _method(owner, name)
    if found is ABSENT:
        return NotImplemented
    return found(None, *args) if owner is None else found.__get__(owner, type(owner))(*args)


def _noted(names: Names, *values: Any, deep: bool = False) -> list[Any]:
    """Take notice of operands that Python's operator or a library's sees whole; they.

    Raises:
        CaptureError: a number of run time meets one of NumPy's, which computes in its own dtype.
    """
    for value in values:
        if not _is_plain(value):
            look(names, value, deep)
    number = next((value for value in values if type(value) is Number), None)
    if number is None or not any(map(is_array, values)):
        return list(values)
    if number.is_input or any(is_array(v) and not (is_scalar(v) and isinstance(v, float)) for v in values):
        raise needed(number, "an operation with a number or array of NumPy")
    return [float(v) if is_array(v) else v for v in values]  # of float64, as is what item() gives


# --- two operands -----------------------------------------------------------------------------------------------------


def _ways(names: Names, left: Any, here: str, right: Any, there: str, is_sequence: bool) -> list[Way] | None:
    """What Python asks for ``left + right``, in its order; None where none of it is a method of the user's.
    ``is_sequence``: the left one is one whose own way comes when all have declined."""
    first = own_method(names, left, here)
    second = None if type(left) is type(right) else own_method(names, right, there)
    if first is None and second is None:
        return None
    ways: list[Way] = []
    if first is not None:
        ways.append(lambda: first(right))
    elif not is_sequence:
        _noted(names, left, right)
        ways.append(lambda: _native(left, here, right))
    if second is not None:
        is_first = issubclass(type(right), type(left)) and _method(right, there) is not _method(left, there)
        ways.insert(0 if is_first else len(ways), lambda: second(left))
    elif type(left) is not type(right) and not isinstance(right, _SEQUENCES):
        ways.append(lambda: _native(right, there, left))
    return ways


def _asked(ways: Sequence[Way]) -> Any:
    """What the first gives that does not decline; NotImplemented: all do."""
    for way in ways:
        found = way()
        if found is not NotImplemented:
            return found
    return NotImplemented


def operated(name: str, left: Any, right: Any) -> Any:
    """``left + right``, by the name of the operator's method."""
    if not (_is_plain(left) and _is_plain(right)):
        names = noting()
        if names is not None:
            return _operated(names, name, left, right, _SIGNS[name], _BINARY[name])
    return _BINARY[name](left, right)


def _operated(names: Names, name: str, left: Any, right: Any, sign: str, pythons: Callable[..., Any]) -> Any:
    is_sequence = name in ("add", "mul") and isinstance(left, _SEQUENCES)
    ways = _ways(names, left, f"__{name}__", right, f"__r{name}__", is_sequence)
    if ways is None:
        return pythons(*_noted(names, left, right))
    found = _asked(ways)
    if found is NotImplemented and is_sequence:
        _noted(names, left, right)
        found = _native(left, f"__{name}__", right)
    if found is NotImplemented and name == "mul" and isinstance(right, _SEQUENCES):
        found = _native(right, "__rmul__", left)
    if found is NotImplemented:
        kinds = f"'{type(left).__name__}' and '{type(right).__name__}'"
        raise TypeError(f"unsupported operand type(s) for {sign}: {kinds}")
    return found


def in_place(name: str, target: Any, value: Any) -> Any:
    """``target += value``, by the name of the operator's function (``iadd``)."""
    names = None if _is_plain(target) and _is_plain(value) else noting()
    if names is None:
        return getattr(operator, name)(target, value)
    own = own_method(names, target, f"__{name}__")
    if own is not None:
        found = own(value)
        if found is not NotImplemented:
            return found
    elif _method(target, f"__{name}__") is not ABSENT:
        found = instead_of_sequence(name, target, value)
        if found is NotImplemented:
            found = getattr(operator, name)(*_noted(names, target, value))
        return found
    sign = {"ipow": "**="}.get(name, f"{_SIGNS[name[1:]]}=")
    return _operated(names, name[1:], target, value, sign, getattr(operator, name))


def instead_of_sequence(name: str, target: Any, value: Any) -> Any:
    """What a method of the user's gives for ``target += value`` of a list or the like, before that is extended;
    NotImplemented where there is none."""
    names = noting()
    if names is None or _is_plain(value) or name not in ("iadd", "imul") or not isinstance(target, _SEQUENCES):
        return NotImplemented
    own = own_method(names, value, f"__r{name[1:]}__")
    return NotImplemented if own is None else own(target)


# --- comparisons ------------------------------------------------------------------------------------------------------


def compared(name: str, left: Any, right: Any) -> Any:
    """``left < right``, by the name of the operator's method."""
    names = None if _is_plain(left) and _is_plain(right) else noting()
    if names is None:
        return _COMPARING[name](left, right)
    here, there = name, _REFLECTED[name]
    first, second = _comparing_method(names, left, here), _comparing_method(names, right, there)
    if first is None and second is None:
        return _COMPARING[name](*_noted(names, left, right, deep=True))
    if first is None:
        _noted(names, left, right)
    ways: list[Way] = [
        (lambda: first(right)) if first is not None else (lambda: _native(left, f"__{here}__", right)),
        (lambda: second(left)) if second is not None else (lambda: _native(right, f"__{there}__", left)),
    ]
    if type(left) is not type(right) and issubclass(type(right), type(left)):
        ways.reverse()
    found = _asked(ways)
    if found is not NotImplemented:
        return found
    if name in ("eq", "ne"):
        return (left is right) == (name == "eq")
    kinds = f"'{type(left).__name__}' and '{type(right).__name__}'"
    raise TypeError(f"'{_COMPARED[name]}' not supported between instances of {kinds}")


def _comparing_method(names: Names, owner: Any, name: str) -> Any:
    """A method of the user's for a comparison; ``!=`` is the opposite of ``==`` where a class does not say it."""
    own = own_method(names, owner, f"__{name}__")
    if own is not None or name != "ne" or _method(owner, "__ne__") is not object.__ne__:
        return own
    equal = own_method(names, owner, "__eq__")
    return None if equal is None else lambda other: _opposite(equal(other))


def _opposite(found: Any) -> Any:
    from .flow import not_

    return found if found is NotImplemented else not_(found)


def is_in(key: Any, items: Sequence[Any]) -> Any:
    """``key in items``, of a list or tuple, where one of them is compared by a method of the user's; NotImplemented
    where none is."""
    names = noting()
    if names is None or all(_is_plain(v) or own_method(names, v, "__eq__") is None for v in (key, *items)):
        return NotImplemented
    return any(item is key or tested(compared("eq", item, key)) for item in items)


class _Ordered:
    """An item of a sequence that is sorted, which is compared by rewritten methods."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        return bool(tested(compared("lt", self.value, other.value)))


def has_order(items: Iterable[Any]) -> bool:
    """Whether items are compared by methods of the user's."""
    names = noting()
    return names is not None and any(
        not _is_plain(item) and any(own_method(names, item, name) is not None for name in ("__lt__", "__gt__"))
        for item in items
    )


def sorted_(iterable: Iterable[Any], /, *, key: Any = None, reverse: bool = False) -> list[Any]:
    """``sorted``, of objects of the user's as well."""
    items = list(gone_through(iterable, True))
    keys = items if key is None else list(map(key, items))
    if has_order(keys):
        keys = [_Ordered(each) for each in keys]
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=reverse)
    return [items[n] for n in order]


# --- one operand ------------------------------------------------------------------------------------------------------


def unary(name: str, value: Any) -> Any:
    """``-value``, ``+value``, ``~value``."""
    names = None if _is_plain(value) else noting()
    own = None if names is None else own_method(names, value, f"__{name}__")
    return _UNARY[name](used(value)) if own is None else own()


def _checked(builtin: Callable[..., Any], owner: Any, name: str, found: Any) -> Any:
    """What a builtin makes of what the method gave that it asks of an object, which may not be what it has to be."""
    if type(found) is Number:
        return found
    return builtin(type(type(owner).__name__, (), {name: lambda self: found})())


def tested(value: Any) -> Any:
    """A value whose truth is asked for; a bool for an object of the user's that says it itself."""
    names = None if _is_plain(value) else noting()
    if names is None:
        return value
    for name in ("__bool__", "__len__"):
        own = own_method(names, value, name)
        if own is not None:
            return _checked(bool, value, name, own())
        if _method(value, name) is not ABSENT:
            break
    return used(value)


def asking(name: str, plain: Callable[..., Any], check: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A builtin that asks a method of its first argument: ``len``, ``abs``, ``float``. ``check``: the builtin itself,
    where it asks what the method gives."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if args and not _is_plain(args[0]) and not (check is not None and (kwargs or len(args) > 1)):
            names = noting()
            own = None if names is None else own_method(names, args[0], name)
            if own is not None:
                found = own(*(a for a in args[1:] if a is not None), **kwargs)
                return found if check is None else _checked(check, args[0], name, found)
        return plain(*args, **kwargs)

    return run


def sum_(iterable: Iterable[Any], /, start: Any = 0) -> Any:
    """``sum``, of objects of the user's as well: Python's own up to the first of them."""
    sum((), start)  # which says what may not be summed
    first: list[Any] = []
    items = iter(gone_through(iterable))
    for item in items:
        if not _is_plain(item):
            total = operated("add", sum(first, start), item)
            break
        first.append(item)
    else:
        return sum(first, start)
    for item in items:
        total = operated("add", total, item)
    return total


BY_FUNCTION = {function: (lambda a, b, name=name: operated(name, a, b)) for name, function in _BINARY.items()}
BY_FUNCTION |= {function: (lambda a, b, name=name: compared(name, a, b)) for name, function in _COMPARING.items()}
BY_FUNCTION |= {function: (lambda a, name=name: unary(name, a)) for name, function in _UNARY.items()}

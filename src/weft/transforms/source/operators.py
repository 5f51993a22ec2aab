"""What rewritten code calls for operators: of objects of the user's, whose methods Python would call unseen.

``a + b`` calls ``__add__`` of one or ``__radd__`` of the other; ``a < b``, ``-a``, ``len(a)``, ``if a:`` ask methods
too. In a capture such a method is rewritten, so that what it reads is guarded and what it writes happens at every run.
For tensors, numbers and what libraries bring the operators are Python's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from ...tensor.tensor import Tensor
from ..names import Names, in_class
from .find import converted
from .reads import AT_ONCE, look, noting, used

_BINARY = {
    name: getattr(operator, f"{name}_" if name in ("and", "or") else name)
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
        *("lshift", "rshift", "and", "or", "xor"),
    )
}
_COMPARING = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_REFLECTED = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
_UNARY = {name: getattr(operator, name) for name in ("neg", "pos", "invert")}
_SEQUENCES = (list, tuple, str, bytes, bytearray)  # whose + and * come after methods of the other operand


def own_method(names: Names, owner: Any, name: str) -> Any:
    """A method of the user's that Python would call of an object by itself, to be called; None for any other."""
    kind = type(owner)
    if kind in AT_ONCE or isinstance(owner, Tensor) or not names.is_users(kind):
        return None
    first = next((k for k in kind.__mro__ if name in k.__dict__), None)
    for holder, found in in_class(owner, name):
        if holder is not first or type(found) is not FunctionType:
            return None
        if names.is_outside(owner):
            names.method_of(kind, name, holder, found)
            names.reach(found)
        return converted(MethodType(found, owner))
    return None


def _method(owner: Any, name: str) -> Any:
    """What the class of an object has under a name, and no metaclass."""
    return next((k.__dict__[name] for k in type(owner).__mro__ if name in k.__dict__), None)


def _is_plain(value: Any) -> bool:
    return type(value) in AT_ONCE or isinstance(value, Tensor)


def operated(name: str, left: Any, right: Any) -> Any:
    """``left + right``, by the name of the operator's method."""
    function = _BINARY[name]
    if _is_plain(left) and _is_plain(right):
        return function(left, right)
    names = noting()
    if names is None:
        return function(left, right)
    found = _by_methods(names, f"__{name}__", f"__r{name}__", left, right, isinstance(left, _SEQUENCES))
    if found is not NotImplemented:
        return found
    return function(_seen(names, left), _seen(names, right))


def _seen(names: Names, value: Any, deep: bool = False) -> Any:
    if not _is_plain(value):
        look(names, value, deep)
    return value


def _by_methods(names: Names, here: str, there: str, left: Any, right: Any, reflected: bool) -> Any:
    """What methods of two operands give, in Python's order, if one of the two is an object of the user's that has its
    own: its ``there`` comes first if it is ``reflected``, or of a class below the other's. NotImplemented: nothing."""
    first, second = own_method(names, left, here), None
    if type(left) is not type(right):
        second = own_method(names, right, there)
    if first is None and second is None:
        return NotImplemented
    if second is not None and issubclass(type(right), type(left)):
        reflected = reflected or _method(right, there) is not _method(left, there)
    ways: list[Callable[[], Any]] = []
    if first is not None:
        ways.append(lambda: first(right))
    elif not reflected and _method(left, here) is not None:
        ways.append(lambda: getattr(type(left), here)(left, right))
    if second is not None:
        ways.insert(0 if reflected else len(ways), lambda: second(left))
    for way in ways:
        found = way()
        if found is not NotImplemented:
            return found
    return NotImplemented


def compared(name: str, left: Any, right: Any) -> Any:
    """``left < right``, by the name of the operator's method."""
    function = _COMPARING[name]
    if _is_plain(left) and _is_plain(right):
        return function(left, right)
    names = noting()
    if names is None:
        return function(left, right)
    found: Any = NotImplemented
    if name == "ne":  # which is the opposite of ``==`` where a class does not say it
        ways = [own_method(names, value, "__ne__") for value in (left, right)]
        if ways == [None, None]:
            found = _by_methods(names, "__eq__", "__eq__", left, right, False)
            found = not found if type(found) is bool else NotImplemented
    reflected = issubclass(type(right), type(left)) and type(left) is not type(right)
    if found is NotImplemented:
        found = _by_methods(names, f"__{name}__", f"__{_REFLECTED[name]}__", left, right, reflected)
    if found is not NotImplemented:
        return found
    return function(_seen(names, left, True), _seen(names, right, True))


def unary(name: str, value: Any) -> Any:
    """``-value``, ``+value``, ``~value``."""
    names = None if _is_plain(value) else noting()
    own = None if names is None else own_method(names, value, f"__{name}__")
    return _UNARY[name](used(value)) if own is None else own()


def tested(value: Any) -> Any:
    """A value whose truth is asked for; a bool for an object of the user's that says it itself."""
    if _is_plain(value):
        return value
    names = noting()
    if names is not None:
        for name in ("__bool__", "__len__"):
            own = own_method(names, value, name)
            if own is not None:
                return bool(own())
            if _method(value, name) is not None:
                break
    return used(value)


def in_place(name: str, target: Any, value: Any) -> Any:
    """``target += value``, by the name of the operator's function (``iadd``)."""
    if not (_is_plain(target) and _is_plain(value)):
        names = noting()
        if names is not None:
            own = own_method(names, target, f"__{name}__")
            found = NotImplemented if own is None else own(value)
            if found is not NotImplemented:
                return found
            if own is not None or _method(target, f"__{name}__") is None:
                return operated(name[1:], target, value)
    return getattr(operator, name)(target, value)


def asking(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A builtin that asks a method of its first argument: ``len``, ``abs``, ``str``."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if args and not _is_plain(args[0]):
            names = noting()
            own = None if names is None else own_method(names, args[0], name)
            if own is not None:
                return own(*args[1:], **kwargs)
        return plain(*args, **kwargs)

    return run


def sum_(iterable: Any, /, start: Any = 0) -> Any:
    """``sum``, of objects of the user's as well."""
    items = list(iterable)
    if all(map(_is_plain, items)) or noting() is None:
        return sum(items, start)
    for item in items:
        start = operated("add", start, item)
    return start


ON_NUMBERS = {function: (lambda a, b, name=name: operated(name, a, b)) for name, function in _BINARY.items()}
ON_NUMBERS |= {function: (lambda a, b, name=name: compared(name, a, b)) for name, function in _COMPARING.items()}
ON_NUMBERS |= {function: (lambda a, name=name: unary(name, a)) for name, function in _UNARY.items()}

"""Calls of what is not rewritten (C, libraries, code without source): what they get is what they may read.

Containers among the arguments are noted with all that they hold, functions are looked into before they run. Methods of
containers say by their names what they read; what ``functools.cache`` has kept is asked for again at each call; what
captured code may not call raises (refused.py).
"""

from __future__ import annotations

import builtins
import functools
import io
import operator
import os
import string
import sys
import warnings
import weakref
from _string import formatter_field_name_split, formatter_parser  # type: ignore[import-not-found]
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from ...core.errors import CaptureError, is_wefts_own
from ...ops.op import state, suspended
from ...tensor.tensor import Tensor
from ..contents import AROUND, is_container, is_of_bytes
from ..names import CACHED, in_class, is_made_inside, is_users
from ..tree import flatten
from .find import converted, function_of, in_place
from .number import Number, needed
from .reads import AT_ONCE, all_of, attribute, caught, is_librarys, item_of, look, noting, plain, used
from .refused import check, hangs_on_arguments, is_unseen, refusal, refused

# They look at the function that calls them, or at nothing of what they get.
_AS_THEY_ARE = {
    *(builtins.locals, builtins.dir, builtins.eval, builtins.exec, builtins.isinstance),
    *(builtins.issubclass, builtins.id, builtins.callable, builtins.setattr, builtins.delattr, builtins.super),
    *(warnings.warn, warnings.warn_explicit, sys._getframe),
}
_SHALLOW = {list, tuple, set, frozenset, reversed}
_THROUGH_ALL = {("copy", "copy"), ("copy", "deepcopy"), ("_pickle", "dumps"), ("json", "dumps")}
_THROUGH_ALL |= {("dataclasses", name) for name in ("asdict", "astuple", "replace")}
# Methods of containers.
_OF_ITEMS = {"get", "__getitem__", "__contains__", "setdefault", "pop"}
_KEEP = {"append", "appendleft", "insert", "add", "get", "setdefault", "pop", "__setitem__"}  # what they get, unread


def looking(called: Callable[..., Any], by_reference: bool = False, deep: bool = True) -> Callable[..., Any]:
    """``called``, noting what its arguments hold; ``by_reference``: but for arrays."""
    return functools.partial(_look_and_call, called, by_reference, deep)


def _look_and_call(called: Callable[..., Any], by_reference: bool, deep: bool, /, *args: Any, **kwargs: Any) -> Any:
    names = noting()
    if names is not None:
        for value in (*args, *kwargs.values()) if kwargs else args:
            if type(value) in AT_ONCE or isinstance(value, Tensor) or (by_reference and is_of_bytes(type(value))):
                continue
            look(names, value, deep)
    return called(*args, **kwargs)


def unseen(capture: Any, called: Any) -> Callable[..., Any]:
    """What is called in the place of something that is not rewritten.

    Raises:
        CaptureError: captured code may not call it.
    """
    if _is_in(called, _AS_THEY_ARE):
        return called
    kind = type(called)
    if getattr(called, "__module__", None) == "inspect":
        return called
    if kind.__module__ == "weft.transforms.compile" or (hasattr(kind, "forward") and capture.names.is_users(kind)):
        return called  # which sees to it that the user's code is rewritten
    owner = getattr(called, "__self__", None)
    if (is_container(type(owner)) or isinstance(owner, AROUND)) and not is_unseen(owner):
        return functools.partial(_method_of_container, called, owner)
    if kind is CACHED or (kind is MethodType and type(called.__func__) is CACHED):
        return functools.partial(_cached, called)
    if type(owner).__module__ == "_contextvars" or called is os.getenv or (owner is os.environ):
        return functools.partial(_asked, called)
    if isinstance(called, weakref.ref):
        return functools.partial(_referred, called)
    name = getattr(called, "__name__", "")
    if name == "format" and type(owner) is str:
        return functools.partial(_formatted, called, owner)
    if name == "__getattribute__" and owner is not None:
        return functools.partial(plain, owner)
    if kind is operator.attrgetter:
        return functools.partial(_by_name, called)
    if kind is operator.itemgetter:
        return functools.partial(_by_key, called)
    if kind is operator.methodcaller:
        return functools.partial(_by_method, called)
    why = refusal(called)
    if why is not None and _is_refused(capture, owner):
        raise refused(*why)
    if hangs_on_arguments(called):
        return functools.partial(_checked, capture, called)
    if kind is FunctionType and called.__code__ is _DISPATCHER:
        return functools.partial(_dispatched, called)
    return functools.partial(_call_unseen, called)


_DISPATCHER = functools.singledispatch(lambda _: None).__code__  # type: ignore[attr-defined]


def _dispatched(called: Any, /, *args: Any, **kwargs: Any) -> Any:
    """A call of one of several functions, which the first argument's type decides (``functools.singledispatch``)."""
    names = noting()
    if not args:
        return called(*args, **kwargs)
    function = called.dispatch(args[0].__class__)
    if names is not None and names.is_outside(called):
        names.asked(called.dispatch, (args[0].__class__,), {}, function)
    return converted(function)(*args, **kwargs)


def _is_refused(capture: Any, owner: Any) -> bool:
    """Whether a method's object was there before the function."""
    if isinstance(owner, io.IOBase) and not isinstance(owner, (io.FileIO, io.TextIOWrapper)):
        return bool(capture.names.is_outside(owner)) or owner in (sys.stdout, sys.stderr, sys.stdin)
    if is_unseen(owner):
        return bool(capture.names.is_outside(owner))
    return not any(owner is made for made in capture.generators)


def _checked(capture: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
    """A generator of random numbers that the function makes, with a seed."""
    check(called, args or tuple(kwargs.values()))
    made = called(*args, **kwargs)
    capture.generators.append(made)
    return made


# Modules of which what gets numbers computes with them as they are, keeps them, or raises.
_TAKE_NUMBERS = {"builtins", "_operator", "operator", "itertools", "functools", "_functools", "math", "copy", "types"}
_TAKE_NUMBERS |= {"collections", "_collections", "dataclasses", "contextlib", "weft"}


def _without_numbers(called: Any, args: Any, kwargs: Any) -> None:
    """Raise where a function that nobody sees gets a number of run time: it may ask for its type, or keep it."""
    trace = state.trace
    if trace is None or trace.capture is None or not trace.capture.has_numbers:
        return
    if str(getattr(called, "__module__", None)).partition(".")[0] in _TAKE_NUMBERS:
        return
    for leaf in flatten((args, kwargs))[0]:
        if type(leaf) is Number:
            raise needed(leaf, f"{getattr(called, '__name__', 'a function')}()")


def _made_without_numbers(kind: Any, make: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    _without_numbers(kind, args, kwargs)
    return make(*args, **kwargs)


def _call_unseen(called: Any, /, *args: Any, **kwargs: Any) -> Any:
    names = noting()
    if names is not None:
        _without_numbers(called, args, kwargs)
        given = (*args, *kwargs.values())
        for value in given:
            if type(value) in AT_ONCE or isinstance(value, Tensor):
                continue
            look(names, value, True)
            if isinstance(value, (FunctionType, MethodType, functools.partial)):
                names.follow(value, opaque=True)
        if type(called) is MethodType and is_librarys(type(called.__self__)):
            all_of(names, called.__self__)
        if isinstance(called, (FunctionType, MethodType)):
            if is_users(called.__module__):
                if called.__code__.co_exceptiontable and not is_wefts_own(called.__code__):
                    caught()  # perhaps: nobody sees
                names.follow(called, opaque=True, args=given)
            elif _named(called) in _THROUGH_ALL:
                for value in given:
                    all_of(names, value)
        elif _named(called) in _THROUGH_ALL:
            for value in given:
                all_of(names, value)
    return called(*args, **kwargs)


def _named(called: Any) -> tuple[Any, Any]:
    """A function's module and name."""
    return getattr(called, "__module__", None), getattr(called, "__name__", None)


def _is_in(called: Any, functions: set[Any]) -> bool:
    try:
        return called in functions
    except TypeError:  # no hash
        return False


# --- methods of containers --------------------------------------------------------------------------------------------


def _method_of_container(called: Any, owner: Any, /, *args: Any, **kwargs: Any) -> Any:
    names = noting()
    if names is not None:
        name = called.__name__
        if names.is_outside(owner):
            if isinstance(owner, dict) and name in _OF_ITEMS and args:
                names.item(owner, args[0])
            else:
                names.whole(owner)
        if name not in _KEEP:
            for value in args:
                if type(value) not in AT_ONCE and not isinstance(value, Tensor):
                    look(names, value, True)
    return called(*args, **{k: in_place(v) for k, v in kwargs.items()})  # items.sort(key=...)


class _Fields(string.Formatter):
    """``str.format``, noting the attributes and items that its fields name."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        first, rest = formatter_field_name_split(field_name)
        found = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            found = attribute(found, name) if is_attribute else item_of(found, name)
        return found, first


def _formatted(called: Any, text: str, /, *args: Any, **kwargs: Any) -> str:
    """``text.format(...)``."""
    if not any("." in (field or "") or "[" in (field or "") for _, field, _, _ in formatter_parser(text)):
        return _call_unseen(called, *args, **kwargs)
    for value in (*args, *kwargs.values()):
        used(value, True)
    return _Fields().vformat(text, args, kwargs)


def _by_name(getter: Any, of: Any) -> Any:
    """What an ``operator.attrgetter`` gives."""
    found = []
    for path in getter.__reduce__()[1]:
        value = of
        for name in path.split("."):
            value = attribute(value, name)
        found.append(value)
    return found[0] if len(found) == 1 else tuple(found)


def _by_key(getter: Any, of: Any) -> Any:
    """What an ``operator.itemgetter`` gives."""
    found = [item_of(of, key) for key in getter.__reduce__()[1]]
    return found[0] if len(found) == 1 else tuple(found)


def _by_method(caller: Any, of: Any) -> Any:
    """What an ``operator.methodcaller`` gives."""
    make, args = caller.__reduce__()
    kwargs = {}
    if type(make) is functools.partial:
        args, kwargs = (*make.args, *args), make.keywords
    return in_place(attribute(of, args[0]))(*args[1:], **kwargs)


# --- functions that are asked again -----------------------------------------------------------------------------------


def _cached(called: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What a function gives that remembers it (``functools.cache``): each call asks whether it still does."""
    names = noting()
    function = called.__func__ if type(called) is MethodType else called
    if names is None or not names.is_outside(function):
        return called(*args, **kwargs)
    if any(is_made_inside(leaf) for leaf in flatten((args, kwargs))[0]):
        raise CaptureError(
            f"{getattr(called, '__name__', 'a function')}() remembers what it gave (functools.cache), and gets a value "
            "of the captured function, which has none yet: call the function that it wraps (__wrapped__)"
        )
    with suspended():
        value = called(*args, **kwargs)
    names.asked(called, args, kwargs, value)
    return value


def _asked(called: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What a function of no effect gives: each call asks whether it still does."""
    names = noting()
    value = called(*args, **kwargs)
    if names is not None:
        names.asked(called, args, kwargs, value)
    return value


def _referred(reference: Any) -> Any:
    """What a weak reference names, while it lives."""
    names, found = noting(), reference()
    if names is not None and names.is_outside(reference):
        names.asked(_is_alive, (reference,), {}, found is not None)  # which holds nothing alive
        names.reach(found)
    return found


def _is_alive(reference: Any) -> bool:
    return reference() is not None


# --- objects ----------------------------------------------------------------------------------------------------------


def made_of(capture: Any, kind: type) -> Callable[..., Any]:
    """What makes an object of a class: ``__init__`` of the user's is rewritten."""
    if not is_users(kind.__module__):
        if hangs_on_arguments(kind):
            return functools.partial(_checked, capture, kind)
        why = refusal(kind)
        if why is not None:
            raise refused(*why)
        return functools.partial(_made_without_numbers, kind, looking(kind, deep=kind not in _SHALLOW))
    init = kind.__init__  # type: ignore[misc]
    if type(kind).__call__ is not type.__call__ or type(init) is not FunctionType:
        return kind
    names = capture.names
    if names.is_outside(kind):
        for holder, found in in_class(kind, "__init__"):
            names.method_of(kind, "__init__", holder, found)
            break
    if function_of(init) is init:
        for function in (init, getattr(kind, "__post_init__", None)):  # of a dataclass, say
            if type(function) is FunctionType:
                names.reach(function) if names.is_outside(kind) else None
                names.follow(function, opaque=True)
        return kind
    return functools.partial(_construct, kind, init)


def _construct(kind: Any, init: FunctionType, /, *args: Any, **kwargs: Any) -> Any:
    new: Any = kind.__new__
    made = new(kind) if new is object.__new__ else new(kind, *args, **kwargs)
    if isinstance(made, kind):
        own: Any = init if type(made) is kind else type(made).__init__
        converted(MethodType(own, made))(*args, **kwargs)
    return made

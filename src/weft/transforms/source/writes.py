"""What rewritten code calls where it changes Python objects: ``a.b = v``, ``d[k] = v``, ``del``, ``log.append(x)``.

In a capture each is done at once and noted in its journal (../journal.py); else it is what Python does. Setters that
are written in Python (``__setattr__``, properties, ``__setitem__``) are captured by themselves: what counts is what
they store.
"""

from __future__ import annotations

import bisect
import contextlib
import heapq
import operator
import threading
from collections import ChainMap, Counter, UserDict, UserList, defaultdict, deque
from collections.abc import Callable
from functools import partial
from types import BuiltinMethodType, FunctionType, MemberDescriptorType, ModuleType
from typing import Any

from ...core.asked import Asked
from ...core.errors import is_wefts_own
from ...ops.op import state
from ...tensor.guards import ABSENT
from ...tensor.tensor import Tensor
from ...tensor.writing import has_late
from ..contents import is_array
from ..journal import CONTAINERS, Journal
from ..places import Attribute, ClassAttribute, Item, Key, Place, Reported, Variable
from . import operators, reads
from .find import converted
from .reads import attribute, in_
from .refused import check_changed
from .syntax import BLIND

# Methods that change a container.
_CHANGING = BLIND | {
    *("pop", "popleft", "popitem", "remove", "sort", "setdefault", "move_to_end", "__delitem__", "__imul__"),
    *("difference_update", "intersection_update", "symmetric_difference_update", "__isub__", "__iand__", "__ixor__"),
}
_MATERIALISED = {"extend", "extendleft", "__iadd__"}  # whose argument may be an iterator
_SETS = {"update", "difference_update", "intersection_update", "symmetric_difference_update"}
_ON_LISTS: set[Any] = {
    *(heapq.heappush, heapq.heappop, heapq.heapify, heapq.heapreplace, heapq.heappushpop),
    *(bisect.insort, bisect.insort_left, bisect.insort_right),
}
_OPERATORS = {"iadd": "__iadd__", "ior": "__ior__", "iand": "__iand__", "isub": "__isub__", "ixor": "__ixor__"}
_OPERATORS["imul"] = "__imul__"


def journal() -> Journal | None:
    """The journal of the capture that is going on in this thread."""
    trace = state.trace
    return None if trace is None or trace.capture is None else trace.capture.journal


def _is_plain(owner: Any) -> bool:
    """Whether it is a container that the journal understands, not one of weft's own."""
    is_wefts = type(owner).__module__.startswith("weft.")
    return isinstance(owner, dict if is_wefts else CONTAINERS)  # options of an optimizer are a dict


# --- attributes ---------------------------------------------------------------------------------------------------


def set_attribute(value: Any, owner: Any, name: str) -> None:
    """``owner.name = value``."""
    noted = journal()
    if noted is None or isinstance(owner, Tensor):
        setattr(owner, name, value)
        return
    own: Any = _class_has(owner, "__setattr__")
    if type(own) is FunctionType and not is_wefts_own(own.__code__):
        converted(own)(owner, name, value)
        return
    if type(own) is _SLOT and issubclass(getattr(own, "__objclass__", object), CONTAINERS):
        # __setattr__ = dict.__setitem__
        changed(own.__get__(owner), name, value)
        return
    found = _descriptor(owner, name)
    if type(found) is property and found.fset is not None:
        converted(found.fset)(owner, value)
        return
    setter = None if found is None else getattr(type(found), "__set__", None)
    if type(setter) is FunctionType:
        converted(setter)(found, owner, value)
        return
    place = place_of(owner, name, value)
    if place is None:
        setattr(owner, name, value)
    elif type(place) is (Item if own is object.__setattr__ else Reported):  # it is no more than to put it there
        noted.store(owner, place, value)
    else:
        noted.store(owner, place, value, partial(setattr, owner, name, value))


def set_raw_attribute(owner: Any, name: str, value: Any) -> None:
    """``object.__setattr__(owner, name, value)``."""
    noted = journal()
    place = None if noted is None or isinstance(owner, Tensor) else place_of(owner, name, value)
    if noted is None or place is None:
        object.__setattr__(owner, name, value)
    else:
        noted.store(owner, place, value, partial(object.__setattr__, owner, name, value))


def delete_attribute(owner: Any, name: str) -> None:
    """``del owner.name``."""
    noted = journal()
    own = _class_has(owner, "__delattr__")
    if noted is None or isinstance(owner, Tensor):
        delattr(owner, name)
    elif type(own) is FunctionType and not is_wefts_own(own.__code__):
        converted(own)(owner, name)
    else:
        found = _descriptor(owner, name)
        place = place_of(owner, name, None)
        if type(found) is property and found.fdel is not None:
            converted(found.fdel)(owner)
        elif place is None:
            delattr(owner, name)
        else:
            noted.clear(owner, place, partial(delattr, owner, name))


def place_of(owner: Any, name: str, value: Any) -> Place | None:
    """Where an attribute is kept; None where weft itself knows of it."""
    if isinstance(owner, type):
        return ClassAttribute(owner, name)
    if isinstance(owner, ModuleType):
        return Item(owner.__dict__, name)
    found = _descriptor(owner, name)
    if found is not None and hasattr(type(found), "__set__"):
        return None if hasattr(owner, "guarded") and type(found) is not MemberDescriptorType else Attribute(owner, name)
    own = getattr(owner, "__dict__", None)
    if not isinstance(own, dict):
        return Attribute(owner, name)
    if hasattr(type(owner), "guarded"):  # a module or an optimizer
        tables = [own.get(table, ()) for table in ("_parameters", "_buffers", "_modules")]
        if hasattr(type(value), "reports_writes") or (isinstance(value, Tensor) and type(value) is not Tensor):
            return None
        return None if any(name in table for table in tables) else Reported(own, name)
    return Attribute(owner, name) if isinstance(owner, threading.local) else Item(own, name)


def _class_has(owner: Any, name: str) -> Any:
    kind = type(owner)
    return next((k.__dict__[name] for k in kind.__mro__ if name in k.__dict__), None)


def _descriptor(owner: Any, name: str) -> Any:
    """What the class of an object has under a name, if that decides about stores."""
    found = _class_has(owner, name)
    return found if hasattr(type(found), "__set__") else None


def got_attribute(owner: Any, name: str) -> tuple[Any, str, Any]:
    """The parts of ``owner.name += value``, before the value."""
    return owner, name, attribute(owner, name)


def augment_attribute(got: tuple[Any, str, Any], operation: str, value: Any) -> None:
    """``owner.name += value``."""
    owner, name, item = got
    made = augmented(operation, item, value)
    if made is item and isinstance(item, CONTAINERS) and journal() is not None:
        setattr(owner, name, made)  # which was there
    else:
        set_attribute(made, owner, name)


def put(value: Any, owner: Any, name: str) -> None:
    """Give an attribute what a statement that was staged leaves there, or what was there before."""
    noted = journal()
    if noted is None:
        setattr(owner, name, value)
    elif noted.restoring:
        place = place_of(owner, name, value)
        if place is not None:
            noted.handles(place.id)
        setattr(owner, name, value)
    elif getattr(owner, name, ABSENT) is not value:
        set_attribute(value, owner, name)


def drop(owner: Any, name: str) -> None:
    """Take an attribute away that a statement does not leave, or that was not there before."""
    noted = journal()
    if noted is not None and not noted.restoring:
        delete_attribute(owner, name)
        return
    place = place_of(owner, name, None)
    if noted is not None and place is not None:
        noted.handles(place.id)
    delattr(owner, name)


# --- items --------------------------------------------------------------------------------------------------------


def set_item(value: Any, owner: Any, key: Any) -> None:
    """``owner[key] = value``."""
    noted = journal()
    if noted is None or isinstance(owner, Tensor):
        owner[key] = value
        return
    if isinstance(owner, ChainMap):
        set_item(value, attribute(owner, "maps")[0], key)
        return
    own = _class_has(owner, "__setitem__")
    if type(own) is FunctionType and not is_wefts_own(own.__code__) and not isinstance(owner, (UserDict, UserList)):
        if reads.is_outside(owner):
            check_changed(owner, "__setitem__")
        converted(own)(owner, key, value)
    elif isinstance(owner, dict) and _is_plain(owner):
        key = plain_key(key)
        noted.store(owner, Key(owner, key), value, partial(operator.setitem, owner, key, value))
    elif _is_plain(owner) and not isinstance(owner, dict):
        noted.change(owner, owner.__setitem__, [key, list(value) if type(key) is slice else value])
    elif isinstance(owner, (UserDict, UserList)):
        noted.change(owner, partial(operator.setitem, owner), [key, value], held=owner.data)
    elif type(owner).__module__ == "numpy":
        noted.change(owner, partial(operator.setitem, owner), [key, value], True)
    else:
        owner[key] = value


def plain_key(key: Any) -> Any:
    """A key of a dict, with sizes as the numbers that they are: a hash asks for these anyway."""
    if type(key) is tuple:
        return tuple(map(plain_key, key))
    return int(key) if isinstance(key, Asked) else key


def delete_item(owner: Any, key: Any) -> None:
    """``del owner[key]``."""
    noted = journal()
    own = _class_has(owner, "__delitem__")
    if noted is None or isinstance(owner, Tensor):
        del owner[key]
    elif isinstance(owner, ChainMap):
        delete_item(attribute(owner, "maps")[0], key)
    elif type(own) is FunctionType and not is_wefts_own(own.__code__) and not isinstance(owner, (UserDict, UserList)):
        if reads.is_outside(owner):
            check_changed(owner, "__delitem__")
        converted(own)(owner, key)
    elif _is_plain(owner):
        noted.change(owner, owner.__delitem__, [key])
    elif isinstance(owner, (UserDict, UserList)):
        noted.change(owner, partial(operator.delitem, owner), [key], held=owner.data)
    else:
        del owner[key]


def item_of(owner: Any, key: Any) -> Any:
    """``owner[key]``; a defaultdict may make it."""
    noted = journal()
    if noted is not None and isinstance(owner, defaultdict) and not dict.__contains__(owner, key):
        factory = owner.default_factory
        if factory is not None and type(owner).__missing__ is defaultdict.__missing__:
            in_(key, owner)
            value = converted(factory)()
            noted.store(owner, Key(owner, plain_key(key)), value)
            return value
    return reads.item_of(owner, key)


def got_item(owner: Any, key: Any) -> tuple[Any, Any, Any]:
    """The parts of ``owner[key] += value``, before the value."""
    if journal() is not None and type(owner).__module__ == "numpy":  # each run reads it
        return owner, key, None
    return owner, key, item_of(owner, key)


def augment_item(got: tuple[Any, Any, Any], operation: str, value: Any) -> None:
    """``owner[key] += value``, where the index may be known at run time alone: then the item is a copy."""
    owner, key, found = got
    if isinstance(owner, Tensor):
        is_copy = state.trace is not None and state.trace.capture is not None and has_late(key)
        owner[key] = (operators.operated if is_copy else operators.in_place)(operation[is_copy:], found, value)
        return
    noted = journal()
    if noted is not None and type(owner).__module__ == "numpy":  # each run does it to what is there
        noted.change(owner, partial(_augment_array, owner, operation), [key, reads.used(value)], True)
        return
    made = augmented(operation, found, value)
    if made is found and isinstance(found, CONTAINERS) and journal() is not None:
        owner[key] = made  # which was there
    else:
        set_item(made, owner, key)


def _augment_array(owner: Any, operation: str, key: Any, value: Any) -> None:
    owner[key] = getattr(operator, operation)(owner[key], value)


def augmented(operation: str, target: Any, value: Any) -> Any:
    """What ``target += value`` makes of the target."""
    noted = journal()
    if noted is not None and is_array(type(target)):  # each run does it to what is there
        return noted.change(target, partial(getattr(operator, operation), target), [reads.used(value)], True)
    if isinstance(target, CONTAINERS) and journal() is not None and operation in _OPERATORS:
        instead = operators.instead_of_sequence(operation, target, value)
        if instead is not NotImplemented:
            return instead
        value = reads.used(value, True)
        method = getattr(target, _OPERATORS[operation], None)
        if method is not None and _is_plain(target):
            found = changed(method, value)
            if found is not NotImplemented:
                return found
    return operators.in_place(operation, target, value)


# --- methods ------------------------------------------------------------------------------------------------------


def in_place_of(called: Any) -> Callable[..., Any] | None:
    """What is called in the place of a function or method that changes an object, in a capture; None for any other."""
    kind = type(called)
    if kind is BuiltinMethodType or kind is _WRAPPER:
        owner = called.__self__
        if _is_plain(owner):
            return partial(changed, called) if called.__name__ in _CHANGING else None
        if kind is _WRAPPER and called.__name__ == "__setattr__":
            return partial(set_raw_attribute, owner)
        return partial(_on_list, called) if called in _ON_LISTS else _BUILTINS.get(called)
    if kind is _METHOD or kind is _SLOT:
        if called is object.__setattr__:
            return set_raw_attribute
        if called.__name__ in _CHANGING and issubclass(called.__objclass__, CONTAINERS):
            return partial(_unbound, called)
        return None
    owner = getattr(called, "__self__", None)
    if isinstance(owner, (Counter, UserDict, UserList)) and called.__name__ in _CHANGING:
        function = getattr(called, "__func__", None)
        if function is not None and function.__module__ == "collections":
            return partial(_of_library, called)
    if isinstance(owner, dict) and called.__name__ == "update" and is_wefts_own(called.__func__.__code__):
        return partial(_update_options, owner)
    if owner is not None and called.__name__ == "add_param_group" and is_wefts_own(called.__func__.__code__):
        return partial(_add_group, called)
    if owner is not None and called.__name__ == "__setattr__" and is_wefts_own(called.__func__.__code__):
        return lambda name, value: _set_reported(owner, called, name, value)
    return None


_WRAPPER = type([].__len__)
_METHOD, _SLOT = type(list.append), type(list.__len__)
IN_C = frozenset((BuiltinMethodType, _WRAPPER, _METHOD, _SLOT))


def changed(called: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of a container, which changes it."""
    noted = journal()
    owner, name = called.__self__, called.__name__
    if noted is None or name not in _CHANGING:
        return called(*args, **kwargs)
    if isinstance(owner, dict):
        return _changed_dict(noted, called, args, kwargs)
    if name in _MATERIALISED:
        if len(args) != 1 or (name == "__iadd__" and isinstance(owner, deque) and not hasattr(args[0], "__iter__")):
            return called(*args)
        items = list(reads.gone_through(args[0], True))
        noted.change(owner, getattr(owner, "extend" if name == "__iadd__" else name), [items], True)
        return owner if name == "__iadd__" else None
    if name in _SETS:
        args = tuple([set(reads.gone_through(a, True)) for a in args])
    if name == "sort" and kwargs.get("key") is not None:
        reads.gone_through(owner, True)
        return noted.change(owner, partial(_reordered, owner, _order(owner, **kwargs)), [])
    if kwargs:
        called = partial(called, **{k: converted(v) for k, v in kwargs.items()})
    return noted.change(owner, called, args, name in BLIND and name != "__setitem__")


def _order(items: Any, key: Any, reverse: bool = False) -> list[int]:
    """The numbers of items in the order of a sort, which asks ``key`` once for each."""
    from .calls import call

    keys = list(map(call(key), items))
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)


def _reordered(items: Any, order: list[int]) -> None:
    items[:] = [items[n] for n in order]


def _changed_dict(noted: Journal, called: Any, args: Any, kwargs: Any) -> Any:
    owner, name = called.__self__, called.__name__
    if name == "__setitem__":
        key = plain_key(args[0])
        noted.store(owner, Key(owner, key), args[1], partial(called, key, *args[1:]))
        return None
    if name in ("update", "__ior__"):
        for key, value in dict(*[reads.used(a, True) for a in args], **kwargs).items():
            noted.store(owner, Key(owner, plain_key(key)), value)
        return owner if name == "__ior__" else None
    if name == "setdefault":
        args = plain_key(args[0]), *args[1:]
        if in_(args[0], owner):
            return reads.item_of(owner, args[0])
    return noted.change(owner, partial(called, **kwargs) if kwargs else called, args, name == "clear")


def _unbound(called: Any, owner: Any, *args: Any, **kwargs: Any) -> Any:
    """``list.append(owner, value)``."""
    if not _is_plain(owner):
        return called(owner, *args, **kwargs)
    return changed(called.__get__(owner), *args, **kwargs)


def _on_list(called: Any, owner: Any, *args: Any, **kwargs: Any) -> Any:
    """``heapq.heappush(owner, item)``."""
    noted = journal()
    if noted is None or not _is_plain(owner):
        return called(owner, *args, **kwargs)
    return noted.change(owner, partial(called, owner, **kwargs), args)


def _of_library(called: Any, *args: Any, **kwargs: Any) -> Any:
    """A method of a container that the standard library has written in Python."""
    noted, owner = journal(), called.__self__
    if noted is None:
        return called(*args, **kwargs)
    args = tuple([list(a) if hasattr(a, "__next__") else reads.used(a, True) for a in args])
    do = partial(called, **kwargs) if kwargs else called
    return noted.change(owner, do, args, called.__name__ in BLIND, held=getattr(owner, "data", None))


def _update_options(owner: Any, *args: Any, **kwargs: Any) -> None:
    """``group.update(lr=0.1)``."""
    for key, value in dict(*args, **kwargs).items():
        set_item(value, owner, key)


def _add_group(called: Any, group: Any) -> None:
    """``optimizer.add_param_group(group)``."""
    noted, groups = journal(), called.__self__.param_groups
    if noted is None:
        called(group)
    else:
        group = {**group, "params": group["params"] if isinstance(group["params"], Tensor) else list(group["params"])}
        noted.change(called.__self__, called, [group], held=groups)


def _set_reported(owner: Any, called: Any, name: str, value: Any) -> None:
    """``super().__setattr__(name, value)`` of a module."""
    noted, place = journal(), place_of(owner, name, value)
    if noted is None or place is None:
        called(name, value)
    else:
        noted.store(owner, place, value, partial(called, name, value))


_BUILTINS: dict[Any, Callable[..., Any]] = {
    setattr: lambda owner, name, value: set_attribute(value, owner, name),
    delattr: delete_attribute,
    operator.setitem: lambda owner, key, value: set_item(value, owner, key),
    operator.delitem: delete_item,
}
for _name in _OPERATORS:
    _BUILTINS[getattr(operator, _name)] = partial(augmented, _name)
_BUILTINS[operator.iconcat] = partial(augmented, "iadd")


# --- variables ----------------------------------------------------------------------------------------------------


def watch(*readers: Any) -> None:
    """Note variables of functions around, each by a lambda that reads it, which the code is about to store into."""
    noted = journal()
    if noted is not None:
        for reader in readers:
            noted.watch(Variable(reader.__closure__[0]))


def rebound(reader: Any, value: Any) -> Any:
    """``name = value``, of a variable of a function around."""
    noted = journal()
    if noted is not None:
        noted.rebind(Variable(reader.__closure__[0]), value)
    return value


def rebound_global(reader: Any, name: str, value: Any) -> Any:
    """``name = value``, of a global."""
    noted = journal()
    if noted is not None:
        noted.rebind(Item(reader.__globals__, name), value)
    return value


def watch_globals(reader: Any, *names: str) -> None:
    """Note globals of the module of a function that the code is about to store into."""
    noted = journal()
    if noted is not None:
        for name in names:
            noted.watch(Item(reader.__globals__, name))


def managed(called: Any) -> Any:
    """A function that ``contextlib.contextmanager`` has made: its generator is rewritten."""
    inner = getattr(called, "__wrapped__", None)
    if called.__code__ is not _HELPER or type(inner) is not FunctionType:
        return called
    made = converted(inner)
    return called if made is inner else contextlib.contextmanager(made)


_HELPER = contextlib.contextmanager(lambda: iter(())).__code__

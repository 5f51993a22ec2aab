"""What rewritten code calls where it reads an attribute or an item, or uses a value as a whole.

Each gives what Python gives. While a function is captured it also tells the capture's Names (transforms/names.py) what
was read of objects that were there before, and runs rewritten what Python would call by itself: properties,
``__getattr__``, ``__getitem__``, ``__contains__``, ``__iter__``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any

from ...core.asked import Asked
from ...core.errors import CaptureError
from ...ops.op import state
from ...tensor.guards import ABSENT
from ...tensor.tensor import Tensor
from ..contents import AROUND, children, is_array, is_container, is_of_bytes
from ..names import MADE, SIMPLE, Names, attributes_of, in_class, is_users
from .effects import Text
from .find import converted, in_place
from .number import Number, needed
from .refused import check_iterator

AT_ONCE = frozenset((*SIMPLE, complex, bytes, slice, range, Tensor, Number, Asked, type(...)))
MADE.add(Text)
_OF_ITS_FORM = {"shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides"}  # attributes of arrays
_NO_STATE = (type, FunctionType, Tensor, ModuleType)
_MANY = 1000  # objects that are looked at, from one on
_NOT_OPERATORS = {"__init__", "__new__", "__call__", "__del__", "__init_subclass__", "__class_getitem__"}


def noting() -> Names | None:
    """What notes reads of the capture that is going on in this thread."""
    trace = state.trace
    if trace is None or trace.capture is None:
        return None
    found: Names | None = trace.capture.names
    return found


def is_outside(owner: Any) -> bool:
    """Whether an object was there before the function that is captured, as far as is known."""
    names = noting()
    return names is not None and bool(names.is_outside(owner))


# --- attributes -------------------------------------------------------------------------------------------------------


def attribute(owner: Any, name: str) -> Any:
    """``owner.name``."""
    kind = type(owner)
    if kind in AT_ONCE or isinstance(owner, Tensor):
        return getattr(owner, name)
    names = noting()
    if names is None:
        return getattr(owner, name)
    if kind is ModuleType:
        value = getattr(owner, name)
        if is_users(owner.__name__):
            names.reach(owner)
            if name in owner.__dict__:
                names.variable(owner.__dict__, name, value)
        return value
    if kind is super:
        return _of_super(names, owner, name)
    if isinstance(owner, type):
        return _of_class(names, owner, name)
    if not names.is_users(kind) and not names.is_outside(owner):
        return getattr(owner, name)
    return _of_object(names, owner, kind, name)


def _of_class(names: Names, owner: type, name: str) -> Any:
    metas: Any = type(owner)
    for meta in metas.__mro__:
        found = meta.__dict__.get(name)
        if type(found) is property and found.fget is not None and is_users(meta.__module__):
            if names.is_outside(owner):
                names.method_of(type(owner), name, meta, found)
                names.reach(found.fget)
            return in_place(found.fget)(owner)
    value = getattr(owner, name)
    if not names.is_outside(owner):
        return value
    for holder, found in in_class(owner, name):
        if isinstance(found, (classmethod, staticmethod)):
            names.method_of(owner, name, holder, found)
        elif value is found or getattr(owner, name) is value:
            names.member(owner, name, value)
        names.reach(value)
        break
    return value


def _of_super(names: Names, owner: Any, name: str) -> Any:
    """``super().name``: of the classes behind the one that the code stands in."""
    of = owner.__self__
    kinds = list((of if isinstance(of, type) else type(of)).__mro__)
    for kind in kinds[kinds.index(owner.__thisclass__) + 1 :]:
        if name in kind.__dict__:
            found = kind.__dict__[name]
            if is_users(kind.__module__) and names.is_outside(of):
                names.method_of(kind, name, kind, found)
            if type(found) is property and found.fget is not None:
                return in_place(found.fget)(of)
            break
    return getattr(owner, name)


def _of_object(names: Names, owner: Any, kind: type, name: str) -> Any:
    outside = names.is_outside(owner)
    if outside:
        names.reach(kind)
    own_way = kind.__getattribute__
    if type(own_way) is FunctionType and name not in ("__dict__", "__class__"):
        try:
            return converted(MethodType(own_way, owner))(name)
        except AttributeError:
            return _by_getattr(names, owner, kind, name, outside)
    return plain_attribute(names, owner, kind, name, outside)


def plain_attribute(names: Names, owner: Any, kind: type, name: str, outside: bool, last: bool = True) -> Any:
    """What ``object.__getattribute__`` gives, and ``__getattr__`` where that gives nothing, if this is the ``last``
    way."""
    if name == "__dict__":
        own = attributes_of(owner) if type(kind.__getattribute__) is not FunctionType else _own(owner)
        if outside and isinstance(own, dict):
            names.outside[id(own)] = own  # not to be remembered as a dict of the program's: its items are attributes
        return own
    nothing: tuple[type, Any] = kind, ABSENT
    holder, found = next(in_class(owner, name), nothing)
    about: Any = type(found)
    if about is property and found.fget is not None:
        if outside:
            names.method_of(kind, name, holder, found)
            names.reach(found.fget)
        try:
            return in_place(found.fget)(owner)
        except AttributeError:
            if not last:
                raise
            return _by_getattr(names, owner, kind, name, outside)
    if about is MemberDescriptorType:
        value = getattr(owner, name, ABSENT)
        if outside:
            names.member(owner, name, value)
        return getattr(owner, name) if value is ABSENT else value
    own = attributes_of(owner) if type(kind.__getattribute__) is not FunctionType else _own(owner)
    is_data = found is not ABSENT and (hasattr(about, "__set__") or hasattr(about, "__delete__"))
    if name in own and not is_data:
        if outside:
            names.variable(own, name, own[name])
        return own[name]
    if found is ABSENT:
        if last or not _is_missing(kind, name):
            return _by_getattr(names, owner, kind, name, outside)
        if outside:
            names.variable_absent(owner, name)
        return object.__getattribute__(owner, name)
    if outside and is_data:
        names.method_of(kind, name, holder, found)
    elif outside:
        names.of_class(owner, name, holder, found)
    if about is functools.cached_property:
        names.wrote(owner, name)
        return _cached_property(owner, own, name, found)
    get = getattr(about, "__get__", None)
    if type(get) is FunctionType:
        names.reach(found) if outside else None
        return converted(MethodType(get, found))(owner, kind)
    value = getattr(owner, name) if last else object.__getattribute__(owner, name)
    if outside and is_data and (isinstance(value, SIMPLE) or getattr(owner, name) is value):  # a field of ctypes, say
        names.member(owner, name, value)
    return value


def _own(owner: Any) -> Any:
    """What an object holds by name, past a ``__getattribute__`` of the user's."""
    try:
        return object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return {}


def _cached_property(owner: Any, own: dict[str, Any], name: str, found: Any) -> Any:
    if found.attrname != name:
        return getattr(owner, name)
    value = own[name] = converted(found.func)(owner)
    return value


def _by_getattr(names: Names, owner: Any, kind: type, name: str, outside: bool) -> Any:
    """An attribute that neither the object nor a class of the user's has as it stands."""
    if outside:
        names.variable_absent(owner, name)
    holder, own_way = next(in_class(owner, "__getattr__"), (kind, None))
    if type(own_way) is FunctionType and _is_missing(kind, name):
        if outside:
            names.method_of(kind, "__getattr__", holder, own_way)
        return converted(MethodType(own_way, owner))(name)
    if own_way is not None and issubclass(kind, dict) and _is_missing(kind, name):  # __getattr__ = dict.__getitem__
        if outside:
            names.method_of(kind, "__getattr__", holder, own_way)
            names.item(owner, name)
        return getattr(owner, name)
    if not outside:
        return getattr(owner, name)
    value = getattr(owner, name, ABSENT)
    if value is ABSENT:
        if names.is_users(kind):
            names.member(kind, name, getattr(kind, name, ABSENT))
        return getattr(owner, name)
    if is_array(kind):
        if name in _OF_ITS_FORM:
            names.member(owner, name, value)
        else:
            names.whole(owner)
    elif not is_wefts(kind) and not callable(value):
        if isinstance(value, SIMPLE) or getattr(owner, name) is value:
            names.member(owner, name, value)
    elif not callable(value) or isinstance(value, type):
        names.reach(value)
    return value


def _is_missing(kind: type, name: str) -> bool:
    return not any(name in each.__dict__ for each in kind.__mro__)


def is_wefts(kind: type) -> bool:
    """Whether a class is one of weft's, which reports what is read of its objects."""
    return kind.__module__.partition(".")[0] == "weft"


def getattr_(owner: Any, name: str, *default: Any) -> Any:
    """``getattr``."""
    if not isinstance(name, str) or len(default) > 1:
        return getattr(owner, name, *default)
    try:
        return attribute(owner, name)
    except AttributeError:
        if default:
            return default[0]
        raise


def hasattr_(owner: Any, name: str) -> bool:
    """``hasattr``."""
    try:
        getattr_(owner, name)
    except AttributeError:
        return False
    return True


def plain(owner: Any, name: str) -> Any:
    """``object.__getattribute__(owner, name)``."""
    names = noting()
    if names is None or not names.is_users(type(owner)):
        return object.__getattribute__(owner, name)
    return plain_attribute(names, owner, type(owner), name, names.is_outside(owner), False)


def type_(*args: Any) -> Any:
    """``type``."""
    found = type(*args)
    names = noting()
    if names is not None and len(args) == 1 and names.is_outside(args[0]):
        names.reach(found)
    return found


def vars_(owner: Any) -> Any:
    """``vars(owner)``."""
    return attribute(owner, "__dict__")


# --- items ------------------------------------------------------------------------------------------------------------


def item_of(owner: Any, key: Any) -> Any:
    """``owner[key]``."""
    if isinstance(owner, Tensor):
        return owner[used(key, True)]
    names = noting()
    if names is None:
        return owner[key]
    kind = type(owner)
    if kind is dict or kind is list:
        if names.is_outside(owner):
            names.item(owner, key)
        return owner[key]
    own_way = getattr(kind, "__getitem__", None)
    if type(own_way) is FunctionType and names.is_users(kind):
        return converted(MethodType(own_way, owner))(key)
    if isinstance(owner, dict):
        if names.is_outside(owner):
            names.item(owner, key)
        return owner[key]
    used(owner)
    value = owner[key]
    if is_container(type(owner)) and not is_of_bytes(type(owner)) and names.is_outside(owner):
        names.reach(value)
    return value


def in_(key: Any, owner: Any) -> Any:
    """``key in owner``."""
    names = noting()
    if names is None:
        return key in owner
    if isinstance(owner, Tensor):
        from ...tensor.methods import has_element

        return Number(bool, has_element(owner, key))
    kind = type(owner)
    own_way = getattr(kind, "__contains__", None)
    if type(own_way) is FunctionType and names.is_users(kind):
        return bool(converted(MethodType(own_way, owner))(key))
    if isinstance(owner, dict) and names.is_outside(owner):
        names.item(owner, key)
        return key in owner
    if kind is list or kind is tuple:
        from .operators import is_in

        found = is_in(key, owner)
        if found is not NotImplemented:
            return found
    return key in used(owner, True)


def not_in(key: Any, owner: Any) -> Any:
    """``key not in owner``."""
    from .flow import not_

    return not_(in_(key, owner))


def is_(left: Any, right: Any) -> bool:
    """``left is right``: of numbers of run time nobody knows, unless they are one number, or one is none."""
    for value, other in ((left, right), (right, left)):
        if type(value) is Number and left is not right and other is not None:
            raise needed(value, "is")
    return left is right


def is_not(left: Any, right: Any) -> bool:
    """``left is not right``."""
    return not is_(left, right)


# --- whole values -----------------------------------------------------------------------------------------------------


def used(value: Any, deep: bool = False) -> Any:
    """A value that is used in a way that all of it may matter: compared, computed with, gone through, asked for its
    truth. ``deep``: what it holds may be gone through too."""
    if type(value) in AT_ONCE or isinstance(value, Tensor):
        return value
    names = noting()
    if names is not None:
        look(names, value, deep)
    return value


def look(names: Names, value: Any, deep: bool) -> None:
    """Note what a value holds."""
    if is_container(type(value)) or isinstance(value, AROUND):
        names.whole(value, deep)
    elif names.is_outside(value):
        if hasattr(type(value), "__next__") and not is_wefts(type(value)):
            check_iterator(value)
        if names.is_users(type(value)):
            follow_operators(names, value)
        elif is_librarys(type(value)):
            all_of(names, value)


def follow_operators(names: Names, owner: Any) -> None:
    """Look into what Python calls by itself of an object that is used: ``__add__``, ``__len__``, ``__eq__``."""
    for kind in type(owner).__mro__:
        if is_users(kind.__module__):
            for name, found in list(kind.__dict__.items()):
                if name.startswith("__") and type(found) is FunctionType and name not in _NOT_OPERATORS:
                    names.reach(found)
                    names.follow(MethodType(found, owner), opaque=True)


def stored(value: Any) -> Any:
    """A value that becomes an item of something: of an array or tensor that takes what an array holds."""
    return used(value) if is_of_bytes(type(value)) else value


def is_librarys(kind: type) -> bool:
    """Whether objects of a class run Python code of the standard library, which nobody sees."""
    return hasattr(kind, "__dictoffset__") and kind.__dictoffset__ != 0 and _module(kind) in sys.stdlib_module_names


def _module(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def all_of(names: Names, owner: Any, seen: set[int] | None = None) -> None:
    """Note all attributes of an object that was there before, and of those that it holds."""
    seen = set() if seen is None else seen
    if not names.is_outside(owner) or id(owner) in seen or isinstance(owner, _NO_STATE) or len(seen) > _MANY:
        return
    seen.add(id(owner))
    if is_container(type(owner)):
        for value in children(owner):
            all_of(names, value, seen)
        return
    slots = [name for kind in type(owner).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in (*attributes_of(owner), *slots):
        value = attribute(owner, name) if hasattr(owner, name) else None
        if is_container(type(value)):
            names.whole(value, True)
        all_of(names, value, seen)


def gone_through(iterable: Any, deep: bool = False) -> Any:
    """What a loop goes through."""
    if type(iterable) in AT_ONCE or isinstance(iterable, Tensor):
        return iterable
    names = noting()
    if names is None:
        return iterable
    kind = type(iterable)
    own_way = getattr(kind, "__iter__", None)
    if type(own_way) is FunctionType and names.is_users(kind) and not is_container(type(iterable)):
        return _steps(converted(MethodType(own_way, iterable))(), iterable)
    look(names, iterable, deep)
    return iterable


def _steps(iterator: Any, iterable: Any) -> Any:
    """An iterator of the user's: its ``__next__`` rewritten."""
    own_way = getattr(type(iterator), "__next__", None)
    if type(own_way) is not FunctionType:
        return iterator
    return _all_of(converted(MethodType(own_way, iterator)))


def _all_of(step: Callable[[], Any]) -> Iterator[Any]:
    while True:
        try:
            found = step()
        except StopIteration:
            return
        yield found


def next_(iterator: Any, *default: Any) -> Any:
    """``next``."""
    names = noting()
    own_way = getattr(type(iterator), "__next__", None)
    if names is None or type(own_way) is not FunctionType or not names.is_users(type(iterator)):
        return next(used(iterator), *default)
    try:
        return converted(MethodType(own_way, iterator))()
    except StopIteration:
        if default:
            return default[0]
        raise


class _Entered:
    """What ``with`` enters in a capture, in the place of a manager: a method of the user's is rewritten, and that an
    error is caught is noted."""

    def __init__(self, manager: Any):
        self.manager = manager

    def _method(self, name: str) -> Any:
        kind = type(self.manager)
        found = next(k.__dict__[name] for k in kind.__mro__ if name in k.__dict__)
        if type(found) is FunctionType:
            return converted(MethodType(found, self.manager))
        return found.__get__(self.manager, kind) if hasattr(found, "__get__") else found

    def __enter__(self) -> Any:
        return self._method("__enter__")()

    def __exit__(self, *error: Any) -> Any:
        found = self._method("__exit__")(*error)
        if error[0] is not None and found:
            caught()
        return found


def entered(manager: Any) -> Any:
    """What ``with`` enters: Python calls its methods by itself."""
    kind = type(manager)
    if noting() is None or is_wefts(kind) or not (hasattr(kind, "__enter__") and hasattr(kind, "__exit__")):
        return manager
    return _Entered(manager)


def caught() -> None:
    """An error has been caught: one for want of a number's value, perhaps, which eager code would have had.

    Raises:
        CaptureError: what was caught; eager code has none.
    """
    trace = state.trace
    if trace is not None and trace.capture is not None:
        trace.capture.has_caught = True
        error = sys.exc_info()[1]
        if isinstance(error, CaptureError):
            raise error


def left() -> None:
    """A ``finally`` that may leave a block by itself begins: an error that is on its way is caught by that."""
    if sys.exc_info()[0] is not None:
        caught()


def matched(subject: Any, *attributes: str) -> Any:
    """What ``match`` looks at, and the attributes that its patterns name, of whatever is reached by them."""
    waiting: list[Any] = [used(subject, True)]
    seen: set[int] = set()
    while waiting and attributes:
        value = waiting.pop()
        if id(value) not in seen and type(value) not in AT_ONCE and not isinstance(value, Tensor):
            seen.add(id(value))
            if isinstance(value, (list, tuple, dict)):
                waiting += value.values() if isinstance(value, dict) else value
            waiting += [getattr_(value, name, None) for name in attributes]
    return subject


def imported(module: str, name: str, value: Any) -> None:
    """``from module import name`` has been done."""
    names = noting()
    found = sys.modules.get(module)
    if names is not None and isinstance(found, ModuleType) and is_users(module):
        names.reach(found)
        if found.__dict__.get(name) is value:
            names.variable(found.__dict__, name, value)

"""Where the user's code enters weft: an error that leaves there shows the user's lines, not weft's.

A traceback gets an entry for every frame that an error passes. At the boundary, the entries of weft's own frames are
taken out again, those of the user's functions that weft called (a module's ``forward``, a captured function) stay, and
errors that weft had handled before ("During handling of the above exception ...") are forgotten. So it ends at the
user's line in scripts, threads, notebooks, test runners and logs alike. A bug of weft's own, which is any error that it
does not raise on purpose, keeps everything, and so does every error with ``WEFT_TRACEBACK=full``.

A function is a boundary if it hands what it raises to :func:`leave`:

    except Exception as error:
        leave(error)
        raise  # a bare one: Python adds no entry for this frame then

This costs nothing until something is raised, so hot functions do it themselves; :func:`install` wraps the others.
"""

from __future__ import annotations

import dis
import functools
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, TracebackType
from typing import Any

from .config import settings
from .errors import WeftError, is_wefts_own, user_line

_RAISE = dis.opmap["RAISE_VARARGS"]
_LIBRARY = os.path.dirname(os.__file__) + os.sep
# Methods that Python or weft call where no error is expected, or that are a boundary's inside.
_UNBOUNDED = {"__class_getitem__", "__del__", "__enter__", "__exit__", "__getattr__", "__getattribute__", "__hash__"}
_UNBOUNDED |= {"__init_subclass__", "__new__", "__repr__", "forward"}


def leave(error: BaseException, function: Callable[..., Any] | None = None, args: Any = (), kwargs: Any = None) -> None:
    """Prepare ``error`` to leave weft; to be followed by a bare ``raise``.

    ``function``, ``args`` and ``kwargs`` are what the user called and with what: arguments that do not fit its
    signature are the user's mistake.
    """
    if settings().traceback == "full":
        return
    if not isinstance(error, WeftError) and not hasattr(error, "where"):
        if not _is_deliberate(error) and not _does_not_fit(error, function, args, kwargs or {}):
            return
        found = user_line(2)
        error.where = found  # type: ignore[attr-defined]
        if found:
            error.add_note(f"  at {found[0]}:{found[1]}")
    error.__traceback__ = _of_the_user(error.__traceback__)
    _forget_handled(error)


def _is_deliberate(error: BaseException) -> bool:
    """Whether a ``raise`` of weft's code, or a file, raised it; what another operation raises there is a bug."""
    if isinstance(error, OSError):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not is_wefts_own(last.tb_frame.f_code):
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] == _RAISE


def _does_not_fit(error: BaseException, function: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    if not isinstance(error, TypeError) or function is None:
        return False
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return True
    except ValueError:  # it has no signature
        pass
    return False


def _of_the_user(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback without weft's entries, and without those of the standard library's functions that weft called."""
    kept: list[TracebackType] = []
    inside = False  # the entry before was weft's
    while traceback is not None:
        code = traceback.tb_frame.f_code
        inside = is_wefts_own(code) or (inside and _is_librarys(code))
        if not inside:
            kept.append(traceback)
        traceback = traceback.tb_next
    made: TracebackType | None = None
    for entry in reversed(kept):
        made = TracebackType(made, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return made


def _is_librarys(code: CodeType) -> bool:
    file = code.co_filename
    return file.startswith("<frozen ") or (file.startswith(_LIBRARY) and "-packages" + os.sep not in file)


def _forget_handled(error: BaseException) -> None:
    """Forget errors that weft handled; one that the user's code was handling stays the context."""
    context = error.__context__
    while context is not None and context is not error.__cause__ and _was_handled_by_weft(context):
        context = context.__context__
    if context is not error.__context__:
        suppressed, error.__context__ = error.__suppress_context__, context
        error.__suppress_context__ = suppressed and context is None


def _was_handled_by_weft(error: BaseException) -> bool:
    """The first entry of a traceback is the frame that caught the error; none is left of one that was trimmed."""
    return error.__traceback__ is None or is_wefts_own(error.__traceback__.tb_frame.f_code)


def bounded(function: Callable[..., Any], returned: bool = False) -> Callable[..., Any]:
    """``function`` as a boundary; with ``returned``, the function that it returns is one too."""

    @functools.wraps(function)
    def boundary(*args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            leave(error, function, args, kwargs)
            raise
        return bounded(result) if returned else result

    boundary.is_boundary = True  # type: ignore[attr-defined]
    return boundary


def _is_bounded(function: Any) -> bool:
    """Whether it hands its errors to :func:`leave` itself."""
    return "leave" in function.__code__.co_names or hasattr(function, "is_boundary")


def install(namespace: dict[str, Any], names: Iterable[str], transforms: Iterable[str] = ()) -> None:
    """Make the functions and classes of a public namespace boundaries, there and where they are defined.

    ``transforms`` are functions that return a function of the user's, changed: it is a boundary too.
    """
    for name in names:
        value: Any = namespace.get(name)
        if isinstance(value, type):
            install_class(value)
        elif isinstance(value, FunctionType) and is_wefts_own(value.__code__) and not _is_bounded(value):
            made = namespace[name] = bounded(value, name in transforms)
            home, own_name = vars(sys.modules[value.__module__]), value.__name__
            if home.get(own_name) is value:  # so that it can be pickled
                home[own_name] = made


def install_class(cls: type) -> None:
    """Make the methods that the user calls boundaries: public ones, those of operators, setters of properties."""
    if not issubclass(cls, BaseException):
        for kind in cls.__mro__:
            if kind.__module__.startswith("weft."):
                _install_methods(kind)


def _install_methods(cls: type) -> None:
    for name, value in list(vars(cls).items()):
        is_operator = name.startswith("__") and name.endswith("__")
        if name in _UNBOUNDED or (name.startswith("_") and not is_operator):
            continue
        if isinstance(value, FunctionType) and is_wefts_own(value.__code__) and not _is_bounded(value):
            setattr(cls, name, bounded(value))
        elif isinstance(value, (classmethod, staticmethod)) and not _is_bounded(value.__func__):
            setattr(cls, name, type(value)(bounded(value.__func__)))
        elif isinstance(value, property) and isinstance(value.fset, FunctionType) and not _is_bounded(value.fset):
            setattr(cls, name, value.setter(bounded(value.fset)))

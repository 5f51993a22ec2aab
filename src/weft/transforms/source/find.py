"""Which functions are rewritten, where their source is, and what is called in their place.

A function of the user's is rewritten once for each code object. What was written must be what runs: the source is
compiled as it stands first, and the bytes must be those of the function. Libraries that know nothing of tensors are
called as they are, and so is what has no source (C, ``exec``, some REPLs) or cannot be rewritten; :func:`reason` says
why.
"""

from __future__ import annotations

import functools
import os
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from ...core.errors import is_wefts_own
from ...ops.op import state
from .signals import FLOW

_STANDARD = os.path.dirname(os.__file__) + os.sep
_LIBRARIES = {"numpy", "scipy", "torch", "onnx", "onnxruntime", "pytest", "_pytest", "hypothesis", "matplotlib"}

_made: dict[int, tuple[CodeType, CodeType | None]] = {}  # by the ids of code objects, which are kept with it
_ours: dict[int, CodeType] = {}  # code that is the result of rewriting
_reasons: dict[int, str] = {}


def function_of(function: FunctionType) -> FunctionType:
    """What runs in the place of a function."""
    code = function.__code__
    found = _made.get(id(code))
    if found is None:
        if id(code) in _ours:
            return function
        if not _is_users(function):
            _made[id(code)] = code, None
            return function
        from .source import rewritten_code

        new, why = rewritten_code(code, function)
        if new is None:
            _reasons[id(code)] = why
        else:
            _note(new)
        found = _made[id(code)] = code, new
    new = found[1]
    if new is None:
        return function
    cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    from . import flow

    cells[FLOW] = CellType(flow)
    made = FunctionType(
        new, function.__globals__, function.__name__, function.__defaults__, tuple([cells[n] for n in new.co_freevars])
    )
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    made.__module__ = function.__module__
    return made


def converted(called: Any) -> Any:
    """What is called in the place of ``called``, whatever that is. The capture that is going on takes notice of it."""
    kind = type(called)
    trace = state.trace
    names = None if trace is None or trace.capture is None else trace.capture.names
    if kind is FunctionType:
        made = _around(function_of(called), names)
        if names is not None:
            names.follow(called, opaque=made is called and id(called.__code__) not in _ours)
        return made
    if kind is MethodType:
        function = called.__func__
        if type(function) is FunctionType:
            made = _around(function_of(function), names)
            if names is not None:
                names.follow(called, opaque=made is function and id(function.__code__) not in _ours)
            return called if made is function else MethodType(made, called.__self__)
        return called
    if kind is functools.partial:
        if names is not None:
            names.follow(called)
        made = converted(called.func) if names is None else in_place(called.func)
        return called if made is called.func else functools.partial(made, *called.args, **called.keywords)
    own = next((vars(k)["__call__"] for k in kind.__mro__ if "__call__" in vars(k)), None)
    if type(own) is FunctionType and not is_wefts_own(own.__code__) and not isinstance(called, type):
        made = converted(MethodType(own, called))
        return called if made.__func__ is own else made
    if names is not None:
        names.follow(called)
    return called


def in_place(called: Any) -> Any:
    """What is called in the place of ``called`` by what is not rewritten: ``map(log.append, items)``. Builtins and
    methods of containers are seen there too."""
    from .calls import call

    return call(called) if callable(called) else called


def _around(function: FunctionType, names: Any) -> FunctionType:
    """A library's function around one of the user's (``contextlib.contextmanager``, ``wf.no_grad()``), with what is
    called in the place of that."""
    wrapped = function.__dict__.get("__wrapped__") if function.__dict__ else None
    if type(wrapped) is not FunctionType or _is_users(function):
        return function
    if not any(_holds(cell, wrapped) for cell in function.__closure__ or ()):
        return function
    if names is not None and names.is_outside(function):
        names.reach(wrapped)
    inner = converted(wrapped)
    if inner is wrapped:
        return function
    cells = [CellType(inner) if _holds(cell, wrapped) else cell for cell in function.__closure__ or ()]
    made = FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, tuple(cells))
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _holds(cell: CellType, value: Any) -> bool:
    try:
        return cell.cell_contents is value
    except ValueError:  # it has nothing yet
        return False


def captured(called: Any) -> Any:
    """``called``, or what is called in its place while a function is captured."""
    trace = state.trace
    return called if trace is None or trace.capture is None else converted(called)


def is_rewritten(code: CodeType) -> bool:
    """Whether code is a result of rewriting."""
    return id(code) in _ours


def reason(code: CodeType) -> str | None:
    """Why a function was not rewritten."""
    return _reasons.get(id(code))


def _is_users(function: FunctionType) -> bool:
    code = function.__code__
    file = code.co_filename
    if is_wefts_own(code) or file.startswith("<frozen"):
        return False
    if file.startswith(_STANDARD) and "-packages" + os.sep not in file:
        return False
    return str(function.__globals__.get("__name__")).partition(".")[0] not in _LIBRARIES


def _note(code: CodeType) -> None:
    _ours[id(code)] = code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _note(constant)

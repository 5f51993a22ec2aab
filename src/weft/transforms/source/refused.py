"""What captured code may not ask: clocks, random numbers of others, files, iterators that move on.

A captured function's Python code runs once, so each of these would be asked once, and what it said then would be a
constant of the graph. The error names what was called, and what to do instead. All are known by their names, and by
those of their modules: none of these is imported for that.
"""

from __future__ import annotations

import io
from typing import Any

from ...core.errors import CaptureError

_CLOCK = "a clock is read once, when the function is captured: read it outside, and pass the time as an argument"
_CHANCE = (
    "it is drawn once, when the function is captured: draw with wf.random, which draws at every call, or draw outside "
    "and pass the number as an argument"
)
_FILE = "it is read or written once, when the function is captured: do it outside of the function"
_LOG = "it is logged once, when the function is captured: use print, which prints at every call, or log outside"
_ITERATOR = (
    "it moves on once, when the function is captured: take its items outside and pass them as arguments, or keep them "
    "in a list"
)
_WRITES = (
    "it would be changed once, when the function is captured: change it outside of the function, or use a dict, list "
    "or set, whose changes happen at every call"
)

_CLOCKS = {"time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time"}
_CLOCKS |= {"process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns"}
_OF_SYSTEM = {"urandom", "getrandom"}
_OF_NUMPY = {"load", "save", "savez", "savez_compressed", "loadtxt", "savetxt", "genfromtxt", "fromfile", "memmap"}
# Functions by their modules; None stands for all of them.
_FUNCTIONS: dict[str, tuple[set[str] | None, str]] = {
    "time": (_CLOCKS, _CLOCK),
    "posix": (_OF_SYSTEM, _CHANCE),
    "nt": (_OF_SYSTEM, _CHANCE),
    "uuid": ({"uuid1", "uuid4"}, _CHANCE),
    "secrets": (None, _CHANCE),
    "io": ({"open"}, _FILE),
    "_io": ({"open"}, _FILE),
    "builtins": ({"input"}, _FILE),
    "subprocess": (None, _FILE),
    "numpy": (_OF_NUMPY, _FILE),
    "logging": ({"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"}, _LOG),
}
# Methods by the classes of their objects, or of bases of these.
_METHODS: dict[tuple[str, str], tuple[set[str] | None, str]] = {
    ("random", "Random"): (None, _CHANCE),
    ("datetime", "date"): ({"now", "today", "utcnow"}, _CLOCK),
    ("pathlib", "Path"): ({"read_text", "read_bytes", "write_text", "write_bytes", "open"}, _FILE),
    ("logging", "Logger"): _FUNCTIONS["logging"],
    ("logging", "LoggerAdapter"): _FUNCTIONS["logging"],
}
# Containers that the standard library has written in Python: what their methods do nobody sees.
_CHANGING = {"add", "clear", "difference_update", "discard", "intersection_update", "pop", "popitem", "remove"}
_CHANGING |= {"setdefault", "symmetric_difference_update", "update"}
_UNSEEN = {("collections", "ChainMap"), ("_weakrefset", "WeakSet")}
_UNSEEN |= {("weakref", "WeakKeyDictionary"), ("weakref", "WeakValueDictionary")}
_METHODS |= dict.fromkeys(_UNSEEN, (_CHANGING, _WRITES))
_OF_NOW = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}  # of time, without a time
_MADE_WITH_SEED = {"Random", "default_rng", "RandomState", "SeedSequence", "PCG64", "PCG64DXSM", "MT19937", "Philox"}
_MADE_WITH_SEED |= {"SFC64"}


def refusal(called: Any) -> tuple[str, str] | None:
    """What a function is called, and why captured code may not call it; None where it may. That a generator of random
    numbers or a file was made by the function itself is for the caller to know."""
    name, module = getattr(called, "__name__", None), getattr(called, "__module__", None)
    if name is None:
        return None
    owner = getattr(called, "__self__", None)
    if isinstance(owner, io.IOBase):
        return f"{type(owner).__name__}.{name}", _FILE
    for kind in (owner if isinstance(owner, type) else type(owner)).__mro__ if owner is not None else ():
        names, why = _METHODS.get((kind.__module__.removesuffix("._local"), kind.__name__), (set(), ""))
        if names is None or name in names:
            of = owner if isinstance(owner, type) else kind
            return f"{of.__module__}.{of.__name__}.{name}", why
        if str(kind.__module__).startswith("numpy.random"):
            return f"{kind.__module__}.{kind.__name__}.{name}", _CHANCE
    if module == "numpy.random" and not hangs_on_arguments(called) and not isinstance(called, type):
        return f"numpy.random.{name}", _CHANCE
    names, why = _FUNCTIONS.get(module or "", (set(), ""))
    if (names is None or name in names) and not (module == "logging" and owner is not None):
        return f"{module}.{name}".removeprefix("builtins.").removeprefix("io."), why
    return None


def is_unseen(owner: Any) -> bool:
    """Whether it is a container whose methods change what nobody sees."""
    return any((kind.__module__, kind.__name__) in _UNSEEN for kind in type(owner).__mro__)


def check_changed(owner: Any, what: str) -> None:
    """Raise where an item of such a container is stored or deleted.

    Raises:
        CaptureError: it is.
    """
    if is_unseen(owner):
        raise refused(f"{type(owner).__module__}.{type(owner).__name__}.{what}", _WRITES)


def check(called: Any, args: tuple[Any, ...]) -> None:
    """Raise where a call depends on its arguments: a generator without a seed, a clock's reading of now.

    Raises:
        CaptureError: captured code may not make this call.
    """
    if _is_made_with_seed(called):
        if not args or args[0] is None:
            raise refused(called.__name__, _CHANCE)
    elif len(args) <= _OF_NOW[called.__name__]:
        raise refused(f"time.{called.__name__}", _CLOCK)


def hangs_on_arguments(called: Any) -> bool:
    """Whether :func:`check` has anything to say of a function."""
    of_time = getattr(called, "__module__", None) == "time" and getattr(called, "__name__", "") in _OF_NOW
    return of_time or _is_made_with_seed(called)


def _is_made_with_seed(called: Any) -> bool:
    """Whether a function makes a generator of random numbers."""
    if getattr(called, "__name__", "") not in _MADE_WITH_SEED:
        return False
    module = str(called.__module__)
    return module == "random" or module.startswith("numpy.random")


def refused(name: str, why: str) -> CaptureError:
    """The error."""
    return CaptureError(f"{name}() in a captured function: {why}")


def check_iterator(iterator: Any) -> None:
    """Raise for an iterator that was there before the function.

    Raises:
        CaptureError: always.
    """
    raise CaptureError(f"a {type(iterator).__name__} from outside in a captured function: {_ITERATOR}")

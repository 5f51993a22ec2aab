"""What captured code may not ask: clocks, random numbers of others, files, iterators that move on.

A captured function's Python code runs once, so each of these would be asked once, and what it said then would be a
constant of the graph. The error names what was called, and what to do instead.
"""

from __future__ import annotations

import datetime
import io
import logging
import os
import pathlib
import random
import time
import uuid
from typing import Any

import numpy as np

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

_CLOCKS = {
    getattr(time, name)
    for name in (
        *("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "process_time"),
        *("process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "times"),
    )
    if hasattr(time, name)
}
_OF_NOW = {time.localtime: 0, time.gmtime: 0, time.ctime: 0, time.asctime: 0, time.strftime: 1}  # without a time
_REFUSED: dict[Any, str] = {
    **dict.fromkeys(_CLOCKS, _CLOCK),
    **dict.fromkeys((os.urandom, uuid.uuid1, uuid.uuid4, *filter(None, [getattr(os, "getrandom", None)])), _CHANCE),
    **dict.fromkeys((open, input, io.open, np.load, np.save, np.savez, np.loadtxt, np.savetxt, np.fromfile), _FILE),
}
_GENERATORS = (random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_SEEDED = {random.Random, np.random.default_rng, np.random.RandomState, np.random.SeedSequence}
_LOGGING = {"debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"}
_FILES = {"read_text", "read_bytes", "write_text", "write_bytes", "open"}  # methods of paths


def refusal(called: Any) -> tuple[str, str] | None:
    """What a function is called, and why captured code may not call it; None where it may. That a generator of random
    numbers or a file was made by the function itself is for the caller to know."""
    name = getattr(called, "__name__", None)
    if name is None:
        return None
    owner = getattr(called, "__self__", None)
    if isinstance(owner, _GENERATORS):
        return f"{type(owner).__module__}.{type(owner).__name__}.{name}", _CHANCE
    if isinstance(owner, type) and issubclass(owner, datetime.date) and name in ("now", "today", "utcnow"):
        return f"{owner.__module__}.{owner.__name__}.{name}", _CLOCK
    if isinstance(owner, io.IOBase):
        return f"{type(owner).__name__}.{name}", _FILE
    if isinstance(owner, pathlib.Path) and name in _FILES:
        return f"pathlib.Path.{name}", _FILE
    module = getattr(called, "__module__", None)
    if name in _LOGGING and (module == "logging" or isinstance(owner, logging.Logger)):
        return f"logging.{name}", _LOG
    if module == "numpy.random" and called not in _SEEDED and not isinstance(called, type):
        return f"numpy.random.{name}", _CHANCE
    if module == "secrets":
        return f"secrets.{name}", _CHANCE
    try:
        found = _REFUSED.get(called)
    except TypeError:  # no hash
        return None
    return None if found is None else (f"{module}.{name}".removeprefix("builtins."), found)


def check(called: Any, args: tuple[Any, ...]) -> None:
    """Raise where a call depends on its arguments: a generator without a seed, a clock's reading of now.

    Raises:
        CaptureError: captured code may not make this call.
    """
    if called in _SEEDED and (not args or args[0] is None):
        raise refused(called.__name__, _CHANCE)
    if called in _OF_NOW and len(args) <= _OF_NOW[called]:
        raise refused(f"time.{called.__name__}", _CLOCK)


def hangs_on_arguments(called: Any) -> bool:
    """Whether :func:`check` has anything to say of a function."""
    try:
        return called in _SEEDED or called in _OF_NOW
    except TypeError:  # no hash
        return False


def refused(name: str, why: str) -> CaptureError:
    """The error."""
    return CaptureError(f"{name}() in a captured function: {why}")


def check_iterator(iterator: Any) -> None:
    """Raise for an iterator that was there before the function.

    Raises:
        CaptureError: always.
    """
    raise CaptureError(f"a {type(iterator).__name__} from outside in a captured function: {_ITERATOR}")

"""Weft's exceptions. Each is also the builtin exceptions that PyTorch, NumPy and Python raise in its place, so that a
ported ``except`` clause catches it: PyTorch raises RuntimeError for most of them.

An error carries the user's own line (the innermost frame outside the package) and, where it was raised inside a
module's ``forward``, the module's path; both are appended to the message when it is printed.
"""

from __future__ import annotations

import os
import sys
import threading
from types import CodeType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def is_wefts_own(code: CodeType) -> bool:
    """Whether this is code of the package."""
    return code.co_filename.startswith(_PACKAGE)


def user_line(depth: int = 1) -> tuple[str, int] | None:
    """``(filename, line number)`` of the innermost frame that is not weft's own, or None."""
    try:
        frame: Any = sys._getframe(depth)
    except ValueError:
        return None
    while frame is not None:
        code = frame.f_code
        if not is_wefts_own(code) and not code.co_filename.startswith("<frozen"):
            return code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


class _Made(threading.local):
    count = 0


made = _Made()  # how many errors this thread has made


class WeftError(Exception):
    """Base of everything that weft raises on purpose. ``where`` is the user's (file, line)."""

    def __init__(self, message: str):
        super().__init__(message)
        made.count += 1
        self.message = message
        self.where = user_line(2)
        self.modules: list[Any] = []  # innermost first; filled in by Module.__call__ while the error passes
        self.module_path: str | None = None

    def rename(self, op: str, called: str) -> None:
        """Where the message begins with an op, let it begin with what the user has called, which is made of it."""
        if self.message.startswith(f"{op}: "):
            self.message = called + self.message[len(op) :]
            self.args = (self.message,)

    def __str__(self) -> str:
        text = self.message
        if self.module_path:
            text += f"\n  in module {self.module_path}"
        if self.where:
            text += f"\n  at {self.where[0]}:{self.where[1]}"
        return text


class ShapeError(WeftError, ValueError, RuntimeError):
    """Shapes that do not fit the op, or that no memory could hold."""


class DTypeError(WeftError, TypeError, RuntimeError):
    """dtypes that do not fit the op, arguments of another kind than it takes, numbers that do not fit a dtype."""


class ArgumentError(WeftError, ValueError, TypeError, RuntimeError):
    """An option with a value that the op does not know; arguments that it does not take, or takes once only."""


class AxisError(WeftError, ValueError, IndexError, RuntimeError):
    """An axis outside the tensor's rank, or named twice."""


class IndexError_(WeftError, IndexError, RuntimeError):
    """An index outside its axis."""


class LinAlgError(WeftError, ValueError, RuntimeError):
    """A matrix that has no such decomposition or inverse."""


class DeviceError(WeftError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class OutOfMemoryError(WeftError, MemoryError, RuntimeError):
    """The device's memory, or the limit set on it, is used up."""


class AutogradError(WeftError, RuntimeError):
    """A gradient that cannot be taken."""


class CaptureError(WeftError, RuntimeError):
    """Code that cannot become part of a graph."""


class CheckError(WeftError, AssertionError):
    """A condition that ``wf.debug.check`` was given does not hold."""


class CompileError(WeftError, RuntimeError):
    """The compiler produced something LLVM refuses: a bug of weft's own."""


class MemoryAccessError(WeftError, RuntimeError):
    """A kernel would have read or written outside of its buffers, which ``WEFT_CHECK_MEMORY=1`` has found: a bug of
    weft's own."""


class FormatError(WeftError, ValueError, RuntimeError):
    """A file that is truncated, altered or not of the expected format."""


class StateError(WeftError, KeyError, ValueError, RuntimeError):
    """A state dict that does not fit its module or optimizer."""

    def __str__(self) -> str:
        return WeftError.__str__(self)


class UninitializedError(StateError):
    """A parameter of a lazy module is used before the module's first call has made it."""

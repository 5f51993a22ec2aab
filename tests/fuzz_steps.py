"""What the fuzzers of programs that are text share: a line is run in a world of names, a program shrinks line by line.

Nothing of PyTorch's is imported here.
"""

from __future__ import annotations

import functools
import linecache
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

World = dict[str, Any]  # what the lines of a program see and change
P = TypeVar("P")

compiled_text = functools.lru_cache(maxsize=4096)(lambda text: compile(text, "<step>", "exec"))


def run_step(text: str, world: World) -> Exception | None:
    """What the line raises."""
    try:
        if text.startswith("def "):  # captures may ask for the source
            linecache.cache["<function>"] = (len(text), None, text.splitlines(True), "<function>")
            exec(compile(text, "<function>", "exec"), world)
        else:
            exec(compiled_text(text), world)
    except Exception as error:
        return error.with_traceback(None)
    return None


def error_name(error: Exception | None) -> str:
    """The name of its class."""
    return type(error).__name__ if error else "nothing"


def said(value: Any) -> str:
    """A value or an error in one line."""
    if value is None:
        return "nothing"
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else repr(value)
    return re.sub(r"\s+", " ", text)[:200]


def shrunk(program: P, parts: Sequence[str], still_fails: Callable[[P], bool]) -> P:
    """The program without the lines that the failure does not need; its ``parts`` are tuples of lines. ``results`` are
    never all taken away."""
    smaller = True
    while smaller:
        smaller = False
        for part in parts:
            lines: tuple[str, ...] = getattr(program, part)
            for size in (max(len(lines) // 2, 1), 1):
                at = len(lines) - size
                while at >= 0:
                    less = replace(program, **{part: lines[:at] + lines[at + size :]})  # type: ignore[type-var]
                    if (part != "results" or getattr(less, part)) and still_fails(less):
                        program, lines, smaller = less, getattr(less, part), True
                    at -= size
    return program

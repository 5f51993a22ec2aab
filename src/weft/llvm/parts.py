"""A module taken apart, so that a function which many modules have is compiled once.

Kernels of a family consist of functions that are the same in most of them: the register tiles of contractions are half
of their text, and attention has the same ones. Such a *part* is a module of its own, and its symbol is a digest of all
that decides its code, so that equal symbols are equal code: whoever loads objects (elf.py) keeps one of them.

What is taken out is marked ``internal`` and ``noinline`` (its code is the same wherever it is called from), uses no
other symbols than LLVM's intrinsics, and is at least ``LONG`` characters long. Only the form that our writers give to
modules is known here: a function begins with a line ``define ... {`` and ends with a line ``}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Characters. The 18 contractions of a training step of ResNet-18 compile in 1.78 s as they are; with parts from 1000
# characters on in 0.87 s, from 3000 in 0.85, from 5000 in 0.92: a module for itself costs some 2 ms.
LONG = 3000

_FUNCTION = re.compile(r"^define internal (\S+ )@([\w.]+)(\(.*\) (#\d+)) \{\n(?:[^}].*\n)*\}\n", re.M)
_SYMBOL = re.compile(r"@([\w.]+)")
_SELF = "part"  # what a part is called while its text is digested


def split(text: str, symbol_of: Callable[[str], str]) -> tuple[str, dict[str, str]]:
    """A module without its parts, which it declares, and the modules of these by their symbols.

    Args:
        symbol_of: the symbol of a part with this text (in which it is called ``part``).
    """
    if " noinline " not in text:
        return text, {}
    groups = [line for line in text.splitlines() if line.startswith(("attributes ", "!"))]
    noinline = {line.split()[1] for line in groups if line.startswith("attributes ") and " noinline " in line}
    tail = "\n".join([*groups, ""])
    parts: dict[str, str] = {}
    names: dict[str, str] = {}
    declared: dict[str, None] = {}

    def taken(found: re.Match[str]) -> str:
        function, (result, name, rest, group) = found[0], found.groups()
        if len(function) < LONG or group not in noinline or function.count("@") > function.count("@llvm.") + 1:
            return function
        body = function.replace(" internal ", " ", 1) + tail
        symbol = names[name] = symbol_of(body.replace(f"@{name}(", f"@{_SELF}(", 1))
        parts[symbol] = body.replace(f"@{name}(", f"@{symbol}(", 1)
        declared[f"declare {result}@{symbol}{rest}"] = None
        return ""

    left = _FUNCTION.sub(taken, text)
    if not parts:
        return text, {}
    left = _SYMBOL.sub(lambda found: "@" + names.get(found[1], found[1]), left)
    return "\n".join([left, *declared, ""]), parts

"""A module taken apart, so that a function which many modules have is compiled once.

Kernels of a family consist of functions that are the same in most of them: the register tiles of contractions are half
of their text, and attention has the same ones. Such a *part* is a module of its own, and its symbol is a digest of all
that decides its code, so that equal symbols are equal code: whoever loads objects (elf.py) keeps one of them.

What is taken out is marked ``internal`` and ``noinline`` (its code is the same wherever it is called from), needs no
other symbol than LLVM's intrinsics, and is at least ``LONG`` characters long. Only the form that our writers give to
modules is known here: a function begins with a line ``define ... {`` and ends with a line ``}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

LONG = 3000  # characters, which LLVM compiles in 4 ms; a module for itself costs some 2

_DEFINE = re.compile(r"define internal (\S+ )@([\w.]+)(\(.*\) (#\d+)) \{$")
_SYMBOL = re.compile(r"@([\w.]+)")
_SELF = "part"  # what a part is called while its text is digested


def split(text: str, symbol_of: Callable[[str], str]) -> tuple[str, dict[str, str]]:
    """A module without its parts, which it declares, and the modules of these by their symbols.

    Args:
        symbol_of: the symbol of a part with this text (in which it is called ``part``).
    """
    outside: list[str] = []
    kept: list[str] = []
    functions: list[tuple[re.Match[str], list[str]]] = []
    for chunk in _chunks(text):
        found = _DEFINE.match(chunk[0])
        if found is not None and sum(map(len, chunk)) >= LONG and not _needs(chunk, found[2]):
            functions.append((found, chunk))
        else:
            kept += chunk
            if not chunk[0].startswith("define "):
                outside += chunk
    groups = [line for line in outside if line.startswith(("attributes ", "!"))]
    noinline = {line.split()[1] for line in groups if line.startswith("attributes ") and " noinline " in line}
    parts: dict[str, str] = {}
    names: dict[str, str] = {}
    declared: list[str] = []
    for found, chunk in functions:
        result, name, rest, group = found.groups()
        if group not in noinline:
            kept += chunk
            continue
        body = "\n".join([f"define {result}@{name}{rest} {{", *chunk[1:], *groups, ""])
        symbol = names[name] = symbol_of(_renamed(body, {name: _SELF}))
        parts[symbol] = _renamed(body, {name: symbol})
        declared.append(f"declare {result}@{symbol}{rest}")
    if not parts:
        return text, {}
    return "\n".join([_renamed("\n".join(kept), names), *dict.fromkeys(declared), ""]), parts


def _renamed(text: str, names: dict[str, str]) -> str:
    return _SYMBOL.sub(lambda found: "@" + names.get(found[1], found[1]), text)


def _chunks(text: str) -> Iterator[list[str]]:
    """The lines of each function, and each line between functions."""
    function: list[str] = []
    for line in text.splitlines():
        if function or line.startswith("define "):
            function.append(line)
            if line == "}":
                yield function
                function = []
        elif line:
            yield [line]


def _needs(lines: list[str], name: str) -> bool:
    """Whether a function needs a symbol besides its own and intrinsics."""
    return any(not s.startswith("llvm.") and s != name for line in lines for s in _SYMBOL.findall(line))

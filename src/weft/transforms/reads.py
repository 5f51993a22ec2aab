"""What a function's code reads, from its bytecode: ``a.b.c`` as the variable ``a`` and the attributes that follow.

Each Python spells reads with opcodes of its own, and a later one will have more. So they are told apart by what
:mod:`dis` says of every opcode (does it name a local, a cell, a name?) and by the words of its name, never by a list
of whole names; a name that no known kind of instruction explains is *loose*: it may be read from anything.

>>> reads(compile("lambda self, x: x * self.inner.lr", "", "eval").co_consts[0]).chains[-1]
Chain(root='self', is_global=False, links=('inner', 'lr'), kept_in=None)
"""

from __future__ import annotations

import dis
import re
from dataclasses import dataclass
from types import CodeType
from typing import Any

_VARIABLES = frozenset((*dis.haslocal, *dis.hasfree))
_NAMES = frozenset(dis.hasname)
_INTO_ITEMS = frozenset(("__setitem__", "setdefault", "update"))  # methods that do so
# They may stand between a value and the attribute that is read from it.
_TRANSPARENT = frozenset(("CACHE", "COPY", "EXTENDED_ARG", "NOP", "NOT_TAKEN", "PUSH_NULL", "RESUME"))


@dataclass(frozen=True, slots=True)
class Chain:
    """``root.link.link``, and the local variable that its value is kept in, if the next instruction stores it."""

    root: str
    is_global: bool
    links: tuple[str, ...] = ()
    kept_in: str | None = None


@dataclass(frozen=True, slots=True)
class Reads:
    """What a code object reads itself (what is inside of nested functions is theirs); ``loose`` names are global, or
    attributes of anything. ``written`` are chains whose last link it stores; ``into_items``: it stores items of lists
    or dicts, nobody knows which."""

    chains: list[Chain]
    loose: frozenset[str]
    written: list[Chain]
    into_items: bool = False


class _Decoder:
    """Follows the instructions of one code object."""

    def __init__(self) -> None:
        self.chains: list[Chain] = []
        self.written: list[Chain] = []
        self.explained: set[str] = set()
        self.root: tuple[str, bool] | None = None
        self.links: list[str] = []
        self.undecoded = False

    def end(self, kept_in: str | None = None) -> None:
        """The chain is over."""
        if self.root is not None:
            self.chains.append(Chain(*self.root, tuple(self.links), kept_in))
        self.root, self.links = None, []

    def begin(self, name: str, is_global: bool) -> None:
        self.end()
        self.root = (name, is_global)

    def variable(self, opname: str, argument: Any) -> None:
        """An instruction on locals or cells; one may do several things, such as STORE_FAST_LOAD_FAST."""
        names = argument if isinstance(argument, tuple) else (argument,)
        if not all(isinstance(name, str) for name in names):
            self.undecoded = True
            return self.end()
        actions = re.findall("LOAD|STORE|DELETE|MAKE", opname)
        if len(actions) != len(names):  # not understood: read all of them
            actions = ["LOAD"] * len(names)
        for action, name in zip(actions, names, strict=True):
            if action == "LOAD":
                self.begin(name, False)
            else:
                self.end(name if action == "STORE" else None)
                self.written.append(Chain(name, False))
        return None

    def name(self, opname: str, argument: Any) -> None:
        """An instruction on a global, an attribute or an import."""
        if not isinstance(argument, str):
            self.undecoded = True
            return self.end()
        words = set(opname.split("_"))
        if not words & {"ATTR", "METHOD", "GLOBAL", "GLOBALS", "NAME", "IMPORT"}:
            return self.end()  # not understood: the name stays unexplained
        self.explained.add(argument)
        if words & {"STORE", "DELETE"}:  # nothing is read
            if self.root is not None:
                self.written.append(Chain(*self.root, (*self.links, argument)))
            elif "ATTR" not in words:
                self.written.append(Chain(argument, True))
            else:  # ``x.n += 1``: the object waits on the stack since ``x.n`` was read
                self.written += [chain for chain in self.chains if chain.links[-1:] == (argument,)]
            self.end()
        elif words & {"ATTR", "METHOD"}:
            if self.root is not None:
                self.links.append(argument)
        elif "IMPORT" in words:
            self.end()
        else:
            self.begin(argument, True)
        return None


_known: dict[int, tuple[CodeType, Reads]] = {}  # by the ids of code objects, which are kept with it


def reads(code: CodeType) -> Reads:
    """The chains that ``code`` reads, in order, and the names that are left."""
    known = _known.get(id(code))
    if known is None:
        known = _known[id(code)] = code, _decoded(code)
    return known[1]


def _decoded(code: CodeType) -> Reads:
    decoder, into_items = _Decoder(), not _INTO_ITEMS.isdisjoint(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opcode in _VARIABLES:
            decoder.variable(instruction.opname, instruction.argval)
        elif instruction.opcode in _NAMES:
            decoder.name(instruction.opname, instruction.argval)
        elif instruction.opname not in _TRANSPARENT:
            decoder.end()
            words = set(instruction.opname.split("_"))
            into_items = into_items or bool("STORE" in words and words & {"SUBSCR", "SLICE"})
    decoder.end()
    explained = set() if decoder.undecoded else decoder.explained
    return Reads(decoder.chains, frozenset(code.co_names) - explained, decoder.written, into_items)

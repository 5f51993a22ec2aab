"""Quick: a call of captured code whose guards, run and tensors are one native call (native/call.py).

What must hold is laid out once, as the addresses of objects; comparing these takes a few nanoseconds each. A call for
which something does not hold is refused, which says nothing yet: the caller finds out in its own way, slowly.

A Quick is written once. Whatever it names lives as long as its builtins, which any number of threads may call.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .pool import start

if TYPE_CHECKING:
    from .program import Program

REFUSED = type("Refused", (), {"__slots__": (), "__repr__": lambda self: "REFUSED"})()
"""What a quick call gives back where something does not hold."""


_HEADER_WORDS = 33
_SEEN = 5  # the word of the version


class Given(NamedTuple):
    """An argument: of a tensor its type, spec, type of its place on the tape, and of a view its kind and the type of
    its base's place. Where ``spec`` is None, the argument is ``type`` itself."""

    type: Any
    spec: Any = None
    node: type | None = None
    view: Any = None
    base: type | None = None


class Builtins(NamedTuple):
    """What a Quick is called by."""

    call: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    """``call(args, kwargs)``: the result (a list, if it is not one tensor), or REFUSED."""
    admit: Callable[[tuple[Any, ...], dict[str, Any]], Any]
    """``admit(args, kwargs)``: the list of tensors among the arguments, or REFUSED."""
    run: Callable[[list[Any]], Any]
    """``run(tensors)``: what a run makes for what ``admit`` gave, without another look; or REFUSED."""
    table: array[int]

    def renew(self, seen: int) -> None:
        """All that the version stands for holds at another one too."""
        self.table[_SEEN] = seen


class Quick:
    """What holds for a quick call. Lists are filled by whoever knows; :meth:`bind` makes the builtins.

    Args:
        program: what runs. Its inputs are the tensors among the arguments, then those of ``state``.
        specs: of what a run makes, one for each of the program's outputs.
        alone: one tensor is the result.
        runs: an integer that counts the calls that are not refused.
    """

    __slots__ = (
        *(
            "alone",
            "attributes",
            "cells",
            "checks",
            "class_items",
            "contents",
            "given",
            "items",
            "names",
            "others",
            "pairs",
        ),
        *("program", "roots", "runs", "specs", "state", "written"),
    )

    def __init__(self, program: Program, specs: Sequence[Any], alone: bool, runs: array[int]):
        self.program, self.specs, self.alone, self.runs = program, specs, alone, runs
        self.given: list[Given] = []
        self.names: list[str] = []  # of the last of these
        # (tensor, spec, type of its place, its storage or None: any): the further inputs, and tensors that are none
        self.state: list[tuple[Any, Any, type, Any]] = []
        self.others: list[tuple[Any, Any, type, Any]] = []
        self.roots: list[Any] = []  # storages whose memory no tensor argument may reach into
        self.pairs = False  # whether neither may two of these show the same memory
        self.cells: list[tuple[Any, Any]] = []
        self.items: list[tuple[dict[Any, Any], Any, Any]] = []
        self.attributes: list[tuple[Any, str, Any]] = []
        self.class_items: list[tuple[Any, str, Any]] = []  # of the __dict__ of classes
        self.contents: list[tuple[Any, Sequence[Any]]] = []  # of a dict its keys and values in turn
        self.checks: list[Callable[[list[Any]], Any]] = []  # of the tensors among the arguments: what has to be True
        self.written: list[int] = []  # numbers of inputs

    def bind(self, version: array[int], seen: int, absent: Any) -> Builtins:
        """The builtins. ``version`` holds a number that was ``seen``, and is another when any of what it stands for may
        have changed. ``absent`` among values stands for nothing being there."""
        held: list[Any] = [self.program.table, REFUSED, 0, self.runs, version]
        words = [*map(id, held[:3]), self.runs.buffer_info()[0], version.buffer_info()[0], seen]
        words += [0] * (_HEADER_WORDS - len(words))
        pointers: list[int] = []

        def at(thing: Any, nothing: Any = absent) -> int:
            if thing is nothing:
                return 0
            held.append(thing)
            return id(thing)

        def rows(things: Sequence[Sequence[Any]]) -> list[int]:
            return [at(thing) for row in things for thing in row]

        def put(field: int, numbers: Sequence[int], count: int | None = None) -> None:
            """Numbers behind the others, and in the header where they are, and how many rows of them, before that."""
            if count is not None:
                words[field - 1] = count
            words[field] = 8 * len(words)
            pointers.append(field)
            words.extend(numbers)

        unnamed = len(self.given) - len(self.names)
        words[6:8] = unnamed, len(self.names)
        put(8, [*[0] * unnamed, *map(at, self.names)])
        put(9, [at(thing, None if n else absent) for given in self.given for n, thing in enumerate(given)])
        words[10] = sum(given.spec is not None for given in self.given)
        state = (*self.state, *self.others)
        words[11:13] = len(state), len(self.state)
        put(13, [at(thing, None) for row in state for thing in row])
        put(15, rows([self.roots]), len(self.roots))
        words[16] = self.pairs
        put(18, rows(self.cells), len(self.cells))
        put(20, rows(self.items), len(self.items))
        attributes = [(each, 0) for each in self.attributes] + [(each, 1) for each in self.class_items]
        put(22, [n for each, is_item in attributes for n in (*map(at, each), is_item)], len(attributes))
        put(24, [0] * (4 * len(self.contents)), len(self.contents))
        first = words[24] // 8
        for n, (container, items) in enumerate(self.contents):
            is_dict = isinstance(container, dict)
            row = first + 4 * n
            put(row + 3, rows([items]))
            words[row : row + 3] = at(container), is_dict, len(items) >> is_dict
        words[25] = at(True)
        put(27, rows([self.checks]), len(self.checks))
        put(29, self.written, len(self.written))
        put(31, rows([self.specs]), len(self.specs))
        words[32] = self.alone
        table = array("q", words)
        address, length = table.buffer_info()
        for pointer in pointers:
            table[pointer] += address
        builtins = start()
        call, admit, run = builtins["quick_bind"](builtins["wrap"](address, 8 * length, table), tuple(held))
        return Builtins(call, admit, run, table)

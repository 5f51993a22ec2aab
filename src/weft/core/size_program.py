"""Size programs: the numbers that sizes of a scope (symbolic.py) are, and whether its guards hold, as Python functions.

>>> scope = Sizes({"n": 10})
>>> n = scope["n"]
>>> program = SizeProgram(["n"], [4 * n, (n + 7) // 8], scope)
>>> program([100]), program.serves([100]), program.serves([1])
((400, 13), True, False)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .symbolic import Atom, Call, Dim, Range, Sizes, SymDim


class SizeProgram:
    """Sizes as one function of the numbers for names: ``program(numbers)`` gives a tuple with a number for each of
    ``sizes``; what they have in common is computed once. ``serves(numbers)``: whether the guards of the scope hold.

    It is Python source, because a length is computed in 30 ns there and in 500 by a walk over the terms.
    """

    def __init__(self, names: Sequence[str], sizes: Sequence[Dim], scope: Sizes):
        self.source, functions = _Writer(names).function(sizes)
        self._compute = _compiled(self.source, functions)
        source, functions = _Writer(names).test(scope.guards, scope.not_zero)
        self._test = _compiled(source, functions)

    def __call__(self, numbers: Sequence[int]) -> tuple[int, ...]:
        found: tuple[int, ...] = self._compute(*numbers)
        return found

    def serves(self, numbers: Sequence[int]) -> bool:
        """Whether these numbers keep the guards."""
        return bool(self._test(*numbers))


def _compiled(source: str, functions: dict[str, Any]) -> Callable[..., Any]:
    made: dict[str, Any] = dict(functions)
    exec(source, made)  # of numbers and of names that _Writer has given
    compute: Callable[..., Any] = made["compute"]
    return compute


class _Writer:
    """Writes Python that computes sizes."""

    def __init__(self, names: Sequence[str]):
        self.lines: list[str] = []
        self.functions: dict[str, Any] = {"__builtins__": {}}
        self._names: dict[Any, str] = {name: f"n{i}" for i, name in enumerate(names)}  # of what there is already
        self._head = f"def compute({', '.join(self._names.values())}):"

    def function(self, sizes: Sequence[Dim]) -> tuple[str, dict[str, Any]]:
        """One that returns a tuple of all sizes."""
        found = [self._text(size) for size in sizes]
        return self._source(f"({''.join(f'{text}, ' for text in found)})")

    def test(self, guards: Mapping[SymDim, Range], not_zero: Iterable[SymDim]) -> tuple[str, dict[str, Any]]:
        """One that returns whether all guards hold; they are asked in turn."""
        for size, (low, high) in guards.items():
            text = self._text(size)
            bounds = f"{'' if low is None else f'{low} <= '}{text}{'' if high is None else f' <= {high}'}"
            if bounds != text:
                self.lines.append(f"if not {bounds}: return False")
        for size in not_zero:
            self.lines.append(f"if not {self._text(size)}: return False")
        return self._source("True")

    def _source(self, result: str) -> tuple[str, dict[str, Any]]:
        return "\n    ".join([self._head, *self.lines, f"return {result}\n"]), self.functions

    def _text(self, size: Dim) -> str:
        if isinstance(size, int):
            return str(size)
        if size not in self._names:
            parts = []
            for atoms, coefficient in size.terms.items():
                factors = [self._atom(a) for a in atoms]
                parts.append("*".join([*([str(coefficient)] if coefficient != 1 or not atoms else []), *factors]))
            text = " + ".join(parts)
            self._names[size] = text if text.isidentifier() else self._line(text)
        return self._names[size]

    def _atom(self, atom: Atom) -> str:
        if atom not in self._names:
            assert isinstance(atom, Call)
            whole = Call(atom.function, atom.arguments)
            if atom.item is not None:
                self._names[atom] = f"{self._atom(whole)}[{atom.item}]"
            else:
                arguments = [self._text(a) for a in atom.arguments]
                if atom.function is operator.floordiv:
                    self._names[atom] = self._line(" // ".join(arguments))
                else:
                    self._names[atom] = self._line(f"{self._function(atom.function)}({', '.join(arguments)})")
        return self._names[atom]

    def _function(self, function: Callable[..., Any]) -> str:
        if function not in self._names:
            self._names[function] = f"f{len(self.functions)}"
            self.functions[self._names[function]] = function
        return self._names[function]

    def _line(self, text: str) -> str:
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

"""Which variables surely have a value where they are read: nothing is to be checked there at run time.

Definite assignment (Gosling et al., The Java Language Specification, 16), over the source as it was written, with its
exits; ``surely`` is noted at the names. Names of functions around, and globals, are not its business.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from .syntax import Function, names_bound

_Bound = frozenset[str] | None  # None: never reached


def note_definite(function: Function, parameters: Iterable[str]) -> None:
    """Note ``surely`` at the names that a function reads."""
    _Definite().block(function.body, frozenset(parameters))


def _both(*ways: _Bound) -> _Bound:
    """What is bound on every way that is gone."""
    reached = [w for w in ways if w is not None]
    return frozenset.intersection(*reached) if reached else None


class _Definite:
    def __init__(self) -> None:
        self._breaks: list[list[_Bound]] = []

    def block(self, statements: Sequence[ast.stmt], bound: _Bound) -> _Bound:
        """What is bound after statements, if ``bound`` is before them."""
        for statement in statements:
            bound = self._after(statement, bound)
        return bound

    def _after(self, s: ast.stmt, bound: _Bound) -> _Bound:
        match s:
            case ast.If(test=test):
                bound = self._read(bound, test)
                return _both(self.block(s.body, bound), self.block(s.orelse, bound))
            case ast.While(test=test):
                bound = self._read(bound, test)
                self._breaks.append([])
                self.block(s.body, bound)
                broken = self._breaks.pop()
                ended = None if isinstance(test, ast.Constant) and test.value else self.block(s.orelse, bound)
                return _both(ended, *broken)
            case ast.For() | ast.AsyncFor():
                bound = self._read(bound, s.iter)
                self._breaks.append([])
                self.block(s.body, self._read(bound, s.target))
                return _both(self.block(s.orelse, bound), *self._breaks.pop())
            case ast.With() | ast.AsyncWith():
                inside = self.block(s.body, self._read(bound, *s.items))
                return _both(inside, self._read(bound, *s.items))  # it may swallow an error
            case ast.Try() | ast.TryStar():
                body = self.block(s.body, bound)
                ways = [self.block(s.orelse, body)]
                for handler in s.handlers:
                    before = bound if bound is None or handler.name is None else bound | {handler.name}
                    ways.append(self.block(handler.body, before))
                after = self.block(s.finalbody, bound)
                joined = _both(*ways)
                return None if joined is None or after is None else joined | after
            case ast.Match():
                bound = self._read(bound, s.subject)
                ways = [bound]
                for case in s.cases:
                    ways.append(self.block(case.body, self._read(bound, case.pattern, *(g for g in [case.guard] if g))))
                return _both(*ways)
            case ast.Return() | ast.Raise():
                self._read(bound, s)
                return None
            case ast.Break() | ast.Continue():
                if isinstance(s, ast.Break) and self._breaks:
                    self._breaks[-1].append(bound)
                return None
            case ast.Delete():
                self._read(bound, s)
                gone = {t.id for t in s.targets if isinstance(t, ast.Name)}
                return None if bound is None else bound - gone
        return self._read(bound, s)

    @staticmethod
    def _read(bound: _Bound, *nodes: ast.AST) -> _Bound:
        """Note the names that nodes read; what is bound after them."""
        if bound is None:
            return None
        for node in nodes:
            for each in ast.walk(node):
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load) and each.id in bound:
                    each.surely = True  # type: ignore[attr-defined]
        return bound | set(names_bound(*nodes))

"""Which variables are read later: those alone are what a branch or a loop gives.

The usual backward analysis (Aho et al., Compilers, 9.2.5) over the statements of one function, whose exits are flags by
now (exits.py). It notes at each ``if``, ``while`` and ``for`` the names that are read after it (``live``), and at loops
those that an iteration, or the test, reads before it binds them (``entering``). Names that functions defined inside
refer to are live everywhere: nobody knows when those are called.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence

from .syntax import Function, inner, names_bound, names_read

_Names = frozenset[str]


def note_liveness(function: Function, around: Iterable[str] = ()) -> None:
    """Note ``live`` and ``entering`` at the statements of a function; variables of the code ``around`` it are read by
    who knows whom."""
    always = frozenset(names_read(*inner(*function.body))).union(around)
    _Liveness(always).block(function.body, frozenset())


class _Liveness:
    def __init__(self, always: _Names):
        self._always = always
        self._loops: list[tuple[_Names, _Names]] = []  # live at the header, after the loop: of those with exits

    def block(self, statements: Sequence[ast.stmt], live: _Names) -> _Names:
        """The names that are live before the statements, if ``live`` are after them."""
        for statement in reversed(statements):
            live = self._before(statement, live)
        return live

    def _before(self, s: ast.stmt, live: _Names) -> _Names:
        match s:
            case ast.If():
                s.live = live | self._always  # type: ignore[attr-defined]
                return self.block(s.body, live) | self.block(s.orelse, live) | names_read(s.test)
            case ast.While() | ast.For():
                return self._loop(s, live)
            case ast.With():
                return frozenset(names_read(*s.items)) | self.block(s.body, live)
            case ast.Try() | ast.TryStar():
                return self._try(s, live)
            case ast.Match():
                found = live | names_read(s.subject)
                for case in s.cases:
                    found |= self.block(case.body, live) | names_read(*(g for g in [case.guard] if g))
                return found
            case ast.Return():
                return frozenset(names_read(s))
            case ast.Raise():
                return frozenset(names_read(s)) | self._always
            case ast.Break() if self._loops:
                return self._loops[-1][1]
            case ast.Continue() if self._loops:
                return self._loops[-1][0]
            case ast.AugAssign(target=ast.Name(id=name)):
                return live | {name} | names_read(s.value)
            case ast.Delete():
                return live | set(names_bound(s)) | names_read(s)
            case (
                ast.Assign()
                | ast.AnnAssign()
                | ast.FunctionDef()
                | ast.AsyncFunctionDef()
                | ast.ClassDef()
                | ast.Import()
                | ast.ImportFrom()
            ):
                return (live - set(names_bound(s))) | names_read(s)
        return live | names_read(s)

    def _loop(self, s: ast.While | ast.For, live: _Names) -> _Names:
        after = self.block(s.orelse, live)
        asked = frozenset(getattr(s, "leaving", ())) | (names_read(s.test) if isinstance(s, ast.While) else set())
        # What reaches the test or the next iteration from the one before, whatever is read after the loop.
        s.reading = self._header(s, asked, frozenset())  # type: ignore[union-attr]
        s.entering = s.reading | self._always  # type: ignore[union-attr]
        header = self._header(s, asked | after, live)  # last: its notes in the body stay
        s.live = live | self._always  # type: ignore[union-attr]
        return header | (names_read(s.iter) if isinstance(s, ast.For) else set())

    def _header(self, s: ast.While | ast.For, header: _Names, after: _Names) -> _Names:
        """The names that are live before an iteration, if ``header`` are live before the test at least."""
        while True:
            self._loops.append((header, after))
            body = self.block(s.body, header)
            self._loops.pop()
            if isinstance(s, ast.For):
                body = body - set(names_bound(s.target)) | names_read(s.target)
            if body <= header:
                return header
            header |= body

    def _try(self, s: ast.Try | ast.TryStar, live: _Names) -> _Names:
        """Control may leave the body anywhere: nothing that is bound there is bound for sure."""
        final = self.block(s.finalbody, live) | live
        handlers = final
        for handler in s.handlers:
            handlers |= self.block(handler.body, final) | names_read(*(t for t in [handler.type] if t))
        orelse = self.block(s.orelse, final)
        everywhere = handlers | orelse
        inside = self.block(s.body, everywhere)
        self._widen(s.body, handlers)
        return inside | everywhere

    @staticmethod
    def _widen(statements: Sequence[ast.stmt], live: _Names) -> None:
        """An exception leads from each statement to the handlers."""
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, (ast.If, ast.While, ast.For)) and hasattr(node, "live"):
                    node.live |= live

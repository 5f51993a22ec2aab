"""``return``, ``break`` and ``continue`` as assignments, so that a branch or a loop's body is left at its end alone.

An exit sets a flag (``_weft_return``, ``_weft_break_1``, ``_weft_continue_1``), a return also ``_weft_result``; what
follows a statement that may set one stands behind ``if not flag``. Where a branch surely exits, what follows its ``if``
is the other branch instead, so that the usual early return needs no flag at all. While the flags are Python's bools, it
is Python that runs, one ``if`` more at a time; flags that hang on values become tensors like any other variable.

Only functions are changed in which a value may decide of an exit (:func:`needed`).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import NamedTuple

from .signals import RESULT
from .syntax import Function, assign, at, has, is_literal, is_pythons, load, own, runtime

RETURN = "_weft_return"
_LOOPS = (ast.For, ast.While)


class Unsupported(Exception):
    """Source that is left as it is."""


def marked(function: Function) -> bool:
    """Mark the ``if``, ``while`` and ``for`` that a value may decide of (``staged``); whether it may decide of an exit
    too."""
    exits = False

    def visit(statement: ast.AST, around: list[ast.AST]) -> None:
        nonlocal exits
        match statement:
            case ast.If(test=test) | ast.While(test=test):
                statement.staged = not is_pythons(test)  # type: ignore[union-attr]
            case ast.For(iter=iterable):
                statement.staged = not is_literal(iterable)  # type: ignore[attr-defined]
            case ast.Return() | ast.Break() | ast.Continue():
                if any(getattr(s, "staged", False) for s in around):
                    exits = True
                    for s in reversed(around):
                        if isinstance(s, _LOOPS):
                            s.staged = True  # type: ignore[union-attr]
                            if not isinstance(statement, ast.Return):
                                break
                return
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                return
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
                visit(child, [*around, statement])

    for statement in function.body:
        visit(statement, [])
    for loop in own(*function.body) if exits else ():
        if isinstance(loop, _LOOPS) and has(loop.body, ast.Return):
            loop.staged = True  # type: ignore[union-attr]
    return exits


class _Block(NamedTuple):
    """Statements without exits; the flags that they may set; whether what follows them is never reached."""

    statements: list[ast.stmt]
    flags: frozenset[str]
    surely: bool


class _Loop(NamedTuple):
    """The flags of a loop."""

    broken: str
    continued: str


def without_exits(function: Function) -> None:
    """Rewrite the body of a function so that its only ``return`` is at its end.

    Raises:
        Unsupported: it cannot be said without exits.
    """
    body = _Exits().block(function.body, None)
    first = [assign(RETURN, ast.Constant(False)), assign(RESULT, runtime("unset"))]
    flag: ast.expr = ast.Constant(True) if body.surely else load(RETURN)
    function.body = [
        *at(function.body[0], first),
        *body.statements,
        *at(function.body[-1], [ast.Return(runtime("returned", load(RESULT), flag))]),
    ]


class _Exits:
    def __init__(self) -> None:
        self._loops = 0

    def block(self, statements: Sequence[ast.stmt], loop: _Loop | None) -> _Block:
        """A block: each statement, and what follows it if the statement may exit."""
        made: list[ast.stmt] = []
        flags: frozenset[str] = frozenset()
        for n, statement in enumerate(statements):
            rest = statements[n + 1 :]
            if isinstance(statement, ast.If) and rest and self._takes(statement, rest):
                rest = []
            found = self._statement(statement, loop)
            made += found.statements
            flags |= found.flags
            if found.surely:
                return _Block(made, flags, True)
            if found.flags and rest:
                following = self.block(rest, loop)
                guard = ast.If(runtime("none_of", *map(load, sorted(found.flags))), following.statements, [])
                guard.staged = True  # type: ignore[attr-defined]
                made += at(rest[0], [guard])
                return _Block(made, flags | following.flags, following.surely)
            if not rest:
                break
        return _Block(made, flags, False)

    @staticmethod
    def _takes(statement: ast.If, rest: Sequence[ast.stmt]) -> bool:
        """Give what follows an ``if`` to its other branch, where one of the two surely exits."""
        if _exits(statement.body):
            if not _leaves(statement.orelse):
                statement.orelse = [*statement.orelse, *rest]
            return True
        if _exits(statement.orelse):
            statement.body = [*statement.body, *rest]
            return True
        return False

    def _statement(self, s: ast.stmt, loop: _Loop | None) -> _Block:
        match s:
            case ast.Return(value=value):
                made = [assign(RETURN, ast.Constant(True)), assign(RESULT, value or ast.Constant(None))]
                return _Block(at(s, made), frozenset([RETURN]), True)
            case ast.Break() | ast.Continue() if loop is not None:
                flag = loop.broken if isinstance(s, ast.Break) else loop.continued
                return _Block(at(s, [assign(flag, ast.Constant(True))]), frozenset([flag]), True)
            case ast.Raise():
                return _Block([s], frozenset(), True)
            case ast.If():
                return self._if(s, loop)
            case ast.For() | ast.While():
                return self._loop(s, loop)
            case ast.With():
                body = self.block(s.body, loop)
                s.body = body.statements
                return _Block([s], body.flags, False)
            case ast.Try():
                return self._try(s, loop)
            case ast.Match():
                flags: frozenset[str] = frozenset()
                for case in s.cases:
                    body = self.block(case.body, loop)
                    case.body, flags = body.statements, flags | body.flags
                return _Block([s], flags, False)
            case ast.AsyncFor() | ast.AsyncWith() | ast.TryStar():
                raise Unsupported(type(s).__name__)
        return _Block([s], frozenset(), False)

    def _if(self, s: ast.If, loop: _Loop | None) -> _Block:
        body, orelse = self.block(s.body, loop), self.block(s.orelse, loop)
        s.body, s.orelse = body.statements or at(s, [ast.Pass()]), orelse.statements
        return _Block([s], body.flags | orelse.flags, body.surely and orelse.surely)

    def _loop(self, s: ast.For | ast.While, around: _Loop | None) -> _Block:
        if not getattr(s, "staged", False):  # its exits are Python's, and none is a return
            s.body = self.block(s.body, None).statements  # loops in it may be staged
            orelse = self.block(s.orelse, around)
            s.orelse = orelse.statements
            return _Block([s], orelse.flags, False)
        self._loops += 1
        loop = _Loop(f"_weft_break_{self._loops}", f"_weft_continue_{self._loops}")
        body = self.block(s.body, loop)
        s.body = body.statements
        if loop.continued in body.flags:
            s.body = [*at(s.body[0], [assign(loop.continued, ast.Constant(False))]), *s.body]
        leaving = sorted(body.flags & {loop.broken, RETURN})
        s.leaving = leaving  # type: ignore[union-attr]
        before = [assign(f, ast.Constant(False)) for f in (loop.broken, loop.continued) if f in body.flags]
        made: list[ast.stmt] = [*at(s, before), s]
        flags = body.flags & {RETURN}
        if s.orelse:
            orelse = self.block(s.orelse, around)
            flags |= orelse.flags
            if leaving:
                guard = ast.If(runtime("none_of", *map(load, leaving)), orelse.statements, [])
                guard.staged = True  # type: ignore[attr-defined]
                made += at(s.orelse[0], [guard])
            else:
                made += orelse.statements
            s.orelse = []
        return _Block(made, flags, False)

    def _try(self, s: ast.Try, loop: _Loop | None) -> _Block:
        if has(s.finalbody, ast.Return, ast.Break, ast.Continue):
            raise Unsupported("an exit in finally")
        body, orelse = self.block(s.body, loop), self.block(s.orelse, loop)
        s.body, flags = body.statements, body.flags | orelse.flags
        if s.orelse and body.flags:
            guard = ast.If(runtime("none_of", *map(load, sorted(body.flags))), orelse.statements, [])
            guard.staged = True  # type: ignore[attr-defined]
            s.orelse = at(s.orelse[0], [guard])
        else:
            s.orelse = orelse.statements
        for handler in s.handlers:
            found = self.block(handler.body, loop)
            handler.body, flags = found.statements, flags | found.flags
        return _Block([s], flags, False)


def _leaves(statements: Sequence[ast.stmt]) -> bool:
    """Whether the end of a block is never reached."""
    if not statements:
        return False
    match statements[-1]:
        case ast.Return() | ast.Break() | ast.Continue() | ast.Raise():
            return True
        case ast.If(body=body, orelse=orelse):
            return _leaves(body) and _leaves(orelse)
    return False


def _exits(statements: Sequence[ast.stmt]) -> bool:
    """Whether a block surely exits, and not only by raising."""
    return _leaves(statements) and has(statements, ast.Return, ast.Break, ast.Continue)

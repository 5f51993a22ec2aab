"""A function's source, rewritten: what a value may decide of becomes calls of flow.py, which runs or stages it.

    if x > 0:                     def if_1():
        y = x                         nonlocal y
    else:               =>            y = x
        y = -x                    def else_1(): ...
                                  def get_1(): return (peek(lambda: y),)
                                  def set_1(values): ...
                                  _weft_flow.if_(x > 0, if_1, else_1, State(("y",), ...))

The functions share the variables of the function around them, so that Python's own rules hold for all that is not
staged: names, exceptions, ``del``, attributes. Loops alike; ``and``, ``or``, ``not``, conditional expressions, chained
comparisons and ``assert`` become calls over lambdas, ``f(x)`` becomes ``call(f)(x)``, so that functions that are called
are rewritten too (find.py), and ``a.b``, ``a[b]`` and values of which all may matter calls that see what is read of
objects from outside (reads.py). What Python alone can decide stays as it is (``is``, ``isinstance``, literals). Exits
were made flags before (exits.py).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from .definite import note_definite
from .exits import Unsupported, marked, without_exits
from .liveness import note_liveness
from .signals import FLOW
from .syntax import (
    Function,
    assign,
    at,
    has,
    is_pythons,
    load,
    locate,
    names_bound,
    own,
    runtime,
    thunk,
)

# Expressions of which functions are made, or may be.
_INTO_FUNCTIONS = (ast.BoolOp, ast.IfExp, ast.Compare, ast.Lambda, ast.NamedExpr, ast.ListComp)
_LOOKS_AROUND = {"locals", "vars", "dir", "exec", "eval"}  # they would see the variables of another function
_SUSPENDS = (ast.Yield, ast.YieldFrom, ast.Await)
_IN_PLACE = {
    "Add": "iadd",
    "Sub": "isub",
    "Mult": "imul",
    "MatMult": "imatmul",
    "Div": "itruediv",
    "FloorDiv": "ifloordiv",
    "Mod": "imod",
    "Pow": "ipow",
    "LShift": "ilshift",
    "RShift": "irshift",
    "BitOr": "ior",
    "BitXor": "ixor",
    "BitAnd": "iand",
}
_UNARY = {"USub": "neg", "UAdd": "pos", "Invert": "invert"}
_COMPARING = {"Eq": "eq", "NotEq": "ne", "Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge"}
_CHANGES = {
    "append",
    "extend",
    "insert",
    "pop",
    "remove",
    "clear",
    "update",
    "setdefault",
    "popitem",
    "reverse",
    "sort",
}


# Expressions that give objects that were there before: all others make what they give.
_GIVING = (ast.Name, ast.Attribute, ast.Subscript, ast.Call, ast.IfExp, ast.BoolOp, ast.NamedExpr, ast.Tuple, ast.List)


def rewritten(function: Function | ast.Lambda, around: str | None = None) -> None:
    """Rewrite a function in place; ``around``: the class that it stands in, for names like ``__private``.

    Raises:
        Unsupported: it is left as it is.
    """
    _Function(function, frozenset(), around).rewrite()


class _Function(ast.NodeTransformer):
    """The rewriting of one function. ``watched``: variables of the functions around that may be unbound on a path;
    ``around``: the class around."""

    def __init__(self, function: Function | ast.Lambda, watched: frozenset[str], around: str | None):
        self.function = function
        self.globals: set[str] = set()
        self.nonlocals: set[str] = set()
        self.watched = watched
        self.number, self.around = 0, around
        self.locals: set[str] = set()
        args = function.args
        every = [*args.posonlyargs, *args.args, *([args.vararg] if args.vararg else []), *args.kwonlyargs]
        self.parameters = {a.arg for a in every} | ({args.kwarg.arg} if args.kwarg else set())
        firsts = [*args.posonlyargs, *args.args]
        self.first = firsts[0].arg if firsts else None

    def rewrite(self) -> None:
        function = self.function
        if isinstance(function, ast.Lambda):
            self.watched = self.watched - self.parameters
            function.body = self.visit(function.body)
            return
        self._check(function)
        mine = names_bound(*function.body)
        self._declarations(function)
        note_definite(function, self.parameters)
        exits = marked(function)
        if exits and not isinstance(function, ast.AsyncFunctionDef) and not has(function.body, *_SUSPENDS):
            without_exits(function)
        note_liveness(function, self.globals | self.nonlocals)
        bound = set(names_bound(*function.body)) | self.parameters
        self.locals = bound - self.globals - self.nonlocals
        staged = [s for s in own(*function.body) if self._is_staged(s)]
        shared = set(names_bound(*staged)) | (set(_containers_changed(staged)) & self.locals)
        self.watched = (self.watched - bound) | {n for n in shared if not n.startswith("_weft_")}
        body = [made for s in function.body for made in self._statements(s)]
        locals_ = sorted(shared - self.parameters - self.globals - self.nonlocals)
        before: list[ast.stmt] = []
        if self.globals:
            before.append(ast.Global(sorted(self.globals)))
        if self.nonlocals:
            before.append(ast.Nonlocal(sorted(self.nonlocals)))
        if locals_:  # never run: it makes them variables of this function
            before.append(ast.If(ast.Constant(False), [assign(name, ast.Constant(None)) for name in locals_], []))
        before += self._watched_variables(mine)
        function.body = [*at(function.body[0], before), *body]

    def _watched_variables(self, bound: Sequence[str]) -> list[ast.stmt]:
        """Calls that note the variables of functions around, and globals, which the function stores into."""
        made: list[ast.stmt] = []
        around = [thunk(load(name)) for name in bound if name in self.nonlocals]
        if around:
            made.append(ast.Expr(runtime("watch", *around)))
        named: list[ast.expr] = [ast.Constant(name) for name in bound if name in self.globals]
        if named:
            made.append(ast.Expr(runtime("watch_globals", thunk(ast.Constant(None)), *named)))
        return made

    @staticmethod
    def _check(function: Function) -> None:
        for node in own(*function.body):
            match node:
                case ast.Call(func=ast.Name(id=name), args=args) if name in _LOOKS_AROUND:
                    if not args or name in ("exec", "eval"):
                        raise Unsupported(f"it calls {name}()")

    def _declarations(self, function: Function) -> None:
        """Take ``global`` and ``nonlocal`` out: they come first, for functions that are made too."""

        class Out(ast.NodeTransformer):
            def visit_Global(_, node: ast.Global) -> ast.stmt:
                self.globals.update(node.names)
                return ast.copy_location(ast.Pass(), node)

            def visit_Nonlocal(_, node: ast.Nonlocal) -> ast.stmt:
                self.nonlocals.update(node.names)
                return ast.copy_location(ast.Pass(), node)

            def visit_FunctionDef(_, node: ast.AST) -> ast.AST:
                return node

            visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_FunctionDef

        function.body = [Out().visit(s) for s in function.body]

    @staticmethod
    def _is_staged(s: ast.AST) -> bool:
        if not isinstance(s, (ast.If, ast.While, ast.For)) or not getattr(s, "staged", False):
            return False
        if isinstance(s, (ast.While, ast.For)) and s.orelse:
            parts: list[ast.AST] = [*s.body, *s.orelse]
            return not _leaves_open(parts) and not has([s], *_SUSPENDS)
        return not _leaves_open([s]) and not has([s], *_SUSPENDS)

    # --- statements -------------------------------------------------------------------------------------------------

    def _statements(self, statement: ast.stmt) -> list[ast.stmt]:
        made = self.visit(statement)
        return made if isinstance(made, list) else [made]

    def _block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        return [made for s in statements for made in self._statements(s)]

    def visit_If(self, s: ast.If) -> ast.AST | list[ast.stmt]:
        if not self._is_staged(s):
            return self._plainly(s)
        number, inside = self._next(), [*s.body, *s.orelse]
        names, changed = self._variables(inside, inside)
        state, functions = self._state(number, names, changed, inside, s.live, s.live)  # type: ignore[attr-defined]
        test = self._test(s.test)
        body = self._made(f"if_{number}", [], names, self._block(s.body))
        orelse = self._made(f"else_{number}", [], names, self._block(s.orelse))
        call = ast.Expr(runtime("if_", test, load(f"if_{number}"), load(f"else_{number}"), state))
        return at(s, [body, orelse, *functions, call])

    def visit_While(self, s: ast.While) -> ast.AST | list[ast.stmt]:
        if not self._is_staged(s):
            return self._plainly(s)
        number = self._next()
        names, changed = self._variables([s.test, *s.body], s.body)
        state, functions = self._state(number, names, changed, s.body, s.live, s.entering, s.reading)  # type: ignore[attr-defined]
        test = self._test(s.test)
        leaving = getattr(s, "leaving", [])
        asked = [self._made(f"test_{number}", [], names, [ast.Return(test)])]
        if leaving:
            test = ast.Call(load(f"test_{number}"), [], [])
            test = runtime("and_", runtime("none_of", *map(load, leaving)), thunk(test))
            asked.append(self._made(f"on_{number}", [], [], [ast.Return(test)]))
        body = self._made(f"while_{number}", [], names, self._block(s.body))
        call = ast.Expr(runtime("while_", load(asked[-1].name), load(f"while_{number}"), state))
        return [*at(s, [*asked, body, *functions, call]), *self._block(s.orelse)]

    def visit_For(self, s: ast.For) -> ast.AST | list[ast.stmt]:
        if not self._is_staged(s):
            s.iter = self._gone_through(self.visit(s.iter), s.target)
            s.target, stores = self._spread(s.target)
            s.body, s.orelse = [*at(s, stores), *self._block(s.body)], self._block(s.orelse)
            return at(s, [s])[0]
        number = self._next()
        names, changed = self._variables([s.target, *s.body], s.body)
        state, functions = self._state(number, names, changed, s.body, s.live, s.entering, s.reading)  # type: ignore[attr-defined]
        iterable = self._gone_through(self.visit(s.iter), s.target)
        item = f"_weft_item_{number}"
        target, stores = self._spread(s.target)
        first = [ast.copy_location(ast.Assign([target], load(item)), s), *at(s, stores)]
        body = self._made(f"for_{number}", [item], names, [*first, *self._block(s.body)])
        leaving = getattr(s, "leaving", [])
        going = thunk(runtime("none_of", *map(load, leaving))) if leaving else ast.Constant(None)
        call = ast.Expr(runtime("for_", iterable, load(f"for_{number}"), going, state))
        return [*at(s, [body, *functions, call]), *self._block(s.orelse)]

    def _plainly(self, s: Any) -> Any:
        """A statement whose test Python decides."""
        test, s.test = s.test, ast.copy_location(ast.Constant(None), s.test)
        made: Any = self.generic_visit(s)
        made.test = self._test(test)
        return made

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _made(self, name: str, parameters: list[str], names: Sequence[str], body: list[ast.stmt]) -> ast.FunctionDef:
        """A function whose variables are those of the function around it."""
        arguments = ast.arguments([], [ast.arg(p) for p in parameters], None, [], [], None, [])
        around: list[ast.stmt] = []
        shared = [n for n in names if n not in self.globals]
        if shared:
            around.append(ast.Nonlocal(shared))
        if len(shared) < len(names):
            around.append(ast.Global([n for n in names if n in self.globals]))
        made = ast.FunctionDef(name, arguments, [*around, *(body or [ast.Pass()])], [])
        made.type_params = []  # type: ignore[attr-defined]  # of newer Pythons
        return made

    def _variables(self, binding: Sequence[ast.AST], inside: Sequence[ast.AST]) -> tuple[list[str], set[str]]:
        """The names that statements bind, and local lists and dicts that they change, which are said apart as well."""
        names = names_bound(*binding)
        changed = [n for n in _containers_changed(inside) if n in self.locals and n not in names]
        return [*names, *changed], set(changed)

    def _state(
        self,
        number: int,
        names: list[str],
        changed: set[str],
        inside: Sequence[ast.AST],
        live: frozenset[str],
        entering: frozenset[str],
        reading: frozenset[str] = frozenset(),
    ) -> tuple[ast.expr, list[ast.stmt]]:
        """The expression that makes the State of a statement, and the functions that it needs: of variables that the
        statement binds or whose items it changes, and of attributes that it stores (``self.h``)."""
        attributes = _attributes_stored(inside, set(names))
        shown = [*names, *attributes]
        got = [runtime("peek", thunk(self._read(_expression(name)))) for name in shown]
        get = self._made(f"get_{number}", [], [], [ast.Return(ast.Tuple(got, ast.Load()))])
        unbound = ast.Attribute(load(FLOW), "UNBOUND", ast.Load())
        sets: list[ast.stmt] = []
        for n, name in enumerate(shown):
            value = ast.Subscript(load("_weft_values"), ast.Constant(n), ast.Load())
            known = ast.Compare(runtime("peek", thunk(_expression(name))), [ast.IsNot()], [unbound])
            drop = ast.If(known, [self._dropped(name)], [])
            give = self._given(name, value)
            sets.append(ast.If(ast.Compare(value, [ast.Is()], [unbound]), [drop], [give]))
        put = self._made(f"set_{number}", ["_weft_values"], names, sets)
        always = {*attributes, *changed}
        flags = [
            _constants(shown),
            _constants([n in live or n in always for n in shown]),
            _constants([2 if n in reading else int(n in entering or n in always) for n in shown]),
        ]
        return runtime("State", *flags, load(f"get_{number}"), load(f"set_{number}")), [get, put]

    def _given(self, name: str, value: ast.expr) -> ast.stmt:
        """``name = value``, of a variable or an attribute."""
        target = _expression(name)
        if isinstance(target, ast.Attribute):
            return ast.Expr(runtime("put", value, target.value, self._name(target.attr)))
        return ast.Assign([_with(target, ast.Store())], value)

    def _dropped(self, name: str) -> ast.stmt:
        """``del name``."""
        target = _expression(name)
        if isinstance(target, ast.Attribute):
            return ast.Expr(runtime("drop", target.value, self._name(target.attr)))
        return ast.Delete([_with(target, ast.Del())])

    # --- stores -----------------------------------------------------------------------------------------------------

    def _name(self, name: str) -> ast.expr:
        """The name of an attribute, as Python spells it within a class."""
        if name.startswith("__") and not name.endswith("__") and self.around is not None:
            name = f"_{self.around.lstrip('_')}{name}" if self.around.strip("_") else name
        return ast.Constant(name)

    def _stored(self, target: ast.expr, value: ast.expr) -> ast.stmt:
        """``target = value``, of an attribute or item."""
        if isinstance(target, ast.Attribute):
            return ast.Expr(runtime("set_attribute", value, self.visit(target.value), self._name(target.attr)))
        assert isinstance(target, ast.Subscript)
        return ast.Expr(runtime("set_item", value, self.visit(target.value), self._stored_key(target.slice)))

    def _stored_key(self, key: ast.expr) -> ast.expr:
        """An index at which something is stored: arrays in it count by what they hold."""
        return self._key(key) if has([key], ast.Slice) else self._used(self.visit(key), True)

    def _assigned(self, s: ast.Assign) -> ast.expr:
        """The value of an assignment: all of it may matter where it is unpacked, or becomes an item."""
        value = self.visit(s.value)
        if any(isinstance(t, (ast.Tuple, ast.List)) for t in s.targets):
            return self._used(value, True)
        if any(isinstance(t, ast.Subscript) for t in s.targets) and isinstance(value, _GIVING):
            return self._expr(value, runtime("stored", value))
        return value

    def _rebound(self, name: str, value: ast.expr) -> ast.expr:
        """A value that is stored in a variable, which may be one of a function around."""
        if name in self.nonlocals:
            return runtime("rebound", thunk(load(name)), value)
        if name in self.globals:
            return runtime("rebound_global", thunk(ast.Constant(None)), ast.Constant(name), value)
        return value

    def _spread(self, target: ast.expr) -> tuple[ast.expr, list[ast.stmt]]:
        """A target with new variables in the place of what it has attributes and items among, and what stores these."""
        if not any(isinstance(n, (ast.Attribute, ast.Subscript)) for n in _leaves(target)):
            return self.visit(target), []
        stores: list[ast.stmt] = []

        def plain(part: ast.expr) -> ast.expr:
            if isinstance(part, (ast.Tuple, ast.List)):
                return type(part)([plain(p) for p in part.elts], ast.Store())
            if isinstance(part, ast.Starred):
                return ast.Starred(plain(part.value), ast.Store())
            name = f"_weft_part_{self._next()}"
            if isinstance(part, ast.Name):
                stores.append(ast.Assign([part], load(name)))
            else:
                stores.append(self._stored(part, load(name)))
            return ast.Name(name, ast.Store())

        return plain(target), stores

    def visit_Assign(self, s: ast.Assign) -> ast.AST | list[ast.stmt]:
        if len(s.targets) == 1 and isinstance(s.targets[0], (ast.Attribute, ast.Subscript)):
            return at(s, [self._stored(s.targets[0], self._assigned(s))])
        if not any(isinstance(n, (ast.Attribute, ast.Subscript)) for t in s.targets for n in _leaves(t)):
            only = s.targets[0]
            if len(s.targets) == 1 and isinstance(only, ast.Name):
                s.value = self._rebound(only.id, self._assigned(s))
                return at(s, [s])[0]
            s.value = self._assigned(s)
            s.targets = [self.visit(t) for t in s.targets]
            return s
        value = self._assigned(s)
        name = f"_weft_part_{self._next()}"
        made: list[ast.stmt] = [assign(name, value)]
        for target in s.targets:
            if isinstance(target, (ast.Attribute, ast.Subscript)):
                made.append(self._stored(target, load(name)))
            else:
                plain, stores = self._spread(target)
                made += [ast.Assign([plain], load(name)), *stores]
        return at(s, made)

    def visit_Delete(self, s: ast.Delete) -> ast.AST | list[ast.stmt]:
        made: list[ast.stmt] = []
        for target in (leaf for each in s.targets for leaf in _leaves(each)):
            if isinstance(target, ast.Attribute):
                gone = runtime("delete_attribute", self.visit(target.value), self._name(target.attr))
                made.append(ast.Expr(gone))
            elif isinstance(target, ast.Subscript):
                key = self._stored_key(target.slice)
                made.append(ast.Expr(runtime("delete_item", self.visit(target.value), key)))
            else:
                made.append(ast.Delete([self.visit(target)]))
        return at(s, made)

    def visit_With(self, s: ast.With) -> ast.AST:
        stores: list[ast.stmt] = []
        for with_ in s.items:
            manager = self.visit(with_.context_expr)
            with_.context_expr = self._expr(manager, runtime("entered", manager))
            if with_.optional_vars is not None:
                with_.optional_vars, more = self._spread(with_.optional_vars)
                stores += more
        s.body = [*stores, *self._block(s.body)]
        return at(s, [s])[0]

    def visit_ExceptHandler(self, handler: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(handler)
        handler.body = [*at(handler.body[0], [ast.Expr(runtime("caught"))]), *handler.body]
        return handler

    def visit_Try(self, s: ast.Try | ast.TryStar) -> ast.AST:
        leaves = has(s.finalbody, ast.Return, ast.Break, ast.Continue)
        made: Any = self.generic_visit(s)
        if leaves:
            made.finalbody = [*at(s.finalbody[0], [ast.Expr(runtime("left"))]), *made.finalbody]
        if s.handlers:
            body = [ast.Expr(runtime("trying")), *made.body]
            made.body = at(s, [ast.Try(body, [], [], [ast.Expr(runtime("tried"))])])
        return made

    def visit_TryStar(self, s: ast.TryStar) -> ast.AST:
        return self.visit_Try(s)

    def visit_Assert(self, s: ast.Assert) -> ast.AST:
        if is_pythons(s.test):
            return self._plainly(s)
        message = ast.Constant(None) if s.msg is None else thunk(self.visit(s.msg))
        made = ast.Expr(runtime("assert_", self._test(s.test), message))
        return at(s, [ast.If(load("__debug__"), [made], [])])[0]

    def visit_AnnAssign(self, s: ast.AnnAssign) -> ast.AST:
        """Annotations mean nothing in a function, and may not be of variables that its functions share."""
        if s.value is None:
            keeps: list[ast.stmt] = [ast.Pass()]
            if isinstance(s.target, ast.Name):
                keeps = [assign(s.target.id, ast.Constant(None))]
            return at(s, [ast.If(ast.Constant(False), keeps, [])])[0]  # it makes a variable, even so
        made = self.visit_Assign(ast.copy_location(ast.Assign([s.target], s.value), s))
        return made[0] if isinstance(made, list) else made

    def visit_AugAssign(self, s: ast.AugAssign) -> ast.AST:
        target, operation = s.target, ast.Constant(_IN_PLACE[type(s.op).__name__])
        made: ast.stmt
        added = self.visit(s.value)
        if isinstance(target, ast.Subscript):
            got = runtime("got_item", self.visit(target.value), self._stored_key(target.slice))
            made = ast.Expr(runtime("augment_item", got, operation, added))
        elif isinstance(target, ast.Attribute):
            got = runtime("got_attribute", self.visit(target.value), self._name(target.attr))
            made = ast.Expr(runtime("augment_attribute", got, operation, added))
        else:
            value = runtime("augmented", operation, load(target.id), added)
            made = assign(target.id, self._rebound(target.id, value))
        return at(s, [made])[0]

    def _key(self, key: ast.expr) -> ast.expr:
        """An index as a value: a slice stands by itself nowhere else."""
        if isinstance(key, ast.Slice):
            ends = [ast.Constant(None) if end is None else self.visit(end) for end in (key.lower, key.upper, key.step)]
            return self._expr(key, runtime("slice", *ends))
        if isinstance(key, ast.Tuple) and any(isinstance(k, ast.Slice) for k in key.elts):
            return self._expr(key, ast.Tuple([self._key(k) for k in key.elts], ast.Load()))
        return self.visit(key)

    def visit_FunctionDef(self, s: ast.FunctionDef) -> ast.AST:
        return self._definition(s)

    def visit_AsyncFunctionDef(self, s: ast.AsyncFunctionDef) -> ast.AST:
        return self._definition(s)

    def _definition(self, s: Function) -> ast.AST:
        s.decorator_list = [self._expr(d, runtime("decorator", self.visit(d))) for d in s.decorator_list]
        s.args.defaults = [self.visit(d) for d in s.args.defaults]
        s.args.kw_defaults = [d and self.visit(d) for d in s.args.kw_defaults]
        _Function(s, self.watched, self.around).rewrite()
        return s

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args.defaults = [self.visit(d) for d in node.args.defaults]
        node.args.kw_defaults = [d and self.visit(d) for d in node.args.kw_defaults]
        _Function(node, self.watched, self.around).rewrite()
        return node

    def visit_ClassDef(self, s: ast.ClassDef) -> ast.AST:
        """Its methods are rewritten, and calls that stand beside them. What else does runs once, as it is: functions
        that are made of it do not see the class's variables."""
        for n, each in enumerate(s.body):
            if isinstance(each, ast.Expr) and isinstance(each.value, ast.Call) and not has([each], *_INTO_FUNCTIONS):
                around, self.around = self.around, s.name
                s.body[n] = self.visit(each)
                self.around = around
            if isinstance(each, ast.FunctionDef):
                method = copy.deepcopy(each)
                with suppress(Unsupported):
                    _Function(method, self.watched, s.name).rewrite()
                    s.body[n] = method
        return s

    def visit_Match(self, s: ast.Match) -> ast.AST:
        """The patterns stay: names in them are no expressions. Python reads what they name."""
        nodes = [n for case in s.cases for n in ast.walk(case.pattern)]
        read = sorted({a for n in nodes if isinstance(n, ast.MatchClass) for a in n.kwd_attrs})
        subject = self.visit(s.subject)
        s.subject = self._expr(subject, runtime("matched", subject, *map(ast.Constant, read)))
        for case in s.cases:
            case.guard = case.guard and self._test(case.guard)
            case.body = self._block(case.body)
        return s

    def visit_ImportFrom(self, s: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        names = [a for a in s.names if a.name != "*"]
        module = ast.Constant("." * s.level + (s.module or ""))
        found = [runtime("imported", module, ast.Constant(a.name), load(a.asname or a.name)) for a in names]
        return [s, *at(s, [ast.Expr(each) for each in found])]

    # --- expressions ------------------------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self.watched:
            surely = ast.Constant(getattr(node, "surely", False))
            return self._expr(node, runtime("bound", node, ast.Constant(node.id), surely))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        node.value = self.visit(node.value)
        return self._read(node)

    def _read(self, node: ast.expr) -> ast.expr:
        """An attribute that is read, by its name in this class."""
        if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
            return node
        return self._expr(node, runtime("attribute", node.value, self._name(node.attr)))

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if not isinstance(node.ctx, ast.Load):
            made: Any = self.generic_visit(node)
            made.slice = self._used(made.slice, True) if not has([made.slice], ast.Slice) else made.slice
            return made
        return self._expr(node, runtime("item_of", self.visit(node.value), self._key(node.slice)))

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        if isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            return node
        name = _IN_PLACE[type(node.op).__name__][1:]
        return self._expr(node, runtime("operated", ast.Constant(name), self.visit(node.left), self.visit(node.right)))

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        made: Any = self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            made.value = self._used(made.value)
        return made

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        made: Any = self.generic_visit(node)
        made.values = [v if k else self._used(v) for k, v in zip(made.keys, made.values, strict=True)]
        return made

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        node.value = self._gone_through(self.visit(node.value))
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        tests, node.ifs = node.ifs, []
        made: Any = self.generic_visit(node)
        if not made.is_async:
            made.iter = self._gone_through(made.iter, node.target)
        made.ifs = [self._test(test) for test in tests]
        return made

    def _used(self, made: ast.expr, deep: bool = False) -> ast.expr:
        """A value, visited, all of which may matter."""
        if not isinstance(made, _GIVING):
            return made
        return self._expr(made, runtime("used", made, *([ast.Constant(True)] if deep else [])))

    def _test(self, node: ast.expr) -> ast.expr:
        """A value whose truth is asked for, each part of it once."""
        if isinstance(node, ast.BoolOp) and not is_pythons(node) and not _is_bound_to_place(*node.values[1:]):
            name = "all_of" if isinstance(node.op, ast.And) else "any_of"
            first, *rest = map(self._test, node.values)
            return self._expr(node, runtime(name, first, *map(thunk, rest)))
        made = self.visit(node)
        return self._expr(made, runtime("tested", made)) if isinstance(made, _GIVING) else made

    def _gone_through(self, made: ast.expr, target: ast.expr | None = None) -> ast.expr:
        """What a loop goes through; where its items are unpacked, they are too."""
        if not isinstance(made, _GIVING):
            return made
        deep = [ast.Constant(True)] if isinstance(target, (ast.Tuple, ast.List)) else []
        return self._expr(made, runtime("gone_through", made, *deep))

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        first = node.generators[0]
        names = first.target.elts if isinstance(first.target, ast.Tuple) else [first.target]
        simple = len(node.generators) == 1 and not first.ifs and not first.is_async
        if not simple or not all(isinstance(n, ast.Name) for n in names) or _is_bound_to_place(node.elt):
            return self.generic_visit(node)
        own_names = [n.id for n in names if isinstance(n, ast.Name)]
        if len(set(own_names)) < len(own_names):
            return self.generic_visit(node)
        iterable = self._gone_through(self.visit(first.iter), first.target)
        watched, self.watched = self.watched, self.watched - set(own_names)
        element = ast.Lambda(
            ast.arguments([], [ast.arg(n) for n in own_names], None, [], [], None, []), self.visit(node.elt)
        )
        self.watched = watched
        spread = ast.Constant(isinstance(first.target, ast.Tuple))
        return self._expr(node, runtime("listed", iterable, element, spread))

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if is_pythons(node.test) or _is_bound_to_place(node.body, node.orelse):
            return self._plainly(node)
        test, *parts = self._test(node.test), self.visit(node.body), self.visit(node.orelse)
        return self._expr(node, runtime("if_exp", test, *map(thunk, parts)))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if is_pythons(node) or _is_bound_to_place(*node.values[1:]):
            made: Any = self.generic_visit(node)
            made.values = [self._used(v) for v in made.values]
            return made
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        first, *rest = map(self.visit, node.values)  # each is tested there
        return self._expr(node, runtime(name, first, *map(thunk, rest)))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.operand, ast.Constant):
            return node
        name = _UNARY.get(type(node.op).__name__)
        if name is not None:
            return self._expr(node, runtime("unary", ast.Constant(name), self.visit(node.operand)))
        operand = node.operand = self._test(node.operand)
        return node if is_pythons(node) else self._expr(node, runtime("not_", operand))

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) == 1:
            return self._comparison(node)
        if _is_bound_to_place(*node.comparators):
            return self.generic_visit(node)
        a, b = "_weft_a", "_weft_b"
        steps: list[ast.expr] = []
        for op, value in zip(node.ops, node.comparators, strict=True):
            both = ast.arguments([], [ast.arg(a), ast.arg(b)], None, [], [], None, [])
            steps.append(ast.Lambda(both, self._compared(load(a), op, load(b))))
            steps.append(thunk(self.visit(value)))
        return self._expr(node, runtime("compare", self.visit(node.left), *steps))

    def _comparison(self, node: ast.Compare) -> ast.expr:
        """One comparison."""
        made = self._compared(self.visit(node.left), node.ops[0], self.visit(node.comparators[0]))
        return self._expr(node, ast.copy_location(made, node) if isinstance(made, ast.Compare) else made)

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.expr:
        if isinstance(op, (ast.In, ast.NotIn)):
            return runtime("in_" if isinstance(op, ast.In) else "not_in", left, right)
        if isinstance(op, (ast.Is, ast.IsNot)):
            if not any(isinstance(n, ast.Constant) and n.value is None for n in (left, right)):
                return runtime("is_" if isinstance(op, ast.Is) else "is_not", left, right)
        elif not (isinstance(left, ast.Constant) and isinstance(right, ast.Constant)):
            return runtime("compared", ast.Constant(_COMPARING[type(op).__name__]), left, right)
        return ast.Compare(left, [op], [right])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            if not node.args and self.first is not None:
                node.args = [load("__class__"), load(self.first)]
                ast.fix_missing_locations(node)
            return self._expr(node, node)
        made: Any = self.generic_visit(node)
        assert isinstance(made, ast.Call)
        for each in made.keywords:
            each.value = self._used(each.value) if each.arg is None else each.value
        made.func = self._expr(node, runtime("call", made.func))
        return made

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        parts = [self._part(v) for v in node.values]
        return self._expr(node, runtime("text", *parts)) if parts else node

    def _part(self, value: ast.expr) -> ast.expr:
        if not isinstance(value, ast.FormattedValue):
            return value
        spec: ast.expr = ast.Constant("") if value.format_spec is None else self.visit(value.format_spec)
        made = runtime("formatted", self._used(self.visit(value.value), True), ast.Constant(value.conversion), spec)
        return self._expr(value, made)

    @staticmethod
    def _expr(place: ast.expr, made: ast.expr) -> ast.expr:
        """An expression that is new, at the line of what it stands for, unless that is new itself."""
        if not hasattr(place, "lineno"):
            return made
        for node in ast.walk(made):
            if isinstance(node, (ast.expr, ast.arg)) and not hasattr(node, "lineno"):
                locate(node, place)
        return made


def _leaves(target: ast.expr) -> list[ast.expr]:
    """What a target stores into."""
    if isinstance(target, (ast.Tuple, ast.List)):
        return [leaf for part in target.elts for leaf in _leaves(part)]
    return _leaves(target.value) if isinstance(target, ast.Starred) else [target]


def _leaves_open(nodes: Sequence[ast.AST]) -> bool:
    """Whether an exit leads out of the nodes."""

    def leads(node: ast.AST, in_loop: bool) -> bool:
        match node:
            case ast.Return():
                return True
            case ast.Break() | ast.Continue():
                return not in_loop
            case ast.For() | ast.While() | ast.AsyncFor():
                return any(leads(n, True) for n in node.body) or any(leads(n, in_loop) for n in node.orelse)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
                return False
        return any(leads(n, in_loop) for n in ast.iter_child_nodes(node))

    return any(leads(n, False) for n in nodes)


def _is_bound_to_place(*nodes: ast.expr) -> bool:
    """Whether expressions do what a lambda around them would change."""
    return any(isinstance(n, (ast.NamedExpr, *_SUSPENDS)) for node in nodes for n in own(node))


def _attributes_stored(statements: Sequence[ast.AST], bound: set[str]) -> list[str]:
    """The attributes ``name.attribute`` that statements store, of names that they do not bind."""
    found: dict[str, None] = {}
    for s in statements:
        for node in own(s):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
                base = node.value
                while isinstance(base, ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name) and base.id not in bound:
                    found[ast.unparse(node)] = None
    return list(found)


def _containers_changed(statements: Sequence[ast.AST]) -> list[str]:
    """The names whose items statements store, or whose methods that change lists and dicts they call."""
    found: dict[str, None] = {}
    for s in statements:
        for node in own(s):
            match node:
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                    found[name] = None
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr)) if attr in _CHANGES:
                    found[name] = None
    return list(found)


def _constants(values: Sequence[str | int]) -> ast.expr:
    return ast.Tuple([ast.Constant(v) for v in values], ast.Load())


def _expression(text: str) -> ast.expr:
    """An expression that is read: a name, or attributes of one."""
    parts = text.split(".")
    made = load(parts[0])
    for part in parts[1:]:
        made = ast.Attribute(made, part, ast.Load())
    return made


def _with(node: ast.expr, context: ast.expr_context) -> ast.expr:
    node.ctx = context  # type: ignore[attr-defined]
    return node

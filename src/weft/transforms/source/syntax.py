"""What the passes over a function's source share: walks that stay inside of one function, and nodes that they make."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .signals import FLOW

Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_SURE = {"isinstance", "issubclass", "hasattr", "callable"}  # they answer with a Python bool


def own(*nodes: ast.AST) -> Iterator[ast.AST]:
    """The nodes and what is below them, but nothing inside of functions, lambdas and classes that they define."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _SCOPES) or node in nodes:
            waiting += ast.iter_child_nodes(node)


def inner(*nodes: ast.AST) -> Iterator[ast.AST]:
    """The functions, lambdas and classes that the nodes define at once."""
    return (node for node in own(*nodes) if isinstance(node, _SCOPES) and node not in nodes)


def has(statements: Iterable[ast.AST], *kinds: type) -> bool:
    """Whether there is a node of these kinds, outside of functions that the statements define."""
    return any(isinstance(node, kinds) for s in statements for node in own_of(s))


def own_of(statement: ast.AST) -> Iterator[ast.AST]:
    """As :func:`own`, where a function that the statement itself is counts as defined there."""
    return iter([statement]) if isinstance(statement, _SCOPES) else own(statement)


def is_pythons(test: ast.expr) -> bool:
    """Whether the truth of an expression can be no tensor's: what it asks has a Python bool for an answer."""
    match test:
        case ast.Constant():
            return True
        case ast.Compare(ops=ops):
            return all(isinstance(op, (ast.Is, ast.IsNot)) for op in ops)
        case ast.Call(func=ast.Name(id=name)):
            return name in _SURE
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return is_pythons(operand)
        case ast.BoolOp(values=values):
            return all(map(is_pythons, values))
    return False


def is_literal(iterable: ast.expr) -> bool:
    """Whether a loop over an expression is one over Python values that are written down, or a dict's."""
    match iterable:
        case ast.List() | ast.Tuple() | ast.Set() | ast.Dict() | ast.Constant():
            return True
        case ast.Call(func=ast.Name(id="range"), args=args):
            return all(isinstance(a, ast.Constant) for a in args)
        case ast.Call(func=ast.Attribute(attr="items" | "keys" | "values"), args=[]):
            return True
    return False


def names_bound(*nodes: ast.AST) -> list[str]:
    """The names that statements bind or unbind, in order; not those of functions that they define inside."""
    found: dict[str, None] = {}

    def visit(node: ast.AST) -> None:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found[name] = None
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = None
                for part in (*node.decorator_list, *_evaluated(node)):
                    visit(part)
                return
            case ast.Lambda():
                return
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found[name] = None
            case ast.MatchMapping(rest=str(name)):
                found[name] = None
            case ast.alias(name=name, asname=asname):
                found[asname or name.partition(".")[0]] = None
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                for each in own(node):
                    if isinstance(each, ast.NamedExpr):
                        visit(each.target)
                return
        for child in ast.iter_child_nodes(node):
            visit(child)

    for node in nodes:
        visit(node)
    return list(found)


def _evaluated(node: Any) -> list[ast.AST]:
    """What a definition evaluates where it stands."""
    if isinstance(node, ast.ClassDef):
        return [*node.bases, *(k.value for k in node.keywords)]
    return [d for d in (*node.args.defaults, *node.args.kw_defaults) if d is not None]


def names_read(*nodes: ast.AST) -> set[str]:
    """The names that are read anywhere below the nodes, in functions that they define too."""
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def load(name: str) -> ast.expr:
    """A name that is read."""
    return ast.Name(name, ast.Load())


def assign(name: str, value: ast.expr) -> ast.stmt:
    """``name = value``."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def runtime(name: str, *args: ast.expr) -> ast.expr:
    """A call of flow.py's ``name``."""
    return ast.Call(ast.Attribute(load(FLOW), name, ast.Load()), list(args), [])


def thunk(value: ast.expr) -> ast.expr:
    """``lambda: value``."""
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), value)


def at(place: ast.AST, made: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Statements that are new, at the line of what they stand for."""
    for statement in made:
        for node in ast.walk(statement):
            if isinstance(node, (ast.expr, ast.stmt, ast.arg, ast.excepthandler)) and not hasattr(node, "lineno"):
                locate(node, place)
    return list(made)


def locate(node: ast.AST, place: ast.AST) -> None:
    """Put a node that is new where another one begins: a call of several lines would be one in its last line."""
    there: Any = getattr(place, "test", None) or getattr(place, "iter", None) or place
    made: Any = ast.copy_location(node, there)
    if there.lineno != there.end_lineno:
        made.end_lineno, made.end_col_offset = there.lineno, there.col_offset + 1


# Methods that change a container in the same way whatever it holds.
BLIND = {
    *("append", "appendleft", "extend", "extendleft", "add", "discard", "update", "clear", "subtract"),
    *("__iadd__", "__ior__", "__setitem__", "rotate", "reverse", "insert"),
}

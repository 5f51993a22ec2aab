"""The source of a function, rewritten and compiled to stand where the function stood."""

from __future__ import annotations
import __future__

import ast
import copy
import linecache
from types import CodeType, FunctionType

from .exits import Unsupported
from .rewrite import rewritten
from .signals import FLOW
from .syntax import Function

_FLAGS = __future__.annotations.compiler_flag  # the only one that a current Python still has a meaning for
_Place = tuple[str, int]  # the name of a function, and its first line


class _File:
    """What the lines of a file define: by places the definitions, with the classes around them, and the code."""

    def __init__(self, name: str, lines: list[str]):
        self.lines = lines  # linecache has others when the file has changed
        text = "".join(lines)
        tree, whole = ast.parse(text), compile(text, name, "exec", dont_inherit=True)
        self.nodes: dict[_Place, list[tuple[Function | ast.Lambda, tuple[str, ...]]]] = {}
        self.codes: dict[_Place, list[CodeType]] = {}
        self._look(tree, ())
        waiting = [whole]
        while waiting:
            code = waiting.pop()
            self.codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
            waiting += [c for c in code.co_consts if isinstance(c, CodeType)]

    def _look(self, node: ast.AST, classes: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                line = min([child.lineno, *(d.lineno for d in child.decorator_list)])
                self.nodes.setdefault((child.name, line), []).append((child, classes))
            elif isinstance(child, ast.Lambda):
                self.nodes.setdefault(("<lambda>", child.lineno), []).append((child, classes))
            self._look(child, (*classes, child.name) if isinstance(child, ast.ClassDef) else classes)


_files: dict[str, _File] = {}  # by their names


def rewritten_code(code: CodeType, function: FunctionType) -> tuple[CodeType | None, str]:
    """The code that does what ``code`` does and calls flow.py; or None, and why there is none."""
    try:
        file = _file_of(code, function)
        node, names = _node_of(code, file)
        node = copy.deepcopy(node)
        if not any(_is_same(plain, code) for plain in file.codes.get((code.co_name, code.co_firstlineno), ())):
            raise Unsupported("its source is not what runs: it was changed since, or made by a tool")
        rewritten(node, names[-1] if names else None)
        new = _compiled(node, names, code)
    except Unsupported as why:
        return None, str(why)
    except SyntaxError as error:
        return None, f"its source cannot be rewritten: {error}"
    return new.replace(co_qualname=code.co_qualname), ""


def _is_same(plain: CodeType, code: CodeType) -> bool:
    if plain.co_code == code.co_code and plain.co_names == code.co_names and plain.co_varnames == code.co_varnames:
        return True
    rewrites_asserts = any(name.startswith("@py") for name in (*code.co_names, *code.co_varnames))
    count = code.co_argcount + code.co_kwonlyargcount
    return rewrites_asserts and plain.co_varnames[:count] == code.co_varnames[:count]


def _compiled(node: Function | ast.Lambda, classes: tuple[str, ...], code: CodeType) -> CodeType:
    """The code of a function that stands where this one stood: its free variables, its class (private names)."""
    free = [name for name in code.co_freevars if name != "__class__"]
    inside: ast.stmt
    if isinstance(node, ast.Lambda):
        inside = ast.Assign([ast.Name("_weft_lambda", ast.Store())], node)
    else:
        node.decorator_list, node.returns = [], None
        for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg):
            if each is not None:
                each.annotation = None
        inside = node
    node.args.defaults = [ast.Constant(None) for _ in node.args.defaults]
    node.args.kw_defaults = [d and ast.Constant(None) for d in node.args.kw_defaults]
    holder = ast.ClassDef("____" + (classes[-1].lstrip("_") if classes else ""), [], [], [inside], [])
    parameters = ast.arguments([], [ast.arg(n) for n in (FLOW, *free)], None, [], [], None, [])
    factory = ast.FunctionDef("_weft_factory", parameters, [holder], [])
    for made in (holder, factory):
        made.type_params = []  # type: ignore[union-attr]
    module = ast.fix_missing_locations(ast.Module([factory], []))
    flags = code.co_flags & _FLAGS
    whole = compile(module, code.co_filename, "exec", flags=flags, dont_inherit=True)
    found = whole
    for _ in range(3):
        inner = [c for c in found.co_consts if isinstance(c, CodeType) and not c.co_name.startswith("__annotate")]
        found = inner[0]
    return found


def _file_of(code: CodeType, function: FunctionType) -> _File:
    """The file that a function is in, as it is now.

    Raises:
        Unsupported: there is none, or it is not Python.
    """
    lines = linecache.getlines(code.co_filename, function.__globals__)
    if not lines:
        raise Unsupported("it has no source here (a lambda in a REPL, C code, exec)")
    known = _files.get(code.co_filename)
    if known is None or (known.lines is not lines and known.lines != lines):
        try:
            known = _files[code.co_filename] = _File(code.co_filename, lines)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise Unsupported("its source is not Python (a notebook's magic, perhaps)") from error
    return known


def _node_of(code: CodeType, file: _File) -> tuple[Function | ast.Lambda, tuple[str, ...]]:
    """The definition of a function in its file, and the classes around it.

    Raises:
        Unsupported: it is not there.
    """
    found = file.nodes.get((code.co_name, code.co_firstlineno), [])
    if code.co_name == "<lambda>":
        found = [(node, classes) for node, classes in found if isinstance(node, ast.Lambda) and _is_place(node, code)]
    if not found:
        raise Unsupported("its source is not where it was")
    return found[-1] if code.co_name == "<lambda>" else found[0]  # of lambdas in one another the innermost


def _is_place(node: ast.Lambda, code: CodeType) -> bool:
    """Whether a lambda's expression is where the code's instructions come from."""
    body = node.body
    for line, end, start, stop in code.co_positions():
        if line is not None and start is not None and line == end and stop != start:
            inside = (body.lineno, body.col_offset) <= (line, start)
            if not inside or (line, stop) > (body.end_lineno, body.end_col_offset):
                return False
    return True

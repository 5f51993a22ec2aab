"""What type checkers see: the stubs say what there is at run time, and users' programs (``tests/typed``) pass.

``make check`` gives those programs to ``mypy --strict``; pyright checks them here, where it is installed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import weft as wf
from tools import stubs
from weft.core.errors import ArgumentError
from weft.nn import functional

PROGRAMS = sorted((Path(__file__).parent / "typed").glob("*.py"))
STUBS = stubs.stubs()
MODULES: dict[str, ModuleType] = {
    "__init__.pyi": wf,
    "nn/functional.pyi": functional,
    "stubs/linalg.pyi": wf.linalg,
    "stubs/random.pyi": wf.random,
}
METHODS = dict(stubs.installed())


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.relative_to(stubs.PACKAGE).as_posix())
def test_stubs_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == STUBS[path], "run `make stubs`"


def test_every_stub_is_written_by_the_tool() -> None:
    assert set(stubs.PACKAGE.rglob("*.pyi")) == STUBS.keys()


# --- what is in the stubs -------------------------------------------------------------------------------------------


def definitions(nodes: list[ast.stmt]) -> dict[str, list[ast.FunctionDef]]:
    """The functions of a module or class by name: every way to call each."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for node in nodes:
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    return found


def names(nodes: list[ast.stmt]) -> set[str]:
    """What users can import from a stub."""
    found = set(definitions(nodes))
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {each.asname for each in node.names if each.asname}
        elif isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


Parameter = tuple[str, Any, str]


def declared(function: ast.FunctionDef) -> list[Parameter]:
    """Names, kinds and defaults of the parameters."""
    a, kinds = function.args, inspect.Parameter
    plain: list[Any] = [(p, kinds.POSITIONAL_ONLY) for p in a.posonlyargs]
    plain += [(p, kinds.POSITIONAL_OR_KEYWORD) for p in a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    found = [(p.arg, kind, ast.unparse(d) if d else "") for (p, kind), d in zip(plain, defaults, strict=True)]
    found += [(a.vararg.arg, kinds.VAR_POSITIONAL, "")] if a.vararg else []
    named = zip(a.kwonlyargs, a.kw_defaults, strict=True)
    return found + [(p.arg, kinds.KEYWORD_ONLY, ast.unparse(d) if d else "") for p, d in named]


def at_run_time(function: Any) -> list[Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [
        (p.name, p.kind, "" if p.default is p.empty else ast.unparse(ast.parse(stubs.default(p.default), mode="eval")))
        for p in parameters
    ]


@pytest.mark.parametrize("path", MODULES)
def test_modules_have_every_public_name_with_its_parameters(path: str) -> None:
    module, tree = MODULES[path], ast.parse((stubs.PACKAGE / path).read_text(encoding="utf-8"))
    assert names(tree.body) == set(dir(module))
    functions = definitions(tree.body)
    assert {n: declared(functions[n][-1]) for n in functions} == {n: at_run_time(getattr(module, n)) for n in functions}
    for name, ways in functions.items():  # before the last one, which is all of them
        shown, switches = at_run_time(getattr(module, name)), stubs.SWITCHES.keys()
        switched = bool({n for n, _, _ in shown} & switches) and not name.endswith("_with_indices")
        assert len(ways) == (3 if switched else 1)
        for way in ways[:-1]:
            said = [p for p in declared(way) if p[0] not in switches]
            assert [(n, default) for n, _, default in said] == [(n, d) for n, _, d in shown if n not in switches]
            at = next(
                k for k, p in enumerate(shown) if p[0] in switches
            )  # what is behind it, where it is by name, is too
            assert said[:at] == shown[:at]
            assert {n for n, _, _ in declared(way)} == {n for n, _, _ in shown}


@pytest.mark.parametrize("name", ["max_pool1d", "max_pool2d", "max_pool3d"])
def test_switches_change_the_result(name: str) -> None:
    x = wf.ones((1, 1, *(4,) * int(name[8])))
    assert isinstance(getattr(functional, name)(x, 2), wf.Tensor)
    both = getattr(functional, name)(x, 2, return_indices=True)
    assert isinstance(both, tuple) and [type(each) for each in both] == [wf.Tensor, wf.Tensor]


def of_the_class() -> dict[str, list[ast.FunctionDef]]:
    tree = ast.parse(STUBS[stubs.PACKAGE / "stubs" / "tensor.pyi"])
    return definitions([node for c in tree.body if isinstance(c, ast.ClassDef) for node in c.body])


WAYS = of_the_class()


def test_every_method_is_there() -> None:
    assert WAYS.keys() == METHODS.keys()
    assert {name for name in dir(wf.ones(())) if not name.startswith("_")} <= WAYS.keys() | vars(wf.Tensor).keys()


@pytest.mark.parametrize("name", [n for n, value in METHODS.items() if callable(value)])
def test_methods_have_the_parameters_that_help_shows(name: str) -> None:
    shown = at_run_time(METHODS[name])[1:]
    ways = [declared(way)[1:] for way in WAYS[name]]
    assert all(kind is not inspect.Parameter.VAR_KEYWORD for _, kind, _ in shown)
    if name in stubs.WAYS:  # every one of which is a part of what is shown, or has NumPy's names
        known = {n for n, _, _ in shown} | {"other", "axis", "keepdims"}
        assert {n for way in ways for n, _, _ in way} <= known
        return
    assert ways[0] == shown


# --- and it is true -------------------------------------------------------------------------------------------------

# What a call says of an argument that does not exist.
UNKNOWN = re.compile(r"there is no argument|unexpected keyword|positional-only arguments? passed as keyword")
PROBES = {"dim": 0, "axis": 0, "dim0": 0, "dim1": 1, "shape": (2, 2), "size": (2, 2), "other": 1.0, "dtype": "float64"}
BY_KEYWORD = sorted(
    {
        (name, p.arg)
        for name, ways in WAYS.items()
        for way in ways
        for p in (*way.args.args[1:], *way.args.kwonlyargs, *([way.args.vararg] if way.args.vararg else []))
        if not name.startswith("__")
    }
)


def refusal(name: str, key: str) -> str:
    """What ``x.name(key=...)`` raises, if it does."""
    x = wf.tensor([[1.0, 2.0], [3.0, 4.0]])
    try:
        getattr(x, name)(**{key: PROBES.get(key)})
    except Exception as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("name", "key"), BY_KEYWORD)
def test_what_the_stubs_name_can_be_given_by_name(name: str, key: str) -> None:
    assert not UNKNOWN.search(refusal(name, key))


@pytest.mark.parametrize("name", [n for n, value in METHODS.items() if callable(value) and not n.startswith("__")])
def test_no_method_swallows_arguments(name: str) -> None:
    x = wf.tensor([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises((ArgumentError, TypeError)):
        getattr(x, name)(no_such_argument=1)


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (wf.zeros, "(shape: 'Dim | Sequence[Dim]', *, dtype: 'Any' = None, device: 'Any' = None) -> 'Array'"),
        (wf.Tensor.sum, "(self, dim: 'Axes' = None, keepdim: 'bool' = False, *, dtype: 'Any' = None) -> 'Tensor'"),
        (wf.ones(2).sum, "(dim: 'Axes' = None, keepdim: 'bool' = False, *, dtype: 'Any' = None) -> 'Tensor'"),
        (wf.Tensor.subtract_, "(self, other: 'Array | float', *, alpha: 'Scalar' = 1) -> 'Tensor'"),
        (wf.ones(2).sin, "() -> 'Array'"),
    ],
)
def test_help_shows_what_is_taken(function: Any, signature: str) -> None:
    assert str(inspect.signature(function)) == signature


# --- users' programs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_typed_programs_run(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path))


def test_pyright_passes_the_typed_programs() -> None:
    tool = shutil.which("pyright")
    if tool is None:
        pytest.skip("pyright is not installed")
    done = subprocess.run([tool, "--pythonpath", sys.executable, *PROGRAMS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_public_modules_without_stubs_are_annotated() -> None:
    for name in ("nn", "nn.init", "nn.utils", "optim", "optim.lr_scheduler"):
        module: Any = importlib.import_module(f"weft.{name}") if name != "nn.utils" else wf.nn.utils
        for each in dir(module):
            value = getattr(module, each)
            if callable(value):
                function = value.__init__ if isinstance(value, type) else value
                for p in inspect.signature(function).parameters.values():
                    assert p.name == "self" or p.annotation is not p.empty, f"{name}.{each}: {p.name}"

"""Writes the stubs: what type checkers and editors see of functions and methods that are made from tables.

``make stubs`` runs it. Signatures are what ``inspect.signature`` says at run time, in the types that users have: an
``Array`` of the ops is a ``Tensor``. ``tests/test_typing.py`` checks that the stubs are those that this file writes.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import weft as wf
from weft.core import dtypes
from weft.nn import functional
from weft.tensor import binding, tensor

PACKAGE = Path(wf.__file__).parent
WIDTH = 120
HEAD = '"""{} Written by `make stubs`; not to be edited."""\n\n{}\n'

# What an annotation of weft's own means to users, as a parameter's type and as a result's.
PARAMETERS = {
    "Array": "TensorLike",
    "Axes": "int | Sequence[int] | None",
    "Dim": "int",
    "PadWidth": "int | Sequence[int] | Sequence[Sequence[int]]",
    "Scalar": "float",
    "Shape": "Sequence[int]",
    "Whole": "int",
}
RESULTS = {"Array": "Tensor", "Any": "Tensor", "Dim": "int"}
# Parameters whose annotation says less than it could.
NAMED = {"dtype": "DTypeLike", "key": "Index"}

# Parameters, False unless given, with which a function returns something else.
SWITCHES = {"return_indices": "tuple[Tensor, Tensor]"}

# Methods that give one thing or another, or that a name cannot tell apart from another: every way to call them.
_EXTREME = (
    "(self, dim: int, keepdim: bool = False) -> Extreme",
    "(self, dim: None = None, keepdim: bool = False) -> Tensor",
    "(self, other: TensorLike) -> Tensor",
    "(self, *, axis: int | Sequence[int] | None, keepdims: bool = False) -> Tensor",
)
WAYS = {
    "max": _EXTREME,
    "min": _EXTREME,
    "nonzero": (
        "(self, *, as_tuple: Literal[False] = False) -> Tensor",
        "(self, *, as_tuple: Literal[True]) -> tuple[Tensor, ...]",
    ),
    "random_": (
        "(self, *, generator: Generator | None = None) -> Self",
        "(self, to: int, /, *, generator: Generator | None = None) -> Self",
        "(self, from_: int, /, to: int | None, *, generator: Generator | None = None) -> Self",
    ),
    "stride": ("(self, dim: None = None) -> tuple[int, ...]", "(self, dim: int) -> int"),
    "to": (
        "(self, dtype: DTypeLike, non_blocking: bool = False, copy: bool = False) -> Tensor",
        "(self, other: Tensor, /, non_blocking: bool = False, copy: bool = False) -> Tensor",
        "(self, device: Any = None, dtype: DTypeLike | None = None, non_blocking: bool = False, copy: bool = False)"
        " -> Tensor",
    ),
}

TENSOR_HEAD = """\
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import Any, Literal, Self, SupportsIndex, TypeAlias, overload

import numpy as np

from ..core.dtypes import DType
from ..ops.random import Generator
from ..ops.sorting import Ordered
from ..tensor.binding import Extreme
from ..tensor.gradient_hooks import RemovableHandle
from ..tensor.tensor import Tensor

TensorLike: TypeAlias = Tensor | np.ndarray[Any, Any] | np.generic
Operand: TypeAlias = TensorLike | float
DTypeLike: TypeAlias = DType | str | type[float] | type[int] | np.dtype[Any] | type[np.generic]
Index: TypeAlias = SupportsIndex | slice | EllipsisType | Tensor | np.ndarray[Any, Any] | Sequence[Any] | None
"""
PACKAGE_HEAD = """\
import builtins
from collections.abc import Sequence
from typing import Any

from . import nn as nn
from . import optim as optim
{imports}
from .ops.random import Generator
from .ops.sorting import Ordered
from .transforms import debug as debug
from .stubs import linalg as linalg
from .stubs import random as random
from .stubs.tensor import DTypeLike, Operand, TensorLike
"""
MODULE_HEAD = ["from collections.abc import {}", "from typing import {}", ""]


def stubs() -> dict[Path, str]:
    """The text of every stub, by its path."""
    return {
        PACKAGE / "__init__.pyi": package(),
        PACKAGE / "nn" / "functional.pyi": module(functional, "The layers' functions, to type checkers."),
        PACKAGE / "stubs" / "linalg.pyi": module(wf.linalg, "``weft.linalg``, to type checkers."),
        PACKAGE / "stubs" / "random.pyi": module(wf.random, "``weft.random``, to type checkers."),
        PACKAGE / "stubs" / "tensor.pyi": methods(),
    }


# --- signatures -----------------------------------------------------------------------------------------------------


def words(text: str, meanings: dict[str, str]) -> str:
    """An annotation with weft's own names replaced."""
    return re.sub(r"[A-Za-z_]+", lambda found: meanings.get(found[0], found[0]), text)


def annotation(text: Any) -> str:
    """What stands in the source; "" where nothing does."""
    return "" if text is inspect.Parameter.empty else text if isinstance(text, str) else text.__name__


def parameter_type(p: inspect.Parameter, array: str = "TensorLike") -> str:
    """The type that users see; ``array``: of a parameter that is a tensor."""
    text = annotation(p.annotation) or "Any"
    if p.name in NAMED and text == "Any":
        return NAMED[p.name] + (" | None" if p.default is None else "")
    text = text.replace("Array | float", "Operand")
    return words(text, {**PARAMETERS, "Array": array})


def shown(p: inspect.Parameter, kind: str) -> str:
    """A parameter as it is written."""
    star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    return f"{star}{p.name}: {kind}" + ("" if p.default is p.empty else f" = {default(p.default)}")


def default(value: Any) -> str:
    """A default as it is written; dtypes by the names of :mod:`weft.core.dtypes`."""
    if isinstance(value, dtypes.DType):
        return "bool_" if value.name == "bool" else value.name
    return json.dumps(value) if isinstance(value, str) else repr(value)


def listed(parameters: list[inspect.Parameter], kinds: list[str]) -> list[str]:
    """The parameters as they are written, with the marks of those by position, and by name, alone."""
    found: list[str] = []
    for k, (p, kind) in enumerate(zip(parameters, kinds, strict=True)):
        before = parameters[k - 1].kind if k else p.POSITIONAL_ONLY
        if p.kind is p.KEYWORD_ONLY and before not in (p.KEYWORD_ONLY, p.VAR_POSITIONAL):
            found.append("*")
        found.append(shown(p, kind))
        after = parameters[k + 1].kind if k + 1 < len(parameters) else None
        if p.kind is p.POSITIONAL_ONLY and after is not p.POSITIONAL_ONLY:
            found.append("/")
    return found


def summary(value: Any) -> str:
    """The first sentence of a docstring."""
    paragraph = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    ends = (m.end() for m in re.finditer(r"\.(?= [A-Z`]|$)", paragraph))
    return next((paragraph[:end] for end in ends if paragraph[:end].count("`") % 2 == 0), paragraph).replace(
        "\\", "\\\\"
    )


def written(name: str, parameters: list[str], result: str, doc: str = "", *, within: int = 0, note: str = "") -> str:
    """A function, laid out as ruff lays it out ``within`` so many columns of a class."""
    end = (":" if doc else ": ...") + (f"  # {note}" if note else "")
    text, width = f"def {name}({', '.join(parameters)}) -> {result}{end}", WIDTH - within
    if len(text.partition("  # ")[0]) > width:
        inside = ", ".join(parameters)
        if len(inside) > width - 4:
            inside = ",\n    ".join(parameters) + ","
        comment = f"  # {note}" if note else ""
        text = f"def {name}({comment}\n    {inside}\n) -> {result}{end.removesuffix(comment)}"
    if doc:
        lines = textwrap.wrap(f'"""{doc}"""', width - 4, break_long_words=False)
        if len(lines) > 1:
            lines = [*textwrap.wrap(f'"""{doc}', width - 4, break_long_words=False), '"""']
        text += "\n" + textwrap.indent("\n".join(lines), "    ")
    return text


def function(name: str, value: Any, hidden: dict[str, str] | None = None) -> str:
    """A public function; ``hidden``: other names for types whose own mean something else in the module."""
    signature = inspect.signature(value)
    parameters = list(signature.parameters.values())
    texts = [annotation(p.annotation) for p in parameters]
    alone = texts.count("Array") == 1 and "Array | float" not in texts  # of numbers, too, a tensor is made then
    kinds = [parameter_type(p, "Operand" if alone else "TensorLike") for p in parameters]
    kinds = [words(kind, hidden or {}) for kind in kinds]
    result = words(annotation(signature.return_annotation), RESULTS)
    whole = listed(parameters, kinds)
    switch = next((k for k, p in enumerate(parameters) if p.name in SWITCHES), None)
    if switch is None or result == SWITCHES[parameters[switch].name]:  # or it says nothing
        return written(name, whole, result, summary(value))
    key = parameters[switch].name
    off = [*whole[:switch], f"{key}: Literal[False] = False", *whole[switch + 1 :]]
    behind = [parameter for parameter in whole[switch + 1 :] if parameter != "*"]  # by name, for it is by name
    on = [*whole[:switch], *["*"] * ("*" not in whole[:switch]), *behind, f"{key}: Literal[True]"]
    ways = [
        written(name, off, result, summary(value)),
        written(name, on, SWITCHES[key]),
        written(name, whole, f"{result} | {SWITCHES[key]}"),
    ]
    return "\n".join(f"@overload\n{way}" for way in ways)


# --- methods --------------------------------------------------------------------------------------------------------


def installed() -> Iterator[tuple[str, Any]]:
    """The methods and properties that are not in the class's own text."""
    tree = ast.parse(Path(tensor.__file__).read_text(encoding="utf-8"))
    (text,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Tensor")
    own = {node.name for node in text.body if isinstance(node, ast.FunctionDef)}
    for name, value in sorted(vars(wf.Tensor).items()):
        if name not in own and isinstance(value, (FunctionType, property)):
            yield name, value


def methods() -> str:
    """The class of all methods that a Tensor has."""
    casts, others = [], []
    for name, value in installed():
        (casts if isinstance(getattr(builtins, name, None), type) else others).append(method(name, value))
    text = TENSOR_HEAD + "\n"
    for title, doc, texts in (
        ("Casts", "Methods named like types, which would hide these from the others.", casts),
        ("Methods(Casts)", "What :mod:`weft.tensor.methods` gives to a Tensor.", others),
    ):
        text += f'class {title}:\n    """{doc}"""\n\n' + textwrap.indent("\n".join(texts), "    ") + "\n\n"
    return HEAD.format("The methods of Tensor, to type checkers.", text.rstrip())


def method(name: str, value: Any) -> str:
    """A method or property, with every way to call it."""
    if isinstance(value, property):
        result = words(annotation(inspect.signature(value.fget).return_annotation) or "Tensor", RESULTS)
        return "@property\n" + written(name, ["self"], result, summary(value), within=4)
    note = "type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    doc = summary(value) if not name.startswith("__") else ""
    ways = list(ways_of(name, value))
    texts = [
        written(name, parameters, result, "" if k else doc, within=4, note=note)
        for k, (parameters, result) in enumerate(ways)
    ]
    return texts[0] if len(texts) == 1 else "\n".join(f"@overload\n{text}" for text in texts)


def ways_of(name: str, value: Any) -> Iterator[tuple[list[str], str]]:
    """Parameters and results: PyTorch's way to call a method, then all sizes as one, or NumPy's names."""
    if name in WAYS:
        for way in WAYS[name]:
            inside, result = way[1:].rsplit(") -> ", 1)
            yield re.split(r", (?![^\[]*\])", inside), result
        return
    signature = inspect.signature(value)
    result = words(annotation(signature.return_annotation) or "Any", RESULTS)
    if IN_PLACE.fullmatch(name) and result == "Tensor":
        result = "Self"
    parameters = list(signature.parameters.values())[1:]
    kinds = [parameter_type(p) for p in parameters]
    if name.startswith("__") and [p.name for p in parameters] == ["other"]:
        kinds = ["TensorLike" if "matmul" in name else "Operand"]
    yield ["self", *listed(parameters, kinds)], result
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        first = parameters[0].replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
        yield ["self", *listed([first, *parameters[1:]], [f"Sequence[{kinds[0]}]", *kinds[1:]])], result
        if first.name == "dims":
            yield ["self", "*", f"axis: {kinds[0]} | Sequence[{kinds[0]}]"], result
    elif {name, name.removesuffix("_")} & vars(binding.Takes).keys():
        renamed = [p.replace(name=NUMPYS.get(p.name, p.name)) for p in parameters]
        if renamed != parameters:
            yield ["self", *listed(renamed, kinds)], result


IN_PLACE = re.compile("__i(?!nvert)[a-z]+__|[a-z].*_")
NUMPYS = {pytorchs: name for name, pytorchs in binding.OTHER_NAMES.items() if name in ("axis", "keepdims", "ddof")}


# --- modules --------------------------------------------------------------------------------------------------------


def is_of_arrays(value: Any, *kinds: str) -> bool:
    """Whether it is a function whose own annotations are not the users': of arrays, or of the classes named."""
    if isinstance(value, type) or not callable(value):
        return False
    signature = inspect.signature(value)
    given = [p.annotation for p in signature.parameters.values()]
    texts = [annotation(each) for each in (*given, signature.return_annotation)]
    return any(kind in text for kind in ("Array", *kinds) for text in texts)


def home_of(name: str, value: Any) -> tuple[str, str]:
    """Where something that is typed where it is defined comes from: the module, and its name there."""
    home, _, own = value.__name__.rpartition(".") if isinstance(value, ModuleType) else ("", "", value.__name__)
    return (home or value.__module__).partition(".")[2], own


def imports(found: list[tuple[str, str, str]], up: str, text: str = "") -> str:
    """``(module, name there, name here)`` as imports; with ``""`` for the name here, of what ``text`` uses itself."""
    lines = []
    for home in sorted({home for home, _, _ in found}):
        named = sorted((own, here) for at, own, here in found if at == home)
        own_use = [own for own, here in named if not here and re.search(rf"\b{own}\b", text)]
        lines += [f"from {up}{home} import {', '.join(own_use)}"] if own_use else []
        lines += [f"from {up}{home} import {own} as {here}" for own, here in named if here]
    return "\n".join(lines)


def package() -> str:
    """``weft`` itself."""
    constants, functions, found = [], [], []
    for name in sorted(dir(wf), key=str.lower):
        value = getattr(wf, name)
        if value is None or isinstance(value, (float, dtypes.DType)):
            constants.append(f"{name}: {'None' if value is None else type(value).__name__}")
        elif is_of_arrays(value) or getattr(value, "__module__", "") == "weft":
            functions.append(function(name, value, {"bool": "builtins.bool"}))
        elif name not in ("debug", "linalg", "nn", "optim", "random"):
            found.append((*home_of(name, value), name))
    text = PACKAGE_HEAD.format(imports=imports(found, ".")) + "\n" + "\n".join(["__version__: str", *constants])
    return HEAD.format("``weft``, to type checkers.", "\n\n".join([text, *functions]))


def module(of: ModuleType, doc: str) -> str:
    """A module of functions over arrays; a class with such methods is the one that there is, giving tensors."""
    public = {name: getattr(of, name) for name in sorted(dir(of))}
    classes = [
        n for n, value in public.items() if isinstance(value, type) and any(map(is_of_arrays, methods_of(value)))
    ]
    texts, found = [], []
    for name, value in public.items():
        if name in classes:
            found.append((*home_of(name, value), f"_{name}"))
            texts.append(subclass(name, value))
        elif is_of_arrays(value, *classes):
            texts.append(function(name, value))
        else:
            found.append((*home_of(name, value), name))
    text = "\n\n".join(texts)
    found += [("stubs.tensor", name, "") for name in ("DTypeLike", "Operand", "TensorLike")]
    results = {own.__name__: own for own in map(result_of, public.values()) if own is not None}
    found += [(*home_of(name, own), "") for name, own in results.items() if name not in classes]
    found += [("core.dtypes", default(each), "") for each in (wf.bool, wf.float32, wf.int64)]
    found += [("tensor.tensor", "Tensor", "")] + [("ops.random", "Generator", "")] * ("Generator" not in classes)
    typing = ", ".join(name for name in ("Any", "Literal", "overload") if name == "Any" or name in text)
    abstract = ", ".join(name for name in ("Callable", "Sequence") if name == "Sequence" or f"{name}[" in text)
    head = "\n".join([*MODULE_HEAD, imports(found, "..", text)]).format(abstract, typing)
    return HEAD.format(doc, head + "\n\n" + text)


def result_of(value: Any) -> Any:
    """The class that a function returns, where it stands beside it."""
    name = annotation(inspect.signature(value).return_annotation) if isinstance(value, FunctionType) else ""
    found = vars(sys.modules[value.__module__]).get(name) if name else None
    return found if isinstance(found, type) and found.__module__ == value.__module__ else None


def methods_of(value: type) -> list[Any]:
    """What a class defines that can be called."""
    return [each for each in vars(value).values() if isinstance(each, FunctionType)]


def subclass(name: str, value: type) -> str:
    """A class whose methods give tensors."""
    lines = ["state: Tensor"] if "state" in vars(value) else []
    for key, each in vars(value).items():
        if not key.startswith("_") and is_of_arrays(each, name):
            signature = inspect.signature(each)
            parameters = list(signature.parameters.values())[1:]
            kinds = [parameter_type(p) for p in parameters]
            result = words(annotation(signature.return_annotation), RESULTS)
            note = "type: ignore[override]" if any("Dim" in annotation(p.annotation) for p in parameters) else ""
            lines.append(written(key, ["self", *listed(parameters, kinds)], result, summary(each), within=4, note=note))
    return f'class {name}(_{name}):\n    """{summary(value)}"""\n\n' + textwrap.indent("\n".join(lines), "    ")


if __name__ == "__main__":
    for path, text in stubs().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

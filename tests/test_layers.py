"""The architecture is the folders: imports go down only, and `import weft` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "weft"

# Lowest first; the layers of one row do not know each other.
ROWS = [
    ["core"],
    ["llvm"],
    ["runtime"],
    ["compiler"],
    ["graph"],
    ["ops"],
    ["tensor"],
    ["transforms"],
    ["nn", "optim"],
    ["train"],
    ["deploy", "interop"],
    ["serving", "cli"],
]
HEIGHT = {layer: height for height, row in enumerate(ROWS) for layer in row}
FILES = sorted(PACKAGE.rglob("*.py"))

# Imported when first used: together they would take longer than all of weft.
LATE = ["llvmlite", "onnx", "rich", "ml_dtypes", "scipy", "torch", "google.protobuf", "safetensors"]
LATE += ["weft.transforms", "weft.nn", "weft.optim", "weft.interop", "weft.deploy"]


def layer_of(path: Path) -> str:
    """The layer of a file: its first folder below the package, or its own name beside ``__init__.py``."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    """True for ``if TYPE_CHECKING:``, whose body never runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node below ``tree`` that can run: at module level, in functions, in classes."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and is_type_checking(child):
            for other in child.orelse:
                yield other
                yield from statements(other)
        else:
            yield child
            yield from statements(child)


def imported_layers(tree: ast.AST, path: Path) -> Iterator[tuple[int, str]]:
    """``(line, layer)`` of each import of weft's own modules; the layer of ``weft`` itself is ``""``."""
    package = ["weft", *path.relative_to(PACKAGE).parts[:-1]]
    for node in statements(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "weft":
                layer = name[1] if len(name) > 1 else ""
                yield node.lineno, layer if layer in HEIGHT else ""


def upward_imports(path: Path) -> list[str]:
    """The imports of one file that do not go down, as messages."""
    own = layer_of(path)
    wrong = []
    for line, layer in imported_layers(ast.parse(path.read_text()), path):
        if layer == own:
            continue
        if not layer:
            wrong.append(f"{path.relative_to(PACKAGE)}:{line}: {own} imports the top of the package")
        elif HEIGHT[layer] >= HEIGHT[own]:
            wrong.append(f"{path.relative_to(PACKAGE)}:{line}: {own} imports {layer}")
    return wrong


def test_every_file_is_in_a_layer() -> None:
    strays = [str(f.relative_to(PACKAGE)) for f in FILES if layer_of(f) not in HEIGHT and layer_of(f) != "__init__"]
    assert not strays


def test_every_folder_is_a_package() -> None:
    """An installed copy holds packages alone: one without ``__init__.py`` works in the source tree and nowhere else."""
    assert [str(f.parent) for f in FILES if not (f.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("layer", HEIGHT)
def test_imports_go_down(layer: str) -> None:
    assert [message for f in FILES if layer_of(f) == layer for message in upward_imports(f)] == []


@pytest.mark.parametrize(
    ("file", "line", "upward"),
    [
        ("core/a.py", "from ..core.errors import ShapeError", False),
        ("core/a.py", "from .errors import ShapeError", False),
        ("core/a.py", "import weft.graph.graph", True),
        ("graph/a.py", "from ..core import dtypes", False),
        ("graph/a.py", "from .. import ops", True),
        ("graph/a.py", "def f():\n    from ..tensor import Tensor", True),
        ("graph/a.py", "if TYPE_CHECKING:\n    from ..tensor import Tensor", False),
        ("nn/a.py", "from ..optim.adam import Adam", True),
        ("nn/deep/a.py", "from ...core import errors", False),
        ("nn/a.py", "import weft as wf", True),
        ("nn/a.py", "import numpy as np\nfrom weft.tensor import tensor", False),
    ],
)
def test_the_rule_itself(file: str, line: str, upward: bool) -> None:
    path = PACKAGE / file
    layer = layer_of(path)
    found = [x for _, x in imported_layers(ast.parse(line), path) if x != layer]
    assert any(not x or HEIGHT[x] >= HEIGHT[layer] for x in found) is upward


def test_import_is_light() -> None:
    code = f"import sys, weft; print([name for name in {LATE!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_late_name_that_the_user_has_set_stays() -> None:
    code = "import weft as wf; wf.compile = len; wf.grad; print(wf.compile is len, wf.scan.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "scan"]


def test_no_op_is_asked_for_by_its_name() -> None:
    """An op says what it is by its rules and flags (``graph/protocol.py``)."""
    question = re.compile(r"\.op\.name\s*(==|!=|in\s*[(\[{])")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in FILES
        for line in path.read_text().splitlines()
        if question.search(line)
    ]
    assert found == []


# Namespaces, the packages that show what their files hold, and Storage, whose list is that of its native functions.
WITH_ALL = {
    *("", "deploy", "interop", "nn", "nn/functional", "nn/init", "nn/utils", "nn/utils/clip_grad", "nn/utils/rnn"),
    *("nn/utils/parametrizations", "nn/utils/parametrize"),
    *("ops/linalg", "ops/random", "optim", "optim/lr_scheduler", "runtime/memory", "runtime/storage"),
    *("transforms/debug", "transforms/public", "transforms/source/flow"),
}


def test_modules_of_the_inside_have_no_list_of_what_is_there() -> None:
    having = {
        str(path.relative_to(PACKAGE)).removesuffix(".py").removesuffix("__init__").rstrip("/")
        for path in FILES
        if re.search(r"^__all__\b", path.read_text(), re.MULTILINE)
    }
    assert having <= WITH_ALL

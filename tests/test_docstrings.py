"""Every example in a docstring, and every program in README.md, runs and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import weft as wf

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "src" / "weft").rglob("*.py"))
]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """Docstrings with examples: of the module, its functions and classes, and of the composites it defines."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    names = {"wf": wf, "np": np}
    found = finder.find(module, extraglobs=names)
    seen = {test.name for test in found}
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and callable(value) and f"{module.__name__}.{name}" not in seen:
            found += finder.find(value, f"{module.__name__}.{name}", module=module, extraglobs=names)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str) -> None:
    wf.random.seed(0)
    failures: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in examples(importlib.import_module(name)):
        runner.run(test, out=failures.append)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("program", re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
def test_readme(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    assert "Tensor" in capsys.readouterr().out
    prediction = names["net"](wf.tensor([[1.0, 1.0]]))  # type: ignore[operator]
    assert prediction.item() > 0.9

"""Where weft runs, and what it says elsewhere."""

from __future__ import annotations

import re
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weft.core import support

ROOT = Path(__file__).resolve().parents[2]
Version = namedtuple("Version", "major minor micro")

ELSEWHERE: list[tuple[str, Any, str]] = [
    ("abiflags", "t", "free-threaded build: use python3"),
    ("platform", "darwin", "runs on Linux alone so far, a container"),
    ("platform", "win32", "on Windows, WSL is one"),
    ("implementation", SimpleNamespace(name="pypy"), "needs CPython 3.11 to 3.13"),
    ("version_info", Version(3, 14, 0), "is tested on Python 3.11 to 3.13"),
    ("version_info", Version(3, 10, 9), "is tested on Python 3.11 to 3.13"),
    ("maxsize", 2**31 - 1, "needs a 64-bit Python"),
]


def test_here() -> None:
    assert support.refusal() == ""


@pytest.mark.parametrize(("attribute", "value", "text"), ELSEWHERE)
def test_the_import_says_what_to_do(attribute: str, value: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, attribute, value)
    refusal = support.refusal()
    assert text in refusal and "this is" in refusal
    source = compile(Path(support.__file__).read_text(), support.__file__, "exec")
    with pytest.raises(ImportError, match=re.escape(refusal)):
        exec(source, {"__name__": "weft.core.support"})


def test_the_package_says_the_same() -> None:
    """Kept below what is tested: an installer refuses before the import has to."""
    settings = (ROOT / "pyproject.toml").read_text()
    wanted = f">={'.'.join(map(str, support.FIRST))},<{support.LAST[0]}.{support.LAST[1] + 1}"
    assert f'requires-python = "{wanted}"' in settings
    for minor in range(support.FIRST[1], support.LAST[1] + 1):
        assert f'"Programming Language :: Python :: 3.{minor}"' in settings
    versions = [f"3.{minor}" for minor in range(support.FIRST[1], support.LAST[1] + 1)]
    assert f"PYTHONS := {' '.join(versions)}\n" in (ROOT / "Makefile").read_text()

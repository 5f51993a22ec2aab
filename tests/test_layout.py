"""The package is in src/: what lies beside a script, or is the working directory, does not shadow it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import weft

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "import weft as wf; print(wf.__file__); print((wf.ones((2,)) + 1.0).tolist())"


@pytest.mark.parametrize("way", ["script", "working directory"])
def test_a_clone_beside_the_users_program_is_not_the_package(tmp_path: Path, way: str) -> None:
    (tmp_path / "weft").symlink_to(ROOT, target_is_directory=True)  # git clone .../weft
    (tmp_path / "train.py").write_text(PROGRAM)
    arguments = ["train.py"] if way == "script" else ["-c", PROGRAM]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == [weft.__file__, "[2.0, 2.0]"], done.stderr


def test_nothing_at_the_top_is_importable_as_weft() -> None:
    assert not (ROOT / "weft").exists() and not (ROOT / "__init__.py").exists()

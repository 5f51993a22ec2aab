"""Where the peers live: one virtual environment each, so that no library's threads or versions touch another's."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["ROOT", "interpreter"]

ROOT = Path(__file__).resolve().parents[1]
PINNED = {
    "torch": ["torch==2.13.0", "numpy==2.4.*"],  # torch.compile also needs a C++ compiler
    "jax": ["jax==0.10.*", "numpy==2.4.*"],
    "tensorflow": ["tensorflow-cpu==2.21.*"],
    "numpy": ["numpy==2.4.*"],
}


def interpreter(name: str) -> str:
    """The Python of environment ``name``, which is made at first use below ``.bench/``.

    WEFT_BENCH_ENVS names a folder whose environments are used instead where they exist.
    """
    if name == "weft":
        return sys.executable
    folders = [Path(d) for d in (os.environ.get("WEFT_BENCH_ENVS"),) if d]
    for folder in [*folders, ROOT / ".bench"]:
        python = folder / name / "bin" / "python"
        if python.exists() and (folder in folders or (folder / name / "ready").exists()):
            return str(python)
    print(f"Making an environment with {', '.join(PINNED[name])} (once)", file=sys.stderr)
    home = ROOT / ".bench" / name
    venv.create(home, with_pip=True, clear=True)
    python = home / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *PINNED[name]], check=True
    )
    (home / "ready").touch()
    return str(python)

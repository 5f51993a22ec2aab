"""Where weft runs: it says so at ``import weft``, before native code meets a Python that it was not written for."""

from __future__ import annotations

import sys

FIRST, LAST = (3, 11), (3, 13)  # what the tests run on; pyproject.toml says the same


def refusal() -> str:
    """Why weft does not run here, and what to do; empty where it does."""
    here = f"this is {sys.implementation.name} {sys.version.split()[0]} on {sys.platform}"
    versions = f"{FIRST[0]}.{FIRST[1]} to {LAST[0]}.{LAST[1]}"
    if sys.platform != "linux":
        windows = "; on Windows, WSL is one" if sys.platform in ("win32", "cygwin") else ""
        return f"weft runs on Linux alone so far, a container or a virtual machine will do{windows} ({here})"
    if sys.implementation.name != "cpython":
        return f"weft needs CPython {versions}: its native code works on CPython's own objects ({here})"
    if not FIRST <= sys.version_info[:2] <= LAST:
        return f"weft is tested on Python {versions} and runs on these alone ({here})"
    if "t" in sys.abiflags:
        return (
            f"weft needs a Python with the global interpreter lock, and this is a free-threaded build: use "
            f"python{sys.version_info[0]}.{sys.version_info[1]} instead of "
            f"python{sys.version_info[0]}.{sys.version_info[1]}t ({here})"
        )
    if sys.maxsize < 2**32:
        return f"weft needs a 64-bit Python ({here})"
    return ""


if refusal():
    raise ImportError(refusal(), name="weft")

"""Settings: one typed object, read from the environment when first asked for.

Example:
    >>> from weft.core.config import Settings
    >>> Settings.from_environment({"WEFT_ISA": "avx2"}).isa
    'avx2'
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .cpus import usable_cpus

TRACEBACKS = ("short", "full")
_CACHE_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What the compiler and its cache do; change it with :func:`configure`.

    ``cache_dir``: folder of the object-code cache (WEFT_CACHE_DIR); ``cache_limit_bytes``: its size
    (WEFT_CACHE_LIMIT, bytes), 0 turns the cache off; ``isa``: instruction set of the host to compile for, None is the
    host's best (WEFT_ISA; llvm/targets.py has the names, and checks this one); ``codegen_threads``: threads that
    compile (WEFT_CODEGEN_THREADS; the default is one for each CPU that this process may use); ``traceback``: one of
    TRACEBACKS, whether errors show the user's frames alone or weft's too (WEFT_TRACEBACK); ``verify``: whether every
    pass checks the form of the graph that it gives, for who works on weft (WEFT_VERIFY, 0 or 1); ``check_memory``:
    whether kernels check every address before they use it, and memory is given out filled and guarded, for who works on
    weft too (WEFT_CHECK_MEMORY, 0 or 1; to be said at the start).
    """

    cache_dir: str
    cache_limit_bytes: int = _CACHE_LIMIT
    isa: str | None = None
    codegen_threads: int = 1
    traceback: str = "short"
    verify: bool = False
    check_memory: bool = False

    def __post_init__(self) -> None:
        if self.cache_limit_bytes < 0:
            raise ValueError(f"cache_limit_bytes (WEFT_CACHE_LIMIT) is {self.cache_limit_bytes}; it must be 0 or more")
        if self.codegen_threads < 1:
            raise ValueError(f"codegen_threads (WEFT_CODEGEN_THREADS) is {self.codegen_threads}; it must be 1 or more")
        if self.traceback not in TRACEBACKS:
            raise ValueError(f"traceback (WEFT_TRACEBACK) is {self.traceback!r}; it must be 'short' or 'full'")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """The settings that the variables of ``environ`` ask for.

        Raises:
            ValueError: a variable that is not understood; the message names it.
        """
        return cls(
            cache_dir=os.path.abspath(environ.get("WEFT_CACHE_DIR") or _default_cache_dir(environ)),
            cache_limit_bytes=_integer(environ, "WEFT_CACHE_LIMIT", _CACHE_LIMIT),
            isa=environ.get("WEFT_ISA") or None,
            codegen_threads=_integer(environ, "WEFT_CODEGEN_THREADS", usable_cpus()),
            traceback=environ.get("WEFT_TRACEBACK") or "short",
            verify=_switch(environ, "WEFT_VERIFY"),
            check_memory=_switch(environ, "WEFT_CHECK_MEMORY"),
        )


def _default_cache_dir(environ: Mapping[str, str]) -> str:
    """``~/.cache/weft`` (XDG base directories), or what the platform has in its place."""
    if os.name == "nt" and environ.get("LOCALAPPDATA"):
        return os.path.join(environ["LOCALAPPDATA"], "weft", "cache")
    base = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification: relative paths are to be ignored
        home = environ.get("HOME") or os.path.expanduser("~")
        base = os.path.join(home, ".cache")
    return os.path.join(base, "weft")


def _integer(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; it must be an integer") from None


def _switch(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").strip() or "0"
    if text not in ("0", "1"):
        raise ValueError(f"{name} is {text!r}; it must be 0 or 1")
    return text == "1"


_current: Settings | None = None


def settings() -> Settings:
    """The settings in force; the environment is read at the first call."""
    global _current
    if _current is None:
        _current = Settings.from_environment()
    return _current


def configure(**changes: Any) -> Settings:
    """Replace some fields and return the settings that were in force before, so that they can be put back.

    Code that is loaded already keeps running; what is compiled from now on follows the new settings.
    """
    global _current
    before = settings()
    _current = replace(before, **changes)
    return before

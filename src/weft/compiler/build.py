"""Kernels to machine code: render, compile what the caches lack on all cores, load.

A kernel's text (:func:`weft.compiler.kernels.describe`) is its identity: in this process and in the disk cache.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.process import Lock, undivided
from ..llvm.elf import load_objects
from ..llvm.object_cache import cached_objects
from ..llvm.targets import Target
from .kernels import Kernel, describe

ENTRY = "kernel"

_loaded: dict[tuple[str, str], int] = {}  # (kernel text, target) -> address of the code, which is there for good
_lock = Lock()


def render(kernel: Kernel, name: str, target: Target) -> str:
    """LLVM IR of the module that defines ``name``."""
    with undivided():  # imported here: with a warm cache nothing is rendered
        from . import renderers
    return renderers.render(kernel, name, target)


def addresses(kernels: Sequence[Kernel], target: Target) -> list[int]:
    """Entry addresses of the kernels; equal kernels are compiled once."""
    texts = [describe(k) for k in kernels]
    missing: dict[str, Kernel] = {}
    for text, kernel in zip(texts, kernels, strict=True):
        if (text, target.key) not in _loaded:
            missing.setdefault(text, kernel)
    if missing:
        with _lock.now:
            wanted = {t: k for t, k in missing.items() if (t, target.key) not in _loaded}
            requests = [(t, lambda k=k: render(k, ENTRY, target)) for t, k in wanted.items()]
            codes = load_objects(cached_objects(requests, target))
            for text, code in zip(wanted, codes, strict=True):
                _loaded[text, target.key] = code.address(ENTRY)
    return [_loaded[text, target.key] for text in texts]

"""Kernels to machine code: render, compile what the caches lack on all cores, load.

A kernel's text (:func:`weft.compiler.kernels.describe`) is its identity: in this process and in the disk cache.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from ..runtime.llvm import Target, load_many
from ..runtime.object_cache import cached_objects
from .kernels import ColumnReduce, Contraction, Kernel, Nest, describe

__all__ = ["addresses", "render"]

ENTRY = "kernel"

_loaded: dict[tuple[str, str], tuple[int, Any]] = {}  # (kernel text, target) -> (address, code that must stay alive)
_lock = threading.Lock()


def render(kernel: Kernel, name: str, target: Target) -> str:
    """LLVM IR of the module that defines ``name``."""
    # Imported here: with a warm cache nothing is rendered.
    from .column import render_column
    from .contraction import render_contraction
    from .nest import render_nest
    from .sequential import render_sequential

    if target.isa == "ptx":
        from .gpu import render_gpu

        return render_gpu(kernel, name, target)
    if isinstance(kernel, Nest):
        return render_nest(kernel, name, target)
    if isinstance(kernel, ColumnReduce):
        return render_column(kernel, name, target)
    if isinstance(kernel, Contraction):
        return render_contraction(kernel, name, target)
    return render_sequential(kernel, name, target)


def addresses(kernels: Sequence[Kernel], target: Target) -> list[int]:
    """Entry addresses of the kernels; equal kernels are compiled once."""
    texts = [describe(k) for k in kernels]
    missing: dict[str, Kernel] = {}
    for text, kernel in zip(texts, kernels, strict=True):
        if (text, target.key) not in _loaded:
            missing.setdefault(text, kernel)
    if missing:
        with _lock:
            wanted = {t: k for t, k in missing.items() if (t, target.key) not in _loaded}
            requests = [(t, lambda k=k: render(k, ENTRY, target)) for t, k in wanted.items()]
            codes = load_many(cached_objects(requests, target))
            for text, code in zip(wanted, codes, strict=True):
                _loaded[text, target.key] = (code.address(ENTRY), code)
    return [_loaded[text, target.key][0] for text in texts]

"""Kernels to machine code: render, compile what the caches lack on all cores, load.

A kernel's text (:func:`weft.compiler.kernels.describe`) is its identity: in this process and in the disk cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.device import CPU, Device
from ..core.process import Lock, undivided
from ..llvm.object_cache import cached_objects
from ..llvm.targets import Target
from ..runtime.devices import row_of
from .kernels import Kernel, describe

if TYPE_CHECKING:
    from .gpu.frame import GpuLaunch

ENTRY = "kernel"

# (kernel text, target, device) -> what a step calls the code by, which is there for good
_loaded: dict[tuple[str, str, Device], int] = {}
_lock = Lock()


def render(kernel: Kernel, name: str, target: Target) -> str:
    """LLVM IR of the module that defines ``name``."""
    with undivided():  # imported here: with a warm cache nothing is rendered
        from . import renderers
    return renderers.render(kernel, name, target)


def gpu_launch(kernel: Kernel, ints: Sequence[int], units: int) -> GpuLaunch:
    """The launch of a kernel on a GPU with these ints and (CPU) units."""
    with undivided():
        from . import renderers
    return renderers.gpu_launch(kernel, ints, units)


def addresses(kernels: Sequence[Kernel], target: Target, device: Device = CPU) -> list[int]:
    """Entry addresses of the kernels on a device; equal kernels are compiled once."""
    place = target.key, device
    known: dict[int, str] = {}  # launches that repeat each other have one kernel
    texts = [known.get(id(k)) or known.setdefault(id(k), describe(k)) for k in kernels]
    missing: dict[str, Kernel] = {}
    for text, kernel in zip(texts, kernels, strict=True):
        if (text, *place) not in _loaded:
            missing.setdefault(text, kernel)
    if missing:
        with _lock.now:
            wanted = {t: k for t, k in missing.items() if (t, *place) not in _loaded}
            requests = [(t, lambda k=k: render(k, ENTRY, target)) for t, k in wanted.items()]
            codes = row_of(device).load(device, cached_objects(requests, target), ENTRY)
            for text, address in zip(wanted, codes, strict=True):
                _loaded[text, *place] = address
    return [_loaded[text, *place] for text in texts]

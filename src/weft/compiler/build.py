"""Kernels to machine code: render, compile what the caches lack on all cores, load.

A kernel's text (:func:`weft.compiler.kernels.describe`) is its identity: in this process and in the disk cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.device import CPU, Device
from ..core.process import Lock, undivided
from ..llvm.object_cache import cached_objects, kept_objects
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


def texts_of(kernels: Sequence[Kernel]) -> list[str]:
    """The text of each; launches that repeat each other have one kernel, which is described once."""
    known: dict[int, str] = {}
    return [known.get(id(k)) or known.setdefault(id(k), describe(k)) for k in kernels]


def addresses(kernels: Sequence[Kernel], target: Target, device: Device = CPU) -> list[int]:
    """Entry addresses of the kernels on a device; equal kernels are compiled once."""
    place = target.key, device
    texts = texts_of(kernels)
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


def kept_addresses(texts: Sequence[str], target: Target, device: Device = CPU) -> list[int] | None:
    """Entry addresses of the kernels that these texts describe, if none of them has to be compiled."""
    place = target.key, device
    with _lock.now:
        missing = [t for t in dict.fromkeys(texts) if (t, *place) not in _loaded]
        if missing:
            objects = kept_objects(missing, target)
            if objects is None:
                return None
            for text, address in zip(missing, row_of(device).load(device, objects, ENTRY), strict=True):
                _loaded[text, *place] = address
    return [_loaded[text, *place] for text in texts]

"""LLVM's own entry points: llvmlite's shared library, called without llvmlite's lock.

llvmlite's Python wrapper holds one lock around every call. The library itself is used here as LLVM's own ThinLTO back
ends use it, with one context, target machine and pass builder for each module and nothing shared; so the entry points
are called through ctypes handles of our own, which release the GIL and take no lock. What the library guards for itself
(pass registries, what it sets up once) is why all that calls it runs undivided (core/process.py).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from ..core.process import Lock, undivided, uninterrupted

# Measured on elementwise, reduction and GEMM kernels for AVX-512 and AVX2: the whole O2 pipeline takes 6 to 12 ms more
# a kernel and its code is no quicker; without loop rotation long elementwise bodies are 14 % slower.
PIPELINE: tuple[str, ...] = ("SROAPass", "LoopRotatePass")


@cache
def llvm_version() -> str:
    """Version of the llvmlite that carries LLVM; found without loading LLVM itself."""
    with undivided():
        import llvmlite

    return str(llvmlite.__version__)


_VOID, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ContextCreate": (_VOID, ()),
    "ContextDispose": (None, (_VOID,)),
    "ParseAssembly": (_VOID, (_VOID, _TEXT, _VOID)),
    "VerifyModule": (_INT, (_VOID, _VOID)),
    "DisposeModule": (None, (_VOID,)),
    "SetTarget": (None, (_VOID, _TEXT)),
    "SetDataLayout": (None, (_VOID, _TEXT)),
    "GetTargetFromTriple": (_VOID, (_TEXT, _VOID)),
    "CreateTargetMachine": (_VOID, (_VOID, _TEXT, _TEXT, _TEXT, _INT, _TEXT, _TEXT, _INT, _INT, _TEXT)),
    "CreateTargetMachineData": (_VOID, (_VOID,)),
    "CopyStringRepOfTargetData": (None, (_VOID, _VOID)),
    "DisposeTargetData": (None, (_VOID,)),
    "TargetMachineEmitToMemory": (_VOID, (_VOID, _VOID, _INT, _VOID)),
    "GetBufferStart": (_VOID, (_VOID,)),
    "GetBufferSize": (ctypes.c_size_t, (_VOID,)),
    "DisposeMemoryBuffer": (None, (_VOID,)),
    "DisposeString": (None, (_VOID,)),
    "CreatePipelineTuningOptions": (_VOID, ()),
    "DisposePipelineTuningOptions": (None, (_VOID,)),
    "CreatePassBuilder": (_VOID, (_VOID, _VOID)),
    "DisposePassBuilder": (None, (_VOID,)),
    "CreateNewModulePassManager": (_VOID, ()),
    "RunNewModulePassManager": (None, (_VOID, _VOID, _VOID)),
    "DisposeNewModulePassManger": (None, (_VOID,)),  # the library's own spelling
    "LinkModules": (_INT, (_VOID, _VOID, _VOID)),
    "GetNamedFunction": (_VOID, (_VOID, _TEXT)),
    "IsDeclaration": (_INT, (_VOID,)),
    "SetLinkage": (None, (_VOID, _INT)),
}
_load_lock = Lock()


class Library:
    """llvmlite's shared library: ``call.ParseAssembly(...)`` is LLVMPY_ParseAssembly, without llvmlite's lock."""

    def __init__(self) -> None:
        with uninterrupted():
            import llvmlite.binding as binding

        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        handle = ctypes.CDLL(binding.ffi.lib._name)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(handle, f"LLVMPY_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.add_pass = {name: getattr(handle, f"LLVMPY_module_Add{name}") for name in set(PIPELINE)}
        for function in self.add_pass.values():
            function.restype, function.argtypes = None, (_VOID,)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def take_string(self, out: ctypes.c_void_p) -> str:
        """The text that a call left in ``out``, which is freed."""
        if not out.value:
            return ""
        text = ctypes.string_at(out.value).decode(errors="replace")
        self.DisposeString(out)
        out.value = None
        return text


_the_library: Library | None = None


def library() -> Library:
    global _the_library
    if _the_library is None:
        with _load_lock.now, undivided():
            if _the_library is None:
                _the_library = Library()
    return _the_library

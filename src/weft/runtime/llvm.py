"""LLVM: targets, and the way from IR text to an object file or an assembly listing.

The IR is already vectorised and explicitly scheduled, so the pipeline is short (see :data:`PIPELINE`). Modules compile
in parallel: llvmlite's Python wrapper holds one lock around every call, but the library itself is used here as LLVM's
own ThinLTO back ends use it, with one context, target machine and pass builder for each module and nothing shared;
so the entry points are called through ctypes handles of our own, which release the GIL and take no lock. What the
library guards for itself (pass registries, what it sets up once) is why all of it runs undivided (process.py).

Nothing is contracted: the target machine's fp-op-fusion mode is LLVM's default ("standard": only ``llvm.fmuladd`` may
be fused, which our renderers never emit) and the IR carries no fast-math flags.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..core.config import settings
from ..core.errors import CompileError
from .disk_cache import disk_cache
from .elf import CodeModule, load_objects
from .process import Lock, undivided

__all__ = [
    "CodeModule",
    "Target",
    "assemble",
    "assemble_linked",
    "assemble_many",
    "assembly",
    "cross_target",
    "host_target",
    "llvm_version",
    "load",
    "load_many",
]

# Measured on elementwise, reduction and GEMM kernels for AVX-512 and AVX2: the whole O2 pipeline takes 6 to 12 ms more
# a kernel and its code is no quicker; without loop rotation long elementwise bodies are 14 % slower.
PIPELINE: tuple[str, ...] = ("SROAPass", "LoopRotatePass")


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to generate code for: LLVM triple, CPU and feature string, and the name of its vector ISA.

    isa: sse2, avx2, avx512, neon, rv64 (no vectors), rvv, ptx, thumb, wasm.
    """

    triple: str
    cpu: str
    features: str
    isa: str
    abi: str = ""

    @property
    def key(self) -> str:
        """Text that is equal when machine code made for one target is what would be made for the other."""
        return f"{self.triple};{self.cpu};{self.features};{self.abi};llvmlite {llvm_version()}"

    @property
    def arch(self) -> str:
        """First part of the triple: x86_64, aarch64, riscv64, nvptx64, thumbv7em, wasm32."""
        return self.triple.split("-")[0]

    @property
    def vector_bits(self) -> int:
        """Width of a vector register; 0 where there is none (a GPU's lanes are threads)."""
        return _VECTORS[self.isa][0]

    @property
    def num_vector_registers(self) -> int:
        """How many vector registers the ISA names."""
        return _VECTORS[self.isa][1]

    @property
    def masked_memory(self) -> bool:
        """True where a masked load or store costs about what a plain one does, at any element width."""
        return self.isa in ("avx512", "rvv")

    @property
    def has_fma(self) -> bool:
        """True where ``llvm.fma`` on float is one instruction, and not a call of libm's."""
        return self.isa not in ("sse2", "wasm")


_VECTORS = {
    "rv64": (0, 0),
    "sse2": (128, 16),
    "avx2": (256, 16),
    "avx512": (512, 32),
    "neon": (128, 32),
    "rvv": (128, 32),
    "ptx": (0, 0),
    "thumb": (0, 0),
    "wasm": (128, 16),
}


# ---------------------------------------------------------------------------------------------------- the host


@cache
def llvm_version() -> str:
    """Version of the llvmlite that carries LLVM; found without loading LLVM itself."""
    with undivided():
        import llvmlite

    return str(llvmlite.__version__)


@cache
def _host_cpu() -> tuple[str, str, tuple[str, ...]]:
    """``(triple, CPU name, features)`` of the machine that this process runs on, as LLVM names them.

    Kept in the disk cache, so that a process that finds all its code there does not load LLVM at all.
    """
    identity = _cpu_identity()
    entry = "host-" + hashlib.sha256(f"{identity}\0{llvm_version()}".encode()).hexdigest()
    kept = disk_cache().get(entry) if identity else None
    if kept is None:
        _library()
        with undivided():
            import llvmlite.binding as binding

            features = (f"{'+' if on else '-'}{name}" for name, on in sorted(binding.get_host_cpu_features().items()))
            kept = f"{binding.get_process_triple()}\n{binding.get_host_cpu_name()}\n{','.join(features)}".encode()
        if identity:
            disk_cache().put(entry, kept)
    triple, cpu, listed = kept.decode().split("\n")
    return triple, cpu, tuple(listed.split(","))


def _cpu_identity() -> str:
    """What the kernel says of the first CPU: equal text means equal instruction sets; empty where it says nothing."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            text = file.read(8192).split("\n\n")[0]
    except OSError:
        return ""
    fixed = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU ")
    return "\n".join(line for line in text.splitlines() if line.startswith(fixed))


def host_target(isa: str | None = None) -> Target:
    """This machine, restricted to ``isa``; None is what the settings say, and failing that the best it has.

    ``avx512``: with 512-bit vectors even where LLVM would prefer 256. ``avx2``: AVX2, FMA and F16C, no AVX-512 of any
    kind. ``generic``: the baseline of the architecture (SSE2, no FMA instruction: slow, the same bits).

    Raises:
        CompileError: this machine does not have that ISA.
    """
    return _host_target(isa or settings().isa)


@cache
def _host_target(isa: str | None) -> Target:
    triple, cpu, features = _host_cpu()
    runs = ["generic"]
    if triple.startswith("x86_64-"):
        if {"+avx2", "+fma", "+f16c"} <= set(features):
            runs.append("avx2")
            if {"+avx512f", "+avx512vl", "+avx512bw", "+avx512dq"} <= set(features):
                runs.append("avx512")
    elif triple.startswith(("aarch64-", "arm64-")):
        runs.append("neon")
    else:
        raise CompileError(f"weft does not generate code for machines like this one ({triple}, {cpu}) yet")
    isa = isa or runs[-1]
    if isa not in runs:
        raise CompileError(f"this machine ({cpu}) cannot run {isa} code; it runs {', '.join(runs)}")
    if isa == "generic":
        return Target(triple, "generic", "", "neon") if "neon" in runs else Target(triple, "x86-64", "", "sse2")
    if isa == "avx2":
        features = (*(f for f in features if "avx512" not in f and "avx10" not in f), "-avx512f")
    elif isa == "avx512":
        features = (*features, "-prefer-256-bit")
    return Target(triple, cpu, ",".join(features), isa)


_CROSS = {
    "x86_64-linux-gnu": ("x86_64-unknown-linux-gnu", "x86-64-v3", "", "avx2", ""),
    "aarch64-linux-gnu": ("aarch64-unknown-linux-gnu", "generic", "+neon", "neon", ""),
    "riscv64-linux-gnu": ("riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c", "rv64", "lp64d"),
    "riscv64-linux-gnu-v": ("riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c,+v", "rvv", "lp64d"),
    "cortex-m4": ("thumbv7em-none-eabihf", "cortex-m4", "", "thumb", ""),
    "cortex-m7": ("thumbv7em-none-eabihf", "cortex-m7", "", "thumb", ""),
    "wasm32": ("wasm32-unknown-unknown", "generic", "+simd128", "wasm", ""),
}


def cross_target(name: str) -> Target:
    """A machine other than this one, by name.

    aarch64-linux-gnu, x86_64-linux-gnu (x86-64-v3), riscv64-linux-gnu, riscv64-linux-gnu-v, cortex-m4, cortex-m7,
    wasm32, nvptx64 (sm_90) or nvptx64-sm_NN.

    Raises:
        CompileError: no such target.
    """
    if name == "nvptx64":
        name = "nvptx64-sm_90"
    if name.startswith("nvptx64-sm_"):
        return Target("nvptx64-nvidia-cuda", name.partition("-")[2], "", "ptx")
    if name not in _CROSS:
        raise CompileError(f"no target {name!r}; there are {', '.join(_CROSS)}, nvptx64-sm_NN")
    return Target(*_CROSS[name])


# ---------------------------------------------------------------------------------------------------- the library

_INTERNAL = 8  # LLVMLinkage
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
    "DisposeTargetMachine": (None, (_VOID,)),
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


class _Library:
    """llvmlite's shared library: ``call.ParseAssembly(...)`` is LLVMPY_ParseAssembly, without llvmlite's lock."""

    def __init__(self) -> None:
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


_the_library: _Library | None = None


def _library() -> _Library:
    global _the_library
    if _the_library is None:
        with _load_lock.now, undivided():
            if _the_library is None:
                _the_library = _Library()
    return _the_library


# ---------------------------------------------------------------------------------------------------- compilation


class _Machine:
    """A target machine and its data layout; used by one thread at a time."""

    def __init__(self, target: Target, level: int):
        call = _library()
        out = ctypes.c_void_p()
        found = call.GetTargetFromTriple(target.triple.encode(), ctypes.byref(out))
        if not found:
            raise CompileError(f"LLVM does not know the target {target.triple}: {call.take_string(out)}")
        self.ref = call.CreateTargetMachine(
            found,
            target.triple.encode(),
            target.cpu.encode(),
            target.features.encode(),
            level,
            b"static" if target.isa in ("thumb", "wasm") else b"pic",
            b"default",
            0,
            0,
            target.abi.encode(),
        )
        if not self.ref:
            raise CompileError(f"LLVM makes no target machine for {target.triple} {target.cpu}")
        data = call.CreateTargetMachineData(self.ref)
        call.CopyStringRepOfTargetData(data, ctypes.byref(out))
        self.layout = call.take_string(out).encode()
        call.DisposeTargetData(data)

    def close(self) -> None:
        _library().DisposeTargetMachine(self.ref)


def assemble(text: str, target: Target, *, level: int = 2) -> bytes:
    """The object file of one LLVM module.

    Args:
        text: LLVM assembly; its triple and data layout, if any, are replaced by the target's.
        target: machine to generate code for. For ``nvptx64`` the result is PTX text.
        level: 0 (quick and slow code: nothing is optimised) to 3 for code generation.

    Raises:
        CompileError: text that LLVM does not accept; the message has the line.
    """
    return _emit([text], (), target, level, as_object=target.isa != "ptx")


def assembly(text: str, target: Target, *, level: int = 2) -> str:
    """The assembly listing of one LLVM module; arguments and errors as for :func:`assemble`."""
    return _emit([text], (), target, level, as_object=False).decode()


def assemble_linked(texts: Sequence[str], hidden: Sequence[str], target: Target, *, level: int = 2) -> bytes:
    """One object file of several modules, in which the functions ``hidden`` are local.

    Private names of different modules may be equal; other definitions may not.

    Raises:
        CompileError: as for :func:`assemble`, or the modules do not fit together.
    """
    return _emit(texts, hidden, target, level, as_object=target.isa != "ptx")


def assemble_many(
    sources: Sequence[str | Callable[[], str]], target: Target, *, level: int = 2, threads: int | None = None
) -> list[bytes]:
    """Object files of several modules, compiled by up to ``threads`` threads (default: the settings').

    A source is the module's text, or a function that returns it; such functions are called one at a time, in order,
    while other threads compile. Where the system or an interpreter that ends gives no more threads, there are fewer.

    Raises:
        CompileError: as for :func:`assemble`, the first one in the order of the sources.
    """
    results: list[bytes | BaseException] = [b""] * len(sources)
    order = iter(range(len(sources)))
    lock = threading.Lock()

    def work() -> None:
        number = 0
        try:
            while True:
                with lock:
                    number = next(order, -1)
                    if number < 0:
                        return
                    source = sources[number]
                    text = source if isinstance(source, str) else source()
                results[number] = assemble(text, target, level=level)
        except BaseException as error:  # Ctrl-C in the calling thread and the end of the process in others included
            results[number] = error
            list(order)  # nobody begins another one

    count = min(threads or settings().codegen_threads, len(sources))
    workers: list[threading.Thread] = []
    with contextlib.suppress(RuntimeError):  # no more threads
        for number in range(1, count):
            worker = threading.Thread(target=work, name=f"weft-codegen-{number}")
            worker.start()
            workers.append(worker)
    work()
    for worker in workers:
        worker.join()
    return [_or_raise(result) for result in results]


def _or_raise(result: bytes | BaseException) -> bytes:
    if isinstance(result, BaseException):
        raise result
    return result


def _emit(texts: Sequence[str], hidden: Sequence[str], target: Target, level: int, as_object: bool) -> bytes:
    with undivided():
        return _emit_undivided(texts, hidden, target, level, as_object)


def _emit_undivided(texts: Sequence[str], hidden: Sequence[str], target: Target, level: int, as_object: bool) -> bytes:
    call = _library()
    machine = _Machine(target, level)
    context = call.ContextCreate()
    try:
        module = _parse(texts[0], context, machine, target)
        try:
            for text in texts[1:]:
                _link(module, _parse(text, context, machine, target))
            for name in hidden:
                function = call.GetNamedFunction(module, name.encode())
                if not function or call.IsDeclaration(function):
                    raise CompileError(f"no module defines the function {name!r}")
                call.SetLinkage(function, _INTERNAL)
            if level:
                _optimise(module, machine)
            return _generate(module, machine, as_object)
        finally:
            call.DisposeModule(module)
    finally:
        call.ContextDispose(context)
        machine.close()


def _parse(text: str, context: int, machine: _Machine, target: Target) -> int:
    call = _library()
    out = ctypes.c_void_p()
    module: int = call.ParseAssembly(context, text.encode(), ctypes.byref(out))
    if not module:
        raise CompileError(f"LLVM cannot parse the IR\n{call.take_string(out).strip()}")
    call.SetTarget(module, target.triple.encode())
    call.SetDataLayout(module, machine.layout)
    if call.VerifyModule(module, ctypes.byref(out)):
        call.DisposeModule(module)
        raise CompileError(f"LLVM's verifier rejects the IR\n{_with_lines(call.take_string(out), text)}")
    call.take_string(out)
    return module


def _link(module: int, other: int) -> None:
    """Move all of ``other``, which is consumed, into ``module``."""
    out = ctypes.c_void_p()
    if _library().LinkModules(module, other, ctypes.byref(out)):
        raise CompileError(f"LLVM cannot link the modules: {_library().take_string(out)}")
    _library().take_string(out)


def _with_lines(message: str, text: str) -> str:
    """``message``, with the number of the line of ``text`` in front of each line that quotes one."""
    numbers = {" ".join(line.split(";")[0].split()): number for number, line in enumerate(text.splitlines(), 1)}
    numbers.pop("", None)
    quoted = []
    for line in message.strip().splitlines():
        number = numbers.get(" ".join(line.split()))
        quoted.append(f"line {number}: {line.strip()}" if number else line)
    return "\n".join(quoted)


def _optimise(module: int, machine: _Machine) -> None:
    """Run PIPELINE. The pass builder is made anew: a run leaves callbacks in it that dangle afterwards."""
    call = _library()
    options = call.CreatePipelineTuningOptions()
    builder = call.CreatePassBuilder(machine.ref, options)
    manager = call.CreateNewModulePassManager()
    for name in PIPELINE:
        call.add_pass[name](manager)
    call.RunNewModulePassManager(manager, module, builder)
    call.DisposeNewModulePassManger(manager)
    call.DisposePassBuilder(builder)
    call.DisposePipelineTuningOptions(options)


def _generate(module: int, machine: _Machine, as_object: bool) -> bytes:
    call = _library()
    out = ctypes.c_void_p()
    buffer = call.TargetMachineEmitToMemory(machine.ref, module, int(as_object), ctypes.byref(out))
    if not buffer:
        raise CompileError(f"LLVM generates no code: {call.take_string(out)}")
    try:
        return ctypes.string_at(call.GetBufferStart(buffer), call.GetBufferSize(buffer))
    finally:
        call.DisposeMemoryBuffer(buffer)


# ---------------------------------------------------------------------------------------------------- loading


def load(code: bytes, symbols: Mapping[str, int] | None = None) -> CodeModule:
    """Load one object file made for the host; see :func:`weft.runtime.elf.load_objects`."""
    return load_objects([code], symbols)[0]


def load_many(codes: Sequence[bytes], symbols: Mapping[str, int] | None = None) -> list[CodeModule]:
    """Load several objects at once, into one region of memory: quicker, and denser, than one by one."""
    return load_objects(codes, symbols) if codes else []

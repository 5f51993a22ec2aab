"""Targets: the machines that code is generated for, and one row of a table for each ISA.

Renderers ask a :class:`Target` what they need to know (how wide its vectors are, whether masked memory is cheap) and
never for the ISA by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from ..core.config import settings
from ..core.errors import CompileError
from ..core.process import undivided
from .disk_cache import disk_cache
from .library import library, llvm_version


class DotInstruction(NamedTuple):
    """An instruction that adds to each 32-bit lane the products of the elements of ``dtype`` that two others hold.

    feature: what has it, which not all machines of an ISA do. intrinsic: LLVM's name. probed: a host has it only where
    it gives the bits of the numerics contract (dot_probe.py); of integers there is nothing to ask.
    """

    name: str
    dtype: str
    feature: str
    intrinsic: str
    probed: bool = False


class Isa(NamedTuple):
    """What an instruction set is to whoever renders, assembles or chooses it.

    vector_bits: width of a vector register; 0 where there is none (a GPU's lanes are threads).
    num_vector_registers: how many of them it names.
    masked_memory: a masked load or store costs about what a plain one does, at any element width.
    has_fma: ``llvm.fma`` on float is one instruction, and not a call of libm's.
    is_gpu: a unit is a block of threads, and code is text that the driver assembles.
    relocation: LLVM's relocation model.
    hides_strides: the steps from row to row of a tile are kept out of LLVM's sight, which chains them otherwise.
    dots: instructions that add several products to each 32-bit lane.

    Of those that the host may be:

    archs: first parts of triples whose machines may have it.
    baseline: the CPU whose code all of these machines run, where this ISA is all that it has; chosen as ``generic``.
    is_named: whether it is also chosen by its own name, for the machine's CPU.
    needs: features without which a machine does not have it.
    drops, adds: features to leave out (parts of their names) and to add, for code that uses exactly this ISA.
    """

    vector_bits: int
    num_vector_registers: int
    masked_memory: bool = False
    has_fma: bool = True
    is_gpu: bool = False
    relocation: str = "pic"
    hides_strides: bool = False
    dots: tuple[DotInstruction, ...] = ()
    archs: tuple[str, ...] = ()
    baseline: str = ""
    is_named: bool = True
    needs: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()


_AVX2 = ("+avx2", "+fma", "+f16c")
_AVX512 = (*_AVX2, "+avx512f", "+avx512vl", "+avx512bw", "+avx512dq")
_AVX512_DOTS = (
    DotInstruction("vdpbf16ps", "bfloat16", "+avx512bf16", "llvm.x86.avx512bf16.dpbf16ps.512", probed=True),
    DotInstruction("vpdpbusd", "int8", "+avx512vnni", "llvm.x86.avx512.vpdpbusd.512"),
)
_X86_64, _ARM_64 = ("x86_64",), ("aarch64", "arm64")

_ISAS = {
    "sse2": Isa(128, 16, False, has_fma=False, hides_strides=True, archs=_X86_64, baseline="x86-64", is_named=False),
    "avx2": Isa(256, 16, hides_strides=True, archs=_X86_64, needs=_AVX2, drops=("avx512", "avx10"), adds=("-avx512f",)),
    "avx512": Isa(
        512,
        32,
        True,
        hides_strides=True,
        dots=_AVX512_DOTS,
        archs=_X86_64,
        needs=_AVX512,
        adds=("-prefer-256-bit",),
    ),
    "neon": Isa(128, 32, archs=_ARM_64, baseline="generic"),
    "rv64": Isa(0, 0),
    "rvv": Isa(128, 32, masked_memory=True),
    "ptx": Isa(0, 0, is_gpu=True),
    "thumb": Isa(0, 0, relocation="static"),
    "wasm": Isa(128, 16, has_fma=False, relocation="static"),
}
HOST_ISAS = ("generic", *(name for name, row in _ISAS.items() if row.archs and row.is_named))  # the setting ``isa``


@dataclass(frozen=True, slots=True)
class Target:
    """A machine to generate code for: LLVM triple, CPU and feature string, and the name of its vector ISA.

    isa: a row of the table above. checked: kernels check every address before they use it (compiler/checked.py).
    """

    triple: str
    cpu: str
    features: str
    isa: str
    abi: str = ""
    checked: bool = False

    @property
    def key(self) -> str:
        """Text that is equal when machine code made for one target is what would be made for the other."""
        checked = ";checked" if self.checked else ""
        return f"{self.triple};{self.cpu};{self.features};{self.abi};llvmlite {llvm_version()}{checked}"

    @property
    def arch(self) -> str:
        """First part of the triple: x86_64, aarch64, riscv64, nvptx64, thumbv7em, wasm32."""
        return self.triple.split("-")[0]

    @property
    def vector_bits(self) -> int:
        """Width of a vector register; 0 where there is none (a GPU's lanes are threads)."""
        return _ISAS[self.isa].vector_bits

    @property
    def num_vector_registers(self) -> int:
        """How many vector registers the ISA names."""
        return _ISAS[self.isa].num_vector_registers

    @property
    def masked_memory(self) -> bool:
        """True where a masked load or store costs about what a plain one does, at any element width."""
        return _ISAS[self.isa].masked_memory

    @property
    def has_fma(self) -> bool:
        """True where ``llvm.fma`` on float is one instruction, and not a call of libm's."""
        return _ISAS[self.isa].has_fma

    @property
    def is_gpu(self) -> bool:
        """True where a unit is a block of threads, and code is text that the driver assembles (PTX)."""
        return _ISAS[self.isa].is_gpu

    @property
    def relocation(self) -> str:
        """LLVM's relocation model: pic, or static where nothing is shared."""
        return _ISAS[self.isa].relocation

    @property
    def hides_strides(self) -> bool:
        """True where the steps from row to row of a tile are kept out of LLVM's sight."""
        return _ISAS[self.isa].hides_strides

    def dot(self, dtype: str) -> str | None:
        """LLVM's name of the instruction that adds to each 32-bit lane the products of the elements of ``dtype`` that
        two others hold, if this machine has one."""
        features = self.features.split(",")
        found = (dot.intrinsic for dot in _ISAS[self.isa].dots if dot.dtype == dtype and dot.feature in features)
        return next(found, None)


class Host(NamedTuple):
    """The machine that this process runs on: triple, CPU name and features, as LLVM names them.

    distrusted: names of dot instructions that it has, and that do not give the bits of the numerics contract there. Its
    features are off, so that no code has them: they are in the key of all that is kept.
    """

    triple: str
    cpu: str
    features: tuple[str, ...]
    distrusted: tuple[str, ...] = ()


@cache
def host() -> Host:
    """This machine.

    Kept in the disk cache, so that a process that finds all its code there does not load LLVM at all, and no
    instruction is tried twice.
    """
    with undivided():  # imported here: it needs targets
        from .object_cache import codegen_version
    identity = _cpu_identity()
    entry = "host-" + hashlib.sha256(f"{identity}\0{llvm_version()}\0{codegen_version()}".encode()).hexdigest()
    kept = disk_cache().get(entry) if identity else None
    if kept is None:
        found = _tried(_asked())
        lists = ",".join(found.features), ",".join(found.distrusted)
        kept = "\n".join((found.triple, found.cpu, *lists)).encode()
        if identity:
            disk_cache().put(entry, kept)
    triple, cpu, features, distrusted = kept.decode().split("\n")
    return Host(triple, cpu, tuple(features.split(",")), tuple(distrusted.split(",")) if distrusted else ())


def _asked() -> Host:
    """What LLVM says of this machine."""
    library()
    with undivided():
        import llvmlite.binding as binding

        features = tuple(f"{'+' if on else '-'}{name}" for name, on in sorted(binding.get_host_cpu_features().items()))
        return Host(binding.get_process_triple(), binding.get_host_cpu_name(), features)


def _tried(machine: Host) -> Host:
    """The machine without the dot instructions that give other bits than the numerics contract."""
    for isa in _run_by(machine):
        for dot in _ISAS[isa].dots:
            if dot.probed and dot.feature in machine.features and not _is_right(_target_of(machine, isa), dot):
                off = tuple("-" + f[1:] if f == dot.feature else f for f in machine.features)
                machine = machine._replace(features=off, distrusted=(*machine.distrusted, dot.name))
    return machine


def _is_right(target: Target, dot: DotInstruction) -> bool:
    """What the instruction's probe says."""
    with undivided():
        from .dot_probe import gives_the_contract
    return gives_the_contract(target, dot.intrinsic)


def distrusted_dot(dtype: str) -> str | None:
    """The name of this machine's dot instruction for elements of ``dtype``, if it is one that is not to be used."""
    rows = (dot for row in _ISAS.values() for dot in row.dots)
    return next((dot.name for dot in rows if dot.dtype == dtype and dot.name in host().distrusted), None)


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
        ValueError: there is none of that name.
    """
    target = _host_target(check_isa(isa or settings().isa))
    return _checked(target) if settings().check_memory else target


@cache
def _checked(target: Target) -> Target:
    return replace(target, checked=True)


def check_isa(isa: str | None) -> str | None:
    """The setting ``isa``, or None for the best of the host.

    Raises:
        ValueError: it is not one of HOST_ISAS.
    """
    if isa is not None and isa not in HOST_ISAS:
        raise ValueError(f"isa (WEFT_ISA) is {isa!r}; it must be one of {', '.join(HOST_ISAS)}")
    return isa


@cache
def _host_target(isa: str | None) -> Target:
    machine = host()
    known = _rows_of(machine.triple)
    if not known:
        raise CompileError(
            f"weft does not generate code for machines like this one ({machine.triple}, {machine.cpu}) yet"
        )
    runs = ["generic", *_run_by(machine)]
    isa = isa or runs[-1]
    if isa not in runs:
        raise CompileError(f"this machine ({machine.cpu}) cannot run {isa} code; it runs {', '.join(runs)}")
    if isa == "generic":
        name, row = next((name, row) for name, row in known.items() if row.baseline)
        return Target(machine.triple, row.baseline, "", name)
    return _target_of(machine, isa)


def _rows_of(triple: str) -> dict[str, Isa]:
    """The ISAs that machines of this kind may have."""
    return {name: row for name, row in _ISAS.items() if triple.split("-")[0] in row.archs}


def _run_by(machine: Host) -> list[str]:
    """Those that it has by their own names, the best last."""
    known = _rows_of(machine.triple)
    return [name for name in HOST_ISAS if name in known and {*known[name].needs} <= {*machine.features}]


def _target_of(machine: Host, isa: str) -> Target:
    """The machine, restricted to one of these."""
    row = _ISAS[isa]
    kept = (feature for feature in machine.features if not any(part in feature for part in row.drops))
    return Target(machine.triple, machine.cpu, ",".join((*kept, *row.adds)), isa)


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

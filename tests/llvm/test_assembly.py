"""Code generation and its guarantees: no contraction, wide vectors, clear errors, sound parallelism."""

from __future__ import annotations

import ctypes
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from weft.core.errors import CompileError
from weft.llvm.assembly import assemble, assemble_many, assembly
from weft.llvm.elf import load, load_objects
from weft.llvm.targets import cross_target, host_target

CROSS = [
    "aarch64-linux-gnu",
    "x86_64-linux-gnu",
    "riscv64-linux-gnu",
    "riscv64-linux-gnu-v",
    "cortex-m4",
    "cortex-m7",
    "wasm32",
    "nvptx64",
    "nvptx64-sm_80",
]

MULTIPLY_ADD = """
define void @k(ptr %a, ptr %b, ptr %c) nounwind {
  %x = load <16 x float>, ptr %a, align 4
  %y = load <16 x float>, ptr %b, align 4
  %p = fmul <16 x float> %x, %y
  %s = fadd <16 x float> %p, %x
  store <16 x float> %s, ptr %c, align 4
  %x1 = load float, ptr %a
  %y1 = load float, ptr %b
  %p1 = fmul float %x1, %y1
  %s1 = fsub float %y1, %p1
  store float %s1, ptr %b
  ret void
}
"""


def host_isas() -> list[str]:
    """Every ISA that this machine can run."""
    found = []
    for isa in ("generic", "avx2", "avx512", "neon"):
        try:
            host_target(isa)
        except CompileError:
            continue
        found.append(isa)
    return found


def function(value: int) -> str:
    """A module whose ``f()`` returns ``value``."""
    return f"define i64 @f() {{\n  ret i64 {value}\n}}\n"


def call(address: int) -> int:
    """Result of the function ``i64 ()`` at ``address``."""
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(address)())


@pytest.mark.parametrize("isa", host_isas())
def test_half_precision_converts_alike_on_every_isa(isa: str) -> None:
    text = """
define void @k(ptr %p) {
  %h = load <8 x half>, ptr %p, align 2
  %f = fpext <8 x half> %h to <8 x float>
  %s = fmul <8 x float> %f, splat (float 0x3FF3333340000000)
  %r = fptrunc <8 x float> %s to <8 x half>
  store <8 x half> %r, ptr %p, align 2
  ret void
}
"""
    module = load(assemble(text, host_target(isa)))
    values = [1.0, -0.333251953125, 65504.0, 6e-08, 0.0, -2.5, 1000.5, 3.14]
    memory = ctypes.create_string_buffer(struct.pack("<8e", *values))
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(module.address("k"))(memory)
    scale = struct.unpack("<f", struct.pack("<f", 1.2))[0]
    exact = [struct.unpack("<e", struct.pack("<e", v))[0] * scale for v in values]
    rounded = [struct.pack("<e", v) if abs(v) < 65520 else struct.pack("<e", float("inf")) for v in exact]
    assert memory.raw[:16] == b"".join(rounded)


@pytest.mark.parametrize("isa", host_isas())
def test_code_for_every_isa_of_the_host_runs_with_the_same_bits(isa: str) -> None:
    module = load(assemble(MULTIPLY_ADD, host_target(isa)))
    a = (ctypes.c_float * 16)(*(1.0 + i / 7 for i in range(16)))
    b = (ctypes.c_float * 16)(*(-1.0 - i / 3 for i in range(16)))
    c = (ctypes.c_float * 16)()
    single = lambda v: ctypes.c_float(v).value  # noqa: E731
    expected = [single(single(x * y) + x) for x, y in zip(a, b, strict=True)]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(module.address("k"))(a, b, c)
    assert list(c) == expected


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("name", [*host_isas(), *CROSS])
def test_a_product_and_a_sum_are_never_contracted(name: str, level: int) -> None:
    target = cross_target(name) if name in CROSS else host_target(name)
    opcodes = {line.split()[0] for line in assembly(MULTIPLY_ADD, target, level=level).splitlines() if line.split()}
    # x86 vfmadd213ps, vfnmsub..; AArch64 fmla, fmls, fmadd, fnmsub; RISC-V fmadd.s, vfmacc.vv; Arm vfma; PTX fma.rn.
    # Arm's vmla and vmls are not fused: they round the product.
    assert not [opcode for opcode in opcodes if re.match(r"v?fn?m(add|sub|acc|sac|la|ls|a\.|s\.|a$|s$)", opcode)]
    assert any("mul" in opcode or "vmla" in opcode for opcode in opcodes)


@pytest.mark.parametrize(
    ("name", "fused"),
    [
        ("avx512", "vfmadd"),
        ("avx2", "vfmadd"),
        ("aarch64-linux-gnu", "fmla"),
        ("nvptx64", "fma.rn.f32"),
        ("riscv64-linux-gnu-v", "vfmadd|vfmacc"),
    ],
)
def test_fma_is_one_instruction_where_it_is_asked_for(name: str, fused: str) -> None:
    if name not in CROSS and name not in host_isas():
        pytest.skip(f"this machine has no {name}")
    target = cross_target(name) if name in CROSS else host_target(name)
    assert target.has_fma
    text = assembly(
        "define <4 x float> @k(<4 x float> %a, <4 x float> %b, <4 x float> %c) {\n"
        "  %r = call <4 x float> @llvm.fma.v4f32(<4 x float> %a, <4 x float> %b, <4 x float> %c)\n"
        "  ret <4 x float> %r\n}\ndeclare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)\n",
        target,
    )
    assert re.search(fused, text)


@pytest.mark.skipif("avx512" not in host_isas(), reason="this machine has no AVX-512")
def test_avx512_uses_whole_registers_and_avx2_none_of_them() -> None:
    assert "zmm" in assembly(MULTIPLY_ADD, host_target("avx512"))
    narrow = assembly(MULTIPLY_ADD, host_target("avx2"))
    assert "ymm" in narrow and "zmm" not in narrow and not re.search(r"[xy]mm(1[6-9]|2\d|3\d)|%k\d", narrow)


def test_a_syntax_error_names_the_line() -> None:
    with pytest.raises(CompileError, match=r"(?s):2:16: error: use of undefined value '%y'.*add i32 %y"):
        assemble("define i32 @f() {\n  %x = add i32 %y, 1\n  ret i32 %x\n}\n", host_target())


def test_what_the_verifier_rejects_is_quoted_with_its_line() -> None:
    text = "define i64 @f() {\n  %x = add i64 %y, 1\n  %y = add i64 2, 1\n  ret i64 %x\n}\n"
    with pytest.raises(CompileError, match=r"(?s)does not dominate all uses.*line 3: %y = add i64 2, 1.*line 2: "):
        assemble(text, host_target())


def test_an_error_leaves_the_compiler_usable() -> None:
    for _ in range(3):
        with pytest.raises(CompileError):
            assemble("not IR", host_target())
        assert call(load(assemble(function(5), host_target())).address("f")) == 5


def test_parallel_compilation_gives_the_objects_of_serial_compilation_in_order() -> None:
    target = host_target()
    texts = [function(i) + MULTIPLY_ADD.replace("%", f"%n{i}.") for i in range(40)]
    serial = [assemble(text, target) for text in texts]
    assert assemble_many(texts, target, threads=8) == serial
    assert assemble_many((text for text in texts), target, threads=3) == serial


def test_threads_may_compile_different_targets_and_fail_at_the_same_time() -> None:
    targets = [host_target(), *map(cross_target, ("aarch64-linux-gnu", "nvptx64", "riscv64-linux-gnu"))]
    serial = [assemble(MULTIPLY_ADD, target) for target in targets]
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            i = (number + turn) % len(targets)
            if assemble(MULTIPLY_ADD, targets[i]) != serial[i]:
                wrong.append(targets[i].triple)
            try:
                assemble(f"bad {number}", targets[i])
                wrong.append("accepted")
            except CompileError as error:
                if f"bad {number}" not in str(error):
                    wrong.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_first_error_of_many_is_raised() -> None:
    def broken(*first: str) -> Iterator[str]:
        yield from first
        raise LookupError("no text")

    with pytest.raises(LookupError, match="no text"):
        assemble_many(broken(function(1)), host_target(), threads=2)
    with pytest.raises(CompileError, match="bad"):
        assemble_many(broken(function(1), "bad"), host_target(), threads=2)
    with pytest.raises(CompileError, match="bad 1"):
        assemble_many([function(1), "bad 1", "bad 2"], host_target(), threads=2)


def test_objects_with_equal_symbols_are_loaded_side_by_side() -> None:
    modules = load_objects([assemble(function(i), host_target()) for i in range(20)])
    assert [call(module.address("f")) for module in modules] == list(range(20))
    assert load_objects([]) == []


@pytest.mark.parametrize("name", CROSS)
def test_every_cross_target_generates_code(name: str) -> None:
    code = assemble(MULTIPLY_ADD, cross_target(name))
    if name.startswith("nvptx"):
        assert f".target {cross_target(name).cpu}" in code.decode()
    else:
        assert code.startswith(b"\0asm" if name == "wasm32" else b"\x7fELF")


def test_ptx_keeps_multiplication_and_addition_apart() -> None:
    text = assemble(MULTIPLY_ADD, cross_target("nvptx64")).decode()
    assert "mul.rn.f32" in text and "add.rn.f32" in text and "fma" not in text


def test_a_process_that_finds_its_code_in_the_cache_does_not_load_llvm(tmp_path: object) -> None:
    program = (
        "import sys\n"
        "from weft.llvm.elf import load\n"
        "from weft.llvm.targets import host_target\n"
        "from weft.llvm.object_cache import cached_object\n"
        "code = cached_object('k', host_target(), lambda: 'define i64 @f() {\\n ret i64 3\\n}')\n"
        "load(code).address('f')\n"
        "print('llvmlite.binding' in sys.modules)\n"
    )
    environment = {"WEFT_CACHE_DIR": str(tmp_path) + "/cache", "PYTHONPATH": ":".join(filter(None, sys.path))}
    answers = [
        subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert answers == ["True", "False"]


def test_an_interrupt_while_others_compile_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    main = threading.main_thread()
    if threading.current_thread() is not main:
        pytest.skip("signals are handled on the main thread")

    class Rang(Exception):
        pass

    class First(threading.Thread):
        def start(self) -> None:
            super().start()
            time.sleep(0.05)  # it is the first to ask for a source

    def ring(*details: object) -> None:
        raise Rang

    def sources() -> Iterator[str]:
        time.sleep(0.1)  # the main thread waits for its turn by now
        signal.pthread_kill(main.ident or 0, signal.SIGALRM)
        time.sleep(0.05)
        yield from map(function, range(4))

    monkeypatch.setattr("weft.llvm.assembly.threading.Thread", First)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(Rang):
            assemble_many(sources(), host_target(), threads=2)
    finally:
        signal.signal(signal.SIGALRM, before)

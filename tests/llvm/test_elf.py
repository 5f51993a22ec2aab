"""The loader: relocations of every kind our objects have, protection of code pages, damaged objects."""

from __future__ import annotations

import ctypes
import gc
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.core.errors import CompileError
from weft.llvm.assembly import assemble
from weft.llvm.elf import link_objects, load_objects, process_symbol
from weft.llvm.targets import cross_target, host_target

# Constants, a table, data, zeroed data, a pointer in data, calls within and outside, jumps (tail calls) within and
# outside, addresses of both kinds.
EVERYTHING = """
@table = private unnamed_addr constant [4 x i64] [i64 10, i64 20, i64 30, i64 40], align 64
@counter = global i64 5
@zeroed = internal global [100 x i64] zeroinitializer, align 32
@pointer = global ptr @twice
declare i64 @helper(i64)
declare i64 @labs(i64)
define internal i64 @hidden(i64 %x) noinline { %r = xor i64 %x, 1
  ret i64 %r }
define i64 @twice(i64 %x) noinline { %r = shl i64 %x, 1
  ret i64 %r }
define internal i64 @hop(i64 %x) noinline { %y = add i64 %x, 3
  %r = musttail call i64 @hidden(i64 %y)
  ret i64 %r }
define i64 @leap(i64 %x) noinline { %r = musttail call i64 @helper(i64 %x)
  ret i64 %r }
define double @fraction(double %x) { %r = fmul double %x, 0x3FB999999999999A
  ret double %r }
define i64 @run(i64 %x) {
  %place = getelementptr [4 x i64], ptr @table, i64 0, i64 %x
  %entry = load i64, ptr %place
  %old = load i64, ptr @counter
  %new = add i64 %old, %entry
  store i64 %new, ptr @counter
  %cell = getelementptr [100 x i64], ptr @zeroed, i64 0, i64 %x
  %before = load volatile i64, ptr %cell
  store volatile i64 %new, ptr %cell
  %indirect = load volatile ptr, ptr @pointer
  %a = call i64 %indirect(i64 %new)
  %b = call i64 @hidden(i64 %a)
  %c = call i64 @helper(i64 %b)
  %d = sub i64 0, %c
  %e = call i64 @labs(i64 %d)
  %f = add i64 %e, %before
  %g = call i64 @hop(i64 %f)
  %h = call i64 @leap(i64 %g)
  ret i64 %h
}
define ptr @of_helper() { ret ptr @helper }
define ptr @of_pointer() { ret ptr @pointer }
"""


def expected(arguments: list[int]) -> list[int]:
    """What ``run`` returns for each of the arguments, in order; helper(x) is x + 1000."""
    counter, zeroed, results = 5, [0] * 100, []
    for x in arguments:
        counter += (10, 20, 30, 40)[x]
        results.append(((abs(-(((counter * 2) ^ 1) + 1000)) + zeroed[x] + 3) ^ 1) + 1000)
        zeroed[x] = counter
    return results


@ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
def helper(x: int) -> int:
    """A function outside of the object, far away from its code."""
    return x + 1000


HELPER = {"helper": ctypes.cast(helper, ctypes.c_void_p).value or 0}
TENTH = 0.1
RUN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)


@pytest.mark.parametrize("level", [0, 2])
def test_everything_an_object_may_hold_is_relocated(level: int) -> None:
    code = assemble(EVERYTHING, host_target(), level=level)
    for module in load_objects([code, code, code], HELPER):  # each has its own counter
        run = RUN(module.address("run"))
        assert [run(x) for x in (0, 3, 1, 1, 2)] == expected([0, 3, 1, 1, 2])
        assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(module.address("fraction"))(5.0) == 5.0 * TENTH
        pointer = ctypes.CFUNCTYPE(ctypes.c_void_p)(module.address("of_pointer"))()
        assert pointer == module.address("pointer")
        assert ctypes.CFUNCTYPE(ctypes.c_void_p)(module.address("of_helper"))() == HELPER["helper"]


def test_only_global_symbols_are_exported() -> None:
    (module,) = load_objects([assemble(EVERYTHING, host_target())], HELPER)
    assert set(module.symbols) == {"counter", "pointer", "twice", "leap", "fraction", "run", "of_helper", "of_pointer"}
    with pytest.raises(CompileError, match=r"no symbol 'hidden'.*run"):
        module.address("hidden")


def test_no_page_is_writable_and_executable() -> None:
    (module,) = load_objects([assemble(EVERYTHING, host_target())], HELPER)
    wanted = {module.address("run"): "r-xp", module.address("counter"): "rw-p"}
    found = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, high, mode = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
        for address in wanted:
            if int(low, 16) <= address < int(high, 16):
                found[address] = mode
    assert found == wanted


def test_code_stays_when_nothing_refers_to_it() -> None:
    (module,) = load_objects([assemble("define i64 @f(i64) { ret i64 2 }", host_target())])
    address = module.address("f")
    del module
    gc.collect()
    assert RUN(address)(0) == 2


LATE = """
import ctypes, threading, time
from weft.llvm.assembly import assemble
from weft.llvm.elf import load
from weft.llvm.targets import host_target
code = load(assemble('''
declare i32 @usleep(i32)
define i64 @slow(i64 %x) { %1 = call i32 @usleep(i32 300000)
  ret i64 %x }
define void @late() { %1 = call i32 @usleep(i32 700000)
  ret void }
''', host_target()))
slow = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code.address("slow"))
ctypes.pythonapi.Py_AtExit(ctypes.c_void_p(code.address("late")))  # after the interpreter is gone
threading.Thread(target=slow, args=(0,), daemon=True).start()
time.sleep(0.05)
"""


def test_code_that_runs_outlives_the_interpreter() -> None:
    """A daemon thread returns from C into its kernel while the process ends."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_symbol_is_named() -> None:
    with pytest.raises(CompileError, match="undefined symbol 'helper'"):
        load_objects([assemble(EVERYTHING, host_target())])
    assert process_symbol("pthread_create") and process_symbol("PyLong_FromLong") and process_symbol("expf")


@pytest.mark.parametrize(
    "text",
    [
        "@t = thread_local global i64 1\ndefine ptr @f() { ret ptr @t }",
        "@llvm.global_ctors = appending global [1 x { i32, ptr, ptr }] "
        "[{ i32, ptr, ptr } { i32 1, ptr @f, ptr null }]\n"
        "define void @f() { ret void }",
        "@c = common global i64 0\ndefine ptr @f() { ret ptr @c }",
    ],
)
def test_what_the_loader_cannot_do_is_refused(text: str) -> None:
    with pytest.raises(CompileError, match=r"cannot be loaded|not known to the loader"):
        load_objects([assemble(text, host_target())])


def test_an_object_for_another_machine_is_refused() -> None:
    with pytest.raises(CompileError, match="not a relocatable object for this machine"):
        load_objects([assemble("define void @f() { ret void }", cross_target("riscv64-linux-gnu"))])
    with pytest.raises(CompileError, match="not a little-endian 64-bit ELF object"):
        load_objects([assemble("define void @f() { ret void }", cross_target("wasm32"))])


@given(st.data())
def test_a_truncated_object_raises_one_error_type(data: st.DataObject) -> None:
    code = assemble_once()
    keep = data.draw(st.integers(0, len(code) - 1))
    with pytest.raises(CompileError):
        load_objects([code[:keep]], HELPER)


_once: list[bytes] = []


def assemble_once() -> bytes:
    """The object of EVERYTHING."""
    if not _once:
        _once.append(assemble(EVERYTHING, host_target()))
    return _once[0]


def run(*command: str | Path) -> list[str]:
    """The lines that a program prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


MAIN = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int64_t helper(int64_t x) { return x + 1000; }
long (*volatile keep)(long) = labs;
int main(int argc, char **argv) {
  size_t size = strtoul(argv[2], 0, 0);
  int all = PROT_READ | PROT_WRITE | PROT_EXEC;
  char *at = mmap((void *)BASE, size, all, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  FILE *file = fopen(argv[1], "rb");
  if (at != (char *)BASE || fread(at, 1, size, file) != size) return 1;
  __builtin___clear_cache(at, at + size);
  int64_t (*run)(int64_t) = (int64_t (*)(int64_t))strtoul(argv[3], 0, 0);
  double (*fraction)(double) = (double (*)(double))strtoul(argv[4], 0, 0);
  for (int i = 5; i < argc; i++) printf("%lld\\n", (long long)run(atoi(argv[i])));
  printf("%.17g\\n", fraction(5.0));
  return 0;
}
"""


def test_aarch64_calls_and_jumps_are_both_relocated() -> None:
    """R_AARCH64_JUMP26 and CALL26, in the words of a program that needs no emulator: within the object as far as the
    function is, outside by a stub that is in reach."""
    code = assemble(EVERYTHING, cross_target("aarch64-linux-gnu"))
    symbols = {"helper": 0x1234_5678_9ABC, "labs": 0x1234_5678_0000}
    memory, base, _, exported, _ = link_objects([code], 183, symbols, lambda size: (bytearray(size), 0x7_1000_0000))
    at = exported[0]["leap"]
    word = int.from_bytes(memory[at - base : at - base + 4], "little")
    assert word >> 26 == 0b000101  # b
    distance = (word & (1 << 26) - 1) << 2
    stub = at + (distance - (1 << 28) if distance >> 27 else distance)
    slot = int.from_bytes(memory[stub - 8 - base : stub - base], "little")
    assert slot == symbols["helper"]
    load_and_jump = memory[stub - base : stub + 8 - base]
    assert load_and_jump == bytes.fromhex("d0ffff58 00021fd6")  # ldr x16, stub - 8; br x16


@pytest.mark.parametrize("level", [0, 2])
def test_aarch64_objects_are_relocated(level: int, tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    base = 0x7_1000_0000  # out of reach of a direct call to the program: the stubs are needed
    (tmp_path / "main.c").write_text(MAIN.replace("BASE", hex(base)))
    program = tmp_path / "main"
    run(compiler, "-static", "-no-pie", "-o", program, tmp_path / "main.c")
    lines = run(require_tool("aarch64-linux-gnu-nm"), program)
    symbols = {line.split()[2]: int(line.split()[0], 16) for line in lines if line.endswith((" helper", " labs"))}
    code = assemble(EVERYTHING, cross_target("aarch64-linux-gnu"), level=level)
    memory, _, _, exported, _ = link_objects([code], 183, symbols, lambda size: (bytearray(size), base))
    (tmp_path / "image").write_bytes(memory)
    addresses = [hex(exported[0][name]) for name in ("run", "fraction")]
    *integers, real = run(emulator, program, tmp_path / "image", hex(len(memory)), *addresses, "0", "3", "1", "1", "2")
    assert [int(line) for line in integers] == expected([0, 3, 1, 1, 2])
    assert float(real) == 5.0 * TENTH

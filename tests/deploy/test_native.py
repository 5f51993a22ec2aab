"""Native libraries: the same bits on this machine, on AArch64 and in the self-check; errors; re-entrancy."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from weft.core import dtypes as dt
from weft.core.errors import CompileError, FormatError
from weft.deploy.native import Library, Port, Step, emit_library
from weft.llvm.elf import load_objects
from weft.llvm.targets import Target, cross_target, host_target

N = 37
# out[u] = fma(x[u], table[u mod ints[0]], 1/3), through scratch
SCALE = """
declare float @llvm.fma.f32(float, float, float)
@third = private unnamed_addr constant [1 x float] [float 0x3FD5555560000000]
define i64 @scale(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) nounwind {
entry:
  %x = load ptr, ptr %bufs
  %p1 = getelementptr ptr, ptr %bufs, i64 1
  %table = load ptr, ptr %p1
  %p2 = getelementptr ptr, ptr %bufs, i64 2
  %out = load ptr, ptr %p2
  %n = load i64, ptr %ints
  %third = load float, ptr @third
  br label %loop
loop:
  %u = phi i64 [ %begin, %entry ], [ %next, %loop ]
  %px = getelementptr float, ptr %x, i64 %u
  %a = load float, ptr %px
  %m = srem i64 %u, %n
  %pt = getelementptr float, ptr %table, i64 %m
  %b = load float, ptr %pt
  %r = call float @llvm.fma.f32(float %a, float %b, float %third)
  store float %r, ptr %scratch
  %kept = load volatile float, ptr %scratch
  %po = getelementptr float, ptr %out, i64 %u
  store float %kept, ptr %po
  %next = add i64 %u, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i64 0
}
"""
# out[u] = values[index[u]], or status 1 where the index is outside of 0..ints[0]
GATHER = """
@third = private unnamed_addr constant [1 x i64] [i64 1]
define i64 @gather(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) nounwind {
entry:
  %values = load ptr, ptr %bufs
  %p1 = getelementptr ptr, ptr %bufs, i64 1
  %index = load ptr, ptr %p1
  %p2 = getelementptr ptr, ptr %bufs, i64 2
  %out = load ptr, ptr %p2
  %n = load i64, ptr %ints
  %one = load i64, ptr @third
  br label %loop
loop:
  %u = phi i64 [ %begin, %entry ], [ %next, %step ]
  %status = phi i64 [ 0, %entry ], [ %new, %step ]
  %pi = getelementptr i64, ptr %index, i64 %u
  %i = load i64, ptr %pi
  %ok = icmp ult i64 %i, %n
  br i1 %ok, label %copy, label %step
copy:
  %pv = getelementptr float, ptr %values, i64 %i
  %v = load float, ptr %pv
  %po = getelementptr float, ptr %out, i64 %u
  store float %v, ptr %po
  br label %step
step:
  %new = phi i64 [ %status, %copy ], [ %one, %loop ]
  %next = add i64 %u, 1
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret i64 %new
}
"""
X, INDEX, Y = Port("x", dt.float32, (N,)), Port("index", dt.int64, (N,)), Port("y", dt.float32, (1, N))
TABLE = struct.pack("<5f", 0.1, -0.7, 1.9, 3.3, 1e-20)
INPUTS = (
    struct.pack(f"<{N}f", *(0.37 * k - 5 for k in range(N))),
    struct.pack(f"<{N}q", *(k * 7 % N for k in range(N))),
)
STEPS = (
    Step("scale", (5,), ((0, 0), (3, 0), (4, 64)), N),  # x, table -> arena
    Step("scale", (5,), ((4, 64), (3, 0), (4, 256)), N),  # again
    Step("gather", (N,), ((4, 256), (1, 0), (2, 0)), N),  # -> y
    Step("gather", (N,), ((4, 256), (1, 0), (2, 0)), 0),  # an empty step does nothing
)


def library(target: Target, **changes: Any) -> Library:
    """The library of the example program."""
    arguments: dict[str, Any] = {
        "name": "tiny",
        "kernels": [("scale", SCALE), ("gather", GATHER)],
        "steps": STEPS,
        "inputs": (X, INDEX),
        "outputs": (Y,),
        "constants": [TABLE],
        "arena_nbytes": 448,
        "target": target,
        "scratch_nbytes": 100,
    }
    return emit_library(**{**arguments, **changes})


class InProcess:
    """A library loaded into this process."""

    def __init__(self, made: Library):
        (self.module,) = load_objects([made.object])
        self.nbytes = made.workspace_nbytes

    def workspace(self) -> tuple[Any, int]:
        """Memory, and the aligned address in it."""
        memory = ctypes.create_string_buffer(self.nbytes + 64)
        return memory, -(-ctypes.addressof(memory) // 64) * 64

    def run(self, inputs: Sequence[bytes], crooked: int = 0) -> tuple[int, bytes]:
        """Result and output of the entry."""
        out = ctypes.create_string_buffer(Y.nbytes)
        _memory, address = self.workspace()
        call = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 4)(self.module.address("tiny_run"))
        given = (ctypes.cast(data, ctypes.c_void_p) for data in inputs)
        return call(*given, ctypes.addressof(out), address + crooked), out.raw

    def verify(self) -> int:
        """Result of the self-check."""
        _memory, address = self.workspace()
        return int(ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)(self.module.address("tiny_verify"))(address))


def expected() -> bytes:
    """What this machine computes."""
    result, out = InProcess(library(host_target())).run(INPUTS)
    assert result == 0
    return out


def test_the_program_computes_what_it_says() -> None:
    table = struct.unpack("<5f", TABLE)
    x, index = struct.unpack(f"<{N}f", INPUTS[0]), struct.unpack(f"<{N}q", INPUTS[1])
    twice = [(a * table[k % 5] + 1 / 3) * table[k % 5] + 1 / 3 for k, a in enumerate(x)]
    assert struct.unpack(f"<{N}f", expected()) == pytest.approx([twice[i] for i in index], rel=1e-5, abs=1e-5)


def test_only_the_entries_are_exported() -> None:
    made = library(host_target(), example=(INPUTS, [expected()]))
    assert InProcess(made).module.symbols == ("tiny_run", "tiny_verify")


def test_status_bits_and_a_bad_workspace_are_reported() -> None:
    loaded = InProcess(library(host_target()))
    outside = INPUTS[1][:-8] + struct.pack("<q", N)
    assert loaded.run((INPUTS[0], outside))[0] == 1
    assert loaded.run(INPUTS, crooked=4)[0] == -1


def test_threads_may_call_at_the_same_time_with_their_own_workspaces() -> None:
    loaded, right = InProcess(library(host_target())), expected()
    wrong: list[int] = []

    def work() -> None:
        for _ in range(200):
            if loaded.run(INPUTS) != (0, right):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_verify_recomputes_the_example() -> None:
    right = expected()
    wrong = right[:-1] + bytes([right[-1] ^ 1])
    assert InProcess(library(host_target(), example=(INPUTS, [right]))).verify() == 0
    assert InProcess(library(host_target(), example=(INPUTS, [wrong]))).verify() == -2
    outside = (INPUTS[0], struct.pack("<q", -1) + INPUTS[1][8:])
    assert InProcess(library(host_target(), example=(outside, [right]))).verify() == 1


def test_empty_outputs_inputs_and_programs_are_fine() -> None:
    empty = Port("x", dt.float32, (0, 3))
    made = library(
        host_target(),
        steps=(),
        inputs=(),
        outputs=(empty,),
        constants=[b""],
        arena_nbytes=0,
        scratch_nbytes=0,
        example=((), [b""]),
    )
    assert InProcess(made).verify() == 0 and "TINY_X_COUNT 0" in made.header


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "9lives"}, "'9lives' cannot be a name in C"),
        ({"inputs": (Port("in put", dt.float32, (N,)), INDEX)}, "'in put' cannot be a name in C"),
        ({"inputs": (Port("for", dt.float32, (N,)), INDEX)}, "'for' cannot be a name in C"),
        ({"inputs": (X, Port("Y", dt.int64, (N,)))}, "same name: x, Y, y"),
        ({"kernels": [("scale", SCALE), ("scale", SCALE)]}, "not distinct"),
        ({"steps": (Step("other", (), (), 1),)}, "step 0 names a kernel"),
        ({"steps": (*STEPS, Step("scale", (5,), ((5, 0),), 1))}, "step 4 names a kernel or a buffer"),
        ({"example": (INPUTS, [b"1"])}, "the example's y has 1 bytes, not 148"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        library(host_target(), **changes)


def test_a_kernel_that_its_module_does_not_define_is_refused() -> None:
    with pytest.raises(CompileError, match="gather"):
        library(host_target(), kernels=[("scale", SCALE), ("gather", SCALE.replace("@scale", "@other"))])


MAIN = """
#include <stdio.h>
#include "tiny.h"
static float x[TINY_X_COUNT], y[TINY_Y_COUNT];
static int64_t index[TINY_INDEX_COUNT];
static _Alignas(TINY_WORKSPACE_ALIGN) unsigned char workspace[TINY_WORKSPACE_BYTES];
int main(void) {
  if (fread(x, sizeof x, 1, stdin) != 1 || fread(index, sizeof index, 1, stdin) != 1) return 1;
  if (tiny_verify(workspace) != 0) return 2;
  if (tiny_run(x, index, y, NULL) != -1) return 3;
  if (tiny_run(x, index, y, workspace) != 0) return 4;
  return fwrite(y, sizeof y, 1, stdout) == 1 ? 0 : 5;
}
"""


def build_and_run(made: Library, folder: Path, compiler: str, emulator: Sequence[str]) -> bytes:
    """Standard output of MAIN linked with the library."""
    for name, content in (("tiny.o", made.object), ("tiny.h", made.header.encode()), ("main.c", MAIN.encode())):
        (folder / name).write_bytes(content)
    subprocess.run(
        [
            compiler,
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-static",
            "-o",
            folder / "main",
            folder / "main.c",
            folder / "tiny.o",
            "-lm",
        ],
        check=True,
    )
    done = subprocess.run([*emulator, folder / "main"], input=b"".join(INPUTS), stdout=subprocess.PIPE, check=True)
    return done.stdout


def test_on_aarch64_a_c_program_gets_the_same_bits(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    right = expected()
    made = library(cross_target("aarch64-linux-gnu"), example=(INPUTS, [right]))
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    assert build_and_run(made, tmp_path, compiler, [emulator]) == right


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_on_this_machine_a_c_program_gets_the_same_bits(tmp_path: Path) -> None:
    right = expected()
    made = library(host_target(), example=(INPUTS, [right]))
    assert build_and_run(made, tmp_path, "cc", []) == right


@pytest.mark.parametrize("name", ["riscv64-linux-gnu", "cortex-m4", "wasm32", "x86_64-linux-gnu"])
def test_other_targets_generate_an_object(name: str) -> None:
    made = library(cross_target(name), example=(INPUTS, [expected()]))
    assert made.object and cross_target(name).triple in made.header


def test_the_header_is_stable() -> None:
    assert (
        library(cross_target("aarch64-linux-gnu")).header
        == """\
/* tiny: made by weft for aarch64-unknown-linux-gnu. */
#ifndef TINY_H
#define TINY_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Every call needs a workspace of its own, of this size and alignment; its contents do not matter. */
#define TINY_WORKSPACE_BYTES 576
#define TINY_WORKSPACE_ALIGN 64

/* input x: float32, shape (37), C order */
#define TINY_X_COUNT 37
/* input index: int64, shape (37), C order */
#define TINY_INDEX_COUNT 37
/* output y: float32, shape (1, 37), C order */
#define TINY_Y_COUNT 37

/* 0: done. Positive: status bits of the kernels (1: an index was out of range; 2: a loop goes on).
   -1: the workspace is null or not aligned. Outputs must not overlap inputs. */
int32_t tiny_run(const float *x, const int64_t *index, float *y, void *workspace);

#ifdef __cplusplus
}
#endif
#endif /* TINY_H */
"""
    )

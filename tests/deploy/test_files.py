"""The files of a library: each of object, archive and shared library links, for this machine and for AArch64."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.core import dtypes as dt
from weft.core.errors import CompileError
from weft.deploy.files import archive, find_linker, write_library
from weft.deploy.native import Library, Port, Step, emit_library
from weft.llvm.targets import Target, cross_target, host_target

DOUBLE = """
define i64 @double(ptr %bufs, ptr %ints, i64 %begin, i64 %end, ptr %scratch) nounwind {
  %x = load ptr, ptr %bufs
  %p = getelementptr ptr, ptr %bufs, i64 1
  %y = load ptr, ptr %p
  %v = load <4 x float>, ptr %x, align 4
  %w = fadd <4 x float> %v, %v
  store <4 x float> %w, ptr %y, align 4
  ret i64 0
}
"""
MAIN = """
#include <stdio.h>
#include "%s.h"
int main(void) {
  static _Alignas(64) unsigned char workspace[64];
  float x[4] = {1, 2, 3, 4.5}, y[4];
  int result = %s_run(x, y, workspace);
  printf("%%d %%g %%g %%g %%g\\n", result, y[0], y[1], y[2], y[3]);
  return 0;
}
"""


def library(target: Target, name: str = "twofold") -> Library:
    """A library that doubles four floats."""
    return emit_library(
        name,
        [("double", DOUBLE)],
        [Step("double", (), ((0, 0), (1, 0)), 1)],
        [Port("x", dt.float32, (4,))],
        [Port("y", dt.float32, (4,))],
        [],
        0,
        target,
        scratch_nbytes=0,
    )


def compile_main(compiler: str, folder: Path, name: str, *link: str) -> Path:
    """MAIN, linked with the library."""
    (folder / "main.c").write_text(MAIN % (name, name))
    main = folder / "main"
    subprocess.run([compiler, "-std=c11", "-Wall", "-Werror", "-o", main, f"{main}.c", *link], check=True)
    return main


@pytest.mark.parametrize("name", ["twofold", "a_name_that_is_rather_long_for_ar"])
@pytest.mark.parametrize("kind", ["o", "a"])
def test_object_and_archive_link_on_aarch64(
    kind: str, name: str, tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    target = cross_target("aarch64-linux-gnu")
    compiler, emulator = require_tool("aarch64-linux-gnu-gcc"), require_tool("qemu-aarch64")
    paths = write_library(library(target, name), tmp_path / "new" / "folder", target)
    assert [path.name for path in paths] == [f"{name}.o", f"{name}.h", f"lib{name}.a"]
    link = [str(paths[0])] if kind == "o" else [f"-L{paths[0].parent}", f"-l{name}"]
    program = compile_main(compiler, tmp_path, name, f"-I{paths[0].parent}", "-static", *link)
    done = subprocess.run([emulator, program], capture_output=True, text=True, check=True)
    assert done.stdout == "0 2 4 6 9\n"


def test_the_shared_library_of_aarch64_links(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    target = cross_target("aarch64-linux-gnu")
    assert find_linker(target) == require_tool("aarch64-linux-gnu-gcc")
    paths = write_library(library(target), tmp_path, target, find_linker(target))
    assert paths[-1].name == "libtwofold.so" and paths[-1].stat().st_size


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_shared_library_of_this_machine_is_loaded_by_the_system(tmp_path: Path) -> None:
    target = host_target()
    paths = write_library(library(target), tmp_path, target, find_linker(target))
    run = ctypes.CDLL(str(paths[-1])).twofold_run
    memory = ctypes.create_string_buffer(128)
    x, y = (ctypes.c_float * 4)(1, 2, 3, 4.5), (ctypes.c_float * 4)()
    assert run(x, y, ctypes.c_void_p(-(-ctypes.addressof(memory) // 64) * 64)) == 0
    assert list(y) == [2, 4, 6, 9]


def test_a_failing_linker_is_an_error_with_its_words(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    with pytest.raises(CompileError, match=r"cannot link libtwofold\.so for aarch64[^\n]*\n."):
        write_library(
            library(host_target()), tmp_path, cross_target("aarch64-linux-gnu"), require_tool("aarch64-linux-gnu-gcc")
        )


def test_there_is_no_linker_for_machines_without_shared_libraries() -> None:
    assert find_linker(cross_target("cortex-m4")) is None and find_linker(cross_target("wasm32")) is None


def test_an_archive_is_a_function_of_its_input_and_has_even_members() -> None:
    assert archive("a.o", b"123", ["f"]) == archive("a.o", b"123", ["f"])
    assert all(len(archive("a.o", bytes(n), ["f" * n])) % 2 == 0 for n in range(6))

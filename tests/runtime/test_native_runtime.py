"""The native module as a whole: it exists for every platform that it claims, and is loaded once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from weft.core.errors import CompileError
from weft.llvm.assembly import assemble
from weft.llvm.elf import _Object, link_objects
from weft.llvm.targets import Target, cross_target
from weft.runtime import native, storage

ROOT = Path(__file__).resolve().parents[2]
MACOS = Target("arm64-apple-macosx13.0.0", "apple-m1", "", "neon")


def text_for(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> str:
    with monkeypatch.context() as patched:
        patched.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
        patched.setattr(sys, "platform", system)
        return native.text()


@pytest.mark.parametrize(
    ("system", "machine", "target"),
    [
        ("linux", "x86_64", cross_target("x86_64-linux-gnu")),
        ("linux", "aarch64", cross_target("aarch64-linux-gnu")),
        ("darwin", "arm64", MACOS),
    ],
    ids=["linux-x86_64", "linux-aarch64", "macos-arm64"],
)
def test_the_module_compiles_for(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, target: Target) -> None:
    code = assemble(text_for(monkeypatch, system, machine), target, level=0)
    assert len(code) > 10_000


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_loader_knows_every_relocation_of_the_module(
    monkeypatch: pytest.MonkeyPatch, machine: str, number: int
) -> None:
    code = assemble(text_for(monkeypatch, "linux", machine), cross_target(f"{machine}-linux-gnu"))
    memory, base, _, exported, _ = link_objects([code], number, {}, lambda size: (bytearray(size), 1 << 32))
    assert list(exported[0]) == ["weft_native_init"] and base <= exported[0]["weft_native_init"] < base + len(memory)


def test_every_builtin_says_what_it_is_and_checks_the_number_of_its_arguments() -> None:
    for name, builtin in native.native().items():
        if name != "Storage":
            assert builtin.__name__ == name and builtin.__doc__
            with pytest.raises(TypeError):
                builtin(*[0] * 12)


def test_the_module_imports_functions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No symbol of another image is read as data; what is called is CPython's, libc's or pthread's."""
    code = assemble(text_for(monkeypatch, "linux", "x86_64"), cross_target("x86_64-linux-gnu"))
    parsed = _Object(code, 62)
    outside = {parsed.name(name) for name, _, _, section, _, _ in parsed.symbols if section == 0 and name}
    assert not [name for name in outside if name.startswith(("_Py", "PyExc"))]
    assert {"PyCFunction_NewEx", "pthread_create", "mmap"} <= outside


@pytest.mark.parametrize(("system", "machine"), [("win32", "x86_64"), ("linux", "riscv64")])
def test_an_unknown_platform_raises(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    with pytest.raises(CompileError, match=f"does not know {system} on {machine}"):
        text_for(monkeypatch, system, machine)


def test_python_and_ir_agree_on_the_size_of_a_storage() -> None:
    assert storage.Storage.__basicsize__ == 88
    assert storage.Storage.__name__ == "Storage" and storage.Storage.__module__ == "weft.runtime.storage"


def test_it_is_loaded_once_whichever_thread_comes_first() -> None:
    script = """if True:
        import threading
        from weft.runtime import native
        types = []
        threads = [threading.Thread(target=lambda: types.append(native.native()["Storage"])) for _ in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(types), len(set(types)))
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("4 1\n", "")
